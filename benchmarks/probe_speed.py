"""Steps a second of the small worlds on one core, beside what others have, in one run.

    python benchmarks/probe_speed.py --peer gymnax=PYTHON --peer envpool=PYTHON \
        --peer pufferlib=PYTHON --peer safety_gymnasium=PYTHON

Each PYTHON belongs to a virtual environment with that package (Safety-Gymnasium wants Python 3.10).
Random actions, 1,024 copies, resets included. Ours and theirs take turns, pinned to one core;
seconds are of processor time, and the best of the rounds is kept, since other work on the machine
only slows. Writes results/probe_speed.json and docs/world-speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from daedalus.accelerators.files import write_file
from daedalus.envs import NATIVE
from daedalus.envs.batch import Batch
from daedalus.evaluation.provenance import hardware

ROOT = Path(__file__).parents[1]
COPIES = 1024
AIM = 10e6
MODULES = (".probes.", ".safety.")
PHYSICS = ("WhichIsHeavier", "Towers", "TerrainRunner")
"""Probes that are not symbols: they integrate motion."""
PEERS = {
    "gymnax FourRooms-misc": "daedalus/FourRooms-v0",
    "pufferlib grid": "daedalus/FourRooms-v0",
    "envpool Taxi-v3": "daedalus/Taxi-v0",
    "safety_gymnasium SafetyPointGoal1-v0": "daedalus/PointGoal1-v0",
}
"""A peer's package and environment, and the one of ours that it stands beside."""


def ours(env_id: str, seconds: float) -> float:
    """Return the steps a second of one of our environments."""
    env: Any = gymnasium.make(env_id).unwrapped
    batch = Batch(env.family, COPIES)
    batch.reset(0)
    space = batch.action_space
    space.seed(0)
    actions = [np.array([space.sample() for _ in range(COPIES)]) for _ in range(16)]
    for row in actions * 8:
        batch.step(row)
    start, steps = time.process_time(), 0
    while (elapsed := time.process_time() - start) < seconds:
        for row in actions:
            batch.step(row)
        steps += 16 * COPIES
    return steps / elapsed


def theirs(name: str, seconds: float, python: str) -> float:
    """Return the steps a second of a peer's environment, in a process of its own."""
    script = ROOT / "benchmarks" / "probe_peers.py"
    single = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **single}
    command = [python, str(script), name, str(seconds)]
    with tempfile.TemporaryDirectory() as folder:  # pufferlib leaves a link in the present one
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
    if done.returncode:
        raise SystemExit(f"{name} did not run:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def measure(seconds: float, rounds: int, pythons: dict[str, str]) -> dict[str, list[float]]:
    """Return the measurements of all rounds, by name."""
    small = [env_id for env_id in NATIVE if any(m in NATIVE[env_id] for m in MODULES)]
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        for env_id in small:
            found.setdefault(env_id, []).append(ours(env_id, seconds))
            for peer in (p for p, mine in PEERS.items() if mine == env_id):
                if python := pythons.get(peer.split()[0]):
                    found.setdefault(peer, []).append(theirs(peer, seconds, python))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    return found


def symbolic(env_id: str) -> bool:
    """Tell whether an environment is a probe without physics, of which the aim speaks."""
    return ".probes." in NATIVE[env_id] and not any(name in env_id for name in PHYSICS)


def page(record: dict[str, Any]) -> str:
    """Return the page of a record."""
    speeds = record["steps_per_second"]
    lines = [
        "# Speed of the small worlds",
        "",
        f"Steps in a second of processor time on one core, {COPIES:,} copies, random actions,"
        f" resets included; best of {record['rounds']} rounds of {record['seconds']:g} s in one"
        f" run, load average {record['load_average'][0]:.1f} on {os.cpu_count()} cores: read"
        " ratios, not figures.",
        "",
        f"`{record['command']}` on {record['machine']}.",
        "",
        "| environment | million steps/s | beside |",
        "| --- | ---: | --- |",
    ]
    for name, value in speeds.items():
        if name in PEERS:
            continue
        peers = [p for p, mine in PEERS.items() if mine == name and p in speeds]
        beside = "; ".join(f"{value / speeds[p]:,.1f} x {p} ({speeds[p]:,.0f})" for p in peers)
        lines.append(f"| `{name}` | {value / 1e6:.2f} | {beside} |")
    probes = {name: speeds[name] for name in NATIVE if name in speeds and symbolic(name)}
    slow = [f"`{name}`" for name, value in probes.items() if value < AIM]
    verdict = f"Below it: {', '.join(slow)}." if slow else "All reach it."
    text = TEXT.format(aim=AIM / 1e6, probes=len(probes), verdict=verdict)
    return "\n".join(lines) + "\n" + text


TEXT = """
The aim for the {probes} symbolic probes is {aim:.0f} million. {verdict} `WhichIsHeavier`, `Towers`
and `TerrainRunner` integrate motion; the AI Safety Gridworlds move objects on a board of their own.

What stands beside ours does similar work, not the same. gymnax's FourRooms has the same rules.
PufferLib's grid (3.0.0, this environment alone compiled from its source distribution, with its
flags) shows 11 x 11 squares around the agent in mazes of up to 9 x 9; FourRooms shows two places.
Safety-Gymnasium steps one copy with MuJoCo; our `PointGoal1` keeps its sensors, costs and rewards
on a light rigid point.
"""


def main() -> None:
    """Measure and write the record and its page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", metavar="PACKAGE=PYTHON", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=0.4)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    pythons = dict(pair.split("=", 1) for pair in arguments.peer)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = measure(arguments.seconds, arguments.rounds, pythons)
    peers = "".join(f" --peer {name}=PYTHON" for name in pythons)
    record = {
        "command": f"python benchmarks/probe_speed.py{peers}",
        "machine": f"{hardware()['processor']}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "load_average": os.getloadavg(),
        "steps_per_second": {name: max(v) for name, v in found.items()},
        "all": found,
    }
    text = json.dumps(record, indent=1) + "\n"
    write_file(ROOT / "results" / "probe_speed.json", text.encode())
    write_file(ROOT / "docs" / "world-speed.md", page(record).encode())


if __name__ == "__main__":
    main()
