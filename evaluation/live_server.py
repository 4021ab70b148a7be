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
import threading
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from daedalus.evaluation.drawing import PICTURES, Stage, to_svg
from daedalus.evaluation.live import CONTROLS, LARGEST_SEED, REST, Session
from daedalus.evaluation.panels import Pictures
from daedalus.evaluation.rollout import Moment
from daedalus.scenarios.extras import needed

with needed(extra="watch"):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route, WebSocketRoute
    from starlette.websockets import WebSocket, WebSocketDisconnect

SHOWN = 15.0
"""Moments in a second that are drawn at most; the session may go on faster."""
IDLE = 0.05
"""Seconds between two looks at a session that stands still."""
MESSAGE = 4096
"""Bytes of a viewer's message at most."""
VIEWERS = 100
TOKEN = 16
"""Characters of a token at least."""


class Show:
    """A session that goes on in a thread while somebody looks, and its latest moment as text.

    Attributes:
        session: What is shown; only the thread touches it once it runs.
        text: The latest moment as JSON.
        viewers: One event for each, set when there is a new text.
        loop: Where the events are.
    """

    def __init__(self, session: Session, action_names: Mapping[Any, str]) -> None:
        """Show ``session``."""
        self.session, self.text = session, ""
        self.viewers: set[asyncio.Event] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self._stages = [Stage(source.title, action_names) for source in session.sources]
        self._commands: deque[tuple[str, Any]] = deque(maxlen=1000)
        self._closing, self._asked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Show:
        """Start."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._closing.set()
        self._asked.set()
        self._thread.join(10)

    def ask(self, name: str, value: Any = None) -> None:
        """Leave a command for the session; see `Session.check`.

        Raises:
            ValueError: There is no such command, or the value does not suit it.
        """
        Session.check(name, value)
        self._commands.append((name, value))
        self._asked.set()

    def _run(self) -> None:
        try:
            self._remember()
            self._draw()
            self._go_on()
        except Exception as error:
            traceback.print_exc()
            self._publish({"error": f"{type(error).__name__}: {error}"})

    def _go_on(self) -> None:
        session, due, drawn = self.session, time.monotonic(), 0.0
        while not self._closing.is_set():
            stale = self._obey()
            now = time.monotonic()
            if self.viewers and now >= due and session.advance():
                self._remember()
                due = max(due + session.interval, now - 1.0) + REST * session.rests
                stale = stale or session.rests or now >= drawn + 1.0 / SHOWN or session.paused
            if stale:
                drawn = now
                self._draw()
            if session.paused or not self.viewers:
                due = time.monotonic()
            self._asked.wait(min(max(due - time.monotonic(), 0.0), IDLE) or 0.001)

    def _obey(self) -> bool:
        """Do what viewers asked for; tell whether there was anything."""
        self._asked.clear()
        asked, before = bool(self._commands), self.session.moments
        while self._commands:
            self.session.command(*self._commands.popleft())
        if self.session.moments is not before:  # another episode
            self._remember()
        return asked

    def _remember(self) -> None:
        for stage, moment in zip(self._stages, self.session.moments, strict=True):
            stage.remember(moment)

    def _draw(self) -> None:
        session = self.session
        parts = zip(self._stages, session.sources, session.moments, strict=True)
        facts = {
            "seed": session.seed,
            "speed": session.speed,
            "paused": session.paused,
            "playing": session.takes_over,
            "viewers": len(self.viewers),
        }
        self._publish({"stages": [_described(*part) for part in parts], **facts})

    def _publish(self, message: Mapping[str, Any]) -> None:
        self.text = json.dumps(message)
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self.viewers:
            event.set()


def _described(stage: Stage, source: Any, moment: Moment) -> dict[str, Any]:
    panels = stage.panels(moment)
    return {
        "title": source.title,
        "status": stage.status(moment),
        "reward": moment.reward,
        "panels": {name: to_svg(panel) for name, panel in panels.items()},
        "aspects": {
            n: p.aspect for n, p in panels.items() if n in PICTURES and isinstance(p, Pictures)
        },
    }


# --------------------------------------------------------------------------------------- serving

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


def check_address(host: str, token: str | None) -> None:
    """Check that a server may listen at ``host``.

    Raises:
        ValueError: Others could reach it, and there is no token or one that is too short.
    """
    if token is not None and len(token) < TOKEN:
        raise ValueError(f"a token has {TOKEN} characters or more; `--token new` makes one")
    if not is_loopback(host) and token is None:
        raise ValueError(
            f"at {host} others can reach the page: add a token (`--token new` makes one)"
        )


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
        ValueError: ``host`` needs a token.
        OSError: The port is taken.
    """
    check_address(host, token)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family, backlog=128) as listener:
        port = listener.getsockname()[1]
        names = [f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")]
        app = make_app(show, frozenset(names) if is_loopback(host) else None, token)
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
