"""Pictures for people: what the taxi sees, beside a map with the way to its goal."""

from __future__ import annotations

import itertools
import math

import numpy as np

from daedalus.envs.canvas import BLUE, GOLD, INK, RED, Canvas, Colour
from daedalus.envs.streets.courier import has, has_coin
from daedalus.envs.streets.family import Streets
from daedalus.envs.streets.moves import HEADINGS
from daedalus.envs.streets.oracle import shortest_way, target_of
from daedalus.envs.streets.route import AHEAD
from daedalus.envs.streets.route import LEFT as TURN_LEFT
from daedalus.envs.streets.state import COINS, INSTRUCTIONS, LOG
from daedalus.envs.streets.view import draw_view, make_camera

HEIGHT = 384
"""Rows of the picture; the map is as wide, the view has the image's shape."""
MAP_METRES = 1800.0
"""A larger town is shown in part, around the taxi."""
_BAR = 28  # rows of the line below
_GAP = 10
_LAND: Colour = (226, 229, 218)
_STREET: Colour = (255, 255, 253)
_EDGE: Colour = (196, 198, 188)
_TRAIL: Colour = (240, 168, 96)
_COIN: Colour = (214, 158, 24)


def draw_picture(state: np.void, family: Streets) -> np.ndarray:
    """Return view and map side by side, and a line of counts: uint8 (HEIGHT + line, width, 3)."""
    gap = np.full((HEIGHT, _GAP, 3), INK, np.uint8)
    both = np.concatenate([_view(state, family), gap, _Map(state, family).picture()], 1)
    return np.concatenate([both, _bar(state, family, both.shape[1])])


def _view(state: np.void, family: Streets) -> np.ndarray:
    rows, columns = family.options.image
    width = max(round(HEIGHT * columns / rows), 16) // 2 * 2
    camera = make_camera(HEIGHT, width, family.options.field_of_view)
    params, rgb = family.params, np.zeros(HEIGHT * width * 3, np.uint8)
    large = params._replace(**camera._asdict())
    place = params.places[int(state["place"])]
    draw_view(params.pieces, params.runs, place, int(state["heading"]), large, rgb)
    return rgb.reshape(HEIGHT, width, 3)


class _Map:
    """A map in metres, north up, around the taxi or of the whole town."""

    def __init__(self, state: np.void, family: Streets) -> None:
        self.state, self.family = state, family
        width, height = family.town.graph.extent
        self.metres = min(max(width, height) + 60.0, MAP_METRES)
        self.scale = HEIGHT / self.metres
        here = family.town.graph.position[int(state["place"])]
        self.west = self._edge(float(here[0]), width)
        self.north = self._edge(float(here[1]), height) + self.metres
        self.canvas = Canvas(HEIGHT, HEIGHT, 1, _LAND)

    def _edge(self, here: float, extent: float) -> float:
        if extent + 60.0 <= self.metres:
            return (extent - self.metres) / 2
        return min(max(here - self.metres / 2, -30.0), extent + 30.0 - self.metres)

    def spot(self, x: float, y: float) -> tuple[float, float]:
        """Return column and row of a position in metres."""
        return (x - self.west) * self.scale, (self.north - y) * self.scale

    def place(self, place: int) -> tuple[float, float]:
        """Return column and row of a place."""
        return self.spot(*self.family.town.graph.position[place])

    def picture(self) -> np.ndarray:
        """Return the map, uint8 (HEIGHT, HEIGHT, 3)."""
        self._draw_streets()
        self._draw_trail()
        self._draw_coins()
        game = int(self.family.params.rules[0]["game"])
        if game != COINS:
            self._draw_way(game)
        angle = int(self.state["heading"]) * 2 * math.pi / HEADINGS - math.pi / 2
        at = self.place(int(self.state["place"]))
        self.canvas.disc(*at, 10, INK)
        self.canvas.arrow(*at, angle, 8.5, GOLD)
        return self.canvas.picture()

    def _draw_streets(self) -> None:
        pieces = self.family.town.graph.pieces
        low, high = (
            np.minimum(pieces[:, :2], pieces[:, 2:]),
            np.maximum(pieces[:, :2], pieces[:, 2:]),
        )
        corner = np.array([self.west, self.north - self.metres])
        shown = pieces[((high > corner) & (low < corner + self.metres)).all(1)]
        wide = min(max(14 * self.scale, 2.5), 7.0)
        for colour, width in ((_EDGE, wide + 1.6), (_STREET, wide)):
            for x0, y0, x1, y1 in shown:
                self.canvas.line(self.spot(x0, y0), self.spot(x1, y1), colour, width)

    def _draw_trail(self) -> None:
        log = self.state["log"][: min(int(self.state["logged"]), LOG)]
        for place in dict.fromkeys(log.tolist()):
            self.canvas.disc(*self.place(place), 1.8, _TRAIL)

    def _draw_coins(self) -> None:
        rules, state = self.family.params.rules[0], self.state
        position = self.family.town.graph.position
        corner = np.array([self.west, self.north - self.metres])
        shown = ((position > corner) & (position < corner + self.metres)).all(1)
        for place in np.flatnonzero(shown & bool(rules["coins"])).tolist():
            if has_coin(place, state["coin_key"], rules) and not has(state["taken"], place):
                self.canvas.disc(*self.place(place), 2.6, _EDGE)
                self.canvas.disc(*self.place(place), 2.0, _COIN)

    def _draw_way(self, game: int) -> None:
        state, family, canvas = self.state, self.family, self.canvas
        here, heading = int(state["place"]), int(state["heading"])
        way = shortest_way(family, here, target_of(state, family), heading)
        for k in range(int(state["leg"]) + 1, int(state["legs"])):
            start, end = state["way_place"][k : k + 2].tolist()
            way += shortest_way(family, start, end, int(state["way_heading"][k]))
        spots = [self.place(p) for p in way]
        for a, b in itertools.pairwise(spots):
            canvas.line(a, b, BLUE, 2.6)
        if game == INSTRUCTIONS:
            for k in range(int(state["leg"]) + 1, int(state["legs"])):
                canvas.disc(*self.place(int(state["way_place"][k])), 4, BLUE)
                canvas.disc(*self.place(int(state["way_place"][k])), 2, _STREET)
        at = self.place(int(state["goal"]))
        if game != INSTRUCTIONS:
            for radius, width in (("max_radius", 0.7), ("min_radius", 1.4)):
                metres = float(family.params.rules[0][radius])
                canvas.ring(*at, metres * self.scale, RED, width)
        canvas.line(at, (at[0], at[1] - 16), INK, 2)
        corners = [(0, -17), (12, -12.5), (0, -8)]
        canvas.polygon([(at[0] + x, at[1] + y) for x, y in corners], RED)
        canvas.disc(*at, 3, RED)


def _bar(state: np.void, family: Streets, width: int) -> np.ndarray:
    """Return the line below: the instructions as arrows with metres, or goals and coins."""
    canvas = Canvas(width, _BAR, 1, INK)
    if int(family.params.rules[0]["game"]) == INSTRUCTIONS:
        for k, (kind, _, tens) in enumerate(state["say"][: state["legs"]].tolist()):
            colour = GOLD if k == int(state["leg"]) else _EDGE
            x = 22 + 90 * k
            way = -math.pi / 2 if kind == AHEAD else (math.pi if kind == TURN_LEFT else 0.0)
            canvas.arrow(x, _BAR / 2, way, 8, colour)
            canvas.text(x + 38, _BAR / 2, f"{10 * tens} M", 12, colour)
        return canvas.picture()
    if int(family.params.rules[0]["game"]) != COINS:
        canvas.text(75, _BAR / 2, f"GOALS {int(state['goals'])}", 12, _STREET)
        metres = np.hypot(
            *(
                np.diff(
                    family.town.graph.position[[int(state["place"]), int(state["goal"])]], axis=0
                )[0]
            )
        )
        canvas.text(230, _BAR / 2, f"TO GO {metres:.0f} M", 12, _STREET)
    canvas.disc(width - 130, _BAR / 2, 6, _COIN)
    canvas.text(width - 80, _BAR / 2, f"COINS {int(state['coins'])}", 12, _STREET)
    return canvas.picture()
