"""Statistics of scores: aggregates, profiles, comparisons, and bootstrap intervals.

Scores have shape (runs, tasks), or (runs,) for one task. Every metric also takes a stack of such
tables, (N, runs, tasks), and then returns N values: so the bootstrap is one call on all resamples.
The definitions are those of Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (2108.13264), and a test holds them to the numbers published there.

The generator is an argument: the same generator state gives the same interval.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Metric = Callable[..., Any]
"""Takes one or more tables (..., runs, tasks) and returns values (...) or (..., K)."""
CHUNK = 1 << 21
"""Scores that are resampled at once, which bounds the memory."""


class Interval(NamedTuple):
    """Ends of a confidence interval; not a number where one run says nothing of the spread."""

    low: float
    high: float


# ---- metrics ------------------------------------------------------------------------------------


def mean(scores: np.ndarray) -> Any:
    """Mean of all scores."""
    return _plain(_checked(scores).mean((-2, -1)))


def median(scores: np.ndarray) -> Any:
    """Median over tasks of the mean over runs.

    Example:
        >>> median(np.array([[0.0, 1.0, 5.0], [2.0, 1.0, 7.0]]))
        1.0
    """
    return _plain(np.median(_checked(scores).mean(-2), -1))


def iqm(scores: np.ndarray) -> Any:
    """Interquartile mean: the mean of the middle half of all scores.

    The lowest and the highest ``floor(n / 4)`` of the n scores are left out.

    Args:
        scores: (runs,), (runs, tasks) or (N, runs, tasks).

    Raises:
        ValueError: There are no scores, or one is not finite.

    Example:
        >>> iqm(np.array([0.0, 1.0, 2.0, 100.0]))
        1.5
    """
    table = _checked(scores)
    values = np.sort(table.reshape(*table.shape[:-2], -1), -1)
    cut = values.shape[-1] // 4
    return _plain(values[..., cut : values.shape[-1] - cut].mean(-1))


def optimality_gap(scores: np.ndarray, target: float = 1.0) -> Any:
    """How far scores fall short of ``target`` on average; what is above it counts as reached.

    Example:
        >>> optimality_gap(np.array([0.5, 3.0]))
        0.25
    """
    return _plain(target - np.minimum(_checked(scores), target).mean((-2, -1)))


def performance_profile(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of runs, over all tasks, that score above each threshold.

    Args:
        scores: (runs,), (runs, tasks) or (N, runs, tasks).
        thresholds: (K,).

    Returns:
        Shares (K,) or (N, K).

    Example:
        >>> performance_profile(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.5, 3.0]))
        array([0.75, 0.  ])
    """
    table = _checked(scores)
    values = np.sort(table.reshape(-1, table.shape[-2] * table.shape[-1]), -1)
    below = np.stack([np.searchsorted(row, thresholds, side="right") for row in values])
    above = 1 - below / values.shape[-1]
    return np.asarray(above.reshape(*table.shape[:-2], len(thresholds)))


def probability_of_improvement(ours: np.ndarray, theirs: np.ndarray) -> Any:
    """Chance that a run of ours beats a run of theirs on a task drawn at random; a tie is half.

    This is the Mann-Whitney statistic over the product of the numbers of runs, averaged over tasks.

    Args:
        ours: (runs,), (runs, tasks) or (N, runs, tasks).
        theirs: The same tasks; the number of runs may differ.

    Example:
        >>> probability_of_improvement(np.array([1.0, 2.0]), np.array([0.0, 2.0]))
        0.625
    """
    x, y = _checked(ours)[..., :, None, :], _checked(theirs)[..., None, :, :]
    return _plain(((x > y).mean((-3, -2)) + 0.5 * (x == y).mean((-3, -2))).mean(-1))


def difference(metric: Metric = iqm) -> Metric:
    """Return the metric "ours minus theirs" of two tables."""
    return lambda ours, theirs: metric(ours) - metric(theirs)


def normalised(scores: np.ndarray, low: float, high: float) -> np.ndarray:
    """Put scores on the scale of two references: a random policy is 0, a human or an oracle 1.

    Raises:
        ValueError: The two references are equal.
    """
    if low == high:
        raise ValueError(f"the reference scores are both {low:g}; they span no scale")
    return (np.asarray(scores, np.float64) - low) / (high - low)


# ---- intervals ----------------------------------------------------------------------------------


def bootstrap_interval(
    scores: np.ndarray | tuple[np.ndarray, ...],
    rng: np.random.Generator,
    metric: Metric = iqm,
    *,
    confidence: float = 0.95,
    resamples: int = 5_000,
) -> Any:
    """Interval of a metric by the stratified bootstrap: runs are redrawn within each task.

    The plain percentile interval covers too little with few runs (five runs of one task: 85 % in
    place of 95 %). The expanded percentiles of Hesterberg 2015, "What Teachers Should Know About
    the Bootstrap" (1411.5279), section 4.1, mend that: the tails are those of Student's t with
    ``tasks (runs - 1)`` degrees of freedom, widened by ``sqrt(runs / (runs - 1))``. With many runs
    nothing changes.

    Args:
        scores: (runs,) or (runs, tasks), or several such tables for a metric of several.
        rng: Generator of the resamples.
        metric: Function of tables (N, runs, tasks) that returns values (N,) or (N, K).
        confidence: Coverage aimed at, between 0 and 1.
        resamples: Number of resamples.

    Returns:
        An `Interval`; of two arrays (K,) where the metric has K values.

    Raises:
        ValueError: No scores, scores that are not finite, or ``confidence`` out of range.

    Example:
        >>> bootstrap_interval(np.ones(10), np.random.default_rng(0))
        Interval(low=1.0, high=1.0)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    tables = [_checked(table) for table in (scores if isinstance(scores, tuple) else (scores,))]
    runs, tasks = min(len(table) for table in tables), tables[0].shape[1]
    if runs < 2:
        return Interval(math.nan, math.nan)
    tail = expanded_tail((1 - confidence) / 2, runs, tasks)
    estimates = _estimates(tables, rng, metric, resamples)
    low, high = np.quantile(estimates, [tail, 1 - tail], axis=0)
    return Interval(_plain(low), _plain(high))


def _estimates(
    tables: Sequence[np.ndarray], rng: np.random.Generator, metric: Metric, resamples: int
) -> np.ndarray:
    """Values of the metric (resamples, ...) on redrawn tables, some at a time."""
    size = max(1, CHUNK // max(table.size for table in tables))
    parts = [
        metric(*(_redrawn(table, rng, min(size, resamples - start)) for table in tables))
        for start in range(0, resamples, size)
    ]
    return np.concatenate([np.asarray(part) for part in parts])


def _redrawn(table: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """``count`` tables (count, runs, tasks), the runs of each task drawn with replacement."""
    runs, tasks = table.shape
    rows = rng.integers(0, runs, (count, runs, tasks), dtype=np.int32)
    return np.asarray(table.ravel().take(rows * tasks + np.arange(tasks, dtype=np.int32)))


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """Interval of a success rate, by Wilson's score test (1927).

    Raises:
        ValueError: ``successes`` is not between 0 and ``trials``, or there was no trial.

    Example:
        >>> low, high = wilson_interval(9, 10)
        >>> round(low, 3), round(high, 3)
        (0.596, 0.982)
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} successes in {trials} trials are not possible")
    z = statistics.NormalDist().inv_cdf(0.5 + confidence / 2)
    middle = (successes + z * z / 2) / (trials + z * z)
    half = z / (trials + z * z) * math.sqrt(successes * (trials - successes) / trials + z * z / 4)
    return Interval(middle - half, middle + half)


def expanded_tail(tail: float, runs: int, tasks: int) -> float:
    """Share of resamples to leave out at each end, so that few runs cover what they should.

    Example:
        >>> round(expanded_tail(0.025, 10, 1), 4), round(expanded_tail(0.025, 10**6, 1), 4)
        (0.0086, 0.025)
    """
    quantile = math.sqrt(runs / (runs - 1)) * t_quantile(1 - tail, tasks * (runs - 1))
    return statistics.NormalDist().cdf(-quantile)


def t_quantile(share: float, freedom: float) -> float:
    """Quantile of Student's t, by bisection of `t_tail`.

    Example:
        >>> round(t_quantile(0.975, 4), 4)
        2.7764
    """
    low, high = 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > 1 - share else (low, middle)
    return low


def t_tail(value: float, freedom: float) -> float:
    """Chance that Student's t exceeds ``value`` >= 0, exact for whole degrees of freedom.

    The finite series are Abramowitz & Stegun 26.7.3 and 26.7.4. Parts of a degree are dropped,
    which errs towards the larger tail; above 1,000 the normal distribution takes over.
    """
    if freedom > 1_000:
        return statistics.NormalDist().cdf(-value)
    whole = max(1, int(freedom))
    angle = math.atan(value / math.sqrt(whole))
    odd = whole % 2
    k = np.arange(1, (whole - odd) // 2)  # terms after the first
    ratios = (2 * k / (2 * k + 1)) if odd else ((2 * k - 1) / (2 * k))
    series = 1 + np.cumprod(ratios * math.cos(angle) ** 2).sum()
    inside = math.sin(angle) * series
    if odd:
        first = math.cos(angle) if whole > 1 else 0.0
        inside = 2 / math.pi * (angle + inside * first)
    return float(max(0.0, (1 - inside) / 2))


# ---- shapes -------------------------------------------------------------------------------------


def _checked(scores: np.ndarray) -> np.ndarray:
    """Scores as a finite float64 table (..., runs, tasks)."""
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise ValueError("there are no scores")
    if not np.isfinite(values).all():
        raise ValueError(f"score {int(np.argmin(np.isfinite(values)))} is not finite")
    return values[:, None] if values.ndim == 1 else np.atleast_2d(values)


def _plain(values: np.ndarray) -> Any:
    """A number where there is only one."""
    return float(values) if np.ndim(values) == 0 else values
