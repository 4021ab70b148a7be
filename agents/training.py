"""The one loop that trains every agent: collect a rollout, update, log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from daedalus.accelerators.memory import keep_freed_memory
from daedalus.agents.base import Agent, Metrics, Preparation
from daedalus.agents.health import Health, Heartbeat
from daedalus.agents.recorder import Recorder, Saving

LOG_INTERVAL = 10_000
"""Environment steps between two logged rows."""
SHOWN = 5.0
"""Seconds after which progress is told although no row is due."""
PREPARED_ROWS = 20
"""Rows that an agent's preparation is logged in, all of step 0."""


class Progress(NamedTuple):
    """Where training stands; handed to ``progress`` whenever a row is logged.

    While the agent prepares itself, after every update of its preparation.
    """

    num_timesteps: int
    total_timesteps: int
    steps_per_second: float
    mean_return: float  # of the last 100 episodes; nan before the first end
    mean_length: float
    preparation: Preparation | None = None


def train(
    agent: Agent,
    total_timesteps: int,
    run: Any = None,
    callback: Any = None,
    progress: Callable[[Progress], None] | None = None,
    *,
    log_interval: int | None = None,
    saving: Saving | None = None,
    health: Health | None = None,
) -> Agent:
    """Train until ``agent.num_timesteps`` reaches ``total_timesteps``.

    Args:
        agent: Made with an environment; goes on from where it stands.
        total_timesteps: Steps over all environments, counted from the agent's first.
        run: A `RunDirectory` that keeps checkpoints and logged rows, or None.
        callback: An SB3 callback, a list of them, or a function of (locals, globals).
        progress: Called with a `Progress` after every logged row and between distant ones.
        log_interval: Environment steps between logged rows; by default `LOG_INTERVAL`.
        saving: When checkpoints are taken and which stay, if there is a ``run``.
        health: Looks at every logged row and warns; by default one that knows no earlier runs.

    Returns:
        The agent.

    Raises:
        ValueError: The agent was loaded without an environment.
        Stopped: Ctrl-C or SIGTERM came and everything is saved in ``run`` (exit code 130 or 143).
        NotFiniteError: A NaN or infinity appeared; it has reached no weight.
        CheckpointError: Checkpoints could not be written several times in a row.
    """
    if agent.collector is None:
        raise ValueError("this agent has no environment to train in: load it with env=...")
    keep_freed_memory()
    agent.total_timesteps = total_timesteps
    log = _Log(agent, log_interval or LOG_INTERVAL, progress, health or Health())
    hook = _Hook(agent, callback, total_timesteps)
    with Recorder(agent, run, saving or Saving()) as recorder, Heartbeat(agent) as heartbeat:
        hook.start()
        for at in agent.prepare():
            log.after_preparing(at)
            recorder.after_update()
        while agent.num_timesteps < total_timesteps:
            hook.rollout_start()
            heartbeat.collecting(True)
            rollout = agent.collector.collect(agent.rollout_length, hook.step)
            heartbeat.collecting(False)
            if rollout is None:  # a callback asked to stop
                break
            hook.rollout_end()
            metrics = agent.update(rollout)
            agent.num_updates += 1
            log.after_update(metrics)
            recorder.after_update()
        hook.end()
    return agent


class _Log:
    """Episode statistics and the rows of SB3's names."""

    def __init__(
        self,
        agent: Agent,
        interval: int,
        progress: Callable[[Progress], None] | None,
        health: Health,
    ) -> None:
        self.agent, self.interval, self.progress, self.health = agent, interval, progress, health
        self._clock, self._steps = time.perf_counter(), agent.num_timesteps
        self._shown = self._clock
        self._next = (agent.num_timesteps // interval + 1) * interval
        self._prepared: dict[str, list[float]] = {}

    def after_preparing(self, at: Preparation) -> None:
        """Say how far the preparation is; log the means since the last row if one is due."""
        for name, value in at.metrics.items():
            self._prepared.setdefault(name, []).append(value)
        every = max(1, at.total // PREPARED_ROWS)
        if self._prepared and (at.done % every == 0 or at.done == at.total):
            for name, numbers in self._prepared.items():
                self.agent.logger.record(f"train/{name}", float(np.mean(numbers)))
            self._prepared.clear()
            self.agent.logger.dump(self.agent.num_timesteps)
        self._clock = time.perf_counter()
        if self.progress is not None:
            steps, total = self.agent.num_timesteps, self.agent.total_timesteps
            self.progress(Progress(steps, total, 0.0, float("nan"), float("nan"), at))

    def after_update(self, metrics: Metrics) -> None:
        """Log a row if one is due; say how far training is at least every ``SHOWN`` seconds."""
        agent = self.agent
        agent.take_episodes()
        if agent.num_timesteps >= self._next or agent.num_timesteps >= agent.total_timesteps:
            self._next = (agent.num_timesteps // self.interval + 1) * self.interval
            self._row(metrics)
        elif time.perf_counter() - self._shown > SHOWN:
            self._show(self._speed())

    def _row(self, metrics: Metrics) -> None:
        agent, speed = self.agent, self._speed()
        self._clock, self._steps = time.perf_counter(), agent.num_timesteps
        if agent.ep_info_buffer:
            mean_return, mean_length = self._episodes()
            agent.logger.record("rollout/ep_rew_mean", mean_return)
            agent.logger.record("rollout/ep_len_mean", mean_length)
        agent.logger.record("time/fps", speed)
        agent.logger.record("time/total_timesteps", agent.num_timesteps)
        agent.logger.record("train/n_updates", agent.num_updates)
        kept = agent.consolidation.metrics() if agent.consolidation is not None else {}
        for name, value in {**metrics, **kept}.items():
            agent.logger.record(f"train/{name}", float(value() if callable(value) else value))
        for name, alarm in self.health.check(agent.num_timesteps, agent.logger.numbers()).items():
            agent.logger.record(name, alarm)
        agent.logger.dump(agent.num_timesteps)
        self._show(speed)

    def _speed(self) -> float:
        """Return the steps per second since the last row."""
        seconds = time.perf_counter() - self._clock
        return (self.agent.num_timesteps - self._steps) / max(seconds, 1e-9)

    def _episodes(self) -> tuple[float, float]:
        """Return mean return and length of the latest episodes, NaN if there are none."""
        episodes = self.agent.ep_info_buffer
        if not episodes:
            return float("nan"), float("nan")
        returns, lengths = zip(*((e["r"], e["l"]) for e in episodes), strict=True)
        return float(np.mean(returns)), float(np.mean(lengths))

    def _show(self, speed: float) -> None:
        self._shown, agent = time.perf_counter(), self.agent
        if self.progress is not None:
            self.progress(
                Progress(agent.num_timesteps, agent.total_timesteps, speed, *self._episodes())
            )


class _Hook:
    """Calls SB3 callbacks at SB3's moments; without a callback it only counts steps."""

    def __init__(self, agent: Agent, callback: Any, total_timesteps: int) -> None:
        self.agent = agent
        self.callback = None if callback is None else _as_callback(callback)
        self.total_timesteps = total_timesteps

    def start(self) -> None:
        """Training begins."""
        if self.callback is not None:
            self.callback.init_callback(self.agent)
            names = {"self": self.agent, "total_timesteps": self.total_timesteps}
            self.callback.on_training_start(names, {})

    def rollout_start(self) -> None:
        """A rollout begins."""
        if self.callback is not None:
            self.callback.on_rollout_start()

    def rollout_end(self) -> None:
        """A rollout is complete."""
        if self.callback is not None:
            self.callback.on_rollout_end()

    def step(self) -> bool:
        """Count a vector step; False stops training."""
        agent, batch = self.agent, self.agent.batch
        assert batch is not None
        agent.num_timesteps += batch.num_envs
        if self.callback is None:
            return True
        agent.take_episodes()
        names = {"rewards": batch.reward, "dones": batch.terminated | batch.truncated}
        self.callback.update_locals(names)
        return bool(self.callback.on_step())

    def end(self) -> None:
        """Training is over."""
        if self.callback is not None:
            self.callback.on_training_end()


def _as_callback(callback: Any) -> Any:
    if hasattr(callback, "init_callback"):
        return callback
    from stable_baselines3.common.callbacks import CallbackList, ConvertCallback

    return CallbackList(list(callback)) if isinstance(callback, list) else ConvertCallback(callback)


class Bar:
    """A progress bar on the terminal."""

    def __init__(self) -> None:
        """Show nothing until the first call."""
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        self._rich = Rich(*columns)
        self._task = self._rich.add_task("training", total=1.0)
        self._rich.start()

    def __call__(self, at: Progress) -> None:
        """Move to ``at``."""
        text = f"{at.steps_per_second:,.0f} steps/s  return {at.mean_return:.2f}"
        done = at.num_timesteps / max(at.total_timesteps, 1)
        if at.preparation is not None:
            text = f"{at.preparation.what} {at.preparation.done:,} of {at.preparation.total:,}"
        self._rich.update(self._task, completed=done, description=text)
        if done >= 1.0:
            self._rich.stop()
