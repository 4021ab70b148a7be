"""Steps a second of a peer's environment, in a process of its own; `probe_speed.py` calls it.

    PYTHON benchmarks/probe_peers.py NAME SECONDS

PYTHON belongs to the peer's own virtual environment. Random actions, resets included, one thread,
seconds of processor time.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module

import numpy as np

COPIES = 1024


def gymnax(name: str) -> Callable[[], int]:
    """Return what steps 1,024 copies 256 times in one compiled scan."""
    jax, env_module = import_module("jax"), import_module("gymnax")
    env, params = env_module.make(name)

    def step(carry, _):  # type: ignore[no-untyped-def]
        key, state = carry
        key, act, turn = jax.random.split(key, 3)
        actions = jax.random.randint(act, (COPIES,), 0, env.num_actions)
        obs, state, reward, *_ = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(turn, COPIES), state, actions, params
        )
        return (key, state), (reward.sum(), obs.sum())

    scan = jax.jit(lambda carry: jax.lax.scan(step, carry, None, 256))
    keys = jax.random.split(jax.random.PRNGKey(0), COPIES)
    _, state = jax.vmap(env.reset, (0, None))(keys, params)
    kept = [(jax.random.PRNGKey(1), state)]

    def steps() -> int:
        kept[0], out = scan(kept[0])
        jax.block_until_ready(out)
        return 256 * COPIES

    return steps


def envpool(name: str) -> Callable[[], int]:
    """Return what steps 1,024 copies in C++, on one thread."""
    make = import_module("envpool").make
    env = make(name, env_type="gymnasium", num_envs=COPIES, num_threads=1)
    env.reset()
    actions = np.random.default_rng(0).integers(0, env.action_space.n, (16, COPIES))

    def steps() -> int:
        for row in actions:
            env.step(row)
        return actions.size

    return steps


def pufferlib(name: str) -> Callable[[], int]:
    """Return what steps 1,024 copies of an Ocean environment in C."""
    env = getattr(import_module(f"pufferlib.ocean.{name}.{name}"), name.capitalize())(
        num_envs=COPIES
    )
    env.reset(0)
    actions = np.random.default_rng(0).integers(0, env.single_action_space.n, (16, COPIES))

    def steps() -> int:
        for row in actions:
            env.step(row)
        return actions.size

    return steps


def safety_gymnasium(name: str) -> Callable[[], int]:
    """Return what steps one copy; there is no faster way but more processes."""
    env = import_module("safety_gymnasium").make(name)
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(100)]

    def steps() -> int:
        for action in actions:
            *_, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return len(actions)

    return steps


MAKERS = {
    "gymnax": gymnax,
    "envpool": envpool,
    "pufferlib": pufferlib,
    "safety_gymnasium": safety_gymnasium,
}
"""Packages, and what makes a stepper of one of their environments."""


def main() -> None:
    """Print the steps a second of processor time."""
    package, _, name = sys.argv[1].partition(" ")
    seconds = float(sys.argv[2])
    steps = MAKERS[package](name)
    steps()
    start, count = time.process_time(), 0
    while (elapsed := time.process_time() - start) < seconds:
        count += steps()
    print(count / elapsed)


if __name__ == "__main__":
    main()
