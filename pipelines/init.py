"""Creates a new project folder for another city: a tiny example that runs at once and is to be replaced."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from pipelines.exit_codes import EXIT_OK, EXIT_USAGE
from pipelines.progress import Voice

_PACKAGE = Path(__file__).resolve().parent


def create_project(directory: Path, voice: Voice) -> int:
    """Copy the template into a folder that does not exist yet or is empty; returns the exit code."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        voice.error(f"{directory} gibt es schon und ist nicht leer; nichts angelegt")
        return EXIT_USAGE
    template = _PACKAGE / "template"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(template, directory, dirs_exist_ok=True, ignore=ignore)
    if not (directory / "assets" / "marts").is_dir():  # a checkout: the tables stand where they are written
        shutil.copytree(_PACKAGE.parent / "assets" / "marts", directory / "assets" / "marts")
        shutil.copyfile(_PACKAGE.parent / "dagster.yaml", directory / "dagster.yaml")
    voice.say(f"Angelegt: {directory}")
    voice.say(f"Nächster Schritt: sozialraum nightly --project {shlex.quote(str(directory))}")
    voice.say("Danach: Gebiete in assets/areas, Quellen und Indikatoren in assets/<thema>/defs.yaml beschreiben.")
    return EXIT_OK
