"""What keys do, and how a sent form is scored: the rest of the compiled rules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.web import events
from daedalus.envs.web import values as v
from daedalus.envs.web.model import TYPED, Rule
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


@register_jitable
def press_key(state: Any, page: Any, code: int) -> None:
    """Press a key where the focus is."""
    e = state.focus
    if code == TAB:
        _focus_next(state, page)
        return
    if e < 0 or code == NOTHING:
        return
    state.targeted = e
    kind = page.kind[e]
    if v.is_writable(kind):
        if code >= SPACE or code == BACKSPACE:
            _edit(state, page, e, code)
    elif kind == v.K_SLIDER:
        if code in (MORE, LESS):
            state.tampered[e] = 1
            events.set_number(state, page, e, state.number[e] + (1 if code == MORE else -1))
    elif code in (ENTER, SPACE):
        events.click(state, page, e)


@register_jitable
def _focus_next(state: Any, page: Any) -> None:
    """Move the focus to the next element of the page that can have it."""
    if state.open >= 0:
        state.open = -1
        events.refresh(state, page)
    first, last = np.int64(page.begin[state.page]), np.int64(page.begin[state.page + 1])
    e = state.focus if state.focus >= 0 else last - 1
    for _ in range(last - first):
        e = e + 1 if e + 1 < last else first
        if state.visible[e] and events.can_focus(page.kind[e]):
            events.set_focus(state, page, e)
            state.targeted = e
            return


@register_jitable
def _edit(state: Any, page: Any, e: int, code: int) -> None:
    """Type a character at the end of a text, or take its last one away."""
    slot = page.slot[e]
    length = state.length[slot]
    if code == BACKSPACE:
        length = max(length - 1, 0)
    elif length < TYPED:
        state.typed[slot, length] = code
        length += 1
    state.length[slot] = length
    state.tampered[e] = 1
    v.keep_words(state, page, e)
    if page.kind[e] == v.K_AUTOCOMPLETE:
        _suggest(state, page, e)


@register_jitable
def _suggest(state: Any, page: Any, e: int) -> None:
    """Let an autocomplete suggest what begins with its text."""
    option, last = np.int64(page.first[e]), np.int64(page.first[e]) + page.count[e]
    state.open = -1
    for k in range(page.begin[PAGES]):
        if page.kind[k] != v.K_SUGGESTION or page.parent[k] != e:
            continue
        while option < last and not _begins(state, page, option, e):
            option += 1
        state.number[k] = option if option < last else -1
        if option < last:
            state.open = e
        option += 1
    events.refresh(state, page)


@register_jitable
def _begins(state: Any, page: Any, option: int, e: int) -> bool:
    """Tell whether an option begins with what was typed, without regard to case."""
    slot = page.slot[e]
    for k in range(state.length[slot]):
        mine, its = np.int64(state.typed[slot, k]), np.int64(page.options[option, k])
        if v.lower(mine) != v.lower(its):
            return False
    return state.length[slot] > 0


@register_jitable
def type_text(state: Any, page: Any, text: Any) -> None:
    """Type a text that ends with 0 or with its array."""
    for k in range(text.size):
        if text[k] == 0:
            return
        press_key(state, page, np.int64(text[k]))


@register_jitable
def score(state: Any, page: Any) -> float:
    """Return the raw reward of the sent form; see ``model.score``."""
    total = matched = 0
    missing = wants_sender = False
    for e in range(page.begin[PAGES]):
        if not page.named[e]:
            continue
        if page.then[e] == events._SUBMIT:
            wants_sender = wants_sender or page.wanted[e] == 1
            continue
        if page.required[e] and events.is_empty(state, page, e):
            missing = True
        counts, agrees = _field(state, page, e)
        total += counts
        matched += agrees
    sender = state.sent
    if wants_sender or page.named[sender]:
        total += 1
        matched += page.named[sender] == 1 and page.want[sender] == 1
    if page.rule == EXACT:
        return 1.0 if matched == total else -1.0
    return -1.0 if missing else matched / max(total, 1)


EXACT = int(Rule.EXACT)


@register_jitable
def _field(state: Any, page: Any, e: int) -> tuple[bool, bool]:
    """Return whether an element counts as a field, and whether it is as wanted."""
    kind, on = page.kind[e], state.on[e] == 1
    if kind == v.K_RADIO:
        if page.wanted[e]:  # by its group: the wanted button stands for all
            return page.want[e] == 1, page.want[e] == 1 and on
        return on, False
    if kind == v.K_CHECKBOX:
        wanted = page.want[e] == 1
        return wanted or on, wanted and on
    if v.is_writable(kind):
        counts = page.wanted[e] == 1 or state.length[page.slot[e]] > 0
        return counts, counts and _is_wish(state, page, e)
    counts = page.wanted[e] == 1 or state.number[e] != -1
    return counts, counts and state.number[e] == page.want[e]


@register_jitable
def _is_wish(state: Any, page: Any, e: int) -> bool:
    slot = page.slot[e]
    for k in range(TYPED):
        typed = state.typed[slot, k] if k < state.length[slot] else 0
        if typed != page.wish[e, k]:
            return False
    return True
