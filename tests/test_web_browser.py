"""The browser backend: the same pages as the native one, and what a browser must not do."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from browser_faults import (
    BAD_PAGES,
    LEAVINGS,
    VICTIMS,
    kill_part,
    kill_trainer,
    last_sight,
    leaks,
    nothing_left,
    show_bad_page,
    wander,
    ways_out,
)
from browser_tools import becomes_true, folders, needs_browser
from web_tools import Played, random_action

from daedalus.envs.web import actions as a
from daedalus.envs.web.actions import Command, decode
from daedalus.envs.web.browser import driver
from daedalus.envs.web.browser.env import BrowserWeb
from daedalus.envs.web.browser.pool import close_all, form_server
from daedalus.envs.web.keys import KEYS
from daedalus.envs.web.model import TASKS
from daedalus.envs.web.tasks import load_tasks

pytestmark = needs_browser
load_tasks()


@pytest.fixture(scope="module", autouse=True)
def browsers() -> Iterator[None]:
    """End the browsers of this file."""
    yield
    close_all()


@pytest.fixture
def env() -> Iterator[BrowserWeb]:
    made = BrowserWeb(task="login-user", actions="all_supported", timeout=3.0)
    yield made
    made.close()


# ------------------------------------------------------------------------------ equality


def wild(played: Played, rng: np.random.Generator) -> Command:
    """Draw a random command, mostly where something is."""
    command = decode(played.family.params.layout, random_action(played, rng))
    if rng.random() < 0.6:
        table = played.table
        row = table[rng.integers(len(table))]
        left, top, width, height = row.rectangle
        y = int(np.clip(top + rng.integers(height), 0, played.family.size[1] - 1))
        x = int(left + rng.integers(width))
        command = command._replace(x=x, y=y, element=row.element - played.first)
    return command._replace(text="")


def compare(played: Played, env: BrowserWeb, seed: int, rng: Any, most: int) -> int:
    """Play one episode in both backends, by the demonstrator where ``rng`` is None."""
    played.reset(seed)
    env.reset(seed=seed)
    assert env.instance == played.instance
    assert env.table == played.table
    for step in range(1, most + 1):
        command = played.act_for_oracle() if rng is None else wild(played, rng)
        played.do(command)
        observation, reward, terminated, _, info = env.do(command)
        assert env.table == played.table, (played.instance.utterance, command)
        assert (env.request, terminated) == (played.request, played.over), (command, info)
        assert reward == pytest.approx(played.reward)
        for name, array in played.batch.observation.items():
            assert np.array_equal(observation[name], array[0]), name
        if terminated:
            return step
    return most


@pytest.mark.parametrize("task", TASKS)
def test_both_backends_are_the_same_page(task: str) -> None:
    """Tables, rewards, ends, requests and arrays; the full count is in benchmarks/web_proof.py."""
    played = Played(task, actions="all_supported")
    env = BrowserWeb(task=task, actions="all_supported")
    try:
        assert compare(played, env, 0, None, 200) < 200
        compare(played, env, 1, np.random.default_rng(1), 15)
    finally:
        env.close()


def test_a_real_pointer_and_real_keys_do_the_same(env: BrowserWeb) -> None:
    """WebDriver's own input, which Chromium trusts, against the kernel."""
    from selenium.webdriver.common.action_chains import ActionChains

    played = Played("login-user", 4, actions="shi17")
    env.reset(seed=4)
    for _ in range(40):
        command = played.act_for_oracle()
        played.do(command)
        chain = ActionChains(env.browser.driver, duration=0)
        if command.type == a.CLICK:
            pointer: Any = chain.w3c_actions.pointer_action
            pointer.move_to_location(command.x, command.y).click()
        else:
            chain.send_keys(KEYS[command.key])
        chain.perform()
        env._read(env.browser.driver.execute_script("return window.daedalus.observe()"))
        assert env.table == played.table
        if played.over:
            break
    assert played.reward == 1.0
    assert becomes_true(lambda: env.site.requests == [played.request])


def test_gymnasium_makes_it_by_a_parameter() -> None:
    spec: dict[str, Any] = {"backend": "browser", "render_mode": "rgb_array"}
    made = gymnasium.make("daedalus/Web-ClickTest2-v0", **spec)
    try:
        observation, _ = made.reset(seed=0)
        assert made.observation_space.contains(observation)
        picture: Any = made.render()
        assert picture.shape == (210, 160, 3)
        assert (picture[5, 150] == (255, 255, 120)).all()  # the utterance's ground
        env: Any = made.unwrapped
        row = next(row for row in env.table if row.text == "ONE")
        _, reward, terminated, truncated, _ = made.step(np.array([1, row.element, 0]))
        assert (reward, terminated, truncated) == (1.0, True, False)
    finally:
        made.close()
    with pytest.raises(ValueError, match="backend must be one of native, browser, got 'chrome'"):
        gymnasium.make("daedalus/Web-ClickTest2-v0", backend="chrome")


def test_the_wall_clock_counts_only_when_asked_to() -> None:
    for clock, reward in (("simulated", 0.99), ("wall", 0.0)):
        env = BrowserWeb(task="click-test", reward="decayed", clock=clock, deadline=10_000)
        env.reset(seed=0)
        env._began -= 9.9
        _, got, *_ = env.do(Command(a.CLICK_ELEMENT, element=0))
        assert got == pytest.approx(reward, abs=0.02)
        env.close()


# ------------------------------------------------------------------------------ faults


@pytest.mark.parametrize("page", [name for name in BAD_PAGES if name != "allocation"])
def test_a_bad_page_is_a_fault_within_its_deadline(page: str) -> None:
    env = BrowserWeb(task="click-test", timeout=1.0)
    env.reset(seed=0)
    said, seconds = show_bad_page(env, page)
    assert "the browser failed" in said or "answered" in said
    assert seconds < 1.0 + 3.0
    env.reset(seed=0)  # a fresh browser
    assert env.do(Command(a.CLICK_ELEMENT, element=0))[1] == 1.0
    env.close()


def test_a_page_that_hangs_in_a_step_truncates_the_episode(env: BrowserWeb) -> None:
    env.reset(seed=0)
    env.browser.driver.execute_script("window.daedalus.step = () => { while (true); }")
    _, reward, terminated, truncated, info = env.do(Command())
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert "the browser failed" in info["fault"]
    env.reset(seed=0)
    assert env.do(Command())[3] is False


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_killed_browser_leaves_nothing_and_is_replaced(env: BrowserWeb, victim: str) -> None:
    env.reset(seed=0)
    assert kill_part(env, victim) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_trainer_leaves_nothing(how: signal.Signals) -> None:
    assert kill_trainer(how) == []


def test_what_is_missing_or_does_not_fit_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def program(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return str(path)

    old = program("old", "echo Chromium 99.0.1")
    new = program("new", "echo ChromeDriver 156.0.2")
    cases = [
        (old, new, "old is version 99.0.1 but .*new is 156.0.2: install the same"),
        ("/no/chromium", new, "DAEDALUS_CHROMIUM=/no/chromium does not exist: install it"),
        (old, "/no/driver", "DAEDALUS_CHROMEDRIVER=/no/driver does not exist: install it"),
        (program("odd", "echo hello"), new, "said 'hello.n': it is no Chromium"),
        (program("broken", "exit 1"), new, "it is no Chromium"),
    ]
    for chromium, chromedriver, message in cases:
        monkeypatch.setenv("DAEDALUS_CHROMIUM", chromium)
        monkeypatch.setenv("DAEDALUS_CHROMEDRIVER", chromedriver)
        with pytest.raises(driver.BrowserError, match=message):
            driver.find_programs()


def test_chromium_that_dies_at_once_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "chromium"
    version = driver._version(str(driver.find_programs()[1]))
    fake.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo Chromium {version}\nexit 1\n')
    fake.chmod(0o700)
    monkeypatch.setenv("DAEDALUS_CHROMIUM", str(fake))
    with pytest.raises(driver.BrowserError, match="Chromium did not start: "):
        driver.Browser(form_server().origin, (160, 210), 5.0)
    assert not folders(os.getpid()) or all(f.exists() for f in folders(os.getpid()))


# ------------------------------------------------------------------------------ isolation


def test_no_way_out_of_the_page(env: BrowserWeb) -> None:
    """Other ports, hosts, WebSockets, images, beacons, files, UDP, downloads, windows, pages."""
    out = ways_out(env)
    assert len(out) == 14
    assert [name for name, worked in out.items() if worked] == []


def test_episodes_start_equal_whatever_the_last_one_left(env: BrowserWeb) -> None:
    for seed in range(LEAVINGS):
        assert leaks(env, seed) == nothing_left(env)


def test_the_same_seed_and_actions_give_the_same_document_and_picture(env: BrowserWeb) -> None:
    first, again, other = ((wander(env, seed, 6), last_sight(env)) for seed in (3, 3, 4))
    assert first == again
    assert first[1] != other[1]
