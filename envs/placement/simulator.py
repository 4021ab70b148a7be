"""One step of a placed computation: when each operation runs, what is sent, how full memory gets.

List scheduling with queues. An operation is ready when all its inputs are on its device. A device
runs one operation at a time, in the order in which they became ready (of those ready at one time,
the first in the topological order). A finished operation's tensors are sent once to each device
that needs them; a link carries one tensor at a time, first come, first served; sending overlaps
computing. Operations are numbered topologically, so what becomes ready while (time, number) is
served has a greater (time, number): one heap serves all queues in their right order, in
O((N + E) log N).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.cache import jit
from daedalus.envs.placement.graph import GraphArrays
from daedalus.envs.placement.machine import Machine


class Schedule(NamedTuple):
    """What a step looked like (N operations, E uses of a tensor, D devices)."""

    start: np.ndarray  # float64 (N,), ms
    finish: np.ndarray  # float64 (N,), ms
    sent: np.ndarray  # float64 (E,), ms; when the transfer for a use began; -1 for no transfer
    arrival: np.ndarray  # float64 (E,), ms; when the tensor was there
    busy: np.ndarray  # float64 (D,), ms of computing
    peak: np.ndarray  # float64 (D,), bytes


@register_jitable
def push(times: np.ndarray, items: np.ndarray, size: int, time: float, item: int) -> int:
    """Add (time, item) to a heap and return its new size."""
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if times[up] < time or (times[up] == time and items[up] < item):
            break
        times[i], items[i] = times[up], items[up]
        i = up
    times[i], items[i] = time, item
    return size + 1


@register_jitable
def pop(times: np.ndarray, items: np.ndarray, size: int) -> int:
    """Remove the least (time, item), which is at 0, and return the new size."""
    size -= 1
    time, item = times[size], items[size]
    i = 0
    while True:
        down = 2 * i + 1
        if down >= size:
            break
        right = down + 1
        if right < size and (
            times[right] < times[down]
            or (times[right] == times[down] and items[right] < items[down])
        ):
            down = right
        if time < times[down] or (time == times[down] and item < items[down]):
            break
        times[i], items[i] = times[down], items[down]
        i = down
    times[i], items[i] = time, item
    return size


@jit
def simulate(
    graph: GraphArrays, machine: Machine, placement: np.ndarray, schedule: Schedule
) -> float:
    """Run one step, fill the schedule and return the time of its end in ms.

    Args:
        graph: The computation.
        machine: Devices and links.
        placement: int32 (N,), device of each operation.
        schedule: Written in place.
    """
    n, devices = graph.cost.size, machine.speed.size
    start, finish, sent, arrival = schedule.start, schedule.finish, schedule.sent, schedule.arrival
    waiting = graph.inputs.copy()
    ready, times, items = np.zeros(n), np.empty(n), np.empty(n, np.int64)
    free, link = np.zeros(devices), np.zeros(devices * devices)
    carried, there = np.full(devices, -1), np.zeros(devices)
    size, end = 0, 0.0
    schedule.busy[:] = 0.0
    for op in range(n):
        if waiting[op] == 0:
            size = push(times, items, size, 0.0, op)
    while size > 0:
        op = items[0]
        device = placement[op]
        start[op] = max(times[0], free[device])
        size = pop(times, items, size)
        cost = graph.cost[op] / machine.speed[device]
        done = start[op] + cost
        finish[op] = free[device] = done
        schedule.busy[device] += cost
        end = max(end, done)
        for tensor in range(graph.first_tensor[op], graph.first_tensor[op + 1]):
            for use in range(graph.first_use[tensor], graph.first_use[tensor + 1]):
                consumer = graph.consumer[use]
                target = placement[consumer]
                sent[use], arrival[use] = -1.0, done
                if target != device:
                    if carried[target] != tensor:
                        carried[target] = tensor
                        road = device * devices + target
                        sent[use] = max(done, link[road])
                        span = graph.size[tensor] / machine.bandwidth[device, target]
                        link[road] = sent[use] + (machine.latency[device, target] + span)
                        there[target] = link[road]
                    arrival[use] = there[target]
                ready[consumer] = max(ready[consumer], arrival[use])
                waiting[consumer] -= 1
                if waiting[consumer] == 0:
                    size = push(times, items, size, ready[consumer], consumer)
    return end


@jit
def fill_peak(
    graph: GraphArrays, machine: Machine, placement: np.ndarray, schedule: Schedule
) -> bool:
    """Fill ``schedule.peak`` and tell whether a device has more in it than its memory.

    A device keeps what its operations need all the time, and each tensor from the start of the
    operation that makes it, or of the transfer that brings it, to the end of its last use there (or
    the end of its operation, or of its last transfer elsewhere). The peak is of half-open spans.
    """
    peak = schedule.peak
    peak[:] = 0.0
    for op in range(graph.cost.size):
        peak[placement[op]] += graph.resident[op]
    for tensor in range(graph.held.size):
        if graph.held[tensor] > 0.0:
            _add_tensors(graph, placement, schedule)
            break
    full = False
    for device in range(peak.size):
        full = full or peak[device] > machine.memory[device]
    return full


@register_jitable
def _add_tensors(graph: GraphArrays, placement: np.ndarray, schedule: Schedule) -> None:
    """Add the greatest sum of live tensors to each device's peak."""
    devices, uses = schedule.peak.size, graph.consumer.size
    capacity = 2 * (graph.size.size + uses)
    times, items = np.empty(capacity), np.empty(capacity, np.int64)
    owner, change = np.empty(capacity, np.int32), np.empty(capacity)
    until, begun = np.zeros(devices), np.zeros(devices)
    count = 0
    for op in range(graph.cost.size):
        here = placement[op]
        for tensor in range(graph.first_tensor[op], graph.first_tensor[op + 1]):
            first, last = graph.first_use[tensor], graph.first_use[tensor + 1]
            until[:] = -1.0
            until[here], begun[here] = schedule.finish[op], schedule.start[op]
            for use in range(first, last):
                target = placement[graph.consumer[use]]
                until[target] = max(until[target], schedule.finish[graph.consumer[use]])
                if schedule.sent[use] >= 0.0:
                    begun[target] = schedule.sent[use]
                    until[here] = max(until[here], schedule.arrival[use])
            for use in range(first - 1, last):
                device = here if use < first else placement[graph.consumer[use]]
                if until[device] < 0.0 or graph.held[tensor] <= 0.0:
                    continue
                owner[count], change[count], times[count] = (
                    device,
                    graph.held[tensor],
                    begun[device],
                )
                owner[count + 1], change[count + 1] = device, -graph.held[tensor]
                times[count + 1] = until[device]
                until[device] = -1.0
                count += 2
    _sweep(times[:count], items, owner, change, schedule.peak)


@register_jitable
def _sweep(
    moments: np.ndarray,
    items: np.ndarray,
    owner: np.ndarray,
    change: np.ndarray,
    peak: np.ndarray,
) -> None:
    """Go through the changes in time, what is freed first, and raise the peaks."""
    times, size = np.empty(moments.size), 0
    for i in range(moments.size):  # odd ones free: they come first among those of one time
        size = push(times, items, size, moments[i], i if i % 2 else i + moments.size)
    live, most = np.zeros(peak.size), np.zeros(peak.size)
    while size > 0:
        i = items[0] % moments.size
        size = pop(times, items, size)
        live[owner[i]] += change[i]
        most[owner[i]] = max(most[owner[i]], live[owner[i]])
    for device in range(peak.size):
        peak[device] += most[device]


@register_jitable
def new_schedule(operations: int, uses: int, devices: int) -> Schedule:
    """Return room for a schedule."""
    return Schedule(
        np.empty(operations),
        np.empty(operations),
        np.empty(uses),
        np.empty(uses),
        np.empty(devices),
        np.empty(devices),
    )
