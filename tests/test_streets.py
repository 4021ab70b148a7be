"""Street graphs: files, errors, resampling, generated cities, moves, shortest ways."""

from __future__ import annotations

import bz2
import math
import time
from pathlib import Path

import numpy as np
import pytest
from street_towns import DEGREE, breadth_first, write_graphml, write_line

from daedalus.envs.streets.city import generate_city
from daedalus.envs.streets.moves import CONE, HEADINGS, angle_between, arc, bearing
from daedalus.envs.streets.network import EARTH_RADIUS, StreetGraph, build_graph
from daedalus.envs.streets.osm import load_network
from daedalus.envs.streets.paths import moves_between
from daedalus.envs.streets.town import DATA, WEST_OAKLAND, get_town
from daedalus.envs.streets.xml import StreetFileError


def graph_of(path: Path | str, spacing: float = 10.0) -> StreetGraph:
    """Return the street graph of a file."""
    return build_graph(load_network(path), spacing)


# ----------------------------------------------------------------------------------------- files


def test_west_oakland_has_the_documented_size() -> None:
    """31 undirected segments, 6,638 m, about 660 places every 10 m: the file's own account."""
    graph = graph_of(WEST_OAKLAND)
    owner = np.repeat(np.arange(graph.size), np.diff(graph.first))
    length = np.hypot(*(graph.position[owner] - graph.position[graph.neighbour]).T)
    assert graph.size == 658
    assert abs(length.sum() / 2 - 6638) < 5
    assert length.min() > 7
    assert length.max() < 12
    assert {"7th Street", "Goss Street", "Willow Street"} <= set(graph.streets)


def test_both_formats_give_the_same_streets() -> None:
    graphs = [graph_of(WEST_OAKLAND), graph_of(DATA / "west_oakland.osm.bz2")]
    assert [g.size for g in graphs] == [658, 658]
    assert np.allclose(np.sort(graphs[0].latlng, 0), np.sort(graphs[1].latlng, 0), atol=1e-6)
    assert graphs[0].streets == graphs[1].streets


def test_plain_osm_is_read_without_footways_and_one_ways_go_both_ways(tmp_path: Path) -> None:
    places = [(0, 0), (0, 50), (40, 0), (0, -30)]
    nodes = "".join(
        f'<node id="{i}" lat="{y / DEGREE}" lon="{x / DEGREE}"/>' for i, (x, y) in enumerate(places)
    )
    ways = "".join(
        f'<way id="{i}">{refs}<tag k="highway" v="{kind}"/><tag k="oneway" v="yes"/></way>'
        for i, (refs, kind) in enumerate(
            [
                ('<nd ref="0"/><nd ref="1"/>', "residential"),
                ('<nd ref="0"/><nd ref="2"/>', "footway"),
                ('<nd ref="3"/><nd ref="77"/><nd ref="0"/>', "residential"),  # 77 is not there
            ]
        )
    )
    text = f"<osm>{nodes}{ways}</osm>"
    (tmp_path / "t.osm").write_text(text, encoding="utf-8")
    (tmp_path / "t.osm.bz2").write_bytes(bz2.compress(text.encode()))
    for name in ("t.osm", "t.osm.bz2"):
        graph = graph_of(tmp_path / name)
        assert graph.size == 6  # 50 m
        assert sorted(np.diff(graph.first)) == [1, 1, 2, 2, 2, 2]


def test_equal_and_opposite_edges_are_one_and_lists_of_names_give_the_first(tmp_path: Path) -> None:
    curve = [(0, 0), (30, 40), (60, 0)]
    edges = [
        ("a", "b", "['Oak Street', 'Elm']", curve),
        ("b", "a", "Oak Street", curve[::-1]),
        ("a", "b", "Straight Road"),
    ]
    path = write_graphml(tmp_path / "g.graphml", {"a": (0, 0), "b": (60, 0), "x": (500, 0)}, edges)
    network = load_network(path)
    assert len(network.links) == 3  # two along the curve, one straight
    assert set(network.names) == {"Oak Street", "Straight Road"}


def test_curves_are_followed(tmp_path: Path) -> None:
    """Places on a half circle of radius 60 m lie on it, 10 m apart along the arc."""
    arch = [(60 * math.cos(a), 60 * math.sin(a)) for a in np.linspace(0, math.pi, 60)]
    edges = [("a", "b", "Arch", arch)]
    graph = graph_of(write_graphml(tmp_path / "g.graphml", {"a": arch[0], "b": arch[-1]}, edges))
    assert graph.size == 20  # 188.5 m
    assert np.allclose(np.hypot(*(graph.position - (60, 0)).T), 60, atol=0.2)


def test_only_the_largest_component_stays(tmp_path: Path) -> None:
    nodes = {"a": (0, 0), "b": (0, 50), "c": (200, 0), "d": (200, 100), "lonely": (9, 9)}
    path = write_graphml(tmp_path / "g.graphml", nodes, [("a", "b"), ("c", "d")])
    assert graph_of(path).size == 11


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><graphml><graph>&b;</graph></graphml>'
)
NODE = "<graphml><key id='y' for='node' attr.name='y'/><key id='x' for='node' attr.name='x'/>"
WITHOUT = (
    NODE + "<graph><node id='7'/><node id='8'/><edge source='7' target='8'/></graph></graphml>"
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bomb.graphml", BOMB, "document type"),
        ("broken.graphml", "<graphml><graph></graphml>", "line 1: not well-formed XML"),
        ("cut.osm", "<osm><node id='1' lat='0' lon='0'/>", "not well-formed XML"),
        ("empty.graphml", "<graphml><graph/></graphml>", "holds no streets"),
        ("empty.osm", "<osm/>", "holds no streets"),
        ("nothing.osm", "", "not well-formed XML"),
        ("without.graphml", WITHOUT, "node '7' has no coordinates"),
        ("without.osm", "<osm><node id='3' lat='1'/></osm>", "node '3' has no coordinates"),
        ("words.osm", "<osm><node id='3' lat='x' lon='1'/></osm>", "expected degrees"),
        ("metres.osm", "<osm><node id='3' lat='4183000' lon='1'/></osm>", "unprojected"),
        ("nan.osm", "<osm><node id='3' lat='nan' lon='1'/></osm>", "expected degrees"),
        ("fake.osm.bz2", "no bzip2", "cannot be read"),
        ("map.pbf", "", "street files end in .graphml, .osm, .osm.bz2"),
    ],
)
def test_a_bad_file_gives_one_clear_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StreetFileError, match=message) as raised:
        load_network(path)
    assert "\n" not in str(raised.value)
    assert name in str(raised.value)


def test_isolated_nodes_alone_are_no_town(tmp_path: Path) -> None:
    path = write_graphml(tmp_path / "g.graphml", {"a": (0, 0), "b": (0, 50)}, [])
    with pytest.raises(StreetFileError, match=r"holds no streets \(nodes: 2\)"):
        load_network(path)


def test_missing_files_dangling_edges_and_broken_geometry(tmp_path: Path) -> None:
    with pytest.raises(StreetFileError, match="no street file"):
        load_network(tmp_path / "none.osm")
    path = write_graphml(tmp_path / "g.graphml", {"a": (0, 0)}, [("a", "b")])
    with pytest.raises(StreetFileError, match="node 'b', which is missing"):
        load_network(path)
    path = write_graphml(tmp_path / "h.graphml", {"a": (0, 0), "b": (9, 9)}, [("a", "b", "x", [])])
    with pytest.raises(StreetFileError, match="no LINESTRING"):
        load_network(path)


# ---------------------------------------------------------------------------------------- cities


@pytest.mark.parametrize("size", [300, 5000])
def test_generated_cities_have_about_the_size_asked_for(size: int) -> None:
    graph = build_graph(generate_city(size, seed=3))
    assert 0.85 * size < graph.size < 1.1 * size
    assert (np.diff(graph.first) >= 3).sum() > size / 50


def test_a_city_is_its_seed() -> None:
    one, same, other = (generate_city(500, seed).points for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert one.shape != other.shape or not np.allclose(one, other)


def test_towns_are_worked_out_once() -> None:
    assert get_town("city:400") is get_town("city:400")
    with pytest.raises(ValueError, match="city:PLACES or city:PLACES:SEED"):
        get_town("city:many")
    with pytest.raises(ValueError, match="at least 100"):
        get_town("city:10")


def test_places_are_ordered_by_squares() -> None:
    graph = build_graph(generate_city(2000, 0))
    rows, columns = graph.cells.shape[0], graph.cells.shape[1] - 1
    for row, column in np.ndindex(rows, columns):
        inside = graph.position[graph.cells[row, column] : graph.cells[row, column + 1]]
        assert (inside // 100 == (column, row)).all()
    assert graph.cells[-1, -1] == graph.size


# ----------------------------------------------------------------------------------------- moves


def reference_ahead(graph: StreetGraph, place: int, heading: float) -> int:
    """Return what `forward` does, by the rule: the nearest within depth 3 and 30 degrees."""
    near, border = {place}, {place}
    for _ in range(3):
        border = {int(n) for p in border for n in graph.neighbours(p)} - near
        near |= border
    latitude, longitude = np.radians(graph.latlng).T

    def metres(other: int) -> float:
        half = math.sin((latitude[other] - latitude[place]) / 2) ** 2
        across = math.sin((longitude[other] - longitude[place]) / 2) ** 2
        half += math.cos(latitude[place]) * math.cos(latitude[other]) * across
        return 2 * EARTH_RADIUS * math.asin(math.sqrt(half))

    def off(other: int) -> float:
        east = longitude[other] - longitude[place]
        y = math.sin(east) * math.cos(latitude[other])
        x = math.cos(latitude[place]) * math.sin(latitude[other])
        x -= math.sin(latitude[place]) * math.cos(latitude[other]) * math.cos(east)
        return abs((math.degrees(math.atan2(y, x)) - heading + 180) % 360 - 180)

    ahead = [p for p in near if p != place and off(p) <= CONE]
    return min(ahead, key=metres) if ahead else place


def test_forward_follows_the_rule_at_every_place_of_west_oakland() -> None:
    town = get_town("west_oakland")
    for place in range(0, town.graph.size, 3):
        for h in range(HEADINGS):
            expected = reference_ahead(town.graph, place, 22.5 * h)
            assert town.places["ahead"][place, h] == expected


def test_forward_takes_the_nearest_and_not_the_best_aligned(tmp_path: Path) -> None:
    """Ahead is a place at 20 m; one at 10 m, 25 degrees to the side, is taken."""
    side = (10 * math.sin(math.radians(25)), 10 * math.cos(math.radians(25)))
    nodes = {"a": (0, 0), "ahead": (0, 20), "side": side, "west": (-200, 0)}
    edges = [("a", "ahead"), ("a", "side"), ("a", "west")]
    path = write_graphml(tmp_path / "g.graphml", nodes, edges)
    town = get_town(path, 20.0)
    corner = np.array([200.0, 0.0])
    spots = town.graph.position - corner
    a, beside = (int(np.argmin(np.hypot(*(spots - at).T))) for at in ((0, 0), side))
    assert town.places["ahead"][a, 0] == beside


def test_bearings_distances_and_wrapping() -> None:
    """At latitude 60 a degree of longitude is half a degree of latitude: bearing 45, not 63."""
    latlng = np.array([[60.0, 10.0], [60.001, 10.002], [60.0, 9.998], [59.999, 10.0]])
    found = [bearing(latlng, 0, k) for k in (1, 2, 3)]
    assert found == pytest.approx([45.0, 270.0, 180.0], abs=0.01)
    assert angle_between(350.0, 10.0) == -20.0
    assert angle_between(10.0, 350.0) == 20.0
    assert angle_between(180.0, 0.0) == -180.0


def test_arcs_are_haversine_distances() -> None:
    town = get_town("west_oakland")
    latitude, longitude = np.radians(town.graph.latlng).T
    for a, b in ((0, 657), (10, 400), (5, 6)):
        half = math.sin((latitude[b] - latitude[a]) / 2) ** 2
        across = math.sin((longitude[b] - longitude[a]) / 2) ** 2
        half += math.cos(latitude[a]) * math.cos(latitude[b]) * across
        expected = 2 * EARTH_RADIUS * math.asin(math.sqrt(half))
        assert arc(town.places, a, b) == pytest.approx(expected, abs=1e-6)


def test_open_directions_are_relative_to_the_heading(tmp_path: Path) -> None:
    """A crossing with arms to the north and east: bins of 45 degrees, the first centred ahead."""
    nodes = {"c": (0, 0), "n": (0, 100), "e": (100, 0)}
    town = get_town(write_graphml(tmp_path / "g.graphml", nodes, [("c", "n"), ("c", "e")]))
    corner = int(np.argmin(np.hypot(*town.graph.position.T)))
    open_ = {h: {b for b in range(8) if town.places["open"][corner, h] >> b & 1} for h in (0, 4, 8)}
    assert open_ == {0: {0, 2}, 4: {6, 0}, 8: {4, 6}}  # looking north, east, south


# ----------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize("streets", ["west_oakland", "city:2500:4"])
def test_moves_between_places_are_those_of_a_search(streets: str) -> None:
    town = get_town(streets)
    for start in range(0, town.graph.size, town.graph.size // 9):
        expected = breadth_first(town, start)
        found = [moves_between(town.places, town.hubs, start, b) for b in range(town.graph.size)]
        assert np.array_equal(found, expected)


def test_a_line_has_the_obvious_ways(tmp_path: Path) -> None:
    town = get_town(write_line(tmp_path / "line.graphml"))
    order = np.argsort(town.graph.position[:, 1])
    found = [moves_between(town.places, town.hubs, order[2], order[k]) for k in range(10)]
    assert found == [2, 1, 0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.slow
def test_a_city_of_50_000_places_builds_in_seconds() -> None:
    get_town("city:1000")  # compiles
    started = time.process_time()
    town = get_town("city:50000:9")
    assert time.process_time() - started < 60
    start = 17
    expected = breadth_first(town, start)
    for goal in range(0, town.graph.size, 500):
        assert moves_between(town.places, town.hubs, start, goal) == expected[goal]
