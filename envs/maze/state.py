"""What a maze is while it runs (the state) and what it is made from (``Params``).

Both are records, so that a kernel function takes two pointers however much it needs to know. N is
the number of squares, K of objects, M of positions that a state has room for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from daedalus.envs.maze.kinds import KINDS

OBJECTS, SPAWNS, GOAL_OBJECT, GOALS, PICKUPS, LEFT, KEY_HELD, POSITIONS = range(8)
FIRST_GOAL, LAST_START, LATER_STEPS, HITS, CHANGES = range(8, 13)
"""Places in ``state.counts``: objects, spawn candidates, number of the goal object or -1; goals
reached, things taken, rewards left on the map, one plus the colour of the key held, positions in
the trace; steps to the first goal or -1, positions when the map last started, steps spent on
later goals, hits of the platform, changed squares."""
COUNTS = 13
X, Y, HEADING, FORWARD_SPEED, SIDE_SPEED, TURN, PLATFORM_X, PLATFORM_Y = range(8)
"""Places in ``World.pose``: squares, radians, squares a step in the agent's frame, radians."""
MAX_CHANGES = 16
"""Doors opened and gates closed that a map start undoes."""


SIZES = ((288, 32, 2048), (1280, 64, 4608), (4096, 128, 16384))
"""Capacities of states (N, K, M): small (10 x 5 cells), large (20 x 13 cells), vast."""


def state_dtype(squares: int, objects: int, positions: int) -> np.dtype[Any]:
    """Return the smallest state that holds so many squares, objects and positions.

    Raises:
        ValueError: The maze is larger than the largest state.
    """
    fits = [s for s in SIZES if s[0] >= squares and s[1] >= objects]
    if not fits:
        raise ValueError(
            f"a maze of {squares} squares and {objects} objects is too large: at most "
            f"{SIZES[-1][0]} squares (31 x 31 cells) and {SIZES[-1][1]} objects"
        )
    n, k, m = next((s for s in fits if s[2] > positions), fits[-1])
    return np.dtype(
        [
            ("pose", "f4", (8,)),  # what every step needs comes first
            ("counts", "i4", (COUNTS,)),
            ("grid", "u1", (n,)),  # see raycast: solid, door, theme
            ("item", "u1", (n,)),  # one plus the number of the object there
            ("symbols", "u1", (n,)),  # codes of the symbolic window
            ("spawns", "i2", (n,)),  # squares
            ("object_x", "f4", (k,)),
            ("object_y", "f4", (k,)),
            ("object_kind", "u1", (k,)),  # 0 when taken
            ("object_first", "u1", (k,)),  # the kind at the start of the map
            ("object_link", "i2", (k,)),  # square that a gate walls up
            ("changes", "i2", (MAX_CHANGES, 2)),  # square and the value it had
            ("trace_x", "f4", (m,)),  # a ring of the last positions
            ("trace_y", "f4", (m,)),
        ]
    )


DRAWN, SPOTS, FIXTURES, ROOMS = 288, 256, 32, 4
"""Room in ``RULES`` for a drawn map: its squares, lists of squares, fixed objects, locked rooms."""

RULES = np.dtype(
    [
        # the maze; names as in `layout.draw_maze`; lengths in squares
        ("height", "i8"),
        ("width", "i8"),
        ("max_rooms", "i8"),
        ("room_min", "i8"),
        ("room_max", "i8"),
        ("extra_connections", "f8"),
        ("removed_walls", "f8"),
        ("simplify", "?"),
        ("cell_shift", "i8"),  # 1 in generated mazes, where a cell is two squares, else 0
        ("cell_columns", "i8"),
        # the task
        ("task", "i8"),  # NAVIGATE, SCATTER, FIXED, POOL or PUZZLE, see placement
        ("layout", "i8"),  # STATIC, RANDOM_GOAL or ALL_RANDOM
        ("layout_seed", "i8"),
        ("goal_kind", "i8"),
        ("apple_share", "f8"),
        ("strawberry_share", "f8"),
        ("good_kind", "i8"),
        ("good_count", "i8"),
        ("bad_kind", "i8"),
        ("bad_count", "i8"),
        ("spawn_distance", "i8"),  # squares; the goal is farther away than that
        ("max_pickups", "i8"),  # the episode ends after so many; 0 for never
        ("restart_when_clear", "?"),  # the map starts again when no reward is left
        ("door_reward", "f8"),
        ("platform_radius", "f4"),  # squares
        ("pool_radius", "f4"),  # squares, of the disc that the platform's centre lies in
        ("platform_hits", "i8"),  # the map starts again after so many
        ("kind_reward", "f4", (len(KINDS),)),
        ("kind_effect", "u1", (len(KINDS),)),
        # squares of a drawn map; where a count is 0, generated cells take their place
        ("base_count", "i8"),
        ("base", "u1", (DRAWN,)),  # the grid; none: draw one
        ("spawn_count", "i8"),
        ("spawns", "i2", (SPOTS,)),  # none: any cell far enough from the goal
        ("goal_count", "i8"),
        ("goals", "i2", (SPOTS,)),  # none: any cell
        ("slot_count", "i8"),
        ("slots", "i2", (SPOTS,)),  # where objects may lie; none: any cell
        ("fixed_count", "i8"),
        ("fixed", "i2", (FIXTURES, 3)),  # square, kind and linked square of objects
        ("room_count", "i8"),
        ("rooms", "i2", (ROOMS, 12)),  # squares for the contents of each locked room
        ("doors", "i2", (ROOMS,)),
        # motion
        ("speed", "f4"),  # squares a step at full speed
        ("gain", "f4"),  # share of the way to the wanted velocity covered in a step
        ("turn", "f4"),  # radians a step
        ("headings", "i8"),  # directions a spawn can look in; 0: any, -1: towards the centre
        # sight
        ("focal", "f4"),  # pixels of one square at depth one
        ("sizes", "f4", (len(KINDS),)),  # sides of objects in squares
        ("depth_edges", "f4", (7,)),
        ("loop_near", "f4"),  # squares
        ("loop_far", "f4"),  # squares
    ],
    align=True,
)
"""All numbers of a configured maze."""


class Params(NamedTuple):
    """All that the kernels know about a configured maze."""

    rules: np.ndarray  # RULES (1,)
    slope: np.ndarray  # float32 (W,), sideways slope of each column's ray
    textures: np.ndarray  # uint32 (all texels,)
    background: np.ndarray  # uint32 (H,)
    sprites: np.ndarray  # uint32 (kinds, 256)
    noise: np.ndarray  # int16, a table of normal values; empty for no noise


class Arrays(NamedTuple):
    """What can be observed."""

    image: np.ndarray
    velocity: np.ndarray
    window: np.ndarray
    pose: np.ndarray
    depth: np.ndarray
    loop_closure: np.ndarray
    position: np.ndarray
    cell: np.ndarray
    goals: np.ndarray
    latency: np.ndarray
