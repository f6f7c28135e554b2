"""Maps: one page per indicator and area level, with the same classes for all years and a table beside the picture."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from pipelines.report import links
from pipelines.report.classes import Classes, classify
from pipelines.report.drawing import Picture
from pipelines.report.facts import Area, Facts, Indicator, Value
from pipelines.report.geometry import LevelMap, list_map
from pipelines.report.map_drawing import (
    MISSING,
    NEUTRAL,
    PLAIN,
    RATED,
    UNCLASSED,
    WITHHELD,
    Cell,
    big_map,
    numbered,
    ramp,
    small_map,
    swatch,
)
from pipelines.report.numbers import UNITS, figure, period_in_words
from pipelines.report.page import Page
from schemas.codes import sign
from schemas.documents import Level

FEWEST_AREAS = 3
EARLIER = 12
"""Periods before the newest that are drawn as small maps."""
KINDS = {
    "outlines": "Umrisse der Gebiete, wie sie für diesen Bericht hinterlegt sind, vereinfacht gezeichnet.",
    "tiles": "Schematisch, keine amtliche Karte: Jedes Gebiet ist eine gleich große Kachel, die ungefähr dort steht, "
    "wo das Gebiet liegt. Flächen, Grenzen und Nachbarschaften stimmen nicht.",
    "list": "Schematisch, keine amtliche Karte: Die Kacheln stehen in der Reihenfolge der Gebietsliste; ihre Lage sagt "
    "nichts darüber, wo die Gebiete liegen.",
}
DARK = {
    "higher_is_worse": "Je dunkler, desto höher und desto ungünstiger.",
    "higher_is_better": "Je dunkler, desto niedriger und desto ungünstiger.",
    "neutral": "Je dunkler, desto höher; ohne Wertung.",
}
WITHOUT = {
    WITHHELD: "geheim zu halten (schraffiert)",
    MISSING: "keine Angabe (gepunktet)",
    UNCLASSED: "nicht sinnvoll zu berechnen (grau)",
}


@dataclass(frozen=True)
class LegendEntry:
    """One class of a map, or one reason for having none: its box, its bounds, and how many areas are in it."""

    box: Markup
    text: Markup
    count: int
    city: bool = False


@dataclass(frozen=True)
class Legend:
    """What the colours of a map mean."""

    entries: list[LegendEntry]
    unit: str
    method: str
    dark: str
    city: Value | None


class Theme:
    """One indicator on one area level: its classes, fixed over all years, and its maps."""

    def __init__(self, facts: Facts, indicator: Indicator, level: Level) -> None:
        """Collect the figures; nothing is drawn yet."""
        self.facts = facts
        self.indicator = indicator
        self.level = level
        self.by_period: dict[str, dict[str, Value]] = defaultdict(dict)
        for value in facts.values(indicator.indicator_id, level.id):
            self.by_period[value.period][value.area_id] = value

    @cached_property
    def periods(self) -> list[str]:
        """Periods worth a map, oldest first: at least three areas have a figure."""
        return [
            period
            for period in self.facts.periods(self.indicator.indicator_id, self.level.id)
            if sum(value.value is not None for value in self.by_period[period].values()) >= FEWEST_AREAS
        ]

    @cached_property
    def classes(self) -> Classes:
        """Classes over the values of all areas and years, those of years too sparse for a map included."""
        values = [v.value for rows in self.by_period.values() for v in rows.values() if v.value is not None]
        return classify(values, self.indicator.decimals)

    @cached_property
    def colours(self) -> list[str]:
        """One for each class, lowest values first."""
        colours = ramp(self.classes.count, NEUTRAL if self.indicator.polarity == "neutral" else RATED)
        return colours[::-1] if self.indicator.polarity == "higher_is_better" else colours

    @cached_property
    def level_map(self) -> LevelMap:
        """Where the areas lie."""
        return map_of_level(self.facts, self.level.id)

    def areas(self, period: str) -> list[Area]:
        """Areas that existed at the end of a period, in their order."""
        day = self.facts.period_dates(self.indicator.indicator_id, self.level.id)[period]
        return [
            area
            for area in self.facts.level_areas(self.level.id)
            if (area.valid_from or day) <= day <= (area.valid_to or day)
        ]

    def state(self, area: Area, period: str) -> int | str:
        """Number of the class of an area, or why it has none."""
        value = self.by_period[period].get(area.area_id)
        if value is None or value.obs_status == "O":
            return MISSING
        if value.value is None:
            return WITHHELD if value.is_suppressed else UNCLASSED
        return self.classes.of(value.value)

    def paint(self, state: int | str) -> str:
        """Colour of a class, or the name of a pattern."""
        return self.colours[state] if isinstance(state, int) else PLAIN if state == UNCLASSED else state

    def cells(self, period: str, unit: bool = True) -> list[Cell]:
        """What the map of a period tells about each area."""
        return [self._cell(area, period, unit) for area in self.areas(period)]

    def _cell(self, area: Area, period: str, unit: bool) -> Cell:
        paint, value = self.paint(self.state(area, period)), self.by_period[period].get(area.area_id)
        if value is None:
            return Cell(area, paint, "–")
        key = f'data-f="value" data-k="{value.indicator_id}/{value.area_id}#{value.period}"'
        if value.value is None:
            return Cell(area, paint, sign("obs_status", value.obs_status) or "–", key)
        text = figure(value.value, self.indicator.decimals) + (UNITS[self.indicator.unit] if unit else "")
        marks = sign("obs_status", value.obs_status) + sign("origin", value.origin)
        return Cell(area, paint, text, key, marks)

    def when(self, period: str) -> str:
        """A period as it is spoken of."""
        value = next(iter(self.by_period[period].values()))
        return period_in_words(value.period_type, value.reference_date)

    def origins(self, periods: list[str]) -> list[str]:
        """Origins among the figures of some periods that readers must know of."""
        found = {value.origin for period in periods for value in self.by_period[period].values()}
        return sorted(origin for origin in found if sign("origin", origin))

    def picture(self, period: str, root: str) -> Picture:
        """The big map of a period; each area leads to its profile."""
        label = f"Karte: {self.indicator.title_de}, {self.level.plural.de}, {self.when(period)}"
        name = f"k-{self.indicator.indicator_id}-{self.level.id}-{period}"
        return big_map(self.level_map, self.cells(period), label, name, root, links.area_page("{area_id}"))

    def small_picture(self, period: str) -> Picture:
        """A small map of a period; how many areas are in which class is its text alternative."""
        found = Counter(self.state(area, period) for area in self.areas(period))
        words = dict(enumerate(self.classes.texts(UNITS[self.indicator.unit], marked=False))) | WITHOUT
        told = [
            f"{found[state]} {'Gebiet' if found[state] == 1 else 'Gebiete'} {text}"
            for state, text in words.items()
            if found[state]
        ]
        label = f"{self.indicator.title_de}, {self.level.plural.de}, {self.when(period)}: " + "; ".join(told)
        name = f"k-{self.indicator.indicator_id}-{self.level.id}-{period}"
        return small_map(self.level_map, self.cells(period, unit=False), label, name)

    def legend(self, period: str) -> Legend:
        """Classes with the number of areas in each; classes that are empty in this period stay, reasons do not."""
        found = Counter(self.state(area, period) for area in self.areas(period))
        city = self._city(period)
        of_city = self.classes.of(city.value) if city is not None and city.value is not None else None
        name = f"l-{self.indicator.indicator_id}-{self.level.id}-{period}"
        entries = [
            LegendEntry(Markup(swatch(self.colours[number], name)), text, found[number], number == of_city)
            for number, text in enumerate(self.classes.texts(UNITS[self.indicator.unit]))
        ]
        entries += [
            LegendEntry(Markup(swatch(self.paint(reason), name)), Markup(text), found[reason])
            for reason, text in WITHOUT.items()
            if found[reason]
        ]
        unit = UNITS[self.indicator.unit].strip()
        return Legend(entries, unit, self.classes.method, DARK[self.indicator.polarity], city)

    def _city(self, period: str) -> Value | None:
        """The city's figure; a plain number of a whole city is nothing to compare its parts with."""
        if self.indicator.unit == "persons":
            return None
        series = self.facts.series(self.indicator.indicator_id, self.facts.city.area_id)
        return next((value for value in series if value.period == period and value.value is not None), None)


def map_of_level(facts: Facts, level: str) -> LevelMap:
    """Where the areas of a level lie: as the project says, else in the order of the list."""
    return facts.project.maps.get(level) or list_map([area.area_id for area in facts.level_areas(level)])


def theme_of(facts: Facts, indicator_id: str, level: str) -> Theme | None:
    """The maps of an indicator on a level; None where there is none, because fewer than three areas have figures."""
    theme = Theme(facts, facts.indicators[indicator_id], facts.level(level))
    return theme if theme.periods else None


def map_of(facts: Facts, indicator_id: str, level: str, period: str | None = None, root: str = "../") -> Picture | None:
    """The map of a period (default: the newest) for a page of another room; None where there is none.

    Args:
        facts: the public figures.
        indicator_id: which indicator.
        level: id of the area level.
        period: key of the period.
        root: leads from the page to the folder of the report.
    """
    theme = theme_of(facts, indicator_id, level)
    return theme.picture(period or theme.periods[-1], root) if theme else None


def legend_of(facts: Facts, indicator_id: str, level: str, period: str | None = None) -> Legend | None:
    """What the colours of `map_of` mean; written out by the macro in `karte_legende.html.j2`."""
    theme = theme_of(facts, indicator_id, level)
    return theme.legend(period or theme.periods[-1]) if theme else None


# ---------------------------------------------------------------- pages


def pages(facts: Facts) -> Iterator[Page]:
    """A page per indicator and level, and the list of all maps."""
    listed = []
    for chapter in facts.chapters:
        rows = []
        for indicator in chapter.indicators:
            levels = facts.levels_of(indicator.indicator_id)
            themes = [theme for level in levels if (theme := theme_of(facts, indicator.indicator_id, level.id))]
            for theme in themes:
                path = links.map_page(indicator.indicator_id, theme.level.id)
                yield Page(
                    path, "karte.html.j2", f"{indicator.title_de}: {theme.level.plural.de}", _context(theme), "karten"
                )
            if themes:
                rows.append((indicator, [(t.level, t.when(t.periods[-1]), len(t.periods)) for t in themes]))
        if rows:
            listed.append((chapter.title_de, rows))
    kinds: dict[str, list[str]] = defaultdict(list)
    for level in facts.levels:
        if len(facts.level_areas(level.id)) >= FEWEST_AREAS:
            kinds[KINDS[map_of_level(facts, level.id).kind]].append(level.plural.de)
    yield Page(
        links.MAPS,
        "karten.html.j2",
        "Karten",
        {"chapters": listed, "kinds": [(", ".join(levels), text) for text, levels in kinds.items()]},
        "karten",
    )


def _context(theme: Theme) -> dict[str, Any]:
    newest, texts = theme.periods[-1], theme.classes.texts()
    cells, numbers = theme.cells(newest), numbered(theme.level_map, theme.cells(newest))
    rows = []
    for cell in cells:
        state = theme.state(cell.area, newest)
        told = texts[state] if isinstance(state, int) else WITHOUT[state]
        rows.append((numbers.get(cell.area.area_id), cell.area, theme.by_period[newest].get(cell.area.area_id), told))
    earlier = theme.periods[-1 - EARLIER : -1][::-1]
    all_periods = theme.facts.periods(theme.indicator.indicator_id, theme.level.id)
    return {
        "indicator": theme.indicator,
        "level": theme.level,
        "others": [o for o in theme.facts.levels_of(theme.indicator.indicator_id) if _other(theme, o)],
        "when": theme.when(newest),
        "picture": theme.picture(newest, "../"),
        "legend": theme.legend(newest),
        "rows": rows,
        "numbered": bool(numbers),
        "unplaced": [cell.area for cell in cells if cell.area.area_id not in theme.level_map.shapes],
        "earlier": [(theme.when(period), theme.small_picture(period)) for period in earlier],
        "older": len(theme.periods) - 1 - len(earlier),
        "sparse": [theme.when(p) for p in all_periods if p not in theme.periods and p > newest],
        "first": theme.when(all_periods[0]),
        "kind": KINDS[theme.level_map.kind],
        "origins": theme.origins([newest]),
        "earlier_origins": theme.origins(earlier),
        "breaks": theme.facts.breaks(theme.indicator.indicator_id, theme.level.id),
    }


def _other(theme: Theme, level: Level) -> bool:
    return level.id != theme.level.id and theme_of(theme.facts, theme.indicator.indicator_id, level.id) is not None
