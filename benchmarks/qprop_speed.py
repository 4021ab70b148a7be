"""Time of a training step: Q-Prop, without and with its critic, beside sb3-contrib's TRPO.

    python benchmarks/qprop_speed.py

Same observations (vectors of 17, 6 components of action), networks (100, 50, 25), batches (1,000
steps of 20 copies) and passes of the values' fit; the environment costs nothing. The trainers take
turns of one update in one process; times are of the processor, and each is the best of its turns,
so that other work on the machine counts as little as it can.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from sb3_contrib import TRPO
from training_speed import Still, StillVecEnv

from daedalus.agents.qprop import Config, QProp

COPIES, STEPS = 20, 50
LAYERS = (100, 50, 25)


def still() -> Still:
    """Return environments that show fixed vectors and take continuous actions."""
    batch = Still(Box(-1, 1, (17,), np.float32), COPIES)
    batch.action_space = Box(-1, 1, (6,), np.float32)  # type: ignore[assignment]
    return batch


def ours(**settings: Any) -> Callable[[], object]:
    """Return a function that collects a batch and learns from it."""
    agent = QProp(still(), Config(n_steps=STEPS, net_arch=LAYERS, **settings), device="cpu")

    def update() -> None:
        assert agent.collector is not None
        rollout = agent.collector.collect(STEPS)
        assert rollout is not None
        agent.update(rollout)

    return update


def theirs() -> Callable[[], object]:
    """Return the same of sb3-contrib's TRPO."""
    agent = TRPO(
        "MlpPolicy",
        StillVecEnv(still()),
        n_steps=STEPS,
        batch_size=64,
        n_critic_updates=10,
        cg_max_steps=10,
        gae_lambda=0.97,
        policy_kwargs={"net_arch": list(LAYERS)},
        device="cpu",
    )
    return lambda: agent.learn(STEPS * COPIES, reset_num_timesteps=False, log_interval=10**9)


def seconds(function: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--turns", type=int, default=7, help="updates of each trainer")
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    trainers = {
        "TRPO of sb3-contrib": theirs(),
        "Q-Prop without critic": ours(eta="none"),
        "Q-Prop, critic ratio 0.1": ours(critic_ratio=0.1),
        "Q-Prop, critic ratio 0.5": ours(critic_ratio=0.5),
    }
    for update in trainers.values():
        update()
    times = [{name: seconds(update) for name, update in trainers.items()} for _ in range(turns)]
    best = {name: min(row[name] for row in times) / (STEPS * COPIES) for name in trainers}
    reference = best["TRPO of sb3-contrib"]
    for name, value in best.items():
        print(f"{name:<26}{1e6 * value:6.0f} us a step, {reference / value:.2f} times TRPO's speed")


if __name__ == "__main__":
    main()
