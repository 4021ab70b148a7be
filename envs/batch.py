"""A batch of environments of one native family: owns the arrays, steps them in one call."""

from __future__ import annotations

import functools
import itertools
from array import array as typed_array
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numba
import numpy as np
from gymnasium import Space
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.utils import seeding

from daedalus.envs import core
from daedalus.envs.cache import announce_compilation
from daedalus.envs.core import Family, Result

AUTORESET = {"same_step": core.SAME_STEP, "next_step": core.NEXT_STEP, "disabled": core.DISABLED}
UNREAD = 100_000
"""Episodes that are kept until ``pop_episodes``; with twice as many the older half is dropped."""
REMADE = ("_slices", "_pool", "_reset_kernel", "_step_kernel", "_is_warm")
"""What a copy of a batch cannot share and makes anew: views of arrays, threads, machine code."""


class _Slice(NamedTuple):
    """One thread's share of the batch: views of the arrays."""

    states: np.ndarray
    actions: np.ndarray
    out: Any
    final: Any
    result: Result


@functools.cache
def _kernels(bundled: bool) -> tuple[Callable[..., None], Callable[..., int]]:
    """Return `batch_reset` and `batch_step`; cached on disk only where we hash the sources."""
    if bundled:
        return core.batch_reset, core.batch_step
    return (
        numba.njit(core.batch_reset.py_func, nogil=True),
        numba.njit(core.batch_step.py_func, nogil=True),
    )


def _entry(kernel: Any, arguments: tuple[Any, ...]) -> Callable[..., int]:
    """Return the machine code that a kernel has for arguments of these types, to call directly.

    The types of a batch's arrays never change; looking them up took longer than a light step.
    """
    return kernel.overloads[tuple(numba.typeof(a) for a in arguments)].entry_point


def _choose(family: Family, names: Sequence[str], what: str) -> tuple[str, ...]:
    unknown = [name for name in names if name not in family.spaces]
    if unknown:
        known = ", ".join(family.spaces)
        raise ValueError(f"{type(family).__name__} has no {what} {unknown[0]!r}; it has: {known}")
    return tuple(names)


def _limit(time_limit: Any) -> int:
    """Return a limit of steps as an int.

    Raises:
        ValueError: It is negative or not a whole number.
    """
    if not isinstance(time_limit, int | np.integer) or time_limit < 0:
        raise ValueError(f"time_limit must be a whole number, 0 for none, got {time_limit!r}")
    return int(time_limit)


def _bounds(space: Space[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least integer action and one past the greatest, each int64 (k,)."""
    if isinstance(space, Discrete):
        return np.array([space.start]), np.array([space.start + space.n])
    if isinstance(space, MultiDiscrete):
        low = space.start.reshape(-1).astype(np.int64)
        return low, low + space.nvec.reshape(-1)
    return np.zeros(0, np.int64), np.zeros(0, np.int64)


class Batch:
    """``num_envs`` environments of one family, stepped together.

    After ``reset`` and after every ``step`` the arrays below are current; they are written in
    place, so copy what has to last. ``observation`` is what to act on; where an episode ended in
    this step (and ``autoreset`` is ``"same_step"``), the observation it ended with is in the same
    row of ``final_observation``.

    Attributes:
        num_envs: Number of environments, B.
        observation: Named arrays (B, ...) that a policy sees.
        label: Named arrays (B, ...) for auxiliary losses, of the same moment as ``observation``.
        info: Named arrays (B, ...) for people and analysis, of the same moment as ``observation``.
        final_observation: As ``observation``; rows are valid only where an episode ended in this
            step.
        final_label: As ``label``, likewise.
        final_info: As ``info``, likewise.
        reward: float32 (B,).
        cost: float32 (B,).
        terminated: bool (B,); the episode reached an end of its own.
        truncated: bool (B,); the time limit cut it. Never both.
        valid: bool (B,); False where the step only performed the reset of ``"next_step"``.
    """

    def __init__(
        self,
        family: Family,
        num_envs: int,
        *,
        observations: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        time_limit: int | None = None,
        threads: int = 1,
        autoreset: str = "same_step",
    ) -> None:
        """Allocate a batch; nothing is drawn before ``reset``.

        Args:
            family: A configured family.
            num_envs: Number of environments, at least 1.
            observations: Names of the arrays that the policy sees; by default the family's.
            labels: Names of the labels to compute; by default all of the family's.
            time_limit: Steps after which an episode is truncated, 0 for none; by default the
                family's.
            threads: Threads that share a step; worth it for pixels only.
            autoreset: ``"same_step"``, ``"next_step"`` or ``"disabled"``.

        Raises:
            ValueError: An argument is out of range or names an unknown array.
        """
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if autoreset not in AUTORESET:
            raise ValueError(f"autoreset must be one of {', '.join(AUTORESET)}, got {autoreset!r}")
        self.family = family
        self.num_envs = num_envs
        self.time_limit = _limit(family.time_limit if time_limit is None else time_limit)
        self.autoreset = autoreset
        chosen = family.observations if observations is None else observations
        wanted = family.labels if labels is None else labels
        observed = _choose(family, chosen, "observation")
        labelled = tuple(n for n in _choose(family, wanted, "label") if n not in observed)
        self.observation_spaces = {name: family.spaces[name] for name in observed}
        self.label_spaces = {name: family.spaces[name] for name in labelled}
        self.info_spaces = {n: family.spaces[n] for n in family.infos if n not in observed}
        self.action_space: Space[Any] = family.action_space
        self._threads = max(1, min(threads, num_envs))
        self._allocate()
        self._connect()

    def _allocate(self) -> None:
        n, family = self.num_envs, self.family
        self.states = np.zeros(n, core.engine_dtype(family))
        self._seeded = np.zeros(n, bool)
        asked = {**self.observation_spaces, **self.label_spaces, **self.info_spaces}
        beside = [
            name for name, others in family.hidden.items() if not asked.keys().isdisjoint(others)
        ]
        asked |= {name: family.spaces[name] for name in beside}
        self._out = self._arrays(asked)
        self._final = self._arrays(asked)
        dtype, shape = core.action_dtype(self.action_space)
        self._actions = np.zeros((n, *shape), dtype)
        self._low, self._high = _bounds(self.action_space)
        self.reward, self.cost = np.zeros(n, np.float32), np.zeros(n, np.float32)
        self.terminated, self.truncated = np.zeros(n, bool), np.zeros(n, bool)
        self.valid = np.ones(n, bool)
        self._result = Result(
            self.reward,
            self.cost,
            self.terminated,
            self.truncated,
            self.valid,
            np.zeros(n),
            np.zeros(n, np.int64),
        )
        self.observation, self.label, self.info = self._views(self._out)
        self.final_observation, self.final_label, self.final_info = self._views(self._final)
        self._returns, self._lengths = typed_array("d"), typed_array("q")
        self._was_ready = False

    def _connect(self) -> None:
        """Make what `REMADE` names."""
        self._reset_kernel, self._step_kernel = _kernels(self.family.is_bundled())
        self._is_warm = False
        bounds = np.linspace(0, self.num_envs, self._threads + 1).astype(int)
        self._slices = [self._slice(a, b) for a, b in itertools.pairwise(bounds)]
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what a copy makes anew: a copied view would be an array of its own."""
        return {name: value for name, value in vars(self).items() if name not in REMADE}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on as the batch that was copied, with arrays of its own."""
        vars(self).update(state)
        self._connect()

    def _arrays(self, asked: Mapping[str, Space[Any]]) -> Any:
        columns = []
        for name in self.family.Arrays._fields:  # type: ignore[attr-defined]
            space = self.family.spaces[name]
            if not space.shape:
                raise ValueError(f"the space of {name!r} needs at least one dimension, got {space}")
            shape = space.shape if name in asked else (0,) * len(space.shape)
            columns.append(np.zeros((self.num_envs, *shape), space.dtype))
        return self.family.Arrays(*columns)

    def _views(self, arrays: Any) -> tuple[dict[str, np.ndarray], ...]:
        groups = (self.observation_spaces, self.label_spaces, self.info_spaces)
        return tuple({name: getattr(arrays, name) for name in group} for group in groups)

    def _slice(self, a: int, b: int) -> _Slice:
        cut = functools.partial(map, lambda array: array[a:b])
        return _Slice(
            self.states[a:b],
            self._actions[a:b],
            type(self._out)(*cut(self._out)),
            type(self._final)(*cut(self._final)),
            Result(*cut(self._result)),
        )

    def reset(
        self, seed: int | Sequence[int | None] | None = None, mask: np.ndarray | None = None
    ) -> None:
        """Start new episodes and fill ``observation``, ``label`` and ``info``.

        Args:
            seed: An int seeds environment i with ``seed + i``; a sequence gives each its own; None
                goes on with the streams there are (drawn from the operating system the first time).
            mask: bool (B,), the environments to reset; all by default.
        """
        mask = np.ones(self.num_envs, bool) if mask is None else mask
        self._warm()
        self._seed(seed, mask)
        self._reset_kernel(self.states, mask, self.family.params, self._out)

    def _warm(self) -> None:
        """Compile both kernels, or load them from the cache, by calling them on nothing."""
        if self._is_warm:
            return
        nothing = self._slice(0, 0)
        with announce_compilation(type(self.family).__name__, self.family.is_bundled()):
            none = np.zeros(0, bool)
            self._reset_kernel(nothing.states, none, self.family.params, nothing.out)
            self._step(nothing)
        self._step_kernel = _entry(self._step_kernel, self._arguments(self._slices[0]))
        self._is_warm = True

    def _seed(self, seed: int | Sequence[int | None] | None, mask: np.ndarray) -> None:
        if seed is None or isinstance(seed, int | np.integer):
            seeds: list[int | None] = [
                None if seed is None else int(seed) + i for i in range(self.num_envs)
            ]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"got {len(seeds)} seeds for {self.num_envs} environments")
        for i in np.flatnonzero(mask):
            if seeds[i] is not None or not self._seeded[i]:
                self.set_key(int(i), seeding.np_random(seeds[i])[0])

    def set_key(self, i: int, generator: np.random.Generator) -> None:
        """Draw the key of environment ``i`` from Gymnasium's generator; its episodes begin anew."""
        self.states["seed_key"][i] = generator.integers(0, 2**63, dtype=np.uint64)
        self.states["episode"][i] = 0
        self._seeded[i] = True

    def step(self, actions: Any) -> None:
        """Step every environment with its action and update all arrays.

        Args:
            actions: int64 (B,) or (B, k), or float32 (B, ...); floats outside the Box are clipped
                to it.

        Raises:
            ValueError: Wrong shape, or an action outside the space, or not finite.
            ResetNeeded: An environment waits for a reset (before the first one, or with
                ``"disabled"``).
        """
        self._take(actions)
        if not self._was_ready and not self.ready:
            raise ResetNeeded("call reset before step")
        self._was_ready = True
        if self.autoreset == "disabled" and (i := core.any_ended(self.states)) >= 0:
            raise ResetNeeded(f"the episode of environment {i} is over: call reset with a mask")
        if self._pool is None:
            count = self._step(self._slices[0])
        else:
            count = sum(self._pool.map(self._step, self._slices))
        if count:
            ended = np.flatnonzero(self.terminated | self.truncated)
            self._returns.frombytes(self._result.episode_return[ended].tobytes())
            self._lengths.frombytes(self._result.episode_length[ended].tobytes())
            if len(self._returns) >= 2 * UNREAD:
                del self._returns[:-UNREAD], self._lengths[:-UNREAD]

    def _step(self, part: _Slice) -> int:
        return self._step_kernel(*self._arguments(part))

    def _arguments(self, part: _Slice) -> tuple[Any, ...]:
        mode = AUTORESET[self.autoreset]
        arrays = part.out, part.final, part.result
        return part.states, part.actions, self.family.params, *arrays, self.time_limit, mode

    def _take(self, actions: Any) -> None:
        given = np.asarray(actions)
        if given.shape != self._actions.shape:
            raise ValueError(
                f"actions have shape {given.shape}, expected {self._actions.shape}: "
                f"one of {self.action_space} for each of {self.num_envs} environments"
            )
        space = self.action_space
        if isinstance(space, Discrete | MultiDiscrete):
            if given.dtype.kind not in "iub":
                raise ValueError(f"actions have dtype {given.dtype}, expected integers for {space}")
            self._actions[...] = given
            table = self._actions.reshape(self.num_envs, -1)
            if (i := core.first_outside(table, self._low, self._high)) >= 0:
                raise ValueError(f"action {given[i]} of environment {i} is outside {space}")
            return
        if not np.isfinite(given).all():
            i = int(np.argwhere(~np.isfinite(given))[0, 0])
            raise ValueError(f"action of environment {i} is not finite: {given[i]}")
        assert isinstance(space, Box)  # core.action_dtype refuses everything else
        self._actions[...] = np.clip(given, space.low, space.high)

    @property
    def ready(self) -> bool:
        """Whether every environment has been reset at least once."""
        return bool(self._seeded.all())

    @property
    def ended(self) -> np.ndarray:
        """Bool (B,): the episode ended in the last step."""
        return self.terminated | self.truncated

    @property
    def next_observation(self) -> dict[str, np.ndarray]:
        """What the last step led to, a copy; differs from ``observation`` only where ``ended``."""
        if self.autoreset != "same_step":
            return {name: array.copy() for name, array in self.observation.items()}
        ended = self.ended
        result = {name: array.copy() for name, array in self.observation.items()}
        for name, array in result.items():
            array[ended] = self.final_observation[name][ended]
        return result

    def pop_episodes(self) -> list[tuple[float, int]]:
        """Return (return, length) of the episodes that ended since the last call, oldest first."""
        pairs = list(zip(self._returns, self._lengths, strict=True))
        del self._returns[:], self._lengths[:]
        return pairs

    def get_state(self) -> dict[str, np.ndarray]:
        """Return everything that the future depends on, as plain arrays; see ``set_state``."""
        state = {f"array/{name}": array.copy() for name, array in self._out._asdict().items()}
        state["states"] = self.states.view(np.uint8).reshape(self.num_envs, -1).copy()
        state["seeded"] = self._seeded.copy()
        state["family"] = np.full(self.num_envs, core.layout_code(self.family))
        return state

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``get_state`` returned; the batch goes on bit for bit as that one would.

        Raises:
            ValueError: The state is of another family, size or selection of arrays.
        """
        mine = self.get_state()
        codes = mine.pop("family")  # earlier versions saved none
        for name, array in mine.items():
            if name not in state or state[name].shape != array.shape:
                found = str(state[name].shape) if name in state else "nothing"
                found += "" if "family" in state else ", saved by an earlier version"
                raise ValueError(f"environment state {name!r}: expected {array.shape}, got {found}")
        if not np.array_equal(state.get("family", codes), codes):
            name = type(self.family).__name__
            raise ValueError(f"environment state: not of {name} with these parameters")
        for name, array in self._out._asdict().items():
            array[...] = state[f"array/{name}"]
        self.states.view(np.uint8).reshape(self.num_envs, -1)[...] = state["states"]
        self._seeded[...] = state["seeded"]
        self._was_ready = False

    def render(self, i: int = 0) -> np.ndarray:
        """Return a uint8 picture (height, width, 3) of environment ``i`` for people."""
        return self.family.render(self.states[i])

    def close(self) -> None:
        """End the threads, if there are any."""
        if self._pool is not None:
            self._pool.shutdown()
