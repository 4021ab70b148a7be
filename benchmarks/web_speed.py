"""Steps per second of web tasks: native (table, pixels), in the browser, MiniWoB++ beside it.

    python benchmarks/web_speed.py                  native only
    python benchmarks/web_speed.py --browser        and Chromium, MiniWoB++ (pip install miniwob)
    python benchmarks/web_speed.py --browser --store       results/web_speed.json and docs/web.md

One core, best of three turns. Native: random actions, resets included, by processor time. In the
browser MiniWoB++ plays click-test-2 and ours Web-ClickTest2, in turns in one run: steps of a page
(doing nothing, so that neither has a shorter episode), and pages opened per second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from web_page import replace_between

from daedalus.accelerators.files import write_file
from daedalus.envs.batch import Batch
from daedalus.envs.web.family import Web
from daedalus.evaluation.provenance import commit, hardware, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "results" / "web_speed.json", ROOT / "docs" / "web.md"
COPIES = 256
NATIVE = ("click-button", "login-user", "search-engine", "flight-borealis", "flight-comet")
AIMS = {"table": 1_000_000, "pixels": 50_000}
"""Steps per second on one core that were asked for."""


def rate(step: Callable[[], int], seconds: float, clock: Callable[[], float]) -> float:
    """Return steps per second of a clock: the best of three turns."""
    step()
    best = 0.0
    for _ in range(3):
        count, began = 0, clock()
        while clock() - began < seconds:
            count += step()
        best = max(best, count / (clock() - began))
    return best


def native(task: str, observations: tuple[str, ...] | None, seconds: float) -> float:
    """Return steps per second of a native batch."""
    batch = Batch(Web(task=task), COPIES if observations is None else 64, observations=observations)
    batch.reset(0)
    rng = np.random.default_rng(0)
    sizes: Any = batch.action_space
    actions = [rng.integers(sizes.nvec, size=(batch.num_envs, 3)) for _ in range(64)]
    turn = iter(range(10**9))

    def step() -> int:
        for _ in range(16):
            batch.step(actions[next(turn) % 64])
        return 16 * batch.num_envs

    return rate(step, seconds, time.process_time)


def single(env: Any, action: Any, reset: dict[str, Any], seconds: float) -> tuple[float, float]:
    """Return steps and resets per second of a single environment."""
    env.reset(seed=0, **reset)

    def step() -> int:
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset(**reset)
        return 1

    def opening() -> int:
        env.reset(**reset)
        return 1

    return rate(step, seconds, time.perf_counter), rate(opening, seconds, time.perf_counter)


def ours(observations: tuple[str, ...], seconds: float) -> tuple[float, float]:
    """Return steps and resets per second of the browser backend."""
    more: dict[str, Any] = {"backend": "browser", "observations": observations}
    env = gymnasium.make("daedalus/Web-ClickTest2-v0", disable_env_checker=True, **more)
    found = single(env, np.zeros(3, np.int64), {}, seconds)
    env.close()
    return found


def miniwob(screenshots: bool, seconds: float) -> tuple[float, float]:
    """Return steps and resets per second of MiniWoB++."""
    os.environ.setdefault("MINIWOB_CHROME_BINARY", shutil.which("chromium") or "")
    os.environ.setdefault("MINIWOB_CHROMEDRIVER", shutil.which("chromedriver") or "")
    os.environ["SE_AVOID_STATS"] = "true"
    import miniwob
    from miniwob.action import ActionSpaceConfig

    gymnasium.register_envs(miniwob)
    config = ActionSpaceConfig.get_preset("liu18")
    env: Any = gymnasium.make("miniwob/click-test-2-v1", action_space_config=config)
    options = {"options": {"record_screenshots": screenshots}}
    found = single(env, {"action_type": 0, "ref": 1, "field": 0}, options, seconds)
    env.close()
    return found


def measure_native(seconds: float) -> dict[str, dict[str, float]]:
    """Return steps per second of processor time of native tasks, by what is observed."""
    found = {}
    for task in NATIVE:
        found[task] = {
            "table": native(task, None, seconds),
            "pixels": native(task, ("pixels",), seconds),
        }
        print(f"native {task}: {found[task]}", flush=True)
    return found


def measure_browsers(seconds: float) -> dict[str, dict[str, float]]:
    """Return steps and resets per second in the browser, ours and MiniWoB++'s in turns."""
    found = {}
    for name, observations in (("table", ("elements", "words", "mask")), ("pixels", ("pixels",))):
        mine, theirs = ours(observations, seconds), miniwob(name == "pixels", seconds)
        found[name] = {"steps": mine[0], "resets": mine[1]}
        found[f"{name}, MiniWoB++"] = {"steps": theirs[0], "resets": theirs[1]}
        print(f"browser {name}: {mine}, MiniWoB++ {theirs}", flush=True)
    return found


def page(record: dict[str, Any]) -> str:
    """Return the tables of a record."""
    lines = [
        f"`{record['command']}` on {record['machine']}, one core; best of three turns; load "
        f"average {record['load_average'][0]:.1f}, so these are lower bounds. Native: random "
        "actions, resets included, per second of processor time; the aims are a million steps with "
        "tables and 50,000 with pixels.",
        "",
        "| native task | steps/s, table | steps/s, pixels | aims reached |",
        "| --- | ---: | ---: | --- |",
    ]
    for task, rates in record["native"].items():
        reached = [name for name, aim in AIMS.items() if rates[name] >= aim]
        words = " and ".join(reached) or "none"
        lines.append(f"| {task} | {rates['table']:,.0f} | {rates['pixels']:,.0f} | {words} |")
    lines += ["", "| browser | Daedalus | MiniWoB++ | ratio |", "| --- | ---: | ---: | ---: |"]
    for name, shown in (("table", "without screenshots"), ("pixels", "with screenshots")):
        mine, theirs = record["browser"][name], record["browser"][f"{name}, MiniWoB++"]
        for what in ("steps", "resets"):
            ratio = mine[what] / theirs[what]
            words = f"{mine[what]:.1f} | {theirs[what]:.1f} | x{ratio:.2f}"
            lines.append(f"| {what}/s, {shown} | {words} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--browser", action="store_true", help="Chromium too, and MiniWoB++")
    parser.add_argument("--store", action="store_true", help="write the figures and docs/web.md")
    options = parser.parse_args()
    if options.store and not options.browser:
        parser.error("--store needs --browser: the page has native and browser figures of one run")
    warnings.simplefilter("ignore")
    record: dict[str, Any] = {
        "command": " ".join(["python", "benchmarks/web_speed.py", *sys.argv[1:]]),
        "machine": hardware()["processor"],
        "commit": commit(),
        "versions": versions(),
        "load_average": os.getloadavg(),
        "native": measure_native(options.seconds),
    }
    if options.browser:
        record["browser"] = measure_browsers(2 * options.seconds)
    if options.store:
        write_file(RESULTS, (json.dumps(record, indent=1, sort_keys=True) + "\n").encode())
        replace_between(PAGE, "speed", page(record))


if __name__ == "__main__":
    main()
