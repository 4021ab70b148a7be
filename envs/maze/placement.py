"""Laying out an episode and starting its map: grid, goal, objects, doors, spawn points."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.maze import state as s
from daedalus.envs.maze.compiling import kernel
from daedalus.envs.maze.kinds import NUMBER
from daedalus.envs.maze.labels import remember
from daedalus.envs.maze.layout import WALL, draw_maze, flood, shuffle
from daedalus.envs.maze.raycast import DOOR, SOLID
from daedalus.envs.maze.symbolic import FLOOR_CODE, OBJECT_CODE, code_of
from daedalus.envs.random import GOAL, LAYOUT, SPAWN, STATE_FIELDS, integers, set_stream, uniform

STATIC, RANDOM_GOAL, ALL_RANDOM = 0, 1, 2
"""What is the same in every episode: all but the spawn; the walls; nothing."""
NAVIGATE, SCATTER, FIXED, POOL, PUZZLE = 0, 1, 2, 3, 4
"""Tasks: a goal and fruit; good and bad objects; a list of objects; a platform; keys and doors."""
THEMES_USED = 15
_PATCH = 8  # squares of corridor that share a theme
_PATCHES = 12 * 12
_APPLE, _STRAWBERRY, _GATE = NUMBER["apple"], NUMBER["strawberry"], NUMBER["gate"]
_GOAL, _FIRST_KEY = NUMBER["goal"], NUMBER["red_key"]
_DRAWS = np.dtype([STATE_FIELDS[2], STATE_FIELDS[1]], align=True)


@kernel
def draw_grid(draws: Any, rules: Any, grid: np.ndarray) -> None:
    """Draw a maze; rooms have a theme each, corridors one for each patch of the map.

    Args:
        draws: Record of ``STATE_FIELDS``; its LAYOUT stream is used.
        rules: Record of ``RULES``.
        grid: uint8 (height * width,), filled.
    """
    height, width = rules.height, rules.width
    region = np.empty(height * width, np.int16)
    rooms = draw_maze(draws, region, rules)
    first = integers(draws, LAYOUT, THEMES_USED)
    themes = np.empty(_PATCHES, np.uint8)
    for i in range(_PATCHES):
        themes[i] = 1 + integers(draws, LAYOUT, THEMES_USED)
    for i in range(region.size):
        y, x = i // width, i % width
        theme = np.int64(themes[(y // _PATCH * 12 + x // _PATCH) % _PATCHES])
        if region[i] < rooms:
            theme = 1 + (first + region[i]) % THEMES_USED
        grid[i] = SOLID if region[i] == WALL else theme


@kernel
def set_square(state: Any, square: int, value: int) -> None:
    """Change a square of the grid and its symbol."""
    state.grid[square] = value
    state.symbols[square] = code_of(value, 0)


@kernel
def change_square(state: Any, square: int, value: int) -> None:
    """Change a square until the map starts again."""
    n = state.counts[s.CHANGES]
    state.changes[n, 0], state.changes[n, 1] = square, state.grid[square]
    state.counts[s.CHANGES] = n + 1
    set_square(state, square, value)


@kernel
def _add_object(state: Any, width: int, square: int, kind: int, link: int) -> None:
    i = state.counts[s.OBJECTS]
    state.object_x[i] = square % width + 0.5
    state.object_y[i] = square // width + 0.5
    state.object_first[i] = kind
    state.object_link[i] = link
    state.item[square] = i + 1
    state.counts[s.OBJECTS] = i + 1


@kernel
def _clear(state: Any, rules: Any) -> None:
    for i in range(rules.height * rules.width):
        state.item[i] = 0
    for i in range(state.object_first.size):
        state.object_first[i] = 0
    for i in range(s.COUNTS):
        state.counts[i] = 0
    state.counts[s.GOAL_OBJECT] = -1
    state.counts[s.FIRST_GOAL] = -1


@kernel
def _lay_grid(state: Any, rules: Any) -> None:
    size = rules.height * rules.width
    if rules.base_count > 0:
        for i in range(size):
            state.grid[i] = rules.base[i]
    else:
        draws = np.empty(1, _DRAWS)[0]  # the streams alone, so that drawing is compiled once
        draws.stream_key[LAYOUT] = state.stream_key[LAYOUT]
        draws.stream_count[LAYOUT] = state.stream_count[LAYOUT]
        draw_grid(draws, rules, state.grid[:size])
        state.stream_count[LAYOUT] = draws.stream_count[LAYOUT]
    for i in range(size):
        state.symbols[i] = code_of(np.int64(state.grid[i]), 0)


@kernel
def _list_cells(state: Any, rules: Any, cells: np.ndarray) -> int:
    """Fill in the squares that objects may lie on and return how many there are."""
    count = rules.slot_count
    for i in range(count):
        cells[i] = rules.slots[i]
    if count == 0:
        for y in range(1, rules.height, 2):
            for x in range(1, rules.width, 2):
                if state.grid[y * rules.width + x] < SOLID:
                    cells[count] = y * rules.width + x
                    count += 1
    return count


@kernel
def _place_navigation(state: Any, rules: Any, cells: np.ndarray, count: int) -> int:
    """Draw the goal, then fruit on the first cells of a shuffle; return the goal's square.

    One cell stays free to start from.
    """
    goal, fruit, apples = 0, count, count
    if rules.goal_count > 0:
        goal = np.int64(rules.goals[integers(state, GOAL, rules.goal_count)])
        fruit = apples = rules.slot_count
    else:
        chosen = integers(state, GOAL, count)
        goal = np.int64(cells[chosen])
        free = count - 1
        cells[chosen], cells[free] = cells[free], goal
        apples = min(np.int64(rules.apple_share * free + 0.5), free - 1)
        fruit = min(apples + np.int64(rules.strawberry_share * free + 0.5), free - 1)
        shuffle(state, GOAL, cells, free)
    state.counts[s.GOAL_OBJECT] = state.counts[s.OBJECTS]
    _add_object(state, rules.width, goal, rules.goal_kind, -1)
    for i in range(fruit):
        _add_object(
            state, rules.width, np.int64(cells[i]), _APPLE if i < apples else _STRAWBERRY, -1
        )
    return goal


@kernel
def _place_objects(state: Any, rules: Any, cells: np.ndarray, count: int) -> None:
    if rules.task == SCATTER:
        shuffle(state, GOAL, cells, count)
        for i in range(min(rules.good_count + rules.bad_count, count - 1)):
            kind = rules.good_kind if i < rules.good_count else rules.bad_kind
            _add_object(state, rules.width, np.int64(cells[i]), kind, -1)
    elif rules.task == FIXED:
        for i in range(rules.fixed_count):
            square, kind = np.int64(rules.fixed[i, 0]), np.int64(rules.fixed[i, 1])
            _add_object(state, rules.width, square, kind, np.int64(rules.fixed[i, 2]))
    elif rules.task == POOL:
        angle = 2.0 * math.pi * uniform(state, GOAL)
        radius = rules.pool_radius * math.sqrt(uniform(state, GOAL))
        state.pose[s.PLATFORM_X] = 0.5 * rules.width + radius * math.cos(angle)
        state.pose[s.PLATFORM_Y] = 0.5 * rules.height + radius * math.sin(angle)


@kernel
def _place_puzzle(state: Any, rules: Any, cells: np.ndarray, count: int) -> None:
    """Lock each room with a colour of its own; each room hides the key of the next."""
    order, colours = np.arange(s.ROOMS), np.arange(4)
    shuffle(state, LAYOUT, order, rules.room_count)
    shuffle(state, LAYOUT, colours, 4)
    hall = np.int64(cells[integers(state, LAYOUT, count)])
    _add_object(state, rules.width, hall, _FIRST_KEY + colours[0], -1)
    for i in range(rules.room_count):
        room, last = order[i], i == rules.room_count - 1
        set_square(state, np.int64(rules.doors[room]), SOLID | DOOR | colours[i])
        inside = np.int64(rules.rooms[room, integers(state, GOAL, rules.rooms.shape[1])])
        kind = _GOAL if last else _FIRST_KEY + colours[min(i + 1, 3)]
        _add_object(state, rules.width, inside, kind, -1)


@kernel
def _list_spawns(state: Any, rules: Any, cells: np.ndarray, total: int, goal: int) -> None:
    """List the squares to start from: those of the map, or free cells far from the goal.

    Where no cell is far enough, the farthest ones are taken.
    """
    count = rules.spawn_count
    for i in range(count):
        state.spawns[i] = rules.spawns[i]
    distance = np.zeros(rules.height * rules.width, np.int16)
    bound = -1
    if goal >= 0 and count == 0:
        flood(state.grid[: distance.size], rules.width, goal, distance)
        bound = rules.spawn_distance
    while count == 0:
        farthest = 0
        for i in range(total):
            steps = np.int64(distance[cells[i]])
            if state.item[cells[i]] == 0:
                farthest = max(farthest, steps)
                if steps > bound:
                    state.spawns[count] = cells[i]
                    count += 1
        bound = farthest - 1
    state.counts[s.SPAWNS] = count


@kernel
def lay_out(state: Any, rules: Any) -> None:
    """Make the world of a new episode, without starting its map."""
    if rules.layout != ALL_RANDOM:
        set_stream(state, LAYOUT, rules.layout_seed)
    if rules.layout == STATIC:
        set_stream(state, GOAL, rules.layout_seed)
    _clear(state, rules)
    _lay_grid(state, rules)
    cells = np.empty(rules.height * rules.width, np.int16)
    count = _list_cells(state, rules, cells)
    goal = -1
    if rules.task == NAVIGATE:
        goal = _place_navigation(state, rules, cells, count)
    elif rules.task == PUZZLE:
        _place_puzzle(state, rules, cells, count)
    else:
        _place_objects(state, rules, cells, count)
    _list_spawns(state, rules, cells, count, goal)


@kernel
def _restore(state: Any, rules: Any) -> None:
    """Undo what has changed since the map started and put every object back."""
    counts = state.counts
    while counts[s.CHANGES] > 0:
        counts[s.CHANGES] -= 1
        i = counts[s.CHANGES]
        set_square(state, np.int64(state.changes[i, 0]), np.int64(state.changes[i, 1]) & 255)
    counts[s.LEFT] = 0
    for i in range(counts[s.OBJECTS]):
        kind = state.object_first[i]
        state.object_kind[i] = kind
        square = np.int64(state.object_y[i]) * rules.width + np.int64(state.object_x[i])
        state.item[square] = i + 1
        if kind != _GATE:
            state.symbols[square] = OBJECT_CODE + kind
        # a goal starts the map again by itself, so it is not waited for
        counts[s.LEFT] += rules.kind_effect[kind] == 0 and rules.kind_reward[kind] > 0
    counts[s.KEY_HELD] = 0
    counts[s.HITS] = 0


@kernel
def _draw_heading(state: Any, rules: Any) -> float:
    full, headings = 2.0 * math.pi, rules.headings
    if headings < 0:
        dx = 0.5 * rules.width - state.pose[s.X]
        dy = 0.5 * rules.height - state.pose[s.Y]
        return math.atan2(dy, dx) % full
    if headings == 0:
        return full * uniform(state, SPAWN)
    return full * integers(state, SPAWN, headings) / headings


@kernel
def start_map(state: Any, rules: Any) -> None:
    """Put every object and door back and the agent, at rest, on a fresh spawn point."""
    counts, pose = state.counts, state.pose
    _restore(state, rules)
    square = np.int64(state.spawns[integers(state, SPAWN, counts[s.SPAWNS])])
    pose[s.X], pose[s.Y] = square % rules.width + 0.5, square // rules.width + 0.5
    pose[s.HEADING] = _draw_heading(state, rules)
    pose[s.FORWARD_SPEED] = pose[s.SIDE_SPEED] = pose[s.TURN] = 0.0
    remember(state)
    counts[s.LAST_START] = counts[s.POSITIONS]


@kernel
def clear_square(state: Any, square: int, i: int) -> None:
    """Take object ``i`` off its square."""
    state.object_kind[i] = 0
    state.item[square] = 0
    state.symbols[square] = FLOOR_CODE
