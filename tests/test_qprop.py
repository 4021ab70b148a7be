"""Q-Prop: its control variate, its critic and the pitfalls of both, by hand."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from source_tree import ROOT

from daedalus.accelerators.rollout import Rollout
from daedalus.accelerators.transitions import TransitionReplay, Transitions, transitions
from daedalus.agents.action_value import ActionValue, TemporalDifference
from daedalus.agents.base import Spaces
from daedalus.agents.control_variate import (
    Signal,
    control_variate,
    diagnostics,
    eta_of,
    improvement,
    learning_signal,
    surrogate,
)
from daedalus.agents.qprop import Config, Network, QProp
from daedalus.agents.trust_region import LocalModel

SPACES = Spaces({"vector": Box(-1, 1, (2,), np.float32)}, Box(-1, 1, (1,), np.float32), {})
SMALL: dict[str, Any] = {"net_arch": (16,), "critic_arch": (16, 16), "value_epochs": 2}


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


# ------------------------------------------------------------------------ the control variate


def test_the_control_variate_by_hand() -> None:
    """(2, -1) . (0.5, 3) = -2: no clipping of a - mu to the bounds of any space."""
    slope, action, mean = (torch.tensor([v]) for v in ([2.0, -1.0], [1.5, 2.0], [1.0, -1.0]))
    assert control_variate(slope, action, mean).tolist() == [-2]


def test_eta_in_all_its_kinds() -> None:
    advantage, variate = tensor(1, 1, -2, 0), tensor(3, -1, -4, 5)
    found = {kind: eta_of(kind, advantage, variate).tolist() for kind in KINDS}
    assert found == {
        "conservative": [1, 0, 1, 0],
        "aggressive": [1, -1, 1, 0],
        "standard": [1, 1, 1, 1],
        "none": [0, 0, 0, 0],
    }


KINDS = ("conservative", "aggressive", "standard", "none")


def test_eta_looks_at_advantages_as_they_are() -> None:
    """A = 3, 1 and Abar = 1, 1 agree twice; centred first, the second would not."""
    ones = torch.ones(2, 1)
    found = learning_signal("conservative", tensor(3, 1), ones, ones, torch.zeros(2, 1))
    assert found.eta.tolist() == [1, 1]


def test_both_parts_have_one_scale() -> None:
    """A = 3, -1 and Abar = 2, 2: A - Abar = 1, -3, centred 2, -2, deviation 2; slope 2 / 2 = 1.

    Dividing the residual alone, as the authors' code does, leaves a pull of 2.
    """
    slope, action, mean = tensor(2, 2)[:, None], tensor(1, 1)[:, None], torch.zeros(2, 1)
    found = learning_signal("standard", tensor(3, -1), slope, action, mean)
    assert found.residual.tolist() == pytest.approx([1, -1])
    assert found.pull[:, 0].tolist() == pytest.approx([1, 1])
    assert float(found.scale) == pytest.approx(2)
    tenfold = learning_signal("standard", tensor(30, -10), 10 * slope, action, mean)
    assert torch.allclose(found.residual, tenfold.residual)
    assert torch.allclose(found.pull, tenfold.pull)
    code = learning_signal("standard", tensor(3, -1), slope, action, mean, one_scale=False)
    assert code.residual.tolist() == pytest.approx([1, -1])
    assert code.pull[:, 0].tolist() == pytest.approx([2, 2])
    assert float(improvement(tensor(1, 1), tensor(3, 3), code)) == pytest.approx(3)
    assert float(improvement(tensor(1, 1), tensor(3, 3), found)) == pytest.approx(1.5)


def expected_gradient(kind: str, slope: float) -> float:
    """Return E[score (A - eta Abar)] + E[eta slope], exactly, over nine equally likely samples.

    x = a - mu is 0 half of the time, and sqrt(2) or -sqrt(2) (variance 1, so the score is x);
    A = x + e with e = 2 or -2. The policy gradient is E[x A] = 1.
    """
    x = tensor(0, 0, 2**0.5, -(2**0.5)).repeat_interleave(2)
    advantage = x + tensor(2, -2).repeat(4)
    slopes = torch.full((8, 1), slope)
    variate = control_variate(slopes, x[:, None], torch.zeros(8, 1))
    eta = eta_of(kind, advantage, variate)
    return float((x * (advantage - eta * variate) + eta * slope).mean())


def test_only_the_standard_eta_is_unbiased_and_that_with_any_critic() -> None:
    """By hand: conservative has 3/4 of the gradient with the exact critic, slope 1.

    At x = sqrt(2): e = 2 gives eta 1 and x e + 1 = 3.83, e = -2 gives eta 0 and x A = -0.83: 1.5
    on average, and 0 at x = 0.
    """
    for slope in (1.0, -1.0, 7.5):
        assert expected_gradient("standard", slope) == pytest.approx(1, abs=1e-6)
        assert expected_gradient("none", slope) == pytest.approx(1, abs=1e-6)
    assert expected_gradient("conservative", 1.0) == pytest.approx(0.75, abs=1e-6)


def test_dropping_eta_from_the_analytic_part_would_show() -> None:
    """The flipped critic: with eta in one part only the gradient would be off by its slope."""
    x, advantage = tensor(1, -1), tensor(1, -1)  # A = x, the slope is 1: score is x
    slope, mean = torch.ones(2, 1), torch.zeros(2, 1)
    for kind in ("conservative", "aggressive", "standard"):
        found = learning_signal(kind, advantage, -slope, x[:, None], mean)
        total = (x * found.residual).mean() + found.pull.mean()
        assert float(total * found.scale) == pytest.approx(1, abs=1e-5)


def linear_policy() -> Network:
    """Return a policy with mean w x + b, all 0, sigma = 1."""
    network = Network(SPACES, Config(net_arch=(), critic_arch=(4,)))
    with torch.no_grad():
        for parameter in network.policy.parameters():
            parameter.zero_()
    return network


def test_the_gradient_by_hand_and_no_noise_is_reparametrised() -> None:
    """On x = (1, 0), (0, 1) with a = 2, -1: residuals r = 1, -1 and pulls p = 3, 5.

    d log sigma: r (a^2 - 1) = 3, 0 on average 1.5, nothing from the pulls;
    dw: (r a + p) / 2 = (2 + 3) / 2, (1 + 5) / 2; db is their sum.
    """
    network, seen = linear_policy(), torch.eye(2)
    action, pull = tensor(2, -1)[:, None], tensor(3, 5)[:, None]
    zeros = torch.zeros(2)
    signal = learning_signal("none", zeros, torch.zeros(2, 1), action, torch.zeros(2, 1))
    signal = signal._replace(residual=tensor(1, -1), pull=pull)
    model = LocalModel(network.policy, seen, action, damping=0.0, iterations=1)
    expected = [1.5, 2.5, 3.0, 5.5]
    inside = model.gradient_of(surrogate(model.ratio, model.output, signal))
    assert inside.tolist() == pytest.approx(expected)
    output = network.policy(seen)
    log_pi, _ = network.gaussian.log_prob_entropy(output, action)
    surrogate(log_pi, output, signal).backward()
    plain = [p.grad.flatten() for p in network.policy.parameters() if p.grad is not None]
    assert torch.cat(plain).tolist() == pytest.approx(expected)
    assert all(p.grad is None for p in network.critic.parameters())


def test_the_ratio_multiplies_the_residual_alone_and_q_is_asked_as_it_is() -> None:
    """Ratios 2 and 0.5, residuals 1 and -1: 0.75; Q grew by 3 and 5, eta 1 and 0, scale 2: 0.75."""
    zero = torch.zeros(2, 1)
    signal = learning_signal("none", torch.zeros(2), zero, zero, zero)
    signal = signal._replace(residual=tensor(1, -1), eta=tensor(1, 0), unit=torch.tensor(2.0))
    assert float(improvement(tensor(2, 0.5), tensor(3, 5), signal)) == pytest.approx(1.5)


def test_diagnostics_by_hand() -> None:
    """A = Abar = 1, -1: nothing is left to sample, and the correlation is 1."""
    action, mean, slope = tensor(1, -1)[:, None], torch.zeros(2, 1), torch.ones(2, 1)
    advantage = tensor(1, -1)
    signal = learning_signal("standard", advantage, slope, action, mean)
    found = diagnostics(signal, advantage, action, mean, torch.ones(1))
    wanted = {"signal_before": 1, "signal_after": 0, "correlation": 1, "eta_active": 1}
    assert {key: float(found[key]) for key in wanted} == pytest.approx(wanted)
    assert float(found["analytic_share"]) == pytest.approx(1)
    # x A is 1 at both samples and so is the slope: variances 0 and 0
    assert float(found["variance_ratio"]) == pytest.approx(0)


def test_the_linear_quadratic_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known V and Q: the standard eta's mean is the policy gradient's, within two standard errors.

    The ratios are those of an independent reproduction: 0.76 and 1.74 with the exact and the
    flipped critic; conservative 0.72 with 15 % of the mean lost.
    """
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import qprop_variance

    found = qprop_variance.measure(4000, seed=0)
    assert all(found[critic]["standard"].bias < 2 for critic in ("exact", "flipped", "noise"))
    assert found["exact"]["standard"].variance_ratio == pytest.approx(0.76, abs=0.04)
    assert found["flipped"]["standard"].variance_ratio == pytest.approx(1.74, abs=0.1)
    assert found["exact"]["conservative"].variance_ratio == pytest.approx(0.72, abs=0.04)
    assert found["exact"]["conservative"].share == pytest.approx(0.85, abs=0.03)
    assert found["exact"]["conservative"].bias > 5
    assert found["flipped"]["aggressive"] == pytest.approx(found["exact"]["aggressive"])


# ------------------------------------------------------------------------ the critic


@pytest.mark.parametrize("hidden", [(5,), (5, 4), (6, 5, 4)])
def test_the_gradient_of_the_critic_is_automatic_differentiations(hidden: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    critic = ActionValue(3, 2, hidden).double()
    critic.std.fill_(1.0)
    learning = TemporalDifference(critic, 1e-3, 0.999)
    rows, action, target = (torch.randn(7, n, dtype=torch.double) for n in (3, 2, 1))
    with torch.no_grad():
        error = learning.accumulate(rows, action, target[:, 0])
    assert critic.vector.grad is not None
    found = critic.vector.grad.clone()
    loss = (critic(rows, action) - target[:, 0]).square().mean()
    expected = torch.autograd.grad(loss, critic.vector)[0]
    assert torch.allclose(found, expected, atol=1e-12)
    assert float(error.square().mean()) == pytest.approx(float(loss.detach()))
    assert float(expected.abs().max()) > 0


def critic_by_hand() -> ActionValue:
    """Return Q = 3 relu(2 s) relu-joined with the action: h = (relu(2 s), a), Q = relu(h1 + h2)."""
    critic = ActionValue(1, 1, (1, 1))
    with torch.no_grad():
        for part in critic.layers(critic.vector):
            for x in part:
                x.zero_()
        first, second, last = (weight for weight, _ in critic.layers(critic.vector))
        first.fill_(2.0)
        second.copy_(torch.tensor([[1.0, -1.0]]))
        last.fill_(3.0)
    critic.std.fill_(1.0)
    return critic


def test_value_and_slope_by_hand() -> None:
    """At s = 1, a = 0.5: 3 (2 - 0.5) = 4.5 with slope -3; beyond a = 2 the ReLU is off."""
    critic, rows, action = critic_by_hand(), torch.ones(2, 1), tensor(0.5, 2.5)[:, None]
    assert critic(rows, action).tolist() == pytest.approx([4.5, 0])
    assert critic.slope(rows, action)[:, 0].tolist() == pytest.approx([-3, 0])
    assert critic.vector.grad is None


def test_renormalising_changes_no_value_and_no_slope() -> None:
    critic, rows, action = critic_by_hand(), torch.ones(1, 1), torch.full((1, 1), 0.5)
    critic.renormalise(tensor(90, 110))
    assert (float(critic.mean), float(critic.std)) == (100, 10)
    assert critic(rows, action).tolist() == pytest.approx([4.5], abs=1e-4)
    assert float(critic.slope(rows, action)) == pytest.approx(-3, abs=1e-4)


def test_the_first_returns_are_where_it_begins_and_the_widest_are_kept() -> None:
    """A deviation of 0.5 after one of 10 would make the last layer's weights 20 times as large."""
    critic, rows = ActionValue(1, 1, (4,)), torch.ones(1, 1)
    assert critic(rows, rows).tolist() == [0]
    critic.renormalise(tensor(90, 110))
    assert critic(rows, rows).tolist() == pytest.approx([100], abs=1)
    critic.renormalise(tensor(49.5, 50.5))
    assert (float(critic.mean), float(critic.std)) == (50, 10)
    assert critic(rows, rows).tolist() == pytest.approx([100], abs=1)


def test_targets_end_with_terminal_states_and_not_with_time_limits() -> None:
    """Q' = 4.5 there: 1 + 0.5 * 4.5, and 1 where the state is terminal; 10 and 2 are taken off."""
    critic = critic_by_hand()
    critic.slow.copy_(critic.vector.detach())
    learning = TemporalDifference(critic, 1e-3, 0.9)
    ends = torch.tensor([False, True])
    what = (torch.ones(2), ends, torch.ones(2, 1), torch.full((2, 1), 0.5), 0.5)
    assert learning.target(*what).tolist() == pytest.approx([3.25, 1])
    critic.renormalise(tensor(8, 12))
    assert learning.target(*what).tolist() == pytest.approx([-3.375, -4.5], abs=1e-5)


def test_targets_stay_within_the_bound_in_units_of_the_returns() -> None:
    """In units of 10 about 50: 1 + 0.5 * 200 = 101 is 5.1 of them, -39 and 151 are -8.9 and 10.1.

    So is 6 the bound, and 110 and -10 the least and the most that is learned.
    """
    critic = critic_by_hand()
    critic.renormalise(tensor(40, 60))
    critic.slow.zero_()
    critic.layers(critic.slow)[-1][1].fill_(15)  # Q' = 50 + 10 * 15 = 200
    learning = TemporalDifference(critic, 1e-3, 0.9, bound=6.0)
    rewards = tensor(1, -139, 51)
    what = (rewards, torch.zeros(3, dtype=torch.bool), torch.ones(3, 1), torch.zeros(3, 1), 0.5)
    assert learning.target(*what).tolist() == pytest.approx([5.1, -6, 6], abs=1e-5)
    free = TemporalDifference(critic, 1e-3, 0.9)
    assert free.target(*what).tolist() == pytest.approx([5.1, -8.9, 10.1], abs=1e-5)


@pytest.mark.parametrize("bound", [6.0, None])
def test_a_critic_whose_errors_feed_on_themselves_stays_within_its_bound(
    bound: float | None,
) -> None:
    """Q(s') is twice Q(s) by its features alone (Tsitsiklis and Van Roy 1997).

    The step to s is all that is drawn, so that Q grows for ever: w <- w + rate (1.98 w - w).
    """
    critic = ActionValue(1, 1, (8,))
    critic.renormalise(tensor(-1, 1))
    learning = TemporalDifference(critic, 1e-3, 0.0, bound)
    seen, following = torch.full((16, 1), 5.0), torch.full((16, 1), 10.0)
    none, action = torch.zeros(16, dtype=torch.bool), torch.zeros(16, 1)
    with torch.no_grad():  # Q = 0.1 s
        for weight, bias in critic.layers(critic.vector):
            weight.zero_()
            bias.zero_()
        critic.layers(critic.vector)[0][0][0, 0] = critic.layers(critic.vector)[1][0][0, 0] = 0.32
        critic.slow.copy_(critic.vector)
    for _ in range(4000):
        target = learning.target(torch.zeros(16), none, following, action, 0.99)
        learning.step(seen, action, target)
    value = critic(seen, action)[0].item()
    assert abs(value - 6) < 0.1 if bound else value > 100


def test_the_slow_copy_keeps_its_share() -> None:
    critic = critic_by_hand()
    learning = TemporalDifference(critic, 0.1, 0.75)
    before = critic.slow.clone()
    learning.step(torch.ones(1, 1), torch.full((1, 1), 0.5), tensor(0))
    assert torch.allclose(critic.slow, 0.75 * before + 0.25 * critic.vector.detach())
    assert not torch.equal(before, critic.slow)


# ------------------------------------------------------------------------ the replay


def rollout(truncated: bool) -> Rollout:
    """Return two environments of three steps that see their time; the first ends at t = 1."""
    no = torch.zeros(3, 2, dtype=torch.bool)
    over, zeros = no.clone(), torch.zeros(4, 2)
    over[1, 0] = True
    valid = ~no
    valid[2, 1] = False
    return Rollout(
        observation={"vector": torch.arange(4.0)[:, None, None].expand(4, 2, 2).clone()},
        action=torch.arange(6.0).view(3, 2, 1),
        reward=torch.arange(6.0).view(3, 2),
        terminated=no if truncated else over,
        truncated=over if truncated else no,
        valid=valid,
        episode_start=torch.zeros(4, 2, dtype=torch.bool),
        previous_action=zeros[..., None],
        previous_reward=zeros,
        label={},
        cost=torch.zeros(3, 2),
        final_index=torch.tensor([[1, 0]]),
        final_observation={"vector": torch.full((1, 2), 99.0)},
        final_state={},
        extras={},
        initial_state={},
        state={},
    )


def test_transitions_have_their_true_successors() -> None:
    """Where an episode ended, in either way, it is its last observation and not the next first."""
    network = linear_policy()
    for truncated in (True, False):
        found = transitions(rollout(truncated), network.flatten)
        assert found.observation[:, 0].tolist() == [0, 0, 1, 1, 2]  # the invalid step is not there
        assert found.following[:, 0].tolist() == [1, 1, 99, 2, 3]
        assert found.terminated.tolist() == [False, False, not truncated, False, False]
        assert found.reward.tolist() == [0, 1, 2, 3, 4]


def steps(*reward: float) -> Transitions:
    rows, column = tensor(*reward), tensor(*reward)[:, None]
    return Transitions(column, column, rows, rows > 1e9, column)


def test_the_replay_holds_the_latest_steps_and_draws_all_of_them() -> None:
    replay = TransitionReplay(4)
    with pytest.raises(ValueError, match="empty replay"):
        replay.draw((1,), np.random.default_rng(0))
    replay.add(steps(1, 2, 3))
    replay.add(steps(4, 5, 6))
    drawn = replay.draw((10, 20), np.random.default_rng(0))
    assert drawn.reward.shape == (10, 20)
    assert sorted(drawn.reward.unique().tolist()) == [3, 4, 5, 6]
    assert torch.equal(drawn.observation[..., 0], drawn.reward)
    replay.add(steps(*range(10)))
    assert sorted(replay.draw((99,), np.random.default_rng(0)).reward.unique().tolist()) == [
        *(6, 7, 8, 9)
    ]


def test_a_stored_replay_goes_on_as_before() -> None:
    replay, again = TransitionReplay(4), TransitionReplay(4)
    replay.add(steps(1, 2, 3, 4, 5))
    again.set_state({k: v.clone() for k, v in replay.get_state().items()})
    for each in (replay, again):
        each.add(steps(6))
    first, second = (r.draw((9,), np.random.default_rng(1)) for r in (replay, again))
    assert torch.equal(first.reward, second.reward)
    with pytest.raises(ValueError, match="at least 1 step"):
        TransitionReplay(0)


# ------------------------------------------------------------------------ the agent


class Aim(gymnasium.Env[Any, Any]):
    """Episodes of one step: the reward is -(a - s)^2, scaled, of what reaches the environment."""

    def __init__(self, scale: float = 1.0, bound: float = 2.0) -> None:
        """Take the scale of the reward and the bound of the action."""
        self.observation_space = Box(-1, 1, (1,), np.float32)
        self.action_space = Box(-bound, bound, (1,), np.float32)
        self.scale = scale
        self.largest = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return self.state, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.largest = max(self.largest, float(np.abs(action).max()))
        reward = -self.scale * float((action - self.state)[0] ** 2)
        return self.state, reward, True, False, {}


def vector(count: int = 2, **kwargs: Any) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    return gymnasium.vector.SyncVectorEnv([lambda: Aim(**kwargs)] * count, autoreset_mode=mode)


def mean_return(agent: QProp) -> float:
    return float(np.mean([episode["r"] for episode in agent.ep_info_buffer]))


@pytest.mark.parametrize(
    ("settings", "least"),
    [({}, -0.1), ({"eta": "aggressive"}, -0.1), ({"trust_region": False}, -0.5)],
)
def test_it_learns_to_aim(settings: dict[str, Any], least: float) -> None:
    """From E[s^2] + sigma^2 = 4/3 a step; its own noise keeps it from 0."""
    rates = {"delta": 0.05, "learning_rate": 3e-2}
    config = Config(**{**SMALL, "n_steps": 50, **rates, **settings})
    agent = QProp(vector(4), config, seed=1, device="cpu")
    rows: list[dict[str, float]] = []
    agent.logger.sinks.append(lambda step, row: rows.append(dict(row)))
    agent.learn(3000)
    assert least < mean_return(agent) < -0.001
    assert 0 < rows[-1]["train/kl"] < 1


def test_a_trained_critic_explains_what_it_can() -> None:
    """With the mean at 0 and x = a: A = 1 - x^2 + 2 s x and Abar = 2 s x, s uniform in (-1, 1).

    Var(Abar) = 4/3 and Var(1 - x^2) = 2: the correlation is sqrt(0.4) = 0.632. The gradient x A has
    the variance 10 + 4 = 14, and x (A - Abar) + 2 s has 10 + 4/3: 0.810 of it.
    """
    config = Config(**{**SMALL, "n_steps": 50, "eta": "standard", "delta": 1e-6})
    agent = QProp(vector(4, bound=9.0), config, seed=1, device="cpu")
    rows: list[dict[str, float]] = []
    agent.logger.sinks.append(lambda step, row: rows.append(dict(row)))
    agent.learn(6000, log_interval=200)
    late = rows[len(rows) // 3 :]
    assert np.mean([row["train/correlation"] for row in late]) == pytest.approx(0.632, abs=0.05)
    assert np.mean([row["train/variance_ratio"] for row in late]) == pytest.approx(0.81, abs=0.06)
    assert all(row["train/kl"] <= 1e-6 for row in rows)


def test_advantages_come_before_the_fit_of_the_values_and_after_that_of_the_critic() -> None:
    """In the first update V is 0 everywhere and explains nothing, but the critic has learned."""
    agent = QProp(vector(), Config(**SMALL, n_steps=20), seed=1, device="cpu")
    rows: list[dict[str, float]] = []
    agent.logger.sinks.append(lambda step, row: rows.append(dict(row)))
    agent.learn(120, log_interval=40)
    assert rows[0]["train/explained_variance"] == 0
    assert rows[0]["train/critic_error"] > 0
    assert rows[-1]["train/critic_bounded"] < 0.01
    assert rows[0]["train/replay_steps"] == 40
    assert rows[1]["train/explained_variance"] != 0


def test_without_a_critic_it_is_the_policy_gradient() -> None:
    agent = QProp(vector(), Config(**SMALL, eta="none", n_steps=20), seed=1, device="cpu")
    before = agent.network.critic.vector.detach().clone()
    agent.learn(80)
    assert torch.equal(before, agent.network.critic.vector)
    assert agent.replay.count == 0


def test_what_an_update_gives_to_the_critic_and_to_the_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five steps with actions 0 to 4, as sampled, whose mean is the first of what is seen.

    The critic takes 3/5 of a step for each, with a' = mu(s'). V is 0, so that A is a sum that
    decays by 1/2 times 1/2: 0 + 2/4, 1 + (3 + 5/4)/4, 2 at the end, 3 + 5/4 and 4.
    """
    config = Config(
        net_arch=(), critic_ratio=0.6, critic_batch=8, gamma=0.5, gae_lambda=0.5, eta="standard"
    )
    agent: Any = QProp(SPACES, config, device="cpu")
    with torch.no_grad():
        for parameter in agent.network.policy.parameters():
            parameter.zero_()
        agent.network.policy.layers[-1].weight[0, 0] = 1.0
    agent.learning.target = Mock(side_effect=lambda reward, *_: reward)
    agent.learning.step = Mock(side_effect=lambda rows, action, target: target)
    signal = Mock(wraps=learning_signal)
    monkeypatch.setattr("daedalus.agents.qprop.learning_signal", signal)
    agent.update(rollout(truncated=False))
    targets, steps = (x.call_args_list for x in (agent.learning.target, agent.learning.step))
    assert len(targets) == 3
    for target, step in zip(targets, steps, strict=True):
        reward, ends, following, then, gamma = target.args
        assert torch.equal(then, following[:, :1])
        assert torch.equal(step.args[1][:, 0], reward)  # of actions far beyond the bounds of 1
        assert torch.equal(ends, reward == 2)
        assert gamma == 0.5
    kind, advantage, slope, action, mean, _ = signal.call_args.args
    assert kind == "standard"
    assert advantage.tolist() == [0.5, 2.0625, 2, 4.25, 4]
    assert action[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert mean[:, 0].tolist() == [0, 0, 1, 1, 2]
    assert torch.equal(slope, agent.network.critic.slope(mean.expand(5, 2), mean))


@pytest.mark.parametrize("trust_region", [True, False])
@pytest.mark.parametrize("part", ["residual", "pull"])
def test_either_part_moves_the_mean_by_itself(
    part: str, trust_region: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1 paid more than -1; or Q = relu(5 + a), which grows with the action: the mean goes up."""
    config = Config(net_arch=(), critic_arch=(1, 1), trust_region=trust_region)
    agent = QProp(SPACES, config, device="cpu")
    with torch.no_grad():
        for parameter in agent.network.policy.parameters():
            parameter.zero_()
        critic = agent.network.critic
        critic.vector.zero_()
        _, (second, bias), (last, _) = critic.layers(critic.vector)
        second[0, 1] = last[0, 0] = 1.0
        bias.fill_(5.0)
        critic.std.fill_(1.0)
    on, off, one = torch.ones(2), torch.zeros(2), torch.ones(())
    residual, eta = (tensor(1, -1), off) if part == "residual" else (off, on)
    signal = Signal(residual, eta[:, None], eta, off, one, one)
    monkeypatch.setattr("daedalus.agents.qprop.learning_signal", lambda *_: signal)
    agent._move(torch.eye(2), tensor(1, -1)[:, None], tensor(1, -1))
    assert agent.network.policy(torch.zeros(1, 2)).item() > 0


def test_the_critic_sees_actions_as_they_were_sampled() -> None:
    """The environment gets them within its bounds, the critic and Abar as they are."""
    envs = vector(bound=0.1)
    agent = QProp(envs, Config(**SMALL, n_steps=50), seed=1, device="cpu").learn(100)
    assert max(env.unwrapped.largest for env in envs.envs) <= 0.1 + 1e-6  # type: ignore[attr-defined]
    assert agent.replay.fields is not None
    assert float(agent.replay.fields.action.abs().max()) > 1


def test_the_scale_of_rewards_does_not_matter() -> None:
    """1024 times the reward: the same policy after the same steps, up to rounding."""
    found = []
    for scale in (1.0, 1024.0):
        config = Config(**{**SMALL, "n_steps": 50, "critic_ratio": 1.0})
        agent = QProp(vector(4, scale=scale), config, seed=1, device="cpu").learn(600)
        found.append(torch.cat([p.detach().flatten() for p in agent.network.policy.parameters()]))
    assert torch.allclose(found[0], found[1], atol=2e-3)


@pytest.mark.parametrize("limit", [True, False])
def test_a_time_limit_does_not_end_the_values(limit: bool) -> None:
    """Reward 1 for ever, cut after 5 steps: V = Q = 1 / (1 - 0.5) = 2; ended after one step: 1."""

    class Constant(gymnasium.Env[Any, Any]):
        observation_space = Box(-1, 1, (1,), np.float32)
        action_space = Box(-1, 1, (1,), np.float32)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.count = 0
            return np.ones(1, np.float32), {}

        def step(self, action: Any) -> Any:
            self.count += 1
            cut = limit and self.count == 5
            return np.ones(1, np.float32), 1.0, not limit, cut, {}

    mode = gymnasium.vector.AutoresetMode.SAME_STEP
    envs = gymnasium.vector.SyncVectorEnv([Constant] * 2, autoreset_mode=mode)
    settings: dict[str, Any] = {
        "value_epochs": 10,
        "value_learning_rate": 1e-2,
        "target_decay": 0.95,
    }
    config = Config(**{**SMALL, **settings, "n_steps": 50, "gamma": 0.5})
    agent = QProp(envs, config, seed=1, device="cpu").learn(2000)
    seen, expected = torch.ones(1, 1), 2.0 if limit else 1.0
    value = float(agent.network.values(seen).detach())
    mean = agent.network.policy(seen)
    assert value == pytest.approx(expected, rel=0.03)
    assert float(agent.network.critic(seen, mean).detach()) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("trust_region", [True, False])
def test_training_continues_bit_for_bit(trust_region: bool) -> None:
    world = "daedalus/PointCircle-v0"

    def run(stop: bool) -> dict[str, torch.Tensor]:
        config = Config(**SMALL, n_steps=20, trust_region=trust_region, replay_size=100)
        agent = QProp(world, config, num_envs=3, device="cpu")
        for i in range(4):
            if stop and i == 2:
                tensors, state = agent.get_state()
                copy = {k: np.asarray(v).copy() for k, v in tensors.items()}
                agent = QProp.from_state(copy, state, env=world, num_envs=3, device="cpu")
            assert agent.collector is not None
            collected = agent.collector.collect(20)
            assert collected is not None
            agent.update(collected)
        return {k: v.clone() for k, v in agent.network.state_dict().items()}

    whole, resumed = run(False), run(True)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_what_it_cannot_handle_it_says_in_a_line() -> None:
    with pytest.raises(TypeError, match=r"Discrete\(2\): use trpo, ppo or actor") as caught:
        QProp(SPACES._replace(action=Discrete(2)))
    assert "\n" not in str(caught.value)
    image: dict[str, Any] = {"image": Box(0, 255, (20, 20, 3), np.uint8)}
    with pytest.raises(TypeError, match="'image' is an image of 20 x 20 x 3: take ppo"):
        QProp(SPACES._replace(observation=image))
    with pytest.raises(ValueError, match="no eta 'bold'; there are: conservative, aggressive"):
        QProp(SPACES, Config(eta="bold"))
    with pytest.raises(ValueError, match="qprop needs target_bound > 0, got -1"):
        QProp(SPACES, Config(target_bound=-1))
    with pytest.raises(ValueError, match="needs a hidden layer"):
        QProp(SPACES, Config(critic_arch=()))


def test_an_action_without_a_dimension() -> None:
    spaces = SPACES._replace(action=Box(-1, 1, (), np.float32))
    agent: Any = QProp(spaces, Config(**SMALL, critic_ratio=1.0), device="cpu")
    made = rollout(truncated=True)
    row = agent.update(made._replace(action=made.action.squeeze(-1)))
    assert all(np.isfinite(float(v)) for v in row.values()), row
    action, _ = agent.predict({"vector": np.zeros(2, np.float32)})
    assert action.shape == ()


def test_several_observations_and_discrete_ones() -> None:
    spaces = Spaces({"place": Discrete(3), "speed": Box(-1, 1, (2, 2))}, SPACES.action, {})
    agent = QProp(spaces, device="cpu")
    action, _ = agent.predict({"place": np.array(2), "speed": np.zeros((2, 2), np.float32)})
    assert action.shape == (1,)
    assert agent.network.inputs == 7
