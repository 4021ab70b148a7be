"""Agents that place computations against placements without learning, at equal simulated steps.

    python benchmarks/placement_agents.py --graphs layer-graphs/resnet50_training --seeds 5
    python benchmarks/placement_agents.py --agents placeto --seeds 3
    python benchmarks/placement_agents.py --summary

`placer` and `hierarchical_placer` search one graph with the budget of `placement.py`'s annealing,
and their best placement counts. `placeto` learns on synthetic graphs of 64 operations and is then
read on every shipped graph, which it never saw, without further training: the best placement on the
way of one greedy and four drawn episodes. What an agent learns in, and for how long, is said by its
scenario. Each finished run is kept at once in results/placement_agents.json and not run again;
writes docs/placement-agents.md from all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from daedalus import scenarios
from daedalus.accelerators.files import write_file
from daedalus.agents import make_agent
from daedalus.envs.batch import Batch
from daedalus.envs.placement.loaders import graph_names
from daedalus.evaluation.provenance import commit, hardware, versions

ROOT = Path(__file__).parents[1]
RESULT, PAGE = ROOT / "results" / "placement_agents.json", ROOT / "docs" / "placement-agents.md"
BASELINES = ROOT / "results" / "placement.json"
SEARCHERS = ("placer", "hierarchical_placer")
SCENARIOS = {
    "placer": "placement_resnet_training",
    "hierarchical_placer": "placement_resnet_hierarchical",
    "placeto": "placement_transfer",
}
EPISODES = 5
RULES = ("single device", "HEFT", "min-cut", "METIS", "chain", "pipeline", "experts")
MARKS = {
    "annealing": ("x", "0.4"),
    "placer": ("o", "tab:red"),
    "hierarchical_placer": ("s", "tab:blue"),
    "placeto": ("^", "tab:green"),
}


def learnt(name: str, seed: int, **world: Any) -> Any:
    """Train an agent as its scenario says; ``world`` comes before the scenario's."""
    task = scenarios.load(SCENARIOS[name])
    made = {**task.env_kwargs, **world}
    agent = make_agent(name)(task.env, num_envs=task.num_envs, seed=seed, env_kwargs=made)
    return agent.learn(task.total_timesteps)


def search(name: str, graph: str, seed: int) -> dict[str, Any]:
    """Let an agent search one graph; return the ms of its best placement."""
    agent = learnt(name, seed, graph=graph)
    problem = agent.batch.family.world.problems[0]
    step = problem.run(agent.best.placement.cpu().numpy())
    return {"ms": step.time, "oom": step.oom}


def read(agent: Any, graph: str, seed: int) -> dict[str, Any]:
    """Play one greedy and several drawn episodes; return the best placement on their way."""
    env: Any = gymnasium.make("daedalus/PlacementImprovement-v0", graph=graph, unit="single")
    batch = Batch(env.unwrapped.family, EPISODES)
    batch.reset(seed)
    problem = batch.family.world.problems[0]  # type: ignore[attr-defined]
    step = problem.run(np.zeros(problem.graph.groups, np.int64))  # where episodes start
    best = (float(step.time), bool(step.oom))
    for _ in range(problem.graph.groups):
        observation = {k: v.copy() for k, v in batch.observation.items()}
        drawn = agent.predict(observation)[0]
        first = {k: v[:1] for k, v in observation.items()}
        drawn[0] = agent.predict(first, deterministic=True)[0][0]
        batch.step(drawn)
        info = {
            k: np.where(batch.ended[:, None], batch.final_info[k], v) for k, v in batch.info.items()
        }
        full = (info["memory"] * 1e9 > problem.machine.memory * (1 + 1e-6)).any(1)
        for time_, oom in zip(info["run_time"][:, 0], full, strict=True):
            best = min(best, (float(time_), bool(oom)), key=lambda pair: (pair[1], pair[0]))
    return {"ms": best[0], "oom": best[1], "evaluations": EPISODES * problem.graph.groups}


def run(result: dict[str, Any], agents: list[str], graphs: list[str], seeds: int) -> None:
    """Carry out what is missing, and keep each run at once."""
    runs = result.setdefault("runs", {})
    for seed in range(seeds):
        for graph in graphs:
            for name in (a for a in agents if a in SEARCHERS):
                if f"{name} {graph} {seed}" not in runs:
                    keep(result, f"{name} {graph} {seed}", lambda: search(name, graph, seed))  # noqa: B023
        missing = [g for g in graphs if f"placeto {g} {seed}" not in runs]
        if "placeto" in agents and missing:
            agent = learnt("placeto", seed)
            for graph in missing:
                other = transferred(agent, graph)
                keep(result, f"placeto {graph} {seed}", lambda: read(other, graph, seed))  # noqa: B023


def transferred(agent: Any, graph: str) -> Any:
    """Return the same policy for another graph and number of devices."""
    world = {"graph": graph, "unit": "single"}
    other = type(agent)("daedalus/PlacementImprovement-v0", num_envs=1, env_kwargs=world)
    other.network.load_state_dict(agent.network.state_dict())
    return other


def keep(result: dict[str, Any], key: str, work: Any) -> None:
    """Do the work, note what it took, and write the record."""
    start = time.process_time()
    done = work()
    done |= {"seconds": time.process_time() - start, "commit": commit()}
    result["runs"][key] = done
    result |= {"hardware": hardware(), "versions": versions()}
    write_file(RESULT, (json.dumps(result, indent=1) + "\n").encode())
    print(f"{key}: {done['ms']:.1f} ms{' (out of memory)' if done['oom'] else ''}", flush=True)


def table(result: dict[str, Any], baselines: dict[str, Any]) -> str:
    """Write the table of the graphs that were run."""
    columns = (*RULES, "annealing")
    agents = (*SEARCHERS, "placeto")
    lines = [f"| graph | {' | '.join(columns)} | {' | '.join(agents)} |"]
    lines.append("| --- |" + " ---: |" * (len(columns) + len(agents)))
    graphs = sorted({key.split()[1] for key in result["runs"]})
    for graph in graphs:
        row = baselines.get(graph, {})
        cells = [shown([row[c]]) if c in row else "" for c in columns]
        for name in agents:
            cells.append(shown(found(result, name, graph)))
        lines.append(f"| {graph} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(runs: list[dict[str, Any]]) -> str:
    """Write the median of the runs that fit, their range and number.

    Where memory ends in all of them, theirs is struck through.
    """
    if not runs:
        return ""
    fits = [run for run in runs if not run["oom"]]
    times = sorted(run["ms"] for run in fits or runs)
    text = f"{statistics.median(times):.1f}"
    text = text if fits else f"~~{text}~~"
    some = 0 < len(fits) < len(runs)
    number = f"{len(fits)} of {len(runs)} fit" if some else f"n = {len(runs)}"
    return text if len(runs) == 1 else f"{text} ({times[0]:.1f} to {times[-1]:.1f}, {number})"


def found(result: dict[str, Any], name: str, graph: str) -> list[dict[str, Any]]:
    """Return an agent's runs on a graph."""
    return [run for key, run in result["runs"].items() if key.split()[:2] == [name, graph]]


def best_rule(row: dict[str, Any]) -> float:
    """Return the ms of the best placement that fits, of all that need no search."""
    return min(float(row[c]["ms"]) for c in RULES if c in row and not row[c]["oom"])


def draw(result: dict[str, Any], baselines: dict[str, Any]) -> None:
    """Draw what annealing and the agents find, relative to the best rule of each graph."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    graphs = sorted({key.split()[1] for key in result["runs"]}, reverse=True)
    figure, ax = plt.subplots(figsize=(8, 8), dpi=120)
    for name, (mark, color) in MARKS.items():
        times: list[float] = []
        places: list[int] = []
        for place, graph in enumerate(graphs):
            row = baselines[graph]
            runs = [row[name]] if name in row else found(result, name, graph)
            kept = [run["ms"] / best_rule(row) for run in runs if not run["oom"]]
            times += kept
            places += [place] * len(kept)
        ax.plot(times, places, mark, color=color, ms=5, alpha=0.8, label=name)
    ax.axvline(1.0, color="black", lw=1)
    ax.set_xscale("log")
    ticks = (0.8, 0.9, 1.0, 1.2, 1.5, 2.0, 3.0)
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    full = [" *" if baselines[g]["single device"]["oom"] else "" for g in graphs]
    ax.set_yticks(range(len(graphs)), [g + mark for g, mark in zip(graphs, full, strict=True)])
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlabel("step time / that of the best rule;  *: does not fit one device")
    ax.grid(axis="y", lw=0.3)
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PAGE.parent / "images" / "placement-agents.png")
    plt.close(figure)


def page(result: dict[str, Any]) -> str:
    """Write docs/placement-agents.md and draw its figure."""
    baselines = json.loads(BASELINES.read_text(encoding="utf-8"))["graphs"]
    draw(result, baselines)
    text = (ROOT / "benchmarks" / "placement_agents_page.md").read_text(encoding="utf-8")
    text = text.replace("{table}", table(result, baselines))
    packages = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
    machine = f"{result['hardware']['processor']}, {result['hardware']['cores']} cores"
    text = text.replace("{where}", f"{machine}; {packages}; the commit of each run is kept with it")
    budgets = {"evaluations": SCENARIOS["placer"], "steps": SCENARIOS["placeto"]}
    for name, scenario in budgets.items():
        text = text.replace(f"{{{name}}}", f"{scenarios.load(scenario).total_timesteps:,}")
    return text


def main() -> None:
    """Run what is missing and write record and page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", nargs="+", default=[*SEARCHERS, "placeto"])
    parser.add_argument("--graphs", nargs="+", default=graph_names())
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--summary", action="store_true", help="only rewrite the page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {"runs": {}}
    if not arguments.summary:
        run(result, arguments.agents, arguments.graphs, arguments.seeds)
    write_file(PAGE, page(result).encode())
    print("see docs/placement-agents.md")


if __name__ == "__main__":
    main()
