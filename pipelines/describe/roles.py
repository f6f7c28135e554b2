"""The columns that are neither area nor period nor figures: fixed texts, the measure of a row, what is not read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.describe.cells import dateish, period_type
from pipelines.describe.grid import Column, Grid
from pipelines.describe.paper import Notes, counted
from pipelines.describe.places import Names, Place
from pipelines.describe.times import TIME_HEADING, Time
from pipelines.intake.failures import shown

_MEASURE_HEADING = re.compile(
    r"merkmal|kennzahl|indikator|variable|bezeichnung|art\b|kategorie|gruppe|gegenstand|measure|indicator",
    re.IGNORECASE,
)
_STRONG = re.compile(r"merkmal|kennzahl|indikator|variable|measure|indicator", re.IGNORECASE)
"""Headings that say that the rows count different things."""
_MOST_MEASURES = 60
_LONGEST_FIXED = 200


@dataclass
class Roles:
    """Columns by what they are for."""

    constant: list[Column] = field(default_factory=list)
    measure: Column | None = None
    ignored: list[Column] = field(default_factory=list)


def find_roles(grid: Grid, time: Time, place: Place, values: Sequence[Column], notes: Notes) -> Roles:
    """Sort the columns that are left."""
    taken = [*place.columns, *values, *([time.column] if time.column else [])]
    rest = [c for c in grid.columns if c not in taken and c not in time.others]
    roles = Roles(ignored=list(time.others))
    texts = [c for c in rest if c.name and c.figures < 0.5]
    roles.constant = [c for c in texts if _fixed(c) and (len(grid.lines) > 1 or _STRONG.search(c.name))]
    rows = _Rows(grid, [_row_key(grid, time, place, row) for row in range(len(grid.lines))])
    roles.measure = _measure_column(rows, texts, values, notes)
    roles.ignored += [c for c in rest if c not in roles.constant and c is not roles.measure]
    for column in roles.ignored[len(time.others) :]:
        _about(column, notes)
    return roles


def fill_down(grid: Grid, names: Names, notes: Notes) -> list[str]:
    """Label columns whose empty cells repeat the one above, as merged cells do."""
    found = []
    for column in grid.columns:
        empty = column.texts.count("")
        if not (column.name and column.texts and column.texts[0] and 0.2 * len(column.texts) <= empty):
            continue
        labels = column.share(lambda text: names.is_area(text) or bool(period_type(text)) or dateish(text))
        if labels >= 0.5 and (column.figures < 0.5 or TIME_HEADING.search(column.name)):
            found.append(column.name)
            text = f"In »{shown(column.name)}« sind {empty} Zellen leer; gelesen als Wiederholung der Zelle darüber"
            notes.doubt("table", f"{text} (fill_down)")
    return found


def _fixed(column: Column) -> bool:
    text = next(iter(column.counts), "")
    return len(column.counts) == 1 and all(column.texts) and len(text) <= _LONGEST_FIXED


@dataclass(frozen=True)
class _Rows:
    """What each row says of area and time, to find out what else tells rows apart."""

    grid: Grid
    keys: list[tuple[str, ...]]

    def repeated(self, *columns: Column) -> list[tuple[int, int]]:
        """Lines whose key stood above already, each with the line where it stood first."""
        first: dict[tuple[str, ...], int] = {}
        found = []
        for row, key in enumerate(self.keys):
            whole = (*key, *(column.texts[row] for column in columns))
            if whole in first:
                found.append((self.grid.lines[row], first[whole]))
            else:
                first[whole] = self.grid.lines[row]
        return found


def _measure_column(rows: _Rows, texts: Sequence[Column], values: Sequence[Column], notes: Notes) -> Column | None:
    """The column that tells apart rows of the same area and period; what it leaves undecided becomes a doubt."""
    possible = [c for c in texts if 1 < len(c.counts) <= _MOST_MEASURES and all(c.texts)]
    repeated = rows.repeated()
    best = next((c for c in possible if _STRONG.search(c.name)), None)
    if len(repeated) > 0.02 * len(rows.keys):
        left = {c.index: len(rows.repeated(c)) for c in possible}
        telling = [c for c in possible if left[c.index] < 0.5 * len(repeated)]
        best = min(telling, key=lambda c: (left[c.index], not _MEASURE_HEADING.search(c.name)), default=None)
    if best is not None:
        repeated = rows.repeated(best)
    if repeated:
        line, first = repeated[0]
        known = [] if best is None else [best]
        others = [c for c in (*texts, *values) if c is not best and len(c.counts) > 1]
        telling = [c for c in others if len(rows.repeated(*known, c)) < 0.5 * len(repeated)]
        names = ", ".join(f"»{shown(c.name, 40)}«" for c in telling[:3])
        why = f"; was sie unterscheidet, steht vielleicht in {names} (so nicht lesbar)" if names else ""
        text = f"{counted(len(repeated), 'Zeile nennt', 'Zeilen nennen')} Gebiet und Zeit einer früheren noch einmal"
        text = f"{text} (zuerst Zeile {line} wie Zeile {first}){why}"
        notes.doubt("values", f"{text}; doppelte Angaben werden zurückgewiesen")
    return best


def _row_key(grid: Grid, time: Time, place: Place, row: int) -> tuple[str, ...]:
    """What identifies a row so far: area and period, as recognised or as written."""
    area = place.areas[row] if row < len(place.areas) else None
    written = tuple(column.texts[row] for column in place.columns)
    text = "" if time.headings else time.text(grid, row, 0)
    date = time.date(text)
    return (str(date or text), *((area.area_id,) if area else written), grid.titles[row])


def _about(column: Column, notes: Notes) -> None:
    """Why a column is not read."""
    if not column.counts:
        notes.fact(
            "ignore", f"»{shown(column.name)}« ist leer." if column.name else "Eine Spalte ohne Überschrift ist leer."
        )
        return
    samples = ", ".join(f"»{shown(text, 30)}«" for text, _ in column.counts.most_common(3))
    if not column.name:
        text = f"Spalte {column.index + 1} hat keine Überschrift ({samples}); sie wird nicht gelesen"
        notes.doubt("ignore", text)
    elif column.figures >= 0.5:
        notes.fact("ignore", f"»{shown(column.name)}«: Zahlen ({samples}), nach der Überschrift keine Werte.")
    elif len(column.counts) > 1:
        notes.fact("ignore", f"»{shown(column.name)}«: Text, {len(column.counts)} verschiedene ({samples}).")
