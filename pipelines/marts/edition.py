"""Builds one edition of the marts: true observation -> internal file, protected observation -> public file.

Each edition has a DuckDB session of its own that is handed nothing but its observation and the declarations, so the
public session cannot reach a true value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from pipelines.files import TEMPORARY, quoted, sha256_file, sha256_text
from pipelines.marts.content import table_digest
from pipelines.marts.inputs import OBSERVATION_IN, input_tables
from pipelines.marts.models import Model, Models
from pipelines.marts.previous import Previous
from pipelines.marts.tables import WHOLE, BrokenMart, build_tables, check_key, create_table, show_whole, store
from pipelines.project import Project
from pipelines.session import connect, open_session
from schemas.codes import CODE_LISTS

STORAGE_VERSION = "v1.0.0"
"""Oldest format DuckDB 2 writes: every reader since 1.0 opens it."""

FILE = "o"

Content = Sequence[tuple[Any, ...]] | Path
"""Rows of a table of schema meta, or the Parquet file that holds them."""

REVISION = "mart.revision"
"""What changed since earlier releases: no part of the content, which is the same whichever releases are at hand."""


@dataclass
class Edition:
    """What was built."""

    file: Path
    content_hash: str
    rows: dict[str, int] = field(default_factory=dict)
    impossible: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Computed:
    """What another engine has computed: the folder of Parquet files of each table, the number of rows of each step."""

    folders: Mapping[str, Path]
    steps: Mapping[str, int]


class Engine(Protocol):
    """Another engine than DuckDB that computes the tables and the steps between them."""

    name: str
    """As it stands in `meta.release`."""

    def compute(self, models: Models, inputs: Mapping[str, pa.Table], observation: Path, folder: Path) -> Computed:
        """Compute all of `models.order`; what comes of it lies below `folder`."""


def build_edition(
    models: Models,
    observation: Path,
    target: Path,
    meta: Mapping[str, Content],
    *,
    release_id: str,
    commit: str,
    previous: Previous | None = None,
    engine: Engine | None = None,
) -> Edition:
    """Write a DuckDB file with schemas mart, api and meta; `target` is replaced.

    Args:
        models: the marts as declared.
        observation: Parquet file with the columns of `mart.observation`.
        target: file to write.
        meta: rows (or a Parquet file) of tables of schema meta by name; tables without are empty.
        release_id: id under which this edition will be known, for `meta.release`.
        commit: version of the program, for `meta.release`.
        previous: the public release that figures are compared with; without it there is none.
        engine: computes the tables, by default this session of DuckDB, which then only sorts and stores them.

    Raises:
        BrokenMart: a table's columns or key are not as declared.
    """
    for leftover in (target, target.with_name(target.name + ".wal")):
        leftover.unlink(missing_ok=True)
    previous = previous or Previous()
    with (
        tempfile.TemporaryDirectory(dir=target.parent, prefix=TEMPORARY) as scratch,
        open_session(scratch) as con,
    ):
        con.execute(f"ATTACH '{quoted(target)}' AS {FILE} (STORAGE_VERSION '{STORAGE_VERSION}')")
        for schema in ("mart", "meta", "api"):
            con.execute(f"CREATE SCHEMA {FILE}.{schema}")
        con.execute(f"USE {FILE}.mart")
        inputs = input_tables(models.project) | previous.inputs(release_id, models.project.rules)
        computed = engine.compute(models, inputs, observation, Path(scratch)) if engine else None
        _load_inputs(con, inputs, observation)
        _close(con, [observation, *[rows for rows in meta.values() if isinstance(rows, Path)]], scratch)
        rows = _take(con, models, computed) if computed else build_tables(con, models, FILE)
        edition = Edition(target, "", rows)
        edition.impossible = _impossible(con, models)
        _fill_all(con, models, meta, edition)
        edition.content_hash = _content_hash(con, models)
        release = {
            "release_id": release_id,
            "content_hash": edition.content_hash,
            "commit": commit,
            "rules": models.project.rules,
            "previous_release_id": previous.release_id,
            "engine": engine.name if engine else "duckdb",
        }
        _fill(con, models, "release", [tuple(release[column] for column in models.all["meta.release"].columns)])
        _build_all_api(con, models)
        con.execute("USE memory")
        con.execute(f"DETACH {FILE}")
    return edition


def _load_inputs(con: duckdb.DuckDBPyConnection, inputs: Mapping[str, pa.Table], observation: Path) -> None:
    for name, table in inputs.items():
        con.register(f"{name}_arrow", table)
        con.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {name}_arrow")
    con.execute(f"CREATE VIEW {WHOLE[OBSERVATION_IN]} AS SELECT * FROM read_parquet('{quoted(observation)}')")
    show_whole(con, OBSERVATION_IN)


def _fill_all(con: duckdb.DuckDBPyConnection, models: Models, meta: Mapping[str, Content], edition: Edition) -> None:
    """Tables of schema meta but for the release's own row, which names the hash of all others."""
    lineage = [(t, c, st, sc) for t, cs in models.lineage.items() for c, pairs in cs.items() for st, sc in pairs]
    fixed = {"column_lineage": lineage, "data_dictionary": list(dictionary(models))}
    given: dict[str, Content] = {m.mart.id: () for m in models.of_schema("meta") if m.mart.id != "release"}
    given |= {**meta, **fixed}
    for name, rows in given.items():
        _fill(con, models, name, _judged(rows, edition) if name == "check_result" else rows)


def _build_all_api(con: duckdb.DuckDBPyConnection, models: Models) -> None:
    """Views, macros and comments: hundreds of small statements, one write instead of one each."""
    con.execute("BEGIN")
    for model in _api_order(models):
        _build_api(con, model)
    _comment(con, models)
    con.execute("COMMIT")


_MARKED = {
    "kennzahl": ("observation", "measure_id"),
    "indikator": ("indicator_value", "indicator_id"),
    "index": ("social_index", "index_id"),
}


def figure_marks(file: Path, models: Models) -> dict[str, str]:
    """A mark per measure, indicator and index (`kennzahl/<id>`, ...) that changes with any of its figures."""
    marks: dict[str, str] = {}
    with connect(file, read_only=True) as con:
        for kind, (table, key) in _MARKED.items():
            if f"mart.{table}" in models.all:
                rows = con.execute(f"SELECT {key}, bit_xor(hash(t)) FROM mart.{table} t GROUP BY {key}").fetchall()
                marks |= {f"{kind}/{name}": str(mark) for name, mark in rows}
    return marks


def dictionary(models: Models) -> Iterable[tuple[Any, ...]]:
    """Rows of the data dictionary, from the YAML alone."""
    for name, model in sorted(models.all.items()):
        mart = model.mart
        if mart.schema_name == "step":
            continue
        yield (
            mart.schema_name,
            mart.id,
            mart.kind,
            None,
            0,
            None,
            False,
            object_comment(model),
            mart.description.en,
        )
        for position, (column, details) in enumerate(model.columns.items(), 1):
            key = column in mart.key
            yield (
                name.split(".")[0],
                mart.id,
                mart.kind,
                column,
                position,
                details.type,
                key,
                details.de,
                details.en,
            )


def object_comment(model: Model) -> str:
    """Comment of a table, view or macro: title, description, key."""
    text = f"{model.mart.title.de}. {model.mart.description.de}"
    return f"{text} Schlüssel: {', '.join(model.mart.key)}." if model.mart.key else text


def _take(con: duckdb.DuckDBPyConnection, models: Models, computed: Computed) -> dict[str, int]:
    """Store the tables that another engine has computed, sorted as always; its steps stay there."""
    rows = dict(computed.steps)
    for model in models.marts:
        files = quoted(computed.folders[model.mart.id] / "*.parquet")
        create_table(con, model)
        rows[model.mart.id] = store(con, model, f"SELECT {', '.join(model.columns)} FROM read_parquet('{files}')")
        check_key(con, model)
    return rows


def _impossible(con: duckdb.DuckDBPyConnection, models: Models) -> list[tuple[str, str, str]]:
    """Shares whose numerator exceeds the denominator: (indicator, area, period)."""
    if "mart.indicator_value" not in models.all:
        return []
    return con.execute(
        """
        SELECT v.indicator_id, v.area_id, v.period
        FROM indicator_value v JOIN indicator i USING (indicator_id)
        WHERE i.unit = 'percent' AND i.part_of_whole AND v.numerator > v.denominator
        ORDER BY ALL
        """
    ).fetchall()


def _judged(rows: Content, edition: Edition) -> list[tuple[Any, ...]]:
    """Results of the checks, with the one that only the built table can tell."""
    assert not isinstance(rows, Path)
    failed = {("tabelle", "indicator_value", "zaehler_nicht_ueber_nenner")} if edition.impossible else set()
    return [(*row[:3], row[3] and row[:3] not in failed) for row in rows]


def _fill(con: duckdb.DuckDBPyConnection, models: Models, name: str, rows: Content) -> None:
    """Create a table of schema meta and insert rows."""
    model = models.all[f"meta.{name}"]
    declared = ", ".join(f"{column} {details.type}" for column, details in model.columns.items())
    con.execute(f"CREATE TABLE {FILE}.meta.{name} ({declared})")
    if isinstance(rows, Path):
        names = ", ".join(model.columns)
        con.execute(f"INSERT INTO {FILE}.meta.{name} SELECT {names} FROM read_parquet('{quoted(rows)}')")
    elif rows:
        columns = list(zip(*rows, strict=True))
        con.register("rows_in", pa.table(dict(zip(model.columns, map(list, columns), strict=True))))
        con.execute(f"INSERT INTO {FILE}.meta.{name} SELECT * FROM rows_in")
        con.unregister("rows_in")


def _api_order(models: Models) -> list[Model]:
    """Views before macros, and views that read another view after it."""
    models_of_api = models.of_schema("api")
    return sorted(models_of_api, key=lambda m: (m.mart.kind == "macro", "api." in (m.sql or ""), m.mart.id))


def _build_api(con: duckdb.DuckDBPyConnection, model: Model) -> None:
    """Views and macros name tables as `mart.t` (schema, no catalogue): old readers need that."""
    mart = model.mart
    con.execute(f"USE {FILE}.api")
    if mart.kind == "view":
        con.execute(f"CREATE VIEW {mart.id} AS {model.sql}")
        found = [row[0] for row in con.execute(f"DESCRIBE {mart.id}").fetchall()]
        if found != list(model.columns):
            raise BrokenMart(f"api.{mart.id}: Spalten {found} weichen von defs.yaml ab")
    else:
        con.execute(f"CREATE MACRO {mart.id}({', '.join(mart.parameters)}) AS TABLE {model.sql}")


def _comment(con: duckdb.DuckDBPyConnection, models: Models) -> None:
    for model in models.all.values():
        mart = model.mart
        if mart.schema_name == "step":
            continue
        con.execute(f"USE {FILE}.{mart.schema_name}")
        kind = {"table": "TABLE", "view": "VIEW", "macro": "MACRO TABLE"}[mart.kind]
        con.execute(f"COMMENT ON {kind} {mart.id} IS {_literal(object_comment(model))}")
        for column, details in model.columns.items() if mart.kind != "macro" else []:
            con.execute(f"COMMENT ON COLUMN {mart.id}.{column} IS {_literal(details.de)}")


def _close(con: duckdb.DuckDBPyConnection, files: list[Path], folder: str) -> None:
    """From here on the session reaches no other file, whatever the SQL of a mart, view or macro says."""
    allowed = ", ".join(f"'{quoted(file)}'" for file in files)
    con.execute(f"SET allowed_paths = [{allowed}]")
    con.execute(f"SET allowed_directories = ['{quoted(Path(folder))}']")
    con.execute("SET enable_external_access = false")
    con.execute("SET lock_configuration = true")


def content_hash_of(file: Path, models: Models) -> str:
    """Content hash of a finished edition, from its tables as they stand in the file."""
    with connect() as con:
        con.execute(f"ATTACH '{quoted(file)}' AS {FILE} (READ_ONLY)")
        return _content_hash(con, models)


def _content_hash(con: duckdb.DuckDBPyConnection, models: Models) -> str:
    """Hash over all tables that figures or their meaning stand in, the SQL of views, and the feed.

    What changes without the figures changing (deliveries, check results, the release's own row) is no part of it, nor
    are the revisions: they follow from the content and that of the release before. Marts are stored sorted by a key
    that is unique, so the order of their rows is part of what they promise.
    """
    queries = {m.name: f"FROM {FILE}.{m.name}" for m in models.marts if m.name != REVISION}
    queries |= {n: f"FROM {FILE}.{n} ORDER BY ALL" for n in ("meta.column_lineage", "meta.data_dictionary")}
    parts = [text for name in sorted(queries) for text in (name, table_digest(con, queries[name]))]
    for model in models.of_schema("api"):
        parts += [model.name, model.sql or ""]
    return sha256_text(*parts, *_declared_in_feed(models.project))


def _declared_in_feed(project: Project) -> list[str]:
    """What stands in the feed beside the tables: public fields of sources, release, levels, code lists, its format."""
    hidden = {"format", "layout", "symbols", "contract", "corrections", "retracted", "files", "due"}
    documents = [s.model_dump_json(exclude=hidden) for s in project.sources.values()]
    documents += [project.release.model_dump_json(exclude={"keep", "internal"}), project.areas.model_dump_json()]
    rooms = ["release", *(["report"] if project.release.report.written else [])]
    code = [path for room in rooms for path in (Path(__file__).resolve().parent.parent / room).rglob("*")]
    writers = sorted(path for path in code if path.is_file() and path.parent.name != "__pycache__")
    return [*documents, repr(CODE_LISTS), repr(project.maps), *[sha256_file(path) for path in writers]]


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
