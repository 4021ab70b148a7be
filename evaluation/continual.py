"""Metrics of learning tasks one after another, from the matrix of scores.

``R[i, j]`` is the score on task ``j`` after training on tasks ``0 .. i``; row ``i`` is one
evaluation of all tasks. Scores should be normalised, or averages over tasks mean little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daedalus.evaluation.curves import Curve, area_under_curve


@dataclass(frozen=True)
class Continual:
    """What remains after the last task, and what earlier tasks did for later ones.

    Attributes:
        average: Mean score over tasks after the last one.
        forgetting: Mean loss from the best earlier score of a task to its last one, over all tasks
            but the last (Chaudhry et al. 2018, 1801.10112, section 3); negative if tasks improve.
        backward_transfer: Mean change of a task's score since it was trained (Lopez-Paz & Ranzato
            2017, 1706.08840, equation 3).
        forward_transfer: Mean score of a task just before it is trained, less that of an untrained
            agent (ibid., equation 4); nan if the latter is not known.
    """

    average: float
    forgetting: float
    backward_transfer: float
    forward_transfer: float


def continual(matrix: np.ndarray, untrained: np.ndarray | None = None) -> Continual:
    """Summarise a matrix of scores.

    Args:
        matrix: (tasks, tasks); ``[i, j]`` after task i on task j.
        untrained: (tasks,) scores of the agent before any training.

    Raises:
        ValueError: The matrix is not square, has fewer than two tasks, or holds nan.

    Example:
        >>> result = continual(np.array([[1.0, 0.2], [0.6, 0.9]]), np.array([0.1, 0.1]))
        >>> result.average, round(result.forgetting, 3), round(result.forward_transfer, 3)
        (0.75, 0.4, 0.1)
    """
    scores = np.asarray(matrix, np.float64)
    tasks = len(scores)
    if scores.shape != (tasks, tasks) or tasks < 2:
        raise ValueError(f"expected a square matrix of at least 2 tasks, got {scores.shape}")
    if np.isnan(scores).any():
        i, j = np.argwhere(np.isnan(scores))[0]
        raise ValueError(f"the score on task {j} after task {i} is missing")
    last, learnt = scores[-1, :-1], np.diagonal(scores)[:-1]
    best = np.array([scores[j:-1, j].max() for j in range(tasks - 1)])
    before = np.diagonal(scores, 1)  # [j - 1, j]
    forward = np.nan if untrained is None else float((before - np.asarray(untrained)[1:]).mean())
    return Continual(
        float(scores[-1].mean()),
        float((best - last).mean()),
        float((last - learnt).mean()),
        forward,
    )


def transfer(curve: Curve, baseline: Curve, total: float, zero: float = 0.0) -> float:
    """Area under a curve that starts from earlier tasks, relative to learning from scratch.

    1 means that nothing was gained (Rusu et al. 2016, "Progressive Neural Networks", 1606.04671,
    section 3).

    Args:
        curve: Steps and values of the agent that has learnt before.
        baseline: The same of one that has not.
        total: Steps over which both are compared.
        zero: Score that counts as nothing, such as a random policy's.

    Raises:
        ValueError: The baseline does not rise above ``zero``: there is no scale.
    """
    scale = area_under_curve(baseline, total) - zero
    if scale <= 0:
        raise ValueError(f"the baseline's area is not above {zero:g}: give the random score")
    return (area_under_curve(curve, total) - zero) / scale
