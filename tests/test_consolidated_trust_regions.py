"""Consolidation within trust regions: the penalty in direction, metric and line search."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from daedalus.agents import make_agent
from daedalus.agents.base import Spaces
from daedalus.agents.consolidation import L2
from daedalus.agents.constrained_network import ConstrainedConfig, Network
from daedalus.agents.cpo import CPO, Solved, lagrangian, refusal
from daedalus.agents.dual import Dual, solve
from daedalus.agents.si import SI
from daedalus.agents.trust_region import LocalModel, Paid, Trial, standardised, trpo_step


def small_model() -> LocalModel:
    """Return a linear Gaussian policy with mean w x + b and sigma 1 on x = (1, 0), (0, 1)."""
    box = gymnasium.spaces.Box(-1.0, 1.0, (2,))
    network = Network(
        Spaces({"obs": box}, gymnasium.spaces.Box(-1.0, 1.0, (1,)), {}),
        ConstrainedConfig(net_arch=(), log_std=0.0),
    )
    with torch.no_grad():
        for parameter in network.policy.parameters():
            parameter.zero_()
    action = torch.tensor([[1.0], [-1.0]])
    return LocalModel(network.policy, torch.eye(2), action, damping=0.5, iterations=10)


HESSIAN = np.array([[2, 0, 0, 0], [0, 0.5, 0, 0.5], [0, 0, 0.5, 0.5], [0, 0.5, 0.5, 1]])
HESSIAN += 0.5 * np.eye(4)
"""Of the divergence by (log sigma, w_1, w_2, b), with the damping; see test_constrained.py."""


def test_a_trust_region_counts_the_penalty_by_hand() -> None:
    """The step maximises g'x - x'Px/2 - lambda x'Hx/2; lambda makes x'(H + P / lambda)x 2 delta."""
    model = small_model()
    importance, anchor = np.array([1.0, 40.0, 0.0, 2.0]), np.array([0.0, 0.0, 0.3, 0.02])
    kept = L2(model.parameters, 3.0)
    kept.put("latest", torch.tensor(importance).float(), torch.tensor(anchor).float())
    advantage = torch.tensor([1.0, -0.5])
    surrogate = model.gradient(advantage).numpy()
    search, metrics = trpo_step(model, advantage, 0.01, kept)
    g = surrogate + 3 * importance * anchor
    multiplier = (g @ np.linalg.solve(HESSIAN, g) / 0.02) ** 0.5
    for _ in range(100):
        direction = np.linalg.solve(HESSIAN + np.diag(3 * importance) / multiplier, g)
        multiplier = (g @ direction / 0.02) ** 0.5
    assert metrics["q"] == pytest.approx(g @ direction, rel=0.02)
    assert search.scale == 1.0
    moved = kept.vector().numpy()
    np.testing.assert_allclose(moved, direction / multiplier, rtol=0.02)
    flat = surrogate + 3 * importance * (anchor - moved)  # the slope where the step ended
    np.testing.assert_allclose(flat, multiplier * HESSIAN @ moved, rtol=0.02)


def test_what_is_not_needed_is_free_to_move() -> None:
    """At the anchor a penalty on w_1 alone holds it, however strong, and lets the others go."""
    for weight in (1e2, 1e6):
        model = small_model()
        kept = L2(model.parameters, weight)
        kept.put("latest", torch.tensor([0.0, 1.0, 0.0, 0.0]), torch.zeros(4))
        search, _ = trpo_step(model, torch.tensor([1.0, -1.0]), 0.01, kept)
        assert search.scale == 1.0
        moved = kept.vector().abs()
        assert moved[1] < 0.1 * moved[2]
        assert float(moved[2]) > 0.01


def test_what_is_needed_everywhere_moves_as_far_as_it_pays() -> None:
    """With a strong penalty on all the step is P^-1 g, and the divergence hardly matters."""
    model = small_model()
    kept = L2(model.parameters, 1e4)
    kept.finish("first", [])
    advantage = torch.tensor([1.0, -1.0])
    g = model.gradient(advantage)
    search, _ = trpo_step(model, advantage, 0.01, kept)
    assert search.scale == 1.0
    torch.testing.assert_close(kept.vector(), g / 1e4, rtol=0.06, atol=1e-7)


@pytest.mark.parametrize("weight", [1e4, 1e6, 1e8])
def test_a_penalty_may_be_as_strong_as_it_likes(weight: float) -> None:
    """Of a network of some hundreds of parameters, all of them held: the step stays finite."""
    box = gymnasium.spaces.Box(-1.0, 1.0, (4,))
    spaces = Spaces({"obs": box}, gymnasium.spaces.Box(-1.0, 1.0, (2,)), {})
    torch.manual_seed(0)
    network = Network(spaces, ConstrainedConfig(net_arch=(32, 16)))
    seen, action = torch.randn(500, 4), torch.randn(500, 2)
    model = LocalModel(network.policy, seen, action, damping=0.01, iterations=10)
    kept = L2(model.parameters, weight)
    kept.finish("first", [])
    before, advantage = kept.vector(), standardised(torch.randn(500))
    g = model.gradient(advantage)
    search, metrics = trpo_step(model, advantage, 0.01, kept)
    assert 0 < metrics["q"] < 1
    moved = kept.vector() - before
    if weight == 1e4:  # beyond, steps are below what numbers of 32 bits resolve
        assert search.scale > 0
        assert float(moved @ g) > 0
    assert float(moved.norm()) < 2 * float(g.norm()) / weight + 1e-6


def solved(above: float, importance: list[float], b: list[float]) -> tuple[Solved, Any, Any, float]:
    """Return CPO's solution on the small model, its metric, its step and the penalty's growth."""
    model = small_model()
    kept = L2(model.parameters, 1e3)
    kept.put("latest", torch.tensor(importance), torch.zeros(4))
    g, costs = torch.tensor([0.0, -1.0, -0.5, 0.0]), [torch.tensor(b)]
    cpo: Any = SimpleNamespace(config=SimpleNamespace(delta=0.01))
    found = CPO._solve(cpo, model, Paid(kept), g, costs, np.array([above]), np.ones(1))
    stiffness = 0.0 if model.stiffness is None else np.diag(model.stiffness.numpy())
    (x_g, x_b), dual = found.natural, found.dual
    step = (-dual.on_gradient * x_g - dual.on_cost[0] * x_b).numpy()
    return found, HESSIAN + stiffness, step, 500 * float(np.array(importance) @ step**2)


@pytest.mark.parametrize("above", [-1.0, -0.01, 0.01])
def test_the_step_of_cpo_in_a_stiff_metric_by_hand(above: float) -> None:
    """Whatever the case, x is the dual's in the metric, and the linear cost is within its limit."""
    b = np.array([0.0, 0.2, 1.0, 0.0])
    found, metric, step, _ = solved(above, [0.0, 1.0, 0.0, 0.0], b.tolist())
    g = np.array([0.0, -1.0, -0.5, 0.0])
    inverse = np.linalg.inv(metric)
    dual = solve_dual(
        g @ inverse @ g, np.array([g @ inverse @ b]), np.array([[b @ inverse @ b]]), above
    )
    assert found.dual.case == dual.case == {-1.0: 3, -0.01: 2, 0.01: 1}[above]
    expected = -inverse @ (dual.on_gradient * g + dual.on_cost[0] * b)
    np.testing.assert_allclose(step, expected, rtol=0.01, atol=1e-6)
    assert above + b @ step <= 1e-4
    assert metric[1, 1] > 100  # w_1 is what the penalty holds


def solve_dual(q: float, r: Any, s: Any, above: float) -> Dual:
    """Return the dual's solution for one constraint."""
    return solve(q, r, s, np.array([above]), 0.01, np.ones(1))


def test_a_limit_within_reach_is_reached_where_the_penalty_holds_what_it_takes() -> None:
    """Only w_1 lowers the cost and only w_1 is held: the metric softens until the limit is met."""
    found, metric, step, paid = solved(0.05, [0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0])
    assert found.dual.case == 1
    assert 0.05 + step[1] <= 1e-5
    assert metric[1, 1] > 1.0  # some stiffness is left
    free, bare, hasty, worse = solved(0.05, [0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0])
    assert free.dual.case == 1
    assert np.allclose(bare, HESSIAN)
    assert paid <= 500 * hasty[1] ** 2 + 1e-6
    assert worse == 0
    out = solved(5.0, [0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0])
    assert out[0].dual.case == 0
    assert np.allclose(out[1], HESSIAN)


def test_a_limit_s_price_belongs_to_what_the_path_integral_sees() -> None:
    loss, b = torch.tensor([1.0, 2.0]), [torch.tensor([3.0, 0.0]), torch.tensor([0.0, 5.0])]
    both = Dual(2, 0.5, (0.5, 1.0), 2.0, (1.0, 2.0), 0.0, 0.0)
    assert lagrangian(both, loss, b).tolist() == [4.0, 12.0]
    parallel = Dual(2, 0.0, (-0.02,), 0.0, (1.0,), 0.0, 0.0)
    assert lagrangian(parallel, loss, b[:1]).tolist() == [4.0, 2.0]
    recovery = Dual(0, 0.0, (0.2, 0.6), 0.0, (0.0, 0.0), 0.0, 0.0)
    assert lagrangian(recovery, loss, b).tolist() == pytest.approx([0.75, 3.75])


@pytest.mark.parametrize("limit", [1e6, 0.0])
def test_cpo_goes_on_beside_a_strong_penalty(limit: float) -> None:
    """Steps are small, not refused; below no limit that can be held the penalty has no say."""
    rows: list[dict[str, float]] = []
    settings: dict[str, Any] = {"delta": 0.05, "cost_limit": limit, "fisher_stride": 1}
    cls = make_agent("cpo")
    config = cls.Config(consolidation="ewc", n_steps=20, net_arch=(16,), **settings)
    agent = cls("daedalus/PointCircle-v0", config, num_envs=2, seed=1, device="cpu").learn(200)
    agent.finish_task("first")
    agent.consolidation.scale = 1e4
    agent.logger.sinks.append(lambda _, row: rows.append(dict(row)))
    agent.learn(400, reset_num_timesteps=False, log_interval=40)
    assert len(rows) == 10
    assert sum(row["train/step_scale"] > 0 for row in rows) >= 8


def test_the_path_integral_of_a_trust_region_by_hand() -> None:
    """Omega = gradient of the surrogate times the move, without the penalty's gradient."""
    model = small_model()
    kept = SI(model.parameters, 1.0, 0.1)
    kept.put("latest", torch.ones(4), torch.full((4,), 0.1))
    advantage = torch.tensor([1.0, -1.0])
    gradient = model.gradient(advantage)
    search, _ = trpo_step(model, advantage, 0.01, kept)
    assert search.scale > 0
    torch.testing.assert_close(kept.omega, gradient * kept.vector())


def test_a_limit_is_kept_beside_a_penalty() -> None:
    """CPO's step to lower a cost is taken whatever the penalty; the reward's must pay for it."""
    rewards, costs = torch.tensor([1.0, -1.0]), torch.tensor([[1.0, -1.0]])
    trial = Trial(0.005, torch.tensor([1.1, 0.9]), torch.zeros(2, 1))
    gain = float((trial.ratio * rewards).mean())
    below, above = np.array([-1.0]), np.array([1.0])
    assert refusal(trial, 2, gain - 0.09, costs, below, 0.01) == ""
    assert refusal(trial, 2, gain - 0.11, costs, below, 0.01) == "reward"
    assert refusal(trial, 1, gain - 0.11, -costs, above, 0.01) == ""
