"""The contract that every figure of a delivery must fulfil, as a pandera schema (cell and row rules)."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from pandera.pandas import DataFrameSchema

READING = pa.schema(
    [
        ("measure_id", pa.string()),
        ("category", pa.string()),
        ("area_id", pa.string()),
        ("area_level", pa.string()),
        ("period_type", pa.string()),
        ("reference_date", pa.date32()),
        ("period", pa.string()),
        ("value", pa.float64()),
        ("status", pa.string()),
        ("origin", pa.string()),
        ("text", pa.string()),
        ("read_text", pa.string()),
        ("line", pa.int64()),
        ("column", pa.int32()),
        ("column_name", pa.string()),
        ("sheet", pa.string()),
        ("correction", pa.int32()),
    ]
)
"""Columns of a reading: one row per figure, with the cell it comes from (`text` as received, `read_text` as used).

`sheet` is '' in text files; `correction` counts the delivery's declared corrections from 0, missing if none applied.
"""

STATUSES = ["value", "suppressed", "missing"]
UNREADABLE = "unreadable"
"""Status of a cell that means nothing; only readings of rejected deliveries hold it."""


def _whole(frame: pd.DataFrame) -> pd.Series:
    return frame["value"].isna() | ~frame["whole"] | (frame["value"] % 1 == 0)


def _not_below(frame: pd.DataFrame) -> pd.Series:
    return ~(frame["value"] < frame["minimum"])


def _not_over(frame: pd.DataFrame) -> pd.Series:
    return ~(frame["value"] > frame["maximum"])


_CELL_RULES = {"ganze_zahl": _whole, "nicht_unter_minimum": _not_below, "nicht_ueber_maximum": _not_over}


def within_limits(cells: pd.DataFrame) -> pd.Series:
    """Which cells fulfil the rules about values (columns value, whole, minimum, maximum as in a chunk)."""
    return functools.reduce(operator.and_, (rule(cells) for rule in _CELL_RULES.values()))


@functools.cache
def reading_schema() -> DataFrameSchema:
    """Schema of a chunk of figures.

    Columns: measure_id, category, area_id, reference_date, origin (missing = not recognised), status, value
    (unit of the measure, missing unless status is `value`), future (reference date not reached yet), whole (must be an
    integer), minimum, maximum.
    The name of a failed check is the rule id under which the sender is told; validate with `lazy=True`.
    """
    import pandera.pandas as pandera  # loads only when a file is not clean at first sight

    known = {
        "measure_id": "merkmal_bekannt",
        "area_id": "gebiet_bekannt",
        "reference_date": "zeitangabe_lesbar",
        "origin": "herkunft_bekannt",
    }
    columns = {
        name: pandera.Column(None, pandera.Check(lambda s: s.notna(), error=rule, ignore_na=False), nullable=True)
        for name, rule in known.items()
    }
    columns["status"] = pandera.Column(None, pandera.Check.isin(STATUSES, error="zelle_lesbar"))
    columns["value"] = pandera.Column(float, nullable=True)
    checks = {"zeitangabe_zukunft": lambda frame: ~frame["future"], **_CELL_RULES}
    return pandera.DataFrameSchema(
        columns,
        checks=[pandera.Check(check, error=rule, ignore_na=False) for rule, check in checks.items()],
        strict=False,
    )


def failed_rows(chunk: pd.DataFrame) -> list[tuple[str, int]]:
    """All (rule id, index label) pairs of a chunk that break the contract, in row order; none if it holds."""
    from pandera.errors import SchemaErrors

    try:
        reading_schema().validate(chunk, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases[["check", "index"]].drop_duplicates()
        found = zip(cases["index"].astype(int), cases["check"].astype(str), strict=True)
        return [(rule, index) for index, rule in sorted(found)]
    return []
