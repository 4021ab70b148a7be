"""Safety-Gymnasium in an environment of its own: set it up, and measure CPO on one of its tasks.

    python benchmarks/safety_gymnasium.py setup
    OMP_NUM_THREADS=1 python benchmarks/safety_gymnasium.py measure

The package pins Gymnasium 0.28.1 and MuJoCo 2.3.3, for which there are wheels up to Python 3.11.
It also pins a pygame without a wheel for 3.11, so its dependencies are named here. Some 300 MB.
`measure` writes results/safety-gymnasium.json; a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from daedalus import scenarios
from daedalus.accelerators.files import write_file
from daedalus.agents.cpo import CPO
from daedalus.envs.safety import safety_gymnasium_server
from daedalus.envs.safety.safety_gymnasium import SafetyGymnasium, default_home, interpreter
from daedalus.evaluation.provenance import commit, hardware, versions

ROOT = Path(__file__).parents[1]
ENV = "daedalus/SafetyGymnasium-v0"
TASK = "SafetyPointGoal1-v0"
SCENARIO = "safety_point_goal_1"
PACKAGE = "safety-gymnasium==1.0.0"
NEEDS = (
    *("gymnasium==0.28.1", "gymnasium-robotics==1.2.2", "mujoco==2.3.3", "numpy==1.23.5"),
    *("pygame==2.6.1", "xmltodict>=0.13", "pyyaml>=6", "imageio>=2.27"),
)
PYTHONS = ((3, 10), (3, 11))
"""The oldest and the newest Python that it was tried with; MuJoCo has no wheels for newer ones."""
EPISODES = 20
"""Episodes of the random policy."""
ROUNDS, STEPS = 5, 1000
"""Rounds of direct and bridged steps in turn, and the steps of each."""
DIRECT = """
import runpy, sys, time
env, _ = runpy.run_path(sys.argv[1])["made"](sys.argv[2])
env.reset(seed=0)
env.action_space.seed(0)
actions = [env.action_space.sample() for _ in range(int(sys.argv[3]))]
start = time.perf_counter()
for action in actions:
    env.step(action)
print(len(actions) / (time.perf_counter() - start))
"""


def find_python(chosen: str | None) -> str:
    """Return an interpreter that the package can be installed for.

    Raises:
        SystemExit: There is none.
    """
    lowest, highest = PYTHONS
    names = [f"python3.{minor}" for minor in range(highest[1], lowest[1] - 1, -1)]
    for name in [chosen] if chosen else [sys.executable, *names]:
        path = shutil.which(name)
        if path is None:
            continue
        command = [path, "-c", "import sys; print(*sys.version_info[:2])"]
        told = subprocess.run(command, capture_output=True, text=True)
        if told.returncode == 0 and lowest <= tuple(map(int, told.stdout.split())) <= highest:
            return path
    raise SystemExit(f"{chosen or 'nothing on the path'} is no Python 3.10 or 3.11; see --python")


def setup(home: Path, chosen: str | None) -> None:
    """Make the environment and take some steps in it."""
    python = interpreter(home)
    if not python.exists():
        print(f"making {home} ...", flush=True)
        subprocess.run([find_python(chosen), "-m", "venv", str(home)], check=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    print("installing Safety-Gymnasium ...", flush=True)
    subprocess.run([*install, *NEEDS], check=True)
    subprocess.run([*install, "--no-deps", PACKAGE], check=True)
    env = SafetyGymnasium(TASK, python=python)
    try:
        env.reset(seed=0)
        costs = [env.step(env.action_space.sample())[4]["cost"] for _ in range(10)]
    finally:
        env.close()
    print(f"{TASK} runs: observation {env.observation_space.shape}, 10 steps cost {sum(costs):g}")
    where = "" if home == default_home() else f" --env-kwargs python={python.absolute()}"
    print(f"now: daedalus train cpo {SCENARIO}{where}")


def speeds(python: Path) -> dict[str, float]:
    """Return the steps a second in one process and through the pipes: the best of all rounds."""
    found: dict[str, list[float]] = {"direct": [], "bridged": []}
    server = safety_gymnasium_server.__file__
    for _ in range(ROUNDS):
        command = [str(python), "-c", DIRECT, str(server), TASK, str(STEPS)]
        told = subprocess.run(command, check=True, capture_output=True, text=True)
        found["direct"].append(float(told.stdout.split()[-1]))
        env = SafetyGymnasium(TASK, python=python)
        env.reset(seed=0)
        env.action_space.seed(0)
        actions = [env.action_space.sample() for _ in range(STEPS)]
        start = time.perf_counter()
        for action in actions:
            env.step(action)
        found["bridged"].append(STEPS / (time.perf_counter() - start))
        env.close()
    return {name: round(max(rates), 1) for name, rates in found.items()}


def random_policy(python: Path) -> dict[str, float]:
    """Return the mean return and cost of an episode of random actions."""
    env = gymnasium.make(ENV, task=TASK, python=python)
    env.action_space.seed(0)
    totals = np.zeros((EPISODES, 2))
    for episode in range(EPISODES):
        env.reset(seed=episode)
        over = False
        while not over:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample())
            totals[episode] += reward, info["cost"]
            over = terminated or truncated
    env.close()
    mean_return, mean_cost = totals.mean(0).round(3).tolist()
    return {"episodes": EPISODES, "return": mean_return, "cost": mean_cost}


def train(python: Path, steps: int, batch: int) -> dict[str, Any]:
    """Train CPO with one copy, seed 0; return what every update's batch of episodes had."""
    settings = {**scenarios.load(SCENARIO).agents["cpo"], "n_steps": batch}
    kwargs = {"task": TASK, "python": str(python)}
    agent = CPO(ENV, CPO.Config(cost_limit=25.0, **settings), num_envs=1, env_kwargs=kwargs)
    rows: list[list[float]] = []

    def keep(step: int, values: Any) -> None:
        names = ("train/episode_return", "train/cost_return", "time/fps")
        rows.append([step, *(round(values[name], 3) for name in names)])
        print(*rows[-1], flush=True)

    agent.logger.sinks.append(keep)
    start = time.perf_counter()
    agent.learn(steps, log_interval=batch)
    seconds = time.perf_counter() - start
    assert agent.batch is not None
    agent.batch.close()
    columns = zip(*rows, strict=True)
    return {
        "agent": "cpo",
        "seed": 0,
        "settings": {"cost_limit": 25.0, **settings},
        "seconds": round(seconds, 1),
        "mean_steps_per_second": round(steps / seconds, 1),
        **dict(zip(("steps", "return", "cost", "steps_per_second"), columns, strict=True)),
    }


def measure(home: Path, steps: int, batch: int) -> None:
    """Write the speeds, the random policy's scores and a training of CPO."""
    python = interpreter(home)
    listing = [str(python), "-m", "pip", "list", "--format=json"]
    told = subprocess.run(listing, check=True, capture_output=True, text=True)
    kept = {name.partition("=")[0].partition(">")[0] for name in (*NEEDS, PACKAGE)}
    there = {p["name"]: p["version"] for p in json.loads(told.stdout) if p["name"].lower() in kept}
    version = subprocess.run([python, "--version"], check=True, capture_output=True, text=True)
    result = {
        "task": TASK,
        "command": "python " + " ".join([f"benchmarks/{Path(__file__).name}", *sys.argv[1:]]),
        "speeds": speeds(python),
        "random": random_policy(python),
        "training": train(python, steps, batch),
        "provenance": {
            "commit": commit(),
            "date": time.strftime("%Y-%m-%d"),
            "versions": versions(),
            "other_versions": {"python": version.stdout.split()[-1], **there},
            "hardware": hardware(),
            "threads": os.environ.get("OMP_NUM_THREADS", "all"),
            "load": os.getloadavg()[2],
        },
    }
    write_file(ROOT / "results" / "safety-gymnasium.json", (json.dumps(result) + "\n").encode())


def main() -> None:
    """Set up, or measure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=("setup", "measure"))
    parser.add_argument("--home", type=Path, default=default_home(), help="its folder")
    parser.add_argument("--python", help="interpreter to make it with, 3.10 or 3.11")
    parser.add_argument("--steps", type=int, default=100_000, help="of the training")
    parser.add_argument("--batch", type=int, default=5_000, help="steps of an update")
    chosen = parser.parse_args()
    if chosen.what == "setup":
        setup(chosen.home, chosen.python)
    else:
        measure(chosen.home, chosen.steps, chosen.batch)


if __name__ == "__main__":
    main()
