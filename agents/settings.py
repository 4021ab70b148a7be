"""Checks of settings, so that a wrong one is told before training and not after a rollout."""

from __future__ import annotations

from typing import Any


def at_least(agent: str, config: Any, **least: float) -> None:
    """Raise ValueError in one line where a setting of ``config`` is below its least value."""
    for name, value in least.items():
        if not getattr(config, name) >= value:  # not a number is no setting either
            raise ValueError(f"{agent} needs {name} >= {value}, got {getattr(config, name)}")


def above_zero(agent: str, config: Any, *names: str) -> None:
    """Raise ValueError in one line where a setting of ``config`` is not above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{agent} needs {name} > 0, got {getattr(config, name)}")
