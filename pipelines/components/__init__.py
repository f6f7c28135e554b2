"""Dagster components: they turn the YAML documents into assets and call the rooms of `pipelines`."""

from pipelines.components.areas import AreasComponent
from pipelines.components.index import IndexComponent
from pipelines.components.indicator import IndicatorComponent
from pipelines.components.mart import MartComponent
from pipelines.components.measure import MeasureComponent
from pipelines.components.release import ReleaseComponent
from pipelines.components.source import SourceComponent

__all__ = [
    "AreasComponent",
    "IndexComponent",
    "IndicatorComponent",
    "MartComponent",
    "MeasureComponent",
    "ReleaseComponent",
    "SourceComponent",
]
