"""Result stores for tests and for ``benchmarks/reliability.py``, filled without any training."""

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.evaluation import Evaluation
from daedalus.evaluation.plan import RunSpec
from daedalus.evaluation.store import SECONDS, Provenance, ResultStore

CATCH = "daedalus/Catch-v0"
HERE = Provenance("daedalus benchmark", "0" * 40, {"python": "3"}, {"processor": "a"})


def spec(label: str = "a", seed: int = 0, scenario: str = "s", **changes: Any) -> RunSpec:
    """A run that is never carried out."""
    plain = RunSpec(label, "ppo", {"gamma": 0.9}, scenario, CATCH, {}, 2, 100, seed)
    return replace(plain, **changes)


def finish(store: ResultStore, run: RunSpec, score: float, spread: float = 0.0) -> None:
    """Store a run as if it had been carried out."""
    store.add([run], HERE)
    store.begin(run.id, HERE)
    for step in (50, 100):
        store.log(run.id, step, {"rollout/ep_rew_mean": score * step / 100, SECONDS: step / 10})
    returns = score + spread * np.array([-1.0, 0.0, 1.0])
    store.finish(run.id, Evaluation("a", np.arange(3), returns, np.full(3, 7), np.ones(3)), {})


def _write_for_ever(path: Path, number: int, start: int, said: Connection) -> None:
    """Log rows and say which ones the store has acknowledged."""
    with ResultStore(path) as store:
        for step in range(start, start + 100_000):
            store.log(spec(seed=number).id, step, {"x": step, "y": -step})
            said.send(step)


def kill_writers(path: Path, rounds: int, rows: int = 0) -> dict[str, int]:
    """Kill two writers at once, again and again, and count what the file has lost.

    Args:
        path: the store; made here.
        rounds: how often at most.
        rows: stop when this many were acknowledged; 0 for never.

    Returns:
        The numbers of ``rounds``, of ``acknowledged`` rows of two values each, of those ``lost``,
        of rows ``torn`` (one value without the other, or a wrong one) and of ``damaged`` files.
    """
    context, rng = multiprocessing.get_context("fork"), np.random.default_rng(0)
    last, acknowledged = [0, 0], [0, 0]
    counts = {"rounds": 0, "acknowledged": 0, "lost": 0, "torn": 0, "damaged": 0}
    with ResultStore(path, create=True) as store:
        store.add([spec(seed=0), spec(seed=1)], HERE)
    while counts["rounds"] < rounds and not 0 < rows <= counts["acknowledged"]:
        pipes = [context.Pipe(duplex=False) for _ in range(2)]
        writers = [
            context.Process(target=_write_for_ever, args=(path, i, last[i] + 1, pipes[i][1]))
            for i in range(2)
        ]
        for writer in writers:
            writer.start()
        assert all(pipe[0].poll(60) for pipe in pipes)  # both write, however busy the machine is
        time.sleep(float(rng.uniform(0.0, 0.1)))
        for i, writer in enumerate(writers):
            os.kill(int(writer.pid or 0), signal.SIGKILL)
            writer.join()
            while pipes[i][0].poll():
                acknowledged[i] = pipes[i][0].recv()
        counts["rounds"] += 1
        with ResultStore(path) as store:
            counts["damaged"] += store.integrity() != []
            for i in range(2):
                x, y = (store.curve(spec(seed=i).id, name) for name in "xy")
                steps = np.intersect1d(x[0], y[0])
                right = np.array_equal(x[0], y[0]) and np.array_equal(x[1], -y[1])
                counts["torn"] += not (right and np.array_equal(x[1], x[0]))
                wanted = np.arange(1, acknowledged[i] + 1)
                counts["lost"] += len(np.setdiff1d(wanted, steps))
                last[i] = int(steps.max(initial=0))
        counts["acknowledged"] = sum(acknowledged)
    return counts
