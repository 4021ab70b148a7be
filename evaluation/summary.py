"""What the tables and pictures of a benchmark are made of: scores by agent and scenario."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from daedalus.accelerators.sequence import is_staged, task_names
from daedalus.evaluation.constrained import Constrained, constrained
from daedalus.evaluation.curves import Curve, area_under_curve
from daedalus.evaluation.plan import canonical
from daedalus.evaluation.sequence import PREFIX, matrix_from
from daedalus.evaluation.statistics import Interval, bootstrap_interval, iqm, mean, normalised
from daedalus.evaluation.store import RETURN, ResultStore

HIGH = ("human", "oracle", "expert", "perfect", "solved")
"""Names of reference scores that count as 1, in the order in which they are looked for."""

LONGEST = 24
"""Longest value of an environment's parameter that a label spells out, in characters."""


@dataclass(frozen=True)
class Cell:
    """One agent on one scenario.

    Attributes:
        scenario: The scenario.
        label: The agent.
        rows: Its runs, by seed.
        scores: (runs,) mean held-out return of each.
        costs: (E,) cost of every held-out episode of all runs.
        curves: Learning curve of each run: steps and mean returns.
        matrices: Where tasks came in stages, the scores (stages + 1, tasks) of each run.
    """

    scenario: str
    label: str
    rows: tuple[dict[str, Any], ...]
    scores: np.ndarray
    costs: np.ndarray
    curves: tuple[Curve, ...]
    matrices: tuple[np.ndarray, ...] = ()

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len(self.rows)

    @cached_property
    def iqm(self) -> float:
        """Interquartile mean of the scores."""
        return float(iqm(self.scores))

    @cached_property
    def mean(self) -> float:
        """Mean of the scores."""
        return float(mean(self.scores))

    @cached_property
    def interval(self) -> Interval:
        """95 % interval of the interquartile mean over runs; nan for one run."""
        return Interval(*bootstrap_interval(self.scores, np.random.default_rng(0)))

    @cached_property
    def area(self) -> float:
        """Mean over runs of the mean height of the learning curve over the budget."""
        total = self.rows[0]["total_timesteps"]
        areas = [area_under_curve(curve, total) for curve in self.curves if len(curve[0])]
        return float(np.mean(areas)) if areas else math.nan

    @cached_property
    def steps_per_second(self) -> float:
        """Median speed of training."""
        return float(np.median([row["steps_per_second"] for row in self.rows]))

    @cached_property
    def constrained(self) -> Constrained | None:
        """What was paid, where the scenario limits the cost of an episode."""
        limit = self.rows[0]["cost_limit"]
        return None if limit is None else constrained(self.costs, limit)

    @cached_property
    def references(self) -> dict[str, float]:
        """Reference scores of the scenario."""
        return dict(self.rows[0]["references"])


def summarise(store: ResultStore, runs: Sequence[dict[str, Any]]) -> list[Cell]:
    """Group finished runs by scenario and agent, in that order."""
    return [_cell(store, key, rows) for key, rows in sorted(grouped(runs).items())]


def grouped(runs: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Return the runs of each (scenario, label).

    Runs of one label that differ in more than the seed are never thrown together: what they differ
    in is added to the label.
    """
    known: dict[tuple[str, str], list[dict[str, str]]] = {}
    for run in runs:
        found = known.setdefault((run["scenario"], run["label"]), [])
        if (setup := _setup(run)) not in found:
            found.append(setup)
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        scenario, label = run["scenario"], run["label"]
        apart = differences(_setup(run), known[scenario, label])
        label += f" ({', '.join(apart)})" if apart else ""
        groups.setdefault((scenario, label), []).append(run)
    return groups


def task(run: Mapping[str, Any]) -> dict[str, str]:
    """Return what decides which score a run can reach: quantity -> how it is said."""
    kwargs = {f"env_kwargs.{k}": f"{k}={_short(v)}" for k, v in run["env_kwargs"].items()}
    steps, episodes = f"{run['total_timesteps']:,} steps", f"{run['episodes']} episodes"
    return {"env": run["env"], **kwargs, "steps": steps, "episodes": episodes}


def _setup(run: Mapping[str, Any]) -> dict[str, str]:
    """All that runs of one label may differ in but the seed."""
    return task(run) | {
        "copies": f"{run['num_envs']} copies",
        "agent": f"agent {run['agent']}",
        "settings": f"settings {run['config_hash'][:6]}",
        "device": f"on {run['device']}",
        "threads": f"{run['threads']} threads",
    }


def differences(one: Mapping[str, str], others: Iterable[Mapping[str, str]]) -> list[str]:
    """Return what ``one`` says where any of ``others`` says something else.

    Example:
        >>> differences({"steps": "10 steps"}, [{"steps": "10 steps", "env_kwargs.size": "size=5"}])
        ['size by default']
    """
    others = list(others)
    names = dict.fromkeys(name for each in (one, *others) for name in each)
    return [
        one.get(name, f"{name.removeprefix('env_kwargs.')} by default")
        for name in names
        if any(each.get(name) != one.get(name) for each in others)
    ]


def _short(value: Any) -> str:
    """A value as text, or the beginning of its hash where it is long."""
    text = canonical(value)
    return text if len(text) <= LONGEST else hashlib.sha256(text.encode()).hexdigest()[:6]


def _cell(store: ResultStore, key: tuple[str, str], rows: list[dict[str, Any]]) -> Cell:
    episodes = [store.episodes(row["id"]) for row in rows]
    return Cell(
        *key,
        rows=tuple(rows),
        scores=np.array([mean(found["returns"]) for found in episodes]),
        costs=np.concatenate([found["costs"] for found in episodes]),
        curves=tuple(store.curve(row["id"], RETURN) for row in rows),
        matrices=tuple(_matrix(store, r) for r in rows if is_staged(r["env"], r["env_kwargs"])),
    )


def _matrix(store: ResultStore, row: dict[str, Any]) -> np.ndarray:
    names = task_names(row["env_kwargs"])
    logged = {f"{PREFIX}{name}": store.curve(row["id"], f"{PREFIX}{name}") for name in names}
    return matrix_from(logged, names)


def scale(references: Mapping[str, float]) -> tuple[float, float, str] | None:
    """Return the scores that count as 0 and as 1, and the name of the latter; None if unknown."""
    high = next((name for name in HIGH if name in references), None)
    if high is None or "random" not in references or references[high] == references["random"]:
        return None
    return references["random"], references[high], high


def table(cells: Sequence[Cell], label: str, scenarios: Sequence[str]) -> np.ndarray | None:
    """Return normalised scores (runs, tasks) of an agent; None if it lacks a scenario.

    The runs are the first ones of each scenario, as many as the scenario with the fewest has.
    """
    found = {cell.scenario: cell for cell in cells if cell.label == label}
    if any(name not in found for name in scenarios) or not scenarios:
        return None
    runs = min(found[name].runs for name in scenarios)
    columns = []
    for name in scenarios:
        ends = scale(found[name].references)
        if ends is None:
            return None
        columns.append(normalised(found[name].scores[:runs], ends[0], ends[1]))
    return np.stack(columns, axis=1)


def scaled_scenarios(cells: Sequence[Cell]) -> list[str]:
    """Return the scenarios whose reference scores span a scale."""
    return sorted({cell.scenario for cell in cells if scale(cell.references) is not None})
