"""PDO: primal-dual optimisation, the constrained baseline of Achiam et al. 2017 (1705.10528).

A step of TRPO up the Lagrangian at the present price nu of a cost, then a step of the price:

    x = sqrt(2 delta / (l'H^-1 l)) H^-1 l,   l = grad J - nu grad J_C
    nu <- max(0, nu + a (J_C - d))

nu is learned and remembered, where `cpo` computes it anew in every update: the cost ends near its
limit and is above it, or far below, on the way. After Chow et al. 2015 (1512.01629). l is the
gradient of E[(A - nu A_C) ratio] with both advantages in their own units (nothing is divided by a
standard deviation before they are added), so nu is in units of return per cost.
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
    """Settings of `PDO`: those of constrained agents, the trust region's and the price's."""

    multiplier_rate: float = 0.01
    """a: step size of the price; 0.1 reacts sooner and swings more."""
    multiplier_start: float = 0.0
    """nu at the start; a large one is safe and learns little."""


class PDO(ConstrainedAgent):
    """Primal-dual optimisation with a trust region."""

    name = "pdo"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> None:
        """Make policy, values and the price."""
        super().build()
        self.learner.ledger.multiplier.fill_(self.config.multiplier_start)

    def update(self, rollout: Rollout) -> Metrics:
        """Take a step of the policy at the present price, then one of the price."""
        config, ledger = self.config, self.learner.ledger
        experience = self.learner.judge(rollout)
        nu = float(ledger.multiplier)
        advantage = standardised(experience.advantage - nu * experience.cost_advantage[0])
        model = LocalModel.of(
            config, self.learner.network.policy, experience.observation, experience.action
        )
        _, metrics = trpo_step(model, advantage, config.delta, self.consolidation)
        excess = float(experience.cost_return[0]) - config.cost_limit
        priced = ledger.price(config.multiplier_rate, excess)
        fitted = self.learner.fit(experience, self.rng)
        return {**experience.metrics, **metrics, **fitted, "nu": nu, "next_nu": priced}
