"""Six files of the city of Kiel as they are: each known defect is named with its line; settled in YAML, they count.

The project is `tests/realdirt`, described twice: as somebody would on first sight of the files (`defs.yaml`), and with
what is settled since (`settled.yaml`, added to the source). The files are read in place beside the checkout and are no
part of the repository. What is expected is worked out from them here, with the csv module and nothing of ours.

    python -m tests.test_realdirt    prints what was found: rule by file, defects, precision
"""

from __future__ import annotations

import csv
import datetime as dt
import os
import re
import shutil
import tempfile
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from pipelines.intake import layout
from pipelines.intake.delimited import open_text
from pipelines.intake.failures import Failure, Findings
from pipelines.intake.layout import Reader
from pipelines.intake.rules import RULES
from pipelines.intake.run import SourceState, take_in
from pipelines.night import Night
from pipelines.project import Project, load_project
from schemas.documents import Format
from tests.conftest import ROOT, SHARED, run_night, sozialraum

PROJECT = ROOT / "tests/realdirt"
NOW = dt.datetime(2025, 11, 24, 3, tzinfo=dt.UTC)
START = "kiel_bevoelkerung_"
FILES = {
    "geschlecht": f"{START}stadtteile_einwohner_geschlecht.csv",
    "altersgruppen": f"{START}altersgruppen_stadtteile.csv",
    "haushalte": f"{START}haushalte_nach_haushaltstypen_und_personenanzahl_in_den_stadtteilen.csv",
    "familienstand": f"{START}einwohner_nach_familienstand_in_den_stadtteilen.csv",
    "religion": f"{START}einwohner_nach_religionszugehoerigkeit_in_den_stadtteilen.csv",
    "nationalitaeten": f"{START}auslaender_nach_ausgesuchten_nationalitaeten_in_den_stadtteilen.csv",
}
FIRST_VALUE = {
    "geschlecht": 7,
    "altersgruppen": 7,
    "haushalte": 6,
    "familienstand": 5,
    "religion": 5,
    "nationalitaeten": 5,
}
"""Position of the first column with figures; all columns to its right hold figures too."""

SOAK = os.environ.get("SOAK") == "1"
YEARS = range(2014, 2024) if SOAK else (2016, 2019, 2023)

# ---------------------------------------------------------------- the files, read by the csv module


@dataclass(frozen=True)
class Raw:
    """One of the files. Lines count from 1; no cell of these files holds a line break."""

    source: str
    folder: Path

    @cached_property
    def rows(self) -> list[list[str]]:
        with (self.folder / FILES[self.source]).open(encoding="utf-8", newline="") as lines:
            return list(csv.reader(lines, delimiter=";"))

    def lines(self, **wanted: str) -> list[int]:
        """Lines whose cells hold these texts, blanks around them left out."""
        at = {self.rows[0].index(name): text for name, text in wanted.items()}
        return [n for n, row in enumerate(self.rows, 1) if n > 1 and all(row[i].strip() == t for i, t in at.items())]

    def block(self, **wanted: str) -> tuple[int, int]:
        """First and last line of rows that stand together."""
        lines = self.lines(**wanted)
        assert lines == list(range(lines[0], lines[-1] + 1))
        return lines[0], lines[-1]

    def cell(self, line: int, column: str) -> str:
        return self.rows[line - 1][self.rows[0].index(column)]

    def figures(self) -> Iterator[tuple[int, int, str]]:
        """Line, column (from 1) and text of every cell that holds a figure."""
        for line, row in enumerate(self.rows[1:], 2):
            for position in range(FIRST_VALUE[self.source], len(row)):
                yield line, position + 1, row[position]

    def texts(self, pattern: str) -> list[tuple[int, int]]:
        """Line and column of the figures whose whole text fits a regular expression."""
        return [(line, column) for line, column, text in self.figures() if re.fullmatch(pattern, text)]

    def number(self, line: int) -> int:
        """Sum of the figures of a line, points between digits left out."""
        return sum(int(text.replace(".", "")) for text in self.rows[line - 1][FIRST_VALUE[self.source] :])


@dataclass(frozen=True)
class Files:
    folder: Path

    def __getitem__(self, source: str) -> Raw:
        return Raw(source, self.folder)


# ---------------------------------------------------------------- what must be found


@dataclass(frozen=True)
class Sign:
    """A finding that must be made: rule, line (or first and last), column from 1 (0: any), words of its message."""

    source: str
    rule: str
    line: int
    words: tuple[str, ...] = ()
    last: int = 0
    column: int = 0

    def is_made(self, findings: list[dict[str, Any]]) -> bool:
        return any(
            f["rule"] == self.rule
            and (f["line"], f["last_line"]) == (self.line, self.last)
            and self.column in (0, f["column"])
            and all(word in f["message"] for word in self.words)
            for f in findings
        )


@dataclass(frozen=True)
class Defect:
    """A row of the table of known errors: the signs by which it is found, and what else may be said because of it."""

    signs: list[Sign]
    also: list[Sign] = field(default_factory=list)

    def explains(self, source: str, finding: dict[str, Any]) -> bool:
        """Whether a finding is about this defect: same file and rule, no line outside."""
        first, last = finding["line"], finding["last_line"] or finding["line"]
        return any(
            (sign.source, sign.rule) == (source, finding["rule"])
            and sign.column in (0, finding["column"])
            and sign.line <= first <= last <= (sign.last or sign.line)
            for sign in self.signs + self.also
        )


def doubled_block(files: Files) -> Defect:
    raw = files["geschlecht"]
    lines: dict[tuple[str, str], list[int]] = defaultdict(list)
    for line, row in enumerate(raw.rows[1:], 2):
        lines[row[4], row[5]].append(line)
    pairs = [found for found in lines.values() if len(found) == 2]
    first, second = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    assert (first[0], first[-1], len(first)) == (212, 241, 30)
    other = raw.lines(Datum="2017_12_31")
    assert sorted(raw.cell(n, "insgesamt") for n in first) == sorted(raw.cell(n, "insgesamt") for n in other)
    return Defect(
        [
            Sign("geschlecht", "block_wiederholt", first[0], ("31.12.2016", "31.12.2017", "249.190"), last=first[-1]),
            *(
                Sign("geschlecht", "schluessel_eindeutig", b, (f"Zeile {a}",))
                for a, b in zip(first, second, strict=True)
            ),
        ],
        also=[Sign("geschlecht", "stimmt_mit_quelle", first[0], last=first[-1])],
    )


def possible(text: str) -> bool:
    try:
        dt.date(*map(int, text.split("_")))
    except ValueError:
        return False
    return True


def dates_that_count_up(files: Files) -> Defect:
    raw = files["altersgruppen"]
    wrong = [n for n in range(2, len(raw.rows) + 1) if not possible(raw.cell(n, "Datum"))]
    assert len(wrong) == 28
    return Defect([Sign("altersgruppen", "zeitangabe_lesbar", n, (raw.cell(n, "Datum"),), column=4) for n in wrong])


def other_population(files: Files) -> Defect:
    ages, sexes = files["altersgruppen"], files["geschlecht"]
    signs = []
    for year in range(2014, 2024):
        lines = ages.lines(Datum=f"{year}_12_31")
        # the last 30 lines of a year: the doubled block of 2016 stands before them
        population = [int(sexes.cell(n, "insgesamt")) for n in sexes.lines(Datum=f"{year}_12_31")[-30:]]
        if all(ages.number(n) > 1.005 * p for n, p in zip(lines, population, strict=False)):
            words = (f"Zum 31.12.{year} ", "höher", "+2,")
            signs.append(Sign("altersgruppen", "stimmt_mit_quelle", lines[0], words, last=lines[-1]))
    assert sum(sign.last - sign.line + 1 for sign in signs) == 150
    newer, older = ages.block(Datum="2019_12_31"), ages.block(Datum="2018_12_31")
    assert newer[1] + 1 == older[0] == max(sign.line for sign in signs if "2018" in sign.words[0])
    return Defect([*signs, Sign("altersgruppen", "definition", newer[0], ("31.12.2018", "nach unten"), last=newer[1])])


def misspelt_name(files: Files) -> Defect:
    """All years but 2020: there the date is impossible and said first, see the test of names after dates."""
    raw = files["altersgruppen"]
    lines = [n for n in raw.lines(Stadtteil="Bluecherpatz") if possible(raw.cell(n, "Datum"))]
    return Defect(
        [Sign("altersgruppen", "gebiet_bekannt", n, ("Bluecherpatz", "»Blücherplatz«"), column=7) for n in lines]
    )


def blank_in_heading(files: Files) -> Defect:
    heading = files["altersgruppen"].rows[0]
    wrong = [(i, name) for i, name in enumerate(heading, 1) if name != name.strip()]
    return Defect([Sign("altersgruppen", "spaltenname_leerzeichen", 1, (f"»{name}«",), column=i) for i, name in wrong])


def thousands(files: Files) -> Defect:
    raw = files["haushalte"]
    cells = raw.texts(r"[0-9]\.[0-9]{3}")
    assert len(cells) == 80
    return Defect([Sign("haushalte", "zelle_lesbar", n, (f"»{raw.rows[n - 1][c - 1]}«",), column=c) for n, c in cells])


def persons_of_2017(files: Files) -> Defect:
    first, last = files["haushalte"].block(Jahr="31_12_2018", Merkmal="Personen")
    return Defect(
        [Sign("haushalte", "block_wiederholt", first, ("31.12.2018", "31.12.2017", "249.190"), last=last)],
        also=[Sign("haushalte", "stimmt_mit_quelle", first, last=last)],
    )


def households_called_persons(files: Files) -> Defect:
    first, last = files["haushalte"].block(Jahr="31_12_2019")
    return Defect(
        [Sign("haushalte", "groesse_widerspricht", first, ("138.998", "»Haushalte nach Typ«"), last=last)],
        also=[Sign("haushalte", "stimmt_mit_quelle", first, last=last)],
    )


def two_date_forms(files: Files) -> Defect:
    raw = files["haushalte"]
    line = next(n for n in range(2, len(raw.rows) + 1) if "_" in raw.cell(n, "Jahr"))
    return Defect([Sign("haushalte", "zeitform", line, (raw.cell(line, "Jahr"), raw.cell(2, "Jahr")), column=4)])


def odd_signs_in_names(files: Files) -> Defect:
    raw = files["haushalte"]
    odd = {n: raw.cell(n, "Stadtteile") for n in range(2, len(raw.rows) + 1) if not raw.cell(n, "Stadtteile").isascii()}
    (umlaut,) = [n for n, name in odd.items() if name.isprintable()]
    (control,) = [n for n, name in odd.items() if not name.isprintable()]
    return Defect(
        [
            Sign("haushalte", "schreibweise", umlaut, ("»Blücherplatz«", "»Bluecherplatz«"), column=5),
            Sign("haushalte", "steuerzeichen", control, ("U+009D",), column=5),
            Sign("haushalte", "gebiet_bekannt", control, ("»Neumühlen-Dietrichsdorf«",), column=5),
        ]
    )


def changed_methods(files: Files) -> Defect:
    raw = files["haushalte"]
    first, second = raw.block(Jahr="31_12_2018", Merkmal="Haushalte"), raw.block(Jahr="31.12.2023")
    return Defect(
        [
            Sign("haushalte", "definition", first[0], ("nach unten", "144.366", "137.448"), last=first[1]),
            Sign("haushalte", "definition", second[0], ("nach oben", "140.177", "144.335"), last=second[1]),
        ]
    )


def population_of_the_year_before(files: Files) -> Defect:
    first, last = files["familienstand"].block(Jahr="31_12_2015")
    return Defect(
        [Sign("familienstand", "stimmt_mit_quelle", first, ("242.340", "246.269", "31.12.2014"), last=last)],
    )


def signs_without_meaning(files: Files) -> Defect:
    raw = files["nationalitaeten"]
    assert len({line for line, _ in raw.texts("-")}) == 69
    wrong = [(*place, ("»-«",)) for place in raw.texts("-")] + [(*place, ("leer",)) for place in raw.texts("")]
    return Defect([Sign("nationalitaeten", "zelle_lesbar", n, words, column=c) for n, c, words in wrong])


def blanks_after_names(files: Files) -> Defect:
    raw = files["nationalitaeten"]
    wrong = [n for n in range(2, len(raw.rows) + 1) if raw.cell(n, "Stadtteil") != raw.cell(n, "Stadtteil").strip()]
    words = ("Leerzeichen", f"in {len(wrong) - 1} weiteren Zellen")
    return Defect([Sign("nationalitaeten", "leerzeichen", wrong[0], words, column=5)])


DEFECTS: dict[tuple[str, str], Callable[[Files], Defect]] = {
    ("geschlecht", "lines 212-241 (Datum 2016_12_31, first block)"): doubled_block,
    ("altersgruppen", "30 rows of 2020"): dates_that_count_up,
    ("altersgruppen", "150 rows of 2014-2018"): other_population,
    ("altersgruppen", "all years, number 7"): misspelt_name,
    ("altersgruppen", "header"): blank_in_heading,
    ("haushalte", "2015 Haushalte; 2016 Personen"): thousands,
    ("haushalte", "2018 Personen"): persons_of_2017,
    ("haushalte", "2019"): households_called_persons,
    ("haushalte", "Jahr column"): two_date_forms,
    ("haushalte", "one row each"): odd_signs_in_names,
    ("haushalte", "2018 and 2023"): changed_methods,
    ("familienstand", "31_12_2015"): population_of_the_year_before,
    ("nationalitaeten", "69 rows"): signs_without_meaning,
    ("nationalitaeten", "Stadtteil column"): blanks_after_names,
}


def not_in_the_table(files: Files) -> Defect:
    """Real defects that nobody had seen before: points that stand alone, and one thousands point."""
    cells = files["nationalitaeten"].texts(r"\.|[0-9]\.[0-9]{3}")
    return Defect([Sign("nationalitaeten", "zelle_lesbar", n, column=c) for n, c in cells])


# ---------------------------------------------------------------- the project


def make_project(folder: Path, shared: Path, *, settled: bool, only: tuple[str, ...] = tuple(FILES)) -> Path:
    """A project with the files in its inbox."""
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("settled.yaml"))
    for part in ("areas", "marts"):
        shutil.copytree(ROOT / "assets" / part, folder / "assets" / part)
    for source in FILES if settled else []:
        settle(folder, source)
    if not settled:
        areas = folder / "assets/areas/areas.csv"  # that Kiel's list knows this misspelling settles a defect
        areas.write_text(areas.read_text(encoding="utf-8").replace("Bluecherpatz", ""), encoding="utf-8")
    for source in only:
        deliver(folder, source, shared / "kiel/raw" / FILES[source])
    deliver(folder, "einwohnerreihe", shared / "kiel/derived-by-third-party/einwohner_1988_2021.csv")
    return folder


def deliver(folder: Path, source: str, file: Path) -> None:
    (folder / "data/raw" / source).mkdir(parents=True)
    shutil.copyfile(file, folder / "data/raw" / source / file.name)


def settle(folder: Path, source: str, change: tuple[str, str] = ("", ""), *, corrections: bool = True) -> None:
    """Add to a source what is settled about its file; `change` replaces a text in it."""
    addition = PROJECT / "assets" / source / "settled.yaml"
    if addition.exists():
        text = addition.read_text(encoding="utf-8")
        assert change[0] in text
        if not corrections:
            text = re.sub(r"^corrections:\n(  .*\n)+", "", text, flags=re.MULTILINE)
        defs = folder / "assets" / source / "defs.yaml"
        described, mark, rest = defs.read_text(encoding="utf-8").partition("\n---\n")
        text = textwrap.indent(text.replace(*change), "  ")
        defs.write_text(f"{described}\n{text}{mark}{rest}", encoding="utf-8")


_NIGHTS: dict[bool, Night] = {}
"""One night per variant, shared by all tests of this module."""


def night_of(folder: Path, shared: Path, *, settled: bool) -> Night:
    if settled not in _NIGHTS:
        _NIGHTS[settled] = run_night(make_project(folder / "Kiel", shared, settled=settled), NOW)
    return _NIGHTS[settled]


@pytest.fixture
def files(shared: Path) -> Files:
    return Files(shared / "kiel/raw")


@pytest.fixture
def first(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    return night_of(tmp_path_factory.mktemp("first"), shared, settled=False)


@pytest.fixture
def settled(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    return night_of(tmp_path_factory.mktemp("settled"), shared, settled=True)


def findings(night: Night) -> dict[str, list[dict[str, Any]]]:
    """Everything a night found, by source."""
    return {name: [f for v in state.verdicts.values() for f in v.failures] for name, state in night.states.items()}


# ---------------------------------------------------------------- every cell is read


@pytest.mark.parametrize("source", FILES)
def test_every_cell_of_the_file_is_read(files: Files, source: str) -> None:
    found = Findings()
    rows = list(open_text(files.folder / FILES[source], Format(), found) or [])
    assert [row.cells for row in rows] == files[source].rows
    assert [row.line for row in rows] == list(range(1, len(rows) + 1))
    assert found.kept == []


@pytest.mark.parametrize("source", FILES)
def test_every_figure_comes_with_its_line_column_and_text(first: Night, files: Files, source: str) -> None:
    project = first.project
    reader = Reader(project.sources[source], project.directory, project.measures, Findings())
    cells = [
        cell
        for chunk in reader.chunks(files.folder / FILES[source], FILES[source], [])
        for cell in chunk[["line", "column", "text"]].itertuples(index=False, name=None)
    ]
    assert sorted(cells) == list(files[source].figures())


# ---------------------------------------------------------------- every known defect is found


def table(shared: Path) -> list[dict[str, str]]:
    with (shared / "kiel-figures/bekannte_fehler.csv").open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_each_row_of_the_table_of_known_errors_is_found_and_named_with_its_line(
    first: Night, files: Files, shared: Path
) -> None:
    found = findings(first)
    sources = {name: source for source, name in FILES.items()}
    missed = []
    for row in table(shared):
        key = (sources[row["file"]], row["where"])
        if key not in DEFECTS:
            missed.append(f"no test covers {key}: {row['defect']}")
            continue
        signs = DEFECTS[key](files).signs
        assert signs, key
        missed += [f"{key}: {sign}" for sign in signs if not sign.is_made(found[sign.source])]
    assert missed == []
    assert len(table(shared)) == len(DEFECTS) == 14


def test_command_says_the_same(first: Night, files: Files) -> None:
    file = files.folder / FILES["geschlecht"]
    run = sozialraum("check", file, "--source", "geschlecht", "--project", first.project.paths.root)
    assert run.returncode == 3, run.stdout + run.stderr
    said = " ".join(run.stdout.split())
    for words in ("Zeilen 212 bis 241", "249.190", "Zeilen 242 bis 271"):
        assert words in said, run.stdout


def test_files_with_errors_are_rejected_and_the_others_are_not(first: Night) -> None:
    rejected = {name for name, state in first.states.items() if state.outstanding}
    assert rejected == {"geschlecht", "altersgruppen", "haushalte", "familienstand", "nationalitaeten"}
    assert len(first.findings) == len(rejected)


# ---------------------------------------------------------------- and nothing else


@dataclass
class Sorted:
    """Findings by what they are about, each with its source."""

    explained: dict[str, list[tuple[str, dict[str, Any]]]]
    false_alarms: list[tuple[str, dict[str, Any]]]


NEW = "not in the table"


def sort_out(night: Night, files: Files) -> Sorted:
    """Which finding belongs to which defect; what belongs to none is a false alarm."""
    defects = {f"{source}: {where}": make(files) for (source, where), make in DEFECTS.items()}
    defects[NEW] = not_in_the_table(files)
    result = Sorted({name: [] for name in defects}, [])
    for source, found in findings(night).items():
        for finding in found:
            name = next((n for n, defect in defects.items() if defect.explains(source, finding)), None)
            (result.explained[name] if name else result.false_alarms).append((source, finding))
    return result


def test_no_error_is_reported_where_there_is_none(first: Night, files: Files) -> None:
    result = sort_out(first, files)
    assert [(s, f) for s, f in result.false_alarms if f["severity"] == "error"] == []
    assert len(result.explained[NEW]) == 9


def test_warnings_where_nothing_is_wrong_are_few_and_known(first: Night, files: Files) -> None:
    """In 2016 refugees moved in: the counts are right, and that all areas grew together is worth the question."""
    said = [(s, f["rule"], f["line"], f["last_line"]) for s, f in sort_out(first, files).false_alarms]
    assert said == [("nationalitaeten", "definition", *files["nationalitaeten"].block(Jahr="2016"))]


def test_a_file_without_defects_gives_no_finding(first: Night) -> None:
    assert findings(first)["religion"] == []
    assert first.states["religion"].flagged == []


def corrected_rows(project: Project, raw: Raw) -> list[list[str]]:
    """Rows of a file without heading, corrections carried out."""
    rows: dict[int, list[str]] = {line: list(row) for line, row in enumerate(raw.rows, 1) if line > 1}
    for correction in project.sources[raw.source].corrections:
        for position, line in enumerate(correction.all_lines()):
            if correction.drop:
                del rows[line]
            else:
                column = raw.rows[0].index(correction.column)
                rows[line][column] = correction.text_of(correction.value or "", position)
    return list(rows.values())


def test_sound_files_that_grow_year_by_year_are_never_rejected(
    settled: Night, files: Files, shared: Path, tmp_path: Path
) -> None:
    """As if the city had delivered each file every year since 2014, without its errors."""
    folder = make_project(tmp_path / "Kiel", shared, settled=False, only=())
    shutil.copyfile(ROOT / "assets/areas/areas.csv", folder / "assets/areas/areas.csv")
    for source in FILES:
        settle(folder, source, corrections=False)
    project = load_project(folder)
    rows = {source: corrected_rows(settled.project, files[source]) for source in FILES}
    warned: Counter[tuple[str, str]] = Counter()
    deliveries = 0
    for number, year in enumerate(YEARS, 1):
        for source, all_rows in rows.items():
            date = files[source].rows[0].index(project.sources[source].layout.period.column or "")
            until = [row for row in all_rows if int(re.findall("20[0-9]{2}", row[date])[0]) <= year]
            lines = [";".join(row) for row in [files[source].rows[0], *until]]
            if until:
                file = folder / "data/raw" / source / f"{year}.csv"
                file.parent.mkdir(exist_ok=True)
                file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        for one in project.intake_order():
            state = take_in(project, one, number, NOW)
            assert state.well, (year, one.id, [v.broken() for v in state.verdicts.values()])
            for delivery in state.new:
                deliveries += one.id in FILES
                warned.update({(one.id, f["rule"]) for f in state.verdicts[delivery.delivery_id].failures})
    assert deliveries == (56 if SOAK else 18)  # no year 2015 of familienstand: the same bytes again
    assert {(s, rule): n for (s, rule), n in warned.items() if rule not in CARE_IN_WRITING} == {
        ("nationalitaeten", "definition"): 1
    }


CARE_IN_WRITING = {"spaltenname_leerzeichen", "leerzeichen", "zeitform"}

# ---------------------------------------------------------------- settled


PRINTED = {2014: 242340, 2015: 246269, 2016: 249023, 2017: 249190, 2018: 248792, 2019: 247777, 2020: 247863}
PRINTED |= {2021: 247546, 2022: 248803, 2023: 250412}
"""Residents of Kiel: up to 2022 as printed in the Sozialberichte 2022 and 2023, 2023 added up from the open data."""


@pytest.fixture
def marts(settled: Night) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(settled.project.paths.internal_mart), read_only=True) as con:
        yield con


def sums(con: duckdb.DuckDBPyConnection, measure: str, source: str) -> dict[int, float]:
    """Sum over the 30 Stadtteile by year, of figures that came with the file of a source."""
    rows = con.execute(
        """
        SELECT year(reference_date), sum(value), count(value)
        FROM mart.observation
        WHERE measure_id = ? AND category = 'insgesamt' AND area_level = 'stadtteil' AND delivery_ids = ?
        GROUP BY ALL ORDER BY 1
        """,
        [measure, f"{source}-0001"],
    ).fetchall()
    assert {areas for _, _, areas in rows} == {30}
    return {year: total for year, total, _ in rows}


def test_all_files_are_accepted_once_their_defects_are_settled(settled: Night) -> None:
    assert settled.findings == []
    assert settled.gaps == []
    assert {name: [d.decision for d in s.deliveries] for name, s in settled.states.items()} == {
        name: ["accepted"] for name in [*FILES, "einwohnerreihe"]
    }


def test_what_remains_to_be_said_are_warnings(settled: Night) -> None:
    said = {(name, f["rule"], f["severity"]) for name, found in findings(settled).items() for f in found}
    assert said == {
        ("altersgruppen", "spaltenname_leerzeichen", "warning"),
        ("haushalte", "zeitform", "warning"),
        ("nationalitaeten", "leerzeichen", "warning"),
        ("nationalitaeten", "definition", "warning"),
    }


def test_printed_totals_are_those_of_the_reference(shared: Path) -> None:
    printed = {}
    with (shared / "kiel-figures/bevoelkerung_stadt_und_ortsteil.csv").open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if (row["indicator"], row["area_level"], row["status"]) == ("einwohner", "stadt", "published"):
                printed[int(row["date"][:4])] = int(row["value"])
    assert {year: PRINTED[year] for year in range(2014, 2023)} == {y: n for y, n in printed.items() if y >= 2014}


def test_stadtteile_add_up_to_the_printed_totals(marts: duckdb.DuckDBPyConnection) -> None:
    assert sums(marts, "einwohner", "geschlecht") == PRINTED
    city = marts.execute(
        "SELECT year(reference_date), value FROM mart.indicator_value "
        "WHERE indicator_id = 'einwohner_insgesamt' AND area_id = '01002000' AND reference_date >= DATE '2014-01-01'"
    ).fetchall()
    assert dict(city) == PRINTED


def test_other_files_add_up_to_the_same_totals(marts: duckdb.DuckDBPyConnection) -> None:
    ages = sums(marts, "einwohner_nach_alter", "altersgruppen")
    assert {year: ages[year] for year in range(2019, 2024)} == {year: PRINTED[year] for year in range(2019, 2024)}
    assert ages[2018] == 254526
    assert all(1.01 < ages[year] / PRINTED[year] < 1.03 for year in range(2014, 2019))
    status = sums(marts, "einwohner_nach_familienstand", "familienstand")
    assert status == {year: PRINTED[year] for year in range(2014, 2024) if year != 2015}
    assert sums(marts, "einwohner_nach_religion", "religion") == {y: n for y, n in PRINTED.items() if y >= 2015}
    persons = sums(marts, "personen_in_haushalten", "haushalte")
    assert persons == {year: PRINTED[year] for year in (2015, 2016, 2017)}
    households = sums(marts, "haushalte", "haushalte")
    known = {2017: 144366, 2018: 137448, 2019: 138998, 2021: 140534, 2022: 140177, 2023: 144335}
    assert sorted(households) == list(range(2015, 2024))
    assert {year: households[year] for year in known} == known


def test_a_sign_without_meaning_is_missing_and_not_zero(marts: duckdb.DuckDBPyConnection, files: Files) -> None:
    rows = marts.execute(
        "SELECT obs_status, count(*), count(value) FROM mart.observation "
        "WHERE measure_id = 'auslaender_ausgesucht' AND area_level = 'stadtteil' AND category <> 'insgesamt' "
        "GROUP BY ALL ORDER BY 1"
    ).fetchall()
    without = len(files["nationalitaeten"].texts(r"-|\.|"))
    assert rows == [("A", 270 * 7 - without, 270 * 7 - without), ("O", without, 0)]


def test_breaks_stand_in_the_marts(marts: duckdb.DuckDBPyConnection) -> None:
    rows = marts.execute("SELECT measure_id, since, other_population FROM mart.series_break ORDER BY ALL").fetchall()
    assert rows == [
        ("einwohner_nach_alter", "2019-12-31", "before"),
        ("haushalte", "2018-12-31", None),
        ("haushalte", "2023-12-31", None),
    ]


def test_received_bytes_stay_as_they_are(settled: Night, shared: Path) -> None:
    for source, name in FILES.items():
        (delivery,) = settled.states[source].deliveries
        assert delivery.file.read_bytes() == (shared / "kiel/raw" / name).read_bytes()


# ---------------------------------------------------------------- corrections


def taken(folder: Path, source: str) -> SourceState:
    """State of one source after it was taken in."""
    project = load_project(folder)
    project.paths.prepare()
    return take_in(project, project.sources[source], 1, NOW)


def mismatches(state: SourceState) -> list[str]:
    """Sentences about corrections that do not fit the file."""
    verdict = state.verdicts[state.deliveries[0].delivery_id]
    return [Failure(**f).sentence() for f in verdict.failures if f["rule"] == "berichtigung"]


def test_correction_added_later_makes_a_received_file_acceptable(shared: Path, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "Kiel", shared, settled=False, only=("geschlecht",))
    before = taken(folder, "geschlecht")
    assert [d.decision for d in before.deliveries] == ["rejected"]
    settle(folder, "geschlecht")
    after = taken(folder, "geschlecht")
    assert [(d.delivery_id, d.decision) for d in after.deliveries] == [("geschlecht-0001", "accepted")]
    assert after.new == []
    assert after.well


def test_name_is_found_in_all_years_once_the_dates_are_corrected(shared: Path, files: Files, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "Kiel", shared, settled=False, only=("altersgruppen",))
    settle(folder, "altersgruppen")
    state = taken(folder, "altersgruppen")
    (verdict,) = state.verdicts.values()
    wrong = files["altersgruppen"].lines(Stadtteil="Bluecherpatz")
    assert len(wrong) == 10
    assert [(f["rule"], f["line"]) for f in verdict.failures if f["severity"] == "error"] == [
        ("gebiet_bekannt", line) for line in wrong
    ]


@pytest.mark.parametrize(
    ("source", "change", "expected"),
    [
        ("geschlecht", ('"11221"', '"11222"'), ["Zeile 213, Spalte 8 »insgesamt«: ", "»11221«", "»11222«"]),
        (
            "altersgruppen",
            ('"2020_12_32"', '"2020_12_31"'),
            ["Zeile 94, Spalte 4 »Datum«: ", "»2020_12_32«", "»2020_12_31«"],
        ),
        (
            "haushalte",
            ("expected: Personen", "expected: Haushalte"),
            ["Zeile 122, Spalte 6 »Merkmal«: ", "»Personen«", "»Haushalte«"],
        ),
    ],
)
def test_correction_whose_old_value_is_another_rejects_the_file(
    shared: Path, tmp_path: Path, source: str, change: tuple[str, str], expected: list[str]
) -> None:
    folder = make_project(tmp_path / "Kiel", shared, settled=False, only=(source,))
    settle(folder, source, change)
    state = taken(folder, source)
    assert [d.decision for d in state.deliveries] == ["rejected"]
    assert all(word in mismatches(state)[0] for word in expected), mismatches(state)


def test_correction_of_a_line_that_is_not_there_rejects_the_file(shared: Path, tmp_path: Path) -> None:
    folder = make_project(tmp_path / "Kiel", shared, settled=False, only=("familienstand",))
    settle(folder, "familienstand", ("lines: 242-271", "lines: 243-272"))
    state = taken(folder, "familienstand")
    assert [d.decision for d in state.deliveries] == ["rejected"]
    (sentence,) = mismatches(state)
    assert sentence.startswith("Zeile 272, Spalte »Jahr«: ")
    assert "die es nicht gibt" in sentence


@pytest.mark.parametrize("source", FILES)
def test_files_are_read_in_pieces_with_the_same_result(
    settled: Night, files: Files, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = settled.project
    described = project.sources[source]

    def read() -> tuple[pd.DataFrame, list[Failure]]:
        found = Findings()
        reader = Reader(described, project.directory, project.measures, found)
        file = files.folder / FILES[source]
        chunks = list(reader.chunks(file, file.name, described.corrections))
        return pd.concat(chunks, ignore_index=True).drop(columns="row"), found.kept

    whole, found = read()
    monkeypatch.setattr(layout, "CHUNK_CELLS", 30 * len(files[source].rows[0]))  # some are dropped as a whole
    pieces, found_in_pieces = read()
    pd.testing.assert_frame_equal(whole, pieces)
    assert found == found_in_pieces


# ---------------------------------------------------------------- the numbers for the documentation


def overview(night: Night, files: Files) -> str:
    """What was found, as text: rule by file, then each defect with its findings, then what belongs to none."""
    counts = Counter((f["rule"], source) for source, found in findings(night).items() for f in found)
    rules = sorted({rule for rule, _ in counts}, key=list(RULES).index)
    lines = [f"{'rule':<24}" + "".join(f"{source:>17}" for source in FILES)]
    lines += [f"{rule:<24}" + "".join(f"{counts[rule, source] or '':>17}" for source in FILES) for rule in rules]
    result = sort_out(night, files)
    for number, (name, found) in enumerate(result.explained.items(), 1):
        lines += ["", f"{number if name != NEW else '-'} {name}: {len(found)} findings"]
        for rule, several in _by_rule(found).items():
            (_, shown), *others = several
            more = f" (and {len(others)} more)" if others else ""
            lines.append(f"  {shown['severity']} {rule}: {Failure(**shown).sentence()}{more}")
    total = sum(map(len, result.explained.values())) + len(result.false_alarms)
    lines += ["", f"false alarms: {len(result.false_alarms)} of {total} findings"]
    lines += [f"  {s}: {f['severity']} {f['rule']}: {Failure(**f).sentence()}" for s, f in result.false_alarms]
    return "\n".join(lines)


def _by_rule(found: list[tuple[str, dict[str, Any]]]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    rules: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for source, finding in found:
        rules[finding["rule"]].append((source, finding))
    return rules


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for settled in (False, True):
            night = run_night(make_project(Path(folder, str(settled)), SHARED, settled=settled), NOW)
            print("\n=== settled\n" if settled else "=== as received\n")
            print(overview(night, Files(SHARED / "kiel/raw")))


if __name__ == "__main__":
    main()
