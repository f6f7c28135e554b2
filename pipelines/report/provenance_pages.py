"""Herkunft: one page per indicator and area, one section per period, from the figure down to the cells it is made of.

Addresses `herkunft/<indicator>/<area>.html#<period>` are cited in papers of the council: they never change.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from typing import Any

from pipelines.files import sha256_text
from pipelines.report import links
from pipelines.report.facts import Facts, Indicator, Value
from pipelines.report.numbers import day, figure, period_in_words
from pipelines.report.page import Page
from schemas.codes import label, sign
from schemas.documents import TOTAL

Row = dict[str, Any]
FOLDED = 12
"""Sums of more parts than this are folded."""
_KINDS = {
    "areas": ("die Zahl eines Gebiets", "Gebieten"),
    "categories": ("die Zahl einer Ausprägung", "Ausprägungen"),
    "periods": ("die Zahl eines Jahres", "Jahreszahlen"),
}
_ROLES = {"Zähler": 0, "Nenner": 1, "Quote": 0}
_CAUSES = {
    "definition": "der Indikator ist anders erklärt",
    "delivery": "andere Lieferungen",
    "rule": "geänderte Beschreibung (Berichtigung, Bruch, Gebiete, Aufbau der Datei)",
    "code": "geändertes Programm",
}


Starts = dict[str, list[str]]
"""Periods with which a new part of a series begins, with the reasons."""
Ends = dict[str, tuple[str, list[str]]]
"""Periods before a break: from when on figures are counted otherwise, with the reasons."""


@dataclass
class Node:
    """A figure that enters another one.

    Attributes:
        shown: the figure as text; its sign where there is none.
        absent: why there is no figure, in words.
        name: what it counts, where and when; of a part only what it is told apart by.
        weight: share with which it enters, '' for the whole.
        delivery: id of the delivery it stands in.
        common: id of the one delivery that all its parts stand in; theirs are empty then.
        place: where it stands in its delivery; only for sources that are public anyway.
        made: how many parts of what kind it is the sum of.
    """

    shown: str
    absent: str
    name: str
    weight: str = ""
    role: str = ""
    delivery: str = ""
    common: str = ""
    place: str = ""
    correction: str = ""
    made: tuple[int, str] | None = None
    parts: list[Node] = field(default_factory=list)

    def deliveries(self) -> set[str]:
        """Ids of all deliveries at and below this figure."""
        own = {self.delivery, self.common} - {""}
        return own.union(*[part.deliveries() for part in self.parts])

    def name_common_delivery(self) -> None:
        """Where all parts stand in one delivery, name it once."""
        used = self.deliveries()
        if not self.parts or len(used) != 1:
            return
        (self.common,) = used
        for part in self.parts:
            part.common = part.delivery = ""

    @property
    def folded(self) -> bool:
        """Whether the list of parts is long."""
        return len(self.parts) > FOLDED


@dataclass
class Section:
    """One figure: its row, its formula as pieces, its inputs, the deliveries behind it."""

    value: Value
    when: str
    formula: dict[str, str]
    inputs: list[Node]
    deliveries: list[str]
    reason: str
    new_segment: list[str] | None
    ends: tuple[str, list[str]] | None
    benchmark: dict[str, str] | None
    revisions: list[Row]
    cite: tuple[str, str]


def pages(facts: Facts) -> Iterator[Page]:
    """All pages, indicator by indicator: one question to the file for each."""
    teller = _Teller(facts)
    for indicator in facts.indicators.values():
        for row in facts.rows(_KEYS, indicator.indicator_id, facts.areas_of(indicator.indicator_id)):
            yield teller.page(indicator, row["page_area"], str(row["mark"]), row["used"])


_ROWS = """
    WITH RECURSIVE node AS (
        SELECT gebiet AS page_area, stichtag AS page_date, rechenweg, rolle, kennzahl AS measure_id,
            auspraegung AS category, gebiet AS area_id, zeitbezug_anzahl AS period_type,
            stichtag_anzahl AS reference_date, CAST(NULL AS VARCHAR) AS of_measure,
            CAST(NULL AS VARCHAR) AS of_category, CAST(NULL AS VARCHAR) AS of_area, CAST(NULL AS DATE) AS of_date,
            CAST(1 AS DOUBLE) AS weight,
            CAST(NULL AS VARCHAR) AS kind
        FROM api.rechenwege WHERE indikator = ? AND list_contains(?, gebiet)
        UNION
        SELECT n.page_area, n.page_date, n.rechenweg, n.rolle, p.part_measure_id, p.part_category, p.part_area_id,
            n.period_type, p.part_reference_date, n.measure_id, n.category, n.area_id, n.reference_date, p.weight,
            p.kind
        FROM node AS n
        JOIN meta.figure_part AS p
            ON p.measure_id = n.measure_id AND p.category = n.category AND p.area_id = n.area_id
            AND p.period_type = n.period_type AND p.reference_date = n.reference_date
    )
    SELECT n.*, page.sort_key AS page_order, a.sort_key AS area_order,
        o.value, o.is_suppressed, s.delivery_id, s.sheet, s.line, s.column_number, s.column_name,
        s.received_text, s.correction
    FROM node AS n
    JOIN mart.area AS page ON page.area_id = n.page_area
    JOIN mart.area AS a ON a.area_id = n.area_id
    LEFT JOIN mart.observation AS o
        ON o.measure_id = n.measure_id AND o.category = n.category AND o.area_id = n.area_id
        AND o.period_type = n.period_type AND o.reference_date = n.reference_date
    LEFT JOIN meta.figure_source AS s
        ON s.measure_id = n.measure_id AND s.category = n.category AND s.area_id = n.area_id
        AND s.period_type = n.period_type AND s.reference_date = n.reference_date
"""
_NODES = f"""
    FROM ({_ROWS})
    ORDER BY page_order, page_area, page_date, rolle DESC, measure_id, reference_date, category, area_order, area_id
"""
_KEYS = f"""
    SELECT page_area, sum(hash(n)) AS mark, list_sort(list_distinct(list(delivery_id))) AS used
    FROM ({_ROWS}) AS n GROUP BY page_order, page_area ORDER BY page_order, page_area
"""


class _Teller:
    """Puts rows into words; what all pages share is looked up once."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.levels = {level.id: level.title.de for level in facts.project.areas.levels}
        self.deliveries = {row["delivery_id"]: row for row in facts.rows("SELECT * FROM meta.delivery")}
        self.measures = {row["measure_id"]: row["title"] for row in facts.rows("SELECT * FROM mart.measure")}
        rows = facts.rows("SELECT measure_id, category, title_de FROM mart.category")
        self.categories = {(row["measure_id"], row["category"]): row["title_de"] for row in rows}
        self.breaks = facts.rows("SELECT * FROM mart.series_break ORDER BY reference_date, measure_id, category")
        self.checks = self._checks()
        self.revisions: dict[tuple[str, str, str], list[Row]] = {}
        for row in facts.rows("SELECT * FROM mart.revision ORDER BY release_id"):
            self.revisions.setdefault((row["indicator_id"], row["area_id"], row["period"]), []).append(row)
        self.common = sha256_text(*map(repr, (self.levels, self.measures, self.categories, self.breaks)))
        self.nodes = functools.lru_cache(maxsize=2)(self._nodes)  # pages are rendered in the order of the indicators

    def _checks(self) -> dict[str, dict[str, Any]]:
        """Per source: how many checks passed, and which did not."""
        found: dict[str, dict[str, Any]] = {}
        query = "SELECT subject, rule, passed FROM meta.check_result WHERE subject_kind = 'quelle' ORDER BY ALL"
        for row in self.facts.rows(query):
            entry = found.setdefault(row["subject"], {"passed": 0, "failed": []})
            if row["passed"]:
                entry["passed"] += 1
            else:
                entry["failed"].append(row["rule"])
        return found

    # ------------------------------------------------------------ pages

    def page(self, indicator: Indicator, area_id: str, mark: str, used: list[str]) -> Page:
        """The page of one indicator and area.

        Args:
            indicator: the indicator.
            area_id: the area.
            mark: of all figures behind those of the page.
            used: ids of the deliveries they stand in.
        """
        area, series = self.facts.areas[area_id], self.facts.series(indicator.indicator_id, area_id)
        compared = {value.benchmark_id: self._periods(indicator, value.benchmark_id) for value in series}
        revised = [self.revisions.get((indicator.indicator_id, area_id, value.period)) for value in series]
        around = (indicator, series, compared, revised, self.facts.breaks(indicator.indicator_id, area.level))
        told = [self._delivery(name) for name in used]
        key = sha256_text(self.common, mark, *map(repr, (*around, told)))
        title = f"Herkunft: {indicator.title_de}, {area.name} ({self.levels.get(area.level, area.level)})"
        path = links.provenance_page(indicator.indicator_id, area_id)
        return Page(path, "herkunft.html.j2", title, partial(self._context, indicator, area_id), key=key)

    def _nodes(self, indicator_id: str) -> dict[str, list[Row]]:
        """All that stands behind the figures of an indicator, by area."""
        rows = self.facts.rows(_NODES, indicator_id, self.facts.areas_of(indicator_id))
        return {area: list(of_area) for area, of_area in itertools.groupby(rows, key=lambda row: row["page_area"])}

    def _periods(self, indicator: Indicator, area_id: str | None) -> list[str]:
        return [value.period for value in self.facts.series(indicator.indicator_id, area_id or "")]

    def _context(self, indicator: Indicator, area_id: str) -> dict[str, Any]:
        """What the page holds; rows come period by period."""
        rows = self.nodes(indicator.indicator_id)[area_id]
        area = self.facts.areas[area_id]
        series = self.facts.series(indicator.indicator_id, area_id)
        breaks = self.facts.breaks_in(series)
        starts = {value.period: reasons for value, reasons in breaks}
        ends = {
            value.period: (period_in_words(later.period_type, later.reference_date), reasons)
            for later, reasons in reversed(breaks)  # of several breaks the next one
            for value in series
            if value.reference_date < later.reference_date
        }
        by_date = {date: list(group) for date, group in itertools.groupby(rows, key=lambda row: row["page_date"])}
        sections = [
            self._section(indicator, value, by_date.get(value.reference_date, []), starts, ends)
            for value in reversed(series)
        ]
        used = list(dict.fromkeys(name for section in sections for name in section.deliveries))
        return {
            "indicator": indicator,
            "area": area,
            "level": self.levels.get(area.level, area.level),
            "sections": sections,
            "told": {name: self._delivery(name) for name in used},
            "breaks": self._touching(rows),
            "origins": sorted({value.origin for value in series}),
        }

    def _delivery(self, name: str) -> Row:
        told = dict(self.deliveries[name])
        told["received"] = day(told["received_on"])
        told["checks"] = self.checks.get(told["source_id"], {"passed": 0, "failed": []})
        told["origin_words"] = label("origin", told["origin"])
        address = told["address"] or ""
        told["link"] = address if address.startswith(("https://", "http://")) else ""
        return told

    def _touching(self, rows: list[Row]) -> list[Row]:
        """Breaks of the measures, categories and sources behind the figures of a page."""
        seen = {(row["measure_id"], row["category"]) for row in rows}
        sources = {row["delivery_id"].rpartition("-")[0] for row in rows if row["delivery_id"]}
        return [
            {
                "since": day(entry["reference_date"]),
                "of": self.measures.get(entry["measure_id"], ""),
                "reason": entry["reason_de"],
            }
            for entry in self.breaks
            if entry["source_id"] in sources
            and any(entry["measure_id"] == m and entry["category"] in ("alle", c) for m, c in seen)
        ]

    # ------------------------------------------------------------ one figure

    def _section(self, indicator: Indicator, value: Value, rows: list[Row], starts: Starts, ends: Ends) -> Section:
        when = period_in_words(value.period_type, value.reference_date)
        roots = self._grown(rows)
        address = links.provenance(indicator.indicator_id, value.area_id, value.period)
        area = self.facts.areas[value.area_id]
        place = f"{area.name} ({self.levels.get(area.level, area.level)})"
        release = self.facts.project.release
        return Section(
            value,
            when,
            _formula(indicator, value, rows, roots),
            roots,
            sorted(set().union(*[root.deliveries() for root in roots])),
            "" if value.value is not None else _reason(value),
            starts.get(value.period),
            ends.get(value.period),
            self._benchmark(value),
            [self._revision(row) for row in self.revisions.get((value.indicator_id, value.area_id, value.period), [])],
            (f"{release.publisher}: {release.title.de}, {indicator.title_de}, {place}, {when}", address),
        )

    def _benchmark(self, value: Value) -> dict[str, str] | None:
        """With what the figure is compared, how it comes out, and where that value comes from."""
        if value.benchmark_id is None or value.benchmark_value is None or value.benchmark_id == value.area_id:
            return None
        reason = value.not_compared_reason
        words = label("comparison", value.comparison) + (f" ({label('not_compared_reason', reason)})" if reason else "")
        known = any(v.period == value.period for v in self.facts.series(value.indicator_id, value.benchmark_id))
        return {
            "name": self.facts.areas[value.benchmark_id].name,
            "words": words,
            "link": links.provenance(value.indicator_id, value.benchmark_id, value.period) if known else "",
        }

    def _revision(self, row: Row) -> Row:
        keys = ("value_before", "value_now", "release_id")
        return {key: row[key] for key in keys} | {"cause": _CAUSES.get(row["cause"], row["cause"])}

    # ------------------------------------------------------------ inputs

    def _grown(self, rows: list[Row]) -> list[Node]:
        """The figures that enter directly, each with its parts."""
        below: dict[tuple[Any, ...], list[Row]] = {}
        for row in rows:
            key = (row["rolle"], row["of_measure"], row["of_category"], row["of_area"], row["of_date"])
            below.setdefault(key, []).append(row)

        def grown(row: Row) -> Node:
            node = self._node(row)
            key = (row["rolle"], row["measure_id"], row["category"], row["area_id"], row["reference_date"])
            parts = below.get(key, [])
            node.parts = [grown(part) for part in parts]
            if parts:
                one, many = _KINDS[parts[0]["kind"]]
                node.made = (len(parts), many if len(parts) > 1 else one)
                node.name_common_delivery()
            return node

        roots = [row for row in rows if row["of_measure"] is None]
        return [grown(row) for row in sorted(roots, key=lambda row: _ROLES[row["rolle"]])]

    def _node(self, row: Row) -> Node:
        there, status = row["value"] is not None, "Q" if row["is_suppressed"] else "O"
        return Node(
            _plain(row["value"]) if there else sign("obs_status", status),
            "" if there else label("obs_status", status),
            self._name(row),
            "" if row["weight"] == 1 else f"{_plain(100 * row['weight'])} %",
            role=row["rolle"] if row["of_measure"] is None else "",
            delivery=row["delivery_id"] or "",
            place=_place(row),
            correction=row["correction"] or "",
        )

    def _name(self, row: Row) -> str:
        measure, category = row["measure_id"], row["category"]
        title: str = self.measures[measure]
        if category != TOTAL:
            title += f" ({self.categories.get((measure, category), category)})"
        if row["kind"] == "categories":
            return title
        area = self.facts.areas[row["area_id"]]
        place = f"{area.name} ({self.levels.get(area.level, area.level)})"
        when = period_in_words(row["period_type"], row["reference_date"])
        return {"areas": place, "periods": f"{when}, {title}"}.get(row["kind"] or "", f"{title}, {place}, {when}")


def _place(row: Row) -> str:
    parts = [f"Blatt »{row['sheet']}«"] if row["sheet"] else []
    parts += [f"Zeile {row['line']}"] if row["line"] is not None else []
    heading = f" »{row['column_name']}«" if row["column_name"] else ""
    parts += [f"Spalte {row['column_number']}{heading}"] if row["column_number"] is not None else []
    parts += [f"Zelle »{row['received_text']}«"] if row["received_text"] is not None else []
    return ", ".join(parts)


def _reason(value: Value) -> str:
    """Why there is no figure."""
    if value.suppression_reason:
        return label("suppression_reason", value.suppression_reason)
    return label("obs_status", value.obs_status)


def _formula(indicator: Indicator, value: Value, rows: list[Row], roots: list[Node]) -> dict[str, str]:
    """Pieces of the formula with its numbers, so that whoever reads it can do the sum; empty without a figure."""
    shown = {root.role: root.shown for root in roots if not root.absent}
    if value.value is None or not rows or len(shown) < len(roots):
        return {}
    if "Quote" in shown:
        return {"delivered": shown["Quote"]}
    if "Nenner" not in shown:
        return {"count": shown["Zähler"]}
    factor = "" if indicator.factor == 1 else _plain(indicator.factor)
    return {"factor": factor, "numerator": shown["Zähler"], "denominator": shown["Nenner"]}


def _plain(value: float) -> str:
    """A number with as many places as it has, at most six."""
    exponent = Decimal(repr(round(float(value), 6))).normalize().as_tuple().exponent
    return figure(value, max(0, -int(exponent)))


__all__ = ["Node", "Section", "pages"]
