"""Painters of panels: SVG for pages, pixels for videos and windows; and the stage of a moment."""

from __future__ import annotations

import base64
import functools
import io
from collections import deque
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import numpy as np

from daedalus.evaluation.panels import (
    EDGE,
    ROW,
    Bars,
    Box,
    Curve,
    Fill,
    Image,
    Line,
    Panel,
    Pictures,
    Shape,
    Text,
    as_panel,
)
from daedalus.evaluation.rollout import Moment
from daedalus.scenarios.extras import needed

WIDTH, HEIGHT = 960, 544  # multiples of 16, as video codecs like them
GAP, HEADER, CURVES, SIDE = 16, 40, 128, 288
HISTORY = 300
"""Steps that the curves show."""
COLOURS = {
    "back": (17, 20, 28),
    "panel": (27, 31, 43),
    "line": (52, 58, 76),
    "text": (226, 230, 240),
    "faint": (130, 138, 158),
    "value": (92, 172, 255),
    "return": (255, 196, 70),
    "gain": (90, 214, 130),
    "loss": (255, 104, 96),
}
"""Colour of every role, red, green and blue; a page has its own, by the same names."""
PICTURES = ("agent's view", "world")
"""The large panels."""
SHARP = 160
"""Sides of a picture in pixels up to which it travels without loss."""


# ------------------------------------------------------------------------------------------- SVG


def to_svg(panel: Panel, width: float = 320.0) -> str:
    """Return a panel as an SVG element whose colours are CSS variables, such as ``--value``."""
    height = panel.height(width)
    inside = "".join(_svg(shape) for shape in panel.shapes(width, height))
    box = f"0 0 {width:g} {height:.0f}"
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{inside}</svg>'


def _svg(shape: Shape) -> str:
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        style = f'stroke="var(--{shape.colour})" stroke-width="{shape.width:g}"'
        return f'<polyline fill="none" {style} points="{points}"/>'
    if isinstance(shape, Text):
        anchor = {"l": "start", "m": "middle", "r": "end"}[shape.anchor]
        where = f'x="{shape.x:.1f}" y="{shape.y + 0.9 * shape.size:.1f}" text-anchor="{anchor}"'
        style = f'font-size="{shape.size}" fill="var(--{shape.colour})"'
        return f"<text {where} {style}>{escape(shape.text)}</text>"
    left, top, right, bottom = shape.box
    box = f'x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0):.1f}"'
    box += f' height="{max(bottom - top, 0):.1f}"'
    if isinstance(shape, Fill):
        return f'<rect {box} fill="var(--{shape.colour})"/>'
    return f'<image {box} href="{data_url(shape.pixels)}"/>'


def data_url(pixels: np.ndarray) -> str:
    """Return a picture, uint8 (H, W, 3), as text: PNG where it is small, else JPEG."""
    with needed(extra="watch"):
        from PIL import Image as Pillow
    kind = "png" if max(pixels.shape[:2]) <= SHARP else "jpeg"
    options = {"compress_level": 3} if kind == "png" else {"quality": 85}
    file = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


# ---------------------------------------------------------------------------------------- pixels


@functools.cache
def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


class Canvas:
    """Pixels to paint shapes on."""

    def __init__(self, width: int, height: int) -> None:
        """Begin with the background.

        Raises:
            MissingExtraError: Pillow is not installed.
        """
        with needed(extra="watch"):
            from PIL import Image as Pillow
            from PIL import ImageDraw
        self._pillow = Pillow
        self.image = Pillow.new("RGB", (width, height), COLOURS["back"])
        self._draw = ImageDraw.Draw(self.image)

    def paint(self, shapes: Iterable[Shape], left: float = 0, top: float = 0) -> None:
        """Paint shapes with their (0, 0) at a place."""
        for shape in shapes:
            if isinstance(shape, Line):
                points = [(x + left, y + top) for x, y in shape.points]
                self._draw.line(points, COLOURS[shape.colour], round(shape.width))
            elif isinstance(shape, Text):
                place = (shape.x + left, shape.y + top)
                font, colour = _font(shape.size), COLOURS[shape.colour]
                self._draw.text(place, shape.text, colour, font, f"{shape.anchor}a")
            else:
                x, y, right, bottom = shape.box
                box = (x + left, y + top, right + left, bottom + top)
                if isinstance(shape, Image):
                    self._paste(shape.pixels, box)
                elif box[2] > box[0] and box[3] > box[1]:
                    self._draw.rectangle(box, COLOURS[shape.colour])

    def panel(self, title: str, panel: Panel, box: Box) -> None:
        """Paint a panel on a ground of its own, its title above it."""
        left, top, right, bottom = box
        above = ROW * bool(title)
        words = [Text(EDGE, 6, title)] if title else []
        self.paint([Fill((0, 0, right - left, bottom - top), "panel"), *words], left, top)
        width, height = right - left - 2 * EDGE, bottom - top - above - 2 * EDGE
        if height > 0:
            self.paint(panel.shapes(width, height), left + EDGE, top + EDGE + above)

    def _paste(self, picture: np.ndarray, box: Box) -> None:
        """Put a picture into a box, as large as it goes, pixels kept square and sharp."""
        height, width = picture.shape[:2]
        room_x, room_y = box[2] - box[0], box[3] - box[1]
        scale = min(room_x / width, room_y / height)
        scale = int(scale) if scale >= 2 else scale
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        resampling = self._pillow.Resampling
        kind = resampling.NEAREST if scale >= 2 else resampling.BILINEAR
        scaled = self._pillow.fromarray(np.ascontiguousarray(picture)).resize(size, kind)
        left, top = box[0] + (room_x - size[0]) / 2, box[1] + (room_y - size[1]) / 2
        self.image.paste(scaled, (round(left), round(top)))


class Stage:
    """Turns the moments of rollouts into panels, and panels into frames of equal size.

    Left is what the policy observes, where that is an image, beside it the environment's own
    picture; below run the value estimate, the return and costs; at the right stand the action's
    probabilities and whatever agent and environment have to show. Reward flashes in the header.
    """

    def __init__(self, title: str, action_names: Mapping[Any, str] | None = None) -> None:
        """Begin without history.

        Args:
            title: Text at the top left; may be changed between frames.
            action_names: Words for actions.
        """
        self.title, self._names = title, action_names or {}
        self._curves: dict[str, deque[float]] = {}
        self._rewards: deque[float] = deque(maxlen=HISTORY)

    def panels(self, moment: Moment) -> dict[str, Panel]:
        """Return the panels of a moment, which was remembered, by title.

        Raises:
            TypeError: A panel of agent or environment cannot be shown; names it.
        """
        shown = dict(zip(PICTURES, (moment.view, moment.picture), strict=True))
        found: dict[str, Panel] = {k: Pictures({"": v}) for k, v in shown.items() if v is not None}
        for name, values in self._curves.items():
            marks = tuple(self._rewards) if name == "return" else ()
            found[name] = Curve(tuple(values), _CURVES.get(name, "value"), marks, HISTORY)
        for name, value in moment.panels.items():
            if not isinstance(value, float | int):
                found[_TITLES.get(name, name)] = self._panel(name, value, moment)
        return found

    def remember(self, moment: Moment) -> None:
        """Add a moment to the curves; the first of an episode clears them."""
        if moment.step == 0:
            self._curves.clear()
            self._rewards.clear()
        costs = "cost" in self._curves or moment.episode_cost != 0
        numbers = {"value": moment.value, "return": moment.episode_return}
        numbers |= {"cost": moment.episode_cost} if costs else {}
        numbers |= {k: float(v) for k, v in moment.panels.items() if isinstance(v, float | int)}
        for name, number in numbers.items():
            if number is not None:
                self._curves.setdefault(name, deque(maxlen=HISTORY)).append(number)
        self._rewards.append(moment.reward)

    def _panel(self, name: str, value: Any, moment: Moment) -> Panel:
        panel = as_panel(name, value)
        if name != "probabilities" or not isinstance(panel, Bars):
            return panel
        actions = sorted(self._names) if len(self._names) == len(panel.values) else None
        keys = actions or range(len(panel.values))
        chosen = _key(moment.action)
        index = list(keys).index(chosen) if chosen in keys else None
        labels = tuple(self._names.get(key, str(key)) for key in keys)
        return panel._replace(labels=labels, chosen=index, top=1.0)

    def status(self, moment: Moment) -> str:
        """Return a line on where the episode is and what is done."""
        action = "end"
        if moment.action is not None:
            action = self._names.get(_key(moment.action), _words(moment.action))
        return f"episode {moment.episode + 1}   step {moment.step}   {action}"

    def frame(self, moment: Moment) -> np.ndarray:
        """Return the frame of a moment: uint8 (HEIGHT, WIDTH, 3)."""
        self.remember(moment)
        panels = self.panels(moment)
        pictures = {name: panels.pop(name) for name in PICTURES if name in panels}
        curves = {name: panels.pop(name) for name in self._curves}
        canvas = Canvas(WIDTH, HEIGHT)
        self._header(canvas, moment)
        right = WIDTH - (SIDE + GAP if panels else 0)
        bottom = HEIGHT - CURVES - GAP
        _row(canvas, pictures, (GAP, HEADER, right - GAP, bottom - GAP))
        _row(canvas, curves, (GAP, bottom, right - GAP, HEIGHT - GAP))
        _column(canvas, panels, (right, HEADER, WIDTH - GAP, HEIGHT - GAP))
        return np.asarray(canvas.image)

    def _header(self, canvas: Canvas, moment: Moment) -> None:
        canvas.paint(
            [
                Text(GAP, 11, self.title, "text", size=17),
                Text(WIDTH - GAP, 11, self.status(moment), "faint", "r", 17),
            ]
        )
        recent = sum(list(self._rewards)[-8:])
        if recent:
            colour = "gain" if recent > 0 else "loss"
            canvas.paint([Text(WIDTH / 2, 11, f"{recent:+g}", colour, "m", 17)])


_CURVES = {"value": "value", "return": "return", "cost": "loss"}
_TITLES = {"probabilities": "action probabilities"}


def _row(canvas: Canvas, panels: Mapping[str, Panel], box: Box) -> None:
    """Paint panels from left to right; pictures share the width by their shapes."""
    aspects = [p.aspect if isinstance(p, Pictures) else 1.0 for p in panels.values()]
    room, left = box[2] - box[0] - GAP * (len(panels) - 1), box[0]
    for (title, panel), aspect in zip(panels.items(), aspects, strict=True):
        right = left + room * aspect / sum(aspects)
        canvas.panel(title, panel, (left, box[1], right, box[3]))
        left = right + GAP


def _column(canvas: Canvas, panels: Mapping[str, Panel], box: Box) -> None:
    """Paint panels from top to bottom, as high as they like or as the room allows."""
    width = box[2] - box[0] - 2 * EDGE
    heights = [panel.height(width) + ROW + 2 * EDGE for panel in panels.values()]
    room = box[3] - box[1] - GAP * (len(panels) - 1)
    scale = min(1.0, room / sum(heights)) if heights else 1.0
    top = box[1]
    for (title, panel), height in zip(panels.items(), heights, strict=True):
        canvas.panel(title, panel, (box[0], top, box[2], top + scale * height))
        top += scale * height + GAP


def _key(action: Any) -> Any:
    return int(action) if np.ndim(action) == 0 and np.asarray(action).dtype.kind in "iu" else None


def _words(action: Any) -> str:
    if np.ndim(action) == 0:
        return f"action {action}"
    return "action " + " ".join(f"{a:.2f}".rstrip("0").rstrip(".") for a in np.ravel(action)[:6])
