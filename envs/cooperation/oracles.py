"""Teams that know the answer: the upper reference score of the cooperative worlds."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.cooperation.climbing import ClimbingGame
from daedalus.envs.cooperation.particle_worlds import (
    CooperativeNavigation,
    PredatorPrey,
    SpeakerListener,
)
from daedalus.envs.cooperation.particles import DAMPING, DT
from daedalus.envs.cooperation.referential import ReferentialGame
from daedalus.envs.cooperation.skirmish import ATTACK, MOVE, NOTHING, Skirmish
from daedalus.envs.core import Family

_GLIDE = DT / DAMPING
"""How far a velocity still carries, if nothing more is done: dt (1 + .75 + .75^2 + ...)."""


def team_for(family: Family) -> Callable[[Batch], np.ndarray]:
    """Return the team of a cooperative world: called with a batch, it returns the actions.

    Args:
        family: A world of `daedalus.envs.cooperation`.

    Raises:
        ValueError: Nobody knows the answer.
    """
    for kind, act in _TEAMS.items():
        if isinstance(family, kind):
            return lambda batch: np.array([act(state, family) for state in batch.states])
    raise ValueError(f"there is no team for {type(family).__name__}")


def silent_for(family: Family) -> Callable[[Batch], np.ndarray]:
    """Return the pair in which nothing is heard: the listener goes to the middle of the landmarks.

    Raises:
        ValueError: The world is not ``SpeakerListener``.
    """
    if not isinstance(family, SpeakerListener):
        raise ValueError(f"nobody speaks in {type(family).__name__}")
    return lambda batch: np.array(
        [[0, _steer(state, 1, _places(state, 2, 3).mean(0))] for state in batch.states]
    )


def _steer(state: np.void, i: int, target: np.ndarray) -> int:
    """Return the push that brings body ``i`` to rest at a point."""
    at = slice(2 * i, 2 * i + 2)
    x, y = target - state["position"][at] - _GLIDE * state["velocity"][at]
    if max(abs(x), abs(y)) < 0.5 * 5.0 * DT * _GLIDE:
        return 0
    if abs(x) > abs(y):
        return 2 if x > 0 else 1
    return 4 if y > 0 else 3


def _places(state: np.void, first: int, count: int) -> np.ndarray:
    places: np.ndarray = state["position"][2 * first : 2 * (first + count)].reshape(-1, 2)
    return places


def _cover(state: np.void, family: CooperativeNavigation) -> list[int]:
    """Share out the landmarks so that the way is shortest in all, and go there."""
    count = family.agents
    bodies, marks = _places(state, 0, count), _places(state, count, count)
    way = np.linalg.norm(bodies[:, None] - marks[None], axis=2)
    every = itertools.permutations(range(count))
    best = min(every, key=lambda order: way[range(count), list(order)].sum())
    return [_steer(state, i, marks[j]) for i, j in enumerate(best)]


def _guide(state: np.void, family: SpeakerListener) -> list[int]:
    """Say the goal's number; go to the landmark that was said."""
    said = int(state["said"])
    goal = int(state["goal"])
    return [goal, 0 if said < 0 else _steer(state, 1, _places(state, 2 + said, 1)[0])]


def _hunt(state: np.void, family: PredatorPrey) -> list[int]:
    """Go to where the prey will be in three steps."""
    prey = family.agents
    ahead = _places(state, prey, 1)[0] + 0.3 * state["velocity"][2 * prey : 2 * prey + 2]
    return [_steer(state, i, ahead) for i in range(family.agents)]


def _point(state: np.void, family: ReferentialGame) -> list[int]:
    return [0, int(state["place"])]


def _climb(state: np.void, family: ClimbingGame) -> list[int]:
    """Take the cell that begins the best game."""
    reward, following = family.params.reward, family.params.following

    def value(stage: int, cell: tuple[int, ...]) -> float:
        here, after = float(reward[stage][cell]), int(following[stage, cell[0]])
        return here if after < 0 else here + max(value(after, c) for c in cells)

    cells = list(np.ndindex(*reward.shape[1:]))
    return list(max(cells, key=lambda cell: value(int(state["stage"]), cell)))


def _fight(state: np.void, family: Skirmish) -> list[int]:
    """Go to the nearest enemy; shoot at the weakest in reach, then at what most comrades reach."""
    count, orders = family.params.marines, []
    alive = state["health"] > 0
    x, y = state["x"], state["y"]
    gap = np.hypot(x[count:] - x[:count, None], y[count:] - y[:count, None])
    gap[:, ~alive[count:]] = np.inf
    reached = ((gap <= family.params.reach) & alive[:count, None]).sum(0)
    for i in range(count):
        near = np.flatnonzero(gap[i] <= family.params.reach)
        if not alive[i]:
            orders.append(NOTHING)
        elif len(near):
            order = np.lexsort((gap[i, near], -reached[near], state["health"][count + near]))
            orders.append(ATTACK + int(near[order[0]]))
        else:
            j = count + int(gap[i].argmin())
            sideways = abs(x[j] - x[i]) >= abs(y[j] - y[i])
            orders.append(MOVE + int(x[j] > x[i]) if sideways else MOVE + 2 + int(y[j] > y[i]))
    return orders


_TEAMS: dict[type[Family], Callable[[np.void, Any], list[int]]] = {
    CooperativeNavigation: _cover,
    SpeakerListener: _guide,
    PredatorPrey: _hunt,
    ReferentialGame: _point,
    ClimbingGame: _climb,
    Skirmish: _fight,
}
