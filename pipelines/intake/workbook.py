"""Reads the sheets of workbooks (xls, xlsx, xlsb, ods); a defect of the file becomes a finding, never an exception.

python-calamine decodes the cells. It trusts what a file says of itself: a cell in the far corner, a wrong count or a
circular list of sectors ends the whole process for lack of memory, and errors (#REF!) as well as formulas without a
result come out as empty cells. So every file is first walked through here, with memory that does not depend on what
it claims, and calamine gets a fresh container with only those parts that were looked at. The walk also finds formulas,
merged cells, links to other files and the texts of errors, which calamine does not tell.

What decides is the content, not the file's name. Nothing is unpacked to disk, no link is followed, no macro is run
(macros are not even handed on). Where a program wrote formulas without calculating them, this is noticed: in xlsx and
ods if the result is missing, or is 0 in a file that asks to be calculated on opening; in xls if no formula of the file
has a result, or results are 0 and the file says that it was not calculated; in xlsb never (a result is always there).
"""

from __future__ import annotations

import datetime as dt
import math
import posixpath
import re
import struct
import zipfile
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from xml.parsers import expat

from python_calamine import CalamineSheet, CalamineWorkbook

from pipelines.intake.failures import Findings, column_letters, shown
from pipelines.intake.limits import (
    CELL_CHARACTERS,
    MEGABYTE,
    SHEET_CELLS,
    UNPACKED_BYTES,
    UNPACKED_FILES,
    WORKBOOK_BYTES,
)
from pipelines.intake.tables import Row, reads_like
from schemas.documents import Format, Workbook
from schemas.yaml_source import nearest

T = TypeVar("T")

_ROWS, _COLUMNS = 1_048_576, 16_384
"""Size of a sheet in Excel and LibreOffice."""
NO_VALUE = "#OHNE WERT"
"""Text of a cell whose formula was never calculated: it must not pass for an empty cell."""
_PLACES = 1_000_000
"""Errors, and merged areas, that are kept in memory."""
_SHOWN = 5
"""Places or names listed in a sentence; the others are counted."""
_DEEPEST = 200
"""Elements within each other in an XML part."""
_CHUNK = 4 * MEGABYTE
"""Large on purpose: expat reads an unfinished token from its beginning again with every chunk."""
_ANY_WORKBOOK = "eine Arbeitsmappe (xlsx, xls, xlsb oder ods)"


@dataclass(frozen=True)
class Sheet:
    """One sheet; its rows must be used up before the next sheet is asked for.

    `rows` begin with line 1 and column A, blank ones included, all of one width. `merged` holds first row, first
    column, last row and last column of merged areas, counted from 1.
    """

    name: str
    rows: Iterator[Row]
    merged: list[tuple[int, int, int, int]]


def open_sheets(path: Path, workbook: Workbook, form: Format, findings: Findings) -> Iterator[Sheet]:
    """Yield the declared sheets in the workbook's order; of xlsx and xlsb one sheet is held in memory at a time.

    (calamine decodes all sheets of an xls or ods file at once; there the limit of a sheet holds for all together.)

    Cells become text as in a text file: numbers in their shortest exact form with `form.decimal` as decimal mark, days
    as 2002-06-30, moments as 2002-06-30 14:00, times as 14:00, truth values as WAHR and FALSCH, errors as #REF!.
    `findings.sheet` is the sheet's name until the next one is asked for.
    """

    def wanted(name: str) -> bool:
        return any(reads_like(name, pattern) for pattern in workbook.sheets)

    try:
        book = _open(path, wanted)
    except _Unreadable as defect:
        defect.note(findings)
        return
    _report_missing(book, workbook, findings)
    if book.links:
        message = f"Die Arbeitsmappe enthält Verknüpfungen nach außen: {_listed(book.links)}"
        findings.add("verknuepfung", message, "Werte statt Verknüpfungen")
    for entry in book.entries:
        if entry.table and wanted(entry.name):
            findings.sheet = entry.name
            try:
                yield from _read(book, entry, form, findings)
            finally:
                findings.sheet = ""


# ---------------------------------------------------------------- what is known of a file


class _Unreadable(Exception):
    """The file, or one sheet, cannot be read; becomes a finding."""

    def __init__(self, rule: str, message: str, expected: str = "", row: int = -1, column: int = -1) -> None:
        """Keep the finding; row and column count from 0."""
        super().__init__(message)
        self.finding = (rule, message, expected or "eine Datei, die sich in Excel ohne Meldung öffnen lässt")
        self.row, self.column = row, column
        self.sheet: str | None = None

    def note(self, findings: Findings) -> None:
        findings.add(*self.finding, line=self.row + 1, column=self.column + 1, sheet=self.sheet)


def _damaged(what: str, row: int = -1, column: int = -1) -> _Unreadable:
    return _Unreadable("datei_lesbar", f"Die Datei ist beschädigt: {what}", "", row, column)


def _technical(error: BaseException) -> str:
    return f"(technisch: {shown(str(error)) or type(error).__name__})"


def _protected() -> _Unreadable:
    return _Unreadable("datei_lesbar", "Die Datei ist mit einem Kennwort geschützt", "eine Datei ohne Kennwort")


def _too_big(what: str, expected: str) -> _Unreadable:
    return _Unreadable("datei_zu_gross", what, expected)


@dataclass
class _Places:
    """Some cells of a sheet: the first few by name, all by number."""

    count: int = 0
    first: list[tuple[int, int]] = field(default_factory=list)

    def add(self, row: int, column: int, count: int = 1) -> None:
        self.count += count
        if len(self.first) < _SHOWN:
            self.first.append((row, column))

    def sentence(self, what: str) -> str:
        cells = "1 Zelle" if self.count == 1 else f"{self.count} Zellen"
        more = " …" if self.count > len(self.first) else ""
        return f"{cells} {what} ({', '.join(_name(*place) for place in self.first)}{more})"


@dataclass
class _Facts:
    """What calamine does not tell of a sheet. Rows and columns count from 0."""

    last_row: int = -1
    last_column: int = -1
    cells: int = 0
    characters: int = 0
    formulas: _Places = field(default_factory=_Places)
    uncalculated: _Places = field(default_factory=_Places)
    corrected: int = 0
    instead: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    """Row -> columns and the texts that stand there, where calamine returns something else."""
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)

    def fill(self, row: int, column: int, length: int = 0, count: int = 1) -> None:
        """Note cells with content; `row` and `column` are the last of `count` equal ones, `length` their text's."""
        self.cells += count
        self.characters += length * count
        if row > self.last_row or column > self.last_column or self.cells > SHEET_CELLS:
            self._grow(row, column)
        if length > CELL_CHARACTERS:
            expected = f"Zellen unter {CELL_CHARACTERS} Zeichen"
            raise _Unreadable("datei_lesbar", "Eine Zelle ist überlang", expected, row, column)
        if self.characters > UNPACKED_BYTES:
            message = f"Die Texte des Blattes sind zusammen größer als {UNPACKED_BYTES // MEGABYTE} MB"
            raise _too_big(message, "ein Blatt ohne lange Texte in vielen Zellen")

    def _grow(self, row: int, column: int) -> None:
        if row >= _ROWS or column >= _COLUMNS:
            raise _damaged(f"eine Zelle liegt außerhalb des Blattes (Zeile {row + 1}, Spalte {column + 1})")
        self.last_row, self.last_column = max(row, self.last_row), max(column, self.last_column)
        if self.area() > SHEET_CELLS or self.cells > SHEET_CELLS:
            corner = _name(self.last_row, self.last_column)
            message = f"Das Blatt reicht bis Zelle {corner}, das sind mehr als {SHEET_CELLS} Zellen"
            raise _too_big(message, "ein Blatt ohne vergessene Eingaben weit rechts oder unten")

    def area(self) -> int:
        return (self.last_row + 1) * (self.last_column + 1)

    def replace(self, row: int, column: int, text: str) -> None:
        self.corrected += 1
        if self.corrected > _PLACES:
            raise _too_big(f"Das Blatt enthält mehr als {_PLACES} Fehlerwerte", "Werte statt Fehlermeldungen")
        self.instead.setdefault(row, []).append((column, text))

    def formula(self, row: int, column: int, calculated: bool) -> None:
        self.formulas.add(row, column)
        if not calculated:
            self.uncalculated.add(row, column)
            self.fill(row, column)
            self.replace(row, column, NO_VALUE)

    def merge(self, top: int, left: int, bottom: int, right: int) -> None:
        if len(self.merged) >= _PLACES:
            raise _too_big(
                f"Das Blatt enthält mehr als {_PLACES} verbundene Bereiche", "eine Tabelle ohne Verbindungen"
            )
        self.merged.append((top + 1, left + 1, bottom + 1, right + 1))


@dataclass
class _Entry:
    """A sheet as listed in the workbook; `table` is false for charts, macro sheets and caches of other files."""

    name: str
    table: bool = True
    hidden: bool = False
    part: str = ""
    facts: _Facts = field(default_factory=_Facts)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Whatever is wrong meanwhile is wrong with this sheet."""
    try:
        yield
    except _Unreadable as defect:
        defect.sheet = name
        raise


def _distinct(entries: list[_Entry]) -> list[_Entry]:
    """Excel and LibreOffice know no two sheets of one name, nor two that share their cells."""
    for name, count in Counter(entry.name for entry in entries).items():
        if count > 1:
            raise _damaged(f"zwei Blätter heißen »{shown(name)}«")
    if max(Counter(entry.part for entry in entries if entry.part).values(), default=0) > 1:
        raise _damaged("zwei Blätter haben denselben Inhalt")
    return entries


@dataclass
class _Book:
    """A file that was walked through, ready to be read."""

    entries: list[_Entry]
    links: list[str]
    content: bytes = b""
    """A container for calamine with the parts that are needed."""
    reader: CalamineWorkbook | None = None


def _name(row: int, column: int) -> str:
    return f"{column_letters(column + 1)}{row + 1}"


def _listed(names: Iterable[str], most: int = _SHOWN) -> str:
    unique = list(dict.fromkeys(f"»{shown(name)}«" for name in names))
    more = f" und {len(unique) - most} weitere" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more


# ---------------------------------------------------------------- from file to sheets


def _open(path: Path, wanted: Callable[[str], bool]) -> _Book:
    """Walk through a file and open what is left of it; raises `_Unreadable`."""
    size = path.stat().st_size
    if size == 0:
        raise _Unreadable("datei_leer", "Die Datei ist leer (0 Bytes)", _ANY_WORKBOOK)
    if size > WORKBOOK_BYTES:
        message = f"Die Datei hat {size // MEGABYTE} MB"
        raise _too_big(message, f"eine Arbeitsmappe bis {WORKBOOK_BYTES // MEGABYTE} MB")
    try:
        book = _walked(path, path.read_bytes(), wanted)
    except (struct.error, LookupError, ValueError, OverflowError) as error:
        # Numbers in the file that lead nowhere; also an encoding that does not exist.
        raise _damaged(f"unmögliche Angaben {_technical(error)}") from None
    if book.reader is None and any(entry.table and wanted(entry.name) for entry in book.entries):
        book.reader = _load(book.content)
        book.content = b""
    return book


def _walked(path: Path, data: bytes, wanted: Callable[[str], bool]) -> _Book:
    if data.startswith(_OLE):
        return _xls(data)
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _from_archive(_Archive(data), wanted)
    raise _other_kind(_kind_of(data), path)


def _load(content: bytes) -> CalamineWorkbook:
    return _guarded(lambda: CalamineWorkbook.from_filelike(BytesIO(content)))


def _guarded(call: Callable[[], T]) -> T:
    """Result of a call into calamine; whatever it throws means that the file is not readable."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # noqa: BLE001 - a Rust panic is a BaseException without an importable class
        raise _damaged(f"das Lesen brach ab {_technical(error)}") from None


def _report_missing(book: _Book, workbook: Workbook, findings: Findings) -> None:
    """A finding for every declared sheet that is not there."""
    tables = [entry.name for entry in book.entries if entry.table]
    for pattern in workbook.sheets:
        if any(reads_like(name, pattern) for name in tables):
            continue
        message = f"Kein Tabellenblatt heißt »{pattern}«"
        if any(reads_like(entry.name, pattern) for entry in book.entries):
            message += " (ein Blatt dieses Namens enthält keine Tabelle)"
        elif near := nearest(pattern, tables):
            message += f"; am ähnlichsten ist »{shown(near[0])}«"
        present = f"vorhanden: {_listed(tables, 20)}" if tables else "die Datei enthält kein Tabellenblatt"
        findings.add("blatt_fehlt", message, f"ein Blatt »{pattern}« ({present})")


def _read(book: _Book, entry: _Entry, form: Format, findings: Findings) -> Iterator[Sheet]:
    """Yield the sheet, or nothing (and a finding) if calamine cannot read it."""
    reader, facts = book.reader, entry.facts
    if reader is None:
        return
    if entry.hidden:
        message = "Das Blatt ist ausgeblendet; es wurde trotzdem gelesen"
        findings.add("blatt_versteckt", message, "nur eingeblendete Blätter")
    if facts.formulas.count:
        row, column = facts.formulas.first[0]
        message = facts.formulas.sentence("mit Formeln")
        findings.add("formel", message, "Werte statt Formeln", line=row + 1, column=column + 1)
    if facts.uncalculated.count:
        row, column = facts.uncalculated.first[0]
        message = facts.uncalculated.sentence("mit Formeln, deren Ergebnis nie berechnet wurde")
        expected = "gespeicherte Ergebnisse (die Datei in Excel öffnen und speichern)"
        findings.add("datei_lesbar", message, expected, line=row + 1, column=column + 1)
    try:
        sheet = _guarded(lambda: reader.get_sheet_by_name(entry.name))
    except _Unreadable as defect:
        defect.note(findings)
        return
    yield Sheet(entry.name, _rows(sheet, entry, form, findings), sorted(facts.merged))


def _rows(sheet: CalamineSheet, entry: _Entry, form: Format, findings: Findings) -> Iterator[Row]:
    """Rows from line 1 and column A on."""
    before, findings.sheet = findings.sheet, entry.name
    try:
        start, end, instead = sheet.start or (0, 0), sheet.end or (-1, -1), entry.facts.instead
        last_row = max([end[0], *instead])
        corrected = (column for cells in instead.values() for column, _ in cells)
        width = max(end[1], max(corrected, default=-1)) + 1
        left, right = [""] * start[1], [""] * (width - 1 - end[1])
        kinds = _converters(form.decimal)
        rows = iter(sheet.iter_rows())
        for number in range(last_row + 1):
            values = _guarded(lambda: next(rows, None))
            cells = (
                [""] * width
                if values is None
                else left + [kinds.get(type(value), str)(value) for value in values] + right
            )
            for column, text in instead.get(number, ()):
                cells[column] = text
            yield Row(number + 1, cells)
    except _Unreadable as defect:
        defect.note(findings)
    finally:
        findings.sheet = before


def _converters(decimal: str) -> dict[type, Callable[[Any], str]]:
    """How a cell becomes text, by its type."""
    return {
        str: str,
        float: lambda value: _number(value).replace(".", decimal),
        int: str,
        bool: lambda value: "WAHR" if value else "FALSCH",
        dt.date: dt.date.isoformat,
        dt.datetime: lambda value: f"{value.date()} {_time(value)}".removesuffix(" 00:00"),
        dt.time: _time,
        dt.timedelta: _duration,
    }


def _number(value: float) -> str:
    """Shortest digits that give the same number again, without exponent."""
    if not math.isfinite(value):
        return "#NUM!"
    text = repr(value)
    if "e" in text:
        text = format(Decimal(text), "f")
    return "0" if value == 0 else text.removesuffix(".0")


def _time(value: dt.time | dt.datetime) -> str:
    return f"{value:%H:%M:%S}" if value.second else f"{value:%H:%M}"


def _duration(value: dt.timedelta) -> str:
    minutes, seconds = divmod(round(abs(value).total_seconds()), 60)
    sign = "-" if value < dt.timedelta(0) else ""
    return f"{sign}{minutes // 60}:{minutes % 60:02}" + (f":{seconds:02}" if seconds else "")


# ---------------------------------------------------------------- files that are no workbooks

_HTML = re.compile(
    r"\s*(<\?xml[^>]*>\s*)?(<!--((?!-->).)*-->\s*)*<(!doctype\s+html|html|head|meta|body|style|table|div)\b", re.S
)
_SUFFIXES = (".xls", ".xlsx", ".xlsm", ".xlsb", ".ods")


def _other_kind(kind: str, path: Path) -> _Unreadable:
    suffix = path.suffix.lower()
    although = f", obwohl ihr Name auf {suffix} endet" if suffix in _SUFFIXES else ""
    return _Unreadable("dateiart", f"Die Datei ist {kind}{although}", f"{_ANY_WORKBOOK}, in Excel gespeichert")


def _kind_of(data: bytes) -> str:
    """What a file is that is neither an archive nor an OLE file."""
    start = data[:4096]
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = start.decode(encoding, "replace").lower()
    if "schemas-microsoft-com:office:spreadsheet" in text and "<?xml" in text:
        return "eine XML-Kalkulationstabelle (Excel 2003)"
    if _HTML.match(text):
        return "eine HTML-Tabelle (Webseite)"
    if "office:document" in text and "<?xml" in text:
        return "ein OpenDocument in einer einzigen XML-Datei"
    begins = {"mime-version:": "ein Webarchiv", "%pdf": "ein PDF", "{\\rtf": "ein RTF-Text", "<?xml": "eine XML-Datei"}
    for beginning, kind in begins.items():
        if text.lstrip().startswith(beginning):
            return kind
    if start[:2] in (b"\t\x00", b"\t\x02", b"\t\x04", b"\t\x08"):
        return "eine Excel-Datei aus der Zeit vor Excel 5"
    if "\0" not in text:
        return "eine Textdatei (CSV)"
    return "keine Arbeitsmappe"


def _kind_of_archive(names: list[str]) -> str:
    if any(name.startswith("word/") for name in names):
        return "ein Word-Dokument"
    if any(name.startswith("ppt/") for name in names):
        return "eine Präsentation"
    if any(name.endswith((*_SUFFIXES, ".csv")) for name in names):
        return "ein ZIP-Archiv, in dem erst die Tabelle liegt"
    return "ein ZIP-Archiv und keine Arbeitsmappe"


# ---------------------------------------------------------------- archives


class _Archive:
    """The parts of a zip file, read within the limits whatever its headers say."""

    def __init__(self, data: bytes) -> None:
        # Counted before the list is read: a list of millions of parts would itself need gigabytes.
        if data.count(b"PK\x01\x02") > UNPACKED_FILES:
            raise _too_big(f"Die Datei besteht aus mehr als {UNPACKED_FILES} Teilen", "eine Arbeitsmappe ohne Ballast")
        self.left = UNPACKED_BYTES
        self.zip = self._try(lambda: zipfile.ZipFile(BytesIO(data)))
        self.parts: dict[str, zipfile.ZipInfo] = {}
        for info in self.zip.infolist():
            name = info.filename.replace("\\", "/").lstrip("/").lower()
            if name in self.parts:
                raise _damaged(f"der Teil »{shown(name)}« kommt zweimal vor")
            self.parts[name] = info
        if sum(info.file_size for info in self.parts.values()) > UNPACKED_BYTES:
            raise self._bomb()

    @staticmethod
    def _bomb() -> _Unreadable:
        size = UNPACKED_BYTES // MEGABYTE
        return _too_big(f"Die Datei ist entpackt größer als {size} MB", f"eine Arbeitsmappe bis {size} MB entpackt")

    @staticmethod
    def _try(call: Callable[[], T]) -> T:
        try:
            return call()
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error) as error:
            what = "unvollständig oder verändert, vielleicht brach die Übertragung ab"
            raise _damaged(f"{what} {_technical(error)}") from None

    def has(self, name: str) -> bool:
        return name.lower() in self.parts

    def chunks(self, name: str) -> Iterator[bytes]:
        """Content of a part."""
        info = self.parts.get(name.lower())
        if info is None:
            raise _damaged(f"der Teil »{shown(name)}« fehlt")
        if info.flag_bits & 1:
            raise _protected()
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _damaged(f"der Teil »{shown(name)}« ist auf unbekannte Weise gepackt")
        with self._try(lambda: self.zip.open(info)) as file:
            while chunk := self._try(lambda: file.read(_CHUNK)):
                self.left -= len(chunk)
                if self.left < 0:
                    raise self._bomb()
                yield chunk

    def walk(self, name: str, look: _Xml) -> None:
        """Show an XML part to a parser."""
        for chunk in self.chunks(name):
            look.feed(chunk)
        look.feed(b"", last=True)

    def take(self, name: str, into: zipfile.ZipFile, look: _Xml | None = None) -> None:
        """Copy a part and show it to a parser on the way."""
        info = self.parts.get(name.lower())
        with into.open(info.filename if info else name, "w") as file:
            for chunk in self.chunks(name):
                file.write(chunk)
                if look is not None:
                    look.feed(chunk)
        if look is not None:
            look.feed(b"", last=True)


class _Xml:
    """Walks through one XML part; what is built into XML to blow it up or to reach out is refused."""

    def __init__(self) -> None:
        self.depth = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, chunk: bytes, last: bool = False) -> None:
        try:
            self.parser.Parse(chunk, last)
        except expat.ExpatError as error:
            raise _damaged(f"ungültiges XML {_technical(error)}") from None

    def _doctype(self, *_: object) -> None:
        raise _damaged("sie enthält eine Dokumenttyp-Vereinbarung (DOCTYPE), was in Arbeitsmappen nicht erlaubt ist")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _damaged(f"mehr als {_DEEPEST} Elemente ineinander")
        self.start(name, attributes)

    def _end(self, name: str) -> None:
        self.depth -= 1
        self.end(name)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins; `name` as written, with prefix."""

    def end(self, name: str) -> None:
        """An element ends."""


def _local(name: str) -> str:
    return name.rpartition(":")[2] if ":" in name else name


def _int(text: str, what: str) -> int:
    """A number of at most ten digits, not negative."""
    if not re.fullmatch("[0-9]{1,10}", text, re.ASCII):
        raise _damaged(f"{what} »{shown(text)}«")
    return int(text)


def _from_archive(archive: _Archive, wanted: Callable[[str], bool]) -> _Book:
    """Which kind of workbook an archive is, by its content."""
    if archive.has("mimetype"):
        kind = b"".join(archive.chunks("mimetype"))[:200].decode("ascii", "replace")
        if kind.startswith("application/vnd.oasis.opendocument.spreadsheet"):
            return _ods(archive)
        raise _other_kind("ein OpenDocument, aber keine Tabelle", Path())
    if archive.has("_rels/.rels"):
        links = _Relations()
        archive.walk("_rels/.rels", links)
        main = next((link.path("") for link in links.all if link.kind == "officeDocument"), "")
        if main.lower().endswith(".bin") and not _other_office(main):
            return _xlsb(archive, main, wanted)
        if main and not _other_office(main):
            return _xlsx(archive, main, wanted)
    raise _other_kind(_kind_of_archive(list(archive.parts)), Path())


def _other_office(main: str) -> bool:
    return main.lower().startswith(("word/", "ppt/", "visio/"))


# ---------------------------------------------------------------- xlsx


@dataclass(frozen=True)
class _Relation:
    """A link from one part of an Office file to another part or to the outside."""

    id: str
    kind: str
    target: str

    def path(self, folder: str) -> str:
        """Name of the part that is linked from a part in `folder`."""
        target = self.target.replace("\\", "/")
        return target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))


class _Relations(_Xml):
    """The links of a part, from its .rels file."""

    def __init__(self) -> None:
        super().__init__()
        self.all: list[_Relation] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if _local(name) == "Relationship":
            kind = attributes.get("Type", "").rpartition("/")[2]
            self.all.append(_Relation(attributes.get("Id", ""), kind, attributes.get("Target", "")))


class _BookXml(_Xml):
    """xl/workbook.xml: the sheets in their order."""

    def __init__(self, relations: list[_Relation], folder: str) -> None:
        super().__init__()
        self.relations = {relation.id: relation for relation in relations}
        self.folder = folder
        self.entries: list[_Entry] = []
        self.stale = False

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if _local(name) == "sheet":
            key = next((value for attribute, value in attributes.items() if attribute.endswith(":id")), "")
            hidden = attributes.get("state", "visible") != "visible"
            self.entries.append(_entry(attributes.get("name", ""), hidden, self.relations.get(key), self.folder))
        elif _local(name) == "calcPr":
            self.stale = attributes.get("fullCalcOnLoad") in ("1", "true")


def _entry(name: str, hidden: bool, relation: _Relation | None, folder: str) -> _Entry:
    if relation is None:
        raise _damaged(f"das Blatt »{shown(name)}« fehlt")
    return _Entry(name, relation.kind == "worksheet", hidden, relation.path(folder))


class _StringsXml(_Xml):
    """xl/sharedStrings.xml: the length of each text."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths = array("L")
        self.length = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = _local(name)
        if name == "si":
            self.length = 0
        elif name == "t":
            self.parser.CharacterDataHandler = self.text
        elif name == "sst":
            # calamine sets memory aside for as many texts as are announced
            for count in (attributes.get("count", "0"), attributes.get("uniqueCount", "0")):
                _not_more(_int(count, "unmögliche Zahl von Texten"))

    def text(self, data: str) -> None:
        self.length += len(data)

    def end(self, name: str) -> None:
        name = _local(name)
        if name == "si":
            self.lengths.append(self.length)
            _not_more(len(self.lengths))
        elif name == "t":
            self.parser.CharacterDataHandler = None


def _not_more(texts: int) -> None:
    if texts > SHEET_CELLS:
        raise _too_big(f"Die Datei enthält mehr als {SHEET_CELLS} Texte", "eine kleinere Arbeitsmappe")


class _SheetXml(_Xml):
    """A worksheet: which cells are filled, and with what. Cells are placed as calamine places them."""

    def __init__(self, facts: _Facts, lengths: array[int], stale: bool) -> None:
        super().__init__()
        self.facts, self.lengths, self.stale = facts, lengths, stale
        self.row = self.cell_row = self.column = 0
        self.inside = False
        self.kind, self.formula, self.valued = "", False, False
        self.pieces: list[str] = []
        self.parser.StartCdataSectionHandler = self._unusual
        self.parser.CommentHandler = self._unusual

    def _unusual(self, *_: object) -> None:
        # calamine returns an empty or a cut cell for these
        if self.inside:
            raise _damaged("eine Zelle enthält XML, das kein Tabellenprogramm schreibt", self.cell_row, self.column)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = _local(name)
        if name == "c":
            self._cell(attributes)
        elif name == "row":
            if "r" in attributes:
                self.row = _int(attributes["r"], "unmögliche Zeilennummer") - 1
        elif name == "mergeCell":
            first, _, last = attributes.get("ref", "").partition(":")
            self.facts.merge(*_place(first), *_place(last or first))
        elif self.inside:
            self._content(name)

    def _cell(self, attributes: dict[str, str]) -> None:
        self.cell_row = self.row
        if "r" in attributes:
            self.cell_row, self.column = _place(attributes["r"])
        self.inside, self.kind = True, attributes.get("t", "n")
        self.formula = self.valued = False
        self.pieces.clear()

    def _content(self, name: str) -> None:
        if name in ("v", "is"):
            self.valued = True
        elif name == "f":
            self.formula = True
        if name in ("v", "t"):
            self.parser.CharacterDataHandler = self.pieces.append

    def end(self, name: str) -> None:
        name = _local(name)
        if name in ("v", "t"):
            self.parser.CharacterDataHandler = None
        elif name == "c":
            self._close()
            self.inside = False
            self.column += 1
        elif name == "row":
            self.row += 1
            self.column = 0

    def _close(self) -> None:
        text, row, column = "".join(self.pieces), self.cell_row, self.column
        if self.valued:
            self.facts.fill(row, column, self._length(text) if self.kind == "s" else len(text))
        if self.formula:
            calculated = self.valued and (bool(text) or self.kind == "str")
            if self.stale and self.kind == "n" and text in ("0", "0.0"):
                calculated = False
            self.facts.formula(row, column, calculated)
        if self.kind == "e" and self.valued:
            self.facts.replace(row, column, text)

    def _length(self, index: str) -> int:
        position = _int(index, "unmögliche Textnummer") if index else -1
        if position >= len(self.lengths):
            raise _damaged("der Text der Zelle fehlt", self.cell_row, self.column)
        return self.lengths[position] if index else 0


@cache
def _column(letters: str) -> int:
    """Number of a column, from 0; 0 letters and unknown signs give -1."""
    if not re.fullmatch("[A-Za-z]{1,3}", letters):
        return -1
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - 64
    return column - 1


def _place(name: str) -> tuple[int, int]:
    """Row and column of a cell's name, from 0."""
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    column = _column(letters) if len(letters) <= 3 else -1
    if column < 0 or not digits or len(digits) > 7 or digits[0] == "0":
        raise _damaged(f"die Zelle »{shown(name)}« gibt es nicht")
    return int(digits) - 1, column


def _relations_of(archive: _Archive, part: str) -> list[_Relation]:
    folder, name = posixpath.split(part)
    path = posixpath.join(folder, "_rels", f"{name}.rels")
    found = _Relations()
    if archive.has(path):
        archive.walk(path, found)
    return found.all


def _xlsx(archive: _Archive, main: str, wanted: Callable[[str], bool]) -> _Book:
    relations, folder = _relations_of(archive, main), posixpath.dirname(main)
    book, strings, content = _BookXml(relations, folder), _StringsXml(), BytesIO()
    with _fresh(content) as into:
        _take_common(archive, main, into)
        archive.take(main, into, book)
        for relation in relations:
            if relation.kind in ("styles", "sharedStrings") and archive.has(relation.path(folder)):
                archive.take(relation.path(folder), into, strings if relation.kind == "sharedStrings" else _Xml())
        for entry in _distinct(book.entries):
            if entry.table and wanted(entry.name):
                with _named(entry.name):
                    archive.take(entry.part, into, _SheetXml(entry.facts, strings.lengths, book.stale))
    return _Book(book.entries, _links(archive, relations, folder), content.getvalue())


def _fresh(content: BytesIO) -> zipfile.ZipFile:
    return zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1)


def _take_common(archive: _Archive, main: str, into: zipfile.ZipFile) -> None:
    folder, name = posixpath.split(main)
    for part in ("[Content_Types].xml", "_rels/.rels", posixpath.join(folder, "_rels", f"{name}.rels")):
        if archive.has(part):
            archive.take(part, into)


def _links(archive: _Archive, relations: list[_Relation], folder: str) -> list[str]:
    """Other workbooks, programs and databases that an Office file refers to."""
    found = []
    for relation in relations:
        path = relation.path(folder)
        if relation.kind == "externalLink":
            names = [link.target for link in _relations_of(archive, path)]
            found += names or _attributes(archive, path, "ddeLink", "ddeService", "ddeTopic")
        elif relation.kind == "connections":
            names = _attributes(archive, path, "connection", "name")
            found += [name for name in names if name != "ThisWorkbookDataModel"]  # inside the file itself
    return found


def _attributes(archive: _Archive, part: str, element: str, *attributes: str) -> list[str]:
    """Attributes of all elements of one name; the part's own name where it is not XML."""
    if not part.lower().endswith(".xml"):
        return [part]
    found: list[str] = []

    class Look(_Xml):
        def start(self, name: str, given: dict[str, str]) -> None:
            if _local(name) == element and any(attribute in given for attribute in attributes):
                found.append(" ".join(given.get(attribute, "") for attribute in attributes))

    archive.walk(part, Look())
    return found


# ---------------------------------------------------------------- xlsb

_ERRORS = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}
"""Errors in binary formats (MS-XLS 2.5.10, MS-XLSB 2.5.97.2)."""


def _records12(archive: _Archive, part: str, into: zipfile.ZipFile) -> Iterator[tuple[int, memoryview]]:
    """Kind and content of the records of a binary part (MS-XLSB 2.1.4); copies the part."""
    content, at = b"".join(archive.chunks(part)), 0
    into.writestr(part, content)
    data = memoryview(content)
    while at < len(data):
        kind, at = _packed(data, at, 2)
        length, at = _packed(data, at, 4)
        if at + length > len(data):
            raise _damaged(f"der Teil »{shown(part)}« bricht ab")
        yield kind, data[at : at + length]
        at += length


def _packed(data: memoryview, at: int, longest: int) -> tuple[int, int]:
    """A number of seven bits per byte, and where it ends."""
    number = 0
    for position in range(longest):
        byte = data[at + position]
        number |= (byte & 0x7F) << 7 * position
        if not byte & 0x80:
            return number, at + position + 1
    return number, at + longest


def _wide(data: memoryview, at: int) -> tuple[str, int]:
    """A text of 16-bit characters after its length, and where it ends."""
    (length,) = struct.unpack_from("<I", data, at)
    end = at + 4 + 2 * length
    return bytes(data[at + 4 : end]).decode("utf-16-le", "replace"), end


def _xlsb(archive: _Archive, main: str, wanted: Callable[[str], bool]) -> _Book:
    relations, folder = _relations_of(archive, main), posixpath.dirname(main)
    by_id = {relation.id: relation for relation in relations}
    entries, lengths, content = [], array("L"), BytesIO()
    with _fresh(content) as into:
        _take_common(archive, main, into)
        for kind, data in _records12(archive, main, into):
            if kind == 156:  # BrtBundleSh
                key, at = _wide(data, 8)
                entries.append(_entry(_wide(data, at)[0], data[0] != 0, by_id.get(key), folder))
        for relation in relations:
            if relation.kind == "styles" and archive.has(relation.path(folder)):
                archive.take(relation.path(folder), into)
            elif relation.kind == "sharedStrings" and archive.has(relation.path(folder)):
                lengths = _lengths12(_records12(archive, relation.path(folder), into))
        for entry in _distinct(entries):
            if entry.table and wanted(entry.name):
                with _named(entry.name):
                    _walk12(_records12(archive, entry.part, into), entry.facts, lengths)
    return _Book(entries, _links(archive, relations, folder), content.getvalue())


def _lengths12(records: Iterator[tuple[int, memoryview]]) -> array[int]:
    lengths = array("L")
    for kind, data in records:
        if kind == 19:  # BrtSSTItem
            lengths.append(struct.unpack_from("<I", data, 1)[0])
    return lengths


def _walk12(records: Iterator[tuple[int, memoryview]], facts: _Facts, lengths: array[int]) -> None:
    """Which cells of a worksheet are filled, and with what."""
    row = 0
    for kind, data in records:
        if kind == 0:  # BrtRowHdr
            (row,) = struct.unpack_from("<I", data)
        elif 2 <= kind <= 11 or kind == 62:  # cells and formulas with a value; 62 a text in several fonts
            (column,) = struct.unpack_from("<I", data)
            facts.fill(row, column, _length12(kind, data, lengths))
            if 8 <= kind <= 11:
                facts.formula(row, column, calculated=True)
            if kind in (3, 11):
                facts.replace(row, column, _ERRORS.get(data[8], "#N/A"))
            elif kind == 62:  # which calamine passes over
                facts.replace(row, column, _wide(data, 9)[0])
        elif kind == 176:  # BrtMergeCell
            top, bottom, left, right = struct.unpack_from("<4I", data)
            facts.merge(top, left, bottom, right)


def _length12(kind: int, data: memoryview, lengths: array[int]) -> int:
    if kind == 7:
        return lengths[struct.unpack_from("<I", data, 8)[0]]
    return len(data) // 2 if kind in (6, 8, 62) else 0


# ---------------------------------------------------------------- ods

_ODS_ERROR = re.compile(r"#[A-Z/0]+[!?]?|(Err|Fehler):[0-9]+")
_ODS_VALUES = ("office:value", "office:string-value", "office:date-value", "office:time-value", "office:boolean-value")


class _OdsXml(_Xml):
    """content.xml: all sheets. Names keep their usual prefixes, because calamine knows no others."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[_Entry] = []
        self.links: list[str] = []
        self.hidden: set[str] = set()
        self.style = ""
        self.row = self.column = 0
        self.row_repeats = 1
        self.tables = self.notes = 0
        self.cell: dict[str, str] | None = None
        self.text: list[str] = []

    def feed(self, chunk: bytes, last: bool = False) -> None:
        try:
            super().feed(chunk, last)
        except _Unreadable as defect:
            defect.sheet = self.entries[-1].name if self.tables else None
            raise

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "table:table":
            self.tables += 1
            if self.tables == 1:
                self._table(attributes)
        elif self.tables == 1 and name == "table:table-row":
            self.row_repeats, self.column = _repeats(attributes, "rows"), 0
        elif self.tables == 1 and name in ("table:table-cell", "table:covered-table-cell"):
            self.cell = attributes
            self.text.clear()
        elif self.cell is not None:
            self._content(name)
        else:
            self._around(name, attributes)

    def _table(self, attributes: dict[str, str]) -> None:
        name = attributes.get("table:name", "")
        self.row = 0
        # what LibreOffice keeps of other files is listed like a sheet
        own = not (name.startswith("'") and "'#" in name)
        self.entries.append(_Entry(name, own, attributes.get("table:style-name", "") in self.hidden))

    def _content(self, name: str) -> None:
        if name == "office:annotation":
            self.notes += 1
        elif name == "text:p" and not self.notes:
            if self.text:
                self.text.append("\n")
            self.parser.CharacterDataHandler = self.text.append

    def _around(self, name: str, attributes: dict[str, str]) -> None:
        if name == "style:style":
            self.style = attributes.get("style:name", "")
        elif name == "style:table-properties" and attributes.get("table:display") == "false":
            self.hidden.add(self.style)
        elif name in ("table:table-source", "table:cell-range-source"):
            self.links.append(attributes.get("xlink:href", ""))
        elif name == "office:dde-source":
            self.links.append(f"{attributes.get('office:dde-application')} {attributes.get('office:dde-topic')}")

    def end(self, name: str) -> None:
        if name == "table:table":
            self.tables -= 1
            if sum(entry.facts.area() for entry in self.entries) > SHEET_CELLS:
                raise _all_too_big()
        elif name == "office:annotation":
            self.notes -= 1
        elif name == "text:p":
            self.parser.CharacterDataHandler = None
        elif self.tables == 1 and name in ("table:table-cell", "table:covered-table-cell") and self.cell is not None:
            cell, self.cell = self.cell, None
            self._close(cell, _repeats(cell, "columns"))
        elif self.tables == 1 and name == "table:table-row":
            self.row += self.row_repeats

    def _close(self, cell: dict[str, str], repeats: int) -> None:
        facts, text = self.entries[-1].facts, "".join(self.text)
        top, left, rows = self.row, self.column, self.row_repeats
        self.column += repeats
        if any(f"table:number-{way}-spanned" in cell for way in ("columns", "rows")):
            facts.merge(
                top, left, top + _repeats(cell, "rows", "spanned") - 1, left + _repeats(cell, "columns", "spanned") - 1
            )
        instead = self._instead(cell, text)
        valued = any(key in cell for key in _ODS_VALUES) or cell.get("office:value-type") == "string"
        formula = "table:formula" in cell
        if not (valued or formula or instead):
            return
        length = max(len(text), len(cell.get("office:string-value", "")))
        facts.fill(top + rows - 1, left + repeats - 1, length, rows * repeats)
        calculated = valued or bool(instead)
        if formula or instead:
            for row in range(top, top + rows):
                for column in range(left, left + repeats):
                    if formula:
                        facts.formula(row, column, calculated)
                    if instead:
                        facts.replace(row, column, instead)

    @staticmethod
    def _instead(cell: dict[str, str], text: str) -> str:
        """The text to be read where calamine would return nothing, or the 0 that stands behind an error."""
        if cell.get("calcext:value-type") == "error" or ("table:formula" in cell and _ODS_ERROR.fullmatch(text)):
            return text.strip() or "#N/A"
        if any(key in cell for key in _ODS_VALUES) or cell.get("office:value-type") == "string":
            return ""
        return text if text.strip() else ""


def _repeats(attributes: dict[str, str], what: str, how: str = "repeated") -> int:
    return max(1, _int(attributes.get(f"table:number-{what}-{how}", "1"), "unmögliche Wiederholung"))


def _all_too_big() -> _Unreadable:
    message = f"Die Blätter der Arbeitsmappe haben zusammen mehr als {SHEET_CELLS} Zellen"
    return _too_big(message, "Blätter ohne vergessene Eingaben weit rechts oder unten")


def _ods(archive: _Archive) -> _Book:
    class Manifest(_Xml):
        def start(self, name: str, attributes: dict[str, str]) -> None:
            if _local(name) == "encryption-data":
                raise _protected()

    sheets, content = _OdsXml(), BytesIO()
    with _fresh(content) as into:
        archive.take("mimetype", into)
        archive.take("META-INF/manifest.xml", into, Manifest())
        archive.take("content.xml", into, sheets)
    return _Book(_distinct(sheets.entries), sheets.links, content.getvalue())


# ---------------------------------------------------------------- xls: the container (MS-CFB)

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_END, _FAT, _FREE = 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF


class _Compound:
    """The streams of an OLE file. Circular or wrong lists of sectors are damage."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, 1 << struct.unpack_from("<H", data, 30)[0]
        if self.size not in (512, 4096):
            raise _damaged("unmögliche Sektorgröße")
        (start,) = struct.unpack_from("<I", data, 48)
        (mini_start, _, list_start, _) = struct.unpack_from("<4I", data, 60)
        tables = array("I", data[76:512])
        seen = 0
        while list_start not in (_END, _FREE):
            entries = array("I", self._sector(list_start))
            list_start = entries.pop()
            tables.extend(entries)
            seen += 1
            if seen * self.size > len(data):
                raise _damaged("die Liste der Sektoren ist ein Kreis")
        self.fat = array("I", b"".join(self._sector(number) for number in tables if number < _FAT))
        entries_of = self._chain(start, self.fat, self._sector)
        self.streams = {name: place for name, *place in self._entries(entries_of)}
        root_start, root_length = self.streams.get("Root Entry", (_END, 0))
        self.mini = self._chain(root_start, self.fat, self._sector)[:root_length] if root_start != _END else b""
        self.mini_fat = array("I", self._chain(mini_start, self.fat, self._sector)) if mini_start < _FAT else array("I")

    def _sector(self, number: int) -> bytes:
        part = self.data[(number + 1) * self.size : (number + 2) * self.size]
        if not part:
            raise _damaged("unvollständig, vielleicht brach die Übertragung ab")
        return part.ljust(self.size, b"\0")

    def _mini_sector(self, number: int) -> bytes:
        return self.mini[number * 64 : number * 64 + 64].ljust(64, b"\0")

    @staticmethod
    def _chain(number: int, fat: array[int], sector: Callable[[int], bytes]) -> bytes:
        parts: list[bytes] = []
        while number != _END:
            if len(parts) > len(fat):
                raise _damaged("die Folge der Sektoren ist ein Kreis")
            parts.append(sector(number))
            number = fat[number]
        return b"".join(parts)

    @staticmethod
    def _entries(data: bytes) -> Iterator[tuple[str, int, int]]:
        for at in range(0, len(data) - 127, 128):
            (length,) = struct.unpack_from("<H", data, at + 64)
            name = data[at : at + max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
            if data[at + 66] in (2, 5):
                yield name if data[at + 66] == 2 else "Root Entry", *struct.unpack_from("<II", data, at + 116)

    def stream(self, name: str) -> bytes:
        start, length = self.streams[name]
        small = length < 4096
        whole = self._chain(start, *((self.mini_fat, self._mini_sector) if small else (self.fat, self._sector)))
        return whole[:length]


def _container(stream: bytes) -> bytes:
    """An OLE file that holds nothing but the stream »Workbook«."""
    stream = stream.ljust(4096, b"\0")  # shorter ones would have to be stored in another way
    sectors = -(-len(stream) // 4096)
    tables = -(-(sectors + 2) // 1023)
    # tables, directory, an empty store of short streams (calamine insists on one), the stream
    fat = [_FAT] * tables + [_END, _END] + [tables + 3 + i for i in range(sectors - 1)] + [_END]
    fat += [_FREE] * (tables * 1024 - len(fat))
    header = struct.pack("<8s16x5H6x", _OLE, 0x3E, 4, 0xFFFE, 12, 6)
    header += struct.pack("<9I", 1, tables, tables, 0, 4096, _END, 0, _END, 0)
    header += struct.pack("<109I", *range(tables), *[_FREE] * (109 - tables))
    none = struct.pack("<3I", _FREE, _FREE, _FREE)
    directory = b""
    for name, kind, child, start, length in (
        ("Root Entry", 5, 1, tables + 1, 64),
        ("Workbook", 2, _FREE, tables + 2, len(stream)),
    ):
        text = name.encode("utf-16-le")
        directory += struct.pack("<64sHBB", text, len(text) + 2, kind, 1) + none[:8]
        directory += struct.pack("<I36xIQ", child, start, length)
    directory += (bytes(68) + none + bytes(48)) * 30
    parts = [header.ljust(4096, b"\0"), struct.pack(f"<{len(fat)}I", *fat), directory, bytes(4096)]
    return b"".join([*parts, stream.ljust(sectors * 4096, b"\0")])


# ---------------------------------------------------------------- xls: the stream (MS-XLS)

_BOF, _EOF, _CONTINUE = 0x0809, 0x000A, 0x003C
_CELLS8 = {
    0x0006,  # Formula
    0x00BD,  # MulRk
    0x00D6,  # RString
    0x00FD,  # LabelSst
    0x0203,  # Number
    0x0204,  # Label
    0x0205,  # BoolErr
    0x027E,  # RK
}


def _xls(data: bytes) -> _Book:
    compound = _Compound(data)
    if "EncryptedPackage" in compound.streams:
        raise _protected()
    name = next((name for name in ("Workbook", "Book") if name in compound.streams), None)
    if name is None:
        kind = "ein Word-Dokument" if "WordDocument" in compound.streams else "eine Office-Datei ohne Tabelle"
        raise _other_kind(kind, Path())
    stream = bytearray(compound.stream(name))
    entries, links = _walk_book(stream)
    reader = _load(_container(bytes(stream)))
    for entry, sheet in zip(entries, reader.sheet_names, strict=True):
        entry.name = sheet
    return _Book(_distinct(entries), links, reader=reader)


def _records8(stream: bytearray, at: int) -> Iterator[tuple[int, int, int, int]]:
    """Kind, place, length and depth of the records of a part, its beginning (BOF) and end (EOF) included."""
    depth = 0
    while True:
        kind, length = struct.unpack_from("<HH", stream, at)
        if at + 4 + length > len(stream):
            raise _damaged("unvollständig, vielleicht brach die Übertragung ab")
        depth += kind == _BOF
        if depth == 0:
            raise _damaged("ein Blatt beginnt nicht, wo es beginnen soll")
        yield kind, at + 4, length, depth
        depth -= kind == _EOF
        if depth == 0:
            return
        at += 4 + length


def _walk_book(stream: bytearray) -> tuple[list[_Entry], list[str]]:
    """Sheets and links of a workbook stream; what misleads calamine is wiped out of it."""
    entries: list[_Entry] = []
    places: list[int] = []
    links: list[str] = []
    texts: list[bytes] = []
    excel, before = False, 0
    for kind, at, length, _ in _records8(stream, 0):
        if kind == 0x002F:  # FilePass
            raise _protected()
        if kind == 0x0085:  # BoundSheet8
            place, state, what = struct.unpack_from("<IBB", stream, at)
            places.append(place)
            name = bytes(stream[at + 8 : at + length]).decode(
                "utf-16-le" if stream[at + 7] & 1 else "latin-1", "replace"
            )
            entries.append(_Entry(name, what == 0, state & 3 != 0))
        elif kind == 0x00FC or (kind == _CONTINUE and before == 0x00FC):  # SST
            texts.append(bytes(stream[at : at + length]))
        elif kind == 0x01AE and length > 4:  # SupBook
            links.append(_linked(stream[at : at + length]))
        elif kind == 0x01C1:  # RecalcId, which Excel writes
            excel = True
        before = before if kind == _CONTINUE else kind
    _walk_sheets(stream, entries, places, at + length, _lengths8(texts), excel)
    return entries, links


def _walk_sheets(
    stream: bytearray, entries: list[_Entry], places: list[int], end: int, lengths: array[int], excel: bool
) -> None:
    area = formulas = empty = 0
    for place, entry in sorted(zip(places, entries, strict=True), key=lambda pair: pair[0]):
        if place < end:
            raise _damaged("Blätter überschneiden sich")
        look = _Sheet8(stream, place, entry.facts, lengths)
        with _named(entry.name):
            end = look.walk()
        area, formulas, empty = area + entry.facts.area(), formulas + entry.facts.formulas.count, empty + look.empty
        if area > SHEET_CELLS:
            raise _all_too_big()
    if formulas and formulas == empty and not excel:
        # Not one result: written by a program that does not calculate. Excel itself may mean empty texts.
        for place, entry in zip(places, entries, strict=True):
            entry.facts = _Facts()
            _Sheet8(stream, place, entry.facts, lengths, calculated=False).walk()


class _Sheet8:
    """A worksheet of an xls file: which cells are filled, and with what."""

    def __init__(
        self, stream: bytearray, place: int, facts: _Facts, lengths: array[int], calculated: bool = True
    ) -> None:
        self.stream, self.place, self.facts, self.lengths = stream, place, facts, lengths
        self.calculated = calculated
        self.stale = False
        self.empty = 0

    def walk(self) -> int:
        """Look at all records; where the sheet ends."""
        for kind, at, length, depth in _records8(self.stream, self.place):
            if depth > 1:
                continue  # a chart within the sheet has cells of its own
            if kind == 0x0200:  # Dimensions: calamine sets memory aside for what is announced here
                self.stream[at : at + length] = bytes(length)
            elif kind == 0x005E:  # Uncalced
                self.stale = True
            elif kind == 0x00E5:  # MergeCells
                for top, bottom, left, right in struct.iter_unpack("<4H", self.stream[at + 2 : at + length]):
                    self.facts.merge(top, left, bottom, right)
            elif kind in _CELLS8:
                self._cell(kind, at, length)
        return at + length

    def _cell(self, kind: int, at: int, length: int) -> None:
        row, column = struct.unpack_from("<HH", self.stream, at)
        if kind == 0x00BD:  # MulRk: several numbers side by side
            (last,) = struct.unpack_from("<H", self.stream, at + length - 2)
            self.facts.fill(row, last, count=max(1, last - column + 1))
            return
        characters = length
        if kind == 0x00FD:  # LabelSst
            characters = self.lengths[struct.unpack_from("<I", self.stream, at + 6)[0]]
        self.facts.fill(row, column, characters)
        if kind == 0x0006:
            self._formula(row, column, bytes(self.stream[at + 6 : at + 14]))
        elif kind == 0x0205 and self.stream[at + 7]:  # BoolErr
            self.facts.replace(row, column, _ERRORS.get(self.stream[at + 6], "#N/A"))
        elif kind == 0x00D6:  # RString, which calamine passes over
            (letters,) = struct.unpack_from("<H", self.stream, at + 6)
            self.facts.replace(row, column, self.stream[at + 8 : at + 8 + letters].decode("cp1252", "replace"))

    def _formula(self, row: int, column: int, result: bytes) -> None:
        """A formula's result: a number, or what kind of other result it is (MS-XLS 2.5.133)."""
        other = result[0] if result[6:] == b"\xff\xff" else None
        calculated = not (self.stale and result == bytes(8))
        if other == 3:
            self.empty += 1
            calculated = self.calculated
        self.facts.formula(row, column, calculated)
        if other == 2:
            self.facts.replace(row, column, _ERRORS.get(result[2], "#N/A"))


def _linked(data: bytearray) -> str:
    """Name of the other file in a SupBook record, its signs for drives and folders as backslashes."""
    (letters,) = struct.unpack_from("<H", data, 2)
    wide = data[4] & 1
    text = bytes(data[5 : 5 + letters * (1 + wide)]).decode("utf-16-le" if wide else "latin-1", "replace")
    return re.sub("[\x00-\x1f]+", r"\\", text).strip("\\")


def _lengths8(pieces: list[bytes]) -> array[int]:
    """Length of each shared text (MS-XLS 2.4.265); a text may go on in the next piece."""
    lengths = array("L")
    if not pieces:
        return lengths
    (count,) = struct.unpack_from("<I", pieces[0], 4)
    texts = _Pieces(pieces)
    texts.skip(8)
    for _ in range(count):
        lengths.append(texts.text())
    return lengths


class _Pieces:
    """Reads on across the ends of pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces, self.number, self.at = pieces, 0, 0

    def skip(self, count: int) -> None:
        while count:
            step = min(count, self._left())
            self.at += step
            count -= step

    def _left(self) -> int:
        """Bytes left in the present piece, which is the next one if it is used up."""
        while self.at == len(self.pieces[self.number]):
            self.number, self.at = self.number + 1, 0
        return len(self.pieces[self.number]) - self.at

    def _take(self, form: str) -> int:
        self._left()
        (number,) = struct.unpack_from(form, self.pieces[self.number], self.at)
        self.at += struct.calcsize(form)
        return int(number)

    def text(self) -> int:
        """Pass over one text; its length in characters."""
        letters, flags = self._take("<H"), self._take("<B")
        runs = self._take("<H") if flags & 8 else 0
        more = self._take("<I") if flags & 4 else 0
        left, wide = letters, flags & 1
        while left:
            if self.at == len(self.pieces[self.number]):
                wide = self._take("<B") & 1  # each further piece says anew how wide its letters are
            step = min(left, self._left() >> wide)
            if step == 0:
                raise _damaged("ein Text ist zerrissen")
            self.at += step << wide
            left -= step
        self.skip(4 * runs + more)
        return letters
