"""UNREAL: actor-critic with unsupervised auxiliary tasks (Jaderberg et al. 2016, 1611.05397).

L = L_A3C + l_PC sum_c L_Q^(c) + l_RP L_RP + l_VR L_VR

L_A3C is `daedalus.agents.learner`'s on 20-step rollouts; the other terms learn from the latest
2,000 steps of each environment, one batch of each (one sequence per environment) per update,
starting when ``replay_start`` steps are held. See `daedalus.agents.auxiliary` for each loss. Where
this differs from the paper:

- synchronous, as `daedalus.agents.actor_critic`;
- the grid of pixel control follows the torso: 20 x 20 cells of 4 x 4 pixels from 84 x 84 images,
  12 x 12 of 3 x 3 from 42 x 42, 10 x 10 of 2 x 2 from 21 x 21;
- pixel control and value replay may share their sequences (``share_sequences``), one pass of the
  network instead of two;
- replayed sequences start from the LSTM's state when acting, as R2D2's (Kapturowski et al. 2019);
  the public implementations start from zeros.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from gymnasium.spaces import Discrete
from torch import Tensor, nn

from daedalus.accelerators.replay import SequenceReplay
from daedalus.agents.a3c_network import A3CConfig, A3CNetwork
from daedalus.agents.actor_critic import ActorCritic
from daedalus.agents.auxiliary import (
    PixelControl,
    ReplayedSequences,
    RewardPrediction,
    ValueReplay,
    gradient_norm,
)
from daedalus.agents.base import Metrics, Rollout, Seen
from daedalus.agents.settings import at_least


@dataclass(frozen=True)
class Config(A3CConfig):
    """Settings of `UNREAL`: those of the synchronous A3C and the auxiliary tasks'."""

    reward_clip: float = 1.0
    """Clip rewards to +- this, in all losses and in the replay; 0 for never."""
    pixel_control: float = 0.01
    """l_PC: weight of pixel control, a sum over cells; published 0.01 to 0.1; 0 switches it off."""
    reward_prediction: float = 1.0
    """l_RP: weight of reward prediction; 0 switches it off."""
    reward_gap: int = 0
    """Unseen frames between the three shown and the reward to predict; public code has 1."""
    value_replay: float = 1.0
    """l_VR: weight of value replay; 0 switches it off."""
    pixel_gamma: float = 0.9
    """Discount of pixel control."""
    replay_length: int = 2000
    """Latest steps held of each environment."""
    replay_start: int = 500
    """Steps held of each environment before the auxiliary tasks begin; the paper fills up."""
    share_sequences: bool = True
    """Let pixel control and value replay learn from the same sequences."""


class UNREAL(ActorCritic):
    """Actor-critic with pixel control, reward prediction and value replay."""

    name = "unreal"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> None:
        """Make network, auxiliary tasks, replay and optimiser.

        Raises:
            ValueError: The replay is too short for a sequence.
        """
        config = self.config
        network = A3CNetwork(self.spaces, config)
        tasks: dict[str, Any] = {}
        if config.pixel_control > 0 and self._can_control_pixels(network):
            tasks["pixel_control"] = PixelControl(
                network, self.spaces.action, config.pixel_control, config.pixel_gamma
            )
        if config.value_replay > 0:
            tasks["value_replay"] = ValueReplay(
                network, config.value_replay, config.gamma, self.rng
            )
        if config.reward_prediction > 0:
            tasks["reward_prediction"] = RewardPrediction(
                network, config.reward_prediction, config.reward_gap
            )
        if tasks:
            at_least(self.name, config, replay_length=config.n_steps + 2)
        self.tasks = nn.ModuleDict(tasks)
        self.learn_with(network, self.tasks)
        self.replay = SequenceReplay(config.replay_length, self.device)
        self.stores = {"replay": self.replay}

    def _can_control_pixels(self, network: A3CNetwork) -> bool:
        """Whether there are pixels and actions for it; says so, in training, where not."""
        fits = network.encoder.image() is not None and isinstance(self.spaces.action, Discrete)
        if not fits and self.batch is not None:
            warnings.warn(
                "pixel control is off: it needs an image of 10 pixels or more a side and Discrete "
                "actions; the other auxiliary tasks stay (pixel_control=0 silences this)",
                stacklevel=3,
            )
        return fits

    def inspect(
        self, now: Seen, before: Seen | None, label: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Show the policy, and pixel control's forecast of the last step beside its target."""
        shown = self.learner.inspect(now)
        if "pixel_control" in self.tasks and before is not None:
            shown["pixel control"] = self.tasks["pixel_control"].inspect(now, before)  # type: ignore[operator]
        return shown

    def update(self, rollout: Rollout) -> Metrics:
        """Store ``rollout`` and take one step on the sum of all losses."""
        rollout = self.learner.prepare(rollout)
        self._remember(rollout)
        total, unrolled, metrics = self.learner.loss(rollout)
        metrics["actor_critic_gradient_norm"] = gradient_norm(unrolled.output)
        if self.replay.holds(self.config.replay_start, self.config.n_steps):
            for name, batch in self._batches().items():
                if batch is not None:
                    task = self.tasks[name]
                    loss, more = task.loss(batch)  # type: ignore[operator]
                    total = total + task.weight * loss
                    metrics |= {f"{name}_loss": loss.detach(), **more}
        return {**metrics, **self.learner.apply(total, self.progress)}

    def _remember(self, rollout: Rollout) -> None:
        if len(self.tasks) == 0:
            return
        extra = {}
        if "pixel_control" in self.tasks:
            extra = self.tasks["pixel_control"].describe(rollout)  # type: ignore[operator]
        self.replay.add(rollout, extra)

    def _batches(self) -> dict[str, Any]:
        """Return a batch for every task."""
        batches: dict[str, Any] = {}
        for name in ("pixel_control", "value_replay"):
            if name in self.tasks:
                shared = next(iter(batches.values()), None) if self.config.share_sequences else None
                batches[name] = shared or self._replayed()
        if "reward_prediction" in self.tasks:
            task = self.tasks["reward_prediction"]
            batches["reward_prediction"] = task.sample(self.replay, self.num_envs, self.rng)  # type: ignore[operator]
        return batches

    def _replayed(self) -> ReplayedSequences:
        """Draw one sequence per environment and run the network over it."""
        extra = ("pixel_change",) if "pixel_control" in self.tasks else ()
        sequences = self.replay.sequences(self.config.n_steps, self.rng, extra)
        return ReplayedSequences(
            sequences, self.learner.network.unroll(sequences.inputs, sequences.state)
        )
