"""The benchmark runner: every missing run of a plan in a process of its own, several at a time.

>>> from daedalus.evaluation.plan import plan_from
>>> plan = plan_from(["ppo"], ["daedalus/Catch-v0"], seeds=2, total_timesteps=1_000)
>>> [(spec.label, spec.seed) for spec in plan.specs()]
[('ppo', 0), ('ppo', 1)]

``benchmark(plan, "runs/mine")`` carries it out. It may be killed at any moment; started again it
finishes what is missing, the interrupted runs from their newest checkpoints.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daedalus.accelerators.devices import device_fault
from daedalus.accelerators.lock import RunLock
from daedalus.evaluation.plan import Plan, PlanError, RunSpec, read_plan
from daedalus.evaluation.provenance import commit, hardware, versions
from daedalus.evaluation.store import Provenance, ResultStore, StoreError

POLL = 0.25
"""Seconds between two looks at the processes."""
PATIENCE = 30.0
"""Seconds that runs have to save and stop after Ctrl-C."""
WORKER = (
    "import sys; sys.path.append(''); from daedalus.evaluation.worker import main; "
    "sys.exit(main(sys.argv[1:]))"
)
"""Starts a run; what lies in the current folder is found after all libraries, as by `daedalus`."""
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass
class State:
    """Where a benchmark stands; handed to ``watch`` at every look.

    Attributes:
        total: Runs of the plan.
        done: Those that are finished, at the start and since.
        failed: Failures since the start, (run, error) each.
        active: Runs at work, with the share of each that is done.
        seconds_left: Estimate; not a number before there is anything to judge by.
        event: What has just happened, one line, or "".
    """

    total: int
    done: int = 0
    failed: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    active: list[tuple[dict[str, Any], float]] = field(default_factory=list)
    seconds_left: float = float("nan")
    event: str = ""


Watch = Callable[[State], None]


def benchmark(
    plan: Plan | str | Path | Sequence[RunSpec],
    store: str | Path,
    *,
    workers: int | None = None,
    watch: Watch | None = None,
) -> State:
    """Carry out what a plan wants and the store does not have yet.

    Args:
        plan: A YAML file, what `plan_from` makes of agents and scenarios, or runs one by one.
        store: Result store, made where there is none; run directories go beside it.
        workers: Runs at a time; by default one for each core that a run's threads fill.
        watch: Called several times a second, and with every event.

    Returns:
        How it ended; ``failed`` lists the runs that came to grief.

    Raises:
        PlanError: The plan names something unknown or a device that is not here, or has no runs.
        RunLockedError: Another benchmark works on this store.
        StoreError: The store cannot be written, such as on a full disk.
        KeyboardInterrupt: Ctrl-C; the runs at work have saved what they had.
    """
    plan = read_plan(plan) if isinstance(plan, str | Path) else plan
    specs = plan.specs() if isinstance(plan, Plan) else list(plan)
    if not specs:
        raise PlanError("the plan has no runs: it needs agents, scenarios and at least 1 seed")
    done = _done(store)
    for device in {spec.device for spec in specs if spec.id not in done}:
        if fault := device_fault(device, "'device: cpu'"):
            raise PlanError(f"the plan: {fault}")
    count = workers or max(1, _cores() // max(spec.threads for spec in specs))
    with ResultStore(store, create=True) as results, _only_one(results.path.parent):
        try:
            results.add(specs, Provenance(_command(), commit(), versions(), hardware()))
            return _Runner(results, specs, count, watch or (lambda state: None)).run()
        except sqlite3.OperationalError as error:
            raise StoreError(
                f"{results.path} cannot be written: {error}; once that is mended, the same command "
                "goes on from here"
            ) from error


def _done(store: str | Path) -> set[str]:
    """Return the runs that need no more than a look at the store, if there is one."""
    try:
        with ResultStore(store) as results:
            return {run["id"] for run in results.runs(state="done")}
    except StoreError:
        return set()


def _cores() -> int:
    """Cores that this process may use: ``taskset`` and containers leave it fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _command() -> str:
    """The command line of this process, as one would type it."""
    program = Path(sys.argv[0]).name
    typed = ["daedalus"] if program in ("daedalus", "__main__.py") else ["python", program]
    return shlex.join([*typed, *sys.argv[1:]])


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    lock = RunLock(folder)
    try:
        yield
    finally:
        lock.release()


class _Runner:
    """Starts processes, looks after them, says where things stand."""

    def __init__(
        self, store: ResultStore, specs: Sequence[RunSpec], workers: int, watch: Watch
    ) -> None:
        self.store, self.workers, self.watch = store, workers, watch
        order = {spec.id: i for i, spec in enumerate(specs)}
        self.runs = sorted(store.runs(id=list(order)), key=lambda run: order[run["id"]])
        self.waiting = [run for run in self.runs if run["state"] != "done"]
        self.active: dict[str, tuple[dict[str, Any], subprocess.Popen[bytes]]] = {}
        self.state = State(len(specs), len(specs) - len(self.waiting))
        self.began = time.monotonic()

    def run(self) -> State:
        """Work until nothing is left."""
        try:
            while self.waiting or self.active:
                while self.waiting and len(self.active) < self.workers:
                    self._start(self.waiting.pop(0))
                time.sleep(POLL)
                for run, process in list(self.active.values()):
                    if process.poll() is not None:
                        self._ended(run, process.returncode)
                self._report()
        finally:
            self._stop_all()
        return self.state

    def _start(self, run: dict[str, Any]) -> None:
        folder = self.store.path.parent / "output"
        folder.mkdir(exist_ok=True)
        threads = dict.fromkeys(ONE_THREAD, str(run["threads"]))
        with (folder / f"{run['directory']}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", WORKER, self.store.path, run["id"]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **threads, "DAEDALUS_PARENT": str(os.getpid())},
                start_new_session=True,  # Ctrl-C reaches it through this process alone
            )
        self.active[run["id"]] = run, process

    def _ended(self, run: dict[str, Any], code: int) -> None:
        """Note the end of a process; whatever it was, the others go on."""
        del self.active[run["id"]]
        found = self.store.run(run["id"])
        name = title(run)
        if found["state"] == "done":
            self.state.done += 1
            self._report(f"{name}: {found['steps_per_second']:,.0f} steps/s")
            return
        if found["state"] != "failed":  # it had no chance to say so itself
            how = f"killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            self.store.fail(run["id"], how)
            found = self.store.run(run["id"])
        self.state.failed.append((found, found["error"]))
        log = self.store.path.parent / "output" / f"{run['directory']}.log"
        self._report(f"{name} FAILED: {found['error']} (see {log})")

    def _report(self, event: str = "") -> None:
        progress = self.store.progress()
        shares = {
            run["id"]: min(1.0, progress.get(run["id"], (0, 0.0))[0] / run["total_timesteps"])
            for run in self.runs
        }
        self.state.active = [(run, shares[run["id"]]) for run, _ in self.active.values()]
        self.state.seconds_left = self._seconds_left(progress, shares)
        self.state.event = event
        self.watch(self.state)

    def _seconds_left(
        self, progress: dict[str, tuple[int, float]], shares: dict[str, float]
    ) -> float:
        """Seconds for the steps that are left, at the pace of the same agent and scenario."""
        paces: dict[tuple[str, str], list[float]] = {}
        for run in self.runs:
            step, seconds = progress.get(run["id"], (0, 0.0))
            if step:
                paces.setdefault((run["label"], run["scenario"]), []).append(seconds / step)
        if not paces:
            return float("nan")
        known = {key: sum(values) / len(values) for key, values in paces.items()}
        typical = sum(known.values()) / len(known)
        left = [
            (1 - shares[run["id"]])
            * run["total_timesteps"]
            * known.get((run["label"], run["scenario"]), typical)
            for run in [*self.waiting, *(run for run, _ in self.active.values())]
        ]
        return float(max(sum(left) / self.workers, max(left, default=0.0)))

    def _stop_all(self) -> None:
        """Ask the runs at work to save and stop; those that do not are killed."""
        for _, process in self.active.values():
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + PATIENCE
        for _, process in self.active.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def title(run: dict[str, Any]) -> str:
    """Return a run's name for people."""
    return f"{run['label']} on {run['scenario']}, seed {run['seed']}"
