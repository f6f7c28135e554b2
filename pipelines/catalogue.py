"""Lists what a project declares and the state it is in; works without Dagster."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from pipelines.exit_codes import EXIT_OK, EXIT_USAGE
from pipelines.history import Delivery, History, outstanding, overdue
from pipelines.progress import Voice
from pipelines.project import ConfigError, Project, load_project
from pipelines.published import PublishedLedger
from pipelines.release.publish import published
from schemas.documents import CompositeIndex, FromRate, Source


def print_catalogue(root: Path, voice: Voice) -> int:
    """Print areas, sources, measures, indicators, indexes and marts; returns the exit code."""
    try:
        project = load_project(root)
    except ConfigError as error:
        for problem in error.problems:
            voice.error(str(problem))
        return EXIT_USAGE
    for title, lines in _sections(project):
        voice.say(f"\n{title}")
        for line in lines or ["(keine)"]:
            voice.say(f"  {line}")
    return EXIT_OK


def _sections(project: Project) -> list[tuple[str, list[str]]]:
    release = published(project.paths)
    levels = [
        f"{level.id}: {sum(a.level == level.id for a in project.directory.areas.values())} {level.plural.de}"
        for level in project.areas.levels
    ]
    indicators = []
    for indicator in project.indicators.values():
        how = ", ".join(
            f"{level} ({'Quote' if isinstance(f, FromRate) else 'gerechnet'})" for level, f in indicator.levels.items()
        )
        indicators.append(f"{indicator.id}: {indicator.title.de} [{how}]")
    return [
        ("Veröffentlichung in Kraft", [release.release_id] if release else []),
        ("Zurückgezogene Veröffentlichungen", _withdrawn(project)),
        ("Gebiete", levels),
        ("Quellen", [f"{s.id}: {s.title.de} [{_state(project, s)}]" for s in project.sources.values()]),
        ("Kennzahlen", [f"{m.id}: {m.title.de} [{m.kind}, {m.period_type}]" for m in project.measures.values()]),
        ("Indikatoren", indicators),
        ("Indizes", [_in_words(index) for index in project.indexes.values()]),
        ("Tabellen, Sichten, Makros", [f"{name}: {m.title.de}" for name, m in project.marts.items()]),
    ]


def _withdrawn(project: Project) -> list[str]:
    """Releases that were taken back, with day and reason."""
    entries = PublishedLedger(project.paths).entries()
    return [f"{e.release_id}: am {e.withdrawn['on']}, {e.withdrawn['reason']}" for e in entries if e.withdrawn]


def _in_words(index: CompositeIndex) -> str:
    """An index with its indicators, its universe, and the levels it is reported for."""
    parts = " + ".join(e.indicator if e.weight == 1 else f"{e.weight:g} x {e.indicator}" for e in index.indicators)
    dynamics = f", Dynamik über {index.dynamics.years} Jahre" if index.dynamics else ""
    return (
        f"{index.id}: {index.title.de} [{parts}; verglichen auf {index.universe.level}, "
        f"berichtet für {', '.join(index.levels)}{dynamics}]"
    )


def _state(project: Project, source: Source) -> str:
    """State as the receipts of the last night tell it."""
    deliveries = History(project.paths).deliveries(source.id)
    purged = [d for d in deliveries if d.purged]
    gone = f"; gelöscht: {', '.join(d.delivery_id for d in purged)}" if purged else ""
    return _in_brief(deliveries, source) + gone


def _in_brief(deliveries: list[Delivery], source: Source) -> str:
    waiting = outstanding(deliveries, source)
    missed, _ = overdue(deliveries, source, dt.datetime.now(dt.UTC).date())
    if waiting:
        return "zurückgewiesen: " + ", ".join(d.delivery_id for d in waiting)
    if missed:
        return f"überfällig seit {missed:%d.%m.%Y}"
    accepted = [d for d in deliveries if d.decision == "accepted"]
    return f"{len(accepted)} Lieferungen angenommen, {source.origin}" if accepted else "noch nichts geliefert"
