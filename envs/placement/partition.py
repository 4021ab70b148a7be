"""Cutting a graph: balanced min-cut, and contiguous pieces by dynamic programming."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from daedalus.envs.placement.graph import Graph
from daedalus.envs.placement.groups import coarsen, group_sums
from daedalus.envs.placement.problem import Problem
from daedalus.scenarios.extras import require

DENSE = 1000
"""Groups for which the spectrum is worked out; larger graphs are merged first."""
TOO_MUCH = 1e9
"""Milliseconds that a piece counts which does not fit."""
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of a group's tensors that plans take to be alive at once, in the order of trying."""
UNEVEN = 1.1
"""How many times its even share a part may have after refinement."""


def min_cut(problem: Problem) -> np.ndarray:
    """Return parts of even weight with few bytes between them, one for each device: int64 (G,).

    Recursive bisection by the Fiedler vector, then moves of single groups that lessen the cut
    (Fiduccia and Mattheyses 1982, without their hill climbing). A group weighs the mean of its
    shares of work and of memory.
    """
    graph = coarsen(problem.graph, DENSE)
    weight, between = group_weights(graph), _between(graph)
    part = np.zeros(graph.groups, np.int64)
    _bisect(part, np.arange(graph.groups), problem.machine.devices, weight, between)
    _refine(part, problem.machine.devices, weight, between)
    chosen = np.zeros(problem.graph.groups, np.int64)
    chosen[problem.graph.arrays.group] = part[graph.arrays.group]
    return chosen


def metis(problem: Problem) -> np.ndarray:
    """Return METIS's parts (Karypis and Kumar 1998) on the same weights: int64 (G,).

    Raises:
        MissingExtraError: pymetis is not installed; names the command.
    """
    pymetis = require("pymetis")
    graph = problem.graph
    between = _between(graph)
    scale = 1e6 / max(between.max(), 1e-9)
    neighbours = [np.flatnonzero(row) for row in between]
    widths = np.concatenate([row[n] for row, n in zip(between, neighbours, strict=True)])
    _, part = pymetis.part_graph(
        problem.machine.devices,
        adjacency=[n.tolist() for n in neighbours],
        eweights=np.maximum(1, widths * scale).astype(int).tolist(),
        vweights=np.maximum(1, 1e6 * group_weights(graph)).astype(int).tolist(),
    )
    return np.asarray(part, np.int64)


def group_weights(graph: Graph) -> np.ndarray:
    """Return the mean of each group's shares of work and memory: float64 (G,), sum 1."""
    shares = []
    for values in (graph.arrays.cost, graph.arrays.resident):
        sums = group_sums(graph, values)
        shares.append(sums / sums.sum() if sums.sum() > 0 else np.full(len(sums), 1 / len(sums)))
    return np.asarray(np.mean(shares, 0))


def _between(graph: Graph) -> np.ndarray:
    """Return the bytes that pass between each two groups, either way: float64 (G, G)."""
    source, target, size = graph.edges()
    bytes_ = np.zeros((graph.groups, graph.groups))
    np.add.at(bytes_, (graph.arrays.group[source], graph.arrays.group[target]), size + 1.0)
    bytes_ += bytes_.T
    np.fill_diagonal(bytes_, 0.0)
    return bytes_


def _bisect(
    part: np.ndarray, members: np.ndarray, parts: int, weight: np.ndarray, between: np.ndarray
) -> None:
    """Split the members by the Fiedler vector until each piece is one part, numbered on."""
    if parts == 1 or len(members) < 2:
        return
    inside = between[np.ix_(members, members)]
    degree = inside.sum(1)
    root = 1.0 / np.sqrt(np.maximum(degree, 1e-300))
    laplacian = np.eye(len(members)) - root[:, None] * inside * root
    fiedler = np.linalg.eigh(laplacian)[1][:, 1] * root
    order = np.argsort(fiedler, kind="stable")
    before = np.cumsum(weight[members][order]) - weight[members][order] / 2
    few = parts // 2
    cut = int(np.searchsorted(before, weight[members].sum() * few / parts))
    cut = min(max(cut, 1), len(members) - 1)
    low, high = members[order[:cut]], members[order[cut:]]
    part[high] += few
    _bisect(part, low, few, weight, between)
    _bisect(part, high, parts - few, weight, between)


def _refine(
    part: np.ndarray, parts: int, weight: np.ndarray, between: np.ndarray, rounds: int = 10
) -> None:
    """Move groups to the part they exchange most with, while the parts stay even."""
    load = np.bincount(part, weight, parts)
    most = max(UNEVEN / parts, float(weight.max()))
    for _ in range(rounds):
        moved = False
        for group in np.argsort(-weight, kind="stable").tolist():
            pull = np.bincount(part, between[group], parts)
            home = part[group]
            room = load + weight[group] <= most
            room[home] = True
            best = int(np.argmax(np.where(room, pull, -1.0)))
            if pull[best] > pull[home]:
                load[home] -= weight[group]
                load[best] += weight[group]
                part[group], moved = best, True
        if not moved:
            return


def chain(problem: Problem, bottleneck: bool = False) -> np.ndarray:
    """Return the best cut of the topological order into contiguous pieces: int64 (G,).

    Piece after piece goes to device after device; a device may stay empty. Optimal for chains.

    Args:
        problem: What is placed.
        bottleneck: Lessen the longest stage (work, or transfer out of it), as a pipeline of many
            steps wants it (PipeDream); otherwise the transfers, as one step wants it.

    A piece that does not fit its device is avoided if there is any other way.
    """
    return first_that_fits(problem, lambda memory: _chain(problem, memory, bottleneck))


def first_that_fits(problem: Problem, plan: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the first plan that fits, counting ever more of what may be alive at once.

    Args:
        problem: What is placed.
        plan: From the bytes (G,) that each group is taken to need to the device of each group. They
            are its standing memory and a share of all tensors that it makes: first 0, at last 1.
    """
    graph = problem.graph
    made = np.bincount(graph.producer, graph.arrays.held, graph.operations)
    standing, made = (group_sums(graph, a) for a in (graph.arrays.resident, made))
    plans = []
    for share in SHARES:
        plans.append(plan(standing + share * made))
        if not problem.run(plans[-1]).oom:
            return plans[-1]
    return plans[0]


def _chain(problem: Problem, needed: np.ndarray, bottleneck: bool) -> np.ndarray:
    """Return the best cut for groups that need so many bytes."""
    graph, machine = problem.graph, problem.machine
    groups, devices = graph.groups, machine.devices
    work, memory = (
        np.concatenate([[0.0], np.cumsum(a)])
        for a in (group_sums(graph, graph.arrays.cost), needed)
    )
    crossing = _crossing(graph)
    best = np.full((devices + 1, groups + 1), np.inf)
    choice = np.zeros((devices + 1, groups + 1), np.int64)
    best[0, 0] = 0.0
    for d in range(devices):
        span = _cut_times(machine.latency, machine.bandwidth, d, crossing)
        for end in range(groups + 1):
            load = (work[end] - work[: end + 1]) / machine.speed[d]
            full = memory[end] - memory[: end + 1] > machine.memory[d]
            out = np.where(np.arange(end + 1) < end, span[end], 0.0)
            stage = np.maximum(load, out) if bottleneck else load + out
            before = best[d, : end + 1]
            total = (np.maximum(before, stage) if bottleneck else before + stage) + TOO_MUCH * full
            choice[d + 1, end] = end - int(np.argmin(total[::-1]))  # of equals the shortest piece
            best[d + 1, end] = total[choice[d + 1, end]]
    placement = np.zeros(groups, np.int64)
    end = groups
    for d in reversed(range(devices)):
        start = int(choice[d + 1, end])
        placement[start:end] = d
        end = start
    return placement


def _crossing(graph: Graph) -> np.ndarray:
    """Return the bytes of the tensors that a cut before each group goes through: (G + 1,)."""
    arrays = graph.arrays
    source, target, _ = graph.edges()
    tensor = graph.uses(np.arange(len(arrays.size)))
    low, high = (np.full(len(arrays.size), v) for v in (graph.groups, 0))
    for end in (arrays.group[source], arrays.group[target]):
        np.minimum.at(low, tensor, end)
        np.maximum.at(high, tensor, end)
    change = np.zeros(graph.groups + 2)
    np.add.at(change, low + 1, arrays.size)
    np.add.at(change, high + 1, -arrays.size)
    return np.cumsum(change)[: graph.groups + 1]


def _cut_times(
    latency: np.ndarray, bandwidth: np.ndarray, device: int, crossing: np.ndarray
) -> np.ndarray:
    """Return the time of each cut's transfers from a device to the next; none at the end."""
    following = min(device + 1, len(latency) - 1)
    times = latency[device, following] + crossing / bandwidth[device, following]
    times[[0, -1]] = 0.0
    return np.asarray(times)
