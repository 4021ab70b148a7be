"""Street networks from files: OSMnx's GraphML, and OpenStreetMap's XML, plain or as .bz2."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np

from daedalus.envs.streets.network import Network
from daedalus.envs.streets.xml import Refused, StreetFileError, read_elements

DRIVABLE = {
    *("motorway", "trunk", "primary", "secondary", "tertiary", "unclassified", "residential"),
    *("motorway_link", "trunk_link", "primary_link", "secondary_link", "tertiary_link"),
    *("living_street", "road"),
}
"""Values of OpenStreetMap's ``highway`` that are streets here; no service roads, no footways."""

ENDINGS = (".graphml", ".osm", ".osm.bz2")
"""Ends of the names of street files."""

Point = tuple[float, float]
"""Latitude and longitude in degrees."""
Road = tuple[list[Point], str]
"""Points from one junction to another, and the street's name ("" for none)."""


def load_network(path: str | Path) -> Network:
    """Read a street network; one-ways are ignored, equal and opposite edges become one.

    Args:
        path: ``.graphml`` as OSMnx saves it, or ``.osm`` or ``.osm.bz2`` as OpenStreetMap gives it.

    Raises:
        StreetFileError: The file cannot be read or holds no streets.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise StreetFileError(f"no street file {path}; check the path")
    if not path.name.endswith(ENDINGS):
        known = ", ".join(ENDINGS)
        raise StreetFileError(f"{path}: unknown kind of file; street files end in {known}")
    found = _GraphML() if path.name.endswith(".graphml") else _OpenStreetMap()
    read_elements(path, found.start, found.end)
    try:
        roads = found.roads()
    except Refused as error:
        raise StreetFileError(f"{path}: {error}") from None
    if not roads:
        raise StreetFileError(f"{path}: it holds no streets (nodes: {len(found.nodes)})")
    return join_roads(roads)


def join_roads(roads: list[Road]) -> Network:
    """Return roads as one network: ends at the same place are the same junction."""
    number: dict[object, int] = {}
    points: list[Point] = []
    links: list[tuple[int, int]] = []
    names: list[str] = []
    seen = set()
    for line, name in roads:
        line = line if line[0] <= line[-1] else line[::-1]
        key = tuple(line)
        if key in seen or len(set(line)) < 2:
            continue
        seen.add(key)
        inside = [(key, k) for k in range(1, len(line) - 1)]
        places = [number.setdefault(at, len(number)) for at in (line[0], *inside, line[-1])]
        for place, point in zip(places, line, strict=True):
            if place == len(points):
                points.append(point)
        for a, b in itertools.pairwise(places):
            if points[a] != points[b]:
                links.append((a, b))
                names.append(name)
    return Network(np.array(points), np.array(links, np.int64).reshape(-1, 2), names)


def _coordinates(where: str, latitude: str | None, longitude: str | None) -> Point:
    """Return checked coordinates.

    Raises:
        Refused: One is missing, no number, or no such place on Earth.
    """
    if latitude is None or longitude is None:
        raise Refused(f"{where} has no coordinates; save the graph with them")
    try:
        point = float(latitude), float(longitude)
    except ValueError:
        point = float("nan"), 0.0
    if not (abs(point[0]) <= 90 and abs(point[1]) <= 180):
        raise Refused(
            f"{where} has the coordinates ({latitude}, {longitude}); expected degrees"
            " (save the graph unprojected)"
        )
    return point


class _GraphML:
    """Takes in the elements of OSMnx's GraphML, whose values are all strings."""

    def __init__(self) -> None:
        self.nodes: dict[str, dict[str, str]] = {}
        self._edges: list[tuple[str, str, dict[str, str]]] = []
        self._names: dict[tuple[str, str], str] = {}
        self._data: dict[str, str] | None = None
        self._kind, self._key = "", ""

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "key":
            key = attributes.get("for", ""), attributes.get("id", "")
            self._names[key] = attributes.get("attr.name", "")
        elif name == "node":
            self._data = self.nodes.setdefault(attributes.get("id", ""), {})
            self._kind = "node"
        elif name == "edge":
            self._data, self._kind = {}, "edge"
            ends = attributes.get("source", ""), attributes.get("target", "")
            self._edges.append((*ends, self._data))
        elif name == "data":
            self._key = attributes.get("key", "")

    def end(self, name: str, text: str) -> None:
        if name == "data" and self._data is not None:
            self._data[self._names.get((self._kind, self._key), self._key)] = text
        elif name in ("node", "edge"):
            self._data = None

    def roads(self) -> list[Road]:
        roads = []
        for source, target, data in self._edges:
            ends = [self._place(source), self._place(target)]
            line = _line_string(data["geometry"]) if "geometry" in data else ends
            roads.append(([ends[0], *line[1:-1], ends[1]], _first(data.get("name", ""))))
        return roads

    def _place(self, node: str) -> Point:
        if node not in self.nodes:
            raise Refused(f"an edge ends at node {node!r}, which is missing")
        data = self.nodes[node]
        return _coordinates(f"node {node!r}", data.get("y"), data.get("x"))


def _line_string(text: str) -> list[Point]:
    """Return the points of a WKT line string, which has longitudes first."""
    inside = text.partition("(")[2].rpartition(")")[0]
    pairs = [pair.split() for pair in inside.split(",")]
    if not text.strip().upper().startswith("LINESTRING") or any(len(p) < 2 for p in pairs):
        raise Refused(f"the geometry {text[:40]!r} is no LINESTRING")
    return [_coordinates("a geometry", p[1], p[0]) for p in pairs]


def _first(name: str) -> str:
    """Return the name, or the first of a list that was written as a string."""
    listed = re.match(r"""\[\s*(['"])(.*?)\1""", name)
    return listed[2] if listed else name


class _OpenStreetMap:
    """Takes in the elements of OpenStreetMap's XML; ways that are no streets are left out."""

    def __init__(self) -> None:
        self.nodes: dict[str, Point] = {}
        self._ways: list[tuple[list[str], str]] = []
        self._references: list[str] = []
        self._tags: dict[str, str] = {}

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "node":
            number = attributes.get("id", "")
            place = attributes.get("lat"), attributes.get("lon")
            self.nodes[number] = _coordinates(f"node {number!r}", *place)
        elif name == "way":
            self._references, self._tags = [], {}
        elif name == "nd":
            self._references.append(attributes.get("ref", ""))
        elif name == "tag":
            self._tags[attributes.get("k", "")] = attributes.get("v", "")

    def end(self, name: str, text: str) -> None:
        is_street = self._tags.get("highway") in DRIVABLE and self._tags.get("area") != "yes"
        if name == "way" and is_street:
            self._ways.append((self._references, self._tags.get("name", "")))

    def roads(self) -> list[Road]:
        """Return a road for each pair of neighbours on a way; cut where a node is missing."""
        roads = []
        for references, name in self._ways:
            for a, b in itertools.pairwise(references):
                if a in self.nodes and b in self.nodes:
                    roads.append(([self.nodes[a], self.nodes[b]], name))
        return roads
