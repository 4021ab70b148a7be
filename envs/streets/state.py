"""What a taxi's episode is while it runs, the rules it runs by, and all that kernels know."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

COURIER, COINS, INSTRUCTIONS = range(3)
"""Games."""
STEPS = 5
"""Most instructions of a route."""
LOG = 1024
"""Room for the places that an episode has visited, in order; more are still counted right."""
WORDS = (64, 1024, 16_384)
"""Words of 64 places that a state has room for: small (4,096 places), large, vast (1,048,576)."""


def state_dtype(places: int) -> np.dtype[Any]:
    """Return the smallest state for a town of so many places."""
    words = next(w for w in WORDS if 64 * w >= places)
    return np.dtype(
        [
            ("place", "i4"),  # what every step needs comes first
            ("heading", "i4"),  # clockwise from north, 22.5 degrees each
            ("goal", "i4"),  # -1 in a game without goals
            ("since_goal", "i4"),  # steps since the goal was set
            ("logged", "i4"),  # visits written to the log, and beyond its end
            ("goal_logged", "i4"),  # of which before the goal was set
            ("goals", "i4"),  # found
            ("coins", "i4"),  # taken
            ("first_goal", "i4"),  # steps to the first found goal, -1 before
            ("later_steps", "i4"),  # steps spent on later goals
            ("best", "f8"),  # least distance to the goal so far, metres
            ("goal_reward", "f8"),  # places on the shortest way when the goal was set
            ("spl", "f8"),  # sum over found goals
            ("reach", "f8"),  # farthest goal that the curriculum allows, metres
            ("coin_key", "u8"),  # of the shuffle that says where coins are
            ("lived", "i8"),  # steps of all episodes, for the curriculum
            # a route: its places, the headings in which it leaves them, and what is said there
            ("legs", "i4"),
            ("leg", "i4"),  # the leg that one is on
            ("way_place", "i4", (STEPS + 1,)),
            ("way_heading", "i4", (STEPS + 1,)),
            ("say", "i4", (STEPS, 3)),  # kind, street, tens of metres
            ("log", "i4", (LOG,)),
            ("seen", "u8", (words,)),  # a bit for each place: visited since the goal was set
            ("taken", "u8", (words,)),  # visited in this episode, so that its coin is taken
        ]
    )


RULES = np.dtype(
    [
        ("game", "i8"),
        ("places", "i8"),
        ("min_radius", "f8"),  # metres
        ("max_radius", "f8"),  # metres
        ("goal_timeout", "i8"),  # steps
        ("coins", "i8"),  # coins in an episode
        ("coin_bits", "i8"),  # half the bits of the shuffle's domain
        ("coin_reward", "f8"),
        ("near", "f8"),  # metres: goals at the curriculum's begin
        ("far", "f8"),  # metres: at its end
        ("start", "f8"),  # steps before it begins
        ("length", "f8"),  # steps it takes
        ("rate", "f8"),
        ("diameter", "f8"),  # metres; within it, every goal is allowed
        ("legs", "i8"),  # most instructions
        ("goal_reward", "f8"),  # of a route
        ("waypoint_reward", "f8"),
        ("dense_reward", "f8"),
        ("dense_radius", "f8"),  # metres
        ("one_by_one", "?"),  # only the present instruction is shown
    ],
    align=True,
)


class Params(NamedTuple):
    """All that the kernels know about a configured game; the last five as in `Camera`."""

    rules: np.ndarray  # RULES (1,)
    places: np.ndarray  # PLACE (N,)
    hubs: np.ndarray  # HUB
    cells: np.ndarray  # int32 (rows, columns + 1), see `StreetGraph`
    pieces: np.ndarray  # PIECE (P,)
    runs: np.ndarray  # RUN
    codes: np.ndarray  # float32 (N, LANDMARKS)
    focal: float
    horizon: float
    lens: np.ndarray
    fronts: np.ndarray
    background: np.ndarray


class Arrays(NamedTuple):
    """What can be observed."""

    image: np.ndarray
    goal: np.ndarray
    yaw: np.ndarray
    neighbors: np.ndarray
    latlng: np.ndarray
    target_latlng: np.ndarray
    instructions: np.ndarray
    thumbnails: np.ndarray
    yaw_label: np.ndarray
    latlng_label: np.ndarray
    target_latlng_label: np.ndarray
    position: np.ndarray
    distance: np.ndarray
    goals: np.ndarray
    latency: np.ndarray
    spl: np.ndarray
    coins: np.ndarray
