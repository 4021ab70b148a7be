"""The rules of courier and coins, step by step as StreetLearn has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.random import GOAL, integers, mix
from daedalus.envs.streets.compiling import kernel, part
from daedalus.envs.streets.moves import arc
from daedalus.envs.streets.network import CELL
from daedalus.envs.streets.paths import UNREACHABLE, moves_between
from daedalus.envs.streets.state import LOG, Params

_TRIES = 1000  # draws within the curriculum's reach, before any place will do


@kernel
def has(words: np.ndarray, place: int) -> bool:
    """Tell whether a place's bit is set."""
    return (words[place >> 6] >> np.uint64(place & 63)) & np.uint64(1) != 0


@kernel
def put(words: np.ndarray, place: int) -> None:
    """Set a place's bit."""
    words[place >> 6] |= np.uint64(1) << np.uint64(place & 63)


@kernel
def forget(words: np.ndarray, state: Any, begin: int) -> None:
    """Clear the bits of the places visited since entry ``begin`` of the log: no more than steps."""
    if state.logged > LOG:
        words[:] = np.uint64(0)
        return
    for k in range(begin, state.logged):
        words[state.log[k] >> 6] = np.uint64(0)


@kernel
def has_coin(place: int, key: np.uint64, rules: Any) -> bool:
    """Tell whether a coin was laid at a place: exactly ``rules.coins`` places have one.

    A place has one if a shuffle of all places puts it among the first. The shuffle is a Feistel
    network of four rounds over the least power of four that holds all places, walked until it comes
    back among them (Black and Rogaway, 2002, "Ciphers with arbitrary finite domains"): drawn
    without replacement, and nothing has to be written when an episode begins.
    """
    if rules.coins == 0:
        return False
    half = np.uint64(rules.coin_bits)
    mask = (np.uint64(1) << half) - np.uint64(1)
    value = np.uint64(place)
    while True:
        left, right = value >> half, value & mask
        for number in range(4):
            left, right = (
                right,
                left ^ (mix(key + (right << np.uint64(2)) + np.uint64(number)) & mask),
            )
        value = (left << half) | right
        if value < np.uint64(rules.places):
            return value < np.uint64(rules.coins)


@kernel
def reach_now(lived: int, rules: Any) -> float:
    """Return the farthest goal that the curriculum allows, in metres.

    ``D(t) = near + (far - near) clip((t - start) / length, 0, 1)^rate``, in steps.
    """
    if rules.length <= 0.0:
        return rules.far
    done = min(max((lived - rules.start) / rules.length, 0.0), 1.0)
    return rules.near + (rules.far - rules.near) * done**rules.rate


@kernel
def _draw_near(state: Any, places: Any, cells: np.ndarray) -> int:
    """Draw a place from the squares that touch the box around the reach, uniformly."""
    here = places[state.place]
    rows, columns = cells.shape[0], cells.shape[1] - 1
    left = min(max(np.int64((here.x - state.reach) / CELL), 0), columns - 1)
    right = min(np.int64((here.x + state.reach) / CELL), columns - 1) + 1
    bottom = min(max(np.int64((here.y - state.reach) / CELL), 0), rows - 1)
    top = min(np.int64((here.y + state.reach) / CELL), rows - 1) + 1
    count = 0
    for row in range(bottom, top):
        count += cells[row, right] - cells[row, left]
    chosen = integers(state, GOAL, count)
    for row in range(bottom, top):
        there = cells[row, right] - cells[row, left]
        if chosen < there:
            return np.int64(cells[row, left]) + chosen
        chosen -= there
    return np.int64(state.place)


@kernel
def draw_place(state: Any, places: Any, cells: np.ndarray, rules: Any) -> int:
    """Draw a goal uniformly: neither where one is nor the last goal, and within the reach.

    The work does not grow with the town. Where a thousand draws find no place within the reach, any
    place will do.
    """
    everywhere = state.reach >= rules.diameter
    for k in range(_TRIES + 64):
        if everywhere or k >= _TRIES:
            place = integers(state, GOAL, places.size)
        else:
            place = _draw_near(state, places, cells)
        other = place not in (state.place, state.goal)
        anywhere = everywhere or k >= _TRIES
        if other and (anywhere or arc(places, state.place, place) <= state.reach):
            return place
    return (np.int64(state.place) + 1) % places.size


@kernel
def set_goal(state: Any, places: Any, hubs: Any, goal: int) -> None:
    """Make a place the goal: the reward is the number of places on the shortest way there."""
    state.goal, state.since_goal = goal, 0
    state.best = arc(places, state.place, goal)
    moves = moves_between(places, hubs, state.place, goal)
    state.goal_reward = 1.0 + (moves if moves < UNREACHABLE else places.size)
    forget(state.seen, state, state.goal_logged)
    state.goal_logged = state.logged


@kernel
def visit(state: Any) -> bool:
    """Mark the present place as visited; return whether it is new since the goal was set."""
    if has(state.seen, state.place):
        return False
    put(state.seen, state.place)
    if state.logged < LOG:
        state.log[state.logged] = state.place
    state.logged += 1
    return True


@kernel
def take_coin(state: Any, rules: Any) -> float:
    """Take the coin at the present place, if one is left there; return its reward."""
    if has(state.taken, state.place):
        return 0.0
    put(state.taken, state.place)
    if not has_coin(np.int64(state.place), state.coin_key, rules):
        return 0.0
    state.coins += 1
    return rules.coin_reward


@kernel
def _count_goal(state: Any, places: Any, hubs: Any) -> None:
    """Add a found goal to the counts, and its success weighted by path length (SPL)."""
    left = moves_between(places, hubs, state.place, state.goal)
    shortest = max(state.goal_reward - left, 1.0)
    actual = max(np.float64(state.logged - state.goal_logged - left), 1.0)
    state.spl += shortest / max(actual, shortest)
    if state.goals == 0:
        state.first_goal = state.elapsed + 1
    else:
        state.later_steps += state.since_goal
    state.goals += 1


@kernel
def new_goal(state: Any, params: Params) -> None:
    """Draw a goal and set it."""
    places = params.places
    set_goal(state, places, params.hubs, draw_place(state, places, params.cells, params.rules[0]))


@part
def deliver(state: Any, params: Params) -> float:
    """Apply the courier's rules after a move; return the reward without coins."""
    rules, places = params.rules[0], params.places
    state.since_goal += 1
    if state.since_goal > rules.goal_timeout:
        new_goal(state, params)
    if not visit(state):
        return 0.0
    distance = arc(places, state.place, state.goal)
    if distance < rules.min_radius:
        reward = state.goal_reward
        _count_goal(state, places, params.hubs)
        new_goal(state, params)
        return reward
    if distance < rules.max_radius and distance < state.best:
        state.best = distance
        share = (rules.max_radius - distance) / (rules.max_radius - rules.min_radius)
        return state.goal_reward * share
    return 0.0
