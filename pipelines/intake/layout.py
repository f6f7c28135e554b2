"""Turns the rows of a file into figures as the source's YAML describes, without knowing any topic.

Every figure keeps the line, column and text it comes from.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pandas as pd

from pipelines.areas import Directory
from pipelines.intake.delimited import Row, Table, open_table
from pipelines.intake.failures import Findings
from pipelines.periods import FORMS, parse_period, period_key
from schemas.documents import Correction, Measure, Source, ValueColumn
from schemas.yaml_source import nearest

CHUNK_CELLS = 400_000
"""Cells turned into figures at a time; bounds memory, not results."""


@dataclass
class Reader:
    """Reads one file as one source describes it."""

    source: Source
    directory: Directory
    measures: dict[str, Measure]
    findings: Findings

    def chunks(self, path: Path, file_name: str, corrections: list[Correction]) -> Iterator[pd.DataFrame]:
        """Yield figures, one per cell.

        Args:
            path: the file's bytes.
            file_name: its name as received (the period may stand in it).
            corrections: declared corrections of this very delivery.

        Yields:
            Frames with columns line, column, column_name, text, measure_id, category, area_id, area_level, area_text,
            area_problem, period_text, reference_date, period, origin, origin_text, status, value.
        """
        table = open_table(path, self.source.format, self.findings)
        if table is None:
            return
        plan = _Plan.make(self, table, file_name)
        if plan is None:
            for _ in table.rows:  # rows that are broken in themselves are reported in the same answer
                pass
            return
        pending = {(c.line, c.column): c for c in corrections}
        size = max(1, CHUNK_CELLS // len(plan.values))
        empty = True
        while rows := list(islice(table.rows, size)):
            empty = False
            yield self._figures(rows, plan, pending)
        if empty:
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
            position = plan.position[name]
            for line, cell in wide.loc[wide[position].str.strip() != text, ["line", position]].itertuples(index=False):
                message = f"In dieser Spalte steht »{cell.strip()}«"
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
            names = wide[plan.position[value.column.measure_column]].str.strip()
            frame["measure_id"], frame["measure_text"] = names.map(value.column.measures), names
        else:
            frame["measure_id"], frame["measure_text"] = value.column.measure, ""
        period = self.source.layout.period
        frame["period_text"] = (
            wide[plan.position[period.column]].str.strip() if period.column else value.period or plan.period
        )
        dates = _mapped(frame["period_text"], lambda text: parse_period(str(text), period.type, period.day))
        frame["reference_date"] = dates
        frame["period"] = _mapped(dates, lambda date: period_key(period.type, date) if date else None)
        origin = self.source.layout.origin
        if origin:
            frame["origin_text"] = wide[plan.position[origin.column]].str.strip()
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
            found = str(frame.at[hit[0], "text"]).strip()
            if found != correction.expected.strip():
                self.findings.add(
                    "berichtigung",
                    f"Eine Berichtigung im YAML passt nicht: in der Zelle steht »{found}«",
                    f"»{correction.expected}« (so nennt es die Berichtigung); Berichtigung prüfen",
                    line=key[0],
                    column_name=key[1],
                    value=found,
                )
            frame.at[hit[0], "read_text"] = correction.value

    def _areas(self, frame: pd.DataFrame, wide: pd.DataFrame, plan: _Plan) -> None:
        layout = self.source.layout
        if layout.area is None:
            area = self.directory.areas[str(layout.fixed_area)]
            frame["area_id"], frame["area_level"] = area.area_id, area.level
            frame["area_text"], frame["area_problem"] = area.name, ""
            return
        columns = layout.area
        parts = {
            part: wide[plan.position[name]].str.strip()
            for part, name in (("name", columns.name), ("number", columns.number), ("id", columns.id))
            if name
        }
        level = wide[plan.position[columns.level_column]].str.strip() if columns.level_column else None
        known: dict[Hashable, tuple[str | None, str | None, str, str]] = {}

        def resolve(row: int, date: dt.date | None) -> tuple[str | None, str | None, str, str]:
            given = {part: str(series[row]) for part, series in parts.items()}
            level_text = str(level[row]) if level is not None else ""
            key = (*given.values(), level_text, date)
            if key not in known:
                known[key] = self._find(given, level_text, date)
            return known[key]

        found = [resolve(row, date) for row, date in zip(frame["row"], frame["reference_date"], strict=True)]
        for position, name in enumerate(("area_id", "area_level", "area_text", "area_problem")):
            frame[name] = pd.Series([entry[position] for entry in found], index=frame.index, dtype=object)

    def _find(
        self, given: dict[str, str], level_text: str, date: dt.date | None
    ) -> tuple[str | None, str | None, str, str]:
        columns = self.source.layout.area
        assert columns is not None
        shown = " ".join(filter(None, given.values()))
        if columns.level_column:
            level = columns.levels.get(level_text)
            if level is None:
                match = nearest(level_text, columns.levels)
                hint = f"; meinten Sie »{match[0]}«?" if match else f"; möglich: {', '.join(columns.levels)}"
                return None, None, shown, f"unbekannte Ebene »{level_text}«{hint}"
            levels = [level]
        else:
            levels = columns.possible_levels()
        if date is None:
            return "?", None, shown, ""  # the broken date is reported once, not as an unknown area too
        area, problem = self.directory.find(
            levels,
            date,
            name=given.get("name", ""),
            number=given.get("number", ""),
            area_id=given.get("id", ""),
        )
        return (area.area_id, area.level, shown, "") if area else (None, None, shown, problem)

    def _numbers(self, frame: pd.DataFrame) -> None:
        text = frame["read_text"].str.strip()
        meaning = text.map(self.source.symbols)
        numeric = text.str.fullmatch(number_pattern(self.source)) & meaning.isna()
        form = self.source.format
        plain = text.where(numeric)
        if form.thousands:
            plain = plain.str.replace(form.thousands, "", regex=False)
        value = pd.to_numeric(plain.str.replace(form.decimal, ".", regex=False))
        frame["value"] = value.where(meaning != "zero", 0.0).astype(float)
        status = meaning.where(meaning != "zero", "value")
        frame["status"] = status.where(~numeric, "value").fillna("unreadable")


def number_pattern(source: Source) -> str:
    """Regular expression of a number in this source: a thousands mark only where it groups three digits."""
    decimal = re.escape(source.format.decimal)
    pattern = rf"-?\d+(?:{decimal}\d+)?"
    if source.format.thousands:
        mark = re.escape(source.format.thousands)
        pattern = rf"-?\d{{1,3}}(?:{mark}\d{{3}})+(?:{decimal}\d+)?|{pattern}"
    return f"(?:{pattern})"


def expected_cell(source: Source) -> str:
    """What a value cell may hold, for messages."""
    sample = f"1{source.format.thousands}234" if source.format.thousands else "1234"
    symbols = ", ".join(f"»{s}«" if s else "leere Zelle" for s in source.symbols)
    return f"Zahl wie {sample} oder 12{source.format.decimal}5" + (f"; erlaubte Zeichen: {symbols}" if symbols else "")


def _mapped(series: pd.Series, function: Callable[[object], object]) -> pd.Series:
    """Apply a function once per different entry."""
    known = {entry: function(entry) for entry in series.unique()}
    return pd.Series([known[entry] for entry in series], index=series.index, dtype=object)


@dataclass(frozen=True)
class _Values:
    """A column of the file that holds figures."""

    position: int
    column: ValueColumn
    period: str | None = None


@dataclass(frozen=True)
class _Plan:
    """Which column of this very file plays which part."""

    header: list[str]
    position: dict[str, int]
    values: list[_Values]
    period: str | None

    @classmethod
    def make(cls, reader: Reader, table: Table, file_name: str) -> _Plan | None:
        """Match the declared columns with the header; None (and findings) if something is missing."""
        layout, findings = reader.source.layout, reader.findings
        position: dict[str, int] = {}
        before = findings.count
        for index, name in enumerate(table.header):
            if name in position:
                message = f"Die Spalte »{name}« kommt zweimal vor (auch als Spalte {position[name] + 1})"
                findings.add(
                    "spalte_doppelt", message, "jede Spalte einmal", line=1, column=index + 1, column_name=name
                )
            position.setdefault(name, index)
        for name in _declared(reader.source):
            if name not in position:
                match = nearest(name, table.header)
                hint = f"; gemeint sein könnte »{match[0]}«" if match else f"; vorhanden: {', '.join(table.header)}"
                findings.add("spalte_fehlt", f"Die Spalte »{name}« fehlt{hint}", f"Spalte »{name}«", column_name=name)
        period = _period_in_name(reader.source, file_name, findings)
        if findings.count > before:
            return None
        values = _value_columns(reader.source, table.header, position)
        if not values:
            form = FORMS[layout.period.type]
            findings.add(
                "spalte_fehlt", "Keine Spaltenüberschrift ist eine Zeitangabe", f"Überschriften wie {form}", line=1
            )
            return None
        return cls(table.header, position, values, period)


def _declared(source: Source) -> list[str]:
    """Columns that the layout names, each once."""
    layout = source.layout
    names: list[str | None] = [layout.period.column, layout.origin.column if layout.origin else None, *layout.constant]
    if layout.area:
        names += [layout.area.name, layout.area.number, layout.area.id, layout.area.level_column]
    for value in layout.values:
        names += [value.column, value.measure_column]
    return list(dict.fromkeys(name for name in names if name))


def _value_columns(source: Source, header: list[str], position: dict[str, int]) -> list[_Values]:
    layout = source.layout
    if not layout.period.in_header:
        return [_Values(position[str(value.column)], value) for value in layout.values]
    other = {*_declared(source), *layout.ignore}
    dated = [
        (index, name)
        for index, name in enumerate(header)
        if name not in other and (parse_period(name, layout.period.type, layout.period.day) or re.match(r"^\d", name))
    ]
    return [_Values(index, layout.values[0], name) for index, name in dated]


def _period_in_name(source: Source, file_name: str, findings: Findings) -> str | None:
    pattern = source.layout.period.file_name
    if pattern is None:
        return None
    match = re.search(pattern, file_name)
    if match is None:
        findings.add("dateiname", f"Der Dateiname »{file_name}« nennt keine Zeitangabe", f"Muster {pattern}")
        return None
    return match[1]
