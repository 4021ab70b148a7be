"""Small tasks with known answers: each asks one thing of an agent and steps very fast."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete

from daedalus.envs.core import Family
from daedalus.envs.random import GOAL, NOISE, SPAWN, integers, normal

_CELL = 16  # pixels of a cell in pictures


def _need(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _picture(cells: np.ndarray) -> np.ndarray:
    """Return an RGB picture of a grid of values in [0, 1], dark blue to yellow."""
    value = cells[..., None].astype(np.float64)
    colours = (1 - value) * np.array([26, 28, 64]) + value * np.array([250, 210, 70])
    return np.kron(colours, np.ones((_CELL, _CELL, 1))).astype(np.uint8)


# -------------------------------------------------------------------------------------------- Catch


class CatchParams(NamedTuple):
    """Size of the board."""

    rows: int
    columns: int


class CatchArrays(NamedTuple):
    """What Catch can show."""

    board: np.ndarray


def catch_reset(state: Any, params: CatchParams) -> None:
    """Put the ball in the top row and the paddle in the middle of the bottom row."""
    state.ball_row = 0
    state.ball_column = integers(state, SPAWN, params.columns)
    state.paddle = params.columns // 2


def catch_step(state: Any, action: int, params: CatchParams) -> tuple[float, bool]:
    """Move the paddle, then let the ball fall one row."""
    state.paddle = min(max(state.paddle + action - 1, 0), params.columns - 1)
    state.ball_row += 1
    if state.ball_row < params.rows - 1:
        return 0.0, False
    return (1.0 if state.ball_column == state.paddle else -1.0), True


def catch_observe(state: Any, params: CatchParams, out: CatchArrays) -> None:
    """Draw ball and paddle as ones."""
    out.board[:] = 0.0
    out.board[state.ball_row, state.ball_column] = 1.0
    out.board[params.rows - 1, state.paddle] = 1.0


class Catch(Family):
    """Catch a falling ball with a paddle.

    The first task for any agent: short episodes, one reward at the end, a policy that needs the
    whole board.

    Observation:
        board: float32 (rows, columns); 1 where the ball is and where the paddle is, else 0.
    Action:
        Discrete(3): 0 paddle left, 1 stay, 2 paddle right (one column).
    Reward:
        +1 when the ball reaches the bottom row on the paddle, -1 when it does not; 0 before.
    Episode end:
        Terminates when the ball reaches the bottom row, after ``rows - 1`` steps.
    Parameters:
        rows: Height of the board in cells, at least 2.
        columns: Width of the board in cells, at least 1.
    Version history:
        v0: first version.
    Source:
        Mnih et al. 2014, "Recurrent models of visual attention"; bsuite's Catch (Osband et al.
        2020).
    """

    Params, Arrays = CatchParams, CatchArrays
    observations = ("board",)
    keys = {"left": 0, "right": 2, "": 1}
    fps = 6
    reset, step, observe = catch_reset, catch_step, catch_observe

    def __init__(self, *, rows: int = 10, columns: int = 5) -> None:
        """Choose the size of the board."""
        _need(
            rows >= 2 and columns >= 1,
            f"Catch needs rows >= 2, columns >= 1: got {rows}, {columns}",
        )
        self.params = CatchParams(int(rows), int(columns))
        self.state_dtype = np.dtype([("ball_row", "i8"), ("ball_column", "i8"), ("paddle", "i8")])
        self.action_space = Discrete(3)
        self.spaces = {"board": Box(0.0, 1.0, (rows, columns), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return the board as a picture."""
        board = np.zeros((self.params.rows, self.params.columns))
        board[state["ball_row"], state["ball_column"]] = 1.0
        board[-1, state["paddle"]] = 0.6
        return _picture(board)


# ----------------------------------------------------------------------------------------- Identity


class IdentityParams(NamedTuple):
    """Number of symbols and strength of the noise."""

    symbols: int
    noise: float


class SymbolArrays(NamedTuple):
    """A vector that shows a symbol."""

    symbol: np.ndarray


def identity_reset(state: Any, params: IdentityParams) -> None:
    """Draw the first symbol."""
    state.symbol = integers(state, GOAL, params.symbols)


def identity_step(state: Any, action: int, params: IdentityParams) -> tuple[float, bool]:
    """Pay 1 for naming the symbol and draw the next."""
    reward = 1.0 if action == state.symbol else 0.0
    state.symbol = integers(state, GOAL, params.symbols)
    return reward, False


def identity_observe(state: Any, params: IdentityParams, out: SymbolArrays) -> None:
    """Show the symbol one-hot, with noise added."""
    out.symbol[:] = 0.0
    out.symbol[state.symbol] = 1.0
    if params.noise > 0.0:
        for i in range(params.symbols):
            out.symbol[i] += params.noise * normal(state, NOISE)


class Identity(Family):
    """Name the symbol shown: reward depends on nothing but this observation and this action.

    Observation:
        symbol: float32 (symbols,); one-hot, plus Gaussian noise where asked for.
    Action:
        Discrete(symbols): the symbol named.
    Reward:
        1 if the action equals the symbol shown, else 0. A blind policy earns 1 / symbols a step.
    Episode end:
        Truncates after 100 steps.
    Parameters:
        symbols: Number of symbols, at least 2.
        noise: Standard deviation of the noise on each entry.
    Version history:
        v0: first version.
    Source:
        The IdentityEnv of stable-baselines3's tests; the noise is ours.
    """

    Params, Arrays = IdentityParams, SymbolArrays
    observations = ("symbol",)
    time_limit = 100
    keys = {str(i): i for i in range(10)}
    fps = 4
    reset, step, observe = identity_reset, identity_step, identity_observe

    def __init__(self, *, symbols: int = 4, noise: float = 0.0) -> None:
        """Choose the number of symbols and the noise."""
        _need(symbols >= 2, f"Identity needs symbols >= 2, got {symbols}")
        _need(noise >= 0, f"Identity needs noise >= 0, got {noise}")
        self.params = IdentityParams(int(symbols), float(noise))
        self.state_dtype = np.dtype([("symbol", "i8")])
        self.action_space = Discrete(symbols)
        bound = 1.0 if noise == 0 else np.inf
        self.spaces = {"symbol": Box(-bound if noise else 0.0, bound, (symbols,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return the one-hot symbol as a row of cells."""
        return _picture(np.eye(self.params.symbols)[state["symbol"]][None])


# ------------------------------------------------------------------------------------------ TwoStep


class TwoStepParams(NamedTuple):
    """No parameters; Numba needs one field."""

    unused: int


class TwoStepArrays(NamedTuple):
    """Where one is."""

    place: np.ndarray


def two_step_reset(state: Any, params: TwoStepParams) -> None:
    """Start in the first place."""
    state.place = 0


def two_step_step(state: Any, action: int, params: TwoStepParams) -> tuple[float, bool]:
    """Choose a side first; only the second choice pays."""
    if state.place == 0:
        state.place = 1 + action
        return 0.0, False
    good = state.place == 2 and action == 0
    return (1.0 if good else (0.2 if state.place == 1 else 0.0)), True


def two_step_observe(state: Any, params: TwoStepParams, out: TwoStepArrays) -> None:
    """Show the place one-hot."""
    out.place[:] = 0.0
    out.place[state.place] = 1.0


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
        self.state_dtype = np.dtype([("place", "i8")])
        self.action_space = Discrete(2)
        self.spaces = {"place": Box(0.0, 1.0, (3,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return the place as a row of three cells."""
        return _picture(np.eye(3)[state["place"]][None])


# ------------------------------------------------------------------------------------------- Recall


class RecallParams(NamedTuple):
    """Number of cues and steps between cue and answer."""

    symbols: int
    delay: int


def recall_reset(state: Any, params: RecallParams) -> None:
    """Draw the cue."""
    state.cue = integers(state, GOAL, params.symbols)
    state.moment = 0


def recall_step(state: Any, action: int, params: RecallParams) -> tuple[float, bool]:
    """Wait; the last action must name the cue."""
    state.moment += 1
    if state.moment <= params.delay:
        return 0.0, False
    return (1.0 if action == state.cue else -1.0), True


def recall_observe(state: Any, params: RecallParams, out: SymbolArrays) -> None:
    """Show the cue at the first moment only, and the question at the last."""
    out.symbol[:] = 0.0
    if state.moment == 0:
        out.symbol[state.cue] = 1.0
    elif state.moment >= params.delay:
        out.symbol[params.symbols] = 1.0


class Recall(Family):
    """Remember a cue over a delay: impossible without memory, easy with it.

    Observation:
        symbol: float32 (symbols + 1,); the cue one-hot at the first step, zeros while waiting, the
            last entry 1 when
        the answer is due.
    Action:
        Discrete(symbols): counts at the last step only.
    Reward:
        At the last step +1 for naming the cue, -1 otherwise. Without memory the best is 2 / symbols
        - 1 (0 for two).
    Episode end:
        Terminates after ``delay + 1`` steps.
    Parameters:
        symbols: Number of cues, at least 2.
        delay: Steps between cue and answer, at least 1.
    Version history:
        v0: first version.
    Source:
        bsuite's memory length task (Osband et al. 2020), simplified.
    """

    Params, Arrays = RecallParams, SymbolArrays
    observations = ("symbol",)
    keys = {str(i): i for i in range(10)}
    fps = 4
    reset, step, observe = recall_reset, recall_step, recall_observe

    def __init__(self, *, symbols: int = 2, delay: int = 5) -> None:
        """Choose the number of cues and the delay."""
        _need(symbols >= 2, f"Recall needs symbols >= 2, got {symbols}")
        _need(delay >= 1, f"Recall needs delay >= 1, got {delay}")
        self.params = RecallParams(int(symbols), int(delay))
        self.state_dtype = np.dtype([("cue", "i8"), ("moment", "i8")])
        self.action_space = Discrete(symbols)
        self.spaces = {"symbol": Box(0.0, 1.0, (symbols + 1,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return cues above, the moment in the episode below."""
        size = max(self.params.symbols, self.params.delay + 2)
        cells = np.zeros((2, size))
        cells[0, state["cue"]] = 1.0
        cells[1, : state["moment"] + 1] = 0.5
        return _picture(cells)


# ----------------------------------------------------------------------------------- ConstantReward


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
        _need(length >= 0, f"ConstantReward needs length >= 0, got {length}")
        self.params = ConstantParams(int(length))
        self.state_dtype = np.dtype([("unused", "i8")])
        self.action_space = Discrete(2)
        self.spaces = {"one": Box(0.0, 1.0, (1,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return how much of the time limit has passed."""
        cells = np.zeros((1, 20))
        cells[0, : 1 + int(state["elapsed"]) % 20] = 1.0
        return _picture(cells)
