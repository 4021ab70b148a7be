"""One owner per run directory, named; the lock of a dead owner is taken over."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path
from typing import Any

LOCK = "lock"


class RunLockedError(RuntimeError):
    """Another process owns the run directory; the message says which."""


class RunLock:
    """An exclusive lock on a folder, held until ``release`` or the end of the process.

    The kernel's ``flock`` on the file ``lock`` decides, so the lock of a killed owner is free at
    once; the file's content (host, pid, start and boot of the owner) is only for people. Forked
    children close their copy, so a worker that outlives its trainer does not hold the run.

    Attributes:
        taken_over: who died holding the lock before, or ''.
    """

    def __init__(self, folder: str | Path) -> None:
        """Take the lock.

        Raises:
            RunLockedError: another process has it.
        """
        self.path = Path(folder) / LOCK
        self._descriptor = self._open()
        previous = _owner(self._read())
        self.taken_over = previous
        owner = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "boot": _boot(),
        }
        # A full disk must not stop the run: the lock holds without its text.
        with contextlib.suppress(OSError):
            self._write(json.dumps(owner).encode())
        _held.add(self)

    def _open(self) -> int:
        # O_EXCL where the file is new; both kinds then compete for the same flock.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.path, flags | os.O_EXCL, 0o644)
        except FileExistsError:
            descriptor = os.open(self.path, flags, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _owner(_wait_for_text(descriptor)) or "a process that is just starting"
            os.close(descriptor)
            raise RunLockedError(
                f"{self.path.parent} is in use by {owner}; stop it or choose another run directory"
            ) from None
        return descriptor

    def _read(self) -> bytes:
        return os.pread(self._descriptor, 4096, 0)

    def _write(self, text: bytes) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def release(self) -> None:
        """Give the lock back; the file stays, empty, so that nobody locks a deleted one."""
        if self._descriptor < 0:
            return
        with contextlib.suppress(OSError):
            self._write(b"")
        self._close()

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        _held.discard(self)


_held: weakref.WeakSet[RunLock] = weakref.WeakSet()


def _close_in_child() -> None:
    for lock in list(_held):
        lock._close()


os.register_at_fork(after_in_child=_close_in_child)


def _wait_for_text(descriptor: int) -> bytes:
    """Read the owner's text; a new owner may not have replaced that of a dead one yet."""
    text = b""
    for _ in range(100):
        text = os.pread(descriptor, 4096, 0)
        if text and not _is_dead(text):
            break
        time.sleep(0.002)
    return text


def _is_dead(text: bytes) -> bool:
    """Whether the text names a process of this machine and boot that is no more."""
    try:
        owner = json.loads(text)
        here = (owner["host"], owner["boot"]) == (socket.gethostname(), _boot())
        return here and not Path(f"/proc/{owner['pid']}").exists()
    except (ValueError, TypeError, KeyError):
        return True


def _owner(text: bytes) -> str:
    """Return the owner in words; '' if the file is empty or unreadable."""
    try:
        owner: dict[str, Any] = json.loads(text)
        return f"process {owner['pid']} on {owner['host']}, started {owner['started']}"
    except (ValueError, TypeError, KeyError):
        return ""


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
