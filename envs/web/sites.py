"""Form sites in the manner of FormWoB: several pages, each site with a layout of its own.

A site is data: pages of entries, each a goal field with the label, name and widget that this site
gives it. ``flight-dune``, ``hotel-fjord`` and ``register-island`` are meant to be held out: their
layouts, names and widgets come together in no other site.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from daedalus.envs.web.dates import TODAY, date_text
from daedalus.envs.web.model import COLOURS, SITE, Kind, Page, Rule, Then, task
from daedalus.envs.web.words import CITIES, COUNTRIES, FAMILIES, NAMES, PLAIN, PRODUCTS, STREETS

HELD_OUT = ("flight-dune", "hotel-fjord", "register-island")
"""Sites to evaluate on, not to train on."""
OPTIONS = {
    "passengers": tuple("123456"),
    "guests": tuple("1234"),
    "rooms": tuple("123"),
    "quantity": tuple("12345"),
    "cabin": ("Economy", "Premium", "Business", "First"),
    "trip": ("One way", "Round trip"),
    "room": ("Single", "Double", "Suite"),
    "car": ("Compact", "Family", "Sport", "Van"),
    "shipping": ("Standard", "Express", "Pickup"),
    "title": ("Ms", "Mr", "Dr"),
    "product": tuple(PRODUCTS[:8]),
    "country": tuple(COUNTRIES[::4]),
}
"""What there is to choose from, by goal field."""
KNOWN = {"from": CITIES, "to": CITIES, "city": CITIES, "pickup": CITIES}
"""What autocompletes know, by goal field."""


class Entry(NamedTuple):
    """A goal field as a site asks for it."""

    field: str
    label: str
    name: str
    widget: str  # text, password, complete, select, radio, date or check


class Site(NamedTuple):
    """A form of several pages."""

    title: str
    colour: str
    layout: str  # stack, rows or columns
    goal: Callable[[Page], dict[str, str]]
    pages: tuple[tuple[Entry, ...], ...]
    send: str  # words of the last button


def _entries(text: str) -> tuple[Entry, ...]:
    """Read ``field label name widget`` lines; ``_`` in a label is a space."""
    rows = (line.split() for line in text.strip().splitlines())
    return tuple(Entry(f, label.replace("_", " "), name, w) for f, label, name, w in rows)


def _person(page: Page) -> dict[str, str]:
    first, family = page.choice(NAMES), page.choice(FAMILIES)
    return {"first": first, "family": family, "email": f"{first}.{family[:4]}@post.org".lower()}


def flight(page: Page) -> dict[str, str]:
    """Draw a flight to book."""
    start, end = page.sample(CITIES, 2)
    depart = TODAY + page.number(1, 60)
    options = {name: page.choice(OPTIONS[name]) for name in ("trip", "passengers", "cabin")}
    back = depart + page.number(1, 25)
    dates = {"depart": date_text(depart), "return": date_text(back)}
    return {"from": start, "to": end, **dates, **options, **_person(page)}


def hotel(page: Page) -> dict[str, str]:
    """Draw a stay."""
    arrive = TODAY + page.number(1, 60)
    dates = {"arrive": date_text(arrive), "leave": date_text(arrive + page.number(1, 10))}
    options = {name: page.choice(OPTIONS[name]) for name in ("guests", "rooms", "room")}
    breakfast = page.choice(("yes", "no"))
    person = _person(page)
    return {"city": page.choice(CITIES), **dates, **options, "breakfast": breakfast, **person}


def car(page: Page) -> dict[str, str]:
    """Draw a car to rent."""
    day = TODAY + page.number(1, 60)
    dates = {"depart": date_text(day), "return": date_text(day + page.number(1, 14))}
    insured = page.choice(("yes", "no"))
    kind = page.choice(OPTIONS["car"])
    return {
        "pickup": page.choice(CITIES),
        **dates,
        "car": kind,
        "insured": insured,
        **_person(page),
    }


def registration(page: Page) -> dict[str, str]:
    """Draw a person with an address."""
    address = {
        "street": f"{page.number(1, 99)} {page.choice(STREETS)} Street",
        "zip": f"{page.number(10000, 99999)}",
        "town": page.choice(CITIES),
        "country": page.choice(OPTIONS["country"]),
    }
    word = page.choice(PLAIN) + str(page.number(10, 99))
    more = {"title": page.choice(OPTIONS["title"]), "news": page.choice(("yes", "no"))}
    return {**_person(page), **address, "password": word, **more}


def order(page: Page) -> dict[str, str]:
    """Draw an order with its payment."""
    person = registration(page)
    kept = {name: person[name] for name in ("first", "family", "street", "zip", "town")}
    chosen = {name: page.choice(OPTIONS[name]) for name in ("product", "quantity", "shipping")}
    card = " ".join(str(page.number(1000, 9999)) for _ in range(4))
    return {**chosen, **kept, "card": card, "gift": page.choice(("yes", "no"))}


SITES = {
    "flight-aurora": Site(
        "Aurora Air",
        "blue",
        "rows",
        flight,
        (
            _entries(
                """from From from complete
                to To to complete
                depart Depart depart date
                passengers Passengers passengers select
                cabin Class cabin select"""
            ),
            _entries("first First_name first text\nfamily Last_name family text"),
        ),
        "Book now",
    ),
    "flight-borealis": Site(
        "Borealis",
        "green",
        "stack",
        flight,
        (
            _entries("trip Trip trip radio\nfrom Leaving_from origin text\nto Going_to dest text"),
            _entries("depart Departing depart text\nreturn Returning return text"),
            _entries("passengers Travellers travellers select\nemail E-mail email text"),
        ),
        "Search flights",
    ),
    "flight-comet": Site(
        "Comet Jets",
        "purple",
        "columns",
        flight,
        (
            _entries(
                """from Origin origin complete
                to Destination destination complete
                depart Outbound outbound date
                return Inbound inbound date"""
            ),
            _entries(
                """cabin Cabin class radio
                passengers Passengers passengers select
                first First_name given text
                family Family_name surname text"""
            ),
        ),
        "Reserve",
    ),
    "flight-dune": Site(
        "Dune Wings",
        "orange",
        "columns",
        flight,
        (
            _entries("from Leaving_from from complete\nto Going_to destination complete"),
            _entries("trip Trip trip radio\ndepart Depart outbound date\ncabin Class class select"),
            _entries(
                """first First_name given text
                family Last_name family text
                passengers Travellers travellers select"""
            ),
        ),
        "Book now",
    ),
    "hotel-elm": Site(
        "Hotel Elm",
        "red",
        "rows",
        hotel,
        (
            _entries(
                """city City city complete
                arrive Check-in arrive date
                leave Check-out leave text
                guests Guests guests select"""
            ),
            _entries(
                """room Room room radio
                breakfast Breakfast breakfast check
                family Last_name family text
                email E-mail email text"""
            ),
        ),
        "Book room",
    ),
    "hotel-fjord": Site(
        "Fjord Inns",
        "blue",
        "stack",
        hotel,
        (
            _entries("city City city text\nroom Room room select\nrooms Rooms rooms select"),
            _entries("arrive Check-in arrive date\nguests Guests guests select"),
            _entries("breakfast Breakfast breakfast check\nfirst First_name first text"),
        ),
        "Book room",
    ),
    "car-grove": Site(
        "Grove Cars",
        "green",
        "rows",
        car,
        (
            _entries("pickup Pick-up_city pickup complete\ndepart From_day depart date"),
            _entries(
                "return To_day return text\ncar Car car radio\ninsured Insurance insured check"
            ),
            _entries("first First_name first text\nemail E-mail email text"),
        ),
        "Rent",
    ),
    "register-harbor": Site(
        "Harbor Club",
        "purple",
        "stack",
        registration,
        (
            _entries(
                """title Title title radio
                first First_name first text
                family Last_name family text
                email E-mail email text"""
            ),
            _entries(
                """street Street street text
                zip ZIP_code zip text
                town Town town text
                country Country country select"""
            ),
            _entries("password Password password password\nnews Newsletter news check"),
        ),
        "Register",
    ),
    "register-island": Site(
        "Island Post",
        "orange",
        "columns",
        registration,
        (
            _entries(
                """family Family_name surname text
                first First_name given text
                street Street street text
                town Town town text"""
            ),
            _entries(
                """zip ZIP_code zip text
                country Country country select
                password Password password password
                title Title title select"""
            ),
        ),
        "Join",
    ),
    "checkout-jade": Site(
        "Jade Store",
        "green",
        "columns",
        order,
        (
            _entries(
                """product Product product select
                quantity Quantity quantity select
                gift Gift_wrap gift check"""
            ),
            _entries(
                """first First_name first text
                family Last_name family text
                street Street street text
                zip ZIP_code zip text
                town Town town text"""
            ),
            _entries("shipping Shipping shipping radio\ncard Card_number card text"),
        ),
        "Pay",
    ),
}


def draw_site(page: Page, site: Site) -> None:
    """Draw a goal and lay out the pages of a site."""
    goal = site.goal(page)
    asked = [entry for sheet in site.pages for entry in sheet]
    fields = {entry.field: goal[entry.field] for entry in asked}
    words = ", ".join(f"{key}: {value}" for key, value in fields.items())
    page.goal(f"{site.title}: {words}"[:256], **fields)
    page.want(**{e.name: _submitted(e, fields[e.field]) for e in asked})
    for number, entries in enumerate(site.pages):
        _banner(page, site, number)
        top = 60 + page.number(0, 30)
        bottom = max(_place(page, entry, _spot(site, k, top)) for k, entry in enumerate(entries))
        _buttons(page, site, number, bottom)
        page.next_page()


def _submitted(entry: Entry, value: str) -> str:
    if entry.widget == "check":
        return "on" if value == "yes" else ""
    return value


def _banner(page: Page, site: Site, number: int) -> None:
    width = page.instance.size[0]
    page.add(Kind.BOX, (0, 0, width, 36), colour=list(COLOURS).index(site.colour))
    page.text(10, 8, site.title)
    page.text(10, 20, f"Step {number + 1} of {len(site.pages)}")
    page.link(width - 90, 12, "Other offers", then=Then.LEAVE)


def _spot(site: Site, k: int, top: int) -> tuple[int, int, int, int]:
    """Return left and top of the label and of the widget of the k-th entry."""
    if site.layout == "rows":
        y = top + 74 * k
        return 14, y + 3, 130, y
    if site.layout == "stack":
        y = top + 86 * k
        return 20, y, 20, y + 14
    x, y = 14 + 186 * (k % 2), top + 120 * (k // 2)
    return x, y, x, y + 14


def _place(page: Page, entry: Entry, spot: tuple[int, int, int, int]) -> int:
    """Add label and widget; return where they end."""
    left, top, x, y = spot
    page.text(left, top, entry.label)
    if entry.widget == "text":
        page.input(x, y, entry.name, 160, required=True)
    elif entry.widget == "password":
        page.input(x, y, entry.name, 160, kind=Kind.PASSWORD, required=True)
    elif entry.widget == "complete":
        page.autocomplete((x, y, 150), entry.name, KNOWN[entry.field])
    elif entry.widget == "select":
        page.select((x, y, 120), entry.name, OPTIONS[entry.field])
    elif entry.widget == "date":
        page.date(x, y, entry.name)
    elif entry.widget == "check":
        page.checkbox(x, y, entry.name, "yes")
    else:
        for k, option in enumerate(OPTIONS[entry.field]):
            page.radio(x, y + 16 * k, entry.name, option, required=True)
    return y + 80


def _buttons(page: Page, site: Site, number: int, bottom: int) -> None:
    top = min(bottom + 20, page.instance.size[1] - 30)
    if number:
        page.button(20, top, "Back", then=Then.GO, low=number - 1)
    if number + 1 < len(site.pages):
        page.button(260, top, "Next", then=Then.NEXT, low=number + 1)
    else:
        page.button(240, top, site.send)


def _define(name: str, site: Site) -> None:
    about = f"Fill in the form of {site.title}: {len(site.pages)} pages, layout {site.layout}."
    rule = {"size": SITE, "rule": Rule.PARTIAL, "deadline": 60_000}
    task(name, about, **rule)(lambda page: draw_site(page, site))  # type: ignore[arg-type]


for _name, _site in SITES.items():
    _define(_name, _site)
