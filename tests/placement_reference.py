"""A slow simulator of placements, written apart from the kernels: queues as queues, memory by sums.

It knows nothing of heaps or of the order in which the kernel goes through operations. Time jumps
from event to event; at each moment whatever can happen happens, the operation with the smallest
number first, until nothing more does.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np

from daedalus.envs.placement.graph import Graph
from daedalus.envs.placement.machine import Machine


class Outcome(NamedTuple):
    """What a step looked like; see ``daedalus.envs.placement.simulator.Schedule``."""

    time: float
    start: list[float]
    finish: list[float]
    busy: list[float]
    peak: list[float]


class Reference:
    """One step of a placed graph."""

    def __init__(self, graph: Graph, machine: Machine, placement: np.ndarray) -> None:
        """Read the graph into plain lists and dictionaries."""
        source, target, size = graph.edges()
        self.graph, self.machine = graph, machine
        self.place = [int(d) for d in placement]
        self.cost = graph.arrays.cost.tolist()
        self.inputs: dict[int, set[Any]] = defaultdict(set)
        self.tensors: dict[int, dict[float, set[int]]] = defaultdict(lambda: defaultdict(set))
        for a, b, s in zip(source.tolist(), target.tolist(), size.tolist(), strict=True):
            self.inputs[b].add((a, s))
            self.tensors[a][s].add(b)
        count = range(len(self.cost))
        self.ready: dict[int, float] = {op: 0.0 for op in count if not self.inputs[op]}
        self.start: dict[int, float] = {}
        self.finish: dict[int, float] = {}
        self.here: dict[int, dict[Any, float]] = defaultdict(dict)  # op -> tensor -> arrival
        self.links: dict[Any, list[Any]] = defaultdict(list)  # (from, to) -> transfers in order
        self.spans: list[tuple[int, float, float, float]] = []  # device, bytes, from, to

    def run(self) -> Outcome:
        """Let time pass until nothing is left to happen."""
        now = 0.0
        while True:
            while self._happens(now):
                pass
            later = [t for t in self._moments() if t > now]
            if not later:
                break
            now = min(later)
        ops = range(len(self.cost))
        assert len(self.finish) == len(self.cost)
        busy = [0.0] * self.machine.devices
        for op in sorted(ops, key=lambda op: (self.ready[op], op)):
            busy[self.place[op]] += self._span(op)
        return Outcome(
            max(self.finish.values()),
            [self.start[op] for op in ops],
            [self.finish[op] for op in ops],
            busy,
            self._peaks(),
        )

    def _span(self, op: int) -> float:
        return float(self.cost[op] / self.machine.speed[self.place[op]])

    def _moments(self) -> list[float]:
        sent = [end for link in self.links.values() for _, _, end in link]
        return [*self.ready.values(), *self.finish.values(), *sent]

    def _happens(self, now: float) -> bool:
        """Start the waiting operation with the least (ready, number) on a device that is free."""
        occupied = {self.place[op] for op in self.start if self.finish[op] > now}
        queue = [
            (ready, op)
            for op, ready in self.ready.items()
            if ready <= now and op not in self.start and self.place[op] not in occupied
        ]
        if not queue:
            return False
        _, op = min(queue)
        self.start[op], self.finish[op] = now, now + self._span(op)
        self._deliver(op)
        return True

    def _deliver(self, op: int) -> None:
        """Queue the tensors of an operation for the links, in the order in which it finishes."""
        home, done = self.place[op], self.finish[op]
        for size, consumers in sorted(self.tensors[op].items()):
            arrival = {home: done}
            for target in sorted({self.place[c] for c in consumers} - {home}):
                link = self.links[home, target]
                begin = max(done, link[-1][2]) if link else done
                bandwidth, latency = (
                    float(m[home, target]) for m in (self.machine.bandwidth, self.machine.latency)
                )
                arrival[target] = begin + (latency + size / bandwidth)
                link.append(((op, size), begin, arrival[target]))
            for consumer in consumers:
                self.here[consumer][op, size] = arrival[self.place[consumer]]
                if set(self.here[consumer]) == self.inputs[consumer]:
                    self.ready[consumer] = max(self.here[consumer].values())

    def _peaks(self) -> list[float]:
        held = dict(zip(self._keys(), self.graph.arrays.held.tolist(), strict=True))
        for op, tensors in self.tensors.items():
            for size, consumers in tensors.items():
                self._hold(op, size, consumers, held[op, size])
        peaks = []
        for device in range(self.machine.devices):
            mine = [span[1:] for span in self.spans if span[0] == device]
            sums = [sum(b for b, s, e in mine if s <= t < e) for _, t, _ in mine]
            resident = self.graph.arrays.resident.tolist()
            own = sum(r for r, d in zip(resident, self.place, strict=True) if d == device)
            peaks.append(own + max(sums, default=0.0))
        return peaks

    def _keys(self) -> list[tuple[int, float]]:
        sizes = self.graph.arrays.size.tolist()
        return list(zip(self.graph.producer.tolist(), sizes, strict=True))

    def _hold(self, op: int, size: float, consumers: set[int], held: float) -> None:
        home = self.place[op]
        last = [self.finish[op], *(self.finish[c] for c in consumers if self.place[c] == home)]
        for (a, b), link in self.links.items():
            for what, begin, end in link:
                if what == (op, size) and a == home:
                    last.append(end)
                    until = max(self.finish[c] for c in consumers if self.place[c] == b)
                    self.spans.append((b, held, begin, until))
        self.spans.append((home, held, self.start[op], max(last)))
