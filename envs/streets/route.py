"""Routes with instructions: drawn, put into words, and followed."""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.streets.compiling import kernel
from daedalus.envs.streets.courier import draw_place
from daedalus.envs.streets.moves import HEADINGS, arc
from daedalus.envs.streets.paths import UNREACHABLE, moves_between
from daedalus.envs.streets.state import STEPS, Params

AHEAD, LEFT, RIGHT = 1, 2, 3
"""Kinds of instructions; 0 where there is none."""
WORDS = {AHEAD: "Go along", LEFT: "Turn left into", RIGHT: "Turn right into"}
_TURN = 3  # sixteenths of a circle from which on a bend at a junction is a turn
_LAG = 3  # moves over which a direction is measured


@kernel
def next_heading(places: Any, hubs: Any, place: int, heading: int, goal: int) -> int:
    """Return the heading that leads on along a shortest way, the one nearest to ``heading``.

    Returns:
        -1 at the goal, or where no way leads there.
    """
    left = moves_between(places, hubs, place, goal)
    best, chosen = HEADINGS, -1
    if left == 0 or left >= UNREACHABLE:
        return -1
    before, shorter = -1, False
    for k in range(HEADINGS):
        h = (heading + k) % HEADINGS
        there = np.int64(places[place].ahead[h])
        if there == place:
            continue
        if there != before:
            before, shorter = there, moves_between(places, hubs, there, goal) < left
        if shorter and min(k, HEADINGS - k) < best:
            best, chosen = min(k, HEADINGS - k), h
    return chosen


@kernel
def _turn(before: int, now: int) -> int:
    """Return the turn from one heading to another, -8 to 7 sixteenths of a circle."""
    return (now - before + HEADINGS // 2) % HEADINGS - HEADINGS // 2


@kernel
def _metres(metres: float) -> int:
    return max(np.int64(metres / 10.0 + 0.5), 1)


@kernel
def plan_route(state: Any, params: Params) -> None:
    """Draw a route from the present place, and what is said on the way.

    It is a shortest way to a drawn place. Where it turns near a junction, a leg ends and another
    instruction begins; it ends there if it has enough of them, and the last leg's end is the goal.
    """
    places, hubs, rules = params.places, params.hubs, params.rules[0]
    goal = draw_place(state, places, params.cells, rules)
    here = np.int64(state.place)
    heading = next_heading(places, hubs, here, 0, goal)
    state.heading = max(heading, 0)
    state.legs, state.leg, state.way_place[0] = 0, 0, here
    state.way_heading[0] = state.heading
    old = np.full(_LAG, heading, np.int64)
    kind, street, metres, since, moved = AHEAD, -1, 0.0, 0, 0
    while heading >= 0:
        turned = _turn(old[moved % _LAG], heading)
        if places[here].junction and since > _LAG and abs(turned) >= _TURN:
            _end_leg(state, here, heading, (kind, street, _metres(metres)))
            if state.legs == rules.legs:
                break
            kind = LEFT if turned < 0 else RIGHT
            street, metres, since = -1, 0.0, 0
            old[:] = heading
        old[moved % _LAG] = heading
        there = np.int64(places[here].ahead[heading])
        dx, dy = places[there].x - places[here].x, places[there].y - places[here].y
        metres += np.sqrt(dx * dx + dy * dy)
        moved, since, here = moved + 1, since + 1, there
        if not places[here].junction or street < 0:
            street = np.int64(places[here].street)
        heading = next_heading(places, hubs, here, heading, goal)
    if heading < 0:
        _end_leg(state, here, old[(moved + _LAG - 1) % _LAG], (kind, street, _metres(metres)))
    state.goal = here


@kernel
def _end_leg(state: Any, place: int, heading: int, said: tuple[int, int, int]) -> None:
    for k in range(3):
        state.say[state.legs, k] = said[k]
    state.legs += 1
    state.way_place[state.legs], state.way_heading[state.legs] = place, heading


@kernel
def _is_at(places: Any, place: int, goal: int) -> bool:
    """Tell whether a place is the goal, or next to it."""
    if place == goal:
        return True
    found = False
    for other in places[goal].neighbour:
        found = found or other == place
    return found


@kernel
def start_route(state: Any, params: Params) -> None:
    """Begin an episode on a new route."""
    state.say[:] = 0
    plan_route(state, params)
    places = params.places
    state.goal_reward = 1.0 + moves_between(places, params.hubs, state.place, state.goal)
    state.best = np.inf


@kernel
def follow(state: Any, places: Any, rules: Any) -> tuple[float, bool]:
    """Apply the rules of the instruction games after a move; return reward and whether it is over.

    A waypoint counts in its order, at it and next to it; the goal at any time, only at it. What is
    paid for coming nearer is added, also there.
    """
    reward = 0.0
    state.since_goal += 1
    target = np.int64(state.way_place[state.leg + 1])
    distance = arc(places, state.place, target)
    if distance < state.best:
        state.best = distance
        if distance < rules.dense_radius:
            reward = rules.dense_reward * (1.0 - distance / rules.dense_radius)
    if state.place == state.goal:
        state.first_goal, state.goals = state.elapsed + 1, 1
        return reward + rules.goal_reward, True
    if state.leg + 1 < state.legs and _is_at(places, np.int64(state.place), target):
        state.leg += 1
        state.best = np.inf
        reward += rules.waypoint_reward
    return reward, False


@kernel
def show_instructions(state: Any, rules: Any, out: np.ndarray) -> None:
    """Fill ``out`` int32 (STEPS, 3) with the instructions that are shown."""
    out[:] = 0
    for k in range(STEPS):
        if k < state.legs and (not rules.one_by_one or k == state.leg):
            row = 0 if rules.one_by_one else k
            for c in range(3):
                out[row, c] = state.say[k, c]
