"""Files that are either wholly there or not there at all, also after a kill or a power cut.

A file or folder is written under a temporary name, forced to the disk, and renamed; then the
folder that holds the name is forced to the disk too. Names that start with ``.tmp-`` and
``.trash-`` are leftovers of a killed writer and may be swept by whoever owns the folder.
"""

from __future__ import annotations

import ctypes
import errno
import os
import secrets
import shutil
from pathlib import Path
from typing import BinaryIO

TEMPORARY, TRASH = ".tmp-", ".trash-"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def temporary_name(folder: Path, name: str, prefix: str = TEMPORARY) -> Path:
    """Return a path in ``folder`` that no other process uses."""
    return folder / f"{prefix}{name}-{os.getpid()}-{secrets.token_hex(4)}"


def sync_file(file: BinaryIO) -> None:
    """Force the content of an open file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: bytes) -> None:
    """Write a file in one step: readers see the old content or the new, never a part.

    Raises:
        OSError: the disk is full or not writable; the old content is untouched.
    """
    temporary = temporary_name(path.parent, path.name)
    try:
        with temporary.open("xb") as file:
            file.write(content)
            sync_file(file)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    paths = os.fsencode(first), os.fsencode(second)
    if renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(second))


def publish_folder(temporary: Path, target: Path) -> None:
    """Give a finished temporary folder its final name, replacing what is there.

    The swap with an existing folder is one step (``renameat2`` with ``RENAME_EXCHANGE``). Where
    that is not available it takes two renames, and a kill between them leaves the old folder
    under a ``.trash-`` name.
    """
    if target.exists() or target.is_symlink():
        old = temporary
        if not _exchange(temporary, target):
            old = temporary_name(target.parent, target.name, TRASH)
            target.rename(old)
            temporary.rename(target)
        sync_folder(target.parent)
        remove(old)
    else:
        temporary.rename(target)
        sync_folder(target.parent)


def remove(path: Path) -> None:
    """Delete a folder, or the file or link that stands in its place.

    The name goes first, in one step, so that a kill leaves a ``.trash-`` folder and never half
    of something that looks whole.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    trash = path
    if not path.name.startswith((TEMPORARY, TRASH)):
        trash = temporary_name(path.parent, path.name, TRASH)
        path.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def sweep(folder: Path) -> list[str]:
    """Remove what killed writers left in ``folder``; the caller holds the run's lock.

    Returns:
        The names that were removed.
    """
    if not folder.is_dir():
        return []
    names = [p.name for p in folder.iterdir() if p.name.startswith((TEMPORARY, TRASH))]
    for name in names:
        remove(folder / name)
    return names
