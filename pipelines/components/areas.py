"""The areas of a project as an asset."""

from __future__ import annotations

import dagster as dg

from pipelines.components.base import AREAS_KEY, YamlComponent, spec
from pipelines.project import Project
from schemas.documents import Areas


class AreasComponent(YamlComponent[Areas]):
    """Area levels, areas and memberships, kept as CSV beside the YAML."""

    model = Areas


def areas_spec(project: Project) -> dg.AssetSpec:
    """Declared in the repository, so it has no upstream and no step of its own."""
    return spec(project, project.areas, AREAS_KEY, kinds=["csv"], group="gebiete")
