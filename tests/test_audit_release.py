"""The audit of a release finds what it must, in the files as they lie on disk, and nothing in a clean release.

Expected intervals come from hand computation (beside the test), from published examples, or from trying all values.
"""

from __future__ import annotations

import ast
import datetime as dt
import hashlib
import itertools
import json
import random
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter
import yaml

from pipelines.audit import release_attack
from pipelines.audit.facts import Facts, Key, decimals, printed
from pipelines.audit.release import ABSENT, Audit, Earlier, Leak, Need, audit_release, remainder
from pipelines.audit.release_tokens import strange
from pipelines.disclosure.attack import SolverFailed
from pipelines.marts.edition import build_edition
from pipelines.marts.models import Models
from pipelines.project import load_project
from pipelines.release.datapackage import write_datapackage
from pipelines.release.feed import given_out, write_feed
from tests.conftest import ROOT, Quiet, create_project, run_night
from tests.test_history import NOW, edit
from tests.test_marts import indicator, measure, source

CITY = "99999000"
DAY = "2023-12-31"
STAR, MISSING = "*", "-"
Figure = float | str
Cells = dict[Key, Figure]


def cell(measure_id: str, area: str, category: str = "insgesamt", date: str = DAY, kind: str = "stichtag") -> Key:
    return (measure_id, category, area, kind, date)


def kinds(audit: Audit) -> set[str]:
    return {leak.kind for leak in audit.leaks}


def computed(audit: Audit) -> list[Leak]:
    return [leak for leak in audit.leaks if leak.kind == "errechenbar"]


# ---------------------------------------------------------------- releases of one hand-made file


def bare(
    folder: Path,
    cells: Cells,
    *,
    measures: dict[str, dict[str, Any]],
    members: Iterable[tuple[Any, ...]] = (),
    categories: dict[str, list[str]] | None = None,
    parts: Iterable[tuple[Any, ...]] = (),
    indicators: Iterable[tuple[str, str, str]] = (),
) -> Path:
    """A release folder with nothing but a public database of the tables an attacker needs."""
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(folder / "sozialraum.duckdb")) as con:
        con.execute("CREATE SCHEMA mart; CREATE SCHEMA meta")
        con.execute(
            "CREATE TABLE meta.release AS SELECT 'x' AS release_id, 'x' AS content_hash, 'x' AS commit, 'x' AS rules"
        )
        con.execute("CREATE TABLE meta.delivery (address VARCHAR)")
        con.execute(
            "CREATE TABLE mart.measure (measure_id VARCHAR, title VARCHAR, kind VARCHAR, unit VARCHAR, family VARCHAR, "
            "period_type VARCHAR, threshold INTEGER, zeros VARCHAR, tolerance DOUBLE)"
        )
        for name, more in measures.items():
            row = {"threshold": 3, "zeros": "published", "tolerance": 0.0, "family": "f", "kind": "count"} | more
            values = [name, name, row["kind"], "persons", row["family"], "stichtag"]
            values += [row["threshold"], row["zeros"], row["tolerance"]]
            con.execute("INSERT INTO mart.measure VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        _areas(con, cells, list(members))
        con.execute("CREATE TABLE mart.category (measure_id VARCHAR, category VARCHAR, part_of VARCHAR)")
        for name, codes in (categories or {}).items():
            con.executemany("INSERT INTO mart.category VALUES (?, ?, 'insgesamt')", [[name, code] for code in codes])
        con.execute(
            "CREATE TABLE mart.measure_part (sum_id VARCHAR, measure_id VARCHAR, category VARCHAR, "
            "part_measure_id VARCHAR, part_category VARCHAR, periods INTEGER, tolerance DOUBLE)"
        )
        for row in parts:
            con.execute("INSERT INTO mart.measure_part VALUES (?, ?, ?, ?, ?, ?, ?)", list(row))
        con.execute(
            "CREATE TABLE mart.indicator (indicator_id VARCHAR, title_de VARCHAR, numerator VARCHAR, "
            "numerator_category VARCHAR, denominator VARCHAR, denominator_category VARCHAR, "
            "denominator_period_type VARCHAR, denominator_date VARCHAR, part_of_whole BOOLEAN, unit VARCHAR, "
            "factor DOUBLE, decimals INTEGER)"
        )
        for name, n, d in indicators:
            con.execute(
                "INSERT INTO mart.indicator VALUES (?, ?, ?, 'insgesamt', ?, 'insgesamt', 'stichtag', 'same', true, "
                "'percent', 100, 1)",
                [name, name, n, d],
            )
        _observation(con, cells)
    return folder


def _areas(con: duckdb.DuckDBPyConnection, cells: Cells, members: list[tuple[Any, ...]]) -> None:
    """Areas: level is the letters before the dash of the id (`st-1` lies on level st)."""
    con.execute("CREATE TABLE mart.area (area_id VARCHAR, name VARCHAR, level VARCHAR, valid_from DATE, valid_to DATE)")
    ids = {key[2] for key in cells} | {str(area) for entry in members for area in entry[:2]}
    con.executemany(
        "INSERT INTO mart.area VALUES (?, ?, ?, NULL, NULL)", [[i, i, i.split("-")[0]] for i in sorted(ids)]
    )
    con.execute(
        "CREATE TABLE mart.membership (area_id VARCHAR, parent_id VARCHAR, valid_from DATE, valid_to DATE, "
        "weight DOUBLE)"
    )
    for entry in members:
        area, parent, weight, start, end = (*entry, *[1.0, None, None][len(entry) - 2 :])
        con.execute("INSERT INTO mart.membership VALUES (?, ?, ?, ?, ?)", [area, parent, start, end, weight])


def _observation(con: duckdb.DuckDBPyConnection, cells: Cells) -> None:
    con.execute(
        "CREATE TABLE mart.observation (measure_id VARCHAR, category VARCHAR, area_id VARCHAR, period_type VARCHAR, "
        "reference_date DATE, value DOUBLE, obs_status VARCHAR, conf_status VARCHAR, is_suppressed BOOLEAN, "
        "suppression_reason VARCHAR, method VARCHAR)"
    )
    rows = [[*key, *told(figure), "delivered"] for key, figure in sorted(cells.items())]
    con.executemany("INSERT INTO mart.observation VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def told(figure: Figure) -> list[Any]:
    """Value and signs of a figure, a star or a gap."""
    if figure == STAR:
        return [None, "Q", "C", True, "confidential"]
    return [None, "O", "F", False, "missing_source"] if figure == MISSING else [figure, "A", "F", False, None]


def table(rows: dict[str, list[Figure]], columns: str, total: str = "stadt-0") -> tuple[Cells, list[tuple[str, str]]]:
    """Cells of one measure `t`, areas x categories, with all totals, given true values; no stars yet."""
    cells: Cells = {}
    for area, values in rows.items():
        for code, value in zip(columns, values, strict=True):
            cells[cell("t", area, code)] = value
        cells[cell("t", area)] = sum(values)  # type: ignore[arg-type]
    for code in [*columns, "insgesamt"]:
        cells[cell("t", total, code)] = sum(cells[cell("t", area, code)] for area in rows)  # type: ignore[misc]
    return cells, [(area, total) for area in rows]


def star(cells: Cells, *names: Key) -> Cells:
    return cells | dict.fromkeys(names, STAR)


HIDDEN = {"t": {"zeros": "hidden"}}


def test_three_by_three_of_fischetti_and_salazar(tmp_path: Path) -> None:
    cells, members = table({"st-1": [20, 50, 10], "st-2": [8, 19, 22], "st-3": [17, 32, 12]}, "ABC")
    stars = [cell("t", "st-2", "A"), cell("t", "st-2", "C"), cell("t", "st-3", "A"), cell("t", "st-3", "C")]
    bare(tmp_path, star(cells, *stars), measures=HIDDEN, members=members, categories={"t": list("ABC")})
    audit = audit_release(tmp_path, None)
    assert [audit.intervals[key] for key in stars] == [(0, 25), (5, 30), (0, 25), (4, 29)]
    assert audit.leaks == []
    assert (audit.cells, audit.withheld, audit.exact_but_large) == (16, 4, 0)


FOUR = {"st-w": [30, 47, 64, 89], "st-x": [90, 124, 5, 31], "st-y": [92, 100, 59, 85], "st-z": [800, 991, 651, 685]}
TWO_PER_ROW = ["wa", "wb", "wc", "xa", "xc", "yb", "yd", "zb", "zd"]


@pytest.mark.parametrize(("more", "expected"), [("", (47, 47)), ("xd", (0, 78)), ("xb", (0, 141)), ("zc", (0, 116))])
def test_two_stars_per_row_and_still_open(tmp_path: Path, more: str, expected: tuple[float, float]) -> None:
    cells, members = table(FOUR, "abcd")
    names = [cell("t", f"st-{n[0]}", n[1]) for n in [*TWO_PER_ROW, *([more] if more else [])]]
    bare(tmp_path, star(cells, *names), measures=HIDDEN, members=members, categories={"t": list("abcd")})
    audit = audit_release(tmp_path, None)
    assert audit.intervals[cell("t", "st-w", "b")] == expected
    assert audit.exact_but_large == (more == "")  # 47 is no small number: a secondary star
    assert audit.leaks == []


COUNTIES = dict(zip("ABIJKLMN", [2, 2, 8, 8, 3, 3, 3, 7], strict=True))
PARENTS = {"county-1": "ABIJ", "county-2": "KLMN", "size-big": "LM", "size-small": "ABIJKN"}


def linked(stars: str) -> tuple[Cells, list[tuple[str, str]]]:
    cells: Cells = {cell("t", f"st-{n}"): float(v) for n, v in COUNTIES.items()}
    cells |= {cell("t", p): float(sum(COUNTIES[n] for n in names)) for p, names in PARENTS.items()}
    members = [(f"st-{n}", parent) for parent, names in PARENTS.items() for n in names]
    return star(cells, *[cell("t", f"st-{n}") for n in stars]), members


def test_linked_geographies_of_sdctable(tmp_path: Path) -> None:
    measures = {"t": {"zeros": "hidden", "threshold": 4}}
    cells, members = linked("ABKLM")
    audit = audit_release(bare(tmp_path / "offen", cells, measures=measures, members=members), None)
    assert audit.intervals[cell("t", "st-K")] == (3, 3)  # small - (county-1) - N
    assert ["st-K" in leak.where for leak in computed(audit)] == [True]
    assert audit.leaks == computed(audit)
    cells, members = linked("ABKLMN")
    audit = audit_release(bare(tmp_path / "zu", cells, measures=measures, members=members), None)
    assert audit.leaks == []
    found = {n: audit.intervals[cell("t", f"st-{n}")] for n in "ABKLMN"}
    assert found == {"A": (0, 4), "B": (0, 4), "K": (0, 10), "N": (0, 10), "L": (0, 6), "M": (0, 6)}


def test_second_geography_opens_what_the_first_keeps(tmp_path: Path) -> None:
    """1 + 4 + 20 + 15 = 40: alone the first two are 1 to 4; a second geography joins 1 and 20 to 21."""
    cells: Cells = {cell("t", f"st-{n}"): v for n, v in enumerate([STAR, STAR, 20.0, 15.0], 1)}
    cells[cell("t", "stadt-0")] = 40.0
    members = [(f"st-{n}", "stadt-0") for n in range(1, 5)]
    audit = audit_release(bare(tmp_path / "a", cells, measures={"t": {}}, members=members), None)
    assert (audit.leaks, audit.intervals[cell("t", "st-1")]) == ([], (1, 4))
    cells[cell("t", "kirche-1")] = 21.0
    members += [("st-1", "kirche-1"), ("st-3", "kirche-1")]
    audit = audit_release(bare(tmp_path / "b", cells, measures={"t": {}}, members=members), None)
    assert [("(st-1)" in leak.where, ": 1, also unter 3" in leak.what) for leak in audit.leaks] == [(True, True)]
    assert audit.exact_but_large == 1


def test_membership_counts_only_on_the_days_it_holds(tmp_path: Path) -> None:
    cells: Cells = {cell("t", "st-1"): STAR, cell("t", "st-2"): 5.0, cell("t", "stadt-0"): 6.0}
    valid = dt.date(2024, 1, 1)
    members = [("st-1", "stadt-0", 1.0, valid), ("st-2", "stadt-0", 1.0, valid)]
    assert audit_release(bare(tmp_path / "a", cells, measures={"t": {}}, members=members), None).leaks == []
    members = [(*entry[:3], None, valid) for entry in members]
    assert len(computed(audit_release(bare(tmp_path / "b", cells, measures={"t": {}}, members=members), None))) == 1


def test_halved_areas_bound_their_parent(tmp_path: Path) -> None:
    """The parent (7) holds all of st-1 and half of st-2, of which nothing follows but st-1 <= 7."""
    cells: Cells = {cell("t", "st-1"): STAR, cell("t", "st-2"): 5.0, cell("t", "amt-0"): 7.0}
    members = [("st-1", "amt-0"), ("st-2", "amt-0", 0.5)]
    audit = audit_release(bare(tmp_path, cells, measures={"t": {}}, members=members), None)
    assert audit.intervals[cell("t", "st-1")] == (2, 7)  # and st-1 + st-2 >= 7
    assert audit.relations["enthalten"] == 2


def test_estimated_sum_tells_by_its_weights(tmp_path: Path) -> None:
    """Estimated as st-1 + half of st-2: 3.5 - 2.5 = 1."""
    cells: Cells = {cell("t", "st-1"): STAR, cell("t", "st-2"): 5.0, cell("t", "amt-0"): 3.5}
    members = [("st-1", "amt-0"), ("st-2", "amt-0", 0.5)]
    bare(tmp_path, cells, measures={"t": {}}, members=members)
    database(tmp_path, "UPDATE mart.observation SET method = 'estimated' WHERE area_id = 'amt-0'")
    audit = audit_release(tmp_path, None)
    assert audit.intervals[cell("t", "st-1")] == (1, 1)
    assert len(computed(audit)) == 1


def test_area_without_a_row_is_as_confidential_as_a_star(tmp_path: Path) -> None:
    cells: Cells = {cell("t", "st-1"): 39.0, cell("t", "stadt-0"): 40.0, cell("t", "st-2"): MISSING}
    members = [("st-1", "stadt-0"), ("st-2", "stadt-0")]
    audit = audit_release(bare(tmp_path, cells, measures={"t": {}}, members=members), None)
    assert ["nicht veröffentlichte" in leak.what and "(st-2)" in leak.where for leak in computed(audit)] == [True]


def test_identical_areas_are_one_number(tmp_path: Path) -> None:
    cells: Cells = {cell("t", "st-1"): STAR, cell("t", "ort-1"): 2.0}
    audit = audit_release(bare(tmp_path, cells, measures={"t": {}}, members=[("st-1", "ort-1")]), None)
    assert [": 2, also" in leak.what for leak in computed(audit)] == [True]


def test_total_within_its_tolerance_tells_less(tmp_path: Path) -> None:
    cells: Cells = {cell("t", "st-1"): STAR, cell("t", "st-2"): 5.0, cell("t", "stadt-0"): 7.0}
    members = [("st-1", "stadt-0"), ("st-2", "stadt-0")]
    within = {"t": {"tolerance": 2.0}}
    exact = audit_release(bare(tmp_path / "ohne", cells, measures=within, members=members), None)
    assert exact.intervals[cell("t", "st-1")] == (2, 2)  # no sum shows a gap: every reader subtracts
    other = {"st-1": 6.0, "st-2": 5.0, "stadt-0": 12.0}
    cells |= {cell("t", area, date="2022-12-31"): value for area, value in other.items()}
    audit = audit_release(bare(tmp_path / "mit", cells, measures=within, members=members), None)
    assert (audit.intervals[cell("t", "st-1")], audit.leaks) == ((1, 4), [])


def test_three_years_tell_the_third(tmp_path: Path) -> None:
    years = ["2021-12-31", "2022-12-31", "2023-12-31"]
    values: list[Figure] = [7.0, STAR, 9.0]
    cells: Cells = {cell("t", "st-1", date=y): v for y, v in zip(years, values, strict=True)}
    cells[cell("t3", "st-1", date=years[-1])] = 18.0
    parts = [("drei Jahre", "t3", "insgesamt", "t", "insgesamt", 3, 0.0)]
    audit = audit_release(bare(tmp_path, cells, measures={"t": {}, "t3": {}}, parts=parts), None)
    assert audit.intervals[cell("t", "st-1", date=years[1])] == (2, 2)
    assert audit.relations == {"jahre": 1}
    assert len(computed(audit)) == 1


def test_remainder_of_a_whole_is_confidential_too(tmp_path: Path) -> None:
    """n = 9, 5, 6, 1 of d = 10, 20, 30, 40: the 1 and the one person who is not in 9 of 10 (T6)."""
    cells: Cells = {cell("d", f"st-{i}"): float(v) for i, v in enumerate([10, 20, 30, 40])}
    cells |= {cell("n", f"st-{i}"): float(v) for i, v in enumerate([9, 5, 6, 1])}
    cells[cell("n", "stadt-0")] = 21.0
    members = [(f"st-{i}", "stadt-0") for i in range(4)]
    build: dict[str, Any] = {
        "measures": {"n": {}, "d": {"threshold": None}},
        "members": members,
        "indicators": [("anteil", "n", "d")],
    }
    audit = audit_release(bare(tmp_path / "a", star(cells, cell("n", "st-3")), **build), None)
    assert sorted(("ohne" in leak.where, ": 1, also" in leak.what) for leak in audit.leaks) == [
        (False, True),
        (True, True),
    ]
    audit = audit_release(bare(tmp_path / "b", star(cells, cell("n", "st-3"), cell("n", "st-0")), **build), None)
    assert audit.leaks == []
    assert audit.intervals[cell("n", "st-0")] == (1, 9)  # of 10 in both
    need = Need(remainder(cell("n", "st-0"), cell("d", "st-0")), 9)
    assert audit_release(tmp_path / "b", None, needs=[need]).leaks == []
    assert kinds(audit_release(tmp_path / "b", None, needs=[Need(need.cell, 10)])) == {"bedarf"}


def test_figures_public_elsewhere_are_no_targets(tmp_path: Path) -> None:
    cells: Cells = {cell("t", "st-1"): STAR, cell("t", "st-2"): 5.0, cell("t", "stadt-0"): 6.0}
    members = [("st-1", "stadt-0"), ("st-2", "stadt-0")]
    audit = audit_release(bare(tmp_path, cells, measures={"t": {"threshold": None}}, members=members), None)
    assert (audit.leaks, audit.withheld, audit.intervals[cell("t", "st-1")]) == ([], 1, (1, 1))


def persons(rows: int, gap: float = 0) -> Cells:
    """Persons = men + women, nowhere declared; in the last row the two men are a star."""
    cells: Cells = {}
    for n in range(rows):
        men, women = float(2 + n * n % 7), float(3 + n)
        cells |= {cell("maenner", f"st-{n}"): men, cell("frauen", f"st-{n}"): women}
        cells[cell("personen", f"st-{n}")] = men + women + (gap if n == 0 else 0)
    return star(cells, cell("maenner", f"st-{rows - 1}")) | {cell("personen", f"st-{rows - 1}"): 2.0 + 2 + rows}


@pytest.mark.parametrize(("rows", "gap", "found"), [(9, 0, 1), (9, 1, 0), (8, 0, 0)])
def test_sum_that_everybody_can_see_is_found(tmp_path: Path, rows: int, gap: float, found: int) -> None:
    """Eight complete rows tell; a single exception, or seven rows, do not."""
    measures: dict[str, dict[str, Any]] = {"maenner": {}, "frauen": {}, "personen": {}}
    audit = audit_release(bare(tmp_path, persons(rows, gap), measures=measures), None)
    assert audit.relations.get("entdeckt", 0) == found
    assert [": 2, also" in leak.what for leak in computed(audit)] == [True] * found


def test_area_that_is_another_under_a_second_name_is_found(tmp_path: Path) -> None:
    """Nine published years in which a locality and a district agree; in the tenth only the district is a star."""
    cells: Cells = {
        cell("t", place, date=f"{2000 + n}-12-31"): 5.0 + n for n in range(9) for place in ("st-1", "ort-1")
    }
    cells |= {cell("t", "st-1", date="2010-12-31"): STAR, cell("t", "ort-1", date="2010-12-31"): 2.0}
    audit = audit_release(bare(tmp_path, cells, measures={"t": {}}), None)
    assert audit.relations == {"entdeckt": 1}
    assert [": 2, also" in leak.what for leak in computed(audit)] == [True]


def test_numbers_that_contradict_their_sums_stop_the_publication(tmp_path: Path) -> None:
    cells: Cells = {cell("t", "st-1"): STAR, cell("t", "st-2"): 9.0, cell("t", "stadt-0"): 6.0}
    members = [("st-1", "stadt-0"), ("st-2", "stadt-0")]
    audit = audit_release(bare(tmp_path, cells, measures={"t": {}}, members=members), None)
    assert kinds(audit) == {"widerspruch"}
    assert "Gebiete: stadt-0 = Summe der Ebene st" in audit.leaks[0].where


def test_solver_that_fails_stops_the_publication(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise SolverFailed("Zeit abgelaufen")

    monkeypatch.setattr(release_attack, "attack_both", fails)
    cells, members = linked("ABKLMN")
    audit = audit_release(bare(tmp_path, cells, measures={"t": {}}, members=members), None)
    assert kinds(audit) == {"widerspruch"}
    assert "Zeit abgelaufen" in audit.leaks[0].what


@pytest.mark.parametrize("damage", [lambda f: f.write_bytes(b"kein DuckDB"), lambda f: f.unlink()])
def test_unreadable_database_is_no_clean_release(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    cells, members = linked("ABKLMN")
    bare(tmp_path, cells, measures={"t": {}}, members=members)
    damage(tmp_path / "sozialraum.duckdb")
    assert kinds(audit_release(tmp_path, None)) == {"widerspruch"}


# ---------------------------------------------------------------- brute force


def random_table(seed: int) -> dict[tuple[int, int], int]:
    dice = random.Random(seed)
    return {(i, j): dice.choice([0, 1, 1, 2, 3]) for i in range(3) for j in range(3)}


def possible(true: dict[tuple[int, int], int], stars: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """Smallest and largest value of each star over all tables with the same margins and published cells."""
    columns = [sum(true[i, j] for i in range(3)) for j in range(3)]
    rows: list[list[tuple[int, ...]]] = []
    for i in range(3):
        total = sum(true[i, j] for j in range(3))
        choices = [range(1, total + 1) if (i, j) in stars else [true[i, j]] for j in range(3)]
        rows.append([row for row in itertools.product(*choices) if sum(row) == total])
    fitting = [t for t in itertools.product(*rows) if [sum(column) for column in zip(*t, strict=True)] == columns]
    return {(i, j): (min(t[i][j] for t in fitting), max(t[i][j] for t in fitting)) for i, j in stars}


def test_intervals_are_those_of_trying_all_values(tmp_path: Path) -> None:
    cells: Cells = {}
    expected: dict[Key, tuple[int, int]] = {}
    for seed in range(40):
        true, date = random_table(seed), f"{1980 + seed}-12-31"
        stars = {p for p, v in true.items() if v > 0 and (v < 3 or random.Random(seed).random() < 0.3)}
        for i, j in true:
            cells[cell("t", f"st-{i}", f"k{j}", date)] = STAR if (i, j) in stars else float(true[i, j])
        for i in range(3):
            cells[cell("t", f"st-{i}", date=date)] = float(sum(true[i, j] for j in range(3)))
            cells[cell("t", "stadt-0", f"k{i}", date)] = float(sum(true[j, i] for j in range(3)))
        cells[cell("t", "stadt-0", date=date)] = float(sum(true.values()))
        expected |= {cell("t", f"st-{i}", f"k{j}", date): found for (i, j), found in possible(true, stars).items()}
    members = [(f"st-{i}", "stadt-0") for i in range(3)]
    categories = {"t": ["k0", "k1", "k2"]}
    audit = audit_release(bare(tmp_path, cells, measures={"t": {}}, members=members, categories=categories), None)
    assert len(expected) > 150
    assert audit.intervals == expected
    assert len(computed(audit)) == sum(high < 3 for _, high in expected.values())


def test_attacker_knows_that_counts_are_whole(tmp_path: Path) -> None:
    """x + six others = 7, where of each three any two have at least 1 together.

    In fractions three halves each do, so x can be 4; whole numbers need 2 of each three, so x is at most 3.
    """
    names = ["a1", "b1", "c1", "a2", "b2", "c2"]
    pairs = [pair for pair in itertools.combinations(names, 2) if pair[0][1] == pair[1][1]]
    cells: Cells = {cell("x", "st-1"): STAR, cell("alle", "st-1"): 7.0}
    cells |= {cell("g", "st-1", name): STAR for name in names} | {cell("u", "st-1", "".join(p)): STAR for p in pairs}
    parts = [("alle", "alle", "insgesamt", "x", "insgesamt", 1, 0.0)]
    parts += [("alle", "alle", "insgesamt", "g", name, 1, 0.0) for name in names]
    parts += [("".join(p), "u", "".join(p), "g", name, 1, 0.0) for p in pairs for name in p]
    measures = {"x": {"threshold": 4}, "alle": {"threshold": None}, "g": {"threshold": None}, "u": {}}
    audit = audit_release(bare(tmp_path, cells, measures=measures, parts=parts), None)
    assert audit.intervals[cell("x", "st-1")] == (1, 3)
    assert [leak.where.split()[0] for leak in audit.leaks] == ["x"]


# ---------------------------------------------------------------- earlier releases


def city_of(stars: str = "12", values: tuple[float, ...] = (1, 4, 20, 15), total: float = 40) -> Cells:
    cells: Cells = {cell("t", f"st-{n}"): float(v) for n, v in enumerate(values, 1)}
    return star(cells, *[cell("t", f"st-{n}") for n in stars]) | {cell("t", "stadt-0"): total}


def state(cells: Cells, marks: dict[int, str]) -> list[tuple[Key, float | None, str | None]]:
    by_key = {cell("t", f"st-{n}"): mark for n, mark in marks.items()}
    return [(key, None if v == STAR else float(v), by_key.get(key)) for key, v in cells.items()]


FOUR_DISTRICTS = [(f"st-{n}", "stadt-0") for n in range(1, 5)]
MARKS = {1: "m1", 2: "m2"}
NOW_MARKS = {cell("t", "st-1"): "m1", cell("t", "st-2"): "m2"}


def against(folder: Path, current: Cells, earlier: Earlier) -> Audit:
    return audit_release(bare(folder, current, measures={"t": {}}, members=FOUR_DISTRICTS), None, earlier=earlier)


def test_same_stars_as_before_are_safe(tmp_path: Path) -> None:
    audit = against(tmp_path, city_of(), Earlier([state(city_of(), MARKS)], NOW_MARKS))
    assert (audit.leaks, audit.intervals[cell("t", "st-1")]) == ([], (1, 4))


def test_other_secondary_star_than_before_gives_the_first_away(tmp_path: Path) -> None:
    """Before, 1 and 20 were stars and 4 was shown; now 1 and 4: unchanged, so the 1 is 40 - 4 - 20 - 15."""
    before = state(city_of("13"), {1: "m1", 2: "m2", 3: "m3"})
    audit = against(tmp_path, city_of("12"), Earlier([before], NOW_MARKS))
    assert [": 1, also unter 3" in leak.what for leak in audit.leaks] == [True]
    assert audit.exact_but_large == 1
    unknown = Earlier([before], {cell("t", "st-1"): "m1"})  # nobody says that the second is unchanged
    assert against(tmp_path / "b", city_of("12"), unknown).intervals[cell("t", "st-1")] == (1, 4)


def test_marks_of_published_figures_can_be_worked_out(tmp_path: Path) -> None:
    """The same two releases as above; the ledger knows marks of withheld figures only, and how to make one."""

    def mark_of(key: Key, value: float) -> str:
        return f"{key[2]} hat {value:g}"

    before = state(city_of("13"), {1: "st-1 hat 1", 3: "st-3 hat 20"})
    marks = {cell("t", "st-1"): "st-1 hat 1", cell("t", "st-2"): "st-2 hat 4"}
    assert against(tmp_path / "a", city_of("12"), Earlier([before], marks)).leaks == []
    audit = against(tmp_path / "b", city_of("12"), Earlier([before], marks, mark_of=mark_of))
    assert [": 1, also unter 3" in leak.what for leak in audit.leaks] == [True]


def test_cell_ever_published_with_the_same_mark_is_known(tmp_path: Path) -> None:
    before = state(city_of(""), {1: "m1"})
    assert len(computed(against(tmp_path, city_of(), Earlier([before], {cell("t", "st-1"): "m1"})))) == 1


def test_revision_of_the_other_star_tells_nothing_new(tmp_path: Path) -> None:
    """4 became 6, the total 42: 1 + 4 = 5 before, 1 + 6 = 7 now; the unchanged first star is 1 to 4."""
    before = state(city_of(), MARKS)
    audit = against(
        tmp_path, city_of(values=(1, 6, 20, 15), total=42), Earlier([before], NOW_MARKS | {cell("t", "st-2"): "n"})
    )
    assert (audit.leaks, audit.intervals) == ([], {cell("t", "st-1"): (1, 4), cell("t", "st-2"): (3, 6)})


def test_star_that_became_publishable_gives_its_earlier_value_away(tmp_path: Path) -> None:
    """2 + 3 were stars (5 together); now the first is 3, the second still a star: 6 - 3 = 3, so the first was 2."""
    before = state(city_of(values=(2, 3, 20, 15), total=40), MARKS)
    current = city_of("2", values=(3, 3, 20, 15), total=41)
    earlier = Earlier([before], {cell("t", "st-2"): "m2"}, ["20260101T000000Z-0001"])
    audit = against(tmp_path, current, earlier)
    assert [
        "früheren Fassung) lässt sich errechnen: 2, also" in leak.what and "0001" in leak.what for leak in audit.leaks
    ] == [True]


def test_what_an_earlier_release_gave_away_by_itself_does_not_stop_this_one(tmp_path: Path) -> None:
    before = state(city_of("1"), {1: "m1"})  # a lone star: 1, computable then
    current = city_of("12", values=(3, 4, 20, 15), total=42)
    audit = against(tmp_path, current, Earlier([before], {cell("t", "st-1"): "other", cell("t", "st-2"): "m2"}))
    assert audit.leaks == []


def test_only_changes_of_a_state_are_given(tmp_path: Path) -> None:
    """The second earlier release names the changed cell only; the third is the current one."""
    first, second = state(city_of("13"), {1: "m1", 2: "m2", 3: "m3"}), [(cell("t", "st-3"), 20.0, None)]
    second.append((cell("t", "st-2"), None, "m2"))  # type: ignore[arg-type]
    audit = against(tmp_path, city_of("12"), Earlier([first, second], NOW_MARKS))  # type: ignore[list-item]
    assert len(computed(audit)) == 1


def test_relation_that_did_not_hold_before_is_not_assumed_of_that_release(tmp_path: Path) -> None:
    """Before, a district belonged elsewhere: published figures of another measure say so, nothing is derived."""
    other = {cell("e", f"st-{n}"): 100.0 for n in range(1, 5)} | {cell("e", "stadt-0"): 300.0}
    before = state(city_of("1", values=(9, 4, 20, 15), total=39), {1: "m1"}) + state(other, {})
    current = city_of("12") | other | {cell("e", "stadt-0"): 400.0}
    measures = {"t": {}, "e": {"threshold": None}}
    folder = bare(tmp_path, current, measures=measures, members=FOUR_DISTRICTS)
    audit = audit_release(folder, None, earlier=Earlier([before], NOW_MARKS))
    assert audit.leaks == []
    assert audit.intervals[cell("t", "st-1")] == (1, 4)  # with the old total it would be 39 - 4 - 20 - 15 = 0


def test_cell_that_a_release_dropped_is_no_part_of_its_sums(tmp_path: Path) -> None:
    first = state(city_of(""), {})
    second = [(cell("t", f"st-{n}"), None, ABSENT) for n in (1, 2)] + [(cell("t", "stadt-0"), 50.0, None)]
    audit = against(tmp_path, city_of(), Earlier([first, second], NOW_MARKS))  # type: ignore[list-item]
    assert audit.leaks == []


def test_long_history_is_attacked_in_little_time(tmp_path: Path) -> None:
    states = [state(city_of(), MARKS)] + [[(cell("t", "st-4"), 15.0 + n, None)] for n in range(300)]
    states.append([(cell("t", "st-4"), 15.0, None)])
    audit = against(tmp_path, city_of(), Earlier(states, NOW_MARKS))  # type: ignore[arg-type]
    assert audit.seconds < 30


# ---------------------------------------------------------------- whole releases


LEVELS: dict[str, Any] = {"bezirk": ["amt"], "stadt": ["amt"]}
RATE_OF = {"numerator": {"measure": "kinder"}, "denominator": {"measure": "einwohner"}}
TOPIC = [
    source("amt", "stichtag", ["kinder", "einwohner", "quote"]),
    measure("kinder", "stichtag", "amt", levels=LEVELS, title={"de": "Kinder"}),
    measure("einwohner", "stichtag", "amt", levels=LEVELS, title={"de": "Einwohner"}),
    measure("quote", "stichtag", "amt", levels=LEVELS, kind="rate", unit="percent", rate_of=RATE_OF),
    indicator(
        "anteil",
        "percent",
        numerator={"measure": "kinder"},
        denominator={"measure": "einwohner"},
        levels={"bezirk": "counts", "stadt": "counts"},
    ),
]
TRUE = {"1": (1, 107), "2": (4, 400), "3": (45, 3000)}
FIRST_DISTRICT = f"{CITY}-BZ-1"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("prüfung") / "Stadt"
    create_project(folder, Quiet())
    shutil.rmtree(folder / "assets/beispiel")
    (folder / "assets/probe").mkdir()
    (folder / "assets/probe/defs.yaml").write_text(yaml.safe_dump_all(TOPIC, allow_unicode=True), encoding="utf-8")
    return Models(load_project(folder))


def public_cells() -> Cells:
    cells: Cells = {}
    for n, (children, residents) in TRUE.items():
        cells[cell("kinder", f"{CITY}-BZ-{n}")] = STAR if n in "12" else float(children)
        cells[cell("einwohner", f"{CITY}-BZ-{n}")] = float(residents)
    return cells | {cell("kinder", CITY): 50.0, cell("einwohner", CITY): 3507.0}


def release_of(models: Models, cells: Cells, folder: Path) -> Path:
    """A release folder of these public figures, made by the code that makes every release."""
    folder.mkdir(parents=True)
    levels = {a.area_id: a.level for a in models.project.directory.areas.values()}
    columns = list(models.all["mart.observation"].columns)
    rows = []
    for key, figure in cells.items():
        value, obs, conf, suppressed, reason = told(figure)
        row = {"area_level": levels[key[2]], "period": key[4], "value": value, "obs_status": obs, "conf_status": conf}
        row |= {"is_suppressed": suppressed, "suppression_reason": reason, "origin": "constructed"}
        row |= {"method": "delivered", "data_as_of": NOW.date(), "delivery_ids": "amt-0001"}
        names = ["measure_id", "category", "area_id", "period_type"]
        row |= dict(zip(names, key[:4], strict=True)) | {"reference_date": dt.date.fromisoformat(key[4])}
        rows.append({name: row[name] for name in columns})
    observation = folder.with_name("beobachtung.parquet")
    text = pa.string()
    special = {
        "value": pa.float64(),
        "is_suppressed": pa.bool_(),
        "reference_date": pa.date32(),
        "data_as_of": pa.date32(),
    }
    pq.write_table(
        pa.Table.from_pylist(rows, schema=pa.schema([(c, special.get(c, text)) for c in columns])), observation
    )
    places = [(*r[:4], dt.date.fromisoformat(r[4]), "amt-0001", *[None] * 6) for r in sorted(cells)]
    edition = build_edition(
        models,
        observation,
        folder / "sozialraum.duckdb",
        {"figure_source": places},
        release_id="20260302T040000Z-0001",
        commit="a" * 40,
    )
    write_feed(folder, edition.file, models, NOW)
    write_datapackage(folder, models, "20260302T040000Z-0001", edition.content_hash, NOW)
    return folder


@pytest.fixture(scope="module")
def clean(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release_of(models, public_cells(), tmp_path_factory.mktemp("rein") / "release")


@pytest.fixture
def release(clean: Path, tmp_path: Path) -> Path:
    """A copy to tamper with."""
    return Path(shutil.copytree(clean, tmp_path / "release"))


def database(release: Path, *statements: str) -> None:
    with duckdb.connect(str(release / "sozialraum.duckdb")) as con:
        for statement in statements:
            con.execute(statement)


def rewrite(file: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    content = file.read_text(encoding="utf-8")
    assert old in content, content[:2000]
    file.write_bytes(content.replace(old, new, 1).encode())


def test_clean_release_has_no_leaks(models: Models, clean: Path) -> None:
    audit = audit_release(clean, models)
    assert audit.leaks == []
    assert (audit.cells, audit.withheld) == (8, 2)
    assert audit.intervals == {cell("kinder", f"{CITY}-BZ-1"): (1, 4), cell("kinder", f"{CITY}-BZ-2"): (1, 4)}
    assert audit.relations["gebiete"] >= 1
    assert audit_release(clean, None).leaks == []


def test_release_of_a_night_has_no_leaks(project: Path) -> None:
    edit(project, lambda s: s.update(disclosure={"threshold": 3}))
    night = run_night(project, NOW)
    folder = project / "data/releases/current"
    audit = audit_release(folder.resolve(), night.models)
    assert audit.leaks == []
    assert audit.withheld >= 1


def test_lone_star_is_computed(models: Models, tmp_path: Path) -> None:
    cells = public_cells() | {cell("kinder", f"{CITY}-BZ-2"): 4.0}
    audit = audit_release(release_of(models, cells, tmp_path / "release"), models)
    assert kinds(audit) == {"errechenbar"}
    assert audit.leaks[0].where == "Kinder (kinder), insgesamt, Altstadt (99999000-BZ-1), Stichtag 2023-12-31"
    assert "lässt sich errechnen: 1, also unter 3" in audit.leaks[0].what


# ----------------------------------------------- starred in one table, readable in another


def in_csv(release: Path) -> None:
    line = f"kinder,insgesamt,{FIRST_DISTRICT},stichtag,{DAY},bezirk,{DAY},"
    rewrite(release / "daten/beobachtungen.csv", f"{line},Q", f"{line}1,Q")


def in_german_csv(release: Path) -> None:
    line = f"kinder;insgesamt;{FIRST_DISTRICT};stichtag;{DAY};bezirk;{DAY};"
    rewrite(release / "daten/beobachtungen_de.csv", f"{line};Q", f"{line}1;Q")


def in_parquet(release: Path) -> None:
    file = release / "daten/beobachtungen.parquet"
    duckdb.execute(
        f"COPY (SELECT * REPLACE (CASE WHEN area_id = '{FIRST_DISTRICT}' AND measure_id = 'kinder' THEN 1 "
        f"ELSE value END AS value) FROM '{file}') TO '{file}.neu' (FORMAT parquet)"
    )
    Path(f"{file}.neu").rename(file)


def in_workbook(release: Path) -> None:
    rows = duckdb.execute(f"FROM '{release}/daten/beobachtungen.parquet'")
    header = [c[0] for c in rows.description]
    with xlsxwriter.Workbook(str(release / "daten/beobachtungen.xlsx"), {"default_date_format": "yyyy-mm-dd"}) as book:
        sheets = [book.add_worksheet(name) for name in ("Daten", "Spalten", "Zeichenerklärung", "Herkunft")]
        sheets[0].write_row(0, 0, header)
        for number, row in enumerate(rows.fetchall(), 1):
            shown = [("ja" if v else "nein") if isinstance(v, bool) else v for v in row]
            if row[2] == FIRST_DISTRICT and row[0] == "kinder":
                shown[header.index("value")] = 1
            sheets[0].write_row(number, 0, shown)


def in_indicator_values(release: Path) -> None:
    line = f"anteil,{FIRST_DISTRICT},stichtag,{DAY},bezirk,{DAY},"
    rewrite(release / "daten/indikatorwerte.csv", f"{line},107", f"{line}1,107")


def in_wide_table(release: Path) -> None:
    """0.9 of 107 is 0.91 to 1.02: one child."""
    rewrite(release / "daten/breit_bezirk_de.csv", f"Altstadt;Stichtag;{DAY};;g", f"Altstadt;Stichtag;{DAY};0,9;g")


def in_observation(release: Path) -> None:
    database(
        release, f"UPDATE mart.observation SET value = 1 WHERE measure_id = 'kinder' AND area_id = '{FIRST_DISTRICT}'"
    )


def in_profile(release: Path) -> None:
    database(release, f"UPDATE mart.area_profile SET anteil__value = 100 / 107.0 WHERE area_id = '{FIRST_DISTRICT}'")


@pytest.mark.parametrize(
    "tamper",
    [in_csv, in_german_csv, in_parquet, in_workbook, in_indicator_values, in_wide_table, in_observation, in_profile],
)
def test_star_readable_elsewhere_is_found(release: Path, tamper: Callable[[Path], None]) -> None:
    tamper(release)
    audit = audit_release(release, None)
    found = [leak for leak in computed(audit) if FIRST_DISTRICT in leak.where]
    assert len(found) == 1
    assert "steht in" in found[0].what
    assert audit.intervals[cell("kinder", FIRST_DISTRICT)] == (1, 1)


WILSON = "ci_low = 0.165, ci_high = 5.112"
"""Limits (95 %) of 1 of 107: whoever knows the 107 finds the 1."""


def in_interval(release: Path) -> None:
    database(release, f"UPDATE mart.indicator_value SET {WILSON} WHERE area_id = '{FIRST_DISTRICT}'")


def in_interval_of_csv(release: Path) -> None:
    line = f"anteil,{FIRST_DISTRICT},stichtag,{DAY},bezirk,{DAY},,107,,"
    rewrite(release / "daten/indikatorwerte.csv", f"{line},", f"{line}0.165,5.112")


def in_interval_of_german_csv(release: Path) -> None:
    line = f"anteil;{FIRST_DISTRICT};stichtag;{DAY};bezirk;{DAY};;107;;"
    rewrite(release / "daten/indikatorwerte_de.csv", f"{line};", f"{line}0,165;5,112")


def in_interval_of_profile(release: Path) -> None:
    limits = WILSON.replace("ci_", "anteil__ci_")
    database(release, f"UPDATE mart.area_profile SET {limits} WHERE area_id = '{FIRST_DISTRICT}'")


TAMPERED = [in_interval, in_interval_of_csv, in_interval_of_german_csv, in_interval_of_profile]


@pytest.mark.parametrize("tamper", TAMPERED)
def test_interval_beside_a_withheld_numerator_is_found(
    models: Models, release: Path, tamper: Callable[[Path], None]
) -> None:
    tamper(release)
    for known in (models, None):
        texts = [leak.what for leak in audit_release(release, known).leaks if leak.kind == "nicht_ableitbar"]
        assert any("Neben der gesperrten Zahl steht, was aus ihr gerechnet ist (ci_low" in text for text in texts)


@pytest.mark.parametrize(
    "column",
    ["ci_low", "difference", "z_score", "rank", "change", "change_low", "trend_chi2", "comparison", "trend", "segment"],
)
def test_statistics_that_do_not_follow_from_the_public_counts_are_found(
    models: Models, release: Path, column: str
) -> None:
    """Made of true values, beside a shown figure: its own file in the same words."""
    value = {"comparison": "'worse'", "trend": "'increasing'"}.get(column, "3")
    database(release, f"UPDATE mart.indicator_value SET {column} = {value} WHERE area_id LIKE '%-3'")
    write_feed(release, release / "sozialraum.duckdb", models, NOW)
    found = {leak.where for leak in audit_release(release, models).leaks if leak.kind == "nicht_ableitbar"}
    assert any(where.startswith(f"mart.indicator_value, Spalte {column}, ") for where in found)


def test_benchmark_that_is_withheld_is_read_beside_others(release: Path) -> None:
    """1 of 107, printed as what the third district is compared with."""
    statement = f"UPDATE mart.indicator_value SET benchmark_id = '{FIRST_DISTRICT}', benchmark_value = 100 / 107.0 "
    database(release, statement + "WHERE area_id LIKE '%-3'")
    assert any(FIRST_DISTRICT in leak.where for leak in computed(audit_release(release, None)))


def test_figure_of_an_index_is_read_as_a_figure(release: Path) -> None:
    columns = "index_id, area_id, reference_date, indicator_id, indicator_reference_date, value"
    row = f"'i', '{FIRST_DISTRICT}', DATE '{DAY}', 'anteil', DATE '{DAY}', 100 / 107.0"
    database(release, f"INSERT INTO mart.social_index_part ({columns}) VALUES ({row})")
    assert any("steht in mart.social_index_part" in leak.what for leak in computed(audit_release(release, None)))


def test_numbers_of_every_kind_are_read_back_from_every_file(models: Models, tmp_path: Path) -> None:
    """Whole numbers with gaps, 17 digits, very small and negative ones, a column and a table without any value."""
    folder = release_of(models, public_cells(), tmp_path / "release")
    numbers = (
        "SET rank = CASE WHEN area_id LIKE '%-3' THEN 2 END, z_score = -1.2345678901234567e-9, ci_low = 100 / 3.0, "
    )
    database(folder, f"UPDATE mart.indicator_value {numbers} trend_chi2 = 12345678.901234567, change = 1e-300")
    write_feed(folder, folder / "sozialraum.duckdb", models, NOW)
    files = {f"{base}{ending}" for base in given_out(models).values() for ending in (".csv", ".xlsx", ".parquet")}
    leaks = audit_release(folder, None).leaks
    assert files <= {p.relative_to(folder).as_posix() for p in folder.rglob("*")}
    assert not [
        leak for leak in leaks if leak.where.startswith(("daten/", "gebiete/")) and "gerechnet ist" not in leak.what
    ]


def test_two_places_that_disagree_are_named(release: Path) -> None:
    rewrite(release / "daten/indikatorwerte.csv", ",45,3000,", ",46,3000,")
    found = [leak for leak in audit_release(release, None).leaks if leak.kind == "widerspruch"]
    assert any("daten/indikatorwerte.csv" in leak.what and "mart." in leak.what for leak in found)


@pytest.mark.parametrize(
    ("rate", "residents", "expected"),
    [(0.93, 107.0, (1, 1)), (1.0, 400.0, (2, 4))],  # 107 * (0.925..0.935) %; 400 * (0.5..1.5) %, and 5 in two stars
)
def test_delivered_rate_tells_the_count(
    models: Models, tmp_path: Path, rate: float, residents: float, expected: tuple[float, float]
) -> None:
    cells = public_cells() | {cell("quote", FIRST_DISTRICT): rate, cell("einwohner", FIRST_DISTRICT): residents}
    cells[cell("einwohner", CITY)] = 3400 + residents
    audit = audit_release(release_of(models, cells, tmp_path / "release"), models)
    assert audit.intervals[cell("kinder", FIRST_DISTRICT)] == expected
    assert len(computed(audit)) == (expected[1] < 3)


# ----------------------------------------------- public is a list


def test_reason_column_is_unknown(models: Models, release: Path) -> None:
    database(release, "ALTER TABLE mart.observation ADD COLUMN art_der_sperrung VARCHAR DEFAULT 'primary_count'")
    audit = audit_release(release, models)
    assert any(leak.kind == "unbekannte_spalte" and "art_der_sperrung" in leak.where for leak in audit.leaks)


def test_secondary_as_a_reason_is_no_code(release: Path) -> None:
    database(
        release,
        "UPDATE mart.observation SET suppression_reason = 'secondary' WHERE area_id LIKE '%-2' AND is_suppressed",
    )
    found = [leak for leak in audit_release(release, None).leaks if leak.kind == "unbekannter_code"]
    assert any("»secondary«" in leak.what for leak in found)
    assert any("nicht wie die anderen" in leak.what for leak in found)


NOT_DERIVED = {
    "mart.indicator_value, Spalte value": "UPDATE mart.indicator_value SET value = value + 1e-9 "
    "WHERE area_id LIKE '%-3'",
    "mart.area_profile, Spalte area_id, Zeile 1": "CREATE OR REPLACE TABLE mart.area_profile AS "
    "FROM mart.area_profile ORDER BY area_id DESC",  # an order can tell a hidden value
    "Sicht api.gebiet": "CREATE OR REPLACE VIEW api.gebiet AS SELECT *, 'primär' AS art FROM mart.area",
    "Spalte mart.observation.value": "COMMENT ON COLUMN mart.observation.value IS 'in Altstadt ist es 1'",
    "meta.data_dictionary": "UPDATE meta.data_dictionary SET description_en = 'one' WHERE column_name = 'value'",
    "meta.delivery, amt-0001": "INSERT INTO meta.delivery "
    "SELECT 'amt-0001', 'amt', 'Altstadt: 1', '', '', '', '', DATE '2026-01-01', true, 'accepted'",
}


def test_what_does_not_follow_from_the_observation_is_found(models: Models, release: Path) -> None:
    database(release, *NOT_DERIVED.values())
    found = [leak.where for leak in audit_release(release, models).leaks if leak.kind == "nicht_ableitbar"]
    assert not [place for place in NOT_DERIVED if not any(where.startswith(place) for where in found)], found


def test_z_score_of_true_values_is_found(models: Models, release: Path) -> None:
    """The star of the first district stays, a number made of its true value stands beside it."""
    database(release, f"UPDATE mart.indicator_value SET value = -1.38 WHERE area_id = '{FIRST_DISTRICT}'")
    assert "nicht_ableitbar" in kinds(audit_release(release, models))


UNDECLARED = {
    "mart.geheim": "CREATE TABLE mart.geheim AS SELECT 1 AS x",
    "intern.intern": "CREATE SCHEMA intern",
    "api.mehr": "CREATE VIEW api.mehr AS SELECT 1 AS x",
    "api.m": "CREATE MACRO api.m(x) AS TABLE SELECT x AS y",
    "mart.grund": "CREATE TYPE mart.grund AS ENUM ('primary', 'secondary')",
    "mart.s": "CREATE SEQUENCE mart.s START 4711",
    "mart.area, Spalte sort_key": "ALTER TABLE mart.area ALTER sort_key TYPE BIGINT",
}


def test_undeclared_objects_are_found(models: Models, release: Path) -> None:
    database(release, *UNDECLARED.values())
    found = [leak.where for leak in audit_release(release, models).leaks if leak.kind == "unbekannte_spalte"]
    assert not [place for place in UNDECLARED if not any(where.startswith(place) for where in found)], found


HASH = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"  # sha256 of "0"


def test_plain_hashes_are_found(models: Models, release: Path) -> None:
    database(
        release,
        f"UPDATE mart.indicator SET definition_de = 'aus {HASH}'",
        f"UPDATE mart.observation SET delivery_ids = '{HASH[:32].upper()}'",
    )
    rewrite(release / "katalog/quellen_de.csv", "CC0-1.0", f"CC0-1.0 {HASH}")
    (release / "pruefsummen.sha256").write_text(f"{HASH}  beispiel.csv\n", encoding="utf-8")
    package = json.loads((release / "datapackage.json").read_text(encoding="utf-8"))
    package["sources"][0]["version"] = HASH
    (release / "datapackage.json").write_text(json.dumps(package), encoding="utf-8")
    places = ["mart.indicator, Spalte definition_de", "mart.observation, Spalte delivery_ids"]
    places += ["katalog/quellen_de.csv", "pruefsummen.sha256", "datapackage.json"]
    found = [leak.where for leak in audit_release(release, models).leaks if leak.kind == "pruefsumme"]
    assert not [place for place in places if not any(where.startswith(place) for where in found)], found


def test_table_of_contents_says_no_more_than_its_files(models: Models, release: Path) -> None:
    package = json.loads((release / "datapackage.json").read_text(encoding="utf-8"))
    package["sources"][0]["title"] += ", 12 Sterne"
    package["resources"][0]["description"] = "Altstadt: 1"
    (release / "datapackage.json").write_text(json.dumps(package), encoding="utf-8")
    found = [leak.where for leak in audit_release(release, models).leaks if leak.kind == "nicht_ableitbar"]
    assert found == [f"datapackage.json, {package['resources'][0]['path']}", "datapackage.json, sources"]


def test_hash_in_place_of_the_content_hash_is_found(models: Models, release: Path) -> None:
    database(release, f"UPDATE meta.release SET content_hash = '{HASH}'")
    found = [leak.where for leak in audit_release(release, models).leaks if leak.kind == "pruefsumme"]
    assert "meta.release, Spalte content_hash" in found
    assert "datapackage.json, contentHash" in found


def test_text_beside_the_figures_of_a_workbook_is_found(models: Models, release: Path) -> None:
    in_workbook(release)  # its sheet »Spalten« gets a remark
    with xlsxwriter.Workbook(str(release / "daten/kennzahlen.xlsx")) as book:
        book.set_properties({"comments": "primär: Altstadt"})
        for name in ("Daten", "Spalten", "Zeichenerklärung", "Herkunft"):
            book.add_worksheet(name).write_string(0, 0, "Stern 1: Altstadt" if name == "Spalten" else "")
    found = [leak.where for leak in audit_release(release, models).leaks if leak.kind == "unbekannte_spalte"]
    assert "daten/kennzahlen.xlsx: »Stern 1: Altstadt«" in found
    assert "daten/kennzahlen.xlsx: »primär: Altstadt«" in found


@pytest.mark.parametrize("name", ["daten/intern.csv", "beobachtung.parquet", "sozialraum.duckdb.wal", "daten/.neu-x"])
def test_unknown_file_is_found(release: Path, name: str) -> None:
    (release / name).write_bytes(b"")
    assert [leak.where for leak in audit_release(release, None).leaks if leak.kind == "unbekannte_datei"] == [name]


def test_metadata_in_a_parquet_footer_is_found(release: Path) -> None:
    file = release / "daten/beobachtungen.parquet"
    pq.write_table(pq.read_table(file).replace_schema_metadata({"primary": "BZ-1"}), file)
    found = [leak.where for leak in audit_release(release, None).leaks if leak.kind == "unbekannte_spalte"]
    assert any("Fußangabe primary" in where for where in found)


def test_part_and_column_added_to_files_are_found(models: Models, release: Path) -> None:
    with zipfile.ZipFile(release / "daten/beobachtungen.xlsx", "a") as book:
        book.writestr("docProps/custom.xml", "<x>1</x>")
    file = release / "daten/kennzahlen.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text(
        "".join(f"{line},{'grund' if n == 0 else 'primary'}\n" for n, line in enumerate(lines)), encoding="utf-8"
    )
    rewrite(release / "daten/breit_bezirk_de.csv", "Zeitraum;", "Zeitraum;Rang;")
    rewrite(release / "schluessel/suppression_reason.csv", "inherited", "secondary")
    rewrite(release / "katalog/quellen_de.csv", "CC0-1.0", "CC0-1.0 (214 Zeilen; 12 Sterne)")
    leaks = audit_release(release, models).leaks
    assert any(leak.kind == "unbekannte_spalte" and "quellen_de.csv" in leak.where for leak in leaks)
    assert any(leak.kind == "unbekannte_datei" and "docProps/custom.xml" in leak.where for leak in leaks)
    assert any(leak.kind == "unbekannte_spalte" and "Spalte grund" in leak.where for leak in leaks)
    assert any(leak.kind == "unbekannte_spalte" and "Spalte Rang" in leak.where for leak in leaks)
    assert any(leak.kind == "unbekannter_code" and "suppression_reason.csv" in leak.where for leak in leaks)


def test_every_table_given_out_is_parsed_back(models: Models, release: Path) -> None:
    """Changing one figure or text in any file of any table is noticed."""
    touched = []
    for base, ending in itertools.product(given_out(models).values(), (".csv", "_de.csv")):
        lines = (release / f"{base}{ending}").read_text(encoding="utf-8").splitlines(keepends=True)
        if len(lines) > 1:
            (release / f"{base}{ending}").write_text("".join([*lines[:-1], "x" + lines[-1]]), encoding="utf-8")
            touched.append(f"{base}{ending}")
    found = {leak.where.split(", ")[0] for leak in audit_release(release, None).leaks}
    assert len(touched) >= 12
    assert set(touched) <= found


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize(("value", "expected"), [(12.0, 0), (0.93, 2), (1e-7, 7), (4.25, 2), (1234567.5, 1)])
def test_decimals_as_printed(value: float, expected: int) -> None:
    assert decimals(value) == expected


def test_german_numbers_are_read_with_their_rounding() -> None:
    assert printed("1.234,5") == (1234.5, 0.05)
    assert printed("12") == (12.0, 0.5)
    assert printed("g") is None


def test_facts_are_intersected_and_contradictions_kept() -> None:
    facts, key = Facts(), cell("t", "st-1")
    facts.add(key, 1, 9, "a")
    facts.add(key, 3, 12, "b")
    assert (facts.low[key], facts.high[key], facts.conflicts) == (3, 9, [])
    facts.add(key, 10, 10, "c")
    assert facts.conflicts == [(key, "a", "c")]


def test_audit_does_not_know_the_protector() -> None:
    """What the audit holds true must not come from the code it judges."""
    forbidden = ("protector", "relations", "cells", "rules", "exact", "heuristic", "improve", "block")
    names = {f"pipelines.disclosure.{name}" for name in forbidden}
    names |= {"pipelines.publishable", "pipelines.rollup", "pipelines.history", "pipelines.ledger", "pipelines.night"}
    files = [ROOT / "pipelines/audit" / n for n in ("facts.py", "public_relations.py")]
    for file in [*files, *sorted((ROOT / "pipelines/audit").glob("release*.py"))]:
        nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not imported & names, file


def test_bytes_beside_the_figures_are_found(models: Models, release: Path) -> None:
    """What no reading of the values finds: order of rows, quotation marks, line ends, comments, bytes at the end."""
    wide = release / "daten/breit_bezirk_de.csv"
    lines = wide.read_bytes().splitlines(keepends=True)
    wide.write_bytes(b"".join([lines[0], *reversed(lines[1:])]))
    plain = release / "daten/beobachtungen.csv"
    plain.write_bytes(plain.read_bytes().replace(b",,Q", b',"",Q', 1))
    german = release / "daten/beobachtungen_de.csv"
    german.write_bytes(german.read_bytes().replace(b"\n", b"\r\n"))
    with zipfile.ZipFile(release / "daten/kennzahlen.xlsx", "a") as book:
        book.comment = b"Bezirk 2: 1 Frau"
    with (release / "sozialraum.duckdb").open("ab") as database_file:
        database_file.write(b"Bezirk 2: 1 Frau")
    with zipfile.ZipFile(release / "daten/indikatoren.xlsx") as book:
        parts = {name: book.read(name) for name in book.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    parts[sheet] = parts[sheet].replace(b"</sheetData>", b"</sheetData><!-- 1 -->")
    with zipfile.ZipFile(release / "daten/indikatoren.xlsx", "w") as book:
        for name, content in parts.items():
            book.writestr(name, content)
    found = {leak.where: leak.what for leak in audit_release(release, models).leaks if leak.kind == "nicht_ableitbar"}
    changed = (wide, plain, german, release / "daten/kennzahlen.xlsx", release / "daten/indikatoren.xlsx")
    assert {path.relative_to(release).as_posix() for path in changed} | {"sozialraum.duckdb"} <= set(found)
    assert sheet in found["daten/indikatoren.xlsx"]


def test_a_hash_in_the_raw_file_is_seen_and_a_table_of_short_texts_is_none() -> None:
    """DuckDB keeps the pieces of area numbers and names side by side: digits, then the first letters of Bezirk."""
    digests = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(500)]
    for digest in digests:
        assert strange(b"\x00x" + digest.encode() + b"\x00", set(), binary=True) == [digest]
        assert strange(digest.encode(), {digest.encode()}, binary=True) == []
    pieces = "".join(f"{number:02d}" for number in range(10, 60))
    assert strange(f"{pieces}Bezirk".encode(), set(), binary=True) == []
    assert strange(f"{pieces}Bezirk".encode(), set()) == [f"{pieces}be"], "in a text nothing is excused"
