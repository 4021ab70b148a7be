"""Small charts as inline SVG: they scale to any screen and need no script and no network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 12, 52
COLOURS = (
    "#2b6cb0", "#d9730d", "#2f855a", "#8e44ad", "#c2185b", "#00838f",
    "#8d6e1f", "#5d6d7e", "#7cb342", "#b03a2e", "#5c6bc0", "#e0a800",
)  # fmt: skip
DASHES = ("", "7 4", "2 3")


class Series(NamedTuple):
    """A line with a band around it; nan are gaps."""

    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Style(NamedTuple):
    """How one agent is drawn, everywhere on a page."""

    colour: str
    dash: str


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """Give each label a colour, and a dash where the colours are used up."""
    return {
        label: Style(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)])
        for i, label in enumerate(labels)
    }


class Axis(NamedTuple):
    """Values from ``low`` to ``high`` over pixels from ``start`` to ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, values: np.ndarray | float) -> np.ndarray:
        """Pixels of values."""
        span = self.high - self.low or 1.0
        share = (np.asarray(values) - self.low) / span
        return np.asarray(self.start + share * (self.end - self.start))


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from ``low`` to ``high``.

    Example:
        >>> ticks(0.0, 10.0)
        [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float) -> str:
    """Return a number as a short label.

    Example:
        >>> number(2_500_000), number(50_000), number(0.25)
        ('2.5M', '50k', '0.25')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def line_chart(
    series: Sequence[Series],
    style: Mapping[str, Style],
    *,
    x_label: str,
    y_label: str,
    references: Mapping[str, float] | None = None,
) -> str:
    """Draw lines with bands.

    Args:
        series: What to draw; empty ones are left out.
        style: Label -> style.
        x_label: Name of the horizontal axis.
        y_label: Name of the vertical axis.
        references: Label -> height of a dashed line; drawn where it lies within the chart's reach.
    """
    drawn = [item for item in series if np.isfinite(item.y).any()]
    if not drawn:
        return "<p>No curve was logged.</p>"
    x, y = _axes(drawn, references or {})
    parts = [_frame(x, y, x_label, y_label)]
    for name, value in (references or {}).items():
        if y.low <= value <= y.high:
            parts.append(_reference(name, float(y.at(value))))
    parts += [_band(item, x, y, style[item.label]) for item in drawn]
    parts += [_line(item, x, y, style[item.label]) for item in drawn]
    return _svg(parts, HEIGHT, f"{y_label} over {x_label}")


def _axes(drawn: Sequence[Series], references: Mapping[str, float]) -> tuple[Axis, Axis]:
    """Axes around all bands, and around references that would not flatten them."""
    xs = np.concatenate([item.x for item in drawn])
    values = np.concatenate([part for item in drawn for part in (item.y, item.low, item.high)])
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    reach = (high - low) or 1.0
    near = [v for v in references.values() if low - reach <= v <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.05 * ((high - low) or 1.0)
    return (
        Axis(float(xs.min()), float(xs.max()), LEFT, WIDTH - RIGHT),
        Axis(low - margin, high + margin, HEIGHT - BOTTOM, TOP),
    )


def _frame(x: Axis, y: Axis, x_label: str, y_label: str) -> str:
    """Grid, numbers and names of the axes."""
    parts = []
    for value in ticks(y.low, y.high):
        at = float(y.at(value))
        parts.append(
            f'<path class="grid" d="M{x.start} {at:.1f}H{x.end}"/>'
            f'<text x="{x.start - 6}" y="{at + 5:.1f}" text-anchor="end">{number(value)}</text>'
        )
    for value in ticks(x.low, x.high, 4):
        at = float(x.at(value))
        parts.append(
            f'<text x="{at:.1f}" y="{y.start + 20}" text-anchor="middle">{number(value)}</text>'
        )
    middle = (y.start + y.end) / 2
    parts.append(f'<path class="axis" d="M{x.start} {y.start}H{x.end}"/>')
    parts.append(
        f'<text x="{(x.start + x.end) / 2}" y="{y.start + 43}" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text transform="translate(15 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def _reference(name: str, at: float) -> str:
    return (
        f'<path class="reference" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
        f'<text class="small" x="{WIDTH - RIGHT - 4}" y="{at - 4:.1f}" text-anchor="end">'
        f"{escape(name)}</text>"
    )


def _band(item: Series, x: Axis, y: Axis, style: Style) -> str:
    there = np.isfinite(item.low) & np.isfinite(item.high)
    if there.sum() < 2:
        return ""
    px = x.at(item.x[there])
    up, down = y.at(item.high[there]), y.at(item.low[there])
    points = [*zip(px, up, strict=True), *zip(px[::-1], down[::-1], strict=True)]
    path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    return f'<path d="M{path}Z" fill="{style.colour}" opacity="0.15"/>'


def _line(item: Series, x: Axis, y: Axis, style: Style) -> str:
    there = np.isfinite(item.y)
    points = zip(x.at(item.x[there]), y.at(item.y[there]), strict=True)
    path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
    return (
        f'<path d="M{path}" fill="none" stroke="{style.colour}" stroke-width="2.5" '
        f'stroke-dasharray="{style.dash}"><title>{escape(item.label)}</title></path>'
    )


class Bar(NamedTuple):
    """A value with its interval."""

    label: str
    value: float
    low: float
    high: float


def interval_chart(
    bars: Sequence[Bar],
    style: Mapping[str, Style],
    *,
    x_label: str,
    references: Mapping[str, float] | None = None,
) -> str:
    """Draw a point with its interval for each label, one below the other."""
    row, left = 30, 170
    bottom = TOP + row * len(bars)
    given = references or {}
    ends = [v for bar in bars for v in (bar.value, bar.low, bar.high) if math.isfinite(v)]
    ends += list(given.values())
    margin = 0.04 * ((max(ends) - min(ends)) or 1.0)
    x = Axis(min(ends) - margin, max(ends) + margin, left, WIDTH - RIGHT)
    parts = [_scale(x, bottom, x_label)]
    for name, value in given.items():
        at = float(x.at(value))
        parts.append(
            f'<path class="reference" d="M{at:.1f} {TOP}V{bottom}"><title>{escape(name)}</title>'
            f"</path>"
        )
    for i, bar in enumerate(bars):
        parts.append(_bar(bar, x, TOP + row * (i + 0.5), style[bar.label]))
    return _svg(parts, bottom + BOTTOM, x_label)


def _scale(x: Axis, bottom: float, label: str) -> str:
    parts = [
        f'<path class="grid" d="M{float(x.at(v)):.1f} {TOP}V{bottom}"/>'
        f'<text x="{float(x.at(v)):.1f}" y="{bottom + 20}" text-anchor="middle">{number(v)}</text>'
        for v in ticks(x.low, x.high, 4)
    ]
    middle = (x.start + x.end) / 2
    name = f'<text x="{middle}" y="{bottom + 43}" text-anchor="middle">{escape(label)}</text>'
    return "".join(parts) + name


def _bar(bar: Bar, x: Axis, at: float, style: Style) -> str:
    shown = bar.label if len(bar.label) <= 18 else bar.label[:17] + "…"
    name = f'<text x="{x.start - 8}" y="{at + 5:.1f}" text-anchor="end">{escape(shown)}</text>'
    line = ""
    if math.isfinite(bar.low) and math.isfinite(bar.high):
        low, high = x.at(bar.low), x.at(bar.high)
        line = (
            f'<path d="M{low:.1f} {at:.1f}H{high:.1f}" stroke="{style.colour}" '
            f'stroke-width="7" opacity="0.45"/>'
        )
    point = f'<circle cx="{x.at(bar.value):.1f}" cy="{at:.1f}" r="5" fill="{style.colour}"/>'
    return f"{name}{line}{point}"


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
