# mypy: ignore-errors
"""What the maze tests share: mazes made by hand, and agents put somewhere."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.maze import state as s
from daedalus.envs.maze.family import Maze
from daedalus.envs.maze.nav import NavMaze

STAND = 3
"""Strafing right: with `freeze`, an action that changes nothing."""


@functools.cache
def maze(**parameters: Any) -> NavMaze:
    """Return a family of mazes; made once for each choice of parameters."""
    return NavMaze(**parameters)


def started(family: Maze, num_envs: int = 1, seed: int = 0, **options: Any) -> Batch:
    """Return a batch after its reset."""
    batch = Batch(family, num_envs, **options)
    batch.reset(seed)
    return batch


def place(batch: Batch, x: float, y: float, heading: float, i: int = 0) -> None:
    """Put an agent somewhere, at rest; heading in degrees."""
    pose = batch.states["pose"][i]
    pose[:6] = x, y, math.radians(heading), 0, 0, 0


def open_room(batch: Batch, i: int = 0) -> None:
    """Clear a maze of inner walls and objects."""
    rules = batch.family.params.rules[0]
    grid = np.full((int(rules["height"]), int(rules["width"])), 128, np.uint8)
    grid[1:-1, 1:-1] = 1
    state = batch.states
    state["grid"][i, : grid.size] = grid.ravel()
    state["symbols"][i, : grid.size] = grid.ravel() < 128
    state["item"][i] = state["object_kind"][i] = 0
    state["counts"][i, s.OBJECTS] = 0


def squares(batch: Batch, i: int = 0) -> np.ndarray:
    """Return the grid of one environment, uint8 (height, width)."""
    rules = batch.family.params.rules[0]
    height, width = int(rules["height"]), int(rules["width"])
    grid: np.ndarray = batch.states["grid"][i, : height * width].reshape(height, width)
    return grid


def objects(batch: Batch, i: int = 0) -> dict[tuple[int, int], int]:
    """Return the kind of every object by its square (row, column)."""
    state = batch.states[i]
    count = state["counts"][s.OBJECTS]
    places = zip(state["object_y"][:count], state["object_x"][:count], strict=True)
    kinds = state["object_kind"][:count]
    return {(int(y), int(x)): int(kind) for (y, x), kind in zip(places, kinds, strict=True) if kind}
