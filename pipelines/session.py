"""DuckDB sessions: quiet, and those of the build within the memory limit and with a folder for what does not fit."""

from __future__ import annotations

from pathlib import Path

import duckdb

from pipelines.files import quoted
from pipelines.memory import memory_limit

_SHARE = 0.6
"""What DuckDB may take of the memory; the rest is for Python, Arrow and what DuckDB does not count."""


def connect(file: Path | str = ":memory:", *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """A session that draws no progress bars: they would stand among the lines of a night."""
    con = duckdb.connect(str(file), read_only=read_only)
    con.execute("SET enable_progress_bar = false")
    return con


def open_session(folder: Path | str) -> duckdb.DuckDBPyConnection:
    """A session in memory that keeps to the limit and spills into a folder (never elsewhere: true values pass it).

    Raises:
        BadMemoryLimit: see `memory_limit`.
    """
    con = connect()
    con.execute(f"SET memory_limit = '{memory_limit() * _SHARE / 10**6:.0f}MB'")
    con.execute(f"SET temp_directory = '{quoted(Path(folder))}'")
    con.execute("SET disabled_compression_methods = 'fsst'")  # an eighth of the time of storing texts, no smaller file
    return con
