"""Both backends of the web tasks play the same episodes: tables, rewards, requests, step by step.

    python benchmarks/web_proof.py --episodes 1000          the full count for every task
    python benchmarks/web_proof.py --episodes 3 --tasks login-user flight-aurora

Half of the episodes are the demonstrator's, half random. Stops at the first difference and says
what it was; otherwise prints steps and faults of each task.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from test_web_browser import compare
from web_tools import Played

from daedalus.envs.web.browser.env import BrowserWeb
from daedalus.envs.web.model import TASKS
from daedalus.envs.web.tasks import load_tasks


def main() -> None:
    """Compare."""
    load_tasks()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--episodes", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=60, help="of a random episode, at most")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    total, began = 0, time.monotonic()
    for task in options.tasks:
        played = Played(task, actions="all_supported")
        env = BrowserWeb(task=task, actions="all_supported")
        steps = 0
        for episode in range(options.episodes):
            rng = np.random.default_rng(episode) if episode % 2 else None
            steps += compare(played, env, episode, rng, 400 if rng is None else options.steps)
        env.close()
        total += steps
        print(f"{task}: {options.episodes} episodes, {steps} steps, no difference", flush=True)
    print(f"{total} steps in {time.monotonic() - began:.0f} s, no difference")


if __name__ == "__main__":
    main()
