"""Made worlds are what they promise, and a script that shares no line with the pipeline finds the same figures."""

from __future__ import annotations

import csv
import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pytest

from benchmarks import reference, scale
from benchmarks.worlds import DELIVERIES, HEADER, World, counts, make_world
from tests.conftest import run_night
from tests.test_history import NOW

AREAS, YEARS, INDICATORS = 30, 6, 2
KEYS = {"indicator_value": "indicator_id, area_id, period_type, reference_date", "area_profile": "area_id"}
NEARLY = 1e-9


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small internal world with one more year and a corrected file, delivered together."""
    folder = tmp_path_factory.mktemp("welt") / "welt"
    make_world(folder, AREAS, YEARS, INDICATORS, internal=True)
    for deliver in DELIVERIES.values():
        deliver(folder)
    return folder


@pytest.fixture(scope="module")
def both(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    """The pipeline's internal file as `pipeline`, the script's as `script`."""
    target = tmp_path_factory.mktemp("skript")
    night = run_night(world, NOW)
    assert night.exit_code == 0, night.findings
    assert night.internal is not None
    database = reference.build(world, target, NOW.date())[0]
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{night.internal.file}' AS pipeline (READ_ONLY)")
        con.execute(f"ATTACH '{database}' AS script (READ_ONLY)")
        yield con


def columns(con: duckdb.DuckDBPyConnection, table: str) -> list[tuple[str, str]]:
    return [row[:2] for row in con.execute(f"DESCRIBE {table}").fetchall()]


@pytest.mark.parametrize("table", KEYS)
def test_pipeline_and_script_find_the_same_rows(both: duckdb.DuckDBPyConnection, table: str) -> None:
    """Texts, dates and whole numbers are the same, other numbers within a billionth."""
    names = columns(both, f"pipeline.mart.{table}")
    assert names == columns(both, f"script.mart.{table}")
    keys = KEYS[table].split(", ")
    found = [
        both.execute(f"SELECT * FROM {side}.mart.{table} ORDER BY {KEYS[table]}").fetchall()
        for side in ("pipeline", "script")
    ]
    assert len(found[0]) == len(found[1]) > 0
    for ours, theirs in zip(*found, strict=True):
        where = dict(zip([name for name, _ in names], ours, strict=True))
        for (name, kind), one, other in zip(names, ours, theirs, strict=True):
            same = one == other
            if kind == "DOUBLE" and one is not None and other is not None:
                same = abs(one - other) <= NEARLY * max(1.0, abs(one))
            assert same, (table, name, [where[key] for key in keys], one, other)


def test_the_compared_figures_hold_every_kind_of_verdict(both: duckdb.DuckDBPyConnection) -> None:
    """Equal tables would prove little if stars, sums with stars, comparisons and trends did not occur."""
    kinds = {
        name: {row[0] for row in both.execute(f"SELECT DISTINCT {name} FROM script.mart.indicator_value").fetchall()}
        for name in ("comparison", "trend", "trend_reason", "change_reason", "not_compared_reason", "area_level")
    }
    assert kinds["comparison"] == {"better", "similar", "worse", "not_compared"}
    assert {"no_significant_change", "not_calculable"} < kinds["trend"]
    assert kinds["trend_reason"] == {None, "too_few_periods", "no_value"}
    assert kinds["change_reason"] == {None, "no_earlier", "no_value"}
    assert kinds["not_compared_reason"] == {None, "same_area", "no_benchmark", "no_value"}
    withheld = "SELECT DISTINCT area_level FROM script.mart.indicator_value WHERE is_suppressed"
    assert {row[0] for row in both.execute(withheld).fetchall()} == kinds["area_level"]
    z_scores = "SELECT count(z_score) FROM script.mart.indicator_value"
    assert both.execute(z_scores).fetchall()[0][0] > 0


@pytest.mark.parametrize("side", ["pipeline", "script"])
def test_the_large_mart_lies_in_the_order_of_its_key(both: duckdb.DuckDBPyConnection, side: str) -> None:
    """Only so the file's min and max per row group tell a reader what to skip."""
    keys = both.execute(f"SELECT {KEYS['indicator_value']} FROM {side}.mart.indicator_value ORDER BY rowid").fetchall()
    assert keys == sorted(keys)


def test_the_newer_delivery_of_a_year_counts(both: duckdb.DuckDBPyConnection) -> None:
    """The corrected denominator is one greater than the first one, and names the newer delivery."""
    numbers = counts(World(AREAS, YEARS, INDICATORS), 1, 2023)
    place = int(np.flatnonzero((numbers[0] >= 0) & (numbers[1] >= 0))[0])
    rows = both.execute(
        "SELECT denominator, delivery_ids FROM pipeline.mart.indicator_value "
        "WHERE indicator_id = 'anteil_ab' AND reference_date = DATE '2023-12-31' AND area_level = 'gebiet' "
        "ORDER BY area_id"
    ).fetchall()
    assert rows[place] == (int(numbers[1][place]) + 1, f"anteil_ab_amt-{YEARS + 1:04d}")


# ---------------------------------------------------------------- the generator


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path, world: Path) -> None:
    for name, seed in (("gleich", 1), ("anders", 2)):
        make_world(tmp_path / name, AREAS, YEARS, INDICATORS, internal=True, seed=seed)
    made = sorted(path.relative_to(tmp_path / "gleich") for path in (tmp_path / "gleich").rglob("*.csv"))
    assert len(made) == YEARS * INDICATORS + 2
    for path in made:
        content = (world / path).read_bytes()
        assert (tmp_path / "gleich" / path).read_bytes() == content
        assert ((tmp_path / "anders" / path).read_bytes() == content) == (path.parts[0] == "assets")


def test_files_hold_every_area_once_and_plausible_counts(world: Path) -> None:
    for path in sorted((world / "data/raw").rglob("*.csv")):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(HEADER)
        rows = list(csv.DictReader(text.splitlines(), delimiter=";"))
        assert len({row["Gebiet"] for row in rows}) == len(rows) == AREAS
        assert {row["Stichtag"] for row in rows} == {f"31.12.{path.stem.split('_')[2]}"}
        for row in rows:
            numerator, denominator = row["Zaehler"], row["Nenner"]
            if denominator != "*":
                assert 200 <= int(denominator) <= 20_000
            if "*" not in (numerator, denominator):
                assert 0 <= int(numerator) <= int(denominator)


def test_one_count_in_two_hundred_is_starred_and_denominators_are_skewed() -> None:
    """Over many areas; within three standard deviations of what was asked for, stars coming in groups of a city."""
    large = World(20_000, 10, 5)
    made = [counts(large, number, year) for number in range(5) for year in range(2014, 2024)]
    stars = np.array([[np.mean(figures < 0) for figures in pair] for pair in made])
    spread = 3 * np.sqrt(0.05 * 0.95 * 0.1 / (20_000 * 100))
    assert abs(stars.mean() - 0.005) <= spread
    shown = np.concatenate([denominator[denominator > 0] for _, denominator in made])
    assert np.mean(shown) > 1.1 * np.median(shown)


def test_four_levels_each_area_wholly_in_one_above(tmp_path: Path) -> None:
    make_world(tmp_path / "welt", 2_500, 1, 1)
    with (tmp_path / "welt/assets/areas/areas.csv").open(encoding="utf-8") as file:
        levels = {row["area_id"]: row["level"] for row in csv.DictReader(file)}
    with (tmp_path / "welt/assets/areas/memberships.csv").open(encoding="utf-8") as file:
        parents = {row["area_id"]: row["parent_id"] for row in csv.DictReader(file)}
    counted = {level: list(levels.values()).count(level) for level in set(levels.values())}
    assert counted == {"gebiet": 2_500, "planungsraum": 25, "stadt": 3, "land": 1}
    above = {"gebiet": "planungsraum", "planungsraum": "stadt", "stadt": "land"}
    assert all(above[levels[child]] == levels[parent] for child, parent in parents.items())
    assert set(levels) - set(parents) == {"99"}


def test_a_correction_changes_one_figure(world: Path) -> None:
    first, second = sorted((world / "data/raw/anteil_ab_amt").glob("*_2023*.csv"))
    lines = [path.read_text(encoding="utf-8").splitlines() for path in (first, second)]
    assert sum(one != other for one, other in zip(*lines, strict=True)) == 1


# ---------------------------------------------------------------- the script and the runner


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("99000-01-001;", "99000-00-000;", "doubled: 1, missing: 1"),
        ("99000-01-001;", "99999-00-001;", "unknown_areas: 1"),
        ("99000-01-001;31.12.2022", "99000-01-001;31.12.2021", "other_days: 1"),
        (None, "99000-01-001;31.12.2022;900;800", "part_above_whole: 1"),
        (None, "99000-01-001;31.12.2022;-1;800", "negative: 1"),
        (None, "99000-01-001;31.12.2022;viele;800", "viele"),
        (None, "99000-01-001;31.13.2022;1;800", "31.13.2022"),
    ],
)
def test_the_script_refuses_what_a_careful_analyst_would(tmp_path: Path, old: str | None, new: str, told: str) -> None:
    make_world(tmp_path / "welt", 3, 2, 1)
    path = tmp_path / "welt/data/raw/anteil_aa_amt/anteil_aa_2022.csv"
    text = path.read_text(encoding="utf-8")
    old = old or next(line for line in text.splitlines() if line.startswith("99000-01-001"))
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises((reference.Unfit, duckdb.Error), match=told):
        reference.build(tmp_path / "welt", tmp_path / "ziel", dt.date(2026, 1, 1))


def test_the_runner_counts_the_memory_and_time_of_children() -> None:
    """A parent that only waits, and a child that fills 150 MB and works for a while."""
    child = "import time; x = bytes(range(256)) * 600_000\nwhile time.process_time() < 0.4: pass"
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}]); print('Schritt 1 von 5: fertig')"
    )
    measure = (
        "import json, sys; from benchmarks.scale import run; done = run([sys.executable, '-c', sys.argv[1]], {}); "
        "print(json.dumps([done.code, done.wall, done.cpu, done.peak, done.parts]))"
    )  # in a process of its own: what it starts would inherit the memory of the tests
    told = subprocess.run(
        [sys.executable, "-c", measure, parent], cwd=scale.ROOT, capture_output=True, text=True, check=True
    )
    code, wall, cpu, peak, parts = json.loads(told.stdout)
    assert code == 0
    assert cpu >= 0.4
    assert 150e6 < peak < 400e6
    assert [name.partition(":")[0] for name, _, _ in parts] == ["start", "intake"]
    assert sum(seconds for _, seconds, _ in parts) == pytest.approx(wall)
