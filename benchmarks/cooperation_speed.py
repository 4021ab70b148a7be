"""Joint steps a second of the cooperative worlds on one core, beside MPE2 and VMAS, in one run.

    python benchmarks/cooperation_speed.py --vmas PYTHON   # PYTHON of a venv with vmas and torch

A joint step is one step of all agents of one copy. Random actions, drawn before; resets included;
the measurements of ours and theirs alternate, pinned to one core. Seconds are of processor time,
and the best of the rounds is kept, since other work on the machine only slows; the load is stored.
Writes results/cooperation_speed.json and docs/cooperation-speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from daedalus.accelerators.files import write_file
from daedalus.envs.batch import Batch
from daedalus.envs.cooperation import WORLDS

ROOT = Path(__file__).parents[1]
COPIES = 1024
MPE2 = {
    "MPE2 simple_spread_v3": "daedalus/CooperativeNavigation-v0",
    "MPE2 simple_speaker_listener_v4": "daedalus/SpeakerListener-v0",
    "MPE2 simple_tag_v3": "daedalus/PredatorPrey-v0",
}
"""Peers, and which of ours each stands beside."""
VMAS = {"VMAS simple_spread, 1,024 copies": "daedalus/CooperativeNavigation-v0"}
PEERS = MPE2 | VMAS
VMAS_CODE = """
import sys, time, torch, vmas
torch.set_num_threads(1)
seconds, copies = float(sys.argv[1]), int(sys.argv[2])
env = vmas.make_env("simple_spread", num_envs=copies, device="cpu", continuous_actions=False,
                    max_steps=25, seed=0)
actions = [[torch.randint(0, 5, (copies, 1)) for _ in env.agents] for _ in range(25)]
def go():
    for row in actions:
        env.step(row)
    env.reset()
    return 25 * copies
go()
start, steps = time.process_time(), 0
while time.process_time() - start < seconds:
    steps += go()
print(steps / (time.process_time() - start))
"""


def timed(steps: Callable[[], int], seconds: float) -> float:
    """Return steps a second of processor time."""
    steps()
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        count += steps()
    return count / (time.process_time() - start)


def ours(env_id: str) -> Callable[[], int]:
    """Return a stepper of one of our worlds."""
    env: Any = gymnasium.make(env_id).unwrapped
    batch = Batch(env.family, COPIES)
    batch.reset(0)
    nvec = env.family.action_space.nvec
    actions = np.random.default_rng(0).integers(0, nvec, (16, COPIES, len(nvec)))

    def steps() -> int:
        for row in actions:
            batch.step(row)
        return 16 * COPIES

    return steps


def mpe2(name: str) -> Callable[[], int]:
    """Return a stepper of one copy of a world of MPE2, an episode at a time."""
    env = import_module(f"mpe2.{name.split()[1]}").parallel_env(max_cycles=25)
    env.reset(seed=0)
    actions = [{a: env.action_space(a).sample() for a in env.agents} for _ in range(25)]

    def steps() -> int:
        env.reset()
        for action in actions:
            env.step(action)
        return 25

    return steps


def vmas(seconds: float, python: str) -> float:
    """Return the joint steps a second of VMAS, in a process of its own."""
    command = [python, "-c", VMAS_CODE, str(seconds), str(COPIES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"VMAS did not run:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def measure(seconds: float, rounds: int, python: str | None) -> dict[str, list[float]]:
    """Return the measurements of all rounds, by name."""
    steppers = {env_id: ours(env_id) for env_id in WORLDS.values()}
    steppers |= {name: mpe2(name) for name in MPE2}
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, steps in steppers.items():
            found.setdefault(name, []).append(timed(steps, seconds))
        for name in VMAS if python else ():
            found.setdefault(name, []).append(vmas(seconds, str(python)))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    return found


def page(record: dict[str, Any]) -> str:
    """Return the page of a record."""
    speeds = record["joint_steps_per_second"]
    lines = [
        "# Speed of the cooperative worlds",
        "",
        f"Joint steps (all agents of one copy) a second on one core, {COPIES:,} copies, random"
        f" actions, resets included; best of {record['rounds']} rounds of {record['seconds']:g} s"
        f" of processor time in one run, load average {record['load_average'][0]:.1f} on"
        f" {os.cpu_count()} cores. MPE2 {record['mpe2']} steps one copy. Read ratios, not figures.",
        "",
        f"`{record['command']}` on {record['machine']}.",
        "",
        "| environment | million joint steps/s | beside |",
        "| --- | ---: | --- |",
    ]
    for name in WORLDS.values():
        peers = [p for p, mine in PEERS.items() if mine == name and p in speeds]
        beside = ", ".join(
            f"{speeds[name] / speeds[p]:,.0f} x {p} ({speeds[p]:,.0f})" for p in peers
        )
        lines.append(f"| `{name}` | {speeds[name] / 1e6:.2f} | {beside} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the record and its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vmas", metavar="PYTHON", help="interpreter that has vmas")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = measure(arguments.seconds, arguments.rounds, arguments.vmas)
    record = {
        "command": "python benchmarks/cooperation_speed.py --vmas PYTHON",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "mpe2": version("mpe2"),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "load_average": os.getloadavg(),
        "joint_steps_per_second": {name: max(v) for name, v in found.items()},
        "all": found,
    }
    text = json.dumps(record, indent=1) + "\n"
    write_file(ROOT / "results" / "cooperation_speed.json", text.encode())
    write_file(ROOT / "docs" / "cooperation-speed.md", page(record).encode())


if __name__ == "__main__":
    main()
