"""The project we ship: published figures come out as printed, and every topic has enough figures to be read."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pipelines.marts.comparability import acting_breaks
from pipelines.project import load_project
from tests.conftest import ROOT, run_night

KIEL = "01002000"
SZB = [f"{KIEL}-SZB-{n}" for n in range(1, 7)]


@pytest.fixture(scope="module")
def kiel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Public marts of the shipped project, built in a copy."""
    folder = tmp_path_factory.mktemp("kiel")
    shutil.copytree(ROOT / "assets", folder / "assets")
    shutil.copytree(ROOT / "data/raw", folder / "data/raw")
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")
    night = run_night(folder)
    assert night.findings == []
    assert night.gaps == []
    with duckdb.connect(str(folder / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        yield con


def figure(con: duckdb.DuckDBPyConnection, indicator: str, area: str, level: str, period: str) -> tuple:
    rows = con.execute(
        "SELECT wert, zaehler, nenner FROM api.indikatorwerte "
        "WHERE indikator = ? AND gebiet_name = ? AND ebene = ? AND zeitraum = ?",
        [indicator, area, level, period],
    ).fetchall()
    assert len(rows) == 1, (indicator, area, level, period, rows)
    return rows[0]


# Printed in the Sozialberichte 2022 and 2023 (pages: research notes), by the author of the test, not by our output.
PRINTED = [
    ("kinderarmutsanteil", "Gaarden", "ortsteil", "2021-12-31", 58.4),
    ("kinderarmutsanteil", "Mettenhof", "ortsteil", "2021-12-31", 53.1),
    ("kinderarmutsanteil", "Wik", "ortsteil", "2021-12-31", 13.0),
    ("kinderarmutsanteil", "Kiel", "stadt", "2021-12-31", 26.8),
    ("kinderarmutsanteil", "Kiel", "stadt", "2022-12-31", 24.4),
    ("arbeitslosenanteil", "Kiel", "stadt", "2022-12-31", 5.9),
    ("arbeitslosenanteil", "Gaarden", "ortsteil", "2022-12-31", 13.2),
    ("sgb2_anteil", "Mettenhof", "ortsteil", "2022-12-31", 33.2),
    ("sgb2_anteil", "Kiel", "stadt", "2021-12-31", 15.0),
    ("altersarmutsanteil", "Gaarden", "ortsteil", "2020-12-31", 30.3),
    ("wanderungssaldo", "Kiel", "stadt", "2022", 1944),
    ("arbeitslose_staedte", "Kiel", "stadt", "2021-jd", 11097),
    ("schulabgaenge_ohne_abschluss_staedte", "Kiel", "stadt", "2021", 8.48),
]


@pytest.mark.parametrize("row", PRINTED, ids=lambda row: " ".join(map(str, row)))
def test_published_values_come_out_as_printed(kiel: duckdb.DuckDBPyConnection, row: tuple) -> None:
    assert figure(kiel, *row[:4])[0] == pytest.approx(row[4], abs=1e-12)


def test_numerators_and_denominators_are_the_printed_ones(kiel: duckdb.DuckDBPyConnection) -> None:
    assert figure(kiel, "kinderarmutsanteil", "Kiel", "stadt", "2021-12-31")[1:] == (8209, 30684)
    assert figure(kiel, "kinderarmutsanteil", "Kiel", "stadt", "2022-12-31")[1:] == (7636, 31292)
    assert figure(kiel, "arbeitslosenanteil", "Kiel", "stadt", "2022-12-31")[1:] == (10122, 170154)


def test_every_published_ortsteil_rate_of_the_reference_is_in_the_mart(
    kiel: duckdb.DuckDBPyConnection, shared: Path
) -> None:
    wanted = {
        "kinderarmut_u15": "kinderarmutsanteil",
        "arbeitslosenanteil_15_64": "arbeitslosenanteil",
        "jugendarbeitslosenanteil_15_24": "jugendarbeitslosenanteil",
        "sgb2_u65": "sgb2_anteil",
        "altersarmut": "altersarmutsanteil",
        "migrationshintergrund": "migrationshintergrund_anteil",
        "jugendquotient": "jugendquotient",
    }
    compared = 0
    for file in ("kinderarmut", "arbeitslosigkeit", "sgb2_und_altersarmut", "ortsteile_weitere"):
        with (shared / "kiel-figures" / f"{file}.csv").open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                shipped = (
                    row["indicator"] in wanted and row["area_level"] == "ortsteil" and row["status"] == "published"
                )
                margin_note = row["date"] == "2020-12-31" and row["indicator"] == "kinderarmut_u15"
                if not shipped or margin_note:  # two rounded margin notes of 2020 are not shipped
                    continue
                value = figure(kiel, wanted[row["indicator"]], row["area_name"], "ortsteil", row["date"])[0]
                assert value == pytest.approx(float(row["value"]), abs=1e-12), row
                compared += 1
    assert compared == 36 + 18 + 16 + 36 + 18 + 36 + 18


def test_population_of_the_city_in_each_year(kiel: duckdb.DuckDBPyConnection, shared: Path) -> None:
    expected: dict[str, float] = {}
    for file in ("bevoelkerung_stadtteile_1988_2013", "bevoelkerung_stadtteile_2014_2023"):
        with (shared / "kiel-figures" / f"{file}.csv").open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                if row["indicator"] == "einwohner" and row["area_level"] == "stadtteil":
                    expected[row["date"]] = expected.get(row["date"], 0) + float(row["value"])
    with (shared / "kiel-figures/bevoelkerung_stadt_und_ortsteil.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["indicator"] == "einwohner" and row["area_level"] == "stadt" and row["status"] == "published":
                expected[row["date"]] = float(row["value"])  # a printed total goes before a sum
    rows = kiel.execute(
        "SELECT period, value FROM mart.indicator_value WHERE indicator_id = 'einwohner_insgesamt' AND area_id = ?",
        [KIEL],
    ).fetchall()
    assert dict(rows) == expected
    assert len(rows) == 36


@pytest.mark.parametrize("indicator", ["arbeitslosenanteil", "kinderarmutsanteil", "schulabgaenge_ohne_abschluss"])
def test_top_topics_have_a_figure_for_every_szb_in_8_of_10_years(
    kiel: duckdb.DuckDBPyConnection, indicator: str
) -> None:
    rows = kiel.execute(
        "SELECT area_id, count(value) FROM mart.indicator_value "
        "WHERE indicator_id = ? AND area_level = 'sozialzentrumsbereich' GROUP BY ALL",
        [indicator],
    ).fetchall()
    assert sorted(area for area, _ in rows) == SZB
    assert all(count >= 8 for _, count in rows), rows


def test_three_year_sums_equal_their_years(kiel: duckdb.DuckDBPyConnection) -> None:
    rows = kiel.execute(
        """
        SELECT p.area_id, p.period, p.value, y.total, y.n
        FROM mart.observation p
        JOIN (
            SELECT o.area_id, e.reference_date, sum(o.value) AS total, count(o.value) AS n
            FROM mart.observation o
            JOIN mart.observation e ON e.area_id = o.area_id AND e.measure_id = 'schulabgaenge_3j'
                AND o.reference_date BETWEEN e.reference_date - INTERVAL 800 DAY AND e.reference_date
            WHERE o.measure_id = 'schulabgaenge' AND o.category = 'insgesamt'
            GROUP BY ALL
        ) y USING (area_id, reference_date)
        WHERE p.measure_id = 'schulabgaenge_3j'
        """
    ).fetchall()
    assert len(rows) == 37 * 8
    for area, period, pooled, total, n in rows:
        if n == 3:
            assert pooled == total, (area, period)
        else:  # a year is withheld: by its office, then the sum is, too; or here, where only what tells too much is
            assert pooled is None or total is None or pooled > total, (area, period)


def test_constructed_figures_are_marked_wherever_they_are_used(kiel: duckdb.DuckDBPyConnection) -> None:
    unmarked = kiel.execute(
        "SELECT count(*) FROM mart.indicator_value WHERE delivery_ids LIKE '%specimen%' AND origin <> 'constructed'"
    ).fetchone()
    assert unmarked == (0,)


def test_annual_means_and_reference_dates_are_not_mixed(kiel: duckdb.DuckDBPyConnection) -> None:
    assert figure(kiel, "arbeitslose_staedte", "Kiel", "stadt", "2021-jd")[0] == 11097
    stock = kiel.execute(
        "SELECT value FROM mart.observation WHERE measure_id = 'arbeitslose' AND area_id = ? AND period = '2021-12-31'",
        [KIEL],
    ).fetchall()
    assert stock == [(9720,)]


def test_ortsteile_are_not_sums_of_stadtteile(kiel: duckdb.DuckDBPyConnection) -> None:
    parents = kiel.execute(
        "SELECT DISTINCT a.level, p.level FROM mart.membership m JOIN mart.area a USING (area_id) "
        "JOIN mart.area p ON p.area_id = m.parent_id ORDER BY 1, 2"
    ).fetchall()
    assert parents == [
        ("ortsteil", "stadt"),
        ("sozialzentrumsbereich", "stadt"),
        ("stadtteil", "sozialzentrumsbereich"),
    ]


def test_query_in_the_readme_gives_the_printed_result(kiel: duckdb.DuckDBPyConnection) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sql = readme.split("```sql\n")[1].split("```")[0]
    lines = readme.split("```sql\n")[1].split("\n\n")[1].splitlines()
    printed = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    cursor = kiel.execute(sql)
    assert printed[0] == [column[0] for column in cursor.description]
    shown = [
        ["" if value is None else f"{value:g}" if isinstance(value, float) else value for value in row]
        for row in cursor.fetchall()
    ]
    assert printed[2:] == shown


# ---------------------------------------------------------------- breaks

BY_AGE = ("anteil_unter_18", "arbeitslosenanteil", "kinderarmutsanteil")
"""Indicators of the Stadtteile whose denominator comes from the age groups."""


def test_nothing_is_compared_across_the_break_of_the_age_groups(kiel: duckdb.DuckDBPyConnection) -> None:
    rows = kiel.execute(
        """
        SELECT indicator_id, year(reference_date) AS year, min(segment), max(segment), count(change), count(*),
            list_distinct(list(trend_reason)) AS reasons
        FROM mart.indicator_value
        WHERE indicator_id IN ? AND area_level = 'stadtteil' AND value IS NOT NULL AND period_type = 'stichtag'
        GROUP BY ALL
        """,
        [list(BY_AGE)],
    ).fetchall()
    assert {row[0] for row in rows} == set(BY_AGE)
    for name, year, low, high, changes, count, reasons in rows:
        assert (low, high) == ((1, 1) if year < 2019 else (2, 2)), (name, year)
        assert count >= 25
        assert (changes == 0) == (year in (2014, 2019)), (name, year)
        assert ("series_break" in reasons) == (2019 <= year <= 2022), (name, year)


def test_breaks_of_the_households_are_declared_and_act() -> None:
    found = {(b.measure_id, b.area_level, b.reference_date.year) for b in acting_breaks(load_project(ROOT))}
    for name in ("haushalte", "einpersonenhaushalte"):
        assert {(name, "stadt", 2018), (name, "stadt", 2023)} <= found
    for name in ("einpersonenhaushalte_quote", "alleinerziehendenhaushalte_quote"):
        assert (name, "ortsteil", 2023) in found


# ---------------------------------------------------------------- the methods page


def test_the_worked_example_of_the_methods_page(kiel: duckdb.DuckDBPyConnection) -> None:
    page = (ROOT / "docs/methoden.md").read_text(encoding="utf-8")
    start = re.search(r"<!-- BEISPIEL: (.*?) -->", page)
    assert start is not None
    printed = dict(re.findall(r"^\| `(\w+)` \| .* \| (\S+) \|$", page[start.end() :], re.MULTILINE))
    assert len(printed) == 19
    (found,) = kiel.execute(
        f"SELECT {', '.join(printed)} FROM mart.indicator_value WHERE indicator_id = ? AND area_id = ? AND period = ?",
        start[1].split("; "),
    ).fetchall()
    for (column, text), value in zip(printed.items(), found, strict=True):
        decimals = len(text.partition(",")[2])
        shown = value if isinstance(value, str) else f"{value:.{decimals}f}".replace(".", ",")
        assert shown == text, column
