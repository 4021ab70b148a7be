"""Graphs of PyTorch modules and running them placed; times only where nothing can disturb them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from daedalus.accelerators.module_graph import measure_graph, measure_machine, size_of
from daedalus.accelerators.placed_module import MeasuredPlacement, PlacedModule, single_threaded
from daedalus.envs.placement.graph import GraphError
from daedalus.envs.placement.machine import make_machine
from daedalus.envs.placement.problem import Problem


@torch.fx.wrap
def nap(x: Tensor) -> Tensor:
    """Take 30 ms without computing, so that two of them overlap on any machine."""
    time.sleep(0.03)
    return x + 1


class Fork(nn.Module):
    """Two naps side by side, then a linear layer, an LSTM's tuple and a parameter of its own."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.lstm = nn.LSTM(3, 5)
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, x: Tensor) -> Tensor:
        joined = self.head(nap(x) + nap(x))
        output: Tensor = self.lstm(joined)[0] * self.scale
        return output


@pytest.fixture(scope="module")
def fork() -> Fork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Fork()


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.ones(2, 4)


def test_a_module_becomes_a_graph(fork: Fork, x: Tensor) -> None:
    graph = measure_graph(fork, (x,), repeats=1)
    assert graph.labels == ("x", "nap", "nap_1", "add", "head", "lstm", "getitem", "mul", "output")
    cost = dict(zip(graph.labels, graph.arrays.cost.tolist(), strict=True))
    assert cost["x"] == cost["output"] == 0
    assert 30 <= cost["nap"] < 300
    assert cost["add"] < 30
    resident = dict(zip(graph.labels, graph.arrays.resident.tolist(), strict=True))
    assert resident["head"] == 4 * (4 * 3 + 3)
    assert resident["lstm"] == 4 * (4 * 5 * (3 + 5) + 2 * 4 * 5)
    assert resident["mul"] == 4 * 5
    source, target, size = graph.edges()
    names = [(graph.labels[a], graph.labels[b]) for a, b in zip(source, target, strict=True)]
    bytes_ = dict(zip(names, size.tolist(), strict=True))
    assert bytes_["x", "nap"] == 4 * 8
    assert bytes_["lstm", "getitem"] == 4 * (10 + 5 + 5)
    assert size_of({"a": [torch.zeros(3), None]}) == 12


@pytest.mark.parametrize("seed", range(4))
def test_a_placed_module_computes_the_same(fork: Fork, x: Tensor, seed: int) -> None:
    placed = PlacedModule(fork, (x,), ("cpu", "cpu", "cpu"))
    placement = np.random.default_rng(seed).integers(0, 3, len(placed.nodes)).tolist()
    with torch.no_grad():
        assert torch.equal(placed.run(placement)[1], fork(x))


def test_devices_work_side_by_side_as_simulated(fork: Fork, x: Tensor) -> None:
    """Two naps of 30 ms take 60 on one device, 30 on two."""
    placed = PlacedModule(fork, (x,), ("cpu", "cpu"))
    one, two = [0] * 9, [0, 0, 1, 0, 0, 0, 0, 0, 0]
    alone, together = placed.time(one, 4), placed.time(two, 4)
    assert alone >= 60
    assert 30 <= together < alone - 15
    problem = Problem(measure_graph(fork, (x,), repeats=4), make_machine(2))
    assert problem.run(np.array(two)).time < problem.run(np.array(one)).time - 15


def test_an_error_in_the_module_comes_out(x: Tensor) -> None:
    class Wrong(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x

    with pytest.raises(RuntimeError):
        PlacedModule(Wrong(), (x,), ("cpu",)).run([0] * 3)
    with pytest.raises(ValueError, match="3 operations need a device each"):
        PlacedModule(Wrong(), (x,), ("cpu",)).run([0])


def test_what_cannot_be_traced_is_said_in_one_line() -> None:
    class Dynamic(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(GraphError, match="Dynamic cannot be traced") as error:
        measure_graph(Dynamic(), (torch.ones(2),))
    assert "\n" not in str(error.value)


def test_links_are_measured() -> None:
    machine = measure_machine(("cpu", "cpu"))
    assert machine.devices == 2
    assert 0 < machine.latency[0, 1] < 50
    assert 1e4 < machine.bandwidth[0, 1] < 1e9  # bytes a ms: 10 MB/s to 1 TB/s


def test_the_environment(fork: Fork, x: Tensor) -> None:
    env = MeasuredPlacement(fork, (x,), ("cpu", "cpu"), repeats=1)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert observation.shape == (9, 3)
    _, reward, terminated, _, info = env.step(np.zeros(9, np.int64))
    assert terminated
    assert reward == -((info["run_time"] / 1000) ** 0.5)
    assert info["simulated"] == pytest.approx(env.problem.single())


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with single_threaded():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_is_a_device(fork: Fork, x: Tensor) -> None:
    placed: Any = PlacedModule(fork, (x,), ("cpu", "cuda"))
    found = placed.run([0, 0, 1, 1, 0, 1, 1, 0, 0])[1]
    assert torch.allclose(found, fork(x), atol=1e-5)
