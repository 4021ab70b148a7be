"""What a taxi sees: geometry by hand, pixels against NumPy, and a linear probe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from street_towns import one, place_at, write_graphml

from daedalus.envs.maze.blocks import LANES
from daedalus.envs.streets.facades import HALF_WIDTH, RAYS
from daedalus.envs.streets.games import StreetTaxi
from daedalus.envs.streets.moves import HEADINGS
from daedalus.envs.streets.textures import KERB, STONE
from daedalus.envs.streets.town import get_town
from daedalus.envs.streets.view import EYE, _find_columns, draw_view, make_camera


def view(family: Any, place: int, heading: int) -> np.ndarray:
    """Return the picture (84, 84, 3) from a place."""
    params, rgb = family.params, np.zeros(84 * 84 * 3, np.uint8)
    draw_view(params.pieces, params.runs, params.places[place], heading, params, rgb)
    return rgb.reshape(84, 84, 3)


def columns_of(params: Any, place: int, heading: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_find_columns` finds: float32 (4, 84) and int32 (84,)."""
    columns, texel = np.zeros((4, 84), np.float32), np.zeros(84, np.int32)
    optics = params.lens, np.float32(params.focal), np.float32(params.horizon)
    where = params.places[place]
    _find_columns(params.pieces, params.runs, where, heading, optics, columns, texel)
    return columns, texel


@pytest.fixture
def corner(tmp_path: Path) -> StreetTaxi:
    """Return a town whose two streets of 300 m leave one corner to the north and to the east."""
    nodes = {"c": (0, 0), "n": (0, 300), "e": (300, 0)}
    edges = [("c", "n", "North"), ("c", "e", "East")]
    return StreetTaxi(streets=write_graphml(tmp_path / "g.graphml", nodes, edges))


def depth(family: StreetTaxi, place: int, heading: int, column: int = 42) -> float:
    """Return the depth of the wall in a column, from where its foot stands in the picture."""
    foot = columns_of(family.params, place, heading)[0][2, column]
    return float(family.params.focal * EYE / (foot - family.params.horizon))


def test_walls_stand_where_the_map_says(corner: StreetTaxi) -> None:
    """From the corner: walls 8 m to the west and south, none to the north and east."""
    place = place_at(corner, 0, 0)
    assert depth(corner, place, 12) == pytest.approx(HALF_WIDTH, rel=1e-3)
    assert depth(corner, place, 8) == pytest.approx(HALF_WIDTH, rel=1e-3)
    assert depth(corner, place, 0) < 0.01  # the foot is far below: nothing
    assert depth(corner, place, 4) < 0.01


def test_side_streets_are_openings(corner: StreetTaxi) -> None:
    """From 100 m up the northern street, towards the corner: its end is 108 m away.

    The eastern street opens on the left between the wall's end, 8 m before the corner, and there.
    """
    place = place_at(corner, 0, 100)
    assert depth(corner, place, 8) == pytest.approx(108, rel=0.02)
    left = [depth(corner, place, 8, k) for k in range(30, 42)]
    assert max(left) > 92
    assert min(left) < 60


def test_side_walls_have_the_depth_of_a_canyon(corner: StreetTaxi) -> None:
    """Column 0 looks 29.8 degrees to the left: the wall 8 m away is 8 / tan(29.8) ahead."""
    place = place_at(corner, 0, 150)
    slope = -float(corner.params.lens["slope"][0])
    assert depth(corner, place, 0, 0) == pytest.approx(HALF_WIDTH / slope, rel=1e-3)
    assert depth(corner, place, 0, 83) == pytest.approx(HALF_WIDTH / slope, rel=1e-3)


def test_the_picture_is_what_its_columns_say() -> None:
    """Every pixel against NumPy: fronts above the foot, sky and road behind, pavement below."""
    params = StreetTaxi().params
    for place, heading in ((0, 0), (100, 3), (300, 9), (657, 14)):
        columns, texel = columns_of(params, place, heading)
        y = np.arange(84, dtype=np.float32)[:, None]
        at = np.floor(columns[0] + columns[1] * y).astype(int) - LANES
        wall = (at >= 0) & (at < LANES)
        words = params.fronts[texel + np.clip(at, 0, LANES - 1)]
        words = np.where(wall, words, params.background[heading][:, None])
        expected = np.stack([words & 255, words >> 8 & 255, words >> 16 & 255], -1)
        top, end = (np.minimum((columns[k] + 1).astype(int), 84) for k in (2, 3))
        paved = (y >= top) & (y < end)
        expected[paved] = STONE
        expected[paved & (y == end - 1)] = KERB
        picture = view(StreetTaxi(), place, heading)
        assert (picture != expected).any(-1).mean() < 2e-3  # rounding at the edges of texels


def test_views_differ_between_places_and_headings_and_never_change() -> None:
    family = StreetTaxi()
    pictures = [view(family, p, h) for p in range(0, 658, 25) for h in range(HEADINGS)]
    assert len({picture.tobytes() for picture in pictures}) > 0.99 * len(pictures)
    again = StreetTaxi()
    assert np.array_equal(view(again, 25, 1), pictures[HEADINGS + 1])


def test_streets_have_houses_of_their_own() -> None:
    pieces = get_town("west_oakland").pieces
    graph = get_town("west_oakland").graph
    looks = {s: set(pieces["house"][graph.piece_street == s]) for s in set(graph.piece_street)}
    assert all(len(house) == 1 for house in looks.values())
    assert len({next(iter(house)) for house in looks.values()}) == len(looks)


def test_runs_cover_the_circle() -> None:
    town = get_town("west_oakland")
    for place in town.places[::50]:
        rays = town.runs["ray"][place["run_first"] : place["run_end"]]
        assert rays[0] == 0
        assert (np.diff(rays) > 0).all()
        assert rays[-1] < RAYS


@pytest.mark.parametrize("size", [(16, 16), (40, 100), (84, 84)])
def test_pictures_of_any_size_show_the_same(size: tuple[int, int]) -> None:
    family = StreetTaxi(image=size)
    batch = one(family, observations=("image",))
    assert batch.observation["image"].shape == (1, *size, 3)
    camera = make_camera(*size, 60.0)
    top, bottom = batch.observation["image"][0, 0], batch.observation["image"][0, -1]
    assert camera.background.shape == (HEADINGS, size[0])
    assert top.std() + bottom.std() > 0


def _features(pictures: np.ndarray) -> np.ndarray:
    small = pictures.reshape(len(pictures), 14, 6, 14, 6, 3).mean((2, 4)).reshape(len(pictures), -1)
    return np.column_stack([small / 128 - 1, np.ones(len(small))])


def _ridge(inputs: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    wanted = np.eye(count)[classes]
    return np.linalg.solve(inputs.T @ inputs + 30.0 * np.eye(inputs.shape[1]), inputs.T @ wanted)


def _probe(inputs: np.ndarray, classes: np.ndarray) -> float:
    """Return the share that a linear fit to four fifths gets right of the rest."""
    cut = 4 * len(inputs) // 5
    weights = _ridge(inputs[:cut], classes[:cut], 16)
    return float(((inputs[cut:] @ weights).argmax(1) == classes[cut:]).mean())


def test_a_linear_probe_reads_heading_and_region() -> None:
    """Linear in 14 x 14 pixels: 16 headings from a view, 16 regions from views north and south.

    Chance is 0.06 for the heading; the largest region holds 0.17 of the places.
    """
    family, generator = StreetTaxi(), np.random.default_rng(0)
    places, headings = generator.integers(0, 658, 2000), generator.integers(0, HEADINGS, 2000)
    pairs = zip(places, headings, strict=True)
    anywhere = _features(np.array([view(family, p, h) for p, h in pairs]))
    position = family.town.graph.position
    cut = [np.quantile(position[:, k], (0.25, 0.5, 0.75)) for k in (0, 1)]
    region = 4 * np.searchsorted(cut[0], position[:, 0]) + np.searchsorted(cut[1], position[:, 1])
    order = generator.permutation(658)
    north, south = (_features(np.array([view(family, p, h) for p in order])) for h in (0, 8))
    assert np.bincount(region, minlength=16).max() / 658 == pytest.approx(0.17, abs=0.005)
    found = _probe(anywhere, headings), _probe(np.column_stack([north, south]), region[order])
    assert found[0] > 0.5
    assert found[1] > 0.35
