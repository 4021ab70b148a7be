"""What the families share: fields of a state, the simulated step, what is shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.cache import jit
from daedalus.envs.placement.machine import GB
from daedalus.envs.placement.packing import (
    STATIC,
    Packed,
    capacity,
    graph_at,
    groups_at,
    machine_at,
)
from daedalus.envs.placement.problem import measure
from daedalus.envs.placement.simulator import new_schedule
from daedalus.envs.random import LAYOUT, integers

VISITED, CURRENT, START = (len(STATIC) + i for i in range(3))
PLACED = START + 1
"""Columns of a group that a placement changes; from `PLACED` on its device, one-hot."""


def state_fields(packed: Packed) -> list[tuple[Any, ...]]:
    """Return the fields of a state."""
    groups, devices = capacity(packed.groups, 128), capacity(packed.devices, 16)
    return [
        ("graph", "i8"),
        ("current", "i8"),  # group to place next
        ("run_time", "f8"),  # ms of the last simulated step
        ("value", "f8"),  # what a sequential placement is worth now
        ("excess", "f8"),  # bytes by which the worst device is too full, 0 if none is
        ("placement", "i4", (groups,)),  # -1 for not yet
        ("start", "f4", (groups,)),  # of each group's first operation, ms
        ("load", "f8", (devices,)),  # ms that each device computes
        ("memory", "f8", (devices,)),  # bytes at the peak
    ]


@register_jitable
def begin(state: Any, packed: Packed) -> None:
    """Draw the graph of an episode; the placement stays what it was."""
    state.graph = 0
    if packed.graphs > 1:
        state.graph = integers(state, LAYOUT, packed.graphs)
    state.current = 0
    state.run_time, state.value, state.excess = 0.0, 0.0, 0.0
    for device in range(packed.devices):
        state.load[device], state.memory[device] = 0.0, 0.0


@register_jitable
def simulate_state(state: Any, packed: Packed) -> None:
    """Run a step of the state's placement and note what it comes to."""
    groups = groups_at(packed, state.graph)
    chosen = np.empty(groups, np.int32)
    for i in range(groups):
        chosen[i] = state.placement[i]
    found = judge(packed, state.graph, chosen)
    state.run_time, state.excess = found[0], found[1]
    for device in range(packed.devices):
        state.load[device] = found[2 + device]
        state.memory[device] = found[2 + packed.devices + device]
    for i in range(groups):
        state.start[i] = found[2 + 2 * packed.devices + i]


@jit
def judge(packed: Packed, k: int, chosen: np.ndarray) -> np.ndarray:
    """Simulate a step of graph ``k``; compiled once for graphs and states of any size.

    Args:
        packed: Graphs and machine.
        k: Which graph.
        chosen: int32 (G,), device of each group.

    Returns:
        float64 (2 + 2 D + G,): ms of the step, bytes too many, ms of each device's computing, bytes
        of each device's peak, start of each group's first operation.
    """
    graph, machine = graph_at(packed, k), machine_at(packed)
    n, devices = graph.cost.size, packed.devices
    placement = np.empty(n, np.int32)
    for op in range(n):
        placement[op] = chosen[graph.group[op]]
    schedule = new_schedule(n, graph.consumer.size, devices)
    found = np.full(2 + 2 * devices + chosen.size, np.inf)
    found[0], found[1] = measure(graph, machine, placement, schedule)
    for device in range(devices):
        found[2 + device] = schedule.busy[device]
        found[2 + devices + device] = schedule.peak[device]
    for op in range(n):
        i = 2 + 2 * devices + graph.group[op]
        found[i] = min(found[i], schedule.start[op])
    return found


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
