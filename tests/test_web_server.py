"""The form server against requests that no page of ours sends: 4xx or a closed door, never 5xx."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from browser_tools import MISSING
from hypothesis import given, settings
from hypothesis import strategies as st

from daedalus.envs.web.browser import server as module
from daedalus.envs.web.browser.server import FormServer, Site, form_values
from daedalus.envs.web.model import draw_instance
from daedalus.envs.web.tasks import load_tasks

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}: daedalus[web]")
load_tasks()


@pytest.fixture(scope="module")
def server() -> Iterator[FormServer]:
    made = FormServer()
    yield made
    made.close()


@pytest.fixture
def site(server: FormServer) -> Iterator[Site]:
    made = server.open(draw_instance("login-user", 0))
    yield made
    server.close_site(made)


def send(server: FormServer, raw: bytes, timeout: float = 8.0) -> bytes:
    """Send bytes and return what comes back before the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout) as connection:
        answer = b""
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(65536):
                answer += part
        except OSError:  # closed in our face
            pass
        return answer


def status(answer: bytes) -> int:
    """Return the status of an answer, 0 for a closed connection."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def request(server: FormServer, line: str, *headers: str, body: bytes = b"") -> bytes:
    """Return a request with the right host and origin, and more headers."""
    own = (f"Host: 127.0.0.1:{server.port}", "Connection: close")
    return "\r\n".join([f"{line} HTTP/1.1", *own, *headers, "", ""]).encode() + body


FORM = "Content-Type: application/x-www-form-urlencoded"


def post(server: FormServer, site: Site, body: bytes, *headers: str) -> bytes:
    more = (f"Origin: {server.origin}", FORM, f"Content-Length: {len(body)}", *headers)
    return request(server, f"POST {site.root}/submit", *more, body=body)


def test_a_page_and_its_request(server: FormServer, site: Site) -> None:
    page = send(server, request(server, f"GET {site.root}/page"))
    assert status(page) == 200
    assert b"default-src 'self'" in page
    assert site.instance is not None
    for value in site.instance.request.values():  # what is wanted stands in the utterance alone
        assert page.count(f'value="{value}"'.encode()) == 0
    assert status(send(server, post(server, site, b"username=ana&password=x+y&empty="))) == 200
    assert site.requests == [{"username": "ana", "password": "x y"}]


def hostile_requests(server: FormServer, site: Site) -> dict[str, bytes]:
    """Return what no page of ours sends, by name."""
    root, host = site.root, f"Host: 127.0.0.1:{server.port}\r\n".encode()
    get, origin = f"GET {root}/page", f"Origin: {server.origin}"
    line = f"POST {root}/submit"
    return {
        "another host": get.encode() + b" HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "no host": get.encode() + b" HTTP/1.1\r\n\r\n",
        "two hosts": get.encode() + b" HTTP/1.1\r\n" + host + b"Host: evil.example\r\n\r\n",
        "old host": request(server, get).replace(b"127.0.0.1:", b"localhost:"),
        "no token": request(server, "GET /page"),
        "wrong token": request(server, "GET /AAAAAAAAAAAAAAAAAAAAAA/page"),
        "unknown name": request(server, f"GET {root}/passwd"),
        "dots": request(server, f"GET {root}/../../etc/passwd"),
        "escaped dots": request(server, f"GET {root}/%2e%2e%2fetc/passwd"),
        "backslash": request(server, f"GET {root}/..\\page"),
        "absolute": request(server, "GET file:///etc/passwd"),
        "root": request(server, "GET /"),
        "put": request(server, f"PUT {root}/page"),
        "delete": request(server, f"DELETE {root}/page"),
        "options": request(server, f"OPTIONS {root}/submit"),
        "connect": request(server, "CONNECT 127.0.0.1:22"),
        "trace": request(server, f"TRACE {root}/page"),
        "cross-origin": request(server, line, "Origin: http://evil.example", FORM),
        "no origin": request(server, line, FORM, "Content-Length: 0"),
        "null origin": request(server, line, "Origin: null", FORM, "Content-Length: 0"),
        "json": request(server, line, origin, "Content-Type: application/json"),
        "two lengths": post(server, site, b"a=1", "Content-Length: 4"),
        "both lengths": post(server, site, b"a=1", "Transfer-Encoding: chunked"),
        "chunked": request(server, line, origin, FORM, "Transfer-Encoding: chunked"),
        "negative length": request(server, line, origin, FORM, "Content-Length: -1"),
        "odd length": request(server, line, origin, FORM, "Content-Length: 0x10"),
        "large body": post(server, site, b"a=" + b"x" * 70_000),
        "large header": request(server, get, "X: " + "a" * 1_000_000),
        "many headers": request(server, get, *(f"X{k}: {k}" for k in range(5000))),
        "long path": request(server, "GET /" + "a" * 100_000),
        "not a form": post(server, site, b"\xff\xfe=\x00"),
        "bad escape": post(server, site, b"&&&=&;"),
        "many fields": post(server, site, b"&".join(b"a%d=1" % k for k in range(200))),
        "another protocol": b"\x16\x03\x01\x02\x00\x01\x00",
        "http 0.9": f"GET {root}/page\r\n\r\n".encode(),
        "folded header": request(server, get, "X: a\r\n b: c\r\n\td"),
        "nul": request(server, f"GET {root}/page\x00"),
    }


def answered_wrongly(server: FormServer, site: Site) -> dict[str, bytes]:
    """Send all hostile requests; return those that were not refused, with what came back."""
    wrong = {}
    for name, raw in hostile_requests(server, site).items():
        answer = send(server, raw)
        code = status(answer)
        served = code == 200 and name != "folded header"
        if served or code >= 500 or b"root:" in answer:
            wrong[name] = answer[:80]
    return wrong


def test_hostile_requests_are_refused(server: FormServer, site: Site) -> None:
    assert answered_wrongly(server, site) == {}
    assert site.requests == []
    assert status(send(server, request(server, f"GET {site.root}/page"))) == 200  # still there


def test_a_slow_request_is_closed(
    server: FormServer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daedalus.envs.web.browser import protocol

    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.3)
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        connection.sendall(f"GET {site.root}/page HTTP/1.1\r\nHo".encode())
        assert connection.recv(100) == b""
    assert time.monotonic() - began < 3.0


def test_many_connections_do_not_bring_it_down(server: FormServer, site: Site) -> None:
    idle = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(150)]
    try:
        assert status(send(server, request(server, f"GET {site.root}/page"))) in (200, 503)
    finally:
        for connection in idle:
            connection.close()
    end = time.monotonic() + 10
    while status(send(server, request(server, f"GET {site.root}/page"))) != 200:
        assert time.monotonic() < end


@given(st.binary(max_size=300))
@settings(max_examples=200)
def test_any_body_is_a_form_or_refused(body: bytes) -> None:
    try:
        values = form_values(body)
    except (ValueError, UnicodeDecodeError):
        return
    assert all(values.values())


def test_limits_are_as_documented() -> None:
    assert (module.HEADER_BYTES, module.BODY_BYTES, module.REQUEST_SECONDS) == (8192, 65536, 5.0)
