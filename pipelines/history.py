"""The ledger of received deliveries: their bytes and receipts, kept outside the warehouse and never rewritten.

A delivery is identified by its source, the sha256 of its bytes, and its name where the layout reads something from
the name. Its place in the order is a sequence number, never a clock.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from pipelines import lock
from pipelines.files import TEMPORARY, read_json, sha256_file, sync_folder, sync_tree, write_json
from pipelines.intake.limits import MEGABYTE, TEXT_BYTES
from pipelines.paths import Paths
from pipelines.plaintext import printable
from pipelines.published import PublishedLedger
from schemas.documents import Source
from schemas.yaml_source import nearest

RECEIPT = "receipt.json"
MAX_REASONS = 20


class DamagedArchive(Exception):
    """The archive is not as it was written; going on would change figures silently."""


@dataclass(frozen=True)
class Delivery:
    """One received file.

    `night` counts the runs in which something arrived, over all sources; `slices` are the measures, periods and levels
    it supplied when it was last accepted (`measure|period|level`); `purged` has `on` (day) and `reason` if its bytes
    were removed for legal reasons.
    """

    source: str
    seq: int
    sha256: str
    name: str
    first_seen: str
    night: int
    folder: Path
    decision: str | None = None
    reasons: tuple[str, ...] = ()
    rules: str | None = None
    slices: frozenset[str] = frozenset()
    purged: dict[str, str] | None = None

    @property
    def delivery_id(self) -> str:
        """Opaque id, `<source>-<seq>`."""
        return delivery_id(self.source, self.seq)

    @property
    def file(self) -> Path:
        """The archived bytes."""
        return self.folder / "bytes"

    @property
    def received_on(self) -> dt.date:
        """Day of receipt (UTC)."""
        return dt.datetime.fromisoformat(self.first_seen).date()

    def verify(self) -> None:
        """Raise DamagedArchive unless the archived bytes are those that were received."""
        if not self.file.is_file() or sha256_file(self.file) != self.sha256:
            raise DamagedArchive(
                f"Archiv beschädigt: die Bytes der Lieferung {self.delivery_id} ({self.name}) fehlen oder sind "
                "verändert; bitte data/history aus der Sicherung wiederherstellen"
            )


@dataclass
class Arrivals:
    """What a look into the inbox of one source brought; `refused` says what was dropped there and can't be taken."""

    new: list[Delivery] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    in_inbox: set[str] = field(default_factory=set)


def delivery_id(source: str, seq: int) -> str:
    """Id of a delivery, as people read and type it."""
    return f"{source}-{seq:04d}"


class History:
    """Deliveries of all sources of one project."""

    def __init__(self, paths: Paths) -> None:
        """Read nothing yet."""
        self.paths = paths
        self.folder = paths.history / "deliveries"

    def deliveries(self, source: str) -> list[Delivery]:
        """All deliveries of a source ever received, oldest first."""
        found = []
        folder = self.folder / source
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.name.startswith("."):
                continue
            try:
                found.append(_delivery(source, path, read_json(path / RECEIPT)))
            except (TypeError, KeyError, AttributeError) as error:  # no receipt, or one without what it must say
                raise DamagedArchive(
                    f"Archiv beschädigt: {self.paths.relative(path / RECEIPT)} fehlt oder ist nicht lesbar; "
                    "bitte data/history aus der Sicherung wiederherstellen"
                ) from error
        return sorted(found, key=lambda d: d.seq)

    def all_deliveries(self) -> list[Delivery]:
        """All deliveries ever received, source by source, oldest first; also of sources that are no longer declared."""
        return [delivery for source in self.sources() for delivery in self.deliveries(source)]

    def refuse_gaps(self) -> list[Delivery]:
        """All deliveries, if none is missing: numbers have no gap, and all that was published is there.

        Raises:
            DamagedArchive: names what is missing. Unnoticed, its number would be given to another delivery.
        """
        found = self.all_deliveries()
        ids = {delivery.delivery_id for delivery in found}
        missing = {name for entry in PublishedLedger(self.paths).entries() for name in entry.deliveries or ()} - ids
        for source in self.sources():
            numbers = [delivery.seq for delivery in found if delivery.source == source]
            if len(numbers) != len(set(numbers)):
                raise DamagedArchive(
                    f"Archiv beschädigt: in {self.paths.relative(self.folder / source)} gibt es eine Nummer zweimal; "
                    "bitte data/history aus der Sicherung wiederherstellen"
                )
            missing |= {delivery_id(source, seq) for seq in range(1, max(numbers, default=0))} - ids
        if missing:
            shown = ", ".join(sorted(missing)[:MAX_REASONS]) + (" …" if len(missing) > MAX_REASONS else "")
            raise DamagedArchive(
                f"Archiv beschädigt: es fehlen empfangene Lieferungen ({shown}) in data/history/deliveries; "
                "bitte data/history aus der Sicherung wiederherstellen"
            )
        return found

    def verify(self) -> None:
        """Raise DamagedArchive unless every delivery is there, with the bytes that were received or purged."""
        for delivery in self.refuse_gaps():
            if not delivery.purged:
                delivery.verify()

    def sources(self) -> list[str]:
        """Sources from which anything was ever received."""
        if not self.folder.is_dir():
            return []
        return sorted(p.name for p in self.folder.iterdir() if p.is_dir() and not p.name.startswith("."))

    def next_night(self) -> int:
        """Number for a run in which something arrives."""
        return 1 + max((d.night for d in self.all_deliveries()), default=0)

    def receive(self, source: Source, night: int, now: dt.datetime) -> Arrivals:
        """Archive what is new in the inbox of a source; files already received change nothing."""
        arrivals = Arrivals()
        known = self.deliveries(source.id)
        by_identity = {self._identity(source, d.sha256, d.name): d for d in known}
        purged = {d.sha256: d for d in known if d.purged}  # under any name
        # What a killed run had begun to take in goes on: files of one night must not settle each other's rejection.
        night = min([night, *(d.night for d in known if d.decision is None and not d.purged)])
        purged_anywhere: dict[str, Delivery] | None = None
        for path in self._inbox(source, arrivals):
            try:
                with _opened(path) as file:
                    digest = _steady_hash(file)
                    identity = self._identity(source, digest, path.name)
                    delivery = by_identity.get(identity) or purged.get(digest)
                    if delivery is None:
                        if purged_anywhere is None:
                            purged_anywhere = {d.sha256: d for d in reversed(self.all_deliveries()) if d.purged}
                        _leave_purged(purged_anywhere.get(digest))
                        seq = 1 + max((d.seq for d in known), default=0)
                        delivery = self._archive(source, path, file, digest, seq, night, now)
                        by_identity[identity] = delivery
                        known.append(delivery)
                        arrivals.new.append(delivery)
            except _Later as reason:
                arrivals.notes.append(f"{self._shown(path)}: {str(reason) or _IN_WRITING}")
                continue
            except _Refused as reason:
                arrivals.refused.append(f"{self._shown(path)}: {reason}")
                continue
            arrivals.in_inbox.add(delivery.delivery_id)
        gone = out_of_force(source, known)
        arrivals.notes += [
            _gone_back_note(older, newer)
            for older, newer in _gone_back(known, arrivals.in_inbox)
            if newer.delivery_id not in gone and not older.purged
        ]
        return arrivals

    def strays(self, known: list[str]) -> list[str]:
        """Notes on what lies in the inbox outside the folders of the declared sources."""
        notes: list[str] = []
        for path in sorted(self.paths.inbox.iterdir()) if self.paths.inbox.is_dir() else []:
            if path.name not in known and not path.name.startswith("."):
                match = nearest(path.name, known)
                hint = f"; meinten Sie »{match[0]}«?" if match else ""
                notes.append(f"{self._shown(path)}: gehört zu keiner Quelle, nicht gelesen{hint}")
        return notes

    def _shown(self, path: Path) -> str:
        return printable(self.paths.relative(path))

    def _entries(self, folder: Path, refused: list[str]) -> list[Path]:
        """What lies in a folder of the inbox; nothing (and a sentence) if it is none."""
        try:
            if folder.is_symlink():
                raise _Refused(_LINK)
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except (OSError, _Refused) as error:
            reason = f"kein lesbarer Ordner ({error.strerror})" if isinstance(error, OSError) else str(error)
            refused.append(f"{self._shown(folder)}: {reason}")
            return []

    def _identity(self, source: Source, digest: str, name: str) -> tuple[str, str]:
        return digest, name if source.layout.period.file_name else ""

    def _inbox(self, source: Source, arrivals: Arrivals) -> list[Path]:
        """What lies in a source's folder and may be a delivery."""
        found = []
        for path in self._entries(self.paths.inbox / source.id, arrivals.refused):
            if path.name.startswith((".", "~$")):
                continue
            if path.is_dir() and not path.is_symlink():
                arrivals.notes.append(f"{self._shown(path)}: Unterordner, nicht gelesen; Dateien direkt ablegen")
            elif source.takes(path.name):
                found.append(path)
            else:
                arrivals.notes.append(f"{self._shown(path)}: passt nicht zu »{source.file_pattern}«, nicht gelesen")
        return found

    def _archive(
        self, source: Source, path: Path, file: BinaryIO, digest: str, seq: int, night: int, now: dt.datetime
    ) -> Delivery:
        folder = self.folder / source.id / f"{seq:04d}-{digest[:12]}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=folder.parent))
        try:
            file.seek(0)
            with (temporary / "bytes").open("wb") as copy:
                shutil.copyfileobj(file, copy, 1024 * 1024)
            if sha256_file(temporary / "bytes") != digest or not _still_there(path, file):
                raise _Later
            delivery = Delivery(source.id, seq, digest, path.name, now.isoformat(timespec="seconds"), night, folder)
            write_json(temporary / RECEIPT, _receipt(delivery))
            sync_tree(temporary)
            lock.fence(self.paths.lock_file)  # two runs would give one number to two deliveries
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)  # a full disk must not stay full of it
            raise
        for made in (folder.parent, self.folder, self.paths.history):
            sync_folder(made)
        return delivery

    def purge(self, delivery: Delivery, day: str, reason: str) -> Delivery:
        """Note in the receipt that the bytes go; what was decided and why stays."""
        note = {"on": day, "reason": reason}
        path = delivery.folder / RECEIPT
        write_json(path, read_json(path) | {"purged": note})
        return replace(delivery, purged=note)

    def decide(
        self, delivery: Delivery, decision: str, reasons: list[str], rules: str, slices: Iterable[str] = ()
    ) -> Delivery:
        """Note a decision (accepted or rejected) in the receipt; earlier decisions under other rules are kept."""
        path = delivery.folder / RECEIPT
        receipt: dict[str, Any] = read_json(path)
        new = {"decision": decision, "reasons": reasons[:MAX_REASONS], "rules": rules}
        before = {key: receipt.get(key) for key in new}
        if decision == "accepted":
            new["slices"] = sorted(slices)
        if {key: receipt.get(key) for key in new} != new:
            if before["decision"] is not None:
                receipt.setdefault("earlier_decisions", []).append(before)
            receipt |= new
            write_json(path, receipt)
        return replace(
            delivery,
            decision=decision,
            reasons=tuple(new["reasons"]),
            rules=rules,
            slices=frozenset(receipt.get("slices", ())),
        )


def _leave_purged(twin: Delivery | None) -> None:
    """What was removed for legal reasons does not come back through the folder of another source either."""
    if twin is not None:
        raise _Later(
            f"enthält dieselben Bytes wie die gelöschte Lieferung {twin.delivery_id} und wird nicht angenommen; "
            "bitte dort löschen"
        )


def out_of_force(source: Source, deliveries: Iterable[Delivery]) -> set[str]:
    """Ids of deliveries that count no more, whatever was decided: retracted in the YAML, or their bytes removed."""
    return {r.delivery for r in source.retracted} | {d.delivery_id for d in deliveries if d.purged}


def in_force(source: Source, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Accepted deliveries that count, in the given order."""
    deliveries = list(deliveries)
    gone = out_of_force(source, deliveries)
    return [d for d in deliveries if d.decision == "accepted" and d.delivery_id not in gone]


def outstanding(deliveries: list[Delivery], source: Source) -> list[Delivery]:
    """Rejected deliveries that still make the state not well.

    A rejection is settled when it is retracted, when an accepted delivery arrived in a later night, or when an
    accepted one of the same file name came after it.
    """
    gone = out_of_force(source, deliveries)
    accepted = in_force(source, deliveries)
    return [
        d
        for d in deliveries
        if d.decision == "rejected"
        and d.delivery_id not in gone
        and not any(a.night > d.night or (a.seq > d.seq and a.name == d.name) for a in accepted)
    ]


def overdue(deliveries: list[Delivery], source: Source, today: dt.date) -> tuple[dt.date | None, dt.date | None]:
    """Due date that has passed without an accepted delivery, and the next date on which that could happen.

    A delivery counts for a due date if it was received after the due date before it and that one's grace.
    """
    due = source.schedule
    if due is None:
        return None, None
    grace = dt.timedelta(days=due.grace_days)
    days = sorted(_on(year, day) for year in range(today.year - 2, today.year + 3) for day in due.days)
    passed = [day for day in days if day + grace < today]
    coming = [day for day in days if day + grace >= today]
    newest = max((d.received_on for d in in_force(source, deliveries)), default=dt.date.min)
    missed = passed[-1] if newest <= passed[-2] + grace else None
    return missed, coming[0] + grace + dt.timedelta(days=1)


def _on(year: int, month_day: str) -> dt.date:
    month, day = map(int, month_day.split("-"))
    return dt.date(year, month, min(day, 28) if month == 2 else day)


class _Later(Exception):
    """A file is not taken tonight, and nothing is wrong with the state; the next night looks again."""


class _Refused(Exception):
    """What lies in the inbox is not taken; the text says why and what to do."""


_IN_WRITING = "wird noch geschrieben, kommt in der nächsten Nacht dran"
_LINK = "Verknüpfung, nicht gelesen; die Datei (oder den Ordner) selbst ablegen"
_NO_FILE = "keine gewöhnliche Datei (Gerät, Leitung o. ä.), nicht gelesen"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file of the inbox, held open: its name may be pointed elsewhere meanwhile, what is read stays the same.

    Links are not followed, neither the file's own name nor its folder's; a pipe or device is refused without waiting.
    """
    if printable(path.name) != path.name:
        raise _Refused("der Name enthält Steuerzeichen oder ist nicht in UTF-8, nicht gelesen; bitte umbenennen")
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
    except FileNotFoundError as error:
        raise _Later from error
    except OSError as error:
        raise _Refused(_LINK if path.is_symlink() else _NO_FILE if path.is_socket() else _unreadable(error)) from error
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise _Refused(_NO_FILE)
        if state.st_size > TEXT_BYTES:
            size, most = state.st_size // MEGABYTE, TEXT_BYTES // MEGABYTE
            raise _Refused(
                f"{size} MB groß, erlaubt sind {most} MB; nicht gelesen, bitte auf mehrere Dateien verteilen"
            )
        yield file


def _unreadable(error: OSError) -> str:
    return f"nicht lesbar ({error.strerror}), Zugriffsrechte prüfen"


def _steady_hash(file: BinaryIO) -> str:
    """Hash of a file that did not change meanwhile."""
    before = os.fstat(file.fileno())
    try:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise _Refused(_unreadable(error)) from error
    after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise _Later
    return digest


def _still_there(path: Path, file: BinaryIO) -> bool:
    """Whether the name still stands for what is held open (shares may give one file several inode numbers)."""
    try:
        named, held = path.lstat(), os.fstat(file.fileno())
    except OSError:
        return False
    same = (named.st_size, named.st_mtime_ns) == (held.st_size, held.st_mtime_ns)
    return same and stat.S_ISREG(named.st_mode)


def _gone_back(known: list[Delivery], in_inbox: set[str]) -> list[tuple[Delivery, Delivery]]:
    """Files whose inbox content is an older delivery than the newest one of that name: (older, newer)."""
    newest: dict[str, Delivery] = {}
    for delivery in known:
        newest[delivery.name] = delivery
    return [
        (d, newest[d.name])
        for d in known
        if d.delivery_id in in_inbox and newest[d.name] is not d and newest[d.name].delivery_id not in in_inbox
    ]


def _gone_back_note(older: Delivery, newer: Delivery) -> str:
    start = f"{older.name} enthält wieder die Lieferung {older.delivery_id}; "
    if newer.decision == "rejected":
        return start + (
            f"damit ist die zurückgewiesene {newer.delivery_id} noch nicht erledigt "
            "(eine berichtigte Datei liefern oder sie im YAML unter retracted eintragen)"
        )
    return start + (
        f"in Kraft bleibt die spätere {newer.delivery_id} "
        "(soll sie nicht mehr gelten, im YAML unter retracted eintragen)"
    )


def _delivery(source: str, folder: Path, receipt: dict[str, Any]) -> Delivery:
    return Delivery(
        source=source,
        seq=receipt["sequence"],
        sha256=receipt["sha256"],
        name=receipt["name"],
        first_seen=receipt["first_seen"],
        night=receipt["night"],
        folder=folder,
        decision=receipt.get("decision"),
        reasons=tuple(receipt.get("reasons", ())),
        rules=receipt.get("rules"),
        slices=frozenset(receipt.get("slices", ())),
        purged=receipt.get("purged"),
    )


def _receipt(delivery: Delivery) -> dict[str, Any]:
    return {
        "source": delivery.source,
        "name": delivery.name,
        "sha256": delivery.sha256,
        "sequence": delivery.seq,
        "first_seen": delivery.first_seen,
        "night": delivery.night,
        "decision": None,
        "reasons": [],
        "rules": None,
    }
