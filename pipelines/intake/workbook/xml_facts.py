"""Formulas, errors and links in the XML of xlsx and ods files."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import IO
from xml.etree.ElementTree import Element, iterparse

from pipelines.intake.workbook.facts import Book, Facts
from pipelines.intake.workbook.refused import damaged

_PLACE = re.compile("([A-Za-z]{1,3})([1-9][0-9]{0,6})", re.ASCII)
_ODS_ERROR = re.compile(r"#[A-Z/0]+[!?]?|(Err|Fehler):[0-9]+")
_OASIS = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_OFFICE, _TABLE, _TEXT = (_OASIS % name for name in ("office", "table", "text"))
_XLINK = "{http://www.w3.org/1999/xlink}"
_CALC_TYPE = "{urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0}value-type"
_VALUES = [f"{_OFFICE}{kind}value" for kind in ("", "string-", "date-", "time-", "boolean-")]


# ---------------------------------------------------------------- xlsx


class _Parts:
    """The parts of an archive, whatever the capitals and slashes in their names."""

    def __init__(self, path: Path) -> None:
        self.archive = zipfile.ZipFile(path)
        self.names = {name.replace("\\", "/").lstrip("/").lower(): name for name in self.archive.namelist()}

    def open(self, name: str) -> IO[bytes]:
        if name not in self.names:
            raise damaged(f"der Teil »{name}« fehlt")
        return self.archive.open(self.names[name])

    def elements(self, name: str) -> Iterator[tuple[str, dict[str, str]]]:
        """Elements of a part, with attributes; all names without what stands for the namespace."""
        with self.open(name) as stream:
            for _, element in iterparse(stream):
                given = {key.rpartition("}")[2]: value for key, value in element.items()}
                yield element.tag.rpartition("}")[2], given
                element.clear()


def xlsx(path: Path) -> Book:
    """Look through an xlsx file; a sheet is looked at when it is asked for."""
    parts, targets, sheets, stale = _Parts(path), {}, [], False
    for element, given in parts.elements("xl/_rels/workbook.xml.rels"):
        if element == "Relationship":
            target = posixpath.join("/xl", given["Target"].replace("\\", "/"))
            targets[given["Id"]] = posixpath.normpath(target).lower()[1:]
    for element, given in parts.elements("xl/workbook.xml"):
        if element == "sheet":
            sheets.append(targets.get(given.get("id", ""), given.get("id", "")))
        elif element == "calcPr":
            stale = given.get("fullCalcOnLoad") in ("1", "true")

    def facts(position: int) -> Facts:
        with parts.open(sheets[position]) as stream:
            return _xlsx_sheet(stream, stale)

    return Book(list(_xlsx_links(parts)), len(sheets), facts)


def _xlsx_links(parts: _Parts) -> Iterator[str]:
    """Other workbooks, programs and databases that the file refers to."""
    for part in parts.names:
        if not re.fullmatch(r"xl/(connections\.xml|externallinks/(_rels/)?[^/]+)", part):
            continue
        if not part.endswith((".xml", ".rels")):
            yield part
            continue
        for element, given in parts.elements(part):
            if element == "Relationship":
                yield given.get("Target", "")
            elif element == "ddeLink":
                yield f"{given.get('ddeService', '')} {given.get('ddeTopic', '')}"
            elif element == "connection" and given.get("name", "ThisWorkbookDataModel") != "ThisWorkbookDataModel":
                yield given["name"]  # the other one is inside the file itself


def _xlsx_sheet(stream: IO[bytes], stale: bool) -> Facts:
    """Cells are placed as calamine places them: at their address, without one next to the cell before."""
    facts, line = Facts(), 0
    for _, row in iterparse(stream):
        if not row.tag.endswith("row"):
            continue
        line, namespace = int(row.get("r", line + 1)), row.tag[:-3]
        cells, value, last = row.findall(f"{namespace}c"), f"{namespace}v", None
        for position, cell in enumerate(cells):
            if len(cell) == 1 and cell[0].tag == value and cell.get("t") != "e" and not len(cell[0]):
                last = position
            elif len(cell):
                _xlsx_cell(facts, *_xlsx_place(cells, position, line), cell, namespace, stale)
        if last is not None:
            facts.reach(*_xlsx_place(cells, last, line))
        row.clear()
    return facts


def _xlsx_cell(facts: Facts, row: int, column: int, cell: Element, namespace: str, stale: bool) -> None:
    """Look at a cell that holds more than a value."""
    value, formula = cell.find(f"{namespace}v"), cell.find(f"{namespace}f")
    valued = value is not None or cell.find(f"{namespace}is") is not None
    if value is not None and len(value):
        raise damaged("eine Zelle enthält XML, das kein Tabellenprogramm schreibt")
    kind, text = cell.get("t", "n"), (value.text or "" if value is not None else "")
    if valued:
        facts.reach(row, column)
    if formula is not None:
        calculated = valued and (bool(text) or kind == "str")
        facts.formula(row, column, calculated and not (stale and kind == "n" and text in ("0", "0.0")))
    if kind == "e" and value is not None:
        facts.replace(row, column, text)


def _xlsx_place(cells: list[Element], position: int, line: int) -> tuple[int, int]:
    """Row and column of a cell, from 0."""
    for beside in range(position + 1):
        name = cells[position - beside].get("r")
        if name is not None:
            row, column = _place(name)
            return row if beside == 0 else line - 1, column + beside
    return line - 1, position


def _place(name: str) -> tuple[int, int]:
    """Row and column of a cell's name, from 0."""
    match = _PLACE.fullmatch(name)
    if match is None:
        raise damaged(f"die Zelle »{name}« gibt es nicht")
    return int(match[2]) - 1, _column(match[1])


@cache
def _column(letters: str) -> int:
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - 64
    return column - 1


# ---------------------------------------------------------------- ods


def ods(path: Path) -> Book:
    """Look through an ods file: all its sheets are in one part."""
    sheets: list[Facts] = []
    links: list[str] = []
    row = depth = 0
    with _Parts(path).open("content.xml") as stream:
        for event, element in iterparse(stream, ("start", "end")):
            if element.tag == f"{_TABLE}table":
                depth += 1 if event == "start" else -1
                if event == "start" and depth == 1:
                    sheets.append(Facts(element.get(f"{_TABLE}name")))
                    row = 0
            elif event == "start":
                continue
            elif element.tag == f"{_TABLE}table-row" and depth == 1:
                row += _ods_row(sheets[-1], row, element)
                element.clear()
            elif element.tag in (f"{_TABLE}table-source", f"{_TABLE}cell-range-source"):
                links.append(element.get(f"{_XLINK}href", ""))
            elif element.tag == f"{_OFFICE}dde-source":
                links.append(" ".join(element.get(f"{_OFFICE}dde-{part}", "") for part in ("application", "topic")))
    return Book(links, len(sheets), sheets.__getitem__)


def _ods_row(facts: Facts, top: int, row: Element) -> int:
    """Look at the cells of a row; how many lines it stands for."""
    rows, left = _count(row, "rows-repeated"), 0
    for cell in row:
        if cell.tag in (f"{_TABLE}table-cell", f"{_TABLE}covered-table-cell"):
            columns = _count(cell, "columns-repeated")
            if cell.attrib or len(cell):
                _ods_cell(facts, cell, range(top, top + rows), range(left, left + columns))
            left += columns
    return rows


def _count(element: Element, what: str) -> int:
    return max(1, int(element.get(f"{_TABLE}number-{what}", "1")))


def _ods_cell(facts: Facts, cell: Element, rows: range, columns: range) -> None:
    below, beside = _count(cell, "rows-spanned"), _count(cell, "columns-spanned")
    if below > 1 or beside > 1:
        facts.merged.append((rows[0] + 1, columns[0] + 1, rows[0] + below, columns[0] + beside))
    text = "\n".join("".join(part.itertext()) for part in cell.iterfind(f"{_TEXT}p"))
    valued = cell.get(f"{_OFFICE}value-type") == "string" or any(key in cell.attrib for key in _VALUES)
    formula = f"{_TABLE}formula" in cell.attrib
    instead = ""
    if cell.get(_CALC_TYPE) == "error" or (formula and _ODS_ERROR.fullmatch(text)):
        instead = text.strip() or "#N/A"
    elif not valued and text.strip():
        instead = text
    if valued or formula or instead:
        facts.reach(rows[-1], columns[-1])
    if formula or instead:
        for row in rows:
            for column in columns:
                if formula:
                    facts.formula(row, column, valued or bool(instead))
                if instead:
                    facts.replace(row, column, instead)
