"""What the intake found out about one delivery, as it is kept beside the reading."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipelines.intake.failures import Findings
from pipelines.intake.rules import COMPARING


@dataclass(frozen=True)
class Verdict:
    """Decision and findings under one set of rules.

    `failures` are the findings in file order (errors and warnings, see `failures.Failure`), `by_rule` counts them, also
    those not listed; `slices` are the measures, periods and levels found (`measure|period|level`); `arrived` has one
    entry per measure, level and sheet: what the file holds, in counts and totals.
    """

    figures: int = 0
    slices: list[str] = field(default_factory=list)
    errors: int = 0
    warnings: int = 0
    failures: list[dict[str, Any]] = field(default_factory=list)
    arrived: list[dict[str, Any]] = field(default_factory=list)
    by_rule: dict[str, int] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """No rule with severity error is broken."""
        return self.errors == 0

    @property
    def whole(self) -> bool:
        """The delivery is right by itself: at most rules of comparison are broken."""
        return not self.broken() - COMPARING

    def with_findings(self, findings: Findings) -> Verdict:
        """The same with further findings."""
        failures = sorted([*self.failures, *findings.as_json()], key=lambda f: (f["sheet"], f["line"], f["column"]))
        counts = findings.counts
        return replace(
            self,
            failures=failures,
            errors=self.errors + counts["error"],
            warnings=self.warnings + counts["warning"],
            by_rule=dict(Counter(self.by_rule) + findings.by_rule),
        )

    def broken(self) -> set[str]:
        """Ids of the rules with severity error that do not hold."""
        return {failure["rule"] for failure in self.failures if failure["severity"] == "error"}

    def reasons(self) -> list[str]:
        """Rule and line of each error, for the receipt: no values."""
        return [
            f"{f['rule']} (Zeile {f['line']})" if f["line"] else f["rule"]
            for f in self.failures
            if f["severity"] == "error"
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain dictionary."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> Verdict | None:
        """The verdict that `to_json` gave; None for anything else."""
        try:
            return cls(**content)
        except TypeError:
            return None
