"""What was recalculated and how much of it agrees: rows of docs/reproduction.md, measured from built projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from pipelines.night import Night
from tests.conftest import ROOT
from tests.reference import fingertips, inkar, mss, oracle

PAGE = ROOT / "docs/reproduction.md"


@dataclass(frozen=True)
class Row:
    """One line of the table; `deviation` is the largest one (None: words are compared)."""

    subject: str
    source: str
    total: int
    matched: int
    deviation: float | None = None

    def line(self) -> str:
        """As it stands in the page; deviations are named by a bound, their last digits depend on the machine."""
        if self.deviation is None:
            gap = "–"
        else:
            gap = next((f"unter {text}" for limit, text in BOUNDS if self.deviation < limit), f"{self.deviation:.1e}")
        number = f"{grouped(self.matched)} von {grouped(self.total)}"
        return f"| {self.subject} | {self.source} | {number} | {gap} |"


BOUNDS = ((1e-12, "10⁻¹²"), (1e-9, "10⁻⁹"), (1e-6, "10⁻⁶"))


def grouped(number: int) -> str:
    return f"{number:,}".replace(",", ".")


def compared(subject: str, source: str, found: Any, wanted: Any, tolerance: float) -> Row:
    """Numbers place by place; the deviation is relative to the wanted number, below 1 absolute."""
    found, wanted = np.asarray(found, dtype=float).ravel(), np.asarray(wanted, dtype=float).ravel()
    assert found.shape == wanted.shape
    there = ~np.isnan(wanted)
    gap = np.abs(found - wanted)[there] / np.maximum(np.abs(wanted[there]), 1)
    gap = np.where(np.isnan(gap), np.inf, gap)
    return Row(subject, source, int(there.sum()), int((gap <= tolerance).sum()), float(gap.max()))


def same(subject: str, source: str, found: Any, wanted: Any) -> Row:
    """Words, place by place."""
    found, wanted = np.asarray(found).ravel(), np.asarray(wanted).ravel()
    assert found.shape == wanted.shape
    return Row(subject, source, len(wanted), int((found == wanted).sum()))


# ---------------------------------------------------------------- Berlin


def of_mss(night: Night, shared: Path, edition: int) -> list[Row]:
    """Classes as published, numbers against an independent computation."""
    file = night.project.paths.internal_mart
    published, found = mss.published_classes(shared, edition), mss.index_of(file, edition)
    source = f"Monitoring Soziale Stadtentwicklung Berlin {edition}"
    classes = published.agg("|".join, axis=1)
    ours = found[list(published.columns)].fillna("").agg("|".join, axis=1).reindex(classes.index, fill_value="")
    wanted = mss.expected(shared, edition)
    parts = mss.parts_of(file, edition).pivot(
        index="area_id", columns="indicator_id", values=["z_score", "change_z_score"]
    )
    names = [f"s{k}_anteil" for k in mss.SHARES]
    columns = [*[("z_score", name) for name in names], *[("change_z_score", name) for name in names]]
    numbers = np.column_stack(
        [parts.loc[wanted["s"].index, columns], found.loc[wanted["s"].index, ["status_index", "dynamics_index"]]]
    )
    z = np.column_stack(
        [wanted["s"][list(mss.SHARES)], wanted["d"][list(mss.SHARES)], wanted["s"]["index"], wanted["d"]["index"]]
    )
    return [
        same("Statusklasse, Dynamikklasse und Gesamtgruppe der Planungsräume", source, ours, classes),
        compared("z-Werte und Indizes", f"eigene Nachrechnung zu {edition}", numbers, z, 1e-5),
    ]


# ---------------------------------------------------------------- England


def of_limits(night: Night, shared: Path) -> list[Row]:
    pairs = fingertips.limit_pairs(night, [*fingertips.cases(shared), *fingertips.grouped(shared)])
    subjects = {
        "Byars_Wilson": "Vertrauensgrenzen nach Wilson und Byar",
        "Proportion": "Vertrauensgrenzen von Anteilen (95 und 99,8 %)",
        "Rate": "Vertrauensgrenzen von Raten (95 und 99,8 %)",
        "Proportion_g": "Vertrauensgrenzen von Anteilen, Summen über Gebiete",
        "Rate_g": "Vertrauensgrenzen von Raten, Summen über Gebiete",
    }
    rows = []
    for sheet, subject in subjects.items():
        named = pairs[(pairs["sheet"] == sheet) & pairs["expected"].notna()]
        gap = fingertips.relative(named)
        rows.append(Row(subject, ENGLAND, len(named), int((gap < 1e-9).sum()), float(gap.max())))
    return rows


ENGLAND = "Fingertips, England (Prüfdaten von PHEindicatormethods)"


def of_funnel(night: Night, shared: Path) -> list[Row]:
    labels = fingertips.funnel_labels(night, shared)
    subject = "Einstufungen im Vergleich mit dem Gesamtwert (Trichter, fünf Stufen)"
    return [Row(subject, ENGLAND, len(labels), int((labels["expected"] == labels["found"]).sum()))]


def of_trends(night: Night) -> list[Row]:
    found = fingertips.trends_of(night)
    marks = [found.at[one.name, "trend"] for one in fingertips.TRENDS]
    source = "Fingertips, England (Prüffälle der Trendberechnung)"
    return [same("Trends über fünf Jahre", source, marks, [one.mark for one in fingertips.TRENDS])]


# ---------------------------------------------------------------- INKAR

SAMPLE = 40
"""Kreise whose limits and trends are worked out anew, drawn with a fixed seed."""


def sample(names: pd.Index) -> list[str]:
    return sorted(np.random.default_rng(7).choice(names.to_numpy(), SAMPLE, replace=False))


def of_inkar(night: Night, shared: Path) -> list[Row]:
    """Every share, and the statistics of all Kreise or of a sample."""
    x, n = inkar.workbook(shared, inkar.UNEMPLOYED), inkar.workbook(shared, inkar.WORKING_AGE)
    chosen = sample(x.index)
    source = "INKAR 2024 (BBSR), 1995 bis 2021"
    laender = "L" + x.index.str[:2]
    sums = 100 * x.groupby(laender).sum() / n.groupby(laender).sum()
    shares = 100 * x / n

    def ours(column: str, level: str = inkar.KREIS) -> pd.DataFrame:
        return inkar.values_of(night, inkar.SHARE, level, column)

    limits = [oracle.wilson(x.loc[chosen].to_numpy(float), n.loc[chosen].to_numpy(float), c) for c in (0.95, 0.998)]
    columns = ("ci_low", "ci_high", "ci_low_998", "ci_high_998")
    z = stats.zscore(shares.to_numpy(), axis=0, ddof=0)
    ranks = stats.rankdata(-shares.to_numpy(), method="min", axis=0)
    published = inkar.workbook(shared, inkar.LEAVERS)
    rates = inkar.values_of(night, "schulabgaenge_ohne_abschluss", inkar.KREIS)
    return [
        compared("Anteile der 400 Kreise", source, ours("value"), shares, 1e-12),
        compared("Anteile der 16 Länder, aus Summen", source, ours("value", inkar.LAND), sums, 1e-12),
        compared("Quoten der Schulabgänge ohne Abschluss, wie veröffentlicht", source, rates, published, 0),
        compared(
            f"Vertrauensgrenzen von {SAMPLE} Kreisen (scipy, statsmodels)",
            source,
            np.stack([ours(column).loc[chosen] for column in columns]),
            100 * np.stack([limit for pair in limits for limit in pair]),
            1e-9,
        ),
        compared("z-Werte der 400 Kreise (scipy)", source, ours("z_score"), z, 1e-9),
        compared("Ränge der 400 Kreise (scipy)", source, ours("rank"), ranks, 0),
        same(f"Trends von {SAMPLE} Kreisen (eigene Nachrechnung)", source, *trends(ours("trend"), x, n, chosen)),
    ]


def trends(found: pd.DataFrame, x: pd.DataFrame, n: pd.DataFrame, chosen: list[str]) -> tuple[Any, Any]:
    """Words found and wanted for every window of five years."""
    windows = [np.lib.stride_tricks.sliding_window_view(f.loc[chosen].to_numpy(float), 5, axis=1) for f in (x, n)]
    chi2, sign = oracle.trend_of_proportions(*windows)
    steady = "no_significant_change"
    words = np.select([chi2 <= oracle.CRITICAL, sign == 1, sign == -1], [steady, "worsening", "improving"], steady)
    return found.loc[chosen, found.columns[4:]].to_numpy(), words


# ---------------------------------------------------------------- page


def wrong_line(way: str, areas: Mapping[int, int]) -> str:
    """Line of the table of wrong ways: areas in another group than published, by edition."""
    return f"| {way} | " + " | ".join(str(areas[edition]) for edition in mss.EDITIONS) + " |"


def page_holds(lines: list[str]) -> list[str]:
    """Lines that are missing in the page."""
    page = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
    return [line for line in lines if line not in page]
