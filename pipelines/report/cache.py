"""What was drawn and rendered before, by content: one SQLite file in the warehouse that may be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import zlib
from pathlib import Path
from types import TracebackType
from typing import Self

_TABLE = "CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, digest BLOB, content BLOB) WITHOUT ROWID"


class Cache:
    """Texts by key. An entry that is damaged counts as absent; a damaged file is made anew."""

    def __init__(self, file: Path) -> None:
        """Open the file, or begin a new one."""
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open(file)
        except sqlite3.DatabaseError:
            with contextlib.suppress(FileNotFoundError):
                file.unlink()
            self._open(file)
        self._used: set[str] = set()

    def _open(self, file: Path) -> None:
        self._connection = sqlite3.connect(file)
        self._connection.execute("PRAGMA synchronous = OFF")  # a cache: after a crash it is made anew
        self._connection.execute(_TABLE)
        self._known = {key for (key,) in self._connection.execute("SELECT key FROM kept")}

    def get(self, key: str) -> str | None:
        """A kept text."""
        self._used.add(key)
        if key not in self._known:
            return None
        try:
            digest, content = self._connection.execute(
                "SELECT digest, content FROM kept WHERE key = ?", (key,)
            ).fetchone()
            text = zlib.decompress(content)
        except (sqlite3.DatabaseError, TypeError, zlib.error):
            return None
        return text.decode() if hashlib.sha256(text).digest() == digest else None

    def holds(self, key: str) -> bool:
        """Whether there is an entry, damaged or not."""
        return key in self._known

    def touch(self, key: str) -> None:
        """Keep an entry that was not needed this time, because what it is part of is kept as a whole."""
        self._used.add(key)

    def put(self, key: str, text: str) -> None:
        """Keep a text."""
        content = text.encode()
        row = (key, hashlib.sha256(content).digest(), zlib.compress(content, 1))
        self._connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", row)
        self._known.add(key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Forget what nobody asked for, unless the work was cut off."""
        try:
            if kind is None:
                surplus = [(key,) for key in self._known - self._used]
                self._connection.executemany("DELETE FROM kept WHERE key = ?", surplus)
            self._connection.commit()
        finally:
            self._connection.close()
