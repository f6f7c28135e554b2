"""What is wrong with a delivery, in words that can be forwarded to its sender."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.intake.rules import RULES, Severity
from pipelines.plaintext import printable

KEEP = 2000
"""Findings of one rule that are listed in full; beyond that they are only counted. Per rule: none hides another."""
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Failure:
    """One broken rule at one place. Line and column count from 1; 0 means the file (or sheet) as a whole.

    `last_line` is set where the finding is about a block of lines, `line` to `last_line`.
    """

    rule: str
    line: int
    column: int
    column_name: str
    value: str
    message: str
    expected: str
    severity: Severity = "error"
    sheet: str = ""
    last_line: int = 0

    def place(self) -> str:
        """Where to look, in German; '' for the file as a whole."""
        place = [f"Blatt »{self.sheet}«"] if self.sheet else []
        if self.line:
            place.append(f"Zeilen {self.line} bis {self.last_line}" if self.last_line else f"Zeile {self.line}")
        if self.column:
            number = column_letters(self.column) if self.sheet else str(self.column)
            place.append(f"Spalte {number} »{self.column_name}«" if self.column_name else f"Spalte {number}")
        elif self.column_name:
            place.append(f"Spalte »{self.column_name}«")
        return ", ".join(place)

    def sentence(self) -> str:
        """Place, finding and expectation in one German line."""
        place = self.place()
        end = "" if self.message.endswith(("?", "!", ".")) else "."
        return f"{place}{': ' if place else ''}{self.message}{end} Erwartet: {self.expected}."


class Findings:
    """Collects what is wrong; keeps the first findings in full and counts the rest.

    `sheet` is the sheet that is being read (workbooks), noted with every finding made meanwhile.
    """

    def __init__(self, severity: dict[str, Severity] | None = None) -> None:
        """Start empty; `severity` holds the source's own settings by rule id."""
        self.kept: list[Failure] = []
        self.counts: dict[Severity, int] = {"error": 0, "warning": 0}
        self.by_rule: Counter[str] = Counter()
        self.sheet = ""
        self._severity = severity or {}

    def severity(self, rule: str) -> Severity:
        """How hard a rule is for this source."""
        return self._severity.get(rule, RULES[rule].severity)

    def add(
        self,
        rule: str,
        message: str,
        expected: str,
        *,
        line: int = 0,
        column: int = 0,
        column_name: str = "",
        value: str = "",
        sheet: str | None = None,
        last_line: int = 0,
    ) -> None:
        """Note one finding. A rule that is off for this source is not noted."""
        severity = self.severity(rule)
        if severity == "off":
            return
        if not self.full(rule):
            message, expected = shown(message, LONGEST_MESSAGE), shown(expected, LONGEST_MESSAGE)
            where = self.sheet if sheet is None else sheet
            value, where = printable(value[:200]), printable(where)
            found = (rule, line, column, shown(column_name), value, message, expected, severity, where, last_line)
            self.kept.append(Failure(*found))
        self.more(rule, 1)

    def more(self, rule: str, number: int) -> None:
        """Count further findings of a rule without listing them."""
        severity = self.severity(rule)
        if severity != "off" and number:
            self.counts[severity] += number
            self.by_rule[rule] += number

    def full(self, rule: str) -> bool:
        """Further findings of this rule are only counted."""
        return self.severity(rule) == "off" or self.by_rule[rule] >= KEEP

    @property
    def count(self) -> int:
        """Number of errors: any of them rejects the delivery."""
        return self.counts["error"]

    @property
    def rules(self) -> set[str]:
        """Rules that were broken."""
        return set(self.by_rule)

    def as_json(self) -> list[dict[str, Any]]:
        """The kept findings as plain dictionaries, in file order."""
        return [asdict(failure) for failure in sorted(self.kept, key=lambda f: (f.sheet, f.line, f.column))]


def column_letters(column: int) -> str:
    """Name of a workbook's column (1 = A, 27 = AA)."""
    letters = ""
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(65 + rest) + letters
    return letters


def shown(text: str, longest: int = 100) -> str:
    """Text of a cell as it may stand in a sentence: no line breaks, nothing invisible, shortened."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
