"""The live page: one session for all who look at it, over WebSockets, on loopback by default.

The session goes on in a thread of its own, and only while somebody looks. A moment is turned into
text once, whoever many look; a viewer that is slow misses moments, and delays nobody. Requests
under a foreign host name or from a foreign page are refused (DNS rebinding, cross-site WebSockets);
beyond loopback a token is needed. The page loads nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import json
import secrets
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from daedalus.evaluation.live import CONTROLS, LARGEST_SEED
from daedalus.evaluation.live_show import Show
from daedalus.scenarios.extras import needed, require

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

MESSAGE = 4096
"""Bytes of a viewer's message at most."""
VIEWERS = 100
TOKEN = 16
"""Characters of a token at least."""
LAST_PORT = 2**16 - 1


Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[Any]]


class Guard:
    """Refuses requests that do not come from the page itself, or lack the token."""

    def __init__(self, app: Any, names: frozenset[str] | None, token: str | None) -> None:
        """Guard ``app``.

        Args:
            app: What is served.
            names: Values of the Host header to answer to; None for all.
            token: Needed in the address, if given.
        """
        self._app, self._names, self._token = app, names, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse with 403."""
        if scope["type"] == "lifespan" or self._allows(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            from starlette.responses import Response

            refused = Response("refused: wrong host, origin or token", 403, media_type="text/plain")
            await refused(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts = [value.decode("latin-1").lower() for value in headers.get(b"host", [])]
        if len(hosts) != 1 or (self._names is not None and hosts[0] not in self._names):
            return False
        origins = [value.decode("latin-1").lower() for value in headers.get(b"origin", [])]
        if any(urlsplit(origin).netloc != hosts[0] for origin in origins):
            return False
        if scope["type"] == "websocket" and not origins:
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        return self._token is None or hmac.compare_digest(given.encode(), self._token.encode())


def make_app(show: Show, names: frozenset[str] | None, token: str | None = None) -> Any:
    """Return the application that serves a show.

    Args:
        show: What is to be seen.
        names: Values of the Host header to answer to; None for all.
        token: Needed in the address, if given.
    """
    with needed(extra="watch"):
        from starlette.applications import Starlette
        from starlette.responses import Response
        from starlette.routing import Route, WebSocketRoute
    page = (Path(__file__).parent / "live.html").read_text(encoding="utf-8")
    keys = show.session.keyboard.keys if show.session.keyboard is not None else {}
    facts = {
        "controls": CONTROLS,
        "keys": [key for key in keys if key],
        "canPlay": show.session.can_play,
        "plays": show.session.plays,
        "largestSeed": LARGEST_SEED,
    }
    page = page.replace("FACTS", json.dumps(facts).replace("<", "\\u003c"))

    async def home(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
            "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
            "frame-ancestors 'none'"
        )
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }
        return Response(page.replace("NONCE", nonce), headers=headers, media_type="text/html")

    async def live(viewer: WebSocket) -> None:
        await _serve_viewer(show, viewer)

    routes = [Route("/", home), WebSocketRoute("/live", live)]
    return Guard(Starlette(routes=routes), names, token)


async def _serve_viewer(show: Show, viewer: WebSocket) -> None:
    from starlette.websockets import WebSocketDisconnect

    if len(show.viewers) >= VIEWERS:
        await viewer.close(1013)
        return
    await viewer.accept()
    changed = asyncio.Event()
    changed.set()
    show.loop = asyncio.get_running_loop()
    show.viewers.add(changed)
    sending = asyncio.create_task(_send(show, viewer, changed))
    try:
        while True:
            message = json.loads(await viewer.receive_text())
            show.ask(message["command"], message.get("value"))
    except WebSocketDisconnect:
        pass
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        await viewer.close(1008)
    finally:
        show.viewers.discard(changed)
        sending.cancel()
        show.ask("held", [])


async def _send(show: Show, viewer: WebSocket, changed: asyncio.Event) -> None:
    """Send the latest text whenever there is one that the viewer has not seen."""
    from starlette.websockets import WebSocketDisconnect

    with contextlib.suppress(WebSocketDisconnect, RuntimeError, OSError):
        while True:
            await changed.wait()
            changed.clear()
            await viewer.send_text(show.text)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server there."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(host: str, token: str | None, port: int = 0) -> None:
    """Check that a server may listen at ``host`` and ``port``.

    Raises:
        ValueError: Others could reach it, and there is no token or one that is too short; or there
            is no such port.
    """
    if not 0 <= port <= LAST_PORT:
        raise ValueError(f"a port is a number from 0 to {LAST_PORT}, got {port}")
    if token is not None and len(token) < TOKEN:
        raise ValueError(f"a token has {TOKEN} characters or more; `--token new` makes one")
    if not is_loopback(host) and token is None:
        raise ValueError(
            f"at {host} others can reach the page: add a token (`--token new` makes one)"
        )


def host_names(host: str, port: int) -> frozenset[str] | None:
    """Return the values of the Host header of requests to a server, None for all beyond loopback.

    Browsers leave the port out where it is 80.
    """
    if not is_loopback(host):
        return None
    own = f"[{host}]" if ":" in host else host
    names = {"127.0.0.1", "localhost", "[::1]", own.lower()}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))


def serve(
    show: Show,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    ready: Callable[[str], object] = print,
) -> None:
    """Serve a show until Ctrl-C.

    Args:
        show: What is to be seen.
        host: Address to listen at; anything but loopback needs a token.
        port: Port; 0 takes a free one.
        token: Needed in the page's address, if given.
        ready: Called with the page's address.

    Raises:
        ValueError: ``host`` needs a token, or there is no such port.
        MissingExtraError: The packages of the extra ``watch`` are not installed.
        OSError: The port is taken.
    """
    check_address(host, token, port)
    uvicorn = require("uvicorn", extra="watch")
    require("websockets", extra="watch")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=128) as listener:
        port = listener.getsockname()[1]
        app = make_app(show, host_names(host, port), token)
        config = uvicorn.Config(
            app,
            log_level="warning",
            ws_max_size=MESSAGE,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=2**14,
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        query = f"/?token={token}" if token else "/"
        with show:
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}{query}")
            uvicorn.Server(config).run(sockets=[listener])
