"""Times the reading and checking of one very large delivery next to a plain DuckDB read of the same file.

    python benchmarks/large_delivery.py [ROWS ...]        default: 1000000 10000000

The delivery is constructed (seeded): 2,000 areas, 20 figures each, one month after the other until there are enough
rows. Everything is measured in fresh processes; the smallest of three runs counts (one run above two million rows).
Memory is the largest resident size that the kernel noted for the process. Prints a Markdown table; the base of the
ratios is the plain read.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
AREAS = 2000
HEAD = "Nr;Gebiet;Datum;Merkmal;Wert"
SOURCE = "gross"
ROUNDS = 3
MARKS = [
    "Einwohner", "Einwohner unter 18", "Einwohner ab 65", "Haushalte", "Haushalte mit Kindern", "Alleinerziehende",
    "Geborene", "Gestorbene", "Zuzüge", "Fortzüge", "Umzüge im Gebiet", "Ausländer", "Deutsche mit Einwanderung",
    "Arbeitslose", "Arbeitslose unter 25", "Beschäftigte", "Bürgergeld-Empfänger", "Schüler", "Anteil Vollzeit",
    "Anteil geförderter Wohnungen",
]  # fmt: skip
"""Texts of the column Merkmal; the last two are rates with one decimal."""
RATES = 2
CONSTRUCTED = {
    "owner": "team:datenteam",
    "licence": "CC0-1.0",
    "origin": "constructed",
    "publication": "constructed",
    "due": "none",
    "symbols": {"*": "suppressed"},
}
"""What the description of every source of made-up figures says."""
ONE = {"unit": "persons", "kind": "count", "family": "gross", "period_type": "stichtag"}

_SOURCE = {
    "id": SOURCE,
    "title": {"de": "Große Lieferung (konstruiert)"},
    "description": {"de": "Konstruierte Zahlen, um eine sehr große Datei zu messen."},
    "publisher": "Messung",
    **CONSTRUCTED,
    "layout": {
        "area": {"number": "Nr", "name": "Gebiet", "level": "teilgebiet"},
        "period": {"column": "Datum", "type": "stichtag"},
        "values": [
            {
                "column": "Wert",
                "measure_column": "Merkmal",
                "measures": {name: f"merkmal_{number}" for number, name in enumerate(MARKS, 1)},
            }
        ],
    },
    "contract": {
        "complete": {"teilgebiet": "all"},
        "not_above": [
            {"measure": f"merkmal_{part}", "than": f"merkmal_{whole}"} for part, whole in ((2, 1), (5, 4), (15, 14))
        ],
    },
}


def area_names(count: int = AREAS) -> list[str]:
    """Constructed names, all different, umlauts among them."""
    front = (
        "Alt Neu Groß Klein Ober Unter Süd Nord Mühlen Linden Erlen Brücken Höhen Wiesen Ufer Kirch Förde Heide Röh Au"
    )
    back = "bek dorf hof hörn kamp krug rade see stedt tal wik wisch büll fleth furt garten grund holm koppel moor"
    names = [f"{a}{b}" for a in front.split() for b in back.split()]
    return [f"{names[n % len(names)]}{' ' + 'I' * (n // len(names)) if n >= len(names) else ''}" for n in range(count)]


def make_project(folder: Path, areas: int = AREAS) -> Path:
    """The template's project with the large source, its areas and measures in addition; no delivery yet."""
    from pipelines.init import create_project
    from pipelines.progress import Voice

    create_project(folder, Voice())
    with (folder / "assets/areas/areas.csv").open("a", encoding="utf-8") as file:
        for number, name in enumerate(area_names(areas), 1):
            file.write(f"99999000-TG-{number},{name},teilgebiet,{number},,,{100 + number},,konstruiert\n")
    path = folder / "assets/areas/defs.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["attributes"]["levels"] += [
        {"id": "teilgebiet", "title": {"de": "Teilgebiet"}, "plural": {"de": "Teilgebiete"}, "sort_key": 2}
    ]
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    documents = [{"type": "pipelines.components.SourceComponent", "attributes": _SOURCE}]
    for number, name in enumerate(MARKS, 1):
        kind = {"unit": "percent", "kind": "rate", "maximum": 100} if number > len(MARKS) - RATES else {}
        what = {**ONE, **kind, "id": f"merkmal_{number}", "title": {"de": name}, "levels": {"teilgebiet": [SOURCE]}}
        documents.append({"type": "pipelines.components.MeasureComponent", "attributes": what})
    (folder / "assets" / SOURCE).mkdir()
    text = yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False)
    (folder / "assets" / SOURCE / "defs.yaml").write_text(text, encoding="utf-8")
    (folder / "data/raw" / SOURCE).mkdir()
    return folder


# ---------------------------------------------------------------- the file


@dataclass(frozen=True)
class Defect:
    """One planted error: the line it stands on, the rule that must find it, and what it does to the line's cells."""

    line: int
    rule: str
    change: Callable[[list[str]], list[str]]


def _cell(position: int, text: str) -> Callable[[list[str]], list[str]]:
    return lambda cells: [*cells[:position], text, *cells[position + 1 :]]


KINDS: list[tuple[str, int, Callable[[list[str]], list[str]]]] = [
    ("zelle_lesbar", 3, _cell(4, "12O")),
    ("gebiet_bekannt", 3, _cell(1, "Atlantis")),
    ("zeitangabe_lesbar", 3, _cell(2, "31.02.2010")),
    ("nicht_unter_minimum", 3, _cell(4, "-5")),
    ("ganze_zahl", 3, _cell(4, "7,5")),
    ("merkmal_bekannt", 3, _cell(3, "Einwonner ab 65")),
    ("teil_nicht_ueber_ganzem", 2, _cell(4, "99999")),
]
"""Rule, number of the figure (in MARKS, from 1) that is spoilt, how."""


def planted(rows: int, count: int) -> list[Defect]:
    """Defects spread over a file of so many rows; the rule about doubled keys has its line at the end of the file."""
    found = []
    for number in range(count):
        rule, mark, change = KINDS[number % len(KINDS)]
        row = (rows - 1) * (number + 1) // (count + 1) // len(MARKS) * len(MARKS) + mark - 1
        found.append(Defect(row + 2, rule, change))
    return found


def _month_ends() -> Iterator[dt.date]:
    for year in range(2000, 2026):
        for month in range(1, 13):
            yield dt.date(year + month // 12, month % 12 + 1, 1) - dt.timedelta(days=1)


def write_delivery(path: Path, rows: int, defects: list[Defect] | None = None, doubled: int = 0) -> None:
    """Write the file: month by month, area by area, one row per figure.

    Args:
        path: where.
        rows: number of rows below the heading.
        defects: rows to spoil.
        doubled: this many rows of the file's first month are written again at the end.
    """
    spoilt = {defect.line: defect for defect in defects or []}
    starts = [f"{number};{name};" for number, name in enumerate(area_names(), 1)]
    numbers = ["0", "*", "*", "*", *map(str, range(4, 20_000))]
    shares = [f"{n / 10:.1f}".replace(".", ",") for n in range(1001)]
    generator = np.random.default_rng(20261122)
    size = generator.lognormal(7.0, 0.6, (AREAS, 1)).clip(50, 9000)
    part = np.array(
        [1.0, 0.2, 0.2, 0.55, 0.11, 0.05, 0.001, 0.001, 0.01, 0.01, 0.01, 0.12, 0.1, 0.05, 0.005, 0.4, 0.1, 0.1]
    )
    line = 2
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(f"{HEAD}\n")
        first: list[str] = []
        for day in _month_ends():
            counts = (size * part * generator.uniform(0.9, 1.1, (AREAS, part.size))).astype(int)
            counts[:, 1] = np.minimum(counts[:, 1], counts[:, 0])  # parts never above the whole
            rates = generator.integers(0, 1001, (AREAS, RATES))
            middle = [f"{day:%d.%m.%Y};{mark};" for mark in MARKS]
            lines = []
            for start, own, more in zip(starts, counts.tolist(), rates.tolist(), strict=True):
                texts = [numbers[n] for n in own] + [shares[n] for n in more]
                lines += [f"{start}{m}{t}\n" for m, t in zip(middle, texts, strict=True)]
            del lines[rows + 2 - line :]
            for number in [n for n in spoilt if line <= n < line + len(lines)]:
                cells = lines[number - line].rstrip("\n").split(";")
                lines[number - line] = ";".join(spoilt[number].change(cells)) + "\n"
            file.writelines(lines)
            first = first or lines[:doubled]
            line += len(lines)
            if line == rows + 2:
                break
        else:
            raise ValueError(f"höchstens {line - 2} Zeilen")
        file.writelines(first)


# ---------------------------------------------------------------- measuring

_PLAIN = """
import duckdb, sys
con = duckdb.connect()
con.execute("SET memory_limit = '1GB'")
print(con.execute("SELECT count(*), count(DISTINCT Nr), sum(length(Wert)) FROM read_csv(?, delim = ';', header = true, "
                  "all_varchar = true)", [sys.argv[1]]).fetchall())
"""
_OURS = """
import datetime as dt, sys, time
from pathlib import Path
from pipelines.intake.run import Context, compared, judge
from pipelines.project import load_project
project = load_project(sys.argv[2])
source, file, target = project.sources["gross"], Path(sys.argv[1]), Path(sys.argv[3])
begin = time.perf_counter()
own, _ = judge(project, source, file, file.name, [], target, received_on=dt.date(2026, 11, 22))
read = time.perf_counter() - begin
verdict = compared(project, source, target, own, Context([], {}))
print(f"figures {own.figures}, errors {verdict.errors}, warnings {verdict.warnings}, read {read:.1f} s")
"""


def _run(code: str, *arguments: Path) -> tuple[float, int, str]:
    """Seconds, largest resident size in MB, and what was printed, of one fresh process."""
    begin = time.perf_counter()
    watch = (
        "import resource, sys; exec(sys.argv.pop(1)); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    command = [sys.executable, "-c", watch, code, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    *said, memory = done.stdout.strip().splitlines()
    return time.perf_counter() - begin, int(memory), " ".join(said)


def main(sizes: list[int]) -> None:
    """Print one row per size: plain read as base, then reading, checking and comparing."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, {dt.datetime.now(dt.UTC):%Y-%m-%d}")
    print("| Rows | MB | plain DuckDB read (base) | read, checked, compared | ratio | memory | what |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for rows in sizes:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
            folder = Path(name)
            project = make_project(folder / "projekt")
            file = folder / "gross.csv"
            write_delivery(file, rows)
            plain = min(_run(_PLAIN, file)[0] for _ in range(ROUNDS))
            ours, memory, what = min(
                (_run(_OURS, file, project, folder / "reading.parquet") for _ in range(1 if rows > 2e6 else ROUNDS)),
                key=lambda measured: measured[0],
            )
            size = file.stat().st_size / 1e6
            figures = f"{plain:.2f} s = 1.0 | {ours:.1f} s | {ours / plain:.0f} | {memory} MB | {what}"
            print(f"| {rows:,} | {size:.0f} | {figures} |", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [1_000_000, 10_000_000])
