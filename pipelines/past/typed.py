"""What commands have in common that somebody types because something must go: a reason, the lock, and plain answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipelines import faults, lock
from pipelines.exit_codes import EXIT_BUSY, EXIT_FAILED, EXIT_OK, EXIT_USAGE
from pipelines.history import DamagedArchive
from pipelines.paths import Paths
from pipelines.progress import Voice
from pipelines.published import DamagedRecord
from pipelines.status import unfinished


class Refused(Exception):
    """The call itself is wrong; the text says what to do. Nothing was changed."""


def locked(root: Path, reason: str, voice: Voice, work: Callable[[Paths, str], None]) -> int:
    """Do something irrevocable while no night runs; returns the exit code (0, 1, 2, 5).

    Args:
        root: project folder.
        reason: why; kept, so it must not be empty.
        voice: where the answer goes.
        work: is given the project's places and the reason on one line; raises Refused.
    """
    paths = Paths.of(root)
    reason = " ".join(reason.split())
    try:
        if not paths.is_project():
            raise Refused(f"{root}: kein Projektordner (erwartet: assets/, data/, dagster.yaml)")
        if not reason:
            raise Refused("--reason ist leer; bitte den Grund angeben, er wird aufgehoben")
        held = lock.take(paths.lock_file)
        try:
            work(paths, reason)
        finally:
            held.release()
    except Refused as refusal:
        voice.error(str(refusal))
        return EXIT_USAGE
    except lock.Busy as busy:
        voice.error(str(busy))
        return EXIT_BUSY
    except (DamagedArchive, DamagedRecord, OSError) as error:
        voice.error(f"FEHLGESCHLAGEN: {faults.in_words(error, paths)}")
        with suppress(OSError):
            for sentence in unfinished(paths).values():
                voice.error(sentence)
        return EXIT_FAILED
    return EXIT_OK
