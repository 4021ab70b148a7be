"""Loss functions: pure, with shapes. Sums over time, means over environments, unless stated."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class ActorCriticLoss(NamedTuple):
    """The terms of the advantage actor-critic, 0-d each."""

    policy: Tensor
    value: Tensor
    entropy: Tensor

    def total(self, value_weight: float, entropy_weight: float) -> Tensor:
        """Return policy + value_weight * value - entropy_weight * entropy."""
        return self.policy + value_weight * self.value - entropy_weight * self.entropy


def actor_critic_loss(
    log_pi: Tensor, entropy: Tensor, value: Tensor, returns: Tensor, valid: Tensor
) -> ActorCriticLoss:
    """Return the terms of A3C's loss (Mnih et al. 2016).

    policy = -log pi(a_t|s_t) sg(R_t - V_t),  value = 0.5 (R_t - V_t)^2,  entropy = H(pi(.|s_t)).

    Args:
        log_pi: (T, B).
        entropy: (T, B).
        value: (T, B).
        returns: (T, B), constants.
        valid: bool (T, B); other steps do not count.

    Returns:
        The terms, each summed over T and averaged over B.
    """
    weight = valid.to(value.dtype) / value.shape[1]
    error = returns - value
    return ActorCriticLoss(
        policy=-(weight * log_pi * error.detach()).sum(),
        value=0.5 * (weight * error.square()).sum(),
        entropy=(weight * entropy).sum(),
    )


def masked_value_loss(value: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """Return 0.5 (R - V)^2, summed over time and averaged over sequences.

    Args:
        value: (T, N).
        returns: (T, N), constants.
        mask: bool (T, N).
    """
    return 0.5 * (mask * (returns - value).square()).sum() / value.shape[1]


def map_q_loss(q: Tensor, action: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Return pixel control's 0.5 (R - Q(a))^2, summed over cells and time, mean over sequences.

    The sum over cells is what the published weights of 0.01 to 0.1 mean.

    Args:
        q: (T, N, C, A), Q of every cell and action.
        action: int64 (T, N), actions taken, 0 .. A - 1.
        target: (T, N, C), constants.
        mask: bool (T, N).
    """
    index = action[..., None, None].expand(*q.shape[:-1], 1)
    error = target - q.gather(-1, index).squeeze(-1)
    return 0.5 * (mask.unsqueeze(-1) * error.square()).sum() / q.shape[1]


def bin_loss(logits: Tensor, bins: Tensor, valid: Tensor) -> Tensor:
    """Return the cross-entropy of classes per pixel, summed over pixels and time, mean over B.

    Args:
        logits: (T, B, P, K), K classes for each of P pixels.
        bins: integer (T, B, P).
        valid: bool (T, B).
    """
    steps, batch, pixels, classes = logits.shape
    loss = F.cross_entropy(logits.reshape(-1, classes), bins.reshape(-1).long(), reduction="none")
    return (loss.view(steps, batch, pixels).sum(-1) * valid).sum() / batch


def bernoulli_loss(logit: Tensor, label: Tensor, valid: Tensor) -> Tensor:
    """Return the binary cross-entropy, summed over time and averaged over B.

    Args:
        logit: (T, B).
        label: bool or 0/1 (T, B).
        valid: bool (T, B).
    """
    loss = F.binary_cross_entropy_with_logits(logit, label.to(logit.dtype), reduction="none")
    return (loss * valid).sum() / logit.shape[1]


def explained_variance(value: Tensor, returns: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return 1 - Var(R - V) / Var(R), 0-d: 1 is perfect, 0 no better than a constant.

    It is 0 where R is constant, as that of a single step is.

    Args:
        value: (...).
        returns: (...).
        valid: bool (...), the steps that count; None for all.
    """
    if valid is not None:
        value, returns = value[valid], returns[valid]
    if returns.numel() < 2:
        return returns.new_zeros(())
    spread = returns.var()
    varies = spread > (1e-6 * returns.mean()).square()
    return torch.where(varies, 1 - (returns - value).var() / spread, 0.0)


def mean_of(x: Tensor, valid: Tensor) -> Tensor:
    """Return the mean, 0-d, of ``x`` (T, B, ...) where ``valid``, bool (T, B); 0 if nowhere."""
    counted = x[valid]
    return counted.sum() / max(1, counted.numel())


def deviation_of(x: Tensor, valid: Tensor) -> Tensor:
    """Return the standard deviation, 0-d, of ``x`` (T, B) where ``valid``; 0 of a single step."""
    counted = x[valid]
    return counted.std() if counted.numel() > 1 else counted.new_zeros(())


def effective_rank(x: Tensor) -> Tensor:
    """Return exp of the entropy of the normalised singular values of (N, d), centred, 0-d."""
    share = torch.linalg.svdvals(x - x.mean(0))
    share = share / share.sum().clamp(min=1e-12)
    rank: Tensor = torch.special.entr(share).sum().exp()
    return rank


def f1_score(predicted: Tensor, label: Tensor) -> Tensor:
    """Return the F1 score of bool predictions, 0-d; 0 if nothing was predicted or true."""
    both = (predicted & label).sum()
    return 2 * both / torch.clamp(predicted.sum() + label.sum(), min=1)
