"""Rules that look at a whole delivery: sums within it and agreement with other sources, and the way to the others.

Blocks of the wrong period: `blocks`; wrong labels: `labels`; changes over time: `series`; what is missing or new:
`extent`. No rule is written for one file. Figures are never fetched, only findings, no more of them than are listed.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.areas import Directory
from pipelines.files import quoted
from pipelines.intake.blocks import PLAUSIBLE_TOTAL, find_equal_totals, find_repeated, side_by_side
from pipelines.intake.extent import compare_extent
from pipelines.intake.failures import Findings
from pipelines.intake.figures import ENOUGH, Figures, Row, Slot, connection, files_of
from pipelines.intake.labels import find_mislabelled
from pipelines.intake.past import Memory, Past
from pipelines.intake.phrases import day, digits, number, percent, when
from pipelines.intake.quiet import nothing_to_say
from pipelines.intake.series import compare_periods
from schemas.documents import ALL, TOTAL, AddsUp, Agrees, Measure, Part, Source

ROUNDING = 1e-6
"""Gaps up to this size come from adding binary fractions."""
BLOCK = 5
"""From so many areas on (and more than half), a contradiction is said of the whole block, once."""

_OF_BLOCKS = ("block_wiederholt", "groesse_widerspricht", "summe_anderer_zeitraum")


def compare(
    reading: Path,
    source: Source,
    measures: dict[str, Measure],
    directory: Directory,
    findings: Findings,
    earlier: list[Past],
    others: dict[str, list[Past]],
    rows_lost: bool = False,
    memory: Memory | None = None,
) -> None:
    """Note in `findings` where a delivery contradicts itself, earlier deliveries or other sources.

    Args:
        reading: the delivery's figures (Parquet, columns of `contract.READING`); rows without key are passed over.
        source: its source, with contract and breaks.
        measures: all measures by id.
        directory: all areas.
        findings: where the findings go; rules that are off there cost nothing.
        earlier: accepted, not retracted deliveries of the source with a lower sequence number. Per slice (measure,
            period, level) the one with the highest number supplies all of it.
        others: the same for each source named in `contract.agrees`.
        rows_lost: not all rows could be read, so that nothing may be said to be missing.
        memory: what is known of the source's readings already.
    """
    if nothing_to_say(reading, source, measures, directory, earlier, memory or Memory()):
        return
    theirs = [past for entry in source.compared_with() for past in others.get(entry, [])]
    with connection(reading, [*earlier, *theirs]) as con:
        declared = earlier or theirs or source.contract.change or _sums_declared(source, measures)
        if not declared and not con.execute(_SEVERAL.format(path=quoted(reading))).fetchall():
            return  # one period or one area, and nothing to compare it with
        figures = Figures(con, reading, source, measures, directory, findings, earlier)
        figures.titles = {entry: pasts[0].title or entry for entry, pasts in others.items() if pasts}
        if not figures.places:
            return  # not one row with a key
        _parts(figures)
        _areas(figures)
        _agreement(figures, others)
        if figures.longest > 1 and not figures.off(*_OF_BLOCKS):
            pairs = side_by_side(figures)
            find_repeated(figures, pairs)
            find_mislabelled(figures, pairs)
            find_equal_totals(figures)
        compare_periods(figures)
        compare_extent(figures, reading, rows_lost)


_SEVERAL = """
    SELECT 1 FROM read_parquet('{path}')
    HAVING count(DISTINCT reference_date) > 1 AND count(DISTINCT area_id) > 1
"""


def _sums_declared(source: Source, measures: dict[str, Measure]) -> bool:
    totals = [name for name in source.layout.measures() if measures[name].category_total == "delivered"]
    return bool(source.contract.adds_up or source.contract.areas_add_up or totals)


def _never_negative(figures: Figures, names: set[str]) -> bool:
    """Whether known parts alone can prove a total too small."""
    minima = [figures.measures[name].minimum for name in names]
    return all(minimum is not None and minimum >= 0 for minimum in minima)


# ---------------------------------------------------------------- parts and total

_PARTS = f"""
    SELECT p.entry, f.area, max(s.slot) FILTER (p.whole) AS slot,
        sum(f.value) FILTER (NOT p.whole) AS parts, count(f.value) FILTER (NOT p.whole) AS known,
        any_value(p.wanted) AS wanted, max(f.value) FILTER (p.whole) AS total,
        max(f.line) FILTER (p.whole) AS line, max(f.place) FILTER (p.whole) AS place
    FROM figure f
    JOIN slot s USING (slot)
    JOIN part p ON p.measure = s.measure AND p.category = s.category
    WHERE s.delivery = 0
    GROUP BY p.entry, f.area, s.date, s.occurrence
    HAVING CASE WHEN known = any_value(p.wanted) THEN abs(parts - total) > any_value(p.tolerance) + {ROUNDING}
        ELSE any_value(p.positive) AND parts > total + any_value(p.tolerance) + {ROUNDING} END
"""


def _parts(figures: Figures) -> None:
    """Parts add up to the total, where all of them are given; known parts never exceed it."""
    entries = _sums(figures)
    if not entries or figures.off("summe_der_teile"):
        return
    rows = []
    for index, entry in enumerate(entries):
        shared = {
            "entry": index,
            "wanted": len(entry.parts),
            "tolerance": entry.tolerance,
            "positive": _never_negative(figures, {part.measure for part in entry.parts}),
        }
        rows += [{**shared, **part.model_dump(), "whole": part is entry.total} for part in (entry.total, *entry.parts)]
    figures.table("part", pa.Table.from_pylist(rows))
    for row in figures.found("summe_der_teile", _PARTS, "line, place, entry"):
        entry = entries[row.entry]
        title = figures.title(entry.total.measure, entry.total.category)
        names = ", ".join(figures.title(part.measure, part.category) for part in entry.parts[:6])
        names += f" und {len(entry.parts) - 6} weitere" if len(entry.parts) > 6 else ""
        parts = "die Teile ergeben" if row.known == row.wanted else "schon die bekannten Teile ergeben"
        figures.findings.add(
            "summe_der_teile",
            f"{figures.area(row.area)} {when(figures.slots[row.slot].period)}: »{title}« ist {number(row.total)}, "
            f"{parts} {number(row.parts)} ({names})",
            _expected(row.parts, entry.tolerance, at_least=row.known < row.wanted),
            value=digits(row.total),
            **figures.cell(row).keys(),
        )


def _sums(figures: Figures) -> list[AddsUp]:
    """Declared sums, and each split against its delivered total."""
    declared = figures.source.contract.adds_up
    entries = list(declared)
    known = {(entry.total, frozenset(entry.parts)) for entry in declared}
    for name in figures.source.layout.measures():
        measure = figures.measures[name]
        if measure.kind == "count" and measure.category_total == "delivered":
            total, parts = Part(measure=name), [Part(measure=name, category=c.id) for c in measure.categories]
            if (total, frozenset(parts)) not in known:
                entries.append(AddsUp(total=total, parts=parts, tolerance=measure.tolerance))
    return entries


def _expected(value: float, tolerance: float, at_least: bool = False) -> str:
    text = f"{'mindestens ' if at_least else ''}{number(value)}"
    return f"{text} (erlaubte Abweichung {number(tolerance)})" if tolerance else text


# ---------------------------------------------------------------- areas and the area above

_AREAS = f"""
    WITH link AS (
        SELECT w.entry, d.date, w.area, w.parent, least(1, sum(w.weight)) AS weight
        FROM way w
        JOIN (SELECT DISTINCT date FROM slot WHERE delivery = 0) d ON d.date BETWEEN w.starts AND w.ends
        GROUP BY ALL
    ), needed AS (
        SELECT entry, date, parent, count(*) AS wanted FROM link GROUP BY ALL
    ), added AS (
        SELECT l.entry, a.tolerance, a.positive, s.measure, s.category, s.date, s.occurrence, l.parent,
            sum(f.value * l.weight) AS parts, count(f.value) AS known
        FROM asked a
        JOIN slot s ON s.measure = a.measure AND s.delivery = 0 AND NOT s.summed
        JOIN figure f ON f.slot = s.slot
        JOIN link l ON l.entry = a.entry AND l.area = f.area AND l.date = s.date
        GROUP BY ALL
    )
    SELECT a.entry, a.measure, a.category, t.period, a.parent AS area, a.parts, a.known, n.wanted,
        f.value AS total, f.line, f.place
    FROM added a
    JOIN needed n ON n.entry = a.entry AND n.date = a.date AND n.parent = a.parent
    JOIN slot t ON t.measure = a.measure AND t.category = a.category AND t.date = a.date
        AND t.occurrence = a.occurrence AND t.delivery = 0
    JOIN figure f ON f.slot = t.slot AND f.area = a.parent
    WHERE CASE WHEN a.known = n.wanted THEN abs(a.parts - f.value) > a.tolerance + {ROUNDING}
        ELSE a.positive AND a.parts > f.value + a.tolerance + {ROUNDING} END
"""


def _areas(figures: Figures) -> None:
    """The areas of a level add up to the delivered figure of the area above, by the memberships valid on the day.

    An area that reaches the same parent on two ways counts once.
    """
    entries = figures.source.contract.areas_add_up
    if not entries or figures.off("summe_der_gebiete"):
        return
    numbers = {area_id: number for number, area_id in enumerate(figures.area_ids)}
    levels = {area.area_id: area.level for area in figures.directory.areas.values()}
    ways, asked = [], []
    for index, entry in enumerate(entries):
        ways += [
            (index, numbers[m.area_id], numbers[m.parent_id], m.weight, *_span(m.valid_from, m.valid_to))
            for m in figures.directory.closure()
            if levels[m.area_id] == entry.level and levels[m.parent_id] == entry.to
        ]
        wanted = entry.measures or [name for name in figures.source.layout.measures() if name in figures.counts]
        asked += [(index, name, entry.tolerance, _never_negative(figures, {name})) for name in wanted]
    figures.table("way", _table(ways, ["entry", "area", "parent", "weight", "starts", "ends"]))
    figures.table("asked", _table(asked, ["entry", "measure", "tolerance", "positive"]))
    for row in figures.found("summe_der_gebiete", _AREAS, "line, place, entry") if ways else []:
        entry = entries[row.entry]
        known = f"{row.known} von {row.wanted}" if row.known < row.wanted else f"{row.wanted}"
        figures.findings.add(
            "summe_der_gebiete",
            f"{figures.area(row.area)} {when(row.period)}: »{figures.title(row.measure, row.category)}« ist "
            f"{number(row.total)}, die {known} Gebiete der Ebene {entry.level} ergeben zusammen {number(row.parts)}",
            _expected(row.parts, entry.tolerance, at_least=row.known < row.wanted),
            value=digits(row.total),
            **figures.cell(row).keys(),
        )


def _span(start: dt.date | None, end: dt.date | None) -> tuple[dt.date, dt.date]:
    return start or dt.date(1, 1, 1), end or dt.date(9999, 12, 31)


def _table(rows: list[Any], names: list[str]) -> pa.Table:
    return pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))) if rows else pa.table({})


# ---------------------------------------------------------------- other sources

_THEIRS = """
    CREATE TEMP TABLE theirs AS
    WITH given AS (
        SELECT o.source, o.seq, r.measure_id, r.category, r.area_id, r.area_level, r.period, r.value
        FROM read_parquet({files}) r
        JOIN other o ON o.number = r.file_index
    ), newest AS (
        SELECT source, measure_id, area_level, period, max(seq) AS seq FROM given GROUP BY ALL
    )
    SELECT w.entry, a.area, g.area_level AS level, g.period, sum(g.value) AS value
    FROM given g
    JOIN newest n ON n.source = g.source AND n.seq = g.seq AND n.measure_id = g.measure_id
        AND n.area_level = g.area_level AND n.period = g.period
    JOIN wanted w ON NOT w.ours AND w.source = g.source AND w.measure = g.measure_id AND w.category = g.category
    JOIN area a ON a.area_id = g.area_id
    GROUP BY w.entry, a.area, g.area_level, g.period
    HAVING count(g.value) = any_value(w.parts)
"""
_COMPARED = f"""
    CREATE TEMP TABLE compared AS
    WITH ours AS (
        SELECT w.entry, w.parts, w.tolerance, w.tolerance_percent, s.*
        FROM slot s JOIN wanted w ON w.ours AND w.measure = s.measure AND w.category = s.category
        WHERE s.delivery = 0 AND NOT list_contains($exempt, s.slot)
    )
    SELECT o.entry, o.block, o.level, o.period, f.area, sum(f.value) AS ours, t.value AS theirs,
        any_value(o.parts) > 1 AS summed, min(f.line) AS line, min(f.place) AS place,
        abs(ours - theirs) > {ROUNDING}
            + greatest(any_value(o.tolerance), any_value(o.tolerance_percent) / 100 * abs(theirs)) AS differs
    FROM ours o
    JOIN figure f ON f.slot = o.slot
    JOIN theirs t ON t.entry = o.entry AND t.area = f.area AND t.period = o.period
    GROUP BY o.entry, o.block, o.level, o.period, f.area, t.value
    HAVING count(f.value) = any_value(o.parts)
"""
_DISAGREEING = f"""
    CREATE TEMP TABLE disagreeing AS
    WITH elsewhere AS (
        SELECT entry, level, period, count(*) AS n, sum(value) AS total FROM theirs GROUP BY ALL
    ), here AS (
        SELECT entry, block, level, period, count(*) AS n, count(*) FILTER (differs) AS wrong, sum(ours) AS ours,
            sum(theirs) AS theirs, count(*) FILTER (ours > theirs) AS above, count(*) FILTER (ours < theirs) AS below
        FROM compared
        GROUP BY ALL
        HAVING wrong >= {BLOCK} AND wrong * 2 > count(*)
    )
    SELECT h.*, min(e.period) AS other
    FROM here h
    LEFT JOIN elsewhere e ON e.entry = h.entry AND e.level = h.level AND e.n = h.n AND e.total = h.ours
        AND e.period <> h.period AND h.n >= {ENOUGH} AND h.ours >= {PLAUSIBLE_TOTAL}
    GROUP BY ALL
    ORDER BY h.period, h.entry
"""
"""Blocks of which most areas disagree; `other`: the other source has this total in that period."""


def _agreement(figures: Figures, others: dict[str, list[Past]]) -> None:
    """Figures agree with those of another source.

    Blocks whose total is the other source's of another period are accused: they are not of the period they name.
    """
    entries = [entry for entry in figures.source.contract.agrees if others.get(entry.source)]
    if not entries or figures.off("stimmt_mit_quelle"):
        return
    given = [past for source in sorted({entry.source for entry in entries}) for past in others[source]]
    numbered = [(number, past.source, past.seq) for number, past in enumerate(given)]
    figures.table("other", _table(numbered, ["number", "source", "seq"]))
    figures.table("wanted", _wanted(figures, entries))
    figures.con.execute(_THEIRS.format(files=files_of(given)))
    figures.con.execute(_COMPARED, {"exempt": [slot.slot for slot in figures.slots.values() if _exempt(figures, slot)]})
    figures.con.execute(_DISAGREEING)
    for row in figures.rows("FROM disagreeing"):
        _say_block(figures, entries[row.entry], row)
        if row.other and not _same_sum(row):
            figures.accuse(figures.block(row.block))
    single = "SELECT * FROM compared ANTI JOIN disagreeing USING (entry, block) WHERE differs"
    for row in figures.found("stimmt_mit_quelle", single, "line, place, entry"):
        entry = entries[row.entry]
        name, other = _names(figures, entry)
        figures.findings.add(
            "stimmt_mit_quelle",
            f"{figures.area(row.area)} {when(row.period)}: {name} ist {number(row.ours)}, {other} {number(row.theirs)}",
            _near(row.theirs, entry),
            value=digits(row.ours),
            **figures.cell(row, row.summed).keys(),
        )


def _exempt(figures: Figures, slot: Slot) -> bool:
    """On one side of some declared breaks other people or cases are counted than elsewhere."""
    return any(
        entry.measure == slot.measure
        and entry.category in (None, slot.category)
        and entry.other_population == ("before" if slot.period < entry.since else "after")
        for entry in figures.source.breaks
    )


def _wanted(figures: Figures, entries: list[Agrees]) -> pa.Table:
    """One row per figure that is added up, on our side and on the other."""
    rows = []
    for index, entry in enumerate(entries):
        limits = {"tolerance": entry.tolerance, "tolerance_percent": entry.tolerance_percent}
        sides = ((True, entry.measure, entry.categories), (False, entry.with_measure, entry.with_categories))
        for ours, measure, given in sides:
            codes = _codes(figures, measure, given)
            shared = {"entry": index, "ours": ours, "source": entry.source, "measure": measure, "parts": len(codes)}
            rows += [{**shared, "category": code, **limits} for code in codes]
    return pa.Table.from_pylist(rows)


def _codes(figures: Figures, measure: str, given: list[str]) -> list[str]:
    return [category.id for category in figures.measures[measure].categories] if given == [ALL] else given


def _names(figures: Figures, entry: Agrees) -> tuple[str, str]:
    """How to call our figure and the other source's."""

    def name(measure: str, categories: list[str]) -> str:
        if len(categories) == 1 and categories != [ALL]:
            return f"»{figures.title(measure, categories[0])}«"
        return f"die Summe von »{figures.title(measure, TOTAL)}«"

    ours, theirs = name(entry.measure, entry.categories), name(entry.with_measure, entry.with_categories)
    return ours, f"{theirs} in der Quelle »{figures.titles[entry.source]}«"


def _near(value: float, entry: Agrees) -> str:
    if entry.tolerance_percent:
        return f"{number(value)} (erlaubte Abweichung {number(entry.tolerance_percent)} %)"
    return _expected(value, entry.tolerance)


def _same_sum(row: Row) -> bool:
    return bool(abs(row.ours - row.theirs) <= ROUNDING)


def _say_block(figures: Figures, entry: Agrees, row: Row) -> None:
    """One finding for a block of which most areas disagree, with the likely cause."""
    name, other = _names(figures, entry)
    codes = _codes(figures, entry.measure, entry.categories)
    slots = [slot for slot in figures.block(row.block) if slot.category in codes]
    expected = f"{number(row.theirs)} wie in der Quelle »{figures.titles[entry.source]}«"
    if _same_sum(row):
        cause = "Die Summe ist dieselbe: vermutlich stehen die Zahlen bei anderen Gebieten"
        expected = f"jede Zahl beim richtigen Gebiet, wie in der Quelle »{figures.titles[entry.source]}«"
    elif row.other:
        cause = (
            f"Die Summe {number(row.ours)} ist die der Quelle »{figures.titles[entry.source]}« {when(row.other)}: "
            f"vermutlich stimmt die Zeitangabe {day(row.period)} nicht"
        )
    else:
        way, share = ("höher", row.above) if row.above >= row.below else ("niedriger", row.below)
        ratio = f" (zusammen {percent(row.ours / row.theirs - 1)})" if row.theirs else ""
        cause = f"In {share} von {row.n} Gebieten ist die Zahl {way}{ratio}"
        cause += ": vermutlich sind andere Personen oder Fälle gezählt" if share == row.n else ""
    figures.findings.add(
        "stimmt_mit_quelle",
        f"{when(row.period)[:1].upper()}{when(row.period)[1:]} weichen {row.wrong} von {row.n} Gebieten ab: {name} ist "
        f"zusammen {number(row.ours)}, {other} {number(row.theirs)}. {cause}",
        expected,
        value=digits(row.ours),
        **figures.spot(slots).keys(),
    )
