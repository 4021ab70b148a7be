"""Write ``docs/web-scores.md`` and its figure from ``results/web-scores.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from daedalus.accelerators.files import write_file
from daedalus.evaluation.statistics import bootstrap_interval, mean, wilson_interval

ROOT = Path(__file__).resolve().parents[1]
PAGE, FIGURE = ROOT / "docs" / "web-scores.md", ROOT / "docs" / "images" / "web-scores.png"
NATIVE = ("random", "cloned 0", "cloned 10", "cloned 100", "cloned 100 + RL", "oracle")
COLOURS = ("#9aa0a6", "#c8b6e2", "#8ecae6", "#219ebc", "#ffb703", "#2a9d8f")
KINDS = {
    "fresh": "classic tasks, instances never seen",
    "train": "form sites, train goals",
    "test": "form sites, held-out goals",
    "site": "held-out form sites",
}
GROUP_OF = {"fresh": "classics", "train": "sites", "test": "sites", "site": "sites"}
CLICKS = (
    *("click-test", "click-test-2", "click-button", "click-link", "click-color", "click-tab"),
    *("click-dialog", "focus-text", "focus-text-2", "grid-coordinate"),
)
TEXTS = (
    *("enter-text", "enter-password", "enter-date", "enter-time", "login-user"),
    *("multi-orderings", "use-autocomplete"),
)
FLIGHTS = ("flight-aurora", "flight-borealis", "flight-comet")
Runs = dict[str, dict[str, Any]]


def scores(runs: Runs, kind: str, stage: str) -> dict[str, list[float]]:
    """Return the success of every seed, by task."""
    found: dict[str, list[float]] = {}
    for key, run in runs.items():
        if key.rpartition("/")[0] == f"{GROUP_OF[kind]}/{stage}":
            for task, value in run["success"].get(kind, {}).items():
                found.setdefault(task, []).append(float(np.mean(value)))
    return found


def shown(tables: dict[str, list[float]], tasks: tuple[str, ...] = ()) -> str:
    """Write mean, interval over seeds and number of seeds of some tasks (all of them)."""
    columns = [values for task, values in tables.items() if not tasks or task in tasks]
    if not columns:
        return ""
    table = np.array(columns).T
    text = f"{mean(table):.2f}"
    if len(table) < 2:
        return text
    low, high = bootstrap_interval(table, np.random.default_rng(0), mean)
    return text if high - low < 0.005 else f"{text} [{max(low, 0):.2f}, {min(high, 1):.2f}]"


def summary(runs: Runs) -> str:
    """Write a line for each kind of goal, a column for each stage."""
    lines = [f"| | {' | '.join(NATIVE)} |", "| --- |" + " --- |" * len(NATIVE)]
    rows: list[tuple[str, str, tuple[str, ...]]] = [(KINDS[kind], kind, ()) for kind in KINDS]
    rows.insert(1, ("of these: one click", "fresh", CLICKS))
    rows.insert(2, ("of these: text to type", "fresh", TEXTS))
    rows.insert(5, ("of these: flights, held-out goals", "test", FLIGHTS))
    for name, kind, tasks in rows:
        cells = [shown(scores(runs, kind, stage), tasks) for stage in NATIVE]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def by_task(runs: Runs, kind: str) -> str:
    """Write a line for each task, the mean over seeds for each stage."""
    tables = [scores(runs, kind, stage) for stage in NATIVE]
    lines = [f"| {KINDS[kind]} | {' | '.join(NATIVE)} |", "| --- |" + " --- |" * len(NATIVE)]
    for task in sorted({task for table in tables for task in table}):
        cells = [f"{np.mean(table[task]):.2f}" if task in table else "" for table in tables]
        lines.append(f"| `{task}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def browser(runs: Runs) -> str:
    """Write success in Chromium beside that of the same networks in the native backend."""
    lines = ["| | native | real browser | episodes in the browser |", "| --- | --- | --- | --- |"]
    for kind, name in KINDS.items():
        played = [
            run["success"][kind]
            for key, run in runs.items()
            if key.startswith(f"{GROUP_OF[kind]}/browser/")
        ]
        won = [w for one in played for episodes in one.values() for w in episodes]
        if won:
            low, high = wilson_interval(sum(won), len(won))
            native = shown(scores(runs, kind, "cloned 100 + RL"))
            cell = f"{np.mean(won):.2f} [{low:.2f}, {high:.2f}]"
            lines.append(f"| {name} | {native} | {cell} | {len(won)} |")
    return "\n".join(lines)


def figure(runs: Runs) -> None:
    """Draw mean success by kind of goal and stage; a dot for each seed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    plot, axes = pyplot.subplots(figsize=(9.0, 3.6), layout="constrained")
    width = 0.8 / len(NATIVE)
    for k, (stage, colour) in enumerate(zip(NATIVE, COLOURS, strict=True)):
        for place, kind in enumerate(KINDS):
            columns = list(scores(runs, kind, stage).values())
            if columns:
                x, seeds = place - 0.4 + (k + 0.5) * width, np.array(columns).mean(0)
                label = stage if place == 0 else None
                axes.bar(x, seeds.mean(), width * 0.9, color=colour, label=label)
                axes.plot([x] * len(seeds), seeds, "o", color="#333333", markersize=2.5)
    axes.set_xticks(range(len(KINDS)), list(KINDS.values()))
    axes.set(ylabel="success", ylim=(0.0, 1.02))
    axes.legend(ncols=len(NATIVE), loc="upper center", bbox_to_anchor=(0.5, 1.16), frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    plot.savefig(FIGURE, dpi=110)
    pyplot.close(plot)


def write_page(results: dict[str, Any]) -> None:
    """Write page and figure."""
    runs: Runs = results["runs"]
    figure(runs)
    text = (ROOT / "benchmarks" / "web_scores_page.md").read_text(encoding="utf-8")
    seeds = len({key.rpartition("/")[2] for key in runs if "/cloned 100/" in key})
    parts = {
        "summary": summary(runs),
        "browser": browser(runs),
        "tasks": "\n\n".join(by_task(runs, kind) for kind in KINDS),
        "seeds": str(seeds),
        "minutes": f"{sum(run['processor_seconds'] for run in runs.values()) / 60:.0f}",
        "commit": str(results["commit"])[:7],
        "processor": str(results["hardware"]["processor"]),
    }
    for name, part in parts.items():
        text = text.replace("{" + name + "}", part)
    write_file(PAGE, text.encode())
    print("see docs/web-scores.md")
