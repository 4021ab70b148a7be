"""Playing a vector environment so that all three autoreset modes give the same log of episodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import concatenate, create_empty_array, iterate

from daedalus.envs.checker.trace import Plan, Row
from daedalus.envs.checker.values import fingerprint

AnyVectorEnv = VectorEnv[Any, Any, Any]


@dataclass
class VectorStep:
    """One call, with the objects themselves.

    Attributes:
        kind: ``reset`` or ``step``.
        index: Number of the step, from 1; 0 is the first reset.
        result: What the call returned.
        mask: bool (B,); for ``reset`` the environments asked for, for ``step`` those that waited
            for the reset of ``NEXT_STEP``.
        before: The observation before the call; None at first.
    """

    kind: str
    index: int
    result: Any
    mask: np.ndarray[Any, Any]
    before: Any = None


@dataclass
class _Log:
    """Rows of one environment."""

    name: str
    rows: list[Row] = field(default_factory=list)
    episode: int = 0
    step: int = 0

    def reset(self, observation: Any) -> None:
        self.episode, self.step = self.episode + 1, 0
        self._add({"observation": observation})

    def advance(self, **values: Any) -> None:
        self.step += 1
        self._add(values)

    def _add(self, values: dict[str, Any]) -> None:
        moment = f"step {self.step}" if self.step else "reset"
        kept = {}
        for name, value in values.items():
            kept.update(fingerprint(value, name))
        self.rows.append(Row(f"{self.name}, episode {self.episode}, {moment}", "", 0.0, kept))


def play_vector(
    envs: AnyVectorEnv,
    plan: Plan,
    mode: AutoresetMode,
    *,
    first: int = 0,
    seed: int | Sequence[int] | None = None,
    watch: Callable[[VectorStep], None] = lambda _: None,
    between: Callable[[], object] = lambda: None,
) -> list[list[Row]]:
    """Play and return the rows of each environment.

    Environment ``i`` is named and given the actions of number ``first + i``, and seeded with
    ``plan.seed + first + i`` unless ``seed`` says otherwise. Steps that only reset (``NEXT_STEP``)
    or that follow a masked reset (``DISABLED``) count in no log, so that logs of all modes are
    equal.

    Args:
        envs: The environment.
        plan: Steps, episodes of each environment, and wall time.
        mode: Its autoreset mode.
        first: Number of its first environment.
        seed: Argument of the first reset, if not the list of seeds.
        watch: Sees every call before anything else happens.
        between: Called between two steps.
    """
    count = envs.num_envs
    numbers = range(first, first + count)
    logs = [_Log(f"environment {i}") for i in numbers]
    samplers = [_sampler(envs.single_action_space, plan.seed + i) for i in numbers]
    everyone, nobody = np.ones(count, bool), np.zeros(count, bool)
    seeds: Any = [plan.seed + i for i in numbers] if seed is None else seed
    result: Any = envs.reset(seed=seeds)
    watch(VectorStep("reset", 0, result, everyone))
    for log, observation in zip(logs, rows_of(envs, result[0]), strict=True):
        log.reset(observation)
    ended = nobody
    end = time.perf_counter() + plan.seconds
    actions = [sampler.sample() for sampler in samplers]
    for index in range(1, plan.steps + 1):
        before = result[0]
        between()
        result = envs.step(_batch(envs.single_action_space, actions))
        watch(VectorStep("step", index, result, ended, before))
        ended = _record(envs, logs, result, ended, mode)
        if mode is AutoresetMode.DISABLED and ended.any():
            before = result[0]
            result = envs.reset(options={"reset_mask": ended.copy()})
            watch(VectorStep("reset", index, result, ended, before))
            fresh = rows_of(envs, result[0])
            for i in np.flatnonzero(ended):
                logs[i].reset(fresh[i])
            ended = nobody
        if min(log.episode for log in logs) > plan.episodes or time.perf_counter() > end:
            break
        waits = ended if mode is AutoresetMode.NEXT_STEP else nobody
        actions = [
            a if wait else s.sample() for a, wait, s in zip(actions, waits, samplers, strict=True)
        ]
    return [log.rows for log in logs]


def _record(
    envs: AnyVectorEnv,
    logs: list[_Log],
    result: Any,
    waited: np.ndarray[Any, Any],
    mode: AutoresetMode,
) -> np.ndarray[Any, Any]:
    """Write one step into the logs and return which episodes ended."""
    observation, reward, terminated, truncated, infos = result
    ended: np.ndarray[Any, Any] = np.asarray(terminated, bool) | np.asarray(truncated, bool)
    current = rows_of(envs, observation)
    for i, log in enumerate(logs):
        if waited[i] and mode is AutoresetMode.NEXT_STEP:
            log.reset(current[i])
            continue
        last = current[i]
        if ended[i] and mode is AutoresetMode.SAME_STEP:
            last = final_observation(envs, infos, i)
        flags = {"terminated": bool(terminated[i]), "truncated": bool(truncated[i])}
        log.advance(observation=last, reward=float(reward[i]), **flags)
        if ended[i] and mode is AutoresetMode.SAME_STEP:
            log.reset(current[i])
    return ended


def final_observation(envs: AnyVectorEnv, infos: dict[str, Any], i: int) -> Any:
    """Return the observation that environment ``i`` ended with in ``SAME_STEP``, or None.

    Gymnasium's own vector environments put an object array there, others a batch of the space.
    """
    final = infos.get("final_obs")
    if final is None:
        return None
    if isinstance(final, np.ndarray):
        return final[i]
    return rows_of(envs, final)[i]


def rows_of(envs: AnyVectorEnv, observation: Any) -> list[Any]:
    """Split a batch of observations into one for each environment."""
    return list(iterate(envs.observation_space, observation))


def _sampler(space: Space[Any], seed: int) -> Space[Any]:
    sampler = deepcopy(space)
    sampler.seed(seed)
    return sampler


def _batch(space: Space[Any], actions: Sequence[Any]) -> Any:
    empty: Any = create_empty_array(space, len(actions))
    return concatenate(space, actions, empty)
