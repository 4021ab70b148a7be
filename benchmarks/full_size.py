"""UNREAL at full size, 84 x 84 pixels: steps/s, where the time goes, and a learning curve.

    python benchmarks/full_size.py --minutes 8                the device that is there, a GPU if any
    python benchmarks/full_size.py --num-envs 256 --threads 4 --minutes 8
    python benchmarks/full_size.py --device cpu --minutes 1 --output runs/full-size.json

First some updates are timed part by part, waiting for the device after each part; then training
runs without these waits, and its speed and returns are kept. Writes the figures to ``--output``
and a curve beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from daedalus import scenarios
from daedalus.accelerators.files import write_file
from daedalus.agents import make_agent
from daedalus.agents.training import Progress, train
from daedalus.evaluation.plots import plot_learning_curve
from daedalus.evaluation.provenance import commit, hardware, versions

ROOT = Path(__file__).resolve().parents[1]
WARM_UP = 3
"""Updates before the timed ones; those of UNREAL's auxiliary tasks begin when the replay fills."""


class Clock:
    """Seconds by part; a part within another counts for itself alone."""

    def __init__(self, device: torch.device) -> None:
        """Count nothing yet."""
        self.seconds: dict[str, float] = {}
        self._inner = 0.0
        self._cuda = device.type == "cuda"

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``call`` with its time counted."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            outer, self._inner = self._inner, 0.0
            began = self._now()
            result = call(*args, **kwargs)
            whole = self._now() - began
            self.seconds[part] = self.seconds.get(part, 0.0) + whole - self._inner
            self._inner = outer + whole
            return result

        return wrapped

    @contextmanager
    def on(self, parts: dict[str, tuple[Any, str]]) -> Iterator[None]:
        """Time methods: part -> (object, name)."""
        patches = [
            mock.patch.object(thing, name, self.timed(part, getattr(thing, name)))
            for part, (thing, name) in parts.items()
        ]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()


def shares(agent: Any, updates: int) -> dict[str, float]:
    """Return the seconds of one update (rollout included) by part."""
    collector, clock = agent.collector, Clock(agent.device)

    def turn() -> None:
        rollout = collector.collect(agent.rollout_length, count)
        agent.update(rollout)
        agent.num_updates += 1

    def count() -> bool:
        agent.num_timesteps += agent.batch.num_envs
        agent.take_episodes()
        return True

    held = getattr(agent.config, "replay_start", 0) // agent.rollout_length + 1
    for _ in range(WARM_UP + held):
        turn()
    parts = {
        "environments": (agent.batch, "step"),
        "acting": (agent, "act"),
        "copies to the device": (collector, "_observe"),
        "copies at the end of a rollout": (collector, "_rollout"),
        "update": (agent, "update"),
    }
    with clock.on(parts):
        began = time.perf_counter()
        for _ in range(updates):
            turn()
        whole = time.perf_counter() - began
    each = {part: seconds / updates for part, seconds in clock.seconds.items()}
    return {**each, "rest": whole / updates - sum(each.values())}


def learning(agent: Any, total: int, minutes: float) -> tuple[float, list[tuple[int, float]]]:
    """Train for some minutes; return steps per second and the curve."""
    curve: list[tuple[int, float]] = []
    began, first = time.monotonic(), agent.num_timesteps

    def told(at: Progress) -> None:
        if at.mean_return == at.mean_return:
            curve.append((at.num_timesteps, round(at.mean_return, 3)))
        print(
            f"{at.num_timesteps:>12,} steps  {at.steps_per_second:,.0f} steps/s  "
            f"return {at.mean_return:.2f}",
            flush=True,
        )

    def going(*_: Any) -> bool:
        return time.monotonic() - began < 60 * minutes

    train(agent, total, callback=going, progress=told)
    return (agent.num_timesteps - first) / (time.monotonic() - began), curve


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenario", default="nav_maze_random_goal_01")
    parser.add_argument("--agent", default="unreal")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="float32", help="float32 or bfloat16")
    parser.add_argument("--num-envs", type=int, help="copies (default: the scenario's)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--updates", type=int, default=30, help="updates timed part by part")
    parser.add_argument("--minutes", type=float, default=8.0, help="of training after that")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "full_size.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    task, cls = scenarios.load(options.scenario), make_agent(options.agent)
    agent = cls(
        task.env,
        cls.Config(**task.agents.get(options.agent, {}), precision=options.precision),
        num_envs=options.num_envs or task.num_envs,
        seed=options.seed,
        device=options.device,
        env_kwargs={**task.env_kwargs},
    )
    agent.total_timesteps = task.total_timesteps
    parts = shares(agent, options.updates)
    whole, steps = sum(parts.values()), agent.rollout_length * agent.batch.num_envs
    for part, seconds in parts.items():
        print(f"{part:>32}  {1e3 * seconds:8.2f} ms  {seconds / whole:5.1%}")
    print(f"{'an update of ' + f'{steps:,} steps':>32}  {1e3 * whole:8.2f} ms", flush=True)
    speed, curve = learning(agent, task.total_timesteps, options.minutes)
    print(f"{speed:,.0f} steps/s")
    result = {
        "command": f"python benchmarks/full_size.py --scenario {options.scenario} "
        f"--agent {options.agent} --precision {options.precision} "
        f"--device {agent.device.type} --num-envs {agent.batch.num_envs} "
        f"--threads {options.threads} --minutes {options.minutes:g}",
        "milliseconds of an update": {k: round(1e3 * v, 3) for k, v in parts.items()},
        "steps of an update": steps,
        "steps per second": round(speed),
        "curve": curve,
        "commit": commit(),
        "hardware": hardware(),
        "versions": versions(),
    }
    if agent.device.type == "cuda":
        result["peak memory, MiB"] = torch.cuda.max_memory_allocated() >> 20
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_file(options.output, (json.dumps(result, indent=1) + "\n").encode())
    picture = options.output.with_suffix(".png")
    if curve:
        line = ([s for s, _ in curve], [r for _, r in curve])
        where = f"{options.scenario}, {result['hardware']['accelerator']}"
        plot_learning_curve(picture, {options.agent: line}, title=where)
    print(f"wrote {options.output}{f' and {picture}' if curve else ''}")


if __name__ == "__main__":
    main()
