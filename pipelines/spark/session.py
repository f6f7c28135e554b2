"""A Spark session with our settings: quiet, on the loopback where all runs on one machine, its log in one file."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.spark_settings import SparkSettings

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

_OURS = {
    "spark.app.name": "sozialraum-monitor",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "WARN",
    "spark.sql.ansi.enabled": "true",  # a fault is an error, as in DuckDB, and no silent NULL
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.catalogImplementation": "in-memory",
    "spark.sql.shuffle.partitions": "4",  # of small data; `conf` raises it on a cluster
    "spark.sql.codegen.logging.maxLines": "0",
    "spark.driver.extraJavaOptions": "-XX:-UsePerfData",
}
_ALONE = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}


def failures() -> tuple[type[Exception], ...]:
    """What Spark raises, and what py4j lets through when the JVM behind it is gone; what a disk refuses is neither."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return PySparkException, Py4JError, ConnectionError, TimeoutError


class NoSpark(Exception):
    """The session cannot be started; nothing was computed."""


def configured(settings: SparkSettings) -> SparkConf:
    """Our defaults, those for one machine if it is one, then what the project says."""
    from pyspark import SparkConf

    places: dict[str, str] = {}
    if settings.master.startswith("local"):
        own = _own_folder()
        places = {**_ALONE, "spark.local.dir": str(own), "spark.sql.warehouse.dir": str(own / "tables")}
    pairs = {**_OURS, **places, **settings.conf, "spark.master": settings.master}
    return SparkConf(loadDefaults=False).setAll(list(pairs.items()))


@functools.cache
def _own_folder() -> Path:
    """Spark's intermediate files on one machine: true values, so mode 0700; one folder, for a JVM never forgets it."""
    folder = Path(tempfile.mkdtemp(prefix="sozialraum-spark-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _home() -> Path:
    """A home of Spark that holds the package's files; workers of a local cluster write beside them."""
    import pyspark

    home = _own_folder() / "home"
    home.mkdir(exist_ok=True)
    for entry in Path(pyspark.__file__).parent.iterdir():
        if entry.is_dir() and not (home / entry.name).exists():
            (home / entry.name).symlink_to(entry)
    return home


@contextlib.contextmanager
def spark_session(settings: SparkSettings, log: Path) -> Iterator[SparkSession]:
    """A session that ends with the block; the JVM behind it ends with this process and serves the next session too.

    Args:
        settings: where and how.
        log: file that takes what the JVM says; created with mode 0600.

    Raises:
        NoSpark: no JVM, no master, or a setting that Spark refuses.
    """
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    refused: tuple[type[Exception], ...] = (*failures(), OSError)
    conf = configured(settings)
    if settings.master.startswith("local"):
        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    if settings.master.startswith("local-cluster"):
        os.environ.setdefault("SPARK_HOME", str(_home()))
    try:
        context = SparkContext(conf=conf, gateway=_jvm(conf, log))
        session = SparkSession(context)
    except refused as error:
        raise NoSpark(
            f"Spark ließ sich nicht starten (master: {settings.master}); zuerst die letzten Zeilen von {log} ansehen"
        ) from error
    try:
        yield session
    finally:
        with warnings.catch_warnings(action="ignore"), contextlib.suppress(*failures()):
            context.stop()  # fails where the JVM is gone, and nothing is left to stop


def _jvm(conf: SparkConf, log: Path) -> JavaGateway:
    """The process behind the sessions, with its output in a file; there is one at most."""
    from pyspark import SparkContext
    from pyspark.java_gateway import launch_gateway

    running: JavaGateway | None = SparkContext._gateway  # noqa: SLF001 - nothing else tells
    if running is not None:
        return running
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600), "wb") as output:
        return launch_gateway(conf, {"stdout": output, "stderr": output})
