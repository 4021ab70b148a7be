"""Groups of operations that are placed together, so that large graphs ask for few decisions."""

from __future__ import annotations

import numpy as np

from daedalus.envs.placement.graph import Graph

SLACK = 2.0
"""How many times its even share of the work, or of the memory, a merged group may have."""


def coarsen(graph: Graph, limit: int) -> Graph:
    """Merge groups until at most ``limit`` are left.

    First an operation whose output one other alone consumes joins that one (Mirhoseini et al.
    2017), the largest tensors first, as long as no group gets more than `SLACK` times an even
    share. Then neighbours in the topological order merge into blocks of even work.

    Args:
        graph: Its groups are co-location classes; they stay together.
        limit: Groups at most, at least 1.

    Raises:
        ValueError: ``limit`` is below 1.

    Example:
        >>> from daedalus.envs.placement.synthetic import synthetic
        >>> coarsen(synthetic("inception", 500), 64).groups <= 64
        True
    """
    if limit < 1:
        raise ValueError(f"at least 1 group must be left, got {limit}")
    if graph.groups <= limit:
        return graph
    merged = graph.grouped(_join_single_consumers(graph, limit))
    return merged if merged.groups <= limit else merged.grouped(_blocks(merged, limit))


def group_sums(graph: Graph, values: np.ndarray) -> np.ndarray:
    """Return the sums (G,) of a value (N,) of every operation."""
    return np.bincount(graph.arrays.group, values, graph.groups)


def group_edges(graph: Graph) -> np.ndarray:
    """Return the pairs of groups (producer, consumer) between which tensors pass, int32 (P, 2)."""
    source, target, _ = graph.edges()
    pairs = np.stack([graph.arrays.group[source], graph.arrays.group[target]], 1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    return np.unique(pairs, axis=0) if len(pairs) else pairs


def _join_single_consumers(graph: Graph, limit: int) -> np.ndarray:
    source, target, size = graph.edges()
    alone = np.bincount(source, minlength=graph.operations)[source] == 1
    order = np.argsort(-size, kind="stable")
    work, memory = (group_sums(graph, a) for a in (graph.arrays.cost, graph.arrays.resident))
    most_work, most_memory = (SLACK * a.sum() / limit for a in (work, memory))
    parent = list(range(graph.groups))
    left = graph.groups

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for e in order[alone[order]].tolist():
        a, b = (root(int(graph.arrays.group[end])) for end in (source[e], target[e]))
        if left <= limit:
            break
        fits = work[a] + work[b] <= most_work and memory[a] + memory[b] <= most_memory
        if a != b and fits:
            parent[a] = b
            work[b] += work[a]
            memory[b] += memory[a]
            left -= 1
    return np.array([root(int(g)) for g in graph.arrays.group])


def _blocks(graph: Graph, limit: int) -> np.ndarray:
    """Cut the groups, in their order, into blocks of even work and number."""
    work = group_sums(graph, graph.arrays.cost)
    weight = work / max(work.sum(), 1e-300) + 1.0 / graph.groups
    middle = np.cumsum(weight) - weight / 2
    block = np.minimum((middle / weight.sum() * limit).astype(int), limit - 1)
    return block[graph.arrays.group]
