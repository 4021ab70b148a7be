"""What a check found, one line each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]
"""``error``: training on it would be wrong. ``warning``: true and worth a look. ``note``: for the
record."""


class EnvironmentCheckError(Exception):
    """Raised by `CheckResult.raise_if_failed`; the text is the list of errors."""


@dataclass(frozen=True)
class Finding:
    """One fault of an environment.

    Attributes:
        check: Kind of fault, a word that can be searched for (``dtype``, ``seeding``,
            ``final_obs``).
        field: What it is in: ``observation['image']``, ``reward``, ``action_space``.
        where: When it was seen: ``episode 1, step 5``, ``construction``, ``any``.
        expected: What the contract asks for.
        got: What the environment did.
        severity: See `Severity`.
    """

    check: str
    field: str
    where: str
    expected: str
    got: str
    severity: Severity = "error"

    def __str__(self) -> str:
        """Return the finding as one line."""
        text = (
            f"{self.severity} [{self.check}] {self.field} at {self.where}: "
            f"expected {self.expected}, got {self.got}"
        )
        return " ".join(text.split())


@dataclass
class CheckResult:
    """The findings of one environment.

    Attributes:
        env: Name of the environment as the user gave it.
        findings: In the order found, at most one for each check and field.
        checks: Names of the checks that ran.
        skipped: Name of a check that could not run -> why.
    """

    env: str
    findings: list[Finding] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> list[Finding]:
        """Findings of severity ``error``."""
        return [f for f in self.findings if f.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        """Findings of severity ``warning``."""
        return [f for f in self.findings if f.severity == "warning"]

    @property
    def ok(self) -> bool:
        """Whether nothing of severity ``error`` was found."""
        return not self.errors

    def add(self, finding: Finding) -> None:
        """Keep a finding unless the same check already spoke about the same field."""
        if all((f.check, f.field) != (finding.check, finding.field) for f in self.findings):
            self.findings.append(finding)

    def raise_if_failed(self) -> None:
        """Raise `EnvironmentCheckError` that lists every error, if there is one."""
        if self.errors:
            lines = "\n".join(f"  {finding}" for finding in self.errors)
            raise EnvironmentCheckError(f"{self.env}: {len(self.errors)} error(s)\n{lines}")

    def __str__(self) -> str:
        """Return a summary line, the findings, then what was skipped."""
        state = "passed" if self.ok else "FAILED"
        counts = f"{len(self.errors)} errors, {len(self.warnings)} warnings"
        lines = [f"{self.env}: {state}, {counts}, {len(self.checks)} checks"]
        lines += [f"  {finding}" for finding in self.findings]
        lines += [f"  skipped [{name}]: {why}" for name, why in self.skipped.items()]
        return "\n".join(lines)
