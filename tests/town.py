"""A constructed town with small counts: six districts in two planning areas, counts by sex, population as whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import yaml

from tests.conftest import Quiet, create_project
from tests.test_history import put
from tests.test_marts import indicator, measure, source, text

CITY = "99999000"
WOMEN, MEN = [7, 1, 12, 9, 30, 8], [5, 6, 2, 11, 25, 9]
RESIDENTS = [2400, 4000, 3000, 900, 5000, 1200]
AREA_COLUMNS = "area_id,name,level,number,valid_from,valid_to,sort_key,aliases,source\n"
MEMBER_COLUMNS = "area_id,parent_id,valid_from,valid_to,weight,status,source\n"
LEVELS = ("bezirk", "bereich", "stadt")


def district(number: int) -> str:
    return f"{CITY}-BZ-{number}"


def planning_area(number: int) -> str:
    return f"{CITY}-BE-{number}"


def town(folder: Path, *, school_districts: bool = False, **disclosure: Any) -> Path:
    """A project folder without deliveries; `disclosure` goes into the YAML of the counts' source."""
    assert create_project(folder, Quiet()) == 0
    for path in (folder / "assets/beispiel/defs.yaml", folder / "data/raw/beispiel/beispiel.csv"):
        path.unlink()
    write_areas(folder, school_districts=school_districts)
    levels = [*LEVELS[:2], *(["schulbezirk"] if school_districts else []), "stadt"]
    write_topic(folder, topic(levels, disclosure))
    return folder


def write_areas(folder: Path, *, school_districts: bool) -> None:
    areas = [(CITY, "Musterstadt", "stadt", "")]
    areas += [(planning_area(n), f"Bereich {n}", "bereich", n) for n in (1, 2)]
    areas += [(district(n), f"Bezirk {n}", "bezirk", n) for n in range(1, 7)]
    members = [(district(n), planning_area(1 if n <= 3 else 2)) for n in range(1, 7)]
    members += [(planning_area(n), CITY) for n in (1, 2)]
    if school_districts:
        areas += [(f"{CITY}-SB-{n}", f"Schulbezirk {n}", "schulbezirk", n) for n in (1, 2)]
        members += [(district(n), f"{CITY}-SB-{1 if n <= 2 else 2}") for n in range(1, 7)]
        members += [(f"{CITY}-SB-{n}", CITY) for n in (1, 2)]
    rows = [f"{a},{name},{level},{number},,,{i},,konstruiert\n" for i, (a, name, level, number) in enumerate(areas)]
    (folder / "assets/areas/areas.csv").write_text(AREA_COLUMNS + "".join(rows), encoding="utf-8")
    rows = [f"{child},{parent},,,1,confirmed,konstruiert\n" for child, parent in members]
    (folder / "assets/areas/memberships.csv").write_text(MEMBER_COLUMNS + "".join(rows), encoding="utf-8")
    path = folder / "assets/areas/defs.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    names = [*LEVELS, *(["schulbezirk"] if school_districts else [])]
    document["attributes"]["levels"] = [
        {"id": name, "title": text(name.title()), "plural": text(name.title()), "sort_key": i}
        for i, name in enumerate(names)
    ]
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")


def topic(levels: list[str], disclosure: dict[str, Any]) -> list[dict[str, Any]]:
    columns = [("weiblich", "weiblich"), ("maennlich", "maennlich"), ("insgesamt", None)]
    values = [{"column": c, "measure": "hilfen", **({"category": code} if code else {})} for c, code in columns]
    categories = [{"id": code, "title": text(code)} for code in ("weiblich", "maennlich")]
    sums = {level: [{"rolled_up": "bezirk"}] for level in levels if level != "bezirk"}
    area = {"name": "Bezirk", "level": "bezirk"}
    period = {"column": "Zeit", "type": "stichtag"}
    return [
        source(
            "jugendamt",
            "stichtag",
            [],
            publication="internal",
            origin="open_data",
            disclosure=disclosure,
            layout={"area": area, "period": period, "values": values},
        ),
        source(
            "melderegister",
            "stichtag",
            ["einwohner"],
            publication="public_elsewhere",
            origin="open_data",
            address="https://example.org/einwohner",
        ),
        measure(
            "hilfen",
            "stichtag",
            "jugendamt",
            categories=categories,
            category_total="delivered",
            levels={"bezirk": ["jugendamt"], **sums},
        ),
        measure("einwohner", "stichtag", "melderegister", levels={"bezirk": ["melderegister"], **sums}),
        indicator(
            "hilfenanteil",
            "percent",
            numerator={"measure": "hilfen"},
            denominator={"measure": "einwohner"},
            levels=dict.fromkeys(levels, "counts"),
        ),
    ]


def write_topic(folder: Path, documents: list[dict[str, Any]]) -> None:
    path = folder / "assets/hilfen/defs.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False), encoding="utf-8")


def deliver(
    folder: Path,
    women: list[int] | None = None,
    men: list[int] | None = None,
    residents: list[int] | None = None,
    day: str = "31.12.2022",
    name: str = "lieferung.csv",
) -> None:
    """Counts and population of the six districts, one delivery each."""
    women, men, residents = women or WOMEN, men or MEN, residents or RESIDENTS
    rows = [f"Bezirk {n};{day};{f};{m};{f + m}\n" for n, (f, m) in enumerate(zip(women, men, strict=True), 1)]
    put(folder, "Bezirk;Zeit;weiblich;maennlich;insgesamt\n" + "".join(rows), name, "jugendamt")
    rows = [f"Bezirk {n};{day};{count}\n" for n, count in enumerate(residents, 1)]
    put(folder, "Bezirk;Zeit;einwohner\n" + "".join(rows), name, "melderegister")


def public(folder: Path, measure_id: str = "hilfen") -> dict[tuple[str, str], float | None]:
    """(category, area) -> value in the public marts; None if withheld or missing."""
    with duckdb.connect(str(folder / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        rows = con.execute(
            "SELECT category, area_id, value FROM mart.observation WHERE measure_id = ?", [measure_id]
        ).fetchall()
    return {(category, area): value for category, area, value in rows}
