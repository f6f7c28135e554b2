"""Proposes the YAML of a new source from one of its files; what the file does not tell becomes a doubt in a comment."""

from __future__ import annotations

from pathlib import Path

from pipelines.exit_codes import EXIT_OK, EXIT_USAGE
from pipelines.progress import Voice
from pipelines.project import ConfigError, Project, load_project


def describe_file(project_root: Path, file: Path, source_id: str | None, voice: Voice) -> int:
    """Print the proposal for a file.

    Args:
        project_root: folder of the project; its areas tell which columns name areas.
        file: a delivery as received; only its beginning and end are read.
        source_id: id of the new source; by default made of the file's name.
        voice: says the YAML, or the German sentence why there is none.

    Returns:
        Exit code: 0, or 2 if the folder is no valid project or the file cannot be described.
    """
    from pipelines.describe.sample import Unreadable

    try:
        voice.say(proposed_page(load_project(project_root), file, source_id).rstrip("\n"))
    except ConfigError as error:
        for problem in error.problems:
            voice.error(str(problem))
        return EXIT_USAGE
    except Unreadable as error:
        voice.error(str(error))
        return EXIT_USAGE
    return EXIT_OK


def proposed_page(project: Project, file: Path, source_id: str | None = None) -> str:
    """The proposal for a file as the text of a `defs.yaml`.

    Raises:
        Unreadable: the file cannot be described, or the id cannot be had; the text is a German sentence.
    """
    from pipelines.describe.page import write_page
    from pipelines.describe.paper import Notes
    from pipelines.describe.proposal import new_id, propose
    from pipelines.describe.sample import read_sample

    notes = Notes()
    name = new_id(project, file, source_id)
    sample = read_sample(file, notes)
    return write_page(propose(project, file, sample, name, notes))
