"""What an element holds, as text and as hashes: compiled, for tables and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.web.compiling import part, part_with_array
from daedalus.envs.web.dates import DATE_TEXTS, MONTH_TITLES, STARTS, TODAY
from daedalus.envs.web.model import Kind
from daedalus.envs.web.pool import VOCABULARY, codes, word_hash, words_of

# numbers, as the compiler takes them
K_TEXT, K_BOX, K_BUTTON, K_LINK = (int(Kind[n]) for n in ("TEXT", "BOX", "BUTTON", "LINK"))
K_INPUT, K_PASSWORD, K_AREA = (int(Kind[n]) for n in ("INPUT", "PASSWORD", "AREA"))
K_AUTOCOMPLETE, K_SUGGESTION = int(Kind.AUTOCOMPLETE), int(Kind.SUGGESTION)
K_CHECKBOX, K_RADIO, K_SELECT = (int(Kind[n]) for n in ("CHECKBOX", "RADIO", "SELECT"))
K_OPTION, K_DATE, K_DAY = (int(Kind[n]) for n in ("OPTION", "DATE", "DAY"))
K_MONTH, K_SLIDER, K_TAB, K_NODE = (int(Kind[n]) for n in ("MONTH", "SLIDER", "TAB", "NODE"))

LOWEST, HIGHEST = -999, 999
"""Numbers that a slider can have."""


def _constants(texts: list[str], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return texts as code points uint8 (n, width), and hashes of whole and first word (n, 2)."""
    words = np.array([(word_hash(text), *words_of(text, 1)) for text in texts], np.int32)
    return np.stack([codes(text, width) for text in texts]), words


_NUMBERS, _NUMBER_WORDS = _constants([str(n) for n in range(LOWEST, HIGHEST + 1)], 4)
_TITLES, _TITLE_WORDS = _constants(list(MONTH_TITLES), 16)
_DATES, _DATE_WORDS = _constants(list(DATE_TEXTS), 10)
_EMPTY = np.zeros(1, np.uint8)
_FNV, _PRIME, _MASK = 2166136261, 16777619, 0xFFFFFFFF


@part
def lower(code: int) -> int:
    """Return the lower case of a code point."""
    return code + 32 if 65 <= code <= 90 else code


@part
def month_of(day: int) -> int:
    """Return the month of a day, this month for none (-1)."""
    day = TODAY if day < 0 else day
    month = 0
    while STARTS[month + 1] <= day:
        month += 1
    return month


@part_with_array
def value_text(state: Any, page: Any, e: int) -> Any:
    """Return what was entered or chosen in an element, or what it shows now.

    Code points, uint8 (n,): all of them, or those before the first 0.
    """
    x, number = page.elements[e], np.int64(state.elements[e].number)
    if x.writable:
        return state.typed[x.slot]
    if x.kind == K_DAY or x.kind == K_SLIDER:
        return _NUMBERS[number - LOWEST]
    if x.kind == K_MONTH:
        return _TITLES[state.month]
    if number >= 0:
        if x.kind == K_SELECT:
            return page.text[number]
        if x.kind == K_SUGGESTION:
            return page.options[number]
        if x.kind == K_DATE:
            return _DATES[number]
    return _EMPTY


@part
def value_words(state: Any, page: Any, e: int) -> tuple[int, int]:
    """Return the hashes of the text of `value_text`: the whole, and its first word."""
    x, number = page.elements[e], np.int64(state.elements[e].number)
    if x.writable:
        return state.typed_words[x.slot, 0], state.typed_words[x.slot, 1]
    if x.kind == K_DAY or x.kind == K_SLIDER:
        return _NUMBER_WORDS[number - LOWEST, 0], _NUMBER_WORDS[number - LOWEST, 1]
    if x.kind == K_MONTH:
        return _TITLE_WORDS[state.month, 0], _TITLE_WORDS[state.month, 1]
    if number >= 0:
        if x.kind == K_SELECT:
            return page.elements[number].words[0], page.elements[number].words[1]
        if x.kind == K_SUGGESTION:
            return page.option_words[number, 0], page.option_words[number, 1]
        if x.kind == K_DATE:
            return _DATE_WORDS[number, 0], _DATE_WORDS[number, 1]
    return np.int32(0), np.int32(0)


@part
def keep_words(state: Any, slot: int) -> None:
    """Hash a typed text: the whole, and its first word (``pool.word_hash``)."""
    whole, first, count, ended = _FNV, _FNV, 0, False
    for k in range(state.length[slot]):
        code = lower(np.int64(state.typed[slot, k]))
        whole = ((whole ^ code) * _PRIME) & _MASK
        # the characters of a word: letters, digits and _ @ . : / -
        inside = 97 <= code <= 122 or 45 <= code <= 58 or code == 64 or code == 95
        if inside and not ended:
            first = ((first ^ code) * _PRIME) & _MASK
            count += 1
        elif count:
            ended = True
    state.typed_words[slot, 0] = whole % (VOCABULARY - 1) + 1 if state.length[slot] else 0
    state.typed_words[slot, 1] = first % (VOCABULARY - 1) + 1 if count else 0
