"""The composite index against an independent calculation: own numpy code, brute force and simulation, never our output.

One constructed town holds several area levels, each a random town of its own: of 9 to 64 areas, with withheld cells,
small and excluded areas, a break, a missing year. Kiel's data serve the simulation of class stability.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import yaml

from pipelines import lock
from pipelines.night import Night
from tests.conftest import ROOT, Quiet, create_project
from tests.reference import projects
from tests.test_comparability import Cell, Member, Place, hand_documents, hand_marts, write_hand_project
from tests.test_history import NOW, edit, put
from tests.test_marts import indicator, measure, source, text

CITY = "99999000"
AREAS = {"a": 12, "b": 30, "c": 60, "perm": 60, "plus": 66, "few": 10, "same": 11, "two": 12, "ends": 12}
YEARS = range(2016, 2022)
TOWNS = ("a", "b", "c")
WEIGHTS = {"i1": 1.0, "i2": 2.0, "i3": 0.5}
SIGN = {"i1": 1, "i2": 1, "i3": -1}
SMALL, MINIMUM = 250, 300
LIMITS = [(-1.0, False), (1.0, True), (1.5, True)]
NAMES = ["hoch", "mittel", "niedrig", "sehr_niedrig"]
CHANGES, CHANGE_NAMES = [(-1.0, False), (1.0, True)], ["positiv", "stabil", "negativ"]

DENSE = [-1.2, -0.9, -0.6, -0.3, 0.0, 0.4, 0.8, 1.3]

Counts = dict[str, tuple[int | str, int]]
"""Indicator -> (numerator or sign, denominator) of one area."""
Town = dict[tuple[str, int, int], tuple[int, Counts]]
"""(level, year, number) -> (residents, counts)."""


def area_id(level: str, number: int) -> str:
    return f"{CITY}-{level.upper()}-{number:02d}"


def draw_counts(rng: np.random.Generator, burden: float) -> Counts:
    """Counts of an area: all shares rise or fall with its burden."""
    counts: Counts = {}
    for name in WEIGHTS:
        n = int(rng.integers(25, 60) if name == "i3" else rng.integers(200, 3000))
        share = 0.1 + 0.25 / (1 + np.exp(-SIGN[name] * burden - rng.normal(0, 0.4)))
        counts[name] = (int(rng.binomial(n, share)), n)
    if rng.random() < 0.15:  # none or all: one case fewer or more is not possible
        n = counts["i3"][1]
        counts["i3"] = (n * int(rng.integers(0, 2)), n)
    return counts


def special(level: str, year: int, number: int) -> Counts | None:
    """Equal shares of unequal size, or equal changes of unequal shares; or two shares, half of the areas each."""
    if level == "two":
        return {i: ((100 if (number % 2 == 0) == (SIGN[i] > 0) else 200), 1000) for i in WEIGHTS}
    if level == "ends":
        return {i: ((0 if (number % 2 == 0) == (SIGN[i] > 0) else 50), 50) for i in WEIGHTS}
    if level == "same" and year in (2018, 2020):
        return dict.fromkeys(WEIGHTS, (100 + 7 * number + (50 if year == 2020 else 0), 1000))
    if level == "same":
        return {"i1": (7, 210), "i2": (11, 330), "i3": (number, 3 * number)}
    return None


def draw_town() -> Town:
    """Counts of all levels; `perm` is c with the areas in another order, `plus` is c with areas that do not count."""
    rng = np.random.default_rng(20211231)
    town: Town = {}
    for level, number in ((level, number) for level, areas in AREAS.items() for number in range(1, areas + 1)):
        burden = rng.normal()
        for year in YEARS:
            small = number % 11 == 5 and level not in ("same", "two", "ends")
            residents = SMALL if small else MINIMUM if number == 7 else int(rng.integers(MINIMUM, 9000))
            town[level, year, number] = (residents, draw_counts(rng, burden))
    for (level, year, number), (residents, counts) in town.items():
        if level == "c" and (number * 7 + year) % 23 == 0:
            counts["i2"] = ("*", counts["i2"][1])
        if level == "a" and year == 2018:
            counts["i2"] = ("-", counts["i2"][1])
        town[level, year, number] = (residents, special(level, year, number) or counts)
    for year in YEARS:
        for number in range(1, 61):
            town["perm", year, 61 - number] = town["plus", year, number] = town["c", year, number]
        town["plus", year, 66] = (SMALL, town["plus", year, 66][1])
    return town


TOWN = draw_town()
EXCLUDED = [61, 62, 63, 64, 65]


# ---------------------------------------------------------------- the project


def index_document(name: str, level: str, **more: Any) -> dict[str, Any]:
    classes = [
        {"id": "hoch", "title": text("hoch"), "below": -1},
        {"id": "mittel", "title": text("mittel"), "up_to": 1},
        {"id": "niedrig", "title": text("niedrig"), "up_to": 1.5},
        {"id": "sehr_niedrig", "title": text("sehr niedrig")},
    ]
    dynamics = [
        {"id": "positiv", "title": text("positiv"), "below": -1},
        {"id": "stabil", "title": text("stabil"), "up_to": 1},
        {"id": "negativ", "title": text("negativ")},
    ]
    attributes = {
        "id": name,
        "title": text(name),
        "definition": text(f"Definition {name}"),
        "indicators": [{"indicator": i, "weight": w} for i, w in WEIGHTS.items()],
        "universe": {"level": level, "minimum": {"measure": "einw", "at_least": MINIMUM}},
        "levels": [level],
        "classes": classes,
        "dynamics": {"years": 2, "classes": dynamics},
        "owner": "team:sozialplanung",
    }
    return {"type": "pipelines.components.IndexComponent", "attributes": attributes | more}


def weighted(**weights: float) -> list[dict[str, Any]]:
    return [{"indicator": name, "weight": weight} for name, weight in weights.items()]


def one_source(name: str, measures: list[str], **more: Any) -> dict[str, Any]:
    area = {"id": "Gebiet", "level_column": "Ebene", "levels": {level: level for level in AREAS}}
    values = [{"column": m, "measure": m} for m in measures]
    layout = {"area": area, "period": {"column": "Zeit", "type": "stichtag"}, "values": values}
    return source(name, "stichtag", [], layout=layout, **more)


def topic() -> list[dict[str, Any]]:
    numbers = ["1", "2", "3"]
    counts = [f"x{n}" for n in numbers] + [f"n{n}" for n in numbers] + ["einw"]
    sums = {"bereich": [{"rolled_up": "b"}], "stadt": [{"rolled_up": "bereich"}]}
    levels = {level: ["zahlen"] for level in AREAS} | sums
    origins = {"column": "Herkunft", "values": {"v": "published", "l": "inferred", "k": "constructed"}}
    contract = {
        "severity": {"groesse_widerspricht": "off", "block_wiederholt": "off"}
    }  # one level's figures repeat each other on purpose
    documents = [one_source("zahlen", counts, origin="published", publication="internal", contract=contract)]
    documents[0]["attributes"]["layout"]["origin"] = origins
    documents += [measure(name, "stichtag", "zahlen", levels=levels) for name in counts]
    worse = {"1": "higher_is_worse", "2": "higher_is_worse", "3": "higher_is_better"}
    for n in numbers:
        parts = {"numerator": {"measure": f"x{n}"}, "denominator": {"measure": f"n{n}"}}
        everywhere = dict.fromkeys(levels, "counts")
        other = "higher_is_better" if worse[n] == "higher_is_worse" else "higher_is_worse"
        documents.append(indicator(f"i{n}", "percent", polarity=worse[n], levels=everywhere, **parts))
        documents.append(indicator(f"r{n}", "percent", polarity=other, levels=everywhere, **parts))
    breaks = [{"measure": "xb", "since": "2020-12-31", "reason": text("neu gezählt")}]
    documents += [
        one_source("andere", ["xb", "quote", "wandel"], breaks=breaks),
        measure("xb", "stichtag", "andere", levels={"b": ["andere"]}),
        measure("quote", "stichtag", "andere", levels={"b": ["andere"]}, kind="rate", unit="percent"),
        measure("wandel", "stichtag", "andere", levels={"c": ["andere"]}, kind="rate", unit="percent", minimum=None),
    ]
    documents += [one_source("tage", ["xd"]), measure("xd", "stichtag", "tage", levels={"b": ["tage"]})]
    to_n1 = {"denominator": {"measure": "n1"}, "polarity": "higher_is_worse"}
    on_b = {"levels": {"b": "counts"}} | to_n1
    documents += [
        indicator("ib", "percent", numerator={"measure": "xb"}, **on_b),
        indicator("id", "percent", numerator={"measure": "xd"}, denominator_date="year_end", **on_b),
        indicator("ik", "per_1000", numerator={"measure": "x1"}, **on_b),
        indicator("iq", "percent", polarity="higher_is_worse", levels={"b": {"rate": "quote"}}),
        indicator("iw", "percent", levels={"c": {"rate": "wandel"}}),
    ]
    return documents


def indexes() -> list[dict[str, Any]]:
    minimum = {"measure": "einw", "at_least": MINIMUM}
    excluded = [{"area": area_id("plus", n), "reason": "Gewerbegebiet"} for n in EXCLUDED]
    delivered = [{"indicator": "i2", "change": "iw"}]
    dense = [{"id": f"k{i}", "title": text(f"k{i}"), "below": limit} for i, limit in enumerate(DENSE)]
    dense.append({"id": "k8", "title": text("k8")})
    plus = {"level": "plus", "minimum": minimum, "exclude": excluded}
    return [
        *[index_document(f"index_{level}", level) for level in ("a", "c", "perm", "few", "same", "two", "ends")],
        *[index_document(f"dense_{level}", level, classes=dense) for level in TOWNS],
        index_document("index_b", "b", levels=["b", "bereich", "stadt"]),
        index_document("index_plus", "plus", universe=plus),
        index_document("mirrored", "b", indicators=weighted(r1=1, r2=2, r3=0.5)),
        index_document("scaled", "b", indicators=weighted(i1=0.7, i2=1.4, i3=0.35)),
        index_document("broken", "b", indicators=weighted(ib=1)),
        index_document("dated", "b", indicators=weighted(id=1)),
        index_document("rates", "b", indicators=weighted(iq=1, i2=1)),
        index_document("quotients", "b", indicators=weighted(ik=1, i2=1)),
        index_document("delivered", "c", indicators=delivered),
        index_document("bare", "b", universe={"level": "b"}, dynamics=None),
    ]


def write_areas(folder: Path) -> None:
    rows = [f"{CITY},Musterstadt,stadt,,,,1,,konstruiert"]
    rows += [f"{CITY}-BEREICH-{n},Bereich {n},bereich,{n},,,2,,konstruiert" for n in range(1, 6)]
    rows += [f"{area_id(v, n)},{v} {n},{v},{n},,,{n},,konstruiert" for v, k in AREAS.items() for n in range(1, k + 1)]
    head = "area_id,name,level,number,valid_from,valid_to,sort_key,aliases,source"
    (folder / "assets/areas/areas.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    rows = [f"{area_id('b', n)},{CITY}-BEREICH-{(n - 1) % 5 + 1},,,1,confirmed,konstruiert" for n in range(1, 31)]
    rows += [f"{CITY}-BEREICH-{n},{CITY},,,1,confirmed,konstruiert" for n in range(1, 6)]
    head = "area_id,parent_id,valid_from,valid_to,weight,status,source"
    (folder / "assets/areas/memberships.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    names = ["stadt", "bereich", *AREAS]
    levels = [{"id": v, "title": text(v), "plural": text(v), "sort_key": i} for i, v in enumerate(names)]
    edit(folder, lambda areas: areas.update(levels=levels), "areas", "Areas")
    edit(folder, lambda release: release.update(internal=True), "release", "Release")


WEAK = {("b", 2019, 30): "l", ("plus", 2020, 61): "k", ("plus", 2021, 66): "l"}
"""Rows of another origin: an area of b, an excluded and a small one of plus."""


def rows_of_town() -> tuple[str, str]:
    first = ["Gebiet;Ebene;Zeit;x1;x2;x3;n1;n2;n3;einw;Herkunft"]
    second = ["Gebiet;Ebene;Zeit;xb;quote;wandel"]
    for (level, year, number), (residents, counts) in TOWN.items():
        cells = [counts[i][0] for i in WEIGHTS] + [counts[i][1] for i in WEIGHTS] + [residents]
        place = [area_id(level, number), level, f"31.12.{year}"]
        first.append(";".join([*place, *map(str, cells), WEAK.get((level, year, number), "v")]))
        if level == "b":
            x, n = counts["i1"]
            second.append(";".join([*place, str(x), repr(100 * int(x) / n).replace(".", ","), "-"]))
        if level == "c":
            second.append(";".join([*place, "-", "-", str(delivered_change(year, number)).replace(".", ",")]))
    return "\n".join(first) + "\n", "\n".join(second) + "\n"


DAYS = {2018: ["31.12."], 2019: ["30.06."], 2020: ["31.12."], 2021: ["30.06.", "31.12."]}
LATE = 3
"""Area without a figure at the end of 2021."""


def rows_by_day() -> str:
    """Numerators on other days than the end of the year; in the middle of 2021 they are something else altogether."""
    rows = ["Gebiet;Ebene;Zeit;xd"]
    for year, days in DAYS.items():
        for number in range(1, AREAS["b"] + 1):
            for day in days:
                x = int(TOWN["b", year, number][1]["i1"][0])
                cell = number if (year, day) == (2021, "30.06.") else x
                if (year, day, number) != (2021, "31.12.", LATE):
                    rows.append(f"{area_id('b', number)};b;{day}{year};{cell}")
    return "\n".join(rows) + "\n"


def delivered_change(year: int, number: int) -> float:
    return round(float(np.sin(number * 1.7 + year)) * 3, 3)


def build(folder: Path) -> duckdb.DuckDBPyConnection:
    """Internal marts of a project."""
    night = Night.begin(folder, Quiet().say, NOW)
    try:
        night.intake()
        edition = night.build()
    finally:
        lock.take(night.project.paths.lock_file).release()
        for held in list(lock._HELD.values()):
            held.release()
    assert not [d for state in night.all_states().values() for d in state.outstanding]
    return duckdb.connect(str(edition.file), read_only=True)


@pytest.fixture(scope="module")
def con(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    folder = tmp_path_factory.mktemp("index") / "stadt"
    assert create_project(folder, Quiet()) == 0
    shutil.rmtree(folder / "assets/beispiel")
    shutil.rmtree(folder / "data/raw/beispiel")
    write_areas(folder)
    (folder / "assets/lage").mkdir()
    documents = yaml.safe_dump_all([*topic(), *indexes()], allow_unicode=True, sort_keys=False)
    (folder / "assets/lage/defs.yaml").write_text(documents, encoding="utf-8")
    first, second = rows_of_town()
    put(folder, first, "zahlen.csv", "zahlen")
    put(folder, second, "andere.csv", "andere")
    put(folder, rows_by_day(), "tage.csv", "tage")
    with build(folder) as connection:
        yield connection


Row = dict[str, Any]


def published(con: duckdb.DuckDBPyConnection, index: str, year: int) -> dict[str, Row]:
    """area_id -> row of the index."""
    found = con.execute(
        "SELECT * FROM mart.social_index WHERE index_id = ? AND reference_date = make_date(?, 12, 31)", [index, year]
    )
    names = [column[0] for column in found.description]
    rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    return {row["area_id"]: row for row in rows}


# ---------------------------------------------------------------- the oracle


def cut(value: float, limits: list[tuple[float, bool]], names: list[str]) -> str:
    for (limit, included), name in zip(limits, names, strict=False):
        if round(value, 9) < limit or (included and round(value, 9) == limit):
            return name
    return names[-1]


def shares(counts: Counts) -> list[float] | None:
    """Oriented shares in percent, None if one is withheld or missing."""
    cells = [counts[name] for name in WEIGHTS]
    if any(isinstance(x, str) for x, _ in cells):
        return None
    return [SIGN[name] * 100 * int(x) / n for name, (x, n) in counts.items()]


def standard(values: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Population z-scores of `others` (the same areas by default) against `values`; columns are indicators."""
    others = values if others is None else others
    return (others - values.mean(axis=0)) / np.sqrt(((values - values.mean(axis=0)) ** 2).mean(axis=0))


def index_of(values: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    weights = np.array(list(WEIGHTS.values()))
    sums = standard(values) @ weights
    outside = sums if others is None else standard(values, others) @ weights
    return (outside - sums.mean()) / np.sqrt(((sums - sums.mean()) ** 2).mean())


def universe(level: str, year: int, skip: tuple[int, ...] = ()) -> dict[int, list[float]]:
    """Number of area -> oriented shares, for the areas that count."""
    found = {}
    for number in range(1, AREAS[level] + 1):
        residents, counts = TOWN[level, year, number]
        values = shares(counts)
        if residents >= MINIMUM and values is not None and number not in skip:
            found[number] = values
    return found


def changes(level: str, year: int) -> dict[int, list[float]]:
    found = {}
    for number, now in universe(level, year).items():
        before = shares(TOWN[level, year - 2, number][1])
        if before is not None:
            found[number] = [a - b for a, b in zip(now, before, strict=True)]
    return found


def together(year: int, bereich: int | None) -> Counts:
    """Counts of a Bereich, or of the city, as sums over the areas of level b."""
    members = [n for n in range(1, 31) if bereich is None or (n - 1) % 5 + 1 == bereich]
    cells = [TOWN["b", year, n][1] for n in members]
    return {i: (sum(int(c[i][0]) for c in cells), sum(c[i][1] for c in cells)) for i in WEIGHTS}


HAS_INDEX = [(level, year) for level in TOWNS for year in YEARS if (level, year) != ("a", 2018)]


@pytest.mark.parametrize(("level", "year"), HAS_INDEX)
def test_status_is_what_the_method_says(con: duckdb.DuckDBPyConnection, level: str, year: int) -> None:
    members = universe(level, year)
    expected = dict(zip(members, index_of(np.array(list(members.values()))), strict=True))
    rows = {k: v for k, v in published(con, f"index_{level}", year).items() if v["area_level"] == level}
    assert set(rows) == {area_id(level, n) for n in range(1, AREAS[level] + 1)}
    for number in range(1, AREAS[level] + 1):
        row = rows[area_id(level, number)]
        assert row["universe_n"] == len(members)
        assert row["in_universe"] == (number in members)
        if number in members:
            assert row["status_index"] == pytest.approx(expected[number], abs=1e-9)
            assert row["status_class"] == cut(expected[number], LIMITS, NAMES)
            assert row["reason"] is None
        else:
            small = TOWN[level, year, number][0] < MINIMUM
            assert (row["status_index"], row["status_class"]) == (None, None)
            assert row["reason"] == ("below_minimum" if small else "confidential")


@pytest.mark.parametrize(("level", "year"), [(v, y) for v in ("b", "c") for y in range(2018, 2022)] + [("a", 2021)])
def test_dynamics_compare_with_two_years_before(con: duckdb.DuckDBPyConnection, level: str, year: int) -> None:
    members = changes(level, year)
    expected = dict(zip(members, index_of(np.array(list(members.values()))), strict=True))
    rows = published(con, f"index_{level}", year)
    for number in range(1, AREAS[level] + 1):
        row = rows[area_id(level, number)]
        assert row["dynamics_universe_n"] == len(members)
        if number in members:
            assert row["dynamics_index"] == pytest.approx(expected[number], abs=1e-9)
            assert row["dynamics_class"] == cut(expected[number], CHANGES, CHANGE_NAMES)
            assert row["group_class"] == f"{row['status_class']}/{row['dynamics_class']}"
            assert row["dynamics_reason"] is None
        else:
            assert row["dynamics_index"] is None and row["group_class"] is None
            small = TOWN[level, year, number][0] < MINIMUM
            assert row["dynamics_reason"] == ("below_minimum" if small else "confidential")


@pytest.mark.parametrize("year", YEARS)
def test_other_levels_are_measured_by_the_universe(con: duckdb.DuckDBPyConnection, year: int) -> None:
    values = np.array(list(universe("b", year).values()))
    rows = published(con, "index_b", year)
    for bereich in (1, 2, 3, 4, 5, None):
        own = shares(together(year, bereich))
        expected = float(index_of(values, np.array([own]))[0])
        row = rows[CITY if bereich is None else f"{CITY}-BEREICH-{bereich}"]
        assert row["status_index"] == pytest.approx(expected, abs=1e-9)
        assert row["status_class"] == cut(expected, LIMITS, NAMES)
        assert row["in_universe"] is False


def test_parts_lead_to_the_index(con: duckdb.DuckDBPyConnection) -> None:
    """Who recomputes a row of social_index from social_index_part arrives at it."""
    rows = con.execute(
        "SELECT area_id, list(z_score * weight ORDER BY indicator_id), list(value ORDER BY indicator_id), "
        "list(direction ORDER BY indicator_id), list(universe_mean ORDER BY indicator_id) FROM mart.social_index_part "
        "WHERE index_id = 'index_c' AND period = '2021-12-31' AND in_universe GROUP BY area_id"
    ).fetchall()
    sums = np.array([sum(row[1]) for row in rows])
    index = (sums - sums.mean()) / sums.std()
    expected = published(con, "index_c", 2021)
    for (area, _, values, direction, means), value in zip(rows, index, strict=True):
        assert expected[area]["status_index"] == pytest.approx(value, abs=1e-9)
        assert direction == list(SIGN.values())
        oriented = shares(TOWN["c", 2021, int(area[-2:])][1])
        assert [v * d for v, d in zip(values, direction, strict=True)] == pytest.approx(oriented)
        assert means == pytest.approx(np.abs(np.array(list(universe("c", 2021).values())).mean(axis=0)))


# ---------------------------------------------------------------- one case more or fewer


def flips_by_force(level: str, year: int, number: int, limits: list[tuple[float, bool]], names: list[str]) -> bool:
    """Every numerator of the area one up and one down, everything computed anew."""
    members = universe(level, year)
    order = list(members)
    before = cut(float(index_of(np.array(list(members.values())))[order.index(number)]), limits, names)
    _, counts = TOWN[level, year, number]
    for name, (x, n) in counts.items():
        for more in (1, -1):
            if 0 <= int(x) + more <= n:
                changed = members | {number: shares(counts | {name: (int(x) + more, n)}) or []}
                after = float(index_of(np.array(list(changed.values())))[order.index(number)])
                if cut(after, limits, names) != before:
                    return True
    return False


NINE = [(limit, False) for limit in DENSE]


@pytest.mark.parametrize(
    ("index", "limits", "names"), [("index", LIMITS, NAMES), ("dense", NINE, [f"k{i}" for i in range(9)])]
)
def test_one_case_flips_like_brute_force(
    con: duckdb.DuckDBPyConnection, index: str, limits: list[tuple[float, bool]], names: list[str]
) -> None:
    found = []
    for level, year in HAS_INDEX:
        rows = published(con, f"{index}_{level}", year)
        for number in universe(level, year):
            expected = flips_by_force(level, year, number, limits, names)
            assert rows[area_id(level, number)]["one_case_flips"] is expected, (level, year, number)
            found.append(expected)
    assert 10 < sum(found) < len(found) / 2  # both answers occur


def test_one_case_of_an_area_outside_moves_only_its_own_value(con: duckdb.DuckDBPyConnection) -> None:
    for year in YEARS:
        values = np.array(list(universe("b", year).values()))
        for bereich in (1, 2, 3, 4, 5):
            counts = together(year, bereich)
            classes = set()
            for name, more in [(None, 0), *[(i, m) for i in WEIGHTS for m in (1, -1)]]:
                changed = dict(counts)
                if name:
                    changed[name] = (int(counts[name][0]) + more, counts[name][1])
                classes.add(cut(float(index_of(values, np.array([shares(changed)]))[0]), LIMITS, NAMES))
            row = published(con, "index_b", year)[f"{CITY}-BEREICH-{bereich}"]
            assert row["one_case_flips"] is (len(classes) > 1)


# ---------------------------------------------------------------- properties


def classes_of(con: duckdb.DuckDBPyConnection, index: str, year: int) -> dict[int, tuple[Any, ...]]:
    """Number -> classes and what is said about them."""
    columns = ("status_class", "dynamics_class", "class_stability", "dynamics_stability", "one_case_flips", "reason")
    rows = published(con, index, year)
    return {int(area[-2:]): tuple(row[c] for c in ("status_index", *columns)) for area, row in rows.items()}


@pytest.mark.parametrize("year", YEARS)
def test_order_of_areas_changes_nothing_at_all(con: duckdb.DuckDBPyConnection, year: int) -> None:
    """Bit for bit: sums do not depend on the order of their rows."""
    assert classes_of(con, "index_c", year) == {61 - n: v for n, v in classes_of(con, "index_perm", year).items()}


@pytest.mark.parametrize("year", YEARS)
def test_areas_outside_the_universe_change_nothing(con: duckdb.DuckDBPyConnection, year: int) -> None:
    found = published(con, "index_plus", year)
    assert {found[area_id("plus", n)]["reason"] for n in EXCLUDED} == {"excluded"}
    assert found[area_id("plus", 66)]["reason"] == "below_minimum"
    plus = {n: v for n, v in classes_of(con, "index_plus", year).items() if n <= 60}
    assert plus == classes_of(con, "index_c", year)


def test_reversed_polarity_mirrors_the_index(con: duckdb.DuckDBPyConnection) -> None:
    for year in YEARS:
        mirrored = published(con, "mirrored", year)
        for area, row in published(con, "index_b", year).items():
            if row["area_level"] == "b" and row["status_index"] is not None:
                assert mirrored[area]["status_index"] == pytest.approx(-row["status_index"], abs=1e-12)
                if row["dynamics_index"] is not None:
                    assert mirrored[area]["dynamics_index"] == pytest.approx(-row["dynamics_index"], abs=1e-12)


def test_only_the_proportion_of_weights_counts(con: duckdb.DuckDBPyConnection) -> None:
    for year in YEARS:
        rows = {k: v for k, v in published(con, "index_b", year).items() if v["area_level"] == "b"}
        scaled = published(con, "scaled", year)
        for area, row in rows.items():
            assert scaled[area]["status_index"] == pytest.approx(row["status_index"], abs=1e-12)
            assert scaled[area]["status_class"] == row["status_class"]
            assert scaled[area]["class_stability"] == pytest.approx(row["class_stability"], abs=1e-9)


def test_fewer_than_ten_areas_give_no_index(con: duckdb.DuckDBPyConnection) -> None:
    for year in YEARS:
        rows = published(con, "index_few", year)
        assert (len(rows), {row["universe_n"] for row in rows.values()}) == (10, {9})
        own = {row["reason"] for row in rows.values()}
        assert own == {"universe_too_small", "below_minimum"}
        assert {row["status_index"] for row in rows.values()} == {None}
        assert {row["stability_reason"] for row in rows.values()} == {"no_class"}
        assert {row["one_case_flips"] for row in rows.values()} == {None}
    parts = con.execute(
        "SELECT count(z_score), count(universe_sd) FROM mart.social_index_part WHERE index_id = 'index_few'"
    )
    assert parts.fetchone() == (0, 0)


def test_equal_values_give_no_index(con: duckdb.DuckDBPyConnection) -> None:
    for year in (2016, 2017, 2019, 2021):
        rows = published(con, "index_same", year).values()
        assert {(r["reason"], r["status_index"], r["universe_n"]) for r in rows} == {("no_spread", None, 11)}


def test_equal_changes_give_no_dynamics(con: duckdb.DuckDBPyConnection) -> None:
    """Five points more everywhere: the last digits of the differences are no spread."""
    rows = published(con, "index_same", 2020).values()
    assert {(r["reason"], r["dynamics_reason"], r["dynamics_universe_n"]) for r in rows} == {(None, "no_spread", 11)}


def test_a_value_on_a_limit_lies_where_the_limit_is_included(con: duckdb.DuckDBPyConnection) -> None:
    """Two shares, half of the areas each: the index is -1 and 1, and only `up_to: 1` includes its limit."""
    for year in YEARS:
        rows = published(con, "index_two", year).values()
        assert {(round(r["status_index"], 12), r["status_class"]) for r in rows} == {(-1, "mittel"), (1, "mittel")}
        assert {r["one_case_flips"] for r in rows} == {True}


def test_there_are_no_cases_below_none_and_above_all(con: duckdb.DuckDBPyConnection) -> None:
    """All or none, half of the areas each: the index is on the limits, and the only case possible moves it inwards."""
    for year in YEARS:
        rows = published(con, "index_ends", year)
        assert {(round(r["status_index"], 12), r["one_case_flips"]) for r in rows.values()} == {(-1, False), (1, False)}
        assert not any(flips_by_force("ends", year, number, LIMITS, NAMES) for number in range(1, 13))
        assert {r["class_stability"] for r in rows.values()} == {1}  # nothing varies where none or all are meant


def test_missing_year(con: duckdb.DuckDBPyConnection) -> None:
    """No row for the year without an indicator; no dynamics two years later, nor before there were figures."""
    assert published(con, "index_a", 2018) == {}
    for year in (2016, 2017, 2020):
        rows = published(con, "index_a", year).values()
        assert {r["dynamics_class"] for r in rows} == {None}
        assert {r["dynamics_reason"] for r in rows} == {"missing_indicator", "below_minimum"}
        assert {r["dynamics_universe_n"] for r in rows} == {0}


def test_break_blocks_the_dynamics_across_it(con: duckdb.DuckDBPyConnection) -> None:
    for year, reasons in [
        (2019, {None, "below_minimum"}),
        *[(y, {"series_break", "below_minimum"}) for y in (2020, 2021)],
    ]:
        rows = published(con, "broken", year).values()
        assert {r["dynamics_reason"] for r in rows} == reasons
        assert {r["reason"] for r in rows} == {None, "below_minimum"}


def test_last_day_of_the_year_counts_and_is_the_same_for_all(con: duckdb.DuckDBPyConnection) -> None:
    days = con.execute(
        "SELECT DISTINCT period, indicator_reference_date FROM mart.social_index_part "
        "WHERE index_id = 'dated' ORDER BY ALL"
    ).fetchall()
    assert [day.strftime("%Y-%m-%d") for _, day in days] == ["2018-12-31", "2019-06-30", "2020-12-31", "2021-12-31"]
    members = {
        n: 100 * int(TOWN["b", 2021, n][1]["i1"][0]) / TOWN["b", 2021, n][1]["i1"][1] for n in universe("b", 2021)
    }
    assert members.pop(LATE)
    expected = standard(np.array([[v] for v in members.values()]))[:, 0]
    rows = published(con, "dated", 2021)
    assert [rows[area_id("b", n)]["status_index"] for n in members] == pytest.approx(expected.tolist(), abs=1e-9)
    assert rows[area_id("b", LATE)]["reason"] == "missing_indicator"  # its figure of June is another one


def test_figures_of_different_days_are_no_change(con: duckdb.DuckDBPyConnection) -> None:
    """The figure of the end of 2021 has none of the end of 2019 before it, only one of June."""
    reasons = {year: {r["dynamics_reason"] for r in published(con, "dated", year).values()} for year in (2020, 2021)}
    assert reasons == {
        2020: {None, "below_minimum"},
        2021: {"below_minimum", "missing_indicator"},
    }


def test_no_dynamics_declared_and_no_minimum(con: duckdb.DuckDBPyConnection) -> None:
    rows = published(con, "bare", 2021).values()
    assert {r["dynamics_reason"] for r in rows} == {"not_declared"}
    assert {(r["universe_n"], r["reason"], r["dynamics_universe_n"]) for r in rows} == {(30, None, None)}


def test_delivered_change_is_taken_as_it_is(con: duckdb.DuckDBPyConnection) -> None:
    """Over the areas of the universe, though others have a change, too."""
    for year in YEARS:
        there = [n for n in range(1, 61) if TOWN["c", year, n][0] >= MINIMUM and TOWN["c", year, n][1]["i2"][0] != "*"]
        values = np.array([[delivered_change(year, n)] for n in there])
        expected = standard(values)[:, 0]
        rows = published(con, "delivered", year)
        assert {r["dynamics_universe_n"] for r in rows.values()} == {len(there)}
        for number, value in zip(there, expected, strict=True):
            row = rows[area_id("c", number)]
            assert row["dynamics_index"] == pytest.approx(float(value), abs=1e-9)
            assert row["dynamics_stability"] is None
            assert row["class_stability"] is not None


def test_certainty_needs_counts_of_proportions(con: duckdb.DuckDBPyConnection) -> None:
    for index, reason in (("rates", "rate_only"), ("quotients", "not_a_proportion")):
        rows = [r for r in published(con, index, 2021).values() if r["in_universe"]]
        assert {(r["stability_reason"], r["class_stability"]) for r in rows} == {(reason, None)}
        assert None not in {r["status_class"] for r in rows}
    flips = {r["one_case_flips"] for r in published(con, "rates", 2021).values() if r["in_universe"]}
    assert False not in flips  # one case of a published rate: nobody can tell
    assert False in {r["one_case_flips"] for r in published(con, "quotients", 2021).values()}


def test_origin_is_the_weakest_of_all_inputs(con: duckdb.DuckDBPyConnection) -> None:
    """Universe and earlier years included, areas that are excluded are not; the small one decides on the universe."""
    for year, expected in ((2018, "published"), (2019, "inferred"), (2020, "published"), (2021, "inferred")):
        rows = published(con, "index_b", year)
        assert {r["origin"] for r in rows.values() if r["dynamics_index"] is not None or year == 2019} == {expected}
    assert {r["origin"] for r in published(con, "index_b", 2021).values() if r["reason"] == "below_minimum"} == {
        "published"
    }
    for year, expected in ((2019, "inferred"), (2021, "published")):  # no dynamics, no minimum
        assert {r["origin"] for r in published(con, "bare", year).values()} == {expected}
    rows = published(con, "index_plus", 2020)
    assert {n for n, r in rows.items() if r["origin"] != "published"} == {area_id("plus", 61)}
    assert rows[area_id("plus", 61)]["origin"] == "constructed"
    assert {r["origin"] for r in published(con, "index_plus", 2021).values()} == {"inferred"}


def test_deliveries_of_all_inputs(con: duckdb.DuckDBPyConnection) -> None:
    for row in published(con, "index_b", 2021).values():
        assert (row["delivery_ids"], row["data_as_of"]) == ("zahlen-0001", NOW.date())
    ids = {row["delivery_ids"] for row in published(con, "delivered", 2021).values() if row["in_universe"]}
    assert ids == {"andere-0001;zahlen-0001"}


# ---------------------------------------------------------------- certainty, by simulation


def normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def matrix_certainty(
    values: np.ndarray,
    own: np.ndarray,
    spread: np.ndarray,
    own_spread: np.ndarray,
    cross: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the index of `own` areas, by the full matrix of derivatives instead of moments.

    Args:
        values, spread: shares of the universe (areas, indicators) and their binomial variances.
        own, own_spread: the same of the areas asked for.
        cross: covariance of each asked area's share with each of the universe (own areas, areas, indicators).
        weights: of the indicators, those of the town by default.
    """
    n, weights = len(values), np.array(list(WEIGHTS.values())) if weights is None else weights
    sd = np.sqrt(values.var(axis=0) + spread.mean(axis=0) * (1 - 1 / n))  # chance widens the spread
    z, z_own = (values - values.mean(axis=0)) / sd, (own - values.mean(axis=0)) / sd
    noise = weights**2 * spread.mean(axis=0) * (1 - 1 / n) / sd**2
    total = np.sqrt((z @ weights).var() + noise.sum())
    index, index_own = z @ weights / total, z_own @ weights / total
    r = (index[:, None] * z).mean(axis=0) + noise / weights / total
    variance = np.zeros(len(own))
    for k in range(values.shape[1]):
        step = weights[k] / total / sd[k]
        toward = -step / n * (1 + np.outer(z_own[:, k] - index_own * r[k], z[:, k]) + np.outer(index_own, index))
        variance += (toward**2 * spread[:, k]).sum(axis=1) + step**2 * own_spread[:, k]
        variance += 2 * step * (toward * cross[:, :, k]).sum(axis=1)
    return index_own, variance


def binomial_spread(cells: list[Counts]) -> np.ndarray:
    return np.array([[1e4 * int(x) * (n - int(x)) / n**3 for x, n in counts.values()] for counts in cells])


@pytest.mark.parametrize(("years", "column"), [((2021,), "class_stability"), ((2021, 2019), "dynamics_stability")])
def test_stability_follows_from_all_derivatives(
    con: duckdb.DuckDBPyConnection, years: tuple[int, ...], column: str
) -> None:
    """The moments of the SQL add up to what the full matrix of derivatives says, inside the universe and outside."""
    members = list(universe("b", 2021))
    cells = [[TOWN["b", year, n][1] for n in members] for year in years]
    centres = [[together(year, bereich) for bereich in (1, 2, 3, 4, 5, None)] for year in years]
    flat = [np.array([shares(c) for c in row]) for row in cells]
    outer = [np.array([shares(c) for c in row]) for row in centres]
    values, own = (f[0] - f[1] if len(years) == 2 else f[0] for f in (flat, outer))
    spread, own_spread = (np.sum([binomial_spread(row) for row in rows], axis=0) for rows in (cells, centres))
    inside = np.eye(len(members))[:, :, None] * spread[None]
    cross = np.zeros((6, len(members), 3))
    for position, row in enumerate(cells):
        part = binomial_spread(row)
        for g, bereich in enumerate((1, 2, 3, 4, 5, None)):
            whole = np.array([n for _, n in centres[position][g].values()])
            for j, number in enumerate(members):
                if bereich is None or (number - 1) % 5 + 1 == bereich:
                    cross[g, j] += part[j] * np.array([n for _, n in row[j].values()]) / whole
    names = [area_id("b", n) for n in members] + [f"{CITY}-BEREICH-{n}" for n in range(1, 6)] + [CITY]
    mean, variance = matrix_certainty(
        values,
        np.concatenate([values, own]),
        spread,
        np.concatenate([spread, own_spread]),
        np.concatenate([inside, cross]),
    )
    rows = published(con, "index_b", 2021)
    limits, kind = (LIMITS, "status") if len(years) == 1 else (CHANGES, "dynamics")
    edges = [-math.inf, *[limit for limit, _ in limits], math.inf]
    for area, centre, sd in zip(names, mean, np.sqrt(variance), strict=True):
        place = int(np.searchsorted(edges, rows[area][f"{kind}_index"])) - 1
        expected = normal((edges[place + 1] - centre) / sd) - normal((edges[place] - centre) / sd)
        assert rows[area][column] == pytest.approx(expected, abs=3e-7), area


DRAWS = 20_000
KIEL_INDICATORS = {"arbeitslosenanteil": 1, "kinderarmutsanteil": 1, "schulabgaenge_abitur": -1}


def simulated(
    cells: dict[str, np.ndarray],
    groups: dict[str, tuple[list[str], np.ndarray]],
    sign: np.ndarray,
    weights: np.ndarray,
    limits: list[tuple[float, bool]],
) -> dict[str, float]:
    """Share of draws in which each area keeps its class; all counts are drawn anew, exactly binomial.

    `cells`: area -> array (years, indicators, 2) of numerator and denominator; two years: their difference counts.
    `groups`: outside area -> members in the universe and its own cells; the rest of its counts is drawn besides.
    """
    rng = np.random.default_rng(7)
    areas = list(cells)
    x, n = (np.stack([cells[a][:, :, part] for a in areas]) for part in (0, 1))
    drawn = rng.binomial(n.astype(int), x / n, size=(DRAWS, *x.shape)).astype(float)

    def change(values: np.ndarray) -> np.ndarray:
        return sign * 100 * (values[..., 0, :] - values[..., 1, :] if values.shape[-2] == 2 else values[..., 0, :])

    def moved(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, sd = inside.mean(axis=-2, keepdims=True), inside.std(axis=-2, keepdims=True)
        sums, others = ((inside - mean) / sd) @ weights, ((outside - mean) / sd) @ weights
        centre, spread = sums.mean(axis=-1, keepdims=True), sums.std(axis=-1, keepdims=True)
        return (sums - centre) / spread, (others - centre) / spread

    own_x = np.stack([own[:, :, 0] for _, own in groups.values()])
    own_n = np.stack([own[:, :, 1] for _, own in groups.values()])
    inside = np.array([[a in members for a in areas] for members, _ in groups.values()], dtype=float)
    rest_x = own_x - np.tensordot(inside, x, axes=(1, 0))
    rest_n = own_n - np.tensordot(inside, n, axes=(1, 0))
    assert rest_x.min() >= 0 and (rest_n >= rest_x).all()
    rest = rng.binomial(rest_n.astype(int), rest_x / np.maximum(rest_n, 1), size=(DRAWS, *rest_x.shape))
    sums = np.einsum("ga,ra...->rg...", inside, drawn) + rest
    before = np.concatenate(moved(change(x / n), change(own_x / own_n)))
    after = np.concatenate(moved(change(drawn / n), change(sums / own_n)), axis=-1)
    edges = np.array([limit for limit, _ in limits])
    keeps = np.searchsorted(edges, after) == np.searchsorted(edges, before)
    return dict(zip([*areas, *groups], keeps.mean(axis=0).tolist(), strict=True))


@pytest.fixture(scope="module")
def kiel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    folder = tmp_path_factory.mktemp("kiel")
    shutil.copytree(ROOT / "assets", folder / "assets")
    shutil.copytree(ROOT / "data/raw", folder / "data/raw")
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")
    with build(folder) as connection:
        yield connection


def kiel_cells(con: duckdb.DuckDBPyConnection, years: list[int]) -> dict[str, np.ndarray]:
    """Stadtteile and SZB with all counts of these years -> array (years, indicators, 2)."""
    rows = con.execute(
        "SELECT area_id, indicator_id, year(reference_date), numerator, denominator FROM mart.indicator_value "
        "WHERE area_level IN ('stadtteil', 'sozialzentrumsbereich') AND value IS NOT NULL"
    ).fetchall()
    cells = {(area, name, year): (x, n) for area, name, year, x, n in rows}
    found = {}
    for area in sorted({key[0] for key in cells}):
        wanted = [[cells.get((area, name, year)) for name in KIEL_INDICATORS] for year in years]
        if not any(cell is None for year in wanted for cell in year):
            found[area] = np.array(wanted, dtype=float)
    return found


def gaps_to_simulation(con: duckdb.DuckDBPyConnection, year: int, column: str) -> dict[str, float]:
    """Area -> distance of the published probability from the simulated one."""
    rows = published(con, "soziale_lage", year)
    years = [year] if column == "class_stability" else [year, year - 2]
    members = {a for a, row in rows.items() if row["in_universe"]}
    cells = kiel_cells(con, years)
    parents = con.execute("SELECT area_id, parent_id FROM mart.membership WHERE parent_id LIKE '%-SZB-%'").fetchall()
    inside = {a: c for a, c in cells.items() if a in members}
    groups = {g: ([a for a, p in parents if p == g and a in inside], c) for g, c in cells.items() if "-SZB-" in g}
    sign = np.array(list(KIEL_INDICATORS.values()))
    limits = LIMITS if column == "class_stability" else CHANGES
    expected = simulated(inside, groups, sign, np.ones(3), limits)
    return {area: abs(rows[area][column] - share) for area, share in expected.items()}


@pytest.mark.parametrize(
    ("column", "year", "allowed"),
    [("class_stability", y, 0.02) for y in (2016, 2018, 2021, 2022, 2023)]
    # Differences of two small counts: there the normal distribution itself is no closer.
    + [("dynamics_stability", y, 0.04) for y in (2017, 2021, 2023)],
)
def test_stability_agrees_with_simulation(
    kiel: duckdb.DuckDBPyConnection, column: str, year: int, allowed: float
) -> None:
    gaps = gaps_to_simulation(kiel, year, column)
    districts = max(gap for area, gap in gaps.items() if "-ST-" in area)
    centres = max(gap for area, gap in gaps.items() if "-SZB-" in area)
    print(f"{column} {year}: Stadtteile {districts:.4f}, SZB {centres:.4f}")
    assert len(gaps) > 26
    assert max(districts, centres) < allowed


def test_kiels_index_is_plausible(kiel: duckdb.DuckDBPyConnection) -> None:
    """The constructed data follow the published pattern: Gaarden and Mettenhof lowest."""
    for year in range(2014, 2024):
        rows = published(kiel, "soziale_lage", year)
        assert {rows[f"01002000-ST-{n}"]["status_class"] for n in (12, 25)} <= {"sehr_niedrig", "niedrig"}
        assert {rows[f"01002000-SZB-{n}"]["status_class"] for n in (1, 2)} <= {"sehr_niedrig", "niedrig"}
        assert all(row["origin"] == "constructed" for row in rows.values())
        blocked = {row["dynamics_reason"] for row in rows.values()}
        assert ("series_break" in blocked) == (year in (2019, 2020))  # population counted otherwise from 2019 on
        assert all(row["reference_date"] == dt.date(year, 12, 31) for row in rows.values())


# ---------------------------------------------------------------- written by hand: days, ends, minimum

DISTRICTS = [f"A{n:02d}" for n in range(1, 17)]
ENDED, SUCCESSOR, MOVED = "A17", "A17@2021", "A16"
"""An area that ends in the middle of 2021, the one after it, and one that goes from P1 to P2 with the year 2020."""
HALF_YEARS = [dt.date(y, m, d) for y in range(2017, 2022) for m, d in ((6, 30), (12, 31)) if (y, m) != (2021, 12)]
JUNES = [dt.date(y, 6, 30) for y in range(2018, 2023)]
STRAGGLERS = {dt.date(2018, 9, 30): 1, dt.date(2019, 9, 30): 7, dt.date(2020, 9, 30): 8, dt.date(2021, 9, 30): 9}
"""Areas that have a value on a later day; in June it is all 16."""
EMPTY_LATE = dt.date(2022, 9, 30)
"""A later day on which all areas have a figure, but most of them are withheld."""
FEBRUARIES = [dt.date(2018, 2, 28), dt.date(2020, 2, 29), dt.date(2022, 2, 28)]
SIZES = {"A01": (None, True), "A02": None, "A03": (None, False), "A04": (299.0, False), "A05": (None, True)}
"""Withheld, no row, no value, too small, excluded as well; all others have enough."""

NARROW = [-0.35, -0.25, -0.15, -0.05, 0.05, 0.15, 0.25, 0.35]
"""Limits of classes so narrow that sums of several areas do not lie in one for certain."""
LAST = {"id": "k8", "title": text("k8")}


def half_year_counts() -> dict[tuple[str, dt.date], tuple[int, int]]:
    """(area, day) -> cases and base; P1 and P2 are the sums over the areas which they have on that day."""
    rng = np.random.default_rng(30062021)
    found: dict[tuple[str, dt.date], tuple[int, int]] = {}
    for area in [*DISTRICTS, ENDED]:
        burden = rng.uniform(0.05, 0.35)
        for day in HALF_YEARS:
            n = int(rng.integers(1000, 1500) if area == MOVED else rng.integers(100, 400))
            found[area, day] = (int(rng.binomial(n, np.clip(burden + rng.normal(0, 0.03), 0.01, 0.9))), n)
    for day in HALF_YEARS:
        for whole in ("P1", "P2"):
            cells = [found[a, day] for a in parts_of(whole, day)]
            found[whole, day] = (sum(x for x, _ in cells), sum(n for _, n in cells))
    return found


def parts_of(whole: str, day: dt.date) -> list[str]:
    first = [*DISTRICTS[:7], *([MOVED] if day.year < 2020 else [])]
    everything = [*DISTRICTS, *([ENDED] if day <= dt.date(2021, 6, 30) else [])]
    return first if whole == "P1" else [a for a in everything if a not in first]


HALF = half_year_counts()


def february(position: int, day: dt.date) -> int:
    return 300 + (position * 37 + day.year * position * position) % 211


def hand_cells() -> Iterator[Cell]:
    for (area, day), (x, n) in HALF.items():
        level = "par" if area.startswith("P") else "la"
        yield from (Cell("xh", area, level, day, x), Cell("nh", area, level, day, n))
    for position, area in enumerate(DISTRICTS):
        late = [(day, position < areas) for day, areas in STRAGGLERS.items()] + [(EMPTY_LATE, True)]
        for day in [*JUNES, *[day for day, there in late if there]]:
            hidden = day == EMPTY_LATE and position >= 7
            count = None if hidden else 100 + 10 * position
            yield Cell("xs", area, "la", day, count, is_suppressed=hidden)
            yield Cell("ns", area, "la", day, 1000)
        for day in FEBRUARIES:
            yield Cell("xf", area, "la", day, 10 * february(position, day))
            yield Cell("nf", area, "la", day, 10000)
        size = SIZES.get(area, (300.0, False))
        if size is not None:
            yield Cell("einw", area, "la", HALF_YEARS[-1], size[0], is_suppressed=size[1])


def hand_indexes() -> list[dict[str, Any]]:
    minimum = {"measure": "einw", "at_least": 300}
    excluded = [{"area": "A05", "reason": "Hafen"}]
    one = {"levels": ["la"], "universe": {"level": "la"}, "dynamics": None}
    return [
        index_document(
            "halb",
            "la",
            indicators=weighted(h=1),
            universe={"level": "la"},
            levels=["la", "par"],
            classes=[*[{"id": f"k{i}", "title": text(f"k{i}"), "below": x} for i, x in enumerate(NARROW)], LAST],
        ),
        index_document("februar", "la", **{k: v for k, v in one.items() if k != "dynamics"}, indicators=weighted(f=1)),
        index_document("nachzuegler", "la", **one | {"indicators": weighted(s=1)}),
        index_document(
            "groesse",
            "la",
            **one | {"indicators": weighted(h=1), "universe": {"level": "la", "minimum": minimum, "exclude": excluded}},
        ),
    ]


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    folder = tmp_path_factory.mktemp("index_von_hand") / "stadt"
    first, last = dt.date(2019, 12, 31).isoformat(), dt.date(2020, 1, 1).isoformat()
    places = [
        *[Place(p, "par") for p in ("P1", "P2")],
        *[Place(a, "la") for a in DISTRICTS],
        Place(ENDED, "la", "", "2021-06-30"),
        Place(SUCCESSOR, "la", "2021-07-01", ""),
    ]
    members = [
        *[Member(p, CITY) for p in ("P1", "P2")],
        *[Member(a, "P1" if a in DISTRICTS[:7] else "P2") for a in DISTRICTS if a != MOVED],
        Member(MOVED, "P1", "", first),
        Member(MOVED, "P2", last, ""),
        Member(ENDED, "P2", "", "2021-06-30"),
        Member(SUCCESSOR, "P2", "2021-07-01", ""),
    ]
    levels = ["la", "par", "stadt"]
    documents = hand_documents(levels, ["xh", "nh", "xs", "ns", "xf", "nf", "einw"])
    documents += [projects.ratio(name, "percent", f"x{name}", f"n{name}", levels) for name in ("h", "s", "f")]
    write_hand_project(folder, places, members, [*documents, *hand_indexes()])
    with duckdb.connect(str(hand_marts(folder, hand_cells())), read_only=True) as connection:
        yield connection


def rates(areas: list[str], day: dt.date) -> np.ndarray:
    return np.array([[100 * HALF[a, day][0] / HALF[a, day][1]] for a in areas])


def figure_days(con: duckdb.DuckDBPyConnection, index: str) -> list[tuple[int, dt.date]]:
    return con.execute(
        "SELECT DISTINCT year(reference_date), indicator_reference_date FROM mart.social_index_part "
        "WHERE index_id = ? ORDER BY ALL",
        [index],
    ).fetchall()


@pytest.mark.parametrize(("year", "last"), [(2019, (12, 31)), (2020, (12, 31)), (2021, (6, 30))])
def test_half_yearly_figures_are_compared_with_the_same_day(
    hand: duckdb.DuckDBPyConnection, year: int, last: tuple[int, int]
) -> None:
    """The last figure of 2021 is that of June: its change is the one since June 2019, not since the end of 2019."""
    areas = [*DISTRICTS, *([ENDED] if year < 2021 else [])]
    day, before = dt.date(year, *last), dt.date(year - 2, *last)
    assert (year, day) in figure_days(hand, "halb")
    status = standard(rates(areas, day))[:, 0]
    dynamics = standard(rates(areas, day) - rates(areas, before))[:, 0]
    rows = published(hand, "halb", year)
    for position, area in enumerate(areas):
        assert rows[area]["status_index"] == pytest.approx(status[position], abs=1e-9)
        assert rows[area]["dynamics_index"] == pytest.approx(dynamics[position], abs=1e-9)
        assert rows[area]["dynamics_class"] == cut(dynamics[position], CHANGES, CHANGE_NAMES)
        assert (rows[area]["reason"], rows[area]["dynamics_reason"]) == (None, None)
    for whole in ("P1", "P2"):  # one area went from one to the other with the year 2020
        assert rows[whole]["status_class"] is not None
        assert rows[whole]["dynamics_reason"] == (None if year < 2020 else "series_break")


def test_the_last_day_of_february_is_one_day(hand: duckdb.DuckDBPyConnection) -> None:
    assert figure_days(hand, "februar") == [(day.year, day) for day in FEBRUARIES]
    for before, day in itertools.pairwise(FEBRUARIES):
        expected = standard(np.array([[february(n, day) - february(n, before)] for n in range(16)]))[:, 0]
        rows = published(hand, "februar", day.year)
        assert {row["dynamics_reason"] for row in rows.values()} <= {None, "missing_indicator"}
        assert [rows[a]["dynamics_index"] for a in DISTRICTS] == pytest.approx(expected.tolist(), abs=1e-9)


def test_an_area_that_has_ended_is_neither_reported_nor_compared_with(hand: duckdb.DuckDBPyConnection) -> None:
    """It has a figure of June 2021, and its successor has none yet."""
    assert hand.execute(
        "SELECT count(*) FROM mart.indicator_value WHERE area_id = ? AND reference_date = '2021-06-30'", [ENDED]
    ).fetchone() == (1,)
    for year in (2019, 2020, 2021):
        rows, ended = published(hand, "halb", year), year == 2021
        assert {ENDED, SUCCESSOR} & set(rows) == {SUCCESSOR if ended else ENDED}
        assert {row["universe_n"] for row in rows.values()} == {16 if ended else 17}
        assert {row["dynamics_universe_n"] for row in rows.values()} == {16 if ended else 17}
    assert published(hand, "halb", 2021)[SUCCESSOR]["reason"] == "missing_indicator"
    ((parts,),) = hand.execute(
        "SELECT count(*) FROM mart.social_index_part WHERE area_id = ? AND year(reference_date) = 2021", [ENDED]
    ).fetchall()
    assert parts == 0


def certainty_of_wholes(year: int, day: dt.date, parts: dict[str, list[str]]) -> dict[str, float]:
    """Certainty of the status classes of P1 and P2, if these are the areas of which they consist."""
    areas = [*DISTRICTS, *([ENDED] if year < 2021 else [])]
    wholes = list(parts)
    values, own = rates(areas, day), rates(wholes, day)
    spread, own_spread = (
        np.array([[1e4 * HALF[a, day][0] * (HALF[a, day][1] - HALF[a, day][0]) / HALF[a, day][1] ** 3] for a in names])
        for names in (areas, wholes)
    )
    cross = np.zeros((len(wholes), len(areas), 1))
    for g, whole in enumerate(wholes):
        for j, area in enumerate(areas):
            if area in parts[whole]:
                cross[g, j] = spread[j] * HALF[area, day][1] / HALF[whole, day][1]
    mean, variance = matrix_certainty(values, own, spread, own_spread, cross, np.ones(1))
    index = standard(values, own)[:, 0]
    edges = [-math.inf, *NARROW, math.inf]
    found = {}
    for whole, place, centre, sd in zip(
        wholes, np.searchsorted(edges, index) - 1, mean, np.sqrt(variance), strict=True
    ):
        found[whole] = normal((edges[place + 1] - centre) / sd) - normal((edges[place] - centre) / sd)
    return found


@pytest.mark.parametrize("day", [dt.date(2018, 12, 31), dt.date(2020, 12, 31), dt.date(2021, 6, 30)])
def test_certainty_of_a_whole_rests_on_the_areas_it_has_in_that_year(
    hand: duckdb.DuckDBPyConnection, day: dt.date
) -> None:
    rows = published(hand, "halb", day.year)
    now = {whole: parts_of(whole, day) for whole in ("P1", "P2")}
    both = {"P1": sorted({*now["P1"], MOVED}), "P2": sorted({*now["P2"], MOVED})}
    expected, wrong = (certainty_of_wholes(day.year, day, parts) for parts in (now, both))
    for whole in now:
        assert rows[whole]["class_stability"] == pytest.approx(expected[whole], abs=3e-7)
    loser = "P1" if day.year >= 2020 else "P2"
    assert abs(expected[loser] - wrong[loser]) > 0.03


def test_stragglers_do_not_move_the_day(hand: duckdb.DuckDBPyConnection) -> None:
    """Half of the 16 areas are enough, fewer are not; areas whose figure is withheld do not count."""
    days = [
        dt.date(2018, 6, 30),
        dt.date(2019, 6, 30),
        dt.date(2020, 9, 30),
        dt.date(2021, 9, 30),
        dt.date(2022, 6, 30),
    ]
    assert figure_days(hand, "nachzuegler") == [(day.year, day) for day in days]
    expected = standard(np.arange(16.0)[:, None])[:, 0]
    for year in (2018, 2019, 2022):
        rows = published(hand, "nachzuegler", year)
        assert [rows[a]["status_index"] for a in DISTRICTS] == pytest.approx(expected.tolist(), abs=1e-9)
    for year, areas in ((2020, 8), (2021, 9)):
        rows = published(hand, "nachzuegler", year)
        reasons = [rows[a]["reason"] for a in DISTRICTS]
        assert reasons == ["universe_too_small"] * areas + ["missing_indicator"] * (16 - areas)


def test_a_minimum_that_is_not_known_is_no_small_area(hand: duckdb.DuckDBPyConnection) -> None:
    rows = published(hand, "groesse", 2021)
    reasons = {a: rows[a]["reason"] for a in DISTRICTS if rows[a]["reason"] is not None}
    assert reasons == {
        "A01": "confidential",
        "A02": "missing_indicator",
        "A03": "missing_indicator",
        "A04": "below_minimum",
        "A05": "excluded",
    }
    assert {row["universe_n"] for row in rows.values()} == {11}
    members = [a for a in DISTRICTS if a not in reasons]
    expected = standard(rates(members, HALF_YEARS[-1]))[:, 0]
    assert [rows[a]["status_index"] for a in members] == pytest.approx(expected.tolist(), abs=1e-9)
