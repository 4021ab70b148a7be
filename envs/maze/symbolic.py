"""What an agent sees without pixels: a window of the grid, turned with it, and its exact pose."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.maze.compiling import kernel
from daedalus.envs.maze.raycast import DOOR, SOLID
from daedalus.envs.maze.tile import SIDE, turn_tile

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
def look_around(symbols: np.ndarray, rules: Any, pose: np.ndarray, window: np.ndarray) -> None:
    """Fill the window: the agent in the middle of the bottom row, ahead is up.

    Args:
        symbols: uint8 (N,), the code of every square; within a state, see `turn_tile`.
        rules: Record of ``RULES``.
        pose: float32 (8,), x, y and heading first.
        window: uint8 (V, V), V odd, filled; outside the map is wall.
    """
    width, height, size = rules.width, rules.height, window.shape[0]
    quarter = quarter_of(pose[2])
    if size == SIDE:
        left = np.int64(pose[0]) - (0, SIDE // 2, SIDE - 1, SIDE // 2)[quarter]
        top = np.int64(pose[1]) - (SIDE // 2, 0, SIDE // 2, SIDE - 1)[quarter]
        turn_tile(symbols, width, height, left, top, quarter, window)
        return
    cosine, sine = (1, 0, -1, 0)[quarter], (0, 1, 0, -1)[quarter]
    x = np.int64(pose[0]) + cosine * (size - 1) + sine * (size // 2)
    y = np.int64(pose[1]) + sine * (size - 1) - cosine * (size // 2)
    # along a row of the window one coordinate moves by one: the part on the map is the same for all
    start, limit, forwards = (y, height, cosine > 0) if sine == 0 else (x, width, sine < 0)
    first = max(-start if forwards else start - limit + 1, 0)
    last = min(limit - start if forwards else start + 1, size)
    stride = cosine * width - sine
    for i in range(np.uint64(size)):
        for j in range(np.uint64(size)):
            window[i, j] = WALL_CODE
        if 0 <= (x if sine == 0 else y) < (width if sine == 0 else height):
            square = y * width + x + first * stride
            for j in range(first, last):
                window[i, np.uint64(j)] = symbols[np.uint64(square)]
                square += stride
        x -= cosine
        y -= sine
