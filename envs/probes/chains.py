"""Exploration on the table: the six-state Chain and DeepSea."""

from __future__ import annotations

import numpy as np

from daedalus.envs.canvas import BLUE, GOLD, GREY, INK, PAPER, WATER, Canvas
from daedalus.envs.probes.common import need
from daedalus.envs.probes.table import Table


class Chain(Table):
    """Six states in a row: go right against the odds before you go left, or earn a hundredth.

    The reward depends on whether the last state was visited, which the observation does not say: a
    policy needs memory, or goals ("first to the end").

    Observation:
        place: float32 (length,); the state one-hot. With ``markov`` one more entry, 1 after a visit
            of the last state.
    Action:
        Discrete(2): 0 left, 1 right. Right succeeds with probability 0.5 and else goes left.
    Reward:
        On reaching the first state 1 if the last one was visited, else 0.01; 0 before.
    Episode end:
        Terminates at the first state; truncated after 100 steps.
    Parameters:
        length: Number of states, at least 3. The episode starts in the second.
        markov: Show whether the last state was visited.
    Version history:
        v0: first version.
    Source:
        Kulkarni et al. 2016, "Hierarchical deep reinforcement learning", section 4.1.
    """

    time_limit = 100
    keys = {"left": 0, "right": 1}

    def __init__(self, *, length: int = 6, markov: bool = False) -> None:
        """Choose the length."""
        need(length >= 3, f"Chain needs length >= 3, got {length}")
        self.length = length
        place, visited = np.arange(2 * length) % length, np.arange(2 * length) // length
        following, reward = np.zeros((2 * length, 2), np.int64), np.zeros((2 * length, 2))
        for action, move in enumerate((-1, 1)):
            to = np.clip(place + move, 0, length - 1)
            seen = np.maximum(visited, to == length - 1)
            following[:, action] = to + length * seen
            reward[:, action] = np.where(to == 0, np.where(seen == 1, 1.0, 0.01), 0.0)
        shown = np.eye(length)[place]
        if markov:
            shown = np.column_stack([shown, visited])
        self.configure(
            following,
            reward=reward,
            ends=following % length == 0,
            slip=[0.0, 0.5],
            others=[[0], [0]],
            starts=[1],
            shown=shown,
        )

    def render(self, state: np.void) -> np.ndarray:
        """Return the states as a row of rings; the last one is gold once it was visited."""
        place, visited = int(state["place"]) % self.length, int(state["place"]) >= self.length
        canvas = Canvas(self.length + 0.4, 1.4, 64)
        for i in range(self.length - 1):
            canvas.line((i + 1.05, 0.7), (i + 1.35, 0.7), GREY, 0.05)
        for i in range(self.length):
            last = i == self.length - 1
            canvas.disc(i + 0.7, 0.7, 0.36, GOLD if last and visited else (214, 210, 200))
            canvas.ring(i + 0.7, 0.7, 0.36, GOLD if last else INK, 0.05)
        canvas.disc(place + 0.7, 0.7, 0.24, BLUE)
        return canvas.picture()


class DeepSea(Table):
    """Dive to the treasure: only going right at every step finds it, and right always costs.

    An undirected explorer needs about 2^size episodes; one that keeps uncertainty needs a
    polynomial number.

    Observation:
        place: float32 (size x size,); the square one-hot, row by row (zeros after the dive).
    Action:
        Discrete(2). Every step sinks one row. Which action goes right differs from square to square
        (drawn once from ``mapping``), the other goes left.
    Reward:
        -0.01 / size for going right; +1 for going right at the last square of the diagonal.
    Episode end:
        Terminates after ``size`` steps.
    Parameters:
        size: Rows and columns, at least 2.
        mapping: Seed of the actions' meaning; -1: action 1 is right everywhere.
    Version history:
        v0: first version.
    Source:
        Osband et al. 2020, "Behaviour suite for reinforcement learning", DeepSea. The best return
        is 0.99.
    """

    keys = {"left": 0, "right": 1}

    def __init__(self, *, size: int = 10, mapping: int = -1) -> None:
        """Choose size and mapping."""
        need(size >= 2, f"DeepSea needs size >= 2, got {size}")
        need(mapping >= -1, f"DeepSea needs mapping >= -1, got {mapping}")
        self.size = size
        right = np.ones((size, size), np.int64)
        if mapping >= 0:
            right = np.random.default_rng(mapping).integers(0, 2, (size, size))
        row, column = np.indices((size, size))
        goes_right = np.arange(2) == right[..., None]  # (row, column, action)
        to = np.clip(
            np.where(goes_right, column[..., None] + 1, column[..., None] - 1), 0, size - 1
        )
        last = (row == size - 1)[..., None]
        following = (row[..., None] + 1) * size + to  # below the last row is the ground
        treasure = goes_right & last & (column == size - 1)[..., None]
        reward = np.where(goes_right, -0.01 / size, 0.0) + treasure
        ground = np.repeat(size * size + np.arange(size), 2).reshape(size, 2)
        following = np.vstack([following.reshape(-1, 2), ground])
        self.configure(
            following,
            reward=np.vstack([reward.reshape(-1, 2), np.zeros((size, 2))]),
            ends=following >= size * size,
            shown=np.vstack([np.eye(size * size), np.zeros((size, size * size))]),
        )

    def render(self, state: np.void) -> np.ndarray:
        """Return the sea, darker with depth; the diver and the treasure."""
        size = self.size
        canvas = Canvas(size, size + 1, max(320 // size, 12), PAPER)
        for row in range(size):
            shade = 1 - 0.75 * row / size
            colour = tuple(int(c * shade) for c in WATER)
            canvas.box((0, row, size, row + 1.02), colour)  # type: ignore[arg-type]
        canvas.box((0, size, size, size + 1), (196, 172, 120))
        for x, height in zip(np.arange(0.5, size), np.arange(size) * 37 % 5, strict=True):
            canvas.line((x, size), (x + 0.1, size - 0.1 - 0.08 * height), (40, 110, 90), 0.08)
        canvas.box((size - 0.85, size - 0.4, size - 0.15, size + 0.1), GOLD, round_=0.06)
        canvas.line((size - 0.85, size - 0.18), (size - 0.15, size - 0.18), (130, 84, 30), 0.06)
        row, column = divmod(int(state["place"]), size)
        canvas.disc(column + 0.5, row + 0.5, 0.3, (246, 226, 120))
        canvas.disc(column + 0.5, row + 0.5, 0.13, (60, 70, 90))
        return canvas.picture()
