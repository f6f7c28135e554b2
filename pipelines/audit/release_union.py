"""Everything that was ever published, as one system: one variable per cell and version.

A published cell's version is its value (or its mark), a withheld cell's version is its mark: the same mark means the
same true value. A relation holds between the versions that stood together in one release; it is put into the system
once per distinct combination. Cells that were never published share a variable as long as nothing around them changed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipelines.audit.facts import ABSENT, GAP, INFINITE, REMAINDER, Earlier, Facts, Key, Public, Unreadable
from pipelines.audit.public_relations import Template
from pipelines.disclosure.system import Flags, Floats, Relation, System
from schemas.documents import TOTAL

Variable = tuple[Key, str]
"""Cell and version."""
NOW = "heute"


PAST = ", früher"
"""Ends the kind of a relation between versions of an earlier release."""


@dataclass
class Moment:
    """What one release said: per cell its version, and the value where it was published."""

    name: str
    version: dict[Key, str] = field(default_factory=dict)
    value: dict[Key, float] = field(default_factory=dict)

    def put(self, key: Key, value: float | None, mark: str | None, unknown: str) -> None:
        """A cell's status; `unknown` names the version of a withheld cell without a mark."""
        if value is not None:
            self.value[key] = value
        self.version[key] = mark or (unknown if value is None else f"= {value:g}")


@dataclass
class History:
    """Earlier releases, by what changed: per cell the releases in which it did, with version and value from then on."""

    names: list[str] = field(default_factory=list)
    changes: dict[Key, list[tuple[int, str | None, float | None]]] = field(default_factory=dict)

    def moment(self, number: int, keys: Iterable[Key]) -> Moment:
        """Some cells as an earlier release had them."""
        found = Moment(self.names[number])
        for key in keys:
            entries = self.changes.get(key, [])
            position = bisect_right(entries, number, key=lambda entry: entry[0]) - 1
            if position >= 0 and entries[position][1] is not None:
                found.put(key, entries[position][2], entries[position][1], "")
        return found

    def turns(self, keys: Iterable[Key]) -> list[int]:
        """Releases in which one of the cells changed."""
        return sorted({number for key in keys for number, *_ in self.changes.get(key, [])})


@dataclass
class Union:
    """The system, and what its variables are.

    Attributes:
        system: cells (variables) and relations.
        variables: per position cell and version.
        readable: n flags; cells of which something is published.
        withheld: positions of the current release's withheld cells, by cell.
        past: positions of cells withheld in an earlier release, in a version that is not the current one, with the
            name of the release.
        hidden: positions of cells that no table holds (remainders, areas without rows).
        now: version of each cell in the current release.
    """

    system: System
    variables: list[Variable]
    readable: Flags
    withheld: dict[Key, int]
    past: dict[int, str]
    hidden: list[int]
    now: dict[Key, str]


def current_moment(public: Public, facts: Facts, earlier: Earlier) -> Moment:
    """The release that is audited."""
    now, withheld = Moment(NOW), earlier.ever_withheld()
    for key, status in public.status.items():
        if status != "missing":
            value = facts.low[key] if status == "value" and facts.exact(key) else None
            now.put(key, value, earlier.mark(key, value, earlier.current_marks.get(key), withheld), NOW)
    return now


def history_of(earlier: Earlier) -> History:
    """What was published before; a withheld cell without a mark is a version of its own."""
    history, withheld = History(), earlier.ever_withheld()
    for number, changes in enumerate(earlier.states):
        history.names.append(earlier.names[number] if earlier.names else f"frühere Veröffentlichung {number + 1}")
        for key, value, mark in changes:
            known = earlier.mark(key, value, mark, withheld)
            version = known or (f"{NOW} vor {number}" if value is None else f"= {value:g}")
            gone = value is None and mark == ABSENT
            history.changes.setdefault(key, []).append((number, None if gone else version, value))
    return history


class Builder:
    """Puts templates and releases together."""

    def __init__(
        self, public: Public, facts: Facts, now: Moment, history: History, quiet: Collection[Key] = ()
    ) -> None:
        self.public = public
        self.facts = facts
        self.now = now
        self.history = history
        self.quiet = quiet
        self.index: dict[Variable, int] = {}
        self.relations: list[Relation] = []
        self.standing = set(now.version) | set(history.changes)
        self.negative = {key[0] for key, low in facts.low.items() if low < 0}
        self.broken: dict[str, list[tuple[int, float]]] = defaultdict(list)

    def build(self, templates: list[Template]) -> Union:
        """One system of all templates in all releases."""
        groups = self._groups(templates)
        for group in groups:
            self._judge(group)
        for number, group in enumerate(groups):
            self._instantiate(number, group)
        for key, version in self.now.version.items():
            self._position((key, version))
        return self._union()

    def _groups(self, templates: list[Template]) -> list[list[Template]]:
        """Templates that share a cell nobody ever published: they change together."""
        parent = list(range(len(templates)))

        def root(number: int) -> int:
            while parent[number] != number:
                parent[number] = parent[parent[number]]
                number = parent[number]
            return number

        if self.history.names:
            first: dict[Key, int] = {}
            for number, template in enumerate(templates):
                for key in template.cells:
                    if key not in self.standing:
                        parent[root(number)] = root(first.setdefault(key, number))
        groups: dict[int, list[Template]] = defaultdict(list)
        for number, template in enumerate(templates):
            groups[root(number)].append(template)
        return list(groups.values())

    def _judge(self, group: list[Template]) -> None:
        """Note from which release to which a family of relations did not hold: its published figures say so.

        Areas and definitions may have changed since; only today's can be read from today's tables.
        """
        keys = _cells(group)
        turns = self.history.turns(keys)
        for number, end in zip(turns, [*turns[1:], INFINITE], strict=True) if turns else []:
            then = self.history.moment(number, keys)
            for template in group:
                if template.family and all(key in then.value for key in template.cells):
                    pairs = zip(template.cells, template.coefficients, strict=True)
                    total = sum(then.value[key] * coefficient for key, coefficient in pairs)
                    if not template.low - GAP <= total <= template.high + GAP:
                        self.broken[template.family].append((number, end))

    def _held(self, template: Template, number: int) -> bool:
        return not any(start <= number < end for start, end in self.broken.get(template.family, []))

    def _instantiate(self, number: int, group: list[Template]) -> None:
        """The templates of a group once per distinct combination of versions that stood together."""
        keys = _cells(group)
        seen = {tuple(self.now.version.get(key, "") for key in keys)}
        if any(key in self.now.version for key in keys):
            for template in group:
                self.relations += self._relations(template, self.now, NOW)
        for turn in self.history.turns(keys):
            then = self.history.moment(turn, keys)
            versions = tuple(then.version.get(key, "") for key in keys)
            if versions in seen or not any(versions):
                continue
            seen.add(versions)
            for template in group:
                if not template.current and self._held(template, turn):
                    self.relations += self._relations(template, then, f"{number}/{turn}")

    def _relations(self, template: Template, then: Moment, hidden: str) -> Iterator[Relation]:
        cells = tuple(self._position((key, then.version.get(key) or hidden)) for key in template.cells)
        label, kind = template.label, template.kind
        if then is not self.now:
            label, kind = f"{label} ({then.name})", f"{kind}{PAST}"
        if template.rate is None:
            yield Relation(label, kind, cells, template.coefficients, template.low, template.high)
            return
        rate, factor = self._rate(template.cells[-1], then), template.coefficients[0]
        if rate is not None:
            low, high = rate[0] - template.rate, rate[1] + template.rate
            yield Relation(label, kind, cells[:2], (factor, -low), 0.0, INFINITE)
            yield Relation(label, kind, cells[:2], (-factor, high), 0.0, INFINITE)

    def _rate(self, key: Key, then: Moment) -> tuple[float, float] | None:
        if then is self.now:
            return (self.facts.low[key], self.facts.high[key]) if key in self.facts.low else None
        value = then.value.get(key)
        return None if value is None else (value, value)

    def _position(self, variable: Variable) -> int:
        return self.index.setdefault(variable, len(self.index))

    # ------------------------------------------------------------ the system

    def _union(self) -> Union:
        variables = list(self.index)
        low, high = self._bounds(variables)
        readable = np.zeros(len(variables), dtype=bool)
        known_low, known_high = low.copy(), high.copy()
        told = self._told()
        for position, variable in enumerate(variables):
            if variable in told:
                readable[position] = True
                known_low[position], known_high[position] = _meet(told[variable], low[position], high[position])
        names = [f"{'|'.join(key)}@{version}" for key, version in variables]
        whole = np.array([self._whole(key) for key, _ in variables], dtype=bool)
        system = System(names, known_low, known_high, low, high, whole, self.relations)
        now = self.now.version
        withheld = {k: self.index[k, now[k]] for k, status in self.public.status.items() if status == "withheld"}
        hidden = [p for p, (key, _) in enumerate(variables) if key not in self.standing]
        return Union(system, variables, readable, withheld, self._past(set(withheld.values())), hidden, now)

    def _bounds(self, variables: list[Variable]) -> tuple[Floats, Floats]:
        """What anybody thinks possible of an unpublished cell: a star is at least 1 where zeros are published."""
        low = np.zeros(len(variables))
        stars = {(key, version) for key, version in self.now.version.items() if key not in self.now.value}
        stars |= {
            (k, v) for k, entries in self.history.changes.items() for _, v, value in entries if v and value is None
        }
        for position, (key, version) in enumerate(variables):
            info = self.public.measures.get(key[0])
            if key[0] in self.negative:
                low[position] = -INFINITE
            elif info is not None and info.threshold is not None and info.zeros_published:
                starred = (key, version) in stars and key not in self.quiet
                low[position] = self._least(key) if starred else 0.0
        return low, np.full(len(variables), INFINITE)

    def _least(self, key: Key) -> float:
        """What a star tells at least where zeros are shown: one case, or the smallest share of one in an estimate."""
        if self.public.method.get(key) != "estimated":
            return 1.0
        return min(1.0, self._smallest_share.get(key[2], 1.0))

    @cached_property
    def _smallest_share(self) -> dict[str, float]:
        """By area above others the smallest share with which one of them enters."""
        found: dict[str, float] = {}
        for row in self.public.rows("membership"):
            found[row["parent_id"]] = min(row["weight"], found.get(row["parent_id"], INFINITE))
        return found

    def _told(self) -> dict[Variable, tuple[float, float]]:
        """Per variable the interval that publishing it tells, in this release or an earlier one."""
        told: dict[Variable, tuple[float, float]] = {}
        for key, entries in self.history.changes.items():
            told |= {(key, version): (value, value) for _, version, value in entries if version and value is not None}
        for key, low in self.facts.low.items():
            variable = (key, self.now.version.get(key, NOW))
            if variable in self.index:
                before = told.get(variable, (-INFINITE, INFINITE))
                both = max(low, before[0]), min(self.facts.high[key], before[1])
                if both[0] > both[1] + GAP:
                    raise Unreadable(f"{'/'.join(key)}: eine frühere Veröffentlichung nennt eine andere Zahl")
                told[variable] = (both[0], max(both))
        return told

    def _whole(self, key: Key) -> bool:
        above, _, part = key[0].rpartition(REMAINDER)
        same = [(part, *key[1:]), *[(above, c, *key[2:]) for c in (key[1], TOTAL) if above]]
        if any(self.public.method.get(cell) == "estimated" for cell in same):
            return False  # a share of a count, or what is left when one is taken away
        info = self.public.measures.get(part)
        return info is None or info.kind == "count"

    def _past(self, current: set[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        for key, entries in self.history.changes.items():
            for number, version, value in entries:
                position = self.index.get((key, version)) if version and value is None else None
                if position is not None and position not in current:
                    found.setdefault(position, self.history.names[number])
        return found


def _cells(group: list[Template]) -> list[Key]:
    return sorted({key for template in group for key in template.cells})


def _meet(told: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """Intersection of two intervals; where they miss each other, what is told (the solver will say so)."""
    both = max(told[0], low), min(told[1], high)
    return both if both[0] <= both[1] + GAP else told
