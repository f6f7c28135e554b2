"""Figures of earlier deliveries and other sources that a delivery is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.memory import memory_limit

if TYPE_CHECKING:
    from pipelines.intake.account import Account
    from pipelines.intake.quiet import Column

CELLS = 60_000_000
"""Cells (areas of the directory times columns of figures) that are kept of one source at a time, at most."""
_CELL_BYTES = 9


def most_cells() -> int:
    """How many cells are kept: they take a quarter of the memory at most."""
    return min(CELLS, memory_limit() // 4 // _CELL_BYTES)


@dataclass(frozen=True)
class Past:
    """The reading of one accepted delivery that is not retracted; `title` names its source for people."""

    source: str
    delivery_id: str
    seq: int
    path: Path
    title: str = ""


@dataclass
class Memory:
    """What is known of one source's readings, from one of its deliveries to the next.

    `shifts` are the usual changes between two columns (by `id`): areas, median, scatter.
    """

    accounts: dict[Path, Account | None] = field(default_factory=dict)
    columns: dict[Path, list[Column]] = field(default_factory=dict)
    shifts: dict[tuple[int, int], tuple[int, float, float] | None] = field(default_factory=dict)

    def put(self, reading: Path, account: Account | None) -> None:
        """Keep the account of a reading, unless more would be kept than fits."""
        kept = sum(known.cells for known in self.accounts.values() if known)
        if account is not None and kept + account.cells <= most_cells():
            self.accounts[reading] = account
