"""How much slower training gets while viewers look at it live.

    python -m benchmarks.watching [--viewers 20] [--turns 12] [--json results/watching.json]

A process trains UNREAL in the demo's mazes with one thread and writes a checkpoint every
`--saving` seconds; `daedalus watch RUN --page` follows it, and viewers (WebSocket clients, in one
process) take every moment they are sent. Turns with and without viewers alternate, so that other
work on the machine meets both alike; the page stays open between, when nobody looks, as it would.
A turn's cost is the time of its updates. The slowdown is the median over the pairs of turns, with a
bootstrap interval. CPU seconds are counted beside it: those of the training process for each update
(cost that other processes cannot blur), and those of watcher and viewers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from daedalus import scenarios
from daedalus.evaluation.statistics import bootstrap_interval, median

UPDATES = 4
"""Updates from one look at the clock to the next."""


class Turn(NamedTuple):
    """Costs of a turn, for each update."""

    seconds: float
    cpu: float  # of the training process, in s


def train(pipe: Connection, path: str, saving: float) -> None:
    """Train in a process of its own: answer a number of seconds with the costs of an update."""
    import torch

    from daedalus.accelerators.run_directory import RunDirectory
    from daedalus.agents import make_agent
    from daedalus.agents.unreal import UNREAL

    torch.set_num_threads(1)
    task = scenarios.load("demo")
    settings = make_agent("unreal").Config(**task.agents["unreal"])
    agent = UNREAL(task.env, settings, num_envs=task.num_envs, env_kwargs=task.env_kwargs)
    config = {"agent": "unreal", "env": task.env, "env_kwargs": task.env_kwargs, "seed": 0}
    config |= {"num_envs": task.num_envs, "total_timesteps": task.total_timesteps}
    steps = UPDATES * agent.rollout_length * agent.num_envs
    with RunDirectory.create(path, config) as run:
        while agent.num_timesteps < 9_000:  # until the replay's losses have begun
            agent.learn(steps, reset_num_timesteps=False, log_interval=10**9)
        saved = _save(run, agent)
        pipe.send(None)
        while (budget := pipe.recv()) > 0:
            begin, cpu, count = time.perf_counter(), time.process_time(), 0
            while time.perf_counter() < begin + budget:
                agent.learn(steps, reset_num_timesteps=False, log_interval=10**9)
                count += UPDATES
                if time.perf_counter() > saved + saving:
                    saved = _save(run, agent)
            spent = time.perf_counter() - begin
            pipe.send(Turn(spent / count, (time.process_time() - cpu) / count))


def _save(run: Any, agent: Any) -> float:
    run.save(agent.num_timesteps, *agent.get_state())
    return time.perf_counter()


def look(pipe: Connection, address: str, viewers: int) -> None:
    """Look with many viewers, in a process of its own, until told to stop; answer the moments."""
    import asyncio

    from websockets.asyncio.client import connect

    os.nice(15)  # they would be on other machines
    host = address.split("/")[2]

    async def one(counts: list[int], i: int) -> None:
        where = f"ws://{host}/live"
        async with connect(where, origin=f"http://{host}", max_size=None) as socket:  # type: ignore[arg-type]
            async for _ in socket:
                counts[i] += 1

    async def everyone() -> list[int]:
        counts = [0] * viewers
        tasks = [asyncio.create_task(one(counts, i)) for i in range(viewers)]
        while not pipe.poll():
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return counts

    while pipe.recv():
        begin, cpu = time.perf_counter(), time.process_time()
        counts = asyncio.run(everyone())
        pipe.recv()
        spent = time.perf_counter() - begin
        pipe.send((min(counts) / spent, max(counts) / spent, (time.process_time() - cpu) / spent))


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, in s."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def helper(function: Any, *arguments: Any) -> Any:
    """Start a process with a pipe; it ends when it is sent 0."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=function, args=(theirs, *arguments))
    process.start()
    try:
        yield pipe
    finally:
        with contextlib.suppress(OSError):
            pipe.send(0)
        process.join(60)


@contextlib.contextmanager
def page(run: str) -> Any:
    """Serve the page as a user would; yield its process and address."""
    command = [sys.executable, "-m", "daedalus", "watch", run, "--page", "--port", "0"]
    served = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None
        words = served.stdout.readline().split()
        yield served.pid, next(word for word in words if word.startswith("http"))
    finally:
        served.terminate()
        served.wait(30)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Alternate turns and return the figures."""
    run = str(Path(tempfile.mkdtemp()) / "run")
    pairs, watched, moments = [], [], []
    with helper(train, run, options.saving) as trainer:
        trainer.recv()
        with page(run) as (pid, address), helper(look, address, options.viewers) as viewers:
            for turn in range(options.turns + 1):
                both = {}
                for looked in (False, True) if turn % 2 else (True, False):
                    before, begin = cpu_seconds(pid), time.perf_counter()
                    if looked:
                        viewers.send(1)
                        time.sleep(1.0)  # all are there
                    trainer.send(options.seconds)
                    both[looked] = trainer.recv()
                    if looked:
                        viewers.send(0)
                        share = (cpu_seconds(pid) - before) / (time.perf_counter() - begin)
                        rates = viewers.recv()
                if turn:  # the first one warms up
                    pairs.append(both)
                    watched.append(share)
                    moments.append(rates)
                    print(
                        f"{turn:3d}  {both[True].seconds / both[False].seconds - 1:+.1%}",
                        flush=True,
                    )
    return report(pairs, watched, moments, options)


def report(pairs: Any, watched: Any, moments: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Turn the costs of turns into what is stored."""
    found: dict[str, Any] = {}
    for name in Turn._fields:
        ratios = np.array([getattr(p[True], name) / getattr(p[False], name) - 1 for p in pairs])
        interval = bootstrap_interval(ratios, np.random.default_rng(0), median)
        key = {"seconds": "slowdown", "cpu": "more CPU time of training"}[name]
        found[key] = round(float(np.median(ratios)), 4)
        found[f"{key}, 95 % interval"] = [round(float(x), 4) for x in interval]
        found[f"{key}, turns"] = [round(float(x), 4) for x in ratios]
    return {
        **found,
        "cores of the page": round(statistics.median(watched), 3),
        "cores of the viewers": round(statistics.median(m[2] for m in moments), 3),
        "moments a second, slowest viewer": round(statistics.median(m[0] for m in moments), 1),
        "moments a second, fastest viewer": round(statistics.median(m[1] for m in moments), 1),
        "load of the machine": [round(x, 1) for x in os.getloadavg()],
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "options": vars(options),
        "command": "python -m benchmarks.watching " + " ".join(sys.argv[1:]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--turns", type=int, default=12, help="pairs of turns")
    parser.add_argument("--seconds", type=float, default=6.0, help="of a turn")
    parser.add_argument("--saving", type=float, default=20.0, help="seconds between checkpoints")
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    found = measure(options)
    text = json.dumps(found, indent=1)
    print(text)
    if options.json:
        Path(options.json).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
