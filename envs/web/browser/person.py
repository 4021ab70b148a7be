"""Demonstrations by a person: a page in any browser of this machine tells what was done in it.

What arrives is the pointer's and the keyboard's events. They are commands of the action space, so
the native page carries them out too; that gives the tables before each, and the request, which
must be the one that the person's browser sent.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daedalus.envs.web import actions as a
from daedalus.envs.web.actions import Command
from daedalus.envs.web.browser.driver import CHROMIUM, find_program
from daedalus.envs.web.browser.flags import flags
from daedalus.envs.web.browser.pool import form_server
from daedalus.envs.web.browser.recording import MAX_EVENTS, Demonstration, FormatError, open_page
from daedalus.envs.web.browser.server import Site
from daedalus.envs.web.keys import KEYS, key_code
from daedalus.envs.web.model import TASKS

POLL = 0.05
"""Seconds between two looks at what has arrived."""
FAREWELL = "<!doctype html><title>recorded</title><p>Recorded. You can close this page."
_POINTER = {"mousedown": a.DOWN, "mousemove": a.MOVE, "mouseup": a.UP}
_KEY_OF = {key_code(key): place for place, key in reversed(list(enumerate(KEYS)))}


class PersonPage:
    """A page that a person fills in, again and again, at one address.

    Attributes:
        address: Where it is served, on the loopback interface.
        size: Width and height of pages.
    """

    def __init__(self, task: str) -> None:
        """Serve a task."""
        self._task, self._server = task, form_server()
        self._site = self._server.open()
        self._site.person = True
        self.address = f"{self._server.origin}{self._site.root}/page"
        self.size = TASKS[task].size

    def __enter__(self) -> PersonPage:
        """Do nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Take leave of the page that is still open."""
        self._site.extra["page"] = FAREWELL
        time.sleep(1.0)
        self._server.close_site(self._site)

    def show(self, seed: int) -> str:
        """Serve the page of a seed; return its goal."""
        self._made = Demonstration(self._task, seed, source="person")
        self._native = open_page(self._made, "native")
        self._native.reset(seed)
        self._site.show(self._native.instance)
        self._made.utterance = self._native.instance.utterance
        return self._made.utterance

    def wait(self) -> Demonstration:
        """Return what was done in the page, once it has ended.

        Raises:
            FormatError: What arrived is no record, or does not give what the browser sent.
        """
        made, native, sent = self._made, self._native, self._site.requests
        for when, command in _wait(self._site):
            made.events.append((when, command, native.table))
            made.reward, over = native.do(command)
            if over:
                break
        made.request = native.request
        native.close()
        if made.request != (sent[0] if sent else None):
            raise FormatError(
                f"{made.task}, seed {made.seed}: the events do not give what was sent"
            )
        return made


@contextlib.contextmanager
def window(address: str, size: tuple[int, int]) -> Iterator[None]:
    """Show a page in a window of Chromium, twice as large, that closes at the end.

    Raises:
        BrowserError: Chromium is not installed.
    """
    program = find_program("DAEDALUS_CHROMIUM", CHROMIUM)
    origin = "/".join(address.split("/")[:3])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shut_in = flags(origin, size, Path(folder), frames=False)
        shown = [flag for flag in shut_in if not flag.startswith(("--headless", "--force-device"))]
        own = [f"--app={address}", "--force-device-scale-factor=2"]
        process = subprocess.Popen([program, *shown, *own], stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            process.wait(10)


def _wait(site: Site) -> list[tuple[float, Command]]:
    """Return times in milliseconds and commands, once the episode has ended."""
    while site.events is None:
        time.sleep(POLL)
    try:
        told = json.loads(site.events)
        if len(told) > MAX_EVENTS:
            raise ValueError
        return commands_of(told)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError(
            "the page did not tell what was done; the episode was too long"
        ) from error


def commands_of(told: list[dict[str, Any]]) -> list[tuple[float, Command]]:
    """Return what a page's events are as commands; a press and release at one place is a click.

    Raises:
        ValueError, TypeError, KeyError: They are not a page's events.
    """
    found: list[tuple[float, Command]] = []
    for event in told:
        when = float(event["time"])
        if event["type"] == "keydown":
            found.append((when, _key(int(event["code"]))))
            continue
        kind = _POINTER.get(event["type"])
        if event["type"] == "wheel":
            kind = a.SCROLL_DOWN if event["down"] else a.SCROLL_UP
        if kind is None:
            raise ValueError(f"no such event: {event['type']!r}")
        command = Command(kind, int(event["x"]), int(event["y"]))
        pressed = found[-1] if found else (0.0, Command())
        if kind == a.UP and pressed[1] == command._replace(type=a.DOWN):
            found[-1] = (pressed[0], command._replace(type=a.CLICK))
        else:
            found.append((when, command))
    return found


def _key(code: int) -> Command:
    """Return a key of the preset, or a text of one letter where it has none."""
    if code in _KEY_OF:
        return Command(a.PRESS_KEY, key=_KEY_OF[code])
    return Command(a.TYPE_TEXT, text=chr(code))
