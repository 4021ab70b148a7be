"""Push a tower of blocks to learn how many rigid bodies it is made of: Towers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Discrete
from numba.extending import register_jitable

from daedalus.envs.canvas import BLUE, GOLD, GREEN, PURPLE, RED, WALL, Canvas
from daedalus.envs.core import Family
from daedalus.envs.probes.common import need
from daedalus.envs.random import LAYOUT, integers

BLOCKS = 5
ONE_BODY = 4 * BLOCKS
"""The action that answers "1 body"; the others follow."""
SIDE = 1.0
SUBSTEPS, SUBSTEP = 4, 0.025
GRAVITY = 9.81


class TowersParams(NamedTuple):
    """Force, friction and limit."""

    force: float
    friction: float
    limit: int


class TowersArrays(NamedTuple):
    """Positions of the blocks."""

    positions: np.ndarray


def towers_reset(state: Any, params: TowersParams) -> None:
    """Stack the blocks and glue some: the number of bodies is uniform, then the places of glue."""
    state.bodies = 1 + integers(state, LAYOUT, BLOCKS)
    loose = state.bodies - 1
    for i in range(BLOCKS):
        state.position[3 * i] = 0.0
        state.position[3 * i + 1] = 0.0
        state.position[3 * i + 2] = SIDE * (i + 0.5)
        for k in range(3):
            state.velocity[3 * i + k] = 0.0
        joints = BLOCKS - i
        if i == 0:
            state.body[0] = 0
        else:
            free = integers(state, LAYOUT, joints) < loose
            loose -= 1 if free else 0
            state.body[i] = state.body[i - 1] + (1 if free else 0)
    state.time = 0


def towers_step(state: Any, action: int, params: TowersParams) -> tuple[float, bool]:
    """Push a block along x or y, or answer."""
    if action >= ONE_BODY:
        return (1.0 if action - ONE_BODY + 1 == state.bodies else -1.0), True
    state.time += 1
    for _ in range(SUBSTEPS):
        for body in range(state.bodies):
            _move_body(state, body, action, params)
    late = state.time >= params.limit
    return (-1.0 if late else 0.0), late


@register_jitable
def _move_body(state: Any, body: int, action: int, params: TowersParams) -> None:
    """Advance one body (blocks ``first`` to ``last``) by a substep, from the bottom up."""
    first, last = BLOCKS, -1
    for i in range(BLOCKS):
        if state.body[i] == body:
            first, last = min(first, i), i
    mass = last - first + 1.0
    pushed = action // 4
    held, floor = _support(state, first, last)
    for axis in range(2):
        push = 0.0
        if first <= pushed <= last and (action % 4) // 2 == axis:
            push = params.force * (2.0 * (action % 2) - 1.0)
        below = 0.0
        if held and first > 0:
            below = state.velocity[3 * first - 3 + axis]
        speed = state.velocity[3 * first + axis] + push / mass * SUBSTEP
        most = params.friction * GRAVITY * SUBSTEP if held else 0.0
        speed -= min(max(speed - below, -most), most)
        for i in range(first, last + 1):
            state.velocity[3 * i + axis] = speed
            state.position[3 * i + axis] += speed * SUBSTEP
    fall = 0.0 if held else state.velocity[3 * first + 2] - GRAVITY * SUBSTEP
    bottom = state.position[3 * first + 2] - SIDE / 2
    drop = max(fall * SUBSTEP, floor - bottom)
    for i in range(first, last + 1):
        state.velocity[3 * i + 2] = fall
        state.position[3 * i + 2] += drop


@register_jitable
def _support(state: Any, first: int, last: int) -> tuple[bool, float]:
    """Return whether something carries a body, and how high it may sink.

    A body rests on the block below while its centre is above that block; else it falls past it.
    """
    floor = 0.0
    if first > 0:
        dx = state.position[3 * first] - state.position[3 * first - 3]
        dy = state.position[3 * first + 1] - state.position[3 * first - 2]
        if abs(dx) < SIDE / 2 and abs(dy) < SIDE / 2:
            floor = state.position[3 * first - 1] + SIDE / 2
    return state.position[3 * first + 2] - SIDE / 2 <= floor + 1e-9, floor


def towers_observe(state: Any, params: TowersParams, out: TowersArrays) -> None:
    """Show where the blocks are."""
    for i in range(3 * BLOCKS):
        out.positions[i] = state.position[i]


class Towers(Family):
    """Push a tower of five blocks, some glued together, and say of how many bodies it is made.

    Observation:
        positions: float32 (15,); x, y, z of the middle of each block from the bottom up, in metres
            (a block's side is 1 m).
    Action:
        Discrete(25): 4 i + 0, 1, 2, 3 push block i along -x, +x, -y, +y for this step; 20 to 24
        answer "1 body" to "5 bodies".
    Reward:
        +1 for the right answer, -1 for a wrong one and for reaching the limit.
    Episode end:
        Terminates with the answer, or after ``limit`` pushes.
    Parameters:
        force: Force of a push in newtons; a block has 1 kg.
        friction: Coefficient of friction between bodies and with the floor.
        limit: Steps.
    Version history:
        v0: first version.
    Source:
        Denil et al. 2017, "Learning to perform physics experiments via deep reinforcement
        learning", section 5, with direct actuators (the fist is not here). The dynamics are a
        simplification: bodies slide on each other with friction, do not turn, and fall straight
        down once their centre is beyond the block below.
    """

    Params, Arrays = TowersParams, TowersArrays
    observations = ("positions",)
    keys = {
        **{k: 4 * i for i, k in enumerate("asdfg")},
        **{k: 4 * i + 1 for i, k in enumerate("qwert")},
        **{str(i + 1): 20 + i for i in range(BLOCKS)},
    }
    fps = 10
    reset, step, observe = towers_reset, towers_step, towers_observe

    def __init__(self, *, force: float = 30.0, friction: float = 0.3, limit: int = 150) -> None:
        """Choose force, friction and limit."""
        need(force > 0, f"Towers needs force > 0, got {force}")
        need(friction >= 0, f"Towers needs friction >= 0, got {friction}")
        need(limit >= 1, f"Towers needs limit >= 1, got {limit}")
        self.params = TowersParams(float(force), float(friction), int(limit))
        own = [(name, "f8", (3 * BLOCKS,)) for name in ("position", "velocity")]
        counts = [("body", "i8", (BLOCKS,)), ("bodies", "i8"), ("time", "i8")]
        self.state_dtype = np.dtype([*own, *counts])
        self.action_space = Discrete(5 * BLOCKS)
        self.spaces = {"positions": Box(-np.inf, np.inf, (3 * BLOCKS,), np.float32)}

    def render(self, state: np.void) -> np.ndarray:
        """Return two views of the tower: along y (left) and along x (right)."""
        canvas = Canvas(13, 6.4, 40, (222, 232, 240))
        canvas.box((0, 5.7, 13, 6.4), WALL)
        for view in range(2):
            middle = 3.25 + 6.5 * view
            depth = np.argsort(state["position"][1 - view :: 3])
            for i in depth:
                x = middle + np.clip(float(state["position"][3 * i + view]), -2.6, 2.6)
                y = 5.7 - float(state["position"][3 * i + 2])
                colour = (BLUE, RED, GOLD, GREEN, PURPLE)[i]
                canvas.box((x - 0.47, y - 0.48, x + 0.47, y + 0.48), colour, round_=0.08)
                canvas.text(x, y, str(i + 1), 0.42, (255, 255, 255))
        canvas.line((6.5, 0.4), (6.5, 5.4), (180, 190, 204), 0.04)
        canvas.text(0.5, 0.5, "X", 0.5, WALL)
        canvas.text(12.5, 0.5, "Y", 0.5, WALL)
        return canvas.picture()
