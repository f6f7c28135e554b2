"""What the marts read besides the observation: areas, measures and indicators as declared in YAML and CSV.

The names of these inputs end in `_in`; no mart has such a name, so an input never shadows a table.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa

from pipelines.disclosure.rules import rule_of, small_base
from pipelines.marts.comparability import acting_breaks, benchmarks, extent_changes
from pipelines.marts.sums import measure_sums
from pipelines.periods import parse_key
from pipelines.project import Project
from schemas.documents import ALL, TOTAL, Break, CompositeIndex, FromRate, Indicator, Measure, RolledUp, Source

FACTORS = {"percent": 100.0, "per_1000": 1000.0, "ratio": 1.0, "persons": 1.0}
OBSERVATION_IN = "observation_in"

CODES = {"area_id": "area_in", "indicator_id": "indicator_in"}
"""Columns whose values all stand in an input: ids of a closed list."""


def input_tables(project: Project) -> dict[str, pa.Table]:
    """Arrow tables by input name (`area_in`, `membership_in`, `measure_in`, `series_break_in`, `indicator_in`, ...)."""
    return {
        "area_in": _table(
            [
                {
                    "area_id": a.area_id,
                    "name": a.name,
                    "level": a.level,
                    "valid_from": a.valid_from,
                    "valid_to": a.valid_to,
                    "sort_key": a.sort_key,
                    "number": a.number or None,
                    "source": a.source or None,
                }
                for a in project.directory.areas.values()
            ],
            _AREA,
        ),
        "membership_in": _table([m.__dict__ for m in project.directory.memberships], _MEMBERSHIP),
        "measure_in": _table([_measure(project, m) for m in project.measures.values()], _MEASURE),
        "category_in": _table([row for m in project.measures.values() for row in _categories(m)], _CATEGORY),
        "measure_part_in": _table(_measure_parts(project), _MEASURE_PART),
        "series_break_in": _table([_break(s, b) for s in project.sources.values() for b in s.breaks], _SERIES_BREAK),
        "indicator_in": _table([_indicator(project, i) for i in project.indicators.values()], _INDICATOR),
        "indicator_level_in": _table(
            [
                {
                    "indicator_id": i.id,
                    "area_level": level,
                    "figure": "rate" if isinstance(figure, FromRate) else "counts",
                    "rate_measure": figure.rate if isinstance(figure, FromRate) else None,
                }
                for i in project.indicators.values()
                for level, figure in i.levels.items()
            ],
            _INDICATOR_LEVEL,
        ),
        "benchmark_in": _benchmarks(project),
        "acting_break_in": _table([b.__dict__ for b in acting_breaks(project)], _ACTING_BREAK),
        "extent_change_in": _table(
            [{"area_id": area_id, "since": day} for area_id, day in extent_changes(project.directory)], _EXTENT_CHANGE
        ),
        **_index_tables(list(project.indexes.values())),
    }


def _benchmarks(project: Project) -> pa.Table:
    """Benchmarks of all indicators, each list made once for all that share it."""
    made: dict[int, pa.Table] = {}
    tables = []
    for indicator_id, entries in benchmarks(project).items():
        if id(entries) not in made:
            made[id(entries)] = _table([b.__dict__ for b in entries], pa.schema(list(_BENCHMARK)[1:]))
        table = made[id(entries)]
        tables.append(table.add_column(0, _BENCHMARK[0], pa.repeat(pa.scalar(indicator_id), len(table))))
    return pa.concat_tables(tables) if tables else _BENCHMARK.empty_table()


def _index_tables(indexes: list[CompositeIndex]) -> dict[str, pa.Table]:
    """What is declared of composite indexes, one row per index, indicator, level, class and excluded area."""
    return {
        "index_in": _table([_index(i) for i in indexes], _INDEX),
        "index_indicator_in": _table(
            [
                {
                    "index_id": i.id,
                    "indicator_id": entry.indicator,
                    "weight": entry.weight,
                    "change_indicator_id": entry.change,
                    "sort_key": position,
                }
                for i in indexes
                for position, entry in enumerate(i.indicators, 1)
            ],
            _INDEX_INDICATOR,
        ),
        "index_level_in": _table(
            [{"index_id": i.id, "area_level": level} for i in indexes for level in i.levels], _INDEX_LEVEL
        ),
        "index_class_in": _table([row for i in indexes for row in _classes(i)], _INDEX_CLASS),
        "index_exclusion_in": _table(
            [
                {"index_id": i.id, "area_id": entry.area, "reason": entry.reason}
                for i in indexes
                for entry in i.universe.exclude
            ],
            _INDEX_EXCLUSION,
        ),
    }


def _table(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema)


def _schema(**types: type) -> pa.Schema:
    arrow = {str: pa.string(), bool: pa.bool_(), int: pa.int32(), float: pa.float64(), dt.date: pa.date32()}
    return pa.schema([(name, arrow[kind]) for name, kind in types.items()])


_AREA = _schema(
    area_id=str, name=str, level=str, valid_from=dt.date, valid_to=dt.date, sort_key=int, number=str, source=str
)
_MEMBERSHIP = _schema(
    area_id=str, parent_id=str, valid_from=dt.date, valid_to=dt.date, weight=float, status=str, source=str
)
_MEASURE = _schema(
    measure_id=str,
    title=str,
    unit=str,
    kind=str,
    family=str,
    additive_over=str,
    title_en=str,
    period_type=str,
    formed_from=str,
    threshold=int,
    zeros=str,
    tolerance=float,
    rate_numerator=str,
    rate_numerator_category=str,
    rate_denominator=str,
    rate_denominator_category=str,
    rate_denominator_date=str,
)
_CATEGORY = _schema(measure_id=str, category=str, title_de=str, title_en=str, sort_key=int, part_of=str)
_MEASURE_PART = _schema(
    sum_id=str,
    measure_id=str,
    category=str,
    part_measure_id=str,
    part_category=str,
    periods=int,
    tolerance=float,
)
_SERIES_BREAK = _schema(
    source_id=str,
    measure_id=str,
    category=str,
    since=str,
    reference_date=dt.date,
    other_population=str,
    reason_de=str,
    reason_en=str,
)
_INDICATOR = _schema(
    indicator_id=str,
    title_de=str,
    title_en=str,
    definition_de=str,
    numerator=str,
    denominator=str,
    unit=str,
    decimals=int,
    polarity=str,
    owner=str,
    approved_by=str,
    approved_on=dt.date,
    definition_en=str,
    reading_aid_de=str,
    numerator_category=str,
    denominator_category=str,
    denominator_period_type=str,
    denominator_date=str,
    factor=float,
    topic=str,
    sort_key=int,
    part_of_whole=bool,
    small_base=int,
    interval_method=str,
    comparison_method=str,
    benchmark_area=str,
    benchmark_level=str,
    pooled_periods=int,
)
_INDICATOR_LEVEL = _schema(indicator_id=str, area_level=str, figure=str, rate_measure=str)


_BENCHMARK = _schema(indicator_id=str, area_id=str, benchmark_id=str, valid_from=dt.date, valid_to=dt.date)
_ACTING_BREAK = _schema(measure_id=str, category=str, area_level=str, reference_date=dt.date)
_EXTENT_CHANGE = _schema(area_id=str, since=dt.date)
_INDEX = _schema(
    index_id=str,
    title_de=str,
    title_en=str,
    definition_de=str,
    definition_en=str,
    reading_aid_de=str,
    universe_level=str,
    minimum_measure=str,
    minimum_category=str,
    minimum_value=float,
    dynamics_years=int,
    dynamics_from=str,
    owner=str,
    approved_by=str,
    approved_on=dt.date,
    sort_key=int,
)
_INDEX_INDICATOR = _schema(index_id=str, indicator_id=str, weight=float, change_indicator_id=str, sort_key=int)
_INDEX_LEVEL = _schema(index_id=str, area_level=str)
_INDEX_CLASS = _schema(
    index_id=str,
    dimension=str,
    class_id=str,
    title_de=str,
    title_en=str,
    sort_key=int,
    above=float,
    above_included=bool,
    upper=float,
    upper_included=bool,
)
_INDEX_EXCLUSION = _schema(index_id=str, area_id=str, reason=str)


def _index(index: CompositeIndex) -> dict[str, Any]:
    minimum, dynamics = index.universe.minimum, index.dynamics
    delivered = index.indicators[0].change is not None
    return {
        "index_id": index.id,
        "title_de": index.title.de,
        "title_en": index.title.en,
        "definition_de": index.definition.de,
        "definition_en": index.definition.en,
        "reading_aid_de": index.reading_aid.de if index.reading_aid else None,
        "universe_level": index.universe.level,
        "minimum_measure": minimum.measure if minimum else None,
        "minimum_category": minimum.category if minimum else None,
        "minimum_value": minimum.at_least if minimum else None,
        "dynamics_years": dynamics.years if dynamics else None,
        "dynamics_from": ("delivered" if delivered else "computed") if dynamics else None,
        "owner": index.owner,
        "approved_by": index.approved_by,
        "approved_on": index.approved_on,
        "sort_key": index.sort_key,
    }


def _classes(index: CompositeIndex) -> list[dict[str, Any]]:
    """Classes of status and dynamics with both limits: `above` < or <= value < or <= `upper`; None is no limit."""
    rows = []
    dimensions = {"status": index.classes, "dynamics": index.dynamics.classes if index.dynamics else []}
    for dimension, classes in dimensions.items():
        above, above_included = None, False
        for position, entry in enumerate(classes, 1):
            rows.append(
                {
                    "index_id": index.id,
                    "dimension": dimension,
                    "class_id": entry.id,
                    "title_de": entry.title.de,
                    "title_en": entry.title.en,
                    "sort_key": position,
                    "above": above,
                    "above_included": above_included,
                    "upper": entry.limit,
                    "upper_included": entry.up_to is not None,
                }
            )
            above, above_included = entry.limit, entry.below is not None
    return rows


def _pooled(project: Project, measure_id: str) -> int:
    """Number of periods that a figure of a measure covers."""
    formed = project.measures[measure_id].formed
    return formed.periods if formed else 1


def _categories(measure: Measure) -> list[dict[str, Any]]:
    total = {"category": TOTAL, "title_de": "insgesamt", "title_en": "total", "sort_key": 0, "part_of": None}
    rows = [total] if TOTAL in measure.all_categories() else []
    part_of = TOTAL if measure.category_total != "none" else None
    for position, category in enumerate(measure.categories, 1):
        title = {"title_de": category.title.de, "title_en": category.title.en}
        rows.append({"category": category.id, **title, "sort_key": position, "part_of": part_of})
    return [{"measure_id": measure.id, **row} for row in rows]


def _measure_parts(project: Project) -> list[dict[str, Any]]:
    return [
        {
            "sum_id": entry.sum_id,
            "measure_id": entry.total[0],
            "category": entry.total[1],
            "part_measure_id": measure,
            "part_category": category,
            "periods": entry.periods,
            "tolerance": entry.tolerance,
        }
        for entry in measure_sums(project)
        for measure, category in entry.parts
    ]


def _measure(project: Project, measure: Measure) -> dict[str, Any]:
    over = []
    if any(isinstance(f, RolledUp) for figures in measure.levels.values() for f in figures):
        over.append("area")
    if measure.category_total != "none":
        over.append("category")
    formed = None
    if measure.formed:
        formed = f"{measure.formed.measure}: {'+'.join(measure.formed.categories)}"
        formed += f" über {measure.formed.periods} Zeiträume" if measure.formed.periods > 1 else ""
    rule, rate = rule_of(project, measure), measure.rate_of
    return {
        "measure_id": measure.id,
        "title": measure.title.de,
        "unit": measure.unit,
        "kind": measure.kind,
        "family": measure.family,
        "additive_over": ";".join(over) or None,
        "title_en": measure.title.en,
        "period_type": measure.period_type,
        "formed_from": formed,
        "threshold": rule.threshold if rule else None,
        "zeros": ("hidden" if rule.zeros_hidden else "published") if rule else None,
        "tolerance": measure.tolerance,
        "rate_numerator": rate.numerator.measure if rate else None,
        "rate_numerator_category": rate.numerator.category if rate else None,
        "rate_denominator": rate.denominator.measure if rate else None,
        "rate_denominator_category": rate.denominator.category if rate else None,
        "rate_denominator_date": rate.denominator_date if rate else None,
    }


def _break(source: Source, entry: Break) -> dict[str, Any]:
    return {
        "source_id": source.id,
        "measure_id": entry.measure,
        "category": entry.category or ALL,
        "since": entry.since,
        "reference_date": parse_key(entry.since, source.layout.period.type),
        "other_population": entry.other_population,
        "reason_de": entry.reason.de,
        "reason_en": entry.reason.en,
    }


def _indicator(project: Project, indicator: Indicator) -> dict[str, Any]:
    numerator, denominator = indicator.numerator, indicator.denominator
    numerator_type = project.measures[numerator.measure].period_type if numerator else None
    by_year_end = indicator.denominator_date != "same"
    denominator_type = project.measures[denominator.measure].period_type if denominator else None
    return {
        "indicator_id": indicator.id,
        "title_de": indicator.title.de,
        "title_en": indicator.title.en,
        "definition_de": indicator.definition.de,
        "numerator": numerator.measure if numerator else None,
        "denominator": denominator.measure if denominator else None,
        "unit": indicator.unit,
        "decimals": indicator.decimals,
        "polarity": indicator.polarity,
        "owner": indicator.owner,
        "approved_by": indicator.approved_by,
        "approved_on": indicator.approved_on,
        "definition_en": indicator.definition.en,
        "reading_aid_de": indicator.reading_aid.de if indicator.reading_aid else None,
        "numerator_category": numerator.category if numerator else None,
        "denominator_category": denominator.category if denominator else TOTAL,
        "denominator_period_type": denominator_type if by_year_end else (denominator_type or numerator_type),
        "denominator_date": indicator.denominator_date,
        "factor": FACTORS[indicator.unit],
        "topic": project.topic(indicator),
        "sort_key": indicator.sort_key,
        "part_of_whole": indicator.part_of_whole,
        "small_base": small_base(project, project.measures[numerator.measure]) if numerator else 0,
        "interval_method": indicator.interval_method,
        "comparison_method": indicator.comparison.method,
        "benchmark_area": None if indicator.comparison.level else indicator.comparison.area or project.release.city,
        "benchmark_level": indicator.comparison.level,
        "pooled_periods": max([1, *[_pooled(project, part.measure) for part in (numerator, denominator) if part]]),
    }
