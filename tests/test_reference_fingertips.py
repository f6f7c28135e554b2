"""England's Fingertips recalculated: confidence limits, funnel labels and trend markers, from YAML and deliveries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.night import Night
from scripts.reproduction import INTRODUCTION, REST, WRONG
from tests.conftest import run_night
from tests.reference import fingertips, mss, oracle, results
from tests.reference.fingertips import AGED, LABELS, TRENDS
from tests.reference.projects import NOW, Edit, query, reference_data

LIMITS = {"Byars_Wilson": 25, "Proportion": 64, "Rate": 68}
GROUPED = {"Proportion_g": 16, "Rate_g": 18}


@pytest.fixture(scope="module")
def reference() -> Path:
    return reference_data()


@pytest.fixture(scope="module")
def limits(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    return fingertips.limits_night(tmp_path_factory.mktemp("grenzen") / "projekt", reference)


@pytest.fixture(scope="module")
def funnel(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    return fingertips.funnel_night(tmp_path_factory.mktemp("trichter") / "projekt", reference)


@pytest.fixture(scope="module")
def trends(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return fingertips.trend_night(tmp_path_factory.mktemp("trends") / "projekt")


# ---------------------------------------------------------------- confidence limits


@pytest.mark.parametrize(("sheet", "count"), LIMITS.items())
def test_limits_are_the_expected_ones(limits: Night, reference: Path, sheet: str, count: int) -> None:
    pairs = fingertips.limit_pairs(limits, [c for c in fingertips.cases(reference) if c.sheet == sheet])
    named = pairs.dropna(subset="expected")
    assert len(named) == count
    assert fingertips.relative(named).max() < 1e-9


@pytest.mark.parametrize(("sheet", "count"), GROUPED.items())
def test_limits_of_groups_are_those_of_their_sums(limits: Night, reference: Path, sheet: str, count: int) -> None:
    pairs = fingertips.limit_pairs(limits, [c for c in fingertips.grouped(reference) if c.sheet == sheet])
    named = pairs.dropna(subset="expected")
    assert len(named) == count
    assert fingertips.relative(named).max() < 1e-9


def test_without_numerator_or_denominator_there_are_no_limits(limits: Night, reference: Path) -> None:
    rows = [*fingertips.cases(reference), *fingertips.grouped(reference)]
    pairs = fingertips.limit_pairs(limits, rows)
    empty = pairs[pairs["expected"].isna()]
    given = empty.dropna(subset="found")
    assert len(empty) == 3 * 4 * 2 + 3 * 2 * 2 + 1
    # One case, 99.8 %: Byar's lower limit is below zero; the test data leave it empty, a count is at least 0.
    assert list(given[["name", "column", "found"]].itertuples(index=False, name=None)) == [
        ("Byars_Wilson-13", "ci_low_998", 0)
    ]


def test_a_count_that_is_not_whole_needs_a_declared_exception(reference: Path, tmp_path: Path) -> None:
    folder = fingertips.limits_project(tmp_path / "projekt", reference)
    Edit("assets/thema/defs.yaml", "ganze_zahl: warning", "ganze_zahl: error").apply(folder)
    states = run_night(folder, NOW).states
    assert {name: [d.decision for d in state.deliveries] for name, state in states.items()} == {
        "byar": ["accepted"],
        "rate": ["accepted"],
        "wilson": ["rejected"],
    }


# ---------------------------------------------------------------- funnel


def test_all_labels_are_the_expected_ones(funnel: Night, reference: Path) -> None:
    labels = fingertips.funnel_labels(funnel, reference)
    assert len(labels) == 303
    assert labels[labels["expected"] != labels["found"]].empty
    assert set(labels["expected"]) == set(LABELS.values())


def test_the_benchmark_is_the_published_one(funnel: Night, reference: Path) -> None:
    (found,) = fingertips.funnel_labels(funnel, reference)["benchmark"].unique()
    assert found == pytest.approx(fingertips.baseline(reference), abs=5e-7)


def test_the_whole_is_not_compared_with_itself(funnel: Night) -> None:
    rows = query(
        funnel.project.paths.internal_mart,
        "SELECT comparison, not_compared_reason, method FROM mart.indicator_value WHERE area_level = 'stadt'",
    )
    assert rows.to_dict("records") == [
        {"comparison": "not_compared", "not_compared_reason": "same_area", "method": "rolled_up"}
    ]


# ---------------------------------------------------------------- trends


@pytest.mark.parametrize("one", [*TRENDS, AGED], ids=lambda one: one.name)
def test_trend_has_the_expected_mark(trends: Night, one: fingertips.Trend) -> None:
    found = fingertips.trends_of(trends).loc[one.name]
    assert found["trend"] == one.mark
    if one.chi2 is not None:
        assert found["trend_chi2"] == pytest.approx(one.chi2, abs=one.chi2_within)


def test_weighted_line_of_the_oracle_gives_the_chi2_of_the_source() -> None:
    """The source's limits are rounded, ours are not: so its figure holds the oracle, and the oracle holds the SQL."""
    *columns, chi2 = fingertips.WEIGHTED
    found, sign = oracle.trend_of_rates(*[np.array(column) for column in columns])
    assert round(float(found), 2) == chi2
    assert float(sign) == 1


def test_a_trend_without_uncertainty_says_why(trends: Night) -> None:
    found = fingertips.trends_of(trends).loc["Zähler gleich Nenner"]
    assert found["trend_reason"] == "none_or_all"
    assert pd.isna(found["trend_chi2"])


# ---------------------------------------------------------------- docs/reproduction.md


def test_page_says_what_was_measured(limits: Night, funnel: Night, trends: Night, reference: Path) -> None:
    rows = results.of_limits(limits, reference) + results.of_funnel(funnel, reference) + results.of_trends(trends)
    assert all(row.matched == row.total for row in rows)
    assert results.page_holds([row.line() for row in rows]) == [], "run: python -m scripts.reproduction"


def test_page_says_nothing_else() -> None:
    """Every line of its tables is held by one of the tests; the rest stands in the script."""
    text = results.PAGE.read_text(encoding="utf-8")
    table, wrong = text.removeprefix(INTRODUCTION).removesuffix(REST).split(WRONG)
    assert text == INTRODUCTION + table + WRONG + wrong + REST
    assert len(table.splitlines()) == 2 * len(mss.EDITIONS) + 7 + 7
    assert len(wrong.splitlines()) == len(mss.WRONG_WAYS)
