"""What a policy does, drawn over the picture of a page: probabilities, choice, pointer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from daedalus.envs.web import actions as a
from daedalus.envs.web.actions import Command
from daedalus.envs.web.font import load_dots
from daedalus.envs.web.model import CLASSIC, LETTER, LINE
from daedalus.envs.web.table import Row

SCALE = 3
"""How much larger the small pages are drawn, so that numbers fit between elements."""
LIKELY, NUMBERS = (92, 172, 255), (20, 90, 190)
CHOSEN, POINTER = (255, 104, 0), (200, 0, 0)
_ON_ELEMENTS = (a.CLICK_ELEMENT, a.FOCUS_TEXT, a.FOCUS_FIELD)
LEAST = 0.05
"""Probability from which an element is tinted."""
_ARROW = ("#", "##", "###", "####", "#####", "######", "####", "#..##", "...##")


class Sight(NamedTuple):
    """A page as it is drawn."""

    table: Sequence[Row]
    first: int  # position of the first element of the page
    size: tuple[int, int]  # of the page in pixels; the picture may have a goal above it
    pointer: tuple[int, int]


def overlay(
    picture: np.ndarray, sight: Sight, command: Command | None, panels: Mapping[str, Any]
) -> np.ndarray:
    """Return a picture with what the policy is about to do.

    Args:
        picture: uint8 (H, W, 3).
        sight: The page.
        command: What it chose; None at the end.
        panels: What the policy shows; ``"elements"`` are the probabilities of the rows, (R,).

    Returns:
        uint8; pages of 160 x 210 pixels three times as large.
    """
    likely = panels.get("elements")
    scale = SCALE if sight.size == CLASSIC else 1
    out = picture.repeat(scale, 0).repeat(scale, 1)
    down = out.shape[0] - scale * sight.size[1]
    for row in sight.table:
        left, top, width, height = (scale * n for n in row.rectangle)
        box = (left, top + down, left + width, top + down + height)
        place = row.element - sight.first
        if likely is not None and place < len(likely) and likely[place] >= LEAST:
            _tint(out, box, float(likely[place]), scale)
        if command is not None and _is_chosen(command, row, place):
            _frame(out, box)
    x, y = _pointed(command, sight)
    _arrow(out, scale * x, scale * y + down)
    return out


def _is_chosen(command: Command, row: Row, place: int) -> bool:
    if command.type in _ON_ELEMENTS:
        return command.element == place
    if command.type in (a.PRESS_KEY, a.TYPE_TEXT, a.TYPE_FIELD):
        return row.focused
    return False


def _pointed(command: Command | None, sight: Sight) -> tuple[int, int]:
    """Return where the pointer is when the command is carried out."""
    if command is None:
        return sight.pointer
    if a.MOVE <= command.type <= a.SCROLL_DOWN:
        return command.x, command.y
    if command.type in _ON_ELEMENTS:
        for row in sight.table:
            if row.element - sight.first == command.element:
                left, top, width, height = row.rectangle
                return left + width // 2, top + height // 2
    return sight.pointer


def _tint(out: np.ndarray, box: tuple[int, int, int, int], share: float, scale: int) -> None:
    """Colour an element by its probability and write it, in percent, to its right."""
    left, top, right, bottom = np.maximum(box, 0)
    part = out[top:bottom, left:right]
    part[:] = part * (1 - share * (1 - np.array(LIKELY) / 255))
    words = f"{100 * share:.0f}%"
    room = out.shape[1] - scale * (LETTER * len(words) + 1)
    _write(out, min(right + scale, room), (top + bottom - scale * LINE) // 2, words, scale)


def _write(out: np.ndarray, x: int, y: int, words: str, scale: int) -> None:
    dots, counts = load_dots()
    for place, letter in enumerate(words):
        for right, down in dots[ord(letter), : counts[ord(letter)]].tolist():
            left, top = x + scale * (LETTER * place + right), y + scale * down
            out[max(top, 0) : top + scale, max(left, 0) : left + scale] = NUMBERS


def _frame(out: np.ndarray, box: tuple[int, int, int, int]) -> None:
    """Draw an edge of two pixels around an element."""
    left, top, right, bottom = np.maximum(np.add(box, (-2, -2, 2, 2)), 0)
    part = out[top:bottom, left:right]
    for edge in (part[:2], part[-2:], part[:, :2], part[:, -2:]):
        edge[:] = CHOSEN


def _arrow(out: np.ndarray, x: int, y: int) -> None:
    """Draw the pointer, its tip at a place."""
    for down, line in enumerate(_ARROW):
        for right, dot in enumerate(line):
            place = y + 2 * down, x + 2 * right
            if dot == "#":
                out[place[0] : place[0] + 2, place[1] : place[1] + 2] = POINTER
