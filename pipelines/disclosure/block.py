"""Cells that hang together, in an order that does not depend on how the caller sorted them.

A block is what the protector works on: everything that can influence its requirements is inside, numbers everybody
knows are folded into the relations. Blocks of equal content are equal, whatever the order of cells and relations was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from pipelines.disclosure.solver import TOLERANCE, Contradiction
from pipelines.disclosure.system import Flags, Floats, Indexes, Relation, System, linked

OPEN_WIDTH = 1e-3
"""Width from which on the interval of a cell that is no count is open (bounds nearer than 1e-6 are one number)."""

MOVED = 1e-7
"""A cell further than this from its published value has moved (the solver's own tolerance is 1e-7)."""

Kind = Literal["high", "low", "open"]


@dataclass(frozen=True)
class Need:
    """What has to stay possible: `high`: cell >= value, `low`: cell <= value, `open`: two values `value` apart."""

    cell: int
    kind: Kind
    value: float

    def met_by(self, solution: Floats) -> bool:
        """Whether one solution shows that a `high` or `low` need is met."""
        if self.kind == "high":
            return bool(solution[self.cell] >= self.value - TOLERANCE)
        return self.kind == "low" and bool(solution[self.cell] <= self.value + TOLERANCE)


@dataclass(frozen=True)
class Row:
    """`low <= values @ x[cells] <= high`."""

    cells: tuple[int, ...]
    values: tuple[float, ...]
    low: float
    high: float


@dataclass
class Block:
    """Cells (n), rows and requirements; all arrays have n entries.

    Attributes:
        names: identities.
        low: smallest value a reader allows for while the cell is shown (closed cells: never shown, their lower bound).
        high: largest such value.
        lower: smallest value while the cell is suppressed.
        upper: largest value while the cell is suppressed.
        whole: counts.
        free: may be suppressed, at the price of `weight`.
        closed: suppressed or hidden in any case.
        weight: prices.
        rows: what holds between the cells.
        needs: requirements.
    """

    names: list[str]
    low: Floats
    high: Floats
    lower: Floats
    upper: Floats
    whole: Flags
    free: Flags
    closed: Flags
    weight: Floats
    rows: list[Row] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.names)

    @property
    def exact(self) -> Flags:
        """Cells that have one known value while they are shown."""
        return ~self.closed & (self.low == self.high)

    def moved(self, solution: Floats) -> Flags:
        """Free cells that have to be suppressed for a reader to think this solution possible."""
        slack = MOVED * np.maximum(1.0, np.abs(solution))
        return self.free & ((solution > self.high + slack) | (solution < self.low - slack))

    def is_whole(self, solution: Floats) -> bool:
        """Whether a solution, rounded, has whole counts and still keeps bounds and rows."""
        rounded = np.where(self.whole, np.round(solution), solution)
        if (np.abs(rounded - solution) > TOLERANCE * np.maximum(1.0, np.abs(solution))).any():
            return False
        return self.holds(rounded)

    def holds(self, solution: Floats) -> bool:
        """Whether a solution keeps all rows, and all bounds with every free cell suppressed."""
        slack = TOLERANCE * np.maximum(1.0, np.abs(solution))
        lower, upper = np.where(self.free, self.lower, self.low), np.where(self.free, self.upper, self.high)
        if (solution < lower - slack).any() or (solution > upper + slack).any():
            return False
        owner, cells, values, row_low, row_high = self.flat
        terms = values * solution[cells]
        total = np.bincount(owner, weights=terms, minlength=len(row_low))
        room = TOLERANCE * np.maximum(1.0, np.abs(solution).max(initial=0.0))
        return bool(((total >= row_low - room) & (total <= row_high + room)).all())

    @cached_property
    def flat(self) -> tuple[Indexes, Indexes, Floats, Floats, Floats]:
        """All rows as arrays: row of each entry, its cell, its value; bounds of the rows."""
        return (
            np.repeat(np.arange(len(self.rows)), [len(row.cells) for row in self.rows]),
            np.array([cell for row in self.rows for cell in row.cells], dtype=np.int64),
            np.array([value for row in self.rows for value in row.values], dtype=float),
            np.array([row.low for row in self.rows], dtype=float),
            np.array([row.high for row in self.rows], dtype=float),
        )

    def system(self) -> System:
        """The block in the attacker's language."""
        rows = [Relation(str(number), "", r.cells, r.values, r.low, r.high) for number, r in enumerate(self.rows)]
        shown = ~self.closed
        low, high = np.where(shown, self.low, np.nan), np.where(shown, self.high, np.nan)
        return System(self.names, low, high, self.lower, self.upper, self.whole, rows)

    def restricted(self, free: Flags) -> Block:
        """The same block with fewer free cells; the others are shown in any case."""
        return replace(self, free=free)

    def with_closed(self, closed: Flags, free: Flags, needs: list[Need]) -> Block:
        """The same block with other closed and free cells (n flags each) and other needs."""
        low, high = np.where(closed, self.lower, self.low), np.where(closed, self.upper, self.high)
        return replace(self, closed=closed, free=free, needs=needs, low=low, high=high)


def split(block: Block, fixed: Flags) -> Iterator[tuple[Indexes, Block]]:
    """Parts of a block that have a need and share only fixed cells, by first cell; fixed cells become constants.

    Args:
        block: the whole.
        fixed: n flags; cells with one known value.

    Yields:
        Positions of the cells in the whole, and the part.

    Raises:
        Contradiction: fixed numbers break a relation.
    """
    groups = linked((row.cells for row in block.rows), fixed)
    rows: dict[int, list[Row]] = {}
    needs: dict[int, list[Need]] = {}
    inner = {cell: (root, place) for root, cells in groups.items() for place, cell in enumerate(cells)}
    for need in block.needs:
        if need.cell in inner:
            root, place = inner[need.cell]
            needs.setdefault(root, []).append(Need(place, need.kind, need.value))
    for row in block.rows:
        _distribute(block, row, inner, rows)
    for root in sorted(needs, key=lambda root: groups[root][0]):
        cells = np.array(groups[root], dtype=np.int64)
        yield cells, _cut_out(block, cells, rows.get(root, []), needs[root])


def _distribute(block: Block, row: Row, inner: dict[int, tuple[int, int]], rows: dict[int, list[Row]]) -> None:
    constant, cells, values, root = 0.0, [], [], -1
    for cell, value in zip(row.cells, row.values, strict=True):
        if cell in inner:
            root, place = inner[cell]
            cells.append(place)
            values.append(value)
        else:
            constant += value * float(block.low[cell])
    low, high = row.low - constant, row.high - constant
    if cells:
        rows.setdefault(root, []).append(Row(tuple(cells), tuple(values), low, high))
    elif low > TOLERANCE * max(1.0, abs(constant)) or high < -TOLERANCE * max(1.0, abs(constant)):
        raise Contradiction(f"published numbers contradict a relation: {[block.names[cell] for cell in row.cells]}")


def _cut_out(block: Block, cells: Indexes, rows: list[Row], needs: list[Need]) -> Block:
    return Block(
        [block.names[cell] for cell in cells],
        block.low[cells],
        block.high[cells],
        block.lower[cells],
        block.upper[cells],
        block.whole[cells],
        block.free[cells],
        block.closed[cells],
        block.weight[cells],
        rows,
        needs,
    )


def canonical_rows(relations: list[Relation], place: list[int]) -> list[Row]:
    """Relations with sorted cells, first coefficient positive, sorted, without repetitions and labels.

    Args:
        relations: as the caller has them.
        place: new position of each cell.
    """
    rows = set()
    for relation in relations:
        joined: dict[int, float] = {}
        for cell, value in zip(relation.cells, relation.coefficients, strict=True):
            joined[place[cell]] = joined.get(place[cell], 0.0) + float(value)
        terms = sorted((cell, value) for cell, value in joined.items() if value)
        low, high = float(relation.low), float(relation.high)
        if terms and terms[0][1] < 0:
            terms, low, high = [(cell, -value) for cell, value in terms], -high, -low
        # 0.0 added: minus zero and zero must not be two rows
        rows.add((tuple(c for c, _ in terms), tuple(v for _, v in terms), low + 0.0, high + 0.0))
    return [Row(*row) for row in sorted(rows)]
