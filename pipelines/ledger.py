"""What was ever published, cell by cell: published figures in clear, withheld ones as a keyed hash.

A hash without a key gives a small count away: one tries 0, 1, 2, ... So the key lies outside of the project. One file
per publication under `data/history`, holding only what changed; old release folders may go, this stays.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.disclosure.cells import Key, cell_name
from pipelines.files import quoted, replacing
from pipelines.paths import Paths
from pipelines.published import LEDGER
from pipelines.session import connect
from schemas.documents import LostKey

KEY_VARIABLE = "SOZIALRAUM_SCHLUESSEL"
"""Environment variable that names the file with the key."""

PUBLISHED, WITHHELD, ABSENT = "published", "withheld", "absent"

_SCHEMA = pa.schema(
    [
        ("measure_id", pa.string()),
        ("category", pa.string()),
        ("area_id", pa.string()),
        ("period_type", pa.string()),
        ("reference_date", pa.date32()),
        ("status", pa.string()),
        ("value", pa.float64()),
        ("mark", pa.string()),
        ("key_id", pa.string()),
    ]
)


class KeyProblem(Exception):
    """The key is missing, readable by others, or not the one the ledger was written with."""


class DamagedLedger(Exception):
    """A file of the ledger can't be read."""


@dataclass(frozen=True)
class Entry:
    """State of one cell in a publication; `mark` is the keyed hash of a withheld figure."""

    status: str
    value: float | None = None
    mark: str | None = None
    key_id: str | None = None


@dataclass
class CellLedger:
    """All publications, oldest first; see `pipelines.ledger`."""

    folder: Path
    key: bytes
    lost: frozenset[str] = frozenset()
    releases: list[tuple[str, dict[Key, Entry]]] = field(default_factory=list)
    latest: dict[Key, Entry] = field(default_factory=dict)
    ever: dict[Key, set[float]] = field(default_factory=dict)

    @classmethod
    def open(cls, paths: Paths, lost: Iterable[LostKey] = ()) -> CellLedger:
        """Read the ledger of a project; the key is made if nothing was ever withheld.

        Raises:
            KeyProblem: entries were written with a key that is neither at hand nor declared lost.
            DamagedLedger: a file of the ledger can't be read.
        """
        folder = paths.history / LEDGER
        releases = [(file.stem, _read(file)) for file in ledger_files(paths)]
        gone = frozenset(entry.key_id for entry in lost)
        used = {e.key_id for _, entries in releases for e in entries.values() if e.key_id} - gone
        ledger = cls(folder, _key(paths, used), gone)
        for release_id, entries in releases:
            ledger._take(release_id, entries)
        return ledger

    @property
    def key_id(self) -> str:
        """Tells keys apart without giving anything about them away."""
        return hashlib.sha256(b"sozialraum ledger key id" + self.key).hexdigest()[:12]

    def mark(self, key: Key, secret: str) -> str:
        """Keyed hash (HMAC-SHA256) of a cell with its figure, or with what stands for a figure nobody here knows."""
        return hmac.new(self.key, f"{cell_name(key)}={secret}".encode(), "sha256").hexdigest()

    def supposed(self, key: Key) -> float | None:
        """What anybody would suppose behind a star of a source: the figure that was shown before the star came."""
        last = self.latest.get(key)
        if last is None or last.status == ABSENT:
            return None
        if last.status == PUBLISHED:
            return last.value
        return next((value for value in self.ever.get(key, ()) if self.mark(key, secret_of(value)) == last.mark), None)

    def mark_of_star(self, key: Key) -> str:
        """Mark of a figure nobody here knows: that of the figure it is supposed to be, the same for star after star."""
        return self.mark(key, secret_of(self.supposed(key)))

    def before(self, key: Key, value: float, nearby: int) -> str | None:
        """What became of a figure: "published" if ever shown with this value, "withheld" if it must stay withheld.

        Args:
            key: the cell.
            value: its true value now.
            nearby: a correction smaller than this keeps a withheld cell withheld: shown after a small correction, the
                figure would tell what it was.
        """
        if value in self.ever.get(key, ()):
            return PUBLISHED
        last = self.latest.get(key)
        if last is None or last.status != WITHHELD:
            return None
        if last.key_id in self.lost:
            return WITHHELD
        near = [value + step for step in range(-nearby + 1, nearby)] if value.is_integer() else [value]
        return WITHHELD if last.mark in {self.mark(key, secret_of(v)) for v in near} else None

    def add(self, release_id: str, current: Mapping[Key, Entry]) -> None:
        """Note a publication before anybody can see it: what differs from the one before.

        Written first, because a publication nobody remembers can't be taken into account. One that is remembered but
        never came into force counts as published: somebody may have seen its folder.
        """
        changed = {key: entry for key, entry in current.items() if self.latest.get(key) != entry}
        changed |= {key: Entry(ABSENT) for key, e in self.latest.items() if key not in current and e.status != ABSENT}
        rows = [
            {**dict(zip(_SCHEMA.names[:5], key, strict=True)), **entry.__dict__}
            for key, entry in sorted(changed.items())
        ]
        table = pa.Table.from_pylist(rows, schema=_SCHEMA)
        self.folder.mkdir(parents=True, exist_ok=True)
        with replacing(self.folder / f"{release_id}.parquet") as temporary, connect() as con:
            con.register("rows", table)
            con.execute(f"COPY rows TO '{quoted(temporary)}' (FORMAT parquet, COMPRESSION zstd)")
        self._take(release_id, changed)

    def _take(self, release_id: str, entries: dict[Key, Entry]) -> None:
        self.releases.append((release_id, entries))
        self.latest |= entries
        for key, entry in entries.items():
            if entry.status == PUBLISHED and entry.value is not None:
                self.ever.setdefault(key, set()).add(entry.value)


def ledger_files(paths: Paths) -> list[Path]:
    """The ledger's files, named by release, oldest first."""
    return sorted((paths.history / LEDGER).glob("*.parquet"), key=_counter)


def secret_of(value: float | None) -> str:
    """What goes into a mark: the true value, or a sign where nobody here knows it."""
    return "*" if value is None else repr(float(value))


def key_file(paths: Paths) -> Path:
    """Where the key lies: what SOZIALRAUM_SCHLUESSEL names, else the user's configuration folder.

    Raises:
        KeyProblem: that is inside the project, where a copy of the data would carry the key along.
    """
    named = os.environ.get(KEY_VARIABLE)
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    file = Path(named).expanduser().resolve() if named else home / "sozialraum-monitor" / "ledger.key"
    if file.is_relative_to(paths.root):
        raise KeyProblem(
            f"Der Schlüssel {file} liegt im Projekt; wer die Daten kopiert, hätte ihn mit. Bitte {KEY_VARIABLE} auf "
            "eine Datei außerhalb setzen."
        )
    return file


def _key(paths: Paths, used: set[str]) -> bytes:
    file = key_file(paths)
    try:
        content = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        if used:
            raise KeyProblem(_missing(file, used)) from None
        return _new_key(file)
    except (OSError, ValueError) as error:
        raise KeyProblem(f"Der Schlüssel {file} ist nicht lesbar ({error}); bitte aus der Sicherung holen.") from error
    if len(content) < 32:
        raise KeyProblem(f"Der Schlüssel {file} ist zu kurz oder beschädigt; bitte aus der Sicherung holen.")
    if file.stat().st_mode & 0o077:
        raise KeyProblem(f"Den Schlüssel {file} können andere lesen. Abhilfe: chmod 600 {file}")
    ledger = CellLedger(paths.history, content)
    if used - {ledger.key_id}:
        raise KeyProblem(_missing(file, used - {ledger.key_id}))
    return content


def _missing(file: Path, used: set[str]) -> str:
    named = ", ".join(sorted(used))
    return (
        f"Der Schlüssel, mit dem das Verzeichnis des Veröffentlichten geschrieben wurde (Kennung {named}), ist nicht "
        f"da: {file}. Ohne ihn ist nicht zu erkennen, welche geheimen Zahlen sich geändert haben. Abhilfe: die Datei "
        f"aus der Sicherung holen, oder {KEY_VARIABLE} auf sie setzen (läuft der Lauf unter einem anderen Benutzer?). "
        f"Ist er verloren: lost_keys mit key_id {named} in assets/release eintragen; dann bleibt alles geheim, was "
        "geheim war."
    )


def _new_key(file: Path) -> bytes:
    content = secrets.token_bytes(32)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise KeyProblem(
            f"Der Schlüssel {file} lässt sich nicht anlegen ({error.strerror}); {KEY_VARIABLE} auf eine Datei setzen, "
            "die der Benutzer des Laufs schreiben darf."
        ) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(content.hex() + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    return content


def _counter(file: Path) -> tuple[int, str]:
    counter = file.stem.rpartition("-")[2]
    return (int(counter) if counter.isdigit() else 0, file.stem)


def _read(file: Path) -> dict[Key, Entry]:
    try:
        with connect() as con:
            rows = con.execute(f"SELECT * FROM read_parquet('{quoted(file)}')").fetchall()
    except duckdb.Error as error:
        raise DamagedLedger(
            f"Das Verzeichnis des Veröffentlichten ist beschädigt ({file.name}); bitte data/history aus der Sicherung "
            "wiederherstellen. Ohne es ist nicht zu prüfen, was frühere Veröffentlichungen verraten."
        ) from error
    return {tuple(row[:5]): Entry(*row[5:]) for row in rows}
