"""What the families share: fields of a state, the simulated step, what is shown."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.cache import jit
from daedalus.envs.placement.machine import GB
from daedalus.envs.placement.packing import STATIC, Packed, capacity, graph_at, groups_at
from daedalus.envs.placement.problem import measure
from daedalus.envs.placement.simulator import new_schedule
from daedalus.envs.random import LAYOUT, integers

VISITED, CURRENT, START = (len(STATIC) + i for i in range(3))
PLACED = START + 1
"""Columns of a group that a placement changes; from `PLACED` on its device, one-hot."""


class Outcome(NamedTuple):
    """What a simulated step comes to."""

    time: float  # ms
    excess: float  # bytes by which the worst device is too full, 0 if none is


def state_fields(packed: Packed) -> list[tuple[Any, ...]]:
    """Return the fields of a state."""
    groups, devices = capacity(packed.groups, 32), capacity(packed.machine.devices, 8)
    return [
        ("graph", "i8"),
        ("current", "i8"),  # group to place next
        ("run_time", "f8"),  # ms of the last simulated step
        ("value", "f8"),  # what a sequential placement is worth now
        ("excess", "f8"),
        ("placement", "i4", (groups,)),  # -1 for not yet
        ("start", "f4", (groups,)),  # of each group, ms
        ("load", "f8", (devices,)),  # ms
        ("memory", "f8", (devices,)),  # bytes at the peak
    ]


@register_jitable
def begin(state: Any, packed: Packed) -> None:
    """Draw the graph of an episode; nothing is placed."""
    state.graph = 0
    if packed.unit.size > 1:
        state.graph = integers(state, LAYOUT, packed.unit.size)
    state.current = 0
    state.run_time, state.value, state.excess = 0.0, 0.0, 0.0
    state.placement[:] = -1
    state.start[:] = 0.0
    state.load[:] = 0.0
    state.memory[:] = 0.0


@register_jitable
def simulate_state(state: Any, packed: Packed) -> None:
    """Run a step of the state's placement and note what it comes to."""
    groups, devices = groups_at(packed, state.graph), packed.machine.speed.size
    chosen, start = np.empty(groups, np.int32), np.empty(groups, np.float32)
    load, memory = np.empty(devices), np.empty(devices)
    for i in range(groups):
        chosen[i] = state.placement[i]
    state.run_time, state.excess = judge(packed, state.graph, chosen, start, load, memory)
    for i in range(groups):
        state.start[i] = start[i]
    for device in range(devices):
        state.load[device], state.memory[device] = load[device], memory[device]


@jit
def judge(
    packed: Packed,
    k: int,
    chosen: np.ndarray,
    start: np.ndarray,
    load: np.ndarray,
    memory: np.ndarray,
) -> Outcome:
    """Simulate a step of graph ``k``; compiled once for graphs and states of any size.

    Args:
        packed: Graphs and machine.
        k: Which graph.
        chosen: int32 (G,), device of each group.
        start: float32 (G,), written: when each group's first operation starts, ms.
        load: float64 (D,), written: ms that each device computes.
        memory: float64 (D,), written: bytes at each device's peak.
    """
    graph = graph_at(packed, k)
    n = graph.cost.size
    placement = np.empty(n, np.int32)
    for op in range(n):
        placement[op] = chosen[graph.group[op]]
    schedule = new_schedule(n, graph.consumer.size, load.size)
    time, excess = measure(graph, packed.machine, placement, schedule)
    start[:] = np.inf
    for op in range(n):
        group = graph.group[op]
        start[group] = min(start[group], schedule.start[op])
    load[:] = schedule.busy
    memory[:] = schedule.peak
    return Outcome(time, excess)


@register_jitable
def show_static(state: Any, packed: Packed, nodes: np.ndarray) -> None:
    """Fill the columns that no placement changes."""
    offset = state.graph * packed.groups * len(STATIC)
    for i in range(packed.groups):
        for column in range(len(STATIC)):
            nodes[i, column] = packed.nodes[offset + i * len(STATIC) + column]


@register_jitable
def show_edges(state: Any, packed: Packed, edges: np.ndarray) -> None:
    """Fill the pairs of groups."""
    offset = state.graph * packed.pairs * 2
    for i in range(packed.pairs):
        edges[i, 0] = packed.edges[offset + 2 * i]
        edges[i, 1] = packed.edges[offset + 2 * i + 1]


@register_jitable
def show_outcome(state: Any, run_time: np.ndarray, load: np.ndarray, memory: np.ndarray) -> None:
    """Fill what goes to ``info``."""
    if run_time.size > 0:
        run_time[0] = state.run_time
    for device in range(load.size):
        load[device] = state.load[device]
    for device in range(memory.size):
        memory[device] = state.memory[device] / GB
