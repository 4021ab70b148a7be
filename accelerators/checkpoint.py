"""Checkpoints: folders of plain data that are hashed, written in one step and never executed.

A checkpoint is a folder ``<step>`` with three files::

    tensors.safetensors   weights, optimiser, replay, environment state: every array
    state.json            counters, generators, configuration: everything else
    manifest.json         size and SHA-256 of the two, the format version, and its own SHA-256

It is written under a temporary name, every file is forced to the disk, the manifest comes last,
and one rename makes it visible; so a checkpoint that has its name is whole. A reader checks the
hashes of the bytes *before* it parses them: neither a cut nor a single flipped bit passes. Nothing
in a checkpoint is code, and no file is read as a pickle.

The array file is the `safetensors format <https://github.com/huggingface/safetensors#format>`_;
structured NumPy arrays (states of environments) travel as bytes, their dtype in the manifest.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daedalus.accelerators.files import (
    publish_folder,
    remove,
    sync_file,
    sync_folder,
    temporary_name,
)
from daedalus.accelerators.manifest import (
    FORMAT,
    MANIFEST,
    STATE,
    TENSORS,
    CheckpointError,
    dump_manifest,
    parse_json,
    read_manifest,
    read_plain,
)
from daedalus.accelerators.tensor_file import as_arrays, parse_tensors, tensor_chunks

if TYPE_CHECKING:
    import torch

    Tensors = Mapping[str, np.ndarray | torch.Tensor]

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "list_checkpoints",
    "load_checkpoint",
    "prune_checkpoints",
    "read_checkpoint",
    "save_checkpoint",
    "write_checkpoint",
]

STATE_LIMIT = 2**26  # bytes


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        step: environment steps when it was written.
        tensors: the arrays by name, each owned by the caller.
        state: everything else, as plain JSON values.
        path: the folder it was read from.
        skipped: one line for every newer checkpoint that was damaged and passed over.
    """

    step: int
    tensors: dict[str, np.ndarray]
    state: dict[str, Any]
    path: Path
    skipped: tuple[str, ...] = ()


def save_checkpoint(
    run_directory: str | Path, step: int, tensors: Tensors, state: Mapping[str, Any]
) -> Path:
    """Write ``<run_directory>/checkpoints/<step>`` and return its path.

    Args:
        run_directory: the run's folder.
        step: environment steps so far; names the checkpoint.
        tensors: arrays by name, any shape; torch tensors are copied to the CPU.
        state: plain values (dict, list, str, int, finite float, bool, None).

    Raises:
        CheckpointError: a value that cannot be written as data.
        OSError: the disk is full or not writable; older checkpoints are untouched.
    """
    path = Path(run_directory) / "checkpoints" / str(int(step))
    return _write_folder(path, tensors, state, int(step))


def write_checkpoint(
    path: str | Path, tensors: Tensors, state: Mapping[str, Any], step: int = 0
) -> Path:
    """Write one checkpoint folder at any ``path``, replacing an older one in a single step.

    Raises:
        CheckpointError: something else has that name, or a value that cannot be written as data.
        OSError: the disk is full or not writable; an older checkpoint there is untouched.
    """
    path = Path(path)
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not (path / MANIFEST).is_file() and not empty:
        raise CheckpointError(f"{path} exists and is not a checkpoint; choose another name")
    return _write_folder(path, tensors, state, step)


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint folder, or the newest whole checkpoint of a run directory.

    In a run directory the checkpoints are tried from the newest to the oldest; every one that is
    damaged is named in a warning and in ``Checkpoint.skipped``.

    Raises:
        CheckpointError: nothing usable is there; the message names each file and its fault.
    """
    path = Path(path)
    if not path.is_dir():
        what = "is a file" if path.is_file() else "does not exist"
        raise CheckpointError(f"{path} {what}; a checkpoint is a folder with {MANIFEST}")
    if (path / MANIFEST).exists() or not (path / "checkpoints").is_dir():
        return read_checkpoint(path)
    skipped: list[str] = []
    for step in reversed(list_checkpoints(path)):
        try:
            found = read_checkpoint(path / "checkpoints" / str(step), step)
        except CheckpointError as error:
            skipped.append(str(error))
        else:
            for fault in skipped:
                warnings.warn(f"damaged checkpoint passed over: {fault}", stacklevel=2)
            return Checkpoint(found.step, found.tensors, found.state, found.path, tuple(skipped))
    faults = "".join(f"\n  {line}" for line in skipped) or " (none was saved yet)"
    raise CheckpointError(f"{path} has no usable checkpoint:{faults}")


def read_checkpoint(path: str | Path, step: int | None = None) -> Checkpoint:
    """Read one checkpoint folder; hashes are checked before anything is parsed.

    Args:
        path: the folder.
        step: the step its manifest must name; ``None`` accepts any.

    Raises:
        CheckpointError: damaged, cut, hostile, or of a later format; one line says which file.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if step is not None and manifest["step"] != step:
        raise CheckpointError(f"{path / MANIFEST}: is of step {manifest['step']}, not {step}")
    state = parse_json(path / STATE, _read_file(path, STATE, manifest, STATE_LIMIT))
    if not isinstance(state, dict):
        raise CheckpointError(f"{path / STATE}: not a JSON object")
    content = _read_file(path, TENSORS, manifest, None)
    try:
        tensors = parse_tensors(content, manifest["dtypes"])
    except ValueError as error:
        raise CheckpointError(f"{path / TENSORS}: {error}") from error
    return Checkpoint(manifest["step"], tensors, state, path)


def list_checkpoints(run_directory: str | Path) -> list[int]:
    """Return the steps of a run's checkpoints in rising order, without opening them."""
    folder = Path(run_directory) / "checkpoints"
    if not folder.is_dir():
        return []
    names = (p.name for p in folder.iterdir() if p.is_dir() and not p.is_symlink())
    return sorted(int(name) for name in names if re.fullmatch(r"0|[1-9][0-9]{0,17}", name))


def prune_checkpoints(
    run_directory: str | Path, keep_last: int = 3, keep_every: int = 0, best: int | None = None
) -> list[int]:
    """Delete checkpoints that are neither recent, nor best, nor every n-th.

    Args:
        run_directory: the run's folder; the caller holds its lock.
        keep_last: how many of the newest stay (at least 1).
        keep_every: also keep one checkpoint per this many steps; 0 keeps none for that reason.
        best: the step of the best one, which stays.

    Returns:
        The steps that were deleted.
    """
    steps = list_checkpoints(run_directory)
    keep = {*steps[-max(1, keep_last) :], best}
    if keep_every > 0:
        passed = [step // keep_every for step in steps]
        keep |= {s for i, s in enumerate(steps) if i == 0 or passed[i] > passed[i - 1]}
    deleted = [step for step in steps if step not in keep]
    for step in deleted:
        remove(Path(run_directory) / "checkpoints" / str(step))
    return deleted


# ---- writing ------------------------------------------------------------------------------------


def _write_folder(path: Path, tensors: Tensors, state: Mapping[str, Any], step: int) -> Path:
    text = _dump_state(state)
    try:
        arrays, dtypes = as_arrays(tensors)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path.parent, path.name)
    try:
        temporary.mkdir()
        files = {
            TENSORS: _write(temporary / TENSORS, tensor_chunks(arrays)),
            STATE: _write(temporary / STATE, [text]),
        }
        manifest = {"format": FORMAT, "step": step, "files": files, "dtypes": dtypes}
        _write(temporary / MANIFEST, [dump_manifest(manifest)])
        sync_folder(temporary)
        publish_folder(temporary, path)
    except BaseException:
        remove(temporary)
        raise
    return path


def _write(path: Path, chunks: Iterable[bytes | memoryview]) -> dict[str, Any]:
    """Write chunks to a new file, force it to the disk, and return its size and hash."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        sync_file(file)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _dump_state(state: Mapping[str, Any]) -> bytes:
    _check_plain(state, "state")
    text = json.dumps(state, allow_nan=False).encode()
    if len(text) > STATE_LIMIT:
        raise CheckpointError(f"state takes {len(text)} bytes; put arrays into tensors")
    return text


def _check_plain(value: Any, name: str) -> None:
    """Refuse what JSON would change or lose, naming the key (``state.optimizer[0].lr``)."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                raise CheckpointError(f"{name} has a key that is no string: {key!r}")
            _check_plain(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{name}[{index}]")
    elif type(value) is float:
        if not np.isfinite(value):
            raise CheckpointError(f"{name} is {value}; a checkpoint holds finite numbers")
    elif value is not None and type(value) not in (str, int, bool):
        kind = type(value).__name__
        raise CheckpointError(f"{name} is a {kind}; put arrays into tensors, the rest as JSON")


# ---- reading ------------------------------------------------------------------------------------


def _read_file(path: Path, name: str, manifest: dict[str, Any], limit: int | None) -> bytes:
    entry = manifest["files"][name]
    content = read_plain(path / name, limit, entry["bytes"])
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise CheckpointError(f"{path / name}: damaged (its SHA-256 is not the manifest's)")
    return content
