"""Judges a delivery: cell and row rules by pandera in chunks, rules over the whole file as DuckDB queries."""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.areas import Directory
from pipelines.files import TEMPORARY, quoted
from pipelines.intake.account import Account
from pipelines.intake.failures import KEEP, Findings, shown
from pipelines.intake.layout import Reader, expected_cell
from pipelines.intake.rules import ROWS_LOST
from pipelines.intake.swift import read_swiftly
from pipelines.intake.tables import plain_heading
from pipelines.periods import FORMS, parse_period
from pipelines.session import connect, spill_into
from schemas.documents import TOTAL, Correction, Measure, NotAbove, Source
from schemas.reading import READING, failed_rows
from schemas.yaml_source import nearest

_ROW_RULES = {
    "gebiet_bekannt": "area_text",
    "zeitangabe_lesbar": "period_text",
    "zeitangabe_zukunft": "period_text",
    "herkunft_bekannt": "origin_text",
    "merkmal_bekannt": "measure_text",
}
"""Rules about what a row says of itself, and the column of a chunk that holds the text in question."""


class Judge:
    """Reads one delivery, checks it, and writes the reading."""

    def __init__(
        self,
        source: Source,
        directory: Directory,
        measures: dict[str, Measure],
        received_on: dt.date = dt.date.max,
    ) -> None:
        """Keep what is needed to read and judge one delivery; no reference date may lie after its day of receipt."""
        self.received_on = received_on
        self.source = source
        self.directory = directory
        self.measures = measures
        self.arrived: list[dict[str, Any]] = []
        self.account: Account | None = None
        self.findings = Findings(source.contract.severity)
        self.slices: set[tuple[str, str, str]] = set()
        self.reader = Reader(source, directory, measures, self.findings)

    def read(self, path: Path, file_name: str, corrections: list[Correction], target: Path) -> int:
        """Read and check a file; write its figures to `target` (Parquet) whether or not rules are broken.

        Returns:
            Number of figures. `findings` holds everything that is wrong, all at once; `slices` the measures, periods
            and levels found.
        """
        swift = read_swiftly(self.reader, self._newest(), path, file_name, corrections, target)
        if swift is not None:
            self.account, doubtful = swift
            for chunk in doubtful:
                self._cells(chunk)
            return self._accounted(self.account, target)
        count = 0
        with pq.ParquetWriter(target, READING, compression="zstd") as writer:
            for chunk in self.reader.chunks(path, file_name, corrections):
                self._cells(chunk)
                chunk["period_type"] = self.source.layout.period.type
                writer.write_table(pa.Table.from_pandas(chunk[READING.names], READING, preserve_index=False))
                count += len(chunk)
                self.slices |= set(chunk[["measure_id", "period", "area_level"]].itertuples(index=False, name=None))
        if count:
            self._whole(target)
        elif not self.findings.count:  # every row was skipped or left out: that is not what anybody meant
            self.findings.add("datei_leer", "Die Datei enthält keine einzige Angabe", "mindestens eine Zahl")
        return count

    def _accounted(self, account: Account, target: Path) -> int:
        """Take over what the swift reader found; the rules over the whole file are asked unless they are fulfilled."""
        self.slices = account.slices
        if account.fulfils(self.source.contract.complete, self._pairs()):
            self.arrived = account.arrived()
        else:
            self._whole(target)
        return account.figures

    # ------------------------------------------------------------ cells and rows

    def _cells(self, chunk: pd.DataFrame) -> None:
        chunk["future"] = _after(chunk["reference_date"], self._newest())
        self.reader.limits(chunk)
        seen: set[tuple[str, object, object]] = set()
        for rule, index in failed_rows(chunk):
            if rule in _ROW_RULES:  # said once, not once per value cell of the row
                key = (rule, chunk.at[index, "line"], chunk.at[index, _ROW_RULES[rule]])
                if key in seen:
                    continue
                seen.add(key)
            if self.findings.full(rule):
                self.findings.more(rule, 1)
            else:
                self._explain(rule, chunk.iloc[index])

    def _newest(self) -> dt.date:
        """Newest reference date that is possible: a period may be under way, a reference day must have passed."""
        if self.source.layout.period.type == "stichtag" or self.received_on > dt.date.max - dt.timedelta(days=400):
            return self.received_on
        return self.received_on + dt.timedelta(days=366)

    def _explain(self, rule: str, row: pd.Series) -> None:
        """Say what is wrong with a cell or row, and what was expected."""
        value, column, column_name = str(row["read_text"]), int(row["column"]), str(row["column_name"])
        cell = shown(value)
        if rule in _ROW_RULES:
            message, value, expected, column_name = self._row_defect(rule, row)
            column = self.reader.position.get(column_name, -1) + 1
        elif rule == "zelle_lesbar":
            message = f"»{cell}« ist keine lesbare Angabe" if cell else "Die Zelle ist leer"
            expected = expected_cell(self.source)
        elif rule == "ganze_zahl":
            message, expected = f"»{cell}« ist keine ganze Zahl", "ganze Zahl (eine Anzahl)"
        else:
            low, high = row["minimum"], row["maximum"]
            limits = [f"mindestens {german(low)}" if pd.notna(low) else ""]
            limits += [f"höchstens {german(high)}" if pd.notna(high) else ""]
            message = f"»{cell}« liegt außerhalb des möglichen Bereichs"
            expected = " und ".join(filter(None, limits))
        self.findings.add(
            rule,
            message,
            expected,
            line=int(row["line"]),
            column=column,
            column_name=column_name,
            value=value,
            sheet=str(row["sheet"]),
        )

    def _row_defect(self, rule: str, row: pd.Series) -> tuple[str, str, str, str]:
        """Message, text read, expectation and heading of a defect that a whole row has."""
        layout = self.source.layout
        text = str(row[_ROW_RULES[rule]])
        if rule == "gebiet_bekannt":
            return str(row["area_problem"]), text, "ein Gebiet der Gebietsliste", plain_heading(row["area_column"])
        if rule.startswith("zeitangabe"):
            return self._date_defect(rule, text)
        if rule == "herkunft_bekannt" and layout.origin:
            expected = "eines von " + ", ".join(f"»{v}«" for v in layout.origin.values)
            return f"»{shown(text)}« ist keine bekannte Herkunft", text, expected, plain_heading(layout.origin.column)
        value = next((v for v in layout.values if v.measure_column and text not in v.measures), layout.values[0])
        match = nearest(text, value.measures)
        hint = f"; meinten Sie »{match[0]}«?" if match else ""
        expected = "eines von " + ", ".join(f"»{name}«" for name in value.measures)
        return f"Unbekanntes Merkmal »{shown(text)}«{hint}", text, expected, plain_heading(value.measure_column or "")

    def _date_defect(self, rule: str, text: str) -> tuple[str, str, str, str]:
        period = self.source.layout.period
        expected = FORMS[period.type]
        if rule == "zeitangabe_zukunft":
            message = f"»{shown(text)}« liegt nach dem Eingang der Datei ({self.received_on:%d.%m.%Y})"
            expected = "eine Zeit vor dem Eingang"
        elif not text:
            message = "Die Zeitangabe fehlt"
        elif period.days and parse_period(text, period.type, period.day):
            message = f"»{shown(text)}« ist kein vereinbarter Stichtag"
            expected = "Tag und Monat " + " oder ".join(f"{day[3:]}.{day[:2]}." for day in period.days)
        else:
            message = f"»{shown(text)}« ist keine mögliche Zeitangabe"
        return message, text, expected, plain_heading(period.column or "")

    # ------------------------------------------------------------ the file as a whole

    def _whole(self, target: Path) -> None:
        with scratch_database().cursor() as con:
            _spill_beside(con, target)
            con.execute(f"CREATE OR REPLACE TEMP VIEW reading AS SELECT * FROM read_parquet('{quoted(target)}')")
            self.arrived = _arrived(con)
            self._once(con)
            if not self.findings.rules & ROWS_LOST:
                self._complete(con)
            for pair in self._pairs():
                self._not_above(con, pair)

    def _once(self, con: duckdb.DuckDBPyConnection) -> None:
        """No figure twice; a row that comes a second time is said once, whatever the number of its figures."""
        con.execute(
            """
            CREATE OR REPLACE TEMP TABLE doubled AS
            SELECT sheet, line, first, area_id,
                   list(ROW(measure_id, category, period, "column", column_name) ORDER BY "column") AS figures
            FROM (
                SELECT *, first_value(line) OVER w AS first, row_number() OVER w AS number
                FROM reading
                WHERE measure_id IS NOT NULL AND reference_date IS NOT NULL AND area_level IS NOT NULL
                WINDOW w AS (PARTITION BY measure_id, category, area_id, reference_date ORDER BY sheet, line, "column")
            )
            WHERE number > 1
            GROUP BY sheet, line, first, area_id
            """
        )
        listed = con.execute("FROM doubled ORDER BY sheet, line, first, area_id LIMIT $most", {"most": KEEP}).fetchall()
        total = con.execute("SELECT count(*) FROM doubled").fetchall()[0][0]
        for sheet, line, first, area_id, figures in listed:
            name = self.directory.areas[area_id].name
            measure, category, period, column, column_name = figures[0]
            if len(figures) == 1:
                what = self.measures[measure].title.de + ("" if category == TOTAL else f", {category}") + " für "
                verb = "steht"
            else:
                what, verb = f"{len(figures)} Angaben für ", "stehen"
            when = f" zum {period}" if len({figure[2] for figure in figures}) == 1 else ""
            message = f"{what}{name}{when} {verb} schon in Zeile {first}"
            self.findings.add(
                "schluessel_eindeutig",
                message,
                "jede Angabe einmal",
                line=line,
                column=column,
                column_name=column_name,
                value=name,
                sheet=sheet,
            )
        self.findings.more("schluessel_eindeutig", total - len(listed))

    def _complete(self, con: duckdb.DuckDBPyConnection) -> None:
        if not self.source.contract.complete:
            return
        names = ["area_level", "area_id", "valid_from", "valid_to"]
        schema = pa.schema([(name, pa.date32() if name.startswith("valid") else pa.string()) for name in names])
        expected = [dict(zip(names, entry, strict=True)) for entry in self._expected()]
        con.register("expected", pa.Table.from_pylist(expected, schema))
        rows = con.execute(
            """
            SELECT e.area_level, r.period, r.measure_id, list(DISTINCT e.area_id ORDER BY e.area_id) AS missing,
                count(*) OVER () AS total
            FROM (SELECT DISTINCT measure_id, category, reference_date, period FROM reading) r
            JOIN expected e ON r.reference_date BETWEEN e.valid_from AND e.valid_to
            LEFT JOIN reading x ON x.measure_id = r.measure_id AND x.category = r.category
                AND x.reference_date = r.reference_date AND x.area_id = e.area_id
            WHERE x.area_id IS NULL
            GROUP BY e.area_level, r.period, r.measure_id
            ORDER BY r.period, e.area_level, r.measure_id
            LIMIT $most
            """,
            {"most": KEEP},
        ).fetchall()
        for level, period, measure, missing, _ in rows:
            listed = ", ".join(self.directory.areas[area_id].name for area_id in missing)
            title = self.measures[measure].title.de
            count = f"fehlt 1 Gebiet: {listed}" if len(missing) == 1 else f"fehlen {len(missing)} Gebiete: {listed}"
            message = f"{title} zum {period}: auf der Ebene {level} {count}"
            self.findings.add("gebiete_vollstaendig", message, "alle Gebiete der Ebene in jedem Zeitraum", value=period)
        self.findings.more("gebiete_vollstaendig", _not_listed(rows))

    def _expected(self) -> Iterator[tuple[str, str, dt.date, dt.date]]:
        """Level, area and the days on which it must be there."""
        for level, listed in self.source.contract.complete.items():
            if isinstance(listed, list):
                yield from ((level, area_id, dt.date.min, dt.date.max) for area_id in listed)
            else:
                for area in self.directory.areas.values():
                    if area.level == level:
                        yield level, area.area_id, area.valid_from or dt.date.min, area.valid_to or dt.date.max

    def _pairs(self) -> list[NotAbove]:
        """Declared pairs, and each category of a split against its delivered total."""
        pairs = list(self.source.contract.not_above)
        for name in self.source.layout.measures():
            measure = self.measures[name]
            if measure.category_total == "delivered" and measure.kind == "count":
                pairs += [NotAbove(measure=name, category=c.id, than=name) for c in measure.categories]
        return pairs

    def _not_above(self, con: duckdb.DuckDBPyConnection, pair: NotAbove) -> None:
        rows = con.execute(
            """
            SELECT p.area_id, p.period, p.value, w.value, p.line, p."column", p.column_name, w.column_name, p.read_text,
                p.sheet, count(*) OVER () AS total
            FROM reading p
            JOIN reading w ON w.area_id = p.area_id AND w.reference_date = p.reference_date
                AND w.measure_id = $than AND w.category = $than_category
            WHERE p.measure_id = $measure AND p.category = $category AND p.value > w.value
                AND (p.area_id NOT IN (SELECT area_id FROM doubled) OR (p.sheet = w.sheet AND p.line = w.line))
            ORDER BY p.sheet, p.line, p."column"
            LIMIT $most
            """,
            {**pair.model_dump(), "most": KEEP},
        ).fetchall()
        for area_id, period, value, whole, line, column, name, whole_name, text, sheet, _ in rows:
            area = self.directory.areas[area_id].name
            message = f"{area} zum {period}: {german(value)} ist mehr als {german(whole)} in »{shown(whole_name)}«"
            self.findings.add(
                "teil_nicht_ueber_ganzem",
                message,
                f"höchstens {german(whole)}",
                line=line,
                column=column,
                column_name=name,
                value=text,
                sheet=sheet,
            )
        self.findings.more("teil_nicht_ueber_ganzem", _not_listed(rows))


_ARRIVED = """
    SELECT measure_id AS measure, area_level AS level, sheet, count(DISTINCT area_id) AS areas,
        list(DISTINCT period ORDER BY period) AS periods, count(*) AS figures,
        count(*) FILTER (status = 'suppressed') AS withheld, count(*) FILTER (status = 'missing') AS missing,
        min(line) AS first_line, max(line) AS last_line
    FROM reading
    WHERE measure_id IS NOT NULL AND area_level IS NOT NULL AND period IS NOT NULL
    GROUP BY ALL
    ORDER BY ALL
"""


def _arrived(con: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """What a reading holds, one entry per measure, level and sheet."""
    cursor = con.execute(_ARRIVED)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _not_listed(rows: list[tuple[Any, ...]]) -> int:
    """Rows of a query beyond those that were fetched; the last column holds the number of all."""
    return int(rows[0][-1]) - len(rows) if rows else 0


def _after(dates: pd.Series, newest: dt.date) -> list[bool]:
    return [date is not None and date > newest for date in dates]


@functools.cache
def scratch_database() -> duckdb.DuckDBPyConnection:
    """A database in memory for the rules over whole files; made once, opening one costs more than a small file."""
    database = connect()
    atexit.register(database.close)
    return database


def _spill_beside(con: duckdb.DuckDBPyConnection, reading: Path) -> None:
    """What does not fit into memory goes beside the reading, not into whatever folder the run was started in."""
    with contextlib.suppress(duckdb.Error):  # refused once another such folder is in use
        spill_into(con, reading.with_name(TEMPORARY + "ausgelagert"))


def german(value: float) -> str:
    """A number with decimal comma and all its digits."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text.replace(".", ",")
