"""The far side of `daedalus.envs.safety.safety_gymnasium`, run by the other interpreter.

Stands alone: the standard library and NumPy, then Safety-Gymnasium. The near side imports `send`
and `receive` from here, nothing here imports the near side.

A message is the length of its JSON in bytes (unsigned, 4 bytes, little-endian), the JSON, and the
bytes of its arrays one after another; in the JSON an array is ``{"__array__": [dtype, shape]}``.
Requests are ``[method, arguments, options]``, replies ``{"value": ...}`` or ``{"error": text}``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import inspect
import json
import math
import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

ARRAY = "__array__"


def send(stream: BinaryIO, message: Any) -> None:
    """Write a message: what JSON knows, with arrays and NumPy's numbers anywhere in it.

    Raises:
        TypeError: There is something else in it; nothing is written.
    """
    parts = []

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise TypeError(f"a {type(value).__name__} cannot be sent")
        parts.append(value.tobytes())
        return {ARRAY: [value.dtype.str, value.shape]}

    text = json.dumps(message, default=plain).encode()  # meets the arrays in the order of the text
    stream.write(b"".join([struct.pack("<I", len(text)), text, *parts]))
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read a message; its arrays are writable, its tuples have become lists.

    Raises:
        EOFError: The stream has ended.
    """

    def whole(found: dict[str, Any]) -> Any:
        if ARRAY not in found:
            return found
        dtype, shape = np.dtype(found[ARRAY][0]), found[ARRAY][1]
        data = bytearray(_exactly(stream, dtype.itemsize * math.prod(shape)))
        return np.frombuffer(data, dtype).reshape(shape)

    (size,) = struct.unpack("<I", _exactly(stream, 4))
    return json.loads(_exactly(stream, size), object_hook=whole)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the other process has closed its pipe")
    return data


def described(space: Any) -> dict[str, Any]:
    """Return a space as a message.

    Raises:
        TypeError: It is not a Box, a Discrete or a Dict of them.
    """
    kind = type(space).__name__
    if kind == "Box":
        return {kind: [space.low, space.high]}
    if kind == "Discrete":
        return {kind: [space.n, space.start]}
    if kind == "Dict":
        return {kind: {name: described(part) for name, part in space.spaces.items()}}
    raise TypeError(f"the space {space} is not a Box, a Discrete or a Dict of them")


def allow_arrays_as_defaults() -> None:
    """Let a data class have an array as a default, as it could before Python 3.11."""
    strict: Any = dataclasses.dataclass

    def dataclass(cls: Any = None, **options: Any) -> Any:
        if cls is None:
            return lambda cls: dataclass(cls, **options)
        for name in inspect.get_annotations(cls):
            value = vars(cls).get(name)
            if isinstance(value, np.ndarray):
                same = functools.partial(np.asarray, value)  # no copy: one array for all, as before
                setattr(cls, name, dataclasses.field(default_factory=same))
        return strict(cls, **options)

    dataclasses.dataclass = dataclass


def made(task: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return an environment and what the near side has to know of it."""
    allow_arrays_as_defaults()
    env = importlib.import_module("safety_gymnasium").make(task, **options)
    return env, {
        "observation_space": described(env.observation_space),
        "action_space": described(env.action_space),
        "metadata": {"render_modes": [], **(env.metadata or {})},
    }


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Make an environment, then call its methods, until it is to close or the requests end."""
    env = None
    with contextlib.suppress(EOFError):
        while (request := receive(requests))[0] != "close":
            method, arguments, options = request
            try:
                if method == "make":
                    env, value = made(*arguments, **options)
                else:
                    value = getattr(env, method)(*arguments, **options)
                send(replies, {"value": value})
            except Exception as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())
                send(replies, {"error": text})
    if env is not None:
        env.close()


if __name__ == "__main__":
    own_folder = Path(__file__).resolve().parent  # its mujoco.py is not the MuJoCo that is meant
    sys.path[:] = [path for path in sys.path if Path(path).resolve() != own_folder]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which closes this one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what packages print goes to standard error
    serve(sys.stdin.buffer, answers)
