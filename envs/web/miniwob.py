"""MiniWoB++'s face of the web tasks: its observations, actions and rewards, in both backends.

    gymnasium.make("daedalus/Web-LoginUser-v0", spaces="miniwob", actions="liu18")

A policy or wrapper that was written for ``miniwob`` finds the dictionaries it knows. The package is
not needed. Every element hangs below one root, whose ``ref`` is 1, or below the element that opens
it; ``id`` is the name of the form's field.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Sequence, Text, Tuple

from daedalus.envs.faces import NativeEnv
from daedalus.envs.web import actions as a
from daedalus.envs.web import pool as p
from daedalus.envs.web.actions import BINS, PRESETS, Command
from daedalus.envs.web.keys import KEYS
from daedalus.envs.web.model import COLOURS, FIELDS, UTTERANCE, Element, Kind
from daedalus.envs.web.table import Row, draw, read_request, read_table

MAX_REF = 1_000_000
LETTERS, ATTRIBUTE, TYPED_LETTERS = 256, 256, 64
"""Letters of a text or value, of an attribute, and of what is typed, at most."""
ALLOWED_KEYS = KEYS[:-3]
"""Keys of MiniWoB++, without the three that are ours."""
ROOT = 1
OUTCOMES = (None, "submitted", "left the site", "time is over")


class Unicode(Text):
    """Texts of any characters, as MiniWoB++'s space of this name."""

    def __init__(self, most: int, least: int = 1) -> None:
        """Allow ``least`` to ``most`` characters."""
        super().__init__(most, min_length=least)

    def contains(self, x: Any) -> bool:
        """Look at the length alone."""
        return isinstance(x, str) and self.min_length <= len(x) <= self.max_length


def element_space() -> Dict:
    """Return the space of one element."""
    side = {name: Box(-np.inf, np.inf, (1,), np.float32) for name in ("left", "top")}
    side |= {name: Box(0.0, np.inf, (1,), np.float32) for name in ("width", "height")}
    texts = {"tag": Unicode(ATTRIBUTE)}
    texts |= {name: Unicode(LETTERS, 0) for name in ("text", "value")}
    texts |= {name: Unicode(ATTRIBUTE, 0) for name in ("id", "classes")}
    colours = {name: Box(0.0, 255.0, (4,), np.float32) for name in ("bg_color", "fg_color")}
    refs = {"ref": Discrete(2 * MAX_REF, start=-MAX_REF), "parent": Discrete(MAX_REF)}
    return Dict({**refs, **side, **texts, **colours, "flags": MultiBinary(4)})


def observation_space(size: tuple[int, int]) -> Dict:
    """Return MiniWoB++'s observation space for a page of ``size`` (width, height)."""
    return Dict(
        {
            "utterance": Unicode(UTTERANCE, 0),
            "dom_elements": Sequence(element_space()),
            "screenshot": Box(0, 255, (size[1], size[0], 3), np.uint8),
            "fields": Sequence(Tuple((Unicode(TYPED_LETTERS, 0), Unicode(TYPED_LETTERS, 0)))),
        }
    )


def action_space(preset: str, size: tuple[int, int]) -> Dict:
    """Return MiniWoB++'s action space of a preset: only what its types need.

    Raises:
        ValueError: There is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; there are: {', '.join(PRESETS)}")
    types = set(PRESETS[preset])
    spaces: dict[str, gymnasium.Space[Any]] = {"action_type": Discrete(len(PRESETS[preset]))}
    if a.CLICK in types:
        whole = Box(np.zeros(2, np.float32), np.array(size, np.float32))
        spaces["coords"] = MultiDiscrete([BINS, BINS]) if preset == "humphreys22" else whole
    if a.CLICK_ELEMENT in types:
        spaces["ref"] = Discrete(MAX_REF)
    if a.PRESS_KEY in types:
        spaces["key"] = Discrete(len(ALLOWED_KEYS))
    if a.TYPE_TEXT in types:
        spaces["text"] = Unicode(TYPED_LETTERS)
    if types & {a.TYPE_FIELD, a.FOCUS_FIELD}:
        spaces["field"] = Discrete(FIELDS)
    return Dict(spaces)


class NativePage:
    """The native page with the door of `BrowserWeb`: a table, a picture, commands in full."""

    def __init__(self, family: str, **parameters: Any) -> None:
        """Make the environment."""
        self.env = NativeEnv(family, observations=["clock"], **parameters)
        self.family: Any = self.env.family

    @property
    def state(self) -> Any:
        """State of the page."""
        return self.env.batch.states[0]

    @property
    def instance(self) -> Any:
        """The page as it was drawn."""
        return self.family.instances[int(self.state["instance"])]

    @property
    def first(self) -> int:
        """Position of the first element of the page that shows."""
        return int(self.family.params.pool[self.state["instance"]]["begin"][self.state["page"]])

    @property
    def table(self) -> list[Row]:
        """What shows."""
        return read_table(self.family, self.state)

    @property
    def request(self) -> dict[str, str] | None:
        """What was sent."""
        return read_request(self.family, self.state)

    @property
    def elapsed(self) -> float:
        """Simulated milliseconds."""
        return float(self.state["clock"])

    @property
    def outcome(self) -> str | None:
        """Why the episode is over."""
        return OUTCOMES[int(self.state["outcome"])]

    def reset(self, *, seed: int | None = None) -> Any:
        """Open the page of the next episode."""
        return self.env.reset(seed=seed)

    def do(self, command: Command) -> Any:
        """Carry out a command."""
        self.state["mail"][:] = p.codes(command.text, TYPED_LETTERS)
        return self.env.step(a.encode(self.family.params.layout, command))

    def screenshot(self) -> np.ndarray:
        """Return the page, uint8 (H, W, 3)."""
        return draw(self.family, self.state)

    def close(self) -> None:
        """Close."""
        self.env.close()


class MiniWoBFace(gymnasium.Env[Any, Any]):
    """A web task with MiniWoB++'s spaces."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        page: Any,
        preset: str = "all_supported",
        reward: str = "decayed",
        render_mode: str | None = None,
    ) -> None:
        """Wrap a page.

        Args:
            page: A `NativePage` or `BrowserWeb` with the actions ``all_supported`` and the reward
                ``raw``.
            preset: Whose actions there are, as MiniWoB++'s ``action_space_config``.
            reward: ``"decayed"`` (MiniWoB++'s original), ``"raw"`` or ``"binary"``.
            render_mode: None or ``"rgb_array"``.
        """
        if reward not in ("decayed", "raw", "binary"):
            raise ValueError(f"reward must be one of decayed, raw, binary; got {reward!r}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be 'rgb_array' or None, got {render_mode!r}")
        self.page, self.preset, self.rule, self.render_mode = page, preset, reward, render_mode
        self.observation_space = observation_space(page.family.size)
        self.action_space = action_space(preset, page.family.size)
        self.record_screenshots = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Open the next page; ``options["record_screenshots"]`` says whether there are pictures."""
        super().reset(seed=seed)
        self.record_screenshots = (options or {}).get("record_screenshots", self.record_screenshots)
        self.page.reset(seed=seed)
        return self._observation(), self._info(0.0, False)

    def step(self, action: dict[str, Any]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take a step; what follows the end is MiniWoB++'s empty observation."""
        _, raw, over, truncated, told = self.page.do(self._command(action))
        info = self._info(raw, over) | {k: told[k] for k in ("fault",) if k in told}
        reward = {"raw": raw, "decayed": info["env_reward"]}.get(self.rule, 0.0)
        if self.rule == "binary" and over:
            reward = 1.0 if raw == 1.0 else -1.0
        ended = over or truncated
        return self._nothing() if ended else self._observation(), reward, over, truncated, info

    def _command(self, action: dict[str, Any]) -> Command:
        """Read an action; a ``ref`` that no element has does nothing."""
        kind = PRESETS[self.preset][int(action["action_type"])]
        x, y = self._place(action["coords"]) if "coords" in action else (0, 0)
        row = int(action.get("ref", 0)) - ROOT - 1 - self.page.first
        known = 0 <= row < self.page.family.rows
        if kind in (a.CLICK_ELEMENT, a.FOCUS_TEXT, a.FOCUS_FIELD) and not known:
            return Command()
        text = str(action.get("text", ""))[:TYPED_LETTERS]
        text = "".join(letter for letter in text if 32 <= ord(letter) < 127)
        row = row if known else 0  # of no meaning to the other types
        return Command(
            kind, x, y, row, int(action.get("key", 0)), int(action.get("field", 0)), text
        )

    def _place(self, coords: Any) -> tuple[int, int]:
        """Return pixels of coordinates or of the middle of their bins, on the page."""
        size = self.page.family.size
        if self.preset == "humphreys22":
            coords = [(0.5 + int(c)) * n / BINS for c, n in zip(coords, size, strict=True)]
        x, y = (min(max(int(c), 0), n - 1) for c, n in zip(coords, size, strict=True))
        return x, y

    # ------------------------------------------------------------------ what is seen

    def _observation(self) -> dict[str, Any]:
        page = self.page
        elements = [self._element(row, page.instance.elements[row.element]) for row in page.table]
        return {
            "utterance": page.instance.utterance,
            "dom_elements": (self._root(), *elements),
            "screenshot": page.screenshot() if self.record_screenshots else self._black(),
            "fields": tuple(page.instance.fields.items()),
        }

    def _nothing(self) -> dict[str, Any]:
        empty: dict[str, Any] = {"utterance": "", "dom_elements": (), "fields": ()}
        return empty | {"screenshot": self._black()}

    def _black(self) -> np.ndarray:
        width, height = self.page.family.size
        return np.zeros((height, width, 3), np.uint8)

    def _root(self) -> dict[str, Any]:
        row = Row(-1, "body", "", "", (0, 0, *self.page.family.size), *[False] * 4)
        root = self._element(row, Element(Kind.BOX, 0, 0, 0, 0))
        return root | {"parent": 0, "flags": np.zeros(4, np.int8)}

    def _element(self, row: Row, element: Element) -> dict[str, Any]:
        """Return an element as MiniWoB++ writes it; the value of a switch that is on is "True"."""
        sides = zip(("left", "top", "width", "height"), row.rectangle, strict=True)
        ground = COLOURS[list(COLOURS)[element.colour]]
        flags = (row.focused, row.tampered, row.targeted, True)
        switch = element.kind in (Kind.CHECKBOX, Kind.RADIO)
        return {
            "ref": row.element + ROOT + 1,
            "parent": element.parent + ROOT + 1 if element.parent >= 0 else ROOT,
            **{side: np.array([value], np.float32) for side, value in sides},
            "tag": row.tag,
            "text": row.text,
            "value": "True" if row.on and switch else row.value,
            "id": element.name,
            "classes": "",
            "bg_color": np.array([c / 255 for c in ground] + [1.0], np.float32),
            "fg_color": np.array([0.0, 0.0, 0.0, 1.0], np.float32),
            "flags": np.array(flags, np.int8),
        }

    def _info(self, raw: float, over: bool) -> dict[str, Any]:
        """Return MiniWoB++'s metadata; what is positive counts less with time."""
        page = self.page
        limit = page.family.params.deadline
        limit = page.instance.deadline if limit < 0 else limit
        left = max(0.0, 1.0 - page.elapsed / limit) if limit > 0 else 1.0
        return {
            "done": over,
            "raw_reward": raw,
            "env_reward": raw * left if raw > 0 else raw,
            "reason": page.outcome if over else None,
            "elapsed": page.elapsed / 1000.0,
            "cost": 0.0,
        }

    def render(self) -> Any:
        """Return the page where the render mode asks for it."""
        return self.page.screenshot() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the page."""
        self.page.close()
