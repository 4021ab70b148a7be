"""Shortest ways between any two places, in a time that hardly grows with the city.

Each place keeps two short lists: the hubs that it can reach, and the hubs that reach it, each with
a number of moves. A shortest way between two places passes a hub of both, so its length is the
least sum over common hubs: a merge of two sorted lists. After Akiba, Iwata and Yoshida, 2013, "Fast
exact shortest-path distance queries on large networks by pruned landmark labeling" (directed,
unweighted); places that cut the city in two become hubs first.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.streets.compiling import kernel
from daedalus.envs.streets.network import StreetGraph

UNREACHABLE = 65_535
"""Number of moves between places without a way."""


HUB = np.dtype([("hub", "i4"), ("moves", "i4")])


@kernel
def moves_between(places: Any, hubs: Any, start: int, goal: int) -> int:
    """Return the least number of moves from one place to another, or ``UNREACHABLE``.

    Args:
        places: Records with the ranges ``out_first`` to ``out_end`` and ``in_first`` to ``in_end``.
        hubs: ``HUB`` (L,).
        start: Number of a place.
        goal: Likewise.
    """
    i, end = places[start].out_first, places[start].out_end
    j, last = places[goal].in_first, places[goal].in_end
    best = np.int64(UNREACHABLE)
    while i < end and j < last:
        a, b = hubs[i].hub, hubs[j].hub
        if a == b:
            best = min(best, np.int64(hubs[i].moves + hubs[j].moves))
        i += a <= b
        j += b <= a
    return best


@kernel
def _spread(
    edges: tuple[np.ndarray, np.ndarray],
    root: tuple[int, int],
    mine: tuple[np.ndarray, np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray, np.ndarray],
    work: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> bool:
    """Label what a hub reaches by a breadth-first search that stops where hubs known before do.

    Args:
        edges: Beginnings int64 (N + 1,) and targets int32 of the moves to follow.
        root: Place and rank of the hub.
        mine: Hubs int32 (N, K), moves uint16 (N, K) and counts int64 (N,) to add to.
        other: Likewise, of the opposite direction.
        work: Queue int32 (N,), moves from the root int32 (N,) all -1, moves to hubs int32 (N,) all
            ``UNREACHABLE``.

    Returns:
        Whether a list is full now; it has to be enlarged before the next hub.
    """
    first, target = edges
    hubs, moves, count = mine
    queue, found, to_hub = work
    place, rank = root
    for k in range(other[2][place]):
        to_hub[other[0][place, k]] = other[1][place, k]
    to_hub[rank] = 0
    queue[0], found[place], done, end, full = place, 0, 0, 1, False
    while done < end:
        u = queue[done]
        done += 1
        known = False
        for k in range(count[u]):
            if to_hub[hubs[u, k]] + moves[u, k] <= found[u]:
                known = True
                break
        if known:
            continue
        hubs[u, count[u]], moves[u, count[u]] = rank, found[u]
        count[u] += 1
        full = full or count[u] == hubs.shape[1]
        for e in range(first[u], first[u + 1]):
            if found[target[e]] < 0:
                found[target[e]] = found[u] + 1
                queue[end] = target[e]
                end += 1
    for k in range(end):
        found[queue[k]] = -1
    for k in range(other[2][place]):
        to_hub[other[0][place, k]] = UNREACHABLE
    to_hub[rank] = UNREACHABLE
    return full


@kernel
def _label(
    order: np.ndarray,
    begin: int,
    onward: tuple[np.ndarray, np.ndarray],
    back: tuple[np.ndarray, np.ndarray],
    out_: tuple[np.ndarray, np.ndarray, np.ndarray],
    in_: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> int:
    """Make hubs of the places in ``order`` from ``begin`` on; return how many are done.

    Stops early when a list is full.
    """
    n = order.size
    work = (np.empty(n, np.int32), np.full(n, -1, np.int32), np.full(n, UNREACHABLE, np.int32))
    for rank in range(begin, n):
        root = (np.int64(order[rank]), np.int64(rank))
        full = _spread(onward, root, in_, out_, work)
        if _spread(back, root, out_, in_, work) or full:
            return rank + 1
    return n


def _edges(source: np.ndarray, target: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    order = np.argsort(source, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=count))])
    return first, target[order].astype(np.int32)


def move_edges(graph: StreetGraph, ahead: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the moves there are as pairs of places, each once.

    They are the moves of `forward`. Where none leads to a place (each time another one is nearer),
    its direct neighbours stand in, so that every place counts as reachable.
    """
    count = graph.size
    source, target = np.repeat(np.arange(count), ahead.shape[1]), ahead.ravel().astype(np.int64)
    moved = source != target
    missing = np.bincount(target[moved], minlength=count) == 0
    beside = np.repeat(np.arange(count), np.diff(graph.first))
    added = missing[graph.neighbour]
    pairs = np.concatenate(
        [
            (source * count + target)[moved],
            (beside * count + graph.neighbour)[added],
        ]
    )
    source, target = np.divmod(np.unique(pairs), count)
    return source, target


def dissect(position: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return all places, those that cut large parts of the map in two first (nested dissection).

    Every part is halved across its longer side; the places on the one side that a move leads over
    the cut from are its separator, and the rest is halved again.
    """
    count = len(position)
    part, level = np.zeros(count, np.int64), np.full(count, 64)
    for depth in range(63):
        live = np.flatnonzero(level == 64)
        if live.size == 0:
            break
        _, group = np.unique(part[live], return_inverse=True)
        key = _long_axis(position[live], group)
        order = np.lexsort((key, group))
        size = np.bincount(group)
        start = np.cumsum(size) - size
        rank = np.empty(live.size, np.int64)
        rank[order] = np.arange(live.size) - start[group[order]]
        upper = np.zeros(count, bool)
        upper[live] = rank >= (size[group] + 1) // 2
        same = (part[source] == part[target]) & (level[source] == 64) & (level[target] == 64)
        crossing = same & (upper[source] != upper[target])
        cut = np.where(upper[source], target, source)[crossing]
        level[cut] = depth
        alone = live[size[group] == 1]
        level[alone] = np.minimum(level[alone], depth)
        part = 2 * part + upper
        part[live] = np.unique(part[live], return_inverse=True)[1]
    return np.argsort(level, kind="stable").astype(np.int32)


def _long_axis(position: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the coordinate along the longer side of each place's part."""
    low, high = (np.full((group.max() + 1, 2), v) for v in (np.inf, -np.inf))
    np.minimum.at(low, group, position)
    np.maximum.at(high, group, position)
    axis = np.argmax(high - low, 1)[group]
    return np.where(axis == 0, position[:, 0], position[:, 1])


def fill_hubs(places: np.ndarray, graph: StreetGraph) -> np.ndarray:
    """Return the hubs of all places, and fill where in this array each place has its own.

    Args:
        places: ``town.PLACE`` (N,) with ``ahead``; ``out_first`` to ``in_end`` are filled.
        graph: N places.

    Returns:
        ``HUB`` (L,): hubs that the places reach, then those that reach them.
    """
    count, room = graph.size, 64
    source, target = move_edges(graph, places["ahead"])
    order = dissect(graph.position, source, target)
    onward, back = _edges(source, target, count), _edges(target, source, count)
    tables = [_enlarged(None, count, room) for _ in range(2)]
    done = _label(order, 0, onward, back, *tables)
    while done < count:
        room *= 2
        tables = [_enlarged(table, count, room) for table in tables]
        done = _label(order, done, onward, back, *tables)
    lists, begin = [], 0
    for way, (hub, moves, size) in zip(("out", "in"), tables, strict=True):
        end = begin + np.cumsum(size)
        places[f"{way}_first"], places[f"{way}_end"] = end - size, end
        lists.append(_packed(hub, moves, size))
        begin = int(end[-1])
    return np.concatenate(lists)


def _enlarged(table: Any, count: int, room: int) -> Any:
    """Return hubs, moves and counts with the room given, and what they hold so far."""
    hub, moves = np.empty((count, room), np.int32), np.empty((count, room), np.uint16)
    if table is None:
        return hub, moves, np.zeros(count, np.int64)
    hub[:, : room // 2], moves[:, : room // 2] = table[:2]
    return hub, moves, table[2]


def _packed(hub: np.ndarray, moves: np.ndarray, size: np.ndarray) -> np.ndarray:
    kept = np.arange(hub.shape[1]) < size[:, None]
    hubs = np.empty(int(size.sum()), HUB)
    hubs["hub"], hubs["moves"] = hub[kept], moves[kept]
    return hubs
