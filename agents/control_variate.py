"""Q-Prop's control variate: the first-order Taylor expansion of a critic at the policy's mean.

    Abar(s, a) = grad_a Q(s, a)|_{a = mu(s)} . (a - mu(s))
    grad J = E[grad log pi(a|s) (A - eta Abar)] + E[eta grad_a Q(s, a)|_{a = mu(s)} grad mu(s)]

The second term is the first one's expectation of eta Abar, in closed form: what the sample loses
in variance it gets back without any. The same eta of a step stands in both terms.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

ETAS = ("conservative", "aggressive", "standard", "none")
"""1[A Abar > 0], sign(A Abar), 1 and 0 (the policy gradient without a critic)."""


def control_variate(slope: Tensor, action: Tensor, mean: Tensor) -> Tensor:
    """Return Abar (N,).

    Args:
        slope: (N, A), gradient of Q by the action at the mean, in units of the return.
        action: (N, A) as sampled: not clipped to the bounds of the space.
        mean: (N, A).
    """
    return (slope * (action - mean)).sum(-1)


def eta_of(kind: str, advantage: Tensor, variate: Tensor) -> Tensor:
    """Return eta of every step from a single sample of its covariance, A Abar.

    ``conservative`` and ``aggressive`` look at the action, so they shrink the expected gradient
    somewhat: only ``standard`` is unbiased.

    Args:
        kind: One of `ETAS`.
        advantage: (N,), estimates of A as they are: neither centred nor scaled.
        variate: (N,), Abar.
    """
    if kind == "conservative":
        return (advantage * variate > 0).to(variate.dtype)
    if kind == "aggressive":
        return torch.sign(advantage * variate)
    return torch.full_like(variate, 1.0 if kind == "standard" else 0.0)


class Signal(NamedTuple):
    """What moves the policy."""

    residual: Tensor  # (N,), (A - eta Abar) centred: the weight of grad log pi
    pull: Tensor  # (N, A), eta grad_a Q: the weight of grad mu
    eta: Tensor  # (N,)
    variate: Tensor  # (N,), Abar, in units of the return
    scale: Tensor  # 0-d, what the residual was divided by
    unit: Tensor  # 0-d, what the pull was divided by


def learning_signal(
    kind: str,
    advantage: Tensor,
    slope: Tensor,
    action: Tensor,
    mean: Tensor,
    one_scale: bool = True,
) -> Signal:
    """Return the two parts of Q-Prop's gradient, for a residual with a deviation of 1.

    Args:
        kind: One of `ETAS`.
        advantage: (N,).
        slope: (N, A), gradient of Q by the action at the mean, in units of the return.
        action: (N, A) as sampled.
        mean: (N, A).
        one_scale: Divide both parts by the residual's deviation; otherwise the residual alone.
    """
    variate = control_variate(slope, action, mean)
    eta = eta_of(kind, advantage, variate)
    residual = advantage - eta * variate
    residual = residual - residual.mean()
    scale = residual.square().mean().sqrt() + 1e-8
    unit = scale if one_scale else torch.ones_like(scale)
    return Signal(residual / scale, eta.unsqueeze(1) * slope / unit, eta, variate, scale, unit)


def surrogate(weight: Tensor, mean: Tensor, signal: Signal) -> Tensor:
    """Return a scalar whose gradient is Q-Prop's, 0-d: it is linear in both arguments.

    Args:
        weight: (N,), pi / pi_old or log pi of the actions.
        mean: (N, A), of the policy, with its graph; no noise is reparametrised.
        signal: Constants.
    """
    return (weight * signal.residual).mean() + (signal.pull * mean).sum(-1).mean()


def improvement(ratio: Tensor, change: Tensor, signal: Signal) -> Tensor:
    """Return by how much E[ratio (A - eta Abar)] + E[eta Q(s, mu)] has grown after a step, 0-d.

    The ratio stands at the residual alone, and Q is asked itself: not its linear expansion.

    Args:
        ratio: (N,), pi / pi_old of the actions.
        change: (N,), Q(s, mu) - Q(s, mu_old), in units of the return.
        signal: Of the batch, before the step.
    """
    return (ratio * signal.residual + signal.eta * change / signal.unit).mean()


def diagnostics(
    signal: Signal, advantage: Tensor, action: Tensor, mean: Tensor, std: Tensor
) -> dict[str, Tensor]:
    """Return what says whether the critic helps, 0-d each.

    Args:
        signal: Of the batch.
        advantage: (N,).
        action: (N, A).
        mean: (N, A).
        std: (A,), of the policy.

    Returns:
        ``signal_before`` and ``signal_after``: mean sizes of the centred advantage and of the
        residual; ``correlation`` of A and Abar; ``eta``; ``eta_active``, the share that is not 0;
        ``analytic_share``: the analytic part's norm beside the sum of both parts', and
        ``variance_ratio``: the trace of the covariance over steps with and without the control
        variate; both of the gradient by the policy's mean.
    """
    centred = advantage - advantage.mean()
    score = (action - mean) / std.square()
    sampled = score * signal.residual.unsqueeze(1)
    total, plain = sampled + signal.pull, score * (centred / signal.scale).unsqueeze(1)
    parts = torch.stack([x.mean(0).norm() for x in (signal.pull, sampled)])
    pair = torch.stack([advantage, signal.variate])
    return {
        "signal_before": centred.abs().mean(),
        "signal_after": (signal.residual.abs() * signal.scale).mean(),
        "correlation": torch.corrcoef(pair)[0, 1].nan_to_num(),
        "eta": signal.eta.mean(),
        "eta_active": (signal.eta != 0).float().mean(),
        "analytic_share": parts[0] / parts.sum().clamp(min=1e-12),
        "variance_ratio": total.var(0).sum() / plain.var(0).sum().clamp(min=1e-12),
    }
