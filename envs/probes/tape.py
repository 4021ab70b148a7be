"""Algorithmic tasks: read a tape, write another. Copy, Reverse, ReversedAddition and others."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from numba.extending import register_jitable

from daedalus.envs.canvas import BLUE, GOLD, GREEN, INK, Canvas
from daedalus.envs.core import Family
from daedalus.envs.probes.common import need
from daedalus.envs.random import LAYOUT, integers

COPY, DUPLICATED, REPEAT, REVERSE, ADDITION = range(5)
LONGEST = 32
"""Symbols on the input tape at most."""
SHOWN = 12
"""Cells of a row that a picture shows at most."""


class TapeParams(NamedTuple):
    """The task and its curriculum."""

    task: int
    base: int  # symbols; the blank is one more
    rows: int  # of the input: 1, or 2 for the addition
    min_length: int  # what the curriculum begins with
    max_length: int  # what it ends with
    window: int  # good episodes in a row for the next length
    shortfall: float  # reward that a good episode may lack


class TapeArrays(NamedTuple):
    """What stands under the head."""

    symbol: np.ndarray
    level: np.ndarray


def tape_reset(state: Any, params: TapeParams) -> None:
    """Draw an input and work out what has to be written; the first episode starts the course."""
    if state.episode == 1:
        state.level = params.min_length
        state.good = 0
    length = state.level + integers(state, LAYOUT, 3)
    state.length = length
    if params.task == DUPLICATED:
        state.length = max(length, 2) // 2 * 2
    for row in range(params.rows):
        for i in range(state.length):
            if params.task == DUPLICATED and i % 2 == 1:
                state.tape[row, i] = state.tape[row, i - 1]
            else:
                state.tape[row, i] = integers(state, LAYOUT, params.base)
    _solve(state, params)
    state.column = 0
    state.row = 0
    state.written = 0
    state.time = 0
    state.total = 0.0


@register_jitable
def _solve(state: Any, params: TapeParams) -> None:
    """Write the target."""
    n = state.length
    state.target_length = n
    for i in range(n):
        if params.task == REVERSE:
            state.target[i] = state.tape[0, n - 1 - i]
        elif params.task == DUPLICATED:
            state.target[i // 2] = state.tape[0, i]
        else:
            state.target[i] = state.tape[0, i]
    if params.task == DUPLICATED:
        state.target_length = n // 2
    elif params.task == REPEAT:
        for i in range(n):
            state.target[n + i] = state.tape[0, n - 1 - i]
            state.target[2 * n + i] = state.tape[0, i]
        state.target_length = 3 * n
    elif params.task == ADDITION:
        carry = 0
        for i in range(n):
            total = state.tape[0, i] + state.tape[1, i] + carry
            carry = 1 if total >= params.base else 0
            state.target[i] = total - params.base * carry
        if carry > 0:
            state.target[n] = carry
            state.target_length = n + 1


def tape_step(state: Any, action: np.ndarray, params: TapeParams) -> tuple[float, bool]:
    """Write if asked to, move the head, look at the clock."""
    state.time += 1
    reward, done = 0.0, False
    if action[1] == 1:
        if action[2] == state.target[state.written]:
            reward = 1.0
            state.written += 1
            done = state.written == state.target_length
        else:
            reward, done = -0.5, True
    if action[0] < 2:
        state.column = min(max(state.column + 2 * action[0] - 1, -1), LONGEST)
    else:
        state.row = min(max(state.row + 2 * action[0] - 5, -1), 2)
    if state.time > params.rows * state.length + state.target_length + 4:
        reward, done = -1.0, True
    state.total += reward
    if done:
        _promote(state, params)
    return reward, done


@register_jitable
def _promote(state: Any, params: TapeParams) -> None:
    """Lengthen the inputs after enough good episodes in a row."""
    state.good = state.good + 1 if state.total >= state.target_length - params.shortfall else 0
    if state.good == params.window and state.level < params.max_length:
        state.level += 1
        state.good = 0
    elif state.good == params.window:
        state.good -= 1


def tape_observe(state: Any, params: TapeParams, out: TapeArrays) -> None:
    """Show the symbol under the head one-hot; off the tape it is the blank."""
    inside = 0 <= state.column < state.length and 0 <= state.row < params.rows
    if out.symbol.size > 0:
        out.symbol[:] = 0.0
        out.symbol[state.tape[state.row, state.column] if inside else params.base] = 1.0
    if out.level.size > 0:
        out.level[0] = state.level


class Copy(Family):
    """Copy the input tape to the output.

    The five tape tasks share everything but the text to write. Their inputs grow: a curriculum in
    each environment lengthens them after enough good episodes in a row, and a seed starts it anew.

    Observation:
        symbol: float32 (base + 1,); the symbol under the head one-hot, the last entry the blank.
    Action:
        MultiDiscrete([moves, 2, base]): where the head moves (0 left, 1 right, with two rows 2 up,
        3 down), whether to write, and which symbol.
    Reward:
        +1 for each right symbol, -0.5 for a wrong one, -1 for running out of time.
    Episode end:
        Terminates when the target is complete, at a wrong symbol, or when time runs out: after
        input + target + 4 steps (the input counts both rows of the addition).
    Parameters:
        base: Number of symbols, at least 2.
        min_length: Length that the curriculum begins with; an input has 0, 1 or 2 symbols more.
        max_length: Length that the curriculum ends with, at most 30; equal to ``min_length`` for
            no curriculum.
    Version history:
        v0: first version.
    Source:
        Gym's algorithmic environments (Brockman et al. 2016, after Zaremba and Sutskever 2015), as
        used in Nachum et al. 2017, "Improving policy gradient by exploring under-appreciated
        rewards" (UREX). Gym keeps one curriculum for all copies in a process; here each has one.
    """

    Params, Arrays = TapeParams, TapeArrays
    observations = ("symbol",)
    infos = ("level",)
    keys = {"left": (0, 0, 0), "right": (1, 0, 0), "0": (1, 1, 0), "1": (1, 1, 1)}
    fps = 3
    reset, step, observe = tape_reset, tape_step, tape_observe
    task: ClassVar[int] = COPY
    window: ClassVar[int] = 10
    shortfall: ClassVar[float] = 1.0

    def __init__(self, *, base: int = 5, min_length: int = 2, max_length: int = 30) -> None:
        """Choose symbols and lengths."""
        self.build(base, min_length, max_length)

    def build(self, base: int, min_length: int, max_length: int) -> None:
        """Set parameters and spaces of a tape task."""
        name, rows = type(self).__name__, 2 if self.task == ADDITION else 1
        need(2 <= base <= 10, f"{name} needs base in 2 to 10, got {base}")
        need(
            1 <= min_length <= max_length <= 30,
            f"{name} needs 1 <= min_length <= max_length <= 30, got {min_length}, {max_length}",
        )
        lengths = int(min_length), int(max_length)
        self.params = TapeParams(self.task, base, rows, *lengths, self.window, self.shortfall)
        counters = ("length", "target_length", "column", "row", "written", "time", "level", "good")
        self.state_dtype = np.dtype(
            [(name, "i8") for name in counters]
            + [("total", "f8"), ("tape", "i1", (2, LONGEST)), ("target", "i1", (3 * LONGEST,))]
        )
        self.action_space = MultiDiscrete([2 * rows, 2, base])
        self.spaces = {
            "symbol": Box(0.0, 1.0, (base + 1,), np.float32),
            "level": Box(0, 30, (1,), np.int32),
        }

    def render(self, state: np.void) -> np.ndarray:
        """Return the tape above with the head on it, what was written and what is due below.

        What is longer than the picture scrolls; dots say where it goes on. The line between fills
        with what is written.
        """
        n, due, rows = int(state["length"]), int(state["target_length"]), self.params.rows
        at, written = int(state["column"]), int(state["written"])
        columns = min(max(self.params.max_length + (3 if self.task == ADDITION else 2), 8), SHOWN)
        canvas = Canvas(columns + 3, rows + 2.6, 32)
        first, last = _in_view(at, n, columns)
        for row in range(rows):
            for i in range(first, last):
                letter = str(state["tape"][row, i])
                _cell(canvas, i - first + 1.5, row + 0.9, letter, (250, 248, 242))
            _dots(canvas, row + 0.9, columns, first > 0, last < n)
        x, y = at - first + 1.5, float(state["row"]) + 0.9
        canvas.box((x - 0.5, y - 0.5, x + 0.5, y + 0.5), BLUE, 0.35, 0.1)
        end = 1.0 + min(n, columns)
        canvas.line((0.6, rows + 0.75), (end, rows + 0.75), (222, 218, 208) if due else GOLD, 0.05)
        if written:
            share = 0.6 + (end - 0.6) * written / due
            canvas.line((0.6, rows + 0.75), (share, rows + 0.75), GREEN, 0.05)
        first, last = _in_view(written, due, columns)
        for i in range(first, last):
            done, here = i < written, i == written
            colour = (188, 226, 198) if done else (250, 228, 170) if here else (222, 218, 208)
            letter = str(state["target"][i]) if done else "?"
            _cell(canvas, i - first + 1.5, rows + 1.7, letter, colour)
        _dots(canvas, rows + 1.7, columns, first > 0, last < due)
        return canvas.picture()


def _in_view(at: int, count: int, columns: int) -> tuple[int, int]:
    """Return the first of ``count`` cells that a row around ``at`` shows, and the one after it."""
    first = max(min(at - columns // 2, count - columns), 0)
    return first, min(first + columns, count)


def _dots(canvas: Canvas, y: float, columns: int, before: bool, after: bool) -> None:
    for there, x in ((before, 0.65), (after, columns + 1.35)):
        if there:
            canvas.disc(x, y, 0.1, INK)


def _cell(canvas: Canvas, x: float, y: float, letter: str, colour: tuple[int, int, int]) -> None:
    canvas.box((x - 0.45, y - 0.45, x + 0.45, y + 0.45), colour, round_=0.1)
    canvas.text(x, y, letter, 0.56, INK)


class DuplicatedInput(Copy):
    """Every symbol stands twice on the tape: write it once.

    Observation:
        symbol: float32 (base + 1,); as in ``Copy``.
    Action:
        MultiDiscrete([2, 2, base]), as in ``Copy``.
    Reward:
        As in ``Copy``.
    Episode end:
        As in ``Copy``.
    Parameters:
        base: Number of symbols, at least 2.
        min_length: Length of the input that the curriculum begins with; odd inputs lose a symbol.
        max_length: Length that it ends with, at most 30.
    Version history:
        v0: first version.
    Source:
        Gym's DuplicatedInput; see ``Copy``.
    """

    task = DUPLICATED


class RepeatCopy(Copy):
    """Write the input, the input backwards, and the input again.

    Observation:
        symbol: float32 (base + 1,); as in ``Copy``.
    Action:
        MultiDiscrete([2, 2, base]), as in ``Copy``.
    Reward:
        As in ``Copy``.
    Episode end:
        As in ``Copy``.
    Parameters:
        base: Number of symbols, at least 2.
        min_length: Length of the input that the curriculum begins with.
        max_length: Length that it ends with, at most 30. The next length comes after 50 episodes in
            a row that lack at most 0.1.
    Version history:
        v0: first version.
    Source:
        Gym's RepeatCopy; see ``Copy``.
    """

    task = REPEAT
    window = 50
    shortfall = 0.1


class Reverse(Copy):
    """Write the input backwards: find its end first.

    Observation:
        symbol: float32 (base + 1,); as in ``Copy``.
    Action:
        MultiDiscrete([2, 2, base]), as in ``Copy``.
    Reward:
        As in ``Copy``.
    Episode end:
        As in ``Copy``.
    Parameters:
        base: Number of symbols, at least 2.
        min_length: Length of the input that the curriculum begins with.
        max_length: Length that it ends with, at most 30. The next length comes after 50 episodes in
            a row that lack at most 0.1.
    Version history:
        v0: first version.
    Source:
        Gym's Reverse; see ``Copy``.
    """

    task = REVERSE
    window = 50
    shortfall = 0.1

    def __init__(self, *, base: int = 2, min_length: int = 1, max_length: int = 30) -> None:
        """Choose symbols and lengths."""
        self.build(base, min_length, max_length)


class ReversedAddition(Copy):
    """Add two numbers that stand below each other, least digit first, with carries.

    Observation:
        symbol: float32 (base + 1,); as in ``Copy``.
    Action:
        MultiDiscrete([4, 2, base]): the head moves left, right, up or down; then as in ``Copy``.
    Reward:
        As in ``Copy``.
    Episode end:
        As in ``Copy``.
    Parameters:
        base: Base of the numbers, at least 2.
        min_length: Digits that the curriculum begins with.
        max_length: Digits that it ends with, at most 30.
    Version history:
        v0: first version.
    Source:
        Gym's ReversedAddition; see ``Copy``.
    """

    task = ADDITION
    keys = {**Copy.keys, "up": (2, 0, 0), "down": (3, 0, 0), "2": (1, 1, 2)}

    def __init__(self, *, base: int = 3, min_length: int = 2, max_length: int = 30) -> None:
        """Choose base and lengths."""
        self.build(base, min_length, max_length)
