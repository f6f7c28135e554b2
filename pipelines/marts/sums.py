"""Sums across measures that everybody may know of: formed measures, and what a contract says adds up. Only YAML."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.project import Project
from schemas.documents import ALL, TOTAL, Agrees, Source

Figure = tuple[str, str]
"""Measure id and category."""


@dataclass(frozen=True)
class MeasureSum:
    """`total` = sum of `parts` over the named period and the `periods` - 1 years before it, up to a tolerance."""

    sum_id: str
    total: Figure
    parts: tuple[Figure, ...]
    periods: int = 1
    tolerance: float = 0.0


def measure_sums(project: Project) -> list[MeasureSum]:
    """All of them, by id; sums over the categories of one measure are told by its split, not here."""
    sums = []
    for measure in project.measures.values():
        if measure.formed:
            parts = tuple((measure.formed.measure, category) for category in measure.formed.categories)
            sums.append(MeasureSum(f"{measure.id} gebildet", (measure.id, TOTAL), parts, measure.formed.periods))
    for source in project.sources.values():
        for number, added in enumerate(source.contract.adds_up, 1):
            parts = tuple((part.measure, part.category) for part in added.parts)
            total = (added.total.measure, added.total.category)
            sums.append(MeasureSum(f"{source.id} Summe {number}", total, parts, 1, added.tolerance))
        for number, entry in enumerate(source.contract.agrees, 1):
            sums += _agreement(project, source, number, entry)
    return sorted((s for s in sums if (s.total,) != s.parts), key=lambda s: s.sum_id)


def _agreement(project: Project, source: Source, number: int, entry: Agrees) -> list[MeasureSum]:
    """Two sources that count the same; not where a break makes that untrue or the gap allowed is a share."""
    broken = {b.measure for s in (source, project.sources[entry.source]) for b in s.breaks if b.other_population}
    if entry.tolerance_percent or {entry.measure, entry.with_measure} & broken:
        return []
    mine = _figures(project, entry.measure, entry.categories)
    theirs = _figures(project, entry.with_measure, entry.with_categories)
    name = f"{source.id} Abgleich {number}"
    if len(theirs) == 1:
        return [MeasureSum(name, theirs[0], mine, 1, entry.tolerance)]
    return [MeasureSum(name, mine[0], theirs, 1, entry.tolerance)] if len(mine) == 1 else []


def _figures(project: Project, measure: str, categories: list[str]) -> tuple[Figure, ...]:
    codes = [c.id for c in project.measures[measure].categories] if ALL in categories else categories
    return tuple((measure, code) for code in codes)
