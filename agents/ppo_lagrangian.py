"""PPO-Lagrangian: clipped policy steps at a learned price of the cost (Ray et al. 2019).

The Lagrangian of `daedalus.agents.pdo` with the surrogate of PPO (Schulman et al. 2017, 1707.06347)
in place of the trust region, as in "Benchmarking safe exploration in deep reinforcement learning":

    L = -E[min(ratio A', clip(ratio, 1 - eps, 1 + eps) A')],   A' = (A - nu A_C) / (1 + nu)
    nu <- max(0, nu + a (J_C - d))

over several passes, which end early where the divergence passes 1.5 ``target_kl``. The published
code passes nu through a softplus and moves it with Adam; here it moves straight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from daedalus.agents.base import Metrics, Rollout
from daedalus.agents.constrained import ConstrainedAgent, Experience
from daedalus.agents.constrained_network import ConstrainedConfig
from daedalus.agents.optimizers import Adam, descend
from daedalus.agents.trust_region import standardised
from daedalus.agents.vector_network import minibatches


@dataclass(frozen=True)
class Config(ConstrainedConfig):
    """Settings of `PPOLagrangian`: those of constrained agents, PPO's and the price's."""

    learning_rate: float = 3e-4
    """Step size of Adam for the policy."""
    clip_range: float = 0.2
    """eps: how far the ratio of probabilities counts."""
    target_kl: float = 0.01
    """The passes end where the mean divergence is above 1.5 times this; 0 for never."""
    max_gradient_norm: float = 0.5
    """Longer gradients of the policy are scaled to this norm; 0 for no limit."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus."""
    multiplier_rate: float = 0.05
    """a: step size of the price."""
    multiplier_start: float = 0.0
    """nu at the start."""


class PPOLagrangian(ConstrainedAgent):
    """PPO on the Lagrangian of return and cost."""

    name = "ppo_lagrangian"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> None:
        """Make policy, values, optimisers and the price."""
        super().build()
        self.learner.ledger.multiplier.fill_(self.config.multiplier_start)
        policy = self.learner.network.policy
        rate = self.config.learning_rate
        self.adam = Adam(policy.parameters(), rate, fused=True)
        self.optimizers["policy"] = self.adam

    def update(self, rollout: Rollout) -> Metrics:
        """Improve the policy at the present price, then move the price and fit the values."""
        config, ledger = self.config, self.learner.ledger
        experience = self.learner.judge(rollout)
        nu = float(ledger.multiplier)
        mixed = (experience.advantage - nu * experience.cost_advantage[0]) / (1 + nu)
        metrics = self._improve(experience, standardised(mixed))
        excess = float(experience.cost_return[0]) - config.cost_limit
        priced = ledger.price(config.multiplier_rate, excess)
        fitted = self.learner.fit(experience, self.rng)
        return {**experience.metrics, **metrics, **fitted, "nu": nu, "next_nu": priced}

    def _improve(self, experience: Experience, advantage: Tensor) -> dict[str, float]:
        """Take PPO's passes over the batch; return what to log."""
        config, policy = self.config, self.learner.network.policy
        seen, action = experience.observation, experience.action
        with torch.no_grad():
            old, _ = policy.distribution.log_prob_entropy(policy(seen), action)
        kl, loss, steps = 0.0, torch.zeros(()), 0
        for rows in minibatches(len(advantage), config.value_epochs, config.value_batch, self.rng):
            i = torch.from_numpy(rows).to(seen.device)
            log_pi, entropy = policy.distribution.log_prob_entropy(policy(seen[i]), action[i])
            ratio = (log_pi - old[i]).exp()
            kl = float((ratio.detach() - 1 - (log_pi - old[i]).detach()).mean())  # of these rows
            if config.target_kl > 0 and kl > 1.5 * config.target_kl:
                break
            loss = clipped_loss(ratio, advantage[i], config.clip_range)
            total = loss - config.entropy_weight * entropy.mean()
            named, kept = policy.named_parameters, self.consolidation
            descend(self.adam, total, named, config.max_gradient_norm, kept)
            steps += 1
        return {"policy_loss": float(loss.detach()), "kl": kl, "policy_steps": float(steps)}


def clipped_loss(ratio: Tensor, advantage: Tensor, clip_range: float) -> Tensor:
    """Return PPO's loss, the mean over (N,) ratios and advantages, 0-d."""
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return -torch.min(ratio * advantage, clipped * advantage).mean()
