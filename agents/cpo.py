"""CPO: constrained policy optimisation (Achiam et al. 2017, 1705.10528).

Each update maximises the return within a trust region and under a limit on the cost of an episode,

    max_pi E[A(s, a)]   s.t.   J_C(pi_k) + T E[A_C(s, a)] <= d,   E[KL(pi || pi_k)] <= delta,

linearised around theta_k: with g = -grad J, b = grad J_C, c = J_C - d and H the Hessian of the
divergence, the step is -(1 / lambda) H^-1 (g + nu b) by the closed form of `daedalus.agents.dual`,
lambda and nu anew in every update. A line search over 0.8^j, j = 0 .. 14, then asks, on the sampled
surrogates and not on the linear ones,

    KL <= delta,   dJ_C <= max(-c, 0),   and, where the start is allowed, dJ >= 0;

if nothing is acceptable the policy stays. With nothing allowed in reach (case 0) the step only
lowers the cost. Where this differs from the paper:

- the limit is on the undiscounted cost of an episode, so the mean over steps is multiplied by the
  mean length T of episodes, where the discounted form has 1 / (1 - gamma);
- values are fitted by Adam, where the authors' code has a trust region of its own for them;
- cost shaping is an option (``shaping``), and several limits at once are (``extra_costs``,
  ``extra_limits``): the same dual over all sets of active constraints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from daedalus.agents.base import Metrics, Rollout
from daedalus.agents.constrained import ConstrainedAgent, Experience
from daedalus.agents.constrained_network import TrustRegionConfig
from daedalus.agents.costs import FailurePredictor, check_costs, costs_of
from daedalus.agents.dual import Dual, solve
from daedalus.agents.trust_region import ROUNDS, LocalModel, Paid, Trial, searched, standardised


@dataclass(frozen=True)
class Config(TrustRegionConfig):
    """Settings of `CPO`: those of constrained agents, the trust region's and the shaping's."""

    shaping: float = 0.0
    """alpha: weight of the predicted probability of a cost soon, added to the cost; 0 for none."""
    shaping_horizon: int = 5
    """Steps that the predictor looks ahead."""
    shaping_steps: int = 25
    """Gradient steps of the predictor in each update."""
    extra_costs: tuple[str, ...] = ()
    """Further costs to limit: "effort" (squared length of the action), "failure" (termination)."""
    extra_limits: tuple[float, ...] = ()
    """A limit per episode for each of ``extra_costs``."""


class CPO(ConstrainedAgent):
    """Constrained policy optimisation."""

    name = "cpo"
    Config: ClassVar[type[Any]] = Config

    def build(self) -> None:
        """Make policy, values and, with shaping, the predictor."""
        config = self.config
        if len(config.extra_costs) != len(config.extra_limits):
            raise ValueError(
                f"cpo needs a limit for each extra cost: {len(config.extra_costs)} costs and "
                f"{len(config.extra_limits)} limits were given"
            )
        check_costs(config.extra_costs, self.spaces.action)
        self.costs = 1 + len(config.extra_costs)
        super().build()
        self.predictor = None
        if config.shaping > 0:
            self.predictor = FailurePredictor(self.learner.network.inputs).to(self.device)
            self.modules["predictor"] = self.predictor
            self.optimizers["predictor"] = self.predictor.optimizer

    def update(self, rollout: Rollout) -> Metrics:
        """Take one constrained step of the policy; then fit the values."""
        config = self.config
        cost = costs_of(rollout, ("cost", *config.extra_costs), self.spaces.action)
        shaped, more = self._shaped(rollout, cost)
        experience = self.learner.judge(rollout, cost=shaped, extra=config.extra_costs)
        metrics = {**experience.metrics, **more, **self._step(experience)}
        return {**metrics, **self.learner.fit(experience, self.rng)}

    def _shaped(self, rollout: Rollout, cost: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the costs (K, T, B), the first with alpha * P(unsafe soon | s) added."""
        if self.predictor is None:
            return cost, {}
        config, network = self.config, self.learner.network
        rows = {name: x[:-1].flatten(0, 1) for name, x in rollout.observation.items()}
        seen = network.flatten(rows)
        loss = self.predictor.fit(rollout, seen, config.shaping_horizon, config.shaping_steps)
        bonus = config.shaping * self.predictor.probability(seen).view_as(cost[0])
        unshaped = float(cost[0][rollout.valid].double().mean())
        shaped = cost.clone()
        shaped[0] += bonus
        share = float(shaped[0][rollout.valid].double().mean()) - unshaped
        return shaped, {"predictor_loss": loss, "predicted_cost_rate": share}

    def _step(self, experience: Experience) -> dict[str, float]:
        """Move the policy and return what to log."""
        config = self.config
        limits = np.array([config.cost_limit, *config.extra_limits])
        above = experience.cost_return - limits
        model = LocalModel.of(
            config, self.learner.network.policy, experience.observation, experience.action
        )
        advantage = standardised(experience.advantage)
        cost_advantage = experience.length * experience.cost_advantage  # of an episode, (K, N)
        paid = Paid(self.consolidation)
        loss = -model.gradient(advantage)
        g = paid.added_to(loss)
        b = [model.gradient(a) for a in cost_advantage]
        unit = cost_advantage.double().square().mean(1).sqrt().cpu().numpy()
        (x_g, *x_b), residual, q, r, s, dual = self._solve(model, paid, g, b, above, unit)
        paid.sees(lagrangian(dual, loss, b))
        step, curved = -dual.on_gradient * x_g, -dual.on_gradient * g  # curved: the metric's step
        for weight, x, slope in zip(dual.on_cost, x_b, b, strict=True):
            step, curved = step - weight * x, curved - weight * slope
        if model.stiffness is not None:
            curved = curved - model.stiffness * step  # the divergence's alone

        def refuse(trial: Trial) -> str:
            gain = float((trial.ratio * advantage).mean()) - paid.growth()
            return refusal(trial, dual.case, gain, cost_advantage, above, config.delta)

        search = model.search(step, refuse)
        paid.taken()
        self.learner.ledger.cases[dual.case] += 1
        predicted = search.scale * dot(b[0], step)
        expected = 0.5 * search.scale**2 * dot(step, curved)
        realised = above * 0 if search.trial is None else changes(search.trial, cost_advantage)
        others: dict[str, float] = {}
        for i, name in enumerate(config.extra_costs, 1):
            seen = {"return": experience.cost_return[i], "limit": limits[i], "change": realised[i]}
            others |= {f"{name}_{key}": float(value) for key, value in seen.items()}
            others |= {f"{name}_s": float(s[i, i]), f"{name}_nu": float(dual.nu[i])}
        return {
            **{"q": q, "r": float(r[0]), "s": float(s[0, 0]), "c": float(above[0])},
            **{"cg_residual": residual},
            **{"predicted_cost_change": predicted, "cost_change": float(realised[0])},
            **others,
            "predicted_kl": expected,
            **self._dual_metrics(dual),
            **searched(search),
        }

    def _solve(
        self,
        model: LocalModel,
        paid: Paid,
        g: Tensor,
        b: list[Tensor],
        above: np.ndarray,
        unit: np.ndarray,
    ) -> Solved:
        """Solve for the step in a metric as stiff as `Paid` says, or less if a limit needs it.

        Where nothing allowed is in reach even without, the penalty has no say.
        """
        paid.stiffen(model, -g, self.config.delta)
        for _ in range(ROUNDS):
            solved = solve_within(model, g, b, above, self.config.delta, unit)
            if solved.dual.case > 0 or model.stiffness is None:
                return solved
            model.stiffness = model.stiffness / SOFTER
        model.stiffness = None
        return solve_within(model, g, b, above, self.config.delta, unit)

    def _dual_metrics(self, dual: Dual) -> dict[str, float]:
        ledger = self.learner.ledger
        share = ledger.cases / ledger.cases.sum()
        shares = {f"share_case_{i}": float(n) for i, n in enumerate(share)}
        found = {"A": dual.A, "B": dual.B, "lambda": dual.lam, "nu": dual.nu[0]}
        return {"case": float(dual.case), **found, **shares}


SOFTER = 8.0
"""How much less stiff the metric becomes at a time where a limit is out of reach."""


class Solved(NamedTuple):
    """The dual of a step, and what it was made of."""

    natural: list[Tensor]  # H^-1 g, H^-1 b_i
    residual: float
    q: float
    r: np.ndarray  # (K,)
    s: np.ndarray  # (K, K)
    dual: Dual


def solve_within(
    model: LocalModel,
    g: Tensor,
    b: list[Tensor],
    above: np.ndarray,
    delta: float,
    unit: np.ndarray,
) -> Solved:
    """Solve for the step in the metric of ``model``; see `daedalus.agents.dual`.

    Args:
        model: At the present policy.
        g: (P,), of what is minimised.
        b: (P,) each, of the costs of an episode.
        above: (K,), J_C - d.
        delta: Bound of the mean divergence.
        unit: (K,), root mean squares of the costs' advantages.
    """
    found = [model.natural(v) for v in (g, *b)]
    natural = [x for x, _ in found]
    q, r = dot(g, natural[0]), np.array([dot(g, x) for x in natural[1:]])
    s = gram(b, natural[1:])
    dual = solve(q, r, s, above, delta, unit)
    return Solved(natural, max(error for _, error in found), q, r, s, dual)


def lagrangian(dual: Dual, loss: Tensor, b: list[Tensor]) -> Tensor:
    """Return the gradient (P,) of what a step lowers: loss and priced costs, or costs alone."""
    alone = dual.case == 0
    prices = np.array(dual.on_cost if alone else dual.nu)
    prices = prices / max(prices.sum(), 1e-12) if alone else prices
    total = torch.zeros_like(loss) if alone else loss.clone()
    for price, slope in zip(prices, b, strict=True):
        total += float(price) * slope
    return total


def refusal(
    trial: Trial,
    case: int,
    gain: float,
    cost_advantage: Tensor,
    above: np.ndarray,
    delta: float,
) -> str:
    """Return why the line search passes over a trial: "kl", "reward", "cost", or "" to take it.

    Args:
        trial: The policy after the step, on the batch.
        case: Of the dual; in 0 and 1, from a start that is not allowed, the reward may fall.
        gain: By how much the sampled surrogate of the reward has grown.
        cost_advantage: (K, N), of the cost of an episode.
        above: (K,), J_C - d.
        delta: Bound of the mean divergence.
    """
    if not trial.kl <= delta:
        return "kl"
    if case >= 2 and not gain >= 0:
        return "reward"
    return "" if (changes(trial, cost_advantage) <= np.maximum(-above, 0)).all() else "cost"


def changes(trial: Trial, cost_advantage: Tensor) -> np.ndarray:
    """Return by how much the sampled costs of an episode changed, (K,)."""
    moved = ((trial.ratio - 1).double() * cost_advantage.double()).mean(1)
    return np.asarray(moved.cpu().numpy())


def dot(a: Tensor, b: Tensor) -> float:
    """Return the inner product of two vectors in double precision."""
    return float(a.double() @ b.double())


def gram(b: list[Tensor], x: list[Tensor]) -> np.ndarray:
    """Return s_ij = b_i'H^-1 b_j (K, K), symmetric, from x_j = H^-1 b_j."""
    s = np.array([[dot(bi, xj) for xj in x] for bi in b])
    return np.asarray((s + s.T) / 2)
