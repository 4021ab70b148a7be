"""What commands put out: standard streams whose reader may leave, and files that are checked first.

A reader such as ``head`` that has seen enough, or a terminal that is closed, ends no training: the
work goes on and its words go nowhere.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daedalus.accelerators.files import temporary_name, write_file


class _Stream(io.FileIO):
    """A standard stream that swallows what nobody reads any more: of a pipe, or a terminal."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._terminal = os.isatty(descriptor)

    def write(self, content: Any) -> Any:
        """Write, or do as if."""
        try:
            return super().write(content)
        except OSError as error:
            hung_up = error.errno == errno.EIO and self._terminal
            if error.errno != errno.EPIPE and not hung_up:
                raise
            return memoryview(content).nbytes


def outlive_readers() -> None:
    """Let standard output and standard error of this process go on without a reader."""
    sys.stdout = _unbroken(sys.stdout)
    sys.stderr = _unbroken(sys.stderr)


def _unbroken(stream: Any) -> Any:
    if stream is None:  # closed from the beginning
        return open(os.devnull, "w", encoding="utf-8")
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(stream.fileno())),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )


def check_output(path: str | Path | None) -> None:
    """See that a file can be written, before the work that fills it; what is there stays.

    Args:
        path: The file; its folder is made. None or "" is no file.

    Raises:
        OSError: It cannot; names the file.
    """
    if not path:
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _naming(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder; name a file in it")
        if not _is_special(path):
            target = path.resolve()
            trial = temporary_name(target.parent, target.name)
            trial.touch()
            trial.unlink()


def write_output(path: str | Path, text: str) -> None:
    """Write a file in one step: the old content stays until the new one is whole.

    Raises:
        OSError: The disk is full or not writable; names the file.
    """
    path = Path(path)
    with _naming(path):
        if _is_special(path):
            path.write_text(text, encoding="utf-8")
        else:
            write_file(path.resolve(), text.encode())


def _is_special(path: Path) -> bool:
    """Whether it is a device or a pipe, such as /dev/stdout, which is not replaced."""
    return path.exists() and not path.is_file()


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
