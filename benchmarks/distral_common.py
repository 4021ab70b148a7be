"""What pi_0 of Distral does by itself on each of the tasks that it was distilled from.

    python benchmarks/distral_common.py --seeds 5

Trains `distral` on all tasks of the scenario ``two_rooms_tasks`` in every variant that distils a
pi_0, then plays 100 held-out episodes of each task with the task's policy, with pi_0 (that sees no
task), and at random. Every run is kept at once in results/distral-common.json and not run again;
writes docs/distral-common.md and its figure. Half a minute a run.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
from evidence import DOCS, EPISODES, RESULTS, commits, show, with_interval

from daedalus import scenarios
from daedalus.accelerators.files import write_file
from daedalus.accelerators.sequence import task_names
from daedalus.agents import make_agent
from daedalus.agents.distral import Distral
from daedalus.evaluation.evaluate import evaluate
from daedalus.evaluation.provenance import commit, hardware, versions

STORED = RESULTS / "distral-common.json"
TASK = scenarios.load("two_rooms_tasks")
VARIANTS: dict[str, dict[str, Any]] = {
    "KL, one column": {"columns": 1, "c_kl": 0.01, "c_entropy": 0.0},
    "KL, two columns": {"columns": 2, "c_kl": 0.01, "c_entropy": 0.0},
    "KL and entropy, one column": {"columns": 1},
    "KL and entropy, two columns": {"columns": 2},
}
ACTORS = ("the task's policy", "pi_0")
RANDOM = "random"


def scores(actor: Any) -> dict[str, float]:
    """Return an actor's mean return on each task."""
    return {
        task: evaluate(actor, TASK.env, EPISODES, env_kwargs={**TASK.env_kwargs, "task": task}).mean
        for task in task_names(TASK.env_kwargs)
    }


def run(settings: dict[str, Any], seed: int) -> dict[str, dict[str, float]]:
    """Train on all tasks; return what the tasks' policies and pi_0 have on each."""
    torch.set_num_threads(1)
    config = Distral.Config(**{**TASK.agents["distral"], **settings})
    together = {**TASK.env_kwargs, "task": "all"}
    agent = make_agent("distral")(
        TASK.env, config, num_envs=TASK.num_envs, seed=seed, env_kwargs=together
    )
    agent.learn(TASK.total_timesteps)
    return {name: scores(actor) for name, actor in zip(ACTORS, (agent, agent.common), strict=True)}


def run_all(seeds: int) -> None:
    """Run what is missing, all variants of a seed before the next seed."""
    stored = json.loads(STORED.read_text()) if STORED.exists() else {"runs": []}
    stored.setdefault(RANDOM, scores(RANDOM))
    done = {(each["variant"], each["seed"]) for each in stored["runs"]}
    for seed in range(seeds):
        for variant, settings in VARIANTS.items():
            if (variant, seed) in done:
                continue
            began = time.perf_counter()
            returns = run(settings, seed)
            seconds = round(time.perf_counter() - began, 1)
            means = ", ".join(f"{n} {np.mean([*r.values()]):.2f}" for n, r in returns.items())
            print(f"{variant}, seed {seed}: {means} ({seconds} s)", flush=True)
            made: dict[str, Any] = {"commit": commit(), "date": time.strftime("%Y-%m-%d")}
            made |= {"versions": versions(), "hardware": hardware()}
            row = {"variant": variant, "seed": seed, "returns": returns, "seconds": seconds}
            stored["runs"].append({**row, "provenance": made})
            write_file(STORED, (json.dumps(stored) + "\n").encode())


def of(runs: list[dict[str, Any]], variant: str, actor: str) -> np.ndarray:
    """Return the returns (seeds, tasks) of an actor."""
    return np.array(
        [list(each["returns"][actor].values()) for each in runs if each["variant"] == variant]
    )


def draw(runs: list[dict[str, Any]], variants: list[str], random: dict[str, float]) -> None:
    """Draw the returns on each task, a dot for each seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    tasks = list(runs[0]["returns"][ACTORS[0]])
    figure, axes = plt.subplots(
        1, len(variants), figsize=(3 * len(variants), 3.2), dpi=120, sharey=True, squeeze=False
    )
    for axis, variant in zip(axes[0], variants, strict=True):
        for shift, actor in enumerate(ACTORS):
            values = of(runs, variant, actor)
            at = np.arange(len(tasks)) + 0.2 * (shift - 0.5)
            axis.plot(np.tile(at, len(values)), values.ravel(), ".", alpha=0.7, label=actor)
        axis.plot(range(len(tasks)), [random[t] for t in tasks], "_", color="grey", label=RANDOM)
        axis.set_title(variant, fontsize=9)
        axis.set_xticks(range(len(tasks)), tasks, rotation=60)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("return")
    axes[0][-1].legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    (DOCS / "images").mkdir(parents=True, exist_ok=True)
    figure.savefig(DOCS / "images" / "distral-common.png")
    plt.close(figure)


PAGE = """# What does Distral's common policy do by itself?

**{answer}**

[Distral](agents/distral.md) distils pi_0 from the policies of all tasks; it sees what they see,
but not which task it is. Here it plays each of the six tasks of two rooms by itself
(`agent.common`), beside the policy of the task and uniformly random actions. The goal pays 1, every
other step -0.02, and there are 200 at most: -4 is a goal that was not found.

![returns on each task](images/distral-common.png)

{table}

Means of {episodes} held-out episodes on each task, actions drawn; interquartile means over {seeds}
seeds of the mean over tasks, with 95 % bootstrap intervals. Random actions have {random:.2f}.

{found}

Scenario `two_rooms_tasks`, {steps:,} steps on all tasks;
`python benchmarks/distral_common.py --seeds {seeds}`; {processor}, {cores} cores, 1 thread;
{versions}; commits {commits}. Every run is in `results/distral-common.json`.
"""
ANSWER = (
    "It has learnt the way into the left room: there it finds goals by itself that random actions "
    "hardly ever find, and next to none on the right."
)
FOUND = (
    "In the mean of the seeds pi_0 has -1.9 to 0.2 on the three tasks of the left room, where "
    "random actions have -3.8 to -3.9, and -3.3 to -4.0 on those of the right one, where they have "
    "-3.8 to -3.9, too. Those are the tasks that stay unsolved: *right 3* in all 20 runs, *right "
    "1* in 17 and *right 5* in 8, the left ones in none. They may be harder to find: a network for "
    "each task leaves [two unsolved](distral-tasks.md) as well. But with KL in two columns it is "
    "all three in every run: what is learnt first goes left, pi_0 takes it up, and with two "
    "columns every task acts by it. In [tables](distral-two-rooms.md), where all tasks are "
    "learnt, pi_0 goes on in the corridor in either direction."
)
"""What the figures mean."""


def write_page() -> None:
    """Write docs/distral-common.md and its figure from the kept runs."""
    stored = json.loads(STORED.read_text())
    runs = stored["runs"]
    variants = [name for name in VARIANTS if any(each["variant"] == name for each in runs)]
    draw(runs, variants, stored[RANDOM])
    table = ["| variant | " + " | ".join(ACTORS) + " |", "|---|" + "---:|" * len(ACTORS)]
    for variant in variants:
        cells = (show(with_interval(of(runs, variant, a).mean(1)), ".2f") for a in ACTORS)
        table.append(f"| {variant} | " + " | ".join(cells) + " |")
    sources = [each["provenance"] for each in runs]
    text = PAGE.format(
        answer=ANSWER,
        random=np.mean(list(stored[RANDOM].values())),
        found=FOUND,
        table="\n".join(table),
        episodes=EPISODES,
        seeds=len({each["seed"] for each in runs}),
        steps=TASK.total_timesteps,
        processor=sources[0]["hardware"]["processor"],
        cores=sources[0]["hardware"]["cores"],
        versions=", ".join(f"{k} {v}" for k, v in sources[0]["versions"].items()),
        commits=", ".join(f"`{each}`" for each in commits(sources)),
    )
    (DOCS / "distral-common.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Run what is missing, then write figure and page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="runs of each variant")
    parser.add_argument("--summary", action="store_true", help="only rewrite figure and page")
    arguments = parser.parse_args()
    if not arguments.summary:
        run_all(arguments.seeds)
    write_page()
    print("see docs/distral-common.md")


if __name__ == "__main__":
    main()
