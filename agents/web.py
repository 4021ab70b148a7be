"""Web pages: clone the demonstrator, then improve by actor-critic.

Shi et al. 2017, "World of Bits" (ICML): behavioural cloning from demonstrations, then A3C; words of
the goal are matched with those of the page. Liu et al. 2018 (1802.08802): acting on elements, with
goal fields to type. Here:

- On the table of elements with the preset ``liu18`` the network is `ElementNetwork`: matches of
  goal and element, neighbours along the table, a pointer to elements, and fields to type. On pixels
  (or anything else) it is that of `actor_critic`: convolutions and a softmax for each component.
- Before its first step the agent asks the demonstrator for ``demonstrations`` episodes of its
  task, or tasks side by side, and fits them by maximum likelihood for ``clone_updates`` steps; with
  environments that are no native web tasks it begins untaught and says so, with ``demonstrations``
  0 it begins untaught.
- Fine-tuning is the synchronous A3C of `daedalus.agents.learner`, without memory. ``anchor`` keeps
  it near the demonstrations: every update also takes a minibatch of them. In a sequence they are
  those of the present task, which later ones begin with instead of cloning.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import MultiDiscrete
from torch import Tensor

from daedalus.accelerators.instances import natives_of
from daedalus.accelerators.sequence import UNKNOWN
from daedalus.agents.a3c_network import A3CConfig, A3CNetwork
from daedalus.agents.actor_critic import ActorCritic
from daedalus.agents.base import Inputs, Metrics, Preparation, Rollout, Spaces
from daedalus.agents.optimizers import Adam
from daedalus.agents.web_network import ElementNetwork
from daedalus.envs.batch import Batch
from daedalus.envs.web.demonstrate import Demonstrations, demonstrate
from daedalus.envs.web.family import Web as WebFamily
from daedalus.envs.web.table import ARRAYS

BEGIN = 256
"""Demonstrated steps by which images are standardised, where there are any."""
CLONE_LOSS = "clone_loss"
"""Name of the demonstrations' mean negative log-likelihood among the logged numbers."""


@dataclass(frozen=True)
class Config(A3CConfig):
    """Settings of `Web`."""

    learning_rate: float = 3e-4
    """Step size of fine-tuning at the start."""
    entropy_weight: float = 0.003
    """beta: weight of the entropy bonus."""
    lstm: int = 0
    """Units of the LSTM on pixels; 0 for a feed-forward agent."""
    reuse_acting: bool = False
    """Keep the forward pass of acting for the update; the table's network has nothing to keep."""
    width: int = 48
    """Features of an element."""
    layers: int = 2
    """Convolutions along the table, before elements attend to goal fields and again after."""
    demonstrations: int = 100
    """Episodes of the demonstrator to clone before the first update, of tasks side by side each its
    share; 0 for none."""
    clone_updates: int = 1000
    """Steps of cloning."""
    clone_batch: int = 96
    """Demonstrated steps of a minibatch."""
    clone_rate: float = 2e-3
    """Step size of cloning (Adam)."""
    anchor: float = 1.0
    """Weight of the demonstrations' likelihood while fine-tuning."""


class Web(ActorCritic):
    """An agent for web pages: cloning, then actor-critic."""

    name = "web"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> None:
        """Make network and optimisers.

        Raises:
            ValueError: ``precision`` is not that of tables.
        """
        if reads_tables(self.spaces):
            if self.config.precision != "float32":
                raise ValueError("tables are read in float32; 'bfloat16' is for images of pages")
            network: Any = ElementNetwork(self.spaces, self.config.width, self.config.layers)
        else:
            network = A3CNetwork(self.spaces, self.config)
        self.learn_with(network)
        self.cloning = Adam(network.parameters(), lr=self.config.clone_rate)
        self.optimizers["adam"] = self.cloning
        self.demonstrations: Demonstrations | None = None

    def prepare(self) -> Iterator[Preparation]:
        """Clone the demonstrator, where there is one; again asked for where training resumes."""
        if self.demonstrations is None and self.config.demonstrations:
            tasks = natives_of(self.batch)
            if tasks and all(isinstance(task.family, WebFamily) for task in tasks):
                yield Preparation("asking the demonstrator", 0, 0, {})
                self.demonstrations = self._demonstrate(tasks)
            else:
                warnings.warn(
                    "web learns without demonstrations: the environment is no native web task; "
                    "demonstrations=0 says that none are expected",
                    stacklevel=2,
                )
        if self.demonstrations is not None and self.num_updates == 0:
            yield from self._cloning()

    def update(self, rollout: Rollout) -> Metrics:
        """Take a step on A3C's loss, with the demonstrations as an anchor."""
        loss, _, metrics = self.learner.loss(self.learner.prepare(rollout))
        if self.demonstrations is not None and self.config.anchor > 0:
            unlikelihood = self._unlikelihood()
            metrics = {**metrics, CLONE_LOSS: unlikelihood.detach()}
            loss = loss + self.config.anchor * unlikelihood
        return {**metrics, **self.learner.apply(loss, self.progress)}

    def set_env(
        self,
        env: Any,
        num_envs: int | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        """Go on in another environment; its demonstrations are asked for when training begins."""
        super().set_env(env, num_envs, env_kwargs)
        self.demonstrations = None

    # ------------------------------------------------------------------ cloning

    def _demonstrate(self, tasks: Sequence[Batch]) -> Demonstrations:
        """Ask the demonstrator for episodes of this agent's seed, of each task its share.

        Where observations tell which task it is, so do these; -1 where that is to be inferred.
        """
        seed = int(np.random.SeedSequence((self.seed, 2)).generate_state(1)[0])
        episodes, row = math.ceil(self.config.demonstrations / len(tasks)), 0
        parts = []
        for task in tasks:
            assert isinstance(task.family, WebFamily)
            shown = demonstrate(task.family, episodes, seed, tuple(task.observation_spaces))
            if "task" in self.spaces.observation:
                assert self.batch is not None
                told = self.batch.observation["task"][row] if self.task_model is None else UNKNOWN
                shape = len(shown.action), *(self.spaces.observation["task"].shape or ())
                shown.observation["task"] = np.broadcast_to(np.float32(told), shape)
            parts.append(shown)
            row += task.num_envs
        arrays, *rest = zip(*parts, strict=True)
        joined = {name: np.concatenate([array[name] for array in arrays]) for name in arrays[0]}
        return Demonstrations(joined, *(np.concatenate(columns) for columns in rest))

    def clone(self, demonstrations: Demonstrations) -> Metrics:
        """Fit demonstrations by maximum likelihood.

        Args:
            demonstrations: Observations (N, ...) and actions (N, k) of this agent's spaces.

        Returns:
            The mean negative log-likelihood of the last fifty minibatches.
        """
        self.demonstrations, self.num_prepared = demonstrations, 0
        losses = [at.metrics[CLONE_LOSS] for at in self._cloning()]
        return {CLONE_LOSS: float(np.mean(losses[-50:])) if losses else 0.0}

    def _cloning(self) -> Iterator[Preparation]:
        """Take the steps of cloning that are left, at a rate that falls to 0."""
        total, shown = self.config.clone_updates, self.demonstrations
        assert shown is not None
        begin = {name: torch.from_numpy(a[:BEGIN]) for name, a in shown.observation.items()}
        self.begin_with({name: value.to(self.device) for name, value in begin.items()})
        while self.num_prepared < total:
            rate = self.config.clone_rate * (1.0 - self.num_prepared / total)
            self.cloning.param_groups[0]["lr"] = rate
            loss = self._unlikelihood()
            self.cloning.zero_grad(set_to_none=False)  # the other optimiser holds views of them
            loss.backward()
            self.cloning.step()
            self.num_prepared += 1
            metrics = {CLONE_LOSS: float(loss.detach())}
            yield Preparation("cloning the demonstrator", self.num_prepared, total, metrics)

    def _drawn(self, lengths: np.ndarray) -> np.ndarray:
        """Draw steps (clone_batch,): an episode, then a step of it, so that short ones count."""
        episodes = self.rng.integers(len(lengths), size=self.config.clone_batch)
        starts = np.cumsum(lengths) - lengths
        return np.asarray(starts[episodes] + self.rng.integers(lengths[episodes]))

    def _unlikelihood(self) -> Tensor:
        """Return the mean negative log-likelihood of a minibatch of the demonstrations."""
        assert self.demonstrations is not None
        arrays, actions = self.demonstrations.observation, self.demonstrations.action
        rows = self._drawn(self.demonstrations.lengths)
        action = torch.from_numpy(actions[rows]).to(self.device)
        zeros = torch.zeros(len(rows), device=self.device)
        seen = self.recognise({name: array[rows] for name, array in arrays.items()})
        inputs = Inputs(
            {name: torch.from_numpy(a).to(self.device)[None] for name, a in seen.items()},
            torch.zeros_like(action)[None],
            zeros[None],
            torch.ones_like(zeros, dtype=torch.bool)[None],
        )
        network = self.learner.network
        policy = network.unroll(inputs, self.initial_state(len(rows))).policy[0]
        return -network.distribution.log_prob_entropy(policy, action)[0].mean()


def reads_tables(spaces: Spaces) -> bool:
    """Tell whether observations are a page's table and actions those of ``liu18``."""
    actions = spaces.action
    pointer = isinstance(actions, MultiDiscrete) and len(actions.nvec) == 3
    return pointer and set(ARRAYS) <= set(spaces.observation)
