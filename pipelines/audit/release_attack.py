"""The attack on everything that was read: plain subtraction first, then linear and integer programs per component.

Subtraction settles relations with one unknown. Hidden cells that stand in one relation beside another of their kind
can take any value; they are removed, and their relation becomes an inequality. What is left goes to the attacker of
`pipelines.disclosure.attack`, component by component, so that a failure names its place.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.audit.facts import GAP, INFINITE
from pipelines.audit.release_union import PAST, Union
from pipelines.disclosure.attack import Contradiction, Intervals, SolverFailed, attack_both
from pipelines.disclosure.system import Flags, Floats, Indexes, Relation, System, components, part

NARROW = 4.0
"""With coefficients of 1, integer programs are asked where the linear bound is below so many times what is needed."""


@dataclass
class Proof:
    """What can be proven.

    Attributes:
        low: per variable the smallest possible value (of targets; of others what is known without a solver).
        high: the largest.
        by: per variable the relation by which it was computed, if plain subtraction did it.
        failures: label of a relation or place, and what failed; nothing may be concluded there.
    """

    low: Floats
    high: Floats
    by: dict[int, str] = field(default_factory=dict)
    failures: list[tuple[str, str]] = field(default_factory=list)


def prove(union: Union, targets: dict[int, float]) -> Proof:
    """Attack variables.

    Args:
        union: system and what is readable of it.
        targets: position -> upper bound that makes it safe; integer programs are asked up to `NARROW` times that.
    """
    work = _Work(union)
    work.subtract()
    relations = work.without_slack(targets)
    system = replace(union.system, known_low=work.low, known_high=work.high, relations=relations)
    readable = union.readable | work.fixed
    groups = components(system, work.fixed)
    of_group = _by_group(relations, groups, work.fixed)
    for number, group in enumerate(groups):
        asked = np.array([cell for cell in group if int(cell) in targets], dtype=np.int64)
        if len(asked):
            _attack(replace(system, relations=of_group[number]), readable, work, group, asked, targets)
    return work.proof


def _by_group(relations: list[Relation], groups: list[Indexes], fixed: Flags) -> dict[int, list[Relation]]:
    """Relations by the number of the group their free cells are in: no group must look through all of them."""
    number_of = np.full(len(fixed), -1)
    for number, group in enumerate(groups):
        number_of[group] = number
    found: dict[int, list[Relation]] = defaultdict(list)
    for relation in relations:
        free = next((cell for cell in relation.cells if not fixed[cell]), None)
        if free is not None:
            found[int(number_of[free])].append(relation)
    return found


class _Work:
    """Bounds that get narrower by subtraction."""

    def __init__(self, union: Union) -> None:
        system = union.system
        self.system = system
        self.hidden = set(union.hidden)
        self.low, self.high = system.bounds(union.readable)
        self.fixed = np.array(self.high - self.low <= GAP, dtype=bool)
        self.proof = Proof(self.low, self.high)
        self.relations = [relation for relation in system.relations if not self.fixed[list(relation.cells)].all()]

    def subtract(self) -> None:
        """Narrow cells that are the only unknown of a relation, as long as that settles one."""
        containing: dict[int, list[int]] = defaultdict(list)
        for number, relation in enumerate(self.relations):
            for cell in relation.cells:
                containing[cell].append(number)
        queue = list(range(len(self.relations)))
        while queue:
            relation = self.relations[queue.pop()]
            free = [p for p, cell in enumerate(relation.cells) if not self.fixed[cell]]
            if len(free) == 1:
                cell = relation.cells[free[0]]
                self._narrow(relation, free[0])
                if self.fixed[cell]:
                    queue += containing[cell]
        self._drop_impossible()
        self.relations = [relation for relation in self.relations if not self.fixed[list(relation.cells)].all()]

    def _narrow(self, relation: Relation, position: int) -> None:
        rest = sum(
            coefficient * self.low[cell]
            for p, (cell, coefficient) in enumerate(zip(relation.cells, relation.coefficients, strict=True))
            if p != position
        )
        cell, coefficient = relation.cells[position], relation.coefficients[position]
        if coefficient == 0:
            return
        ends = sorted(((relation.low - rest) / coefficient, (relation.high - rest) / coefficient))
        if self.system.whole[cell]:
            slack = max(GAP, 1e-9 * min(abs(ends[0]), abs(ends[1])))
            ends = [_up(ends[0], slack), _down(ends[1], slack)]
        low, high = max(ends[0], self.low[cell]), min(ends[1], self.high[cell])
        if low > high + GAP:
            return  # reported by _drop_impossible
        if low > self.low[cell] or high < self.high[cell]:
            self.low[cell], self.high[cell] = low, max(low, high)
            self.proof.by[cell] = relation.label
        self.fixed[cell] = self.high[cell] - self.low[cell] <= GAP

    def _drop_impossible(self) -> None:
        """Relations that no values within the bounds can satisfy: named, and left out."""
        kept = []
        for relation in self.relations:
            least, most = self._range(relation)
            slack = GAP * max(1.0, sum(abs(c) for c in relation.coefficients))
            if least > relation.high + slack or most < relation.low - slack:
                text = f"die veröffentlichten Zahlen ergeben {least:g} bis {most:g} als Abweichung"
                if not relation.kind.endswith(PAST):  # what did not hold in an earlier release cannot be mended now
                    self.proof.failures.append((relation.label, text))
            else:
                kept.append(relation)
        self.relations = kept

    def _range(self, relation: Relation) -> tuple[float, float]:
        least = most = 0.0
        for cell, coefficient in zip(relation.cells, relation.coefficients, strict=True):
            if coefficient:
                ends = (coefficient * self.low[cell], coefficient * self.high[cell])
                least, most = least + min(ends), most + max(ends)
        return least, most

    def without_slack(self, targets: dict[int, float]) -> list[Relation]:
        """Relations without hidden cells that can take any value; these leave the targets."""
        number: dict[int, int] = defaultdict(int)
        for relation in self.relations:
            for cell in relation.cells:
                number[cell] += 1
        found = []
        for relation in self.relations:
            loose = [cell for cell in relation.cells if self._loose(cell, number[cell])]
            if len(loose) < 2:
                found.append(relation)
                continue
            for cell in loose:
                targets.pop(cell, None)
            rest = self._open(relation, set(loose))
            if rest is not None:
                found.append(rest)
        return found

    def _loose(self, cell: int, number: int) -> bool:
        free = self.low[cell] <= 0 and self.high[cell] == INFINITE
        return number == 1 and free and cell in self.hidden and not self.fixed[cell]

    def _open(self, relation: Relation, loose: set[int]) -> Relation | None:
        """The relation for the other cells: loose cells with one sign leave an inequality, with both signs nothing."""
        pairs = list(zip(relation.cells, relation.coefficients, strict=True))
        signs = {c > 0 for cell, c in pairs if cell in loose}
        rest = [(cell, c) for cell, c in pairs if cell not in loose]
        if len(signs) > 1 or all(self.fixed[cell] for cell, _ in rest):
            return None
        if any(self.low[cell] < 0 for cell in loose):
            return None
        low, high = (-INFINITE, relation.high) if signs == {True} else (relation.low, INFINITE)
        cells, coefficients = zip(*rest, strict=True)
        return replace(relation, cells=cells, coefficients=coefficients, low=low, high=high)


def _attack(
    system: System,
    readable: Flags,
    work: _Work,
    group: Indexes,
    asked: Indexes,
    targets: dict[int, float],
) -> None:
    """Attack one component; a failure of the solver is noted and leaves its targets without a proof."""
    piece = part(system, group, work.fixed)
    place = {int(cell): position for position, cell in enumerate(group)}
    positions = np.array([place[int(cell)] for cell in asked], dtype=np.int64)
    needed = np.array([targets[int(cell)] for cell in asked])
    network = is_network(piece)

    fractional = any(abs(c) != 1 for relation in piece.relations for c in relation.coefficients)

    def matters(found: Intervals) -> Flags:
        wide = np.inf if fractional else NARROW  # with shares as coefficients few whole numbers fit at any distance
        doubtful = (found.high >= needed) & (found.high <= wide * needed) & (found.low < found.high)
        return doubtful & (not network)

    try:
        try:
            found = attack_both(piece, readable[group], positions, matters)
        except Contradiction:  # earlier releases may have been made with other areas: then today's tables stand alone
            today = [relation for relation in piece.relations if not relation.kind.endswith(PAST)]
            if len(today) == len(piece.relations):
                raise
            found = attack_both(replace(piece, relations=today), readable[group], positions, matters)
    except SolverFailed as error:
        work.proof.failures.append((system.names[int(asked[0])], str(error)))
        return
    work.low[asked], work.high[asked] = found.low, found.high


def is_network(system: System) -> bool:
    """Whether every linear bound is a whole number: each cell in at most two relations, with opposite signs.

    Relations may be multiplied by -1 for that (two-colouring); then the matrix is totally unimodular (Heller and
    Tompkins, 1956).
    """
    places: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for number, relation in enumerate(system.relations):
        for cell, coefficient in zip(relation.cells, relation.coefficients, strict=True):
            if abs(coefficient) != 1 or not _all_whole((relation.low, relation.high)):
                return False
            places[cell].append((number, coefficient))
    links: dict[int, list[tuple[int, bool]]] = defaultdict(list)
    for found in places.values():
        if len(found) > 2:
            return False
        if len(found) == 2:
            (first, one), (second, other) = found
            links[first].append((second, one == other))
            links[second].append((first, one == other))
    return _two_colours(len(system.relations), links) and bool(system.whole.all())


def _two_colours(size: int, links: dict[int, list[tuple[int, bool]]]) -> bool:
    """Whether relations can be flipped so that linked ones differ (True) or agree (False) as asked."""
    flipped: dict[int, bool] = {}
    for start in range(size):
        if start in flipped:
            continue
        flipped[start], queue = False, [start]
        while queue:
            here = queue.pop()
            for there, differ in links[here]:
                wanted = flipped[here] != differ
                if there not in flipped:
                    flipped[there] = wanted
                    queue.append(there)
                elif flipped[there] != wanted:
                    return False
    return True


def _all_whole(numbers: Iterable[float]) -> bool:
    return all(math.isinf(number) or abs(number - round(number)) <= GAP for number in numbers)


def _up(value: float, slack: float) -> float:
    return value if math.isinf(value) else float(math.ceil(value - slack))


def _down(value: float, slack: float) -> float:
    return value if math.isinf(value) else float(math.floor(value + slack))
