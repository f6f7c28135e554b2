"""Cells of published tables and what holds between them: the common language of protector and audit.

A cell is one number somebody may know or look for: a set of atoms (finest area, finest category, period) of one
measure. A relation is a linear statement about cells that everybody knows (a total and its parts, a part and its
whole).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Indexes = npt.NDArray[np.int64]

INFINITE = float("inf")
EXACT = 1e-6
"""Two bounds closer than this are one number (counts are whole, weighted sums have a few digits)."""


@dataclass(frozen=True)
class Relation:
    """`low <= sum(coefficients * x[cells]) <= high`; an equation has low = high (most often 0).

    Args:
        label: what it is, for people, e.g. "Gebiete: 01002000 = Summe der Stadtteile, arbeitslose/insgesamt, 2021".
        kind: short word to count relations by, e.g. "gebiete", "auspraegungen", "teil_und_ganzes", "jahre".
        cells: positions of the cells in their system.
        coefficients: one per cell, e.g. -1 for a total and 1 for each of its parts.
        low: smallest value of the sum.
        high: largest value of the sum.
    """

    label: str
    kind: str
    cells: tuple[int, ...]
    coefficients: tuple[float, ...]
    low: float = 0.0
    high: float = 0.0


@dataclass
class System:
    """Cells (n of them) and relations.

    Attributes:
        names: n texts, unique; the identity of a cell.
        known_low: n; smallest value that publishing the cell tells (a count: the count itself; a rounded rate of a
            known denominator: the smallest count it allows). NaN for a cell whose value nobody here knows.
        known_high: n; largest value that publishing it tells.
        lower: n; smallest value anybody would think possible while the cell is not published (1 for a star where zeros
            are published, else 0).
        upper: n; largest such value, infinite if none.
        whole: n; true for counts, which are whole numbers (false for weighted sums).
        relations: what holds between the cells.
    """

    names: list[str]
    known_low: Floats
    known_high: Floats
    lower: Floats
    upper: Floats
    whole: Flags
    relations: list[Relation] = field(default_factory=list)

    @classmethod
    def of_values(
        cls,
        names: Sequence[str],
        values: Iterable[float],
        *,
        lower: float | Iterable[float] = 0.0,
        upper: float | Iterable[float] = INFINITE,
        relations: Sequence[Relation] = (),
    ) -> System:
        """System of counts with exact values (NaN where unknown)."""
        exact = np.array(list(values), dtype=float)
        size = len(exact)
        return cls(
            names=list(names),
            known_low=exact,
            known_high=exact.copy(),
            lower=np.broadcast_to(np.asarray(lower, dtype=float), size).copy(),
            upper=np.broadcast_to(np.asarray(upper, dtype=float), size).copy(),
            whole=np.ones(size, dtype=bool),
            relations=list(relations),
        )

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.names)

    def bounds(self, published: Flags) -> tuple[Floats, Floats]:
        """Per cell the range an attacker starts from, if the cells flagged are published (n flags)."""
        shown = published & ~np.isnan(self.known_low)
        return np.where(shown, self.known_low, self.lower), np.where(shown, self.known_high, self.upper)


def components(system: System, fixed: Flags) -> list[Indexes]:
    """Groups of cells that say something about each other, each sorted, by their first cell; without the fixed ones.

    Args:
        system: cells and relations.
        fixed: n flags; cells with one known value link nothing, a number is only a constant.
    """
    groups = linked((relation.cells for relation in system.relations), fixed)
    return [np.array(group, dtype=np.int64) for _, group in sorted(groups.items())]


def linked(rows: Iterable[tuple[int, ...]], fixed: Flags) -> dict[int, list[int]]:
    """Cells by the smallest cell they are linked with through rows they share; the fixed ones (n flags) left out."""
    parent = list(range(len(fixed)))

    def root(cell: int) -> int:
        while parent[cell] != cell:
            parent[cell] = parent[parent[cell]]
            cell = parent[cell]
        return cell

    for row in rows:
        free = [cell for cell in row if not fixed[cell]]
        for cell in free[1:]:
            low, high = sorted((root(free[0]), root(cell)))
            parent[high] = low
    groups: dict[int, list[int]] = {}
    for cell in np.flatnonzero(~fixed).tolist():
        groups.setdefault(root(cell), []).append(cell)
    return groups


def part(system: System, cells: Indexes, fixed: Flags) -> System:
    """The system of some cells, with the relations that touch them; fixed cells outside become constants (known_low).

    Raises:
        ValueError: a relation touches a cell that is neither inside nor fixed.
    """
    position = {int(cell): number for number, cell in enumerate(cells)}
    relations = []
    for relation in system.relations:
        if not any(cell in position for cell in relation.cells):
            continue
        constant, inside, coefficients = 0.0, [], []
        for cell, coefficient in zip(relation.cells, relation.coefficients, strict=True):
            if cell in position:
                inside.append(position[cell])
                coefficients.append(coefficient)
            elif fixed[cell]:
                constant += coefficient * float(system.known_low[cell])
            else:
                raise ValueError(f"{relation.label}: {system.names[cell]} is outside of the part")
        relations.append(
            Relation(
                relation.label,
                relation.kind,
                tuple(inside),
                tuple(coefficients),
                relation.low - constant,
                relation.high - constant,
            )
        )
    return System(
        [system.names[cell] for cell in cells],
        system.known_low[cells],
        system.known_high[cells],
        system.lower[cells],
        system.upper[cells],
        system.whole[cells],
        relations,
    )
