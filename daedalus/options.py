"""Options that would be ignored are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from daedalus.parsing import UsageError


def refuse(options: Any, names: Iterable[str], reason: str) -> None:
    """Refuse options that change nothing where they are given.

    Args:
        options: The dataclass of a command.
        names: Its fields that are to be left as they are by default.
        reason: Why they have no use here, and what to do.

    Raises:
        UsageError: One is given.
    """
    wanted = set(names)
    for field in dataclasses.fields(options):
        if field.name in wanted and getattr(options, field.name) != field.default:
            option = f"--{field.name.replace('_', '-')}"
            raise UsageError(f"{option} would change nothing: {reason}")
