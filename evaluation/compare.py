"""Two result stores side by side: what got better or worse beyond noise.

For every agent and scenario in both, the runs' mean held-out returns are compared by Welch's t-test
(two-sided, degrees of freedom rounded down), and the p-values corrected for their number by Holm's
method: with 40 pairs and nothing changed, 19 of 20 comparisons report nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from daedalus.evaluation.statistics import t_quantile, t_tail
from daedalus.evaluation.store import ResultStore, StoreError
from daedalus.evaluation.store_tools import scores
from daedalus.evaluation.summary import differences, grouped, task

WORSE = 3
"""Exit code of a comparison in which something got worse."""
BEFORE, NOW = "only before", "only now"
"""Verdicts on what the older or the newer store has alone."""


class Welch(NamedTuple):
    """Difference of two means."""

    difference: float  # new minus old
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Change:
    """What became of one agent on one scenario.

    Attributes:
        label: The agent.
        scenario: The scenario.
        old: Mean score before.
        new: Mean score now.
        runs: Number of runs before and now.
        welch: Their difference, with a 95 % interval of its own and the corrected p-value.
        verdict: ``"better"``, ``"worse"``, ``"no change shown"`` or ``"too few runs"``; `BEFORE` or
            `NOW` where only one store has it (what the other would say is nan).
    """

    label: str
    scenario: str
    old: float
    new: float
    runs: tuple[int, int]
    welch: Welch
    verdict: str


def welch(old: np.ndarray, new: np.ndarray, confidence: float = 0.95) -> Welch:
    """Compare two samples, (N,) and (M,); nan where one has fewer than two values.

    Example:
        >>> result = welch(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
        >>> result.difference, round(result.p, 4)
        (3.0, 0.0213)
    """
    gap = float(np.mean(new) - np.mean(old))
    if min(len(old), len(new)) < 2:
        return Welch(gap, math.nan, math.nan, math.nan)
    parts = np.array([np.var(old, ddof=1) / len(old), np.var(new, ddof=1) / len(new)])
    error = math.sqrt(parts.sum())
    if error == 0:  # every run of both scores the same
        return Welch(gap, gap, gap, 1.0 if gap == 0 else 0.0)
    freedom = parts.sum() ** 2 / (parts**2 / (np.array([len(old), len(new)]) - 1)).sum()
    freedom = math.floor(freedom + 1e-9)
    half = t_quantile((1 + confidence) / 2, freedom) * error
    return Welch(gap, gap - half, gap + half, min(1.0, 2 * t_tail(abs(gap) / error, freedom)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number (Holm 1979).

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    result, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        result[i] = highest
    return result


def compare(old: ResultStore, new: ResultStore, level: float = 0.05) -> list[Change]:
    """Compare the finished runs of two stores, wherever both have an agent on a scenario.

    Args:
        old: The reference.
        new: What is judged.
        level: Chance of any false alarm.

    Returns:
        A `Change` for each pair, sorted by scenario and agent, then for what one store has alone.

    Raises:
        StoreError: No pair is in both, or one was another task then than now (in its steps,
            episodes, environment or its parameters): that is no comparison.
    """
    earlier, later = _groups(old), _groups(new)
    pairs = sorted(set(earlier) & set(later))
    if not pairs:
        raise StoreError(f"{old.path} has no agent and scenario that {new.path} has")
    for scenario, label in pairs:
        _check_task(earlier[scenario, label][0], later[scenario, label][0])
    before = {pair: scores(old, runs) for pair, runs in earlier.items()}
    now = {pair: scores(new, runs) for pair, runs in later.items()}
    results = [welch(before[pair], now[pair]) for pair in pairs]
    usable = [i for i, result in enumerate(results) if not math.isnan(result.p)]
    corrected = holm([results[i].p for i in usable])
    for i, p in zip(usable, corrected, strict=True):
        results[i] = results[i]._replace(p=p)
    both = [
        _change(pair, before[pair], now[pair], result, _verdict(result, level))
        for pair, result in zip(pairs, results, strict=True)
    ]
    none, nothing = np.zeros(0), Welch(*[math.nan] * 4)
    gone = [_change(k, before[k], none, nothing, BEFORE) for k in sorted(set(before) - set(now))]
    added = [_change(k, none, now[k], nothing, NOW) for k in sorted(set(now) - set(before))]
    return both + gone + added


def _groups(store: ResultStore) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The runs of each (scenario, label)."""
    return grouped(store.runs(state="done"))


def _check_task(old: dict[str, Any], new: dict[str, Any]) -> None:
    then, now = task(old), task(new)
    if then != now:
        was, has = (", ".join(differences(*pair)) for pair in ((then, [now]), (now, [then])))
        raise StoreError(
            f"{old['label']} on {old['scenario']} had {was} then and {has} now; compare runs of "
            "the same task"
        )


def _change(
    pair: tuple[str, str], before: np.ndarray, now: np.ndarray, result: Welch, verdict: str
) -> Change:
    old, new = (float(part.mean()) if part.size else math.nan for part in (before, now))
    return Change(pair[1], pair[0], old, new, (len(before), len(now)), result, verdict)


def _verdict(result: Welch, level: float) -> str:
    if math.isnan(result.p):
        return "too few runs"
    if result.p >= level:
        return "no change shown"
    return "better" if result.difference > 0 else "worse"


def comparison_table(changes: Sequence[Change]) -> str:
    """Return the changes as a table for people, and under it what only one store has."""
    from daedalus.evaluation.report import columns

    rows = [("scenario", "agent", "runs", "old", "new", "difference [95 %]", "p (Holm)", "verdict")]
    alone: dict[str, list[str]] = {}
    for c in changes:
        w = c.welch
        if c.verdict in (BEFORE, NOW):
            alone.setdefault(c.verdict, []).append(f"{c.label} on {c.scenario}")
            continue
        known = not math.isnan(w.p)
        rows.append((
            c.scenario, c.label, f"{c.runs[0]}, {c.runs[1]}", f"{c.old:.3g}", f"{c.new:.3g}",
            f"{w.difference:+.3g}" + f" [{w.low:+.3g}, {w.high:+.3g}]" * known,
            f"{w.p:.3g}" if known else "-", c.verdict,
        ))  # fmt: skip
    return "\n".join([columns(rows), *(f"{k}: {', '.join(found)}" for k, found in alone.items())])
