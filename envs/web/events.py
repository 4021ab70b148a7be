"""What happens on a page: compiled rules for the pointer, the same for every task.

The script of the browser's pages (``browser/page.js``) follows the same rules; the tests hold both
to the same tables. ``page`` is the instance (``pool.PAGE``), ``e`` an element of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.web import values as v
from daedalus.envs.web.compiling import apart, part
from daedalus.envs.web.dates import MONTHS, STARTS
from daedalus.envs.web.model import MAX_ELEMENTS, MAX_SLOTS, TEXT, TYPED, Then
from daedalus.envs.web.pool import PAGES

CHANGING = np.dtype(
    [
        ("visible", "u1"),  # read only for elements of the page that shows
        ("on", "u1"),  # checked, or open
        ("tampered", "u1"),
        ("number", "i2"),  # chosen option, day, position; suggested option
    ],
    align=True,
)
"""What changes of an element."""
STATE: list[tuple[Any, ...]] = [
    *((name, "i8") for name in ("instance", "page", "focus", "open", "pressed", "targeted")),
    *((name, "i8") for name in ("scroll", "month", "x", "y", "outcome", "sent")),
    ("edited", "i8"),  # text input that was typed into since the page was settled, or -1
    ("stale", "i8"),  # 1 where other elements may show since then
    ("showing", "i8"),  # elements that show: so many of `shown`
    ("shown", "i2", (MAX_ELEMENTS,)),  # which, in the order of the page
    ("clock", "f8"),  # ms
    ("raw", "f8"),  # score of the request
    ("elements", CHANGING, (MAX_ELEMENTS,)),
    ("typed", "u1", (MAX_SLOTS, TEXT)),  # ends with 0
    ("length", "i8", (MAX_SLOTS,)),
    ("typed_words", "i4", (MAX_SLOTS, 2)),  # hashes of the text and of its first word
    ("mail", "u1", (64,)),  # free text of the next TYPE_TEXT, written from outside
]
"""Fields of a page's state."""

OPEN, SUBMITTED, LEFT_SITE, TIMED_OUT = 0, 1, 2, 3
"""Outcomes."""
_SUBMIT, _NEXT, _GO = int(Then.SUBMIT), int(Then.NEXT), int(Then.GO)
_LEAVE, _EARLIER, _LATER = int(Then.LEAVE), int(Then.EARLIER), int(Then.LATER)
_LESS, _MORE = int(Then.LESS), int(Then.MORE)


@part
def begin(state: Any, page: Any) -> None:
    """Show the first page of an instance, untouched."""
    apart()
    state.page = state.scroll = state.month = state.x = state.y = 0
    state.focus = state.open = state.pressed = state.targeted = state.sent = state.edited = -1
    state.outcome = OPEN
    state.clock = state.raw = 0.0
    tab = -1
    for e in range(page.begin[PAGES]):
        x, mine = page.elements[e], state.elements[e]
        mine.on = mine.tampered = 0
        mine.number = x.low if x.kind == v.K_SLIDER else -1
        if x.writable:
            state.length[x.slot] = state.typed[x.slot, 0] = 0
            state.typed_words[x.slot, 0] = state.typed_words[x.slot, 1] = 0
        elif x.kind == v.K_TAB and tab < 0 and x.then == 0:
            tab = e
            mine.on = 1
    state.stale = 1
    settle(state, page)


@part
def settle(state: Any, page: Any) -> None:
    """Bring up to date what depends on what was typed, opened or turned to."""
    apart()
    e = state.edited
    if e >= 0:
        state.edited = -1
        v.keep_words(state, page.elements[e].slot)
        if page.elements[e].kind == v.K_AUTOCOMPLETE:
            _suggest(state, page, e)
            state.stale = 1
    if state.stale:
        state.stale = 0
        _show(state, page)


@part
def _show(state: Any, page: Any) -> None:
    """Find what shows: on this page, with everything that it is part of open."""
    state.showing = 0
    for e in range(page.begin[state.page], page.begin[state.page + 1]):
        x, mine, shown = page.elements[e], state.elements[e], True
        if x.parent >= 0:
            owner = state.elements[x.parent]
            is_open = state.open == x.parent if x.popup else owner.on == 1
            shown = is_open and owner.visible == 1
            if shown and x.kind == v.K_SUGGESTION:
                shown = mine.number >= 0
            elif shown and x.kind == v.K_DAY:
                first = STARTS[state.month]
                day = x.low - first % 7  # 2017-01-01 was a Sunday
                shown = 0 <= day < STARTS[state.month + 1] - first
                mine.number = day + 1
        mine.visible = shown
        if shown:
            state.shown[state.showing] = e
            state.showing += 1
    if state.focus >= 0 and not state.elements[state.focus].visible:
        state.focus = -1
    if state.open >= 0 and not state.elements[state.open].visible:
        state.open = -1


@part
def _suggest(state: Any, page: Any, e: int) -> None:
    """Let an autocomplete suggest what begins with its text."""
    option = np.int64(page.elements[e].first)
    last = option + page.elements[e].count
    state.open = -1
    for k in range(page.begin[state.page], page.begin[state.page + 1]):
        if page.elements[k].kind != v.K_SUGGESTION or page.elements[k].parent != e:
            continue
        while option < last and not _begins(state, page, option, page.elements[e].slot):
            option += 1
        state.elements[k].number = option if option < last else -1
        if option < last:
            state.open = e
        option += 1


@part
def _begins(state: Any, page: Any, option: int, slot: int) -> bool:
    """Tell whether an option begins with what was typed, without regard to case."""
    for k in range(state.length[slot]):
        mine, its = np.int64(state.typed[slot, k]), np.int64(page.options[option, k])
        if v.lower(mine) != v.lower(its):
            return False
    return state.length[slot] > 0


@part
def hit(state: Any, page: Any) -> int:
    """Return the topmost element that shows under the pointer, or -1."""
    area, x, y = page.scroll, state.x, state.y
    inside = area[0] <= x < area[0] + area[2] and area[1] <= y < area[1] + area[3]
    for k in range(state.showing - 1, -1, -1):
        e = np.int64(state.shown[k])
        its = page.elements[e]
        if its.scrolls and not inside:
            continue
        top = its.top - (state.scroll if its.scrolls else 0)
        if its.left <= x < its.left + its.width and top <= y < top + its.height:
            return e
    return -1


@part
def set_focus(state: Any, page: Any, e: int) -> None:
    """Give an element the focus, -1 for none; a text input may submit on that."""
    before, state.focus = state.focus, e
    if e >= 0 and e != before:
        x = page.elements[e]
        if x.kind == v.K_INPUT and x.then == _SUBMIT:
            state.elements[e].tampered = 1
            submit(state, e)


@part
def submit(state: Any, e: int) -> None:
    """Send the form, by element ``e``."""
    if state.outcome == OPEN:
        state.outcome = SUBMITTED
        state.sent = e


@part
def press(state: Any, page: Any) -> int:
    """Press the pointer's button; return the element under it, or -1."""
    e = hit(state, page)
    state.pressed = state.targeted = e
    popup = e >= 0 and page.elements[e].popup == 1
    mine = e == state.open or (popup and page.elements[e].parent == state.open)
    if state.open >= 0 and not mine:
        state.open = -1
        state.stale = 1
    if popup:
        return e  # what pops up leaves the focus where it is
    set_focus(state, page, e if e >= 0 and page.elements[e].focusable else -1)
    if e >= 0 and page.elements[e].kind == v.K_SLIDER:
        slide(state, page, e)
    return e


@part
def slide(state: Any, page: Any, e: int) -> None:
    """Move a slider to the pointer."""
    x = page.elements[e]
    span, room = np.int64(x.high) - x.low, np.int64(x.width) - 1
    place = 2 * (min(max(state.x, x.left), x.left + room) - x.left)
    state.elements[e].tampered = 1
    state.elements[e].number = x.low + (place * span + room) // (2 * room)


@part
def shift(state: Any, page: Any, e: int, by: int) -> None:
    """Move a slider by a number, within its range."""
    x = page.elements[e]
    state.elements[e].number = min(max(state.elements[e].number + by, x.low), x.high)


@part
def click(state: Any, page: Any, e: int) -> None:
    """Do what a click on an element does."""
    apart()
    x, mine = page.elements[e], state.elements[e]
    kind = x.kind
    mine.tampered = 1
    state.stale = 1
    if kind == v.K_CHECKBOX or kind == v.K_NODE:
        mine.on = 1 - mine.on
    elif kind == v.K_RADIO or kind == v.K_TAB:
        for k in range(page.begin[PAGES]):  # the rest of its group goes off
            if page.elements[k].kind == kind and page.elements[k].group == x.group:
                state.elements[k].on = 0
        mine.on = 1
    elif kind == v.K_SELECT or kind == v.K_DATE:
        state.open = -1 if state.open == e else e
        if kind == v.K_DATE:
            state.month = v.month_of(np.int64(mine.number))
    elif kind == v.K_OPTION or kind == v.K_DAY or kind == v.K_SUGGESTION:
        _pick(state, page, e)
    _then(state, page, e)


@part
def _pick(state: Any, page: Any, e: int) -> None:
    """Give the owner of a popup what was picked in it."""
    number, kind = np.int64(state.elements[e].number), page.elements[e].kind
    owner = np.int64(page.elements[e].parent)
    mine, slot = state.elements[owner], page.elements[owner].slot
    state.open = -1
    mine.tampered = 1
    if kind == v.K_OPTION:
        mine.number = e
    elif kind == v.K_DAY:
        mine.number = STARTS[state.month] + number - 1
    else:
        state.length[slot] = TYPED
        for k in range(TYPED):
            code = page.options[number, k]
            state.typed[slot, k] = code
            if code == 0:
                state.length[slot] = k
                break
        v.keep_words(state, slot)


@part
def _then(state: Any, page: Any, e: int) -> None:
    """Submit, leave, show another page or month, move a slider."""
    x = page.elements[e]
    then = x.then
    if then == _SUBMIT and not x.writable:
        submit(state, e)
    elif then == _LEAVE:
        state.outcome = LEFT_SITE
    elif then == _GO or (then == _NEXT and _is_filled(state, page)):
        state.page = x.low
        state.focus = state.open = -1
    elif then == _EARLIER:
        state.month = max(state.month - 1, 0)
    elif then == _LATER:
        state.month = min(state.month + 1, MONTHS - 1)
    elif then in (_LESS, _MORE):
        shift(state, page, np.int64(x.low), 1 if then == _MORE else -1)


@part
def is_empty(state: Any, page: Any, e: int) -> bool:
    """Tell whether a field would be missing in a request."""
    x = page.elements[e]
    if x.writable:
        return state.length[x.slot] == 0
    if x.kind == v.K_RADIO:
        for k in range(page.begin[PAGES]):
            other = page.elements[k]
            if other.kind == x.kind and other.group == x.group and state.elements[k].on:
                return False
        return True
    return state.elements[e].number < 0 and (x.kind == v.K_SELECT or x.kind == v.K_DATE)


@part
def _is_filled(state: Any, page: Any) -> bool:
    """Tell whether no required field of this page is empty."""
    for e in range(page.begin[state.page], page.begin[state.page + 1]):
        if page.elements[e].required and is_empty(state, page, e):
            return False
    return True
