"""What the marts read of the release before: its shown figures, how its indicators were declared, its revisions.

Read from a finished public release and nothing else, and handed on as Arrow tables: the session that builds an edition
never learns a path. What an older release does not have yet (a table, a column) leaves its input empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.paths import DATABASE
from pipelines.session import connect

_TEXT, _NUMBER, _DATE = pa.string(), pa.float64(), pa.date32()
_FIGURE = [("indicator_id", _TEXT), ("area_id", _TEXT), ("period_type", _TEXT), ("reference_date", _DATE)]
_SCHEMAS = {
    "previous_value_in": pa.schema(
        [*_FIGURE, ("value", _NUMBER), ("numerator", _NUMBER), ("denominator", _NUMBER), ("delivery_ids", _TEXT)]
    ),
    "previous_indicator_in": pa.schema(
        [
            ("indicator_id", _TEXT),
            ("numerator", _TEXT),
            ("numerator_category", _TEXT),
            ("denominator", _TEXT),
            ("denominator_category", _TEXT),
            ("denominator_period_type", _TEXT),
            ("denominator_date", _TEXT),
            ("factor", _NUMBER),
        ]
    ),
    "previous_indicator_level_in": pa.schema(
        [("indicator_id", _TEXT), ("area_level", _TEXT), ("figure", _TEXT), ("rate_measure", _TEXT)]
    ),
    "previous_revision_in": pa.schema(
        [
            *_FIGURE,
            ("release_id", _TEXT),
            ("area_level", _TEXT),
            ("period", _TEXT),
            ("previous_release_id", _TEXT),
            ("value_before", _NUMBER),
            ("numerator_before", _NUMBER),
            ("denominator_before", _NUMBER),
            ("value_now", _NUMBER),
            ("difference", _NUMBER),
            ("cause", _TEXT),
        ]
    ),
}
_RUN = pa.schema([("release_id", _TEXT), ("rules", _TEXT), ("previous_release_id", _TEXT), ("previous_rules", _TEXT)])
_TABLES = {
    "previous_value_in": ("indicator_value", "value IS NOT NULL"),
    "previous_indicator_in": ("indicator", "TRUE"),
    "previous_indicator_level_in": ("indicator_level", "TRUE"),
    "previous_revision_in": ("revision", "TRUE"),
}


@dataclass(frozen=True)
class Previous:
    """The release that an edition is compared with; by default there is none.

    Args:
        release_id: its id.
        rules: hash of the declarations it was made with.
        tables: Arrow tables by input name.
    """

    release_id: str | None = None
    rules: str | None = None
    tables: dict[str, pa.Table] = field(default_factory=lambda: {n: s.empty_table() for n, s in _SCHEMAS.items()})

    def inputs(self, release_id: str, rules: str) -> dict[str, pa.Table]:
        """Inputs of the marts, together with what is known of the edition that is being built."""
        run = {
            "release_id": release_id,
            "rules": rules,
            "previous_release_id": self.release_id,
            "previous_rules": self.rules,
        }
        return {**self.tables, "run_in": pa.Table.from_pylist([run], schema=_RUN)}


def previous_schemas() -> dict[str, pa.Schema]:
    """Columns of the inputs about the release before, by input name."""
    return {**_SCHEMAS, "run_in": _RUN}


def read_previous(folder: Path) -> Previous:
    """Read what the marts compare with from a finished release folder.

    Raises:
        duckdb.Error: the folder holds no readable database of a release.
    """
    with connect(folder / DATABASE, read_only=True) as con:
        row = con.execute("SELECT release_id, rules FROM meta.release").fetchone()
        release_id, rules = row or (None, None)
        return Previous(release_id, rules, {name: _read(con, name) for name in _SCHEMAS})


def _read(con: duckdb.DuckDBPyConnection, name: str) -> pa.Table:
    """One input; empty if the release has not all of its columns."""
    table, condition = _TABLES[name]
    schema = _SCHEMAS[name]
    present = con.execute(
        "SELECT column_name FROM duckdb_columns() WHERE schema_name = 'mart' AND table_name = ?", [table]
    ).fetchall()
    if not set(schema.names) <= {column for (column,) in present}:
        return schema.empty_table()
    columns = ", ".join(schema.names)
    return con.sql(f"SELECT {columns} FROM mart.{table} WHERE {condition}").to_arrow_table().cast(schema)
