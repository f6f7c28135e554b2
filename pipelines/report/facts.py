"""Everything the pages say, read once from the public DuckDB file. No page opens anything else."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import defaultdict
from collections.abc import ItemsView, Iterable
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from pipelines.files import sha256_text
from pipelines.marts.models import Models
from pipelines.project import Project
from pipelines.session import connect
from schemas.documents import Level


@dataclass(frozen=True)
class Stamp:
    """Under which id, when, and after which release the report is published."""

    release_id: str
    created: dt.datetime
    previous_id: str | None = None


@dataclass(frozen=True)
class News:
    """Numbers of figures that differ from the release before, by indicator."""

    new: tuple[tuple[str, int], ...]
    changed: tuple[tuple[str, int], ...]
    gone: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Area:
    """A row of `mart.area`."""

    area_id: str
    name: str
    level: str
    number: int | None
    sort_key: int
    valid_from: dt.date | None
    valid_to: dt.date | None
    source: str | None


@dataclass(frozen=True)
class Indicator:
    """A row of `mart.indicator`."""

    indicator_id: str
    title_de: str
    title_en: str | None
    definition_de: str
    definition_en: str | None
    reading_aid_de: str | None
    numerator: str | None
    numerator_category: str | None
    denominator: str | None
    denominator_category: str | None
    unit: str
    decimals: int
    factor: float
    polarity: str
    owner: str
    approved_by: str | None
    approved_on: dt.date | None
    topic: str
    sort_key: int
    interval_method: str
    comparison_method: str
    benchmark_area: str | None
    benchmark_level: str | None
    pooled_periods: int


@dataclass(frozen=True)
class Value:
    """A row of `mart.indicator_value`; `value`, limits and differences in the indicator's unit."""

    indicator_id: str
    area_id: str
    area_level: str
    period_type: str
    period: str
    reference_date: dt.date
    numerator: float | None
    denominator: float | None
    value: float | None
    ci_low: float | None
    ci_high: float | None
    benchmark_id: str | None
    benchmark_value: float | None
    difference: float | None
    comparison: str
    comparison_confidence: float | None
    not_compared_reason: str | None
    rank: int | None
    ranked_n: int | None
    change: float | None
    change_low: float | None
    change_high: float | None
    change_reason: str | None
    trend: str
    trend_reason: str | None
    segment: int | None
    obs_status: str
    conf_status: str
    is_suppressed: bool
    suppression_reason: str | None
    origin: str
    method: str | None
    data_as_of: dt.date | None


@dataclass(frozen=True)
class Break:
    """A break in an indicator's series, from `mart.series_break` by way of its measures."""

    reference_date: dt.date
    reason_de: str


@dataclass(frozen=True)
class Chapter:
    """Indicators that belong together."""

    id: str
    title_de: str
    indicators: list[Indicator]


Row = TypeVar("Row", Area, Indicator, Value)


@dataclass
class Facts:
    """The public figures, by the ways pages look them up."""

    models: Models
    stamp: Stamp
    file: Path
    areas: dict[str, Area]
    indicators: dict[str, Indicator]
    _series: dict[tuple[str, str], list[Value]] = field(repr=False)
    changes: News | None = None
    _answers: dict[str, dict[Any, list[dict[str, Any]]]] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, file: Path, models: Models, stamp: Stamp) -> Facts:
        """Read areas, indicators and their values.

        Args:
            file: the public DuckDB file.
            models: the marts as declared, without a project folder.
            stamp: of the release the report belongs to.
        """
        with connect(file, read_only=True) as con:
            areas = _read(con, "area", Area, "sort_key, area_id")
            indicators = _read(con, "indicator", Indicator, "sort_key, indicator_id")
            told = levels_told(models.project.release.report.levels, models.project.release.city, areas)
            order = "indicator_id, area_id, reference_date, period_type"
            values = _read(con, "indicator_value", Value, order, "WHERE list_contains(?, area_level)", sorted(told))
        series: dict[tuple[str, str], list[Value]] = defaultdict(list)
        for value in values:
            series[value.indicator_id, value.area_id].append(value)
        return cls(
            models,
            stamp,
            file,
            {area.area_id: area for area in areas},
            {indicator.indicator_id: indicator for indicator in indicators},
            dict(series),
        )

    @property
    def project(self) -> Project:
        """The declarations; there is no folder behind them."""
        return self.models.project

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        return connect(self.file, read_only=True)

    def rows(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        """Rows of a question to the public file, by column name."""
        cursor = self._connection.execute(sql, parameters)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def grouped(self, sql: str, key: str) -> dict[Any, list[dict[str, Any]]]:
        """Rows of a question by the value of a column; each question is put once."""
        if sql not in self._answers:
            groups: dict[Any, list[dict[str, Any]]] = defaultdict(list)
            for row in self.rows(sql):
                groups[row[key]].append(row)
            self._answers[sql] = dict(groups)
        return self._answers[sql]

    def close(self) -> None:
        """Let go of the file, which is moved away after this."""
        if "_connection" in self.__dict__:
            self._connection.close()

    # ------------------------------------------------------------ areas

    @cached_property
    def levels(self) -> list[Level]:
        """Area levels that have areas, the largest first, as declared."""
        present = levels_told(self.project.release.report.levels, self.city.area_id, self.areas.values())
        return [
            level for level in sorted(self.project.areas.levels, key=lambda one: one.sort_key) if level.id in present
        ]

    def level(self, level_id: str) -> Level:
        """A level by its id."""
        return next(level for level in self.levels if level.id == level_id)

    def level_areas(self, level: str) -> list[Area]:
        """Areas of a level that have figures, in their order."""
        return [area for area in self.areas.values() if area.level == level and area.area_id in self._with_figures]

    def has_figures(self, area_id: str) -> bool:
        """Whether any indicator has rows for an area."""
        return area_id in self._with_figures

    @cached_property
    def _with_figures(self) -> set[str]:
        return {area_id for _, area_id in self._series}

    @cached_property
    def city(self) -> Area:
        """The whole city."""
        return self.areas[self.project.release.city]

    # ------------------------------------------------------------ figures

    def series(self, indicator_id: str, area_id: str) -> list[Value]:
        """All periods of an indicator for an area, oldest first."""
        return self._series.get((indicator_id, area_id), [])

    def areas_of(self, indicator_id: str) -> list[str]:
        """Ids of the areas for which an indicator has rows."""
        return [area_id for one, area_id in self._series if one == indicator_id]

    def all_series(self) -> ItemsView[tuple[str, str], list[Value]]:
        """All series by indicator and area."""
        return self._series.items()

    def latest(self, indicator_id: str, area_id: str) -> Value | None:
        """The newest period, whether it has a figure or not."""
        series = self.series(indicator_id, area_id)
        return series[-1] if series else None

    def benchmark_signs(self) -> list[tuple[str, str, str, str, str]]:
        """Signs of the figures that others are compared with: they stand on the pages of those, too."""
        names = {value.benchmark_id for series in self._series.values() for value in series}
        return [
            (value.indicator_id, value.area_id, value.period, value.obs_status, value.origin)
            for (_, area_id), series in self._series.items()
            if area_id in names
            for value in series
        ]

    def values(self, indicator_id: str, level: str) -> list[Value]:
        """All areas of a level and all periods."""
        return [value for area in self.level_areas(level) for value in self.series(indicator_id, area.area_id)]

    def periods(self, indicator_id: str, level: str) -> list[str]:
        """Periods for which a level has rows, oldest first."""
        return list(self._periods.get((indicator_id, level), {}))

    def period_dates(self, indicator_id: str, level: str) -> dict[str, dt.date]:
        """Periods for which a level has rows with their last day, oldest first."""
        return self._periods.get((indicator_id, level), {})

    @cached_property
    def _periods(self) -> dict[tuple[str, str], dict[str, dt.date]]:
        found: dict[tuple[str, str], set[tuple[dt.date, str]]] = defaultdict(set)
        for series in self._series.values():
            for value in series:
                found[value.indicator_id, value.area_level].add((value.reference_date, value.period))
        return {key: {period: date for date, period in sorted(pairs)} for key, pairs in found.items()}

    def levels_of(self, indicator_id: str) -> list[Level]:
        """Levels on which an indicator has figures."""
        return [level for level in self.levels if (indicator_id, level.id) in self._periods]

    @cached_property
    def chapters(self) -> list[Chapter]:
        """Indicators by topic: chapters as the release declares them, further topics after these."""
        by_topic: dict[str, list[Indicator]] = defaultdict(list)
        for indicator in self.indicators.values():
            by_topic[indicator.topic].append(indicator)
        declared = [(c.title.de, c.topics) for c in self.project.release.report.chapters]
        named = {topic for _, topics in declared for topic in topics}
        declared += [(topic.replace("_", " ").capitalize(), [topic]) for topic in by_topic if topic not in named]
        chapters = [
            Chapter(topics[0], title, [i for topic in topics for i in by_topic.get(topic, [])])
            for title, topics in declared
        ]
        return [chapter for chapter in chapters if chapter.indicators]

    @cached_property
    def marks(self) -> dict[str, str]:
        """Per area a mark of all its figures: the same as long as none of their columns changes."""
        query = "SELECT area_id, sum(hash(v)) AS mark FROM mart.indicator_value AS v GROUP BY area_id"
        return {row["area_id"]: str(row["mark"]) for row in self.rows(query)}

    @cached_property
    def common_mark(self) -> str:
        """A mark of what any page about an area may show besides: the city, breaks, indicators, newest periods."""
        newest = sorted((key, max(dates.items())) for key, dates in self._periods.items())
        breaks = sorted(self._breaks.items())
        parts = (self.marks.get(self.city.area_id), self.levels, self.chapters, self.indicators, newest, breaks)
        return sha256_text(*map(repr, parts))

    @cached_property
    def _breaks(self) -> dict[tuple[str, str], list[Break]]:
        found: dict[tuple[str, str], list[Break]] = defaultdict(list)
        for row in self.rows(_BREAKS):
            found[row["indicator_id"], row["area_level"]].append(Break(row["reference_date"], row["reason_de"]))
        return found

    def breaks(self, indicator_id: str, level: str) -> list[Break]:
        """Breaks of the measures that the figures of a level are made of; not each of them touches every series."""
        return self._breaks.get((indicator_id, level), [])

    def breaks_in(self, series: list[Value]) -> list[tuple[Value, list[str]]]:
        """Where a series cannot be compared across: the first value of each new part, with the reasons known."""
        found = []
        for before, value in itertools.pairwise(series):
            if value.segment is not None and before.segment is not None and value.segment != before.segment:
                reasons = [
                    one.reason_de
                    for one in self.breaks(value.indicator_id, value.area_level)
                    if before.reference_date < one.reference_date <= value.reference_date
                ]
                found.append((value, list(dict.fromkeys(reasons))))
        return found

    def index_titles(self) -> dict[str, str]:
        """Titles of the composite indexes by id."""
        rows = self.rows("SELECT index_id, title_de FROM mart.index_definition ORDER BY sort_key, index_id")
        return {row["index_id"]: row["title_de"] for row in rows}


def levels_told(declared: list[str], city: str, areas: Iterable[Area]) -> set[str]:
    """Levels of which the pages speak: those declared and that of the city, all that have areas by default."""
    return {area.level for area in areas if not declared or area.level in declared or area.area_id == city}


_BREAKS = """
    WITH RECURSIVE used AS (
        SELECT l.indicator_id, l.area_level, i.numerator AS measure_id
        FROM mart.indicator_level AS l JOIN mart.indicator AS i USING (indicator_id) WHERE l.figure = 'counts'
        UNION
        SELECT l.indicator_id, l.area_level, i.denominator
        FROM mart.indicator_level AS l JOIN mart.indicator AS i USING (indicator_id)
        WHERE l.figure = 'counts' AND i.denominator IS NOT NULL
        UNION
        SELECT indicator_id, area_level, rate_measure FROM mart.indicator_level WHERE rate_measure IS NOT NULL
        UNION
        SELECT u.indicator_id, u.area_level, p.part_measure_id
        FROM used AS u JOIN mart.measure_part AS p ON p.measure_id = u.measure_id
    )
    SELECT DISTINCT u.indicator_id, u.area_level, b.reference_date, b.reason_de
    FROM used AS u JOIN mart.series_break AS b USING (measure_id)
    ORDER BY ALL
"""


def _read(
    con: duckdb.DuckDBPyConnection, table: str, kind: type[Row], order: str, where: str = "", *parameters: Any
) -> list[Row]:
    names = ", ".join(f'"{column.name}"' for column in fields(kind))
    cursor = con.execute(f"SELECT {names} FROM mart.{table} {where} ORDER BY {order}", parameters)
    return [kind(*row) for row in cursor.fetchall()]
