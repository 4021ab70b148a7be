"""UREX: weights, coefficients and losses by hand; groups that play the same instance."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from daedalus.accelerators.instances import SharedInstances
from daedalus.accelerators.vector import make_batch
from daedalus.agents.urex import (
    UREX,
    Config,
    by_length,
    importance_weights,
    ment_coefficients,
    sequence_loss,
    urex_coefficients,
)

SMALL: dict[str, Any] = {"samples": 3, "hidden": 8, "lstm": 8, "n_steps": 20}
LOG_PROB = torch.tensor([[0.5, 0.25]]).log()
REWARD = torch.tensor([[0.0, math.log(2.0)]])


def test_weights_by_hand() -> None:
    """R = (0, log 2), pi = (1/2, 1/4), tau 1: exp(r) / pi = (2, 8), so w = (1/5, 4/5)."""
    weights = importance_weights(LOG_PROB, REWARD, tau=1.0)
    torch.testing.assert_close(weights, torch.tensor([[0.2, 0.8]]))
    # tau 1/2: exp(2 r) / pi = (2, 16)
    weights = importance_weights(LOG_PROB, REWARD, tau=0.5)
    torch.testing.assert_close(weights, torch.tensor([[1 / 9, 8 / 9]]))


def test_weights_of_long_sequences_and_great_rewards_stay_finite() -> None:
    log_prob, reward = torch.tensor([[-900.0, -1000.0]]), torch.tensor([[30.0, 30.0]])
    weights = importance_weights(log_prob, reward, tau=0.01)
    torch.testing.assert_close(weights, torch.tensor([[0.0, 1.0]]))


def test_coefficients_by_hand() -> None:
    """(r - mean) / K + tau w: one division by K in the first term, none in the second."""
    half = math.log(2.0) / 4
    found = urex_coefficients(LOG_PROB, REWARD, tau=1.0, centre=False)
    torch.testing.assert_close(found, torch.tensor([[-half + 0.2, half + 0.8]]))
    centred = urex_coefficients(LOG_PROB, REWARD, tau=1.0, centre=True)
    torch.testing.assert_close(centred, found - 0.5)
    # MENT, tau 1: s = r - log pi = (log 2, log 8), mean log 4
    found = ment_coefficients(LOG_PROB, REWARD, tau=1.0)
    torch.testing.assert_close(found, torch.tensor([[-2 * half, 2 * half]]))
    # tau 0 is REINFORCE with the mean as baseline
    found = ment_coefficients(LOG_PROB, REWARD, tau=0.0)
    torch.testing.assert_close(found, torch.tensor([[-half, half]]))


def test_every_instance_has_a_baseline_of_its_own() -> None:
    """Rewards of (0, 2) and (10, 14): -1, 1 and -2, 2 by K, whatever the other instance pays."""
    alike, reward = torch.zeros(2, 2), torch.tensor([[0.0, 2.0], [10.0, 14.0]])
    away = torch.tensor([[-0.5, 0.5], [-1.0, 1.0]])
    torch.testing.assert_close(ment_coefficients(alike, reward, tau=0.0), away)
    share = torch.tensor([2.0, 4.0]).sigmoid()  # softmax of r / tau at tau 1
    weights = torch.stack([1 - share, share], 1)
    torch.testing.assert_close(urex_coefficients(alike, reward, 1.0, False), away + weights)


def test_a_deserving_sequence_gets_more_than_its_share() -> None:
    """Under-appreciated: log pi below r / tau + constant; with the sign turned it gets less."""
    log_prob, reward = torch.tensor([[-1.0, -5.0, -1.0]]), torch.tensor([[0.2, 0.2, 0.0]])
    weights = importance_weights(log_prob, reward, tau=0.1)[0]
    assert weights[1] > 1 / 3
    assert weights[1] > weights[0] > weights[2]
    assert importance_weights(-log_prob, -reward, tau=0.1)[0, 1] < 1 / 3


def test_the_loss_has_constant_coefficients_and_leaves_out_what_does_not_count() -> None:
    log_prob = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]], requires_grad=True)
    coefficient = urex_coefficients(log_prob, torch.zeros(2, 2), 1.0, centre=False)
    loss = sequence_loss(log_prob, coefficient, torch.tensor([True, False]))
    loss.backward()
    # w = softmax(-log pi) of the first row = (1, e) / (1 + e); nothing flows through it
    low, high = 1 / (1 + math.e), math.e / (1 + math.e)
    assert loss.item() == pytest.approx(low + 2 * high, rel=1e-6)
    torch.testing.assert_close(log_prob.grad, torch.tensor([[-low, -high], [0.0, 0.0]]))


def test_where_urex_rests_every_arm_has_what_its_reward_deserves() -> None:
    """The second term alone, over all arms weighted by pi, vanishes where pi ~ exp(r / tau)."""
    reward, tau = torch.tensor([0.1, 0.2, 0.4]), 0.1
    pi = (reward / tau).softmax(0)
    # with samples in the proportions of pi, exp(r / tau) / pi is constant: all weights equal
    weights = importance_weights(pi.log().view(1, 3), reward.view(1, 3), tau)
    torch.testing.assert_close(weights, torch.full((1, 3), 1 / 3))


def test_longer_sequences_of_the_same_reward_weigh_more() -> None:
    """Four actions alike, lengths 1 and 2: pi = (1/4, 1/16), so w = (1/5, 4/5), not halves.

    A reward of tau log 4 more makes up for it.
    """
    log_prob = torch.tensor([[0.25, 0.0625]]).log()
    weights = importance_weights(log_prob, torch.zeros(1, 2), tau=0.1)
    torch.testing.assert_close(weights, torch.tensor([[0.2, 0.8]]))
    dearer = torch.tensor([[0.1 * math.log(4), 0.0]])
    torch.testing.assert_close(
        importance_weights(log_prob, dearer, tau=0.1), torch.full((1, 2), 0.5)
    )


@pytest.mark.parametrize(("samples", "share"), [(2, 0.188), (5, 0.393), (20, 0.780)])
def test_few_samples_hardly_see_what_deserves_more(samples: int, share: float) -> None:
    """Two arms, pi = (0.1, 0.9) and pi* = (0.9, 0.1): the mean weight of the first arm's samples.

    Two samples hold it once in 18 draws of 100, with a weight of 9 / (9 + 1/9) = 0.988, and twice
    in 1: 0.188. The more there are, the nearer to 0.9.
    """
    pi, reward = torch.tensor([0.1, 0.9]), torch.tensor([math.log(9.0), 0.0])
    mean = 0.0
    for first in range(samples + 1):
        arm = torch.tensor([0] * first + [1] * (samples - first))
        weights = importance_weights(pi[arm].log().view(1, -1), reward[arm].view(1, -1), tau=1.0)
        chance = math.comb(samples, first) * 0.1**first * 0.9 ** (samples - first)
        mean += chance * float(weights[0, :first].sum())
    assert mean == pytest.approx(share, abs=1e-3)


def test_tau_is_in_units_of_the_reward() -> None:
    """One arm of 1000 pays 1: pi* gives it e^10 / (e^10 + 999) = 0.957 at tau 0.1, 0.129 at 0.2.

    Rewards ten times as large with ten times the tau are the same weights, and ten times the
    coefficients.
    """
    reward = torch.zeros(1, 1000)
    reward[0, 0] = 1.0
    alike = torch.full((1, 1000), -math.log(1000))
    for tau, share in ((0.1, 0.957), (0.2, 0.129)):
        best = importance_weights(alike, reward, tau)[0, 0].item()
        assert best == pytest.approx(share, abs=1e-3)
    small = urex_coefficients(LOG_PROB, REWARD, tau=0.5, centre=True)
    great = urex_coefficients(LOG_PROB, 10 * REWARD, tau=5.0, centre=True)
    torch.testing.assert_close(great, 10 * small)


# ------------------------------------------------------------------------------- shared instances


def grouped(num_envs: int = 6, samples: int = 3, longest: int = 30) -> SharedInstances:
    batch = SharedInstances(make_batch("daedalus/Copy-v0", num_envs), samples, longest)
    batch.reset([int(i) for i in range(num_envs)])
    return batch


def native(batch: SharedInstances) -> np.ndarray:
    return batch.batch.states  # type: ignore[attr-defined,no-any-return]


def play(batch: SharedInstances, wrong: list[int]) -> None:
    """Play a rollout: copy the tape, but write a wrong symbol at once in some environments."""
    for _ in range(batch.horizon):
        states = native(batch)
        due = [int(s["target"][min(int(s["written"]), 95)]) for s in states]
        action = np.array([[1, 1, symbol] for symbol in due])
        action[wrong, 2] = (action[wrong, 2] + 1) % 5
        batch.step(action)


def test_a_group_plays_the_same_tape_and_groups_differ() -> None:
    batch = grouped()
    for _ in range(4):
        tapes = native(batch)["tape"][:, 0].copy()
        assert (tapes[:3] == tapes[0]).all()
        assert (tapes[3:] == tapes[3]).all()
        assert not (tapes[0] == tapes[3]).all()
        play(batch, wrong=[1, 4])
        assert not (native(batch)["tape"][0, 0] == tapes[0]).all(), "the next instance is new"


def test_one_episode_each_then_waiting() -> None:
    batch = grouped(num_envs=3)
    target = int(native(batch)["target_length"][0])
    valid, reward = [], []
    for step in range(batch.horizon):
        symbol = int(native(batch)["target"][0][min(step, target - 1)])
        action = np.array([[1, 1, symbol]] * 3)
        action[2, 2] = (symbol + 1) % 5
        batch.step(action)
        valid.append(batch.valid.copy())
        reward.append(batch.reward.copy())
    assert np.sum(valid, axis=0).tolist() == [target, target, 1]
    assert np.sum(reward, axis=0).tolist() == [target, target, -0.5]
    assert not valid[-1].any()
    assert batch.pop_episodes() == [(target, target), (target, target), (-0.5, 1)]  # not by time
    assert batch.pop_episodes() == []


def test_the_curriculum_is_that_of_the_first_environment() -> None:
    batch = grouped(num_envs=6)
    for _ in range(10):
        assert (native(batch)["level"] == 2).all()
        play(batch, wrong=[1, 2, 3])
    assert native(batch)["level"].tolist() == [3, 3, 3, 2, 2, 2]


def test_the_horizon_follows_the_episodes() -> None:
    batch = grouped()
    play(batch, wrong=[0, 1, 2, 3, 4, 5])
    assert batch.horizon == 1 + 1 + 2  # a step, the one that begins the next, and room
    for _ in range(4):  # none ends: every one writes nothing
        for _ in range(batch.horizon):
            batch.step(np.zeros((6, 3), np.int64))
    assert batch.horizon > 8
    assert grouped(longest=5).horizon == 5


class Coin(gymnasium.Env[Any, Any]):
    """Shows a number that its seed decides; one step."""

    observation_space = Box(0, 1, (1,), np.float32)
    action_space = Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.random(1).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return np.zeros(1, np.float32), 1.0, True, False, {}


def test_other_environments_share_an_instance_by_their_seed() -> None:
    envs = gymnasium.vector.SyncVectorEnv([Coin] * 4)
    batch = SharedInstances(make_batch(envs), 2, 3)
    batch.reset([1, 2, 3, 4])
    seen = []
    for _ in range(3):
        (shown,) = batch.observation.values()
        first, same, second, too = shown[:, 0].tolist()
        assert first == same
        assert second == too
        seen += [first, second]
        for _ in range(batch.horizon):
            batch.step(np.zeros(4, np.int64))
    assert len(set(seen)) == 6


@pytest.mark.parametrize(("num_envs", "samples"), [(6, 4), (2, 1)])
def test_groups_that_do_not_come_out_even_are_refused(num_envs: int, samples: int) -> None:
    with pytest.raises(ValueError, match=f"samples={samples}.+num_envs={num_envs}"):
        SharedInstances(make_batch("daedalus/Copy-v0", num_envs), samples, 9)


# ---------------------------------------------------------------------------------- the agent


def made(**settings: Any) -> UREX:
    config = Config(**(SMALL | settings))
    return UREX("daedalus/Copy-v0", config, num_envs=6, seed=1, device="cpu")


def test_the_probability_is_that_of_the_whole_sequence() -> None:
    """Against one sequence after the other, cut at its end, the components summed."""
    agent = made()
    assert agent.collector is not None
    rollout = agent.collector.collect(agent.rollout_length)
    assert rollout is not None
    row = agent.update(rollout)
    agent = made()
    assert agent.collector is not None
    rollout = agent.collector.collect(agent.rollout_length)
    assert rollout is not None
    total = 0.0
    for b in range(6):
        steps = int(rollout.valid[:, b].sum())
        assert rollout.valid[:steps, b].all()
        inputs = rollout.inputs.at(slice(steps), slice(b, b + 1))
        output = agent.network(inputs, agent.initial_state(1))
        moves, write, symbol = output[:, 0].split([2, 2, 5], -1)
        for part, chosen in zip((moves, write, symbol), rollout.action[:steps, b].T, strict=True):
            log_pi = part.detach().log_softmax(-1)
            total += float(log_pi.gather(1, chosen.unsqueeze(1)).sum())
    assert float(row["sequence_log_prob"]()) == pytest.approx(total / 6, rel=1e-4)  # type: ignore[operator]


def test_sequences_are_unrolled_beside_others_of_like_length_and_stay_in_their_order() -> None:
    agent = UREX("daedalus/Copy-v0", Config(**SMALL), num_envs=30, seed=1)
    assert agent.collector is not None
    rollout = agent.collector.collect(agent.rollout_length)
    assert rollout is not None
    sums = agent._sequences(rollout).detach()
    output = agent.network(rollout.inputs.at(slice(-1)), rollout.initial_state).detach()
    each = agent.network.distribution.log_prob_entropy(
        output.flatten(0, 1), rollout.action.flatten(0, 1)
    )
    for ours, all_steps in zip(sums, each, strict=True):
        theirs = (all_steps.view(rollout.valid.shape) * rollout.valid).sum(0)
        torch.testing.assert_close(ours, theirs)
        assert len(theirs.unique()) > 5


def test_lengths_are_sorted_by_how_often_they_double() -> None:
    found = by_length(torch.tensor([3, 1, 9, 4, 2, 1, 16, 17]))
    assert [(length, rows.tolist()) for length, rows in found] == [
        (1, [1, 5]),
        (2, [4]),
        (4, [0, 3]),
        (16, [2, 6]),
        (17, [7]),
    ]


def test_it_acts_only_where_a_sequence_lasts() -> None:
    """Its rows, state and actions are those of the environments that still play."""
    agent = UREX("daedalus/Copy-v0", Config(**SMALL), num_envs=30, seed=1)
    assert agent.collector is not None
    seen = []
    act = agent.act

    def watched(inputs: Any, state: Any, deterministic: bool = False) -> Any:
        acted = act(inputs, state, deterministic)
        seen.append((inputs, state, acted))
        return acted

    agent.act = watched  # type: ignore[method-assign]
    rollout = agent.collector.collect(agent.rollout_length)
    assert rollout is not None
    playing = [np.flatnonzero(row) for row in rollout.valid.numpy() if row.any()]
    assert [len(acted.action) for _, _, acted in seen] == [len(rows) for rows in playing]
    assert len(playing[1]) < 30  # some end at once
    before = {name: torch.zeros(30, value.shape[1]) for name, value in seen[0][1].items()}
    for t, (rows, (inputs, state, acted)) in enumerate(zip(playing, seen, strict=True)):
        for name, value in inputs.observation.items():
            torch.testing.assert_close(value, rollout.observation[name][t][rows])
        torch.testing.assert_close(acted.action, rollout.action[t][rows])
        for name, value in state.items():
            torch.testing.assert_close(value, before[name][rows])
            before[name][rows] = acted.state[name]


class Stay(gymnasium.Env[Any, Any]):
    """Nothing pays; action 0 ends the episode at once, the others after another step."""

    observation_space = Box(0, 1, (1,), np.float32)
    action_space = Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        over = bool(action == 0) or self.steps == 2
        return np.zeros(1, np.float32), 0.0, over, False, {}


def test_in_an_agent_pairs_of_unequal_length_have_unequal_weights() -> None:
    """A uniform policy: 1 / (0.2^2 + 0.8^2) = 1.47 samples count in a pair of lengths 1 and 2."""
    agent = UREX(
        gymnasium.vector.SyncVectorEnv([Stay] * 40),
        Config(**(SMALL | {"samples": 2, "n_steps": 4})),
        device="cpu",
    )
    with torch.no_grad():
        agent.network.actor.weight.zero_()
    assert agent.collector is not None
    rollout = agent.collector.collect(agent.rollout_length)
    assert rollout is not None
    length = rollout.valid.sum(0).view(20, 2)
    unequal = (length[:, 0] != length[:, 1]).float().mean().item()
    assert 0 < unequal < 1
    row: Any = agent.update(rollout)
    expected = unequal / (0.2**2 + 0.8**2) + (1 - unequal) * 2
    assert row["effective_samples"]().item() == pytest.approx(expected, rel=1e-5)


def test_a_group_with_a_sequence_that_was_cut_does_not_count() -> None:
    """Pairs of lengths 1 and 2, and 1 and 3; the last sequence does not end in the 4 steps.

    Uniform over four actions, without rewards, the first pair has w = (1, 4) / 5 and so a loss of
    tau 0.3 (2 - 1) log 4; the second, w = (1, 16) / 17, would have tau 15/34 (3 - 1) log 4. Where
    sequences have 3 steps at most it is no other cut than that, and counts.
    """
    settings = SMALL | {"samples": 2, "n_steps": 4}
    agent = UREX(gymnasium.vector.SyncVectorEnv([Stay] * 4), Config(**settings), device="cpu")
    with torch.no_grad():
        agent.network.actor.weight.zero_()
    assert agent.collector is not None
    collected = agent.collector.collect(4)
    assert collected is not None
    lengths = torch.tensor([1, 2, 1, 3])
    step = torch.arange(4).unsqueeze(1)
    ends = (step == lengths - 1) & torch.tensor([True, True, True, False])
    rollout = collected._replace(
        valid=step < lengths,
        reward=torch.zeros(4, 4),
        terminated=ends & torch.tensor([True, False, True, True]),
        truncated=ends & torch.tensor([False, True, False, False]),
    )
    assert agent._whole(rollout).tolist() == [True, False]
    assert float(agent.update(rollout)["loss"]) == pytest.approx(0.03 * math.log(4))  # type: ignore[arg-type]
    agent.config = dataclasses.replace(agent.config, n_steps=3)
    assert agent._whole(rollout).tolist() == [True, True]


@pytest.mark.parametrize(("objective", "centre"), [("urex", True), ("urex", False), ("ment", True)])
def test_an_update_by_hand(objective: str, centre: bool) -> None:
    """Pairs of lengths 1 and 2 of a uniform policy over four actions, with rewards of their own.

    A reward behind the end of a sequence does not count.
    """
    settings = SMALL | {"samples": 2, "n_steps": 4, "objective": objective, "centre": centre}
    envs = gymnasium.vector.SyncVectorEnv([Stay] * 4)
    agent = UREX(envs, Config(**settings), device="cpu")
    with torch.no_grad():
        agent.network.actor.weight.zero_()
    assert agent.collector is not None
    collected = agent.collector.collect(4)
    assert collected is not None
    lengths, step = torch.tensor([1, 2, 2, 1]), torch.arange(4).unsqueeze(1)
    reward = torch.tensor([[1.0, 0.5, 0.0, 0.3], [9.0, 0.25, 0.0, 9.0], [9.0] * 4, [9.0] * 4])
    rollout = collected._replace(
        valid=step < lengths, reward=reward, terminated=step == lengths - 1, truncated=step < 0
    )
    loss, one = 0.0, -math.log(4)
    for logs, paid in (((one, 2 * one), (1.0, 0.75)), ((2 * one, one), (0.0, 0.3))):
        if objective == "ment":
            score = [r - 0.1 * p for r, p in zip(paid, logs, strict=True)]
            found = [(s - sum(score) / 2) / 2 for s in score]
        else:
            worth = [math.exp(r / 0.1 - p) for r, p in zip(paid, logs, strict=True)]
            weights = [w / sum(worth) - (0.5 if centre else 0.0) for w in worth]
            found = [(r - sum(paid) / 2) / 2 + 0.1 * w for r, w in zip(paid, weights, strict=True)]
        loss -= sum(c * p for c, p in zip(found, logs, strict=True)) / 2
    assert float(agent.update(rollout)["loss"]) == pytest.approx(loss, rel=1e-4)  # type: ignore[arg-type]


def test_what_is_logged_is_finite_and_in_range() -> None:
    agent = made()
    assert agent.collector is not None
    for _ in range(3):
        rollout = agent.collector.collect(agent.rollout_length)
        assert rollout is not None
        row = {k: float(v() if callable(v) else v) for k, v in agent.update(rollout).items()}
    assert all(math.isfinite(value) for value in row.values())
    assert 1 <= row["effective_samples"] <= 3
    assert 1 / 3 <= row["share_of_best"] <= 1
    assert row["level"] == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"objective": "reinforce"}, "'urex' or 'ment'"), ({"tau": 0.0}, "cannot have tau=0")],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        made(**wrong)


def test_training_continues_bit_for_bit(tmp_path: Any) -> None:
    whole = made()
    whole.learn(600)
    whole.save(tmp_path / "half")
    again = UREX.load(tmp_path / "half", env="daedalus/Copy-v0", device="cpu")
    for agent in (whole, again):
        agent.learn(600, reset_num_timesteps=False)
    mine, theirs = (
        torch.cat([p.flatten() for p in agent.network.parameters()]) for agent in (whole, again)
    )
    assert torch.equal(mine, theirs)


# ------------------------------------------------------------------- rollouts that were given up


def aligned(agent: UREX) -> list[torch.Tensor]:
    """Collect two rollouts and see one sequence in each, of tapes that groups share.

    Returns:
        The actions of both.
    """
    assert agent.collector is not None
    assert isinstance(agent.batch, SharedInstances)
    found = []
    for _ in range(2):
        rollout = agent.collector.collect(agent.rollout_length)
        assert rollout is not None
        lengths = rollout.valid.sum(0)
        steps = torch.arange(len(rollout.valid)).unsqueeze(1)
        assert torch.equal(rollout.valid, steps < lengths)  # from the first step on, without a gap
        assert rollout.episode_start[0].all()
        assert not rollout.previous_reward[0].any()
        tapes = native(agent.batch)["tape"].reshape(2, 3, -1)
        assert (tapes == tapes[:, :1]).all()
        assert not (tapes[0] == tapes[1]).all()
        found.append(rollout.action.clone())
    return found


@pytest.mark.parametrize("step", [1, 7, 12, 21])
def test_after_a_stop_within_a_rollout_groups_begin_together(step: int, tmp_path: Any) -> None:
    """A rollout has 21 steps. What was given up is no episode, and does not change the horizon."""
    agent = made()
    agent.learn(600, callback=lambda *_: agent.num_timesteps < 6 * step)
    assert (agent.num_timesteps, agent.num_updates) == (6 * step, 0)
    agent.save(tmp_path / "stopped")
    again = UREX.load(tmp_path / "stopped", env="daedalus/Copy-v0", device="cpu")
    if step < 21:
        assert not agent.ep_info_buffer
        assert agent.rollout_length == again.rollout_length == 21
    pairs = zip(aligned(agent), aligned(again), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    for each in (agent, again):
        each.learn(300, reset_num_timesteps=False)
    mine, theirs = (
        torch.cat([p.flatten() for p in each.network.parameters()]) for each in (agent, again)
    )
    assert torch.equal(mine, theirs)


def test_after_an_interrupt_within_a_rollout_groups_begin_together(tmp_path: Any) -> None:
    def interrupt(*_: Any) -> bool:
        if agent.num_timesteps == 42:
            raise KeyboardInterrupt
        return True

    agent = made()
    with pytest.raises(KeyboardInterrupt):
        agent.learn(600, callback=interrupt)
    agent.save(tmp_path / "interrupted")
    aligned(agent)
    aligned(UREX.load(tmp_path / "interrupted", env="daedalus/Copy-v0", device="cpu"))


def test_other_environments_begin_together_after_a_stop(tmp_path: Any) -> None:
    """They are reset with the next seeds of their groups, here and after a resume."""
    config = Config(**(SMALL | {"samples": 2, "n_steps": 4}))

    def coins() -> Any:
        return gymnasium.vector.SyncVectorEnv([Coin] * 4)

    agent = UREX(coins(), config, seed=1, device="cpu")
    agent.learn(100, callback=lambda *_: agent.num_timesteps < 8)
    agent.save(tmp_path / "stopped")
    again = UREX.load(tmp_path / "stopped", env=coins(), device="cpu")
    shown = []
    for each in (agent, again):
        assert each.collector is not None
        rollout = each.collector.collect(each.rollout_length)
        assert rollout is not None
        assert rollout.valid[0].all()
        (seen,) = rollout.observation.values()
        first, same, second, too = seen[0, :, 0].tolist()
        assert first == same != second == too
        shown.append((first, second))
    assert shown[0] == shown[1]
