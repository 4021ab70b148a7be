"""What keys do, and how a sent form is scored: the rest of the compiled rules."""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.web import events
from daedalus.envs.web import values as v
from daedalus.envs.web.compiling import apart, part
from daedalus.envs.web.model import TYPED, Rule, Then
from daedalus.envs.web.pool import PAGES

_NAMED = """
<Enter> <PageUp> <PageDown> <Backspace> <Delete> <Tab> <Space> <ArrowUp> <ArrowRight> <ArrowDown>
<ArrowLeft> [ ] - = ; " \\ , . / ` 1 2 3 4 5 6 7 8 9 0 <Numpad0> <Numpad1> <Numpad2> <Numpad3>
<Numpad4> <Numpad5> <Numpad6> <Numpad7> <Numpad8> <Numpad9> <NumpadAdd> <NumpadMultiply>
<NumpadSubtract> <NumpadDivide> <NumpadDecimal> <NumpadEnter> a b c d e f g h i j k l m n o p q r s
t u v w x y z C-a C-c C-x C-v A B C D E F G H I J K L M N O P Q R S T U V W X Y Z
"""
KEYS = (*_NAMED.split(), ":", "@", "_")
"""Keys that can be pressed: MiniWoB++'s (Humphreys et al. 2022), in its order, and three more."""

ENTER, BACKSPACE, TAB, SPACE, MORE, LESS, NOTHING = 1, 8, 9, 32, 2, 3, 0
_NUMPAD = dict(zip(("Add", "Multiply", "Subtract", "Divide", "Decimal"), "+*-/.", strict=True))
_SPECIAL = {
    "<Enter>": ENTER,
    "<NumpadEnter>": ENTER,
    "<Backspace>": BACKSPACE,
    "<Tab>": TAB,
    "<Space>": SPACE,
    "<ArrowUp>": MORE,
    "<ArrowRight>": MORE,
    "<ArrowDown>": LESS,
    "<ArrowLeft>": LESS,
} | {f"<Numpad{name}>": ord(sign) for name, sign in _NUMPAD.items()}


def key_code(key: str) -> int:
    """Return what a key does: a code point to type, or one of the codes above.

    >>> key_code("a"), key_code("<Numpad3>"), key_code("<Enter>"), key_code("C-a")
    (97, 51, 1, 0)
    """
    if len(key) == 1:
        return ord(key)
    if key.startswith("<Numpad") and key[7].isdigit():
        return ord(key[7])
    return _SPECIAL.get(key, NOTHING)


@part
def press_key(state: Any, page: Any, code: int) -> None:
    """Press a key where the focus is."""
    apart()
    if code == TAB:
        _focus_next(state, page)
        return
    e = state.focus
    if e < 0 or code == NOTHING:
        return
    state.targeted = e
    x = page.elements[e]
    if x.writable:
        if code >= SPACE or code == BACKSPACE:
            _edit(state, e, np.int64(x.slot), code)
    elif x.kind == v.K_SLIDER:
        if code in (MORE, LESS):
            state.elements[e].tampered = 1
            events.shift(state, page, e, 1 if code == MORE else -1)
    elif code in (ENTER, SPACE):
        events.click(state, page, e)
        events.settle(state, page)


@part
def _focus_next(state: Any, page: Any) -> None:
    """Move the focus to the next element of the page that can have it."""
    events.settle(state, page)
    if state.open >= 0:
        state.open = -1
        state.stale = 1
        events.settle(state, page)
    first, last = np.int64(page.begin[state.page]), np.int64(page.begin[state.page + 1])
    e = state.focus if state.focus >= 0 else last - 1
    for _ in range(last - first):
        e = e + 1 if e + 1 < last else first
        if state.elements[e].visible and page.elements[e].focusable:
            events.set_focus(state, page, e)
            state.targeted = e
            return


@part
def _edit(state: Any, e: int, slot: int, code: int) -> None:
    """Type a character at the end of a text, or take its last one away."""
    length = state.length[slot]
    if code == BACKSPACE:
        length = max(length - 1, 0)
    elif length < TYPED:
        state.typed[slot, length] = code
        length += 1
    state.typed[slot, length] = 0
    state.length[slot] = length
    state.elements[e].tampered = 1
    state.edited = e


@part
def score(state: Any, page: Any) -> float:
    """Return the raw reward of the sent form; see ``model.score``."""
    apart()
    total = matched = 0
    missing = wants_sender = False
    for e in range(page.begin[PAGES]):
        x = page.elements[e]
        if not x.named:
            continue
        if x.then == SUBMIT:
            wants_sender = wants_sender or x.wanted == 1
            continue
        if x.required and events.is_empty(state, page, e):
            missing = True
        counts, agrees = _field(state, page, e)
        total += counts
        matched += agrees
    sender = page.elements[state.sent]
    if wants_sender or sender.named:
        total += 1
        matched += sender.named == 1 and sender.want == 1
    if page.rule == EXACT:
        return 1.0 if matched == total else -1.0
    return -1.0 if missing else matched / max(total, 1)


EXACT, SUBMIT = int(Rule.EXACT), int(Then.SUBMIT)


@part
def _field(state: Any, page: Any, e: int) -> tuple[bool, bool]:
    """Return whether an element counts as a field, and whether it is as wanted."""
    x, number, on = page.elements[e], state.elements[e].number, state.elements[e].on == 1
    if x.kind == v.K_RADIO:
        if x.wanted:  # by its group: the wanted button stands for all
            return x.want == 1, x.want == 1 and on
        return on, False
    if x.kind == v.K_CHECKBOX:
        wanted = x.want == 1
        return wanted or on, wanted and on
    if x.writable:
        counts, agrees = x.wanted == 1 or state.length[x.slot] > 0, True
        for k in range(TYPED):
            agrees = agrees and state.typed[x.slot, k] == page.wish[e, k]
            if page.wish[e, k] == 0:
                break
        return counts, counts and agrees
    counts = x.wanted == 1 or number != -1
    return counts, counts and number == x.want
