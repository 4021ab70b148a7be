"""The server and the browsers of this process: started when first needed, and used again."""

from __future__ import annotations

import threading
import urllib.parse

from daedalus.envs.web.browser.driver import Browser
from daedalus.envs.web.browser.server import FormServer

RECYCLE = 500
"""Episodes after which a browser is replaced."""

_lock = threading.Lock()
_idle: list[Browser] = []
_server: list[FormServer] = []


def form_server() -> FormServer:
    """Return the server of this process."""
    with _lock:
        if not _server:
            _server.append(FormServer())
        return _server[0]


def take_browser(size: tuple[int, int], timeout: float, frames: bool = False) -> Browser:
    """Return a browser that is not in use, or start one; see `Browser`."""
    origin = form_server().origin
    with _lock:
        for browser in _idle:
            its = (browser.size, browser.timeout, browser.frames)
            if its == (size, timeout, frames) and browser.alive:
                _idle.remove(browser)
                return browser
    return Browser(origin, size, timeout, frames)


def give_browser(browser: Browser) -> None:
    """Let another environment use a browser; an old one is ended."""
    if not browser.alive or browser.episodes >= RECYCLE or len(_idle) >= 4:
        browser.kill()
        return
    with _lock:
        _idle.append(browser)


def close_all() -> None:
    """End all idle browsers and the server."""
    with _lock:
        while _idle:
            _idle.pop().kill()
        while _server:
            _server.pop().close()


def is_ours(url: str, origin: str, root: str) -> bool:
    """Tell whether an address is the page that an episode is about."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" == origin and parts.path == f"{root}/page"
