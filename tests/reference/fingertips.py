"""England's Fingertips: expected confidence limits, funnel labels and trend markers of its own test data.

Sources: publichealthengland/PHEindicatormethods, commit 093fd28, tests/testthat/testdata_*.xlsx and
testdata_funnel_prop_*.csv (read in place); for the trends see `TRENDS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.night import Night
from tests.reference.projects import Document, build, deliver, measure, query, ratio, source, write_project

ROW, GROUP, YEAR = "zeile", "gruppe", "2024"
CONFIDENCE = {"95%": ("ci_low", "ci_high"), "99.8%": ("ci_low_998", "ci_high_998")}
KINDS = {"wilson": "percent", "rate": "per_1000", "byar": "ratio"}
"""Kind of test row -> unit of our indicator."""
FACTOR = {"percent": 100.0, "per_1000": 1000.0, "ratio": 1.0}


@dataclass(frozen=True)
class Case:
    """One row of the test data: counts, and the limits expected per unit of the denominator."""

    name: str
    sheet: str
    kind: str
    numerator: float
    denominator: float
    limits: dict[str, float]
    group: str = ""


def _sheet(shared: Path, file: str, sheet: str) -> pd.DataFrame:
    path = shared / "reference/fingertips" / f"testdata_{file}.xlsx"
    return pd.read_excel(path, sheet_name=sheet, engine="calamine")


def cases(shared: Path) -> list[Case]:
    """Rows without groups, in the order of the files."""
    found = []
    for number, row in enumerate(_sheet(shared, "Byars_Wilson", "testdata_B_W").to_dict("records"), 1):
        low, high = CONFIDENCE[row["confidence"]]
        kind = "wilson" if row["method"] == "Wilson" else "byar"
        base = row["n"] if kind == "wilson" else 1.0
        limits = {low: row["lowercl"], high: row["uppercl"]}
        found.append(Case(f"Byars_Wilson-{number}", "Byars_Wilson", kind, row["x"], base, limits))
    for file, sheet, kind in (("Proportion", "testdata_Prop", "wilson"), ("Rate", "testdata_Rate", "rate")):
        for number, row in enumerate(_sheet(shared, file, sheet).to_dict("records"), 1):
            ends = {"95_0": CONFIDENCE["95%"], "99_8": CONFIDENCE["99.8%"]}
            limits = {
                c: row[f"{side}{e}cl"] for e, cs in ends.items() for c, side in zip(cs, ("lower", "upper"), strict=True)
            }
            per_unit = {column: limit / row["multiplier"] for column, limit in limits.items()}
            counts = (row["Numerator"], row["Denominator"])
            found.append(Case(f"{file}-{number}", file, kind, *counts, per_unit, f"{file}-{row['Area']}"))
    return found


def grouped(shared: Path) -> list[Case]:
    """Limits of groups of rows: in our project their counts are sums over areas."""
    found = []
    for file, sheet, kind in (("Proportion", "testdata_Prop_g", "wilson"), ("Rate", "testdata_Rate_g", "rate")):
        for row in _sheet(shared, file, sheet).to_dict("records"):
            low, high = CONFIDENCE[row["confidence"]]
            limits = {low: row["lowercl"] / row["multiplier"], high: row["uppercl"] / row["multiplier"]}
            counts = (row["Numerator"], row["Denominator"])
            found.append(Case(f"{file}-{row['Area']}", f"{file}_g", kind, *counts, limits))
    return found


# ---------------------------------------------------------------- confidence limits


def limits_project(folder: Path, shared: Path) -> Path:
    """Every test row is an area; rows of one name form a group."""
    rows = cases(shared)
    groups = sorted({case.group for case in rows} - {""})
    areas = [(group, group, GROUP) for group in groups] + [(case.name, case.name, ROW) for case in rows]
    documents: list[Document] = []
    for kind, unit in KINDS.items():
        names = {"numerator": f"{kind}_faelle", "denominator": f"{kind}_basis"}
        layout = {
            "area": {"id": "Zeile", "level": ROW},
            "period": {"type": "kalenderjahr", "column": "Jahr"},
            "values": [{"column": n, "measure": n} for n in names.values()],
        }
        # 0.445 cases of 1 is among the rows: such a count is let in by a declared exception only.
        contract = {"severity": {"ganze_zahl": "warning"}}
        documents.append(source(kind, layout, symbols={"": "missing"}, contract=contract))
        levels: dict[str, list[Any]] = {ROW: [kind]}
        if kind != "byar":
            levels[GROUP] = [{"rolled_up": ROW}]
        documents += [measure(name, "kalenderjahr", levels) for name in names.values()]
        more = {"wilson": {}, "rate": {}, "byar": {"interval": "byar", "part_of_whole": False}}[kind]
        documents.append(ratio(f"{kind}_wert", unit, names["numerator"], names["denominator"], levels, **more))
    members = [(case.name, case.group) for case in rows if case.group]
    write_project(folder, areas, documents, members=members)
    for kind in KINDS:
        lines = [
            (case.name, YEAR, _cell(case.numerator), _cell(case.denominator)) for case in rows if case.kind == kind
        ]
        deliver(folder, kind, ["Zeile", "Jahr", f"{kind}_faelle", f"{kind}_basis"], lines)
    return folder


def _cell(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.15g}".replace(".", ",")


def limits_night(folder: Path, shared: Path) -> Night:
    return build(limits_project(folder, shared))


def limit_pairs(night: Night, rows: list[Case]) -> pd.DataFrame:
    """sheet, name, column, expected, found: one row per limit that the test data name; per unit of the denominator."""
    values = query(night.project.paths.internal_mart, "FROM mart.indicator_value").set_index("area_id")
    pairs = []
    for case in rows:
        for column, limit in case.limits.items():
            found = float(values[column].loc[case.name]) / FACTOR[KINDS[case.kind]]
            pairs.append((case.sheet, case.name, column, limit, found))
    return pd.DataFrame(pairs, columns=["sheet", "name", "column", "expected", "found"])


def relative(pairs: pd.DataFrame) -> pd.Series:
    """Relative deviation; infinite where we have no value."""
    gap = (pairs["found"] - pairs["expected"]).abs() / pairs["expected"].abs()
    return gap.fillna(float("inf"))


# ---------------------------------------------------------------- funnel

LABELS = {
    "High (0.001)": ("higher", 99.8),
    "High (0.025)": ("higher", 95.0),
    "Low (0.001)": ("lower", 99.8),
    "Low (0.025)": ("lower", 95.0),
    "Not significant": ("similar", None),
}


def funnel_cases(shared: Path) -> pd.DataFrame:
    """Area, numerator, denominator, significance."""
    return pd.read_csv(shared / "reference/fingertips/testdata_funnel_prop_inputs.csv", encoding="utf-8-sig", dtype=str)


def baseline(shared: Path) -> float:
    """The published benchmark, in percent, to 6 decimals."""
    table = pd.read_csv(shared / "reference/fingertips/testdata_funnel_prop_outputs.csv", encoding="utf-8-sig")
    (value,) = table["Baseline"].unique()
    return float(value)


def funnel_project(folder: Path, shared: Path, method: str = "funnel") -> Path:
    """303 areas; the whole is their sum. The file is delivered as it is, with its counts that are not whole."""
    layout = {
        "area": {"name": "Area", "level": ROW},
        "period": {"type": "kalenderjahr", "column": "Jahr"},
        "values": [{"column": "numerator", "measure": "faelle"}, {"column": "denominator", "measure": "basis"}],
    }
    form = {"delimiter": ";", "decimal": "."}
    contract = {"severity": {"ganze_zahl": "warning"}, "complete": {ROW: "all"}}
    levels: dict[str, list[Any]] = {ROW: ["trichter"], "stadt": [{"rolled_up": ROW}]}
    documents = [
        source("trichter", layout, format=form, contract=contract),
        measure("faelle", "kalenderjahr", levels),
        measure("basis", "kalenderjahr", levels),
        ratio("anteil", "percent", "faelle", "basis", levels, polarity="neutral", comparison={"method": method}),
    ]
    table = funnel_cases(shared)
    areas = [(f"A{number:03d}", name, ROW) for number, name in enumerate(table["Area"], 1)]
    write_project(folder, areas, documents)
    rows = table[["Area", "numerator", "denominator"]].assign(Jahr=YEAR)
    deliver(folder, "trichter", list(rows.columns), rows.itertuples(index=False))
    return folder


def funnel_night(folder: Path, shared: Path, method: str = "funnel") -> Night:
    return build(funnel_project(folder, shared, method))


def funnel_labels(night: Night, shared: Path) -> pd.DataFrame:
    """name, expected and found (comparison, confidence), benchmark."""
    found = query(
        night.project.paths.internal_mart,
        "SELECT a.name, v.comparison, v.comparison_confidence, v.benchmark_value, v.not_compared_reason "
        "FROM mart.indicator_value v JOIN mart.area a USING (area_id) WHERE v.area_level = ?",
        [ROW],
    ).set_index("name")
    table = funnel_cases(shared).set_index("Area")
    confidence = found["comparison_confidence"].astype(object).where(found["comparison_confidence"].notna(), None)
    return pd.DataFrame(
        {
            "expected": table["significance"].map(LABELS),
            "found": pd.Series(list(zip(found["comparison"], confidence, strict=True)), index=found.index),
            "benchmark": found["benchmark_value"],
        }
    )


# ---------------------------------------------------------------- trends


@dataclass(frozen=True)
class Trend:
    """Counts of five years in order of time, unit, expected mark, chi2 where the source names it."""

    name: str
    kind: str
    first_year: int
    numerators: tuple[int, ...]
    denominators: tuple[int, ...]
    mark: str
    chi2: float | None = None
    chi2_within: float = 0.005
    """Half the last digit that the source names."""


TRENDS = [
    # Figures and marks: ukhsa-collaboration/fingertips-open, commit 6780897, TrendMarkerCalculatorTest.cs.
    Trend(
        "Probe 1",
        "anteil",
        2014,
        (994, 1023, 1199, 1332, 1367),
        (40299, 41527, 42811, 44064, 44701),
        "increasing",
        47.9,
    ),
    Trend("Zähler gleich Nenner", "anteil", 2012, (5, 3, 1, 1, 2), (5, 5, 5, 4, 4), "not_calculable"),
    Trend(
        "Probe 1 als Rate",
        "rate",
        2014,
        (994, 1023, 1199, 1332, 1367),
        (40299, 41527, 42811, 44064, 44701),
        "increasing",
    ),
    Trend(
        "Probe 2 als Rate",
        "rate",
        2014,
        (209, 213, 213, 239, 210),
        (1017, 1087, 1119, 1117, 1139),
        "no_significant_change",
    ),
    # Figures and marks (as on the website): dhsc-govuk/FingertipsNext, TrendAnalysisApp.UnitTests,
    # IndicatorTestData.cs.
    Trend(
        "Diabetes",
        "anteil",
        2020,
        (3455176, 3491868, 3625401, 3774801, 3938080),
        (48783947, 49122259, 49956777, 50649129, 51441896),
        "increasing",
    ),
    Trend(
        "Masernimpfung",
        "anteil",
        2020,
        (57274, 55865, 53681, 51767, 53185),
        (61834, 60511, 59074, 57508, 59028),
        "decreasing",
    ),
    Trend(
        "Augenerkrankung",
        "rate",
        2020,
        (1416, 935, 1344, 1415, 1502),
        (48246126, 48440507, 48753376, 49300918, 49866388),
        "increasing",
    ),
]
AGED = Trend(
    "Über 65 Jahre",
    "anteil",
    2020,
    (10588957, 10547929, 10851467, 11034431, 11246440),
    (60458658, 60744002, 61625745, 62418295, 63227624),
    "increasing",
    3168,
    0.5,
)
"""FingertipsNext expects "no change" here, because its data lack intervals; the proportion test gives chi2 = 3,168."""


def trend_project(folder: Path, series: list[Trend]) -> Path:
    """Every series is an area of the level of its kind; neutral polarity, so marks are increasing and decreasing."""
    documents: list[Document] = []
    kinds = {"anteil": "percent", "rate": "per_1000"}
    areas = [(f"T{number:03d}", one.name, one.kind) for number, one in enumerate(series, 1)]
    for kind, unit in kinds.items():
        names = (f"{kind}_faelle", f"{kind}_basis")
        layout = {
            "area": {"name": "Reihe", "level": kind},
            "period": {"type": "kalenderjahr", "column": "Jahr"},
            "values": [{"column": name, "measure": name} for name in names],
        }
        documents.append(source(kind, layout))
        documents += [measure(name, "kalenderjahr", {kind: [kind]}) for name in names]
        documents.append(ratio(f"{kind}_wert", unit, *names, [kind], polarity="neutral"))
    write_project(folder, areas, documents)
    for kind in kinds:
        rows = [
            (one.name, one.first_year + i, *pair)
            for one in series
            if one.kind == kind
            for i, pair in enumerate(zip(one.numerators, one.denominators, strict=True))
        ]
        deliver(folder, kind, ["Reihe", "Jahr", f"{kind}_faelle", f"{kind}_basis"], rows)
    return folder


def trend_night(folder: Path) -> Night:
    return build(trend_project(folder, [*TRENDS, AGED]))


def trends_of(night: Night) -> pd.DataFrame:
    """By name of the series: trend, chi2 and reason of its last year."""
    return query(
        night.project.paths.internal_mart,
        "SELECT a.name, v.trend, v.trend_chi2, v.trend_reason FROM mart.indicator_value v JOIN mart.area a "
        "USING (area_id) QUALIFY v.reference_date = max(v.reference_date) OVER (PARTITION BY v.area_id)",
    ).set_index("name")


WEIGHTED = (
    (24.67, 24.6, 28, 30.2, 30.6),
    (23.16, 23.15, 26.44, 28.63, 28.98),
    (26.25, 26.19, 29.64, 31.9, 32.25),
    46.77,
)
"""»Probe 1« as rate: values and 95 % limits as the source rounds them, and its chi2 (same file)."""
