"""Locked rooms, each hiding the key of the next: KeysDoors."""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.maze.family import Maze, Options, make_rules
from daedalus.envs.maze.maps import read_map
from daedalus.envs.maze.placement import ALL_RANDOM, PUZZLE

KEYS_MAP = """
***************
*aaa*     *bbb*
*aaa*hhhhh*bbb*
*aaaA  P  Bbbb*
*aaa*hhhhh*bbb*
*****     *****
*ccc*hhhhh*ddd*
*cccC  P  Dddd*
*ccc*hhhhh*ddd*
*ccc*     *ddd*
***************
"""


class KeysDoors(Maze):
    """A hall and four locked rooms: each room hides the key of the next, the last one the goal.

    Rooms, colours and places are drawn every episode. A key opens doors of its colour, is used up,
    and only one can be held; the held key's colour shows at the bottom of the image.

    Observation:
        image: uint8 (84, 84, 3), RGB, what the agent sees; the default input.
        depth: uint8 (4, 16), label: depth of the view in eight bins, 0 nearest.
        loop_closure: uint8 (1,), label: 1 where an earlier place was left and is met again.

        Also ``velocity``, ``window``, ``pose`` and what is in ``info``, as in ``NavMaze``.

    Action:
        As in ``NavMaze``. Keys are taken by walking over them, doors opened by walking into them.

    Reward:
        Key +1, door +1, goal +50. At the goal the map starts again: doors closed, keys back.

    Episode end:
        Only by the time limit (truncation): 900 steps (60 s).

    Parameters:
        rooms: locked rooms, 1 to 4.
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.maze.family.Options``.

    Version history:
        v0: first version.

    Source:
        Beattie et al., 2016, "DeepMind Lab", level rooms_keys_doors_puzzle; the map is our own.
    """

    time_limit = 900

    def __init__(self, *, rooms: int = 4, time_limit: int = 900, **options: Any) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range.
        """
        if rooms not in (1, 2, 3, 4):
            raise ValueError(f"rooms must be 1, 2, 3 or 4, got {rooms}")
        common = Options(**options)
        plan = read_map(KEYS_MAP)
        inside = [plan.squares(letter)[:12] for letter in "abcd"[:rooms]]
        doors = [int(plan.squares(letter)[0]) for letter in "ABCD"]
        grid = plan.grid.ravel().copy()
        grid[doors[rooms:]] = 128
        rules = make_rules(
            common,
            plan.grid.shape,
            PUZZLE,
            base=grid,
            spawns=plan.squares("P"),
            slots=plan.squares("h"),
            rooms=np.stack(inside),
            doors=doors[:rooms],
            layout=ALL_RANDOM,
            door_reward=1.0,
            rewards={"goal": 50.0},
        )
        self.configure(common, rules, time_limit, objects=1 + rooms)
