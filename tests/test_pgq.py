"""PGQ: its Q-values, its two updates and the pitfalls of both, by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from daedalus.agents.actor_critic import ActorCritic
from daedalus.agents.actor_critic import Config as ActorCriticConfig
from daedalus.agents.base import Rollout, Spaces
from daedalus.agents.pgq import PGQ, Config, bellman_target, judge, pgq_loss
from daedalus.agents.policies import policy_for

SMALL: dict[str, Any] = {"n_steps": 5, "hidden": 32, "replay_length": 300, "replay_start": 20}
HALF = torch.tensor([[0.25, 0.75]]).log()  # one state: pi = (1/4, 3/4)
ENTROPY = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)


def test_q_values_by_hand() -> None:
    """Q~ = alpha (log pi + H) + V with H the entropy of the state, not -log pi of the action."""
    policy, value = policy_for(Discrete(2)), torch.tensor([2.0])
    low = judge(policy, HALF, value, torch.tensor([0]), alpha=0.5)
    best = judge(policy, HALF, value, None, alpha=0.5)
    assert pytest.approx(0.562335, abs=1e-6) == ENTROPY
    assert low.q.item() == pytest.approx(2 + 0.5 * (math.log(0.25) + ENTROPY), rel=1e-6)
    assert best.q.item() == pytest.approx(2 + 0.5 * (math.log(0.75) + ENTROPY), rel=1e-6)
    # the policy's mean of Q~ is V
    assert 0.25 * low.q + 0.75 * best.q == pytest.approx(2.0, rel=1e-6)


def test_the_best_of_several_components_is_the_best_of_each() -> None:
    policy = policy_for(MultiDiscrete([2, 3]))
    torch.manual_seed(0)
    output, value = torch.randn(1, 5), torch.zeros(1)
    every = [torch.tensor([[i, j]]) for i in range(2) for j in range(3)]
    q = [judge(policy, output, value, action, 0.1).q.item() for action in every]
    assert judge(policy, output, value, None, 0.1).q.item() == pytest.approx(max(q), rel=1e-6)


def test_bellman_targets_by_hand() -> None:
    """1 + 0.5 * 4 = 3 on the way, 1 at the end; entropy is no part of it."""
    ends = torch.tensor([False, True])
    target = bellman_target(torch.ones(2), torch.tensor([4.0, 4.0]), ends, gamma=0.5)
    assert target.tolist() == [3.0, 1.0]


def test_gradients_are_the_bracket_times_those_of_log_pi_and_v() -> None:
    """Delta = target - Q~ is a constant: nothing flows through the target, Q~ or H."""
    logits = HALF.clone().requires_grad_()
    value = torch.tensor([2.0], requires_grad=True)
    judged = judge(policy_for(Discrete(2)), logits, value, torch.tensor([0]), alpha=0.5)
    judged = judged._replace(**{k: v.view(1, 1) for k, v in judged._asdict().items()})
    target = torch.tensor([[3.0]])
    loss = pgq_loss(judged, target, torch.ones(1, 1, dtype=torch.bool))
    loss.total(0.5).backward()
    delta = 3.0 - (2 + 0.5 * (math.log(0.25) + ENTROPY))
    # d log pi(0) / d logits = (1, 0) - pi = (3/4, -3/4); the loss is minus delta times it
    torch.testing.assert_close(logits.grad, torch.tensor([[-0.75 * delta, 0.75 * delta]]))
    torch.testing.assert_close(value.grad, torch.tensor([-0.5 * delta]))


def test_losses_sum_over_time_average_over_sequences_and_skip_what_is_masked() -> None:
    policy = policy_for(Discrete(2))
    value = torch.zeros(3, 2, requires_grad=True)
    output = torch.zeros(3, 2, 2)
    judged = judge(policy, output, value, torch.zeros(3, 2, dtype=torch.int64), alpha=1.0)
    mask = torch.tensor([[True, True], [True, False], [False, False]])
    pgq_loss(judged, torch.full((3, 2), 4.0), mask).value.backward()
    # uniform: log pi + H = 0, so delta = 4, over 2 sequences
    assert value.grad is not None
    assert value.grad.tolist() == [[-2.0, -2.0], [-2.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("assumed", [0.5, 1.0])
def test_where_it_comes_to_rest(assumed: float) -> None:
    """One state, rewards 1, 2, 4, alpha 1/2: rest is at pi = softmax(r / alpha), V = E_pi[r].

    There the paper's identity holds, Q~ = r, and the entropy-regularised objective is at its
    maximum. With an alpha in Q~ that is not the one of the bonus, it is no place to rest.
    """
    reward, alpha = torch.tensor([1.0, 2.0, 4.0]), 0.5
    pi = (reward / alpha).softmax(0)
    logits = (reward / alpha).view(1, 3).requires_grad_()
    value = (pi * reward).sum().view(1).requires_grad_()
    every, rows = torch.arange(3), (logits.expand(3, 3), value.expand(3))
    judged = judge(policy_for(Discrete(3)), *rows, every, assumed)
    delta = reward - judged.q
    loss = -(pi * delta * (judged.log_pi + judged.value)).sum()  # the exact expectation
    gradients = torch.autograd.grad(loss, (logits, value))
    entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum()
    objective = (logits.softmax(1)[0] * reward).sum() + alpha * entropy
    best = torch.autograd.grad(objective, logits)[0]
    torch.testing.assert_close(best, torch.zeros(1, 3), atol=1e-6, rtol=0)
    if assumed == alpha:
        torch.testing.assert_close(judged.q, reward, atol=1e-5, rtol=0)
        assert all(g.abs().max() < 1e-6 for g in gradients)
    else:
        assert gradients[0].abs().max() > 0.01


def test_a_small_alpha_needs_logits_far_apart_and_steps_of_their_own_size() -> None:
    """Logits of +-5 and alpha 0.01: Q~ differs by 0.01 * 10 = 0.1; rewards 1 apart need 100.

    Where log pi + H = 0 the gradient by the logits is delta (1/2, -1/2), whatever alpha is.
    """
    policy, none, both = policy_for(Discrete(2)), torch.zeros(2), torch.tensor([0, 1])
    for far, apart in ((5.0, 0.1), (50.0, 1.0)):
        logits = torch.tensor([[far, -far]]).expand(2, 2)
        q = judge(policy, logits, none, both, alpha=0.01).q
        assert float(q[0] - q[1]) == pytest.approx(apart, rel=1e-5)
    for alpha in (1.0, 0.01):
        logits = torch.zeros(1, 1, 2, requires_grad=True)
        judged = judge(policy, logits, torch.zeros(1, 1), torch.zeros(1, 1), alpha)
        pgq_loss(judged, torch.full((1, 1), 3.0), torch.ones(1, 1) > 0).policy.backward()
        torch.testing.assert_close(logits.grad, torch.tensor([[[-1.5, 1.5]]]))


# ---------------------------------------------------------------------------------- the agent


def made(**settings: Any) -> PGQ:
    return PGQ("daedalus/Catch-v0", Config(**(SMALL | settings)), num_envs=4, seed=1, device="cpu")


def test_without_replay_it_is_the_regularised_actor_critic() -> None:
    """Eta 0 against A3C's entropy bonus: the same step in the mean; the values' are equal."""
    config = {k: v for k, v in SMALL.items() if not k.startswith("replay")}
    plain = ActorCriticConfig(**config, lstm=0, entropy_weight=1e-9)
    other = ActorCritic("daedalus/Catch-v0", plain, num_envs=4, seed=1, device="cpu")
    small = made(eta=0.0, entropy_weight=1e-9)
    for each in (small, other):
        assert each.collector is not None
        each.total_timesteps = 1000
        rollout = each.collector.collect(5)
        assert rollout is not None
        each.update(rollout)
    torch.testing.assert_close(small.learner.optimizer.vector, other.learner.optimizer.vector)


def gradient_of(agent: Any, rollout: Rollout) -> torch.Tensor:
    """Return the gradient of an update of an agent whose learning rate is 0."""
    agent.update(rollout)
    gradient: torch.Tensor = agent.learner.optimizer.gradient.clone()
    return gradient


def test_in_the_mean_over_actions_the_bonus_is_that_of_the_entropy_once() -> None:
    """Alpha 1/2, rewards 1, 0, -2, and a policy that is not uniform: A3C's gradient, by pi(a).

    E_pi[-alpha (log pi + H) grad log pi] is alpha grad H; a second bonus, or an alpha in Q~ that
    is not the weight of the entropy, would show.
    """
    common: dict[str, Any] = {"n_steps": 1, "hidden": 8, "lstm": 0, "learning_rate": 0.0}
    common |= {"entropy_weight": 0.5, "reuse_acting": False, "max_gradient_norm": 0.0}
    agents = (
        PGQ("daedalus/Catch-v0", Config(**common, eta=0.0), num_envs=1, device="cpu"),
        ActorCritic("daedalus/Catch-v0", ActorCriticConfig(**common), num_envs=1, device="cpu"),
    )
    means = []
    for agent in agents:
        network, collector = agent.learner.network, agent.collector
        with torch.no_grad():
            network.actor.bias.copy_(torch.tensor([1.0, 0.0, -1.0]))
        assert collector is not None
        rollout = collector.collect(1)
        assert rollout is not None
        seen = {name: value[0] for name, value in rollout.observation.items()}
        with torch.no_grad():
            pi = network.actor(network.encoder(network.encoder.encode(seen))).softmax(1)[0]
        gradients = []
        for action, reward in enumerate((1.0, 0.0, -2.0)):
            ended = rollout._replace(
                action=torch.tensor([[action]]),
                reward=torch.tensor([[reward]]),
                terminated=torch.ones(1, 1, dtype=torch.bool),
            )
            gradients.append(pi[action] * gradient_of(agent, ended))
        means.append(torch.stack(gradients).sum(0))
    assert means[1].norm() > 0.1
    torch.testing.assert_close(*means, rtol=1e-4, atol=1e-6)


def test_replay_takes_its_share_from_acting() -> None:
    """Eta 1/4: 3/4 of the gradient of acting and 1/4 of that of replay; 1 before replay begins."""
    settings = {"reuse_acting": False, "max_gradient_norm": 0.0, "replay_sequences": 2}
    agent = made(eta=0.25, learning_rate=0.0, **settings)
    agent.total_timesteps = 10_000
    shares = []
    for _ in range(5):
        assert agent.collector is not None
        rollout = agent.collector.collect(5)
        assert rollout is not None
        before = agent.rng.bit_generator.state
        metrics: Any = agent.update(rollout)
        found, losses = agent.learner.optimizer.gradient.clone(), [agent._acted(rollout)[0]]
        if "replay_gradient_share" in metrics:
            agent.rng.bit_generator.state = before  # the same draws again
            drawn = [agent.replay.sequences(5, agent.rng, ("stored",)) for _ in range(2)]
            losses.append(agent._replayed(drawn)[0])
        rows = [gradient_of_loss(agent, loss) for loss in losses]
        solved = torch.linalg.lstsq(torch.stack(rows, 1), found.unsqueeze(1)).solution
        shares.append(solved.ravel().tolist())
    assert shares[0] == pytest.approx([1.0], rel=1e-3)
    assert shares[-1] == pytest.approx([0.75, 0.25], rel=1e-3)
    sizes = [float(0.75 * rows[0].norm()), float(0.25 * rows[1].norm())]
    logged = float(metrics["replay_gradient_share"]())
    assert logged == pytest.approx(sizes[1] / sum(sizes), rel=1e-4)


@pytest.mark.parametrize("lstm", [0, 8])
def test_the_gradient_of_replay_step_by_step(lstm: int) -> None:
    """T*Q~ - Q~ of each known step by itself, over ends of episodes, from the memory of acting."""
    settings = {"lstm": lstm, "entropy_weight": 0.5, "value_weight": 0.25, "gamma": 0.9}
    agent = made(**settings, n_steps=6, replay_sequences=2)
    assert agent.collector is not None
    for _ in range(5):
        rollout = agent.collector.collect(6)
        assert rollout is not None
        agent.replay.add(rollout, {"stored": rollout.reward})
    network = agent.learner.network
    with torch.no_grad():
        network.actor.weight.normal_(0, 1, generator=torch.Generator().manual_seed(0))
    drawn = [agent.replay.sequences(6, agent.rng, ("stored",)) for _ in range(2)]
    for part in drawn:
        part.known[2, 1] = part.known[3, 0] = False  # cut by a time limit, say
    assert any((part.terminated & part.known).any() for part in drawn)
    total = torch.zeros(())
    for part in drawn:
        unrolled = network.unroll(part.inputs, part.state)
        log_pi, value = unrolled.policy.log_softmax(-1), unrolled.value
        entropy = -(log_pi.exp() * log_pi).sum(-1)
        q = (0.5 * (log_pi + entropy.unsqueeze(-1)) + value.unsqueeze(-1)).detach()
        for t, n in part.known.nonzero().tolist():
            action = int(part.action[t, n])
            following = 0.0 if part.terminated[t, n] else 0.9 * float(q[t + 1, n].max())
            delta = float(part.reward[t, n]) + following - float(q[t, n, action])
            total = total - delta * (log_pi[t, n, action] + 0.25 * value[t, n]) / 4 / 2
    expected = gradient_of_loss(agent, total)
    found = gradient_of_loss(agent, agent._replayed(drawn)[0])
    assert expected.norm() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_all_parts_of_an_episode_are_replayed_alike() -> None:
    """Catch has nine steps: each is a ninth of what sequences of six count, the last one, too."""
    agent = made(replay_length=60, n_steps=6)
    agent.total_timesteps = 10_000
    assert agent.collector is not None
    for _ in range(10):
        rollout = agent.collector.collect(6)
        assert rollout is not None
        agent.replay.add(rollout, {"stored": rollout.reward})
    steps = terminal = 0.0
    for start in range(1, 54):
        drawn = agent.replay.at(torch.full((4,), start), 6)
        steps += float(drawn.known.sum())
        terminal += float((drawn.known & drawn.terminated).sum())
    assert steps == 53 * 6 * 4
    assert terminal / steps == pytest.approx(1 / 9, abs=0.005)


def test_what_is_learned_and_logged_is_of_real_steps() -> None:
    agent = made()
    assert agent.collector is not None
    rollout = agent.collector.collect(5)
    assert rollout is not None
    valid = torch.ones(5, 4, dtype=torch.bool)
    valid[0] = valid[3, 2] = False
    with torch.no_grad():
        agent.learner.network.actor.weight.normal_()  # entropies that differ
        rollout.reward[:] = torch.arange(20.0).view(5, 4)
        rollout.reward[0] = 100.0
        loss, metrics = agent._acted(rollout._replace(valid=valid))
        unrolled, returns = agent.learner.unroll(rollout), agent.learner.returns(rollout)
        judged = agent._judge(unrolled, rollout.action)
    value, log_pi = unrolled.value[valid], unrolled.policy[valid].log_softmax(-1)
    entropy = -(log_pi.exp() * log_pi).sum(-1)
    left = (returns[valid] - value).var() / returns[valid].var()
    expected = {"value": value.mean(), "entropy": entropy.mean(), "explained_variance": 1 - left}
    for name, number in expected.items():
        said: Any = metrics[name]
        torch.testing.assert_close(said(), number)
    moved = (returns - judged.q) * (judged.log_pi + 0.5 * judged.value)
    torch.testing.assert_close(loss, -moved[valid].sum() / 4)


def gradient_of_loss(agent: PGQ, loss: torch.Tensor) -> torch.Tensor:
    agent.learner.optimizer.zero_grad()
    loss.backward()
    return agent.learner.optimizer.gradient.clone()


def test_a_replay_without_a_step_to_learn_from_logs_numbers() -> None:
    agent = made()
    assert agent.collector is not None
    for _ in range(2):
        rollout = agent.collector.collect(5)
        assert rollout is not None
        unknown = rollout._replace(valid=torch.zeros_like(rollout.valid))
        agent.replay.add(unknown, {"stored": rollout.reward})
    drawn = agent.replay.sequences(5, agent.rng, ("stored",))
    loss, row = agent._replayed([drawn])
    assert loss.item() == 0.0
    assert {float(v()) for v in row.values() if callable(v)} == {0.0}


def test_the_replay_waits_and_then_moves_the_parameters() -> None:
    agent = made(replay_start=12)
    agent.total_timesteps = 10_000
    assert agent.collector is not None
    logged = []
    for _ in range(4):
        rollout = agent.collector.collect(5)
        assert rollout is not None
        agent.num_timesteps += 20
        logged.append(agent.update(rollout))
    assert ["replay_age" in row for row in logged] == [False, False, True, True]
    row = {k: float(v() if callable(v) else v) for k, v in logged[-1].items()}
    assert all(math.isfinite(v) for v in row.values())
    assert 0 <= row["replay_error_share"] <= 1
    assert 0 < row["replay_gradient_share"] < 1
    assert 0 < row["replay_age"] <= 60  # the oldest of 80 steps is 60 steps older than the newest
    assert 0 <= row["replay_greedy_actions"] <= 1


def test_continuous_actions_are_refused_in_one_line() -> None:
    spaces = Spaces({"x": Box(-1, 1, (2,), np.float32)}, Box(-1, 1, (1,), np.float32), {})
    with pytest.raises(TypeError, match=r"finitely many actions.+use actor_critic") as caught:
        PGQ(spaces)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"eta": 1.5}, {"eta": -0.1}, {"entropy_weight": 0.0}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="pgq needs 0 <= eta <= 1 and entropy_weight > 0"):
        made(**wrong)


def test_a_replay_that_holds_no_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="pgq needs replay_length >= 22, got 21"):
        made(replay_length=21, n_steps=20)
    with pytest.raises(ValueError, match="replay_sequences >= 1, got 0"):
        made(replay_sequences=0)
    made(replay_length=21, n_steps=20, replay_sequences=0, eta=0.0)


@pytest.mark.parametrize("lstm", [0, 8])
def test_training_continues_bit_for_bit(lstm: int, tmp_path: Any) -> None:
    whole = made(lstm=lstm)
    whole.learn(200)
    whole.save(tmp_path / "half")
    again = PGQ.load(tmp_path / "half", env="daedalus/Catch-v0", device="cpu")
    for agent in (whole, again):
        agent.learn(200, reset_num_timesteps=False)
    assert torch.equal(whole.learner.optimizer.vector, again.learner.optimizer.vector)
