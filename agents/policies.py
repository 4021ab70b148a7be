"""Distributions over action spaces, parameterised by the outputs of a linear layer.

``policy_for(space)`` gives the one for a space: a softmax for Discrete, one softmax per component
for MultiDiscrete and MultiBinary, and a Gaussian with a state-independent standard deviation for
Box. Actions here are those of the space (Discrete spaces that start at 3 give 3, 4, ...).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from torch import Tensor, nn


class Policy(Protocol):
    """A distribution over actions for outputs (N, size) of a layer."""

    size: int

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Draw an action for every row."""

    def mode(self, output: Tensor) -> Tensor:
        """Return the most likely action of every row."""

    def log_prob_entropy(self, output: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return log pi(action) and the entropy of every row, (N,) each."""

    def describe(self, output: Tensor) -> dict[str, Tensor]:
        """Return the parameters that people understand, (N, ...) by name."""


class Categorical(nn.Module):
    """A softmax over the values of a Discrete space."""

    def __init__(self, space: Discrete) -> None:
        """Take number and first value from ``space``."""
        super().__init__()
        self.size, self.start = int(space.n), int(space.start)

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Draw by exponential races: argmin of e_i / p_i with e_i ~ Exp(1)."""
        race = torch.empty_like(output).exponential_(generator=generator)
        return (output - race.log_()).argmax(-1) + self.start

    def mode(self, output: Tensor) -> Tensor:
        """Return the largest output's action."""
        return output.argmax(-1) + self.start

    def log_prob_entropy(self, output: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return log pi(action) and the entropy of every row."""
        log_pi = F.log_softmax(output, -1)
        chosen = log_pi.gather(-1, (action.long() - self.start).unsqueeze(-1)).squeeze(-1)
        return chosen, -(log_pi.exp() * log_pi).sum(-1)

    def describe(self, output: Tensor) -> dict[str, Tensor]:
        """Return the probabilities (N, A)."""
        return {"probabilities": output.softmax(-1)}


class MultiCategorical(nn.Module):
    """Independent softmaxes over the components of a MultiDiscrete or MultiBinary space."""

    def __init__(self, space: MultiDiscrete | MultiBinary) -> None:
        """Take numbers and first values from ``space``."""
        super().__init__()
        shape = space.shape
        numbers = space.nvec if isinstance(space, MultiDiscrete) else np.full(shape, 2)
        starts = space.start if isinstance(space, MultiDiscrete) else np.zeros(shape, np.int64)
        self.shape = tuple(shape)
        self.parts = [
            Categorical(Discrete(int(n), start=int(s)))
            for n, s in zip(numbers.ravel(), starts.ravel(), strict=True)
        ]
        self.sizes = [part.size for part in self.parts]
        self.size = sum(self.sizes)

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Draw every component."""
        split = output.split(self.sizes, -1)
        drawn = [p.sample(o, generator) for p, o in zip(self.parts, split, strict=True)]
        return torch.stack(drawn, -1).view(-1, *self.shape)

    def mode(self, output: Tensor) -> Tensor:
        """Return the most likely value of every component."""
        split = output.split(self.sizes, -1)
        best = [part.mode(o) for part, o in zip(self.parts, split, strict=True)]
        return torch.stack(best, -1).view(-1, *self.shape)

    def log_prob_entropy(self, output: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums over components of log pi and entropy."""
        split = output.split(self.sizes, -1)
        columns = action.reshape(len(action), -1).unbind(-1)
        terms = [
            part.log_prob_entropy(o, column)
            for part, o, column in zip(self.parts, split, columns, strict=True)
        ]
        log_pi = torch.stack([log for log, _ in terms]).sum(0)
        return log_pi, torch.stack([entropy for _, entropy in terms]).sum(0)

    def describe(self, output: Tensor) -> dict[str, Tensor]:
        """Return the probabilities of every component."""
        split = output.split(self.sizes, -1)
        return {f"probabilities of component {i}": o.softmax(-1) for i, o in enumerate(split)}


class Gaussian(nn.Module):
    """Independent normals: the outputs are the means, the log standard deviations parameters."""

    def __init__(self, space: Box) -> None:
        """Start with a standard deviation of 1."""
        super().__init__()
        self.shape = tuple(space.shape)
        self.size = math.prod(self.shape)
        self.log_std = nn.Parameter(torch.zeros(self.size))

    def sample(self, output: Tensor, generator: torch.Generator) -> Tensor:
        """Draw; the caller clips to the bounds of the space."""
        noise = torch.empty_like(output).normal_(generator=generator)
        return (output + self.log_std.exp() * noise).view(-1, *self.shape)

    def mode(self, output: Tensor) -> Tensor:
        """Return the means."""
        return output.view(-1, *self.shape)

    def log_prob_entropy(self, output: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the log density and the entropy, summed over components."""
        scaled = (action.reshape(len(action), -1) - output) / self.log_std.exp()
        constant = 0.5 * math.log(2 * math.pi)
        log_pi = (-0.5 * scaled * scaled - self.log_std - constant).sum(-1)
        entropy = (self.log_std + 0.5 + constant).sum().expand(len(output))
        return log_pi, entropy

    def describe(self, output: Tensor) -> dict[str, Tensor]:
        """Return means and standard deviations (N, size)."""
        return {"mean action": output, "deviation": self.log_std.exp().expand_as(output)}


def check_actions(space: Space[Any]) -> None:
    """See that agents can take actions of ``space``.

    Raises:
        TypeError: The space is none of Discrete, MultiDiscrete, MultiBinary and Box.
    """
    if not isinstance(space, Discrete | MultiDiscrete | MultiBinary | Box):
        raise TypeError(
            f"no agent takes actions of {type(space).__name__} spaces: an ActionWrapper can offer "
            "them as Box, Discrete, MultiDiscrete or MultiBinary"
        )


def policy_for(space: Space[Any]) -> Categorical | MultiCategorical | Gaussian:
    """Return the distribution for an action space.

    Raises:
        TypeError: The space is none of Discrete, MultiDiscrete, MultiBinary and Box.
    """
    check_actions(space)
    if isinstance(space, Discrete):
        return Categorical(space)
    if isinstance(space, MultiDiscrete | MultiBinary):
        return MultiCategorical(space)
    assert isinstance(space, Box)
    return Gaussian(space)
