"""Training throughput beside stable-baselines3: same observations, network, batch and threads.

    python -m benchmarks.training_speed [--threads 2] [--turns 15] [--cases images84 recurrent]
    python -m benchmarks.training_speed --precision float32 bfloat16 --cases images84 recurrent84

Every case trains our `actor_critic` and the nearest algorithm of stable-baselines3 (A2C, or
RecurrentPPO of sb3-contrib with one epoch over one full batch) on an environment that costs
nothing: 64 copies that show fixed random observations. Each has a process of its own, and they take
short turns, so that other work on the machine meets both alike; the ratio is the median over the
pairs of turns, a speed the median over its turns, in environment steps per second.

The bound is arithmetic: floating-point operations per step, counted while training, over what the
machine does in a 2048 x 2048 float32 matrix product of the faster library, its best in the same
turns.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
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

from daedalus.accelerators.products import product
from daedalus.agents.actor_critic import ActorCritic, Config
from daedalus.agents.networks import PRECISIONS
from daedalus.agents.sb3_features import Features

COPIES, STEPS, ACTIONS = 64, 20, 6

PRODUCTS: dict[Any, Any] = {}
"""What the counter does not know: x w' of accelerators/products.py."""
if torch.backends.mkldnn.is_available():
    PRODUCTS[torch.ops.mkldnn._linear_pointwise] = lambda x, w, *_, **__: 2 * math.prod(x) * w[0]


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


def make_ours(case: Case, precision: str) -> Any:
    """Return our agent."""
    config = Config(n_steps=STEPS, feed_back=False, precision=precision, **case.ours)
    return ActorCritic(Still(case.space), config, device="cpu")


def make_theirs(case: Case, _: str) -> Any:
    """Return the agent of stable-baselines3, which computes in float32."""
    env = StillVecEnv(Still(case.space))
    given: dict[str, Any] = {"policy_kwargs": {"net_arch": [], **case.theirs}, "device": "cpu"}
    if not case.recurrent:
        return A2C(case.policy, env, n_steps=STEPS, **given)
    batch = STEPS * COPIES
    return RecurrentPPO(case.policy, env, n_steps=STEPS, batch_size=batch, n_epochs=1, **given)


MAKERS = {"ours": make_ours, "theirs": make_theirs}


def seconds(function: Callable[[], object]) -> float:
    """Return the wall time of a call, in s."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def peak_flops(size: int = 2048) -> float:
    """Return float32 operations per second of a matrix product of ``size``."""
    a = torch.ones(size, size)
    return 2 * size**3 / seconds(lambda: product(a, a))


def serve(pipe: Connection, name: str, who: str, threads: int, precision: str) -> None:
    """Train in a process of its own: answer a number of rollouts with the seconds they took.

    The first answer is the number of floating-point operations per environment step.
    """
    torch.set_num_threads(threads)
    agent = MAKERS[who](CASES[name], precision)

    def train(rollouts: int) -> None:
        steps = rollouts * STEPS * COPIES
        agent.learn(steps, reset_num_timesteps=False, log_interval=10**9)

    train(3)  # compiled, allocated
    with FlopCounterMode(display=False, custom_mapping=PRODUCTS) as counter:
        train(1)
    pipe.send(counter.get_total_flops() / (STEPS * COPIES))
    while (rollouts := pipe.recv()) > 0:
        pipe.send(seconds(lambda n=rollouts: train(n)))  # type: ignore[misc]


class Trainer:
    """A trainer in a process of its own."""

    def __init__(self, name: str, who: str, threads: int, precision: str) -> None:
        """Start it and let it warm up."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, who, threads, precision))
        self.process.start()
        self.flops: float = self.pipe.recv()

    def train(self, rollouts: int) -> float:
        """Train for ``rollouts`` and return the seconds of one of them."""
        self.pipe.send(rollouts)
        return float(self.pipe.recv()) / rollouts

    def close(self) -> None:
        """End the process."""
        self.pipe.send(0)
        self.process.join()


def measure(name: str, turns: int, budget: float, threads: int, precision: str) -> dict[str, Any]:
    """Let both train in turns and return speeds, operations and shares of the bound.

    Args:
        name: Of the case.
        turns: Of each.
        budget: Wall time of one turn, in s.
        threads: Of torch.
        precision: Of our encoder.
    """
    trainer = {who: Trainer(name, who, threads, precision) for who in MAKERS}
    rollouts = {who: max(1, round(budget / t.train(1))) for who, t in trainer.items()}
    times: dict[str, list[float]] = {who: [] for who in MAKERS}
    peaks = []
    for _ in range(turns):
        peaks.append(peak_flops())
        for who, t in trainer.items():
            times[who].append(t.train(rollouts[who]))
    for t in trainer.values():
        t.close()
    extra = {"ours": 0.0, "theirs": fused_lstm_flops() if CASES[name].recurrent else 0.0}
    flops = {who: t.flops + extra[who] for who, t in trainer.items()}
    return report(times, flops, max(peaks))


def fused_lstm_flops(inputs: int = 256, hidden: int = 256) -> float:
    """Return operations per step of torch's fused LSTM, which its counter does not see.

    Two a weight, 4 H (I + H) weights, four passes: acting, forward, and twice as much backward.
    """
    return 4 * 2 * 4 * hidden * (inputs + hidden)


def report(times: dict[str, list[float]], flops: dict[str, float], peak: float) -> dict[str, Any]:
    """Turn seconds per rollout into what is stored."""
    rates = {who: [STEPS * COPIES / t for t in values] for who, values in times.items()}
    speed = {who: statistics.median(values) for who, values in rates.items()}
    ratios = [b / a for a, b in zip(times["ours"], times["theirs"], strict=True)]
    quarters = statistics.quantiles(ratios, n=4)
    return {
        "steps/s": {who: round(value) for who, value in speed.items()},
        "best steps/s": {who: round(max(values)) for who, values in rates.items()},
        "ratio": round(statistics.median(ratios), 2),
        "quartiles of the ratio": [round(quarters[0], 2), round(quarters[2], 2)],
        "MFLOP/step": {who: round(value / 1e6, 2) for who, value in flops.items()},
        "peak GFLOP/s": round(peak / 1e9),
        "bound steps/s": {who: round(peak / value) for who, value in flops.items()},
        "share of bound": {w: round(max(rates[w]) * flops[w] / peak, 3) for w in rates},
    }


def main() -> None:
    """Measure the cases that were asked for and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--turns", type=int, default=15, help="of each trainer")
    parser.add_argument("--seconds", type=float, default=0.5, help="wall time of one turn")
    parser.add_argument(
        "--precision",
        nargs="+",
        default=["float32"],
        choices=list(PRECISIONS),
        help="of our encoder and LSTM; theirs computes in float32",
    )
    parser.add_argument("--json", help="file to write the figures to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{COPIES} copies, {STEPS} steps a rollout, {options.threads} threads, "
        f"torch {torch.__version__}, {platform.processor() or platform.machine()}"
    )
    print(f"{'case':<28}{'ours':>9}{'theirs':>9}{'ratio':>8}{'aim':>6}   share of FLOP bound")
    results = {}
    for name, precision in itertools.product(options.cases, options.precision):
        label = name if precision == "float32" else f"{name} {precision}"
        found = measure(name, options.turns, options.seconds, options.threads, precision)
        results[label] = found
        speed = found["steps/s"]
        shares = ", ".join(
            f"{who} {found['share of bound'][who]:.0%} of {found['bound steps/s'][who]:,} steps/s"
            for who in speed
        )
        row = f"{label:<28}{speed['ours']:>9,}{speed['theirs']:>9,}{found['ratio']:>8}"
        print(f"{row}{CASES[name].target:>6}   {shares}", flush=True)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({"options": vars(options), "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
