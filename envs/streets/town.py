"""A town: a street graph with everything that is worked out from it once, as kernels read it."""

from __future__ import annotations

import functools
import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from daedalus.envs.streets.city import generate_city
from daedalus.envs.streets.facades import fill_runs
from daedalus.envs.streets.moves import HEADINGS, fill_moves
from daedalus.envs.streets.network import Network, StreetGraph, build_graph
from daedalus.envs.streets.osm import load_network
from daedalus.envs.streets.paths import fill_hubs

DATA = Path(__file__).parent / "data"
WEST_OAKLAND = DATA / "west_oakland_drive_simplified.graphml"
"""Drivable streets of West Oakland, (c) OpenStreetMap contributors, ODbL 1.0."""
LANDMARKS = 32
"""Landmarks of a town, chosen farthest from each other."""
ALPHA = 0.002
"""Decay of the landmark code by metre."""
MAX_NEIGHBOURS = 8
MAX_PLACES = 2**20
_ANNOUNCED = 10_000  # places from which on building is worth a line
_BINS = 32

PLACE = np.dtype(
    [
        ("ahead", "i4", (HEADINGS,)),  # where `forward` leads
        ("sphere_x", "f8"),  # position about the Earth's centre, metres
        ("sphere_y", "f8"),
        ("sphere_z", "f8"),
        ("x", "f8"),  # metres east and north of the south-western corner
        ("y", "f8"),
        ("latitude", "f4"),  # 0 to 1 over the town
        ("longitude", "f4"),
        ("square", "i4"),  # number of its square on a board of 32 x 32
        ("street", "i4"),  # number of its street
        ("junction", "?"),  # three or more streets meet here or next to it
        ("open", "u1", (HEADINGS,)),  # bit b: a street leaves in bin b of directions
        ("neighbour", "i4", (MAX_NEIGHBOURS,)),  # -1 where there is none
        ("run_first", "i8"),  # its runs of rays, see `facades`
        ("run_end", "i8"),
        ("out_first", "i8"),  # its hubs, see `paths`
        ("out_end", "i8"),
        ("in_first", "i8"),
        ("in_end", "i8"),
    ],
    align=True,
)


class Town(NamedTuple):
    """N places and their tables."""

    graph: StreetGraph
    places: np.ndarray  # PLACE (N,)
    hubs: np.ndarray  # HUB
    pieces: np.ndarray  # PIECE
    runs: np.ndarray  # RUN
    codes: np.ndarray  # float32 (N, LANDMARKS): landmark code of each place


def get_town(source: str | Path, spacing: float = 10.0) -> Town:
    """Return the town of a street file, or a generated one; the last few are kept.

    Args:
        source: Path of a ``.graphml``, ``.osm`` or ``.osm.bz2`` file; ``"west_oakland"``; or
            ``"city:PLACES"`` or ``"city:PLACES:SEED"``, as in ``"city:50000"``.
        spacing: Metres between places.

    Raises:
        StreetFileError: The file cannot be read.
        ValueError: The name of a city is not valid, or the town is too small or too large.
    """
    name = str(source)
    if name == "west_oakland":
        name = str(WEST_OAKLAND)
    changed = 0 if name.startswith("city:") or not Path(name).is_file() else _stamp(Path(name))
    return _town(name, float(spacing), changed)


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns


@functools.lru_cache(maxsize=4)
def _town(name: str, spacing: float, changed: int) -> Town:
    network = _generated(name, spacing) if name.startswith("city:") else load_network(name)
    started = time.perf_counter()
    graph = build_graph(network, spacing)
    if graph.size > MAX_PLACES:
        raise ValueError(
            f"{name}: {graph.size:,} places, at most {MAX_PLACES:,}: raise the spacing"
        )
    if graph.size >= _ANNOUNCED:
        print(f"daedalus: working out a town of {graph.size:,} places ...", file=sys.stderr)
    town = build_town(graph)
    if graph.size >= _ANNOUNCED:
        seconds = time.perf_counter() - started
        print(f"daedalus: worked out {name} in {seconds:.1f} s", file=sys.stderr)
    return town


def _generated(name: str, spacing: float) -> Network:
    parts = name.split(":")[1:]
    if not 1 <= len(parts) <= 2 or not all(part.isdigit() for part in parts):
        raise ValueError(f"a generated city is city:PLACES or city:PLACES:SEED, got {name!r}")
    return generate_city(int(parts[0]), int(parts[1]) if len(parts) == 2 else 0, spacing)


def build_town(graph: StreetGraph) -> Town:
    """Work out the tables of a street graph."""
    places = np.zeros(graph.size, PLACE)
    places["x"], places["y"] = graph.position.T
    low, high = graph.latlng.min(0), graph.latlng.max(0)
    scaled = (graph.latlng - low) / np.maximum(high - low, 1e-9)
    places["latitude"], places["longitude"] = scaled.T
    places["square"] = np.minimum(scaled * _BINS, _BINS - 1).astype(int) @ (_BINS, 1)
    places["street"] = graph.street[graph.first[:-1]]
    places["neighbour"] = _table(graph)
    crossing = np.append(np.diff(graph.first) > 2, False)
    places["junction"] = crossing[:-1] | crossing[places["neighbour"]].any(1)
    fill_moves(places, graph)
    tables = fill_hubs(places, graph), *fill_runs(places, graph)
    codes = landmark_codes(places, find_landmarks(graph.position, LANDMARKS))
    return Town(graph, *(_frozen(array) for array in (places, *tables, codes)))


def _table(graph: StreetGraph) -> np.ndarray:
    """Return up to MAX_NEIGHBOURS neighbours of each place, int32, filled up with -1."""
    table = np.full((graph.size, MAX_NEIGHBOURS), -1, np.int32)
    owner = np.repeat(np.arange(graph.size), np.diff(graph.first))
    number = np.arange(len(owner)) - graph.first[owner]
    kept = number < MAX_NEIGHBOURS
    table[owner[kept], number[kept]] = graph.neighbour[kept]
    return table


def _frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def find_landmarks(position: np.ndarray, count: int) -> np.ndarray:
    """Return places (count,), each the farthest from those before; the first is the south-west's.

    Args:
        position: float64 (N, 2), metres.
        count: How many; repeated where there are fewer places.
    """
    chosen = [int(np.argmin(position.sum(1)))]
    distance = np.full(len(position), np.inf)
    while len(chosen) < count:
        distance = np.minimum(distance, np.hypot(*(position - position[chosen[-1]]).T))
        chosen.append(int(np.argmax(distance)))
    return np.array(chosen)


def landmark_codes(places: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return the goal descriptor of every place: a softmax over negative distances.

    ``exp(-ALPHA d_i) / sum_j exp(-ALPHA d_j)`` with ``d_i`` the metres to landmark i (Mirowski et
    al., 2018, "Learning to navigate in cities without a map").

    Args:
        places: ``PLACE`` (N,).
        landmarks: int (K,), places.

    Returns:
        float32 (N, K).
    """
    sphere = np.stack([places[f"sphere_{axis}"] for axis in "xyz"], 1)
    chords = [np.linalg.norm(sphere - sphere[mark], axis=1) for mark in landmarks]
    weight = np.exp(-ALPHA * np.stack(chords, 1))
    return np.ascontiguousarray(weight / weight.sum(1, keepdims=True), np.float32)


def diameter(graph: StreetGraph) -> float:
    """Return the diagonal of the region in metres."""
    return math.hypot(*graph.extent)
