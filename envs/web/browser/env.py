"""The browser backend: the same pages in headless Chromium, as one Gymnasium environment."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict

from daedalus.envs.batch import Batch
from daedalus.envs.web import actions as a
from daedalus.envs.web.actions import Command
from daedalus.envs.web.browser.driver import Browser, BrowserFault
from daedalus.envs.web.browser.pool import form_server, give_browser, is_ours, take_browser
from daedalus.envs.web.family import REWARDS, Web
from daedalus.envs.web.keys import KEYS, key_code
from daedalus.envs.web.model import TEXT, Instance, score
from daedalus.envs.web.overlay import Sight, overlay
from daedalus.envs.web.table import BY_ROW, Placed, Row, write_rows
from daedalus.scenarios.extras import require

CLOCKS = ("simulated", "wall")
_STEP = "return window.daedalus.step(...arguments)"
_BEGIN = "return window.daedalus.begin()"


class BrowserWeb(gymnasium.Env[Any, Any]):
    """A web form in Chromium: spaces, rewards and episodes are those of the native `Web`.

    A page that hangs or crashes ends the episode as truncated, with ``info["fault"]``; the next
    reset has a new browser.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        family: str | type[Web] = Web,
        *,
        render_mode: str | None = None,
        observations: Sequence[str] | None = None,
        labels: Sequence[str] | None = None,
        time_limit: int | None = None,
        clock: str = "simulated",
        timeout: float = 10.0,
        **parameters: Any,
    ) -> None:
        """Start (or take from the pool) a browser.

        Args:
            family: ``Web``.
            render_mode: None or ``"rgb_array"``.
            observations: Names of the arrays to observe; by default the family's.
            labels: Nothing: a page has no labels.
            time_limit: Steps after which an episode is truncated; by default the family's.
            clock: ``"simulated"``, or ``"wall"`` to count real time.
            timeout: Seconds after which a page that does not answer has failed.
            **parameters: Parameters of the family.

        Raises:
            ValueError: A parameter is out of range.
            BrowserError: Chromium or its driver cannot be used; the message says what to do.
        """
        if clock not in CLOCKS or timeout <= 0:
            raise ValueError(f"clock must be one of {', '.join(CLOCKS)} and timeout positive")
        del family, labels
        self.family = Web(**parameters)
        self._draws = Batch(self.family, 1, observations=["clock"], autoreset="disabled")
        self.render_mode, self.clock = render_mode, clock
        self.limit = self.family.time_limit if time_limit is None else time_limit
        self._timeout = timeout
        names = tuple(observations or self.family.observations)
        spaces = {name: self.family.spaces[name] for name in names}
        self.observation_space = Dict(spaces) if len(spaces) > 1 else next(iter(spaces.values()))
        self.names = names
        self.action_space = self.family.action_space
        self.site = form_server().open()
        self.browser = self._take_browser()
        self.table: list[Row] = []
        self.request: dict[str, str] | None = None

    # ------------------------------------------------------------------ Gymnasium's face

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Open the page of the next episode by navigation."""
        new = seed is not None or self._np_random is None
        super().reset(seed=seed)
        if new:
            self._draws.set_key(0, self.np_random)
        self._draws.reset()
        number = int(self._draws.states["instance"][0])
        self.open(self.family.instances[number], number)
        return self._observation(), {}

    def open(self, instance: Instance, number: int) -> None:
        """Open the page of an instance; a browser that fails is replaced once."""
        self.instance, self.number = instance, number
        self.site.show(instance)
        self.elapsed, self.steps, self.outcome = 0.0, 0, "open"
        self.request, self._began, self._pointer = None, time.monotonic(), (0, 0)
        for attempt in range(2):
            if not self.browser.alive:
                self.browser = self._take_browser()
            try:
                self._load()
                return
            except BrowserFault:
                self.browser.kill()
                if attempt:
                    raise

    def _take_browser(self) -> Browser:
        return take_browser(self.family.size, self._timeout, frames="pixels" in self.names)

    def _load(self) -> None:
        browser, address = self.browser, f"{self.browser.origin}{self.site.root}"
        browser.episodes += 1
        browser.call(browser.close_others)
        for _ in range(2):
            browser.call(browser.driver.get, f"{address}/page")
            said = browser.call(browser.driver.execute_script, _BEGIN)
            self._read(said)
            if not said.get("traces"):
                return
            browser.call(browser.driver.get, f"{address}/clear")
        raise BrowserFault("what an earlier page stored cannot be removed")

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step; see ``gymnasium.Env.step``."""
        return self.do(a.decode(self.family.params.layout, np.asarray(action)))

    def do(self, command: Command) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Carry out a command in one round trip."""
        params = self.family.params
        if a.MOVE <= command.type <= a.SCROLL_DOWN:
            self._pointer = command.x, command.y
        self.steps += 1
        self.elapsed += params.step_ms
        if self.clock == "wall":
            self.elapsed = 1000.0 * (time.monotonic() - self._began)
        try:
            said = self.browser.call(
                self.browser.driver.execute_script, _STEP, *self._words(command)
            )
            self._read(said)
        except BrowserFault as fault:
            return self._observation(), 0.0, False, True, {"cost": 0.0, "fault": str(fault)}
        if self.outcome == "open" and 0 < self.deadline <= self.elapsed:
            self.outcome = "timeout"
        over = self.outcome != "open"
        truncated = not over and 0 < self.limit <= self.steps
        return self._observation(), self._reward(), over, truncated, {"cost": 0.0}

    @property
    def deadline(self) -> float:
        """Milliseconds that the episode may take, 0 for no end."""
        asked = self.family.params.deadline
        return self.instance.deadline if asked < 0 else asked

    def _words(self, command: Command) -> tuple[Any, ...]:
        """Return a command as the page's script takes it: the field as its text."""
        text = command.text
        if command.type in (a.TYPE_FIELD, a.FOCUS_FIELD):
            values = [v[:TEXT] for v in self.instance.fields.values()]
            text = values[command.field] if command.field < len(values) else ""
        code = key_code(KEYS[command.key])
        return command.type, command.x, command.y, command.element, code, text

    def _read(self, said: Any) -> None:
        """Take what the page's script said.

        Raises:
            BrowserFault: It said what no page of ours says.
        """
        try:
            self.page = int(said["page"])
            self.table = [
                Row(int(e), str(tag), str(text), str(value), (x, y, w, h), *map(bool, flags))
                for e, tag, text, value, x, y, w, h, *flags in said["rows"]
            ]
            url, outcome = str(said["url"]), str(said["outcome"])
        except (TypeError, KeyError, ValueError) as error:
            raise BrowserFault(f"the page's script answered {str(said)[:80]!r}") from error
        ours = is_ours(url, self.browser.origin, self.site.root)
        self.outcome = outcome if ours else "left"
        if self.outcome == "submitted" and self.site.requests:
            self.request = self.site.requests[0]

    def _reward(self) -> float:
        if self.outcome == "open":
            return 0.0
        raw = score(self.request, self.instance) if self.request is not None else -1.0
        rule, limit = REWARDS[self.family.params.reward], self.deadline
        if rule == "binary":
            return 1.0 if raw == 1.0 else -1.0
        if rule == "decayed" and raw > 0 and limit > 0:
            return float(raw * max(0.0, 1.0 - self.elapsed / limit))
        return float(raw)

    # ------------------------------------------------------------------ arrays

    def _observation(self) -> Any:
        made = {name: self._see(name) for name in self.names}
        return made if isinstance(self.observation_space, Dict) else made[self.names[0]]

    def _see(self, name: str) -> np.ndarray:
        if name not in BY_ROW:
            return np.asarray(getattr(self, f"_see_{name}")())
        elements, first = self.instance.elements, self.first
        rows = (Placed(r.element - first, r, elements[r.element].name) for r in self.table)
        return write_rows(name, self.family.spaces[name], rows)

    @property
    def first(self) -> int:
        """Position of the first element of this page."""
        return int(self.family.params.pool[self.number]["begin"][self.page])

    def _see_utterance(self) -> np.ndarray:
        return self.family.params.pool[self.number]["tokens"].copy()

    def _see_fields(self) -> np.ndarray:
        return self.family.params.pool[self.number]["field_words"].copy()

    def _see_clock(self) -> np.ndarray:
        limit = self.deadline
        share = min(self.elapsed / limit, 1.0) if limit > 0 else 0.0
        return np.array([share, self.page], np.float32)

    def _see_pixels(self) -> np.ndarray:
        try:
            return self.screenshot()
        except BrowserFault:
            return np.zeros((*self.family.size[::-1], 3), np.uint8)

    def screenshot(self) -> np.ndarray:
        """Return the page as Chromium draws it, uint8 (H, W, 3)."""
        width, height = self.family.size
        box = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        more = {"format": "png", "clip": box, "captureBeyondViewport": False}
        more["optimizeForSpeed"] = True
        found = self.browser.call(self.browser.cdp, "Page.captureScreenshot", more)
        image = require("PIL.Image", extra="web").open(io.BytesIO(base64.b64decode(found["data"])))
        return np.asarray(image.convert("RGB"))[:height, :width].copy()

    def render(self) -> Any:
        """Return a screenshot where the render mode asks for it."""
        return self.screenshot() if self.render_mode == "rgb_array" else None

    def annotate(self, picture: np.ndarray, action: Any, panels: Mapping[str, Any]) -> np.ndarray:
        """Return a picture of `render` with pointer, choice and probabilities; see `overlay`."""
        sight = Sight(self.table, self.first, self.family.size, self._pointer)
        command = None if action is None else a.decode(self.family.params.layout, action)
        return overlay(picture, sight, command, panels)

    def close(self) -> None:
        """Give the browser back to the pool."""
        if self.browser is not None:
            give_browser(self.browser)
            form_server().close_site(self.site)
            self.browser = None  # type: ignore[assignment]
