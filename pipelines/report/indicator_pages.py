"""A page per indicator: what it means, where it comes from, and how all areas stand."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.report import charts, links, maps
from pipelines.report.drawing import Chart, Picture
from pipelines.report.facts import Area, Facts, Indicator, Value
from pipelines.report.page import Page
from schemas.documents import Level

MOST_PICTURES = 60
"""Areas of a level up to which each gets a small picture."""


@dataclass(frozen=True)
class Standing:
    """How the areas of a level stand in the newest period."""

    level: Level
    values: list[tuple[Area, Value]]
    pictures: list[tuple[Area, Chart]]
    map: Picture | None
    legend: maps.Legend | None
    note: str
    missing: list[Area]


def pages(facts: Facts) -> Iterator[Page]:
    """All indicators, and their list."""
    for indicator in facts.indicators.values():
        levels = facts.levels_of(indicator.indicator_id)
        if levels:
            address = links.indicator_page(indicator.indicator_id)
            yield Page(
                address, "indikator.html.j2", indicator.title_de, context(facts, indicator, levels), "indikatoren"
            )
    yield Page(links.INDICATORS, "indikatoren.html.j2", "Indikatoren", {"chapters": facts.chapters}, "indikatoren")


def context(facts: Facts, indicator: Indicator, levels: list[Level]) -> dict[str, Any]:
    """What the page of an indicator holds."""
    measures = facts.grouped("SELECT measure_id, title, title_en FROM mart.measure", "measure_id")
    sources = facts.grouped(_SOURCES, "indicator_id").get(indicator.indicator_id, [])
    return {
        "indicator": indicator,
        "numerator": _measure(facts, measures, indicator.numerator, indicator.numerator_category),
        "denominator": _measure(facts, measures, indicator.denominator, indicator.denominator_category),
        "sources": sources,
        "standings": [_standing(facts, indicator, level) for level in levels],
        "breaks": sorted(
            {
                (one.reference_date, one.reason_de)
                for level in levels
                for one in facts.breaks(indicator.indicator_id, level.id)
            }
        ),
        "city": facts.city,
        "limits": any(row["origin"] == "constructed" for row in sources),
    }


def _measure(
    facts: Facts, measures: dict[Any, list[dict[str, Any]]], name: str | None, category: str | None
) -> str | None:
    if name is None:
        return None
    title = measures[name][0]["title"]
    parts = facts.grouped("SELECT measure_id, category, title_de FROM mart.category", "measure_id").get(name, [])
    part = next((row["title_de"] for row in parts if row["category"] == category), None)
    return f"{title}: {part}" if part and category != "insgesamt" else title


_SOURCES = """
    SELECT DISTINCT h.indikator AS indicator_id, d.source_id, d.source_title, d.publisher, d.address, d.licence,
        d.origin
    FROM api.herkunft_aller_zahlen AS h JOIN meta.delivery AS d ON d.delivery_id = h.lieferung
    ORDER BY ALL
"""


def _standing(facts: Facts, indicator: Indicator, level: Level) -> Standing:
    areas = facts.level_areas(level.id)
    known = [area for area in areas if facts.series(indicator.indicator_id, area.area_id)]
    dates = facts.period_dates(indicator.indicator_id, level.id)
    newest = list(dates)[-1]
    found = [
        (area, value)
        for area in areas
        for value in facts.series(indicator.indicator_id, area.area_id)
        if value.period == newest
    ]
    found.sort(key=lambda pair: (pair[1].rank is None, pair[1].rank or 0, pair[0].sort_key))
    shown = {area.area_id for area, _ in found}
    return Standing(
        level,
        found,
        _pictures(facts, indicator, known) if 1 < len(known) <= MOST_PICTURES else [],
        maps.map_of(facts, indicator.indicator_id, level.id, newest),
        maps.legend_of(facts, indicator.indicator_id, level.id, newest),
        maps.KINDS[maps.map_of_level(facts, level.id).kind],
        [area for area in known if area.area_id not in shown],
    )


def _pictures(facts: Facts, indicator: Indicator, areas: list[Area]) -> list[tuple[Area, Chart]]:
    series = {area.area_id: charts.trim(facts.series(indicator.indicator_id, area.area_id)) for area in areas}
    known = [value for values in series.values() for value in values if value.value is not None]
    if not known:
        return []
    years = [value.reference_date.year for value in known]
    top = max(
        [v.ci_high or v.value or 0.0 for v in known]
        + [v.benchmark_value or 0.0 for v in known if indicator.unit != "persons"]
    )
    found = []
    for area in areas:
        picture = charts.small_multiple(series[area.area_id], indicator, area.name, (min(years), max(years)), top)
        if picture:
            found.append((area, picture))
    return found
