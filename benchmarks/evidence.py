"""What the benchmarks share: runs that are kept as files, once each, and figures with intervals."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from daedalus import scenarios
from daedalus.accelerators.files import write_file
from daedalus.evaluation.benchmark import State, benchmark
from daedalus.evaluation.plan import Group, Plan, RunSpec
from daedalus.evaluation.statistics import bootstrap_interval, iqm
from daedalus.evaluation.store import ResultStore

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
DOCS = ROOT / "docs"
STORES = ROOT / "runs" / "learning"
EPISODES = 100
"""Held-out episodes of the final evaluation."""


def run_missing(
    name: str,
    group: Group,
    seeds: int,
    workers: int,
    path_of: Callable[[str, int], Path],
    kept: Callable[[ResultStore, dict[str, Any]], dict[str, Any]],
    env_kwargs: Mapping[str, Any] | None = None,
) -> None:
    """Run what has no file yet, all agents of a seed before the next seed.

    Args:
        name: of the result store, under ``runs/learning``.
        group: agents, scenarios and steps.
        seeds: runs of each agent.
        workers: runs at a time.
        path_of: the file of a run, by its label and seed.
        kept: what is written there of a finished run, by the store and the run's row.
        env_kwargs: arguments of the environment beside the scenario's.

    Raises:
        SystemExit: a file is of another number of copies or steps than the group's.
    """
    specs = [
        dataclasses.replace(spec, env_kwargs={**spec.env_kwargs, **(env_kwargs or {})})
        for spec in Plan((group,), seeds=seeds, episodes=EPISODES).specs()
    ]
    missing = []
    for spec in specs:
        path = path_of(spec.label, spec.seed)
        if path.exists():
            check_kept(path, spec)
        else:
            missing.append(spec)
    print(f"{name}: {len(missing)} runs to do", flush=True)

    wanted = {spec.id for spec in missing}  # the store may hold others, of other settings

    def keep() -> None:
        with ResultStore(STORES / name) as store:
            for run in store.runs(state="done"):
                path = path_of(run["label"], run["seed"])
                if run["id"] in wanted and not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    write_file(path, (json.dumps(kept(store, run)) + "\n").encode())

    def told(state: State) -> None:
        if state.event:
            print(f"[{state.done}/{state.total}] {state.event}", flush=True)
            keep()

    if missing:
        benchmark(missing, STORES / name, workers=workers, watch=told)
        keep()


def check_kept(path: Path, spec: RunSpec) -> None:
    """See that a kept run has the copies and, but for its last rollout, the steps of ``spec``."""
    run = json.loads(path.read_text())
    steps, wanted = run["steps"][-1], spec.total_timesteps
    if run["num_envs"] != spec.num_envs or not 0.9 <= steps / wanted <= 1.1:
        raise SystemExit(
            f"{path.relative_to(ROOT)} is of {run['num_envs']} copies and {steps:,} steps, not of "
            f"{spec.num_envs} and {wanted:,}: delete it, then it is run anew"
        )


def provenance(run: dict[str, Any]) -> dict[str, Any]:
    """Return where the figures of a store's run come from."""
    return {
        "command": run["command"],
        "commit": run["git_commit"],
        "date": run["started"][:10],
        "versions": run["versions"],
        "hardware": f"{run['hardware']['processor']}, {run['hardware']['cores']} cores, "
        f"{run['threads']} thread a run",
    }


def commands(command: str, lines: Iterable[str], seeds: Mapping[str, int]) -> list[str]:
    """Return what makes runs of a benchmark that takes ``--seeds``, 5 if not told, and ``--only``.

    Args:
        command: Without these options.
        lines: Of the figure, those without runs too.
        seeds: Runs of each line that has some.
    """
    groups = {n: [v for v in seeds if seeds[v] == n] for n in sorted(set(seeds.values()))}
    return [
        command
        + (f" --seeds {n}" if n != 5 else "")
        + (f" --only {shlex.join(group)}" if set(group) != set(lines) else "")
        for n, group in groups.items()
    ]


def linked(scenario: str) -> str:
    """Return the name of a scenario with the way to its file from a page of docs/."""
    path = scenarios.find(scenario).relative_to(ROOT)
    return f"[`{scenario}`](../{path.as_posix()})"


def packages(versions: Mapping[str, str]) -> str:
    """Return versions in a line."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def short(commit: str) -> str:
    """Return the first ten digits of a commit; +changes where not all was committed."""
    return commit[:10] + commit[40:]


def commits(sources: list[dict[str, Any]]) -> list[str]:
    """Return the commits of runs, short, by date."""
    dated = sorted({(source["date"], source["commit"]) for source in sources})
    return list(dict.fromkeys(short(commit) for _, commit in dated))


def rounded(values: Any) -> list[float]:
    """Return numbers to four digits after the point."""
    return [round(float(value), 4) for value in values]


def with_interval(values: Any) -> dict[str, float]:
    """Return the interquartile mean of one value a run, and its 95 % bootstrap interval."""
    scores = np.array(values, dtype=np.float64)
    interval = bootstrap_interval(scores, np.random.default_rng(0))
    return {
        "iqm": round(iqm(scores), 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
    }


def show(value: dict[str, float] | None, form: str) -> str:
    """Return what `with_interval` made as text."""
    if value is None:
        return "-"
    if np.isnan(value["low"]):  # one run has no interval
        return f"{value['iqm']:{form}}"
    return f"{value['iqm']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"
