"""The placement worlds: rewards, columns and ends by hand; one simulator behind all of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from daedalus.envs.batch import Batch
from daedalus.envs.placement.loaders import load_graph
from daedalus.envs.placement.picture import DEVICES, FREE, draw_placement
from daedalus.envs.placement.problem import Problem, default_machine
from daedalus.envs.placement.sequential import SequentialPlacement
from daedalus.envs.placement.whole import DevicePlacement

SETTING: dict[str, Any] = {"devices": 2, "memory_gb": 1.0, "bandwidth_gb": 0.01, "latency_ms": 0.5}
"""10,000 bytes a ms: a tensor of 10,000 bytes takes 1.5 ms."""


@pytest.fixture
def diamond(tmp_path: Path) -> str:
    """Write a -> (b, c) -> d with costs 1, 2, 4, 1 ms and 0.3 GB each; b and d share a colour."""
    nodes = [
        {"id": i, "name": name, "fpgaLatency": cost, "size": 3e8, "colorClass": colour}
        for i, (name, cost, colour) in enumerate(
            zip("abcd", (1.0, 2.0, 4.0, 1.0), (0, 1, 2, 1), strict=True)
        )
    ]
    pairs = ((0, 1), (0, 2), (1, 3), (2, 3))
    edges = [{"sourceId": a, "destId": b, "size": 1e4} for a, b in pairs]
    path = tmp_path / "diamond.json"
    path.write_text(json.dumps({"nodes": nodes, "edges": edges}), encoding="utf-8")
    return str(path)


def make(name: str, **parameters: Any) -> Any:
    return gymnasium.make(f"daedalus/{name}-v0", **parameters).unwrapped


def test_a_whole_placement_by_hand(diamond: str) -> None:
    """C on device 1: a's tensor 1 to 2.5, c to 6.5, its tensor to 8, d to 9 ms."""
    env = make("DevicePlacement", graph=diamond, **SETTING)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step([0, 0, 1])
    assert (terminated, truncated) == (True, False)
    assert reward == pytest.approx(-math.sqrt(0.009))
    assert info["run_time"] == 9
    assert info["load"].tolist() == [4, 4]
    assert info["memory"] == pytest.approx([0.9, 0.3])
    assert info["cost"] == 0


def test_running_out_of_memory_is_the_failing_signal(diamond: str) -> None:
    env = make("DevicePlacement", graph=diamond, failing=25.0, **SETTING)
    env.reset(seed=0)
    _, reward, _, _, info = env.step([1, 1, 1])
    assert reward == -5
    assert info["cost"] == 1
    assert info["run_time"] == 8  # what it would have been
    assert info["memory"] == pytest.approx([0.0, 1.2])


def test_columns_by_hand(diamond: str) -> None:
    """Groups a, b + d, c: cost 1, 3, 4; a and c send 1 ms; memory 0.3, 0.6, 0.3 of 1 GB."""
    env = make("PlacementImprovement", graph=diamond, **SETTING)
    observation, _ = env.reset(seed=0)
    nodes = observation["nodes"]
    assert nodes.shape == (3, 5 + 3 + 2)
    assert nodes[:, 0].tolist() == [1, 1, 1]
    assert nodes[:, 1] == pytest.approx([1 / 4, 3 / 4, 1])
    assert nodes[:, 2] == pytest.approx([1 / 4, 0, 1 / 4])
    assert nodes[:, 3] == pytest.approx([0.3, 0.6, 0.3])
    assert nodes[:, 4] == pytest.approx([0, 1 / 3, 2 / 3])
    assert nodes[:, 5:7].tolist() == [[0, 1], [0, 0], [0, 0]]
    assert nodes[:, 7] == pytest.approx([0, 1 / 8, 3 / 8])  # starts 0, 1, 3 of 8 ms
    assert nodes[:, 8:].tolist() == [[1, 0]] * 3
    assert sorted(map(tuple, observation["edges"].tolist())) == [(0, 1), (0, 2), (2, 1)]
    observation, *_ = env.step(1)
    assert observation["nodes"][:, 5:7].tolist() == [[1, 0], [0, 1], [0, 0]]
    assert observation["nodes"][0, 8:].tolist() == [0, 1]


@pytest.mark.parametrize(("start", "unit"), [("single", "second"), ("random", "single")])
def test_rewards_of_improvement_sum_to_what_was_gained(start: str, unit: str) -> None:
    """rho_0 - rho_T, with 2 for each GB too much; every group is visited, the last one too."""
    name = "layer-graphs/resnet50_inference"
    env = make("PlacementImprovement", graph=name, start=start, unit=unit)
    observation, info = env.reset(seed=5)
    place = observation["nodes"][:, 8:].argmax(1)
    graph = load_graph(name)
    problem = Problem(graph, default_machine(graph))
    scale = 1000.0 if unit == "second" else problem.single()

    def rho(placement: np.ndarray) -> float:
        step = problem.run(placement)
        excess = float((step.schedule.peak - problem.machine.memory).max())
        return step.time / scale + 2 * max(excess, 0.0) / 1e9

    rng, total, steps, terminated = np.random.default_rng(1), 0.0, 0, False
    before, chosen = rho(place), rng.integers(0, 6, graph.groups)
    while not terminated:
        _, reward, terminated, _, info = env.step(chosen[steps])
        total, steps = total + reward, steps + 1
    assert steps == graph.groups
    assert total == pytest.approx(before - rho(chosen), rel=1e-5)
    assert info["run_time"] == pytest.approx(problem.run(chosen).time)


def test_the_interfaces_agree(diamond: str) -> None:
    """One group at a time ends with the reward of the whole placement, and nothing before."""
    for placement in ([0, 0, 1], [1, 0, 1], [1, 1, 1]):
        whole = make("DevicePlacement", graph=diamond, **SETTING)
        whole.reset(seed=0)
        expected = whole.step(placement)[1]
        env = make("PlacementGroups", graph=diamond, **SETTING)
        observation, _ = env.reset(seed=0)
        assert observation["nodes"][:, 8:].sum() == 0
        rewards = [env.step(device)[1] for device in placement]
        assert rewards == [0, 0, expected]


@pytest.mark.parametrize("name", ["DevicePlacement", "PlacementGroups", "PlacementImprovement"])
def test_wrong_actions_are_refused(diamond: str, name: str) -> None:
    env = make(name, graph=diamond, **SETTING)
    env.reset(seed=0)
    wrong: Any = [0, 2, 0] if name == "DevicePlacement" else 2
    with pytest.raises(ValueError, match="is outside"):
        env.step(wrong)
    with pytest.raises(ValueError, match="actions have shape"):
        env.step([0, 1])


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"graph": "layer-graphs/gnmt"}, "there is no graph"),
        ({"graph": []}, "at least one graph"),
        ({"unit": "minute"}, "unit must be"),
        ({"devices": -1}, "at least 1 device"),
        ({"speeds": [1.0, 0.0]}, "speed must be positive"),
        ({"speeds": [1.0, math.inf]}, "speed must be finite"),
        ({"failing": -5.0}, "failing must be finite and 0 or more, got -5"),
        ({"failing": math.nan}, "failing must be finite and 0 or more, got nan"),
        ({"groups": -3}, "at least 1 group"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DevicePlacement(**parameters)
    with pytest.raises(ValueError, match=says):
        SequentialPlacement(**parameters)


def test_each_episode_may_be_about_another_graph(diamond: str) -> None:
    """The smaller graph is padded: its episodes are shorter, groups beyond it do not exist."""
    family = SequentialPlacement(graph=[diamond, "chain:5:0"], **SETTING)
    batch = Batch(family, 64)
    batch.reset(3)
    graphs = batch.states["graph"].copy()
    assert set(graphs.tolist()) == {0, 1}
    there = batch.observation["nodes"][:, :, 0]
    assert there[graphs == 0].tolist() == [[1, 1, 1, 0, 0]] * int((graphs == 0).sum())
    assert (there[graphs == 1] == 1).all()
    for step in range(5):
        batch.step(np.ones(64, np.int64))
        if step == 2:
            assert np.array_equal(batch.terminated, graphs == 0)
    assert batch.terminated[graphs == 1].any()


def test_speed_of_devices_counts(diamond: str) -> None:
    env = make("DevicePlacement", graph=diamond, memory_gb=9.0, devices=2, speeds=[1.0, 2.0])
    env.reset(seed=0)
    assert env.step([1, 1, 1])[4]["run_time"] == 4


def test_groups_are_merged_within_colours_and_limits() -> None:
    """Work is kept, classes stay whole, no group is much larger than its share."""
    for name, limit in (("layer-graphs/inceptionv3_training", 40), ("chain:3000:1", 64)):
        graph = load_graph(name)
        merged = DevicePlacement(graph=name, groups=limit).world.problems[0].graph
        assert merged.groups <= limit
        for group in range(graph.groups):
            assert len(set(merged.arrays.group[graph.arrays.group == group].tolist())) == 1
        work = np.bincount(merged.arrays.group, merged.arrays.cost)
        largest = np.bincount(graph.arrays.group, graph.arrays.cost).max()
        assert work.max() <= 4 * max(graph.arrays.cost.sum() / limit, largest)


def test_a_batch_equals_single_environments() -> None:
    batch = Batch(DevicePlacement(graph="inception:40:2", devices=3), 6)
    batch.reset(0)
    actions = np.random.default_rng(0).integers(0, 3, (6, 40))
    batch.step(actions)
    problem = batch.family.world.problems[0]  # type: ignore[attr-defined]
    expected = [-math.sqrt(problem.run(a).time / 1000) for a in actions]
    assert batch.reward.tolist() == pytest.approx(expected, rel=1e-6)


def test_the_picture_has_the_colours_of_the_devices() -> None:
    graph = load_graph("inception:40:2")
    problem = Problem(graph, default_machine(graph))
    place = np.arange(graph.groups) % 3
    placed = {tuple(c) for c in draw_placement(problem, place).reshape(-1, 3).tolist()}
    assert set(DEVICES[:3]) <= placed
    assert FREE not in placed
    empty = draw_placement(problem, np.full(graph.groups, -1))
    assert FREE in {tuple(c) for c in empty.reshape(-1, 3).tolist()}


def test_panels_show_the_step_as_a_gantt_chart(diamond: str) -> None:
    from daedalus.evaluation.panels import Spans, as_panel

    env = make("DevicePlacement", graph=diamond, **SETTING)
    env.reset(seed=0)
    env.step([0, 0, 1])
    (rows,) = env.family.panels(env.batch.states[0]).values()
    assert rows[-1] == ("device 1", 2.5, 6.5, "c")
    assert isinstance(as_panel("step", rows), Spans)
