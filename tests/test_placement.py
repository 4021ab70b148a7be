"""Placing computations on devices: the simulator against a second one, its invariants, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_reference import Reference

from daedalus.envs.placement.graph import Graph, GraphError, Operation, build
from daedalus.envs.placement.loaders import (
    expert_split,
    graph_names,
    load_graph,
    read_json,
    read_pipedream,
)
from daedalus.envs.placement.machine import Machine, make_machine
from daedalus.envs.placement.problem import Problem, default_machine
from daedalus.envs.placement.synthetic import FAMILIES, synthetic

quick = settings(max_examples=60, deadline=None)


def diamond(cost: tuple[float, ...] = (1, 2, 4, 1), size: float = 10.0) -> Graph:
    """Return a -> (b, c) -> d."""
    operations = [Operation(name, c) for name, c in zip("abcd", cost, strict=True)]
    return build("diamond", operations, [(0, 1, size), (0, 2, size), (1, 3, size), (2, 3, size)])


def machine(devices: int, bandwidth: float = 10.0, latency: float = 0.5) -> Machine:
    return make_machine(devices, bandwidth=bandwidth, latency=latency)


@st.composite
def graphs(draw: st.DrawFn, edges: bool = True) -> Graph:
    """Draw a graph of up to 12 operations whose numbers have many ties."""
    n = draw(st.integers(1, 12))
    number = st.sampled_from([0.0, 0.0, 1.0, 1.5, 2.0, 7.25])
    operations = [
        Operation(str(i), draw(number), draw(number), draw(st.sampled_from([None, None, 1, 2])))
        for i in range(n)
    ]
    pairs = [(a, b) for b in range(n) for a in range(b)] if edges else []
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=24, unique=True)) if pairs else []
    return build("drawn", operations, [(a, b, draw(number)) for a, b in chosen])


@st.composite
def problems(draw: st.DrawFn) -> tuple[Graph, Machine, np.ndarray]:
    """Draw a graph, a machine whose devices and links differ, and a placement of operations."""
    graph, devices = draw(graphs()), draw(st.integers(1, 4))
    number = st.sampled_from([0.5, 1.0, 2.0, 3.0])
    rows = [[draw(number) for _ in range(devices)] for _ in range(2 * devices)]
    made = make_machine(
        devices,
        memory=[draw(st.sampled_from([1.0, 5.0, 100.0])) for _ in range(devices)],
        speed=[draw(number) for _ in range(devices)],
        bandwidth=rows[:devices],
        latency=rows[devices:],
    )
    place = [draw(st.integers(0, devices - 1)) for _ in range(graph.operations)]
    return graph, made, np.array(place, np.int32)


# ------------------------------------------------------------------------------------- simulator


def test_a_diamond_by_hand() -> None:
    """B beside c: the tensor of a goes to device 1 once, at 1, and takes 0.5 + 10 / 10."""
    step = Problem(diamond(), machine(2)).run(np.array([0, 1, 0, 0]))
    assert step.schedule.start.tolist() == [0, 2.5, 1, 6]
    assert step.schedule.finish.tolist() == [1, 4.5, 5, 7]
    assert step.schedule.busy.tolist() == [6, 2]
    assert step.time == 7  # b's tensor leaves at 4.5 and is there at 6, after c's end at 5


def test_a_tensor_is_sent_once_to_each_device_and_links_take_turns() -> None:
    """A feeds b, c and d on device 1 by one tensor, then e by a second one of its own."""
    operations = [Operation(name, 1.0) for name in "abcde"]
    edges = [(0, 1, 10.0), (0, 2, 10.0), (0, 3, 10.0), (0, 4, 20.0)]
    step = Problem(build("fan", operations, edges), machine(2)).run(np.array([0, 1, 1, 1, 1]))
    assert step.schedule.sent.tolist() == [1, -1, -1, 2.5]  # 1 + 1.5, then 2.5 + 2.5
    assert step.schedule.arrival.tolist() == [2.5, 2.5, 2.5, 5]
    assert step.schedule.start.tolist() == [0, 2.5, 3.5, 4.5, 5.5]


def test_memory_by_hand() -> None:
    """Half-open spans: a lives until c's end, b's copy of it from 1 (sending) to 4.5."""
    step = Problem(diamond(), machine(2)).run(np.array([0, 1, 0, 0]))
    # device 0: a [0, 5), c [1, 7), b's copy [4.5, 7); device 1: a's copy [1, 4.5), b [2.5, 6)
    assert step.schedule.peak.tolist() == [30, 20]
    tight = make_machine(2, memory=[30, 19], bandwidth=10.0, latency=0.5)
    assert Problem(diamond(), tight).run(np.array([0, 1, 0, 0])).oom
    assert not Problem(diamond(), tight).run(np.array([0, 0, 0, 0])).oom


@quick
@given(problems())
def test_both_simulators_agree_exactly(drawn: tuple[Graph, Machine, np.ndarray]) -> None:
    graph, made, place = drawn
    step, expected = Problem(graph, made).run_operations(place), Reference(graph, made, place).run()
    assert step.time == expected.time
    assert step.schedule.start.tolist() == expected.start
    assert step.schedule.finish.tolist() == expected.finish
    assert step.schedule.busy.tolist() == pytest.approx(expected.busy, rel=1e-12)
    assert step.schedule.peak.tolist() == expected.peak
    assert step.oom == any(p > m for p, m in zip(expected.peak, made.memory, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_both_simulators_agree_on_larger_graphs(family: str) -> None:
    graph = synthetic(family, 150, 4)
    made = make_machine(3, speed=[1.0, 2.0, 0.5], bandwidth=2e6)
    place = np.random.default_rng(1).integers(0, 3, graph.operations).astype(np.int32)
    step, expected = Problem(graph, made).run_operations(place), Reference(graph, made, place).run()
    assert (step.time, step.schedule.peak.tolist()) == (expected.time, expected.peak)
    assert step.schedule.start.tolist() == expected.start


# ------------------------------------------------------------------------------ the six invariants


@quick
@given(graphs())
def test_one_device_takes_the_sum_of_costs(graph: Graph) -> None:
    step = Problem(graph, machine(3)).run(np.full(graph.groups, 2))
    assert step.time == pytest.approx(graph.arrays.cost.sum(), rel=1e-12)


@quick
@given(graphs(), st.integers(0, 10**6))
def test_no_step_is_shorter_than_the_critical_path_or_a_load(graph: Graph, seed: int) -> None:
    place = np.random.default_rng(seed).integers(0, 3, graph.groups)
    step = Problem(graph, machine(3)).run(place)
    assert step.time >= graph.critical_path() * (1 - 1e-12)
    loads = np.bincount(step.placement, graph.arrays.cost, 3)
    assert step.time >= loads.max() * (1 - 1e-12)
    assert step.schedule.busy.tolist() == pytest.approx(loads.tolist())


@quick
@given(graphs())
def test_free_links_and_a_device_each_give_the_critical_path(graph: Graph) -> None:
    unlimited = machine(graph.operations, bandwidth=np.inf, latency=0.0)
    step = Problem(graph, unlimited).run_operations(np.arange(graph.operations))
    assert step.time == pytest.approx(graph.critical_path(), rel=1e-12)


@quick
@given(graphs(), st.integers(0, 10**6))
def test_names_of_equal_devices_do_not_matter(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    place, names = rng.integers(0, 4, graph.groups), rng.permutation(4)
    one, other = (Problem(graph, machine(4)).run(p) for p in (place, names[place]))
    assert one.time == other.time
    assert one.schedule.start.tolist() == other.schedule.start.tolist()
    assert one.schedule.peak.tolist() == other.schedule.peak[names].tolist()


@quick
@given(st.integers(2, 30), st.integers(0, 10**6), st.floats(1.0, 100.0))
def test_bandwidth_never_hurts_a_chain(length: int, seed: int, factor: float) -> None:
    rng = np.random.default_rng(seed)
    operations = [Operation(str(i), float(rng.random())) for i in range(length)]
    graph = build("chain", operations, [(i, i + 1, 9.0 * i) for i in range(length - 1)])
    place = rng.integers(0, 3, length)
    slow, fast = (Problem(graph, machine(3, 10.0 * f)).run(place).time for f in (1.0, factor))
    assert fast <= slow


# ----------------------------------------------------------------------------------------- graphs


def test_operations_are_sorted_and_groups_counted_in_their_order() -> None:
    operations = [
        Operation("last", 1.0, colour="x"),
        Operation("a", 2.0),
        Operation("b", 3.0, 0, "x"),
    ]
    graph = build("g", operations, [(1, 2, 1.0), (2, 0, 1.0)])
    assert graph.labels == ("a", "b", "last")
    assert graph.arrays.group.tolist() == [0, 1, 1]
    assert graph.grouped(np.array([7, 7, 3])).arrays.group.tolist() == [0, 0, 1]


def test_every_shipped_graph_loads() -> None:
    names = graph_names()
    assert len(names) == 30
    for name in names:
        assert load_graph(name).operations >= 23


@pytest.mark.parametrize(
    ("name", "operations", "edges", "total", "groups"),
    [
        ("layer-graphs/bert24_inference", 32, 55, 92.41, 32),
        ("layer-graphs/gnmt_inference", 96, 122, 182.56, 96),
        ("layer-graphs/inceptionv3_training", 652, 726 + 326, 710.74, 326),
        ("layer-graphs/resnet50_training", 354, 386 + 177, 462.38, 177),
        ("operator-graphs/bert_l-3_training", 600, 817, 122.99, 121 + 21),
        ("pipedream/gnmt_large_training", 192, 122 + 122 + 96, 520.5, 96),
        ("pipedream/alexnet_inference", 23, 23, 44.8, 23),
    ],
)
def test_shipped_graphs_are_those_of_their_authors(
    name: str, operations: int, edges: int, total: float, groups: int
) -> None:
    """Counts and sums as published; a tie from each layer to its backward operation is added."""
    graph = load_graph(name)
    assert (graph.operations, len(graph.arrays.consumer)) == (operations, edges)
    assert graph.arrays.cost.sum() == pytest.approx(total, abs=0.05)
    assert graph.groups == groups


def test_which_graphs_fit_one_device() -> None:
    """17.2 GB: GNMT and BERT fit; the training steps of ResNet-50 and Inception-V3 do not."""
    for name, fits in (
        ("gnmt_inference", True),
        ("bert24_training", True),
        ("resnet50_training", False),
        ("inceptionv3_training", False),
    ):
        graph = load_graph(f"layer-graphs/{name}")
        problem = Problem(graph, default_machine(graph))
        assert problem.machine.devices == 6
        step = problem.run(np.zeros(graph.groups, int))
        assert step.oom is not fits
        assert step.time == pytest.approx(problem.single())


def test_a_training_step_ends_with_the_backward_pass_of_the_first_layer() -> None:
    graph = load_graph("layer-graphs/bert24_training")
    assert graph.labels[-1] in ("node1grad", "node2grad", "node4grad")
    assert all("grad" not in label for label in graph.labels[:31])
    assert graph.critical_path() == pytest.approx(217.81, abs=0.01)  # a chain, there and back


def test_experts_use_six_devices_and_keep_layers_together() -> None:
    for name in graph_names():
        split = expert_split(name)
        if split is not None:
            graph = load_graph(name)
            assert set(split.tolist()) == set(range(6))
            for group in range(graph.groups):
                assert len(set(split[graph.arrays.group == group].tolist())) == 1
    assert expert_split("operator-graphs/resnet50_inference") is None


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [2, 3, 50, 333])
def test_synthetic_graphs_have_their_size_and_one_end(family: str, size: int) -> None:
    graph = load_graph(f"{family}:{size}:5")
    assert graph.operations == size
    source, target, _ = graph.edges()
    assert (source < target).all()
    assert set(range(size)) - set(source.tolist()) == {size - 1}
    again, other = synthetic(family, size, 5), synthetic(family, size, 6)
    assert np.array_equal(again.arrays.cost, graph.arrays.cost)
    assert not np.array_equal(other.arrays.cost, graph.arrays.cost)


# ------------------------------------------------------------------------------------ broken files


def node(number: int = 1, **changes: object) -> dict[str, object]:
    return {"id": number, "name": f"n{number}", "fpgaLatency": 1.0, "size": 2.0} | changes


def edge(a: int = 1, b: int = 2, size: object = 3.0) -> dict[str, object]:
    return {"sourceId": a, "destId": b, "size": size}


@pytest.mark.parametrize(
    ("nodes", "edges", "says"),
    [
        ([], [], "there is no operation"),
        ([{"id": 1, "size": 2.0}], [], "node 1: the field 'fpgaLatency' is missing"),
        ([node(size="large")], [], "node 1: the field 'size' is missing or no number"),
        ([node(), node()], [], "the id 1 stands there twice"),
        ([node(fpgaLatency=-1.0)], [], "the cost of 'n1' is -1.0"),
        ([node(size=-2.0)], [], "the memory of 'n1' is -2.0"),
        ([node()], [edge()], "edge 0: there is no node 2"),
        ([node(), node(2)], [edge(size=-3.0)], "'n1' -> 'n2' has -3.0 bytes"),
        ([node(), node(2)], [edge(size=None)], "edge 0: the field 'size' is missing"),
        ([node(), node(2)], [edge(), edge(2, 1)], "wait for each other: n1 -> n2"),
        ([node()], [edge(1, 1)], "wait for each other: n1"),
        ("none", [], "'nodes' is missing or no list"),
    ],
)
def test_a_broken_json_file_says_what_is_wrong(
    tmp_path: Path, nodes: object, edges: object, says: str
) -> None:
    path = tmp_path / "graph.json"
    path.write_text(json.dumps({"nodes": nodes, "edges": edges}), encoding="utf-8")
    with pytest.raises(GraphError) as error:
        read_json(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


LAYER = (
    "node1 -- Linear(2, 3) -- forward_compute_time=1.0, backward_compute_time=2.0, "
    "activation_size=[4.0; 5.0], parameter_size=6.0"
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("node1 -- Linear(2, 3)\n", "line 1: expected 'node -- description"),
        (LAYER.replace("1.0", "fast"), "line 1: a time or size is no number"),
        (LAYER + "\n\tnode1 node2\n", "line 2: expected 'nodeA -- nodeB'"),
        (LAYER + "\n\tnode1 -- node2\n", "the edge node1 -- node2 leads to no layer"),
        (LAYER.replace("=1.0", "=-1.0"), "the cost of 'Linear' is -1.0"),
        ("", "there is no operation"),
    ],
)
def test_a_broken_profile_says_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "profile.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GraphError, match=r"profile\.txt") as error:
        read_pipedream(path)
    assert says in str(error.value)


def test_a_profile_by_hand(tmp_path: Path) -> None:
    """Input's time is data loading; sizes in brackets add up; state is three times parameters."""
    path = tmp_path / "profile.txt"
    head = LAYER.replace("node1 -- Linear(2, 3)", "node0 -- Input0").replace("1.0", "600.0")
    path.write_text(f"{LAYER}\n{head}\n\tnode0 -- node1\n", encoding="utf-8")
    graph = read_pipedream(path)
    assert graph.labels == ("Input0", "Linear", "Linear backward", "Input0 backward")
    assert graph.arrays.cost.tolist() == [0, 1, 2, 2]
    assert graph.arrays.resident.tolist() == [18, 18, 0, 0]
    assert graph.arrays.group.tolist() == [0, 1, 1, 0]
    source, target, size = graph.edges()
    assert list(zip(source.tolist(), target.tolist(), strict=True)) == [
        (0, 1),
        (0, 3),
        (1, 2),
        (2, 3),
    ]
    assert set(size.tolist()) == {9.0}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("layer-graphs/gnmt", "did you mean 'layer-graphs/gnmt_inference'?"),
        ("inception:ten", "family:size:seed"),
        ("nothing.json", "there is no graph 'nothing.json'"),
    ],
)
def test_an_unknown_graph_is_named(name: str, says: str) -> None:
    with pytest.raises(GraphError, match=r"there is no graph") as error:
        load_graph(name)
    assert says in str(error.value)


def test_a_placement_that_is_none_is_refused() -> None:
    problem = Problem(diamond(), machine(2))
    with pytest.raises(ValueError, match="there is no device 2"):
        problem.run(np.array([0, 1, 2, 0]))
    with pytest.raises(ValueError, match="a placement is 4 integers"):
        problem.run(np.array([0, 1]))
    with pytest.raises(ValueError, match="a placement is 4 integers"):
        problem.run(np.array([0.0, 1.0, 0.5, 0.0]))


def test_a_machine_that_is_none_is_refused() -> None:
    for options, says in (
        ({"speed": 0.0}, "speed must be positive"),
        ({"latency": -1.0}, "latency must be 0 or more"),
        ({"memory": [1.0, 2.0, 3.0]}, "memory has shape"),
    ):
        with pytest.raises(ValueError, match=says):
            make_machine(2, **options)
