"""Values known by hand: TwoStep and ConstantReward."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete

from daedalus.envs.canvas import BLUE, GOLD, GREEN, GREY, INK, Canvas
from daedalus.envs.core import Family
from daedalus.envs.probes.common import need


class TwoStepParams(NamedTuple):
    """No parameters; Numba needs one field."""

    unused: int


class TwoStepArrays(NamedTuple):
    """Where one is."""

    place: np.ndarray


def two_step_reset(state: Any, params: TwoStepParams) -> None:
    """Start in the first place."""
    state.room = 0


def two_step_step(state: Any, action: int, params: TwoStepParams) -> tuple[float, bool]:
    """Choose a side first; only the second choice pays."""
    if state.room == 0:
        state.room = 1 + action
        return 0.0, False
    good = state.room == 2 and action == 0
    return (1.0 if good else (0.2 if state.room == 1 else 0.0)), True


def two_step_observe(state: Any, params: TwoStepParams, out: TwoStepArrays) -> None:
    """Show the place one-hot."""
    out.place[:] = 0.0
    out.place[state.room] = 1.0


class TwoStep(Family):
    """Two choices, one reward: credit must reach back one step past a safe alternative.

    Observation:
        place: float32 (3,); one-hot of start, left, right.
    Action:
        Discrete(2).
    Reward:
        At the start action 0 goes left, action 1 right, for nothing. Left pays 0.2 for either
        action; right pays 1 for action 0 and 0 for action 1. The optimum is 1; a uniformly random
        policy earns 0.35.
    Episode end:
        Terminates after the second step.
    Parameters:
        None.
    Version history:
        v0: first version.
    Source:
        Ours, in the manner of the probe environments of Jones 2021, "Debugging RL, without the
        agonizing pain".
    """

    Params, Arrays = TwoStepParams, TwoStepArrays
    observations = ("place",)
    keys = {"left": 0, "right": 1}
    fps = 2
    reset, step, observe = two_step_reset, two_step_step, two_step_observe

    def __init__(self) -> None:
        """Nothing to choose."""
        self.params = TwoStepParams(0)
        self.state_dtype = np.dtype([("room", "i8")])
        self.action_space = Discrete(2)
        self.spaces = {"place": Box(0.0, 1.0, (3,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return the tree of choices: the agent, and coins as large as what a leaf pays."""
        canvas = Canvas(4.4, 3.1, 64)
        rooms = ((2.2, 0.55), (1.2, 1.55), (3.2, 1.55))
        leaves = ((0.75, 1, 0.13), (1.65, 1, 0.13), (2.75, 2, 0.29), (3.65, 2, 0.0))
        for room in rooms[1:]:
            canvas.line(rooms[0], room, GREY, 0.06)
        for x, room, coin in leaves:
            canvas.line(rooms[room], (x, 2.55), GREY, 0.06)
            canvas.disc(x, 2.55, 0.34, (250, 248, 242))
            canvas.disc(x, 2.55, coin, GOLD)
        for x, y in rooms:
            canvas.disc(x, y, 0.34, (214, 210, 200))
            canvas.ring(x, y, 0.34, INK, 0.05)
        canvas.disc(*rooms[int(state["room"])], 0.22, BLUE)
        return canvas.picture()


class ConstantParams(NamedTuple):
    """Length after which the episode terminates of itself; 0 for never."""

    length: int


class ConstantArrays(NamedTuple):
    """A constant."""

    one: np.ndarray


def constant_reset(state: Any, params: ConstantParams) -> None:
    """Nothing to draw."""


def constant_step(state: Any, action: int, params: ConstantParams) -> tuple[float, bool]:
    """Pay 1; `elapsed` is the engine's count of the steps before this one."""
    return 1.0, params.length > 0 and state.elapsed + 1 >= params.length


def constant_observe(state: Any, params: ConstantParams, out: ConstantArrays) -> None:
    """Show a one, whatever happens."""
    out.one[0] = 1.0


class ConstantReward(Family):
    """Reward 1 for ever: the value is known, so a wrong bootstrap shows.

    With a time limit the value of every state is 1 / (1 - gamma), because truncation is no end of
    the world. With ``length=1`` every episode terminates after one step and the value is 1.

    Observation:
        one: float32 (1,); always 1, so that the moment in the episode cannot be seen.
    Action:
        Discrete(2): without effect.
    Reward:
        1 for every step.
    Episode end:
        Truncates after 20 steps; terminates after ``length`` steps where that is positive.
    Parameters:
        length: Steps to termination, 0 for never.
    Version history:
        v0: first version.
    Source:
        stable-baselines3, ``tests/test_gae.py`` (test_infinite_horizon).
    """

    Params, Arrays = ConstantParams, ConstantArrays
    observations = ("one",)
    time_limit = 20
    keys = {"left": 0, "right": 1}
    reset, step, observe = constant_reset, constant_step, constant_observe

    def __init__(self, *, length: int = 0) -> None:
        """Choose the length."""
        need(length >= 0, f"ConstantReward needs length >= 0, got {length}")
        self.params = ConstantParams(int(length))
        self.state_dtype = np.dtype([("unused", "i8")])
        self.action_space = Discrete(2)
        self.spaces = {"one": Box(0.0, 1.0, (1,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return a clock: how much of the time limit has passed."""
        canvas = Canvas(2.4, 2.4, 80)
        for i in range(self.time_limit):
            angle = 2 * math.pi * i / self.time_limit
            x, y = 1.2 + 0.85 * math.sin(angle), 1.2 - 0.85 * math.cos(angle)
            passed = i <= int(state["elapsed"]) % self.time_limit
            canvas.disc(x, y, 0.1, GREEN if passed else (214, 210, 200))
        canvas.disc(1.2, 1.2, 0.42, GOLD)
        canvas.text(1.2, 1.2, "1", 0.44)
        return canvas.picture()
