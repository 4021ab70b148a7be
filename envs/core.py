"""The kernel contract: an environment is a state, parameters and three functions.

Everything else is written once, here and in ``batch.py``.

A *family* is a subclass of ``Family`` in one file. It names its ``Params`` and ``Arrays``
(NamedTuples at module level) and three plain functions, which the engine compiles::

    reset(state, params)                                  # a new episode in `state`
    step(state, action, params) -> (reward, terminated)   # one step in place; may set state.cost
    observe(state, params, out)                           # fill the arrays that were asked for
    (size > 0)

``state`` is one record of the family's ``state_dtype`` plus the engine's own fields
(``ENGINE_FIELDS``), ``out`` an ``Arrays`` of views. Batching, time limits, autoreset, seeding and
the Gymnasium faces follow from these three.

The batch functions below are generic: ``reset``, ``step`` and ``observe`` are resolved by the
*type* of the parameters through ``numba.extending.overload``. Closures over jitted functions would
never hit Numba's cache in a new process.
"""

from __future__ import annotations

import importlib
import inspect
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload, register_jitable

from daedalus.envs.cache import jit
from daedalus.envs.random import STATE_FIELDS, begin_episode

SAME_STEP, NEXT_STEP, DISABLED = 0, 1, 2
"""Autoreset modes of the kernels, as in ``gymnasium.vector.AutoresetMode``."""

ENGINE_FIELDS: list[tuple[Any, ...]] = [
    *STATE_FIELDS,
    ("elapsed", "i8"),  # steps of this episode
    ("episode_return", "f8"),  # sum of its rewards
    ("cost", "f8"),  # cost of the last step, set by `step` (0 unless it does)
    ("ended", "?"),  # the episode is over and nothing has reset it yet
]

_FAMILIES: dict[type, type[Family]] = {}


class Family:
    """A family of environments; one instance is one configured environment, without any state.

    Class attributes say what the family is; ``__init__`` takes the parameters as keywords, checks
    them and sets ``params``, ``state_dtype``, ``action_space`` and ``spaces``. The class docstring
    is the datasheet.

    Attributes:
        Params: NamedTuple type of numbers and read-only arrays that the kernels see.
        Arrays: NamedTuple type with one array for each name in ``spaces``.
        observations: Names of the arrays that a policy sees unless told otherwise.
        labels: Names of arrays for auxiliary losses; never an input of a policy unless selected.
        infos: Names of arrays that go to ``info``.
        hidden: Names of arrays that nobody sees, each with those that it goes with: what
            ``observe`` has to know of what it last wrote to change only what differs. Rows belong
            to environments as those of the others do, so it is known even where states are
            exchanged.
        time_limit: Steps after which an episode is truncated; 0 for none.
        keys: Key names and the actions they stand for, for a person who plays.
        fps: Steps in a second of the world's time, for videos and play.
        agents: Agents that act at once. With more than one, actions are MultiDiscrete with an entry
            for each, every array begins with an axis of agents, and ``step`` leaves each one's
            reward in a field ``rewards`` of the state and returns their mean.
        action_space: Discrete, MultiDiscrete or Box.
        spaces: Space of one environment for every array, each with at least one dimension.
        state_dtype: NumPy structured dtype of one state, without the engine's fields.
    """

    Params: ClassVar[type]
    Arrays: ClassVar[type]
    observations: ClassVar[tuple[str, ...]] = ()
    labels: ClassVar[tuple[str, ...]] = ()
    infos: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    time_limit: int = 0
    keys: Mapping[str, Any] = {}
    fps: ClassVar[int] = 15
    agents: int = 1
    reset: ClassVar[Callable[..., Any]]
    step: ClassVar[Callable[..., Any]]
    observe: ClassVar[Callable[..., Any]]

    params: Any
    state_dtype: np.dtype[Any]
    _given: tuple[tuple[Any, ...], dict[str, Any]]
    _code: int | None = None
    action_space: Space[Any]
    spaces: dict[str, Space[Any]]

    def __init_subclass__(cls) -> None:
        """Make the three functions known to the compiler under the type of the parameters."""
        for name in ("reset", "step", "observe"):
            if name in cls.__dict__ and not isinstance(cls.__dict__[name], staticmethod):
                setattr(cls, name, staticmethod(cls.__dict__[name]))
        if "Params" in cls.__dict__:
            _FAMILIES[cls.Params] = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> Family:
        """Note the parameters, of which a pickled family is made anew."""
        self = super().__new__(cls)
        self._given = args, kwargs
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the parameters: arrays would come back writable, to be compiled for anew."""
        return _make_anew, (type(self), *self._given)

    def __deepcopy__(self, memo: dict[int, Any]) -> Family:
        """Return itself: a family has no state."""
        return self

    def render(self, state: np.void) -> np.ndarray:
        """Return a uint8 picture (height, width, 3) of one state, for people.

        Raises:
            NotImplementedError: The family draws no picture.
        """
        raise NotImplementedError(f"{type(self).__name__} has no picture: write its `render`")

    @classmethod
    def is_bundled(cls) -> bool:
        """Tell whether the family ships with Daedalus, so that its source is in the cache key."""
        return cls.__module__.startswith("daedalus.envs")


def _make_anew(family: type[Family], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Family:
    return family(*args, **kwargs)


def load_family(family: str | type[Family]) -> type[Family]:
    """Return a family class from itself or from ``"module:Class"``."""
    if not isinstance(family, str):
        return family
    module, _, name = family.partition(":")
    loaded: type[Family] = getattr(importlib.import_module(module), name)
    return loaded


def make_family(
    family: str | type[Family], time_limit: int | None, parameters: Mapping[str, Any]
) -> Family:
    """Return a configured family; one that takes ``time_limit`` itself is told a limit given."""
    cls = load_family(family)
    if time_limit is not None and "time_limit" in inspect.signature(cls.__init__).parameters:
        return cls(**parameters, time_limit=time_limit)
    return cls(**parameters)


def engine_dtype(family: Family) -> np.dtype[Any]:
    """Return the dtype of a whole state: the engine's fields, then the family's."""
    own = [(name, *_field(family.state_dtype[name])) for name in family.state_dtype.names or ()]
    return np.dtype([*ENGINE_FIELDS, *own], align=True)


def layout_code(family: Family) -> int:
    """Return a number that tells families apart whose states mean different things.

    It is made of the family's name, its whole-numbered parameters and the shapes of all. Real
    numbers are left out: what a library computes may differ in the last bit on another processor.
    """
    if family._code is None:
        family._code = zlib.crc32(repr((type(family).__name__, *_whole(family.params))).encode())
    return family._code


def _whole(value: Any) -> Iterator[Any]:
    if isinstance(value, tuple):
        for part in value:
            yield from _whole(part)
    elif isinstance(value, np.ndarray):
        yield value.shape
        names = value.dtype.names
        parts = [value] if names is None else [value[name] for name in names]
        yield from (part.tobytes() for part in parts if part.dtype.kind in "iub")
    elif isinstance(value, int | np.integer):
        yield int(value)


def _field(dtype: np.dtype[Any]) -> tuple[Any, ...]:
    return (dtype.base, dtype.shape) if dtype.shape else (dtype,)


def action_dtype(space: Space[Any]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return dtype and shape of one action as the kernels receive it.

    Raises:
        TypeError: The space is not Discrete, MultiDiscrete or Box.
    """
    if isinstance(space, Discrete):
        return np.dtype(np.int64), ()
    if isinstance(space, MultiDiscrete):
        return np.dtype(np.int64), space.shape
    if isinstance(space, Box):
        return np.dtype(np.float32), space.shape
    raise TypeError(f"kernels take Discrete, MultiDiscrete or Box actions, not {space}")


class Result(NamedTuple):
    """What a step of the batch leaves beside observations; every array has shape (B,)."""

    reward: np.ndarray  # float32
    cost: np.ndarray  # float32
    terminated: np.ndarray  # bool
    truncated: np.ndarray  # bool
    valid: np.ndarray  # bool; False where the step only reset (NEXT_STEP)
    episode_return: np.ndarray  # float64; holds the episode's sum where it ended
    episode_length: np.ndarray  # int64; holds the episode's steps where it ended


def _reset(state: Any, params: Any) -> None:
    """Resolved by the compiler to the family's ``reset``."""


def _step(state: Any, action: Any, params: Any) -> Any:
    """Resolved by the compiler to the family's ``step``."""


def _observe(state: Any, params: Any, out: Any) -> None:
    """Resolved by the compiler to the family's ``observe``."""


def _row(arrays: Any, i: int) -> Any:
    """Resolved by the compiler to the views of one environment."""


@overload(_reset, strict=False, jit_options={"forceinline": True})
def _overload_reset(state: Any, params: Any) -> Any:
    return _FAMILIES[params.instance_class].reset


@overload(_step, strict=False, jit_options={"forceinline": True})
def _overload_step(state: Any, action: Any, params: Any) -> Any:
    return _FAMILIES[params.instance_class].step


@overload(_observe, strict=False, jit_options={"forceinline": True})
def _overload_observe(state: Any, params: Any, out: Any) -> Any:
    return _FAMILIES[params.instance_class].observe


@overload(_row, strict=False)
def _overload_row(arrays: types.NamedTuple, i: Any) -> Any:
    fields = ", ".join(f"arrays.{name}[i]" for name in arrays.fields)
    namespace = {"Arrays": arrays.instance_class}
    exec(f"def row(arrays, i):\n    return Arrays({fields})\n", namespace)  # names of fields only
    return namespace["row"]


def _keep(final: Any, arrays: Any, i: int) -> None:
    """Resolved by the compiler to copies of row ``i`` of all arrays."""


@intrinsic
def _copy_row(typing_context: Any, target: Any, source: Any, i: Any) -> Any:
    """Copy row ``i`` between two contiguous arrays of one shape."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args[:2]
        pair = [
            context.make_array(k)(context, builder, a) for k, a in zip(kinds, args, strict=False)
        ]
        size = builder.extract_value(pair[1].strides, 0)
        offset = builder.mul(size, args[2])
        rows = [
            builder.gep(builder.bitcast(array.data, cgutils.voidptr_t), [offset]) for array in pair
        ]
        cgutils.raw_memcpy(builder, *rows, size, 1)
        return context.get_dummy_value()

    return types.void(target, source, types.intp), emit


@overload(_keep, strict=False)
def _overload_keep(final: types.NamedTuple, arrays: Any, i: Any) -> Any:
    lines = [f"    copy(final.{name}, arrays.{name}, i)" for name in final.fields]
    namespace: dict[str, Any] = {"copy": _copy_row}
    exec("\n".join(["def keep(final, arrays, i):", *lines]), namespace)  # names of fields only
    return namespace["keep"]


def lend(value: Any) -> Any:
    """Resolved by the compiler to the same value, its arrays without their owners.

    Each view of an owned array counts references, atomically; that takes longer than a light step.
    The caller of a batch function holds the arrays while it runs, so nothing needs counting.
    """


@intrinsic
def _without_owners(typing_context: Any, value: Any) -> Any:
    """Return an array, or a tuple with arrays, that nothing is counted for."""

    def free(context: Any, builder: Any, kind: Any, part: Any) -> Any:
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, part)
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            array.parent = cgutils.get_null_value(array.parent.type)
            return array._getvalue()
        for i, inner in enumerate(kind.types if isinstance(kind, types.BaseTuple) else ()):
            lent = free(context, builder, inner, builder.extract_value(part, i))
            part = builder.insert_value(part, lent, i)
        return part

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return free(context, builder, signature.args[0], args[0])

    return value(value), emit


@overload(lend, strict=False)
def _overload_lend(value: Any) -> Any:
    return lambda value: _without_owners(value)


def _show(state: Any, i: int, params: Any, out: Any) -> None:
    """Resolved by the compiler to the code below, inlined.

    The one caller of ``_observe``: Numba compiles what is called by functions of other flags anew.
    """


@overload(_show, strict=False, jit_options={"forceinline": True})
def _overload_show(state: Any, i: Any, params: Any, out: Any) -> Any:
    return lambda state, i, params, out: _observe(state, params, _row(out, i))


@register_jitable
def _begin(state: Any, params: Any) -> None:
    """Start the next episode of one environment."""
    begin_episode(state)
    state.elapsed = 0
    state.episode_return = 0.0
    state.cost = 0.0
    state.ended = False
    _reset(state, params)


@jit
def batch_reset(states: Any, mask: np.ndarray, params: Any, out: Any) -> None:
    """Start a new episode in every environment of the mask and observe it.

    Args:
        states: Structured array (B,).
        mask: bool (B,).
        params: The family's parameters.
        out: The family's arrays, each (B, ...).
    """
    states, params, out = lend(states), lend(params), lend(out)
    for i in range(states.shape[0]):
        if mask[i]:
            state = states[i]
            _begin(state, params)
            _show(state, i, params, out)


@jit
def batch_step(
    states: Any,
    actions: np.ndarray,
    params: Any,
    out: Any,
    final: Any,
    result: Result,
    time_limit: int,
    mode: int,
) -> int:
    """Step every environment once and return how many episodes ended.

    Args:
        states: Structured array (B,).
        actions: int64 or float32 (B, ...).
        params: The family's parameters.
        out: The family's arrays, each (B, ...): what to act on next.
        final: The same arrays; rows are written where an episode ended and was reset in this step.
        result: Rewards, ends and costs, written in place.
        time_limit: Steps after which an episode is truncated; 0 for none.
        mode: ``SAME_STEP``, ``NEXT_STEP`` or ``DISABLED``.
    """
    states, actions, params = lend(states), lend(actions), lend(params)
    out, final, result = lend(out), lend(final), lend(result)
    count = 0
    for i in range(states.shape[0]):
        state = states[i]
        fresh = mode == NEXT_STEP and state.ended
        state.cost = 0.0
        reward, terminated, truncated = 0.0, False, False
        if not fresh:
            reward, terminated = _step(state, actions[i], params)
            state.elapsed += 1
            state.episode_return += reward
            truncated = not terminated and time_limit > 0 and state.elapsed >= time_limit
        result.valid[i] = not fresh
        result.reward[i] = reward
        result.cost[i] = state.cost
        result.terminated[i] = terminated
        result.truncated[i] = truncated
        over = terminated or truncated
        if over:
            count += 1
            state.ended = True
            result.episode_return[i] = state.episode_return
            result.episode_length[i] = state.elapsed
        restart = over and mode == SAME_STEP
        for turn in range(2 if restart else 1):  # one call each: compiled once, and inlined
            if turn == 1:
                _keep(final, out, i)
            if fresh or turn == 1:
                _begin(state, params)
            _show(state, i, params, out)
    return count


@jit
def first_outside(actions: np.ndarray, low: np.ndarray, high: np.ndarray) -> int:
    """Return the row of the first action (B, k) not in [low, high), each int64 (k,), or -1."""
    for i in range(actions.shape[0]):
        for k in range(actions.shape[1]):
            if not low[k] <= actions[i, k] < high[k]:
                return i
    return -1


@jit
def any_ended(states: Any) -> int:
    """Return the index of the first environment that waits for a reset, or -1."""
    for i in range(states.shape[0]):
        if states[i].ended:
            return i
    return -1
