"""Metrics of learning tasks one after another, from the matrix of scores.

``R[i, j]`` is the score on task ``j`` after stage ``i``; row ``i`` is one evaluation of all tasks.
A task may come again in a later stage. Scores should be normalised, or averages over tasks mean
little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from daedalus.evaluation.curves import Curve, area_under_curve


@dataclass(frozen=True)
class Continual:
    """What remains after the last task, and what earlier tasks did for later ones.

    Attributes:
        average: Mean score over tasks after the last stage.
        forgetting: Mean loss from the best score of a task, since it was first trained, to its last
            one, over all tasks but that of the last stage (Chaudhry et al. 2018, 1801.10112,
            section 3); negative if tasks improve.
        backward_transfer: Mean change of the same tasks' scores since they were last trained
            (Lopez-Paz & Ranzato 2017, 1706.08840, equation 3).
        forward_transfer: Mean score of a task just before it is first trained, less that of an
            untrained agent, over all tasks but that of the first stage (ibid., equation 4); nan if
            the latter is not known.
    """

    average: float
    forgetting: float
    backward_transfer: float
    forward_transfer: float


def continual(
    matrix: np.ndarray,
    untrained: np.ndarray | None = None,
    trained: Sequence[int] | None = None,
) -> Continual:
    """Summarise a matrix of scores.

    Args:
        matrix: (stages, tasks); ``[i, j]`` after stage i on task j.
        untrained: (tasks,) scores of the agent before any training.
        trained: Task of each stage; by default each task once, in order.

    Raises:
        ValueError: The matrix does not fit the stages, has fewer than two tasks, or holds nan.

    Example:
        >>> result = continual(np.array([[1.0, 0.2], [0.6, 0.9]]), np.array([0.1, 0.1]))
        >>> result.average, round(result.forgetting, 3), round(result.forward_transfer, 3)
        (0.75, 0.4, 0.1)
    """
    scores = np.asarray(matrix, np.float64)
    order = list(range(len(scores)) if trained is None else trained)
    first = {task: order.index(task) for task in sorted(order)}
    latest = {task: stage for stage, task in enumerate(order)}
    if scores.shape != (len(order), len(first)) or len(first) < 2:
        raise ValueError(
            f"expected scores of at least 2 tasks after each of {len(order)} stages, "
            f"got {scores.shape}"
        )
    if np.isnan(scores).any():
        i, j = np.argwhere(np.isnan(scores))[0]
        raise ValueError(f"the score on task {j} after stage {i} is missing")
    kept = [task for task in first if task != order[-1]]
    last, learnt = scores[-1, kept], scores[[latest[task] for task in kept], kept]
    best = np.array([scores[first[task] : -1, task].max() for task in kept])
    new = [task for task in first if task != order[0]]
    before = scores[[first[task] - 1 for task in new], new]
    forward = np.nan if untrained is None else float((before - np.asarray(untrained)[new]).mean())
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
