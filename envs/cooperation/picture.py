"""Pictures of the worlds of particles, from above."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.canvas import BLUE, GOLD, GREEN, INK, RED, Canvas, Colour
from daedalus.envs.cooperation.particles import HUNT, SPEAK, SPREAD

_HALF, _SCALE = 1.45, 120
_FLOOR: Colour = (240, 238, 232)
GOALS: tuple[Colour, ...] = (RED, GREEN, BLUE)
Place = tuple[float, float]
_WHITE: Colour = (255, 255, 255)


def draw_particles(state: np.void, params: Any) -> np.ndarray:
    """Return the arena: landmarks, bodies with the way they move, and what the task is about."""
    canvas = Canvas(2 * _HALF, 2 * _HALF, _SCALE, _FLOOR)
    for line in np.arange(_HALF % 0.25, 2 * _HALF, 0.25):
        canvas.line((line, 0), (line, 2 * _HALF), (230, 227, 219), 0.008)
        canvas.line((0, line), (2 * _HALF, line), (230, 227, 219), 0.008)
    used = state["position"][: 2 * (params.bodies + params.landmarks)]
    places = [(_HALF + x, _HALF - y) for x, y in np.clip(used.reshape(-1, 2), -1.6, 1.6).tolist()]
    bodies, marks = places[: params.bodies], places[params.bodies :]
    {SPREAD: _draw_spread, SPEAK: _draw_talk, HUNT: _draw_hunt}[params.task](
        canvas, state, bodies, marks, params
    )
    return canvas.picture()


def _body(canvas: Canvas, place: Place, radius: float, colour: Colour) -> None:
    """Paint a ball with shadow and a spot of light."""
    x, y = place
    canvas.disc(x + 0.02, y + 0.03, radius, INK, 0.22)
    canvas.disc(x, y, radius, colour)
    canvas.disc(x - 0.32 * radius, y - 0.32 * radius, 0.28 * radius, _WHITE, 0.45)


def _way(canvas: Canvas, state: np.void, i: int, place: Place, size: float) -> None:
    """Paint an arrow head in the direction of motion."""
    vx, vy = state["velocity"][2 * i], -state["velocity"][2 * i + 1]
    if math.hypot(vx, vy) > 0.05:
        canvas.arrow(place[0], place[1], math.atan2(vy, vx), size, _WHITE)


def _draw_spread(
    canvas: Canvas, state: np.void, bodies: list[Place], marks: list[Place], params: Any
) -> None:
    for mark in marks:
        near = min(bodies, key=lambda body: math.dist(body, mark))
        covered = math.dist(near, mark) < params.radius[0]
        canvas.line(mark, near, (208, 204, 194), 0.012)
        canvas.disc(*mark, 0.17, GREEN if covered else GOLD, 0.25)
        canvas.ring(*mark, 0.17, GREEN if covered else GOLD, 0.02)
        canvas.disc(*mark, 0.04, GREEN if covered else GOLD)
    for i, place in enumerate(bodies):
        gaps = [math.dist(place, other) for j, other in enumerate(bodies) if j != i]
        _body(canvas, place, 0.15, BLUE)
        _way(canvas, state, i, place, 0.07)
        if min(gaps) < 2 * params.radius[0]:
            canvas.ring(*place, 0.16, RED, 0.025)


def _draw_talk(
    canvas: Canvas, state: np.void, bodies: list[Place], marks: list[Place], params: Any
) -> None:
    goal = int(state["goal"])
    for k, mark in enumerate(marks):
        canvas.disc(*mark, 0.09, GOALS[k], 0.3)
        canvas.disc(*mark, 0.06, GOALS[k])
        if k == goal:
            canvas.ring(*mark, 0.13, GOALS[k], 0.025)
    speaker, listener = bodies
    _body(canvas, speaker, 0.09, (120, 122, 132))
    x, y = speaker
    canvas.box((x + 0.1, y - 0.34, x + 0.42, y - 0.12), _WHITE, round_=0.07)
    corners = [(x + 0.14, y - 0.16), (x + 0.24, y - 0.16), (x + 0.08, y - 0.06)]
    canvas.polygon(corners, _WHITE)
    said = int(state["said"])
    if said >= 0:
        canvas.text(x + 0.26, y - 0.23, "123"[said], 0.13)
    _body(canvas, listener, 0.1, (96, 98, 112))
    canvas.ring(*listener, 0.1, GOALS[goal], 0.025)
    _way(canvas, state, 1, listener, 0.05)


def _draw_hunt(
    canvas: Canvas, state: np.void, bodies: list[Place], marks: list[Place], params: Any
) -> None:
    for mark in marks:
        canvas.disc(mark[0] + 0.03, mark[1] + 0.04, 0.2, INK, 0.18)
        canvas.disc(*mark, 0.2, (112, 116, 132))
        canvas.disc(mark[0] - 0.05, mark[1] - 0.05, 0.09, (142, 146, 162))
    prey: Place = bodies[int(params.agents)]
    for i, place in enumerate(bodies[: params.agents]):
        _body(canvas, place, 0.075, RED)
        _way(canvas, state, i, place, 0.04)
        if math.dist(place, prey) < params.radius[0] + params.radius[params.agents]:
            canvas.ring(*prey, 0.12, GOLD, 0.03)
    _body(canvas, prey, 0.05, GREEN)
    _way(canvas, state, params.agents, prey, 0.028)
