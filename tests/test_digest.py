"""The digest of a table: what it tells apart, and what it does not depend on."""

from __future__ import annotations

import duckdb
import pytest

from pipelines.marts.content import table_digest

ROWS = (
    "SELECT i, CASE WHEN i % 3 > 0 THEN 'text ' || i END AS t, i % 2 = 0 AS b, DATE '2020-01-01' + i::INTEGER AS d, "
    "i / 7 AS x"
)
HUNDRED = f"({ROWS} FROM range(100) r(i))"


def digest(query: str) -> str:
    with duckdb.connect() as con:
        return table_digest(con, query)


def test_digest_does_not_depend_on_how_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    query = f"{ROWS} FROM range(10000) r(i)"
    whole = digest(query)
    monkeypatch.setattr("pipelines.marts.content._ROWS", 1)
    assert digest(query) == whole


@pytest.mark.parametrize(
    "other",
    [
        f"{ROWS} FROM range(99) r(i)",  # a row less
        f"{ROWS} FROM range(100) r(i) ORDER BY i DESC",
        f"SELECT * REPLACE (coalesce(t, '') AS t) FROM {HUNDRED}",  # empty is not missing
        f"SELECT * REPLACE (i::INTEGER AS i) FROM {HUNDRED}",  # another type
        f"SELECT * RENAME (x AS y) FROM {HUNDRED}",
        f"SELECT * REPLACE (CASE i WHEN 50 THEN x + 1e-15 ELSE x END AS x) FROM {HUNDRED}",
        f"SELECT * REPLACE (CASE i WHEN 1 THEN 'text' WHEN 2 THEN ' 1text 2' ELSE t END AS t) FROM {HUNDRED}",  # moved
    ],
)
def test_digest_tells_any_difference(other: str) -> None:
    assert digest(other) != digest(f"{ROWS} FROM range(100) r(i)")
