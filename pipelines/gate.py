"""Decides whether a night has anything new, before Dagster or pandas is imported. Standard library only.

Compared are content hashes of everything a run depends on (inbox, YAML, SQL, history, code), the due dates, and
whether the release in force is whole. Size and modification time may only skip the hashing of very large files.
Archived bytes are among what is hashed: a file that went bad on the disk is news, and the night says so.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.files import read_json, sha256_file, sha256_text
from pipelines.intake.limits import TEXT_BYTES
from pipelines.paths import Paths

LARGE = 50 * 1024 * 1024
INBOX_LEVELS = 2
"""A folder per source with files in it; what lies deeper is not read."""
CHECKSUMS = "pruefsummen.sha256"
INBOX = "Eingang (data/raw)"
POINTER = "aktuell.txt"


@dataclass(frozen=True)
class Verdict:
    """`unchanged`: the last night's record stands and is given; else `reason` says what is new."""

    unchanged: bool
    reason: str
    record: dict[str, Any] | None
    fingerprint: dict[str, str]


def examine(paths: Paths, today: dt.date) -> Verdict:
    """Compare the project with the record of its last finished night."""
    record = read_json(paths.night_record)
    record = record if isinstance(record, dict) else None
    known = (record or {}).get("large_files", {})
    fingerprint = take_fingerprint(paths, known)
    if record is None:
        return Verdict(False, "kein Vermerk einer früheren Nacht", None, fingerprint)
    for part, value in fingerprint.items():
        if record.get("fingerprint", {}).get(part) != value:
            return Verdict(False, f"geändert: {part}", record, fingerprint)
    next_due = record.get("next_due")
    if next_due and today >= dt.date.fromisoformat(next_due):
        return Verdict(False, f"ein Liefertermin ist verstrichen ({next_due})", record, fingerprint)
    broken = whats_broken(paths, record)
    if broken:
        return Verdict(False, broken, record, fingerprint)
    return Verdict(True, "nichts Neues", record, fingerprint)


def take_fingerprint(paths: Paths, known: dict[str, Any] | None = None) -> dict[str, str]:
    """Content hashes of all inputs of a run, by part."""
    code = Path(__file__).resolve().parent
    return {
        INBOX: _tree(paths.inbox, known or {}, INBOX_LEVELS),
        "Beschreibung (assets)": _tree(paths.assets, {}),
        "Archiv (data/history)": _archive(paths.history),
        "Programm": sha256_text(_tree(code, {}), _tree(code.parent / "schemas", {}), *_libraries()),
    }


def _libraries() -> list[str]:
    """Installed packages with their versions, as the names of their folders tell: cheaper than asking each."""
    folder = Path(sysconfig.get_path("purelib"))
    return sorted(path.name for path in folder.glob("*.dist-info"))


def large_files(paths: Paths) -> dict[str, Any]:
    """Size, mtime and hash of very large inbox files, so that an unchanged one is not hashed every night."""
    found = {}
    for path in _walk(paths.inbox, INBOX_LEVELS)[0]:
        try:
            state = path.stat()
            if LARGE < state.st_size <= TEXT_BYTES:
                found[str(path)] = [state.st_size, state.st_mtime_ns, sha256_file(path)]
        except OSError:  # vanished or not readable: the next night looks again
            continue
    return found


def whats_broken(paths: Paths, record: dict[str, Any]) -> str | None:
    """What is missing or damaged of the last night's results, in words; None if they are whole."""
    if not paths.internal_mart.exists():
        return "die interne Auswertung fehlt"
    if record.get("release_id") is None:
        return None
    if not paths.current.is_symlink() or os.readlink(paths.current) != record["release_id"]:
        return "data/releases/current zeigt nicht auf die letzte Veröffentlichung"
    if _pointer(paths) != record["release_id"]:
        return f"data/releases/{POINTER} nennt nicht die letzte Veröffentlichung"
    if not paths.public_mart.exists():
        return "data/warehouse/sozialraum.duckdb fehlt"
    return damaged_release(paths.current)


def _pointer(paths: Paths) -> str | None:
    try:
        return (paths.releases / POINTER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None


def damaged_release(folder: Path) -> str | None:
    """Compare a release folder with its checksums; returns what differs, in words."""
    try:
        lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{CHECKSUMS} der Veröffentlichung fehlt"
    for line in lines:
        expected, _, name = line.partition("  ")
        try:
            if sha256_file(folder / name) != expected:
                return f"veröffentlichte Datei verändert: {name}"
        except OSError:
            return f"veröffentlichte Datei fehlt: {name}"
    return None


def _walk(folder: Path, deepest: int = 100) -> tuple[list[Path], list[Path]]:
    """Regular files, and all else (links, pipes, folders below the deepest level) under a folder, sorted.

    Hidden ones and Python's caches are left out. Not recursive: folders in folders must not end the night.
    """
    files, others, waiting = [], [], [(folder, 1)]
    while waiting:
        parent, level = waiting.pop()
        try:
            with os.scandir(parent) as found:
                entries = [entry for entry in found if not entry.name.startswith((".", "__pycache__"))]
        except OSError:  # vanished or not readable: the intake's business to report
            continue
        for entry in entries:
            path = Path(entry.path)
            if entry.is_file(follow_symlinks=False):
                files.append(path)
            elif entry.is_dir(follow_symlinks=False) and level < deepest:
                waiting.append((path, level + 1))
            else:
                others.append(path)
    return sorted(path for path in files if path.suffix != ".pyc"), sorted(others)


def _tree(folder: Path, known: dict[str, Any], deepest: int = 100) -> str:
    files, others = _walk(folder, deepest)
    parts = []
    for path in files:
        parts += [path.relative_to(folder).as_posix(), _digest(path, known.get(str(path)))]
    for path in others:
        parts += [path.relative_to(folder).as_posix(), _kind(path)]
    return sha256_text(*parts)


def _kind(path: Path) -> str:
    """What something is that is no file; a link counts by where it leads, it is not followed."""
    try:
        mode = path.lstat().st_mode
        return f"{stat.S_IFMT(mode)}{os.readlink(path) if stat.S_ISLNK(mode) else ''}"
    except OSError as error:  # vanished meanwhile
        return f"nicht lesbar: {error.errno}"


def _digest(path: Path, entry: list[Any] | None) -> str:
    """Hash of a file; one that may not be read or vanishes meanwhile is the intake's business to report."""
    try:
        found = path.stat()
        if found.st_size > TEXT_BYTES:  # will not be taken: not worth reading either
            return f"zu groß: {found.st_size} {found.st_mtime_ns}"
        if entry and found.st_size > LARGE and entry[:2] == [found.st_size, found.st_mtime_ns]:
            return str(entry[2])
        return sha256_file(path)
    except OSError as error:
        return f"nicht lesbar: {error.errno}"


def _archive(history: Path) -> str:
    """Hash over all that is archived; very large files count by size and time, a night with news hashes them too."""
    parts = []
    for path in _walk(history)[0]:
        found = path.stat()
        large = f"{found.st_size} {found.st_mtime_ns}" if found.st_size > LARGE else None
        parts += [path.relative_to(history).as_posix(), large or _digest(path, None)]
    return sha256_text(*parts)
