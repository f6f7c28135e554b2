"""Writing files so that a reader, or the next run after a crash, sees the old state or the new one, never half.

Standard library only: the nothing-new gate imports this module.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY = ".neu-"
"""Prefix of unfinished files and folders; they are removed at the next start."""
SCRATCH = (
    *("pruefung-", "sozialraum-check-", "sozialraum-as-of-", "sozialraum-druck-"),
    *("sozialraum-duckdb-", "sozialraum-spark-"),
)
"""Prefixes of temporary folders outside of the project: checks, audits, as-of, the browser that prints, and what DuckDB
and Spark put down make them."""
DAY = 24 * 60 * 60
SEAL = "sha256"
"""Key under which an entry of a cache keeps the checksum of the rest."""
_MARK = os.urandom(4).hex()
"""Part of the names of unfinished files, so that a run that was overtaken never writes into those of the next."""


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's content, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(*parts: str) -> str:
    """Hex sha256 over texts; the boundary between two texts counts. File names that are not UTF-8 are texts too."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(f"{len(content)}:".encode() + content)
    return digest.hexdigest()


def quoted(path: Path) -> str:
    """A path as it may stand between the quotation marks of a SQL text."""
    return str(path).replace("'", "''")


def sync_folder(folder: Path) -> None:
    """Ask the disk to keep a folder's entries (renames, links) across a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Ask the disk to keep a file's content across a power loss."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; put it in place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{_MARK}-{path.name}")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a finished file its name, in one step; its content is on disk before its name is."""
    sync_file(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (UTF-8, LF); half characters of a damaged file name are written as escapes."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file atomically, keys sorted, readable."""
    write_text(path, json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """Content of a JSON file, or None if it is absent or not whole."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write an entry of a cache, with a checksum of its content."""
    write_json(path, {**content, SEAL: _seal(content)})


def read_sealed(path: Path) -> dict[str, Any] | None:
    """Content of an entry of a cache, or None if it is absent, cut off or not what was written: it is made again."""
    content = read_json(path)
    seal = content.pop(SEAL, None) if isinstance(content, dict) else None
    return content if seal is not None and seal == _seal(content) else None


def _seal(content: dict[str, Any]) -> str:
    return sha256_text(json.dumps(content, ensure_ascii=True, sort_keys=True))


def point_link(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target` in one step; an existing link is replaced."""
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and os.readlink(link) == target:
        return
    temporary = link.with_name(f"{TEMPORARY}{_MARK}-{link.name}")
    temporary.unlink(missing_ok=True)
    os.symlink(target, temporary)
    os.replace(temporary, link)
    sync_folder(link.parent)


def remove_leftovers(folder: Path) -> list[str]:
    """Remove unfinished files and folders of a run that was killed; returns their names."""
    removed = []
    for path in sorted(folder.rglob(f"{TEMPORARY}*")) if folder.is_dir() else []:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed.append(path.name)
    return removed


def remove_old_scratch(folder: Path) -> list[str]:
    """Remove our own temporary folders that a process killed more than a day ago left in the system's folder."""
    removed = []
    for path in [path for prefix in SCRATCH for path in folder.glob(f"{prefix}*")]:
        try:
            state = path.lstat()
        except FileNotFoundError:
            continue
        if state.st_uid == os.getuid() and time.time() - state.st_mtime > DAY:
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path.name)
    return removed


def sync_tree(folder: Path) -> None:
    """Ask the disk to keep every file and folder below `folder`."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            sync_file(path)
        elif path.is_dir():
            sync_folder(path)
    sync_folder(folder)
