"""Learning claims: an agent against its baseline on equal steps, over seeds, with intervals.

    python benchmarks/learning.py unreal-small-maze --seeds 5 --workers 2
    python benchmarks/learning.py --list

Every run is a file under ``results/<claim>/``: what is there is not run again, so a claim that was
stopped goes on where it was, and ``--seeds`` can be raised later. When all runs are there, the
summary, the figure and the page in ``docs/`` are written from the files alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"
DOCS = ROOT / "docs"
POINTS = 100
"""Points on each learning curve."""
EPISODES = 100
"""Held-out episodes of the final evaluation."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """One line of a figure: an agent and what of its Config differs from the scenario's."""

    agent: str
    config: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Claim:
    """A question, the runs that answer it, and the variant that the others are compared with."""

    question: str
    scenario: str
    total_timesteps: int
    baseline: str
    variants: dict[str, Variant]


_NONE = {"pixel_control": 0.0, "reward_prediction": 0.0, "value_replay": 0.0}

CLAIMS = {
    "unreal-small-maze": Claim(
        question="Does UNREAL learn a random-goal maze faster than the actor-critic it extends?",
        scenario="small_maze_random_goal",
        total_timesteps=600_000,
        baseline="actor_critic (LSTM)",
        variants={
            "actor_critic (LSTM)": Variant("actor_critic"),
            "unreal": Variant("unreal"),
            "only pixel control": Variant("unreal", {**_NONE, "pixel_control": 0.01}),
            "only reward prediction": Variant("unreal", {**_NONE, "reward_prediction": 1.0}),
            "only value replay": Variant("unreal", {**_NONE, "value_replay": 1.0}),
        },
    ),
    "nav-depth": Claim(
        question="Does predicting depth and loop closure help the two-LSTM navigation agent?",
        scenario="small_maze_random_goal",
        total_timesteps=600_000,
        baseline="nav without auxiliary losses",
        variants={
            "nav without auxiliary losses": Variant(
                "nav", {"depth_1": 0.0, "depth_2": 0.0, "loop_closure": 0.0}
            ),
            "nav with depth (D2)": Variant("nav", {"depth_2": 0.33, "loop_closure": 0.0}),
            "nav with depth and loop closure": Variant("nav"),
        },
    ),
}


def _train(claim: Claim, variant: Variant, seed: int) -> dict[str, Any]:
    """Train one variant with one seed and return its curve and its held-out score."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from daedalus.agents import make_agent
    from daedalus.agents.training import Progress, train
    from daedalus.evaluation import evaluate
    from daedalus.scenarios import load

    torch.set_num_threads(1)
    scenario = load(claim.scenario)
    agent_class = make_agent(variant.agent)
    settings = {**scenario.agents.get(variant.agent, {}), **variant.config}
    config = agent_class.Config(**settings)
    agent = agent_class(
        scenario.env,
        config,
        num_envs=scenario.num_envs,
        seed=seed,
        device="cpu",
        env_kwargs=scenario.env_kwargs,
    )
    steps: list[int] = []
    returns: list[float] = []

    def record(at: Progress) -> None:
        steps.append(at.num_timesteps)
        returns.append(at.mean_return)

    started = time.perf_counter()
    train(
        agent, claim.total_timesteps, progress=record, log_interval=claim.total_timesteps // POINTS
    )
    seconds = time.perf_counter() - started
    final = evaluate(agent, scenario.env, EPISODES, env_kwargs=scenario.env_kwargs)
    return {
        "agent": variant.agent,
        "config": dataclasses.asdict(config),
        "seed": seed,
        "num_envs": scenario.num_envs,
        "steps": steps,
        "mean_return": [None if np.isnan(value) else round(value, 4) for value in returns],
        "held_out_returns": [round(float(value), 4) for value in final.returns],
        "seconds": round(seconds, 1),
        "steps_per_second": round(agent.num_timesteps / seconds, 1),
        "provenance": provenance(),
    }


def provenance() -> dict[str, Any]:
    """Return what a reader needs to trace a figure: versions, hardware, commit."""
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    names = ("daedalus", "torch", "numpy", "numba", "gymnasium")
    return {
        "command": "python " + " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "commit": commit.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in names} | {"python": platform.python_version()},
        "hardware": f"{_processor()}, {os.cpu_count()} cores, 1 thread a run",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")


def _file(name: str, variant: str, seed: int) -> Path:
    plain = "".join(c if c.isalnum() else "-" for c in variant).strip("-")
    return RESULTS / name / f"{plain}-{seed}.json"


def _run(name: str, variant: str, seed: int) -> str:
    """Train in this process and store the run; the file appears whole or not at all."""
    claim = CLAIMS[name]
    result = _train(claim, claim.variants[variant], seed)
    path = _file(name, variant, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"claim": name, "variant": variant, **result}) + "\n")
    partial.rename(path)
    score = np.mean(result["held_out_returns"])
    return f"{variant}, seed {seed}: {score:.2f} after {result['seconds']:.0f} s"


def run_all(name: str, seeds: int, workers: int, only: list[str]) -> None:
    """Run what is missing, all variants of a seed before the next seed."""
    claim = CLAIMS[name]
    variants = only or list(claim.variants)
    wanted = [(v, s) for s in range(seeds) for v in variants if not _file(name, v, s).exists()]
    print(f"{name}: {len(wanted)} runs to do", flush=True)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
        pending = [pool.submit(_run, name, *one) for one in wanted]
        for number, future in enumerate(as_completed(pending), 1):
            print(f"[{number}/{len(wanted)}] {future.result()}", flush=True)


def summarise(name: str) -> None:
    """Write summary.json, the figure and the page of a claim from its stored runs."""
    runs = [json.loads(path.read_text()) for path in sorted((RESULTS / name).glob("*-*.json"))]
    claim = CLAIMS[name]
    groups = {v: [r for r in runs if r["variant"] == v] for v in claim.variants}
    groups = {variant: group for variant, group in groups.items() if group}
    goal = _final(groups[claim.baseline])
    rows = {variant: _row(group, goal, claim) for variant, group in groups.items()}
    first = runs[0]["provenance"]
    summary = {
        "question": claim.question,
        "scenario": claim.scenario,
        "total_timesteps": claim.total_timesteps,
        "baseline": claim.baseline,
        "baseline_final_return": goal,
        "command": f"python benchmarks/learning.py {name}",
        "variants": rows,
        "provenance": {key: first[key] for key in ("versions", "hardware", "commit", "date")},
    }
    (RESULTS / name / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    _draw(name, claim, groups)
    _write_page(name, summary)


def _curve(run: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and mean returns; before the first finished episode the return counts as 0."""
    values = [0.0 if value is None else value for value in run["mean_return"]]
    return np.array(run["steps"]), np.array(values)


def _final(group: list[dict[str, Any]]) -> float:
    """Return the interquartile mean over runs of the last tenth of the curves."""
    from daedalus.evaluation.statistics import iqm

    ends = [_curve(run)[1][-max(1, POINTS // 10) :].mean() for run in group]
    return float(iqm(np.array(ends)))


def _row(group: list[dict[str, Any]], goal: float, claim: Claim) -> dict[str, Any]:
    areas, reached, held = [], [], []
    for run in group:
        steps, values = _curve(run)
        areas.append(np.trapezoid(values, steps) / (steps[-1] - steps[0]))
        above = np.flatnonzero(values >= goal)
        reached.append(float(steps[above[0]]) if above.size else np.inf)
        held.append(np.mean(run["held_out_returns"]))
    finite = np.minimum(reached, claim.total_timesteps)
    return {
        "runs": len(group),
        "area_under_curve": _with_interval(areas),
        "held_out_return": _with_interval(held),
        "steps_to_baseline_final": _with_interval(finite),
        "share_of_budget": round(float(np.mean(finite)) / claim.total_timesteps, 4),
        "never_reached": int(np.isinf(reached).sum()),
        "steps_per_second": round(float(np.mean([run["steps_per_second"] for run in group])), 1),
    }


def _with_interval(values: Any) -> dict[str, float]:
    from daedalus.evaluation.statistics import bootstrap_interval, iqm

    scores = np.array(values, dtype=np.float64)
    interval = bootstrap_interval(scores, np.random.default_rng(0))
    return {
        "iqm": round(iqm(scores), 4),
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
    }


def _draw(name: str, claim: Claim, groups: dict[str, list[dict[str, Any]]]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120)
    grid = np.linspace(0, claim.total_timesteps, POINTS)
    for variant, group in groups.items():
        table = np.array([np.interp(grid, *_curve(run)) for run in group])
        (line,) = axes.plot(grid, _per_point(table, 50), label=f"{variant} ({len(group)} seeds)")
        axes.fill_between(
            grid, _per_point(table, 25), _per_point(table, 75), color=line.get_color(), alpha=0.15
        )
    axes.set(xlabel="environment steps", ylabel="return of an episode", title=claim.scenario)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    (DOCS / "images").mkdir(parents=True, exist_ok=True)
    figure.savefig(DOCS / "images" / f"{name}.png")


def _per_point(table: np.ndarray, percentile: float) -> np.ndarray:
    return np.asarray(np.percentile(table, percentile, axis=0))


def _show(value: dict[str, float], form: str) -> str:
    return f"{value['iqm']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"


def _write_page(name: str, summary: dict[str, Any]) -> None:
    lines = [
        f"# {summary['question']}",
        "",
        f"![learning curves](images/{name}.png)",
        "",
        "Lines are medians over seeds, bands the middle half.",
        "",
        "| variant | seeds | area under curve | held-out return | steps to the baseline's final "
        "return | share of the budget | never reached | steps/s |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for variant, row in summary["variants"].items():
        lines.append(
            f"| {variant} | {row['runs']} | {_show(row['area_under_curve'], '.2f')} "
            f"| {_show(row['held_out_return'], '.2f')} "
            f"| {_show(row['steps_to_baseline_final'], ',.0f')} | {row['share_of_budget']:.0%} "
            f"| {row['never_reached']} | {row['steps_per_second']:,.0f} |"
        )
    source = summary["provenance"]
    lines += [
        "",
        f"Interquartile means with 95 % bootstrap intervals over seeds. The baseline is "
        f"*{summary['baseline']}*, whose final return (last tenth of training, interquartile mean) "
        f"is {summary['baseline_final_return']:.2f}. A run that never reached it counts with the "
        f"whole budget of {summary['total_timesteps']:,} steps. The held-out return is the mean of "
        f"{EPISODES} episodes on seeds that training never saw, actions drawn from the policy.",
        "",
        f"Scenario `{summary['scenario']}`; `{summary['command']}`; {source['hardware']}; "
        f"{', '.join(f'{k} {v}' for k, v in source['versions'].items())}; commit "
        f"`{source['commit'][:10]}`, {source['date']}. Every run is in `results/{name}/`.",
        "",
    ]
    (DOCS / f"{name}.md").write_text("\n".join(lines))


def main() -> None:
    """Run or summarise a claim."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("claim", nargs="?", choices=sorted(CLAIMS), help="which claim to run")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each variant")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--only", nargs="+", default=[], help="run these variants only")
    parser.add_argument("--summary", action="store_true", help="only rewrite the summary")
    parser.add_argument("--list", action="store_true", help="list the claims")
    arguments = parser.parse_args()
    if arguments.list or arguments.claim is None:
        for name, claim in CLAIMS.items():
            print(f"{name}: {claim.question}\n    " + ", ".join(claim.variants))
        return
    known = CLAIMS[arguments.claim].variants
    if unknown := set(arguments.only) - set(known):
        parser.error(f"no variant {unknown.pop()!r}; there are: {', '.join(known)}")
    if not arguments.summary:
        run_all(arguments.claim, arguments.seeds, arguments.workers, arguments.only)
    summarise(arguments.claim)
    print(f"see docs/{arguments.claim}.md")


if __name__ == "__main__":
    main()
