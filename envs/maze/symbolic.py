"""What an agent sees without pixels: a window of the grid, turned with it, and its exact pose."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.maze.compiling import kernel
from daedalus.envs.maze.raycast import DOOR, SOLID

WALL_CODE, FLOOR_CODE, DOOR_CODE, OBJECT_CODE = 0, 1, 2, 6
"""Codes in the window: wall, floor, doors by colour from 2, objects by kind from 6 + 1."""


@kernel
def code_of(value: int, item: int) -> int:
    """Return the window's code of a grid value with an item (kind; 0 for none) on it."""
    if value >= SOLID:
        return DOOR_CODE + (value & 3) if value & DOOR else WALL_CODE
    return OBJECT_CODE + item if item else FLOOR_CODE


@kernel
def quarter_of(heading: np.float32) -> int:
    """Return the nearest quarter turn of a heading in [0, 2 pi): 0 along +x, 1 along +y, ..."""
    return np.int64(heading * np.float32(2 / math.pi) + np.float32(0.5)) & 3


@kernel
def look_around(
    symbols: np.ndarray, rules: Any, pose: np.ndarray, quarter: int, window: np.ndarray
) -> None:
    """Fill the window: the agent in the middle of the bottom row, ahead is up.

    Args:
        symbols: uint8 (N,), the code of every square.
        rules: Record of ``RULES``.
        pose: float32 (8,), x and y first.
        quarter: Direction it looks in, in quarter turns.
        window: uint8 (V, V), V odd, filled; outside the map is wall.
    """
    width, height, size = np.uint64(rules.width), np.uint64(rules.height), window.shape[0]
    cosine, sine = (1, 0, -1, 0)[quarter], (0, 1, 0, -1)[quarter]
    ahead, half = size - 1, size // 2
    left = np.int64(pose[0]) + cosine * ahead + sine * half
    top = np.int64(pose[1]) + sine * ahead - cosine * half
    for i in range(size):
        x, y = left - cosine * i, top - sine * i
        for j in range(size):
            code = np.uint8(WALL_CODE)
            if np.uint64(x) < width and np.uint64(y) < height:
                code = symbols[np.uint64(y) * width + np.uint64(x)]
            window[i, j] = code
            x -= sine
            y += cosine
