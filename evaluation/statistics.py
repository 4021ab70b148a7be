"""Statistics of scores: interquartile mean and bootstrap intervals.

Scores have shape (runs, tasks), or (runs,) for one task. Resampling is stratified: runs are drawn
with replacement within each task (Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of
the Statistical Precipice", section 4). The generator is an argument: the same generator state gives
the same interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Metric = Callable[[np.ndarray], float]


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


def mean(scores: np.ndarray) -> float:
    """Mean of all scores."""
    return float(np.mean(scores))


def iqm(scores: np.ndarray) -> float:
    """Interquartile mean: the mean of the middle half of all scores.

    The lowest and the highest ``floor(n / 4)`` of the n scores are left out.

    Args:
        scores: (runs,) or (runs, tasks).

    Raises:
        ValueError: There are no scores.

    Example:
        >>> iqm(np.array([0.0, 1.0, 2.0, 100.0]))
        1.5
    """
    values = np.sort(_checked(scores), axis=None)
    cut = values.size // 4
    return float(values[cut : values.size - cut].mean())


def bootstrap_interval(
    scores: np.ndarray,
    rng: np.random.Generator,
    metric: Metric = iqm,
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
) -> Interval:
    """Percentile interval of a metric by the stratified bootstrap.

    Args:
        scores: (runs,) or (runs, tasks).
        rng: Generator of the resamples.
        metric: Function of an array of the shape of ``scores``.
        confidence: Coverage aimed at, between 0 and 1.
        resamples: Number of resamples.

    Raises:
        ValueError: No scores, scores that are not finite, or ``confidence`` out of range.

    Example:
        >>> bootstrap_interval(np.ones(10), np.random.default_rng(0))
        Interval(low=1.0, high=1.0)
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    values = _checked(scores)
    table = values.reshape(len(values), -1)
    runs, tasks = table.shape
    columns = np.arange(tasks)
    estimates = np.empty(resamples)
    for i in range(resamples):
        rows = rng.integers(0, runs, size=(runs, tasks))
        estimates[i] = metric(table[rows, columns].reshape(values.shape))
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(estimates, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _checked(scores: np.ndarray) -> np.ndarray:
    values = np.asarray(scores, dtype=np.float64)
    if values.size == 0:
        raise ValueError("there are no scores")
    if not np.isfinite(values).all():
        raise ValueError(f"score {int(np.argmin(np.isfinite(values)))} is not finite")
    return values
