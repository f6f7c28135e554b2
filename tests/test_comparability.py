"""What may be compared: breaks, changed extents, gaps and pooled years block change and trend; who is the benchmark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipelines.init import create_project
from tests.conftest import Quiet, run_night
from tests.test_history import put
from tests.test_marts import indicator, measure, source, text
from tests.town import CITY, MEMBER_COLUMNS, district, planning_area, write_areas, write_topic

YEARS = range(2012, 2024)
BREAK = 2019
MISSING = (4, 2016)
"""District without a row in that year."""
MOVED = dt.date(2021, 1, 1)
"""From then on district 3 belongs to planning area 2."""
COUNTS = {"faelle": "amt", "betreute": "amt", "einwohner": "register", "stellen": "amt"}

Row = dict[str, Any]


def cases(number: int, year: int) -> int:
    """Constructed counts: a rise in district 1, none elsewhere."""
    return 40 + 9 * number + (15 * (year - 2012) if number == 1 else (year * 7 + number) % 5)


def write_documents(folder: Path) -> None:
    rolled: dict[str, Any] = {level: [{"rolled_up": "bezirk"}] for level in ("bereich", "stadt")}
    broken = {"measure": "einwohner", "since": f"{BREAK}-12-31", "reason": text("anders gezählt")}
    levels = dict.fromkeys(("bezirk", "bereich", "stadt"), "counts")
    quota: dict[str, Any] = {"numerator": {"measure": "faelle"}, "denominator": {"measure": "einwohner"}}
    documents = [
        source("amt", "stichtag", ["faelle", "betreute", "stellen"]),
        source("register", "stichtag", ["einwohner"], breaks=[broken]),
        source("presse", "stichtag", ["quote"]),
        *[measure(m, "stichtag", s, levels={"bezirk": [s], **rolled}) for m, s in COUNTS.items()],
        measure(
            "quote", "stichtag", "presse", kind="rate", unit="percent", maximum=100, levels={"bereich": ["presse"]}
        ),
        measure("faelle_3j", "stichtag", "amt", levels={}, formed={"measure": "faelle", "periods": 3}),
        measure("einwohner_3j", "stichtag", "amt", levels={}, formed={"measure": "einwohner", "periods": 3}),
        indicator("anteil", "percent", polarity="higher_is_worse", levels=levels, **quota),
        indicator(
            "anteil_3j",
            "percent",
            numerator={"measure": "faelle_3j"},
            denominator={"measure": "einwohner_3j"},
            levels=levels,
        ),
        indicator("anteil_bereich", "percent", comparison={"level": "bereich"}, levels=levels, **quota),
        indicator("anteil_bezirk6", "percent", comparison={"area": district(6)}, levels=levels, **quota),
        indicator("vorjahr", "percent", denominator_date="previous_year_end", **quota),
        indicator(
            "betreuung", "ratio", numerator={"measure": "betreute"}, denominator={"measure": "stellen"}, levels=levels
        ),
        indicator("fallzahl", "persons", numerator={"measure": "faelle"}, levels=levels),
        indicator("ohne_intervall", "percent", interval="none", levels=levels, **quota),
        indicator("quote", "percent", levels={"bezirk": "counts", "bereich": {"rate": "quote"}}, **quota),
    ]
    write_topic(folder, documents)


def write_memberships(folder: Path) -> None:
    rows = [f"{district(n)},{planning_area(1 if n <= 3 else 2)},,,1,confirmed,konstruiert\n" for n in (1, 2, 4, 5, 6)]
    rows += [
        f"{district(3)},{planning_area(1)},,{MOVED - dt.timedelta(1)},1,confirmed,konstruiert\n",
        f"{district(3)},{planning_area(2)},{MOVED},,1,confirmed,konstruiert\n",
    ]
    rows += [f"{planning_area(n)},{CITY},,,1,confirmed,konstruiert\n" for n in (1, 2)]
    (folder / "assets/areas/memberships.csv").write_text(MEMBER_COLUMNS + "".join(rows), encoding="utf-8")


def write_deliveries(folder: Path) -> None:
    both = [(n, year) for year in YEARS for n in range(1, 7)]
    rows = [f"Bezirk {n};31.12.{year};{cases(n, year)};{3 * n};{2 * n}\n" for n, year in both if (n, year) != MISSING]
    put(folder, "Bezirk;Zeit;faelle;betreute;stellen\n" + "".join(rows), source="amt")
    rows = [f"Bezirk {n};31.12.{year};{1000 + 100 * n + (0 if year < BREAK else 50)}\n" for n, year in both]
    put(folder, "Bezirk;Zeit;einwohner\n" + "".join(rows), source="register")
    rates = [f"Bereich {n};31.12.{year};{5 + n}\n" for year in YEARS for n in (1, 2)]
    path = folder / "assets/hilfen/defs.yaml"
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    documents[2]["attributes"]["layout"]["area"] = {"name": "Bezirk", "level": "bereich"}
    write_topic(folder, documents)
    put(folder, "Bezirk;Zeit;quote\n" + "".join(rates), source="presse")


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    folder = tmp_path_factory.mktemp("vergleichbar") / "Stadt"
    assert create_project(folder, Quiet()) == 0
    for path in (folder / "assets/beispiel/defs.yaml", folder / "data/raw/beispiel/beispiel.csv"):
        path.unlink()
    release = folder / "assets/release/defs.yaml"
    release.write_text(release.read_text(encoding="utf-8") + "  internal: true\n", encoding="utf-8")
    write_areas(folder, school_districts=False)
    write_memberships(folder)
    write_documents(folder)
    write_deliveries(folder)
    night = run_night(folder, dt.datetime(2024, 3, 1, tzinfo=dt.UTC))
    assert not night.findings
    with duckdb.connect(str(night.project.paths.internal_mart), read_only=True) as connection:
        yield connection


def row(con: duckdb.DuckDBPyConnection, indicator_id: str, area_id: str, year: int) -> Row:
    cursor = con.execute(
        "SELECT * FROM mart.indicator_value WHERE indicator_id = ? AND area_id = ? AND year(reference_date) = ?",
        [indicator_id, area_id, year],
    )
    names = [column[0] for column in cursor.description]
    (found,) = cursor.fetchall()
    return dict(zip(names, found, strict=True))


# ---------------------------------------------------------------- breaks


def test_a_break_of_the_denominator_divides_the_series(con: duckdb.DuckDBPyConnection) -> None:
    for area in (district(1), planning_area(1), CITY):
        segments = {year: row(con, "anteil", area, year)["segment"] for year in YEARS}
        after = {year: 2 for year in YEARS if year >= BREAK}
        if area == planning_area(1):
            after |= {year: 3 for year in YEARS if year >= MOVED.year}
        assert segments == {year: 1 for year in YEARS if year < BREAK} | after


def test_nothing_is_compared_across_the_break(con: duckdb.DuckDBPyConnection) -> None:
    at_break = row(con, "anteil", district(1), BREAK)
    assert (at_break["change"], at_break["change_low"], at_break["change_reason"]) == (None, None, "series_break")
    for year in range(BREAK, BREAK + 4):
        assert row(con, "anteil", district(1), year)["trend_reason"] == "series_break"
    before, whole_again = row(con, "anteil", district(1), BREAK - 1), row(con, "anteil", district(1), BREAK + 4)
    assert (before["trend"], whole_again["trend"]) == ("worsening", "worsening")
    assert before["change"] == pytest.approx(100 * 15 / 1100)
    assert row(con, "anteil", district(1), BREAK + 1)["change_reason"] is None


def test_a_break_acts_when_its_year_serves_as_denominator(con: duckdb.DuckDBPyConnection) -> None:
    found = {year: row(con, "vorjahr", district(2), year)["segment"] for year in YEARS if year > YEARS[0]}
    assert found == {year: 1 if year <= BREAK else 2 for year in YEARS if year > YEARS[0]}


def test_pooled_years_are_mixed_until_all_lie_on_one_side(con: duckdb.DuckDBPyConnection) -> None:
    pooled = range(YEARS[0] + 2, YEARS[-1] + 1)
    found = {year: row(con, "anteil_3j", district(2), year) for year in pooled}
    assert [found[year]["segment"] for year in pooled] == [
        1 if year < BREAK else 2 if year < BREAK + 2 else 3 for year in pooled
    ]
    assert {found[year]["trend_reason"] for year in pooled} == {"overlap"}
    assert {found[year]["change_reason"] for year in pooled} == {"overlap"}


def test_what_does_not_use_the_broken_measure_goes_on(con: duckdb.DuckDBPyConnection) -> None:
    assert {row(con, "betreuung", district(2), year)["segment"] for year in YEARS} == {1}
    assert row(con, "fallzahl", district(2), BREAK)["change"] is not None


# ---------------------------------------------------------------- boundaries


def test_a_moved_district_changes_the_extent_of_both_planning_areas_only(con: duckdb.DuckDBPyConnection) -> None:
    for number in (1, 2):
        found = row(con, "betreuung", planning_area(number), MOVED.year)
        assert (found["segment"], found["change_reason"]) == (2, "series_break")
        assert row(con, "betreuung", planning_area(number), MOVED.year - 1)["segment"] == 1
    for area in (district(3), CITY):
        assert row(con, "betreuung", area, MOVED.year)["segment"] == 1


# ---------------------------------------------------------------- gaps


def test_a_missing_year_is_a_gap_and_no_step(con: duckdb.DuckDBPyConnection) -> None:
    number, year = MISSING
    after = row(con, "betreuung", district(number), year + 1)
    assert (after["change"], after["change_reason"]) == (None, "no_earlier")
    reasons = [row(con, "betreuung", district(number), y)["trend_reason"] for y in range(year + 1, year + 6)]
    assert reasons == ["gap", "gap", "gap", "gap", None]
    assert row(con, "betreuung", district(number), year - 1)["trend_reason"] == "too_few_periods"


# ---------------------------------------------------------------- benchmarks


def test_the_benchmark_is_the_city_unless_declared(con: duckdb.DuckDBPyConnection) -> None:
    city, mine = row(con, "anteil", CITY, 2023), row(con, "anteil", district(1), 2023)
    assert (mine["benchmark_id"], mine["benchmark_value"]) == (CITY, city["value"])
    assert mine["difference"] == mine["value"] - city["value"]
    assert (city["comparison"], city["not_compared_reason"], city["difference"]) == ("not_compared", "same_area", None)
    named = row(con, "anteil_bezirk6", district(1), 2023)
    assert named["benchmark_id"] == district(6)
    assert named["benchmark_value"] == row(con, "anteil_bezirk6", district(6), 2023)["value"]


def test_a_level_as_benchmark_is_the_area_one_belongs_to_on_that_day(con: duckdb.DuckDBPyConnection) -> None:
    benchmark = {year: row(con, "anteil_bereich", district(3), year)["benchmark_id"] for year in YEARS}
    assert benchmark == {year: planning_area(1 if year < MOVED.year else 2) for year in YEARS}
    assert row(con, "anteil_bereich", planning_area(1), 2023)["not_compared_reason"] == "same_area"
    assert row(con, "anteil_bereich", CITY, 2023)["not_compared_reason"] == "no_benchmark"


def test_nothing_is_called_similar_without_an_interval(con: duckdb.DuckDBPyConnection) -> None:
    expected = {
        ("fallzahl", district(1)): ("plain_number", "plain_number"),
        ("ohne_intervall", district(1)): ("no_interval", "no_interval"),
        ("quote", planning_area(1)): ("no_benchmark", "rate_only"),
    }
    for (name, area), reasons in expected.items():
        found = row(con, name, area, 2023)
        assert (found["comparison"], found["trend"]) == ("not_compared", "not_calculable")
        assert (found["not_compared_reason"], found["trend_reason"]) == reasons
        assert (found["ci_low"], found["ci_high"], found["ci_low_998"], found["change_low"]) == (None,) * 4


def test_every_figure_is_judged_or_says_why_not(con: duckdb.DuckDBPyConnection) -> None:
    (odd,) = con.execute(
        """
        SELECT count(*) FROM mart.indicator_value
        WHERE (comparison = 'not_compared') <> (not_compared_reason IS NOT NULL)
            OR (trend = 'not_calculable') <> (trend_reason IS NOT NULL)
            OR (change IS NULL) <> (change_reason IS NOT NULL)
            OR comparison IS NULL OR trend IS NULL
        """
    ).fetchall()
    assert odd == (0,)


def test_small_groups_have_ranks_but_no_z(con: duckdb.DuckDBPyConnection) -> None:
    found = [row(con, "betreuung", district(n), 2023) for n in range(1, 7)]
    assert [(r["rank"], r["ranked_n"], r["z_score"]) for r in found] == [(1, 6, None)] * 6  # all have 1.5
    ranks = {n: row(con, "anteil", district(n), 2023) for n in range(1, 7)}
    by_value = sorted(ranks, key=lambda n: -ranks[n]["value"])
    assert [ranks[n]["rank"] for n in by_value] == [1, 2, 3, 4, 5, 6]
