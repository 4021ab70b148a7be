"""Computation graphs of PyTorch modules, with costs measured on the present devices.

    graph, machine = measure_module(model, (images,), devices=("cpu", "cpu"))
    problem = Problem(graph, machine)

The module is traced by torch.fx: each call of a leaf module, function or method is an operation,
inputs and the output too (they cost nothing). A forward pass then runs operation by operation.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from daedalus.envs.placement.graph import Graph, GraphError, Operation, build
from daedalus.envs.placement.machine import Machine, make_machine

Inputs = tuple[Any, ...]
COPY = 1 << 24
"""Bytes of the tensor whose copying measures a link."""


def trace(module: nn.Module) -> fx.GraphModule:
    """Return the module as a graph of calls, ready for inference.

    Raises:
        GraphError: Its control flow depends on values, so that torch.fx cannot follow it.
    """
    try:
        return fx.symbolic_trace(module.eval())
    except Exception as error:  # torch.fx raises what the module's own code raises
        name, reason = type(module).__name__, str(error).partition("\n")[0]
        raise GraphError(
            f"{name} cannot be traced by torch.fx: {reason}; wrap what depends on values in a "
            "module and torch.fx.wrap it, or trace a part"
        ) from error


def size_of(value: Any) -> int:
    """Return the bytes of all tensors in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    return sum(map(size_of, value)) if isinstance(value, tuple | list) else 0


class _Stopwatch(fx.Interpreter):
    """Runs a traced module and notes seconds and bytes of every node."""

    def __init__(self, module: fx.GraphModule, cuda: bool) -> None:
        super().__init__(module)
        self.cuda = cuda
        self.seconds: dict[str, list[float]] = {node.name: [] for node in module.graph.nodes}
        self.bytes: dict[str, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        start = time.perf_counter()
        result = super().run_node(n)
        if self.cuda:
            torch.cuda.synchronize()
        self.seconds[n.name].append(time.perf_counter() - start)
        self.bytes[n.name] = size_of(result)
        return result


def measure_graph(
    module: nn.Module, inputs: Inputs, *, device: str = "cpu", repeats: int = 10
) -> Graph:
    """Return the graph of a forward pass; costs are the least of several, in ms on ``device``.

    Args:
        module: Any module that torch.fx can trace.
        inputs: Arguments of its ``forward``.
        device: Where to measure.
        repeats: Runs, after two that are dropped.

    Raises:
        GraphError: The module cannot be traced.
    """
    traced = trace(module).to(device)
    watch = _Stopwatch(traced, device.startswith("cuda"))
    moved = [x.to(device) if isinstance(x, Tensor) else x for x in inputs]
    with torch.no_grad():
        for _ in range(repeats + 2):
            watch.run(*moved)
    nodes = [node for node in traced.graph.nodes if node.op != "get_attr"]
    index = {node: i for i, node in enumerate(nodes)}
    operations = [_operation(traced, node, watch.seconds[node.name][2:]) for node in nodes]
    edges = [
        (index[source], index[node], float(watch.bytes[source.name]))
        for node in nodes
        for source in node.all_input_nodes
        if source in index
    ]
    return build(type(module).__name__, operations, edges)


def _operation(module: fx.GraphModule, node: fx.Node, seconds: Sequence[float]) -> Operation:
    """Return the operation of a node with the parameters that it reads."""
    cost = 0.0 if node.op in ("placeholder", "output") else 1000 * min(seconds)
    resident = 0
    if node.op == "call_module":
        part = module.get_submodule(str(node.target))
        resident = sum(size_of(p) for p in (*part.parameters(), *part.buffers()))
    for source in node.all_input_nodes:
        if source.op == "get_attr":
            resident += size_of(_attribute(module, str(source.target)))
    return Operation(node.name, cost, float(resident))


def _attribute(module: nn.Module, name: str) -> Any:
    """Return a member by its dotted name."""
    for part in name.split("."):
        module = getattr(module, part)
    return module


def measure_machine(devices: Sequence[str], memory: float = np.inf) -> Machine:
    """Return the machine that devices of a name each make, its links measured by copies.

    Args:
        devices: torch's names; ``"cpu"`` several times stands for several pinned threads.
        memory: Bytes of each.
    """
    count = len(devices)
    bandwidth, latency = np.full((count, count), np.inf), np.zeros((count, count))
    known: dict[tuple[str, str], tuple[float, float]] = {}
    for a, source in enumerate(devices):
        for b, target in enumerate(devices):
            if a != b:
                if (source, target) not in known:
                    known[source, target] = _link(source, target)
                latency[a, b], bandwidth[a, b] = known[source, target]
    return make_machine(
        count, memory=memory, bandwidth=bandwidth.tolist(), latency=latency.tolist()
    )


def _link(source: str, target: str) -> tuple[float, float]:
    """Return latency (ms) and bandwidth (bytes per ms) of copying from device to device."""
    small, large = (_copy_time(size, source, target) for size in (4, COPY))
    return small, COPY / max(large - small, 1e-6)


def _copy_time(size: int, source: str, target: str) -> float:
    tensor = torch.zeros(size // 4, device=source)
    times = []
    for _ in range(12):
        start = time.perf_counter()
        tensor.to(target, copy=True)
        if "cuda" in source + target:
            torch.cuda.synchronize()
        times.append(1000 * (time.perf_counter() - start))
    return min(times[2:])
