"""Files that carry the provenance of an observation. Standard library only."""

from __future__ import annotations

from pathlib import Path

FIGURE_KEY = ("measure_id", "category", "area_id", "period_type", "reference_date")
"""What names a figure of the observation."""

FIGURE_SOURCE = ("delivery_id", "sheet", "line", "column_number", "column_name", "received_text", "correction")
"""Columns of `meta.figure_source` besides the key: the cell of a received file that a delivered figure stands in."""

FIGURE_PART = (
    *FIGURE_KEY,
    *("part_measure_id", "part_category", "part_area_id", "part_reference_date", "weight", "kind"),
)
"""Columns of `meta.figure_part`: a sum, one of the figures it was made of, and with what weight."""


def provenance_beside(observation: Path) -> dict[str, Path]:
    """Parquet files of `meta.figure_source` and `meta.figure_part` that belong to an observation."""
    return {
        "figure_source": observation.with_name("zellen.parquet"),
        "figure_part": observation.with_name("summanden.parquet"),
    }
