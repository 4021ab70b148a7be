"""Tasks one after another: what fine-tuning forgets and what consolidations keep, over seeds.

    python benchmarks/continual.py catch_sequence --seeds 5 --workers 2

Every method learns the stages of a scenario in turn; *all at once* trains on all of them side by
side with the same steps, *one agent a task* on each alone. The runs are those of `daedalus
benchmark`, in a store under ``runs/continual``; finished ones are kept in ``results/``
and not run again. Then the page in ``docs/`` and its figure are written from the files alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from evidence import show, with_interval

from daedalus.accelerators.files import write_file
from daedalus.accelerators.sequence import task_names
from daedalus.evaluation.benchmark import State, benchmark
from daedalus.evaluation.plan import Group, Plan, RunSpec
from daedalus.evaluation.sequence import PREFIX, matrix_from, summed_up
from daedalus.evaluation.store import ResultStore
from daedalus.scenarios import load

ROOT = Path(__file__).parents[1]
RESULTS, DOCS, STORES = ROOT / "results", ROOT / "docs", ROOT / "runs" / "continual"
JOINT = "all at once"
FINE = "fine-tuning"
METHODS: dict[str, dict[str, Any]] = {
    FINE: {"agent": "actor_critic"},
    JOINT: {"agent": "actor_critic"},
    "L2": {"agent": "actor_critic", "consolidation": "l2", "consolidation_weight": 0.01},
    "EWC": {"agent": "actor_critic", "consolidation": "ewc", "consolidation_weight": 300.0},
    "SI": {"agent": "actor_critic", "consolidation": "si", "consolidation_weight": 1.0},
    "progressive": {"agent": "progressive"},
    "EWC, task inferred": {"agent": "actor_critic", "consolidation": "ewc"}
    | {"consolidation_weight": 300.0},
    "EWC, task hidden": {"agent": "actor_critic", "consolidation": "ewc"}
    | {"consolidation_weight": 300.0, "task_gains": False},
}
MORE: dict[str, dict[str, dict[str, Any]]] = {
    "catch_sequence": {
        "fine-tuning of DQN": {"agent": "dqn"},
        "L2 of DQN": {"agent": "dqn", "consolidation": "l2", "consolidation_weight": 0.1},
        "EWC of DQN": {"agent": "dqn", "consolidation": "ewc", "consolidation_weight": 1.0},
        "SI of DQN": {"agent": "dqn", "consolidation": "si", "consolidation_weight": 1.0},
    }
}
"""Methods of one scenario, by its name."""
TOLD: dict[str, dict[str, Any]] = {
    JOINT: {"task": "all"},
    "EWC, task inferred": {"task_id": "inferred"},
    "EWC, task hidden": {"task_id": "hidden"},
}
"""What methods are told of the task, where it is not the scenario's ``task_id``."""
STRENGTHS: dict[str, dict[str, float]] = {
    "small_collect_sequence": {"L2": 1.0, "EWC": 30.0, "SI": 1.0},
}
"""Weights of penalties, where they are not those of `METHODS`."""
CHOSEN = {
    "catch_sequence": "were chosen on seed 0 out of three or more each, DQN's on seed 1000 (not "
    "kept) of 0.3, 1, 3, 10, 30 and 100 (EWC), of 0.1, 1 and 10 (SI) and of 0.01, 0.1 and 1 (L2)",
    "small_collect_sequence": "are the best on seed 1000, not kept, of 30 and 100 (EWC), of 0.1, 1 "
    "and 10 (SI) and of 0.1 and 1 (L2)",
}
"""How they were found."""
SUBJECTS = {"small_collect_sequence": "looks of a maze"}
"""What a page's title speaks of, where it is not tasks."""
NOTES = {
    "catch_sequence": "*Mirrored* shows what *plain* shows, only actions move the paddle the other "
    "way: what is seen cannot tell these two apart. DQN learns every task; fine-tuned it keeps "
    "nothing of the first three, with EWC 65 to 100 % of each of the first four, with SI 83 to "
    "100 %; under L2 none of its runs learns *recoloured*.",
    "small_collect_sequence": "Plain, black and noise help each other; only inverted colours "
    "collide with them. Fine-tuning keeps nothing of these, EWC and SI more than four fifths where "
    "they learnt them: one of their five seeds did not, for what plain and black need is held too "
    "tight there. A layer of 256 units gives room for that: with 128 EWC kept 75 % of inverted "
    "colours at 30, 82 % of a score of 0.62 at 100, and learnt nothing of them at 150 (seed 1000, "
    "not kept); gains of each task's own in the convolutions did not help (not kept). L2 keeps no "
    "more than fine-tuning. Columns of their own keep everything, and bring nothing to a task "
    "before its stage.",
}
"""What a reader of a page should know besides the figures."""
FURTHER = {
    "catch_sequence": "\n\nDQN is stable-baselines3's: two layers of 64 units, a quarter of an "
    "update a step, exploration that begins anew with each task. EWC takes the Fisher information "
    "of all its action values from the task's replay. Its runs are of an AMD EPYC and of a later "
    "commit.",
}
"""What differs in methods of one scenario."""


def methods(name: str) -> dict[str, dict[str, Any]]:
    """Return the methods of a scenario by label, with the strengths of their penalties."""
    own = STRENGTHS.get(name, {})
    return {
        label: entry | ({"consolidation_weight": own[label]} if label in own else {})
        for label, entry in (METHODS | MORE.get(name, {})).items()
    }


def specs_of(name: str, seeds: int, only: list[str]) -> list[RunSpec]:
    """Return the runs of every method and seed."""
    entries = {k: entry for k, entry in methods(name).items() if not only or k in only}
    specs = Plan((Group((name,), entries),), seeds=seeds).specs()
    return [
        dataclasses.replace(spec, env_kwargs={**spec.env_kwargs, **TOLD.get(spec.label, {})})
        for spec in specs
    ]


def run_all(name: str, seeds: int, workers: int, only: list[str]) -> None:
    """Run what is missing, all methods of a seed before the next seed."""
    specs = specs_of(name, seeds, only)
    missing = [spec for spec in specs if not _file(name, spec.label, spec.seed).exists()]
    print(f"{name}: {len(missing)} runs to do", flush=True)
    if missing:
        benchmark(missing, STORES / name, workers=workers, watch=lambda state: _told(name, state))


def _told(name: str, state: State) -> None:
    if state.event:
        print(f"[{state.done}/{state.total}] {state.event}", flush=True)
        with ResultStore(STORES / name) as store:
            for run in store.runs(state="done"):
                _keep(name, store, run)


def _file(name: str, label: str, seed: int) -> Path:
    return RESULTS / _page(name) / f"{label.replace(',', '').replace(' ', '-')}-{seed}.json"


def _keep(name: str, store: ResultStore, run: dict[str, Any]) -> None:
    """Write a run as a file: its matrix of scores, or for joint training the last row alone."""
    path = _file(name, run["label"], run["seed"])
    if path.exists():
        return
    names, episodes = task_names(run["env_kwargs"]), run["episodes"]
    if run["label"] == JOINT:
        returns = _by_task(store, run, len(names))
        matrix = np.array([returns])
    else:
        rows = {PREFIX + n: store.curve(run["id"], PREFIX + n) for n in names}
        matrix = matrix_from(rows, names)
    result = {
        **{key: run[key] for key in ("label", "agent", "config", "seed", "num_envs")},
        **{"tasks": names, "matrix": np.round(matrix, 4).tolist(), "episodes": episodes},
        **{"total_timesteps": run["total_timesteps"], "seconds": round(run["seconds"], 1)},
        "provenance": {
            **{"command": run["command"], "commit": run["git_commit"], "date": run["started"][:10]},
            **{"versions": run["versions"], "hardware": run["hardware"]["processor"]},
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(result) + "\n").encode())


def _by_task(store: ResultStore, run: dict[str, Any], tasks: int) -> list[float]:
    """Return mean returns of the final evaluation by task: each has seeds of its own."""
    from daedalus.evaluation.evaluate import held_out_seeds

    found = store.episodes(run["id"])
    returns = dict(zip(found["seeds"].tolist(), found["returns"].tolist(), strict=True))
    return [
        float(np.mean([returns[s] for s in held_out_seeds(run["episodes"], seed=1 + task)]))
        for task in range(tasks)
    ]


# ------------------------------------------------------------------------------- what came of it


def summarise(name: str) -> None:
    """Write figure and page from the stored runs."""
    scenario = load(name)
    low, high = scenario.scores["random"], scenario.scores["perfect"]
    runs = [json.loads(path.read_text()) for path in sorted((RESULTS / _page(name)).glob("*.json"))]
    groups = {m: [r for r in runs if r["label"] == m] for m in methods(name)}
    groups = {label: group for label, group in groups.items() if group}
    scaled = {
        label: np.array([(np.array(r["matrix"]) - low) / (high - low) for r in group])
        for label, group in groups.items()
    }
    _draw(name, scaled, runs[0]["tasks"])
    _write_page(name, scaled, runs[0])


def _draw(name: str, scaled: dict[str, np.ndarray], tasks: list[str]) -> None:
    """Draw the matrices of all methods, means over seeds, as heat maps."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = {label: m for label, m in scaled.items() if label != JOINT}
    rows = math.ceil(len(shown) / 7)
    columns = math.ceil(len(shown) / rows)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.4 * columns + 1, 3.2 * rows), dpi=120, sharey=True,
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for axis in axes.flat[len(shown) :]:
        axis.set_axis_off()
    for axis, (label, matrices) in zip(axes.flat, shown.items(), strict=False):
        mean = matrices.mean(0)[1:]
        image = axis.imshow(mean, vmin=0, vmax=1, cmap="viridis")
        for (i, j), value in np.ndenumerate(mean):
            colour = "white" if value < 0.6 else "black"
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
        axis.set(title=label, xticks=range(len(tasks)), yticks=range(len(tasks)))
        axis.set_xticklabels(tasks, rotation=60, fontsize=7)
        axis.set_yticklabels([f"after {task}" for task in tasks], fontsize=7)
    figure.colorbar(image, ax=axes, shrink=0.7, label="score on the task")
    (DOCS / "images").mkdir(parents=True, exist_ok=True)
    figure.savefig(DOCS / "images" / f"{_page(name)}.png")
    plt.close(figure)


def _page(name: str) -> str:
    return name.replace("_", "-")


def kept(matrices: np.ndarray) -> np.ndarray:
    """Return the share of each task's score that is left at the end, (runs, tasks - 1).

    That is the last score over the one after the task's own stage, for tasks that were learnt
    (a score above one half), else nan; the last task had no time to be forgotten.
    """
    learnt = np.diagonal(matrices[:, 1:], axis1=1, axis2=2)[:, :-1]
    return np.where(learnt > 0.5, matrices[:, -1, :-1] / learnt, np.nan)


def _row(label: str, matrices: np.ndarray) -> str:
    """Return a line of the table."""
    average = show(with_interval(matrices[:, -1].mean(1)), ".2f")
    if label == JOINT:
        each = ", ".join(f"{v:.2f}" for v in matrices[:, -1].mean(0))
        return f"| {label} | {len(matrices)} | - | {average} | {each} | - | - | - | - |"
    metrics = [dataclasses.asdict(summed_up(m)) for m in matrices]
    rest = [
        show(with_interval([m[key] for m in metrics]), ".2f")
        for key in ("forgetting", "backward_transfer", "forward_transfer")
    ]
    learnt = np.diagonal(matrices[:, 1:], axis1=1, axis2=2).mean()
    each = ", ".join(f"{v:.2f}" for v in matrices[:, -1].mean(0))
    left = [column[~np.isnan(column)] for column in kept(matrices).T]
    share = ", ".join(f"{column.mean():.0%}" if len(column) else "-" for column in left)
    return (
        f"| {label} | {len(matrices)} | {learnt:.2f} | {average} | {each} | {share} "
        f"| {' | '.join(rest)} |"
    )


PAGE = """# What is kept of {subject} learnt one after another?

![score on each task after each stage](images/{page}.png)

    EWC  L + lambda/2 sum_j sum_k F_jk (theta_k - theta*_jk)^2,  F_jk = E (d log p / d theta_k)^2
         of policy and value
    L2   the same with F = 1 around the latest theta*
    SI   L + c sum_k Omega_k (theta_k - theta*_k)^2,  Omega_k: share of k in the fall of the loss

{description} The tasks are {tasks}.
`R[i, j]` is the score on task j after stage i: a mean return over {episodes} held-out episodes, 0
for a random policy and 1 for a perfect one; heat maps are means over seeds. Observations show
which task it is (`task_id: known`) but where it is *hidden* or *inferred*, that is found out from
what is seen; that a task is over is told to all. {note}

| method | seeds | learnt | average at the end | on each task | kept | forgetting {rest} |
|---|---:|---:|---:|---|---|---:|---:|---:|
{rows}

*Learnt* is the mean score on a task right after its own stage; *kept* what is left of it at the
end, task by task, mean over the seeds that had learnt it (a score above one half). *All at once*
trains on all tasks side by side with the same steps in all. Interquartile means over seeds with
95 % bootstrap intervals.

Every method has {steps:,} steps, {envs} environments and the network of the scenario; a column of
`progressive` is as large, so it has more parameters in all. The strengths of penalties
({strengths}) {chosen}. EWC also acts for
{fisher:,} steps at the end of each stage, from which nothing but its Fisher information
comes.{more}

Scenario `{name}`; `{command}`; {hardware}; {versions}; commit `{commit}`, {date}. Every run is in
`results/{page}/`.
"""


def _write_page(name: str, scaled: dict[str, np.ndarray], first: dict[str, Any]) -> None:
    scenario, source = load(name), first["provenance"]
    strengths = ", ".join(
        f"{label} {entry['consolidation_weight']:g}"
        for label, entry in methods(name).items()
        if "consolidation_weight" in entry and label not in TOLD
    )
    text = PAGE.format(
        rest="| backward transfer | forward transfer",
        **{"page": _page(name), "name": name, "tasks": ", ".join(first["tasks"])},
        **{"description": scenario.description, "episodes": first["episodes"]},
        rows="\n".join(_row(label, matrices) for label, matrices in scaled.items()),
        **{"steps": first["total_timesteps"], "envs": first["num_envs"], "strengths": strengths},
        subject=SUBJECTS.get(name, "tasks"),
        **{"note": NOTES.get(name, ""), "chosen": CHOSEN.get(name, "were not searched")},
        more=FURTHER.get(name, ""),
        fisher=16 * first["config"]["n_steps"] * first["num_envs"],
        command=f"python benchmarks/continual.py {name}",
        **{"hardware": source["hardware"], "commit": source["commit"][:10]},
        versions=", ".join(f"{k} {v}" for k, v in source["versions"].items()),
        date=source["date"],
    )
    (DOCS / f"{_page(name)}.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Run what is missing, then write figure and page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenario", nargs="?", default="catch_sequence", help="with stages")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each method")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="these methods")
    parser.add_argument("--summary", action="store_true", help="only rewrite figure and page")
    arguments = parser.parse_args()
    known = methods(arguments.scenario)
    if unknown := set(arguments.only) - set(known):
        parser.error(f"no method {unknown.pop()!r}; there are: {'; '.join(known)}")
    if not arguments.summary:
        run_all(arguments.scenario, arguments.seeds, arguments.workers or 1, arguments.only)
    summarise(arguments.scenario)
    print(f"see docs/{_page(arguments.scenario)}.md")


if __name__ == "__main__":
    main()
