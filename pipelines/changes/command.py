"""`sozialraum changes [FROM] [TO]`: what changed between two public releases. Reads nothing that is not public."""

from __future__ import annotations

from pathlib import Path

from pipelines.changes.compare import Changes, Incomparable, compare
from pipelines.changes.words import listing, table
from pipelines.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_USAGE
from pipelines.files import write_text
from pipelines.gate import damaged_release
from pipelines.marts.models import Models
from pipelines.paths import DATABASE, Paths
from pipelines.progress import Voice
from pipelines.project import ConfigError, load_project
from pipelines.published import PublishedLedger
from pipelines.release.publish import order_of, release_folders
from schemas.yaml_source import nearest


class _Unusable(Exception):
    """A release can't be compared; the text (German) says why and what to do."""


def print_changes(root: Path, before: str | None, now: str | None, csv: Path | None, voice: Voice) -> int:
    """Say what changed between two releases and write all rows into a file if asked; returns the exit code.

    Args:
        root: folder of the project.
        before: id of the release to start from; by default the newest one before `now`.
        now: id of the release to compare; by default the one in force.
        csv: file for all rows.
        voice: says it.
    """
    try:
        models = Models(load_project(root))
    except ConfigError as error:
        for problem in error.problems:
            voice.error(str(problem))
        return EXIT_USAGE
    paths = models.project.paths
    try:
        later = _folder(paths, now) if now else _in_force(paths)
        earlier = _folder(paths, before) if before else _one_before(paths, later)
    except _Unusable as error:
        voice.error(str(error))
        return EXIT_USAGE
    if earlier is None:
        voice.say(f"{later.name} ist die älteste Veröffentlichung, die noch da ist: nichts, womit zu vergleichen wäre.")
        return EXIT_OK
    try:
        changes = _compared(models, earlier, later)
    except Incomparable as error:
        voice.error(f"{earlier.name} und {later.name} lassen sich nicht vergleichen: {error}.")
        return EXIT_FAILED
    if order_of(earlier.name) > order_of(later.name):
        voice.say(f"Rückwärts verglichen: {earlier.name} ist die neuere der beiden Veröffentlichungen.")
    for line in listing(changes):
        voice.say(line)
    if csv is not None:
        write_text(csv, table(changes))
        voice.say(f"Alle {len(changes.rows)} Zeilen: {csv}")
    return EXIT_OK


def _compared(models: Models, earlier: Path, later: Path) -> Changes:
    """What changed between two release folders.

    Raises:
        Incomparable: one of them is damaged, or made by a program too old for that.
    """
    for folder in (earlier, later):
        if damage := damaged_release(folder):
            raise Incomparable(f"{folder.name} ist beschädigt ({damage}), aus der Sicherung wiederherstellen")
    return compare(models, earlier, later / DATABASE)


def _in_force(paths: Paths) -> Path:
    """Folder of the release in force.

    Raises:
        _Unusable: there is none.
    """
    if not (paths.current / DATABASE).is_file():
        raise _Unusable(f"{paths.relative(paths.current)}: keine Veröffentlichung in Kraft; zuerst: sozialraum nightly")
    return paths.current.resolve()


def _one_before(paths: Paths, later: Path) -> Path | None:
    """The newest release published before another one, if its folder is still there."""
    earlier = [folder for folder in release_folders(paths) if order_of(folder.name) < order_of(later.name)]
    return max(earlier, key=lambda folder: order_of(folder.name), default=None)


def _folder(paths: Paths, release_id: str) -> Path:
    """Folder of a release by its id.

    Raises:
        _Unusable: there is no such release, or not any more.
    """
    retained = {folder.name: folder for folder in release_folders(paths)}
    if release_id in retained:
        return retained[release_id]
    entry = PublishedLedger(paths).entry(release_id)
    if entry is None:
        near = nearest(release_id, retained, count=3, cutoff=0.3)
        known = f"am ähnlichsten: {', '.join(near)}" if near else f"vorhanden: {', '.join(sorted(retained)) or 'keine'}"
        raise _Unusable(f"{release_id}: diese Veröffentlichung gibt es nicht; {known}")
    if entry.withdrawn:
        raise _Unusable(f"{release_id}: am {entry.withdrawn['on']} zurückgezogen; nichts zu vergleichen")
    raise _Unusable(
        f"{release_id}: der Ordner ist nicht mehr da (aufbewahrt werden so viele, wie assets/release mit keep sagt); "
        f"aus der Sicherung nach {paths.relative(paths.releases)} legen. Vorhanden: {', '.join(sorted(retained))}"
    )
