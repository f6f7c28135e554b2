"""What may be compared: breaks, changed extents, gaps and pooled years block change and trend; who is the benchmark."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pandas as pd
import pytest
import yaml

from pipelines.marts.comparability import extent_changes
from pipelines.project import load_project
from tests.conftest import Quiet, create_project, run_night
from tests.reference import projects
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
    """The one figure of an indicator and area in a year."""
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


def test_numbers_of_persons_have_no_difference(con: duckdb.DuckDBPyConnection) -> None:
    """A district has fewer persons than the city: that says nothing."""
    counted = (
        "SELECT count(*), count(benchmark_value), count(difference) FROM mart.indicator_value WHERE indicator_id = ?"
    )
    rows, compared, differences = con.execute(counted, ["fallzahl"]).fetchall()[0]
    assert rows > compared > 50
    assert differences == 0
    assert con.execute(counted, ["anteil"]).fetchall()[0][2] > 50


# ---------------------------------------------------------------- written by hand: areas with an end, origins, days


class Place(NamedTuple):
    """An area; without days it lasts for ever."""

    area_id: str
    level: str
    valid_from: str = ""
    valid_to: str = ""


class Member(NamedTuple):
    """A membership."""

    area_id: str
    parent_id: str
    valid_from: str = ""
    valid_to: str = ""
    weight: float = 1


class Cell(NamedTuple):
    """A count on a day."""

    measure_id: str
    area_id: str
    area_level: str
    reference_date: dt.date
    value: float | None
    origin: str = "published"
    is_suppressed: bool = False


def write_hand_project(
    folder: Path, places: Sequence[Place], members: Iterable[Member], documents: Sequence[dict[str, Any]]
) -> None:
    """A project whose areas and memberships begin and end."""
    projects.write_project(folder, [(p.area_id, f"Gebiet {p.area_id}", p.level) for p in places], documents)
    columns = ["area_id", "name", "level", "number", "valid_from", "valid_to", "sort_key", "aliases", "source"]
    everywhere = [Place(projects.CITY, "stadt"), *places]
    rows = [(p.area_id, f"Gebiet {p.area_id}", p.level, "", *p[2:], i, "", "Liste") for i, p in enumerate(everywhere)]
    projects.write_csv(folder / "assets/areas/areas.csv", columns, rows, ",")
    columns = ["area_id", "parent_id", "valid_from", "valid_to", "weight", "status", "source"]
    projects.write_csv(
        folder / "assets/areas/memberships.csv", columns, [(*m, "confirmed", "Liste") for m in members], ","
    )


def hand_documents(levels: Iterable[str], measures: Iterable[str]) -> list[dict[str, Any]]:
    """One source that delivers all measures on all levels, on reference dates."""
    everywhere = {level: ["probe"] for level in levels}
    layout = {
        "area": {"name": "Gebiet", "candidate_levels": list(everywhere)},
        "period": {"type": "stichtag", "column": "Tag"},
        "values": [{"column": name, "measure": name} for name in measures],
    }
    found = [projects.source("probe", layout)]
    return found + [projects.measure(name, "stichtag", everywhere) for name in measures]


def hand_marts(folder: Path, cells: Iterable[Cell]) -> Path:
    """The marts of a project over these counts; a missing value is not known, unless it is withheld."""
    frame = pd.DataFrame(list(cells), columns=list(Cell._fields))
    frame["value"] = frame["value"].astype(float)
    with duckdb.connect() as con:
        con.register("frame", frame)
        con.execute(
            f"""
            COPY (
                SELECT measure_id, 'insgesamt' AS category, area_id, area_level, 'stichtag' AS period_type,
                    CAST(reference_date AS DATE) AS reference_date, CAST(reference_date AS VARCHAR) AS period,
                    CASE WHEN NOT isnan(value) THEN value END AS value,
                    CASE WHEN is_suppressed THEN 'Q' WHEN isnan(value) THEN 'O' ELSE 'A' END AS obs_status,
                    CASE WHEN is_suppressed THEN 'C' ELSE 'F' END AS conf_status, is_suppressed,
                    CASE WHEN is_suppressed THEN 'primary' END AS suppression_reason, origin, 'delivered' AS method,
                    DATE '2026-03-02' AS data_as_of, 'probe-0001' AS delivery_ids
                FROM frame
            ) TO '{folder / "beobachtung.parquet"}' (FORMAT parquet)
            """
        )
    return projects.build_marts(folder, folder / "beobachtung.parquet")


HAND_LEVELS = ("la", "par", "stadt")
PARENTS = [f"P{n}" for n in range(1, 6)]
LASTING = ["A01", "A02", "A03"]
PLACES = [
    *[Place(p, "par") for p in PARENTS],
    *[Place(a, "la") for a in [*LASTING, "A06"]],
    *[Place(a, "la", "", "2020-12-31") for a in ("A05", "A07")],
    *[Place(a, "la", "2021-01-01", "") for a in ("A05@2021", "A07@2021", "A08@2021")],
    *[Place(a, "la", "", "2018-12-31") for a in ("A10", "A11")],
    *[Place(a, "la", "2019-01-01", "") for a in ("A10@2019", "A11@2019")],
]
INSIDE = {
    # A05 goes from P1 to P2 and gets a new id; A07 is split in two inside P3; P4 and P5 are cut anew on one day.
    "P1": ["A01", "A05"],
    "P2": ["A02", "A05@2021"],
    "P3": ["A03", "A07", "A07@2021", "A08@2021"],
    "P4": ["A10", "A10@2019"],
    "P5": ["A11", "A11@2019"],
}
HAND_MEMBERS = [
    *[Member(p, CITY) for p in PARENTS],
    *[Member(*p[:1], parent, *p[2:]) for parent, parts in INSIDE.items() for p in PLACES if p.area_id in parts],
    Member("A06", "P1", weight=0.6),  # the rest lies outside of the city
]
LEVEL_OF = {p.area_id: p.level for p in PLACES} | {CITY: "stadt"}
RECUT_YEARS, ORIGIN_YEARS, FEBRUARIES = range(2017, 2023), range(2010, 2020), range(2012, 2024)
WEAK = {("A01", 2012): "constructed", (CITY, 2015): "secondary", ("P2", 2016): "inferred", ("A02", 2018): "inferred"}
WITHHELD = ("A02", 2018)
SYMMETRIC = {
    "A01": [295, 226, 226, 295, 550],
    "A02": [550, 295, 226, 226, 295],
    "A03": [295, 226, 226, 296, 550],
    "P3": [550, 296, 226, 226, 295],
}
"""Without the largest one the first two are symmetric; the others have one case more."""


def hand_cells() -> Iterator[Cell]:
    """Numerators; every base is 1000."""
    for place in [*PLACES, Place(CITY, "stadt")]:
        for day in (dt.date(year, 12, 31) for year in RECUT_YEARS):
            if (place.valid_from or "0") <= day.isoformat() <= (place.valid_to or "9"):
                yield Cell("x", place.area_id, place.level, day, 50 + 3 * (day.year - 2017))
    for year in ORIGIN_YEARS:
        for area in [*LASTING, *PARENTS, CITY]:
            origin, day = WEAK.get((area, year), "published"), dt.date(year, 12, 31)
            hidden = (area, year) == WITHHELD
            yield Cell("xo", area, LEVEL_OF[area], day, None if hidden else 100, origin, hidden)
    yield from february_cells()
    for area, counts in SYMMETRIC.items():
        for year, count in enumerate(counts, 2018):
            yield Cell("xs", area, LEVEL_OF[area], dt.date(year, 12, 31), count)


def february_cells() -> Iterator[Cell]:
    """Ends of February, the 28th of every year, and both days in 2016."""
    days = {year: {"A01": dt.date(year, 3, 1) - dt.timedelta(1), "A02": dt.date(year, 2, 28)} for year in FEBRUARIES}
    for year, areas in days.items():
        for area, day in areas.items():
            yield Cell("xf", area, LEVEL_OF[area], day, 200 + 20 * (year - FEBRUARIES[0]))
    for day, count in ((dt.date(2016, 2, 28), 300), (dt.date(2016, 2, 29), 290), (dt.date(2017, 2, 28), 300)):
        yield Cell("xf", "A03", LEVEL_OF["A03"], day, count)


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("von_hand") / "Stadt"
    documents = hand_documents(HAND_LEVELS, ["x", "xo", "xf", "xs", "n"])
    for name in ("x", "xo", "xf", "xs"):
        documents.append(projects.ratio(name, "percent", name, "n", HAND_LEVELS))
        to_level = {"comparison": {"level": "par"}}
        documents.append(projects.ratio(f"{name}_par", "percent", name, "n", HAND_LEVELS, **to_level))
    write_hand_project(folder, PLACES, HAND_MEMBERS, documents)
    cells = list(hand_cells())
    bases = {(c.area_id, c.area_level, c.reference_date) for c in cells}
    hand_marts(folder, [*cells, *[Cell("n", *place, 1000) for place in sorted(bases)]])
    return folder


@pytest.fixture(scope="module")
def hand(by_hand: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(by_hand / "marts.duckdb"), read_only=True) as connection:
        yield connection


NEW_EXTENT = {"P1": 2021, "P2": 2021, "P4": 2019, "P5": 2019}


def test_a_part_that_moves_and_gets_a_new_id_changes_both_wholes(by_hand: Path) -> None:
    """A split inside one whole does not, two wholes cut anew on one day do, their common whole does not."""
    found = extent_changes(load_project(by_hand).directory)
    assert found == [(area, dt.date(year, 1, 1)) for area, year in NEW_EXTENT.items()]


@pytest.mark.parametrize("area", [*PARENTS, CITY])
def test_nothing_is_compared_across_a_changed_extent(hand: duckdb.DuckDBPyConnection, area: str) -> None:
    since = NEW_EXTENT.get(area)
    found = {year: row(hand, "x", area, year) for year in RECUT_YEARS}
    assert {year: r["segment"] for year, r in found.items()} == {
        year: 2 if since and year >= since else 1 for year in RECUT_YEARS
    }
    reasons = dict.fromkeys(RECUT_YEARS) | {RECUT_YEARS[0]: "no_earlier"} | ({since: "series_break"} if since else {})
    assert {year: r["change_reason"] for year, r in found.items()} == reasons
    trends = [found[year]["trend_reason"] for year in (2021, 2022)]
    expected = {2019: "series_break", 2021: "series_break", None: None}[since]
    assert trends == [expected, expected]


def test_an_area_that_belongs_only_partly_to_a_whole_has_no_benchmark(hand: duckdb.DuckDBPyConnection) -> None:
    for year in RECUT_YEARS:
        partly, wholly = row(hand, "x_par", "A06", year), row(hand, "x_par", "A01", year)
        assert (partly["benchmark_id"], partly["benchmark_value"], partly["difference"]) == (None, None, None)
        assert (partly["comparison"], partly["not_compared_reason"]) == ("not_compared", "no_benchmark")
        assert (wholly["benchmark_id"], wholly["comparison"]) == ("P1", "similar")
        assert row(hand, "x", "A06", year)["benchmark_id"] == CITY
    assert row(hand, "x_par", "A05", 2020)["benchmark_id"] == "P1"
    assert row(hand, "x_par", "A05@2021", 2021)["benchmark_id"] == "P2"


# ---------------------------------------------------------------- origin of what is said about a value

STRENGTH = ["published", "open_data", "secondary", "inferred", "constructed"]


def origin_of_inputs(area: str, year: int, benchmark: str | None) -> str:
    """Weakest of the last five periods, the benchmark, and all areas of the level that have a value."""
    inputs = [(area, y) for y in range(max(ORIGIN_YEARS[0], year - 4), year + 1)]
    inputs += [(benchmark, year)] if benchmark else []
    group = [a for a in [*LASTING, *PARENTS, CITY] if LEVEL_OF[a] == LEVEL_OF[area]]
    inputs += [(a, year) for a in group if (a, year) != WITHHELD]
    return max((WEAK.get(cell, "published") for cell in inputs), key=STRENGTH.index)


@pytest.mark.parametrize("indicator_id", ["xo", "xo_par"])
def test_statistics_have_the_weakest_origin_of_all_they_rest_on(
    hand: duckdb.DuckDBPyConnection, indicator_id: str
) -> None:
    wholes = {a: p for p, parts in INSIDE.items() for a in parts} | {p: p for p in PARENTS}
    for area in [*LASTING, *PARENTS, CITY]:
        for year in ORIGIN_YEARS:
            benchmark = CITY if indicator_id == "xo" else wholes.get(area)
            found = row(hand, indicator_id, area, year)
            assert found["benchmark_id"] == benchmark
            assert found["origin"] == WEAK.get((area, year), "published")
            assert found["statistics_origin"] == origin_of_inputs(area, year, benchmark), (area, year)


STATISTICS_ORIGIN = [
    ("xo", "A02", 2011, "published"),
    ("xo", "A02", 2012, "constructed"),  # A01 is one of its group
    ("xo", "A02", 2013, "published"),
    ("xo", "A01", 2016, "constructed"),  # its own value of 2012 is in the trend
    ("xo", "A01", 2017, "published"),
    ("xo", "A03", 2015, "secondary"),  # the city is the benchmark
    ("xo_par", "A03", 2015, "published"),  # there it is not
    ("xo_par", "A02", 2016, "inferred"),  # P2 is
    ("xo", "A02", 2016, "published"),
    ("xo", "A03", 2018, "published"),  # the withheld value of A02 takes part in nothing
]


@pytest.mark.parametrize(("indicator_id", "area", "year", "origin"), STATISTICS_ORIGIN)
def test_statistics_origin_of_single_cells(
    hand: duckdb.DuckDBPyConnection, indicator_id: str, area: str, year: int, origin: str
) -> None:
    assert row(hand, indicator_id, area, year)["statistics_origin"] == origin


# ---------------------------------------------------------------- days and directions


@pytest.mark.parametrize(("area", "in_leap_years"), [("A01", 29), ("A02", 28)])
def test_the_end_of_february_is_one_day(hand: duckdb.DuckDBPyConnection, area: str, in_leap_years: int) -> None:
    for position, year in enumerate(FEBRUARIES):
        found = row(hand, "xf", area, year)
        assert (found["reference_date"].month, found["reference_date"].day) == (2, 28 if year % 4 else in_leap_years)
        assert found["change_reason"] == (None if position else "no_earlier")
        if position:
            assert found["change"] == pytest.approx(2)
        assert found["trend_reason"] == (None if position >= 4 else "too_few_periods")
        assert found["trend"] == ("worsening" if position >= 4 else "not_calculable")


def test_of_two_last_days_of_a_february_the_later_one_counts(hand: duckdb.DuckDBPyConnection) -> None:
    assert row(hand, "xf", "A03", 2017)["change"] == pytest.approx(1)  # 300 of 1000 against 290


@pytest.mark.parametrize(
    ("area", "trend"),
    [("A01", "no_significant_change"), ("A02", "no_significant_change"), ("A03", "worsening"), ("P3", "improving")],
)
def test_a_direction_that_hangs_on_one_year_is_none(hand: duckdb.DuckDBPyConnection, area: str, trend: str) -> None:
    """Without the largest count the symmetric series have no direction at all; one case more, and they have one."""
    counts, total = SYMMETRIC[area], sum(SYMMETRIC[area])
    above = 5000 * (5000 * sum(t * x for t, x in enumerate(counts, 1)) - total * 15000) ** 2
    chi2 = above / (total * (5000 - total) * (5000 * 55000 - 15000**2))
    found = row(hand, "xs", area, 2022)
    assert found["trend_chi2"] == pytest.approx(chi2)
    assert chi2 > 9.55
    assert (found["trend"], found["trend_reason"]) == (trend, None)
