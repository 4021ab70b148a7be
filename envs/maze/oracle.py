"""A player that knows the map: always on the shortest way to the goal, a reference score."""

from __future__ import annotations

import math

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.maze import state as s
from daedalus.envs.maze.layout import flood
from daedalus.envs.maze.motion import (
    FORWARD,
    FORWARD_LEFT,
    FORWARD_RIGHT,
    LOOK_LEFT,
    LOOK_RIGHT,
)

_WALK_WHILE_TURNING = math.radians(35)


def oracle_actions(batch: Batch) -> np.ndarray:
    """Return the action of every environment that follows the shortest way to its goal.

    Args:
        batch: Environments of `NavMaze` or `IMaze`, after a reset.

    Returns:
        int64 (B,). Apples are taken only where they lie on the way.

    Raises:
        ValueError: The task has no goal to walk to.
    """
    if (batch.states["counts"][:, s.GOAL_OBJECT] < 0).any():
        raise ValueError("the oracle knows the way to a goal only: use NavMaze or IMaze")
    rules = batch.family.params.rules[0]
    return np.array([_act(state, rules) for state in batch.states])


def _act(state: np.void, rules: np.void) -> int:
    x, y = _waypoint(state, int(rules["height"]), int(rules["width"]))
    pose = state["pose"]
    bearing = math.atan2(y - pose[s.Y], x - pose[s.X])
    error = (bearing - float(pose[s.HEADING]) + math.pi) % (2 * math.pi) - math.pi
    if abs(error) <= float(rules["turn"]) / 2 + 1e-6:
        return FORWARD
    if abs(error) < _WALK_WHILE_TURNING:
        return FORWARD_RIGHT if error > 0 else FORWARD_LEFT
    return LOOK_RIGHT if error > 0 else LOOK_LEFT


def _waypoint(state: np.void, height: int, width: int) -> tuple[float, float]:
    """Return the middle of the next square on a shortest way, or the goal's."""
    i = int(state["counts"][s.GOAL_OBJECT])
    goal = int(state["object_y"][i]) * width + int(state["object_x"][i])
    distance = np.zeros(height * width, np.int16)
    flood(np.array(state["grid"][: height * width]), width, goal, distance)
    here = int(state["pose"][s.Y]) * width + int(state["pose"][s.X])
    ways = (here - width, here + width, here - 1, here + 1)
    nearer = [square for square in ways if 0 <= distance[square] < distance[here]]
    target = _easiest(nearer, state, width) if nearer else goal
    return target % width + 0.5, target // width + 0.5


def _easiest(squares: list[int], state: np.void, width: int) -> int:
    """Return the square that needs the least turning."""
    pose = state["pose"]

    def turn(square: int) -> float:
        dx, dy = square % width + 0.5 - pose[s.X], square // width + 0.5 - pose[s.Y]
        return float(dx * math.cos(pose[s.HEADING]) + dy * math.sin(pose[s.HEADING]))

    return max(squares, key=turn)
