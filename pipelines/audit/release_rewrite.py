"""Nothing travels beside the figures: the files are written again from the audited database and compared byte by byte.

A hidden row, a comment in a workbook, quotation marks around one kind of empty cell, or rows in an order that only the
true values explain would be a channel that no reading of the values finds.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
import zipfile
from pathlib import Path

from pipelines.audit.facts import Leak
from pipelines.marts.models import Models
from pipelines.paths import DATABASE
from pipelines.release.feed import TABLES, write_feed

HEADER, BLOCK = 3 * 4096, 256 * 1024
"""A DuckDB file is three header blocks and whole blocks of this size; anything else is not DuckDB's."""


def check_rewritten(folder: Path, models: Models) -> list[Leak]:
    """Files of the feed that are not exactly what the writer makes of the database."""
    leaks = []
    if (folder / DATABASE).stat().st_size % BLOCK != HEADER:
        leaks.append(_leak(DATABASE, "hat Bytes, die nicht zur Datenbank gehören"))
    created = dt.datetime.fromisoformat(
        json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))["created"]
    )
    with tempfile.TemporaryDirectory() as scratch:
        again = Path(scratch)
        write_feed(again, folder / DATABASE, models, created)
        for path in sorted(p for p in again.rglob("*") if p.is_file()):
            name = path.relative_to(again).as_posix()
            if not (folder / name).is_file():
                leaks.append(_leak(name, "fehlt"))
            elif path.read_bytes() != (folder / name).read_bytes():
                leaks.append(_leak(name, _difference(path, folder / name)))
        surplus = [f"{base}.xlsx" for base in TABLES.values() if not (again / f"{base}.xlsx").exists()]
        leaks += [_leak(name, "gehört nicht dazu") for name in surplus if (folder / name).exists()]
    return leaks


def _leak(name: str, what: str) -> Leak:
    return Leak("nicht_ableitbar", name, f"Die Datei {what}; Veröffentlichung neu schreiben.")


def _difference(expected: Path, found: Path) -> str:
    """Where two files differ, without what stands there."""
    if expected.suffix == ".xlsx":
        try:
            with zipfile.ZipFile(expected) as one, zipfile.ZipFile(found) as other:
                parts = [n for n in one.namelist() if n not in other.namelist() or one.read(n) != other.read(n)]
        except zipfile.BadZipFile:
            return "ist keine Arbeitsmappe"
        return f"weicht ab in {', '.join(parts)}" if parts else "hat Angaben neben dem Inhalt der Mappe"
    if expected.suffix == ".csv":
        pairs = zip(expected.read_bytes().splitlines(), found.read_bytes().splitlines(), strict=False)
        line = next((number for number, (one, other) in enumerate(pairs, 1) if one != other), None)
        return f"weicht ab Zeile {line} von dem ab, was aus der Datenbank folgt" if line else "hat andere Zeilenenden"
    return "weicht von dem ab, was aus der Datenbank folgt"
