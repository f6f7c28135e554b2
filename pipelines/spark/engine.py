"""Computes the tables of the marts on Spark: Parquet in, the same SQL translated, Parquet out."""

from __future__ import annotations

import contextlib
import re
import traceback
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.marts.edition import Computed
from pipelines.marts.inputs import OBSERVATION_IN
from pipelines.marts.models import Models
from pipelines.project import ConfigError
from pipelines.spark.dialect import translated
from pipelines.spark.exchange import Exchange
from pipelines.spark.session import failures, spark_session
from pipelines.spark.settings import read_settings
from schemas.spark_settings import SparkSettings
from schemas.yaml_source import Problem

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG = "spark.log"
NOTE = "spark-austausch.json"
"""Names what this project has in warehouse and catalogue while it computes, and what killed runs left there."""


class SparkFailed(Exception):
    """A table could not be computed; its text names no figure."""


class SparkEngine:
    """Computes editions on Spark, one session each."""

    name = "spark"

    def __init__(self, settings: SparkSettings, log: Path) -> None:
        """Keep where to compute and where the log goes."""
        self.settings = settings
        self.log = log

    def compute(self, models: Models, inputs: Mapping[str, pa.Table], observation: Path, folder: Path) -> Computed:
        """Start a session and compute all tables; see `marts.edition.Engine`.

        Raises:
            NoSpark: no session.
            SparkFailed: a table could not be computed.
            ConfigError: a statement is not in the common dialect.
        """
        statements = translated(models)
        tables = [model.mart.id for model in models.marts]
        note = self.log.with_name(NOTE)
        with spark_session(self.settings, self.log) as spark:
            try:
                return compute_tables(spark, statements, tables, inputs, observation, folder, self.settings, note=note)
            except SparkFailed as failed:
                with self.log.open("a", encoding="utf-8") as log:  # the cause may quote figures: nowhere else
                    log.writelines(traceback.format_exception(failed.__cause__))
                raise SparkFailed(str(failed)) from None


def spark_engine(models: Models) -> SparkEngine:
    """The engine as the project's `spark.yaml` describes it.

    Raises:
        ConfigError: settings are not valid, SQL is not in the common dialect, or the tables cannot name the engine.
    """
    settings = read_settings(models.project.paths)
    translated(models)  # said before anything runs
    release = models.all["meta.release"]
    if "engine" not in release.columns:
        file, line = models.project.place(release.mart)
        raise ConfigError([Problem(file, line, "Spalte »engine« fehlt; die Datei aus dem Programm übernehmen")])
    return SparkEngine(settings, models.project.paths.internal / LOG)


def compute_tables(
    spark: SparkSession,
    statements: Mapping[str, str],
    tables: list[str],
    inputs: Mapping[str, pa.Table],
    observation: Path,
    folder: Path,
    settings: SparkSettings,
    done: Callable[[str], None] = lambda _: None,
    note: Path | None = None,
) -> Computed:
    """Run all statements in their order; each result is a folder of Parquet that the next ones read.

    Args:
        spark: a session.
        statements: Spark's SQL by table, each after those it reads.
        tables: those whose rows are wanted; of the others only their number.
        inputs: Arrow tables by name.
        observation: Parquet file of the observation.
        folder: an own folder on this machine, for what goes in and comes out.
        settings: place of exchange and catalogue.
        done: is told each table when it is computed.
        note: see `Exchange`.

    Raises:
        SparkFailed: a statement failed, the exchange did, or Spark is gone.
    """
    rows: dict[str, int] = {}
    where = settings.warehouse or settings.catalog or "data/warehouse/internal"
    doing = f"in {where} nichts anlegen"
    try:
        with Exchange(spark, settings, folder / f"spark-{uuid.uuid4().hex}", note) as exchange:
            _hand_over(exchange, inputs, observation, folder)
            for name, statement in statements.items():
                doing = f"{name} nicht rechnen"
                frame = spark.sql(statement)
                frame.write.parquet(exchange.place(name))
                exchange.register(name, exchange.place(name), frame.schema)
                if name not in tables:  # these are counted where they arrive
                    rows[name] = spark.table(name).count()
                done(name)
            doing = f"die Tabellen nicht aus {where} holen"
            folders = {name: exchange.get(name) for name in tables}
            doing = f"{where} nicht aufräumen, dort liegen noch echte Zahlen"
        return Computed(folders, rows)
    except failures() as error:
        raise SparkFailed(
            f"Spark konnte {doing} ({_reason(error)}). Zuerst die letzten Zeilen von data/warehouse/internal/{LOG} "
            "ansehen. Ohne Spark: sozialraum nightly"
        ) from error


def _hand_over(exchange: Exchange, inputs: Mapping[str, pa.Table], observation: Path, folder: Path) -> None:
    """Put what the first statements read where Spark reads it."""
    from pyspark.sql.pandas.types import from_arrow_schema

    for name, table in inputs.items():
        file = folder / f"{name}.parquet"
        pq.write_table(table, file)
        exchange.register(name, exchange.put(file), from_arrow_schema(table.schema))
    exchange.register(OBSERVATION_IN, exchange.put(observation))


def _reason(error: Exception) -> str:
    """Why, in names of errors: their texts may quote figures."""
    from py4j.protocol import Py4JError, Py4JJavaError

    # This asks the JVM, and holds if that is gone; the name of Python's own class is left out.
    told = "".join(traceback.format_exception_only(error)).partition(": ")[2]
    if isinstance(error, ConnectionError | TimeoutError | Py4JError) and not isinstance(error, Py4JJavaError):
        return "der Java-Prozess von Spark antwortet nicht mehr; oft reicht der Arbeitsspeicher nicht"
    if "No space left on device" in told:
        return "auf einem Rechner von Spark ist kein Speicherplatz mehr"
    condition = None
    with contextlib.suppress(*failures()):
        condition = getattr(error, "getCondition", lambda: None)()
    names = [condition] if condition else dict.fromkeys(re.findall(r"\b[A-Z]\w*(?:Exception|Error)\b", told))
    missing = {"ClassNotFoundException", "UnsupportedFileSystemException"} & set(names)
    hint = "; diesem Dateisystem fehlen Bibliotheken, für s3a:// ist es hadoop-aws" if missing else ""
    return ", ".join(list(names)[:3] or [type(error).__name__]) + hint
