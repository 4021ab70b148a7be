"""Web pages: clone the demonstrator, then improve by actor-critic.

Shi et al. 2017, "World of Bits" (ICML): behavioural cloning from demonstrations, then A3C; words of
the goal are matched with those of the page. Liu et al. 2018 (1802.08802): acting on elements, with
goal fields to type. Here:

- On the table of elements with the preset ``liu18`` the network is `ElementNetwork`: matches of
  goal and element, neighbours along the table, a pointer to elements, and fields to type. On pixels
  (or anything else) it is that of `actor_critic`: convolutions and a softmax for each component.
- Before its first update the agent asks the demonstrator for ``demonstrations`` episodes of its
  task and fits them by maximum likelihood for ``clone_updates`` steps; where the environment is
  not a native web task, or ``demonstrations`` is 0, it begins untaught.
- Fine-tuning is the synchronous A3C of `daedalus.agents.learner`, without memory. ``anchor`` keeps
  it near the demonstrations: every update also takes a minibatch of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from gymnasium.spaces import MultiDiscrete
from torch import Tensor

from daedalus.agents.a3c_network import A3CConfig, A3CNetwork
from daedalus.agents.actor_critic import ActorCritic
from daedalus.agents.base import Inputs, Metrics, Rollout, Spaces
from daedalus.agents.web_network import ElementNetwork
from daedalus.envs.batch import Batch
from daedalus.envs.web.demonstrate import Demonstrations, demonstrate
from daedalus.envs.web.family import Web as WebFamily

TABLE = ("elements", "words", "mask", "utterance", "fields", "clock")


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
    """Episodes of the demonstrator to clone before the first update; 0 for none."""
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
        """Make network and optimisers."""
        if reads_tables(self.spaces):
            network: Any = ElementNetwork(self.spaces, self.config.width, self.config.layers)
        else:
            network = A3CNetwork(self.spaces, self.config)
        self.learn_with(network)
        self.cloning = torch.optim.Adam(network.parameters(), lr=self.config.clone_rate)
        self.optimizers["adam"] = self.cloning
        self.demonstrations: Demonstrations | None = None

    def update(self, rollout: Rollout) -> Metrics:
        """Clone once, then take steps on A3C's loss, with the demonstrations as an anchor."""
        if self.demonstrations is None and self.config.demonstrations:
            self.demonstrations = self._demonstrate()  # again, where training is resumed
        cloned: Metrics = {}
        if self.demonstrations is not None and self.num_updates == 0:
            cloned = self.clone(self.demonstrations)
        loss, _, metrics = self.learner.loss(self.learner.prepare(rollout))
        if self.demonstrations is not None and self.config.anchor > 0:
            loss = loss + self.config.anchor * self._unlikelihood()
        return {**metrics, **cloned, **self.learner.apply(loss, self.progress)}

    # ------------------------------------------------------------------ cloning

    def _demonstrate(self) -> Demonstrations | None:
        """Ask the demonstrator for episodes of this agent's seed, in a native web task."""
        family = self.batch.family if isinstance(self.batch, Batch) else None
        if not isinstance(family, WebFamily):
            return None
        seed = int(np.random.SeedSequence((self.seed, 2)).generate_state(1)[0])
        return demonstrate(family, self.config.demonstrations, seed, tuple(self.spaces.observation))

    def clone(self, demonstrations: Demonstrations) -> Metrics:
        """Fit demonstrations by maximum likelihood.

        Args:
            demonstrations: Observations (N, ...) and actions (N, k) of this agent's spaces.

        Returns:
            The mean negative log-likelihood of the last fifty minibatches.
        """
        self.demonstrations = demonstrations
        losses = []
        for update in range(self.config.clone_updates):
            rate = self.config.clone_rate * (1.0 - update / self.config.clone_updates)
            self.cloning.param_groups[0]["lr"] = rate
            loss = self._unlikelihood()
            self.cloning.zero_grad(set_to_none=False)  # the other optimiser holds views of them
            loss.backward()
            self.cloning.step()
            losses.append(float(loss.detach()))
        return {"clone_loss": float(np.mean(losses[-50:])) if losses else 0.0}

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
        inputs = Inputs(
            {name: torch.from_numpy(a[rows]).to(self.device)[None] for name, a in arrays.items()},
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
    return pointer and set(TABLE) <= set(spaces.observation)
