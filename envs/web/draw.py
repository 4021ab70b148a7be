"""The native picture of a page: boxes, lines and a bitmap font, compiled.

A picture is brought up to date: only where something looks otherwise than it was painted is it
drawn again, by what would draw all of it. `painted` says what is in the picture.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from daedalus.envs.web import values as v
from daedalus.envs.web.compiling import apart, copy_within, part
from daedalus.envs.web.font import load_dots
from daedalus.envs.web.model import CLASSIC, COLOURS, HEADER, LETTER, LINE

DOTS, DOT_COUNTS = load_dots()
PALETTE = np.array(
    [*COLOURS.values(), (255, 255, 120), (232, 232, 232), (120, 120, 120), (40, 60, 200)], np.uint8
)
"""uint8 (colours, 3): those of boxes, then the utterance's ground, buttons, lines, links."""
PALETTE.flags.writeable = False
_NAMED = list(COLOURS)
WHITE, RED, BLACK = (np.int64(_NAMED.index(name)) for name in ("white", "red", "black"))
YELLOW, PALE, LINES, BLUE = (np.int64(len(COLOURS) + k) for k in range(4))
KNOB = np.int64(4)
"""Pixels that a slider's knob stands out."""
INSTANCE, PAGE, SCROLL, POINTER_X, POINTER_Y, LOOKS = range(6)
"""What `painted` holds: number of the instance + 1 (0: nothing is painted), page, place of what
scrolls, the pointer, then the look of every element of the page."""


def painted_size(rows: int) -> int:
    """Return the length of `painted` for pages of so many elements."""
    return LOOKS + rows


@part
def draw_page(state: Any, page: Any, out: Any, painted: Any) -> None:
    """Bring a picture up to date.

    Args:
        state: The page's state.
        page: Its instance.
        out: The picture, uint8 (H, W, 3).
        painted: int64 (`painted_size`,): what is in the picture; zeros where nothing is.
    """
    apart()
    zero, width, first = np.int64(0), out.shape[1], np.int64(page.begin[state.page])
    canvas, whole = out.reshape(out.size), (zero, zero, width, out.shape[0])
    fresh = painted[INSTANCE] != state.instance + 1 or painted[PAGE] != state.page
    if fresh:
        _paint(canvas, width, whole, state, page)
    elif painted[SCROLL] != state.scroll:
        _paint(canvas, width, _cut(whole, _area(page)), state, page)
    x, y = painted[POINTER_X], painted[POINTER_Y]
    if not fresh and (x != state.x or y != state.y):
        _paint(canvas, width, _cut(whole, (x - 1, y - 1, x + 2, y + 2)), state, page)
    for e in range(first, page.begin[state.page + 1]):
        look = _look(state, page, e)
        if painted[LOOKS + e - first] != look:
            painted[LOOKS + e - first] = look
            if not fresh:
                _paint(canvas, width, _reach(state, page, e, whole), state, page)
    painted[INSTANCE], painted[PAGE] = state.instance + 1, state.page
    painted[SCROLL], painted[POINTER_X], painted[POINTER_Y] = state.scroll, state.x, state.y
    if state.x or state.y:  # the pointer, once it has moved
        box = (state.x - 1, state.y - 1, state.x + 2, state.y + 2)
        fill(canvas, width, whole, box, RED)


@part
def _look(state: Any, page: Any, e: int) -> int:
    """Return a number that differs where an element looks otherwise; what is typed by its hash.

    The hash is FNV-1a of 64 bits, begun with the element's other marks.
    """
    x, mine = page.elements[e], state.elements[e]
    if not mine.visible:
        return np.int64(0)
    look = np.int64(1 + 2 * mine.on + 4 * (state.focus == e)) + 8 * (np.int64(mine.number) + 32768)
    if x.kind == v.K_MONTH:
        look += state.month << 20
    if x.writable:
        for k in range(state.length[x.slot]):
            look = (look ^ np.int64(state.typed[x.slot, k])) * 1099511628211
    return look


@part
def _area(page: Any) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part that scrolls."""
    x, y = np.int64(page.scroll[0]), np.int64(page.scroll[1])
    return x, y, x + page.scroll[2], y + page.scroll[3]


@part
def _place(state: Any, page: Any, e: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of an element."""
    x = page.elements[e]
    left, top = np.int64(x.left), np.int64(x.top) - (state.scroll if x.scrolls else 0)
    return left, top, left + x.width, top + x.height


@part
def _reach(state: Any, page: Any, e: int, clip: Any) -> tuple[int, int, int, int]:
    """Return what an element may paint inside the clip: its place, and where a knob stands out."""
    left, top, right, bottom = _place(state, page, e)
    return _cut((left - KNOB, top, right + KNOB, bottom), clip)


@part
def _cut(a: Any, b: Any) -> tuple[int, int, int, int]:
    """Return what two rectangles share; its right is not beyond its left where that is nothing."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


@part
def _paint(canvas: Any, width: int, clip: Any, state: Any, page: Any) -> None:
    """Draw all that is inside of a rectangle."""
    apart()
    fill(canvas, width, clip, clip, WHITE)
    if width == CLASSIC[0] and clip[1] < HEADER:
        fill(canvas, width, clip, (clip[0], clip[1], clip[2], np.int64(HEADER)), YELLOW)
        _paragraph(canvas, width, clip, page.utterance)
    inner = _cut(clip, _area(page))
    for k in range(state.showing):
        e = np.int64(state.shown[k])
        around = inner if page.elements[e].scrolls else clip
        shared = _reach(state, page, e, around)
        if shared[0] < shared[2] and shared[1] < shared[3]:
            _element(canvas, width, around, state, page, e)


@part
def _paragraph(canvas: Any, width: int, clip: Any, text: Any) -> None:
    """Write the utterance, broken between words."""
    x, y, k = np.int64(2), np.int64(3), 0
    while k < text.size and text[k]:
        end = k
        while end < text.size and text[end] and text[end] != 32:
            end += 1
        if x > 2 and x + LETTER * (end - k) > width:
            x, y = 2, y + LINE
        for place in range(k, end):
            letter(canvas, width, clip, x, y, np.int64(text[place]), BLACK)
            x += LETTER
        x += LETTER
        k = end + 1


@part
def _element(canvas: Any, width: int, clip: Any, state: Any, page: Any, e: int) -> None:
    """Draw one element by its kind."""
    apart()
    x, on, kind = page.elements[e], state.elements[e].on, page.elements[e].kind
    box = _place(state, page, e)
    if kind == v.K_SLIDER:
        number, span = np.int64(state.elements[e].number) - x.low, np.int64(x.high) - x.low
        _slider(canvas, width, clip, box, number * (box[2] - box[0] - 1) // max(span, 1))
        return
    if kind == v.K_CHECKBOX or kind == v.K_RADIO:
        _frame(canvas, width, clip, box, BLACK, WHITE)
        inset = 3 if kind == v.K_RADIO else 2
        if on:
            box = (box[0] + inset, box[1] + inset, box[2] - inset, box[3] - inset)
            fill(canvas, width, clip, box, BLACK)
        return
    if kind == v.K_BOX:
        fill(canvas, width, clip, box, np.int64(x.colour))
    elif kind != v.K_TEXT and kind != v.K_LINK and kind != v.K_NODE:
        pale = kind == v.K_BUTTON or (kind == v.K_TAB and not on) or x.popup
        edge = BLUE if state.focus == e else LINES
        _frame(canvas, width, clip, box, edge, PALE if pale else WHITE)
    _words(canvas, width, _cut(clip, box), box, state, page, e)
    if kind == v.K_LINK:
        fill(canvas, width, clip, (box[0] + 2, box[3] - 1, box[2] - 1, box[3]), BLUE)


@part
def _words(canvas: Any, width: int, clip: Any, box: Any, state: Any, page: Any, e: int) -> None:
    """Write the value of an element, or its text, as far as it fits."""
    kind, text, length = page.elements[e].kind, v.value_text(state, page, e), 0
    if text[0] == 0:
        text = page.text[e]
    while length < text.size and text[length]:
        length += 1
    x, y = box[0] + 2, (box[1] + box[3]) // 2 - 4
    if kind == v.K_BUTTON or kind == v.K_TAB or kind == v.K_DAY:
        x = (box[0] + box[2] - LETTER * length + 1) // 2
    for k in range(length):
        code = np.int64(42 if kind == v.K_PASSWORD else text[k])
        letter(canvas, width, clip, x + LETTER * k, y, code, BLUE if kind == v.K_LINK else BLACK)


@part
def _slider(canvas: Any, width: int, clip: Any, box: Any, place: int) -> None:
    """Draw a line with a knob."""
    middle, x = (box[1] + box[3]) // 2, box[0] + place
    fill(canvas, width, clip, (box[0], middle - 1, box[2], middle + 1), LINES)
    _frame(canvas, width, clip, (x - 3, box[1], x + 4, box[3]), BLACK, PALE)


@part
def _frame(canvas: Any, width: int, clip: Any, box: Any, edge: int, ground: int) -> None:
    """Draw a filled rectangle with an edge of one pixel."""
    fill(canvas, width, clip, box, edge)
    fill(canvas, width, clip, (box[0] + 1, box[1] + 1, box[2] - 1, box[3] - 1), ground)


@part
def fill(canvas: Any, width: int, clip: Any, box: Any, colour: int) -> None:
    """Fill a rectangle (left, top, right, bottom) inside the clip with a colour of `PALETTE`.

    The canvas is flat, uint8 (H W 3). Rows after the first are copies of it, many bytes at a time.
    """
    apart()
    left, top, right, bottom = _cut(clip, box)
    if right <= left:
        return
    line, begin, size = 3 * width, 3 * (top * width + left), 3 * (right - left)
    for y in range(bottom - top):
        if y == 0:
            for at in range(begin, begin + size, 3):
                canvas[at] = PALETTE[colour, 0]
                canvas[at + 1] = PALETTE[colour, 1]
                canvas[at + 2] = PALETTE[colour, 2]
        else:
            copy_within(canvas, begin + y * line, begin, size)


@part
def letter(canvas: Any, width: int, clip: Any, x0: int, y0: int, code: int, colour: int) -> None:
    """Write a letter to the right of and below a place."""
    apart()
    if x0 + LETTER <= clip[0] or clip[2] <= x0 or y0 + LINE <= clip[1] or clip[3] <= y0:
        return
    inside = clip[0] <= x0 and x0 + LETTER <= clip[2] and clip[1] <= y0 and y0 + LINE <= clip[3]
    code &= 127
    for k in range(DOT_COUNTS[code]):
        x, y = x0 + DOTS[code, k, 0], y0 + DOTS[code, k, 1]
        if inside or (clip[0] <= x < clip[2] and clip[1] <= y < clip[3]):
            at = 3 * (y * width + x)
            canvas[at] = PALETTE[colour, 0]
            canvas[at + 1] = PALETTE[colour, 1]
            canvas[at + 2] = PALETTE[colour, 2]
