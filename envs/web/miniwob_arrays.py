"""MiniWoB++'s dictionaries as the arrays of `Web`: its elements in rows, our actions in its words.

An element of the page is a row where nothing else is inside it: what can be clicked, and the words.
Words that stand beside other elements have no reference there; acting on them acts on what they
stand in, as a click on the words of a label does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Dict

from daedalus.envs.web import actions as a
from daedalus.envs.web import pool as p
from daedalus.envs.web.actions import Command
from daedalus.envs.web.browser.driver import BrowserError, first_line
from daedalus.envs.web.family import REWARDS
from daedalus.envs.web.model import FIELDS, MAX_ELEMENTS, TAGS
from daedalus.envs.web.overlay import Sight, overlay
from daedalus.envs.web.table import ARRAYS, BY_ROW, Placed, Row, page_spaces, write_rows

FAR = np.iinfo(np.int16).max
_ON_ELEMENTS = (a.CLICK_ELEMENT, a.FOCUS_TEXT, a.FOCUS_FIELD)
_PRESSED = ("input_submit", "input_button", "input_reset")


class MiniWoBArrays(gymnasium.Env[Any, Any]):
    """An environment with MiniWoB++'s dictionaries, seen and acted in by arrays as `Web` is."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        observations: Sequence[str] | None = None,
        actions: str = "liu18",
        reward: str = "raw",
        rows: int = MAX_ELEMENTS,
        render_mode: str | None = None,
    ) -> None:
        """Wrap an environment.

        Args:
            env: Its actions are ``all_supported``, with the keys of `KEYS`.
            observations: Names of the arrays to observe; by default those of `Web`.
            actions: Preset, as for `Web`.
            reward: ``"raw"``, ``"decayed"`` (by the time that it took) or ``"binary"``.
            rows: Rows of the table; elements beyond them are not seen.
            render_mode: None or ``"rgb_array"``.

        Raises:
            ValueError: There is no such reward, array or preset.
        """
        if reward not in REWARDS:
            raise ValueError(f"reward must be one of {', '.join(REWARDS)}; got {reward!r}")
        screen: Any = env.observation_space["screenshot"]  # type: ignore[index]
        self.size = int(screen.shape[1]), int(screen.shape[0])
        self.spaces = page_spaces(rows, self.size)
        names = ARRAYS if observations is None else tuple(observations)
        for name in names:
            if name not in self.spaces:
                raise ValueError(f"there is no array {name!r}; there are {', '.join(self.spaces)}")
        self.layout, self.action_space = a.layout_of(actions, self.size, rows)
        seen = {name: self.spaces[name] for name in names}
        self.observation_space = Dict(seen) if len(names) > 1 else seen[names[0]]
        self.env, self.names, self.rule, self.render_mode = env, names, reward, render_mode
        self.limit = 0.0  # ms until the page gives up, 0 if unknown
        self._pictured = render_mode is not None or "pixels" in names

    # ------------------------------------------------------------------ Gymnasium's face

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Open the next page; a browser that fails is replaced once.

        Raises:
            BrowserError: The page cannot be opened.
        """
        super().reset(seed=seed)
        number = int(self.np_random.integers(2**31))
        wanted = {"record_screenshots": self._pictured}
        for attempt in range(2):
            try:
                seen = self._open(number, wanted)
                break
            except Exception as error:
                self._failed()
                if attempt:
                    raise BrowserError(
                        f"MiniWoB++ did not open its page: {first_line(error)}"
                    ) from error
        self.elapsed, self._aimed, self._pointer = 0.0, 0, (0, 0)
        self._fields = [(_ascii(key), _ascii(value)) for key, value in seen["fields"]]
        self._goal = _ascii(seen["utterance"])
        self._read(seen)
        return self._observation(), {"cost": 0.0}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step; a failed browser ends the episode as truncated, with ``info["fault"]``.

        After the end MiniWoB++ shows nothing: the last page stays.
        """
        command = a.decode(self.layout, np.asarray(action))
        if a.MOVE <= command.type <= a.SCROLL_DOWN:
            self._pointer = command.x, command.y
        try:
            seen, _, over, _, told = self.env.step(self._their_action(command))
        except Exception as error:
            self._failed()
            return self._observation(), 0.0, False, True, {"cost": 0.0, "fault": first_line(error)}
        self.elapsed = 1000.0 * told["elapsed"]
        if not over:
            self._read(seen)
        scores = {name: float(told[name] or 0.0) for name in ("raw_reward", "env_reward")}
        return self._observation(), self._reward(scores, over), over, False, {"cost": 0.0, **scores}

    def _open(self, seed: int, options: dict[str, Any]) -> Mapping[str, Any]:
        """Return what the page of a seed shows."""
        seen: Mapping[str, Any] = self.env.reset(seed=seed, options=options)[0]
        return seen

    def _failed(self) -> None:
        """Take it that the browser cannot be used any more."""

    def _reward(self, scores: Mapping[str, float], over: bool) -> float:
        if not over:
            return 0.0
        if self.rule == "binary":
            return 1.0 if scores["raw_reward"] == 1.0 else -1.0
        return scores["env_reward" if self.rule == "decayed" else "raw_reward"]

    def _their_action(self, command: Command) -> dict[str, Any]:
        """Return a command as MiniWoB++ takes it; on a row without an element it does nothing."""
        kind, row = command.type, command.element
        self._aimed = 0
        if kind in _ON_ELEMENTS:
            self._aimed = self._refs[row] if row < len(self._refs) else 0
            kind = kind if self._aimed else a.NONE
        return {
            "action_type": kind,
            "coords": np.array([command.x, command.y], np.float32),
            "ref": self._aimed,
            "key": command.key,
            "text": command.text,
            "field": command.field,
        }

    # ------------------------------------------------------------------ what is seen

    def _read(self, seen: Mapping[str, Any]) -> None:
        """Take the page from an observation."""
        elements = innermost(seen["dom_elements"])[: self.spaces["mask"].shape[0]]  # type: ignore[index]
        self._refs = [e["ref"] if e["ref"] > 0 else e["parent"] for e in elements]
        rows = [row_of(e, place) for place, e in enumerate(elements)]
        self.table = [
            row._replace(targeted=row.targeted or ref == self._aimed)
            for row, ref in zip(rows, self._refs, strict=True)
        ]
        self._names = [_ascii(e["id"]) for e in elements]
        self._picture = seen["screenshot"]

    def _observation(self) -> Any:
        made = {name: self._see(name) for name in self.names}
        return made if len(self.names) > 1 else made[self.names[0]]

    def _see(self, name: str) -> np.ndarray:
        if name in BY_ROW:
            placed = zip(self.table, self._names, strict=True)
            rows = (Placed(row.element, row, its) for row, its in placed)
            return write_rows(name, self.spaces[name], rows)
        if name == "pixels":
            return np.array(self._picture, np.uint8)
        if name == "clock":
            share = min(self.elapsed / self.limit, 1.0) if self.limit > 0 else 0.0
            return np.array([share, 0.0], np.float32)
        if name == "utterance":
            return np.array(p.words_of(self._goal, p.TOKENS), np.int32)
        fields = np.zeros((FIELDS, p.GOAL_WORDS), np.int32)
        for row, (key, value) in zip(fields, self._fields, strict=False):
            row[:] = p.goal_words(key, value)
        return fields

    def render(self) -> Any:
        """Return the last picture of the page where the render mode asks for it."""
        return np.array(self._picture, np.uint8) if self.render_mode == "rgb_array" else None

    def annotate(self, picture: np.ndarray, action: Any, panels: Mapping[str, Any]) -> np.ndarray:
        """Return a picture of `render` with pointer, choice and probabilities; see `overlay`."""
        sight = Sight(self.table, 0, self.size, self._pointer)
        command = None if action is None else a.decode(self.layout, action)
        return overlay(picture, sight, command, panels)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()


def innermost(elements: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the elements in which no other one stands, in their order."""
    outer = {element["parent"] for element in elements}
    return [element for element in elements if element["ref"] not in outer]


def row_of(element: Mapping[str, Any], place: int) -> Row:
    """Return an element of theirs as a row of a table."""
    tag, text, value = element["tag"].lower(), _ascii(element["text"]), _ascii(element["value"])
    if tag in ("input_checkbox", "input_radio"):
        on, value = value == "True", ""
    else:
        on = False
    if tag in _PRESSED:
        text, value = value, ""
    sides = [float(element[side][0]) for side in ("left", "top", "width", "height")]
    left, top, width, height = (round(min(max(side, -FAR), FAR)) for side in sides)
    focused, tampered, targeted, _ = (bool(flag) for flag in element["flags"])
    flags = focused, tampered, targeted, on
    return Row(place, our_tag(tag, text), text, value, (left, top, width, height), *flags)


def our_tag(tag: str, text: str) -> str:
    """Return the tag of ours that is nearest to one of theirs.

    >>> our_tag("button", "Ok"), our_tag("t", "Name"), our_tag("input_date", ""), our_tag("svg", "")
    ('button', 'span', 'input_text', 'div')
    """
    if tag in TAGS:
        return tag
    if tag in _PRESSED:
        return "button"
    if tag.startswith("input_"):
        return "input_text"
    if tag == "option":
        return "li"
    return "span" if text else "div"


def _ascii(text: str) -> str:
    """Return the letters that arrays can hold."""
    return text.encode("ascii", "ignore").decode("ascii")
