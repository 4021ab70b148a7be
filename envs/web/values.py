"""What an element holds, as text: compiled, for tables, pictures and hashes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.web.dates import MONTH_TITLES, STARTS, TODAY
from daedalus.envs.web.model import TEXT, Kind
from daedalus.envs.web.pool import VOCABULARY, codes

# numbers, as the compiler takes them
K_TEXT, K_BOX, K_BUTTON, K_LINK = (int(Kind[n]) for n in ("TEXT", "BOX", "BUTTON", "LINK"))
K_INPUT, K_PASSWORD, K_AREA = (int(Kind[n]) for n in ("INPUT", "PASSWORD", "AREA"))
K_AUTOCOMPLETE, K_SUGGESTION = int(Kind.AUTOCOMPLETE), int(Kind.SUGGESTION)
K_CHECKBOX, K_RADIO, K_SELECT = (int(Kind[n]) for n in ("CHECKBOX", "RADIO", "SELECT"))
K_OPTION, K_DATE, K_DAY = (int(Kind[n]) for n in ("OPTION", "DATE", "DAY"))
K_MONTH, K_SLIDER, K_TAB, K_NODE = (int(Kind[n]) for n in ("MONTH", "SLIDER", "TAB", "NODE"))

_TITLES = np.stack([codes(title, TEXT) for title in MONTH_TITLES])
_FNV, _PRIME, _MASK = 2166136261, 16777619, 0xFFFFFFFF


@register_jitable
def is_writable(kind: int) -> bool:
    """Tell whether an element takes text."""
    return K_INPUT <= kind <= K_AUTOCOMPLETE


@register_jitable
def lower(code: int) -> int:
    """Return the lower case of a code point."""
    return code + 32 if 65 <= code <= 90 else code


@register_jitable
def month_of(day: int) -> int:
    """Return the month of a day, this month for none (-1)."""
    day = TODAY if day < 0 else day
    month = 0
    while STARTS[month + 1] <= day:
        month += 1
    return month


@register_jitable
def value_text(state: Any, page: Any, e: int, out: Any) -> int:
    """Write what was entered or chosen in an element, or what it shows now; return its length."""
    kind, number = np.int64(page.kind[e]), np.int64(state.number[e])
    if is_writable(kind):
        slot = page.slot[e]
        for k in range(state.length[slot]):
            out[k] = state.typed[slot, k]
        return state.length[slot]
    if kind in (K_DAY, K_SLIDER):
        return _digits(number, out)
    if kind == K_MONTH:
        return copy_text(_TITLES[state.month], out)
    if number < 0:
        return 0
    if kind == K_SELECT:
        return copy_text(page.text[number], out)
    if kind == K_SUGGESTION:
        return copy_text(page.options[number], out)
    return _date(number, out) if kind == K_DATE else 0


@register_jitable
def copy_text(source: Any, out: Any) -> int:
    """Copy a text and return its length."""
    for k in range(TEXT):
        if source[k] == 0:
            return k
        out[k] = source[k]
    return TEXT


@register_jitable
def _digits(number: int, out: Any) -> int:
    """Write an integer between -999 and 999."""
    length, rest = 0, abs(number)
    if number < 0:
        out[0] = 45
        length = 1
    scale = 100 if rest >= 100 else 10 if rest >= 10 else 1
    while scale:
        out[length] = 48 + rest // scale % 10
        scale //= 10
        length += 1
    return length


@register_jitable
def _date(number: int, out: Any) -> int:
    """Write a day as MM/DD/YYYY."""
    month = month_of(number)
    digits = ((month % 12 + 1) * 100 + number - STARTS[month] + 1) * 10000 + 2017 + month // 12
    for k in range(9, -1, -1):
        if k == 2 or k == 5:
            out[k] = 47
        else:
            out[k] = 48 + digits % 10
            digits //= 10
    return 10


@register_jitable
def keep_words(state: Any, page: Any, e: int) -> None:
    """Hash the value of an element: the whole, and its first word (``pool.word_hash``)."""
    text = np.empty(TEXT, np.uint8)
    length = value_text(state, page, e, text)
    whole, first, count, ended = _FNV, _FNV, 0, False
    for k in range(length):
        code = lower(np.int64(text[k]))
        whole = ((whole ^ code) * _PRIME) & _MASK
        # the characters of a word: letters, digits and _ @ . : / -
        part = 97 <= code <= 122 or 45 <= code <= 58 or code == 64 or code == 95
        if part and not ended:
            first = ((first ^ code) * _PRIME) & _MASK
            count += 1
        elif count:
            ended = True
    state.value_words[e, 0] = whole % (VOCABULARY - 1) + 1 if length else 0
    state.value_words[e, 1] = first % (VOCABULARY - 1) + 1 if count else 0
