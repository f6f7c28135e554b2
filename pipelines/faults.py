"""What the disk or the machine refused, in words for whoever is on call: what, where, why, what to do.

Standard library only.
"""

from __future__ import annotations

import errno
import getpass
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

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
    "Stale file handle": errno.ESTALE,
    "Too many open files": errno.EMFILE,
    "Cannot allocate memory": errno.ENOMEM,
    "Out of Memory Error": errno.ENOMEM,
}
"""What libraries that have no error numbers write instead."""
_AGAIN = "dann den Lauf wiederholen"


def in_words(error: BaseException, paths: Paths) -> str:
    """One German text about a failure; the project's own exceptions speak for themselves."""
    for cause in _chain(error):
        if type(cause).__module__.startswith(("pipelines.", "schemas.")):
            return str(cause)
        number = _number(cause)
        if number is not None:
            return _sentence(number, cause, paths)
    return str(error) or type(error).__name__


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
            return (
                f"{what} auf {_mount(place)}: frei {free} MB (beim Schreiben von {shown}). Platz schaffen, z. B. mit "
                f"einem kleineren keep in assets/release, {_AGAIN}."
            )
        case errno.EROFS:
            return f"{shown} ist nur lesbar (schreibgeschützt eingehängt). Beschreibbar einhängen, {_AGAIN}."
        case errno.EACCES | errno.EPERM:
            return (
                f"{shown}: keine Berechtigung für den Benutzer {_user()}. Zugriffsrechte prüfen (der Lauf muss unter "
                f"data/ lesen und schreiben dürfen), {_AGAIN}."
            )
        case errno.EIO | errno.ESTALE:
            return (
                f"{shown}: der Datenträger antwortet mit einem Fehler. Datenträger oder Netzlaufwerk prüfen, {_AGAIN}."
            )
        case errno.EMFILE | errno.ENFILE:
            return f"zu viele offene Dateien. Die Grenze (ulimit -n) anheben, {_AGAIN}."
        case errno.ENOMEM:
            return (
                "der Arbeitsspeicher reicht nicht. Dem Lauf mehr Speicher geben oder große Lieferungen auf mehrere "
                f"Dateien verteilen, {_AGAIN}."
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
