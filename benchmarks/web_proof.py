"""Both backends of the web tasks play the same episodes: tables, rewards, requests, step by step.

    python benchmarks/web_proof.py --episodes 1000            the full count for every task
    python benchmarks/web_proof.py --episodes 50 --minutes 10
    python benchmarks/web_proof.py --episodes 4 --tasks login-user flight-aurora

Half of the episodes are the demonstrator's, half random. The native page goes first; the browser
then carries out the commands of an episode in one call, which saves a round trip for each step (the
tests take them one by one). Tasks take turns, so that what has been
played after some minutes is about as much of each; results/web_proof.json and docs/web.md hold
it, and the next run goes on from there. A difference is kept with its episode, and the exit status
says so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from test_web_browser import wild
from web_page import replace_between
from web_tools import Played

from daedalus.accelerators.files import write_file
from daedalus.envs.web.actions import Command
from daedalus.envs.web.browser.driver import BrowserFault
from daedalus.envs.web.browser.env import BrowserWeb
from daedalus.envs.web.model import TASKS
from daedalus.envs.web.tasks import load_tasks
from daedalus.evaluation.provenance import commit, hardware, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "results" / "web_proof.json", ROOT / "docs" / "web.md"
TURN = 20
"""Episodes of a task before the next has its turn."""
LONGEST = 400
"""Steps of a demonstrator's episode at most; it needs some tens."""


ALL = """
return (async () => {
  const found = [];
  for (const command of arguments[0]) {
    found.push(await window.daedalus.step(...command));
    if (found[found.length - 1].outcome !== "open") break;
  }
  return found;
})();
"""
"""Script that carries out commands and returns what `BrowserWeb` reads after each."""


def compare(played: Played, env: BrowserWeb, seed: int, rng: Any, most: int) -> int:
    """Play one episode in both backends, by the demonstrator where ``rng`` is None."""
    played.reset(seed)
    env.reset(seed=seed)
    assert (env.instance, env.table) == (played.instance, played.table)
    commands: list[Command] = []
    wanted = []
    while not commands or (len(commands) < most and not played.over):
        commands.append(played.act_for_oracle() if rng is None else wild(played, rng))
        played.do(commands[-1])
        arrays = {name: array[0].copy() for name, array in played.batch.observation.items()}
        wanted.append((played.table, played.request, played.reward, played.over, arrays))
    answers = env.browser.call(
        env.browser.driver.execute_script, ALL, [env._words(command) for command in commands]
    )
    for command, said, (table, request, reward, over, arrays) in zip(
        commands, answers, wanted, strict=True
    ):
        with mock.patch.object(env.browser, "call", return_value=said):
            observation, got, ended, _, info = env.do(command)
        assert env.table == table, (played.instance.utterance, command)
        assert (env.request, ended) == (request, over), (command, info)
        assert abs(got - reward) < 1e-6, (command, got, reward)
        for name, array in arrays.items():
            assert np.array_equal(observation[name], array), name
    return len(commands)


def play(task: str, episodes: range, steps: int) -> dict[str, Any]:
    """Play episodes of a task in both backends; return what to add to its figures."""
    warnings.simplefilter("ignore")
    played = Played(task, actions="all_supported")
    env = BrowserWeb(task=task, actions="all_supported")
    found: dict[str, Any] = {"episodes": 0, "steps": 0, "faults": 0, "differences": []}
    try:
        for episode in episodes:
            rng = np.random.default_rng(episode) if episode % 2 else None
            try:
                found["steps"] += compare(played, env, episode, rng, steps if rng else LONGEST)
            except AssertionError as difference:
                found["differences"].append(f"episode {episode}: {str(difference)[:300]}")
            except BrowserFault:
                found["faults"] += 1
            found["episodes"] += 1
    finally:
        env.close()
    return found


def next_turn(tasks: dict[str, Any], names: list[str], episodes: int) -> dict[str, range]:
    """Return the next episodes of the tasks that have played the fewest."""
    done = {name: tasks.get(name, {"episodes": 0})["episodes"] for name in names}
    last = min(min(done.values()) // TURN * TURN + TURN, episodes)
    return {name: range(n, last) for name, n in done.items() if n < last}


def page(tasks: dict[str, dict[str, Any]]) -> str:
    """Return what is known, as a table with a line for each number of episodes."""
    groups: dict[int, list[str]] = {}
    for name, found in tasks.items():
        groups.setdefault(found["episodes"], []).append(name)
    lines = [
        "| tasks | episodes each | steps | faults | differences |",
        "|---|---:|---:|---:|---:|",
    ]
    for episodes, names in sorted(groups.items(), reverse=True):
        mine = [tasks[name] for name in names]
        steps, faults = (sum(found[k] for found in mine) for k in ("steps", "faults"))
        different = sum(len(found["differences"]) for found in mine)
        who = f"all {len(names)}" if len(groups) == 1 else ", ".join(f"`{n}`" for n in names)
        lines.append(f"| {who} | {episodes:,} | {steps:,} | {faults} | {different} |")
    return "\n".join(lines)


def main() -> None:
    """Compare what is missing."""
    load_tasks()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--episodes", type=int, default=1000, help="of each task")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--steps", type=int, default=60, help="of a random episode, at most")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="browsers at a time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    tasks = results.setdefault("tasks", {})
    results |= {"commit": commit(), "hardware": hardware(), "versions": versions()}
    end = time.monotonic() + 60 * options.minutes
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        while turn := next_turn(tasks, options.tasks, options.episodes):
            if time.monotonic() > end:
                break
            told = pool.map(play, turn, turn.values(), repeat(options.steps))
            for task, found in zip(turn, told, strict=True):
                tasks[task] = {
                    k: v + tasks.get(task, {}).get(k, type(v)()) for k, v in found.items()
                }
                text = json.dumps(results, indent=1, sort_keys=True)
                write_file(options.out, f"{text}\n".encode())
                print(f"{task}: {tasks[task]}", flush=True)
    replace_between(PAGE, "proof", page(tasks))
    total = {k: sum(t[k] for t in tasks.values()) for k in ("episodes", "steps", "faults")}
    differences = sum(len(t["differences"]) for t in tasks.values())
    print(f"{len(tasks)} tasks, {total}, {differences} differences")
    sys.exit(1 if differences else 0)


if __name__ == "__main__":
    main()
