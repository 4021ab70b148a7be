"""The manifest of a checkpoint, and reading files that may be damaged or hostile.

The manifest lists the files with size and SHA-256, the format version and its own SHA-256. It is
whole if its bytes are exactly what writing its content gives: so a flipped bit cannot hide in
spaces or in the case of a letter either.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

FORMAT = 1
TENSORS, STATE, MANIFEST = "tensors.safetensors", "state.json", "manifest.json"
MANIFEST_LIMIT = 2**22  # bytes
_KEYS = {"format", "step", "files", "dtypes", "sha256"}


class CheckpointError(Exception):
    """A checkpoint cannot be written or read; the message names it and says why."""


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False).encode()


def dump_manifest(manifest: dict[str, Any]) -> bytes:
    """Return the bytes of a manifest, its own SHA-256 added."""
    own = hashlib.sha256(_canonical(manifest)).hexdigest()
    return _canonical({**manifest, "sha256": own})


def _open_plain(path: Path) -> BinaryIO:
    """Open a regular file; links, pipes and devices are refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CheckpointError(f"{path}: is not a plain file")
    return os.fdopen(descriptor, "rb")


def read_plain(path: Path, limit: int | None, size: int | None = None) -> bytes:
    """Read a whole file whose size is known (``size``) or bounded (``limit``)."""
    with _open_plain(path) as file:
        actual = os.fstat(file.fileno()).st_size
        if size is not None and actual != size:
            raise CheckpointError(f"{path}: has {actual} bytes instead of {size}")
        if limit is not None and actual > limit:
            raise CheckpointError(f"{path}: {actual} bytes are more than the {limit} allowed")
        try:
            return file.read(actual)
        except (OSError, MemoryError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error})") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


def parse_json(path: Path, content: bytes) -> Any:
    """Parse strict JSON: no NaN, no infinity, no more depth than Python can take.

    Raises:
        CheckpointError: names ``path``.
    """
    try:
        return json.loads(content, parse_constant=_no_constant)
    except (ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{path}: not plain JSON ({error})") from error


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest: its own hash, its version, and that it lists exactly the two files."""
    if path.is_symlink():
        raise CheckpointError(f"{path}: is a link, not a folder")
    content = read_plain(path / MANIFEST, MANIFEST_LIMIT)
    manifest = parse_json(path / MANIFEST, content)
    if not isinstance(manifest, dict):
        raise CheckpointError(f"{path / MANIFEST}: not a JSON object")
    version = manifest.get("format")
    if type(version) is int and version > FORMAT:
        raise CheckpointError(
            f"{path / MANIFEST}: format {version} is later than {FORMAT}; update daedalus"
        )
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    try:
        whole = content == dump_manifest(body)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path / MANIFEST}: not plain JSON ({error})") from error
    if not whole:
        raise CheckpointError(f"{path / MANIFEST}: damaged (its own SHA-256 is wrong)")
    _check_manifest(path / MANIFEST, manifest)
    return manifest


def _check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    files, step = manifest.get("files", {}), manifest.get("step")
    right = set(manifest) == _KEYS and manifest["format"] == FORMAT
    right = right and type(step) is int and 0 <= step < 10**18
    right = right and isinstance(manifest["dtypes"], dict)
    right = right and isinstance(files, dict) and set(files) == {TENSORS, STATE}
    if not right:
        raise CheckpointError(f"{path}: must list exactly {TENSORS} and {STATE}")
    for name, entry in files.items():
        if not isinstance(entry, dict) or set(entry) != {"bytes", "sha256"}:
            raise CheckpointError(f"{path}: {name} has no size and SHA-256")
