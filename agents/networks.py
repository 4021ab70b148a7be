"""The encoder that an observation space asks for.

It has two parts: ``encode`` is the convolutions of the images (and a plain copy of the vectors),
``forward`` adds the fully connected layers. The update may reuse what ``step`` computed of both
while acting. Images are uint8 (N, H, W, C) or channel-first, and stay channels-last in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from torch import Tensor, nn

from daedalus.agents.reuse import Maps, convolve, flat, join, linear_relu

CHUNK = 128
"""Images per convolution call: activations then stay in the cache, up to twice as fast."""

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""What encoders and LSTMs may multiply in; their parameters and outputs are float32."""

Known = Mapping[str, Sequence[Tensor]]
"""What acting computed, by name: parts that follow each other, one per step."""

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)

Layers = Sequence[tuple[int, int, int]]  # (channels, kernel, stride) of each convolution

NATURE: Layers = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # Mnih et al. 2015, with 512 units
A3C: tuple[tuple[int, Layers], ...] = (
    (64, ((16, 8, 4), (32, 4, 2))),  # 84 x 84 -> 20 x 20 -> 9 x 9 (Mnih et al. 2016)
    (30, ((16, 6, 3), (32, 4, 2))),  # 42 x 42 -> 13 x 13 -> 5 x 5
    (10, ((16, 5, 2), (32, 3, 2))),  # 21 x 21 -> 9 x 9 -> 4 x 4
)
"""The two convolutions of A3C and their smaller versions, by the shorter side in pixels."""


def dtype_of(precision: str) -> torch.dtype:
    """Return the type of numbers that ``precision`` names.

    Raises:
        ValueError: There is no such one.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be 'float32' or 'bfloat16', got {precision!r}")
    return PRECISIONS[precision]


def is_image(space: Space[Any]) -> bool:
    """Whether ``space`` is convolved: uint8 of 2 or 3 dimensions, 10 pixels or more a side."""
    if not isinstance(space, Box) or space.dtype != np.uint8:
        return False
    return len(space.shape) in (2, 3) and min(image_size(space)[:2]) >= 10


def image_size(space: Space[Any]) -> tuple[int, int, int]:
    """Return (H, W, C) of an image space, channel-first or channel-last."""
    shape = space.shape or ()
    if len(shape) == 2:
        return shape[0], shape[1], 1
    if shape[0] < min(shape[1:]) and shape[0] <= 16 and shape[2] > 4:
        return shape[1], shape[2], shape[0]
    return shape[0], shape[1], shape[2]


def channels_last(image: Tensor, space: Space[Any]) -> Tensor:
    """Return images as (N, H, W, C), a view."""
    height, width, channels = image_size(space)
    if image.dim() == 3:
        return image.unsqueeze(-1)
    return image if image.shape[1:] == (height, width, channels) else image.permute(0, 2, 3, 1)


def orthogonal(layer: Layer, gain: float = 2**0.5) -> Layer:
    """Return ``layer`` with an orthogonal weight of ``gain`` and no bias.

    The default keeps the variance of what passes through a ReLU. PyTorch's own initialisation loses
    five sixths of it with every layer: after three of them the views of a maze differ by 0.006 in
    each feature, beside a previous action of 0 or 1, and an agent learns to go without looking.
    """
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class Standardise(nn.Module):
    """Images (N, ...) in [0, 255] minus the mean of the first ones, over their deviation.

    Views of a maze are dark and differ little: in [0, 1] their mean is 0.38, their deviation 0.15.
    Left so, most of what a layer passes on is what all views share, and an agent with an LSTM
    learns to walk without looking. Mean and deviation are over all pixels and channels of the
    images that training begins with and stay as they are from then on; checkpoints hold them.
    Images of an agent that has not begun to train are standardised by their own.
    """

    LEAST = 25.5
    """Smaller deviations count as this, a tenth of the range: the first images may be black."""

    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        """Wait for the first images."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.zeros(()))  # 0: none were seen
        self._known = False

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._known = False

    def begin(self, images: Tensor) -> None:
        """Standardise by ``images`` from now on, if none came before them."""
        if not self.known:
            mean, deviation = self._of(images)
            self.mean.copy_(mean)
            self.deviation.copy_(deviation)

    @property
    def known(self) -> bool:
        """Whether training has begun."""
        self._known = self._known or bool(self.deviation)  # asks the device once
        return self._known

    def _of(self, images: Tensor) -> tuple[Tensor, Tensor]:
        wide = images.detach().double()
        deviation = wide.std(correction=0).clamp(min=self.LEAST)
        return wide.mean().to(self.mean), deviation.to(self.mean)

    def forward(self, images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a copy in ``dtype``."""
        mean, deviation = (self.mean, self.deviation) if self.known else self._of(images)
        if images.requires_grad:
            return (images - mean) / deviation
        return images.to(dtype, copy=True).sub_(mean).div_(deviation)


def begin_with(networks: Iterable[nn.Module], observation: Mapping[str, Tensor]) -> None:
    """Show ``observation`` (N, ...) to all parts of ``networks`` with a method of this name."""
    for part in nn.ModuleList(networks).modules():
        see: Callable[[Mapping[str, Tensor]], None] | None = getattr(part, "begin_with", None)
        if see is not None:
            see(observation)


class ConvolutionStack(nn.Module):
    """Convolutions with ReLU over one image observation; output (N, features), channels last."""

    def __init__(
        self, space: Space[Any], layers: Layers, dtype: torch.dtype = torch.float32
    ) -> None:
        """Build ``layers`` for the images of ``space``, to compute in ``dtype``."""
        super().__init__()
        self.space, self.dtype = space, dtype
        height, width, channels = image_size(space)
        modules = []
        for out, kernel, stride in layers:
            modules.append(orthogonal(nn.Conv2d(channels, out, kernel, stride)))
            height, width = ((side - kernel) // stride + 1 for side in (height, width))
            channels = out
        self.layers = nn.ModuleList(modules)
        self.layers.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.standardise = Standardise()
        self.relu = nn.ReLU()
        self.map = (height, width, channels)
        self.features = height * width * channels

    def maps(self, image: Tensor) -> list[Tensor]:
        """Return the images (N, H, W, C), standardised, and every layer's output."""
        x = channels_last(image, self.space).permute(0, 3, 1, 2)
        return convolve(self.standardise(x, self.dtype), list(self.layers))  # type: ignore[arg-type]

    def forward(self, image: Tensor, known: Sequence[Maps] | None = None) -> Tensor:
        """Map (N, H, W, C) uint8 to (N, features), in parts that fit the cache.

        Args:
            image: The images.
            known: What `maps` returned for parts of them while acting.

        Images (N, H, W, C) in [0, 255] that require gradients get them, by the library's backward
        pass; see `daedalus.evaluation.probes`.
        """
        if image.requires_grad:
            x = self.standardise(channels_last(image, self.space).permute(0, 3, 1, 2))
            for layer in self.layers:
                x = self.relu(layer(x))
            return flat([x])
        parts = known or [self.maps(part) for part in image.split(CHUNK)]
        return join(parts, list(self.layers))  # type: ignore[arg-type]


class Encoder(nn.Module):
    """Observation dict -> features (N, hidden).

    Images are standardised and go through convolutions, Discrete values become one-hot, everything
    is concatenated and goes through one fully connected ReLU layer (two where there is no image).
    """

    def __init__(
        self,
        spaces: Mapping[str, Space[Any]],
        hidden: int = 256,
        torso: str = "a3c",
        precision: str = "float32",
    ) -> None:
        """Build for ``spaces``.

        Args:
            spaces: Observation spaces by name.
            hidden: Units of the fully connected layers.
            torso: ``"a3c"`` (sizes by resolution, see `A3C`) or ``"nature"``.
            precision: ``"float32"`` or ``"bfloat16"``.

        Raises:
            ValueError: Unknown ``torso`` or ``precision``.
        """
        super().__init__()
        if torso not in ("a3c", "nature"):
            raise ValueError(f"torso must be 'a3c' or 'nature', got {torso!r}")
        self.dtype = dtype_of(precision)
        self.spaces = dict(spaces)
        self.stacks = nn.ModuleDict(
            {
                name: ConvolutionStack(space, _layers(space, torso), self.dtype)
                for name, space in spaces.items()
                if is_image(space)
            }
        )
        sizes: list[Any] = [
            self.stacks[name].features if name in self.stacks else flat_size(space)
            for name, space in spaces.items()
        ]
        self.hidden = hidden
        self.encoded = int(sum(sizes))
        self.first = nn.Linear(self.encoded, hidden)
        if self.stacks:
            orthogonal(self.first)
        self.second = None if self.stacks else nn.Linear(hidden, hidden)

    def begin_with(self, observation: Mapping[str, Tensor]) -> None:
        """Standardise images as those of ``observation`` (N, ...), which training begins with."""
        for name, stack in self.stacks.items():
            assert isinstance(stack, ConvolutionStack)
            stack.standardise.begin(observation[name])

    def image(self) -> tuple[str, ConvolutionStack] | None:
        """Return name and convolutions of the first image, if there is one."""
        for name, stack in self.stacks.items():
            assert isinstance(stack, ConvolutionStack)
            return name, stack
        return None

    def step(self, observation: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the features (N, hidden) without a graph, and what the update may reuse."""
        kept, images = {}, {}
        with torch.no_grad():
            for name, stack in self.stacks.items():
                assert isinstance(stack, ConvolutionStack)
                maps = stack.maps(observation[name])
                images[name] = flat(maps)
                kept.update({f"{name}/{i}": value for i, value in enumerate(maps)})
            dense = self._dense(self._join(observation, images))
        kept.update({f"dense/{i}": value for i, value in enumerate(dense)})
        return dense[-1].float(), kept

    def encode(self, observation: Mapping[str, Tensor], known: Known | None = None) -> Tensor:
        """Return the convolved images and flat vectors, (N, encoded), in the encoder's precision.

        Args:
            observation: (N, ...) by name.
            known: What `step` kept of the same observations, part by part.
        """
        images = {}
        for name, stack in self.stacks.items():
            names = [n for n in known or () if n.startswith(f"{name}/")]
            parts = list(zip(*(known[n] for n in names), strict=True)) if known else None
            images[name] = stack(observation[name], parts)
        return self._join(observation, images)

    def _join(self, observation: Mapping[str, Tensor], images: Mapping[str, Tensor]) -> Tensor:
        parts = [
            images[name] if name in images else flatten(observation[name], space).to(self.dtype)
            for name, space in self.spaces.items()
        ]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).to(self.dtype)

    def forward(self, encoded: Tensor, known: Known | None = None) -> Tensor:
        """Return the features (N, hidden) of (N, encoded); ``known`` as in `encode`."""
        return self._dense(encoded, known)[-1].float()

    def _dense(self, x: Tensor, known: Known | None = None) -> list[Tensor]:
        outputs = [x]
        for i, layer in enumerate((self.first, self.second)):
            if layer is not None:
                result = torch.cat(list(known[f"dense/{i}"])) if known else None
                outputs.append(linear_relu(outputs[-1], layer, result))
        return outputs[1:]


def convolutions(space: Space[Any], torso: str) -> tuple[list[tuple[int, int, int, int]], int]:
    """Return (inputs, outputs, kernel, stride) of each convolution, and the numbers that leave."""
    height, width, channels = image_size(space)
    shapes = []
    for out, kernel, stride in _layers(space, torso):
        shapes.append((channels, out, kernel, stride))
        height, width = ((side - kernel) // stride + 1 for side in (height, width))
        channels = out
    return shapes, height * width * channels


def _layers(space: Space[Any], torso: str) -> Layers:
    if torso == "nature":
        return NATURE
    side = min(image_size(space)[:2])
    return next(layers for least, layers in A3C if side >= least)


def flat_size(space: Space[Any]) -> int:
    """Return the length of one element of ``space`` after `flatten`.

    Raises:
        TypeError: Elements of such spaces are not numbers.
    """
    if isinstance(space, Discrete):
        return int(space.n)
    if isinstance(space, MultiDiscrete):
        return int(space.nvec.sum())
    if isinstance(space, Box | MultiBinary):
        return math.prod(space.shape or ())
    raise TypeError(
        f"no agent reads observations of {type(space).__name__} spaces: an ObservationWrapper can "
        "give them as Box, Discrete, MultiDiscrete or MultiBinary"
    )


def flatten(value: Tensor, space: Space[Any]) -> Tensor:
    """Return rows of float32 (N, flat_size): one-hot for discrete spaces, uint8 in [0, 1].

    Values below the first, as the action of 0 before an episode's first step may be, count as it.
    """
    if isinstance(space, Discrete):
        return F.one_hot((value.long() - int(space.start)).clamp(min=0), int(space.n)).float()
    if isinstance(space, MultiDiscrete):
        start = torch.as_tensor(space.start, device=value.device)
        columns = (value - start).long().clamp(min=0)
        rows = columns.reshape(len(value), -1).unbind(1)
        sizes = space.nvec.ravel().tolist()
        return torch.cat([F.one_hot(c, n) for c, n in zip(rows, sizes, strict=True)], 1).float()
    flat = value.reshape(len(value), -1).float()
    if space.dtype == np.uint8 and space.high.max() == 255:  # type: ignore[attr-defined]
        flat = flat / 255
    return flat
