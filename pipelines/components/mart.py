"""A table for analysts: its SELECT, columns and where each column comes from."""

from __future__ import annotations

import dagster as dg

from pipelines.components.base import (
    AREAS_KEY,
    INTAKE_KEY,
    YamlComponent,
    index_key,
    indicator_key,
    mart_key,
    measure_key,
    spec,
)
from pipelines.marts.models import Model, Models
from schemas.documents import Mart

MART_CHECK = "Tabelle"
_INPUTS = {"area_in": AREAS_KEY, "membership_in": AREAS_KEY}


class MartComponent(YamlComponent[Mart]):
    """A table, view or macro of the DuckDB files."""

    model = Mart


def mart_spec(models: Models, model: Model) -> dg.AssetSpec:
    """Upstream tables are read from the SQL; columns carry type, meaning and origin."""
    return spec(
        models.project,
        model.mart,
        mart_key(model.mart.id),
        deps=_upstream(models, model),
        kinds=["duckdb", "sql"],
        group="auswertung",
        metadata={
            "dagster/column_schema": column_schema(models, model),
            "dagster/column_lineage": column_lineage(models, model),
            "spaltenherkunft": dg.MetadataValue.md(_lineage_table(models, model)),
        },
    )


def mart_check(model: Model) -> dg.AssetCheckSpec:
    """One check per table; its rules stand in the metadata of the result."""
    return dg.AssetCheckSpec(
        MART_CHECK,
        asset=mart_key(model.mart.id),
        description="Stimmen Spalten, Schlüssel und die Regeln über die ganze Tabelle?",
    )


def _upstream(models: Models, model: Model) -> list[dg.AssetKey]:
    project = models.project
    keys: list[dg.AssetKey] = []
    for table in models.reads(model.mart.id):
        if table in _INPUTS:
            keys.append(_INPUTS[table])
        elif table == "observation_in":
            keys += [INTAKE_KEY, *[measure_key(name) for name in project.measures]]
        elif table == "indicator_in":
            keys += [indicator_key(name) for name in project.indicators]
        elif table == "index_in":
            keys += [index_key(name) for name in project.indexes]
        elif not table.endswith("_in"):  # the others hold declarations alone; an edge to each would hide the flow
            keys.append(mart_key(table))
    return keys


def _origin(models: Models, model: Model, column: str) -> list[str]:
    return [f"{table}.{name}" for table, name in models.lineage_of(model).get(column, [])]


def column_schema(models: Models, model: Model) -> dg.TableSchema:
    """Columns with type and meaning; the origin stands in the description, since the web page shows no lineage."""
    columns = []
    for name, details in model.columns.items():
        origin = ", ".join(_origin(models, model, name))
        text = f"{details.de} (aus {origin})" if origin else details.de
        columns.append(dg.TableColumn(name, details.type, description=text))
    return dg.TableSchema(columns)


def column_lineage(models: Models, model: Model) -> dg.TableColumnLineage:
    """Value lineage to other tables; columns from declarations have none."""
    deps = {
        column: [
            dg.TableColumnDep(asset_key=mart_key(table), column_name=name)
            for table, name in pairs
            if models.builds(table)
        ]
        for column, pairs in models.lineage_of(model).items()
    }
    return dg.TableColumnLineage({column: found for column, found in deps.items() if found})


def _lineage_table(models: Models, model: Model) -> str:
    rows = [
        f"| {column} | {', '.join(_origin(models, model, column)) or 'Rechenvorschrift im SQL'} |"
        for column in models.lineage_of(model)
    ]
    return "\n".join(["| Spalte | entsteht aus |", "| --- | --- |", *rows])
