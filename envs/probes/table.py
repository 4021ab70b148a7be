"""Worlds small enough for a table: one kernel for all of them.

A world is a table of what every action does in every state; the kernel looks it up. Whatever fits
(grids, chains, a taxi) shares its compiled code, and its optimal policy can be computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba.extending import register_jitable

from daedalus.envs.core import Family
from daedalus.envs.probes.common import need
from daedalus.envs.random import GOAL, NOISE, SPAWN, integers, uniform

MOVE = np.dtype([("following", "i4"), ("reward", "f4"), ("slip", "f4"), ("ends", "?")], align=True)
"""What an action does in a state; ``slip`` is how probably another one happens instead."""


class TableParams(NamedTuple):
    """What every action does in every state (S states, A actions).

    Few and flat arrays: the compiled step receives every one of them by value.
    """

    moves: np.ndarray  # MOVE (S x A,): state after state
    others: np.ndarray  # int32 (A x K,): actions that happen instead, equally probable
    starts: np.ndarray  # int32 (N,): states to start in, equally probable
    goals: np.ndarray  # int32 (M,): states that may be the goal; empty for no goal
    shown: np.ndarray  # float32 (S x D,): what is seen of a state, and of the goal; or empty:
    hot: np.ndarray  # int32 (S,): where its one is, the rest being zeros (-1: all zeros)
    actions: int  # A
    count: int  # K
    width: int  # D
    goal_reward: float  # added on reaching the goal, which ends the episode
    remember: bool  # show the last action, one-hot, as well


class TableArrays(NamedTuple):
    """What a table can show."""

    place: np.ndarray


def table_reset(state: Any, params: TableParams) -> None:
    """Draw the goal, if there is one, and a start elsewhere."""
    state.goal = -1
    if params.goals.size > 0:
        state.goal = params.goals[integers(state, GOAL, params.goals.size)]
    state.place = params.starts[integers(state, SPAWN, params.starts.size)]
    while state.place == state.goal:
        state.place = params.starts[integers(state, SPAWN, params.starts.size)]
    state.action = -1


def table_step(state: Any, action: int, params: TableParams) -> tuple[float, bool]:
    """Look up what the action does, or the one that happens instead."""
    state.action = action
    move = params.moves[state.place * params.actions + action]
    if move.slip > 0.0 and uniform(state, NOISE) < move.slip:
        action = params.others[action * params.count + integers(state, NOISE, params.count)]
        move = params.moves[state.place * params.actions + action]
    state.place = move.following
    if state.place == state.goal:
        return move.reward + params.goal_reward, True
    return move.reward, move.ends


def table_observe(state: Any, params: TableParams, out: TableArrays) -> None:
    """Show the state, the goal, and the last action."""
    size = params.width
    out.place[:] = 0.0
    _show(state.place, params, out.place, 0)
    if state.goal >= 0:
        _show(state.goal, params, out.place, size)
        size *= 2
    if params.remember and state.action >= 0:
        out.place[size + state.action] = 1.0


@register_jitable
def _show(place: int, params: TableParams, seen: np.ndarray, first: int) -> None:
    """Write what is shown of a state among zeros, from entry ``first`` on."""
    if params.hot.size > 0:
        if params.hot[place] >= 0:
            seen[first + params.hot[place]] = 1.0
        return
    for i in range(params.width):
        seen[first + i] = params.shown[place * params.width + i]


class Table(Family):
    """A world given by a table; the base of Cliff, Chain, DeepSea, Taxi and the grids.

    Attributes:
        params: The table.
    """

    Params, Arrays = TableParams, TableArrays
    observations = ("place",)
    keys = {"left": 0, "down": 1, "right": 2, "up": 3}
    fps = 6
    reset, step, observe = table_reset, table_step, table_observe

    def configure(
        self,
        following: np.ndarray,
        *,
        reward: np.ndarray | float = 0.0,
        ends: np.ndarray | bool = False,
        slip: Sequence[float] = (),
        others: Sequence[Sequence[int]] = (),
        starts: Sequence[int] = (0,),
        goals: Sequence[int] = (),
        goal_reward: float = 1.0,
        shown: np.ndarray | None = None,
        remember: bool = False,
    ) -> None:
        """Set parameters and spaces from the columns of ``TableParams``.

        What is absent is 0, False, or for ``shown`` one-hot.
        """
        states, actions = following.shape
        shown = np.eye(states) if shown is None else shown
        one_hot = bool(np.isin(shown, (0, 1)).all() and (shown.sum(1) <= 1).all())
        hot = np.where(shown.any(1), shown.argmax(1), -1)
        moves = np.zeros((states, actions), MOVE)
        moves["following"], moves["reward"], moves["ends"] = following, reward, ends
        moves["slip"] = slip if len(slip) else 0.0
        self.params = TableParams(
            _column(moves, MOVE),
            _column(others if len(others) else np.arange(actions), np.int32),
            _column(starts, np.int32),
            _column(goals, np.int32),
            _column(() if one_hot else shown, np.float32),
            _column(hot if one_hot else (), np.int32),
            actions,
            max(np.size(others) // actions, 1),
            shown.shape[1],
            float(goal_reward),
            bool(remember),
        )
        self.state_dtype = np.dtype([("place", "i8"), ("goal", "i8"), ("action", "i8")])
        self.action_space = Discrete(actions)
        size = shown.shape[1] * (2 if len(goals) else 1) + (actions if remember else 0)
        high = max(float(shown.max()), 1.0)
        self.spaces = {"place": Box(0.0, high, (size,), np.float32)}

    def optimal_values(self, gamma: float = 1.0, goal: int = -1, steps: int = 10_000) -> np.ndarray:
        """Return the optimal expected return of every state, float64 (S,).

        Args:
            gamma: Discount.
            goal: State that ends the episode with the goal's reward; -1 for none.
            steps: Sweeps of value iteration at most; it stops when nothing changes any more.
        """
        value = np.zeros(self.params.moves.size // self.params.actions)
        for _ in range(steps):
            new = self.action_values(value, gamma, goal).max(1)
            if np.abs(new - value).max() < 1e-12:
                break
            value = new
        return value

    def action_values(self, value: np.ndarray, gamma: float = 1.0, goal: int = -1) -> np.ndarray:
        """Return one step of lookahead from the values of states: float64 (S, A)."""
        p = self.params
        moves, others = p.moves.reshape(-1, p.actions), p.others.reshape(p.actions, -1)
        at_goal = moves["following"] == goal
        once = moves["reward"] + p.goal_reward * at_goal
        once = once + gamma * np.where(moves["ends"] | at_goal, 0.0, value[moves["following"]])
        return np.asarray((1 - moves["slip"]) * once + moves["slip"] * once[:, others].mean(2))


def _column(values: Any, dtype: Any) -> np.ndarray:
    array = np.ascontiguousarray(values, dtype).reshape(-1)
    array.flags.writeable = False
    return array


def grid_moves(walls: np.ndarray) -> np.ndarray:
    """Return where left, down, right and up lead from every square: int64 (squares, 4).

    Args:
        walls: bool (rows, columns); walls and the rim hold one back.
    """
    rows, columns = walls.shape
    row, column = np.indices(walls.shape)
    following = np.empty((walls.size, 4), np.int64)
    for action, (down, right) in enumerate(((0, -1), (1, 0), (0, 1), (-1, 0))):
        r = np.clip(row + down, 0, rows - 1)
        c = np.clip(column + right, 0, columns - 1)
        there = np.where(walls[r, c], row * columns + column, r * columns + c)
        following[:, action] = there.ravel()
    return following


def read_grid(text: str, name: str) -> np.ndarray:
    """Return the characters of a map, one line a row.

    Raises:
        ValueError: The lines differ in length.
    """
    lines = text.split()
    even = len(lines) > 0 and len({len(line) for line in lines}) == 1
    need(even, f"{name}: the lines of the map must have one length, got {lines}")
    return np.array([list(line) for line in lines])
