"""Cities that nobody built: a street network of any size from a seed."""

from __future__ import annotations

import math

import numpy as np

from daedalus.envs.streets.network import EARTH_RADIUS, Network, largest_component

BLOCK = (70.0, 140.0)
"""Shortest and longest block in metres, before bending."""
CLOSED = 0.12
"""Share of the blocks' sides that are no street."""
BEND = 0.12
"""Bending of the grid, as a share of its side."""
ORIGIN = (38.0, -122.0)
"""Latitude and longitude of the first corner."""
_TREES = ("Alder", "Birch", "Cedar", "Chestnut", "Elm", "Hazel", "Juniper", "Larch", "Linden")
_TREES += ("Magnolia", "Maple", "Myrtle", "Oak", "Pine", "Poplar", "Rowan", "Spruce", "Willow")


def generate_city(places: int, seed: int, spacing: float = 10.0) -> Network:
    """Return a street network that has about so many places when resampled.

    A grid of blocks of uneven size, bent by smooth waves, with a share of its sides closed, which
    leaves T-junctions, detours and dead ends.

    Args:
        places: At least 100.
        seed: Another seed is another city.
        spacing: Metres between places.

    Raises:
        ValueError: Too few places.
    """
    if places < 100:
        raise ValueError(f"a generated city needs at least 100 places, got {places}")
    generator = np.random.default_rng(seed)
    length = places * spacing
    block = sum(BLOCK) / 2
    side = max(round(math.sqrt(length / (2 * block * (1 - CLOSED)))), 3)
    grid = _bend(_blocks(generator, side), generator)
    links, names = _links(generator, side)
    north, east = grid[:, 1], grid[:, 0]
    latitude = ORIGIN[0] + np.degrees(north / EARTH_RADIUS)
    middle = math.cos(math.radians((latitude.min() + latitude.max()) / 2))
    longitude = ORIGIN[1] + np.degrees(east / (EARTH_RADIUS * middle))
    network = largest_component(Network(np.stack([latitude, longitude], 1), links, names))
    return _scaled(network, length)


def _blocks(generator: np.random.Generator, side: int) -> np.ndarray:
    """Return points (2 side - 1)^2, 2: junctions at even places, middles of sides between them."""
    axes = []
    for _ in range(2):
        width = generator.uniform(*BLOCK, side - 1)
        at = np.concatenate([[0.0], np.cumsum(width)])
        axes.append(np.interp(np.arange(2 * side - 1) / 2, np.arange(side), at))
    x, y = np.meshgrid(*axes)
    return np.stack([x.ravel(), y.ravel()], 1)


def _bend(grid: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Move points along smooth waves, so that streets curve and point everywhere."""
    extent = grid.max()
    moved = grid.copy()
    for _ in range(3):
        wave = generator.uniform(-1.5, 1.5, 2) * 2 * math.pi / extent
        phase = generator.uniform(0, 2 * math.pi)
        way = generator.uniform(-1, 1, 2) * BEND * extent / 3
        moved += np.sin(grid @ wave + phase)[:, None] * way
    return moved


def _links(generator: np.random.Generator, side: int) -> tuple[np.ndarray, list[str]]:
    """Return the links of the sides that are open, two for each side, and their streets."""
    wide = 2 * side - 1
    open_ = generator.random((2, side, side - 1)) >= CLOSED
    links, names = [], []
    for across in (0, 1):
        for line, step in np.argwhere(open_[across]).tolist():
            a, b = 2 * line * wide + 2 * step, 1
            if across:
                a, b = 2 * step * wide + 2 * line, wide
            links += [(a, a + b), (a + b, a + 2 * b)]
            names += [_name(line, across == 1)] * 2
    return np.array(links), names


def _name(line: int, avenue: bool) -> str:
    if not avenue:
        tens = 10 <= (line + 1) % 100 < 20
        ending = "th" if tens else {1: "st", 2: "nd", 3: "rd"}.get((line + 1) % 10, "th")
        return f"{line + 1}{ending} Street"
    tree, round_ = _TREES[line % len(_TREES)], line // len(_TREES)
    return f"{tree} Avenue" if round_ == 0 else f"{tree} Avenue {round_ + 1}"


def _scaled(network: Network, length: float) -> Network:
    """Return the network enlarged about its first corner to a total length of its streets."""
    ends = network.points[network.links]
    step = np.radians(ends[:, 1] - ends[:, 0]) * EARTH_RADIUS
    east = step[:, 1] * math.cos(math.radians(ORIGIN[0]))
    factor = length / np.hypot(step[:, 0], east).sum()
    points = np.array(ORIGIN) + (network.points - np.array(ORIGIN)) * factor
    return network._replace(points=points)
