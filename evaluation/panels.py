"""Panels: what can be shown of a moment, and the shapes that each is drawn with.

An agent's ``inspect`` and an environment's ``panels`` return plain values by name; `as_panel` says
how each is shown. A panel turns itself into shapes for a box of any size, and shapes are all that a
painter knows (`daedalus.evaluation.drawing`): so the live page, videos, windows and notebooks show
the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

Box = tuple[float, float, float, float]  # left, top, right, bottom

SMALL, ROW, EDGE = 13, 20, 8
"""Size of text, height of a row and free space inside a panel, in pixels."""


class Fill(NamedTuple):
    """A filled rectangle."""

    box: Box
    colour: str


class Line(NamedTuple):
    """Straight lines from point to point."""

    points: Sequence[tuple[float, float]]
    colour: str
    width: float = 2.0


class Text(NamedTuple):
    """One line of text; ``y`` is its upper edge, ``anchor`` l, m or r says what ``x`` is."""

    x: float
    y: float
    text: str
    colour: str = "faint"
    anchor: str = "l"
    size: int = SMALL


class Image(NamedTuple):
    """Pixels, uint8 (H, W, 3), as large as fits into the box and in its middle."""

    box: Box
    pixels: np.ndarray


Shape = Fill | Line | Text | Image


class Panel(Protocol):
    """Something that can be drawn into a box."""

    def height(self, width: float) -> float:
        """Return the height that suits a width, in pixels."""

    def shapes(self, width: float, height: float) -> list[Shape]:
        """Return what to draw, with (0, 0) at the upper left."""


class Pictures(NamedTuple):
    """Pictures side by side under their captions: uint8 (H, W, 3) each."""

    images: dict[str, np.ndarray]

    @property
    def aspect(self) -> float:
        """Width of all of them over their height."""
        return float(sum(image.shape[1] / image.shape[0] for image in self.images.values()))

    def height(self, width: float) -> float:
        """Return the height at which they fill the width."""
        return min(width / self.aspect, 1.2 * width) + ROW * any(self.images)

    def shapes(self, width: float, height: float) -> list[Shape]:
        """Share the width by the shapes of the pictures."""
        top = float(ROW * any(self.images))
        left, found = 0.0, []
        for caption, image in self.images.items():
            right = left + width * image.shape[1] / image.shape[0] / self.aspect
            found += [Text((left + right) / 2, 2, caption, anchor="m")] if caption else []
            found.append(Image((left + 2, top, right - 2, height), image))  # type: ignore[arg-type]
            left = right
        return found  # type: ignore[return-value]


class Bars(NamedTuple):
    """Numbers with names, such as probabilities; ``targets`` are marked beside them."""

    labels: tuple[str, ...]
    values: np.ndarray  # (N,)
    chosen: int | None = None
    targets: np.ndarray | None = None  # (N,)
    top: float | None = None  # value of a full bar; None for the largest

    def height(self, width: float) -> float:
        """Return a row for each, or the height of a comb of many."""
        return ROW * len(self.values) if self.is_list else 96.0

    @property
    def is_list(self) -> bool:
        """Whether every bar has a row of its own."""
        return len(self.values) <= 16

    def shapes(self, width: float, height: float) -> list[Shape]:
        """Draw rows with names and numbers, or thin upright bars where there are many."""
        with_targets = [self.values] if self.targets is None else [self.values, self.targets]
        most = self.top or max(float(np.abs(np.concatenate(with_targets)).max(initial=0)), 1e-9)
        return self._rows(width, height, most) if self.is_list else self._comb(width, height, most)

    def _rows(self, width: float, height: float, most: float) -> list[Shape]:
        row = min(ROW, height / len(self.values))
        size = min(SMALL, max(int(row) - 2, 8))  # letters shrink where rows are low
        drop = (row - size) / 2 - 1.5
        left, room = 0.45 * width, 0.4 * width
        found: list[Shape] = []
        for i, value in enumerate(self.values):
            top, chosen = i * row, i == self.chosen
            colour = "text" if chosen else "faint"
            length = room * min(abs(float(value)) / most, 1.0)
            found += [
                Text(left - EDGE, top + drop, self.labels[i][:18], colour, "r", size),
                Fill((left, top + 3, left + room, top + row - 3), "line"),
                Fill(
                    (left, top + 3, left + length, top + row - 3),
                    "loss" if value < 0 else "return" if chosen else "value",
                ),
                Text(width, top + drop, f"{float(value):.2f}", colour, "r", size),
            ]
            if self.targets is not None:
                x = left + room * min(abs(float(self.targets[i])) / most, 1.0)
                found.append(Line([(x, top + 2), (x, top + row - 2)], "text"))
        return found

    def _comb(self, width: float, height: float, most: float) -> list[Shape]:
        step, middle = width / len(self.values), height / 2
        found: list[Shape] = [Line([(0, middle), (width, middle)], "line", 1)]
        for i, value in enumerate(self.values):
            end = middle - (middle - 4) * float(np.clip(value / most, -1, 1))
            box = (i * step, min(end, middle), (i + 0.8) * step, max(end, middle))
            found.append(Fill(box, "return" if i == self.chosen else "value"))
        return found


class Curve(NamedTuple):
    """A number over time, with its latest value; ``marks`` are ticks below, by their sign."""

    values: Sequence[float]
    colour: str = "value"
    marks: Sequence[float] = ()
    room: int = 300  # steps that fit

    def height(self, width: float) -> float:
        """Return the height of a strip."""
        return 84.0

    def shapes(self, width: float, height: float) -> list[Shape]:
        """Draw the line around zero."""
        low, high = min(*self.values, 0.0), max(*self.values, 0.0)
        scale = (height - 18) / (high - low or 1.0)
        zero = height - 9 + low * scale
        step = width / (self.room - 1)
        points = [(i * step, zero - v * scale) for i, v in enumerate(self.values)]
        found: list[Shape] = [Line([(0, zero), (width, zero)], "line", 1)]
        found += [Line(points, self.colour)] if len(points) > 1 else []
        for i, mark in enumerate(self.marks):
            if mark:
                x = i * step
                found.append(Line([(x, height - 6), (x, height)], "gain" if mark > 0 else "loss"))
        x, y = points[-1]
        found.append(Fill((x - 3, y - 3, x + 3, y + 3), self.colour))
        found.append(Text(width, 0, f"{self.values[-1]:.2f}", self.colour, "r", 17))
        return found


class Words(NamedTuple):
    """Lines of text, the latest last."""

    lines: tuple[str, ...]

    def height(self, width: float) -> float:
        """Return a row for each line."""
        return ROW * max(len(self.lines), 1)

    def shapes(self, width: float, height: float) -> list[Shape]:
        """Write the last lines that fit."""
        fitting, letters = max(int(height // ROW), 1), max(int(width / (0.58 * SMALL)), 4)
        shown = self.lines[-fitting:]
        return [Text(0, i * ROW + 2, line[:letters], "text") for i, line in enumerate(shown)]


class Spans(NamedTuple):
    """A Gantt chart: (lane, start, end, label) each."""

    rows: tuple[tuple[str, float, float, str], ...]

    @property
    def lanes(self) -> list[str]:
        """Names of the lanes in the order of their first span."""
        return list(dict.fromkeys(lane for lane, *_ in self.rows))

    def height(self, width: float) -> float:
        """Return a row for each lane and one for the times."""
        return ROW * (len(self.lanes) + 1)

    def shapes(self, width: float, height: float) -> list[Shape]:
        """Draw a lane below the other, times from left to right."""
        lanes = self.lanes
        row, left = height / (len(lanes) + 1), 0.22 * width
        begin, end = min(r[1] for r in self.rows), max(r[2] for r in self.rows)
        scale = (width - left) / (end - begin or 1.0)
        found: list[Shape] = [
            Text(left - EDGE, i * row + 2, lane[:10], anchor="r") for i, lane in enumerate(lanes)
        ]
        for i, (lane, start, stop, label) in enumerate(self.rows):
            top = lanes.index(lane) * row
            x = left + (start - begin) * scale
            box = (x, top + 2, max(left + (stop - begin) * scale - 1, x + 1), top + row - 2)
            found.append(Fill(box, ("value", "return", "gain", "loss")[i % 4]))
            if label and (box[2] - box[0]) > 0.6 * SMALL * len(label):
                found.append(Text((box[0] + box[2]) / 2, top + 3, label, "back", "m"))
        for x, time, anchor in ((left, begin, "l"), (width, end, "r")):
            found.append(Text(x, height - row + 2, f"{time:g}", anchor=anchor))
        return found


def as_panel(name: str, value: Any) -> Panel:
    """Return how a plain value is shown.

    Args:
        name: Of the panel, for the message.
        value: uint8 (H, W, 3): a picture. (H, W): a heat map. (N,): bars. A dict of such: side by
            side, on one scale; bars of ``"prediction"`` and ``"target"`` together. A dict of
            numbers: bars with names. Text or a list of texts: messages. A list of
            (lane, start, end) or (lane, start, end, label): a Gantt chart.

    Raises:
        TypeError: None of these.
    """
    if isinstance(value, str):
        return Words((value,))
    if isinstance(value, np.ndarray):
        return _array_panel(name, {"": value})
    if isinstance(value, Mapping) and value:
        if all(isinstance(item, int | float | np.number) for item in value.values()):
            return Bars(tuple(map(str, value)), np.array(list(value.values()), float))
        if all(isinstance(item, np.ndarray) for item in value.values()):
            return _array_panel(name, value)
    if isinstance(value, Sequence):
        if all(isinstance(item, str) for item in value):
            return Words(tuple(value))
        if all(isinstance(item, Sequence) and len(item) in (3, 4) for item in value):
            rows = ((str(a), float(b), float(c), str(*d)) for a, b, c, *d in value)
            return Spans(tuple(rows))
    raise TypeError(
        f"the panel {name!r} is a {type(value).__name__} that cannot be shown; it may be an array "
        "(pictures, maps, bars), a dict of arrays or numbers, texts, or (lane, start, end) rows"
    )


def _array_panel(name: str, arrays: Mapping[str, np.ndarray]) -> Panel:
    dims = {array.ndim for array in arrays.values()}
    if dims == {1}:
        first, *others = arrays.values()
        labels = tuple(str(i) for i in range(len(first)))
        same = len(others) == 1 and others[0].shape == first.shape
        return Bars(labels, first.astype(float), None, others[0].astype(float) if same else None)
    if dims <= {2, 3}:
        maps = [array for array in arrays.values() if array.ndim == 2]
        low = min((float(np.nanmin(array)) for array in maps), default=0.0)
        high = max((float(np.nanmax(array)) for array in maps), default=1.0)
        return Pictures({k: _rgb(name, array, low, high) for k, array in arrays.items()})
    raise TypeError(f"the panel {name!r} has arrays of {sorted(dims)} dimensions; 1, 2 or 3 show")


def _rgb(name: str, array: np.ndarray, low: float, high: float) -> np.ndarray:
    if array.ndim == 2:
        return heat(array, low, high)
    if array.dtype != np.uint8 or array.shape[2] not in (1, 3):
        raise TypeError(f"the picture {name!r} must be uint8 (H, W, 3), got {array.shape}")
    return np.repeat(array, 3, 2) if array.shape[2] == 1 else array


_HEAT = np.array(
    [(24, 20, 44), (72, 40, 120), (160, 56, 112), (232, 112, 72), (252, 200, 96), (252, 252, 208)],
    float,
)


def heat(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return a map (H, W) in colours from dark at ``low`` to bright at ``high``, uint8."""
    share = np.clip((np.nan_to_num(values) - low) / (high - low or 1.0), 0, 1) * (len(_HEAT) - 1)
    columns = [np.interp(share, np.arange(len(_HEAT)), _HEAT[:, k]) for k in range(3)]
    return np.stack(columns, -1).astype(np.uint8)
