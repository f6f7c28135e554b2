"""Reads delimited text into rows that know their line; every defect of the file becomes a finding, never an exception."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.intake.failures import Findings
from schemas.documents import Format

_MOJIBAKE = re.compile("Ã[\u0080-\u00bf¤¶¼Ÿ„–œŸ]|â‚¬|\ufffd")
_OTHER_BOMS = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_SAVE_AS = "gespeichert als »CSV UTF-8«"


@dataclass(frozen=True)
class Row:
    """One record: line on which it begins (from 1) and the text of its cells."""

    line: int
    cells: list[str]


@dataclass(frozen=True)
class Table:
    """Header and the rows below it. Header names have their blanks and line breaks reduced to single blanks."""

    header: list[str]
    rows: Iterator[Row]


def open_table(path: Path, form: Format, findings: Findings) -> Table | None:
    """Open a file; None (and a finding) if it has no readable header.

    Rows are streamed: memory does not grow with the file. Blank records are passed over. Findings about rows
    appear while the rows are consumed.
    """
    if not _decodable(path, form, findings):
        return None
    records = _records(path, form, findings)
    header: Row | None = None
    for _ in range(form.header_line):
        header = next(records, None)
    if header is None:
        findings.add("datei_leer", "Die Datei enthält keine Kopfzeile", f"Kopfzeile als {form.header_line}. Satz")
        return None
    names = [re.sub(r"\s+", " ", name).strip() for name in header.cells]
    if len(names) == 1 and form.delimiter not in names[0]:
        used = next((d for d in ";,\t|" if d != form.delimiter and d in names[0]), None)
        if used:
            shown = "Tabulator" if used == "\t" else f"»{used}«"
            findings.add(
                "trennzeichen",
                f"Die Spalten sind mit {shown} getrennt",
                f"Trennzeichen »{form.delimiter}«",
                line=header.line,
            )
            return None
    while names and not names[-1]:
        names.pop()
    return Table(names, _rows(records, names, form, findings))


def _rows(records: Iterator[Row], names: list[str], form: Format, findings: Findings) -> Iterator[Row]:
    width = len(names)
    for row in records:
        cells = row.cells
        if len(cells) > width:
            surplus = [cell for cell in cells[width:] if cell.strip()]
            if surplus:
                message = f"Die Zeile hat {len(cells)} Zellen, die Kopfzeile {width} Spalten"
                findings.add("zeile_zu_lang", message, f"{width} Zellen", line=row.line, value=surplus[0])
                continue
            cells = cells[:width]
        if len(cells) < width:
            if form.short_rows == "error":
                message = f"Die Zeile hat nur {len(cells)} Zellen, es fehlt ab Spalte »{names[len(cells)]}«"
                findings.add("zeile_zu_kurz", message, f"{width} Zellen", line=row.line)
                continue
            cells = cells + [""] * (width - len(cells))
        yield Row(row.line, cells)


def _records(path: Path, form: Format, findings: Findings) -> Iterator[Row]:
    """Records with the physical line on which each begins (a quoted cell may span several lines)."""
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    with path.open(encoding=encoding, newline="") as file:
        reader = csv.reader(_without_nul(file, findings), delimiter=form.delimiter, strict=True)
        line = 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                expected = "Anführungszeichen paarweise, Zellen unter 131.072 Zeichen"
                findings.add("datei_lesbar", f"Die Zeile ist nicht lesbar ({error})", expected, line=line)
                return
            if any(cell.strip() for cell in cells):
                yield Row(line, cells)
            line = reader.line_num + 1


def _without_nul(lines: Iterator[str], findings: Findings) -> Iterator[str]:
    reported = False
    for number, line in enumerate(lines, 1):
        if "\0" in line and not reported:
            findings.add("datei_lesbar", "Die Zeile enthält NUL-Zeichen", "reiner Text", line=number)
            reported = True
        yield line.replace("\0", "")


def _decodable(path: Path, form: Format, findings: Findings) -> bool:
    """Find wrong encodings by their bytes, before any cell is read."""
    if path.stat().st_size == 0:
        findings.add("datei_leer", "Die Datei ist leer (0 Bytes)", "Kopfzeile und Daten")
        return False
    with path.open("rb") as file:
        start = file.read(4)
        for bom, name in _OTHER_BOMS.items():
            if start.startswith(bom):
                findings.add("zeichensatz", f"Die Datei ist in {name} gespeichert", f"{form.encoding}, {_SAVE_AS}")
                return False
        if start.startswith(b"PK\x03\x04") or start.startswith(b"\xd0\xcf\x11\xe0"):
            findings.add("dateiart", "Die Datei ist eine Arbeitsmappe (Excel o. ä.)", "Textdatei (CSV)")
            return False
        file.seek(0)
        for number, raw in enumerate(file, 1):
            try:
                text = raw.decode(form.encoding)
            except UnicodeDecodeError as error:
                near = raw.decode("cp1252", "replace").strip()
                message = (
                    f"Die Datei ist nicht in {form.encoding} gespeichert (Byte {error.start + 1} der Zeile), "
                    "vermutlich in Windows-1252/Latin-1"
                )
                findings.add("zeichensatz", message, f"{form.encoding}, {_SAVE_AS}", line=number, value=near)
                return False
            if (broken := _MOJIBAKE.search(text)) is not None:
                around = text[max(0, broken.start() - 12) : broken.end() + 12].strip()
                message = f"Umlaute sind zerstört (»{around}«): die Datei wurde mit falschem Zeichensatz umgewandelt"
                findings.add("umlaute", message, f"Umlaute lesbar, {form.encoding}", line=number, value=around)
                return False
    return True
