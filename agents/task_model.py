"""Which task is this? Told by what is seen, where nobody says: ``task_id: inferred``.

A simple form of the task recognition of Kirkpatrick et al. 2017 (1612.00796, supplement 4.2; after
Milan et al. 2016, "The forget-me-not process"): every task has a model of its observations, in
which each number is a category drawn by itself, with a Dirichlet prior. A window of observations
belongs to the task whose model gives it the highest marginal likelihood,

    L_j = sum_d [ln Gamma(n_jd) - ln Gamma(n_jd + m)
                 + sum_k ln Gamma(n_jdk + c_dk) - ln Gamma(n_jdk)]

with c_dk the m observations of the window in which number d fell into bin k, n_jdk the prior's
share and what task j has counted before, n_jd their sum over k. One model that has counted nothing
is always among the candidates, so that a task that was never seen gets a number of its own; only
the winner counts the window. Differences from the paper: the window is of observations of all
environments side by side, and no task is more likely to go on than another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

from daedalus.accelerators.gymnasium_batch import Arrays
from daedalus.accelerators.sequence import UNKNOWN
from daedalus.agents.networks import image_size, is_image

BINS, SIDE = 16, 42
"""Categories of a number; images are thinned out to this many pixels a side or fewer."""
PRIOR = 1.0 / BINS
"""Observations that the prior counts for each category: one for each number."""
WINDOW = 160
"""Observations that are judged together, or those of one step of all environments if more."""


def is_inferred(spaces: Mapping[str, Space[Any]]) -> bool:
    """Tell whether observations leave the task to be found out."""
    task = spaces.get("task")
    return isinstance(task, Box) and bool((task.low == UNKNOWN).all())


class TaskModel(nn.Module):
    """Counts of what the observations of each task looked like; they stay on the CPU.

    Attributes:
        counts: float32 (N, D, BINS); how often each of D numbers fell into each bin, by task.
    """

    counts: Tensor

    def __init__(self, spaces: Mapping[str, Space[Any]]) -> None:
        """Know nothing yet of observations in ``spaces``, of which ``task`` is (N,)."""
        super().__init__()
        shape = spaces["task"].shape
        assert shape is not None
        self.spaces = {name: space for name, space in spaces.items() if name != "task"}
        blank = {n: np.zeros((1, *(s.shape or ())), s.dtype) for n, s in self.spaces.items()}
        counts = torch.zeros(shape[0], self.bins(blank).shape[1], BINS)
        self.register_buffer("counts", counts)

    @property
    def tasks(self) -> int:
        """Tasks found so far."""
        return int((self.counts[:, 0].sum(1) > 0).sum())

    def bins(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the category of every number, int64 (B, D)."""
        return np.hstack([_bins(space, observation[name]) for name, space in self.spaces.items()])

    def recognise(self, bins: np.ndarray) -> np.ndarray:
        """Return the most likely task of each observation by itself, one-hot float32 (B, N)."""
        counts = self.counts[: max(self.tasks, 1)].numpy() + PRIOR
        likelihood = np.log(counts / counts.sum(2, keepdims=True))
        each = likelihood[:, np.arange(bins.shape[1]), bins].sum(2)  # (tasks, B)
        one_hot: np.ndarray = np.eye(len(self.counts), dtype=np.float32)[each.argmax(0)]
        return one_hot

    def learn(self, window: np.ndarray) -> int:
        """Count a window for the task that explains it best, and return which that is.

        Args:
            window: (D, BINS), observations in which each number fell into each bin.
        """
        seen = torch.as_tensor(window, dtype=torch.float32)
        candidates = min(self.tasks + 1, len(self.counts))
        best = int(np.argmax([marginal(self.counts[j], seen) for j in range(candidates)]))
        self.counts[best] += seen
        return best


def marginal(counts: Tensor, window: Tensor) -> float:
    """Return the log-likelihood of a window's counts (D, BINS) after those of a task."""
    before = counts.double() + PRIOR
    after = before + window
    totals = before.sum(1).lgamma() - after.sum(1).lgamma()
    return float(totals.sum() + (after.lgamma() - before.lgamma()).sum())


def _bins(space: Space[Any], array: np.ndarray) -> np.ndarray:
    """Return the category of every number of an array: int64 (B, numbers)."""
    rows = len(array)
    if isinstance(space, Discrete):
        first = np.asarray(array, np.int64).reshape(rows, 1) - int(space.start)
        return np.asarray(first % BINS)
    if not isinstance(space, Box):
        raise ValueError(f"task_id: inferred needs Box or Discrete observations, not {space}")
    values, low, high = (np.asarray(a, np.float64) for a in (array, space.low, space.high))
    if is_image(space):
        height, width, channels = image_size(space)
        if array.shape[1:3] == (channels, height):  # channel-first
            values, low, high = (np.moveaxis(a, -3, -1) for a in (values, low, high))
        down, across = (slice(None, None, -(-side // SIDE)) for side in (height, width))
        values, low, high = values[:, down, across], low[down, across], high[down, across]
    bounded = np.isfinite(low) & np.isfinite(high)
    span = np.where(bounded, high - low, 1.0)
    share = np.where(bounded, (values - low) / np.where(span > 0, span, 1.0), _squashed(values))
    bins: np.ndarray = np.clip((share * BINS).astype(np.int64), 0, BINS - 1).reshape(rows, -1)
    return bins


def _squashed(values: np.ndarray) -> np.ndarray:
    """Map any number into (0, 1)."""
    squashed: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * values))
    return squashed


class RecognisedTasks:
    """A batch whose array ``task`` is filled in by a `TaskModel`, which learns from every step.

    Its face is that of the `EnvBatch` it wraps; all environments have to show the same task.
    """

    def __init__(self, batch: Any, model: TaskModel) -> None:
        """Wrap ``batch``, whose observations have an unknown ``task``."""
        self.batch, self.model = batch, model
        self._window, self._seen = np.zeros(tuple(model.counts.shape[1:]), np.float32), 0
        self._task = np.zeros((batch.num_envs, len(model.counts)), np.float32)
        self._before = self._task

    def __getattr__(self, name: str) -> Any:
        """Return what the batch has."""
        return getattr(self.batch, name)

    @property
    def observation(self) -> Arrays:
        """What is seen, and which task that is taken for."""
        return {**self.batch.observation, "task": self._task}

    @property
    def final_observation(self) -> Arrays:
        """What ended episodes saw last; their task is what it was taken for a step before."""
        return {**self.batch.final_observation, "task": self._before}

    @property
    def next_observation(self) -> Arrays:
        """What the last step led to, before any reset."""
        task = np.where((self.terminated | self.truncated)[:, None], self._before, self._task)
        return {**self.batch.next_observation, "task": task}

    def reset(
        self, seed: int | Sequence[int | None] | None = None, mask: np.ndarray | None = None
    ) -> None:
        """Start new episodes."""
        self.batch.reset(seed, mask)
        self._look()

    def step(self, actions: Any) -> None:
        """Step every environment, and learn what the task looks like."""
        self.batch.step(actions)
        bins = self._look()
        self._window += _histogram(bins)
        self._seen += len(bins)
        if self._seen >= WINDOW:
            self.model.learn(self._window)
            self._window, self._seen = np.zeros_like(self._window), 0

    def _look(self) -> np.ndarray:
        bins = self.model.bins(self.batch.observation)
        self._before, self._task = self._task, self.model.recognise(bins)
        return bins

    def get_state(self) -> Arrays:
        """Return what the future depends on."""
        own = {"window": self._window, "seen": np.array(self._seen), "task": self._task}
        return {**self.batch.get_state(), **{f"recognised/{k}": v for k, v in own.items()}}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what `get_state` returned."""
        own = {k.removeprefix("recognised/"): v for k, v in state.items() if "recognised/" in k}
        self.batch.set_state({k: v for k, v in state.items() if "recognised/" not in k})
        self._window, self._seen = np.array(own["window"]), int(own["seen"])
        self._task = np.array(own["task"])


def _histogram(bins: np.ndarray) -> np.ndarray:
    """Return how often each number fell into each bin: float32 (D, BINS)."""
    numbers = bins.shape[1]
    places = (np.arange(numbers) * BINS + bins).ravel()
    counted = np.bincount(places, minlength=numbers * BINS)
    return counted.reshape(numbers, BINS).astype(np.float32)
