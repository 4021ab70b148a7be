"""The part of the page on tasks one after another: matrices of scores as heat maps, and metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape

import numpy as np

from daedalus.accelerators.sequence import stage_tasks, task_names
from daedalus.evaluation.sequence import stage_names, summed_up
from daedalus.evaluation.statistics import Interval, bootstrap_interval, iqm
from daedalus.evaluation.summary import Cell, scale

SIDE, TOP, LETTER = 46, 60, 8
"""Pixels of a square, of the margin above, and of a letter of the names on the left."""
LOW, HIGH = (235, 241, 250), (8, 81, 156)
"""Colours of 0 and 1."""
METRICS = ("average", "forgetting", "backward_transfer", "forward_transfer")


def heat_maps(cells: Sequence[Cell]) -> str:
    """Return the heat maps and the table of one scenario; "" where nothing came in stages."""
    staged = [cell for cell in cells if cell.matrices]
    if not staged:
        return ""
    figures = "".join(
        f"<figure>{heat_map(cell)}<figcaption>{escape(cell.label)}: score on each task (columns) "
        f"after each stage (rows), mean over {len(cell.matrices)} runs.</figcaption></figure>"
        for cell in staged
    )
    head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in ("agent", *METRICS))
    rows = "".join(f"<tr>{_metrics(cell)}</tr>" for cell in staged if _is_whole(cell))
    table = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    return f'<div class="pair">{figures}</div>{table}</div>' if rows else figures


def _is_whole(cell: Cell) -> bool:
    rows, tasks = cell.matrices[0].shape
    return bool(tasks > 1 and rows == len(_trained(cell)) + 1)


def _trained(cell: Cell) -> list[int]:
    return stage_tasks(cell.rows[0]["env_kwargs"])


def scaled(cell: Cell) -> np.ndarray:
    """Return the matrices (runs, stages + 1, tasks) with 0 for random and 1 for the reference."""
    low, high = (scale(cell.references) or (0.0, 1.0, ""))[:2]
    return (np.stack(cell.matrices) - low) / (high - low)


def _metrics(cell: Cell) -> str:
    trained = _trained(cell)
    found = [dataclasses.asdict(summed_up(m, trained=trained)) for m in scaled(cell)]
    values = (np.array([each[name] for each in found]) for name in METRICS)
    return "".join(f"<td>{text}</td>" for text in (escape(cell.label), *map(_interval, values)))


def _interval(values: np.ndarray) -> str:
    interval = Interval(*bootstrap_interval(values, np.random.default_rng(0)))
    if np.isnan(interval.low):
        return f"{iqm(values):.3g}"
    return f"{iqm(values):.3g} [{interval.low:.3g}, {interval.high:.3g}]"


def heat_map(cell: Cell) -> str:
    """Return the mean matrix of a cell as SVG, the untrained agent in its first row."""
    matrix = scaled(cell).mean(0)
    kwargs = cell.rows[0]["env_kwargs"]
    stages = ["untrained", *(f"after {name}" for name in stage_names(kwargs))]
    left = 12 + LETTER * max(map(len, stages))
    parts = [
        f'<text x="{left - 6}" y="{TOP + (i + 0.6) * SIDE:.0f}" text-anchor="end" font-size="11" '
        f'fill="currentColor">{escape(name)}</text>'
        for i, name in enumerate(stages)
    ]
    parts += [
        f'<text x="{left + (j + 0.5) * SIDE:.0f}" y="{TOP - 6}" font-size="11" fill="currentColor" '
        f'transform="rotate(-35 {left + (j + 0.5) * SIDE:.0f} {TOP - 6})">{escape(name)}</text>'
        for j, name in enumerate(task_names(kwargs))
    ]
    parts += [
        _square(left + j * SIDE, TOP + i * SIDE, float(value))
        for (i, j), value in np.ndenumerate(matrix)
    ]
    width, height = left + matrix.shape[1] * SIDE + 30, TOP + matrix.shape[0] * SIDE + 6
    title = f"<title>{escape(cell.label)}: scores on tasks after stages</title>"
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" style="max-width:{width}px">{title}'
        f"{''.join(parts)}</svg>"
    )


def _square(x: int, y: int, value: float) -> str:
    share = min(max(value, 0.0), 1.0)
    mixed = [round(a + share * (b - a)) for a, b in zip(LOW, HIGH, strict=True)]
    ink = "#fff" if share > 0.5 else "#111"
    return (
        f'<rect x="{x}" y="{y}" width="{SIDE - 1}" height="{SIDE - 1}" rx="2" '
        f'fill="rgb({mixed[0]},{mixed[1]},{mixed[2]})"/><text x="{x + SIDE / 2:.0f}" '
        f'y="{y + 0.6 * SIDE:.0f}" text-anchor="middle" font-size="11" style="fill:{ink}">'
        f"{value:.2f}</text>"
    )
