"""Dagster's event log during a night: its SQLite files stay open instead of being opened anew for each event.

A night stores about two hundred events. Dagster opens and closes a file for each, and whoever closes an SQLite file
last writes its journal back: a fifth of a small night.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME

PATIENCE = 30
"""Seconds to wait for another process (the web page) that writes at the same moment."""
PAGES = 100
"""The journal is written back when it has grown to so many pages, so that it takes no room on a disk nearly full."""


@contextlib.contextmanager
def kept_open(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Keep the files of this run and of the index open; another storage (Postgres) is left as it is."""
    log = instance.event_log_storage
    if not isinstance(log, SqliteEventLogStorage):
        yield
        return
    kept = _Files(log, {run_id, INDEX_SHARD_NAME})
    log.run_connection, log.index_connection = kept.run, kept.index  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        kept.close()


class _Files:
    """One connection per file, used by one thread at a time, as Dagster does it."""

    def __init__(self, log: SqliteEventLogStorage, names: set[str]) -> None:
        self._log, self._names = log, names
        self._open_anew = log.run_connection
        self._lock = threading.Lock()
        self._engines: dict[str, sa.Engine] = {}

    @contextlib.contextmanager
    def run(self, run_id: str | None) -> Iterator[sa.Connection]:
        """A connection to the file of a run, in a transaction; files of other runs may go any time."""
        if run_id is None or run_id not in self._names:
            with self._open_anew(run_id) as connection:
                yield connection
            return
        if run_id not in self._engines:
            with self._open_anew(run_id):  # makes the file and its tables
                self._engines[run_id] = self._engine(run_id)
        with self._lock, self._engines[run_id].begin() as connection:
            yield connection

    def index(self) -> contextlib.AbstractContextManager[sa.Connection]:
        """The same for the file over all runs."""
        return self.run(INDEX_SHARD_NAME)

    def _engine(self, name: str) -> sa.Engine:
        address = self._log.conn_string_for_shard(name)
        settings = {"timeout": PATIENCE, "check_same_thread": False}
        engine = sa.create_engine(address, poolclass=sa.StaticPool, connect_args=settings)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA wal_autocheckpoint = {PAGES}")
        return engine

    def close(self) -> None:
        """Write the journals back; from here on each use opens its file, as before."""
        del self._log.run_connection, self._log.index_connection  # those of the object; the class's are left
        for engine in self._engines.values():
            engine.dispose()
