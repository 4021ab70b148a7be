"""Agents that place computations: graphs, networks and moves by hand, learning a known answer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete, MultiDiscrete

from daedalus.agents import make_agent
from daedalus.agents.base import Inputs
from daedalus.agents.hierarchical_placer import Config as HierarchicalConfig
from daedalus.agents.hierarchical_placer import Network as HierarchicalNetwork
from daedalus.agents.hierarchical_placer import distance, group_embedding, operation_embedding
from daedalus.agents.placement_moves import Incumbent, barred, moves_from, together
from daedalus.agents.placement_search import (
    adjacency,
    check_placement,
    one_or_all,
)
from daedalus.agents.placer import FULL, stay_logit
from daedalus.agents.placer import Config as PlacerConfig
from daedalus.agents.placer import Network as PlacerNetwork
from daedalus.agents.placeto import Config as PlacetoConfig
from daedalus.agents.placeto import Network as PlacetoNetwork
from daedalus.agents.placeto import around, reachable
from daedalus.agents.policies import Categorical
from daedalus.envs.placement.kernels import CURRENT, PLACED, START, VISITED

DIAMOND = torch.tensor([[[0, 1], [0, 2], [1, 3], [2, 3], [-1, -1]]])
"""a -> (b, c) -> d."""


# ----------------------------------------------------------------------------------------- graphs


def test_adjacency_by_hand() -> None:
    links = adjacency(DIAMOND, 4)[0]
    assert links.tolist() == [[0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]


def test_what_is_around_a_group_by_hand() -> None:
    """Of b: a before, d after, c beside; the sets are shares."""
    links, there = adjacency(DIAMOND, 4), torch.ones(1, 4)
    reach = reachable(links)
    assert reach[0].int().tolist() == [[0, 1, 1, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]]
    sets = around(links, reach, torch.tensor([1]), there)
    assert sets.parents.tolist() == [[1, 0, 0, 0]]
    assert sets.children.tolist() == [[0, 0, 0, 1]]
    assert sets.beside.tolist() == [[0, 0, 1, 0]]
    assert sets.all.tolist() == [[0.25] * 4]
    assert around(links, reach, torch.tensor([3]), there).parents.tolist() == [[0, 0.5, 0.5, 0]]
    assert around(links, reach, torch.tensor([0]), there).beside.tolist() == [[0] * 4]  # d is below


def test_long_ways_are_reached() -> None:
    chain = torch.tensor([[[i, i + 1] for i in range(20)]])
    reach = reachable(adjacency(chain, 21))[0]
    assert torch.equal(reach, torch.ones(21, 21, dtype=torch.bool).triu(1))


def test_copies_of_one_graph_are_encoded_once() -> None:
    same, other = torch.ones(3, 2), torch.arange(3.0)
    assert [len(x) for x in one_or_all(same, same)] == [1, 1]
    assert [len(x) for x in one_or_all(same, other)] == [3, 3]


def test_operation_embeddings_by_hand() -> None:
    """Operation b of four: neighbours a (place 0, from it) and d (place 3 of 4, to it)."""
    nodes = torch.arange(4.0).view(1, 4, 1)
    row = operation_embedding(nodes, DIAMOND)[0, 1].tolist()
    assert len(row) == 1 + 20
    assert row[0] == 1
    near = {(w, s) for w, s in zip(row[1:11], row[11:], strict=True) if s != 0}
    assert near == {(0, -1), (12, 1)}
    assert row[3:11] == [-1] * 8


def test_group_embeddings_by_hand() -> None:
    """Groups {a, b} and {c, d}: sums of rows, two edges between them, one inside each."""
    nodes = torch.tensor([[[1.0, 2.0], [1.0, 4.0], [1.0, 0.0], [1.0, 1.0]]])
    member = torch.tensor([[[1.0, 0], [1, 0], [0, 1], [0, 1]]])
    sums, between = group_embedding(nodes, adjacency(DIAMOND, 4), member)
    assert sums.flatten().tolist() == pytest.approx([2 / 7, 6 / 7, 2 / 3, 1 / 3])
    assert between.flatten().tolist() == pytest.approx([0, 2 / 3, 0, 0])


# ---------------------------------------------------------------------------------------- networks


def test_the_placer_scores_what_it_draws() -> None:
    """Logits of drawing device by device are those of all steps at once, and bounded by C."""
    torch.manual_seed(0)
    network = PlacerNetwork(4, 5, 3, PlacerConfig(hidden=8, logit_bound=2.0, changes=0.0))
    torch.nn.init.normal_(network.head.weight, std=50.0)
    encoded = network.encode(torch.rand(6, 4, 5), adjacency(DIAMOND.expand(6, -1, -1), 4))
    drawn: list[torch.Tensor] = []

    def choose(group: int, logits: torch.Tensor) -> torch.Tensor:
        drawn.append(logits)
        return (logits.argmax(-1) + 1) % 3

    action = network.place(encoded, torch.zeros(6, 4), 6, choose)
    again = network.logits(encoded, torch.zeros(6, 4), action)
    assert torch.allclose(torch.cat(drawn, 1), again, atol=1e-5)
    assert float(again.detach().abs().max()) <= 2.0


def test_the_placer_reads_both_ways_and_bounds_its_logits_by_hand() -> None:
    """Rows of what is known, of who reads a group and of whom it reads; 3 tanh(b / 2)."""
    config = PlacerConfig(hidden=8, logit_bound=3.0, temperature=2.0, changes=0.0)
    network, bias = PlacerNetwork(4, 5, 3, config), torch.tensor([0.5, -3.0, 0.0])
    nodes, links, read = torch.rand(1, 4, 5), adjacency(DIAMOND, 4), list[torch.Tensor]()
    network.embed.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    encoded = network.encode(nodes, links)
    assert torch.equal(read[0], torch.cat([nodes, links, links.transpose(1, 2)], -1))
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(bias)
    found = network.logits(encoded, torch.zeros(1, 4), torch.zeros(1, 4, dtype=torch.int64))
    torch.testing.assert_close(found, (3 * torch.tanh(bias / 2)).expand(1, 4, 3))


def test_full_devices_are_not_drawn() -> None:
    """Four groups of .5, .4, .3 and .9 on three devices: who fits where, by hand."""
    torch.manual_seed(0)
    network = PlacerNetwork(4, 5, 3, PlacerConfig(hidden=8, changes=0.0))
    encoded = network.encode(torch.rand(1, 4, 5), adjacency(DIAMOND, 4))
    memory, action = torch.tensor([[0.5, 0.4, 0.3, 0.9]]), torch.tensor([[0, 0, 1, 2]])
    first, usual = (network.logits(encoded, m, action) for m in (memory, torch.zeros(1, 4)))
    less = (usual - first).detach()[0]
    # .5 and .4 fit everywhere; then device 0 holds .9, no room for .3; device 1 holds .3
    expected = [[0, 0, 0], [0, 0, 0], [FULL, 0, 0], [FULL, FULL, 0]]
    assert torch.allclose(less, torch.tensor(expected, dtype=torch.float), atol=1e-4)
    drawn: list[torch.Tensor] = []

    def choose(group: int, logits: torch.Tensor) -> torch.Tensor:
        drawn.append(logits)
        return action[:, group : group + 1]

    network.place(encoded, memory, 1, choose)
    assert torch.allclose(torch.cat(drawn, 1), first, atol=1e-4)
    free = PlacerNetwork(4, 5, 3, PlacerConfig(hidden=8, changes=0.0, keep_room=False))
    free.load_state_dict(network.state_dict())
    assert torch.equal(free.logits(encoded, memory, action), usual)


def test_a_group_needs_the_memory_of_its_operations() -> None:
    """Operations of .1, .2 and .4 and one that the graph lacks, in groups 1, 0 and 1."""
    nodes = torch.zeros(1, 4, 5)
    nodes[0, :3, 0], nodes[0, :, 3] = 1.0, torch.tensor([0.1, 0.2, 0.4, 0.0])
    network = HierarchicalNetwork(5, 2, 3, HierarchicalConfig(hidden=8))
    _, memory = network.encode(nodes, DIAMOND, torch.tensor([[1, 0, 1, 0]]))
    assert torch.allclose(memory, torch.tensor([[0.2, 0.5]]))


def test_copies_of_a_graph_need_one_encoding() -> None:
    """Two encodings for six rows: each serves three that follow each other."""
    torch.manual_seed(0)
    network = PlacerNetwork(4, 5, 3, PlacerConfig(hidden=8))
    encoded = network.encode(torch.rand(2, 4, 5), adjacency(DIAMOND.expand(2, -1, -1), 4))
    action = torch.randint(3, (6, 4))
    memory = torch.tensor([[0.6] * 4, [0.3] * 4])
    few = network.logits(encoded, memory, action)
    repeated = network.logits(
        encoded.repeat_interleave(3, 0), memory.repeat_interleave(3, 0), action
    )
    assert torch.allclose(few, repeated, atol=1e-6)


def test_placements_begin_in_few_pieces() -> None:
    """100 groups on 5 devices with 2 changes for each: another device with probability 1/10."""
    assert stay_logit(2.0, 100, 5) == pytest.approx(math.log(9 * 4))
    assert stay_logit(0.0, 100, 5) == stay_logit(9.0, 10, 5) == stay_logit(2.0, 100, 1) == 0.0
    torch.manual_seed(0)
    network = PlacerNetwork(100, 5, 5, PlacerConfig(hidden=8))
    encoded = network.encode(torch.rand(1, 100, 5), torch.zeros(1, 100, 100))
    draws = Categorical(Discrete(5))
    generator = torch.Generator().manual_seed(0)
    action = network.place(
        encoded, torch.zeros(1, 100), 200, lambda _, logits: draws.sample(logits, generator)
    )
    changes = (action[:, 1:] != action[:, :-1]).float().sum(1)
    assert float(changes.mean()) == pytest.approx(9.9, abs=1.0)


def test_groups_begin_as_runs_of_neighbours() -> None:
    """Four operations and one that the graph lacks in two groups: centres at 1 and 3 of 4."""
    nodes = torch.tensor([[[1.0], [1.0], [1.0], [1.0], [0.0]]])
    away = distance(nodes, 2)[0]
    by_hand = [[-0.25, -1.25], [0.25, -0.75], [0.75, -0.25], [1.25, 0.25]]
    assert away[:4].tolist() == by_hand
    assert away[:4].abs().argmin(1).tolist() == [0, 0, 1, 1]
    network = HierarchicalNetwork(1, 2, 3, HierarchicalConfig(hidden=8, near=2.0))
    for p in network.grouper.parameters():
        torch.nn.init.zeros_(p)
    logits = network.group_logits(nodes, DIAMOND)[0]
    torch.testing.assert_close(logits, -2 * away.square())


def seen_by_placeto(device: list[int], devices: int, current: int = 1) -> torch.Tensor:
    nodes = torch.zeros(1, 4, PLACED + devices)
    nodes[0, :, :5] = torch.tensor([[1, 0.5, 0.1, 0.2, i / 4] for i in range(4)])
    nodes[0, :current, VISITED] = 1
    nodes[0, current, CURRENT] = 1
    nodes[0, :, START] = torch.arange(4) / 4
    nodes[0, range(4), [PLACED + d for d in device]] = 1
    return nodes


def test_messages_go_both_ways_as_means_and_sums_are_divided_by_rounds() -> None:
    """In two rounds the first of a diamond hears of the last, and the last of the first.

    A second reader like the first changes nothing of what is read; without messages there is the
    embedding, by the number of rounds.
    """
    torch.manual_seed(0)
    network, links = PlacetoNetwork(PlacetoConfig(rounds=2)), adjacency(DIAMOND, 4)
    nodes = seen_by_placeto([0] * 4, 2)
    nodes[:, 2] = nodes[:, 1]
    plain = network.graph(nodes, links)
    for changed, hears in ((3, 0), (0, 3)):
        other = nodes.clone()
        other[:, changed, 1] += 1.0
        away = (network.graph(other, links) - plain)[0, hears]
        assert float(away.detach().abs().max()) > 1e-4
    one = adjacency(DIAMOND[:, [0, 2]], 4)  # a -> b -> d
    torch.testing.assert_close(network.graph(nodes, one)[0, [0, 3]], plain[0, [0, 3]])
    for p in network.message.parameters():
        torch.nn.init.zeros_(p)
    static = nodes[:, :, : network.embed.in_features]
    torch.testing.assert_close(network.graph(nodes, links), torch.tanh(network.embed(static)) / 2)


def test_placeto_knows_no_names_of_devices() -> None:
    """Renaming devices renames the logits; an unused device more changes none of the others."""
    torch.manual_seed(1)
    network = PlacetoNetwork(PlacetoConfig())
    torch.nn.init.normal_(network.policy[-1].weight)  # type: ignore[arg-type]
    links = adjacency(DIAMOND, 4)
    sets = around(links, reachable(links), torch.tensor([1]), torch.ones(1, 4))

    def logits(device: list[int], devices: int) -> torch.Tensor:
        nodes = seen_by_placeto(device, devices)
        scores: torch.Tensor = network(nodes, network.graph(nodes, links), sets)[0][0]
        return scores.detach()

    one, renamed = logits([0, 1, 2, 0], 3), logits([2, 0, 1, 2], 3)
    assert torch.allclose(one, renamed[[2, 0, 1]], atol=1e-6)
    assert torch.allclose(logits([0, 1, 2, 0], 4)[:3], one, atol=1e-6)
    assert float(one.std()) > 0


def test_a_grouping_serves_copies_of_one_graph_only() -> None:
    """Two placements of a grouping where pairs of rows are one graph, one where they are not."""
    cls = make_agent("hierarchical_placer")
    config = cls.Config(hidden=8, placements=2)
    world = {"graph": ["chain:6:0", "tree:6:1"], "devices": 2}
    agent = cls("daedalus/DevicePlacement-v0", config, num_envs=4, env_kwargs=world)
    nodes, edges = torch.rand(2, 6, 5), torch.randint(6, (2, 4, 2))
    pairs, mixed = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    assert agent._copies(nodes[pairs], edges[pairs]) == 2
    assert agent._copies(nodes[mixed], edges[pairs]) == 1
    assert agent._copies(nodes[pairs], edges[mixed]) == 1
    assert agent._copies(nodes[pairs][:3], edges[pairs][:3]) == 1
    agent.learn(16)  # draws either graph in any row


# ------------------------------------------------------------------------------------------- moves


def test_moves_redraw_a_run_of_groups_and_leave_a_device() -> None:
    """From devices 0 1 2 0 and a fifth group that the graph lacks."""
    placement = torch.tensor([0, 1, 2, 0, 0])
    moves = moves_from(placement, 4, 500, torch.Generator().manual_seed(0))
    drawn = moves.keep < 0
    assert bool((moves.keep[~drawn] == placement.expand(500, -1)[~drawn]).all())
    first = drawn.int().argmax(1)
    assert set(first.tolist()) == {0, 1, 2, 3}
    runs = [row.nonzero().flatten().tolist() for row in drawn]
    assert all(run == list(range(run[0], run[-1] + 1)) for run in runs)
    assert 0.5 < np.mean([len(run) == 1 for run in runs]) < 0.95
    barred_at = (moves.bar >= 0).nonzero()
    assert barred_at[:, 1].tolist() == first.tolist()
    assert bool((moves.bar[barred_at[:, 0], barred_at[:, 1]] == placement[first]).all())


def test_what_a_move_leaves_is_not_drawn_but_before_a_full_device() -> None:
    """Three devices, the last of them full: without device 0 only device 1 is left; and so on."""
    logits = torch.tensor([[[5.0, 0.0, -FULL]]])
    for bar, likeliest in ((-1, 0), (0, 1), (1, 0)):
        assert int(barred(logits, torch.tensor([[bar]])).argmax()) == likeliest
    only = torch.tensor([[[5.0, -FULL, -FULL]]])
    assert int(barred(only, torch.tensor([[0]])).argmax()) == 0


def test_moves_that_help_are_tried_together() -> None:
    """Of four moves from 0 0 0 0 the first does not help; the last touches what the third does."""
    placement = torch.zeros(4, dtype=torch.int64)
    action = torch.tensor([[1, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 1], [0, 0, 0, 2]])
    reward = torch.tensor([-1.1, -0.9, -0.7, -0.8])
    found = together(placement, reward, action, torch.tensor(-1.0))
    assert found is not None
    assert found.tolist() == [0, 2, 1, 1]
    assert together(placement, reward[:2], action[:2], torch.tensor(-1.0)) is None


def test_an_incumbent_is_annealed_by_hand() -> None:
    """Run times of 4 and 4.5 at temperature 1: the slower takes its place in exp(-.5) of draws."""
    nodes, other = torch.ones(1, 2, 3), torch.zeros(1, 2, 3)
    generator, taken = torch.Generator().manual_seed(0), 0
    place, none = torch.tensor([[1, 0]]), torch.tensor([False])
    for _ in range(1000):
        here = Incumbent(2, 3)
        assert not here.serves(nodes)
        here.consider(nodes, torch.tensor([-2.0]), place * 0, none, 1.0, generator)
        assert here.serves(nodes)
        assert not here.serves(other)
        here.consider(other, torch.tensor([-1.0]), place, none, 1.0, generator)  # another graph
        assert here.placement.tolist() == [0, 0]
        here.consider(nodes, torch.tensor([-(4.5**0.5)]), place, none, 1.0, generator)
        taken += here.placement.tolist() == [1, 0]
    assert taken / 1000 == pytest.approx(math.exp(-0.5), abs=0.05)
    here.consider(nodes, torch.tensor([-1.0]), place, none, 1e-9, generator)
    assert float(here.reward) == -1.0


def test_a_move_is_learnt_from_what_it_drew_alone(twins: str) -> None:
    """Kept groups have no gradient: with all devices kept the policy does not change."""
    cls = make_agent("placer")
    config = cls.Config(hidden=8, entropy_weight=0.0, moves=1.0)
    world = {"graph": twins, **WORLD}
    agent = cls("daedalus/DevicePlacement-v0", config, num_envs=8, seed=0, env_kwargs=world)
    agent.learn(16)
    rollout = agent.collector.collect(1)
    extras = {name: list(value) for name, value in rollout.extras.items()}
    assert bool((torch.cat(extras["keep"]) >= 0).any(1).all())
    before = [p.clone() for p in agent.network.parameters()]
    kept = rollout._replace(
        extras={"keep": [rollout.action[0]], "bar": [torch.full_like(rollout.action[0], -1)]}
    )
    agent.optimizer.state.clear()
    agent.update(kept)
    assert all(torch.equal(a, b) for a, b in zip(before, agent.network.parameters(), strict=True))
    agent.update(rollout)
    assert any(
        not torch.equal(a, b) for a, b in zip(before, agent.network.parameters(), strict=True)
    )


def test_a_single_move_is_none(twins: str) -> None:
    """Half of two or three rows is one move, which would be its own baseline."""
    for rows, number in ((2, 0), (3, 0), (4, 2), (7, 3)):
        cls, world = make_agent("placer"), {"graph": twins, **WORLD}
        config = cls.Config(hidden=8)
        agent = cls("daedalus/DevicePlacement-v0", config, num_envs=rows, env_kwargs=world)
        agent.learn(2 * rows)
        keep = torch.cat(list(agent.collector.collect(1).extras["keep"]))
        assert int((keep >= 0).any(1).sum()) == number


def test_acting_outside_training_makes_no_moves(twins: str) -> None:
    """Nor does it draw the numbers for any: the same generator gives a whole placement's draws."""
    cls = make_agent("placer")
    world = {"graph": twins, **WORLD}
    agent = cls("daedalus/DevicePlacement-v0", cls.Config(hidden=8), num_envs=4, env_kwargs=world)
    agent.learn(8)
    with torch.no_grad():
        agent.collector.collect(1)
        seen = {k: torch.as_tensor(v) for k, v in agent.batch.observation.items()}
        inputs, generator = Inputs(seen, *([torch.zeros(4)] * 3)), agent.generators["act"]
        start = generator.get_state()
        acted = agent.act(inputs, {})
        generator.set_state(start)
        agent.incumbent.reward.fill_(torch.finfo(torch.float32).min)  # as if it had none
        alone = agent.act(inputs, {})
    assert acted.extras == {}
    assert torch.equal(acted.action, alone.action)


# ---------------------------------------------------------------------------------------- learning


@pytest.fixture
def twins(tmp_path: Path) -> str:
    """Write start -> two chains of three -> end: one device takes 8 ms, two take 5."""
    cost = [1.0] * 8
    pairs = [(0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 7)]
    nodes = [{"id": i, "fpgaLatency": c, "size": 1.0} for i, c in enumerate(cost)]
    edges = [{"sourceId": a, "destId": b, "size": 0.0} for a, b in pairs]
    path = tmp_path / "twins.json"
    path.write_text(json.dumps({"nodes": nodes, "edges": edges}), encoding="utf-8")
    return str(path)


WORLD: dict[str, Any] = {"devices": 2, "memory_gb": 1.0, "latency_ms": 0.0, "unit": "single"}


@pytest.mark.parametrize(
    ("name", "options"), [("placer", {}), ("hierarchical_placer", {"groups": 3, "placements": 2})]
)
def test_search_finds_the_best_of_all(twins: str, name: str, options: dict[str, int]) -> None:
    """5 of 8 ms; and the policy ends near it, well above drawing at random (-0.90)."""
    cls = make_agent(name)
    config = cls.Config(hidden=16, learning_rate=1e-2, **options)
    agent = cls(
        "daedalus/DevicePlacement-v0",
        config,
        num_envs=32,
        seed=0,
        device="cpu",
        env_kwargs={"graph": twins, **WORLD},
    )
    agent.learn(32 * 100)
    assert float(agent.best.reward) == pytest.approx(-math.sqrt(5 / 8))
    problem = agent.batch.family.world.problems[0]
    seen = {name: value.copy() for name, value in agent.batch.observation.items()}
    drawn = [problem.run(placement).time / 8 for placement in agent.predict(seen)[0]]
    assert 5 / 8 - 1e-6 <= np.mean(drawn) < 0.84**2


def test_placeto_learns_to_improve_and_carries_over(twins: str) -> None:
    """Gain of 3/8 of the time on one device at best; then on another number of devices."""
    cls = make_agent("placeto")
    made = {"graph": twins, **WORLD}
    agent = cls(
        "daedalus/PlacementImprovement-v0",
        cls.Config(n_steps=8, rounds=2, learning_rate=2e-2, entropy_weight=0.003),
        num_envs=32,
        seed=2,
        device="cpu",
        env_kwargs=made,
    )
    agent.learn(32 * 8 * 16)
    env: Any = gymnasium.make("daedalus/PlacementImprovement-v0", **{**made, "devices": 3})
    other = cls(env, agent.config, device="cpu")
    other.network.load_state_dict(agent.network.state_dict())
    for who, world in ((agent, made), (other, {**made, "devices": 3})):
        play = gymnasium.make("daedalus/PlacementImprovement-v0", **world)
        observation, _ = play.reset(seed=0)
        total, over = 0.0, False
        while not over:
            action, _ = who.predict(observation, deterministic=True)
            observation, reward, over, *_ = play.step(action)
            total += float(reward)
        assert 0.2 < total <= 3 / 8 + 1e-6


# ------------------------------------------------------------------------------- spaces and saving


@pytest.mark.parametrize("name", ["placer", "hierarchical_placer", "placeto"])
def test_another_world_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(TypeError, match=r"as daedalus/(Device)?Placement") as error:
        make_agent(name)("daedalus/Catch-v0", num_envs=1, device="cpu")
    assert "\n" not in str(error.value)
    assert "ppo" in str(error.value)


def test_the_wrong_interface_is_refused(twins: str) -> None:
    with pytest.raises(TypeError, match="MultiDiscrete actions, as daedalus/DevicePlacement-v0"):
        make_agent("placer")(
            "daedalus/PlacementImprovement-v0", num_envs=1, env_kwargs={"graph": twins, **WORLD}
        )
    with pytest.raises(TypeError, match="Discrete actions, as daedalus/PlacementImprovement-v0"):
        make_agent("placeto")(
            "daedalus/DevicePlacement-v0", num_envs=1, env_kwargs={"graph": twins, **WORLD}
        )
    spaces: Any = make_agent("placer")(
        "daedalus/DevicePlacement-v0", num_envs=1, env_kwargs={"graph": twins, **WORLD}
    ).spaces
    assert check_placement(spaces, "placer", MultiDiscrete) == (8, 5, 2)
