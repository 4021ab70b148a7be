"""Two native environments for tests: one with continuous actions, one with pixels and labels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete

from daedalus.envs import register
from daedalus.envs.core import Family
from daedalus.envs.random import NOISE, SPAWN, integers, normal, uniform


class SteerParams(NamedTuple):
    """Numbers of the kernel."""

    wind: float


class SteerArrays(NamedTuple):
    """Observations."""

    place: np.ndarray


def steer_reset(state: Any, params: Any) -> None:
    """Begin somewhere."""
    state.x = 2.0 * uniform(state, SPAWN) - 1.0


def steer_step(state: Any, action: Any, params: Any) -> Any:
    """Push, and let the wind blow."""
    state.x += 0.3 * action[0] + params.wind * normal(state, NOISE)
    return -abs(state.x), abs(state.x) > 2.0


def steer_observe(state: Any, params: Any, out: Any) -> None:
    """Show the place."""
    if out.place.size:
        out.place[0] = state.x


class Steer(Family):
    """A point on a line, to be pushed to the origin against the wind."""

    Params, Arrays = SteerParams, SteerArrays
    observations = ("place",)
    time_limit = 20
    reset, step, observe = steer_reset, steer_step, steer_observe

    def __init__(self, *, wind: float = 0.05) -> None:
        """Choose the wind."""
        self.params = SteerParams(float(wind))
        self.state_dtype = np.dtype([("x", np.float64)])
        self.action_space = Box(-1.0, 1.0, (1,), np.float32)
        self.spaces = {"place": Box(-10.0, 10.0, (1,), np.float32)}


class PixelParams(NamedTuple):
    """Numbers of the kernel."""

    side: int


class PixelArrays(NamedTuple):
    """Observations and labels, named as in the mazes."""

    image: np.ndarray
    velocity: np.ndarray
    depth: np.ndarray
    loop_closure: np.ndarray


def pixel_reset(state: Any, params: Any) -> None:
    """Put the spot and the goal somewhere."""
    state.x = integers(state, SPAWN, params.side)
    state.goal = integers(state, SPAWN, params.side)
    state.v = 0


def pixel_step(state: Any, action: Any, params: Any) -> Any:
    """Move the spot left, right or not; the goal pays once and moves on."""
    state.v = action - 1
    state.x = (state.x + state.v) % params.side
    reward = 0.0
    if state.x == state.goal:
        reward = 1.0
        state.goal = integers(state, NOISE, params.side)
    return reward, False


def pixel_observe(state: Any, params: Any, out: Any) -> None:
    """Draw what is asked for."""
    if out.image.size:
        out.image[:] = 0
        out.image[:, state.x, 0] = 255
        out.image[:, state.goal, 1] = 255
    if out.velocity.size:
        out.velocity[:] = 0.0
        out.velocity[0] = state.v
    if out.depth.size:
        out.depth[:] = abs(state.x - state.goal) % 8
    if out.loop_closure.size:
        out.loop_closure[0] = 1 if state.x % 2 else 0


class Pixels(Family):
    """A spot on a ring of pixels that collects goals; cut after 30 steps."""

    Params, Arrays = PixelParams, PixelArrays
    observations = ("image", "velocity")
    labels = ("depth", "loop_closure")
    time_limit = 30
    reset, step, observe = pixel_reset, pixel_step, pixel_observe

    def __init__(self, *, side: int = 21) -> None:
        """Choose the size of the image."""
        self.params = PixelParams(int(side))
        self.state_dtype = np.dtype([("x", "i8"), ("goal", "i8"), ("v", "i8")])
        self.action_space = Discrete(3)
        self.spaces = {
            "image": Box(0, 255, (side, side, 3), np.uint8),
            "velocity": Box(-1.0, 1.0, (6,), np.float32),
            "depth": Box(0, 7, (4, 16), np.uint8),
            "loop_closure": Box(0, 1, (1,), np.uint8),
        }


register("tests/Steer-v0", "small_worlds:Steer")
register("tests/Pixels-v0", "small_worlds:Pixels")
