"""DuckDB sessions: quiet, within the memory limit, and with a folder of their own for what does not fit."""

from __future__ import annotations

import contextlib
import tempfile
import uuid
from pathlib import Path

import duckdb

from pipelines.files import quoted
from pipelines.memory import memory_limit

_SHARE = 0.6
"""What DuckDB may take of the memory; the rest is for Python, Arrow and what DuckDB does not count."""


def connect(file: Path | str = ":memory:", *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """A session that keeps to the limit and draws no progress bars: they would stand among the lines of a night.

    What does not fit goes below the folder for temporary files, which a night keeps inside the project; DuckDB itself
    would put it beside the file, maybe into a release. The limit holds for each file and each session in memory.

    Raises:
        BadMemoryLimit: see `memory_limit`.
    """
    limit = memory_limit() * _SHARE / 10**6
    con = duckdb.connect(str(file), read_only=read_only)
    con.execute(f"SET enable_progress_bar = false; SET memory_limit = '{limit:.0f}MB'")
    with contextlib.suppress(duckdb.NotImplementedException):  # another session of this file has put something down
        spill_into(con, Path(tempfile.gettempdir(), f"sozialraum-duckdb-{uuid.uuid4().hex}"))
    return con


def open_session(folder: Path | str) -> duckdb.DuckDBPyConnection:
    """A session in memory for building: it spills into a folder (never elsewhere: true values pass it).

    Raises:
        BadMemoryLimit: see `memory_limit`.
    """
    con = connect()
    spill_into(con, Path(folder))
    con.execute("SET disabled_compression_methods = 'fsst'")  # an eighth of the time of storing texts, no smaller file
    return con


def spill_into(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Let a session put down in a folder what does not fit; DuckDB makes the folder when it is needed.

    Raises:
        duckdb.NotImplementedException: something lies in another folder already.
    """
    con.execute(f"SET temp_directory = '{quoted(folder)}'")
