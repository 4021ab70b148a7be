"""Constrained agents: each known pitfall with numbers counted by hand, and that limits are kept."""

from __future__ import annotations

import math
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from daedalus import scenarios
from daedalus.accelerators.rollout import Rollout
from daedalus.agents import make_agent
from daedalus.agents.base import Spaces
from daedalus.agents.constrained import EpisodeLengths, Experience, Learner, Ledger
from daedalus.agents.constrained_network import ConstrainedConfig, Network
from daedalus.agents.costs import FailurePredictor, check_costs, costs_of, unsafe_within
from daedalus.agents.cpo import CPO, refusal
from daedalus.agents.losses import explained_variance
from daedalus.agents.policies import Categorical, Gaussian, MultiCategorical
from daedalus.agents.ppo_lagrangian import clipped_loss
from daedalus.agents.trust_region import (
    LocalModel,
    Trial,
    conjugate_gradients,
    kl_divergence,
    standardised,
    trust_region_step,
)
from daedalus.agents.vector_network import Values, fit_values, minibatches
from daedalus.evaluation.plan import Group, Plan

AGENTS = ("cpo", "pdo", "trpo_penalty", "ppo_lagrangian")
SPACES = Spaces({"vector": Box(-1, 1, (2,), np.float32)}, Box(-1, 1, (1,), np.float32), {})


def column(*values: float) -> torch.Tensor:
    """Return (T, 1) float32: one environment."""
    return torch.tensor(values)[:, None].float()


def rollout(
    cost: torch.Tensor, ends: tuple[tuple[int, int], ...] = (), truncated: bool = False
) -> Rollout:
    """Return a rollout of zeros with these costs (T, B) and ends (t, b)."""
    steps, envs = cost.shape
    over = torch.zeros(steps, envs, dtype=torch.bool)
    for t, b in ends:
        over[t, b] = True
    no, zeros = torch.zeros_like(over), torch.zeros(steps + 1, envs)
    starts = torch.zeros(steps + 1, envs, dtype=torch.bool)
    starts[1:] = over
    return Rollout(
        observation={"vector": torch.zeros(steps + 1, envs, 2)},
        action=torch.zeros(steps, envs, 1),
        reward=torch.ones(steps, envs),
        terminated=no if truncated else over,
        truncated=over if truncated else no,
        valid=torch.ones_like(over),
        episode_start=starts,
        previous_action=torch.zeros(steps + 1, envs, 1),
        previous_reward=zeros,
        label={},
        cost=cost,
        final_index=torch.tensor(ends, dtype=torch.int64).reshape(-1, 2),
        final_observation={"vector": torch.zeros(len(ends), 2)},
        final_state={},
        extras={},
        initial_state={},
        state={},
    )


def learner(envs: int = 1, value: float = 0.0, **settings: Any) -> Learner:
    """Return a learner whose values are ``value`` everywhere."""
    config = ConstrainedConfig(net_arch=(4,), **settings)
    network = Network(SPACES, config)
    with torch.no_grad():
        network.values.weights[-1].zero_()
        network.values.biases[-1].fill_(value)
        network.values.std.fill_(1.0)
    return Learner(network, config, envs)


# ------------------------------------------------------------------------ costs of episodes


def test_the_cost_of_an_episode_with_whole_episodes_in_the_batch() -> None:
    """Episodes of 2, 3 and 5 steps that cost 1, 0 and 3: 4 / 3 each, whatever the discount."""
    cost = torch.tensor([[0, 1], [1, 0], [0, 1], [0, 1], [0, 0]]).float()
    for gamma in (1.0, 0.5):
        found = learner(2, cost_gamma=gamma).judge(rollout(cost, ((1, 0), (4, 0), (4, 1))))
        assert found.cost_return.tolist() == pytest.approx([4 / 3])
        assert found.length == pytest.approx(10 / 3)
        assert found.metrics["episode_return"] == pytest.approx(10 / 3)


def test_the_cost_is_that_of_the_present_batch_alone() -> None:
    """Ten batches that cost 3 an episode leave no trace in one that costs nothing."""
    made = learner()
    for _ in range(10):
        assert made.judge(rollout(column(1, 1, 1), ((2, 0),))).cost_return[0] == pytest.approx(3)
    assert made.judge(rollout(column(0, 0, 0), ((2, 0),))).cost_return[0] == 0


def test_episodes_longer_than_a_rollout() -> None:
    """Episodes of 4 steps in rollouts of 2 (or 3): the length goes on from batch to batch."""
    lengths = EpisodeLengths(1)
    with pytest.warns(UserWarning, match="no episode has ended"):
        assert lengths.update(rollout(column(0, 0))) == 2  # nothing has ended: so far
    assert lengths.update(rollout(column(0, 0), ((1, 0),))) == 4
    assert lengths.update(rollout(column(0, 0, 0))) == 4  # none ended: the last one known
    assert lengths.update(rollout(column(0, 0, 0), ((0, 0),))) == 4
    restored = EpisodeLengths(1)
    restored.set_state(lengths.get_state())
    assert restored.running.tolist() == [2]
    assert restored.update(rollout(column(0, 0, 0), ((0, 0),))) == 3


def test_steps_that_only_reset_do_not_count() -> None:
    made = rollout(column(1, 1, 9, 1), ((1, 0), (3, 0)))
    made.valid[2, 0] = False
    found = learner().judge(made)
    assert found.length == 1.5  # of 2 steps and of 1
    assert found.cost_return[0] == pytest.approx(1.5)
    assert found.observation.shape == (3, 2)


# ------------------------------------------------------------------------ advantages


def test_a_time_limit_bootstraps_the_reward_and_not_the_cost() -> None:
    """V = 10 everywhere, both discounts 1: A = 1 + 10 - 10 for the reward, 0 + 0 - 10 for the cost.

    What the policy would cost after the cut is not in the cost of an episode, nor in its limit.
    """
    made = learner(value=10.0, gamma=1.0, gae_lambda=0.0, cost_lambda=0.0)
    cut = made.judge(rollout(column(0, 0), ((1, 0),), truncated=True))
    assert cut.target[0].tolist() == pytest.approx([11, 11])
    assert cut.target[1].tolist() == pytest.approx([10, 0])
    ended = made.judge(rollout(column(0, 0), ((1, 0),)))
    assert ended.target[0].tolist() == pytest.approx([11, 1])


def test_what_follows_an_end_is_the_episodes_last_observation() -> None:
    """V = x + y: 0 everywhere but in (3, 4), with which the first of two episodes ended."""
    network = Network(SPACES, ConstrainedConfig(net_arch=()))
    with torch.no_grad():
        network.values.weights[0].fill_(1.0)
        network.values.biases[0].zero_()
        network.values.std.fill_(1.0)
    made = rollout(column(0, 0, 0), ((1, 0),), truncated=True)
    made.final_observation["vector"][0] = torch.tensor([3.0, 4.0])
    value, following = network.judge(made)
    assert value[0].ravel().tolist() == [0, 0, 0]
    assert following[:, :, 0].tolist() == [[0, 7, 0], [0, 7, 0]]


def test_cost_advantages_are_centred_and_keep_their_size() -> None:
    """Costs to go 6, 4, 0 minus their mean 10 / 3; twice the cost, twice the advantage."""
    found = learner().judge(rollout(column(2, 4, 0), ((2, 0),)))
    assert found.cost_advantage[0].tolist() == pytest.approx([6 - 10 / 3, 4 - 10 / 3, -10 / 3])
    twice = learner().judge(rollout(column(4, 8, 0), ((2, 0),)))
    assert twice.cost_advantage[0].tolist() == pytest.approx((2 * found.cost_advantage[0]).tolist())
    assert standardised(twice.cost_advantage[0]).tolist() == pytest.approx(
        standardised(found.cost_advantage[0]).tolist()
    )


def test_the_gradient_of_the_cost_is_that_of_an_episode() -> None:
    """Bernoulli policy p = 1/2, an episode of 2 steps that costs its 1s: J_C = 2 p, dJ_C/dl = 1/2.

    l is the logit of action 1, dp/dl = p (1 - p) = 1/4. The mean over steps alone would be 1/4.
    """
    spaces = SPACES._replace(action=Discrete(2))
    made = Learner(Network(spaces, ConstrainedConfig(net_arch=())), ConstrainedConfig(), 4)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.zero_()
    action = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 1]])
    ends = tuple((1, b) for b in range(4))
    batch = rollout(action.float(), ends)._replace(action=action)
    found = made.judge(batch)
    model = LocalModel(
        made.network.policy, found.observation, found.action, damping=0.0, iterations=1
    )
    gradient = model.gradient(found.length * found.cost_advantage[0])
    assert gradient[-2:].tolist() == pytest.approx([-0.5, 0.5])  # the biases are last
    assert found.cost_return[0] == 1


# ------------------------------------------------------------------------ the trust region


def test_divergence_of_gaussians_is_of_the_new_from_the_old() -> None:
    """N(1, 2^2) from N(0, 1): ln(1/2) + (4 + 1) / 2 - 1/2; the other way ln 2 + 2/8 - 1/2."""
    policy = Gaussian(Box(-1, 1, (1,)))
    one, zero, two = torch.ones(1, 1), torch.zeros(1, 1), torch.tensor([math.log(2)])
    with torch.no_grad():
        policy.log_std.fill_(math.log(2))
    found = kl_divergence(policy, one, zero, torch.zeros(1)).detach()
    assert float(found) == pytest.approx(2 - math.log(2))
    with torch.no_grad():
        policy.log_std.zero_()
    assert float(kl_divergence(policy, zero, one, two).detach()) == pytest.approx(
        math.log(2) - 0.25
    )


def test_divergence_of_discrete_policies_adds_over_components() -> None:
    """(3/4, 1/4) from (1/2, 1/2): 3/4 ln 3/2 + 1/4 ln 1/2; two components have twice that."""
    new, old = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert float(kl_divergence(Categorical(Discrete(2)), new, old)) == pytest.approx(expected)
    pair = MultiCategorical(MultiDiscrete([2, 2]))
    found = kl_divergence(pair, new.repeat(1, 2), old.repeat(1, 2))
    assert float(found) == pytest.approx(2 * expected)


def test_conjugate_gradients() -> None:
    """(4 1; 1 3) x = (1, 2) has x = (1/11, 7/11), exact after two iterations."""
    matrix = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
    x, residual = conjugate_gradients(lambda v: matrix @ v, torch.tensor([1.0, 2.0]), 2)
    assert x.tolist() == pytest.approx([1 / 11, 7 / 11])
    assert residual < 1e-6
    assert conjugate_gradients(lambda v: matrix @ v, torch.zeros(2), 5)[0].tolist() == [0, 0]


def model(damping: float = 0.0) -> LocalModel:
    """Return a linear Gaussian policy with mean w x + b and sigma = 1 on x = (1, 0), (0, 1)."""
    network = Network(SPACES, ConstrainedConfig(net_arch=(), log_std=0.0))
    with torch.no_grad():
        for parameter in network.policy.parameters():
            parameter.zero_()
    seen, action = torch.eye(2), torch.tensor([[1.0], [-1.0]])
    return LocalModel(network.policy, seen, action, damping=damping, iterations=10)


def test_fisher_products_counted_by_hand() -> None:
    """H of (log sigma, w_1, w_2, b): 2 for log sigma, E[x x'] = 1/2 each, E[x] = 1/2 with b."""
    made = model(damping=0.5)
    names = [tuple(p.shape) for p in made.parameters]
    assert names == [(1,), (1, 2), (1,)]
    hessian = torch.stack([made.product(row) for row in torch.eye(4)])
    expected = [[2, 0, 0, 0], [0, 0.5, 0, 0.5], [0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1]]
    assert torch.allclose(hessian, torch.tensor(expected) + 0.5 * torch.eye(4), atol=1e-6)


def test_the_search_restores_every_bit_where_nothing_is_acceptable() -> None:
    made = model()
    before = [p.detach().clone() for p in made.parameters]
    search = made.search(torch.ones(4), lambda trial: "kl")
    assert (search.scale, search.rejected, search.trial) == (0.0, {"kl": 15}, None)
    assert all(torch.equal(a, b) for a, b in zip(before, made.parameters, strict=True))


def test_the_search_takes_the_longest_acceptable_share() -> None:
    """A step of b by 1 has a divergence of 1/2 a^2: a = 0.8^j <= 0.2 from j = 8 on (0.168)."""
    made, step = model(), torch.tensor([0.0, 0.0, 0.0, 1.0])
    search = made.search(step, lambda trial: "kl" if trial.kl > 0.02 else "")
    assert search.backtracks == 8
    assert search.scale == pytest.approx(0.8**8)
    assert search.trial is not None
    assert search.trial.kl == pytest.approx(0.5 * 0.8**16, rel=1e-3)


def test_the_search_asks_the_sampled_cost_and_not_the_linear_one() -> None:
    """Ratios 2 and 1/2 with cost advantages 1 and -1: the sample says + 0.75 an episode."""
    trial = Trial(0.005, torch.tensor([2.0, 0.5]), torch.zeros(2, 1))
    reward, cost = torch.tensor([1.0, -1.0]), torch.tensor([[1.0, -1.0]])

    def asked(
        above: float, case: int, reward: torch.Tensor = reward, kl: float = 0.005, turn: int = 1
    ) -> str:
        gain = float((trial.ratio * reward).mean())
        return refusal(trial._replace(kl=kl), case, gain, turn * cost, np.array([above]), 0.01)

    assert asked(-0.8, 2) == ""
    assert asked(-0.7, 2) == "cost"
    assert asked(0.5, 1) == "cost"
    assert asked(2.0, 1, turn=-1) == ""  # - 0.75 an episode: the limit itself may be further
    assert asked(-0.8, 2, -reward) == "reward"
    assert asked(-0.8, 1, -reward) == ""  # on the way back to the limit the return may fall
    assert asked(-0.8, 2, kl=0.011) == "kl"
    assert asked(-0.8, 2, kl=math.nan) == "kl"


def test_a_step_keeps_the_sampled_divergence_and_needs_a_gain() -> None:
    """Of log sigma alone: 0.2 for delta = 0.04, where (e^2x - 1) / 2 - x is 0.046; at 0.16 0.029.

    A surrogate that does not grow is no step, however near.
    """
    slope = torch.tensor([1.0, 0.0, 0.0, 0.0])
    search, row = trust_region_step(model(), slope, lambda trial: 1.0, 0.04)
    assert (search.scale, row["rejected_kl"]) == (0.8, 1)
    assert row["kl"] == pytest.approx(0.5 * (math.exp(0.32) - 1) - 0.16, rel=1e-4)
    search, row = trust_region_step(model(), slope, lambda trial: 0.0, 0.04)
    assert (search.scale, row["rejected_kl"], row["rejected_reward"]) == (0, 1, 14)


# ------------------------------------------------------------------------ cpo's step, by hand


def cpo(*extra: str) -> CPO:
    """Return an agent with a linear policy of mean 0 and sigma 1 that sees which state it is in."""
    config = CPO.Config(
        net_arch=(), log_std=0.0, damping=0.0, fisher_stride=1, cost_limit=1.0,
        extra_costs=extra, extra_limits=(1.0,) * len(extra),
    )  # fmt: skip
    spaces = SPACES._replace(observation={"state": Box(0, 1, (3,), np.float32)})
    made = CPO(spaces, config, device="cpu")
    start_again(made)
    return made


def start_again(agent: CPO) -> None:
    with torch.no_grad():
        for parameter in agent.learner.network.policy.parameters():
            parameter.zero_()


def experience(*above: float) -> Experience:
    """Actions +1 and -1 in each of three states: +1 pays, and cost i is +1 in state i.

    With x_i for the mean in state i: g = -(1, 1, 1) / 3, b_i = e_i / 3, H = 1 / 3. So x_i is at
    most 3 (d - J_C) for a limited state i, and the trust region is sum x_i^2 <= 3 * 0.02.
    """
    action = torch.tensor([1.0, -1.0]).repeat(3)
    states = torch.eye(3).repeat_interleave(2, 0)
    cost = (states * action[:, None]).T[: len(above)]
    return Experience(
        observation=states,
        action=action[:, None],
        advantage=action,
        cost_advantage=cost,
        target=torch.zeros(1 + len(above), 6),
        cost_return=1.0 + np.array(above),
        length=1.0,
        metrics={},
    )


def step_of(agent: CPO, *above: float) -> tuple[dict[str, float], list[float]]:
    """Take the step from the start; return what it logs, and the whole step of the three means."""
    start_again(agent)
    row = agent._step(experience(*above))
    with torch.no_grad():
        mean = agent.learner.network.policy(torch.eye(3)).ravel()
    return row, (mean / row["step_scale"]).tolist()


def test_the_multiplier_of_one_limit_by_hand() -> None:
    """The cost may rise by 1/30, x_1 <= 0.1: x_2 = x_3 = sqrt((0.06 - 0.01) / 2) = 1 / lambda.

    x_i = (1 - nu_i) / lambda, so nu = 1 - 0.1 lambda.
    """
    rest = math.sqrt(0.025)
    row, x = step_of(cpo(), -1 / 30)
    assert x == pytest.approx([0.1, rest, rest], rel=1e-4)
    assert row["lambda"] == pytest.approx(1 / rest, rel=1e-4)
    assert row["nu"] == pytest.approx(1 - 0.1 / rest, rel=1e-4)
    assert row["case"] == 2


def test_the_gradient_of_the_cost_is_an_episodes_in_the_step_too() -> None:
    """Three steps an episode: x_1 costs three times as much, so 1/10 of room is 1/30 again."""
    agent, rest = cpo(), math.sqrt(0.025)
    start_again(agent)
    row = agent._step(experience(-0.1)._replace(length=3.0))
    with torch.no_grad():
        mean = agent.learner.network.policy(torch.eye(3)).ravel()
    assert (mean / row["step_scale"]).tolist() == pytest.approx([0.1, rest, rest], rel=1e-4)
    assert row["nu"] == pytest.approx((1 - 0.1 / rest) / 3, rel=1e-4)


def test_the_line_search_is_told_the_sampled_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    gains: list[tuple[float, float]] = []

    def spy(trial: Trial, case: int, gain: float, *rest: Any) -> str:
        gains.append((gain, float((trial.ratio * torch.tensor([1.0, -1.0]).repeat(3)).mean())))
        return refusal(trial, case, gain, *rest)

    monkeypatch.setattr("daedalus.agents.cpo.refusal", spy)
    step_of(cpo(), -1 / 30)
    assert gains[0][0] > 0.05
    assert [gain for gain, _ in gains] == pytest.approx([wanted for _, wanted in gains])


def priced(name: str, found: Experience, **settings: Any) -> tuple[Any, dict[str, float]]:
    """Return an agent with a linear policy after an update on ``found``, and what it logs."""
    kind = make_agent(name)
    exact = {"fisher_stride": 1, "damping": 0.0} if name == "pdo" else {}
    config = kind.Config(net_arch=(), log_std=0.0, **exact, **settings)
    spaces = SPACES._replace(observation={"state": Box(0, 1, (3,), np.float32)})
    agent: Any = kind(spaces, config, device="cpu")
    start_again(agent)
    agent.learner.judge = lambda rollout: found
    agent.learner.fit = lambda *_: {}
    return agent, agent.update(None)


@pytest.mark.parametrize(
    ("name", "price"), [("pdo", 3.0), ("ppo_lagrangian", 3.0), ("ppo_lagrangian", 0.5)]
)
def test_a_price_turns_away_from_what_costs(name: str, price: float) -> None:
    """+1 pays 1 in all states and costs 1 in the first: at a price of 3 it is worth -2, 1, 1.

    Both are of a step, however long an episode. The price moves afterwards: the cost is 0.5 above
    its limit, so by half its rate.
    """
    settings = {"multiplier_start": price, "multiplier_rate": 0.2, "cost_limit": 0.5}
    agent, row = priced(name, experience(0.0)._replace(length=3.0), **settings)
    with torch.no_grad():
        first, second, third = agent.learner.network.policy(torch.eye(3)).ravel().tolist()
    assert second > 0
    assert (first > 0) == (price < 1)
    assert second == pytest.approx(third, rel=0.05)
    if name == "pdo":  # one natural step; PPO's are Adam's, of one length each
        assert first == pytest.approx(-2 * second, rel=1e-3)
    assert [row["nu"], row["next_nu"]] == pytest.approx([price, price + 0.1])


def test_a_fixed_price_is_taken_from_the_reward() -> None:
    """Rewards of 1 and costs of 0 and 2 at a price of 3: 1 and -5 are learned from."""
    agent: Any = make_agent("trpo_penalty")
    agent = agent(SPACES, agent.Config(net_arch=(), penalty=3.0), device="cpu")
    agent.learner.judge = judge = Mock(wraps=agent.learner.judge)
    agent.update(rollout(column(0, 2), ((1, 0),)))
    assert judge.call_args.kwargs["reward"][:, 0].tolist() == [1, -5]


def test_the_bonus_of_ppo_is_for_more_entropy() -> None:
    found = experience(0.0)
    found = found._replace(advantage=torch.zeros(6), cost_advantage=torch.zeros(1, 6))
    agent, _ = priced("ppo_lagrangian", found, entropy_weight=0.1)
    assert agent.learner.network.policy.distribution.log_std.item() > 0


def test_the_multipliers_of_several_limits_by_hand() -> None:
    """Both bind: x_1 = x_2 = 0.1, x_3 = sqrt(0.06 - 0.02) = 0.2, lambda = 5, nu = (0.5, 0.5).

    One of them at a time is the step of one limit, and the other's multiplier is 0.
    """
    agent, rest = cpo("effort"), math.sqrt(0.025)
    row, x = step_of(agent, -1 / 30, -1 / 30)
    assert x == pytest.approx([0.1, 0.1, 0.2], rel=1e-4)
    assert [row["lambda"], row["nu"]] == pytest.approx([5.0, 0.5], rel=1e-4)
    row, x = step_of(agent, -1 / 30, -1.0)
    assert x == pytest.approx([0.1, rest, rest], rel=1e-4)
    assert row["nu"] == pytest.approx(1 - 0.1 / rest, rel=1e-4)
    row, x = step_of(agent, -1.0, -1 / 30)
    assert x == pytest.approx([rest, 0.1, rest], rel=1e-4)
    assert row["nu"] == 0


def test_multipliers_are_found_anew_in_every_update() -> None:
    """After a step that the limit binds and one that it does not, both are a fresh agent's."""
    old = cpo()
    for above in (-1 / 30, -1.0, 0.05, 1.0, -1 / 30):
        used, fresh = step_of(old, above), step_of(cpo(), above)
        shares = {name for name in used[0] if name.startswith("share_case_")}
        assert {k: v for k, v in used[0].items() if k not in shares} == {
            k: v for k, v in fresh[0].items() if k not in shares
        }
        assert used[1] == fresh[1]
    assert [old.learner.ledger.multiplier.item(), step_of(old, -1.0)[0]["nu"]] == [0.0, 0.0]


# ------------------------------------------------------------------------ prices, shaping, values


def test_the_price_moves_with_the_excess_and_never_below_zero() -> None:
    ledger = Ledger()
    prices = [ledger.price(0.1, excess) for excess in (20.0, 5.0, -10.0, -30.0, 1.0)]
    assert prices == pytest.approx([2.0, 2.5, 1.5, 0.0, 0.1])
    paid = [ledger.pay(cost, 5.0) for cost in (4.0, 8.0, 5.0, 6.0)]
    assert [p["violation_rate"] for p in paid] == [0, 1 / 2, 1 / 3, 1 / 2]
    assert paid[-1]["worst_cost_return"] == 8


def test_ppo_clips_what_would_go_too_far() -> None:
    """Ratios 1.5 and 0.5: gains count up to 1.2 and 0.8, losses in full."""
    ratio = torch.tensor([1.5, 0.5])
    assert float(clipped_loss(ratio, torch.ones(2), 0.2)) == pytest.approx(-(1.2 + 0.5) / 2)
    assert float(clipped_loss(ratio, -torch.ones(2), 0.2)) == pytest.approx((1.5 + 0.8) / 2)


def test_unsafe_within_looks_ahead_and_not_into_the_next_episode() -> None:
    """Costs 0 0 1 | 0 2 with an end after the third step, two steps ahead."""
    found = unsafe_within(rollout(column(0, 0, 1, 0, 2), ((2, 0),)), 2)
    assert found[:, 0].tolist() == [0, 1, 1, 1, 1]
    assert unsafe_within(rollout(column(0, 1, 0, 1), ((0, 0),)), 3)[:, 0].tolist() == [0, 1, 1, 1]


def test_the_predictor_learns_which_states_are_unsafe() -> None:
    torch.manual_seed(0)
    made = rollout(column(*[0, 1] * 50))
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(50, 1)
    predictor = FailurePredictor(2)
    assert predictor.probability(rows).tolist() == pytest.approx([1 / (1 + math.exp(3))] * 100)
    predictor.fit(made, rows, 1, 300)
    low, high = predictor.probability(rows[:2]).tolist()
    assert low < 0.05
    assert high > 0.95


def test_costs_by_name() -> None:
    made = rollout(column(1, 2), ((1, 0),))._replace(action=column(0.5, 3.0)[..., None])
    found = costs_of(made, ("cost", "effort", "failure"), Box(-2, 2, (1,)))
    assert found[..., 0].tolist() == [[1, 2], [0.25, 4], [0, 1]]
    flat = made._replace(action=made.action.squeeze(-1))  # of a Box without a dimension
    assert costs_of(flat, ("effort",), Box(-2, 2, ()))[..., 0].tolist() == [[0.25, 4]]
    cut = costs_of(rollout(column(0), ((0, 0),), truncated=True), ("failure",), Box(-1, 1, (1,)))
    assert cut.tolist() == [[[0]]]
    with pytest.raises(ValueError, match="no cost 'costs'; there are: cost, effort, failure"):
        check_costs(("costs",), Box(-1, 1, (1,)))
    with pytest.raises(ValueError, match="'effort' is of continuous actions; limit 'cost' or"):
        CPO(
            SPACES._replace(action=Discrete(2)),
            CPO.Config(extra_costs=("effort",), extra_limits=(1.0,)),
        )


def test_renormalising_changes_no_value_once_there_are_any() -> None:
    """Costs of 3 everywhere have no deviation yet: their value is 3, and what they should say 0."""
    made, rows = Values(2, (4,), 2), torch.tensor([[0.3, -0.8], [1.0, 0.0]])
    with torch.no_grad():
        made.weights[-1].fill_(0.7)
        made.renormalise(torch.tensor([[90.0, 110.0], [3.0, 3.0]]))
        before = made(rows)
        assert before[1].tolist() == [3, 3]
        assert made.wanted(torch.tensor([[90.0, 110.0], [3.0, 3.0]])).tolist() == [[-1, 1], [0, 0]]
        alike = torch.full((2, 3000), 0.1)  # whose mean is not quite 0.1 in float32
        other = Values(2, (4,), 2)
        other.renormalise(alike)
        assert other.wanted(alike).abs().max() == 0
        made.renormalise(torch.tensor([[200.0, 260.0], [0.0, 2.0]]))
        assert torch.allclose(made(rows)[0], before[0], atol=1e-4)
    assert made.mean.tolist() == [230, 1]
    assert made.std.tolist() == [30, 1]


def test_a_batch_without_costs_does_not_undo_what_is_known_of_them() -> None:
    """Costs are 20 x of an x of 0 to 1; then no batch shows any, then they are back.

    Their deviation of 5.8 is kept meanwhile. In units of a batch without costs the last layer would
    grow by thousands, the next fit start from there, and explain nothing after its 8 passes.
    """
    torch.manual_seed(0)
    values, rng = Values(1, (16,), 1), np.random.default_rng(0)
    optimizer, rows = (
        torch.optim.Adam(values.parameters(), 3e-3),
        torch.linspace(0, 1, 256)[:, None],
    )
    costs = 20 * rows.T

    def fitted(target: torch.Tensor) -> float:
        fit_values(values, optimizer, rows, target, minibatches(256, 8, 64, rng))
        with torch.no_grad():
            return float(explained_variance(values(rows)[0], costs[0]))

    for _ in range(8):
        known = fitted(costs)
    width = values.std.item()
    assert width == pytest.approx(5.8, abs=0.1)
    assert known > 0.95
    fitted(torch.zeros(1, 256))
    assert values.std.item() == width
    assert max(fitted(costs) for _ in range(2)) > 0.9


# ------------------------------------------------------------------------ the agents


def train(name: str, steps: int, push: float = 0.0, **settings: Any) -> list[Any]:
    """Train on the kinematic Point-Circle with a limit of 5; return the logged rows.

    The policy starts with ``push`` added to the force along x.
    """
    cls, rows = make_agent(name), []
    small = {"cost_limit": 5.0, "n_steps": 60, "net_arch": (16,), "log_std": -1.0}
    world = {"convention": "kinematic"}
    config = cls.Config(**small | settings)
    where = "daedalus/PointCircle-v0"
    agent = cls(where, config, num_envs=50, seed=1, device="cpu", env_kwargs=world)
    with torch.no_grad():
        agent.learner.network.policy.layers[-1].bias[0] += push
    agent.logger.sinks.append(lambda step, values: rows.append(dict(values)))
    agent.learn(steps, log_interval=3_000)
    return rows


def test_cpo_keeps_the_limit_that_trpo_breaks() -> None:
    """20 updates with a limit of 5: TRPO is far above, CPO at it and better than standing."""
    constrained, free = train("cpo", 60_000), train("trpo_penalty", 60_000, penalty=0.0)
    cost = [np.mean([r["train/cost_return"] for r in rows[-4:]]) for rows in (constrained, free)]
    gain = [np.mean([r["train/episode_return"] for r in rows[-4:]]) for rows in (constrained, free)]
    assert cost[0] < 6.5 < 30 < cost[1]
    assert 5 < gain[0] < gain[1]
    last = constrained[-1]
    assert sum(last[f"train/share_case_{i}"] for i in range(5)) == pytest.approx(1)
    assert last["train/kl"] <= 0.01


def test_recovery_brings_the_cost_down() -> None:
    """A policy that drifts out of the slab and stays there: only the cost counts at first."""
    rows = train("cpo", 24_000, push=0.2)
    costs = [row["train/cost_return"] for row in rows]
    assert costs[0] > 30
    assert [row["train/case"] for row in rows[:3]] == [0, 0, 0]
    assert costs[-1] < 0.5 * costs[0]


def test_costs_may_be_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """With costs and limit a millionth as large CPO takes the same steps, to the bit."""
    usual = train("cpo", 9_000, push=0.2)
    size, step = 2.0**-20, make_agent("cpo")._step

    def scaled(self: Any, found: Any) -> Any:
        advantage, costs = found.cost_advantage * size, found.cost_return * size
        return step(self, found._replace(cost_advantage=advantage, cost_return=costs))

    monkeypatch.setattr(make_agent("cpo"), "_step", scaled)
    small = train("cpo", 9_000, push=0.2, cost_limit=5 * size)
    for name in ("case", "kl", "cost_return", "episode_return"):
        assert [row[f"train/{name}"] for row in small] == [row[f"train/{name}"] for row in usual]


def test_several_limits_at_once() -> None:
    """Limits of 5 and of 8: an effort of 16 comes down towards that, and the cost is kept."""
    rows = train("cpo", 18_000, extra_costs=("effort",), extra_limits=(8.0,))
    paid = [[row[f"train/{name}_return"] for name in ("cost", "effort")] for row in rows]
    cost, effort = np.mean(paid[-2:], 0)
    assert paid[0][1] > 15
    assert cost < 6.5
    assert 7 < effort < 12.5
    logged = {name for name in rows[-1] if name.startswith("train/effort_")}
    wanted = ("return", "limit", "change", "s", "nu", "explained_variance")
    assert logged == {f"train/effort_{name}" for name in wanted}
    assert rows[-1]["train/effort_limit"] == 8
    assert rows[0]["train/effort_change"] < 0 < rows[0]["train/effort_s"]
    with pytest.raises(ValueError, match="1 costs and 0 limits"):
        train("cpo", 60, extra_costs=("effort",))


def test_passes_end_where_the_divergence_is_half_above_its_target() -> None:
    """8 passes over 3 minibatches of 3,000 steps are 24, and one where any divergence is too much.

    The first minibatch has none: the policy is still what it was.
    """
    settings: dict[str, Any] = {"value_batch": 1000, "learning_rate": 0.01}
    assert train("ppo_lagrangian", 3_000, target_kl=0.0, **settings)[0]["train/policy_steps"] == 24
    row = train("ppo_lagrangian", 3_000, target_kl=1e-9, **settings)[0]
    assert row["train/policy_steps"] == 1
    assert row["train/kl"] > 1.5e-9
    assert train("ppo_lagrangian", 3_000, target_kl=0.01, **settings)[0]["train/policy_steps"] < 24


def test_shaping_adds_to_the_first_cost_what_is_limited_and_not_what_is_logged() -> None:
    """Costs 1, 0, 1 and a failure; a quarter of probability at alpha = 1/2 adds 1/8 a step."""
    extra = {"extra_costs": ("failure",), "extra_limits": (1.0,)}
    agent: Any = CPO(SPACES, CPO.Config(net_arch=(), shaping=0.5, **extra), device="cpu")
    agent.predictor.fit = lambda *_: 0.0
    agent.predictor.probability = lambda rows: torch.full((len(rows),), 0.25)
    agent._step = Mock(return_value={})
    row = agent.update(rollout(column(1, 0, 1), ((2, 0),)))
    (found,) = agent._step.call_args.args
    assert found.cost_return.tolist() == pytest.approx([2 + 3 / 8, 1])
    assert [row["cost_return"], row["predicted_cost_rate"]] == pytest.approx([2, 1 / 8])


def test_shaping_logs_what_it_adds() -> None:
    rows = train("cpo", 6_000, shaping=0.5)
    assert rows[-1]["train/predicted_cost_rate"] > 0
    assert rows[-1]["train/predictor_loss"] < 0.7


@pytest.mark.parametrize("name", AGENTS)
def test_images_are_refused_in_one_line_that_names_another_agent(name: str) -> None:
    cls = make_agent(name)
    image = Spaces({"image": Box(0, 255, (84, 84, 3), np.uint8)}, Discrete(2), {})
    with pytest.raises(TypeError, match="'image' is an image of 84 x 84 x 3: take ppo") as caught:
        cls(image, device="cpu")
    assert "\n" not in str(caught.value)


def test_scenarios_tell_agents_the_limit_that_they_are_judged_by() -> None:
    limited = [n for n in scenarios.names() if scenarios.load(n).cost_limit is not None]
    group = Group(scenarios=tuple(limited), agents={agent: {} for agent in AGENTS})
    specs = Plan(groups=(group,), seeds=1).specs()
    assert len(specs) == len(limited) * len(AGENTS) >= 16
    for spec in specs:
        assert spec.config["cost_limit"] == spec.cost_limit, (spec.scenario, spec.agent)


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("cpo", {"fisher_stride": 0}, "cpo needs fisher_stride >= 1, got 0"),
        ("cpo", {"delta": 0.0}, "cpo needs delta > 0, got 0.0"),
        ("cpo", {"cg_iterations": 0}, "cpo needs cg_iterations >= 1, got 0"),
        ("pdo", {"cost_limit": math.nan}, "pdo needs cost_limit >= 0, got nan"),
        ("ppo_lagrangian", {"value_epochs": 0}, "ppo_lagrangian needs value_epochs >= 1, got 0"),
        ("trpo_penalty", {"value_batch": 0}, "trpo_penalty needs value_batch >= 1, got 0"),
    ],
)
def test_settings_out_of_their_range_are_refused(
    name: str, wrong: dict[str, Any], told: str
) -> None:
    kind = make_agent(name)
    with pytest.raises(ValueError, match=told):
        kind(SPACES, kind.Config(**wrong), device="cpu")


def test_episodes_longer_than_a_rollout_are_warned_of_once(
    recwarn: pytest.WarningsRecorder,
) -> None:
    lengths = EpisodeLengths(2)
    for _ in range(2):
        lengths.update(rollout(column(1, 2)))
    (said,) = recwarn
    assert "no episode has ended in a rollout of 2 steps" in str(said.message)
    assert "set n_steps to an episode" in str(said.message)
