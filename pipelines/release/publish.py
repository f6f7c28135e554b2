"""Publishes: an immutable folder, then one atomic swap of a link. After a crash at any point a whole release holds."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipelines.files import TEMPORARY, point_link, read_json, sha256_file, sync_folder, sync_tree, write_text
from pipelines.gate import CHECKSUMS, POINTER, damaged_release
from pipelines.marts.edition import Edition
from pipelines.marts.models import Models
from pipelines.paths import DATABASE, RELEASE_ID, ReleasePlaces
from pipelines.release.datapackage import write_datapackage
from pipelines.release.feed import write_feed

PENDING = ".pending"


@dataclass(frozen=True)
class Publication:
    """The release in force after publishing; `new` tells whether this run made it."""

    release_id: str
    content_hash: str
    new: bool


def next_release_id(paths: ReleasePlaces, now: dt.datetime, earlier: Iterable[str] = ()) -> str:
    """UTC time and a counter that only grows, e.g. 20261121T031500Z-0042.

    Args:
        paths: the project's folders; releases lying there count.
        now: moment of the night.
        earlier: ids of releases that were ever published, also if their folders are gone.
    """
    names = [path.name for path in _folders(paths)] + [name for name in earlier if RELEASE_ID.fullmatch(name)]
    return f"{now.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{max(map(_counter, names), default=0) + 1:04d}"


def published(paths: ReleasePlaces) -> Publication | None:
    """The release that `current` names, if it is whole."""
    if not paths.current.is_symlink() or damaged_release(paths.current) is not None:
        return None
    package = read_json(paths.current / "datapackage.json")
    return Publication(package["id"], package["contentHash"].removeprefix("sha256:"), False) if package else None


def to_compare_with(paths: ReleasePlaces) -> Path | None:
    """Folder of the release in force; if that one is damaged or gone, of the newest whole one before it."""
    if not paths.current.is_symlink():
        return None
    latest = _counter(os.readlink(paths.current))
    folders = sorted(_folders(paths), key=lambda path: _counter(path.name), reverse=True)
    earlier = (folder for folder in folders if _counter(folder.name) <= latest)
    return next((folder for folder in earlier if damaged_release(folder) is None), None)


def publish(
    paths: ReleasePlaces,
    models: Models,
    edition: Edition,
    release_id: str,
    created: dt.datetime,
    may_go: Callable[[Path], None],
) -> Publication:
    """Publish an edition unless the release in force already has this content.

    Args:
        paths: where releases lie; nothing else can be reached from here.
        models: the marts as declared, without a project folder (`Models.declared`).
        edition: the public edition, built under this release id; its file is moved away.
        release_id: name of the new folder.
        created: moment of the release, as written into its files.
        may_go: looks at the finished folder and raises if it must not be published; it may add its own report.
    """
    settle_pending(paths)
    before = published(paths)
    if before is not None and before.content_hash == edition.content_hash:
        edition.file.unlink()
        point_current(paths, before.release_id)  # the warehouse's link and aktuell.txt may have been lost
        return before
    folder = paths.releases / f"{TEMPORARY}{release_id}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.move(edition.file, folder / DATABASE)
    write_feed(folder, folder / DATABASE, models, created)
    write_datapackage(folder, models, release_id, edition.content_hash, created)
    try:
        may_go(folder)
    except BaseException:
        shutil.rmtree(folder)
        raise
    write_datapackage(folder, models, release_id, edition.content_hash, created)  # with the report of that look
    _checksums(folder)
    sync_tree(folder)
    write_text(paths.releases / PENDING, release_id)
    folder.rename(paths.releases / release_id)
    sync_folder(paths.releases)
    point_current(paths, release_id)
    (paths.releases / PENDING).unlink()
    return Publication(release_id, edition.content_hash, True)


def point_current(paths: ReleasePlaces, release_id: str) -> None:
    """Put a release in force: one atomic swap; the public marts and aktuell.txt follow."""
    point_link(paths.current, release_id)
    point_link(paths.public_mart, os.path.relpath(paths.current / DATABASE, paths.public_mart.parent))
    write_text(paths.releases / POINTER, f"{release_id}\n")


def settle_pending(paths: ReleasePlaces) -> None:
    """After a crash between folder and link: a folder that never came into force is removed."""
    note = paths.releases / PENDING
    try:
        release_id = note.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return
    in_force = os.readlink(paths.current) if paths.current.is_symlink() else None
    if RELEASE_ID.fullmatch(release_id):
        if release_id == in_force:
            point_current(paths, release_id)
        else:
            shutil.rmtree(paths.releases / release_id, ignore_errors=True)
    note.unlink()


def retire(paths: ReleasePlaces, keep: int) -> list[str]:
    """Remove the oldest releases beyond `keep`. Returns the removed ids.

    The one in force always stays, and the one its revisions were compared with: without that nobody could check them.
    """
    in_force = os.readlink(paths.current) if paths.current.is_symlink() else None
    folders = sorted(_folders(paths), key=lambda path: _counter(path.name))
    needed = {in_force, _compared_with(paths.current / DATABASE)}
    surplus = [p for p in folders[: max(0, len(folders) - keep)] if p.name not in needed]
    for folder in surplus:
        doomed = folder.rename(folder.with_name(f"{TEMPORARY}{folder.name}"))  # never half a release under its name
        shutil.rmtree(doomed)
    return [p.name for p in surplus]


def _compared_with(database: Path) -> str | None:
    """Id of the release that a release was compared with; None if it does not tell."""
    try:
        with duckdb.connect(str(database), read_only=True) as con:
            row = con.execute("SELECT previous_release_id FROM meta.release").fetchone()
    except duckdb.Error:
        return None
    return row[0] if row else None


def _counter(release_id: str) -> int:
    """Place of a release in the order of publication; the time in its name comes from a clock, which may go back."""
    match = RELEASE_ID.fullmatch(release_id)
    return int(match[1]) if match else 0


def _folders(paths: ReleasePlaces) -> list[Path]:
    if not paths.releases.is_dir():
        return []
    return [p for p in paths.releases.iterdir() if p.is_dir() and not p.is_symlink() and RELEASE_ID.fullmatch(p.name)]


def _checksums(folder: Path) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    lines = [f"{sha256_file(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / CHECKSUMS).write_bytes("".join(lines).encode())
