"""Cells and parts behind the figures: true to the files inside, a list of what may be public outside, and audited."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.audit.release import audit_release
from pipelines.audit.release_provenance import check_provenance
from pipelines.night import Night
from tests.conftest import run_night
from tests.test_history import NOW, put
from tests.test_marts import measure, source, text
from tests.town import CITY, LEVELS, MEN, RESIDENTS, WOMEN, deliver, district, topic, town, write_topic

OWN = "delivery_id LIKE 'jugendamt-%'"
TEXTS = ("sheet", "column_name", "received_text", "correction")
PLACES = ("line", "column_number")
KINDS = [30, 12, 4, 2, 1, 1]
"""Cases of the whole city by kind, 50 in all: their order by size would tell that two of the last four are below 3."""


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A constructed town with small counts, published once."""
    folder = town(tmp_path_factory.mktemp("herkunft") / "Stadt")
    deliver(folder)
    return run_night(folder, NOW)


@pytest.fixture(scope="module")
def by_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same counts in a file whose lines are sorted by them, and one line whose columns are sorted by theirs."""
    folder = town(tmp_path_factory.mktemp("nach Größe") / "Stadt")
    names = [f"art{n}" for n in range(len(KINDS))]
    columns = [{"column": n, "measure": "faelle", "category": n} for n in names]
    layout = {
        "area": {"name": "Gebiet", "level": "stadt"},
        "period": {"column": "Zeit", "type": "stichtag"},
        "values": [{"column": "insgesamt", "measure": "faelle"}, *columns],
    }
    categories = [{"id": name, "title": text(name)} for name in names]
    more = [
        source("sozialdienst", "stichtag", [], publication="internal", origin="open_data", layout=layout),
        measure(
            "faelle",
            "stichtag",
            "sozialdienst",
            categories=categories,
            category_total="delivered",
            levels={"stadt": ["sozialdienst"]},
        ),
    ]
    write_topic(folder, [*topic(list(LEVELS), {}), *more])
    line = ";".join(map(str, ["Musterstadt", "31.12.2022", sum(KINDS), *KINDS]))
    put(folder, f"Gebiet;Zeit;insgesamt;{';'.join(names)}\n{line}\n", "lieferung.csv", "sozialdienst")
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
    for delivery, line, column, name, received, value in found:
        source = delivery.removesuffix("-0001")
        with (root / "data/raw" / source / "lieferung.csv").open(encoding="utf-8", newline="") as file:
            table = list(csv.reader(file, delimiter=";"))
        assert (table[0][column - 1], table[line - 1][column - 1]) == (name, received)
        assert float(received) == value


def test_parts_lead_down_to_the_districts(night: Night) -> None:
    parts = rows(
        released(night.project.paths.root),
        "SELECT part_area_id, weight, kind FROM meta.figure_part "
        f"WHERE measure_id = 'hilfen' AND category = 'insgesamt' AND area_id = '{CITY}'",
    )
    assert sorted(parts) == [(district(n), 1.0, "areas") for n in range(1, 7)]


def test_public_file_tells_place_and_text_only_of_what_is_public_elsewhere(night: Night) -> None:
    file = released(night.project.paths.root)
    own = rows(file, f"SELECT {', '.join((*PLACES, *TEXTS))} FROM meta.figure_source WHERE {OWN}")
    assert own == [(None,) * 6] * 18
    other = rows(file, f"SELECT line, column_number, received_text FROM meta.figure_source WHERE NOT {OWN}")
    assert sorted(other) == [(line, 3, str(count)) for line, count in enumerate(RESIDENTS, 2)]


def test_order_of_lines_and_columns_by_size_is_not_told(by_size: Path) -> None:
    query = "SELECT {} FROM meta.figure_source WHERE delivery_id NOT LIKE 'melderegister-%'"
    told = rows(released(by_size), query.format("DISTINCT line, column_number"))
    assert told == [(None, None)]
    inside = rows(
        by_size / "data/warehouse/internal/internal.duckdb", query.format("count(line), count(column_number)")
    )
    assert inside == [(18 + 7, 18 + 7)]
    shown = rows(released(by_size), "SELECT category, value FROM mart.observation WHERE measure_id = 'faelle'")
    assert {category for category, value in shown if value is None} >= {"art3", "art4", "art5"}  # 2, 1, 1
    places = "zeile IS NOT NULL OR spalte IS NOT NULL"
    found = rows(released(by_size), f"SELECT DISTINCT kennzahl FROM api.herkunft_aller_zahlen WHERE {places}")
    assert found == [("einwohner",)]


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
NUMBER = "CAST(right(area_id, 1) AS INTEGER)"
RANK = "list_position(['insgesamt', 'weiblich', 'maennlich'], category)"
PART = f"area_id = '{CITY}' AND part_area_id = '{district(1)}'"
PLANTED = {
    **{name: ("UPDATE", f"SET {name} = '7' WHERE {OWN} AND {FIRST}", "ohnehin öffentlich") for name in TEXTS},
    "cell without figure": ("UPDATE", f"SET category = 'x' WHERE {FIRST}", "fehlt die Fundstelle"),
    "figure without cell": ("DELETE", f"WHERE {FIRST}", "fehlt die Fundstelle"),
    "other delivery": ("UPDATE", f"SET delivery_id = 'melderegister-0001' WHERE {OWN}", "andere Lieferung"),
    "no delivery": ("UPDATE", f"SET delivery_id = NULL WHERE {FIRST}", "andere Lieferung"),
    "line before the first": ("UPDATE", f"SET line = 0 WHERE {FIRST}", "keine mögliche Zeile"),
    "lines by number": ("UPDATE", f"SET line = {NUMBER} WHERE {OWN}", "Reihenfolge der Zeilen"),
    "a block per category": ("UPDATE", f"SET line = {RANK} * 10 + {NUMBER} WHERE {OWN}", "Reihenfolge der Zeilen"),
    "lines within an area": ("UPDATE", f"SET line = {RANK} WHERE {OWN} AND {FIRST}", "Reihenfolge der Zeilen"),
    "one line": ("UPDATE", f"SET line = 2 WHERE {OWN} AND {FIRST}", "Reihenfolge der Zeilen"),
    "columns by size": ("UPDATE", f"SET column_number = {RANK} WHERE {OWN}", "Reihenfolge der Zeilen"),
    "same column": ("UPDATE", f"SET column_number = 3 WHERE {OWN}", "Reihenfolge der Zeilen"),
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
