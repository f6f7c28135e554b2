"""Vergleich: all areas of a level and all years of an indicator in prebuilt orders; the city beside other cities."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.report import links
from pipelines.report.comparison_charts import MOST_ROWS, dots, over_time
from pipelines.report.facts import Area, Facts, Indicator, Value
from pipelines.report.numbers import period_in_words
from pipelines.report.page import Page
from schemas.codes import label
from schemas.documents import Level

SECTION = "vergleich"
ORDERS = {"": "wie aufgelistet", "wert": "nach dem neuesten Wert", "veraenderung": "nach der Veränderung"}
_RANKED_BY = {"wert": "value", "veraenderung": "change"}
_MEAN = "jahresdurchschnitt"
STEPS = 5
"""Groups of about equal size that the cells of a table are shaded by."""


@dataclass(frozen=True)
class Line:
    """A row of a table: an area with its value of each period, and the group by size of each (0 without a value)."""

    area_id: str
    name: str
    values: list[Value | None]
    steps: list[int]


@dataclass(frozen=True)
class Head:
    """A period as heading of a column."""

    period: str
    title: str


@dataclass(frozen=True)
class Group:
    """Areas of a level that have an indicator (two at least), its periods, and the newest value of each area."""

    indicator: Indicator
    level: Level
    areas: list[Area]
    columns: list[Head]
    newest: dict[str, Value]

    def address(self, order: str = "") -> str:
        """Page of this group in one of its orders."""
        return links.comparison_page(self.indicator.indicator_id, self.level.id, order)

    @property
    def orders(self) -> list[str]:
        """Orders that say something: by change only where the newest period has changes."""
        changes = any(value.change is not None for value in self.newest.values())
        return ["", "wert", *(["veraenderung"] if changes else [])]

    @property
    def kind(self) -> str:
        """What the years of the headings stand for, where they do not say so themselves."""
        means = any(value.period_type == _MEAN for value in self.newest.values())
        return ", Jahresdurchschnitte" if means else ""

    @property
    def named(self) -> bool:
        """Whether the chart names each area; of too many it shows only where they lie."""
        return sum(value.value is not None for value in self.newest.values()) <= MOST_ROWS

    @property
    def constructed(self) -> bool:
        """Whether any of the newest values is made up."""
        return any(value.origin == "constructed" for value in self.newest.values())

    def ordered(self, order: str) -> list[Area]:
        """Areas by the newest period, highest first; equal ones as listed, those without a figure last."""
        if order == "":
            return self.areas

        def key(area: Area) -> tuple[bool, float]:
            number = getattr(self.newest.get(area.area_id), _RANKED_BY[order], None)
            return (number is None, -(number or 0.0))

        return sorted(self.areas, key=key)


def pages(facts: Facts) -> Iterator[Page]:
    """One page per indicator, level and order, one for cities, and the list of all."""
    groups = compared(facts)
    for group in groups:
        others = [one for one in groups if one.indicator is group.indicator and one is not group]
        for order in group.orders:
            yield _comparison(facts, group, order, others)
    with_cities = [group for group in groups if group.level.id == facts.city.level]
    yield _cities(facts, with_cities)
    yield _list(facts, groups, bool(with_cities))


def compared(facts: Facts) -> list[Group]:
    """All groups for which there are pages, in the order of the chapters."""
    groups = [
        _group(facts, indicator, level)
        for chapter in facts.chapters
        for indicator in chapter.indicators
        for level in facts.levels_of(indicator.indicator_id)
    ]
    return [group for group in groups if len(group.areas) > 1]


def _group(facts: Facts, indicator: Indicator, level: Level) -> Group:
    values = facts.values(indicator.indicator_id, level.id)
    titles = {v.period: _heading(v) for v in values}
    dates = facts.period_dates(indicator.indicator_id, level.id)
    last = max(dates.values())
    return Group(
        indicator,
        level,
        [area for area in facts.level_areas(level.id) if facts.series(indicator.indicator_id, area.area_id)],
        [Head(period, titles[period]) for period in reversed(list(dates))],
        {value.area_id: value for value in values if value.reference_date == last},
    )


def _heading(value: Value) -> str:
    """A period; of an annual mean the year alone, to save room (`Group.kind` says what it is)."""
    if value.period_type == _MEAN:
        return str(value.reference_date.year)
    return period_in_words(value.period_type, value.reference_date)


# ---------------------------------------------------------------- table


def lines(facts: Facts, indicator: Indicator, areas: list[Area], columns: list[Head]) -> list[Line]:
    """Rows of the table, with the groups that its cells are shaded by."""
    found = []
    for area in areas:
        series = {value.period: value for value in facts.series(indicator.indicator_id, area.area_id)}
        found.append((area, [series.get(column.period) for column in columns]))
    limits = _limits([v.value for _, values in found for v in values if v is not None and v.value is not None])
    return [Line(area.area_id, area.name, values, [_step(value, limits) for value in values]) for area, values in found]


def _limits(numbers: list[float]) -> list[float]:
    """Lower limits of the second and each further group; none where all numbers are the same."""
    if len(set(numbers)) < STEPS:
        return []
    in_order = sorted(numbers)
    return [in_order[len(in_order) * step // STEPS] for step in range(1, STEPS)]


def _step(value: Value | None, limits: list[float]) -> int:
    if value is None or value.value is None or not limits:
        return 0
    return bisect_right(limits, value.value) + 1


# ---------------------------------------------------------------- pages


def _comparison(facts: Facts, group: Group, order: str, others: list[Group]) -> Page:
    indicator, level = group.indicator, group.level
    series = facts.series(indicator.indicator_id, facts.city.area_id)
    city = {} if level.id == facts.city.level else {v.area_id: v for v in series if v.period == group.columns[0].period}
    beside = [facts.city] if series and level.id != facts.city.level else []
    plural = level.plural.de
    return Page(
        group.address(order),
        "vergleich.html.j2",
        f"{indicator.title_de}: {plural} im Vergleich" + (f", {ORDERS[order]}" if order else ""),
        {
            "indicator": indicator,
            "unit": label("unit", indicator.unit),
            "plural": plural,
            "order": ORDERS[order],
            "orders": [(group.address(one), ORDERS[one], one == order) for one in group.orders],
            "others": [(other.address(), other.level.plural.de) for other in others],
            "columns": group.columns,
            "kind": group.kind,
            "named": group.named,
            "constructed": group.constructed,
            "lines": lines(facts, indicator, group.ordered(order), group.columns),
            "city": lines(facts, indicator, beside, group.columns),
            "newest": {**group.newest, **city} if "veraenderung" in group.orders else None,
            "breaks": facts.breaks(indicator.indicator_id, level.id),
            "chart": dots(facts, indicator, level, group.ordered("wert"), group.newest),
        },
        SECTION,
    )


def _list(facts: Facts, groups: list[Group], cities: bool) -> Page:
    """All pages of comparison, by chapter."""
    chapters = []
    for chapter in facts.chapters:
        entries = []
        for indicator in chapter.indicators:
            mine = [(group.address(), group.level.plural.de) for group in groups if group.indicator is indicator]
            entries += [(indicator.title_de, mine)] if mine else []
        chapters += [(chapter.title_de, entries)] if entries else []
    context = {"chapters": chapters, "city": facts.city.name, "cities": cities}
    return Page(links.COMPARISONS, "vergleich_liste.html.j2", "Vergleich der Gebiete", context, SECTION)


def _cities(facts: Facts, groups: list[Group]) -> Page:
    """The city beside other cities: per indicator a chart over time and a table."""
    parts = [
        {
            "indicator": group.indicator,
            "unit": label("unit", group.indicator.unit),
            "columns": group.columns,
            "kind": group.kind,
            "lines": lines(facts, group.indicator, group.areas, group.columns),
            "chart": over_time(facts, group.indicator, group.areas),
            "breaks": facts.breaks(group.indicator.indicator_id, group.level.id),
            "page": group.address("wert"),
        }
        for group in groups
    ]
    title = f"{facts.city.name} neben anderen Städten"
    return Page(links.CITIES, "vergleich_staedte.html.j2", title, {"city": facts.city.name, "parts": parts}, SECTION)
