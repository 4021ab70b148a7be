"""What `daedalus watch` draws over a web page: probabilities, the chosen element, the pointer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from web_tools import Played

from daedalus.envs.web import actions as a
from daedalus.envs.web.actions import Command
from daedalus.envs.web.overlay import CHOSEN, LIKELY, NUMBERS, POINTER, SCALE, Sight, overlay
from daedalus.envs.web.table import Row
from daedalus.evaluation.policy import Choice
from daedalus.evaluation.rollout import Player, open_for_people

SIZE = (160, 210)


def row(element: int, top: int, **marks: bool) -> Row:
    flags = {"focused": False, "tampered": False, "targeted": False, "on": False} | marks
    return Row(element, "button", "", "", (20, top, 40, 12), **flags)


def drawn(command: Command | None, likely: list[float] | None = None, **marks: bool) -> Any:
    page = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    sight = Sight([row(7, 60), row(8, 90, **marks)], 7, SIZE, (5, 200))
    panels = {} if likely is None else {"elements": np.array(likely)}
    return overlay(page, sight, command, panels)


def middle(picture: Any, top: int) -> list[int]:
    """Return the colour inside of the element at ``top``, away from pointer and numbers."""
    colour: list[int] = picture[SCALE * (top + 2), SCALE * 25].tolist()
    return colour


def test_elements_are_tinted_by_their_probability() -> None:
    picture = drawn(None, [1.0, 0.5])
    assert middle(picture, 60) == list(LIKELY)
    assert middle(picture, 90) == [(255 + c) // 2 for c in LIKELY]
    assert middle(drawn(None, [0.001, 0.0]), 60) == [255] * 3
    numbers = picture[SCALE * 60 : SCALE * 72, SCALE * 60 :]
    assert (numbers != 255).any()  # "100%" stands to the right


def test_the_number_of_a_wide_element_stays_on_the_page() -> None:
    page = np.full((SIZE[1], SIZE[0], 3), 255, np.uint8)
    wide = row(0, 60)._replace(rectangle=(2, 60, 156, 12))
    picture = overlay(page, Sight([wide], 0, SIZE, (5, 200)), None, {"elements": np.array([1.0])})
    assert picture.shape == (SCALE * SIZE[1], SCALE * SIZE[0], 3)
    numbers = (picture == NUMBERS).all(-1)
    assert numbers[:, SCALE * 135 :].any()  # "100%" takes 24 pixels and ends one before the edge
    assert not numbers[:, : SCALE * 135].any()


@pytest.mark.parametrize(
    ("command", "focused", "framed", "tip"),
    [
        (Command(a.CLICK_ELEMENT, element=1), False, [90], (40, 96)),
        (Command(a.FOCUS_FIELD, element=0), False, [60], (40, 66)),
        (Command(a.PRESS_KEY, key=3), True, [90], (5, 200)),
        (Command(a.CLICK, x=70, y=80), True, [], (70, 80)),
        (None, True, [], (5, 200)),
    ],
)
def test_choice_and_pointer(
    command: Command | None, focused: bool, framed: list[int], tip: tuple[int, int]
) -> None:
    picture = drawn(command, focused=focused)
    edges = [top for top in (60, 90) if tuple(picture[SCALE * top - 1, SCALE * 30]) == CHOSEN]
    assert edges == framed
    assert tuple(picture[SCALE * tip[1], SCALE * tip[0]]) == POINTER


class Fixed:
    """Clicks the first element, and says so."""

    name = "fixed"

    def start(self, num_envs: int, seed: int) -> None:
        pass

    def choose(self, observation: Any, reward: Any, start: Any) -> Choice:
        return Choice(np.array([[1, 0, 0]]), None)

    def inspect(self, label: Any) -> dict[str, Any]:
        return {"elements": np.array([0.75])}


def test_a_moment_shows_the_policy_over_the_page() -> None:
    batch = open_for_people("daedalus/Web-ClickTest-v0")
    player = Player(Fixed(), batch)
    start, end = player.begin(0), player.advance()
    assert start.picture is not None
    assert end.picture is not None
    assert start.picture.shape == (SCALE * 210, SCALE * 160, 3)
    assert (start.picture == CHOSEN).all(-1).any()
    assert not (end.picture == CHOSEN).all(-1).any()
    assert end.reward == 1.0
    batch.close()


def test_a_goal_above_a_site_moves_everything_down() -> None:
    played = Played("flight-aurora")
    plain = played.family.render(played.state)
    head = plain.shape[0] - played.family.size[1]
    action = np.array([1, 0, 0])
    made = played.family.annotate(plain, played.state, action, {})
    left, top, *_ = played.table[0].rectangle
    assert head > 0
    assert tuple(made[head + top - 1, left + 20]) == CHOSEN
