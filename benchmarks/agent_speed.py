"""Time of a training step of each agent beside the nearest algorithm of stable-baselines3.

    python benchmarks/agent_speed.py                     all groups, a minute each
    python benchmarks/agent_speed.py --groups trpo ppo   some of them
    python benchmarks/agent_speed.py --store             writes results and page, too

Same observations, batch, network and passes over the data as far as the two have them in common;
the environment costs nothing. The trainers of a group take turns of one update in one process;
times are of the processor, and each is the best of its turns, so that other work on the machine
counts as little as it can. `benchmarks/training_speed.py` compares the actor-critic alone, with
other networks and the bound of its arithmetic.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete
from sb3_contrib import TRPO, RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO
from training_speed import SHARED, Still, StillVecEnv, TwoLayers
from web_page import replace_between

from daedalus.accelerators.files import write_file
from daedalus.agents import make_agent
from daedalus.evaluation.provenance import commit, hardware, versions

ROOT = Path(__file__).resolve().parents[1]
RESULTS, PAGE = ROOT / "results" / "agent_speed.json", ROOT / "docs" / "training-speed.md"
LAYERS = (100, 50, 25)
EVER = 10**9

Update = Callable[[], object]


class Group(NamedTuple):
    """A reference of stable-baselines3 and the agents beside it."""

    name: str
    reference: Callable[[StillVecEnv, int], Any]
    agents: dict[str, tuple[str, dict[str, Any]]]  # label -> agent, settings
    observation: Space[Any]
    action: Space[Any]
    copies: int
    steps: int
    note: str

    def still(self) -> Still:
        """Return environments that show fixed vectors."""
        batch = Still(self.observation, self.copies)
        batch.action_space = self.action  # type: ignore[assignment]
        return batch

    def theirs(self) -> Update:
        """Return a function that collects a rollout and learns from it."""
        agent = self.reference(StillVecEnv(self.still()), self.steps)
        steps = self.steps * self.copies
        return lambda: agent.learn(steps, reset_num_timesteps=False, log_interval=EVER)

    def ours(self, name: str, settings: dict[str, Any]) -> Update:
        """Return the same of an agent of ours."""
        cls = make_agent(name)
        agent = cls(self.still(), cls.Config(n_steps=self.steps, **settings), device="cpu")
        agent.total_timesteps = EVER
        assert agent.collector is not None

        def count() -> bool:
            agent.num_timesteps += self.copies
            return True

        def update() -> None:
            rollout = agent.collector.collect(agent.rollout_length, count)
            assert rollout is not None
            agent.update(rollout)
            agent.num_updates += 1

        return update


SENSORS, MOTORS = Box(-1, 1, (17,), np.float32), Box(-1, 1, (6,), np.float32)
VECTOR = Box(-1, 1, (32,), np.float32)
_BATCH: dict[str, Any] = {"net_arch": LAYERS, "value_epochs": 10, "value_batch": 64}
_LIMITED: dict[str, Any] = {**_BATCH, "gae_lambda": 0.97, "cg_iterations": 10, "fisher_stride": 1}
_A3C: dict[str, Any] = {"lstm": 0, "hidden": 256}
_TASKS: dict[str, Any] = {"pixel_control": 0.0, "replay_start": 40}


def _trpo(env: StillVecEnv, steps: int) -> Any:
    return TRPO(
        "MlpPolicy", env, n_steps=steps, batch_size=64, n_critic_updates=10, cg_max_steps=10,
        gae_lambda=0.97, policy_kwargs={"net_arch": list(LAYERS)}, device="cpu",
    )  # fmt: skip


def _ppo(env: StillVecEnv, steps: int) -> Any:
    return PPO(
        "MlpPolicy", env, n_steps=steps, batch_size=64, n_epochs=10,
        policy_kwargs={"net_arch": list(LAYERS)}, device="cpu",
    )  # fmt: skip


def _a2c(env: StillVecEnv, steps: int) -> Any:
    policy = {"net_arch": [], "features_extractor_class": TwoLayers}
    return A2C("MlpPolicy", env, n_steps=steps, policy_kwargs=policy, device="cpu")


def _recurrent(env: StillVecEnv, steps: int) -> Any:
    policy = {"net_arch": [], "features_extractor_class": TwoLayers, **SHARED}
    return RecurrentPPO(
        "MlpLstmPolicy", env, n_steps=steps, batch_size=steps * env.num_envs, n_epochs=1,
        policy_kwargs=policy, device="cpu",
    )  # fmt: skip


def _dqn(env: StillVecEnv, steps: int) -> Any:
    return DQN(
        "MlpPolicy", env, train_freq=steps, gradient_steps=4, batch_size=64, learning_starts=0,
        buffer_size=50_000, policy_kwargs={"net_arch": [64, 64]}, device="cpu",
    )  # fmt: skip


GROUPS = {
    "trpo": Group(
        "TRPO (sb3-contrib)",
        _trpo,
        {
            "trpo_penalty": ("trpo_penalty", {**_LIMITED, "penalty": 0.0}),
            "pdo": ("pdo", _LIMITED),
            "cpo": ("cpo", _LIMITED),
            "qprop, no critic": ("qprop", {"net_arch": LAYERS, "eta": "none"}),
            "qprop, a critic step every 10": ("qprop", {"net_arch": LAYERS, "critic_ratio": 0.1}),
            "qprop, a critic step every 2": ("qprop", {"net_arch": LAYERS, "critic_ratio": 0.5}),
        },
        SENSORS,
        MOTORS,
        20,
        50,
        "the constrained agents fit a value of the cost as well; qprop's critic is work of its own",
    ),
    "ppo": Group(
        "PPO",
        _ppo,
        {"ppo_lagrangian": ("ppo_lagrangian", {**_BATCH, "target_kl": 0.0})},
        SENSORS,
        MOTORS,
        20,
        50,
        "it fits a value of the cost as well, and its values in passes of their own",
    ),
    "a2c": Group(
        "A2C",
        _a2c,
        {
            "actor_critic": ("actor_critic", _A3C),
            "pgq without replay": ("pgq", {**_A3C, "eta": 0.0}),
            "pgq": ("pgq", {**_A3C, "replay_start": 40}),
            "progressive, first column": ("progressive", {"hidden": 256}),
            "distral": ("distral", {"hidden": 256}),
            "comm, one role": ("comm", {"hidden": 256}),
            "actor_critic with SI": ("actor_critic", {**_A3C, "consolidation": "si"}),
            "actor_critic with EWC": ("actor_critic", {**_A3C, "consolidation": "ewc"}),
        },
        VECTOR,
        Discrete(6),
        64,
        20,
        "pgq replays as many steps as it takes, distral has a network of the task and one of all, "
        "comm's baseline is a network of its own, and the penalty of EWC begins with a second task",
    ),
    "recurrent": Group(
        "RecurrentPPO, one epoch",
        _recurrent,
        {
            "actor_critic": ("actor_critic", {"feed_back": False}),
            "unreal without pixels": ("unreal", {"feed_back": False, **_TASKS}),
            "feudal": ("feudal", {"feed_back": False}),
            "nav without labels": ("nav", {"depth_2": 0.0, "loop_closure": 0.0}),
            "urex": ("urex", {"samples": 8, "hidden": 256, "lstm": 256}),
        },
        VECTOR,
        Discrete(6),
        64,
        20,
        "unreal learns from two replayed batches beside its own, feudal's Manager is a second "
        "LSTM, which acts and is unrolled anew, and ten cosines of 256 for each step's intrinsic "
        "reward, nav has a second LSTM, urex no value",
    ),
    "dqn": Group(
        "DQN",
        _dqn,
        {"iql, one agent": ("iql", {"learning_starts": 0, "fingerprint": False})},
        VECTOR,
        Discrete(6),
        16,
        8,
        "four gradient steps on 64 transitions for 128 steps",
    ),
}


def seconds(function: Update) -> float:
    """Return the processor time of a call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def measure(group: Group, turns: int) -> dict[str, float]:
    """Return microseconds a step by trainer, the reference first."""
    trainers = {group.name: group.theirs()}
    trainers |= {label: group.ours(*given) for label, given in group.agents.items()}
    for update in trainers.values():
        for _ in range(4):  # replays fill, memory is allocated
            update()
    times = [{label: seconds(update) for label, update in trainers.items()} for _ in range(turns)]
    steps = group.steps * group.copies
    return {label: 1e6 * min(row[label] for row in times) / steps for label in trainers}


def table(results: dict[str, dict[str, float]]) -> str:
    """Return the page's table."""
    lines = ["| agent | us a step | beside | us a step | times its speed |"]
    lines.append("|---|---:|---|---:|---:|")
    for key, found in results.items():
        reference = found[GROUPS[key].name]
        for label, value in found.items():
            if label != GROUPS[key].name:
                row = (label, f"{value:.1f}", GROUPS[key].name, f"{reference:.1f}")
                lines.append(f"| {' | '.join(row)} | {reference / value:.2f} |")
    notes = [f"beside {GROUPS[key].name}: {GROUPS[key].note}" for key in results]
    rest = (
        ". The placers, whose episode is a decision for each group of a graph, have no counterpart."
    )
    return "\n".join(lines) + "\n\nNot in common, " + "; ".join(notes) + rest


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--turns", type=int, default=15, help="updates of each trainer")
    parser.add_argument("--store", action="store_true", help="write results and page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {}
    for name in options.groups:
        results[name] = found = measure(GROUPS[name], options.turns)
        reference = found[GROUPS[name].name]
        for label, value in found.items():
            print(f"{label:<32}{value:8.1f} us a step{reference / value:8.2f} times", flush=True)
    if options.store:
        record = {"command": "python benchmarks/agent_speed.py --store", "us a step": results}
        record |= {"commit": commit(), "hardware": hardware(), "versions": versions()}
        write_file(RESULTS, (json.dumps(record, indent=1) + "\n").encode())
        replace_between(PAGE, "agents", table(results))


if __name__ == "__main__":
    main()
