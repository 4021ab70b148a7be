"""Which facades are seen from where: worked out once for every place.

Every straight piece of street is a canyon, a rectangle ``2 * HALF_WIDTH`` wide that reaches as far
beyond the piece's ends; the city is what lies outside of all of them. From a place, a ray runs from
rectangle to rectangle until none goes on: what it meets there is a face, one of the four sides of a
rectangle. Rays that meet the same face are one run. A view is painted from the runs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.streets.compiling import kernel
from daedalus.envs.streets.network import StreetGraph

HALF_WIDTH = 8.0
"""From the middle of the street to the facades, in metres."""
RAYS = 1024
"""Rays around a place, clockwise from north."""
RANGE = 250.0
"""Metres that one sees."""
OPEN = -1
"""Number of the face of rays that meet none within ``RANGE``."""
LEFT, RIGHT, START, END = range(4)
"""Sides of a piece; face ``4 * piece + side``."""
_CELL = 32.0
_STRIDE = 8


PIECE = np.dtype(
    [
        ("x", "f8"),  # start, metres
        ("y", "f8"),
        ("ux", "f8"),  # unit vector along
        ("uy", "f8"),
        ("length", "f8"),
        ("running", "f8"),  # metres of its street before it
        ("house", "u4"),  # what the street's houses look like
    ],
    align=True,
)
RUN = np.dtype([("ray", "i4"), ("face", "i4")])


@kernel
def _exit(piece: Any, x: float, y: float, dx: float, dy: float) -> tuple[float, float, int]:
    """Return where a ray enters and leaves a piece's rectangle, and the side it leaves through."""
    ux, uy = piece.ux, piece.uy
    px, py = x - piece.x, y - piece.y
    along, side = px * ux + py * uy, py * ux - px * uy  # side: metres to the left
    run, drift = dx * ux + dy * uy, dy * ux - dx * uy
    enter, leave, through = -math.inf, math.inf, 0
    for low, high, at, speed, first in (
        (-HALF_WIDTH, HALF_WIDTH, side, drift, 0),
        (-HALF_WIDTH, piece.length + HALF_WIDTH, along, run, 1),
    ):
        if abs(speed) < 1e-12:
            if at < low or at > high:
                return math.inf, -math.inf, 0
            continue
        a, b = (low - at) / speed, (high - at) / speed
        enter = max(enter, min(a, b))
        if max(a, b) < leave:
            leave = max(a, b)
            through = (LEFT if speed > 0 else RIGHT) if first == 0 else END if speed > 0 else START
    return enter, leave, through


@kernel
def _cast(
    pieces: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray, int, int],
    x: float,
    y: float,
    dx: float,
    dy: float,
) -> int:
    """Return the face that a ray meets, or ``OPEN``.

    Args:
        pieces: PIECE (P,).
        grid: First entry of each cell, pieces of the cells, columns, rows.
        x: Start in metres, inside a rectangle.
        y: Likewise.
        dx: Direction, a unit vector.
        dy: Likewise.
    """
    starts, members, columns, rows = grid
    t, face = 0.0, OPEN
    while t < RANGE:
        at = t + 1e-6
        column = np.int64((x + at * dx) / _CELL + 1.0)
        row = np.int64((y + at * dy) / _CELL + 1.0)
        if column < 0 or column >= columns or row < 0 or row >= rows:
            return face
        best = at
        for k in range(starts[row * columns + column], starts[row * columns + column + 1]):
            enter, leave, side = _exit(pieces[members[k]], x, y, dx, dy)
            if enter <= at and leave > best:
                best, face = leave, 4 * np.int64(members[k]) + side
        if best == at:
            return face
        t = best
    return OPEN


@kernel
def _look_around(
    pieces: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray, int, int],
    x: float,
    y: float,
    compass: np.ndarray,
    faces: np.ndarray,
) -> None:
    """Fill ``faces`` int32 (RAYS + 1,): every eighth ray is cast, then halves that differ."""
    for k in range(0, RAYS, _STRIDE):
        faces[k] = _cast(pieces, grid, x, y, compass[k, 0], compass[k, 1])
    faces[RAYS] = faces[0]
    stride = _STRIDE
    while stride > 1:
        half = stride >> 1
        for k in range(0, RAYS, stride):
            if faces[k] == faces[k + stride]:
                faces[k + half] = faces[k]
            else:
                ray = compass[k + half]
                faces[k + half] = _cast(pieces, grid, x, y, ray[0], ray[1])
        stride = half


@kernel
def _find_runs(
    pieces: np.ndarray,
    grid: tuple[np.ndarray, np.ndarray, int, int],
    position: np.ndarray,
    compass: np.ndarray,
    first: np.ndarray,
) -> np.ndarray:
    """Return the runs of all places, and fill ``first``."""
    faces = np.empty(RAYS + 1, np.int32)
    runs, count = np.empty(1024, RUN), 0
    for place in range(position.shape[0]):
        if count + RAYS > runs.size:
            more = np.empty(4 * runs.size, RUN)
            more[:count] = runs[:count]
            runs = more
        _look_around(pieces, grid, position[place, 0], position[place, 1], compass, faces)
        for k in range(RAYS):
            if k == 0 or faces[k] != faces[k - 1]:
                runs[count].ray, runs[count].face = k, faces[k]
                count += 1
        first[place + 1] = count
    return runs[:count].copy()


def _grid(
    pieces: np.ndarray, extent: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Return the pieces whose rectangles touch each square; the first square begins at -1, -1."""
    columns, rows = (int((side + 2 * HALF_WIDTH) / _CELL) + 3 for side in extent)
    start = np.stack([pieces["x"], pieces["y"]], 1)
    end = start + np.stack([pieces["ux"], pieces["uy"]], 1) * pieces["length"][:, None]
    reach = math.sqrt(2) * HALF_WIDTH
    low, high = np.minimum(start, end) - reach, np.maximum(start, end) + reach
    boxes = np.clip(np.concatenate([low, high], 1) / _CELL + 1, 0, None).astype(np.int64)
    cells: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    for p, (left, bottom, right, top) in enumerate(boxes.tolist()):
        x, y = (
            np.arange(left, min(right, columns - 1) + 1),
            np.arange(bottom, min(top, rows - 1) + 1),
        )
        inside = (y[:, None] * columns + x).ravel()
        cells.append(inside)
        owners.append(np.full(inside.size, p))
    cell = np.concatenate(cells)
    order = np.argsort(cell, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=rows * columns))])
    return starts, np.concatenate(owners)[order].astype(np.int32), columns, rows


def compass_rose(count: int) -> np.ndarray:
    """Return unit vectors (count, 2), east and north, clockwise from north."""
    angle = np.arange(count) * (2 * math.pi / count)
    return np.stack([np.sin(angle), np.cos(angle)], 1)


def fill_runs(places: np.ndarray, graph: StreetGraph) -> tuple[np.ndarray, np.ndarray]:
    """Return the pieces of a graph and the runs of all places; fill where each has its own.

    Args:
        places: ``town.PLACE`` (N,); ``run_first`` and ``run_end`` are filled.
        graph: N places.

    Returns:
        ``PIECE`` (P,) and ``RUN``: first ray of each run, ascending from 0 for each place, and
        face.
    """
    start, end = graph.pieces[:, :2], graph.pieces[:, 2:]
    length = np.hypot(*(end - start).T)
    named = graph.piece_street > 0
    number = np.where(named, graph.piece_street, len(graph.streets) + np.arange(len(length)))
    pieces = np.zeros(len(length), PIECE)
    pieces["x"], pieces["y"] = start.T
    pieces["ux"], pieces["uy"] = ((end - start) / length[:, None]).T
    pieces["length"], pieces["running"] = length, _running(number, length)
    pieces["house"] = _houses(number)
    first, grid = np.zeros(graph.size + 1, np.int64), _grid(pieces, graph.extent)
    runs = _find_runs(pieces, grid, graph.position, compass_rose(RAYS), first)
    places["run_first"], places["run_end"] = first[:-1], first[1:]
    return pieces, runs


def _houses(number: np.ndarray) -> np.ndarray:
    """Return 32 bits for each street's number: Knuth's multiplicative hash, mixed once more."""
    value = (number.astype(np.uint64) + 1) * 2654435761 & 0xFFFFFFFF
    return (((value >> 15) ^ value) * 2246822519 & 0xFFFFFFFF).astype(np.uint32)


def _running(number: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return the metres of each piece's street that come before it."""
    before, total = np.zeros(len(length)), dict[int, float]()
    for p, (street, metres) in enumerate(zip(number.tolist(), length.tolist(), strict=True)):
        before[p] = total.get(street, 0.0)
        total[street] = before[p] + metres
    return before
