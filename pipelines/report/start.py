"""The first page and the pages that explain: what is new, what stands out, how the data are, signs, downloads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.report import links, words
from pipelines.report.facts import Area, Facts, Indicator, Value
from pipelines.report.page import Page
from schemas.codes import CODE_LISTS

MOST = 8
"""Differences shown on the first page."""
AT_MOST_PER_AREA = 2
"""So that one area does not fill the list."""


@dataclass(frozen=True)
class Striking:
    """A figure that stands out."""

    area: Area
    indicator: Indicator
    value: Value


def pages(facts: Facts) -> Iterator[Page]:
    """Start, key of signs, accessibility."""
    yield Page(links.START, "start.html.j2", "Überblick", _start(facts), "start")
    yield Page(
        links.KEY, "zeichen.html.j2", "Zeichen und Begriffe", {"lists": CODE_LISTS, "stability": words.STABILITY}
    )
    yield Page(links.ACCESSIBILITY, "barrierefreiheit.html.j2", "Erklärung zur Barrierefreiheit", {})


def _start(facts: Facts) -> dict[str, Any]:
    levels = [level for level in facts.levels if len(facts.level_areas(level.id)) > 1 and level.id != facts.city.level]
    return {
        "description": facts.project.release.description.de,
        "first": facts.stamp.release_id.endswith("-0001"),
        "previous": facts.stamp.previous_id,
        "changes": facts.changes,
        "indicators": facts.indicators,
        "revisions": [row for row in facts.rows(_REVISIONS) if facts.has_figures(row["area_id"])],
        "striking": [(level, found) for level in levels if (found := striking(facts, level.id))],
        "undecided": [level for level in levels if _rates_only(facts, level.id)],
        "moving": [(level, found) for level in levels if (found := moving(facts, level.id))],
        "levels": [(level, facts.level_areas(level.id)) for level in levels],
        "city": facts.city,
        "state": state(facts),
        "indexes": facts.index_titles(),
        "chapters": facts.chapters,
    }


_REVISIONS = """
    SELECT r.*, i.title_de, a.name FROM mart.revision AS r
    JOIN mart.indicator AS i USING (indicator_id) JOIN mart.area AS a USING (area_id)
    WHERE r.release_id = (SELECT release_id FROM meta.release)
    ORDER BY abs(r.difference / nullif(r.value_before, 0)) DESC NULLS LAST, r.indicator_id, r.area_id, r.reference_date
    LIMIT 5
"""


def _newest(facts: Facts, level: str) -> Iterator[Striking]:
    for indicator in facts.indicators.values():
        dates = facts.period_dates(indicator.indicator_id, level)
        newest = list(dates)[-1] if dates else None
        for area in facts.level_areas(level):
            value = facts.latest(indicator.indicator_id, area.area_id)
            if value is not None and value.period == newest:
                yield Striking(area, indicator, value)


def _rates_only(facts: Facts, level: str) -> bool:
    """Whether no area of a level can be compared because all that is published are rates."""
    reasons = {one.value.not_compared_reason for one in _newest(facts, level)}
    return "rate_only" in reasons and not any(one.value.comparison != "not_compared" for one in _newest(facts, level))


def _spread(found: list[Striking]) -> list[Striking]:
    """The first of a list, at most so many per area and one per area and topic."""
    taken: list[Striking] = []
    seen: Counter[str] = Counter()
    topics: set[tuple[str, str]] = set()
    for one in found:
        place = (one.area.area_id, one.indicator.topic)
        if seen[one.area.area_id] < AT_MOST_PER_AREA and place not in topics:
            taken.append(one)
            seen[one.area.area_id] += 1
            topics.add(place)
    return taken[:MOST]


def striking(facts: Facts, level: str) -> list[Striking]:
    """Newest figures that differ most from the city beyond chance, to the worse or better; the strongest first."""
    found = [one for one in _newest(facts, level) if words.sure(one.value)]
    return _spread(sorted(found, key=lambda one: -words.strength(one.value)))


def moving(facts: Facts, level: str) -> list[Striking]:
    """Newest figures whose five-year trend is significant; to the worse first, then as the indicators stand."""
    order = {"worsening": 0, "improving": 1}
    found = [one for one in _newest(facts, level) if one.value.trend in order]
    return _spread(sorted(found, key=lambda one: (order[one.value.trend], one.indicator.sort_key, one.value.rank or 0)))


def state(facts: Facts) -> dict[str, Any]:
    """How the data are: age, origin, status, approval."""
    newest = [
        value
        for (indicator, _), series in facts.all_series()
        if (value := series[-1]) and indicator in facts.indicators
    ]
    shown = [value for value in newest if value.value is not None]
    return {
        "newest_dates": facts.rows(_AGES),
        "shown": len(shown),
        "constructed": sum(value.origin == "constructed" for value in shown),
        "withheld": sum(value.is_suppressed for value in newest),
        "estimated": sum(value.obs_status == "E" for value in shown),
        "not_approved": [i.title_de for i in facts.indicators.values() if not i.approved_by],
        "deliveries": Counter(row["decision"] for row in facts.rows("SELECT decision FROM meta.delivery")),
        "failed": facts.rows("SELECT count(*) AS n FROM meta.check_result WHERE NOT passed")[0]["n"],
        "checks": facts.rows("SELECT count(*) AS n FROM meta.check_result")[0]["n"],
        "late": facts.rows("SELECT subject FROM meta.check_result WHERE rule = 'termin_eingehalten' AND NOT passed"),
    }


_AGES = """
    SELECT i.topic, max(v.reference_date) AS newest, max(v.data_as_of) AS received
    FROM mart.indicator_value AS v JOIN mart.indicator AS i USING (indicator_id)
    WHERE v.value IS NOT NULL GROUP BY i.topic ORDER BY min(i.sort_key)
"""


def downloads(facts: Facts, book: list[tuple[str, str]]) -> Page:
    """What there is to print and to compute with; `book`: address and name of the finished files of the table book."""
    return Page(links.DOWNLOADS, "downloads.html.j2", "Downloads", {"levels": facts.levels, "book": book})
