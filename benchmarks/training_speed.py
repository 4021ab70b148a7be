"""Training throughput beside stable-baselines3: same observations, network, batch and threads.

    python -m benchmarks.training_speed [--threads 2] [--rounds 5] [--cases images84 recurrent]

Every case trains our `actor_critic` and the nearest algorithm of stable-baselines3 (A2C, or
RecurrentPPO of sb3-contrib with one epoch over one full batch) on an environment that costs
nothing: 64 copies that show fixed random observations. The two take turns in one process, several
rounds each; a figure is the median over the rounds, in environment steps per second.

The bound is arithmetic: floating-point operations per step, counted while training by torch's own
counter, over what the machine does in a 2048 x 2048 float32 matrix product in the same run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete
from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from daedalus.agents.actor_critic import ActorCritic, Config
from daedalus.agents.sb3_features import Features

COPIES, STEPS, ACTIONS = 64, 20, 6


class Still:
    """An `EnvBatch` that shows the same random observations for ever."""

    autoreset = "same_step"
    exact_resume = True

    def __init__(self, space: Space[Any], copies: int = COPIES) -> None:
        """Draw the observations of ``copies`` environments."""
        space.seed(0)
        shown = np.stack([space.sample() for _ in range(copies)])
        self.num_envs = copies
        self.observation_spaces = {"observation": space}
        self.label_spaces: dict[str, Space[Any]] = {}
        self.action_space = Discrete(ACTIONS)
        self.observation = {"observation": shown}
        self.final_observation = {"observation": shown}
        self.label: dict[str, Any] = {}
        self.info: dict[str, Any] = {}
        self.final_info: dict[str, Any] = {}
        self.reward = np.ones(copies, np.float32)
        self.cost = np.zeros(copies, np.float32)
        self.terminated, self.truncated = np.zeros(copies, bool), np.zeros(copies, bool)
        self.valid = np.ones(copies, bool)

    @property
    def next_observation(self) -> dict[str, np.ndarray]:
        """The same."""
        return self.observation

    def reset(self, seed: Any = None, mask: Any = None) -> None:
        """Do nothing."""

    def step(self, actions: Any) -> None:
        """Do nothing."""

    def pop_episodes(self) -> list[tuple[float, int]]:
        """No episode ever ends."""
        return []

    def get_state(self) -> dict[str, np.ndarray]:
        """There is none."""
        return {}

    def set_state(self, state: Any) -> None:
        """There is none."""

    def render(self, i: int = 0) -> np.ndarray:
        """There is nothing to see."""
        return np.zeros((8, 8, 3), np.uint8)

    def close(self) -> None:
        """Do nothing."""


class StillVecEnv(VecEnv):
    """The same for stable-baselines3, without a copy, a wrapper or a new ``info``."""

    def __init__(self, batch: Still) -> None:
        """Show what ``batch`` shows."""
        space = batch.observation_spaces["observation"]
        self.shown = batch.observation["observation"]
        if len(space.shape or ()) == 3:  # channel-first from the start: nothing to transpose
            self.shown = np.ascontiguousarray(self.shown.transpose(0, 3, 1, 2))
            space = Box(0, 255, self.shown.shape[1:], np.uint8)
        self.rewards = np.ones(batch.num_envs, np.float32)
        self.dones = np.zeros(batch.num_envs, bool)
        self.infos: list[dict[str, Any]] = [{} for _ in range(batch.num_envs)]
        self.render_mode = None
        super().__init__(batch.num_envs, space, batch.action_space)

    def reset(self) -> Any:
        """Show the observations."""
        return self.shown

    def step_async(self, actions: Any) -> None:
        """Do nothing."""

    def step_wait(self) -> Any:
        """Return the same as ever."""
        return self.shown, self.rewards, self.dones, self.infos

    def close(self) -> None:
        """Do nothing."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return None: there are no attributes."""
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Do nothing."""

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """There are no methods."""
        raise AttributeError(method_name)

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Nothing is wrapped."""
        return [False] * self.num_envs


class TwoLayers(BaseFeaturesExtractor):
    """Two fully connected ReLU layers of 256, shared by policy and value, as ours."""

    def __init__(self, observation_space: Space[Any], features_dim: int = 256) -> None:
        """Build for a vector."""
        super().__init__(observation_space, features_dim)
        size = int(np.prod(observation_space.shape or (1,)))
        first, second = nn.Linear(size, features_dim), nn.Linear(features_dim, features_dim)
        self.layers = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Map (N, size) to (N, features_dim)."""
        return self.layers(observations)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Case:
    """Two trainers of one network.

    Attributes:
        space: What the environment shows.
        ours: Settings of `actor_critic`.
        policy: Policy of stable-baselines3.
        theirs: Its keyword arguments.
        target: Ratio aimed at.
    """

    space: Space[Any]
    ours: dict[str, Any]
    policy: str
    theirs: dict[str, Any] = field(default_factory=dict)
    recurrent: bool = False
    target: float = 2.0


IMAGE84 = Box(0, 255, (84, 84, 3), np.uint8)
IMAGE21 = Box(0, 255, (21, 21, 3), np.uint8)
VECTOR = Box(-1, 1, (32,), np.float32)
NATURE = {"torso": "nature", "hidden": 512}
SMALL = {"features_extractor_class": Features}
SHARED = {"shared_lstm": True, "enable_critic_lstm": False, "lstm_hidden_size": 256}
CASES = {
    "images84": Case(IMAGE84, {**NATURE, "lstm": 0}, "CnnPolicy"),
    "images21": Case(IMAGE21, {"lstm": 0}, "MlpPolicy", SMALL, target=4.0),
    "symbolic": Case(
        VECTOR, {"lstm": 0}, "MlpPolicy", {"features_extractor_class": TwoLayers}, target=4.0
    ),
    "recurrent84": Case(
        IMAGE84, {**NATURE, "lstm": 256}, "CnnLstmPolicy", SHARED, recurrent=True, target=4.0
    ),
    "recurrent21": Case(
        IMAGE21, {"lstm": 256}, "MlpLstmPolicy", SMALL | SHARED, recurrent=True, target=4.0
    ),
    "recurrent_symbolic": Case(
        VECTOR,
        {"lstm": 256},
        "MlpLstmPolicy",
        SHARED | {"features_extractor_class": TwoLayers},
        recurrent=True,
        target=4.0,
    ),
}


def trainers(case: Case) -> dict[str, Callable[[int], object]]:
    """Return name -> function that trains for so many rollouts."""
    ours = ActorCritic(Still(case.space), Config(n_steps=STEPS, feed_back=False, **case.ours))
    env = StillVecEnv(Still(case.space))
    kwargs = {"net_arch": [], **case.theirs}
    if case.recurrent:
        theirs: Any = RecurrentPPO(
            case.policy,
            env,
            n_steps=STEPS,
            batch_size=STEPS * COPIES,
            n_epochs=1,
            policy_kwargs=kwargs,
        )
    else:
        theirs = A2C(case.policy, env, n_steps=STEPS, policy_kwargs=kwargs)

    def run(agent: Any) -> Callable[[int], object]:
        return lambda rollouts: agent.learn(
            rollouts * STEPS * COPIES, reset_num_timesteps=False, log_interval=10**9
        )

    return {"ours": run(ours), "theirs": run(theirs)}


def seconds(function: Callable[[], object]) -> float:
    """Return the wall time of a call, in s."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_flops(size: int = 2048, repeats: int = 8) -> float:
    """Return float32 operations per second of a matrix product of ``size``; the best of several."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    return 2 * size**3 / min(seconds(lambda: a @ b) for _ in range(repeats))


def flops_per_step(train: Callable[[int], object], uncounted: float = 0.0) -> float:
    """Return floating-point operations per environment step while training.

    Args:
        train: Trains for so many rollouts.
        uncounted: Operations per step that torch's counter does not see.
    """
    with FlopCounterMode(display=False) as counter:
        train(1)
    return float(counter.get_total_flops()) / (STEPS * COPIES) + uncounted


def fused_lstm_flops(inputs: int, hidden: int = 256) -> float:
    """Return operations per step of torch's fused LSTM, which its counter does not see.

    Two a weight, 4 H (I + H) weights, four passes: acting, forward, and twice as much backward.
    """
    return 4 * 2 * 4 * hidden * (inputs + hidden)


def measure(case: Case, rounds: int, budget: float) -> dict[str, Any]:
    """Train both in turns and return speeds, operations and shares of the bound.

    Args:
        case: What to train.
        rounds: Turns of each.
        budget: Wall time of one turn, in s.
    """
    run = trainers(case)
    for train in run.values():
        train(2)
    once = {name: seconds(lambda train=train: train(1)) for name, train in run.items()}  # type: ignore[misc]
    rollouts = {name: max(1, round(budget / t)) for name, t in once.items()}
    rates: dict[str, list[float]] = {name: [] for name in run}
    peaks = []
    for _ in range(rounds):
        peaks.append(peak_flops())
        for name, train in run.items():
            taken = seconds(lambda train=train, n=rollouts[name]: train(n))  # type: ignore[misc]
            rates[name].append(rollouts[name] * STEPS * COPIES / taken)
    speed = {name: statistics.median(values) for name, values in rates.items()}
    fused = fused_lstm_flops(case.ours.get("hidden", 256)) if case.recurrent else 0.0
    flops = {n: flops_per_step(train, fused * (n == "theirs")) for n, train in run.items()}
    peak = statistics.median(peaks)
    return {
        "steps/s": {name: round(value) for name, value in speed.items()},
        "lowest and highest": {n: [round(min(v)), round(max(v))] for n, v in rates.items()},
        "ratio": round(speed["ours"] / speed["theirs"], 2),
        "MFLOP/step": {name: round(value / 1e6, 2) for name, value in flops.items()},
        "peak GFLOP/s": round(peak / 1e9),
        "bound steps/s": {name: round(peak / value) for name, value in flops.items()},
        "share of bound": {n: round(speed[n] * flops[n] / peak, 3) for n in speed},
    }


def main() -> None:
    """Measure the cases that were asked for and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="wall time of one turn")
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{COPIES} copies, {STEPS} steps a rollout, {options.threads} threads, "
        f"torch {torch.__version__}, {platform.processor() or platform.machine()}"
    )
    print(f"{'case':<20}{'ours':>9}{'theirs':>9}{'ratio':>8}{'aim':>6}   share of FLOP bound")
    results = {}
    for name in options.cases:
        results[name] = found = measure(CASES[name], options.rounds, options.seconds)
        speed = found["steps/s"]
        shares = ", ".join(
            f"{who} {found['share of bound'][who]:.0%} of {found['bound steps/s'][who]:,} steps/s"
            for who in speed
        )
        row = f"{name:<20}{speed['ours']:>9,}{speed['theirs']:>9,}{found['ratio']:>8}"
        print(f"{row}{CASES[name].target:>6}   {shares}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"options": vars(options), "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
