"""A computation and a machine: what a placement is judged by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daedalus.envs.cache import jit
from daedalus.envs.placement.graph import Graph, GraphArrays
from daedalus.envs.placement.machine import GB, Machine, make_machine
from daedalus.envs.placement.simulator import Schedule, fill_peak, new_schedule, simulate

DEVICES, MEMORY = 4, 16 * GB
"""Of a machine where the graph's authors named none."""


@dataclass(frozen=True)
class Step:
    """One simulated step.

    Attributes:
        time: Its end, ms.
        oom: A device ran out of memory; the time is what it would have been.
        schedule: When what happened.
        placement: int32 (N,), device of each operation.
    """

    time: float
    oom: bool
    schedule: Schedule
    placement: np.ndarray


@dataclass(frozen=True)
class Problem:
    """A graph whose groups (G) are to be placed on the devices (D) of a machine."""

    graph: Graph
    machine: Machine

    def run(self, placement: np.ndarray) -> Step:
        """Simulate one step.

        Args:
            placement: (G,), device of each group.

        Raises:
            ValueError: Wrong length, or a device that does not exist.
        """
        return self.run_operations(self.spread(placement))

    def spread(self, placement: np.ndarray) -> np.ndarray:
        """Return the device of every operation, int32 (N,), from those of the groups (G,)."""
        chosen = np.asarray(placement)
        if chosen.shape != (self.graph.groups,) or chosen.dtype.kind not in "iu":
            raise ValueError(
                f"{self.graph.name}: a placement is {self.graph.groups} integers, one for each "
                f"group; got {chosen.dtype} {chosen.shape}"
            )
        self._check(chosen)
        return chosen.astype(np.int32)[self.graph.arrays.group]

    def run_operations(self, placement: np.ndarray) -> Step:
        """Simulate one step of a placement (N,) of single operations, whatever their groups."""
        self._check(placement)
        devices = np.ascontiguousarray(placement, np.int32)
        arrays = self.graph.arrays
        schedule = new_schedule(len(arrays.cost), len(arrays.consumer), self.machine.devices)
        time = simulate(arrays, self.machine, devices, schedule)
        full = fill_peak(arrays, self.machine, devices, schedule)
        return Step(time, bool(full), schedule, devices)

    def _check(self, placement: np.ndarray) -> None:
        wrong = (placement < 0) | (placement >= self.machine.devices)
        if wrong.any():
            raise ValueError(
                f"{self.graph.name}: there is no device {placement[wrong][0]}; devices are 0 to "
                f"{self.machine.devices - 1}"
            )

    def single(self) -> float:
        """Return the time on the fastest device alone, memory left aside, in ms."""
        return float(self.graph.arrays.cost.sum() / self.machine.speed.max())


@jit
def measure(
    graph: GraphArrays, machine: Machine, placement: np.ndarray, schedule: Schedule
) -> tuple[float, float]:
    """Return the time of a step in ms and the bytes by which the worst device is too full."""
    time = simulate(graph, machine, placement, schedule)
    excess = 0.0
    if fill_peak(graph, machine, placement, schedule):
        for device in range(schedule.peak.size):
            excess = max(excess, schedule.peak[device] - machine.memory[device])
    return time, excess


def default_machine(
    graph: Graph,
    *,
    devices: int = 0,
    memory_gb: float = 0.0,
    bandwidth_gb: float = 7.6,
    latency_ms: float = 0.025,
    speeds: tuple[float, ...] = (),
) -> Machine:
    """Return the machine of a graph's authors, or one of four devices of 16 GB.

    Args:
        graph: It may say how many devices there were, and of what memory.
        devices: Number of devices; 0 for the authors'.
        memory_gb: Memory of each in GB (1e9 bytes); 0 for the authors'.
        bandwidth_gb: GB/s of each link.
        latency_ms: ms that each transfer takes beside.
        speeds: Relative speed of each device; empty for 1 each.
    """
    return make_machine(
        devices or len(speeds) or graph.devices or DEVICES,
        memory=memory_gb * GB or graph.memory or MEMORY,
        speed=speeds or 1.0,
        bandwidth=bandwidth_gb * GB / 1000,
        latency=latency_ms,
    )
