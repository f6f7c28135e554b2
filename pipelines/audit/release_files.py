"""The files of a release, each parsed back from disk by a reader that did not write it.

Public is a list: every file, table, column, code and metadata key must be one that is declared. A file of a table must
say what the table says; where it does not, what it says counts as published, too.
"""

from __future__ import annotations

import csv
import html
import io
import re
import zipfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import python_calamine

from pipelines.audit.facts import Leak, Public, Reader, Unreadable
from pipelines.files import sha256_file
from pipelines.marts.models import Models
from pipelines.paths import DATABASE
from pipelines.release.feed import TABLES
from schemas.codes import CODE_LISTS, label
from schemas.documents import Source

REPORT = "bericht"
CHECKSUMS = "pruefsummen.sha256"
PACKAGE = "datapackage.json"
CATALOGUE = ("katalog/quellen_de.csv", "katalog/geheimhaltungspruefung_de.csv")
TEXTS = (".csv", ".json", ".sha256", ".txt", ".html", ".svg", ".css", ".js", ".md", ".xml")
_CODE_FILE = ["code", "bezeichnung_de", "label_en", "zeichen"]
_WORKBOOK = re.compile(
    r"\[Content_Types\]\.xml|_rels/\.rels|docProps/(core|app)\.xml|xl/(workbook|sharedStrings|styles)\.xml"
    r"|xl/theme/theme1\.xml|xl/_rels/workbook\.xml\.rels|xl/worksheets/sheet[1-4]\.xml"
    r"|xl/worksheets/_rels/sheet1\.xml\.rels|xl/tables/table1\.xml"
)
_SHEETS = ["Daten", "Spalten", "Zeichenerklärung", "Herkunft"]
_EXCEL = 2e-15  # Excel files hold 16 digits, a double has up to 17


def names_in(folder: Path) -> list[str]:
    """Every file below a folder, with / between parts."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() or p.is_symlink())


def check_names(folder: Path, levels: Iterable[str]) -> list[Leak]:
    """Files that no release may hold; those of the report are known to its own check."""
    known = {DATABASE, CHECKSUMS, PACKAGE, *CATALOGUE}
    known |= {f"{name}{ending}" for name in TABLES.values() for ending in (".csv", "_de.csv", ".parquet", ".xlsx")}
    known |= {f"schluessel/{name}.csv" for name in [*CODE_LISTS, "area_level"]}
    known |= {f"daten/breit_{level}_de.csv" for level in levels}
    text = "Diese Datei gehört zu keiner Veröffentlichung; entfernen, oder in der Prüfung und im Datenpaket nennen."
    return [
        Leak("unbekannte_datei", name, text)
        for name in names_in(folder)
        if not name.startswith(f"{REPORT}/") and (name not in known or (folder / name).is_symlink())
    ]


# ---------------------------------------------------------------- tables given out as files


def file_checks(folder: Path, public: Public, reader: Reader) -> list[Callable[[], list[Leak]]]:
    """One check per file of a table: parse it, compare it with its table, take what differs as facts.

    A check raises `Unreadable`, or what its reader raises, if the file cannot be read.
    """
    checks: list[Callable[[], list[Leak]]] = []
    for table, base in TABLES.items():
        for ending, read in _READERS.items():
            path = folder / f"{base}{ending}"
            if path.exists():
                checks.append(partial(_compared, path, f"{base}{ending}", table, read, public, reader))
    wide = sorted((folder / "daten").glob("breit_*_de.csv"))
    return checks + [partial(_wide, path, path.relative_to(folder).as_posix(), public, reader) for path in wide]


def _compared(
    path: Path, name: str, table: str, read: Callable[[Path, pa.Schema], pa.Table], public: Public, reader: Reader
) -> list[Leak]:
    if table not in public.tables:
        return [Leak("nicht_ableitbar", name, f"mart.{table} gibt es nicht; Datei entfernen.")]
    expected = public.tables[table]
    try:
        found = read(path, expected.schema)
    except (pa.ArrowException, OSError, ValueError, KeyError, python_calamine.CalamineError) as error:
        raise Unreadable(f"{name}: {error}") from error
    leaks = []
    for column in found.column_names:
        if column not in expected.column_names:
            text = f"mart.{table} hat diese Spalte nicht; Spalte entfernen oder in defs.yaml erklären."
            leaks.append(Leak("unbekannte_spalte", f"{name}, Spalte {column}", text))
    difference = first_difference(expected, found, _EXCEL if path.suffix == ".xlsx" else 0.0)
    if difference:
        text = f"Die Datei sagt etwas anderes als mart.{table}; Datei aus der öffentlichen Tabelle neu schreiben."
        leaks.append(Leak("nicht_ableitbar", f"{name}, {difference}", text))
        reader.read_table(table, found.to_pylist(), name)
    return leaks


def first_difference(expected: pa.Table, found: pa.Table, tolerance: float = 0.0, near_zero: float = 0.0) -> str:
    """Where two tables differ first (column and row), '' if nowhere; empty text and no text are the same.

    Args:
        expected: one table.
        found: another, with the same types where the columns are the same.
        tolerance: share of itself by which a number may differ.
        near_zero: amount by which any number may differ.
    """
    if expected.num_rows != found.num_rows:
        return f"{found.num_rows} statt {expected.num_rows} Zeilen"
    for column in expected.column_names:
        if column not in found.column_names:
            return f"Spalte {column} fehlt"
        ours, theirs = _plain(expected[column]), _plain(found[column])
        if ours.equals(theirs):
            continue
        same = pc.fill_null(_close(ours, theirs, tolerance, near_zero) if tolerance else pc.equal(ours, theirs), False)
        same = pc.or_(same, pc.and_(pc.is_null(ours), pc.is_null(theirs)))
        if not pc.all(same, min_count=0).as_py():
            return f"Spalte {column}, Zeile {pc.index(same, False).as_py() + 1}"
    return ""


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
    return column


def _close(ours: pa.ChunkedArray, theirs: pa.ChunkedArray, tolerance: float, near_zero: float) -> pa.ChunkedArray:
    if not pa.types.is_floating(ours.type):
        return pc.equal(ours, theirs)
    allowed = pc.max_element_wise(pc.multiply(pc.abs(ours), tolerance), near_zero)
    return pc.less_equal(pc.abs(pc.subtract(ours, theirs)), allowed)


def _parquet(path: Path, _schema: pa.Schema) -> pa.Table:
    return pa.parquet.read_table(path, partitioning=None)


def _csv_en(path: Path, schema: pa.Schema) -> pa.Table:
    return _typed(_texts(path, ","), schema, lambda column: column, ("true", "false"))


def _csv_de(path: Path, schema: pa.Schema) -> pa.Table:
    return _typed(_texts(path, ";"), schema, lambda c: pc.replace_substring(c, ",", "."), ("ja", "nein"))


def _texts(path: Path, delimiter: str) -> pa.Table:
    """A delimited file with every cell as text; an empty cell is null."""
    with path.open("rb") as file:
        start = file.read(3)
    header = next(csv.reader([_first_line(path)], delimiter=delimiter))
    return pa.csv.read_csv(
        pa.BufferReader(path.read_bytes()[3:] if start == b"\xef\xbb\xbf" else path.read_bytes()),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=True, null_values=[""]
        ),
    )


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return file.readline().rstrip("\r\n")


def _typed(table: pa.Table, schema: pa.Schema, number: Callable[[Any], Any], truth: tuple[str, str]) -> pa.Table:
    """Text columns as the types of a schema; what does not read as its type is an error."""
    columns = {}
    for name in table.column_names:
        column, kind = table[name], schema.field(name).type if name in schema.names else pa.string()
        if pa.types.is_boolean(kind):
            column = pc.index_in(column, value_set=pa.array([truth[1], truth[0]]))
        elif pa.types.is_floating(kind):
            column = number(column)
        columns[name] = column.cast(kind)
    return pa.table(columns)


def _xlsx(path: Path, schema: pa.Schema) -> pa.Table:
    """Sheet »Daten« of a workbook."""
    book = python_calamine.CalamineWorkbook.from_path(str(path))
    rows = book.get_sheet_by_name("Daten").to_python()
    body = [row for row in rows[1:] if any(cell != "" for cell in row)]
    columns = {}
    for position, name in enumerate(rows[0]):
        kind = schema.field(name).type if name in schema.names else pa.string()
        columns[str(name)] = pa.array([_cell(row[position], kind) for row in body], kind)
    return pa.table(columns)


def _cell(value: Any, kind: pa.DataType) -> Any:
    if value == "":
        return None
    if pa.types.is_boolean(kind):
        return {"ja": True, "nein": False}[value]
    if pa.types.is_integer(kind):
        return int(value)
    return str(value) if pa.types.is_string(kind) else value


_READERS: dict[str, Callable[[Path, pa.Schema], pa.Table]] = {
    ".parquet": _parquet,
    ".csv": _csv_en,
    "_de.csv": _csv_de,
    ".xlsx": _xlsx,
}


def _wide(path: Path, name: str, public: Public, reader: Reader) -> list[Leak]:
    """A wide table: known columns only, and every value as a fact."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), delimiter=";"))
    if not rows:
        raise Unreadable(f"{name}: leer")
    titles = [row["title_de"] for row in public.rows("indicator")]
    known = {"Gebietskennung", "Gebiet", "Zeitbezug", "Zeitraum", *[f"Zeichen: {title}" for title in titles]}
    known |= {f"{t} ({c.label_de})" for t in titles for c in CODE_LISTS["unit"]}
    text = "Diese Spalte gehört zu keinem Indikator; Datei neu schreiben."
    leaks = [Leak("unbekannte_spalte", f"{name}, Spalte {h}", text) for h in rows[0] if h not in known]
    signs = {c.sign for entries in CODE_LISTS.values() for c in entries}
    text = "Diese Zeile hat mehr oder weniger Zellen als die Kopfzeile; Datei neu schreiben."
    leaks += [Leak("widerspruch", f"{name}, {row[:4]}", text) for row in rows if len(row) != len(rows[0])]
    rows = [row for row in rows if len(row) == len(rows[0])]
    for row in rows[1:]:
        if row[1] != public.area_names.get(row[0]):
            leaks.append(Leak("nicht_ableitbar", f"{name}, {row[:4]}", "Das Gebiet heißt in mart.area anders."))
        for position, head in enumerate(rows[0]):
            if head.startswith("Zeichen: ") and not set(row[position].split()) <= signs:
                where = f"{name}, {row[0]}, {row[3]}, {head}"
                leaks.append(Leak("unbekannter_code", where, f"»{row[position]}« ist kein Zeichen der Zeichenliste."))
    reader.wide(rows, name)
    return leaks


# ---------------------------------------------------------------- other files


def check_keys(folder: Path, models: Models | None) -> list[Leak]:
    """Code lists and catalogue say what the declarations say."""
    leaks = []
    lists = {name: [(c.code, c.label_de, c.label_en, c.sign) for c in codes] for name, codes in CODE_LISTS.items()}
    if models is not None:
        levels = models.project.areas.levels
        lists["area_level"] = [(e.id, e.title.de, e.title.en or e.title.de, "") for e in levels]
    for name, expected in lists.items():
        path = folder / "schluessel" / f"{name}.csv"
        if path.exists():
            rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
            if rows != [_CODE_FILE, *[list(entry) for entry in expected]]:
                text = "Die Schlüsselliste weicht von schemas/codes.py und assets/areas ab; Datei neu schreiben."
                leaks.append(Leak("unbekannter_code", f"schluessel/{name}.csv", text))
    return leaks + (
        _catalogue(folder / CATALOGUE[0], models) + _workbooks(folder, models) if models is not None else []
    )


def _catalogue(path: Path, models: Models) -> list[Leak]:
    """The list of sources holds their public fields and nothing else."""
    if not path.exists():
        return []
    header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")), delimiter=";")
    known = ["quelle", "titel", "beschreibung", "herausgeber", "fundstelle", "lizenz", "datenherkunft"]
    known += ["uebernommen_aus", "seite"]
    expected = {source.id: set(_told_of(source)) for source in models.project.sources.values()}
    strangers = [row[0] for row in rows if not set(filter(None, row)) <= expected.get(row[0], set())]
    places = [*(["Kopfzeile"] if header != known else []), *strangers]
    text = "Hier stehen Angaben, die für die Quelle nicht erklärt sind; Datei neu schreiben."
    return [Leak("unbekannte_spalte", f"{CATALOGUE[0]}, {place}", text) for place in places]


def _told_of(source: Source) -> list[str]:
    """What may be said of a source: its public fields, as they stand in files."""
    taken = source.transcribed_from
    fields = [source.id, source.title.de, source.description.de.strip(), source.publisher, source.licence]
    fields += [source.origin, label("origin", source.origin), source.address or ""]
    return fields + ([f"{taken.publisher}: {taken.title}", taken.page or ""] if taken else [])


def _workbooks(folder: Path, models: Models) -> list[Leak]:
    """The sheets beside the data, and the properties of a workbook, hold declared texts only."""
    known = {*_HEADINGS, *[text for s in models.project.sources.values() for text in _told_of(s)]}
    for name, codes in CODE_LISTS.items():
        known |= {name, *[text for c in codes for text in (c.code, c.sign, c.label_de)]}
    release, leaks = models.project.release, []
    known |= {release.publisher, release.attribution}
    for table, base in TABLES.items():
        path, model = folder / f"{base}.xlsx", models.all.get(f"mart.{table}")
        if path.exists() and model is not None:
            here = known | {*model.columns, *[c.de for c in model.columns.values()]}
            here.add(f"{release.title.de}: {model.mart.title.de}")
            strangers = sorted({text for text in _texts_beside(path) if text.strip() and text not in here})
            text = "Dieser Text ist nirgends erklärt; Mappe neu schreiben."
            leaks += [Leak("unbekannte_spalte", f"{base}.xlsx: »{t[:60]}«", text) for t in strangers]
    return leaks


_HEADINGS = ["Spalte", "Bedeutung", "Liste", "Code", "Zeichen", "Quelle", "Titel", "Herausgeber", "Datenherkunft"]
_HEADINGS += ["Lizenz", "Fundstelle"]
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def _texts_beside(path: Path) -> list[str]:
    """Texts of a workbook outside of its data: cells of the other sheets, and the properties but for moments."""
    book = python_calamine.CalamineWorkbook.from_path(str(path))
    cells = [
        str(cell)
        for sheet in book.sheet_names
        if sheet != "Daten"
        for row in book.get_sheet_by_name(sheet).to_python()
        for cell in row
    ]
    with zipfile.ZipFile(path) as parts:
        core = html.unescape(re.sub(r"<[^>]*>", "\n", parts.read("docProps/core.xml").decode()))
    return cells + [text for text in core.splitlines() if not _MOMENT.fullmatch(text)]


def check_containers(folder: Path) -> list[Leak]:
    """What lies around the figures: Parquet footers, parts and sheets of workbooks, checksums."""
    leaks = []
    for path in sorted(folder.rglob("*.parquet")):
        name = path.relative_to(folder).as_posix()
        footer = pa.parquet.ParquetFile(path)
        for key in {**(footer.metadata.metadata or {}), **(footer.schema_arrow.metadata or {})}:
            text = "Nur DuckDB schreibt die Parquet-Dateien, und ohne eigene Angaben im Fuß; Datei neu schreiben."
            leaks.append(Leak("unbekannte_spalte", f"{name}, Fußangabe {key.decode(errors='replace')}", text))
        if not re.fullmatch(r"DuckDB version v[0-9.]+ \(build [0-9a-f]{10}\)", footer.metadata.created_by or ""):
            leaks.append(
                Leak("unbekannte_spalte", f"{name}, created_by", f"»{footer.metadata.created_by}« ist unbekannt.")
            )
    for path in sorted(folder.rglob("*.xlsx")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(f"{REPORT}/"):
            continue  # read by the check of the report
        with zipfile.ZipFile(path) as book:
            parts = [part for part in book.namelist() if not _WORKBOOK.fullmatch(part)]
        leaks += [Leak("unbekannte_datei", f"{name}, Teil {part}", "Teil der Mappe ist unbekannt.") for part in parts]
        sheets = python_calamine.CalamineWorkbook.from_path(str(path)).sheet_names
        leaks += [
            Leak("unbekannte_spalte", f"{name}, Blatt {s}", "Unbekanntes Blatt.") for s in sheets if s not in _SHEETS
        ]
    return leaks + _checksums(folder)


def _checksums(folder: Path) -> list[Leak]:
    path = folder / CHECKSUMS
    if not path.exists():
        return []
    lines = [line.partition("  ") for line in path.read_text(encoding="utf-8").splitlines()]
    listed = {name: digest for digest, _, name in lines}
    held = {name: sha256_file(folder / name) for name in names_in(folder) if name != CHECKSUMS}
    return [
        Leak("pruefsumme", f"{CHECKSUMS}: {name}", "Die Prüfsumme gehört zu keiner Datei der Veröffentlichung.")
        for name, digest in listed.items()
        if held.get(name) != digest
    ]
