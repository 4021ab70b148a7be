"""``gymnasium.make`` for web tasks: native by default, ``backend="browser"`` for Chromium."""

from __future__ import annotations

from typing import Any

import gymnasium

from daedalus.envs.faces import NativeEnv

BACKENDS = ("native", "browser")


def open_page(
    family: str, *, backend: str = "native", **parameters: Any
) -> gymnasium.Env[Any, Any]:
    """Return an environment of a web task.

    Args:
        family: ``"module:Class"`` of the native family.
        backend: ``"native"``, or ``"browser"`` (needs Chromium, its driver and
            ``pip install 'daedalus[web]'``).
        **parameters: Those of `NativeEnv` or `BrowserWeb` and of the family.

    Raises:
        ValueError: There is no such backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "native":
        return NativeEnv(family, **parameters)
    from daedalus.envs.web.browser.env import BrowserWeb

    return BrowserWeb(family, **parameters)
