"""How well `web` fills in pages: at random, cloned from 0, 10, 100 demonstrations, with RL, oracle.

    python benchmarks/web_scores.py --seeds 3              what is missing, then the page
    python benchmarks/web_scores.py --group sites --minutes 9
    python benchmarks/web_scores.py --stage browser        the trained policies in real Chromium
    python benchmarks/web_scores.py --summary              only docs/web-scores.md and its figure

One network plays all tasks of a group. Classic pages are scored on instances that it never saw;
form sites on train goals, on held-out goals, and on three sites that were held out altogether.
Success is a request with every field right, over a fixed number of whole episodes of each task.
Every result is written at once to results/web-scores.json; what is there is not run again. Weights
are kept in runs/web-scores: RL goes on from what was cloned, the browser needs what RL made.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import MultiDiscrete
from safetensors.torch import load_file, save_file

from daedalus.accelerators.files import write_file
from daedalus.agents.web import Config, Web
from daedalus.envs.batch import Batch
from daedalus.envs.web.demonstrate import Demonstrations, demonstrate
from daedalus.envs.web.family import Web as Family
from daedalus.envs.web.model import CLASSIC, TASKS
from daedalus.envs.web.sites import HELD_OUT, SITES
from daedalus.envs.web.tasks import load_tasks
from daedalus.evaluation.provenance import commit, hardware, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "web-scores.json"
WEIGHTS = ROOT / "runs" / "web-scores"
SEEN = 200
"""Instances of each task that demonstrations and training come from."""
FRESH = 100
"""Instances of each task that are only scored on."""
EPISODES, BROWSER_EPISODES = 20, 8
"""Episodes of each task, at least, natively and in the browser."""
load_tasks()
CLASSICS = tuple(name for name, task in TASKS.items() if task.size == CLASSIC)
OPEN_SITES = tuple(name for name in SITES if name not in HELD_OUT)
GROUPS = {"classics": (CLASSICS, "all"), "sites": (OPEN_SITES, "train")}
CLONED = {"cloned 0": (0, 0), "cloned 10": (10, 200), "cloned 100": (100, 500)}
"""Demonstrations of each task, and steps of cloning."""
RL_STEPS = 50_000
STAGES = ("random", "oracle", *CLONED, "cloned 100 + RL", "browser")
ROWS = {"classics": None, "sites": 111}
"""Rows of the table: all sites share that of the largest page."""
CLASSIC_ROWS = 47

Policy = Callable[[dict[str, np.ndarray]], np.ndarray]
Tested = tuple[tuple[str, ...], str, int, int]  # tasks, split, instances, first that counts


def family(group: str, tasks: tuple[str, ...], split: str, instances: int) -> Family:
    """Return tasks that share an environment."""
    return Family(task="+".join(tasks), split=split, instances=instances, rows=rows_of(group))


def rows_of(group: str) -> int:
    """Return the rows of a group's table, the same for one task as for all."""
    return ROWS[group] or CLASSIC_ROWS


def tests(group: str) -> dict[str, Tested]:
    """Return what a group is scored on, by kind of goal."""
    if group == "classics":
        return {"fresh": (CLASSICS, "all", SEEN + FRESH, SEEN)}
    open_sites = {split: (OPEN_SITES, split, FRESH, 0) for split in ("train", "test")}
    return {**open_sites, "site": (HELD_OUT, "all", FRESH, 0)}


# ---------------------------------------------------------------------- playing


def by_network(agent: Web) -> Policy:
    """Act as an agent does: samples of its policy."""
    network, generator = agent.learner.network, agent.generators["act"]

    def act(observation: dict[str, np.ndarray]) -> np.ndarray:
        seen = {name: torch.from_numpy(array) for name, array in observation.items()}
        with torch.no_grad():
            policy = network.actor(network(seen))
            return np.asarray(network.distribution.sample(policy, generator).numpy())

    return act


def at_random(seed: int, space: MultiDiscrete) -> Policy:
    """Act uniformly over all actions, also those of rows without an element."""
    rng = np.random.default_rng(seed)
    return lambda observation: rng.integers(space.nvec, size=(len(observation["mask"]), 3))


def success(policy: Policy, tested: Family, first: int) -> dict[str, float]:
    """Return the success rate of each task, over whole episodes of instances from ``first`` on."""
    tasks = sorted({instance.task for instance in tested.instances})
    each = len(tested.instances) // len(tasks)
    batch = Batch(tested, EPISODES * len(tasks) * each // (each - first))
    batch.reset(10_000_000)
    begun = batch.states["instance"].copy()
    reward, going = np.zeros(batch.num_envs), np.ones(batch.num_envs, bool)
    action = np.zeros((batch.num_envs, 3), np.int64)
    while going.any():
        live = np.flatnonzero(going)
        action[live] = policy({name: array[live] for name, array in batch.observation.items()})
        batch.step(action)
        reward[live] = batch.reward[live]
        going[live] = ~batch.ended[live]
    names = np.array([tested.instances[i].task for i in begun])
    counts = begun % each >= first
    return {task: float((reward[(names == task) & counts] == 1.0).mean()) for task in tasks}


def oracle_success(tested: Tested, group: str) -> dict[str, float]:
    """Return the demonstrator's success."""
    tasks, split, instances, _ = tested
    ones = {name: family(group, (name,), split, instances) for name in tasks}
    return {n: float((demonstrate(f, EPISODES, 7).rewards == 1.0).mean()) for n, f in ones.items()}


def in_browser(agent: Web, group: str, task: str, split: str) -> list[bool]:
    """Return whether each of some episodes in Chromium ended with every field right."""
    from daedalus.envs.web.browser.env import BrowserWeb

    instances, policy = SEEN + FRESH, by_network(agent)
    env = BrowserWeb(task=task, split=split, instances=instances, rows=rows_of(group))
    won = []
    for episode in range(BROWSER_EPISODES):
        observation, _ = env.reset(seed=20_000_000 + episode)
        over, reward = False, 0.0
        while not over:
            action = policy({name: array[None] for name, array in observation.items()})[0]
            observation, reward, terminated, truncated, _ = env.step(action)
            over = terminated or truncated
        won.append(reward == 1.0)
    env.close()
    return won


# ---------------------------------------------------------------------- stages


def new_agent(group: str, seed: int, demonstrations: int, updates: int) -> Web:
    """Return an untaught agent for the tasks that a group is trained on."""
    tasks, split = GROUPS[group]
    config = Config(clone_updates=updates, n_steps=8, demonstrations=demonstrations * len(tasks))
    return Web(Batch(family(group, tasks, split, SEEN), 32), config, seed=seed)


def taught(group: str, seed: int, name: str) -> Web:
    """Clone as many demonstrations of each task as a stage says; keep the weights."""
    shown, updates = CLONED[name]
    agent = new_agent(group, seed, shown, updates)
    if shown:
        agent.clone(demonstrated(group, seed, shown))
        keep(agent, group, seed, name)
    return agent


def demonstrated(group: str, seed: int, shown: int) -> Demonstrations:
    """Return ``shown`` episodes of each task of a group."""
    tasks, split = GROUPS[group]
    rows = rows_of(group)
    parts = [
        demonstrate(Family(task=t, split=split, instances=SEEN, rows=rows), shown, 1000 * seed + 1)
        for t in tasks
    ]
    seen = [part.observation for part in parts]
    arrays = {name: np.concatenate([each[name] for each in seen]) for name in seen[0]}
    return Demonstrations(arrays, *map(np.concatenate, zip(*(p[1:] for p in parts), strict=True)))


def fine_tuned(group: str, seed: int) -> Web:
    """Go on from what was cloned by actor-critic, with the demonstrations as an anchor."""
    shown, _ = CLONED["cloned 100"]
    agent = new_agent(group, seed, shown, 0)
    load(agent, group, seed, "cloned 100")
    agent.demonstrations = demonstrated(group, seed, shown)
    agent.learn(RL_STEPS)
    keep(agent, group, seed, "cloned 100 + RL")
    return agent


def keep(agent: Web, group: str, seed: int, name: str) -> None:
    """Write the weights."""
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.clone() for k, v in agent.learner.network.state_dict().items()}
    save_file(tensors, WEIGHTS / f"{group} {seed} {name}.safetensors")


def load(agent: Web, group: str, seed: int, name: str) -> None:
    """Read the weights."""
    agent.learner.network.load_state_dict(load_file(WEIGHTS / f"{group} {seed} {name}.safetensors"))


def score(name: str, group: str, seed: int) -> dict[str, Any]:
    """Run a stage; return success by kind of goal and task."""
    tested = tests(group)
    if name == "oracle":
        return {kind: oracle_success(one, group) for kind, one in tested.items()}
    families = {kind: (family(group, *one[:3]), one[3]) for kind, one in tested.items()}
    if name == "random":
        space = next(iter(families.values()))[0].action_space
        assert isinstance(space, MultiDiscrete)
        policy = at_random(seed, space)
    else:
        agent = fine_tuned(group, seed) if name.endswith("RL") else taught(group, seed, name)
        policy = by_network(agent)
    return {kind: success(policy, one, first) for kind, (one, first) in families.items()}


def score_browser(group: str, seed: int) -> dict[str, Any]:
    """Play what RL made in Chromium; return whether each episode ended as wanted."""
    agent = new_agent(group, seed, 0, 0)
    load(agent, group, seed, "cloned 100 + RL")
    return {
        kind: {task: in_browser(agent, group, task, split) for task in tasks}
        for kind, (tasks, split, _, _) in tests(group).items()
    }


def main() -> None:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--group", choices=[*GROUPS, "all"], default="all")
    parser.add_argument("--stage", choices=[*STAGES, "all"], default="all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after")
    parser.add_argument("--summary", action="store_true", help="only write the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    end = time.monotonic() + 60 * options.minutes
    groups = GROUPS if options.group == "all" else [options.group]
    stages = STAGES if options.stage == "all" else [options.stage]
    jobs = [(g, s, n) for n in range(options.seeds) for s in stages for g in groups]
    for group, name, seed in [] if options.summary else jobs:
        key = f"{group}/{name}/{seed}"
        if key in results.setdefault("runs", {}) or time.monotonic() > end:
            continue
        began = time.process_time()
        found = score_browser(group, seed) if name == "browser" else score(name, group, seed)
        seconds = round(time.process_time() - began)
        results["runs"][key] = {"success": found, "processor_seconds": seconds}
        results |= {"commit": commit(), "hardware": hardware(), "versions": versions()}
        write_file(RESULTS, (json.dumps(results, indent=1) + "\n").encode())
        means = {k: round(float(np.mean([*v.values()])), 3) for k, v in found.items()}
        print(key, means, f"{seconds} s", flush=True)
    from web_scores_page import write_page

    write_page(results)


if __name__ == "__main__":
    main()
