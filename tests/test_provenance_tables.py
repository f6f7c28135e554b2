"""Cells and parts behind the figures: true to the files inside, a list of what may be public outside, and audited."""

from __future__ import annotations

import csv
import datetime as dt
import random
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.areas import Area, Directory
from pipelines.audit import release_provenance
from pipelines.audit.release import audit_release
from pipelines.audit.release_provenance import check_provenance
from pipelines.night import Night
from pipelines.paths import Paths
from pipelines.project import Project
from pipelines.provenance.files import provenance_beside
from pipelines.publishable import publish_provenance
from tests.conftest import run_night
from tests.test_history import NOW, put
from tests.town import CITY, MEN, RESIDENTS, WOMEN, deliver, district, town

OWN = "delivery_id LIKE 'jugendamt-%'"
TEXTS = ("sheet", "column_name", "received_text", "correction")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A constructed town with small counts, published once."""
    folder = town(tmp_path_factory.mktemp("herkunft") / "Stadt")
    deliver(folder)
    return run_night(folder, NOW)


@pytest.fixture(scope="module")
def by_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same counts in a file that is sorted by them."""
    folder = town(tmp_path_factory.mktemp("nach Größe") / "Stadt")
    deliver(folder)
    rows = sorted(zip(WOMEN, MEN, range(1, 7), strict=True), key=lambda row: -row[0] - row[1])
    lines = [f"Bezirk {n};31.12.2022;{f};{m};{f + m}\n" for f, m, n in rows]
    put(folder, "Bezirk;Zeit;weiblich;maennlich;insgesamt\n" + "".join(lines), "lieferung.csv", "jugendamt")
    assert run_night(folder, NOW).publication
    return folder


def rows(file: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(file), read_only=True) as con:
        return con.execute(query).fetchall()


def released(folder: Path) -> Path:
    return folder / "data/releases/current/sozialraum.duckdb"


def test_cells_inside_are_those_of_the_received_files(night: Night) -> None:
    root = night.project.paths.root
    found = rows(
        root / "data/warehouse/internal/internal.duckdb",
        "SELECT delivery_id, line, column_number, column_name, received_text, o.value "
        "FROM meta.figure_source JOIN mart.observation o "
        "USING (measure_id, category, area_id, period_type, reference_date)",
    )
    assert len(found) == 6 * 3 + 6
    for delivery, line, column, name, text, value in found:
        source = delivery.removesuffix("-0001")
        with (root / "data/raw" / source / "lieferung.csv").open(encoding="utf-8", newline="") as file:
            table = list(csv.reader(file, delimiter=";"))
        assert (table[0][column - 1], table[line - 1][column - 1]) == (name, text)
        assert float(text) == value


def test_parts_lead_down_to_the_districts(night: Night) -> None:
    parts = rows(
        released(night.project.paths.root),
        "SELECT part_area_id, weight, kind FROM meta.figure_part "
        f"WHERE measure_id = 'hilfen' AND category = 'insgesamt' AND area_id = '{CITY}'",
    )
    assert sorted(parts) == [(district(n), 1.0, "areas") for n in range(1, 7)]


def test_public_file_tells_places_of_own_figures_and_no_text(night: Night) -> None:
    file = released(night.project.paths.root)
    own = rows(file, f"SELECT line, column_number, {', '.join(TEXTS)} FROM meta.figure_source WHERE {OWN}")
    assert sorted(own) == sorted((line, column, *[None] * 4) for line in range(2, 8) for column in (3, 4, 5))
    other = rows(file, f"SELECT received_text FROM meta.figure_source WHERE NOT {OWN}")
    assert sorted(int(row[0]) for row in other) == sorted(RESIDENTS)


def test_line_in_a_file_sorted_by_its_figures_is_not_told(by_size: Path) -> None:
    own = rows(released(by_size), f"SELECT DISTINCT line, column_number FROM meta.figure_source WHERE {OWN}")
    assert sorted(own) == [(None, 3), (None, 4), (None, 5)]
    inside = rows(
        by_size / "data/warehouse/internal/internal.duckdb", f"SELECT count(line) FROM meta.figure_source WHERE {OWN}"
    )
    assert inside == [(18,)]


def test_provenance_of_one_figure_by_area_name(night: Night) -> None:
    found = rows(
        released(night.project.paths.root),
        "SELECT rolle, teilgebiet_name, anzahl, zeile, zelltext "
        "FROM api.herkunft('hilfenanteil', 'bereich 2', '2022-12-31')",
    )
    names = [f"Bezirk {n}" for n in (4, 5, 6)]
    assert [row[1] for row in found] == names * 2
    assert [row[0] for row in found] == ["Zähler"] * 3 + ["Nenner"] * 3
    assert [row[2:] for row in found[3:]] == [(RESIDENTS[n - 1], n + 1, str(RESIDENTS[n - 1])) for n in (4, 5, 6)]
    assert [row[4] for row in found[:3]] == [None] * 3


# ---------------------------------------------------------------- the audit finds what was planted


FIRST = f"area_id = '{district(1)}'"
PART = f"area_id = '{CITY}' AND part_area_id = '{district(1)}'"
PLANTED = {
    **{name: ("UPDATE", f"SET {name} = '7' WHERE {OWN} AND {FIRST}", "ohnehin öffentlich") for name in TEXTS},
    "cell without figure": ("UPDATE", f"SET category = 'x' WHERE {FIRST}", "fehlt die Fundstelle"),
    "figure without cell": ("DELETE", f"WHERE {FIRST}", "fehlt die Fundstelle"),
    "other delivery": ("UPDATE", f"SET delivery_id = 'melderegister-0001' WHERE {OWN}", "andere Lieferung"),
    "no delivery": ("UPDATE", f"SET delivery_id = NULL WHERE {FIRST}", "andere Lieferung"),
    "line before the first": ("UPDATE", f"SET line = 0 WHERE {FIRST}", "keine mögliche Zeile"),
    "lines by size": ("UPDATE", f"SET line = 10 - line WHERE {OWN}", "Reihenfolge der Zeilen"),
    "some lines": ("UPDATE", f"SET line = NULL WHERE {OWN} AND {FIRST}", "Reihenfolge der Zeilen"),
    "column by figure": ("UPDATE", f"SET column_number = 7 WHERE {OWN} AND {FIRST}", "Reihenfolge der Zeilen"),
    "cell twice": ("INSERT", "FROM meta.figure_source LIMIT 1", "zweimal"),
    "rows by line": ("ORDER", "ORDER BY line DESC", "nicht in der Reihenfolge"),
}
PLANTED_PARTS = {
    "part that points nowhere": ("UPDATE", f"SET part_area_id = '{CITY}-BZ-9' WHERE {PART}"),
    "part of another level": ("UPDATE", f"SET part_area_id = '{CITY}-BE-1' WHERE {PART}"),
    "part left out": ("DELETE", f"WHERE {PART} AND measure_id = 'hilfen'"),
    "no parts": ("DELETE", f"WHERE area_id = '{CITY}'"),
    "half a part": ("UPDATE", f"SET weight = 0.5 WHERE {PART}"),
    "other kind": ("UPDATE", f"SET kind = 'periods' WHERE {PART}"),
    "parts of a delivered figure": ("UPDATE", f"SET {FIRST} WHERE area_id = '{CITY}'"),
    "part twice": ("INSERT", "FROM meta.figure_part LIMIT 1"),
}


def planted(night: Night, folder: Path, table: str, verb: str, rest: str) -> Path:
    """A copy of the released database with one table changed."""
    file = Path(shutil.copyfile(released(night.project.paths.root), folder / "sozialraum.duckdb"))
    head = {
        "UPDATE": f"UPDATE meta.{table}",
        "DELETE": f"DELETE FROM meta.{table}",
        "INSERT": f"INSERT INTO meta.{table}",
    }
    with duckdb.connect(str(file)) as con:
        con.execute(
            f"{head[verb]} {rest}"
            if verb in head
            else f"CREATE OR REPLACE TABLE meta.{table} AS FROM meta.{table} {rest}"
        )
    return file


def test_release_of_a_night_has_nothing_to_find(night: Night) -> None:
    assert check_provenance(released(night.project.paths.root), must=True) == []


@pytest.mark.parametrize("name", PLANTED)
def test_cell_that_tells_too_much_or_the_wrong_thing_is_found(night: Night, tmp_path: Path, name: str) -> None:
    verb, rest, words = PLANTED[name]
    leaks = check_provenance(planted(night, tmp_path, "figure_source", verb, rest), must=True)
    assert any(leak.where.startswith("meta.figure_source, ") and words in leak.what for leak in leaks), leaks


@pytest.mark.parametrize("name", PLANTED_PARTS)
def test_part_that_is_none_is_found(night: Night, tmp_path: Path, name: str) -> None:
    leaks = check_provenance(planted(night, tmp_path, "figure_part", *PLANTED_PARTS[name]), must=True)
    assert any(leak.where.startswith("meta.figure_part, ") for leak in leaks), leaks


def test_sum_that_its_parts_do_not_give_is_found(night: Night, tmp_path: Path) -> None:
    file = planted(night, tmp_path, "figure_part", "UPDATE", "SET weight = weight")
    with duckdb.connect(str(file)) as con:
        con.execute(
            f"UPDATE mart.observation SET value = value + 1 WHERE area_id = '{CITY}' AND measure_id = 'einwohner'"
        )
    assert [leak.what for leak in check_provenance(file, must=True)] == [
        "Die Summanden ergeben die Zahl nicht; neu bauen."
    ]


def test_whole_audit_finds_a_received_text(night: Night, tmp_path: Path) -> None:
    release = Path(shutil.copytree(night.project.paths.current.resolve(), tmp_path / "release"))
    with duckdb.connect(str(release / "sozialraum.duckdb")) as con:
        con.execute(f"UPDATE meta.figure_source SET received_text = '7' WHERE {OWN}")
    leaks = audit_release(release, night.models).leaks
    assert any(leak.where.startswith("meta.figure_source, hilfen") for leak in leaks)


@pytest.mark.parametrize("table", ["figure_source", "figure_part"])
def test_release_that_lacks_a_table_is_refused(night: Night, tmp_path: Path, table: str) -> None:
    file = Path(shutil.copyfile(released(night.project.paths.root), tmp_path / "sozialraum.duckdb"))
    with duckdb.connect(str(file)) as con:
        con.execute(f"DROP TABLE meta.{table}")
    assert [leak.where for leak in check_provenance(file, must=True)] == [f"meta.{table}"]


# ---------------------------------------------------------------- writer and audit judge orders alike


NAMES = ["Ulm", "Über", "Zoo", "Ahorn", "Ähre", "arm"]
KNOWN = {
    "id": [0, 1, 2, 3, 4, 5],
    "sort key": [5, 3, 1, 0, 2, 4],
    "name": [3, 4, 5, 1, 0, 2],  # Ahorn, Ähre, arm, Über, Ulm, Zoo: as DIN 5007-1 sorts them
}
SORT_KEYS = [KNOWN["sort key"].index(n) for n in range(6)]


def judged(folder: Path, project: Project, tables: list[list[int]]) -> tuple[bool, bool]:
    """Whether the writer tells the lines, and whether the audit would refuse them, of areas listed in these orders."""
    entries = [
        ("m", f"c{t}", f"A{area}", "stichtag", dt.date(2022, 12, 31), "x-0001", 10 * t + place)
        for t, order in enumerate(tables)
        for place, area in enumerate(order, 2)
    ]
    entries.sort(key=lambda entry: entry[:5])
    names = ["measure_id", "category", "area_id", "period_type", "reference_date", "delivery_id", "line"]
    cells = pa.table(dict(zip(names, zip(*entries, strict=True), strict=True)))
    cells = cells.append_column("column_number", pa.array([2] * len(cells), pa.int32()))
    for name in TEXTS:
        cells = cells.append_column(name, pa.array(["7"] * len(cells)))
    inside, outside = folder / "innen.parquet", folder / "aussen" / "x.parquet"
    outside.parent.mkdir(exist_ok=True)
    pq.write_table(cells, provenance_beside(inside)["figure_source"])
    provenance_beside(inside)["figure_part"].touch()
    publish_provenance(project, inside, outside)
    written = pq.read_table(provenance_beside(outside)["figure_source"])
    assert all(written[name].null_count == len(cells) for name in TEXTS)
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA mart; CREATE SCHEMA meta")
        con.execute("CREATE TABLE meta.delivery AS SELECT 'x-0001' AS delivery_id, false AS public_elsewhere")
        con.execute("CREATE TABLE mart.area (area_id VARCHAR, name VARCHAR, level VARCHAR, sort_key INTEGER)")
        rows = [(a.area_id, a.name, a.level, a.sort_key) for a in project.directory.areas.values()]
        con.executemany("INSERT INTO mart.area VALUES (?, ?, ?, ?)", rows)
        refused = []
        for table in (cells, written):
            con.register("told", table)
            con.execute("CREATE OR REPLACE TABLE meta.figure_source AS FROM told")
            refused.append(bool(release_provenance._in_telling_order(con)))
    assert not refused[1]
    return written["line"].null_count == 0, refused[0]


@pytest.fixture
def six_areas(tmp_path: Path) -> Project:
    entries = zip(range(6), NAMES, SORT_KEYS, strict=True)
    found = {f"A{n}": Area(f"A{n}", name, "teil", "", None, None, key) for n, name, key in entries}
    return Project(Paths.of(tmp_path), [], Directory(["teil"], found, []))


@pytest.mark.parametrize("order", KNOWN)
def test_lines_in_an_order_that_anybody_knows_are_told(six_areas: Project, tmp_path: Path, order: str) -> None:
    assert judged(tmp_path, six_areas, [KNOWN[order]] * 2) == (True, False)


def test_other_orders_and_two_orders_in_one_file_are_not_told(six_areas: Project, tmp_path: Path) -> None:
    assert judged(tmp_path, six_areas, [KNOWN["id"], KNOWN["name"]]) == (False, True)
    shuffled = random.Random(3)
    for _ in range(20):
        order = shuffled.sample(range(6), 6)
        if order not in KNOWN.values():
            assert judged(tmp_path, six_areas, [KNOWN["id"], order]) == (False, True), order
