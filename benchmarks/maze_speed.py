"""Speed of the mazes beside the simulators people use, in one run on one core.

    xvfb-run python benchmarks/maze_speed.py --store

``--store`` writes ``results/maze_speed.json`` and the page ``docs/maze-speed.md``.

Rounds go over all rows, so that a slow moment of the machine hits all of them; figures are medians
over the rounds, ratios medians of the ratios within a round. Actions are random and drawn before;
resets are included. A step of a batch of N counts N. Peers that are not installed are left out
(``pip install miniworld vizdoom envpool``; Miniworld needs a display, such as xvfb's).

The bound: to leave a picture in memory, its bytes have to be written. A plain copy of an array as
large as the batch's observations says how fast that can be.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.maze.nav import NavMaze

ROOT = Path(__file__).parents[1]
COPIES = 256
Step = Callable[[], int]
"""Does some steps and returns how many."""


def ours(threads: int = 1, copies: int = COPIES, **parameters: Any) -> Step:
    """Return a stepper of NavMaze, 5 x 10 cells, the goal drawn every episode."""
    names = {k: parameters.pop(k) for k in ("observations", "labels") if k in parameters}
    batch = Batch(NavMaze(**parameters), copies, threads=threads, **names)
    batch.reset(0)
    actions = np.random.default_rng(0).integers(0, 8, (64, copies))

    def step() -> int:
        for row in actions:
            batch.step(row)
        return actions.size

    return step


def plain_copy(height: int, width: int) -> Step:
    """Return a copier of as many bytes as 256 pictures have; it counts pictures."""
    source = np.zeros((COPIES, height, width, 3), np.uint8) + 1
    target = np.zeros_like(source)

    def step() -> int:
        np.copyto(target, source)
        return COPIES

    return step


def miniworld() -> Step:
    """Return a stepper of Miniworld's maze with its depth buffer."""
    import gymnasium
    import miniworld  # noqa: F401

    env: Any = gymnasium.make("MiniWorld-Maze-v0", obs_width=84, obs_height=84)
    env.reset(seed=0)
    actions = iter(_endless(env.action_space.n))

    def step() -> int:
        for _ in range(32):
            _, _, terminated, truncated, _ = env.step(next(actions))
            env.unwrapped.render_depth()
            if terminated or truncated:
                env.reset()
        return 32

    return step


def vizdoom() -> Step:
    """Return a stepper of ViZDoom's my_way_home at 160 x 120 with its depth buffer, skip 1."""
    import vizdoom as vzd

    game = vzd.DoomGame()
    game.load_config(os.path.join(vzd.scenarios_path, "my_way_home.cfg"))
    game.set_screen_resolution(vzd.ScreenResolution.RES_160X120)
    game.set_screen_format(vzd.ScreenFormat.RGB24)
    game.set_depth_buffer_enabled(True)
    game.set_window_visible(False)
    game.init()
    buttons = np.eye(game.get_available_buttons_size(), dtype=int).tolist()
    actions = iter(_endless(len(buttons)))

    def step() -> int:
        for _ in range(64):
            game.make_action(buttons[next(actions)], 1)
            if game.is_episode_finished():
                game.new_episode()
            state = game.get_state()
            assert state.screen_buffer is not None
            assert state.depth_buffer is not None
        return 64

    return step


def multi_room() -> Step:
    """Return a stepper of EnvPool's C++ MultiRoom-N6, 256 copies on one thread."""
    import envpool

    env = envpool.make_gymnasium("MiniGrid-MultiRoom-N6-v0", num_envs=COPIES, num_threads=1)
    env.reset()
    actions = np.random.default_rng(0).integers(0, 7, (64, COPIES)).astype(np.int32)

    def step() -> int:
        for row in actions:
            env.step(row)
        return actions.size

    return step


def _endless(n: int) -> Iterator[int]:
    rng = np.random.default_rng(0)
    while True:
        yield from rng.integers(0, n, 4096).tolist()


PICTURE, DEEP = "84 x 84 RGB and depth label", "160 x 120 RGB and depth label"
WINDOW = "window of 7 x 7 squares, no pixels"
ROWS: dict[str, Callable[[], Step]] = {
    PICTURE: lambda: ours(labels=("depth",)),
    "84 x 84 RGB, depth and loop closure": ours,
    "84 x 84 RGB": lambda: ours(labels=()),
    "84 x 84 RGB and depth label, two threads": lambda: ours(threads=2, labels=("depth",)),
    "21 x 21 RGB and depth label": lambda: ours(image=(21, 21), labels=("depth",)),
    DEEP: lambda: ours(image=(120, 160), labels=("depth",)),
    WINDOW: lambda: ours(observations=("window",), labels=()),
    "window and exact pose": lambda: ours(observations=("window", "pose"), labels=()),
    "plain copy of 84 x 84 pictures": lambda: plain_copy(84, 84),
    "Miniworld Maze, 84 x 84 RGB and depth": miniworld,
    "ViZDoom my_way_home, 160 x 120 RGB and depth": vizdoom,
    "EnvPool MultiRoom-N6, 7 x 7 squares": multi_room,
}
RATIOS = {
    "of the memory-write bound": (PICTURE, "plain copy of 84 x 84 pictures", 1 / 3),
    "times Miniworld": (PICTURE, "Miniworld Maze, 84 x 84 RGB and depth", 200.0),
    "times ViZDoom": (DEEP, "ViZDoom my_way_home, 160 x 120 RGB and depth", 5.0),
    "times EnvPool": (WINDOW, "EnvPool MultiRoom-N6, 7 x 7 squares", None),
}


def measure(rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return steps a second of every row in every round."""
    steppers = {}
    for name, make in ROWS.items():
        with suppress(ImportError):
            steppers[name] = make()
            steppers[name]()
    speeds: dict[str, list[float]] = {name: [] for name in steppers}
    for number in range(rounds):
        for name, step in steppers.items():
            count, started = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - started) < seconds:
                count += step()
            speeds[name].append(count / elapsed)
        print(f"round {number + 1} of {rounds}", flush=True)
    return speeds


def summary(speeds: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians, ratios within rounds, and where they were measured."""
    ratios = {}
    for name, (mine, other, aim) in RATIOS.items():
        if other in speeds:
            pairs = zip(speeds[mine], speeds[other], strict=True)
            ratios[f"{mine}, {name}"] = {"ratio": statistics.median(a / b for a, b in pairs)}
            ratios[f"{mine}, {name}"] |= {"aim": aim} if aim else {}
    packages = ["daedalus", "numba", "numpy", "miniworld", "vizdoom", "envpool"]
    versions = {"python": platform.python_version()}
    for package in packages:
        with suppress(ImportError):
            versions[package] = version(package)
    return {
        "steps_per_second": {name: round(statistics.median(all_)) for name, all_ in speeds.items()},
        "lowest_and_highest": {n: [round(min(a)), round(max(a))] for n, a in speeds.items()},
        "ratios": {name: {k: round(v, 3) for k, v in row.items()} for name, row in ratios.items()},
        "copies": COPIES,
        "processor": _processor(),
        "versions": ", ".join(f"{k} {v}" for k, v in versions.items()),
    }


def table(result: dict[str, Any]) -> list[str]:
    """Return speeds and ratios as the rows of two tables."""
    lines = ["| what | steps/s | lowest and highest round |", "|---|---:|---:|"]
    for name, speed in result["steps_per_second"].items():
        low, high = result["lowest_and_highest"][name]
        lines.append(f"| {name} | {speed:,} | {low:,} to {high:,} |")
    lines += ["", "| ratio | | aim |", "|---|---:|---:|"]
    for name, row in result["ratios"].items():
        lines.append(f"| {name} | {row['ratio']:.2f} | {_aim(row)} |")
    return lines


def _aim(row: dict[str, float]) -> str:
    return f"{row['aim']:.3g}" if "aim" in row else ""


PAGE = """# Speed of the mazes

    xvfb-run python benchmarks/maze_speed.py --store

NavMaze, 5 x 10 cells, random actions, resets included, {copies} copies on one thread unless the row
says otherwise; Miniworld and ViZDoom step one environment, as they do in a program that uses them;
EnvPool steps {copies} on one thread. All rows take turns in one run, figures are medians over the
rounds, ratios medians of the ratios within a round. Absolute figures drift with the machine.
Processor: {processor}. Versions: {versions}.

{table}

The plain copy moves as many bytes as the pictures have and nothing else; a picture cannot be left
in memory faster than it is written.

## Where the time goes

A step without pictures takes about 60 ns in its kernel (15 of them for sine and cosine, 25 for
moving along walls), the symbolic window 40 ns, the engine's bookkeeping 30 ns; a call from Python
about 10 microseconds, which 256 copies share. Depth comes from casting rays: every eighth column is
traced and the columns in between follow from the faces that were hit, 1.5 microseconds in all. The
picture takes the rest, 4 microseconds at 84 x 84: blocks of 16 x 16 pixels in vector registers,
transposed and packed to three bytes a pixel (`envs/maze/blocks.py`). What was slow before and is
not now: counting references of every view (a third of a light step), looking up types of 35 arrays
in each call (11 of 23 microseconds), checking actions in NumPy (5 of 23), and the window square by
square (110 ns).
"""


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor()


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each row in each round")
    parser.add_argument("--store", action="store_true", help="write the figures and their page")
    args = parser.parse_args()
    result = summary(measure(args.rounds, args.seconds))
    print("\n".join(table(result)))
    if args.store:
        path = ROOT / "results" / "maze_speed.json"
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        page = PAGE.format(table="\n".join(table(result)), **result)
        (ROOT / "docs" / "maze-speed.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
