"""Reads somebody else's printed table (text file or workbook) into labels and cells, each with its place.

The same readers as for deliveries: encodings are checked by their bytes, workbooks are read in a child process with
limits. Nothing is guessed about a cell: it is a number, a declared sign, or a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipelines.intake.delimited import open_text
from pipelines.intake.failures import Findings, column_letters, shown
from pipelines.intake.limits import MEGABYTE
from pipelines.intake.tables import Row, Table, cut, plain_heading
from pipelines.intake.workbook import open_sheets
from schemas.audited_table import COLUMNS, REST, AuditedTable
from schemas.documents import Format, Workbook
from schemas.yaml_source import nearest

TEXT_BYTES = 64 * MEGABYTE
"""Largest text file: a printed table, not a delivery."""

MAX_CELLS = 200_000
"""Most cells of one table: all of them are looked at together."""

PROBLEMS = 20
"""Problems that are told in full."""

_EMPTY = 'sind leere Zellen gesperrt, unter stars "" ergänzen, wurden sie nicht erhoben, unter missing ""'
_WORKBOOK_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"\xd0\xcf\x11\xe0")
_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2212": "-"})


class Unusable(Exception):
    """The table or its description can't be used; `problems` say where and what to do, in German."""

    def __init__(self, problems: Iterable[str]) -> None:
        """Keep the first problems in full."""
        found = list(problems)
        more = [f"… und {len(found) - PROBLEMS} weitere"] if len(found) > PROBLEMS else []
        self.problems = [*found[:PROBLEMS], *more]
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True)
class Cell:
    """One printed cell of a count or rate.

    Attributes:
        text: as printed.
        kind: a number, a withheld number, or one that nobody withholds and nobody knows.
        value: the number, else NaN.
        digits: digits after the decimal mark.
        place: where it stands, for people.
    """

    text: str
    kind: Literal["number", "star", "missing"]
    value: float
    digits: int
    place: str


@dataclass(frozen=True)
class Line:
    """One row: its labels, its cells by heading, and the text of all its cells."""

    line: int
    labels: tuple[str, ...]
    cells: dict[str, Cell]
    texts: list[str]


@dataclass
class Printed:
    """The table as printed.

    Attributes:
        header: text of every column's heading.
        counts: headings of the columns of counts, in order.
        lines: the rows.
        notes: what a person should know about the reading.
    """

    header: list[str]
    counts: list[str]
    lines: list[Line]
    notes: list[str] = field(default_factory=list)


def read(path: Path, table: AuditedTable) -> Printed:
    """Read a table.

    Raises:
        Unusable: it can't be read as described.
    """
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise Unusable([f"{shown(str(path))}: nicht lesbar, das ist keine Datei"])
    try:
        with path.open("rb") as file:
            start = file.read(8)
        size = path.stat().st_size
    except OSError as error:
        raise Unusable([f"{shown(str(path))}: nicht lesbar ({error.strerror}); Pfad und Rechte prüfen"]) from None
    if size == 0:
        raise Unusable([f"{shown(path.name)}: die Datei ist leer (0 Bytes)"])
    findings = Findings()
    if start.startswith(_WORKBOOK_STARTS):
        printed = _workbook(path, table, findings)
    else:
        printed = _text(path, size, table, findings)
    _refuse(path, findings)
    if printed is None or not printed.lines:
        raise Unusable([f"{shown(path.name)}: unter der Kopfzeile steht keine Zeile mit Zahlen"])
    printed.notes += [failure.sentence() for failure in findings.kept if failure.severity == "warning"][:PROBLEMS]
    return printed


def _refuse(path: Path, findings: Findings) -> None:
    errors = [failure.sentence() for failure in findings.kept if failure.severity == "error"]
    if errors:
        raise Unusable(f"{shown(path.name)}, {text}" for text in errors)


def _text(path: Path, size: int, table: AuditedTable, findings: Findings) -> Printed | None:
    if size > TEXT_BYTES:
        most = TEXT_BYTES // MEGABYTE
        raise Unusable([f"{shown(path.name)}: die Datei hat {size // MEGABYTE} MB; höchstens {most} MB"])
    form = _form(path, table)
    rows = open_text(path, form, findings, table.table.header_line)
    if rows is None:
        return None
    return _tables(cut(rows, table.table, findings), path, table, findings)


def _form(path: Path, table: AuditedTable) -> Format:
    """The declared marks; where none is declared, UTF-8 if the bytes are, and the mark that the heading has most of."""
    data = path.read_bytes()
    encoding = table.format.encoding
    if encoding is None:
        try:
            data.decode("utf-8")
            encoding = "utf-8"
        except UnicodeDecodeError:
            # UTF-16 has no business with cp1252; the reader names it by its first bytes
            encoding = "utf-8" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "cp1252"
    lines = [line for line in data[: 4 * MEGABYTE].decode(encoding, "replace").splitlines() if line.strip()]
    heading = next(iter(lines[table.table.header_line - 1 :]), "")
    counted = {mark: heading.count(mark) for mark in ";\t,|"}
    best = max(counted, key=lambda mark: counted[mark])
    delimiter = table.format.delimiter or (best if counted[best] else ";")
    return Format(
        delimiter=delimiter, encoding=encoding, decimal=table.format.decimal, thousands=table.format.thousands
    )


def _workbook(path: Path, table: AuditedTable, findings: Findings) -> Printed | None:
    form = Format(decimal=table.format.decimal, thousands=table.format.thousands)
    found: list[tuple[str, Printed | None]] = []
    pattern = table.sheet or "*"
    for sheet in open_sheets(path, Workbook(sheets=[pattern]), form, findings):
        if not found:
            tables = cut(sheet.rows, table.table, findings, merged=sheet.merged, sheet=sheet.name)
            found.append((sheet.name, _tables(tables, path, table, findings)))
        else:
            found.append((sheet.name, None))
    if len(found) > 1:
        names = ", ".join(f"»{shown(name)}«" for name, _ in found[:8])
        raise Unusable([f"{shown(path.name)} hat mehrere Blätter ({names}); eines als »sheet:« angeben"])
    return found[0][1] if found else None


def _tables(tables: Iterator[Table], path: Path, table: AuditedTable, findings: Findings) -> Printed | None:
    """The one table of a file or sheet; further ones below other titles belong into files of their own."""
    first = next(tables, None)
    printed = None if first is None else _Reader(path, table, first).printed()
    _refuse(path, findings)
    if printed is not None and next(tables, None) is not None:
        raise Unusable([f"{shown(path.name)}: mehrere Tabellen untereinander; bitte jede in eine eigene Datei"])
    return printed


class _Reader:
    """Turns the rows of a table into lines; collects problems with their places."""

    def __init__(self, path: Path, table: AuditedTable, printed: Table) -> None:
        self.path, self.table, self.source = path, table, printed
        self.header = printed.header
        self.problems: list[str] = []
        self.rates = [plain_heading(name) for name in table.rate_of]
        self.stars, self.zeros, self.missing = (
            {plain_heading(sign) for sign in signs} for signs in (table.stars, table.zero_signs, table.missing)
        )
        self.number = _number_pattern(table)
        self.named, self.rest = _named(table)

    def printed(self) -> Printed:
        """Everything, or Unusable."""
        counts, labels = self._columns()
        wanted = [*counts, *self.rates]
        lines: list[Line] = []
        bare: list[int] = []
        seen: dict[tuple[str, ...], int] = {}
        for row in self.source.rows:
            texts = [plain_heading(cell) for cell in row.cells]
            key = tuple(texts[position] for position in labels)
            if not any(texts[self.header.index(name)] for name in wanted) and self._says_nothing(row.line, key, labels):
                bare.append(row.line)
                continue
            if (len(lines) + 1) * len(wanted) > MAX_CELLS:
                raise Unusable([f"{shown(self.path.name)}: mehr als {MAX_CELLS} Zellen; bitte die Tabelle teilen"])
            self._label_problems(row.line, key, labels, seen)
            seen[key] = row.line
            lines.append(Line(row.line, key, self._cells(row, wanted), row.cells))
        if self.problems:
            raise Unusable(self.problems)
        notes = [f"Ohne Zahlen und darum übergangen: Zeile {_some(bare)}."] if bare else []
        return Printed(self.header, counts, lines, notes)

    def _says_nothing(self, line: int, key: tuple[str, ...], labels: list[int]) -> bool:
        """Whether a row without any number is a heading or a footnote, and not a row of withheld or missing numbers."""
        if "" not in self.stars | self.missing | self.zeros or not all(key):
            return True
        if len(key) > 1 or key[0] in self.named:
            return False  # headings and footnotes do not fill several columns of labels
        if self.rest:  # taken for a part of the sum, a heading would make withheld numbers look safer than they are
            text = f"in der Zeile »{shown(key[0])}« sind alle Zellen leer. Eine Überschrift oder Fußnote? Dann table: "
            text += f'{{skip: ["{shown(key[0], 40)[:12].strip()}*"]}} angeben. Gesperrt oder ohne Angabe? '
            self.problems.append(
                self._at(line, labels[0], f"{text}Dann unter sums die Teile einzeln nennen statt rest")
            )
        return True

    def _label_problems(
        self, line: int, key: tuple[str, ...], labels: list[int], seen: dict[tuple[str, ...], int]
    ) -> None:
        if not all(key):
            text = "die Beschriftung fehlt (verbundene Zellen: »table: {fill_down: […]}« angeben)"
            self.problems.append(self._at(line, labels[key.index("")], text))
        elif key in seen:
            text = f"»{' · '.join(key)}« steht schon in Zeile {seen[key]}; jede Zeile braucht eigene Beschriftungen"
            self.problems.append(self._at(line, labels[0], text))

    def _columns(self) -> tuple[list[str], list[int]]:
        """Headings of the counts and positions of the labels, every declared column being there."""
        table, missing = self.table, []
        double = {name for name in self.header if self.header.count(name) > 1 and name}
        declared = [*table.labels, *table.counts, *filter(None, [table.value]), *table.rate_of, *table.ignore]
        for name in map(plain_heading, declared):
            if name not in self.header:
                near = nearest(name, self.header)
                hint = f"meinten Sie »{shown(near[0])}«?" if near else f"vorhanden: {_names(self.header)}"
                missing.append(f"{shown(self.path.name)}, Zeile {self.source.line}: keine Spalte »{name}«; {hint}")
            elif name in double:
                missing.append(f"{shown(self.path.name)}, Zeile {self.source.line}: zwei Spalten heißen »{name}«")
        if missing:
            raise Unusable(missing)
        used = {plain_heading(name) for name in [*table.labels, *table.ignore, *table.rate_of]}
        counts = [plain_heading(name) for name in table.counts or filter(None, [table.value])]
        counts = counts or [name for name in self.header if name and name not in used]
        if not counts:
            raise Unusable([f"{shown(self.path.name)}: keine Spalte mit Zahlen; counts oder value angeben"])
        if double & set(counts):
            raise Unusable([f"{shown(self.path.name)}: zwei Spalten heißen »{next(iter(double & set(counts)))}«"])
        return counts, [self.header.index(plain_heading(name)) for name in table.labels]

    def _at(self, line: int, position: int, text: str) -> str:
        return f"{shown(self.path.name)}, {self._place(line, position)}: {text}"

    def _place(self, line: int, position: int) -> str:
        letter = column_letters(position + 1)
        sheet = f"Blatt »{shown(self.source.sheet)}«, " if self.source.sheet else ""
        return f"{sheet}Zeile {line}, Spalte {letter} »{shown(self.header[position])}«"

    def _cells(self, row: Row, wanted: list[str]) -> dict[str, Cell]:
        """All counts and rates of a row; empty cells are one problem together."""
        empty = []
        if "" not in self.stars | self.missing | self.zeros:
            empty = [name for name in wanted if not plain_heading(row.cells[self.header.index(name)])]
        if len(empty) > 1:
            start = shown(row.start(), 40)
            foot = f'Ist »{start}« eine Fußnote, dann table: {{skip: ["{start[:12].strip()}*"]}} angeben; '
            text = f"{len(empty)} leere Zellen ab hier. {foot}sonst: {_EMPTY}"
            self.problems.append(self._at(row.line, self.header.index(empty[0]), text))
            wanted = [name for name in wanted if name not in empty]
        return {name: self._cell(row, name) for name in wanted}

    def _cell(self, row: Row, name: str) -> Cell:
        position = self.header.index(name)
        text, place = plain_heading(row.cells[position]), self._place(row.line, position)
        if text in self.stars:
            return Cell(text, "star", float("nan"), 0, place)
        if text in self.missing:
            return Cell(text, "missing", float("nan"), 0, place)
        if text in self.zeros:
            return Cell(text, "number", 0.0, 0, place)
        plain = text.translate(_SPACES)
        rate = name in self.rates
        match = self.number.fullmatch(plain)
        if match is None:
            self.problems.append(self._at(row.line, position, self._no_number(text)))
            return Cell(text, "missing", float("nan"), 0, place)
        whole, fraction = match["whole"], match["fraction"] or ""
        value = float(f"{re.sub('[^0-9]', '', whole)}.{fraction or '0'}")
        if not rate and not self.table.amounts and not value.is_integer():
            text = f"»{shown(text)}« ist keine ganze Zahl; Quoten gehören unter rate_of, Beträge brauchen amounts: true"
            self.problems.append(self._at(row.line, position, text))
        return Cell(text, "number", value, len(fraction), place)

    def _no_number(self, text: str) -> str:
        if not text:
            return f"leere Zelle; {_EMPTY}"
        if text.translate(_SPACES).startswith("-"):
            return f"»{shown(text)}« ist negativ; Fallzahlen und Beträge sind mindestens 0"
        if (
            re.fullmatch(r"[0-9]{1,3}([., '][0-9]{3})+", text.translate(_SPACES))
            and self.table.format.thousands is None
        ):
            sign = re.sub("[0-9]", "", text.translate(_SPACES))[0]
            return f'»{shown(text)}« ist keine Zahl; mit Tausenderzeichen? Dann format: {{thousands: "{sign}"}} angeben'
        return f"»{shown(text)}« ist keine Zahl; ist es ein Sperrzeichen, unter stars ergänzen"


def _named(table: AuditedTable) -> tuple[set[str], bool]:
    """Every label the description names, and whether some sum of labels takes all the others (`rest`)."""
    named, rest = {*table.part_of, *table.part_of.values()}, False
    for name, sums in table.sums.items():
        for total, given in sums.items():
            named.add(total)
            rest |= name != COLUMNS and (given == REST or REST in given)
            for way in [] if given == REST else given:
                named |= set(way) if isinstance(way, list) else {way}
    return {plain_heading(label) for label in named}, rest


def _number_pattern(table: AuditedTable) -> re.Pattern[str]:
    """Digits 0 to 9 only, thousands marks only where they group three digits; at most 15 digits stay exact."""
    whole = "[0-9]{1,15}"
    if table.format.thousands:
        whole = f"(?:{whole}|[0-9]{{1,3}}(?:{re.escape(table.format.thousands)}[0-9]{{3}}){{1,4}})"
    return re.compile(f"(?P<whole>{whole})(?:{re.escape(table.format.decimal)}(?P<fraction>[0-9]{{1,15}}))?")


def _names(names: Iterable[str], most: int = 8) -> str:
    found = [f"»{shown(name)}«" for name in names if name]
    return ", ".join(found[:most]) + (" …" if len(found) > most else "")


def _some(lines: list[int], most: int = 8) -> str:
    return ", ".join(map(str, lines[:most])) + (f" und {len(lines) - most} weitere" if len(lines) > most else "")
