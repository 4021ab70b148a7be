"""Stop at the first value that is not finite, before it reaches a buffer or a weight.

One sum per array decides: a sum of finite numbers is finite (or overflows, which the exact second
look tells apart), and a NaN or an infinity always shows in it. Integers cannot be anything but
finite and cost nothing, so images are free. The exact second look happens only when a sum is not
finite; it names the array, the environment and the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

if TYPE_CHECKING:
    import torch

    Value = np.ndarray | torch.Tensor


class NotFiniteError(ArithmeticError):
    """A value is NaN or infinite. Training stopped before it could reach a weight.

    Attributes:
        name: the first bad array (``observation/position``, ``gradient policy/actor.weight`` ...).
        where: when it was found (``observation``, ``loss`` ...).
        index: place of the first bad value in the array.
        env: index of the environment, where the array has one.
        value: the first bad value, as text.
    """

    def __init__(
        self, name: str, where: str, index: tuple[int, ...], env: int | None, value: float
    ) -> None:
        """Describe the first bad value."""
        self.name, self.where, self.index, self.env = name, where, index, env
        self.value = str(value)
        self.details: dict[str, Any] = {}
        super().__init__(name)

    def __str__(self) -> str:
        """Return one line: what, where, which environment, and what else is known."""
        text = f"{self.name} is {self.value} at index {list(self.index)} ({self.where})"
        if self.env is not None:
            text += f", environment {self.env}"
        return text + "".join(f", {key} {value}" for key, value in self.details.items())


class OutOfSpaceError(ValueError):
    """A user's environment returned what its own space does not contain."""


def check_finite(
    tensors: Mapping[str, Value], where: str = "", *, env_axis: int | None = None
) -> None:
    """Raise unless every value is finite.

    Args:
        tensors: arrays by name, of any shape; integer and bool arrays pass at no cost.
        where: what is being checked, for the message.
        env_axis: the axis that counts environments, if there is one.

    Raises:
        NotFiniteError: names the first bad array in the order given.
    """
    floating = {name: value for name, value in tensors.items() if _may_be_bad(value)}
    if not _is_finite(floating.values()):
        for name, value in floating.items():
            _find(name, value, where, env_axis)


def check_gradients(
    parameters: Callable[[], Iterable[tuple[str, torch.Tensor]]],
    loss: torch.Tensor,
    norm: torch.Tensor,
) -> None:
    """Raise unless a loss and the gradients it made are finite; call it before ``step()``.

    The norm is what gradient clipping has computed anyway, so this waits for the device once and
    looks at single gradients only if something is wrong.

    Args:
        parameters: returns names and parameters, for the message.
        loss: the loss, a scalar.
        norm: the norm of all gradients, before clipping, a scalar.

    Raises:
        NotFiniteError: names the loss or the first bad gradient.
    """
    if math.isfinite((loss.detach() + norm).item()):
        return
    check_finite({"loss": loss}, "loss")
    for name, parameter in parameters():
        if parameter.grad is not None:
            check_finite({f"gradient {name}": parameter.grad}, "gradient")
    check_finite({"gradient norm": norm}, "gradient")


class CheckedEnv(gymnasium.Wrapper[Any, Any, Any, Any]):
    """One environment of a user, held to the shapes and dtypes of its space at every step.

    Without it a wrong shape ends in a message of NumPy that names neither environment nor field.
    """

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Reset and check."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._check(observation, "reset()")
        return observation, info

    def step(self, action: Any) -> Any:
        """Step and check."""
        result: Any = self.env.step(action)
        if not isinstance(result, tuple) or len(result) != 5:
            expected = "(observation, reward, terminated, truncated, info)"
            raise self._wrong(f"{_kind(result)} from step(), expected {expected}")
        self._check(result[0], "step()")
        if np.ndim(result[1]) or np.asarray(result[1]).dtype.kind not in "biuf":
            raise self._wrong(f"reward {result[1]!r}, expected a number")
        return result

    def _check(self, observation: Any, where: str) -> None:
        space = self.env.observation_space
        if not isinstance(space, Dict):
            self._check_array(observation, space, "an observation", where)
            return
        if not isinstance(observation, Mapping) or set(observation) != set(space.spaces):
            names = ", ".join(space.spaces)
            raise self._wrong(f"{_kind(observation)} from {where}, expected a dict of {names}")
        for name, part in space.spaces.items():
            self._check_array(observation[name], part, f"observation {name!r}", where)

    def _check_array(self, value: Any, space: Space[Any], what: str, where: str) -> None:
        if space.dtype is None or space.shape is None:
            return
        array = np.asarray(value)
        if array.shape != space.shape or not np.can_cast(array.dtype, space.dtype, "same_kind"):
            got = f"{what} of shape {array.shape} and dtype {array.dtype}"
            raise self._wrong(f"{got} from {where}, its space is {space}")

    def _wrong(self, text: str) -> OutOfSpaceError:
        return OutOfSpaceError(f"{self.env.unwrapped} returned {text}")


def _kind(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"


class StepGuard:
    """Checks what a batch of environments returned, every step, before anything keeps it.

    A few microseconds per step: one sum of squares per floating-point array, and for environments
    that are not ours two comparisons per array with bounds.
    """

    def __init__(
        self, num_envs: int, spaces: Mapping[str, Space[Any]], check_bounds: bool = False
    ) -> None:
        """Prepare for observations of ``spaces``.

        Args:
            num_envs: rows of each array, B.
            spaces: per-environment space of each observation array.
            check_bounds: also hold the observations to their spaces.
        """
        floating = [n for n, s in spaces.items() if s.dtype is None or s.dtype.kind in "fc"]
        self._names, self._spaces = floating, dict(spaces)
        self._bounds = {
            name: (
                np.asarray(low),
                np.asarray(high),
                np.empty((num_envs, *(space.shape or ())), bool),
            )
            for name, space in spaces.items()
            for low, high in [_bounds(space)]
            if check_bounds and low is not None
        }

    def check(self, observation: Mapping[str, np.ndarray], reward: np.ndarray) -> None:
        """Raise unless the step's arrays (B, ...) are finite and in their spaces.

        Raises:
            NotFiniteError: names array, environment and index.
            OutOfSpaceError: likewise.
        """
        total = float(np.vdot(reward, reward))  # squares: infinities cannot cancel
        for name in self._names:
            array = observation[name]
            total += float(np.vdot(array, array))
        if not math.isfinite(total):
            named = {_label(name): observation[name] for name in self._names}
            check_finite({**named, "reward": reward}, "environment step", env_axis=0)
        for name, (low, high, scratch) in self._bounds.items():
            array = observation[name]
            below = np.less(array, low, out=scratch).any()
            if below or np.greater(array, high, out=scratch).any():
                _out_of_space(name, array, low, high, self._spaces[name])


def _label(name: str) -> str:
    return name if name == "observation" else f"observation {name}"


def _out_of_space(
    name: str, array: np.ndarray, low: np.ndarray, high: np.ndarray, space: Space[Any]
) -> None:
    index = tuple(int(i) for i in np.argwhere((array < low) | (array > high))[0])
    raise OutOfSpaceError(
        f"{_label(name)} of environment {index[0]} is {array[index]} at index "
        f"{list(index[1:])}, outside {space}: correct the environment or the bounds of its space"
    )


def _bounds(space: Space[Any]) -> tuple[Any, Any]:
    """Return the lowest and highest allowed values, or None where the dtype already holds them."""
    if isinstance(space, Box):
        if space.dtype == np.uint8 and space.low.min() == 0 and space.high.min() == 255:
            return None, None
        return space.low, space.high
    if isinstance(space, Discrete):
        return space.start, space.start + space.n - 1
    if isinstance(space, MultiDiscrete):
        return space.start, space.start + space.nvec - 1
    return (0, 1) if isinstance(space, MultiBinary) else (None, None)


def _may_be_bad(value: Value) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc"
    return value.is_floating_point() or value.is_complex()


def _is_finite(values: Iterable[Value]) -> bool:
    """Whether the sum over all arrays is finite; waits for a device once."""
    total: Any = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for value in values:
            total = total + (value if isinstance(value, np.ndarray) else value.detach()).sum()
    return math.isfinite(abs(total))


def _find(name: str, value: Value, where: str, env_axis: int | None) -> None:
    """Raise for the first bad value; return if only the sum overflowed."""
    array = value if isinstance(value, np.ndarray) else value.detach().float().cpu().numpy()
    bad = ~np.isfinite(array)
    if not bad.any():
        return
    index = tuple(int(i) for i in np.argwhere(bad)[0])
    env = index[env_axis] if env_axis is not None and env_axis < len(index) else None
    raise NotFiniteError(name, where, index, env, array[index])
