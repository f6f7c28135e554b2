"""The attacker: per cell the smallest and largest value that everything published leaves possible.

The attacker subproblem of Fischetti and Salazar (Management Science, 2001): minimise and maximise one cell subject
to all relations, published values and the bounds everybody knows. Cells that say nothing about each other are
attacked apart. Each solution found on the way is also a witness that other cells can take the values they have in it;
a cell seen at both of its ends needs no question of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipelines.disclosure.solver import TOLERANCE, Contradiction, Model, SolverFailed
from pipelines.disclosure.system import INFINITE, Flags, Floats, Indexes, Relation, System, components, part

__all__ = ["Contradiction", "Intervals", "SolverFailed", "attack", "attack_both", "violated"]


@dataclass(frozen=True)
class Intervals:
    """What an attacker can prove: per asked cell `low <= x <= high` (high may be infinite)."""

    cells: Indexes
    low: Floats
    high: Floats


def attack(system: System, published: Flags, targets: Indexes | None = None, *, integer: bool = False) -> Intervals:
    """Attack cells of a system.

    Bounds of whole cells are rounded to whole numbers in either mode. With `integer`, a bound of the linear model
    counts where a solution in whole numbers attains it; only the others are asked of an integer model.

    Args:
        system: cells and relations.
        published: n flags; the cells the attacker can read (by their `known_low`/`known_high`).
        targets: positions of the cells to attack; all unpublished cells by default.
        integer: also demand that whole cells take whole numbers (an attacker who knows that counts are counts).

    Raises:
        Contradiction: no values satisfy all relations of published numbers, or of a component that holds a target.
        SolverFailed: the solver ended in any state but optimal.
    """
    broken = violated(system, published)
    if broken:
        raise Contradiction(f"published numbers contradict: {broken[0].label}")
    asked = np.flatnonzero(~published) if targets is None else np.asarray(targets, dtype=np.int64)
    low, high = (bound.astype(float) for bound in system.bounds(published))
    fixed = _fixed(system, published)
    wanted = np.zeros(len(system), dtype=bool)
    wanted[asked] = True
    touching = _touching(system, fixed)
    for cells in components(system, fixed):
        if wanted[cells].any():
            found = _Component(_part(system, cells, fixed, touching), published[cells], integer)
            low[cells], high[cells] = found.intervals(np.flatnonzero(wanted[cells]))
    return Intervals(asked, low[asked], high[asked])


def attack_both(
    system: System,
    published: Flags,
    targets: Indexes | None = None,
    matters: Callable[[Intervals], Flags] | None = None,
) -> Intervals:
    """Attack by the linear model, then by whole numbers where it can matter.

    Args:
        system: cells and relations.
        published: n flags; the cells the attacker can read.
        targets: positions of the cells to attack; all unpublished cells by default.
        matters: given the linear intervals, flags of the cells to attack in whole numbers too (those whose verdict
            may still change: integer intervals are never wider, so a cell that is open already needs none); all by
            default.

    Raises:
        Contradiction: like `attack`.
        SolverFailed: like `attack`.
    """
    if matters is None:
        return attack(system, published, targets, integer=True)  # asks the linear model first by itself
    linear = attack(system, published, targets)
    flags = matters(linear)
    if not flags.any():
        return linear
    whole = attack(system, published, linear.cells[flags], integer=True)
    low, high = linear.low.copy(), linear.high.copy()
    low[flags], high[flags] = whole.low, whole.high
    return Intervals(linear.cells, low, high)


def violated(system: System, published: Flags) -> list[Relation]:
    """Relations of nothing but published exact numbers that these numbers break."""
    fixed = _fixed(system, published)
    broken = []
    for relation in system.relations:
        cells = np.array(relation.cells, dtype=np.int64)
        if not fixed[cells].all():
            continue
        terms = np.array(relation.coefficients) * system.known_low[cells]
        slack = TOLERANCE * max(1.0, float(np.abs(terms).sum()) * 1e-6)  # numbers are exact but for binary fractions
        total = float(terms.sum())
        if total < relation.low - slack or total > relation.high + slack:
            broken.append(relation)
    return broken


def _touching(system: System, fixed: Flags) -> dict[int, list[int]]:
    """Numbers of the relations of each cell that is not fixed: a part must not look through all relations."""
    touching: dict[int, list[int]] = {}
    for number, relation in enumerate(system.relations):
        for cell in relation.cells:
            if not fixed[cell]:
                touching.setdefault(cell, []).append(number)
    return touching


def _part(system: System, cells: Indexes, fixed: Flags, touching: dict[int, list[int]]) -> System:
    numbers = sorted({number for cell in cells for number in touching.get(int(cell), [])})
    return part(replace(system, relations=[system.relations[number] for number in numbers]), cells, fixed)


def _fixed(system: System, published: Flags) -> Flags:
    """Cells whose one value is published (NaN: nobody here knows it, so it cannot be read)."""
    return published & (system.known_low == system.known_high)


class _Component:
    """Cells that hang together, and what solutions have shown about them so far.

    `seen_low` and `seen_high` are the smallest and largest values of each cell in any solution: the proven interval
    holds at least these.
    """

    def __init__(self, system: System, published: Flags, integer: bool) -> None:
        self.whole = system.whole
        self.lower, self.upper = self._start(*system.bounds(published))
        self.relations = system.relations
        self.integer = integer and bool(system.whole.any())
        self._integer_model: Model | None = None
        size = len(system)
        self.seen_low, self.seen_high = np.full(size, INFINITE), np.full(size, -INFINITE)
        self.model = Model(self.lower, self.upper, self.relations)
        if not self._witness(self.model.first):
            self._witness(self._whole_model().first)

    def intervals(self, targets: Indexes) -> tuple[Floats, Floats]:
        """Proven bounds of all cells of the component (those that are no targets keep what they started with)."""
        low, high = self.lower.copy(), self.upper.copy()
        for cell in targets:
            low[cell], high[cell] = self._minimum(int(cell)), self._maximum(int(cell))
            if low[cell] > high[cell]:
                raise Contradiction("no whole number is possible for a cell")
        return low, high

    def _start(self, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
        """Bounds to start from; a count starts at whole numbers."""
        return np.where(self.whole, _up(lower), lower), np.where(self.whole, _down(upper), upper)

    def _maximum(self, cell: int) -> float:
        if self.seen_high[cell] >= self.upper[cell] - TOLERANCE:
            return float(self.upper[cell])
        found = self.model.maximum(cell)
        bound = float(_down(found.value)) if self.whole[cell] else found.value
        if found.solution is None or self._witness(found.solution) or self.seen_high[cell] >= bound - TOLERANCE:
            return bound
        exact = self._whole_model().maximum(cell)
        self._attained(exact.solution)
        return exact.value

    def _minimum(self, cell: int) -> float:
        if self.seen_low[cell] <= self.lower[cell] + TOLERANCE:
            return float(self.lower[cell])
        found = self.model.minimum(cell)
        bound = float(_up(found.value)) if self.whole[cell] else found.value
        if found.solution is None or self._witness(found.solution) or self.seen_low[cell] <= bound + TOLERANCE:
            return bound
        exact = self._whole_model().minimum(cell)
        self._attained(exact.solution)
        return exact.value

    def _witness(self, solution: Floats) -> bool:
        """Remember a solution of the linear model; False if it is none in the mode asked for."""
        if self.integer:
            rounded = np.where(self.whole, np.round(solution), solution)
            if (np.abs(rounded - solution) > TOLERANCE).any():
                return False
            try:
                self.model.verify(rounded)
            except SolverFailed:
                return False  # nearly whole is not whole: the integer model decides
            solution = rounded
        self._attained(solution)
        return True

    def _attained(self, solution: Floats | None) -> None:
        if solution is None:
            raise SolverFailed("integer model unbounded where the linear one is not")
        np.minimum(self.seen_low, solution, out=self.seen_low)
        np.maximum(self.seen_high, solution, out=self.seen_high)

    def _whole_model(self) -> Model:
        """The integer model, built when the linear one first leaves a doubt."""
        if self._integer_model is None:
            self._integer_model = Model(self.lower, self.upper, self.relations, self.whole)
        return self._integer_model


def _up(value: Floats | float) -> Floats:
    return np.ceil(np.asarray(value, dtype=float) - TOLERANCE) + 0.0  # never -0


def _down(value: Floats | float) -> Floats:
    return np.floor(np.asarray(value, dtype=float) + TOLERANCE)
