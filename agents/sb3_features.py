"""Features of observations that stable-baselines3's own extractors do not take as they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Dict, MultiDiscrete
from stable_baselines3.common.preprocessing import get_flattened_obs_dim, is_image_space
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
)
from torch import Tensor, nn

from daedalus.agents.networks import A3C, image_size, is_image

NATURE_SIDE = 36
"""The smallest image, in pixels a side, that ``NatureCNN`` takes."""


def extractor_for(space: Space[Any]) -> type[BaseFeaturesExtractor] | None:
    """Return what takes ``space`` where stable-baselines3's own extractor does not, or None.

    `Features` where a part is uint8 and not an image that ``NatureCNN`` takes.
    """
    parts = list(space.spaces.values()) if isinstance(space, Dict) else [space]
    if any(isinstance(p, Box) and p.dtype == np.uint8 and not _suits_nature(p) for p in parts):
        return Features
    if any(isinstance(part, MultiDiscrete) for part in parts):
        return _Combined if isinstance(space, Dict) else _Flat
    return None


def _suits_nature(space: Box) -> bool:
    return is_image_space(space) and min(image_size(space)[:2]) >= NATURE_SIDE


class _Flat(FlattenExtractor):
    """Theirs, with an int for its size: NumPy's, which MultiDiscrete gives, suits no LSTM."""

    @property
    def features_dim(self) -> int:
        """Length of the features."""
        return int(self._features_dim)


class _Combined(CombinedExtractor):
    """Theirs, with an int for its size."""

    features_dim = _Flat.features_dim


class Features(BaseFeaturesExtractor):
    """The convolutions of A3C over images, the rest flat; then one fully connected ReLU layer.

    stable-baselines3 hands over float images, channel-first and in [0, 1], and one-hot discrete
    values; uint8 arrays that it does not take for images are scaled here.
    """

    def __init__(self, observation_space: Space[Any], features_dim: int = 256) -> None:
        """Build for ``observation_space``."""
        super().__init__(observation_space, features_dim)
        several = isinstance(observation_space, Dict)
        spaces = observation_space.spaces if isinstance(observation_space, Dict) else {}
        self.parts = dict(spaces) if several else {"observation": observation_space}
        self.stacks = nn.ModuleDict({n: _stack(s) for n, s in self.parts.items() if is_image(s)})
        with torch.no_grad():
            sizes = [
                self.stacks[n](torch.zeros(1, *_planes(s))).shape[1]
                if n in self.stacks
                else get_flattened_obs_dim(s)
                for n, s in self.parts.items()
            ]
        self.linear = nn.Linear(sum(sizes), features_dim)

    def forward(self, observations: Any) -> Tensor:
        """Map a preprocessed observation (or a dict of them), (N, ...), to (N, features_dim)."""
        given = observations if isinstance(observations, dict) else {"observation": observations}
        flat = [self._part(name, space, given[name]) for name, space in self.parts.items()]
        return torch.relu(self.linear(torch.cat(flat, 1)))

    def _part(self, name: str, space: Space[Any], value: Tensor) -> Tensor:
        if space.dtype == np.uint8 and not is_image_space(space):
            value = value / 255
        if name in self.stacks:
            return self.stacks[name](value.reshape(len(value), *_planes(space)))  # type: ignore[no-any-return]
        return value.reshape(len(value), math.prod(value.shape[1:]))


def _planes(space: Space[Any]) -> tuple[int, int, int]:
    """Return (C, H, W)."""
    height, width, channels = image_size(space)
    return channels, height, width


def _stack(space: Space[Any]) -> nn.Sequential:
    channels, height, width = _planes(space)
    side = min(height, width)
    modules: list[nn.Module] = []
    for out, kernel, stride in next(layers for least, layers in A3C if side >= least):
        modules += [nn.Conv2d(channels, out, kernel, stride), nn.ReLU()]
        channels = out
    return nn.Sequential(*modules, nn.Flatten())
