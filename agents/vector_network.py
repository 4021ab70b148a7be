"""Networks of agents that see vectors: a tanh policy, values in normalised units, and their fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from daedalus.accelerators.rollout import Acted, Inputs, Outputs, Rollout, State
from daedalus.agents.base import Spaces
from daedalus.agents.networks import flat_size, flatten, image_size, is_image
from daedalus.agents.optimizers import descend
from daedalus.agents.policies import Gaussian, policy_for


class VectorNetwork(nn.Module):
    """A policy and ``count`` values over observations that are flattened to rows."""

    seers: ClassVar[str] = "these agents"
    """Who cannot see an image, and in `instead` what can, for the message."""
    instead: ClassVar[str] = "ppo or actor_critic"

    def __init__(
        self,
        spaces: Spaces,
        hidden: tuple[int, ...],
        log_std: float,
        count: int = 1,
    ) -> None:
        """Build for vectors and discrete values.

        Args:
            spaces: Of the environment.
            hidden: Units of the tanh layers, of policy and values alike.
            log_std: Of a Gaussian policy, at the start.
            count: How many values.

        Raises:
            TypeError: An observation is an image, or the actions are of an unknown space.
        """
        super().__init__()
        self.spaces = spaces.observation
        for name, space in self.spaces.items():
            if is_image(space):
                size = " x ".join(str(side) for side in image_size(space))
                raise TypeError(
                    f"{self.seers} see vectors, and {name!r} is an image of {size}: take "
                    f"{self.instead}, or an environment that gives a vector"
                )
        self.inputs = sum(flat_size(space) for space in self.spaces.values())
        self.policy = Policy(self.inputs, spaces.action, hidden, log_std)
        self.values = Values(self.inputs, hidden, count)

    def flatten(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Return observations as rows (N, D)."""
        return torch.cat([flatten(observation[n], s) for n, s in self.spaces.items()], 1)

    def act(self, inputs: Inputs, generator: torch.Generator, deterministic: bool) -> Acted:
        """Sample or take the most likely actions; outside training with the reward's value."""
        extras = {}
        showing = not torch.is_grad_enabled()
        with torch.no_grad():
            rows = self.flatten(inputs.observation)
            output = self.policy(rows)
            if showing:
                extras = {"value": self.values(rows)[0]}
            policy = self.policy.distribution
            action = policy.mode(output) if deterministic else policy.sample(output, generator)
        return Acted(action, {}, extras)

    def outputs(self, inputs: Inputs, state: State) -> Outputs:
        """Return logits or means, values and activations; see `Agent.outputs`."""
        rows = self.flatten(inputs.observation)
        return Outputs(self.policy(rows), self.values(rows)[0], {"input": rows})

    @torch.no_grad()
    def judge(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Return V(s_t) and V of the true successors, (count, T, B) each."""
        steps, envs = rollout.reward.shape
        rows = {name: x.flatten(0, 1) for name, x in rollout.observation.items()}
        value = self.values(self.flatten(rows)).view(-1, steps + 1, envs)
        following = value[:, 1:].clone()
        if len(rollout.final_index):
            t, b = rollout.final_index.unbind(1)
            last = self.flatten(rollout.final_observation)
            following[:, t, b] = self.values(last)
        return value[:, :-1], following


class Policy(nn.Module):
    """Tanh layers to the parameters of a distribution; a Gaussian's deviation knows no state."""

    def __init__(
        self, inputs: int, action_space: Any, hidden: tuple[int, ...], log_std: float
    ) -> None:
        """Build with a last layer near zero, so that all actions begin alike.

        Args:
            inputs: Length of an observation's row, D.
            action_space: Of the environment.
            hidden: Units of the layers.
            log_std: Of a Gaussian, at the start.
        """
        super().__init__()
        self.distribution = policy_for(action_space)
        self.layers = _tanh_layers(inputs, hidden, self.distribution.size)
        with torch.no_grad():
            for parameter in self.layers[-1].parameters():
                parameter.mul_(0.1)
            if isinstance(self.distribution, Gaussian):
                self.distribution.log_std.fill_(log_std)

    def forward(self, observation: Tensor) -> Tensor:
        """Map (N, D) to the distribution's outputs (N, size)."""
        result: Tensor = self.layers(observation)
        return result


ALIKE = 1e-6
"""Share of their mean below which a deviation of targets is rounding: they are alike."""
TINY = 1e-30
"""Divided by in the place of a deviation of 0, where the result is not used."""


class Values(nn.Module):
    """Values of the reward and of any costs: networks of their own, multiplied in one go.

    V = mean + std * network, with the targets' mean and their widest standard deviation so far;
    when they are renewed the last layers change so that no value does (PopArt, van Hasselt et al.
    2016, 1602.07714). With the latest deviation, a batch whose targets are alike (no cost in it)
    would blow the last layer up, and the next batches would not mend it. Until targets differ at
    all, values are their mean.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, hidden: tuple[int, ...], count: int) -> None:
        """Build with the layers' usual start.

        Args:
            inputs: Length of an observation's row, D.
            hidden: Units of the tanh layers.
            count: How many networks.
        """
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise((inputs, *hidden, 1)):
            bound = before**-0.5
            self.weights.append(torch.empty(count, before, after).uniform_(-bound, bound))
            self.biases.append(torch.empty(count, 1, after).uniform_(-bound, bound))
        self.register_buffer("mean", torch.zeros(count))
        self.register_buffer("std", torch.zeros(count))

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
        mean, std = target.mean(1), target.std(1, correction=0)
        std = std.where(std > ALIKE * mean.abs(), 0.0).maximum(self.std)
        known, unit = self.std > 0, std.clamp(min=TINY)
        scale = torch.where(known, self.std / unit, 1.0)
        shift = torch.where(known, (self.mean - mean) / unit, 0.0)
        self.weights[-1].mul_(scale[:, None, None])
        self.biases[-1].mul_(scale[:, None, None]).add_(shift[:, None, None])
        self.mean.copy_(mean)
        self.std.copy_(std)

    def wanted(self, target: Tensor) -> Tensor:
        """Return what the networks should say for ``target`` (count, N): 0 where all are alike."""
        std = self.std[:, None]
        return torch.where(std > 0, (target - self.mean[:, None]) / std.clamp(min=TINY), 0.0)


def fit_values(
    values: Values,
    optimizer: torch.optim.Optimizer,
    rows: Tensor,
    target: Tensor,
    minibatches: Iterable[np.ndarray],
) -> float:
    """Fit values to their targets; return the mean loss in normalised units.

    Args:
        values: ``count`` of them.
        optimizer: Of their parameters.
        rows: (N, D).
        target: (count, N).
        minibatches: Row numbers of each step.

    Raises:
        NotFiniteError: The loss or a gradient is not finite; no value has changed by it.
    """
    total, count = 0.0, 0
    values.renormalise(target)
    wanted = values.wanted(target)
    for part in minibatches:
        index = torch.from_numpy(part).to(wanted.device)
        error = values.normalised(rows[index]) - wanted[:, index]
        loss = 0.5 * error.square().mean(1).sum()
        descend(optimizer, loss, values.named_parameters)
        total, count = total + float(loss.detach()), count + 1
    return total / max(count, 1)


def minibatches(
    count: int, epochs: int, size: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Return the rows of each minibatch of ``epochs`` passes over ``count`` steps.

    Args:
        count: Steps.
        epochs: Passes.
        size: Steps in a minibatch, about: all are equally large.
        rng: Source of the order.
    """
    parts = max(1, round(count / size))
    for _ in range(epochs):
        yield from np.array_split(rng.permutation(count), parts)


def _tanh_layers(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    sizes = (inputs, *hidden)
    layers: list[nn.Module] = []
    for before, after in pairwise(sizes):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
