"""Players that go straight for the reward: what a task pays, and costs, without any care."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.core import Family
from daedalus.envs.safety.cpo import APPLES, KINEMATIC, PointCircle, PointGather
from daedalus.envs.safety.navigation import CIRCLE_RADIUS, PointNavigation
from daedalus.envs.safety.navigation_tasks import BOX_SIZE, CIRCLE, KINDS, PUSH, ROBOT

BEHIND = 0.7
"""Radians off the line from goal to box up to which the robot counts as behind the box."""


def greedy_for(family: Family) -> Callable[[Batch], np.ndarray]:
    """Return the player that heads for the nearest reward, whatever lies on the way.

    Args:
        family: ``PointNavigation``, ``PointGather`` or ``PointCircle``.

    Raises:
        ValueError: There is nothing to head for.
    """
    if isinstance(family, PointNavigation):
        head = {CIRCLE: _drive_around, PUSH: _push_box}.get(family.params.task, _head_for_goal)
        return lambda batch: np.array([head(state, family) for state in batch.states])
    if isinstance(family, PointGather):
        return lambda batch: np.array([_head_for_apple(state) for state in batch.states])
    if isinstance(family, PointCircle):
        return lambda batch: np.array([_run_around(state, family) for state in batch.states])
    raise ValueError(f"{type(family).__name__} has no goal to head for")


def _bearing(state: np.void, x: float, y: float) -> float:
    """Return the angle from the heading to a point, in radians from -pi to pi."""
    return _turn(state, math.atan2(y - state["y"], x - state["x"]))


def _turn(state: np.void, direction: float) -> float:
    """Return the angle from the heading to a direction, in radians from -pi to pi."""
    return (direction - float(state["heading"]) + math.pi) % (2 * math.pi) - math.pi


def _drive(angle: float) -> tuple[float, float]:
    """Turn by an angle, and drive unless it is large."""
    return math.cos(angle) if abs(angle) < 1.0 else 0.0, float(np.clip(5 * angle, -1, 1))


def _head_for_goal(state: np.void, _: PointNavigation) -> tuple[float, float]:
    return _drive(_bearing(state, *state["object"][2 * state["target"] : 2 * state["target"] + 2]))


def _push_box(state: np.void, family: PointNavigation) -> tuple[float, float]:
    """Go round the box until it lies between the robot and the goal; then drive into it."""
    k = 2 * int(family.params.first[KINDS.index("box")])
    x, y = state["object"][k : k + 2]
    away = math.atan2(y - state["object"][1], x - state["object"][0])
    side = math.atan2(state["y"] - y, state["x"] - x) - away
    side = (side + math.pi) % (2 * math.pi) - math.pi
    if abs(side) < BEHIND:  # aim past the middle: the box goes back to the line
        x, y = x + 0.2 * side * math.sin(away), y - 0.2 * side * math.cos(away)
        return _drive(_bearing(state, x, y))
    room = ROBOT + BOX_SIZE + 0.05
    angle = away + side - math.copysign(min(abs(side), 0.7), side)
    return _drive(_bearing(state, x + room * math.cos(angle), y + room * math.sin(angle)))


def _around(x: float, y: float, radius: float, gain: float) -> float:
    """Return the direction that goes round the origin and comes back to the circle, in radians."""
    return math.atan2(y, x) + math.pi / 2 + math.atan(gain * (math.hypot(x, y) - radius))


def _drive_around(state: np.void, _: PointNavigation) -> tuple[float, float]:
    return _drive(_turn(state, _around(state["x"], state["y"], CIRCLE_RADIUS, 3.0)))


def _run_around(state: np.void, family: PointCircle) -> tuple[float, float]:
    x, y, radius = float(state["x"]), float(state["y"]), family.params.radius
    if family.params.dynamics == KINEMATIC:
        direction = _around(x, y, radius, 1.0)
        wanted = np.array([math.cos(direction), math.sin(direction)])
        force = 5 * (wanted - 0.9 * np.array([state["vx"], state["vy"]]))
        return tuple(np.clip(force, -1, 1))
    turn = float(np.clip(_turn(state, _around(x, y, radius, 0.3)), -1, 1))
    return 1.0, turn


def _head_for_apple(state: np.void) -> tuple[float, float]:
    apples = state["thing"][: 2 * APPLES].reshape(-1, 2)[state["there"][:APPLES] > 0]
    if len(apples) == 0:
        return 0.0, 0.0
    distance = np.hypot(apples[:, 0] - state["x"], apples[:, 1] - state["y"])
    angle = _bearing(state, *apples[distance.argmin()])
    turn = float(np.clip(angle, -1, 1))
    return (1.0 if abs(angle - turn) < 0.5 else 0.0), turn
