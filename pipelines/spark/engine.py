"""Computes the tables of the marts on Spark: Parquet in, the same SQL translated, Parquet out."""

from __future__ import annotations

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
from pipelines.spark.session import spark_session
from pipelines.spark.settings import read_settings
from schemas.spark_settings import SparkSettings
from schemas.yaml_source import Problem

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LOG = "spark.log"


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
        with spark_session(self.settings, self.log) as spark:
            return compute_tables(spark, statements, tables, inputs, observation, folder, self.settings)


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

    Raises:
        SparkFailed: a statement failed.
    """
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException
    from pyspark.sql.pandas.types import from_arrow_schema

    rows: dict[str, int] = {}
    step = "Eingaben"
    with Exchange(spark, settings, folder / f"spark-{uuid.uuid4().hex}") as exchange:
        try:
            for name, table in inputs.items():
                file = folder / f"{name}.parquet"
                pq.write_table(table, file)
                exchange.register(name, exchange.put(file), from_arrow_schema(table.schema))
            exchange.register(OBSERVATION_IN, exchange.put(observation))
            for step, statement in statements.items():
                place = exchange.place(step)
                frame = spark.sql(statement)
                frame.write.parquet(place)
                exchange.register(step, place, frame.schema)
                if step not in tables:  # these are counted where they arrive
                    rows[step] = spark.table(step).count()
                done(step)
            return Computed({name: exchange.get(name) for name in tables}, rows)
        except (PySparkException, Py4JError) as error:
            named = getattr(error, "getCondition", lambda: None)() or type(error).__name__
            raise SparkFailed(
                f"Spark konnte {step} nicht rechnen ({named}); Einzelheiten in data/warehouse/internal/{LOG}. "
                "Ohne Spark: sozialraum nightly"
            ) from error
