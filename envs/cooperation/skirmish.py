"""Skirmish: n marines against n, each seeing what is near, without any order to attack at will."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numba.extending import register_jitable

from daedalus.envs.cooperation.family import Cooperative
from daedalus.envs.cooperation.skirmish_picture import draw_skirmish
from daedalus.envs.random import SPAWN, integers

NOTHING, STOP, MOVE, ATTACK = 0, 1, 2, 6
"""First actions of their kinds: four moves from 2, attack enemy i with 6 + i."""
OWN, OTHER = 4, 5
"""Entries of an observation on oneself, and on each other marine."""


class SkirmishParams(NamedTuple):
    """Sides, weapons and rewards."""

    marines: int  # of a side
    size: int  # of the square, cells
    health: float
    damage: float
    reach: float  # of a shot, cells
    sight: float  # cells
    cooldown: int  # steps from one shot to the next
    bonus: float
    scale: float


class SkirmishArrays(NamedTuple):
    """What the marines see, may do and got."""

    observation: np.ndarray
    action_mask: np.ndarray
    rewards: np.ndarray
    won: np.ndarray


def skirmish_reset(state: Any, params: SkirmishParams) -> None:
    """Line up two sides, left and right."""
    count = params.marines
    for i in range(2 * count):
        row = i % count
        state.y[i] = params.size // 2 - count + 2 * row + integers(state, SPAWN, 2)
        deep = 2 + integers(state, SPAWN, 3)
        state.x[i] = deep if i < count else params.size - 1 - deep
        state.health[i] = params.health
        state.wait[i], state.target[i] = 0, -1
    state.won = 0


@register_jitable
def _distance(state: Any, i: int, j: int) -> float:
    """Return the distance of two marines, cells."""
    return math.hypot(state.x[i] - state.x[j], state.y[i] - state.y[j])


@register_jitable
def _can_hit(state: Any, i: int, j: int, params: SkirmishParams) -> bool:
    """Tell whether marine ``j`` lives and marine ``i`` lives and has it in reach."""
    return (
        state.health[i] > 0.0 and state.health[j] > 0.0 and _distance(state, i, j) <= params.reach
    )


def skirmish_step(state: Any, action: np.ndarray, params: SkirmishParams) -> tuple[float, bool]:
    """Let both sides shoot from where they stand, then move; then count the dead."""
    count = params.marines
    for i in range(2 * count):
        state.wait[i] = max(state.wait[i] - 1, 0)
        state.target[i], state.hurt[i] = -1, 0.0
        state.order[i] = action[i] if i < count else _order(state, i, params)
    for i in range(2 * count):
        _shoot(state, i, params)
    for i in range(2 * count):
        _walk(state, i, params)
    dealt, taken, left, ours = 0.0, 0.0, 0, 0.0
    for i in range(2 * count):
        lost = min(state.hurt[i], state.health[i])
        state.health[i] -= lost
        if i < count:
            taken += lost
            ours += state.health[i]
        else:
            dealt += lost
            left += 1 if state.health[i] > 0.0 else 0
    reward = dealt - 0.5 * taken
    if left == 0:
        state.won = 1
        reward += params.bonus + ours
    reward *= params.scale
    for i in range(count):
        state.rewards[i] = reward
    return reward, left == 0 or ours <= 0.0


@register_jitable
def _order(state: Any, i: int, params: SkirmishParams) -> int:
    """Return what an enemy does: attack the nearest, or go towards it."""
    nearest, best = -1, math.inf
    for j in range(params.marines):
        if state.health[j] > 0.0 and _distance(state, i, j) < best:
            nearest, best = j, _distance(state, i, j)
    if nearest < 0 or state.health[i] <= 0.0:
        return NOTHING
    if best <= params.reach:
        return ATTACK + nearest
    dx, dy = state.x[nearest] - state.x[i], state.y[nearest] - state.y[i]
    sideways = MOVE + (1 if dx > 0 else 0)
    along = MOVE + 2 + (1 if dy > 0 else 0)
    first, second = (sideways, along) if abs(dx) >= abs(dy) else (along, sideways)
    if _is_free(state, i, first, params) or (dx if first == along else dy) == 0:
        return first
    return second


@register_jitable
def _shoot(state: Any, i: int, params: SkirmishParams) -> None:
    """Hurt the target, if it is in reach and the weapon is ready."""
    if state.order[i] < ATTACK or state.wait[i] > 0:
        return
    j = state.order[i] - ATTACK + (params.marines if i < params.marines else 0)
    if _can_hit(state, i, j, params):
        state.hurt[j] += params.damage
        state.target[i] = j
        state.wait[i] = params.cooldown


@register_jitable
def _step_to(state: Any, i: int, order: int) -> tuple[int, int]:
    """Return the cell that a move leads to: 2 left, 3 right, 4 down, 5 up (y grows upwards)."""
    dx = (1 if order == MOVE + 1 else 0) - (1 if order == MOVE else 0)
    dy = (1 if order == MOVE + 3 else 0) - (1 if order == MOVE + 2 else 0)
    return state.x[i] + dx, state.y[i] + dy


@register_jitable
def _is_free(state: Any, i: int, order: int, params: SkirmishParams) -> bool:
    """Tell whether a move stays on the field and meets nobody."""
    x, y = _step_to(state, i, order)
    if not (0 <= x < params.size and 0 <= y < params.size):
        return False
    for j in range(2 * params.marines):
        if j != i and state.health[j] > 0.0 and state.x[j] == x and state.y[j] == y:
            return False
    return True


@register_jitable
def _walk(state: Any, i: int, params: SkirmishParams) -> None:
    """Move, if the order is one, the marine lives and the cell is free."""
    order = state.order[i]
    if MOVE <= order < ATTACK and state.health[i] > 0.0 and _is_free(state, i, order, params):
        x, y = _step_to(state, i, order)
        state.x[i], state.y[i] = x, y


def skirmish_observe(state: Any, params: SkirmishParams, out: SkirmishArrays) -> None:
    """Show each marine itself and who is in sight; say what it may do."""
    count = params.marines
    if out.observation.size > 0:
        out.observation[:] = 0.0
        for i in range(count):
            if state.health[i] > 0.0:
                _look(state, i, params, out.observation[i])
    if out.action_mask.size > 0:
        out.action_mask[:] = 0
        for i in range(count):
            out.action_mask[i, NOTHING if state.health[i] <= 0.0 else STOP] = 1
            for order in range(MOVE, ATTACK if state.health[i] > 0.0 else MOVE):
                x, y = _step_to(state, i, order)
                inside = 0 <= x < params.size and 0 <= y < params.size
                out.action_mask[i, order] = 1 if inside else 0
            for j in range(count):
                hit = _can_hit(state, i, count + j, params)
                out.action_mask[i, ATTACK + j] = 1 if hit else 0
    if out.rewards.size > 0:
        out.rewards[:] = 0.0 if state.elapsed == 0 else state.rewards[0]
    if out.won.size > 0:
        out.won[0] = state.won


@register_jitable
def _look(state: Any, i: int, params: SkirmishParams, seen: np.ndarray) -> None:
    """Write what marine ``i`` sees; others out of sight, or dead, stay 0."""
    seen[0] = state.health[i] / params.health
    seen[1] = state.wait[i] / max(params.cooldown, 1)
    seen[2], seen[3] = state.x[i] / params.size, state.y[i] / params.size
    at = OWN
    for j in range(2 * params.marines):
        if j == i:
            continue
        distance = _distance(state, i, j)
        if state.health[j] > 0.0 and distance <= params.sight:
            seen[at] = 1.0
            seen[at + 1] = (state.x[j] - state.x[i]) / params.sight
            seen[at + 2] = (state.y[j] - state.y[i]) / params.sight
            seen[at + 3] = distance / params.sight
            seen[at + 4] = state.health[j] / params.health
        at += OTHER


class Skirmish(Cooperative):
    """Win a fight of n marines against n by shooting together at one after the other.

    The enemies go for the nearest marine and shoot as soon as it is in reach. Both sides shoot from
    where they stand at the start of a step, then move, yours first.

    Observation:
        observation: float32 (marines, 10 marines - 1); own health, time to the next shot, x and y,
            each from 0 to 1; then for each comrade and each enemy: 1 if it is seen, its offset in x
            and y and its distance in units of sight, its health. Who is dead sees zeros.
        action_mask: int8 (marines, 6 + marines); 1 for the actions that a marine has now: the dead
            have 0 only; an attack needs a living enemy in reach.
    Action:
        MultiDiscrete(6 + marines for each marine): 0 nothing (for the dead), 1 stop, 2 left, 3
        right, 4 down, 5 up, 6 + i attack enemy i. What is not allowed does nothing.
    Reward:
        Every marine gets the damage dealt minus half of the damage taken in the step, and for a win
        200 plus the health that is left; all times ``reward_scale``.
    Episode end:
        Terminates when a side is dead; truncated after 60 steps. ``info["won"]`` is 1 for a win.
    Parameters:
        marines: Marines on each side, 1 to 7.
        reward_scale: Factor of all rewards; with 0.01 a win of three is worth about 4.
    Version history:
        v0: first version.
    Source:
        A substitute for the StarCraft battles of Foerster et al. 2017, "Stabilising experience
        replay for deep multi-agent reinforcement learning" (1702.08887): 16 x 16 cells, health 45,
        damage 6 every second step, reach 3 cells, sight 4.5 cells.
    """

    Params, Arrays = SkirmishParams, SkirmishArrays
    observations: ClassVar[tuple[str, ...]] = ("observation", "action_mask")
    infos: ClassVar[tuple[str, ...]] = ("rewards", "won")
    takes_turns = True
    time_limit = 60
    fps = 6
    reset, step, observe = skirmish_reset, skirmish_step, skirmish_observe
    params: SkirmishParams

    def __init__(self, *, marines: int = 3, reward_scale: float = 1.0) -> None:
        """Choose the number of marines and the unit of reward."""
        if not 1 <= marines <= 7 or reward_scale <= 0.0:
            raise ValueError(
                "Skirmish needs marines from 1 to 7 and reward_scale > 0, got "
                f"{marines} and {reward_scale}"
            )
        self.describe([f"marine_{i}" for i in range(marines)], [ATTACK + marines] * marines)
        weapons = 45.0, 6.0, 3.0, 4.5, 2
        self.params = SkirmishParams(marines, 16, *weapons, 200.0, float(reward_scale))
        moves = {"left": MOVE, "right": MOVE + 1, "down": MOVE + 2, "up": MOVE + 3, "": STOP}
        orders = moves | {str(i + 1): ATTACK + i for i in range(marines)}
        self.keys = {key: (order,) * marines for key, order in orders.items()}
        both = 2 * marines
        numbers = self.fields(health=both, hurt=both, won=None)
        names = ("x", "y", "wait", "target", "order")
        self.state_dtype = np.dtype(
            [*numbers.descr, *((name, "i8", (both,)) for name in names)]  # type: ignore[list-item]
        )
        width = OWN + OTHER * (both - 1)
        self.spaces["observation"] = Box(-1.0, 1.0, (marines, width), np.float32)
        self.spaces["won"] = Box(0, 1, (1,), np.int64)

    def render(self, state: np.void) -> np.ndarray:
        """Return the field with both sides, their health and their shots."""
        return draw_skirmish(state, self.params)
