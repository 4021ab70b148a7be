"""The form server: pages to the browser, requests from it; on loopback, and strict.

Every page has a path with a token that nobody can guess, answers come from a table in memory, and
what is not a well-formed request of a page of ours is refused: 4xx, or the connection is closed.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from daedalus.envs.web.browser.pages import page_html, read_text
from daedalus.envs.web.model import Instance
from daedalus.scenarios.extras import needed

HOST = "127.0.0.1"
HEADER_BYTES, BODY_BYTES = 8192, 65536
"""Bytes of a request's head and body at most."""
REQUEST_SECONDS = 5.0
"""A connection that has not sent its request by then is closed."""
CONNECTIONS = 64
POLICY = (
    "default-src 'self'; style-src 'self' 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'self'; object-src 'none'"
)


class Site:
    """A page that is being served, and what came back."""

    def __init__(self, instance: Instance | None, root: str) -> None:
        """Serve nothing yet."""
        self.root, self.nonce = root, secrets.token_urlsafe(16)
        self.extra: dict[str, str] = {}  # further documents by name, for tests
        self.requests: list[dict[str, str]] = []
        self.left, self.person = False, False
        self.show(instance)

    def show(self, instance: Instance | None) -> None:
        """Serve another instance and forget what came back."""
        self.instance = instance
        self.requests, self.left = [], False
        self.events: bytes | None = None  # what a person did, as JSON

    def document(self, name: str) -> tuple[str, str] | None:
        """Return (content, type) of a document, or None."""
        if self.instance is None or name in self.extra:
            return (self.extra[name], "text/html") if name in self.extra else None
        made: dict[str, tuple[Callable[[], str], str]] = {
            "page": (self._page, "text/html"),
            "page.css": (lambda: read_text("page.css"), "text/css"),
            "page.js": (lambda: read_text("page.js"), "text/javascript"),
            "clear": (lambda: "<!doctype html><title>clear</title>", "text/html"),
            "left": (lambda: "<!doctype html><title>left</title>", "text/html"),
        }
        if name == "left":
            self.left = True
        return (made[name][0](), made[name][1]) if name in made else None

    def _page(self) -> str:
        assert self.instance is not None
        return page_html(self.instance, self.root, self.nonce, self.person)


def form_values(body: bytes) -> dict[str, str]:
    """Read the body of a form's POST, without empty values.

    Raises:
        ValueError: It is not one, or has more than 100 fields.
    """
    text = body.decode("ascii")
    pairs = urllib.parse.parse_qsl(
        text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=100
    )
    return {name: value for name, value in pairs if value}


class FormServer:
    """Serves any number of sites from a thread."""

    def __init__(self) -> None:
        """Listen on a free port of the loopback interface.

        Raises:
            MissingExtraError: starlette or uvicorn is not installed.
            OSError: The server did not start.
        """
        with needed(extra="web"):
            import uvicorn
            from starlette.applications import Starlette
            from starlette.middleware import Middleware
            from starlette.routing import Route

            from daedalus.envs.web.browser.protocol import Strict
        self.sites: dict[str, Site] = {}
        # named, because asyncio turns Nagle's algorithm off only then; it costs 40 ms an answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind((HOST, 0))
        self.port = int(self._socket.getsockname()[1])
        self.origin = f"http://{HOST}:{self.port}"
        routes = [
            Route("/{token}/submit", self._submit, methods=["POST"]),
            Route("/{token}/events", self._events, methods=["POST"]),
            Route("/{token}/{name}", self._get, methods=["GET"]),
        ]
        guard = Middleware(_Guard, origin=self.origin)
        config = uvicorn.Config(
            Starlette(routes=routes, middleware=[guard]),
            http=Strict,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            log_level="critical",  # strangers' requests are no news
            server_header=False,
            h11_max_incomplete_event_size=HEADER_BYTES,
            limit_concurrency=CONNECTIONS,
            backlog=128,
        )
        self._server = uvicorn.Server(config)
        run = {"sockets": [self._socket]}
        self._thread = threading.Thread(target=self._server.run, kwargs=run, daemon=True)
        self._thread.start()
        self._wait()

    def _wait(self) -> None:
        end = time.monotonic() + 10.0
        while not self._server.started:
            if time.monotonic() > end or not self._thread.is_alive():
                raise OSError(f"the form server did not start on {self.origin}")
            time.sleep(0.005)

    def open(self, instance: Instance | None = None) -> Site:
        """Serve an instance under a new address."""
        token = secrets.token_urlsafe(16)
        self.sites[token] = site = Site(instance, f"/{token}")
        return site

    def close_site(self, site: Site) -> None:
        """Serve a site no more."""
        self.sites.pop(site.root[1:], None)

    def close(self) -> None:
        """End the thread."""
        self._server.should_exit = True
        self._thread.join(5.0)
        self._socket.close()

    async def _get(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse, Response

        site = self.sites.get(request.path_params["token"])
        found = site.document(request.path_params["name"]) if site else None
        if found is None:
            return PlainTextResponse("not found", 404)
        static = request.path_params["name"] in ("page.js", "page.css")  # the same for all episodes
        keep = "max-age=3600" if static else "no-store"
        policy = POLICY.format(nonce=site.nonce if site else "")
        headers = {"Content-Security-Policy": policy, "Cache-Control": keep}
        if request.path_params["name"] == "clear":
            headers["Clear-Site-Data"] = '"cookies", "storage"'
        return Response(found[0], media_type=found[1], headers=headers)

    async def _submit(self, request: Any) -> Any:
        from starlette.responses import HTMLResponse, PlainTextResponse

        site = self.sites.get(request.path_params["token"])
        kind = request.headers.get("content-type", "").partition(";")[0]
        if site is None or kind != "application/x-www-form-urlencoded":
            return PlainTextResponse("not found" if site is None else "not a form", 404)
        body = await _body(request)
        if body is None:
            return PlainTextResponse("too large", 413, headers={"Connection": "close"})
        try:
            site.requests.append(form_values(body))
        except (ValueError, UnicodeDecodeError):
            return PlainTextResponse("not a form", 400)
        return HTMLResponse("<!doctype html><title>thank you</title>")

    async def _events(self, request: Any) -> Any:
        from starlette.responses import PlainTextResponse

        site = self.sites.get(request.path_params["token"])
        if site is None or not site.person:
            return PlainTextResponse("not found", 404)
        site.events = await _body(request) or b""
        return PlainTextResponse("thank you")


async def _body(request: Any) -> bytes | None:
    """Return the body of a request, or None where it is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            return None
    return body


class _Guard:
    """Refuses requests that no page of ours makes, before anything else sees them."""

    def __init__(self, app: Any, origin: str) -> None:
        self.app, self.origin = app, origin.encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it."""
        from starlette.responses import PlainTextResponse

        problem = self._problem(scope) if scope["type"] == "http" else "not HTTP"
        if problem:
            answer = PlainTextResponse(problem, 400, headers={"Connection": "close"})
            await answer(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _problem(self, scope: Any) -> str:
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEADER_BYTES:
            return "too large"
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name, []).append(value)
        if headers.get(b"host") != [self.origin.partition(b"//")[2]]:
            return "wrong host"
        if scope["method"] == "POST" and headers.get(b"origin") != [self.origin]:
            return "wrong origin"
        if b"transfer-encoding" in headers or len(headers.get(b"content-length", [])) > 1:
            return "say the length of the body, once"
        length = headers.get(b"content-length", [b"0"])[0]
        if not length.isdigit() or int(length) > BODY_BYTES:
            return "too large"
        raw = scope.get("raw_path", b"")
        return "strange path" if b".." in raw or b"%" in raw or b"\\" in raw else ""
