"""Gymnasium's own `check_env`, and stable-baselines3's where it is installed, as findings."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium

from daedalus.envs.checker.findings import CheckResult, Finding, Severity
from daedalus.envs.checker.maker import Maker


def check_external(maker: Maker, result: CheckResult) -> None:
    """Run the checkers of others on fresh environments; their warnings become notes.

    A failure in stable-baselines3's is a warning: the environment is sound, but its algorithms
    cannot use it as it is.
    """
    from gymnasium.utils.env_checker import check_env

    _run(maker, result, "gymnasium", lambda env: check_env(env, skip_render_check=True), "error")
    name = "stable_baselines3.common.env_checker"
    if importlib.util.find_spec("stable_baselines3") is None:
        result.skipped["stable_baselines3"] = "not installed (pip install 'daedalus[train]')"
        return
    sb3 = importlib.import_module(name).check_env
    _run(
        maker, result, "stable_baselines3", lambda env: sb3(env, skip_render_check=True), "warning"
    )


def _run(
    maker: Maker,
    result: CheckResult,
    name: str,
    run: Callable[[gymnasium.Env[Any, Any]], None],
    severity: Severity,
) -> None:
    assert maker.single is not None
    env = maker.single()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run(env.unwrapped if name == "gymnasium" else env)
        except Exception as error:
            result.add(Finding(name, "check_env", "any", "no complaint", str(error), severity))
        finally:
            env.close()
    result.checks.append(name)
    for number, warning in enumerate(caught, 1):
        text = _plain(str(warning.message))
        result.add(Finding(name, f"check_env, warning {number}", "any", "none", text, "note"))


def _plain(text: str) -> str:
    """Drop colour codes."""
    return text.replace("\x1b[33m", "").replace("\x1b[0m", "").removeprefix("WARN: ")
