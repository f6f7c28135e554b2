"""What all components share: the YAML model of `schemas` is their model, and each describes its asset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import dagster as dg
from pydantic import BaseModel

from pipelines.marts.models import Models
from pipelines.project import Project, describe, load_project
from schemas.documents import Document, Measure, RolledUp

D = TypeVar("D", bound=BaseModel)


class YamlComponent(dg.Component, Generic[D]):
    """A component whose attributes are a document of `schemas.documents`."""

    model: ClassVar[type[BaseModel]]

    def __init__(self, document: D) -> None:
        """Keep the document."""
        self.document = document

    @classmethod
    def get_model_cls(cls) -> type[BaseModel] | None:
        """The model that Dagster's own checks of the YAML use; the same that our loader uses."""
        return cls.model

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> YamlComponent[D]:  # noqa: ARG003
        """Make the component from its checked attributes."""
        assert attributes is not None
        return cls(attributes)  # type: ignore[arg-type]

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Nothing by default: the release component builds the wide steps over all documents."""
        return dg.Definitions()


_PREPARED: dict[Path, Models] = {}


def prepare(models: Models) -> None:
    """Hand over a project that is already loaded and checked, so that its definitions are not loaded twice."""
    _PREPARED.clear()
    _PREPARED[models.project.paths.root] = models


def models_of(root: Path) -> Models:
    """The project in a folder with its marts: handed over, or loaded now."""
    return _PREPARED.pop(root.resolve(), None) or Models(load_project(root))


# ---------------------------------------------------------------- names in the graph (read by planners: German)

AREAS_KEY = dg.AssetKey("gebiete")
INTAKE_KEY = dg.AssetKey("eingangsbuch")
PUBLIC_KEY = dg.AssetKey("oeffentliche_ausgabe")
REPORT_KEY = dg.AssetKey("bericht")
RELEASE_KEY = dg.AssetKey("veroeffentlichung")


def delivery_key(source_id: str) -> dg.AssetKey:
    """What an office sends; outside of our hands."""
    return dg.AssetKey(["lieferung", source_id])


def reading_key(source_id: str) -> dg.AssetKey:
    """Checked figures of a source."""
    return dg.AssetKey(["zaehlwerte", source_id])


def measure_key(measure_id: str) -> dg.AssetKey:
    """A base figure with all its sums."""
    return dg.AssetKey(["kennzahl", measure_id])


def indicator_key(indicator_id: str) -> dg.AssetKey:
    """An indicator as defined."""
    return dg.AssetKey(["indikator", indicator_id])


def index_key(index_id: str) -> dg.AssetKey:
    """A composite index as defined."""
    return dg.AssetKey(["index", index_id])


def mart_key(mart_id: str) -> dg.AssetKey:
    """A table for analysts."""
    return dg.AssetKey(["mart", mart_id])


# ---------------------------------------------------------------- asset specs


def spec(
    project: Project,
    document: Document,
    key: dg.AssetKey,
    *,
    deps: Iterable[dg.AssetKey] = (),
    kinds: Iterable[str] = (),
    group: str | None = None,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    **more: Any,
) -> dg.AssetSpec:
    """Asset of a document: German description, owner, group, kinds, and where it is declared."""
    file, line = project.place(document)
    return dg.AssetSpec(
        key,
        deps=sorted(set(deps)),
        description=description or describe(document),
        group_name=group or project.topic(document),
        owners=[document.owner],
        kinds=set(kinds),
        tags=dict(tags or {}),
        metadata={"erklaert_in": f"{file}:{line}", **more.pop("metadata", {})},
        **more,
    )


def measure_deps(measure: Measure) -> list[dg.AssetKey]:
    """Where a measure comes from: readings, another measure, and the areas if it is added up."""
    deps = [reading_key(s) for s in measure.source_ids()]
    if measure.formed:
        deps.append(measure_key(measure.formed.measure))
    if any(isinstance(f, RolledUp) for figures in measure.levels.values() for f in figures):
        deps.append(AREAS_KEY)
    return deps
