"""Steps per second of web tasks: native (table, pixels), in the browser, MiniWoB++ beside it.

    python benchmarks/web_speed.py                  native only
    python benchmarks/web_speed.py --browser        and Chromium, MiniWoB++ where it is installed

One core, best of three turns. Native: random actions, resets included. In the browser MiniWoB++
plays click-test-2 and ours Web-ClickTest2, in turns in one run: steps of a page (doing nothing, so
that neither has a shorter episode than the other), and pages opened per second.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.web.family import Web

COPIES = 256


def rate(step: Callable[[], int], seconds: float, turns: int = 3) -> float:
    """Return steps per second of CPU-bound work: the best of some turns."""
    step()
    best = 0.0
    for _ in range(turns):
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            count += step()
        best = max(best, count / (time.perf_counter() - began))
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

    return rate(step, seconds)


def single(env: Any, action: Any, reset: dict[str, Any], seconds: float) -> tuple[float, float]:
    """Return steps and resets per second of a single environment."""
    env.reset(seed=0, **reset)

    def step() -> int:
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset(**reset)
        return 1

    def page() -> int:
        env.reset(**reset)
        return 1

    return rate(step, seconds), rate(page, seconds)


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--browser", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    for task in ("click-button", "login-user", "search-engine", "flight-borealis", "flight-comet"):
        table = native(task, None, options.seconds)
        pixels = native(task, ("pixels",), options.seconds)
        print(f"native {task}: {table:,.0f} steps/s table, {pixels:,.0f} pixels", flush=True)
    if options.browser:
        for name, observations in (
            ("table", ("elements", "words", "mask")),
            ("pixels", ("pixels",)),
        ):
            mine = ours(observations, 2 * options.seconds)
            theirs = miniwob(name == "pixels", 2 * options.seconds)
            for what, a, b in zip(("steps", "resets"), mine, theirs, strict=True):
                print(f"browser, {name}: {a:.1f} {what}/s, MiniWoB++ {b:.1f}: x{a / b:.2f}")


if __name__ == "__main__":
    main()
