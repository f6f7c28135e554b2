"""Reads delimited text into rows that know their line; a defect of the file becomes a finding, never an exception."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pipelines.intake.failures import Findings
from pipelines.intake.limits import CELL_CHARACTERS, LINE_BYTES, MEGABYTE, TEXT_BYTES
from pipelines.intake.tables import Row
from schemas.documents import Format

_MOJIBAKE = re.compile("Ã[\u0080-\u00bf¤¶¼Ÿ„–œŸ]|â‚¬|\ufffd")
_OTHER_BOMS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # begins like UTF-16, so it is looked for first
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def open_text(path: Path, form: Format, findings: Findings, header_line: int | None = 1) -> Iterator[Row] | None:
    """Open a file; None (and a finding) if it is no text in the declared encoding.

    Rows are streamed: memory does not grow with the file. Blank lines are yielded too. Findings about rows appear
    while the rows are consumed. Reading ends at `header_line` if its columns are separated by another mark.
    """
    if not _decodable(path, form, findings):
        return None
    return heading_rows(path, form, findings, header_line)


def heading_rows(path: Path, form: Format, findings: Findings, header_line: int | None) -> Iterator[Row]:
    """The rows of a file whose encoding nobody has checked: for a look at its heading."""
    return _up_to_wrong_heading(_records(path, form, findings), form, findings, header_line)


def looks_damaged(text: str) -> bool:
    """Whether the text holds signs that converting umlauts wrongly leaves behind."""
    likely = "Ã" in text or "â‚¬" in text or "\ufffd" in text  # much cheaper to look for than the expression
    return likely and _MOJIBAKE.search(text) is not None


def _up_to_wrong_heading(
    records: Iterator[Row], form: Format, findings: Findings, header_line: int | None
) -> Iterator[Row]:
    """The records, without Excel's own hint in the first line which mark separates the columns."""
    for row in records:
        hint = f"\ufeff?sep={re.escape(form.delimiter)}"
        if row.line > 1 or not re.fullmatch(hint, form.delimiter.join(row.cells)):
            if header_line is not None and row.line >= header_line and not row.blank():
                if _other_delimiter(row, form, findings):
                    return
                header_line = None
            yield row
        if header_line is None and row.line > 1:
            break
    yield from records


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


def _records(path: Path, form: Format, findings: Findings) -> Iterator[Row]:
    """Records with the physical line on which each begins (a quoted cell may span several lines)."""
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    with path.open(encoding=encoding, newline="") as file:
        csv.field_size_limit(CELL_CHARACTERS)
        lines = _Lines(file, findings)
        reader = csv.reader(lines, delimiter=form.delimiter, strict=True)
        line = 1
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                long = "limit" in str(error)
                quote = "Ein Anführungszeichen steht falsch oder hat kein Gegenstück"
                message = "Eine Zelle ist überlang, oder es fehlt ein Anführungszeichen" if long else quote
                expected = f"Zellen unter {CELL_CHARACTERS} Zeichen, Anführungszeichen paarweise"
                text = f"{message}; ab dieser Zeile ist die Datei nicht lesbar"
                findings.add("datei_lesbar", text, expected, line=line)
                return
            lines.characters = 0
            yield Row(line, cells)
            line = reader.line_num + 1


class _Lines:
    """Lines for the csv reader, without NUL; no record goes on for more than one line may be long."""

    def __init__(self, lines: Iterator[str], findings: Findings) -> None:
        self.lines, self.findings = lines, findings
        self.characters, self.number, self.reported = 0, 0, False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self.lines)
        self.number += 1
        self.characters += len(line)
        if self.characters > LINE_BYTES:
            raise csv.Error("limit of a record")
        if "\0" not in line:
            return line
        if not self.reported:
            message = "Die Zeile enthält NUL-Zeichen (vermutlich ist die Datei in UTF-16 gespeichert)"
            self.findings.add("datei_lesbar", message, "reiner Text", line=self.number)
            self.reported = True
        return line.replace("\0", "")


def _decodable(path: Path, form: Format, findings: Findings) -> bool:
    """Find wrong encodings by their bytes, before any cell is read."""
    if path.stat().st_size == 0:
        findings.add("datei_leer", "Die Datei ist leer (0 Bytes)", "Kopfzeile und Daten")
        return False
    if path.stat().st_size > TEXT_BYTES:
        message = f"Die Datei ist {path.stat().st_size // MEGABYTE} MB groß"
        findings.add("datei_zu_gross", message, f"höchstens {TEXT_BYTES // MEGABYTE} MB")
        return False
    with path.open("rb") as file:
        if other_kind(file.read(4), form, findings):
            return False
        file.seek(0)
        if _all_readable(file, form):
            return True
        file.seek(0)
        for number, raw in enumerate(_lines(file), 1):
            if len(raw) > LINE_BYTES:
                message = f"Die Zeile ist länger als {LINE_BYTES // MEGABYTE} MB"
                findings.add("datei_lesbar", message, "eine Zeile je Datensatz", line=number)
                return False
            if not raw.isascii() and not _readable(raw, number, form, findings):
                return False
    return True


def _all_readable(file: BinaryIO, form: Format) -> bool:
    """Whether all is in the declared encoding, seen in blocks; if not, the lines are looked at one by one."""
    while block := file.read(LINE_BYTES) + file.readline(LINE_BYTES):
        try:
            text = "" if block.isascii() else block.decode(form.encoding)
        except UnicodeDecodeError:
            return False
        if looks_damaged(text) or not short_lines(block):
            return False
    return True


def short_lines(block: bytes) -> bool:
    """Whether no line is longer than a cell may be."""
    start = 0
    while len(block) - start > CELL_CHARACTERS:
        start = block.rfind(b"\n", start, start + CELL_CHARACTERS) + 1
        if not start:
            return False
    return True


def other_kind(start: bytes, form: Format, findings: Findings) -> bool:
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
    rest = b""
    while block := file.readline(LINE_BYTES + 1):
        if not rest and (b"\r" not in block.rstrip(b"\r\n") or len(block) <= LINE_BYTES):
            yield from block.splitlines() if b"\r" in block.rstrip(b"\r\n") else (block,)
            continue
        *lines, rest = (rest + block).splitlines(keepends=True)  # the last line may go on in the next block
        yield from lines
        if len(rest) > LINE_BYTES:
            break
    if rest:
        yield rest
