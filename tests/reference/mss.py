"""Berlin, Monitoring Soziale Stadtentwicklung: published shares of the Planungsräume in, classes out.

Source: Senatsverwaltung für Stadtentwicklung Berlin, editions 2013, 2015, 2017 (dl-de/zero-2-0), read in place.
The period of a delivery is the year of the edition, as its file name has it. Each edition has an index of its own: each
leaves out other areas.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from pipelines.night import Night
from tests.reference.projects import (
    Document,
    Edit,
    build,
    deliver_file,
    index,
    indicator,
    measure,
    query,
    rebuild,
    source,
    text,
    write_project,
)

EDITIONS = (2013, 2015, 2017)
BERLIN = "11000000"
LEVEL = "planungsraum"
SHARES = {
    "1": "percentage_unemployed",
    "2": "percentage_long_term_unemployed",
    "3": "percentage_transfer_payments_recipients",
    "4": "percentage_transfer_payments_recipients_below_15_years",
}
STATUS_CLASSES = {
    "hoch": ("below", -1.0),
    "mittel": ("up_to", 1.0),
    "niedrig": ("up_to", 1.5),
    "sehr_niedrig": ("", 0),
}
DYNAMICS_CLASSES = {"positiv": ("below", -1.0), "stabil": ("up_to", 1.0), "negativ": ("", 0)}


def file_of(shared: Path, edition: int, table: str) -> Path:
    """Table 1: classes; 2-1: shares of the Planungsräume."""
    return shared / "reference/berlin-mss" / f"mss-{edition}-{table}.csv"


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def published_classes(shared: Path, edition: int) -> pd.DataFrame:
    """By area: status_class, dynamics_class, group_class as ids of our YAML."""
    rows = rows_of(file_of(shared, edition, "1"))
    frame = pd.DataFrame(rows).set_index("id")
    status = frame["status_index_class"].str.replace(" ", "_")
    number = frame["status_index"].astype(float).map(dict(enumerate(STATUS_CLASSES, 1)))
    sign = frame["dynamic_index"].map({"+": "positiv", "+/-": "stabil", "-": "negativ"})
    assert (status == number).all()  # the file says everything twice
    assert (sign == frame["dynamic_index_class"]).all()
    pairs = frame["status_dynamic_index_class"].str.replace("sehr niedrig", "sehr_niedrig")
    group = pairs.str.replace("Status ", "").str.replace(", Dynamik ", "/")
    assert (group == status + "/" + sign).all()
    return pd.DataFrame({"status_class": status, "dynamics_class": sign, "group_class": group}).sort_index()


def _class_list(classes: dict[str, tuple[str, float]]) -> list[dict[str, Any]]:
    return [
        {"id": name, "title": text(name), **({key: limit} if key else {})} for name, (key, limit) in classes.items()
    ]


def excluded(shared: Path, edition: int) -> list[str]:
    """Areas with shares (zeros) and without classes: the edition does not rate them."""
    valid = {row["id"] for row in rows_of(file_of(shared, edition, "1"))}
    return [row["id"] for row in rows_of(file_of(shared, edition, "2-1")) if row["id"] not in valid]


def index_id(edition: int) -> str:
    return f"soziale_stadtentwicklung_{edition}"


def documents(left_out: dict[int, list[str]]) -> list[Document]:
    """One source for all editions, their shares as rates, an index per edition without the areas it leaves out."""
    columns = [(f"{kind}{k}_{share}", f"{kind}{k}") for kind in "sd" for k, share in SHARES.items()]
    layout = {
        "area": {"id": "id", "level": LEVEL},
        "ignore": ["name"],  # two areas have the same name but for the spelling of an s
        "period": {"type": "kalenderjahr", "file_name": r"^mss-([0-9]{4})-2-1\.csv$"},
        "values": [
            {"column": "inhabitants", "measure": "einwohner"},
            *[{"column": column, "measure": name} for column, name in columns],
        ],
    }
    form = {"delimiter": ",", "encoding": "utf-8", "decimal": "."}
    found = [
        source("anteile", layout, format=form, contract={"complete": {LEVEL: "all"}}),
        measure("einwohner", "kalenderjahr", {LEVEL: ["anteile"]}),
    ]
    for _, name in columns:
        rate = {"kind": "rate", "unit": "percent", "minimum": 0 if name[0] == "s" else -100, "maximum": 100}
        found.append(measure(name, "kalenderjahr", {LEVEL: ["anteile"]}, **rate))
        found.append(indicator(f"{name}_anteil", "percent", {LEVEL: {"rate": name}}))
    for edition, area_ids in left_out.items():
        entry = index(
            index_id(edition),
            indicators=[{"indicator": f"s{k}_anteil", "change": f"d{k}_anteil"} for k in SHARES],
            universe={"level": LEVEL, "exclude": [{"area": a, "reason": "nicht bewertet"} for a in area_ids]},
            levels=[LEVEL],
            classes=_class_list(STATUS_CLASSES),
            dynamics={"years": 2, "classes": _class_list(DYNAMICS_CLASSES)},
        )
        found.append(entry)
    return found


def make_project(folder: Path, shared: Path) -> Path:
    areas = [(row["id"], f"{row['name']} ({row['id']})", LEVEL) for row in rows_of(file_of(shared, EDITIONS[0], "2-1"))]
    write_project(folder, areas, documents({e: excluded(shared, e) for e in EDITIONS}), city=BERLIN)
    for edition in EDITIONS:
        deliver_file(folder, "anteile", file_of(shared, edition, "2-1"))
    return folder


def night_of(folder: Path, shared: Path) -> Night:
    return build(make_project(folder, shared))


# ---------------------------------------------------------------- what the marts say


def index_of(file: Path, edition: int, *, rated: bool = True) -> pd.DataFrame:
    """Rows of an edition's index in its year, by area: those within the universe, or the others."""
    rows = query(
        file,
        "SELECT * FROM mart.social_index WHERE index_id = ? AND year(reference_date) = ? AND in_universe = ? "
        "ORDER BY area_id",
        [index_id(edition), edition, rated],
    )
    return rows.set_index("area_id")


def parts_of(file: Path, edition: int) -> pd.DataFrame:
    return query(
        file,
        "SELECT * FROM mart.social_index_part WHERE index_id = ? AND year(reference_date) = ? ORDER BY ALL",
        [index_id(edition), edition],
    )


def wrong(found: pd.DataFrame, published: pd.DataFrame) -> dict[str, int]:
    """Per class column the number of published areas for which we say something else, or nothing."""
    columns = list(published.columns)
    ours = found[columns].reindex(published.index)
    return {column: int((ours[column] != published[column]).sum()) for column in columns}


# ---------------------------------------------------------------- the method, written anew from its description


def expected(shared: Path, edition: int) -> dict[str, pd.DataFrame]:
    """`s` and `d`: z values of the four shares (columns 1 to 4) and the index (column index), by area."""
    frame = pd.DataFrame(rows_of(file_of(shared, edition, "2-1"))).set_index("id")
    frame = frame.loc[published_classes(shared, edition).index]
    found = {}
    for kind in "sd":
        shares = frame[[f"{kind}{k}_{share}" for k, share in SHARES.items()]].astype(float).to_numpy()
        z = standardised(shares)
        columns = np.column_stack([z, standardised(z.sum(axis=1))])
        found[kind] = pd.DataFrame(columns, index=frame.index, columns=[*SHARES, "index"])
    return found


def standardised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance from the unweighted mean in standard deviations of the whole population (division by n)."""
    centred = values - values.mean(axis=0)
    return np.asarray(centred / np.sqrt((centred**2).mean(axis=0)))


def deviation(file: Path, shared: Path, edition: int) -> float:
    """Largest gap between the z values and indexes of the marts and those worked out here."""
    wanted, found, parts = expected(shared, edition), index_of(file, edition), parts_of(file, edition)
    gaps = [
        np.abs(found["status_index"] - wanted["s"]["index"]).max(),
        np.abs(found["dynamics_index"] - wanted["d"]["index"]).max(),
    ]
    for k in SHARES:
        rows = parts[parts["indicator_id"] == f"s{k}_anteil"].set_index("area_id").loc[wanted["s"].index]
        gaps.append(np.abs(rows["z_score"] - wanted["s"][k]).max())
        gaps.append(np.abs(rows["change_z_score"] - wanted["d"][k]).max())
    assert not np.isnan(gaps).any()
    return float(max(gaps))


# ---------------------------------------------------------------- wrong ways

STEPS = "assets/marts/index_steps"
LEFT_IN = "nicht bewertete Gebiete bleiben mit 0 darin"


def _weighed(table: str, keys: str, columns: str) -> str:
    """Rows of the universe with `people`: inhabitants of the area by their mean over the universe."""
    named = ", ".join(f"p.{name}" for name in f"{keys} {columns}".split())
    group = ", ".join(f"p.{name}" for name in keys.split())
    return (
        f"(SELECT {named}, o.value / avg(o.value) OVER (PARTITION BY {group}) AS people FROM {table} AS p "
        "JOIN observation AS o ON o.measure_id = 'einwohner' AND o.area_id = p.area_id "
        "AND year(o.reference_date) = p.of_year WHERE p.in_universe) AS q"
    )


_SPREAD, _SUM = f"{STEPS}/index_spread.sql", f"{STEPS}/index_sum.sql"
_INPUTS = _weighed("index_input", "index_id of_year dimension indicator_id", "figure size variance")
_SUMS = _weighed("sums", "index_id of_year dimension", "z_sum")
WRONG_WAYS: dict[str, tuple[Edit, ...]] = {
    "Standardabweichung der Stichprobe (n - 1)": (
        Edit(_SPREAD, "}} / r.n)", "}} / (r.n - 1))"),
        Edit(_SUM, "}} / count(*)) AS sd", "}} / (count(*) - 1)) AS sd"),
    ),
    "Mittel nach Einwohnern gewichtet": (
        Edit(
            _SPREAD,
            "figure, size, variance\n    FROM index_input\n    WHERE in_universe",
            f"figure, size, variance, people FROM {_INPUTS}",
        ),
        Edit(_SPREAD, "('m.figure / nullif(t.top", "('m.people * m.figure / nullif(t.top"),
        Edit(_SUM, "FROM sums\n    WHERE in_universe", f"FROM {_SUMS}"),
        Edit(_SUM, "('z_sum')", "('people * z_sum')"),
    ),
    "ohne zweite Standardisierung (Mittel der z-Werte)": (
        Edit(_SUM, "(s.z_sum - p.mean) / nullif(p.sd, 0.0e0) END AS index_value", "s.z_sum / 4.0e0 END AS index_value"),
    ),
    LEFT_IN: (),
}
"""How the marts are altered; the last way alters the YAML (no area is excluded)."""


def wrong_way(night: Night, folder: Path, shared: Path, way: str) -> dict[int, dict[str, int]]:
    """By edition the areas that are classed wrongly if the same deliveries are evaluated in a wrong way."""
    edits = list(WRONG_WAYS[way])
    if way == LEFT_IN:
        ids = [{e: excluded(shared, e) if out else [] for e in EDITIONS} for out in (True, False)]
        texts = [yaml.safe_dump_all(documents(left_out), allow_unicode=True, sort_keys=False) for left_out in ids]
        edits.append(Edit("assets/thema/defs.yaml", *texts))
    file = rebuild(night, folder, edits)
    return {e: wrong(index_of(file, e), published_classes(shared, e)) for e in EDITIONS}
