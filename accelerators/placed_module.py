"""Running a placed module for real: what a simulated step is compared with.

Each device is a thread with a queue: a CPU device is pinned to a core and computes with one thread,
a CUDA device has its own stream. An operation runs when its inputs are on its device, first come,
first served; tensors are copied to each other device that needs them once, by a thread for each
link, while the device goes on computing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, MultiDiscrete
from torch import Tensor, fx, nn

from daedalus.accelerators.module_graph import Inputs, measure_graph, measure_machine, trace
from daedalus.envs.placement.problem import Problem

Task = Callable[[], None]


class PlacedModule:
    """A module whose operations run where a placement says."""

    def __init__(self, module: nn.Module, inputs: Inputs, devices: Sequence[str]) -> None:
        """Trace the module and put a copy on each kind of device.

        Args:
            module: Any module that torch.fx can trace.
            inputs: Arguments of its ``forward``; they begin on device 0.
            devices: torch's names; ``"cpu"`` several times stands for several pinned threads.

        Raises:
            GraphError: The module cannot be traced.
        """
        self.devices, self.inputs = tuple(devices), inputs
        self.modules = {name: trace(module).to(name) for name in dict.fromkeys(devices)}
        graph = self.modules[self.devices[0]].graph
        self.nodes = [node for node in graph.nodes if node.op != "get_attr"]
        self.targets = {
            name: {node.name: node for node in traced.graph.nodes}
            for name, traced in self.modules.items()
        }

    def time(self, placement: Sequence[int], repeats: int = 10, warmup: int = 2) -> float:
        """Return the least ms of several forward passes: other work on the machine only adds.

        Args:
            placement: Device of each operation, in the order of `measure_graph`.
            repeats: Passes that count.
            warmup: Passes before them.
        """
        return min([self.run(placement)[0] for _ in range(warmup + repeats)][warmup:])

    def run(self, placement: Sequence[int]) -> tuple[float, Any]:
        """Run one forward pass; return its ms and the module's output."""
        if len(placement) != len(self.nodes):
            raise ValueError(f"{len(self.nodes)} operations need a device each, got {placement}")
        with single_threaded():
            return _Pass(self, [int(d) for d in placement]).run()


class _Pass:
    """One forward pass."""

    def __init__(self, placed: PlacedModule, placement: Sequence[int]) -> None:
        self.placed = placed
        self.device = {n.name: d for n, d in zip(placed.nodes, placement, strict=True)}
        self.users = {n.name: [u.name for u in n.users] for n in placed.nodes}
        sources = {n.name: [s.name for s in n.all_input_nodes] for n in placed.nodes}
        self.waiting = {
            name: sum(s in self.device for s in inputs) for name, inputs in sources.items()
        }
        self.values: list[dict[str, Any]] = [{} for _ in placed.devices]
        self.interpreters = [fx.Interpreter(placed.modules[kind]) for kind in placed.devices]
        self.lock, self.done = threading.Lock(), threading.Event()
        self.left = len(placed.nodes)
        self.queues: dict[Any, SimpleQueue[Task | None]] = defaultdict(SimpleQueue)
        self.error: BaseException | None = None

    def run(self) -> tuple[float, Any]:
        links = {
            (self.device[a], self.device[b])
            for a, users in self.users.items()
            for b in users
            if self.device[a] != self.device[b]
        }
        names = [*range(len(self.placed.devices)), *sorted(links)]
        threads = [threading.Thread(target=self._serve, args=(n,), daemon=True) for n in names]
        for thread in threads:
            thread.start()
        start = time.perf_counter()
        for name, count in self.waiting.items():
            if count == 0:
                self._submit(name)
        self.done.wait()
        elapsed = 1000 * (time.perf_counter() - start)
        for name in names:
            self.queues[name].put(None)
        for thread in threads:
            thread.join()
        if self.error is not None:
            raise self.error
        last = self.placed.nodes[-1].name
        return elapsed, self.values[self.device[last]][last]

    def _serve(self, name: Any) -> None:
        """Work off a queue: of a device (an integer) or of a link (a pair)."""
        if isinstance(name, int) and self.placed.devices[name] == "cpu":
            pin(name)
        while (task := self.queues[name].get()) is not None:
            try:
                with torch.no_grad():
                    task()
            except BaseException as error:
                self.error = error
                self.done.set()

    def _submit(self, name: str) -> None:
        self.queues[self.device[name]].put(functools.partial(self._compute, name))

    def _compute(self, name: str) -> None:
        device = self.device[name]
        kind = self.placed.devices[device]
        value = self._value(self.placed.targets[kind][name], device)
        if kind.startswith("cuda"):
            torch.cuda.current_stream().synchronize()
        self.values[device][name] = value
        remote = {self.device[user] for user in self.users[name]} - {device}
        for target in sorted(remote):
            self.queues[device, target].put(functools.partial(self._send, name, target))
        self._arrived(name, device)
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.done.set()

    def _value(self, node: fx.Node, device: int) -> Any:
        """Carry out a node with the values that are on its device."""
        interpreter = self.interpreters[device]
        if node.op == "placeholder":
            names = [n.name for n in self.placed.nodes if n.op == "placeholder"]
            return _moved(self.placed.inputs[names.index(node.name)], self.placed.devices[device])
        for source in node.all_input_nodes:
            if source.op == "get_attr":
                interpreter.env[source] = interpreter.run_node(source)
            else:
                interpreter.env[source] = self.values[device][source.name]
        return interpreter.run_node(node)

    def _send(self, name: str, target: int) -> None:
        value = self.values[self.device[name]][name]
        self.values[target][name] = _moved(value, self.placed.devices[target])
        self._arrived(name, target)

    def _arrived(self, name: str, device: int) -> None:
        """Count the value for its users on a device; the last input makes one ready."""
        for user in self.users[name]:
            if self.device[user] == device:
                with self.lock:
                    self.waiting[user] -= 1
                    ready = self.waiting[user] == 0
                if ready:
                    self._submit(user)


def _moved(value: Any, device: str) -> Any:
    """Return a copy on a device of all tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value.to(device, copy=True)
    if isinstance(value, dict):
        return {key: _moved(item, device) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_moved(item, device) for item in value)
    return value


def pin(device: int) -> None:
    """Pin this thread to a core of those that the process may use, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(os.getpid()))
        os.sched_setaffinity(0, {cores[device % len(cores)]})


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Let each operation compute with one thread; a device is one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class MeasuredPlacement(gymnasium.Env[np.ndarray, np.ndarray]):
    """DevicePlacement with a module that runs for real: -sqrt(measured seconds).

    Observation: float32 (N, 3), of each operation its measured cost, the bytes it makes and its
    parameters, as shares of the greatest. Action: MultiDiscrete([D] * N). An episode is one step.

    Attributes:
        problem: The measured graph on the measured machine, to simulate the same placement.
        placed: What runs.
    """

    def __init__(
        self, module: nn.Module, inputs: Inputs, devices: Sequence[str], repeats: int = 5
    ) -> None:
        """Measure costs and links; see `PlacedModule`."""
        with single_threaded():
            graph = measure_graph(module, inputs, device=devices[0])
            self.problem = Problem(graph, measure_machine(devices))
        self.placed, self.repeats = PlacedModule(module, inputs, devices), repeats
        arrays = graph.arrays
        made = np.bincount(graph.producer, arrays.size, graph.operations)
        columns = [c / max(c.max(), 1e-9) for c in (arrays.cost, made, arrays.resident)]
        self._observation = np.stack(columns, 1).astype(np.float32)
        self.observation_space = Box(0.0, 1.0, self._observation.shape, np.float32)
        self.action_space = MultiDiscrete([len(devices)] * graph.operations)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the graph; nothing is drawn."""
        super().reset(seed=seed)
        return self._observation.copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Run the placed module; ``info`` has measured and simulated ms."""
        measured = self.placed.time(action.tolist(), self.repeats)
        simulated = self.problem.run_operations(np.asarray(action)).time
        info = {"run_time": measured, "simulated": simulated}
        return self._observation.copy(), -((measured / 1000) ** 0.5), True, False, info
