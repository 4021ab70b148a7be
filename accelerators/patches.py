"""The patches of images that a convolution sees, and their sum back into images.

A convolution is a matrix product of its patches with its weights. Going forward, oneDNN's own
kernels are faster; going backward, with the few channels of small networks, two matrix products
and these two copies take a third to nine tenths of its time.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from torch import Tensor


def patches(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Return what every output of a convolution sees.

    Args:
        x: (N, H, W, C), contiguous.
        kernel: Side k of the patches.
        stride: Distance s between them.

    Returns:
        (N, h, w, k * k * C), a copy, with h = (H - k) // s + 1.
    """
    count, height, width, channels = x.shape
    down, right = ((side - kernel) // stride + 1 for side in (height, width))
    image, row, column, _ = x.stride()
    shape = (count, down, right, kernel, kernel * channels)
    steps = (image, stride * row, stride * column, row, 1)
    return x.as_strided(shape, steps).reshape(count, down, right, -1)


def sum_patches(columns: Tensor, size: tuple[int, int], kernel: int, stride: int) -> Tensor:
    """Return the transpose of `patches`: every patch added where it came from.

    Args:
        columns: (N, h, w, k * k * C), contiguous, on the CPU.
        size: H and W.
        kernel: k.
        stride: s.

    Returns:
        (N, H, W, C).
    """
    channels = columns.shape[-1] // kernel**2
    result = columns.new_zeros(len(columns), *size, channels)
    _add(columns.numpy(), result.flatten(2).numpy(), (kernel, stride, channels))
    return result


@njit(cache=True)
def _add(columns: np.ndarray, rows: np.ndarray, shape: tuple[int, int, int]) -> None:
    """Add patches (N, h, w, k * k * C) into image rows (N, H, W * C), a row of a patch at once."""
    kernel, stride, channels = shape
    count, down, right, _ = columns.shape
    length = kernel * channels
    for n in range(count):
        for y in range(down):
            for k in range(kernel):
                for x in range(right):
                    start = x * stride * channels
                    target = rows[n, y * stride + k, start : start + length]
                    source = columns[n, y, x, k * length : (k + 1) * length]
                    for i in range(length):
                        target[i] += source[i]
