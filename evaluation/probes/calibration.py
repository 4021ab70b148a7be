"""Does confidence mean anything? Calibration of probabilities, and scores that tell groups apart.

Guo et al. 2017 (1706.04599) for calibration, Hendrycks and Gimpel 2017 (1610.02136) for scores.
Plain NumPy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 15


class Reliability(NamedTuple):
    """Probabilities and what became of them, in bins of equal width (lo, hi].

    Attributes:
        confidence: (bins,) mean probability; nan in an empty bin.
        frequency: (bins,) share of events that happened; nan in an empty bin.
        number: (bins,) events.
    """

    confidence: np.ndarray
    frequency: np.ndarray
    number: np.ndarray

    @property
    def ece(self) -> float:
        """Expected calibration error: sum_b |B_b| / n |frequency - confidence|.

        Biased upwards for few events: state n and the number of bins with it.
        """
        gap = np.abs(self.frequency - self.confidence)
        return float(np.nansum(gap * self.number) / max(self.number.sum(), 1))

    @property
    def mce(self) -> float:
        """Maximum calibration error: the largest gap of a bin that is not empty."""
        gap = np.abs(self.frequency - self.confidence)
        return float(np.nanmax(gap)) if self.number.any() else float("nan")


def reliability(probability: np.ndarray, happened: np.ndarray, bins: int = BINS) -> Reliability:
    """Return the reliability diagram of probabilities (N,) of events (N,) bool."""
    probability, happened = np.asarray(probability, float), np.asarray(happened, float)
    index = np.clip(np.ceil(probability * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    with np.errstate(invalid="ignore"):
        confidence = np.bincount(index, probability, bins) / count
        frequency = np.bincount(index, happened, bins) / count
    return Reliability(confidence, frequency, count)


def brier(probability: np.ndarray, happened: np.ndarray) -> float:
    """Return the mean squared difference of probabilities and events."""
    return float(np.mean((np.asarray(probability, float) - np.asarray(happened, float)) ** 2))


def negative_log_likelihood(logit: np.ndarray, happened: np.ndarray) -> float:
    """Return the mean of -log p(event) for logits (N,) of events (N,) bool, without overflow."""
    logit = np.asarray(logit, float)
    return float(np.mean(np.logaddexp(0.0, np.where(happened, -logit, logit))))


def sigmoid(logit: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-logit)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logit, float)))  # type: ignore[no-any-return]


def temperature(logit: np.ndarray, happened: np.ndarray) -> float:
    """Return T > 0 that makes sigmoid(logit / T) most likely, on data that nothing else was fit to.

    Golden-section search over log T in [-5, 5]: with one parameter the likelihood has one peak
    (it is concave in 1 / T).
    """
    low, high, ratio = -5.0, 5.0, (np.sqrt(5) - 1) / 2

    def loss(log_t: float) -> float:
        return negative_log_likelihood(np.asarray(logit, float) / np.exp(log_t), happened)

    a, b = high - ratio * (high - low), low + ratio * (high - low)
    fa, fb = loss(a), loss(b)
    for _ in range(60):
        if fa < fb:
            high, b, fb = b, a, fa
            a = high - ratio * (high - low)
            fa = loss(a)
        else:
            low, a, fa = a, b, fb
            b = low + ratio * (high - low)
            fb = loss(b)
    return float(np.exp((low + high) / 2))


def logistic(features: np.ndarray, happened: np.ndarray, ridge: float = 1e-3) -> np.ndarray:
    """Return weights (1 + D,), constant first, of a logistic regression (Newton's method).

    Args:
        features: (N, D), better of similar scale.
        happened: bool (N,).
        ridge: Weight of the squared norm, per event; keeps separable data finite.
    """
    x = np.column_stack([np.ones(len(features)), features])
    y = np.asarray(happened, float)
    weights = np.zeros(x.shape[1])
    penalty = ridge * len(x) * np.eye(len(weights))
    penalty[0, 0] = 1e-9
    for _ in range(50):
        p = sigmoid(x @ weights)
        slope = x.T @ (p - y) + penalty @ weights
        curve = (x * (p * (1 - p))[:, None]).T @ x + penalty
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return P(score of a positive > that of a negative), ties counting a half (midranks)."""
    scores = np.concatenate([positive, negative])
    _, inverse, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[inverse]
    n, m = len(positive), len(negative)
    return float((rank[:n].sum() - n * (n + 1) / 2) / (n * m))


def aupr(positive: np.ndarray, negative: np.ndarray) -> float:
    """Return the area under precision over recall, by steps: sum_k (R_k - R_{k-1}) P_k.

    Chance is the share of positives: name it with the number. Scores that are equal share a step.
    """
    scores = np.concatenate([positive, negative])
    truth = np.arange(len(scores)) < len(positive)
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    precision = hits[last] / (last + 1)
    recall = hits[last] / max(len(positive), 1)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))
