"""Takes a release back: noted first, then the links point to the one before, then its folder goes where nobody reads.

Every step can be repeated, and the folder goes last: as long as it lies among the releases, something is left to do.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from pathlib import Path

from pipelines import lock
from pipelines.files import TEMPORARY, read_json, sync_folder, sync_tree
from pipelines.past.typed import Refused, locked
from pipelines.paths import RELEASE_ID, Paths
from pipelines.progress import Voice
from pipelines.published import Published, PublishedLedger
from pipelines.release.publish import fall_back
from pipelines.status import stale_in_words
from schemas.yaml_source import nearest

WITHDRAWN = "zurueckgezogen"
"""Folder below data/history with what was taken back."""


def withdraw(root: Path, release_id: str, reason: str, voice: Voice) -> int:
    """Take the release in force back; returns the exit code (0, 1, 2, 5).

    Args:
        root: project folder.
        release_id: the release; it must be named, and only the one in force can be taken back.
        reason: why; kept in the ledger of releases.
        voice: where the answer goes.
    """

    def work(paths: Paths, why: str) -> None:
        _withdraw(paths, release_id, why, voice)

    return locked(root, reason, voice, work)


def finish_withdrawals(paths: Paths) -> list[str]:
    """Do what is left to do for releases noted as withdrawn; returns their ids."""
    ledger = PublishedLedger(paths)
    _remember(paths, ledger)
    taken_back = ledger.taken_back()
    done = []
    for entry in ledger.entries():
        folder = paths.releases / entry.release_id
        if entry.withdrawn and (folder.is_dir() or _in_force(paths) == entry.release_id):
            lock.fence(paths.lock_file)
            fall_back(paths.public_places, taken_back)
            _move(folder, paths.history / WITHDRAWN / entry.release_id)
            done.append(entry.release_id)
    return done


def _remember(paths: Paths, ledger: PublishedLedger) -> None:
    """Note again what was taken back when the list of releases comes from a backup made before that."""
    folder = paths.history / WITHDRAWN
    noted = {entry.release_id for entry in ledger.entries() if entry.withdrawn}
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        if RELEASE_ID.fullmatch(place.name) and place.name not in noted:
            package = read_json(place / "datapackage.json") or {}
            if ledger.entry(place.name) is None:
                ledger.add(Published(place.name, str(package.get("contentHash", "")).removeprefix("sha256:")))
            day = dt.datetime.now(dt.UTC).date().isoformat()
            ledger.withdraw(place.name, day, "war zurückgezogen; die eingespielte Sicherung ist älter")


def _withdraw(paths: Paths, release_id: str, reason: str, voice: Voice) -> None:
    ledger = PublishedLedger(paths)
    for finished in finish_withdrawals(paths):
        voice.say(f"Zu Ende gebracht: {finished} ist nicht mehr in Kraft")
    entry = ledger.entry(release_id)
    if entry is not None and entry.withdrawn:
        voice.say(f"{release_id} ist zurückgezogen (am {entry.withdrawn['on']}, Grund: {entry.withdrawn['reason']})")
        return
    _refuse_others(paths, ledger, release_id)
    if entry is None:
        raise Refused(stale_in_words([release_id]))
    voice.say(f"{release_id} wird zurückgezogen. Grund: {reason}")
    ledger.withdraw(release_id, dt.datetime.now(dt.UTC).date().isoformat(), reason)
    finish_withdrawals(paths)
    _tell(paths, ledger, release_id, voice)


def _refuse_others(paths: Paths, ledger: PublishedLedger, release_id: str) -> None:
    """Only what is in force can be taken back: older releases are history, nobody is pointed to them."""
    in_force = _in_force(paths)
    if in_force is None:
        raise Refused("Es ist keine Veröffentlichung in Kraft; zurückzuziehen ist nichts")
    if release_id != in_force:
        near = nearest(release_id, ledger.ids())
        known = "gilt nicht mehr" if release_id in ledger.ids() else "gibt es nicht"
        hint = f"; meinten Sie »{near[0]}«?" if near and near[0] != release_id else "."
        raise Refused(
            f"Die Veröffentlichung »{release_id}« {known}{hint} Zurückziehen lässt sich nur die geltende: {in_force}"
        )


def _tell(paths: Paths, ledger: PublishedLedger, release_id: str, voice: Voice) -> None:
    now = _in_force(paths)
    if now:
        voice.say(f"In Kraft ist wieder: {now}")
    else:
        voice.say(
            "Es ist keine Veröffentlichung mehr in Kraft: data/releases/current, data/releases/aktuell.txt und "
            "data/warehouse/sozialraum.duckdb sind entfernt"
        )
    voice.say(f"Der Ordner liegt jetzt in {paths.relative(paths.history / WITHDRAWN / release_id)}")
    same = sorted(ledger.taken_back() - {e.release_id for e in ledger.entries() if e.withdrawn})
    left = [name for name in same if (paths.releases / name).is_dir()]
    if left:
        voice.say(
            f"Denselben Inhalt haben frühere Veröffentlichungen, die noch in data/releases liegen: {', '.join(left)}"
        )
    voice.say("Wer die Dateien schon geholt hat, behält sie: bitte die Empfänger benachrichtigen.")
    voice.say(
        "Der Nachtlauf veröffentlicht nichts, solange alles, was sie Neues zeigte, unverändert wieder da wäre "
        "(Rückgabewert 3). Eine berichtigte Lieferung ablegen oder die Beschreibung (YAML) ändern."
    )


def _in_force(paths: Paths) -> str | None:
    return os.readlink(paths.current) if paths.current.is_symlink() else None


def _move(folder: Path, target: Path) -> None:
    """Copied, then removed: archive and releases may lie on different disks."""
    if folder.is_dir() and not target.is_dir():
        target.parent.mkdir(mode=0o700, exist_ok=True)
        copy = target.with_name(f"{TEMPORARY}{target.name}")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        sync_tree(copy)
        copy.rename(target)
        sync_folder(target.parent)
    if folder.is_dir():
        doomed = folder.rename(folder.with_name(f"{TEMPORARY}{folder.name}"))  # never half a release under its name
        sync_folder(folder.parent)
        shutil.rmtree(doomed)
