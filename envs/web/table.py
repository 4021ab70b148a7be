"""The table of a page as people and tests read it, and its request; from the native state."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from daedalus.envs.cache import jit
from daedalus.envs.core import _observe
from daedalus.envs.web import events
from daedalus.envs.web import pool as p
from daedalus.envs.web.dates import date_text
from daedalus.envs.web.draw import BLACK, PALETTE, YELLOW, letter
from daedalus.envs.web.model import LETTER, LINE, TAGS, WRITABLE, Kind, Then


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


@jit
def observe_one(states: np.ndarray, params: Any, out: Any) -> None:
    """Observe the first of some states."""
    _observe(states[0], params, out)


def observe(family: Any, state: np.void, *names: str) -> dict[str, np.ndarray]:
    """Return arrays of one state by name."""
    spaces = family.spaces
    arrays = {
        name: np.zeros(space.shape if name in names else (0,) * len(space.shape), space.dtype)
        for name, space in spaces.items()
    }
    observe_one(np.array([state], state.dtype), family.params, family.Arrays(**arrays))
    return {name: arrays[name] for name in names}


def read_table(family: Any, state: np.void) -> list[Row]:
    """Return the rows of what shows, in order."""
    found = observe(family, state, "elements", "mask", "texts", "values")
    first = int(family.params.pool[state["instance"]]["begin"][state["page"]])
    rows = []
    for row in np.flatnonzero(found["mask"]):
        numbers = found["elements"][row].tolist()
        rows.append(
            Row(
                first + int(row),
                TAGS[numbers[0]],
                p.text_of(found["texts"][row]),
                p.text_of(found["values"][row]),
                (numbers[1], numbers[2], numbers[3], numbers[4]),
                *(bool(numbers[k]) for k in (5, 6, 7, 9)),
            )
        )
    return rows


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
    number, page = int(state["number"][e]), family.params.pool[state["instance"]]
    if element.then is Then.SUBMIT:
        return ""
    if element.kind in WRITABLE:
        slot = int(page["slot"][e])
        return p.text_of(state["typed"][slot][: state["length"][slot]])
    if element.kind in (Kind.CHECKBOX, Kind.RADIO):
        return element.value if state["on"][e] else ""
    if element.kind is Kind.SLIDER:
        return str(number)
    if number < 0:
        return ""
    if element.kind is Kind.SELECT:
        return p.text_of(page["text"][number])
    return date_text(number) if element.kind is Kind.DATE else ""


def picture(family: Any, state: np.void) -> np.ndarray:
    """Return the page as uint8 (H, W, 3); a site has its goal on top."""
    page = observe(family, state, "pixels")["pixels"]
    if page.shape[1] <= 160:
        return page
    goal = family.instances[int(state["instance"])].utterance
    width = page.shape[1] // LETTER - 1
    lines = [goal[k : k + width] for k in range(0, len(goal), width)]
    head = np.full((LINE * len(lines) + 6, page.shape[1], 3), PALETTE[YELLOW], np.uint8)
    clip = (0, 0, head.shape[1], head.shape[0])
    for k, line in enumerate(lines):
        for place, code in enumerate(line.encode("ascii")):
            letter(head, clip, 3 + LETTER * place, 3 + LINE * k, code, BLACK)
    return np.concatenate([head, page])
