"""Random search of settings, with equal numbers of draws for an agent and its baselines.

    python benchmarks/search.py unreal-small-maze --draws 8
    python benchmarks/search.py pgq-catch --draws 8

All agents' draw k comes from the same random numbers, each agent's own ranges apart; every range is
log-uniform. The best draw by area under the learning curve, mean over seeds, is what the claim of
that name holds. Runs are those of `daedalus benchmark`: what is finished is not run again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
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


Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Search:
    """What is drawn for a claim, and on which seeds it is tried: none of the claim's."""

    scenario: str
    total_timesteps: int
    agents: dict[str, dict[str, Any]]
    """What is the same in all draws, by agent, or by a name of its own with an ``agent``."""
    ranges: dict[str, Range]
    own_ranges: dict[str, dict[str, Range]] = dataclasses.field(default_factory=dict)
    """In place of `ranges`, by agent."""
    copies: tuple[int, ...] = ()
    """Numbers of environments to choose from; by default the scenario's."""
    seeds: tuple[int, ...] = (1000,)


_SMALL = {"lstm": 0, "hidden": 64, "n_steps": 5}
NAV_ALONE = {"depth_1": 0.0, "depth_2": 0.0, "loop_closure": 0.0}

SEARCHES = {
    # Jaderberg et al. 2017, section 4, searched learning rate and entropy weight the same
    "unreal-small-maze": Search(
        scenario="small_maze_random_goal",
        total_timesteps=300_000,
        agents={"actor_critic": {}, "unreal": {}},
        ranges={
            "learning_rate": (1e-3, 6e-3),
            "entropy_weight": (3e-4, 3e-3),
            "pixel_control": (0.005, 0.1),
        },
        copies=(8, 16),
        seeds=(1000, 1001),
    ),
    "unreal-small-maze-wide": Search(  # the first, of the baseline alone
        scenario="small_maze_random_goal",
        total_timesteps=300_000,
        agents={"actor_critic": {}},
        ranges={
            "learning_rate": (3e-4, 4e-3),
            "entropy_weight": (1e-3, 3e-2),
            "pixel_control": (0.005, 0.1),
        },
        copies=(8, 16, 32),
        seeds=(1000, 1001),
    ),
    "unreal-far-goal": Search(  # of the baseline alone
        scenario="small_maze_far_goal",
        total_timesteps=600_000,
        agents={"actor_critic": {}},
        ranges={"learning_rate": (7e-4, 7e-3), "entropy_weight": (3e-4, 1e-2)},
    ),
    "nav-depth": Search(
        scenario="small_maze_random_goal",
        total_timesteps=300_000,
        agents={"nav": {}, "nav without auxiliary losses": {"agent": "nav", **NAV_ALONE}},
        ranges={"learning_rate": (8e-4, 6e-3), "entropy_weight": (3e-4, 3e-3)},
        copies=(8, 16),
    ),
    "pgq-catch": Search(
        scenario="catch",
        total_timesteps=50_000,
        agents={"actor_critic": _SMALL, "pgq": _SMALL, "dqn": {}},
        ranges={"learning_rate": (2e-3, 3e-2), "entropy_weight": (3e-3, 0.1)},
        own_ranges={"dqn": {"learning_rate": (3e-4, 1e-2)}},  # Adam's, theirs are RMSProp's
    ),
    "pgq-maze": Search(
        scenario="demo",
        total_timesteps=300_000,
        agents={"actor_critic": {}, "pgq": {"hidden": 128}, "dqn": {}},
        ranges={"learning_rate": (5e-4, 8e-3), "entropy_weight": (1e-3, 3e-2)},
        own_ranges={"dqn": {"learning_rate": (1e-4, 2e-3)}},  # Adam's, theirs are RMSProp's
    ),
    "feudal-montezuma": Search(
        scenario="montezuma_rooms_no_skull",
        total_timesteps=3_000_000,
        agents={"actor_critic": {}, "feudal": {}},
        ranges={
            "learning_rate": (3e-4, 1e-2),
            "entropy_weight": (1e-3, 0.1),
            "intrinsic_weight": (0.02, 1.0),
        },
        copies=(16, 64),
    ),
    "feudal-keys-doors": Search(
        scenario="small_keys_doors",
        total_timesteps=600_000,
        agents={"actor_critic": {}, "feudal": {}},
        ranges={
            "learning_rate": (3e-4, 4e-3),
            "entropy_weight": (1e-3, 3e-2),
            "intrinsic_weight": (0.02, 1.0),
        },
    ),
}


def draw(search: Search, k: int) -> tuple[int | None, dict[str, dict[str, Any]]]:
    """Return the number of copies and the settings of draw ``k``, agents among them, by name."""
    rng = np.random.default_rng((0x5EA7C4, k))
    shares = {name: rng.uniform() for name in search.ranges}
    copies = int(rng.choice(search.copies)) if search.copies else None

    def between(low: float, high: float, share: float) -> float:
        return float(f"{low * (high / low) ** share:.2g}")

    entries = {}
    for name, fixed in search.agents.items():
        settings = {"agent": name, **fixed}
        known = {f.name for f in dataclasses.fields(make_agent(settings["agent"]).Config)}
        ranges = search.ranges | search.own_ranges.get(name, {})
        drawn = {n: between(*ranges[n], shares[n]) for n in search.ranges if n in known}
        entries[name] = settings | drawn
    return copies, entries


def runs_of(search: Search, k: int) -> list[RunSpec]:
    """Return the runs of draw ``k``, one for each name and seed."""
    copies, entries = draw(search, k)
    named = {f"{name}, draw {k}": own for name, own in entries.items()}
    group = Group((search.scenario,), named, search.total_timesteps, copies)
    specs = Plan((group,), seeds=1).specs()
    return [dataclasses.replace(spec, seed=seed) for seed in search.seeds for spec in specs]


def run(search: Search, draws: int, store: Path, workers: int) -> list[dict[str, Any]]:
    """Run what is missing and return a row for each draw, the best of each agent first."""
    specs = {spec.id: (k, spec) for k in range(draws) for spec in runs_of(search, k)}
    benchmark([spec for _, spec in specs.values()], store, workers=workers, watch=_tell)
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    with ResultStore(store) as results:
        for found in results.runs(state="done"):
            if found["id"] in specs:
                k, spec = specs[found["id"]]
                area = area_under_curve(results.curve(found["id"]), search.total_timesteps)
                settings = {n: spec.config[n] for n in search.ranges if n in spec.config}
                name = spec.label.rpartition(", draw")[0]
                head = {"agent": name, "draw": k, "copies": spec.num_envs, **settings}
                row = rows.setdefault((name, k), {**head, "area_under_curve": []})
                row["area_under_curve"].append(round(float(area), 3))
    return sorted(rows.values(), key=lambda r: (r["agent"], -np.mean(r["area_under_curve"])))


def _tell(state: Any) -> None:
    if state.event:
        print(f"[{state.done}/{state.total}] {state.event}", flush=True)


def main() -> None:
    """Search from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("claim", choices=sorted(SEARCHES), help="whose settings to search")
    parser.add_argument("--draws", type=int, default=9, help="draws for each agent")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    args = parser.parse_args()
    search = SEARCHES[args.claim]
    rows = run(search, args.draws, ROOT / "runs" / "search" / search.scenario, args.workers)
    for row in rows:
        print(row)
    path = ROOT / "results" / args.claim / "search.json"
    head = {"scenario": search.scenario, "total_timesteps": search.total_timesteps}
    content = {**head, "seeds": search.seeds, "draws": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(content, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
