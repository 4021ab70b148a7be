"""TRPO with a fixed price of a cost: the reward is R - lambda C (Schulman et al. 2015, 1502.05477).

The simplest baseline of Achiam et al. 2017 (1705.10528), with lambda in {1, 5, 50}: there is no
limit in it, and a lambda that keeps one in one world is too small or too large in the next. With
``penalty=0`` it is plain TRPO, on the same batches and networks as `cpo`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from daedalus.agents.base import Metrics, Rollout
from daedalus.agents.constrained import ConstrainedAgent
from daedalus.agents.constrained_network import TrustRegionConfig
from daedalus.agents.trust_region import LocalModel, standardised, trpo_step


@dataclass(frozen=True)
class Config(TrustRegionConfig):
    """Settings of `TRPOPenalty`; ``cost_limit`` is only what the log compares with."""

    penalty: float = 1.0
    """lambda: what a cost of 1 subtracts from the reward; 0 is plain TRPO."""


class TRPOPenalty(ConstrainedAgent):
    """TRPO on the reward minus a fixed multiple of the cost."""

    name = "trpo_penalty"
    Config: ClassVar[type[Any]] = Config

    def update(self, rollout: Rollout) -> Metrics:
        """Take a step of TRPO on the penalised reward, then fit the values."""
        config = self.config
        penalised = rollout.reward - config.penalty * rollout.cost
        experience = self.learner.judge(rollout, reward=penalised)
        model = LocalModel.of(
            config, self.learner.network.policy, experience.observation, experience.action
        )
        advantage = standardised(experience.advantage)
        _, metrics = trpo_step(model, advantage, config.delta, self.consolidation)
        return {**experience.metrics, **metrics, **self.learner.fit(experience, self.rng)}
