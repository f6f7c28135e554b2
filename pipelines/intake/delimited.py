"""Reads delimited text into rows that know their line; a defect of the file becomes a finding, never an exception."""

from __future__ import annotations

import codecs
import csv
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pipelines.intake.failures import Findings
from schemas.documents import Format

_MOJIBAKE = re.compile("Ã[\u0080-\u00bf¤¶¼Ÿ„–œŸ]|â‚¬|\ufffd")
_OTHER_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # begins like UTF-16, so it is looked for first
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


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
    line: int = 1


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
    if _other_delimiter(header, form, findings):
        return None
    names = [plain_heading(name) for name in header.cells]
    while names and not names[-1]:
        names.pop()
    return Table(names, _rows(records, names, form, findings), header.line)


def plain_heading(name: str) -> str:
    """A column's heading with blanks and line breaks reduced to single blanks, umlauts as one character."""
    return " ".join(unicodedata.normalize("NFC", name).replace("\ufeff", "").split())


def _other_delimiter(header: Row, form: Format, findings: Findings) -> bool:
    """Whether the whole header is one cell because the columns are separated by another mark."""
    if len(header.cells) > 1:
        return False
    used = next((d for d in ";\t|," if d != form.delimiter and d in header.cells[0]), None)
    if used is None:
        return False
    names = {"\t": "dem Tabulator"}
    findings.add(
        "trennzeichen",
        f"Die Spalten sind mit {names.get(used, f'»{used}«')} getrennt",
        f"Trennung mit {names.get(form.delimiter, f'»{form.delimiter}«')}",
        line=header.line,
    )
    return True


def _rows(records: Iterator[Row], names: list[str], form: Format, findings: Findings) -> Iterator[Row]:
    width = len(names)
    for row in records:
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
            if form.short_rows == "error":
                message = f"Die Zeile hat nur {_counted(len(cells))}, es fehlt ab Spalte »{names[len(cells)]}«"
                findings.add(
                    "zeile_zu_kurz",
                    message,
                    f"{width} Zellen",
                    line=row.line,
                    column=len(cells) + 1,
                    column_name=names[len(cells)],
                )
                continue
            cells = cells + [""] * (width - len(cells))
        yield Row(row.line, cells)


def _counted(cells: int) -> str:
    return "1 Zelle" if cells == 1 else f"{cells} Zellen"


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
                long = "limit" in str(error)
                message = (
                    "Eine Zelle ist überlang" if long else "Ein Anführungszeichen steht falsch oder hat kein Gegenstück"
                )
                expected = f"Zellen unter {csv.field_size_limit()} Zeichen, Anführungszeichen paarweise"
                text = f"{message}; ab dieser Zeile ist die Datei nicht lesbar"
                findings.add("datei_lesbar", text, expected, line=line)
                return
            if any(cell.strip() for cell in cells):
                yield Row(line, cells)
            line = reader.line_num + 1


def _without_nul(lines: Iterator[str], findings: Findings) -> Iterator[str]:
    reported = False
    for number, line in enumerate(lines, 1):
        if "\0" in line and not reported:
            findings.add(
                "datei_lesbar",
                "Die Zeile enthält NUL-Zeichen (vermutlich ist die Datei in UTF-16 gespeichert)",
                "reiner Text",
                line=number,
            )
            reported = True
        yield line.replace("\0", "")


def _decodable(path: Path, form: Format, findings: Findings) -> bool:
    """Find wrong encodings by their bytes, before any cell is read."""
    if path.stat().st_size == 0:
        findings.add("datei_leer", "Die Datei ist leer (0 Bytes)", "Kopfzeile und Daten")
        return False
    with path.open("rb") as file:
        if _other_kind(file.read(4), form, findings):
            return False
        file.seek(0)
        for number, raw in enumerate(_lines(file), 1):
            if not raw.isascii() and not _readable(raw, number, form, findings):
                return False
    return True


def _other_kind(start: bytes, form: Format, findings: Findings) -> bool:
    """Whether the first bytes belong to another encoding or to no text at all."""
    name = next((name for bom, name in _OTHER_BOMS.items() if start.startswith(bom)), None)
    if name is None and form.encoding != "utf-8" and start.startswith(codecs.BOM_UTF8):
        name = "UTF-8"
    if name is not None:
        findings.add("zeichensatz", f"Die Datei ist in {name} gespeichert", _saved_as(form), line=1)
        return True
    if start.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        findings.add("dateiart", "Die Datei ist eine Arbeitsmappe (Excel o. ä.)", "Textdatei (CSV)")
        return True
    return False


def _readable(raw: bytes, number: int, form: Format, findings: Findings) -> bool:
    """Whether a line is in the declared encoding, its umlauts whole."""
    try:
        text = raw.decode(form.encoding)
    except UnicodeDecodeError as error:
        guess = "UTF-16" if b"\0" in raw else "Windows-1252 (Latin-1)"
        message = f"Die Datei ist nicht in {form.encoding} gespeichert (Byte {error.start + 1} der Zeile)"
        if form.encoding == "utf-8":
            message += f", vermutlich in {guess}"
        near = raw.decode("cp1252", "replace").replace("\0", "")
        findings.add("zeichensatz", message, _saved_as(form), line=number, value=near.strip())
        return False
    if (broken := _MOJIBAKE.search(text)) is None:
        return True
    around = text[max(0, broken.start() - 12) : broken.end() + 12].strip()
    if form.encoding != "utf-8" and _is_utf8(raw):
        message = f"Die Datei ist in UTF-8 gespeichert, vereinbart ist {form.encoding}"
        findings.add("zeichensatz", message, _saved_as(form), line=number, value=around)
    else:
        message = f"Umlaute sind zerstört (»{around}«): die Datei wurde mit falschem Zeichensatz umgewandelt"
        findings.add("umlaute", message, f"Umlaute lesbar, {_saved_as(form)}", line=number, value=around)
    return False


def _saved_as(form: Format) -> str:
    names = {"utf-8": "gespeichert als »CSV UTF-8«"}
    return names.get(form.encoding, f"gespeichert in {form.encoding} (Windows, »CSV«)")


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines as the reader counts them: LF, CRLF, or CR alone (old Macintosh exports)."""
    for block in file:
        yield from block.splitlines() if b"\r" in block.rstrip(b"\r\n") else (block,)
