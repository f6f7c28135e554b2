"""`sozialraum explain`: where a figure comes from, for the data team or as the release may say it."""

from __future__ import annotations

from pathlib import Path

import duckdb

from pipelines.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from pipelines.history import DamagedArchive
from pipelines.progress import Voice
from pipelines.project import ConfigError, Project, load_project
from pipelines.provenance.facts import Unreadable, has_provenance, read_story, reading, slots_of
from pipelines.provenance.inside import look_inside
from pipelines.provenance.page import Page
from pipelines.provenance.question import NotUnderstood, Slot, understand

MOST = 4
"""Figures that are explained one after the other; of more, only their names are listed."""


def explain(root: Path, words: list[str], voice: Voice, *, public: bool = False, every: bool = False) -> int:
    """Explain the figures that the words mean; returns the exit code."""
    try:
        project = load_project(root)
        file = project.paths.public_mart if public else project.paths.internal_mart
        if not file.is_file():
            voice.error(_NO_FILE["public" if public else "internal"])
            return EXIT_FAILED
        with reading(file) as con:
            for position, slot in enumerate(_meant(con, project, words)):
                if position:
                    voice.say("\n" + "-" * 80)
                story = read_story(con, project, slot)
                inside = None if public else look_inside(project, story, slot)
                for line in Page(project, story, inside, every=every, wrap=voice.person).write():
                    voice.say(line)
    except NotUnderstood as error:
        voice.error(str(error))
        return EXIT_USAGE
    except ConfigError as error:
        for problem in error.problems:
            voice.error(str(problem))
        return EXIT_USAGE
    except (Unreadable, DamagedArchive) as error:
        voice.error(str(error))
        return EXIT_FAILED
    return EXIT_OK


def _meant(con: duckdb.DuckDBPyConnection, project: Project, words: list[str]) -> list[Slot]:
    """The figures that the words mean, few enough to be explained.

    Raises:
        NotUnderstood: there is none, there are too many, or this file knows nothing of where figures come from.
    """
    if not has_provenance(con):
        raise NotUnderstood(_OLD)
    question = understand(project, words)
    slots = question.slots(slots_of(con, [i.id for i in question.indicators], [a.area_id for a in question.areas]))
    if len(slots) > MOST:
        raise NotUnderstood(_choice(project, slots))
    return slots


_NO_FILE = {
    "public": "Es gibt noch keine Veröffentlichung (data/warehouse); bitte sozialraum nightly ausführen.",
    "internal": "Es gibt noch keine interne Auswertung (data/warehouse/internal); bitte sozialraum nightly ausführen.",
}
_OLD = "Diese Datei stammt aus einer älteren Fassung des Programms; bitte sozialraum nightly ausführen."


def _choice(project: Project, slots: list[Slot]) -> str:
    """What the words can mean, one line each."""
    areas = project.directory.areas
    lines = [
        f"  {name} {area} {period}   ({project.indicators[name].title.de}, {areas[area].name}, {areas[area].level})"
        for name, area, _, _, period in slots[:20]
    ]
    more = [f"  … und {len(slots) - 20} weitere"] if len(slots) > 20 else []
    return "\n".join(
        [f"Das können {len(slots)} Zahlen sein; bitte genauer, z. B. mit diesen Kennungen:", *lines, *more]
    )
