"""Players that carry out a plan: reference scores of the placement worlds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from daedalus.envs.batch import Batch
from daedalus.envs.core import Family
from daedalus.envs.placement.annealing import anneal
from daedalus.envs.placement.baselines import heft
from daedalus.envs.placement.problem import Problem
from daedalus.envs.placement.sequential import SequentialPlacement
from daedalus.envs.placement.whole import DevicePlacement

Player = Callable[[Batch], np.ndarray]
EVALUATIONS = 100_000
"""Simulated steps of the annealing that stands in for an oracle."""


def planner_for(family: Family, plan: Callable[[Problem], np.ndarray]) -> Player:
    """Return the player that places each graph as ``plan`` says.

    Raises:
        ValueError: Not a placement world.
    """
    if not isinstance(family, DevicePlacement | SequentialPlacement):
        raise ValueError(f"{type(family).__name__} places nothing")
    plans = np.zeros((len(family.world.problems), family.params.packed.groups), np.int64)
    for row, problem in zip(plans, family.world.problems, strict=True):
        row[: problem.graph.groups] = plan(problem)
    if isinstance(family, DevicePlacement):
        return lambda batch: plans[batch.states["graph"]]
    return lambda batch: plans[batch.states["graph"], batch.states["current"]]


def greedy_for(family: Family) -> Player:
    """Return the player of HEFT's placement; see `planner_for`."""
    return planner_for(family, heft)


def oracle_for(family: Family) -> Player:
    """Return the player of a long annealing's placement; see `planner_for`."""
    return planner_for(family, lambda problem: anneal(problem, EVALUATIONS).placement)
