"""Dagster's code location: the project's folder, the in-process executor, the job, schedule and sensor."""

from __future__ import annotations

import datetime as dt
import os
import types
import warnings
from pathlib import Path

import dagster as dg
from dagster.components.core.component_tree import ComponentTree

from pipelines import gate
from pipelines.components.base import models_of, prepare
from pipelines.components.release import telling_hooks
from pipelines.paths import PROJECT_VARIABLE, Paths

JOB = "nightly"


def component_tree(root: Path) -> ComponentTree:
    """Components below `root`/assets, loaded by path: loading by name would find the installed project's YAML."""
    folder = root / "assets"
    module = types.ModuleType("assets")
    module.__path__, module.__file__ = [str(folder)], str(folder / "__init__.py")
    return ComponentTree.from_module(defs_module=module, project_root=root)


def project_definitions(root: Path) -> dg.Definitions:
    """All definitions of the project in a folder.

    Raises:
        ConfigError: the project's files are not valid (all findings, with file and line).
    """
    paths = Paths.of(root)
    prepare(models_of(paths.root))  # our loader speaks first: all findings, in words
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        loaded = component_tree(paths.root).build_defs()
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        description="Die ganze Nacht: annehmen, prüfen, rechnen, veröffentlichen.",
        hooks=telling_hooks(paths),
    )
    return dg.Definitions.merge(
        loaded,
        dg.Definitions(
            executor=dg.in_process_executor, jobs=[job], schedules=[_schedule(paths)], sensors=[_sensor(paths)]
        ),
    )


def _request(paths: Paths) -> dg.RunRequest | dg.SkipReason:
    """What the nothing-new gate of the command line says, for schedule and sensor."""
    verdict = gate.examine(paths, dt.datetime.now(dt.UTC).date())
    if verdict.unchanged:
        return dg.SkipReason(verdict.reason)
    key = "|".join(verdict.fingerprint.values())
    return dg.RunRequest(run_key=key, tags={"sozialraum/anlass": verdict.reason})


def _schedule(paths: Paths) -> dg.ScheduleDefinition:
    """Every night after the hour that the clock change skips or repeats; off until somebody switches it on."""

    @dg.schedule(name="nachts", job_name=JOB, cron_schedule="15 3 * * *", execution_timezone="Europe/Berlin")
    def nachts() -> dg.RunRequest | dg.SkipReason:
        request = _request(paths)
        # Without a run key: a night that failed is tried again in the next one.
        return dg.RunRequest(tags=request.tags) if isinstance(request, dg.RunRequest) else request

    return nachts


def _sensor(paths: Paths) -> dg.SensorDefinition:
    """Looks every five minutes; the same content is tried once. Off until somebody switches it on."""

    @dg.sensor(name="neue_lieferungen", job_name=JOB, minimum_interval_seconds=300)
    def neue_lieferungen() -> dg.RunRequest | dg.SkipReason:
        return _request(paths)

    return neue_lieferungen


def project_root() -> Path:
    """The project to serve: SOZIALRAUM_PROJECT, else the folder of this installation."""
    return Path(os.environ.get(PROJECT_VARIABLE) or Path(__file__).resolve().parent.parent)


@dg.definitions
def defs() -> dg.Definitions:
    """Loaded by `dg` and Dagster's web page."""
    return project_definitions(project_root())
