"""What commands put out: standard streams whose reader may leave, and files that are checked first.

A reader such as ``head`` that has seen enough, or a terminal that is closed, ends no training: the
work goes on and its words go nowhere.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

_GONE = (errno.EPIPE, errno.EIO)
"""What writing says when nobody reads any more: a closed pipe, a terminal that hung up."""


class _Stream(io.FileIO):
    """A standard stream that swallows what nobody reads any more."""

    def write(self, content: Any) -> Any:
        """Write, or do as if."""
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in _GONE:
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
        io.BufferedWriter(_Stream(stream.fileno(), "w", closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or stream.write_through,
    )
