"""Training that is interrupted on purpose, for the tests and ``benchmarks/reliability.py``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import small_worlds  # noqa: F401 - registers the environments of the tests
import torch

from daedalus.accelerators.checkpoint import list_checkpoints
from daedalus.accelerators.metrics import read_metrics
from daedalus.accelerators.run_directory import RunDirectory, read_status
from daedalus.accelerators.signals import Stopped
from daedalus.agents import make_agent
from daedalus.agents.recorder import Saving
from daedalus.agents.training import train


class Task(NamedTuple):
    """An agent in an environment, small enough to train in a second."""

    agent: str
    env: str
    config: dict[str, Any] = {}
    env_kwargs: dict[str, Any] = {}
    updates: int = 20
    rollout: int = 5

    @property
    def name(self) -> str:
        """A name for tables."""
        kind = "" if self.config.get("lstm", 1) else " without LSTM"
        return f"{self.agent}{kind} in {self.env.rpartition('/')[2]}"

    @property
    def steps(self) -> int:
        """Environment steps in all, ``updates`` rollouts of 4 environments."""
        return self.updates * 4 * self.rollout

    def make_config(self) -> Any:
        """Return the agent's settings."""
        kind = make_agent(self.agent).Config
        known = {field.name for field in dataclasses.fields(kind)}
        length = {"n_steps": self.rollout} if "n_steps" in known else {}
        small = {key: value for key, value in QUICK.items() if key in known}
        return kind(**{**small, **length, **self.config})

    def make(self, seed: int = 1) -> Any:
        """Return a fresh agent with 4 environments."""
        return make_agent(self.agent)(
            self.env,
            self.make_config(),
            num_envs=4,
            seed=seed,
            device="cpu",
            env_kwargs=self.env_kwargs,
        )

    def restore(self, run: RunDirectory) -> Any:
        """Return the agent of a run's newest checkpoint."""
        found = run.load()
        return make_agent(self.agent).from_state(
            found.tensors,
            found.state,
            env=self.env,
            num_envs=4,
            device="cpu",
            env_kwargs=self.env_kwargs,
        )


QUICK: dict[str, Any] = {
    **{"hidden": 16, "lstm": 16, "net_arch": (16,), "batch_size": 10, "n_epochs": 2},
    **{"buffer_size": 400, "learning_starts": 16, "replay_start": 10, "replay_length": 40},
}
"""Small networks and replays; each agent takes the settings that it has."""
TASKS = [
    Task("actor_critic", "daedalus/Catch-v0"),
    Task("actor_critic", "daedalus/Recall-v0", {"lstm": 0, "anneal": False}),
    Task("actor_critic", "tests/Steer-v0"),
    Task("unreal", "tests/Pixels-v0", updates=12),
    Task("nav", "tests/Pixels-v0", {"depth_1": 1.0}, updates=12),
    Task("feudal", "daedalus/Catch-v0", {"horizon": 3, "dilation": 3, "goal_size": 8}, updates=12),
    Task("cpo", "tests/Steer-v0", {"shaping": 0.1}, updates=8),
    Task("pdo", "daedalus/Catch-v0", updates=8),
    Task("trpo_penalty", "tests/Steer-v0", updates=8),
    Task("ppo_lagrangian", "tests/Steer-v0", updates=8),
]
"""Our agents, with every kind of memory, action and observation."""
SB3_TASKS = [
    *(Task(name, "daedalus/Catch-v0") for name in ("ppo", "a2c", "trpo", "recurrent_ppo")),
    *(Task(name, "daedalus/Catch-v0", {}, {}, 60, 1) for name in ("dqn", "qrdqn")),
    *(Task(n, "tests/Steer-v0", {}, {}, 60, 1) for n in ("sac", "td3", "ddpg", "tqc", "crossq")),
    Task("ars", "daedalus/Catch-v0", {"n_delta": 2}, {}, 5, 40),
]
"""The algorithms of stable-baselines3 as agents of ours."""


def digest(agent: Any) -> str:
    """SHA-256 of everything an agent is: weights, optimiser, replay, generators, environments."""
    tensors, state = agent.get_state()
    content = hashlib.sha256(json.dumps(state, sort_keys=True).encode())
    for name in sorted(tensors):
        value = tensors[name]
        array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
        content.update(name.encode() + str(array.dtype).encode() + np.asarray(array).tobytes())
    return content.hexdigest()


class Trace(dict[int, str]):
    """The digest after every update, by step; also sends signals at chosen updates."""

    def __init__(self, agent: Any, at_update: Callable[[int], None] | None = None) -> None:
        """Follow ``agent``; ``at_update`` is called inside every update with its number."""
        super().__init__()
        update = agent.update

        def followed(rollout: Any) -> Any:
            if at_update is not None:
                at_update(agent.num_updates + 1)
            return update(rollout)

        agent.update = followed
        self.agent = agent

    def __call__(self, progress: Any) -> None:
        """Note the digest: ``progress`` of `train` with ``log_interval=1``."""
        self.agent.take_episodes()
        self[progress.num_timesteps] = digest(self.agent)


def uninterrupted(task: Task, path: Path) -> tuple[Trace, list[dict[str, float]]]:
    """Train from beginning to end: digests by step, and the logged rows."""
    agent = task.make()
    trace = Trace(agent)
    with RunDirectory.create(path, {}) as run:
        train(agent, task.steps, run=run, progress=trace, log_interval=1)
    return trace, rows_of(path)


def stopped_and_resumed(
    task: Task, path: Path, stop_at: int, signum: int = signal.SIGINT
) -> tuple[Trace, list[dict[str, float]], int]:
    """Train, be stopped by a signal inside update ``stop_at``, resume: also the signal's code."""

    def at_update(number: int) -> None:
        if number == stop_at:
            os.kill(os.getpid(), signum)

    agent, code = task.make(), 0
    trace = Trace(agent, at_update)
    with RunDirectory.create(path, {}) as run:
        try:
            train(agent, task.steps, run=run, progress=trace, log_interval=1)
        except Stopped as stop:
            code = int(stop.code)  # type: ignore[arg-type]
    with RunDirectory.open(path) as run:
        agent = task.restore(run)
        again = Trace(agent)
        train(agent, task.steps, run=run, progress=again, log_interval=1)
    trace.update(again)
    return trace, rows_of(path), code


def rows_of(path: Path) -> list[dict[str, float]]:
    """Logged rows without what depends on the clock."""
    rows, dropped = read_metrics(path / "metrics")
    assert not dropped
    return [{k: v for k, v in row.items() if k != "time/fps"} for row in rows]


def train_in_child(task: Task, path: Path, saving: Saving) -> int:
    """Fork a process that trains, or goes on with the run at ``path``; returns its pid."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        if (path / "config.yaml").exists():
            with RunDirectory.open(path) as run:
                agent = task.restore(run) if list_checkpoints(path) else task.make()
                train(agent, task.steps, run=run, saving=saving, log_interval=1)
        else:
            with RunDirectory.create(path, {}) as run:
                train(task.make(), task.steps, run=run, saving=saving, log_interval=1)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        os._exit(code)


def wait(pid: int, seconds: float = 60.0) -> int:
    """Wait for a process: its exit code, negative for a signal; killed and -99 after a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -99


def wait_until_running(path: Path, pid: int) -> None:
    """Wait until a child has begun to train."""
    while read_status(path).get("pid") != pid or read_status(path)["state"] == "created":
        time.sleep(0.001)


class Injection:
    """Writes a bad value into what a batch returns at one step of one environment."""

    def __init__(self, agent: Any, step: int, env: int, name: str, value: float) -> None:
        """Spoil vector step ``step`` of ``agent``'s batch; ``name`` is an array or "reward"."""
        batch = agent.batch
        original, self.count = batch.step, 0

        def spoiled(actions: Any) -> None:
            original(actions)
            self.count += 1
            if self.count == step:
                array = batch.reward if name == "reward" else batch.observation[name]
                array[env].fill(value) if array[env].ndim else array.__setitem__(env, value)

        batch.step = spoiled


def weights(agent: Any) -> dict[str, torch.Tensor]:
    """Copies of all weights by name."""
    return {
        f"{name}/{k}": v.clone()
        for name, module in agent.modules.items()
        for k, v in module.state_dict().items()
    }


def all_finite(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Whether every weight is finite."""
    return all(bool(v.isfinite().all()) for v in tensors.values() if v.is_floating_point())


@contextmanager
def quiet() -> Iterator[None]:
    """Swallow what the signal handler writes to the terminal."""
    saved, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nothing)
