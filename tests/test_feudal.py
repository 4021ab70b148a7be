"""FeUdal Networks: alignment, gradients that must be zero, and that goals are used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from daedalus.agents.base import Inputs, Rollout, Spaces
from daedalus.agents.feudal import (
    Config,
    Feudal,
    intrinsic_reward,
    manager_loss,
    transition_cosine,
)
from daedalus.agents.losses import effective_rank

SMALL: dict[str, Any] = {
    **{"hidden": 16, "lstm": 8, "goal_size": 8, "embedding": 4},
    **{"horizon": 3, "dilation": 3, "n_steps": 10, "random_goal": 0.0},
}
MANAGER = ("space.", "manager.", "manager_critic.")
WORKER = ("core.", "actor.", "phi.", "critic.")


def starts(*rows: int, steps: int = 6) -> Tensor:
    """Return bool (T, 1), true at ``rows``."""
    result = torch.zeros(steps, 1, dtype=torch.bool)
    result[list(rows)] = True
    return result


def rollout_of(agent: Feudal, skip: int = 0) -> Rollout:
    """Return a rollout, after ``skip`` others."""
    assert agent.collector is not None
    for _ in range(skip):
        agent.collector.collect(agent.rollout_length)
    rollout = agent.collector.collect(agent.rollout_length)
    assert rollout is not None
    return agent.learner.prepare(rollout)


def catch(**settings: Any) -> Feudal:
    return Feudal("daedalus/Catch-v0", Config(**(SMALL | settings)), num_envs=4, device="cpu")


def test_a_value_of_the_future_leaves_the_cores_where_they_were() -> None:
    """The bootstrap's forward pass must not advance whose turn it is."""
    agent = catch()
    rollout = rollout_of(agent, skip=1)
    before = {k: v.clone() for k, v in agent.collector.state.items()}  # type: ignore[union-attr]
    agent.update(rollout)
    after = agent.collector.state  # type: ignore[union-attr]
    assert all(torch.equal(v, after[k]) for k, v in before.items())  # type: ignore[index]


# ------------------------------------------------------------------------ alignment, by hand


def test_a_goal_is_judged_by_the_state_c_steps_later() -> None:
    """Round a square from (0,0), c = 2: s_2 - s_0 = (1,1), s_3 - s_1 = (-1,1)."""
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    s = corners[torch.tensor([0, 1, 2, 3, 0, 1])].unsqueeze(1)
    goal = torch.tensor([1.0, 0.0]).expand(5, 1, 2)
    no = torch.zeros(5, 1, dtype=torch.bool)
    cosine, known = transition_cosine(goal, s[:-1], s[1:], no, 2)
    r = 0.5**0.5
    np.testing.assert_allclose(cosine.ravel(), [r, -r, -r, r], atol=1e-6)
    assert known.all()
    cosine, _ = transition_cosine(goal, s[:-1], s[1:], no, 1)  # c = 1: right, up, left, down, right
    np.testing.assert_allclose(cosine.ravel(), [1, 0, -1, 0, 1], atol=1e-6)


def test_goals_whose_end_was_not_seen_do_not_count() -> None:
    """An episode ends with step 2, in s_3: with c = 2 the last step known is 1."""
    s = torch.rand(6, 1, 3)
    ended = torch.tensor([[False], [False], [True], [False], [False]])
    _, known = transition_cosine(torch.rand(5, 1, 3), s[:-1], s[1:], ended, 2)
    assert known.ravel().tolist() == [True, True, False, True]
    cosine, known = transition_cosine(torch.rand(5, 1, 3), s[:-1], s[1:], ended, 6)
    assert cosine.shape == known.shape == (0, 1)


def test_the_managers_loss_by_hand() -> None:
    """-(2 * 0.5 + -1 * 1) / 1 over the first two steps, the third is masked: 0; gradient -A."""
    cosine = torch.tensor([[0.5], [1.0], [0.3]], requires_grad=True)
    advantage = torch.tensor([[2.0], [-1.0], [9.0]])
    mask = torch.tensor([[True], [True], [False]])
    loss = manager_loss(cosine, advantage, mask)
    loss.backward()
    assert loss.item() == 0.0
    assert cosine.grad is not None
    assert cosine.grad.ravel().tolist() == [-2.0, 1.0, 0.0]


def test_the_manager_is_taught_by_what_came_of_its_own_goals() -> None:
    """A^M_t, s_t, s_{t+c} and g_t of the same t, one by one, over ends of episodes.

    A^M is a constant, so that without its own loss V^M stands still; steps that only reset do not
    count.
    """
    agent = catch(value_weight=0.0, manager_weight=2.0, manager_gamma=0.9, n_steps=14)
    rollout = rollout_of(agent, skip=1)
    rollout.valid[[0, 4, 9], [1, 2, 3]] = False
    rollout.truncated[:, :2] = rollout.terminated[:, :2]  # half of the episodes were cut
    rollout.terminated[:, :2] = False
    unrolled = agent.network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state)
    future = agent._future(rollout, unrolled)
    loss, metrics = agent._manager_loss(rollout, unrolled, future)
    ended, value = rollout.terminated | rollout.truncated, unrolled.manager_value.detach()
    assert ended.any()
    total, critic, counted = 0.0, 0.0, 0
    for b in range(4):
        later = 0.0
        returns = [0.0] * 14
        for t in reversed(range(14)):
            goes_on = not bool(rollout.terminated[t, b])
            if t == 13 or bool(rollout.truncated[t, b]):
                later = float(future.manager_value[t, b])
            later = returns[t] = float(rollout.reward[t, b]) + 0.9 * later * goes_on
        for t in range(12):
            if rollout.valid[t, b] and not ended[t : t + 2, b].any():
                move = future.latent[t + 2, b] - unrolled.latent[t, b]
                cosine = torch.cosine_similarity(move, unrolled.goal[t, b], dim=0).detach()
                total -= (returns[t] - float(value[t, b])) * float(cosine) / 4
                counted += 1
        errors = [returns[t] - float(value[t, b]) for t in range(14) if rollout.valid[t, b]]
        critic += 0.5 * sum(error**2 for error in errors) / 4
    assert float(loss.detach()) == pytest.approx(2 * total, rel=1e-4)
    assert float(metrics["manager_value_loss"]) == pytest.approx(critic, rel=1e-4)  # type: ignore[arg-type]
    assert float(metrics["manager_steps"]()) == pytest.approx(counted / 53)  # type: ignore[operator]
    found = gradients(agent, loss)
    assert found["manager_critic.weight"] == 0.0
    assert all(value > 0.0 for n, value in found.items() if n.startswith("encoder."))


def test_what_followed_an_end_is_the_episodes_last_observation() -> None:
    agent = catch(n_steps=14)
    rollout = rollout_of(agent, skip=1)
    unrolled = agent.network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state)
    future, net = agent._future(rollout, unrolled), agent.network
    assert len(rollout.final_index) > 0
    t, b = rollout.final_index.unbind(1)
    going_on = ~(rollout.terminated | rollout.truncated)[-1]
    last = net.step(rollout.inputs.at(-1), rollout.state)[0]
    final = net.step(rollout.final_inputs, rollout.final_state)[0]  # with the memory of then
    for name in future._fields:
        told = getattr(future, name)
        torch.testing.assert_close(told[t, b], getattr(final, name))
        torch.testing.assert_close(told[-1][going_on], getattr(last, name)[going_on])
    for end, latent in zip(rollout.final_index.tolist(), _latents(net, rollout), strict=True):
        torch.testing.assert_close(future.latent[tuple(end)], latent)
        assert not torch.equal(unrolled.latent[min(end[0] + 1, 13), end[1]], latent)
    going_on = ~(rollout.terminated | rollout.truncated)[:-1]
    assert torch.equal(future.latent[:-1][going_on], unrolled.latent[1:][going_on])


@torch.no_grad()
def _latents(net: Any, rollout: Rollout) -> Tensor:
    seen = net.encoder(net.encoder.encode(rollout.final_observation))
    latent: Tensor = net.space(seen).relu()
    return latent


def test_the_intrinsic_reward_by_hand() -> None:
    """One dimension apart, c = 2. Goals in force: right, up; the agent goes right, right, up.

    Step 0: s_1 - s_0 = (1,0) with g_0 = (1,0): cos 1; no g_{-1}: (1 + 0) / 2.
    Step 1: s_2 - s_1 = (1,0) with g_1 = (0,1): 0; s_2 - s_0 = (2,0) with g_0: 1; (0 + 1) / 2.
    Step 2: s_3 - s_2 = (0,1) with g_2 = (0,1): 1; s_3 - s_1 = (1,1) with g_1: r; (1 + r) / 2.
    """
    s = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 1.0]]).unsqueeze(1)
    goal = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).unsqueeze(1)
    past = {name: torch.zeros(1, 2, 2) for name in ("latents", "goals")}
    found = intrinsic_reward(s[:-1], goal, s[1:], starts(0, steps=3), past)
    r = 0.5**0.5
    np.testing.assert_allclose(found.ravel(), [0.5, 0.5, (1 + r) / 2], atol=1e-6)
    # the same steps as the second part of a rollout: what went before comes from the state
    past = {"latents": s[:2].transpose(0, 1), "goals": goal[:2].transpose(0, 1)}
    later = intrinsic_reward(s[2:3], goal[2:], s[3:], starts(steps=1), past)
    np.testing.assert_allclose(later.ravel(), [(1 + r) / 2], atol=1e-6)
    # a new episode at step 2 has no goal of step 1
    fresh = intrinsic_reward(s[:-1], goal, s[1:], starts(0, 2, steps=3), past)
    np.testing.assert_allclose(fresh[2], [0.5], atol=1e-6)


def test_a_state_that_does_not_move_earns_nothing() -> None:
    s, past = torch.ones(4, 1, 2), {name: torch.zeros(1, 2, 2) for name in ("latents", "goals")}
    goal = torch.ones(3, 1, 2)
    assert intrinsic_reward(s[:-1], goal, s[1:], starts(steps=3), past).ravel().tolist() == [0] * 3


def test_the_workers_loss_has_the_return_of_both_rewards_in_their_own_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three steps with r^I = 1 and alpha = 1/2, discount 1/2: R = 0.875, 0.75, 0.5.

    Added once to the advantage it would be 0.5 in every step, and V^W would not learn it. Ten times
    the reward is ten times the loss: neither returns nor advantages are normalised. A step that
    only resets does not count, and r^I is of the goals in force.
    """
    goals: list[Tensor] = []

    def earned(latent: Tensor, given: Tensor, *_: Any) -> Tensor:
        goals.append(given)
        return torch.ones(3, 4)

    monkeypatch.setattr("daedalus.agents.feudal.intrinsic_reward", earned)
    for scale in (1.0, 10.0):
        agent = catch(n_steps=3, gamma=0.5, intrinsic_weight=0.5 * scale, entropy_weight=0.3)
        rollout = rollout_of(agent)
        assert not rollout.reward.any()
        rollout.valid[1, 2] = False
        unrolled = agent.network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state)
        value = torch.zeros(3, 4, requires_grad=True)
        policy = unrolled.policy.detach().requires_grad_()
        unrolled = unrolled._replace(value=value, policy=policy, given=torch.zeros(3, 4, 8))
        nothing = torch.zeros(3, 4)
        future = agent._future(rollout, unrolled)._replace(value=nothing)
        loss, row = agent._worker_loss(rollout, unrolled, future)
        loss.backward()
        assert goals[-1] is unrolled.given
        returns = scale * torch.tensor([[0.875], [0.75], [0.5]]) * rollout.valid
        # c_v = 1/2, four environments; V = 0, so d loss / dV is - c_v R / 4
        assert value.grad is not None
        torch.testing.assert_close(value.grad, -0.5 * returns / 4)
        log_pi, entropy = agent.network.distribution.log_prob_entropy(
            policy.flatten(0, 1), rollout.action.flatten(0, 1)
        )
        expected = -(log_pi.view(3, 4) * returns).sum() / 4
        torch.testing.assert_close(row["policy_loss"], expected.detach())
        bonus = 0.3 * (entropy.view(3, 4) * rollout.valid).sum() / 4
        torch.testing.assert_close(policy.grad, torch.autograd.grad(expected - bonus, policy)[0])


def test_the_learning_rate_falls_to_zero() -> None:
    rates: list[float] = []
    agent = catch(learning_rate=1e-3)
    agent.logger.sinks.append(lambda step, row: rates.append(row["train/learning_rate"]))
    agent.learn(160, log_interval=40)
    assert rates == pytest.approx([7.5e-4, 5e-4, 2.5e-4, 0.0])


@torch.no_grad()
def test_the_update_sees_the_goals_that_acting_used() -> None:
    """Policies, goals and what the Worker was told agree, also across rollouts and episodes."""
    agent = catch(random_goal=0.3)
    agent.network.centre.copy_(torch.rand(8))
    with torch.enable_grad():
        rollout = rollout_of(agent, skip=1)  # Catch's episodes of 9 steps end within 10
    drawn = torch.stack(rollout.extras["random_goal"])
    assert 0.1 < (drawn != 0).any(-1).float().mean() < 0.5
    norms = drawn.norm(dim=-1)
    assert torch.all((norms == 0) | ((norms - 1).abs() < 1e-5))
    inputs = rollout.inputs.at(slice(-1))
    unrolled = agent.network.unroll(inputs, rollout.initial_state, drawn)
    assert not inputs.episode_start[4:8].any()
    sums = unrolled.given[4:8].sum(0)  # of c + 1 goals, from t - c to t
    torch.testing.assert_close(unrolled.told[7], agent.network.phi(sums))
    state = rollout.initial_state
    for t in range(10):
        seen = {k: v[t] for k, v in inputs.observation.items()}
        rest = (inputs.previous_action, inputs.previous_reward, inputs.episode_start)
        now = Inputs(seen, *(x[t] for x in rest))
        stepped, state, _ = agent.network.step(now, state, drawn[t])
        for name in unrolled._fields:
            torch.testing.assert_close(getattr(unrolled, name)[t], getattr(stepped, name))
    for name, value in state.items():
        torch.testing.assert_close(value, rollout.state[name])


@pytest.mark.parametrize("world", ["Catch", "ConstantReward"])
def test_reusing_acting_gives_the_gradients_of_recomputing(world: str) -> None:
    """With rewards that are clipped, in what is fed back, too: Catch pays at the end alone."""
    vectors = []
    for reuse in (True, False):
        settings = {"reuse_acting": reuse, "random_goal": 0.2, "reward_clip": 0.5}
        config = Config(**(SMALL | settings))
        agent = Feudal(f"daedalus/{world}-v0", config, num_envs=4, device="cpu")
        assert agent.collector is not None
        for _ in range(2):
            rollout = agent.collector.collect(10)
        assert rollout is not None
        agent.update(rollout)
        vectors.append(agent.learner.optimizer.gradient.clone())
    torch.testing.assert_close(*vectors, atol=1e-5, rtol=1e-4)


# ---------------------------------------------------------------- gradients that must be zero


def losses(agent: Feudal) -> tuple[Tensor, Tensor]:
    rollout = rollout_of(agent, skip=1)
    unrolled = agent.network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state)
    future = agent._future(rollout, unrolled)
    worker, _ = agent._worker_loss(rollout, unrolled, future)
    manager, _ = agent._manager_loss(rollout, unrolled, future)
    return worker, manager


def gradients(agent: Feudal, loss: Tensor) -> dict[str, float]:
    """Return the largest entry of the gradient of every parameter."""
    agent.learner.optimizer.zero_grad()
    loss.backward(retain_graph=True)
    return {n: float(p.grad.abs().max()) for n, p in agent.network.named_parameters()}  # type: ignore[union-attr]


def test_the_workers_loss_moves_no_goal_and_the_managers_no_worker() -> None:
    agent = catch()
    worker, manager = losses(agent)
    found = gradients(agent, worker)
    assert all(found[n] == 0.0 for n in found if n.startswith(MANAGER))
    assert all(found[n] > 0.0 for n in found if n.startswith(WORKER))
    found = gradients(agent, manager)
    assert all(found[n] == 0.0 for n in found if n.startswith(WORKER))
    assert all(found[n] > 0.0 for n in found if n.startswith(MANAGER))
    assert all(value > 0.0 for n, value in found.items() if n.startswith("encoder."))
    agent = catch(manager_weight=0.0)
    found = gradients(agent, losses(agent)[1])  # V^M reads what all read, not the states
    assert all(value > 0.0 for n, value in found.items() if n.startswith("encoder."))
    assert found["space.weight"] == 0.0


def test_the_managers_gradient_flows_through_the_goal_alone() -> None:
    """The difference of states is a constant: without the goal's graph there is no gradient."""
    s = torch.rand(5, 2, 3, requires_grad=True)
    goal = torch.rand(5, 2, 3, requires_grad=True)
    no = torch.zeros(5, 2, dtype=torch.bool)
    cosine, known = transition_cosine(goal, s, s, no, 2)
    manager_loss(cosine, torch.ones_like(cosine), known).backward()
    assert s.grad is None
    assert goal.grad is not None
    assert goal.grad[:4].abs().min() > 0
    assert goal.grad[4].abs().max() == 0  # s_6 lies beyond the rollout


def test_the_managers_critic_does_not_read_the_goal() -> None:
    agent = catch()
    with torch.no_grad():
        for parameter in agent.network.manager.parameters():
            parameter.zero_()
    rollout = rollout_of(agent)
    unrolled = agent.network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state)
    assert unrolled.goal.abs().max() == 0
    assert unrolled.manager_value.std() > 0


def test_without_goals_the_policy_is_uniform() -> None:
    """As phi has no bias, a Worker that is told nothing cannot prefer any action."""
    agent = catch().learn(200)
    rollout = rollout_of(agent)
    unrolled = agent.network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state)
    assert unrolled.policy.std() > 0
    silent = agent.network.policy(unrolled.hidden, agent.network.tell(unrolled.goal * 0))
    assert torch.equal(silent, torch.zeros_like(silent))


# --------------------------------------------------------------------------- what surrounds it


def test_goals_teach_the_manager_its_direction() -> None:
    """What paid off is meant more, what did not less: the sign of the transition gradient."""
    for sign in (1.0, -1.0):
        goal = torch.tensor([[[0.6, 0.8]]], requires_grad=True)
        move = torch.tensor([[[1.0, 0.0]]])
        no = torch.zeros(1, 1, dtype=torch.bool)
        cosine, known = transition_cosine(goal, torch.zeros(1, 1, 2), move, no, 1)
        manager_loss(cosine, torch.full((1, 1), sign), known).backward()
        assert goal.grad is not None
        step = -goal.grad[0, 0]
        assert (step[0] > 0) == (sign > 0)


def test_the_managers_lstm_sees_states_without_their_mean() -> None:
    """The first rollout sets the mean state, later ones move it by ``centre_rate``."""
    agent = catch(centre_rate=0.25)
    latent = torch.randn(10, 4, 8)
    agent._recentre(latent)
    torch.testing.assert_close(agent.network.centre, latent.mean((0, 1)))
    agent.num_updates = 10
    agent._recentre(torch.zeros(10, 4, 8))
    torch.testing.assert_close(agent.network.centre, 0.75 * latent.mean((0, 1)))
    assert catch().learn(80).network.centre.abs().max() > 0
    plain = catch(centre_rate=0.0).learn(80)
    assert plain.network.centre.abs().max() == 0


def test_shuffled_goals_are_those_of_the_neighbour() -> None:
    plain, shuffled = catch(), catch(shuffle_goals=True)
    summed = torch.randn(4, 8)
    torch.testing.assert_close(shuffled.network.tell(summed)[1], plain.network.tell(summed)[0])
    assert rollout_of(shuffled).reward.shape == (10, 4)


def test_evaluation_draws_no_random_goal() -> None:
    agent = catch(random_goal=1.0)
    observation = np.zeros((4, 10, 5), np.float32)
    first, second = (agent.predict(observation)[1]["recurrent/goals"] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_effective_rank() -> None:
    """Two equal directions: 2; one: 1."""
    square = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert effective_rank(square).item() == pytest.approx(2.0)
    assert effective_rank(square * torch.tensor([1.0, 0.0])).item() == pytest.approx(1.0, abs=1e-4)


def test_the_diagnostics_are_logged() -> None:
    rows: list[dict[str, float]] = []
    agent = catch()
    agent.logger.sinks.append(lambda step, row: rows.append(dict(row)))
    agent.learn(400, log_interval=200)
    wanted = {"goal_use", "goal_cosine", "intrinsic_reward", "intrinsic_reward_std", "latent_move"}
    wanted |= {
        "latent_rank",
        "goal_rank",
        "goal_spread",
        "goal_change",
        "explained_variance",
        "entropy",
    }
    wanted |= {"manager_explained_variance", "manager_advantage_std", "worker_advantage_std"}
    assert {f"train/{name}" for name in wanted} <= set(rows[-1])
    assert all(np.isfinite(rows[-1][f"train/{name}"]) for name in wanted)


def test_settings_that_cannot_work_are_refused() -> None:
    spaces = Spaces({"x": Box(-1, 1, (3,), np.float32)}, Discrete(2), {})
    with pytest.raises(ValueError, match="actor_critic"):
        Feudal(spaces, Config(lstm=0))
    with pytest.raises(ValueError, match="n_steps"):
        Feudal(spaces, Config(n_steps=5, horizon=10))
    with pytest.raises(ValueError, match="dilation"):
        Feudal(spaces, Config(dilation=0))
    with pytest.raises(ValueError, match="feudal needs embedding >= 1, got 0"):
        Feudal(spaces, Config(embedding=0))
    with pytest.raises(ValueError, match="no gains of each task"):
        Feudal(spaces, Config(task_gains=True))
    with pytest.raises(ValueError, match="another environment: take num_envs >= 2"):
        Feudal("daedalus/Catch-v0", Config(shuffle_goals=True), num_envs=1)


def test_a_horizon_that_no_episode_lasts_is_warned_of_and_logs_numbers() -> None:
    agent = catch(horizon=10, n_steps=20)
    with pytest.warns(UserWarning, match="no step .+ followed by 10 more .+ lower the horizon"):
        row = agent.update(rollout_of(agent))
    values = {k: float(v() if callable(v) else v) for k, v in row.items()}
    assert all(np.isfinite(v) for v in values.values()), values
    assert values["manager_steps"] == values["manager_loss"] == 0.0


def test_steps_that_are_all_alone_log_numbers() -> None:
    """One environment, and one step of it at a time: nothing deviates, no goal follows another."""
    config = Config(**(SMALL | {"n_steps": 1, "horizon": 1}))
    agent = Feudal("daedalus/Catch-v0", config, num_envs=1, device="cpu")
    row = agent.update(rollout_of(agent))
    values = {k: float(v() if callable(v) else v) for k, v in row.items()}
    assert all(np.isfinite(v) for v in values.values()), values
    assert values["goal_change"] == values["manager_advantage_std"] == 0.0


@pytest.mark.parametrize("env", ["tests/Steer-v0", "tests/Pixels-v0"])
def test_continuous_actions_and_pixels(env: str) -> None:
    import small_worlds  # noqa: F401

    agent = Feudal(env, Config(**SMALL), num_envs=2, device="cpu")
    before = agent.learner.optimizer.vector.clone()
    agent.learn(100)
    assert torch.isfinite(agent.learner.optimizer.vector).all()
    assert not torch.equal(before, agent.learner.optimizer.vector)


# ------------------------------------------------------------------------------- it learns


def test_both_values_reach_their_own_horizons() -> None:
    """Reward 1 for ever, cut after 20: V^M = 1 / (1 - .9) = 10, V^W = 1 / (1 - .8) = 5."""
    settings = {**SMALL, "n_steps": 5, "learning_rate": 5e-3, "intrinsic_weight": 0.0}
    config = Config(**(settings | {"gamma": 0.8, "manager_gamma": 0.9}))
    agent = Feudal("daedalus/ConstantReward-v0", config, num_envs=16, seed=1, device="cpu")
    agent.learn(24_000)
    rollout = rollout_of(agent)
    unrolled = agent.network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state)
    assert 4.7 < unrolled.value.mean() < 5.3
    assert 9.5 < unrolled.manager_value.mean() < 10.5


def test_it_learns_catch_and_uses_its_goals() -> None:
    """A random policy scores -0.57; goals from elsewhere change the policy by a tenth of a nat."""
    better = {"hidden": 32, "lstm": 32, "n_steps": 9, "learning_rate": 5e-3, "random_goal": 1e-3}
    config = Config(**(SMALL | better | {"intrinsic_weight": 0.1, "gamma": 0.99}))
    agent = Feudal("daedalus/Catch-v0", config, num_envs=16, seed=7, device="cpu")
    rows: list[dict[str, float]] = []
    agent.logger.sinks.append(lambda step, row: rows.append(dict(row)))
    agent.learn(60_000)
    assert 0.0 <= float(np.mean([e["r"] for e in agent.ep_info_buffer])) <= 1.0
    assert 0.1 <= rows[-1]["train/goal_use"] <= 5.0
