"""The database of a release: only what is declared, and nothing that cannot be worked out from its observation.

Each mart is built again by its own SQL in a fresh session that sees the published observation and the declarations;
whatever differs was made of something that is not published, e.g. a z-score of true values.
"""

from __future__ import annotations

import datetime as dt
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from pipelines.audit.facts import Leak, Public, Unreadable, kept_open
from pipelines.audit.release_files import CATALOGUE, PACKAGE, first_difference, names_in
from pipelines.audit.release_revision import REVISION, previous_of
from pipelines.audit.release_tokens import ENGINE
from pipelines.files import quoted
from pipelines.marts.edition import build_edition, content_hash_of, dictionary
from pipelines.marts.models import Models
from pipelines.marts.tables import BrokenMart
from pipelines.release.datapackage import MEDIA, write_datapackage
from pipelines.session import connect
from schemas.codes import CODE_LISTS

SCHEMAS = {"mart", "api", "meta"}
_UNKNOWN = "Öffentlich ist eine Liste: in assets/marts erklären oder entfernen."
_ENGINES_AGREE = 1e-9
"""Share of itself, or amount, by which a number of another engine differs from DuckDB's; measured: docs/spark.md."""
_TYPES = {"VARCHAR", "DOUBLE", "BIGINT", "INTEGER", "DATE", "BOOLEAN", "TIMESTAMP"}


# ---------------------------------------------------------------- what there is


def check_objects(file: Path, models: Models | None) -> list[Leak]:
    """Schemas, tables, views, macros, columns, types, sequences and comments that are not declared."""
    leaks = []
    with connect(file, read_only=True) as con:
        for schema, kind, name in con.execute(_OBJECTS).fetchall():
            known = kind in ("table", "view", "macro") and schema in SCHEMAS
            if models is not None and known:
                model = models.all.get(f"{schema}.{name}")
                known = model is not None and model.mart.kind == kind
            if not known:
                leaks.append(Leak("unbekannte_spalte", f"{schema}.{name} ({kind})", _UNKNOWN))
        columns = con.execute(_COLUMNS).fetchall()
        free = con.sql("SELECT free_blocks FROM pragma_database_size()").fetchall()[0][0]
    if free:
        text = "Die Datei hält gelöschte Blöcke, in denen frühere Werte stehen können; in eine neue Datei schreiben."
        leaks.append(Leak("nicht_ableitbar", file.name, text))
    for schema, name, column, kind in columns:
        model = models.all.get(f"{schema}.{name}") if models is not None else None
        declared = model.columns[column].type if model and column in model.columns else None
        if (model is not None and declared != kind) or kind not in _TYPES:
            leaks.append(Leak("unbekannte_spalte", f"{schema}.{name}, Spalte {column} ({kind})", _UNKNOWN))
    return leaks


_OBJECTS = """
    SELECT schema_name, 'schema' AS kind, schema_name AS name FROM duckdb_schemas()
    WHERE database_name = current_database() AND schema_name NOT IN ('main', 'mart', 'api', 'meta')
    UNION ALL SELECT schema_name, 'table', table_name FROM duckdb_tables() WHERE NOT internal
    UNION ALL SELECT schema_name, 'view', view_name FROM duckdb_views() WHERE NOT internal
    UNION ALL SELECT DISTINCT schema_name, CASE function_type WHEN 'table_macro' THEN 'macro' ELSE function_type END,
        function_name FROM duckdb_functions() WHERE NOT internal AND database_name = current_database()
    UNION ALL SELECT schema_name, 'type', type_name FROM duckdb_types()
    WHERE NOT internal AND database_name = current_database()
    UNION ALL SELECT schema_name, 'sequence', sequence_name FROM duckdb_sequences()
    UNION ALL SELECT schema_name, 'index', index_name FROM duckdb_indexes()
    ORDER BY ALL
"""
_COLUMNS = """
    SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()
    WHERE NOT internal AND database_name = current_database() ORDER BY ALL
"""


def check_codes(public: Public, models: Models | None) -> list[Leak]:
    """Coded columns hold codes of the lists only, and every withheld figure bears the same sign."""
    lists = {name: {c.code for c in codes} for name, codes in CODE_LISTS.items()}
    levels = {e.id for e in models.project.areas.levels} if models is not None else set(public_levels(public))
    lists |= {"area_level": levels, "level": levels}
    leaks = []
    for table, content in public.tables.items():
        for column in content.column_names:
            known = lists.get(column.rpartition("__")[2])
            for code in sorted({str(v) for v in content[column].unique().to_pylist() if v} - known) if known else []:
                text = f"»{code}« steht in keiner Schlüsselliste und kann verraten, warum eine Zahl fehlt; entfernen."
                leaks.append(Leak("unbekannter_code", f"mart.{table}, Spalte {column}", text))
    return leaks + _one_sign(public)


def public_levels(public: Public) -> list[str]:
    """Area levels, as `mart.area` has them."""
    return sorted({row["level"] for row in public.rows("area")})


_SIGNS = {"obs_status": "Q", "conf_status": "C", "is_suppressed": True, "suppression_reason": "confidential"}


def _one_sign(public: Public) -> list[Leak]:
    leaks = []
    for row in public.each("observation"):
        found = {name: row.get(name) for name in _SIGNS}
        marked = [name for name, sign in _SIGNS.items() if found[name] == sign]
        if marked and (found != _SIGNS or row["value"] is not None):
            where = (
                f"mart.observation, {row['measure_id']}, {row['category']}, {row['area_id']}, {row['reference_date']}"
            )
            text = (
                f"Diese Zahl ist nicht wie die anderen geheimen gekennzeichnet ({', '.join(map(str, found.values()))})."
            )
            leaks.append(Leak("unbekannter_code", where, text + " Ein Zeichen für alle verwenden."))
    return leaks


# ---------------------------------------------------------------- whether it follows


def check_reproduction(file: Path, public: Public, models: Models) -> list[Leak]:
    """Build everything again from the published observation and the release before; every difference is a leak.

    Always on DuckDB. What another engine computed may differ in the last digits, and its content hash is then held
    against the published tables themselves, which differ in nothing else.

    Raises:
        Unreadable: the marts cannot be built from this observation.
    """
    with tempfile.TemporaryDirectory(prefix="pruefung-") as scratch:
        observation, target = Path(scratch) / "beobachtung.parquet", Path(scratch) / "nachgebaut.duckdb"
        meta: dict[str, list[tuple[Any, ...]]] = {}
        try:
            with connect(file, read_only=True) as con:
                columns = ", ".join(models.all["mart.observation"].columns)
                con.execute(
                    f"COPY (SELECT {columns} FROM mart.observation) TO '{quoted(observation)}' (FORMAT parquet)"
                )
                meta = {n: con.execute(f"FROM meta.{n}").fetchall() for n in ("delivery", "check_result")}
                (named,) = con.sql("SELECT * FROM meta.release").to_arrow_table().to_pylist()
            release_id, content, commit = (named[column] for column in ("release_id", "content_hash", "commit"))
            other_engine = named.get(ENGINE, "duckdb") != "duckdb"
            previous = previous_of(file.parent, public).release
            edition = build_edition(
                models, observation, target, meta, release_id=release_id, commit=commit, previous=previous
            )
        except (duckdb.Error, BrokenMart, ValueError, KeyError, IndexError) as error:
            raise Unreadable(f"{file.name}: lässt sich nicht nachbauen ({error})") from error
        unknown = {REVISION} if previous is None else set()  # said by the check of the revisions, if there are any
        with kept_open(target):
            tolerance = _ENGINES_AGREE if other_engine else 0.0
            leaks = _tables(target, public, unknown, tolerance) + _objects(file, target) + _meta(file, models)
    if not leaks and content != (content_hash_of(file, models) if other_engine else edition.content_hash):
        text = "Das ist nicht die Prüfsumme dieses Inhalts; eine fremde ließe sich durch Probieren auflösen."
        leaks.append(Leak("pruefsumme", "meta.release, Spalte content_hash", text))
    return leaks


def check_engine(file: Path, engine: str) -> list[Leak]:
    """What a release says of its engine is what did compute it: another one's word would open the tolerance above.

    Args:
        file: database of the release.
        engine: the engine of the night that built it.
    """
    with connect(file, read_only=True) as con:
        (named,) = con.sql("SELECT * FROM meta.release").to_arrow_table().to_pylist()
    if named.get(ENGINE, "duckdb") == engine:
        return []
    text = f"Die Tabellen hat {engine} gerechnet, hier steht etwas anderes; Veröffentlichung neu bauen."
    return [Leak("nicht_ableitbar", f"meta.release, Spalte {ENGINE}", text)]


def _tables(target: Path, public: Public, unknown: set[str], tolerance: float) -> list[Leak]:
    """Every table of schema mart, row by row and in the same order (an order can tell a hidden value, too).

    Args:
        target: the file built again.
        public: what is published.
        unknown: tables that cannot be built again here.
        tolerance: share of itself, or amount, by which a number may differ.
    """
    leaks = []
    with connect(target, read_only=True) as con:
        names = [
            r[0] for r in con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'mart'").fetchall()
        ]
        for name in sorted({*names, *public.tables} - unknown):
            if name not in names or name not in public.tables:
                leaks.append(Leak("nicht_ableitbar", f"mart.{name}", f"Tabelle fehlt oder ist zu viel. {_UNKNOWN}"))
                continue
            rebuilt = con.sql(f'SELECT * FROM mart."{name}"').to_arrow_table()
            difference = first_difference(rebuilt, public.tables[name], tolerance, tolerance)
            if difference:
                text = "Dieser Inhalt folgt nicht aus der öffentlichen Beobachtung; aus ihr neu bauen."
                leaks.append(Leak("nicht_ableitbar", f"mart.{name}, {_row(public, name, difference)}", text))
    return leaks


def _row(public: Public, table: str, difference: str) -> str:
    """A difference with the first columns of its row, which are the key of most tables."""
    number = difference.rpartition("Zeile ")[2]
    if not number.isdigit():
        return difference
    row = public.tables[table].slice(int(number) - 1, 1).to_pylist()[0]
    return f"{difference} ({', '.join(str(value) for value in list(row.values())[:5])})"


_TEXTS = """
    WITH macros AS MATERIALIZED (
        SELECT schema_name || '.' || function_name AS name, macro_definition, parameters, comment
        FROM duckdb_functions() WHERE NOT internal AND database_name = current_database()
    )
    SELECT 'Sicht ' || schema_name || '.' || view_name, sql, comment FROM duckdb_views() WHERE NOT internal
    UNION ALL SELECT 'Makro ' || name, macro_definition, comment FROM macros
    UNION ALL SELECT 'Parameter ' || name, array_to_string(parameters, ','), NULL FROM macros
    UNION ALL SELECT 'Tabelle ' || schema_name || '.' || table_name, array_to_string(map_keys(tags), ','), comment
    FROM duckdb_tables() WHERE NOT internal
    UNION ALL SELECT 'Spalte ' || schema_name || '.' || table_name || '.' || column_name, column_default, comment
    FROM duckdb_columns() WHERE NOT internal AND database_name = current_database()
    UNION ALL SELECT 'Schema ' || schema_name, sql, comment FROM duckdb_schemas()
    WHERE database_name = current_database()
    UNION ALL SELECT 'Datenbank', NULL, comment FROM duckdb_databases() WHERE database_name = current_database()
"""


def _objects(file: Path, target: Path) -> list[Leak]:
    """SQL of views and macros, comments, defaults: the same as declared."""
    found = []
    for path in (file, target):
        with connect(path, read_only=True) as con:
            found.append({row[0]: row[1:] for row in con.execute(_TEXTS).fetchall()})
    ours, rebuilt = found
    return [
        Leak("nicht_ableitbar", name, f"SQL oder Kommentar weicht von der Erklärung ab. {_UNKNOWN}")
        for name in sorted({*ours, *rebuilt})
        if ours.get(name) != rebuilt.get(name)
    ]


def _meta(file: Path, models: Models) -> list[Leak]:
    """Rows of schema meta that are declarations: dictionary, lineage, sources of deliveries."""
    lineage = {(t, c, st, sc) for t, cs in models.lineage.items() for c, pairs in cs.items() for st, sc in pairs}
    sources = {
        s.id: (s.title.de, s.publisher, s.address, s.licence, s.origin, s.publication == "public_elsewhere")
        for s in models.project.sources.values()
    }
    leaks = []
    with connect(file, read_only=True) as con:
        if {tuple(r) for r in con.execute("FROM meta.data_dictionary").fetchall()} != set(dictionary(models)):
            leaks.append(Leak("nicht_ableitbar", "meta.data_dictionary", "Weicht von den Erklärungen ab; neu bauen."))
        if {tuple(r) for r in con.execute("FROM meta.column_lineage").fetchall()} != lineage:
            leaks.append(Leak("nicht_ableitbar", "meta.column_lineage", "Weicht vom SQL ab; neu bauen."))
        for delivery, source, *told, _, elsewhere, decision in con.execute("FROM meta.delivery").fetchall():
            named = delivery.rpartition("-")
            known = named[0] == source and named[2].isdigit() and (*told, elsewhere) == sources.get(source)
            if not known or decision not in ("accepted", "rejected", "retracted"):
                text = "Angaben zur Lieferung, die nicht erklärt sind; neu bauen."
                leaks.append(Leak("nicht_ableitbar", f"meta.delivery, {delivery}", text))
        subjects = {*models.project.sources, *[m.mart.id for m in models.all.values()]}
        for kind, subject, rule, _ in con.execute("FROM meta.check_result").fetchall():
            if (
                kind not in ("quelle", "tabelle")
                or subject not in subjects
                or not re.fullmatch("[a-z][a-z0-9_]*", rule)
            ):
                where = f"meta.check_result, {kind}, {subject}, {rule}"
                leaks.append(Leak("unbekannter_code", where, "Keine Kennung einer Quelle, Tabelle oder Regel."))
    return leaks


def check_package(folder: Path, models: Models) -> list[Leak]:
    """The table of contents is what its writer makes of these files and the declarations.

    Raises:
        Unreadable: it is no JSON object, or its moment is none.
    """
    path = folder / PACKAGE
    if not path.exists():
        return []
    try:
        published = json.loads(path.read_text(encoding="utf-8"))
        created = dt.datetime.fromisoformat(published["created"])
        content = str(published["contentHash"]).removeprefix("sha256:")
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(f"{PACKAGE}: {error}") from error
    with tempfile.TemporaryDirectory(prefix="pruefung-") as scratch:
        for name in names_in(folder):
            if Path(name).suffix in MEDIA:
                link = Path(scratch) / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to((folder / name).resolve())
        write_datapackage(Path(scratch), models, str(published["id"]), content, created)
        rewritten = json.loads((Path(scratch) / PACKAGE).read_text(encoding="utf-8"))
    text = "Das Inhaltsverzeichnis weicht von dem ab, was sich aus Dateien und Erklärungen ergibt; neu schreiben."
    ours, expected = _by_path(published), _by_path(rewritten)
    missing = {CATALOGUE[1]} - set(ours)  # the audit's own report is written after it
    return [
        Leak("nicht_ableitbar", f"{PACKAGE}, {place}", text)
        for place in sorted({*ours, *expected} - missing)
        if ours.get(place) != expected.get(place)
    ]


def _by_path(package: dict[str, Any]) -> dict[str, Any]:
    """Entries of a table of contents, each file by its path."""
    resources = {str(resource.get("path")): resource for resource in package.get("resources", [])}
    return {**{key: value for key, value in package.items() if key != "resources"}, **resources}


__all__ = ["check_codes", "check_engine", "check_objects", "check_package", "check_reproduction", "public_levels"]
