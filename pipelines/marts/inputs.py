"""What the marts read besides the observation: areas, measures and indicators as declared in YAML and CSV.

The names of these inputs end in `_in`; no mart has such a name, so an input never shadows a table.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa

from pipelines.disclosure.rules import rule_of, small_base
from pipelines.marts.sums import measure_sums
from pipelines.periods import parse_key
from pipelines.project import Project
from schemas.documents import ALL, TOTAL, Break, FromRate, Indicator, Measure, RolledUp, Source

FACTORS = {"percent": 100.0, "per_1000": 1000.0, "ratio": 1.0, "persons": 1.0}
OBSERVATION_IN = "observation_in"


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
)
_INDICATOR_LEVEL = _schema(indicator_id=str, area_level=str, figure=str, rate_measure=str)


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
    }
