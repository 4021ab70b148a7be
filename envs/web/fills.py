"""MiniWoB's tasks with something to type or to pick, and its small applications."""

from __future__ import annotations

from daedalus.envs.web.dates import date_text
from daedalus.envs.web.model import Kind, Page, Then, task
from daedalus.envs.web.words import CITIES, COUNTRIES, FAMILIES, FRUIT, NAMES, PLAIN


@task("enter-text", "Type the given word, then submit.")
def enter_text(page: Page) -> None:
    """One text box."""
    word = page.choice([*NAMES, *PLAIN])
    page.goal(f'Enter "{word}" into the text field and press Submit.', target=word)
    page.want(text=word)
    x, y = page.number(2, 40), page.number(2, 80)
    page.input(x, y, "text")
    page.button(x, y + 26, "Submit")


@task("enter-password", "Type the given password twice, then submit.", deadline=15_000)
def enter_password(page: Page) -> None:
    """Two password boxes."""
    word = page.choice(PLAIN)[:4] + str(page.number(10, 99))
    page.goal(f'Enter the password "{word}" into both text fields.', password=word)
    page.want(password=word, verify=word)
    for k, (label, name) in enumerate((("Password", "password"), ("Verify", "verify"))):
        page.text(4, 4 + 36 * k, label)
        page.input(4, 15 + 36 * k, name, kind=Kind.PASSWORD)
    page.button(4, 84, "Submit")


@task("enter-date", "Type the given date, then submit.")
def enter_date(page: Page) -> None:
    """One text box for a date."""
    day = date_text(page.number(0, 364))
    page.goal(f"Enter {day} as the date and hit submit.", date=day)
    page.want(date=day)
    x, y = page.number(2, 40), page.number(2, 80)
    page.input(x, y, "date", 80)
    page.button(x, y + 26, "Submit")


@task("choose-date", "Choose the given date in a calendar, then submit.", deadline=20_000)
def choose_date(page: Page) -> None:
    """A date field whose calendar opens on a click; today is 2017-03-01."""
    day = date_text(page.number(0, 364))
    page.goal(f"Select {day} as the date and hit submit.", date=day)
    page.want(date=day)
    page.date(4, 4, "date")
    page.button(100, 4, "Submit")


@task("enter-time", "Type the given time, then submit.")
def enter_time(page: Page) -> None:
    """One text box for a time."""
    half = page.choice(("AM", "PM"))
    time = f"{page.number(1, 12):02d}:{page.number(0, 59):02d} {half}"
    page.goal(f"Enter {time} as the time and press submit.", time=time)
    page.want(time=time)
    x, y = page.number(2, 40), page.number(2, 80)
    page.input(x, y, "time", 80)
    page.button(x, y + 26, "Submit")


@task("login-user", "Type user name and password, then log in.", deadline=15_000)
def login_user(page: Page) -> None:
    """Two boxes and a button."""
    name, word = page.choice(NAMES).lower(), page.choice(PLAIN) + str(page.number(1, 99))
    words = f'Enter the username "{name}" and the password "{word}" and press login.'
    page.goal(words, username=name, password=word)
    page.want(username=name, password=word)
    x, y = page.number(2, 40), page.number(2, 50)
    page.text(x, y, "Username")
    page.input(x, y + 11, "username")
    page.text(x, y + 36, "Password")
    page.input(x, y + 47, "password", kind=Kind.PASSWORD)
    page.button(x, y + 72, "Login")


@task("use-autocomplete", "Type and take the suggestion, then submit.", deadline=15_000)
def use_autocomplete(page: Page) -> None:
    """A text box that knows countries; only a whole name counts."""
    country = page.choice(COUNTRIES)
    page.goal(f"Enter the country {country} and click Submit.", country=country)
    page.want(country=country)
    page.autocomplete((4, 4, 100), "country", COUNTRIES)
    page.button(110, 4, "Submit")


@task(
    "multi-orderings", "Fill in three boxes that come in any order, then submit.", deadline=15_000
)
def multi_orderings(page: Page) -> None:
    """Three labelled boxes in a drawn order."""
    values = {
        "Title": page.choice(PLAIN),
        "Author": page.choice(FAMILIES),
        "Year": str(page.number(1950, 2020)),
    }
    page.goal("Search for " + ", ".join(f"{k} {v}" for k, v in values.items()), **values)
    page.want(**{key.lower(): value for key, value in values.items()})
    for k, label in enumerate(page.shuffle(list(values))):
        page.text(4, 4 + 36 * k, label)
        page.input(4, 15 + 36 * k, label.lower())
    page.button(4, 118, "Search")


@task("form-sequence", "Move a slider, tick a box, then submit.", deadline=20_000)
def form_sequence(page: Page) -> None:
    """A slider and three check boxes."""
    number, box = page.number(0, 10), page.choice(("1st", "2nd", "3rd"))
    words = f"Select {number} with the slider, tick the {box} box, then hit Submit."
    page.goal(words, number=str(number), box=box)
    page.want(slider=str(number), **{box: "on"})
    page.slider((4, 8, 150), "slider", 0, 10)
    for k, name in enumerate(("1st", "2nd", "3rd")):
        page.checkbox(6, 34 + 18 * k, name)
    page.button(6, 100, "Submit")


@task("search-engine", "Search for a word, then click the given result.", deadline=20_000)
def search_engine(page: Page) -> None:
    """A search box, then three pages of three results."""
    word, place = page.choice(FRUIT), page.number(1, 9)
    nth = f"{place}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(place, 'th') }"
    page.goal(f'Search for "{word}" and click on the {nth} result.', query=word, rank=f"{place}")
    page.want(query=word, result=f"result {place}")
    page.input(4, 10, "query", 90, required=True)
    page.button(100, 10, "Search", then=Then.NEXT, low=1)
    titles = iter(page.sample(NAMES, 9))
    for sheet in range(3):
        page.next_page()
        for k in range(3):
            rank = 3 * sheet + k + 1
            page.link(4, 6 + 40 * k, f"{rank}. {next(titles)}", "result", value=f"result {rank}")
            page.text(4, 18 + 40 * k, " ".join(page.sample(PLAIN, 3)))
        for k in range(3):
            page.button(10 + 26 * k, 130, str(k + 1), then=Then.GO, low=k + 1)


@task(
    "email-inbox", "Reply to, forward, star or delete the given person's message.", deadline=20_000
)
def email_inbox(page: Page) -> None:
    """Four messages; each opens a page of its own with an answer to write."""
    names, subjects = page.sample(NAMES, 5), page.sample(PLAIN, 4)
    verb, who = page.choice(("reply", "forward", "star", "delete")), names[0]
    text = {"reply": page.choice(PLAIN), "forward": names[4]}.get(verb, "")
    words = {
        "reply": f'Find the email by {who} and reply to them with the text "{text}".',
        "forward": f"Find the email by {who} and forward that email to {text}.",
    }.get(verb, f"Find the email by {who} and {verb} it.")
    page.goal(words, by=who, task=verb, **({"text": text} if text else {}))
    page.want(**{f"message {who}": text}, action=f"{verb} {who}")
    senders = page.shuffle(names[:4])
    for k, (sender, subject) in enumerate(zip(senders, subjects, strict=True)):
        page.link(4, 6 + 38 * k, sender, then=Then.GO, low=k + 1)
        page.text(4, 18 + 38 * k, subject)
        for j, word in enumerate(("star", "delete")):
            page.button(66 + 40 * j, 6 + 38 * k, word, "action", value=f"{word} {sender}")
    for sender in senders:
        page.next_page()
        page.text(4, 6, sender)
        page.text(4, 22, " ".join(page.sample(PLAIN, 3)))
        page.input(4, 50, f"message {sender}", 140, kind=Kind.AREA)
        for j, word in enumerate(("reply", "forward")):
            page.button(4 + 60 * j, 76, word, "action", value=f"{word} {sender}")
        page.button(4, 110, "Back", then=Then.GO, low=0)


@task("find-city", "Pick two cities and a day's time in three different boxes.", deadline=20_000)
def find_city(page: Page) -> None:
    """An autocomplete, a select box and a radio group: MiniWoB's widgets on one page."""
    start, *others = page.sample(CITIES, 5)
    end, when = others[0], page.choice(("Morning", "Evening"))
    words = f"Choose from {start} to {end}, in the {when}, and press Go."
    page.goal(words, **{"from": start, "to": end, "when": when})
    page.want(**{"from": start, "to": end, "when": when})
    page.autocomplete((4, 4, 100), "from", CITIES)
    page.select((4, 76, 80), "to", sorted(others))
    for k, word in enumerate(("Morning", "Evening")):
        page.radio(4 + 72 * k, 56, "when", word)
    page.button(110, 76, "Go")
