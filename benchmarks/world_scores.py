"""Reference scores of small worlds and web pages: a random policy, an oracle or a greedy player.

    python benchmarks/world_scores.py cliff four_rooms

prints one line a scenario: mean return an episode (and mean cost, where there is one) over held-out
seeds. The ``scores`` of the scenario files come from here.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from daedalus import scenarios
from daedalus.envs.batch import Batch
from daedalus.envs.cooperation.oracles import silent_for, team_for
from daedalus.envs.placement import players as placement
from daedalus.envs.probes.oracles import oracle_for
from daedalus.envs.safety.oracles import greedy_for
from daedalus.envs.safety.planner import planner_for
from daedalus.envs.streets.oracle import oracle_for as driver_for
from daedalus.envs.web.demonstrate import oracle_for as demonstrator_for

SEED = 1_000_000
"""First of the held-out seeds."""


def play(batch: Batch, act: Any) -> tuple[float, float]:
    """Play one episode in each environment; return the mean return and the mean cost."""
    batch.reset(SEED)
    total, cost = np.zeros(batch.num_envs), np.zeros(batch.num_envs)
    running = np.ones(batch.num_envs, bool)
    while running.any():
        batch.step(act(batch))
        total += batch.reward * running
        cost += batch.cost * running
        running &= ~batch.ended
    return float(total.mean()), float(cost.mean())


def play_alone(env: gymnasium.Env[Any, Any], episodes: int) -> tuple[float, float]:
    """Play a random policy in an environment that is no kernel, one episode after the other."""
    total = cost = 0.0
    for number in range(episodes):
        env.reset(seed=SEED + number)
        env.action_space.seed(SEED + number)
        over = False
        while not over:
            _, reward, terminated, truncated, info = env.step(env.action_space.sample())
            total, cost = total + float(reward), cost + info.get("cost", 0.0)
            over = terminated or truncated
    return total / episodes, cost / episodes


def random_player(batch: Batch) -> Any:
    """Return the player that draws every action uniformly."""
    rng, space = np.random.default_rng(SEED), batch.action_space

    def act(_: Batch) -> np.ndarray:
        if isinstance(space, gymnasium.spaces.Box):
            return rng.uniform(space.low, space.high, (batch.num_envs, *space.shape))
        high = getattr(space, "nvec", None)
        high = space.n if high is None else high  # type: ignore[attr-defined]
        return rng.integers(0, high, (batch.num_envs, *(space.shape or ())))

    return act


KNOWING: tuple[tuple[str, Any], ...] = (
    ("oracle", lambda family: oracle_for(family, gamma=1 - 1e-6)),
    ("oracle", driver_for),
    ("oracle", placement.oracle_for),
    ("oracle", planner_for),
    ("oracle", demonstrator_for),
    ("greedy", greedy_for),
    ("greedy", placement.greedy_for),
    ("team", team_for),
    ("silent", silent_for),
)
"""Players who know their way; each refuses the worlds of others with a ValueError."""


def scores(name: str, episodes: int) -> Iterator[tuple[str, float, float]]:
    """Yield player, mean return and mean cost of everyone who can play a scenario."""
    scenario = scenarios.load(name)
    env: Any = gymnasium.make(scenario.env, **scenario.env_kwargs)
    family = getattr(env.unwrapped, "family", None)
    if family is None:
        yield "random", *play_alone(env, episodes)
        return
    batch = Batch(family, episodes)
    yield "random", *play(batch, random_player(batch))
    for who, make in KNOWING:
        with contextlib.suppress(ValueError):
            yield who, *play(batch, make(family))


def main() -> None:
    """Print the scores of the scenarios named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", nargs="+")
    parser.add_argument("--episodes", type=int, default=1000)
    arguments = parser.parse_args()
    for name in arguments.scenario:
        for who, reward, cost in scores(name, arguments.episodes):
            print(f"{name}: {who} {reward:.4g}, cost {cost:.4g}", flush=True)


if __name__ == "__main__":
    main()
