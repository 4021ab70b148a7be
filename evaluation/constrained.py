"""Metrics of constrained agents: cost, how often and how far the limit is exceeded.

The cost of an episode is the undiscounted sum of its steps' costs, as in Achiam et al. 2017,
"Constrained Policy Optimization" (1705.10528). A good return says nothing without these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from daedalus.evaluation.curves import Curve, cleaned


@dataclass(frozen=True)
class Constrained:
    """What an agent paid beside its return.

    Attributes:
        mean_cost: Mean cost of an episode.
        violation_rate: Share of episodes whose cost is above the limit.
        excess: Mean of what episodes cost above the limit, those within it counting as 0.
    """

    mean_cost: float
    violation_rate: float
    excess: float


def constrained(costs: np.ndarray, limit: float) -> Constrained:
    """Summarise the costs of evaluation episodes (E,) against ``limit``.

    Raises:
        ValueError: There is no episode.

    Example:
        >>> constrained(np.array([10.0, 30.0, 40.0, 20.0]), limit=25)
        Constrained(mean_cost=25.0, violation_rate=0.5, excess=5.0)
    """
    costs = np.asarray(costs, np.float64)
    if not costs.size:
        raise ValueError("there are no episodes")
    above = np.maximum(costs - limit, 0.0)
    return Constrained(float(costs.mean()), float((above > 0).mean()), float(above.mean()))


def violation_area(curve: Curve, limit: float) -> float:
    """Area between a training run's cost curve and the limit, where it is above, per step.

    The crossings between logged points are found exactly, for a line between them.

    Args:
        curve: Environment steps (N,) and mean cost of an episode there (N,).
        limit: Cost that an episode may have.

    Returns:
        The mean height above the limit over the range of the log, in units of cost.

    Example:
        >>> violation_area((np.array([0.0, 10.0]), np.array([0.0, 4.0])), limit=2)
        0.5
    """
    steps, costs = cleaned(curve)
    if len(steps) == 1:
        return float(max(costs[0] - limit, 0.0))
    first, last = costs[:-1] - limit, costs[1:] - limit
    peak, foot = np.maximum(first, last), np.minimum(first, last)
    whole = (first + last) / 2
    triangle = peak**2 / (2 * np.where(peak > foot, peak - foot, 1.0))
    height = np.where(foot >= 0, whole, np.where(peak > 0, triangle, 0.0))
    return float((height * np.diff(steps)).sum() / (steps[-1] - steps[0]))
