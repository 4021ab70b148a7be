"""``daedalus benchmark``, ``results`` and ``report``."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from daedalus.options import refuse
from daedalus.output import check_output
from daedalus.parsing import MaybePositive, MaybeText, UsageError, nearest, positional

FOLDER = Path("runs") / "benchmark"
"""Where the results go unless a plan or --store says otherwise."""
STATES = ("waiting", "running", "failed", "done")


@dataclass
class Benchmark:
    """Run agents x scenarios x seeds, several at a time, each in a process of its own.

    What is to be run stands in a YAML file (PLAN) or in the options. Kill it at any point: the same
    command goes on and runs only what is missing. A failing run is reported and the rest goes on.
    Results go to one SQLite file, with a run directory for each run beside it; `daedalus report`
    makes a page of them. With --compare, what got better or worse than in an older store is
    printed, and the exit code is 3 if anything got worse beyond noise (1 if a run failed); without
    a plan nothing is run and --store is compared as it is.

    Examples:
      daedalus benchmark --agents ppo a2c --scenarios CartPole-v1 --seeds 5 --steps 5e4
      daedalus benchmark benchmarks/baseline.yaml
      daedalus benchmark benchmarks/baseline.yaml --compare results/baseline.sqlite
    """

    plan: Annotated[tyro.conf.Positional[str], positional("PLAN")] = ""
    """YAML file; docs/benchmark.md explains it (auto: none, the options say it)."""
    agents: tuple[str, ...] = ()
    """Agents to run, by name or module:Class."""
    scenarios: tuple[str, ...] = ()
    """Scenarios, scenario files or environment ids."""
    seeds: MaybePositive = None
    """Runs of each agent on each scenario (auto: the plan's, or 5)."""
    steps: MaybePositive = None
    """Environment steps of each run, without a plan (auto: the scenario's)."""
    num_envs: MaybePositive = None
    """Copies of the environment stepped together, without a plan (auto: the scenario's)."""
    episodes: MaybePositive = None
    """Held-out episodes of each final evaluation (auto: the plan's, or 100)."""
    workers: MaybePositive = None
    """Runs at a time (auto: one for each core)."""
    store: MaybeText = None
    """Folder or SQLite file of the results (auto: runs/benchmark, or runs/<name of the plan>)."""
    compare: MaybeText = None
    """Older result store to compare with (auto: none)."""

    def run(self) -> int:
        """Run what is missing, list the scores, compare."""
        from daedalus.evaluation.store import ResultStore

        if self.compare is not None:
            ResultStore(self.compare).close()  # what is no store is said before the work
        code = 0
        if self.plan or self.agents or self.scenarios:
            code = self._benchmark()
        elif self.compare is None:
            raise UsageError(
                "say what to run: a plan, or --agents and --scenarios (see daedalus benchmark "
                "--help)"
            )
        with ResultStore(self._store()) as store:
            print(_scores(store, store.runs(state="done")))
            worse = self._compare(store) if self.compare is not None else 0
            return code or worse

    def _store(self) -> Path:
        if self.store:
            return Path(self.store)
        return Path("runs") / Path(self.plan).stem if self.plan else FOLDER

    def _plan(self) -> Any:
        import dataclasses

        from daedalus.evaluation.plan import plan_from, read_plan

        wanted = {"seeds": self.seeds, "episodes": self.episodes}
        given: dict[str, Any] = {key: n for key, n in wanted.items() if n is not None}
        if self.plan:
            if self.agents or self.scenarios or self.steps or self.num_envs:
                raise UsageError("a plan says what to run: leave --agents and the like out")
            return dataclasses.replace(read_plan(self.plan), **given)
        if not (self.agents and self.scenarios):
            raise UsageError("give both --agents and --scenarios, or a plan")
        return plan_from(
            self.agents,
            self.scenarios,
            total_timesteps=self.steps,
            num_envs=self.num_envs,
            **given,
        )

    def _benchmark(self) -> int:
        from daedalus.evaluation.benchmark import benchmark, title
        from daedalus.progress import BenchmarkProgress

        plan, store = self._plan(), self._store()
        for name in {name for group in plan.groups for name in group.scenarios}:
            _find(name)
        print(f"results go to {store}", flush=True)
        try:
            with BenchmarkProgress() as progress:
                state = benchmark(plan, store, workers=self.workers, watch=progress)
        except KeyboardInterrupt:
            print("stopped; the same command goes on from here", file=sys.stderr)
            raise
        for run, error in state.failed:
            print(f"FAILED: {title(run)}: {error}", file=sys.stderr)
        print(f"{state.done} of {state.total} runs are done; see: daedalus report {store}")
        return 1 if state.failed else 0

    def _compare(self, store: Any) -> int:
        from daedalus.evaluation.compare import WORSE, compare, comparison_table
        from daedalus.evaluation.store import ResultStore

        with ResultStore(str(self.compare)) as old:
            changes = compare(old, store)
        print(f"\ncompared with {self.compare}:\n{comparison_table(changes)}")
        return WORSE if any(change.verdict == "worse" for change in changes) else 0


def _find(name: str) -> None:
    """Import the module of ``module:Id``, or say which scenario is nearest."""
    from daedalus.lookup import find_task

    find_task(name)


def _scores(store: Any, runs: list[dict[str, Any]]) -> str:
    """A table of the scores of each agent on each scenario."""
    from daedalus.evaluation.report import columns
    from daedalus.evaluation.summary import summarise

    rows = [("scenario", "agent", "runs", "IQM of returns [95 %]", "steps/s")]
    for cell in summarise(store, runs):
        low, high = cell.interval
        interval = "" if cell.runs < 2 else f" [{low:.4g}, {high:.4g}]"
        rows.append(
            (
                cell.scenario,
                cell.label,
                str(cell.runs),
                f"{cell.iqm:.4g}{interval}",
                f"{cell.steps_per_second:,.0f}",
            )
        )
    return columns(rows) if len(rows) > 1 else "no finished runs"


@dataclass
class Results:
    """List, filter, export, merge and verify what `daedalus benchmark` has stored.

    Examples:
      daedalus results runs/benchmark
      daedalus results runs/benchmark --agent ppo --each
      daedalus results runs/benchmark --export curves.csv --table curves
      daedalus results all.sqlite --merge machine1.sqlite machine2.sqlite
      daedalus results runs/benchmark --verify
    """

    store: Annotated[tyro.conf.Positional[str], positional("STORE")]
    """Folder or SQLite file."""
    agent: tuple[str, ...] = ()
    """Only these agents, by the name in the tables."""
    scenario: tuple[str, ...] = ()
    """Only these scenarios."""
    seed: tuple[int, ...] = ()
    """Only these seeds."""
    state: MaybeText = None
    """Only runs in this state: waiting, running, failed or done."""
    each: bool = False
    """A line for each run rather than for each agent and scenario."""
    export: MaybeText = None
    """File to write, .csv or .parquet (auto: none)."""
    table: str = "runs"
    """What to export: runs, curves or episodes."""
    merge: tuple[str, ...] = ()
    """Stores whose finished runs are taken over; STORE is made if there is none."""
    verify: bool = False
    """Check the file, the hash of every run and those of the files in its directory."""

    def run(self) -> int:
        """Do what the options ask for, then list."""
        from daedalus.evaluation.store import ResultStore
        from daedalus.evaluation.store_tools import TABLES

        if self.table not in TABLES:
            raise UsageError(f"--table is one of {', '.join(TABLES)}, not {self.table!r}")
        if self.state not in (None, *STATES):
            raise UsageError(f"--state is one of {', '.join(STATES)}, not {self.state!r}")
        if self.verify:
            rest = ("agent", "scenario", "seed", "state", "each", "export", "table")
            refuse(self, rest, "--verify checks all runs and lists none")
        elif self.export:
            refuse(self, ("each",), "with --export no list is printed")
        else:
            refuse(self, ("table",), "it says what --export FILE writes")
        with ResultStore(self.store, create=bool(self.merge)) as store:
            for other in self.merge:
                self._merge(store, other)
            if self.verify:
                return _verify(store)
            runs = store.runs(
                label=self.agent or None,
                scenario=self.scenario or None,
                seed=self.seed or None,
                state=self.state,
            )
            self._check_filters(store, runs)
            return self._show(store, runs)

    def _merge(self, store: Any, path: str) -> None:
        from daedalus.evaluation.store import ResultStore
        from daedalus.evaluation.store_tools import merge

        with ResultStore(path) as other:
            merged = merge(store, other)
        kept = f", {merged.differing} differ and stay as they are here" if merged.differing else ""
        print(f"{path}: {merged.taken} runs taken over, {merged.known} known already{kept}")

    def _check_filters(self, store: Any, runs: list[dict[str, Any]]) -> None:
        """Say which filter finds nothing."""
        for option, column in (("agent", "label"), ("scenario", "scenario"), ("seed", "seed")):
            known = list(map(str, sorted({run[column] for run in store.runs()})))
            for name in map(str, getattr(self, option)):
                if name not in known:
                    hint = nearest(name, known) if option != "seed" else ""
                    hint = hint or f"; there are: {', '.join(known)}"
                    raise UsageError(f"{store.path} has no {option} {name!r}{hint}")
        if not runs and (self.agent or self.scenario or self.seed or self.state):
            print(f"{store.path} has no such runs", file=sys.stderr)

    def _show(self, store: Any, runs: list[dict[str, Any]]) -> int:
        from daedalus.evaluation.store_tools import export

        if self.export:
            count = export(store, Path(self.export), self.table, runs)
            print(f"{self.export}: {count:,} rows")
        elif self.each or self.state:
            print(_each(store, runs))
        else:
            print(_scores(store, [run for run in runs if run["state"] == "done"]))
            _print_unfinished(runs)
        return 0


def _verify(store: Any) -> int:
    from daedalus.evaluation.store_tools import verify

    wrong = verify(store)
    for line in wrong:
        print(line, file=sys.stderr)
    count = len(store.runs(state="done"))
    print(f"{count} finished runs: {len(wrong)} faults" if wrong else f"{count} finished runs: ok")
    return 1 if wrong else 0


def _print_unfinished(runs: list[dict[str, Any]]) -> None:
    left = [run for run in runs if run["state"] != "done"]
    if left:
        states = sorted({run["state"] for run in left})
        counts = ", ".join(f"{sum(r['state'] == s for r in left)} {s}" for s in states)
        print(f"not done: {counts} (--state {states[0]} lists them)")


def _each(store: Any, runs: list[dict[str, Any]]) -> str:
    from daedalus.evaluation.report import columns
    from daedalus.evaluation.store_tools import run_rows

    titles = "id scenario agent seed state return seconds commit error resumed"
    rows = [tuple(titles.split())]
    for row in run_rows(store, runs):
        rows.append((
            row["id"], row["scenario"], row["label"], str(row["seed"]), row["state"],
            f"{row['mean_return']:.4g}", f"{row['seconds']:.0f}",
            row["git_commit"][:10] + row["git_commit"][40:], row["error"], row["resumed"],
        ))  # fmt: skip
    return columns(rows)


@dataclass
class Report:
    """Make one HTML page of the results of a benchmark; it needs no network and fits a phone.

    Tables with intervals, learning curves, performance profiles, pairwise improvement, videos
    (where run directories are there), and the commands, versions and machines behind them.

    Examples:
      daedalus report runs/benchmark
      daedalus report results/baseline.sqlite --output docs/baseline.html --no-videos
    """

    store: Annotated[tyro.conf.Positional[str], positional("STORE")]
    """Folder or SQLite file."""
    output: MaybeText = None
    """HTML file to write (auto: report.html beside the store)."""
    title: str = "Benchmark"
    """Title of the page."""
    videos: bool = True
    """Film an episode of each agent on each scenario, where its checkpoint is there."""

    def run(self) -> int:
        """Write the page."""
        from daedalus.evaluation.page import write_page
        from daedalus.evaluation.store import ResultStore

        with ResultStore(self.store) as store:
            path = Path(self.output) if self.output else store.path.parent / "report.html"
            check_output(path)
            write_page(store, path, title=self.title, videos=self.videos)
        print(f"{path}: {os.path.getsize(path) / 1024:,.0f} kB")
        return 0
