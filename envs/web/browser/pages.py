"""An instance as HTML: the same elements at the same places, with the script that moves them."""

from __future__ import annotations

import functools
import itertools
import json
from importlib import resources
from typing import Any, NamedTuple

from daedalus.envs.web import actions, keys
from daedalus.envs.web.dates import MONTH_TITLES
from daedalus.envs.web.model import (
    CLASSIC,
    COLOURS,
    TYPED,
    WRITABLE,
    Element,
    Instance,
    Kind,
    Then,
)
from daedalus.scenarios.extras import require

_POPUP_OWNERS = (Kind.SELECT, Kind.DATE, Kind.AUTOCOMPLETE)
_KEYS = ("ENTER", "BACKSPACE", "TAB", "SPACE", "MORE", "LESS", "NOTHING")
_ACTIONS = (
    *("NONE", "MOVE", "CLICK", "DOUBLE", "DOWN", "UP", "SCROLL_UP", "SCROLL_DOWN"),
    *("CLICK_ELEMENT", "PRESS_KEY", "TYPE_TEXT", "TYPE_FIELD", "FOCUS_TEXT", "FOCUS_FIELD"),
)


class _Part(NamedTuple):
    """Elements that follow each other inside or outside of what scrolls."""

    scrolls: bool
    elements: list[tuple[int, Element]]


@functools.cache
def read_text(name: str) -> str:
    """Return a file of this folder."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _template() -> Any:
    jinja2 = require("jinja2")
    return jinja2.Environment(autoescape=True, trim_blocks=True).from_string(read_text("page.html"))


def page_html(instance: Instance, root: str, nonce: str, person: bool = False) -> str:
    """Return the document of an instance.

    Args:
        instance: What to show.
        root: Path that all its addresses begin with.
        nonce: By which the server's policy knows the one style sheet that is in the document.
        person: Whether somebody fills it in and it is to tell what was done.
    """
    listed = list(enumerate(instance.elements))
    pages = [
        [_Part(scrolls, list(part)) for scrolls, part in itertools.groupby(group, _scrolls)]
        for _, group in itertools.groupby(listed, lambda pair: pair[1].page)
    ]
    html: str = _template().render(
        instance=instance,
        root=root,
        nonce=nonce,
        places=page_css(instance),
        header=instance.size == CLASSIC,
        title=instance.utterance if person else instance.task,
        pages=pages,
        tag=functools.partial(_tag, instance),
        model=_model(instance, root, person),
    )
    return html


def _scrolls(pair: tuple[int, Element]) -> bool:
    return pair[1].scrolls


def _tag(instance: Instance, e: int, element: Element) -> Any:
    """Return the markup of an element, escaped."""
    markup = require("markupsafe").Markup
    name, _, kind = element.tag.partition("_")
    options = [x.text for x in instance.elements if _is_option(instance, x, e)]
    given = {"data-e": e, "class": _class(instance, element), "type": kind or None}
    given |= {"button": {"type": "button"}, "textarea": {"maxlength": TYPED}}.get(name, {})
    if element.kind in WRITABLE:
        given |= {"maxlength": TYPED, "spellcheck": "false"}
    if element.kind is Kind.DATE:
        given |= {"readonly": "readonly"}
    if element.kind is Kind.SLIDER:
        given |= {"min": element.low, "max": element.high}
    if element.then is not Then.SUBMIT and name in ("input", "textarea", "select"):
        given |= {"name": element.name or None}
    if element.kind in (Kind.CHECKBOX, Kind.RADIO):
        given |= {"value": element.value}
    if element.kind not in (Kind.TEXT, Kind.BOX):
        given |= {"tabindex": 0}
    pairs = ((key, value) for key, value in given.items() if value is not None)
    head = markup("").join(markup(' {}="{}"').format(key, value) for key, value in pairs)
    if name == "input":
        return markup("<input{}>").format(head)
    choices = (markup("<option>{}</option>").format(text) for text in ["", *options])
    inside = markup("").join(choices) if name == "select" else element.text
    return markup("<{}{}>{}</{}>").format(name, head, inside, name)


def _is_option(instance: Instance, element: Element, owner: int) -> bool:
    return element.kind is Kind.OPTION and element.parent == owner


def _class(instance: Instance, element: Element) -> str | None:
    popup = element.parent >= 0 and instance.elements[element.parent].kind in _POPUP_OWNERS
    own = {Kind.LINK: "link", Kind.TAB: "tab", Kind.DAY: "day"}.get(element.kind, "")
    return f"{own} popup".strip() if popup else own or None


def page_css(instance: Instance) -> str:
    """Return where every element stands, and how large."""
    scroll, lines = instance.scroll, []
    left, top, width, height = scroll[:4]
    lines.append(f".scroll{{left:{left}px;top:{top}px;width:{width}px;height:{height}px}}")
    names = list(COLOURS)
    for e, x in enumerate(instance.elements):
        dx, dy = (left, top) if x.scrolls else (0, 0)
        place = f"left:{x.left - dx}px;top:{x.top - dy}px;width:{x.width}px;height:{x.height}px"
        ground = "rgb({},{},{})".format(*COLOURS[names[x.colour]])
        colour = f";background:{ground}" if x.kind is Kind.BOX else ""
        lines.append(f'[data-e="{e}"]{{{place}{colour}}}')
    if scroll.content:  # so that it scrolls to the end of its content and no further
        end = scroll.content
        lines.append(
            f'.scroll::after{{content:"";position:absolute;top:0;height:{end}px;width:1px}}'
        )
    return "\n".join(lines)


def _model(instance: Instance, root: str, person: bool) -> str:
    """Return what the script knows, as JSON; nothing of what is wanted."""
    count = max(x.page for x in instance.elements) + 1
    begin = [sum(x.page < page for x in instance.elements) for page in range(count + 1)]
    told = {
        "root": root,
        "person": person,
        "elements": [_told(instance, x) for x in instance.elements],
        "begin": begin,
        "scroll": instance.scroll._asdict(),
        "kinds": {kind.name: int(kind) for kind in Kind},
        "thens": {then.name: int(then) for then in Then},
        "keys": {name: getattr(keys, name) for name in _KEYS},
        "actions": {name: getattr(actions, name) for name in _ACTIONS},
        "titles": MONTH_TITLES,
        "typed": TYPED,
        "step": actions.STEP,
    }
    return json.dumps(told).replace("<", "\\u003c")


def _told(instance: Instance, x: Element) -> dict[str, Any]:
    parent = instance.elements[x.parent].kind if x.parent >= 0 else Kind.TEXT
    return {
        **{name: getattr(x, name) for name in ("page", "parent", "low", "high", "name", "value")},
        **{name: getattr(x, name) for name in ("text", "options", "scrolls")},
        "kind": int(x.kind),
        "then": int(x.then),
        "popup": parent in _POPUP_OWNERS,
        "required": x.required and x.name in instance.request,
        "middle": x.top + x.height // 2,
    }
