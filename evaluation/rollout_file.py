"""Stored rollouts: one file that replays without environment and agent.

::

    magic line
    a record for each moment, zlib: length of the header, header (JSON), the bytes of its arrays
    trailer (JSON): where the records begin, and what was played
    length of the trailer (8 bytes), SHA-256 of everything before it (32 bytes)

Arrays are stored as differences from the moment before, except in every `KEY` th moment, from which
reading can begin. The hash is checked before anything is parsed, and nothing in the file is code.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from daedalus.accelerators.files import sync_file, sync_folder, temporary_name
from daedalus.evaluation.rollout import Moment

MAGIC = b"daedalus rollout 1\n"
KEY = 32
"""Moments from one that is stored whole to the next."""
LARGEST = 2**28
"""Bytes of a moment at most."""
_FAULTS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)
_DTYPES = ("|u1", "<f4", "<f8", "<i8", "<i4", "|b1", "|i1", "<i2", "<u2", "<u4", "<u8")


class RolloutError(ValueError):
    """A stored rollout cannot be written or read; the message names it and says why."""


class About(NamedTuple):
    """What was played."""

    title: str
    fps: int
    action_names: dict[int, str]
    seeds: tuple[int, ...]


def record(path: str | Path, moments: Iterable[Moment], about: About) -> int:
    """Write moments to a file as they come and return how many there were.

    The file appears under its name when it is complete.

    Args:
        path: File to write; its folder is made.
        moments: Of one episode after the other.
        about: What is played.

    Raises:
        RolloutError: No moments, or a panel that is no plain data.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path.parent, path.name)
    try:
        with temporary.open("xb") as file:
            count = _write(file, moments, about)
            sync_file(file)
        if not count:
            raise RolloutError(f"{path}: there are no moments to store")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return count


def _write(file: BinaryIO, moments: Iterable[Moment], about: About) -> int:
    digest, position, starts = hashlib.sha256(), 0, []

    def put(content: bytes) -> None:
        nonlocal position
        file.write(content)
        digest.update(content)
        position += len(content)

    put(MAGIC)
    before: list[np.ndarray] = []
    for i, moment in enumerate(moments):
        starts.append(position)
        content, before = _pack(moment, [] if i % KEY == 0 else before)
        put(zlib.compress(content, 4))
    trailer = json.dumps({"starts": starts, "about": about._asdict()}).encode()
    put(trailer + len(trailer).to_bytes(8, "little"))
    file.write(digest.digest())
    return len(starts)


def _pack(moment: Moment, before: list[np.ndarray]) -> tuple[bytes, list[np.ndarray]]:
    """Return a moment as bytes, and its arrays."""
    arrays: list[np.ndarray] = []
    fields = {name: _plain(value, name, arrays) for name, value in moment._asdict().items()}
    described, parts = [], []
    for i, array in enumerate(arrays):
        last = before[i] if i < len(before) else None
        same = last is not None and last.shape == array.shape and last.dtype == array.dtype
        described.append([array.dtype.str, array.shape, same])
        parts.append((array.view("u1") - last.view("u1") if same else array).tobytes())  # type: ignore[union-attr]
    header = json.dumps({"fields": fields, "arrays": described}).encode()
    return b"".join([len(header).to_bytes(4, "little"), header, *parts]), arrays


def _plain(value: Any, name: str, arrays: list[np.ndarray]) -> Any:
    """Return JSON in which arrays are ``{"array": number}``; collects them."""
    if isinstance(value, np.ndarray) and value.ndim:
        array = np.ascontiguousarray(value)
        if array.dtype.str not in _DTYPES:
            raise RolloutError(f"{name} has dtype {array.dtype}, which is not stored")
        arrays.append(array)
        return {"array": len(arrays) - 1}
    if isinstance(value, np.ndarray | np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {"dict": {str(k): _plain(v, f"{name}.{k}", arrays) for k, v in value.items()}}
    if isinstance(value, list | tuple):
        return [_plain(item, name, arrays) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    raise RolloutError(f"{name} is a {type(value).__name__}, which is not stored")


class StoredRollout:
    """A stored rollout, to be read from anywhere; a notebook shows it as a video.

    Attributes:
        path: The file.
        about: What was played.
    """

    def __init__(self, path: str | Path) -> None:
        """Check the hash and read what was played.

        Raises:
            RolloutError: Not a stored rollout, or damaged.
        """
        self.path = Path(path)
        with _explained(self.path), self.path.open("rb") as file:
            self._starts, self.about = self._open(file)
        self._last: tuple[int, list[np.ndarray]] = (-1, [])

    def _open(self, file: BinaryIO) -> tuple[list[int], About]:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) != MAGIC or size < len(MAGIC) + 40:
            raise RolloutError(f"{self.path}: is not a stored rollout")
        file.seek(0)
        digest, left = hashlib.sha256(), size - 32
        while left > 0:
            digest.update(file.read(min(left, 2**20)))
            left -= 2**20
        if file.read(32) != digest.digest():
            raise RolloutError(f"{self.path}: damaged (its SHA-256 is wrong)")
        file.seek(size - 40)
        length = int.from_bytes(file.read(8), "little")
        end = size - 40 - length
        file.seek(end)
        trailer = json.loads(file.read(length))
        about = trailer["about"]
        names = {int(key): str(name) for key, name in about["action_names"].items()}
        fps, seeds = int(about["fps"]), tuple(int(seed) for seed in about["seeds"])
        starts = [*(int(start) for start in trailer["starts"]), end]
        if fps < 1 or starts != sorted(starts):
            raise ValueError("the trailer's numbers are impossible")
        return starts, About(str(about["title"]), fps, names, seeds)

    def __len__(self) -> int:
        """Return the number of moments."""
        return len(self._starts) - 1

    def __getitem__(self, i: int) -> Moment:
        """Return a moment; following ones come fastest.

        Raises:
            IndexError: There are not so many.
            RolloutError: The record is not what it must be.
        """
        if not 0 <= i < len(self):
            raise IndexError(i)
        last, arrays = self._last
        first = i if last == i - 1 and i % KEY else i - i % KEY
        with _explained(self.path), self.path.open("rb") as file:
            file.seek(self._starts[first])
            for k in range(first, i + 1):
                packed = file.read(self._starts[k + 1] - self._starts[k])
                moment, arrays = _unpack(packed, [] if k % KEY == 0 else arrays)
        self._last = i, arrays
        return moment

    def __iter__(self) -> Iterator[Moment]:
        """Yield all moments."""
        return (self[i] for i in range(len(self)))

    def _repr_html_(self) -> str:
        """Return the rollout as a video within HTML, for notebooks."""
        from daedalus.evaluation.drawing import Stage
        from daedalus.evaluation.video import write_video

        stage = Stage(self.about.title, self.about.action_names)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rollout.mp4"
            write_video(path, (stage.frame(moment) for moment in self), self.about.fps)
            data = base64.b64encode(path.read_bytes()).decode()
        return (
            '<video controls loop playsinline style="max-width:100%" '
            f'src="data:video/mp4;base64,{data}"></video>'
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while parsing into one line."""
    try:
        yield
    except RolloutError:
        raise
    except OSError as error:
        raise RolloutError(f"{path}: cannot be read ({error.strerror})") from error
    except (*_FAULTS, zlib.error) as error:
        what = f"{type(error).__name__}: {error}"
        raise RolloutError(f"{path}: not a valid rollout ({what})") from error


def _unpack(packed: bytes, before: list[np.ndarray]) -> tuple[Moment, list[np.ndarray]]:
    """Return the moment of a record and its arrays, given those of the moment before."""
    content = zlib.decompressobj().decompress(packed, LARGEST)
    place = 4 + int.from_bytes(content[:4], "little")
    header = json.loads(content[4:place])
    arrays: list[np.ndarray] = []
    for k, (dtype, shape, same) in enumerate(header["arrays"]):
        if dtype not in _DTYPES:
            raise ValueError(f"dtype {dtype}")
        array = np.frombuffer(content, dtype, int(np.prod(shape, dtype=np.int64)), place)
        place += array.nbytes
        array = array.reshape(shape)
        if same:
            array = (array.view("u1") + before[k].view("u1")).view(dtype)
        arrays.append(array)
    fields = {name: _restored(value, arrays) for name, value in header["fields"].items()}
    moment = Moment(**fields)
    for picture in (moment.picture, moment.view):
        if picture is not None and (picture.dtype != np.uint8 or picture.shape[2:] != (3,)):
            raise ValueError("a picture that is none")
    for number in (moment.step, moment.episode, moment.reward, moment.episode_return):
        if not isinstance(number, int | float):
            raise ValueError(f"{number!r} is no number")
    return moment, arrays


def _restored(value: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_restored(item, arrays) for item in value]
    if isinstance(value, dict) and "array" in value:
        return arrays[value["array"]]
    if isinstance(value, dict):
        return {name: _restored(item, arrays) for name, item in value["dict"].items()}
    return value
