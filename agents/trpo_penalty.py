"""TRPO with a fixed price of a cost: the reward is R - lambda C (Schulman et al. 2015, 1502.05477).

The simplest baseline of Achiam et al. 2017 (1705.10528), with lambda in {1, 5, 50}: there is no
limit in it, and a lambda that keeps one in one world is too small or too large in the next. With
``penalty=0`` it is plain TRPO, on the same batches and networks as `cpo`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from daedalus.agents.base import Acted, Agent, Inputs, Metrics, Rollout, State
from daedalus.agents.constrained import Learner
from daedalus.agents.constrained_network import Network, TrustRegionConfig
from daedalus.agents.trust_region import LocalModel, standardised, trpo_step


@dataclass(frozen=True)
class Config(TrustRegionConfig):
    """Settings of `TRPOPenalty`; ``cost_limit`` is only what the log compares with."""

    penalty: float = 1.0
    """lambda: what a cost of 1 subtracts from the reward; 0 is plain TRPO."""


class TRPOPenalty(Agent):
    """TRPO on the reward minus a fixed multiple of the cost."""

    name = "trpo_penalty"
    Config: ClassVar[type[Any]] = Config
    default_num_envs = 50

    def build(self) -> None:
        """Make policy and values."""
        network = Network(self.spaces, self.config).to(self.device)
        self.learner = Learner(network, self.config, self.num_envs)
        self.modules = {"network": network, "ledger": self.learner.ledger}
        self.optimizers = {"values": self.learner.optimizer}
        self.stores = {"lengths": self.learner.lengths}

    def act(self, inputs: Inputs, state: State, deterministic: bool = False) -> Acted:
        """Sample actions, or take the most likely."""
        return self.learner.network.act(inputs, self.generators["act"], deterministic)

    def update(self, rollout: Rollout) -> Metrics:
        """Take a step of TRPO on the penalised reward, then fit the values."""
        config = self.config
        penalised = rollout.reward - config.penalty * rollout.cost
        experience = self.learner.judge(rollout, reward=penalised)
        model = LocalModel(
            self.learner.network.policy,
            experience.observation,
            experience.action,
            damping=config.damping,
            iterations=config.cg_iterations,
            stride=config.fisher_stride,
        )
        _, metrics = trpo_step(model, standardised(experience.advantage), config.delta)
        return {**experience.metrics, **metrics, **self.learner.fit(experience, self.rng)}
