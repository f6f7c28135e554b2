"""Computes all tables of a project on DuckDB and on Spark from one observation and compares them row by row.

`PYTHONPATH=. python -m benchmarks.spark_equality PROJECT [--master local[2]]` prints a table in Markdown; exit code 1
if a table differs. The project needs a finished night (its observation is read). Texts, counts, ranks and classes must
be the same; a number may differ by 1e-9, of itself or as it stands.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.files import quoted
from pipelines.marts.edition import Computed, build_edition
from pipelines.marts.inputs import OBSERVATION_IN
from pipelines.marts.models import Models
from pipelines.project import load_project
from pipelines.spark.dialect import translated
from pipelines.spark.engine import compute_tables
from pipelines.spark.session import spark_session
from schemas.spark_settings import SparkSettings

TOLERANCE = 1e-9
CLUSTER = "local-cluster[2,1,1024]"


@dataclass
class Clock:
    """Seconds between one table and the next."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self.last = now - self.last, now


@dataclass
class OnDuckDB:
    """The statements as written, each result as Parquet: what Spark does, on DuckDB."""

    name = "duckdb"
    clock: Clock = field(default_factory=Clock)

    def compute(self, models: Models, inputs: Mapping[str, pa.Table], observation: Path, folder: Path) -> Computed:
        rows, folders = {}, {}
        with duckdb.connect() as con:
            for name, table in inputs.items():
                con.register(name, table)
            con.execute(f"CREATE VIEW {OBSERVATION_IN} AS FROM read_parquet('{quoted(observation)}')")
            self.clock("")
            for model in models.order:
                name = model.mart.id
                folders[name] = folder / name
                folders[name].mkdir()
                con.execute(f"COPY ({model.sql}) TO '{quoted(folders[name] / 'part.parquet')}' (FORMAT parquet)")
                con.execute(f"CREATE VIEW {name} AS FROM read_parquet('{quoted(folders[name])}/*.parquet')")
                rows[name] = con.sql(f"SELECT count(*) FROM {name}").fetchall()[0][0]
                self.clock(name)
        return Computed(folders, rows)


@dataclass
class OnSpark:
    """The statements translated, in a session of its own."""

    settings: SparkSettings
    log: Path
    name = "spark"
    clock: Clock = field(default_factory=Clock)

    def compute(self, models: Models, inputs: Mapping[str, pa.Table], observation: Path, folder: Path) -> Computed:
        tables = [model.mart.id for model in models.marts]
        statements = translated(models)
        with spark_session(self.settings, self.log) as spark:
            self.clock("")
            return compute_tables(spark, statements, tables, inputs, observation, folder, self.settings, self.clock)


@dataclass(frozen=True)
class Compared:
    """One table on both engines; `largest` is the largest difference of a number, relative to it."""

    table: str
    rows: int
    columns: int
    largest: float
    equal: bool
    where: str


def compare_files(ours: Path, theirs: Path) -> Iterator[Compared]:
    """Every table of schema mart in two editions, in the order of their keys."""
    with duckdb.connect(str(ours), read_only=True) as a, duckdb.connect(str(theirs), read_only=True) as b:
        names = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'mart' ORDER BY ALL"
        tables = [name for (name,) in a.execute(names).fetchall()]
        assert tables == [name for (name,) in b.execute(names).fetchall()]
        for table in tables:
            left, right = (con.sql(f"FROM mart.{table}").to_arrow_table() for con in (a, b))
            yield compared(table, left, right)


def compared(name: str, left: pa.Table, right: pa.Table) -> Compared:
    """Compare two tables row by row; row n of one belongs to row n of the other."""
    if left.schema != right.schema or left.num_rows != right.num_rows:
        return Compared(name, right.num_rows, right.num_columns, 0.0, False, f"{left.num_rows} rows on DuckDB")
    largest, wrong = 0.0, []
    for column in left.column_names:
        ours, theirs = left[column].combine_chunks(), right[column].combine_chunks()
        if pa.types.is_floating(ours.type):
            gap = pc.abs(pc.subtract(ours, theirs))
            size = pc.max_element_wise(pc.abs(ours), pc.abs(theirs))
            largest = max(largest, pc.max(pc.if_else(pc.greater(gap, 0), pc.divide(gap, size), 0.0)).as_py() or 0.0)
            near = pc.or_(pc.less_equal(gap, TOLERANCE), pc.less_equal(gap, pc.multiply(size, TOLERANCE)))
            same = pc.and_(pc.equal(pc.is_null(ours), pc.is_null(theirs)), pc.fill_null(near, True))
            if not pc.all(same, min_count=0).as_py():
                wrong.append(f"{column}, row {pc.index(same, False).as_py() + 1}")
        elif not ours.equals(theirs):
            wrong.append(column)
    return Compared(name, right.num_rows, right.num_columns, largest, not wrong, "; ".join(wrong))


def run(project: Path, master: str) -> int:
    models = Models(load_project(project))
    observation = models.project.paths.internal / "beobachtung.parquet"
    with tempfile.TemporaryDirectory(prefix="sozialraum-gleichheit-") as scratch:
        place = Path(scratch)
        on_duckdb, on_spark = OnDuckDB(), OnSpark(SparkSettings(master=master), place / "spark.log")
        files, hashes = {}, {}
        for engine in (None, on_duckdb, on_spark):
            name = engine.name if engine else "plain"
            files[name] = place / f"{name}.duckdb"
            edition = build_edition(models, observation, files[name], {}, release_id="x", commit="x", engine=engine)
            hashes[name] = edition.content_hash
        assert hashes["plain"] == hashes["duckdb"]  # the way through Parquet changes nothing
        found = list(compare_files(files["plain"], files["spark"]))
    print("| Table | Rows | Columns | Largest relative difference | Equal | DuckDB s | Spark s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in found:
        times = f"{on_duckdb.clock.seconds[row.table]:.2f} | {on_spark.clock.seconds[row.table]:.1f}"
        verdict = "yes" if row.equal else f"NO: {row.where}"
        print(f"| {row.table} | {row.rows:,} | {row.columns} | {row.largest:.1e} | {verdict} | {times} |")
    totals = [sum(s for name, s in c.seconds.items() if name) for c in (on_duckdb.clock, on_spark.clock)]
    steps = len(models.order) - len(found)
    print(f"\nTables and the {steps} steps between them: DuckDB {totals[0]:.1f} s, Spark {totals[1]:.1f} s ({master})")
    return 0 if all(row.equal for row in found) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--master", default=CLUSTER)
    arguments = parser.parse_args()
    return run(arguments.project, arguments.master)


if __name__ == "__main__":
    sys.exit(main())
