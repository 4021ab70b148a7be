"""Demonstrations: recorded, read, replayed and verified; damaged files named by line."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from browser_tools import needs_browser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daedalus import cli
from daedalus.envs.web.actions import TYPES
from daedalus.envs.web.browser.person import commands_of
from daedalus.envs.web.browser.recording import (
    Demonstration,
    FormatError,
    lines_of,
    read_demonstration,
    record,
    replay,
)


@pytest.fixture(scope="module")
def made() -> Demonstration:
    return record("login-user", 3)


@pytest.fixture
def path(made: Demonstration, tmp_path: Path) -> Path:
    path = tmp_path / "login-user-3.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines_of(made)))
    return path


def test_a_record_is_read_as_it_was_made_and_verified(made: Demonstration, path: Path) -> None:
    assert made.reward == 1.0
    assert made.request is not None
    letters = sum(len(value) for value in made.request.values())
    assert len(made.events) == letters + 3  # a click into each box, one on the button
    read = read_demonstration(path)
    assert read == made
    assert replay(read) == (1.0, [])


@pytest.mark.parametrize("_", [pytest.param(0, marks=needs_browser)])
def test_a_native_record_replays_in_the_browser(made: Demonstration, _: int) -> None:
    assert replay(made, "browser") == (1.0, [])


def test_a_changed_record_is_not_verified(made: Demonstration) -> None:
    less = dataclasses.replace(made, events=made.events[1:])
    reward, differences = replay(less)
    assert reward < 1.0
    assert differences[0] == "event 1: the page differs"
    assert differences[-2] == f"the reward is {reward:g}, recorded 1"


DAMAGE: dict[str, tuple[Any, str]] = {
    "cut": (lambda lines: lines[:-1], "line 28|line .*: the outcome is missing, the file was cut"),
    "empty": (lambda lines: [], "0 lines; 2 to 10002 make an episode"),
    "half a line": (lambda lines: [lines[0], lines[1][:50], lines[-1]], "line 2: not JSON"),
    "deep": (lambda lines: [lines[0], "[" * 100_000, lines[-1]], "line 2: not JSON"),
    "a list": (lambda lines: [lines[0], "[1]", lines[-1]], "line 2: not a JSON object"),
    "other": (
        lambda lines: ['{"format": "x"}', *lines[1:]],
        "line 1: not a daedalus-demonstration",
    ),
    "task": (lambda lines: edit(lines, 0, task="../../x"), r"line 1: there is no task '../../x'"),
    "seed": (lambda lines: edit(lines, 0, seed=-1), "line 1: seed must be an integer in"),
    "huge": (lambda lines: edit(lines, 0, instances=10**9), "line 1: instances must be an integer"),
    "bool": (lambda lines: edit(lines, 0, seed=True), "line 1: seed must be an integer"),
    "code": (lambda lines: edit(lines, 1, type="exec"), "line 2: no such type of event or key"),
    "place": (lambda lines: edit(lines, 1, x=1e99), "line 2: x must be an integer in"),
    "time": (lambda lines: edit(lines, 1, time="now"), "line 2: time must be milliseconds"),
    "text": (lambda lines: edit(lines, 1, text="x" * 65), "line 2: text must have at most 64"),
    "rows": (lambda lines: edit(lines, 1, rows=[[1]]), "line 2: an element must be element, tag"),
    "reward": (lambda lines: edit(lines, -1, reward=7), "reward must be in"),
    "request": (lambda lines: edit(lines, -1, request={"a": 1}), "request must be fields"),
}


def edit(lines: list[str], place: int, **changes: Any) -> list[str]:
    changed = list(lines)
    changed[place] = json.dumps(json.loads(lines[place]) | changes)
    return changed


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(damage: str, path: Path) -> None:
    change, message = DAMAGE[damage]
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(FormatError, match=message):
        read_demonstration(path)


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_record_or_a_format_error(path: Path, data: st.DataObject) -> None:
    raw = bytearray(path.read_bytes())
    copy = path.with_name("changed.jsonl")
    for _ in range(3):
        place = data.draw(st.integers(0, len(raw) - 1))
        raw[place] = data.draw(st.integers(0, 255))
    copy.write_bytes(raw)
    with contextlib.suppress(FormatError):
        read_demonstration(copy)


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path)]
    assert cli.run(["demo", "record", "click-test", "--episodes", "2", *out]) == 0
    assert "click-test-1.jsonl: 1 events, reward 1: Click the button." in capsys.readouterr().out
    files = [str(tmp_path / f"click-test-{seed}.jsonl") for seed in (0, 1)]
    assert cli.run(["demo", "replay", *files]) == 0
    assert capsys.readouterr().out.count("reward 1, verified") == 2
    assert cli.run(["demo", "record", "click-tets"]) == 2
    assert "there is no web task 'click-tets'" in capsys.readouterr().err


PERSON = ("login-user", "use-slider", "scroll-list", "click-checkboxes", "flight-borealis")
"""Text, a slider to drag, a wheel, boxes, a site of three pages."""


@pytest.mark.parametrize("_", [pytest.param(0, marks=needs_browser)])
@pytest.mark.parametrize("task", PERSON)
def test_a_person_is_recorded(
    task: str, _: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WebDriver's pointer and keys, which Chromium trusts, act as the person."""
    from browser_person import Person

    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []
    monkeypatch.setattr("builtins.print", lambda *words, **_: said.append(" ".join(words)))
    episodes = 2 if task == "login-user" else 1
    person = Person(said, task, episodes)
    person.start()
    arguments = [
        "--episodes",
        str(episodes),
        "--seed",
        "5",
        "--out",
        str(tmp_path),
        "--by",
        "person",
    ]
    code = cli.run(["demo", "record", task, *arguments])
    person.join(60)
    assert (code, person.failure) == (0, None)
    for seed in range(5, 5 + episodes):
        made = read_demonstration(tmp_path / f"{task}-{seed}.jsonl")
        assert (made.source, made.reward) == ("person", 1.0)
        assert replay(made) == (1.0, [])
        times = [event[0] for event in made.events]
        assert times == sorted(times)
    assert replay(made, "browser") == (1.0, [])


def test_events_of_a_page_become_commands() -> None:
    def at(kind: str, x: int, **more: Any) -> dict[str, Any]:
        return {"time": 1, "type": kind, "x": x, "y": 7, **more}

    key = {"time": 2, "type": "keydown", "code": ord("a")}
    odd = {"time": 2, "type": "keydown", "code": ord("!")}
    told = [at("mousedown", 3), at("mouseup", 3), key, odd, at("wheel", 4, down=True)]
    told += [at("mousedown", 3), at("mousemove", 9), at("mouseup", 9)]
    kinds = [TYPES[command.type] for _, command in commands_of(told)]
    drag = ["MOUSEDOWN_COORDS", "MOVE_COORDS", "MOUSEUP_COORDS"]
    assert kinds == ["CLICK_COORDS", "PRESS_KEY", "TYPE_TEXT", "SCROLL_DOWN_COORDS", *drag]
    assert commands_of(told)[2][1].text == "!"
    for broken in ([{"type": "mousedown"}], [{**key, "type": "run"}], [{**key, "code": "x"}]):
        with pytest.raises((ValueError, KeyError)):
            commands_of(broken)
