"""Dagster's record of past runs (SQLite below data/state): a damaged file is set aside, it must not stop a night.

Lost with it is the list of past runs, and of schedule and sensor whether they were switched on; no figure.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

RECENT = 5
"""Runs whose events are looked at: those of a killed run are written once more, older ones only read."""


def mend(state: Path) -> list[str]:
    """Set aside damaged files of the record; Dagster begins them anew. Returns a German sentence for each."""
    runs = state / "history" / "runs"
    recent = sorted(runs.glob("*.db"), key=lambda path: path.stat().st_mtime_ns)[-RECENT:]
    files = {state / "history" / "runs.db", runs / "index.db", state / "schedules" / "schedules.db", *recent}
    said = []
    for file in sorted(path for path in files if path.is_file() and not _whole(path)):
        aside = state / "beschaedigt"
        aside.mkdir(exist_ok=True)
        for part in file.parent.glob(f"{file.name}*"):  # with its journal
            part.replace(aside / part.name)
        said.append(
            f"Hinweis: Dagsters Aufzeichnung {file.name} war beschädigt und liegt jetzt in data/state/beschaedigt; "
            "die Liste früherer Läufe beginnt neu, Zahlen sind nicht betroffen (Zeitplan und Sensor nötigenfalls "
            "wieder einschalten)"
        )
    return said


def _whole(file: Path) -> bool:
    """Whether SQLite finds tables and no damage; a file that is only locked counts as whole."""
    try:
        with contextlib.closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True)) as con:
            tables = con.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            return bool(tables) and con.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:
        return False
