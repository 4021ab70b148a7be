"""Synchronous advantage actor-critic, feed-forward or recurrent: "A3C" without the asynchrony.

Mnih et al. 2016, "Asynchronous methods for deep reinforcement learning" (1602.01783). The loss and
its conventions are in `daedalus.agents.learner`. Where this differs from the paper:

- B environments step together and one update averages over them, where the paper has B workers
  that each apply the gradient of their own rollout. B-fold fewer updates want a larger step: the
  defaults are a learning rate of 2e-3 and an epsilon of 1e-5 where the original has 7e-4 and 0.1,
  and RMSProp's mean square is corrected for its start from zero (``rmsprop_corrected``).
- A time limit is not an end: the return bootstraps from the value of the last observation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from daedalus.agents.a3c_network import A3CConfig, A3CNetwork
from daedalus.agents.base import Acted, Agent, Inputs, Metrics, Rollout, Seen, State
from daedalus.agents.consolidation import Likelihoods
from daedalus.agents.learner import Learner
from daedalus.agents.tasks import observed


@dataclass(frozen=True)
class Config(A3CConfig):
    """Settings of `ActorCritic`: those of the synchronous A3C."""


class ActorCritic(Agent):
    """The synchronous A3C.

    Agents that add to its loss are subclasses: `learn_with` their network, and an `update`.
    """

    name = "actor_critic"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> None:
        """Make network and optimiser."""
        self.learn_with(A3CNetwork(self.spaces, self.config))

    def learn_with(self, network: Any, tasks: nn.ModuleDict | None = None) -> None:
        """Train ``network`` by A3C's loss, and the heads of auxiliary ``tasks`` beside it."""
        network = network.to(self.device)
        self.modules = {"network": network}
        if tasks is not None:
            self.modules["tasks"] = tasks.to(self.device)
        self.learner = Learner(network, self.config, tasks)
        self.optimizers = {"rmsprop": self.learner.optimizer}
        self.consolidation = self.learner.consolidation

    def initial_state(self, num_envs: int) -> State:
        """Return the LSTM's zeros, or nothing."""
        state: State = self.learner.network.core.initial_state(num_envs)
        return state

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Sample actions, or take the most likely."""
        return self.learner.act(inputs, state, self.generators["act"], deterministic)

    def inspect(
        self, now: Seen, before: Seen | None, label: Mapping[str, Tensor]
    ) -> dict[str, Any]:
        """Show the policy."""
        return self.learner.inspect(now)

    def likelihoods(self) -> Likelihoods:
        """Yield log-likelihoods of policy and value at the end of a task."""
        return self.learner.likelihoods(observed(self), self.generators["update"])

    def update(self, rollout: Rollout) -> Metrics:
        """Take one step on the loss of ``rollout``."""
        loss, _, metrics = self.learner.loss(self.learner.prepare(rollout))
        return {**metrics, **self.learner.apply(loss, self.progress)}
