"""Several graphs in one set of arrays, so that each episode may be about another graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.placement.graph import GraphArrays
from daedalus.envs.placement.groups import group_edges, group_sums
from daedalus.envs.placement.machine import Machine
from daedalus.envs.placement.problem import Problem

STATIC = ("there", "cost", "output", "memory", "order")
"""Columns of a group that no placement changes."""
LARGEST = 10.0
"""Greatest value of a column."""
HEADER = 6
"""Integers of a graph: operations, tensors, uses, groups, where its integers and floats are."""


class Packed(NamedTuple):
    """K graphs and a machine, and what a policy sees of each (G groups, P pairs at most).

    Few and flat arrays: the compiled step receives every one of them by value.
    """

    integers: np.ndarray  # int64; `HEADER` numbers of each graph, then their arrays
    numbers: np.ndarray  # float64; ms for which a reward counts 1 (K), machine, arrays of graphs
    nodes: np.ndarray  # float32 (K G 5,): `STATIC` columns
    edges: np.ndarray  # int32 (K P 2,): pairs of groups, -1 where there are no more
    graphs: int  # K
    groups: int  # G
    pairs: int  # P
    devices: int  # D


def pack(problems: Sequence[Problem], unit: str) -> Packed:
    """Lay out problems that share a machine.

    Args:
        problems: At least one.
        unit: ``"second"``, or ``"single"`` for the time on the fastest device alone.
    """
    graphs, machine = [problem.graph for problem in problems], problems[0].machine
    units = [1000.0 if unit == "second" else max(p.single(), 1e-9) for p in problems]
    integers = [np.zeros(HEADER * len(graphs), np.int64)]
    numbers = [np.array(units), *(np.ravel(field) for field in machine)]
    for k, graph in enumerate(graphs):
        a = graph.arrays
        counts = len(a.cost), len(a.size), len(a.consumer), graph.groups
        places = sum(map(len, integers)), sum(map(len, numbers))
        integers[0][HEADER * k : HEADER * (k + 1)] = *counts, *places
        integers += [a.group, a.inputs, a.first_tensor, a.first_use, a.consumer]
        numbers += [a.cost, a.resident, a.size, a.held]
    most = max(graph.groups for graph in graphs)
    pairs = [group_edges(graph) for graph in graphs]
    width = max(1, *(len(p) for p in pairs))
    edges = np.full((len(graphs), width, 2), -1, np.int32)
    nodes = np.zeros((len(graphs), most, len(STATIC)), np.float32)
    for k, problem in enumerate(problems):
        edges[k, : len(pairs[k])] = pairs[k]
        nodes[k, : graphs[k].groups] = static_columns(problem)
    arrays = np.concatenate(integers), np.concatenate(numbers), nodes.reshape(-1), edges.reshape(-1)
    for array in arrays:
        array.flags.writeable = False
    return Packed(*arrays, len(graphs), most, width, machine.devices)


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
def graph_at(packed: Packed, k: int) -> GraphArrays:
    """Return graph ``k``: views, nothing is copied."""
    integers, numbers = packed.integers, packed.numbers
    h = HEADER * k
    n, t, e = integers[h], integers[h + 1], integers[h + 2]
    i, x = integers[h + 4], integers[h + 5]
    first_tensor, first_use = i + 2 * n, i + 3 * n + 1
    consumer = first_use + t + 1
    return GraphArrays(
        numbers[x : x + n],
        numbers[x + n : x + 2 * n],
        integers[i : i + n],
        integers[i + n : i + 2 * n],
        integers[first_tensor : first_tensor + n + 1],
        numbers[x + 2 * n : x + 2 * n + t],
        integers[first_use : first_use + t + 1],
        integers[consumer : consumer + e],
        numbers[x + 2 * n + t : x + 2 * n + 2 * t],
    )


@register_jitable
def machine_at(packed: Packed) -> Machine:
    """Return the machine: views, nothing is copied."""
    numbers, d, x = packed.numbers, packed.devices, packed.graphs
    road = x + 2 * d
    return Machine(
        numbers[x : x + d],
        numbers[x + d : road],
        numbers[road : road + d * d].reshape(d, d),
        numbers[road + d * d : road + 2 * d * d].reshape(d, d),
    )


@register_jitable
def groups_at(packed: Packed, k: int) -> int:
    """Return the number of groups of graph ``k``."""
    return packed.integers[HEADER * k + 3]


@register_jitable
def unit_at(packed: Packed, k: int) -> float:
    """Return the ms for which a reward counts 1 on graph ``k``."""
    return packed.numbers[k]


def capacity(count: int, least: int) -> int:
    """Return ``least`` times a power of four: states of one capacity share their compiled code."""
    while least < count:
        least *= 4
    return least
