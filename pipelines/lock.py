"""One run at a time per project: an advisory lock that the operating system frees when its holder dies.

Standard library only. The lock file is never deleted: two runs could then lock two different files.
"""

from __future__ import annotations

import fcntl
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO


class Busy(Exception):
    """Another run is active; the message names its host and process."""


@dataclass
class Lock:
    """A held lock. `already` tells that this process held it before, so releasing is its owner's business."""

    path: Path
    file: IO[str]
    already: bool = False

    def release(self) -> None:
        """Let the next run in (no effect where the lock was already held by this process)."""
        if not self.already and _HELD.pop(self.path, None) is not None:
            self.file.close()


_HELD: dict[Path, Lock] = {}


def take(path: Path) -> Lock:
    """Take the lock at `path`, or return the one this process already holds.

    Raises:
        Busy: another process holds it.
    """
    held = _HELD.get(path)
    if held is not None:
        return Lock(path, held.file, already=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unbekannt"
        file.close()
        raise Busy(f"Ein anderer Lauf ist aktiv ({holder}). Dieser Lauf hat nichts verändert.") from error
    file.truncate(0)
    file.write(f"Rechner {socket.gethostname()}, Prozess {os.getpid()}")
    file.flush()
    os.set_inheritable(file.fileno(), False)
    _HELD[path] = Lock(path, file)
    return _HELD[path]
