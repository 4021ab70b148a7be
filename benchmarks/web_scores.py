"""How well `web` fills in pages: at random, cloned from 10 or 100 demonstrations, with RL, oracle.

    python benchmarks/web_scores.py --seeds 3              classic tasks and form sites
    python benchmarks/web_scores.py --group classics

One network plays all tasks of a group. Classic pages are scored on instances that it never saw;
form sites on train goals, on held-out goals, and on three sites that were held out altogether.
Success is a request with every field right. Every result is written at once to
results/web-scores.json; what is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import MultiDiscrete

from daedalus.accelerators.files import write_file
from daedalus.agents.web import Config, Web
from daedalus.envs.batch import Batch
from daedalus.envs.web.demonstrate import demonstrate
from daedalus.envs.web.family import Web as Family
from daedalus.envs.web.model import CLASSIC, TASKS
from daedalus.envs.web.sites import HELD_OUT, SITES
from daedalus.envs.web.tasks import load_tasks

RESULTS = Path(__file__).parents[1] / "results" / "web-scores.json"
SEEN = 100
"""Instances of each task that demonstrations and training come from."""
FRESH = 150
"""Instances of each task that are only scored on."""
load_tasks()
CLASSICS = tuple(name for name, task in TASKS.items() if task.size == CLASSIC)
OPEN_SITES = tuple(name for name in SITES if name not in HELD_OUT)
GROUPS = {"classics": (CLASSICS, "all"), "sites": (OPEN_SITES, "train")}
STAGES = ("random", "oracle", "cloned 10", "cloned 100", "cloned 100 + RL")
ROWS = 111
"""Of the largest page: all sites share a table."""


def family(tasks: tuple[str, ...], split: str, instances: int, sites: bool) -> Family:
    """Return tasks that share an environment."""
    rows = ROWS if sites else None
    return Family(task="+".join(tasks), split=split, instances=instances, rows=rows)


Policy = Callable[[Batch], np.ndarray]


def by_network(agent: Web) -> Policy:
    """Act as an agent does: samples of its policy."""
    network, generator = agent.learner.network, agent.generators["act"]

    def act(batch: Batch) -> np.ndarray:
        seen = {name: torch.from_numpy(array) for name, array in batch.observation.items()}
        with torch.no_grad():
            policy = network.actor(network(seen))
            return np.asarray(network.distribution.sample(policy, generator).numpy())

    return act


def at_random(seed: int) -> Policy:
    """Act uniformly, what a network does that nobody has taught."""
    rng = np.random.default_rng(seed)

    def act(batch: Batch) -> np.ndarray:
        assert isinstance(batch.action_space, MultiDiscrete)
        sizes = batch.action_space.nvec.tolist()
        return np.stack([rng.integers(n, size=batch.num_envs) for n in sizes], 1)

    return act


def success(policy: Policy, tested: Family, skip: int, count: int) -> dict[str, float]:
    """Return the success rate of each task over ``count`` first episodes or more.

    Only episodes of instances from ``skip`` on count.
    """
    tasks = sorted({instance.task for instance in tested.instances})
    each = len(tested.instances) // len(tasks)
    batch = Batch(tested, 128)
    batch.reset(10_000_000)
    won: dict[str, list[bool]] = defaultdict(list)
    while min(len(won[task]) for task in tasks) < count:
        begun = batch.states["instance"].copy()
        batch.step(policy(batch))
        for i in np.flatnonzero(batch.ended):
            if begun[i] % each >= skip:
                won[tested.instances[begun[i]].task].append(float(batch.reward[i]) == 1.0)
    return {task: float(np.mean(won[task])) for task in tasks}


def oracle_success(tested: Family, count: int) -> dict[str, float]:
    """Return the demonstrator's success over ``count`` episodes of each task."""
    names = sorted({instance.task for instance in tested.instances})
    ones = {name: Family(task=name, instances=FRESH) for name in names}
    return {n: float((demonstrate(one, count, 7).rewards == 1.0).mean()) for n, one in ones.items()}


def stage(name: str, group: str, seed: int, quick: float) -> Web:
    """Train as a stage says.

    Args:
        name: One of `STAGES`.
        group: Which tasks.
        seed: Of the agent and its demonstrations.
        quick: Share of the updates and steps.
    """
    tasks, split = GROUPS[group]
    trained = family(tasks, split, SEEN, group == "sites")
    shown = 10 if name == "cloned 10" else 100
    config = Config(clone_updates=int(1200 * quick), n_steps=10, demonstrations=shown * len(tasks))
    agent = Web(Batch(trained, 64), config, seed=seed)
    shown_steps = demonstrate(trained, config.demonstrations, 1_000_003 * (seed + 1))
    agent.demonstrations = shown_steps
    if name.endswith("RL"):
        agent.learn(int(400_000 * quick))
    else:
        agent.clone(shown_steps)
    return agent


def score(name: str, group: str, seed: int, options: Any) -> dict[str, dict[str, float]]:
    """Run a stage; return success by kind of goal and task."""
    count, sites = options.episodes, group == "sites"
    tested = {"fresh": (CLASSICS, "all", SEEN + FRESH, SEEN)}
    if sites:
        tested = {split: (OPEN_SITES, split, FRESH, 0) for split in ("train", "test")}
        tested["site"] = (HELD_OUT, "all", FRESH, 0)
    families = {
        kind: (family(tasks, split, instances, sites), skip)
        for kind, (tasks, split, instances, skip) in tested.items()
    }
    if name == "oracle":
        return {kind: oracle_success(one, count) for kind, (one, _) in families.items()}
    agent = None if name == "random" else stage(name, group, seed, options.quick)
    policy = at_random(seed) if agent is None else by_network(agent)
    return {kind: success(policy, one, skip, count) for kind, (one, skip) in families.items()}


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--group", choices=[*GROUPS, "all"], default="all")
    parser.add_argument("--stage", choices=[*STAGES, "all"], default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--episodes", type=int, default=50, help="of each task, at least")
    parser.add_argument("--quick", type=float, default=1.0, help="share of updates and steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for seed in range(options.seeds):
        for group in GROUPS if options.group == "all" else [options.group]:
            for name in STAGES if options.stage == "all" else [options.stage]:
                key = f"{group}/{name}/{seed}"
                if key in results:
                    continue
                began = time.monotonic()
                found = score(name, group, seed, options)
                seconds = round(time.monotonic() - began)
                results[key] = {"success": found, "seconds": seconds, "quick": options.quick}
                write_file(RESULTS, json.dumps(results, indent=1).encode())
                means = {k: round(float(np.mean(list(v.values()))), 3) for k, v in found.items()}
                print(key, means, f"{seconds} s", flush=True)


if __name__ == "__main__":
    main()
