"""Gymnasium's vector environments with the face of a batch."""

from __future__ import annotations

import multiprocessing
import signal
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv

from daedalus.accelerators.guards import OutOfSpaceError

Arrays = dict[str, np.ndarray]
GONE_SECONDS = 1.0
"""How long after the end of its pipe a process may take to be known as ended."""


class EnvironmentGoneError(RuntimeError):
    """The process of an environment has ended before it was closed."""


def named_spaces(space: Space[Any]) -> dict[str, Space[Any]]:
    """Return the arrays of an observation space by name; a bare space is ``"observation"``.

    Raises:
        TypeError: A part is neither Box, Discrete, MultiDiscrete nor MultiBinary.
    """
    spaces = dict(space.spaces) if isinstance(space, Dict) else {"observation": space}
    for name, part in spaces.items():
        if not isinstance(part, Box | Discrete | MultiDiscrete | MultiBinary):
            advice = "gymnasium.wrappers.FlattenObservation makes it one Box"
            if not part.is_np_flattenable:
                advice = "an ObservationWrapper can give it as a Box of fixed shape, such as padded"
            raise TypeError(f"observation {name!r} is a {type(part).__name__}: {advice}")
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
    """A Gymnasium ``VectorEnv`` in any autoreset mode as an ``EnvBatch``.

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
        try:
            observation, reward, terminated, truncated, info = self.env.step(np.asarray(actions))
        except (EOFError, ConnectionError) as error:
            self._raise_if_gone(error)
            raise
        self._store(self.observation, observation)
        self.reward[:] = reward
        self.terminated[:], self.truncated[:] = terminated, truncated & ~np.asarray(terminated)
        self.cost[:] = info.get("cost", 0.0)
        last = info.get("final_info")  # where an episode ended, its step's infos are here alone
        if isinstance(last, dict) and "cost" in last:
            there = last.get("_cost", self.terminated | self.truncated)
            np.copyto(self.cost, last["cost"], where=there, casting="unsafe")
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

    @property
    def _processes(self) -> list[Any]:
        return list(getattr(self.env, "processes", ()))

    def _raise_if_gone(self, cause: Exception) -> None:
        """Say which environment's process has ended, if one has."""
        end = time.monotonic() + GONE_SECONDS
        while time.monotonic() < end:
            codes = [process.exitcode for process in self._processes]
            for i, code in enumerate(codes):
                if code is not None:
                    why = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                    if -code == signal.SIGKILL:
                        why += ", perhaps for want of memory"
                    raise EnvironmentGoneError(
                        f"the process of environment {i} has ended ({why}); a training goes on "
                        "from its last checkpoint with daedalus resume"
                    ) from cause
            time.sleep(0.01)

    def close(self) -> None:
        """Close the environments; where a process has ended, end the others."""
        if all(process.is_alive() for process in self._processes):
            self.env.close()
            return
        for process in self._processes:
            process.kill()
            process.join()
        self.env.closed = True
