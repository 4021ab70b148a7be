"""What happens on a page: compiled rules for the pointer, the same for every task.

The script of the browser's pages (``browser/page.js``) follows the same rules; the tests hold both
to the same tables. ``page`` is the instance (``pool.PAGE``), ``e`` an element of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.web import values as v
from daedalus.envs.web.dates import MONTHS, STARTS
from daedalus.envs.web.model import MAX_ELEMENTS, MAX_SLOTS, TEXT, TYPED, Then
from daedalus.envs.web.pool import PAGES

STATE: list[tuple[Any, ...]] = [
    *((name, "i8") for name in ("instance", "page", "focus", "open", "pressed", "targeted")),
    *((name, "i8") for name in ("scroll", "month", "x", "y", "outcome", "sent")),
    ("clock", "f8"),  # ms
    ("raw", "f8"),  # score of the request
    ("visible", "u1", (MAX_ELEMENTS,)),
    ("on", "u1", (MAX_ELEMENTS,)),  # checked, or open
    ("tampered", "u1", (MAX_ELEMENTS,)),
    ("number", "i2", (MAX_ELEMENTS,)),  # chosen option, day, position; suggested option
    ("value_words", "i4", (MAX_ELEMENTS, 2)),
    ("typed", "u1", (MAX_SLOTS, TEXT)),
    ("length", "i8", (MAX_SLOTS,)),
    ("mail", "u1", (64,)),  # free text of the next TYPE_TEXT, written from outside
]
"""Fields of a page's state."""

OPEN, SUBMITTED, LEFT_SITE, TIMED_OUT = 0, 1, 2, 3
"""Outcomes."""
_SUBMIT, _NEXT, _GO = int(Then.SUBMIT), int(Then.NEXT), int(Then.GO)
_LEAVE, _EARLIER, _LATER = int(Then.LEAVE), int(Then.EARLIER), int(Then.LATER)
_LESS, _MORE = int(Then.LESS), int(Then.MORE)


@register_jitable
def begin(state: Any, page: Any) -> None:
    """Show the first page of an instance, untouched."""
    state.page = state.scroll = state.month = state.x = state.y = 0
    state.focus = state.open = state.pressed = state.targeted = state.sent = -1
    state.outcome = OPEN
    state.clock = state.raw = 0.0
    tab = -1
    for e in range(page.begin[PAGES]):
        state.on[e] = state.tampered[e] = 0
        state.number[e] = -1
        state.value_words[e, 0] = state.value_words[e, 1] = 0
        kind = page.kind[e]
        if kind == v.K_SLIDER:
            set_number(state, page, e, np.int64(page.low[e]))
        elif kind == v.K_TAB and tab < 0 and page.then[e] == 0:
            tab = e
            state.on[e] = 1
        elif v.is_writable(kind):
            state.length[page.slot[e]] = 0
    refresh(state, page)


@register_jitable
def set_number(state: Any, page: Any, e: int, value: int) -> None:
    """Set a slider, clipped to its range."""
    state.number[e] = min(max(value, page.low[e]), page.high[e])
    v.keep_words(state, page, e)


@register_jitable
def refresh(state: Any, page: Any) -> None:
    """Find what shows: on this page, with everything that it is part of open."""
    for e in range(page.begin[PAGES]):
        shown = page.page[e] == state.page
        parent = page.parent[e]
        if shown and parent >= 0:
            is_open = state.open == parent if page.popup[e] else state.on[parent] == 1
            shown = is_open and state.visible[parent] == 1
            if shown and page.popup[e]:
                shown = _fill_popup(state, page, e)
        state.visible[e] = shown
    if state.focus >= 0 and not state.visible[state.focus]:
        state.focus = -1
    if state.open >= 0 and not state.visible[state.open]:
        state.open = -1


@register_jitable
def _fill_popup(state: Any, page: Any, e: int) -> bool:
    """Give a suggestion, a day or the month's title what it shows; False for nothing."""
    kind = page.kind[e]
    if kind == v.K_SUGGESTION:
        if state.number[e] < 0:
            return False
    elif kind == v.K_DAY:
        first = STARTS[state.month]
        day = page.low[e] - first % 7  # 2017-01-01 was a Sunday
        if day < 0 or first + day >= STARTS[state.month + 1]:
            return False
        state.number[e] = day + 1
    elif kind != v.K_MONTH:
        return True
    v.keep_words(state, page, e)
    return True


@register_jitable
def hit(state: Any, page: Any, x: int, y: int) -> int:
    """Return the topmost element that shows at a point, or -1."""
    area = page.scroll
    inside = area[0] <= x < area[0] + area[2] and area[1] <= y < area[1] + area[3]
    last = np.int64(page.begin[state.page + 1])
    for e in range(last - 1, np.int64(page.begin[state.page]) - 1, -1):
        if not state.visible[e] or (page.scrolls[e] and not inside):
            continue
        top = page.top[e] - (state.scroll if page.scrolls[e] else 0)
        left = page.left[e]
        if left <= x < left + page.width[e] and top <= y < top + page.height[e]:
            return e
    return -1


@register_jitable
def can_focus(kind: int) -> bool:
    """Tell whether an element can have the focus."""
    return kind != v.K_TEXT and kind != v.K_BOX


@register_jitable
def set_focus(state: Any, page: Any, e: int) -> None:
    """Give an element the focus; a text input may submit on that."""
    before, state.focus = state.focus, e
    if e >= 0 and e != before and page.kind[e] == v.K_INPUT and page.then[e] == _SUBMIT:
        state.tampered[e] = 1
        submit(state, e)


@register_jitable
def submit(state: Any, e: int) -> None:
    """Send the form, by element ``e``."""
    if state.outcome == OPEN:
        state.outcome = SUBMITTED
        state.sent = e


@register_jitable
def press(state: Any, page: Any, x: int, y: int) -> None:
    """Press the pointer's button."""
    e = hit(state, page, x, y)
    state.pressed = state.targeted = e
    popup = e >= 0 and page.popup[e] == 1
    mine = e >= 0 and (e == state.open or (popup and page.parent[e] == state.open))
    if state.open >= 0 and not mine:
        state.open = -1
        refresh(state, page)
    if popup:
        return  # what pops up leaves the focus where it is
    set_focus(state, page, e if e >= 0 and can_focus(page.kind[e]) else -1)
    if e >= 0 and page.kind[e] == v.K_SLIDER:
        slide(state, page, e, x)


@register_jitable
def slide(state: Any, page: Any, e: int, x: int) -> None:
    """Move a slider to a point."""
    low, span = np.int64(page.low[e]), np.int64(page.high[e]) - page.low[e]
    room = np.int64(page.width[e]) - 1
    state.tampered[e] = 1
    set_number(state, page, e, low + (2 * (x - page.left[e]) * span + room) // (2 * room))


@register_jitable
def release(state: Any, page: Any, x: int, y: int) -> None:
    """Release the pointer's button; on the element that was pressed this is a click."""
    e, pressed = hit(state, page, x, y), state.pressed
    state.pressed = -1
    if e >= 0 and e == pressed:
        click(state, page, e)


@register_jitable
def click(state: Any, page: Any, e: int) -> None:
    """Do what a click on an element does."""
    kind = page.kind[e]
    state.tampered[e] = 1
    if kind == v.K_CHECKBOX or kind == v.K_NODE:
        state.on[e] = 1 - state.on[e]
    elif kind == v.K_RADIO or kind == v.K_TAB:
        for k in range(page.begin[PAGES]):  # the rest of its group goes off
            if page.kind[k] == kind and page.group[k] == page.group[e]:
                state.on[k] = 0
        state.on[e] = 1
    elif kind == v.K_SELECT or kind == v.K_DATE:
        state.open = -1 if state.open == e else e
        if kind == v.K_DATE:
            state.month = v.month_of(np.int64(state.number[e]))
    elif kind == v.K_OPTION or kind == v.K_DAY or kind == v.K_SUGGESTION:
        _pick(state, page, e)
    _then(state, page, e)
    refresh(state, page)


@register_jitable
def _pick(state: Any, page: Any, e: int) -> None:
    """Give the owner of a popup what was picked in it."""
    owner = np.int64(page.parent[e])
    state.open = -1
    state.tampered[owner] = 1
    if page.kind[e] == v.K_OPTION:
        state.number[owner] = e
    elif page.kind[e] == v.K_DAY:
        state.number[owner] = STARTS[state.month] + state.number[e] - 1
    else:
        slot = page.slot[owner]
        length = v.copy_text(page.options[state.number[e]], state.typed[slot])
        state.length[slot] = min(length, TYPED)
    v.keep_words(state, page, owner)


@register_jitable
def _then(state: Any, page: Any, e: int) -> None:
    """Submit, leave, show another page or month, move a slider."""
    then = page.then[e]
    if then == _SUBMIT and not v.is_writable(page.kind[e]):
        submit(state, e)
    elif then == _LEAVE:
        state.outcome = LEFT_SITE
    elif then == _GO or (then == _NEXT and _is_filled(state, page)):
        state.page = page.low[e]
        state.focus = state.open = -1
    elif then == _EARLIER:
        state.month = max(state.month - 1, 0)
    elif then == _LATER:
        state.month = min(state.month + 1, MONTHS - 1)
    elif then in (_LESS, _MORE):
        slider = np.int64(page.low[e])
        set_number(state, page, slider, state.number[slider] + (1 if then == _MORE else -1))


@register_jitable
def is_empty(state: Any, page: Any, e: int) -> bool:
    """Tell whether a field would be missing in a request."""
    kind = page.kind[e]
    if v.is_writable(kind):
        return state.length[page.slot[e]] == 0
    if kind == v.K_RADIO:
        for k in range(page.begin[PAGES]):
            if page.kind[k] == kind and page.group[k] == page.group[e] and state.on[k]:
                return False
        return True
    return state.number[e] < 0 and (kind == v.K_SELECT or kind == v.K_DATE)


@register_jitable
def _is_filled(state: Any, page: Any) -> bool:
    """Tell whether no required field of this page is empty."""
    for e in range(np.int64(page.begin[state.page]), np.int64(page.begin[state.page + 1])):
        if page.required[e] and is_empty(state, page, e):
            return False
    return True
