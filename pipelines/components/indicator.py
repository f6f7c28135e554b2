"""An indicator as defined: which measures it sets in relation."""

from __future__ import annotations

import dagster as dg

from pipelines.components.base import YamlComponent, indicator_key, measure_key, spec
from pipelines.project import Project
from schemas.documents import FromRate, Indicator


class IndicatorComponent(YamlComponent[Indicator]):
    """A measured construct with one definition."""

    model = Indicator


def indicator_spec(project: Project, indicator: Indicator) -> dg.AssetSpec:
    """Between measures and the table of indicator values."""
    parts = [part.measure for part in (indicator.numerator, indicator.denominator) if part]
    rates = [figure.rate for figure in indicator.levels.values() if isinstance(figure, FromRate)]
    return spec(
        project,
        indicator,
        indicator_key(indicator.id),
        deps=[measure_key(name) for name in [*parts, *rates]],
        kinds=["duckdb"],
        tags={"wirkungsrichtung": indicator.polarity, "einheit": indicator.unit},
        description=f"Indikator: {indicator.title.de}. {indicator.definition.de}",
    )
