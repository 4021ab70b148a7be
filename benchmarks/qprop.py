"""Q-Prop against TRPO, DDPG and SAC: returns of all episodes, and episodes to thresholds.

    python benchmarks/qprop.py pendulum --seeds 5
    python benchmarks/qprop.py --list

Every finished run is kept as a file under ``results/qprop/<task>/`` with the return and the length
of each episode of training, and is not run again: what was stopped goes on where it was, and
``--seeds`` can be raised later. ``docs/qprop.md`` and its figures are written from the files alone.
The tasks on MuJoCo need ``pip install 'daedalus[mujoco]'``.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import qprop_notes
from evidence import DOCS, RESULTS, commands, linked, short, show, with_interval
from stable_baselines3.common.callbacks import BaseCallback

from daedalus import scenarios
from daedalus.accelerators.files import write_file
from daedalus.agents import make_agent
from daedalus.evaluation.provenance import commit, hardware, versions
from daedalus.evaluation.statistics import bootstrap_interval, probability_of_improvement

HOME = RESULTS / "qprop"
BATCHES = (1000, 5000)
UNBOUNDED, SCALES = "with unbounded targets", "of two scales"
OTHERS: dict[str, dict[str, Any]] = {
    "without critic": {"eta": "none"},
    "aggressive": {"eta": "aggressive"},
    "standard": {"eta": "standard"},
    SCALES: {"one_scale": False},
    UNBOUNDED: {"target_bound": None},
    "with unbounded targets of a slower copy": {"target_bound": None, "target_decay": 0.999},
}
"""What is run besides conservative eta, one scale, a decay of 0.995 and bounded targets; in the
larger batches two scales and unbounded targets alone."""

LOGGED = (
    "correlation",
    "eta_active",
    "variance_ratio",
    "analytic_share",
    "critic_error",
    "critic_bounded",
)
"""Diagnostics of Q-Prop that are kept: means over the second half of training."""


class Task(NamedTuple):
    """A scenario, the episodes of each run, and what its table asks."""

    scenario: str
    episodes: int
    thresholds: tuple[float, ...]
    window: int  # episodes over which returns are averaged
    off_policy: dict[str, int]  # agents that update at every step -> episodes
    note: str = ""


TASKS = {
    "pendulum": Task(
        "pendulum", 120, (-1000, -600, -300), 10, {"ddpg": 40, "sac": 40}, qprop_notes.PENDULUM
    ),
    "hopper": Task(
        "hopper", 600, (50, 100, 200), 20, {"ddpg": 400, "sac": 400}, qprop_notes.HOPPER
    ),
    "half-cheetah": Task(
        "half_cheetah",
        300,
        (0, 500, 1000, 2000),
        10,
        {"ddpg": 100, "sac": 100},
        qprop_notes.HALF_CHEETAH,
    ),
    "swimmer": Task(
        "swimmer", 500, (20, 30, 40, 90), 10, {"ddpg": 60, "sac": 60}, qprop_notes.SWIMMER
    ),
}


class Variant(NamedTuple):
    """A line of a figure."""

    agent: str
    settings: dict[str, Any]  # what differs from the scenario's
    episodes: int


def variants(name: str) -> dict[str, Variant]:
    """Return the lines of a task's figure, by label."""
    task = TASKS[name]
    envs = scenarios.load(task.scenario).num_envs
    found = {}
    for batch in BATCHES:
        steps, size = {"n_steps": batch // envs}, f"{batch:,} steps"
        found[f"TRPO, {size}"] = Variant("trpo", steps, task.episodes)
        found[f"Q-Prop, {size}"] = Variant("qprop", steps, task.episodes)
        for called, other in OTHERS.items():
            if batch == BATCHES[0] or called in (SCALES, UNBOUNDED):
                found[f"Q-Prop {called}, {size}"] = Variant("qprop", steps | other, task.episodes)
    for agent, episodes in task.off_policy.items():
        found[agent.upper()] = Variant(agent, {}, episodes)
    return found


class Episodes(BaseCallback):
    """Notes return and length of every episode, in the order of their ends; stops after some."""

    def __init__(self, wanted: int, num_envs: int) -> None:
        """Begin with none of ``wanted``."""
        super().__init__()
        self.wanted = wanted
        self.returns: list[float] = []
        self.lengths: list[int] = []
        self._sum, self._count = np.zeros(num_envs), np.zeros(num_envs, np.int64)

    def _on_step(self) -> bool:
        self._sum += self.locals["rewards"]
        self._count += 1
        for i in np.flatnonzero(self.locals["dones"]):
            self.returns.append(round(float(self._sum[i]), 3))
            self.lengths.append(int(self._count[i]))
            self._sum[i], self._count[i] = 0.0, 0
        return len(self.returns) < self.wanted


def run(name: str, label: str, seed: int) -> dict[str, Any]:
    """Train once and return what is kept."""
    scenario, variant = scenarios.load(TASKS[name].scenario), variants(name)[label]
    agent_class = make_agent(variant.agent)
    envs = scenario.num_envs if variant.agent in ("qprop", "trpo") else 1
    settings, config = _settings(name, label), _config(name, label)
    agent = agent_class(scenario.env, config, num_envs=envs, seed=seed, device="cpu")
    rows: list[dict[str, float]] = []
    agent.logger.sinks.append(lambda step, row: rows.append(dict(row)))
    episodes = Episodes(variant.episodes, envs)
    began = time.process_time()
    agent.learn(10**9, callback=episodes, log_interval=1000)
    late = rows[len(rows) // 2 :]
    return {
        "task": name,
        "label": label,
        "agent": variant.agent,
        "settings": settings,
        "config": asdict(config),
        "num_envs": envs,
        "seed": seed,
        "returns": episodes.returns,
        "lengths": episodes.lengths,
        "diagnostics": {
            key: round(float(np.mean([row[f"train/{key}"] for row in late])), 4)
            for key in LOGGED
            if late and f"train/{key}" in late[-1]
        },
        "cpu_seconds": round(time.process_time() - began, 1),
        "provenance": {"commit": commit(), "versions": versions(), "hardware": hardware()},
    }


def _settings(name: str, label: str) -> dict[str, Any]:
    """Return what a line sets of its agent's Config."""
    variant = variants(name)[label]
    return {
        **scenarios.load(TASKS[name].scenario).agents.get(variant.agent, {}),
        **variant.settings,
    }


def _config(name: str, label: str) -> Any:
    """Return the whole Config of a line's agent."""
    settings = _settings(name, label)
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
    return make_agent(variants(name)[label].agent).Config(**known)


def _check(path: Path, name: str, label: str) -> None:
    """See that a kept run is of the settings that its line has now, of defaults where it has them.

    Runs from before there were these are the same with the defaults of today (`qprop_notes`).
    """
    kept, now = json.loads(path.read_text()), {"settings": _settings(name, label)}
    now["config"] = json.loads(json.dumps(asdict(_config(name, label))))
    for key, value in now.items():
        if key in kept and kept[key] != value:
            raise SystemExit(
                f"{path} was run with {kept[key]}, not with {value}: delete it, then it is run anew"
            )


def run_all(name: str, seeds: int, only: list[str], minutes: float) -> None:
    """Run what is missing, all lines of a seed before the next seed."""
    end = time.monotonic() + 60 * minutes
    for seed in range(seeds):
        for label in only or variants(name):
            path = _file(name, label, seed)
            if path.exists():
                _check(path, name, label)
                continue
            if time.monotonic() > end:
                print("the time is over; the same command goes on from here")
                return
            found = run(name, label, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, (json.dumps(found) + "\n").encode())
            late = np.mean(found["returns"][-TASKS[name].window :])
            print(f"{label}, seed {seed}: {late:.1f} at the end", flush=True)


def _file(name: str, label: str, seed: int) -> Path:
    plain = "-".join("".join(c if c.isalnum() else " " for c in label).split())
    return HOME / name / f"{plain}-{seed}.json"


def stored(name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the stored runs of a task by label, where there are two or more."""
    runs = [json.loads(path.read_text()) for path in sorted((HOME / name).glob("*-*.json"))]
    for run in runs:  # one may be longer than its line
        run["returns"] = run["returns"][: variants(name)[run["label"]].episodes]
    groups = {label: [r for r in runs if r["label"] == label] for label in variants(name)}
    return {label: group for label, group in groups.items() if len(group) > 1}


def smoothed(returns: list[float], window: int) -> np.ndarray:
    """Return the mean of the last ``window`` episodes after each, or of all so far."""
    sums = np.concatenate([[0.0], np.cumsum(returns)])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - window, 0)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def episodes_to(returns: list[float], threshold: float, window: int) -> float:
    """Return after how many episodes the mean of the last ``window`` reaches a threshold.

    It is infinite where they never do.
    """
    means = smoothed(returns, window)
    above = np.flatnonzero(means[window - 1 :] >= threshold)
    return float(above[0] + window) if above.size else float("inf")


def summarise(name: str) -> None:
    """Write summary.json and the figure of a task, once a line has two runs."""
    task, groups = TASKS[name], stored(name)
    if not groups:
        print(f"{name} has no line with two runs yet: nothing to summarise")
        return
    rows = {label: _row(group, task) for label, group in groups.items()}
    sources = [run["provenance"] for group in groups.values() for run in group]
    found = {
        "task": task._asdict(),
        "variants": rows,
        "fewer_episodes_than_trpo": _ahead(groups, task),
        "versions": sources[-1]["versions"],
        "hardware": sorted({source["hardware"]["processor"] for source in sources}),
        "commits": sorted({short(source["commit"]) for source in sources}),
    }
    (HOME / name / "summary.json").write_text(json.dumps(found, indent=1) + "\n")
    _draw(name, task, groups)


def _row(group: list[dict[str, Any]], task: Task) -> dict[str, Any]:
    returns = [run["returns"] for run in group]
    reached = {t: [episodes_to(r, t, task.window) for r in returns] for t in task.thresholds}
    diagnostics = [run["diagnostics"] for run in group]
    return {
        "runs": len(group),
        "episodes": min(map(len, returns)),
        "final": with_interval([smoothed(r, task.window)[-1] for r in returns]),
        "mean": with_interval([np.mean(r) for r in returns]),
        "to_threshold": {
            f"{t:g}": {
                "median": _finite(float(np.median(found))),
                "reached": int(np.isfinite(found).sum()),
            }
            for t, found in reached.items()
        },
        "diagnostics": {
            key: round(float(np.mean([d[key] for d in diagnostics])), 3) for key in diagnostics[0]
        },
        "cpu_seconds": round(float(np.mean([run["cpu_seconds"] for run in group])), 1),
        "milliseconds_per_step": round(
            float(np.mean([1000 * run["cpu_seconds"] / sum(run["lengths"]) for run in group])), 3
        ),
    }


def _ahead(groups: dict[str, list[dict[str, Any]]], task: Task) -> dict[str, dict[str, Any]]:
    """Return the chance that a run of a line needs fewer episodes than one of TRPO's batches.

    Two runs that never reach a threshold are level.
    """
    found: dict[str, dict[str, Any]] = {}
    for label, group in groups.items():
        theirs = groups.get(f"TRPO, {label.rpartition(', ')[2]}")
        if theirs is None or label.startswith("TRPO"):
            continue
        found[label] = {}
        for threshold in task.thresholds:
            pair = tuple(
                -np.minimum([episodes_to(r["returns"], threshold, task.window) for r in runs], 1e9)
                for runs in (group, theirs)
            )
            if max(map(np.max, pair)) == -1e9:
                continue  # nobody reached it
            interval = bootstrap_interval(
                pair, np.random.default_rng(0), probability_of_improvement
            )
            found[label][f"{threshold:g}"] = {
                "iqm": round(probability_of_improvement(*pair), 3),
                "low": round(interval.low, 3),
                "high": round(interval.high, 3),
            }
    return found


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _draw(name: str, task: Task, groups: dict[str, list[dict[str, Any]]]) -> None:
    """Draw the medians over seeds, and the range of all seeds."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 4.5), dpi=120)
    colors = {"TRPO": "tab:blue", "Q-Prop": "tab:red", "Q-Prop without critic": "tab:gray"}
    colors |= {"Q-Prop of two scales": "tab:brown", "Q-Prop with unbounded targets": "tab:olive"}
    colors |= {"Q-Prop with unbounded targets of a slower copy": "tab:cyan"}
    colors |= {"Q-Prop aggressive": "tab:purple", "Q-Prop standard": "tab:pink"}
    colors |= {"DDPG": "tab:green", "SAC": "tab:orange"}
    for label, group in groups.items():
        length = min(len(run["returns"]) for run in group)
        table = np.array([smoothed(run["returns"], task.window)[:length] for run in group])
        kind, _, size = label.partition(", ")
        style = "--" if size.startswith("5") else "-"
        at = np.arange(1, length + 1)
        (line,) = axes.plot(at, np.median(table, 0), style, color=colors.get(kind), label=label)
        axes.fill_between(at, table.min(0), table.max(0), color=line.get_color(), alpha=0.08)
    for threshold in task.thresholds:
        axes.axhline(threshold, color="black", lw=0.5, ls=":")
    ylabel = f"return, mean of {task.window} episodes"
    axes.set(xlabel="episodes", ylabel=ylabel, title=task.scenario)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.01, 1.0))
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    (DOCS / "images").mkdir(parents=True, exist_ok=True)
    figure.savefig(DOCS / "images" / f"qprop-{name}.png")
    plt.close(figure)


def write_page() -> None:
    """Write docs/qprop.md from the summaries that there are."""
    lines = [
        "# Does Q-Prop need fewer episodes than TRPO?",
        "",
        "**On HalfCheetah early on, where the critic's gradient keeps its own scale, "
        "as in the authors' code (90 episodes to 500, TRPO 162); on Pendulum in batches of 1,000 "
        "steps, with its critic or without; on Hopper and Swimmer five seeds do not tell. As a "
        "control variate the critic helps nowhere.**",
        "",
        "    grad J = E[grad log pi (A - eta Abar)] + E[eta grad_a Q(s, mu) grad mu],"
        "  eta = 1[A Abar > 0]",
        "",
        qprop_notes.INTRO,
    ]
    for name, task in TASKS.items():
        if (HOME / name / "summary.json").is_file():
            lines += _section(name, task)
    (DOCS / "qprop.md").write_text("\n".join([*lines, ""]))


def _section(name: str, task: Task) -> list[str]:
    summary = json.loads((HOME / name / "summary.json").read_text())
    scenario = scenarios.load(task.scenario)
    thresholds = " | ".join(f"episodes to {t:g}" for t in task.thresholds)
    lines = ["", f"## {task.scenario}", "", scenario.description, ""]
    lines += [f"![returns](images/qprop-{name}.png)", ""]
    lines += [
        f"| agent | seeds | episodes | {thresholds} | mean return | return at the end "
        "| corr(A, Abar) | variance | CPU ms a step |",
        "|---|" + "---:|" * (len(task.thresholds) + 7),
    ]
    lines += [_line(label, row) for label, row in summary["variants"].items()]
    lines += ["", "Chance that a run needs fewer episodes than one of TRPO's in equal batches:", ""]
    lines += [
        "| agent | " + " | ".join(f"to {t:g}" for t in task.thresholds) + " |",
        "|---|" + "---:|" * len(task.thresholds),
    ]
    for label, chances in summary["fewer_episodes_than_trpo"].items():
        cells = [show(chances.get(f"{t:g}"), ".2f") for t in task.thresholds]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines += ["", task.note] if task.note else []
    packages = ", ".join(f"{k} {v}" for k, v in summary["versions"].items())
    seeds = {label: row["runs"] for label, row in summary["variants"].items()}
    told = commands(f"python benchmarks/qprop.py {name}", variants(name), seeds)
    lines += [
        "",
        f"*Episodes to*: median over seeds until the mean of the last {task.window} returns "
        "reaches it, and how many seeds did. *Mean return*: of all episodes of training; *at the "
        f"end*: of the last {task.window}; interquartile means with 95 % bootstrap intervals. "
        "*corr(A, Abar)* and *variance* (of the gradient by the policy's mean, with the control "
        "variate, of that without): means over the second half of training. *Chance*: over all "
        "pairs of seeds, with 95 % bootstrap intervals; 0.5 is none. "
        f"Settings of {linked(task.scenario)}. "
        f"{' and '.join(f'`{each}`' for each in told)}; "
        f"{' and '.join(summary['hardware'])}, one thread, "
        f"other work beside it; {packages}; commits {', '.join(summary['commits'])}. Every run is "
        f"in `results/qprop/{name}/`.",
    ]
    return lines


def _line(label: str, row: dict[str, Any]) -> str:
    reached = [
        f"{'-' if t['median'] is None else format(t['median'], '.0f')} ({t['reached']})"
        for t in row["to_threshold"].values()
    ]
    seen = row["diagnostics"]
    critic = [f"{seen[k]:.2f}" if seen.get(k) else "-" for k in ("correlation", "variance_ratio")]
    if critic[0] == "-":
        critic[1] = "-"
    cells = [
        *(label, f"{row['runs']}", f"{row['episodes']:,}", *reached),
        *(show(row["mean"], ".1f"), show(row["final"], ".1f"), *critic),
        f"{row['milliseconds_per_step']:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Run or summarise a task."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", nargs="?", choices=sorted(TASKS), help="which task to run")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each line")
    parser.add_argument("--only", nargs="+", default=[], help="run these lines only")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no run after that")
    parser.add_argument("--summary", action="store_true", help="only rewrite the summary")
    parser.add_argument("--list", action="store_true", help="list the tasks")
    arguments = parser.parse_args()
    if arguments.list or arguments.task is None:
        for name, task in TASKS.items():
            print(f"{name}: {task.episodes:,} episodes; {'; '.join(variants(name))}")
        return
    if unknown := set(arguments.only) - set(variants(arguments.task)):
        parser.error(f"no line {unknown.pop()!r}; there are: {'; '.join(variants(arguments.task))}")
    if not arguments.summary:
        run_all(arguments.task, arguments.seeds, arguments.only, arguments.minutes)
    summarise(arguments.task)
    write_page()
    print("see docs/qprop.md")


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    main()
