"""Layers whose backward pass is written out, so that acting's forward pass serves the update.

Acting computes what the update needs, and the parameters have not changed in between: its results
are kept and handed in. Gradients equal those of automatic differentiation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from daedalus.accelerators.patches import patches, sum_patches
from daedalus.accelerators.products import is_faster, product

NARROW = 16
"""Channels up to which products of patches are faster than the library's backward pass."""


def linear_relu(x: Tensor, layer: nn.Linear, known: Tensor | None = None) -> Tensor:
    """Return relu(layer(x)), (N, out); ``known`` is that result if acting has computed it."""
    weight, bias = _parameters(layer, x.dtype)
    if known is None:
        if not is_faster(x, weight.t()):
            return F.linear(x, weight, bias).relu_()
        with torch.no_grad():
            known = product(x, weight.t(), bias).relu_()
    return _KnownLinear.apply(x, weight, bias, known)  # type: ignore[no-any-return,no-untyped-call]


def _parameters(layer: nn.Linear | nn.Conv2d, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return weight and bias in ``dtype``; gradients flow back to the layer's own."""
    assert layer.bias is not None
    return layer.weight.to(dtype), layer.bias.to(dtype)


class _KnownLinear(torch.autograd.Function):
    """relu(x W' + b) with a known result: only the backward pass is computed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, result: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight, result)
        return result.view_as(result)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        x, weight, result = ctx.saved_tensors
        gradient = _before_relu(gradient, result)
        d_x = product(gradient, weight) if ctx.needs_input_grad[0] else None
        return d_x, product(gradient.t(), x), gradient.sum(0), None


def _before_relu(gradient: Tensor, result: Tensor) -> Tensor:
    """Return the gradient in front of a ReLU that gave ``result``."""
    return torch.ops.aten.threshold_backward(gradient, result, 0.0)  # type: ignore[no-any-return]


Maps = Sequence[Tensor]
"""The input of a stack of convolutions and the output of each, (N, C, H, W), channels last."""


@torch.no_grad()
def convolve(x: Tensor, layers: Sequence[nn.Conv2d]) -> list[Tensor]:
    """Return `Maps`: ``x`` and what each convolution with ReLU makes of the one before."""
    maps = [x]
    for layer in layers:
        y = F.conv2d(maps[-1], *_parameters(layer, x.dtype), layer.stride)
        maps.append(F.relu(y, inplace=True))
    return maps


def flat(maps: Maps) -> Tensor:
    """Return the last map, (N, features), channels last."""
    return maps[-1].permute(0, 2, 3, 1).reshape(len(maps[-1]), -1)


def join(parts: Sequence[Maps], layers: Sequence[nn.Conv2d]) -> Tensor:
    """Return the last maps of all ``parts``, (N, features), through which gradients flow."""
    dtype = parts[0][0].dtype
    parameters = [p for layer in layers for p in _parameters(layer, dtype)]
    strides = [layer.stride[0] for layer in layers]
    return _Convolutions.apply(parts, strides, *parameters)  # type: ignore[no-any-return,no-untyped-call]


class _Convolutions(torch.autograd.Function):
    """Convolutions with ReLU whose maps are known, part by part: each stays in the cache."""

    @staticmethod
    def forward(ctx: Any, parts: Sequence[Maps], strides: list[int], *parameters: Tensor) -> Tensor:
        ctx.parts, ctx.strides, ctx.weights = parts, strides, parameters[::2]
        return torch.cat([flat(maps) for maps in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        sums: list[Tensor] = []
        pieces = gradient.split([len(maps[0]) for maps in ctx.parts])
        for maps, piece in zip(ctx.parts, pieces, strict=True):
            count, _, height, width = maps[-1].shape
            behind = piece.view(count, height, width, -1).permute(0, 3, 1, 2)
            found = [_wide(g) for g in _back(behind, maps, ctx.weights, ctx.strides)]
            sums = [a.add_(b) for a, b in zip(sums, found, strict=True)] if sums else found
        return None, None, *sums


def _wide(value: Tensor) -> Tensor:
    """Return ``value`` in float32 if it has less, so that sums over parts lose nothing."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _back(
    gradient: Tensor, maps: Maps, weights: Sequence[Tensor], strides: Sequence[int]
) -> list[Tensor]:
    """Return the gradients of weight and bias of every layer."""
    found: list[Tensor] = []
    for i in range(len(weights) - 1, -1, -1):
        gradient = _before_relu(gradient, maps[i + 1])
        back = _by_patches if i and _is_narrow(maps[i]) else _by_library
        before, weight, bias = back(gradient, maps[i], weights[i], strides[i], i > 0)
        found = [weight, bias, *found]
        if before is not None:
            gradient = before
    return found


def _is_narrow(x: Tensor) -> bool:
    """Whether patches are faster; not for 3 colours, whose short rows are slow to gather."""
    float32 = x.dtype == torch.float32
    return x.device.type == "cpu" and float32 and x.shape[1] <= NARROW


Gradients = tuple[Tensor | None, Tensor, Tensor]
"""Of a convolution's input (None if it is not needed), weight and bias."""


def _by_library(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, needed: bool
) -> Gradients:
    found: Gradients = torch.ops.aten.convolution_backward(
        gradient, x, weight, [len(weight)], [stride] * 2, [0, 0], [1, 1],
        False, [0, 0], 1, [needed, True, True],
    )  # fmt: skip
    return found


def _by_patches(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, needed: bool
) -> Gradients:
    out, channels, kernel, _ = weight.shape
    rows = gradient.permute(0, 2, 3, 1).reshape(-1, out)
    seen = patches(x.permute(0, 2, 3, 1), kernel, stride)
    d_weight = product(rows.t(), seen.flatten(0, 2)).view(out, kernel, kernel, channels)
    columns = product(rows, weight.permute(0, 2, 3, 1).reshape(out, -1)).view_as(seen)
    d_x = sum_patches(columns, (x.shape[2], x.shape[3]), kernel, stride)
    return d_x.permute(0, 3, 1, 2), d_weight.permute(0, 3, 1, 2), rows.sum(0)
