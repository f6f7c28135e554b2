"""The short ways of the intake: what they give is what the long ways give, or nothing; clean files take them."""

from __future__ import annotations

import datetime as dt
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.large_delivery import make_project, planted, write_delivery
from pipelines.areas import Area, Directory
from pipelines.intake import comparison, contract, swift
from pipelines.intake.comparison import compare
from pipelines.intake.contract import Judge
from pipelines.intake.failures import Findings
from pipelines.intake.past import Past
from pipelines.intake.quiet import nothing_to_say
from pipelines.intake.verdict import Verdict
from pipelines.project import load_project
from schemas.documents import Measure, Source
from schemas.reading import READING
from tests.conftest import ROOT
from tests.test_reading import LONG, RATE, WIDE, measure, source

CELL_RULES = {"zelle_lesbar", "nicht_unter_minimum", "ganze_zahl", "teil_nicht_ueber_ganzem"}
RECEIVED = dt.date(2026, 11, 22)
EXAMPLES = 1200 if os.environ.get("SOAK") else 120
_NAMES = ["Altstadt", "Mühlenviertel", "Südhang", "Neustadt", "Hafen"]
_AREAS = [Area(f"B-{n}", name, "bezirk", str(n), None, None, n) for n, name in enumerate(_NAMES, 1)]
_GREW = [  # one name, two extents
    Area("B-6", "Werft", "bezirk", "6", None, dt.date(2019, 12, 31), 6),
    Area("B-6@2020", "Werft", "bezirk", "6", dt.date(2020, 1, 1), None, 6, ("Alte Werft",)),
]
_CITY = Area("S", "Musterstadt", "stadt", "", None, None, 0)
DIRECTORY = Directory(["bezirk", "stadt"], {a.area_id: a for a in [*_AREAS, *_GREW, _CITY]}, [])
_PARTS = {"categories": [{"id": c, "title": {"de": c}} for c in ("m", "w")], "category_total": "summed"}
MEASURES = {m.id: m for m in [measure("n"), measure("z"), measure("leute", **_PARTS), measure("quote", kind="rate")]}
_PAIR = {"not_above": [{"measure": "z", "than": "n"}], "complete": {"bezirk": ["B-1", "B-2"]}}
_TWO = {**LONG, "values": [{"column": "Wert", "measure": "n"}, {"column": "Mehr", "measure": "z"}]}
_MARKED = {"column": "Wert", "measure_column": "M", "measures": {"N": "n", "Z": "z", "Quote": "quote"}}
_ORIGIN = {"column": "Q", "values": {"a": "published", "b": "open_data"}}
_CITY_ONLY = {**LONG, "area": None, "fixed_area": "S", "ignore": ["R*"]}
_LEVELS = {"name": "Gebiet", "level_column": "Ebene", "levels": {"Bezirk": "bezirk", "Stadt": "stadt"}}
_SPLIT = {"name": "Gebiet", "split": r"(?P<number>\d+) (?P<name>.+)", "level": "bezirk"}
_SEXES = [{"column": c, "measure": "leute", "category": c} for c in ("m", "w")]
STAR = {"symbols": {"*": "suppressed", "-": "zero", "": "missing"}}

SOURCES: list[tuple[str, Source]] = [
    ("Nr;Gebiet;Tag;Wert", source(LONG, **STAR)),
    ("Nr;Gebiet;Tag;Wert", source(RATE, format={"thousands": "."})),
    ("Nr;Gebiet;Tag;Wert;Mehr", source(_TWO, contract=_PAIR, **STAR)),
    ("Gebiet;2021-12-31;31.12.2022", source(WIDE, **STAR)),
    ("Nr;Gebiet;Tag;M;Wert", source({**LONG, "values": [_MARKED]})),
    ("Gebiet;Ebene;Tag;Wert", source({**LONG, "area": _LEVELS})),
    ("Gebiet;Tag;Wert", source({**LONG, "area": _SPLIT})),
    ("Gebiet;Tag;m;w", source({**LONG, "area": {"name": "Gebiet", "level": "bezirk"}, "values": _SEXES})),
    ("Nr;Gebiet;Tag;Q;Wert", source({**LONG, "origin": _ORIGIN})),
    ("Nr;Gebiet;Tag;Wert;Stand", source({**LONG, "constant": {"Stand": "neu"}}, format={"short_rows": "fill"})),
    ("Nr;Gebiet;Tag;Wert", source(LONG, table={"skip": ["Summe*"], "ends": "blank"}, format={"encoding": "cp1252"})),
    ("Tag;Wert;Rest", source(_CITY_ONLY, format={"encoding": "latin-1"})),
]
_CELLS = {
    "Nr": ["1", "2", "3", "02", "6", "", "9"],
    "Gebiet": [
        *[*_NAMES, "Werft", "Alte Werft", "Muehlenviertel", " Hafen", "Hafen\u200b", "1 Altstadt", "2 Mühlenviertel"],
        *["3 Südhang", "Musterstadt", "Atlantis", "", "Summe", "MÃ¼hle"],
    ],
    "Tag": ["31.12.2021", "31.12.2019", "2022-12-31", "31.12.2030", "31.02.2020", "", "2021"],
    "Ebene": ["Bezirk", "Stadt", "Land", ""],
    "M": ["N", "Z", "Quote", "X"],
    "Q": ["a", "b", "c"],
    "Stand": ["neu", "alt", "neu "],
}
_NUMBERS = ["5", "0", "17", "1.234", "1234", "12,5", "*", "-", "", "-3", "12O", " 8 ", "1 234", '"7"', "٣", "99999"]
_BYTES = [b'"', b"\n\n", b"\r\n", b"\r", b"\0", b";", b"\xff", b"\xef\xbb\xbf", b"\n", b" ", "\u2028".encode(), b"\x1a"]


@st.composite
def files(draw: st.DrawFn) -> tuple[bytes, Source]:
    """A file of one of the sources: mostly clean (texts from the start of each list), or spoilt in cells and bytes."""
    head, of = draw(st.sampled_from(SOURCES))
    clean = draw(st.integers(0, 3)) > 0
    names = head.split(";")
    rows = []
    for number in range(draw(st.integers(0, 8))):
        row = []
        for name in names:
            cells = _CELLS.get(name, _NUMBERS)
            if name == "Gebiet" and of.layout.area and of.layout.area.split:
                cells = cells[10:13] + cells
            if clean:
                cells = [cells[number % 3]] if name in ("Nr", "Gebiet") else cells[:2]
            row.append(draw(st.sampled_from(cells)))
        rows.append(";".join(row))
    ends = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    text = ends.join([head, *rows]) + draw(st.sampled_from([ends, ends, "", ends * 2]))
    content = text.encode(of.format.encoding, "replace")
    if not clean and draw(st.booleans()):
        place = draw(st.integers(0, len(content)))
        content = content[:place] + draw(st.sampled_from(_BYTES)) + content[place:]
    return content, of


Told = tuple[dict[str, Any], list[dict[str, Any]], bool]


def judged(path: Path, of: Source, measures: dict[str, Measure], directory: Directory, quick: bool, name: str) -> Told:
    """Verdict and reading of a file, the one way or the other; whether the swift reader read it."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if not quick:
            patch.setattr(contract, "read_swiftly", lambda *_: None)
        judge = Judge(of, directory, measures, RECEIVED)
        reading = Path(folder, "reading.parquet")
        figures = judge.read(path, name, [], reading)
        slices = sorted("|".join(map(str, parts)) for parts in judge.slices)
        verdict = Verdict(figures, slices, arrived=judge.arrived).with_findings(judge.findings)
        table = pq.read_table(reading)
    assert table.schema.equals(READING)
    return verdict.to_json(), table.to_pylist(), judge.account is not None


def same_both_ways(path: Path, of: Source, measures: dict[str, Measure], directory: Directory, name: str) -> bool:
    """Hold the swift reader to the careful one; returns whether it read the file."""
    quick, careful = (judged(path, of, measures, directory, way, name) for way in (True, False))
    assert quick[:2] == careful[:2]
    return quick[2]


@given(files(), st.sampled_from([30, swift.BLOCK]))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_reads_what_the_careful_reader_reads_or_gives_up(case: tuple[bytes, Source], block: int) -> None:
    content, of = case
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(swift, "BLOCK", block)
        path = Path(folder, "bytes")
        path.write_bytes(content)
        same_both_ways(path, of, MEASURES, DIRECTORY, "f.csv")


@pytest.mark.parametrize("above", [1, 29, 998, 10_000])
@pytest.mark.parametrize("line", ["", "Quelle: konstruiert"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_heading_below_many_lines(tmp_path: Path, above: int, line: str, end: str) -> None:
    """Also where the lines above fill more than one block."""
    head = "Nr;Gebiet;Tag;Wert"
    of = source(LONG, table={"header_line": above + 1})
    path = tmp_path / "bytes"
    rows = [f"{number};{name};31.12.2021;{number}" for number, name in enumerate(_NAMES, 1)]
    path.write_text(end.join([*[line] * above, head, *rows, ""]), encoding="utf-8", newline="")
    for block in (30, swift.BLOCK):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(swift, "BLOCK", block)
            assert same_both_ways(path, of, MEASURES, DIRECTORY, "f.csv") == (above < swift.HEADING)


@pytest.mark.parametrize("above", [990, 10_000])
def test_lines_above_the_heading_cost_no_time(tmp_path: Path, above: int) -> None:
    """A file of 16 MB; copying it for each line took seconds."""
    of, path = source(LONG), tmp_path / "bytes"
    path.write_bytes(b"\n" * above + b"Nr;Gebiet;Tag;Wert\n" + b"1;Altstadt;31.12.2021;5\n" * 680_000)
    begin = time.perf_counter()
    assert sum(map(len, swift._blocks(path, of, above + 1))) == 680_000 * 24
    assert time.perf_counter() - begin < 1


def test_reads_the_shipped_files(shared: Path) -> None:
    """The files of the shipped project, as it describes them, and the same files as Kiel publishes them."""
    project, read = load_project(ROOT), set()
    for of in project.sources.values():
        for folder in (project.paths.inbox / of.id, shared / "kiel" / "raw"):
            for path in sorted(folder.glob("*")):
                if of.takes(path.name) and same_both_ways(path, of, project.measures, project.directory, path.name):
                    read.add(of.id)
    assert len(read) >= 15  # 18 of 23: the others have one hint each


def test_reads_a_large_file_and_one_with_a_planted_error(tmp_path: Path) -> None:
    project = load_project(make_project(tmp_path / "projekt", areas=2000))
    of, file = project.sources["gross"], tmp_path / "gross.csv"
    write_delivery(file, 8_000)
    assert same_both_ways(file, of, project.measures, project.directory, file.name)
    errors = planted(8_000, 14)
    write_delivery(file, 8_000, [error for error in errors if error.rule in CELL_RULES])
    assert same_both_ways(file, of, project.measures, project.directory, file.name)
    write_delivery(file, 8_000, errors)
    assert not same_both_ways(file, of, project.measures, project.directory, file.name)


# ---------------------------------------------------------------- comparison

TOWN = [Area(f"T-{n}", f"Ort {n}", "bezirk", str(n), None, None, n) for n in range(40)]
SERIES = source(
    {
        **LONG,
        "values": [{"column": "n", "measure": "n"}, {"column": "q", "measure": "quote"}, *_SEXES],
    }
)
YEARS = range(2010, 2020)
Rows = list[list[float]]
Figures = dict[int, Rows]


def town(seed: int) -> Figures:
    """Constructed figures per year and area: a count, a rate, two categories; steady growth with chance scatter."""
    chance = random.Random(seed)
    size = [[chance.uniform(200, 3000), chance.uniform(5, 40), *(chance.uniform(90, 900) for _ in "mw")] for _ in TOWN]
    return {
        year: [
            [round(s * 1.01 ** (year - 2010) * chance.uniform(0.98, 1.02), number == 1) for number, s in enumerate(row)]
            for row in size
        ]
        for year in YEARS
    }


def written(folder: Path, name: str, years: Figures, areas: int = len(TOWN)) -> Path:
    """The reading of a file with these years."""
    lines = [
        ";".join([area.number, area.name, f"31.12.{year}", *(str(value).replace(".", ",") for value in row)])
        for year, rows in years.items()
        for area, row in list(zip(TOWN, rows, strict=True))[:areas]
    ]
    file, reading = folder / f"{name}.csv", folder / f"{name}.parquet"
    file.write_text("\n".join(["Nr;Gebiet;Tag;n;q;m;w", *lines]) + "\n", encoding="utf-8")
    judge = Judge(SERIES, TOWN_DIRECTORY, MEASURES, RECEIVED)
    judge.read(file, file.name, [], reading)
    assert judge.account is not None
    return reading


TOWN_DIRECTORY = Directory(["bezirk"], {area.area_id: area for area in TOWN}, [])


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> list[Past]:
    folder, figures = tmp_path_factory.mktemp("vorher"), town(1)
    paths = [written(folder, str(year), {year: figures[year]}, areas=39) for year in YEARS]
    return [Past("s", f"s-{seq:04d}", seq, path) for seq, path in enumerate(paths, 1)]


def found(reading: Path, earlier: list[Past], proof: bool) -> tuple[list[dict[str, Any]], bool]:
    """Findings of a comparison, with or without the short way; whether it was taken."""
    findings, taken = Findings(), []

    def watched(*arguments: Any) -> bool:
        taken.append(proof and nothing_to_say(*arguments))
        return taken[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "nothing_to_say", watched)
        compare(reading, SERIES, MEASURES, TOWN_DIRECTORY, findings, earlier, {})
    return findings.as_json(), taken[0]


KINDS = ["clean", "jump", "repeat", "swap", "scale", "total", "zeros", "reorder", "sparse"]


def spoilt(
    rows: list[list[float]], other: list[list[float]], kind: str, column: int, share: float
) -> list[list[float]]:
    """Figures of a year, one column of them changed in the way named; `other` is the year before."""
    rows = [list(row) for row in rows]
    values = [row[column] for row in rows]
    changed = {
        "clean": values,
        "jump": [values[0] * (1 + 3 * share), *values[1:]],
        "repeat": [other[n][column] if n < len(rows) * share else value for n, value in enumerate(values)],
        "swap": sorted(values),
        "scale": [value * (1 + share / 2) for value in values],
        "total": [values[0] + sum(row[column] for row in other) - sum(values), *values[1:]],
        "zeros": [0 for _ in values],
        "reorder": [row[column] for row in reversed(other)],
        "sparse": [value if n < 10 * share else 0 for n, value in enumerate(values)],
    }[kind]
    for row, value in zip(rows, changed, strict=True):
        row[column] = max(0, round(value, column == 1))
    return rows


@given(
    st.sampled_from(KINDS),
    st.integers(0, 3),
    st.floats(0, 1),
    st.integers(0, 9),
    st.sets(st.integers(2010, 2018), min_size=1),
    st.sampled_from([39, 39, 40, 20]),
)
@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=list(HealthCheck))
def test_proof_of_silence_is_right(
    past: list[Past], tmp_path_factory: pytest.TempPathFactory, kind: str, column: int, share: float, before: int,
    years: set[int], areas: int,
) -> None:  # fmt: skip
    figures, folder = town(1), tmp_path_factory.mktemp("jetzt")
    spoiled = spoilt(figures[2019], figures[2018], kind, column, share)
    more = {year: figures[year] for year in sorted(years)} if share > 0.9 else {}
    reading = written(folder, "neu", {**more, 2019: spoiled}, areas)
    quick, taken = found(reading, past[:before], proof=True)
    assert quick == found(reading, past[:before], proof=False)[0]
    if kind == "clean" and not more and areas == 39 and before:
        assert taken
