"""Simulated annealing on the simulator: the baseline that a learner must match at equal cost."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from daedalus.envs.cache import jit
from daedalus.envs.placement.graph import GraphArrays
from daedalus.envs.placement.machine import GB, Machine
from daedalus.envs.placement.problem import Problem, measure
from daedalus.envs.placement.simulator import new_schedule

HOT, COLD = 0.05, 1e-5
"""First and last temperature, as shares of the time on the fastest device alone."""
PENALTY = 2.0
"""Times on the fastest device alone that a GB too much counts."""
BLOCKS = 0.3
"""Share of moves that place a run of neighbouring groups instead of one."""


class Found(NamedTuple):
    """The best placement of a search, and how it went."""

    placement: np.ndarray  # int64 (G,)
    curve: np.ndarray  # float64 (evaluations,), best ms so far, memory penalty included


def anneal(
    problem: Problem, evaluations: int, seed: int = 0, start: np.ndarray | None = None
) -> Found:
    """Search for a quick placement (Kirkpatrick et al. 1983).

    A move places one group, or a run of neighbours in the topological order, on a device drawn
    uniformly. The temperature falls geometrically.

    Args:
        problem: What is placed.
        evaluations: Simulated steps, the first of the start.
        seed: Of the moves.
        start: (G,); by default everything on device 0.
    """
    rng = np.random.default_rng(seed)
    groups = problem.graph.groups
    place = np.zeros(groups, np.int32) if start is None else np.asarray(start, np.int32).copy()
    first = rng.integers(0, groups, evaluations)
    length = np.where(
        rng.random(evaluations) < BLOCKS,
        np.exp(rng.random(evaluations) * math.log(max(groups, 2))).astype(np.int64),
        1,
    )
    device = rng.integers(0, problem.machine.devices, evaluations)
    single = problem.single()
    curve = np.empty(evaluations)
    arrays = problem.graph.arrays, problem.machine
    moves = first, length, device, rng.random(evaluations)
    _search(*arrays, moves, place, single, curve)
    return Found(place.astype(np.int64), curve)


@jit
def _copy(target: np.ndarray, source: np.ndarray) -> None:
    """Copy a placement; a slice would have seconds of error messages to compile."""
    for i in range(source.size):
        target[i] = source[i]


@jit
def _search(
    graph: GraphArrays,
    machine: Machine,
    moves: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    place: np.ndarray,
    single: float,
    curve: np.ndarray,
) -> None:
    """Anneal; ``place`` becomes the best placement found."""
    first, length, device, luck = moves
    n = graph.cost.size
    schedule = new_schedule(n, graph.consumer.size, machine.speed.size)
    operations = np.empty(n, np.int32)
    here, best = place.copy(), place.copy()
    value, least = np.inf, np.inf
    for i in range(first.size):
        end = min(first[i] + length[i], place.size)
        if i > 0:
            for k in range(first[i], end):
                here[k] = device[i]
        for op in range(n):
            operations[op] = here[graph.group[op]]
        time, excess = measure(graph, machine, operations, schedule)
        new = time + PENALTY * single * excess / GB
        heat = single * HOT * (COLD / HOT) ** (i / first.size)
        if new <= value or luck[i] < math.exp((value - new) / heat):
            value = new
            _copy(place, here)
            if new < least:
                least = new
                _copy(best, here)
        else:
            _copy(here, place)
        curve[i] = least
    _copy(place, best)
