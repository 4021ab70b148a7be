"""A native environment with continuous actions, for tests: push a point to the origin."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box

from daedalus.envs import register
from daedalus.envs.core import Family
from daedalus.envs.random import NOISE, SPAWN, normal, uniform


class Params(NamedTuple):
    """Numbers of the kernel."""

    wind: float


class Arrays(NamedTuple):
    """Observations."""

    place: np.ndarray


def reset(state: Any, params: Any) -> None:
    state.x = 2.0 * uniform(state, SPAWN) - 1.0


def step(state: Any, action: Any, params: Any) -> Any:
    state.x += 0.3 * action[0] + params.wind * normal(state, NOISE)
    return -abs(state.x), abs(state.x) > 2.0


def observe(state: Any, params: Any, out: Any) -> None:
    if out.place.size:
        out.place[0] = state.x


class Steer(Family):
    """A point on a line with wind."""

    Params, Arrays = Params, Arrays
    observations = ("place",)
    time_limit = 20
    reset, step, observe = reset, step, observe

    def __init__(self, *, wind: float = 0.05) -> None:
        """Choose the wind."""
        self.params = Params(float(wind))
        self.state_dtype = np.dtype([("x", np.float64)])
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.spaces = {"place": Box(-10.0, 10.0, (1,), np.float32)}


register("tests/Steer-v0", "steer:Steer")
