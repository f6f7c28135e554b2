"""Finds the table on a sheet: titles above, lines of the heading, rows, footnotes below."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.describe.cells import dateish, numberish, period_type, sign
from pipelines.describe.paper import Notes
from pipelines.describe.sample import Sheet
from pipelines.intake.failures import Findings, shown
from pipelines.intake.tables import Row, Table, cut, plain_heading
from schemas.documents import TableShape

_HEADING_LINES = 12
_LONGEST_PATTERN = 60


@dataclass(frozen=True)
class Shape:
    """Where the table stands, as keys of `table`, and what stands around it."""

    sheet: Sheet
    keys: dict[str, Any]
    above: list[Row]
    below: list[Row]
    short_rows: bool
    figures: int
    """Number of data rows times columns with numbers: how much of a table it is."""
    titles: list[str] = field(default_factory=list)
    """Titles of the tables, if several stand below each other."""

    def tables(self, findings: Findings | None = None, **more: Any) -> Iterator[Table]:
        """The tables as the readers will cut them, with further keys of `table`; short rows are filled."""
        shape = TableShape.model_validate({**self.keys, **more})
        noted = Findings() if findings is None else findings
        yield from cut(iter(self.sheet.rows), shape, noted, merged=self.sheet.merged, sheet=self.sheet.name)


@dataclass(frozen=True)
class _Profile:
    """Columns of the sheet by what stands in most of their cells."""

    numbers: set[int]
    usual: int
    """Number of figures in an ordinary row."""

    @classmethod
    def of(cls, rows: Sequence[Row], years: bool) -> _Profile:
        """Look at all rows; with `years`, what looks like a bare year may be a figure."""
        filled: Counter[int] = Counter()
        figures: Counter[int] = Counter()
        periods: Counter[int] = Counter()
        for row in rows:
            for column, text in _filled(row):
                filled[column] += 1
                kind = dateish(text) or (period_type(text) or "") not in ("", "kalenderjahr" if years else "")
                periods[column] += bool(kind)
                figures[column] += not kind and (numberish(text) or sign(text) is not None)
        numbers = {c for c, n in figures.items() if n >= 0.3 * filled[c] and periods[c] < 0.8 * filled[c]}
        counts = Counter(n for row in rows if (n := sum(1 for c, t in _filled(row) if c in numbers and _figure(t))))
        return cls(numbers, max(counts, key=lambda n: (counts[n], n), default=0))

    def figures(self, row: Row) -> list[str]:
        """Cells of the row that are figures by their column and their text."""
        return [text for column, text in _filled(row) if column in self.numbers and _figure(text)]


def find_shape(sheet: Sheet, is_area: Callable[[str], bool], notes: Notes) -> Shape | None:
    """The table of a sheet; None if no row holds figures.

    Args:
        sheet: its lines.
        is_area: whether a text names an area of the project (such a row is data even without figures).
        notes: takes the doubts.
    """
    for years in (False, True):
        profile = _Profile.of(sheet.rows, years)
        first = _first_row(sheet.rows, profile, is_area)
        if first is not None:
            break
    else:
        return None
    counted = _counts_columns(sheet.rows[first])
    begin = first + 1 if counted else first
    heading = _heading(sheet, first)
    keys: dict[str, Any] = {}
    if heading[0].line > 1:
        keys["header_line"] = heading[0].line
    rows = _span(sheet.rows, heading)
    if counted and any(row.start() == sheet.rows[first].start() for row in sheet.rows[begin:]):
        rows += 1  # as part of the heading: a pattern under skip would take data rows along
    elif counted:
        keys["skip"] = [sheet.rows[first].start()]
    if rows > 1:
        keys["header_rows"] = rows
    if rows > 1 and _needs_fill(sheet, keys):
        keys["header_fill"] = True
    body = [row for row in sheet.rows[begin:] if not row.blank()]
    below = _below(sheet, begin, profile, is_area, keys, notes)
    above = [row for row in sheet.rows if row.line < heading[0].line and not row.blank()]
    titles = _stacked(sheet, heading, above, keys, notes)
    width = max(len(row.cells) for row in heading)
    short = any(len(row.cells) < width and len(profile.figures(row)) > 0 for row in body)
    return Shape(sheet, keys, above, below, short, len(body) * len(profile.numbers), titles)


def _filled(row: Row) -> list[tuple[int, str]]:
    return [(column, text) for column, cell in enumerate(row.cells) if (text := cell.strip())]


def _figure(text: str) -> bool:
    return numberish(text) or sign(text) is not None


# ---------------------------------------------------------------- heading


def _first_row(rows: Sequence[Row], profile: _Profile, is_area: Callable[[str], bool]) -> int | None:
    """The first row under the heading; rows whose figures are all missing may stand before the first figure."""
    first = next((i for i in range(len(rows)) if _is_data(rows, i, profile)), None)
    while first:
        above = next((i for i in reversed(range(first)) if not rows[i].blank()), None)
        if above is None or not _is_gap(rows, above, profile, is_area):
            break
        first = above
    return first


def _is_data(rows: Sequence[Row], index: int, profile: _Profile) -> bool:
    """Whether a line holds figures rather than a heading; years in a heading are no figures."""
    row = rows[index]
    figures = profile.figures(row)
    if len(figures) < max(1, 0.3 * profile.usual) or len(_filled(row)) < 2:
        return False
    if not all(period_type(text) == "kalenderjahr" or dateish(text) for text in figures):
        return True
    above = next((r for r in reversed(rows[:index]) if not r.blank()), None)
    labels = [t for column, t in _filled(row) if column not in profile.numbers and not (period_type(t) or dateish(t))]
    return above is not None and len(_filled(above)) >= len(_filled(row)) and bool(labels)


def _is_gap(rows: Sequence[Row], index: int, profile: _Profile, is_area: Callable[[str], bool]) -> bool:
    """Whether a line under a heading names an area whose figures are all missing."""
    labels = [text for column, text in _filled(rows[index]) if column not in profile.numbers]
    return any(map(is_area, labels)) and any(len(_filled(row)) > 1 for row in rows[:index])


def _counts_columns(row: Row) -> bool:
    """A line that numbers the columns (1, 2, 3 …) under the heading."""
    texts = [text for _, text in _filled(row)]
    numbers = [int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 5]
    return len(texts) == len(numbers) >= 3 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _heading(sheet: Sheet, first: int) -> list[Row]:
    """Lines of the heading: as few above the data as give every column a text of its own."""
    above = [row for row in sheet.rows[:first] if not row.blank()]
    heading = above[-1:] or [sheet.rows[first]]
    width = max(len(row.cells) for row in sheet.rows[first : first + 50])
    for row in reversed(above[:-1][-_HEADING_LINES:]):
        if _tells_apart(sheet, heading, width) or _is_title(row, heading[0]):
            break
        heading.insert(0, row)
    return heading


def _is_title(row: Row, below: Row) -> bool:
    """A single text at the left, with a text below it: no part of the heading."""
    filled = _filled(row)
    return len(filled) == 1 and filled[0][0] == 0 and bool(below.cells and below.cells[0].strip())


def _tells_apart(sheet: Sheet, heading: list[Row], width: int) -> bool:
    keys = {"header_line": heading[0].line, "header_rows": _span(sheet.rows, heading), "header_fill": True}
    table = next(cut(iter(sheet.rows), TableShape.model_validate(keys), Findings(), merged=sheet.merged), None)
    names = table.header if table else []
    return len(names) >= width and all(names) and len(set(names)) == len(names)


def _span(rows: Sequence[Row], heading: list[Row]) -> int:
    """Number of lines from the first to the last of the heading, empty ones between them included."""
    numbers = [row.line for row in rows]
    return numbers.index(heading[-1].line) - numbers.index(heading[0].line) + 1


def _needs_fill(sheet: Sheet, keys: dict[str, Any]) -> bool:
    """Whether upper texts of the heading must be repeated to the right to tell the columns apart."""
    plain, filled = (
        next(cut(iter(sheet.rows), TableShape.model_validate({**keys, "header_fill": fill}), Findings(),
                 merged=sheet.merged)).header
        for fill in (False, True)
    )  # fmt: skip
    return plain != filled


# ---------------------------------------------------------------- below and between


def _below(
    sheet: Sheet,
    begin: int,
    profile: _Profile,
    is_area: Callable[[str], bool],
    keys: dict[str, Any],
    notes: Notes,
) -> list[Row]:
    """Lines without figures after the last row; sets `ends` and `skip` so that they are passed over."""
    rows = sheet.rows[begin:]
    least = max(1, 0.3 * profile.usual)

    def holds(row: Row) -> bool:
        return len(profile.figures(row)) >= least or _labelled(row, profile, is_area)

    last = max((i for i, row in enumerate(rows) if holds(row)), default=-1)
    inside = rows[: last + 1]
    after = rows[last + 1 :] if sheet.complete else _after_data(sheet.tail, holds)
    below = [row for row in after if not row.blank()]
    gap = any(row.blank() for row in inside)
    adjoining = [row for row in _until_blank(after) if not row.blank()]
    if below and not gap and len(adjoining) < len(below):
        keys["ends"] = "blank"
    ended = keys.get("ends") == "blank"
    loose = [row for row in below if not ended or row in adjoining or len(_filled(row)) > 1]
    between = [row for row in inside if not row.blank() and not holds(row)]
    skip = [*keys.get("skip", []), *map(_pattern, [*between, *loose])]
    if between:
        texts = ", ".join(f"»{shown(row.start(), 40)}«" for row in between[:5])
        notes.doubt("table", f"Zeilen ohne Zahlen zwischen den Daten werden übersprungen: {texts}")
    if below:
        texts = ", ".join(f"»{shown(row.start(), 40)}«" for row in below[:4])
        notes.fact("table", f"Unter der Tabelle: {texts}.")
    if skip:
        keys["skip"] = list(dict.fromkeys(skip))
    return below


def _labelled(row: Row, profile: _Profile, is_area: Callable[[str], bool]) -> bool:
    """A data row whose figures are all missing: it names an area, or a period beside another text."""
    labels = [text for column, text in _filled(row) if column not in profile.numbers]
    dated = any(period_type(text) or dateish(text) for text in labels)
    return is_area(row.start()) or (len(labels) > 1 and (dated or any(map(is_area, labels))))


def _after_data(tail: Sequence[Row], holds: Callable[[Row], bool]) -> list[Row]:
    last = max((i for i, row in enumerate(tail) if holds(row)), default=-1)
    return list(tail[last + 1 :])


def _until_blank(rows: Sequence[Row]) -> Iterator[Row]:
    for row in rows:
        if row.blank():
            return
        yield row


def _pattern(row: Row) -> str:
    """Pattern of a line that holds no figures: its beginning, up to what changes from delivery to delivery."""
    start = plain_heading(row.start())
    head = start.split(":")[0] if ":" in start[:40] else start
    digits = next((i for i, sign_ in enumerate(head) if sign_.isdigit()), len(head))
    head = (head[:digits] if digits > 5 else head)[:_LONGEST_PATTERN]
    plain = head.replace("*", "?")
    return plain if plain == start.replace("*", "?") else f"{plain}*"


def _stacked(sheet: Sheet, heading: list[Row], above: list[Row], keys: dict[str, Any], notes: Notes) -> list[str]:
    """Tables below each other with the same heading: their titles; sets `title` and counts the heading from it."""
    wanted = [[plain_heading(cell) for cell in row.cells] for row in heading]
    rows = [row for row in sheet.rows if not row.blank()]
    size = len(heading)
    starts = [
        i for i in range(len(rows) - size + 1)
        if [[plain_heading(cell) for cell in row.cells] for row in rows[i : i + size]] == wanted
    ]  # fmt: skip
    if len(starts) < 2:
        return []
    titles = [rows[i - 1].start() for i in starts if i and len(_filled(rows[i - 1])) == 1]
    pattern = _title_pattern(titles) if len(titles) == len(starts) and above else None
    if pattern is None:
        notes.doubt("table", f"Die Kopfzeile kommt {len(starts)} mal vor; die Wiederholungen werden übersprungen")
        keys["skip"] = list(dict.fromkeys([*keys.get("skip", []), _pattern(heading[-1])]))
        return []
    keys["title"] = pattern
    keys["header_line"] = max(1, heading[0].line - above[-1].line)
    keys["skip"] = [s for s in keys.get("skip", []) if s not in {_pattern(rows[i - 1]) for i in starts}]
    if not keys["skip"]:
        del keys["skip"]
    return titles


def _title_pattern(titles: Sequence[str]) -> str | None:
    """Pattern of titles that differ in digits only, else of what they have in common."""
    shapes = {re.sub("[0-9*]", "?", plain_heading(title)) for title in titles}
    return shapes.pop() if len(shapes) == 1 else common_pattern(titles)


def common_pattern(texts: Sequence[str]) -> str | None:
    """Pattern with * that all texts fit, made of what they have in common at the beginning and the end."""
    distinct = list(dict.fromkeys(plain_heading(text) for text in texts))
    if len(distinct) < 2:
        return distinct[0].replace("*", "?") if distinct else None
    start, end = _common(distinct), _common([text[::-1] for text in distinct])[::-1]
    shortest = min(map(len, distinct))
    end = end[-(shortest - len(start)) :] if len(start) + len(end) > shortest else end
    end = "" if len(start) >= shortest else end
    return f"{start.replace('*', '?')}*{end.replace('*', '?')}" if len(start) >= 4 else None


def _common(texts: Sequence[str]) -> str:
    shared = []
    for signs in zip(*texts, strict=False):
        if len(set(signs)) > 1:
            break
        shared.append(signs[0])
    return "".join(shared)
