"""HTTP/1.1 with a deadline: uvicorn's own reader waits for the end of a request for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from daedalus.envs.web.browser.server import REQUEST_SECONDS


class Strict(H11Protocol):
    """Closes a connection whose request is not complete in time."""

    _deadline: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock."""
        super().connection_made(transport)
        self._restart()

    def on_response_complete(self) -> None:
        """Give the next request its time."""
        super().on_response_complete()
        self._restart()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        if self._deadline is not None:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _restart(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(REQUEST_SECONDS, self._expire)

    def _expire(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
