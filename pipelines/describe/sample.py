"""Reads the beginning and the end of a file, whatever its kind, so that a large one is described in seconds."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from pipelines.describe.paper import Notes
from pipelines.intake.failures import Findings, shown
from pipelines.intake.limits import CELL_CHARACTERS
from pipelines.intake.tables import Merged, Row
from schemas.documents import Format, Workbook

RECORDS = 5000
"""Records that are looked at from the beginning."""
HEAD_BYTES = 8 * 1024 * 1024
TAIL_BYTES = 64 * 1024
DELIMITERS = ";\t|,"
"""Most probable first: a comma also stands in numbers and texts."""
_WIDE_BOMS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16"}
_WIDE_BOMS[codecs.BOM_UTF16_BE] = "utf-16"
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_DIGIT = re.compile("[0-9]")
_NON_ASCII = re.compile(r"\S*[^\x00-\x7f]+\S*")
Encoding = Literal["utf-8", "latin-1", "cp1252"]


class Unreadable(Exception):
    """Nothing can be said about the file; the text is a German sentence."""


@dataclass(frozen=True)
class Sheet:
    """Lines of a text file, or of one sheet of a workbook. `tail` holds the last lines if not all were read."""

    rows: list[Row]
    name: str = ""
    merged: Merged = ()
    tail: list[Row] = field(default_factory=list)
    complete: bool = True


@dataclass(frozen=True)
class Sample:
    """What was read of a file."""

    name: str
    sheets: list[Sheet]
    workbook: bool
    encoding: Encoding = "utf-8"
    delimiter: str = ";"


def read_sample(path: Path, notes: Notes) -> Sample:
    """Read the beginning and the end of a file.

    Raises:
        Unreadable: the file is absent, empty, or neither text nor workbook.
    """
    if not path.is_file():
        raise Unreadable(f"{path}: die Datei gibt es nicht")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            more = bool(file.read(1))
            tail = _tail(path, file) if more else b""
        if head.startswith(_WORKBOOKS):
            return Sample(path.name, _sheets(path, notes), True)
    except OSError as error:
        raise Unreadable(f"{path}: nicht lesbar ({error.strerror or type(error).__name__})") from error
    if not head.strip(b"\xef\xbb\xbf \t\r\n"):
        raise Unreadable(f"{path}: die Datei ist leer")
    return _text_sample(path, head, tail, more, notes)


def _tail(path: Path, file: io.BufferedReader) -> bytes:
    file.seek(max(HEAD_BYTES, path.stat().st_size - TAIL_BYTES))
    return file.read()


# ---------------------------------------------------------------- text


def _text_sample(path: Path, head: bytes, tail: bytes, more: bool, notes: Notes) -> Sample:
    if more:
        head, tail = head[: head.rfind(b"\n") + 1] or head, tail.partition(b"\n")[2]
    encoding = _encoding(head, tail, notes)
    text, end = _decoded(head, encoding), _decoded(tail, encoding)
    if "\0" in text:
        if text.count("\0") > len(text) / 10:
            raise Unreadable(f"{path}: das ist weder ein Text (CSV) noch eine Arbeitsmappe")
        notes.doubt("format", "Die Datei enthält NUL-Zeichen; damit wird die Lieferung zurückgewiesen")
        text = text.replace("\0", "")
    hint = re.match(r"sep=([^\r\n])\r?\n", text)
    delimiter = hint[1] if hint else _delimiter(text)
    rows, complete = _records(text, delimiter, notes)
    complete = complete and not more
    last = [] if complete else list(_parsed(end or text[-TAIL_BYTES:].partition("\n")[2], delimiter, strict=False))
    _broken_umlauts(rows, notes)
    if not complete:
        notes.fact("file", f"Angesehen sind nur die ersten {len(rows)} Sätze und das Ende der Datei.")
    sheet = Sheet(rows[1:] if hint else rows, tail=last, complete=complete)
    accepted: Encoding = encoding if encoding in ("cp1252", "latin-1") else "utf-8"
    return Sample(path.name, [sheet], False, accepted, delimiter)


def _encoding(head: bytes, tail: bytes, notes: Notes) -> Literal["utf-8", "latin-1", "cp1252", "utf-16", "utf-32"]:
    """The encoding the bytes are in; also those that the readers refuse, so that the rest can be described."""
    wide = next((name for bom, name in _WIDE_BOMS.items() if head.startswith(bom)), None)
    if wide is not None:
        notes.doubt(
            "format", f"Die Datei ist in {wide.upper()} gespeichert; angenommen wird nur UTF-8, cp1252, latin-1"
        )
        return "utf-16" if wide == "utf-16" else "utf-32"
    odd = [line for line in (head + b"\n" + tail).splitlines() if not line.isascii()]
    whole = [line for line in odd if _is_utf8(line)]
    if head.startswith(codecs.BOM_UTF8):
        notes.fact("format", "UTF-8 mit Kennung am Anfang (BOM); sie stört nicht.")
    if len(whole) == len(odd):
        return "utf-8"
    if len(whole) > len(odd) / 2:
        broken = shown(next(line for line in odd if not _is_utf8(line)).decode("cp1252", "replace"), 60)
        text = f"Die Datei mischt Zeichensätze: UTF-8, aber {len(odd) - len(whole)} Zeilen sind es nicht (»{broken}«)"
        notes.doubt("format", text + "; damit wird die Lieferung zurückgewiesen")
        return "utf-8"
    try:
        b"".join(odd).decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _decoded(raw: bytes, encoding: str) -> str:
    return raw.decode("utf-8-sig" if encoding == "utf-8" else encoding, "replace")


def _delimiter(text: str) -> str:
    """The mark that cuts most lines into the same number of cells, above all the heading, which holds no figures."""
    best, best_score = ";", 0.0
    for mark in DELIMITERS:
        rows = [row for row in islice(_parsed(text, mark, strict=False), 300) if not row.blank()]
        widths = [len(row.cells) for row in rows]
        usual = max(set(widths), key=lambda width: (width > 1, widths.count(width), width), default=1)
        if usual == 1:
            continue
        headed = any(len(row.cells) == usual and not _DIGIT.search("".join(row.cells)) for row in rows)
        score = widths.count(usual) / len(widths) + (0.2 if headed else 0)
        if score > best_score + 0.1:
            best, best_score = mark, score
    return best


def _records(text: str, delimiter: str, notes: Notes) -> tuple[list[Row], bool]:
    """The first records, and whether these are all."""
    try:
        rows = list(islice(_parsed(text, delimiter, strict=True), RECORDS + 1))
    except csv.Error as error:
        if "limit" in str(error):
            raise Unreadable(f"Eine Zelle der Datei ist länger als {CELL_CHARACTERS} Zeichen") from error
        notes.doubt("format", "Ein Anführungszeichen steht falsch; damit wird die Lieferung zurückgewiesen")
        rows = list(islice(_parsed(text, delimiter, strict=False), RECORDS + 1))
    return rows[:RECORDS], len(rows) <= RECORDS


def _parsed(text: str, delimiter: str, strict: bool) -> Iterator[Row]:
    csv.field_size_limit(CELL_CHARACTERS)
    whole = strict or text.count('"') % 2 == 0
    lines = io.StringIO(text, newline="")
    if whole:
        reader = csv.reader(lines, delimiter=delimiter, strict=strict)
    else:
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    line = 1
    try:
        for cells in reader:
            yield Row(line, cells)
            line = reader.line_num + 1
    except csv.Error:
        if strict:
            raise


def _broken_umlauts(rows: list[Row], notes: Notes) -> None:
    """Umlauts that were read with a wrong encoding once before, and control characters: the first of each."""
    seen: set[str] = set()
    for row in rows:
        for cell in row.cells:
            found = "" if cell.isprintable() and cell.isascii() else _broken(cell)
            kind = found.partition(" (")[0]
            if found and kind not in seen:
                seen.add(kind)
                notes.doubt("format", f"{found}, zuerst Zeile {row.line})")


def _broken(cell: str) -> str:
    """What is broken in a cell, up to the place; '' if nothing is."""
    word = _NON_ASCII.search(cell)
    if word and (meant := _repaired(word[0])):
        meaning = f"»{shown(word[0], 40)}«, gemeint ist vermutlich »{shown(meant, 40)}«"
        return f"Umlaute sind zerstört, damit wird die Lieferung zurückgewiesen ({meaning}"
    if "\ufffd" in cell:
        return f"Umlaute sind zerstört, damit wird die Lieferung zurückgewiesen (»{shown(cell, 40)}«"
    if any(unicodedata.category(sign) == "Cc" and sign not in "\t\r\n" for sign in cell):
        return f"Im Text stehen unsichtbare Steuerzeichen (»{shown(cell, 40)}«"
    return ""


def _repaired(word: str) -> str | None:
    """The word that was meant, if it is UTF-8 read as Windows-1252."""
    for encoding in ("cp1252", "latin-1"):
        try:
            meant = word.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        if meant != word and meant.isprintable():
            return meant
    return None


# ---------------------------------------------------------------- workbooks


def _sheets(path: Path, notes: Notes) -> list[Sheet]:
    """All sheets of a workbook, read by the same reader as a delivery."""
    from pipelines.intake.workbook import open_sheets  # the Excel reader loads only when there is a workbook

    findings = Findings()
    sheets = []
    for opened in open_sheets(path, Workbook(sheets=["*"]), Format(), findings):
        rows = list(islice(opened.rows, RECORDS + 1))
        sheets.append(Sheet(rows[:RECORDS], opened.name, opened.merged, [], len(rows) <= RECORDS))
        for _ in opened.rows:
            pass
    for failure in findings.kept:
        notes.doubt("workbook", failure.sentence())
    if not sheets:
        reason = findings.kept[0].message if findings.kept else "keine Blätter"
        raise Unreadable(f"{path}: als Arbeitsmappe nicht lesbar ({reason})")
    return sheets
