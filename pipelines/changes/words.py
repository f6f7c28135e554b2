"""Changes between two releases in German: one sentence for the night, a list for the terminal, a CSV with every row."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from pipelines.changes.compare import CHANGED, GONE, NEW, REASONS, Change, Changes
from pipelines.release.feed import BOM, csv_de
from schemas.codes import label

LARGEST = 3
_HEADER = ["indikator", "gebiet", "gebiet_name", "ebene", "zeitbezug", "zeitraum", "aenderung", "grund"]
_HEADER += ["vorher", "nachher", "abstand"]


def sentence(changes: Changes) -> str:
    """How many values changed against which release, why, and which most; only what both releases show."""
    numbers = []
    if changed := changes.of(CHANGED):
        causes = ", ".join(f"{number} {REASONS[cause]}" for cause, number in changes.counted(CHANGED))
        numbers.append(f"{_values(len(changed))} ({causes})")
    if new := changes.of(NEW):
        numbers.append(f"{len(new)} neu")
    if gone := changes.of(GONE):
        reasons = ", ".join(f"{number} {REASONS[reason]}" for reason, number in changes.counted(GONE))
        numbers.append(f"{len(gone)} nicht mehr gezeigt ({reasons})")
    if not numbers:
        return f"Geändert gegenüber {changes.before_id}: kein Wert."
    most = "; ".join(map(named, changes.largest(LARGEST)))
    text = f"Geändert gegenüber {changes.before_id}: {', '.join(numbers)}."
    return f"{text} Am stärksten: {most}." if most else text


def named(change: Change) -> str:
    """A changed value with both figures: `hilfenanteil in Bezirk 5 (bezirk, 2022-12-31) 1,1 -> 1,3`."""
    place = f"{change.area_name} ({change.area_level}, {change.period})"
    return f"{change.indicator_id} in {place} {_from_to(change)}"


def _from_to(change: Change) -> str:
    before, now = (_number(value, change.decimals) for value in (change.shown_before, change.shown_now))
    if before == now:  # differ in digits that are not shown
        before, now = (_number(value, change.decimals + 3) for value in (change.before, change.now))
    return f"{before} -> {now}"


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}".replace(".", ",")


def _values(number: int) -> str:
    return "1 Wert" if number == 1 else f"{number} Werte"


def listing(changes: Changes) -> Iterator[str]:
    """Lines by indicator and cause with counts and the largest change; then what came and went, and the largest."""
    yield f"Änderungen von {changes.before_id} zu {changes.now_id}"
    if not changes.rows:
        yield "Kein Wert ist anders."
    ordered = sorted(changes.rows, key=lambda row: (row.indicator_id, row.kind, row.reason))
    for indicator, rows in groupby(ordered, key=lambda row: row.indicator_id):
        yield f"\n{indicator}"
        for (kind, reason), same in groupby(rows, key=lambda row: (row.kind, row.reason)):
            found = list(same)
            yield f"  {len(found):>6}  {kind}: {REASONS[reason]}{_most(found)}"
    for (what, kind), ids in changes.members.items():
        head = {"indicator": "Indikatoren", "area": "Gebiete"}[what]
        yield f"\n{head} {'neu' if kind == NEW else 'entfallen'}: {', '.join(ids)}"
    if changes.rows:
        yield f"\n{sentence(changes)}"


def _most(rows: list[Change]) -> str:
    most = max(rows, key=lambda row: row.size)
    if most.kind != CHANGED:
        return ""
    return f"; am stärksten {most.area_name} ({most.area_level}, {most.period}) {_from_to(most)}"


def table(changes: Changes) -> str:
    """All rows as CSV for German spreadsheets; values are not rounded."""
    rows = [
        (
            row.indicator_id,
            row.area_id,
            row.area_name,
            row.area_level,
            label("period_type", row.period_type),
            row.period,
            row.kind,
            REASONS[row.reason],
            row.before,
            row.now,
            None if row.before is None or row.now is None else row.now - row.before,
        )
        for row in changes.rows
    ]
    return BOM + csv_de(_HEADER, rows)
