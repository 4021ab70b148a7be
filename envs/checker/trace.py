"""Playing an environment by a plan, and comparing what two plays returned to the last bit."""

from __future__ import annotations

import random
import time
import traceback
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, NamedTuple

import gymnasium
import numpy as np

from daedalus.envs.checker.values import Leaf, arrays, fingerprint


@dataclass(frozen=True)
class Plan:
    """How to play.

    Attributes:
        seed: Seed of the first reset and of the actions; later resets are unseeded.
        steps: Steps at most, over all episodes.
        episodes: Episodes at most.
        seconds: Stop after this much wall time, between two steps.
        overwrite: Write over the arrays of the returned ``"observation"``, or of the passed
            ``"action"``, after every call, as a caller may.
        render: Call ``render()`` after every call.
        slow: Stop after a call that took longer than this, in s, the first two left out.
    """

    seed: int = 123
    steps: int = 1000
    episodes: int = 3
    seconds: float = 5.0
    overwrite: Literal["", "observation", "action"] = ""
    render: bool = False
    slow: float = float("inf")


class Call(NamedTuple):
    """One call of ``reset`` or ``step``, with the objects themselves."""

    kind: str
    episode: int
    step: int
    action: Any
    action_before: Any
    result: Any
    seconds: float
    error: str

    @property
    def where(self) -> str:
        """Name of the moment, counted from 1; step 0 is the reset."""
        moment = "reset" if self.step == 0 else f"step {self.step}"
        return f"episode {self.episode}, {moment}"

    @property
    def complete(self) -> bool:
        """Whether the result is a tuple of the right length."""
        length = 2 if self.kind == "reset" else 5
        return isinstance(self.result, tuple) and len(self.result) == length


class Row(NamedTuple):
    """What is kept of a call."""

    where: str
    error: str
    seconds: float
    values: dict[str, Leaf]


class Difference(NamedTuple):
    """First place where two plays differ."""

    field: str
    where: str
    expected: str
    got: str


def play(env: gymnasium.Env[Any, Any], plan: Plan) -> Iterator[Call]:
    """Play ``env`` by ``plan`` and yield every call, before its result can be touched.

    Stops after a call that raised or did not return the right tuple, since nothing sure follows.
    """
    sampler = deepcopy(env.action_space)
    sampler.seed(plan.seed)
    end = time.perf_counter() + plan.seconds
    steps = 0
    for episode in range(1, plan.episodes + 1):
        seed = plan.seed if episode == 1 else None
        call = _call(env, "reset", episode, 0, {"seed": seed})
        yield from _finish(env, call, plan)
        for step in count(1):
            if steps >= plan.steps or time.perf_counter() > end:
                return
            if call.error or not call.complete:
                return
            steps += 1
            if call.seconds > plan.slow and steps > 2:
                return
            call = _call(env, "step", episode, step, {"action": sampler.sample()})
            yield from _finish(env, call, plan)
            if call.complete and (np.any(call.result[2]) or np.any(call.result[3])):
                break


def _call(
    env: gymnasium.Env[Any, Any], kind: str, episode: int, step: int, given: dict[str, Any]
) -> Call:
    """Make one call; what it raises becomes text."""
    action = given.get("action")
    before = deepcopy(action)
    result, error = None, ""
    start = time.perf_counter()
    try:
        result = env.reset(seed=given["seed"]) if kind == "reset" else env.step(action)
    except (Exception, SystemExit) as raised:
        error = describe_error(raised)
    seconds = time.perf_counter() - start
    return Call(kind, episode, step, action, before, result, seconds, error)


def _finish(env: gymnasium.Env[Any, Any], call: Call, plan: Plan) -> Iterator[Call]:
    yield call
    if plan.render:
        env.render()
    if plan.overwrite and call.complete:
        for array in arrays(call.action if plan.overwrite == "action" else call.result[0]):
            if array.flags.writeable:
                array.fill(1)


def describe_error(raised: BaseException) -> str:
    """Return ``Type: message (file, line)`` of the innermost frame."""
    frames = traceback.extract_tb(raised.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(raised).__name__}: {raised}{place}"


def row(call: Call) -> Row:
    """Reduce a call to what is compared."""
    values: dict[str, Leaf] = {}
    if call.complete:
        names: tuple[str, ...] = ("observation", "info")
        if call.kind == "step":
            names = ("observation", "reward", "terminated", "truncated", "info")
        for name, value in zip(names, call.result, strict=True):
            values.update(fingerprint(value, name))
    return Row(call.where, call.error, call.seconds, values)


def rows(env: gymnasium.Env[Any, Any], plan: Plan) -> list[Row]:
    """Play and return the rows."""
    return [row(call) for call in play(env, plan)]


def compare(
    expected: Iterable[Row], got: Iterable[Row], *, info: bool = False
) -> Difference | None:
    """Return the first difference over the steps that both played, or None.

    Args:
        expected: Rows of the reference.
        got: Rows of the other play.
        info: Whether to look at ``info`` only, instead of at everything but ``info``.
    """
    for left, right in zip(expected, got, strict=False):
        if left.where != right.where:
            return Difference("episode length", left.where, left.where, right.where)
        if left.error or right.error:
            if bool(left.error) != bool(right.error):
                return Difference("call", left.where, left.error or "no error", right.error)
            return None
        for name in [*left.values, *(n for n in right.values if n not in left.values)]:
            a, b = left.values.get(name), right.values.get(name)
            if name.startswith("info") == info and (not a or not b or a.digest != b.digest):
                shown = [leaf.summary if leaf else "nothing" for leaf in (a, b)]
                if shown[0] == shown[1]:
                    shown[1] += " (differs in bits not shown)"
                return Difference(name, left.where, shown[0], shown[1])
    return None


class OtherGlobalSeeds:
    """Context with other states of the global generators of `random` and NumPy.

    An environment that draws from them gives another episode inside; outside nothing has changed.
    """

    def __enter__(self) -> None:
        """Keep the states and seed both."""
        self._states = random.getstate(), np.random.get_state()  # noqa: NPY002
        random.seed(987654321)
        np.random.seed(987654321)  # noqa: NPY002

    def __exit__(self, *_: object) -> None:
        """Restore both."""
        random.setstate(self._states[0])
        np.random.set_state(self._states[1])  # noqa: NPY002
