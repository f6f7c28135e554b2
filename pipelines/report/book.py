"""The editions for paper: the yearly table book »Sozialraumdaten« and one »Sozialraumbericht« per area of its level.

Both are pages like the others, below `druck/`, laid out for A4. Chromium prints them to PDF; the table book also comes
as a workbook.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.report import profile
from pipelines.report.book_workbook import write_workbook
from pipelines.report.facts import Area, Facts, Indicator, Value
from pipelines.report.page import Page
from pipelines.report.pdf import print_pages
from schemas.documents import Level

SIDE_BY_SIDE = 6
"""Areas in one table of years; the city stands beside them. More do not fit on A4."""


MOST_ON_PAPER = 60
"""Areas for which there are editions for paper: each takes about a second to print. With more there is the workbook."""


@dataclass(frozen=True)
class Line:
    """A figure with those of the year before and of the city."""

    area: Area
    value: Value
    before: Value | None
    city: Value | None


@dataclass(frozen=True)
class Section:
    """What the book says about an indicator: its figures, newest first, and where they come from."""

    number: str
    chapter: str
    indicator: Indicator
    lines: list[Line]
    city_line: Line | None
    sources: list[str]

    @property
    def id(self) -> str:
        """Anchor in the page."""
        return f"t-{self.indicator.indicator_id}"

    @property
    def newest(self) -> list[Line]:
        """Lines of the newest period."""
        return [line for line in self.lines if line.value.period == self.lines[0].value.period]

    @property
    def constructed(self) -> bool:
        """Whether figures are made up for demonstration."""
        return any(line.value.origin == "constructed" for line in self.lines)

    @property
    def years(self) -> list[YearTable]:
        """All periods, newest first, in tables of as many areas as fit side by side."""
        by_key = {(line.area.area_id, line.value.period): line for line in self.lines}
        areas = list({line.area.area_id: line.area for line in self.lines}.values())
        periods = list({line.value.period: line for line in self.lines}.values())
        tables = []
        for start in range(0, len(areas), SIDE_BY_SIDE):
            some = areas[start : start + SIDE_BY_SIDE]
            rows = []
            for one in periods:
                cells = [by_key.get((area.area_id, one.value.period)) for area in some]
                rows.append(YearRow(one.value, [cell.value if cell else None for cell in cells], one.city))
            tables.append(YearTable(some, rows))
        return tables


@dataclass(frozen=True)
class YearRow:
    """A period: one value per area, and that of the city. `any_value` tells the period."""

    any_value: Value
    values: list[Value | None]
    city: Value | None


@dataclass(frozen=True)
class YearTable:
    """Periods of some areas."""

    areas: list[Area]
    rows: list[YearRow]


@dataclass(frozen=True)
class Book:
    """The table book; `city_only` are the indicators without figures on its level, with lines of the city."""

    year: int
    level: Level
    areas: list[Area]
    city: Area
    data_as_of: dt.date | None
    sections: list[Section]
    city_only: list[Section]

    @property
    def name(self) -> str:
        """File name without ending."""
        return f"sozialraumdaten-{self.year}"

    @property
    def on_paper(self) -> bool:
        """Whether there are editions for paper."""
        return len(self.areas) <= MOST_ON_PAPER

    @property
    def chapters(self) -> list[tuple[str, list[Section]]]:
        """Sections by chapter."""
        found: dict[str, list[Section]] = defaultdict(list)
        for section in self.sections:
            found[section.chapter].append(section)
        return list(found.items())


def book_level(facts: Facts) -> Level | None:
    """The level of the table book: as declared, else the one with the fewest areas (at least two) below the city."""
    declared = facts.project.release.report.book_level
    sizes = {level.id: len(facts.level_areas(level.id)) for level in facts.levels if level.id != facts.city.level}
    candidates = [level for level in sizes if sizes[level] >= (1 if declared else 2) and declared in (None, level)]
    return facts.level(min(candidates, key=lambda level: sizes[level])) if candidates else None


def make_book(facts: Facts) -> Book | None:
    """The content of the table book, None if there is no level for it or no figure on it."""
    level = book_level(facts)
    if level is None:
        return None
    areas = facts.level_areas(level.id)
    sources = _sources(facts)
    sections: list[Section] = []
    city_only: list[Section] = []
    for number, chapter in enumerate(facts.chapters, 1):
        for position, indicator in enumerate(chapter.indicators, 1):
            key = indicator.indicator_id
            lines, into, where = _lines(facts, key, areas), sections, level.id
            of_city = _lines(facts, key, [facts.city])
            if not lines:
                lines, into, where = of_city, city_only, facts.city.level
            if lines:
                beside = next((line for line in of_city if _moment(line.value) == _moment(lines[0].value)), None)
                name = f"{number}.{position}"
                into.append(Section(name, chapter.title_de, indicator, lines, beside, sources[key, where]))
    shown = [line.value for section in sections for line in section.lines if line.value.value is not None]
    if not shown:
        return None
    year = max(value.reference_date for value in shown).year
    received = max((value.data_as_of for value in shown if value.data_as_of), default=None)
    return Book(year, level, areas, facts.city, received, sections, city_only)


def _lines(facts: Facts, indicator: str, areas: list[Area]) -> list[Line]:
    """Figures of areas (in their order) beside those of the year before and of the city, the newest period first."""
    city = {_moment(value): value for value in facts.series(indicator, facts.city.area_id)}
    lines = []
    for area in areas:
        series = {_moment(value): value for value in facts.series(indicator, area.area_id)}
        for (kind, date), value in series.items():
            lines.append(Line(area, value, series.get((kind, _year_before(date))), city.get((kind, date))))
    return sorted(lines, key=lambda line: line.value.reference_date, reverse=True)


def _moment(value: Value) -> tuple[str, dt.date]:
    return value.period_type, value.reference_date


def _year_before(date: dt.date) -> dt.date:
    """The same day a year earlier; the last day of February stays the last."""
    last = (date + dt.timedelta(days=1)).month != date.month
    earlier = date.replace(year=date.year - 1, day=min(date.day, 28))
    while last and (earlier + dt.timedelta(days=1)).month == earlier.month:
        earlier += dt.timedelta(days=1)
    return earlier if last else date.replace(year=date.year - 1)


def _sources(facts: Facts) -> dict[tuple[str, str], list[str]]:
    """By indicator and level: publisher and title of every source behind the figures."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in facts.rows(_SOURCES):
        found[row["indicator_id"], row["area_level"]].append(f"{row['publisher']}: {row['source_title']}")
    return found


_SOURCES = """
    WITH used AS (
        SELECT DISTINCT indicator_id, area_level, unnest(string_split(delivery_ids, ';')) AS delivery_id
        FROM mart.indicator_value
    )
    SELECT DISTINCT u.indicator_id, u.area_level, d.publisher, d.source_title
    FROM used AS u JOIN meta.delivery AS d USING (delivery_id)
    ORDER BY ALL
"""


# ---------------------------------------------------------------- pages and files


def table_book_page(book: Book) -> str:
    """Address of the page that the table book is printed from."""
    return f"druck/{book.name}.html"


def area_report_page(area_id: str) -> str:
    """Address of the page that an area's Sozialraumbericht is printed from."""
    return f"druck/{area_report(area_id)}.html"


def area_report(area_id: str) -> str:
    """File name of an area's Sozialraumbericht, without ending."""
    return f"sozialraumbericht-{area_id}"


def pages(facts: Facts) -> Iterator[Page]:
    """The table book, and a Sozialraumbericht for each area of its level."""
    book = make_book(facts)
    if book is None or not book.on_paper:
        return
    title = f"Sozialraumdaten {book.year}"
    yield Page(table_book_page(book), "buch.html.j2", title, {"book": book}, "downloads")
    sources = _sources(facts)
    for area in book.areas:
        content = profile.context(facts, area)
        shown = [entry.indicator for _, entries in content["chapters"] for entry in entries]
        origins = [(indicator, sources[indicator.indicator_id, area.level]) for indicator in shown]
        content |= {"data_as_of": book.data_as_of, "sources": origins}
        title = f"Sozialraumbericht {area.name} {book.year}"
        yield Page(area_report_page(area.area_id), "druck_bericht.html.j2", title, content, "downloads")


def write_book(facts: Facts, folder: Path, cache: Path) -> list[str]:
    """Write the workbook, and print the pages to PDF.

    Args:
        facts: of the release.
        folder: of the report; its pages are there.
        cache: folder in which printed files are kept.

    Returns:
        Notes for people: why PDF are missing, if they are.
    """
    book = make_book(facts)
    if book is None:
        return []
    write_workbook(folder / f"{book.name}.xlsx", book, facts)
    note = print_pages([(folder / page, folder / file) for page, file, _ in _printed(book)], cache / "pdf")
    return [note] if note else []


def downloads(facts: Facts, folder: Path) -> list[tuple[str, str]]:
    """Address and name of each edition that stands in a folder, after `write_book`; PDF may be missing."""
    book = make_book(facts)
    if book is None:
        return []
    found = [(f"{book.name}.xlsx", f"Sozialraumdaten {book.year}, alle Indikatoren und Jahre (Excel)")]
    for page, file, name in _printed(book):
        found += [(file, f"{name} (PDF)"), (page, f"{name} (Seite zum Drucken)")]
    return [(address, name) for address, name in found if (folder / address).is_file()]


def _printed(book: Book) -> list[tuple[str, str, str]]:
    """Page, file and name of everything for paper."""
    if not book.on_paper:
        return []
    printed = [(table_book_page(book), f"{book.name}.pdf", f"Sozialraumdaten {book.year}")]
    for area in book.areas:
        name = f"Sozialraumbericht {area.name} {book.year}"
        printed.append((area_report_page(area.area_id), f"{area_report(area.area_id)}.pdf", name))
    return printed
