"""Placements without learning: each against a brute force or an answer by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from daedalus.envs.batch import Batch
from daedalus.envs.placement.annealing import anneal
from daedalus.envs.placement.baselines import BASELINES, expert, heft, round_robin, single
from daedalus.envs.placement.graph import Graph, Operation, build
from daedalus.envs.placement.loaders import load_graph
from daedalus.envs.placement.machine import make_machine
from daedalus.envs.placement.partition import chain, metis, min_cut
from daedalus.envs.placement.players import greedy_for, planner_for
from daedalus.envs.placement.problem import Problem, default_machine
from daedalus.envs.placement.sequential import SequentialPlacement
from daedalus.envs.placement.synthetic import FAMILIES, synthetic
from daedalus.envs.placement.whole import DevicePlacement
from daedalus.envs.probes.catch import Catch


def chain_of(costs: list[float], sizes: list[float], memory: float = 0.0) -> Graph:
    operations = [Operation(str(i), cost, memory) for i, cost in enumerate(costs)]
    links = [(i, i + 1, size) for i, size in enumerate(sizes)]
    return build("chain", operations, links, keep=False)


def cliques() -> Graph:
    """Return two clusters of six operations, 100 bytes within, one byte between."""
    edges = [(a + o, b + o, 100.0) for o in (0, 6) for a, b in itertools.combinations(range(6), 2)]
    return build("two", [Operation(str(i), 1.0) for i in range(12)], [*edges, (5, 6, 1.0)])


def best_of_all(problem: Problem) -> float:
    """Return the least time of all placements that fit."""
    devices, groups = problem.machine.devices, problem.graph.groups
    steps = (problem.run(np.array(p)) for p in itertools.product(range(devices), repeat=groups))
    return min(step.time for step in steps if not step.oom)


def test_single_takes_the_fastest_device_and_of_equals_the_largest() -> None:
    graph = chain_of([1.0, 1.0], [1.0])
    machine = make_machine(3, speed=[1.0, 2.0, 2.0], memory=[9.0, 1.0, 5.0])
    assert single(Problem(graph, machine)).tolist() == [2, 2]
    assert round_robin(Problem(graph, machine)).tolist() == [0, 1]


def test_heft_by_hand() -> None:
    """Two chains from one start: the longer one stays, the shorter goes if sending pays."""
    operations = [Operation(name, c) for name, c in zip("abcd", (1.0, 5.0, 3.0, 1.0), strict=True)]
    edges = [(0, 1, 10.0), (0, 2, 10.0), (1, 3, 10.0), (2, 3, 10.0)]
    graph = build("fork", operations, edges)
    quick = Problem(graph, make_machine(2, bandwidth=20.0, latency=0.0))
    assert heft(quick).tolist() == [0, 0, 1, 0]
    assert quick.run(heft(quick)).time == 7  # c: 1.5 to 4.5, back at 5; d from 6
    slow = Problem(graph, make_machine(2, bandwidth=1.0, latency=0.0))
    assert len(set(heft(slow).tolist())) == 1


def test_heft_minds_the_memory() -> None:
    graph = chain_of([1.0] * 4, [1.0] * 3, memory=4.0)
    problem = Problem(graph, make_machine(2, memory=12.0, bandwidth=1.0))  # three of them
    assert sorted(np.bincount(heft(problem), minlength=2).tolist()) == [1, 3]
    assert not problem.run(heft(problem)).oom


@pytest.mark.parametrize("seed", range(6))
def test_the_chain_is_cut_optimally(seed: int) -> None:
    """One step over a chain: no placement that fits is quicker."""
    rng = np.random.default_rng(seed)
    graph = chain_of(rng.random(7).tolist(), (rng.random(6) * 9).round(1).tolist(), memory=1.0)
    for memory in (7.0, 3.0):
        machine = make_machine(3, memory=memory, bandwidth=3.0, latency=0.1)
        problem = Problem(graph, machine)
        step = problem.run(chain(problem))
        assert not step.oom
        assert step.time == pytest.approx(best_of_all(problem))


def test_what_is_alive_counts_where_it_does_not_fit() -> None:
    """Four layers whose outputs of 10 bytes wait for the backward pass: 40 on one device."""
    operations = [Operation(str(i), 1.0, 0.0, min(i, 7 - i)) for i in range(8)]
    edges = [(i, i + 1, 10.0 if i < 4 else 0.5) for i in range(7)]
    edges += [(i, 7 - i, 10.0) for i in range(3)]
    problem = Problem(build("held", operations, edges), make_machine(2, memory=32.0))
    for place in (chain, heft):
        assert problem.run(np.zeros(4, int)).oom
        assert not problem.run(place(problem)).oom


def test_the_pipeline_has_the_shortest_longest_stage() -> None:
    graph = chain_of([4.0, 1.0, 1.0, 2.0, 4.0], [0.0] * 4)
    problem = Problem(graph, make_machine(3, latency=0.0))
    assert chain(problem, bottleneck=True).tolist() == [0, 1, 1, 1, 2]
    assert problem.run(chain(problem)).time == 12


def test_the_cut_goes_between_clusters() -> None:
    problem = Problem(cliques(), make_machine(2))
    for cut in (min_cut, metis):
        part = cut(problem)
        assert sorted({tuple(part[:6].tolist()), tuple(part[6:].tolist())}) == [(0,) * 6, (1,) * 6]


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_are_even(family: str) -> None:
    graph = synthetic(family, 200, 3)
    problem = Problem(graph, make_machine(4))
    share = graph.arrays.cost / graph.arrays.cost.sum() / 2
    share = share + graph.arrays.resident / graph.arrays.resident.sum() / 2
    loads = np.bincount(min_cut(problem), share, 4)
    assert loads.max() < 0.25 * 1.1 + share.max()
    assert loads.min() > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_annealing_finds_the_best_of_all(seed: int) -> None:
    graph = synthetic("inception", 9, seed)
    problem = Problem(graph, make_machine(2, memory=40e6 + 0.6 * graph.arrays.resident.sum()))
    found = anneal(problem, 3000, seed)
    step = problem.run(found.placement)
    assert not step.oom
    assert step.time == pytest.approx(best_of_all(problem))
    assert found.curve[-1] == pytest.approx(step.time)
    assert (np.diff(found.curve) <= 0).all()
    assert np.array_equal(anneal(problem, 3000, seed).curve, found.curve)


def test_every_baseline_places_every_group_on_a_device() -> None:
    for name in ("layer-graphs/bert24_training", "operator-graphs/bert_l-3_inference", "tree:31:1"):
        graph = load_graph(name)
        problem = Problem(graph, default_machine(graph))
        for baseline, place in BASELINES.items():
            found = place(problem)
            assert (found is None) == (baseline == "experts" and not name.startswith("layer"))
            if found is not None:
                assert problem.run(found).time >= graph.critical_path() - 1e-9


def test_experts_are_for_their_machine() -> None:
    graph = load_graph("layer-graphs/gnmt_inference")
    split = expert(Problem(graph, default_machine(graph)))
    assert split is not None
    assert np.bincount(split).tolist() == [14, 15, 21, 19, 14, 13]
    assert expert(Problem(graph, default_machine(graph, devices=3))) is None


@pytest.mark.parametrize("kind", [DevicePlacement, SequentialPlacement])
def test_a_plan_is_carried_out(kind: type) -> None:
    family = kind(graph=["inception:30:1", "tree:15:1"], devices=3)
    batch = Batch(family, 8)
    batch.reset(1)
    play = greedy_for(family)
    times = [p.run(heft(p)).time for p in family.world.problems]
    graphs = batch.states["graph"].copy()
    found = np.zeros(8)
    for _ in range(30):
        batch.step(play(batch))
        first = batch.ended & (found == 0)
        found[first] = batch.final_info["run_time"][first, 0]
    assert found.tolist() == pytest.approx([times[k] for k in graphs], rel=1e-6)
    with pytest.raises(ValueError, match="places nothing"):
        planner_for(Catch(), heft)
