"""All tasks: importing the files that define them fills the registry."""

from __future__ import annotations

import importlib

FILES = ("clicks", "fills", "sites")


def load_tasks() -> None:
    """Define every task, once."""
    for name in FILES:
        importlib.import_module(f"daedalus.envs.web.{name}")
