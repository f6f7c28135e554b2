"""400 Kreise from 1995 to 2021 out of the real INKAR workbooks: every share recalculated, statistics on a sample."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pipelines.night import Night
from pipelines.project import ConfigError, load_project
from tests.reference import inkar, oracle, results
from tests.reference.inkar import KREIS, LAND, LEAVERS, SHARE, UNEMPLOYED, WORKING_AGE
from tests.reference.projects import query, reference_data

YEARS = list(range(1995, 2022))


@pytest.fixture(scope="module")
def reference() -> Path:
    return reference_data()


@pytest.fixture(scope="module")
def night(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    return inkar.night_of(tmp_path_factory.mktemp("inkar") / "projekt", reference)


@pytest.fixture(scope="module")
def counts(reference: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Unemployed and population, read by pandas alone."""
    return inkar.workbook(reference, UNEMPLOYED), inkar.workbook(reference, WORKING_AGE)


@pytest.fixture(scope="module")
def sample(counts: tuple[pd.DataFrame, pd.DataFrame]) -> list[str]:
    return results.sample(counts[0].index)


def test_workbooks_hold_400_kreise_and_27_years(counts: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    for frame in counts:
        assert frame.shape == (400, 27)
        assert frame.columns.tolist() == YEARS
        assert frame.notna().all(axis=None)


def test_every_share_is_the_quotient_of_its_cells(night: Night, counts: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    found = inkar.values_of(night, SHARE, KREIS)
    assert found.shape == (400, 27)
    pd.testing.assert_frame_equal(found, 100 * counts[0] / counts[1], rtol=1e-15, check_dtype=False, check_names=False)


def test_mean_of_a_year_is_divided_by_the_population_at_its_end(
    night: Night, counts: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    rows = query(
        night.project.paths.internal_mart,
        "SELECT period, numerator, denominator FROM mart.indicator_value "
        "WHERE indicator_id = ? AND area_id = '01002' AND year(reference_date) = 2021",
        [SHARE],
    )
    assert rows.to_dict("records") == [
        {"period": "2021-jd", "numerator": 11097, "denominator": counts[1].at["01002", 2021]}
    ]


@pytest.mark.parametrize(("level", "number"), [(LAND, 16), ("stadt", 1)])
def test_sums_of_counts_are_divided_and_no_mean_of_shares_is_formed(
    night: Night, counts: tuple[pd.DataFrame, pd.DataFrame], level: str, number: int
) -> None:
    found = inkar.values_of(night, SHARE, level)
    group = "L" + counts[0].index.str[:2] if level == LAND else np.repeat(inkar.COUNTRY, 400)
    wanted = 100 * counts[0].groupby(group).sum() / counts[1].groupby(group).sum()
    assert found.shape == (number, 27)
    pd.testing.assert_frame_equal(found, wanted, rtol=1e-14, check_dtype=False, check_names=False)
    means = (100 * counts[0] / counts[1]).groupby(group).mean()
    several = counts[0].groupby(group).size() > 1  # two Länder are one Kreis each
    assert ((found - means).abs().loc[several[several].index].max(axis=1) > 0.01).all()


@pytest.mark.parametrize(("suffix", "confidence"), [("", 0.95), ("_998", 0.998)])
def test_limits_are_wilsons(
    night: Night, counts: tuple[pd.DataFrame, pd.DataFrame], sample: list[str], suffix: str, confidence: float
) -> None:
    x, n = [frame.loc[sample].to_numpy(dtype=float) for frame in counts]
    for column, wanted in zip(("ci_low", "ci_high"), oracle.wilson(x, n, confidence), strict=True):
        found = inkar.values_of(night, SHARE, KREIS, column + suffix).loc[sample]
        np.testing.assert_allclose(found.to_numpy(), 100 * wanted, rtol=1e-12)


def test_ranks_and_z_values_are_those_of_scipy(night: Night, counts: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    shares = 100 * counts[0] / counts[1]
    z = stats.zscore(shares.to_numpy(), axis=0, ddof=0)
    np.testing.assert_allclose(inkar.values_of(night, SHARE, KREIS, "z_score").to_numpy(), z, rtol=1e-9, atol=1e-11)
    ranks = stats.rankdata(-shares.to_numpy(), method="min", axis=0)
    np.testing.assert_array_equal(inkar.values_of(night, SHARE, KREIS, "rank").to_numpy(), ranks)
    assert (inkar.values_of(night, SHARE, KREIS, "ranked_n") == 400).all(axis=None)


def test_trends_of_all_five_year_windows(
    night: Night, counts: tuple[pd.DataFrame, pd.DataFrame], sample: list[str]
) -> None:
    trend = inkar.values_of(night, SHARE, KREIS, "trend")
    found, wanted = results.trends(trend, *counts, sample)
    assert (found == wanted).all()
    assert set(wanted.ravel()) == {"no_significant_change", "worsening", "improving"}
    assert (trend[YEARS[:4]] == "not_calculable").all(axis=None)
    x, n = [np.lib.stride_tricks.sliding_window_view(f.loc[sample].to_numpy(dtype=float), 5, axis=1) for f in counts]
    chi2, _ = oracle.trend_of_proportions(x, n)
    found = inkar.values_of(night, SHARE, KREIS, "trend_chi2").loc[sample, YEARS[4:]]
    np.testing.assert_allclose(found.to_numpy(), chi2, rtol=1e-7)


# ---------------------------------------------------------------- rates without counts


def test_rates_of_the_kreise_are_read_as_published(night: Night, reference: Path) -> None:
    found = inkar.values_of(night, "schulabgaenge_ohne_abschluss", KREIS)
    wanted = inkar.workbook(reference, LEAVERS)
    assert int(wanted.notna().sum().sum()) == 10_782  # 18 cells are empty
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, check_names=False, check_exact=True)


def test_rates_have_no_limits_and_no_trend(night: Night) -> None:
    rows = query(
        night.project.paths.internal_mart,
        "SELECT DISTINCT ci_low, ci_high, trend, trend_reason FROM mart.indicator_value "
        "WHERE indicator_id = 'schulabgaenge_ohne_abschluss' AND value IS NOT NULL",
    )
    assert rows[["ci_low", "ci_high"]].isna().all(axis=None)
    assert rows[["trend", "trend_reason"]].to_dict("records") == [
        {"trend": "not_calculable", "trend_reason": "rate_only"}
    ]


def test_rates_without_counts_are_not_rolled_up(reference: Path, tmp_path: Path) -> None:
    documents = inkar.leavers_documents(land=[{"rolled_up": KREIS}])
    folder = inkar.make_project(tmp_path / "projekt", reference, copy.deepcopy(documents))
    with pytest.raises(ConfigError, match="Quoten werden nie summiert oder gemittelt") as caught:
        load_project(folder)
    assert "liefern Sie Zähler und Nenner als Anzahlen" in str(caught.value)


# ---------------------------------------------------------------- docs/reproduction.md


def test_page_says_what_was_measured(night: Night, reference: Path) -> None:
    rows = results.of_inkar(night, reference)
    assert all(row.matched == row.total for row in rows)
    assert results.page_holds([row.line() for row in rows]) == [], "run: python -m scripts.reproduction"
