"""A composite index as defined: which indicators it combines."""

from __future__ import annotations

import dagster as dg

from pipelines.components.base import YamlComponent, index_key, indicator_key, spec
from pipelines.project import Project
from schemas.documents import CompositeIndex


class IndexComponent(YamlComponent[CompositeIndex]):
    """Indicators, weights, universe, class limits and dynamics of one index."""

    model = CompositeIndex


def index_spec(project: Project, index: CompositeIndex) -> dg.AssetSpec:
    """Between indicators and the table of the indexes."""
    names = [name for entry in index.indicators for name in (entry.indicator, entry.change) if name]
    return spec(
        project,
        index,
        index_key(index.id),
        deps=[indicator_key(name) for name in names],
        kinds=["duckdb"],
        description=f"Index: {index.title.de}. {index.definition.de}",
    )
