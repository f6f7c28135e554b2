"""Whether an edition would bring back what was taken back: then nothing is published until somebody says so."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from pipelines.files import quoted
from pipelines.past.withdraw import WITHDRAWN
from pipelines.paths import DATABASE, Paths
from pipelines.published import Published, PublishedLedger
from pipelines.release.publish import order_of, published
from pipelines.session import connect

_TABLES = {
    "indicator_value": "indicator_id, area_id, period_type, reference_date",
    "observation": "measure_id, category, area_id, period_type, reference_date",
}
_SAME = "abs({0}.value - {1}.value) <= 1e-9 * greatest(1.0e0, abs({0}.value), abs({1}.value))"
_LEFT = f"""
    SELECT count(*), count(*) FILTER (coalesce({_SAME.format("w", "e")}, false))
    FROM withdrawn.mart.{{table}} w
    LEFT JOIN in_force.mart.{{table}} f USING ({{key}})
    LEFT JOIN edition.mart.{{table}} e USING ({{key}})
    WHERE w.value IS NOT NULL AND NOT coalesce({_SAME.format("w", "f")}, false)
"""


def taken_back(paths: Paths, edition: Path, content_hash: str) -> Published | None:
    """The withdrawn release that an edition would bring back, None if there is none.

    That is one with the same content, or one since the release in force of whose news (figures it showed and the
    release in force does not show so) every single one would be shown again: nothing of it has been corrected.

    Args:
        paths: the project's folders.
        edition: DuckDB file of the public edition.
        content_hash: hash of its content.
    """
    in_force = published(paths)
    if in_force is not None and in_force.content_hash == content_hash:
        return None
    ledger = PublishedLedger(paths)
    same = ledger.withdrawn(content_hash)
    if same is not None:
        return same
    latest = order_of(os.readlink(paths.current)) if paths.current.is_symlink() else 0
    since = [e for e in ledger.entries() if e.withdrawn and order_of(e.release_id) > latest]
    before = paths.current / DATABASE if in_force else None
    return next((e for e in reversed(since) if _all_back(_database(paths, e), before, edition)), None)


def _database(paths: Paths, entry: Published) -> Path:
    return paths.history / WITHDRAWN / entry.release_id / DATABASE


def _all_back(withdrawn: Path, in_force: Path | None, edition: Path) -> bool:
    """Whether all news of a withdrawn release stand in the edition as they stood there; False if it can't be told."""
    if not withdrawn.is_file():
        return False
    news, back = 0, 0
    try:
        with connect() as con:
            for name, file in (("withdrawn", withdrawn), ("in_force", in_force), ("edition", edition)):
                if file is None:  # nothing was in force: all that the withdrawn release showed is news
                    con.execute("ATTACH ':memory:' AS in_force")
                    con.execute("CREATE SCHEMA in_force.mart")
                    for table in _TABLES:
                        con.execute(f"CREATE TABLE in_force.mart.{table} AS FROM withdrawn.mart.{table} LIMIT 0")
                else:
                    con.execute(f"ATTACH '{quoted(file.resolve())}' AS {name} (READ_ONLY)")
            for table, key in _TABLES.items():
                row = con.execute(_LEFT.format(table=table, key=key)).fetchone() or (0, 0)
                news, back = news + row[0], back + row[1]
    except duckdb.Error:
        return False
    return news > 0 and news == back
