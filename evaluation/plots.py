"""Figures: learning curves as PNG, drawn with matplotlib without a display."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from daedalus.scenarios.extras import needed

COLOURS = ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1", "#b83280")


def read_metric(path: str | Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read one column of a run's ``metrics.csv``.

    Args:
        path: The file.
        name: Column, such as ``"rollout/ep_rew_mean"``.

    Returns:
        Environment steps (N,) and values (N,), rows without a value left out.

    Raises:
        ValueError: The file has no such column.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and name not in rows[0]:
        raise ValueError(f"{path} has no column {name!r}; it has: {', '.join(rows[0])}")
    pairs = [(float(row["time/total_timesteps"]), float(row[name])) for row in rows if row[name]]
    table = np.array(pairs).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def plot_learning_curve(
    path: str | Path,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    title: str = "",
    references: Mapping[str, float] | None = None,
) -> Path:
    """Draw returns over environment steps.

    Args:
        path: PNG to write; its folder is made.
        curves: Label -> (steps, mean returns).
        title: Title of the figure.
        references: Label -> return, drawn as dashed lines.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with needed(extra="watch"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=(8, 4.5), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for i, (label, (steps, returns)) in enumerate(curves.items()):
        axes.plot(steps, returns, color=COLOURS[i % len(COLOURS)], linewidth=2, label=label)
    for i, (label, value) in enumerate(sorted((references or {}).items(), key=lambda x: -x[1])):
        axes.axhline(value, color="#718096", linestyle="--", linewidth=1)
        side, align = (-3, "top") if i % 2 else (3, "bottom")  # neighbours on different sides
        axes.annotate(
            label, (1, value), (-4, side), xycoords=("axes fraction", "data"), ha="right",
            va=align, textcoords="offset points", color="#4a5568", fontsize=9,
        )  # fmt: skip
    axes.set(xlabel="environment steps", ylabel="mean return of an episode", title=title)
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1e6:g} M" if x >= 1e6 else f"{x:,.0f}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="best")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
