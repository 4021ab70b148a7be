"""Distral: its equations and pitfalls by hand, all variants of the agent, two rooms in tables."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import nn

from daedalus.accelerators.checkpoint import load_checkpoint
from daedalus.accelerators.rollout import Inputs
from daedalus.agents.base import Spaces
from daedalus.agents.distral import (
    Config,
    Distral,
    Spoken,
    apart,
    distillation_loss,
    gradient_cosine,
    regularised_reward,
    soft_policy,
    soft_value,
)
from daedalus.evaluation.evaluate import evaluate
from daedalus.scenarios import SEQUENCE

ROOMS: dict[str, Any] = {
    "task_id": "known",
    "task": "all",
    "stages": [
        {"name": str(i), "env": "daedalus/TwoRooms-v0", "env_kwargs": {"task": i}} for i in range(3)
    ],
}
VARIANTS: dict[str, dict[str, Any]] = {
    "A3C": {"columns": 1, "c_kl": 0.0},
    "A3C multitask": {"columns": 1, "c_kl": 0.0, "shared": True},
    "A3C 2col": {"columns": 2, "c_kl": 0.0},
    "KL 1col": {"columns": 1, "c_entropy": 0.0},
    "KL 2col": {"columns": 2, "c_entropy": 0.0},
    "KL+ent 1col": {"columns": 1},
    "KL+ent 2col": {"columns": 2},
}
PRIOR = torch.tensor([0.8, 0.2]).log()


def made(num_envs: int = 6, **settings: Any) -> Distral:
    config = Config(**({"hidden": 16, "n_steps": 5} | settings))
    return Distral(SEQUENCE, config, num_envs=num_envs, seed=1, device="cpu", env_kwargs=ROOMS)


# ----------------------------------------------------------------------------------- the equations


def test_alpha_and_beta_by_hand() -> None:
    """c_KL = 0.03, c_Ent = 0.01: alpha = 3/4, beta = 25."""
    config = Config(c_kl=0.03, c_entropy=0.01)
    assert config.alpha == pytest.approx(0.75)
    assert config.beta == pytest.approx(25.0)


def test_soft_value_and_policy_by_hand() -> None:
    """Q = (0, log 4), beta 1, alpha 1: 0.8 + 0.2 * 4 = 1.6, so V = log 1.6, pi = (1/2, 1/2)."""
    q = torch.tensor([0.0, math.log(4)])
    assert soft_value(q, PRIOR, 1.0, 1.0).item() == pytest.approx(math.log(1.6))
    assert soft_policy(q, PRIOR, 1.0, 1.0).tolist() == pytest.approx([0.5, 0.5])
    # alpha 0: no coupling, pi = softmax(beta Q); beta 2: weights 1 and 16
    assert soft_policy(q, PRIOR, 0.0, 2.0).tolist() == pytest.approx([1 / 17, 16 / 17])
    assert soft_value(q, PRIOR, 0.0, 2.0).item() == pytest.approx(math.log(17) / 2)


@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 3.0), (0.5, 10.0), (1.0, 0.7)])
def test_the_policy_maximises_the_regularised_value(alpha: float, beta: float) -> None:
    """V = E_pi[Q + alpha/beta log pi_0 - 1/beta log pi]: right signs; policies sum to 1."""
    torch.manual_seed(0)
    q, log_pi0 = torch.randn(5, 4), torch.randn(5, 4).log_softmax(-1)
    pi = soft_policy(q, log_pi0, alpha, beta)
    torch.testing.assert_close(pi.sum(-1), torch.ones(5))
    value = soft_value(q, log_pi0, alpha, beta)
    reward = regularised_reward(q, log_pi0, pi.log(), alpha, beta)
    torch.testing.assert_close((pi * reward).sum(-1), value)
    other = torch.randn(5, 4).softmax(-1)
    worse = (other * regularised_reward(q, log_pi0, other.log(), alpha, beta)).sum(-1)
    assert (worse < value).all()


@pytest.mark.parametrize(
    ("alpha", "beta", "worth", "goes"),
    [(0.5, 10.0, 1.386, False), (0.5, 20.0, 0.693, True), (0.8, 30.0, 0.185, True)],
)
def test_what_wandering_for_ever_is_worth(
    alpha: float, beta: float, worth: float, goes: bool
) -> None:
    """With pi_0 uniform, V = (1 - alpha) log 4 / (beta (1 - gamma)); a goal of 1 must be more.

    Alpha 1/2, beta 10, gamma 0.95: 0.0693 a step and 1.386 in all, so the agent does not go there.
    """
    log_pi0 = torch.full((4,), -math.log(4))
    value = torch.zeros(())
    for _ in range(400):
        value = soft_value(0.95 * value.expand(4), log_pi0, alpha, beta)
    assert value.item() == pytest.approx(worth, abs=1e-3)
    q = torch.stack([torch.ones(()), *[0.95 * value] * 3])  # the goal, or on and on
    assert (soft_policy(q, log_pi0, alpha, beta)[0].item() > 0.25) is goes
    assert 0.5 * math.log(4) / (Config().beta * (1 - Config().gamma)) < 1  # as it comes


def test_coefficients_are_in_units_of_the_reward() -> None:
    """Q = (0, log 2) and 100 times that, beta 1, alpha 1: weights (4, 2) / 6, and (4, 2^100).

    So a task of large rewards does not hear pi_0; with beta 1 / 100 it is the task of small ones.
    """
    q = torch.tensor([0.0, math.log(2)])
    small = soft_policy(q, PRIOR, 1.0, 1.0)
    assert small.tolist() == pytest.approx([2 / 3, 1 / 3])
    assert soft_policy(100 * q, PRIOR, 1.0, 1.0)[1].item() == pytest.approx(1.0)
    torch.testing.assert_close(soft_policy(100 * q, PRIOR, 1.0, 0.01), small)
    torch.testing.assert_close(
        soft_value(100 * q, PRIOR, 1.0, 0.01), 100 * soft_value(q, PRIOR, 1.0, 1.0)
    )


def test_regularised_reward_by_hand() -> None:
    """1 + (0.5/10) log 0.8 - (1/10) log 0.25: following pi_0 pays, being sure costs."""
    found = regularised_reward(torch.ones(1), PRIOR[:1], torch.tensor([0.25]).log(), 0.5, 10.0)
    assert found.item() == pytest.approx(1 + 0.05 * math.log(0.8) + 0.1 * math.log(4))


def test_the_distillation_gradient_is_the_difference_of_policies() -> None:
    """Sum over actions, weighted: 2 (pi_0 - pi) = 2 ((1/2, 1/2) - (0.8, 0.2)); none for pi.

    Steps are summed, environments averaged: half of it in each of three steps of two.
    """
    logits0 = torch.zeros(3, 2, 2, requires_grad=True)
    pi = torch.tensor([0.8, 0.2]).repeat(3, 2, 1).requires_grad_()
    distillation_loss(pi, logits0, torch.full((3, 2), 2.0)).backward()
    assert logits0.grad is not None
    torch.testing.assert_close(logits0.grad, torch.tensor([-0.3, 0.3]).expand(3, 2, 2))
    assert pi.grad is None


def test_at_its_optimum_pi_0_is_the_mean_of_the_policies() -> None:
    pi = torch.tensor([[[0.8, 0.2]], [[0.4, 0.6]]])
    logits0 = torch.zeros(1, 1, 2, requires_grad=True)
    optimizer = torch.optim.SGD([logits0], lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        distillation_loss(pi, logits0.expand(2, 1, 2), torch.ones(2, 1)).backward()
        optimizer.step()
    assert logits0.softmax(-1).flatten().tolist() == pytest.approx([0.6, 0.4], abs=1e-4)


# --------------------------------------------------------------------------------------- the agent


def judged_at(agent: Distral, task: int) -> Any:
    place = torch.zeros(1, 130)
    place[0, 3 * 18 + 8] = 1.0
    return agent.judge({"place": place, "task": torch.eye(3)[[task]]})


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_saves_and_goes_on_bit_for_bit(variant: str, tmp_path: Path) -> None:
    whole = made(**VARIANTS[variant]).learn(120)
    whole.save(tmp_path / "half")
    saved = load_checkpoint(tmp_path / "half")
    again = Distral.from_state(
        saved.tensors, saved.state, env=SEQUENCE, device="cpu", env_kwargs=ROOMS
    )
    for agent in (whole, again):
        agent.learn(60, reset_num_timesteps=False)
    assert torch.equal(whole.optimizer.vector, again.optimizer.vector)


def test_variants_are_what_the_table_says() -> None:
    """Weight of h_0 in the logits: alpha with two columns (1 without KL), 0 with one."""
    weights = {v: made(**settings).network.coupling for v, settings in VARIANTS.items()}
    assert weights == {
        **{"A3C": 0.0, "A3C multitask": 0.0, "A3C 2col": 1.0, "KL 1col": 0.0},
        **{"KL 2col": 1.0, "KL+ent 1col": 0.0, "KL+ent 2col": 0.5},
    }
    assert len(made(**VARIANTS["A3C multitask"]).network.tasks) == 1


def test_each_row_is_judged_by_the_networks_of_its_task_and_pi_0_sees_no_task() -> None:
    agent = made(columns=1)
    seen = {"place": torch.rand(4, 130), "task": torch.eye(3)[[2, 0, 2, 0]]}
    together = agent.judge(seen)
    for row in range(4):
        alone = agent.judge({name: value[row : row + 1] for name, value in seen.items()})
        for one, all_rows in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_rows[row])
    with torch.no_grad():
        for task in range(3):
            trunk: Any = agent.network.tasks[task]
            trunk.actor.bias[task] = 50.0
            trunk.critic.bias.fill_(float(task))
            trunk.critic.weight.zero_()
    found = [judged_at(agent, task) for task in range(3)]
    assert [f.logits.argmax().item() for f in found] == [0, 1, 2]
    assert [f.value.item() for f in found] == [0.0, 1.0, 2.0]
    assert torch.equal(found[0].logits0, found[2].logits0)
    none, start = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.bool)
    inputs = Inputs(
        {"place": torch.zeros(3, 130), "task": torch.eye(3)[[2, 0, 1]]}, none, torch.zeros(3), start
    )
    assert agent.act(inputs, {}).action.tolist() == [2, 0, 1]


def test_the_common_policy_acts_by_pi_0_on_every_task_and_the_agent_goes_on_as_it_was() -> None:
    agent = made(columns=1)
    with torch.no_grad():
        agent.network.common.actor.bias[3] = 50.0
        for task in range(3):
            trunk: Any = agent.network.tasks[task]
            trunk.actor.bias[task] = 50.0
    seen = {"place": np.zeros((3, 130), np.float32), "task": np.eye(3, dtype=np.float32)}
    assert agent.common.predict(seen)[0].tolist() == [3, 3, 3]
    assert agent.predict(seen)[0].tolist() == [0, 1, 2]
    up = evaluate(agent.common, SEQUENCE, 2, env_kwargs={**ROOMS, "task": "0"})
    assert up.returns == pytest.approx([-4.0, -4.0])  # always up: against the wall


def test_what_has_no_pi_0_has_no_common_policy_and_a_shared_one_is_it() -> None:
    with pytest.raises(ValueError, match="distils no pi_0"):
        _ = made(**VARIANTS["A3C"]).common
    shared = made(**VARIANTS["A3C multitask"])
    with torch.no_grad():
        trunk: Any = shared.network.tasks[0]
        trunk.actor.bias[2] = 50.0
    seen = {"place": np.zeros((3, 130), np.float32), "task": np.eye(3, dtype=np.float32)}
    assert shared.common.predict(seen)[0].tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("variant", "moves"),
    [("A3C", False), ("A3C 2col", True), ("KL 1col", True), ("KL 2col", True)],
)
def test_what_moves_pi_0(variant: str, moves: bool) -> None:
    """Distillation, and with two columns the policy gradient; without either it stays."""
    agent = made(**VARIANTS[variant])
    before = judged_at(agent, 0).logits0.clone()
    agent.learn(60)
    assert torch.equal(before, judged_at(agent, 0).logits0) is not moves


def test_losses_by_hand() -> None:
    """Advantages of 3 - 1 and 3 - 4, the third step does not count; alpha / beta = c_KL = 0.03.

    No gradient of the policy's loss passes through the value, and none through what does not count.
    """
    agent = made(c_kl=0.03, c_entropy=0.01)
    value = torch.tensor([[1.0, 4.0, 50.0]], requires_grad=True)
    taken = torch.tensor([[-0.5, -2.0, -9.0]], requires_grad=True)
    logits0 = torch.zeros(1, 3, 2, requires_grad=True)
    log_pi = PRIOR.expand(1, 3, 2)
    spoken = Spoken(log_pi, logits0, logits0.log_softmax(-1), taken, taken, value)
    losses = agent._losses(spoken, torch.tensor([[3.0, 3.0, 7.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    found = {name: loss.item() for name, loss in losses.items()}
    assert found["policy"] == pytest.approx(-(2 * -0.5 - 1 * -2.0) / 3)
    assert found["value"] == pytest.approx(0.5 * (4 + 1) / 3)
    assert found["distillation"] == pytest.approx(0.03 * 2 * math.log(2) / 3)
    losses["policy"].backward()
    assert value.grad is None
    assert taken.grad is not None
    assert taken.grad[0].tolist() == pytest.approx([-2 / 3, 1 / 3, 0.0])
    losses["distillation"].backward()
    assert logits0.grad is not None
    slope = 0.03 * (0.5 - 0.8) / 3
    torch.testing.assert_close(
        logits0.grad[0], torch.tensor([[slope, -slope], [slope, -slope], [0.0, 0.0]])
    )


def test_an_update_by_hand() -> None:
    """Policies (1/2, 1/6, 1/6, 1/6) beside a uniform pi_0, values 0, nothing discounted in.

    Each step is worth R + 0.03 log 1/4 - 0.04 log pi(a); the last of six only resets.
    """
    agent = made(n_steps=1, gamma=0.0, columns=1, c_kl=0.03, c_entropy=0.01, anneal=True)
    with torch.no_grad():
        for p in agent.network.parameters():
            p.zero_()
        for task in range(3):
            trunk: Any = agent.network.tasks[task]
            trunk.actor.bias[0] = math.log(3)
    assert agent.collector is not None
    rollout = agent.collector.collect(1)
    assert rollout is not None
    first = agent.policy.start
    rollout = rollout._replace(
        reward=torch.tensor([[1.0, 0.5, -0.02, 0.0, 0.25, 99.0]]),
        action=torch.tensor([[0, 1, 2, 0, 3, 0]]) + first,
        valid=torch.tensor([[True] * 5 + [False]]),
    )
    log_pi = [math.log(1 / 2 if a == 0 else 1 / 6) for a in (0, 1, 2, 0, 3)]
    reward = (1.0, 0.5, -0.02, 0.0, 0.25)
    worth = [r - 0.03 * math.log(4) - 0.04 * p for r, p in zip(reward, log_pi, strict=True)]
    policy = -sum(w * p for w, p in zip(worth, log_pi, strict=True)) / 6
    value = 0.5 * sum(w * w for w in worth) / 6
    distilled = 0.03 * 5 * math.log(4) / 6
    agent.num_timesteps, agent.total_timesteps = 30, 120
    row: Any = agent.update(rollout)
    assert row["learning_rate"] == pytest.approx(0.75 * agent.config.learning_rate)
    assert row["policy_loss"].item() == pytest.approx(policy, rel=1e-5)
    assert row["value_loss"].item() == pytest.approx(value, rel=1e-5)
    assert row["distillation_loss"].item() == pytest.approx(distilled, rel=1e-5)
    total = policy + agent.config.value_weight * value + distilled
    assert row["loss"].item() == pytest.approx(total, rel=1e-5)


def test_actions_are_counted_from_the_first() -> None:
    agent = made(n_steps=2)
    assert agent.collector is not None
    rollout = agent.collector.collect(2)
    assert rollout is not None
    seen = {name: value[:-1].flatten(0, 1) for name, value in rollout.observation.items()}
    plain = agent._spoken(seen, rollout).taken
    agent.policy.start = 3
    later = agent._spoken(seen, rollout._replace(action=rollout.action + 3)).taken
    assert torch.equal(plain, later)


def test_regularised_rewards_enter_the_returns() -> None:
    """Uniform policies: each step pays R + (1 - alpha) log 4 / beta, also in later returns."""
    agent = made(n_steps=2, gamma=0.5, c_kl=0.0, c_entropy=0.1, columns=1)
    assert agent.collector is not None
    with torch.no_grad():
        for p in agent.network.parameters():
            p.zero_()
    rollout = agent.collector.collect(2)
    assert rollout is not None
    log_pi = torch.full((2, 6), -math.log(4))
    returns = agent._returns(rollout, log_pi, log_pi)
    paid = -0.02 + 0.1 * math.log(4)
    assert returns[1].tolist() == pytest.approx([paid] * 6)
    assert returns[0].tolist() == pytest.approx([1.5 * paid] * 6)
    with torch.no_grad():  # what follows the rollout is worth 2
        for task in range(3):
            trunk: Any = agent.network.tasks[task]
            trunk.critic.bias.fill_(2.0)
    returns = agent._returns(rollout, log_pi, log_pi)
    assert returns[1].tolist() == pytest.approx([paid + 0.5 * 2] * 6)
    assert returns[0].tolist() == pytest.approx([paid + 0.5 * (paid + 0.5 * 2)] * 6)


def test_a_cut_episode_is_judged_by_its_last_observation_and_an_ended_one_is_not() -> None:
    """Uniform policies and c_KL only: R + 0, then 0.5 V of what was seen last where it was cut."""
    agent = made(num_envs=3, n_steps=1, gamma=0.5, c_kl=0.1, c_entropy=0.0)
    assert agent.collector is not None
    rollout = agent.collector.collect(1)
    assert rollout is not None
    last = {name: torch.rand(3, *x.shape[2:]) for name, x in rollout.observation.items()}
    last["task"] = torch.eye(3)[[2, 0, 1]]
    cut = torch.tensor([[True, False, False]])
    where = torch.tensor([[0, 0], [0, 1], [0, 2]])
    rollout = rollout._replace(
        truncated=cut, terminated=~cut, final_index=where, final_observation=last
    )
    uniform = torch.full((1, 3), -math.log(4))
    with torch.no_grad():
        value = agent.judge(last).value
    expected = [-0.02 + 0.5 * value[0].item(), -0.02, -0.02]
    found = agent._returns(rollout, uniform, uniform)
    assert found.ravel().tolist() == pytest.approx(expected, abs=1e-6)


def test_clipping_makes_rewards_comparable_and_leaves_what_regularises() -> None:
    """Rewards of 0.5, 2 and 100, clipped to 1, then the 3 of uniform policies: 3.5, 4 and 4."""
    settings = {"c_kl": 0.0, "c_entropy": 3 / math.log(4), "columns": 1, "reward_clip": 1.0}
    agent = made(num_envs=3, n_steps=1, **settings)
    assert agent.collector is not None
    rollout = agent.collector.collect(1)
    assert rollout is not None
    rollout = rollout._replace(
        reward=torch.tensor([[0.5, 2.0, 100.0]]), terminated=torch.ones(1, 3, dtype=torch.bool)
    )
    uniform = torch.full((1, 3), -math.log(4))
    found = agent._returns(rollout, uniform, uniform)
    assert found.ravel().tolist() == pytest.approx([3.5, 4.0, 4.0])


def test_divergences_and_entropies_are_told_task_by_task() -> None:
    """(3/4, 1/4) beside (1/2, 1/2): KL log 2 - H, the other way -log 2 - log(3/16) / 2."""
    agent = made(4)
    space: Any = agent.spaces.observation["task"]
    seen = {"task": torch.eye(space.shape[0])[[0, 0, 1]]}
    log_pi = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]).log()
    lazy: Any = agent._by_task(seen, apart(log_pi, torch.full((3, 2), 0.5).log()), torch.ones(3, 1))
    found = {name: value() for name, value in lazy.items()}
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert found["entropy_0"].item() == pytest.approx(entropy)
    assert found["entropy_1"].item() == pytest.approx(math.log(2))
    assert found["common_entropy_0"].item() == pytest.approx(math.log(2))
    assert found["kl_to_common_0"].item() == pytest.approx(math.log(2) - entropy)
    assert found["kl_from_common_0"].item() == pytest.approx(-math.log(2) - math.log(3 / 16) / 2)
    assert found["kl_to_common_1"].item() == pytest.approx(0.0, abs=1e-6)


def test_what_regularises_is_told_beside_the_reward_task_by_task() -> None:
    """Rows of tasks 0, 1, 0, 1: rewards 1, 2, 3, 4 have means 2 and 3; a task without rows has 0.

    In an update pi is as uniform as pi_0: with alpha 0 and beta 10 each step adds log 4 / 10.
    """
    agent = made(3, n_steps=2, c_kl=0.0, c_entropy=0.1, columns=1)
    seen = {"task": torch.eye(3)[[0, 1, 0, 1]]}
    reward = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    lazy: Any = agent._by_task(seen, {"reward": reward}, torch.ones(2, 2))
    assert [lazy[f"reward_{i}"]().item() for i in range(3)] == pytest.approx([2.0, 3.0, 0.0])
    reset = torch.tensor([[1.0, 1.0], [0.0, 1.0]])  # the third step only resets
    lazy = agent._by_task(seen, {"reward": reward}, reset)
    assert [lazy[f"reward_{i}"]().item() for i in range(3)] == pytest.approx([1.0, 3.0, 0.0])

    with torch.no_grad():
        for p in agent.network.parameters():
            p.zero_()
    assert agent.collector is not None
    rollout = agent.collector.collect(2)
    assert rollout is not None
    metrics: Any = agent.update(rollout)
    for task in range(3):
        assert metrics[f"regularisation_{task}"]().item() == pytest.approx(0.1 * math.log(4))
        assert metrics[f"reward_{task}"]().item() == pytest.approx(-0.02)


def test_the_cosine_of_gradients_by_hand() -> None:
    """Gradients (3, 4), (4, 3) and (-3, -4) of y: cosines 24/25, -1 and -24/25, -1/3 on average.

    A gradient of zero has cosines of zero, and nothing is left behind in ``grad``.
    """
    shared = nn.Linear(2, 1, bias=False)
    a, b = shared.weight[0]
    losses = [3 * a + 4 * b, 4 * a + 3 * b, -3 * a - 4 * b]
    assert gradient_cosine(losses, shared).item() == pytest.approx(-1 / 3)
    assert gradient_cosine(losses[:2], shared).item() == pytest.approx(24 / 25)
    assert gradient_cosine([losses[0], 0 * a], shared).item() == 0.0
    assert gradient_cosine(losses[:1], shared).item() == gradient_cosine([], shared).item() == 0.0
    assert shared.weight.grad is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_whether_tasks_pull_what_they_share_the_same_way_is_logged(variant: str) -> None:
    """For pi_0, or the one policy for all; not where tasks share nothing.

    One task's rows in three copies pull the same way: their cosines are 1.
    """
    agent = made(**VARIANTS[variant])
    rows: list[dict[str, float]] = []
    agent.logger.sinks.append(lambda step, row: rows.append(dict(row)))
    agent.learn(60)
    assert ("train/gradient_cosine" in rows[-1]) is (variant != "A3C")
    if variant == "A3C":
        return
    assert -1 <= rows[-1]["train/gradient_cosine"] <= 1
    assert agent.collector is not None
    rollout = agent.collector.collect(5)
    assert rollout is not None
    alike = {
        name: array[:, :1].expand(-1, 3, *array.shape[2:]).clone()
        for name, array in rollout.observation.items()
    }
    alike["task"] = torch.eye(3).expand(6, 3, 3)
    action = rollout.action[:, :1].expand(-1, 3)
    if not VARIANTS[variant].get("shared"):
        for task in agent.network.tasks:
            task.load_state_dict(agent.network.tasks[0].state_dict())
    seen = {name: array[:-1].flatten(0, 1) for name, array in alike.items()}
    same = rollout._replace(reward=torch.zeros(5, 3), action=action)
    metric: Any = agent._together(seen, same, torch.ones(5, 3), torch.ones(5, 3))
    assert metric["gradient_cosine"]().item() == pytest.approx(1.0, abs=1e-4)


def test_log_pi_0_has_a_floor() -> None:
    agent = made(n_steps=1)
    assert agent.collector is not None
    rollout = agent.collector.collect(1)
    assert rollout is not None
    found = agent._returns(rollout, torch.zeros(1, 6), torch.full((1, 6), -1e9))
    assert found.min() > -0.02 + 0.005 * math.log(1e-6) - 1.0


def test_a_coupled_pair_learns_two_rooms_within_bounds() -> None:
    """Three tasks: a random walk gets -3.9, the best policies 0.69 on average."""
    agent = made(24, hidden=32, n_steps=20, learning_rate=1e-2, gamma=0.95).learn(60_000)
    late = float(np.mean([episode["r"] for episode in agent.ep_info_buffer]))
    assert -1.5 < late < 0.8


def test_what_does_not_fit_is_said_in_one_line() -> None:
    for wrong in ({"lstm": 4}, {"columns": 3}, {"c_kl": 0.0, "c_entropy": 0.0}):
        with pytest.raises(
            ValueError, match=r"lstm = 0, columns 1 or 2, and c_kl \+ c_entropy > 0"
        ):
            made(**wrong)
    with pytest.raises(ValueError, match="one shared policy"):
        made(shared=True)
    spaces = Spaces({"x": Box(-1, 1, (2,), np.float32)}, Box(-1, 1, (1,), np.float32), {})
    with pytest.raises(TypeError, match="use actor_critic or ppo"):
        Distral(spaces)


# ---------------------------------------------------------------------------------------- in tables


@pytest.fixture
def rooms(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The experiment's module."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "benchmarks"), *sys.path])
    import distral_two_rooms

    return distral_two_rooms


def test_the_table_backs_up_an_episode_from_its_end(rooms: Any) -> None:
    """One step to the goal: Q moves by 0.2 (1 - 0); the step before by 0.2 (-0.02 + 0.95 V)."""
    learner = rooms.Learner(30.0, 1.0, True, np.random.default_rng(0))
    learner._play = lambda *_: ([(60, 4, 2, -0.02), (61, 2, 1, 1.0)], None)
    learner.episode(0)
    assert learner.q[0, 61, 2, 1] == pytest.approx(0.2)
    value = math.log((3 + math.exp(30 * 0.2)) / 4) / 30
    assert learner.q[0, 60, 4, 2] == pytest.approx(0.2 * (-0.02 + 0.95 * value))
    prior = np.exp(learner.log_pi0[60, 4])  # counts 1, smoothed by 1/2: 1.5 of 3; the next gamma
    assert prior.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 2, 1 / 6])
    assert np.exp(learner.log_pi0[61, 2])[1] == pytest.approx(1.45 / 2.95)


def test_a_drawn_goal_is_in_the_room_of_its_task(rooms: Any) -> None:
    """A way in pays 1 and ends, every other step -0.02; even tasks have it on the left."""
    rng = np.random.default_rng(0)
    found = set()
    for task in [*range(6)] * 20:
        table = rooms.Table.drawn(task, rng)
        following, reward, ends = map(np.array, (table.following, table.reward, table.ends))
        (goal,) = set(following[ends].tolist())
        row, column = divmod(goal, 18)
        assert row in range(1, 6)
        assert column in (range(1, 6) if task % 2 == 0 else range(12, 17))
        assert goal not in table.starts
        assert reward == pytest.approx(np.where(ends, 1.0, -0.02))
        found.add(goal)
    assert len(found) > 40  # of 50 squares


def test_a_shared_policy_makes_episodes_shorter(rooms: Any) -> None:
    """Bounded on both sides: the shortest ways have about 13 steps, an episode is cut at 200."""
    late = {
        shared: np.mean(rooms.run(60.0, 0.95, shared, 0)["steps"][-50:]) for shared in (False, True)
    }
    assert 15 < late[True] < 0.85 * late[False] < 60
