"""One model of bounds and relations, asked many times for the extremes of single cells (HiGHS).

Only the cost of one cell changes between two questions, so each solve starts from the basis of the one before. Every
answer is checked: the state the solver ended in, and that its solution keeps bounds and relations. Whatever is not
proven raises an exception; a plausible number from a failed solve must never become a finding.

The number of threads is never set: HiGHS fails (and returns zeros) where another library started its scheduler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from pipelines.disclosure.system import INFINITE, Flags, Floats, Relation

TOLERANCE = 1e-6
"""Two values of a cell closer than this are one."""

RESIDUAL = 1e-5
"""Allowed residual of a relation or bound in a solution (HiGHS promises 1e-6 or better per cell)."""

_BINARY = 1e-9
"""The same relative to the numbers in a relation: sums of binary fractions."""

FAR = 1e7
"""A cell that the solver calls unbounded has to be able to reach this beyond its finite bound (or zero)."""

MIP_SECONDS = 120.0
"""Longest integer solve; longer ones end as a failure, never as an answer."""

Matrix = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Sparse rows: where each starts, columns (both int32), values."""

_STATUS = highspy.HighsModelStatus
_DECIDED = (_STATUS.kOptimal, _STATUS.kInfeasible, _STATUS.kUnbounded, _STATUS.kUnboundedOrInfeasible)


class SolverFailed(Exception):
    """The solver ended in any other state than optimal: nothing may be concluded, nothing published."""


class Contradiction(SolverFailed):
    """The published numbers and the relations contradict each other (no solution exists)."""


@dataclass(frozen=True)
class Extreme:
    """Smallest or largest value of a cell.

    Attributes:
        value: the value; infinite if there is none.
        solution: n; values of all cells that attain it and keep all relations, None where the value is infinite.
    """

    value: float
    solution: Floats | None


def engine(
    cost: Floats, bounds: tuple[Floats, Floats], matrix: Matrix, rows: tuple[Floats, Floats], whole: Flags | None
) -> highspy.Highs:
    """A HiGHS model `minimise cost @ x`, bounds and rows as (low, high), matrix row by row; silent.

    Raises:
        SolverFailed: the solver did not accept it.
    """
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(cost), len(rows[0])
    model.col_cost_, (model.col_lower_, model.col_upper_) = cost, bounds
    model.row_lower_, model.row_upper_ = rows
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_, model.a_matrix_.index_, model.a_matrix_.value_ = matrix
    if whole is not None:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        model.integrality_ = [kinds[bool(flag)] for flag in whole]
    highs = highspy.Highs()
    set_option(highs, "output_flag", False)
    if highs.passModel(model) == highspy.HighsStatus.kError:
        raise SolverFailed("model not accepted by the solver")
    return highs


def set_option(highs: highspy.Highs, name: str, value: bool | float | str) -> None:
    """Set an option of the solver; a refused one raises SolverFailed."""
    if highs.setOptionValue(name, value) != highspy.HighsStatus.kOk:
        raise SolverFailed(f"solver option {name} not accepted")


class Model:
    """Cells between bounds, tied by relations; finds extremes of single cells.

    Args:
        lower: n; smallest possible values (may be -infinite).
        upper: n; largest possible values (may be infinite).
        relations: what holds between the cells.
        whole: n flags of the cells that have to be whole numbers; None for a linear model.

    Raises:
        Contradiction: a lower bound above its upper bound, or no solution at all.
        SolverFailed: the solver did not accept the model or failed.
    """

    def __init__(self, lower: Floats, upper: Floats, relations: Sequence[Relation], whole: Flags | None = None) -> None:
        """Build the model and find one solution, so that later `no solution` can only mean `unbounded`."""
        self.lower, self.upper = np.asarray(lower, dtype=float), np.asarray(upper, dtype=float)
        self._rows = _Rows.of(relations)
        numbers = (self.lower, self.upper, self._rows.values, self._rows.low, self._rows.high)
        if any(np.isnan(values).any() for values in numbers):
            raise SolverFailed("a bound or coefficient is no number")
        crossed = np.flatnonzero(self.lower > self.upper + TOLERANCE)
        if len(crossed):
            raise Contradiction(f"cell {crossed[0]}: lower bound above upper bound")
        self.upper = np.maximum(self.upper, self.lower)
        self.whole = whole if whole is not None and whole.any() else None
        self._costs: list[int] = []
        self._highs = self._load()
        first = self._solve()
        if first is None:
            raise SolverFailed("a model without objective cannot be unbounded")
        self.first: Floats = first

    def maximum(self, cell: int) -> Extreme:
        """Largest value of a cell.

        Raises:
            SolverFailed: the solver ended in any state but optimal or unbounded.
        """
        return self._extreme(cell, 1.0)

    def minimum(self, cell: int) -> Extreme:
        """Smallest value of a cell; raises like `maximum`."""
        return self._extreme(cell, -1.0)

    def row_duals(self) -> Floats:
        """Dual value per relation of the last question (linear models): of `max x` or of `max -x`."""
        return -np.asarray(self._highs.getSolution().row_dual, dtype=float)

    def _extreme(self, cell: int, sign: float) -> Extreme:
        for old in self._costs:
            self._highs.changeColCost(old, 0.0)
        self._highs.changeColCost(cell, -sign)  # HiGHS minimises
        self._costs = [cell]
        solution = self._solve()
        if solution is None:
            self._reach_far(cell, sign)
            return Extreme(sign * INFINITE, None)
        return Extreme(float(solution[cell]) + 0.0, solution)  # never -0

    def _reach_far(self, cell: int, sign: float) -> None:
        """Confirm `unbounded` by a checked solution: a failed solve must not pass for a safe cell."""
        low, high = self.lower[cell], self.upper[cell]
        limit = (low if np.isfinite(low) else 0.0) + FAR if sign > 0 else (high if np.isfinite(high) else 0.0) - FAR
        bounds = (low, min(high, limit)) if sign > 0 else (max(low, limit), high)
        self._highs.changeColBounds(cell, *bounds)
        far = self._solve()
        self._highs.changeColBounds(cell, low, high)
        if far is None or abs(float(far[cell]) - limit) > 1.0:
            raise SolverFailed("the solver called a cell unbounded that does not go far")

    def _load(self) -> highspy.Highs:
        rows = self._rows
        highs = engine(
            np.zeros(len(self.lower)), (self.lower, self.upper), rows.matrix, (rows.low, rows.high), self.whole
        )
        if self.whole is not None:
            # the default relative gap of 1e-4 would be 25 people in a city of 250,000
            set_option(highs, "mip_rel_gap", 0.0)
            set_option(highs, "mip_abs_gap", 1e-6)
        return highs

    def _solve(self) -> Floats | None:
        """The values of all cells at the optimum; None if the objective has none."""
        if self.whole is not None:
            # the clock of an instance runs on over its solves
            self._highs.setOptionValue("time_limit", self._highs.getRunTime() + MIP_SECONDS)
        status = self._run()
        if status == _STATUS.kInfeasible:
            raise Contradiction("no values satisfy all relations")
        if status == _STATUS.kUnboundedOrInfeasible and not self._costs:
            raise Contradiction("no values satisfy all relations")
        if status in (_STATUS.kUnbounded, _STATUS.kUnboundedOrInfeasible):
            return None  # a solution exists: it was found when the model was built
        if status != _STATUS.kOptimal:
            raise SolverFailed(f"solver ended with status {status}")
        solution = np.asarray(self._highs.getSolution().col_value, dtype=float)
        if self.whole is not None:
            solution = np.where(self.whole, np.round(solution), solution)
        self.verify(solution)
        return solution

    def _run(self) -> highspy.HighsModelStatus:
        """Solve; a linear model that ends undecided from its last basis is solved once more from nothing.

        Measured: about 1 of 50,000 solves, all of cells without an upper end, and all of them decided the second time.
        """
        self._highs.run()
        status = self._highs.getModelStatus()
        if status in _DECIDED or self.whole is not None:
            return status
        self._highs.clearSolver()
        self._highs.run()
        return self._highs.getModelStatus()

    def verify(self, solution: Floats) -> None:
        """Check that values keep bounds and relations.

        Raises:
            SolverFailed: they do not.
        """
        if len(solution) != len(self.lower) or not np.isfinite(solution).all():
            raise SolverFailed("the solver returned no solution")
        slack = RESIDUAL + _BINARY * np.abs(solution)
        if (solution < self.lower - slack).any() or (solution > self.upper + slack).any():
            raise SolverFailed("a solution of the solver leaves the bounds")
        self._rows.verify(solution)


@dataclass(frozen=True)
class _Rows:
    """Relations as a row-wise sparse matrix."""

    start: np.ndarray
    cells: np.ndarray
    values: Floats
    low: Floats
    high: Floats
    owner: np.ndarray

    @classmethod
    def of(cls, relations: Sequence[Relation]) -> _Rows:
        entries = [_merged(relation) for relation in relations]
        sizes = [len(entry) for entry in entries]
        return cls(
            np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
            np.array([cell for entry in entries for cell in entry], dtype=np.int32),
            np.array([value for entry in entries for value in entry.values()], dtype=float),
            np.array([relation.low for relation in relations], dtype=float),
            np.array([relation.high for relation in relations], dtype=float),
            np.repeat(np.arange(len(relations)), sizes),
        )

    @property
    def matrix(self) -> Matrix:
        return self.start, self.cells, self.values

    def verify(self, solution: Floats) -> None:
        """Raise SolverFailed unless all relations hold."""
        terms = self.values * solution[self.cells]
        sums = np.bincount(self.owner, weights=terms, minlength=len(self.low))
        scale = np.bincount(self.owner, weights=np.abs(terms), minlength=len(self.low))
        slack = RESIDUAL + _BINARY * scale
        if (sums < self.low - slack).any() or (sums > self.high + slack).any():
            raise SolverFailed("a solution of the solver breaks a relation")


def _merged(relation: Relation) -> dict[int, float]:
    """Coefficient per cell; a cell named twice counts with the sum (HiGHS refuses to see it twice)."""
    entry: dict[int, float] = {}
    for cell, coefficient in zip(relation.cells, relation.coefficients, strict=True):
        entry[cell] = entry.get(cell, 0.0) + coefficient
    return entry
