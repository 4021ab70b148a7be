"""Scores as tables for people and as data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from daedalus.evaluation.evaluate import Evaluation
from daedalus.evaluation.statistics import Interval


def score_table(scores: Sequence[Evaluation]) -> str:
    """Return a table with a row per policy: mean return, interquartile mean, episode length.

    Brackets hold 95 % bootstrap intervals over episodes.
    """
    rows = [("policy", "mean return [95 %]", "IQM [95 %]", "steps per episode")]
    rows += [
        (
            score.policy,
            with_interval(score.mean, score.interval),
            with_interval(score.iqm, score.iqm_interval),
            f"{score.lengths.mean():.0f}",
        )
        for score in scores
    ]
    return columns(rows)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines with aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def with_interval(value: float, interval: Interval) -> str:
    """Return a number with its interval in brackets, alone where there is no interval."""
    known = [value] if math.isnan(interval.low) else [value, *interval]
    form = ".2f" if max(map(abs, known)) >= 0.1 or not any(known) else ".2g"
    first, *ends = (format(number, form) for number in known)
    return f"{first} [{', '.join(ends)}]" if ends else first


def as_json(
    scores: Sequence[Evaluation], env: str, env_kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return scores as plain data: per policy the seed, return and length of every episode.

    Intervals of a single episode, which has none, are None.
    """
    return {
        "env": env,
        "env_kwargs": dict(env_kwargs),
        "policies": {
            score.policy: {
                "mean": score.mean,
                "interval": ends(score.interval),
                "iqm": score.iqm,
                "iqm_interval": ends(score.iqm_interval),
                "seeds": score.seeds.tolist(),
                "returns": score.returns.tolist(),
                "lengths": score.lengths.tolist(),
            }
            for score in scores
        },
    }


def ends(interval: Interval) -> list[float] | None:
    """Return both ends of an interval for JSON, None where there is no interval."""
    return None if math.isnan(interval.low) else list(interval)
