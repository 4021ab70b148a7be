"""Reference scores of the maze scenarios: a random policy, and the oracle where there is a goal.

    python benchmarks/maze_scores.py nav_maze_static_01 i_maze

prints one line a scenario: mean return an episode of each over held-out seeds, with the mean number
of goals and the latencies (steps to the first goal, to later ones). The ``scores`` of the scenario
files come from here.
"""

from __future__ import annotations

import argparse
from typing import Any

import gymnasium
import numpy as np

from daedalus import scenarios
from daedalus.envs.batch import Batch
from daedalus.envs.maze.nav import IMaze, NavMaze
from daedalus.envs.maze.oracle import oracle_actions

SEED = 1_000_000
"""First of the held-out seeds."""


def play(batch: Batch, *, oracle: bool) -> tuple[float, str]:
    """Play one episode in each environment; return the mean return and a line about goals."""
    batch.reset(SEED)
    rng = np.random.default_rng(SEED)
    total, running = np.zeros(batch.num_envs), np.ones(batch.num_envs, bool)
    info = {name: array.copy() for name, array in batch.info.items()}
    while running.any():
        random = rng.integers(0, batch.action_space.n, batch.num_envs)  # type: ignore[attr-defined]
        batch.step(oracle_actions(batch) if oracle else random)
        total += batch.reward * running
        for name, array in info.items():
            array[running & batch.ended] = batch.final_info[name][running & batch.ended]
        running &= ~batch.ended
    first, later = np.where(info["latency"] < 0, np.nan, info["latency"]).T
    counts = f"goals {info['goals'].mean():.2f}, first {_mean(first)}, later {_mean(later)} steps"
    return float(total.mean()), counts


def _mean(values: np.ndarray) -> str:
    there = values[~np.isnan(values)]
    return f"{there.mean():.0f}" if there.size else "-"


def main() -> None:
    """Print the scores of the scenarios named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="+")
    parser.add_argument("--episodes", type=int, default=100)
    arguments = parser.parse_args()
    for name in arguments.scenario:
        scenario = scenarios.load(name)
        env: Any = gymnasium.make(scenario.env, **scenario.env_kwargs).unwrapped
        family = env.family
        batch = Batch(family, arguments.episodes, observations=("velocity",), labels=())
        print(f"{name}: random {play(batch, oracle=False)}", flush=True)
        if isinstance(family, NavMaze | IMaze):
            print(f"{name}: oracle {play(batch, oracle=True)}", flush=True)


if __name__ == "__main__":
    main()
