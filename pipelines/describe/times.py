"""Finds where the period stands and of which type it is."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.describe.cells import YEAR_END, dateish, period_type
from pipelines.describe.grid import Column, Grid
from pipelines.describe.paper import Notes
from pipelines.describe.shape import Shape, common_pattern
from pipelines.intake.failures import shown
from pipelines.intake.tables import reads_like
from pipelines.periods import FORMS, parse_period

TIME_HEADING = re.compile(r"jahr|datum|stichtag|zeit|period|year|date|stand|monat|quartal", re.IGNORECASE)
_OF_THE_EXPORT = re.compile(r"stand$|erstell|auswert|export|abruf|lauf|druck|lade", re.IGNORECASE)
_MEAN = re.compile(r"durchschnitt|jahresmittel|\bmittel", re.IGNORECASE)
_DURING_THE_YEAR = re.compile(
    r"geburt|geboren|gestorben|sterbe|zuz[uü]g|zuzueg|fortz|wander|abg[aä]ng|abgaeng|einb[uü]rger|eheschlie|straft|"
    r"im jahr|fälle|faelle",
    re.IGNORECASE,
)
_IN_TEXT = [
    r"(?<![0-9])([0-9]{1,2}[._][0-9]{1,2}[._][0-9]{4})(?![0-9])",
    r"(?<![0-9])([0-9]{4}[-_][0-9]{2}[-_][0-9]{2})(?![0-9])",
    r"([0-9]{1,2}\.\s*(?:Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember)\s+[0-9]{4})",
    r"(?<![0-9])((?:19|20)[0-9]{2}[/-][0-9]{2,4})(?![0-9])",
    r"(?<![0-9])((?:19|20)[0-9]{2})(?![0-9])",
]
"""Ways a period stands inside a longer text, the most precise first."""
_A_YEAR = _IN_TEXT[-1]


@dataclass
class Time:
    """Where the period stands: keys of `layout.period`, the column or columns, further keys of `table`."""

    keys: dict[str, Any]
    column: Column | None = None
    headings: dict[int, str] = field(default_factory=dict)
    """In headings: column -> text of the period."""
    table: dict[str, Any] = field(default_factory=dict)
    others: list[Column] = field(default_factory=list)
    """Further columns with times, which are not read."""
    everywhere: str = ""
    """Text of the period, if it stands in the name of file or sheet."""

    def text(self, grid: Grid, row: int, column: int) -> str:
        """What names the period of a cell."""
        if self.column is not None:
            return self.column.texts[row]
        if self.headings:
            return self.headings.get(column, "")
        if self.everywhere:
            return self.everywhere
        place = grid.sheets[row] if "sheet" in self.keys else grid.titles[row]
        match = re.search(self.keys.get("sheet") or self.keys.get("title") or _A_YEAR, place)
        return match[1] if match else ""

    def date(self, text: str) -> dt.date | None:
        """Reference date of a text as the readers would find it."""
        date = parse_period(text, self.keys["type"], self.keys.get("day"))
        days = self.keys.get("days")
        return None if date and days and f"{date:%m-%d}" not in days else date


def find_period(grid: Grid, shape: Shape, file_name: str, hint: str, notes: Notes) -> Time:
    """Where the periods of a table stand; where nothing names one, a guess that the night will refuse.

    Args:
        grid: the table.
        shape: what stands around it.
        file_name: name of the file as received.
        hint: all that is said about the contents (headings, names, titles), to tell days from years.
        notes: takes the doubts.
    """
    dated = {column.index: text for column in grid.columns if (text := _dated_part(column))}
    columns = _time_columns(grid, dated)
    if len(dated) > 1 or (dated and not columns):
        keys = {"in_header": True, **_keyed(Counter(dated.values()), hint, notes)}
        return Time(keys, headings=dated, others=columns)
    if columns:
        first = columns[0]
        keys = {"column": first.name, **_keyed(first.counts, hint, notes)}
        for other in columns[1:]:
            notes.fact("ignore", f"»{shown(other.name)}« nennt auch Zeiten; gelesen wird »{shown(first.name)}«.")
        _empty(first, grid, notes)
        return Time(keys, column=first, others=columns[1:])
    _unreadable_headings(grid, notes)
    return _outside(grid, shape, file_name, hint, notes)


# ---------------------------------------------------------------- in the table


def _dated_part(column: Column) -> str | None:
    """The one text of a heading that is a period, where the column holds figures."""
    parts = [part for part in column.parts if period_type(part) or dateish(part)]
    return parts[0] if len(parts) == 1 and column.figures > 0.5 else None


def _time_columns(grid: Grid, dated: dict[int, str]) -> list[Column]:
    """Columns whose cells are periods, the most probable first.

    Bare years under a heading that does not speak of time are figures, unless nothing else tells the period.
    """
    found: list[tuple[tuple[bool, bool, bool, bool, int], Column]] = []
    doubtful: list[tuple[tuple[bool, bool, bool, bool, int], Column]] = []
    for column in grid.columns:
        if column.index in dated or not column.counts:
            continue
        days = column.share(lambda text: dateish(text) or period_type(text) in ("stichtag", "schuljahr"))
        years = column.share(lambda text: period_type(text) == "kalenderjahr")
        named = bool(TIME_HEADING.search(column.name))
        if days + years < 0.8:
            continue
        export = bool(_OF_THE_EXPORT.search(column.name))
        rank = (not export, named, days >= years, len(column.counts) > 1, -column.index)
        (found if days or named else doubtful).append((rank, column))
    if not found and not dated:
        found = [(rank, column) for rank, column in doubtful if _repeats(column, grid)]
    return [column for _, column in sorted(found, key=lambda entry: entry[0], reverse=True)]


def _repeats(column: Column, grid: Grid) -> bool:
    """Whether bare years come in blocks as periods do, beside another column with figures."""
    others = any(c is not column and c.figures > 0.5 for c in grid.columns)
    return others and len(column.counts) <= max(1, len(grid.lines) // 3)


def _keyed(texts: Counter[str], hint: str, notes: Notes) -> dict[str, Any]:
    """Type of the periods and, for bare years, the day they stand for."""
    kinds: Counter[str] = Counter()
    for text, rows in texts.items():
        kinds[period_type(text) or ("unmöglich" if dateish(text) else "unlesbar")] += rows
    years = kinds["kalenderjahr"]
    if kinds["stichtag"] or kinds["unmöglich"]:
        keys: dict[str, Any] = {"type": "stichtag"}
        if years:
            keys["day"] = YEAR_END
            notes.doubt("period", f"Neben Tagen stehen bloße Jahre ({years} ×); sie gelten als 31.12. (day)")
        keys.update(_days(texts))
    elif kinds["schuljahr"] >= max(1, years):
        keys = {"type": "schuljahr"}
    else:
        keys = _of_years(hint, notes)
    bad = [text for text in texts if not parse_period(text, keys["type"], keys.get("day"))]
    if bad:
        rows = sum(texts[text] for text in bad)
        listed = ", ".join(f"»{shown(text, 30)}«" for text in bad[:4]) + (" …" if len(bad) > 4 else "")
        why = " (Ausfüllen nach unten zählt weiter?)" if kinds["unmöglich"] else ""
        text = f"Unmögliche Zeitangaben: {listed} ({rows} ×){why}; damit wird die Lieferung zurückgewiesen"
        notes.doubt("period", text)
    forms = {re.sub("[0-9]+", "0", text) for text in texts if text not in bad}
    if len(forms) > 1:
        notes.fact("period", f"Die Zeit ist verschieden geschrieben: {', '.join(sorted(forms)[:5])} (0 = Ziffern).")
    return keys


def _days(texts: Counter[str]) -> dict[str, Any]:
    """The days of the year on which nearly all figures are: others are refused then."""
    days: Counter[str] = Counter()
    for text, rows in texts.items():
        if date := parse_period(text, "stichtag", YEAR_END):
            days[f"{date:%m-%d}"] += rows
    usual = [day for day, _ in days.most_common(4)]
    enough = len(texts) > 1 and sum(days[day] for day in usual) == sum(days.values())
    return {"days": sorted(usual)} if enough and len(texts) >= (2 if len(usual) == 1 else 3 * len(usual)) else {}


def _of_years(hint: str, notes: Notes) -> dict[str, Any]:
    if _MEAN.search(hint):
        notes.doubt(
            "period", "Bloße Jahre, gelesen als Jahresdurchschnitt; ist es ein Stichtag: type: stichtag mit day"
        )
        return {"type": "jahresdurchschnitt"}
    if _DURING_THE_YEAR.search(hint):
        notes.doubt("period", "Bloße Jahre, gelesen als Summe des Jahres; ist es ein Stichtag: type: stichtag mit day")
        return {"type": "kalenderjahr"}
    text = (
        "Bloße Jahre, gelesen als Stichtag 31.12. (day); sonst anderer Tag, oder type: kalenderjahr (Summe des Jahres)"
    )
    notes.doubt("period", text + " oder jahresdurchschnitt")
    return {"type": "stichtag", "day": YEAR_END}


def _empty(column: Column, grid: Grid, notes: Notes) -> None:
    missing = [grid.lines[row] for row, text in enumerate(column.texts) if not text]
    if missing:
        text = f"In »{shown(column.name)}« fehlt die Zeit in {len(missing)} Zeilen (zuerst Zeile {missing[0]})"
        notes.doubt("period", text)


def _unreadable_headings(grid: Grid, notes: Notes) -> None:
    """Headings with a year in the middle of a text are no periods for the readers."""
    inside = [c.name for c in grid.columns if c.figures > 0.5 and re.search(_A_YEAR, c.name)]
    if inside:
        listed = ", ".join(f"»{shown(name, 40)}«" for name in inside[:3])
        text = f"Jahre stehen mitten in Überschriften ({listed}); gelesen werden sie nur als eigene Zeile des Kopfs"
        notes.doubt(
            "period", text + " oder allein. Bitte beim Amt um eine eigene Spalte oder Zeile für die Zeit bitten"
        )


# ---------------------------------------------------------------- outside of the table


def _outside(grid: Grid, shape: Shape, file_name: str, hint: str, notes: Notes) -> Time:
    """The period in a title, in the name of the sheet or of the file."""
    if shape.titles and (pattern := _found_in(shape.titles)):
        texts = Counter(str(re.search(pattern, title)[1]) for title in shape.titles)  # type: ignore[index]
        return Time({"title": pattern, **_keyed(texts, hint, notes)})
    names = list(dict.fromkeys(grid.sheets))
    if all(names) and (pattern := _found_in(names)):
        notes.fact("period", "Die Zeit steht im Namen des Blatts.")
        texts = Counter(str(re.search(pattern, name)[1]) for name in names)  # type: ignore[index]
        return Time({"sheet": pattern, **_keyed(texts, hint, notes)})
    above = _title_above(grid, shape)
    in_name = _found_in([file_name])
    if above and (in_name is None or above[1] in _IN_TEXT[:3]):
        table, pattern, text = above
        time = _named("title", pattern, text, hint, notes)
        time.table = table
        return time
    if in_name:
        years = re.findall(in_name, file_name)
        if len(years) > 1:
            text = f"Der Dateiname nennt mehrere Zeiten ({', '.join(years)}); gelesen wird die erste"
            notes.doubt("period", text)
        return _named("file_name", in_name, file_name, hint, notes)
    odd = [c for c in grid.columns if TIME_HEADING.search(c.name) and any(map(re.compile("[0-9]").search, c.counts))]
    for column in odd[:3]:
        samples = ", ".join(f"»{shown(text, 30)}«" for text in list(column.counts)[:3])
        text = f"»{shown(column.name)}« ({samples}) klingt nach Zeit, ist so aber nicht lesbar; lesbar sind etwa"
        notes.doubt("period", f"{text} {FORMS['stichtag']}, {FORMS['schuljahr']}")
    notes.doubt(
        "period",
        "Keine Zeitangabe gefunden, weder Spalte noch Überschrift, Titel, Blatt oder Dateiname. Als Entwurf steht "
        "hier das Jahr im Dateinamen. Ohne eine solche wird die Lieferung zurückgewiesen",
    )
    return Time({"file_name": _A_YEAR, "type": "stichtag", "day": YEAR_END})


def _named(key: str, pattern: str, text: str, hint: str, notes: Notes) -> Time:
    match = re.search(pattern, text)
    found = match[1] if match else ""
    where = {"file_name": "im Dateinamen", "title": "im Titel über der Tabelle"}[key]
    notes.fact("period", f"Die Zeit steht nur {where}: »{shown(found, 40)}«.")
    return Time({key: pattern, **_keyed(Counter([found]), hint, notes)}, everywhere=found)


def _found_in(texts: Sequence[str]) -> str | None:
    """The most precise pattern that finds a readable period in every text."""
    for pattern in _IN_TEXT:
        matches: Iterable[re.Match[str] | None] = [re.search(pattern, text) for text in texts]
        if all(match and period_type(match[1]) for match in matches):
            return pattern
    return None


def _title_above(grid: Grid, shape: Shape) -> tuple[dict[str, Any], str, str] | None:
    """A line above the heading that names the period: keys of `table`, pattern of the period, the line's text."""
    if "title" in shape.keys:
        return None
    for row in reversed(shape.above):
        text = row.start()
        pattern = _found_in([text])
        if pattern is None:
            continue
        match = re.search(pattern, text)
        assert match is not None
        title = common_pattern([text, text[: match.start(1)] + "\0" + text[match.end(1) :]])
        title = title or re.sub("[0-9*]", "?", text)
        starts = (next((c.texts[i] for c in grid.columns if c.texts[i]), "") for i in range(len(grid.lines)))
        if any(reads_like(start, title) for start in starts):
            continue
        heading = int(shape.keys.get("header_line", 1))
        return {"title": title, "header_line": max(1, heading - row.line)}, pattern, text
    return None
