"""The table book as an Excel workbook: one sheet per indicator, real numbers, laid out for A4."""

from __future__ import annotations

import textwrap
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xlsxwriter

from pipelines.report.facts import Facts, Indicator, Value
from pipelines.report.words import period, why_empty
from schemas.codes import CODE_LISTS, label, sign

if TYPE_CHECKING:
    from pipelines.report.book import Book, Line, Section

HEADER = [
    ("Gebietskennung", 18),
    ("Gebiet", 24),
    ("Zeitraum", 16),
    ("Wert", 10),
    ("Zeichen", 8),
    ("Vorjahr", 10),
    ("Zeichen Vorjahr", 9),
    ("Veränderung", 12),
    ("Stadt", 10),
    ("Zeichen Stadt", 9),
    ("Vergleich mit der Stadt", 26),
    ("Datenherkunft", 28),
]
"""Columns of a sheet and their widths in characters."""
NUMBERS = {3: "value", 5: "before", 7: "change", 8: "city"}
TEXT_WIDTH = 150
"""Characters that fit on a line across all columns."""
KEY = {
    "obs_status": "Wertstatus",
    "origin": "Datenherkunft",
    "suppression_reason": "Grund",
    "comparison": "Vergleich",
}
"""Code lists that are explained."""
RULES = (
    "Steht in einer Zahlenspalte kein Wert, sagt das Zeichen daneben, warum.",
    "Veränderung und Vergleich sind aus ungerundeten Werten berechnet, nie über einen Bruch der Zeitreihe hinweg.",
    "Vergleich mit der Stadt: Ein Unterschied wird nur genannt, wenn er mit 95 % Sicherheit nicht zufällig ist.",
    "Angaben mit der Datenherkunft »konstruiert« sind zu Vorführzwecken erzeugt und keine amtlichen Zahlen.",
)


class _Workbook:
    """An open workbook with its formats."""

    def __init__(self, path: Path, book: Book, facts: Facts) -> None:
        release = facts.project.release
        self.book = xlsxwriter.Workbook(str(path), {"strings_to_formulas": False, "strings_to_urls": False})
        self.book.set_properties(
            {
                "title": f"Sozialraumdaten {book.year}",
                "author": release.publisher,
                "comments": release.attribution,
                "created": facts.stamp.created.replace(tzinfo=None),
            }
        )
        self.head = self.book.add_format({"bold": True, "text_wrap": True, "valign": "bottom", "bottom": 2})
        self.title = self.book.add_format({"bold": True, "font_size": 14})
        self.wrapped = self.book.add_format({"text_wrap": True, "valign": "top"})
        self._formats: dict[tuple[int, bool], Any] = {}

    def line(self, decimals: int = -1, constructed: bool = False) -> Any:
        """Format of a cell: a number with decimals (or text, -1), shaded where figures are constructed."""
        key = (decimals, constructed)
        if key not in self._formats:
            look: dict[str, Any] = {"bottom": 4, "bottom_color": "#c5ced6"}
            if decimals >= 0:
                look["num_format"] = "#,##0" + ("." + "0" * decimals if decimals else "")
            if constructed:
                look |= {"bg_color": "#fdf1e0", "italic": True}
            self._formats[key] = self.book.add_format(look)
        return self._formats[key]

    def sheet(self, name: str, landscape: bool = True) -> Any:
        """A new sheet, one A4 page wide, with page numbers."""
        sheet = self.book.add_worksheet(name)
        sheet.set_paper(9)
        if landscape:
            sheet.set_landscape()
        sheet.fit_to_pages(1, 0)
        sheet.set_footer("&L&A&RSeite &P von &N")
        sheet.hide_gridlines(2)
        return sheet


def write_workbook(path: Path, book: Book, facts: Facts) -> None:
    """Write the workbook; same figures, same bytes but for the moment of the release."""
    out = _Workbook(path, book, facts)
    sections = [*book.sections, *book.city_only]
    names = {section.number: f"{section.number} {section.indicator.indicator_id}"[:31] for section in sections}
    _contents(out, book, facts, names)
    for section in sections:
        _section(out, names[section.number], section)
    _key(out)
    out.book.close()


def _contents(out: _Workbook, book: Book, facts: Facts, names: dict[str, str]) -> None:
    sheet = out.sheet("Inhalt", landscape=False)
    release = facts.project.release
    lines = [f"{book.level.plural.de if book.level.plural else book.level.title.de} und {book.city.name} insgesamt"]
    lines += [release.title.de, release.publisher]
    lines += [f"Veröffentlichung {facts.stamp.release_id} vom {facts.stamp.created:%d.%m.%Y}"]
    lines += [f"Lizenz {release.licence}; {release.attribution}"]
    sheet.write_string(0, 0, f"Sozialraumdaten {book.year}", out.title)
    for row, text in enumerate(lines, 1):
        sheet.write_string(row, 0, text)
    row = len(lines) + 2
    for column, text in enumerate(["Nr.", "Indikator", "Kapitel", "Einheit", "Gebiete", "Definition"]):
        sheet.write_string(row, column, text, out.head)
    for section in [*book.sections, *book.city_only]:
        row += 1
        one = section.indicator
        sheet.write_url(row, 0, f"internal:'{names[section.number]}'!A1", out.wrapped, section.number)
        level = "nur Stadt" if section in book.city_only else book.level.title.de
        cells = [one.title_de, section.chapter, label("unit", one.unit), level, one.definition_de.strip()]
        for column, text in enumerate(cells, 1):
            sheet.write_string(row, column, text, out.wrapped)
    for column, width in enumerate([6, 34, 20, 10, 20, 70]):
        sheet.set_column(column, column, width)
    sheet.print_area(0, 0, row, 5)


def _section(out: _Workbook, name: str, section: Section) -> None:
    sheet = out.sheet(name)
    one = section.indicator
    sheet.write_string(0, 0, f"{section.number} {one.title_de}", out.title)
    intro = [f"Einheit: {label('unit', one.unit)}. {one.definition_de.strip()}"]
    intro += [f"Quelle: {'; '.join(section.sources)}."]
    if section.constructed:
        intro += ["Schattierte Zeilen sind konstruiert: zu Vorführzwecken erzeugt, keine amtlichen Zahlen."]
    row = 1
    for text in [line for part in intro for line in textwrap.wrap(part, TEXT_WIDTH)]:
        sheet.write_string(row, 0, text)
        row += 1
    for column, (text, width) in enumerate(HEADER):
        sheet.write_string(row, column, text, out.head)
        sheet.set_column(column, column, width)
    first = row + 1
    sheet.freeze_panes(first, 2)
    sheet.repeat_rows(row)
    for row, line in enumerate(section.lines, first):
        _line(out, sheet, row, line, one)
    sheet.autofilter(first - 1, 0, row, len(HEADER) - 1)
    marks = [f"{c.sign} = {c.label_de}" for c in [*CODE_LISTS["obs_status"], *CODE_LISTS["origin"]] if c.sign]
    sheet.write_string(row + 2, 0, f"Zeichen: {', '.join(marks)}. Näheres auf dem Blatt »Zeichenerklärung«.")
    sheet.print_area(0, 0, row + 2, len(HEADER) - 1)


def _line(out: _Workbook, sheet: Any, row: int, line: Line, indicator: Indicator) -> None:
    value, before, city = line.value, line.before, line.city
    compared = label("comparison", value.comparison) if value.value is not None else why_empty(value)
    cells: list[str | float | None] = [
        line.area.area_id,
        line.area.name,
        period(value),
        value.value,
        _signs(value),
        before.value if before else None,
        _signs(before),
        value.change,
        city.value if city else None,
        _signs(city),
        compared,
        label("origin", value.origin),
    ]
    for column, cell in enumerate(cells):
        numeric = column in NUMBERS
        look = out.line(indicator.decimals if numeric else -1, value.origin == "constructed")
        if isinstance(cell, str):
            sheet.write_string(row, column, cell, look)
        elif cell is None:
            sheet.write_blank(row, column, None, look)
        else:
            sheet.write_number(row, column, _rounded(cell, indicator.decimals), look)


def _rounded(number: float, decimals: int) -> float:
    """As printed: halves away from zero."""
    return float(Decimal(repr(number)).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP))


def _signs(value: Value | None) -> str:
    """Signs of status and origin that belong to a figure."""
    if value is None:
        return "–"
    return " ".join(filter(None, [sign("obs_status", value.obs_status), sign("origin", value.origin)]))


def _key(out: _Workbook) -> None:
    sheet = out.sheet("Zeichenerklärung", landscape=False)
    sheet.write_string(0, 0, "Zeichenerklärung", out.title)
    row = 2
    for text in RULES:
        sheet.write_string(row, 0, text)
        row += 1
    for column, text in enumerate(["Bereich", "Zeichen", "Bedeutung"]):
        sheet.write_string(row + 1, column, text, out.head)
    row += 2
    for code_list, title in KEY.items():
        for code in CODE_LISTS[code_list]:
            for column, text in enumerate([title, code.sign, code.label_de]):
                sheet.write_string(row, column, text)
            row += 1
    sheet.set_column(0, 0, 18)
    sheet.set_column(1, 1, 9)
    sheet.set_column(2, 2, 60)
