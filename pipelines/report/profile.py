"""Gebietsprofile: what is known about an area, topic by topic, with what the figures carry and what they don't."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipelines.files import sha256_text
from pipelines.report import charts, links, words
from pipelines.report.drawing import Chart
from pipelines.report.facts import Area, Facts, Indicator, Value
from pipelines.report.page import Page

SHOWN_YEARS = 10
"""Periods in the table beside a chart; all of them stand on the page of provenance and in the comparison."""


@dataclass(frozen=True)
class Entry:
    """One indicator in a profile."""

    indicator: Indicator
    value: Value
    city: Value | None
    table: list[Value]
    breaks: list[tuple[Value, list[str]]]
    chart: Chart | None
    older: int
    stale: bool

    @property
    def has_band(self) -> bool:
        """Whether the chart shows intervals."""
        return any(value.ci_low is not None for value in self.table)

    @property
    def has_city(self) -> bool:
        """Whether the chart shows the benchmark."""
        return any(charts.benchmark_of(value) is not None for value in self.table)


def pages(facts: Facts) -> Iterator[Page]:
    """A profile per area, and the list of all areas."""
    for level in facts.levels:
        for area in facts.level_areas(level.id):
            filled = partial(context, facts, area)
            path = links.area_page(area.area_id)
            yield Page(path, "profil.html.j2", title(facts, area), filled, "gebiete", _key(facts, area))
    groups = [(level, facts.level_areas(level.id), _without_figures(facts, level.id)) for level in facts.levels]
    yield Page(links.AREAS, "gebiete.html.j2", "Gebiete", {"groups": groups}, "gebiete")


def _key(facts: Facts, area: Area) -> str:
    """Changes whenever `context` does, for a fraction of its time."""
    around = (relations(facts, area), index_of(facts, area))
    return sha256_text(facts.common_mark, facts.marks[area.area_id], *map(repr, around))


def _without_figures(facts: Facts, level: str) -> list[Area]:
    """Areas that exist today and of which no indicator tells anything."""
    return [
        area
        for area in facts.areas.values()
        if area.level == level and area.valid_to is None and not facts.has_figures(area.area_id)
    ]


def title(facts: Facts, area: Area) -> str:
    """`Gaarden (Sozialzentrumsbereich)`: the same name may stand for different areas on different levels."""
    return f"{area.name} ({facts.level(area.level).title.de})"


def context(facts: Facts, area: Area) -> dict[str, Any]:
    """What the profile of an area holds; also used by its print edition."""
    chapters = [
        (chapter, [entry for i in chapter.indicators if (entry := _entry(facts, i, area))])
        for chapter in facts.chapters
    ]
    chapters = [(chapter, entries) for chapter, entries in chapters if entries]
    entries = [entry for _, found in chapters for entry in found]
    return {
        "area": area,
        "level": facts.level(area.level),
        "chapters": chapters,
        "strengths": _standing_out(entries, "better"),
        "weaknesses": _standing_out(entries, "worse"),
        "not_told": _undecided(entries),
        "compared": any(words.sure(entry.value) or entry.value.comparison == "similar" for entry in entries),
        "hidden": [entry.indicator.title_de for entry in entries if entry.value.is_suppressed],
        "index": index_of(facts, area),
        "city": facts.city,
        "is_city": area.area_id == facts.city.area_id,
        "relations": relations(facts, area),
        "constructed": any(entry.value.origin == "constructed" for entry in entries),
    }


def _entry(facts: Facts, indicator: Indicator, area: Area) -> Entry | None:
    series = facts.series(indicator.indicator_id, area.area_id)
    if not series:
        return None
    # The newest period that has a figure, unless the newest of all is withheld: that is news, too.
    value = series[-1]
    shown = charts.trim(series)
    return Entry(
        indicator,
        value,
        facts.latest(indicator.indicator_id, facts.city.area_id),
        list(reversed(series[-SHOWN_YEARS:])),
        facts.breaks_in(series),
        charts.time_series(shown, indicator, area.name, facts.city.name),
        max(0, len(series) - SHOWN_YEARS),
        _stale(facts, value),
    )


def _stale(facts: Facts, value: Value) -> bool:
    """Whether other areas have newer figures of this indicator."""
    newest = max(facts.period_dates(value.indicator_id, value.area_level).values())
    return value.reference_date < newest


def _standing_out(entries: list[Entry], comparison: str) -> list[Entry]:
    found = [entry for entry in entries if entry.value.comparison == comparison]
    return sorted(found, key=lambda entry: -words.strength(entry.value))


def _undecided(entries: list[Entry]) -> list[Entry]:
    """Figures of which only a rate is published, the farthest from the city first."""

    def distance(entry: Entry) -> float:
        return abs(entry.value.difference or 0.0) / (abs(entry.value.benchmark_value or 0.0) or 1.0)

    found = [entry for entry in entries if entry.value.not_compared_reason == "rate_only"]
    return sorted(found, key=distance, reverse=True)


def index_of(facts: Facts, area: Area) -> list[dict[str, Any]]:
    """The newest class of an area in each composite index that says anything about its level."""
    return facts.grouped(_INDEX, "area_id").get(area.area_id, [])


_INDEX = """
    SELECT s.area_id, d.index_id, d.title_de AS index_title, s.reference_date, s.status_index, s.class_stability,
        s.one_case_flips, s.reason, s.dynamics_reason, s.dynamics_stability, s.universe_n, s.origin,
        c.title_de AS class_title, y.title_de AS dynamics_title, d.reading_aid_de
    FROM mart.social_index AS s
    JOIN mart.index_definition AS d USING (index_id)
    LEFT JOIN mart.index_class AS c
        ON c.index_id = s.index_id AND c.dimension = 'status' AND c.class_id = s.status_class
    LEFT JOIN mart.index_class AS y
        ON y.index_id = s.index_id AND y.dimension = 'dynamics' AND y.class_id = s.dynamics_class
    QUALIFY row_number() OVER (PARTITION BY s.index_id, s.area_id ORDER BY s.reference_date DESC) = 1
    ORDER BY d.sort_key, d.index_id
"""


def relations(facts: Facts, area: Area) -> dict[str, list[tuple[Area, bool]]]:
    """Areas that contain an area, and those it contains, each with whether the assignment is only assumed."""
    found: dict[str, list[tuple[Area, bool]]] = {"parents": [], "children": []}
    for row in facts.grouped(_MEMBERS, "area_id").get(area.area_id, []):
        if facts.has_figures(row["other"]):
            found[row["side"]].append((facts.areas[row["other"]], row["status"] == "assumed"))
    return found


_MEMBERS = """
    SELECT m.area_id, 'parents' AS side, m.parent_id AS other, m.status, a.sort_key
    FROM mart.membership AS m JOIN mart.area AS a ON a.area_id = m.parent_id WHERE m.valid_to IS NULL
    UNION ALL
    SELECT m.parent_id, 'children', m.area_id, m.status, a.sort_key
    FROM mart.membership AS m JOIN mart.area AS a USING (area_id) WHERE m.valid_to IS NULL
    ORDER BY area_id, side, sort_key, other
"""
