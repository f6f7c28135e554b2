"""Cuts the lines of a text file or sheet into tables: heading, rows, title. The same for every kind of file."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain

from pipelines.intake.failures import Findings, shown
from pipelines.intake.limits import COLUMNS
from schemas.documents import TableShape

PARTS = " | "
"""Stands between the texts of a heading that has several lines."""
Merged = Sequence[tuple[int, int, int, int]]
"""Merged cells of a sheet: first row, first column, last row, last column, all counted from 1."""


@dataclass(frozen=True)
class Row:
    """One record: line on which it begins (from 1) and the text of its cells."""

    line: int
    cells: list[str]

    def blank(self) -> bool:
        """No cell holds anything but blanks."""
        return not "".join(self.cells).strip()

    def start(self) -> str:
        """Text of the first filled cell."""
        return next((" ".join(cell.split()) for cell in self.cells if cell.strip()), "")


@dataclass(frozen=True)
class Table:
    """A heading and the rows below it.

    `heads` holds per column the texts of its heading from top to bottom (empty and repeated ones left out); `line` is
    the heading's last line.
    """

    heads: list[list[str]]
    rows: Iterator[Row]
    line: int = 1
    title: str = ""
    sheet: str = ""

    @property
    def header(self) -> list[str]:
        """One text per column."""
        return [PARTS.join(parts) for parts in self.heads]


def plain_heading(name: str) -> str:
    """A column's heading with blanks and line breaks reduced to single blanks, umlauts as one character."""
    return " ".join(unicodedata.normalize("NFC", name).replace("\ufeff", "").split())


def reads_like(text: str, pattern: str) -> bool:
    """Whether a text (blanks reduced) fits a pattern with * and ?; square brackets stand for themselves."""
    return fnmatchcase(plain_heading(text), plain_heading(pattern).replace("[", "[[]"))


def cut(
    rows: Iterator[Row],
    shape: TableShape,
    findings: Findings,
    *,
    short_rows: str = "fill",
    merged: Merged = (),
    sheet: str = "",
) -> Iterator[Table]:
    """Yield the tables in file order; the rows of one must be used up before the next is asked for.

    Lines above the heading are passed over. Below a table that ends at an empty line, a line with two or more filled
    cells is reported: figures must not be lost.
    """
    lines = _Lines(rows, shape, findings)
    if shape.title is None:
        table = _table(lines, short_rows, merged, "", sheet, 1)
        if table is not None:
            yield table
            lines.rest()
        return
    title, found = lines.next_title(), False
    while title is not None:
        found = True
        table = _table(lines, short_rows, merged, title.start(), sheet, title.line + 1)
        if table is not None:
            yield table
            for _ in table.rows:
                pass
        title = lines.next_title(checked=True)
    if not found:
        findings.add("titel_fehlt", f"Keine Zeile lautet wie »{shape.title}«", f"eine Tabelle unter »{shape.title}«")


class _Lines:
    """The lines of a file with a look at the next title."""

    def __init__(self, rows: Iterator[Row], shape: TableShape, findings: Findings) -> None:
        self.rows, self.shape, self.findings = rows, shape, findings

    def is_title(self, row: Row) -> bool:
        return self.shape.title is not None and reads_like(row.start(), self.shape.title)

    def next_title(self, checked: bool = False) -> Row | None:
        """The next title; lines passed over on the way are checked for figures if asked."""
        for row in self.rows:
            if self.is_title(row):
                return row
            if checked:
                self._lost(row)
        return None

    def rest(self) -> None:
        """Look through what stands below the last table."""
        for row in self.rows:
            self._lost(row)

    def data(self) -> Iterator[Row]:
        """Rows of one table without empty and skipped lines."""
        begun = False
        for row in self.rows:
            if row.blank():
                if begun and self.shape.ends == "blank":
                    return
                continue
            if self.is_title(row):
                self.rows = chain([row], self.rows)
                return
            begun = True
            if not self.skipped(row):
                yield row

    def skipped(self, row: Row) -> bool:
        return bool(self.shape.skip) and any(reads_like(row.start(), pattern) for pattern in self.shape.skip)

    def _lost(self, row: Row) -> None:
        filled = [(i, cell) for i, cell in enumerate(row.cells, 1) if cell.strip()]
        if len(filled) < 2 or self.skipped(row):
            return
        message = f"Unter der Tabelle stehen weitere Angaben (»{shown(row.start())}«)"
        column, value = filled[1]
        expected = "nach der Leerzeile nur Fußnoten, oder die Zeilen im YAML unter table.skip"
        self.findings.add("unter_der_tabelle", message, expected, line=row.line, column=column, value=value)


def _table(lines: _Lines, short_rows: str, merged: Merged, title: str, sheet: str, counted_from: int) -> Table | None:
    """Heading and rows of the next table; None (and a finding) without a heading."""
    shape, findings = lines.shape, lines.findings
    begins = counted_from + shape.header_line - 1
    heading = _heading(lines.rows, begins, shape.header_rows)
    if len(heading) < shape.header_rows:
        what = f" unter »{shown(title)}«" if title else ""
        if not findings.rules & {"trennzeichen", "datei_lesbar"}:
            findings.add("datei_leer", f"Die Datei enthält keine Kopfzeile{what}", f"Kopfzeile in Zeile {begins}")
        return None
    heads = _heads(heading, shape, merged)
    if len(heads) > COLUMNS:
        message = f"Die Tabelle hat {len(heads)} Spalten"
        findings.add("datei_zu_gross", message, f"höchstens {COLUMNS} Spalten", line=heading[0].line)
        return None
    for row in heading:
        _blanks(row, findings)
    names = [PARTS.join(parts) for parts in heads]
    rows = _even(lines.data(), names, short_rows, findings)
    filled = [names.index(plain_heading(name)) for name in shape.fill_down if plain_heading(name) in names]
    return Table(heads, _filled_down(rows, filled) if filled else rows, heading[-1].line, title, sheet)


def _heading(rows: Iterator[Row], begins: int, count: int) -> list[Row]:
    """The heading's lines: the first one filled from line `begins` on, and those that follow it."""
    heading: list[Row] = []
    for row in rows:
        if row.line >= begins and (heading or not row.blank()):
            heading.append(row)
            if len(heading) == count:
                break
    return heading


def _heads(heading: list[Row], shape: TableShape, merged: Merged) -> list[list[str]]:
    """Texts of each column's heading; merged cells count for every column they cover."""
    width = max(len(row.cells) for row in heading)
    grid = {row.line: [plain_heading(cell) for cell in row.cells] + [""] * (width - len(row.cells)) for row in heading}
    for top, left, bottom, right in merged:
        for line in grid if top in grid else ():
            if top <= line <= bottom:
                grid[line][left - 1 : right] = [grid[top][left - 1]] * (min(right, width) - left + 1)
    if shape.header_fill:
        for row in heading[:-1]:
            grid[row.line] = _filled_right(grid[row.line])
    heads = [_apart([grid[row.line][position] for row in heading]) for position in range(width)]
    while heads and not heads[-1]:
        heads.pop()
    return heads


def _filled_right(cells: list[str]) -> list[str]:
    filled, left = [], ""
    for cell in cells:
        left = cell or left
        filled.append(left)
    return filled


def _apart(texts: list[str]) -> list[str]:
    """Without empty texts and without repetitions of the one above."""
    parts: list[str] = []
    for text in filter(None, texts):
        if not parts or parts[-1] != text:
            parts.append(text)
    return parts


def _blanks(row: Row, findings: Findings) -> None:
    for column, cell in enumerate(row.cells, 1):
        name = cell.replace("\ufeff", "")
        if name.strip() and name != name.strip():
            message = f"Die Überschrift »{name[:100]}« beginnt oder endet mit einem Leerzeichen"
            findings.add(
                "spaltenname_leerzeichen",
                message,
                f"»{shown(name)}«",
                line=row.line,
                column=column,
                column_name=name.strip(),
                value=name,
            )


def _filled_down(rows: Iterator[Row], positions: list[int]) -> Iterator[Row]:
    above = dict.fromkeys(positions, "")
    for row in rows:
        for position in positions:
            if row.cells[position].strip():
                above[position] = row.cells[position]
            else:
                row.cells[position] = above[position]
        yield row


def _even(rows: Iterator[Row], names: list[str], short_rows: str, findings: Findings) -> Iterator[Row]:
    """Rows with exactly as many cells as the heading; others are reported and left out."""
    width = len(names)
    for row in rows:
        cells = row.cells
        if len(cells) > width:
            surplus = [cell for cell in cells[width:] if cell.strip()]
            if surplus:
                message = f"Die Zeile hat {_counted(len(cells))}, die Kopfzeile {width}"
                place = next(i for i, cell in enumerate(cells, 1) if i > width and cell.strip())
                findings.add("zeile_zu_lang", message, f"{width} Zellen", line=row.line, column=place, value=surplus[0])
                continue
            cells = cells[:width]
        if len(cells) < width:
            if short_rows == "error":
                message = f"Die Zeile hat nur {_counted(len(cells))}, es fehlt ab Spalte »{names[len(cells)]}«"
                place, name = len(cells) + 1, names[len(cells)]
                findings.add("zeile_zu_kurz", message, f"{width} Zellen", line=row.line, column=place, column_name=name)
                continue
            cells = cells + [""] * (width - len(cells))
        yield Row(row.line, cells)


def _counted(cells: int) -> str:
    return "1 Zelle" if cells == 1 else f"{cells} Zellen"
