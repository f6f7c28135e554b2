"""The only module that knows where things lie in a project folder. Standard library only."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PROJECT_VARIABLE = "SOZIALRAUM_PROJECT"
"""Environment variable that names the project whose definitions Dagster's web page and daemon serve."""


DATABASE = "sozialraum.duckdb"
"""The database in a release folder."""
REPORT = "bericht"
"""The pages for planners in a release folder."""
RELEASE_ID = re.compile(r"\d{8}T\d{6}Z-(\d{4,})")
"""Form of a release's id, which is the name of its folder; its counter only grows."""


class ReleasePlaces(Protocol):
    """All that the writer of a release is given: no way leads from here to true values or received files."""

    @property
    def releases(self) -> Path:
        """One immutable folder per publication."""

    @property
    def current(self) -> Path:
        """Link to the release in force."""

    @property
    def public_mart(self) -> Path:
        """Link to the current public DuckDB file."""


@dataclass(frozen=True)
class PublicPlaces:
    """The three places a release is written to."""

    releases: Path
    current: Path
    public_mart: Path


@dataclass(frozen=True)
class Paths:
    """Folders and files of one project; nothing is created by asking for a path."""

    root: Path

    @classmethod
    def of(cls, root: Path | str) -> Paths:
        """Paths of the project in `root` (made absolute)."""
        return cls(Path(root).resolve())

    @property
    def assets(self) -> Path:
        """YAML and SQL: what is monitored."""
        return self.root / "assets"

    @property
    def inbox(self) -> Path:
        """Deliveries as received; never edited or removed."""
        return self.root / "data" / "raw"

    @property
    def history(self) -> Path:
        """The only ledger: received bytes and receipts."""
        return self.root / "data" / "history"

    @property
    def warehouse(self) -> Path:
        """A cache and nothing else."""
        return self.root / "data" / "warehouse"

    @property
    def internal(self) -> Path:
        """Part of the warehouse with true values (mode 0700)."""
        return self.warehouse / "internal"

    @property
    def readings(self) -> Path:
        """Checked figures, one Parquet per delivery and set of rules."""
        return self.internal / "readings"

    @property
    def answers(self) -> Path:
        """What the senders of rejected and flagged deliveries are to be told."""
        return self.internal / "rueckmeldungen"

    @property
    def held_changes(self) -> Path:
        """What an edition that was held back as implausible would have changed; absent if the last one was not."""
        return self.internal / "zurueckgehaltene_aenderungen.csv"

    @property
    def internal_mart(self) -> Path:
        """Link to the current internal DuckDB file."""
        return self.internal / "internal.duckdb"

    @property
    def public_mart(self) -> Path:
        """Link to the current public DuckDB file."""
        return self.warehouse / "sozialraum.duckdb"

    @property
    def releases(self) -> Path:
        """One immutable folder per publication."""
        return self.root / "data" / "releases"

    @property
    def current(self) -> Path:
        """Link to the release in force."""
        return self.releases / "current"

    @property
    def public_places(self) -> PublicPlaces:
        """What the writer of a release gets instead of all paths."""
        return PublicPlaces(self.releases, self.current, self.public_mart)

    @property
    def state(self) -> Path:
        """Dagster's home."""
        return self.root / "data" / "state"

    @property
    def night_record(self) -> Path:
        """What the last finished night saw and decided; read by the nothing-new gate."""
        return self.internal / "letzte_nacht.json"

    @property
    def lock_file(self) -> Path:
        """Held while a run is active; never deleted."""
        return self.state / "nightly.lock"

    @property
    def attempt(self) -> Path:
        """Note of the last attempt of a night, made when it begins and completed when it ends."""
        return self.state / "letzter_lauf.json"

    @property
    def alerts(self) -> Path:
        """What was told to whom, so that nobody is told every night."""
        return self.state / "meldungen.json"

    def is_project(self) -> bool:
        """A project is a folder with assets/, data/ and dagster.yaml; one without the right to look in is none."""
        try:
            return self.assets.is_dir() and (self.root / "data").is_dir() and (self.root / "dagster.yaml").is_file()
        except PermissionError:
            return False

    def relative(self, path: Path) -> str:
        """A path as shown to people: below the project folder, with forward slashes."""
        try:
            return path.relative_to(self.root).as_posix()
        except ValueError:
            return str(path)

    def prepare(self) -> None:
        """Create the folders the run writes to; those with true values or errors are closed to others (0700)."""
        for folder in (self.warehouse, self.releases):
            folder.mkdir(parents=True, exist_ok=True)
        (self.warehouse / ".gitkeep").touch()  # the folder belongs to the checkout, also after it was deleted
        for folder in (self.history, self.internal, self.state):
            folder.mkdir(parents=True, exist_ok=True)
            if folder.stat().st_mode & 0o077:
                os.chmod(folder, 0o700)
