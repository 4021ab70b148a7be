"""A session that goes on in a thread while somebody looks, and its moments as text."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from typing import Any

from daedalus.evaluation.drawing import PICTURES, Stage, to_svg
from daedalus.evaluation.live import REST, Session
from daedalus.evaluation.panels import Pictures
from daedalus.evaluation.rollout import Moment

SHOWN = 15.0
"""Moments in a second that are drawn at most; the session may go on faster."""
IDLE = 0.05
"""Seconds between two looks at a session that stands still."""


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
