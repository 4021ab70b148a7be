"""Placements that need no learning: what every learned one is compared with.

Each function takes a `Problem` and returns the device of each group, int64 (G,). Whether the result
fits into the memory is for `Problem.run` to say.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from daedalus.envs.placement.graph import Graph
from daedalus.envs.placement.loaders import expert_split
from daedalus.envs.placement.machine import Machine
from daedalus.envs.placement.partition import chain, first_that_fits, min_cut
from daedalus.envs.placement.problem import Problem


def single(problem: Problem) -> np.ndarray:
    """Everything on the fastest device, of several the one with the most memory."""
    best = np.lexsort((problem.machine.memory, problem.machine.speed))[-1]
    return np.full(problem.graph.groups, best)


def round_robin(problem: Problem) -> np.ndarray:
    """Group after group, device after device."""
    return np.arange(problem.graph.groups) % problem.machine.devices


def expert(problem: Problem) -> np.ndarray | None:
    """The split of human experts, where one is known for the graph and fits the machine."""
    split = expert_split(problem.graph.name)
    if split is None or split.max() >= problem.machine.devices:
        return None
    chosen = np.zeros(problem.graph.groups, np.int64)
    chosen[problem.graph.arrays.group] = split
    return chosen


def heft(problem: Problem) -> np.ndarray:
    """Earliest finish first (Topcuoglu et al. 2002), without insertion.

    Operations in the order of their upward rank; each goes where it would finish first, links and
    memory as they are then. The first operation of a group decides for all of it. Only devices that
    the group still fits are asked, or all if there is none.
    """
    return first_that_fits(problem, lambda memory: _Heft(problem, memory).place())


class _Heft:
    """Devices, links and memory while operations are placed one after the other."""

    def __init__(self, problem: Problem, needed: np.ndarray) -> None:
        self.machine, self.graph = problem.machine, problem.graph
        devices = self.machine.devices
        self.free = np.zeros(devices)
        self.links = np.zeros((devices, devices))
        self.left = self.machine.memory.copy()
        self.finish = np.zeros(self.graph.operations)
        self.chosen = np.full(self.graph.groups, -1)
        self.needed = needed
        self.tensors = list(zip(*(x.tolist() for x in self._inputs()), strict=True))
        counts = np.bincount(self.graph.arrays.consumer, minlength=self.graph.operations)
        self.first = np.concatenate([[0], np.cumsum(counts)])
        self.there: dict[tuple[int, int], float] = {}  # (tensor, device) -> arrival

    def _inputs(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return tensor, producer and bytes of every use, in the order of consumers."""
        tensor = self.graph.uses(np.arange(len(self.graph.arrays.size)))
        source, target, size = self.graph.edges()
        order = np.argsort(target, kind="stable")
        return tensor[order], source[order], size[order]

    def place(self) -> np.ndarray:
        order = np.lexsort(
            (np.arange(self.graph.operations), -upward_rank(self.graph, self.machine))
        )
        for op in order.tolist():
            group = int(self.graph.arrays.group[op])
            if self.chosen[group] < 0:
                fits = np.flatnonzero(self.left >= self.needed[group])
                asked = fits if len(fits) else np.arange(self.machine.devices)
                ends = [self._finish(op, int(device)) for device in asked]
                self.chosen[group] = asked[int(np.argmin(ends))]
                self.left[self.chosen[group]] -= self.needed[group]
            self._commit(op, int(self.chosen[group]))
        return self.chosen

    def _arrivals(self, op: int, device: int) -> list[tuple[int, int, float, bool]]:
        """Return (tensor, home, arrival, is sent now) of every input, sent in turn."""
        found, links = [], self.links[:, device].copy()
        for tensor, source, size in self.tensors[self.first[op] : self.first[op + 1]]:
            home = int(self.chosen[self.graph.arrays.group[source]])
            known = self.finish[source] if home == device else self.there.get((tensor, device))
            if known is not None:
                found.append((tensor, home, float(known), False))
                continue
            span = self.machine.latency[home, device] + size / self.machine.bandwidth[home, device]
            links[home] = max(links[home], self.finish[source]) + span
            found.append((tensor, home, float(links[home]), True))
        return found

    def _finish(self, op: int, device: int) -> float:
        ready = max((at for _, _, at, _ in self._arrivals(op, device)), default=0.0)
        cost = self.graph.arrays.cost[op] / self.machine.speed[device]
        return float(max(ready, self.free[device]) + cost)

    def _commit(self, op: int, device: int) -> None:
        end = self._finish(op, device)
        for tensor, home, at, is_new in self._arrivals(op, device):
            if is_new:
                self.there[tensor, device] = at
                self.links[home, device] = max(self.links[home, device], at)
        self.finish[op] = self.free[device] = end


def upward_rank(graph: Graph, machine: Machine) -> np.ndarray:
    """Return the longest way from each operation to the end (N,), in ms, at mean speeds."""
    others = ~np.eye(machine.devices, dtype=bool)
    road = machine.bandwidth[others].mean() if machine.devices > 1 else np.inf
    delay = machine.latency[others].mean() if machine.devices > 1 else 0.0
    rank = graph.arrays.cost * (1.0 / machine.speed).mean()
    longest = np.zeros(graph.operations)
    source, target, size = graph.edges()
    links = zip(source.tolist(), target.tolist(), (delay + size / road).tolist(), strict=True)
    for a, b, span in reversed(list(links)):  # producers in reverse: b is complete
        longest[a] = max(longest[a], span + rank[b] + longest[b])
    return np.asarray(rank + longest)


Baseline = Callable[[Problem], np.ndarray | None]
BASELINES: dict[str, Baseline] = {
    "single device": single,
    "round robin": round_robin,
    "HEFT": heft,
    "min-cut": min_cut,
    "chain": chain,
    "pipeline": lambda problem: chain(problem, bottleneck=True),
    "experts": expert,
}
"""Name -> placement; None where there is none."""
