"""Gymnasium's Taxi on the table."""

from __future__ import annotations

import numpy as np

from daedalus.envs.canvas import BLUE, GOLD, GREEN, INK, PURPLE, RED, WALL, Canvas
from daedalus.envs.probes.common import need
from daedalus.envs.probes.table import Table

STOPS = ((0, 0), (0, 4), (4, 0), (4, 3))
"""(row, column) of red, green, yellow and blue."""
_WALLS = ((0, 1), (1, 1), (3, 0), (4, 0), (3, 2), (4, 2))
"""Squares (row, column) with a wall on their right side."""
_COLOURS = (RED, GREEN, GOLD, BLUE)


def _decode(state: int) -> tuple[int, int, int, int]:
    """Return row, column, passenger (4: in the taxi) and destination."""
    return state // 100, state // 20 % 5, state // 4 % 5, state % 4


def _encode(row: int, column: int, passenger: int, destination: int) -> int:
    return ((row * 5 + column) * 5 + passenger) * 4 + destination


def _transition(state: int, action: int) -> tuple[int, float, bool]:
    row, column, passenger, destination = _decode(state)
    if action < 4:
        row += (1, -1, 0, 0)[action] if 0 <= row + (1, -1, 0, 0)[action] < 5 else 0
        if action == 2 and column < 4 and (row, column) not in _WALLS:
            column += 1
        elif action == 3 and column > 0 and (row, column - 1) not in _WALLS:
            column -= 1
        return _encode(row, column, passenger, destination), -1.0, False
    here = STOPS.index((row, column)) if (row, column) in STOPS else -1
    if action == 4:
        if passenger < 4 and here == passenger:
            return _encode(row, column, 4, destination), -1.0, False
        return state, -10.0, False
    if passenger == 4 and here == destination:
        return _encode(row, column, here, destination), 20.0, True
    if passenger == 4 and here >= 0:
        return _encode(row, column, here, destination), -1.0, False
    return state, -10.0, False


class Taxi(Table):
    """Fetch a passenger and bring them to their stop; wrong pick-ups and drop-offs cost.

    State numbers, walls, rewards and starts are those of Gymnasium's ``Taxi-v3`` and ``v4``.

    Observation:
        place: float32 (19,): one-hot of the row (5), the column (5), the passenger's stop (red,
            green, yellow, blue, in the taxi) and the destination (4).
    Action:
        Discrete(6): 0 down, 1 up, 2 right, 3 left, 4 pick up, 5 drop off.
    Reward:
        -1 a step, +20 for delivering, -10 for picking up or dropping off where that is impossible.
    Episode end:
        Terminates on delivery; truncated after 200 steps.
    Parameters:
        compact: Show row, column, passenger and destination as four numbers instead.
    Version history:
        v0: first version.
    Source:
        Dietterich 2000, "Hierarchical reinforcement learning with the MAXQ value function
        decomposition"; Gymnasium's Taxi.
    """

    time_limit = 200
    keys = {"down": 0, "up": 1, "right": 2, "left": 3, "space": 4, "return": 5}

    def __init__(self, *, compact: bool = False) -> None:
        """Choose how the state is shown."""
        need(isinstance(compact, bool), f"Taxi needs compact to be true or false, got {compact!r}")
        columns = [[_transition(s, a) for a in range(6)] for s in range(500)]
        parts = np.array([_decode(s) for s in range(500)])
        sizes = (5, 5, 5, 4)
        shown = np.hstack([np.eye(n)[parts[:, i]] for i, n in enumerate(sizes)])
        starts = np.flatnonzero((parts[:, 2] < 4) & (parts[:, 2] != parts[:, 3]))
        self.configure(
            np.array([[c[0] for c in row] for row in columns]),
            reward=np.array([[c[1] for c in row] for row in columns]),
            ends=np.array([[c[2] for c in row] for row in columns]),
            starts=list(starts),
            shown=parts if compact else shown,
        )

    def render(self, state: np.void) -> np.ndarray:
        """Return the town: stops, walls, the taxi, the passenger, a flag at the destination."""
        row, column, passenger, destination = _decode(int(state["place"]))
        canvas = Canvas(5.2, 5.2, 64, (208, 206, 200))
        for r, c in np.ndindex(5, 5):
            canvas.box((c + 0.13, r + 0.13, c + 1.07, r + 1.07), (226, 224, 218), round_=0.08)
        for (r, c), colour in zip(STOPS, _COLOURS, strict=True):
            canvas.box((c + 0.13, r + 0.13, c + 1.07, r + 1.07), colour, 0.55, 0.08)
        for r, c in _WALLS:
            canvas.line((c + 1.1, r + 0.1), (c + 1.1, r + 1.1), WALL, 0.1)
        r, c = STOPS[destination]
        canvas.line((c + 0.3, r + 0.3), (c + 0.3, r + 0.9), INK, 0.05)
        canvas.polygon([(c + 0.3, r + 0.28), (c + 0.62, r + 0.42), (c + 0.3, r + 0.56)], INK)
        x, y = column + 0.6, row + 0.62
        canvas.box((x - 0.34, y - 0.2, x + 0.34, y + 0.2), GOLD, round_=0.12)
        canvas.box((x - 0.16, y - 0.15, x + 0.18, y + 0.15), INK, 0.75, 0.05)
        if passenger < 4:
            r, c = STOPS[passenger]
            x, y = c + 0.82, r + 0.5
        canvas.disc(x, y - 0.1, 0.1, PURPLE)
        canvas.box((x - 0.1, y, x + 0.1, y + 0.22), PURPLE, round_=0.06)
        return canvas.picture()
