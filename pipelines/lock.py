"""One run at a time per project: a lock on this host, and beside it a lease that holds across hosts.

The lock (flock) is freed by the operating system when its holder dies, but need not reach across hosts (SMB, NFS
without a lock daemon). So a run also owns a lease: a file made exclusively, which names host and process and whose
time of change is renewed while the run lives. Ages are told by the share's own clock, never by that of a host. A run
that was overtaken (it stood still for longer than `STALE`) finds out at the next fence and puts nothing in force.

Standard library only. The lock file is never deleted: two runs could then lock two different files.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO

from pipelines.files import TEMPORARY

LEASE = ".lease"
"""End of the names of lease files, unfinished ones too."""
RENEW = 15.0
"""Seconds between two signs of life."""
STALE = 120.0
"""Seconds without a sign of life after which a holder on another host counts as dead."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What a share answers that knows no locks; then the lease alone decides."""


class Busy(Exception):
    """Another run is active; the message names its host and process."""


class Overtaken(Exception):
    """This run gave no sign of life for so long that another one took over."""


@dataclass
class Lease:
    """A file that this process made; its text is unlike that of any other run."""

    path: Path
    text: str
    descriptor: int
    ended: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> None:
        """Renew the time of change until the run ends. By descriptor: never that of a successor's file."""
        while not self.ended.wait(RENEW):
            with contextlib.suppress(OSError):  # a share that is away for a moment; the fence judges
                os.utime(self.descriptor)

    def ours(self) -> bool:
        """Whether nobody took over."""
        return _text(self.path) == self.text

    def end(self) -> None:
        """Remove the file, unless it is somebody else's by now."""
        self.ended.set()
        if self.ours():
            self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


@dataclass
class Lock:
    """A held lock.

    Args:
        path: the lock's file.
        file: it, open and locked.
        lease: what holds across hosts.
        already: this process held it before, so releasing is its owner's business.
        left: the run before did not end properly.
        note: says in German whose place was taken, if that was on another host.
    """

    path: Path
    file: IO[str]
    lease: Lease
    already: bool = False
    left: bool = False
    note: str = ""

    def release(self) -> None:
        """Let the next run in (no effect where the lock was already held by this process)."""
        if not self.already and _HELD.pop(self.path, None) is not None:
            self.lease.end()
            self.file.close()


_HELD: dict[Path, Lock] = {}


def take(path: Path) -> Lock:
    """Take the lock at `path`, or return the one this process already holds.

    Raises:
        Busy: another process holds it, on this host or on another one.
    """
    held = _HELD.get(path)
    if held is not None:
        return replace(held, already=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        alone = _flock(file)
        lease, left, note = _take_lease(path.with_suffix(LEASE), alone)
    except BaseException:
        file.close()
        raise
    with contextlib.suppress(OSError):  # the name is for people; a full disk is reported where it matters
        file.truncate(0)
        file.write(_own_name())
        file.flush()
    os.set_inheritable(file.fileno(), False)
    threading.Thread(target=lease.keep, name="lease", daemon=True).start()
    _HELD[path] = Lock(path, file, lease, left=left, note=note)
    return _HELD[path]


def fence(path: Path) -> None:
    """Stop a run that lost its lease, right before it puts something in force; without a lock there is nothing to lose.

    Raises:
        Overtaken: names who took over.
    """
    held = _HELD.get(path)
    if held is not None and not held.lease.ours():
        holder = _text(held.lease.path)
        raise Overtaken(
            f"Dieser Lauf stand länger als {STALE:.0f} Sekunden still; inzwischen hat ein anderer übernommen "
            f"({_who(holder) if holder else 'unbekannt'}). Dieser Lauf hat nichts mehr in Kraft gesetzt."
        )


def _flock(file: IO[str]) -> bool:
    """Whether the lock proves that no other process of this host is active; False where the share knows no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        file.seek(0)
        raise _busy(file.read().strip() or "unbekannt") from error
    return True


def _take_lease(path: Path, alone: bool) -> tuple[Lease, bool, str]:
    """Make the lease; one that is left over is taken over if its holder is dead. Returns also `left` and `note`.

    Args:
        path: the file.
        alone: whether the lock proves that no other process of this host is active.
    """
    text = f"{_own_name()}\n{_boot()}\n{os.urandom(8).hex()}\n"
    left, note = False, ""
    for _ in range(3):
        lease = _make(path, text)
        if lease is not None:
            return lease, left, note
        found = _text(path)
        if found is None:  # given back meanwhile
            continue
        if not (alone and _of_this_host(found)):  # of this host: with the lock in hand its holder is dead
            if not _silent(path):
                raise _busy(f"{_who(found)}; Vermerk {path.name}")
            note = f"Ein Lauf auf einem anderen Rechner gab kein Lebenszeichen mehr und ist abgelöst: {_who(found)}"
        _set_aside(path, found)
        left = True
    raise _busy("mehrere Läufe beginnen gleichzeitig")


def _of_this_host(text: str) -> bool:
    """Whether a lease was made on this host since it was started."""
    name, *rest = text.split("\n")[:2]
    return name.startswith(f"{_host()}, ") and rest == [_boot()]


def _make(path: Path, text: str) -> Lease | None:
    """The lease, or None if there is one; where the share knows hard links, nobody ever sees half of its text."""
    draft = _draft(path)
    descriptor = _written(draft, text)
    try:
        os.link(draft, path)
        return Lease(path, text, descriptor)
    except FileExistsError:
        os.close(descriptor)
    except OSError:  # a share without hard links
        os.close(descriptor)
        with contextlib.suppress(FileExistsError):
            return Lease(path, text, _written(path, text))
    finally:
        draft.unlink(missing_ok=True)
    return None


def _written(path: Path, text: str) -> int:
    """Descriptor of a file made now with this text; the file is removed if it can't be written."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        os.write(descriptor, text.encode())
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return descriptor


def _set_aside(path: Path, judged: str) -> None:
    """Remove a dead run's lease; of several that try, one succeeds, and a newer lease is put back."""
    aside = _draft(path)
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        if _text(aside) != judged:
            aside.rename(path)
        aside.unlink(missing_ok=True)


def _silent(path: Path) -> bool:
    """Whether a lease was not renewed for `STALE` seconds, by the share's clock."""
    renewed, now = _times(path)
    if renewed <= now + RENEW:
        return now - renewed > STALE
    time.sleep(2 * RENEW)  # the clock was set back since: only watching tells
    return _times(path)[0] == renewed


def _times(path: Path) -> tuple[float, float]:
    """Last sign of life of a lease, and the time that the share gives to a file made now (twice now if it is gone)."""
    probe = _draft(path)
    try:
        with probe.open("xb") as file:
            now = os.fstat(file.fileno()).st_mtime
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:  # opening asks the server, no cache
            return os.fstat(file.fileno()).st_mtime, now
        return now, now
    finally:
        probe.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY}{os.urandom(8).hex()}{LEASE}")


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _busy(holder: str) -> Busy:
    return Busy(f"Ein anderer Lauf ist aktiv ({holder}). Dieser Lauf hat nichts verändert.")


def _who(text: str) -> str:
    return text.partition("\n")[0] or "unbekannt"


def _host() -> str:
    return f"Rechner {socket.gethostname()}"


def _own_name() -> str:
    return f"{_host()}, Prozess {os.getpid()}"


def _boot() -> str:
    """Tells one start of this host from another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return "unbekannt"
