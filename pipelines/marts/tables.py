"""Builds the tables of an edition and the steps between them, some of them batch by batch.

Models that declare the same `batch` column form a chain in which rows of one value of that column depend on no others.
The chain runs once per batch of values, and its tables are appended to in the order of their key, which begins with the
column: no sort, window or join ever sees more than a batch.
"""

from __future__ import annotations

import duckdb

from pipelines.marts.inputs import CODES, OBSERVATION_IN
from pipelines.marts.models import Model, Models

WHOLE = {OBSERVATION_IN: f"memory.main.{OBSERVATION_IN}"}
"""Where all rows of an input stand that is built from in batches: its own name shows those of the batch."""

ROWS_PER_BATCH = 1_000_000
"""Rows of the observation that a batch works on, about."""


class BrokenMart(Exception):
    """A mart does not hold what it promises (columns, key); nothing is published."""


def build_tables(con: duckdb.DuckDBPyConnection, models: Models, file: str) -> dict[str, int]:
    """Build all tables and steps in the schema in use; returns the number of rows of each.

    Args:
        con: session that holds the inputs.
        models: the marts as declared.
        file: name under which the file is attached.

    Raises:
        BrokenMart: the key of a table is not unique.
    """
    for code, name in CODES.items():
        known = con.execute(f"SELECT DISTINCT {code} FROM {name} ORDER BY ALL").fetchall()
        texts = ", ".join("'" + text.replace("'", "''") + "'" for (text,) in known)
        con.execute(f"CREATE TYPE memory.main.{code}_code AS ENUM ({texts})")
    rows: dict[str, int] = dict.fromkeys((model.mart.id for model in models.order), 0)
    for unit in models.units:
        column = unit[0].mart.batch
        tables = [model for model in unit if model.mart.schema_name == "mart"]
        for model in tables:
            create_table(con, model)
        hidden = _hidden(models, unit)
        for values in _batches(con, column) if column else [[]]:
            _restrict(con, unit, hidden, values, file)
            for model in unit:
                name = model.mart.id
                rows[name] += store(con, model, model.sql or "") if model in tables else _step(con, models, model)
            for step in [model for model in unit if column and model not in tables]:
                con.execute(f"DROP TABLE {step.mart.id}")
        for table in hidden:
            show_whole(con, table)
        for model in tables:
            check_key(con, model)
    return rows


def create_table(con: duckdb.DuckDBPyConnection, model: Model) -> None:
    """An empty table with the declared columns."""
    declared = ", ".join(f"{name} {column.type}" for name, column in model.columns.items())
    con.execute(f"CREATE TABLE {model.name} ({declared})")


def store(con: duckdb.DuckDBPyConnection, model: Model, query: str) -> int:
    """Append what a query gives to a table, sorted by its key; returns the number of rows."""
    order = ", ".join(f"{key} NULLS FIRST" for key in model.mart.key)
    row = con.execute(f"INSERT INTO {model.name} SELECT * FROM ({query}\n) ORDER BY {order}").fetchone()
    return int(row[0]) if row else 0


def check_key(con: duckdb.DuckDBPyConnection, model: Model) -> None:
    """Hold that no key stands twice in a stored table: it is sorted, so equal keys are neighbours.

    Raises:
        BrokenMart: one does, or a batch has delivered rows of an earlier one.
    """
    keys = model.mart.key
    same = " AND ".join(f"{key} IS NOT DISTINCT FROM lag({key}) OVER ()" for key in keys)
    back = f"coalesce({keys[0]} < lag({keys[0]}) OVER (), FALSE)"
    wrong = con.execute(
        f"""
        SELECT {", ".join(keys)}
        FROM (SELECT {", ".join(keys)}, row_number() OVER () AS n, {same} AS twice, {back} AS back FROM {model.name})
        WHERE n > 1 AND (twice OR back)
        LIMIT 1
        """
    ).fetchall()
    if wrong:
        text = f"{model.name}: der Schlüssel ({', '.join(keys)}) ist nicht eindeutig, z. B. {wrong[0]}"
        if model.mart.batch:
            text += (
                f" (gebaut in Teilen je {model.mart.batch}: geht eine Zeile aus mehreren davon hervor, batch weglassen)"
            )
        raise BrokenMart(text)


def _batches(con: duckdb.DuckDBPyConnection, column: str) -> list[list[str]]:
    """Values of the batch column in alphabetical order, so many at once that a batch has about the rows it may have."""
    listed = CODES.get(column, OBSERVATION_IN)
    values = [v for (v,) in con.execute(f"SELECT DISTINCT {column} FROM {listed} ORDER BY ALL").fetchall()]
    found = con.execute(f"SELECT count(*) FROM {OBSERVATION_IN}").fetchone()
    assert found is not None
    number = min(-(-found[0] // ROWS_PER_BATCH), len(values)) or 1
    size = -(-len(values) // number) or 1
    return [values[start : start + size] for start in range(0, len(values), size)] or [[]]


def _hidden(models: Models, unit: list[Model]) -> list[str]:
    """Tables that a unit reads and that have its batch column; while it is built, views of the session hide them.

    Those of the unit itself, too: they hold the rows of all batches before.
    """
    column = unit[0].mart.batch
    read = {table for model in unit for table in models.reads(model.mart.id)} if column else set()
    columns = {table: set(models.inputs[table]) for table in WHOLE if table in models.inputs}
    columns |= {model.mart.id: set(model.columns) for model in models.marts}
    return sorted(table for table in read if column in columns.get(table, ()))


def show_whole(con: duckdb.DuckDBPyConnection, table: str) -> None:
    """Let a table be seen with all its rows (again)."""
    if table in WHOLE:
        con.execute(f"CREATE OR REPLACE TEMP VIEW {table} AS FROM {WHOLE[table]}")
    else:
        con.execute(f"DROP VIEW {table}")


def _restrict(
    con: duckdb.DuckDBPyConnection, unit: list[Model], hidden: list[str], values: list[str], file: str
) -> None:
    """Let a unit see only these values of the tables it reads."""
    column = unit[0].mart.batch
    wanted = ", ".join("'" + value.replace("'", "''") + "'" for value in values) or "NULL"
    for table in hidden:
        whole = WHOLE.get(table, f"{file}.mart.{table}")
        rows = f"SELECT * FROM {whole} WHERE {column} IN ({wanted})"
        con.execute(f"CREATE OR REPLACE TEMP VIEW {table} AS {rows}")


def _step(con: duckdb.DuckDBPyConnection, models: Models, model: Model) -> int:
    """Make a step that stays in this session; returns the number of rows.

    Ids are kept as numbers of a list: joins and windows over them cost a third of those over texts.
    """
    coded = [c for c in models.lineage_of(model) if c in CODES]
    casts = ", ".join(f"CAST({c} AS memory.main.{c}_code) AS {c}" for c in coded)
    chosen = f"* REPLACE ({casts})" if casts else "*"
    row = con.execute(f"CREATE TEMP TABLE {model.mart.id} AS SELECT {chosen} FROM ({model.sql}\n)").fetchone()
    return int(row[0]) if row else 0
