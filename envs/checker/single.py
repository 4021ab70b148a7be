"""The checks of one `gymnasium.Env`: plays of one plan must agree to the last bit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from gymnasium import spaces

from daedalus.envs.checker.calls import check_call, check_ownership
from daedalus.envs.checker.checker import Checker, Env
from daedalus.envs.checker.corners import CornerCheck
from daedalus.envs.checker.findings import CheckResult
from daedalus.envs.checker.maker import Maker
from daedalus.envs.checker.replay import ReplayError, Replayers
from daedalus.envs.checker.trace import (
    Call,
    OtherGlobalSeeds,
    Plan,
    Row,
    compare,
    play,
    row,
    rows,
)
from daedalus.envs.checker.values import arrays, summary

WARM_UP = 2
"""First calls of a play that the deadline leaves out: they may compile, load or allocate."""


class Times(NamedTuple):
    """How long a call may take, in s.

    Attributes:
        deadline: Longer than this is a finding; the first two calls of a play are left out.
        patience: A process in which any call takes longer than this is killed.
    """

    deadline: float
    patience: float


class SingleCheck(Checker):
    """The checks of one environment, in the order in which one fault hides another."""

    def __init__(
        self, maker: Maker, result: CheckResult, plan: Plan, times: Times, replayers: Replayers
    ) -> None:
        """Prepare the checks.

        Args:
            maker: How to make the environment.
            result: Where findings go.
            plan: What is played.
            times: Deadlines of a call.
            replayers: Child processes.
        """
        super().__init__(maker, result, plan)
        self.times, self.replayers = times, replayers
        self.reference: list[Row] = []

    def run(self) -> None:
        """Run all of them; stops early where nothing sure can follow."""
        elsewhere = self._play_elsewhere()
        env = None if elsewhere is None else self.make()
        if elsewhere is None or env is None:
            return
        self._check_spaces(env)
        if self.result.errors:
            return
        self.reference = self._play_watched(env)
        self._check_slow(elsewhere)
        self._check_ends(env)
        sound = self._check_repeats(env)
        env.close()
        if sound:
            self._check_callers_arrays("observation", "warning")
            self._check_callers_arrays("action", "error")
            self._check_processes(elsewhere)
        if not self.result.errors:
            CornerCheck(self.maker, self.result, self.plan).run(self.reference)

    # -- elsewhere: hangs, crashes, hash seeds

    def _play_elsewhere(self) -> dict[int, list[Row]] | None:
        """Play in the children first, where a hang or crash does no harm. None if one came."""
        assert self.maker.single is not None
        plan = replace(self.plan, slow=self.times.deadline)
        with contextlib.suppress(Exception):  # the checks below will name it
            self.maker.warm_up()
        try:
            results = self.replayers(self.maker.single, plan, self.times.patience)
        except Exception as error:
            expected = "a constructor that can be pickled (worker processes need it)"
            self.add("pickle", "constructor", "construction", expected, str(error))
            return {}
        self.ran("pickle", "hang")
        for outcome in results.values():
            if isinstance(outcome, ReplayError):
                self.add("process", "environment", "any", "calls that return", str(outcome))
                return None
        return {seed: outcome for seed, outcome in results.items() if isinstance(outcome, list)}

    def _check_slow(self, elsewhere: dict[int, list[Row]]) -> None:
        """A call is slow if it was so here and in a child: one alone may be the machine's fault."""
        self.ran("deadline")
        limit = self.times.deadline
        plays = [self.reference, *elsewhere.values()]
        slow = [[r for r in played[WARM_UP:] if r.seconds > limit] for played in plays]
        if slow[0] and (len(slow) == 1 or any(slow[1:])):
            worst = slow[0][0]
            expected, got = f"at most {limit:g} s", f"{worst.seconds:.2f} s"
            self.add("deadline", "time", worst.where, expected, got)

    def _check_processes(self, elsewhere: dict[int, list[Row]]) -> None:
        if elsewhere:
            self.ran("process")
        for seed, other in elsewhere.items():
            reason = f"as in this process; other process, PYTHONHASHSEED={seed}"
            if self.differs("process", compare(self.reference, other), reason):
                return

    # -- what every call returns

    def _check_spaces(self, env: Env) -> None:
        self.ran("spaces")
        for name in ("observation_space", "action_space"):
            space = getattr(env, name, None)
            if not isinstance(space, spaces.Space):
                expected = "a gymnasium.spaces.Space"
                self.add("space", name, "construction", expected, summary(space))
                continue
            if getattr(env, name) != space:
                expected = "an equal space at every access"
                self.add("space", name, "construction", expected, "another one")
            for box in (part for part in _flat(space) if isinstance(part, spaces.Box)):
                if not (box.low <= box.high).all():
                    self.add("space", name, "construction", "low <= high", f"{box}")

    def _play_watched(self, env: Env) -> list[Row]:
        """Play once on a fresh environment and look at every object that comes back."""
        self.ran("types", "values", "ownership", "action", "info")
        kept: list[Row] = []
        previous: Call | None = None
        for call in play(env, replace(self.plan, slow=self.times.deadline)):
            check_call(self, env, call)
            kept.append(row(call))
            if previous is not None and previous.complete:
                check_ownership(self, previous, kept[-2], call)
            previous = call
        return kept

    def _check_ends(self, env: Env) -> None:
        """An episode ends, and not after its time limit."""
        self.ran("end")
        limit = self.time_limit(env)
        lengths = _episode_lengths(self.reference)
        longest = max(lengths, default=0)
        if limit is not None and longest > limit:
            expected = f"truncated=True at the limit of {limit} steps"
            self.add("end", "truncated", f"step {limit}", expected, f"an episode of {longest}")
        elif limit is None and len(lengths) == 1 and longest >= self.plan.steps:
            expected = f"an end of the episode within {longest} steps"
            got = "none under random actions"
            self.add("end", "episode", f"step {longest}", expected, got, "warning")

    # -- the same plan again

    def _same_plan(self) -> Plan:
        """Return the plan cut to the steps of the reference, with more time for them."""
        steps = sum(not r.where.endswith("reset") for r in self.reference)
        return replace(self.plan, steps=max(steps, 1), seconds=2 * self.plan.seconds)

    def _check_repeats(self, env: Env) -> bool:
        """Play again: fresh, used, and side by side. Returns whether all agreed."""
        self.ran("seeding", "leak", "instances")
        plan = self._same_plan()
        fresh, beside = self.make("second construction"), self.make("third construction")
        if fresh is None or beside is None:
            return False
        with OtherGlobalSeeds():
            again = rows(fresh, plan)
        reason = f"the same seed {plan.seed} in a second instance; other state of np.random, random"
        if self.differs("seeding", compare(self.reference, again), reason):
            return False
        self.differs("seeding", compare(self.reference, again, info=True), reason, "warning")
        for _ in play(env, replace(plan, seed=plan.seed + 1, steps=7)):
            pass  # leaves it in the middle of an episode
        reason = "reset(seed) of a used environment"
        if self.differs("leak", compare(self.reference, rows(env, plan)), reason):
            return False
        side = _side_by_side(beside, fresh, plan)
        beside.close()
        fresh.close()
        reason = "another instance stepped in between"
        return not self.differs("instances", compare(self.reference, side), reason)

    def _check_callers_arrays(self, which: Any, severity: Any) -> None:
        """A caller may write over what it was given and reuse the action that it passed."""
        self.ran(f"caller's {which}")
        env = self.make()
        if env is None or (which == "action" and not arrays(env.action_space.sample())):
            return
        played = rows(env, replace(self._same_plan(), overwrite=which))
        reason = f"after the caller wrote over the {which}"
        self.differs("aliasing", compare(self.reference, played), reason, severity)
        env.close()


def _flat(space: spaces.Space[Any]) -> Iterator[spaces.Space[Any]]:
    parts: Any = ()
    if isinstance(space, spaces.Dict):
        parts = space.spaces.values()
    elif isinstance(space, spaces.Tuple):
        parts = space.spaces
    else:
        yield space
    for part in parts:
        yield from _flat(part)


def _episode_lengths(kept: list[Row]) -> list[int]:
    lengths: list[int] = []
    for r in kept:
        if r.where.endswith("reset"):
            lengths.append(0)
        else:
            lengths[-1] += 1
    return lengths


def _side_by_side(env: Env, other: Env, plan: Plan) -> list[Row]:
    """Play both in turn, ``other`` with another seed; return the rows of ``env``."""
    disturbing = play(other, replace(plan, seed=plan.seed + 1))
    kept = []
    for call in play(env, plan):
        kept.append(row(call))
        next(disturbing, None)
    return kept
