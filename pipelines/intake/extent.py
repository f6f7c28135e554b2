"""What a delivery lacks, has anew or has otherwise beside those before it: areas, categories, periods, figures."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from pipelines.files import quoted
from pipelines.intake.figures import Figures, Row, Slot
from pipelines.intake.phrases import day, digits, number, when, whens

ANNOUNCED = 400
"""An area that begins in the directory at most so many days before its first figures is no surprise."""
NEW_SHARE = 0.5
"""If more than so many of the known areas are added at once, what came before was only a part."""

_KEYLESS = """
    SELECT 1 FROM read_parquet('{reading}')
    WHERE measure_id IS NULL OR area_id IS NULL OR reference_date IS NULL
    LIMIT 1
"""


def compare_extent(figures: Figures, reading: Path, rows_lost: bool = False) -> None:
    """Look for what is missing (unless rows that were lost or have no key may hold it), changed or new."""
    _revisions(figures)
    if (
        figures.earlier
        and not rows_lost
        and not figures.con.execute(_KEYLESS.format(reading=quoted(reading))).fetchall()
    ):
        _coverage(figures)
        _periods_gone(figures)
    _new_areas(figures)


_REVISED = """
    WITH pair AS (
        SELECT h.block, h.measure, h.category, h.period, o.delivery, h.slot AS here, o.slot AS before,
            bool_or(o.laid IS DISTINCT FROM h.laid) OVER (PARTITION BY h.block) AS other
        FROM slot o
        JOIN slot h ON h.delivery = 0 AND h.series = o.series AND h.period = o.period AND h.occurrence = 1
        WHERE NOT o.current AND NOT o.summed AND o.occurrence = 1 AND NOT list_contains($accused, h.slot)
    ), known AS (
        SELECT p.*, f.area, f.line, f.place, f.value, b.value AS was, abs(f.value - b.value) > 1e-9 AS differs
        FROM pair p
        JOIN figure f ON f.slot = p.here
        JOIN figure b ON b.slot = p.before AND b.area = f.area
        WHERE p.other AND f.value IS NOT NULL AND b.value IS NOT NULL
    ), counted AS (
        SELECT block, count(*) AS n, count(*) FILTER (differs) AS changed FROM known GROUP BY block
    )
    SELECT k.*, c.n, c.changed
    FROM known k JOIN counted c USING (block)
    WHERE k.differs
    QUALIFY row_number() OVER (
        PARTITION BY k.block
        ORDER BY abs(k.value - k.was) / sqrt(abs(k.value) + abs(k.was) + 1) DESC, k.line, k.place, k.area
    ) = 1
    ORDER BY k.line, k.place
"""
"""Of each block with changed figures the strongest change, measured by the chance scatter of counts."""


def _revisions(figures: Figures) -> None:
    """Figures in force that this delivery replaces by others. Blocks that are accused already are passed over."""
    if not figures.earlier or figures.off("revision"):
        return
    for row in figures.rows(_REVISED, {"accused": sorted(figures.accused)}):
        verb = "ändert sich" if row.changed == 1 else "ändern sich"
        time, block = when(row.period), figures.block(row.block)
        before = figures.earlier[row.delivery - 1].delivery_id
        most = row.n > 1 and row.changed * 2 > row.n
        figures.findings.add(
            "revision",
            f"{time[:1].upper()}{time[1:]} {verb} {row.changed} von {row.n} bereits geltenden Zahlen, am stärksten "
            f"{figures.area(row.area)} von {number(row.was)} auf {number(row.value)} "
            f"(»{figures.title(row.measure, row.category)}«; bisher gilt {before})",
            "die bisherigen Zahlen, oder eine Bestätigung, dass sie berichtigt sind",
            value=digits(row.value),
            **(figures.spot(block) if most else figures.cell(row)).keys(),
        )


_AREAS_GONE = """
    WITH both_have AS (
        SELECT o.slot, h.slot AS here, o.measure, o.level, o.period, o.delivery
        FROM slot o
        JOIN slot h ON h.delivery = 0 AND h.measure = o.measure AND h.category = o.category AND h.level = o.level
            AND h.period = o.period AND h.occurrence = 1
        WHERE NOT o.current AND NOT o.summed AND o.n > 0
    ), gone AS (
        SELECT b.measure, b.level, b.period, b.delivery, list(DISTINCT f.area ORDER BY f.area) AS areas
        FROM both_have b
        JOIN figure f ON f.slot = b.slot
        ANTI JOIN figure h ON h.slot = b.here AND h.area = f.area
        WHERE f.value IS NOT NULL
        GROUP BY b.measure, b.level, b.period, b.delivery
    )
    SELECT measure, level, areas, max(delivery) AS delivery, list(DISTINCT period ORDER BY period) AS periods
    FROM gone
    GROUP BY measure, level, areas
"""


def _coverage(figures: Figures) -> None:
    """What a delivery in force has, its successor has too: areas with a value, and categories."""
    if figures.off("abdeckung"):
        return
    for (measure, category, level), slots in sorted(_categories_gone(figures).items()):
        times = whens([slot.period for slot in slots])
        _say_gone(figures, f"»{figures.title(measure, category)}« fehlt {times} ganz (Ebene {level})", slots[-1])
    for row in figures.found("abdeckung", _AREAS_GONE, "measure, level, periods"):
        verb, noun = ("fehlt", "Gebiet") if len(row.areas) == 1 else ("fehlen", "Gebiete")
        what = f"»{figures.title(row.measure, None)}«: {whens(row.periods)} {verb} auf der Ebene {row.level} "
        _say_gone(figures, f"{what}{len(row.areas)} {noun}: {figures.areas(row.areas)}", row)


def _categories_gone(figures: Figures) -> dict[tuple[str, str, str], list[Slot]]:
    """Columns of figures that are superseded by a delivery that has their block, but not them."""
    here = {(slot.measure, slot.level, slot.period) for slot in figures.slots.values() if not slot.delivery}
    known = {(slot.series, slot.period) for slot in figures.slots.values() if not slot.delivery}
    gone: dict[tuple[str, str, str], list[Slot]] = {}
    for slot in figures.slots.values():
        lost = slot.n and not slot.summed and (slot.series, slot.period) not in known
        if lost and (slot.measure, slot.level, slot.period) in here:
            gone.setdefault((slot.measure, slot.category, slot.level), []).append(slot)
    return gone


def _say_gone(figures: Figures, what: str, had: Slot | Row) -> None:
    message = f"{what}. Zuletzt geliefert{figures.delivery(had.delivery)}"
    figures.findings.add("abdeckung", message, "mindestens so viel wie in der vorigen Lieferung")


def _periods_gone(figures: Figures) -> None:
    """Periods that the delivery before had and this one should have, for it is a series of the same kind.

    A gap in the middle is always said; periods at the ends only if at least half of this delivery's periods (and three)
    were in the one before, and this one ends earlier or holds fewer: a file with one year per delivery, or with the
    last ten years each time, is left alone.
    """
    if figures.off("zeitraum_entfallen"):
        return
    periods: dict[tuple[str, str], dict[int, set[str]]] = {}
    for slot in figures.slots.values():
        if slot.delivery in (0, len(figures.earlier)):
            periods.setdefault((slot.measure, slot.level), {}).setdefault(slot.delivery, set()).add(slot.period)
    for (measure, level), by_delivery in sorted(periods.items()):
        here, had = by_delivery.get(0, set()), by_delivery.get(len(figures.earlier), set())
        gone = unexpectedly_gone(here, had) if here and had else []
        if gone:
            figures.findings.add(
                "zeitraum_entfallen",
                f"»{figures.title(measure, None)}«: {whens(gone)} enthält die Datei keine Angaben mehr "
                f"(Ebene {level}), anders als die vorige Lieferung {figures.earlier[-1].delivery_id}",
                f"auch {', '.join(map(day, gone[:5]))}{' …' if len(gone) > 5 else ''}",
                value=gone[0],
            )


def unexpectedly_gone(here: set[str], had: set[str]) -> list[str]:
    """Periods that the delivery before had and this one should have too, see `_periods_gone`."""
    shared = len(had & here)
    series = len(here) >= 3 and shared >= 3 and shared * 2 >= len(here)
    shrunk = series and (len(here) < len(had) or max(had) > max(here))
    return sorted(period for period in had - here if shrunk or min(here) < period < max(here))


_NEW = """
    SELECT s.level, f.area, min(s.date) AS date
    FROM figure f JOIN slot s USING (slot)
    GROUP BY s.level, f.area
    HAVING count(DISTINCT s.date) = 1 AND max(s.delivery) = 0
    ORDER BY s.level, date, f.area
"""


_LEVELS = """
    SELECT s.level, min(s.date) AS first, count(DISTINCT f.area) AS areas
    FROM figure f JOIN slot s USING (slot)
    GROUP BY s.level
"""


def _new_areas(figures: Figures) -> None:
    """An area that appears for the first time, although the directory does not say that it is new."""
    if figures.off("gebiet_neu") or len(figures.dates) < 2:
        return
    rows = figures.rows(_NEW)
    if not rows:
        return
    levels = {row.level: row for row in figures.rows(_LEVELS)}
    found: dict[tuple[str, dt.date], list[int]] = {}
    periods = {slot.date: slot.period for slot in figures.slots.values()}
    for row in rows:
        area = figures.directory.areas[figures.area_ids[row.area]]
        announced = area.valid_from is not None and (row.date - area.valid_from).days <= ANNOUNCED
        if row.date > levels[row.level].first and not announced:
            found.setdefault((row.level, row.date), []).append(row.area)
    for (level, date), areas in found.items():
        if len(areas) > NEW_SHARE * (levels[level].areas - len(areas)):
            continue  # the other periods were not complete
        verb = "kommt 1 Gebiet" if len(areas) == 1 else f"kommen {len(areas)} Gebiete"
        figures.findings.add(
            "gebiet_neu",
            f"Auf der Ebene {level} {verb} {when(periods[date])} zum ersten Mal vor: {figures.areas(areas)}",
            "die Gebiete der früheren Zeiträume",
            value=figures.area(areas[0]),
        )
