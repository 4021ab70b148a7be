"""Spaces as JSON, so that a checkpoint says what it was trained for without any pickle.

And observations held against their spaces, before an agent acts on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import Space
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from daedalus.accelerators.guards import check_finite


def space_to_json(space: Space[Any]) -> dict[str, Any]:
    """Return a dict of plain values; bounds that are all equal become one number."""
    if isinstance(space, Box):
        return {
            "type": "Box",
            "shape": list(space.shape),
            "dtype": str(space.dtype),
            "low": _bound(space.low),
            "high": _bound(space.high),
        }
    if isinstance(space, Discrete):
        return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, MultiDiscrete):
        start = {"start": space.start.tolist()} if space.start.any() else {}
        return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), **start}
    if isinstance(space, MultiBinary):
        return {"type": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.n)}
    raise TypeError(f"cannot store a {type(space).__name__} space")


def _bound(values: np.ndarray) -> Any:
    """Return one value or a nested list; infinities as strings, which JSON has no number for."""
    plain = [str(v) if np.isinf(v) else v for v in values.ravel().tolist()]
    return plain[0] if len(set(plain)) == 1 else plain


def space_from_json(data: dict[str, Any]) -> Space[Any]:
    """Return the space that `space_to_json` described.

    Raises:
        ValueError: An unknown type of space.
    """
    kind = data["type"]
    if kind == "Box":
        shape, dtype = tuple(data["shape"]), np.dtype(data["dtype"])
        low, high = (_array(data[end], shape, dtype) for end in ("low", "high"))
        return Box(low, high, shape, dtype.type)
    if kind == "Discrete":
        return Discrete(data["n"], start=data["start"])
    if kind == "MultiDiscrete":
        return MultiDiscrete(data["nvec"], start=data.get("start"))
    if kind == "MultiBinary":
        return MultiBinary(data["n"])
    raise ValueError(f"unknown space type {kind!r}")


def _array(bound: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    values = np.array(bound, dtype=np.float64 if dtype.kind == "f" else dtype).astype(dtype)
    return np.broadcast_to(values.reshape(shape if values.size > 1 else ()), shape)


def arrays_of(observation: Any, spaces: Mapping[str, Space[Any]]) -> dict[str, np.ndarray]:
    """Return the arrays of an observation, or of a batch of them, by name.

    Args:
        observation: A dict of arrays; of a single space the bare array, too.
        spaces: What is to be there.

    Raises:
        ValueError: An array has neither its space's shape nor that of a batch, or the batches
            are of several sizes.
        NotFiniteError: A value is NaN or infinite.
    """
    if not isinstance(observation, Mapping):
        observation = {next(iter(spaces)): observation}
    arrays = {name: np.asarray(observation[name], order="C") for name in spaces}
    for name, space in spaces.items():
        shape, wanted = arrays[name].shape, space.shape or ()
        if wanted not in (shape, shape[1:]):
            raise ValueError(f"{name} has the shape {shape}: {wanted} is needed, or a batch of it")
    batches = {n: arrays[n].shape[: arrays[n].ndim - len(s.shape or ())] for n, s in spaces.items()}
    if len(set(batches.values())) > 1:
        each = (f"{n} has {size[0]}" if size else f"{n} is single" for n, size in batches.items())
        raise ValueError(f"arrays of an observation are batches of one size: {', '.join(each)}")
    check_finite(arrays, "observation")
    return arrays
