"""Judges a delivery: cell and row rules by pandera in chunks, rules over the whole file as DuckDB queries."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.areas import Directory
from pipelines.intake.failures import Findings
from pipelines.intake.layout import Reader, expected_cell
from pipelines.periods import FORMS
from schemas.documents import TOTAL, Correction, Measure, NotAbove, Source
from schemas.reading import failed_rows

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


class Judge:
    """Reads one delivery, checks it, and writes the reading."""

    def __init__(self, source: Source, directory: Directory, measures: dict[str, Measure]) -> None:
        """Keep what is needed to read and judge deliveries of one source."""
        self.source = source
        self.directory = directory
        self.measures = measures
        self.findings = Findings()

    def read(self, path: Path, file_name: str, corrections: list[Correction], target: Path) -> int:
        """Read and check a file; write its figures to `target` (Parquet) whether or not rules are broken.

        Returns:
            Number of figures. `findings` holds everything that is wrong, all at once.
        """
        reader = Reader(self.source, self.directory, self.measures, self.findings)
        count = 0
        with pq.ParquetWriter(target, READING, compression="zstd") as writer:
            for chunk in reader.chunks(path, file_name, corrections):
                self._cells(chunk)
                chunk["period_type"] = self.source.layout.period.type
                writer.write_table(pa.Table.from_pandas(chunk[READING.names], READING, preserve_index=False))
                count += len(chunk)
        if count and not self.findings.count:
            self._whole(target)
        return count

    # ------------------------------------------------------------ cells and rows

    def _cells(self, chunk: pd.DataFrame) -> None:
        kinds = chunk["measure_id"].map({m.id: m.kind == "count" for m in self.measures.values()})
        chunk["whole"] = kinds.fillna(False).astype(bool)
        for bound in ("minimum", "maximum"):
            limits = {m.id: getattr(m, bound) for m in self.measures.values()}
            chunk[bound] = chunk["measure_id"].map(limits).astype(float)
        seen: set[tuple[str, int, str]] = set()
        for rule, index in failed_rows(chunk):
            self._explain(rule, chunk.loc[index], seen)

    def _explain(self, rule: str, row: pd.Series, seen: set[tuple[str, int, str]]) -> None:
        """Say what is wrong; a defect of a whole row is said once, not once per value cell."""
        layout = self.source.layout
        value, column, column_name = str(row["read_text"]), int(row["column"]), str(row["column_name"])
        if rule == "zelle_lesbar":
            shown = f"»{value.strip()}« ist keine lesbare Angabe" if value.strip() else "Die Zelle ist leer"
            message, expected = shown, expected_cell(self.source)
        elif rule == "ganze_zahl":
            message, expected = f"»{value.strip()}« ist keine ganze Zahl", "ganze Zahl (eine Anzahl)"
        elif rule in ("nicht_unter_minimum", "nicht_ueber_maximum"):
            low, high = row["minimum"], row["maximum"]
            limits = [f"mindestens {low:g}" if pd.notna(low) else "", f"höchstens {high:g}" if pd.notna(high) else ""]
            message = f"»{value.strip()}« liegt außerhalb des möglichen Bereichs"
            expected = " und ".join(filter(None, limits))
        else:
            column, message, value, expected, column_name = self._row_defect(rule, row)
            in_header = layout.period.in_header and rule == "zeitangabe_lesbar"
            key = (rule, 0 if in_header else int(row["line"]), value)
            if key in seen:
                return
            seen.add(key)
            if in_header:
                self.findings.add(
                    rule, message, expected, line=1, column=int(row["column"]), column_name=column_name, value=value
                )
                return
        self.findings.add(
            rule, message, expected, line=int(row["line"]), column=column, column_name=column_name, value=value
        )

    def _row_defect(self, rule: str, row: pd.Series) -> tuple[int, str, str, str, str]:
        layout = self.source.layout
        if rule == "gebiet_bekannt":
            area = layout.area
            name = (area.name or area.number or area.id or "") if area else ""
            return 0, str(row["area_problem"]), str(row["area_text"]), "ein Gebiet der Gebietsliste", name
        if rule == "zeitangabe_lesbar":
            text = str(row["period_text"])
            message = f"»{text}« ist keine mögliche Zeitangabe"
            return 0, message, text, FORMS[layout.period.type], layout.period.column or text
        if rule == "herkunft_bekannt":
            known = layout.origin
            expected = ", ".join(f"»{v}«" for v in known.values) if known else ""
            text = str(row["origin_text"])
            return 0, f"»{text}« ist keine bekannte Herkunft", text, expected, known.column if known else ""
        text = str(row["measure_text"])
        value = next((v for v in layout.values if v.measure_column), layout.values[0])
        expected = "eines von " + ", ".join(f"»{name}«" for name in value.measures)
        return 0, f"Unbekanntes Merkmal »{text}«", text, expected, value.measure_column or ""

    # ------------------------------------------------------------ the file as a whole

    def _whole(self, target: Path) -> None:
        with duckdb.connect() as con:
            con.execute(f"CREATE VIEW reading AS SELECT * FROM read_parquet('{_quoted(target)}')")
            self._once(con)
            self._complete(con)
            for pair in self._pairs():
                self._not_above(con, pair)

    def _once(self, con: duckdb.DuckDBPyConnection) -> None:
        rows = con.execute(
            """
            SELECT measure_id, category, area_id, period, min(line) AS first, list(line ORDER BY line) AS lines,
                   list(column_name ORDER BY line) AS columns
            FROM reading
            GROUP BY measure_id, category, area_id, period
            HAVING count(*) > 1
            ORDER BY first, measure_id, category
            """
        ).fetchall()
        for measure, category, area_id, period, first, lines, columns in rows:
            name = self.directory.areas[area_id].name
            what = self.measures[measure].title.de + ("" if category == TOTAL else f", {category}")
            for line, column in list(zip(lines, columns, strict=True))[1:]:
                message = f"{what} für {name} zum {period} steht schon in Zeile {first}"
                self.findings.add(
                    "schluessel_eindeutig", message, "jede Angabe einmal", line=line, column_name=column, value=name
                )

    def _complete(self, con: duckdb.DuckDBPyConnection) -> None:
        if not self.source.contract.complete:
            return
        dates = [row[0] for row in con.execute("SELECT DISTINCT reference_date FROM reading").fetchall()]
        expected = [
            (level, date, area_id)
            for level, areas in self.source.contract.complete.items()
            for date in dates
            for area_id in self._expected(level, areas, date)
        ]
        table = pa.table(
            {
                "area_level": [e[0] for e in expected],
                "reference_date": pa.array([e[1] for e in expected], pa.date32()),
                "area_id": [e[2] for e in expected],
            }
        )
        con.register("expected", table)
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
            names = ", ".join(self.directory.areas[area_id].name for area_id in missing)
            title = self.measures[measure].title.de
            message = f"{title} zum {period}: auf der Ebene {level} fehlen {len(missing)} Gebiete: {names}"
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
            SELECT p.area_id, p.period, p.value, w.value, p.line, p."column", p.column_name, w.column_name
            FROM reading p
            JOIN reading w ON w.area_id = p.area_id AND w.reference_date = p.reference_date
                AND w.measure_id = $than AND w.category = $than_category
            WHERE p.measure_id = $measure AND p.category = $category AND p.value > w.value
            ORDER BY p.line, p."column"
            """,
            pair.model_dump(),
        ).fetchall()
        for area_id, period, value, whole, line, column, name, whole_name in rows:
            area = self.directory.areas[area_id].name
            message = f"{area} zum {period}: {value:g} ist mehr als {whole:g} in »{whole_name}«"
            self.findings.add(
                "teil_nicht_ueber_ganzem",
                message,
                f"höchstens {whole:g}",
                line=line,
                column=column,
                column_name=name,
                value=f"{value:g}",
            )


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
