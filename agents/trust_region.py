"""Natural gradients and steps within a trust region (Schulman et al. 2015, TRPO, 1502.05477).

A `LocalModel` is the policy around its parameters theta_k, seen through one batch of states: exact
gradients of E[ratio * advantage], products with the Hessian H of the mean KL divergence (never the
matrix), H^-1 v by conjugate gradients, and trial steps whose parameters are put back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from daedalus.accelerators.guards import check_finite
from daedalus.agents.consolidation import Consolidation
from daedalus.agents.policies import Categorical, Gaussian, MultiCategorical

BACKTRACK, TRIALS = 0.8, 15
"""The line search tries 0.8^j of the step, j = 0 .. 14."""
ROUNDS = 8
"""How often step and multiplier follow each other where a penalty stiffens the metric."""

Distribution = Categorical | MultiCategorical | Gaussian


def kl_divergence(
    distribution: Distribution, new: Tensor, old: Tensor, old_log_std: Tensor | None = None
) -> Tensor:
    """Return KL(new || old) of every row, (N,).

    Args:
        distribution: Says how outputs are read; a Gaussian's present log_std is the new one.
        new: (N, size), outputs of the policy's last layer.
        old: (N, size), those of the policy before.
        old_log_std: (size,), of a Gaussian before.
    """
    if isinstance(distribution, Gaussian):
        assert old_log_std is not None
        wider = distribution.log_std - old_log_std
        apart = (new - old) / old_log_std.exp()
        return (0.5 * ((2 * wider).exp() + apart.square() - 1) - wider).sum(-1)
    sizes = distribution.sizes if isinstance(distribution, MultiCategorical) else [new.shape[-1]]
    parts = zip(new.split(sizes, -1), old.split(sizes, -1), strict=True)
    terms = []
    for after, before in parts:
        log_new, log_old = F.log_softmax(after, -1), F.log_softmax(before, -1)
        terms.append((log_new.exp() * (log_new - log_old)).sum(-1))
    return torch.stack(terms).sum(0)


def conjugate_gradients(
    product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float = 1e-10
) -> tuple[Tensor, float]:
    """Return x with product(x) = b, and |b - product(x)| / |b|.

    Args:
        product: Multiplies (P,) by a symmetric positive definite matrix.
        b: (P,); zeros give zeros.
        iterations: At most.
        tolerance: Stop where the squared relative residual is below it.
    """
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    start = square = float(residual @ residual)
    for _ in range(iterations):
        if square <= tolerance * start:
            break
        moved = product(direction)
        length = square / float(direction @ moved)
        x += length * direction
        residual -= length * moved
        before, square = square, float(residual @ residual)
        direction = residual + (square / before) * direction
    return x, (square / start) ** 0.5 if start > 0 else 0.0


class Trial(NamedTuple):
    """The policy after a step, on the batch of the model."""

    kl: float
    ratio: Tensor  # (N,), pi_new(a|s) / pi_old(a|s)
    output: Tensor  # (N, size), of the policy's last layer


class Search(NamedTuple):
    """How a line search ended."""

    scale: float  # share of the step that was taken; 0 if none was acceptable
    backtracks: int
    trial: Trial | None  # of the step taken
    rejected: dict[str, int]  # reason -> how often


def sample_rows(count: int, stride: int) -> Tensor:
    """Return one row of ``stride``, at random, int64 in rising order; the same in every call.

    Rows are steps of B environments, so every ``stride``-th would be those of the same few
    environments wherever B is a multiple of it: a divergence that says nothing of the others.
    """
    if stride == 1:
        return torch.arange(count)
    drawn = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    return drawn[: -(-count // stride)].sort().values


class LocalModel:
    """The policy around theta_k; see the module's docstring."""

    def __init__(
        self,
        policy: nn.Module,
        observation: Tensor,
        action: Tensor,
        *,
        damping: float,
        iterations: int,
        stride: int = 1,
    ) -> None:
        """Remember the present policy on a batch.

        Args:
            policy: Maps observations to outputs; has ``distribution``.
            observation: (N, D).
            action: (N, ...).
            damping: Added to the diagonal of H.
            iterations: Of conjugate gradients, at most.
            stride: H is the mean over one of so many states.
        """
        self.policy, self.observation, self.action = policy, observation, action
        self.damping, self.iterations = damping, iterations
        self.parameters = list(policy.parameters())
        self.distribution: Distribution = policy.distribution  # type: ignore[assignment]
        self.output = policy(observation)
        self.log_pi, _ = self.distribution.log_prob_entropy(self.output, action)
        self.old, self.old_log_pi = self.output.detach(), self.log_pi.detach()
        self.old_log_std: Tensor | None = None
        if isinstance(self.distribution, Gaussian):
            self.old_log_std = self.distribution.log_std.detach().clone()
        self.stiffness: Tensor | None = None  # (P,), added to the diagonal of H
        self._slope = self._kl_slope(stride)

    @classmethod
    def of(cls, config: Any, policy: nn.Module, observation: Tensor, action: Tensor) -> LocalModel:
        """Remember the present policy as the settings ``config`` of a trust region say."""
        rest = {"iterations": config.cg_iterations, "stride": config.fisher_stride}
        return cls(policy, observation, action, damping=config.damping, **rest)

    def _kl_slope(self, stride: int) -> Tensor:
        """Return the gradient (P,) of the mean divergence, with its graph."""
        rows = sample_rows(len(self.observation), stride).to(self.observation.device)
        output = self.policy(self.observation[rows])
        kl = kl_divergence(self.distribution, output, self.old[rows], self.old_log_std).mean()
        return flat(torch.autograd.grad(kl, self.parameters, create_graph=True))

    def gradient(self, advantage: Tensor) -> Tensor:
        """Return the gradient (P,) of E[ratio * advantage] at theta_k; ``advantage`` is (N,)."""
        return self.gradient_of((self.ratio * advantage).mean())

    @property
    def ratio(self) -> Tensor:
        """pi(a|s) / pi_k(a|s), ones (N,) with the graph of pi."""
        return (self.log_pi - self.old_log_pi).exp()

    def gradient_of(self, surrogate: Tensor) -> Tensor:
        """Return the gradient (P,) of a scalar made of ``ratio`` and ``output``, at theta_k."""
        found = flat(torch.autograd.grad(surrogate, self.parameters, retain_graph=True))
        check_finite({"policy gradient": found}, "gradient")
        return found

    def product(self, vector: Tensor) -> Tensor:
        """Return (H + damping + stiffness) v, both (P,)."""
        found = self._damped(vector)
        return found if self.stiffness is None else found + self.stiffness * vector

    def _damped(self, vector: Tensor) -> Tensor:
        slope = (self._slope * vector).sum()
        found = flat(torch.autograd.grad(slope, self.parameters, retain_graph=True))
        return found + self.damping * vector

    def natural(self, vector: Tensor) -> tuple[Tensor, float]:
        """Return H^-1 v (P,) and the relative residual.

        Where the metric is stiff in some parameters they are measured in smaller units, in which
        all are about as stiff: conjugate gradients need few iterations only then.
        """
        if self.stiffness is None or not vector.any():
            return conjugate_gradients(self.product, vector, self.iterations)
        usual = (self._damped(vector) @ vector) / (vector @ vector)
        unit = (1 + self.stiffness / usual.clamp(min=max(self.damping, 1e-8))).rsqrt()

        def product(scaled: Tensor) -> Tensor:
            return unit * self.product(unit * scaled)

        found, residual = conjugate_gradients(product, unit * vector, self.iterations)
        return unit * found, residual

    def search(self, step: Tensor, refuse: Callable[[Trial], str]) -> Search:
        """Take the longest of ``TRIALS`` shares of ``step`` that nothing speaks against.

        Args:
            step: (P,).
            refuse: Returns why a trial is not acceptable, "" where it is.

        Returns:
            How it went; where no share was acceptable the parameters are exactly as before.
        """
        start = [p.detach().clone() for p in self.parameters]
        rejected: dict[str, int] = {}
        for j in range(TRIALS):
            scale = BACKTRACK**j
            self._move(start, scale * step)
            trial = self.trial()
            reason = refuse(trial)
            if not reason:
                return Search(scale, j, trial, rejected)
            rejected[reason] = rejected.get(reason, 0) + 1
        with torch.no_grad():
            for p, value in zip(self.parameters, start, strict=True):
                p.copy_(value)
        return Search(0.0, TRIALS, None, rejected)

    @torch.no_grad()
    def trial(self) -> Trial:
        """Compare the policy as it stands with that of theta_k."""
        output = self.policy(self.observation)
        log_pi, _ = self.distribution.log_prob_entropy(output, self.action)
        kl = kl_divergence(self.distribution, output, self.old, self.old_log_std).mean()
        return Trial(float(kl), (log_pi - self.old_log_pi).exp(), output)

    @torch.no_grad()
    def _move(self, start: list[Tensor], step: Tensor) -> None:
        parts = step.split([p.numel() for p in self.parameters])
        for p, value, part in zip(self.parameters, start, parts, strict=True):
            p.copy_(value + part.view_as(p))


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Return tensors as one vector (P,)."""
    return torch.cat([t.reshape(-1) for t in tensors])


def standardised(advantage: Tensor) -> Tensor:
    """Return advantages with mean 0 and standard deviation 1; constants become 0."""
    centred = advantage - advantage.mean()
    return centred / (centred.square().mean().sqrt() + 1e-8)


class Paid:
    """What the penalty of a consolidation has to do with a step within a trust region.

    The step maximises g'x - x'Px/2 - lambda x'Hx/2, P the curvature of the penalty, and so is
    (H + P / lambda)^-1 g / lambda: P / lambda stiffens the metric where parameters are needed.
    Without that every step would go to the border of the divergence, and beyond what the penalty
    allows. lambda follows from the step, and the step from lambda, in `ROUNDS` of both.
    """

    def __init__(self, kept: Consolidation | None) -> None:
        """Note the penalty at the present parameters; ``kept`` may be None, which costs nothing."""
        self.kept = kept
        self.before = 0.0 if kept is None else float(kept.penalty())
        self.curvature = None if kept is None else kept.curvature()

    def added_to(self, gradient: Tensor) -> Tensor:
        """Return the gradient (P,) of a loss of the policy with the penalty's."""
        return gradient if self.kept is None else gradient + self.kept.gradient()

    def stiffen(self, model: LocalModel, gradient: Tensor, delta: float) -> None:
        """Count the penalty's curvature in the metric of ``model``, for a step up ``gradient``.

        Args:
            model: At the present policy.
            gradient: (P,), of the surrogate less the penalty.
            delta: Bound of x'(H + P / lambda)x / 2.
        """
        for _ in range(0 if self.curvature is None else ROUNDS):
            direction, _ = model.natural(gradient)
            q = float(gradient.double() @ direction.double())
            if not 0 < q < math.inf:
                return
            model.stiffness = self.curvature * (2 * delta / q) ** 0.5

    def growth(self) -> float:
        """Return by how much the penalty is now, within a trial, above that before."""
        return 0.0 if self.kept is None else float(self.kept.penalty()) - self.before

    def sees(self, gradient: Tensor) -> None:
        """Show the consolidation the gradient of the loss, without the penalty's, before a step."""
        if self.kept is not None:
            self.kept.observe(gradient)

    def taken(self) -> None:
        """Tell the consolidation that the step is over."""
        if self.kept is not None:
            self.kept.after_step()


def trpo_step(
    model: LocalModel, advantage: Tensor, delta: float, kept: Consolidation | None = None
) -> tuple[Search, dict[str, float]]:
    """Step up E[ratio * advantage] to the border of the trust region; return what to log.

    Args:
        model: At the present policy.
        advantage: (N,), with mean 0.
        delta: Bound of the mean divergence.
        kept: Of the policy's parameters, see `trust_region_step`.
    """

    def gain(trial: Trial) -> float:
        return float((trial.ratio * advantage).mean())

    return trust_region_step(model, model.gradient(advantage), gain, delta, kept)


def trust_region_step(
    model: LocalModel,
    gradient: Tensor,
    gain: Callable[[Trial], float],
    delta: float,
    kept: Consolidation | None = None,
) -> tuple[Search, dict[str, float]]:
    """Step up a surrogate to the border of the trust region; return what to log.

    x = sqrt(2 delta / g'H^-1 g) H^-1 g, shortened until the sampled divergence is at most ``delta``
    and the sampled surrogate has grown. With a consolidation see `Paid`.

    Args:
        model: At the present policy.
        gradient: (P,), g, of the surrogate at theta_k.
        gain: By how much the sampled surrogate has grown, from a trial.
        delta: Bound of the mean divergence.
        kept: Of the policy's parameters; its penalty is subtracted from the surrogate, in
            gradient and metric, and in what the line search asks.
    """
    paid = Paid(kept)
    paid.sees(-gradient)
    gradient = -paid.added_to(-gradient)
    paid.stiffen(model, gradient, delta)
    direction, residual = model.natural(gradient)
    q = float(gradient.double() @ direction.double())

    def refuse(trial: Trial) -> str:
        if not trial.kl <= delta:
            return "kl"
        return "" if gain(trial) - paid.growth() > 0 else "reward"

    search = Search(0.0, 0, None, {})
    if q > 0:
        search = model.search((2 * delta / q) ** 0.5 * direction, refuse)
    paid.taken()
    return search, {"q": q, "cg_residual": residual, **searched(search)}


def searched(search: Search) -> dict[str, float]:
    """Return what to log of a line search."""
    reasons = ("kl", "reward", "cost")
    counts = {f"rejected_{why}": float(search.rejected.get(why, 0)) for why in reasons}
    return {
        "step_scale": search.scale,
        "backtracks": float(search.backtracks),
        "kl": search.trial.kl if search.trial is not None else 0.0,
        **counts,
    }
