"""Scores of a policy over held-out seeds: one episode per seed, whatever its length.

Counting the first N episodes that finish in a batch favours short ones. Here every seed gives
exactly one episode, all of them are played to their end, and none else is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from daedalus.accelerators.vector import EnvBatch, make_batch
from daedalus.evaluation.policy import Policy, as_policy, check_spaces
from daedalus.evaluation.statistics import Interval, bootstrap_interval, iqm, mean

HELD_OUT = 0x48454C44  # "HELD": sets these seeds apart from those that training derives
MAX_STEPS = 1_000_000
"""Steps after which an episode that has no end is given up."""


@dataclass(frozen=True)
class Evaluation:
    """Episodes of one policy in one environment.

    Attributes:
        policy: Name of the policy.
        seeds: (E,) seed of each episode.
        returns: (E,) sum of rewards, undiscounted.
        lengths: (E,) steps.
        costs: (E,) sum of costs, undiscounted; 0 where the environment has none.
    """

    policy: str
    seeds: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    costs: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @cached_property
    def mean(self) -> float:
        """Mean return."""
        return float(mean(self.returns))

    @cached_property
    def iqm(self) -> float:
        """Interquartile mean of the returns."""
        return float(iqm(self.returns))

    @cached_property
    def interval(self) -> Interval:
        """95 % bootstrap interval of the mean return over episodes."""
        return Interval(*bootstrap_interval(self.returns, np.random.default_rng(0), mean))

    @cached_property
    def iqm_interval(self) -> Interval:
        """95 % bootstrap interval of the interquartile mean over episodes."""
        return Interval(*bootstrap_interval(self.returns, np.random.default_rng(0), iqm))


def held_out_seeds(episodes: int, seed: int = 0) -> list[int]:
    """Return ``episodes`` seeds that no training run derives; more episodes only append."""
    state = np.random.SeedSequence((HELD_OUT, seed)).generate_state(episodes)
    return [int(s) for s in state]


def evaluate(
    policy: Any,
    env: Any,
    episodes: int = 100,
    *,
    seeds: Sequence[int] | None = None,
    num_envs: int = 32,
    deterministic: bool = False,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Play one episode for each held-out seed and return the scores.

    Args:
        policy: ``"random"``, an agent, or anything with SB3's ``predict``.
        env: An id, or anything that `make_batch` takes.
        episodes: Number of episodes, where ``seeds`` are not given.
        seeds: A seed for each episode; by default `held_out_seeds`.
        num_envs: Copies of the environment stepped together, where it can be copied.
        deterministic: Take the most likely action instead of drawing from the policy.
        env_kwargs: Keyword arguments for making an id.

    Raises:
        ValueError: No episode was asked for, one does not end within `MAX_STEPS` steps, or the
            environment does not have the agent's spaces.
    """
    chosen = held_out_seeds(episodes) if seeds is None else [int(s) for s in seeds]
    if not chosen:
        raise ValueError("episodes must be at least 1")
    copies = min(num_envs, len(chosen)) if isinstance(env, str) else None
    batch = make_batch(env, copies, env_kwargs=env_kwargs)
    try:
        check_spaces(policy, batch, str(env))
        player = as_policy(policy, batch.action_space, deterministic=deterministic)
        parts = [_play(player, batch, part) for part in _chunks(chosen, batch.num_envs)]
    finally:
        if isinstance(env, str):
            batch.close()
    returns, lengths, costs = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Evaluation(player.name, np.array(chosen), returns, lengths, costs)


def _chunks(seeds: list[int], size: int) -> Iterator[list[int]]:
    return (seeds[i : i + size] for i in range(0, len(seeds), size))


def _play(policy: Policy, batch: EnvBatch, seeds: list[int]) -> tuple[np.ndarray, ...]:
    """One episode for each seed; environments without one repeat the last seed, uncounted.

    Returns:
        Returns, lengths and costs, (len(seeds),) each.
    """
    count, size = len(seeds), batch.num_envs
    batch.reset(seeds + [seeds[-1]] * (size - count))
    policy.start(size, seeds[0])
    returns, costs, lengths = np.zeros(size), np.zeros(size), np.zeros(size, np.int64)
    running = np.arange(size) < count
    start, reward = np.ones(size, bool), np.zeros(size, np.float32)
    for _ in range(MAX_STEPS):
        batch.step(policy.choose(batch.observation, reward, start).action)
        counted = running & batch.valid
        returns += np.where(counted, batch.reward, 0.0)
        costs += np.where(counted, batch.cost, 0.0)
        lengths += counted
        ended = (batch.terminated | batch.truncated) & batch.valid
        running &= ~ended
        if not running.any():
            return returns[:count], lengths[:count], costs[:count]
        start, reward = _next_start(batch, ended), batch.reward.copy()
    raise ValueError(f"an episode did not end within {MAX_STEPS:,} steps; set a time limit")


def _next_start(batch: EnvBatch, ended: np.ndarray) -> np.ndarray:
    """Whether the observations are the first of their episodes (B,)."""
    return ~batch.valid if batch.autoreset == "next_step" else ended
