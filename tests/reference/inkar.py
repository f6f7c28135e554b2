"""INKAR 2024 (BBSR, dl-de/by-2-0): 400 Kreise, 1995 to 2021; the workbooks are read as they were exported."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pipelines.night import Night
from tests.reference.projects import (
    Document,
    build,
    deliver_file,
    indicator,
    measure,
    query,
    ratio,
    source,
    write_project,
)

KREIS, LAND, COUNTRY = "kreis", "land", "00000"
UNEMPLOYED = "A_ArbeitslosigkeitKreis.xls"
WORKING_AGE = "A_ErwerbsfaehigeBevoelkerungKreis.xls"
LEAVERS = "B_SchulabgaengerohneAbschluss.xls"
SHARE = "arbeitslosenanteil"


def workbook(shared: Path, name: str) -> pd.DataFrame:
    """The sheet read by pandas alone: one row per Kreis (index: Kennziffer), one column per year."""
    sheet = pd.read_excel(
        shared / "reference/inkar" / name, sheet_name="Daten", engine="calamine", header=None, dtype=str
    )
    frame = sheet.iloc[2:].set_index(0)
    values = frame.iloc[:, 2:].apply(pd.to_numeric, errors="coerce")
    values.columns = pd.Index(sheet.iloc[1, 3:].astype(float).astype(int))
    return values.rename_axis(index="kreis", columns="jahr")


def areas(shared: Path) -> list[tuple[str, str, str]]:
    """16 Länder (the first two digits) and 400 Kreise."""
    sheet = pd.read_excel(
        shared / "reference/inkar" / UNEMPLOYED, sheet_name="Daten", engine="calamine", header=None, dtype=str
    ).iloc[2:]
    laender = sorted(set(sheet[0].str[:2]))
    return [(f"L{n}", f"Land {n}", LAND) for n in laender] + [
        (k, n, KREIS) for k, n in zip(sheet[0], sheet[1], strict=True)
    ]


def _layout(heading: str, measure_id: str, period_type: str) -> dict[str, object]:
    period: dict[str, object] = {"type": period_type, "in_header": True}
    if period_type == "stichtag":
        period["day"] = "12-31"
    return {
        "area": {"id": "Kennziffer", "name": "Raumeinheit", "level": KREIS},
        "period": period,
        "constant": {"Aggregat": "Kreise"},
        "values": [{"heading": heading, "measure": measure_id}],
    }


def _source(name: str, layout: dict[str, object]) -> Document:
    shape = {"workbook": {"sheets": ["Daten"]}, "table": {"header_rows": 2}}
    symbols = {"": "missing"}
    return source(name, layout, **shape, symbols=symbols, contract={"complete": {KREIS: "all"}})


def share_documents() -> list[Document]:
    """Annual mean of the unemployed by the population at the end of the year; Länder and Bund are sums."""
    levels = {LAND: [{"rolled_up": KREIS}], "stadt": [{"rolled_up": KREIS}]}
    heading = "Erwerbsfähige Bevölkerung*"
    return [
        _source("arbeitslose_inkar", _layout("Arbeitslose", "arbeitslose", "jahresdurchschnitt")),
        _source("bevoelkerung_inkar", _layout(heading, "erwerbsfaehige", "stichtag")),
        measure("arbeitslose", "jahresdurchschnitt", {KREIS: ["arbeitslose_inkar"], **levels}),
        measure("erwerbsfaehige", "stichtag", {KREIS: ["bevoelkerung_inkar"], **levels}),
        ratio(SHARE, "percent", "arbeitslose", "erwerbsfaehige", [KREIS, LAND, "stadt"], denominator_date="year_end"),
    ]


def leavers_documents(land: list[object] | None = None) -> list[Document]:
    """School leavers without certificate, in percent; INKAR has no counts."""
    levels: dict[str, list[object]] = {KREIS: ["schulabgaenge_inkar"]}
    if land is not None:
        levels[LAND] = land
    rate = {"kind": "rate", "unit": "percent", "maximum": 100}
    return [
        _source("schulabgaenge_inkar", _layout("Schulabgänger ohne Abschluss", "ohne_abschluss", "kalenderjahr")),
        measure("ohne_abschluss", "kalenderjahr", levels, **rate),
        indicator("schulabgaenge_ohne_abschluss", "percent", {level: {"rate": "ohne_abschluss"} for level in levels}),
    ]


def make_project(folder: Path, shared: Path, documents: list[Document]) -> Path:
    found = areas(shared)
    members = [(area_id, f"L{area_id[:2]}") for area_id, _, level in found if level == KREIS]
    write_project(folder, found, documents, city=COUNTRY, members=members)
    for document in documents:
        name = document["attributes"]["id"]
        files = {"arbeitslose_inkar": UNEMPLOYED, "bevoelkerung_inkar": WORKING_AGE, "schulabgaenge_inkar": LEAVERS}
        if name in files:
            deliver_file(folder, name, shared / "reference/inkar" / files[name])
    return folder


def night_of(folder: Path, shared: Path) -> Night:
    return build(make_project(folder, shared, [*share_documents(), *leavers_documents()]))


def values_of(night: Night, indicator_id: str, level: str, column: str = "value") -> pd.DataFrame:
    """One row per area, one column per year."""
    rows = query(
        night.project.paths.internal_mart,
        f"SELECT area_id AS kreis, year(reference_date) AS jahr, {column} AS gefunden FROM mart.indicator_value "
        "WHERE indicator_id = ? AND area_level = ?",
        [indicator_id, level],
    )
    return rows.pivot(index="kreis", columns="jahr", values="gefunden")
