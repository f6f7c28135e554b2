"""The marts on real Spark, with executors in processes of their own, against DuckDB; also when an executor is killed.

What is compared comes from constructed worlds and, in `make soak`, from the shipped project.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.spark_equality import CLUSTER, compare_files, compared
from benchmarks.worlds import make_world
from pipelines.exit_codes import EXIT_OK
from pipelines.marts.edition import Computed, build_edition
from pipelines.marts.inputs import input_tables
from pipelines.marts.models import Models
from pipelines.marts.previous import Previous, read_previous
from pipelines.night import Night
from pipelines.paths import DATABASE
from pipelines.project import load_project
from pipelines.spark.dialect import FUNCTIONS, spark_sql, translated
from pipelines.spark.engine import SparkFailed, compute_tables
from pipelines.spark.exchange import Exchange
from pipelines.spark.session import spark_session
from schemas.spark_settings import SparkSettings
from tests.conftest import ROOT, Quiet, create_project, sozialraum
from tests.spark_here import need_spark

SOAK = os.environ.get("SOAK") == "1"
QUICK = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -XX:-UsePerfData"
"""A JVM that lives for a minute spends most of it on compiling itself; this halves that."""
CONF = {
    "spark.driver.extraJavaOptions": QUICK,
    "spark.executor.extraJavaOptions": QUICK,
    "spark.sql.shuffle.partitions": "2",
}
SETTINGS = SparkSettings(master=CLUSTER, conf=CONF)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spark") / "spark.log"


@pytest.fixture(scope="module")
def spark(log: Path) -> Iterator[Any]:
    """One session for all: a master, two workers with an executor each, and the driver, all on the loopback."""
    need_spark()
    with spark_session(SETTINGS, log) as session:
        yield session


def executors() -> list[int]:
    """Process ids of executors below this process."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # a process that ended meanwhile
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if b"CoarseGrainedExecutorBackend" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    ours = {os.getpid()}
    for _ in range(4):  # the driver's JVM, its executors
        ours |= {pid for pid, parent in parents.items() if parent in ours}
    return [pid for pid in found if pid in ours]


def eventually(holds: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.05)
    return holds()


# ---------------------------------------------------------------- the functions

ROWS = "(SELECT 1 AS n, 2.0e0 AS x, 'b;a;b' AS s, DATE '2024-02-29' AS d, TRUE AS t, 'k' AS g UNION ALL SELECT 2 AS n, \
-4.0e0 AS x, CAST(NULL AS VARCHAR) AS s, DATE '2023-12-31' AS d, FALSE AS t, 'k' AS g UNION ALL SELECT 3 AS n, \
CAST(NULL AS DOUBLE) AS x, '' AS s, CAST(NULL AS DATE) AS d, CAST(NULL AS BOOLEAN) AS t, 'k' AS g) AS r"
# What each function gives for the three rows above (n = 1, 2, 3), worked out by hand.
SCALAR: dict[str, tuple[str, list[Any]]] = {
    "abs": ("abs(x)", [2.0, 4.0, None]),
    "list_distinct": ("array_to_string(list_sort(list_distinct(string_split(s, ';'))), ';')", ["a;b", None, ""]),
    "list_sort": ("array_to_string(list_sort(string_split(s, ';')), '+')", ["a+b+b", None, ""]),
    "array_to_string": ("array_to_string(string_split(s, ';'), '/')", ["b/a/b", None, ""]),
    "string_split": ("array_to_string(string_split(s, 'a'), '')", ["b;;b", None, ""]),
    "cast": ("CAST(d AS VARCHAR) || CAST(n AS VARCHAR)", ["2024-02-291", "2023-12-312", None]),
    "coalesce": ("coalesce(x, 9.0e0)", [2.0, -4.0, 9.0]),
    "concat_ws": ("concat_ws(';', s, 'z')", ["b;a;b;z", "z", ";z"]),
    "make_date": ("make_date(year(d), 12, 31)", [dt.date(2024, 12, 31), dt.date(2023, 12, 31), None]),
    "day": ("day(d)", [29, 31, None]),
    "month": ("month(d)", [2, 12, None]),
    "year": ("year(d)", [2024, 2023, None]),
    "exp": ("round(exp(x), 6)", [7.389056, 0.018316, None]),
    "greatest": ("greatest(x, n, 1.5e0)", [2.0, 2.0, 3.0]),  # empty ones do not count
    "least": ("least(x, n, 1.5e0)", [1.0, -4.0, 1.5]),
    "ln": ("round(ln(abs(x)), 6)", [0.693147, 1.386294, None]),
    "nullif": ("n / nullif(x - 2.0e0, 0.0e0)", [None, -1 / 3, None]),
    "power": ("power(x, 2.0e0)", [4.0, 16.0, None]),
    "round": ("round(x / 3.0e0 + 0.5e0, 2)", [1.17, -0.83, None]),
    "sqrt": ("sqrt(abs(x))", [2**0.5, 2.0, None]),
}
TOTAL: dict[str, tuple[str, Any]] = {
    "bool_and": ("bool_and(t)", False),
    "bool_or": ("bool_or(t)", True),
    "count": ("count(x) * 100 + count(*) * 10 + count(DISTINCT g)", 231),
    "max": ("max(s)", "b;a;b"),
    "min": ("min(d)", dt.date(2023, 12, 31)),
    "string_agg": ("array_to_string(list_sort(string_split(string_agg(nullif(s, ''), ';'), ';')), ';')", "a;b;b"),
    "sum": ("CAST(sum(CAST(x / 3.0e0 AS DECIMAL(38, 15))) AS DOUBLE)", -0.666666666666666),
}
OVER = "OVER (PARTITION BY g ORDER BY x)"
WINDOW: dict[str, tuple[str, list[Any]]] = {  # in ascending order the empty value comes last
    "rank": (f"CAST(rank() {OVER} AS INTEGER)", [2, 1, 3]),
    "dense_rank": ("CAST(dense_rank() OVER (ORDER BY g) AS INTEGER)", [1, 1, 1]),
    "row_number": (f"CAST(row_number() {OVER} AS INTEGER)", [2, 1, 3]),
    "lag": ("lag(n, 1) OVER (PARTITION BY g ORDER BY n)", [None, 1, 2]),
}


def on_both(spark: Any, sql: str) -> list[list[dict[str, Any]]]:
    """Rows of a statement on DuckDB and on Spark."""
    theirs = [row.asDict() for row in spark.sql(spark_sql(sql)).collect()]
    return [duckdb.sql(sql).to_arrow_table().to_pylist(), theirs]


def test_every_allowed_function_gives_the_same_on_both_engines(spark: Any) -> None:
    assert set(FUNCTIONS.values()) == {*SCALAR, *TOTAL, *WINDOW}  # a new function comes with its example
    by_row = SCALAR | WINDOW
    columns = ", ".join(f"{sql} AS f_{name}" for name, (sql, _) in by_row.items())
    for rows in on_both(spark, f"SELECT n, {columns} FROM {ROWS} ORDER BY n"):
        for name, (_, expected) in by_row.items():
            assert [row[f"f_{name}"] for row in rows] == [
                pytest.approx(value, rel=1e-12) if isinstance(value, float) else value for value in expected
            ], name
    columns = ", ".join(f"{sql} AS f_{name}" for name, (sql, _) in TOTAL.items())
    for (row,) in on_both(spark, f"SELECT {columns} FROM {ROWS}"):
        for name, (_, value) in TOTAL.items():
            expected = pytest.approx(value, rel=1e-12) if isinstance(value, float) else value
            assert row[f"f_{name}"] == expected, name


def test_halves_are_rounded_away_from_zero_and_quotients_are_no_integers_on_both(spark: Any) -> None:
    sql = (
        "SELECT round(0.5e0, 0) AS a, round(-2.5e0, 0) AS b, 7 / 2 AS c, "
        "1 = NULL AS d, NULL IS DISTINCT FROM 1 AS e, 'ä' < 'z' AS f"
    )
    expected = {"a": 1.0, "b": -3.0, "c": 3.5, "d": None, "e": True, "f": False}
    assert on_both(spark, sql) == [[expected], [expected]]


def test_semi_and_anti_joins_as_marts_write_them(spark: Any) -> None:
    within = "SELECT n FROM {rows} WHERE {no} EXISTS (SELECT 1 FROM {other} WHERE s.n = r.n) ORDER BY n"
    other = ROWS.replace(" AS r", " AS s")
    for no, expected in (("", [1, 2, 3]), ("NOT", [])):
        for rows in on_both(spark, within.format(rows=ROWS, no=no, other=other)):
            assert [row["n"] for row in rows] == expected
    for rows in on_both(spark, f"SELECT n FROM {ROWS} WHERE n IN (SELECT n FROM {other} WHERE t) ORDER BY n"):
        assert [row["n"] for row in rows] == [1]


# ---------------------------------------------------------------- equality


class Session:
    """Computes editions in the session that is already there."""

    name = "spark"

    def __init__(self, spark: Any, done: Callable[[str], None] = lambda _: None) -> None:
        self.spark, self.done = spark, done

    def compute(self, models: Models, inputs: Mapping[str, pa.Table], observation: Path, folder: Path) -> Computed:
        tables = [model.mart.id for model in models.marts]
        return compute_tables(self.spark, translated(models), tables, inputs, observation, folder, SETTINGS, self.done)


class Killer:
    """Kills executors with SIGKILL while their tasks run, each time after another table."""

    def __init__(self, spark: Any, after: list[str]) -> None:
        self.tracker = spark.sparkContext.statusTracker()
        self.after, self.killed = list(after), []
        self.threads: list[threading.Thread] = []

    def __call__(self, table: str) -> None:
        if table in self.after:
            self.threads.append(threading.Thread(target=self.strike))
            self.threads[-1].start()

    def strike(self) -> None:
        if eventually(self.busy) and (found := executors()):
            os.kill(found[0], signal.SIGKILL)
            self.killed.append(found[0])

    def busy(self) -> bool:
        stages = [self.tracker.getStageInfo(stage) for stage in self.tracker.getActiveStageIds()]
        return any(stage and stage.numActiveTasks for stage in stages)


def add_index(folder: Path) -> None:
    """A composite index over all indicators of a world, with dynamics."""
    names = sorted(path.parent.name for path in folder.glob("assets/anteil_*/defs.yaml"))
    classes = [
        {"id": "hoch", "title": {"de": "hoch"}, "below": -1},
        {"id": "mittel", "title": {"de": "mittel"}, "up_to": 1},
        {"id": "niedrig", "title": {"de": "niedrig"}},
    ]
    document = {
        "type": "pipelines.components.IndexComponent",
        "attributes": {
            "id": "lage",
            "title": {"de": "Lage"},
            "definition": {"de": "Konstruierter Index"},
            "indicators": [{"indicator": name, "weight": 1.0 + n} for n, name in enumerate(names)],
            "universe": {"level": "gebiet"},
            "levels": ["gebiet", "planungsraum"],
            "classes": classes,
            "dynamics": {"years": 2, "classes": classes},
            "owner": "team:sozialplanung",
        },
    }
    target = folder / "assets/indexes/lage/defs.yaml"
    target.parent.mkdir(parents=True)
    target.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")


def observe(folder: Path) -> Night:
    """Intake and true observation of a project; nothing is published."""
    night = Night.begin(folder, lambda _: None)
    night.intake()
    night.build()
    return night


def earlier(night: Night, folder: Path) -> Previous:
    """A release in which every tenth count was one higher: so there are revisions."""
    folder.mkdir()
    observation = folder / "beobachtung.parquet"
    duckdb.execute(
        f"COPY (SELECT * REPLACE (CASE WHEN row_number() OVER () % 10 = 0 THEN value + 1 ELSE value END AS value) "
        f"FROM '{night.observation}') TO '{observation}'"
    )
    build_edition(night.models, observation, folder / DATABASE, {}, release_id="davor", commit="x")
    return read_previous(folder)


def check_equal(night: Night, spark: Any, folder: Path, done: Callable[[str], None]) -> dict[str, int]:
    """Build on both engines and compare every table; returns its rows."""
    previous = earlier(night, folder / "davor")
    ours, theirs = folder / "duckdb.duckdb", folder / "spark.duckdb"
    for file, engine in ((ours, None), (theirs, Session(spark, done))):
        build_edition(
            night.models, night.observation, file, {}, release_id="x", commit="x", previous=previous, engine=engine
        )
    found = list(compare_files(ours, theirs))
    assert [(row.table, row.where) for row in found if not row.equal] == []
    with duckdb.connect(str(theirs), read_only=True) as con:
        assert con.execute("SELECT engine FROM meta.release").fetchall() == [("spark",)]
    return {row.table: row.rows for row in found}


def test_executors_are_processes_of_their_own(spark: Any) -> None:
    assert spark.range(100).repartition(4).count() == 100
    assert eventually(lambda: len(executors()) == 2)
    assert os.getpid() not in executors()


@pytest.mark.soak
def test_every_mart_of_a_world_equals_duckdb_row_by_row_though_an_executor_is_killed(
    spark: Any, log: Path, tmp_path: Path
) -> None:
    world = tmp_path / "Welt"
    make_world(world, *((30, 8, 4) if SOAK else (30, 6, 2)), internal=True)
    add_index(world)
    night = observe(world)
    killer = Killer(spark, ["indicator_figure", "indicator_series", "index_sum"] if SOAK else ["indicator_series"])
    rows = check_equal(night, spark, tmp_path, killer)
    for thread in killer.threads:
        thread.join()
    assert len(killer.killed) == len(killer.after)  # it did happen, while tasks ran
    assert not set(killer.killed) & set(executors())
    assert len(re.findall(r"Lost executor \d+ .*code 137", log.read_text())) >= len(killer.killed)
    assert min(rows[table] for table in ("indicator_value", "social_index", "social_index_part", "revision")) > 10


@pytest.mark.soak
@pytest.mark.skipif(not SOAK, reason="the shipped project on Spark takes minutes; make soak")
def test_every_mart_of_the_shipped_project_equals_duckdb_row_by_row(spark: Any, tmp_path: Path) -> None:
    folder = tmp_path / "Kiel"
    shutil.copytree(ROOT / "assets", folder / "assets")
    shutil.copytree(ROOT / "data/raw", folder / "data/raw")
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")
    night = observe(folder)
    killer = Killer(spark, ["indicator_series", "index_sum"])
    rows = check_equal(night, spark, tmp_path, killer)
    assert len(killer.killed) == 2
    assert rows["indicator_value"] > 4000
    assert rows["social_index"] > 300


def test_comparison_sees_what_differs() -> None:
    left = pa.table({"id": ["a", "b"], "n": [1, 2], "x": [1.0, None]})
    assert compared("t", left, left).equal
    for column, values in {"id": ["a", "c"], "n": [1, 3], "x": [1.0 + 1e-8, None]}.items():
        position = left.column_names.index(column)
        other = left.set_column(position, column, pa.array(values, left.schema.field(column).type))
        assert not compared("t", left, other).equal, column
    near = left.set_column(2, "x", pa.array([1.0 + 1e-12, None]))
    assert compared("t", left, near).equal
    assert compared("t", left, near).largest == pytest.approx(1e-12, rel=1e-3)
    assert not compared("t", left, left.set_column(2, "x", pa.array([1.0, 0.0]))).equal
    assert not compared("t", left, left.slice(0, 1)).equal


# ---------------------------------------------------------------- exchange, catalogue, failures


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder = tmp_path_factory.mktemp("klein") / "Stadt"
    create_project(folder, Quiet())
    return Models(load_project(folder))


def compute(
    spark: Any, models: Models, folder: Path, settings: SparkSettings, note: Path | None = None, **statements: str
) -> Computed:
    observation = folder / "beobachtung.parquet"
    pq.write_table(pa.table({"area_id": ["a"], "value": [12345.5]}), observation)
    inputs = {name: table for name, table in input_tables(models.project).items() if name in ("area_in", "category_in")}
    written = {name: spark_sql(sql) for name, sql in statements.items()}
    return compute_tables(spark, written, list(written), inputs, observation, folder, settings, note=note)


AREAS = "SELECT area_id, level FROM area_in"
COUNTED = "SELECT level, count(*) AS n FROM area GROUP BY level"


@pytest.mark.parametrize("catalog", [None, "spark_catalog.sozialraum"])
def test_a_warehouse_is_used_through_sparks_file_systems_and_left_empty(
    spark: Any, small: Models, tmp_path: Path, catalog: str | None
) -> None:
    warehouse = tmp_path / "lager"
    warehouse.mkdir()
    seen: list[int] = []
    settings = SETTINGS.model_copy(update={"warehouse": warehouse.as_uri(), "catalog": catalog})
    inside = tmp_path / "rechner"
    inside.mkdir()

    def look() -> None:
        while not seen:
            full = [path for path in warehouse.iterdir() if list(path.iterdir())]
            seen.extend(stat.S_IMODE(path.stat().st_mode) for path in full)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    computed = compute(spark, small, inside, settings, area=AREAS, counted=COUNTED)
    assert duckdb.sql(f"SELECT sum(n) FROM '{computed.folders['counted']}/*.parquet'").fetchall() == [
        (len(small.project.directory.areas),)
    ]
    assert computed.folders["counted"].is_relative_to(inside)
    assert list(warehouse.iterdir()) == []
    assert seen == [0o700]
    if catalog:
        assert [row.namespace for row in spark.sql("SHOW SCHEMAS IN spark_catalog").collect()] == ["default"]
        spark.sql("USE spark_catalog.default")


def test_a_table_of_others_in_the_catalogue_survives(spark: Any, small: Models, tmp_path: Path) -> None:
    spark.sql("CREATE SCHEMA spark_catalog.amt")
    try:
        spark.sql("CREATE TABLE spark_catalog.amt.area USING parquet AS SELECT 7 AS n")
        settings = SETTINGS.model_copy(update={"catalog": "spark_catalog.amt"})
        compute(spark, small, tmp_path, settings, area=AREAS, counted=COUNTED)
        assert [row.n for row in spark.table("spark_catalog.amt.area").collect()] == [7]
        assert [row.namespace for row in spark.sql("SHOW SCHEMAS LIKE 'amt*'").collect()] == ["amt"]
    finally:
        spark.sql("USE spark_catalog.default")
        spark.sql("DROP SCHEMA spark_catalog.amt CASCADE")


def test_what_a_killed_run_left_outside_goes_with_the_next_and_nothing_else_does(
    spark: Any, small: Models, tmp_path: Path
) -> None:
    warehouse, note = tmp_path / "lager", tmp_path / "notiz.json"
    (inside := tmp_path / "rechner").mkdir()
    settings = SETTINGS.model_copy(update={"warehouse": warehouse.as_uri(), "catalog": "spark_catalog.amt"})
    (foreign := warehouse / "sozialraum-einer-anderen-stadt").mkdir(parents=True)
    Exchange(spark, settings, tmp_path / "tot", note).__enter__()  # ends here, as if killed
    left = [path for path in warehouse.iterdir() if path != foreign]
    assert (len(left), len(json.loads(note.read_text()))) == (1, 1)
    try:
        compute(spark, small, inside, settings, note, area=AREAS)
        assert list(warehouse.iterdir()) == [foreign]
        assert [row.namespace for row in spark.sql("SHOW SCHEMAS LIKE 'amt*'").collect()] == []
        assert not note.exists()
    finally:
        spark.sql("USE spark_catalog.default")


def test_a_file_system_without_its_libraries_is_said_in_a_sentence(spark: Any, small: Models, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"warehouse": "s3a://eimer/austausch"})
    with pytest.raises(SparkFailed, match="in s3a://eimer/austausch nichts anlegen") as caught:
        compute(spark, small, tmp_path, settings, area=AREAS)
    said = str(caught.value)
    assert "für s3a:// ist es hadoop-aws" in said
    assert "spark.log" in said
    assert "\n" not in said
    assert "\tat " not in said


def test_a_statement_that_fails_is_named_without_a_figure(spark: Any, small: Models, tmp_path: Path) -> None:
    failing = "SELECT CAST(CAST(value AS VARCHAR) AS DATE) AS d FROM observation_in"
    with pytest.raises(SparkFailed, match="Spark konnte heikel nicht rechnen") as caught:
        compute(spark, small, tmp_path, SETTINGS, area=AREAS, heikel=failing)
    assert "12345" not in str(caught.value)


KILLED = """
import os, signal, sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from pipelines.marts.models import Models
from pipelines.project import load_project
from pipelines.spark import engine
from schemas.spark_settings import SparkSettings
from tests.test_spark import CONF

folder = Path(sys.argv[1])
models = Models(load_project(folder / "Stadt"))
pq.write_table(pa.table({"area_id": ["a"], "value": [12345.5]}), folder / "beobachtung.parquet")
real = engine._hand_over
def kill(exchange, *given):
    real(exchange, *given)
    (jvm,) = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    os.kill(int(jvm), signal.SIGKILL)
engine._hand_over = kill
settings = SparkSettings(master="local[1]", conf=CONF, warehouse=(folder / "lager").as_uri())
try:
    engine.SparkEngine(settings, folder / "spark.log").compute(models, {}, folder / "beobachtung.parquet", folder)
except engine.SparkFailed as failed:
    print(failed, failed.__cause__, failed.__suppress_context__)
"""


def test_a_jvm_that_is_killed_is_said_in_a_sentence(tmp_path: Path) -> None:
    need_spark()
    create_project(tmp_path / "Stadt", Quiet())
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert "Spark konnte " in run.stdout
    assert "der Java-Prozess von Spark antwortet nicht mehr" in run.stdout
    assert run.stdout.endswith("Ohne Spark: sozialraum nightly None True\n")
    assert "Traceback" in (tmp_path / "spark.log").read_text()
    noted = json.loads((tmp_path / "spark-austausch.json").read_text())  # for the next run
    assert [Path(entry["folder"].removeprefix("file://")).name for entry in noted] == [
        path.name for path in (tmp_path / "lager").iterdir()
    ]


@pytest.mark.soak
def test_night_on_spark_publishes_and_the_next_night_has_nothing_new(project: Path) -> None:
    need_spark()
    settings = {"master": "local[2]", "conf": CONF}
    (project / "spark.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    if not SOAK:
        with (project / "assets/release/defs.yaml").open("a", encoding="utf-8") as file:
            file.write("  internal: true\n")
    run = sozialraum("nightly", "--engine", "spark", "--project", project, timeout=600)
    assert run.returncode == EXIT_OK, run.stdout + run.stderr
    assert run.stderr == ""
    place = "warehouse/sozialraum.duckdb" if SOAK else "warehouse/internal/internal.duckdb"
    with duckdb.connect(str((project / "data" / place).resolve()), read_only=True) as con:
        assert con.execute("SELECT engine FROM meta.release").fetchall() == [("spark",)]
        assert con.execute("SELECT count(*) FROM mart.indicator_value").fetchall() == [(8,)]
    again = sozialraum("nightly", "--project", project)
    assert (again.returncode, "Nichts Neues" in again.stdout) == (EXIT_OK, True)
    if SOAK:
        audit = sozialraum("audit", project / "data/releases/current", "--project", project)
        assert audit.returncode == EXIT_OK, audit.stdout + audit.stderr
    assert not list((project / "data/warehouse").rglob(".neu-*"))
