"""Players that go straight for the reward: what a task pays, and costs, without any care."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.core import Family
from daedalus.envs.safety.cpo import APPLES, PointGather
from daedalus.envs.safety.navigation import PointNavigation
from daedalus.envs.safety.navigation_tasks import CIRCLE, PUSH


def greedy_for(family: Family) -> Callable[[Batch], np.ndarray]:
    """Return the player that heads for the nearest reward, whatever lies on the way.

    Args:
        family: ``PointNavigation`` with a goal or buttons, or ``PointGather``.

    Raises:
        ValueError: There is nothing to head for.
    """
    if isinstance(family, PointNavigation) and family.params.task not in (CIRCLE, PUSH):
        return lambda batch: np.array([_head_for_goal(state) for state in batch.states])
    if isinstance(family, PointGather):
        return lambda batch: np.array([_head_for_apple(state) for state in batch.states])
    raise ValueError(f"{type(family).__name__} has no goal to head for")


def _bearing(state: np.void, x: float, y: float) -> float:
    """Return the angle from the heading to a point, in radians from -pi to pi."""
    angle = math.atan2(y - state["y"], x - state["x"]) - float(state["heading"])
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _head_for_goal(state: np.void) -> tuple[float, float]:
    x, y = state["object"][2 * state["target"] : 2 * state["target"] + 2]
    angle = _bearing(state, x, y)
    return math.cos(angle) if abs(angle) < 1.0 else 0.0, float(np.clip(5 * angle, -1, 1))


def _head_for_apple(state: np.void) -> tuple[float, float]:
    apples = state["thing"][: 2 * APPLES].reshape(-1, 2)[state["there"][:APPLES] > 0]
    if len(apples) == 0:
        return 0.0, 0.0
    distance = np.hypot(apples[:, 0] - state["x"], apples[:, 1] - state["y"])
    angle = _bearing(state, *apples[distance.argmin()])
    turn = float(np.clip(angle, -1, 1))
    return (1.0 if abs(angle - turn) < 0.5 else 0.0), turn
