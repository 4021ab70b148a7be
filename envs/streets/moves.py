"""What each action does at each place, worked out once: the taxi looks its moves up.

A taxi has 16 headings, a multiple of 22.5 degrees clockwise from north, so that a move depends on
place and heading only. Bearings and distances are on the sphere.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from daedalus.envs.streets.compiling import kernel
from daedalus.envs.streets.network import EARTH_RADIUS, StreetGraph

HEADINGS = 16
"""Headings of a taxi; one is 22.5 degrees."""
CONE = 30.0
"""`forward` takes places within so many degrees of the heading."""
DEPTH = 3
"""`forward` takes places within so many edges."""
BINS = 8
"""Bins of open directions relative to the heading, 45 degrees each, bin 0 centred ahead."""
_NEAR = 512  # places within DEPTH edges that are looked at


@kernel
def arc(places: Any, a: int, b: int) -> float:
    """Return the great-circle distance between two places in metres.

    The chord's length, with the arc sine by its series: exact to a millimetre over 1000 km.
    """
    p, q = places[a], places[b]
    dx, dy, dz = p.sphere_x - q.sphere_x, p.sphere_y - q.sphere_y, p.sphere_z - q.sphere_z
    square = dx * dx + dy * dy + dz * dz
    small = square * (1.0 / (EARTH_RADIUS * EARTH_RADIUS))
    return math.sqrt(square) * (1.0 + small * (1.0 / 24.0 + small * (3.0 / 640.0)))


@kernel
def bearing(latlng: np.ndarray, a: int, b: int) -> float:
    """Return the initial great-circle bearing from place a to b, degrees in [0, 360)."""
    north, south = math.radians(latlng[a, 0]), math.radians(latlng[b, 0])
    east = math.radians(latlng[b, 1] - latlng[a, 1])
    y = math.sin(east) * math.cos(south)
    x = math.cos(north) * math.sin(south) - math.sin(north) * math.cos(south) * math.cos(east)
    return math.degrees(math.atan2(y, x)) % 360.0


@kernel
def angle_between(a: float, b: float) -> float:
    """Return the angle from bearing b to bearing a, degrees in [-180, 180)."""
    return (a - b + 180.0) % 360.0 - 180.0


@kernel
def _near_places(first: np.ndarray, neighbour: np.ndarray, place: int, near: np.ndarray) -> int:
    """Fill ``near`` with the places within DEPTH edges, ``place`` first; return how many."""
    near[0], count, done = place, 1, 0
    for _ in range(DEPTH):
        end = count
        for i in range(done, end):
            for k in range(first[near[i]], first[near[i] + 1]):
                other, known = neighbour[k], False
                for j in range(count):
                    known = known or near[j] == other
                if not known and count < near.size:
                    near[count] = other
                    count += 1
        done = end
    return count


@kernel
def _fill(places: Any, latlng: np.ndarray, first: np.ndarray, neighbour: np.ndarray) -> None:
    near, best = np.empty(_NEAR, np.int64), np.empty(HEADINGS)
    for here in range(places.size):
        place, count = places[here], _near_places(first, neighbour, here, near)
        best[:] = np.inf
        for i in range(1, count):
            distance, way = arc(places, here, near[i]), bearing(latlng, here, near[i])
            for h in range(HEADINGS):
                turn = angle_between(way, h * (360.0 / HEADINGS))
                if abs(turn) <= CONE and distance < best[h]:
                    best[h], place.ahead[h] = distance, near[i]
                if i <= first[here + 1] - first[here]:
                    shown = np.int64(math.floor(turn / (360.0 / BINS) + 0.5)) % BINS
                    place.open[h] |= np.uint8(1 << shown)


def fill_moves(places: np.ndarray, graph: StreetGraph) -> None:
    """Fill what `forward` does at every place and heading, and which directions are open.

    Args:
        places: ``town.PLACE`` (N,), whose ``ahead``, ``open`` and sphere fields are filled.
        graph: N places.
    """
    latitude, longitude = np.radians(graph.latlng).T
    places["sphere_x"] = EARTH_RADIUS * np.cos(latitude) * np.cos(longitude)
    places["sphere_y"] = EARTH_RADIUS * np.cos(latitude) * np.sin(longitude)
    places["sphere_z"] = EARTH_RADIUS * np.sin(latitude)
    places["ahead"] = np.arange(graph.size)[:, None]
    _fill(places, graph.latlng, graph.first, graph.neighbour)
