"""The networks and settings that `cpo`, `pdo`, `trpo_penalty` and `ppo_lagrangian` share."""

from __future__ import annotations

from dataclasses import dataclass

from daedalus.agents.base import Spaces
from daedalus.agents.consolidation import Consolidated
from daedalus.agents.vector_network import VectorNetwork


@dataclass(frozen=True)
class ConstrainedConfig(Consolidated):
    """Settings that all constrained agents have."""

    cost_limit: float = 25.0
    """d: cost that an episode may have on average, the undiscounted sum of its steps."""
    n_steps: int = 200
    """Steps per rollout and environment; whole episodes make the estimate of their cost exact."""
    gamma: float = 0.99
    """Discount of rewards."""
    gae_lambda: float = 0.95
    """Decay of the reward's advantage estimate."""
    cost_gamma: float = 1.0
    """Discount in the cost's advantages; below 1 less noise and a bias. The limit knows none."""
    cost_lambda: float = 1.0
    """Decay of the cost's advantage estimate; the paper has 1 for points, 0.5 for ants."""
    net_arch: tuple[int, ...] = (64, 32)
    """Units of the tanh layers, of policy and values alike."""
    log_std: float = -0.5
    """Logarithm of the policy's standard deviation at the start (continuous actions)."""
    value_learning_rate: float = 3e-3
    """Step size of Adam for the values of reward and cost."""
    value_epochs: int = 8
    """Passes over the batch that the values are fitted with."""
    value_batch: int = 1000
    """Steps in a minibatch of the values' fit."""


@dataclass(frozen=True)
class TrustRegionConfig(ConstrainedConfig):
    """Those, and the settings of an update within a trust region."""

    delta: float = 0.01
    """Bound of the mean divergence of an update."""
    damping: float = 0.01
    """Added to the diagonal of H; the authors' code has 1e-5."""
    cg_iterations: int = 10
    """Iterations of conjugate gradients, at most."""
    fisher_stride: int = 5
    """H is the mean over one of so many steps; a fifth of the batch in the authors' code too."""


class Network(VectorNetwork):
    """A policy, and values of the reward and of each of K costs."""

    seers = "constrained agents"
    instead = "ppo or actor_critic (which know no limit)"

    def __init__(self, spaces: Spaces, config: ConstrainedConfig, constraints: int = 1) -> None:
        """Build for vectors and discrete values; see `VectorNetwork`."""
        super().__init__(spaces, config.net_arch, config.log_std, 1 + constraints)
