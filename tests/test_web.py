"""Web pages, natively: what clicks and keys do, what requests are worth, what can be seen."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import gymnasium
import numpy as np
import pytest
from web_tools import Played

from daedalus.envs.batch import Batch
from daedalus.envs.web import actions as a
from daedalus.envs.web.actions import Command, decode, encode
from daedalus.envs.web.dates import DATE_TEXTS, TODAY, date_text
from daedalus.envs.web.demonstrate import oracle_for
from daedalus.envs.web.family import Web
from daedalus.envs.web.keys import KEYS
from daedalus.envs.web.model import (
    TAGS,
    TASKS,
    Instance,
    Kind,
    Page,
    Rule,
    Then,
    draw_instance,
    is_held_out,
    score,
)
from daedalus.envs.web.pool import parts_of, text_of, word_hash, words_of
from daedalus.envs.web.sites import HELD_OUT, SITES
from daedalus.envs.web.table import Placed, read_table, write_rows
from daedalus.envs.web.tasks import load_tasks

load_tasks()


def click_row(played: Played, element: int) -> None:
    played.do(Command(a.CLICK_ELEMENT, element=element - played.first))


def key(name: str) -> Command:
    return Command(a.PRESS_KEY, key=KEYS.index(name))


# ------------------------------------------------------------------------------ tasks


@pytest.mark.parametrize("task", TASKS)
def test_the_demonstrator_solves_every_task(task: str) -> None:
    played = Played(task, deadline=0)
    for seed in range(4):
        played.reset(seed)
        played.solve()
        assert played.reward == 1.0, (played.instance.utterance, played.request)
        assert played.request == played.instance.request


@pytest.mark.parametrize("preset", ["shi17", "humphreys22", "all_supported"])
@pytest.mark.parametrize("task", ["use-slider", "scroll-list", "find-city", "flight-comet"])
def test_the_demonstrator_speaks_every_preset(task: str, preset: str) -> None:
    played = Played(task, 3, actions=preset, deadline=0)
    played.solve()
    assert played.reward == 1.0


def test_the_demonstrator_plays_a_whole_batch() -> None:
    family = Web(task="click-button+login-user", instances=4)
    batch, act = Batch(family, 6), oracle_for(family)
    batch.reset(0)
    ends: list[float] = []
    while len(ends) < 12:
        batch.step(act(batch))
        ends += batch.reward[batch.ended].tolist()
    assert ends == [1.0] * len(ends)
    with pytest.raises(ValueError, match="Catch has no pages to fill in"):
        oracle_for(gymnasium.make("daedalus/Catch-v0").unwrapped.family)  # type: ignore[attr-defined]


def test_there_are_the_classics_and_the_sites() -> None:
    assert len(TASKS) == 42
    assert set(SITES) < set(TASKS)
    assert set(HELD_OUT) < set(SITES)
    ids = {name for name in gymnasium.registry if name.startswith("daedalus/Web-")}
    assert len(ids) == len(TASKS)
    assert "daedalus/Web-UseAutocomplete-v0" in ids


def test_the_datasheet_lists_every_task() -> None:
    words = " ".join((Web.__doc__ or "").split())
    for task in TASKS.values():
        assert f"- ``{task.name}``: {task.description}" in words


def test_goals_of_the_splits_never_meet() -> None:
    goals = {
        split: {repr(draw_instance("flight-aurora", k, split).request) for k in range(60)}
        for split in ("train", "test")
    }
    assert not goals["train"] & goals["test"]
    drawn = [is_held_out(draw_instance("enter-time", k)) for k in range(400)]
    assert 0.13 < np.mean(drawn) < 0.27  # a fifth, within three deviations
    with pytest.raises(ValueError, match="click-test has no goals in the split 'test'"):
        draw_instance("click-test", 0, "test")


def test_a_seed_is_an_episode_whatever_the_preset() -> None:
    drawn = {
        preset: [Played("login-user", seed, actions=preset).instance for seed in range(5)]
        for preset in ("liu18", "shi17")
    }
    assert drawn["liu18"] == drawn["shi17"]
    assert len({instance.utterance for instance in drawn["liu18"]}) > 1


# ------------------------------------------------------------------------------ rewards


def form(rule: Rule) -> Instance:
    instance = Instance("form", (160, 210), rule, 10_000)
    page = Page(instance, np.random.default_rng(0))
    for k, name in enumerate(("from", "to", "day", "class")):
        page.input(4, 20 * k, name, required=name in ("from", "to"))
    page.goal("", **{"from": "Rome"})
    page.want(**{"from": "Rome", "to": "Oslo", "day": "1", "class": "First"})
    return instance


@pytest.mark.parametrize(
    ("changes", "partial"),
    [
        ({}, 1.0),
        ({"day": "2"}, 0.75),
        ({"day": "", "class": ""}, 0.5),
        ({"extra": "x"}, 0.8),  # five fields, four of them as wanted
        ({"to": "Bonn"}, 0.75),
        ({"to": ""}, -1.0),  # a required one is missing
    ],
)
def test_partial_credit_is_matches_over_fields(changes: dict[str, str], partial: float) -> None:
    instance = form(Rule.PARTIAL)
    request = {k: v for k, v in (instance.request | changes).items() if v}
    assert score(request, instance) == pytest.approx(partial)
    assert score(request, form(Rule.EXACT)) == (1.0 if partial == 1.0 else -1.0)


def test_the_kernel_scores_as_the_model_does() -> None:
    """Forms filled in for two goals at once, so that they are right in parts."""
    rng, seen = np.random.default_rng(0), set()
    for task in (*SITES, "form-sequence", "find-city"):
        played = Played(task, deadline=0, actions="shi17")
        for seed in range(3):
            played.reset(seed)
            other = played.family.instances[int(rng.integers(len(played.family.instances)))]
            mixed = {
                name: other.request.get(name, "") if rng.random() < 0.4 else value
                for name, value in played.instance.request.items()
                if task in SITES or name == "slider"
            }
            played.oracle.instance = dataclasses.replace(played.instance, request=mixed)
            played.solve(900)
            assert played.request is not None
            assert played.reward == pytest.approx(score(played.request, played.instance))
            seen.add(round(played.reward, 2))
    assert len(seen) > 4, "all requests were worth the same: the test saw nothing"


def test_success_fades_with_time_and_failure_does_not() -> None:
    played = Played("click-test-2", reward="decayed")
    for _ in range(24):
        played.do(Command())
    click_row(played, played.row(text="ONE").element)
    assert played.reward == pytest.approx(1.0 - 25 * 100 / 10_000)
    for wait in (0, 24):
        played.reset(1)
        for _ in range(wait):
            played.do(Command())
        click_row(played, played.row(text="TWO").element)
        assert played.reward == -1.0


def test_the_page_gives_up_at_its_deadline() -> None:
    played = Played("click-test-2", deadline=1000)
    for step in range(10):
        assert not played.over
        played.do(Command())
        assert played.reward == (0.0 if step < 9 else -1.0)
    assert played.batch.terminated[0]
    assert played.request is None


def test_binary_reward_is_all_or_nothing() -> None:
    rewards = {}
    for reward in ("raw", "binary"):
        played = Played("hotel-elm", reward=reward, deadline=0)
        for _ in range(60):  # everything right but the e-mail
            command = played.act_for_oracle()
            if command.field == list(played.instance.fields).index("email"):
                break
            played.do(command)
        played.do(command._replace(field=0))
        click_row(played, played.row(text="Book room").element)
        rewards[reward] = played.reward
    count = len(played.instance.request)
    assert rewards == {"raw": pytest.approx((count - 1) / count), "binary": -1.0}


def test_leaving_the_site_costs_one() -> None:
    played = Played("hotel-elm")
    click_row(played, played.row(text="Other offers").element)
    assert played.over
    assert played.reward == -1.0
    assert played.request is None


# ------------------------------------------------------------------------------ events


def test_a_point_and_an_element_hit_the_same() -> None:
    for seed in range(20):
        by_element = Played("click-button", seed, actions="all_supported")
        by_point = Played("click-button", seed, actions="all_supported")
        for row in by_element.table:
            left, top, width, height = row.rectangle
            click_row(by_element, row.element)
            by_point.do(Command(a.CLICK, left + width // 2, top + height // 2))
            assert by_element.request == by_point.request
            assert by_element.over == by_point.over
            if by_element.over:
                break
            assert by_element.table == by_point.table


def test_typing_goes_to_the_focus_and_stops_at_24_letters() -> None:
    played = Played("enter-text", actions="all_supported")
    played.do(key("a"))
    assert played.row(tag="input_text").value == ""  # nothing has the focus
    click_row(played, played.row(tag="input_text").element)
    for name in ("a", "B", "<Space>", "<Numpad7>", "C-a", "<ArrowLeft>", "<Enter>", "z"):
        played.do(key(name))
    row = played.row(tag="input_text")
    assert (row.value, row.focused, row.tampered) == ("aB 7z", True, True)
    played.do(key("<Backspace>"))
    played.do(key("<Delete>"))
    assert played.row(tag="input_text").value == "aB 7"
    for _ in range(30):
        played.do(key("x"))
    assert len(played.row(tag="input_text").value) == 24


def test_tab_goes_round_what_can_have_the_focus() -> None:
    played = Played("login-user", actions="shi17")
    seen = []
    for _ in range(4):
        played.do(key("<Tab>"))
        seen.append(next(row.tag for row in played.table if row.focused))
    assert seen == ["input_text", "input_password", "button", "input_text"]
    played.do(key("<Tab>"))
    played.do(key("<Tab>"))
    played.do(key("<Enter>"))
    assert played.over


def test_a_select_opens_closes_and_takes_an_option() -> None:
    played = Played("choose-list", actions="all_supported")
    owner = played.row(tag="select").element
    hidden = len(played.table)
    click_row(played, owner)
    options = [row for row in played.table if row.tag == "li"]
    assert options
    assert len(played.table) == hidden + len(options)
    played.do(Command(a.CLICK, 150, 200))  # beside it: closes
    assert len(played.table) == hidden
    click_row(played, owner)
    click_row(played, options[-1].element)
    assert played.row(tag="select").value == options[-1].text
    assert len(played.table) == hidden


def test_the_calendar_knows_its_months() -> None:
    assert DATE_TEXTS[TODAY] == "03/01/2017"
    assert date_text(364) == "12/31/2017"
    played = Played("choose-date", deadline=0)
    click_row(played, played.row(tag="input_text").element)
    march = [row.value for row in played.table if row.tag == "a" and row.value]
    assert march == [str(day) for day in range(1, 32)]
    assert played.row(value="March 2017").tag == "span"
    lefts = {row.value: row.rectangle[0] for row in played.table}
    assert lefts["5"] < lefts["1"] < lefts["4"]  # 2017-03-01 was a Wednesday, 03-05 a Sunday
    click_row(played, played.row(text="<").element)
    assert len([row for row in played.table if row.tag == "a" and row.value]) == 28
    click_row(played, played.row(value="14").element)
    assert played.row(tag="input_text").value == "02/14/2017"


def test_an_autocomplete_suggests_what_begins_alike() -> None:
    played = Played("use-autocomplete", actions="all_supported")
    owner = played.row(tag="input_text").element
    click_row(played, owner)
    played.do(key("I"))
    assert [r.value for r in played.table if r.tag == "li"] == [
        *("Iceland", "India", "Ireland", "Italy")
    ]
    played.do(key("T"))
    assert [r.value for r in played.table if r.tag == "li"] == ["Italy"]
    click_row(played, played.row(tag="li").element)
    assert played.row(tag="input_text").value == "Italy"
    assert played.row(tag="input_text").focused


def test_a_slider_follows_the_pointer_and_the_keys() -> None:
    played = Played("use-slider", actions="all_supported", deadline=0)
    element = next(x for x in played.instance.elements if x.kind is Kind.SLIDER)
    y = element.top + 5
    played.do(Command(a.DOWN, element.left, y))
    assert played.row(tag="input_range").value == str(element.low)
    played.do(Command(a.MOVE, element.left + element.width - 1, y))
    assert played.row(tag="input_range").value == str(element.high)
    played.do(Command(a.UP, 1, 1))
    played.do(Command(a.MOVE, element.left, y))
    assert played.row(tag="input_range").value == str(element.high)
    played.do(key("<ArrowLeft>"))
    assert played.row(tag="input_range").value == str(element.high - 1)


def test_a_press_and_a_release_elsewhere_are_no_click() -> None:
    played = Played("click-test-2", actions="shi17")
    left, top, *_ = played.row(text="TWO").rectangle
    ends = []
    for place in ((0, 209), (left + 4, top + 4)):
        played.do(Command(a.DOWN, left + 3, top + 3))
        played.do(Command(a.UP, *place))
        ends.append(played.over)
    assert ends == [False, True]


def test_scrolling_moves_what_is_in_the_part_and_hides_it_from_the_pointer() -> None:
    played = Played("scroll-list", actions="all_supported")
    area, tops = played.instance.scroll, [row.rectangle[1] for row in played.table]
    inside = area.left + 5, area.top + 5
    for command, scroll in ((a.SCROLL_DOWN, 50), (a.SCROLL_DOWN, 100), (a.SCROLL_UP, 50)):
        played.do(Command(command, *inside))
        assert [r.rectangle[1] for r in played.table] == [top - scroll for top in tops]
    played.do(Command(a.SCROLL_DOWN, 0, 209))
    assert played.state["scroll"] == 50
    above = played.table[0]
    played.do(Command(a.CLICK, above.rectangle[0] + 5, above.rectangle[1] + 5))
    assert played.request is None
    click_row(played, above.element)  # by element: scrolled into view first
    assert played.request == {"country": above.text}


def test_a_form_of_several_pages_checks_required_fields() -> None:
    played = Played("register-harbor", deadline=0)
    click_row(played, played.row(text="Next").element)
    assert played.state["page"] == 0
    while played.state["page"] == 0:
        played.do(played.act_for_oracle())
    click_row(played, played.row(text="Back").element)
    values = {row.value for row in played.table}
    assert played.instance.request["first"] in values  # what was typed is still there


def test_what_is_in_front_is_hit() -> None:
    """An open select box covers the radio buttons below it."""
    for seed in range(10):
        played = Played("find-city", seed, actions="all_supported", deadline=0)
        click_row(played, played.row(tag="select").element)
        option = next(r for r in played.table if r.tag == "li")
        left, top, *_ = option.rectangle
        played.do(Command(a.CLICK, left + 2, top + 2))
        assert played.row(tag="select").value == option.text


# ------------------------------------------------------------------------------ arrays


def test_commands_survive_the_vectors_of_every_preset() -> None:
    rng = np.random.default_rng(0)
    for preset in a.PRESETS:
        family = Web(task="flight-aurora", actions=preset)
        layout = family.params.layout
        for _ in range(50):
            vector = np.asarray(rng.integers(family.action_space.nvec))  # type: ignore[attr-defined]
            assert np.array_equal(encode(layout, decode(layout, vector)), vector)
    with pytest.raises(ValueError, match="this preset has no PRESS_KEY"):
        encode(Web().params.layout, key("a"))


def test_words_are_hashed_alike_in_python_and_in_the_kernel() -> None:
    played = Played("enter-text", actions="all_supported")
    played.do(Command(a.CLICK_ELEMENT, element=played.row(tag="input_text").element))
    for letter in ("A", "b", "<Space>", "9"):
        played.do(key(letter))
    words = played.batch.observation["words"][0, played.row(tag="input_text").element]
    assert words[5:].tolist() == [word_hash("ab 9"), words_of("ab", 1)[0]]
    button = played.batch.observation["words"][0, played.row(tag="button").element]
    assert button[0] == word_hash("submit") == word_hash("SUBMIT")


@pytest.mark.parametrize("task", ["find-city", "choose-date", "use-slider", "login-user"])
def test_the_arrays_say_what_the_table_says(task: str) -> None:
    names = ("elements", "mask", "texts", "values")
    played = Played(task, 2, deadline=0)
    played.batch = Batch(played.family, 1, observations=names, autoreset="disabled")
    played.reset(2)
    while not played.over:
        arrays = {name: array[0] for name, array in played.batch.observation.items()}
        found = np.flatnonzero(arrays["mask"]).tolist()
        assert [row.element - played.first for row in played.table] == found
        for row, k in zip(played.table, found, strict=True):
            assert (text_of(arrays["texts"][k]), text_of(arrays["values"][k])) == row[2:4]
            flags = [int(x) for x in (row.focused, row.tampered, row.targeted, True, row.on)]
            numbers = [TAGS.index(row.tag), *row.rectangle, *flags]
            assert arrays["elements"][k].tolist() == numbers
        played.do(played.act_for_oracle())


def table_from_scratch(batch: Batch, i: int, name: str) -> np.ndarray:
    """Return an array of a page's rows as the browser's side writes it."""
    family, state = batch.family, batch.states[i]
    assert isinstance(family, Web)
    elements = family.instances[int(state["instance"])].elements
    first = int(family.params.pool[state["instance"]]["begin"][state["page"]])
    rows = read_table(family, state)
    placed = (Placed(row.element - first, row, elements[row.element].name) for row in rows)
    return write_rows(name, family.spaces[name], placed)


@pytest.mark.parametrize("task", ["find-city", "click-tab-2", "flight-comet", "choose-date"])
def test_a_table_brought_up_to_date_is_the_one_written_from_scratch(task: str) -> None:
    """Rows that no longer show are zero: after steps and resets, and where states are exchanged."""
    names = ("elements", "words", "mask", "texts", "values")
    family = Web(task=task, instances=8, actions="all_supported")
    batch = Batch(family, 3, observations=names, time_limit=9)
    batch.reset(1)
    before = batch.get_state()
    rng = np.random.default_rng(0)
    space: Any = batch.action_space
    shown = set()
    for turn in range(40):
        if turn == 30:
            batch.set_state(before)
        if turn % 7 == 6:
            batch.states[:] = batch.states[::-1].copy()
        vectors = rng.integers(space.nvec, size=(3, len(space.nvec)))
        vectors[:, 0] = rng.choice([*range(1, 11), a.FOCUS_FIELD, a.FOCUS_FIELD], 3)
        batch.step(vectors)
        for i, name in itertools.product(range(3), names):
            written = batch.observation[name][i]
            assert np.array_equal(written, table_from_scratch(batch, i, name)), name
        shown |= {mask.tobytes() for mask in batch.observation["mask"]}
    assert len(shown) > 1  # rows came and went


def test_the_picture_is_the_page() -> None:
    played = Played("click-color")
    picture = played.batch.render(0)
    assert picture.shape == (210, 160, 3)
    for row in played.table:
        left, top, width, height = row.rectangle
        inside = picture[top : top + height, left : left + width].reshape(-1, 3)
        assert len(np.unique(inside, axis=0)) == 1
    assert Played("flight-dune").batch.render(0).shape[1] == 375
    pixels = Batch(Web(task="click-color"), 2, observations=["pixels"])
    pixels.reset(0)
    assert np.array_equal(pixels.observation["pixels"][0], picture)


def drawn_from_scratch(batch: Batch, i: int) -> np.ndarray:
    """Return the page of a copy without the goal that a site has above it."""
    height = batch.observation["pixels"].shape[1]
    return batch.render(i)[-height:]


@pytest.mark.parametrize("task", TASKS)
def test_a_picture_brought_up_to_date_is_the_one_drawn_from_scratch(task: str) -> None:
    """By the demonstrator, then at random with resets, where most clicks hit something."""
    played = Played(task, instances=8, actions="all_supported", deadline=0)
    played.batch = Batch(played.family, 1, observations=["pixels"], autoreset="disabled")
    played.reset(0)
    seen = set()
    for _ in range(200):
        picture = played.batch.observation["pixels"][0]
        assert np.array_equal(picture, drawn_from_scratch(played.batch, 0))
        seen.add(picture.tobytes())
        if played.over:
            break
        played.do(played.act_for_oracle())
    assert len(seen) > 1
    batch = Batch(played.family, 3, observations=["pixels"])
    batch.reset(1)
    rng = np.random.default_rng(0)
    space: Any = batch.action_space
    for _ in range(40):
        vectors = rng.integers(space.nvec, size=(3, len(space.nvec)))
        vectors[:, 0] = rng.choice([*range(1, 11), a.FOCUS_FIELD, a.FOCUS_FIELD], 3)
        batch.step(vectors)
        for i in range(3):
            assert np.array_equal(batch.observation["pixels"][i], drawn_from_scratch(batch, i))


def test_a_picture_follows_its_state_wherever_that_comes_from() -> None:
    batch = Batch(Web(task="login-user", actions="shi17"), 2, observations=["pixels"])
    batch.reset(0)
    before, states = batch.get_state(), batch.states.copy()
    first = batch.observation["pixels"].copy()
    for name in ("<Tab>", "q", "q"):
        batch.step(np.tile([7, 0, 0, KEYS.index(name)], (2, 1)))
    changed = batch.states.copy()
    assert all((first[i] != batch.observation["pixels"][i]).any() for i in range(2))
    for given in (states, changed, changed[::-1], states[::-1]):
        batch.states[:] = given
        batch.step(np.zeros((2, 4), np.int64))
        for i in range(2):
            assert np.array_equal(batch.observation["pixels"][i], drawn_from_scratch(batch, i))
    batch.set_state(before)
    batch.step(np.zeros((2, 4), np.int64))
    assert np.array_equal(batch.observation["pixels"][1], drawn_from_scratch(batch, 1))


def test_what_is_hidden_is_no_observation() -> None:
    batch = Batch(Web(task="click-test"), 1, observations=["pixels"])
    batch.reset(0)
    assert list(batch.observation) == ["pixels"]
    assert not batch.label
    assert not batch.info


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"task": "click-tets"}, "task must be one of .*click-test, .*; got 'click-tets'"),
        ({"actions": "liu19"}, "there is no preset 'liu19'; there are: all_supported"),
        ({"split": "val"}, "split must be one of all, train, test; got 'val'"),
        ({"reward": "sparse"}, "reward must be one of raw, decayed, binary; got 'sparse'"),
        ({"instances": 0}, "instances"),
        ({"deadline": -5}, "deadline must be 0 .none. or more ms, got -5"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Web(**parameters)


def test_a_page_that_does_not_fit_is_refused() -> None:
    from daedalus.envs.web.model import task

    @task("too-long", "A wish that no input takes.")
    def too_long(page: Page) -> None:
        page.want(text="x" * 25)
        page.input(4, 4, "text")
        page.button(4, 40, "Submit", then=Then.SUBMIT)

    try:
        with pytest.raises(ValueError, match="too-long has a wanted value of 25 letters, 24 fit"):
            draw_instance("too-long", 0)
    finally:
        del TASKS["too-long"]


def test_goal_fields_tell_the_parts_of_their_values() -> None:
    played = Played("enter-date", 0)
    date = played.instance.fields["date"]
    month, day, year = (str(int(part)) for part in date.split("/"))
    told = played.batch.observation["fields"][0, 0].tolist()
    parts = [word_hash(month), word_hash(day), word_hash(year)]
    assert told == [word_hash("date"), word_hash(date), word_hash(date), *parts]
    assert parts_of("07 Oak-Street") == [word_hash(w) for w in ("7", "oak", "street")]
    assert parts_of("") == [0, 0, 0]
