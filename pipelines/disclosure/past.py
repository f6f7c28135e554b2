"""Earlier publications in the protector's system: every relation also held for the figures of that time.

A figure has one variable per version: as long as its value is the same, what is published of it at any time counts for
all times. A revised total next to an unchanged withheld part would otherwise tell what the part was before.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace

import numpy as np

from pipelines.disclosure.cells import HIDDEN, PUBLIC, Cell, Key, cell_name
from pipelines.disclosure.protector import Task
from pipelines.disclosure.relations import AREAS
from pipelines.disclosure.system import INFINITE, Floats, Relation, System
from pipelines.ledger import PUBLISHED, WITHHELD, CellLedger, Entry, secret_of

GAP = 1e-6
EARLIER = " @ "
"""Stands between a cell's name and its version in the names of earlier versions."""


@dataclass
class Memory:
    """How much of earlier publications is taken into account.

    Attributes:
        ledger: earlier publications.
        stars_stay: a star of a source stands for the figure that was shown before, and star after star for the same.
        past: sums of earlier publications count.
        forgotten: measures of which earlier publications already tell too much: for them this publication is protected
            by itself, also by withholding what was shown before.
    """

    ledger: CellLedger
    stars_stay: bool = True
    past: bool = True
    forgotten: set[str] = field(default_factory=set)

    def supposed(self, key: Key) -> float | None:
        """Figure that is supposed behind a star of a source, None if nothing is."""
        return self.ledger.supposed(key) if self.stars_stay and key[0] not in self.forgotten else None

    def before(self, key: Key, value: float, nearby: int) -> str | None:
        """See `CellLedger.before`."""
        seen = self.ledger.before(key, value, nearby)
        return None if seen == PUBLISHED and key[0] in self.forgotten else seen


@dataclass
class _Earlier:
    """Variables for earlier versions, made as they are needed."""

    task: Task
    kept_high: Floats
    names: list[str]
    known: list[float]
    closed: list[bool]
    lower: list[float]
    high: list[float]
    origin: list[int]

    def add(self, name: str, number: int, value: float | None, *, star: bool) -> int:
        """Number of the variable of an earlier version of cell `number`."""
        self.names.append(name)
        self.known.append(np.nan if value is None else value)
        self.closed.append(value is None)
        self.lower.append(float(self.task.system.lower[number]) if star else 0.0)
        self.high.append(float(self.kept_high[number]) if star and value is None else np.nan)
        self.origin.append(number)
        return len(self.task.system) + len(self.names) - 1


def with_past(
    task: Task, cells: list[Cell], roots: list[Key], hidden: set[int], kept_high: Floats, memory: Memory
) -> Task:
    """The task, extended by earlier versions of its cells and the relations between them.

    Args:
        task: today's cells and relations (n cells).
        cells: n cells.
        roots: their n keys.
        hidden: numbers of remainders, which are never published.
        kept_high: n; what an attacker's upper bound of an earlier, withheld version must reach; NaN for nothing.
        memory: earlier publications.

    Returns:
        The task; its first n cells are the given ones.
    """
    positions = {root: number for number, root in enumerate(roots)}
    history: dict[int, dict[int, Entry]] = defaultdict(dict)
    for release, (_, changed) in enumerate(memory.ledger.releases if memory.past else []):
        for key, entry in changed.items():
            if key in positions and key[0] not in memory.forgotten:
                history[positions[key]][release] = entry
    if not history:
        return task
    versions = _Versions(cells, roots, hidden, history, memory)
    broken = _broken(task.system.relations, versions)
    earlier = _Earlier(task, kept_high, [], [], [], [], [], [])
    relations = [
        relation for given in task.system.relations for relation in _instances(given, cells, versions, earlier, broken)
    ]
    return _extended(task, earlier, relations)


class _Versions:
    """Which version of a cell stood in a release: None for today's."""

    def __init__(
        self,
        cells: list[Cell],
        roots: list[Key],
        hidden: set[int],
        history: dict[int, dict[int, Entry]],
        memory: Memory,
    ) -> None:
        self.cells, self.roots, self.hidden, self.history, self.memory = cells, roots, hidden, history, memory
        self.variables: dict[tuple[int, object], int] = {}
        self.known = Counter[int]()

    def changes(self, number: int) -> set[int]:
        return set(self.history.get(number, ()))

    def at(self, number: int, release: int) -> Entry | None:
        """Entry in force in a release."""
        past = [r for r in self.history.get(number, ()) if r <= release]
        return self.history[number][max(past)] if past else None

    def never(self, number: int) -> bool:
        """A cell that no publication ever shows."""
        return number in self.hidden or self.cells[number].state == HIDDEN

    def is_today(self, number: int, release: int) -> bool:
        """Whether a release showed, or withheld, the figure of today."""
        entry = self.at(number, release)
        if entry is None or self.never(number):
            return False
        cell, key = self.cells[number], self.roots[number]
        ledger = self.memory.ledger
        if entry.status == PUBLISHED:
            today = self.memory.supposed(key) if cell.value is None else cell.value
            return today is not None and entry.value == today
        if (
            entry.status != WITHHELD
            or entry.key_id in ledger.lost
            or (cell.value is None and not self.memory.stars_stay)
        ):
            return False
        mark = ledger.mark_of_star(key) if cell.value is None else ledger.mark(key, secret_of(cell.value))
        return entry.mark == mark

    def shown(self, number: int, release: int) -> float | None:
        """The figure as a release showed it, or as everybody knows it."""
        entry = self.at(number, release)
        return entry.value if entry is not None and entry.status == PUBLISHED else None


Family = tuple[str, str, int]
"""Kind of relation, area (sums of areas) or measure, number of the release."""


def _family(given: Relation, versions: _Versions, release: int) -> Family:
    key = versions.roots[given.cells[0]]
    return given.kind, key[2] if given.kind == AREAS else key[0], release


def _broken(relations: list[Relation], versions: _Versions) -> set[Family]:
    """Families of relations that did not hold then, as figures shown then tell, e.g. of areas assigned otherwise."""
    found = set()
    for given in relations:
        for release in set().union(*(versions.changes(number) for number in given.cells)):
            values = [versions.shown(number, release) for number in given.cells]
            if None in values:
                continue
            total = sum(c * v for c, v in zip(given.coefficients, values, strict=True) if v is not None)
            if not given.low - GAP <= total <= given.high + GAP:
                found.add(_family(given, versions, release))
    return found


def _instances(
    given: Relation, cells: list[Cell], versions: _Versions, earlier: _Earlier, broken: set[Family]
) -> list[Relation]:
    """A relation as it held in earlier releases, each combination of versions once, if it says more than numbers."""
    found: dict[tuple[int, ...], Relation] = {}
    for release in sorted(set().union(*(versions.changes(number) for number in given.cells))):
        if _family(given, versions, release) in broken:
            continue
        if all(versions.never(number) or versions.is_today(number, release) for number in given.cells):
            continue  # what nobody publishes is then what it is today, too
        members = tuple(_variable(number, release, versions, earlier) for number in given.cells)
        size = len(cells)
        if members in found:
            continue
        if any(m >= size and earlier.closed[m - size] for m in members) or any(
            m < size and cells[m].state != PUBLIC for m in members
        ):
            found[members] = replace(given, cells=members)
    return list(found.values())


def _variable(number: int, release: int, versions: _Versions, earlier: _Earlier) -> int:
    """The cell itself while its version is today's, else the variable of the version in that release."""
    if versions.is_today(number, release):
        return number
    entry = None if versions.never(number) else versions.at(number, release)
    version: object = ("nicht veröffentlicht", release)
    value, star = None, False
    if entry is not None and entry.status in (PUBLISHED, WITHHELD):
        version, value, star = (entry.status, entry.value, entry.mark), entry.value, entry.status == WITHHELD
    if (number, version) not in versions.variables:
        # counted by cell: a version more of one cell must not rename those of others, whose patterns are kept by name
        name = f"{cell_name(versions.roots[number])}{EARLIER}{versions.known[number]:06d}"
        versions.known[number] += 1
        versions.variables[number, version] = earlier.add(name, number, value, star=star)
    return versions.variables[number, version]


def _extended(task: Task, earlier: _Earlier, relations: list[Relation]) -> Task:
    old, size = task.system, len(earlier.names)
    known = np.array(earlier.known, dtype=float)
    system = System(
        [*old.names, *earlier.names],
        np.concatenate([old.known_low, known]),
        np.concatenate([old.known_high, known]),
        np.concatenate([old.lower, np.array(earlier.lower, dtype=float)]),
        np.concatenate([old.upper, np.full(size, INFINITE)]),
        np.concatenate([old.whole, old.whole[np.array(earlier.origin, dtype=np.int64)]]),
        [*old.relations, *relations],
    )
    nothing = np.zeros(size, dtype=bool)
    return Task(
        system,
        np.concatenate([task.free, nothing]),
        np.concatenate([task.closed, np.array(earlier.closed, dtype=bool)]),
        np.concatenate([task.weight, np.ones(size)]),
        np.concatenate([task.need_high, np.array(earlier.high, dtype=float)]),
        np.concatenate([task.need_low, np.full(size, np.nan)]),
        np.concatenate([task.need_open, nothing]),
        None if task.held is None else np.concatenate([task.held, nothing]),
    )
