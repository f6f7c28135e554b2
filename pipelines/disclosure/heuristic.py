"""Safe patterns without proof of optimality: one linear program per requirement, then give back what is not needed.

The incremental heuristic of cell suppression (Kelly, Golden and Assad, Networks 1992; Robertson; used in all
statistical offices): for each unmet requirement the cheapest movement of values that meets it, `min sum weight *
movement`; whatever moves is suppressed and costs nothing from then on. Afterwards cells are published again, dearest
first, as long as all requirements stay met.

Every requirement has its witnesses: values that keep all relations, show every published cell as published, and meet
the requirement. A witness that does not move a cell does not care whether the cell is suppressed, so that publishing
a cell again only concerns the requirements whose witness moves it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.disclosure.block import MOVED, Block, Need, split
from pipelines.disclosure.linear import Program, Sparse, positions, solve_whole
from pipelines.disclosure.solver import Contradiction, SolverFailed
from pipelines.disclosure.system import Flags, Floats, Indexes

NODES = 20_000
"""Branch-and-bound nodes for one movement in whole numbers."""

Witness = tuple[Floats, ...]
"""Solutions (n values each) that together meet a need: one, or two for `open`."""


class Mover:
    """Cheapest movements of a block's values away from what is published.

    Columns: the values of cells that are not one known number (`base`), then per free cell its way up, then its way
    down. A cell is base + up - down.

    Args:
        block: n cells.
        usable: n flags of the free cells that may move; all free cells by default.
    """

    def __init__(self, block: Block, usable: Flags | None = None) -> None:
        self.block = block
        self.based = np.flatnonzero(block.closed | (block.low < block.high))
        self.moving = np.flatnonzero(block.free)
        self.start = np.where(block.closed | (block.low < block.high), 0.0, block.low)
        self._base = {int(cell): place for place, cell in enumerate(self.based)}
        self._way = {int(cell): len(self.based) + place for place, cell in enumerate(self.moving)}
        self.up = block.upper[self.moving] - block.high[self.moving]
        self.down = block.low[self.moving] - block.lower[self.moving]
        self._usable = np.ones(len(self.moving), dtype=bool) if usable is None else usable[self.moving].copy()
        self.cost = np.concatenate([np.zeros(len(self.based)), np.tile(block.weight[self.moving], 2)])
        self._rows = self._matrix()
        self.program = Program(self.cost, *self._bounds(), self._rows)

    def _bounds(self) -> tuple[Floats, Floats]:
        width = np.concatenate([np.where(self._usable, self.up, 0.0), np.where(self._usable, self.down, 0.0)])
        lower = np.concatenate([self.block.low[self.based], np.zeros(len(width))])
        return lower, np.concatenate([self.block.high[self.based], width])

    def _matrix(self) -> Sparse:
        rows, ways = Sparse(), len(self.moving)
        for row in self.block.rows:
            columns, values, constant = [], [], 0.0
            for cell, value in zip(row.cells, row.values, strict=True):
                if cell in self._base:
                    columns.append(self._base[cell])
                    values.append(value)
                if cell in self._way:
                    columns += [self._way[cell], self._way[cell] + ways]
                    values += [value, -value]
                constant += value * float(self.start[cell])
            rows.add(columns, values, row.low - constant, row.high - constant)
        return rows

    def price(self, cells: Flags, cost: float = 0.0) -> None:
        """Set what moving some free cells costs."""
        chosen = np.flatnonzero(cells[self.moving]) + len(self.based)
        both = np.concatenate([chosen, chosen + len(self.moving)])
        self.cost[both] = cost
        self.program.costs(positions(both), np.full(len(both), cost))

    def use(self, cell: int, allowed: bool) -> None:
        """Let one free cell move, or not."""
        place = self._way[cell] - len(self.based)
        self._usable[place] = allowed
        self.program.bound(self._way[cell], 0.0, float(self.up[place]) if allowed else 0.0)
        down = float(self.down[place]) if allowed else 0.0
        self.program.bound(self._way[cell] + len(self.moving), 0.0, down)

    def rest(self) -> Floats | None:
        """Values with the cheapest movement without any requirement; None if there are none."""
        return self._values()

    def move(self, need: Need) -> Floats | None:
        """Values that meet a `high` or `low` need with the cheapest movement; None if there are none."""
        low, high = self._demand(need)
        if low > high:
            return None
        column = self._base[need.cell]
        self.program.bound(column, low, high)
        found = self._values()
        self.program.bound(column, float(self.block.low[need.cell]), float(self.block.high[need.cell]))
        return found

    def move_whole(self, need: Need | None) -> Floats | None:
        """Like `move` (without a need: like `rest`) with whole numbers for counts."""
        lower, upper = self._bounds()
        if need is not None:
            lower[self._base[need.cell]], upper[self._base[need.cell]] = self._demand(need)
            if (lower > upper).any():
                return None
        whole = np.concatenate([self.block.whole[self.based], np.tile(self.block.whole[self.moving], 2)])
        found = solve_whole(self.cost, lower, upper, self._rows, whole, nodes=NODES)
        if found.infeasible:
            return None
        if found.values is None:
            raise SolverFailed(f"no movement in whole numbers found within {NODES} nodes")
        return self._cells(found.values)

    def _demand(self, need: Need) -> tuple[float, float]:
        low, high = float(self.block.low[need.cell]), float(self.block.high[need.cell])
        return (max(low, need.value), high) if need.kind == "high" else (low, min(high, need.value))

    def _values(self) -> Floats | None:
        found = self.program.solve()
        return None if found is None else self._cells(found.values)

    def _cells(self, columns: Floats) -> Floats:
        values = self.start.copy()
        values[self.based] += columns[: len(self.based)]
        ways = len(self.moving)
        way = columns[len(self.based) : len(self.based) + ways] - columns[len(self.based) + ways :]
        values[self.moving] += np.where(np.abs(way) > MOVED, way, 0.0)
        return values


@dataclass
class State:
    """A pattern under work.

    Attributes:
        block: cells and needs.
        pattern: n flags of suppressed free cells.
        witnesses: per need what shows that it is met (None: not met).
        rest: a solution that moves nothing.
        unmet: numbers of the needs that cannot be met.
    """

    block: Block
    pattern: Flags
    witnesses: list[Witness | None]
    rest: Floats
    unmet: list[int] = field(default_factory=list)

    @property
    def weight(self) -> float:
        """Price of the pattern."""
        return float(self.block.weight[self.pattern].sum())


def meet(mover: Mover, need: Need, rest: Floats, *, whole: bool = False) -> Witness | None:
    """Witnesses of a need with the cheapest movement, None if there are none.

    Args:
        mover: what may move.
        need: the requirement.
        rest: a solution that moves nothing.
        whole: in whole numbers.
    """
    ask = mover.move_whole if whole else mover.move
    if need.kind != "open":
        found = (rest,) if need.met_by(rest) else None
        if found is None:
            moved = ask(need)
            found = None if moved is None else (moved,)
        return found
    value = float(rest[need.cell])
    for other in (Need(need.cell, "high", value + need.value), Need(need.cell, "low", value - need.value)):
        moved = ask(other)
        if moved is not None:
            return rest, moved
    return None


def build(block: Block, start: Flags | None = None, price: Floats | None = None) -> State:
    """A pattern that meets all needs that can be met, need by need; the others are named in `unmet`.

    Args:
        block: cells and needs.
        start: n flags of free cells that are suppressed already.
        price: n; what moving a cell that is not suppressed yet costs, `block.weight` by default.
    """
    mover = Mover(block if price is None else replace(block, weight=price))
    rest = resting(block, mover)
    pattern = np.zeros(len(block), dtype=bool) if start is None else start.copy()
    mover.price(pattern)
    state = State(block, pattern, [None] * len(block.needs), rest)
    known = _Known(len(block))
    known.see(rest)
    for number, need in enumerate(block.needs):
        witness = known.witness(need) or meet(mover, need, rest)
        if witness is None:
            state.unmet.append(number)
            continue
        state.witnesses[number] = witness
        for solution in witness:
            known.see(solution)
            fresh = block.moved(solution) & ~pattern
            if fresh.any():
                pattern |= fresh
                mover.price(fresh)
    return state


def resting(block: Block, mover: Mover) -> Floats:
    """A solution that shows every free cell as published, with whole numbers for counts.

    Raises:
        SolverFailed: there is none, the published numbers contradict each other.
    """
    rest = mover.rest()
    if rest is None or block.moved(rest).any():
        raise Contradiction("the published numbers contradict each other")
    if block.is_whole(rest):
        return rest
    still = Mover(block, np.zeros(len(block), dtype=bool)).move_whole(None)
    if still is None:
        raise Contradiction("the published numbers contradict each other: no whole numbers keep all relations")
    return still


class _Known:
    """Solutions seen so far, by the cells they take highest and lowest."""

    def __init__(self, size: int) -> None:
        self.solutions: list[Floats] = []
        self.highest, self.lowest = np.full(size, -np.inf), np.full(size, np.inf)
        self.high_in, self.low_in = np.zeros(size, dtype=int), np.zeros(size, dtype=int)

    def see(self, solution: Floats) -> None:
        up, down = solution > self.highest, solution < self.lowest
        self.high_in[up] = self.low_in[down] = len(self.solutions)
        self.highest[up], self.lowest[down] = solution[up], solution[down]
        self.solutions.append(solution)

    def witness(self, need: Need) -> Witness | None:
        highest, lowest = self.solutions[self.high_in[need.cell]], self.solutions[self.low_in[need.cell]]
        if need.kind == "open":
            apart = self.highest[need.cell] - self.lowest[need.cell] >= need.value - MOVED
            return (lowest, highest) if apart else None
        best = highest if need.kind == "high" else lowest
        return (best,) if need.met_by(best) else None


def clean(state: State, price: Floats | None = None) -> None:
    """Publish suppressed cells again, dearest first, as long as all needs stay met (reverse deletion).

    Args:
        state: changed in place.
        price: n; order of cells, `block.weight` by default.
    """
    reached = np.zeros(len(state.block), dtype=bool)
    for cells, numbers, local in parts(state):
        _Cleaner(local).run(local.block.weight if price is None else price[cells])
        put_back(state, cells, numbers, local)
        reached[cells] = True
    state.pattern &= reached  # cells that hang together with no need protect nothing


def parts(state: State) -> Iterator[tuple[Indexes, list[int], State]]:
    """Parts of a state that the suppressed cells link: positions of the cells, numbers of the needs, own state."""
    block = state.block
    where = {(need.cell, need.kind): number for number, need in enumerate(block.needs)}
    for cells, local in split(block, block.exact & ~state.pattern):
        numbers = [where[int(cells[need.cell]), need.kind] for need in local.needs]
        witnesses = [None if (w := state.witnesses[n]) is None else tuple(s[cells] for s in w) for n in numbers]
        yield cells, numbers, State(local, state.pattern[cells], witnesses, state.rest[cells])


def put_back(state: State, cells: Indexes, numbers: list[int], local: State) -> None:
    """Take over pattern and witnesses of a part; the cells outside rest."""
    state.pattern[cells] = local.pattern
    for number, witness in zip(numbers, local.witnesses, strict=True):
        whole = []
        for solution in witness or ():
            values = state.rest.copy()
            values[cells] = solution
            whole.append(values)
        state.witnesses[number] = tuple(whole) if witness is not None else None


class _Cleaner:
    """Reverse deletion in one connected part."""

    def __init__(self, state: State) -> None:
        self.state, self.block = state, state.block
        block = self.block
        self.mover = Mover(block.restricted(state.pattern))
        self.rest = state.rest
        self.needed = {need.cell for need in block.needs}
        self.of_cell: list[list[int]] = [[] for _ in range(len(block))]
        self.single = [row.low == row.high for row in block.rows]
        for number, row in enumerate(block.rows):
            for cell in row.cells:
                self.of_cell[cell].append(number)
        exact = block.exact & ~state.pattern
        self.unknown = [{cell for cell in row.cells if not exact[cell]} for row in block.rows]
        self.users: list[set[int]] = [set() for _ in range(len(block))]
        self.used: dict[int, list[int]] = {}
        for number, witness in enumerate(state.witnesses):
            self._use(number, witness or ())

    def run(self, price: Floats) -> None:
        """Try all secondary cells by descending price (n)."""
        pattern = self.state.pattern
        order = sorted(np.flatnonzero(pattern).tolist(), key=lambda cell: (-price[cell], cell))
        for cell in order:
            # an interval that is shown still is no constant: such a cell stays unknown
            if self.block.low[cell] == self.block.high[cell] and self._gives_away(cell):
                continue
            if self._drop(cell):
                pattern[cell] = False
                for row in self.of_cell[cell] if self.block.low[cell] == self.block.high[cell] else ():
                    self.unknown[row].discard(cell)

    def _use(self, number: int, witness: Witness) -> None:
        for cell in self.used.pop(number, ()):
            self.users[cell].discard(number)
        moved = np.zeros(len(self.block), dtype=bool)
        for solution in witness:
            moved |= self.block.moved(solution) & self.state.pattern
        self.used[number] = np.flatnonzero(moved).tolist()
        for cell in self.used[number]:
            self.users[cell].add(number)

    def _drop(self, cell: int) -> bool:
        """Publish a cell again if every need that used it finds other witnesses."""
        touched = sorted(self.users[cell])
        self.mover.use(cell, False)
        found: list[tuple[int, Witness]] = []
        for number in touched:
            witness = meet(self.mover, self.block.needs[number], self.rest)
            if witness is None:
                self.mover.use(cell, True)
                return False
            found.append((number, witness))
        for number, witness in found:
            self.state.witnesses[number] = witness
            self._use(number, witness)
        return True

    def _gives_away(self, cell: int) -> bool:
        """Whether plain subtraction opens a cell that has a need once `cell` is published (cheap, and frequent)."""
        gone: set[int] = {cell}
        queue = deque([cell])
        while queue:
            for row in self.of_cell[queue.popleft()]:
                if not self.single[row]:
                    continue
                left = self.unknown[row] - gone
                if len(left) == 1:
                    (other,) = left
                    if other in self.needed:
                        return True
                    gone.add(other)
                    queue.append(other)
        return False


def settle(state: State) -> None:
    """Replace witnesses that are not in whole numbers; suppress more where whole numbers need it.

    Needs that cannot be met in whole numbers at all are added to `unmet`.
    """
    block = state.block
    if not block.whole.any():
        return
    doubtful = _doubtful(state)
    if not doubtful:
        return
    for cells, numbers, local in parts(state):
        if not doubtful.isdisjoint(numbers):
            mover = Mover(local.block.restricted(local.pattern))
            for place in _doubtful(local):
                local.witnesses[place] = meet(mover, local.block.needs[place], local.rest, whole=True)
            put_back(state, cells, numbers, local)
    widen(state, sorted(number for number in doubtful if not _in_whole(block, state.witnesses[number])))


def widen(state: State, numbers: list[int]) -> None:
    """Suppress more cells so that some needs are met in whole numbers; names those that cannot be in `unmet`."""
    block = state.block
    if not numbers:
        return
    mover = Mover(block)
    mover.price(state.pattern)
    for number in numbers:
        witness = meet(mover, block.needs[number], state.rest, whole=bool(block.whole.any()))
        state.witnesses[number] = witness
        if witness is None:
            state.unmet.append(number)
        for solution in witness or ():
            fresh = block.moved(solution) & ~state.pattern
            state.pattern |= fresh
            mover.price(fresh)


def _in_whole(block: Block, witness: Witness | None) -> bool:
    return witness is not None and all(block.is_whole(solution) for solution in witness)


def _doubtful(state: State) -> set[int]:
    return {number for number, witness in enumerate(state.witnesses) if not _in_whole(state.block, witness)}
