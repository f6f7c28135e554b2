"""One thread end to end: the real command on a small project, from raw file to release, graph and catalogue."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from tests.conftest import sozialraum


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("büro süd") / "stadt"
    assert sozialraum("init", folder).returncode == 0
    run = sozialraum("nightly", "--project", folder)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def query(folder: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(folder / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_figures_are_numerator_over_denominator(city: Path) -> None:
    rows = query(city, "FROM api.zeitreihe('arbeitslosenanteil', 'Mühlenviertel') SELECT zeitraum, wert ORDER BY 1")
    assert rows == [("2022-12-31", 7.5), ("2023-12-31", 8.0)]  # 300/4000, 330/4100 = 8.05 -> 8.0


def test_city_is_the_sum_of_its_districts(city: Path) -> None:
    rows = query(
        city,
        "SELECT numerator, denominator, method FROM mart.indicator_value "
        "WHERE area_id = '99999000' AND period = '2022-12-31'",
    )
    assert rows == [(120 + 300 + 45, 2400 + 4000 + 3000, "rolled_up")]


def test_withheld_part_makes_the_sum_withheld(city: Path) -> None:
    rows = query(
        city,
        "SELECT value, obs_status, conf_status, suppression_reason FROM mart.indicator_value "
        "WHERE area_id = '99999000' AND period = '2023-12-31'",
    )
    assert rows == [(None, "Q", "C", "inherited")]


def test_nothing_new_says_so_and_publishes_nothing(city: Path) -> None:
    before = sorted(p.name for p in (city / "data/releases").iterdir())
    run = sozialraum("nightly", "--project", city)
    assert run.returncode == 0
    assert "Nichts Neues" in run.stdout
    assert sorted(p.name for p in (city / "data/releases").iterdir()) == before


def test_catalogue_lists_what_is_declared(city: Path) -> None:
    run = sozialraum("catalogue", "--project", city)
    assert run.returncode == 0
    for name in (
        "beispiel",
        "einwohner_15_64",
        "arbeitslosenanteil",
        "mart.indicator_value",
        "1 Lieferungen angenommen",
    ):
        assert name in run.stdout


def test_project_root_holds_nothing_but_what_was_there(city: Path) -> None:
    assert sorted(p.name for p in city.iterdir()) == ["assets", "dagster.yaml", "data"]
