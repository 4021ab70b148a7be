"""How much each cell of an image changed: the rewards of pixel control."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor


@njit(cache=True)
def _cell_change(
    before: np.ndarray, after: np.ndarray, grid: tuple[int, int], cell: tuple[int, int]
) -> np.ndarray:
    """Return the mean absolute change per cell; see `pixel_change`."""
    count, height, width, channels = before.shape
    rows, columns = grid
    tall, wide = cell
    top, left = (height - rows * tall) // 2, (width - columns * wide) // 2
    scale = np.float32(1.0 / (255.0 * tall * wide * channels))
    result = np.empty((count, rows, columns), np.float32)
    for n in range(count):
        for r in range(rows):
            for c in range(columns):
                total: Any = 0
                for y in range(top + r * tall, top + (r + 1) * tall):
                    for x in range(left + c * wide, left + (c + 1) * wide):
                        for k in range(channels):
                            total += abs(np.int32(after[n, y, x, k]) - np.int32(before[n, y, x, k]))
                result[n, r, c] = scale * total
    return result


def pixel_change(
    before: Tensor, after: Tensor, grid: tuple[int, int], cell: tuple[int, int]
) -> Tensor:
    """Return mean |x_t - x_{t-1}| over the pixels and channels of every cell, pixels in [0, 1].

    The grid of cells is centred: 20 x 20 cells of 4 x 4 pixels are the central 80 x 80 of 84 x 84.

    Args:
        before: uint8 (N, H, W, C).
        after: uint8 (N, H, W, C).
        grid: Rows and columns of cells.
        cell: Height and width of a cell in pixels.

    Returns:
        float32 (N, rows, columns), on the device of ``before``.
    """
    if before.device.type == "cpu":
        return torch.from_numpy(_cell_change(before.numpy(), after.numpy(), grid, cell))
    (rows, columns), (tall, wide) = grid, cell
    top = (before.shape[1] - rows * tall) // 2
    left = (before.shape[2] - columns * wide) // 2
    part = (slice(None), slice(top, top + rows * tall), slice(left, left + columns * wide))
    change = (after[part].float() - before[part].float()).abs_().mul_(1 / 255)
    return change.view(len(before), rows, tall, columns, -1).mean((2, 4))
