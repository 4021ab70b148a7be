"""Mazes to find a goal in, again and again: NavMaze and IMaze."""

from __future__ import annotations

import math
from typing import Any

from daedalus.envs.maze.family import Maze, Options, check, make_rules
from daedalus.envs.maze.maps import read_map
from daedalus.envs.maze.placement import ALL_RANDOM, NAVIGATE, RANDOM_GOAL, STATIC

LAYOUTS = {"static": STATIC, "random_goal": RANDOM_GOAL, "all_random": ALL_RANDOM}
PUBLISHED_STEPS = {(5, 10): 900, (9, 15): 2250, (13, 20): 4500}
"""Time limits of the published sizes (rows, columns) in steps: 60, 150 and 300 s."""


class NavMaze(Maze):
    """A first-person maze whose goal has to be found, and found again from wherever one respawns.

    Observation:
        image: uint8 (84, 84, 3), RGB, what the agent sees; the default input.
        velocity: float32 (6,), squares a step ahead and to the right, three zeros, turn in rad.
        window: uint8 (7, 7), the squares ahead, without pixels; the agent is in the middle of the
            bottom row. 0 wall, 1 floor, 2-5 doors, 6 + kind objects. It sees through walls.
        pose: float32 (4,), offset from the centre of the square ahead and right in squares, angle
            beyond that of the window in rad, key held (0 none, 1-4 colours).
        depth: uint8 (4, 16), label: depth of the view in eight bins, 0 nearest.
        loop_closure: uint8 (1,), label: 1 where an earlier place was left and is met again.
        position: float32 (3,), info: x and y in squares, heading in rad.
        cell: int32 (1,), info: number of the cell the agent is in.
        goals: int32 (1,), info: goals reached in the episode.
        latency: float32 (2,), info: steps to the first goal, mean steps to later ones; -1 if none.

    Action:
        Discrete(8): forward, backward, strafe left, strafe right, look left, look right, forward
        and look left, forward and look right. 15 actions a second.

    Reward:
        Goal +10, apple +1, strawberry +2. A reached goal does not end the episode: the agent
        respawns at rest on a random cell more than ``spawn_distance`` cells (on foot) from the
        goal, apples come back, the goal stays where it is for the episode.

    Episode end:
        Only by the time limit (truncation): 900, 2250 and 4500 steps for 5 x 10, 9 x 15 and 13 x 20
        cells, as published; 18 steps a cell in other sizes.

    Parameters:
        cells: rows and columns of cells, 2 to 31 each; a cell is 2 squares (200 units of Lab).
        layout: ``static`` (only the spawn is drawn), ``random_goal`` (goal and apples are drawn
            every episode), ``all_random`` (the walls too).
        layout_seed: the maze of ``static`` and ``random_goal``, the goal of ``static``.
        apples: share of the cells, other than the goal's, that hold an apple: of n cells
            floor(share * n + 0.5) do, at most n - 1: one stays free to start from.
        strawberries: likewise.
        spawn_distance: cells; 4 as published. Where no cell is that far, the farthest ones.
        max_rooms: rooms that are tried; those that do not fit are left out.
        room_min: shortest side of a room in squares, odd.
        room_max: longest side of a room in squares, odd.
        extra_connections: probability of each connector beyond the first between two regions.
        removed_walls: probability that a wall between two cells is taken out.
        simplify: delete dead ends and straighten detours.
        goal_reward: reward of the goal.
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.maze.family.Options``.

    Version history:
        v0: first version.

    Source:
        Beattie et al., 2016, "DeepMind Lab" (levels nav_maze_static_01 to nav_maze_random_goal_03);
        Mirowski et al., 2017, "Learning to navigate in complex environments"; Jaderberg et al.,
        2017, "Reinforcement learning with unsupervised auxiliary tasks" (nav_maze_all_random). The
        mazes are our own. Full speed is 0.25 squares a step where Lab's is 0.21.
    """

    time_limit = 900

    def __init__(
        self,
        *,
        cells: tuple[int, int] = (5, 10),
        layout: str = "random_goal",
        layout_seed: int = 1,
        apples: float = 0.1,
        strawberries: float = 0.0,
        spawn_distance: float = 4,
        max_rooms: int = 2,
        room_min: int = 3,
        room_max: int = 5,
        extra_connections: float = 0.05,
        removed_walls: float = 0.1,
        simplify: bool = False,
        goal_reward: float = 10.0,
        time_limit: int | None = None,
        **options: Any,
    ) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range.
        """
        rows, columns = (int(n) for n in cells)
        check("rows of cells", rows, 2, 31)
        check("columns of cells", columns, 2, 31)
        check("cells", rows * columns, 6, 961)
        check("apples", apples, 0, 1)
        check("strawberries", strawberries, 0, 1 - apples)
        check("removed_walls", removed_walls, 0, 1)
        check("extra_connections", extra_connections, 0, 1)
        check("room_max", room_max, room_min, 61)
        if layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
        if room_min < 3 or room_min % 2 == 0 or room_max % 2 == 0:
            raise ValueError(f"room sides must be odd and at least 3, got {room_min}, {room_max}")
        if simplify and max_rooms == 0 and removed_walls == 0:
            raise ValueError("simplify deletes mazes without loops: set removed_walls or max_rooms")
        common = Options(**options)
        rules = make_rules(
            common,
            (2 * rows + 1, 2 * columns + 1),
            NAVIGATE,
            cell_shift=1,
            cell_columns=columns,
            layout=LAYOUTS[layout],
            layout_seed=layout_seed,
            apple_share=apples,
            strawberry_share=strawberries,
            spawn_distance=int(2 * spawn_distance),
            max_rooms=max_rooms,
            room_min=room_min,
            room_max=room_max,
            extra_connections=extra_connections,
            removed_walls=removed_walls,
            simplify=simplify,
            rewards={"goal": goal_reward},
        )
        usual = PUBLISHED_STEPS.get((rows, columns), 18 * rows * columns)
        objects = 3 + math.ceil((apples + strawberries) * rows * columns)
        self.configure(common, rules, usual if time_limit is None else time_limit, objects)


I_MAZE = """
***********
*G*******G*
* ******* *
*         *
*****A*****
*****P*****
*****A*****
*****P*****
*****A*****
*         *
* ******* *
*G*******G*
***********
"""


class IMaze(Maze):
    """An I-shaped maze: the goal is in one of four arms, drawn every episode; remember which.

    Observation:
        image: uint8 (84, 84, 3), RGB, what the agent sees; the default input.
        depth: uint8 (4, 16), label: depth of the view in eight bins, 0 nearest.
        loop_closure: uint8 (1,), label: 1 where an earlier place was left and is met again.

        Also ``velocity``, ``window``, ``pose`` and what is in ``info``, as in ``NavMaze``.

    Action:
        As in ``NavMaze``.

    Reward:
        Goal +10, apples in the corridor +1. At the goal the agent is put back into the corridor,
        the apples come back; the goal stays in its arm for the episode.

    Episode end:
        Only by the time limit (truncation): 900 steps (60 s).

    Parameters:
        apples: whether the corridor holds its three apples.
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.maze.family.Options``.

    Version history:
        v0: first version.

    Source:
        Mirowski et al., 2017, "Learning to navigate in complex environments" (I-maze), in a smaller
        map: 13 x 11 squares, four arms.
    """

    time_limit = 900

    def __init__(self, *, apples: bool = True, time_limit: int = 900, **options: Any) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range.
        """
        common = Options(**options)
        plan = read_map(I_MAZE)
        rules = make_rules(
            common,
            plan.grid.shape,
            NAVIGATE,
            base=plan.grid.ravel(),
            spawns=plan.squares("P"),
            goals=plan.squares("G"),
            slots=plan.squares("A") if apples else [],
        )
        self.configure(common, rules, time_limit, objects=4)
