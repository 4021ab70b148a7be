"""A canvas for the pictures of small worlds: smooth shapes in the world's own units."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Colour = tuple[int, int, int]

INK: Colour = (24, 26, 38)
PAPER: Colour = (236, 232, 222)
WALL: Colour = (70, 76, 98)
BLUE: Colour = (66, 118, 214)
RED: Colour = (214, 74, 66)
GREEN: Colour = (64, 168, 104)
GOLD: Colour = (242, 184, 60)
PURPLE: Colour = (142, 92, 196)
GREY: Colour = (164, 166, 174)
WATER: Colour = (112, 176, 222)

_GLYPHS = dict(
    zip(
        "0123456789ABCDEFHIMNOQRSTUX<>=-?YGJKLPVWZ",
        (
            *("755557", "262227", "711747", "717117", "555711", "747117", "747557", "711222"),
            *("757557", "757117", "757555", "656556", "744447", "655556", "747447", "747444"),
            *("557755", "722227", "577555", "577755", "755557", "755573", "756655", "747117"),
            *(
                "722222",
                "555557",
                "552255",
                "124421",
                "421124",
                "070070",
                "000700",
                "712202",
                "555222",
            ),
            *("744557", "111157", "556655", "444447", "757444", "555552", "555775", "711247"),
        ),
        strict=True,
    )
)
"""Letters of 3 x 6 points; a digit is a row of three bits."""


class Canvas:
    """An RGB picture with a scale: shapes are given in units, x to the right and y down.

    Attributes:
        pixels: float array (height, width, 3), 0 to 255.
    """

    def __init__(self, width: float, height: float, scale: int, colour: Colour = PAPER) -> None:
        """Make an empty picture of ``width`` x ``height`` units, ``scale`` pixels a unit."""
        self.scale = scale
        size = (max(round(height * scale), 1), max(round(width * scale), 1), 3)
        self.pixels = np.empty(size)
        self.pixels[:] = colour

    def picture(self) -> np.ndarray:
        """Return the picture as uint8 (height, width, 3)."""
        return self.pixels.round().astype(np.uint8)

    def _blend(
        self, box: tuple[float, float, float, float], distance: object, colour: Colour, alpha: float
    ) -> None:
        """Paint where ``distance(x, y)`` (units, negative inside) says so, with soft edges."""
        k, (rows, columns) = self.scale, self.pixels.shape[:2]
        left, right = (
            int(np.clip(v * k, 0, columns)) for v in (box[0] - 0.1, box[2] + 0.1 + 1 / k)
        )
        top, bottom = (int(np.clip(v * k, 0, rows)) for v in (box[1] - 0.1, box[3] + 0.1 + 1 / k))
        if left >= right or top >= bottom:
            return
        y, x = np.mgrid[top:bottom, left:right]
        field = distance((x + 0.5) / k, (y + 0.5) / k)  # type: ignore[operator]
        cover = (alpha * np.clip(0.5 - field * k, 0.0, 1.0))[..., None]
        part = self.pixels[top:bottom, left:right]
        part[:] = (1.0 - cover) * part + cover * np.array(colour, float)

    def disc(self, x: float, y: float, radius: float, colour: Colour, alpha: float = 1.0) -> None:
        """Paint a disc."""
        box = (x - radius, y - radius, x + radius, y + radius)
        self._blend(box, lambda u, v: np.hypot(u - x, v - y) - radius, colour, alpha)

    def ring(self, x: float, y: float, radius: float, colour: Colour, width: float = 0.06) -> None:
        """Paint a circle's line."""
        reach = radius + width
        box = (x - reach, y - reach, x + reach, y + reach)
        self._blend(box, lambda u, v: abs(np.hypot(u - x, v - y) - radius) - width / 2, colour, 1.0)

    def box(
        self, corners: Sequence[float], colour: Colour, alpha: float = 1.0, round_: float = 0.0
    ) -> None:
        """Paint a rectangle (left, top, right, bottom), its corners rounded with a radius."""
        left, top, right, bottom = corners
        x, y = (left + right) / 2, (top + bottom) / 2
        half_x, half_y = (right - left) / 2 - round_, (bottom - top) / 2 - round_

        def distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            dx, dy = abs(u - x) - half_x, abs(v - y) - half_y
            outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
            return np.asarray(outside + np.minimum(np.maximum(dx, dy), 0) - round_)

        self._blend((left, top, right, bottom), distance, colour, alpha)

    def line(
        self, start: Sequence[float], end: Sequence[float], colour: Colour, width: float = 0.08
    ) -> None:
        """Paint a line with round ends."""
        (x0, y0), (x1, y1) = start, end
        dx, dy = x1 - x0, y1 - y0
        square = max(dx * dx + dy * dy, 1e-12)

        def distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            along = np.clip(((u - x0) * dx + (v - y0) * dy) / square, 0.0, 1.0)
            return np.asarray(np.hypot(u - x0 - along * dx, v - y0 - along * dy) - width / 2)

        reach = (min(x0, x1) - width, min(y0, y1) - width, max(x0, x1) + width, max(y0, y1) + width)
        self._blend(reach, distance, colour, 1.0)

    def polygon(self, points: Sequence[Sequence[float]], colour: Colour) -> None:
        """Paint a convex polygon; its corners in clockwise order on the picture."""
        corners = np.asarray(points, float)
        following = np.roll(corners, -1, 0)

        def distance(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            field = np.full(u.shape, -np.inf)
            for (x0, y0), (x1, y1) in zip(corners, following, strict=True):
                length = max(math.hypot(x1 - x0, y1 - y0), 1e-12)
                field = np.maximum(field, ((u - x0) * (y1 - y0) - (v - y0) * (x1 - x0)) / length)
            return field

        low, high = corners.min(0), corners.max(0)
        self._blend((low[0], low[1], high[0], high[1]), distance, colour, 1.0)

    def arrow(self, x: float, y: float, heading: float, size: float, colour: Colour) -> None:
        """Paint an arrow head that points along ``heading`` (radians from +x towards +y)."""
        points = [(1.0, 0.0), (-0.7, 0.75), (-0.7, -0.75)]
        c, s = math.cos(heading) * size, math.sin(heading) * size
        self.polygon([(x + c * a - s * b, y + s * a + c * b) for a, b in points], colour)

    def text(self, x: float, y: float, words: str, height: float, colour: Colour = INK) -> None:
        """Write a few characters, centred on (x, y)."""
        dot = height / 6
        left = x - dot * (2 * len(words) - 0.5)
        for k, letter in enumerate(words):
            for row, bits in enumerate(_GLYPHS.get(letter, "000000")):
                for column in range(3):
                    if int(bits) >> (2 - column) & 1:
                        u, v = left + dot * (4 * k + column), y - height / 2 + dot * row
                        self.box((u, v, u + dot, v + dot), colour)

    def key(self, x: float, y: float, size: float, colour: Colour = GOLD) -> None:
        """Paint a key."""
        self.ring(x - 0.45 * size, y, 0.32 * size, colour, 0.22 * size)
        self.line((x - 0.1 * size, y), (x + 0.8 * size, y), colour, 0.2 * size)
        for at in (0.45, 0.75):
            self.line((x + at * size, y), (x + at * size, y + 0.3 * size), colour, 0.18 * size)


def board(walls: np.ndarray, scale: int, floor: Colour = PAPER) -> Canvas:
    """Return a canvas with a grid of squares: walls dark, the floor as a faint chessboard.

    Args:
        walls: bool (rows, columns).
        scale: Pixels of a square.
        floor: Colour of the floor.
    """
    rows, columns = walls.shape
    canvas = Canvas(columns, rows, scale, floor)
    odd = (np.indices(walls.shape).sum(0) % 2 == 1)[..., None]
    colours = np.where(odd, 0.965, 1.0) * np.array(floor, float)
    colours = np.where(walls[..., None], np.array(WALL, float), colours)
    canvas.pixels = np.repeat(np.repeat(colours, scale, 0), scale, 1)
    for row, column in np.argwhere(walls):
        lit = row == 0 or not walls[row - 1, column]
        if lit:
            canvas.box((column, row, column + 1, row + 0.12), (104, 112, 138))
    return canvas
