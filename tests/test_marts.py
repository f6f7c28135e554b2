"""The tables as others read them: keys, types, comments, lineage, values, old readers, nothing internal in public."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipelines.marts import tables
from pipelines.marts.edition import build_edition
from pipelines.marts.models import Model, Models
from pipelines.marts.tables import BrokenMart
from pipelines.night import Night
from pipelines.project import load_project
from tests.conftest import ROOT, Quiet, create_project, run_night
from tests.test_history import FIRST, NOW, correct, put, text_of

RAW_NAME = "geheime_Zulieferung_4711.csv"
OLD_CELL = "777123"


def text(de: str) -> dict[str, str]:
    return {"de": de, "en": de}


def source(name: str, period_type: str, measures: list[str], **more: Any) -> dict[str, Any]:
    attributes = {
        "id": name,
        "title": text(name),
        "description": text(name),
        "publisher": "Amt",
        "owner": "team:datenteam",
        "licence": "CC0-1.0",
        "origin": "constructed",
        "publication": "constructed",
        "due": "none",
        "symbols": {"*": "suppressed", "-": "missing"},
        "layout": {
            "area": {"name": "Bezirk", "level": "bezirk"},
            "period": {"column": "Zeit", "type": period_type},
            "values": [{"column": m, "measure": m} for m in measures],
        },
    }
    return {"type": "pipelines.components.SourceComponent", "attributes": attributes | more}


def measure(name: str, period_type: str, supplier: str, **more: Any) -> dict[str, Any]:
    attributes = {
        "id": name,
        "title": text(name),
        "unit": "persons",
        "kind": "count",
        "family": name,
        "period_type": period_type,
        "levels": {"bezirk": [supplier]},
    }
    return {"type": "pipelines.components.MeasureComponent", "attributes": attributes | more}


def indicator(name: str, unit: str, **more: Any) -> dict[str, Any]:
    attributes = {
        "id": name,
        "title": text(f"Titel {name}"),
        "definition": text(f"Definition {name}"),
        "unit": unit,
        "decimals": 1,
        "polarity": "neutral",
        "levels": {"bezirk": "counts"},
        "owner": "team:sozialplanung",
    }
    return {"type": "pipelines.components.IndicatorComponent", "attributes": attributes | more}


RESIDENTS = {"measure": "einwohner_15_64"}
TOPIC = [
    source("standesamt", "kalenderjahr", ["geburten"]),
    measure("geburten", "kalenderjahr", "standesamt"),
    indicator(
        "geburtenziffer",
        "per_1000",
        numerator={"measure": "geburten"},
        denominator=RESIDENTS,
        denominator_date="year_end",
    ),
    indicator(
        "geburtenziffer_vorjahr",
        "per_1000",
        numerator={"measure": "geburten"},
        denominator=RESIDENTS,
        denominator_date="previous_year_end",
    ),
    indicator("geburtenzahl", "persons", numerator={"measure": "geburten"}, decimals=0),
    source(
        "wohnungsamt",
        "stichtag",
        ["leer", "wohnungen"],
        breaks=[
            {"measure": "leer", "since": "2023-12-31", "reason": text("neu abgegrenzt"), "other_population": "before"}
        ],
    ),
    measure("leer", "stichtag", "wohnungsamt"),
    measure("wohnungen", "stichtag", "wohnungsamt"),
    indicator("leerstand", "percent", numerator={"measure": "leer"}, denominator={"measure": "wohnungen"}),
    indicator("leer_je_wohnung", "ratio", numerator={"measure": "leer"}, denominator={"measure": "wohnungen"}),
    source("jobcenter", "stichtag", ["sgb2"], publication="public_elsewhere", address="https://example.org/sgb2"),
    measure("sgb2", "stichtag", "jobcenter", kind="rate", unit="percent", maximum=100),
    indicator("sgb2_quote", "percent", levels={"bezirk": {"rate": "sgb2"}}),
]
BIRTHS = """Bezirk;Zeit;geburten
Altstadt;2022;24
Mühlenviertel;2022;0
Südhang;2022;30
Altstadt;2023;25
Mühlenviertel;2023;41
Südhang;2023;*
Altstadt;2024;10
Mühlenviertel;2024;-
Südhang;2024;29
"""
FLATS = """Bezirk;Zeit;leer;wohnungen
Altstadt;31.12.2022;0;0
Mühlenviertel;31.12.2022;5;4
Südhang;31.12.2022;49;400
Altstadt;31.12.2023;3;0
"""
RATES = """Bezirk;Zeit;sgb2
Altstadt;31.12.2022;12,5
Mühlenviertel;31.12.2022;*
Südhang;31.12.2022;-
"""


def build_city(folder: Path) -> Night:
    """Template plus a topic with every kind of indicator, a correction, and a raw file with a telling name."""
    create_project(folder, Quiet())
    (folder / "assets/proben").mkdir()
    documents = yaml.safe_dump_all(TOPIC, allow_unicode=True, sort_keys=False)
    (folder / "assets/proben/defs.yaml").write_text(documents, encoding="utf-8")
    (folder / "data/raw/beispiel/beispiel.csv").unlink()
    put(folder, text_of(FIRST | {("1", "31.12.2022"): (OLD_CELL, 2400)}), RAW_NAME)
    correct(folder, "beispiel-0001", 2, OLD_CELL, "120")
    put(folder, BIRTHS, source="standesamt")
    put(folder, FLATS, source="wohnungsamt")
    put(folder, RATES, source="jobcenter")
    return run_night(folder, NOW)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return build_city(tmp_path_factory.mktemp("märkte") / "Stadt")


@pytest.fixture(scope="module")
def con(city: Night) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(city.project.paths.public_mart), read_only=True) as connection:
        yield connection


def own(con: duckdb.DuckDBPyConnection, view: str, columns: str) -> list[tuple[Any, ...]]:
    return con.execute(
        f"SELECT {columns} FROM {view}() WHERE NOT internal AND schema_name IN ('mart', 'api', 'meta') ORDER BY ALL"
    ).fetchall()


# ---------------------------------------------------------------- form


def test_rows_are_sorted_by_a_unique_key(city: Night, con: duckdb.DuckDBPyConnection) -> None:
    for model in city.models.of_schema("mart"):
        keys = con.execute(f"SELECT {', '.join(model.mart.key)} FROM {model.name}").fetchall()
        nulls_first = [tuple((v is not None, v) for v in key) for key in keys]
        assert len(set(keys)) == len(keys), model.name
        assert nulls_first == sorted(nulls_first), model.name
        assert keys or model.mart.id in EMPTY, model.name


EMPTY = {"measure_part", "revision", "social_index", "social_index_part", "index_definition", "index_indicator"}
EMPTY |= {"index_class", "index_exclusion"}
"""The town forms no measure of others, has no composite index, and this is its first release."""


def in_the_file(city: Night) -> dict[str, Model]:
    """Models by name, without the steps between the tables, which stay in the session."""
    return {name: model for name, model in city.models.all.items() if model.mart.schema_name != "step"}


def test_breaks_in_series_stand_in_the_mart(con: duckdb.DuckDBPyConnection) -> None:
    row = ("wohnungsamt", "leer", "alle", "2023-12-31", dt.date(2023, 12, 31), "before", "neu abgegrenzt")
    assert [found[:7] for found in con.execute("FROM mart.series_break").fetchall()] == [row]


def test_columns_and_types_are_as_declared_and_nothing_is_a_list(city: Night, con: duckdb.DuckDBPyConnection) -> None:
    found: dict[str, list[tuple[str, str]]] = {}
    for schema, table, name, kind in con.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE schema_name IN ('mart', 'api', 'meta') ORDER BY schema_name, table_name, column_index"
    ).fetchall():
        found.setdefault(f"{schema}.{table}", []).append((name, kind))
    declared = {
        n: [(c, d.type) for c, d in m.columns.items()] for n, m in in_the_file(city).items() if m.mart.kind != "macro"
    }
    assert found == declared
    assert {kind for columns in found.values() for _, kind in columns} <= {
        "VARCHAR",
        "DOUBLE",
        "INTEGER",
        "BIGINT",
        "DATE",
        "BOOLEAN",
    }


def test_columns_promised_to_others_are_there(con: duckdb.DuckDBPyConnection) -> None:
    """Names from the contract; more columns may follow, none may go."""
    promised = {
        "mart.area": "area_id name level valid_from valid_to sort_key",
        "mart.membership": "area_id parent_id valid_from valid_to weight status source",
        "mart.measure": "measure_id title unit kind family additive_over",
        "mart.observation": "measure_id category area_id period_type reference_date area_level period value obs_status "
        "conf_status is_suppressed suppression_reason origin method data_as_of delivery_ids",
        "mart.indicator": "indicator_id title_de title_en definition_de numerator denominator unit decimals polarity "
        "owner approved_by approved_on",
        "mart.indicator_value": "indicator_id area_id period_type reference_date area_level period numerator "
        "denominator value obs_status conf_status is_suppressed suppression_reason origin method data_as_of "
        "delivery_ids",
        "mart.area_profile": "area_id",
        "mart.revision": "indicator_id area_id period_type reference_date release_id area_level period "
        "previous_release_id value_before value_now difference cause",
        "meta.release": "release_id content_hash commit rules previous_release_id",
        "meta.delivery": "delivery_id",
        "meta.check_result": "rule passed",
        "meta.column_lineage": "table_name column_name source_table source_column",
        "meta.data_dictionary": "column_name",
    }
    for table, names in promised.items():
        found = [row[0] for row in con.execute(f"DESCRIBE {table}").fetchall()]
        assert set(names.split()) <= set(found), table


def test_everything_has_a_comment(city: Night, con: duckdb.DuckDBPyConnection) -> None:
    objects = own(con, "duckdb_tables", "schema_name, table_name, comment")
    objects += own(con, "duckdb_views", "schema_name, view_name, comment")
    objects += own(con, "duckdb_functions", "schema_name, function_name, comment")
    assert {f"{schema}.{name}" for schema, name, _ in objects} == set(in_the_file(city))
    objects += own(con, "duckdb_columns", "table_name, column_name, comment")
    assert [entry for entry in objects if not (entry[2] or "").strip()] == []


def test_no_key_constraint_and_no_index(con: duckdb.DuckDBPyConnection) -> None:
    """DuckDB 1.0 refuses such files."""
    assert con.execute("SELECT * FROM duckdb_constraints()").fetchall() == []
    assert con.execute("SELECT * FROM duckdb_indexes()").fetchall() == []


def test_dictionary_describes_every_object_and_column(city: Night, con: duckdb.DuckDBPyConnection) -> None:
    listed = con.execute("SELECT schema_name || '.' || objekt, spalte, bedeutung FROM api.datenwoerterbuch").fetchall()
    expected = {(name, None) for name in in_the_file(city)}
    expected |= {(name, column) for name, model in in_the_file(city).items() for column in model.columns}
    assert {(name, column) for name, column, _ in listed} == expected
    assert len(listed) == len(expected)
    assert all(meaning for _, _, meaning in listed)


def test_lineage_is_what_the_sql_says(con: duckdb.DuckDBPyConnection) -> None:
    def sources(table: str, column: str) -> set[str]:
        return {
            f"{t}.{c}"
            for t, c in con.execute(
                "SELECT source_table, source_column FROM meta.column_lineage WHERE table_name = ? AND column_name = ?",
                [table, column],
            ).fetchall()
        }

    assert sources("observation", "value") == {"observation_in.value"}
    assert sources("area", "name") == {"area_in.name"}
    assert sources("indicator_value", "numerator") == {"observation.value"}
    assert sources("indicator_value", "denominator") == {"observation.value"}
    assert sources("indicator_value", "area_level") == {"observation.area_level"}
    assert sources("indicator_value", "origin") == {"observation.origin"}
    assert sources("indicator_value", "delivery_ids") == {"observation.delivery_ids"}
    assert sources("indicator_value", "value") == {
        "observation.value",
        "observation.is_suppressed",
        "indicator.factor",
        "indicator.unit",
        "indicator.part_of_whole",
        "indicator.denominator",
        "indicator.small_base",
    }
    assert sources("area_profile", "name") == {"area.name"}
    assert sources("area_profile", "geburtenziffer__value") == {"indicator_value.value", "indicator_value.indicator_id"}


def test_lineage_names_every_column_of_every_table(city: Night, con: duckdb.DuckDBPyConnection) -> None:
    covered = {f"{t}.{c}" for t, c in con.execute("SELECT table_name, column_name FROM meta.column_lineage").fetchall()}
    assert {f"{m.mart.id}.{c}" for m in city.models.of_schema("mart") for c in m.columns} == covered


def test_every_statement_can_be_carried_to_spark(city: Night) -> None:
    import sqlglot

    for model in city.models.order:
        (spark,) = sqlglot.transpile(
            model.sql or "", read="duckdb", write="spark", unsupported_level=sqlglot.ErrorLevel.RAISE
        )
        assert sqlglot.parse_one(spark, read="spark")


# ---------------------------------------------------------------- values

Got = tuple[Any, ...]


def figure(con: duckdb.DuckDBPyConnection, indicator_id: str, period: str) -> dict[str, Got]:
    """District number -> (numerator, denominator, value, obs_status, reason)."""
    rows = con.execute(
        "SELECT area_id, numerator, denominator, value, obs_status, suppression_reason FROM mart.indicator_value "
        "WHERE indicator_id = ? AND period = ?",
        [indicator_id, period],
    ).fetchall()
    return {row[0][-1]: row[1:] for row in rows}


def test_denominator_of_the_same_years_end(con: duckdb.DuckDBPyConnection) -> None:
    assert figure(con, "geburtenziffer", "2022") == {
        "1": (24, 2400, pytest.approx(10), "A", None),
        "2": (0, 4000, 0, "A", None),
        "3": (30, 3000, pytest.approx(10), "A", None),
    }
    assert figure(con, "geburtenziffer", "2023") == {
        "1": (25, 2500, pytest.approx(10), "A", None),
        "2": (41, 4100, pytest.approx(10), "A", None),
        "3": (None, 2900, None, "Q", "inherited"),
    }
    assert figure(con, "geburtenziffer", "2024") == {
        "1": (10, None, None, "O", "missing_source"),
        "2": (None, None, None, "O", "missing_source"),
        "3": (29, None, None, "O", "missing_source"),
    }


def test_denominator_of_the_previous_years_end(con: duckdb.DuckDBPyConnection) -> None:
    assert {area: got[3] for area, got in figure(con, "geburtenziffer_vorjahr", "2022").items()} == dict.fromkeys(
        "123", "O"
    )
    assert figure(con, "geburtenziffer_vorjahr", "2023") == {
        "1": (25, 2400, pytest.approx(1000 * 25 / 2400), "A", None),
        "2": (41, 4000, 10.25, "A", None),
        "3": (None, 3000, None, "Q", "inherited"),
    }
    assert figure(con, "geburtenziffer_vorjahr", "2024") == {
        "1": (10, 2500, pytest.approx(4), "A", None),
        "2": (None, 4100, None, "O", "missing_source"),
        "3": (29, 2900, pytest.approx(10), "A", None),
    }


def test_denominator_of_zero_and_part_above_its_whole_give_no_value(con: duckdb.DuckDBPyConnection) -> None:
    assert figure(con, "leerstand", "2022-12-31") == {
        "1": (0, 0, None, "M", "denominator_small"),
        "2": (5, 4, None, "O", "missing_source"),
        "3": (49, 400, 12.25, "A", None),
    }
    assert figure(con, "leerstand", "2023-12-31") == {"1": (3, 0, None, "O", "missing_source")}
    assert figure(con, "leer_je_wohnung", "2022-12-31")["2"] == (5, 4, 1.25, "A", None)  # a ratio may exceed one
    assert figure(con, "leer_je_wohnung", "2023-12-31") == {"1": (3, 0, None, "M", "denominator_small")}


def test_part_above_its_whole_is_a_finding(city: Night, con: duckdb.DuckDBPyConnection) -> None:
    assert city.exit_code == 3
    assert city.findings == [
        "leerstand: in 99999000-BZ-1 zum 2023-12-31 ist der Zähler größer als der Nenner, kein Wert gebildet",
        "leerstand: in 99999000-BZ-2 zum 2022-12-31 ist der Zähler größer als der Nenner, kein Wert gebildet",
    ]
    sql = "SELECT subject, rule FROM meta.check_result WHERE NOT passed"
    with duckdb.connect(str(city.project.paths.internal_mart), read_only=True) as inside:
        assert inside.execute(sql).fetchall() == con.execute(sql).fetchall()
    assert con.execute(sql).fetchall() == [("indicator_value", "zaehler_nicht_ueber_nenner")]


def test_count_without_denominator(con: duckdb.DuckDBPyConnection) -> None:
    assert figure(con, "geburtenzahl", "2023") == {
        "1": (25, None, 25, "A", None),
        "2": (41, None, 41, "A", None),
        "3": (None, None, None, "Q", "inherited"),
    }


def test_published_rate_is_taken_as_it_is(con: duckdb.DuckDBPyConnection) -> None:
    assert figure(con, "sgb2_quote", "2022-12-31") == {
        "1": (None, None, 12.5, "A", None),
        "2": (None, None, None, "Q", "confidential"),
        "3": (None, None, None, "O", "missing_source"),
    }


def test_status_reason_and_value_never_contradict_each_other(con: duckdb.DuckDBPyConnection) -> None:
    for table in ("mart.observation", "mart.indicator_value"):
        rows = con.execute(
            f"SELECT value, obs_status, conf_status, is_suppressed, suppression_reason FROM {table}"
        ).fetchall()
        for value, status, confidential, withheld, reason in rows:
            assert (value is None) == (status in "QMO") == (reason is not None)
            assert (status == "Q") == (confidential == "C") == withheld == (reason in ("confidential", "inherited"))


def test_deliveries_behind_a_figure_are_named_once_and_in_order(con: duckdb.DuckDBPyConnection) -> None:
    lists = con.execute("SELECT DISTINCT indicator_id, delivery_ids FROM mart.indicator_value").fetchall()
    assert ("arbeitslosenanteil", "beispiel-0001") in lists
    assert ("geburtenziffer", "beispiel-0001;standesamt-0001") in lists
    for _, ids in lists:
        assert ids.split(";") == sorted(set(ids.split(";")))


def test_shared_delivery_of_numerator_and_denominator_is_named_once(city: Night, tmp_path: Path) -> None:
    observation, target = tmp_path / "beobachtung.parquet", tmp_path / "x.duckdb"
    duckdb.execute(
        "COPY (SELECT * REPLACE (CASE measure_id WHEN 'arbeitslose' THEN 'b-0001;c-0001' WHEN 'einwohner_15_64' "
        f"THEN 'a-0001;b-0001' ELSE delivery_ids END AS delivery_ids) FROM '{city.observation}') TO '{observation}'"
    )
    build_edition(city.models, observation, target, {"delivery": [], "check_result": []}, release_id="x", commit="x")
    with duckdb.connect(str(target), read_only=True) as con:
        rows = con.execute("SELECT DISTINCT indicator_id, delivery_ids FROM mart.indicator_value").fetchall()
    assert ("arbeitslosenanteil", "a-0001;b-0001;c-0001") in rows


# ---------------------------------------------------------------- how tables are built


def test_batches_change_nothing(city: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 1)  # one indicator at a time
    target = tmp_path / "x.duckdb"
    edition = build_edition(city.models, city.observation, target, {}, release_id="x", commit="y")
    assert city.internal is not None
    assert edition.content_hash == city.internal.content_hash
    assert edition.rows == city.internal.rows
    with duckdb.connect(str(target), read_only=True) as con:
        keys = con.execute("SELECT indicator_id, area_id, period_type, reference_date FROM mart.indicator_value")
        rows = keys.fetchall()
    assert len({row[0] for row in rows}) > 1 and rows == sorted(rows)


OWN_TABLE = """
type: pipelines.components.MartComponent
attributes:
  id: eigene
  title: {{de: Eigene, en: Own}}
  description: {{de: Eigene Tabelle, en: Own table}}
  owner: team:datenteam
  batch: {batch}
  key: [{batch}]
  columns:
    {batch}: {{type: VARCHAR, de: Kennung, en: Id}}
    n: {{type: INTEGER, de: Zeilen, en: Rows}}
"""


@pytest.mark.parametrize(("batch", "table"), [("indicator_id", "indicator_value"), ("measure_id", "observation")])
def test_own_table_over_one_that_is_built_in_the_same_batches(
    city: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: str, table: str
) -> None:
    shutil.copytree(city.project.paths.root / "assets", tmp_path / "assets")
    shutil.copy(city.project.paths.root / "dagster.yaml", tmp_path)
    (tmp_path / "data").mkdir()
    folder = tmp_path / "assets/marts/eigene"
    folder.mkdir()
    (folder / "defs.yaml").write_text(OWN_TABLE.format(batch=batch), "utf-8")
    count = f"SELECT {batch}, CAST(count(*) AS INTEGER) AS n FROM {table} GROUP BY {batch} -- a comment at the end"
    (folder / "eigene.sql").write_text(count, "utf-8")
    monkeypatch.setattr(tables, "ROWS_PER_BATCH", 1)
    target = tmp_path / "x.duckdb"
    models = Models(load_project(tmp_path))
    build_edition(models, city.observation, target, {}, release_id="x", commit="y")
    with duckdb.connect(str(target), read_only=True) as con:
        counted = con.execute(f"SELECT {batch}, count(*) FROM mart.{table} GROUP BY ALL ORDER BY ALL").fetchall()
        assert len(counted) > 2
        assert con.execute("FROM mart.eigene").fetchall() == counted


def test_key_that_stands_twice_is_found(city: Night, tmp_path: Path) -> None:
    observation = tmp_path / "doppelt.parquet"
    twice = f"(FROM '{city.observation}' UNION ALL (FROM '{city.observation}' LIMIT 1 OFFSET 3))"
    duckdb.execute(f"COPY (SELECT * FROM {twice}) TO '{observation}'")
    with pytest.raises(BrokenMart, match="observation: der Schlüssel"):
        build_edition(city.models, observation, tmp_path / "x.duckdb", {}, release_id="x", commit="y")


# ---------------------------------------------------------------- api


def rows_of(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    cursor = con.execute(sql)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def test_shown_value_is_rounded_half_up(con: duckdb.DuckDBPyConnection) -> None:
    rows = rows_of(con, "FROM api.zeitreihe('leerstand', 'Südhang')")
    assert [(r["zeitraum"], r["wert"], r["zaehler"], r["nenner"]) for r in rows] == [("2022-12-31", 12.3, 49, 400)]
    wide = rows_of(con, "FROM api.indikatorwerte_breit WHERE gebiet_name = 'Südhang' AND zeitraum = '2022-12-31'")
    assert [(r["leerstand"], r["arbeitslosenanteil"], r["sgb2_quote"]) for r in wide] == [(12.3, 1.5, None)]
    stored = con.execute(
        "SELECT value FROM mart.indicator_value WHERE indicator_id = 'leerstand' AND value > 0"
    ).fetchall()
    assert stored == [(12.25,)]


@pytest.mark.parametrize("area", ["99999000-BZ-2", "Mühlenviertel", "mühlenviertel"])
def test_time_series_of_one_area_by_id_or_name(con: duckdb.DuckDBPyConnection, area: str) -> None:
    rows = rows_of(con, f"FROM api.zeitreihe('arbeitslosenanteil', '{area}')")
    assert [(r["gebiet"], r["zeitraum"], r["wert"], r["status"]) for r in rows] == [
        ("99999000-BZ-2", "2022-12-31", 7.5, "A"),
        ("99999000-BZ-2", "2023-12-31", 8.0, "A"),
    ]


def test_area_profile_shows_the_latest_period_of_each_indicator(con: duckdb.DuckDBPyConnection) -> None:
    rows = rows_of(con, "FROM api.gebietsprofil('Südhang')")
    assert {r["indikator"]: (r["zeitraum"], r["wert"], r["status"]) for r in rows} == {
        "arbeitslosenanteil": ("2023-12-31", None, "Q"),
        "geburtenziffer": ("2024", None, "O"),
        "geburtenziffer_vorjahr": ("2024", 10.0, "A"),
        "geburtenzahl": ("2024", 29.0, "A"),
        "leerstand": ("2022-12-31", 12.3, "A"),
        "leer_je_wohnung": ("2022-12-31", 0.1, "A"),
        "sgb2_quote": ("2022-12-31", None, "O"),
    }
    (wide,) = rows_of(con, "FROM mart.area_profile WHERE name = 'Südhang'")
    assert (wide["geburtenzahl__value"], wide["geburtenzahl__period"], wide["leerstand__value"]) == (29, "2024", 12.25)


def test_provenance_lists_the_deliveries_of_one_figure(con: duckdb.DuckDBPyConnection) -> None:
    rows = rows_of(con, "FROM api.herkunft('geburtenziffer', 'Altstadt', '2022')")
    assert [(r["lieferung"], r["quelle"], r["herausgeber"], str(r["eingegangen_am"])) for r in rows] == [
        ("standesamt-0001", "standesamt", "Amt", "2026-03-02"),
        (
            "beispiel-0001",
            "Arbeitslose und Einwohner (konstruiertes Beispiel)",
            "Statistikstelle Musterstadt (konstruiert)",
            "2026-03-02",
        ),
    ]
    assert {r["wert"] for r in rows} == {10.0}
    assert [(r["rolle"], r["kennzahl"], str(r["stichtag"]), r["anzahl"]) for r in rows] == [
        ("Zähler", "geburten", "2022-12-31", 24),
        ("Nenner", "einwohner_15_64", "2022-12-31", 2400),  # of the end of the year, as the indicator declares
    ]
    one = "gebiet_name = 'Altstadt' AND zeitraum = '2022' AND indikator = 'geburtenziffer'"
    assert rows_of(con, f"FROM api.herkunft_aller_zahlen WHERE {one}") == rows


def test_labelled_view_has_a_row_for_each_value_and_areas_their_view(con: duckdb.DuckDBPyConnection) -> None:
    count = "SELECT count(*) FROM "
    assert (
        con.execute(f"{count}api.indikatorwerte").fetchall() == con.execute(f"{count}mart.indicator_value").fetchall()
    )
    assert [r["gebiet"] for r in rows_of(con, "FROM api.gebiet WHERE ebene = 'bezirk' ORDER BY 1")] == [
        f"99999000-BZ-{i}" for i in (1, 2, 3)
    ]


# ---------------------------------------------------------------- readers

QUERIES = [
    "SELECT * FROM mart.area ORDER BY ALL",
    "SELECT * FROM mart.membership ORDER BY ALL",
    "SELECT * FROM mart.measure ORDER BY ALL",
    "SELECT * FROM mart.indicator ORDER BY ALL",
    "SELECT * FROM mart.indicator_level ORDER BY ALL",
    "SELECT * FROM mart.observation ORDER BY ALL",
    "SELECT * FROM mart.indicator_value ORDER BY ALL",
    "SELECT * FROM mart.area_profile ORDER BY ALL",
    "SELECT * FROM meta.release",
    "SELECT * FROM meta.delivery ORDER BY ALL",
    "SELECT * FROM meta.column_lineage ORDER BY ALL",
    "SELECT * FROM meta.data_dictionary ORDER BY ALL",
    "SELECT * FROM api.indikatorwerte ORDER BY ALL",
    "SELECT * FROM api.indikatorwerte_breit ORDER BY ALL",
    "SELECT * FROM api.gebiet ORDER BY ALL",
    "SELECT * FROM api.datenwoerterbuch ORDER BY ALL",
    "SELECT * FROM api.zeitreihe('geburtenziffer', 'Altstadt')",
    "SELECT * FROM api.gebietsprofil('99999000-BZ-3')",
    "SELECT * FROM api.herkunft('geburtenziffer', 'Altstadt', '2022')",
    "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name IN ('mart', 'meta') ORDER BY ALL",
    "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE schema_name = 'mart' ORDER BY ALL",
]
SCRIPT = """
import json, sys
import duckdb
with duckdb.connect(sys.argv[1], read_only=True) as con:
    answers = [[[str(v) for v in row] for row in con.execute(sql).fetchall()] for sql in json.load(sys.stdin)]
print(json.dumps([duckdb.__version__, answers]))
"""


def ask(file: Path, folder: Path | None = None) -> tuple[str, list[Any]]:
    environment = {**os.environ, **({"PYTHONPATH": str(folder)} if folder else {})}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file)],
        input=json.dumps(QUERIES),
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    version, answers = json.loads(run.stdout)
    return version, answers


@pytest.mark.parametrize("reader", ["1.0", "1.4"])
def test_old_readers_give_the_same_answers(city: Night, reader: str) -> None:
    folder = ROOT / ".readers" / reader
    if not (folder / "duckdb").is_dir():
        message = f".readers/{reader} is not here; make it with `make readers`"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    old, answers = ask(city.project.paths.public_mart, folder)
    assert old.startswith(reader)
    new, expected = ask(city.project.paths.public_mart)
    assert new == duckdb.__version__
    for sql, found, wanted in zip(QUERIES, answers, expected, strict=True):
        assert found == wanted, sql
        assert wanted, sql


def test_file_answers_under_another_name_and_attached_to_another_database(city: Night, tmp_path: Path) -> None:
    copy = tmp_path / "anders benannt.db"
    copy.write_bytes(city.project.paths.public_mart.read_bytes())
    assert ask(copy) == ask(city.project.paths.public_mart)


# ---------------------------------------------------------------- nothing internal in public


def everything_published(folder: Path) -> dict[str, bytes]:
    """Bytes of all files of a release; packed ones unpacked as well, tables of DuckDB and Parquet as text."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        found[name] = path.read_bytes()
        if path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as packed:
                found |= {f"{name}!{entry}": packed.read(entry) for entry in packed.namelist()}
        elif path.suffix == ".parquet":
            found[f"{name}!rows"] = str(duckdb.execute(f"FROM read_parquet('{path}')").fetchall()).encode()
            found[f"{name}!meta"] = str(duckdb.execute(f"FROM parquet_kv_metadata('{path}')").fetchall()).encode()
        elif path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as con:
                tables = con.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
                for (table,) in tables:
                    found[f"{name}!{table}"] = str(con.execute(f"FROM {table}").fetchall()).encode()
    return found


def test_release_holds_neither_hash_nor_name_nor_size_nor_old_value_of_a_delivery(city: Night) -> None:
    root = city.project.paths.root
    planted: list[bytes] = [OLD_CELL.encode(), RAW_NAME.encode(), str(root).encode(), os.uname().nodename.encode()]
    for raw in (root / "data/raw").rglob("*.csv"):
        digest = hashlib.sha256(raw.read_bytes())
        planted += [digest.hexdigest().encode(), digest.hexdigest()[:12].encode(), digest.digest()]
    release = city.project.paths.current.resolve()
    for name, content in everything_published(release).items():
        packed = name.endswith((".xlsx", ".parquet", ".duckdb"))
        for secret in planted:
            if packed and len(secret) < 6:  # the name of a machine may be two letters; packed bytes hold them by chance
                continue
            assert secret not in content, (name, secret)


def test_public_marts_follow_from_the_public_observation_alone(city: Night, tmp_path: Path) -> None:
    """Bit for bit: read the published observation back, run the marts' SQL over it, compare every table."""
    published = tmp_path / "beobachtung.parquet"
    with duckdb.connect(str(city.project.paths.public_mart), read_only=True) as con:
        con.execute(f"COPY (FROM mart.observation ORDER BY ALL) TO '{published}' (FORMAT parquet)")
        assert con.execute("SELECT count(*) FROM mart.observation WHERE is_suppressed").fetchone() != (0,)
    again = build_edition(city.models, published, tmp_path / "nachgebaut.duckdb", {}, release_id="x", commit="y")
    assert again.content_hash == city.public.content_hash  # type: ignore[union-attr]
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{tmp_path / 'nachgebaut.duckdb'}' AS again (READ_ONLY)")
        con.execute(f"ATTACH '{city.project.paths.public_mart.resolve()}' AS outside (READ_ONLY)")
        for model in city.models.marts:
            differing = con.execute(
                f"(FROM again.{model.name} EXCEPT ALL FROM outside.{model.name}) UNION ALL "
                f"(FROM outside.{model.name} EXCEPT ALL FROM again.{model.name})"
            ).fetchall()
            assert differing == [], model.name


def test_models_of_an_unchanged_project_are_read_from_the_cache_the_same(city: Night) -> None:
    again = Models(city.project)
    assert again.lineage == city.models.lineage
    (city.project.paths.internal / "spaltenherkunft.json").unlink()
    assert Models(city.project).lineage == city.models.lineage
