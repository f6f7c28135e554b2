"""Turns the rows of a file into figures as the source's YAML describes, without knowing any topic.

Every figure keeps the line, column and text it comes from.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.areas import Directory
from pipelines.intake.corrections import Pending
from pipelines.intake.delimited import open_text
from pipelines.intake.failures import Findings, shown
from pipelines.intake.limits import PATTERN_CHARACTERS
from pipelines.intake.plan import Plan as _Plan
from pipelines.intake.plan import Values as _Values
from pipelines.intake.style import Style
from pipelines.intake.tables import Row, Table, cut, plain_heading
from pipelines.periods import parse_period, period_key
from schemas.documents import AreaColumns, Correction, Measure, Source
from schemas.yaml_source import nearest

Found = tuple[str | None, str | None, str, str, str]
"""Area id and level (None: not found), text as written, what is wrong, heading of the column to look at."""
_NARROW_BLANKS = re.compile("[\u00a0\u202f]")
"""Blanks that do not break; spreadsheets group thousands with them."""
CHUNK_CELLS = 200_000
"""Cells of the file that are held at a time; bounds memory, not results."""
CHUNK_CHARACTERS = 16_000_000
"""Characters that are held at a time: a file of long cells comes in smaller chunks."""


_FOUND = ("area_id", "area_level", "area_text", "area_problem", "area_column")
HINTS = 1_000_000
"""Names of areas that unknown ones of a file are compared with, to say what may be meant. All unknown names of a city
get their hint; in a directory of 50,000 areas each takes a second, and a file may hold 50,000 unknown ones."""


@dataclass
class Reader:
    """Reads one file as one source describes it."""

    source: Source
    directory: Directory
    measures: dict[str, Measure]
    findings: Findings
    position: dict[str, int] = field(default_factory=dict)
    """Columns of the table being read by heading, from 0."""
    hints: int = HINTS
    """Names of areas that may still be compared with unknown ones."""
    style: Style = field(init=False)
    _number: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        """Nothing has been read yet."""
        self.style = Style(self.findings)
        self._number = re.compile(number_pattern(self.source))

    def chunks(self, path: Path, file_name: str, corrections: list[Correction]) -> Iterator[pd.DataFrame]:
        """Yield figures, one per cell.

        Args:
            path: the file's bytes.
            file_name: its name as received (the period may stand in it).
            corrections: declared corrections of this very delivery.

        Yields:
            Frames with columns sheet, line, column, column_name, text, read_text, correction, measure_id, category,
            area_id, area_level, area_text, area_problem, area_column, period_text, reference_date, period, origin,
            origin_text, status, value.
        """
        pending = Pending(corrections, self.findings)
        for table in self._tables(path):
            plan = _Plan.make(self, table, file_name)
            if plan is None:
                for _ in table.rows:  # rows that are broken in themselves are reported in the same answer
                    pass
                continue
            self.position = plan.position
            size = max(1, CHUNK_CELLS // len(plan.header))
            empty = True
            while rows := _next_rows(table.rows, size):
                empty = False
                received = pd.DataFrame([row.cells for row in rows], columns=range(len(plan.header)), dtype=object)
                received["line"] = [row.line for row in rows]
                wide = self._ours(pending.apply(received, plan.table.sheet, plan.position), plan)
                if len(wide):
                    yield self.figures(received, wide, plan)
            if empty and not self.findings.rules & {"datei_lesbar", "zeile_zu_kurz", "zeile_zu_lang"}:
                self.findings.add("datei_leer", "Unter der Kopfzeile stehen keine Daten", "mindestens eine Zeile")
        pending.report_rest()
        self.style.report()

    def _tables(self, path: Path) -> Iterator[Table]:
        """The tables of a text file, or of the sheets of a workbook."""
        source, findings = self.source, self.findings
        if source.workbook is None:
            header_line = source.table.header_line if source.table.title is None else None
            rows = open_text(path, source.format, findings, header_line)
            if rows is not None:
                yield from cut(rows, source.table, findings, short_rows=source.format.short_rows)
            return
        from pipelines.intake.workbook import open_sheets  # the Excel reader loads only when there is a workbook

        for sheet in open_sheets(path, source.workbook, source.format, findings):
            yield from cut(sheet.rows, source.table, findings, merged=sheet.merged, sheet=sheet.name)

    def _ours(self, wide: pd.DataFrame, plan: _Plan) -> pd.DataFrame:
        """Without the rows about areas elsewhere, if the source says that there are such rows."""
        columns = self.source.layout.area
        if columns is None or columns.elsewhere == "error":
            return wide
        texts = area_texts(wide, plan, columns)
        levels = columns.possible_levels()
        names, numbers, ids = (texts.get(part, [""] * len(wide)) for part in ("name", "number", "id"))
        rows = zip(names, numbers, ids, strict=True)
        kept = [
            not any(row) or self.directory.mentions(levels, name=row[0], number=row[1], area_id=row[2]) for row in rows
        ]
        return wide[kept]

    def figures(self, received: pd.DataFrame, wide: pd.DataFrame, plan: _Plan) -> pd.DataFrame:
        """Figures of corrected rows (`wide`); `received` holds the text of the same cells as it came."""
        self._constants(wide, plan)
        pieces = [self._one_column(wide, received, plan, value) for value in plan.values]
        frame = pd.concat(pieces, ignore_index=True).sort_values(["line", "column"], kind="stable", ignore_index=True)
        frame["sheet"] = plan.table.sheet
        self._areas(frame, wide, plan)
        self._style(wide, frame, plan)
        self.numbers(frame)
        return frame

    def _style(self, wide: pd.DataFrame, frame: pd.DataFrame, plan: _Plan) -> None:
        layout = self.source.layout
        period = plain_heading(layout.period.column) if layout.period.column else None
        self.style.look(wide, frame, plan.labels(self.source), period)
        if layout.area and layout.area.name:
            name = plain_heading(layout.area.name)
            self.style.spelling(wide, frame, name, plan.position[name])

    def _constants(self, wide: pd.DataFrame, plan: _Plan) -> None:
        for name, text in self.source.layout.constant.items():
            position = plan.at(name)
            wrong = wide.loc[wide[position].str.strip() != text.strip(), ["line", position]]
            for line, cell in wrong.itertuples(index=False):
                message = f"In dieser Spalte steht »{shown(cell)}«"
                self.findings.add(
                    "feste_angabe",
                    message,
                    f"in jeder Zeile »{text}«",
                    line=line,
                    column=position + 1,
                    column_name=name,
                    value=cell,
                )

    def _one_column(self, wide: pd.DataFrame, received: pd.DataFrame, plan: _Plan, value: _Values) -> pd.DataFrame:
        frame = pd.DataFrame({"line": wide["line"], "read_text": wide[value.position]})
        frame["text"] = received[value.position]
        frame["correction"] = wide["correction"]
        frame["row"] = wide.index
        frame["column"] = value.position + 1
        frame["column_name"] = plan.header[value.position]
        frame["category"] = value.column.category
        if value.column.measure_column:
            names = stripped(wide[plan.at(value.column.measure_column)])
            frame["measure_id"], frame["measure_text"] = names.map(value.column.measures), names
        else:
            frame["measure_id"], frame["measure_text"] = value.column.measure, ""
        period = self.source.layout.period
        frame["period_text"] = stripped(wide[plan.at(period.column)]) if period.column else value.period or plan.period
        dates = {text: self.date_of(text) for text in frame["period_text"].unique()}
        keys = {text: period_key(period.type, date) if date else None for text, date in dates.items()}
        frame["reference_date"] = _looked_up(frame["period_text"], dates)
        frame["period"] = _looked_up(frame["period_text"], keys)
        origin = self.source.layout.origin
        if origin:
            frame["origin_text"] = stripped(wide[plan.at(origin.column)])
            frame["origin"] = frame["origin_text"].map(origin.values)
        else:
            frame["origin_text"], frame["origin"] = "", self.source.origin
        return frame

    def date_of(self, text: str) -> dt.date | None:
        """Reference date of a text; None if it names none, or a day on which this source has no figures."""
        period = self.source.layout.period
        date = parse_period(text, period.type, period.day)
        return None if date and period.days and f"{date:%m-%d}" not in period.days else date

    def _areas(self, frame: pd.DataFrame, wide: pd.DataFrame, plan: _Plan) -> None:
        layout = self.source.layout
        if layout.area is None:
            area = self.directory.areas[str(layout.fixed_area)]
            frame["area_id"], frame["area_level"] = area.area_id, area.level
            frame["area_text"], frame["area_problem"], frame["area_column"] = area.name, "", ""
            return
        columns = layout.area
        parts = area_texts(wide, plan, columns)
        level = wide[plan.at(columns.level_column)].str.strip().tolist() if columns.level_column else [""] * len(wide)
        keys, described = pd.factorize(pd.Series(list(zip(level, *parts.values(), strict=True)), dtype=object))
        key_of = pd.Series(keys, index=wide.index)  # dropped rows leave gaps
        dates, days = pd.factorize(frame["reference_date"])
        pairs = pd.DataFrame({"key": key_of.loc[frame["row"]].to_numpy(), "date": dates})
        places = pairs.groupby(["key", "date"], sort=False).ngroup().to_numpy()
        found = [
            self.find(
                dict(zip(parts, described[key][1:], strict=True)), described[key][0], days[day] if day >= 0 else None
            )
            for key, day in pairs.drop_duplicates().itertuples(index=False)
        ]
        for name, entries in zip(_FOUND, zip(*found, strict=True), strict=True):
            frame[name] = pd.Series(np.array(entries, dtype=object)[places], index=frame.index, dtype=object)

    def find(self, given: dict[str, str], level_text: str, date: dt.date | None) -> Found:
        """The area that a row means: parts of its description (see `area_texts`), text of the level's column, day."""
        columns = self.source.layout.area
        assert columns is not None
        text, heading = " ".join(filter(None, given.values())), str(columns.name or columns.number or columns.id)
        if columns.level_column:
            level = columns.levels.get(level_text)
            if level is None:
                match = nearest(level_text, columns.levels)
                hint = f"; meinten Sie »{match[0]}«?" if match else f"; möglich: {', '.join(columns.levels)}"
                return None, None, level_text, f"unbekannte Ebene »{shown(level_text)}«{hint}", columns.level_column
            levels = [level]
        else:
            levels = columns.possible_levels()
        if columns.name and not columns.split and not given["name"] and any(given.values()):
            return None, None, text, "in der Zeile fehlt der Name des Gebiets", columns.name
        if date is None:
            return "?", None, text, "", heading  # the broken date is reported once, not as an unknown area too
        area, problem = self.directory.find(
            levels,
            date,
            name=given.get("name", ""),
            number=given.get("number", ""),
            area_id=given.get("id", ""),
            hints=self.hints > 0,
        )
        self.hints -= 0 if area else len(self.directory.areas)
        if area is None and columns.number and problem.startswith("unbekannte Nummer"):
            heading = columns.number
        return (area.area_id, area.level, text, "", heading) if area else (None, None, text, problem, heading)

    def numbers(self, frame: pd.DataFrame) -> None:
        """Add what the cells mean: `value`, and `status` (`unreadable` if they mean nothing)."""
        codes, texts = pd.factorize(frame["read_text"])
        status, value = zip(*map(self.meaning, texts), strict=True)
        frame["value"] = np.array(value, dtype=float)[codes]
        frame["status"] = np.array(status, dtype=object)[codes]

    def meaning(self, cell: str) -> tuple[str, float]:
        """Status and value of a cell; not a number where there is none."""
        text = cell.strip()
        symbol = self.source.symbols.get(text)
        if symbol is not None:
            return ("value", 0.0) if symbol == "zero" else (symbol, math.nan)
        form = self.source.format
        if form.thousands == " ":
            text = _NARROW_BLANKS.sub(" ", text)
        if not self._number.fullmatch(text):
            return "unreadable", math.nan
        plain = text.replace(form.thousands, "") if form.thousands else text
        return "value", float(plain.replace(form.decimal, "."))

    def limits(self, frame: pd.DataFrame) -> None:
        """Add what the measure allows: `whole` (only integers), `minimum`, `maximum` (missing: any)."""
        codes, ids = pd.factorize(frame["measure_id"])
        found = [self.measures[measure] for measure in ids]  # code -1, no measure, is the last entry
        frame["whole"] = np.array([*(measure.kind == "count" for measure in found), False])[codes]
        for bound in ("minimum", "maximum"):
            frame[bound] = np.array([*(getattr(measure, bound) for measure in found), None], dtype=float)[codes]


def _next_rows(rows: Iterator[Row], most: int) -> list[Row]:
    """The next rows, at most `most`; fewer where the cells are long."""
    taken, characters = [], 0
    for row in islice(rows, most):
        taken.append(row)
        characters += sum(map(len, row.cells))
        if characters > CHUNK_CHARACTERS:
            break
    return taken


def number_pattern(source: Source) -> str:
    """Regular expression of a number in this source: a thousands mark only where it groups three digits.

    Digits are 0 to 9 (not those of every script), at most 15 before the decimal mark: a float keeps no more unchanged.
    """
    fraction = rf"(?:{re.escape(source.format.decimal)}[0-9]{{1,30}})?"
    pattern = rf"-?[0-9]{{1,15}}{fraction}"
    if source.format.thousands:
        mark = re.escape(source.format.thousands)
        pattern = rf"-?[1-9][0-9]{{0,2}}(?:{mark}[0-9]{{3}}){{1,4}}{fraction}|{pattern}"
    return f"(?:{pattern})"


def expected_cell(source: Source) -> str:
    """What a value cell may hold, for messages."""
    sample = f"1{source.format.thousands}234" if source.format.thousands else "1234"
    symbols = ", ".join(f"»{s}«" if s else "leere Zelle" for s in source.symbols)
    return f"Zahl wie {sample} oder 12{source.format.decimal}5" + (f"; erlaubte Zeichen: {symbols}" if symbols else "")


def area_texts(wide: pd.DataFrame, plan: _Plan, columns: AreaColumns) -> dict[str, list[str]]:
    """What each row says of its area: name, number, id (those that are declared)."""
    if columns.split:
        return _split(wide[plan.at(str(columns.name))], columns.split)
    return {
        part: stripped(wide[plan.at(name)]).tolist()
        for part, name in (("name", columns.name), ("number", columns.number), ("id", columns.id))
        if name
    }


def _split(cells: pd.Series, pattern: str) -> dict[str, list[str]]:
    """Name, number and id out of cells that hold several of them; a cell that does not fit is a name as a whole."""
    parts: dict[str, list[str]] = {
        part: [] for part in ("name", "number", "id") if part in re.compile(pattern).groupindex
    }
    parts.setdefault("name", [])
    for cell in cells:
        match = re.fullmatch(pattern, cell.strip()) if len(cell) <= PATTERN_CHARACTERS else None
        found = match.groupdict() if match else {"name": cell.strip()}
        for part, texts in parts.items():
            texts.append((found.get(part) or "").strip())
    return parts


def _looked_up(texts: pd.Series, known: Mapping[str, object]) -> pd.Series:
    """Entry of each text; None stays None (pandas would turn it into NaN)."""
    codes, found = pd.factorize(texts)
    entries = np.empty(len(found), dtype=object)
    entries[:] = [known[text] for text in found]
    return pd.Series(entries[codes], index=texts.index, dtype=object)


def stripped(cells: pd.Series) -> pd.Series:
    """The cells without blanks around them; each different text is looked at once."""
    codes, found = pd.factorize(cells)
    return pd.Series(np.array([*(text.strip() for text in found), ""], dtype=object)[codes], index=cells.index)
