"""Cheapest safe patterns with proof: cutting planes after Fischetti and Salazar (Management Science, 2001).

The master program chooses suppressed cells y (0 or 1) at the least weight. For a requirement that a choice leaves
unmet, the duals of the attacker's program give an inequality that every safe pattern satisfies: for any multipliers
`l` of the rows and `d = e_p - M' l`, the attacker's maximum of cell p is at most

    C + sum over free i of [max(d_i, 0) * (upper_i - high_i) + max(-d_i, 0) * (low_i - lower_i)] * y_i

where C collects rows, closed cells and what publishing tells; so the sum has to reach `need - C`. No true value of a
closed cell is used. Each coefficient may be cut down to the right-hand side, because y is 0 or 1. That is where most of
the strength comes from, and therefore the multipliers are looked for with movements limited to what the requirement
asks for; the inequality itself is always computed with the true bounds, so that it is valid for any multipliers.

All limits count rounds and nodes. What is returned as bound is proven either way.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np

from pipelines.disclosure import heuristic
from pipelines.disclosure.block import Block, Need
from pipelines.disclosure.heuristic import State
from pipelines.disclosure.linear import Program, Sparse, Whole, positions, solve_whole
from pipelines.disclosure.solver import Contradiction, SolverFailed
from pipelines.disclosure.system import INFINITE, Flags, Floats

NOISE = 1e-9
"""Multipliers smaller than this are rounding noise of the solver."""

SLIGHT = 1e-5
"""Cuts with a smaller right-hand side (relative to their constants) could be rounding noise and are not used."""

VIOLATED = 1e-4
"""Cuts are added if violated by at least this share of their right-hand side."""


ATTACKS = 15_000
"""Attacker programs spent on the relaxation of a large block, about."""

RELAXED_ROUNDS = (15, 100)
"""Fewest and most rounds of the relaxation of a large block."""

LINK_ROUNDS = 10
"""Rounds of cuts without attacker between two rounds with one."""


@dataclass(frozen=True)
class Limits:
    """How much work: rounds of the relaxation, integer programs, nodes of each."""

    rounds: int = 60
    programs: int = 60
    nodes: int = 3_000


@dataclass(frozen=True)
class Cut:
    """`sum values * y[cells] >= least`."""

    cells: tuple[int, ...]
    values: tuple[float, ...]
    least: float


class Attacker:
    """Maximises and minimises cells of a block under a pattern, and turns failed attempts into cuts.

    Args:
        block: n cells.
    """

    def __init__(self, block: Block) -> None:
        self.block = block
        self.rise = np.where(block.free, block.upper - np.where(block.free, block.high, 0.0), 0.0)
        self.fall = np.where(block.free, np.where(block.free, block.low, 0.0) - block.lower, 0.0)
        rows = Sparse()
        for row in block.rows:
            rows.add(row.cells, row.values, row.low, row.high)
        self._owner, self._cells, self._values, self._row_low, self._row_high = block.flat
        self._all = positions(np.arange(len(block)))
        self._lower, self._upper = block.low.copy(), block.high.copy()
        self._program = Program(np.zeros(len(block)), block.low, block.high, rows, primal=True)
        self._cost, self._resting = -1, False
        self._reach: dict[Need, float] = {}

    def choose(self, share: Floats, reach: float = INFINITE) -> None:
        """Let free cells move by a share (n, 0 to 1) of their room; the room is at most `reach`."""
        self._resting = False
        with np.errstate(invalid="ignore"):
            rise = np.where(share > 0, np.minimum(self.rise, reach) * share, 0.0)
            fall = np.where(share > 0, np.minimum(self.fall, reach) * share, 0.0)
        self._lower, self._upper = self.block.low - fall, self.block.high + rise
        self._program.bounds(self._all, self._lower, self._upper)

    def reach(self, need: Need) -> float:
        """How far a need is from being met if nothing but the closed cells is suppressed."""
        if need not in self._reach:
            if not self._resting:
                self.choose(np.zeros(len(self.block)))
                self._resting = True
            got = self._attempt(need)[0]
            self._reach[need] = max(need.value - got if need.kind != "low" else got - need.value, 0.0)
        return self._reach[need]

    def cut(self, need: Need) -> Cut | None:
        """A cut for a need that the chosen movements leave unmet; None if they meet it.

        A cut that says nothing (`least` 0) stands for: unmet, but nothing usable learned.
        """
        got, multipliers = self._attempt(need)
        short = got - need.value if need.kind == "low" else need.value - got
        if short <= 1e-6 * max(1.0, abs(need.value)):
            return None
        constant, values = 0.0, np.zeros(len(self.block))
        for sign, rows in multipliers:
            more, coefficients = self._limit(need.cell, sign, rows)
            constant, values = constant + more, values + coefficients
        least = (-need.value if need.kind == "low" else need.value) - constant
        least -= NOISE * max(1.0, abs(constant))  # a bound must not be too strong by rounding
        if not np.isfinite(least) or least < SLIGHT * max(1.0, abs(constant)):
            return Cut((), (), 0.0)
        cells = np.flatnonzero(values > NOISE)
        capped = np.minimum(values[cells] / least, 1.0)
        return Cut(tuple(cells.tolist()), tuple(capped.tolist()), 1.0)

    def _attempt(self, need: Need) -> tuple[float, list[tuple[float, Floats]]]:
        """Value reached (for `open`: width), and per attempt its direction and row multipliers.

        The search is capped a little beyond what is needed, so that it is never unbounded.
        """
        cell, value = need.cell, need.value
        if need.kind == "high":
            top, rows = self._extreme(cell, 1.0, -INFINITE, value)
            return top, [(1.0, rows)]
        if need.kind == "low":
            bottom, rows = self._extreme(cell, -1.0, value, INFINITE)
            return bottom, [(-1.0, rows)]
        somewhere = self._feasible(cell)
        top, up = self._extreme(cell, 1.0, -INFINITE, somewhere + value)
        bottom, down = self._extreme(cell, -1.0, somewhere - value, INFINITE)
        return top - bottom, [(1.0, up), (-1.0, down)]

    def _feasible(self, cell: int) -> float:
        if self._cost >= 0:  # with the cost of the question before, a cell without upper end has no optimum
            self._program.costs(positions([self._cost]), np.zeros(1))
            self._cost = -1
        found = self._program.solve()
        if found is None:
            raise Contradiction("the published numbers contradict each other")
        return float(found.values[cell])

    def _extreme(self, cell: int, sign: float, low: float, high: float) -> tuple[float, Floats]:
        if self._cost >= 0:
            self._program.costs(positions([self._cost]), np.zeros(1))
        self._cost = cell
        self._program.costs(positions([cell]), np.array([-sign]))
        lower, upper = float(self._lower[cell]), float(self._upper[cell])
        # a need beyond the cell's own bounds is not met, whatever the others do
        self._program.bound(cell, max(lower, min(low, upper)), min(upper, max(high, lower)))
        found = self._program.solve()
        self._program.bound(cell, lower, upper)
        if found is None:
            # already beyond the cap with everything else at rest: met
            return (max(high, lower), np.zeros(0)) if sign > 0 else (min(low, upper), np.zeros(0))
        return float(found.values[cell]), -found.row_duals

    def _limit(self, cell: int, sign: float, rows: Floats) -> tuple[float, Floats]:
        """C and n coefficients so that `sign * x[cell] <= C + coefficients @ y` for every pattern y.

        Valid for any row multipliers; those of the wrong sign make C infinite.
        """
        block = self.block
        rows = np.where(np.abs(rows) > NOISE, rows, 0.0)
        direction = -np.bincount(self._cells, weights=self._values * rows[self._owner], minlength=len(block))
        direction[cell] += sign
        direction = np.where(np.abs(direction) > 100 * NOISE, direction, 0.0)
        up, down = direction > 0, direction < 0
        constant = float((rows[rows > 0] * self._row_high[rows > 0]).sum())
        constant += float((rows[rows < 0] * self._row_low[rows < 0]).sum())
        constant += float((direction[up] * block.high[up]).sum() + (direction[down] * block.low[down]).sum())
        values = np.zeros(len(block))
        values[up] = direction[up] * self.rise[up]
        values[down] = -direction[down] * self.fall[down]
        return constant, values


class Master:
    """The relaxation of choosing cells: fractional y under all cuts found so far."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.cells = np.flatnonzero(block.free)
        self._place = {int(cell): place for place, cell in enumerate(self.cells)}
        self.weight = block.weight[self.cells]
        self.rows = Sparse()
        size = len(self.cells)
        self.program = Program(self.weight, np.zeros(size), np.ones(size), Sparse())
        self._seen: set[Cut] = set()

    def add(self, cuts: list[Cut]) -> int:
        """Add cuts; returns how many were new."""
        fresh = Sparse()
        for cut in cuts:
            if cut not in self._seen:
                self._seen.add(cut)
                for rows in (fresh, self.rows):
                    rows.add([self._place[cell] for cell in cut.cells], cut.values, cut.least)
        self.program.add(fresh)
        return len(fresh)

    def relaxed(self) -> tuple[float, Floats, Floats]:
        """Bound, shares of all n cells, reduced costs of the free cells.

        Raises:
            SolverFailed: no choice satisfies the cuts (they would be wrong: a safe pattern is known).
        """
        found = self.program.solve()
        if found is None:
            raise SolverFailed("cuts contradict each other")
        return found.objective, self.spread(np.clip(found.values, 0.0, 1.0)), found.reduced

    def spread(self, values: Floats) -> Floats:
        """Values of the free cells as values of all cells."""
        share = np.zeros(len(self.block))
        share[self.cells] = values
        return share

    def whole(self, fixed: Flags, ceiling: float, grid: float, nodes: int) -> Whole:
        """Cheapest choice in whole numbers with a weight up to `ceiling`; `fixed` free cells stay published."""
        rows = Sparse(
            self.rows.start[:], self.rows.columns[:], self.rows.values[:], self.rows.low[:], self.rows.high[:]
        )
        rows.add(range(len(self.cells)), self.weight.tolist(), -INFINITE, ceiling)
        upper, whole = np.where(fixed, 0.0, 1.0), np.ones(len(self.cells), dtype=bool)
        gap = max(0.9 * grid, 1e-6)
        return solve_whole(self.weight, np.zeros(len(upper)), upper, rows, whole, nodes=nodes, gap=gap)


def solve(state: State, limits: Limits = Limits()) -> tuple[float, bool]:
    """Improve a safe pattern to the cheapest one, in place.

    Args:
        state: a safe pattern; replaced by a cheaper one where one is found.
        limits: how much work.

    Returns:
        A proven lower bound of the weight, and whether the pattern is proven to be a cheapest one.
    """
    if not state.block.free.any():
        return 0.0, True
    return _Search(state, limits).run()


def relax(state: State) -> tuple[float, Floats]:
    """The relaxation of a large block, with an amount of work that does not grow with its requirements.

    Returns:
        A proven lower bound of the weight of any safe pattern, and the share (n, 0 to 1) to which the relaxation
        suppresses each cell: a good guide for the heuristic.
    """
    if not state.block.free.any():
        return 0.0, np.zeros(len(state.block))
    rounds = min(max(RELAXED_ROUNDS[0], ATTACKS // max(1, len(state.block.needs))), RELAXED_ROUNDS[1])
    search = _Search(state, Limits(rounds=rounds))
    search.relax()
    return search.bound, search.share


class _Search:
    """Relaxation, then integer programs, cuts from both."""

    def __init__(self, state: State, limits: Limits) -> None:
        self.state, self.limits = state, limits
        self.block = state.block
        self.master = Master(self.block)
        self.attacker = Attacker(self.block)
        self.grid = _grid(self.master.weight)
        self.bound, self.relaxed = 0.0, 0.0
        self.share, self.reduced = np.zeros(len(self.block)), np.zeros(len(self.master.cells))
        self.links = _Links(self.block)
        needs = ((self.attacker.reach(need), need) for need in self.block.needs)
        # sorted, so that the attacker's bounds change as rarely as possible
        self.unmet = sorted(((reach, need) for reach, need in needs if reach > 0), key=lambda pair: pair[0])

    def run(self) -> tuple[float, bool]:
        """Bound, and whether the state's pattern is proven cheapest."""
        self.relax()
        for _ in range(self.limits.programs):
            if self._closed():
                return self.state.weight, True
            ceiling = self.state.weight - (self.grid or 1e-6 * max(1.0, self.state.weight))
            found = self.master.whole(self._useless(), ceiling + 1e-7, self.grid, self.limits.nodes)
            if found.infeasible:
                return self.state.weight, True
            self._raise(min(found.bound, self.state.weight))
            if found.values is None or not found.complete:
                break
            pattern = self.master.spread(found.values) > 0.5
            known = len(self.master.rows), self.state.weight
            self._learn(pattern)
            if known == (len(self.master.rows), self.state.weight):
                break  # nothing learned: the next program would be the same
        return min(self.bound, self.state.weight), self._closed()

    def relax(self) -> None:
        """Cuts for fractional choices, until none is violated."""
        self.master.add(self.links.required({need.cell for _, need in self.unmet}))
        for _ in range(self.limits.rounds):
            self._choose()
            for _ in range(LINK_ROUNDS):
                if self._closed() or not self.master.add(self.links.violated(self.share)):
                    break
                self._choose()
            if self._closed() or not self.master.add(self._violated(self.share)):
                return
        self._choose()

    def _choose(self) -> None:
        """Solve the relaxation under the cuts so far."""
        self.relaxed, self.share, self.reduced = self.master.relaxed()
        self._raise(self.relaxed)

    def _violated(self, share: Floats) -> list[Cut]:
        cuts, chosen = [], 0.0
        for reach, need in self.unmet:
            if reach != chosen:
                self.attacker.choose(share, reach)
                chosen = reach
            cut = self.attacker.cut(need)
            if cut is not None and cut.least > 0 and _sum(cut, share) < cut.least - VIOLATED:
                cuts.append(cut)
        return cuts

    def _learn(self, pattern: Flags) -> None:
        """Take over a pattern if it is safe; else add the cuts it violates, and try to make it safe cheaply."""
        share = pattern.astype(float)
        cuts = self._violated(share)
        self.attacker.choose(share)
        unmet = [cut for need in self.block.needs if (cut := self.attacker.cut(need)) is not None]
        # cuts of limited movement are stronger, those of unlimited movement are certain to be violated
        cuts += [cut for cut in unmet if cut.least > 0]
        if not self.master.add(cuts) and unmet:
            self.master.add([self._another(pattern)])
        # what made it cheaper is a good start even where it is not safe
        other = heuristic.build(self.block, pattern)
        linear = not unmet and not (other.pattern & ~pattern).any()
        heuristic.clean(other)
        heuristic.settle(other)
        if linear and (other.pattern & ~pattern).any():
            self.master.add([self._another(pattern)])  # safe, but not against whole numbers
        if not other.unmet and other.weight < self.state.weight - 1e-9:
            self.state.pattern, self.state.witnesses = other.pattern, other.witnesses

    def _another(self, pattern: Flags) -> Cut:
        """A safe pattern needs a cell outside of an unsafe one: fewer suppressed cells are never safer."""
        outside = np.flatnonzero(self.block.free & ~pattern)
        return Cut(tuple(outside.tolist()), (1.0,) * len(outside), 1.0)

    def _raise(self, bound: float) -> None:
        if self.grid:
            bound = np.ceil(bound / self.grid - 1e-4) * self.grid
        self.bound = max(self.bound, float(bound))

    def _closed(self) -> bool:
        return self.bound >= self.state.weight - 1e-6 * max(1.0, self.state.weight)

    def _useless(self) -> Flags:
        """Free cells that no pattern cheaper than the known one can suppress (reduced costs of the relaxation)."""
        better = self.state.weight - (self.grid or 0.0)
        return self.relaxed + self.reduced > better + 1e-5 * max(1.0, better)


class _Links:
    """Cuts that need no attacker: a suppressed cell alone in an equation of known numbers is no secret."""

    def __init__(self, block: Block) -> None:
        self.block = block
        open_cells = ~block.exact  # closed, or shown as an interval
        rows = [set(row.cells) for row in block.rows if row.low == row.high]
        self.plain = [sorted(row) for row in rows if not any(open_cells[cell] for cell in row)]
        self.single = [sorted(row) for row in rows if sum(bool(open_cells[cell]) for cell in row) == 1]

    def required(self, needed: set[int]) -> list[Cut]:
        """For each cell with an unmet need that is the only unknown one of an equation: another one is suppressed."""
        cuts = []
        for row in self.single:
            if any(cell in needed for cell in row):
                others = [cell for cell in row if self.block.free[cell]]
                cuts.append(Cut(tuple(others), (1.0,) * len(others), 1.0))
        return cuts

    def violated(self, share: Floats) -> list[Cut]:
        """Free cells that are suppressed more than all others of an equation together.

        Not every safe pattern keeps this, but every cheapest one does: such a cell protects nothing.
        """
        cuts = []
        for row in self.plain:
            shares = share[row]
            total, top = float(shares.sum()), int(shares.argmax())
            if shares[top] > total - shares[top] + 1e-3 and self.block.free[row[top]]:
                others = [cell for cell in row if self.block.free[cell] and cell != row[top]]
                cuts.append(Cut((*others, row[top]), (1.0,) * len(others) + (-1.0,), 0.0))
        return cuts


def _sum(cut: Cut, share: Floats) -> float:
    return float(np.array(cut.values) @ share[list(cut.cells)]) if cut.cells else 0.0


def _grid(weights: Floats) -> float:
    """Largest number all weights are multiples of (0: none found); every pattern's weight is one too."""
    for scale in (1, 2, 4, 10, 20, 100, 1000):
        scaled = weights * scale
        if (np.abs(scaled - np.round(scaled)) < 1e-9).all() and len(scaled):
            return gcd(*(int(value) for value in np.round(scaled))) / scale
    return 0.0
