"""Pieces of the delivered table as a spreadsheet shows them, with the cells in question marked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipelines.intake.failures import column_letters
from pipelines.intake.plan import label_columns
from pipelines.intake.tables import PARTS, plain_heading
from pipelines.reply.points import Finding, Point, Section, Words
from pipelines.reply.rows import Heading, Rows
from pipelines.reply.words import count, lines_words, shortened, visible_cell
from schemas.documents import Source

ROWS_OF_POINT = 5
ROWS_OF_SECTION = 12
ROWS_OF_REPORT = 200
COLUMNS = 7
"""Columns shown side by side; of wider tables those that name the row, the cell in question and its neighbours."""
LONGEST_CELL = 40
LONGEST_UNBROKEN = 24
LONGEST_EXPECTED = 180
LONGEST_DEFECT = 240
COMPARED = 2
_LINE = re.compile(r"Zeilen? ([0-9]{1,9})\b")
_QUOTED = re.compile("»[^«]*«")
_ABOUT_HEADING = {"spalte_fehlt", "spalte_unbekannt", "spalte_doppelt", "spaltenname_leerzeichen"}


@dataclass(frozen=True)
class Cell:
    """One cell; `note` stands for what is not there (`fehlt`, or … for columns that are left out)."""

    text: str
    marked: bool = False
    note: str = ""

    @property
    def long(self) -> bool:
        """Whether the cell must be broken to fit."""
        return max(map(len, self.text.split("\n"))) > LONGEST_UNBROKEN


@dataclass(frozen=True)
class Line:
    """One row; `defect` and `expected` stand beside it, spanning `height` rows (0: covered by the row above).

    `after` tells about rows that are not shown.
    """

    number: str
    cells: tuple[Cell, ...]
    defect: str = ""
    expected: str = ""
    height: int = 1
    after: str = ""


@dataclass(frozen=True)
class Excerpt:
    """Rows of one table. `letters` names the columns as a spreadsheet does ('' where columns are left out)."""

    sheet: str
    letters: tuple[str, ...]
    heading: Line | None
    lines: tuple[Line, ...]

    @property
    def beside(self) -> str:
        """Heading of what stands beside the rows; '' if nothing does."""
        lines = [*self.lines, *([self.heading] if self.heading else [])]
        if any(line.defect for line in lines):
            return "Was nicht stimmt"
        return "Erwartet" if any(line.expected for line in lines) else ""


@dataclass(frozen=True)
class _Wanted:
    """A line to be shown, the points it belongs to (none: only for comparison), how many more of their lines exist."""

    line: int
    points: tuple[Point, ...] = ()
    left_out: int = 0


def wanted_lines(sections: Iterable[Section]) -> dict[str, set[int]]:
    """Lines by sheet that the excerpts will show; at most `ROWS_OF_REPORT`."""
    lines: dict[str, set[int]] = {}
    total = 0
    for section in sections:
        for sheet, entries in _chosen(section).items():
            if total + len(entries) > ROWS_OF_REPORT:
                return lines
            lines.setdefault(sheet, set()).update(entry.line for entry in entries)
            total += len(entries)
    return lines


def excerpts(section: Section, rows: Rows, source: Source, words: Words) -> list[Excerpt]:
    """The rows that a section is about, one excerpt per table of the file."""
    found = []
    several = len(section.points) > 1
    for sheet, entries in _chosen(section).items():
        by_heading: dict[int, list[_Wanted]] = {}
        for entry in entries:
            heading = rows.heading(sheet, entry.line)
            if (sheet, entry.line) in rows.cells:
                by_heading.setdefault(heading.last if heading else 0, []).append(entry)
        marks = _marks(section.findings, sheet)
        for group in by_heading.values():
            heading = rows.heading(sheet, group[0].line)
            found.append(_Excerpt(source, rows, sheet, heading, marks, words, several).make(group))
    return found


def has_row(section: Section, point: Point, rows: Rows) -> bool:
    """Whether a row of a point is among the section's excerpts."""
    entries = _chosen(section).get(point.sheet, [])
    return any(point in entry.points and (point.sheet, entry.line) in rows.cells for entry in entries)


def _chosen(section: Section) -> dict[str, list[_Wanted]]:
    """The first lines of each point, by sheet, in file order."""
    chosen: dict[str, list[_Wanted]] = {}
    total = 0
    for point in section.points:
        if total >= ROWS_OF_SECTION:
            break
        lines = [line for first, last in point.ranges for line in range(first, min(last, first + ROWS_OF_POINT) + 1)]
        number = sum(last - first + 1 for first, last in point.ranges)
        shown = lines[: min(ROWS_OF_POINT, ROWS_OF_SECTION - total)]
        total += len(shown)
        entries = chosen.setdefault(point.sheet, []) if shown else []
        entries += [_Wanted(line, (point,)) for line in shown]
        if shown:
            entries[-1] = replace(entries[-1], left_out=number - len(shown))
        if section.rule.id in _ABOUT_HEADING and shown:
            entries.append(_Wanted(shown[-1] + 1))  # a row below the heading shows what the column holds
        if shown:
            entries += [_Wanted(line) for line in _mentioned(point) if line not in shown]
    return {sheet: _once(entries) for sheet, entries in chosen.items()}


def _mentioned(point: Point) -> list[int]:
    """Other lines that the first findings of a point speak of, to be shown for comparison."""
    messages = [str(finding["message"]) for finding in point.findings[:COMPARED]]
    return list(dict.fromkeys(int(number) for text in messages for number in _LINE.findall(_QUOTED.sub("", text))))


def _once(entries: Sequence[_Wanted]) -> list[_Wanted]:
    """Each line once, in file order."""
    by_line: dict[int, _Wanted] = {}
    for entry in sorted(entries, key=lambda e: e.line):
        known = by_line.get(entry.line, _Wanted(entry.line))
        left_out = max(known.left_out, entry.left_out)
        by_line[entry.line] = _Wanted(entry.line, known.points + entry.points, left_out)
    return list(by_line.values())


def _marks(findings: Iterable[Finding], sheet: str) -> dict[int, set[int]]:
    """Columns in question by line."""
    marks: dict[int, set[int]] = {}
    for finding in findings:
        if finding["sheet"] != sheet or not finding["column"]:
            continue
        last = min(max(finding["line"], finding["last_line"]), finding["line"] + ROWS_OF_POINT)
        for line in range(finding["line"], last + 1):
            marks.setdefault(line, set()).add(finding["column"])
    return marks


@dataclass(frozen=True)
class _Excerpt:
    """Makes one excerpt."""

    source: Source
    rows: Rows
    sheet: str
    heading: Heading | None
    marks: dict[int, set[int]]
    words: Words
    several: bool

    def make(self, group: Sequence[_Wanted]) -> Excerpt:
        columns = self._columns([entry.line for entry in group])
        inside = self._heading_lines()
        entries = [entry for entry in group if entry.line not in inside]
        lines = [self._line(entry, columns) for entry in entries]
        letters = tuple(column_letters(column) if column else "" for column in columns)
        return Excerpt(self.sheet, letters, self._heading(columns, group), tuple(_spanned(lines)))

    def _heading_lines(self) -> range:
        return range(self.heading.first, self.heading.last + 1) if self.heading else range(0)

    def _columns(self, lines: Sequence[int]) -> list[int]:
        """Numbers of the columns to show, 0 where some are left out."""
        heads = self.heading.heads if self.heading else []
        marked = [column for line in lines for column in sorted(self.marks.get(line, ()))]
        widths = [len(self.rows.cells[self.sheet, line]) for line in lines]
        width = max([len(heads), *widths, *marked, 1])
        if width <= COLUMNS:
            return list(range(1, width + 1))
        near = [column + step for column in marked for step in (-1, 1)]
        names = [PARTS.join(parts) for parts in heads]
        labels = [names.index(name) + 1 for name in _label_names(self.source) if name in names]
        chosen: dict[int, None] = dict.fromkeys(marked[: COLUMNS - 3])
        others = near if marked else _figure_columns(self.source, names)
        for column in [*labels, *others] or range(1, COLUMNS):
            if 1 <= column <= width and len(chosen) < COLUMNS:
                chosen.setdefault(column)
        return _with_gaps(sorted(chosen), width)

    def _heading(self, columns: Sequence[int], group: Sequence[_Wanted]) -> Line | None:
        if self.heading is None:
            return None
        marked = {column for line in self._heading_lines() for column in self.marks.get(line, ())}
        texts = dict(enumerate(self.heading.heads, 1))
        if self.heading.first == self.heading.last:  # as it arrived, with blanks
            texts |= {at: [text] for at, text in enumerate(self.rows.cells.get((self.sheet, self.heading.last), []), 1)}
        cells = tuple(_cell(texts.get(column, []), column, column in marked) for column in columns)
        points = [point for entry in group if entry.line in self._heading_lines() for point in entry.points]
        number = lines_words([(self.heading.first, self.heading.last)]).partition(" ")[2]
        return Line(number, cells, *self._beside(points, self.heading.last))

    def _line(self, entry: _Wanted, columns: Sequence[int]) -> Line:
        texts = self.rows.cells[self.sheet, entry.line]
        marked = self.marks.get(entry.line, set())
        cells = tuple(
            Cell("", column in marked, "fehlt" if column in marked else "")
            if column > len(texts)
            else _cell([texts[column - 1]] if column else [], column, column in marked)
            for column in columns
        )
        more = f"{count(entry.left_out, 'weitere Zeile', 'weitere Zeilen')} dieser Art" if entry.left_out else ""
        return Line(str(entry.line), cells, *self._beside(entry.points, entry.line), after=more)

    def _beside(self, points: Iterable[Point], line: int) -> tuple[str, str]:
        """Defect and expectation of a row; the defect only where the section has several."""
        expected = dict.fromkeys(point.expected(self.words) for point in points)
        defects = dict.fromkeys(point.at(line, self.words) for point in points) if self.several else {}
        return shortened(" ".join(defects), LONGEST_DEFECT), shortened("; ".join(expected), LONGEST_EXPECTED)


def _cell(texts: Sequence[str], column: int, marked: bool) -> Cell:
    """A cell of a row, or of a heading that has several texts below each other."""
    if not column:
        return Cell("", note="…")
    if marked and not "".join(texts):
        return Cell("", marked, "leer")
    longest = LONGEST_CELL * (2 if marked else 1)
    return Cell("\n".join(visible_cell(text, longest) for text in texts), marked)


def _with_gaps(columns: Sequence[int], width: int) -> list[int]:
    """Columns with a 0 wherever some are left out."""
    filled = []
    before = 0
    for column in columns:
        filled += [0, column] if column > before + 1 else [column]
        before = column
    return [*filled, 0] if before < width else filled


def _spanned(lines: Sequence[Line]) -> list[Line]:
    """Equal texts beside rows that follow each other as one cell."""
    joined: list[Line] = []
    start = 0
    for line in lines:
        same = bool(joined) and (joined[start].defect, joined[start].expected) == (line.defect, line.expected)
        covered = same and not joined[-1].after
        if covered:
            joined[start] = replace(joined[start], height=joined[start].height + 1)
            joined.append(replace(line, height=0))
        else:
            start = len(joined)
            joined.append(line)
    return joined


def _figure_columns(source: Source, names: Sequence[str]) -> list[int]:
    """Numbers of the columns that hold figures; where the headings are periods, of all that are no labels."""
    wanted = {plain_heading(value.column) for value in source.layout.values if value.column}
    labels = {plain_heading(name) for name in label_columns(source)}
    return [at for at, name in enumerate(names, 1) if (name in wanted if wanted else name not in labels)]


def _label_names(source: Source) -> list[str]:
    """Headings of the columns that say what a row is about, the telling ones first."""
    layout = source.layout
    names: list[str | None] = []
    if layout.area:
        names += [layout.area.name, layout.area.number, layout.area.id, layout.area.level_column]
    names += [layout.period.column, *(value.measure_column for value in layout.values)]
    return list(dict.fromkeys(plain_heading(name) for name in names if name))
