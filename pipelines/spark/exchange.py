"""Where driver and executors exchange Parquet: a folder of this machine, or whatever file system Spark can reach."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from schemas.spark_settings import SparkSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType


class Exchange:
    """One run's own folder in the warehouse, and the names under which the session knows the tables in it.

    What lies there are true values: the folder goes when the run ends. Without a warehouse all stays in `local`.
    With one, files go there and come back through Hadoop's file systems, so with Spark's own settings and credentials.
    """

    def __init__(self, spark: SparkSession, settings: SparkSettings, local: Path) -> None:
        """Nothing is created yet."""
        self._spark, self._local = spark, local
        self._jvm: Any = spark.sparkContext._jvm  # noqa: SLF001 - Hadoop's file systems have no Python of their own
        self._hadoop: Any = spark.sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001
        self._catalog = settings.catalog
        run = f"sozialraum-{uuid.uuid4().hex}"
        self._away = f"{settings.warehouse.rstrip('/')}/{run}" if settings.warehouse else None
        self._names: list[str] = []

    def __enter__(self) -> Self:
        """Create the folders (mode 0700)."""
        self._local.mkdir(mode=0o700)
        if self._away:
            owner_only = self._jvm.org.apache.hadoop.fs.permission.FsPermission("700")
            self._files(self._away).mkdirs(self._path(self._away), owner_only)
        if self._catalog:
            self._spark.sql(f"CREATE SCHEMA IF NOT EXISTS {self._catalog}")
            self._spark.sql(f"USE {self._catalog}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove names and files from where others could see them."""
        for name in self._names:
            if self._catalog:
                self._spark.sql(f"DROP TABLE IF EXISTS {self._catalog}.{name}")
            else:
                self._spark.catalog.dropTempView(name)
        if self._away:
            self._files(self._away).delete(self._path(self._away), True)

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
        self._names.append(name)
        if self._catalog:
            self._spark.sql(f"DROP TABLE IF EXISTS {self._catalog}.{name}")
            self._spark.catalog.createTable(f"{self._catalog}.{name}", place, "parquet", schema)
        else:
            reader = self._spark.read.schema(schema) if schema else self._spark.read
            reader.parquet(place).createOrReplaceTempView(name)

    def _path(self, uri: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(uri)

    def _files(self, uri: str) -> Any:
        return self._path(uri).getFileSystem(self._hadoop)
