"""From readings to the observation: which figure counts and what every sum is, against sums in plain Python."""

from __future__ import annotations

import datetime as dt
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.areas import Area, Directory, Membership
from pipelines.history import Delivery
from pipelines.intake.contract import READING
from pipelines.intake.run import SourceState, reading_path
from pipelines.paths import Paths
from pipelines.periods import period_key
from pipelines.project import Project
from pipelines.provenance.files import provenance_beside
from pipelines.rollup import Gap, build_observation
from schemas.documents import Measure, Source
from schemas.yaml_source import Parsed

SOAK = os.environ.get("SOAK") == "1"
STAR, GONE = "*", "-"
Y22, Y23 = dt.date(2022, 12, 31), dt.date(2023, 12, 31)
Figure = tuple[Any, ...]
"""(measure, category, area, date, value or STAR or GONE)"""


@dataclass
class World:
    """A small city described in Python, with readings that need no file."""

    folder: Path
    areas: list[Area]
    memberships: list[Membership]
    measures: list[Measure]
    sources: dict[str, str] = field(default_factory=dict)
    """source -> period type"""

    def project(self) -> Project:
        documents: list[Any] = [*self.measures]
        for name, period_type in self.sources.items():
            delivered = [m.id for m in self.measures if not m.formed]
            documents.append(a_source(name, period_type, delivered))
        levels = list(dict.fromkeys(a.level for a in self.areas))
        directory = Directory(levels, {a.area_id: a for a in self.areas}, self.memberships)
        return Project(Paths.of(self.folder), [Parsed("x", d, {}) for d in documents], directory)

    def observe(self, *deliveries: tuple[str, Sequence[Figure]], shuffle: int | None = None) -> Observed:
        """Deliveries in the order of receipt: (source, figures)."""
        project = self.project()
        states = {name: SourceState(project.sources[name], []) for name in self.sources}
        for seq, (name, figures) in enumerate(deliveries, 1):
            received = f"2026-01-{seq:02d}T03:00:00+00:00"
            delivery = Delivery(
                name, seq, f"{seq:064x}", f"{seq}.csv", received, seq, self.folder, "accepted", (), "r" * 64
            )
            states[name].deliveries.append(delivery)
            rows = [self._row(project, name, *figure) for figure in figures]
            if shuffle is not None:
                random.Random(shuffle).shuffle(rows)
            path = reading_path(project, delivery, "r" * 64)
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.Table.from_pylist(rows, READING), path)
        target = self.folder / "beobachtung.parquet"
        gaps = build_observation(project, states, target)
        return Observed(pq.read_table(target).to_pylist(), gaps, target)

    def _row(
        self,
        project: Project,
        source: str,
        measure: str,
        category: str,
        area: str,
        date: dt.date,
        value: Any,
        origin: str = "published",
    ) -> dict[str, Any]:
        period_type = self.sources[source]
        return dict.fromkeys(READING.names) | {
            "measure_id": measure,
            "category": category,
            "area_id": area,
            "area_level": project.directory.areas[area].level,
            "period_type": period_type,
            "reference_date": date,
            "period": period_key(period_type, date),
            "value": None if value in (STAR, GONE) else float(value),
            "status": {STAR: "suppressed", GONE: "missing"}.get(value, "value"),
            "origin": origin,
        }


@dataclass
class Observed:
    rows: list[dict[str, Any]]
    gaps: list[Gap]
    file: Path

    def one(self, area: str, date: dt.date = Y22, measure: str = "m", category: str = "insgesamt") -> dict[str, Any]:
        found = [
            r
            for r in self.rows
            if (r["area_id"], r["reference_date"], r["measure_id"], r["category"]) == (area, date, measure, category)
        ]
        assert len(found) == 1, found
        return found[0]

    def parts(self, area: str, date: dt.date = Y22, measure: str = "m") -> set[tuple[Any, ...]]:
        """(measure, category, area, year, weight, kind) of the figures that a sum was made of."""
        rows = pq.read_table(provenance_beside(self.file)["figure_part"]).to_pylist()
        return {
            (
                *(r["part_measure_id"], r["part_category"], r["part_area_id"], r["part_reference_date"].year),
                *(r["weight"], r["kind"]),
            )
            for r in rows
            if (r["area_id"], r["reference_date"], r["measure_id"]) == (area, date, measure)
        }

    def places(self, measure: str = "m") -> set[tuple[str, dt.date]]:
        return {(r["area_id"], r["reference_date"]) for r in self.rows if r["measure_id"] == measure}

    def value(self, area: str, date: dt.date = Y22, measure: str = "m", category: str = "insgesamt") -> Any:
        return self.one(area, date, measure, category)["value"]


def a_source(name: str, period_type: str, measures: list[str]) -> Source:
    return Source.model_validate(
        {
            "id": name,
            "title": {"de": name},
            "description": {"de": name},
            "publisher": "x",
            "owner": "team:x",
            "licence": "CC0-1.0",
            "origin": "constructed",
            "publication": "constructed",
            "due": "none",
            "layout": {
                "area": {"id": "Gebiet", "level": "teil"},
                "period": {"column": "Zeit", "type": period_type},
                "values": [{"column": m, "measure": m} for m in measures],
            },
        }
    )


def a_measure(name: str = "m", levels: dict[str, Any] | None = None, **more: Any) -> Measure:
    attributes = {
        "id": name,
        "title": {"de": name},
        "unit": "persons",
        "kind": "count",
        "family": "f",
        "period_type": "stichtag",
    }
    if levels is not None:
        attributes["levels"] = levels
    return Measure.model_validate(attributes | more)


def areas(level: str, *names: str, start: dt.date | None = None, end: dt.date | None = None) -> list[Area]:
    return [Area(name, name, level, "", start, end, 0) for name in names]


def within(parent: str, *names: str, weight: float = 1.0, start: Any = None, end: Any = None) -> list[Membership]:
    return [Membership(name, parent, start, end, weight, "confirmed") for name in names]


UP = {"teil": ["s"], "bezirk": ["s", {"rolled_up": "teil"}], "stadt": ["s", {"rolled_up": "bezirk"}]}


def town(folder: Path, **more: Any) -> World:
    """Parts A B C in district P and D in district Q; both in the city."""
    return World(
        folder,
        areas("teil", "A", "B", "C", "D") + areas("bezirk", "P", "Q") + areas("stadt", "T"),
        within("P", "A", "B", "C") + within("Q", "D") + within("T", "P", "Q"),
        more.pop("measures", [a_measure(levels=UP, **more.pop("measure", {}))]),
        more.pop("sources", {"s": "stichtag"}),
    )


def figures(
    values: dict[str, Any], date: dt.date = Y22, measure: str = "m", category: str = "insgesamt"
) -> list[Figure]:
    return [(measure, category, area, date, value) for area, value in values.items()]


# ---------------------------------------------------------------- sums over areas


def test_sums_go_up_level_by_level(tmp_path: Path) -> None:
    seen = town(tmp_path).observe(("s", figures({"A": 1, "B": 20, "C": 300, "D": 4000})))
    assert (seen.value("P"), seen.value("Q"), seen.value("T")) == (321, 4000, 4321)
    assert {seen.one(a)["method"] for a in "ABCD"} == {"delivered"}
    assert {seen.one(a)["method"] for a in "PQT"} == {"rolled_up"}
    assert {seen.one(a)["obs_status"] for a in "ABCDPQT"} == {"A"}


def test_withheld_part_withholds_the_sum_with_its_reason_all_the_way_up(tmp_path: Path) -> None:
    seen = town(tmp_path).observe(("s", figures({"A": 1, "B": STAR, "C": 300, "D": 4000})))
    for area in ("B", "P", "T"):
        row = seen.one(area)
        found = [row[c] for c in ("value", "obs_status", "conf_status", "is_suppressed", "suppression_reason")]
        assert found == [None, "Q", "C", True, "confidential"], area
    assert seen.value("Q") == 4000


@pytest.mark.parametrize("absent", ["declared missing", "no row"])
def test_missing_part_makes_the_sum_missing(tmp_path: Path, absent: str) -> None:
    values = {"A": 1, "B": GONE, "C": 300, "D": 4000}
    if absent == "no row":
        del values["B"]
    seen = town(tmp_path).observe(("s", figures(values)))
    for area in ("P", "T"):
        row = seen.one(area)
        found = [row[c] for c in ("value", "obs_status", "conf_status", "is_suppressed", "suppression_reason")]
        assert found == [None, "O", "F", False, "missing_source"], area


def test_withheld_and_missing_together_are_withheld(tmp_path: Path) -> None:
    seen = town(tmp_path).observe(("s", figures({"A": STAR, "B": GONE, "C": 3})))
    assert seen.one("P")["obs_status"] == "Q"
    assert ("Q", Y22) not in seen.places()  # nothing at all is known below Q: no row, not a zero


def test_zero_is_a_figure(tmp_path: Path) -> None:
    seen = town(tmp_path).observe(("s", figures({"A": 0, "B": 0, "C": 0, "D": 0})))
    assert (seen.value("P"), seen.one("P")["obs_status"]) == (0, "A")


def test_delivered_total_is_never_replaced_by_a_sum(tmp_path: Path) -> None:
    given_figures = figures({"A": 1, "B": 2, "C": 3, "D": 4, "P": 7})
    seen = town(tmp_path).observe(("s", given_figures))
    assert (seen.value("P"), seen.one("P")["method"]) == (7, "delivered")
    assert seen.value("T") == 11  # the delivered total counts upwards too
    assert seen.gaps == [Gap("m", "insgesamt", "P", "2022-12-31", 7, 6)]


def test_starred_total_is_not_filled_from_its_parts(tmp_path: Path) -> None:
    seen = town(tmp_path).observe(("s", figures({"A": 1, "B": 2, "C": 3, "P": STAR})))
    assert (seen.value("P"), seen.one("P")["obs_status"]) == (None, "Q")
    assert seen.gaps == []


def test_star_is_not_filled_by_subtraction_where_the_total_is_known(tmp_path: Path) -> None:
    seen = town(tmp_path).observe(("s", figures({"A": 1, "B": STAR, "C": 3, "P": 9})))
    assert seen.value("B") is None
    assert seen.value("P") == 9


@pytest.mark.parametrize(("delivered", "gaps"), [(4, 1), (5, 0), (6, 0), (7, 0), (8, 1)])
def test_gap_only_beyond_the_declared_tolerance(tmp_path: Path, delivered: int, gaps: int) -> None:
    world = town(tmp_path, measure={"tolerance": 1})
    seen = world.observe(("s", figures({"A": 1, "B": 2, "C": 3, "P": delivered})))
    assert len(seen.gaps) == gaps
    assert seen.value("P") == delivered


def test_level_that_is_not_declared_gets_no_sum(tmp_path: Path) -> None:
    world = town(tmp_path, measures=[a_measure(levels={"teil": ["s"], "bezirk": [{"rolled_up": "teil"}]})])
    seen = world.observe(("s", figures({"A": 1, "B": 2, "C": 3, "D": 4})))
    assert {a for a, _ in seen.places()} == set("ABCDPQ")


def test_sum_may_skip_a_level(tmp_path: Path) -> None:
    world = town(tmp_path, measures=[a_measure(levels={"teil": ["s"], "stadt": [{"rolled_up": "teil"}]})])
    assert world.observe(("s", figures({"A": 1, "B": 2, "C": 3, "D": 4}))).value("T") == 10


# ---------------------------------------------------------------- weights, several hierarchies, validity


def halved(folder: Path) -> World:
    """Part M belongs to P and Q by three tenths and seven tenths."""
    return World(
        folder,
        areas("teil", "A", "M", "D") + areas("bezirk", "P", "Q") + areas("stadt", "T"),
        within("P", "A")
        + within("P", "M", weight=0.3)
        + within("Q", "M", weight=0.7)
        + within("Q", "D")
        + within("T", "P", "Q"),
        [a_measure(levels={**UP, "stadt": [{"rolled_up": "teil"}]})],
        {"s": "stichtag"},
    )


def test_weight_below_one_is_an_estimate(tmp_path: Path) -> None:
    seen = halved(tmp_path).observe(("s", figures({"A": 100, "M": 50, "D": 1000})))
    assert seen.value("P") == pytest.approx(115)
    assert seen.value("Q") == pytest.approx(1035)
    for area in "PQ":
        assert (seen.one(area)["obs_status"], seen.one(area)["method"]) == ("E", "estimated")


def test_parts_of_a_split_area_that_meet_again_are_no_estimate(tmp_path: Path) -> None:
    seen = halved(tmp_path).observe(("s", figures({"A": 100, "M": 50, "D": 1000})))
    assert (seen.value("T"), seen.one("T")["obs_status"], seen.one("T")["method"]) == (1150, "A", "rolled_up")


def test_estimate_stays_an_estimate_further_up(tmp_path: Path) -> None:
    world = halved(tmp_path)
    world.measures = [a_measure(levels=UP)]
    seen = world.observe(("s", figures({"A": 100, "M": 50, "D": 1000})))
    assert seen.value("T") == pytest.approx(1150)
    assert (seen.one("T")["obs_status"], seen.one("T")["method"]) == ("E", "estimated")


def test_every_sum_names_the_figures_it_was_made_of(tmp_path: Path) -> None:
    seen = halved(tmp_path).observe(("s", figures({"A": 100, "M": 50, "D": 1000})))
    whole = ("m", "insgesamt", "A", 2022, 1.0, "areas")
    assert seen.parts("P") == {whole, ("m", "insgesamt", "M", 2022, 0.3, "areas")}
    assert seen.parts("T") == {("m", "insgesamt", part, 2022, 1.0, "areas") for part in "AMD"}
    assert seen.parts("A") == set()


def test_sum_names_parts_without_value_and_none_that_do_not_exist(tmp_path: Path) -> None:
    seen = town(tmp_path).observe(("s", figures({"A": 1, "B": STAR, "D": 4})))
    assert {part[2] for part in seen.parts("P")} == {"A", "B"}
    assert {part[2] for part in seen.parts("T")} == {"P", "Q"}


def test_two_hierarchies_to_the_same_area_do_not_count_twice(tmp_path: Path) -> None:
    """Districts and school catchments both lead to the city, and one part is listed below the city itself, too."""
    world = World(
        tmp_path,
        areas("teil", "A", "B") + areas("bezirk", "P") + areas("schule", "S") + areas("stadt", "T"),
        within("P", "A", "B") + within("S", "A", "B") + within("T", "P", "S", "A") + within("S", "P", weight=0.5),
        [a_measure(levels={"teil": ["s"], "stadt": [{"rolled_up": "teil"}]})],
        {"s": "stichtag"},
    )
    seen = world.observe(("s", figures({"A": 1, "B": 2})))
    assert (seen.value("T"), seen.one("T")["method"]) == (3, "rolled_up")


def test_share_of_an_area_outside_stays_outside(tmp_path: Path) -> None:
    """Six tenths of A lie in the region, by either of two hierarchies."""
    world = World(
        tmp_path,
        areas("teil", "A") + areas("bezirk", "P") + areas("schule", "S") + areas("stadt", "T"),
        within("P", "A", weight=0.6) + within("S", "A", weight=0.6) + within("T", "P", "S"),
        [a_measure(levels={"teil": ["s"], "stadt": [{"rolled_up": "teil"}]})],
        {"s": "stichtag"},
    )
    seen = world.observe(("s", figures({"A": 100})))
    assert seen.value("T") == pytest.approx(60)
    assert seen.one("T")["method"] == "estimated"


def test_membership_counts_while_it_is_valid(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        areas("teil", "A", "B") + areas("bezirk", "P", "Q"),
        within("P", "A") + within("P", "B", end=dt.date(2022, 12, 31)) + within("Q", "B", start=dt.date(2023, 1, 1)),
        [a_measure(levels={"teil": ["s"], "bezirk": [{"rolled_up": "teil"}]})],
        {"s": "stichtag"},
    )
    seen = world.observe(("s", figures({"A": 1, "B": 10}) + figures({"A": 2, "B": 20}, Y23)))
    assert (seen.value("P", Y22), seen.value("P", Y23), seen.value("Q", Y23)) == (11, 2, 20)
    assert ("Q", Y22) not in seen.places()


def test_area_is_part_of_a_sum_only_while_it_exists(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        areas("teil", "A")
        + areas("teil", "B", end=dt.date(2022, 12, 31))
        + areas("teil", "B@2023", start=dt.date(2023, 1, 1))
        + areas("bezirk", "P"),
        within("P", "A", "B", "B@2023"),
        [a_measure(levels={"teil": ["s"], "bezirk": [{"rolled_up": "teil"}]})],
        {"s": "stichtag"},
    )
    seen = world.observe(("s", figures({"A": 1, "B": 10}) + figures({"A": 2, "B@2023": 20}, Y23)))
    assert (seen.value("P", Y22), seen.value("P", Y23)) == (11, 22)


def test_way_up_is_valid_only_while_the_area_between_exists(tmp_path: Path) -> None:
    world = World(
        tmp_path,
        areas("teil", "A", "B") + areas("bezirk", "P", end=dt.date(2022, 12, 31)) + areas("stadt", "T"),
        within("P", "A", "B") + within("T", "P"),
        [a_measure(levels={"teil": ["s"], "stadt": [{"rolled_up": "teil"}]})],
        {"s": "stichtag"},
    )
    seen = world.observe(("s", figures({"A": 1, "B": 10}) + figures({"A": 2, "B": 20}, Y23)))
    assert seen.value("T") == 11
    assert ("T", Y23) not in seen.places()


# ---------------------------------------------------------------- sources, slices, origins


def test_first_source_in_the_order_of_preference_supplies_the_slice(tmp_path: Path) -> None:
    world = town(
        tmp_path,
        measures=[a_measure(levels={"teil": ["amt", "s"]})],
        sources={"s": "stichtag", "amt": "stichtag"},
    )
    seen = world.observe(
        ("amt", figures({"A": 1, "B": 2})),
        ("s", figures({"A": 100, "B": 200, "C": 300}) + figures({"A": 101}, Y23)),
    )
    assert (seen.value("A"), seen.value("B")) == (1, 2)
    assert ("C", Y22) not in seen.places()  # a slice is never mixed from two sources
    assert seen.value("A", Y23) == 101  # where the first has nothing, the next one serves


def test_preferred_source_counts_even_where_it_is_starred(tmp_path: Path) -> None:
    world = town(
        tmp_path, measures=[a_measure(levels={"teil": ["amt", "s"]})], sources={"s": "stichtag", "amt": "stichtag"}
    )
    seen = world.observe(("s", figures({"A": 100})), ("amt", figures({"A": STAR})))
    assert (seen.value("A"), seen.one("A")["obs_status"]) == (None, "Q")


def test_source_that_no_level_names_does_not_count(tmp_path: Path) -> None:
    world = town(tmp_path, sources={"s": "stichtag", "fremd": "stichtag"})
    seen = world.observe(("fremd", figures({"A": 1, "B": 2, "C": 3})))
    assert seen.rows == []


def test_newest_delivery_supplies_the_slice_of_measure_period_and_level(tmp_path: Path) -> None:
    world = town(tmp_path, measures=[a_measure(levels=UP), a_measure("n", levels=UP)])
    first = figures({"A": 1, "B": 2, "C": 3, "P": 6}) + figures({"A": 5}, Y23) + figures({"A": 9}, measure="n")
    seen = world.observe(("s", first), ("s", figures({"A": 10, "B": 20})))
    assert (seen.value("A"), seen.value("B")) == (10, 20)
    assert ("C", Y22) not in seen.places()  # dropped, not inherited
    assert seen.value("P") == 6  # another level
    assert seen.value("A", Y23) == 5  # another period
    assert seen.value("A", measure="n") == 9  # another measure
    assert seen.one("A")["delivery_ids"] == "s-0002"
    assert seen.one("P")["delivery_ids"] == "s-0001"


def test_supersession_takes_all_categories_together(tmp_path: Path) -> None:
    split = a_measure(
        levels={"teil": ["s"]},
        categories=[{"id": "x", "title": {"de": "x"}}, {"id": "y", "title": {"de": "y"}}],
        category_total="delivered",
    )
    world = town(tmp_path, measures=[split])
    seen = world.observe(
        ("s", figures({"A": 1}, category="x") + figures({"A": 2}, category="y") + figures({"A": 3})),
        ("s", figures({"A": 7}, category="x")),
    )
    assert {r["category"]: r["value"] for r in seen.rows} == {"x": 7}


def test_sum_has_the_weakest_origin_the_newest_date_and_all_deliveries(tmp_path: Path) -> None:
    world = town(tmp_path, sources={"s": "stichtag", "b": "stichtag"})
    world.measures = [a_measure(levels={"teil": ["s"], "bezirk": ["b", {"rolled_up": "teil"}], "stadt": UP["stadt"]})]
    seen = world.observe(
        (
            "s",
            [
                ("m", "insgesamt", a, Y22, 1, o)
                for a, o in zip("ABC", ["published", "inferred", "open_data"], strict=True)
            ],
        ),
        ("b", [("m", "insgesamt", "Q", Y22, 4, "secondary")]),
    )
    assert [seen.one("P")[c] for c in ("origin", "data_as_of", "delivery_ids")] == [
        "inferred",
        dt.date(2026, 1, 1),
        "s-0001",
    ]
    row = seen.one("T")
    assert [row[c] for c in ("value", "origin", "data_as_of", "delivery_ids")] == [
        7,
        "inferred",
        dt.date(2026, 1, 2),
        "b-0002;s-0001",
    ]


def test_rates_are_delivered_and_never_summed(tmp_path: Path) -> None:
    rate = a_measure(levels={"teil": ["s"], "bezirk": ["s"]}, kind="rate", unit="percent")
    seen = town(tmp_path, measures=[rate]).observe(("s", figures({"A": 10.5, "B": 20.5, "C": 30, "Q": 5})))
    assert {a for a, _ in seen.places()} == {"A", "B", "C", "Q"}
    for refused in ({"levels": UP}, {"formed": {"measure": "m"}}):
        with pytest.raises(ValueError, match="Quoten werden nie summiert"):
            a_measure(kind="rate", unit="percent", **refused)


def test_period_types_stay_apart(tmp_path: Path) -> None:
    """A calendar year and a reference date end on the same day; they are two figures."""
    world = town(
        tmp_path,
        measures=[
            a_measure(levels=UP),
            a_measure(
                "jahr",
                levels={k: ["j" if f == "s" else f for f in v] for k, v in UP.items()},
                period_type="kalenderjahr",
            ),
        ],
        sources={"s": "stichtag", "j": "kalenderjahr"},
    )
    seen = world.observe(
        ("s", figures({"A": 1, "B": 2, "C": 3})), ("j", figures({"A": 10, "B": 20, "C": 30}, measure="jahr"))
    )
    assert seen.value("P") == 6
    assert seen.value("P", measure="jahr") == 60
    assert (seen.one("P")["period"], seen.one("P", measure="jahr")["period"]) == ("2022-12-31", "2022")


# ---------------------------------------------------------------- categories and years


SPLIT = {"categories": [{"id": c, "title": {"de": c}} for c in "xyz"], "category_total": "summed"}


def split_figures(area: str, x: Any, y: Any, z: Any, date: dt.date = Y22) -> list[Figure]:
    return [("m", c, area, date, v) for c, v in zip("xyz", (x, y, z), strict=True) if v is not None]


@pytest.mark.parametrize(
    ("x", "y", "z", "expected"),
    [
        (1, 2, 3, (6, "A", None)),
        (1, STAR, 3, (None, "Q", "confidential")),
        (1, GONE, 3, (None, "O", "missing_source")),
        (1, None, 3, (None, "O", "missing_source")),
        (0, 0, 0, (0, "A", None)),
    ],
)
def test_total_over_categories(tmp_path: Path, x: Any, y: Any, z: Any, expected: tuple[Any, ...]) -> None:
    world = town(tmp_path, measure=SPLIT)
    figures_of_all = [f for a in "ABC" for f in split_figures(a, x, y, z)]
    seen = world.observe(("s", figures_of_all))
    row = seen.one("A")
    assert (row["value"], row["obs_status"], row["suppression_reason"]) == expected
    above = seen.one("P")
    threefold = None if expected[0] is None else 3 * expected[0]
    assert (above["value"], above["obs_status"], above["suppression_reason"]) == (threefold, *expected[1:])
    assert seen.value("P", category="x") == 3 * x


def test_delivered_total_of_categories_stays(tmp_path: Path) -> None:
    seen = town(tmp_path, measure=SPLIT).observe(("s", [*split_figures("A", 1, 2, 3), *figures({"A": 7})]))
    assert seen.value("A") == 7


def test_measure_formed_from_categories(tmp_path: Path) -> None:
    formed = a_measure("xy", formed={"measure": "m", "categories": ["x", "y"]})
    world = town(tmp_path, measures=[a_measure(levels=UP, **SPLIT), formed])
    seen = world.observe(
        ("s", [*split_figures("A", 1, 2, 900), *split_figures("B", 4, STAR, 0), *split_figures("C", 5, None, 1)])
    )
    assert seen.value("A", measure="xy") == 3
    assert seen.one("B", measure="xy")["obs_status"] == "Q"
    assert seen.one("C", measure="xy")["obs_status"] == "O"
    assert seen.one("P", measure="xy")["obs_status"] == "Q"


def test_measures_added_up_in_batches_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every family of measures by itself: one delivery then supplies several batches, each a part of it."""
    formed = a_measure("a_drei", formed={"measure": "m", "categories": ["x", "y"]})
    measures = [a_measure(levels=UP, **SPLIT), formed, a_measure("k", levels=UP), a_measure("z", levels=UP)]
    world = town(tmp_path, measures=measures)
    old = [(name, "insgesamt", area, Y22, value) for name in "kz" for area, value in {"A": 1, "B": 2, "C": 3}.items()]
    new = [("z", "insgesamt", area, Y22, value) for area, value in {"A": 10, "B": STAR, "C": 30}.items()]
    given_figures = [*old, *split_figures("A", 1, 2, 900), *split_figures("B", 4, STAR, 0)]
    at_once = world.observe(("s", given_figures), ("s", new))
    files = [at_once.file, *provenance_beside(at_once.file).values()]
    before = [pq.read_table(file).to_pylist() for file in files]
    monkeypatch.setattr("pipelines.rollup.FIGURES_PER_BATCH", 1)
    in_batches = world.observe(("s", given_figures), ("s", new))
    assert in_batches.gaps == at_once.gaps
    for file, rows in zip(files, before, strict=True):
        after = pq.read_table(file).to_pylist()
        assert len(rows) > 4 and sorted(map(repr, after)) == sorted(map(repr, rows))
    assert in_batches.value("A", measure="z") == 10 and in_batches.value("A", measure="k") == 1


def school_town(folder: Path, categories: Sequence[str] = ("insgesamt",), periods: int = 3) -> World:
    base = a_measure(levels=UP, period_type="schuljahr", **(SPLIT if categories != ("insgesamt",) else {}))
    formed = a_measure(
        "drei", formed={"measure": "m", "categories": list(categories), "periods": periods}, period_type="schuljahr"
    )
    return town(folder, measures=[base, formed], sources={"s": "schuljahr"})


def summer(year: int) -> dt.date:
    return dt.date(year, 7, 31)


def test_three_year_sums_end_with_the_year_they_name(tmp_path: Path) -> None:
    given_figures = [f for i, year in enumerate(range(2018, 2023)) for f in figures({"A": 10**i}, summer(year))]
    seen = school_town(tmp_path).observe(("s", given_figures))
    assert {d.year: seen.value("A", d, "drei") for a, d in seen.places("drei") if a == "A"} == {
        2020: 111,
        2021: 1110,
        2022: 11100,
    }
    assert seen.one("A", summer(2020), "drei")["period"] == "2019-20"
    assert {r["measure_id"] for r in seen.rows} == {"m", "drei"}  # no trace of the steps between


@pytest.mark.parametrize(("middle", "status"), [(STAR, "Q"), (GONE, "O")])
def test_three_year_sum_with_a_year_without_value_has_none(tmp_path: Path, middle: str, status: str) -> None:
    values = {2018: 1, 2019: middle, 2020: 3, 2021: 4, 2022: 5}
    given_figures = [f for year, v in values.items() for f in figures({"A": v}, summer(year))]
    seen = school_town(tmp_path).observe(("s", given_figures))
    found = {
        d.year: (seen.value("A", d, "drei"), seen.one("A", d, "drei")["obs_status"])
        for a, d in seen.places("drei")
        if a == "A"
    }
    assert found == {2020: (None, status), 2021: (None, status), 2022: (12, "A")}


def test_three_year_sum_over_a_gap_does_not_exist(tmp_path: Path) -> None:
    given_figures = [f for year in (2016, 2017, 2019, 2020, 2021) for f in figures({"A": 1}, summer(year))]
    seen = school_town(tmp_path).observe(("s", given_figures))
    assert {d.year for _, d in seen.places("drei")} == {2021}


def test_three_year_sum_of_some_categories(tmp_path: Path) -> None:
    given_figures = [f for year in (2020, 2021, 2022) for f in split_figures("A", 1, 2, 4, summer(year))]
    seen = school_town(tmp_path, ["x", "z"]).observe(("s", given_figures))
    assert seen.value("A", summer(2022), "drei") == 15
    assert seen.parts("A", summer(2022), "drei") == {
        ("m", category, "A", year, 1.0, "periods") for category in "xz" for year in (2020, 2021, 2022)
    }


def test_years_are_a_year_apart_even_if_other_days_lie_between(tmp_path: Path) -> None:
    formed = a_measure("drei", formed={"measure": "m", "periods": 3})
    world = town(tmp_path, measures=[a_measure(levels={"teil": ["s"]}), formed])
    days = [dt.date(y, m, d) for y in (2020, 2021, 2022) for m, d in ((6, 30), (12, 31))]
    seen = world.observe(("s", [f for i, day in enumerate(days) for f in figures({"A": 10**i}, day)]))
    assert {d: seen.value("A", d, "drei") for _, d in seen.places("drei")} == {
        dt.date(2022, 6, 30): 10101,
        dt.date(2022, 12, 31): 101010,
    }


def test_origin_and_deliveries_of_a_three_year_sum_come_from_all_years(tmp_path: Path) -> None:
    world = school_town(tmp_path)
    seen = world.observe(
        ("s", [("m", "insgesamt", "A", summer(2020), 1, "published")]),
        ("s", [("m", "insgesamt", "A", summer(2021), 1, "constructed")]),
        ("s", [("m", "insgesamt", "A", summer(2022), 1, "open_data")]),
    )
    row = seen.one("A", summer(2022), "drei")
    assert [row[c] for c in ("origin", "delivery_ids", "data_as_of")] == [
        "constructed",
        "s-0001;s-0002;s-0003",
        dt.date(2026, 1, 3),
    ]


# ---------------------------------------------------------------- nothing, and everything at random


def test_no_deliveries_give_an_empty_observation(tmp_path: Path) -> None:
    seen = town(tmp_path).observe()
    assert seen.rows == []
    assert "delivery_ids" in pq.read_schema(seen.file).names


def test_folder_names_with_wildcards_are_only_names(tmp_path: Path) -> None:
    folder = tmp_path / "Stand [neu] *" / "was?"
    folder.mkdir(parents=True)
    assert town(folder).observe(("s", figures({"A": 1, "B": 2, "C": 3}))).value("P") == 6


cell = st.one_of(st.integers(0, 30), st.just(STAR), st.just(GONE), st.none())


@st.composite
def cities(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, int], dict[tuple[str, dt.date], Any]]:
    """Parts and their districts, weights in tenths, and figures of parts, districts and city for two years."""
    parts = [f"T{i}" for i in range(draw(st.integers(1, 6)))]
    parents = {part: draw(st.sampled_from(["P", "Q", "R"])) for part in parts}
    tenths = {part: draw(st.sampled_from([10, 10, 10, 3])) for part in parts}
    given_cells = {}
    for date in (Y22, Y23):
        for area in parts:
            given_cells[area, date] = draw(cell)
        for area in ("P", "Q", "R", "T"):
            given_cells[area, date] = draw(st.one_of(st.none(), st.none(), cell))
    return parents, tenths, {k: v for k, v in given_cells.items() if v is not None}


def expected_sum(parts: Iterable[tuple[Any, Fraction]]) -> tuple[Any, str]:
    """Sum of (figure, weight) in plain Python; None = no row at all."""
    listed = list(parts)
    if all(figure is None for figure, _ in listed):
        return None, ""
    values = [figure[0] if figure is not None else GONE for figure, _ in listed]
    if STAR in values:
        return STAR, "Q"
    if GONE in values:
        return GONE, "O"
    estimated = any(w < 1 or figure[1] == "E" for figure, w in listed)
    return sum(Fraction(v) * w for v, (_, w) in zip(values, listed, strict=True)), "E" if estimated else "A"


@pytest.mark.soak
@settings(max_examples=300 if SOAK else 12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cities(), st.integers(0, 1000))
def test_any_hierarchy_equals_an_independent_roll_up(tmp_path: Path, city: Any, seed: int) -> None:
    parents, tenths, given_cells = city
    weights = {part: Fraction(t, 10) for part, t in tenths.items()}
    status = {STAR: "Q", GONE: "O"}
    expected: dict[tuple[str, dt.date], tuple[Any, str]] = {
        key: (value, status.get(value, "A")) for key, value in given_cells.items()
    }
    for date in (Y22, Y23):
        for parent in sorted(set(parents.values())):
            below = [(expected.get((p, date)), weights[p]) for p in parents if parents[p] == parent]
            figure = expected_sum(below)
            if figure[0] is not None:
                expected.setdefault((parent, date), figure)
        figure = expected_sum((expected.get((p, date)), Fraction(1)) for p in ("P", "Q", "R"))
        if figure[0] is not None:
            expected.setdefault(("T", date), figure)
    world = World(
        tmp_path,
        areas("teil", *parents) + areas("bezirk", "P", "Q", "R") + areas("stadt", "T"),
        [m for part, parent in parents.items() for m in within(parent, part, weight=tenths[part] / 10)]
        + within("T", "P", "Q", "R"),
        [a_measure(levels=UP)],
        {"s": "stichtag"},
    )
    rows = [("m", "insgesamt", area, date, value) for (area, date), value in given_cells.items()]
    seen = world.observe(("s", rows))
    found = {(r["area_id"], r["reference_date"]): r for r in seen.rows}
    assert set(found) == set(expected)
    for key, (value, obs_status) in expected.items():
        row = found[key]
        assert row["obs_status"] == obs_status, key
        assert row["value"] == (None if value in (STAR, GONE) else pytest.approx(float(value)))
        assert row["is_suppressed"] == (obs_status == "Q")
        assert row["suppression_reason"] == {"Q": "confidential", "O": "missing_source"}.get(obs_status)
        assert row["method"] == ("delivered" if key in given_cells else row["method"])
        parts = seen.parts(*key)
        assert bool(parts) == (key not in given_cells)
        if parts and obs_status in "AE":
            assert value == sum(Fraction(str(p[4])) * expected[p[2], key[1]][0] for p in parts)
    before = seen.file.read_bytes()
    again = world.observe(("s", rows), shuffle=seed)
    assert again.rows == seen.rows
    assert again.file.read_bytes() == before


@pytest.mark.soak
@settings(max_examples=150 if SOAK else 10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.dictionaries(
            st.tuples(st.sampled_from("ABCD"), st.sampled_from([Y22, Y23]), st.sampled_from("mn")),
            st.integers(0, 99),
            min_size=1,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_sequence_of_deliveries_equals_last_one_wins_by_slice(tmp_path: Path, deliveries: list[Any]) -> None:
    expected: dict[Any, Any] = {}
    for delivery in deliveries:
        slices = {(date, measure) for _, date, measure in delivery}
        expected = {k: v for k, v in expected.items() if (k[1], k[2]) not in slices} | delivery
    only = {"teil": ["s"]}
    world = town(tmp_path, measures=[a_measure(levels=only), a_measure("n", levels=only)])
    seen = world.observe(*[("s", [(m, "insgesamt", a, date, v) for (a, date, m), v in d.items()]) for d in deliveries])
    assert {(r["area_id"], r["reference_date"], r["measure_id"]): r["value"] for r in seen.rows} == expected


def test_sum_of_estimates_does_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    """Fractions: the last digit of a sum depends on the order of adding, and with it the content hash."""
    names = [f"T{i:03d}" for i in range(300)]
    world = World(
        tmp_path,
        areas("teil", *names) + areas("bezirk", "P"),
        [m for i, n in enumerate(names) for m in within("P", n, weight=round(0.01 + (i * 37 % 90) / 100, 2))],
        [a_measure(levels={"teil": ["s"], "bezirk": [{"rolled_up": "teil"}]})],
        {"s": "stichtag"},
    )
    rows = figures({n: 1000 + 7 * i for i, n in enumerate(names)})
    found = {world.observe(("s", rows), shuffle=seed).value("P") for seed in range(6)}
    assert len(found) == 1


def test_observation_is_sorted_by_its_key_and_the_key_is_unique(tmp_path: Path) -> None:
    seen = town(tmp_path, measure=SPLIT).observe(
        ("s", [f for a in "DBCA" for d in (Y23, Y22) for f in split_figures(a, 1, 2, 3, d)]), shuffle=3
    )
    keys = [(r["measure_id"], r["category"], r["area_id"], r["period_type"], r["reference_date"]) for r in seen.rows]
    assert keys == sorted(set(keys))
    assert duckdb.execute(f"SELECT count(*) FROM read_parquet('{seen.file}')").fetchall() == [(len(keys),)]
