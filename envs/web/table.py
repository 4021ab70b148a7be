"""The table of a page as people and tests read it, and its request; from the native state."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from daedalus.envs.cache import jit
from daedalus.envs.web import events
from daedalus.envs.web import pool as p
from daedalus.envs.web.dates import MONTH_TITLES, date_text
from daedalus.envs.web.draw import BLACK, PALETTE, YELLOW, draw_page, letter
from daedalus.envs.web.model import LETTER, LINE, WRITABLE, Kind, Then


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
    """Return the page as uint8 (H, W, 3); a site has its goal on top."""
    page = draw(family, state)
    if page.shape[1] <= 160:
        return page
    goal = family.instances[int(state["instance"])].utterance
    width = page.shape[1] // LETTER - 1
    lines = [goal[k : k + width] for k in range(0, len(goal), width)]
    head = np.full((LINE * len(lines) + 6, page.shape[1], 3), PALETTE[YELLOW], np.uint8)
    for k, line in enumerate(lines):
        _write(head, 3 + LINE * k, p.codes(line, len(line)))
    return np.concatenate([head, page])
