"""Pictures of the AI Safety Gridworlds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from daedalus.envs.canvas import (
    BLUE,
    GOLD,
    GREEN,
    GREY,
    INK,
    PURPLE,
    RED,
    WATER,
    Canvas,
    Colour,
    board,
)
from daedalus.envs.safety import gridworld_maps as m

_SCALE = 48
_LAVA: Colour = (226, 98, 44)
_FLOORS: dict[int, Colour] = {
    m.GOAL: (196, 230, 204),
    m.LAVA: _LAVA,
    m.WATER: WATER,
    m.PUNISHMENT: (246, 220, 130),
    m.INTERRUPTION: (226, 186, 236),
    m.BELT: (150, 154, 166),
    m.BELT_END: (112, 116, 130),
    m.SUPERVISOR: (236, 196, 190),
    m.FRIEND: (206, 236, 196),
    m.NEUTRAL: (232, 226, 204),
    m.FOE: (244, 206, 190),
}


def draw_gridworld(kinds: np.ndarray) -> np.ndarray:
    """Return a picture of what the squares show, int (rows, columns)."""
    canvas = board(kinds == m.WALL, _SCALE)
    for (row, column), kind in np.ndenumerate(kinds):
        if kind in _FLOORS:
            canvas.box((column, row, column + 1, row + 1), _FLOORS[kind])
    for (row, column), kind in np.ndenumerate(kinds):
        if int(kind) in _THINGS:
            _THINGS[int(kind)](canvas, column + 0.5, row + 0.5)
    return canvas.picture()


def _agent(canvas: Canvas, x: float, y: float) -> None:
    canvas.disc(x, y + 0.05, 0.36, INK, 0.3)
    canvas.disc(x, y, 0.34, BLUE)
    for side in (-0.11, 0.11):
        canvas.disc(x + side, y - 0.06, 0.075, (255, 255, 255))
        canvas.disc(x + side, y - 0.06, 0.035, INK)


def _goal(canvas: Canvas, x: float, y: float) -> None:
    canvas.line((x - 0.15, y - 0.32), (x - 0.15, y + 0.34), INK, 0.06)
    canvas.polygon([(x - 0.12, y - 0.32), (x + 0.32, y - 0.15), (x - 0.12, y + 0.04)], GREEN)


def _box(canvas: Canvas, x: float, y: float) -> None:
    canvas.box((x - 0.36, y - 0.36, x + 0.36, y + 0.36), (168, 116, 66), round_=0.06)
    canvas.line((x - 0.26, y - 0.26), (x + 0.26, y + 0.26), (128, 84, 44), 0.07)
    canvas.line((x - 0.26, y + 0.26), (x + 0.26, y - 0.26), (128, 84, 44), 0.07)


def _diamond(canvas: Canvas, x: float, y: float) -> None:
    points = [(x, y - 0.34), (x + 0.32, y), (x, y + 0.34), (x - 0.32, y)]
    canvas.polygon(points, (96, 200, 226))
    canvas.polygon([(x, y - 0.34), (x + 0.32, y), (x, y)], (190, 236, 246))


def _waves(colour: Colour) -> Callable[[Canvas, float, float], None]:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        for k in range(3):
            left, height = x - 0.3 + 0.06 * k, y - 0.22 + 0.22 * k
            canvas.line((left, height), (left + 0.2, height - 0.06), colour, 0.06)
            canvas.line((left + 0.2, height - 0.06), (left + 0.42, height), colour, 0.06)

    return draw


def _arrow(heading: float, colour: Colour = GOLD) -> Callable[[Canvas, float, float], None]:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        canvas.arrow(x, y, heading, 0.32, colour)

    return draw


def _button(colour: Colour) -> Callable[[Canvas, float, float], None]:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        canvas.disc(x, y, 0.34, GREY)
        canvas.disc(x, y - 0.04, 0.26, colour)

    return draw


def _letter(letter: str, colour: Colour) -> Callable[[Canvas, float, float], None]:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        canvas.text(x, y, letter, 0.55, colour)

    return draw


def _tomato(colour: Colour) -> Callable[[Canvas, float, float], None]:
    def draw(canvas: Canvas, x: float, y: float) -> None:
        canvas.disc(x, y + 0.04, 0.3, colour)
        canvas.line((x, y - 0.22), (x + 0.1, y - 0.36), GREEN, 0.07)

    return draw


def _bottle(canvas: Canvas, x: float, y: float) -> None:
    canvas.box((x - 0.16, y - 0.1, x + 0.16, y + 0.36), (164, 92, 32), round_=0.05)
    canvas.box((x - 0.06, y - 0.36, x + 0.06, y - 0.05), (164, 92, 32))
    canvas.box((x - 0.16, y + 0.04, x + 0.16, y + 0.2), (240, 226, 190))


def _bucket(canvas: Canvas, x: float, y: float) -> None:
    canvas.polygon(
        [(x - 0.3, y - 0.22), (x + 0.3, y - 0.22), (x + 0.2, y + 0.32), (x - 0.2, y + 0.32)], GREY
    )
    canvas.box((x - 0.3, y - 0.28, x + 0.3, y - 0.16), WATER, round_=0.05)


def _chest(canvas: Canvas, x: float, y: float) -> None:
    canvas.box((x - 0.36, y - 0.26, x + 0.36, y + 0.3), (178, 122, 64), round_=0.08)
    canvas.text(x, y, "?", 0.4, (255, 246, 214))


_THINGS: dict[int, Callable[[Canvas, float, float], None]] = {
    m.AGENT: _agent,
    m.GOAL: _goal,
    m.BOX: _box,
    m.DIAMOND: _diamond,
    m.LAVA: _waves((250, 190, 70)),
    m.WATER: _waves((226, 242, 250)),
    m.PUNISHMENT: _letter("X", RED),
    m.INTERRUPTION: _letter("I", PURPLE),
    m.BUTTON: _button(PURPLE),
    m.WHISKY: _bottle,
    m.BUCKET: _bucket,
    m.DRY: _tomato((196, 170, 96)),
    m.WATERED: _tomato(RED),
    m.BELT: _arrow(0.0, (188, 192, 202)),
    m.BELT_END: _letter("E", (230, 230, 236)),
    m.ARROW_LEFT: _arrow(math.pi),
    m.ARROW_DOWN: _arrow(math.pi / 2),
    m.ARROW_RIGHT: _arrow(0.0),
    m.ARROW_UP: _arrow(-math.pi / 2),
    m.ROCK_SWITCH: _button((150, 106, 66)),
    m.DIAMOND_SWITCH: _button((96, 200, 226)),
    m.SUPERVISOR: _agent,
    m.UNKNOWN_BOX: _chest,
}
