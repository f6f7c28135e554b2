"""Judges a delivery: cell and row rules by pandera in chunks, rules over the whole file as DuckDB queries."""

from __future__ import annotations

import atexit
import datetime as dt
import functools
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.areas import Directory
from pipelines.files import quoted
from pipelines.intake.delimited import plain_heading
from pipelines.intake.failures import KEEP, Findings, shown
from pipelines.intake.layout import Reader, expected_cell
from pipelines.periods import FORMS
from schemas.documents import TOTAL, Correction, Measure, NotAbove, Source
from schemas.reading import failed_rows
from schemas.yaml_source import nearest

READING = pa.schema(
    [
        ("measure_id", pa.string()),
        ("category", pa.string()),
        ("area_id", pa.string()),
        ("area_level", pa.string()),
        ("period_type", pa.string()),
        ("reference_date", pa.date32()),
        ("period", pa.string()),
        ("value", pa.float64()),
        ("status", pa.string()),
        ("origin", pa.string()),
        ("text", pa.string()),
        ("read_text", pa.string()),
        ("line", pa.int64()),
        ("column", pa.int32()),
        ("column_name", pa.string()),
    ]
)
"""Columns of a reading: one row per figure, with the cell it comes from (`text` as received, `read_text` as used)."""


_ROW_RULES = {
    "gebiet_bekannt": "area_text",
    "zeitangabe_lesbar": "period_text",
    "herkunft_bekannt": "origin_text",
    "merkmal_bekannt": "measure_text",
}
"""Rules about what a row says of itself, and the column of a chunk that holds the text in question."""
_ROWS_LOST = {"zeile_zu_lang", "zeile_zu_kurz", "datei_lesbar", "feste_angabe", "spalte_unbekannt", *_ROW_RULES}
"""After these failures areas may seem to be missing only because their rows could not be read."""


class Judge:
    """Reads one delivery, checks it, and writes the reading."""

    def __init__(self, source: Source, directory: Directory, measures: dict[str, Measure]) -> None:
        """Keep what is needed to read and judge deliveries of one source."""
        self.source = source
        self.directory = directory
        self.measures = measures
        self.findings = Findings()
        self.slices: set[tuple[str, str, str]] = set()
        self.reader = Reader(source, directory, measures, self.findings)

    def read(self, path: Path, file_name: str, corrections: list[Correction], target: Path) -> int:
        """Read and check a file; write its figures to `target` (Parquet) whether or not rules are broken.

        Returns:
            Number of figures. `findings` holds everything that is wrong, all at once; `slices` the measures, periods
            and levels found.
        """
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
        return count

    # ------------------------------------------------------------ cells and rows

    def _cells(self, chunk: pd.DataFrame) -> None:
        chunk["whole"] = chunk["measure_id"].isin([m.id for m in self.measures.values() if m.kind == "count"])
        for bound in ("minimum", "maximum"):
            limits = {m.id: getattr(m, bound) for m in self.measures.values()}
            chunk[bound] = chunk["measure_id"].map(limits).astype(float)
        seen: set[tuple[str, object, object]] = set()
        for rule, index in failed_rows(chunk):
            if rule in _ROW_RULES:  # said once, not once per value cell of the row
                key = (rule, chunk.at[index, "line"], chunk.at[index, _ROW_RULES[rule]])
                if key in seen:
                    continue
                seen.add(key)
            if self.findings.full:
                self.findings.count += 1
            else:
                self._explain(rule, chunk.iloc[index])

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
            rule, message, expected, line=int(row["line"]), column=column, column_name=column_name, value=value
        )

    def _row_defect(self, rule: str, row: pd.Series) -> tuple[str, str, str, str]:
        """Message, text read, expectation and heading of a defect that a whole row has."""
        layout = self.source.layout
        text = str(row[_ROW_RULES[rule]])
        if rule == "gebiet_bekannt":
            return str(row["area_problem"]), text, "ein Gebiet der Gebietsliste", plain_heading(row["area_column"])
        if rule == "zeitangabe_lesbar":
            message = f"»{shown(text)}« ist keine mögliche Zeitangabe" if text else "Die Zeitangabe fehlt"
            return message, text, FORMS[layout.period.type], plain_heading(layout.period.column or "")
        if rule == "herkunft_bekannt" and layout.origin:
            expected = "eines von " + ", ".join(f"»{v}«" for v in layout.origin.values)
            return f"»{shown(text)}« ist keine bekannte Herkunft", text, expected, plain_heading(layout.origin.column)
        value = next((v for v in layout.values if v.measure_column and text not in v.measures), layout.values[0])
        match = nearest(text, value.measures)
        hint = f"; meinten Sie »{match[0]}«?" if match else ""
        expected = "eines von " + ", ".join(f"»{name}«" for name in value.measures)
        return f"Unbekanntes Merkmal »{shown(text)}«{hint}", text, expected, plain_heading(value.measure_column or "")

    # ------------------------------------------------------------ the file as a whole

    def _whole(self, target: Path) -> None:
        with scratch_database().cursor() as con:
            con.execute(f"CREATE OR REPLACE TEMP VIEW reading AS SELECT * FROM read_parquet('{quoted(target)}')")
            self._once(con)
            if not self.findings.rules & _ROWS_LOST:
                self._complete(con)
            for pair in self._pairs():
                self._not_above(con, pair)

    def _once(self, con: duckdb.DuckDBPyConnection) -> None:
        """No figure twice; a row that comes a second time is said once, whatever the number of its figures."""
        con.execute(
            """
            CREATE OR REPLACE TEMP TABLE doubled AS
            SELECT line, first, area_id,
                   list(ROW(measure_id, category, period, "column", column_name) ORDER BY "column") AS figures
            FROM (
                SELECT *, first_value(line) OVER w AS first, row_number() OVER w AS number
                FROM reading
                WHERE measure_id IS NOT NULL AND reference_date IS NOT NULL AND area_level IS NOT NULL
                WINDOW w AS (PARTITION BY measure_id, category, area_id, reference_date ORDER BY line, "column")
            )
            WHERE number > 1
            GROUP BY line, first, area_id
            """
        )
        listed = con.execute("FROM doubled ORDER BY line, first, area_id LIMIT $most", {"most": KEEP}).fetchall()
        total = con.execute("SELECT count(*) FROM doubled").fetchall()[0][0]
        for line, first, area_id, figures in listed:
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
            )
        self.findings.count += total - len(listed)

    def _complete(self, con: duckdb.DuckDBPyConnection) -> None:
        if not self.source.contract.complete:
            return
        dates = [row[0] for row in con.execute("SELECT DISTINCT reference_date FROM reading").fetchall()]
        expected = [
            {"area_level": level, "reference_date": date, "area_id": area_id}
            for level, areas in self.source.contract.complete.items()
            for date in dates
            for area_id in self._expected(level, areas, date)
        ]
        names = ["area_level", "reference_date", "area_id"]
        con.register("expected", pa.Table.from_pylist(expected, pa.schema([READING.field(name) for name in names])))
        rows = con.execute(
            """
            SELECT e.area_level, r.period, r.measure_id, list(DISTINCT e.area_id ORDER BY e.area_id) AS missing
            FROM (SELECT DISTINCT measure_id, category, reference_date, period FROM reading) r
            JOIN expected e ON e.reference_date = r.reference_date
            LEFT JOIN reading x ON x.measure_id = r.measure_id AND x.category = r.category
                AND x.reference_date = r.reference_date AND x.area_id = e.area_id
            WHERE x.area_id IS NULL
            GROUP BY e.area_level, r.period, r.measure_id
            ORDER BY r.period, e.area_level, r.measure_id
            """
        ).fetchall()
        for level, period, measure, missing in rows:
            listed = ", ".join(self.directory.areas[area_id].name for area_id in missing)
            title = self.measures[measure].title.de
            count = f"fehlt 1 Gebiet: {listed}" if len(missing) == 1 else f"fehlen {len(missing)} Gebiete: {listed}"
            message = f"{title} zum {period}: auf der Ebene {level} {count}"
            self.findings.add("gebiete_vollstaendig", message, "alle Gebiete der Ebene in jedem Zeitraum", value=period)

    def _expected(self, level: str, areas: str | list[str], date: dt.date) -> list[str]:
        if isinstance(areas, list):
            return areas
        return [area.area_id for area in self.directory.of_level(level, date)]

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
            SELECT p.area_id, p.period, p.value, w.value, p.line, p."column", p.column_name, w.column_name, p.read_text
            FROM reading p
            JOIN reading w ON w.area_id = p.area_id AND w.reference_date = p.reference_date
                AND w.measure_id = $than AND w.category = $than_category
            WHERE p.measure_id = $measure AND p.category = $category AND p.value > w.value
            ORDER BY p.line, p."column"
            """,
            pair.model_dump(),
        ).fetchall()
        for area_id, period, value, whole, line, column, name, whole_name, text in rows:
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
            )


@functools.cache
def scratch_database() -> duckdb.DuckDBPyConnection:
    """A database in memory for the rules over whole files; made once, opening one costs more than a small file."""
    database = duckdb.connect()
    atexit.register(database.close)
    return database


def german(value: float) -> str:
    """A number with decimal comma and all its digits."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return text.replace(".", ",")
