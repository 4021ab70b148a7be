"""Random search of settings, with equal numbers of draws for an agent and its baseline.

    python benchmarks/search.py --draws 9

Draw k is the same for every agent, as far as the agent has the setting: learning rate and entropy
weight log-uniform (Jaderberg et al., 2017, section 4, searched the same), weight of pixel control
log-uniform, and the number of copies, which sets how many updates a budget of steps is spent on.
The best draw by area under the learning curve is what the claim's scenario holds. Runs are those of
`daedalus benchmark`: what is finished is not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.accelerators.files import write_file
from daedalus.agents import make_agent
from daedalus.evaluation.benchmark import benchmark
from daedalus.evaluation.curves import area_under_curve
from daedalus.evaluation.plan import Group, Plan, RunSpec
from daedalus.evaluation.store import ResultStore

ROOT = Path(__file__).parents[1]
SCENARIO = "small_maze_random_goal"
AGENTS = ("actor_critic", "unreal")
STEPS = 300_000


def draw(k: int) -> tuple[int, dict[str, float]]:
    """Return the number of copies and the settings of draw ``k``."""
    rng = np.random.default_rng((0x5EA7C4, k))

    def between(low: float, high: float) -> float:
        return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.2g}")

    settings = {
        "learning_rate": between(3e-4, 4e-3),
        "entropy_weight": between(1e-3, 3e-2),
        "pixel_control": between(0.005, 0.1),
    }
    return int(rng.choice([8, 16, 32])), settings


def runs_of(k: int) -> list[RunSpec]:
    """Return the runs of draw ``k``, one for each agent."""
    copies, settings = draw(k)
    entries: dict[str, dict[str, Any]] = {}
    for agent in AGENTS:
        known = {field.name for field in dataclasses.fields(make_agent(agent).Config)}
        mine = {name: value for name, value in settings.items() if name in known}
        entries[f"{agent}, draw {k}"] = {"agent": agent, **mine}
    group = Group((SCENARIO,), entries, STEPS, copies)
    return Plan((group,), seeds=1).specs()


def search(draws: int, store: Path, workers: int) -> list[dict[str, Any]]:
    """Run what is missing and return a row for each run, the best first."""
    specs = {spec.id: (k, spec) for k in range(draws) for spec in runs_of(k)}
    benchmark([spec for _, spec in specs.values()], store, workers=workers, watch=_tell)
    rows = []
    with ResultStore(store) as results:
        for run in results.runs(state="done"):
            if run["id"] in specs:
                k, spec = specs[run["id"]]
                area = area_under_curve(results.curve(run["id"]), STEPS)
                settings = {name: spec.config[name] for name in draw(k)[1] if name in spec.config}
                rows.append({"agent": spec.agent, "draw": k, "copies": spec.num_envs, **settings})
                rows[-1]["area_under_curve"] = round(float(area), 3)
    return sorted(rows, key=lambda row: (row["agent"], -row["area_under_curve"]))


def _tell(state: Any) -> None:
    if state.event:
        print(f"[{state.done}/{state.total}] {state.event}", flush=True)


def main() -> None:
    """Search from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--draws", type=int, default=9)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    rows = search(args.draws, ROOT / "runs" / "search" / SCENARIO, args.workers)
    for row in rows:
        print(row)
    path = ROOT / "results" / "unreal-small-maze" / "search.json"
    content = {"scenario": SCENARIO, "total_timesteps": STEPS, "seed": 0, "draws": rows}
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
