"""Find out by experiment which block is heaviest, then say so: WhichIsHeavier."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete

from daedalus.envs.canvas import BLUE, GOLD, GREEN, PURPLE, RED, WALL, Canvas
from daedalus.envs.core import Family
from daedalus.envs.probes.common import need
from daedalus.envs.random import LAYOUT, integers, uniform

BLOCKS = 4
SUBSTEPS, SUBSTEP = 4, 0.025
GRAVITY = 9.81
LIGHTEST = 0.05


class HeavierParams(NamedTuple):
    """Difficulty and force."""

    beta: float
    force: float
    limit: int


class HeavierArrays(NamedTuple):
    """Heights of the blocks."""

    heights: np.ndarray


def heavier_reset(state: Any, params: HeavierParams) -> None:
    """Draw the masses: one from Beta(beta, 1), the others from Beta(1, beta)."""
    heavy = integers(state, LAYOUT, BLOCKS)
    best = 0.0
    for i in range(BLOCKS):
        u = uniform(state, LAYOUT) ** (1.0 / params.beta)
        state.mass[i] = max(u if i == heavy else 1.0 - u, LIGHTEST)
        if state.mass[i] > best:
            best = state.mass[i]
            state.answer = i
        state.height[i] = 0.0
        state.speed[i] = 0.0
    state.pokes = 0


def heavier_step(state: Any, action: int, params: HeavierParams) -> tuple[float, bool]:
    """Poke a block, or answer."""
    if action >= BLOCKS:
        return (1.0 if action - BLOCKS == state.answer else -1.0), True
    state.pokes += 1
    for i in range(BLOCKS):
        if i != action and state.height[i] == 0.0:
            continue  # what lies on the floor stays there
        push = params.force / state.mass[i] if i == action else 0.0
        height, speed = state.height[i], state.speed[i]
        for _ in range(SUBSTEPS):
            speed += (push - GRAVITY) * SUBSTEP
            height += speed * SUBSTEP
            if height <= 0.0:
                height, speed = 0.0, 0.0
        state.height[i], state.speed[i] = height, speed
    late = state.pokes >= params.limit
    return (-1.0 if late else 0.0), late


def heavier_observe(state: Any, params: HeavierParams, out: HeavierArrays) -> None:
    """Show the heights."""
    for i in range(BLOCKS):
        out.heights[i] = state.height[i]


class WhichIsHeavier(Family):
    """Poke four blocks to learn which is heaviest, and decide when you know enough.

    Information has to be gathered by acting: the masses show only in how high a poked block flies.

    Observation:
        heights: float32 (4,); height of each block in metres.
    Action:
        Discrete(8): 0 to 3 push block 0 to 3 upwards for this step; 4 to 7 answer "block 0 to 3 is
        heaviest".
    Reward:
        +1 for the right answer, -1 for a wrong one and for reaching the limit.
    Episode end:
        Terminates with the answer, or after ``limit`` pushes.
    Parameters:
        beta: One mass is drawn from Beta(beta, 1), three from Beta(1, beta): large is easy. The
            answer is the block that is in fact heaviest. Masses below 0.05 kg are 0.05.
        force: Upward force of a push in newtons; above 9.81 it lifts every block.
        limit: Steps.
    Version history:
        v0: first version.
    Source:
        Denil et al. 2017, "Learning to perform physics experiments via deep reinforcement
        learning", section 4; blocks move only vertically, 4 substeps of 0.025 s, floor without
        bounce. Force and smallest mass are ours.
    """

    Params, Arrays = HeavierParams, HeavierArrays
    observations = ("heights",)
    keys = {k: i for i, k in enumerate(("q", "w", "e", "r", "1", "2", "3", "4"))}
    fps = 10
    reset, step, observe = heavier_reset, heavier_step, heavier_observe

    def __init__(self, *, beta: float = 5.0, force: float = 12.0, limit: int = 100) -> None:
        """Choose the difficulty."""
        need(beta > 0, f"WhichIsHeavier needs beta > 0, got {beta}")
        need(force > GRAVITY, f"WhichIsHeavier needs force > {GRAVITY}, got {force}")
        need(limit >= 1, f"WhichIsHeavier needs limit >= 1, got {limit}")
        self.params = HeavierParams(float(beta), float(force), int(limit))
        own = [(name, "f8", (BLOCKS,)) for name in ("mass", "height", "speed")]
        self.state_dtype = np.dtype([*own, ("answer", "i8"), ("pokes", "i8")])
        self.action_space = Discrete(2 * BLOCKS)
        self.spaces = {"heights": Box(0.0, np.inf, (BLOCKS,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return the blocks over the floor; the scale on the left marks metres (logarithmic)."""
        canvas = Canvas(6.4, 4.6, 64, (222, 232, 240))
        canvas.box((0, 3.9, 6.4, 4.6), WALL)
        for metres in (0, 1, 3, 10, 30):
            y = 3.9 - 0.95 * np.log1p(metres)
            canvas.line((0.15, y), (0.4, y), WALL, 0.04)
            canvas.text(0.72, y - (0.0 if metres else 0.15), str(metres), 0.22, WALL)
        for i, colour in enumerate((BLUE, RED, GOLD, GREEN)):
            x, y = 1.7 + 1.25 * i, 3.9 - 0.95 * np.log1p(float(state["height"][i]))
            canvas.box((x - 0.4, 3.94, x + 0.4, 4.04), (40, 44, 58), 0.5, 0.05)
            canvas.box((x - 0.42, y - 0.84, x + 0.42, y), colour, round_=0.1)
            canvas.text(x, y - 0.42, str(i + 1), 0.4, (255, 255, 255))
            if state["speed"][i] > 0:
                canvas.polygon([(x, y + 0.06), (x + 0.14, y + 0.3), (x - 0.14, y + 0.3)], PURPLE)
        return canvas.picture()
