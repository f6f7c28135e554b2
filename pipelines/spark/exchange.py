"""Where driver and executors exchange Parquet: a folder of this machine, or whatever file system Spark can reach."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pipelines.files import read_json, write_json
from pipelines.spark.session import failures
from schemas.spark_settings import SparkSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType


class Exchange:
    """One run's own folder in the warehouse and own schema in the catalogue, where the session finds the tables.

    What lies there are true values: folder and schema go when the run ends, and nothing else ever does. Without a
    warehouse all stays in `local`. With one, files go there and come back through Hadoop's file systems, so with
    Spark's own settings and credentials. A file on this machine names them while they exist: what a killed run left
    is removed by the next.
    """

    def __init__(self, spark: SparkSession, settings: SparkSettings, local: Path, note: Path | None) -> None:
        """Nothing is created yet; `note` is the file that names what exists, None if nobody comes after this run."""
        self._spark, self._settings, self._local, self._note = spark, settings, local, note
        self._jvm: Any = spark.sparkContext._jvm  # noqa: SLF001 - Hadoop's file systems have no Python of their own
        self._hadoop: Any = spark.sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001
        run = uuid.uuid4().hex
        self._away = f"{settings.warehouse.rstrip('/')}/sozialraum-{run}" if settings.warehouse else None
        self._schema = f"{settings.catalog}_{run}" if settings.catalog else None
        self._views: list[str] = []
        self._left: list[dict[str, str | None]] = []

    def __enter__(self) -> Self:
        """Remove what a killed run left; create the folders (mode 0700) and the schema."""
        self._local.mkdir(mode=0o700)
        self._remove_earlier()
        if self._away or self._schema:
            self._remember([*self._left, {"folder": self._away, "schema": self._schema}])
        if self._away:
            owner_only = self._jvm.org.apache.hadoop.fs.permission.FsPermission("700")
            self._files(self._away).mkdirs(self._path(self._away), owner_only)
        if self._schema:
            self._spark.sql(f"CREATE SCHEMA {self._schema}")  # fails if there is one: it would not be ours
            self._spark.sql(f"USE {self._schema}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove names and files from where others could see them.

        Where this fails after another failure, that one is told and the next run removes them.
        """
        try:
            for name in self._views:
                self._spark.catalog.dropTempView(name)
            self._remove(self._away, self._schema)
            self._remember(self._left)
        except failures():
            if error is None:
                raise

    def _remove(self, folder: str | None, schema: str | None) -> None:
        """The figures first, then their names."""
        if folder:
            self._files(folder).delete(self._path(folder), True)
        if schema:
            self._spark.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")

    def _remove_earlier(self) -> None:
        """Only what is noted and lies where the settings lead now; the rest stays noted."""
        noted = (read_json(self._note) if self._note else None) or []
        for entry in noted:
            folder, schema = entry["folder"], entry["schema"]
            there = (folder or "").rpartition("/")[0] == (self._settings.warehouse or "").rstrip("/")
            if there and (schema or "").rpartition("_")[0] == (self._settings.catalog or ""):
                self._remove(folder, schema)
            else:
                self._left.append(entry)

    def _remember(self, entries: list[dict[str, str | None]]) -> None:
        if self._note and entries:
            write_json(self._note, entries)
        elif self._note:
            self._note.unlink(missing_ok=True)

    def place(self, name: str) -> str:
        """Where a table of the run lies, as Spark names it."""
        return f"{self._away}/{name}" if self._away else str(self._local / name)

    def put(self, file: Path) -> str:
        """Take a Parquet file of this machine along; where Spark finds it."""
        if not self._away:
            return str(file)
        target = f"{self._away}/{file.name}"
        self._files(target).copyFromLocalFile(False, True, self._path(file.as_uri()), self._path(target))
        return target

    def get(self, name: str) -> Path:
        """A table's folder of Parquet files on this machine."""
        target = self._local / name
        if self._away:
            source = self.place(name)
            self._files(source).copyToLocalFile(False, self._path(source), self._path(target.as_uri()), True)
        return target

    def register(self, name: str, place: str, schema: StructType | None = None) -> None:
        """Let statements name the Parquet files at a place; with the schema given no job has to find it out."""
        if self._schema:
            self._spark.catalog.createTable(f"{self._schema}.{name}", place, "parquet", schema)
        else:
            self._views.append(name)
            reader = self._spark.read.schema(schema) if schema else self._spark.read
            reader.parquet(place).createOrReplaceTempView(name)

    def _path(self, uri: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(uri)

    def _files(self, uri: str) -> Any:
        return self._path(uri).getFileSystem(self._hadoop)
