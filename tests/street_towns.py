"""Small towns for tests: a line of places, a junction, files of street networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.core import Family
from daedalus.envs.streets.courier import set_goal
from daedalus.envs.streets.network import EARTH_RADIUS
from daedalus.envs.streets.paths import UNREACHABLE, move_edges
from daedalus.envs.streets.town import Town

DEGREE = math.radians(1) * EARTH_RADIUS
"""Metres in a degree of latitude."""
SYMBOLS = ("yaw", "neighbors", "latlng", "target_latlng")


def write_graphml(path: Path, nodes: Mapping[str, Sequence[float]], edges: Sequence[Any]) -> str:
    """Write a street file as OSMnx does; positions are metres east and north of (0, 0).

    Args:
        path: The file.
        nodes: Name -> (east, north); an empty sequence leaves the coordinates out.
        edges: (source, target) or (source, target, street, geometry), geometry as in ``nodes``.
    """
    keys = {"d4": ("node", "y"), "d5": ("node", "x"), "d9": ("edge", "name")}
    keys["d13"] = ("edge", "geometry")
    lines = ['<graphml xmlns="http://graphml.graphdrawing.org/xmlns">']
    for key, (kind, name) in keys.items():
        lines.append(f'<key id="{key}" for="{kind}" attr.name="{name}" attr.type="string"/>')
    lines.append('<graph edgedefault="directed">')
    for name, place in nodes.items():
        data = ""
        if place:
            y, x = f"{place[1] / DEGREE:.12f}", f"{place[0] / DEGREE:.12f}"
            data = f'<data key="d4">{y}</data><data key="d5">{x}</data>'
        lines.append(f'<node id="{name}">{data}</node>')
    for source, target, *more in edges:
        data = f'<data key="d9">{more[0]}</data>' if more else ""
        if len(more) > 1:
            points = ", ".join(f"{x / DEGREE:.12f} {y / DEGREE:.12f}" for x, y in more[1])
            data += f'<data key="d13">LINESTRING ({points})</data>'
        lines.append(f'<edge source="{source}" target="{target}" id="0">{data}</edge>')
    path.write_text("\n".join([*lines, "</graph>", "</graphml>"]), encoding="utf-8")
    return str(path)


def write_line(path: Path) -> str:
    """Write ten places on a line to the north, 10 m apart."""
    return write_graphml(path, {"a": (0, 0), "b": (0, 90)}, [("a", "b", "Line Street")])


def one(family: Family, **options: Any) -> Batch:
    """Return a batch of one, reset, with the symbolic observations."""
    batch = Batch(family, 1, observations=options.pop("observations", SYMBOLS), **options)
    batch.reset(0)
    return batch


def place_at(family: Any, east: float, north: float) -> int:
    """Return the place nearest to a position, relative to the south-western corner."""
    return int(np.argmin(np.hypot(*(family.town.graph.position - (east, north)).T)))


def put(batch: Batch, goal: int, place: int, heading: int = 0) -> None:
    """Put the taxi somewhere and set its goal as the rules do."""
    batch.states["place"], batch.states["heading"] = place, heading
    params = batch.family.params
    set_goal(batch.states[0], params.places, params.hubs, goal)


def drive(batch: Batch, actions: Sequence[int]) -> list[float]:
    """Take actions and return the rewards."""
    rewards = []
    for action in actions:
        batch.step([action])
        rewards.append(float(batch.reward[0]))
    return rewards


def breadth_first(town: Town, start: int) -> np.ndarray:
    """Return the number of moves from a place to all others, by breadth-first search."""
    source, target = move_edges(town.graph, town.places["ahead"])
    onward: dict[int, list[int]] = {}
    for a, b in zip(source.tolist(), target.tolist(), strict=True):
        onward.setdefault(a, []).append(b)
    found = np.full(town.graph.size, UNREACHABLE)
    found[start], border, moves = 0, [start], 0
    while border:
        moves += 1
        border = [b for b in {b for a in border for b in onward[a]} if found[b] == UNREACHABLE]
        found[border] = moves
    return found
