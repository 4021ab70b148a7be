"""Ctrl-C and SIGTERM as a wish to stop at a good moment; a second one exits at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """Training was stopped by a signal after everything was saved.

    Not caught, it ends the process with 130 (Ctrl-C) or 143 (SIGTERM), as shells expect.
    """

    def __init__(self, signum: int) -> None:
        """Stop because of ``signum``."""
        super().__init__(128 + signum)
        self.signum = signum


class StopSignal:
    """While entered, the first SIGINT or SIGTERM is kept in ``signum``; the second exits at once.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        """Have no signal yet."""
        self.signum: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the handlers."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the old handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:
            os._exit(128 + signum)
        self.signum = signum
        with contextlib.suppress(OSError):  # os.write: printing is not safe in a handler
            os.write(2, b"\nstopping after this update, then saving; once more to exit at once\n")
