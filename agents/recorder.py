"""What training leaves in its run directory: checkpoints, rows, status, and evidence of faults.

Checkpoints are taken between updates, at one fixed point of the loop, so a resumed run continues
bit for bit where its batch can be restored and the machine is the same; where not, it says so.
"""

from __future__ import annotations

import contextlib
import platform
import time
import warnings
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch

from daedalus.accelerators.checkpoint import (
    CheckpointError,
    list_checkpoints,
    prune_checkpoints,
    write_checkpoint,
)
from daedalus.accelerators.guards import NotFiniteError
from daedalus.accelerators.gymnasium_batch import EnvironmentGoneError
from daedalus.accelerators.signals import Stopped, StopSignal

if TYPE_CHECKING:
    from daedalus.accelerators.run_directory import RunDirectory
    from daedalus.agents.base import Agent

SECONDS = 60.0  # between checkpoints, if no number of steps is asked for
SHARE = 0.02  # of the time at most goes into saving, then the interval grows
PATIENCE = 3  # saves that may fail in a row


@dataclass(frozen=True)
class Saving:
    """When checkpoints are taken and which ones stay.

    Attributes:
        interval: environment steps between two; 0 for every minute.
        keep_last: how many of the newest stay.
        keep_every: also keep one per this many steps; 0 for none.
    """

    interval: int = 0
    keep_last: int = 3
    keep_every: int = 0


class Recorder:
    """Records one call of `train`; without a run directory it only explains faults."""

    def __init__(self, agent: Agent, run: RunDirectory | None, saving: Saving) -> None:
        """Record ``agent`` into ``run``."""
        self.agent, self.run, self.saving = agent, run, saving
        self._signal = StopSignal()
        self._saved_at = self._started_at = agent.num_timesteps
        self._saved_prepared = agent.num_prepared
        self._clock, self._cost, self._failures = time.monotonic(), 0.0, 0
        self._best: dict[str, Any] = {"step": None, "score": None}
        self._exact: list[str] = []

    def __enter__(self) -> Self:
        """Begin: the status says running, rows go to the run, signals are kept."""
        if self.run is None:
            return self
        resumed = self.run.resumed
        if resumed is not None:
            self._best = dict(resumed.state.get("best", self._best))
            self._exact = differences(resumed.state.get("machine", {}), machine(self.agent))
            self._report()
        self.run.metrics.rewind(self.agent.num_timesteps)
        self.agent.logger.sinks.append(self.run.log)
        self._signal.__enter__()
        self._set_status("running")
        if resumed is None:  # a run can be resumed from its first moment
            self._saved_at = -1
            self.save()
        return self

    def _report(self) -> None:
        """Say it if the run will not continue bit for bit."""
        if self.agent.batch is not None and not getattr(self.agent.batch, "exact_resume", True):
            self._exact.append("environments that cannot be restored began new episodes")
        if self._exact:
            reasons = "; ".join(self._exact)
            warnings.warn(f"resumed, but not bit for bit: {reasons}", stacklevel=4)

    def after_update(self) -> None:
        """Save if it is time, stop if a signal asked for it.

        Raises:
            Stopped: a signal came; everything is saved.
            CheckpointError: saving failed again and again, or when stopping.
        """
        if self.run is None:
            return
        if self._signal.signum is not None:
            self.save(must=True)
            raise Stopped(self._signal.signum)
        if self._is_due():
            self.save()

    def _is_due(self) -> bool:
        if self.saving.interval:
            passed = self.agent.num_timesteps // self.saving.interval
            return passed > max(self._saved_at, self._started_at) // self.saving.interval
        return time.monotonic() - self._clock >= max(SECONDS, self._cost / SHARE)

    def save(self, must: bool = False) -> None:
        """Write a checkpoint; a full disk is a warning, unless it ``must`` succeed.

        Raises:
            CheckpointError: it must, or it failed `PATIENCE` times in a row.
        """
        run, agent = self.run, self.agent
        assert run is not None
        if (self._saved_at, self._saved_prepared) == (agent.num_timesteps, agent.num_prepared):
            return
        begin = time.monotonic()
        agent.take_episodes()
        improved = self._improve()
        tensors, state = agent.get_state()
        state = {**state, "machine": machine(agent), "best": self._best}
        try:
            run.save(agent.num_timesteps, tensors, state)
            if improved:
                run.mark_best(agent.num_timesteps, self._best["score"])
        except OSError as error:
            self._failed(error, must)
        else:
            self._failures, self._saved_at = 0, agent.num_timesteps
            self._saved_prepared = agent.num_prepared
            keep_last, keep_every = self.saving.keep_last, self.saving.keep_every
            prune_checkpoints(run.path, keep_last, keep_every, self._best["step"])
            self._set_status("running")
        self._clock = time.monotonic()
        self._cost = self._clock - begin

    def _improve(self) -> bool:
        """Whether the mean return of recent episodes is the best so far; notes it."""
        episodes = self.agent.ep_info_buffer
        if not episodes:
            return False
        score = float(np.mean([episode["r"] for episode in episodes]))
        known = self._best["step"] is not None
        if not np.isfinite(score) or (known and score <= self._best["score"]):
            return False
        self._best = {"step": self.agent.num_timesteps, "score": score}
        return True

    def _failed(self, error: OSError, must: bool) -> None:
        assert self.run is not None
        self._failures += 1
        steps = list_checkpoints(self.run.path)
        good = f"the last good one is of step {steps[-1]}" if steps else "there is none yet"
        text = f"checkpoint at step {self.agent.num_timesteps} could not be saved: {error}; {good}"
        if must or self._failures >= PATIENCE:
            raise CheckpointError(f"{text}; free some space and resume {self.run.path}") from error
        left = PATIENCE - self._failures
        warnings.warn(f"{text}; training goes on ({left} more, then it stops)", stacklevel=4)

    def _set_status(self, state: str, **fields: Any) -> None:
        assert self.run is not None
        agent = self.agent
        counts = {"num_timesteps": agent.num_timesteps, "total_timesteps": agent.total_timesteps}
        exact = {"bit_exact": not self._exact, "not_exact_because": self._exact}
        self.run.set_status(state, **counts, checkpoint=self._saved_at, **exact, **fields)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End: save what there is, say what became of the run, explain faults."""
        if isinstance(error, NotFiniteError):
            self._explain(error)
        if self.run is None:
            return
        try:
            if error is None:
                self._finish()
            elif isinstance(error, Stopped):
                self._set_status("interrupted", signal=error.signum)
            elif isinstance(error, EnvironmentGoneError) and self._signal.signum is not None:
                self._stop_with_environments(error)
            else:
                self._set_status("failed", error=f"{type(error).__name__}: {error}")
        finally:
            self._signal.__exit__(kind, error, trace)
            self.agent.logger.sinks.remove(self.run.log)

    def _stop_with_environments(self, error: EnvironmentGoneError) -> None:
        """Stop at the last checkpoint: the signal went to the environments' processes as well."""
        assert self._signal.signum is not None
        warnings.warn(
            f"the environments were stopped too, so what came after the checkpoint of step "
            f"{self._saved_at:,} is lost; it can be resumed",
            stacklevel=4,
        )
        self._set_status("interrupted", signal=self._signal.signum)
        raise Stopped(self._signal.signum) from error

    def _finish(self) -> None:
        try:
            self.save(must=True)
        except CheckpointError as error:
            self._set_status("failed", error=str(error))
            raise
        done = self.agent.num_timesteps >= self.agent.total_timesteps
        self._set_status("finished" if done else "interrupted")
        if self._signal.signum is not None:
            raise Stopped(self._signal.signum)

    def _explain(self, error: NotFiniteError) -> None:
        """Add step and seed to the error, and leave everything needed to repeat it."""
        agent, collector = self.agent, self.agent.collector
        error.details["step"] = agent.num_timesteps
        error.details["seed"] = agent.seed
        if error.env is not None and collector is not None and collector.seeds is not None:
            error.details["environment seed"] = collector.seeds[error.env]
        if self.run is None or collector is None:
            return
        path = self.run.path / "faults" / str(agent.num_timesteps)
        with contextlib.suppress(OSError, CheckpointError):
            tensors, state = agent.get_state()
            rollout = {f"rollout/{name}": value for name, value in collector.evidence().items()}
            found = {"error": str(error), "array": error.name, "where": error.where}
            state = {**state, **found, "index": list(error.index), "env_seeds": collector.seeds}
            write_checkpoint(path, {**tensors, **rollout}, state, agent.num_timesteps)
            error.details["written to"] = path


def machine(agent: Agent) -> dict[str, Any]:
    """Return what bit-exactness depends on besides the seed."""
    return {
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
        "processor": _processor(),
        "device": str(agent.device),
        "threads": torch.get_num_threads(),
        "environments": agent.num_envs,
    }


def differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return one line per entry of `machine` that is not as it was."""
    return [f"{k} was {saved.get(k)}, is {v}" for k, v in now.items() if saved.get(k) != v]


def _processor() -> str:
    """Return the model of the CPU: its vector instructions decide how sums are rounded."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
