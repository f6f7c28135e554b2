"""Everything that was ever published, as one system: one variable per cell and version.

A published cell's version is its value (or its mark), a withheld cell's version is its mark: the same mark means the
same true value. A relation holds between the versions that stood together in one release; it is put into the system
once per distinct combination. Cells that were never published share a variable as long as nothing around them changed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipelines.audit.facts import GAP, INFINITE, REMAINDER, Earlier, Facts, Key, Public, Unreadable
from pipelines.audit.public_relations import Template
from pipelines.disclosure.system import Flags, Floats, Relation, System

Variable = tuple[Key, str]
"""Cell and version."""
NOW = "heute"


@dataclass
class State:
    """What one release said: per cell its version, and the value where it was published."""

    name: str
    version: dict[Key, str] = field(default_factory=dict)
    value: dict[Key, float] = field(default_factory=dict)

    def put(self, key: Key, value: float | None, mark: str | None, unknown: str) -> None:
        """A cell's status in this release; `unknown` names the version of a withheld cell without a mark."""
        self.value.pop(key, None)
        if value is not None:
            self.value[key] = value
        self.version[key] = mark or (unknown if value is None else f"= {value:g}")


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


def states_of(public: Public, facts: Facts, earlier: Earlier) -> list[State]:
    """The current state first, then the earlier ones, oldest first."""
    now = State(NOW)
    for key, status in public.status.items():
        if status != "missing":
            value = facts.low[key] if status == "value" and facts.exact(key) else None
            now.put(key, value, earlier.current_marks.get(key), NOW)
    found, running = [now], State("")
    for number, changes in enumerate(earlier.states):
        name = earlier.names[number] if earlier.names else f"frühere Veröffentlichung {number + 1}"
        running = State(name, dict(running.version), dict(running.value))
        for key, value, mark in changes:
            running.put(key, value, mark, f"{NOW} vor {number}")
        found.append(running)
    return found


class Builder:
    """Puts templates and states together."""

    def __init__(self, public: Public, facts: Facts, states: list[State]) -> None:
        self.public = public
        self.facts = facts
        self.states = states
        self.index: dict[Variable, int] = {}
        self.relations: list[Relation] = []
        self.standing = {key for state in states for key in state.version}
        self.negative = {key[0] for key, low in facts.low.items() if low < 0}

    def build(self, templates: list[Template]) -> Union:
        """One system of all templates in all states."""
        for number, group in enumerate(self._groups(templates)):
            self._instantiate(number, group)
        for key in self.states[0].version:
            self._position((key, self.states[0].version[key]))
        return self._union()

    def _groups(self, templates: list[Template]) -> list[list[Template]]:
        """Templates that share a cell nobody ever published: they change together."""
        parent = list(range(len(templates)))

        def root(number: int) -> int:
            while parent[number] != number:
                parent[number] = parent[parent[number]]
                number = parent[number]
            return number

        if len(self.states) > 1:
            first: dict[Key, int] = {}
            for number, template in enumerate(templates):
                for key in template.cells:
                    if key not in self.standing:
                        parent[root(number)] = root(first.setdefault(key, number))
        groups: dict[int, list[Template]] = defaultdict(list)
        for number, template in enumerate(templates):
            groups[root(number)].append(template)
        return list(groups.values())

    def _instantiate(self, number: int, group: list[Template]) -> None:
        """The templates of a group once per distinct combination of versions that stood together."""
        keys = sorted({key for template in group for key in template.cells})
        seen: set[tuple[str, ...]] = set()
        for state in self.states:
            versions = tuple(state.version.get(key, "") for key in keys)
            if versions in seen or not any(versions):
                continue
            hidden = NOW if state.name == NOW else f"{number}/{len(seen)}"
            seen.add(versions)
            for template in group:
                if state.name == NOW or not template.current:
                    self.relations += self._relations(template, state, hidden)

    def _relations(self, template: Template, state: State, hidden: str) -> Iterator[Relation]:
        cells = tuple(self._position((key, state.version.get(key) or hidden)) for key in template.cells)
        label = template.label if state.name == NOW else f"{template.label} ({state.name})"
        if template.rate is None:
            yield Relation(label, template.kind, cells, template.coefficients, template.low, template.high)
            return
        rate, factor = self._rate(template.cells[-1], state), template.coefficients[0]
        if rate is not None:
            low, high = rate[0] - template.rate, rate[1] + template.rate
            yield Relation(label, template.kind, cells[:2], (factor, -low), 0.0, INFINITE)
            yield Relation(label, template.kind, cells[:2], (-factor, high), 0.0, INFINITE)

    def _rate(self, key: Key, state: State) -> tuple[float, float] | None:
        if state.name == NOW:
            return (self.facts.low[key], self.facts.high[key]) if key in self.facts.low else None
        value = state.value.get(key)
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
        now = self.states[0].version
        withheld = {k: self.index[k, now[k]] for k, status in self.public.status.items() if status == "withheld"}
        hidden = [p for p, (key, _) in enumerate(variables) if key not in self.standing]
        return Union(system, variables, readable, withheld, self._past(set(withheld.values())), hidden, now)

    def _bounds(self, variables: list[Variable]) -> tuple[Floats, Floats]:
        """What anybody thinks possible of an unpublished cell: a star is at least 1 where zeros are published."""
        low = np.zeros(len(variables))
        stars = {(k, v) for state in self.states for k, v in state.version.items() if k not in state.value}
        for position, (key, version) in enumerate(variables):
            info = self.public.measures.get(key[0])
            if key[0] in self.negative:
                low[position] = -INFINITE
            elif info is not None and info.threshold is not None and info.zeros_published:
                low[position] = 1.0 if (key, version) in stars else 0.0
        return low, np.full(len(variables), INFINITE)

    def _told(self) -> dict[Variable, tuple[float, float]]:
        """Per variable the interval that publishing it tells, in this release or an earlier one."""
        told: dict[Variable, tuple[float, float]] = {}
        for state in self.states[1:]:
            for key, value in state.value.items():
                told[key, state.version[key]] = (value, value)
        for key, low in self.facts.low.items():
            variable = (key, self.states[0].version.get(key, NOW))
            if variable in self.index:
                before = told.get(variable, (-INFINITE, INFINITE))
                both = max(low, before[0]), min(self.facts.high[key], before[1])
                if both[0] > both[1] + GAP:
                    raise Unreadable(f"{'/'.join(key)}: eine frühere Veröffentlichung nennt eine andere Zahl")
                told[variable] = (both[0], max(both))
        return told

    def _whole(self, key: Key) -> bool:
        if self.public.method.get(key) == "estimated":
            return False
        info = self.public.measures.get(key[0].split(REMAINDER)[-1])
        return info is None or info.kind == "count"

    def _past(self, current: set[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        for state in self.states[1:]:
            for key, version in state.version.items():
                position = self.index.get((key, version))
                if position is not None and position not in current and key not in state.value:
                    found.setdefault(position, state.name)
        return found


def _meet(told: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """Intersection of two intervals; where they miss each other, what is told (the solver will say so)."""
    both = max(told[0], low), min(told[1], high)
    return both if both[0] <= both[1] + GAP else told
