"""Mutated deliveries over real layouts: never a traceback, never a figure that is not in the file, always a verdict.

Each mutant is one seeded change (`tests.mutants`) to a shipped file, to one of the city's real files beside the
checkout, or to a workbook written over one of these layouts. It is judged as a night would judge it, half of them as
the first delivery, half after the unchanged file. What is accepted is read a second time here, with the csv module (or
the XML of the workbook) and nothing of ours; what is rejected must say why, at a place that exists in the file.

    SOAK=1 python -m tests.test_mutations    prints the table: kind of mutation x what became of it
"""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import re
import shutil
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import duckdb
import pyarrow.parquet as pq
import pytest
import xlsxwriter

from pipelines import lock
from pipelines.intake.failures import Failure
from pipelines.intake.past import Past
from pipelines.intake.rules import RULES
from pipelines.intake.run import Context, compared, judge
from pipelines.intake.verdict import Verdict
from pipelines.night import Night
from pipelines.project import Project, load_project
from schemas.documents import Source, TableShape, Workbook
from tests import mutants
from tests.conftest import ROOT, SHARED
from tests.mutants import Grid, heading

SOAK = os.environ.get("SOAK") == "1"
COUNT, PARTS, NIGHTS = (2000, 8, 12) if SOAK else (200, 2, 1)
RECEIVED = dt.date(2025, 11, 24)
Key = tuple[str, str, str, str]
"""Measure, category, area and period."""
Cells = dict[tuple[str, int, int], str]
"""Text by sheet ('' in text files), line and column."""


# ---------------------------------------------------------------- a second reading, by other means


def text_cells(content: bytes, delimiter: str) -> Cells:
    """Every cell of a text file by the line on which its record begins."""
    csv.field_size_limit(10**9)
    reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter)
    cells, line = {}, 1
    for row in reader:
        cells.update({("", line, column): text for column, text in enumerate(row, 1)})
        line = reader.line_num + 1
    return cells


def book_cells(content: bytes) -> Cells:
    """Every cell of an xlsx file, numbers as they stand in its XML."""
    space = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        strings = ElementTree.fromstring(archive.read("xl/sharedStrings.xml"))
        shared = ["".join(item.itertext()) for item in strings]
        names = [
            s.get("name", "")
            for s in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter()
            if s.get("sheetId")
        ]
        cells = {}
        for number, name in enumerate(names, 1):
            for cell in ElementTree.fromstring(archive.read(f"xl/worksheets/sheet{number}.xml")).iterfind(
                ".//m:c", space
            ):
                letters, line = re.fullmatch("([A-Z]+)([0-9]+)", cell.get("r", "")).groups()  # type: ignore[union-attr]
                column = 0
                for letter in letters:
                    column = column * 26 + ord(letter) - 64
                text = cell.findtext("m:v", "", space)
                cells[name, int(line), column] = shared[int(text)] if cell.get("t") == "s" else text.replace(".", ",")
        return cells


def number_of(text: str, source: Source) -> float | str:
    """Value of a cell, or what its sign means."""
    text = text.strip()
    if text in source.symbols:
        return 0.0 if source.symbols[text] == "zero" else source.symbols[text]
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text)
    whole, _, fraction = digits.partition(source.format.decimal)
    if source.format.thousands and source.format.thousands in whole:
        start, *groups = whole.split(source.format.thousands)
        assert 1 <= len(start) <= 3, text
        assert {len(group) for group in groups} == {3}, text
        whole = start + "".join(groups)
    assert set(whole + fraction) <= set("0123456789"), text
    assert whole, text
    return sign * float(f"{whole}.{fraction or 0}")


def plain(name: str) -> str:
    folded = name.casefold()
    for umlaut, written in (("ä", "ae"), ("ö", "oe"), ("ü", "ue")):
        folded = folded.replace(umlaut, written)
    return " ".join(folded.split())


def period_of(text: str, source: Source) -> str:
    """Key of a period as this source's offices write it."""
    period = source.layout.period
    numbers = re.findall("[0-9]+", text)
    if period.type == "jahresdurchschnitt":
        return f"{numbers[0]}-jd"
    if period.type == "kalenderjahr":
        return str(numbers[0])
    if period.type == "schuljahr":
        return f"{numbers[0]}-{numbers[1][-2:]}"
    if len(numbers) == 1:
        return f"{numbers[0]}-{period.day}"
    year, month, day = numbers if len(numbers[0]) == 4 else reversed(numbers)
    return f"{year}-{int(month):02d}-{int(day):02d}"


class Places:
    """The list of areas as the csv module reads it."""

    def __init__(self, file: Path) -> None:
        with file.open(encoding="utf-8", newline="") as lines:
            self.rows = list(csv.DictReader(lines))

    def find(self, levels: list[str], name: str, number: str, area_id: str) -> str:
        found = [
            row["area_id"]
            for row in self.rows
            if row["level"] in levels
            and area_id in ("", row["area_id"])
            and (not number or number.lstrip("0") == row["number"].lstrip("0"))
            and (not name or plain(name) in [plain(n) for n in (row["name"], *row["aliases"].split("|"))])
        ]
        assert len(found) == 1, (levels, name, number, area_id, found)
        return found[0]


@dataclass
class Second:
    """A second reading of an accepted file: figures by key, with line, column and value (or what a sign means)."""

    source: Source
    places: Places
    cells: Cells
    figures: dict[Key, tuple[int, int, float | str]] = field(default_factory=dict)

    def read(self) -> dict[Key, tuple[int, int, float | str]]:
        for sheet in dict.fromkeys(sheet for sheet, _, _ in self.cells):
            lines: dict[int, dict[int, str]] = defaultdict(dict)
            for (name, line, column), text in self.cells.items():
                if name == sheet and text.strip():
                    lines[line][column] = text
            wanted = self.source.workbook is None or sheet.startswith("Stadtteile")
            if wanted and lines:
                self._table(lines)
        return self.figures

    def _table(self, lines: dict[int, dict[int, str]]) -> None:
        begins = self.source.table.header_line
        first = min(n for n in lines if n >= begins and lines[n].get(1) != "sep=")
        head = {column: heading(text) for column, text in lines[first].items()}
        for line in sorted(n for n in lines if n > first):
            row = {head[column]: text.strip() for column, text in lines[line].items() if column in head}
            if next(iter(row.values()), "") in self.source.table.skip:
                continue
            for column, name in head.items():
                self._cell(line, column, name, row, lines[line].get(column, ""))

    def _cell(self, line: int, column: int, name: str, row: dict[str, str], text: str) -> None:
        layout = self.source.layout
        for value in layout.values:
            if value.column is None and not name[:1].isdigit():
                continue
            if value.column is not None and value.column != name:
                continue
            measure = value.measure or value.measures[row[str(value.measure_column)]]
            period = period_of(row[layout.period.column] if layout.period.column else name, self.source)
            key = (measure, value.category, self._area(row), period)
            assert key not in self.figures, key
            self.figures[key] = (line, column, number_of(text, self.source))

    def _area(self, row: dict[str, str]) -> str:
        area = self.source.layout.area
        if area is None:
            return str(self.source.layout.fixed_area)
        levels = [area.levels[row[area.level_column]]] if area.level_column else area.possible_levels()
        name, number, area_id = (row.get(heading(c), "") if c else "" for c in (area.name, area.number, area.id))
        return self.places.find(levels, name, number, area_id)


# ---------------------------------------------------------------- the layouts


class Book:
    """Writes a table as a workbook: a cover, then the table below a title, the heading in line 3."""

    def __init__(self, change: str = "") -> None:
        self.change = change

    def write(self, rows: list[list[str]]) -> bytes:
        out = io.BytesIO()
        name = {"sheet_renamed": "Tabelle1"}.get(self.change, "Stadtteile 2023")
        with xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_numbers": False}) as book:
            book.add_worksheet("Deckblatt").write(0, 0, "Amt für Statistik")
            if self.change != "sheet_left_out":
                sheet = book.add_worksheet(name)
                sheet.write(0, 0, "Einwohner nach Stadtteilen")
                for r, row in enumerate(rows, 2):
                    for c, text in enumerate(row):
                        self._cell(sheet, r, c, text)
                if self.change == "sheet_hidden":
                    sheet.hide()
            if self.change == "sheet_added":
                book.add_worksheet("Stadtteile alt").write(2, 0, "etwas anderes")
        return out.getvalue()

    def _cell(self, sheet: Any, r: int, c: int, text: str) -> None:
        number = re.fullmatch("[0-9]{1,9}", text) and r > 2 and self.change != "numbers_as_text"
        if number and self.change == "formula_written":
            sheet.write_formula(r, c, f"={text}+0", None, int(text))
        elif number:
            sheet.write_number(r, c, int(text))
        elif text:
            sheet.write_string(r, c, text)


@dataclass
class Layout:
    """A source and the unchanged file that is mutated."""

    project: Project
    source: Source
    name: str
    content: bytes

    @property
    def label(self) -> str:
        return f"{self.source.id}{' (Arbeitsmappe)' if self.source.workbook else ''}"

    @property
    def weight(self) -> float:
        """How often it is drawn: all alike in the soak run, else the small files more often."""
        return 1 if SOAK else 1 / (1000 + len(self.content))

    @cached_property
    def rows(self) -> list[list[str]]:
        text = io.StringIO(self.content.decode("utf-8-sig"), newline="")
        return list(csv.reader(text, delimiter=self.source.format.delimiter))

    def as_file(self, rows: list[list[str]], change: str = "") -> bytes:
        if self.source.workbook:
            return Book(change).write(rows)
        out = io.StringIO()
        csv.writer(out, delimiter=self.source.format.delimiter, lineterminator="\n").writerows(rows)
        return out.getvalue().encode("utf-8", "surrogatepass")


def layouts_of(project: Project, inbox: Path) -> list[Layout]:
    return [
        Layout(project, source, file.name, file.read_bytes())
        for source in project.sources.values()
        for file in sorted((inbox / source.id).glob("*.csv"))
    ]


def as_book(layout: Layout) -> Layout:
    changes = {"workbook": Workbook(sheets=["Stadtteile*"]), "table": TableShape(header_line=3)}
    return Layout(layout.project, layout.source.model_copy(update=changes), "lieferung.xlsx", layout.content)


def all_layouts(folder: Path) -> list[Layout]:
    """Shipped files, workbooks over three of their layouts, and the city's real files where they are."""
    found = layouts_of(load_project(ROOT), ROOT / "data/raw")
    books = ("bevoelkerung_geschlecht", "specimen_kinder_sgb2", "sozialbericht_sgb2")
    found += [as_book(layout) for layout in found if layout.source.id in books]
    if SHARED.is_dir():
        from tests.test_realdirt import make_project

        real = make_project(folder / "real", SHARED, settled=True)
        found += layouts_of(load_project(real), real / "data/raw")
    return found


# ---------------------------------------------------------------- mutants


@dataclass
class Mutant:
    """One changed file."""

    layout: Layout
    kind: str
    content: bytes
    number: int
    first: bool
    """Nothing was delivered before; else the unchanged file was."""

    def __repr__(self) -> str:
        return f"Mutante {self.number}: {self.kind} an {self.layout.label}"


def kinds_of(layout: Layout) -> list[str]:
    return [
        *mutants.GRID,
        *(("archive_flipped", *mutants.BOOK, *mutants.SHEETS) if layout.source.workbook else mutants.TEXT),
    ]


def mutate(layout: Layout, kind: str, random: Random) -> bytes:
    if kind in mutants.GRID:
        grid = Grid.of(layout.rows, layout.source)
        mutants.GRID[kind](random, grid)
        return layout.as_file(grid.rows)
    if kind in mutants.SHEETS:
        return layout.as_file(layout.rows, kind)
    content = layout.as_file(layout.rows) if layout.source.workbook else layout.content
    return (mutants.BOOK | mutants.TEXT)[kind](random, content, layout.source)


def mutants_of(layouts: list[Layout], numbers: Iterable[int], seed: int = 20251124) -> Iterator[Mutant]:
    """Every kind in turn, each over layouts drawn at random; a mutant that changes nothing is drawn again."""
    kinds = [*mutants.GRID, *mutants.TEXT, *mutants.BOOK, *mutants.SHEETS]
    for number in numbers:
        random, mutant = Random(f"{seed}-{number}"), None
        kind = kinds[number % len(kinds)]
        possible = [layout for layout in layouts if kind in kinds_of(layout)]
        while mutant is None:
            layout = random.choices(possible, [layout.weight for layout in possible])[0]
            mutant = changed(layout, kind, number, random)
        yield mutant


def changed(layout: Layout, kind: str, number: int, random: Random) -> Mutant | None:
    """A mutant, or None where this change leaves this file as it is."""
    try:
        content = mutate(layout, kind, random)
    except (IndexError, ValueError):  # the layout has nothing that could be changed so
        return None
    if content in (layout.content, layout.as_file(layout.rows)):
        return None
    return Mutant(layout, kind, content, number, random.random() < 0.5)


# ---------------------------------------------------------------- judging


@dataclass
class Result:
    """What became of a mutant; `differs` counts figures that are other, fewer and more than in the unchanged file."""

    mutant: Mutant
    verdict: Verdict
    differs: tuple[int, int, int] = (0, 0, 0)

    @property
    def first_rule(self) -> str:
        errors = [f["rule"] for f in self.verdict.failures if f["severity"] == "error"]
        return min(errors, key=lambda rule: (RULES[rule].rank, list(RULES).index(rule)))

    @property
    def warned(self) -> set[str]:
        return {f["rule"] for f in self.verdict.failures if f["severity"] == "warning"}


Rows = dict[Key, dict[str, Any]]


def rows_by_key(reading: Path) -> list[dict[str, Any]]:
    return pq.read_table(reading).to_pylist()


def key_of(row: dict[str, Any]) -> Key:
    return row["measure_id"], row["category"], row["area_id"], row["period"]


class Bench:
    """Judges mutants as a night would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.layouts = all_layouts(folder)
        self.places = Places(ROOT / "assets/areas/areas.csv")
        self.pasts: dict[tuple[Path, str], Past] = {}

    def original(self, project: Project, label: str) -> Past:
        """The reading of an unchanged file, made when it is first needed."""
        key = (project.paths.root, label)
        if key not in self.pasts:
            layout = next(la for la in self.layouts if (la.project.paths.root, la.label) == key)
            self.pasts[key] = self._accepted(layout)
        return self.pasts[key]

    def _accepted(self, layout: Layout) -> Past:
        reading = self.folder / f"{layout.label}-{layout.project.paths.root.name}.parquet"
        content = layout.as_file(layout.rows) if layout.source.workbook else layout.content
        verdict = self._judge(layout, content, reading, Context([], {}))
        assert verdict.clean, (layout.label, verdict.failures[:3])
        return Past(layout.source.id, f"{layout.source.id}-0001", 1, reading)

    def _judge(self, layout: Layout, content: bytes, reading: Path, context: Context) -> Verdict:
        """Both halves of a night's judgement."""
        file = self.folder / "bytes"
        file.write_bytes(content)
        corrections = [c for c in layout.source.corrections if c.delivery == f"{layout.source.id}-0001"]
        project, source = layout.project, layout.source
        own, _ = judge(project, source, file, layout.name, corrections, reading, received_on=RECEIVED)
        return compared(project, source, reading, own, context) if own.figures else own

    def context(self, layout: Layout, *, first: bool) -> Context:
        others = {name: [self.original(layout.project, name)] for name in layout.source.compared_with()}
        return Context([] if first else [self.original(layout.project, layout.label)], others)

    def result(self, mutant: Mutant) -> Result:
        """Judge one mutant and check what must hold for every file."""
        reading = self.folder / "reading.parquet"
        layout = mutant.layout
        verdict = self._judge(layout, mutant.content, reading, self.context(layout, first=mutant.first))
        rows = rows_by_key(reading)
        self._reasons(mutant, verdict)
        if not verdict.clean:
            self._places(mutant, rows)
            return Result(mutant, verdict)
        after = {key_of(row): value_of(row) for row in rows}
        self._second_reading(mutant, rows)
        unchanged = self.original(layout.project, layout.label).path
        before = {key_of(row): value_of(row) for row in rows_by_key(unchanged)}
        other = sum(after[key] != before[key] for key in after.keys() & before.keys())
        return Result(mutant, verdict, (other, len(before.keys() - after.keys()), len(after.keys() - before.keys())))

    def _reasons(self, mutant: Mutant, verdict: Verdict) -> None:
        """Findings name known rules and places that exist, in sentences."""
        assert verdict.clean or verdict.failures, mutant
        lines = len(mutant.content.splitlines()) + 1
        for found in verdict.failures:
            assert found["rule"] in RULES, mutant
            sentence = Failure(**found).sentence()
            assert sentence.endswith("."), (mutant, sentence)
            assert sentence.isprintable(), (mutant, sentence)
            ours = re.sub(r"»[^«]*«|\(technisch: .*\)", "", found["message"])
            assert not re.search(r"Traceback|Exception|\b(None|nan|NaN)\b", ours), (mutant, sentence)
            if not mutant.layout.source.workbook and found["rule"] != "berichtigung":  # that names the YAML's line
                assert 0 <= found["line"] <= lines, (mutant, sentence)
            assert 0 <= found["column"] <= 16_384, (mutant, sentence)

    def _places(self, mutant: Mutant, rows: list[dict[str, Any]]) -> None:
        """Also what was read of a rejected file stands where it is said to stand."""
        if mutant.layout.source.workbook:
            return
        cells = text_cells(mutant.content.replace(b"\0", b""), mutant.layout.source.format.delimiter) if rows else {}
        for row in rows:
            assert row["text"] == cells.get(("", row["line"], row["column"]), ""), (mutant, row)

    def _second_reading(self, mutant: Mutant, rows: list[dict[str, Any]]) -> None:
        """Every figure of an accepted file is the file's, and none is missing."""
        source = mutant.layout.source
        corrected = [row for row in rows if row["correction"] is not None]
        for row in corrected:
            correction = [c for c in source.corrections if c.delivery == f"{source.id}-0001"][row["correction"]]
            assert row["line"] in correction.all_lines(), (mutant, row)
        if source.workbook:
            cells = book_cells(mutant.content)
        else:
            cells = text_cells(mutant.content, source.format.delimiter)
        for row in rows:
            assert row["text"].strip() == cells.get((row["sheet"], row["line"], row["column"]), "").strip(), (
                mutant,
                row,
            )
            assert value_of(row) == number_of(row["read_text"], source), (mutant, row)
        if not source.corrections:
            second = Second(source, self.places, cells).read()
            assert {key_of(r): (r["line"], r["column"], value_of(r)) for r in rows} == second, mutant


def value_of(row: dict[str, Any]) -> float | str:
    return row["value"] if row["status"] == "value" else row["status"]


# ---------------------------------------------------------------- what became of them

_POSSIBLE = "another possible number: only a sum, another source or an earlier delivery can contradict it"
_PLACE = "possible numbers at the wrong place: noticed where sizes, sums, sources or earlier figures contradict"
_FEWER = "nothing in the contract says that the figures left out must be there"
_SIGN = "a sign that the source may use: the figure is missing or withheld, as the file says"
_TIME = "another possible period, not in the future, for which the rows are complete"
WHY = {
    **dict.fromkeys(("number_slightly_other", "number_other", "digit_added", "digit_lost", "digits_turned"), _POSSIBLE),
    **dict.fromkeys(("number_negative", "number_enormous", "column_in_thousands", "bytes_flipped"), _POSSIBLE),
    **dict.fromkeys(("bytes_lost", "bytes_inserted", "number_with_fraction", "stray_quote"), _POSSIBLE),
    **dict.fromkeys(("number_with_thousands_mark",), _POSSIBLE),
    **dict.fromkeys(("area_names_exchanged", "area_names_slipped", "headings_exchanged", "block_copied"), _PLACE),
    **dict.fromkeys(("row_as_another_area", "row_inserted_for_another_area", "label_other", "name_misspelt"), _PLACE),
    **dict.fromkeys(("rows_cut", "end_cut", "column_cut", "broken_off"), _FEWER),
    **dict.fromkeys(("column_emptied", "symbol_instead", "cell_emptied"), _SIGN),
    **dict.fromkeys(("year_other", "block_of_another_year", "period_counted_up"), _TIME),
}
"""Why it is right that a file changed so may be accepted though its figures are other than before."""


def table(results: list[Result]) -> list[str]:
    """Lines of a Markdown table: kind of mutation, and what became of its files."""
    head = ["Mutation", "files", "accepted, same figures", "accepted, other figures", "of these with a warning"]
    head += ["rejected", "by (the most important rule of each file)"]
    lines = [f"| {' | '.join(head)} |", "| --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    kinds = {result.mutant.kind: [r for r in results if r.mutant.kind == result.mutant.kind] for result in results}
    for kind, of_kind in [*kinds.items(), ("all", results)]:
        clean = [r for r in of_kind if r.verdict.clean]
        other = [r for r in clean if any(r.differs)]
        rules = Counter(r.first_rule for r in of_kind if not r.verdict.clean).most_common()
        numbers = (len(of_kind), len(clean) - len(other), len(other), sum(bool(r.warned) for r in other))
        first = ", ".join(f"{rule} {count}" for rule, count in rules)
        lines.append(f"| {kind} | {' | '.join(map(str, numbers))} | {len(of_kind) - len(clean)} | {first} |")
    return lines


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("mutanten"))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(PARTS))
def test_mutants_are_read_as_they_are_or_rejected_with_a_reason(bench: Bench, part: int) -> None:
    results = [bench.result(mutant) for mutant in mutants_of(bench.layouts, range(part, COUNT, PARTS))]
    other = [result.mutant for result in results if any(result.differs)]
    assert [mutant for mutant in other if mutant.kind not in WHY] == []
    assert len(results) == COUNT / PARTS
    assert len(other) < len(results) / 4


# ---------------------------------------------------------------- the mart


def kiel(folder: Path) -> Path:
    """The shipped project with its files."""
    shutil.copytree(ROOT / "assets", folder / "assets")
    shutil.copytree(ROOT / "data/raw", folder / "data/raw")
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")
    return folder


def deliver_mutants(root: Path, seed: int) -> dict[str, Mutant]:
    """One mutant per source beside its unchanged file, in the same night and after it."""
    found: dict[str, Mutant] = {}
    for layout in layouts_of(load_project(root), root / "data/raw"):
        random = Random(f"{seed}-{layout.source.id}")
        kinds = random.sample(kinds_of(layout), 20)
        mutant = next(filter(None, (changed(layout, kind, seed, random) for kind in kinds)))
        found[layout.source.id] = mutant
        (root / "data/raw" / layout.source.id / "zz_mutante.csv").write_bytes(mutant.content)
    return found


def delivered(file: Path) -> list[tuple[Key, str, float | None]]:
    """Figures of the internal mart that come from a delivery: key, delivery and value."""
    with duckdb.connect(str(file), read_only=True) as con:
        rows = con.execute(
            "SELECT measure_id, category, area_id, period, delivery_ids, value FROM mart.observation "
            "WHERE method = 'delivered'"
        ).fetchall()
    return [((row[0], row[1], row[2], row[3]), row[4], row[5]) for row in rows]


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(NIGHTS))
def test_mart_holds_nothing_that_is_not_in_a_file(tmp_path: Path, seed: int) -> None:
    root = kiel(tmp_path / "kiel")
    mutated = deliver_mutants(root, seed)
    assert len(mutated) >= 20
    night = Night.begin(root, lambda text: None, dt.datetime(2025, 11, 24, 3, tzinfo=dt.UTC))
    try:
        night.intake()
        night.build()
    finally:
        lock.take(night.project.paths.lock_file).release()
    places = Places(root / "assets/areas/areas.csv")
    said: dict[str, dict[Key, float | str]] = {}
    for state in night.states.values():
        for delivery in state.in_force:
            cells = text_cells(delivery.file.read_bytes(), state.source.format.delimiter)
            figures = Second(state.source, places, cells).read()
            said[delivery.delivery_id] = {key: value for key, (_, _, value) in figures.items()}
    found = delivered(night.project.paths.internal_mart)
    assert len(found) > 3000
    for key, delivery_id, value in found:
        assert delivery_id in said, (key, delivery_id)
        text = said[delivery_id][key]
        assert value == (None if isinstance(text, str) else text), (key, delivery_id, mutated)


def main() -> None:
    """Judge all mutants and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        results = [bench.result(mutant) for mutant in mutants_of(bench.layouts, range(COUNT))]
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
