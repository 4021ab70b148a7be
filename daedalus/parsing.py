"""Command lines from dataclasses by tyro, with errors in one line."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import inspect
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

import tyro

T = TypeVar("T")


class UsageError(ValueError):
    """The command line asks for something that is not there; exit code 2."""


def _whole(text: str, least: int = 0) -> int:
    plain = text.replace("_", "")
    try:  # floats hold only the first 16 digits
        number = int(plain) if plain.lstrip("+-").isdecimal() else float(plain)
    except ValueError:
        number = math.nan
    if number % 1 != 0:
        raise ValueError(f"expected a whole number such as 500000 or 2e6, got {text!r}")
    if number < least:
        raise ValueError(f"must be at least {least}, got {text}")
    return int(number)


def _positive(text: str) -> int:
    return _whole(text, 1)


def _primitive(metavar: str, read: Callable[[str], Any]) -> Any:
    """A tyro type of one word; None shows as ``auto`` in the help text."""
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: read(words[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: ["auto" if value is None else str(value)],
    )


Count = Annotated[int, _primitive("INT", _whole)]
"""A whole number from 0 that may be written 2e6."""
MaybeCount = Annotated[int | None, _primitive("INT", _whole)]
"""A `Count`, or None where it is left out."""
Positive = Annotated[int, _primitive("INT", _positive)]
"""A `Count` from 1."""
MaybePositive = Annotated[int | None, _primitive("INT", _positive)]
"""A `Positive`, or None where it is left out."""
MaybeText = Annotated[str | None, _primitive("TEXT", str)]
"""Text, or None where it is left out."""
MaybeFloat = Annotated[float | None, _primitive("FLOAT", float)]
"""A number, or None where it is left out."""


def positional(metavar: str) -> Any:
    """Annotation of a positional argument."""
    return tyro.conf.arg(metavar=metavar, name=metavar.lower())


def parse(command: type[T], args: Sequence[str], prog: str) -> T:
    """Fill a dataclass from arguments.

    Args:
        command: The dataclass; its docstring is the help text.
        args: Arguments.
        prog: What the user typed so far, such as ``"daedalus train"``.

    Raises:
        UsageError: The arguments do not fit; one line.
        SystemExit: Help was asked for and printed.
    """
    caught = io.StringIO()
    try:
        with contextlib.redirect_stderr(caught):
            return tyro.cli(
                command,
                args=list(args),
                prog=prog,
                description=inspect.cleandoc(command.__doc__ or ""),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        message = _one_line(caught.getvalue(), command)
        raise UsageError(f"{message} (see {prog} --help)") from None


def _one_line(box: str, command: type[Any]) -> str:
    """The first section of tyro's box of text as one line, with the nearest option."""
    inner = (re.sub(r"^[│|+╭╰] ?|[│|+╮╯]$", "", row) for row in box.splitlines())
    rows = [row for row in inner if row.strip(" ─-")]
    text = "\n".join(rows[1:])
    text = re.split(r"For full helptext|Argument helptext|Perhaps you meant", text)[0]
    words = " ".join(text.split())
    words = re.sub(r"^Missing from [^:]*:", "missing:", words)
    unknown = re.match(r"Unrecognized options: (--[\w-]+)", words)
    if unknown:
        hint = nearest(unknown[1], _options(command))
        return f"there is no option {unknown[1]}{hint.rstrip('?')}{'?' if hint else ''}"
    return words or "wrong arguments"


def _options(command: Any) -> Iterator[str]:
    for item in dataclasses.fields(command):
        yield "--" + item.name.replace("_", "-")
        if dataclasses.is_dataclass(item.default) and not isinstance(item.default, type):
            yield from _options(item.default)


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest valid names, or nothing."""
    candidates = {item.lower(): item for item in valid}
    close = difflib.get_close_matches(name.lower(), candidates, n=2, cutoff=0.55)
    if not close:
        close = [key for key in candidates if name and name.lower() in key][:2]
    return f"; did you mean {' or '.join(repr(candidates[key]) for key in close)}?" if close else ""
