"""Rules that compare a whole delivery with itself, with earlier deliveries and with other sources."""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipelines.areas import Area, Directory, Membership
from pipelines.intake import figures as figures_module
from pipelines.intake import phrases
from pipelines.intake.comparison import compare
from pipelines.intake.contract import READING
from pipelines.intake.failures import KEEP, Failure, Findings
from pipelines.intake.past import Past
from pipelines.intake.rules import RULES
from pipelines.periods import parse_period, period_key
from schemas.documents import TOTAL, Measure, Source

LEVELS = ["stadtteil", "bereich", "stadt"]
CITY, NORTH, SOUTH = "K", "K-N", "K-S"
AREAS = [f"K-{number:02d}" for number in range(1, 31)]
YEARS = list(range(2014, 2024))
RATES = [0.011, -0.004, 0.006, 0.001, -0.007, 0.003, 0.008, -0.002, 0.004]
"""Change of the whole from year to year."""


def area(area_id: str, level: str, name: str, **more: Any) -> Area:
    return Area(area_id, name, level, "", more.get("valid_from"), more.get("valid_to"), 0)


def directory(memberships: Iterable[Membership] = (), **valid: dt.date) -> Directory:
    areas = [area(CITY, "stadt", "Kiel"), area(NORTH, "bereich", "Nord"), area(SOUTH, "bereich", "Süd")]
    areas += [area(a, "stadtteil", f"Gebiet {a[-2:]}", valid_from=valid.get(a.replace("-", "_"))) for a in AREAS]
    return Directory(LEVELS, {entry.area_id: entry for entry in areas}, list(memberships))


HALVES = [
    *[Membership(a, NORTH if int(a[-2:]) <= 15 else SOUTH, None, None, 1.0, "confirmed") for a in AREAS],
    *[Membership(a, CITY, None, None, 1.0, "confirmed") for a in (NORTH, SOUTH)],
]


def measure(name: str, codes: Iterable[str] = (), total: str = "none", kind: str = "count", **more: Any) -> Measure:
    return Measure(
        id=name,
        title={"de": more.pop("title", name.capitalize())},
        unit="persons",
        kind=kind,
        family="f",
        period_type="stichtag",
        categories=[{"id": code, "title": {"de": code.capitalize()}} for code in codes],
        category_total=total,
        levels={"stadtteil": ["quelle"]},
        **more,
    )


def source(measures: Iterable[str] = ("personen",), **more: Any) -> Source:
    return Source(
        id="quelle",
        title={"de": "Quelle"},
        description={"de": "Quelle"},
        publisher="Amt",
        owner="team:a",
        licence="keine",
        origin="constructed",
        publication="constructed",
        due="none",
        layout={
            "area": {"name": "Gebiet", "level": "stadtteil"},
            "period": {"column": "Datum", "type": "stichtag"},
            "values": [{"column": f"Spalte {name}", "measure": name} for name in measures],
        },
        **more,
    )


Cell = dict[str, Any]


def sheet_of(blocks: dict[int, np.ndarray], name: str = "personen", codes: tuple[str, ...] = (TOTAL,)) -> list[Cell]:
    """Rows as a wide file has them: per year one line per area, one column per category (array: areas x categories)."""
    cells: list[Cell] = []
    line = 2
    for year, block in blocks.items():
        for number, values in enumerate(block):
            for column, (code, value) in enumerate(zip(codes, values, strict=True), start=4):
                cells.append(cell(name, code, AREAS[number], year, value, line=line, column=column))
            line += 1
    return cells


def cell(name: str, code: str, area_id: str, year: int, value: float | None, **more: Any) -> Cell:
    known = value is not None and not np.isnan(value)
    levels = {CITY: "stadt", NORTH: "bereich", SOUTH: "bereich"}
    return {
        "measure_id": name,
        "category": code,
        "area_id": area_id,
        "area_level": levels.get(area_id, "stadtteil"),
        "period_type": "stichtag",
        "reference_date": dt.date(year, 12, 31),
        "period": f"{year}-12-31",
        "value": float(value) if known and value is not None else None,
        "status": "value" if known else "suppressed",
        "origin": "constructed",
        "text": "",
        "read_text": "",
        "line": 2,
        "column": 4,
        "column_name": code,
        "sheet": "",
        "correction": None,
        **more,
    }


def file_of(folder: Path, cells: list[Cell], name: str = "lieferung") -> Path:
    path = folder / f"{name}.parquet"
    pq.write_table(pa.Table.from_pylist(cells, READING), path)
    return path


def past(folder: Path, cells: list[Cell], seq: int = 1, of: str = "quelle") -> Past:
    return Past(of, f"{of}-{seq:04d}", seq, file_of(folder, cells, f"{of}-{seq}"))


def found(
    folder: Path,
    cells: list[Cell],
    measures: Iterable[Measure] = (measure("personen"),),
    earlier: Iterable[Past] = (),
    others: dict[str, list[Past]] | None = None,
    areas: Directory | None = None,
    **contract: Any,
) -> list[Failure]:
    """Findings about a delivery."""
    known = {one.id: one for one in measures}
    breaks = contract.pop("breaks", [])
    declared = source(known, contract=contract, breaks=breaks)
    findings = Findings(declared.contract.severity)
    path = file_of(folder, cells)
    compare(path, declared, known, areas or directory(HALVES), findings, list(earlier), others or {})
    assert sum(findings.by_rule.values()) == len(findings.kept)
    return findings.kept


def rules(failures: list[Failure]) -> list[str]:
    return [failure.rule for failure in failures]


def smooth(
    years: Iterable[int] = YEARS, codes: int = 1, areas: int = 30, seed: int = 1, noise: float = 0.006
) -> dict[int, np.ndarray]:
    """Honest figures: areas of 80 to 9,000, all following one course, each a little otherwise."""
    chance = np.random.default_rng(seed)
    level = np.exp(chance.uniform(np.log(80), np.log(9000), (areas, codes)))
    blocks = {}
    for year, rate in zip(years, itertools.cycle(RATES), strict=False):
        blocks[year] = np.round(level)
        level = level * np.exp(rate + chance.normal(0, noise, (areas, codes)))
    return blocks


def lines(blocks: dict[int, np.ndarray], year: int) -> tuple[int, int]:
    """First and last line of a year's block in `sheet_of`."""
    before = sum(len(blocks[other]) for other in list(blocks)[: list(blocks).index(year)])
    return before + 2, before + 1 + len(blocks[year])


def place(failure: Failure) -> tuple[int, int]:
    return failure.line, failure.last_line


# ---------------------------------------------------------------- words


def test_numbers_periods_and_places_in_words() -> None:
    assert [phrases.number(v) for v in (242340, 12.5, -1234567.25, 0, -0.00001)] == [
        "242.340",
        "12,5",
        "-1.234.567,25",
        "0",
        "0",
    ]
    assert phrases.digits(242340.5) == "242340,5"
    assert [phrases.percent(v) for v in (0.0231, -0.2, 0.0001)] == ["+2,3 %", "-20,0 %", "0 %"]
    keys = ["2016-12-31", "2021-jd", "2022-23", "2021"]
    assert [phrases.when(key) for key in keys] == [
        "zum 31.12.2016",
        "im Jahresdurchschnitt 2021",
        "im Schuljahr 2022/23",
        "im Jahr 2021",
    ]
    assert phrases.whens(["2019-12-31"]) == "zum 31.12.2019"
    assert phrases.whens(["2019", "2018"]) == "zu 2018, 2019"
    assert phrases.whens(["2014", "2019", "2015", "2016"]) == "zu 4 Zeiten (2014 bis 2019)"
    assert phrases.Spot(3, 9, 2, "Anzahl", "Blatt 1").lines() == " (Blatt »Blatt 1«, Zeilen 3 bis 9, Spalte »Anzahl«)"
    assert phrases.Spot(3, 3).lines() == " (Zeile 3)"
    assert phrases.Spot().lines() == ""


# ---------------------------------------------------------------- sums within the delivery

SEXES = ("insgesamt", "mann", "frau")
BY_SEX = measure("personen", ["mann", "frau"], "delivered", title="Personen")


def test_parts_that_miss_the_total_are_named_at_the_total(tmp_path: Path) -> None:
    block = np.array([[30, 10, 20], [31, 10, 20], [30, 15, 15]])
    (failure,) = found(tmp_path, sheet_of({2020: block}, codes=SEXES), [BY_SEX])
    assert (failure.rule, failure.line, failure.column, failure.column_name) == ("summe_der_teile", 3, 4, "insgesamt")
    assert failure.message == (
        "Gebiet 02 zum 31.12.2020: »Personen« ist 31, die Teile ergeben 30 (Personen, Mann, Personen, Frau)"
    )
    assert (failure.expected, failure.value) == ("30", "31")


@pytest.mark.parametrize(("row", "wrong"), [([31, None, 20], False), ([31, None, 32], True), ([None, 10, 20], False)])
def test_a_withheld_part_excuses_a_gap_but_not_too_much(tmp_path: Path, row: list[float | None], wrong: bool) -> None:
    block = np.array([row, [30, 10, 20]], dtype=float)
    failures = found(tmp_path, sheet_of({2020: block}, codes=SEXES), [BY_SEX])
    assert rules(failures) == ["summe_der_teile"] * wrong
    if wrong:
        assert "schon die bekannten Teile ergeben 32" in failures[0].message
        assert failures[0].expected == "mindestens 32"


def test_known_parts_prove_nothing_where_figures_may_be_negative(tmp_path: Path) -> None:
    balance = measure("personen", ["mann", "frau"], "delivered", minimum=None)
    assert found(tmp_path, sheet_of({2020: np.array([[31, np.nan, 32]])}, codes=SEXES), [balance]) == []


def test_declared_sums_over_measures_have_a_tolerance(tmp_path: Path) -> None:
    measures = [measure(name) for name in ("alle", "jung", "alt")]
    cells = [cell("alle", TOTAL, a, 2020, 100 + k, line=k) for k, a in enumerate(AREAS[:5])]
    cells += [cell("jung", TOTAL, a, 2020, 40, line=20) for a in AREAS[:5]]
    cells += [cell("alt", TOTAL, a, 2020, 60, line=30) for a in AREAS[:5]]
    adds_up = {"total": {"measure": "alle"}, "parts": [{"measure": "jung"}, {"measure": "alt"}], "tolerance": 3}
    (failure,) = found(tmp_path, cells, measures, adds_up=[adds_up])
    assert (failure.line, failure.expected) == (4, "100 (erlaubte Abweichung 3)")


def test_each_occurrence_of_a_doubled_row_is_added_up_by_itself(tmp_path: Path) -> None:
    cells = sheet_of({2020: np.array([[30, 10, 20]])}, codes=SEXES)
    cells += [{**one, "line": 9, "value": one["value"] + 1} for one in cells]
    assert [failure.line for failure in found(tmp_path, cells, [BY_SEX])] == [9]


def tree(values: dict[str, float | None], year: int = 2020) -> list[Cell]:
    return [cell("personen", TOTAL, a, year, value, line=k + 2) for k, (a, value) in enumerate(values.items())]


UP = {"level": "stadtteil", "to": "bereich"}
WHOLE = dict.fromkeys(AREAS, 10.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({NORTH: 150.0, SOUTH: 150.0}, None),
        (
            {NORTH: 151.0, SOUTH: 150.0},
            "Nord zum 31.12.2020: »Personen« ist 151, die 15 Gebiete der Ebene stadtteil ergeben zusammen 150",
        ),
        ({NORTH: 160.0, SOUTH: 150.0, AREAS[0]: None}, None),
        (
            {NORTH: 139.0, SOUTH: 150.0, AREAS[0]: None},
            "Nord zum 31.12.2020: »Personen« ist 139, die 14 von 15 Gebiete der Ebene stadtteil ergeben zusammen 140",
        ),
        ({NORTH: None, SOUTH: 150.0}, None),
    ],
)
def test_areas_add_up_to_the_area_above(tmp_path: Path, values: dict[str, float | None], message: str | None) -> None:
    failures = found(tmp_path, tree({**WHOLE, **values}), areas_add_up=[UP])
    assert [failure.message for failure in failures] == ([message] if message else [])
    assert all(failure.line == 32 for failure in failures)


def test_areas_add_up_over_several_levels_and_two_ways_count_once(tmp_path: Path) -> None:
    ways = [*HALVES, *[Membership(a, CITY, None, None, 1.0, "confirmed") for a in AREAS]]
    entry = {"level": "stadtteil", "to": "stadt", "measures": ["personen"]}
    assert found(tmp_path, tree({**WHOLE, CITY: 300.0}), areas=directory(ways), areas_add_up=[entry]) == []
    (failure,) = found(tmp_path, tree({**WHOLE, CITY: 301.0}), areas=directory(ways), areas_add_up=[entry])
    assert "ergeben zusammen 300" in failure.message


def test_memberships_count_on_the_day(tmp_path: Path) -> None:
    moved = [m for m in HALVES if m.area_id != AREAS[0]]
    moved += [Membership(AREAS[0], NORTH, None, dt.date(2019, 6, 30), 1.0, "confirmed")]
    moved += [Membership(AREAS[0], SOUTH, dt.date(2019, 7, 1), None, 1.0, "confirmed")]
    cells = tree({**WHOLE, NORTH: 150.0, SOUTH: 150.0}, 2018) + tree({**WHOLE, NORTH: 140.0, SOUTH: 160.0}, 2020)
    assert found(tmp_path, cells, areas=directory(moved), areas_add_up=[UP]) == []
    assert rules(found(tmp_path, cells, areas_add_up=[UP])) == ["summe_der_gebiete"] * 2


# ---------------------------------------------------------------- other sources

AGREES = {"measure": "personen", "source": "andere", "with_measure": "einwohner"}
BOTH = (measure("personen"), measure("einwohner"))


def other_source(folder: Path, blocks: dict[int, np.ndarray], seq: int = 1) -> Past:
    return past(folder, sheet_of(blocks, "einwohner"), seq, "andere")


def test_single_contradictions_to_another_source_are_named(tmp_path: Path) -> None:
    blocks = smooth()
    theirs = {"andere": [other_source(tmp_path, blocks)]}
    assert found(tmp_path, sheet_of(blocks), BOTH, others=theirs, agrees=[AGREES]) == []
    changed = {year: block.copy() for year, block in blocks.items()}
    changed[2016][4] += 3
    (failure,) = found(tmp_path, sheet_of(changed), BOTH, others=theirs, agrees=[AGREES])
    ours, known = changed[2016][4][0], blocks[2016][4][0]
    assert (failure.rule, failure.line) == ("stimmt_mit_quelle", lines(blocks, 2016)[0] + 4)
    assert failure.message == (
        f"Gebiet 05 zum 31.12.2016: »Personen« ist {phrases.number(ours)}, "
        f"»Einwohner« in der Quelle »andere« {phrases.number(known)}"
    )


@pytest.mark.parametrize("allowed", [{"tolerance": 3}, {"tolerance_percent": 40}])
def test_allowed_gaps_between_sources(tmp_path: Path, allowed: dict[str, float]) -> None:
    blocks = smooth([2020])
    changed = {2020: blocks[2020].copy()}
    changed[2020][:3] += 3
    theirs = {"andere": [other_source(tmp_path, blocks)]}
    assert found(tmp_path, sheet_of(changed), BOTH, others=theirs, agrees=[{**AGREES, **allowed}]) == []
    assert len(found(tmp_path, sheet_of(changed), BOTH, others=theirs, agrees=[AGREES])) == 3


def test_a_block_of_the_wrong_period_is_said_once_with_its_likely_cause(tmp_path: Path) -> None:
    blocks = smooth()
    theirs = {"andere": [other_source(tmp_path, blocks)]}
    shifted = {year: blocks[year] for year in YEARS[1:]}
    shifted[2015] = blocks[2014]
    (failure,) = found(tmp_path, sheet_of(shifted), BOTH, others=theirs, agrees=[AGREES])
    total = phrases.number(blocks[2014].sum())
    assert place(failure) == lines(shifted, 2015)
    assert failure.message.startswith("Zum 31.12.2015 weichen ")
    assert f"Die Summe {total} ist die der Quelle »andere« zum 31.12.2014" in failure.message
    assert "vermutlich stimmt die Zeitangabe 31.12.2015 nicht" in failure.message


def test_another_population_is_recognised_and_a_break_exempts_it(tmp_path: Path) -> None:
    codes = ("jung", "alt")
    blocks = smooth(codes=2)
    other = {year: block.sum(axis=1, keepdims=True) for year, block in blocks.items()}
    wider = {year: np.round(block * 1.03) if year < 2019 else block for year, block in blocks.items()}
    measures = [measure("personen", codes, "summed"), measure("einwohner")]
    everything = {"others": {"andere": [other_source(tmp_path, other)]}, "agrees": [{**AGREES, "categories": ["alle"]}]}
    failures = found(tmp_path, sheet_of(wider, codes=codes), measures, **everything)
    block = [failure for failure in failures if failure.rule == "stimmt_mit_quelle"]
    assert [place(failure) for failure in block] == [lines(wider, year) for year in range(2014, 2019)]
    assert all("In 30 von 30 Gebieten ist die Zahl höher (zusammen +3,0 %)" in failure.message for failure in block)
    assert all(failure.column == 0 for failure in block)
    known = {"measure": "personen", "since": "2019-12-31", "other_population": "before", "reason": {"de": "x"}}
    assert found(tmp_path, sheet_of(wider, codes=codes), measures, breaks=[known], **everything) == []
    after = {**known, "other_population": "after"}
    assert "stimmt_mit_quelle" in rules(
        found(tmp_path, sheet_of(wider, codes=codes), measures, breaks=[after], **everything)
    )


def test_withheld_parts_are_not_compared_with_another_source(tmp_path: Path) -> None:
    codes = ("jung", "alt")
    block = np.full((10, 2), 50.0)
    block[:, 1] = np.nan
    theirs = {"andere": [other_source(tmp_path, {2020: np.full((10, 1), 70.0)})]}
    measures = [measure("personen", codes, "summed"), measure("einwohner")]
    entry = {**AGREES, "categories": ["alle"]}
    assert found(tmp_path, sheet_of({2020: block}, codes=codes), measures, others=theirs, agrees=[entry]) == []


def test_of_several_deliveries_of_the_other_source_the_newest_with_the_slice_counts(tmp_path: Path) -> None:
    blocks = smooth([2019, 2020])
    old = {2019: blocks[2019] + 5, 2020: blocks[2020] + 5}
    first, second = other_source(tmp_path, old, 1), other_source(tmp_path, {2020: blocks[2020]}, 2)
    (failure,) = found(tmp_path, sheet_of(blocks), BOTH, others={"andere": [second, first]}, agrees=[AGREES])
    assert place(failure) == lines(blocks, 2019)


def test_figures_of_other_areas_are_recognised_by_their_sum(tmp_path: Path) -> None:
    blocks = smooth([2020])
    theirs = {"andere": [other_source(tmp_path, blocks)]}
    cells = sheet_of({2020: np.roll(blocks[2020], 3, axis=0)})
    (failure,) = found(tmp_path, cells, BOTH, others=theirs, agrees=[AGREES])
    assert failure.message.endswith("Die Summe ist dieselbe: vermutlich stehen die Zahlen bei anderen Gebieten")
    assert failure.expected == "jede Zahl beim richtigen Gebiet, wie in der Quelle »andere«"


def test_of_two_equal_blocks_the_one_that_contradicts_another_source_is_wrong(tmp_path: Path) -> None:
    blocks = smooth([2020, 2021])
    theirs = {"andere": [other_source(tmp_path, blocks)]}
    copies = dict.fromkeys(blocks, blocks[2021])
    failures = found(tmp_path, sheet_of(copies), BOTH, others=theirs, agrees=[AGREES])
    assert {(failure.rule, *place(failure)) for failure in failures} == {
        ("stimmt_mit_quelle", 2, 31),
        ("block_wiederholt", 2, 31),
    }
    assert not any("lassen die Zahlen offen" in failure.message for failure in failures)


# ---------------------------------------------------------------- blocks of another period


def test_an_exact_copy_of_another_period_is_found(tmp_path: Path) -> None:
    blocks = smooth(codes=3)
    codes = ("a", "b", "c")
    measures = [measure("personen", codes, "summed")]
    assert found(tmp_path, sheet_of(blocks, codes=codes), measures) == []
    blocks[2018] = blocks[2017].copy()
    (failure,) = found(tmp_path, sheet_of(blocks, codes=codes), measures)
    first, last = lines(blocks, 2017)
    assert (failure.rule, failure.severity) == ("block_wiederholt", "error")
    assert place(failure) == lines(blocks, 2018)
    assert failure.message.startswith(
        f"»Personen« zum 31.12.2018: alle 90 Zahlen sind dieselben wie zum 31.12.2017 (Zeilen {first} bis {last}); "
        f"auch die Summe ist dieselbe ({phrases.number(blocks[2017].sum())})"
    )


def test_a_copy_with_a_few_changed_figures_is_found(tmp_path: Path) -> None:
    blocks = smooth()
    blocks[2018] = blocks[2017].copy()
    blocks[2018][:3] += 1
    (failure,) = found(tmp_path, sheet_of(blocks))
    assert "27 von 30 Zahlen sind dieselben wie zum 31.12.2017" in failure.message
    blocks[2018][:4] += 1
    assert found(tmp_path, sheet_of(blocks)) == []


def test_the_block_that_fits_worse_to_its_neighbours_is_accused(tmp_path: Path) -> None:
    blocks = smooth()
    blocks[2015] = blocks[2021].copy()
    (failure,) = found(tmp_path, sheet_of(blocks))
    assert place(failure) == lines(blocks, 2015)
    assert "zum 31.12.2021" in failure.message
    assert "lassen die Zahlen offen" not in failure.message


def test_two_equal_periods_alone_are_named_both(tmp_path: Path) -> None:
    blocks = smooth([2020])
    blocks[2021] = blocks[2020]
    (failure,) = found(tmp_path, sheet_of(blocks))
    assert place(failure) == lines(blocks, 2021)
    assert failure.message.endswith("welcher der beiden Zeiträume falsch ist, lassen die Zahlen offen")


def test_a_second_block_with_the_values_of_another_period_in_another_order(tmp_path: Path) -> None:
    blocks = smooth()
    cells = sheet_of(blocks)
    order = sorted(range(30), key=lambda k: (k * 7) % 30)
    surplus = sheet_of({2016: blocks[2017][order]})
    for one in surplus:
        one["line"] += 500
    (failure,) = found(tmp_path, cells + surplus)
    first, last = lines(blocks, 2016)
    assert place(failure) == (502, 531)
    assert "dort bei anderen Gebieten: die Reihenfolge der Gebiete ist vertauscht" in failure.message
    assert f"andere Angaben zum 31.12.2016 (Zeilen {first} bis {last}, Spalte »insgesamt«)" in failure.message


def test_one_scrambled_block_is_accused_and_its_jumps_are_not_listed(tmp_path: Path) -> None:
    blocks = smooth(seed=4)
    blocks[2016] = np.roll(blocks[2019], 5, axis=0)
    (failure,) = found(tmp_path, sheet_of(blocks))
    assert (failure.rule, place(failure)) == ("block_wiederholt", lines(blocks, 2016))


def test_one_category_that_repeats_another_period(tmp_path: Path) -> None:
    codes = ("a", "b", "c")
    blocks = smooth(codes=3)
    blocks[2018][:, 1] = blocks[2016][:, 1]
    (failure,) = found(tmp_path, sheet_of(blocks, codes=codes), [measure("personen", codes, "summed")])
    assert failure.message.startswith("»Personen, B« zum 31.12.2018: alle 30 Zahlen sind dieselben wie zum 31.12.2016")
    assert (*place(failure), failure.column, failure.column_name) == (*lines(blocks, 2018), 5, "b")


def test_the_delivery_in_force_is_right(tmp_path: Path) -> None:
    blocks = smooth([2022])
    before = past(tmp_path, sheet_of(blocks))
    (failure,) = found(tmp_path, sheet_of({2023: blocks[2022]}), earlier=[before])
    assert place(failure) == (2, 31)
    assert "dieselben wie zum 31.12.2022 in der Lieferung quelle-0001" in failure.message
    assert found(tmp_path, sheet_of(blocks), earlier=[before]) == []  # delivered again, unchanged


def test_superseded_figures_are_not_looked_at(tmp_path: Path) -> None:
    blocks = smooth()
    wrong = {**blocks, 2018: blocks[2017]}
    (failure,) = found(tmp_path, sheet_of(blocks), earlier=[past(tmp_path, sheet_of(wrong))])
    assert (failure.rule, place(failure)) == ("revision", lines(blocks, 2018))


def test_a_corrected_date_is_no_repetition(tmp_path: Path) -> None:
    blocks = smooth([2014, 2015])
    before = past(tmp_path, sheet_of({2015: blocks[2014]}))
    (failure,) = found(tmp_path, sheet_of({2014: blocks[2014]}), earlier=[before])
    assert (failure.rule, failure.severity, place(failure)) == ("revision", "warning", (2, 31))
    assert failure.message == (
        "»Personen« zum 31.12.2014: die Zahlen standen in der Lieferung quelle-0001 zum 31.12.2015: vermutlich ist die "
        "Zeitangabe berichtigt; dann quelle-0001 zurückziehen (retracted)"
    )
    (failure,) = found(tmp_path, sheet_of(blocks), earlier=[before])  # with the right figures for 2015
    assert (failure.rule, place(failure)) == ("revision", lines(blocks, 2015))
    for years in ([2014, 2015], [2014, 2016]):  # twice in the delivery itself
        failures = found(tmp_path, sheet_of(dict.fromkeys(years, blocks[2014])), earlier=[before])
        assert "block_wiederholt" in rules(failures)


@pytest.mark.parametrize(
    "block",
    [
        np.tile(np.arange(1.0, 31.0) * 100, (1, 1)).T,  # areas in hectares, the same every year
        np.zeros((30, 1)),
    ],
)
def test_figures_that_never_change_are_no_copies(tmp_path: Path, block: np.ndarray) -> None:
    assert found(tmp_path, sheet_of(dict.fromkeys(YEARS[:5], block))) == []


def test_small_stocks_that_hardly_change_are_no_copies(tmp_path: Path) -> None:
    schools = {year: np.arange(30.0).reshape(30, 1) % 8 for year in (2020, 2021)}
    schools[2021][4] += 1
    assert found(tmp_path, sheet_of(schools)) == []


def test_rates_are_copied_too(tmp_path: Path) -> None:
    blocks = {year: np.round(5 + np.random.default_rng(year).uniform(0, 20, (18, 1)), 1) for year in YEARS[:3]}
    assert found(tmp_path, sheet_of(blocks), [measure("personen", kind="rate")]) == []
    blocks[2016] = blocks[2015]
    assert rules(found(tmp_path, sheet_of(blocks), [measure("personen", kind="rate")])) == ["block_wiederholt"]


def test_few_small_equal_figures_prove_nothing(tmp_path: Path) -> None:
    block = np.array([[0], [1], [2], [3], [0], [5], [1], [4], [0], [2]], dtype=float)
    assert found(tmp_path, sheet_of({2020: block, 2021: block})) == []


def test_the_total_of_another_period_with_other_figures(tmp_path: Path) -> None:
    blocks = {year: block * 20 for year, block in smooth().items()}
    largest = np.argmax(blocks[2017])
    blocks[2017] = np.round(blocks[2017] * blocks[2016].sum() / blocks[2017].sum())
    blocks[2017][largest] += blocks[2016].sum() - blocks[2017].sum()
    failures = found(tmp_path, sheet_of(blocks))
    assert rules(failures) == ["summe_anderer_zeitraum"]
    assert (failures[0].severity, place(failures[0])) == ("warning", lines(blocks, 2017))
    total = phrases.number(blocks[2016].sum())
    assert f"die Summe der 30 Gebiete ist {total}, genau wie zum 31.12.2016" in failures[0].message


def test_small_totals_may_be_equal(tmp_path: Path) -> None:
    blocks = {year: np.round(block / 100) for year, block in smooth().items()}
    blocks[2017][0] += blocks[2016].sum() - blocks[2017].sum()
    assert "summe_anderer_zeitraum" not in rules(found(tmp_path, sheet_of(blocks)))


# ---------------------------------------------------------------- labels


def households(years: Iterable[int] = YEARS) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    people = smooth(years)
    size = np.random.default_rng(5).uniform(1.5, 2.4, (30, 1))
    return people, {year: np.round(block / size) for year, block in people.items()}


def test_a_block_under_the_label_of_another_measure(tmp_path: Path) -> None:
    people, homes = households()
    measures = [measure("personen"), measure("haushalte")]

    def cells(labelled: dict[int, np.ndarray], kept: dict[int, np.ndarray]) -> list[Cell]:
        return sheet_of(labelled) + [{**one, "line": one["line"] + 500} for one in sheet_of(kept, "haushalte")]

    assert found(tmp_path, cells(people, homes), measures) == []
    labelled = {year: block for year, block in people.items() if year < 2019} | {2019: homes[2019]}
    kept = {year: block for year, block in homes.items() if year != 2019}
    (failure,) = found(tmp_path, cells(labelled, kept), measures)
    assert (failure.rule, *place(failure)) == ("groesse_widerspricht", *lines(labelled, 2019))
    assert "sehen die Zahlen aus wie »Haushalte« zum 31.12.20" in failure.message
    assert phrases.number(homes[2019].sum()) in failure.message


def test_two_columns_exchanged_in_one_period(tmp_path: Path) -> None:
    codes = ("a", "b", "c")
    blocks = smooth(codes=3, seed=3)
    blocks[2018] = blocks[2018][:, [1, 0, 2]]
    failures = found(tmp_path, sheet_of(blocks, codes=codes), [measure("personen", codes, "summed")])
    assert rules(failures) == ["groesse_widerspricht"] * 2
    assert [failure.column_name for failure in failures] == ["a", "b"]
    assert "sehen die Zahlen aus wie »Personen, B«" in failures[0].message


def test_figures_beside_the_wrong_areas(tmp_path: Path) -> None:
    codes = ("a", "b")
    blocks = smooth(codes=2, seed=6)
    blocks[2016] = np.roll(blocks[2016], 4, axis=0)
    (failure,) = found(tmp_path, sheet_of(blocks, codes=codes), [measure("personen", codes, "summed")])
    assert (failure.rule, *place(failure)) == ("groesse_widerspricht", *lines(blocks, 2016))
    assert "»Personen« zum 31.12.2016: die Zahlen stehen bei anderen Gebieten als zum 31.12.201" in failure.message


def test_one_column_sorted_by_itself(tmp_path: Path) -> None:
    codes = ("a", "b", "c")
    blocks = smooth(codes=3, seed=6)
    blocks[2023][:, 1].sort()
    (failure,) = found(tmp_path, sheet_of(blocks, codes=codes), [measure("personen", codes, "summed")])
    assert (failure.rule, failure.column_name, *place(failure)) == ("groesse_widerspricht", "b", *lines(blocks, 2023))


def test_small_counts_change_places(tmp_path: Path) -> None:
    for mean in (8, 15):
        chance = np.random.default_rng(mean)
        blocks = {year: chance.poisson(mean, (30, 1)).astype(float) for year in YEARS}
        assert found(tmp_path, sheet_of(blocks)) == []


def test_growth_alone_is_no_wrong_label(tmp_path: Path) -> None:
    people, homes = households()
    grown = {year: block if year < 2019 else np.round(block * 1.6) for year, block in people.items()}
    cells = sheet_of(grown) + sheet_of(homes, "haushalte")
    failures = found(tmp_path, cells, [measure("personen"), measure("haushalte")])
    assert set(rules(failures)) == {"definition"}


# ---------------------------------------------------------------- changes

BOUND = {"measure": "personen", "percent": 20, "from_value": 50}


def test_agreed_bounds_of_change(tmp_path: Path) -> None:
    blocks = {2020: np.array([[100], [40], [100]]), 2021: np.array([[121], [90], [80]]), 2022: np.array([[95]] * 3)}
    failures = found(tmp_path, sheet_of(blocks), change=[BOUND])
    assert [(failure.rule, failure.line) for failure in failures] == [("veraenderung", 5)]
    assert failures[0].message == (
        "Gebiet 01: »Personen« ist zum 31.12.2021 121, zum 31.12.2020 100 (+21,0 %); vereinbart sind höchstens 20 %"
    )
    assert (failures[0].expected, failures[0].value) == ("80 bis 120", "121")


def test_bounds_hold_against_earlier_deliveries_and_for_named_levels_only(tmp_path: Path) -> None:
    before = past(tmp_path, sheet_of({2020: np.array([[100]])}))
    (failure,) = found(tmp_path, sheet_of({2021: np.array([[150]])}), earlier=[before], change=[BOUND])
    assert "zum 31.12.2020 in der Lieferung quelle-0001 100" in failure.message
    other = {**BOUND, "level": "stadt"}
    assert found(tmp_path, sheet_of({2021: np.array([[150]])}), earlier=[before], change=[other]) == []


def test_a_declared_break_silences_all_rules_of_change(tmp_path: Path) -> None:
    blocks = smooth()
    jump = {year: block if year < 2019 else np.round(block * 1.5) for year, block in blocks.items()}
    known = {"measure": "personen", "since": "2019-12-31", "reason": {"de": "x"}}
    assert set(rules(found(tmp_path, sheet_of(jump), change=[BOUND]))) == {"veraenderung", "definition"}
    assert found(tmp_path, sheet_of(jump), change=[BOUND], breaks=[known]) == []
    elsewhere = {**known, "since": "2018-12-31"}
    assert "definition" in rules(found(tmp_path, sheet_of(jump), breaks=[elsewhere]))
    of_category = {**known, "category": "mann"}
    assert "definition" in rules(found(tmp_path, sheet_of(jump), breaks=[of_category]))


def test_a_jump_of_one_area_is_said_once(tmp_path: Path) -> None:
    blocks = smooth()
    assert found(tmp_path, sheet_of(blocks)) == []
    number = int(np.argmax(blocks[2018]))
    honest = blocks[2018][number][0]
    blocks[2018][number] = honest / 10
    (failure,) = found(tmp_path, sheet_of(blocks))
    assert (failure.rule, failure.severity) == ("ausreisser", "warning")
    assert failure.line == lines(blocks, 2018)[0] + number
    before = phrases.number(blocks[2017][number][0])
    assert f"zum 31.12.2017 {before}; die anderen Gebiete veränderten sich im Mittel um" in failure.message
    low, high = (float(text.replace(".", "")) for text in failure.expected.split("zwischen ")[1].split(" und "))
    assert low < honest < high
    assert failure.value == phrases.digits(blocks[2018][number][0])


def test_small_counts_may_jump(tmp_path: Path) -> None:
    chance = np.random.default_rng(2)
    blocks = {year: chance.poisson(4, (30, 1)).astype(float) for year in YEARS}
    blocks[2017][3], blocks[2018][3] = 3, 12
    assert "ausreisser" not in rules(found(tmp_path, sheet_of(blocks)))


def test_nothing_is_learned_from_three_periods_or_seven_areas(tmp_path: Path) -> None:
    for blocks in (smooth(YEARS[:3]), smooth(areas=7)):
        blocks[2015][0] *= 10
        assert found(tmp_path, sheet_of(blocks)) == []


def test_an_area_with_a_history_of_jumps_is_judged_by_it(tmp_path: Path) -> None:
    blocks = smooth(range(2004, 2024), noise=0.004)
    number = int(np.argmax(blocks[2004]))
    for year, block in blocks.items():
        block[number] = np.round(block[number] * np.exp(0.12 * (year % 2)))
    assert found(tmp_path, sheet_of(blocks)) == []


def test_all_areas_shifted_together_are_reported_once(tmp_path: Path) -> None:
    codes = ("a", "b")
    blocks = smooth(codes=2)
    shifted = {year: block if year < 2020 else np.round(block * 0.94) for year, block in blocks.items()}
    (failure,) = found(tmp_path, sheet_of(shifted, codes=codes), [measure("personen", codes, "summed")])
    assert (failure.rule, failure.severity, place(failure)) == ("definition", "warning", lines(blocks, 2020))
    assert "gegenüber dem Stand zum 31.12.2019 verändern sich 30 von 30 Gebieten gemeinsam nach unt" in failure.message
    before, after = (phrases.number(shifted[year].sum()) for year in (2019, 2020))
    assert failure.message.endswith(f"die Summe war {before} und ist {after}")


def test_a_slow_tide_is_no_break(tmp_path: Path) -> None:
    level = smooth([2000])[2000]
    rates = [0.004, 0.0, 0.006, 0.002, -0.001, 0.003, 0.012, 0.021, 0.024, 0.021, 0.013, 0.004, 0.002]
    blocks = {}
    for year, rate in zip(range(2001, 2014), rates, strict=True):
        level = level * np.exp(rate + np.random.default_rng(year).normal(0, 0.006, level.shape))
        blocks[year] = np.round(level)
    assert found(tmp_path, sheet_of(blocks)) == []


def test_a_missing_period_is_no_change_of_definition(tmp_path: Path) -> None:
    blocks = smooth()
    blocks = {year: np.round(block * 1.02 ** max(0, year - 2019)) for year, block in blocks.items()}
    del blocks[2020]
    assert "zum 31.12.2021" not in " ".join(f.message for f in found(tmp_path, sheet_of(blocks)))


# ---------------------------------------------------------------- extent


def test_areas_that_an_earlier_delivery_had_are_missed(tmp_path: Path) -> None:
    blocks = smooth([2019, 2020])
    cells = sheet_of(blocks)
    before = past(tmp_path, cells)
    less = [one for one in cells if one["area_id"] not in AREAS[2:4]]
    (failure,) = found(tmp_path, less, earlier=[before])
    assert failure.rule == "abdeckung"
    assert failure.message == (
        "»Personen«: zu 31.12.2019, 31.12.2020 fehlen auf der Ebene stadtteil 2 Gebiete: Gebiet 03, Gebiet 04. "
        "Zuletzt geliefert in der Lieferung quelle-0001"
    )


def test_what_was_withheld_or_is_withheld_now_is_not_missed(tmp_path: Path) -> None:
    cells = sheet_of(smooth([2020]))
    withheld = [{**one, "value": None, "status": "suppressed"} if one["area_id"] == AREAS[2] else one for one in cells]
    assert found(tmp_path, withheld, earlier=[past(tmp_path, cells)]) == []
    without = [one for one in cells if one["area_id"] != AREAS[2]]
    assert found(tmp_path, without, earlier=[past(tmp_path, withheld)]) == []


def test_a_category_that_is_gone_is_named_and_a_measure_left_out_is_not(tmp_path: Path) -> None:
    codes = ("a", "b")
    cells = sheet_of(smooth([2020], codes=2), codes=codes)
    measures = [measure("personen", codes, "summed"), measure("haushalte")]
    before = past(tmp_path, cells + sheet_of(smooth([2020], seed=9), "haushalte"))
    (failure,) = found(tmp_path, [one for one in cells if one["category"] == "a"], measures, earlier=[before])
    assert failure.message.startswith("»Personen, B« fehlt zum 31.12.2020 ganz (Ebene stadtteil)")


def test_rows_that_could_not_be_read_are_not_missed_too(tmp_path: Path) -> None:
    cells = sheet_of(smooth([2020]))
    unknown = [{**one, "area_id": None} if one["area_id"] == AREAS[2] else one for one in cells]
    assert found(tmp_path, unknown, earlier=[past(tmp_path, cells)]) == []


def test_after_lost_rows_nothing_is_missed(tmp_path: Path) -> None:
    blocks = smooth()
    earlier = [past(tmp_path, sheet_of(blocks))]
    less = [one for one in sheet_of(blocks) if one["area_id"] != AREAS[2] and one["period"] != "2018-12-31"]
    for lost, expected in ((False, {"abdeckung", "zeitraum_entfallen"}), (True, set())):
        findings, path = Findings(), file_of(tmp_path, less)
        known = {"personen": measure("personen")}
        compare(path, source(), known, directory(), findings, earlier, {}, rows_lost=lost)
        assert findings.rules == expected


def test_figures_in_force_that_change_are_named_once_per_block(tmp_path: Path) -> None:
    blocks = smooth([2021, 2022], noise=0.02)
    earlier = [past(tmp_path, sheet_of(blocks))]
    changed = {year: block.copy() for year, block in blocks.items()}
    changed[2022][3] += 1
    changed[2022][7] += 500
    (failure,) = found(tmp_path, sheet_of(changed), earlier=earlier)
    was, now = (phrases.number(one[2022][7][0]) for one in (blocks, changed))
    assert (failure.rule, failure.severity) == ("revision", "warning")
    assert (failure.line, failure.last_line, failure.column) == (lines(blocks, 2022)[0] + 7, 0, 4)
    assert failure.message == (
        f"Zum 31.12.2022 ändern sich 2 von 30 bereits geltenden Zahlen, am stärksten Gebiet 08 von {was} auf {now} "
        "(»Personen«; bisher gilt quelle-0001)"
    )
    (failure,) = found(tmp_path, sheet_of({2022: blocks[2022] + 1}), earlier=earlier)
    assert "ändern sich 30 von 30" in failure.message
    assert place(failure) == (2, 31)
    assert found(tmp_path, sheet_of(changed), earlier=earlier, severity={"revision": "off"}) == []
    newer = [*earlier, past(tmp_path, sheet_of({2022: changed[2022]}), 2)]  # the slice in force counts
    assert found(tmp_path, sheet_of(changed), earlier=newer) == []


@pytest.mark.parametrize(
    ("before", "now", "gone"),
    [
        (YEARS, [y for y in YEARS if y != 2018], "31.12.2018"),  # a gap
        ([2021, 2022, 2023], [2021, 2023], "31.12.2022"),
        (YEARS, YEARS[:-1], "31.12.2023"),  # an older file again
        (YEARS, YEARS[4:], "4 Zeiten (31.12.2014 bis 31.12.2017)"),
        (YEARS[:-1], YEARS[1:], None),  # the last nine years each time
        ([2022], [2023], None),  # one year per file
        ([2023], [2019], None),
        ([2018, 2019], [2020, 2021], None),
        (YEARS[:5], YEARS, None),
    ],
)
def test_periods_that_are_gone(tmp_path: Path, before: list[int], now: list[int], gone: str | None) -> None:
    blocks = smooth()
    earlier = past(tmp_path, sheet_of({year: blocks[year] for year in before}))
    failures = found(tmp_path, sheet_of({year: blocks[year] for year in now}), earlier=[earlier])
    assert rules(failures) == ["zeitraum_entfallen"] * (gone is not None)
    if gone:
        assert gone in failures[0].message
        assert "anders als die vorige Lieferung quelle-0001" in failures[0].message


def test_a_new_area_is_noticed_unless_the_directory_announced_it(tmp_path: Path) -> None:
    blocks = {year: block[:29] for year, block in smooth().items()}
    cells = [*sheet_of(blocks), cell("personen", TOTAL, AREAS[29], 2023, 100)]
    (failure,) = found(tmp_path, cells)
    assert (failure.rule, failure.severity) == ("gebiet_neu", "warning")
    assert failure.message == "Auf der Ebene stadtteil kommt 1 Gebiet zum 31.12.2023 zum ersten Mal vor: Gebiet 30"
    announced = directory(HALVES, K_30=dt.date(2023, 1, 1))
    assert found(tmp_path, cells, areas=announced) == []
    earlier = past(tmp_path, [cell("personen", TOTAL, AREAS[29], 2013, 100)])
    assert found(tmp_path, cells, earlier=[earlier]) == []


def test_the_first_complete_period_brings_no_new_areas(tmp_path: Path) -> None:
    cells = [*sheet_of(smooth([2020])), cell("personen", TOTAL, AREAS[0], 2019, 100)]
    assert found(tmp_path, cells) == []


# ---------------------------------------------------------------- all of them


def spoilt(folder: Path) -> tuple[list[Cell], dict[str, Any]]:
    """A delivery that breaks every rule of comparison, and what it is to be compared with."""
    codes = ("insgesamt", "a", "b")
    parts = smooth(codes=2, seed=8)
    blocks = {y: np.column_stack([block.sum(axis=1), block]) for y, block in parts.items()}
    blocks[2016] = blocks[2015].copy()
    blocks[2019] = np.round(blocks[2019] * 1.1)
    for year in range(2020, 2024):
        blocks[year] = np.round(blocks[year] * 1.1)
    blocks[2022][3] *= 10
    blocks[2014][0][0] += 1
    cells = sheet_of(blocks, codes=codes)
    people, homes = households(range(2014, 2020))
    homes[2018][0] += homes[2017].sum() - homes[2018].sum()
    cells += sheet_of({**people, 2019: homes[2019]}, "leute") + sheet_of(
        {y: block for y, block in homes.items() if y != 2019}, "haushalte"
    )
    cells += [cell("personen", TOTAL, CITY, 2015, 1), cell("personen", TOTAL, AREAS[29], 2024, 77)]
    cells = [one for one in cells if one["area_id"] != AREAS[29] or one["reference_date"].year == 2024]
    old = [one for one in cells if one["area_id"] != AREAS[29]]
    old += [cell("haushalte", TOTAL, AREAS[28], 2013, 9), cell("haushalte", TOTAL, AREAS[28], 2019, 9)]
    old += [cell("haushalte", TOTAL, NORTH, 2017, 9)]
    left_out = ("leute", "K-05", "2015-12-31")
    less = [one for one in cells if (one["measure_id"], one["area_id"], one["period"]) != left_out]
    measures = (
        measure("personen", codes[1:], "delivered"),
        measure("leute"),
        measure("haushalte"),
        measure("einwohner"),
    )
    context = {
        "measures": measures,
        "earlier": [past(folder, old)],
        "others": {"andere": [other_source(folder, {2014: blocks[2014][:, :1] + 7})]},
        "agrees": [AGREES],
        "areas_add_up": [{"level": "stadtteil", "to": "stadt", "measures": ["personen"]}],
        "change": [{"measure": "personen", "percent": 100}],
    }
    return less, context


ALL_RULES = {
    "summe_der_teile",
    "summe_der_gebiete",
    "stimmt_mit_quelle",
    "block_wiederholt",
    "groesse_widerspricht",
    "veraenderung",
    "definition",
    "ausreisser",
    "abdeckung",
}


def test_many_defects_at_once_and_each_rule_can_be_switched_off(tmp_path: Path) -> None:
    cells, context = spoilt(tmp_path)
    everything = set(rules(found(tmp_path, cells, **context)))
    assert everything >= ALL_RULES
    half = sorted(everything)[::2]
    left = set(rules(found(tmp_path, cells, **context, severity=dict.fromkeys(half, "off"))))
    assert left.isdisjoint(half)
    assert left >= (everything & ALL_RULES) - set(half) - {"ausreisser", "definition"}  # these may find more or less
    assert found(tmp_path, cells, **context, severity=dict.fromkeys(RULES, "off")) == []


def test_severity_is_the_source_s_own(tmp_path: Path) -> None:
    blocks = smooth()
    blocks[2018] = blocks[2017]
    (failure,) = found(tmp_path, sheet_of(blocks), severity={"block_wiederholt": "warning"})
    assert failure.severity == "warning"


def test_a_large_delivery_is_judged_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells, context = spoilt(tmp_path)
    small = [(f.rule, f.message, f.line) for f in found(tmp_path, cells, **context)]
    monkeypatch.setattr(figures_module, "SMALL", 0)
    large = [(f.rule, f.message, f.line) for f in found(tmp_path, cells, **context)]
    assert large == small
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".neu-")]


def test_medians_from_a_sample_of_the_areas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_module, "SAMPLE", 15)
    blocks = smooth()
    assert found(tmp_path, sheet_of(blocks)) == []
    number = int(np.argmax(blocks[2018]))
    blocks[2018][number] *= 10
    blocks[2021] = blocks[2020]
    assert set(rules(found(tmp_path, sheet_of(blocks)))) == {"ausreisser", "block_wiederholt"}


def test_beyond_the_listed_findings_they_are_only_counted(tmp_path: Path) -> None:
    ids = [f"G-{number:04d}" for number in range(KEEP + 100)]
    areas = Directory(["stadtteil"], {a: area(a, "stadtteil", a) for a in ids}, [])
    row = dict(zip(SEXES, (31, 10, 20), strict=True))
    cells = [cell("personen", code, a, 2020, value) for a in ids for code, value in row.items()]
    findings = Findings()
    compare(file_of(tmp_path, cells), source(), {"personen": BY_SEX}, areas, findings, [], {})
    assert findings.count == KEEP + 100
    assert len(findings.kept) == KEEP


def test_nothing_to_compare(tmp_path: Path) -> None:
    assert found(tmp_path, []) == []
    assert found(tmp_path, sheet_of(smooth([2020]))) == []
    keyless = [{**one, "reference_date": None, "measure_id": None} for one in sheet_of(smooth([2020]))]
    assert found(tmp_path, keyless, earlier=[past(tmp_path, sheet_of(smooth([2020])))]) == []


def test_blocks_on_sheets_name_the_sheet(tmp_path: Path) -> None:
    blocks = smooth()
    blocks[2018] = blocks[2017]
    cells = [{**one, "sheet": one["period"][:4], "line": 5 + k % 30} for k, one in enumerate(sheet_of(blocks))]
    (failure,) = found(tmp_path, cells)
    assert (failure.sheet, *place(failure)) == ("2018", 5, 34)
    assert "(Blatt »2017«, Zeilen 5 bis 34, Spalte »insgesamt«)" in failure.message


# ---------------------------------------------------------------- properties

QUICK = settings(
    max_examples=200 if os.environ.get("SOAK") else 20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
Series = tuple[dict[int, np.ndarray], tuple[str, ...]]


@st.composite
def series(draw: Callable[..., Any]) -> Series:
    """Honest series of 2 to 12 years, 8 to 30 areas, 1 to 4 categories."""
    codes = draw(st.integers(1, 4))
    years = range(2000, 2000 + draw(st.integers(2, 12)))
    blocks = smooth(
        years,
        codes=codes,
        areas=draw(st.integers(8, 30)),
        seed=draw(st.integers(0, 10_000)),
        noise=draw(st.floats(0.003, 0.03)),
    )
    return blocks, tuple("abcd"[:codes])


@QUICK
@given(honest=series())
def test_honest_series_raise_no_error(tmp_path: Path, honest: Series) -> None:
    blocks, codes = honest
    failures = found(tmp_path, sheet_of(blocks, codes=codes), [measure("personen", codes, "summed")])
    assert [failure for failure in failures if failure.severity == "error"] == []


@QUICK
@given(honest=series(), data=st.data())
def test_a_block_over_another_period_is_always_found(tmp_path: Path, honest: Series, data: st.DataObject) -> None:
    blocks, codes = honest
    years = list(blocks)
    wrong, right = data.draw(st.permutations(years))[:2]
    block = blocks[right].copy()
    order = list(range(len(block)))
    if data.draw(st.booleans()):
        random.Random(data.draw(st.integers(0, 10_000))).shuffle(order)
    assume(not np.array_equal(blocks[wrong], block[order]))
    blocks[wrong] = block[order]
    failures = found(tmp_path, sheet_of(blocks, codes=codes), [measure("personen", codes, "summed")])
    repeated = [failure for failure in failures if failure.rule == "block_wiederholt"]
    assert len(repeated) == 1
    assert place(repeated[0]) in {lines(blocks, wrong), lines(blocks, right)}
    assert f"31.12.{wrong}" in repeated[0].message
    assert f"31.12.{right}" in repeated[0].message
    assert [failure.rule for failure in failures if failure.severity == "error"] == ["block_wiederholt"]


# ---------------------------------------------------------------- real files

RAW = "kiel_bevoelkerung_"
FILES = {
    "geschlecht": (f"{RAW}stadtteile_einwohner_geschlecht.csv", "Datum"),
    "alter": (f"{RAW}altersgruppen_stadtteile.csv", "Datum"),
    "familienstand": (f"{RAW}einwohner_nach_familienstand_in_den_stadtteilen.csv", "Jahr"),
    "religion": (f"{RAW}einwohner_nach_religionszugehoerigkeit_in_den_stadtteilen.csv", "Jahr"),
    "haushalte": (f"{RAW}haushalte_nach_haushaltstypen_und_personenanzahl_in_den_stadtteilen.csv", "Jahr"),
}
NOT_COUNTED = ["Land", "Stadt", "Kategorie", "Datum", "Jahr", "Merkmal", "Stadtteilnummer", "Stadtteil", "Stadtteile"]
SPELLINGS = {"Bluecherpatz": "Bluecherplatz", "Blücherplatz": "Bluecherplatz"}


def reading_of(frame: pd.DataFrame) -> list[Cell]:
    """A long frame (measure, category, name, date, value, line, column) as rows of a reading."""
    names = {name: AREAS[k] for k, name in enumerate(sorted(frame["name"].unique()))}
    assert len(names) == 30
    cells = []
    for row in frame.itertuples():
        date = parse_period(row.date, "stichtag", "12-31")
        one = cell(row.measure, row.category, names[row.name], 2000, row.value, line=row.line, column=row.column)
        one["reference_date"], one["period"] = date, period_key("stichtag", date) if date else None
        cells.append(one)
    return cells


@functools.cache
def raw_file(shared: Path, name: str) -> tuple[list[Cell], list[Measure]]:
    file, date = FILES[name]
    wide = pd.read_csv(shared / "kiel" / "raw" / file, sep=";", dtype=str, keep_default_na=False)
    wide.columns = wide.columns.str.strip()
    wide["line"] = range(2, len(wide) + 2)
    counted = [column for column in wide.columns if column not in [*NOT_COUNTED, "line"]]
    codes = {column: TOTAL if column == "insgesamt" else f"k{k}" for k, column in enumerate(counted)}
    long = wide.melt(id_vars=[c for c in wide.columns if c not in counted], value_vars=counted, var_name="heading")
    areas = long["Stadtteile" if "Stadtteile" in wide else "Stadtteil"]
    areas = areas.str.strip().str.replace("\x9d", "").replace(SPELLINGS).str.replace("len/", "len-")
    frame = pd.DataFrame(
        {
            "measure": long["Merkmal"].str.lower() if name == "haushalte" else name,
            "category": long["heading"].map(codes),
            "name": areas,
            "date": long[date],
            "value": pd.to_numeric(long["value"].str.replace(".", "")),
            "line": long["line"],
            "column": long["heading"].map({column: list(wide.columns).index(column) + 1 for column in counted}),
        }
    )
    parts = [code for code in codes.values() if code != TOTAL]
    total = "delivered" if TOTAL in codes.values() else "summed"
    return reading_of(frame), [measure(one, parts, total) for one in frame["measure"].unique()]


def population(shared: Path, folder: Path) -> Past:
    years = ("1988_2013", "2014_2023")
    tables = [pd.read_csv(shared / "kiel-figures" / f"bevoelkerung_stadtteile_{span}.csv") for span in years]
    table = pd.concat(tables).query("indicator == 'einwohner' and area_level == 'stadtteil'")
    frame = pd.DataFrame(
        {
            "measure": "einwohner",
            "category": TOTAL,
            "name": table["area_name"].map(ascii_name),
            "date": table["date"],
            "value": table["value"],
            "line": range(2, len(table) + 2),
            "column": 4,
        }
    )
    return past(folder, reading_of(frame), of="andere")


def ascii_name(name: str) -> str:
    for umlaut, plain in (("ü", "ue"), ("ö", "oe"), ("Ü", "Ue")):
        name = name.replace(umlaut, plain)
    return name.replace("Neumuehlen/", "Neumuehlen-")


def real(folder: Path, shared: Path, name: str, agreeing: bool = True) -> list[Failure]:
    cells, measures = raw_file(shared, name)
    counted = "personen" if name == "haushalte" else name
    categories = [TOTAL] if name == "geschlecht" else ["alle"]
    entry = {"measure": counted, "categories": categories, "source": "andere", "with_measure": "einwohner"}
    others = {"andere": [population(shared, folder)]} if agreeing else {}
    return found(folder, cells, [*measures, measure("einwohner")], others=others, agrees=[entry] if agreeing else [])


def said(failures: list[Failure]) -> list[tuple[str, int, int]]:
    return sorted((failure.rule, *place(failure)) for failure in failures)


def test_real_population_since_1988_and_religion_are_clean(tmp_path: Path, shared: Path) -> None:
    cells = pq.read_table(population(shared, tmp_path).path).to_pylist()
    assert found(tmp_path, cells, [measure("einwohner")]) == []
    assert real(tmp_path, shared, "religion") == []


@pytest.mark.parametrize("agreeing", [True, False])
def test_real_file_with_the_scrambled_block(tmp_path: Path, shared: Path, agreeing: bool) -> None:
    failures = real(tmp_path, shared, "geschlecht", agreeing)
    expected = [("block_wiederholt", 212, 241), ("stimmt_mit_quelle", 212, 241)]
    assert said(failures) == expected[: 1 + agreeing]
    scrambled = next(failure for failure in failures if failure.rule == "block_wiederholt")
    assert "zum 31.12.2017 (Zeilen 182 bis 211), dort bei anderen Gebieten" in scrambled.message
    assert "auch die Summe ist dieselbe (249.190)" in scrambled.message
    assert "andere Angaben zum 31.12.2016 (Zeilen 242 bis 271) haben die Summe 249.023" in scrambled.message


def test_real_file_dated_a_year_too_late(tmp_path: Path, shared: Path) -> None:
    (failure,) = real(tmp_path, shared, "familienstand")
    assert said([failure]) == [("stimmt_mit_quelle", 242, 271)]
    assert "Die Summe 242.340 ist die der Quelle »andere« zum 31.12.2014" in failure.message
    assert real(tmp_path, shared, "familienstand", agreeing=False) == []


def test_real_file_with_two_populations(tmp_path: Path, shared: Path) -> None:
    failures = real(tmp_path, shared, "alter")
    blocks = [("stimmt_mit_quelle", first, first + 29) for first in range(152, 300, 30)]
    assert said(failures) == sorted([("definition", 122, 151), *blocks])
    assert "im Mittel um -2,7 %" in next(f.message for f in failures if f.rule == "definition")
    assert all("In 30 von 30 Gebieten ist die Zahl höher" in f.message for f in failures if f.rule != "definition")
    assert said(real(tmp_path, shared, "alter", agreeing=False)) == [("definition", 122, 151)]


@pytest.mark.parametrize("agreeing", [True, False])
def test_real_file_with_copy_wrong_label_and_two_breaks(tmp_path: Path, shared: Path, agreeing: bool) -> None:
    failures = real(tmp_path, shared, "haushalte", agreeing)
    expected = [
        ("block_wiederholt", 182, 211),
        ("definition", 2, 31),
        ("definition", 152, 181),
        ("groesse_widerspricht", 122, 151),
    ]
    expected += [("stimmt_mit_quelle", 122, 151), ("stimmt_mit_quelle", 182, 211)] * agreeing
    assert said(failures) == expected
    by_rule = {failure.rule: failure.message for failure in failures}
    assert "zum 31.12.2018: alle 180 Zahlen sind dieselben wie zum 31.12.2017" in by_rule["block_wiederholt"]
    assert "die Summe ist 138.998" in by_rule["groesse_widerspricht"]
    assert "aus wie »Haushalte«" in by_rule["groesse_widerspricht"]
    shifts = " ".join(failure.message for failure in failures if failure.rule == "definition")
    assert "die Summe war 144.366 und ist 137.448" in shifts
    assert "die Summe war 140.177 und ist 144.335" in shifts
