"""Demonstrations as JSON lines: recorded in either backend, replayed in either, verified.

The first line says which episode it is::

    {"format": "daedalus-demonstration", "version": 1, "task": "login-user", "split": "all",
     "instances": 256, "seed": 3, "utterance": "...", "source": "oracle"}

Then a line for every event: the command, its time in simulated milliseconds, and the table before
it (``rows``: element, tag, text, value, rectangle, focused, tampered, targeted, on)::

    {"time": 100, "type": "CLICK_COORDS", "x": 20, "y": 93, "rows": [[0, "span", ...], ...]}

The last line is the outcome::

    {"outcome": "submitted", "request": {"username": "ana"}, "reward": 1.0}

A file is text of at most `MAX_BYTES`; nothing in it is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daedalus.envs.batch import Batch
from daedalus.envs.web.actions import TYPES, Command, encode
from daedalus.envs.web.family import Web
from daedalus.envs.web.keys import KEYS
from daedalus.envs.web.model import SPLITS, TASKS
from daedalus.envs.web.oracle import Oracle
from daedalus.envs.web.table import Row, read_request, read_table
from daedalus.envs.web.tasks import load_tasks

FORMAT, VERSION = "daedalus-demonstration", 1
MAX_BYTES, MAX_EVENTS = 32 * 2**20, 10_000
_TEXTS = ("task", "split", "utterance", "source")
_NUMBERS = {"instances": 100_000, "seed": 2**31}


class FormatError(ValueError):
    """A file is no demonstration, or a damaged one; the message names file and line."""


@dataclass
class Demonstration:
    """One recorded episode."""

    task: str
    seed: int
    split: str = "all"
    instances: int = 256
    utterance: str = ""
    source: str = "oracle"
    events: list[tuple[float, Command, list[Row]]] = field(default_factory=list)
    request: dict[str, str] | None = None
    reward: float = 0.0

    @property
    def family(self) -> Web:
        """The task, with every type of action."""
        parameters: dict[str, Any] = {"split": self.split, "instances": self.instances}
        return Web(task=self.task, actions="all_supported", deadline=0, **parameters)


class _Native:
    """The native page as a replay needs it."""

    def __init__(self, family: Web) -> None:
        self.family = family
        self.batch = Batch(family, 1, observations=["clock"], autoreset="disabled")

    def reset(self, seed: int) -> None:
        self.batch.reset(seed)
        self.state = self.batch.states[0]
        self.instance = self.family.instances[int(self.state["instance"])]

    def do(self, command: Command) -> tuple[float, bool]:
        text = command.text.encode("ascii")[:63]
        self.state["mail"] = 0
        self.state["mail"][: len(text)] = list(text)
        self.batch.step(encode(self.family.params.layout, command)[None])
        return float(self.batch.reward[0]), bool(self.batch.ended[0])

    @property
    def table(self) -> list[Row]:
        return read_table(self.family, self.state)

    @property
    def first(self) -> int:
        page = self.family.params.pool[self.state["instance"]]
        return int(page["begin"][self.state["page"]])

    @property
    def request(self) -> dict[str, str] | None:
        return read_request(self.family, self.state)

    def close(self) -> None:
        self.batch.close()


class _Browser:
    """The browser's page as a replay needs it."""

    def __init__(self, family: Web, demonstration: Demonstration) -> None:
        from daedalus.envs.web.browser.env import BrowserWeb

        self.env = BrowserWeb(
            task=demonstration.task,
            actions="all_supported",
            split=demonstration.split,
            instances=demonstration.instances,
            deadline=0,
        )

    def reset(self, seed: int) -> None:
        self.env.reset(seed=seed)
        self.instance = self.env.instance

    def do(self, command: Command) -> tuple[float, bool]:
        _, reward, terminated, truncated, _ = self.env.do(command)
        return reward, terminated or truncated

    @property
    def table(self) -> list[Row]:
        return self.env.table

    @property
    def first(self) -> int:
        return self.env.first

    @property
    def request(self) -> dict[str, str] | None:
        return self.env.request

    def close(self) -> None:
        self.env.close()


def open_page(demonstration: Demonstration, backend: str) -> Any:
    """Return a page of a demonstration's task, not yet reset, in either backend."""
    family = demonstration.family
    return _Browser(family, demonstration) if backend == "browser" else _Native(family)


def record(task: str, seed: int, backend: str = "native", preset: str = "shi17") -> Demonstration:
    """Record the demonstrator's episode of a seed.

    Args:
        task: Name of the task.
        seed: Of the episode.
        backend: ``"native"`` or ``"browser"``.
        preset: Types of action that it uses: pointer and keys, or elements.
    """
    made = Demonstration(task, seed)
    page = open_page(made, backend)
    try:
        page.reset(seed)
        made.utterance = page.instance.utterance
        layout = Web(task=task, actions=preset).params.layout
        oracle, over = Oracle(page.instance, layout), False
        while not over and len(made.events) < MAX_EVENTS:
            table = page.table
            command = oracle.act(table, page.first)
            made.events.append((100.0 * (len(made.events) + 1), command, table))
            made.reward, over = page.do(command)
        made.request = page.request
    finally:
        page.close()
    return made


def replay(demonstration: Demonstration, backend: str = "native") -> tuple[float, list[str]]:
    """Play a demonstration again.

    Returns:
        The reward, and what differs from the record: nothing if it is verified.
    """
    page = open_page(demonstration, backend)
    differences: list[str] = []
    reward = 0.0
    try:
        page.reset(demonstration.seed)
        if page.instance.utterance != demonstration.utterance:
            differences.append("the utterance differs: recorded by another version of the task")
        for number, (_, command, table) in enumerate(demonstration.events, start=1):
            if page.table != table:
                differences.append(f"event {number}: the page differs")
            reward, over = page.do(command)
            if over and number < len(demonstration.events):
                differences.append(f"event {number}: the episode is over already")
                break
        if reward != demonstration.reward:
            differences.append(f"the reward is {reward:g}, recorded {demonstration.reward:g}")
        if page.request != demonstration.request:
            differences.append(f"the request is {page.request}")
    finally:
        page.close()
    return reward, differences


# ---------------------------------------------------------------------------------- files


def lines_of(made: Demonstration) -> Iterable[str]:
    """Yield the lines of a file."""
    head = {name: getattr(made, name) for name in (*_TEXTS, *_NUMBERS)}
    yield json.dumps({"format": FORMAT, "version": VERSION, **head})
    for time, command, table in made.events:
        told = {"time": time, **command._asdict(), "rows": [list(row) for row in table]}
        yield json.dumps({**told, "type": TYPES[command.type], "key": KEYS[command.key]})
    outcome = "submitted" if made.request is not None else "ended"
    yield json.dumps({"outcome": outcome, "request": made.request, "reward": made.reward})


def read_demonstration(path: str | Path) -> Demonstration:
    """Read a file.

    Raises:
        FormatError: It is too large, no text, no demonstration, or damaged.
        OSError: It cannot be read.
    """
    path = Path(path)
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"{path}: larger than {MAX_BYTES} bytes, no demonstration")
    try:
        lines = path.read_bytes().decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: not a text of JSON lines") from error
    if len(lines) < 2 or len(lines) > MAX_EVENTS + 2:
        raise FormatError(f"{path}: {len(lines)} lines; 2 to {MAX_EVENTS + 2} make an episode")
    load_tasks()
    read = [_parse(path, number, line) for number, line in enumerate(lines, start=1)]
    made = _head(path, read[0])
    for number, told in enumerate(read[1:-1], start=2):
        made.events.append(_event(path, number, told))
    _outcome(path, len(lines), read[-1], made)
    return made


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}, line {number}: not JSON, the file is damaged") from error
    if not isinstance(told, dict):
        raise FormatError(f"{path}, line {number}: not a JSON object")
    return told


def _head(path: Path, told: dict[str, Any]) -> Demonstration:
    where = f"{path}, line 1"
    if told.get("format") != FORMAT or told.get("version") != VERSION:
        raise FormatError(f"{where}: not a {FORMAT} of version {VERSION}")
    for name in _TEXTS:
        if not isinstance(told.get(name), str) or len(told[name]) > 1000:
            raise FormatError(f"{where}: {name} must be a short text")
    for name, most in _NUMBERS.items():
        if type(told.get(name)) is not int or not 0 <= told[name] <= most:
            raise FormatError(f"{where}: {name} must be an integer in [0, {most}]")
    for name, known in (("task", TASKS), ("split", SPLITS)):
        if told[name] not in known:
            raise FormatError(f"{where}: there is no {name} {told[name][:40]!r}")
    if told["instances"] < 1:
        raise FormatError(f"{where}: instances must be positive")
    return Demonstration(**{name: told[name] for name in (*_TEXTS, *_NUMBERS)})


def _event(path: Path, number: int, told: dict[str, Any]) -> tuple[float, Command, list[Row]]:
    where = f"{path}, line {number}"
    if told.get("type") not in TYPES or told.get("key") not in KEYS:
        raise FormatError(f"{where}: no such type of event or key")
    for name, most in (("x", 4096), ("y", 4096), ("element", 4096), ("field", 19)):
        if type(told.get(name)) is not int or not -1 <= told[name] <= most:
            raise FormatError(f"{where}: {name} must be an integer in [-1, {most}]")
    time, text = told.get("time"), told.get("text")
    if isinstance(time, bool) or not isinstance(time, int | float) or not 0 <= time < 1e9:
        raise FormatError(f"{where}: time must be milliseconds")
    if not isinstance(text, str) or len(text) > 64:
        raise FormatError(f"{where}: text must have at most 64 letters")
    kind, key = TYPES.index(told["type"]), KEYS.index(told["key"])
    place = (told["x"], told["y"], told["element"])
    return float(time), Command(kind, *place, key, told["field"], text), _rows(where, told)


def _rows(where: str, told: dict[str, Any]) -> list[Row]:
    rows = told.get("rows")
    if not isinstance(rows, list) or len(rows) > 4096:
        raise FormatError(f"{where}: rows must be a list of elements")
    return [_row(where, row) for row in rows]


def _row(where: str, row: Any) -> Row:
    kinds: Sequence[type] = (int, str, str, str, list, bool, bool, bool, bool)
    fits = isinstance(row, list) and [type(value) for value in row] == list(kinds)
    if not fits or len(row[4]) != 4 or any(type(side) is not int for side in row[4]):
        raise FormatError(f"{where}: an element must be {', '.join(Row._fields)}")
    element, tag, text, value, (left, top, width, height), *marks = row
    return Row(element, tag, text, value, (left, top, width, height), *marks)


def _outcome(path: Path, number: int, told: dict[str, Any], made: Demonstration) -> None:
    where, request, reward = f"{path}, line {number}", told.get("request"), told.get("reward")
    if "outcome" not in told:
        raise FormatError(f"{where}: the outcome is missing, the file was cut")
    if isinstance(reward, bool) or not isinstance(reward, int | float) or not -1 <= reward <= 1:
        raise FormatError(f"{where}: reward must be in [-1, 1]")
    texts = isinstance(request, dict) and all(isinstance(v, str) for v in request.values())
    if request is not None and not texts:
        raise FormatError(f"{where}: request must be fields and their texts")
    made.request, made.reward = request, float(reward)
