"""What the groups of checks share: where findings go, and how environments are made."""

from __future__ import annotations

from typing import Any

import gymnasium

from daedalus.envs.checker.findings import CheckResult, Finding, Severity
from daedalus.envs.checker.maker import Maker
from daedalus.envs.checker.trace import Difference, Plan, describe_error

Env = gymnasium.Env[Any, Any]


class Checker:
    """A group of checks."""

    prefix = ""
    """Comes before the names of checks and fields."""

    def __init__(self, maker: Maker, result: CheckResult, plan: Plan) -> None:
        """Prepare the checks.

        Args:
            maker: How to make the environment.
            result: Where findings go.
            plan: What is played.
        """
        self.maker, self.result, self.plan = maker, result, plan

    def time_limit(self, env: Any) -> int | None:
        """Return the steps after which an episode is cut, None where nothing says so.

        A native family keeps its limit itself; its registration has none.
        """
        for spec in (env.spec, self.maker.spec):
            if spec is not None and spec.max_episode_steps is not None:
                return int(spec.max_episode_steps)
        return getattr(getattr(env.unwrapped, "batch", None), "time_limit", None) or None

    def ran(self, *checks: str) -> None:
        """Note that these checks ran."""
        self.result.checks += [f"{self.prefix}{name}" for name in checks]

    def skip(self, check: str, reason: str) -> None:
        """Note that this check could not run."""
        self.result.skipped[f"{self.prefix}{check}"] = reason

    def add(
        self,
        check: str,
        field: str,
        where: str,
        expected: str,
        got: str,
        severity: Severity = "error",
    ) -> None:
        """Add a finding; see `Finding`."""
        field = f"{self.prefix}{field}"
        self.result.add(Finding(check, field, where, expected, got, severity))

    def differs(
        self,
        check: str,
        difference: Difference | None,
        reason: str,
        severity: Severity = "error",
    ) -> bool:
        """Add a finding for a difference between two plays, if there is one."""
        if difference is not None:
            field, where, expected, got = difference
            self.add(check, field, where, f"{expected} ({reason})", got, severity)
        return difference is not None

    def make(self, where: str = "construction", **kwargs: Any) -> Env | None:
        """Make a single environment; what it raises becomes a finding, and None is returned."""
        assert self.maker.single is not None
        try:
            return self.maker.single(**kwargs)
        except Exception as error:
            self.add("construct", "environment", where, "an environment", describe_error(error))
            return None
