"""The SQL that both engines understand: every mart keeps to it, and what is outside of it is refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlglot

from pipelines.marts.models import Models
from pipelines.project import ConfigError, load_project
from pipelines.spark.dialect import refusals, spark_sql, translated
from tests.conftest import ROOT, Quiet, create_project


def kiel(folder: Path) -> Path:
    shutil.copytree(ROOT / "assets", folder / "assets")
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")
    (folder / "data").mkdir()
    return folder


@pytest.fixture(params=["kiel", "template"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Models:
    folder = tmp_path / "Stadt"
    if request.param == "kiel":
        kiel(folder)
    else:
        create_project(folder, Quiet())
    return Models(load_project(folder))


def test_every_mart_keeps_to_the_dialect_and_is_spark_sql(models: Models) -> None:
    found = {model.name: refusals(model.sql or "") for model in models.order}
    assert {name: words for name, words in found.items() if words} == {}
    written = {model.mart.id: model.sql or "" for model in models.order}
    for name, statement in translated(models).items():
        tree = sqlglot.parse_one(statement, read="spark")
        assert tree.named_selects == sqlglot.parse_one(written[name], read="duckdb").named_selects


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("SELECT a, sum(b) AS b FROM t GROUP BY ALL", "GROUP BY ALL"),
        ("SELECT a FROM t QUALIFY row_number() OVER (ORDER BY a) = 1", "QUALIFY"),
        ("SELECT list_filter(a, lambda x: x > 1) AS a FROM t", "Lambda"),
        ("SELECT [a, b] AS a FROM t", "Liste"),
        ("SELECT unnest(a) AS a FROM t", "UNNEST"),
        ("SELECT * FROM t", "*"),
        ("SELECT t.* FROM t", "*"),
        ("WITH u AS (SELECT a FROM t) SELECT * FROM u", "*"),
        ("SELECT a FROM t UNION ALL SELECT * FROM u", "*"),
        ("SELECT strftime(a, '%Y') AS a FROM t", "strftime"),
        ("SELECT regr_slope(a, b) AS a FROM t", "REGR_SLOPE"),
        ("SELECT make_dat(a, 1, 1) AS a FROM t", "make_dat (meinten Sie make_date?)"),
        ("SELECT sum(a) FILTER (WHERE b) AS a FROM t", "FILTER"),
        ("SELECT CAST(a AS TIMESTAMP) AS a FROM t", "TIMESTAMP"),
        ("SELECT a FROM t ASOF JOIN u ON t.d >= u.d", "ASOF"),
        ("SELECT a FROM t SEMI JOIN u USING (a)", "SEMI"),
        ("SELECT a FROM t LIMIT 3", "LIMIT"),
        ("SELECT EXISTS (SELECT 1 FROM u) AS a FROM t", "EXISTS"),
        ("SELECT a FROM read_parquet('x')", "read_parquet"),
        ("WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 AS a FROM r) SELECT a FROM r", "RECURSIVE"),
        ("SELECT a // b AS a FROM t", "IntDiv"),
        ("SELECT a[1] AS a FROM t", "Bracket"),
        ("CREATE TABLE x AS SELECT 1 AS a", "kein SELECT"),
    ],
)
def test_what_is_outside_of_the_dialect_is_named(sql: str, named: str) -> None:
    assert any(named.lower() in word.lower() for word in refusals(sql)), refusals(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT sum(a) AS a, b FROM t GROUP BY b HAVING count(*) > 1",
        "WITH u AS (SELECT *, a + 1 AS c FROM t) SELECT a, c FROM u",
        "SELECT a FROM (SELECT a FROM t) AS s WHERE a IS DISTINCT FROM 1 AND a IN (1, 2) AND a BETWEEN 1 AND 2",
    ],
)
def test_what_is_inside_is_let_pass(sql: str) -> None:
    assert refusals(sql) == []


def test_ascending_order_keeps_empty_values_last_on_spark() -> None:
    # DuckDB sorts NULL last either way; Spark would sort it first where nothing is said.
    assert "NULLS LAST" in spark_sql("SELECT rank() OVER (ORDER BY a) AS r FROM t")


def test_a_mart_outside_of_the_dialect_is_refused_with_its_file(tmp_path: Path) -> None:
    folder = kiel(tmp_path / "Stadt")
    file = folder / "assets/marts/category/category.sql"
    file.write_text(file.read_text(encoding="utf-8") + "QUALIFY row_number() OVER (ORDER BY sort_key) > 0\n", "utf-8")
    with pytest.raises(ConfigError, match=r"assets/marts/category/category\.sql:1: geht nicht auf Spark: QUALIFY"):
        translated(Models(load_project(folder)))
