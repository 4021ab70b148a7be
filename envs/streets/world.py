"""The kernels of the street games: an episode begins, an action is taken, something is seen."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.core import lend
from daedalus.envs.random import LAYOUT, SPAWN, bits, integers
from daedalus.envs.streets.compiling import kernel, part
from daedalus.envs.streets.courier import (
    deliver,
    forget,
    new_goal,
    reach_now,
    take_coin,
    visit,
)
from daedalus.envs.streets.moves import BINS, HEADINGS, arc
from daedalus.envs.streets.route import follow, show_instructions, start_route
from daedalus.envs.streets.state import COURIER, INSTRUCTIONS, Arrays, Params
from daedalus.envs.streets.view import draw_view

TURNS = (0, -1, -3, 1, 3)
"""Sixteenths of a circle that each action turns by; the first moves ahead."""
ACTIONS = ("forward", "left 22.5", "left 67.5", "right 22.5", "right 67.5")


@part
def _reset(state: Any, params: Params) -> None:
    rules = params.rules[0]
    if state.episode == 1:
        state.lived = 0
        state.logged = 0
        state.seen[:] = np.uint64(0)
        state.taken[:] = np.uint64(0)
    forget(state.seen, state, 0)
    forget(state.taken, state, 0)
    state.logged, state.goal_logged, state.since_goal = 0, 0, 0
    state.goals, state.coins, state.first_goal, state.later_steps = 0, 0, -1, 0
    state.spl = 0.0
    state.coin_key = bits(state, LAYOUT)
    state.place, state.heading, state.goal = integers(state, SPAWN, params.places.size), 0, -1
    state.reach = reach_now(state.lived, rules)
    if rules.game == COURIER:
        new_goal(state, params)
    elif rules.game == INSTRUCTIONS:
        start_route(state, params)


@part
def _advance(state: Any, action: int, params: Params) -> tuple[float, bool]:
    rules, over = params.rules[0], False
    if action == 0:
        state.place = params.places[state.place].ahead[state.heading]
    else:
        state.heading = (state.heading + TURNS[action]) & (HEADINGS - 1)
    state.lived += 1
    reward = 0.0
    if rules.game == COURIER:
        reward = deliver(state, params)
    else:
        visit(state)
        if rules.game == INSTRUCTIONS:
            reward, over = follow(state, params.places, rules)
    return reward + take_coin(state, rules), over


@kernel
def _observe_pixels(state: Any, params: Params, image: np.ndarray, pair: np.ndarray) -> None:
    params = lend(params)
    pictures = 2 if pair.size > 0 and state.legs > 0 else 0
    for k in range(-1 if image.size > 0 else 0, pictures):
        here, heading, rgb = state.place, state.heading, image.reshape(-1)
        if k >= 0:
            here, heading = state.way_place[state.leg + k], state.way_heading[state.leg + k]
            rgb = pair[k].reshape(-1)
        place = params.places[here]
        draw_view(params.pieces, params.runs, place, np.int64(heading), params, rgb)


@part
def _observe_place(state: Any, places: Any, out: Arrays) -> None:
    place = places[state.place]
    angle = state.heading * (2.0 * math.pi / HEADINGS)
    if out.yaw.size > 0:
        out.yaw[0], out.yaw[1] = math.sin(angle), math.cos(angle)
    if out.neighbors.size > 0:
        seen = np.int64(place.open[state.heading])
        for k in range(BINS):
            out.neighbors[k] = (seen >> k) & 1
    if out.latlng.size > 0:
        out.latlng[0], out.latlng[1] = place.latitude, place.longitude
    if out.yaw_label.size > 0:
        out.yaw_label[0] = state.heading
    if out.latlng_label.size > 0:
        out.latlng_label[0] = place.square
    if out.position.size > 0:
        degrees = state.heading * (360.0 / HEADINGS)
        out.position[0], out.position[1], out.position[2] = place.x, place.y, degrees


@part
def _observe_goal(state: Any, params: Params, out: Arrays) -> None:
    goal = max(np.int64(state.goal), 0)
    place = params.places[goal]
    if out.goal.size > 0:
        code = params.codes[goal]
        for k in range(code.size):  # a copy of slices would compile its error message, too
            out.goal[k] = code[k]
    if out.target_latlng.size > 0:
        out.target_latlng[0], out.target_latlng[1] = place.latitude, place.longitude
    if out.target_latlng_label.size > 0:
        out.target_latlng_label[0] = place.square
    if out.instructions.size > 0:
        show_instructions(state, params.rules[0], out.instructions)
    if out.distance.size > 0:
        out.distance[0] = arc(params.places, state.place, goal)


@part
def _observe_counts(state: Any, out: Arrays) -> None:
    if out.goals.size > 0:
        out.goals[0] = state.goals
    if out.latency.size > 0:
        later = state.goals - 1
        out.latency[0] = state.first_goal
        out.latency[1] = state.later_steps / later if later > 0 else -1.0
    if out.spl.size > 0:
        out.spl[0] = state.spl / (state.goals + 1)
    if out.coins.size > 0:
        out.coins[0] = state.coins


def reset(state: Any, params: Params) -> None:
    """Begin an episode: place, heading north, coins, goal or route."""
    _reset(state, lend(params))


def step(state: Any, action: int, params: Params) -> tuple[float, bool]:
    """Move or turn, then apply the rules; return reward and whether the episode is over."""
    return _advance(state, action, lend(params))


def observe(state: Any, params: Params, out: Arrays) -> None:
    """Fill the arrays that were asked for."""
    if out.image.size > 0 or out.thumbnails.size > 0:
        _observe_pixels(state, params, out.image, out.thumbnails)
    _observe_place(state, params.places, out)
    _observe_goal(state, params, out)
    _observe_counts(state, out)
