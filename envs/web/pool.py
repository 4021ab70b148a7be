"""Instances of a task as arrays: what the kernels read and never write."""

from __future__ import annotations

import functools
import re

import numpy as np

from daedalus.envs.web.dates import DATE_TEXTS
from daedalus.envs.web.model import (
    FIELDS,
    MAX_ELEMENTS,
    TAG_OF,
    TEXT,
    UTTERANCE,
    WRITABLE,
    Element,
    Instance,
    Kind,
    draw_instance,
)

NUMBERS = (
    *("kind", "left", "top", "width", "height", "parent", "then", "slot", "first", "count"),
    *("low", "high", "want", "group", "colour", "tag"),
)
FLAGS = ("wanted", "required", "named", "scrolls", "popup", "writable", "focusable", "valued")
"""What is told of every element: of `Element`, and how the kernels find and score it."""
VALUED = (*WRITABLE, Kind.SELECT, Kind.DATE, Kind.DAY, Kind.MONTH, Kind.SLIDER, Kind.SUGGESTION)
"""Kinds that may show a value beside their text."""
PAGES, OPTIONS = 8, 80
"""Pages of an instance, and what its autocompletes know, at most."""
WORDS = 7
"""Words of an element: whole text, three of its words, name; whole value, first word of it."""
TOKENS = 32
"""Words of an utterance that can be observed."""
PARTS = 3
GOAL_WORDS = 3 + PARTS
"""Words of a goal field: key, whole value, its first word, its parts."""
VOCABULARY = 1 << 16
_HASH, _PRIME = 2166136261, 16777619


def word_hash(text: str) -> int:
    """Return the FNV-1a hash of a text without regard to case, in [1, VOCABULARY); 0 for none."""
    value = _HASH
    for byte in text.lower().encode("ascii"):
        value = ((value ^ byte) * _PRIME) & 0xFFFFFFFF
    return value % (VOCABULARY - 1) + 1 if text else 0


def words_of(text: str, count: int) -> list[int]:
    """Return hashes of the first ``count`` words of a text, filled up with 0."""
    found = [word_hash(word) for word in re.findall(r"[\w@.:/-]+", text)][:count]
    return found + [0] * (count - len(found))


def parts_of(text: str) -> list[int]:
    """Return hashes of the first runs of letters or digits: 3, 1 and 2017 of 03/01/2017."""
    runs = re.findall(r"[a-z]+|[0-9]+", text.lower())[:PARTS]
    found = [word_hash(str(int(run)) if run.isdigit() else run) for run in runs]
    return found + [0] * (PARTS - len(found))


def goal_words(key: str, value: str) -> list[int]:
    """Return the hashes of a goal field: key, whole value, its first word, its parts."""
    return [word_hash(key), word_hash(value), *words_of(value, 1), *parts_of(value)]


def codes(text: str, length: int) -> np.ndarray:
    """Return a text as code points uint8 (length,), filled up with 0."""
    out = np.zeros(length, np.uint8)
    raw = np.frombuffer(text.encode("ascii"), np.uint8)[:length]
    out[: len(raw)] = raw
    return out


def text_of(row: np.ndarray) -> str:
    """Return the text of code points that end with the first 0."""
    return bytes(row).split(b"\0", 1)[0].decode("ascii")


ELEMENT = np.dtype(
    [
        *((name, "i2") for name in NUMBERS),
        *((name, "u1") for name in FLAGS),
        ("words", "i4", (5,)),  # hashes of the whole text, three words of it, the name
    ],
    align=True,
)
"""An element: what a step needs of it lies together, within one line of the cache."""
PAGE = np.dtype(
    [
        ("begin", "i4", (PAGES + 1,)),  # first element of each page; from the last on, their number
        ("scroll", "i4", (5,)),
        ("rule", "i4"),
        ("deadline", "f8"),  # ms
        ("tokens", "i4", (TOKENS,)),
        ("field_words", "i4", (FIELDS, GOAL_WORDS)),
        ("elements", ELEMENT, (MAX_ELEMENTS,)),
        ("text", "u1", (MAX_ELEMENTS, TEXT)),
        ("wish", "u1", (MAX_ELEMENTS, TEXT)),  # wanted text of a text input
        ("options", "u1", (OPTIONS, TEXT)),
        ("option_words", "i4", (OPTIONS, 2)),  # whole text, first word
        ("utterance", "u1", (UTTERANCE,)),
        ("fields", "u1", (FIELDS, TEXT)),  # values of the goal fields
    ],
    align=True,
)
"""An instance as one record: the kernels get it by one pointer, whatever the task."""


@functools.lru_cache(maxsize=16)
def draw_pool(
    tasks: tuple[str, ...], count: int, split: str
) -> tuple[np.ndarray, tuple[Instance, ...]]:
    """Draw ``count`` instances of each task as records, and as they were drawn."""
    instances = tuple(draw_instance(t, number, split) for t in tasks for number in range(count))
    return as_pool(instances), instances


def as_pool(instances: tuple[Instance, ...]) -> np.ndarray:
    """Return instances as records `PAGE` (N,)."""
    pool = np.zeros(len(instances), PAGE)
    for page, instance in zip(pool, instances, strict=True):
        _write(page, instance)
    pool.flags.writeable = False
    return pool


def _write(page: np.void, instance: Instance) -> None:
    elements = instance.elements
    page["begin"] = [sum(e.page < k for e in elements) for k in range(PAGES + 1)]
    page["utterance"] = codes(instance.utterance, UTTERANCE)
    page["tokens"] = words_of(instance.utterance, TOKENS)
    page["scroll"] = instance.scroll
    page["rule"], page["deadline"] = instance.rule, instance.deadline
    for row, (key, value) in enumerate(instance.fields.items()):
        page["fields"][row] = codes(value, TEXT)
        page["field_words"][row] = goal_words(key, value)
    slot, first = 0, 0
    for i, element in enumerate(elements):
        told = _told(instance, element) | {"slot": slot, "first": first}
        for name, value in told.items():
            page["elements"][name][i] = value
        page["elements"]["words"][i] = _words(element)
        page["text"][i] = codes(element.text, TEXT)
        if element.kind in WRITABLE:
            page["wish"][i] = codes(instance.request.get(element.name, ""), TEXT)
            slot += 1
        for option in element.options:
            page["options"][first] = codes(option, TEXT)
            page["option_words"][first] = (word_hash(option), *words_of(option, 1))
            first += 1


def _words(element: Element) -> list[int]:
    return [word_hash(element.text), *words_of(element.text, 3), word_hash(element.name)]


def _told(instance: Instance, element: Element) -> dict[str, int]:
    """Return the numbers and flags of an element."""
    wanted = instance.request.get(element.name, "") if element.name else ""
    parent = instance.elements[element.parent].kind if element.parent >= 0 else Kind.TEXT
    own = ("kind", "left", "top", "width", "height", "parent", "then", "low", "high")
    return {name: int(getattr(element, name)) for name in (*own, "colour", "scrolls")} | {
        "count": len(element.options),
        "want": _want(instance, element, wanted),
        "wanted": bool(wanted),
        "required": element.required and bool(wanted),
        "named": bool(element.name),
        "group": word_hash(element.name) % 32749,
        "tag": TAG_OF[element.kind],
        "popup": parent in (Kind.SELECT, Kind.DATE, Kind.AUTOCOMPLETE),
        "writable": element.kind in WRITABLE,
        "focusable": element.kind not in (Kind.TEXT, Kind.BOX),
        "valued": element.kind in VALUED,
    }


def _want(instance: Instance, element: Element, wanted: str) -> int:
    """Return the wanted state: 1 for what is to be on or clicked, a number, a position."""
    if element.kind is Kind.SLIDER:
        return int(wanted or element.low)
    if element.kind is Kind.DATE:
        return DATE_TEXTS.index(wanted) if wanted else -1
    if element.kind is Kind.SELECT:
        places = [
            i
            for i, option in enumerate(instance.elements)
            if option.parent >= 0
            and instance.elements[option.parent] is element
            and option.text == wanted
        ]
        return places[0] if places else -1
    return int(bool(wanted) and wanted == element.value)
