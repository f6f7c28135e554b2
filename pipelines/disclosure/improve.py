"""Large components: improve a safe pattern neighbourhood by neighbourhood (large neighbourhood search, Shaw 1998).

Everything outside of a neighbourhood stays as it is, the neighbourhood is solved by the exact method. Order, sizes and
limits are fixed, so that the result does not depend on the machine.
"""

from __future__ import annotations

import heapq

import numpy as np

from pipelines.disclosure import exact, heuristic
from pipelines.disclosure.block import Block, split
from pipelines.disclosure.heuristic import State, Witness
from pipelines.disclosure.system import Flags, Floats, Indexes

SIZES = (30, 60, 100)
"""Free cells of a neighbourhood, one pass over the block for each."""

LARGE = 1_500
"""Blocks with more cells get the first pass only: the later ones take long there and gain little."""

LIMITS = exact.Limits(rounds=20, programs=6, nodes=200)


LEANINGS = (0.02, 0.1, 0.3)
"""What a cell costs, as share of its weight, that the relaxation suppresses entirely."""


def guided(state: State, share: Floats) -> State:
    """The cheapest of a pattern and of those that the heuristic finds when it is led by the relaxation.

    Args:
        state: a safe pattern.
        share: n; how far (0 to 1) the relaxation suppresses each cell.
    """
    best = state
    for leaning in LEANINGS:
        other = heuristic.build(state.block, price=state.block.weight * (1.0 - share + leaning))
        if not other.unmet:
            heuristic.clean(other)
            if other.weight < best.weight - 1e-9:
                best = other
    return best


def improve(state: State) -> None:
    """Make a safe pattern cheaper, in place."""
    sizes = SIZES if len(state.block) <= LARGE else SIZES[:1]
    near = _Near(state.block)
    for size in sizes:
        covered = np.zeros(len(state.block), dtype=bool)
        for seed in np.flatnonzero(state.pattern).tolist():
            if covered[seed] or not state.pattern[seed]:
                continue
            region = near.region(seed, size)
            covered |= region
            _resolve(state, region)


class _Near:
    """Cells near a cell: the fewer cells an equation has, the nearer are its cells to each other."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.of_cell: list[list[int]] = [[] for _ in range(len(block))]
        for number, row in enumerate(block.rows):
            for cell in row.cells:
                self.of_cell[cell].append(number)

    def region(self, seed: int, size: int) -> Flags:
        """The `size` free cells nearest to a cell (n flags)."""
        region = np.zeros(len(self.block), dtype=bool)
        done: set[int] = set()
        queue = [(0, seed)]
        while queue and size:
            distance, cell = heapq.heappop(queue)
            if cell in done:
                continue
            done.add(cell)
            if self.block.free[cell]:
                region[cell] = True
                size -= 1
            for row in self.of_cell[cell]:
                cells = self.block.rows[row].cells
                for other in cells:
                    if other not in done:
                        heapq.heappush(queue, (distance + len(cells), other))
        return region


def _resolve(state: State, region: Flags) -> None:
    """Solve a region anew with the rest as it is; keep the outcome if it is cheaper."""
    block = state.block
    touched = [number for number, witness in enumerate(state.witnesses) if _uses(state, witness, region)]
    outside = state.pattern & ~region
    needs = [block.needs[number] for number in touched]
    sub = block.with_closed(block.closed | outside, block.free & region, needs)
    where = {(need.cell, need.kind): number for need, number in zip(needs, touched, strict=True)}
    pattern, moved = outside.copy(), []
    for cells, part in split(sub, sub.exact & ~sub.free):
        numbers = [where[int(cells[need.cell]), need.kind] for need in part.needs]
        local = _local(state, part, cells, numbers)
        exact.solve(local, LIMITS)
        pattern[cells] |= local.pattern
        moved += [(number, cells, witness) for number, witness in zip(numbers, local.witnesses, strict=True)]
    if block.weight[pattern].sum() >= state.weight - 1e-9:
        return
    state.pattern = pattern
    for number, cells, witness in moved:
        state.witnesses[number] = _whole(state, cells, witness)


def _uses(state: State, witness: Witness | None, region: Flags) -> bool:
    return any((state.block.moved(solution) & region).any() for solution in witness or ())


def _local(state: State, part: Block, cells: Indexes, numbers: list[int]) -> State:
    witnesses = [None if (w := state.witnesses[n]) is None else tuple(s[cells] for s in w) for n in numbers]
    return State(part, state.pattern[cells] & part.free, witnesses, state.rest[cells])


def _whole(state: State, cells: Indexes, witness: Witness | None) -> Witness | None:
    """Witnesses of a part as those of the block; the cells outside rest."""
    if witness is None:
        return None
    solutions = []
    for solution in witness:
        values = state.rest.copy()
        values[cells] = solution
        solutions.append(values)
    return tuple(solutions)
