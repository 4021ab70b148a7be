"""A falling ball and a paddle: Catch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete

from daedalus.envs.canvas import BLUE, GOLD, Canvas
from daedalus.envs.core import Family
from daedalus.envs.probes.common import need
from daedalus.envs.random import NOISE, SPAWN, integers, normal


class CatchParams(NamedTuple):
    """Size and looks of the board."""

    rows: int
    columns: int
    flipped: bool
    inverted: bool
    noise: float
    ball: float
    paddle: float


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
    """Draw ball and paddle as ones, or in the looks asked for."""
    sign = -1.0 if params.inverted else 1.0
    ground = 1.0 if params.inverted else 0.0
    out.board[:] = ground
    ball, paddle = state.ball_column, state.paddle
    if params.flipped:
        ball, paddle = params.columns - 1 - ball, params.columns - 1 - paddle
    out.board[state.ball_row, ball] = ground + sign * params.ball
    out.board[params.rows - 1, paddle] = ground + sign * params.paddle
    if params.noise > 0.0:
        for row in range(params.rows):
            for column in range(params.columns):
                out.board[row, column] += params.noise * normal(state, NOISE)


class Catch(Family):
    """Catch a falling ball with a paddle.

    The first task for any agent: short episodes, one reward at the end, a policy that needs the
    whole board.

    Observation:
        board: float32 (rows, columns); 1 where the ball is and where the paddle is, else 0, or in
            other looks.
    Action:
        Discrete(3): 0 paddle left, 1 stay, 2 paddle right (one column).
    Reward:
        +1 when the ball reaches the bottom row on the paddle, -1 when it does not; 0 before.
    Episode end:
        Terminates when the ball reaches the bottom row, after ``rows - 1`` steps.
    Parameters:
        rows: Height of the board in cells, at least 2.
        columns: Width of the board in cells, at least 1.
        flipped: Show the board mirrored (actions stay as they are): a related task.
        inverted: Show zeros for ones and ones for zeros.
        noise: Standard deviation of noise on every cell.
        ball: Number that shows the ball, its colour; not 0.
        paddle: Number that shows the paddle; not 0.
    Version history:
        v0: first version.
    Source:
        Mnih et al. 2014, "Recurrent models of visual attention"; bsuite's Catch (Osband et al.
        2020). The looks are for studying transfer, as in Rusu et al. 2016, "Progressive networks".
    """

    Params, Arrays = CatchParams, CatchArrays
    observations = ("board",)
    keys = {"left": 0, "right": 2, "": 1}
    fps = 6
    reset, step, observe = catch_reset, catch_step, catch_observe

    def __init__(
        self,
        *,
        rows: int = 10,
        columns: int = 5,
        flipped: bool = False,
        inverted: bool = False,
        noise: float = 0.0,
        ball: float = 1.0,
        paddle: float = 1.0,
    ) -> None:
        """Choose size and looks of the board."""
        enough = rows >= 2 and columns >= 1
        need(enough, f"Catch needs rows >= 2, columns >= 1: got {rows}, {columns}")
        need(noise >= 0, f"Catch needs noise >= 0, got {noise}")
        need(ball != 0 and paddle != 0, f"Catch needs colours other than 0: {ball}, {paddle}")
        looks = bool(flipped), bool(inverted), float(noise), float(ball), float(paddle)
        self.params = CatchParams(int(rows), int(columns), *looks)
        self.state_dtype = np.dtype([("ball_row", "i8"), ("ball_column", "i8"), ("paddle", "i8")])
        self.action_space = Discrete(3)
        shown = np.array([0.0, 1.0, ball, paddle])
        shown = np.append(shown, 1 - shown) if inverted else shown
        low, high = (shown.min(), shown.max()) if noise == 0 else (-np.inf, np.inf)
        self.spaces = {"board": Box(low, high, (rows, columns), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return the board by night: a ball that falls, and the paddle."""
        canvas = Canvas(self.params.columns, self.params.rows, 32, (30, 34, 62))
        x, y = state["ball_column"] + 0.5, state["ball_row"] + 0.5
        paddle, floor = int(state["paddle"]), self.params.rows
        canvas.box((x - 0.04, 0, x + 0.04, y), (250, 250, 255), 0.1)
        canvas.disc(x, y, 0.36, GOLD)
        canvas.disc(x - 0.1, y - 0.1, 0.1, (255, 234, 180))
        canvas.box((paddle, floor - 0.45, paddle + 1, floor - 0.05), BLUE, round_=0.18)
        canvas.box((paddle + 0.2, floor - 0.4, paddle + 0.8, floor - 0.32), (150, 190, 250))
        return canvas.picture()
