"""Pictures of the point robot's tasks, from above."""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.canvas import GOLD, GREEN, INK, PURPLE, RED, Canvas

_SCALE = 100
_KINDS = ("goal", "gremlin", "pillar", "box", "button", "hazard", "vase")
_HAZARD = (120, 110, 214)
_VASE = (64, 176, 176)
_PILLAR = (96, 100, 116)


def draw_navigation(state: np.void, params: Any) -> np.ndarray:
    """Return the area with its things, the robot as an arrow; red around it when a step costs."""
    half = max(params.extent, 1.9 if params.wall_x else 0.0) + 0.35
    canvas = Canvas(2 * half, 2 * half, _SCALE, (240, 238, 232))
    for line in np.arange(half % 0.5, 2 * half, 0.5):
        canvas.line((line, 0), (line, 2 * half), (228, 225, 216), 0.012)
        canvas.line((0, line), (2 * half, line), (228, 225, 216), 0.012)
    if params.wall_x:
        _draw_circle(canvas, half, params)
    for number in (5, 0, 6, 4, 1, 2, 3):
        for i in range(int(params.first[number]), int(params.first[number + 1])):
            x, y = half + state["object"][2 * i], half + state["object"][2 * i + 1]
            _draw_thing(
                canvas, (_KINDS[number], x, y), is_target=i == state["target"], params=params
            )
    x, y, heading = half + state["x"], half + state["y"], float(state["heading"])
    if state["cost"] > 0:
        canvas.ring(x, y, 0.19, RED, 0.05)
    canvas.disc(x, y + 0.02, 0.12, INK, 0.35)
    canvas.disc(x, y, 0.11, RED)
    canvas.arrow(x, y, heading, 0.075, (255, 240, 236))
    return canvas.picture()


def _draw_circle(canvas: Canvas, half: float, params: Any) -> None:
    canvas.ring(half, half, 1.5, GREEN, 0.05)
    canvas.disc(half, half, 0.05, GREEN)
    for side in (-1, 1):
        at = half + side * params.wall_x
        canvas.line((at, 0), (at, 2 * half), GOLD, 0.04)
        if params.wall_y:
            at = half + side * params.wall_y
            canvas.line((0, at), (2 * half, at), GOLD, 0.04)


def _draw_thing(
    canvas: Canvas, thing: tuple[str, float, float], *, is_target: bool, params: Any
) -> None:
    kind, x, y = thing
    if kind == "goal":
        canvas.disc(x, y, 0.3, (170, 222, 184))
        canvas.ring(x, y, 0.3, GREEN, 0.04)
    elif kind == "hazard":
        canvas.disc(x, y, params.hazard_size, _HAZARD, 0.45)
        canvas.ring(x, y, params.hazard_size, _HAZARD, 0.025)
    elif kind == "vase":
        canvas.box((x - 0.09, y - 0.09, x + 0.09, y + 0.09), _VASE, round_=0.03)
        canvas.disc(x, y, 0.045, (190, 236, 232))
    elif kind == "button":
        canvas.disc(x, y, 0.12, GREEN if is_target else (196, 160, 60))
        canvas.disc(x, y - 0.02, 0.08, (170, 232, 188) if is_target else GOLD)
    elif kind == "gremlin":
        canvas.box((x - 0.1, y - 0.1, x + 0.1, y + 0.1), PURPLE, round_=0.04)
        for side in (-0.04, 0.04):
            canvas.disc(x + side, y - 0.02, 0.025, (255, 255, 255))
    elif kind == "pillar":
        canvas.disc(x, y, 0.2, _PILLAR)
        canvas.disc(x - 0.05, y - 0.05, 0.08, (146, 150, 166))
    else:
        canvas.box((x - 0.18, y - 0.18, x + 0.18, y + 0.18), (226, 178, 84), round_=0.03)
        canvas.box((x - 0.13, y - 0.13, x + 0.13, y + 0.13), (198, 148, 62), round_=0.02)
