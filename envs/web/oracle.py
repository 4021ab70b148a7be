"""The demonstrator: one for all tasks, since every task wants a request.

It reads a table (of either backend) beside the instance, finds the first field of this page that is
not yet as wanted, and says what to do about it: open what hides it, click, type; then send the
form.
"""

from __future__ import annotations

from collections.abc import Sequence

from daedalus.envs.web import actions as a
from daedalus.envs.web.actions import Command, Layout
from daedalus.envs.web.dates import DATE_TEXTS, MONTH_TITLES, STARTS
from daedalus.envs.web.keys import KEYS
from daedalus.envs.web.model import WRITABLE, Element, Instance, Kind, Then
from daedalus.envs.web.table import Row


class Oracle:
    """Acts for one instance, in the types of action that a layout has."""

    def __init__(self, instance: Instance, layout: Layout) -> None:
        """Know what is wanted."""
        self.instance = instance
        self.layout = layout
        self.types = set(layout.types.tolist())

    def act(self, table: Sequence[Row], first: int) -> Command:
        """Return what to do.

        Args:
            table: What shows.
            first: Position of the first element of this page.
        """
        self.table = {row.element: row for row in table}
        self.first = first
        self.page = self.instance.elements[first].page
        elements = list(enumerate(self.instance.elements))
        for e, element in elements:
            if element.page == self.page and (step := self._towards(e, element)) is not None:
                return step
        target = self._sender()
        return self._click(target if target in self.table else self._opener(target))

    # ------------------------------------------------------------------ fields

    def _towards(self, e: int, element: Element) -> Command | None:
        """Return a step that brings a field nearer to what is wanted; None if it is there."""
        wanted = self.instance.request.get(element.name, "")
        if not element.name or element.then is Then.SUBMIT:
            return None
        row = self.table.get(e)
        if element.kind in WRITABLE:
            return self._type(e, row.value if row else "", wanted)
        if element.kind in (Kind.CHECKBOX, Kind.RADIO):
            to_click = row is not None and row.on != (wanted == element.value)
            return self._click(e) if to_click and (wanted or element.kind != Kind.RADIO) else None
        if row is None or not wanted or row.value == wanted:
            return None
        if element.kind is Kind.SLIDER:
            return self._slide(e, element, int(row.value), int(wanted))
        if element.kind is Kind.SELECT:
            options = [k for k, row in self.table.items() if row.text == wanted]
            popup = [k for k in options if self.instance.elements[k].parent == e]
            return self._click(popup[0] if popup else e)
        return self._calendar(e, wanted) if element.kind is Kind.DATE else None

    def _type(self, e: int, value: str, wanted: str) -> Command | None:
        if value == wanted:
            return None
        if value and not (wanted.startswith(value) and a.PRESS_KEY in self.types):
            return self._press("<Backspace>", e)
        if a.FOCUS_FIELD in self.types:
            return Command(a.FOCUS_FIELD, element=e - self.first, field=self._field(wanted))
        if not self.table[e].focused:
            return self._click(e)
        if a.TYPE_FIELD in self.types and not value:
            return Command(a.TYPE_FIELD, field=self._field(wanted))
        letter = wanted[len(value)]
        return self._press("<Space>" if letter == " " else letter, e)

    def _press(self, key: str, e: int) -> Command:
        return (
            Command(a.PRESS_KEY, key=KEYS.index(key)) if self.table[e].focused else self._click(e)
        )

    def _field(self, wanted: str) -> int:
        return list(self.instance.fields.values()).index(wanted)

    def _slide(self, e: int, element: Element, now: int, wanted: int) -> Command:
        """Click where the number is; without pixels, click the buttons beside the slider."""
        if a.CLICK in self.types and not self.layout.bins_x:
            span = max(element.high - element.low, 1)
            x = element.left + round((wanted - element.low) * (element.width - 1) / span)
            return Command(a.CLICK, x, element.top + element.height // 2)
        step = Then.MORE if wanted > now else Then.LESS
        own = (k for k, x in enumerate(self.instance.elements) if x.then is step and x.low == e)
        return self._click(next(own))

    def _calendar(self, e: int, wanted: str) -> Command:
        """Open the calendar, turn to the month, click the day."""
        own = {k: self.instance.elements[k] for k in self.table}
        own = {k: element for k, element in own.items() if element.parent == e}
        if not own:
            return self._click(e)
        day = DATE_TEXTS.index(wanted)
        month = max(m for m, start in enumerate(STARTS[:-1].tolist()) if start <= day)
        title = next(self.table[k].value for k, x in own.items() if x.kind is Kind.MONTH)
        shown = MONTH_TITLES.index(title)
        if shown != month:
            turn = Then.EARLIER if month < shown else Then.LATER
            return self._click(next(k for k, x in own.items() if x.then is turn))
        number = str(day - int(STARTS[month]) + 1)
        days = (k for k, x in own.items() if x.kind is Kind.DAY)
        return self._click(next(k for k in days if self.table[k].value == number))

    # ------------------------------------------------------------------ clicks

    def _sender(self) -> int:
        """Return what sends the wanted form, or leads to its page."""
        request = self.instance.request
        senders = [(e, x) for e, x in enumerate(self.instance.elements) if x.then is Then.SUBMIT]
        exact = [e for e, x in senders if x.name and request.get(x.name) == x.value]
        target = (exact or [e for e, x in senders if not x.name])[-1]
        page = self.instance.elements[target].page
        if page == self.page:
            return target
        ways = [
            (abs(x.low - page), e)
            for e, x in enumerate(self.instance.elements)
            if x.page == self.page and x.then in (Then.NEXT, Then.GO)
        ]
        return min(ways)[1]

    def _opener(self, e: int) -> int:
        """Return what has to be clicked so that an element, or what hides it, shows."""
        parent = self.instance.elements[e].parent
        return parent if parent in self.table else self._opener(parent)

    def _click(self, e: int) -> Command:
        """Click an element, by itself or where it is; scroll to it if it is out of sight."""
        if a.CLICK_ELEMENT in self.types:
            return Command(a.CLICK_ELEMENT, element=e - self.first)
        left, top, width, height = self.table[e].rectangle
        x, y = left + width // 2, top + height // 2
        area = self.instance.scroll
        if self.instance.elements[e].scrolls:
            middle = area.left + area.width // 2, area.top + area.height // 2
            if y < area.top:
                return Command(a.SCROLL_UP, *middle)
            if y >= area.top + area.height:
                return Command(a.SCROLL_DOWN, *middle)
        return Command(a.CLICK, x, y)
