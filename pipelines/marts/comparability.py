"""What may be compared with what, worked out from the declarations: breaks that act, changed extents, benchmarks."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.areas import Area, Directory, Membership
from pipelines.periods import parse_key
from pipelines.project import Project
from schemas.documents import ALL, TOTAL, Break, Formed, Measure, RolledUp, Source

ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True, order=True)
class ActingBreak:
    """From `reference_date` on, figures of a measure's category on a level are not comparable with earlier ones."""

    measure_id: str
    category: str
    area_level: str
    reference_date: dt.date


@dataclass(frozen=True, order=True)
class Benchmark:
    """With which area the values of an area are compared; None as a day stands for ever."""

    area_id: str
    benchmark_id: str
    valid_from: dt.date | None
    valid_to: dt.date | None


def acting_breaks(project: Project) -> list[ActingBreak]:
    """Declared breaks as they act on delivered, added-up and formed measures, level by level.

    A break of a source acts on every level its figures reach, on the measure's total if that is summed from the
    categories, and on measures formed of it; a figure over several years is mixed until all of them are on one side.
    """
    found = set()
    for source in project.sources.values():
        for entry in source.breaks:
            found |= set(_acting(project, source, entry))
    return sorted(found)


def _acting(project: Project, source: Source, entry: Break) -> Iterator[ActingBreak]:
    measure = project.measures[entry.measure]
    since = parse_key(entry.since, source.layout.period.type)
    assert since is not None  # checked with the project
    levels = [level for level in measure.levels if source.id in _suppliers(measure, level)]
    categories = [entry.category] if entry.category else measure.all_categories()
    if entry.category and measure.category_total == "summed":
        categories.append(TOTAL)
    for level in levels:
        for category in categories:
            yield ActingBreak(measure.id, category, level, since)
    for other in project.measures.values():
        if other.formed and other.formed.measure == measure.id and _touches(other.formed, entry.category, categories):
            for level in levels:
                yield ActingBreak(other.id, TOTAL, level, since)
                if other.formed.periods > 1:  # until then it holds years of both sides
                    yield ActingBreak(other.id, TOTAL, level, _years_later(since, other.formed.periods - 1))


def _touches(formed: Formed, broken: str | None, categories: list[str]) -> bool:
    """Whether a formed measure uses a broken category (None: all are)."""
    return broken is None or bool({*categories, ALL} & set(formed.categories))


def _suppliers(measure: Measure, level: str) -> set[str]:
    """Sources whose figures a level can hold, directly or as a sum of lower areas."""
    found: set[str] = set()
    for figure in measure.levels.get(level, []):
        found |= _suppliers(measure, figure.rolled_up) if isinstance(figure, RolledUp) else {figure}
    return found


def _years_later(day: dt.date, years: int) -> dt.date:
    return day.replace(year=day.year + years) if (day.month, day.day) != (2, 29) else dt.date(day.year + years, 3, 1)


def extent_changes(directory: Directory) -> list[tuple[str, dt.date]]:
    """(area, day): from that day on the area consists of other parts, though it kept its id.

    A part that existed on both sides of the day has joined or left, or belongs to it with another weight; a part ended
    there and none began, or the other way round; or parts were cut anew under several wholes of a level on one day,
    so that the new ones may lie across. Parts cut anew within one whole leave it as it was.
    """
    parts: dict[str, list[Membership]] = defaultdict(list)
    for membership in directory.closure():
        parts[membership.parent_id].append(membership)
    found: set[tuple[str, dt.date]] = set()
    recut: dict[tuple[str, dt.date], list[str]] = defaultdict(list)
    for whole, members in parts.items():
        days = {m.valid_from for m in members if m.valid_from} | {m.valid_to + ONE_DAY for m in members if m.valid_to}
        for day in days:
            change = _change(directory, members, day)
            if change == "moved":
                found.add((whole, day))
            elif change == "recut" and whole in directory.areas:
                recut[directory.areas[whole].level, day].append(whole)
    found |= {(whole, day) for (_, day), wholes in recut.items() if len(wholes) > 1 for whole in wholes}
    return sorted(found)


def _change(directory: Directory, members: list[Membership], day: dt.date) -> str:
    """What happened to the parts of an area on a day: "" nothing, "moved" its extent changed, "recut" perhaps not."""
    before, after = _weights(members, day - ONE_DAY), _weights(members, day)
    changed = [area for area in before.keys() | after.keys() if before.get(area) != after.get(area)]
    known = [directory.areas[area] for area in changed if area in directory.areas]
    if any(area.valid_on(day) and area.valid_on(day - ONE_DAY) for area in known):
        return "moved"
    lost, gained = before.keys() - after.keys(), after.keys() - before.keys()
    if not lost and not gained:
        return ""
    return "recut" if lost and gained else "moved"


def _weights(members: list[Membership], day: dt.date) -> dict[str, float]:
    """Part -> weight on a day."""
    return {m.area_id: m.weight for m in members if (m.valid_from or dt.date.min) <= day <= (m.valid_to or dt.date.max)}


def benchmarks(project: Project) -> dict[str, list[Benchmark]]:
    """Per indicator the area to compare each area with; none where it belongs to no or to several such areas.

    Indicators that are compared in the same way share one list: in a large city these lists are long.
    """
    found: dict[tuple[str | None, str | None, tuple[str, ...]], list[Benchmark]] = {}
    upwards: dict[str, list[Membership]] = defaultdict(list)
    for membership in project.directory.closure():
        upwards[membership.area_id].append(membership)
    shared = {}
    for indicator in project.indicators.values():
        level, area, levels = indicator.comparison.level, indicator.comparison.area, tuple(indicator.levels)
        if (level, area, levels) not in found:
            benchmark = area or project.release.city
            compared = [a for a in project.directory.areas.values() if a.level in levels]
            if level is None:
                pairs = [Benchmark(a.area_id, benchmark, None, None) for a in compared]
            else:
                pairs = [b for a in compared for b in _parents(project, a, level, upwards[a.area_id])]
            found[level, area, levels] = sorted(
                pairs, key=lambda b: (b.area_id, b.benchmark_id, b.valid_from or dt.date.min)
            )
        shared[indicator.id] = found[level, area, levels]
    return shared


def _parents(project: Project, area: Area, level: str, upwards: list[Membership]) -> Iterator[Benchmark]:
    """The areas of a level that an area belongs to as a whole."""
    areas = project.directory.areas
    if area.level == level:
        yield Benchmark(area.area_id, area.area_id, None, None)
    for m in upwards:
        if m.weight == 1 and m.parent_id in areas and areas[m.parent_id].level == level:
            yield Benchmark(area.area_id, m.parent_id, m.valid_from, m.valid_to)
