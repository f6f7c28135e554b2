"""What is wrong with a delivery, in words that can be forwarded to its sender."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

KEEP = 2000
"""Failures of one delivery that are listed in full; beyond that they are only counted."""
LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Failure:
    """One broken rule at one place. Line and column count from 1; 0 means the file as a whole."""

    rule: str
    line: int
    column: int
    column_name: str
    value: str
    message: str
    expected: str

    def sentence(self) -> str:
        """Place, finding and expectation in one German line."""
        place = []
        if self.line:
            place.append(f"Zeile {self.line}")
        if self.column_name or self.column:
            place.append(
                f"Spalte {self.column} »{self.column_name}«" if self.column else f"Spalte »{self.column_name}«"
            )
        start = f"{', '.join(place)}: " if place else ""
        return f"{start}{self.message}. Erwartet: {self.expected}."


class Findings:
    """Collects failures; keeps the first ones in full and counts the rest."""

    def __init__(self) -> None:
        """Start empty."""
        self.kept: list[Failure] = []
        self.count = 0
        self.rules: set[str] = set()

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
    ) -> None:
        """Note one failure."""
        self.count += 1
        self.rules.add(rule)
        if len(self.kept) < KEEP:
            message, expected = shown(message, LONGEST_MESSAGE), shown(expected, LONGEST_MESSAGE)
            self.kept.append(Failure(rule, line, column, shown(column_name), value[:200], message, expected))

    @property
    def full(self) -> bool:
        """Further failures are only counted."""
        return self.count >= KEEP

    def as_json(self) -> list[dict[str, Any]]:
        """The kept failures as plain dictionaries, in file order."""
        return [asdict(failure) for failure in sorted(self.kept, key=lambda f: (f.line, f.column))]


def shown(text: str, longest: int = 100) -> str:
    """Text of a cell as it may stand in a sentence: no line breaks, shortened."""
    text = " ".join(text.split())
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
