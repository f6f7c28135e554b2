"""What the disk or the machine refused, in words for whoever is on call: what, where, why, what to do.

Standard library only.
"""

from __future__ import annotations

import errno
import getpass
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.incidents import of_sqlite
from pipelines.paths import Paths

MEGABYTE = 1024 * 1024
_PHRASES = {
    "No space left on device": errno.ENOSPC,
    "database or disk is full": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "Read-only file system": errno.EROFS,
    "attempt to write a readonly database": errno.EROFS,
    "Permission denied": errno.EACCES,
    "Operation not permitted": errno.EPERM,
    "unable to open database file": errno.EACCES,
    "Input/output error": errno.EIO,
    "disk I/O error": errno.EIO,
    "database is locked": errno.EBUSY,
    "Stale file handle": errno.ESTALE,
    "Too many open files": errno.EMFILE,
    "Cannot allocate memory": errno.ENOMEM,
    "Out of Memory Error": errno.ENOMEM,
}
"""What libraries that have no error numbers write instead."""
_UNREADABLE = ("IOException", "SerializationException", "FatalException", "InternalException")
"""What DuckDB raises for files that are damaged or were cut."""
_AGAIN = "dann noch einmal starten"


def in_words(error: BaseException, paths: Paths) -> str:
    """One German text about a failure; the project's own exceptions speak for themselves."""
    for cause in _chain(error):
        if type(cause).__module__.startswith(("pipelines.", "schemas.")):
            # The audit fails closed whatever it could not do, and quotes what stopped it.
            return _sentence(errno.ENOSPC, cause, paths) if _number(cause) == errno.ENOSPC else str(cause)
        if of_sqlite(cause):
            return _of_record(cause, paths)
        number = _number(cause)
        if number is not None:
            return _sentence(number, cause, paths)
        if type(cause).__module__ == "_duckdb" and (_unreadable(cause) or _unwritten(cause)):
            return _of_duckdb(cause, paths)
    return str(error) or type(error).__name__


def _of_record(error: BaseException, paths: Paths) -> str:
    """What SQLite refused: Dagster's record of runs. It names no file, so the folder is the one that can't be written.

    It says the same of a disk that is read-only and of missing rights.
    """
    number = _number(error)
    folders = [path for path in (paths.state / "history", paths.state / "schedules", paths.state) if path.is_dir()]
    place = next((path for path in folders if not os.access(path, os.W_OK)), (folders or [paths.state])[0])
    if number == errno.EIO and scarce(paths):  # what SQLite says when its side files find no room
        number = errno.ENOSPC
    if number in (errno.EROFS, errno.EACCES):
        number = errno.EROFS if os.statvfs(place).f_flag & os.ST_RDONLY else errno.EACCES
    if number is not None:
        return _sentence(number, OSError(number, os.strerror(number), str(place)), paths)
    return (
        f"Dagsters Aufzeichnung der Läufe (SQLite in {paths.relative(place)}) lässt sich nicht benutzen: {error}. "
        f"Den Datenträger prüfen und {paths.relative(place)} beiseitelegen (die Liste früherer Läufe beginnt neu, "
        f"Zahlen sind nicht betroffen), {_AGAIN}."
    )


def _unreadable(error: BaseException) -> bool:
    return type(error).__name__ in _UNREADABLE or "Corrupt database file" in str(error)


def _unwritten(error: BaseException) -> bool:
    return "TransactionContext" in str(error)


def _of_duckdb(error: BaseException, paths: Paths) -> str:
    """A file with figures that can't be read or written, without an error number behind it."""
    first = next(iter(str(error).splitlines()), type(error).__name__)
    place = _place(error, paths)
    if _unwritten(error):
        temporary = Path(tempfile.gettempdir())
        return (
            f"DuckDB konnte nicht zu Ende schreiben ({first}). Meist fehlt Platz: frei sind "
            f"{_megabytes(shutil.disk_usage(temporary).free)} MB in {temporary} (TMPDIR) und "
            f"{_megabytes(shutil.disk_usage(_existing(paths.root)).free)} MB in {paths.root}. Platz schaffen, {_AGAIN}."
        )
    named = paths.relative(place) if place != paths.root / "data" else "eine Datei in data/warehouse"
    return (
        f"{named} ist beschädigt oder nicht lesbar ({first}). Die interne Auswertung baut der Nachtlauf neu: "
        "data/warehouse/internal löschen und »sozialraum nightly« starten."
    )


def full(error: BaseException) -> bool:
    """Whether a full disk is behind a failure, whatever the library calls it."""
    return any(_number(cause) in (errno.ENOSPC, errno.EDQUOT) for cause in _chain(error))


def scarce(paths: Paths) -> str | None:
    """A warning if there is obviously too little room for another release and another internal file."""
    used = 2 * sum(path.stat().st_size for path in paths.current.rglob("*") if path.is_file())
    used += paths.internal_mart.stat().st_size if paths.internal_mart.exists() else 0
    free = shutil.disk_usage(paths.releases).free
    if free >= used:
        return None
    return (
        f"Warnung: auf {_mount(paths.releases)} sind nur {_megabytes(free)} MB frei, für diese Nacht werden etwa "
        f"{_megabytes(used)} MB gebraucht; bitte Platz schaffen"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it, latest first."""
    seen: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in seen:
        seen.append(current)
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    return next((number for phrase, number in _PHRASES.items() if phrase in str(error)), None)


def _sentence(number: int, error: BaseException, paths: Paths) -> str:
    place = _place(error, paths)
    shown = paths.relative(place)
    match number:
        case errno.ENOSPC | errno.EDQUOT:
            what = "das Kontingent ist erschöpft" if number == errno.EDQUOT else "kein Speicherplatz mehr"
            free = _megabytes(shutil.disk_usage(_existing(place)).free)
            remedy = ", z. B. mit einem kleineren keep in assets/release" if place.is_relative_to(paths.root) else ""
            return (
                f"{what} auf {_mount(place)}: frei {free} MB (beim Schreiben von {shown}). "
                f"Platz schaffen{remedy}, {_AGAIN}."
            )
        case errno.EROFS:
            return f"{shown} ist nur lesbar (schreibgeschützt eingehängt). Beschreibbar einhängen, {_AGAIN}."
        case errno.EACCES | errno.EPERM:
            return (
                f"{shown}: keine Berechtigung für den Benutzer {_user()}. Zugriffsrechte prüfen (der Lauf muss unter "
                f"data/ lesen und schreiben dürfen), {_AGAIN}."
            )
        case errno.EBUSY:
            return f"{shown}: von einem anderen Prozess belegt. Warten, bis er fertig ist, {_AGAIN}."
        case errno.EIO | errno.ESTALE:
            return (
                f"{shown}: der Datenträger antwortet mit einem Fehler. Datenträger oder Netzlaufwerk prüfen, {_AGAIN}."
            )
        case errno.EMFILE | errno.ENFILE:
            return f"zu viele offene Dateien. Die Grenze (ulimit -n) anheben, {_AGAIN}."
        case errno.ENOMEM:
            return (
                "der Arbeitsspeicher reicht nicht. Dem Lauf mehr geben (Umgebungsvariable SOZIALRAUM_SPEICHER) "
                f"oder große Lieferungen auf mehrere Dateien verteilen, {_AGAIN}."
            )
        case errno.ENOENT:
            return f"{shown} ist während des Laufs verschwunden. Prüfen, wer dort löscht, {_AGAIN}."
        case _:
            return f"{shown}: {error.strerror if isinstance(error, OSError) else error}"


def _place(error: BaseException, paths: Paths) -> Path:
    """The file an error is about, as far as it tells."""
    if isinstance(error, OSError):
        named = error.filename2 or error.filename
        if isinstance(named, str | bytes | os.PathLike):
            return paths.root / os.fsdecode(named)
    found = re.search(r"""["']((?:/|data/)[^"']+)["']""", str(error))
    return paths.root / found[1] if found else paths.root / "data"


def _existing(place: Path) -> Path:
    return next(path for path in (place, *place.parents) if path.exists())


def _mount(place: Path) -> Path:
    place = _existing(place)
    return next(path for path in (place, *place.parents) if path.is_mount())


def _megabytes(size: int) -> str:
    return f"{size / MEGABYTE:.0f}" if size >= 10 * MEGABYTE else f"{size / MEGABYTE:.1f}".replace(".", ",")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no name for this number
        return str(os.getuid())
