"""Tasks one after another: what fine-tuning forgets and what consolidations keep, over seeds.

    python benchmarks/continual.py catch_sequence --seeds 5 --workers 2

Every method learns the stages of a scenario in turn; *all at once* trains on all of them side by
side with the same steps. For the transfer of progressive columns (`ALONE`) a column learns each
later task by itself. The runs are those of `daedalus benchmark`, in a store under
``runs/continual``; finished ones are kept in ``results/`` and not run again. Then the page in
``docs/`` and its figure are written from the files alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from evidence import commands, commits, linked, show, with_interval

from daedalus.accelerators.files import write_file
from daedalus.accelerators.sequence import stage_ends, task_names
from daedalus.evaluation.benchmark import State, benchmark
from daedalus.evaluation.continual import transfer
from daedalus.evaluation.curves import cleaned
from daedalus.evaluation.plan import Group, Plan, RunSpec
from daedalus.evaluation.sequence import PREFIX, matrix_from, summed_up
from daedalus.evaluation.store import ResultStore
from daedalus.scenarios import load

ROOT = Path(__file__).parents[1]
RESULTS, DOCS, STORES = ROOT / "results", ROOT / "docs", ROOT / "runs" / "continual"
JOINT = "all at once"
FINE = "fine-tuning"
COLUMNS = "progressive"
METHODS: dict[str, dict[str, Any]] = {
    FINE: {"agent": "actor_critic"},
    JOINT: {"agent": "actor_critic"},
    "L2": {"agent": "actor_critic", "consolidation": "l2", "consolidation_weight": 0.01},
    "EWC": {"agent": "actor_critic", "consolidation": "ewc", "consolidation_weight": 300.0},
    "SI": {"agent": "actor_critic", "consolidation": "si", "consolidation_weight": 1.0},
    COLUMNS: {"agent": "progressive"},
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
ALONE: dict[str, dict[str, Any]] = {
    "from scratch": {"task_id": "hidden"},  # which leaves nothing but the first column
    "beside untrained columns": {},
}
"""How a column learns a single task for as long as its stage, and what it is told: with nothing
beside it, or with as many columns as in the sequence that have learnt nothing."""
SHORT = ("catch_sequence",)
"""Where `ALONE` is run: a logged return is a mean of 100 episodes, which there end within a row."""
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
    "catch_sequence": "were chosen on seed 0, one of these, out of three or more each, DQN's "
    "on seed 1000 (not kept) of 0.3, 1, 3, 10, 30 and 100 (EWC), of 0.1, 1 and 10 (SI) and of "
    "0.01, 0.1 and 1 (L2)",
    "small_collect_sequence": "are the best on seed 1000, not kept, of 30 and 100 (EWC), of 0.1, 1 "
    "and 10 (SI) and of 0.1 and 1 (L2)",
}
"""How they were found."""
SUBJECTS = {"small_collect_sequence": "looks of a maze"}
"""What a page's title speaks of, where it is not tasks."""
ANSWERS = {
    "catch_sequence": "**Of each task that the actor-critic learnt EWC keeps 83 to 97 % on "
    "average, SI 85 % to all, progressive columns all; fine-tuning a fifth of the first two, 66 "
    "and 93 % of the next. With DQN runs of EWC differ.**\n\n",
    "small_collect_sequence": "**Only inverted colours are at stake: EWC and SI keep 84 and 85 % "
    "of them on average, progressive columns all, fine-tuning 4 %.**\n\n",
}
"""The first lines of a page."""
NOTES = {
    "catch_sequence": "*Mirrored* shows what *plain* shows, only actions move the paddle the other "
    "way: what is seen cannot tell these two apart. With the actor-critic runs of EWC keep 57 % "
    "or more of each task that they learnt, of SI 65 % or more; in five and three of ten it is "
    "less than four fifths of some task. *Mirrored* is learnt by less than half in three of EWC's "
    "runs and one of SI's, *recoloured* in another. DQN learns every task when it is fine-tuned, "
    "and keeps next to nothing of the first three. With EWC it learns all of them too, and runs "
    "differ: one keeps 34 % of *plain* and 18 % of *noisy*, another 100 and 99 %. With SI three "
    "of five runs learn *recoloured*, with L2 none.",
    "small_collect_sequence": "Plain, black and noise help each other; only inverted colours "
    "collide with them. Fine-tuning keeps 1 to 10 % of these, L2 3 to 14 %. Four of five runs of "
    "EWC and of SI learn them, less well than fine-tuning (0.74 to 0.80 and 0.61 to 0.72, not 0.81 "
    "to 0.85), and keep 92, 95, 76 and 74 % (EWC) and 88, 93, 93 and 68 % (SI): three of these "
    "eight are below four fifths. The fifth, of the same seed, does not learn them, it seems for "
    "what plain and black need is held too tight there. A layer of 256 units gives room: with 128 "
    "EWC kept 75 % of inverted colours at 30, 82 % of a score of 0.62 at 100, and learnt nothing "
    "of them at 150 (seed 1000, not kept); gains of each task's own in the convolutions did not "
    "help (not kept). Columns of their own keep everything, and know nothing of a task before its "
    "stage.",
}
"""What a reader of a page should know besides the figures."""
FURTHER = {
    "catch_sequence": " *EWC, task hidden* has no gains of a task's own.\n\nDQN is "
    "stable-baselines3's: two layers of 64 units, a quarter of an update a step, exploration that "
    "begins anew with each task. EWC takes the Fisher information of all its action values from "
    "the task's replay.",
}
"""What differs in methods of one scenario."""


def methods(name: str) -> dict[str, dict[str, Any]]:
    """Return the methods of a scenario by label, with the strengths of their penalties."""
    own = STRENGTHS.get(name, {})
    return {
        label: entry | ({"consolidation_weight": own[label]} if label in own else {})
        for label, entry in (METHODS | MORE.get(name, {})).items()
    }


def alone(name: str) -> dict[str, dict[str, Any]]:
    """Return what runs of a single task are told of it, by label; the first task has none."""
    tasks = task_names(load(name).env_kwargs)[1:] if name in SHORT else []
    return {f"{kind}: {t}": {"task": t, **told} for kind, told in ALONE.items() for t in tasks}


def specs_of(name: str, seeds: int, only: list[str]) -> list[RunSpec]:
    """Return the runs of every method and seed."""
    told = TOLD | alone(name)
    columns = {**METHODS[COLUMNS], "columns": len(task_names(load(name).env_kwargs))}
    entries = methods(name) | dict.fromkeys(alone(name), columns)
    chosen = {label: e for label, e in entries.items() if not only or _kind(label) in only}
    specs = Plan((Group((name,), chosen),), seeds=seeds).specs()
    return [_of_task(spec, told.get(spec.label, {})) for spec in specs]


def _kind(label: str) -> str:
    return label.split(": ")[0]


def _known(name: str) -> list[str]:
    """List what ``--only`` takes."""
    return [*methods(name), *dict.fromkeys(_kind(label) for label in alone(name))]


def _of_task(spec: RunSpec, told: dict[str, Any]) -> RunSpec:
    """Return a run that is told so; that of a single task has the steps of its stage."""
    names, steps = task_names(spec.env_kwargs), spec.total_timesteps
    if (task := told.get("task")) in names:
        stages = np.diff([0, *stage_ends(spec.env_kwargs, steps)])
        steps = int(stages[names.index(task)])
    return dataclasses.replace(spec, env_kwargs={**spec.env_kwargs, **told}, total_timesteps=steps)


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
    return RESULTS / _page(name) / f"{label.translate(str.maketrans(' ', '-', ',:'))}-{seed}.json"


def _keep(name: str, store: ResultStore, run: dict[str, Any]) -> None:
    """Write a run as a file: its learning curve and its matrix of scores.

    Of joint training the matrix is the last row alone, of a single task there is none.
    """
    path = _file(name, run["label"], run["seed"])
    if path.exists():
        return
    names, episodes = task_names(run["env_kwargs"]), run["episodes"]
    if run["label"] == JOINT:
        returns = _by_task(store, run, len(names))
        matrix = np.array([returns])
    elif run["label"] in alone(name):
        matrix = np.zeros((0, len(names)))
    else:
        rows = {PREFIX + n: store.curve(run["id"], PREFIX + n) for n in names}
        matrix = matrix_from(rows, names)
    curve = dict(zip(("steps", "returns"), cleaned(store.curve(run["id"])), strict=True))
    result = {
        **{key: run[key] for key in ("label", "agent", "config", "seed", "num_envs")},
        **{"tasks": names, "matrix": np.round(matrix, 4).tolist(), "episodes": episodes},
        **{"total_timesteps": run["total_timesteps"], "seconds": round(run["seconds"], 1)},
        "curve": {key: np.round(values, 4).tolist() for key, values in curve.items()},
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
    first = next(iter(groups.values()))[0]
    _draw(name, scaled, first["tasks"])
    _write_page(name, scaled, first, runs)


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


def transfers(
    runs: list[dict[str, Any]], env_kwargs: dict[str, Any], zero: float
) -> dict[str, dict[str, list[float]]]:
    """Return the transfer to later columns by what the earlier ones are and by task, one a seed.

    That is the area under the learning curve, above the score ``zero``, over that of a column from
    scratch of the same seed, both at the steps of the rows that the stage has.

    Args:
        runs: As stored; those without a curve do not count.
        env_kwargs: Of the sequence, whose stages are tasks of their own.
        zero: Score that counts as nothing.
    """
    curves = {
        (r["label"], r["seed"]): (np.array(r["curve"]["steps"]), np.array(r["curve"]["returns"]))
        for r in runs
        if "curve" in r
    }
    found: dict[str, dict[str, list[float]]] = {"trained": {}, "untrained": {}}
    for run in runs:
        if run["label"] != COLUMNS or "curve" not in run:
            continue
        steps, returns = curves[COLUMNS, run["seed"]]
        ends = stage_ends(env_kwargs, run["total_timesteps"])
        for task, start, end in zip(run["tasks"][1:], ends, ends[1:], strict=False):
            own = [curves.get((f"{kind}: {task}", run["seed"])) for kind in ALONE]
            if own[0] is None or own[1] is None:
                continue
            rows = (steps > start) & (steps <= end)
            at = steps[rows] - start
            scratch, untrained = ((at, np.interp(at, *curve)) for curve in own if curve)
            for kind, curve in (("trained", (at, returns[rows])), ("untrained", untrained)):
                ratio = transfer(curve, scratch, end - start, zero)
                found[kind].setdefault(task, []).append(ratio)
    return found


def _transfer(name: str, runs: list[dict[str, Any]]) -> str:
    """Return what a page says of transfer."""
    scenario = load(name)
    found = transfers(runs, scenario.env_kwargs, scenario.scores["random"])
    if not found["trained"]:
        return UNMEASURED
    told = {
        kind: ", ".join(f"{t} {show(with_interval(v), '.2f')}" for t, v in tasks.items())
        for kind, tasks in found.items()
    }
    return MEASURED.format(**told)


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
    share = ", ".join(_share(column) for column in kept(matrices).T)
    return (
        f"| {label} | {len(matrices)} | {learnt:.2f} | {average} | {each} | {share} "
        f"| {' | '.join(rest)} |"
    )


def _share(shares: np.ndarray) -> str:
    """Return what runs keep of a task: mean, range, and how many had learnt it if not all."""
    left = shares[~np.isnan(shares)]
    if not len(left):
        return "-"
    ends = [f"{100 * end:.0f}" for end in (left.min(), left.max())]
    more = [" to ".join(ends)] * (ends[0] != ends[1])
    more += [f"{len(left)} of {len(shares)}"] * (len(left) < len(shares))
    return f"{left.mean():.0%}" + (f" ({'; '.join(more)})" if more else "")


PAGE = """# What is kept of {subject} learnt one after another?

{answer}![score on each task after each stage](images/{page}.png)

    EWC  L + lambda/2 sum_j sum_k F_jk (theta_k - theta*_jk)^2,  F_jk = E (d log p / d theta_k)^2
         of the policy, and {fisher_value:g} times that of the value
    L2   the same with F = 1 around the latest theta*
    SI   L + c sum_k Omega_k (theta_k - theta*_k)^2,  Omega_k += max(0, omega_k) / (Delta_k^2 + xi)
         omega_k: share of k in the fall of the loss over a task, in which it moved by Delta_k

{description} The tasks are {tasks}.
`R[i, j]` is the score on task j after stage i: a mean return over {episodes} held-out episodes, 0
for a random policy and 1 for a perfect one; heat maps are means over seeds. Observations show
which task it is (`task_id: known`) but where it is *hidden* or *inferred*, that is found out from
what is seen; that a task is over is told to all. {note}

| method | seeds | learnt | average at the end | on each task | kept | forgetting {rest} |
|---|---:|---:|---:|---|---|---:|---:|---:|
{rows}

*Learnt* is the mean score on a task right after its own stage; *kept* what is left of it at the
end, task by task: mean and range over the seeds that had learnt it (a score above one half), and
how many these are if not all. *All at once* trains on all tasks side by side with the same steps in
all. Figures with a 95 % bootstrap interval are interquartile means over seeds, others means.

{transfer}

Every method has {steps:,} steps, {envs} environments and the network of the
scenario{gains}; a column of `progressive` is as large, so it has more parameters in all. The
strengths of penalties ({strengths}) {chosen}. EWC also acts for
{fisher:,} steps at the end of each stage, from which nothing but its Fisher information
comes.{more}

Scenario {scenario}; `{command}`; {hardware}; {versions}; commits {commits}, {dates}. Every run is
in
`results/{page}/`, with its own commit and processor.
"""
GAINS = ", in which every task\nhas gains of its own on the hidden units"
UNMEASURED = """Forward transfer is 0 for `progressive` by construction: a column has learnt nothing
before its stage. Whether a later column learns sooner for the earlier ones (the area under its
learning curve over that of a column by itself, Rusu et al. 2016, section 3) was not measured."""
MEASURED = """Forward transfer is 0 for `progressive` by construction: a column has learnt nothing
before its stage. Whether a later column learns sooner for the earlier ones says the area under its
learning curve over that of a column by itself (Rusu et al. 2016, section 3; 1: no gain): {trained}.
With as many earlier columns that have learnt nothing: {untrained}. The paper's other baselines, a
column of which only the output or everything is trained further, were not compared so."""


def _write_page(
    name: str,
    scaled: dict[str, np.ndarray],
    first: dict[str, Any],
    runs: list[dict[str, Any]],
) -> None:
    scenario = load(name)
    sources = [run["provenance"] for run in runs]
    strengths = ", ".join(
        f"{label} {entry['consolidation_weight']:g}"
        for label, entry in methods(name).items()
        if "consolidation_weight" in entry and label not in TOLD
    )
    dates = sorted({source["date"] for source in sources})
    seeds = Counter((_kind(run["label"]), run["seed"]) for run in runs)
    told = commands(
        f"python benchmarks/continual.py {name}", _known(name), Counter(kind for kind, _ in seeds)
    )
    text = PAGE.format(
        rest="| backward transfer | forward transfer",
        **{"page": _page(name), "scenario": linked(name), "tasks": ", ".join(first["tasks"])},
        **{"description": scenario.description, "episodes": first["episodes"]},
        rows="\n".join(_row(label, matrices) for label, matrices in scaled.items()),
        **{"steps": first["total_timesteps"], "envs": first["num_envs"], "strengths": strengths},
        **{"subject": SUBJECTS.get(name, "tasks"), "answer": ANSWERS.get(name, "")},
        **{"note": NOTES.get(name, ""), "chosen": CHOSEN.get(name, "were not searched")},
        **{"more": FURTHER.get(name, ""), "transfer": _transfer(name, runs)},
        fisher_value=first["config"]["fisher_value"],
        gains=GAINS if first["config"]["task_gains"] else "",
        fisher=16 * first["config"]["n_steps"] * first["num_envs"],
        command="` and `".join(told),
        hardware=" and ".join(sorted({source["hardware"] for source in sources})),
        versions=", ".join(f"{k} {v}" for k, v in first["provenance"]["versions"].items()),
        commits=", ".join(f"`{each}`" for each in commits(sources)),
        dates=dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}",
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
    known = _known(arguments.scenario)
    if unknown := set(arguments.only) - set(known):
        parser.error(f"no method {unknown.pop()!r}; there are: {'; '.join(known)}")
    if not arguments.summary:
        run_all(arguments.scenario, arguments.seeds, arguments.workers or 1, arguments.only)
    summarise(arguments.scenario)
    print(f"see docs/{_page(arguments.scenario)}.md")


if __name__ == "__main__":
    main()
