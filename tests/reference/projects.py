"""Writes project folders (YAML documents, area lists, deliveries) and builds them with the ordinary night."""

from __future__ import annotations

import csv
import datetime as dt
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
import yaml

from pipelines.marts.edition import build_edition
from pipelines.marts.models import Models
from pipelines.night import Night
from pipelines.project import load_project
from tests.conftest import SHARED, Quiet, create_project, run_night

NOW = dt.datetime(2026, 3, 2, 4, 0, tzinfo=dt.UTC)
CITY = "99999000"
Document = dict[str, Any]
Area = tuple[str, str, str]
"""area_id, name, level."""


def reference_data() -> Path:
    """Like the fixture `shared`, for fixtures that last as long as a module."""
    if not SHARED.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have the reference data beside the checkout")
        pytest.skip("reference data (../shared) is not on this machine")
    return SHARED


def text(de: str) -> dict[str, str]:
    return {"de": de, "en": de}


def source(name: str, layout: Mapping[str, Any], **more: Any) -> Document:
    attributes = {
        "id": name,
        "title": text(name),
        "description": text(name),
        "publisher": "Amt",
        "owner": "team:datenteam",
        "licence": "dl-de/zero-2-0",
        "origin": "open_data",
        "publication": "internal",
        "due": "none",
        "layout": dict(layout),
    }
    return {"type": "pipelines.components.SourceComponent", "attributes": attributes | more}


def measure(name: str, period_type: str, levels: Mapping[str, list[Any]], **more: Any) -> Document:
    attributes = {
        "id": name,
        "title": text(name),
        "unit": "persons",
        "kind": "count",
        "family": name,
        "period_type": period_type,
        "levels": dict(levels),
    }
    return {"type": "pipelines.components.MeasureComponent", "attributes": attributes | more}


def indicator(name: str, unit: str, levels: Mapping[str, Any], **more: Any) -> Document:
    attributes = {
        "id": name,
        "title": text(name),
        "definition": text(name),
        "unit": unit,
        "decimals": 2,
        "polarity": "higher_is_worse",
        "levels": dict(levels),
        "owner": "team:sozialplanung",
    }
    return {"type": "pipelines.components.IndicatorComponent", "attributes": attributes | more}


def ratio(name: str, unit: str, numerator: str, denominator: str, levels: Iterable[str], **more: Any) -> Document:
    """An indicator formed of two counts on all given levels."""
    parts = {"numerator": {"measure": numerator}, "denominator": {"measure": denominator}}
    return indicator(name, unit, dict.fromkeys(levels, "counts"), **parts, **more)


def index(name: str, **attributes: Any) -> Document:
    fixed = {"id": name, "title": text(name), "definition": text(name), "owner": "team:sozialplanung"}
    return {"type": "pipelines.components.IndexComponent", "attributes": fixed | attributes}


def write_project(
    folder: Path,
    areas: Sequence[Area],
    documents: Sequence[Document],
    *,
    city: str = CITY,
    members: Sequence[tuple[str, str]] = (),
) -> Path:
    """A project without deliveries that is declared internal; every area without a parent belongs to the city."""
    assert create_project(folder, Quiet()) == 0
    shutil.rmtree(folder / "assets/beispiel")
    shutil.rmtree(folder / "data/raw/beispiel")
    _write_areas(folder / "assets/areas", areas, city, members)
    path = folder / "assets/release/defs.yaml"
    release = yaml.safe_load(path.read_text(encoding="utf-8"))
    release["attributes"] |= {"city": city, "internal": True}
    write_yaml(path, [release])
    write_yaml(folder / "assets/thema/defs.yaml", documents)
    return folder


def _write_areas(folder: Path, areas: Sequence[Area], city: str, members: Sequence[tuple[str, str]]) -> None:
    everywhere = [(city, "Gesamtgebiet", "stadt"), *areas]
    levels = list(dict.fromkeys(level for _, _, level in everywhere))
    document = yaml.safe_load((folder / "defs.yaml").read_text(encoding="utf-8"))
    document["attributes"]["levels"] = [
        {"id": level, "title": text(level.title()), "plural": text(level.title()), "sort_key": position}
        for position, level in enumerate(levels)
    ]
    write_yaml(folder / "defs.yaml", [document])
    columns = ["area_id", "name", "level", "number", "valid_from", "valid_to", "sort_key", "aliases", "source"]
    rows = [(a, name, level, "", "", "", i, "", "Liste") for i, (a, name, level) in enumerate(everywhere)]
    write_csv(folder / "areas.csv", columns, rows, ",")
    placed = {child for child, _ in members}
    links = [*members, *[(area_id, city) for area_id, _, _ in areas if area_id not in placed]]
    columns = ["area_id", "parent_id", "valid_from", "valid_to", "weight", "status", "source"]
    write_csv(folder / "memberships.csv", columns, [(c, p, "", "", 1, "confirmed", "Liste") for c, p in links], ",")


def write_yaml(path: Path, documents: Sequence[Document]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False), encoding="utf-8")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ";") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def deliver(folder: Path, source_id: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A delivery written here."""
    write_csv(folder / "data/raw" / source_id / "lieferung.csv", columns, rows)


def deliver_file(folder: Path, source_id: str, file: Path) -> None:
    """A file as its publisher made it, byte by byte."""
    target = folder / "data/raw" / source_id / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)


def build(folder: Path) -> Night:
    """The ordinary night; every delivery must have been accepted and every sum must hold."""
    night = run_night(folder, NOW)
    refused = [d.delivery_id for state in night.states.values() for d in state.deliveries if d.decision != "accepted"]
    assert refused == [], night.findings
    assert night.gaps == []
    return night


def query(file: Path, sql: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
    """Rows of a built file."""
    with duckdb.connect(str(file), read_only=True) as con:
        return con.execute(sql, parameters).df()


@dataclass(frozen=True)
class Edit:
    """A change of one file of a project; `old` must occur in it."""

    file: str
    old: str
    new: str

    def apply(self, folder: Path) -> None:
        path = folder / self.file
        before = path.read_text(encoding="utf-8")
        assert self.old in before, f"{self.file} does not hold: {self.old}"
        path.write_text(before.replace(self.old, self.new), encoding="utf-8")


def rebuild(night: Night, folder: Path, edits: Sequence[Edit]) -> Path:
    """The marts once more over the same observation, by a copy of the project that is changed in some places."""
    shutil.copytree(night.project.paths.root / "assets", folder / "assets")
    shutil.copyfile(night.project.paths.root / "dagster.yaml", folder / "dagster.yaml")
    (folder / "data").mkdir()
    for edit in edits:
        edit.apply(folder)
    return build_marts(folder, night.observation)


def build_marts(folder: Path, observation: Path) -> Path:
    """The marts of a project over an observation; returns the DuckDB file."""
    target = folder / "marts.duckdb"
    build_edition(Models(load_project(folder)), observation, target, {}, release_id="probe", commit="probe")
    return target


def observed(cells: pd.DataFrame, target: Path) -> Path:
    """A hand-written observation: `cells` has measure_id, area_id, area_level, reference_date (a year's end), value.

    The rows stand in the order of `cells`; the roll-up would sort them.
    """
    frame = cells.assign(
        category="insgesamt",
        period_type="kalenderjahr",
        period=cells["reference_date"].map(lambda day: str(day.year)),
        obs_status="A",
        conf_status="F",
        is_suppressed=False,
        suppression_reason=None,
        origin="open_data",
        method="delivered",
        data_as_of=NOW.date(),
        delivery_ids="probe-0001",
    )
    with duckdb.connect() as con:
        con.register("frame", frame)
        con.execute(
            f"""
            COPY (
                SELECT measure_id, category, area_id, area_level, period_type, CAST(reference_date AS DATE) AS
                    reference_date, period, CAST(value AS DOUBLE) AS value, obs_status, conf_status, is_suppressed,
                    CAST(suppression_reason AS VARCHAR) AS suppression_reason, origin, method,
                    CAST(data_as_of AS DATE) AS data_as_of, delivery_ids
                FROM frame
            ) TO '{target}' (FORMAT parquet)
            """
        )
    return target
