"""ClimbingGame: matrix games in which two have to agree on the best cell."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium.spaces import Box

from daedalus.envs.canvas import GOLD, GREEN, INK, RED, Canvas
from daedalus.envs.cooperation.family import Cooperative

GAMES: dict[str, tuple[list[list[list[float]]], list[list[int]]]] = {
    "climbing": ([[[11, -30, 0], [-30, 7, 6], [0, 0, 5]]], [[-1, -1, -1]]),
    "penalty": ([[[10, 0, -100], [0, 2, 0], [-100, 0, 10]]], [[-1, -1, -1]]),
    "two_step": (
        [[[0, 0], [0, 0]], [[7, 7], [7, 7]], [[0, 1], [1, 8]]],
        [[1, 2], [-1, -1], [-1, -1]],
    ),
}
"""Name -> rewards (stages, A, A), and the stage after the first agent's action, -1 for the end."""


class MatrixParams(NamedTuple):
    """What the cells pay and where they lead."""

    reward: np.ndarray  # float64 (stages, A, A)
    following: np.ndarray  # int64 (stages, A), by the first agent's action


class MatrixArrays(NamedTuple):
    """What the two see and got."""

    observation: np.ndarray
    action_mask: np.ndarray
    rewards: np.ndarray


def matrix_reset(state: Any, params: MatrixParams) -> None:
    """Begin at the first stage."""
    state.stage, state.last = 0, 0
    state.row, state.column = -1, -1


def matrix_step(state: Any, action: np.ndarray, params: MatrixParams) -> tuple[float, bool]:
    """Pay the cell; go to the next stage, if there is one."""
    state.last, state.row, state.column = state.stage, action[0], action[1]
    reward = params.reward[state.stage, action[0], action[1]]
    state.rewards[0] = state.rewards[1] = reward
    following = params.following[state.stage, action[0]]
    if following < 0:
        return reward, True
    state.stage = following
    return reward, False


def matrix_observe(state: Any, params: MatrixParams, out: MatrixArrays) -> None:
    """Show both the stage."""
    if out.observation.size > 0:
        out.observation[:] = 0.0
        out.observation[:, state.stage] = 1.0
    if out.action_mask.size > 0:
        out.action_mask[:] = 1
    if out.rewards.size > 0:
        out.rewards[:] = 0.0 if state.elapsed == 0 else state.rewards[0]


class ClimbingGame(Cooperative):
    """Agree on the best cell of a table when one who errs alone pays for both.

    Climbing: the best cell (first, first) pays 11, but while the other explores, the first action
    brings -30 and the safe third one looks better. Two steps: the first agent leads to a table that
    always pays 7, or to one that pays 8 where both take the second action.

    Observation:
        observation: float32 (2, stages); one-hot, the stage, the same for both.
    Action:
        MultiDiscrete(A, A): row and column, A = 3; two steps: 2.
    Reward:
        Both get the cell: climbing [[11, -30, 0], [-30, 7, 6], [0, 0, 5]]; penalty [[10, 0, -100],
        [0, 2, 0], [-100, 0, 10]]; two steps: 0, then 7 or [[0, 1], [1, 8]].
    Episode end:
        Terminates after one step; two steps: after two.
    Parameters:
        game: ``"climbing"``, ``"penalty"`` or ``"two_step"``.
    Version history:
        v0: first version.
    Source:
        Claus and Boutilier 1998, "The dynamics of reinforcement learning in cooperative multiagent
        systems" (climbing, penalty); Rashid et al. 2018, QMIX (1803.11485), two steps.
    """

    Params, Arrays = MatrixParams, MatrixArrays
    observations: ClassVar[tuple[str, ...]] = ("observation",)
    keys = {"1": (0, 0), "2": (1, 1), "3": (1, 0), "4": (0, 1)}
    fps = 1
    reset, step, observe = matrix_reset, matrix_step, matrix_observe
    params: MatrixParams

    def __init__(self, *, game: str = "climbing") -> None:
        """Choose the game."""
        if game not in GAMES:
            raise ValueError(f"ClimbingGame: game must be one of {', '.join(GAMES)}, got {game!r}")
        reward, following = GAMES[game]
        self.params = MatrixParams(np.array(reward, float), np.array(following))
        stages, actions, _ = self.params.reward.shape
        self.describe(["row", "column"], [actions, actions])
        self.state_dtype = self.fields(stage=None, last=None, row=None, column=None)
        self.spaces["observation"] = Box(0.0, 1.0, (2, stages), np.float32)

    def render(self, state: np.void) -> np.ndarray:
        """Return the table that was played last, its cells coloured by what they pay."""
        table = self.params.reward[int(state["last"] if state["row"] >= 0 else state["stage"])]
        size, best = len(table), max(float(np.abs(self.params.reward).max()), 1.0)
        canvas = Canvas(size + 0.6, size + 0.6, 96, (240, 238, 232))
        for i, j in np.ndindex(size, size):
            tint = np.array(GREEN if table[i, j] > 0 else RED, float)
            share = min(abs(table[i, j]) / best, 1.0) ** 0.5
            red, green, blue = (int(v) for v in 250 + share * (tint - 250))
            box = (0.34 + j, 0.34 + i, 1.26 + j, 1.26 + i)
            if (i, j) == (state["row"], state["column"]):
                canvas.box((box[0] - 0.06, box[1] - 0.06, box[2] + 0.06, box[3] + 0.06), GOLD, 1.0)
            canvas.box(box, (red, green, blue), 1.0, 0.08)
            canvas.text(0.8 + j, 0.8 + i, f"{table[i, j]:.0f}", 0.3, INK)
        return canvas.picture()
