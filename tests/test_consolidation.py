"""EWC, SI and L2: what they compute and the pitfalls of each, by hand; agents that carry them."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest
import torch
from torch import Tensor, nn

from daedalus.accelerators.rollout import Rollout
from daedalus.agents import make_agent
from daedalus.agents.actor_critic import ActorCritic, Config
from daedalus.agents.base import Agent
from daedalus.agents.consolidation import L2, Consolidation, consolidation_from
from daedalus.agents.ewc import (
    EWC,
    batch_gradient_fisher,
    categorical_outcomes,
    diagonal_fisher,
    fisher_overlap,
)
from daedalus.agents.optimizers import RMSProp
from daedalus.agents.policy_fisher import drawn_steps, rollout_likelihoods
from daedalus.agents.si import SI


def numbers(*values: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(values, dtype=torch.float64))


def descend(
    p: nn.Parameter, kept: Consolidation, loss: Any, rate: float, steps: int
) -> list[float]:
    """Take plain gradient steps; return the losses, without the penalty, before each."""
    optimizer, seen = torch.optim.SGD([p], lr=rate), []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        seen.append(value.item())
        kept.before_step()
        optimizer.step()
        kept.after_step()
    return [*seen, loss().item()]


# ------------------------------------------------------------------------------- Fisher information


def bernoulli(w: nn.Parameter, x: float, generator: torch.Generator | None = None) -> Any:
    """A logistic regression: p = sigmoid(w x)."""
    logits = torch.stack([w.sum() * x, torch.zeros((), dtype=w.dtype)])
    return list(categorical_outcomes(logits, generator))


def test_fisher_of_a_logistic_regression_by_hand() -> None:
    """F = mean of p (1 - p) x^2: with w = log 3, x = 1 and -2, p is 3/4 and 1/10.

    (3/16 * 1 + 9/100 * 4) / 2 = (0.1875 + 0.36) / 2 = 0.27375, a mean over samples.
    """
    w = numbers(math.log(3))
    exact = diagonal_fisher([w], [bernoulli(w, 1.0), bernoulli(w, -2.0)])
    assert exact.item() == pytest.approx(0.27375, rel=1e-9)
    generator = torch.Generator().manual_seed(0)
    drawn = (bernoulli(w, x, generator) for _ in range(1500) for x in (1.0, -2.0))
    assert diagonal_fisher([w], drawn).item() == pytest.approx(0.27375, rel=0.1)


def test_squared_batch_gradients_are_not_the_fisher_information() -> None:
    """Gradients of +1/2 and -1/2 cancel in a batch: 0 where the mean of their squares is 1/4."""
    w = numbers(0.0)
    log_p = torch.stack([outcome for _, outcome in bernoulli(w, 1.0)])
    assert batch_gradient_fisher([w], [log_p]).item() == 0
    singles = [[(1.0, outcome)] for outcome in (bernoulli(w, 1.0)[0][1], bernoulli(w, 1.0)[1][1])]
    assert diagonal_fisher([w], singles).item() == pytest.approx(0.25)


def test_squared_batch_gradients_are_too_small_by_the_batch_size() -> None:
    """Drawn from the model, gradients have mean 0 and variance F: a mean of 64 has F / 64."""
    w, generator = numbers(0.3), torch.Generator().manual_seed(0)
    batches = [
        torch.stack([bernoulli(w, 1.0, generator)[0][1] for _ in range(64)]) for _ in range(60)
    ]
    exact = diagonal_fisher([w], [bernoulli(w, 1.0)])
    ratio = float(batch_gradient_fisher([w], batches) / exact)
    assert 1 / 64 / 2 < ratio < 2 / 64


def test_outcomes_of_a_softmax_sum_to_one() -> None:
    outcomes = list(categorical_outcomes(torch.tensor([0.0, 1.0, -2.0])))
    assert sum(weight for weight, _ in outcomes) == pytest.approx(1.0)
    assert sum(log.exp().item() for _, log in outcomes) == pytest.approx(1.0)


def test_heads_that_a_task_does_not_use_are_free_and_old_heads_are_not() -> None:
    """The Fisher information of task A is 0 at the head of B, and positive at its own."""
    body, heads = nn.Linear(2, 3), nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
    parameters = [*body.parameters(), *heads.parameters()]
    x = torch.tensor([0.5, -1.0])
    fisher = diagonal_fisher(parameters, [list(categorical_outcomes(heads[0](body(x).tanh())))])
    inside, first, second = fisher.split([9, 8, 8])
    assert inside.sum() > 0
    assert first.sum() > 0
    assert second.sum() == 0


def test_no_sample_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        diagonal_fisher([numbers(1.0)], [])


def test_overlap_by_hand() -> None:
    """Proportional 1, disjoint 0; (1, 1) and (1, 0): 1 - ((s - 1)^2 + s^2) / 2 = s = sqrt(1/2)."""
    a, b = torch.tensor([1.0, 1.0]), torch.tensor([1.0, 0.0])
    assert fisher_overlap(a, 3 * a) == pytest.approx(1.0)
    assert fisher_overlap(b, 1 - b) == pytest.approx(0.0)
    assert fisher_overlap(a, b) == pytest.approx(math.sqrt(0.5), rel=1e-6)


def test_the_overlap_is_of_the_two_latest_tasks_even_if_one_came_again() -> None:
    """F is (1, 0) for b and a, and (0, 1) for c: a and b need the same, c shares with neither."""
    p = numbers(1.0, 1.0)
    kept, again = EWC([p], 1.0), EWC([p], 1.0)
    for task, needed in (("b", [1.0, 0.0]), ("c", [0.0, 1.0]), ("a", [1.0, 0.0])):
        kept.finish(task, [[(1.0, (torch.tensor(needed) * p).sum())]])
    assert kept.metrics()["fisher_overlap"]().item() == pytest.approx(0.0)  # type: ignore[operator]
    kept.finish("b", [[(1.0, (torch.tensor([1.0, 0.0]) * p).sum())]])
    again.set_state(dict(sorted(kept.get_state().items())))  # as files have it
    for consolidation in (kept, again):
        assert list(consolidation.terms) == ["c", "a", "b"]
        overlap = consolidation.metrics()["fisher_overlap"]()  # type: ignore[operator]
        assert overlap.item() == pytest.approx(1.0)


# -------------------------------------------------------------------------------------- penalties


def test_the_penalty_has_one_half_lambda() -> None:
    """lambda/2 F d^2 = 10/2 * 0.25 * 4 = 5, gradient lambda F d = 10 * 0.25 * 2 = 5."""
    w = numbers(0.0)
    kept = EWC([w], weight=10.0)
    kept.finish("a", [bernoulli(w, 1.0)])
    with torch.no_grad():
        w.fill_(2.0)
    assert kept.penalty().item() == pytest.approx(5.0)
    assert kept.gradient().item() == pytest.approx(5.0)


def two_terms(w: nn.Parameter, kept: EWC, names: tuple[str, str]) -> None:
    """Finish tasks at 0 with F = 1/4 and at log 3 with F = 3/16."""
    for name, place in zip(names, (0.0, math.log(3)), strict=True):
        with torch.no_grad():
            w.fill_(place)
        kept.finish(name, [bernoulli(w, 1.0)])


def test_tasks_keep_their_own_anchors() -> None:
    """At 1: 1/2 (1/4 * 1^2 + 3/16 (1 - log 3)^2), the least at the precision-weighted mean."""
    w = numbers(0.0)
    kept = EWC([w], weight=1.0)
    kept.finish("a", [bernoulli(w, 1.0)])
    assert kept.penalty().item() == 0.0  # what was summed up then is not what counts later
    two_terms(w, kept, ("a", "b"))
    with torch.no_grad():
        w.fill_(1.0)
    away = 1 - math.log(3)
    assert kept.penalty().item() == pytest.approx(0.5 * (0.25 + 0.1875 * away**2))
    assert kept.gradient().item() == pytest.approx(0.25 + 0.1875 * away)
    (importance, anchor), _ = kept.total()
    assert importance.item() == pytest.approx(0.4375)
    assert anchor.item() == pytest.approx(0.1875 * math.log(3) / 0.4375)
    other = EWC([w], weight=1.0)
    other.finish("c", [bernoulli(w, 1.0)])
    assert other.penalty().item() == 0.0
    other.set_state(kept.get_state())
    assert other.penalty().item() == kept.penalty().item()


def test_a_task_that_comes_again_is_not_counted_twice() -> None:
    w = numbers(0.0)
    kept = EWC([w], weight=1.0)
    two_terms(w, kept, ("a", "a"))
    assert list(kept.terms) == ["a"]
    assert kept.total()[0].importance.item() == pytest.approx(0.1875)


def test_the_online_form_has_one_anchor_and_forgets_by_gamma() -> None:
    w = numbers(0.0)
    kept = EWC([w], weight=1.0, decay=0.5)
    two_terms(w, kept, ("a", "b"))
    (importance, anchor), least = kept.total()
    assert importance.item() == pytest.approx(0.5 * 0.25 + 0.1875)
    assert anchor.item() == pytest.approx(math.log(3))
    assert least == 0


def test_parameters_that_no_task_needs_are_free() -> None:
    """No importance: no gradient and no nan where the anchor's weights sum to 0."""
    p = numbers(1.0, 1.0)
    kept = EWC([p], weight=4.0)
    kept.put("a", torch.tensor([0.5, 0.0]).double(), torch.zeros(2).double())
    assert kept.gradient().tolist() == [2.0, 0.0]
    assert kept.penalty().item() == pytest.approx(1.0)
    distance: Any = kept.metrics()["consolidation_distance"]
    assert distance().item() == pytest.approx(1.0)


def test_a_strong_penalty_breaks_plain_descent_but_not_the_agents_optimiser() -> None:
    """Rate times lambda F is 4 > 2: plain steps triple the distance, those of RMSProp are short."""
    places = []
    for make in (lambda p: torch.optim.SGD([p], lr=0.1), lambda p: RMSProp([p], 0.1)):
        p = nn.Parameter(torch.tensor([1.0]))
        kept = EWC([p], weight=40.0)
        kept.put("a", torch.ones(1), torch.zeros(1))
        optimizer = make(p)
        for _ in range(5):
            optimizer.zero_grad()
            kept.before_step()
            optimizer.step()
        places.append(p.item())
    assert places[0] == pytest.approx((-3.0) ** 5)
    assert abs(places[1]) < 1.0


def test_l2_pulls_everything_to_the_latest_anchor() -> None:
    """3/2 (1 + 4) around the second of two anchors."""
    p = numbers(5.0, 5.0)
    kept = L2([p], 3.0)
    for place in (5.0, -1.0):
        with torch.no_grad():
            p.fill_(place)
        kept.finish("any", [])
    with torch.no_grad():
        p.copy_(torch.tensor([0.0, 1.0]))
    assert kept.penalty().item() == pytest.approx(7.5)
    assert kept.gradient().tolist() == [3.0, 6.0]


# --------------------------------------------------------------------------------------------- SI

HESSIAN = torch.tensor([4.0, 1.0], dtype=torch.float64)


def on_a_quadratic(rate: float = 3e-3, steps: int = 2500) -> tuple[nn.Parameter, SI, list[float]]:
    """Descend 1/2 (4 a^2 + b^2) from (1, -2): a loss of 4."""
    p = numbers(1.0, -2.0)
    kept = SI([p], weight=1.0, damping=1e-9)
    losses = descend(p, kept, lambda: 0.5 * (HESSIAN * p.square()).sum(), rate, steps)
    return p, kept, losses


def test_the_path_integral_is_the_fall_of_the_loss() -> None:
    _, kept, losses = on_a_quadratic()
    assert losses[0] == pytest.approx(4.0)
    assert kept.omega.sum().item() == pytest.approx(losses[0] - losses[-1], rel=0.01)


def test_a_diagonal_hessian_comes_back_up_to_one_half() -> None:
    """It is omega / Delta^2 = H / 2; so with c = 1 the penalty is the quadratic itself."""
    p, kept, _ = on_a_quadratic(steps=4000)
    kept.finish("a", [])
    torch.testing.assert_close(kept.terms["latest"].importance, HESSIAN / 2, rtol=0.01, atol=0)
    with torch.no_grad():
        p.copy_(torch.tensor([1.0, -2.0]))
    assert kept.penalty().item() == pytest.approx(4.0, rel=0.01)


def test_the_path_integral_takes_the_gradient_of_the_loss_alone() -> None:
    """A step of -0.1 (1 + penalty's 8): omega is 1 * 0.9, where the whole gradient gives 8.1."""
    p = numbers(2.0)
    kept = SI([p], weight=1.0, damping=1.0)
    kept.put("latest", torch.tensor([2.0]).double(), torch.zeros(1).double())
    descend(p, kept, lambda: p.sum(), rate=0.1, steps=1)
    assert p.item() == pytest.approx(2.0 - 0.1 * (1 + 2 * 1 * 2 * 2))
    assert kept.omega.item() == pytest.approx(0.9)


def test_the_path_integral_takes_the_move_that_was_made() -> None:
    """Adam's first move is its rate, whatever the gradient: 10 * 0.1, not rate * 10^2."""
    p = numbers(0.0)
    kept = SI([p], weight=1.0, damping=1.0)
    optimizer = torch.optim.Adam([p], lr=0.1)
    (10.0 * p.sum()).backward()
    kept.before_step()
    optimizer.step()
    kept.after_step()
    assert kept.omega.item() == pytest.approx(1.0, rel=1e-6)


def test_the_path_integral_takes_the_gradient_before_clipping_and_the_move_after_it() -> None:
    """Loss 3 a + 4 b, clipped from norm 5 to 1, rate 0.1: moves -0.06 and -0.08.

    Omega is 3 * 0.06 and 4 * 0.08. With both clipped it would be 0.036 and 0.064, with neither 0.9
    and 1.6.
    """
    p = numbers(0.0, 0.0)
    kept = SI([p], weight=1.0, damping=1.0)
    optimizer = torch.optim.SGD([p], lr=0.1)
    (torch.tensor([3.0, 4.0]) * p).sum().backward()
    kept.before_step()
    nn.utils.clip_grad_norm_([p], 1.0)
    optimizer.step()
    kept.after_step()
    assert kept.omega.tolist() == pytest.approx([0.18, 0.32], rel=1e-5)


def test_a_parameter_that_came_back_is_important_and_not_all_important() -> None:
    """Out by 1 down a slope of 2 and back on the flat: Delta = 0, so 2 / (0 + 0.1) = 20.

    One that never moved has 0 / 0.1, and not 0 / 0. The default damping is one of the paper's.
    """
    p = numbers(0.0, 5.0)
    kept = SI([p], weight=1.0, damping=0.1)
    for move, gradient in ((1.0, -2.0), (-1.0, 0.0)):
        p.grad = torch.tensor([gradient, 0.0]).double()
        kept.before_step()
        with torch.no_grad():
            p.add_(torch.tensor([move, 0.0]))
        kept.after_step()
    kept.finish("a", [])
    assert kept.terms["latest"].importance.tolist() == pytest.approx([20.0, 0.0])
    assert Config().si_damping == 0.1
    with pytest.raises(ValueError, match="si_damping must be positive, got 0"):
        SI([p], weight=1.0, damping=0.0)


def test_what_raised_the_loss_has_no_importance() -> None:
    """One coordinate falls, one is dragged uphill: (3 * 1, -2 * 1) / (1 + 1) -> (1.5, 0)."""
    p = numbers(0.0, 0.0)
    kept = SI([p], weight=1.0, damping=1.0)
    (torch.tensor([-3.0, 2.0]) * p).sum().backward()
    kept.before_step()
    with torch.no_grad():
        p.add_(1.0)
    kept.after_step()
    assert kept.omega.tolist() == [3.0, -2.0]
    kept.finish("a", [])
    assert kept.terms["latest"].importance.tolist() == [1.5, 0.0]


def test_importance_adds_up_and_each_task_has_its_own_path() -> None:
    """Delta is from the start of the task: 2 / (1 + 1) after 0 -> 1, then 4 / (4 + 1) to 3."""
    p = numbers(0.0)
    kept = SI([p], weight=1.0, damping=1.0)
    seen = []
    for move, gradient in ((1.0, -2.0), (1.0, -2.0), (1.0, -2.0)):
        p.grad = torch.tensor([gradient]).double()
        kept.scale = 0.0  # the path of the loss alone
        kept.before_step()
        with torch.no_grad():
            p.add_(move)
        kept.after_step()
        if p.item() in (1.0, 3.0):
            kept.finish("any", [])
            seen.append(kept.terms["latest"].importance.item())
    assert seen == pytest.approx([1.0, 1.0 + 4 / 5])
    assert kept.terms["latest"].anchor.item() == 3.0


@pytest.mark.parametrize("name", ["ewc", "online_ewc", "si", "l2"])
def test_the_state_is_all_there_is(name: str) -> None:
    p = numbers(0.5, -0.5)
    config = Config(consolidation=name)
    first = consolidation_from(config, [p])
    assert first is not None
    descend(p, first, lambda: p.square().sum(), 0.1, 3)
    outcomes: list[tuple[float, Tensor]] = list(categorical_outcomes(p))
    first.finish("a", [outcomes])
    descend(p, first, lambda: (p - 1).square().sum(), 0.1, 3)
    again = consolidation_from(config, [p])
    assert again is not None
    again.set_state(first.get_state())
    for kept in (first, again):
        kept.finish("b", [list(categorical_outcomes(p))])
    assert first.get_state().keys() == again.get_state().keys()
    for key, value in first.get_state().items():
        assert torch.equal(value, again.get_state()[key]), key


# ---------------------------------------------------------------------------------------- in agents

SMALL: dict[str, Any] = {"hidden": 16, "lstm": 0, "n_steps": 5, "fisher_samples": 32}
CATCH = "daedalus/Catch-v0"


def made(name: str = "actor_critic", **settings: Any) -> Any:
    cls = make_agent(name)
    extra = {"pixel_control": 0.0, "replay_length": 100, "replay_start": 20}
    extra = extra if name == "unreal" else {}
    config = cls.Config(**(SMALL | extra | settings))
    return cls(CATCH, config, num_envs=4, seed=1, device="cpu")


@pytest.mark.parametrize("lstm", [0, 8])
@pytest.mark.parametrize("exact", [True, False])
def test_the_fisher_information_of_an_agent_is_that_of_its_policy_and_value(
    lstm: int, exact: bool
) -> None:
    """The last layer's biases by hand: E[pi (1 - pi)] for each action, c_v / 2 for the value."""
    weights: dict[str, Any] = {"value_weight": 0.25, "fisher_value": 0.5}
    agent = made(lstm=lstm, fisher_exact=exact, consolidation="ewc", **weights).learn(40)
    rollout, network = agent.collector.collect(5), agent.learner.network
    parameters = [network.actor.bias, network.critic.bias]
    generator = torch.Generator().manual_seed(0)
    samples = rollout_likelihoods(agent.learner, rollout, 400, generator)
    fisher = diagonal_fisher(parameters, samples)
    with torch.no_grad():
        inputs = rollout.inputs.at(slice(-1))
        policy = network.unroll(inputs, rollout.initial_state).policy.softmax(-1)
    expected = (policy * (1 - policy)).mean((0, 1))
    torch.testing.assert_close(fisher[:3], expected, rtol=0.02 if exact else 0.2, atol=0)
    assert fisher[3].item() == pytest.approx(0.125)


def test_a_recurrent_step_is_seen_with_what_came_before() -> None:
    """By itself each step says what it said in the rollout, in which episodes go on and end."""
    agent = made(lstm=8, n_steps=12)
    agent.collector.collect(12)
    rollout, network = agent.collector.collect(12), agent.learner.network
    assert len(rollout.final_index)
    assert all(value.any() for value in rollout.initial_state.values())
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    with torch.no_grad():
        network.actor.weight.mul_(100.0)
        whole = network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state)
        said = rollout_likelihoods(agent.learner, rollout, 8, generators[0])
        for (t, b), outcomes in zip(drawn_steps(rollout, 8, generators[1]), said, strict=True):
            policy = torch.stack([log_pi for _, log_pi in outcomes[:-1]])
            torch.testing.assert_close(policy, whole.policy[t, b].log_softmax(-1))
            torch.testing.assert_close(outcomes[-1][1], whole.value[t, b])
    assert whole.value.std() > 1e-4


def test_steps_that_only_reset_are_not_drawn() -> None:
    """Of two by two one counts; a rollout may have none, as one of a single step."""
    rollout: Any = SimpleNamespace(valid=torch.tensor([[False, False], [True, False]]))
    generator = torch.Generator().manual_seed(0)
    assert [[t, b] for t, b in drawn_steps(rollout, 3, generator)] == [[1, 0]] * 3
    rollout.valid[:] = False
    assert list(drawn_steps(rollout, 3, generator)) == []


@pytest.mark.parametrize("name", ["actor_critic", "unreal", "pgq"])
@pytest.mark.parametrize("method", ["ewc", "si"])
def test_an_agent_with_consolidation_goes_on_bit_for_bit(
    name: str, method: str, tmp_path: Path
) -> None:
    whole = made(name, consolidation=method).learn(100)
    whole.finish_task("first")
    whole.set_env(CATCH, env_kwargs={"flipped": True})
    whole.learn(60, reset_num_timesteps=False)
    whole.save(tmp_path / "half")
    second = gymnasium.make_vec(CATCH, 4, "vector_entry_point", flipped=True)
    again = make_agent(name).load(tmp_path / "half", env=second, device="cpu")
    assert again.finished_tasks == ["first"]
    for agent in (whole, again):
        agent.learn(60, reset_num_timesteps=False)
        agent.finish_task("second")
        agent.learn(40, reset_num_timesteps=False)
    assert torch.equal(whole.learner.optimizer.vector, again.learner.optimizer.vector)
    for key, value in whole.consolidation.get_state().items():
        assert torch.equal(value, again.consolidation.get_state()[key]), key


def first_rollout(agent: Any, copies: int = 1) -> Rollout:
    """Return the first steps of Catch, in which no episode ends; every environment repeated."""
    found: Rollout = agent.collector.collect(5)
    assert not len(found.final_index)
    names = ["action", "reward", "terminated", "truncated", "valid", "episode_start"]
    names += ["previous_action", "previous_reward", "cost"]
    arrays: dict[str, Any] = {name: torch.cat([getattr(found, name)] * copies, 1) for name in names}
    seen = {name: torch.cat([value] * copies, 1) for name, value in found.observation.items()}
    return found._replace(**arrays, observation=seen)


def test_in_an_agent_the_path_integral_is_of_what_clipping_left_of_the_step() -> None:
    """The gradient is that of an agent that never clips; the move is the agent's own."""
    gradients, agents = [], []
    for norm in (0.0, 1e-3):
        agent = made(consolidation="si", max_gradient_norm=norm, rmsprop_epsilon=0.1)
        before = agent.learner.optimizer.vector.clone()
        agent.update(first_rollout(agent))
        gradients.append(agent.learner.optimizer.gradient.clone())
        agents.append((agent.consolidation.omega, agent.learner.optimizer.vector - before))
    omega, move = agents[1]
    assert gradients[1].norm() < 0.02 * gradients[0].norm()
    torch.testing.assert_close(omega, -gradients[0] * move, rtol=1e-4, atol=1e-12)
    assert 0 < omega.sum() < 0.05 * agents[0][0].sum()


def test_the_path_integral_does_not_grow_with_the_number_of_environments() -> None:
    """Losses are means over environments: each of them twice gives the same omega, not twice it."""
    found = []
    for copies in (1, 2):
        agent = made(consolidation="si", reuse_acting=False)
        agent.update(first_rollout(agent, copies))
        found.append(agent.consolidation.omega)
    assert found[0].sum() > 0
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-8)


def test_without_weight_it_is_the_plain_agent() -> None:
    vectors = []
    off: dict[str, Any] = {"consolidation": "si", "consolidation_weight": 0.0}
    for settings in ({}, off):
        agent = made(**settings).learn(60)
        agent.finish_task("a")
        agent.learn(60, reset_num_timesteps=False)
        vectors.append(agent.learner.optimizer.vector)
    assert torch.equal(*vectors)


def test_an_enormous_weight_leaves_the_agent_where_it_was() -> None:
    """And so the penalty reaches the step that the agent takes; a plain one moves on."""
    moved = []
    for method in ("none", "l2"):
        agent = made(consolidation=method, consolidation_weight=1e6).learn(60)
        agent.finish_task("a")
        before = agent.learner.optimizer.vector.clone()
        agent.learn(400, reset_num_timesteps=False)
        moved.append(float((agent.learner.optimizer.vector - before).norm()))
    assert moved[1] < 0.5 * moved[0]


def test_the_end_of_a_task_starts_optimiser_replay_and_annealing_anew() -> None:
    agent = made("pgq", replay_length=100, replay_start=20).learn(100)
    assert agent.progress == 1.0
    agent.finish_task("a")
    optimizer = agent.learner.optimizer
    assert agent.progress == 1.0
    assert agent.replay.count == 0
    assert all(not v.any() for s in optimizer.state.values() for v in s.values())
    agent.total_timesteps = 300
    assert agent.progress == 0.0
    agent.num_timesteps = 200
    assert agent.progress == 0.5


def test_the_end_of_a_task_empties_a_replay_of_single_steps() -> None:
    """What is drawn afterwards is of the new task alone: rewards of 7 among those of -1, 0, 1."""
    cls = make_agent("iql")
    config = cls.Config(n_steps=5, hidden=8, learning_starts=20, batch_size=200)
    agent = cls(CATCH, config, num_envs=4, seed=1, device="cpu").learn(100)
    assert agent.replay.count == 100
    agent.finish_task("a")
    assert agent.replay.count == 0
    rollout = agent.collector.collect(5)
    agent.update(rollout._replace(reward=torch.full((5, 4), 7.0)))
    assert agent.replay.count == 20
    drawn = agent.replay.sample(200, agent.rng)
    assert drawn["reward"].unique().tolist() == [7.0]


def test_what_does_not_fit_is_said_in_one_line() -> None:
    with pytest.raises(ValueError, match="none, l2, ewc, online_ewc or si, got 'evc'"):
        made(consolidation="evc")
    with pytest.raises(ValueError, match="all tasks need the same spaces"):
        made().set_env("CartPole-v1")

    class Mute(ActorCritic):
        likelihoods = Agent.likelihoods

    agent = Mute(CATCH, Config(**SMALL, consolidation="ewc"), num_envs=2, device="cpu")
    with pytest.raises(ValueError, match="take consolidation si or l2"):
        agent.finish_task("a")


def test_actor_critic_of_other_classes_is_untouched() -> None:
    assert ActorCritic(CATCH, Config(**SMALL), num_envs=2, device="cpu").consolidation is None
