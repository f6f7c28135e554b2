"""A linear program that is solved again and again with other bounds, costs and further rows (HiGHS).

`solver.Model` answers questions about single cells of one system; the protector changes bounds and costs between its
questions. Same discipline: every status other than the expected ones raises, limits count iterations and nodes and
never seconds (a result must not depend on the machine), the number of threads is never set.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import highspy
import numpy as np
import numpy.typing as npt

from pipelines.disclosure.solver import SolverFailed, engine, set_option
from pipelines.disclosure.system import INFINITE, Flags, Floats

ITERATIONS = 2_000_000
"""Simplex iterations of one solve; more means that something is wrong, and raises."""

DUAL, PRIMAL = 1, 4
"""Simplex strategies of HiGHS: after changed bounds or new rows, and after changed costs."""

Positions = npt.NDArray[np.int32]

_STATUS = highspy.HighsModelStatus
_NO_SOLUTION = (_STATUS.kInfeasible, _STATUS.kUnboundedOrInfeasible)


@dataclass
class Sparse:
    """Rows `low <= values @ x[columns] <= high`, row by row."""

    start: list[int] = field(default_factory=lambda: [0])
    columns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, columns: Iterable[int], values: Iterable[float], low: float, high: float = INFINITE) -> None:
        """Append one row."""
        self.columns.extend(columns)
        self.values.extend(values)
        self.start.append(len(self.columns))
        self.low.append(low)
        self.high.append(high)

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.low)


@dataclass(frozen=True)
class Solution:
    """An optimum: objective, n values, m row duals, n reduced costs (HiGHS's signs; it minimises)."""

    objective: float
    values: Floats
    row_duals: Floats
    reduced: Floats


@dataclass(frozen=True)
class Whole:
    """What an integer program came to: the best values found (None: none found) and a proven bound of the objective.

    `infeasible` means proven: there is none. `complete` means proven optimal (or infeasible).
    """

    values: Floats | None
    bound: float
    complete: bool
    infeasible: bool = False


def _engine(cost: Floats, lower: Floats, upper: Floats, rows: Sparse, whole: Flags | None) -> highspy.Highs:
    start, columns = np.array(rows.start, dtype=np.int32), np.array(rows.columns, dtype=np.int32)
    matrix = (start, columns, np.array(rows.values, dtype=float))
    highs = engine(cost, (lower, upper), matrix, (np.array(rows.low), np.array(rows.high)), whole)
    set_option(highs, "parallel", "off")
    return highs


class Program:
    """Minimise `cost @ x` with `lower <= x <= upper` and rows; keeps its basis between solves.

    Args:
        cost: n.
        lower: n.
        upper: n.
        rows: m rows.
    """

    def __init__(self, cost: Floats, lower: Floats, upper: Floats, rows: Sparse, *, primal: bool = False) -> None:
        self._highs = _engine(cost, lower, upper, rows, None)
        set_option(self._highs, "simplex_strategy", PRIMAL if primal else DUAL)
        set_option(self._highs, "presolve", "off")  # a presolved model has no basis to start the next solve from
        set_option(self._highs, "simplex_iteration_limit", ITERATIONS)
        self.size = len(cost)

    def bounds(self, columns: Positions, lower: Floats, upper: Floats) -> None:
        """Replace bounds of some columns."""
        self._done(self._highs.changeColsBounds(len(columns), columns, lower, upper))

    def bound(self, column: int, lower: float, upper: float) -> None:
        """Replace the bounds of one column."""
        self._done(self._highs.changeColBounds(column, lower, upper))

    def costs(self, columns: Positions, cost: Floats) -> None:
        """Replace costs of some columns."""
        self._done(self._highs.changeColsCost(len(columns), columns, cost))

    def add(self, rows: Sparse) -> None:
        """Append rows."""
        if len(rows):
            self._done(
                self._highs.addRows(
                    len(rows),
                    np.array(rows.low),
                    np.array(rows.high),
                    len(rows.columns),
                    np.array(rows.start[:-1], dtype=np.int32),
                    np.array(rows.columns, dtype=np.int32),
                    np.array(rows.values, dtype=float),
                )
            )

    def solve(self) -> Solution | None:
        """The optimum, or None if no values keep bounds and rows.

        Callers only ask bounded objectives, so `unbounded or infeasible` is infeasible.

        Raises:
            SolverFailed: any other state.
        """
        status = self._run()
        if status in _NO_SOLUTION:
            return None
        if status != _STATUS.kOptimal:
            raise SolverFailed(f"solver ended with status {status}")
        found = self._highs.getSolution()
        values = np.array(found.col_value, dtype=float)
        if len(values) != self.size or not np.isfinite(values).all():
            raise SolverFailed("the solver returned no solution")
        return Solution(
            float(self._highs.getInfo().objective_function_value),
            values,
            np.array(found.row_dual, dtype=float),
            np.array(found.col_dual, dtype=float),
        )

    def _run(self) -> highspy.HighsModelStatus:
        """Solve; what ends undecided from the last basis is solved once more from nothing."""
        self._highs.run()
        status = self._highs.getModelStatus()
        if status == _STATUS.kOptimal or status in _NO_SOLUTION:
            return status
        self._highs.clearSolver()
        self._highs.run()
        return self._highs.getModelStatus()

    @staticmethod
    def _done(status: highspy.HighsStatus) -> None:
        if status == highspy.HighsStatus.kError:
            raise SolverFailed("change of the model not accepted by the solver")


def solve_whole(
    cost: Floats, lower: Floats, upper: Floats, rows: Sparse, whole: Flags, *, nodes: int, gap: float = 1e-6
) -> Whole:
    """Minimise with whole columns, up to a number of branch-and-bound nodes.

    Args:
        cost: n.
        lower: n.
        upper: n.
        rows: m rows.
        whole: n flags of whole columns.
        nodes: give up after so many nodes.
        gap: the search may stop once the objective is proven to be within this of the optimum.

    Raises:
        SolverFailed: any state but optimal, infeasible or out of nodes.
    """
    highs = _engine(cost, lower, upper, rows, whole)
    set_option(highs, "mip_rel_gap", 0.0)
    set_option(highs, "mip_abs_gap", gap)
    set_option(highs, "mip_max_nodes", nodes)
    highs.run()
    status, info = highs.getModelStatus(), highs.getInfo()
    if status in _NO_SOLUTION:
        return Whole(None, INFINITE, complete=True, infeasible=True)
    if status not in (_STATUS.kOptimal, _STATUS.kSolutionLimit):
        raise SolverFailed(f"solver ended with status {status}")
    bound = float(info.mip_dual_bound)
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return Whole(None, bound, complete=False)
    values = np.array(highs.getSolution().col_value, dtype=float)
    return Whole(np.where(whole, np.round(values), values), bound, complete=status == _STATUS.kOptimal)


def positions(numbers: Sequence[int] | npt.NDArray[np.int64]) -> Positions:
    """Column numbers as the solver wants them."""
    return np.asarray(numbers, dtype=np.int32)
