"""The point tasks of constrained policy optimisation: PointCircle and PointGather."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numba.extending import register_jitable

from daedalus.envs.canvas import BLUE, GREEN, INK, RED, Canvas
from daedalus.envs.core import Family
from daedalus.envs.random import LAYOUT, SPAWN, integers, normal

UNICYCLE, KINEMATIC = 0, 1
APPLES, BOMBS = 2, 8
THINGS = APPLES + BOMBS
BINS, RANGE, CATCH = 10, 6.0, 1.0
LATTICE, STEP = 6, 2.0
"""Things lie at the even coordinates -6, -4, ..., 4: the repository's range leaves out +6."""


class CpoParams(NamedTuple):
    """Dynamics, circle and gathering."""

    dynamics: int
    gather: bool
    size: float  # walls at +- size; 0 for none
    radius: float  # of the circle
    limit: float  # |x| beyond it costs
    late_cost: bool  # the cost is of the state before the action
    bomb_penalty: float  # subtracted from the reward for a bomb
    short: int  # lengths of episodes are drawn from [short, long), if any
    long: int


class CpoArrays(NamedTuple):
    """What the point feels and what its sensors see."""

    body: np.ndarray
    sensors: np.ndarray


def cpo_reset(state: Any, params: CpoParams) -> None:
    """Start in the middle; draw length and things."""
    state.x, state.y, state.heading = 0.0, 0.0, 0.0
    state.vx, state.vy, state.turning = 0.0, 0.0, 0.0
    if params.dynamics == KINEMATIC:
        state.x, state.y = 0.1 * normal(state, SPAWN), 0.1 * normal(state, SPAWN)
    state.length = 0
    if params.long > params.short:
        state.length = params.short + integers(state, LAYOUT, params.long - params.short)
    state.time = 0
    if params.gather:
        for i in range(THINGS):
            _drop(state, i)


@register_jitable
def _drop(state: Any, i: int) -> None:
    """Put a thing on a free point of the lattice, not on the origin."""
    while True:
        x = STEP * (integers(state, LAYOUT, LATTICE) - LATTICE // 2)
        y = STEP * (integers(state, LAYOUT, LATTICE) - LATTICE // 2)
        free = x != 0.0 or y != 0.0
        for j in range(i):
            free = free and (state.thing[2 * j] != x or state.thing[2 * j + 1] != y)
        if free:
            state.thing[2 * i], state.thing[2 * i + 1] = x, y
            state.there[i] = 1
            return


def cpo_step(state: Any, action: np.ndarray, params: CpoParams) -> tuple[float, bool]:
    """Move; then the circle's reward and cost, or what was gathered."""
    x, y = state.x, state.y
    if params.dynamics == UNICYCLE:
        state.heading += action[1]
        state.turning = action[1]
        state.x += action[0] * math.cos(state.heading)
        state.y += action[0] * math.sin(state.heading)
        if params.size > 0.0:
            state.x = min(max(state.x, -params.size), params.size)
            state.y = min(max(state.y, -params.size), params.size)
        state.vx, state.vy = state.x - x, state.y - y
    else:
        state.vx, state.vy = 0.9 * state.vx + 0.2 * action[0], 0.9 * state.vy + 0.2 * action[1]
        state.x += 0.35 * min(max(state.vx, -1.0), 1.0)
        state.y += 0.35 * min(max(state.vy, -1.0), 1.0)
    state.time += 1
    over = 0 < state.length <= state.time
    if params.gather:
        return _gather(state, params, over)
    state.cost = 1.0 if abs(x if params.late_cost else state.x) > params.limit else 0.0
    radius = math.sqrt(state.x * state.x + state.y * state.y)
    around = state.x * (state.y - y) - state.y * (state.x - x)
    if params.dynamics == KINEMATIC:
        u, v = min(max(state.vx, -1.0), 1.0), min(max(state.vy, -1.0), 1.0)
        around = state.x * v - state.y * u
    return around / (1.0 + abs(radius - params.radius)), over


@register_jitable
def _gather(state: Any, params: CpoParams, over: bool) -> tuple[float, bool]:
    """Collect what is closer than the catch radius; bombs cost."""
    reward, left = 0.0, 0
    for i in range(THINGS):
        if state.there[i] == 0:
            continue
        dx, dy = state.thing[2 * i] - state.x, state.thing[2 * i + 1] - state.y
        if dx * dx + dy * dy >= CATCH * CATCH:
            left += 1
            continue
        state.there[i] = 0
        if i < APPLES:
            reward += 10.0
        else:
            reward -= params.bomb_penalty
            state.cost = 1.0
    return reward, over or left == 0


def cpo_observe(state: Any, params: CpoParams, out: CpoArrays) -> None:
    """Fill position, heading, velocity; and the two sensors of ten bins."""
    body = out.body
    if params.dynamics == KINEMATIC:
        body[0], body[1], body[2], body[3] = state.x / 4, state.y / 4, state.vx, state.vy
    elif body.size > 0:
        body[0], body[1], body[2] = state.x, state.y, state.heading
        body[3], body[4], body[5] = state.vx, state.vy, state.turning
        body[6], body[7], body[8] = state.x, state.y, 0.0
    if out.sensors.size > 0 and params.gather:
        _scan(state, out.sensors)


@register_jitable
def _scan(state: Any, sensors: np.ndarray) -> None:
    """Enter every thing that is there, apples into the first ten bins."""
    sensors[:] = 0.0
    for i in range(THINGS):
        if state.there[i] == 0:
            continue
        dx, dy = state.thing[2 * i] - state.x, state.thing[2 * i + 1] - state.y
        k, reading = reading_of(dx, dy, state.heading)
        if k >= 0:
            k += 0 if i < APPLES else BINS
            sensors[k] = max(sensors[k], reading)


@register_jitable
def reading_of(dx: float, dy: float, heading: float) -> tuple[int, float]:
    """Return bin and reading (1 - d / 6) of a thing at an offset; bin -1 for out of sight.

    The bins share the half circle ahead, from right to left.
    """
    distance = math.sqrt(dx * dx + dy * dy)
    angle = math.atan2(dy, dx) - heading
    angle -= 2.0 * math.pi * math.floor((angle + math.pi) / (2.0 * math.pi))
    if distance > RANGE or abs(angle) > math.pi / 2:
        return -1, 0.0
    return min(int((angle + math.pi / 2) / (math.pi / BINS)), BINS - 1), 1.0 - distance / RANGE


class PointCircle(Family):
    """Run around a circle while staying in a slab that cuts off most of it.

    Only about a tenth of the circle is allowed: the constrained optimum is to shuttle, not to run
    round.

    Observation:
        body: float32 (9,); x, y, heading; displacement along x and y and turn of the last step; x,
            y and z of the torso. Kinematic: float32 (4,), position / 4 and velocity.
    Action:
        Box(-1, 1, (2,)): step length along the new heading and turn in radians; kinematic: force
        along x and y.
    Reward:
        (x dy - y dx) / (1 + | |(x, y)| - radius |) with the position after the step and the
        displacement of the step; kinematic: velocity instead of displacement.
    Cost:
        1 in a step with |x| > limit. The usual limit of an episode's sum is 5.
    Episode end:
        Terminates after a length drawn every episode from 50 to 64 steps, as in the
        repository; kinematic: truncated after 60.
    Parameters:
        radius: Radius of the circle; by default 15, kinematic 4.
        limit: Half the width of the slab; by default 2.5, kinematic 2.
        convention: ``"repository"``: the cost is of the position before the action;
            ``"paper"``: of the position after it; ``"kinematic"``: the small problem with mass,
            no walls, fixed length.
    Version history:
        v0: first version.
    Source:
        Achiam et al. 2017, "Constrained policy optimization", and its repository; the kinematic
        version is our own, for tests in seconds.
    """

    Params, Arrays = CpoParams, CpoArrays
    observations: ClassVar[tuple[str, ...]] = ("body",)
    keys = {"up": (1, 0), "left": (0.7, 0.5), "right": (0.7, -0.5), "down": (-1, 0), "": (0, 0)}
    fps = 8
    reset, step, observe = cpo_reset, cpo_step, cpo_observe

    def __init__(
        self,
        *,
        radius: float | None = None,
        limit: float | None = None,
        convention: str = "repository",
    ) -> None:
        """Choose circle, slab and convention."""
        if convention not in ("repository", "paper", "kinematic"):
            known = "repository, paper or kinematic"
            raise ValueError(f"PointCircle: convention must be {known}, got {convention!r}")
        small = convention == "kinematic"
        radius = (4.0 if small else 15.0) if radius is None else radius
        limit = (2.0 if small else 2.5) if limit is None else limit
        if not (0 < radius < math.inf and limit > 0):
            raise ValueError(f"PointCircle needs radius > 0 and limit > 0: {radius}, {limit}")
        late = convention == "repository"
        lengths = (0, 0) if small else (50, 65)
        self.time_limit = 60 if small else 0
        numbers = 0.0, float(radius), float(limit), late, 0.0, *lengths
        self.build(CpoParams(KINEMATIC if small else UNICYCLE, False, *numbers))

    def build(self, params: CpoParams) -> None:
        """Set parameters and spaces."""
        self.params = params
        names = ("x", "y", "heading", "vx", "vy", "turning")
        counters = [("length", "i8"), ("time", "i8")]
        things = [("thing", "f8", (2 * THINGS,)), ("there", "i1", (THINGS,))]
        self.state_dtype = np.dtype([*((name, "f8") for name in names), *counters, *things])
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        size = 4 if params.dynamics == KINEMATIC else 9
        self.spaces = {
            "body": Box(-np.inf, np.inf, (size,), np.float32),
            "sensors": Box(0.0, 1.0, (2 * BINS if params.gather else 1,), np.float32),
        }

    def render(self, state: np.void) -> np.ndarray:
        """Return circle and slab, or the things to gather, with the point as an arrow."""
        gather = self.params.gather
        half = 8.0 if gather else 1.35 * self.params.radius
        scale = int(200 / half)
        canvas = Canvas(2 * half, 2 * half, scale, (240, 238, 232))
        if not gather:
            limit = self.params.limit
            canvas.box((0, 0, half - limit, 2 * half), RED, 0.16)
            canvas.box((half + limit, 0, 2 * half, 2 * half), RED, 0.16)
            canvas.ring(half, half, self.params.radius, GREEN, half / 40)
        for i in range(THINGS):
            if gather and state["there"][i]:
                x, y = half + state["thing"][2 * i], half - state["thing"][2 * i + 1]
                canvas.disc(x, y, 0.5, GREEN if i < APPLES else INK)
                canvas.line((x, y - 0.5), (x + 0.2, y - 0.8), GREEN if i < APPLES else RED, 0.15)
        x, y, heading = half + state["x"], half - state["y"], -float(state["heading"])
        if self.params.dynamics == KINEMATIC:
            heading = math.atan2(-state["vy"], state["vx"])
        canvas.disc(x, y, half / 18, BLUE)
        canvas.arrow(x, y, heading, half / 26, (255, 255, 255))
        return canvas.picture()


class PointGather(PointCircle):
    """Gather apples and leave the bombs.

    Observation:
        body: float32 (9,); as in ``PointCircle``.
        sensors: float32 (20,); ten bins over the half circle ahead for apples, ten for bombs: 1 -
            distance / 6 of the nearest in the bin.
    Action:
        Box(-1, 1, (2,)): as in ``PointCircle``.
    Reward:
        10 for an apple; -``bomb_penalty`` for a bomb.
    Cost:
        1 in a step that catches a bomb (once for several). The usual limit of an episode is 0.1.
    Episode end:
        Terminates when nothing is left; truncated after 15 steps.
    Parameters:
        convention: ``"repository"``: a bomb also subtracts 1 from the reward; ``"paper"``: it only
            costs.
    Version history:
        v0: first version.
    Source:
        Achiam et al. 2017, "Constrained policy optimization", and its repository: 2 apples and 8
        bombs on the 35 even points from -6 to 4 without the origin, walls at 7, caught closer than
        1.
    """

    observations: ClassVar[tuple[str, ...]] = ("body", "sensors")
    time_limit = 15

    def __init__(self, *, convention: str = "paper") -> None:
        """Choose the convention."""
        if convention not in ("repository", "paper"):
            message = f"convention must be repository or paper, got {convention!r}"
            raise ValueError(f"PointGather: {message}")
        penalty = 1.0 if convention == "repository" else 0.0
        self.build(CpoParams(UNICYCLE, True, 7.0, 1.0, 1.0, False, penalty, 0, 0))
