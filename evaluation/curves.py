"""Statistics of learning curves: area, steps to a threshold with censoring, curves on one grid.

A curve is (steps, values): environment steps, increasing, and the mean return logged there. Logs
of different runs need not agree on their steps. Rows without a value yet (no episode has ended)
are nan and are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Curve = tuple[np.ndarray, np.ndarray]
"""Steps (N,) and values (N,)."""


class Reached(NamedTuple):
    """When a run reached a threshold, or when it was last seen below it."""

    steps: float
    reached: bool


def cleaned(curve: Curve) -> Curve:
    """Return a curve as float arrays without its nan.

    Raises:
        ValueError: No value is left, the lengths differ, or steps do not increase.
    """
    steps, values = (np.asarray(part, np.float64) for part in curve)
    if steps.shape != values.shape or steps.ndim != 1:
        raise ValueError(f"a curve needs as many values as steps: {steps.shape}, {values.shape}")
    steps, values = steps[~np.isnan(values)], values[~np.isnan(values)]
    if not steps.size:
        raise ValueError("the curve has no value")
    if (np.diff(steps) <= 0).any():
        raise ValueError("the steps of a curve must increase")
    return steps, values


def area_under_curve(curve: Curve, total: float | None = None) -> float:
    """Mean height of a curve over steps 0 to ``total``, by the trapezoid rule.

    The first value also holds before it and the last one after it, so a log that begins late or
    ends early is not compared over another range.

    Args:
        curve: Steps (N,) and values (N,).
        total: End of the range; by default the last step.

    Example:
        >>> area_under_curve((np.array([10, 20]), np.array([1.0, 3.0])), total=40)
        2.25
    """
    steps, values = cleaned(curve)
    end = float(steps[-1]) if total is None else float(total)
    inside = np.concatenate([[0.0], steps[(steps > 0) & (steps < end)], [end]])
    return float(np.trapezoid(np.interp(inside, steps, values), inside) / end)


def steps_to_threshold(curve: Curve, threshold: float) -> Reached:
    """First step whose value is at least ``threshold``; otherwise the last step, not reached.

    Example:
        >>> steps_to_threshold((np.array([10, 20, 30]), np.array([0.0, 2.0, 1.0])), 1.5)
        Reached(steps=20.0, reached=True)
    """
    steps, values = cleaned(curve)
    above = np.flatnonzero(values >= threshold)
    return Reached(float(steps[above[0] if above.size else -1]), bool(above.size))


def survival(runs: Sequence[Reached]) -> tuple[np.ndarray, np.ndarray]:
    """Share of runs that have not reached the threshold yet (Kaplan & Meier 1958).

    A run that was stopped below the threshold counts until it was stopped and not beyond, so
    budgets may differ.

    Returns:
        Steps (K,) at which runs reached it, and the shares (K,) from there on.

    Example:
        >>> survival([Reached(10, True), Reached(20, False), Reached(30, True)])[1].round(3)
        array([0.667, 0.   ])
    """
    steps = np.array([run.steps for run in runs])
    reached = np.array([run.reached for run in runs], bool)
    times = np.unique(steps[reached])
    at_risk = (steps[None] >= times[:, None]).sum(1)
    events = ((steps[None] == times[:, None]) & reached).sum(1)
    return times, np.cumprod(1 - events / at_risk)


def median_steps(runs: Sequence[Reached]) -> float:
    """Steps by which half of the runs have reached the threshold; infinite if they never have.

    Example:
        >>> median_steps([Reached(10, True), Reached(20, True), Reached(50, False)])
        20.0
    """
    times, shares = survival(runs)
    done = np.flatnonzero(shares <= 0.5 + 1e-9)  # the product of shares is rounded
    return float(times[done[0]]) if done.size else math.inf


def common_grid(curves: Sequence[Curve], points: int = 100) -> np.ndarray:
    """Return ``points`` steps from the latest beginning to the earliest end of some curves.

    Raises:
        ValueError: The curves share no range.
    """
    ends = [cleaned(curve)[0][[0, -1]] for curve in curves]
    low, high = max(first for first, _ in ends), min(last for _, last in ends)
    if low > high:
        raise ValueError(f"the curves share no steps: one begins at {low:g}, one ends at {high:g}")
    return np.linspace(low, high, points)


def aligned(curves: Sequence[Curve], grid: np.ndarray) -> np.ndarray:
    """Values of each curve at the steps of ``grid``, by linear interpolation.

    Returns:
        (runs, K); nan where the grid goes beyond a curve: nothing is made up there.

    Example:
        >>> aligned([(np.array([0, 10]), np.array([0.0, 1.0]))], np.array([5, 20]))
        array([[0.5, nan]])
    """
    rows = (np.interp(grid, *cleaned(curve), left=np.nan, right=np.nan) for curve in curves)
    return np.stack(list(rows))
