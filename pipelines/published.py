"""What was ever published, one entry per release: its id, rules and deliveries. Outlives the release folders.

Standard library only. The figures themselves stand in `pipelines.ledger`, cell by cell.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.files import read_json, write_json
from pipelines.paths import Paths

LEDGER = "veroeffentlicht"
"""Folder below data/history with one file per release, see `pipelines.ledger`."""


class DamagedRecord(Exception):
    """The list of releases is not as it was written; going on would forget what was published or taken back."""


@dataclass(frozen=True)
class Published:
    """A release that may have been seen.

    Entries of older versions of the program know neither commit, rules nor deliveries (None).

    Args:
        release_id: its id.
        content_hash: hash over its figures and what they mean.
        commit: version of the program.
        rules: hash over all declarations.
        deliveries: ids of the deliveries that were in force.
        accepted_changes: why somebody let a mass change or withdrawn figures pass; None if nobody had to.
        withdrawn: `on` (day) and `reason`, if the release was withdrawn.
    """

    release_id: str
    content_hash: str
    commit: str | None = None
    rules: str | None = None
    deliveries: tuple[str, ...] | None = None
    accepted_changes: str | None = None
    withdrawn: dict[str, str] | None = None


class PublishedLedger:
    """All releases ever published, oldest first."""

    def __init__(self, paths: Paths) -> None:
        """Read nothing yet."""
        self.file = paths.history / "veroeffentlichungen.json"
        self.cells = paths.history / LEDGER

    def entries(self) -> list[Published]:
        """All entries, oldest first.

        Raises:
            DamagedRecord: the file can't be read, or is gone though releases are noted beside it.
        """
        if not self.file.exists() and not any(self.cells.glob("*.parquet")):
            return []
        content = read_json(self.file)
        try:
            if not isinstance(content, list):
                raise TypeError(self.file)
            return [_entry(entry) for entry in content]
        except (TypeError, AttributeError) as error:  # no list, or other or missing keys
            raise DamagedRecord(
                f"Das Verzeichnis der Veröffentlichungen ({self.file.name} in data/history) fehlt oder ist beschädigt; "
                "bitte data/history aus der Sicherung wiederherstellen"
            ) from error

    def ids(self) -> list[str]:
        """Ids of all releases ever published, oldest first."""
        return [entry.release_id for entry in self.entries()]

    def entry(self, release_id: str) -> Published | None:
        """The entry of a release, None if it was never published."""
        return next((entry for entry in self.entries() if entry.release_id == release_id), None)

    def withdrawn(self, content_hash: str) -> Published | None:
        """The withdrawn release with this content, None if nobody took such content back."""
        return next((e for e in reversed(self.entries()) if e.withdrawn and e.content_hash == content_hash), None)

    def taken_back(self) -> set[str]:
        """Ids of releases that must not be in force: withdrawn, or with such content though nobody accepted it."""
        entries = self.entries()
        contents = {e.content_hash for e in entries if e.withdrawn}
        back = (e for e in entries if e.withdrawn or (e.content_hash in contents and e.accepted_changes is None))
        return {entry.release_id for entry in back}

    def add(self, entry: Published) -> None:
        """Note a release before anybody can see it; a second note of the same id replaces the first."""
        others = [known for known in self.entries() if known.release_id != entry.release_id]
        self._write([*others, entry])

    def withdraw(self, release_id: str, day: str, reason: str) -> None:
        """Note that a release was withdrawn.

        Raises:
            KeyError: the ledger does not know it.
        """
        if release_id not in self.ids():
            raise KeyError(release_id)
        note = {"on": day, "reason": reason}
        self._write([replace(e, withdrawn=note) if e.release_id == release_id else e for e in self.entries()])

    def _write(self, entries: list[Published]) -> None:
        rows = [{key: value for key, value in asdict(e).items() if value is not None} for e in entries]
        write_json(self.file, rows)


def _entry(content: dict[str, Any]) -> Published:
    deliveries = content.get("deliveries")
    return Published(**{**content, "deliveries": None if deliveries is None else tuple(deliveries)})
