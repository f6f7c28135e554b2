"""Starts the child process that reads a workbook, and hands on what it writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.intake.failures import Findings, shown
from pipelines.intake.limits import MEGABYTE, READER_MEMORY, READER_SECONDS
from pipelines.intake.tables import Row, reads_like
from pipelines.intake.workbook import Sheet
from pipelines.intake.workbook.checks import kind_of
from pipelines.intake.workbook.refused import Refused, damaged, too_big
from schemas.documents import Format, Workbook
from schemas.yaml_source import nearest

_COMMAND = [sys.executable, "-m", "pipelines.intake.workbook.child"]
_ROOT = Path(__file__).parents[3]
_NO_MEMORY = (-signal.SIGABRT, -signal.SIGKILL, -signal.SIGXCPU)
"""How a process ends that asks for more memory, or computes longer, than it may."""


def sheets(path: Path, workbook: Workbook, form: Format, findings: Findings) -> Iterator[Sheet]:
    """See `open_sheets`."""
    try:
        child = _Child(path.absolute(), kind_of(path), form.decimal)
        with child.process:
            try:
                yield from _sheets(child, workbook, findings)
            finally:
                findings.sheet = ""
                child.process.kill()
    except Refused as refused:
        refused.note(findings)


class _Child:
    """The process that reads a workbook; `dead` once it ended before its time."""

    def __init__(self, path: Path, kind: str, decimal: str) -> None:
        self.dead = False
        arguments = [str(path), kind, decimal, str(READER_MEMORY // MEGABYTE), str(READER_SECONDS)]
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        self.process = subprocess.Popen([*_COMMAND, *arguments], cwd=_ROOT, stdin=pipe, stdout=pipe, stderr=nothing)

    def ask(self, positions: list[int]) -> None:
        """Say which sheets are wanted."""
        assert self.process.stdin is not None
        with suppress(OSError):  # if it is no more, the next line says why
            os.write(self.process.stdin.fileno(), json.dumps(positions).encode() + b"\n")

    def line(self) -> Any:
        """What it says next; raises `Refused` if it could not read on, or is no more."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line.endswith(b"\n"):
            said = json.loads(line)
            if isinstance(said, dict) and "failed" in said:
                raise Refused(*said["failed"])
            return said
        self.dead = True
        code = self.process.wait()
        if code not in _NO_MEMORY:
            raise damaged("das Lesen brach ab", f"Prozess endete mit {code}")
        message = f"Das Lesen brauchte mehr als {READER_MEMORY // MEGABYTE} MB Arbeitsspeicher oder zu viel Zeit"
        raise too_big(message, "eine kleinere Arbeitsmappe, in Excel gespeichert")


def _sheets(child: _Child, workbook: Workbook, findings: Findings) -> Iterator[Sheet]:
    book = child.line()
    names = [name for name, _, _ in book["sheets"]]
    for name, count in Counter(names).items():
        if count > 1:
            raise damaged(f"zwei Blätter heißen »{shown(name)}«")
    _report_missing(book["sheets"], workbook, findings)
    if book["links"]:
        message = f"Die Arbeitsmappe enthält Verknüpfungen nach außen: {_listed(book['links'])}"
        findings.add("verknuepfung", message, "Werte statt Verknüpfungen")
    wanted = [
        position
        for position, (name, table, _) in enumerate(book["sheets"])
        if table and any(reads_like(name, pattern) for pattern in workbook.sheets)
    ]
    child.ask(wanted)
    for position in wanted:
        if not child.dead:
            findings.sheet = names[position]
            yield from _sheet(child, names[position], book["sheets"][position][2], findings)


def _sheet(child: _Child, name: str, hidden: bool, findings: Findings) -> Iterator[Sheet]:
    """Yield the sheet, or nothing (and a finding) if it cannot be read."""
    if hidden:
        message = "Das Blatt ist ausgeblendet; es wurde trotzdem gelesen"
        findings.add("blatt_versteckt", message, "nur eingeblendete Blätter")
    try:
        header = child.line()
    except Refused as refused:
        refused.note(findings)
        return
    for rule, message, expected, line, column in header["findings"]:
        findings.add(rule, message, expected, line=line, column=column)
    rows = _rows(child, header["width"], findings)
    yield Sheet(name, rows, [(top, left, bottom, right) for top, left, bottom, right in header["merged"]])
    for _ in rows:
        pass


def _rows(child: _Child, width: int, findings: Findings) -> Iterator[Row]:
    """Rows from line 1 and column A on."""
    number = 0
    try:
        while (cells := child.line()) is not None:
            number += 1
            yield Row(number, cells + [""] * (width - len(cells)))
    except Refused as refused:
        refused.note(findings)


def _report_missing(entries: list[tuple[str, bool, bool]], workbook: Workbook, findings: Findings) -> None:
    """A finding for every declared sheet that is not there."""
    tables = [name for name, table, _ in entries if table]
    for pattern in workbook.sheets:
        if any(reads_like(name, pattern) for name in tables):
            continue
        message = f"Kein Tabellenblatt heißt »{pattern}«"
        if any(reads_like(name, pattern) for name, _, _ in entries):
            message += " (ein Blatt dieses Namens enthält keine Tabelle)"
        elif near := nearest(pattern, tables):
            message += f"; am ähnlichsten ist »{shown(near[0])}«"
        present = f"vorhanden: {_listed(tables, 20)}" if tables else "die Datei enthält kein Tabellenblatt"
        findings.add("blatt_fehlt", message, f"ein Blatt »{pattern}« ({present})")


def _listed(names: Iterable[str], most: int = 5) -> str:
    unique = list(dict.fromkeys(f"»{shown(name)}«" for name in names))
    more = f" und {len(unique) - most} weitere" if len(unique) > most else ""
    return ", ".join(unique[:most]) + more
