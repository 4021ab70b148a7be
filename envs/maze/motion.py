"""Moving: accelerating and turning in the agent's frame, sliding along walls in the world's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.maze.compiling import kernel
from daedalus.envs.maze.raycast import DOOR, SOLID

FORWARD, BACKWARD, STRAFE_LEFT, STRAFE_RIGHT = 0, 1, 2, 3
LOOK_LEFT, LOOK_RIGHT, FORWARD_LEFT, FORWARD_RIGHT = 4, 5, 6, 7
ACTIONS = (
    "forward",
    "backward",
    "strafe_left",
    "strafe_right",
    "look_left",
    "look_right",
    "forward_look_left",
    "forward_look_right",
)
"""The eight actions, by number."""
_WANTS = np.array(
    [[1, 0, 0], [-1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, -1], [0, 0, 1], [1, 0, -1], [1, 0, 1]],
    np.float32,
)  # forward, right, turn
RADIUS = np.float32(0.2)
"""Half the side of the agent's body, in squares."""
_SKIN = np.float32(1e-3)


@kernel
def is_free(grid: np.ndarray, width: int, x: np.float32, y: np.float32) -> bool:
    """Tell whether the body of an agent at (x, y) touches no solid square."""
    for row in range(np.int64(y - RADIUS), np.int64(y + RADIUS) + 1):
        for column in range(np.int64(x - RADIUS), np.int64(x + RADIUS) + 1):
            if grid[row * width + column] >= SOLID:
                return False
    return True


@kernel
def _blocker(grid: np.ndarray, i: int, j: int, key: int) -> int:
    """Return what stops a body whose leading corners are in squares i and j.

    -1 for nothing, -2 for something, the square of a closed door that the key opens.
    """
    value = np.int64(grid[i])
    if value < SOLID:
        i, value = j, np.int64(grid[j])
        if value < SOLID:
            return -1
    return i if value & DOOR and key == 1 + (value & 3) else -2


@kernel
def _stop(place: int, forwards: bool) -> np.float32:
    """Return where a body stops whose leading edge would be in the square ``place``."""
    if forwards:
        return np.float32(place) - RADIUS - _SKIN
    return np.float32(place + 1) + RADIUS + _SKIN


@kernel
def move(
    grid: np.ndarray,
    width: int,
    start: tuple[np.float32, np.float32],
    way: tuple[np.float32, np.float32],
    key: int,
) -> tuple[np.float32, np.float32, int]:
    """Move a body, first along x, then along y; a wall stops it flush, so that it slides.

    Args:
        grid: uint8 (squares,).
        width: Squares in a row.
        start: Where the body is, free of walls.
        way: Wanted displacement; each part shorter than one square less the radius.
        key: One plus the colour of the key that is held; 0 for none.

    Returns:
        The new x and y, and the index of the door that the body pushes with its key, or -1.
    """
    x, y = start
    dx, dy = way
    column = np.int64(x + dx + (RADIUS if dx > 0 else -RADIUS))
    upper, lower = np.int64(y - RADIUS) * width, np.int64(y + RADIUS) * width
    door = _blocker(grid, upper + column, lower + column, key)
    x = x + dx if door == -1 else _stop(column, dx > 0)
    row = np.int64(y + dy + (RADIUS if dy > 0 else -RADIUS))
    left, right = np.int64(x - RADIUS), np.int64(x + RADIUS)
    other = _blocker(grid, row * width + left, row * width + right, key)
    y = y + dy if other == -1 else _stop(row, dy > 0)
    return x, y, max(door, other)


@kernel
def accelerate(now: np.float32, action: int, axis: int, speed: np.float32, gain: Any) -> Any:
    """Return the new speed along an axis of the agent, a share ``gain`` nearer to the wanted."""
    return now + gain * (_WANTS[action, axis] * speed - now)


@kernel
def turn_of(action: int) -> np.float32:
    """Return -1, 0 or 1: the direction in which an action turns, right being positive."""
    return _WANTS[action, 2]


@kernel
def wrapped(angle: np.float32) -> np.float32:
    """Return an angle of at most two turns brought into [0, 2 pi)."""
    full = np.float32(2 * math.pi)
    if angle < 0:
        return angle + full
    return angle - full if angle >= full else angle
