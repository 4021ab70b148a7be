"""A placement drawn: the graph in the colours of the devices, and the Gantt chart of its step."""

from __future__ import annotations

import numpy as np

from daedalus.envs.canvas import INK, Canvas, Colour
from daedalus.envs.placement.graph import Graph
from daedalus.envs.placement.problem import Problem, Step

WIDTH, GRAPH, LANE, EDGE = 960, 330, 30, 16
"""Pixels: of the picture, of the graph's height, of a device's lane, free space."""
COLUMNS = 56
"""Levels of the graph side by side; more continue below."""
REACH = 0.49
"""Share of the height that an edge may span: those between the passes would hide the rest."""
MOST_EDGES = 4000
"""A graph with more is drawn without them."""
FREE: Colour = (176, 178, 184)
FAINT: Colour = (206, 202, 194)
DEVICES: tuple[Colour, ...] = (
    *((66, 118, 214), (226, 128, 52), (64, 168, 104), (206, 72, 74), (142, 92, 196)),
    *((242, 190, 60), (64, 178, 190), (214, 112, 168), (128, 142, 60), (122, 88, 70)),
    *((60, 72, 128), (150, 198, 120), (238, 154, 140), (98, 108, 118), (172, 150, 220)),
)


def colour_of(device: int) -> Colour:
    """Return the colour of a device; grey for none."""
    return DEVICES[device % len(DEVICES)] if device >= 0 else FREE


def draw_placement(problem: Problem, placement: np.ndarray) -> np.ndarray:
    """Return a picture, uint8 (H, W, 3).

    Args:
        problem: What is placed, G groups.
        placement: (at least G,), device of each group, -1 for not yet. The Gantt chart is empty
            until all are placed.
    """
    chosen = np.asarray(placement)[: problem.graph.groups]
    lanes = problem.machine.devices * LANE
    canvas = Canvas(WIDTH, GRAPH + lanes + 3 * EDGE, 1)
    _draw_graph(canvas, problem.graph, chosen[problem.graph.arrays.group])
    step = problem.run(chosen) if (chosen >= 0).all() else None
    _draw_lanes(canvas, problem, step)
    return canvas.picture()


def gantt_rows(step: Step, labels: tuple[str, ...]) -> list[tuple[str, float, float, str]]:
    """Return (device, start, end, name) in ms of every operation that takes time."""
    spans = zip(step.placement, step.schedule.start, step.schedule.finish, labels, strict=True)
    rows = [(f"device {d}", float(a), float(b), label) for d, a, b, label in spans if b > a]
    return sorted(rows)


def layout(graph: Graph) -> np.ndarray:
    """Return where operations are drawn, float64 (N, 2) in [0, 1]: levels from left to right."""
    source, target, _ = graph.edges()
    level = np.zeros(graph.operations, int)
    for a, b in zip(source.tolist(), target.tolist(), strict=True):
        level[b] = max(level[b], level[a] + 1)
    columns = min(COLUMNS, int(level.max()) + 1)
    bands = int(level.max()) // columns + 1
    order = np.lexsort((np.arange(graph.operations), level))
    counts = np.bincount(level)
    rank = np.empty(graph.operations, int)
    rank[order] = np.arange(graph.operations) - np.repeat(np.cumsum(counts) - counts, counts)
    y = (rank + 1.0) / (counts[level] + 1.0)
    return np.stack([(level % columns + 0.5) / columns, (level // columns + y) / bands], 1)


def _draw_graph(canvas: Canvas, graph: Graph, device: np.ndarray) -> None:
    place = layout(graph) * (WIDTH - 2 * EDGE, GRAPH - EDGE) + EDGE
    source, target, _ = graph.edges()
    if len(source) <= MOST_EDGES:
        x, y = abs(place[source] - place[target]).T
        near = (x < 0.6 * WIDTH) & (y < REACH * GRAPH)
        for a, b in zip(place[source[near]], place[target[near]], strict=True):
            _stroke(canvas.pixels, a, b)
    cost = graph.arrays.cost
    room = np.sqrt((WIDTH * GRAPH) / max(graph.operations, 1))
    share = np.sqrt(cost / max(float(cost.max()), 1e-9))
    radius = np.clip(room * (0.12 + 0.2 * share), 1.2, 11.0)
    for (x, y), r, d in zip(place, radius.tolist(), device.tolist(), strict=True):
        canvas.disc(x, y, r, colour_of(d))


def _stroke(pixels: np.ndarray, start: np.ndarray, end: np.ndarray) -> None:
    """Draw a thin line; much quicker than a smooth one."""
    count = int(np.abs(end - start).max()) + 2
    points = np.linspace(start, end, count).astype(int)
    y, x = (np.clip(points[:, 1 - i], 0, pixels.shape[i] - 1) for i in range(2))
    pixels[y, x] = FAINT


def _draw_lanes(canvas: Canvas, problem: Problem, step: Step | None) -> None:
    left, right, top = 3 * EDGE, WIDTH - EDGE, GRAPH + EDGE
    for device in range(problem.machine.devices):
        y = top + device * LANE
        canvas.box((left, y + 2, right, y + LANE - 2), (226, 222, 212))
        canvas.text(left / 2 + 4, y + LANE / 2, str(device), 12, colour_of(device))
    if step is None:
        return
    scale = (right - left) / max(step.time, 1e-9)
    spans = zip(step.schedule.start, step.schedule.finish, step.placement.tolist(), strict=True)
    for i, (begin, end, device) in enumerate(spans):
        y, shade = top + device * LANE, 1.0 if i % 2 else 0.86
        ends = left + begin * scale, left + end * scale
        _bar(canvas.pixels, ends, (y + 4, y + LANE - 9), shade * np.array(colour_of(device)))
    moved = np.flatnonzero(step.schedule.sent >= 0.0)
    sender = step.placement[problem.graph.edges()[0][moved]]
    for use, device in zip(moved, sender.tolist(), strict=True):
        y = top + device * LANE + LANE - 7
        times = step.schedule.sent[use], step.schedule.arrival[use]
        ends = left + times[0] * scale, left + times[1] * scale
        _bar(canvas.pixels, ends, (y, y + 3), np.array(INK))
    canvas.text(right - 40, canvas.pixels.shape[0] - EDGE, f"{step.time:.0f}MS", 12)
    if step.oom:
        canvas.text(left + 20, canvas.pixels.shape[0] - EDGE, "OOM", 12, DEVICES[3])


def _bar(
    pixels: np.ndarray, ends: tuple[float, float], rows: tuple[int, int], colour: np.ndarray
) -> None:
    """Fill a span of time, at least a pixel of it."""
    begin = int(ends[0])
    pixels[rows[0] : rows[1], begin : max(int(ends[1]), begin + 1)] = colour
