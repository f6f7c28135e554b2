"""Digest of a table: SHA-256 over its rows in the order they are stored in, column by column."""

from __future__ import annotations

import hashlib
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.files import sha256_text

_ROWS = 200_000


def table_digest(con: duckdb.DuckDBPyConnection, query: str) -> str:
    """SHA-256 of what a query returns: names, types, and every value in order.

    Each column goes into digests of its own (which rows have a value; values or lengths of texts; the texts), so the
    result does not depend on how the rows are cut into batches.
    """
    reader = con.sql(query).to_arrow_reader(_ROWS)
    digests = [[hashlib.sha256() for _ in range(3)] for _ in reader.schema]
    for batch in reader:
        for column, parts in zip(batch.columns, digests, strict=True):
            for part, data in zip(parts, _bytes(column), strict=True):
                part.update(data)
    columns = zip(reader.schema, digests, strict=True)
    return sha256_text(*(text for field, parts in columns for text in (str(field), *(p.hexdigest() for p in parts))))


def _bytes(column: pa.Array) -> tuple[Any, Any, Any]:
    """Which rows have a value, the values (of texts: their lengths), the texts; nothing but the values counts."""
    present = np.ones(len(column), np.uint8)
    if column.null_count:
        present = pc.is_valid(column).to_numpy(zero_copy_only=False).astype(np.uint8)
    if pa.types.is_string(column.type):
        column = pc.fill_null(column, "")
        lengths = pc.binary_length(column).to_numpy(zero_copy_only=False)
        _, offsets, data = column.buffers()
        places = np.frombuffer(offsets, np.int32)[column.offset : column.offset + len(column) + 1]
        texts = memoryview(data)[places[0] : places[-1]] if data is not None and len(places) else b""
        return present, np.ascontiguousarray(lengths), texts
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_date32(column.type):
        column = column.view(pa.int32())
    values = pc.fill_null(column, 0).to_numpy(zero_copy_only=False)
    return present, np.ascontiguousarray(values), b""
