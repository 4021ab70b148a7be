"""Several graphs in one set of arrays, so that each episode may be about another graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.placement.graph import Graph, GraphArrays
from daedalus.envs.placement.groups import group_edges, group_sums
from daedalus.envs.placement.machine import Machine
from daedalus.envs.placement.problem import Problem

STATIC = ("there", "cost", "output", "memory", "order")
"""Columns of a group that no placement changes."""
LARGEST = 10.0
"""Greatest value of a column."""


class Packed(NamedTuple):
    """K graphs one after the other, and what a policy sees of each (G groups, P pairs at most)."""

    graphs: GraphArrays
    machine: Machine
    first: np.ndarray  # int64 (4 (K + 1),): operations, tensors, uses, groups before graph k
    unit: np.ndarray  # float64 (K,): ms for which a reward counts 1
    nodes: np.ndarray  # float32 (K G 5,): `STATIC` columns
    edges: np.ndarray  # int32 (K P 2,): pairs of groups, -1 where there are no more
    groups: int  # G
    pairs: int  # P


def pack(problems: Sequence[Problem], unit: str) -> Packed:
    """Lay out problems that share a machine.

    Args:
        problems: At least one.
        unit: ``"second"``, or ``"single"`` for the time on the fastest device alone.
    """
    graphs = [problem.graph for problem in problems]
    counts = [(g.operations, len(g.arrays.size), len(g.arrays.consumer), g.groups) for g in graphs]
    first = np.concatenate([np.zeros((1, 4), np.int64), np.cumsum(counts, 0)])
    columns = zip(*(graph.arrays for graph in graphs), strict=True)
    arrays = GraphArrays(*(_fixed(np.concatenate(column)) for column in columns))
    units = [1000.0 if unit == "second" else max(p.single(), 1e-9) for p in problems]
    most = int(max(graph.groups for graph in graphs))
    pairs = [group_edges(graph) for graph in graphs]
    width = max(1, *(len(p) for p in pairs))
    edges = np.full((len(graphs), width, 2), -1, np.int32)
    nodes = np.zeros((len(graphs), most, len(STATIC)), np.float32)
    for k, problem in enumerate(problems):
        edges[k, : len(pairs[k])] = pairs[k]
        nodes[k, : graphs[k].groups] = static_columns(problem)
    shown = _fixed(nodes.reshape(-1)), _fixed(edges.reshape(-1))
    return Packed(
        arrays,
        problems[0].machine,
        _fixed(first.reshape(-1)),
        _fixed(np.array(units)),
        *shown,
        most,
        width,
    )


def static_columns(problem: Problem) -> np.ndarray:
    """Return what is known of each group without a placement: float32 (G, 5).

    ``cost`` and ``output`` (time to send all its tensors once) are shares of the greatest cost,
    ``memory`` is a share of the smallest device, ``order`` its place in the topological order.
    """
    graph, machine = problem.graph, problem.machine
    arrays = graph.arrays
    source, target, size = graph.edges()
    leaves = arrays.group[source] != arrays.group[target]
    sent = np.zeros(graph.operations)
    np.maximum.at(sent, source[leaves], size[leaves])
    road = machine.bandwidth[~np.eye(machine.devices, dtype=bool)]
    cost, output = group_sums(graph, arrays.cost), group_sums(graph, sent)
    longest = max(float(cost.max()), 1e-9)
    columns = [
        np.ones(graph.groups),
        cost / longest,
        output / (road.mean() if len(road) else np.inf) / longest,
        group_sums(graph, arrays.resident) / machine.memory.min(),
        np.arange(graph.groups) / graph.groups,
    ]
    return np.stack(columns, 1).clip(0.0, LARGEST).astype(np.float32)


@register_jitable
def graph_at(packed: Any, k: int) -> GraphArrays:
    """Return graph ``k``: views, nothing is copied."""
    g, i = packed.graphs, 4 * k
    a, t, u = packed.first[i], packed.first[i + 1], packed.first[i + 2]
    a_end, t_end, u_end = packed.first[i + 4], packed.first[i + 5], packed.first[i + 6]
    return GraphArrays(
        g.cost[a:a_end],
        g.resident[a:a_end],
        g.group[a:a_end],
        g.inputs[a:a_end],
        g.first_tensor[a + k : a_end + k + 1],
        g.size[t:t_end],
        g.first_use[t + k : t_end + k + 1],
        g.consumer[u:u_end],
        g.held[t:t_end],
    )


@register_jitable
def groups_at(packed: Any, k: int) -> int:
    """Return the number of groups of graph ``k``."""
    return packed.first[4 * k + 7] - packed.first[4 * k + 3]


def capacity(count: int, least: int) -> int:
    """Return a power of two: states of one capacity share their compiled code."""
    return max(least, 1 << (count - 1).bit_length())


def _fixed(array: np.ndarray) -> np.ndarray:
    array = np.ascontiguousarray(array)
    array.flags.writeable = False
    return array


