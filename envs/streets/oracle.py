"""Drivers that know the map: on a shortest way to the goal, the next waypoint or the next coin."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.core import Family
from daedalus.envs.streets.courier import has, has_coin
from daedalus.envs.streets.family import Streets
from daedalus.envs.streets.moves import HEADINGS
from daedalus.envs.streets.route import next_heading
from daedalus.envs.streets.state import COINS, INSTRUCTIONS
from daedalus.envs.streets.world import TURNS

_LONG = 3  # sixteenths of a circle from which on the large turn is taken


def oracle_for(family: Family) -> Callable[[Batch], np.ndarray]:
    """Return the driver of a street game: called with a batch, it returns the actions int64 (B,).

    Raises:
        ValueError: The family is no street game.
    """
    if not isinstance(family, Streets):
        raise ValueError(f"{type(family).__name__} has no streets to drive on")
    return lambda batch: np.array([_act(state, family) for state in batch.states])


def _act(state: np.void, family: Streets) -> int:
    params, here, heading = family.params, int(state["place"]), int(state["heading"])
    wanted = next_heading(params.places, params.hubs, here, heading, target_of(state, family))
    turn = (wanted - heading + HEADINGS // 2) % HEADINGS - HEADINGS // 2
    if turn == 0 or wanted < 0:
        return 0
    size = 3 if abs(turn) >= _LONG else 1
    return TURNS.index(size if turn > 0 else -size)


def target_of(state: np.void, family: Streets) -> int:
    """Return the place to drive to: the goal, the next waypoint or the nearest coin."""
    game = int(family.params.rules[0]["game"])
    if game == COINS:
        return _nearest_coin(state, family)
    if game == INSTRUCTIONS:
        return int(state["way_place"][state["leg"] + 1])
    return int(state["goal"])


def _nearest_coin(state: np.void, family: Streets) -> int:
    """Return the place of the nearest coin that is left, by edges; the present place if none is."""
    rules, graph = family.params.rules[0], family.town.graph
    start = int(state["place"])
    known, queue = {start}, deque([start])
    while queue:
        place = queue.popleft()
        if not has(state["taken"], place) and has_coin(place, state["coin_key"], rules):
            return place
        for other in graph.neighbours(place).tolist():
            if other not in known:
                known.add(other)
                queue.append(other)
    return start


def shortest_way(family: Streets, start: int, goal: int, heading: int = 0) -> list[int]:
    """Return the places of a shortest way, both ends included.

    Args:
        family: A street game.
        start: Number of a place.
        goal: Likewise.
        heading: Among equally short ways, the one is taken that turns least from here on.
    """
    params, way = family.params, [start]
    heading = next_heading(params.places, params.hubs, start, heading, goal)
    while heading >= 0:
        way.append(int(params.places["ahead"][way[-1], heading]))
        heading = next_heading(params.places, params.hubs, way[-1], heading, goal)
    return way
