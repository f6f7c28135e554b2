"""Looks up rows of a delivered file as they arrived: only the lines that are asked for, reading no further."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.intake.delimited import open_text
from pipelines.intake.failures import Findings
from pipelines.intake.limits import MEGABYTE
from pipelines.intake.tables import Merged, Row, cut
from schemas.documents import Source

_LOOK_AHEAD = 50
"""Lines above the first table that are read in any case, so that its heading is known."""
_PLAIN_BYTES = 64 * MEGABYTE


@dataclass(frozen=True)
class Heading:
    """Heading of one table: its lines and the texts of each column from top to bottom."""

    first: int
    last: int
    heads: list[list[str]]


@dataclass
class Rows:
    """Cells by sheet and line, and the headings of the tables; `problem` says why there may be none."""

    cells: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    headings: dict[str, list[Heading]] = field(default_factory=dict)
    problem: str = ""

    def heading(self, sheet: str, line: int) -> Heading | None:
        """Heading of the table that a line belongs to."""
        above = [heading for heading in self.headings.get(sheet, []) if heading.first <= line]
        return above[-1] if above else None


def read_rows(source: Source, file: Path, wanted: Mapping[str, set[int]]) -> Rows:
    """The rows of a file by sheet ('' in text files) and line.

    Args:
        source: how the file is to be read.
        file: the bytes as received.
        wanted: lines by sheet; a few hundred at most.

    Returns:
        What was found. A line that is no row of cells (a quotation mark that never ends, broken umlauts) is one cell
        with the whole text; a file that is no text has no rows.
    """
    found = Rows()
    wanted = {sheet: lines for sheet, lines in wanted.items() if lines}
    if not wanted:
        return found
    if not file.is_file():
        found.problem = "Die Datei liegt nicht mehr vor."
        return found
    findings = Findings()
    missing = set(wanted)
    for sheet, rows, merged in _sheets(source, file, findings):
        if sheet in missing:
            _one_sheet(source, sheet, rows, merged, wanted[sheet], found)
            missing.discard(sheet)
            if not missing:
                break
        for _ in rows:  # the next sheet may be asked for when this one is used up
            pass
    if source.workbook is None:
        _plain_lines(source, file, wanted.get("", set()), found)
    if not found.cells and findings.kept:
        found.problem = f"{findings.kept[0].message}."
    return found


def _sheets(source: Source, file: Path, findings: Findings) -> Iterator[tuple[str, Iterator[Row], Merged]]:
    if source.workbook is None:
        rows = open_text(file, source.format, findings, None)
        if rows is not None:
            yield "", rows, ()
        return
    from pipelines.intake.workbook import open_sheets  # the Excel reader loads only when there is a workbook

    for sheet in open_sheets(file, source.workbook, source.format, findings):
        yield sheet.name, sheet.rows, sheet.merged


def _one_sheet(source: Source, sheet: str, rows: Iterator[Row], merged: Merged, lines: set[int], found: Rows) -> None:
    """Keep the wanted rows; cutting the sheet into tables tells which heading they stand under."""
    shape = source.table
    last = max(*lines, shape.header_line + shape.header_rows + _LOOK_AHEAD)

    def kept() -> Iterator[Row]:
        for row in rows:
            if row.line in lines:
                found.cells[sheet, row.line] = list(row.cells)
            yield row
            if row.line >= last:
                return

    headings, looked_at = found.headings.setdefault(sheet, []), kept()
    for table in cut(looked_at, shape, Findings(), merged=merged, sheet=sheet):
        headings.append(Heading(table.line - shape.header_rows + 1, table.line, table.heads))
        for _ in table.rows if shape.title else looked_at:  # without titles there is no second table to look for
            pass


def _plain_lines(source: Source, file: Path, lines: set[int], found: Rows) -> None:
    """Lines that could not be cut into cells, as text; signs that are not in the declared encoding become �."""
    missing = {line for line in lines if ("", line) not in found.cells}
    if not missing or file.stat().st_size > _PLAIN_BYTES:
        return
    with file.open(encoding=source.format.encoding, errors="replace") as text:
        for number, line in enumerate(text, 1):
            if _no_text(line):
                return
            if number in missing and line.strip():
                found.cells["", number] = [line.rstrip("\n").removeprefix("\ufeff")]
            if number >= max(missing):
                return


def _no_text(line: str) -> bool:
    """Whether a line is that of a picture, workbook or the like."""
    odd = sum(1 for sign in line if sign == "\ufffd" or not (sign.isprintable() or sign.isspace()))
    return "\0" in line or odd > max(2, len(line) // 5)
