"""Computations as graphs: operations with costs, and the tensors that pass between them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np


class GraphError(ValueError):
    """A graph that is not a computation; the message says where and what to do."""


class Operation(NamedTuple):
    """An operation as a file gives it."""

    name: str
    cost: float  # ms on a device of speed 1
    resident: float = 0.0  # bytes that its device keeps for it: parameters, optimiser state
    colour: object = None  # operations of one colour share a device; None for no partner


class GraphArrays(NamedTuple):
    """A graph as the simulator reads it (N operations, T tensors, E uses of a tensor)."""

    cost: np.ndarray  # float64 (N,), ms
    resident: np.ndarray  # float64 (N,), bytes
    group: np.ndarray  # int64 (N,), what is placed together
    inputs: np.ndarray  # int64 (N,), tensors that an operation waits for
    first_tensor: np.ndarray  # int64 (N + 1,), tensors that operation i makes: [i] to [i + 1]
    size: np.ndarray  # float64 (T,), bytes
    first_use: np.ndarray  # int64 (T + 1,), uses of tensor t: [t] to [t + 1]
    consumer: np.ndarray  # int64 (E,)
    held: np.ndarray  # float64 (T,), bytes of a tensor that count as memory while it lives


@dataclass(frozen=True)
class Graph:
    """A computation, its operations in a topological order.

    Tensors of one operation that have one size are one tensor: it is sent once to each device.

    Attributes:
        name: For people.
        arrays: What the simulator reads.
        labels: Name of each operation.
        devices: Devices that the graph's authors had, 0 if they do not say.
        memory: Bytes of each of them, 0 if they do not say.
        identity: int64 (N,), number of each operation in the file.
    """

    name: str
    arrays: GraphArrays
    labels: tuple[str, ...]
    devices: int = 0
    memory: float = 0.0
    identity: np.ndarray | None = None

    @property
    def operations(self) -> int:
        """Number of operations, N."""
        return len(self.arrays.cost)

    @property
    def groups(self) -> int:
        """Number of groups, G: decisions of a placement."""
        return int(self.arrays.group.max()) + 1

    @property
    def producer(self) -> np.ndarray:
        """int64 (T,): the operation that makes each tensor."""
        counts = np.diff(self.arrays.first_tensor)
        return np.repeat(np.arange(self.operations), counts)

    def edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return producer, consumer (int64) and bytes (float64) of every use, (E,) each."""
        counts = np.diff(self.arrays.first_use)
        return np.repeat(self.producer, counts), self.arrays.consumer, self.uses(self.arrays.size)

    def uses(self, of_tensor: np.ndarray) -> np.ndarray:
        """Return a value (T,) of every tensor for each of its uses (E,)."""
        return np.repeat(of_tensor, np.diff(self.arrays.first_use))

    def critical_path(self) -> float:
        """Return the time of the longest chain of operations at speed 1, in ms."""
        finish = self.arrays.cost.copy()
        begin = np.zeros(self.operations)
        source, target, _ = self.edges()
        for a, b in zip(source.tolist(), target.tolist(), strict=True):  # in order of producers
            finish[a] = begin[a] + self.arrays.cost[a]
            begin[b] = max(begin[b], finish[a])
        return float((begin + self.arrays.cost).max())

    def grouped(self, group: np.ndarray) -> Graph:
        """Return the same computation with other groups.

        Args:
            group: (N,), any numbers; they are counted anew in the order of their first operation.
        """
        return replace(self, arrays=self.arrays._replace(group=_count_anew(np.asarray(group))))


def build(
    name: str,
    operations: Sequence[Operation],
    edges: Sequence[tuple[int, int, float]],
    *,
    keep: bool = True,
    identity: Sequence[int] | None = None,
) -> Graph:
    """Check operations and edges and make the graph.

    Args:
        name: For people, and for messages.
        operations: In any order.
        edges: (producer, consumer, bytes), by position in ``operations``. Of edges between the same
            two the largest counts.
        keep: Tensors take memory while they live; False where ``resident`` counts them already.
        identity: Number of each operation in the file, for messages and experts' splits.

    Raises:
        GraphError: No operation, a negative or infinite number, an edge from or to nothing, a loop.
    """
    if not operations:
        raise GraphError(f"{name}: there is no operation")
    _check(name, operations, edges)
    largest: dict[tuple[int, int], float] = {}
    for a, b, size in edges:
        largest[a, b] = max(size, largest.get((a, b), 0.0))
    order = _topological(name, [op.name for op in operations], list(largest))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    sorted_operations = [operations[i] for i in order]
    uses = sorted((int(rank[a]), size, int(rank[b])) for (a, b), size in largest.items())
    numbers = np.arange(len(order)) if identity is None else np.asarray(identity, np.int64)
    arrays = _arrays(sorted_operations, uses, keep)
    labels = tuple(op.name for op in sorted_operations)
    return Graph(name, arrays, labels, identity=numbers[order])


def _check(
    name: str, operations: Sequence[Operation], edges: Sequence[tuple[int, int, float]]
) -> None:
    for op in operations:
        for what, value in (("cost", op.cost), ("memory", op.resident)):
            if not 0.0 <= value < np.inf:
                raise GraphError(
                    f"{name}: the {what} of {op.name!r} is {value}, expected 0 or more"
                )
    for a, b, size in edges:
        for end in (a, b):
            if not 0 <= end < len(operations):
                raise GraphError(f"{name}: the edge {a} -> {b} leads to no operation ({end})")
        if not 0.0 <= size < np.inf:
            ends = f"{operations[a].name!r} -> {operations[b].name!r}"
            raise GraphError(f"{name}: the edge {ends} has {size} bytes, expected 0 or more")


def _topological(name: str, labels: list[str], pairs: list[tuple[int, int]]) -> list[int]:
    """Return a topological order, of several the one that keeps the given order best."""
    following: list[list[int]] = [[] for _ in labels]
    waiting = [0] * len(labels)
    for a, b in pairs:
        following[a].append(b)
        waiting[b] += 1
    heap = [i for i, count in enumerate(waiting) if count == 0]
    order = []
    while heap:
        here = heapq.heappop(heap)
        order.append(here)
        for there in following[here]:
            waiting[there] -= 1
            if waiting[there] == 0:
                heapq.heappush(heap, there)
    if len(order) < len(labels):
        loop = _loop(following, {i for i, count in enumerate(waiting) if count})
        raise GraphError(f"{name}: operations wait for each other: {_chain(labels, loop)}")
    return order


def _loop(following: list[list[int]], left: set[int]) -> list[int]:
    """Return a loop among operations that never become ready."""
    before = {b: a for a in left for b in following[a] if b in left}
    path = [min(left & set(before))]
    while path[-1] not in path[:-1]:
        path.append(before[path[-1]])
    return path[path.index(path[-1]) :][::-1]


def _chain(labels: list[str], loop: list[int]) -> str:
    shown = [labels[i] for i in loop]
    return " -> ".join(shown if len(shown) <= 6 else [*shown[:4], "...", shown[-1]])


def _arrays(
    operations: Sequence[Operation], uses: list[tuple[int, float, int]], keep: bool
) -> GraphArrays:
    """Lay out tensors and their uses one after the other; ``uses`` are sorted."""
    n = len(operations)
    source = np.array([a for a, _, _ in uses], np.int64)
    size = np.array([s for _, s, _ in uses], np.float64)
    consumer = np.array([b for _, _, b in uses], np.int64)
    new = np.ones(len(uses), bool)
    if len(uses) > 1:
        new[1:] = (source[1:] != source[:-1]) | (size[1:] != size[:-1])
    starts = np.flatnonzero(new)
    first: dict[object, int] = {}
    group = [
        i if op.colour is None else first.setdefault(op.colour, i)
        for i, op in enumerate(operations)
    ]
    tensor = size[starts]
    return GraphArrays(
        _fixed([op.cost for op in operations], np.float64),
        _fixed([op.resident for op in operations], np.float64),
        _count_anew(np.array(group)),
        _fixed(np.bincount(consumer, minlength=n), np.int64),
        _fixed(np.searchsorted(source[starts], np.arange(n + 1)), np.int64),
        _fixed(tensor, np.float64),
        _fixed([*starts, len(uses)], np.int64),
        _fixed(consumer, np.int64),
        _fixed(tensor if keep else np.zeros(len(tensor)), np.float64),
    )


def _count_anew(group: np.ndarray) -> np.ndarray:
    """Number groups in the order of their first member."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))
    return _fixed(rank[inverse], np.int64)


def _fixed(values: object, dtype: type) -> np.ndarray:
    array: np.ndarray = np.ascontiguousarray(values, dtype)
    array.flags.writeable = False
    return array
