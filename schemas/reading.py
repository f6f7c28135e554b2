"""The contract that every figure of a delivery must fulfil, as a pandera schema (cell and row rules)."""

from __future__ import annotations

import functools

import pandas as pd
import pandera.pandas as pa

STATUSES = ["value", "suppressed", "missing"]


def _whole(frame: pd.DataFrame) -> pd.Series:
    return frame["value"].isna() | ~frame["whole"] | (frame["value"] % 1 == 0)


def _not_below(frame: pd.DataFrame) -> pd.Series:
    return ~(frame["value"] < frame["minimum"])


def _not_over(frame: pd.DataFrame) -> pd.Series:
    return ~(frame["value"] > frame["maximum"])


@functools.cache
def reading_schema() -> pa.DataFrameSchema:
    """Schema of a chunk of figures.

    Columns: measure_id, category, area_id, reference_date, origin (missing = not recognised), status, value
    (unit of the measure, missing unless status is `value`), future (reference date not reached yet), whole (must be an
    integer), minimum, maximum.
    The name of a failed check is the rule id under which the sender is told; validate with `lazy=True`.
    """
    known = {
        "measure_id": "merkmal_bekannt",
        "area_id": "gebiet_bekannt",
        "reference_date": "zeitangabe_lesbar",
        "origin": "herkunft_bekannt",
    }
    columns = {
        name: pa.Column(None, pa.Check(lambda s: s.notna(), error=rule, ignore_na=False), nullable=True)
        for name, rule in known.items()
    }
    columns["status"] = pa.Column(None, pa.Check.isin(STATUSES, error="zelle_lesbar"))
    columns["value"] = pa.Column(float, nullable=True)
    return pa.DataFrameSchema(
        columns,
        checks=[
            pa.Check(lambda frame: ~frame["future"], error="zeitangabe_zukunft", ignore_na=False),
            pa.Check(_whole, error="ganze_zahl", ignore_na=False),
            pa.Check(_not_below, error="nicht_unter_minimum", ignore_na=False),
            pa.Check(_not_over, error="nicht_ueber_maximum", ignore_na=False),
        ],
        strict=False,
    )


def failed_rows(chunk: pd.DataFrame) -> list[tuple[str, int]]:
    """All (rule id, index label) pairs of a chunk that break the contract, in row order; none if it holds."""
    try:
        reading_schema().validate(chunk, lazy=True)
    except pa.errors.SchemaErrors as errors:
        cases = errors.failure_cases[["check", "index"]].drop_duplicates()
        found = zip(cases["index"].astype(int), cases["check"].astype(str), strict=True)
        return [(rule, index) for index, rule in sorted(found)]
    return []
