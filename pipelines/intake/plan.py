"""Which column of a very file plays which part: the declared columns matched with the heading that arrived."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.intake.failures import Findings, shown
from pipelines.intake.limits import PATTERN_CHARACTERS
from pipelines.intake.tables import PARTS, Table, plain_heading, reads_like
from pipelines.periods import FORMS, parse_period
from schemas.documents import Source, ValueColumn
from schemas.yaml_source import nearest

if TYPE_CHECKING:
    from pipelines.intake.layout import Reader


@dataclass(frozen=True)
class Values:
    """A column of the file that holds figures."""

    position: int
    name: str
    column: ValueColumn
    period: str | None = None


@dataclass(frozen=True)
class Plan:
    """Which column of this very table plays which part."""

    table: Table
    header: list[str]
    position: dict[str, int]
    values: list[Values]
    period: str | None

    def at(self, name: str) -> int:
        """Position of a declared column."""
        return self.position[plain_heading(name)]

    def labels(self, source: Source) -> dict[str, int]:
        """Columns that say what a row is about: heading as declared -> position."""
        return {name: self.position[name] for name in label_columns(source)}

    @classmethod
    def make(cls, reader: Reader, table: Table, file_name: str) -> Plan | None:
        """Match the declared columns with the heading; None (and findings) if something is missing."""
        source, findings = reader.source, reader.findings
        before = findings.count
        position: dict[str, int] = {}
        for index, name in enumerate(table.header):
            if name and name in position:
                message = f"Die Spalte »{shown(name)}« kommt zweimal vor (auch als Spalte {position[name] + 1})"
                findings.add(
                    "spalte_doppelt", message, "jede Spalte einmal", line=table.line, column=index + 1, column_name=name
                )
            position.setdefault(name, index)
        taken = _missing(source, table, position, findings)
        period = _period_in_name(source, table, file_name, findings)
        complete = findings.count == before
        wanted = [v for v in source.layout.values if v.title is None or reads_like(table.title, v.title)]
        values = _value_columns(source, wanted, table, position, findings) if complete else []
        used = {*declared(source), *taken, *(v.name for v in values)}
        _unknown(source, table, used, findings)
        if complete and not values and findings.count == before:
            _no_values(source, wanted, table, findings)
        return cls(table, table.header, position, values, period) if values else None


def label_columns(source: Source) -> list[str]:
    """Headings of the declared columns that hold no figures, each once."""
    layout = source.layout
    names: list[str | None] = [layout.period.column, layout.origin.column if layout.origin else None, *layout.constant]
    if layout.area:
        names += [layout.area.name, layout.area.number, layout.area.id, layout.area.level_column]
    names += [value.measure_column for value in layout.values]
    return list(dict.fromkeys(plain_heading(name) for name in names if name))


def declared(source: Source) -> list[str]:
    """Headings of all columns that the layout names, each once."""
    names = [value.column for value in source.layout.values] + source.table.fill_down
    return list(dict.fromkeys([*label_columns(source), *(plain_heading(name) for name in names if name)]))


def ignored(source: Source, name: str) -> bool:
    """Whether a column is known and not read."""
    return any(reads_like(name, pattern) for pattern in source.layout.ignore)


def _missing(source: Source, table: Table, position: dict[str, int], findings: Findings) -> set[str]:
    """Report declared columns that the file lacks; returns headings that were probably meant by them."""
    taken = set()
    for name in declared(source):
        if name not in position:
            others = [heading for heading in table.header if heading and heading not in declared(source)]
            match = nearest(name, others)
            taken.update(match)
            present = ", ".join(f"»{heading}«" for heading in table.header)
            hint = f"; gemeint sein könnte »{match[0]}«" if match else f"; vorhanden: {present}"
            message = f"Die Spalte »{name}« fehlt{hint}"
            findings.add("spalte_fehlt", message, f"Spalte »{name}«", line=table.line, column_name=name)
    return taken


def _no_values(source: Source, wanted: list[ValueColumn], table: Table, findings: Findings) -> None:
    if not wanted:
        message = f"Zur Tabelle »{shown(table.title)}« ist nichts vereinbart"
        findings.add("titel_fehlt", message, "eine der vereinbarten Tabellen", line=table.line)
        return
    form = FORMS[source.layout.period.type]
    message = "Keine Spaltenüberschrift ist eine Zeitangabe"
    if any(value.heading for value in wanted):
        message = "Keine Spaltenüberschrift nennt eine Zeit und ein vereinbartes Merkmal"
        form += " unter " + ", ".join(f"»{value.heading}«" for value in wanted if value.heading)
    findings.add("spalte_fehlt", message, f"Überschriften wie {form}", line=table.line)


def _unknown(source: Source, table: Table, used: set[str], findings: Findings) -> None:
    """Report columns that nobody declared: a new or renamed column must not be lost silently."""
    expected = "nur vereinbarte Spalten (im YAML unter layout; was nicht gelesen werden soll, unter ignore)"
    if source.layout.period.in_header:
        expected += f", Zeitangaben als {FORMS[source.layout.period.type]}"
    by_heading = any(value.heading for value in source.layout.values)
    for index, name in enumerate(table.header):
        dated = source.layout.period.in_header and not by_heading and _looks_dated(name)
        if name in used or dated or ignored(source, name):
            continue
        message = f"Die Spalte »{shown(name)}« ist nicht vereinbart" if name else "Die Spalte hat keine Überschrift"
        findings.add("spalte_unbekannt", message, expected, line=table.line, column=index + 1, column_name=name)


def _looks_dated(name: str) -> bool:
    return name[:1].isdigit()


def _value_columns(
    source: Source, wanted: list[ValueColumn], table: Table, position: dict[str, int], findings: Findings
) -> list[Values]:
    """Columns that hold figures. Where the headings are periods, each must be readable and occur once."""
    if not source.layout.period.in_header:
        return [
            Values(position[plain_heading(str(value.column))], plain_heading(str(value.column)), value)
            for value in wanted
        ]
    return _DatedColumns(source, wanted, table, findings).read()


class _DatedColumns:
    """The columns of a table whose headings hold the period, alone or together with other texts."""

    def __init__(self, source: Source, wanted: list[ValueColumn], table: Table, findings: Findings) -> None:
        self.period, self.wanted, self.table, self.findings = source.layout.period, wanted, table, findings
        self.other = set(declared(source))
        self.source = source
        self.found: dict[tuple[int, dt.date], Values] = {}

    def read(self) -> list[Values]:
        for index, parts in enumerate(self.table.heads):
            name = PARTS.join(parts)
            if name not in self.other and not ignored(self.source, name):
                self._column(index, name, parts)
        return list(self.found.values())

    def _column(self, index: int, name: str, parts: list[str]) -> None:
        dated = [part for part in parts if parse_period(part, self.period.type, self.period.day)]
        number = self._meant(parts, dated)
        if number is None:
            return
        if len(dated) != 1:
            if _looks_dated(name) or self.wanted[number].heading:
                self._wrong(index, name, "zeitangabe_lesbar", f"»{shown(name)}« ist keine mögliche Zeitangabe")
            return
        date = parse_period(dated[0], self.period.type, self.period.day)
        assert date is not None
        if (number, date) in self.found:
            first = self.found[number, date]
            message = f"»{shown(name)}« meint dieselbe Zeit wie »{shown(first.name)}« (Spalte {first.position + 1})"
            self._wrong(index, name, "spalte_doppelt", message)
        else:
            self.found[number, date] = Values(index, name, self.wanted[number], dated[0])

    def _meant(self, parts: list[str], dated: list[str]) -> int | None:
        """Number of the entry under `values` that a column belongs to."""
        rest = PARTS.join(part for part in parts if part not in dated[:1])
        for number, value in enumerate(self.wanted):
            if value.heading is None or reads_like(rest, value.heading):
                return number
        return None

    def _wrong(self, index: int, name: str, rule: str, message: str) -> None:
        form = FORMS[self.period.type]
        self.findings.add(rule, message, form, line=self.table.line, column=index + 1, column_name=name, value=name)


def _period_in_name(source: Source, table: Table, file_name: str, findings: Findings) -> str | None:
    """The period that stands in the name of the file or sheet, or in the table's title."""
    period = source.layout.period
    places = (
        (period.file_name, file_name, "dateiname", "Der Dateiname", "Dateinamen"),
        (period.sheet, table.sheet, "zeitangabe_lesbar", "Der Name des Blatts", "Namen des Blatts"),
        (period.title, table.title, "zeitangabe_lesbar", "Der Titel der Tabelle", "Titel der Tabelle"),
    )
    for pattern, text, rule, what, where in places:
        if pattern is None:
            continue
        match = re.search(pattern, text) if len(text) <= PATTERN_CHARACTERS else None
        if match is None:
            findings.add(rule, f"{what} »{shown(text)}« nennt keine Zeitangabe", f"Muster {pattern}")
            return None
        if parse_period(str(match[1]), period.type, period.day) is None:
            message = f"»{match[1]}« im {where} »{shown(text)}« ist keine mögliche Zeitangabe"
            findings.add(rule, message, FORMS[period.type], value=str(match[1]))
        return match[1]
    return None
