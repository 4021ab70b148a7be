"""Metrics of placing operations on devices: step time beside what is known about the graph."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Placement:
    """How good a placement is.

    Attributes:
        speedup: Time of the best single device over the placement's; above 1 is a gain.
        gap: Relative excess over the lower bound; 0 is optimal.
        over_heuristic: Time of the best heuristic over the placement's; above 1 beats it.
        balance: Mean device load over the greatest; 1 is an even load.
        feasible: No device exceeds its memory.
    """

    speedup: float
    gap: float
    over_heuristic: float
    balance: float
    feasible: bool


def lower_bound(costs: np.ndarray, critical_path: float, devices: int) -> float:
    """No step is shorter than the critical path or an even share of all the work.

    Args:
        costs: (ops,) time of each operation on the fastest device.
        critical_path: Length of the longest chain of dependent operations, in the same unit.
        devices: Number of devices.

    Example:
        >>> lower_bound(np.array([3.0, 3.0, 2.0]), critical_path=5.0, devices=2)
        5.0
    """
    return float(max(critical_path, np.sum(costs) / devices))


def placement(
    step_time: float,
    *,
    single: float,
    bound: float,
    heuristic: float,
    loads: np.ndarray,
    memory: tuple[np.ndarray, np.ndarray],
) -> Placement:
    """Summarise one placement.

    Args:
        step_time: Time of a step with it.
        single: Time on the best single device, memory left aside.
        bound: From `lower_bound`.
        heuristic: Time with the best placement that needs no learning.
        loads: (devices,) busy time of each device.
        memory: Peak use and capacity of each device, (devices,) each.

    Raises:
        ValueError: The time lies below the bound: one of the two is wrong.
    """
    if step_time < bound * (1 - 1e-9):
        raise ValueError(f"a step of {step_time:g} is shorter than the lower bound {bound:g}")
    peak, capacity = memory
    return Placement(
        speedup=single / step_time,
        gap=step_time / bound - 1,
        over_heuristic=heuristic / step_time,
        balance=float(np.mean(loads) / np.max(loads)),
        feasible=bool((np.asarray(peak) <= np.asarray(capacity)).all()),
    )
