"""The child process: reads one workbook with calamine and writes what it finds as JSON, one line each.

First the sheets (name, whether it is a table, whether hidden) and the links; then it is told which sheets are wanted,
by position. A wanted sheet is a header, its rows as texts, and null. `failed` stands for a sheet, or file, that cannot
be read, or not to its end. Whatever happens to this process besides is for the parent to explain.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

from pipelines.intake.limits import CELL_CHARACTERS, LINE_BYTES, MEGABYTE
from pipelines.intake.workbook.facts import Facts
from pipelines.intake.workbook.refused import Refused, damaged, protected, too_big


def main() -> None:
    """Arguments: file, kind, decimal mark, megabytes of memory, seconds of computing time."""
    path, kind, decimal, memory, seconds = sys.argv[1:]
    for what, most in ((resource.RLIMIT_AS, int(memory) << 20), (resource.RLIMIT_CPU, int(seconds))):
        hard = resource.getrlimit(what)[1]
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with _failing():
        _read(Path(path), kind, decimal)


@contextmanager
def _failing() -> Iterator[None]:
    """Whatever is thrown meanwhile means that the sheet is not readable; lack of memory ends the process."""
    try:
        yield
    except (MemoryError, BrokenPipeError, KeyboardInterrupt):
        os.abort()
    except Refused as refused:
        _say({"failed": refused.args})
    except BaseException as error:  # noqa: BLE001 - a Rust panic is a BaseException without an importable class
        password = type(error).__name__ == "PasswordError"
        _say({"failed": (protected() if password else damaged("das Lesen brach ab", error)).args})


def _say(what: object) -> None:
    line = json.dumps(what, ensure_ascii=False, separators=(",", ":"))
    if len(line) > LINE_BYTES:
        message = f"Die Texte einer Zeile sind zusammen größer als {LINE_BYTES // MEGABYTE} MB"
        raise too_big(message, "ein Blatt ohne lange Texte in vielen Zellen")
    sys.stdout.buffer.write(line.encode("utf-8", "replace") + b"\n")


def _read(path: Path, kind: str, decimal: str) -> None:
    from python_calamine import CalamineWorkbook, SheetTypeEnum, SheetVisibleEnum

    if kind == "xls":
        from pipelines.intake.workbook.xls_facts import xls as look
    elif kind == "xlsx":
        from pipelines.intake.workbook.xml_facts import xlsx as look
    else:
        from pipelines.intake.workbook.xml_facts import ods as look
    book = look(path)
    reader = CalamineWorkbook.from_filelike(BytesIO(path.read_bytes()))
    sheets = []
    for sheet in reader.sheets_metadata:
        cache = kind == "ods" and sheet.name.startswith("'") and "'#" in sheet.name  # what LibreOffice keeps of others
        table = sheet.typ == SheetTypeEnum.WorkSheet and not cache
        sheets.append((sheet.name, table, sheet.visible != SheetVisibleEnum.Visible))
    if len(sheets) != book.count:
        raise damaged("die Liste der Blätter ist unvollständig")
    _say({"sheets": sheets, "links": book.links})
    sys.stdout.buffer.flush()
    for position in json.loads(sys.stdin.readline() or "[]"):
        with _failing():
            facts = book.facts(position)
            _sheet(reader.get_sheet_by_index(position), facts, decimal)
            _say(None)
        sys.stdout.buffer.flush()


def _sheet(sheet: Any, facts: Facts, decimal: str) -> None:
    """Write header and rows of a sheet, from line 1 and column A on, without empty cells at the end of a row."""
    start, end = sheet.start or (0, 0), sheet.end or (-1, -1)
    facts.reach(*end)
    width = max([end[1], *(max(cells) for cells in facts.instead.values())]) + 1
    ranges = [(a + 1, b + 1, c + 1, d + 1) for (a, b), (c, d) in sheet.merged_cell_ranges or ()]
    _say({"findings": facts.findings(), "merged": sorted(facts.merged + ranges), "width": width})
    forms, rows, left = text_forms(decimal), iter(sheet.iter_rows()), [""] * start[1]
    for number in range(max([end[0], *facts.instead]) + 1):
        cells = left + [forms.get(type(value), str)(value) for value in next(rows, ())]
        for column, text in facts.instead.get(number, {}).items():
            cells += [""] * (column + 1 - len(cells))
            cells[column] = text
        if len(max(cells, key=len, default="")) > CELL_CHARACTERS:
            expected = f"Zellen unter {CELL_CHARACTERS} Zeichen"
            raise Refused("datei_lesbar", f"In Zeile {number + 1} ist eine Zelle überlang", expected)
        _say(cells)


def text_forms(decimal: str) -> dict[type, Callable[[Any], str]]:
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


if __name__ == "__main__":
    main()
