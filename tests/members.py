"""The registered environments as test parameters: some of each family, all in the slow run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from daedalus.envs import NATIVE

MEMBERS = 3
"""Ids of one family that the default run tests; the rest differ in data alone and are slow."""


def _parameters() -> list[Any]:
    found: list[Any] = []
    seen: Counter[str] = Counter()
    for env_id in sorted(NATIVE):
        seen[NATIVE[env_id]] += 1
        marks = (pytest.mark.slow,) if seen[NATIVE[env_id]] > MEMBERS else ()
        found.append(pytest.param(env_id, marks=marks))
    return found


every_environment = pytest.mark.parametrize("env_id", _parameters())
