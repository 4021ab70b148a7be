"""Speed of the street games on one core, in towns of any size, in one run.

    python benchmarks/street_speed.py --store

Random actions, resets and new goals included, one thread. The rows take turns; figures are steps in
a second of processor time, best of the rounds, since other work on the machine only slows. Also how
long a town takes to be worked out, once its code is compiled. ``--store`` writes
results/street_speed.json and docs/street-speed.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.accelerators.files import write_file
from daedalus.envs.batch import Batch
from daedalus.envs.streets.family import Streets
from daedalus.envs.streets.games import StreetCoins, StreetInstructions, StreetTaxi
from daedalus.envs.streets.town import get_town

ROOT = Path(__file__).parents[1]
SYMBOLS = ("yaw", "neighbors", "latlng", "target_latlng")
TOWNS = ("west_oakland", "city:5000", "city:50000")


def stepper(family: Streets, observations: tuple[str, ...], copies: int) -> Callable[[], int]:
    """Return what does some steps and returns how many."""
    batch = Batch(family, copies, observations=observations, labels=())
    batch.reset(0)
    actions = np.random.default_rng(0).integers(0, 5, (16, copies))

    def step() -> int:
        for row in actions:
            batch.step(row)
        return actions.size

    return step


def rows() -> dict[str, Callable[[], int]]:
    """Return every row's name and stepper."""
    found = {}
    for town in TOWNS:
        family = StreetTaxi(streets=town)
        places = f"{family.town.graph.size:,} places"
        found[f"StreetTaxi, symbolic, {places}"] = stepper(family, SYMBOLS, 1024)
        found[f"StreetTaxi, 84 x 84 RGB, {places}"] = stepper(family, ("image", "goal"), 256)
    found["StreetCoins, 84 x 84 RGB"] = stepper(StreetCoins(), ("image",), 256)
    symbols = ("yaw", "neighbors", "instructions")
    found["StreetInstructions, symbolic"] = stepper(StreetInstructions(), symbols, 1024)
    return found


def measure(rounds: int, seconds: float) -> dict[str, list[float]]:
    """Return steps a second of every row in every round."""
    steppers = rows()
    found: dict[str, list[float]] = {name: [] for name in steppers}
    for number in range(rounds):
        for name, step in steppers.items():
            step()
            started, count = time.process_time(), 0
            while (elapsed := time.process_time() - started) < seconds:
                count += step()
            found[name].append(count / elapsed)
        print(f"round {number + 1} of {rounds}", flush=True)
    return found


def building() -> dict[str, float]:
    """Return the seconds of processor time that towns take, all code compiled."""
    get_town("city:1000")
    found = {}
    for town in TOWNS:
        started = time.process_time()
        size = get_town(town, 10.0 + 1e-9).graph.size  # other spacing: not the kept one
        found[f"{size:,} places"] = time.process_time() - started
    return found


def page(record: dict[str, Any]) -> str:
    """Return the page of a record."""
    lines = [
        "# Speed of the street games",
        "",
        f"`{record['command']}` on {record['machine']}: random actions, resets and",
        "new goals included, one thread, steps in a second of processor time, best of rounds.",
        f"Load average {record['load_average'][0]:.1f}: other work slows these figures.",
        "",
        "| what | steps/s | lowest round |",
        "| --- | ---: | ---: |",
    ]
    for name, speeds in record["all"].items():
        lines.append(f"| {name} | {max(speeds):,.0f} | {min(speeds):,.0f} |")
    lines += ["", "| town | seconds to work out |", "| --- | ---: |"]
    lines += [f"| {name} | {value:.2f} |" for name, value in record["building"].items()]
    return "\n".join(lines) + "\n" + TEXT


TEXT = """
## What a large city costs

No work of a step or a reset grows with the town. What `forward` does is a table of places and 16
headings. The visited places are bits, and those that were set are remembered, so that clearing them
costs no more than setting them did. Coins are laid by a keyed shuffle that is asked, never written.
A goal within the curriculum's reach is drawn from the squares around the taxi. The length of the
shortest way, which a goal pays and its score (SPL) needs, is the least sum over common hubs of two
short sorted lists (pruned landmark labelling, `envs/streets/paths.py`): exact, as the tests compare
with a search. Working the lists out is what takes time when a large town is made. What a large city
does cost is memory: its tables and the taxis' marks do not fit into the processor's caches.

A view is painted from the runs of facades that each place sees, found once by casting rays from
street to street (`envs/streets/facades.py`); sixteen by sixteen pixels at once, as in the mazes.
"""


def main() -> None:
    """Measure, print, store."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each row in each round")
    parser.add_argument("--store", action="store_true", help="write the figures and their page")
    arguments = parser.parse_args()
    found = measure(arguments.rounds, arguments.seconds)
    record = {
        "command": "python benchmarks/street_speed.py --store",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
        "building": building(),
        "all": found,
    }
    print(page(record))
    if arguments.store:
        text = json.dumps(record, indent=1) + "\n"
        write_file(ROOT / "results" / "street_speed.json", text.encode())
        write_file(ROOT / "docs" / "street-speed.md", page(record).encode())


if __name__ == "__main__":
    main()
