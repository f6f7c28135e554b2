"""From the true observation to cells: what is public already, what is ours to protect, what nobody here knows."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from pipelines.files import quoted
from pipelines.session import connect

Key = tuple[str, str, str, str, dt.date]
"""measure_id, category, area_id, period_type, reference_date: the key of `mart.observation`."""

PUBLIC, OWN, WITHHELD, MISSING, HIDDEN = "public", "own", "withheld", "missing", "hidden"
"""Known elsewhere; ours, true value known here; withheld by its source; not there; never published as such."""


@dataclass
class Cell:
    """One figure.

    Attributes:
        key: key of the observation, or of what stands in for it (`hidden` cells).
        state: one of the states above.
        low: smallest value that publishing it tells, None if nobody here knows.
        high: largest such value; differs from `low` for a rate whose count is not known.
        delivered: came from an office as it is, not added up here.
        whole: a count; False for weighted sums.
        smallest: what a star on it tells at least, if zeros are always shown.
        period: the period's key in words.
        level: area level.
    """

    key: Key
    state: str
    low: float | None = None
    high: float | None = None
    delivered: bool = False
    whole: bool = True
    smallest: float = 1.0
    period: str = ""
    level: str = ""

    @property
    def value(self) -> float | None:
        """The true value, if it is one number and known here."""
        return self.low if self.low == self.high else None

    @property
    def name(self) -> str:
        """Identity as text."""
        return cell_name(self.key)


def cell_name(key: Key) -> str:
    """A key as one text, e.g. `arbeitslose|insgesamt|01002000-ST-01|stichtag|2021-12-31`."""
    return "|".join([*key[:4], key[4].isoformat()])


def read_cells(observation: Path, measures: list[str], public_sources: set[str]) -> dict[Key, Cell]:
    """Cells of some measures, by key, in the order of the key.

    Args:
        observation: Parquet with the columns of `mart.observation`, true values.
        measures: ids of the measures wanted.
        public_sources: ids of sources whose figures everybody can look up.
    """
    with connect() as con:
        rows = con.execute(
            f"""
            SELECT measure_id, category, area_id, period_type, reference_date, value, is_suppressed, method,
                delivery_ids, period, area_level
            FROM read_parquet('{quoted(observation)}')
            WHERE list_contains($measures, measure_id)
            ORDER BY measure_id, category, area_id, period_type, reference_date
            """,
            {"measures": measures},
        ).fetchall()
    cells = {}
    for *key, value, withheld, method, deliveries, period, level in rows:
        sources = {delivery.rsplit("-", 1)[0] for delivery in (deliveries or "").split(";")}
        state = WITHHELD if withheld else MISSING if value is None else PUBLIC if sources <= public_sources else OWN
        cell = Cell(tuple(key), state, value, value, method == "delivered", method != "estimated")
        cell.period, cell.level = period, level
        cells[cell.key] = cell
    return cells
