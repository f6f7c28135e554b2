"""The audit of the report: every page, drawing, workbook and PDF is read back, and each number in it explained.

Whatever the report shows equals a figure of the public tables, so nothing new can be learned from it. What does not,
what nobody can explain, and what no report holds (scripts, comments, other files) is a finding.
"""

from __future__ import annotations

import datetime as dt
import html
import itertools
import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import python_calamine

from pipelines.audit.facts import Leak, Unreadable
from pipelines.audit.release_files import PACKAGE, REPORT
from pipelines.audit.report_markup import DIGIT, Text, read_page, read_style
from pipelines.audit.report_scope import Scope, mark_scales, mark_steps, scope_of, unknown_ids
from pipelines.marts.models import Models
from pipelines.paths import DATABASE, RELEASE_ID
from pipelines.session import connect
from schemas.codes import CODE_LISTS

_SHOWN = 5
"""Findings that are told per file; of more, their number."""
_TOPS = ("index", "datenfluss", "datenqualitaet", "zeichen", "barrierefreiheit", "downloads")
_TEXTS = ("katalog/quellen_de.csv",)
_PLACES = 3
"""Figures may be shown with at most so many places where their own number of places is not declared."""
_OWN_PLACES = {
    *("value", "ci_low", "ci_high", "benchmark_value", "difference", "change", "change_low", "change_high"),
    *("ci_low_998", "ci_high_998"),
}
"""Columns of `mart.indicator_value` in the unit of the indicator."""
_ABOUT = {
    "gebiete": ("mart.social_index",),
    **dict.fromkeys(("karten", "indikatoren", "vergleich"), ("mart.indicator_value",)),
}
"""Tables from which pages of a folder show other numbers than figures with a key; other folders: any."""
_TEMPLATES = Path(__file__).parents[1] / "report/templates"
_WORD = re.compile(r"[^ \t\r\n]+")
_EDGE = "()[]{}»«„“”\"'.,;:!?…·*"
_NUMBER = re.compile(
    r"\d{8}T\d{6}Z-\d{4}|\d{4}-\d\d-\d\d|\d{1,2}\.\d{1,2}\.(?:\d{4})?|\d{4}[/-]\d\d(?!\d)"
    r"|\d{1,3}(?:[\u202f\u00a0.]\d{3})+(?:,\d+)?(?!\d)|\d+,\d+|[\d¹²³⁰-⁹₀-₉¼-¾⅐-↋]+"
)
_UNIT = re.compile(r"\bje[\u202f\u00a0 ]1[\u202f\u00a0 .]?000\b")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_ADVICE = "Der Bericht darf nur Zahlen der öffentlichen Tabellen zeigen; Bericht neu schreiben."

_COUNT, _PLACE = "mart.observation.value", "meta.figure_source"
"""What an element of a page of provenance names as the source of its numbers."""
_CITED = re.compile(r"herkunft/([^/]+)/([^/]+)\.html")
_BEHIND = """
    WITH RECURSIVE node AS (
        SELECT gebiet, kennzahl AS measure_id, auspraegung AS category, gebiet AS area_id,
            zeitbezug_anzahl AS period_type, stichtag_anzahl AS reference_date
        FROM api.rechenwege WHERE indikator = ? AND list_contains(?, gebiet)
        UNION
        SELECT n.gebiet, p.part_measure_id, p.part_category, p.part_area_id, n.period_type, p.part_reference_date
        FROM node AS n
        JOIN meta.figure_part AS p USING (measure_id, category, area_id, period_type, reference_date)
    )
    SELECT DISTINCT n.gebiet, o.value,
        concat_ws(' ', s.sheet, s.line, s.column_number, s.column_name, s.received_text, s.correction)
    FROM node AS n
    LEFT JOIN mart.observation AS o USING (measure_id, category, area_id, period_type, reference_date)
    LEFT JOIN meta.figure_source AS s USING (measure_id, category, area_id, period_type, reference_date)
"""

EXACT = 1e-6
Scaled = dict[int, set[int]]
"""Numbers by places after the comma, as whole numbers of the last place, without sign."""


def check_report(folder: Path, models: Models | None) -> list[Leak]:
    """Everything below `bericht/` of a release.

    Args:
        folder: the release.
        models: the marts as declared; their project's public words may stand in pages.

    Raises:
        Unreadable: a file cannot be read.
    """
    report = folder / REPORT
    if not report.exists():
        return []
    with connect(folder / DATABASE, read_only=True) as con:
        known = _Known(con, folder, models)
        leaks = list(_names(report, known))
        for path in sorted(report.rglob("*")):
            if path.is_file() and not path.is_symlink():
                leaks += _read(path, path.relative_to(folder).as_posix(), known)
    return leaks


def _names(report: Path, known: _Known) -> Iterator[Leak]:
    """Files that no report holds."""
    text = "Diese Datei gehört zu keinem Bericht; entfernen."
    for path in sorted(report.rglob("*")):
        name = path.relative_to(report).as_posix()
        if path.is_symlink() or not (path.is_dir() or known.is_file_name(name)):
            yield Leak("unbekannte_datei", f"{REPORT}/{name}", text)


def _read(path: Path, name: str, known: _Known) -> list[Leak]:
    readers = {".html": _page, ".css": _style, ".xlsx": _workbook, ".pdf": _pdf}
    found = dict.fromkeys(readers.get(path.suffix, _unknown)(path, known))
    leaks = [Leak("nicht_ableitbar", f"{name}: {problem}", _ADVICE) for problem in list(found)[:_SHOWN]]
    if len(found) > _SHOWN:
        leaks.append(Leak("nicht_ableitbar", f"{name}: {len(found) - _SHOWN} weitere Stellen", _ADVICE))
    return leaks


def _unknown(_path: Path, _known: _Known) -> Iterator[str]:
    yield "Art der Datei ist nicht vorgesehen"


def _page(path: Path, known: _Known) -> Iterator[str]:
    page = read_page(_text_of(path))
    yield from page.problems
    known.scope = scope_of(path.as_posix().rpartition(f"/{REPORT}/")[2])
    mark_scales(page.texts, known.years)
    mark_steps(page.texts)
    for text in page.texts:
        problem = known.judge(text)
        if problem:
            yield problem


def _style(path: Path, _known: _Known) -> Iterator[str]:
    yield from read_style(_text_of(path))


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{REPORT}: {path.name}: {error}") from error


def _workbook(path: Path, known: _Known) -> Iterator[str]:
    """Numbers are public figures, those of a row figures of its area; texts hold none but declared ones."""
    try:
        book = python_calamine.CalamineWorkbook.from_path(str(path))
        sheets = {name: book.get_sheet_by_name(name).to_python() for name in book.sheet_names}
        with zipfile.ZipFile(path) as parts:
            strange = [part for part in parts.namelist() if not _PARTS.fullmatch(part)]
            told = html.unescape(re.sub(r"<[^>]*>", "\n", parts.read("docProps/core.xml").decode()))
            told = re.sub(r"(?<=\d)T\d\d:\d\d:\d\dZ", "", told)  # when it was written
    except (python_calamine.CalamineError, zipfile.BadZipFile, OSError, ValueError, KeyError) as error:
        raise Unreadable(f"{REPORT}/{path.name}: {error}") from error
    if strange:
        yield "die Mappe hat Teile, die nicht vorgesehen sind"
    known.scope = Scope("druck")
    sections = {name.partition(" ")[0] for name in sheets}
    yield from (problem for line in told.splitlines() if (problem := known.judge(Text(line, "ersatz"))))
    for sheet, rows in sheets.items():
        indicator = known.indicator_titled(str(rows[0][0]) if rows and rows[0] else "")
        if DIGIT.search(sheet) and not (indicator and f"{sheet.partition(' ')[0]} {indicator}"[:31] == sheet):
            yield "ein Blatt heißt anders als vorgesehen"
        for number, row in enumerate(rows, 1):
            figures = known.row_figures(indicator, str(row[0]))
            for column, cell in enumerate(row, 1):
                if cell not in sections and not _cell_is_known(cell, figures, known):
                    yield f"Blatt »{sheet}«, Zeile {number}, Spalte {column} steht in keiner öffentlichen Tabelle"


_PARTS = re.compile(
    r"\[Content_Types\]\.xml|_rels/\.rels|docProps/(core|app)\.xml|xl/(workbook|sharedStrings|styles)\.xml"
    r"|xl/theme/theme1\.xml|xl/_rels/workbook\.xml\.rels|xl/worksheets/sheet\d+\.xml"
    r"|xl/worksheets/_rels/sheet\d+\.xml\.rels"
)


def _cell_is_known(cell: Any, figures: tuple[int, set[int]] | None, known: _Known) -> bool:
    if isinstance(cell, bool | dt.date | dt.time):
        return isinstance(cell, dt.date)
    if not isinstance(cell, int | float):
        return not known.judge(Text(str(cell), "zelle"))
    if figures is None:
        return known.is_figure(float(cell))
    places, there = figures
    return abs(cell * 10**places - round(cell * 10**places)) < EXACT and abs(round(cell * 10**places)) in there


def _pdf(path: Path, known: _Known) -> Iterator[str]:
    """What is printed stands in the page that was printed; without that page every number is judged by itself."""
    import pypdf  # loads for a tenth of a second: only where there is a PDF

    source = path.parent / "druck" / path.with_suffix(".html").name
    try:
        reader = pypdf.PdfReader(str(path))
        texts = [page.extract_text() for page in reader.pages]
        told = " ".join(str(value) for key, value in (reader.metadata or {}).items() if key not in _PRODUCED)
        carried: Any = reader.root_object.get("/Names", {})
    except (pypdf.errors.PyPdfError, OSError, ValueError, KeyError, RecursionError) as error:
        raise Unreadable(f"{REPORT}/{path.name}: {error}") from error
    if {"/EmbeddedFiles", "/JavaScript"} & set(carried):
        yield "trägt eine Datei oder ein Programm in sich"
    printed = _Printed(_text_of(source)) if source.is_file() else None
    pages = {str(number) for number in range(len(texts) + 1)}
    for number, text in enumerate([*texts, told], 1):
        strange = set(re.findall(r"\d+", text)) - pages
        if any(not (printed.shows(run) if printed else known.is_public_token(run)) for run in strange):
            yield f"Seite {number} zeigt eine Zahl, die nicht in der gedruckten Seite steht"


class _Printed:
    """Runs of digits in the text of a page, in its order: in print, neighbours can run into each other."""

    def __init__(self, content: str) -> None:
        runs = re.findall(r"\d+", html.unescape(re.sub(r"<[^>]*>", " ", content)))
        self.all = "".join(runs)
        self.ends = {0, *itertools.accumulate(map(len, runs))}
        self.runs = set(runs)

    def shows(self, run: str) -> bool:
        """Whether a run is one of the page, or several that follow one another."""
        if run in self.runs:
            return True
        places = (found.start() for found in re.finditer(f"(?={run})", self.all))
        return any({place, place + len(run)} <= self.ends for place in places)


_PRODUCED = ("/Producer", "/Creator", "/CreationDate", "/ModDate")


# ---------------------------------------------------------------- what is known


@dataclass
class _Known:
    """The public tables, as far as they explain what stands in pages.

    `scope`: what the page that is read is about; figures of others have no business there.
    """

    con: duckdb.DuckDBPyConnection
    folder: Path
    models: Models | None
    scope: Scope = field(default_factory=Scope)
    verdicts: dict[tuple[Any, ...], str] = field(default_factory=dict)
    columns: dict[tuple[str, Scope], Scaled | set[str]] = field(default_factory=dict)
    tables: dict[str, set[str]] = field(default_factory=dict)
    contents: dict[tuple[str, str, tuple[str, ...]], dict[tuple[Any, ...], list[Any]]] = field(default_factory=dict)
    shown: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    told: dict[str, list[Any]] = field(default_factory=dict)
    behind: tuple[str, dict[str, dict[str, Scaled | set[str]]]] = ("", {})

    # ------------------------------------------------------------ names of files

    def is_file_name(self, name: str) -> bool:
        """Whether a report has a file of this name."""
        return bool(self._file_names.fullmatch(name))

    @cached_property
    def _file_names(self) -> re.Pattern[str]:
        areas, indicators = self._one_of("area", "area_id"), self._one_of("indicator", "indicator_id")
        levels, indexes = self._one_of("area", "level"), self._one_of("index_definition", "index_id")
        year = "(?:" + "|".join(sorted(self.years)) + ")"
        book = rf"(?:sozialraumdaten-{year}|sozialraumbericht-{areas})"
        forms = [
            *[rf"{top}\.html" for top in _TOPS],
            r"stil\.css",
            rf"gebiete/(?:index|{areas})\.html",
            rf"indikatoren/(?:index|{indicators})\.html",
            rf"karten/(?:index|{indicators}-{levels})\.html",
            rf"vergleich/(?:index|staedte|{indicators}-{levels}(?:-[a-z]+)?)\.html",
            rf"index/(?:index|{indexes})\.html",
            rf"datenfluss/{indicators}\.html",
            rf"herkunft/{indicators}/{areas}\.html",
            rf"druck/{book}\.html",
            rf"{book}\.pdf",
            rf"sozialraumdaten-{year}\.xlsx",
        ]
        return re.compile("|".join(forms))

    def _one_of(self, table: str, column: str) -> str:
        values = [re.escape(str(row[0])) for row in self._rows(f'SELECT DISTINCT "{column}" FROM mart."{table}"')]
        return f"(?:{'|'.join(sorted(values))})" if values else "(?!)"

    def _rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        try:
            return self.con.execute(query, parameters).fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):
            return []

    # ------------------------------------------------------------ judgement

    def judge(self, text: Text) -> str:
        """What is wrong with a text, '' if all its numbers are explained."""
        if text.figure is not None:
            return self._judge_figure(text)
        if text.kind == "verweis":
            key: tuple[Any, ...] = (text.kind, text.text)
        else:
            scoped = text.columns or text.counted or text.kind == "ersatz"
            scope = self.scope if scoped else self.scope.printed
            key = (text.kind, text.columns, text.counted, text.in_scale, text.text, scope)
        if key not in self.verdicts:
            judge = self._judge_reference if text.kind == "verweis" else self._judge_text
            self.verdicts[key] = judge(text)
        return self.verdicts[key]

    def _judge_figure(self, text: Text) -> str:
        column, indicator, area, period = text.figure or ("", "", "", "")
        number = self._numbers_of.get((indicator, area), {}).get(period)
        where = f"{indicator}, {area}, {period} ({column})"
        if number is None or column not in self._figures.column_names:
            return f"{where}: diese Zahl gibt es nicht"
        if column not in self.told:
            self.told[column] = self._figures[column].to_pylist()
        value = self.told[column][number]
        shown = _INVISIBLE.sub("", text.text)
        if text.kind == "ersatz":  # the number and the name of the area stand before the figure
            shown = re.sub(r"^\d{1,3} ", "", shown).removeprefix(self._names.get(area, ""))
        if not isinstance(value, int | float):
            return f"{where}: statt eines Zeichens steht hier eine Zahl" if DIGIT.search(shown) else ""
        bare = _UNIT.sub("", shown)
        places = self._places.get(indicator, 0) if column in _OWN_PLACES else None
        return "" if _shows(bare, float(value), places) else f"{where}: hier steht eine andere Zahl"

    def _judge_text(self, text: Text) -> str:
        clean = _UNIT.sub("", _INVISIBLE.sub("", text.text))
        plain = self._without_section(_spaced(clean)) if self.scope.printed else _spaced(clean)
        if plain in self._declared or (text.kind == "ersatz" and plain in self._own_names):
            return ""
        for word in _WORD.findall(plain):
            if DIGIT.search(word) and not self._is_declared(word.strip(_EDGE)) and not self._is_address(word):
                for token in _NUMBER.findall(word):
                    if not self._explained(token, text, plain):
                        return f"»{_cut(plain, word)}«: diese Zahl steht in keiner öffentlichen Tabelle"
        return ""

    def _is_declared(self, word: str) -> bool:
        """Whether a word is a declared one, the id of an area, or stands as it is in the name of an area."""
        return word in self._words or word in self._areas or word in self._words_of_names

    def _is_address(self, word: str) -> bool:
        """Whether a word is the address of a figure, as it is cited."""
        found = re.fullmatch(r"herkunft/([^/#]+)/([^/#]+)\.html#([^#]+)", word.strip(_EDGE))
        return found is not None and found[3] in self._numbers_of.get((found[1], found[2]), {})

    def _judge_reference(self, text: Text) -> str:
        """Addresses, ids and classes hold no digits but those of ids, days and years, or of the templates."""
        value = _INVISIBLE.sub("", text.text)
        if value in self._own_attributes or value in self._words or not unknown_ids(value, self._is_id):
            return ""
        return f"»{_cut(value, value)[:60]}«: in einer Adresse oder einem Namen steht eine Zahl, die keine Kennung ist"

    def _without_section(self, plain: str) -> str:
        """Without the number of a table or section before its name."""
        table = re.sub(r"^Tabelle \d{1,2}\.\d{1,2} (?=[ab]\b)", "", plain)
        found = re.match(r"(\d{1,2}\.\d{1,2}) ", table)
        titled = found and any(table.startswith(title, found.end()) for title in self._titles)
        return table[found.end() :] if found and titled else table

    def _is_id(self, text: str) -> bool:
        known = text in self._words or text in self._own_names or text in self._areas
        return known or text in self._periods or self._is_time(text)

    def _explained(self, token: str, text: Text, plain: str) -> bool:
        if self._is_time(token) or token in self._areas or any(self._in_column(token, name) for name in text.columns):
            return True
        if text.counted:
            return token.isascii() and token.isdigit() and int(token) <= self._most_counted()
        if self._in_phrase(token, plain):
            return True
        if text.kind == "kopf":
            return plain == "0"  # a sign that the key of signs explains
        return text.in_scale if text.kind == "bild" else text.kind == "ersatz" and self._in_label(token, plain)

    def _in_label(self, token: str, plain: str) -> bool:
        """Whether a number of a label is a figure of the indicator and area that the label and the page name."""
        counted = re.search(rf"(?<![\d.,]){re.escape(token)} Gebiete?\b", plain)
        if counted and self.scope.room == "karten":
            return token.isdigit() and int(token) <= len(self._level_areas.get(self.scope.level, ()))
        titles = [title for title in self._titles if title in plain]
        indicator = self._titles[max(titles, key=len)] if titles else None
        scaled = _scaled(token)
        if indicator is None or scaled is None or self.scope.indicator not in ("", indicator):
            return False
        if scaled[0] != self._places[indicator]:
            return False
        if self.scope.room == "karten":  # the bounds of classes, which are values of some year
            areas = self._level_areas.get(self.scope.level, set())
            return any(scaled[1] in self._of_area(indicator, area) for area in areas)
        areas = {area for area, name in self._names.items() if self.scope.area in ("", area) and name in plain}
        areas |= {area for area in self._whole if self._names[area] in plain}
        places = [found.start() for found in _NUMBER.finditer(plain) if found[0] == token]
        years = [re.findall(r"\b(?:19|20)\d\d\b", plain[:place])[-1:] for place in places]
        return bool(years) and all(
            year and any(scaled[1] in self._of_year(indicator, area, year[0]) for area in areas) for year in years
        )

    def _most_counted(self) -> int:
        """How many there can be of what a page counts: profiles count nothing, maps their areas and periods."""
        if self.scope.area and not self.scope.provenance:
            return 0
        if self.scope.room in ("karten", "vergleich", "indikatoren", "index"):
            return max(len(self._periods), *map(len, self._level_areas.values()))
        return self._most

    def _in_phrase(self, token: str, plain: str) -> bool:
        """Whether a number stands beside the same word as in some declared text."""
        words = [word.strip(_EDGE) for word in plain.split(" ")]
        pairs = set(itertools.pairwise(words))
        near = {pair for pair in pairs if any(token in _NUMBER.findall(word) for word in pair)}
        return bool(near & self._pairs)

    # ------------------------------------------------------------ workbooks

    def indicator_titled(self, text: str) -> str | None:
        """The indicator whose title stands behind the number of a section."""
        number, _, title = text.partition(" ")
        return self._titles.get(title) if re.fullmatch(r"\d{1,2}\.\d{1,2}", number) else None

    @cached_property
    def _titles(self) -> dict[str, str]:
        return {row[0]: row[1] for row in self._rows("SELECT title_de, indicator_id FROM mart.indicator")}

    def row_figures(self, indicator: str | None, area: str) -> tuple[int, set[int]] | None:
        """Places and figures that a row about an area may show: its own and those of areas that no other contains."""
        if indicator is None or area not in self._areas:
            return None
        shown = (self._of_area(indicator, one) for one in {area, *self._whole})
        return self._places[indicator], set().union(*shown)

    def _of_area(self, indicator: str, area: str) -> set[int]:
        """All figures of an indicator for an area."""
        if (indicator, area) not in self.shown:
            numbers = self._numbers_of.get((indicator, area), {}).values()
            self.shown[indicator, area] = self._rounded_in(_OWN_PLACES, list(numbers), self._places[indicator])
        return self.shown[indicator, area]

    def _of_year(self, indicator: str, area: str, year: str) -> set[int]:
        """Values and those of their benchmark in the periods that begin with a year."""
        periods = self._numbers_of.get((indicator, area), {})
        numbers = [number for period, number in periods.items() if period[:4] == year]
        return self._rounded_in({"value", "benchmark_value"}, numbers, self._places[indicator])

    def _rounded_in(self, columns: set[str], numbers: list[int], places: int) -> set[int]:
        """What some rows hold in some columns, in units of the last place."""
        found: set[int] = set()
        rows = pa.array(numbers, pa.int64())
        for column in columns & set(self._figures.column_names):
            values = self._figures[column].take(rows).drop_null().to_numpy()
            scaled = np.abs(values) * 10**places
            if not (scaled < 2**62).all():
                raise Unreadable(f"mart.indicator_value, Spalte {column}: keine Zahl, die ein Bericht zeigen kann")
            found.update(np.unique(np.rint([scaled - 1e-6, scaled + 1e-6])).astype(int).tolist())
        return found

    @cached_property
    def _areas(self) -> set[str]:
        return {str(row[0]) for row in self._rows("SELECT area_id FROM mart.area")}

    @cached_property
    def _names(self) -> dict[str, str]:
        return dict(self._rows("SELECT area_id, name FROM mart.area"))

    @cached_property
    def _words_of_names(self) -> set[str]:
        """Such as 101-02: drawings break names into lines. A number by itself may be a figure and is none of these.

        They are free on every page, also on those that name other areas: two counts written like that would pass.
        """
        words = {word.strip(_EDGE) for name in self._names.values() for word in name.split()}
        return {word for word in words if re.search(r"\d[-/]\d", word)}

    @cached_property
    def _level_areas(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for area, level in self._rows("SELECT area_id, level FROM mart.area"):
            found.setdefault(level, set()).add(area)
        return found

    @cached_property
    def _periods(self) -> set[str]:
        return {period for periods in self._numbers_of.values() for period in periods}

    @cached_property
    def _whole(self) -> set[str]:
        return self._areas - {str(row[0]) for row in self._rows("SELECT area_id FROM mart.membership")}

    # ------------------------------------------------------------ numbers

    def is_public_token(self, token: str) -> bool:
        """Whether a number is a public figure at its indicator's places, or a public count."""
        scaled = _scaled(token)
        return scaled is not None and scaled[1] in self._public.get(scaled[0], ())

    def is_figure(self, value: float) -> bool:
        """Whether a number of a workbook is a public figure."""
        return any(
            abs(value * 10**places - round(value * 10**places)) < EXACT and abs(round(value * 10**places)) in there
            for places, there in self._public.items()
        )

    def _in_column(self, token: str, name: str) -> bool:
        scope = self.scope
        if scope.provenance and name in (_PLACE, _COUNT):
            found = self._behind(scope.indicator).get(scope.area, {}).get(name, set())
        else:
            if (name, scope) not in self.columns:
                self.columns[name, scope] = self._column(name, scope)
            found = self.columns[name, scope]
        if isinstance(found, set):
            return token in found
        scaled = _scaled(token)
        return scaled is not None and scaled[1] in found.get(scaled[0], ())

    def _behind(self, indicator: str) -> dict[str, dict[str, Scaled | set[str]]]:
        """Per area with a page the counts behind an indicator's figures, and the numbers of their places.

        Kept for one indicator: its pages are read one after the other.
        """
        if self.behind[0] != indicator:
            areas = sorted(self._cited.get(indicator, ()))
            values: dict[str, list[float]] = {area: [] for area in areas}
            places: dict[str, set[str]] = {area: set() for area in areas}
            for area, value, place in self._rows(_BEHIND, indicator, areas):
                if value is not None:
                    values[area].append(value)
                if place:
                    places[area].update(_NUMBER.findall(place))
            self.behind = indicator, {a: {_COUNT: _as_they_are(values[a]), _PLACE: places[a]} for a in areas}
        return self.behind[1]

    @cached_property
    def _cited(self) -> dict[str, set[str]]:
        """Areas with a page of provenance, by indicator."""
        report = self.folder / REPORT
        found: dict[str, set[str]] = {}
        for path in report.rglob("*.html"):
            named = _CITED.fullmatch(path.relative_to(report).as_posix())
            if named:
                found.setdefault(named[1], set()).add(named[2])
        return found

    def _column(self, name: str, scope: Scope) -> Scaled | set[str]:
        """What the rows of a public table that a page is about hold in a column.

        Numbers at their indicator's places, or at up to three; or numbers within texts.
        """
        table, _, column = name.rpartition(".")
        values = self._values_about(table, column, scope) if re.fullmatch(r"\w+\.\w+\.\w+", name) else []
        if not values or not all(isinstance(value, int | float) for value in values):
            return {token for value in values for token in _NUMBER.findall(str(value))}
        if scope.indicator and column in _OWN_PLACES | {"value_before", "value_now"}:
            places = self._places.get(scope.indicator, 0)
            return {places: {one for value in values for one in _rounded(value, places)}}
        return _all_places([float(value) for value in values])

    def _values_about(self, table: str, column: str, scope: Scope) -> list[Any]:
        room = "gebiete" if scope.printed and scope.area else scope.room
        if table not in _ABOUT.get(room, (table,)):
            return []
        there = self._columns_of(table)
        keys = [
            (scope.indicator, ("indicator_id", "indikator")),
            (scope.area, ("area_id", "gebiet")),
            (scope.level, ("area_level",)),
        ]
        bound = []
        for wanted, names in keys:
            key = next((name for name in names if name in there), None)
            if wanted and key:
                bound.append((key, wanted))
            elif wanted and not scope.provenance:  # nothing of a table that does not speak of what the page is about
                return []
        if column not in there:
            return []
        names = tuple(key for key, _ in bound)
        if (table, column, names) not in self.contents:
            self.contents[table, column, names] = self._content(table, column, names)
        return self.contents[table, column, names].get(tuple(wanted for _, wanted in bound), [])

    def _columns_of(self, table: str) -> set[str]:
        if table not in self.tables:
            query = "SELECT column_name FROM duckdb_columns() WHERE schema_name = ? AND table_name = ?"
            self.tables[table] = {row[0] for row in self.con.execute(query, table.split(".")).fetchall()}
        return self.tables[table]

    def _content(self, table: str, column: str, keys: tuple[str, ...]) -> dict[tuple[Any, ...], list[Any]]:
        """What a column holds, by the ids of indicator, area and level: one question for the pages of all of them."""
        names = ", ".join(f'"{name}"' for name in [*keys, column])
        found: dict[tuple[Any, ...], list[Any]] = {}
        query = f'SELECT DISTINCT {names} FROM {table} WHERE "{column}" IS NOT NULL'
        for *ids, value in self.con.execute(query).fetchall():
            found.setdefault(tuple(ids), []).append(value)
        return found

    @cached_property
    def _figures(self) -> pa.Table:
        """`mart.indicator_value`: as columns a tenth of what it takes as rows."""
        return self.con.sql("SELECT * FROM mart.indicator_value").to_arrow_table().combine_chunks()

    @cached_property
    def _numbers_of(self) -> dict[tuple[str, str], dict[str, int]]:
        """Numbers of the rows of `_figures` by indicator and area, then by period."""
        found: dict[tuple[str, str], dict[str, int]] = {}
        keys = [self._figures[name].to_pylist() for name in ("indicator_id", "area_id", "period")]
        for number, (indicator, area, period) in enumerate(zip(*keys, strict=True)):
            found.setdefault((indicator, area), {})[sys.intern(period)] = number
        return found

    @cached_property
    def _places(self) -> dict[str, int]:
        return dict(self._rows("SELECT indicator_id, decimals FROM mart.indicator"))

    @cached_property
    def _public(self) -> Scaled:
        """Figures in the unit of an indicator at its places, and counts as they are."""
        found: Scaled = {places: set() for places in range(7)}
        of_indicator: dict[str, list[int]] = {}
        for (indicator, _), periods in self._numbers_of.items():
            of_indicator.setdefault(indicator, []).extend(periods.values())
        for indicator, numbers in of_indicator.items():
            places = self._places.get(indicator, 0)
            found[places] |= self._rounded_in(_OWN_PLACES, numbers, places)
        for column in {"rank", "ranked_n"} & set(self._figures.column_names):
            found[0] |= set(self._figures[column].unique().drop_null().to_pylist())
        rows = self._rows("SELECT DISTINCT value FROM mart.observation WHERE value IS NOT NULL")
        for places, counts in _as_they_are([row[0] for row in rows]).items():
            found[places] |= counts
        return found

    @cached_property
    def _most(self) -> int:
        """Of nothing in a report there is more than rows in the longest public table."""
        return max(row[0] for row in self._rows("SELECT max(estimated_size) FROM duckdb_tables()"))

    # ------------------------------------------------------------ words

    @cached_property
    def _texts(self) -> list[str]:
        """All texts of the public tables but for received cells, and of the declarations."""
        columns = self._rows(
            "SELECT schema_name, table_name, column_name FROM duckdb_columns() JOIN duckdb_tables() "
            "USING (schema_name, table_name) WHERE data_type = 'VARCHAR' "
            "AND column_name NOT IN ('received_text', 'content_hash', 'commit', 'rules') ORDER BY ALL"
        )
        texts = [
            str(row[0])
            for schema, table, column in columns
            for row in self._rows(
                f'SELECT DISTINCT "{column}" FROM "{schema}"."{table}" WHERE regexp_matches("{column}", \'[0-9]\')'
            )
        ]
        texts += [text for codes in CODE_LISTS.values() for c in codes for text in (c.label_de, c.label_en)]
        texts += [(self.folder / name).read_text("utf-8-sig") for name in _TEXTS if (self.folder / name).is_file()]
        topics = [str(row[0]).replace("_", " ") for row in self._rows("SELECT DISTINCT topic FROM mart.indicator")]
        texts += [text for topic in topics for text in (topic, topic.capitalize())]  # chapters nobody has named
        return [*texts, *self._licences(), *self._of_project()]

    def _licences(self) -> Iterator[str]:
        """Name and address of the licence, which every page names."""
        package = self.folder / PACKAGE
        if package.is_file():
            try:
                yield from _strings(json.loads(package.read_text("utf-8")).get("licenses", []))
            except (ValueError, AttributeError) as error:
                raise Unreadable(f"{PACKAGE}: {error}") from error

    def _of_project(self) -> Iterable[str]:
        """Public fields of the declarations."""
        if self.models is None:
            return
        project = self.models.project
        yield from _strings(project.release.model_dump())
        yield from _strings(project.areas.model_dump())
        for measure in project.measures.values():
            yield from _strings(measure.model_dump(include={"title", "description"}))
        public = {"title", "description", "publisher", "licence", "address", "owner"} | {
            "due",
            "breaks",
            "transcribed_from",
        }
        for source in project.sources.values():
            yield from _strings(source.model_dump(include=public))

    @cached_property
    def _declared(self) -> set[str]:
        return {_spaced(text) for text in self._texts if re.search(r"[^\W\d_]", text)}

    @cached_property
    def _own_words(self) -> list[str]:
        """What the pages say of themselves, as far as it holds numbers: the words of their templates."""
        texts = [
            re.sub(r"\{[{%#].*?[#%}]\}|<[^>]*>", "\n", f.read_text("utf-8"), flags=re.S)
            for f in _TEMPLATES.glob("*.j2")
        ]
        return [html.unescape(line) for text in texts for line in text.splitlines() if DIGIT.search(line)]

    @cached_property
    def _own_attributes(self) -> set[str]:
        """Attributes as the templates have them, and the classes of their style sheets."""
        texts = [file.read_text("utf-8") for file in _TEMPLATES.glob("*.j2")]
        styles = [file.read_text("utf-8") for file in _TEMPLATES.glob("*.css")]
        found = {html.unescape(value) for text in texts for value in re.findall(r'="([^"{<>]*\d[^"{<>]*)"', text)}
        return found | {name for style in styles for name in re.findall(r"\.([A-Za-z][\w-]*\d[\w-]*)", style)}

    @cached_property
    def _own_names(self) -> set[str]:
        return {text for text in self._own_attributes if re.search(r"[^\W\d_]", text)}

    @cached_property
    def _split(self) -> list[list[str]]:
        return [[word.strip(_EDGE) for word in re.split(r"[\s;/#]+|\W*\"\W*", text)] for text in self._texts]

    @cached_property
    def _words(self) -> set[str]:
        """Declared words that hold both letters and digits."""
        whole = {word.strip(_EDGE) for text in self._texts for word in text.split()}
        return {w for w in whole.union(*self._split) if DIGIT.search(w) and re.search(r"[^\W\d_]", w)}

    @cached_property
    def _pairs(self) -> set[tuple[str, str]]:
        texts = [_spaced(text) for text in [*self._texts, *self._own_words]]
        lists = [*self._split, *[[word.strip(_EDGE) for word in text.split(" ")] for text in texts]]
        return {pair for words in lists for pair in itertools.pairwise(words) if DIGIT.search("".join(pair))}

    @cached_property
    def _tokens(self) -> set[str]:
        return {token for text in self._texts for token in _NUMBER.findall(text)}

    # ------------------------------------------------------------ time

    def _is_time(self, token: str) -> bool:
        """A year or period of the tables, or any day."""
        if token in self.years or (RELEASE_ID.fullmatch(token) and token in self._tokens):
            return True
        day = re.fullmatch(r"(\d{1,2})\.(\d{1,2})\.(\d{4})?", token)
        if day:
            return _is_day(int(day[3] or 2000), int(day[2]), int(day[1]))
        iso = re.fullmatch(r"(\d{4})-(\d\d)-(\d\d)", token)
        if iso:
            return _is_day(*map(int, iso.groups()))
        school = re.fullmatch(r"(\d{4})[/-](\d\d)", token)
        return bool(school) and school[1] in self.years and (int(school[1]) + 1) % 100 == int(school[2])  # type: ignore[index]

    @cached_property
    def years(self) -> set[str]:
        """Years that public tables speak of, and those next to them."""
        columns = self._rows(
            "SELECT schema_name, table_name, column_name FROM duckdb_columns() JOIN duckdb_tables() "
            "USING (schema_name, table_name) WHERE data_type = 'DATE'"
        )
        found = {
            int(row[0])
            for schema, table, column in columns
            for row in self._rows(
                f'SELECT DISTINCT year("{column}") FROM "{schema}"."{table}" WHERE "{column}" IS NOT NULL'
            )
        }
        releases = self._rows("SELECT release_id FROM meta.release")
        found |= {int(row[0][:4]) for row in releases if re.match(r"(19|20)\d\d", str(row[0]))}
        return {str(year + step) for year in found for step in (-1, 0, 1) if 1900 < year < 2100}


def _is_day(year: int, month: int, day: int) -> bool:
    try:
        return 1900 <= dt.date(year, month, day).year <= 2100
    except ValueError:
        return False


def _strings(content: Any) -> Iterator[str]:
    """All texts and numbers within a declaration."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list | tuple):
        for part in content:
            yield from _strings(part)
    elif content is not None:
        yield str(content)


def _spaced(text: str) -> str:
    """With single blanks; those within a number stay."""
    return re.sub(r"[ \t\r\n]+|(?<=\d)[\u202f\u00a0](?!\d)|(?<!\d)[\u202f\u00a0](?=\d)", " ", text).strip()


def _cut(plain: str, word: str) -> str:
    """Where a word stands in a text, without the number itself: nobody learns it from the message."""
    found = re.search(rf"(?<!\S){re.escape(word)}(?!\S)", plain)
    start = found.start() if found else 0
    return re.sub(r"\d", "#", plain[max(0, start - 30) : start + len(word) + 20])


def _scaled(token: str) -> tuple[int, int] | None:
    """Places and whole number of the last place of a German number."""
    whole, _, places = re.sub(r"[\u202f\u00a0.]", "", token).partition(",")
    digits = whole + places
    return (len(places), int(digits)) if digits.isascii() and digits.isdigit() else None


def _rounded(value: float, places: int) -> set[int]:
    """A number at some places; halves may go either way, since programs round them differently."""
    scaled = abs(value) * 10**places
    return {round(scaled - 1e-6), round(scaled + 1e-6)}


def _as_they_are(values: Iterable[float]) -> Scaled:
    """Numbers with as many places as they have, at most six."""
    found: Scaled = {}
    for value in values:
        places = next((p for p in range(6) if abs(value * 10**p - round(value * 10**p)) < 1e-6), 6)
        found.setdefault(places, set()).add(abs(round(value * 10**places)))
    return found


def _all_places(values: list[float]) -> Scaled:
    """Numbers at up to three places; shares of one also as per cent."""
    if values and max(map(abs, values)) <= 1:
        values = values + [100 * value for value in values]
    return {places: {s for value in values for s in _rounded(value, places)} for places in range(_PLACES + 1)}


def _shows(text: str, value: float, places: int | None) -> bool:
    """Whether a text is one number, a value at some places (None: at any); words give the sign if it has none."""
    tokens = _NUMBER.findall(text)
    scaled = _scaled(tokens[0]) if len(tokens) == 1 else None
    if scaled is None or (places is not None and scaled[0] != places) or scaled[0] > 6:
        return False
    before = text[: text.index(tokens[0])].strip()[-1:]
    wrong_sign = (before in "-\u2212" and before != "" and value > 0) or (before == "+" and value < 0)
    return scaled[1] in _rounded(value, scaled[0]) and not wrong_sign
