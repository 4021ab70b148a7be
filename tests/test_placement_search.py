"""What the placement agents learn from: costs, baselines, likelihoods, and what they keep."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest
import torch
from torch.nn import functional

from daedalus.agents import make_agent
from daedalus.agents.placement_search import (
    Baseline,
    Best,
    advantages,
    reinforce_loss,
    samples_that_count,
)
from daedalus.agents.placeto import normalised

WHOLE, IMPROVED = "daedalus/DevicePlacement-v0", "daedalus/PlacementImprovement-v0"
CHAIN: dict[str, Any] = {"graph": "chain:6:0", "devices": 2}
ROOT = Path(__file__).parents[1]


def made(name: str, num_envs: int = 4, world: dict[str, Any] | None = None, **settings: Any) -> Any:
    """Make a small agent for a chain of six groups on two devices."""
    cls = make_agent(name)
    config, env = cls.Config(**{"hidden": 8, **settings}), IMPROVED if name == "placeto" else WHOLE
    world = CHAIN | (world or {})
    return cls(env, config, num_envs=num_envs, seed=0, device="cpu", env_kwargs=world)


# ---------------------------------------------------------------------------- costs and baselines


def test_advantages_by_hand() -> None:
    """B - R; in standard deviations of what did not fail (here 1/2), cut off at 3, centred."""
    cost = torch.tensor([1.0, 2.0, 9.0])
    every, failed = torch.tensor([True, True, True]), torch.tensor([False, False, True])
    assert advantages(cost, 2.0, every, failed, clip=0).tolist() == [1, 0, -7]
    assert advantages(cost, 2.0, ~failed, failed, clip=0).tolist() == [1, 0, 0]
    assert advantages(cost, 2.0, every, failed, clip=3.0).tolist() == pytest.approx(
        [2 + 1 / 3, 1 / 3, -3 + 1 / 3]
    )


def test_where_most_samples_fail_those_that_fit_stand_out() -> None:
    """The failing ones are not all pushed away: together they lose what the others gain."""
    cost = torch.tensor([1.0, 3.0, *[10.0] * 14])
    failed = cost > 9
    found = advantages(cost, 2.0, torch.ones(16, dtype=torch.bool), failed, clip=3.0)
    assert found[:2].tolist() == pytest.approx([1 + 42 / 16, -1 + 42 / 16])
    assert found[2:].tolist() == pytest.approx([-3 + 42 / 16] * 14)
    assert advantages(cost, 2.0, failed & ~failed, failed, clip=3.0).tolist() == [0.0] * 16


def test_failing_samples_are_dropped_when_it_is_time() -> None:
    valid, failed = torch.tensor([True, True, False]), torch.tensor([True, False, False])
    assert samples_that_count(valid, failed, drop=False).tolist() == [True, True, False]
    assert samples_that_count(valid, failed, drop=True).tolist() == [False, True, False]


def test_the_baseline_moves_by_hand() -> None:
    baseline, every = Baseline(0.9), torch.ones(2, dtype=torch.bool)
    first = torch.tensor([1.0, 3.0])
    assert baseline.of(first, every) == 2
    baseline.update(first, every)
    assert float(baseline.value) == 2
    baseline.update(torch.tensor([10.0, 14.0]), every)
    assert float(baseline.value) == pytest.approx(0.9 * 2 + 0.1 * 12)
    baseline.update(torch.tensor([99.0, 99.0]), ~every)
    assert float(baseline.value) == pytest.approx(3.0)


def test_the_gradient_raises_what_is_better_than_the_baseline() -> None:
    log_prob = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    counts = torch.tensor([True, True, False])
    reinforce_loss(log_prob, torch.tensor([2.0, -4.0, 8.0]), counts).backward()
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == [-1, 2, 0]  # descent raises the first, lowers the second


def test_what_is_cut_off_is_all_that_the_baseline_matters_by() -> None:
    """Centred advantages of costs within 3 deviations have no B; where one is cut off they do."""
    near, every = torch.tensor([1.0, 2.0, 4.0, 5.0]), torch.ones(4, dtype=torch.bool)
    found = [advantages(near, b, every, ~every, clip=3.0).tolist() for b in (2.5, 3.5)]
    spread = math.sqrt(2.5)
    assert found[0] == pytest.approx([2 / spread, 1 / spread, -1 / spread, -2 / spread])
    assert found[1] == pytest.approx(found[0], abs=1e-6)
    failed = torch.tensor([False, False, False, True])
    far = torch.tensor([1.0, 2.0, 3.0, 99.0])
    low, high = (advantages(far, b, every, failed, clip=3.0)[0] for b in (2.0, 2.5))
    spread = math.sqrt(2 / 3)  # the last is at -3: B + x takes x / spread off three of four
    assert float(high - low) == pytest.approx(0.5 / spread / 4)
    plain = [advantages(near, b, every, ~every, clip=0.0).tolist() for b in (2.0, 3.0)]
    assert plain == [[1, 0, -2, -3], [2, 1, -1, -2]]


# ----------------------------------------------------------------------------- what has been found


def test_the_best_placement_is_of_one_graph() -> None:
    """The first row's; a quicker placement of another graph is none of it, until it forgets."""
    one, other = torch.ones(2, 3), torch.zeros(2, 3)
    best = Best(2, 3)
    best.note(torch.stack([one, other]), torch.tensor([-3.0, -1.0]), torch.tensor([[0, 1], [1, 1]]))
    assert (float(best.reward), best.placement.tolist()) == (-3, [0, 1])
    best.note(torch.stack([other, one]), torch.tensor([-1.0, -2.0]), torch.tensor([[1, 1], [1, 0]]))
    assert (float(best.reward), best.placement.tolist()) == (-2, [1, 0])
    best.note(other[None], torch.tensor([-0.5]), torch.tensor([[1, 1]]))
    assert float(best.reward) == -2
    assert torch.equal(best.nodes, one)
    best.forget()
    best.note(other[None], torch.tensor([-9.0]), torch.tensor([[1, 1]]))
    assert (float(best.reward), best.placement.tolist()) == (-9, [1, 1])
    assert torch.equal(best.nodes, other)


@pytest.mark.parametrize("name", ["placer", "hierarchical_placer"])
def test_the_best_is_begun_anew_in_another_environment(name: str) -> None:
    """Slow links make placements slower: those of before would never be beaten."""
    agent = made(name, 8).learn(64)
    quick = float(agent.best.reward)
    slow = CHAIN | {"latency_ms": 1e4, "memory_gb": 1e-4, "failing": 1e6}
    agent.set_env(WHOLE, env_kwargs=slow)
    agent.learn(64, reset_num_timesteps=False)
    assert float(agent.best.reward) == pytest.approx(-1e3)  # nothing fits
    assert quick > -1
    if name == "placer":
        keep = torch.cat(list(agent.collector.collect(1).extras["keep"]))
        assert int((keep >= 0).any(1).sum()) == 4  # moves, from what was found here


@pytest.mark.parametrize("name", ["placer", "hierarchical_placer"])
def test_a_step_that_only_resets_is_no_placement(name: str) -> None:
    """Gymnasium's vectors have one after each episode; it is paid 0, more than any placement."""
    mode = gymnasium.vector.AutoresetMode.NEXT_STEP
    makers = [lambda: gymnasium.make(WHOLE, **CHAIN)] * 2
    envs = gymnasium.vector.SyncVectorEnv(makers, autoreset_mode=mode)
    cls = make_agent(name)
    agent = cls(envs, cls.Config(hidden=8), seed=0, device="cpu").learn(16)
    assert -1 < float(agent.best.reward) < 0


# --------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("placeto", {"rounds": 0}, "placeto needs rounds >= 1, got 0"),
        ("placeto", {"n_steps": 0}, "placeto needs n_steps >= 1, got 0"),
        ("placer", {"temperature": 0.0}, "temperature divides logits: it must be above 0, got 0.0"),
        ("placer", {"temperature": math.nan}, "must be above 0, got nan"),
        ("placer", {"hidden": 7}, "hidden is halved for the encoder's two ways, got 7: odd"),
        ("placer", {"baseline_decay": 1.5}, "baseline_decay is a share, 0 to 1, got 1.5"),
        ("placer", {"moves": 2.0}, "moves is a share of the placements"),
        ("hierarchical_placer", {"temperature": 0.0}, "it must be above 0, got 0.0"),
        (
            "hierarchical_placer",
            {"placements": 0},
            "hierarchical_placer needs placements >= 1, got 0",
        ),
        (
            "hierarchical_placer",
            {"placements": -1},
            "hierarchical_placer needs placements >= 1, got -1",
        ),
        ("hierarchical_placer", {"groups": -1}, "hierarchical_placer needs groups >= 0, got -1"),
        (
            "hierarchical_placer",
            {"placements": 3},
            "need a multiple of 3 environments, got num_envs=4",
        ),
    ],
)
def test_settings_without_sense_are_refused_in_one_line(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        made(name, **settings)
    assert "\n" not in str(caught.value)


def test_the_environments_of_groupings_come_out_even() -> None:
    """Fewer than k have one grouping; others are refused when they are set, too."""
    for copies in (1, 2, 4, 8):
        agent = made("hierarchical_placer", copies, placements=4).learn(16)
        group = agent.collector.collect(1).extras["group"][0]
        blocks = group.view(-1, min(copies, 4), group.shape[1])
        assert bool((blocks == blocks[:, :1]).all())
    with pytest.raises(ValueError, match="take 4, or placements that divide 6"):
        agent.set_env(WHOLE, num_envs=6, env_kwargs=CHAIN)


@pytest.mark.parametrize("name", ["placer", "hierarchical_placer", "placeto"])
def test_one_copy_is_enough_to_be_evaluated_in(name: str, tmp_path: Path) -> None:
    """An agent of eight copies, loaded with none, places one graph."""
    made(name, 8).learn(64).save(tmp_path / "agent")
    agent = make_agent(name).load(tmp_path / "agent", device="cpu")
    env = gymnasium.make(IMPROVED if name == "placeto" else WHOLE, **CHAIN)
    observation, _ = env.reset(seed=0)
    for deterministic in (True, False):
        assert env.action_space.contains(agent.predict(observation, deterministic=deterministic)[0])


# ------------------------------------------------------------------------ groupings and placements


def grouped_by_hand() -> tuple[Any, dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """Two graphs of six operations, the last of which they lack, and three groups on two devices.

    The first grouping leaves group 2 to the operation that is not there, the second group 1.
    """
    agent = made("hierarchical_placer", groups=3, placements=2)
    nodes = torch.rand(2, 6, 5)
    nodes[:, :, 0], nodes[:, 5] = 1.0, 0.0
    nodes[..., 3] = 0.0  # memory
    edges = torch.tensor([[[0, 1], [1, 2], [2, 3], [3, 4]]] * 2)
    group = torch.tensor([[0, 0, 1, 1, 1, 2], [0, 2, 2, 2, 2, 1]])
    return agent, {"nodes": nodes, "edges": edges}, group, torch.tensor([[0, 1, 1], [1, 0, 1]])


def test_likelihoods_of_groupings_and_placements_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups with probabilities 1/2, 1/4 and 1/4, devices with 1/8 and 7/8."""
    agent, seen, group, device = grouped_by_hand()
    first = torch.tensor([1 / 2, 1 / 4, 1 / 4]).log().expand(2, 6, 3)
    second = torch.tensor([1 / 8, 7 / 8]).log().expand(2, 3, 2)
    monkeypatch.setattr(agent.network, "group_logits", lambda *_: first)
    monkeypatch.setattr(agent.network.placer, "logits", lambda *_: second)
    grouped, placed, entropies = agent._log_probs(seen, group, device)
    # five operations: two in group 0 and three in group 1; one in group 0 and four in group 2
    assert grouped.exp().tolist() == pytest.approx([1 / 4 / 64, 1 / 2 / 256])
    # groups 0 and 1 on devices 0 and 1; groups 0 and 2 on device 1
    assert placed.exp().tolist() == pytest.approx([7 / 64, 49 / 64])
    bits = math.log(2)
    assert float(entropies["group_entropy"]) == pytest.approx(5 * 1.5 * bits, rel=1e-5)
    each = -(math.log(1 / 8) + 7 * math.log(7 / 8)) / 8
    assert float(entropies["device_entropy"]) == pytest.approx(2 * each, rel=1e-5)


def test_nothing_flows_from_the_placer_into_the_grouper() -> None:
    """Groupings are drawn: what their groups hold has no gradient, and each has its own weights."""
    agent, seen, group, device = grouped_by_hand()
    grouped, placed, _ = agent._log_probs(seen, group, device)
    grouper = [*agent.network.grouper.parameters(), agent.network.near]
    placer = list(agent.network.placer.parameters())

    def moved(total: torch.Tensor, weights: list[torch.Tensor]) -> bool:
        slopes = torch.autograd.grad(total, weights, retain_graph=True, materialize_grads=True)
        return any(bool((slope != 0).any()) for slope in slopes)

    assert moved(grouped.sum(), grouper)
    assert moved(placed.sum(), placer)
    assert not moved(placed.sum(), grouper)
    assert not moved(grouped.sum(), placer)


BY_HAND: dict[str, Any] = {"clip": 0.0, "entropy_weight": 0.1, "max_gradient_norm": 1e9}


def entropy(log_pi: torch.Tensor) -> torch.Tensor:
    """Return -sum p log p of log p (..., A)."""
    return -(log_pi.exp() * log_pi).sum(-1)


def test_one_advantage_weighs_grouping_and_placement() -> None:
    """The gradient is that of -mean((B - R) (log p(g) + log p(d | g))) less that of the entropies.

    B is the one of before; the first placement fails, which counts, but not in B.
    """
    unit = {"unit": "single"}
    agent = made("hierarchical_placer", 8, unit, groups=3, placements=2, **BY_HAND)
    agent.baseline.value.fill_(0.7)
    agent.baseline.started.fill_(True)
    rollout = agent.collector.collect(1)
    rollout = rollout._replace(cost=torch.tensor([[1.0] + [0.0] * 7]))
    seen = {name: value[0].clone() for name, value in rollout.observation.items()}
    group, device = rollout.extras["group"][0], rollout.extras["device"][0]
    better = rollout.reward[0] + 0.7
    assert float(better.std()) > 0.05
    network = agent.network
    first = functional.log_softmax(network.group_logits(**seen), -1)
    encoded = network.encode(**seen, group=group)
    second = functional.log_softmax(network.placer.logits(*encoded, device), -1)
    total = torch.zeros(())
    for i in range(8):
        for operation, g in enumerate(group[i].tolist()):
            total = total - better[i] / 8 * first[i, operation, g]
            total = total - 0.1 / 8 * entropy(first[i, operation])
        for g in set(group[i].tolist()):
            total = total - better[i] / 8 * second[i, g, device[i, g]]
            total = total - 0.1 / 8 * entropy(second[i, g])
    expected = torch.autograd.grad(total, list(network.parameters()))
    agent.update(rollout)
    for slope, weight in zip(expected, network.parameters(), strict=True):
        assert torch.allclose(weight.grad, slope, atol=1e-6)
    assert all(float(w.grad.abs().max()) > 1e-6 for w in network.grouper.parameters())
    moved = 0.9 * 0.7 - 0.1 * float(rollout.reward[0, 1:].mean())
    assert float(agent.baseline.value) == pytest.approx(moved)


def test_the_step_of_the_placer_by_hand() -> None:
    """Four whole placements weighed against B and four moves against their mean; two of them fail.

    Those count, but in neither baseline. A group that the graph lacks, here the last, and what a
    move kept were not drawn, so they have no gradient; entropies are those of whole placements.
    """
    agent = made("placer", 8, {"unit": "single", "devices": 3}, **BY_HAND).learn(16)
    rollout = agent.collector.collect(1)
    seen = {name: value.clone() for name, value in rollout.observation.items()}
    seen["nodes"][:, :, 5, 0] = 0.0
    failed = torch.tensor([[1.0, 0, 0, 0, 0, 0, 0, 1.0]])
    rollout = rollout._replace(observation=seen, cost=failed)
    agent.baseline.value.fill_(0.7)
    cost, action = -rollout.reward[0], rollout.action[0]
    keep, bar = (rollout.extras[name][0] for name in ("keep", "bar"))
    drawn = keep[:, :5] < 0
    assert drawn[:4].all()
    assert not drawn[4:].all()
    better = torch.cat([0.7 - cost[:4], cost[4:7].mean() - cost[4:]])
    graph = agent._encode({name: value[0] for name, value in seen.items()})
    logits = agent.network.logits(*graph, action)
    for k, g in (bar >= 0).nonzero().tolist():
        logits[k, g, bar[k, g]] -= 500.0
    log_pi = functional.log_softmax(logits, -1)[:, :5]
    taken = log_pi.gather(-1, action[:, :5].unsqueeze(-1)).squeeze(-1)
    assert bool((taken * drawn)[4:].any())
    total = -(better * (taken * drawn).sum(1)).sum() / 8
    total = total - 0.1 * entropy(log_pi[:4]).sum() / 4
    expected = torch.autograd.grad(total, list(agent.network.parameters()))
    agent.update(rollout)
    for slope, weight in zip(expected, agent.network.parameters(), strict=True):
        assert torch.allclose(weight.grad, slope, atol=1e-6)
    moved = 0.9 * 0.7 + 0.1 * float(cost[1:4].mean())
    assert float(agent.baseline.value) == pytest.approx(moved)


# ------------------------------------------------------------------------------------ improvements


def test_advantages_are_normalised_by_hand() -> None:
    """Of the valid ones, 1 and 3; a single one comes to 0, and so does none at all."""
    advantage = torch.tensor([[1.0, 3.0], [9.0, 9.0]])
    valid = torch.tensor([[True, True], [False, False]])
    assert normalised(advantage, valid).flatten().tolist() == pytest.approx([-1, 1, 0, 0])
    one = torch.tensor([[False, False], [False, True]])
    assert normalised(advantage, one).abs().sum() == 0
    assert normalised(advantage, ~(valid | True)).abs().sum() == 0


def test_the_placers_annealing_ends_at_a_hundredth(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, found = made("placer", temperature_start=0.5), []
    rollout = agent.collector.collect(1)
    monkeypatch.setattr(agent.incumbent, "consider", lambda *given: found.append(given[4]))
    agent.total_timesteps = 100
    for agent.num_timesteps in (0, 50, 100):
        agent.update(rollout)
    assert found == pytest.approx([0.5, 0.05, 0.005])


def test_placetos_step_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices with 1/4 and 3/4; of advantages 2, -1, 4 and 9 the last is of a step that resets."""
    agent = made("placeto", 2, n_steps=2, normalise=False, entropy_weight=0.1)
    rollout = agent.collector.collect(2)
    logits = torch.tensor([[0.0, math.log(3)]] * 6, requires_grad=True)
    value = torch.arange(6.0, requires_grad=True)
    gains = torch.tensor([[2.0, -1.0], [4.0, 9.0]])
    monkeypatch.setattr(agent, "judge", lambda *_: (logits, value))
    monkeypatch.setattr(agent, "_advantage", lambda *_: gains)
    rollout = rollout._replace(
        action=torch.tensor([[0, 1], [1, 0]]), valid=torch.tensor([[True, True], [True, False]])
    )
    row: Any = agent.update(rollout)
    low, high = math.log(1 / 4), math.log(3 / 4)
    assert row["policy_loss"].item() == pytest.approx(-(2 * low - high + 4 * high) / 4)
    assert row["value_loss"].item() == pytest.approx(0.5 * (4 + 1 + 16) / 4)
    assert row["entropy"].item() == pytest.approx(-3 * (low / 4 + 3 * high / 4) / 4)
    assert value.grad is not None
    assert value.grad.tolist() == pytest.approx([0.5 * -g / 4 for g in (2, -1, 4)] + [0.0] * 3)
    # of the first logit: -A (1[a = 0] - 1/4) / 4, and 0.1 / 4 p (log p + H) of the entropy
    spread = 0.1 / 4 * (low - (low / 4 + 3 * high / 4)) / 4
    assert logits.grad is not None
    expected = [-2 * 3 / 4 / 4, -1 / 4 / 4, 4 / 4 / 4]
    found = logits.grad[:, 0].tolist()
    assert found == pytest.approx([e + spread for e in expected] + [0.0] * 3)


def test_each_observation_is_judged_by_its_own_graph() -> None:
    """Beside others, in any order, and after them."""
    agent = made("placeto", 2)
    torch.nn.init.normal_(agent.network.policy[-1].weight)
    nodes = torch.rand(2, 6, agent.spaces.observation["nodes"].shape[1])
    nodes[:, :, 0] = 1.0
    edges = torch.tensor([[[0, 1], [1, 2], [2, 3], [3, 4]], [[0, 5], [1, 5], [2, 5], [-1, -1]]])
    with torch.no_grad():
        alone = [
            torch.cat([x.flatten() for x in agent.judge(nodes[i : i + 1], edges[i : i + 1])])
            for i in (0, 1)
        ]
        assert not torch.allclose(alone[0], alone[1])
        for order in ([0, 1, 1], [1, 0, 1]):
            logits, value = agent.judge(nodes[order], edges[order])
            for k, i in enumerate(order):
                found = torch.cat([logits[k], value[k : k + 1]])
                torch.testing.assert_close(found, alone[i])


def test_placetos_step_size_falls_anew_with_every_task() -> None:
    agent = made("placeto", 2, learning_rate=0.3, final_learning_rate=0.1)
    agent.num_timesteps, agent.total_timesteps, agent.task_started = 100, 300, 100
    found = []
    for steps in (100, 200, 300):
        agent.num_timesteps = steps
        agent._fall()
        found.append(agent.optimizer.param_groups[0]["lr"])
    assert found == pytest.approx([0.3, 0.2, 0.1])


def test_one_step_of_one_copy_is_no_fault() -> None:
    agent = made("placeto", 1, n_steps=1)
    agent.learn(12)
    assert all(bool(p.isfinite().all()) for p in agent.network.parameters())


def test_a_time_limit_bootstraps_and_an_end_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values 1 to 4, 9 of the last observations; gamma and lambda 1/2; the first copy is cut."""
    agent = made("placeto", 2, n_steps=3, gamma=0.5, gae_lambda=0.5)
    collected = agent.collector.collect(3)
    monkeypatch.setattr(agent, "judge", lambda nodes, _: (None, nodes[:, 0, 1]))
    last = {name: torch.full((2, 2, 2), 9.0) for name in ("nodes", "edges")}
    ends = torch.tensor([[False, False], [True, True], [False, False]])
    rollout = collected._replace(
        reward=torch.tensor([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]]),
        truncated=ends & torch.tensor([True, False]),
        terminated=ends & torch.tensor([False, True]),
        final_index=torch.tensor([[1, 0], [1, 1]]),
        final_observation=last,
    )
    value = torch.tensor([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [4.0, 4.0]])
    found = agent._advantage(rollout, value)
    cut, ended = 1 + 0.5 * 9 - 2, 1 - 2
    first = 1 + 0.5 * 2 - 1  # of the step before, to which 1/4 of the next comes
    assert found[0].tolist() == [first + cut / 4, first + ended / 4]
    assert found[1].tolist() == [cut, ended]
    assert found[2].tolist() == [2 + 0.5 * 4 - 3] * 2


# ---------------------------------------------------------------------------------------- evidence


@pytest.fixture
def evidence(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The experiment's module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import placement_agents

    return placement_agents


def test_times_of_what_does_not_fit_enter_no_median(evidence: Any) -> None:
    fits = [{"ms": ms, "oom": False} for ms in (5.0, 7.0)]
    fails = [{"ms": ms, "oom": True} for ms in (1.0, 2.0, 3.0)]
    assert evidence.shown([]) == ""
    assert evidence.shown(fits[:1]) == "5.0"
    assert evidence.shown(fits) == "6.0 (5.0 to 7.0, n = 2)"
    assert evidence.shown(fails[:1]) == "~~1.0~~"
    assert evidence.shown(fails) == "~~2.0~~ (1.0 to 3.0, n = 3)"
    assert evidence.shown(fits + fails) == "6.0 (5.0 to 7.0, 2 of 5 fit)"
    assert evidence.shown(fits[:1] + fails) == "5.0 (5.0 to 5.0, 1 of 4 fit)"


@pytest.mark.parametrize(
    ("name", "copies", "steps", "world"),
    [
        ("placer", 32, 20_000, {"unit": "single", "failing": 100.0}),
        ("hierarchical_placer", 64, 20_000, {"unit": "single", "failing": 100.0}),
        (
            "placeto",
            64,
            800_000,
            {"unit": "single", "devices": 6, "memory_gb": 0.2, "bandwidth_gb": 0.2}
            | {"memory_penalty": 20.0},
        ),
    ],
)
def test_the_scenarios_say_what_the_evidence_ran(
    evidence: Any, monkeypatch: pytest.MonkeyPatch, name: str, copies: int, steps: int, world: Any
) -> None:
    """With another graph in the place of the scenario's, where one is searched."""
    asked: dict[str, Any] = {}

    class Agent:
        def __init__(self, env: str, **keywords: Any) -> None:
            step = SimpleNamespace(time=1.0, oom=False)
            problem = SimpleNamespace(run=lambda _: step)
            asked.update(keywords, env=env)
            world = SimpleNamespace(problems=[problem])
            self.batch = SimpleNamespace(family=SimpleNamespace(world=world))
            self.best = SimpleNamespace(placement=torch.zeros(1))

        def learn(self, steps: int) -> Agent:
            asked["steps"] = steps
            return self

    monkeypatch.setattr(evidence, "make_agent", lambda _: Agent)
    graph: Any = "chain:6:0"
    if name == "placeto":
        evidence.learnt("placeto", 5)
        graph = [f"{family}:64:{i}" for family in ("inception", "seq2seq") for i in range(8)]
    else:
        evidence.search(name, graph, 5)
    env = IMPROVED if name == "placeto" else WHOLE
    assert asked == {
        "env": env,
        "num_envs": copies,
        "seed": 5,
        "steps": steps,
        "env_kwargs": {"graph": graph, **world},
    }
