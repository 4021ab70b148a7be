"""What one call of a `gymnasium.Env` returns: types, values, info, and who owns the arrays."""

from __future__ import annotations

import pickle
from itertools import product

import numpy as np

from daedalus.envs.checker.checker import Checker, Env
from daedalus.envs.checker.trace import Call, Row
from daedalus.envs.checker.values import arrays, fingerprint, problems, summary


def check_call(checker: Checker, env: Env, call: Call) -> None:
    """Look at everything that ``call`` returned."""
    if call.error:
        checker.add("call", f"{call.kind}()", call.where, "no exception", call.error)
    elif not call.complete:
        _check_tuple(checker, call)
    else:
        for problem in problems(env.observation_space, call.result[0], "observation"):
            check, field, expected, got, severity = problem
            checker.add(check, field, call.where, expected, got, severity)
        _check_info(checker, call)
        if call.kind == "step":
            _check_step(checker, call)


def _check_tuple(checker: Checker, call: Call) -> None:
    wanted = "(observation, info)"
    if call.kind == "step":
        wanted = "(observation, reward, terminated, truncated, info)"
    got = type(call.result).__name__
    got += f" of {len(call.result)}" if isinstance(call.result, tuple | list) else ""
    checker.add("type", f"{call.kind}()", call.where, f"a tuple {wanted}", got)


def _check_step(checker: Checker, call: Call) -> None:
    reward = call.result[1]
    number = isinstance(reward, int | float | np.integer | np.floating)
    if isinstance(reward, bool) or not number:
        checker.add("type", "reward", call.where, "a float", summary(reward))
    elif not np.isfinite(reward):
        checker.add("finite", "reward", call.where, "a finite number", str(reward))
    for name, value in zip(("terminated", "truncated"), call.result[2:4], strict=True):
        if not isinstance(value, bool | np.bool_):
            checker.add("type", name, call.where, "a bool", summary(value))
    if fingerprint(call.action, "") != fingerprint(call.action_before, ""):
        expected = f"{summary(call.action_before)}, untouched"
        got = f"{summary(call.action)} after the call"
        checker.add("action", "action", call.where, expected, got)


def _check_info(checker: Checker, call: Call) -> None:
    info = call.result[-1]
    if not isinstance(info, dict):
        checker.add("type", "info", call.where, "a dict", summary(info))
        return
    for key in info:
        if not isinstance(key, str):
            checker.add("type", "info", call.where, "string keys", summary(key))
    try:
        pickle.dumps(info)
    except Exception as error:
        expected = "an info that can be pickled (worker processes send it)"
        checker.add("pickle", "info", call.where, expected, f"{type(error).__name__}: {error}")


def check_ownership(checker: Checker, previous: Call, kept: Row, call: Call) -> None:
    """What was returned one call ago has not changed and shares no memory with what came now.

    Args:
        checker: Where findings go.
        previous: The call before, with its objects.
        kept: The row that was made of it at once.
        call: The call now.
    """
    for name, leaf in fingerprint(previous.result[0], "observation").items():
        before = kept.values[name]
        if leaf.digest != before.digest:
            expected = "the returned observation to stay as it was"
            got = f"{before.summary} became {leaf.summary} in the next call"
            checker.add("ownership", name, previous.where, expected, got)
    if not call.complete:
        return
    for old, new in product(arrays(previous.result[0]), arrays(call.result[0])):
        if np.shares_memory(old, new):
            expected = "a new array in every call"
            checker.add(
                "ownership", "observation", call.where, expected, "memory of the call before"
            )
