"""Orders findings by importance and says what is alike once: one section per rule, one point per defect."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.intake.failures import column_letters
from pipelines.intake.rules import RULES, Rule
from pipelines.reply.slips import slip_of
from pipelines.reply.words import (
    count,
    german_dates,
    lines_words,
    listed,
    number,
    sentence,
    spans,
    visible,
    visible_cell,
    within,
)

Finding = dict[str, Any]
"""One entry of `Verdict.failures`, see `intake.failures.Failure`."""
Words = Callable[[str], str]
"""Rewrites a sentence of the intake for its reader."""
LONGEST_VALUE = 60
_MEANT = re.compile(r"(?:meinten Sie|gemeint sein könnte) (»[^«]*«)")
_LINE = re.compile(r"Zeile [0-9]+")


@dataclass
class Point:
    """One defect, in however many cells: the same words but for the value that was read."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def _first(self) -> Finding:
        return self.findings[0]

    @property
    def sheet(self) -> str:
        """Sheet of a workbook, '' in text files."""
        return str(self._first["sheet"])

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """Lines concerned, as ranges; empty if it is about the file as a whole."""
        return spans((f["line"], max(f["line"], f["last_line"])) for f in self.findings if f["line"])

    @property
    def columns(self) -> list[tuple[int, str]]:
        """Columns concerned: number (0: not in the file) and heading."""
        found = {(f["column"], f["column_name"]) for f in self.findings if f["column"] or f["column_name"]}
        return sorted(found)

    def place(self) -> str:
        """Where to look; '' for the file as a whole."""
        parts = [f"Blatt »{visible(self.sheet)}«"] if self.sheet else []
        return ", ".join(filter(None, [*parts, lines_words(self.ranges), _columns_words(self.columns)]))

    def values(self) -> list[str]:
        """Different texts that were read, in file order."""
        return list(dict.fromkeys(f["value"] for f in self.findings))

    def what(self, words: Words) -> str:
        """What is wrong, and which other texts are wrong in the same way."""
        first = words(german_dates(str(self._first["message"])))
        others = [value for value in self.values() if value != self._first["value"]]
        if not others:
            return first
        told = [f"»{visible_cell(value, LONGEST_VALUE)}«" for value in others]
        if len(told) > 4:
            total = f"zusammen {number(len(told) + 1)} verschiedene Angaben"
            return f"{first}; ebenso {told[0]}, {told[1]}, … {told[-1]} ({total})"
        return f"{first}; ebenso {listed(told)}"

    def at(self, line: int, words: Words) -> str:
        """What is wrong in one line."""
        found = [f for f in self.findings if f["line"] <= line <= max(f["line"], f["last_line"])]
        return sentence(Point(found).what(words)) if found else ""

    @property
    def suggestion(self) -> str:
        """What was probably meant, in quotation marks; '' if nothing is near."""
        match = _MEANT.search(str(self._first["message"]))
        return match[1] if match else ""

    def expected(self, words: Words) -> str:
        """What would be right."""
        if self.suggestion:
            return f"vermutlich {visible(self.suggestion)}"
        expected = words(str(self._first["expected"]))
        slip = slip_of(self._first)
        return f"{expected}; hier vermutlich {slip.words}" if slip else expected

    def sentence(self, words: Words) -> str:
        """Place and defect."""
        place = self.place()
        text = self.what(words)
        return sentence(f"{place}: {text}") if place else sentence(text)


@dataclass
class Section:
    """All findings of one rule and severity."""

    rule: Rule
    severity: str
    points: list[Point]
    total: int = 0
    """How many there are (more than listed, if very many)."""

    @property
    def findings(self) -> list[Finding]:
        """The section's findings in file order."""
        return [finding for point in self.points for finding in point.findings]

    def summary(self) -> str:
        """How often and where, for the table of contents."""
        often = count(max(self.total, len(self.findings)), "Stelle", "Stellen")
        if len(self.points) == 1 and len(self.points[0].ranges) <= 2:
            where = self.points[0].place()
        else:
            where = within([span for point in self.points for span in point.ranges])
        return where if where and len(self.findings) == 1 else ", ".join(filter(None, [often, where]))

    def rest(self, shown: int) -> str:
        """How many points follow the first ones, and where; '' if none do."""
        left = self.points[shown:]
        if not left:
            return ""
        ranges = spans(span for point in left for span in point.ranges)
        where = f": {lines_words(ranges)}" if ranges and len({point.sheet for point in left}) == 1 else ""
        return f"… und {count(len(left), 'weiterer Punkt', 'weitere Punkte')} dieser Art{where}"


def sections(failures: Iterable[Finding], totals: Mapping[str, int]) -> list[Section]:
    """Findings by rule: errors before warnings, then by the rule's rank, then the most frequent first.

    Args:
        failures: the listed findings.
        totals: number of findings by rule, also of those not listed.
    """
    by_rule: dict[tuple[str, str], list[Finding]] = {}
    for finding in failures:
        by_rule.setdefault((finding["severity"], finding["rule"]), []).append(finding)
    found = [
        Section(_rule(rule), severity, _points(group), totals.get(rule, 0))
        for (severity, rule), group in by_rule.items()
    ]
    order = list(RULES)
    return sorted(
        found,
        key=lambda s: (
            s.severity != "error",
            s.rule.rank,
            -len(s.findings),
            order.index(s.rule.id) if s.rule.id in order else len(order),
        ),
    )


def _rule(rule: str) -> Rule:
    """The rule of an id; one that a later program removed keeps its id as title."""
    return RULES.get(rule) or Rule(rule, rule, "error", "Bitte prüfen.", 9)


def _points(findings: Sequence[Finding]) -> list[Point]:
    points: dict[tuple[str, str, str, str], Point] = {}
    for finding in findings:
        points.setdefault(_kind(finding), Point()).findings.append(finding)
    return list(points.values())


def _kind(finding: Finding) -> tuple[str, str, str, str]:
    """Equal for findings that differ only in place and in the value that was read."""
    message, value = str(finding["message"]), str(finding["value"])
    shown = " ".join(value.split())
    for text in (f"»{shown}«", shown if len(shown) > 2 else ""):
        if text and text in message:
            message = message.replace(text, "»…«")
            break
    slip = slip_of(finding)
    return finding["sheet"], _LINE.sub("Zeile …", message), finding["expected"], slip.kind if slip else ""


def _columns_words(columns: Sequence[tuple[int, str]]) -> str:
    if not columns:
        return ""
    told = [column_words(column, name) for column, name in columns]
    if len(told) == 1:
        return f"Spalte {told[0]}"
    if len(told) <= 3:
        return f"Spalten {listed(told)}"
    return f"{len(told)} Spalten von {told[0]} bis {told[-1]}"


def column_words(column: int, name: str) -> str:
    """A column as someone with a spreadsheet finds it: its letter and its heading."""
    letters = column_letters(column) if column else ""
    heading = f"»{visible_cell(name, LONGEST_VALUE)}«" if name else ""
    return " ".join(filter(None, [letters, heading]))
