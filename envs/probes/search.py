"""Find a number in a sorted list through three registers: BinarySearch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

from daedalus.envs.canvas import BLUE, GOLD, GREEN, GREY, RED, Canvas
from daedalus.envs.core import Family
from daedalus.envs.probes.common import need
from daedalus.envs.random import GOAL, LAYOUT, integers

INC, DIV, AVG, CMP = range(4)
LESS, EQUAL, GREATER, NOTHING = range(4)


class SearchParams(NamedTuple):
    """Range of the list's length."""

    low: int
    high: int
    reward: float


class SearchArrays(NamedTuple):
    """The outcome of the last comparison."""

    outcome: np.ndarray


def search_reset(state: Any, params: SearchParams) -> None:
    """Draw length and place; the registers hold the length, 0 and 0."""
    state.length = params.low + integers(state, LAYOUT, params.high - params.low + 1)
    state.place = integers(state, GOAL, state.length)
    state.register[0] = state.length
    state.register[1] = 0
    state.register[2] = 0
    state.outcome = NOTHING
    state.last = 0
    state.time = 0


def search_step(state: Any, action: np.ndarray, params: SearchParams) -> tuple[float, bool]:
    """Change or compare one register."""
    state.time += 1
    register, which = state.register, action[1]
    state.outcome = NOTHING
    state.last = which
    if action[0] == INC:
        register[which] = min(register[which] + 1, state.length)
    elif action[0] == DIV:
        register[which] = register[which] // 2
    elif action[0] == AVG:
        register[which] = (register[0] + register[1] + register[2] - register[which]) // 2
    elif register[which] == state.place:
        state.outcome = EQUAL
        return params.reward * (1.0 - state.time / (2.0 * state.length + 1.0)), True
    else:
        state.outcome = LESS if state.place < register[which] else GREATER
    return 0.0, state.time > 2 * state.length


def search_observe(state: Any, params: SearchParams, out: SearchArrays) -> None:
    """Show the outcome one-hot."""
    out.outcome[:] = 0.0
    out.outcome[state.outcome] = 1.0


class BinarySearch(Family):
    """Find a number in a sorted list by comparing; halving finds it in logarithmic time.

    Observation:
        outcome: float32 (4,); one-hot of the last action's outcome: the number sought is smaller
            than, equal to, greater than the one in the list, or nothing was compared.
    Action:
        MultiDiscrete([4, 3]): what to do with which of three registers: 0 increase it by one, 1
        halve it, 2 set it to the average of the other two, 3 compare the list's entry there
        (divisions round down).
    Reward:
        10 (1 - t / (2 n + 1)) on finding the number at step t in a list of n, so that a scan from
        0 earns about 5; else 0.
    Episode end:
        Terminates when a comparison finds the number, and after 2 n + 1 steps.
    Parameters:
        low: Shortest list.
        high: Longest list; the length is drawn every episode.
    Version history:
        v0: first version.
    Source:
        Nachum et al. 2017, "Improving policy gradient by exploring under-appreciated rewards",
        section 5.1; registers start at (n, 0, 0). What the text leaves open (rounding, no entry
        beyond n) is ours.
    """

    Params, Arrays = SearchParams, SearchArrays
    observations = ("outcome",)
    keys = {"i": (0, 0), "h": (1, 0), "a": (2, 0), "s": (2, 2), "c": (3, 0), "v": (3, 2)}
    fps = 4
    reset, step, observe = search_reset, search_step, search_observe

    def __init__(self, *, low: int = 32, high: int = 512) -> None:
        """Choose the lengths."""
        need(2 <= low <= high, f"BinarySearch needs 2 <= low <= high, got {low}, {high}")
        self.params = SearchParams(int(low), int(high), 10.0)
        names = ("length", "place", "outcome", "time", "last")
        self.state_dtype = np.dtype([*((name, "i8") for name in names), ("register", "i8", (3,))])
        self.action_space = MultiDiscrete([4, 3])
        self.spaces = {"outcome": Box(0.0, 1.0, (4,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return the list as a rising slope, the number sought and the three registers on it."""
        canvas = Canvas(10.4, 4.6, 48)
        n = int(state["length"])
        bars = min(n, 96)
        for i in range(bars):
            x, height = 0.2 + 10 * i / bars, 0.3 + 2.4 * i / bars
            here = i == int(state["place"]) * bars // n
            canvas.box((x, 3.2 - height, x + 8 / bars, 3.2), GREEN if here else GREY)
        for i, colour in enumerate((BLUE, RED, GOLD)):
            x = 0.2 + 10 * (int(state["register"][i]) + 0.5) / (n + 1)
            points = [(x, 3.3), (x + 0.18, 3.62), (x - 0.18, 3.62)]
            canvas.polygon(points, colour)
            canvas.text(1.5 + 2 * i, 4.15, str(int(state["register"][i])), 0.4, colour)
        canvas.text(8.6, 4.15, "<=>-"[int(state["outcome"])], 0.5)
        return canvas.picture()
