"""The page model: elements with fixed rectangles, a goal, and the request that fulfils it.

A task is a function that draws an instance with a `Page`::

    @task("click-button", "Click the button with the given name.")
    def click_button(page: Page) -> None:
        names = page.sample(WORDS, 4)
        page.goal(f'Click on the "{names[0]}" button.', target=names[0])
        page.want(button=names[0])
        for name, (x, y) in zip(page.shuffle(names), page.scatter(4, 60, 16)):
            page.button(x, y, name, "button")

Both backends are made from what it lays out: the arrays of ``pool.py`` and the HTML of
``browser/page.html``. Every episode ends with a request, as that of a form, and the reward compares
it with the wanted one; so one rule and one demonstrator serve all tasks.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import numpy as np

TEXT = 32
"""Characters of a text or value at most."""
TYPED = 24
"""Characters that a text input takes."""
MAX_ELEMENTS = 160
MAX_SLOTS = 16
"""Elements, and text inputs among them, of an instance at most."""
UTTERANCE = 256
FIELDS = 20
"""Characters of an utterance and goal fields at most, as in MiniWoB++."""
CLASSIC, SITE = (160, 210), (375, 667)
"""Width and height of a page: MiniWoB's, and those of its flight sites."""
HEADER = 50
"""Height of the utterance on a classic page; the task lives below."""
LETTER, LINE = 6, 9
"""Width of a letter and height of a line, in pixels."""


class Kind(enum.IntEnum):
    """What an element does; the kernels and the page's script know nothing else of it."""

    TEXT = 0
    BOX = 1
    BUTTON = 2
    LINK = 3
    INPUT = 4
    PASSWORD = 5
    AREA = 6
    AUTOCOMPLETE = 7
    SUGGESTION = 8
    CHECKBOX = 9
    RADIO = 10
    SELECT = 11
    OPTION = 12
    DATE = 13
    DAY = 14
    MONTH = 15
    SLIDER = 16
    TAB = 17
    NODE = 18


TAGS = ("span", "div", "button", "a", "input_text", "input_password", "textarea", "select", "li")
TAGS += ("input_checkbox", "input_radio", "input_range")
_TAG_NUMBERS = (0, 1, 2, 3, 4, 5, 6, 4, 8, 9, 10, 7, 8, 4, 3, 0, 11, 3, 8)
TAG_OF = dict(zip(Kind, _TAG_NUMBERS, strict=True))
"""Position of each kind's tag in `TAGS`."""
WRITABLE = (Kind.INPUT, Kind.PASSWORD, Kind.AREA, Kind.AUTOCOMPLETE)


class Then(enum.IntEnum):
    """What else happens on a click (of a text input: when it gets the focus)."""

    NOTHING = 0
    SUBMIT = 1
    NEXT = 2  # to the page `low`, unless a required field of this one is empty
    GO = 3  # to the page `low`
    LEAVE = 4  # the site
    EARLIER = 5  # month
    LATER = 6
    LESS = 7  # of the slider `low`
    MORE = 8


class Rule(enum.IntEnum):
    """How a request is scored: all or nothing, or by the share of fields that match."""

    EXACT = 0
    PARTIAL = 1


@dataclass
class Element:
    """One element; rectangles are in pixels of the page, ``parent`` is a position in the page."""

    kind: Kind
    left: int
    top: int
    width: int
    height: int
    text: str = ""
    name: str = ""  # of the field of the request
    value: str = ""  # submitted by what is checked or clicked
    page: int = 0
    parent: int = -1  # shown only while that one is open
    then: Then = Then.NOTHING
    options: Sequence[str] = ()  # what an autocomplete knows
    low: int = 0  # least of a slider, cell of a day, where a button leads
    high: int = 0  # most of a slider
    required: bool = False
    colour: int = 0  # of a box: position in COLOURS
    scrolls: bool = False

    @property
    def tag(self) -> str:
        """Tag as in MiniWoB++: ``input`` elements have their type appended."""
        return TAGS[TAG_OF[self.kind]]


COLOURS = {
    "white": (255, 255, 255),
    "red": (220, 60, 50),
    "green": (60, 160, 80),
    "blue": (60, 100, 220),
    "orange": (240, 160, 40),
    "purple": (140, 80, 190),
    "grey": (200, 200, 200),
    "black": (30, 30, 30),
}


class Scroll(NamedTuple):
    """The part of a page that scrolls."""

    left: int
    top: int
    width: int
    height: int
    content: int  # height of what is in it


NO_SCROLL = Scroll(0, 0, 0, 0, 0)


@dataclass
class Instance:
    """One drawn page with its goal."""

    task: str
    size: tuple[int, int]
    rule: Rule
    deadline: int  # ms
    elements: list[Element] = field(default_factory=list)
    utterance: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    request: dict[str, str] = field(default_factory=dict)  # wanted; without empty values
    scroll: Scroll = NO_SCROLL

    @property
    def required(self) -> set[str]:
        """Names of the fields that a request must not lack."""
        return {e.name for e in self.elements if e.required and e.name in self.request}


def score(request: Mapping[str, str], instance: Instance) -> float:
    """Return the raw reward of a request in [-1, 1].

    ``PARTIAL`` is FormWoB's rule (Shi et al. 2017): matching fields over all fields, -1 where a
    required one is missing. ``EXACT`` is MiniWoB's: 1 or -1.
    """
    wanted = instance.request
    names = [n for n in {*request, *wanted} if request.get(n) or wanted.get(n)]
    matched = sum(request.get(n, "") == wanted.get(n, "") for n in names)
    if instance.rule is Rule.EXACT:
        return 1.0 if matched == len(names) else -1.0
    if any(not request.get(name) for name in instance.required):
        return -1.0
    return matched / max(len(names), 1)


Drawn = TypeVar("Drawn")


class Page:
    """Lays out one instance; positions in classic pages count from below the utterance."""

    def __init__(self, instance: Instance, rng: np.random.Generator) -> None:
        """Begin with nothing."""
        self.instance, self.rng = instance, rng
        self.page = 0
        self.parent = -1
        self.scrolls = False
        self.offset = HEADER if instance.size == CLASSIC else 0

    # ------------------------------------------------------------------ drawing

    def sample(self, things: Sequence[Drawn], count: int) -> list[Drawn]:
        """Draw ``count`` different things."""
        return [things[i] for i in self.rng.choice(len(things), count, replace=False)]

    def choice(self, things: Sequence[Drawn]) -> Drawn:
        """Draw one thing."""
        return things[int(self.rng.integers(len(things)))]

    def shuffle(self, things: Sequence[Drawn]) -> list[Drawn]:
        """Return the things in a random order."""
        return self.sample(things, len(things))

    def number(self, low: int, high: int) -> int:
        """Draw an integer in [low, high]."""
        return int(self.rng.integers(low, high + 1))

    def scatter(self, count: int, width: int, height: int) -> list[tuple[int, int]]:
        """Draw places for ``count`` rectangles on a classic page, without overlap."""
        columns, rows = 156 // (width + 4), 154 // (height + 4)
        cells = self.rng.choice(columns * rows, count, replace=False)
        return [
            (
                2 + int(c % columns) * (width + 4) + self.number(0, 3),
                2 + int(c // columns) * (height + 4) + self.number(0, 3),
            )
            for c in cells
        ]

    # ------------------------------------------------------------------ the goal

    def goal(self, utterance: str, **fields: str) -> None:
        """Say what to do, and the goal fields that a policy may type."""
        self.instance.utterance, self.instance.fields = utterance, fields

    def want(self, **request: str) -> None:
        """Say which request fulfils the goal; names with ``_`` are as given."""
        self.instance.request.update({k: v for k, v in request.items() if v})

    # ------------------------------------------------------------------ elements

    def add(self, kind: Kind, place: tuple[int, int, int, int], **more: Any) -> int:
        """Add an element and return its position in the page.

        Args:
            kind: What it does.
            place: Left, top, width, height; the top counts from below the utterance.
            **more: Further fields of `Element`.
        """
        left, top, width, height = place
        more = {"page": self.page, "parent": self.parent, "scrolls": self.scrolls} | more
        top += self.offset
        self.instance.elements.append(Element(kind, left, top, width, height, **more))
        return len(self.instance.elements) - 1

    def text(self, x: int, y: int, words: str, **more: Any) -> int:
        """Add words."""
        return self.add(Kind.TEXT, (x, y, LETTER * len(words) + 2, LINE + 1), text=words, **more)

    def button(self, x: int, y: int, words: str, name: str = "", **more: Any) -> int:
        """Add a button; with a ``name`` it submits its words under it."""
        more = {"then": Then.SUBMIT, "width": LETTER * len(words) + 8, "value": words} | more
        place = (x, y, more.pop("width"), 16)
        return self.add(Kind.BUTTON, place, text=words, name=name, **more)

    def link(self, x: int, y: int, words: str, name: str = "", **more: Any) -> int:
        """Add a link."""
        more = {"then": Then.SUBMIT, "value": words} | more
        place = (x, y, LETTER * len(words) + 2, LINE + 2)
        return self.add(Kind.LINK, place, text=words, name=name, **more)

    def input(self, x: int, y: int, name: str, width: int = 100, **more: Any) -> int:
        """Add a text input (``kind`` may say another one that is typed into)."""
        return self.add(more.pop("kind", Kind.INPUT), (x, y, width, 16), name=name, **more)

    def checkbox(self, x: int, y: int, name: str, words: str = "") -> int:
        """Add a check box and the words beside it."""
        self.add(Kind.CHECKBOX, (x, y, 12, 12), name=name, value="on", text="")
        return self.text(x + 16, y + 1, words or name)

    def radio(self, x: int, y: int, name: str, value: str, required: bool = False) -> int:
        """Add one button of a radio group and the words beside it."""
        self.add(Kind.RADIO, (x, y, 12, 12), name=name, value=value, required=required)
        return self.text(x + 16, y + 1, value)

    def select(self, place: tuple[int, int, int], name: str, options: Sequence[str]) -> int:
        """Add a select box (left, top, width); its options open below."""
        x, y, width = place
        owner = self.add(Kind.SELECT, (x, y, width, 16), name=name, required=True)
        for k, option in enumerate(options):
            spot = (x, y + 16 + 12 * k, width, 12)
            self.add(Kind.OPTION, spot, text=option, parent=owner)
        return owner

    def autocomplete(self, place: tuple[int, int, int], name: str, options: Sequence[str]) -> int:
        """Add a text input (left, top, width) that suggests those options which begin alike."""
        x, y, width = place
        more: dict[str, Any] = {"options": tuple(options), "required": True}
        owner = self.add(Kind.AUTOCOMPLETE, (x, y, width, 16), name=name, **more)
        for k in range(4):
            spot = (x, y + 16 + 12 * k, width, 12)
            self.add(Kind.SUGGESTION, spot, parent=owner, low=k)
        return owner

    def date(self, x: int, y: int, name: str, up: bool = False) -> int:
        """Add a date field with its calendar, which opens below, or above where ``up``."""
        owner = self.add(Kind.DATE, (x, y, 80, 16), name=name, required=True)
        top = y - 99 if up else y + 16
        self.add(Kind.LINK, (x, top, 12, 14), text="<", then=Then.EARLIER, parent=owner)
        self.add(Kind.MONTH, (x + 13, top, 92, 14), parent=owner)
        self.add(Kind.LINK, (x + 107, top, 12, 14), text=">", then=Then.LATER, parent=owner)
        for cell in range(42):
            spot = (x + 17 * (cell % 7), top + 15 + 14 * (cell // 7), 16, 13)
            self.add(Kind.DAY, spot, parent=owner, low=cell)
        return owner

    def slider(self, place: tuple[int, int, int], name: str, low: int, high: int) -> int:
        """Add a slider (left, top, width) from ``low`` to ``high`` between two small buttons."""
        x, y, width = place
        more = {"name": name, "low": low, "high": high}
        slider = self.add(Kind.SLIDER, (x + 18, y, width - 36, 14), **more)
        self.button(x, y, "-", width=14, then=Then.LESS, low=slider)
        self.button(x + width - 14, y, "+", width=14, then=Then.MORE, low=slider)
        return slider

    def next_page(self) -> None:
        """Go on with the next page of a form of several."""
        self.page += 1


class Task(NamedTuple):
    """A registered task."""

    name: str
    description: str
    draw: Callable[[Page], None]
    size: tuple[int, int]
    rule: Rule
    deadline: int


TASKS: dict[str, Task] = {}
"""Every task by name, in the order of definition."""


def task(
    name: str,
    description: str,
    *,
    size: tuple[int, int] = CLASSIC,
    rule: Rule = Rule.EXACT,
    deadline: int = 10_000,
) -> Callable[[Callable[[Page], None]], Callable[[Page], None]]:
    """Register a drawing function as a task.

    Args:
        name: In MiniWoB's style, ``"click-button"``.
        description: One sentence for listings.
        size: Width and height of the page in pixels.
        rule: How requests are scored.
        deadline: Simulated milliseconds after which the page gives up, with -1.
    """

    def keep(draw: Callable[[Page], None]) -> Callable[[Page], None]:
        TASKS[name] = Task(name, description, draw, size, rule, deadline)
        return draw

    return keep


SPLITS = ("all", "train", "test")


def is_held_out(instance: Instance) -> bool:
    """Tell whether a goal belongs to the test split: a fifth of all goals, by their hash."""
    goal = repr((instance.task, sorted(instance.request.items())))
    return zlib.crc32(goal.encode()) % 5 == 0


def draw_instance(name: str, number: int, split: str = "all") -> Instance:
    """Draw instance ``number`` of a task; goals of ``"train"`` and ``"test"`` never meet.

    Raises:
        ValueError: The split is empty (1,000 draws found nothing), or the page too large.
    """
    chosen = TASKS[name]
    rng = np.random.default_rng((zlib.crc32(name.encode()), number, SPLITS.index(split)))
    for _ in range(1000):
        instance = Instance(name, chosen.size, chosen.rule, chosen.deadline)
        chosen.draw(Page(instance, rng))
        if split == "all" or is_held_out(instance) == (split == "test"):
            return _in_order(instance)
    raise ValueError(f"the task {name} has no goals in the split {split!r}")


_POPUPS = (Kind.SELECT, Kind.AUTOCOMPLETE, Kind.DATE)


def _in_order(instance: Instance) -> Instance:
    """Sort by pages, what pops up last: later elements lie above earlier ones."""
    old = instance.elements

    def key(i: int) -> tuple[int, bool]:
        parent = old[i].parent
        return old[i].page, parent >= 0 and old[parent].kind in _POPUPS

    order = sorted(range(len(old)), key=key)
    place = {i: k for k, i in enumerate(order)}
    instance.elements = [old[i] for i in order]
    for element in instance.elements:
        element.parent = place.get(element.parent, -1)
        if element.then in (Then.LESS, Then.MORE):
            element.low = place[element.low]
    _check(instance)
    return instance


def _check(instance: Instance) -> None:
    """Raise ValueError where an instance does not fit the arrays of the kernels."""
    elements = instance.elements
    slots = sum(e.kind in WRITABLE for e in elements)
    longest = max(len(e.text) for e in elements)
    longest_wish = max((len(v) for v in instance.request.values()), default=0)
    sizes = {
        f"a wanted value of {longest_wish} letters, {TYPED} fit": longest_wish <= TYPED,
        f"{len(elements)} elements, {MAX_ELEMENTS} fit": len(elements) <= MAX_ELEMENTS,
        f"{slots} text inputs, {MAX_SLOTS} fit": slots <= MAX_SLOTS,
        f"a text of {longest} letters, {TEXT} fit": longest <= TEXT,
        "an utterance that is too long": len(instance.utterance) <= UTTERANCE,
        "a wanted name that no element has": set(instance.request) <= {e.name for e in elements},
    }
    for problem, fits in sizes.items():
        if not fits:
            raise ValueError(f"the task {instance.task} has {problem}")
