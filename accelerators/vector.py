"""Any source of experience as one batch: native families, Gymnasium (vector) environments, SB3's.

>>> from daedalus.accelerators.vector import make_batch
>>> batch = make_batch("CartPole-v1", 2, seed=0)
>>> batch.reset([1, 2])
>>> batch.observation["observation"].shape
(2, 4)
"""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from daedalus.accelerators.guards import CheckedEnv, OutOfSpaceError
from daedalus.envs.batch import Batch

Arrays = dict[str, np.ndarray]

SLOW_STEP = 5e-4
"""Seconds per step from which a Python environment is worth a process of its own."""

_TRANSPARENT = {"PassiveEnvChecker", "OrderEnforcing"}  # wrappers that change no result


@runtime_checkable
class EnvBatch(Protocol):
    """``num_envs`` environments stepped together; `daedalus.envs.batch.Batch` is the native one.

    All arrays belong to the batch and are overwritten by the next call: copy what has to last.
    """

    num_envs: int
    autoreset: str
    observation_spaces: dict[str, Space[Any]]
    label_spaces: dict[str, Space[Any]]
    action_space: Space[Any]
    observation: Arrays
    final_observation: Arrays
    label: Arrays
    info: Arrays
    final_info: Arrays
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    cost: np.ndarray
    valid: np.ndarray

    @property
    def next_observation(self) -> Arrays:
        """What the last step led to, before any reset: a copy."""

    def reset(
        self, seed: int | Sequence[int | None] | None = None, mask: np.ndarray | None = None
    ) -> None:
        """Start new episodes."""

    def step(self, actions: Any) -> None:
        """Step every environment and update all arrays."""

    def pop_episodes(self) -> list[tuple[float, int]]:
        """Return (return, length) of the episodes that ended since the last call."""

    def get_state(self) -> Arrays:
        """Return what the future depends on."""

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``get_state`` returned."""

    def render(self, i: int = 0) -> np.ndarray:
        """Return a picture of environment ``i``."""

    def close(self) -> None:
        """Release what the environments hold."""


def named_spaces(space: Space[Any]) -> dict[str, Space[Any]]:
    """Return the arrays of an observation space by name; a bare space is ``"observation"``.

    Raises:
        TypeError: A part is neither Box, Discrete, MultiDiscrete nor MultiBinary.
    """
    spaces = dict(space.spaces) if isinstance(space, Dict) else {"observation": space}
    for name, part in spaces.items():
        if not isinstance(part, Box | Discrete | MultiDiscrete | MultiBinary):
            raise TypeError(
                f"observation {name!r} is a {type(part).__name__}; flatten it first, for example "
                "with gymnasium.wrappers.FlattenObservation"
            )
    return spaces


def arrays_only(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Return ``env`` without the parts of its Dict observation that are no arrays, such as text."""
    space = env.observation_space
    if not isinstance(space, Dict):
        return env
    kinds = Box | Discrete | MultiDiscrete | MultiBinary
    kept = [name for name, part in space.spaces.items() if isinstance(part, kinds)]
    if not kept or len(kept) == len(space.spaces):
        return env
    if multiprocessing.parent_process() is None:
        dropped = ", ".join(name for name in space.spaces if name not in kept)
        text = f"agents do not see the observation {dropped}: it is no array"
        warnings.warn(text, stacklevel=2)
    from gymnasium.wrappers import FilterObservation

    return FilterObservation(env, kept)


class VectorEnvBatch:
    """A Gymnasium ``VectorEnv`` in any autoreset mode as an `EnvBatch`.

    ``"disabled"`` environments are reset here in the same step, so they look like ``"same_step"``;
    with ``"next_step"`` the step that only resets has ``valid`` False.
    """

    exact_resume = False
    """Python environments cannot be stored: a restored batch starts new episodes instead."""

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        """Wrap ``env``; nothing is reset yet."""
        self.env = env
        self.num_envs = n = env.num_envs
        mode = env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        self.mode = mode if isinstance(mode, AutoresetMode) else AutoresetMode(mode)
        self.autoreset = "next_step" if self.mode is AutoresetMode.NEXT_STEP else "same_step"
        self.observation_spaces = named_spaces(env.single_observation_space)
        self.label_spaces: dict[str, Space[Any]] = {}
        self.action_space = env.single_action_space
        self.observation = self._empty()
        self.final_observation = self._empty()
        self.label: Arrays = {}
        self.info: Arrays = {}
        self.final_info: Arrays = {}
        self.reward = np.zeros(n, np.float32)
        self.cost = np.zeros(n, np.float32)
        self.terminated, self.truncated = np.zeros(n, bool), np.zeros(n, bool)
        self.valid = np.ones(n, bool)
        self._returns, self._lengths = np.zeros(n), np.zeros(n, np.int64)
        self._episodes: list[tuple[float, int]] = []
        self._resets = 0

    def _empty(self) -> Arrays:
        return {
            name: np.zeros((self.num_envs, *(space.shape or ())), space.dtype)
            for name, space in self.observation_spaces.items()
        }

    def _store(self, target: Arrays, observation: Any, rows: Any = slice(None)) -> None:
        if not isinstance(self.env.single_observation_space, Dict):
            observation = {"observation": observation}
        for name, array in target.items():
            if np.shape(observation[name]) != (wanted := array[rows].shape):
                found = np.shape(observation[name])
                raise OutOfSpaceError(f"observation {name!r} has shape {found}, expected {wanted}")
            array[rows] = observation[name]

    def reset(
        self, seed: int | Sequence[int | None] | None = None, mask: np.ndarray | None = None
    ) -> None:
        """Start new episodes, in all environments or where ``mask`` is set.

        Args:
            seed: One per environment, or one from which they are derived; None goes on drawing.
            mask: bool (B,).
        """
        if isinstance(seed, int | np.integer):
            seed = [int(s) for s in np.random.SeedSequence(int(seed)).generate_state(self.num_envs)]
        options = None if mask is None else {"reset_mask": np.asarray(mask, bool)}
        rows = slice(None) if mask is None else np.asarray(mask, bool)
        seeds: Any = None if seed is None else list(seed)  # every vector takes a list
        observation, _ = self.env.reset(seed=seeds, options=options)
        self._store(self.observation, observation)
        self._returns[rows], self._lengths[rows] = 0.0, 0
        self.terminated[rows] = self.truncated[rows] = False
        self._resets += 1

    def step(self, actions: Any) -> None:
        """Step every environment with its row of ``actions`` and update all arrays."""
        ended_before = self.terminated | self.truncated
        observation, reward, terminated, truncated, info = self.env.step(np.asarray(actions))
        self._store(self.observation, observation)
        self.reward[:] = reward
        self.terminated[:], self.truncated[:] = terminated, truncated & ~np.asarray(terminated)
        self.cost[:] = info.get("cost", 0.0)
        if self.mode is AutoresetMode.NEXT_STEP:
            np.logical_not(ended_before, out=self.valid)
        self._count()
        ended = self.terminated | self.truncated
        if ended.any():
            self._finish(ended, info)

    def _count(self) -> None:
        self._returns += self.reward * self.valid
        self._lengths += self.valid

    def _finish(self, ended: np.ndarray, info: Mapping[str, Any]) -> None:
        """Keep the last observations of the episodes that ended, and reset where that is ours."""
        for i in np.flatnonzero(ended):
            self._episodes.append((float(self._returns[i]), int(self._lengths[i])))
            if self.mode is AutoresetMode.SAME_STEP:
                self._store(self.final_observation, info["final_obs"][i], i)
        self._returns[ended], self._lengths[ended] = 0.0, 0
        if self.mode is not AutoresetMode.SAME_STEP:
            for name, array in self.final_observation.items():
                array[ended] = self.observation[name][ended]
        if self.mode is AutoresetMode.DISABLED:
            observation, _ = self.env.reset(options={"reset_mask": ended})
            self._store(self.observation, observation)

    @property
    def next_observation(self) -> Arrays:
        """What the last step led to; differs from ``observation`` only where an episode ended."""
        ended = self.terminated | self.truncated
        result = {name: array.copy() for name, array in self.observation.items()}
        for name, array in result.items():
            array[ended] = self.final_observation[name][ended]
        return result

    def pop_episodes(self) -> list[tuple[float, int]]:
        """Return (return, length) of the episodes that ended since the last call, oldest first."""
        episodes, self._episodes = self._episodes, []
        return episodes

    def get_state(self) -> Arrays:
        """Return the number of resets: all that can be known of a Python environment."""
        return {"resets": np.array(self._resets)}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Start new episodes, seeded by the restored counter (not a bit-exact continuation)."""
        self._resets = int(state["resets"])
        self.reset(seed=0x5EED + self._resets)

    def render(self, i: int = 0) -> np.ndarray:
        """Return the picture of environment ``i``."""
        frames = self.env.render()
        if frames is None:
            raise ValueError("the environment was made without render_mode='rgb_array'")
        return np.asarray(frames[i])

    def close(self) -> None:
        """Close the environments."""
        self.env.close()


def make_batch(
    env: Any,
    num_envs: int | None = None,
    *,
    seed: int | None = None,
    labels: Sequence[str] = (),
    threads: int | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> EnvBatch:
    """Give any source of experience the face of a batch.

    Args:
        env: An id (``"module:Id"`` imports the module first), a Gymnasium environment, a
            ``VectorEnv`` in any autoreset mode, an SB3 ``VecEnv``, or a batch (returned as it is).
        num_envs: Copies to make of an id or of a registered environment; by default 1.
        seed: If given, the batch is reset with seeds derived from it.
        labels: Label arrays that auxiliary losses need (native families only).
        threads: Threads that share a step of a native family; by default 1.
        env_kwargs: Keyword arguments for making an id.

    Returns:
        The batch. Environments written in Python run in processes with shared memory where a step
        takes more than `SLOW_STEP` seconds, in this process otherwise.

    Raises:
        TypeError: Not an environment.
        ValueError: ``num_envs`` contradicts the environment, or a label does not exist.
    """
    batch = _make(env, num_envs, tuple(labels), threads or 1, dict(env_kwargs or {}))
    missing = [name for name in labels if name not in batch.label_spaces]
    if missing:
        batch.close()
        known = ", ".join(batch.label_spaces) or "none"
        raise ValueError(f"{env} gives no label {missing[0]!r}; its labels: {known}")
    if num_envs is not None and batch.num_envs != num_envs:
        raise ValueError(f"num_envs={num_envs} was asked for, but {env} has {batch.num_envs}")
    if seed is not None:
        batch.reset(derive_seeds(seed, batch.num_envs))
    return batch


def derive_seeds(seed: int, count: int) -> list[int]:
    """Return ``count`` independent seeds; different ``seed`` never share one by construction."""
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(count, np.uint32)]


def _make(
    env: Any, num_envs: int | None, labels: tuple[str, ...], threads: int, kwargs: dict[str, Any]
) -> EnvBatch:
    if isinstance(env, str):
        return _from_id(env, num_envs or 1, labels, threads, kwargs)
    if isinstance(env, VectorEnv):
        native = getattr(env.unwrapped, "batch", None) if env.unwrapped is env else None
        return _running(native) if isinstance(native, Batch) else VectorEnvBatch(env)
    if isinstance(env, gymnasium.Env):
        return _from_env(env, num_envs, labels, threads)
    if isinstance(env, Batch):
        return _running(env)
    if hasattr(env, "step_wait") and hasattr(env, "step_async"):
        from daedalus.accelerators.sb3_vec_env import SB3Batch

        made: EnvBatch = SB3Batch(env)
        return made
    if isinstance(env, EnvBatch):
        return env
    raise TypeError(f"expected an id, an environment or a vector of them, got {type(env).__name__}")


def _running(batch: Batch, num_envs: int | None = None, labels: Sequence[str] = ()) -> Batch:
    """Return ``batch``, or one like it that resets by itself."""
    if batch.autoreset != "disabled":
        return batch
    return Batch(
        batch.family,
        num_envs or batch.num_envs,
        observations=tuple(batch.observation_spaces),
        labels=tuple(labels) or tuple(batch.label_spaces),
        time_limit=batch.time_limit,
    )


def _from_env(
    env: gymnasium.Env[Any, Any], num_envs: int | None, labels: tuple[str, ...], threads: int
) -> EnvBatch:
    inner = env
    while isinstance(inner, gymnasium.Wrapper) and type(inner).__name__ in _TRANSPARENT:
        inner = inner.env
    native = getattr(inner, "batch", None)
    if isinstance(native, Batch):
        return _running(native, num_envs, labels)
    if num_envs in (None, 1):
        alone = [lambda: CheckedEnv(arrays_only(env))]
        return VectorEnvBatch(SyncVectorEnv(alone, autoreset_mode=AutoresetMode.SAME_STEP))
    if env.spec is None:
        raise ValueError(
            f"cannot make {num_envs} copies of {env}: pass a registered id or a VectorEnv"
        )
    return _python_vector(lambda: gymnasium.make(env.spec), num_envs)


def _from_id(
    name: str, num_envs: int, labels: tuple[str, ...], threads: int, kwargs: dict[str, Any]
) -> EnvBatch:
    spec = gymnasium.spec(name.rpartition(":")[2]) if _import_for(name) else gymnasium.spec(name)
    if spec.vector_entry_point is not None and _is_native(spec):
        made = gymnasium.make_vec(
            name,
            num_envs,
            vectorization_mode="vector_entry_point",
            labels=labels,
            threads=threads,
            **kwargs,
        )
        native = made.unwrapped.batch  # type: ignore[attr-defined]
        return _running(native)
    return _python_vector(lambda: gymnasium.make(name, **kwargs), num_envs)


def _import_for(name: str) -> bool:
    """Import the module of ``"module:Id"``; an id without one only needs the native families."""
    module, colon, _ = name.rpartition(":")
    import importlib

    importlib.import_module(module or "daedalus.envs")
    return bool(colon)


def _is_native(spec: Any) -> bool:
    entry = spec.vector_entry_point
    where = entry if isinstance(entry, str) else f"{entry.__module__}:{entry.__name__}"
    return where.startswith("daedalus.envs") or where.endswith("NativeVectorEnv")


def _python_vector(make: Any, num_envs: int) -> EnvBatch:
    def checked() -> gymnasium.Env[Any, Any]:
        return CheckedEnv(arrays_only(make()))

    first = checked()
    if num_envs == 1 or _step_seconds(first) < SLOW_STEP:
        env: VectorEnv[Any, Any, Any] = SyncVectorEnv(
            [lambda: first, *[checked] * (num_envs - 1)], autoreset_mode=AutoresetMode.SAME_STEP
        )
    else:
        first.close()
        with _children_ignore_interrupts():
            env = AsyncVectorEnv(
                [checked] * num_envs, shared_memory=True, autoreset_mode=AutoresetMode.SAME_STEP
            )
    return VectorEnvBatch(env)


@contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Start processes that leave Ctrl-C to this one, which saves before it closes them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _step_seconds(env: gymnasium.Env[Any, Any], steps: int = 20) -> float:
    """Return the median time of a step with random actions, in seconds."""
    env.reset(seed=0)
    env.action_space.seed(0)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        times.append(time.perf_counter() - start)
        if terminated or truncated:
            env.reset()
    return float(np.median(times))
