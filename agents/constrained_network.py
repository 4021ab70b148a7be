"""The networks and settings that `cpo`, `pdo`, `trpo_penalty` and `ppo_lagrangian` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from daedalus.agents.base import Spaces
from daedalus.agents.networks import flat_size, flatten, image_size, is_image
from daedalus.agents.policies import Gaussian, policy_for


@dataclass(frozen=True)
class ConstrainedConfig:
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
    """H is the mean over every so many-th step; a fifth of the batch in the authors' code too."""


class Policy(nn.Module):
    """Tanh layers to the parameters of a distribution; a Gaussian's deviation knows no state."""

    def __init__(self, inputs: int, action_space: Any, config: ConstrainedConfig) -> None:
        """Build with a last layer near zero, so that all actions begin alike."""
        super().__init__()
        self.distribution = policy_for(action_space)
        self.layers = _tanh_layers(inputs, config.net_arch, self.distribution.size)
        with torch.no_grad():
            for parameter in self.layers[-1].parameters():
                parameter.mul_(0.1)
            if isinstance(self.distribution, Gaussian):
                self.distribution.log_std.fill_(config.log_std)

    def forward(self, observation: Tensor) -> Tensor:
        """Map (N, D) to the distribution's outputs (N, size)."""
        result: Tensor = self.layers(observation)
        return result


class Values(nn.Module):
    """The values of the reward and of K costs: networks of their own, multiplied in one go.

    V = mean + std * network, with the targets' mean and standard deviation; when they are renewed
    the last layers change so that no value does (PopArt, van Hasselt et al. 2016, 1602.07714).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, hidden: tuple[int, ...], count: int) -> None:
        """Build ``count`` networks with the layers' usual start."""
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise((inputs, *hidden, 1)):
            bound = before**-0.5
            self.weights.append(torch.empty(count, before, after).uniform_(-bound, bound))
            self.biases.append(torch.empty(count, 1, after).uniform_(-bound, bound))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.ones(count))

    def forward(self, rows: Tensor) -> Tensor:
        """Map (N, D) to values (count, N)."""
        return self.mean[:, None] + self.std[:, None] * self.normalised(rows)

    def normalised(self, rows: Tensor) -> Tensor:
        """Map (N, D) to what the networks say, (count, N)."""
        x = rows.expand(len(self.mean), *rows.shape)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            x = x if i == last else x.tanh()
        return x.squeeze(-1)

    @torch.no_grad()
    def renormalise(self, target: Tensor) -> None:
        """Take mean and deviation from ``target`` (count, N)."""
        mean, std = target.mean(1), target.std(1, correction=0).clamp(min=1e-3)
        scale, shift = self.std / std, (self.mean - mean) / std
        self.weights[-1].mul_(scale[:, None, None])
        self.biases[-1].mul_(scale[:, None, None]).add_(shift[:, None, None])
        self.mean.copy_(mean)
        self.std.copy_(std)


class Network(nn.Module):
    """A policy, and values of the reward and of each of K costs."""

    def __init__(self, spaces: Spaces, config: ConstrainedConfig, constraints: int = 1) -> None:
        """Build for vectors and discrete values.

        Raises:
            TypeError: An observation is an image, or the actions are of an unknown space.
        """
        super().__init__()
        self.spaces = spaces.observation
        for name, space in self.spaces.items():
            if is_image(space):
                size = " x ".join(str(side) for side in image_size(space))
                raise TypeError(
                    f"constrained agents see vectors, and {name!r} is an image of {size}: take ppo "
                    "or actor_critic (which know no limit), or an environment that gives a vector"
                )
        self.inputs = sum(flat_size(space) for space in self.spaces.values())
        self.policy = Policy(self.inputs, spaces.action, config)
        self.values = Values(self.inputs, config.net_arch, 1 + constraints)

    def flatten(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return observations as rows (N, D)."""
        return torch.cat([flatten(observation[n], s) for n, s in self.spaces.items()], 1)


def _tanh_layers(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    sizes = (inputs, *hidden)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
