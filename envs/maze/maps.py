"""Drawn maps: text in which ``*`` is a wall and letters mark squares."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from daedalus.envs.maze.raycast import SOLID

_PATCH = 5  # squares of a side that share a theme
_THEMES = 15


class Plan(NamedTuple):
    """A drawn map."""

    grid: np.ndarray  # uint8 (height, width), walls and themes
    letters: np.ndarray  # str (height, width)

    def squares(self, letter: str) -> np.ndarray:
        """Return the indices of the squares marked with a letter, row by row."""
        return np.flatnonzero(self.letters.ravel() == letter)


def read_map(text: str) -> Plan:
    """Read a map; each patch of 5 x 5 squares gets a theme, so that places can be told apart."""
    rows = text.strip("\n").split("\n")
    letters = np.array([list(row) for row in rows])
    height, width = letters.shape
    y, x = np.mgrid[0:height, 0:width]
    columns = -(-width // _PATCH)
    theme = 1 + (y // _PATCH * columns + x // _PATCH) % _THEMES
    return Plan(np.where(letters == "*", SOLID, theme).astype(np.uint8), letters)


def read_disc(side: int, radius: float) -> np.ndarray:
    """Return the grid of a round room, uint8 (side, side); each eighth of the wall has a theme."""
    y, x = np.mgrid[0:side, 0:side] + 0.5 - side / 2
    theme = 1 + np.floor((np.arctan2(y, x) + np.pi) / (2 * np.pi) * 8) % 8
    return np.where(np.hypot(x, y) > radius, SOLID, theme).astype(np.uint8)
