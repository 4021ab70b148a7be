"""The step of constrained policy optimisation against hand counts and a generic solver."""

from __future__ import annotations

import math

import numpy as np
import pytest

from daedalus.agents.dual import Dual, solve

DELTA = 0.01
RADIUS = 2 * DELTA
MARGIN = 2e-2
"""Problems with less room than this, in units of |b| sqrt(0.02), are not compared."""


def one(q: float, r: float, s: float, c: float) -> Dual:
    return several(q, np.array([r]), np.array([[s]]), np.array([c]))


def several(q: float, r: np.ndarray, s: np.ndarray, c: np.ndarray) -> Dual:
    return solve(q, r, s, c, DELTA, np.ones(len(c)))


# ----------------------------------------------------------------- each case, counted by hand
# H = 1 in the plane and g = (1, 0): x = -on_gradient g - on_cost b, and |x|^2 <= 0.02.


def test_case_4_without_a_slope_of_the_cost_it_is_trpo() -> None:
    """|x| = sqrt(0.02) against g, however far above the limit; a slope of rounding is none."""
    for c, s in ((-1.0, 0.0), (0.0, 0.0), (3.0, 0.0), (3.0, 1e-9)):
        found = one(q=1.0, r=0.0, s=s, c=c)
        assert found.case == 4
        assert found.on_gradient == pytest.approx(math.sqrt(0.02))
        assert found.on_cost == (0.0,)


def test_case_3_the_limit_is_out_of_reach() -> None:
    """With b = (-1, 0), c = -1: within |x| <= 0.14 the cost can rise by 0.14 only."""
    found = one(q=1.0, r=-1.0, s=1.0, c=-1.0)
    assert found.case == 3
    assert found.on_gradient == pytest.approx(math.sqrt(0.02))
    assert found.nu == (0.0,)


def test_case_2_the_limit_cuts_through_the_trust_region() -> None:
    """With b = (0, 1), c = -0.1: the cost does not mind, so the step is TRPO's and nu = 0."""
    found = one(q=1.0, r=0.0, s=1.0, c=-0.1)
    assert found.case == 2
    assert found.on_gradient == pytest.approx(math.sqrt(0.02))
    assert found.nu[0] == 0.0


def test_case_2_with_an_active_limit() -> None:
    """With b = (-0.6, 0.8), c = -0.06, delta' = 0.02.

    On the border b'x = 0.06: x = 0.06 b + t (-0.8, -0.6) with t^2 = 0.02 - 0.0036 = 0.0164.
    """
    found = one(q=1.0, r=-0.6, s=1.0, c=-0.06)
    x = -found.on_gradient * np.array([1, 0]) - found.on_cost[0] * np.array([-0.6, 0.8])
    t = math.sqrt(0.0164)
    assert found.case == 2
    assert x == pytest.approx([-0.036 - 0.8 * t, 0.048 - 0.6 * t])
    assert pytest.approx(0.64) == found.A
    assert pytest.approx(0.0164) == found.B


def test_case_1_back_below_the_limit() -> None:
    """With b = (0, 1), c = 0.1: x_2 = -0.1; the rest, sqrt(0.02 - 0.01), goes against g."""
    found = one(q=1.0, r=0.0, s=1.0, c=0.1)
    assert found.case == 1
    assert [found.on_gradient, found.on_cost[0]] == pytest.approx([0.1, 0.1])
    assert [found.lam, found.nu[0]] == pytest.approx([10.0, 1.0])


def test_case_0_only_the_cost_matters() -> None:
    """With b = (0, 2), c = 1: |x| = sqrt(0.02) straight down b, so on_cost = sqrt(0.02 / 4)."""
    found = one(q=1.0, r=0.0, s=4.0, c=1.0)
    assert (found.case, found.on_gradient) == (0, 0.0)
    assert found.on_cost[0] == pytest.approx(math.sqrt(0.005))


def test_exactly_at_the_limit() -> None:
    """With c = 0 TRPO where that lowers the cost (r > 0), else along the limit."""
    down = one(q=1.0, r=0.6, s=1.0, c=0.0)
    assert down.on_gradient == pytest.approx(math.sqrt(0.02))
    assert down.on_cost == (0.0,)
    along = one(q=1.0, r=-0.6, s=1.0, c=0.0)
    x = -along.on_gradient * np.array([1, 0]) - along.on_cost[0] * np.array([-0.6, 0.8])
    assert x == pytest.approx(math.sqrt(0.02) * np.array([-0.8, -0.6]))


@pytest.mark.parametrize("c", [-0.1, 0.0, 0.1, math.sqrt(0.02) * (1 - 1e-12), 5.0])
@pytest.mark.parametrize(
    ("q", "r", "s"), [(1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)]
)
def test_parallel_and_vanishing_gradients_give_finite_steps(
    q: float, r: float, s: float, c: float
) -> None:
    found = one(q, r, s, c)
    g, b = (math.sqrt(q), 0.0) if r >= 0 else (-math.sqrt(q), 0.0), (math.sqrt(s), 0.0)
    x = -found.on_gradient * np.array(g) - found.on_cost[0] * np.array(b)
    assert np.isfinite(x).all()
    assert x @ x <= RADIUS * (1 + 1e-9)
    if found.case in (1, 2, 3):
        assert c + x @ b <= 1e-9


# ----------------------------------------------------------------- against a generic solver


def problems(count: int, constraints: int, size: int = 4) -> tuple[np.ndarray, ...]:
    """Draw g (N, P), b (N, K, P), H (N, P, P), c (N, K) over all cases."""
    rng = np.random.default_rng(0)
    g, b = rng.normal(size=(count, size)), rng.normal(size=(count, constraints, size))
    root = rng.normal(size=(count, size, size))
    hessian = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(size)
    slope = np.linalg.solve(hessian, b.transpose(0, 2, 1))
    reach = np.sqrt(RADIUS * np.einsum("nkp,npk->nk", b, slope))
    return g, b, hessian, rng.uniform(-1.3, 1.3, (count, constraints)) * reach


def closed_form(
    g: np.ndarray, b: np.ndarray, hessian: np.ndarray, c: np.ndarray, sign: float = 1.0
) -> tuple[np.ndarray, int]:
    """Return the step and the case; ``sign=-1`` is the well-known mistake."""
    x_g, x_b = np.linalg.solve(hessian, g), np.linalg.solve(hessian, b.T)
    found = solve(float(g @ x_g), sign * (b @ x_g), b @ x_b, c, DELTA, np.ones(len(c)))
    return -found.on_gradient * x_g - x_b @ np.array(found.on_cost), found.case


def follow_barrier(
    slope: np.ndarray,
    b: np.ndarray,
    ball: np.ndarray,
    c: np.ndarray,
    x: np.ndarray,
    stages: int,
) -> np.ndarray:
    """Minimise slope'x under c + b'x <= 0 and x'(ball)x <= 0.02, for N problems at once.

    Newton's method on w slope'x - sum log(-(c + b'x)) - log(0.02 - x'(ball)x) for growing w
    (Boyd and Vandenberghe 2004, chapter 11), from points ``x`` (N, P) strictly inside. It knows
    nothing of duals or cases.
    """

    def value(x: np.ndarray, weight: float) -> np.ndarray:
        left = -(c + np.einsum("nkp,np->nk", b, x))
        inside = RADIUS - np.einsum("np,npq,nq->n", x, ball, x)
        safe = (left > 0).all(1) & (inside > 0)
        logs = np.log(np.where(left > 0, left, 1)).sum(1) + np.log(np.where(inside > 0, inside, 1))
        return np.where(safe, weight * (slope * x).sum(1) - logs, np.inf)

    for weight in 10.0 * 6.0 ** np.arange(stages):
        for _ in range(40):
            left = -(c + np.einsum("nkp,np->nk", b, x))
            curve = np.einsum("npq,nq->np", ball, x)
            inside = (RADIUS - (x * curve).sum(1))[:, None]
            gradient = weight * slope + np.einsum("nk,nkp->np", 1 / left, b) + 2 * curve / inside
            second = np.einsum("nk,nkp,nkq->npq", left**-2, b, b) + 2 * ball / inside[..., None]
            second += 4 * np.einsum("np,nq->npq", curve, curve) / inside[..., None] ** 2
            step = -np.linalg.solve(second, gradient[..., None])[..., 0]
            before, fall = value(x, weight), (gradient * step).sum(1)
            if fall.min() > -1e-6:
                break
            length = np.ones(len(x))
            for _ in range(40):
                short = value(x + length[:, None] * step, weight) > before + 0.1 * length * fall
                if not short.any():
                    break
                length = np.where(short, length / 2, length)
            x = np.where(short[:, None], x, x + length[:, None] * step)
    return x


def interior_points(
    g: np.ndarray, b: np.ndarray, hessian: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return solutions (N, P) and the least violation there is (N,), negative where allowed.

    The first phase minimises t under c + b'x <= t; the second starts from its result. Problems
    without an allowed point are solved with their limits moved until there are some.
    """
    count, size = g.shape
    unit = np.linalg.norm(b, axis=2) * math.sqrt(RADIUS)
    b, c = b / unit[..., None], c / unit
    ones = np.ones((*c.shape, 1))
    ball = np.zeros((count, size + 1, size + 1))
    ball[:, :size, :size] = hessian
    start = np.zeros((count, size + 1))
    start[:, -1] = c.max(1) + 1
    down = np.eye(size + 1)[-1] * np.ones((count, 1))
    found = follow_barrier(down, np.concatenate([b, -ones], 2), ball, c, start, 4)
    moved = c - np.where(found[:, -1:] > -MARGIN, found[:, -1:] + 0.1, 0)
    return follow_barrier(g, b, hessian, moved, found[:, :-1], 9), found[:, -1]


def compare(count: int, constraints: int) -> dict[int, int]:
    """Hold the closed form against the generic solver; return how often each case came."""
    cases, drawn = dict.fromkeys(range(5), 0), problems(count, constraints)
    solutions, violations = interior_points(*drawn)
    for *problem, best, violation in zip(*drawn, solutions, violations, strict=True):
        g, b, hessian, c = problem
        x, case = closed_form(*problem)
        cases[case] += 1
        assert x @ hessian @ x <= RADIUS * (1 + 1e-9)
        if abs(violation) < MARGIN:  # hardly anything is allowed: the solver's start is not inside
            continue
        assert (case == 0) == (violation > 0)
        if case:
            assert (c + b @ x).max() <= 1e-7
            scale = math.sqrt(RADIUS * g @ np.linalg.solve(hessian, g))
            assert abs(g @ x - g @ best) <= 1e-6 * scale + 5e-7
    return cases


def test_one_constraint_against_an_interior_point_method_on_1000_problems() -> None:
    cases = compare(1000, 1)
    assert all(cases[case] > 100 for case in (0, 1, 2, 3)), cases


def test_several_constraints_against_the_same_method() -> None:
    cases = compare(300, 3)
    assert all(cases[case] > 15 for case in (0, 1, 2)), cases


def test_several_constraints_reduce_to_one() -> None:
    for problem in zip(*problems(200, 1), strict=True):
        g, b, hessian, c = problem
        x, _ = closed_form(*problem)
        twice, _ = closed_form(g, np.vstack([b, 0 * b]), hessian, np.array([c[0], 1.0]))
        assert twice == pytest.approx(x, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("constraints", [1, 2])
@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_the_step_does_not_depend_on_the_unit_of_the_costs(constraints: int, size: float) -> None:
    for g, b, hessian, c in zip(*problems(50, constraints), strict=True):
        x_g, x_b = np.linalg.solve(hessian, g), np.linalg.solve(hessian, b.T)
        q, r, s, unit = float(g @ x_g), b @ x_g, b @ x_b, np.ones(constraints)
        usual = solve(q, r, s, c, DELTA, unit)
        found = solve(q, size * r, size**2 * s, size * c, DELTA, size * unit)
        assert found.case == usual.case
        assert found.on_gradient == pytest.approx(usual.on_gradient, rel=1e-6)
        assert found.on_cost == pytest.approx(np.array(usual.on_cost) / size, rel=1e-6)


def test_a_wrong_sign_of_r_is_infeasible_or_worse_wherever_the_limit_is_active() -> None:
    """The negative control: g = +grad J with the formulas unchanged."""
    wrong = total = 0
    for problem in zip(*problems(400, 1), strict=True):
        g, b, hessian, c = problem
        right, case = closed_form(*problem)
        if case not in (1, 2) or (c + b @ right)[0] < -1e-9:  # the limit is not active
            continue
        x, _ = closed_form(g, b, hessian, c, sign=-1.0)
        scale = math.sqrt(RADIUS * g @ np.linalg.solve(hessian, g))
        wrong += bool((c + b @ x).max() > 1e-6 or g @ x > g @ right + 1e-3 * scale)
        total += 1
    assert wrong > 0.75 * total > 75


def test_the_trust_region_is_two_delta() -> None:
    """By x'Hx / 2 <= delta the divergence, not its double, reaches delta."""
    g, b, hessian, _ = (part[0] for part in problems(1, 1))
    x, case = closed_form(g, b, hessian, np.array([-10.0]))
    assert case == 3
    assert 0.5 * x @ hessian @ x == pytest.approx(DELTA)


def test_a_limit_that_the_reward_s_own_step_keeps_leaves_the_reward_free_to_fall() -> None:
    """H = 1, g = b_1: TRPO's step lowers the cost by sqrt 0.02 where 0.01 is needed; case 1."""
    r, c = np.array([1.0, 0.0]), np.array([0.01, -1.0])
    found = several(1.0, r, np.eye(2), c)
    assert (found.case, found.on_cost) == (1, (0.0, 0.0))
    assert found.on_gradient == pytest.approx(math.sqrt(0.02))
    assert one(1.0, 1.0, 1.0, 0.01).case == 1
    assert several(1.0, r, np.eye(2), -np.ones(2)).case == 3


def test_where_the_reward_is_made_of_the_costs_only_they_have_a_say() -> None:
    """H = 1, g = -(1, 1), b_i = e_i, c_i = -0.05: up to both limits, x = (0.05, 0.05)."""
    found = several(2.0, -np.ones(2), np.eye(2), np.full(2, -0.05))
    assert (found.case, found.on_gradient) == (2, 0.0)
    assert found.on_cost == pytest.approx((-0.05, -0.05))  # x = -on_cost b
    assert found.nu == pytest.approx((1.0, 1.0))


def test_without_a_reward_s_gradient_only_what_is_exceeded_moves_the_policy() -> None:
    """With g = 0, H = 1, b_i = e_i: no step where both are kept, x = (-0.05, 0) if one is not."""
    idle = several(0.0, np.zeros(2), np.eye(2), -np.ones(2))
    assert (idle.case, idle.on_gradient, idle.on_cost) == (3, 0.0, (0.0, 0.0))
    found = several(0.0, np.zeros(2), np.eye(2), np.array([0.05, -1.0]))
    assert (found.case, found.on_gradient) == (1, 0.0)
    assert found.on_cost == pytest.approx((0.05, 0.0))


def test_several_limits_out_of_reach_lower_the_sum_of_what_is_above() -> None:
    """H = 1, b_1 = (1, 0), b_2 = (0, 1), both far above: x = -(1, 1) / sqrt 2 * sqrt 0.02.

    Where the second is kept, only the first is lowered.
    """
    found = several(1.0, np.zeros(2), np.eye(2), np.array([1.0, 1.0]))
    assert found.case == 0
    assert found.on_cost == pytest.approx((0.1, 0.1))
    found = several(1.0, np.zeros(2), np.eye(2), np.array([1.0, -1.0]))
    assert found.case == 0
    assert found.on_cost == pytest.approx((math.sqrt(0.02), 0.0))
