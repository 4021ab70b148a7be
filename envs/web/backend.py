"""``gymnasium.make`` for web tasks: native by default, ``backend="browser"`` for Chromium."""

from __future__ import annotations

from typing import Any

import gymnasium

from daedalus.envs.faces import NativeEnv, NativeVectorEnv

BACKENDS = ("native", "browser")
SPACES = ("arrays", "miniwob")


def open_page(
    family: str, *, backend: str = "native", spaces: str = "arrays", **parameters: Any
) -> gymnasium.Env[Any, Any]:
    """Return an environment of a web task.

    Args:
        family: ``"module:Class"`` of the native family.
        backend: ``"native"``, or ``"browser"`` (needs Chromium, its driver and
            ``pip install 'daedalus[web]'``).
        spaces: ``"arrays"``, or ``"miniwob"`` for the dictionaries of MiniWoB++ (`MiniWoBFace`).
        **parameters: Those of `NativeEnv` or `BrowserWeb` and of the family.

    Raises:
        ValueError: There is no such backend, or no such spaces.
    """
    _check(backend, spaces)
    if spaces == "miniwob":
        return _as_miniwob(family, backend, **parameters)
    if backend == "native":
        return NativeEnv(family, **parameters)
    from daedalus.envs.web.browser.env import BrowserWeb

    return BrowserWeb(family, **parameters)


def open_pages(
    family: str, *, backend: str = "native", spaces: str = "arrays", **parameters: Any
) -> NativeVectorEnv:
    """Return a vector of native pages with arrays, which is all that a batch has.

    Args:
        family: ``"module:Class"`` of the native family.
        backend: ``"native"``.
        spaces: ``"arrays"``.
        **parameters: Those of `NativeVectorEnv` and of the family.

    Raises:
        ValueError: There is no such backend, no such spaces, or no batch of them.
    """
    _check(backend, spaces)
    if (backend, spaces) != ("native", "arrays"):
        raise ValueError(
            f"backend={backend!r} with spaces={spaces!r} has no batch of its own: make single ones "
            'with make_vec(..., vectorization_mode="sync")'
        )
    return NativeVectorEnv(family, **parameters)


def _check(backend: str, spaces: str) -> None:
    """Raise a ValueError if there is no such backend or no such spaces."""
    if spaces not in SPACES:
        raise ValueError(f"spaces must be one of {', '.join(SPACES)}, got {spaces!r}")
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")


def _as_miniwob(
    family: str,
    backend: str,
    *,
    actions: str = "all_supported",
    reward: str = "decayed",
    render_mode: str | None = None,
    **parameters: Any,
) -> gymnasium.Env[Any, Any]:
    """Return a page with MiniWoB++'s spaces; ``actions`` is its ``action_space_config``."""
    from daedalus.envs.web.miniwob import MiniWoBFace, NativePage

    page: Any
    given = {"actions": "all_supported", "reward": "raw", **parameters}
    if backend == "native":
        page = NativePage(family, **given)
    else:
        from daedalus.envs.web.browser.env import BrowserWeb

        page = BrowserWeb(family, **given)
    return MiniWoBFace(page, actions, reward, render_mode)
