"""Particles that push off and bump into each other: the physics and tasks of MPE2, compiled."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.random import GOAL, LAYOUT, SPAWN, integers, uniform

SPREAD, SPEAK, HUNT = 0, 1, 2
DT, DAMPING, STIFFNESS, MARGIN = 0.1, 0.25, 100.0, 1e-3
FAR = 40.0 * MARGIN
"""Gap from which a contact force is left out: it is below 100 * 1e-3 * exp(-40) < 1e-18."""
BRIGHT, DIM = 0.65, 0.15
"""Colour components of the speaker's goal."""


class ParticleParams(NamedTuple):
    """Who there is and what they do."""

    task: int
    bodies: int  # that move: agents, and prey after them
    agents: int  # that act
    landmarks: int
    solid: int  # the first so many of bodies and landmarks bump into each other
    extent: float  # landmarks lie within +- extent
    radius: np.ndarray  # float64 (bodies + landmarks,)
    thrust: np.ndarray  # float64 (bodies,); 0 for one that cannot move
    top_speed: np.ndarray  # float64 (bodies,); 0 for none
    local_ratio: float
    original: bool  # signs, order and rewards of OpenAI's code


class ParticleArrays(NamedTuple):
    """What the agents see, may do and got."""

    observation: np.ndarray
    action_mask: np.ndarray
    rewards: np.ndarray


def particle_reset(state: Any, params: ParticleParams) -> None:
    """Put everything somewhere, at rest."""
    bodies = params.bodies
    for k in range(2 * bodies):
        state.position[k] = 2.0 * uniform(state, SPAWN) - 1.0
        state.velocity[k] = 0.0
    for k in range(2 * bodies, 2 * (bodies + params.landmarks)):
        state.position[k] = params.extent * (2.0 * uniform(state, LAYOUT) - 1.0)
    state.said = -1
    state.prey_action = 0
    state.goal = integers(state, GOAL, params.landmarks) if params.task == SPEAK else 0


def particle_step(state: Any, action: np.ndarray, params: ParticleParams) -> tuple[float, bool]:
    """Push, bump, move, and pay."""
    for i in range(params.agents):
        _push(state, i, action[i], params)
    if params.task == HUNT:
        state.prey_action = _flee(state, params)
        _push(state, params.agents, state.prey_action, params)
    for a in range(min(params.solid, params.bodies)):
        for b in range(a + 1, params.solid):
            _bump(state, a, b, params)
    for i in range(params.bodies):
        _move(state, i, params)
    if params.task == SPEAK:
        state.said = action[0]
        return _pay_listener(state, params), False
    if params.task == HUNT:
        return _pay_hunters(state, params), False
    return _pay_spread(state, params), False


@register_jitable
def _push(state: Any, i: int, action: int, params: ParticleParams) -> None:
    """Set the force of body ``i``: 0 none, 1 left, 2 right, 3 down, 4 up."""
    thrust = -params.thrust[i] if params.original else params.thrust[i]
    state.force[2 * i], state.force[2 * i + 1] = 0.0, 0.0
    if action == 1 or action == 2:
        state.force[2 * i] = thrust * (2.0 * action - 3.0)
    elif action == 3 or action == 4:
        state.force[2 * i + 1] = thrust * (2.0 * action - 7.0)


@register_jitable
def _offset(state: Any, a: int, b: int) -> tuple[float, float]:
    """Return the vector from thing ``a`` to thing ``b``."""
    x = state.position[2 * b] - state.position[2 * a]
    return x, state.position[2 * b + 1] - state.position[2 * a + 1]


@register_jitable
def _distance(state: Any, a: int, b: int) -> float:
    """Return the distance of two things."""
    x, y = _offset(state, a, b)
    return math.sqrt(x * x + y * y)


@register_jitable
def _bump(state: Any, a: int, b: int, params: ParticleParams) -> None:
    """Add the contact force of a pair: 100 k log(1 + exp(-gap / k)) apart, k = 1e-3."""
    x, y = _offset(state, a, b)
    reach = params.radius[a] + params.radius[b] + FAR
    if x * x + y * y > reach * reach:
        return
    distance = max(math.sqrt(x * x + y * y), 1e-12)
    depth = (params.radius[a] + params.radius[b] - distance) / MARGIN
    soft = max(depth, 0.0) + math.log1p(math.exp(-abs(depth)))
    force = STIFFNESS * MARGIN * soft / distance
    state.force[2 * a] -= force * x
    state.force[2 * a + 1] -= force * y
    if b < params.bodies:
        state.force[2 * b] += force * x
        state.force[2 * b + 1] += force * y


@register_jitable
def _move(state: Any, i: int, params: ParticleParams) -> None:
    """Move with the old velocity, then slow down and speed up; OpenAI's moves last."""
    if params.thrust[i] == 0.0:
        return
    for k in range(2 * i, 2 * i + 2):
        if not params.original:
            state.position[k] += state.velocity[k] * DT
        state.velocity[k] = state.velocity[k] * (1.0 - DAMPING) + state.force[k] * DT
    x, y = state.velocity[2 * i], state.velocity[2 * i + 1]
    if params.top_speed[i] > 0.0 and x * x + y * y > params.top_speed[i] ** 2:
        factor = params.top_speed[i] / math.sqrt(x * x + y * y)
        state.velocity[2 * i], state.velocity[2 * i + 1] = factor * x, factor * y
    if params.original:
        state.position[2 * i] += state.velocity[2 * i] * DT
        state.position[2 * i + 1] += state.velocity[2 * i + 1] * DT


@register_jitable
def _is_touching(state: Any, a: int, b: int, params: ParticleParams) -> bool:
    """Tell whether two things overlap."""
    return _distance(state, a, b) < params.radius[a] + params.radius[b]


@register_jitable
def _covering(state: Any, params: ParticleParams) -> float:
    """Return minus the sum over landmarks of the distance of the nearest agent."""
    total = 0.0
    for j in range(params.agents, params.agents + params.landmarks):
        nearest = math.inf
        for i in range(params.agents):
            x, y = _offset(state, i, j)
            nearest = min(nearest, x * x + y * y)
        total -= math.sqrt(nearest)
    return total


@register_jitable
def _pay_spread(state: Any, params: ParticleParams) -> float:
    """Set the rewards for covering landmarks without collisions; return their mean."""
    agents, ratio, total = params.agents, params.local_ratio, 0.0
    covering = _covering(state, params)
    for i in range(agents):
        state.rewards[i] = 0.0
    for i in range(agents):
        for j in range(i + 1, agents):
            if _is_touching(state, i, j, params):
                state.rewards[i] -= 1.0
                state.rewards[j] -= 1.0
    for i in range(agents):
        if params.original:  # an agent of OpenAI's also collides with itself
            total += covering + state.rewards[i] - 1.0
        else:
            state.rewards[i] = covering * (1.0 - ratio) + state.rewards[i] * ratio
            total += state.rewards[i]
    if not params.original:
        return total / agents
    for i in range(agents):
        state.rewards[i] = total
    return total


@register_jitable
def _pay_listener(state: Any, params: ParticleParams) -> float:
    """Pay both minus the squared distance of listener and goal."""
    x, y = _offset(state, 1, params.bodies + state.goal)
    state.rewards[0] = state.rewards[1] = -(x * x + y * y)
    return state.rewards[0]


@register_jitable
def _pay_hunters(state: Any, params: ParticleParams) -> float:
    """Pay every hunter 10 for each hunter that touches the prey."""
    caught = 0.0
    for i in range(params.agents):
        if _is_touching(state, i, params.agents, params):
            caught += 10.0
    for i in range(params.agents):
        state.rewards[i] = caught
    return caught


@register_jitable
def _flee(state: Any, params: ParticleParams) -> int:
    """Return the prey's action: away from the nearest hunter, but not out of the arena."""
    prey, best, choice = params.agents, -math.inf, 0
    for action in range(5):
        x = state.position[2 * prey] + 0.4 * state.velocity[2 * prey]
        y = state.position[2 * prey + 1] + 0.4 * state.velocity[2 * prey + 1]
        x += 0.4 * ((action == 2) - (action == 1))
        y += 0.4 * ((action == 4) - (action == 3))
        room = math.inf
        for i in range(params.agents):
            dx, dy = x - state.position[2 * i], y - state.position[2 * i + 1]
            room = min(room, dx * dx + dy * dy)
        room = math.sqrt(room)
        room -= 4.0 * (max(abs(x) - 0.9, 0.0) + max(abs(y) - 0.9, 0.0))
        if room > best:
            best, choice = room, action
    return choice


def particle_observe(state: Any, params: ParticleParams, out: ParticleArrays) -> None:
    """Fill what each agent sees; entries that stay 0 are never written."""
    if out.observation.size > 0:
        if params.task == SPEAK:
            _observe_talk(state, out.observation)
        else:
            _observe_bodies(state, params, out.observation)
    if out.action_mask.size > 0:
        out.action_mask[:] = 1
        if params.task == SPEAK:
            out.action_mask[0, 3:] = 0
    if out.rewards.size > 0:
        for i in range(params.agents):
            out.rewards[i] = 0.0 if state.elapsed == 0 else state.rewards[i]


@register_jitable
def _observe_bodies(state: Any, params: ParticleParams, seen: np.ndarray) -> None:
    """Show each agent itself, then landmarks and others from where it is."""
    bodies, landmarks = params.bodies, params.landmarks
    for i in range(params.agents):
        for k in range(2):
            mine = state.position[2 * i + k]
            seen[i, k] = state.velocity[2 * i + k]
            seen[i, 2 + k] = mine
            for j in range(landmarks):
                seen[i, 4 + 2 * j + k] = state.position[2 * (bodies + j) + k] - mine
            at = 4 + 2 * landmarks + k
            for j in range(bodies):
                if j != i:
                    seen[i, at] = state.position[2 * j + k] - mine
                    at += 2
            if params.task == HUNT:
                seen[i, at] = state.velocity[2 * params.agents + k]


@register_jitable
def _observe_talk(state: Any, seen: np.ndarray) -> None:
    """Show the speaker the goal's colour; the listener velocity, landmarks and what was said."""
    for k in range(3):
        seen[0, k] = BRIGHT if k == state.goal else DIM
        seen[1, 8 + k] = 1.0 if k == state.said else 0.0
    seen[1, 0], seen[1, 1] = state.velocity[2], state.velocity[3]
    for j in range(3):
        seen[1, 2 + 2 * j], seen[1, 3 + 2 * j] = _offset(state, 1, 2 + j)
