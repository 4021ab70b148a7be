"""Steps a second of the small worlds on one core, beside gymnax and EnvPool, in one run.

    python benchmarks/probe_speed.py --peers PYTHON     # PYTHON of a venv with gymnax and envpool

Random actions, 1,024 copies, resets included; the measurements of ours and theirs alternate, pinned
to one core; the median of the rounds is kept. Other work on the machine slows both sides: the load
average is stored beside the figures. Writes results/probe_speed.json and
docs/world-speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from daedalus.accelerators.files import write_file
from daedalus.envs import NATIVE
from daedalus.envs.batch import Batch

ROOT = Path(__file__).parents[1]
COPIES = 1024
MODULES = (".probes.", ".safety.")
PEERS = {
    "gymnax FourRooms-misc": "daedalus/FourRooms-v0",
    "EnvPool Taxi-v3": "daedalus/Taxi-v0",
}
"""A peer's environment and the one of ours that it stands beside."""

PEER_CODE = """
import sys, time, numpy as np
name, seconds, copies = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
if name.startswith("gymnax"):
    import jax, gymnax
    env, params = gymnax.make(name.split()[1])
    def run(carry, _):
        key, state = carry
        key, act, step = jax.random.split(key, 3)
        actions = jax.random.randint(act, (copies,), 0, env.num_actions)
        obs, state, reward, *_ = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(step, copies), state, actions, params)
        return (key, state), (reward.sum(), obs.sum())
    many = jax.jit(lambda carry: jax.lax.scan(run, carry, None, 256))
    keys = jax.random.split(jax.random.PRNGKey(0), copies)
    _, state = jax.vmap(env.reset, (0, None))(keys, params)
    carry = jax.random.PRNGKey(1), state
    def go():
        global carry
        carry, out = many(carry)
        jax.block_until_ready(out)
        return 256 * copies
else:
    import envpool
    env = envpool.make(name.split()[1], env_type="gymnasium", num_envs=copies, num_threads=1)
    env.reset()
    actions = np.random.default_rng(0).integers(0, env.action_space.n, (16, copies))
    def go():
        for row in actions:
            env.step(row)
        return 16 * copies
go()
start, steps = time.perf_counter(), 0
while time.perf_counter() - start < seconds:
    steps += go()
print(steps / (time.perf_counter() - start))
"""


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
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for row in actions:
            batch.step(row)
        steps += 16 * COPIES
    return steps / (time.perf_counter() - start)


def theirs(name: str, seconds: float, python: str) -> float:
    """Return the steps a second of a peer's environment, in a process of its own."""
    command = [python, "-c", PEER_CODE, name, str(seconds), str(COPIES)]
    single = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **single}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise SystemExit(f"{name} did not run:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def measure(seconds: float, rounds: int, python: str | None) -> dict[str, list[float]]:
    """Return the measurements of all rounds, by name."""
    small = [env_id for env_id in NATIVE if any(m in NATIVE[env_id] for m in MODULES)]
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for env_id in small:
            found.setdefault(env_id, []).append(ours(env_id, seconds))
            for peer in (p for p, mine in PEERS.items() if python and mine == env_id):
                found.setdefault(peer, []).append(theirs(peer, seconds, str(python)))
        print(f"{len(found)} environments measured", file=sys.stderr, flush=True)
    return found


def page(record: dict[str, Any]) -> str:
    """Return the page of a record."""
    speeds = record["steps_per_second"]
    lines = [
        "# Speed of the small worlds",
        "",
        f"Steps a second on one core, {COPIES:,} copies, random actions, resets included; median of"
        f" {record['rounds']} rounds of {record['seconds']:g} s in one run, at a load average of"
        f" {record['load_average'][0]:.1f} on {os.cpu_count()} cores: read ratios, not figures.",
        "",
        f"`python benchmarks/probe_speed.py --peers PYTHON` on {record['machine']}.",
        "",
        "| environment | million steps/s | beside |",
        "| --- | ---: | --- |",
    ]
    for name, value in speeds.items():
        if name in PEERS:
            continue
        peers = [p for p, mine in PEERS.items() if mine == name and p in speeds]
        beside = ", ".join(f"{value / speeds[p]:.1f} x {p} ({speeds[p] / 1e6:.2f})" for p in peers)
        lines.append(f"| `{name}` | {value / 1e6:.2f} | {beside} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the record and its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has gymnax and envpool")
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    found = measure(arguments.seconds, arguments.rounds, arguments.peers)
    record = {
        "command": "python benchmarks/probe_speed.py --peers PYTHON",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "load_average": os.getloadavg(),
        "steps_per_second": {name: statistics.median(v) for name, v in found.items()},
        "all": found,
    }
    text = json.dumps(record, indent=1) + "\n"
    write_file(ROOT / "results" / "probe_speed.json", text.encode())
    write_file(ROOT / "docs" / "world-speed.md", page(record).encode())


if __name__ == "__main__":
    main()
