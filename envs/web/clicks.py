"""MiniWoB's tasks that are solved by clicking, each with its own words and layout."""

from __future__ import annotations

from daedalus.envs.web.model import COLOURS, Kind, Page, Scroll, Then, task
from daedalus.envs.web.words import COUNTRIES, FRUIT, NAMES, PLAIN, WORDS


@task("click-test", "Click the one button.")
def click_test(page: Page) -> None:
    """A button somewhere."""
    page.goal("Click the button.")
    page.want(button="Click Me!")
    [(x, y)] = page.scatter(1, 62, 16)
    page.button(x, y, "Click Me!", "button")


@task("click-test-2", "Click the right one of two buttons.")
def click_test_2(page: Page) -> None:
    """Two buttons somewhere."""
    page.goal("Click button ONE.", target="ONE")
    page.want(button="ONE")
    for name, (x, y) in zip(("ONE", "TWO"), page.scatter(2, 26, 16), strict=True):
        page.button(x, y, name, "button")


@task("click-button", "Click the button with the given name among others, inputs and words.")
def click_button(page: Page) -> None:
    """Rows of buttons, inputs and words."""
    names = page.sample(WORDS, page.number(3, 5))
    page.goal(f'Click on the "{names[0]}" button.', target=names[0])
    page.want(button=names[0])
    rows = page.shuffle([*names, *("",) * (7 - len(names))])
    for k, name in enumerate(rows):
        if name:
            page.button(4 + page.number(0, 60), 2 + 21 * k, name, "button")
        elif page.number(0, 1):
            page.input(4, 2 + 21 * k, "", 80)
        else:
            page.text(4, 5 + 21 * k, page.choice(PLAIN))


@task("click-link", "Click the link with the given words.")
def click_link(page: Page) -> None:
    """Lines of words, some of them links."""
    words = page.sample(PLAIN, 20)
    page.goal(f'Click on the link "{words[0]}".', target=words[0])
    page.want(link=words[0])
    links, lines = words[:4], page.shuffle(words[:12])
    for k, word in enumerate(lines):
        x, y = 4 + 72 * (k % 2), 4 + 20 * (k // 2)
        if word in links:
            page.link(x, y, word, "link")
        else:
            page.text(x, y, word)


@task("click-color", "Click the box of the given colour.")
def click_color(page: Page) -> None:
    """Four coloured boxes."""
    colours = page.sample([c for c in COLOURS if c != "white"], 4)
    page.goal(f"Click on the {colours[0]} colored box.", target=colours[0])
    page.want(color=colours[0])
    for colour, (x, y) in zip(colours, page.scatter(4, 40, 40), strict=True):
        more = {"name": "color", "value": colour, "then": Then.SUBMIT}
        page.add(Kind.BOX, (x, y, 40, 40), colour=list(COLOURS).index(colour), **more)


@task("click-checkboxes", "Tick the given boxes and no others, then submit.", deadline=15_000)
def click_checkboxes(page: Page) -> None:
    """Up to six boxes."""
    names = page.sample(PLAIN, page.number(3, 6))
    chosen = names[: page.number(1, min(3, len(names)))]
    page.goal(
        f"Select {', '.join(chosen)} and click Submit.",
        **{f"target {k}": name for k, name in enumerate(chosen)},
    )
    page.want(**dict.fromkeys(chosen, "on"))
    for k, name in enumerate(page.shuffle(names)):
        page.checkbox(6, 4 + 18 * k, name)
    page.button(6, 120, "Submit")


@task("click-option", "Choose the given option, then submit.")
def click_option(page: Page) -> None:
    """A radio group."""
    names = page.sample(PLAIN, page.number(3, 6))
    page.goal(f"Select {names[0]} and click Submit.", target=names[0])
    page.want(option=names[0])
    for k, name in enumerate(page.shuffle(names)):
        page.radio(6, 4 + 18 * k, "option", name)
    page.button(6, 120, "Submit")


def _tab(page: Page, k: int, name: str = "", then: Then = Then.NOTHING) -> int:
    more = {"text": f"Tab #{k + 1}", "name": name, "value": f"Tab #{k + 1}", "then": then}
    return page.add(Kind.TAB, (2 + 46 * k, 2, 44, 16), **more)


@task("click-tab", "Click the given tab.")
def click_tab(page: Page) -> None:
    """Three tabs with words."""
    chosen = page.number(0, 2)
    page.goal(f"Click on Tab #{chosen + 1}.", target=f"Tab #{chosen + 1}")
    page.want(tab=f"Tab #{chosen + 1}")
    for k in range(3):
        _tab(page, k, "tab", Then.SUBMIT)
    page.text(6, 30, " ".join(page.sample(PLAIN, 3)))


@task("click-tab-2", "Find a link behind one of three tabs.", deadline=15_000)
def click_tab_2(page: Page) -> None:
    """Links on three tabs."""
    words = page.sample(PLAIN, 12)
    page.goal(f'Switch between the tabs to find the link "{words[0]}".', target=words[0])
    page.want(link=words[0])
    tabs = [_tab(page, k) for k in range(3)]
    for k, word in enumerate(page.shuffle(words)):
        row = k // 3
        page.parent = tabs[k % 3]
        page.link(8 + page.number(0, 60), 30 + 28 * row, word, "link")
    page.parent = -1


@task("click-dialog", "Close the dialog.")
def click_dialog(page: Page) -> None:
    """A box with words and a cross."""
    page.goal('Close the dialog by clicking the "x".', target="x")
    page.want(dialog="x")
    x, y = page.number(2, 30), page.number(2, 60)
    page.add(Kind.BOX, (x, y, 124, 84), colour=list(COLOURS).index("grey"))
    page.text(x + 4, y + 4, page.choice(WORDS))
    page.text(x + 4, y + 30, " ".join(page.sample(PLAIN, 2)))
    page.button(x + 108, y + 2, "x", "dialog", width=14)


@task("click-collapsible", "Open a section, then submit what is in it.")
def click_collapsible(page: Page) -> None:
    """One section that opens."""
    title = page.choice(WORDS)
    page.goal("Expand the section below and click Submit.")
    page.want(section=title)
    place = (4, page.number(4, 40), 150, 16)
    page.parent = page.add(Kind.NODE, place, text=f"+ {title}")
    for k in range(page.number(1, 3)):
        page.text(10, place[1] + 22 + 14 * k, " ".join(page.sample(PLAIN, 3)))
    page.button(10, place[1] + 70, "Submit", "section", value=title)
    page.parent = -1


@task("choose-list", "Choose the given entry of a select box, then submit.", deadline=15_000)
def choose_list(page: Page) -> None:
    """A select box of up to eight."""
    names = page.sample([*COUNTRIES, *NAMES], page.number(4, 8))
    page.goal(f"Select {names[0]} from the list and click Submit.", target=names[0])
    page.want(list=names[0])
    page.select((4, 4, 100), "list", sorted(names))
    page.button(110, 4, "Submit")


@task("focus-text", "Put the cursor into the text box.")
def focus_text(page: Page) -> None:
    """One box; the request goes out as soon as it has the focus."""
    page.goal("Focus into the textbox.")
    page.want(focus="box 1")
    page.input(page.number(2, 50), page.number(2, 130), "focus", value="box 1", then=Then.SUBMIT)


@task("focus-text-2", "Put the cursor into the given one of three text boxes.")
def focus_text_2(page: Page) -> None:
    """Three boxes below each other."""
    chosen = page.number(1, 3)
    page.goal(f"Focus into the {('1st', '2nd', '3rd')[chosen - 1]} input textbox.")
    page.want(focus=f"box {chosen}")
    x, y = page.number(2, 50), page.number(2, 40)
    for k in range(3):
        more = {"value": f"box {k + 1}", "then": Then.SUBMIT}
        page.input(x, y + 30 * k, "focus", **more)


@task("navigate-tree", "Open folders until the given file shows, then click it.", deadline=20_000)
def navigate_tree(page: Page) -> None:
    """Three folders with three entries each, the last of them a folder of two."""
    names = page.sample(NAMES, 18)
    rows = iter(names)
    files: list[str] = []
    for k in range(3):
        top = 2 + 52 * k
        folder = page.add(Kind.NODE, (4, top, 70, 12), text=next(rows))
        for j in range(2):
            files.append(next(rows))
            _file(page, (16, top + 12 + 12 * j), files[-1], folder)
        inner = page.add(Kind.NODE, (16, top + 36, 60, 12), text=next(rows), parent=folder)
        files.append(next(rows))
        _file(page, (84, top + 36), files[-1], inner)
    target = page.choice(files)
    page.goal(f'Find and click on "{target}" in the tree.', target=target)
    page.want(file=target)


def _file(page: Page, place: tuple[int, int], name: str, parent: int) -> None:
    more = {"text": name, "name": "file", "value": name, "then": Then.SUBMIT, "parent": parent}
    page.add(Kind.NODE, (*place, 60, 12), **more)


@task("click-menu", "Choose an entry of a menu of menus.", deadline=15_000)
def click_menu(page: Page) -> None:
    """A bar of three menus; one entry of each opens further ones."""
    names = page.sample([*NAMES, *FRUIT], 15)
    rows = iter(names)
    paths: list[tuple[str, str]] = []
    for k in range(3):
        head = next(rows)
        menu = page.add(Kind.TAB, (2 + 52 * k, 2, 50, 14), text=head)
        for j in range(4):
            entry = next(rows)
            paths.append((head, entry))
            _file(page, (2 + 48 * k, 20 + 14 * j), entry, menu)
    head, entry = page.choice(paths)
    page.goal(f"Select {head}>{entry}", menu=head, entry=entry)
    page.want(file=entry)


@task("use-slider", "Move the slider to the given number, then submit.", deadline=15_000)
def use_slider(page: Page) -> None:
    """One slider of 11 to 21 positions."""
    low = page.number(-5, 5)
    high = low + 10 * page.number(1, 2)
    target = page.number(low, high)
    page.goal(f"Select {target} with the slider and hit Submit.", target=str(target))
    page.want(slider=str(target))
    page.slider((4, page.number(20, 60), 150), "slider", low, high)
    page.text(4, 6, f"{low} to {high}")
    page.button(4, 100, "Submit")


@task("grid-coordinate", "Click the point of a 5 x 5 grid with the given coordinates.")
def grid_coordinate(page: Page) -> None:
    """Points at (-2, -2) to (2, 2), y upwards."""
    x, y = page.number(-2, 2), page.number(-2, 2)
    page.goal(f"Click on the grid coordinate ({x},{y}).", x=str(x), y=str(y))
    page.want(point=f"({x},{y})")
    for v in range(-2, 3):
        for u in range(-2, 3):
            more = {"name": "point", "value": f"({u},{v})", "then": Then.SUBMIT, "colour": 3}
            page.add(Kind.BOX, (74 + 28 * u, 72 - 28 * v, 12, 12), **more)


@task("social-media", "Press the given button below the given person's post.", deadline=15_000)
def social_media(page: Page) -> None:
    """Six posts in a part that scrolls."""
    names = page.sample(NAMES, 6)
    verbs = ("Reply", "Retweet", "Like")
    target, verb = page.choice(names), page.choice(verbs)
    page.goal(f"For the user @{target}, click on the {verb} button.", user=target, button=verb)
    page.want(post=f"{verb} @{target}")
    page.instance.scroll = Scroll(0, page.offset, 160, 160, 6 * 46)
    page.scrolls = True
    for k, name in enumerate(names):
        page.text(4, 4 + 46 * k, f"@{name}")
        page.text(4, 16 + 46 * k, " ".join(page.sample(PLAIN, 3)))
        for j, word in enumerate(verbs):
            more = {"value": f"{word} @{name}", "width": 50}
            page.button(4 + 51 * j, 27 + 46 * k, word, "post", **more)


@task("scroll-list", "Find an entry in a list that scrolls and click it.", deadline=15_000)
def scroll_list(page: Page) -> None:
    """Sixteen links in a part that scrolls."""
    names = page.sample(COUNTRIES, 16)
    page.goal(f"Scroll to {names[0]} and click it.", target=names[0])
    page.want(country=names[0])
    page.instance.scroll = Scroll(10, page.offset + 10, 120, 100, 16 * 18)
    page.scrolls = True
    for k, name in enumerate(sorted(names)):
        page.link(14, 13 + 18 * k, name, "country")
