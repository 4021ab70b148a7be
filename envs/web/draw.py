"""The native picture of a page: boxes, lines and a bitmap font, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.extending import register_jitable

from daedalus.envs.cache import jit
from daedalus.envs.web import values as v
from daedalus.envs.web.font import load_font
from daedalus.envs.web.model import CLASSIC, COLOURS, HEADER, LETTER, LINE, TEXT

FONT = load_font()
"""uint8 (128, 5); see ``font.py``."""
PALETTE = np.array(
    [*COLOURS.values(), (255, 255, 120), (232, 232, 232), (120, 120, 120), (40, 60, 200)], np.uint8
)
"""uint8 (colours, 3): those of boxes, then the utterance's ground, buttons, lines, links."""
PALETTE.flags.writeable = False
WHITE, RED, BLACK, YELLOW, PALE, LINES, BLUE = (
    0,
    1,
    len(COLOURS) - 1,
    *range(len(COLOURS), len(PALETTE)),
)


@register_jitable
def draw_page(state: Any, page: Any, out: Any) -> None:
    """Draw the page, uint8 (H, W, 3)."""
    clip = (0, 0, out.shape[1], out.shape[0])
    fill(out, clip, clip, WHITE)
    if out.shape[1] == CLASSIC[0]:
        fill(out, clip, (0, 0, out.shape[1], HEADER), YELLOW)
        _paragraph(out, clip, page.utterance)
    left, top, width, height = page.scroll[0], page.scroll[1], page.scroll[2], page.scroll[3]
    inner = (np.int64(left), np.int64(top), np.int64(left + width), np.int64(top + height))
    buffer = np.empty(TEXT, np.uint8)
    for e in range(np.int64(page.begin[state.page]), np.int64(page.begin[state.page + 1])):
        if not state.visible[e]:
            continue
        x, y = np.int64(page.left[e]), np.int64(page.top[e])
        y -= state.scroll if page.scrolls[e] else 0
        box = (x, y, x + page.width[e], y + page.height[e])
        _draw_element(out, inner if page.scrolls[e] else clip, box, state, page, e, buffer)
    if state.x or state.y:  # the pointer, once it has moved
        fill(out, clip, (state.x - 1, state.y - 1, state.x + 2, state.y + 2), RED)


@register_jitable
def _paragraph(out: Any, clip: Any, text: Any) -> None:
    """Write the utterance, broken between words."""
    x, y, k = 2, 3, 0
    while k < text.size and text[k]:
        end = k
        while end < text.size and text[end] and text[end] != 32:
            end += 1
        if x > 2 and x + LETTER * (end - k) > out.shape[1]:
            x, y = 2, y + LINE
        for place in range(k, end):
            letter(out, clip, x, y, np.int64(text[place]), BLACK)
            x += LETTER
        x += LETTER
        k = end + 1


@register_jitable
def _draw_element(
    out: Any, clip: Any, box: Any, state: Any, page: Any, e: int, buffer: Any
) -> None:
    """Draw one element by its kind."""
    kind = page.kind[e]
    if kind == v.K_SLIDER:
        _slider(out, clip, box, state.number[e] - page.low[e], page.high[e] - page.low[e])
        return
    if kind == v.K_BOX:
        fill(out, clip, box, np.int64(page.colour[e]))
    elif kind == v.K_CHECKBOX or kind == v.K_RADIO:
        frame(out, clip, box, BLACK, WHITE)
        inset = 3 if kind == v.K_RADIO else 2
        if state.on[e]:
            box = (box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset)
            fill(out, clip, box, BLACK)
        return
    elif kind != v.K_TEXT and kind != v.K_LINK and kind != v.K_NODE:
        pale = kind == v.K_BUTTON or (kind == v.K_TAB and not state.on[e]) or page.popup[e]
        edge = BLUE if state.focus == e else LINES
        frame(out, clip, box, edge, PALE if pale else WHITE)
    _words(out, clip, box, state, page, e, buffer)
    if kind == v.K_LINK:
        fill(out, clip, (box[0] + 2, box[3] - 1, box[2] - 1, box[3]), BLUE)


@register_jitable
def _words(out: Any, clip: Any, box: Any, state: Any, page: Any, e: int, buffer: Any) -> None:
    """Write the value of an element, or its text."""
    kind = page.kind[e]
    length = v.value_text(state, page, e, buffer)
    if length == 0:
        length = v.copy_text(page.text[e], buffer)
    masked = kind == v.K_PASSWORD
    x, y = box[0] + 2, (box[1] + box[3]) // 2 - 4
    if kind == v.K_BUTTON or kind == v.K_TAB or kind == v.K_DAY:
        x = (box[0] + box[2] - LETTER * length + 1) // 2
    for k in range(length):
        code = np.int64(42 if masked else buffer[k])
        letter(out, clip, x + LETTER * k, y, code, BLUE if kind == v.K_LINK else BLACK)


@register_jitable
def _slider(out: Any, clip: Any, box: Any, number: int, span: int) -> None:
    """Draw a line with a knob."""
    middle = (box[1] + box[3]) // 2
    fill(out, clip, (box[0], middle - 1, box[2], middle + 1), LINES)
    x = box[0] + number * (box[2] - box[0] - 1) // max(span, 1)
    frame(out, clip, (x - 3, box[1], x + 4, box[3]), BLACK, PALE)


@register_jitable
def frame(out: Any, clip: Any, box: Any, edge: int, ground: int) -> None:
    """Draw a filled rectangle with an edge of one pixel."""
    fill(out, clip, box, edge)
    fill(out, clip, (box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), ground)


@jit
def fill(out: Any, clip: Any, box: Any, colour: int) -> None:
    """Fill a rectangle (left, top, right, bottom) inside the clip with a colour of `PALETTE`."""
    left, right = max(box[0], clip[0]), min(box[2], clip[2])
    red, green, blue = PALETTE[colour, 0], PALETTE[colour, 1], PALETTE[colour, 2]
    for y in range(max(box[1], clip[1]), min(box[3], clip[3])):
        for x in range(left, right):
            out[y, x, 0] = red
            out[y, x, 1] = green
            out[y, x, 2] = blue


@jit
def letter(out: Any, clip: Any, x0: int, y0: int, code: int, colour: int) -> None:
    """Write a letter to the right of and below a place."""
    red, green, blue = PALETTE[colour, 0], PALETTE[colour, 1], PALETTE[colour, 2]
    for column in range(5):
        bits, x = FONT[code & 127, column], x0 + column
        if bits == 0 or not clip[0] <= x < clip[2]:
            continue
        for row in range(8):
            y = y0 + row
            if bits >> row & 1 and clip[1] <= y < clip[3]:
                out[y, x, 0] = red
                out[y, x, 1] = green
                out[y, x, 2] = blue
