"""A stand-in for a project's archive and cache, so that the nightly's own functions can be asked "what if".

Receipts are copied, bytes and readings are linked; what would be written goes into the stand-in and nowhere else.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.files import TEMPORARY, read_json, sha256_text, write_json
from pipelines.history import RECEIPT, Delivery
from pipelines.paths import Paths


@dataclass(frozen=True)
class Aside(Paths):
    """Paths of a project whose archive and cache stand in another folder."""

    scratch: Path

    @property
    def history(self) -> Path:
        """Receipts as copies, bytes as links."""
        return self.scratch / "history"

    @property
    def warehouse(self) -> Path:
        """Readings as links; new ones stay here."""
        return self.scratch / "warehouse"

    def add(self, delivery: Delivery, **changes: Any) -> None:
        """Put a delivery into the stand-in's archive, with changes to its receipt."""
        place = self.history / "deliveries" / delivery.source / delivery.folder.name
        place.mkdir(parents=True)
        write_json(place / RECEIPT, read_json(delivery.folder / RECEIPT) | changes)
        os.symlink(delivery.file, place / "bytes")

    def link_readings(self, real: Paths, source_ids: Iterable[str]) -> None:
        """Let the stand-in use what was read already."""
        for source_id in source_ids:
            readings = self.readings / source_id
            readings.mkdir(parents=True)
            cached = real.readings / source_id
            for path in cached.iterdir() if cached.is_dir() else []:
                if not path.name.startswith(TEMPORARY):  # a night may be writing it
                    os.symlink(path, readings / path.name)


def results(paths: Paths) -> Path:
    """Where rebuilt states of the past are put (true values: mode 0700); can be deleted at any time."""
    return paths.warehouse / "as-of"


def workshop_lock(paths: Paths) -> Path:
    """Held while the past is rebuilt; a night does not mind it."""
    return paths.state / "as-of.lock"


@contextmanager
def workshop(paths: Paths) -> Iterator[Path]:
    """A folder (mode 0700) outside of the project, where a night that begins removes what looks unfinished."""
    clear_workshop(paths)
    with tempfile.TemporaryDirectory(prefix=_prefix(paths)) as folder:
        yield Path(folder)


def clear_workshop(paths: Paths) -> None:
    """Remove what a killed process left of it; only for whoever holds its lock."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_prefix(paths)}*"):
        shutil.rmtree(folder)


def _prefix(paths: Paths) -> str:
    return f"sozialraum-as-of-{sha256_text(str(paths.root))[:8]}-"
