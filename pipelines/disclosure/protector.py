"""Secondary suppression: which further cells must be withheld so that nobody can work out the small ones.

Every returned pattern was attacked before it was returned, with real and with whole numbers; safety never depends on
whether a pattern is proven to be the cheapest one. Cells that do not influence each other are solved apart.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipelines.disclosure import exact, heuristic, improve
from pipelines.disclosure.attack import Intervals, attack
from pipelines.disclosure.block import OPEN_WIDTH, Block, Need, canonical_rows, split
from pipelines.disclosure.heuristic import State
from pipelines.disclosure.solver import TOLERANCE, SolverFailed
from pipelines.disclosure.system import Flags, Floats, Indexes, System
from pipelines.files import read_sealed, sha256_text, write_sealed

__all__ = ["Cache", "ComponentResult", "FileCache", "Pattern", "SolverFailed", "Task", "Unprotectable", "protect"]

ALGORITHM = 1
"""Counts up whenever the same task may get another pattern; part of the key of cached patterns."""

EXACT_CELLS = 350
"""Components up to this size are solved to proven optimality (larger ones too if they are trees)."""

REPAIRS = 5
"""Rounds of suppressing more when the attacker still gets through; each round met a need that was not met before."""


@dataclass(frozen=True)
class Task:
    """What to protect, and what may be suppressed for it (n cells).

    Cells neither free nor closed are known to everybody and published in any case.

    Attributes:
        system: cells and relations.
        free: n flags; may be suppressed as secondary.
        closed: n flags; suppressed in any case (primary, withheld by the source, suppressed earlier) or never
            published (hidden complements). Their known values are not used.
        weight: n; cost of suppressing a free cell, above 0.
        need_high: n; NaN, or the attacker's upper bound of this closed cell has to be at least this.
        need_low: n; NaN, or the attacker's lower bound of this closed cell may be at most this.
        need_open: n flags; the attacker's bounds of this closed cell must differ (counts: by at least 1).
        held: n flags of free cells that are suppressed only where nothing else protects; None: none.
    """

    system: System
    free: Flags
    closed: Flags
    weight: Floats
    need_high: Floats
    need_low: Floats
    need_open: Flags
    held: Flags | None = None


@dataclass(frozen=True)
class ComponentResult:
    """What became of one component that has requirements.

    `method` is "exact" (proven optimal) or "heuristic"; `kept`: the pattern was found earlier, or all of it is settled
    (no free cells), and it was attacked again.
    """

    cells: int
    required: int
    secondary: int
    weight: float
    bound: float
    method: str
    seconds: float
    kept: bool


@dataclass(frozen=True)
class Pattern:
    """A safe pattern.

    Attributes:
        suppressed: n flags; closed or secondary.
        weight: price of the secondary cells.
        bound: proven lower bound of the price of any safe pattern that shows the held cells (where `lifted`: of any);
            equals `weight` where proven optimal.
        method: "exact" if all components are proven optimal, else "heuristic".
        components: components with requirements.
        lifted: n flags of the held cells whose component cannot be protected while all of them are shown.
    """

    suppressed: Flags
    weight: float
    bound: float
    method: str
    components: list[ComponentResult]
    lifted: Flags


class Unprotectable(Exception):
    """Requirements that stay unmet even if every free cell is suppressed.

    Attributes:
        cells: names of the cells, sorted.
        needs: per cell the requirements that cannot be met, in words.
    """

    def __init__(self, needs: dict[str, list[str]]) -> None:
        self.needs = {name: sorted(needs[name]) for name in sorted(needs)}
        self.cells = list(self.needs)
        super().__init__("; ".join(f"{name}: {', '.join(texts)}" for name, texts in self.needs.items()))


class Cache(Protocol):
    """Patterns found earlier, by content of their component. Entries are attacked again before use."""

    def get(self, key: str) -> Any:
        """The entry, or None."""

    def put(self, key: str, entry: dict[str, Any]) -> None:
        """Keep an entry: {"secondary": [names], "bound": number, "method": text}."""


@dataclass(frozen=True)
class FileCache:
    """One JSON file per component in a folder; damaged files count as absent."""

    folder: Path

    def get(self, key: str) -> Any:
        """The entry, or None."""
        return read_sealed(self.folder / f"{key}.json")

    def put(self, key: str, entry: dict[str, Any]) -> None:
        """Write an entry atomically."""
        write_sealed(self.folder / f"{key}.json", entry)


def protect(task: Task, *, cache: Cache | None = None) -> Pattern:
    """Find a cheap set of secondary cells so that all requirements hold against the attacker.

    The same task gives the same pattern, whatever the order of its cells and relations.

    Args:
        task: cells, relations, candidates and requirements.
        cache: patterns of earlier runs.

    Raises:
        Unprotectable: requirements that cannot be met, all at once.
        SolverFailed: a solver ended in an unexpected state, or published numbers contradict each other.
        ValueError: flags, weights or bounds of the task make no sense.
    """
    order = np.array(sorted(range(len(task.system)), key=task.system.names.__getitem__), dtype=np.int64)
    whole = canonical(task, order)
    held = np.zeros(len(whole), dtype=bool) if task.held is None else task.held[order] & whole.free
    blocks = list(split(whole, whole.exact & ~whole.free))
    suppressed, lifted = whole.closed.copy(), np.zeros(len(whole), dtype=bool)
    results: list[ComponentResult] = []
    failed: dict[str, list[str]] = {}
    for cells, block in blocks:
        found = _while_held(block, held[cells], cache)
        if found is None:
            lifted[cells] = held[cells]
            try:
                found = _parts([(np.arange(len(block)), block)], len(block), cache)
            except Unprotectable as error:
                failed |= error.needs
                continue
        pattern, parts = found
        suppressed[cells] |= pattern
        results += parts
    if failed:
        raise Unprotectable(failed)
    back = np.argsort(order)
    return Pattern(
        suppressed[back],
        sum(result.weight for result in results),
        sum(result.bound for result in results),
        "exact" if all(result.method == "exact" for result in results) else "heuristic",
        results,
        lifted[back],
    )


def _while_held(block: Block, held: Flags, cache: Cache | None) -> tuple[Flags, list[ComponentResult]] | None:
    """A safe pattern of a block that shows its held cells (n flags): they link nothing, so the block falls apart.

    None if there are no such cells, or no such pattern: safety is never traded for them.
    """
    if not held.any():
        return None
    block = block.restricted(block.free & ~held)
    try:
        return _parts(split(block, block.exact & ~block.free), len(block), cache)
    except (Unprotectable, SolverFailed):
        return None


def _parts(
    parts: Iterable[tuple[Indexes, Block]], size: int, cache: Cache | None
) -> tuple[Flags, list[ComponentResult]]:
    """Secondary cells (`size` flags) of parts solved apart, and what became of each part.

    Raises:
        Unprotectable: a part has requirements that cannot be met.
        SolverFailed: a solver ended in an unexpected state.
    """
    pattern, results = np.zeros(size, dtype=bool), []
    for cells, part in parts:
        start = time.perf_counter()
        found = _protect(part, cache)
        pattern[cells] = found.pattern
        results.append(_result(part, found, time.perf_counter() - start))
    return pattern, results


def _result(block: Block, found: _Found, seconds: float) -> ComponentResult:
    weight = float(block.weight[found.pattern].sum())
    required = len({need.cell for need in block.needs})
    return ComponentResult(
        len(block),
        required,
        int(found.pattern.sum()),
        weight,
        min(found.bound, weight),
        found.method,
        seconds,
        found.kept or not block.free.any(),
    )


# --- From task to blocks --------------------------------------------------------------------------------------------


def canonical(task: Task, order: Indexes) -> Block:
    """A task in the order of its names (n positions), closed cells without their values.

    Raises:
        ValueError: flags, weights or bounds of the task make no sense.
    """
    _check(task)
    system = task.system
    place = [0] * len(order)
    for new, old in enumerate(order.tolist()):
        place[old] = new
    whole, closed = system.whole[order], task.closed[order]
    lower, upper = system.lower[order].astype(float), system.upper[order].astype(float)
    lower = np.where(whole, np.ceil(lower - TOLERANCE), lower) + 0.0
    upper = np.where(whole, np.floor(upper + TOLERANCE), upper) + 0.0
    low = np.where(closed, lower, system.known_low[order])
    high = np.where(closed, upper, system.known_high[order])
    weight = task.weight[order].astype(float)
    block = Block(system.names, low, high, lower, upper, whole, task.free[order], closed, weight)
    block.names = [system.names[old] for old in order]
    block.rows = canonical_rows(system.relations, place)
    block.needs = [need for new, old in enumerate(order.tolist()) for need in _needs(task, old, new)]
    return block


def _needs(task: Task, old: int, new: int) -> list[Need]:
    whole, known = bool(task.system.whole[old]), float(task.system.known_low[old])
    needs = []
    high, low = float(task.need_high[old]), float(task.need_low[old])
    if not np.isnan(high):
        # a count reaches 2.5 only if it reaches 3
        needs.append(Need(new, "high", float(np.ceil(high - TOLERANCE)) if whole else high))
    if not np.isnan(low):
        needs.append(Need(new, "low", float(np.floor(low + TOLERANCE)) if whole else low))
    width = 1.0 if whole else OPEN_WIDTH
    # the true value is always possible: if another value is too, the cell is open anyway
    implied = known == float(task.system.known_high[old]) and (high >= known + width or low <= known - width)
    if task.need_open[old] and not implied:
        needs.append(Need(new, "open", width))
    return needs


def _check(task: Task) -> None:
    system, size = task.system, len(task.system)
    arrays = (task.free, task.closed, task.weight, task.need_high, task.need_low, task.need_open)
    if any(len(array) != size for array in arrays):
        raise ValueError("arrays of a task need one entry per cell")
    if len(set(system.names)) != size:
        raise ValueError("cells of a task need different names")
    required = ~np.isnan(task.need_high) | ~np.isnan(task.need_low) | task.need_open
    low, high = system.known_low, system.known_high
    unknown = np.isnan(low) | np.isnan(high)
    outside = task.free & ((low < system.lower - TOLERANCE) | (high > system.upper + TOLERANCE))
    for text, wrong in (
        ("free and closed", task.free & task.closed),
        ("published without a value", ~task.closed & unknown),
        ("required but not closed", required & ~task.closed),
        ("weight not above 0", task.free & ~((task.weight > 0) & np.isfinite(task.weight))),
        ("value outside of what is possible while suppressed", outside),
        ("lower bound not finite", ~np.isfinite(system.lower)),
        ("bounds crossed", (system.lower > system.upper) | (low > high)),
    ):
        if wrong.any():
            raise ValueError(f"{text}: {[system.names[cell] for cell in np.flatnonzero(wrong)[:5]]}")


# --- One block ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    pattern: Flags
    bound: float
    method: str
    kept: bool = False


def _protect(block: Block, cache: Cache | None) -> _Found:
    key = _key(block)
    found = None if cache is None else _cached(block, cache.get(key))
    if found is not None:
        return found
    state = heuristic.build(block)
    _met(state)
    heuristic.clean(state)
    if len(block) <= EXACT_CELLS or _is_tree(block):
        bound, proven = exact.solve(state)
    else:
        bound, share = exact.relax(state)
        state, proven = improve.guided(state, share), False
        improve.improve(state)
    weight = state.weight
    _safe(state)
    proven = proven and state.weight <= weight
    found = _Found(state.pattern, state.weight if proven else bound, "exact" if proven else "heuristic")
    if cache is not None:
        names = [block.names[cell] for cell in np.flatnonzero(found.pattern)]
        cache.put(key, {"secondary": names, "bound": found.bound, "method": found.method})
    return found


def _met(state: State) -> None:
    """Raise Unprotectable for the needs that stay unmet with every free cell suppressed."""
    if state.unmet:
        raise Unprotectable(_words(state.block, [state.block.needs[number] for number in sorted(set(state.unmet))]))


def _words(block: Block, needs: list[Need]) -> dict[str, list[str]]:
    words: dict[str, list[str]] = {}
    for need in needs:
        text = {"high": f"upper bound at least {need.value:g}", "low": f"lower bound at most {need.value:g}"}
        words.setdefault(block.names[need.cell], []).append(text.get(need.kind, f"open by {need.value:g}"))
    return words


def _safe(state: State) -> None:
    """Attack the pattern of a state; suppress more until no attacker gets through.

    Raises:
        Unprotectable: whole numbers leave a requirement unmet with every free cell suppressed.
        SolverFailed: the attacker still gets through after the repairs.
    """
    block = state.block
    for _ in range(REPAIRS):
        heuristic.settle(state)
        _met(state)
        broken = _broken(block, state.pattern)
        if not broken:
            return
        heuristic.widen(state, broken)
    raise SolverFailed("the attacker still opens a cell of a repaired pattern")


def _broken(block: Block, pattern: Flags) -> list[int]:
    """Numbers of the needs that an attacker with real or whole numbers breaks."""
    targets = np.array(sorted({need.cell for need in block.needs}), dtype=np.int64)
    system, shown = block.system(), ~(block.closed | pattern)
    found = attack(system, shown, targets, integer=bool(block.whole.any()))
    return [number for number, need in enumerate(block.needs) if not _holds(need, found)]


def _holds(need: Need, found: Intervals) -> bool:
    place = int(np.searchsorted(found.cells, need.cell))
    low, high = float(found.low[place]), float(found.high[place])
    if need.kind == "high":
        return high >= need.value - TOLERANCE * max(1.0, abs(need.value))
    if need.kind == "low":
        return low <= need.value + TOLERANCE * max(1.0, abs(need.value))
    return high - low >= need.value * (1 - 1e-3)


def _is_tree(block: Block) -> bool:
    """Whether rows and cells form a forest: then every relaxation is nearly whole, and exact is quick."""
    links = sum(len(row.cells) for row in block.rows)
    return links <= len(block) + len(block.rows) - 1


# --- Cache ----------------------------------------------------------------------------------------------------------


def _key(block: Block) -> str:
    arrays = [block.low, block.high, block.lower, block.upper, block.whole, block.free, block.closed]
    content = [[repr(value) for value in array.tolist()] for array in arrays]
    content.append([repr(value) for value in np.where(block.free, block.weight, 0.0).tolist()])
    rows = [[list(r.cells), list(r.values), repr(r.low), repr(r.high)] for r in block.rows]
    needs = [[need.cell, need.kind, need.value] for need in block.needs]
    state = json.dumps([block.names, content, rows, needs])
    return sha256_text("protector", str(ALGORITHM), version("highspy"), state)


def _cached(block: Block, entry: Any) -> _Found | None:
    """A cached pattern, if the entry is whole and the attacker cannot break it."""
    match entry:
        case {"secondary": list(names), "bound": int() | float() as bound, "method": "exact" | "heuristic" as method}:
            chosen = {name for name in names if isinstance(name, str)}
        case _:
            return None
    pattern = np.array([name in chosen for name in block.names]) & block.free
    if len(names) != int(pattern.sum()) or not np.isfinite(bound) or _broken(block, pattern):
        return None
    weight = float(block.weight[pattern].sum())
    slack = TOLERANCE * max(1.0, weight)
    if bound > weight + slack or (method == "exact" and bound < weight - slack):
        return None
    return _Found(pattern, weight if method == "exact" else float(bound), method, kept=True)
