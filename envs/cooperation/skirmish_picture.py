"""Picture of a skirmish, from above."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.canvas import BLUE, GOLD, GREEN, INK, RED, Canvas, Colour

_SCALE = 26
_GRASS: Colour = (196, 206, 168)
_WHITE: Colour = (255, 255, 255)


def draw_skirmish(state: np.void, params: Any) -> np.ndarray:
    """Return the field: yours blue, theirs red, bars of health, shots as lines."""
    size, count = params.size, params.marines
    canvas = Canvas(size, size, _SCALE, _GRASS)
    for row, column in np.ndindex(size, size):
        if (row + column) % 2:
            canvas.box((column, row, column + 1, row + 1), (190, 200, 161))
    x, y = state["x"] + 0.5, size - 0.5 - state["y"]
    for i in range(2 * count):
        j = int(state["target"][i])
        if j >= 0:
            colour = BLUE if i < count else RED
            canvas.line((x[i], y[i]), (x[j], y[j]), colour, 0.1)
            canvas.disc(x[j], y[j], 0.5, GOLD, 0.5)
    for i in range(2 * count):
        if state["health"][i] <= 0:
            _cross(canvas, x[i], y[i])
    for i in range(2 * count):
        if state["health"][i] > 0:
            share = float(state["health"][i]) / params.health
            aim = int(state["target"][i])
            heading = 0.0 if i < count else math.pi
            if aim >= 0:
                heading = math.atan2(y[aim] - y[i], x[aim] - x[i])
            _marine(canvas, (x[i], y[i]), BLUE if i < count else RED, share, heading)
    return canvas.picture()


def _cross(canvas: Canvas, x: float, y: float) -> None:
    for side in (-1, 1):
        canvas.line((x - 0.22, y - 0.22 * side), (x + 0.22, y + 0.22 * side), (128, 124, 104), 0.1)


def _marine(
    canvas: Canvas, place: tuple[float, float], colour: Colour, share: float, heading: float
) -> None:
    """Paint a helmet with a gun, and the health above."""
    x, y = place
    tip = (x + 0.52 * math.cos(heading), y + 0.52 * math.sin(heading))
    canvas.disc(x + 0.05, y + 0.08, 0.36, INK, 0.25)
    canvas.line(place, tip, INK, 0.12)
    canvas.disc(x, y, 0.34, colour)
    canvas.disc(x - 0.1, y - 0.1, 0.12, _WHITE, 0.4)
    canvas.box((x - 0.42, y - 0.62, x + 0.42, y - 0.48), INK)
    canvas.box((x - 0.4, y - 0.6, x - 0.4 + 0.8 * share, y - 0.5), GREEN if share > 0.4 else RED)
