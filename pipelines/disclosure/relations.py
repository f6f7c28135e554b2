"""Relations between the cells, from what a project declares: areas, categories, sums of measures, parts and wholes.

Stands on the protector's side only: the audit derives its own relations from the published files.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipelines.disclosure.cells import HIDDEN, Cell, Key
from pipelines.marts.sums import Figure, measure_sums
from pipelines.project import Project
from schemas.documents import TOTAL, Measure

AREAS, CATEGORIES, SUMS, YEARS, WHOLES = "gebiete", "auspraegungen", "kennzahlen", "jahre", "teil_und_ganzes"
"""Kinds of relations, as counted in the report."""


REMAINDER = " ohne "
"""Stands in the measure of a hidden remainder between its whole and its part."""


@dataclass
class KeyRelation:
    """`|total - sum(weight * part)| <= tolerance`, by keys."""

    kind: str
    total: Key
    parts: list[tuple[Key, float]]
    tolerance: float = 0.0


@dataclass
class Remainders:
    """Hidden cells that stand for a whole without its part, by the keys of part and whole."""

    pairs: dict[Key, tuple[Key, Key]] = field(default_factory=dict)


def linked_measures(project: Project, start: set[str]) -> list[str]:
    """Measures that say something about the given ones, directly or by way of others, themselves included."""
    links: dict[str, set[str]] = defaultdict(set)
    pairs = [(s.total[0], part[0]) for s in measure_sums(project) for part in s.parts]
    pairs += [(n[0], d[0]) for n, d, _ in parts_and_wholes(project)]
    for one, other in pairs:
        links[one].add(other)
        links[other].add(one)
    found, waiting = set(start), list(start)
    while waiting:
        fresh = links[waiting.pop()] - found
        found |= fresh
        waiting += fresh
    return sorted(m for m in found if project.measures[m].kind == "count")


def parts_and_wholes(project: Project) -> list[tuple[Figure, Figure, str]]:
    """(part, whole, which date of the whole counts) as declared by indicators and by contracts; each once."""
    found: dict[tuple[Figure, Figure, str], None] = {}
    for indicator in project.indicators.values():
        if indicator.part_of_whole and indicator.numerator and indicator.denominator:
            numerator = (indicator.numerator.measure, indicator.numerator.category)
            denominator = (indicator.denominator.measure, indicator.denominator.category)
            found[numerator, denominator, indicator.denominator_date] = None
    for source in project.sources.values():
        for pair in source.contract.not_above:
            found[(pair.measure, pair.category), (pair.than, pair.than_category), "same"] = None
    for measure in project.measures.values():
        if measure.rate_of:
            numerator = (measure.rate_of.numerator.measure, measure.rate_of.numerator.category)
            denominator = (measure.rate_of.denominator.measure, measure.rate_of.denominator.category)
            found[numerator, denominator, measure.rate_of.denominator_date] = None
    counts = {m.id for m in project.measures.values() if m.kind == "count"}
    return [entry for entry in found if {entry[0][0], entry[1][0]} <= counts and entry[0] != entry[1]]


def date_of_whole(date: dt.date, rule: str) -> dt.date:
    """Reference date of the denominator that serves a numerator (`schemas.documents.Indicator.denominator_date`)."""
    return date if rule == "same" else dt.date(date.year - (rule == "previous_year_end"), 12, 31)


def build_relations(project: Project, cells: dict[Key, Cell]) -> tuple[list[KeyRelation], Remainders]:
    """All relations between the cells; parts nobody publishes are added to `cells` as hidden ones.

    Args:
        project: the declarations.
        cells: cells by key, of all linked measures; extended.

    Returns:
        Relations, and which part and whole each hidden remainder stands between.
    """
    relations = list(_over_areas(project, cells))
    relations += _over_categories(project, cells)
    relations += _over_measures(project, cells)
    remainders = Remainders()
    relations += _remainders(project, cells, remainders)
    return relations, remainders


def _hidden(cells: dict[Key, Cell], key: Key, like: Cell, *, level: str | None = None) -> Key:
    """The key itself; a cell nobody publishes is made for it if there is none."""
    if key not in cells:
        cells[key] = Cell(key, HIDDEN, whole=like.whole, period=like.period, level=level or like.level)
    return key


# ---------------------------------------------------------------- areas


class _Geography:
    """Which areas make up an area on a date: direct memberships, by level of the parts."""

    def __init__(self, project: Project, date: dt.date) -> None:
        areas = project.directory.areas
        self.parts: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
        for m in project.directory.memberships:
            child, parent = areas[m.area_id], areas[m.parent_id]
            inside = (m.valid_from or dt.date.min) <= date <= (m.valid_to or dt.date.max)
            if inside and child.valid_on(date) and parent.valid_on(date):
                self.parts[m.parent_id][child.level][m.area_id] = m.weight

    def ways_down(self, area_id: str, present: set[str]) -> Iterator[dict[str, float]]:
        """Parts with weights, per hierarchy; an area without a figure gives way to its own parts, if these have one."""
        for children in self.parts[area_id].values() if area_id in self.parts else []:
            found: dict[str, float] = defaultdict(float)
            for child, weight in children.items():
                below = None if child in present else next(self.ways_down(child, present), None)
                for part, share in (below or {child: 1.0}).items():
                    found[part] += weight * share
            if present & found.keys():
                yield dict(found)


def _over_areas(project: Project, cells: dict[Key, Cell]) -> list[KeyRelation]:
    geographies: dict[dt.date, _Geography] = {}
    groups: dict[tuple[str, str, str, dt.date], list[Key]] = defaultdict(list)
    for key in cells:
        groups[key[0], key[1], key[3], key[4]].append(key)
    relations = []
    for (measure, category, period_type, date), keys in groups.items():
        if date not in geographies:
            geographies[date] = _Geography(project, date)
        present = {key[2] for key in keys}
        for key in keys:
            tolerance = project.measures[measure].tolerance if cells[key].delivered else 0.0
            for parts in geographies[date].ways_down(key[2], present):
                named = [((measure, category, area, period_type, date), weight) for area, weight in parts.items()]
                for part, weight in named:
                    level = project.directory.areas[part[2]].level
                    _hidden(cells, part, cells[key], level=level)
                    if weight < 1 and cells[key].state != HIDDEN:
                        cells[key].smallest = min(cells[key].smallest, weight)
                relations.append(KeyRelation(AREAS, key, named, tolerance))
    return relations


# ---------------------------------------------------------------- categories and measures


def _over_categories(project: Project, cells: dict[Key, Cell]) -> list[KeyRelation]:
    relations = []
    for key in list(cells):
        measure: Measure | None = project.measures.get(key[0])
        if measure is None or key[1] != TOTAL or measure.category_total == "none":
            continue
        parts = [(key[0], category.id, *key[2:]) for category in measure.categories]
        if any(part in cells for part in parts):
            named = [(_hidden(cells, part, cells[key]), 1.0) for part in parts]
            relations.append(KeyRelation(CATEGORIES, key, named))
    return relations


def _over_measures(project: Project, cells: dict[Key, Cell]) -> list[KeyRelation]:
    by_total = defaultdict(list)
    for entry in measure_sums(project):
        by_total[entry.total].append(entry)
    dates: dict[tuple[str, int, int], dt.date] = {(k[3], k[4].year, k[4].month): k[4] for k in cells}
    relations = []
    for key in list(cells):
        for entry in by_total.get((key[0], key[1]), []):
            days = [dates.get((key[3], key[4].year - back, key[4].month)) for back in range(entry.periods)]
            parts = [(*figure, key[2], key[3], day) for figure in entry.parts for day in days if day]
            if all(days) and any(part in cells for part in parts):
                named = [(_hidden(cells, part, cells[key]), 1.0) for part in parts]
                kind = YEARS if entry.periods > 1 else SUMS
                relations.append(KeyRelation(kind, key, named, entry.tolerance))
    return relations


def _remainders(project: Project, cells: dict[Key, Cell], remainders: Remainders) -> list[KeyRelation]:
    """Whole = part + remainder, where both are there; a remainder is never published but must not be known either."""
    by_part = defaultdict(list)
    for figure, whole, rule in parts_and_wholes(project):
        by_part[figure].append((whole, rule))
    types = {m.id: m.period_type for m in project.measures.values()}
    relations = []
    for key in list(cells):
        for whole, rule in by_part.get((key[0], key[1]), []):
            other: Key = (*whole, key[2], types[whole[0]], date_of_whole(key[4], rule))
            part, above = cells[key], cells.get(other)
            if above is None or HIDDEN in (part.state, above.state):
                continue
            if part.value is not None and above.value is not None and part.value > above.value:
                continue  # a part above its whole is a fault that the run reports; nobody can subtract there
            rest: Key = (f"{whole[0]}/{whole[1]} {other[4]}{REMAINDER}{key[0]}", *key[1:])
            cell = Cell(rest, HIDDEN, whole=part.whole and above.whole, period=part.period, level=part.level)
            if part.value is not None and above.value is not None:
                cell.low = cell.high = above.value - part.value
            cells[rest] = cell
            remainders.pairs[rest] = (key, other)
            relations.append(KeyRelation(WHOLES, other, [(key, 1.0), (rest, 1.0)]))
    return relations
