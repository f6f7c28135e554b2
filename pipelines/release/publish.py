"""Publishes: an immutable folder, then one atomic swap of a link. After a crash at any point a whole release holds."""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipelines.files import TEMPORARY, point_link, read_json, sha256_file, sync_folder, sync_tree, write_text
from pipelines.gate import CHECKSUMS, POINTER, damaged_release
from pipelines.marts.edition import Edition
from pipelines.marts.models import Models
from pipelines.paths import DATABASE, RELEASE_ID, REPORT, ReleasePlaces
from pipelines.release.datapackage import write_datapackage
from pipelines.release.feed import write_feed
from pipelines.session import connect

PENDING = ".pending"
ROOM = 256 * 1024
"""Bytes that must be free when a release is put in force."""


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
    names = [path.name for path in release_folders(paths)] + [name for name in earlier if RELEASE_ID.fullmatch(name)]
    return f"{now.astimezone(dt.UTC):%Y%m%dT%H%M%SZ}-{max(map(order_of, names), default=0) + 1:04d}"


def published(paths: ReleasePlaces) -> Publication | None:
    """The release that `current` names, if it is whole."""
    if not paths.current.is_symlink() or damaged_release(paths.current) is not None:
        return None
    package = read_json(paths.current / "datapackage.json")
    return Publication(package["id"], package["contentHash"].removeprefix("sha256:"), False) if package else None


def to_compare_with(paths: ReleasePlaces) -> Path | None:
    """Folder of the release in force; if that one is damaged or gone, of the newest whole one before it."""
    return _newest_whole(paths, os.readlink(paths.current), ()) if paths.current.is_symlink() else None


def _newest_whole(paths: ReleasePlaces, latest: str, not_these: Collection[str]) -> Path | None:
    """Folder of the newest undamaged release up to (and with) one of them."""
    folders = sorted(release_folders(paths), key=lambda path: order_of(path.name), reverse=True)
    earlier = (f for f in folders if order_of(f.name) <= order_of(latest) and f.name not in not_these)
    return next((folder for folder in earlier if damaged_release(folder) is None), None)


def publish(
    paths: ReleasePlaces,
    models: Models,
    edition: Edition,
    release_id: str,
    created: dt.datetime,
    may_go: Callable[[Path], None],
    fence: Callable[[], None],
    pages: Path | None = None,
) -> Publication:
    """Publish an edition unless the release in force already has this content.

    Args:
        paths: where releases lie; nothing else can be reached from here.
        models: the marts as declared, without a project folder (`Models.declared`).
        edition: the public edition, built under this release id; its file is moved away.
        release_id: name of the new folder.
        created: moment of the release, as written into its files.
        may_go: looks at the finished folder and raises if it must not be published; it may add its own report.
        fence: raises if another run has taken over; asked right before anything is put in force.
        pages: folder with the pages for planners, which is moved away; None if there are none.
    """
    fence()
    settle_pending(paths)
    before = published(paths)
    if before is not None and before.content_hash == edition.content_hash:
        edition.file.unlink()
        point_current(paths, before.release_id)  # the warehouse's link and aktuell.txt may have been lost
        return before
    folder = paths.releases / f"{TEMPORARY}{release_id}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        shutil.move(edition.file, folder / DATABASE)
        write_feed(folder, folder / DATABASE, models, created)
        if pages is not None:
            shutil.move(pages, folder / REPORT)
        write_datapackage(folder, models, release_id, edition.content_hash, created)
        may_go(folder)
        write_datapackage(folder, models, release_id, edition.content_hash, created)  # with the report of that look
        _checksums(folder)
        _room_for_links(paths)
        fence()
        write_text(paths.releases / PENDING, release_id)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    folder.rename(paths.releases / release_id)
    sync_folder(paths.releases)
    fence()
    point_current(paths, release_id)
    (paths.releases / PENDING).unlink()
    return Publication(release_id, edition.content_hash, True)


def _room_for_links(paths: ReleasePlaces) -> None:
    """Stop before the swap rather than in the middle of it: links and notes need a little room too."""
    if shutil.disk_usage(paths.releases).free < ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(paths.releases))


def point_current(paths: ReleasePlaces, release_id: str) -> None:
    """Put a release in force: one atomic swap; the public marts and aktuell.txt follow."""
    point_link(paths.current, release_id)
    point_link(paths.public_mart, os.path.relpath(paths.current / DATABASE, paths.public_mart.parent))
    write_text(paths.releases / POINTER, f"{release_id}\n")


def fall_back(paths: ReleasePlaces, taken_back: Collection[str]) -> str | None:
    """Put the newest whole release in force that nobody took back; without one, nothing is. Returns its id.

    A release that may stay in force stays; what points at it is made whole.
    """
    settle_pending(paths)
    if not paths.current.is_symlink():
        folder = None
    else:
        folder = _newest_whole(paths, os.readlink(paths.current), taken_back)
    if folder is not None:
        point_current(paths, folder.name)
        return folder.name
    for place in (paths.current, paths.public_mart, paths.releases / POINTER):
        place.unlink(missing_ok=True)
        sync_folder(place.parent)
    return None


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
    folders = sorted(release_folders(paths), key=lambda path: order_of(path.name))
    surplus = folders[: max(0, len(folders) - keep)]
    needed = {in_force, _compared_with(paths.current / DATABASE)} if surplus else set()
    surplus = [p for p in surplus if p.name not in needed]
    for folder in surplus:
        doomed = folder.rename(folder.with_name(f"{TEMPORARY}{folder.name}"))  # never half a release under its name
        shutil.rmtree(doomed)
    return [p.name for p in surplus]


def _compared_with(database: Path) -> str | None:
    """Id of the release that a release was compared with; None if it does not tell."""
    try:
        with connect(database, read_only=True) as con:
            row = con.execute("SELECT previous_release_id FROM meta.release").fetchone()
    except duckdb.Error:
        return None
    return row[0] if row else None


def order_of(release_id: str) -> int:
    """Place of a release in the order of publication; the time in its name comes from a clock, which may go back."""
    match = RELEASE_ID.fullmatch(release_id)
    return int(match[1]) if match else 0


def release_folders(paths: ReleasePlaces) -> list[Path]:
    """Folders of all releases that are still there, in no order."""
    if not paths.releases.is_dir():
        return []
    return [p for p in paths.releases.iterdir() if p.is_dir() and not p.is_symlink() and RELEASE_ID.fullmatch(p.name)]


def _checksums(folder: Path) -> None:
    """Write the list of checksums, the last file of a release; then everything is to reach the disk."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    lines = [f"{sha256_file(p)}  {p.relative_to(folder).as_posix()}\n" for p in files]
    (folder / CHECKSUMS).write_bytes("".join(lines).encode())
    sync_tree(folder)
