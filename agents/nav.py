"""Nav A3C: a stacked LSTM agent with depth and loop-closure losses (Mirowski et al. 2016).

"Learning to navigate in complex environments", 1611.03673. L = L_A3C + b_d L_D1 + b_d2 L_D2 +
b_l L_loop on the same rollouts. The encoder's features and the previous reward enter an LSTM of 64
units; its output, the features again, the velocity and the previous action enter one of 256, from
which policy and value come. Depth is classified (4 x 16 pixels, 8 bins) from the features (D1) and
from the second LSTM's output (D2); loop closure from the output. Labels come from the environment
(``"depth"``, ``"loop_closure"``) and are never inputs. Observations other than images (such as
``"velocity"``) skip the encoder and enter the second LSTM only. Where this differs from the paper:

- synchronous, as `daedalus.agents.actor_critic`;
- the depth losses are summed over time as the policy's is, so that the balance does not change with
  the length of a rollout; the weights are per pixel summed, as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from daedalus.agents.a3c_network import A3CConfig, A3CNetwork, fed_back, recorded_lstm
from daedalus.agents.actor_critic import ActorCritic
from daedalus.agents.auxiliary_labels import Depth, LabelledRollout, LoopClosure
from daedalus.agents.base import Inputs, Metrics, Rollout, Seen, Spaces, State
from daedalus.agents.networks import Known, dtype_of, flat_size, flatten, is_image
from daedalus.agents.recurrent import LSTM


@dataclass(frozen=True)
class Config(A3CConfig):
    """Settings of `Nav`: those of the synchronous A3C and the auxiliary losses'."""

    n_steps: int = 50
    """Steps per rollout and environment."""
    reward_clip: float = 1.0
    """Clip rewards to +- this, in all losses; 0 for never."""
    first_lstm: int = 64
    """Units of the first LSTM."""
    depth_1: float = 0.0
    """b_d: weight of depth from the encoder's features; 0 switches it off."""
    depth_2: float = 0.33
    """b_d2: weight of depth from the second LSTM's output; 0 switches it off."""
    loop_closure: float = 1.0
    """b_l: weight of the loop-closure loss; 0 switches it off."""


class NavCore(nn.Module):
    """Two LSTMs, the second with a skip from the encoder."""

    def __init__(
        self, features: int, spaces: Spaces, first: int, second: int, precision: str
    ) -> None:
        """Build for ``features`` inputs; the non-image observations are those of ``spaces``."""
        super().__init__()
        self.size, self.first_size = second, first
        self.action_space = spaces.action
        self.direct = {k: s for k, s in spaces.observation.items() if not is_image(s)}
        extra = sum(flat_size(s) for s in self.direct.values()) + flat_size(spaces.action)
        dtype = dtype_of(precision)
        self.first = LSTM(features + 1, first, dtype)
        self.second = LSTM(first + features + extra, second, dtype)

    def initial_state(self, num_envs: int) -> State:
        """Return zeros for both LSTMs."""
        zeros = self.first.bias.new_zeros
        small, large = zeros(num_envs, self.first_size), zeros(num_envs, self.size)
        return {"h1": small, "c1": small, "h2": large, "c2": large}

    def _parts(self, features: Tensor, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Return the first LSTM's input, and the second's without the first's output."""
        lead = inputs.episode_start.shape
        action, reward = fed_back(inputs, self.action_space)
        direct = [
            flatten(inputs.observation[k].reshape(-1, *(s.shape or ())), s).view(*lead, -1)
            for k, s in self.direct.items()
        ]
        return torch.cat([features, reward], -1), torch.cat([features, *direct, action], -1)

    def step(
        self, features: Tensor, inputs: Inputs, state: State
    ) -> tuple[Tensor, State, dict[str, Tensor]]:
        """Take one step."""
        first, rest = self._parts(features, inputs)
        start = inputs.episode_start
        h1, c1, gates1 = self.first.step(first, state["h1"], state["c1"], start)
        x = torch.cat([h1, rest], -1)
        h2, c2, gates2 = self.second.step(x, state["h2"], state["c2"], start)
        recorded = {"first/output": h1, "first/gates": gates1, "first/cell": c1}
        recorded |= {"second/output": h2, "second/gates": gates2, "second/cell": c2}
        return h2, {"h1": h1, "c1": c1, "h2": h2, "c2": c2}, recorded

    def unroll(self, features: Tensor, inputs: Inputs, state: State, known: Known | None) -> Tensor:
        """Run over T steps."""
        first, rest = self._parts(features, inputs)
        start = inputs.episode_start
        first_known, second_known = (recorded_lstm(known, name) for name in ("first", "second"))
        h1 = self.first(first, state["h1"], state["c1"], start, first_known)
        x = torch.cat([h1, rest], -1)
        return self.second(x, state["h2"], state["c2"], start, second_known)  # type: ignore[no-any-return]


class Nav(ActorCritic):
    """The navigation agent."""

    name = "nav"
    Config: ClassVar[type[Any]] = Config

    def labels_needed(self) -> tuple[str, ...]:
        """Return the labels of the losses that are switched on."""
        config = self.config
        depth = ("depth",) if config.depth_1 > 0 or config.depth_2 > 0 else ()
        return depth + (("loop_closure",) if config.loop_closure > 0 else ())

    def build(self) -> None:
        """Make network, auxiliary heads and optimiser.

        Raises:
            ValueError: A label is missing.
        """
        config, spaces = self.config, self.spaces
        images = {k: s for k, s in spaces.observation.items() if is_image(s)}
        core = NavCore(config.hidden, spaces, config.first_lstm, config.lstm, config.precision)
        network = A3CNetwork(
            spaces._replace(observation=images or spaces.observation), config, core
        )
        self.tasks = self._tasks()
        self.learn_with(network, self.tasks)

    def _tasks(self) -> nn.ModuleDict:
        config, labels = self.config, self.spaces.label
        tasks: dict[str, Any] = {}
        for name, source in (("depth_1", "features"), ("depth_2", "output")):
            weight = getattr(config, name)
            if weight > 0:
                space = labels["depth"]
                bins = int(np.max(space.high)) + 1  # type: ignore[attr-defined]
                size = config.hidden if source == "features" else config.lstm
                tasks[name] = Depth(source, space, size, weight, bins)
        if config.loop_closure > 0:
            tasks["loop_closure"] = LoopClosure(config.lstm, config.loop_closure)
        return nn.ModuleDict(tasks)

    def inspect(
        self, now: Seen, before: Seen | None, label: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Show the policy, and the auxiliary predictions beside the labels."""
        shown, output = self.learner.inspect(now), now.acted.extras["output"]
        for name, task in self.tasks.items():
            if isinstance(task, Depth) and "depth" in label:
                features, _ = self.learner.network.encoder.step(now.inputs.observation)
                source = features if task.source == "features" else output
                shown[name.replace("_", " ")] = task.inspect(source, label["depth"])
            elif isinstance(task, LoopClosure) and "loop_closure" in label:
                shown["loop closure"] = {
                    "prediction": task.layer(output).sigmoid(),
                    "target": label["loop_closure"].float(),
                }
        return shown

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step on the sum of all losses of ``rollout``."""
        rollout = self.learner.prepare(rollout)
        total, unrolled, metrics = self.learner.loss(rollout)
        label = {name: value[:-1] for name, value in rollout.label.items()}
        batch = LabelledRollout(unrolled, label, rollout.valid)
        for name, task in self.tasks.items():
            loss, more = task.loss(batch)  # type: ignore[operator]
            total = total + task.weight * loss
            metrics |= {f"{name}_loss": loss.detach(), **more}
        return {**metrics, **self.learner.apply(total, self.progress)}
