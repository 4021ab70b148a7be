"""The table of a page as people and tests read it, and its request; from the native state."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Box, Space

from daedalus.envs.cache import jit
from daedalus.envs.web import events
from daedalus.envs.web import pool as p
from daedalus.envs.web.dates import MONTH_TITLES, date_text
from daedalus.envs.web.draw import BLACK, PALETTE, YELLOW, draw_page, letter
from daedalus.envs.web.model import FIELDS, LETTER, LINE, TAGS, TEXT, WRITABLE, Kind, Then

ARRAYS = ("elements", "words", "mask", "utterance", "fields", "clock")
"""What is observed of a page unless other arrays are asked for."""
NUMBERS = 10
"""Numbers of an element: tag, left, top, width, height, focused, tampered, targeted, leaf, on."""


def page_spaces(rows: int, size: tuple[int, int]) -> dict[str, Space[Any]]:
    """Return the space of every array of a page.

    Args:
        rows: Rows of the table.
        size: Width and height in pixels.
    """
    width, height = size
    top = np.iinfo(np.int16).max
    return {
        "elements": Box(-top, top, (rows, NUMBERS), np.int16),
        "words": Box(0, p.VOCABULARY, (rows, p.WORDS), np.int32),
        "mask": Box(0, 1, (rows,), np.uint8),
        "utterance": Box(0, p.VOCABULARY, (p.TOKENS,), np.int32),
        "fields": Box(0, p.VOCABULARY, (FIELDS, p.GOAL_WORDS), np.int32),
        "clock": Box(0.0, 100.0, (2,), np.float32),
        "texts": Box(0, 127, (rows, TEXT), np.uint8),
        "values": Box(0, 127, (rows, TEXT), np.uint8),
        "pixels": Box(0, 255, (height, width, 3), np.uint8),
    }


class Row(NamedTuple):
    """One element of a table, in either backend."""

    element: int  # position in the page
    tag: str
    text: str
    value: str
    rectangle: tuple[int, int, int, int]  # left, top, width, height
    focused: bool
    tampered: bool
    targeted: bool
    on: bool


class Placed(NamedTuple):
    """A row where it stands in the arrays."""

    place: int
    row: Row
    name: str  # of the form's field


def write_rows(name: str, space: Space[Any], rows: Iterable[Placed]) -> np.ndarray:
    """Return one of the arrays of `BY_ROW` for the rows of a table; zeros where there is none."""
    out, write = np.zeros(space.shape or (), space.dtype), BY_ROW[name]
    for placed in rows:
        out[placed.place] = write(placed)
    return out


def _numbers(placed: Placed) -> tuple[int, ...]:
    row = placed.row
    flags = (row.focused, row.tampered, row.targeted, True, row.on)
    return TAGS.index(row.tag), *row.rectangle, *flags


def _words(placed: Placed) -> tuple[int, ...]:
    row = placed.row
    text = (p.word_hash(row.text), *p.words_of(row.text, 3))
    return *text, p.word_hash(placed.name), p.word_hash(row.value), *p.words_of(row.value, 1)


BY_ROW: dict[str, Callable[[Placed], Any]] = {
    "elements": _numbers,
    "words": _words,
    "mask": lambda _: 1,
    "texts": lambda placed: p.codes(placed.row.text, TEXT),
    "values": lambda placed: p.codes(placed.row.value, TEXT),
}
"""How the arrays with a row for each element are written, outside of the kernels."""


def read_table(family: Any, state: np.void) -> list[Row]:
    """Return the rows of what shows, in order."""
    instance = family.instances[int(state["instance"])]
    begin = family.params.pool[int(state["instance"])]["begin"]
    first, last = int(begin[state["page"]]), int(begin[state["page"] + 1])
    focus, targeted = int(state["focus"]), int(state["targeted"])
    elements = state["elements"]
    rows = []
    for e in (first + np.flatnonzero(elements["visible"][first:last])).tolist():
        x = instance.elements[e]
        top = x.top - (int(state["scroll"]) if x.scrolls else 0)
        marks = e == focus, bool(elements["tampered"][e]), e == targeted, bool(elements["on"][e])
        value = shown_value(family, state, e)
        rows.append(Row(e, x.tag, x.text, value, (x.left, top, x.width, x.height), *marks))
    return rows


def shown_value(family: Any, state: np.void, e: int) -> str:
    """Return what was entered or chosen in an element, or what it shows now."""
    element = family.instances[int(state["instance"])].elements[e]
    page, number = family.params.pool[int(state["instance"])], int(state["elements"]["number"][e])
    if element.kind in WRITABLE:
        slot = int(page["elements"]["slot"][e])
        return p.text_of(state["typed"][slot][: state["length"][slot]])
    if element.kind in (Kind.SLIDER, Kind.DAY):
        return str(number)
    if element.kind is Kind.MONTH:
        return MONTH_TITLES[int(state["month"])]
    if number < 0:
        return ""
    if element.kind is Kind.SELECT:
        return p.text_of(page["text"][number])
    if element.kind is Kind.SUGGESTION:
        return p.text_of(page["options"][number])
    return date_text(number) if element.kind is Kind.DATE else ""


def read_request(family: Any, state: np.void) -> dict[str, str] | None:
    """Return the form that was sent, without empty values; None if none was."""
    if state["outcome"] != events.SUBMITTED:
        return None
    instance = family.instances[int(state["instance"])]
    request: dict[str, str] = {}
    for e, element in enumerate(instance.elements):
        value = _value(family, state, e)
        if element.name and value:
            request[element.name] = value
    sender = instance.elements[int(state["sent"])]
    if sender.name:
        request[sender.name] = sender.value
    return request


def _value(family: Any, state: np.void, e: int) -> str:
    """Return what an element adds to a request."""
    element = family.instances[int(state["instance"])].elements[e]
    if element.then is Then.SUBMIT or element.kind in (Kind.DAY, Kind.MONTH, Kind.SUGGESTION):
        return ""
    if element.kind in (Kind.CHECKBOX, Kind.RADIO):
        return element.value if state["elements"]["on"][e] else ""
    return shown_value(family, state, e)


@jit
def _draw(states: np.ndarray, pool: np.ndarray, out: np.ndarray, painted: np.ndarray) -> None:
    """Draw the first of some states."""
    draw_page(states[0], pool[states[0].instance], out, painted)


@jit
def _write(out: np.ndarray, top: int, line: np.ndarray) -> None:
    """Write code points in a line on an empty ground."""
    canvas, width, zero = out.reshape(out.size), out.shape[1], np.int64(0)
    clip = (zero, zero, width, out.shape[0])
    for place in range(line.size):
        code = np.int64(line[place])
        letter(canvas, width, clip, 3 + LETTER * place, top, code, BLACK)


def draw(family: Any, state: np.void) -> np.ndarray:
    """Return the page as uint8 (H, W, 3), as it is observed."""
    page = np.zeros(family.spaces["pixels"].shape, np.uint8)
    painted = np.zeros(family.spaces["painted"].shape, np.int64)
    _draw(np.array([state], state.dtype), family.params.pool, page, painted)
    return page


def picture(family: Any, state: np.void) -> np.ndarray:
    """Return the page as uint8 (H, W, 3); a site has its goal on top, room for the longest."""
    page = draw(family, state)
    if page.shape[1] <= 160:
        return page
    goal = family.instances[int(state["instance"])].utterance
    width = page.shape[1] // LETTER - 1
    lines = [goal[k : k + width] for k in range(0, len(goal), width)]
    most = math.ceil(max(len(one.utterance) for one in family.instances) / width)
    head = np.full((LINE * most + 6, page.shape[1], 3), PALETTE[YELLOW], np.uint8)
    for k, line in enumerate(lines):
        _write(head, 3 + LINE * k, p.codes(line, len(line)))
    return np.concatenate([head, page])
