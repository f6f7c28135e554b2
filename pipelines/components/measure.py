"""A base figure with every sum that is published of it."""

from __future__ import annotations

import dagster as dg

from pipelines.components.base import YamlComponent, measure_deps, measure_key, spec
from pipelines.project import Project
from schemas.documents import Measure


class MeasureComponent(YamlComponent[Measure]):
    """A count, or a rate where the office publishes nothing else."""

    model = Measure


def measure_spec(project: Project, measure: Measure) -> dg.AssetSpec:
    """Between readings and indicators."""
    kind = "Anzahl" if measure.kind == "count" else "veröffentlichte Quote"
    more = f" {measure.description.de}" if measure.description else ""
    return spec(
        project,
        measure,
        measure_key(measure.id),
        deps=measure_deps(measure),
        kinds=["duckdb"],
        tags={"art": measure.kind, "zeitbezug": measure.period_type},
        description=f"Kennzahl: {measure.title.de} ({kind}).{more}",
    )
