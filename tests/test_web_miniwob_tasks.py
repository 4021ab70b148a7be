"""MiniWoB++'s own tasks as our arrays: its dictionaries are read, and its pages are played."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from browser_tools import becomes_true, needs_browser, processes
from gymnasium.utils.seeding import np_random
from web_tools import Played

from daedalus.accelerators.vector import open_env
from daedalus.agents.actor_critic import ActorCritic
from daedalus.agents.web import Config, Web
from daedalus.agents.web_network import ElementNetwork
from daedalus.envs.web.actions import TYPES, encode
from daedalus.envs.web.browser.driver import BrowserError
from daedalus.envs.web.keys import KEYS
from daedalus.envs.web.miniwob import element_space, observation_space
from daedalus.envs.web.miniwob_arrays import MiniWoBArrays, innermost, our_tag, row_of
from daedalus.envs.web.model import CLASSIC, TAGS
from daedalus.envs.web.pool import word_hash


def element(ref: int, parent: int, tag: str, text: str = "", **more: Any) -> dict[str, Any]:
    """Return an element of a page as MiniWoB++ writes it."""
    sides = dict.fromkeys(("left", "top", "width", "height"), 0.0) | more.pop("sides", {})
    colours = {name: np.ones(4, np.float32) for name in ("bg_color", "fg_color")}
    flags = np.array(more.pop("flags", [0, 0, 0, 1]), np.int8)
    told = {"value": "", "id": "", "classes": "", **more}
    boxes = {side: np.array([value], np.float32) for side, value in sides.items()}
    head = {"ref": ref, "parent": parent, "tag": tag, "text": text}
    return {**head, **told, **boxes, **colours, "flags": flags}


PAGE = (
    element(1, 0, "body"),
    element(2, 1, "label"),
    element(
        3,
        2,
        "input_checkbox",
        value="True",
        id="ch0",
        sides={"left": 6.0, "top": 54.6, "width": 20.0, "height": 13.0},
        flags=[1, 1, 0, 1],
    ),
    element(-1, 2, "t", "Café au lait noir"),
    element(4, 1, "select", id="options"),
    element(5, 1, "input_submit", value="Send"),
)
"""A label with a box and words in it, a list, a button."""


class Theirs(gymnasium.Env[Any, Any]):
    """MiniWoB++'s environment, with a page made by hand that ends after a given number of steps."""

    observation_space = observation_space(CLASSIC)
    action_space = gymnasium.spaces.Dict({})

    def __init__(self, steps: int = 3, failures: tuple[int, ...] = ()) -> None:
        """Fail at some of the calls, counted from 0."""
        self.steps, self.failures, self.calls = steps, failures, 0
        self.actions: list[dict[str, Any]] = []
        self.seeds: list[int] = []

    def page(self) -> dict[str, Any]:
        fields = (("target 0", "Café"), ("button", "submit"))
        told = {"utterance": "Select Café and click Submit.", "fields": fields}
        return {**told, "dom_elements": PAGE, "screenshot": np.full((210, 160, 3), 9, np.uint8)}

    def called(self) -> None:
        self.calls += 1
        if self.calls - 1 in self.failures:
            raise OSError("connection refused")

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.options, self.actions = options, []
        self.seeds.append(seed if seed is not None else -1)
        self.called()
        return self.page(), {"root_dom": object()}

    def step(self, action: dict[str, Any]) -> Any:
        self.called()
        self.actions.append(action)
        over = len(self.actions) == self.steps
        told = {"done": over, "env_reward": 0.0, "raw_reward": 0.0, "elapsed": 0.5}
        told |= {"raw_reward": 0.6, "env_reward": 0.57} if over else {}
        empty = {"utterance": "", "dom_elements": (), "fields": (), "screenshot": np.zeros(1)}
        return (empty if over else self.page()), told["env_reward"], over, False, told


def test_the_hand_made_elements_are_elements() -> None:
    assert all(element_space().contains(e) for e in PAGE)


def test_rows_are_what_nothing_else_stands_in() -> None:
    assert [e["ref"] for e in innermost(PAGE)] == [3, -1, 4, 5]
    rows = [row_of(e, place) for place, e in enumerate(innermost(PAGE))]
    box, words, button = rows[0], rows[1], rows[3]
    assert tuple(box) == (0, "input_checkbox", "", "", (6, 55, 20, 13), True, True, False, True)
    assert tuple(words)[:4] == (1, "span", "Caf au lait noir", "")
    assert tuple(button)[:4] == (3, "button", "Send", "")
    for tag in ("input_submit", "input_email", "option", "circle", "h3", "Textarea"):
        assert our_tag(tag.lower(), "") in TAGS


def test_a_page_becomes_the_arrays_of_ours() -> None:
    env = MiniWoBArrays(Theirs(), rows=6)
    seen, info = env.reset(seed=0)
    assert env.observation_space.contains(seen)
    assert seen["mask"].tolist() == [1, 1, 1, 1, 0, 0]
    assert seen["elements"][0].tolist() == [9, 6, 55, 20, 13, 1, 1, 0, 1, 1]
    tags = [TAGS.index(name) for name in ("input_checkbox", "span", "select", "button")]
    assert seen["elements"][:4, 0].tolist() == tags
    words = [word_hash(w) for w in ("Caf au lait noir", "Caf", "au", "lait", "", "", "")]
    assert seen["words"][1].tolist() == words
    assert seen["words"][2].tolist() == [0, 0, 0, 0, word_hash("options"), 0, 0]
    assert not seen["words"][4:].any()
    told = [word_hash(w) for w in ("Select", "Caf", "and", "click", "Submit.")]
    assert seen["utterance"].tolist() == told + [0] * 27
    keys = [word_hash(w) for w in ("target 0", "Caf", "Caf", "caf")]
    assert seen["fields"][0].tolist() == [*keys, 0, 0]
    assert seen["fields"][2:].max() == seen["clock"].max() == 0
    assert info == {"cost": 0.0}


@pytest.mark.parametrize(
    ("preset", "vector", "expected"),
    [
        ("liu18", [0, 0, 0], ("NONE", {})),
        ("liu18", [1, 2, 0], ("CLICK_ELEMENT", {"ref": 4})),
        ("liu18", [1, 1, 0], ("CLICK_ELEMENT", {"ref": 2})),  # words: the label they stand in
        ("liu18", [2, 0, 7], ("FOCUS_ELEMENT_AND_TYPE_FIELD", {"ref": 3, "field": 7})),
        ("liu18", [1, 5, 0], ("NONE", {})),  # no element there
        ("shi17", [1, 159, 209, 0], ("CLICK_COORDS", {"coords": [159, 209]})),
        ("shi17", [7, 0, 0, len(KEYS) - 1], ("PRESS_KEY", {"key": len(KEYS) - 1})),
        # (2 * 25 + 1) * 160 / 102 = 80, (2 * 0 + 1) * 210 / 102 = 2.06
        ("humphreys22", [1, 25, 0, 0, 0], ("MOVE_COORDS", {"coords": [80, 2]})),
        ("humphreys22", [9, 0, 0, 0, 3], ("TYPE_FIELD", {"field": 3})),
    ],
)
def test_an_action_is_theirs(preset: str, vector: list[int], expected: Any) -> None:
    theirs = Theirs()
    env = MiniWoBArrays(theirs, rows=6, actions=preset)
    env.reset(seed=0)
    env.step(np.array(vector))
    [taken] = theirs.actions
    name, parts = expected
    assert TYPES[taken["action_type"]] == name
    assert {key: np.asarray(taken[key]).tolist() for key in parts} == parts
    if name == "CLICK_ELEMENT":
        targeted = [row.targeted for row in env.table]
        assert targeted == [ref == parts["ref"] for ref in (3, 2, 4, 5)]


@pytest.mark.parametrize(("rule", "reward"), [("raw", 0.6), ("decayed", 0.57), ("binary", -1.0)])
def test_the_end_is_scored_by_the_rule(rule: str, reward: float) -> None:
    env = MiniWoBArrays(Theirs(steps=2), reward=rule)
    env.limit = 2000.0
    env.reset(seed=0)
    _, first, over, *_ = env.step([0, 0, 0])
    assert (first, over) == (0.0, False)
    seen, last, over, truncated, info = env.step([0, 0, 0])
    assert (last, over, truncated) == (reward, True, False)
    assert info == {"cost": 0.0, "raw_reward": 0.6, "env_reward": 0.57}
    assert seen["mask"].sum() == 4  # the last page stays
    assert seen["clock"].tolist() == [0.25, 0.0]  # 0.5 s of 2 s


def test_a_failed_browser_is_a_fault_and_never_a_reward() -> None:
    theirs = Theirs(failures=(1, 2))
    env = MiniWoBArrays(theirs)
    env.reset(seed=0)
    _, reward, over, truncated, info = env.step([1, 0, 0])
    assert (reward, over, truncated) == (0.0, False, True)
    assert info["fault"] == "OSError: connection refused"
    env.reset()  # fails once, then there is a new browser
    assert theirs.calls == 4
    with pytest.raises(BrowserError, match="did not open its page: OSError: conn"):
        MiniWoBArrays(Theirs(failures=(0, 1))).reset(seed=0)


def test_the_same_seed_opens_the_same_pages_and_pictures_are_on_demand() -> None:
    theirs = Theirs()
    env = MiniWoBArrays(theirs, observations=["pixels"])
    for _ in range(2):
        seen, _ = env.reset(seed=7)
        env.reset()
    assert theirs.seeds[:2] == theirs.seeds[2:]
    assert theirs.seeds[0] != theirs.seeds[1]
    assert env.observation_space.contains(seen)
    assert theirs.options == {"record_screenshots": True}
    assert env.render() is None
    blind = Theirs()
    MiniWoBArrays(blind).reset(seed=7)
    assert blind.options == {"record_screenshots": False}
    shown = MiniWoBArrays(Theirs(), render_mode="rgb_array")
    shown.reset(seed=0)
    drawn = shown.annotate(shown.render(), np.array([1, 0, 0]), {"elements": np.eye(160)[0]})
    assert drawn.shape == (630, 480, 3)
    assert (drawn[190:200, 30:60] != 9).any()  # the box is tinted and framed


def test_what_does_not_exist_is_named() -> None:
    for given, message in (
        ({"reward": "time"}, "reward must be one of raw, decayed, binary; got 'time'"),
        ({"actions": "shi18"}, "there is no preset 'shi18'"),
        ({"observations": ["dom"]}, "there is no array 'dom'; there are elements, words"),
    ):
        with pytest.raises(ValueError, match=message):
            MiniWoBArrays(Theirs(), **given)


@pytest.mark.parametrize("name", ["login-user", "click-checkboxes", "enter-date", "click-test-2"])
def test_our_pages_come_back_as_they_were(name: str) -> None:
    """Tables -> MiniWoB++'s dictionaries -> tables: nothing is lost, and the oracle solves both."""
    drawn = np_random(3)[0].integers(2**31)
    played = Played(name, int(drawn))
    env_id = f"daedalus/Web-{name.title().replace('-', '')}-v0"
    face = gymnasium.make(env_id, spaces="miniwob", disable_env_checker=True)
    env = MiniWoBArrays(face.unwrapped, rows=played.family.rows)
    env.limit = float(played.instance.deadline)
    seen, _ = env.reset(seed=3)
    over = False
    while not over:
        for array in env.names:
            assert np.array_equal(seen[array], played.batch.observation[array][0]), array
        command = played.act_for_oracle()
        played.do(command)
        seen, reward, over, _, _ = env.step(encode(env.layout, command))
    assert (reward, played.reward, played.over) == (1.0, 1.0, True)


@pytest.mark.parametrize("agent", ["web", "actor_critic"])
def test_agents_train_on_the_dictionaries(agent: str) -> None:
    face = gymnasium.make("daedalus/Web-ClickTest2-v0", spaces="miniwob", disable_env_checker=True)
    env = MiniWoBArrays(face.unwrapped, rows=8)
    if agent == "web":
        made: Any = Web(env, Config(width=8, layers=1, n_steps=4))
        assert isinstance(made.learner.network, ElementNetwork)
    else:
        made = ActorCritic(env, ActorCritic.Config(hidden=8, lstm=0, n_steps=4))
    made.learn(16)
    assert made.num_updates == 4
    assert getattr(made, "demonstrations", None) is None  # nobody demonstrates MiniWoB++'s tasks


class TestTheirPages:
    """MiniWoB++ itself, where it and a browser are installed."""

    pytestmark = needs_browser

    @pytest.fixture
    def login(self) -> Iterator[Any]:
        pytest.importorskip("miniwob")
        env = open_env("miniwob:miniwob/login-user-v1", render_mode="rgb_array")
        yield env
        env.close()

    def test_a_form_of_theirs_is_filled_in(self, login: Any) -> None:
        seen, _ = login.reset(seed=1)
        assert login.limit == 10_000.0
        assert login.observation_space.contains(seen)
        name = seen["fields"][:2, 0].tolist()
        assert name == [word_hash("username"), word_hash("password")]
        for field, key in enumerate(name):
            [row] = np.flatnonzero(seen["words"][:, 4] == key)
            seen, reward, over, *_ = login.step([2, row, field])
            assert seen["words"][row, 5] == seen["fields"][field, 1]  # it holds the field's value
            assert seen["elements"][row, 5:9].tolist() == [1, 1, 1, 1]
            assert (reward, over) == (0.0, False)
        [row] = np.flatnonzero(seen["words"][:, 0] == word_hash("Login"))
        assert login.render().shape == (210, 160, 3)
        _, reward, over, truncated, info = login.step([1, row, 0])
        assert (reward, over, truncated) == (1.0, True, False)
        assert 0.0 < info["env_reward"] < 1.0
        again, _ = login.reset(seed=1)
        assert not again["elements"][:, 5:8].any()  # nothing of the last episode is left
        assert np.array_equal(again["utterance"], seen["utterance"])

    def test_a_browser_that_is_killed_is_a_fault_and_is_replaced(self, login: Any) -> None:
        login.reset(seed=1)
        os.kill(login.env.instance.driver.service.process.pid, 9)
        _, reward, over, truncated, info = login.step([1, 0, 0])
        assert (reward, over, truncated) == (0.0, False, True)
        assert "Error" in info["fault"]
        seen, _ = login.reset(seed=1)
        assert seen["mask"].sum() > 3

    def test_nothing_is_left_when_the_process_is_killed(self) -> None:
        pytest.importorskip("miniwob")
        code = (
            "from daedalus.accelerators.vector import make_batch\n"
            "batch = make_batch('miniwob:miniwob/click-test-v1', 1)\n"
            "batch.reset([1])\n"
            "batch.step([[1, 0, 0]])\n"
            "print(batch.reward[0], batch.env.envs[0].unwrapped.env.instance.driver"
            ".capabilities['chrome']['userDataDir'], flush=True)\n"
            "input()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=-1, stdout=-1, text=True, start_new_session=True
        )
        assert process.stdout is not None
        reward, folder = process.stdout.readline().split()
        assert float(reward) == 1.0
        assert processes(folder)
        process.kill()
        process.communicate(timeout=10)
        assert becomes_true(lambda: not processes(folder))
