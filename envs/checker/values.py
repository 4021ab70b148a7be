"""Values that environments return: their leaves, their bits, and whether they lie in a space."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from daedalus.envs.checker.findings import Severity


class Leaf(NamedTuple):
    """What is kept of one value: enough to compare to the last bit and to print."""

    digest: str
    summary: str


class Problem(NamedTuple):
    """One way in which a value is not what its space says."""

    check: str
    field: str
    expected: str
    got: str
    severity: Severity = "error"


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield ``(path, leaf)`` for every leaf of nested mappings, tuples and lists.

    Keys come in sorted order, so that the order of a dict never matters.
    """
    if isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from leaves(value[key], f"{path}[{key!r}]")
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from leaves(value.tolist(), path)
    else:
        yield path, value


def arrays(value: Any) -> list[np.ndarray[Any, Any]]:
    """Return the arrays among the leaves of ``value``."""
    return [leaf for _, leaf in leaves(value, "") if isinstance(leaf, np.ndarray)]


def fingerprint(value: Any, path: str) -> dict[str, Leaf]:
    """Return path -> `Leaf` for every leaf of ``value``."""
    return {p: Leaf(_digest(leaf), summary(leaf)) for p, leaf in leaves(value, path)}


def _digest(leaf: Any) -> str:
    """Hash type, shape and bits. Objects of unknown type count by their type alone."""
    if isinstance(leaf, np.ndarray | np.generic):
        array = np.asarray(leaf)
        content = f"{array.dtype.str}{array.shape}".encode() + array.tobytes()
    elif leaf is None or isinstance(leaf, bool | int | float | complex | str | bytes):
        content = f"{type(leaf).__name__} {leaf!r}".encode()
    elif isinstance(leaf, set | frozenset):
        content = repr(sorted(map(repr, leaf))).encode()
    else:
        content = type(leaf).__qualname__.encode()
    return hashlib.blake2b(content, digest_size=12).hexdigest()


def summary(value: Any, limit: int = 60) -> str:
    """Return a short description: type, shape and the first values."""
    if isinstance(value, np.ndarray):
        shown = np.array2string(value.ravel()[:4], precision=6, separator=", ")
        shown = shown if value.size <= 4 else f"{shown[:-1]}, ...]"
        return f"{value.dtype} {value.shape} {shown}"
    text = repr(value)
    text = text if len(text) <= limit else f"{text[: limit - 3]}..."
    return f"{type(value).__name__} {text}"


def problems(space: Any, value: Any, path: str) -> Iterator[Problem]:
    """Yield every way in which ``value`` is not an element of ``space``."""
    if isinstance(space, spaces.Dict):
        yield from _mapping_problems(space, value, path)
    elif isinstance(space, spaces.Tuple):
        yield from _tuple_problems(space, value, path)
    elif isinstance(space, spaces.Box):
        yield from _box_problems(space, value, path)
    elif isinstance(space, spaces.Discrete):
        yield from _discrete_problems(space, value, path)
    elif not space.contains(value):
        yield Problem("space", path, f"an element of {space}", summary(value))


def _mapping_problems(space: spaces.Dict, value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem("type", path, "a dict", summary(value))
        return
    if set(value) != set(space.spaces):
        yield Problem("keys", path, str(sorted(space.spaces)), str(sorted(value, key=str)))
    for key, subspace in space.spaces.items():
        if key in value:
            yield from problems(subspace, value[key], f"{path}[{key!r}]")


def _tuple_problems(space: spaces.Tuple[Any], value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, tuple) or len(value) != len(space.spaces):
        yield Problem("type", path, f"a tuple of {len(space.spaces)}", summary(value))
        return
    for index, subspace in enumerate(space.spaces):
        yield from problems(subspace, value[index], f"{path}[{index}]")


def _discrete_problems(space: spaces.Discrete, value: Any, path: str) -> Iterator[Problem]:
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integer and not (isinstance(value, np.ndarray) and space.contains(value)):
        yield Problem("type", path, "an integer", summary(value))
    elif not space.contains(value):
        last = space.start + space.n - 1
        yield Problem("bounds", path, f"an integer in [{space.start}, {last}]", summary(value))


def _box_problems(space: spaces.Box, value: Any, path: str) -> Iterator[Problem]:
    if not isinstance(value, np.ndarray | np.generic):
        yield Problem("type", path, f"a {space.dtype} array {space.shape}", summary(value))
        return
    array = np.asarray(value)
    if array.shape != space.shape:
        yield Problem("shape", path, str(space.shape), str(array.shape))
        return
    if array.dtype != space.dtype:
        castable = np.can_cast(array.dtype, space.dtype)
        severity: Severity = "warning" if castable else "error"
        yield Problem("dtype", path, str(space.dtype), str(array.dtype), severity)
        if not np.can_cast(array.dtype, np.float64):
            return
    yield from _number_problems(space, array, path)


def _number_problems(
    space: spaces.Box, array: np.ndarray[Any, Any], path: str
) -> Iterator[Problem]:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        index = _first(~np.isfinite(array))
        yield Problem("finite", path, "finite numbers", f"{array[index]} at index {index}")
    with np.errstate(invalid="ignore"):
        outside = (array < space.low) | (array > space.high)
    if outside.any():
        index = _first(outside)
        interval = f"a value in [{space.low[index]}, {space.high[index]}]"
        yield Problem("bounds", path, interval, f"{array[index]} at index {index}")


def _first(mask: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """Return the index of the first true entry as plain integers."""
    return tuple(int(i) for i in np.argwhere(mask)[0])
