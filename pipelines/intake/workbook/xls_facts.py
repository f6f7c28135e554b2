"""Formulas, errors and links in the records of xls files (MS-XLS); the container is read by olefile."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import olefile  # type: ignore[import-untyped]

from pipelines.intake.workbook.facts import Book, Facts
from pipelines.intake.workbook.refused import damaged, other_kind, protected

_ERRORS = {0x00: "#NULL!", 0x07: "#DIV/0!", 0x0F: "#VALUE!", 0x17: "#REF!", 0x1D: "#NAME?", 0x24: "#NUM!", 0x2A: "#N/A"}
_BOF, _EOF = 0x0809, 0x000A


def xls(path: Path) -> Book:
    """Look through an xls file."""
    with olefile.OleFileIO(path) as file:
        if file.exists("EncryptedPackage"):
            raise protected()
        name = next((name for name in ("Workbook", "Book") if file.exists(name)), None)
        if name is None:
            word = file.exists("WordDocument")
            raise other_kind("ein Word-Dokument" if word else "eine Office-Datei ohne Tabelle", Path())
        stream = file.openstream(name).read()
    places: list[tuple[int, int]] = []
    links: list[str] = []
    excel = False
    for kind, data in _records(stream, 0):
        if kind == 0x002F:  # FilePass
            raise protected()
        if kind == 0x0085:  # BoundSheet8: place and type
            places.append((struct.unpack_from("<I", data)[0], data[5]))
        elif kind == 0x01AE and len(data) > 4:  # SupBook
            links.append(_linked(data))
        excel = excel or kind == 0x01C1  # RecalcId, which Excel writes
    looks = [_Sheet(stream, place) if what == 0 else _Sheet(b"", 0) for place, what in places]
    formulas = sum(len(look.facts.formulas) for look in looks)
    if not excel and formulas == sum(len(look.empty) for look in looks):
        # Not one result: written by a program that does not calculate. Excel itself may mean empty texts.
        for look in looks:
            for cell in look.empty:
                look.facts.no_value(*cell)
    return Book(links, len(looks), [look.facts for look in looks].__getitem__)


def _records(stream: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """Records of the part that begins at a place; those of charts within it are left out."""
    depth = 0
    while True:
        kind, length = struct.unpack_from("<HH", stream, at)
        depth += kind == _BOF
        if depth == 0:
            raise damaged("ein Blatt beginnt nicht, wo es beginnen soll")
        if depth == 1:
            yield kind, stream[at + 4 : at + 4 + length]
        depth -= kind == _EOF
        if depth == 0:
            return
        at += 4 + length


class _Sheet:
    """A worksheet; `empty` are formulas whose result is the empty text."""

    def __init__(self, stream: bytes, place: int) -> None:
        self.facts, self.stale = Facts(), False
        self.empty: list[tuple[int, int]] = []
        for kind, data in _records(stream, place) if stream else ():
            if kind == _BOF and data[2:4] != b"\x10\x00":
                raise damaged("ein Blatt beginnt nicht, wo es beginnen soll")
            self.stale = self.stale or kind == 0x005E  # Uncalced
            if kind in (0x0006, 0x0205, 0x00D6):
                self._cell(kind, data, *struct.unpack_from("<HH", data))

    def _cell(self, kind: int, data: bytes, row: int, column: int) -> None:
        if kind == 0x0205 and data[7]:  # BoolErr
            self.facts.replace(row, column, _ERRORS.get(data[6], "#N/A"))
        elif kind == 0x00D6:  # RString (Excel 95), which calamine passes over
            (letters,) = struct.unpack_from("<H", data, 6)
            self.facts.replace(row, column, data[8 : 8 + letters].decode("cp1252", "replace"))
        elif kind == 0x0006:  # Formula; a result that is no number says what it is (MS-XLS 2.5.133)
            result = data[6:14]
            other = result[0] if result[6:] == b"\xff\xff" else None
            self.facts.formula(row, column, not (self.stale and result == bytes(8)))
            if other == 3:
                self.empty.append((row, column))
            elif other == 2:
                self.facts.replace(row, column, _ERRORS.get(result[2], "#N/A"))


def _linked(data: bytes) -> str:
    """Name of the other file in a SupBook record, its signs for drives and folders as backslashes."""
    (letters,) = struct.unpack_from("<H", data, 2)
    wide = data[4] & 1
    text = data[5 : 5 + letters * (1 + wide)].decode("utf-16-le" if wide else "latin-1", "replace")
    return re.sub("[\x00-\x1f]+", r"\\", text).strip("\\")
