"""Action presets with MiniWoB++'s names: what the components of an action mean."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import MultiDiscrete

from daedalus.envs.web import events
from daedalus.envs.web import keys as k
from daedalus.envs.web import values as v
from daedalus.envs.web.compiling import apart, part
from daedalus.envs.web.model import CLASSIC, FIELDS, TEXT

TYPES = (
    *("NONE", "MOVE_COORDS", "CLICK_COORDS", "DBLCLICK_COORDS", "MOUSEDOWN_COORDS"),
    *("MOUSEUP_COORDS", "SCROLL_UP_COORDS", "SCROLL_DOWN_COORDS", "CLICK_ELEMENT", "PRESS_KEY"),
    *("TYPE_TEXT", "TYPE_FIELD", "FOCUS_ELEMENT_AND_TYPE_TEXT", "FOCUS_ELEMENT_AND_TYPE_FIELD"),
)
"""All types of action, in MiniWoB++'s order."""
(NONE, MOVE, CLICK, DOUBLE, DOWN, UP, SCROLL_UP, SCROLL_DOWN) = range(8)
(CLICK_ELEMENT, PRESS_KEY, TYPE_TEXT, TYPE_FIELD, FOCUS_TEXT, FOCUS_FIELD) = range(8, 14)
_POINTER = (NONE, CLICK, DOUBLE, DOWN, UP, SCROLL_UP, SCROLL_DOWN, PRESS_KEY)
PRESETS: dict[str, tuple[int, ...]] = {
    "all_supported": tuple(range(14)),
    "shi17": _POINTER,
    "liu18": (NONE, CLICK_ELEMENT, FOCUS_FIELD),
    "humphreys22": (NONE, MOVE, *_POINTER[1:], TYPE_FIELD),
}
"""Types of each preset, in its order."""
BINS = 51
"""Bins of a coordinate of ``humphreys22`` on a classic page, in proportion on larger ones; the
middle of a bin is used."""
STEP = 50
"""Pixels of a scroll."""
PARTS = ("type", "x", "y", "element", "key", "field")
"""Components of an action, of which a preset has those that its types need."""


class Command(NamedTuple):
    """An action in full: what both backends carry out, with coordinates in pixels."""

    type: int = NONE
    x: int = 0
    y: int = 0
    element: int = -1  # row of the table
    key: int = 0  # position in KEYS
    field: int = 0
    text: str = ""


class Layout(NamedTuple):
    """How the vector of a preset becomes a command."""

    types: np.ndarray  # int64 (n,): position in TYPES
    columns: np.ndarray  # int64 (6,): where each of PARTS stands, -1 where it is absent
    bins_x: int  # of a coordinate; 0 for pixels
    bins_y: int
    width: int
    height: int


def layout_of(preset: str, size: tuple[int, int], rows: int) -> tuple[Layout, MultiDiscrete]:
    """Return layout and space of a preset for a page of ``size`` and a table of ``rows``.

    Raises:
        ValueError: There is no such preset.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; there are: {', '.join(PRESETS)}")
    types, bins = PRESETS[preset], (0, 0)
    if preset == "humphreys22":
        bins = (BINS * size[0] // CLASSIC[0], BINS * size[1] // CLASSIC[1])
    asked = {
        "x": (bins[0] or size[0]) if CLICK in types else 0,
        "y": (bins[1] or size[1]) if CLICK in types else 0,
        "element": rows if CLICK_ELEMENT in types else 0,
        "key": len(k.KEYS) if PRESS_KEY in types else 0,
        "field": FIELDS if {TYPE_FIELD, FOCUS_FIELD} & set(types) else 0,
    }
    sizes = [len(types), *(n for n in asked.values() if n)]
    columns, place = [0], 1
    for n in asked.values():
        columns.append(place if n else -1)
        place += bool(n)
    arrays = np.array(types, np.int64), np.array(columns, np.int64)
    for array in arrays:
        array.flags.writeable = False
    return Layout(*arrays, *bins, *size), MultiDiscrete(sizes)


def encode(layout: Layout, command: Command) -> np.ndarray:
    """Return the vector of a preset, int64 (k,), for a command that it can express.

    Raises:
        ValueError: The preset has no such type.
    """
    types = layout.types.tolist()
    if command.type not in types:
        raise ValueError(f"this preset has no {TYPES[command.type]}")
    vector = np.zeros(int((layout.columns >= 0).sum()), np.int64)
    values = command._replace(type=types.index(command.type), element=max(command.element, 0))
    for name, column in zip(PARTS, layout.columns, strict=True):
        value = getattr(values, name)
        if layout.bins_x and name == "x":
            value = value * layout.bins_x // layout.width
        if layout.bins_y and name == "y":
            value = value * layout.bins_y // layout.height
        if column >= 0:
            vector[column] = value
    return vector


def decode(layout: Layout, vector: np.ndarray) -> Command:
    """Return the command that a preset's vector stands for, as the kernels understand it."""
    parts = [int(vector[c]) if c >= 0 else 0 for c in layout.columns]
    parts[0] = int(layout.types[parts[0]])
    if layout.bins_x:
        parts[1] = (2 * parts[1] + 1) * layout.width // (2 * layout.bins_x)
        parts[2] = (2 * parts[2] + 1) * layout.height // (2 * layout.bins_y)
    return Command(*parts)


@part
def apply(state: Any, page: Any, action: Any, layout: Any, codes: Any) -> None:
    """Carry out an action, int64 (k,); ``codes`` says what each key does."""
    apart()
    columns = layout.columns
    kind = layout.types[action[0]]
    state.targeted = -1
    pointer = kind
    if kind == CLICK_ELEMENT or kind >= FOCUS_TEXT:
        if not _aim(state, page, action[columns[3]]):
            return
        pointer = CLICK
    elif kind == NONE or kind > SCROLL_DOWN:
        pointer = NONE
    else:
        _point(state, action, layout)
    if pointer != NONE:
        _pointer(state, page, pointer)
    if kind == PRESS_KEY:
        k.press_key(state, page, codes[action[columns[4]]])
    elif kind >= TYPE_TEXT:
        is_field = kind in (TYPE_FIELD, FOCUS_FIELD)
        for place in range(TEXT if is_field else state.mail.size):
            field = action[columns[5]] if is_field else 0
            code = page.fields[field, place] if is_field else state.mail[place]
            if code == 0:
                break
            k.press_key(state, page, np.int64(code))
    events.settle(state, page)


@part
def _point(state: Any, action: Any, layout: Any) -> None:
    """Move the pointer to the coordinates of an action."""
    x, y = action[layout.columns[1]], action[layout.columns[2]]
    if layout.bins_x:
        x = (2 * x + 1) * layout.width // (2 * layout.bins_x)
        y = (2 * y + 1) * layout.height // (2 * layout.bins_y)
    state.x, state.y = x, y


@part
def _pointer(state: Any, page: Any, kind: int) -> None:
    """Move, press, release or scroll where the pointer is."""
    apart()
    if kind == MOVE:
        if state.pressed >= 0 and page.elements[state.pressed].kind == v.K_SLIDER:
            events.slide(state, page, state.pressed)
    elif kind in (SCROLL_UP, SCROLL_DOWN):
        x, y, area = state.x, state.y, page.scroll
        if area[0] <= x < area[0] + area[2] and area[1] <= y < area[1] + area[3]:
            _scroll_to(state, page, state.scroll + (-STEP if kind == SCROLL_UP else STEP))
    else:
        for _ in range(2 if kind == DOUBLE else 1):
            before = events.hit(state, page) if kind == UP else events.press(state, page)
            if kind != DOWN:  # a release on what was pressed is a click
                pressed, state.pressed = state.pressed, -1
                if pressed >= 0 and pressed == before:
                    events.click(state, page, pressed)
            events.settle(state, page)


@part
def _scroll_to(state: Any, page: Any, place: int) -> None:
    area = page.scroll
    state.scroll = min(max(place, 0), max(np.int64(area[4]) - area[3], 0))


@part
def _aim(state: Any, page: Any, row: int) -> bool:
    """Move the pointer to the middle of an element, scrolled into view; False if it is hidden."""
    e = page.begin[state.page] + row
    if e >= page.begin[state.page + 1] or not state.elements[e].visible:
        return False
    its = page.elements[e]
    y = np.int64(its.top) + its.height // 2
    if its.scrolls:
        top, height = np.int64(page.scroll[1]), np.int64(page.scroll[3])
        if not top <= y - state.scroll < top + height:
            _scroll_to(state, page, y - top - height // 2)
        y -= state.scroll
    state.x, state.y = np.int64(its.left) + its.width // 2, y
    return True
