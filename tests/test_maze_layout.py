"""Drawn mazes: connected, without dead ends where asked, with the right number of apples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from maze_tools import maze, objects, squares, started

from daedalus.envs.cache import jit
from daedalus.envs.maze.arena import Collect
from daedalus.envs.maze.kinds import NUMBER
from daedalus.envs.maze.layout import flood
from daedalus.envs.maze.placement import draw_grid
from daedalus.envs.maze.state import RULES
from daedalus.envs.random import STATE_FIELDS, begin_episode

CHOICES: dict[str, dict[str, Any]] = {
    "corridors": {"max_rooms": 0},
    "loops": {"max_rooms": 0, "removed_walls": 0.2},
    "rooms": {"max_rooms": 6, "extra_connections": 0.05},
    "simplified": {"max_rooms": 4, "removed_walls": 0.1, "simplify": True},
    "simplified corridors": {"max_rooms": 0, "removed_walls": 0.3, "simplify": True},
}


@jit
def _judge(states: Any, rules: Any, count: int, height: int, width: int) -> tuple[int, int, int]:
    """Draw mazes; return how many are not connected, their dead ends, and their open squares."""
    grid, distance = np.empty(height * width, np.uint8), np.empty(height * width, np.int16)
    torn = dead = total = 0
    for _ in range(count):
        begin_episode(states[0])
        draw_grid(states[0], rules[0], grid)
        start = open_ = 0
        for i in range(grid.size):
            if grid[i] < 128:
                start = i
                open_ += 1
                walls = 0
                for step in (-width, width, -1, 1):
                    walls += grid[i + step] >= 128
                dead += walls >= 3
        torn += flood(grid, width, start, distance) != open_
        total += open_
    return torn, dead, total


@pytest.mark.parametrize("choice", CHOICES)
def test_ten_thousand_mazes_are_connected(choice: str) -> None:
    """Checklist A: 2,000 mazes of each of five recipes."""
    rules = np.zeros(1, RULES)
    for name, value in {"room_min": 3, "room_max": 5, **CHOICES[choice]}.items():
        rules[0][name] = value
    rules[0]["height"], rules[0]["width"] = 11, 21
    states = np.zeros(1, np.dtype(STATE_FIELDS, align=True))
    torn, dead, total = _judge(states, rules, 2000, 11, 21)
    assert torn == 0
    if CHOICES[choice].get("simplify"):
        assert dead == 0
        assert total > 2000 * 20  # something is left of them
    else:
        assert total >= 2000 * (50 + 49)  # 50 cells and the passages of a tree


@pytest.mark.parametrize(("cells", "apples"), [((5, 10), 5), ((9, 15), 13), ((13, 20), 26)])
def test_apples_are_a_tenth_of_the_cells(cells: tuple[int, int], apples: int) -> None:
    """floor(0.1 n + 0.5) of the n cells that are not the goal's: the numbers of the levels."""
    batch = started(maze(cells=cells, layout="all_random"), 8, observations=(), labels=())
    for i in range(8):
        kinds = list(objects(batch, i).values())
        assert kinds.count(NUMBER["apple"]) == apples
        assert kinds.count(NUMBER["goal"]) == 1
        rows, columns = np.array(list(objects(batch, i))).T
        assert (rows % 2 == 1).all()
        assert (columns % 2 == 1).all()


def test_what_is_drawn_anew_follows_the_layout() -> None:
    def worlds(layout: str) -> tuple[set[bytes], set[bytes], set[bytes]]:
        batch = started(maze(layout=layout), 12, observations=(), labels=())
        grids = {squares(batch, i).tobytes() for i in range(12)}
        things = {bytes(str(objects(batch, i)), "ascii") for i in range(12)}
        return grids, things, {pose.tobytes() for pose in batch.states["pose"]}

    static, goals, everything = worlds("static"), worlds("random_goal"), worlds("all_random")
    assert (len(static[0]), len(static[1])) == (1, 1)
    assert len(goals[0]) == 1
    assert len(goals[1]) == 12
    assert len(everything[0]) == 12
    for group in (static, goals, everything):
        assert len(group[2]) == 12  # the start is drawn in all of them


def test_another_layout_seed_is_another_maze() -> None:
    grids = [squares(started(maze(layout="static", layout_seed=k))).tobytes() for k in (1, 2, 3)]
    assert len(set(grids)) == 3


def test_spawns_are_far_from_the_goal() -> None:
    """More than 8 steps of the text grid, on foot, at every start of the map."""
    batch = started(maze(layout="all_random"), 32, observations=(), labels=())
    distance = np.zeros(21 * 11, np.int16)
    for i in range(32):
        goal = next(at for at, kind in objects(batch, i).items() if kind == NUMBER["goal"])
        flood(squares(batch, i).ravel().copy(), 21, goal[0] * 21 + goal[1], distance)
        candidates = batch.states["spawns"][i, : batch.states["counts"][i, 1]]
        assert (distance[candidates] > 8).all()
        assert candidates.size > 0


def test_where_no_cell_is_far_enough_the_farthest_is_taken() -> None:
    batch = started(maze(cells=(2, 3), max_rooms=0, apples=0.0), 4, observations=(), labels=())
    assert (batch.states["counts"][:, 1] >= 1).all()


@pytest.mark.parametrize(
    "parameters",
    [{"apples": 1.0}, {"apples": 0.5, "strawberries": 0.5}, {"cells": (2, 3), "apples": 0.99}],
)
def test_a_cell_stays_free_to_start_from(parameters: dict[str, Any]) -> None:
    """Where fruit would fill every cell but the goal's, one of them holds none."""
    batch = started(maze(**parameters), 4, observations=(), labels=())
    for i in range(4):
        rows, columns = parameters.get("cells", (5, 10))
        assert len(objects(batch, i)) == rows * columns - 1
        assert batch.states["counts"][i, 1] == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"cells": (1, 4)}, "rows of cells must be between 2 and 31, got 1"),
        ({"layout": "statics"}, "layout must be one of static, random_goal, all_random"),
        ({"image": (8, 84)}, "image height and width must be between 16 and 1024, got 8"),
        ({"speed": 0.9}, "speed must be between 0.01 and 0.5, got 0.9"),
        ({"view_size": 6}, "view_size must be odd, got 6"),
        ({"room_min": 4}, "room sides must be odd"),
        ({"simplify": True, "max_rooms": 0, "removed_walls": 0.0}, "set removed_walls"),
        ({"apples": 0.6, "strawberries": 0.6}, "strawberries must be between 0 and 0.4"),
        ({"layout_seed": 1.5}, "layout_seed must be a whole number, got 1.5"),
        ({"layout_seed": float("inf")}, "layout_seed must be a whole number, got inf"),
        ({"look": "jungle"}, "look must be one of lab"),
    ],
)
def test_a_wrong_parameter_says_what_is_right(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        maze(**parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"bad_color": (300, 0, 0)}, "bad_color must be between 0 and 255, got 300"),
        ({"bad_color": (0, 0)}, "bad_color needs red, green and blue"),
        ({"max_pickups": -1}, "max_pickups must be between 0 and"),
        ({"max_pickups": 2.5}, "max_pickups must be a whole number, got 2.5"),
    ],
)
def test_collect_says_what_is_right(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Collect(**parameters)
