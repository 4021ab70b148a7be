"""The native ids that every environment's tests run over."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from daedalus.envs import NATIVE

MEMBERS = 12
"""Ids of one family in the default run; the rest differ in data alone and are `slow`."""


def native_ids() -> list[Any]:
    """Return every native id, sorted, those beyond the first `MEMBERS` of a family as slow ones."""
    found: list[Any] = []
    seen: Counter[str] = Counter()
    for env_id in sorted(NATIVE):
        family = NATIVE[env_id]
        seen[family] += 1
        marks = (pytest.mark.slow,) if seen[family] > MEMBERS else ()
        found.append(pytest.param(env_id, marks=marks))
    return found
