"""One run of a benchmark in a process of its own.

    python -m daedalus.evaluation.worker STORE RUN

What to do is read from the store, and what comes of it is written there. A run that was stopped
goes on from its newest checkpoint, to the same result.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daedalus.accelerators.sequence import at_stage, is_staged
from daedalus.evaluation.plan import POINTS
from daedalus.evaluation.provenance import commit, hardware, versions
from daedalus.evaluation.store import SECONDS, Provenance, ResultStore
from daedalus.scenarios import SEQUENCE

PATIENCE = 30.0
"""Seconds to wait for a run directory that another process still holds."""
PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def main(args: list[str]) -> int:
    """Carry out a run; return 0, 1 after a failure, or 130 and 143 after a signal."""
    from daedalus.accelerators.signals import Stopped

    path, run = args
    _end_with_the_parent()
    with ResultStore(path) as store:
        try:
            carry_out(store, run)
        except Stopped as stop:
            return 128 + stop.signum
        except Exception as error:
            import traceback

            traceback.print_exc()
            store.fail(run, " ".join(f"{type(error).__name__}: {error}".split()))
            return 1
    return 0


def _end_with_the_parent() -> None:
    """Be stopped, and save, when the process that started this one is gone (Linux)."""
    expected = os.environ.get("DAEDALUS_PARENT")
    if expected is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if os.getppid() != int(expected):  # it was gone before
        raise SystemExit(128 + signal.SIGTERM)


def this_code(command: str) -> Provenance:
    """Return the provenance of runs of this process."""
    return Provenance(command, commit(), versions(), hardware())


def carry_out(store: ResultStore, run: str) -> None:
    """Train as the store says, evaluate on held-out seeds, and seal the run."""
    import torch

    from daedalus.agents.recorder import Saving

    store.take_up(run)
    row = store.run(run)
    torch.set_num_threads(row["threads"])
    agent, directory = _open(store, row)
    with directory, _waiting_again(store, run):
        at, inexact = agent.num_timesteps, _not_exact(agent, directory)
        store.begin(run, this_code(row["command"]), at, inexact)
        store.rewind(run, agent.num_timesteps)
        agent.logger.sinks.append(_into(store, run))
        interval = max(1, row["total_timesteps"] // POINTS)
        options = {"run": directory, "log_interval": interval, "saving": Saving(keep_last=1)}
        final = _trained(store, row, agent, options)
    store.finish(run, final, _hashes(store.directory(row)))


@contextmanager
def _waiting_again(store: ResultStore, run: str) -> Iterator[None]:
    """Say so, while the run directory is still held, if the run is stopped."""
    from daedalus.accelerators.signals import Stopped

    try:
        yield
    except Stopped:
        store.wait(run)
        raise


def _trained(store: ResultStore, row: Mapping[str, Any], agent: Any, options: Any) -> Any:
    """Train and return the final evaluation, on all tasks where there are several."""
    from daedalus.agents.training import train
    from daedalus.evaluation.evaluate import evaluate
    from daedalus.evaluation.sequence import evaluate_tasks, joined, train_sequence

    env, kwargs, episodes = row["env"], row["env_kwargs"], row["episodes"]

    def log(step: int, values: Mapping[str, float]) -> None:
        store.log(row["id"], step, values)

    final = None
    try:
        total = row["total_timesteps"]
        if is_staged(env, kwargs):
            final = train_sequence(agent, kwargs, total, log, episodes=episodes, **options)
        else:
            train(agent, total, **options)
    finally:
        agent.batch.close()
    if final is not None:
        return joined(final)
    if env == SEQUENCE:
        return joined(evaluate_tasks(agent, kwargs, episodes))
    return evaluate(agent, env, episodes, env_kwargs=kwargs)


def _into(store: ResultStore, run: str) -> Callable[[int, Mapping[str, float]], None]:
    """A sink of rows that adds the seconds spent, those of earlier attempts included."""
    before = store.progress().get(run, (0, 0.0))[1]
    began = time.perf_counter() - before

    def write(step: int, values: Mapping[str, float]) -> None:
        store.log(run, step, {**values, SECONDS: time.perf_counter() - began})

    return write


def _open(store: ResultStore, row: Mapping[str, Any]) -> tuple[Any, Any]:
    """The agent, new or from the newest checkpoint, and its run directory.

    Raises:
        CheckpointError: There are checkpoints and none can be used; they are left as they are.
    """
    from daedalus.accelerators.checkpoint import CheckpointError, list_checkpoints
    from daedalus.accelerators.files import remove
    from daedalus.accelerators.run_directory import CONFIG, RunDirectory

    path = store.directory(row)
    if (path / CONFIG).is_file() or list_checkpoints(path):
        directory = _opened(path)
        try:
            if list_checkpoints(path):
                return _restored(row, directory.load()), directory
        except CheckpointError as error:
            directory.close()
            raise CheckpointError(f"{error}; delete {path} to begin this run anew") from error
        directory.close()  # it was stopped before the first one
    agent = _new(row)
    if path.exists():
        remove(path)
    return agent, RunDirectory.create(path, _config(row))


def _not_exact(agent: Any, directory: Any) -> str:
    """Why a resumed run does not go on bit for bit, "" if it does."""
    from daedalus.agents.recorder import differences, machine

    if directory.resumed is None:
        return ""
    reasons = differences(directory.resumed.state.get("machine", {}), machine(agent))
    if not getattr(agent.batch, "exact_resume", True):
        reasons = [*reasons, "environments that cannot be restored began new episodes"]
    return "; ".join(reasons)


def _opened(path: Path) -> Any:
    """The run directory, once a process of an earlier benchmark that is still saving lets go."""
    from daedalus.accelerators.lock import RunLockedError
    from daedalus.accelerators.run_directory import RunDirectory

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return RunDirectory.open(path)
        except RunLockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _new(row: Mapping[str, Any]) -> Any:
    from daedalus.agents import make_agent

    agent_class = make_agent(row["agent"])
    return agent_class(
        row["env"],
        agent_class.Config(**_typed(agent_class, row["config"])),
        num_envs=row["num_envs"],
        seed=row["seed"],
        device=row["device"],
        env_kwargs=at_stage(row["env"], row["env_kwargs"], 0),
    )


def _typed(agent_class: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from JSON, which has lists only, with tuples where the Config has them."""
    default = agent_class.Config()
    return {
        key: tuple(value)
        if isinstance(value, list) and isinstance(getattr(default, key), tuple)
        else value
        for key, value in config.items()
    }


def _restored(row: Mapping[str, Any], checkpoint: Any) -> Any:
    from daedalus.agents import make_agent

    stage = len(checkpoint.state.get("finished_tasks", []))
    return make_agent(row["agent"]).from_state(
        checkpoint.tensors,
        checkpoint.state,
        env=row["env"],
        num_envs=row["num_envs"],
        device=row["device"],
        env_kwargs=at_stage(row["env"], row["env_kwargs"], stage),
    )


def _config(row: Mapping[str, Any]) -> dict[str, Any]:
    """What ``config.yaml`` holds, so that every other command takes the run directory."""
    names = (
        "agent", "env", "env_kwargs", "scenario", "num_envs", "seed", "device", "threads",
        "total_timesteps", "config",
    )  # fmt: skip
    return {name: row[name] for name in names}


def _hashes(path: Path) -> dict[str, str]:
    """SHA-256 of what must not change any more: settings, logged rows, the manifests."""
    from daedalus.evaluation.store_tools import file_hash

    files = [path / "config.yaml", *path.glob("checkpoints/*/manifest.json")]
    files += [path / "metrics" / "metrics.csv"]
    return {str(f.relative_to(path)): file_hash(f) for f in files if f.is_file()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
