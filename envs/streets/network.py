"""A street network as it was read, and the street graph that is made of it: a place every 10 m."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import NamedTuple

import numpy as np

EARTH_RADIUS = 6_371_000.0
"""Metres, as StreetLearn has it."""
CELL = 100.0
"""Side of the squares by which places are ordered, in metres."""


class Network(NamedTuple):
    """Points and the straight links between them; n points, m links."""

    points: np.ndarray  # float64 (n, 2): latitude and longitude in degrees
    links: np.ndarray  # int64 (m, 2): numbers of points
    names: list[str]  # name of each link's street, "" for none


class StreetGraph(NamedTuple):
    """Places (StreetLearn: panoramas) about 10 m apart on the streets of the largest component.

    N places, ordered by squares of side ``CELL``, row by row from south-west; E directed edges; P
    straight pieces of street, as drawn on the map. Positions are metres to the east and north of
    the south-western corner.
    """

    latlng: np.ndarray  # float64 (N, 2): latitude and longitude in degrees
    position: np.ndarray  # float64 (N, 2): metres east and north
    first: np.ndarray  # int32 (N + 1,): where the edges of each place begin
    neighbour: np.ndarray  # int32 (E,)
    street: np.ndarray  # int32 (E,): street of each edge
    cells: np.ndarray  # int32 (rows, columns + 1): first place of each square; last: end of the row
    pieces: np.ndarray  # float64 (P, 4): ends in metres, x0, y0, x1, y1
    piece_street: np.ndarray  # int32 (P,)
    streets: tuple[str, ...]  # names; number 0 is ""

    @property
    def size(self) -> int:
        """Number of places."""
        return len(self.latlng)

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of the region in metres."""
        width, height = self.position.max(0)
        return float(width), float(height)

    def neighbours(self, place: int) -> np.ndarray:
        """Return the places next to one."""
        return self.neighbour[self.first[place] : self.first[place + 1]]


def to_metres(points: np.ndarray, origin: np.ndarray, middle: float) -> np.ndarray:
    """Return degrees (n, 2) as metres east and north of an origin, true to scale at a latitude."""
    north, east = np.radians(points - origin).T * EARTH_RADIUS
    return np.stack([east * math.cos(math.radians(middle)), north], 1)


def build_graph(network: Network, spacing: float = 10.0) -> StreetGraph:
    """Keep the largest component and place a node about every ``spacing`` metres, along curves.

    Junctions, dead ends and changes of name keep their places; between them the road is divided
    into equal parts.

    Args:
        network: At least one link.
        spacing: Metres.

    Raises:
        ValueError: Fewer than three places remain.
    """
    network = largest_component(network)
    origin, top = network.points.min(0), network.points.max(0)
    middle = float(origin[0] + top[0]) / 2
    points = to_metres(network.points, origin, middle)
    streets = ("", *sorted({name for name in network.names if name}))
    number = {name: i for i, name in enumerate(streets)}
    street = np.array([number[name] for name in network.names], np.int32)
    position, edges, edge_street = _resample(points, network.links, street, spacing)
    if len(position) < 3:
        raise ValueError(f"a street graph needs 3 places, got {len(position)}: lower the spacing")
    cells, order = _cells(position)
    rank = np.argsort(order, kind="stable")
    position, edges = position[order], rank[edges]
    scale = EARTH_RADIUS * np.array([math.cos(math.radians(middle)), 1.0])
    latlng = origin + np.degrees(position / scale)[:, ::-1]
    first, neighbour, along = _adjacency(edges, edge_street, len(position))
    ends = points[network.links]
    return StreetGraph(
        *(latlng, position, first, neighbour, along, cells, ends.reshape(-1, 4), street, streets)
    )


def largest_component(network: Network) -> Network:
    """Return the part that is connected and has the longest streets; isolated points go."""
    parent = np.arange(len(network.points))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for a, b in network.links.tolist():
        parent[root(a)] = root(b)
    label = np.array([root(i) for i in range(len(parent))])
    ends = to_metres(network.points, network.points[0], float(network.points[0, 0]))[network.links]
    length = np.hypot(*(ends[:, 1] - ends[:, 0]).T)
    total = np.bincount(label[network.links[:, 0]], length, len(parent))
    kept = label == total.argmax()
    new = np.cumsum(kept) - 1
    inside = kept[network.links[:, 0]]
    names = [name for name, keep in zip(network.names, inside, strict=True) if keep]
    return Network(network.points[kept], new[network.links[inside]], names)


def _chains(links: np.ndarray, street: np.ndarray, count: int) -> list[tuple[list[int], int]]:
    """Cut a network into chains of points whose inner points have two links of one street.

    Returns:
        Points and street of each chain; each link is in one chain.
    """
    at: dict[int, list[int]] = defaultdict(list)
    for k, (a, b) in enumerate(links.tolist()):
        at[a].append(k)
        at[b].append(k)
    inner = np.zeros(count, bool)
    for point, around in at.items():
        inner[point] = len(around) == 2 and street[around[0]] == street[around[1]]
    used = np.zeros(len(links), bool)
    chains = []
    starts = [p for p in at if not inner[p]] + [p for p in at if inner[p]]  # rings come last
    for start in starts:
        for k in at[start]:
            chain, link = [start], k
            while not used[link]:
                used[link] = True
                a, b = links[link]
                chain.append(int(b if a == chain[-1] else a))
                if not inner[chain[-1]] or chain[-1] == start:
                    break
                following = at[chain[-1]]
                link = following[1] if following[0] == link else following[0]
            if len(chain) > 1:
                chains.append((chain, int(street[k])))
    return chains


def _resample(
    points: np.ndarray, links: np.ndarray, street: np.ndarray, spacing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return places (N, 2), undirected edges (E, 2) and the street of each edge (E,)."""
    chains = _chains(links, street, len(points))
    ends = sorted({p for chain, _ in chains for p in (chain[0], chain[-1])})
    number = {p: i for i, p in enumerate(ends)}
    places, edges, streets, count = [points[ends]], [], [], len(ends)
    for chain, name in chains:
        line = points[chain]
        along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        parts = max(round(along[-1] / spacing), 3 if chain[0] == chain[-1] else 1)
        at = along[-1] * np.arange(1, parts) / parts
        places.append(np.stack([np.interp(at, along, line[:, i]) for i in (0, 1)], 1))
        inside = range(count, count + parts - 1)
        row = np.array([number[chain[0]], *inside, number[chain[-1]]])
        edges.append(np.stack([row[:-1], row[1:]], 1))
        streets.append(np.full(parts, name, np.int32))
        count += parts - 1
    return np.concatenate(places), np.concatenate(edges), np.concatenate(streets)


def _cells(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first place of each square, and the places ordered by squares."""
    column, row = (position // CELL).astype(np.int64).T
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    order = np.argsort(row * columns + column, kind="stable")
    count = np.bincount(row * columns + column, minlength=rows * columns)
    ends = np.concatenate([[0], np.cumsum(count)])
    cells = np.empty((rows, columns + 1), np.int32)
    cells[:, :-1] = ends[:-1].reshape(rows, columns)
    cells[:, -1] = ends[columns::columns]
    return cells, order


def _adjacency(
    edges: np.ndarray, street: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each place's neighbours without repetition, and the streets that lead there."""
    both = np.concatenate([edges, edges[:, ::-1]])
    names = np.concatenate([street, street])
    _, kept = np.unique(both[:, 0] * count + both[:, 1], return_index=True)
    both, names = both[kept], names[kept]
    first = np.concatenate([[0], np.cumsum(np.bincount(both[:, 0], minlength=count))])
    return first.astype(np.int32), both[:, 1].astype(np.int32), names.astype(np.int32)
