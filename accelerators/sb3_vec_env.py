"""Between our batches and the ``VecEnv`` of stable-baselines3, both ways.

`as_vec_env` shows any `EnvBatch` to stable-baselines3; `SB3Batch` shows any ``VecEnv`` to our
agents. A ``VecEnv`` resets in the same step, puts the last observation of an episode into
``info["terminal_observation"]`` and says by ``info["TimeLimit.truncated"]`` that a time limit ended
it; an `EnvBatch` has arrays for all of that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from daedalus.accelerators.guards import StepGuard, check_finite
from daedalus.accelerators.vector import EnvBatch, VectorEnvBatch, derive_seeds

Indices = None | int | Iterable[int]


def as_vec_env(batch: EnvBatch) -> BatchVecEnv:
    """Return ``batch`` as an SB3 ``VecEnv``."""
    return BatchVecEnv(batch)


class BatchVecEnv(VecEnv):
    """An `EnvBatch` as an SB3 ``VecEnv``.

    A batch of one observation array has a bare observation, one of several a dict. Observations
    are copied once in a step, because stable-baselines3 goes on using the last one; rewards too,
    because it adds to them. ``info`` holds ``"episode"`` at the end of an episode, as its
    ``Monitor`` writes it.

    Attributes:
        batch: The batch; its own statistics (``pop_episodes``) are left alone.
        guard: Looks at every step's observation and reward, if it is set.
    """

    def __init__(self, batch: EnvBatch) -> None:
        """Wrap ``batch``; the first `reset` resets it."""
        self.batch = batch
        self.guard: StepGuard | None = None
        self._bare = len(batch.observation_spaces) == 1
        spaces = dict(batch.observation_spaces)
        space = next(iter(spaces.values())) if self._bare else Dict(spaces)
        self._actions: Any = None
        self._start = time.time()
        self._returns = np.zeros(batch.num_envs)
        self._lengths = np.zeros(batch.num_envs, np.int64)
        super().__init__(batch.num_envs, space, batch.action_space)

    def reset(self) -> Any:
        """Start new episodes; with the seeds that `seed` set, if it was called since the last."""
        seeds = list(self._seeds)
        self.batch.reset(None if seeds[0] is None else seeds)
        self._reset_seeds()
        self._returns[:], self._lengths[:] = 0.0, 0
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self.observe()

    def observe(self) -> Any:
        """Return a copy of what the batch shows now."""
        return self._present(self.batch.observation, slice(None))

    def _present(self, observation: dict[str, np.ndarray], rows: Any) -> Any:
        copies = {name: np.array(array[rows]) for name, array in observation.items()}
        return next(iter(copies.values())) if self._bare else copies

    def step_async(self, actions: Any) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step; see ``VecEnv.step``."""
        batch = self.batch
        batch.step(self._actions)
        if self.guard is not None:
            self.guard.check(batch.observation, batch.reward)
        self._returns += batch.reward
        self._lengths += 1
        reward = batch.reward.copy()
        ended = batch.terminated | batch.truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if ended.any():
            self._finish(np.flatnonzero(ended), infos)
            if batch.autoreset != "same_step":
                batch.reset(None, mask=ended)
        return self.observe(), reward, ended, infos

    def _finish(self, rows: np.ndarray, infos: list[dict[str, Any]]) -> None:
        batch = self.batch
        same_step = batch.autoreset == "same_step"
        last = batch.final_observation if same_step else batch.observation
        if self.guard is not None:
            check_finite(last, "last step of an episode", env_axis=0)
        for i in rows:
            infos[i]["terminal_observation"] = self._present(last, i)
            infos[i]["TimeLimit.truncated"] = bool(batch.truncated[i] and not batch.terminated[i])
            seconds = round(time.time() - self._start, 6)
            length = int(self._lengths[i])
            infos[i]["episode"] = {"r": float(self._returns[i]), "l": length, "t": seconds}
        self._returns[rows], self._lengths[rows] = 0.0, 0

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Derive one seed for each environment, for the next `reset`."""
        if seed is None:
            self._seeds = [None] * self.num_envs
        else:
            self._seeds = list(derive_seeds(seed, self.num_envs))
        return self._seeds

    def next_seeds(self, seeds: Sequence[int]) -> None:
        """Seed environment i with ``seeds[i]`` in the next `reset`."""
        self._seeds = list(seeds)

    def close(self) -> None:
        """Close the batch."""
        self.batch.close()

    def get_images(self) -> list[np.ndarray | None]:
        """Return the picture of every environment."""
        return [self.batch.render(i) for i in range(self.num_envs)]

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        """Return an attribute of the batch, once for each environment."""
        if attr_name == "render_mode":
            value: Any = "rgb_array"
        elif attr_name == "action_masks":
            return [self._mask] * len(list(self._get_indices(indices)))
        else:
            value = getattr(self.batch, attr_name)
        return [value for _ in self._get_indices(indices)]

    def _mask(self) -> np.ndarray:
        """Allowed actions (B, A), for ``MaskablePPO``: the observation named ``action_mask``."""
        return self.batch.observation["action_mask"].astype(bool)

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        """Refuse: environments of a batch share their parameters.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(f"cannot set {attr_name!r}: environments of a batch have none")

    def env_method(
        self, method_name: str, *args: Any, indices: Indices = None, **kwargs: Any
    ) -> list[Any]:
        """Answer ``action_masks`` from the observation of that name; nothing else is there.

        Raises:
            AttributeError: Another method, or no such observation.
        """
        if method_name != "action_masks" or "action_mask" not in self.batch.observation:
            raise AttributeError(f"environments of a batch have no method {method_name!r}")
        mask = self._mask()
        return [mask[i] for i in self._get_indices(indices)]

    def has_attr(self, attr_name: str) -> bool:
        """Whether `get_attr` knows the name."""
        if attr_name == "action_masks":
            return "action_mask" in self.batch.observation_spaces
        return attr_name == "render_mode" or hasattr(self.batch, attr_name)

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Indices = None
    ) -> list[bool]:
        """Say yes to ``Monitor`` alone: ``info["episode"]`` is there."""
        answer = wrapper_class is Monitor
        return [answer for _ in self._get_indices(indices)]


class SB3Batch(VectorEnvBatch):
    """An SB3 ``VecEnv`` as an `EnvBatch`."""

    def __init__(self, env: VecEnv) -> None:
        """Wrap ``env``."""
        super().__init__(_GymnasiumVectorEnv(env))
        self.vec_env = env


class _GymnasiumVectorEnv(VectorEnv[Any, Any, Any]):
    """An SB3 ``VecEnv`` as a Gymnasium ``VectorEnv`` in ``SAME_STEP``."""

    def __init__(self, env: VecEnv) -> None:
        self.env = env
        self.num_envs = env.num_envs
        self.single_observation_space = env.observation_space
        self.single_action_space = env.action_space
        self.observation_space = batch_space(env.observation_space, env.num_envs)
        self.action_space = batch_space(env.action_space, env.num_envs)
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = getattr(env, "render_mode", None)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if options is not None and "reset_mask" in options:
            raise ValueError("a VecEnv of stable-baselines3 cannot reset some environments only")
        if seed is not None:
            _innermost(self.env)._seeds = list(seed)
        return self.env.reset(), {}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        observation, reward, done, infos = self.env.step(actions)
        ended = np.asarray(done, bool)
        limited = [bool(info.get("TimeLimit.truncated", False)) for info in infos]
        truncated = ended & np.array(limited, bool)
        info: dict[str, Any] = {}
        if ended.any():
            final = np.empty(self.num_envs, object)
            for i in np.flatnonzero(ended):
                final[i] = infos[i]["terminal_observation"]
            info = {"final_obs": final, "_final_obs": ended}
        return observation, reward, ended & ~truncated, truncated, info

    def render(self) -> Any:
        return self.env.get_images()

    def close(self, **kwargs: Any) -> None:
        self.env.close()


def _innermost(env: Any) -> Any:
    """Return the ``VecEnv`` under its wrappers, which keeps the seeds."""
    while hasattr(env, "venv"):
        env = env.venv
    return env
