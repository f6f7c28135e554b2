"""Turns the rows of a file into figures as the source's YAML describes, without knowing any topic.

Every figure keeps the line, column and text it comes from.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pandas as pd

from pipelines.areas import Directory
from pipelines.intake.delimited import Row, Table, open_table, plain_heading
from pipelines.intake.failures import Findings, shown
from pipelines.periods import FORMS, parse_period, period_key
from schemas.documents import Correction, Measure, Source, ValueColumn
from schemas.yaml_source import nearest

_Found = tuple[str | None, str | None, str, str, str]
"""Area id and level (None: not found), text as written, what is wrong, heading of the column to look at."""
_NARROW_BLANKS = "[\u00a0\u202f]"
"""Blanks that do not break; spreadsheets group thousands with them."""
CHUNK_CELLS = 200_000
"""Cells of the file that are held at a time; bounds memory, not results."""


@dataclass
class Reader:
    """Reads one file as one source describes it."""

    source: Source
    directory: Directory
    measures: dict[str, Measure]
    findings: Findings
    position: dict[str, int] = field(default_factory=dict)
    """Columns of the file by heading, from 0; known once reading has begun."""

    def chunks(self, path: Path, file_name: str, corrections: list[Correction]) -> Iterator[pd.DataFrame]:
        """Yield figures, one per cell.

        Args:
            path: the file's bytes.
            file_name: its name as received (the period may stand in it).
            corrections: declared corrections of this very delivery.

        Yields:
            Frames with columns line, column, column_name, text, measure_id, category, area_id, area_level, area_text,
            area_problem, area_column, period_text, reference_date, period, origin, origin_text, status, value.
        """
        table = open_table(path, self.source.format, self.findings)
        if table is None:
            return
        plan = _Plan.make(self, table, file_name)
        if plan is None:
            for _ in table.rows:  # rows that are broken in themselves are reported in the same answer
                pass
            return
        self.position.update(plan.position)
        pending = {(c.line, plain_heading(c.column)): c for c in corrections}
        size = max(1, CHUNK_CELLS // len(plan.header))
        empty = True
        while rows := list(islice(table.rows, size)):
            empty = False
            yield self._figures(rows, plan, pending)
        if empty and not self.findings.rules & {"datei_lesbar", "zeile_zu_kurz", "zeile_zu_lang"}:
            self.findings.add("datei_leer", "Unter der Kopfzeile stehen keine Daten", "mindestens eine Zeile")
        for correction in pending.values():
            self.findings.add(
                "berichtigung",
                "Eine Berichtigung im YAML nennt eine Zelle, die es nicht gibt",
                "Zeile und Spalte einer Wertzelle dieser Lieferung",
                line=correction.line,
                column_name=correction.column,
                value=correction.expected,
            )

    def _figures(self, rows: list[Row], plan: _Plan, pending: dict[tuple[int, str], Correction]) -> pd.DataFrame:
        wide = pd.DataFrame([row.cells for row in rows], columns=range(len(plan.header)), dtype=object)
        wide["line"] = [row.line for row in rows]
        self._constants(wide, plan)
        pieces = [self._one_column(wide, plan, value) for value in plan.values]
        frame = pd.concat(pieces, ignore_index=True).sort_values(["line", "column"], kind="stable", ignore_index=True)
        self._correct(frame, pending)
        self._areas(frame, wide, plan)
        self._numbers(frame)
        return frame

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

    def _one_column(self, wide: pd.DataFrame, plan: _Plan, value: _Values) -> pd.DataFrame:
        frame = pd.DataFrame({"line": wide["line"], "text": wide[value.position]})
        frame["row"] = wide.index
        frame["column"] = value.position + 1
        frame["column_name"] = plan.header[value.position]
        frame["category"] = value.column.category
        if value.column.measure_column:
            names = wide[plan.at(value.column.measure_column)].str.strip()
            frame["measure_id"], frame["measure_text"] = names.map(value.column.measures), names
        else:
            frame["measure_id"], frame["measure_text"] = value.column.measure, ""
        period = self.source.layout.period
        frame["period_text"] = (
            wide[plan.at(period.column)].str.strip() if period.column else value.period or plan.period
        )
        dates = {text: parse_period(text, period.type, period.day) for text in frame["period_text"].unique()}
        keys = {text: period_key(period.type, date) if date else None for text, date in dates.items()}
        frame["reference_date"] = _looked_up(frame["period_text"], dates)
        frame["period"] = _looked_up(frame["period_text"], keys)
        origin = self.source.layout.origin
        if origin:
            frame["origin_text"] = wide[plan.at(origin.column)].str.strip()
            frame["origin"] = frame["origin_text"].map(origin.values)
        else:
            frame["origin_text"], frame["origin"] = "", self.source.origin
        return frame

    def _correct(self, frame: pd.DataFrame, pending: dict[tuple[int, str], Correction]) -> None:
        frame["read_text"] = frame["text"]
        for key, correction in list(pending.items()):
            hit = frame.index[(frame["line"] == key[0]) & (frame["column_name"] == key[1])]
            if hit.empty:
                continue
            del pending[key]
            found, column = str(frame.at[hit[0], "text"]).strip(), int(frame["column"].loc[hit[0]])
            if found != correction.expected.strip():
                self.findings.add(
                    "berichtigung",
                    f"Eine Berichtigung im YAML passt nicht: in der Zelle steht »{shown(found)}«",
                    f"»{correction.expected}« (so nennt es die Berichtigung); Berichtigung prüfen",
                    line=key[0],
                    column=column,
                    column_name=key[1],
                    value=found,
                )
            frame.loc[hit, "read_text"] = correction.value

    def _areas(self, frame: pd.DataFrame, wide: pd.DataFrame, plan: _Plan) -> None:
        layout = self.source.layout
        if layout.area is None:
            area = self.directory.areas[str(layout.fixed_area)]
            frame["area_id"], frame["area_level"] = area.area_id, area.level
            frame["area_text"], frame["area_problem"], frame["area_column"] = area.name, "", ""
            return
        columns = layout.area
        parts = {
            part: wide[plan.at(name)].str.strip().tolist()
            for part, name in (("name", columns.name), ("number", columns.number), ("id", columns.id))
            if name
        }
        level = wide[plan.at(columns.level_column)].str.strip().tolist() if columns.level_column else [""] * len(wide)
        keys = list(zip(level, *parts.values(), strict=True))
        known: dict[Hashable, _Found] = {}
        found = []
        for row, date in zip(frame["row"], frame["reference_date"], strict=True):
            key = (keys[row], date)
            if key not in known:
                known[key] = self._find(dict(zip(parts, keys[row][1:], strict=True)), keys[row][0], date)
            found.append(known[key])
        for position, name in enumerate(("area_id", "area_level", "area_text", "area_problem", "area_column")):
            frame[name] = pd.Series([entry[position] for entry in found], index=frame.index, dtype=object)

    def _find(self, given: dict[str, str], level_text: str, date: dt.date | None) -> _Found:
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
        if date is None:
            return "?", None, text, "", heading  # the broken date is reported once, not as an unknown area too
        area, problem = self.directory.find(
            levels,
            date,
            name=given.get("name", ""),
            number=given.get("number", ""),
            area_id=given.get("id", ""),
        )
        return (area.area_id, area.level, text, "", heading) if area else (None, None, text, problem, heading)

    def _numbers(self, frame: pd.DataFrame) -> None:
        text = frame["read_text"].str.strip()
        meaning = text.map(self.source.symbols).astype(object)
        form = self.source.format
        if form.thousands == " ":
            text = text.str.replace(_NARROW_BLANKS, " ", regex=True)
        numeric = text.str.fullmatch(number_pattern(self.source)) & meaning.isna()
        plain = text.where(numeric, "nan")
        if form.thousands:
            plain = plain.str.replace(form.thousands, "", regex=False)
        value = plain.str.replace(form.decimal, ".", regex=False).astype(float)
        frame["value"] = value.where(meaning != "zero", 0.0)
        status = meaning.where(meaning != "zero", "value")
        frame["status"] = status.where(~numeric, "value").fillna("unreadable")


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


def _looked_up(texts: pd.Series, known: Mapping[str, object]) -> pd.Series:
    """Entry of each text; None stays None (pandas would turn it into NaN)."""
    return pd.Series([known[text] for text in texts], index=texts.index, dtype=object)


@dataclass(frozen=True)
class _Values:
    """A column of the file that holds figures."""

    position: int
    name: str
    column: ValueColumn
    period: str | None = None


@dataclass(frozen=True)
class _Plan:
    """Which column of this very file plays which part."""

    header: list[str]
    position: dict[str, int]
    values: list[_Values]
    period: str | None

    def at(self, name: str) -> int:
        """Position of a declared column."""
        return self.position[plain_heading(name)]

    @classmethod
    def make(cls, reader: Reader, table: Table, file_name: str) -> _Plan | None:
        """Match the declared columns with the header; None (and findings) if something is missing."""
        source, findings = reader.source, reader.findings
        before = findings.count
        position: dict[str, int] = {}
        for index, name in enumerate(table.header):
            if name and name in position:
                message = f"Die Spalte »{shown(name)}« kommt zweimal vor (auch als Spalte {position[name] + 1})"
                findings.add(
                    "spalte_doppelt", message, "jede Spalte einmal", line=table.line, column=index + 1, column_name=name
                )
            position.setdefault(name, index)
        taken = _missing(source, table, position, findings)
        period = _period_in_name(source, file_name, findings)
        complete = findings.count == before
        values = _value_columns(source, table, position, findings) if complete else []
        used = {*_declared(source), *map(plain_heading, source.layout.ignore), *taken, *(v.name for v in values)}
        _unknown(source, table, used, findings)
        if complete and not values and findings.count == before:
            form = FORMS[source.layout.period.type]
            message = "Keine Spaltenüberschrift ist eine Zeitangabe"
            findings.add("spalte_fehlt", message, f"Überschriften wie {form}", line=table.line)
        return cls(table.header, position, values, period) if values else None


def _missing(source: Source, table: Table, position: dict[str, int], findings: Findings) -> set[str]:
    """Report declared columns that the file lacks; returns headings that were probably meant by them."""
    taken = set()
    for name in _declared(source):
        if name not in position:
            others = [heading for heading in table.header if heading and heading not in _declared(source)]
            match = nearest(name, others)
            taken.update(match)
            present = ", ".join(f"»{heading}«" for heading in table.header)
            hint = f"; gemeint sein könnte »{match[0]}«" if match else f"; vorhanden: {present}"
            message = f"Die Spalte »{name}« fehlt{hint}"
            findings.add("spalte_fehlt", message, f"Spalte »{name}«", line=table.line, column_name=name)
    return taken


def _unknown(source: Source, table: Table, used: set[str], findings: Findings) -> None:
    """Report columns that nobody declared: a new or renamed column must not be lost silently."""
    expected = "nur vereinbarte Spalten (im YAML unter layout; was nicht gelesen werden soll, unter ignore)"
    if source.layout.period.in_header:
        expected += f", Zeitangaben als {FORMS[source.layout.period.type]}"
    dated = source.layout.period.in_header
    for index, name in enumerate(table.header):
        if name in used or (dated and _looks_dated(name)):
            continue
        message = f"Die Spalte »{shown(name)}« ist nicht vereinbart" if name else "Die Spalte hat keine Überschrift"
        findings.add("spalte_unbekannt", message, expected, line=table.line, column=index + 1, column_name=name)


def _looks_dated(name: str) -> bool:
    return name[:1].isdigit()


def _declared(source: Source) -> list[str]:
    """Columns that the layout names, each once."""
    layout = source.layout
    names: list[str | None] = [layout.period.column, layout.origin.column if layout.origin else None, *layout.constant]
    if layout.area:
        names += [layout.area.name, layout.area.number, layout.area.id, layout.area.level_column]
    for value in layout.values:
        names += [value.column, value.measure_column]
    return list(dict.fromkeys(plain_heading(name) for name in names if name))


def _value_columns(source: Source, table: Table, position: dict[str, int], findings: Findings) -> list[_Values]:
    """Columns that hold figures. Where the headings are periods, each must be readable and occur once."""
    layout = source.layout
    if not layout.period.in_header:
        return [
            _Values(position[plain_heading(str(value.column))], plain_heading(str(value.column)), value)
            for value in layout.values
        ]
    other = {*_declared(source), *map(plain_heading, layout.ignore)}
    found: dict[dt.date, _Values] = {}
    for index, name in enumerate(table.header):
        date = parse_period(name, layout.period.type, layout.period.day)
        if name in other or (date is None and not _looks_dated(name)):
            continue
        if date is None:
            rule, message = "zeitangabe_lesbar", f"»{shown(name)}« ist keine mögliche Zeitangabe"
        elif date in found:
            first = found[date]
            rule = "spalte_doppelt"
            message = f"»{name}« meint dieselbe Zeit wie »{first.name}« (Spalte {first.position + 1})"
        else:
            found[date] = _Values(index, name, layout.values[0], name)
            continue
        form = FORMS[layout.period.type]
        findings.add(rule, message, form, line=table.line, column=index + 1, column_name=name, value=name)
    return list(found.values())


def _period_in_name(source: Source, file_name: str, findings: Findings) -> str | None:
    pattern = source.layout.period.file_name
    if pattern is None:
        return None
    match = re.search(pattern, file_name)
    if match is None:
        findings.add("dateiname", f"Der Dateiname »{file_name}« nennt keine Zeitangabe", f"Muster {pattern}")
        return None
    period = source.layout.period
    if parse_period(str(match[1]), period.type, period.day) is None:
        message = f"»{match[1]}« im Dateinamen »{file_name}« ist keine mögliche Zeitangabe"
        findings.add("dateiname", message, FORMS[period.type], value=str(match[1]))
    return match[1]
