"""Any source of experience as one batch: native families, Gymnasium (vector) environments, SB3's.

>>> from daedalus.accelerators.vector import make_batch
>>> batch = make_batch("CartPole-v1", 2, seed=0)
>>> batch.reset([1, 2])
>>> batch.observation["observation"].shape
(2, 4)
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from daedalus.accelerators.guards import CheckedEnv
from daedalus.accelerators.gymnasium_batch import Arrays, VectorEnvBatch, arrays_only
from daedalus.accelerators.sequence import sequence_batch
from daedalus.envs.batch import Batch
from daedalus.scenarios import SEQUENCE

__all__ = ["Arrays", "EnvBatch", "VectorEnvBatch", "derive_seeds", "make_batch", "open_env"]

SLOW_STEP = 5e-4
"""Seconds per step from which a Python environment is worth a process of its own."""

MINIWOB = "miniwob/"
"""Namespace of the tasks of MiniWoB++."""

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
            ``VectorEnv`` in any autoreset mode, an SB3 ``VecEnv``, or a batch (returned as it is);
            `SEQUENCE` with ``stages`` in ``env_kwargs`` for tasks one after another.
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
    if env == SEQUENCE:
        return sequence_batch(make_batch, num_envs or len(kwargs["stages"]), labels, kwargs)
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
    return _python_vector(lambda: arrays_only(gymnasium.make(env.spec)), num_envs)


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
    return _python_vector(lambda: open_env(name, **kwargs), num_envs)


def open_env(name: str, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Make one environment of an id, which shows nothing but arrays.

    MiniWoB++'s own tasks, whose pages are dictionaries of words, are read by `MiniWoBTask`.
    """
    if name.rpartition(":")[2].startswith(MINIWOB):
        from daedalus.envs.web.miniwob_tasks import MiniWoBTask

        return MiniWoBTask(name, **kwargs)
    return arrays_only(gymnasium.make(name, **kwargs))


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
        return CheckedEnv(make())

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
