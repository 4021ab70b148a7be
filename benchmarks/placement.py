"""Placements without learning on every shipped graph, and the speed of the simulator.

    python benchmarks/placement.py

Every baseline on the machine of each graph's authors (four devices of 16 GB where they name none),
links of 7.6 GB/s and 25 us; simulated annealing with the same number of simulated steps on each
graph, median of five seeds. Speeds are processor time of one core. Writes results/placement.json
and docs/placement.md; a few minutes. A graph in the record is not computed again; ``--summary``
only rewrites the page.
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
from PIL import Image

from daedalus.accelerators.files import write_file
from daedalus.envs.batch import Batch
from daedalus.envs.placement.annealing import anneal
from daedalus.envs.placement.baselines import BASELINES
from daedalus.envs.placement.loaders import graph_names, load_graph
from daedalus.envs.placement.partition import metis
from daedalus.envs.placement.picture import draw_placement
from daedalus.envs.placement.problem import Problem, default_machine, measure
from daedalus.evaluation.provenance import hardware

ROOT = Path(__file__).parents[1]
IMAGE = ROOT / "docs" / "images" / "placement.png"
RESULT, PAGE = ROOT / "results" / "placement.json", ROOT / "docs" / "placement.md"
MEASURED = ROOT / "results" / "placement_measured.json"
EVALUATIONS, SEEDS = 20_000, 5
SIZES = (1_000, 10_000, 100_000)
COLUMNS = (*BASELINES, "METIS", "annealing")


def compare(name: str) -> dict[str, Any]:
    """Return the time in ms and whether memory runs out, for every baseline on one graph."""
    graph = load_graph(name)
    problem = Problem(graph, default_machine(graph))
    row: dict[str, Any] = {
        "operations": graph.operations,
        "groups": graph.groups,
        "devices": problem.machine.devices,
        "critical path": graph.critical_path(),
    }
    for baseline, place in {**BASELINES, "METIS": metis}.items():
        placement = place(problem)
        if placement is not None:
            step = problem.run(placement)
            row[baseline] = {"ms": step.time, "oom": step.oom}
    found = [problem.run(anneal(problem, EVALUATIONS, seed).placement) for seed in range(SEEDS)]
    middle = statistics.median_low([step.time for step in found])
    row["annealing"] = {"ms": middle, "oom": any(step.oom for step in found)}
    return row


def rate(call: Any, count: int) -> float:
    """Return calls per second of processor time, best of five turns."""
    best = np.inf
    for _ in range(5):
        start = time.process_time()
        for _ in range(count):
            call()
        best = min(best, time.process_time() - start)
    return count / best


def speeds() -> dict[str, Any]:
    """Return whole-graph evaluations a second, and nanoseconds per edge by size."""
    rng = np.random.default_rng(0)
    env: Any = gymnasium.make("daedalus/DevicePlacement-v0").unwrapped
    batch = Batch(env.family, 256)
    batch.reset(0)
    actions = rng.integers(0, 6, (256, 96))
    found: dict[str, Any] = {"GNMT, 96 nodes": 256 * rate(lambda: batch.step(actions), 20)}
    for size in SIZES:
        graph = load_graph(f"inception:{size}")
        problem = Problem(graph, default_machine(graph))
        place = rng.integers(0, 4, size).astype(np.int32)
        schedule = problem.run_operations(place).schedule
        arguments = graph.arrays, problem.machine, place, schedule
        per_second = rate(lambda a=arguments: measure(*a), max(200_000 // size, 1))
        edges = len(graph.arrays.consumer)
        found[f"inception:{size}"] = {"edges": edges, "ns per edge": 1e9 / per_second / edges}
    return found


def cell(row: dict[str, Any], column: str, best: float) -> str:
    """Write one time: struck through where memory runs out, bold where it is the best."""
    if column not in row:
        return ""
    text = f"{row[column]['ms']:.1f}"
    if row[column]["oom"]:
        return f"~~{text}~~"
    return f"**{text}**" if row[column]["ms"] <= best * 1.0005 else text


def table(rows: dict[str, Any]) -> str:
    """Write the table of all graphs."""
    lines = ["| graph | groups | devices | critical path | " + " | ".join(COLUMNS) + " |"]
    lines.append("| --- |" + " ---: |" * (3 + len(COLUMNS)))
    for name, row in rows.items():
        times = [row[c]["ms"] for c in COLUMNS if c in row and not row[c]["oom"]]
        cells = [cell(row, column, min(times)) for column in COLUMNS]
        head = f"| {name} | {row['groups']} | {row['devices']} | {row['critical path']:.1f} | "
        lines.append(head + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured() -> str:
    """Write the rank correlations of placement_measured.py."""
    if not MEASURED.exists():
        return "| not measured yet | | | |"
    record = json.loads(MEASURED.read_text(encoding="utf-8"))["networks"]
    return "\n".join(
        f"| {name} | {row['operations']} | {len(row['measured'])} | {row['rank correlation']:.2f} |"
        for name, row in record.items()
    )


def page(result: dict[str, Any]) -> str:
    """Write docs/placement.md."""
    speed = result["speed"]
    sizes = "\n".join(
        f"| inception, {size:,} operations | {speed[f'inception:{size}']['edges']:,} | "
        f"{speed[f'inception:{size}']['ns per edge']:.0f} |"
        for size in SIZES
    )
    text = (ROOT / "benchmarks" / "placement_page.md").read_text(encoding="utf-8")
    for name, value in {
        "{table}": table(result["graphs"]),
        "{sizes}": sizes,
        "{gnmt}": f"{speed['GNMT, 96 nodes']:,.0f}",
        "{evaluations}": f"{EVALUATIONS:,}",
        "{measured}": measured(),
        "{machine}": result["machine"],
    }.items():
        text = text.replace(name, value)
    return text


def draw() -> None:
    """Draw the picture of the page: a long annealing of a step that does not fit one device."""
    graph = load_graph("layer-graphs/inceptionv3_training")
    problem = Problem(graph, default_machine(graph))
    pixels = draw_placement(problem, anneal(problem, 100_000).placement)
    Image.fromarray(pixels).quantize(128).save(IMAGE, optimize=True)


def keep(result: dict[str, Any]) -> None:
    """Write the record so far."""
    write_file(RESULT, (json.dumps(result, indent=1) + "\n").encode())


def main() -> None:
    """Measure and write the record and its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--summary", action="store_true", help="only rewrite the page")
    if not parser.parse_args().summary:
        result: dict[str, Any] = {"machine": hardware()["processor"], "graphs": {}}
        if RESULT.exists():
            result |= json.loads(RESULT.read_text(encoding="utf-8"))
        for name in [n for n in graph_names() if n not in result["graphs"]]:
            result["graphs"][name] = compare(name)
            keep(result)
            print(f"{name}: {result['graphs'][name]['annealing']['ms']:.1f} ms", flush=True)
        keep(result | {"speed": speeds()})
    draw()
    write_file(PAGE, page(json.loads(RESULT.read_text(encoding="utf-8"))).encode())
    print("see docs/placement.md")


if __name__ == "__main__":
    main()
