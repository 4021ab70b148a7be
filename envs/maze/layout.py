"""Drawing mazes: rooms, corridors, connectors, and the clean-up that removes dead ends.

The order of the steps is that of the room-and-corridor maker of DeepMind Lab (Beattie et al., 2016,
"DeepMind Lab"): rooms, recursive-backtracker corridors, connectors between regions, clean-up.

A maze is a text grid of ``height`` x ``width`` squares, both odd, kept row by row in one vector, so
that the neighbours of square ``i`` are ``i - width``, ``i + width``, ``i - 1`` and ``i + 1``.
*Cells* are the squares with two odd coordinates; a square between two cells is a passage or a wall.
``region`` holds ``WALL`` or the number of the room or corridor that the square belongs to. All
draws come from the state's ``LAYOUT`` stream.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.maze.compiling import kernel
from daedalus.envs.random import LAYOUT, integers, uniform

WALL = -1
"""Value of ``region`` where there is a wall."""
ROOM_RETRIES = 16
"""How often a room that does not fit is drawn again."""
ATTEMPTS = 64
"""How often a maze is drawn again when the clean-up leaves less than three cells of it."""


@kernel
def shuffle(state: Any, stream: int, items: np.ndarray, count: int) -> None:
    """Shuffle the first ``count`` entries of a vector in place (Fisher and Yates)."""
    for i in range(count - 1, 0, -1):
        j = integers(state, stream, i + 1)
        items[i], items[j] = items[j], items[i]


@kernel
def draw_maze(state: Any, region: np.ndarray, rules: Any) -> int:
    """Draw a connected maze into ``region`` and return how many rooms it has; they come first.

    Args:
        state: State whose LAYOUT stream is used.
        region: int16 (height * width,), overwritten.
        rules: Record of ``RULES``: size, rooms, loops and clean-up.
    """
    rooms = 0
    for attempt in range(ATTEMPTS):
        for i in range(region.size):
            region[i] = WALL
        rooms = _place_rooms(state, region, rules)
        count = _fill_corridors(state, region, rules, rooms)
        _connect(state, region, rules, count)
        if not rules.simplify or attempt == ATTEMPTS - 1:
            break
        while _delete_dead_ends(region, rules.width) or _straighten(region, rules):
            pass
        if _count_cells(region, rules) >= 3:
            break
    return rooms


@kernel
def _place_rooms(state: Any, region: np.ndarray, rules: Any) -> int:
    rooms = 0
    middle = (rules.room_max - rules.room_min) // 4 + 1
    for _ in range(rules.max_rooms * ROOM_RETRIES):
        if rooms == rules.max_rooms:
            break
        h = rules.room_min + 2 * integers(state, LAYOUT, middle)
        w = h + 2 * integers(state, LAYOUT, (rules.room_max - h) // 2 + 1)
        if integers(state, LAYOUT, 2) == 1:
            h, w = w, h
        if h > rules.height - 2 or w > rules.width - 2:
            continue
        y = 1 + 2 * integers(state, LAYOUT, (rules.height - 2 - h) // 2 + 1)
        x = 1 + 2 * integers(state, LAYOUT, (rules.width - 2 - w) // 2 + 1)
        taken = 0
        for row in range(y, y + h):
            for i in range(row * rules.width + x, row * rules.width + x + w):
                taken += region[i] != WALL
        if taken > 0:
            continue
        for row in range(y, y + h):
            for i in range(row * rules.width + x, row * rules.width + x + w):
                region[i] = rooms
        rooms += 1
    return rooms


@kernel
def _fill_corridors(state: Any, region: np.ndarray, rules: Any, first: int) -> int:
    """Fill the free cells with corridors by the recursive backtracker; return the region count."""
    width, count = rules.width, first
    stack = np.empty(region.size, np.int32)
    ways = np.empty(4, np.int64)
    for start in range(width + 1, region.size - width):
        if region[start] != WALL or (start // width) % 2 == 0 or (start % width) % 2 == 0:
            continue
        region[start] = count
        stack[0], depth = start, 1
        while depth > 0:
            square = stack[depth - 1]
            free = _free_ways(region, square, width, ways)
            if free == 0:
                depth -= 1
                continue
            step = ways[integers(state, LAYOUT, free)]
            region[square + step] = count
            region[square + 2 * step] = count
            stack[depth] = square + 2 * step
            depth += 1
        count += 1
    return count


@kernel
def _free_ways(region: np.ndarray, square: int, width: int, ways: np.ndarray) -> int:
    y, x = square // width, square % width
    free = 0
    for k in range(4):
        step = (-width, width, -1, 1)[k]
        inside = (y > 1, y < region.size // width - 2, x > 1, x < width - 2)[k]
        if inside and region[square + 2 * step] == WALL:
            ways[free] = step
            free += 1
    return free


@kernel
def _is_near(opened: np.ndarray, i: int, width: int) -> bool:
    """Tell whether a connector around the same four corners is open already."""
    for j in (i - 2, i + 2, i - 2 * width, i + 2 * width):
        if 0 <= j < opened.size and opened[j]:
            return True
    corners = opened[i - width - 1] + opened[i - width + 1]
    return corners + opened[i + width - 1] + opened[i + width + 1] > 0


@kernel
def _connect(state: Any, region: np.ndarray, rules: Any, count: int) -> None:
    """Open one connector between each pair of adjacent regions, further ones with some luck.

    After that walls between cells are taken out at random, whatever they part.
    """
    width = rules.width
    walls = np.empty(region.size, np.int32)
    found = 0
    for i in range(width + 1, region.size - width - 1):
        x = i % width
        between = (i // width + x) % 2 == 1 and 0 < x < width - 1
        if between and region[i] == WALL:
            walls[found] = i
            found += 1
    shuffle(state, LAYOUT, walls, found)
    joined = np.zeros((count, count), np.uint8)
    opened = np.zeros(region.size, np.uint8)
    for k in range(found):
        i = walls[k]
        step = 1 if (i // width) % 2 == 1 else width
        a, b = region[i - step], region[i + step]
        extra = uniform(state, LAYOUT) < rules.extra_connections
        if a != b and (joined[a, b] == 0 or (extra and not _is_near(opened, i, width))):
            joined[a, b] = joined[b, a] = 1
            opened[i] = 1
        if rules.removed_walls > 0.0 and uniform(state, LAYOUT) < rules.removed_walls:
            opened[i] = 1
    for k in range(found):
        i = walls[k]
        if opened[i]:
            step = 1 if (i // width) % 2 == 1 else width
            region[i] = max(region[i - step], region[i + step])


@kernel
def _walls_around(region: np.ndarray, i: int, width: int) -> int:
    walls = 0
    for step in (-width, width, -1, 1):
        walls += region[i + step] == WALL
    return walls


@kernel
def _delete_dead_ends(region: np.ndarray, width: int) -> bool:
    """Wall up squares with three walls around them until there are none; tell if any was."""
    changed, again = False, True
    while again:
        again = False
        for i in range(width + 1, region.size - width - 1):
            if region[i] != WALL and _walls_around(region, i, width) >= 3:
                region[i] = WALL
                changed = again = True
    return changed


@kernel
def _straighten(region: np.ndarray, rules: Any) -> bool:
    """Replace corridors a-c-d-b around one wall by the straight way a-b ("horseshoes")."""
    width, changed = rules.width, False
    for i in range(width + 1, region.size - width - 1):
        y, x = i // width, i % width
        if y % 2 == 0 or x % 2 == 0 or region[i] == WALL:
            continue
        if x + 2 < width:
            changed |= y > 2 and _cut_detour(region, i, 1, -width, width)
            changed |= y + 2 < rules.height and _cut_detour(region, i, 1, width, width)
        if y + 2 < rules.height:
            changed |= x > 2 and _cut_detour(region, i, width, -1, width)
            changed |= x + 2 < width and _cut_detour(region, i, width, 1, width)
    return changed


@kernel
def _cut_detour(region: np.ndarray, a: int, along: int, side: int, width: int) -> bool:
    """Cut off the detour from cell a to the next cell along, if it runs at that side."""
    if region[a] == WALL or region[a + along] != WALL or region[a + 2 * along] == WALL:
        return False
    c = a + 2 * side
    for i in (a + side, c, c + along, c + 2 * along, c + 2 * along - side):
        if region[i] == WALL or _walls_around(region, i, width) != 2:
            return False
    region[a + along] = region[a]
    for i in (a + side, c, c + along, c + 2 * along, c + 2 * along - side):
        region[i] = WALL
    return True


@kernel
def _count_cells(region: np.ndarray, rules: Any) -> int:
    count = 0
    for y in range(1, rules.height, 2):
        for x in range(1, rules.width, 2):
            count += region[y * rules.width + x] != WALL
    return count


@kernel
def flood(grid: np.ndarray, width: int, start: int, distance: np.ndarray) -> int:
    """Fill in the number of steps from a square to every square that can be reached.

    Args:
        grid: uint8 (squares,) with a solid border; values of at least 128 are solid.
        width: Squares in a row.
        start: Index of the first square.
        distance: int16 (squares,), overwritten; -1 where nothing leads.

    Returns:
        The number of squares reached, the first one included.
    """
    for i in range(distance.size):
        distance[i] = -1
    queue = np.empty(grid.size, np.int32)
    queue[0] = start
    distance[start] = 0
    head, tail = 0, 1
    while head < tail:
        square = queue[head]
        head += 1
        for step in (-width, width, -1, 1):
            other = square + step
            if grid[other] < 128 and distance[other] < 0:
                distance[other] = distance[square] + 1
                queue[tail] = other
                tail += 1
    return tail
