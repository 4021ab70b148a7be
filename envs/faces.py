"""The Gymnasium faces of a family: ``Env`` is the batch of one, ``VectorEnv`` the batch of N."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Dict
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from daedalus.envs.batch import Batch
from daedalus.envs.core import Family, make_family
from daedalus.envs.window import Window

RENDER_MODES = ["rgb_array", "human"]


def _observation_space(spaces: Mapping[str, Space[Any]]) -> Space[Any]:
    """Return the bare space of a single array, or a Dict of several."""
    return next(iter(spaces.values())) if len(spaces) == 1 else Dict(dict(spaces))


def _shorter(family: Family, time_limit: int | None, max_episode_steps: int | None) -> int | None:
    """Return the limit that Gymnasium's ``TimeLimit`` around an environment comes to."""
    if max_episode_steps is None or max_episode_steps == -1:  # Gymnasium's two ways to say none
        return time_limit
    own = family.time_limit if time_limit is None else time_limit
    return min(own or max_episode_steps, max_episode_steps)


def _mode(autoreset_mode: AutoresetMode | str) -> AutoresetMode:
    """Return a mode of its name or value, ``"same_step"`` or ``"SameStep"``."""
    if isinstance(autoreset_mode, AutoresetMode):
        return autoreset_mode
    for mode in AutoresetMode:
        if autoreset_mode in (mode.name, mode.name.lower(), mode.value):
            return mode
    known = ", ".join(mode.name.lower() for mode in AutoresetMode)
    raise ValueError(f"autoreset_mode must be one of {known}, got {autoreset_mode!r}")


class NativeEnv(gymnasium.Env[Any, Any]):
    """One environment of a native family.

    Observations are one array, or a dict where several were selected. ``info`` holds the family's
    labels and infos and ``"cost"``. The parameters of the family are keywords; ``gymnasium.make(id,
    name=value)`` passes them on.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": Family.fps}

    def __init__(
        self,
        family: str | type[Family],
        *,
        render_mode: str | None = None,
        observations: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        time_limit: int | None = None,
        **parameters: Any,
    ) -> None:
        """Make the batch of one.

        Args:
            family: A family class, or ``"module:Class"``.
            render_mode: None, ``"rgb_array"`` or ``"human"`` (a window; needs pygame-ce).
            observations: Names of the arrays to observe; by default the family's.
            labels: Names of the labels that ``info`` holds; by default all.
            time_limit: Steps after which an episode is truncated, 0 for none; by default the
                family's.
            **parameters: Parameters of the family.
        """
        if render_mode not in (None, *RENDER_MODES):
            raise ValueError(
                f"render_mode must be one of {RENDER_MODES} or None, got {render_mode!r}"
            )
        self.family = make_family(family, time_limit, parameters)
        self.batch = Batch(
            self.family,
            1,
            observations=observations,
            labels=labels,
            time_limit=time_limit,
            autoreset="disabled",
        )
        self.metadata = {**self.metadata, "render_fps": self.family.fps}
        self.render_mode = render_mode
        self.observation_space = _observation_space(self.batch.observation_spaces)
        self.action_space = self.batch.action_space
        self._window: Window | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start a new episode; with a seed, the first episode of that seed."""
        new = seed is not None or self._np_random is None
        super().reset(seed=seed)
        if new:
            self.batch.set_key(0, self.np_random)
        self.batch.reset()
        self._show()
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step once; see ``gymnasium.Env.step``. ``info["cost"]`` is the cost of the step."""
        self.batch.step(np.asarray(action)[None])
        batch = self.batch
        self._show()
        return (
            self._observation(),
            float(batch.reward[0]),
            bool(batch.terminated[0]),
            bool(batch.truncated[0]),
            self._info() | {"cost": float(batch.cost[0])},
        )

    def _observation(self) -> Any:
        arrays = {name: array[0].copy() for name, array in self.batch.observation.items()}
        return arrays if isinstance(self.observation_space, Dict) else next(iter(arrays.values()))

    def _info(self) -> dict[str, Any]:
        return {
            name: array[0].copy() for name, array in (self.batch.label | self.batch.info).items()
        }

    def render(self) -> Any:
        """Return the picture (``"rgb_array"``), or draw it in the window (``"human"``)."""
        if self.render_mode == "rgb_array":
            return self.batch.render(0)
        self._show()
        return None

    def _show(self) -> None:
        if self.render_mode == "human":
            self._window = self._window or Window(type(self.family).__name__, self.family.fps)
            self._window.show(self.batch.render(0))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the window: a copy opens its own."""
        return vars(self) | {"_window": None}

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()
        self.batch.close()


class NativeVectorEnv(VectorEnv[Any, Any, Any]):
    """A vector of environments of a native family, in any of Gymnasium's three autoreset modes."""

    def __init__(
        self,
        family: str | type[Family],
        *,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        observations: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        time_limit: int | None = None,
        max_episode_steps: int | None = None,
        threads: int = 1,
        copy: bool = True,
        **parameters: Any,
    ) -> None:
        """Make the batch of ``num_envs``.

        Args:
            family: A family class, or ``"module:Class"``.
            num_envs: Number of environments.
            autoreset_mode: When an ended episode is reset, as in ``gymnasium.vector``.
            render_mode: None or ``"rgb_array"``.
            observations: Names of the arrays to observe; by default the family's.
            labels: Names of the labels that ``info`` holds; by default all.
            time_limit: Steps after which an episode is truncated, 0 for none; by default the
                family's.
            max_episode_steps: As in ``gymnasium.make``; the smaller of the two limits holds.
            threads: Threads that share a step; worth it for pixels only.
            copy: Return copies; otherwise the returned arrays change with the next step.
            **parameters: Parameters of the family.
        """
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be 'rgb_array' or None, got {render_mode!r}")
        mode = _mode(autoreset_mode)
        self.family = make_family(family, time_limit, parameters)
        self.batch = Batch(
            self.family,
            num_envs,
            observations=observations,
            labels=labels,
            time_limit=_shorter(self.family, time_limit, max_episode_steps),
            threads=threads,
            autoreset=mode.name.lower(),
        )
        self.num_envs = num_envs
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": self.family.fps,
            "autoreset_mode": mode,
        }
        self.render_mode = render_mode
        self.single_observation_space = _observation_space(self.batch.observation_spaces)
        self.single_action_space = self.batch.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._copy = copy

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Reset all environments, or those of ``options["reset_mask"]``.

        Args:
            seed: An int seeds environment i with ``seed + i``; a list gives each its own.
            options: ``{"reset_mask": bool array (num_envs,)}`` resets a part.
        """
        mask = None if options is None else options.get("reset_mask")
        if mask is not None:
            self._check_mask(mask)
        elif isinstance(seed, int):
            self._np_random, self._np_random_seed = seeding.np_random(seed)
        self.batch.reset(seed, mask)
        return self._present(self.batch.observation), self._info(mask)

    def _check_mask(self, mask: Any) -> None:
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"options['reset_mask'] must be a bool array, got {mask!r}")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"options['reset_mask'] must have shape ({self.num_envs},) and one True, got {mask}"
            )

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step all environments; see ``gymnasium.vector.VectorEnv.step``."""
        batch = self.batch
        batch.step(actions)
        infos = self._info(None)
        infos["cost"], infos["_cost"] = batch.cost.astype(np.float64), np.ones(self.num_envs, bool)
        ended = batch.ended
        if ended.any() and self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP:
            self._add_final(infos, ended)
        return (
            self._present(batch.observation),
            batch.reward.astype(np.float64),
            batch.terminated.copy(),
            batch.truncated.copy(),
            infos,
        )

    def _present(self, arrays: Mapping[str, np.ndarray]) -> Any:
        shown = {n: a.copy() if self._copy else a for n, a in arrays.items()}
        bare = not isinstance(self.single_observation_space, Dict)
        return next(iter(shown.values())) if bare else shown

    def _info(self, mask: np.ndarray | None) -> dict[str, Any]:
        there = np.ones(self.num_envs, bool) if mask is None else mask
        infos: dict[str, Any] = {}
        for name, array in (self.batch.label | self.batch.info).items():
            infos[name], infos[f"_{name}"] = array.copy(), there.copy()
        return infos

    def _add_final(self, infos: dict[str, Any], ended: np.ndarray) -> None:
        final = np.full(self.num_envs, None, dtype=object)
        bare = not isinstance(self.single_observation_space, Dict)
        for i in np.flatnonzero(ended):
            row = {n: a[i].copy() for n, a in self.batch.final_observation.items()}
            final[i] = next(iter(row.values())) if bare else row
        details: dict[str, Any] = {}
        for name, array in (self.batch.final_label | self.batch.final_info).items():
            details[name], details[f"_{name}"] = array.copy(), ended.copy()
        details["cost"], details["_cost"] = infos["cost"].copy(), ended.copy()
        infos["final_obs"], infos["_final_obs"] = final, ended.copy()
        infos["final_info"], infos["_final_info"] = details, ended.copy()

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return a picture of each environment, or None without a render mode."""
        if self.render_mode is None:
            return None
        if not self.batch.ready:
            raise ResetNeeded("call reset before render")
        return tuple(self.batch.render(i) for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """End the threads of the batch."""
        self.batch.close()
