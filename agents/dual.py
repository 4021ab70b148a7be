"""The step of constrained policy optimisation, from the closed form of its dual.

    min_x g'x   subject to   c + b'x <= 0,   x'Hx <= delta'

g is the gradient of what is *minimised* (minus that of the return), b the gradient of the cost of
an episode, c = J_C - d by how much it is above its limit, and delta' = 2 delta because the
divergence is x'Hx / 2 (Achiam et al. 2017, 1705.10528, appendix 10.2). With

    q = g'H^-1 g,  r = g'H^-1 b,  s = b'H^-1 b,  A = q - r^2 / s,  B = delta' - c^2 / s

the dual function of lambda is f_a = -(A / l + B l) / 2 - r c / s where the constraint is active
(l c - r > 0), and f_b = -(q / l + delta' l) / 2 elsewhere. The cases:

    4   s = 0: the cost does not depend on the policy; the step of TRPO
    3   c < 0 and B < 0: the whole trust region is allowed; the step of TRPO
    2   c < 0 and B >= 0: allowed now, and the limit cuts through the trust region
    1   c >= 0 and B > 0: too costly, but the trust region holds something allowed
    0   c >= 0 and B <= 0: nothing allowed within reach; only lower the cost

Code that keeps g = +grad J has to turn the sign of r everywhere; with a wrong sign the step is
infeasible or far from the best in most problems (a test shows it).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np

TINY = 1e-8
"""What counts as zero: an s below this share of the cost's own square, and an A of q."""


class Dual(NamedTuple):
    """The solution: x = -(on_gradient H^-1 g + sum_i on_cost[i] H^-1 b_i)."""

    case: int
    on_gradient: float  # 1 / lambda; 0 where only the cost has a say
    on_cost: tuple[float, ...]  # nu_i / lambda, one for each constraint
    lam: float  # 0 in case 0, where there are no multipliers
    nu: tuple[float, ...]
    A: float  # nan where several constraints are active
    B: float


def solve(
    q: float, r: np.ndarray, s: np.ndarray, c: np.ndarray, delta: float, unit: np.ndarray
) -> Dual:
    """Return the step for K constraints; costs may be of any size.

    Args:
        q: g'H^-1 g.
        r: (K,), g'H^-1 b_i.
        s: (K, K), b_i'H^-1 b_j.
        c: (K,), J_Ci - d_i.
        delta: Bound of x'Hx / 2.
        unit: (K,), the size of each cost: s_ii is compared with its square to tell whether the
            policy has a say. The root mean square of the advantages of the cost, which bounds
            s_ii by unit^2 where H is the Fisher matrix (Cauchy-Schwarz).
    """
    felt = np.diag(s) > TINY * np.square(unit)
    if len(c) == 1:
        return solve_one(q, float(r[0]), float(s[0, 0]) * bool(felt[0]), float(c[0]), delta)
    return solve_several(q, r, s, c, delta, np.flatnonzero(felt))


def solve_one(q: float, r: float, s: float, c: float, delta: float) -> Dual:
    """Return the step for one constraint: the cases of the module's docstring."""
    radius = 2 * delta
    if s <= 0:
        return _trpo(4, q, radius, 1, math.nan, math.nan)
    A, B = max(q - r * r / s, 0.0), radius - c * c / s
    if c < 0 and B < 0:
        return _trpo(3, q, radius, 1, A, B)
    if c >= 0 and B <= 0:
        return Dual(0, 0.0, (math.sqrt(radius / s),), 0.0, (0.0,), A, B)
    case = 2 if c < 0 else 1
    lam, active = _best_multiplier(q, r, s, c, radius)
    if not active:
        return _trpo(case, q, radius, 1, A, B)
    if min(A - TINY * q, lam) <= 0:  # the gradients are parallel: only the cost has a say
        return Dual(case, 0.0, (c / s,), 0.0, (max(0.0, -r / s),), A, B)
    nu = max(0.0, lam * c - r) / s
    return Dual(case, 1 / lam, (nu / lam,), lam, (nu,), A, B)


def _best_multiplier(q: float, r: float, s: float, c: float, radius: float) -> tuple[float, bool]:
    """Return lambda, and whether the constraint is active there: the better of f_a and f_b."""
    A, B = max(q - r * r / s, 0.0), radius - c * c / s
    lam_b = math.sqrt(q / radius)
    lam_a = math.sqrt(A / B) if B > 0 else math.inf
    if c == 0 or r / c <= 0:  # one of the two domains is empty
        active = r < 0 if c == 0 else c > 0
        return (lam_a, True) if active else (lam_b, False)
    middle = r / c
    if c < 0:
        lam_a, lam_b = min(lam_a, middle), max(lam_b, middle)
    else:
        lam_a, lam_b = max(lam_a, middle), min(lam_b, middle)
    f_a = -(A / max(lam_a, TINY**2) + B * lam_a) / 2 - r * c / s
    f_b = -(q / max(lam_b, TINY**2) + radius * lam_b) / 2
    return (lam_a, True) if f_a >= f_b else (lam_b, False)


def _trpo(case: int, q: float, radius: float, constraints: int, A: float, B: float) -> Dual:
    """Return the step to the border of the trust region, straight down the natural gradient."""
    lam = math.sqrt(q / radius)
    zeros = (0.0,) * constraints
    return Dual(case, 1 / lam if q > 0 else 0.0, zeros, lam, zeros, A, B)


def solve_several(
    q: float, r: np.ndarray, s: np.ndarray, c: np.ndarray, delta: float, felt: np.ndarray
) -> Dual:
    """Return the step for several constraints: the set of active ones that meets all conditions.

    For a set with r, S, c cut down to it, lambda^2 = (q - r'S^-1 r) / (2 delta - c'S^-1 c) and
    nu = S^-1 (lambda c - r); the problem is convex, so the set whose nu are positive and whose step
    keeps the other constraints is the solution. With no such set nothing within reach keeps all
    limits, and the step lowers the sum of the costs that are above theirs.
    """
    radius, count = 2 * delta, len(c)
    best, error = None, math.inf
    for active in _subsets(felt):
        found = _with_active(q, r, s, c, radius, active)
        if found is None:
            continue
        lam, nu, on_cost = found
        left = (c - s @ on_cost - (r / lam if lam > 0 else 0.0))[felt]
        wrong = max(float(left.max(initial=0.0)), float((-nu).max(initial=0.0)), 0.0)
        if wrong < error:
            best, error = found, wrong
    scale = float(np.abs(c).max(initial=0.0)) + math.sqrt(radius * float(np.diag(s).max()))
    if best is None or error > 1e-6 * scale:
        return _recover(s, c, radius)
    lam, nu, on_cost = best
    if not (nu.any() or on_cost.any()):
        idle = 3 if (c < 0).all() else 1
        return _trpo(idle if len(felt) else 4, q, radius, count, math.nan, math.nan)
    case = 2 if (c < 0).all() else 1
    given = tuple(map(float, on_cost)), lam, tuple(map(float, nu))
    return Dual(case, 1 / lam if lam > 0 else 0.0, *given, math.nan, math.nan)


def _subsets(members: np.ndarray) -> Iterator[list[int]]:
    for size in range(len(members) + 1):
        for chosen in combinations(members.tolist(), size):
            yield list(chosen)


def _with_active(
    q: float, r: np.ndarray, s: np.ndarray, c: np.ndarray, radius: float, active: list[int]
) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Return lambda, all nu (K,) and the shares of H^-1 b (K,) with ``active`` held as equalities.

    None if they cannot be. Where g is made of the active b, lambda is 0 and only they have a say.
    """
    nu, on_cost = np.zeros(len(c)), np.zeros(len(c))
    if not active:
        return (lam := math.sqrt(q / radius)), nu, nu / lam if lam > 0 else nu
    inverse = np.linalg.pinv(s[np.ix_(active, active)], hermitian=True)
    A = q - r[active] @ inverse @ r[active]
    B = radius - c[active] @ inverse @ c[active]
    if B <= 0:
        return None
    lam = 0.0 if A - TINY * q <= 0 else math.sqrt(A / B)
    nu[active] = inverse @ (lam * c[active] - r[active])
    on_cost[active] = nu[active] / lam if lam > 0 else inverse @ c[active]
    return lam, nu, on_cost


def _recover(s: np.ndarray, c: np.ndarray, radius: float) -> Dual:
    """Return the step that lowers the sum of the exceeded costs the most."""
    above = (c > 0).astype(float) if (c > 0).any() else np.ones(len(c))
    steepness = float(above @ s @ above)
    weight = math.sqrt(radius / steepness) if steepness > 0 else 0.0
    weights = tuple(float(weight * a) for a in above)
    return Dual(0, 0.0, weights, 0.0, (0.0,) * len(c), math.nan, math.nan)
