"""Limits, comparisons, changes, ranks, z values and trends of 10,000 constructed cases, against scipy and statsmodels.

The cases go as an observation into the marts of a project: YAML and SQL, no formula of ours in Python.
"""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep

from tests.reference import oracle
from tests.reference.oracle import Array
from tests.reference.projects import (
    CITY,
    Document,
    build_marts,
    measure,
    observed,
    query,
    ratio,
    source,
    text,
    write_project,
)

LEVEL = "fall"
AREAS, FIRST_YEAR, YEARS, BREAK = 100, 1901, 100, 1950
FACTOR = {"percent": 100.0, "per_1000": 1000.0, "ratio": 1.0}
COUNTS = {
    "anteil": "faelle",
    "trichter": "faelle",
    "gebrochen": "faelle_neu",
    "rate": "ereignisse",
    "byar": "ereignisse",
}
SOAK = os.environ.get("SOAK") == "1"
MEASURES = ["faelle", "faelle_neu", "ereignisse", "basis"]
UNITS = {"anteil": "percent", "trichter": "percent", "gebrochen": "percent", "rate": "per_1000", "byar": "ratio"}


@dataclass(frozen=True)
class Cases:
    """Arrays of shape (areas, years); a missing year is NaN in all of them."""

    faelle: Array
    ereignisse: Array
    basis: Array

    @property
    def missing(self) -> np.ndarray:
        return np.isnan(self.basis)


def draw(seed: int = 20) -> Cases:
    """Half wild (bases from 1 to a billion; none, all, 1, 9 and 10 cases), half series that drift slowly, with gaps."""
    rng = np.random.default_rng(seed)
    half = (AREAS // 2, YEARS)
    basis = np.floor(10 ** rng.uniform(0, 9, half))
    usual = rng.binomial(basis.astype(np.int64), 10 ** rng.uniform(-4, 0, half)).astype(float)
    special = rng.choice([0, 1, 9, 10], half)
    kind = rng.choice(5, half, p=[0.6, 0.2, 0.1, 0.05, 0.05])
    cases = np.choose(kind, [usual, np.minimum(special, basis), basis, basis - 1, np.zeros(half)])
    years = np.arange(YEARS)
    slow_basis = np.floor(10 ** rng.uniform(2, 6, (half[0], 1)) * (1 + 0.01 * rng.normal(size=half)))
    logit = rng.uniform(-3, 1, (half[0], 1)) + rng.choice([0, 0.02, 0.1], (half[0], 1)) * (years % 20 - 10)
    slow = rng.binomial(slow_basis.astype(np.int64), 1 / (1 + np.exp(-logit))).astype(float)
    slow_basis[rng.random(half) < 0.03] = np.nan
    basis, cases = np.vstack([basis, slow_basis]), np.vstack([cases, slow])
    # A quotient may exceed one; every third area counts few events.
    events = np.vstack([np.floor(cases[: half[0]] * 10 ** rng.uniform(0, 1, half)), slow])
    events[::3] = rng.poisson(6, events[::3].shape)
    return Cases(np.where(np.isnan(basis), np.nan, cases), np.where(np.isnan(basis), np.nan, events), basis)


POLARITY = {"anteil": "higher_is_better", "trichter": "neutral", "gebrochen": "higher_is_worse", "rate": "neutral"}
POLARITY |= {"byar": "higher_is_worse"}


def documents(polarity: dict[str, str] = POLARITY) -> list[Document]:
    """Five indicators over the same counts; one has a break, one is compared by a funnel, one is better when higher."""
    levels = {LEVEL: ["probe"], "stadt": ["probe"]}
    layout = {
        "area": {"name": "Gebiet", "candidate_levels": list(levels)},
        "period": {"type": "kalenderjahr", "column": "Jahr"},
        "values": [{"column": name, "measure": name} for name in MEASURES],
    }
    broken = {"measure": "faelle_neu", "since": str(BREAK), "reason": text("konstruiert")}
    found = [source("probe", layout, breaks=[broken])]
    found += [measure(name, "kalenderjahr", levels) for name in MEASURES]
    more: dict[str, dict[str, Any]] = {
        "trichter": {"comparison": {"method": "funnel"}},
        "byar": {"interval": "byar", "part_of_whole": False},
    }
    for name, unit in UNITS.items():
        others = {"polarity": polarity[name], **more.get(name, {})}
        found.append(ratio(name, unit, COUNTS[name], "basis", levels, **others))
    return found


def cells(cases: Cases) -> pd.DataFrame:
    """Rows of the observation; the whole has the sums."""
    arrays = {"faelle": cases.faelle, "faelle_neu": cases.faelle, "ereignisse": cases.ereignisse, "basis": cases.basis}
    rows = []
    for name, array in arrays.items():
        for year in range(array.shape[1]):
            day = dt.date(FIRST_YEAR + year, 12, 31)
            found = np.flatnonzero(~np.isnan(array[:, year]))
            rows += [(name, f"F{area:04d}", LEVEL, day, array[area, year]) for area in found]
            rows.append((name, CITY, "stadt", day, array[found, year].sum()))
    return pd.DataFrame(rows, columns=["measure_id", "area_id", "area_level", "reference_date", "value"])


def marts_of(
    folder: Path, frame: pd.DataFrame, described: list[Document], order: Iterable[int] = range(AREAS)
) -> pd.DataFrame:
    """mart.indicator_value over these cells; `order` is that of the list of areas."""
    areas = [(f"F{area:04d}", f"Fall {area}", LEVEL) for area in order]
    write_project(folder / "projekt", areas, described)
    file = build_marts(folder / "projekt", observed(frame, folder / "beobachtung.parquet"))
    return query(file, "FROM mart.indicator_value")


@pytest.fixture(scope="module")
def cases() -> Cases:
    return draw()


@pytest.fixture(scope="module")
def marts(cases: Cases, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return marts_of(tmp_path_factory.mktemp("orakel"), cells(cases), documents())


def grid(marts: pd.DataFrame, indicator: str, column: str) -> np.ndarray:
    """Values of a column by area and year; missing years are NaN or None."""
    rows = marts[(marts["indicator_id"] == indicator) & (marts["area_level"] == LEVEL)]
    table = rows.assign(year=rows["reference_date"].dt.year).pivot(index="area_id", columns="year", values=column)
    return np.asarray(table.sort_index().reindex(columns=range(FIRST_YEAR, FIRST_YEAR + YEARS)).to_numpy())


def numbers(marts: pd.DataFrame, indicator: str, column: str) -> Array:
    return grid(marts, indicator, column).astype(float)


def benchmark(marts: pd.DataFrame, indicator: str) -> Array:
    """Value of the whole by year."""
    rows = marts[(marts["indicator_id"] == indicator) & (marts["area_id"] == CITY)].sort_values("reference_date")
    return rows["value"].to_numpy(dtype=float)


def limits(cases: Cases, indicator: str, confidence: float) -> tuple[Array, Array]:
    """What scipy and statsmodels say, in the indicator's unit."""
    factor = FACTOR[UNITS[indicator]]
    if UNITS[indicator] == "percent":
        low, high = oracle.wilson(cases.faelle, cases.basis, confidence)
        return factor * low, factor * high
    low, high = oracle.poisson(cases.ereignisse, confidence, "byar" if indicator == "byar" else "byar_exact")
    return factor * low / cases.basis, factor * high / cases.basis


def value(cases: Cases, indicator: str) -> Array:
    counts = cases.faelle if UNITS[indicator] == "percent" else cases.ereignisse
    return FACTOR[UNITS[indicator]] * counts / cases.basis


def test_ten_thousand_cases_are_told_and_the_special_ones_are_among_them(cases: Cases) -> None:
    x, n = cases.faelle, cases.basis
    assert x.size == 10_000
    assert (~cases.missing).sum() > 9_800
    for special in (x == 0, x == 1, x == 9, x == 10, x == n, x == n - 1, n == 1, n > 1e8, cases.ereignisse > n):
        assert special.sum() > 20


@pytest.mark.parametrize("indicator", UNITS)
def test_limits_are_those_of_scipy(cases: Cases, marts: pd.DataFrame, indicator: str) -> None:
    for name, suffix in (("95", ""), ("998", "_998")):
        low, high = limits(cases, indicator, oracle.CONFIDENCES[name])
        factor = FACTOR[UNITS[indicator]]
        for column, wanted in ((f"ci_low{suffix}", low), (f"ci_high{suffix}", high)):
            found = numbers(marts, indicator, column)
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-15 * factor, err_msg=column)


@pytest.mark.parametrize("indicator", UNITS)
def test_limits_enclose_the_value_and_the_wider_ones_the_narrower(
    cases: Cases, marts: pd.DataFrame, indicator: str
) -> None:
    columns = ["ci_low_998", "ci_low", "value", "ci_high", "ci_high_998"]
    arrays = [numbers(marts, indicator, column)[~cases.missing] for column in columns]
    for smaller, larger in itertools.pairwise(arrays):
        assert (smaller <= larger * (1 + 1e-12)).all()


def test_byar_is_close_to_the_exact_limits_from_ten_cases_on() -> None:
    x = np.array([10.0, 11, 20, 50, 100, 1000, 1e6])
    for confidence, allowed in ((0.95, 0.003), (0.998, 0.02)):
        for ours, true in zip(oracle.byar(x, confidence), oracle.exact(x, confidence), strict=True):
            assert (np.abs(ours / true - 1) < allowed).all()


@pytest.mark.parametrize(
    ("indicator", "words"),
    [
        ("anteil", ("better", "worse")),
        ("gebrochen", ("worse", "better")),
        ("rate", ("higher", "lower")),
        ("byar", ("worse", "better")),
    ],
)
def test_comparison_follows_from_the_intervals(
    cases: Cases, marts: pd.DataFrame, indicator: str, words: tuple[str, str]
) -> None:
    whole = benchmark(marts, indicator)
    np.testing.assert_allclose(whole, total(cases, indicator), rtol=1e-12)
    inner, outer = [oracle.label(*limits(cases, indicator, c), whole) for c in oracle.CONFIDENCES.values()]
    _same_labels(marts, indicator, cases, inner, outer, words)


def total(cases: Cases, indicator: str) -> Array:
    counts = cases.faelle if UNITS[indicator] == "percent" else cases.ereignisse
    return np.asarray(FACTOR[UNITS[indicator]] * np.nansum(counts, axis=0) / np.nansum(cases.basis, axis=0))


def test_funnel_asks_whether_the_value_is_usual_for_the_benchmark(cases: Cases, marts: pd.DataFrame) -> None:
    p0 = total(cases, "trichter") / 100
    found = []
    for confidence in oracle.CONFIDENCES.values():
        low, high = oracle.wilson(cases.basis * p0, cases.basis, confidence)
        p = np.round(value(cases, "trichter"), 9)
        found.append((p > np.round(100 * high, 9)).astype(int) - (p < np.round(100 * low, 9)).astype(int))
    _same_labels(marts, "trichter", cases, found[0], found[1], ("higher", "lower"))


def _same_labels(
    marts: pd.DataFrame, indicator: str, cases: Cases, inner: np.ndarray, outer: np.ndarray, words: tuple[str, str]
) -> None:
    there = ~cases.missing
    wanted = np.select([inner == 1, inner == -1], words, "similar")[there]
    assert (grid(marts, indicator, "comparison")[there] == wanted).all()
    confidence = np.where(inner == 0, np.nan, np.where(outer == 0, 95.0, 99.8))[there]
    np.testing.assert_array_equal(numbers(marts, indicator, "comparison_confidence")[there], confidence)
    assert set(wanted) == {*words, "similar"}
    assert {95.0, 99.8} <= set(confidence)


@pytest.mark.parametrize("indicator", UNITS)
def test_z_values_and_ranks_are_those_of_scipy(cases: Cases, marts: pd.DataFrame, indicator: str) -> None:
    values = value(cases, indicator)
    z = stats.zscore(values, axis=0, ddof=0, nan_policy="omit")
    np.testing.assert_allclose(numbers(marts, indicator, "z_score"), z, rtol=1e-7, atol=1e-9)
    ranks = stats.rankdata(-np.round(values, 9), method="min", axis=0, nan_policy="omit")
    np.testing.assert_array_equal(numbers(marts, indicator, "rank"), np.where(cases.missing, np.nan, ranks))
    counts = np.broadcast_to((~cases.missing).sum(axis=0), values.shape)
    np.testing.assert_array_equal(numbers(marts, indicator, "ranked_n")[~cases.missing], counts[~cases.missing])


def test_changes_of_proportions_are_newcombes(cases: Cases, marts: pd.DataFrame) -> None:
    x, n = cases.faelle, cases.basis
    low, high = confint_proportions_2indep(x[:, 1:], n[:, 1:], x[:, :-1], n[:, :-1], method="newcomb", compare="diff")
    np.testing.assert_allclose(numbers(marts, "anteil", "change_low")[:, 1:], 100 * low, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(numbers(marts, "anteil", "change_high")[:, 1:], 100 * high, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("indicator", UNITS)
def test_changes_are_formed_of_the_intervals_of_both_years(cases: Cases, marts: pd.DataFrame, indicator: str) -> None:
    v = value(cases, indicator)
    sides = (v, *limits(cases, indicator, 0.95))
    low, high = oracle.mover(*[tuple(a[:, part] for a in sides) for part in (slice(1, None), slice(None, -1))])  # type: ignore[arg-type]
    change = np.diff(v, axis=1)
    if indicator == "gebrochen":
        low[:, BREAK - FIRST_YEAR - 1] = high[:, BREAK - FIRST_YEAR - 1] = change[:, BREAK - FIRST_YEAR - 1] = np.nan
    scale = np.nanmax(np.abs(v))
    for column, wanted in (("change", change), ("change_low", low), ("change_high", high)):
        found = numbers(marts, indicator, column)
        assert np.isnan(found[:, 0]).all()
        np.testing.assert_allclose(found[:, 1:], wanted, rtol=1e-7, atol=1e-15 * scale + 1e-12, err_msg=column)


def windows(array: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(array, 5, axis=1)


@pytest.mark.parametrize(
    ("indicator", "words"),
    [
        ("anteil", ("improving", "worsening")),
        ("gebrochen", ("worsening", "improving")),
        ("rate", ("increasing", "decreasing")),
        ("byar", ("worsening", "improving")),
    ],
)
def test_trends_are_those_worked_out_anew(
    cases: Cases, marts: pd.DataFrame, indicator: str, words: tuple[str, str]
) -> None:
    possible = np.ones((AREAS, YEARS - 4), dtype=bool)
    if UNITS[indicator] == "percent":
        x, n = windows(cases.faelle), windows(cases.basis)
        possible &= ((x > 0) & (x < n)).all(axis=-1)
        with np.errstate(all="ignore"):
            chi2, sign = oracle.trend_of_proportions(x, n)
    else:
        low, high = limits(cases, indicator, 0.95)
        possible &= ~windows(cases.missing).any(axis=-1)
        chi2, sign = oracle.trend_of_rates(windows(value(cases, indicator)), windows(low), windows(high))
    if indicator == "gebrochen":
        last = np.arange(FIRST_YEAR + 4, FIRST_YEAR + YEARS)
        possible &= ~((last >= BREAK) & (last - 4 < BREAK))
    known = np.select(
        [~possible, chi2 <= oracle.CRITICAL, sign == 1, sign == -1],
        ["not_calculable", "no_significant_change", *words],
        "no_significant_change",
    )
    there = ~cases.missing[:, 4:]
    found = grid(marts, indicator, "trend")
    assert (found[:, 4:][there] == known[there]).all()
    assert (found[:, :4][~cases.missing[:, :4]] == "not_calculable").all()
    assert set(known[there]) == {"not_calculable", "no_significant_change", *words}
    np.testing.assert_allclose(
        numbers(marts, indicator, "trend_chi2")[:, 4:][there & possible], chi2[there & possible], rtol=1e-6, atol=1e-9
    )
    assert np.isnan(numbers(marts, indicator, "trend_chi2")[:, 4:][~possible]).all()


def test_no_trend_has_a_reason_and_a_trend_has_none(marts: pd.DataFrame) -> None:
    assert (marts["trend_reason"].isna() == (marts["trend"] != "not_calculable")).all()
    reasons = marts.loc[marts["area_level"] == LEVEL].groupby("indicator_id")["trend_reason"].unique()
    assert {"too_few_periods", "gap", "none_or_all"} <= set(reasons["anteil"])
    assert "series_break" in set(reasons["gebrochen"])
    assert "none_or_all" not in set(reasons["rate"])


def test_weighted_line_is_that_of_statsmodels(cases: Cases) -> None:
    """The oracle's own formula for rates, on a sample."""
    low, high = limits(cases, "rate", 0.95)
    y, low, high = [windows(a)[AREAS // 2 :: 7, ::9].reshape(-1, 5) for a in (value(cases, "rate"), low, high)]
    there = ~np.isnan(y).any(axis=1)
    chi2, _ = oracle.trend_of_rates(y, low, high)
    for one in np.flatnonzero(there):
        weights = (3.92 / (high[one] - low[one])) ** 2
        line = sm.WLS(y[one], sm.add_constant(np.arange(5.0)), weights).fit(cov_type="fixed scale")
        assert line.tvalues[1] ** 2 == pytest.approx(chi2[one], rel=1e-6, abs=1e-12)


def test_more_cases_than_the_whole_has_get_no_limits_of_a_share(tmp_path: Path) -> None:
    """Wilson is declared, but the delivered numerator exceeds the denominator."""
    layout = {
        "area": {"name": "Gebiet", "level": LEVEL},
        "period": {"type": "kalenderjahr", "column": "Jahr"},
        "values": [{"column": name, "measure": name} for name in ("faelle", "basis")],
    }
    described = [source("probe", layout)]
    described += [measure(name, "kalenderjahr", {LEVEL: ["probe"]}) for name in ("faelle", "basis")]
    described += [ratio(f"je_{unit}", unit, "faelle", "basis", [LEVEL], interval="wilson") for unit in FACTOR]
    rows = [
        (name, "F0001", LEVEL, dt.date(2020, 12, 31), value) for name, value in (("faelle", 250.0), ("basis", 22.0))
    ]
    frame = pd.DataFrame(rows, columns=["measure_id", "area_id", "area_level", "reference_date", "value"])
    found = marts_of(tmp_path, frame, described, order=[1])
    limits = found.set_index("indicator_id")[["ci_low", "ci_high", "ci_low_998", "ci_high_998"]]
    assert len(limits) == len(FACTOR)
    assert limits.isna().all(axis=None), limits


# ---------------------------------------------------------------- properties


@pytest.fixture(scope="module")
def few(cases: Cases) -> Cases:
    """A part of the cases: every fourth area, the years around the break."""
    years = slice(BREAK - FIRST_YEAR - 12, BREAK - FIRST_YEAR + 12)
    return Cases(*[array[::4, years] for array in (cases.faelle, cases.ereignisse, cases.basis)])


@pytest.fixture(scope="module")
def plain(few: Cases, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return marts_of(tmp_path_factory.mktemp("wenige"), cells(few), documents())


@pytest.mark.parametrize("seed", [1, 2, 3] if SOAK else [1])
def test_order_of_rows_and_areas_changes_nothing(few: Cases, plain: pd.DataFrame, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = cells(few)
    shuffled = frame.iloc[rng.permutation(len(frame))]
    found = marts_of(tmp_path, shuffled, documents(), rng.permutation(AREAS))
    pd.testing.assert_frame_equal(found, plain, check_exact=True)


def test_ten_times_the_counts_narrow_every_interval(few: Cases, plain: pd.DataFrame, tmp_path: Path) -> None:
    frame = cells(few)
    found = marts_of(tmp_path, frame.assign(value=10 * frame["value"]), documents())
    told = plain["ci_low"].notna()
    assert (found["ci_low"].notna() == told).all()
    np.testing.assert_allclose(found["value"], plain["value"], rtol=1e-12)
    for low, high in (("ci_low", "ci_high"), ("ci_low_998", "ci_high_998")):
        assert ((found[high] - found[low])[told] < (plain[high] - plain[low])[told]).all()


def test_opposite_polarity_swaps_the_words_and_nothing_else(few: Cases, plain: pd.DataFrame, tmp_path: Path) -> None:
    opposite = {"higher_is_better": "higher_is_worse", "higher_is_worse": "higher_is_better", "neutral": "neutral"}
    turned = {name: opposite[polarity] for name, polarity in POLARITY.items()}
    found = marts_of(tmp_path, cells(few), documents(turned))
    words = {"better": "worse", "worse": "better", "improving": "worsening", "worsening": "improving"}
    neutral = plain["indicator_id"].map(POLARITY) == "neutral"
    columns = ["comparison", "trend"]
    assert set(words) < set(plain.loc[~neutral, columns].to_numpy().ravel())
    assert not set(words) & set(plain.loc[neutral, columns].to_numpy().ravel())
    pd.testing.assert_frame_equal(found, plain.assign(**{c: plain[c].replace(words) for c in columns}))
