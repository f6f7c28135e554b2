"""Why a withheld number can be worked out, in a line a reader can check with a pencil."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from pipelines.audit.table_relations import Puzzle, number
from pipelines.disclosure.solver import Model
from pipelines.disclosure.system import EXACT, Indexes, Relation, components, part

LINKED_PROOFS = 60
"""Cells whose proof takes several sums at once that are explained."""

_TERMS = 8
"""Numbers of a subtraction that are written out."""

_NAMES = 4
"""Sums that are named where several work together."""


@dataclass
class Subtraction:
    """Cells found by plain subtraction, one after the other.

    Attributes:
        values: what is known in the end (NaN: still open), by position.
        steps: relation that gave a cell, by position, in the order found.
    """

    values: np.ndarray
    steps: dict[int, Relation] = field(default_factory=dict)


def subtract(found: Puzzle) -> Subtraction:
    """Fill every sum with one open cell until there is none left."""
    result = Subtraction(np.where(found.published, found.system.known_low, np.nan))
    equations = [relation for relation in found.system.relations if relation.low == relation.high]
    of_cell: dict[int, list[int]] = {}
    opened = []
    for at, relation in enumerate(equations):
        free = {cell for cell in relation.cells if np.isnan(result.values[cell])}
        opened.append(free)
        for cell in free:
            of_cell.setdefault(cell, []).append(at)
    waiting = [at for at, free in enumerate(opened) if len(free) == 1]
    for at in waiting:
        if len(opened[at]) != 1:
            continue
        cell = next(iter(opened[at]))
        result.values[cell] = _solved(equations[at], cell, result.values)
        result.steps[cell] = equations[at]
        for other in of_cell[cell]:
            opened[other].discard(cell)
            if len(opened[other]) == 1:
                waiting.append(other)  # the list grows while it is read
    return result


def _solved(relation: Relation, cell: int, values: np.ndarray) -> float:
    total, own = relation.low, 1.0
    for other, coefficient in zip(relation.cells, relation.coefficients, strict=True):
        if other == cell:
            own = coefficient
        else:
            total -= coefficient * float(values[other])
    return total / own + 0.0


class Proofs:
    """Explains cells; keeps the models it needs."""

    def __init__(self, found: Puzzle) -> None:
        """Subtract once for all cells."""
        self.found = found
        self.subtraction = subtract(found)
        self.left = LINKED_PROOFS
        self._groups: dict[int, Indexes] | None = None
        self._models: dict[int, tuple[Model, Indexes, list[Relation]]] = {}

    def of(self, position: int, high: float) -> str:
        """One German line for a cell whose upper end is `high`; '' if there is none to give."""
        if position in self.subtraction.steps:
            return self._by_subtraction(position)
        if self.left <= 0 or not np.isfinite(high):
            return ""
        self.left -= 1
        return self._by_linking(position, high)

    def _by_subtraction(self, position: int) -> str:
        relation, values = self.subtraction.steps[position], self.subtraction.values
        if len(relation.cells) > _TERMS:
            return relation.label
        first = relation.cells[0]
        parts = [cell for cell in relation.cells[1:] if cell != position]
        if position == first:
            sum_ = " + ".join(number(float(values[cell])) for cell in parts)
        else:
            sum_ = " − ".join(number(float(values[cell])) for cell in (first, *parts))
        before = [cell for cell in relation.cells if cell != position and cell in self.subtraction.steps]
        after = "; davor ist ebenso errechnet: " + ", ".join(self.found.name(cell) for cell in before[:3])
        return f"{relation.label}: {sum_} = {number(float(values[position]))}{after if before else ''}"

    def _by_linking(self, position: int, high: float) -> str:
        """The relations with a price in the linear model: together they prove the upper end (duality)."""
        model, cells, relations = self._model(position)
        extreme = model.maximum(int(np.searchsorted(cells, position)))
        if extreme.solution is None or np.floor(extreme.value + EXACT) > high + EXACT:
            return "folgt erst daraus, dass Fallzahlen ganze Zahlen sind"
        duals = model.row_duals()
        used = [relation for relation, dual in zip(relations, duals, strict=True) if abs(dual) > EXACT]
        if len(used) == 1 and used[0].low == used[0].high:
            return self._in_one(used[0], model)
        more = f" und {len(used) - _NAMES} weitere" if len(used) > _NAMES else ""
        labels = "; ".join(relation.label for relation in used[:_NAMES])
        return f"aus {len(used)} Summen zusammen: {labels}{more}" if used else ""

    @staticmethod
    def _in_one(relation: Relation, model: Model) -> str:
        """One sum of open cells and their smallest values (the relation is that of the part: open cells only)."""
        least = {float(model.lower[cell]) for cell in relation.cells}
        if set(relation.coefficients) != {1.0} or len(least) > 1 or len(relation.cells) < 2:
            return f"aus einer Summe: {relation.label}"
        text = f"die {len(relation.cells)} offenen Zellen ergeben zusammen {number(relation.high)}"
        return f"{relation.label}: {text}, und jede ist mindestens {number(least.pop())}"

    def _model(self, position: int) -> tuple[Model, Indexes, list[Relation]]:
        system, published = self.found.system, self.found.published
        if self._groups is None:
            self._groups = {int(cell): group for group in components(system, published) for cell in group}
        cells = self._groups[position]
        first = int(cells[0])
        if first not in self._models:
            own = part(system, cells, published)
            self._models = {first: (Model(own.lower, own.upper, own.relations), cells, own.relations)}
        return self._models[first]
