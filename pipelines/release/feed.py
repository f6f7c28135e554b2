"""Writes the files of a release from the public DuckDB file and the declarations; same input, same bytes."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import duckdb
import xlsxwriter

from pipelines.files import quoted
from pipelines.marts.models import Models
from pipelines.project import Project
from pipelines.session import connect
from schemas.codes import CODE_LISTS, Code, label, sign
from schemas.documents import Mart

BOM = "\ufeff"
TABLES = {
    "indicator_value": "daten/indikatorwerte",
    "indicator": "daten/indikatoren",
    "observation": "daten/beobachtungen",
    "measure": "daten/kennzahlen",
    "measure_part": "daten/kennzahlen_summen",
    "category": "daten/auspraegungen",
    "series_break": "daten/brueche",
    "revision": "daten/revisionen",
    "social_index": "daten/sozialindex",
    "social_index_part": "daten/sozialindex_teile",
    "index_definition": "daten/indizes",
    "index_indicator": "daten/indizes_indikatoren",
    "index_class": "daten/indizes_klassen",
    "index_exclusion": "daten/indizes_ausnahmen",
    "area": "gebiete/gebiete",
    "membership": "gebiete/zuordnung",
}
"""Tables that are given out as files, with the file name without its ending."""
WORKBOOK_ROWS = 100_000
"""Tables of more rows are given out without a workbook: Excel holds 1,048,576 rows at most, and is slow long before."""


def given_out(models: Models) -> dict[str, str]:
    """Those of `TABLES` that a project has."""
    return {table: name for table, name in TABLES.items() if f"mart.{table}" in models.all}


def write_feed(folder: Path, file: Path, models: Models, created: dt.datetime) -> None:
    """Write Parquet, CSV (plain and German), XLSX, wide tables, code lists and the catalogue into a folder.

    Args:
        folder: folder of the release, exists.
        file: the public DuckDB file.
        models: the marts as declared.
        created: moment of the release; the only time that gets into a file.
    """
    with connect(file, read_only=True) as con:
        for table, name in given_out(models).items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            _table(con, target, models, models.all[f"mart.{table}"].mart, created)
        _wide(folder, con, models.project)
    for name, codes in {**CODE_LISTS, "area_level": _levels(models.project)}.items():
        entries = [(c.code, c.label_de, c.label_en, c.sign) for c in codes]
        _text(folder / "schluessel" / f"{name}.csv", _csv(["code", "bezeichnung_de", "label_en", "zeichen"], entries))
    _catalogue(folder / "katalog", models.project)


# ---------------------------------------------------------------- tables

_PLAIN, _GERMAN = (f"FORMAT csv, HEADER, DELIMITER '{mark}', QUOTE '\"', ESCAPE '\"', NULLSTR ''" for mark in ",;")
"""RFC 4180 with comma and decimal point, and for German spreadsheets; a missing value is an empty cell."""


def _table(con: duckdb.DuckDBPyConnection, target: Path, models: Models, mart: Mart, created: dt.datetime) -> None:
    """All files of one table."""
    rows = f"FROM mart.{mart.id} AS t ORDER BY {', '.join(f't.{key} NULLS FIRST' for key in mart.key)}"
    columns = [(row[0], row[1]) for row in con.execute(f"DESCRIBE mart.{mart.id}").fetchall()]
    first = columns[0][0]
    copies = [("*", ".parquet", "FORMAT parquet, COMPRESSION zstd")]
    for ending, form, german in ((".csv", _PLAIN, False), ("_de.csv", _GERMAN, True)):
        heads = [(f"{BOM}{name}" if german and name == first else name) for name, _ in columns]
        texts = [_as_text(*column, german) for column in columns]
        copies.append((", ".join(f'{t} AS "{head}"' for t, head in zip(texts, heads, strict=True)), ending, form))
    for selected, ending, form in copies:
        con.execute(f"COPY (SELECT {selected} {rows}) TO '{quoted(target.with_name(target.name + ending))}' ({form})")
    (count,) = con.execute(f"SELECT count(*) FROM mart.{mart.id}").fetchall()[0]
    if count <= WORKBOOK_ROWS:
        held = con.execute(f"SELECT * {rows}").fetchall()
        _workbook(target.with_suffix(".xlsx"), models, mart, [name for name, _ in columns], held, created)


def _as_text(name: str, kind: str, german: bool) -> str:
    """SQL of a column's values as `_plain` and `_german` write them; DuckDB takes a hundredth of the time."""
    if kind == "BOOLEAN":
        yes, no = ("ja", "nein") if german else ("true", "false")
        return f"CASE WHEN \"{name}\" THEN '{yes}' WHEN NOT \"{name}\" THEN '{no}' END"
    if kind != "DOUBLE":
        return f"nullif(CAST(\"{name}\" AS VARCHAR), '')"
    whole = f'"{name}" = trunc("{name}") AND abs("{name}") < 1e15'
    text = f'CASE WHEN {whole} THEN CAST(CAST("{name}" AS BIGINT) AS VARCHAR) ELSE CAST("{name}" AS VARCHAR) END'
    return f"replace({text}, '.', ',')" if german else text


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    """Shortest text that reads back as the same number; whole numbers without a decimal point."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def _german(value: Any) -> str:
    if isinstance(value, bool):
        return "ja" if value else "nein"
    if isinstance(value, float):
        return _number(value).replace(".", ",")
    return _plain(value)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """RFC 4180 with comma and decimal point; a missing value is an empty cell."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return out.getvalue()


def csv_de(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same for German spreadsheets: semicolon, decimal comma."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerow(header)
    writer.writerows([_german(value) for value in row] for row in rows)
    return out.getvalue()


def _wide(folder: Path, con: duckdb.DuckDBPyConnection, project: Project) -> None:
    """One German CSV per level: a row per area and period; per indicator the value and the signs that belong to it.

    Signs (schluessel/obs_status.csv, schluessel/origin.csv): why there is no value, whether it is estimated, and
    whether it is constructed, inferred or from a secondary source.
    """
    for level in project.areas.levels:
        values: dict[tuple[str, ...], dict[str, tuple[str, str]]] = {}
        indicators = [i for i in project.indicators.values() if level.id in i.levels]
        rows = con.execute(
            """
            SELECT v.area_id, a.name, v.period_type, v.period, v.indicator_id, round(v.value, i.decimals), i.decimals,
                v.obs_status, v.origin
            FROM mart.indicator_value v JOIN mart.area a USING (area_id) JOIN mart.indicator i USING (indicator_id)
            WHERE v.area_level = ?
            ORDER BY a.sort_key, v.area_id, v.period_type, v.reference_date, v.indicator_id
            """,
            [level.id],
        ).fetchall()
        for area_id, name, period_type, period, indicator, value, decimals, status, origin in rows:
            signs = " ".join(filter(None, [sign("obs_status", status), sign("origin", origin)]))
            key = (area_id, name, label("period_type", period_type), period)
            values.setdefault(key, {})[indicator] = ("" if value is None else _rounded(value, decimals), signs)
        heads = [f"{i.title.de} ({label('unit', i.unit)})" for i in indicators]
        pairs = [name for i, head in zip(indicators, heads, strict=True) for name in (head, f"Zeichen: {i.title.de}")]
        header = ["Gebietskennung", "Gebiet", "Zeitbezug", "Zeitraum", *pairs]
        lines = [
            [*key, *[part for i in indicators for part in cells.get(i.id, ("", ""))]] for key, cells in values.items()
        ]
        _text(folder / "daten" / f"breit_{level.id}_de.csv", BOM + csv_de(header, lines))


def _rounded(value: float, decimals: int) -> str:
    """Text of a value that DuckDB has rounded (halves up, as in `api`; Python would round 12.25 down)."""
    return f"{value:.{decimals}f}".replace(".", ",")


def _levels(project: Project) -> list[Code]:
    return [Code(level.id, level.title.de, level.title.en or level.title.de) for level in project.areas.levels]


def _catalogue(folder: Path, project: Project) -> None:
    """Sources with publisher, address, licence and the publication they were transcribed from."""
    header = ["quelle", "titel", "beschreibung", "herausgeber", "fundstelle", "lizenz", "datenherkunft"]
    header += ["uebernommen_aus", "seite"]
    rows = []
    for s in project.sources.values():
        taken = s.transcribed_from
        origin = label("origin", s.origin)
        page = [f"{taken.publisher}: {taken.title}", taken.page] if taken else [None, None]
        rows.append([s.id, s.title.de, s.description.de.strip(), s.publisher, s.address, s.licence, origin, *page])
    _text(folder / "quellen_de.csv", BOM + csv_de(header, rows))


# ---------------------------------------------------------------- workbook


def _workbook(
    path: Path, models: Models, mart: Mart, header: list[str], rows: list[tuple[Any, ...]], created: dt.datetime
) -> None:
    """Sheets Daten (an Excel table), Spalten, Zeichenerklärung, Herkunft; no merged cells, real numbers."""
    project = models.project
    book = xlsxwriter.Workbook(str(path), {"default_date_format": "dd.mm.yyyy", "strings_to_formulas": False})
    release = project.release
    book.set_properties(
        {
            "title": f"{release.title.de}: {mart.title.de}",
            "author": release.publisher,
            "comments": release.attribution,
            "created": created.replace(tzinfo=None),
        }
    )
    sheet = book.add_worksheet("Daten")
    columns = [{"header": name} for name in header]
    shown = [[_cell(value) for value in row] for row in rows] or [[None] * len(header)]
    sheet.add_table(0, 0, len(shown), len(header) - 1, {"name": mart.id, "columns": columns, "data": shown})
    sheet.freeze_panes(1, 0)
    for position, name in enumerate(header):
        sheet.set_column(position, position, max(10, min(40, len(name) + 3)))
    details = models.all[f"mart.{mart.id}"].columns
    _sheet(book, "Spalten", ["Spalte", "Bedeutung"], [(n, c.de) for n, c in details.items()])
    codes = [(n, c.code, c.sign, c.label_de) for n, cs in CODE_LISTS.items() for c in cs if n in header]
    _sheet(book, "Zeichenerklärung", ["Liste", "Code", "Zeichen", "Bedeutung"], codes)
    sources = [(s.id, s.title.de, s.publisher, s.origin, s.licence, s.address or "") for s in project.sources.values()]
    _sheet(book, "Herkunft", ["Quelle", "Titel", "Herausgeber", "Datenherkunft", "Lizenz", "Fundstelle"], sources)
    book.close()


def _cell(value: Any) -> Any:
    return ("ja" if value else "nein") if isinstance(value, bool) else value


def _sheet(book: xlsxwriter.Workbook, name: str, header: list[str], rows: Iterable[Sequence[Any]]) -> None:
    sheet = book.add_worksheet(name)
    sheet.write_row(0, 0, header, book.add_format({"bold": True}))
    for number, row in enumerate(rows, 1):
        for position, value in enumerate(row):
            sheet.write_string(number, position, str(value or ""))
    sheet.freeze_panes(1, 0)
    sheet.set_column(0, len(header) - 1, 30)


def _text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
