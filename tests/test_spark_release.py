"""A release whose tables another engine computed: last digits may differ from DuckDB's, nothing else may."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from pipelines import lock
from pipelines.audit.release import audit_release
from pipelines.clearance import Unsafe
from pipelines.marts.edition import Computed
from pipelines.marts.inputs import OBSERVATION_IN
from pipelines.marts.models import Models
from pipelines.night import Night
from pipelines.paths import Paths
from tests.conftest import FIRST_NIGHT, Quiet, create_project


@dataclass
class Elsewhere:
    """Stands for Spark: the same SQL in another session, with every limit of confidence a little off."""

    off: float
    name: str = "spark"

    def compute(self, models: Models, inputs: Mapping[str, pa.Table], observation: Path, folder: Path) -> Computed:
        rows, folders = {}, {}
        with duckdb.connect() as con:
            for name, table in inputs.items():
                con.register(name, table)
            con.execute(f"CREATE VIEW {OBSERVATION_IN} AS FROM read_parquet('{observation}')")
            for model in models.order:
                name = model.mart.id
                con.execute(f"CREATE TABLE {name} AS {model.sql}")
                if name == "indicator_value":
                    con.execute(f"UPDATE {name} SET ci_low = ci_low * (1 + {self.off})")
                folders[name] = folder / name
                folders[name].mkdir()
                con.execute(f"COPY {name} TO '{folders[name] / 'teil.parquet'}' (FORMAT parquet)")
                rows[name] = con.sql(f"SELECT count(*) FROM {name}").fetchall()[0][0]
        return Computed(folders, rows)


def publish(folder: Path, engine: Elsewhere, before: Callable[[Night], None] = lambda _: None) -> Night:
    """A night whose tables come from `engine`; a release that fails its own audit is not published.

    `before` is called when all is built and nothing published.
    """
    assert create_project(folder, Quiet()) == 0
    night = Night.begin(folder, lambda _: None, FIRST_NIGHT)
    night.engine = engine
    try:
        for step in (night.intake, night.build, night.protect, night.report, lambda: before(night), night.publish):
            step()
    finally:
        for held in list(lock._HELD.values()):
            held.release()
    return night


@pytest.fixture(scope="module")
def spark_night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return publish(tmp_path_factory.mktemp("nah") / "Stadt", Elsewhere(1e-13))


def release_of(night: Night) -> Path:
    return night.project.paths.current.resolve()


def test_last_digits_of_another_engine_do_not_stop_a_release(spark_night: Night) -> None:
    assert spark_night.publication is not None
    assert spark_night.publication.new
    release = release_of(spark_night)
    with duckdb.connect(str(release / "sozialraum.duckdb"), read_only=True) as con:
        assert con.execute("SELECT engine FROM meta.release").fetchall() == [("spark",)]
        shown = con.execute("SELECT count(*) FROM mart.indicator_value WHERE ci_low > 0").fetchall()
    assert shown > [(0,)]  # figures that do differ
    assert audit_release(release, spark_night.models).leaks == []


def test_the_same_digits_in_a_release_of_duckdb_are_a_finding(tmp_path: Path) -> None:
    with pytest.raises(Unsafe, match=r"mart\.indicator_value, Spalte ci_low"):
        publish(tmp_path / "Stadt", Elsewhere(1e-13, "duckdb"))
    assert not Paths.of(tmp_path / "Stadt").current.exists()


def test_a_night_on_duckdb_publishes_nothing_that_claims_the_tolerance_of_spark(tmp_path: Path) -> None:
    def on_duckdb(night: Night) -> None:
        night.engine = None  # while the release that is built says »spark«

    with pytest.raises(Unsafe, match=r"meta\.release, Spalte engine"):
        publish(tmp_path / "Stadt", Elsewhere(1e-13), on_duckdb)
    assert not Paths.of(tmp_path / "Stadt").current.exists()


def test_more_than_last_digits_are_a_finding_on_every_engine(tmp_path: Path) -> None:
    with pytest.raises(Unsafe, match=r"mart\.indicator_value, Spalte ci_low"):
        publish(tmp_path / "Stadt", Elsewhere(1e-7))


@pytest.mark.parametrize(
    ("statement", "where"),
    [
        (f"UPDATE meta.release SET content_hash = '{'ab' * 32}'", "meta.release, Spalte content_hash"),
        ("UPDATE meta.release SET engine = 'polars'", "meta.release, Spalte engine"),
        ("UPDATE mart.indicator_value SET ranked_n = ranked_n + 1", "mart.indicator_value, Spalte ranked_n"),
        ("UPDATE mart.area SET name = name || ' '", "mart.area, Spalte name"),
    ],
)
def test_what_is_no_number_must_be_the_same_on_every_engine(
    spark_night: Night, tmp_path: Path, statement: str, where: str
) -> None:
    release = tmp_path / release_of(spark_night).name
    shutil.copytree(release_of(spark_night), release)
    with duckdb.connect(str(release / "sozialraum.duckdb")) as con:
        con.execute(statement)
    leaks = audit_release(release, spark_night.models).leaks
    assert [leak for leak in leaks if leak.where.startswith(where)], leaks
