"""The attacker: per cell the smallest and largest value that everything published leaves possible.

The attacker subproblem of Fischetti and Salazar (Management Science, 2001): minimise and maximise one cell subject
to all relations, published values and the bounds everybody knows.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.disclosure.system import Flags, Floats, Indexes, System


class SolverFailed(Exception):
    """The solver ended in any other state than optimal: nothing may be concluded, nothing published."""


class Contradiction(SolverFailed):
    """The published numbers and the relations contradict each other (no solution exists)."""


@dataclass(frozen=True)
class Intervals:
    """What an attacker can prove: per asked cell `low <= x <= high` (high may be infinite)."""

    cells: Indexes
    low: Floats
    high: Floats


def attack(system: System, published: Flags, targets: Indexes | None = None, *, integer: bool = False) -> Intervals:
    """Attack cells of a system.

    Args:
        system: cells and relations.
        published: n flags; the cells the attacker can read (by their `known_low`/`known_high`).
        targets: positions of the cells to attack; all unpublished cells by default.
        integer: also demand that whole cells take whole numbers (an attacker who knows that counts are counts).

    Raises:
        Contradiction: no values satisfy all relations.
        SolverFailed: the solver ended in any state but optimal.
    """
    raise NotImplementedError
