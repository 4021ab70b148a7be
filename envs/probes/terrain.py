"""A runner on a track that grows harder: TerrainRunner."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numba.extending import register_jitable

from daedalus.envs.canvas import BLUE, GREEN, INK, RED, Canvas
from daedalus.envs.core import Family
from daedalus.envs.probes.common import need
from daedalus.envs.random import LAYOUT, integers, uniform

HURDLE, GAP, BAR = range(3)
OBSTACLES, SPACING = 40, 4.0
LENGTH = SPACING * (OBSTACLES + 1)
DT, SUBSTEPS = 0.02, 3
GRAVITY, JUMP, TOP_SPEED, DRIVE, DRAG = 9.81, 4.2, 4.0, 12.0, 3.0
TALL, LOW = 1.0, 0.5
SAMPLES, BEHIND, AHEAD = 20, 0.5, 4.5
HURDLE_WIDTH, BAR_WIDTH, DEEP = 0.2, 0.6, -1.0


class TerrainParams(NamedTuple):
    """How hard the obstacles are."""

    curriculum: bool
    level: float
    blind: bool


class TerrainArrays(NamedTuple):
    """What the runner feels and sees."""

    body: np.ndarray
    ground: np.ndarray
    ceiling: np.ndarray


def terrain_reset(state: Any, params: TerrainParams) -> None:
    """Draw the track; the k-th obstacle is of difficulty k, or all are of one."""
    for k in range(OBSTACLES):
        hard = k if params.curriculum else params.level
        kind = integers(state, LAYOUT, 3)
        u = uniform(state, LAYOUT)
        state.kind[k] = kind
        if kind == HURDLE:
            state.size[k] = u * (0.4 + 0.02 * hard)
        elif kind == GAP:
            state.size[k] = 0.3 + u * (0.2 + 0.03 * hard)
        else:
            state.size[k] = 0.6 + 0.3 * u
    state.x, state.z, state.vx, state.vz = 0.5, 0.0, 0.0, 0.0
    state.low = False


@register_jitable
def ground_at(state: Any, x: float) -> float:
    """Return the height of the ground at ``x`` in metres."""
    k = int(np.floor(x / SPACING)) - 1
    if k < 0 or k >= OBSTACLES:
        return 0.0
    offset = x - SPACING * (k + 1)
    if state.kind[k] == HURDLE and offset < HURDLE_WIDTH:
        return state.size[k]
    if state.kind[k] == GAP and offset < state.size[k]:
        return DEEP
    return 0.0


@register_jitable
def ceiling_at(state: Any, x: float) -> float:
    """Return the clearance at ``x`` in metres; 2 where nothing is above."""
    k = int(np.floor(x / SPACING)) - 1
    if 0 <= k < OBSTACLES and state.kind[k] == BAR and x - SPACING * (k + 1) < BAR_WIDTH:
        return state.size[k]
    return 2.0


def terrain_step(state: Any, action: np.ndarray, params: TerrainParams) -> tuple[float, bool]:
    """Drive, jump, crouch; obstacles stop the runner, gaps end the run."""
    start = state.x
    height = ceiling_at(state, state.x)
    state.low = action[2] > 0.0 or (state.z + TALL > height and state.z + LOW <= height)
    for substep in range(SUBSTEPS):
        on_ground = state.z <= ground_at(state, state.x) + 1e-9
        if on_ground:
            state.vx += (DRIVE * action[0] - DRAG * state.vx) * DT
            if substep == 0 and action[1] > 0.0 and not state.low:
                state.vz = JUMP
        state.vx = min(max(state.vx, -TOP_SPEED), TOP_SPEED)
        _move(state)
    return state.x - start, state.z < 0.5 * DEEP or state.x >= LENGTH


@register_jitable
def _move(state: Any) -> None:
    """Advance by one substep: a step up or a bar in the way stops, the ground carries."""
    x = max(state.x + state.vx * DT, 0.0)
    tall = LOW if state.low else TALL
    if ground_at(state, x) > state.z + 1e-9 or ceiling_at(state, x) < state.z + tall:
        state.vx = 0.0
        x = state.x
    state.x = x
    state.vz -= GRAVITY * DT
    state.z += state.vz * DT
    ground = ground_at(state, x)
    if state.z <= ground:
        state.z, state.vz = ground, 0.0
    elif state.z + tall > ceiling_at(state, x):
        state.z = max(ceiling_at(state, x) - tall, ground)
        state.vz = 0.0


def terrain_observe(state: Any, params: TerrainParams, out: TerrainArrays) -> None:
    """Fill proprioception and the profile ahead (zeros for a blind runner)."""
    out.body[0] = state.z
    out.body[1] = state.vx
    out.body[2] = state.vz
    out.body[3] = 1.0 if state.low else 0.0
    out.body[4] = 1.0 if state.z <= ground_at(state, state.x) + 1e-9 else 0.0
    for i in range(out.ground.size):
        x = state.x - BEHIND + i * (AHEAD + BEHIND) / (SAMPLES - 1)
        out.ground[i] = 0.0 if params.blind else ground_at(state, x)
    for i in range(out.ceiling.size):
        x = state.x - BEHIND + i * (AHEAD + BEHIND) / (SAMPLES - 1)
        out.ceiling[i] = 0.0 if params.blind else ceiling_at(state, x)


class TerrainRunner(Family):
    """Run over hurdles, gaps and under bars; the further one gets, the harder they are.

    The curriculum lies in the track: a policy that travels further meets harder obstacles. One
    reward for all terrains; nothing mentions jumping or crouching.

    Observation:
        body: float32 (5,); height in metres, forward and vertical speed in m/s, whether crouched,
            whether on the ground (proprioception).
        ground: float32 (20,); height of the ground from 0.5 m behind to 4.5 m ahead, in metres.
        ceiling: float32 (20,); clearance at the same places, in metres, 2 where it is free.
    Action:
        Box(-1, 1, (3,)): throttle; jump where positive (on the ground only); crouch where positive
        (height 1 m to 0.5 m).
    Reward:
        Metres travelled forward in this step (0.06 s).
    Episode end:
        Terminates in a gap and at the end of the track (164 m); truncated after 1,000 steps.
    Parameters:
        curriculum: The k-th obstacle has difficulty k; otherwise all have ``level``. Hurdles are
            U(0, 0.4 + 0.02 k) m high, gaps U(0.3, 0.5 + 0.03 k) m long, bars 0.6 to 0.9 m high.
        level: Difficulty of a stationary track.
        blind: Show zeros instead of the profile, to see what a policy owes to it.
    Version history:
        v0: first version.
    Source:
        After Heess et al. 2017, "Emergence of locomotion behaviours in rich environments": reward,
        curriculum and the split observation; body and dynamics are our own, planar and light.
    """

    Params, Arrays = TerrainParams, TerrainArrays
    observations = ("body", "ground", "ceiling")
    time_limit = 1000
    keys = {"right": (1, -1, -1), "up": (1, 1, -1), "down": (1, -1, 1), "left": (-1, -1, -1)}
    fps = 17
    reset, step, observe = terrain_reset, terrain_step, terrain_observe

    def __init__(
        self, *, curriculum: bool = True, level: float = 39.0, blind: bool = False
    ) -> None:
        """Choose the track."""
        need(level >= 0, f"TerrainRunner needs level >= 0, got {level}")
        self.params = TerrainParams(bool(curriculum), float(level), bool(blind))
        own = [(name, "f8") for name in ("x", "z", "vx", "vz")]
        track = [("kind", "i8", (OBSTACLES,)), ("size", "f8", (OBSTACLES,)), ("low", "?")]
        self.state_dtype = np.dtype([*own, *track])
        self.action_space = Box(-1.0, 1.0, (3,), np.float32)
        self.spaces = {
            "body": Box(-np.inf, np.inf, (5,), np.float32),
            "ground": Box(DEEP, 2.0, (SAMPLES,), np.float32),
            "ceiling": Box(0.0, 2.0, (SAMPLES,), np.float32),
        }

    def render(self, state: np.void) -> np.ndarray:
        """Return the track around the runner, and how far it has come."""
        canvas = Canvas(11, 4, 64, (206, 226, 240))
        left = float(state["x"]) - 3.0
        canvas.box((-1, 3, 12, 4.2), (104, 148, 92))
        canvas.box((-1, 3.16, 12, 4.2), (122, 96, 72))
        for k in range(OBSTACLES):
            x, size = SPACING * (k + 1) - left, float(state["size"][k])
            kind = int(state["kind"][k])
            if kind == HURDLE:
                canvas.box((x, 3 - size, x + HURDLE_WIDTH, 3.02), RED, round_=0.03)
            elif kind == GAP:
                canvas.box((x, 2.99, x + size, 4.2), (52, 44, 52))
            else:
                canvas.box((x, 0.6, x + BAR_WIDTH, 3 - size), (120, 126, 150), round_=0.06)
        z, tall = float(state["z"]), LOW if state["low"] else TALL
        canvas.box((2.82, 3 - z - tall, 3.18, 3 - z - 0.1), BLUE, round_=0.14)
        canvas.disc(3.08, 3 - z - tall + 0.18, 0.06, (255, 255, 255))
        for wheel in (2.88, 3.12):
            canvas.disc(wheel, 3 - z - 0.1, 0.1, INK)
        canvas.box((0.3, 0.25, 10.7, 0.37), (168, 184, 198), round_=0.05)
        done = 0.3 + 10.4 * float(state["x"]) / LENGTH
        canvas.box((0.3, 0.25, done, 0.37), GREEN, round_=0.05)
        return canvas.picture()
