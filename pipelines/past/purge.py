"""Removes the bytes of a delivery for legal reasons. The receipt stays, and says so.

The receipt is written first and the bytes go last: as long as they lie there, something is left to do.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections import defaultdict
from pathlib import Path

from pipelines import lock
from pipelines.files import remove_leftovers, sha256_file, sync_folder
from pipelines.history import Delivery, History, in_force
from pipelines.past.aside import clear_workshop, results, workshop_lock
from pipelines.past.typed import Refused, locked
from pipelines.paths import Paths
from pipelines.plaintext import printable
from pipelines.progress import Voice
from pipelines.project import ConfigError, load_project
from pipelines.published import PublishedLedger
from schemas.yaml_source import nearest


def purge(root: Path, delivery_id: str, reason: str, voice: Voice) -> int:
    """Remove a delivery's bytes and all that was made of them but releases; returns the exit code (0, 1, 2, 5).

    Args:
        root: project folder.
        delivery_id: `<source>-<seq>`.
        reason: why; kept in the receipt.
        voice: where the answer goes.
    """

    def work(paths: Paths, why: str) -> None:
        held = lock.take(workshop_lock(paths))  # a rebuilt past may hold the figures too
        try:
            clear_workshop(paths)
            _purge(paths, delivery_id, why, voice)
        finally:
            held.release()

    return locked(root, reason, voice, work)


def finish_purges(paths: Paths) -> list[str]:
    """Remove what a killed command left of purged deliveries; returns their ids."""
    left = [d for d in History(paths).all_deliveries() if d.purged and d.file.exists()]
    for delivery in left:
        _remove(paths, delivery)
    return [delivery.delivery_id for delivery in left]


def _purge(paths: Paths, delivery_id: str, reason: str, voice: Voice) -> None:
    for finished in finish_purges(paths):
        voice.say(f"Zu Ende gebracht: die Bytes von {finished} sind gelöscht")
    everything = History(paths).all_deliveries()
    delivery = next((d for d in everything if d.delivery_id == delivery_id), None)
    if delivery is None:
        History(paths).refuse_gaps()  # else it may have been there
        near = nearest(delivery_id, [d.delivery_id for d in everything])
        hint = f"; meinten Sie »{near[0]}«?" if near else ""
        raise Refused(f"Die Lieferung »{delivery_id}« gibt es nicht{hint}")
    if delivery.purged:
        voice.say(f"{delivery_id} ist gelöscht (am {delivery.purged['on']}, Grund: {delivery.purged['reason']})")
    else:
        gaps = _lost(paths, delivery)
        voice.say(f"{delivery_id} ({delivery.name}, eingegangen {delivery.received_on:%d.%m.%Y}) wird gelöscht.")
        voice.say(f"Grund: {reason}")
        History(paths).purge(delivery, dt.datetime.now(dt.UTC).date().isoformat(), reason)
        _remove(paths, delivery)
        voice.say(
            "Gelöscht: die empfangenen Bytes und alles, was im Arbeitsbereich daraus gemacht war. Der Beleg und die "
            "Nummer bleiben; der nächste Nachtlauf baut die interne Auswertung neu, bis dahin fehlt sie."
        )
        for line in gaps:
            voice.say(line)
    for line in _elsewhere(paths, delivery, everything):
        voice.say(line)


def _remove(paths: Paths, delivery: Delivery) -> None:
    """All caches: comparisons of other deliveries and their reports name figures of this one too."""
    for folder in (paths.internal, paths.warehouse / "oeffentlich", results(paths)):
        _empty(folder)
    remove_leftovers(paths.history)
    delivery.file.unlink(missing_ok=True)
    sync_folder(delivery.folder)


def _empty(folder: Path) -> None:
    """Remove what is in a folder; the folder itself may be a link to another disk."""
    for path in folder.iterdir() if folder.is_dir() else []:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if folder.is_dir():
        sync_folder(folder)


def _lost(paths: Paths, delivery: Delivery) -> list[str]:
    """Which figures nobody supplies any more, by measure, with their periods and levels."""
    try:
        source = load_project(paths.root).sources.get(delivery.source)
    except ConfigError:  # what the law demands does not wait for it
        return [
            "Welche Zahlen damit wegfallen, ist jetzt nicht zu sagen: Die Beschreibung (assets) ist nicht gültig.",
            "Der erste Nachtlauf, nachdem sie berichtigt ist, rechnet ohne die Lieferung.",
        ]
    counting = in_force(source, History(paths).deliveries(delivery.source)) if source else []
    if delivery.delivery_id not in {d.delivery_id for d in counting}:
        return ["Die Lieferung war nicht in Kraft; keine Zahl ändert sich."]
    others = {part for d in counting if d.delivery_id != delivery.delivery_id for part in d.slices}
    lost = defaultdict(set)
    for part in delivery.slices - others:
        measure, period, level = part.split("|")
        lost[f"{measure}, {level}"].add(period)
    if not lost:
        return [
            "Andere Lieferungen der Quelle enthalten dieselben Kennzahlen und Zeiträume; deren Zahlen gelten jetzt."
        ]
    lines = [f"  {delivery.source}: {what}: {', '.join(sorted(periods))}" for what, periods in sorted(lost.items())]
    return ["Diese Zahlen liefert sonst niemand, sie fallen weg:", *lines]


def _elsewhere(paths: Paths, delivery: Delivery, everything: list[Delivery]) -> list[str]:
    """Where the same bytes or figures of them remain: not ours to remove, or not asked for."""
    lines = [
        f"Im Eingang liegt die Datei noch, bitte löschen: {printable(paths.relative(path))}"
        for path in sorted(paths.inbox.rglob("*"))
        if path.is_file() and not path.is_symlink() and sha256_file(path) == delivery.sha256
    ]
    same = [d for d in everything if d.sha256 == delivery.sha256 and d is not delivery and not d.purged]
    lines += [f"Dieselben Bytes liegen auch als {d.delivery_id} im Archiv (eigens löschen)" for d in same]
    shown = [e for e in PublishedLedger(paths).entries() if delivery.delivery_id in (e.deliveries or ())]
    if shown:
        names = ", ".join(f"{e.release_id}{' (zurückgezogen)' if e.withdrawn else ''}" for e in shown)
        lines.append(
            f"Zahlen daraus sind veröffentlicht und bleiben es, auch im Verzeichnis des Veröffentlichten: {names}"
        )
    if any(not e.withdrawn for e in shown):
        lines.append(
            "Die geltende nimmt »sozialraum withdraw« zurück; geschieht das nicht, nennt die nächste Veröffentlichung "
            "die Zahlen noch einmal als frühere Werte (Revisionen)."
        )
    return [*lines, "Bitte auch an Sicherungen (Backups) und an den Absender denken."]
