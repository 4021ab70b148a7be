"""Spaces as stable-baselines3's algorithms take them, and what is said of those that they do not.

They count discrete values from 0. Where a space begins elsewhere they are shown its environments
and observations moved to 0, and their actions are moved back.
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Dict
from torch import Tensor

from daedalus.accelerators.sb3_vec_env import BatchVecEnv
from daedalus.accelerators.vector import EnvBatch

ANY_SPACE = "ppo, a2c or actor_critic"
"""Agents that take all the spaces that some agent takes."""


def unsupported(agent: str, space: Space[Any], error: AssertionError) -> str:
    """Return one line on why an algorithm was not made, and an agent that takes its actions.

    Args:
        agent: Its name.
        space: Of the actions.
        error: What the algorithm said.
    """
    if not str(error).startswith("The algorithm only supports"):
        return f"{agent} cannot be used here: {error}"
    kinds = " and ".join(re.findall(r"\.(\w+)'>", str(error)))
    return f"{agent} takes {kinds} actions, and these are {space}: use {ANY_SPACE}"


def begins_later(space: Space[Any]) -> bool:
    """Whether the values of a Discrete or MultiDiscrete space begin elsewhere than at 0."""
    return bool(np.any(getattr(space, "start", 0)))


def from_zero(space: Space[Any]) -> Space[Any]:
    """Return ``space`` with values that begin at 0; itself where they do."""
    if not begins_later(space):
        return space
    moved: Any = deepcopy(space)
    moved.start = moved.start * 0
    return moved  # type: ignore[no-any-return]


def to_zero(value: Any, space: Any) -> Any:
    """Return values of ``space``, an array or a tensor (B, ...), as those of `from_zero`."""
    if not begins_later(space):
        return value
    tensor = isinstance(value, Tensor)
    return value - (torch.as_tensor(space.start, device=value.device) if tensor else space.start)


def to_start(value: np.ndarray, space: Any) -> np.ndarray:
    """Return values (B, ...) of `from_zero` as those of ``space``."""
    return value + space.start if begins_later(space) else value


def vec_env_from_zero(batch: EnvBatch) -> BatchVecEnv:
    """Return ``batch`` as a ``VecEnv`` whose discrete values begin at 0."""
    later = any(map(begins_later, (batch.action_space, *batch.observation_spaces.values())))
    return _FromZero(batch) if later else BatchVecEnv(batch)


class _FromZero(BatchVecEnv):
    """A batch whose discrete values are moved to 0."""

    def __init__(self, batch: EnvBatch) -> None:
        super().__init__(batch)
        spaces = {name: from_zero(space) for name, space in batch.observation_spaces.items()}
        self.observation_space = next(iter(spaces.values())) if self._bare else Dict(spaces)
        self.action_space = from_zero(batch.action_space)

    def step_async(self, actions: Any) -> None:
        super().step_async(to_start(actions, self.batch.action_space))

    def _present(self, observation: dict[str, np.ndarray], rows: Any) -> Any:
        spaces = self.batch.observation_spaces
        moved = {name: to_zero(array, spaces[name]) for name, array in observation.items()}
        return super()._present(moved, rows)
