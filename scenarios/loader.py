"""Reading scenario files: safe YAML with line numbers, closed keys and caps on size and depth."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from daedalus.scenarios.schema import KEYS, FieldError, Scenario, scenario_from

FOLDER = Path(__file__).parent
MAX_BYTES = 64 * 1024
"""Longest file that is read, in bytes."""
MAX_DEPTH = 8
"""Deepest nesting of lists and mappings."""

Lines = dict[tuple[str, ...], int]
"""Keys from the top of the file -> line, counted from 1."""


class ScenarioError(ValueError):
    """A scenario that cannot be found or read; the message says where and what to do."""


class _LineError(Exception):
    """A fault and the line it stands on."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Loader(yaml.SafeLoader):
    """`yaml.SafeLoader`, without aliases and deep nesting; reads 2e6 as YAML 1.2 does: a number."""

    depth, max_depth = 0, MAX_DEPTH

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        line = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        if self.check_event(yaml.AliasEvent):
            raise _LineError(line, "aliases (*name) are not read; write the value out")
        if self.depth > self.max_depth:
            raise _LineError(line, f"nested deeper than {self.max_depth} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError):
            kind, value = node.tag.rpartition(":")[2], repr(node.value)
            shown = value if len(value) <= 40 else f"{value[:40]}..."
            message = f"{shown} cannot be read as {kind}; put text in quotes"
            raise _LineError(node.start_mark.line + 1, message) from None


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def names() -> list[str]:
    """Names of the scenarios that ship with the package, sorted."""
    return sorted(path.stem for path in FOLDER.rglob("*.yaml"))


def is_path(name: str) -> bool:
    """Whether a name means a file rather than a shipped scenario."""
    return name.endswith((".yaml", ".yml"))


def find(name: str | Path) -> Path:
    """The file of a shipped scenario's name or of a path.

    Raises:
        ScenarioError: there is none; names the nearest.
    """
    if is_path(str(name)):
        path = Path(name)
        if not path.is_file():
            raise ScenarioError(f"no scenario file {path}; check the path")
        return path
    for path in FOLDER.rglob("*.yaml"):
        if path.stem == name:
            return path
    hint = _nearest(str(name), names())
    raise ScenarioError(
        f"unknown scenario {str(name)!r}{hint}; `daedalus list scenarios` shows all"
    )


def load(name: str | Path) -> Scenario:
    """Read a scenario by its shipped name or by the path of a YAML file.

    Raises:
        ScenarioError: not found, unreadable, or with a key or value that is not valid.
    """
    path = find(name)
    if path.stat().st_size > MAX_BYTES:
        raise ScenarioError(f"{path}: longer than {MAX_BYTES:,} bytes; a scenario is a short file")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return load_text(text, name=path.stem, where=str(path))


def load_text(text: str, *, name: str, where: str = "scenario") -> Scenario:
    """Read a scenario from YAML text.

    Args:
        text: the YAML.
        name: the scenario's name.
        where: what error messages call the text, e.g. its path.

    Raises:
        ScenarioError: with ``where``, the line and what to do.
    """
    if len(text.encode()) > MAX_BYTES:
        raise ScenarioError(f"{where}: longer than {MAX_BYTES:,} bytes; a scenario is a short file")
    try:
        return _checked(name, *_parse(text))
    except _LineError as error:
        raise ScenarioError(f"{where}, line {error.line}: {error}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ScenarioError(f"{where}, line {line}: not valid YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        first = str(error).partition("\n")[0]
        raise ScenarioError(f"{where}: not valid YAML: {first}") from None


def _parse(text: str) -> tuple[dict[str, Any], Lines]:
    """YAML text -> its mapping and the line of every key."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise _LineError(1, "expected 'key: value' lines; the least is 'env: CartPole-v1'")
        lines: Lines = {}
        for path, line in _walk(node, ()):
            if path in lines:
                raise _LineError(line, f"the key {'.'.join(path)!r} stands there twice")
            lines[path] = line
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def _checked(name: str, data: dict[str, Any], lines: Lines) -> Scenario:
    """Refuse unknown keys and wrong values, with the line they stand on."""
    for path, line in lines.items():
        if len(path) == 1 and path[0] not in KEYS:
            hint = _nearest(path[0], KEYS) or f"; valid keys: {', '.join(KEYS)}"
            raise _LineError(line, f"unknown key {path[0]!r}{hint}")
    try:
        return scenario_from(name, data)
    except FieldError as error:
        key = f"{'.'.join(error.path)}: " if error.path else ""
        raise _LineError(lines.get(error.path, 1), f"{key}{error}") from None


def _walk(node: yaml.Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every key and item below a node with its line."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise _LineError(line, "a key must be a word")
            yield (*path, key.value), line
            yield from _walk(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, str(index)), value.start_mark.line + 1
            yield from _walk(value, (*path, str(index)))


def _nearest(name: str, valid: list[str] | tuple[str, ...]) -> str:
    """`; did you mean 'x'?` for the nearest valid name, or nothing."""
    close = get_close_matches(name, valid, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
