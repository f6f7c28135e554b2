"""Cells and relations become the protector's task: same atoms one cell, sums checked, confidential cells marked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from pipelines.disclosure.cells import HIDDEN, MISSING, OWN, PUBLIC, WITHHELD, Cell, Key, cell_name
from pipelines.disclosure.past import Memory, with_past
from pipelines.disclosure.protector import Task
from pipelines.disclosure.relations import REMAINDER, WHOLES, KeyRelation, Remainders
from pipelines.disclosure.rules import MeasureRule, rule_of
from pipelines.disclosure.system import INFINITE, Floats, Relation, System
from pipelines.project import Project

GAP = 1e-6
"""Sums of weighted figures differ in their last digits; counts do not."""

_STRENGTH = {PUBLIC: 4, OWN: 3, WITHHELD: 2, MISSING: 1, HIDDEN: 0}


class NotAdditive(Exception):
    """Figures that ought to add up do not: nothing can be said about what they give away. Places, no values."""

    def __init__(self, places: list[str]) -> None:
        """Keep the places; the text names the first of them."""
        self.places = places
        shown = "\n  ".join(places[:10]) + (f"\n  … und {len(places) - 10} weitere" if len(places) > 10 else "")
        super().__init__(
            "Nichts veröffentlicht: Zahlen, die eine Summe bilden sollen, tun es nicht, und dann lässt sich nicht "
            f"prüfen, was sie verraten.\n  {shown}\n  Abhilfe: die Lieferung berichtigen lassen (corrections). Fehlt "
            "ein Rest ohne Angabe: ihn als eigene Ausprägung oder eigenes Gebiet führen. Stimmt die Gebietszuordnung "
            "nicht: sie berichtigen. Weicht eine Gebietssumme aus anderen Gründen etwas ab: tolerance der Kennzahl."
        )


@dataclass
class Problem:
    """The task, and what its cells stand for.

    Attributes:
        task: what the protector solves.
        position: cell of each key.
        reasons: per cell why it is closed, "" if it is not (internal; see `protection.REASONS_DE`).
        public_again: keys that would be confidential but were published before with the same value.
    """

    task: Task
    position: dict[Key, int]
    reasons: list[str]
    cells: list[Cell]
    public_again: list[Key] = field(default_factory=list)


def build_problem(
    project: Project,
    cells: dict[Key, Cell],
    relations: list[KeyRelation],
    remainders: Remainders,
    memory: Memory,
) -> Problem:
    """Merge, check, mark.

    Args:
        project: the declarations.
        cells: by key, hidden ones included.
        relations: between keys.
        remainders: hidden wholes without their parts.
        memory: what was published before.

    Raises:
        NotAdditive: known figures contradict a relation.
    """
    merged = _Merged(cells, relations)
    merged.check()
    marks = _Marks(project, merged, remainders, memory)
    marks.mark()
    problem = marks.problem()
    hidden = {marks.position[merged.root(rest)] for rest in remainders.pairs}
    problem.task = with_past(problem.task, problem.cells, marks.roots, hidden, marks.kept_high(), memory)
    return problem


class _Merged:
    """Cells of the same atoms made one (union-find over keys), relations among what is left."""

    def __init__(self, cells: dict[Key, Cell], relations: list[KeyRelation]) -> None:
        self.given = relations
        self.parent: dict[Key, Key] = {key: key for key in cells}
        self.clashes: list[str] = []
        for relation in relations:
            if len(relation.parts) == 1 and relation.parts[0][1] == 1 and not relation.tolerance:
                self._unite(relation.total, relation.parts[0][0])
        while self._same_parts():
            pass
        groups: dict[Key, list[Cell]] = defaultdict(list)
        for key, cell in cells.items():
            groups[self.root(key)].append(cell)
        self.cells = {root: self._one(group) for root, group in groups.items()}
        self.withheld = {root for root, group in groups.items() if any(c.state == WITHHELD for c in group)}
        self.aliases = {root: [c.key for c in group] for root, group in groups.items()}
        self.relations = self._useful()

    def root(self, key: Key) -> Key:
        while self.parent[key] != key:
            self.parent[key] = self.parent[self.parent[key]]
            key = self.parent[key]
        return key

    def _unite(self, one: Key, other: Key) -> bool:
        first, second = sorted((self.root(one), self.root(other)))
        self.parent[second] = first
        return first != second

    def _same_parts(self) -> bool:
        """Two totals of the same parts are one cell, e.g. two levels of areas that consist of the same districts."""
        seen: dict[tuple[tuple[Key, float], ...], Key] = {}
        changed = False
        for relation in self.given:
            if not relation.tolerance:
                parts = tuple(sorted((self.root(part), weight) for part, weight in relation.parts))
                changed |= self._unite(seen.setdefault(parts, relation.total), relation.total)
        return changed

    def _one(self, group: list[Cell]) -> Cell:
        best = max(group, key=lambda c: (_STRENGTH[c.state], c.value is not None))
        for cell in group:
            if cell.value is not None and best.value is not None and abs(cell.value - best.value) > GAP:
                self.clashes.append(f"{place(cell)} und {place(best)} sind dasselbe, haben aber verschiedene Werte")
        best.whole = all(cell.whole for cell in group)
        best.smallest = min(cell.smallest for cell in group)
        return best

    def _useful(self) -> list[KeyRelation]:
        """Relations by roots, each once, without those that only tell that a sum of unknown numbers is a number."""
        unique: dict[tuple[Key, tuple[tuple[Key, float], ...]], KeyRelation] = {}
        for r in self.given:
            total, parts = self.root(r.total), sorted((self.root(part), weight) for part, weight in r.parts)
            if [(total, 1.0)] != parts:
                unique.setdefault((total, tuple(parts)), KeyRelation(r.kind, total, parts, r.tolerance))
        found = list(unique.values())
        while True:
            uses: dict[Key, int] = defaultdict(int)
            for r in found:
                for key in {r.total, *[part for part, _ in r.parts]}:
                    uses[key] += 1
            kept = [r for r in found if r.kind == WHOLES or not self._says_nothing(r, uses)]
            if len(kept) == len(found):
                return kept
            found = kept

    def _says_nothing(self, relation: KeyRelation, uses: dict[Key, int]) -> bool:
        lonely = [self.cells[k].state == HIDDEN and uses[k] == 1 for k, _ in relation.parts]
        return all(lonely) or (self.cells[relation.total].state == HIDDEN and uses[relation.total] == 1)

    def check(self) -> None:
        """Raise NotAdditive for every relation with a figure of ours that known figures contradict."""
        broken = self.clashes
        for relation in self.relations:
            members = [self.cells[relation.total], *[self.cells[part] for part, _ in relation.parts]]
            if all(cell.state == PUBLIC for cell in members):
                continue
            total = members[0]
            pairs = [(cell, weight) for cell, (_, weight) in zip(members[1:], relation.parts, strict=True)]
            low = sum(weight * (0.0 if cell.low is None else cell.low) for cell, weight in pairs)
            high = sum(weight * (INFINITE if cell.high is None else cell.high) for cell, weight in pairs)
            slack = relation.tolerance + GAP
            if total.low is None or total.high is None:
                continue
            if total.high < low - slack or total.low > high + slack:
                broken.append(f"{place(total)}: die gelieferte Zahl passt nicht zur Summe ({_KINDS[relation.kind]})")
        if broken:
            raise NotAdditive(broken)


_KINDS = {
    "gebiete": "der Teilgebiete",
    "auspraegungen": "der Ausprägungen",
    "kennzahlen": "der Kennzahlen, aus denen sie besteht",
    "jahre": "der Jahre",
    "teil_und_ganzes": "aus Teil und Rest",
}


def place(cell: Cell) -> str:
    """A cell as people read it, without its value."""
    whole, _, part = cell.key[0].rpartition(REMAINDER)
    rest = f" (was zu {whole} fehlt)" if whole else ""
    return f"{part}/{cell.key[1]}, {cell.key[2]}, {cell.period}{rest}"


class _Marks:
    """Which cells are confidential and what must hold for them."""

    def __init__(self, project: Project, merged: _Merged, remainders: Remainders, memory: Memory) -> None:
        self.project, self.merged, self.remainders, self.memory = project, merged, remainders, memory
        self.roots = sorted(merged.cells)
        self.position = {root: number for number, root in enumerate(self.roots)}
        size = len(self.roots)
        self.reasons = [""] * size
        self.closed, self.free, self.held, self.need_open = (np.zeros(size, dtype=bool) for _ in range(4))
        self.need_high, self.need_low = np.full(size, np.nan), np.full(size, np.nan)
        self.lower, self.upper = np.zeros(size), np.full(size, INFINITE)
        self.public_again: list[Key] = []
        self.rules = {m.id: rule_of(project, m) for m in project.measures.values()}
        for measure in project.measures.values():  # the count behind a rate of ours, which no one delivers
            if measure.rate_of and self.rules[measure.id] and not self.rules[measure.rate_of.numerator.measure]:
                self.rules[measure.rate_of.numerator.measure] = self.rules[measure.id]

    def rule(self, root: Key) -> MeasureRule | None:
        """Rules of a cell: the strictest of the measures that share it."""
        rules = [rule for key in self.merged.aliases[root] if (rule := self.rules.get(key[0]))]
        return max(rules, key=lambda r: r.need_high) if rules else None

    def mark(self) -> None:
        """Every cell in its turn, then the hidden remainders."""
        for root in self.roots:
            if root not in self.remainders.pairs:
                self._cell(root, self.merged.cells[root])
        for rest, (part, whole) in self.remainders.pairs.items():
            self._remainder(self.merged.root(rest), self.merged.root(part), self.merged.root(whole))
        self._silence()

    def _cell(self, root: Key, cell: Cell) -> None:
        number, rule = self.position[root], self.rule(root)
        if cell.state == PUBLIC:
            return
        hidden_zeros = rule is not None and rule.zeros_hidden
        starred = cell.state in (OWN, WITHHELD)
        self.lower[number] = cell.smallest if starred and not hidden_zeros and rule else 0.0
        if cell.state in (MISSING, HIDDEN) or rule is None:
            self._close(number, "not_there" if cell.state != WITHHELD else "withheld")
            return
        if root in self.merged.withheld:
            self._close(number, "withheld")
            supposed = self.memory.supposed(root) if cell.value is None else None
            if supposed is not None:  # shown before the star came: nobody forgets it, but others can be kept
                self.lower[number] = self.upper[number] = supposed
            elif cell.delivered:
                self._need(number, rule, rule.need_high)
        reason, high = self._primary(root, cell, rule)
        if reason:
            self._confidential(root, number, reason, rule, high)
        elif not self.reasons[number]:
            self._earlier(root, number, cell, rule)

    def _confidential(self, root: Key, number: int, reason: str, rule: MeasureRule, high: float) -> None:
        if self._seen(root) == "published":
            self.public_again += self.merged.aliases[root]
            return
        self._close(number, reason)
        self._need(number, rule, high)

    def _earlier(self, root: Key, number: int, cell: Cell, rule: MeasureRule) -> None:
        """What is published stays known, what was withheld stays so while its value does; all else may be chosen."""
        if cell.high == 0 and not rule.zeros_hidden:
            return  # always shown: a star on it would say "at least 1"
        seen = self._seen(root)
        if seen == "withheld":
            self._close(number, "ledger")
        elif seen is None:
            self.free[number], self.held[number] = True, self._always_shown(root)

    def _always_shown(self, root: Key) -> bool:
        """Whether any of a cell's names is of a level whose figures are not withheld to protect others."""
        areas, levels = self.project.directory.areas, self.project.release.always_shown
        return any(areas[key[2]].level in levels for key in self.merged.aliases[root] if key[2] in areas)

    def _seen(self, root: Key) -> str | None:
        value = self.merged.cells[root].value
        if value is None:
            return None
        rule = self.rule(root)
        nearby = rule.threshold if rule else 1
        seen = {self.memory.before(key, value, nearby) for key in self.merged.aliases[root]}
        return next((state for state in ("published", "withheld") if state in seen), None)

    def _primary(self, root: Key, cell: Cell, rule: MeasureRule) -> tuple[str, float]:
        """Rules P1 and P3: the reason, and what an attacker's upper bound must reach."""
        if cell.low is None or cell.high is None or cell.high <= 0:
            return "", 0.0
        if cell.low < rule.threshold:
            return "primary_count", rule.need_high
        units = self._units(root, rule)
        if units is not None and 0 < units < (rule.units.threshold if rule.units else 0):
            return "primary_units", max(rule.need_high, cell.high + 1)
        return "", 0.0

    def _units(self, root: Key, rule: MeasureRule) -> float | None:
        """Smallest number of contributing units behind any of a cell's names."""
        if rule.units is None:
            return None
        found = []
        for key in self.merged.aliases[root]:
            for category in (key[1], "insgesamt"):
                units = self.merged.parent.get((rule.units.measure, category, *key[2:]))
                if units is not None and (value := self.merged.cells[self.merged.root(units)].value) is not None:
                    found.append(value)
                    break
        return min(found, default=None)

    def _remainder(self, rest: Key, part: Key, whole: Key) -> None:
        """Rules P2 (a small remainder gives away who is not counted) and P4 (none: all of a small group are)."""
        number, cell, rule = self.position[rest], self.merged.cells[rest], self.rule(part) or self.rule(whole)
        if cell.state == HIDDEN:
            self._close(number, "not_there")
        if rule is None or cell.value is None or cell.state == PUBLIC:
            return
        if self._tiny(part, whole) or self._both_out(part, whole):
            return
        if 0 < cell.value < rule.threshold:
            self.reasons[number] = "primary_complement"
            self._need(number, rule, rule.need_high)
        size = self.merged.cells[whole].value or 0.0
        if cell.value == 0 and 0 < size < rule.whole_group and self._seen(part) != "published":
            self._close(self.position[part], "primary_group")
            self.need_open[self.position[part]] = True

    def _tiny(self, part: Key, whole: Key) -> bool:
        """Everybody knows that the whole is so small that any star would tell too much.

        Where zeros are shown, a star is at least 1, and of a whole as large as the threshold less than that is left.
        """
        rule, above = self.rule(part), self.merged.cells[whole]
        if rule is None or above.state != PUBLIC or above.value is None:
            return False
        tiny = 0 < above.value < rule.threshold + (0 if rule.zeros_hidden else 1)
        return tiny and self.merged.cells[part].state in (OWN, WITHHELD)

    def _silence(self) -> None:
        """In groups that everybody knows to be tiny nothing is ever shown, not even a zero: no star tells anything."""
        pairs = self.remainders.pairs.values()
        roots = [(self.merged.root(part), self.merged.root(whole)) for part, whole in pairs]
        sizes = {part: self.merged.cells[whole].value for part, whole in roots if self._tiny(part, whole)}
        waiting = list(sizes)
        below: dict[Key, list[Key]] = defaultdict(list)
        for relation in self.merged.relations if waiting else []:
            below[relation.total] += [part for part, _ in relation.parts]
        seen: set[Key] = set()
        while waiting:
            root = waiting.pop()
            number, known = self.position[root], self._seen(root) == "published"
            if root in seen or self.merged.cells[root].state not in (OWN, WITHHELD) or known:
                continue
            seen.add(root)
            self._close(number, "primary_group")
            self.lower[number], self.need_low[number], self.need_high[number] = 0.0, 0.0, np.nan
            self.need_open[number] = self.merged.cells[root].value != 0  # a zero may follow from zeros shown above it
            if root in sizes and self.need_open[number]:
                self.need_high[number] = sizes[root]  # none of them, or all: both must remain possible
            waiting += below[root]

    def _both_out(self, part: Key, whole: Key) -> bool:
        """Part and whole were both published before, or are public: their difference is known for good."""
        states = [self.merged.cells[k].state == PUBLIC or self._seen(k) == "published" for k in (part, whole)]
        return all(states)

    def _close(self, number: int, reason: str) -> None:
        self.closed[number], self.free[number], self.held[number] = True, False, False
        self.reasons[number] = reason

    def _need(self, number: int, rule: MeasureRule, high: float) -> None:
        before = self.need_high[number]
        self.need_high[number] = high if np.isnan(before) else max(before, high)
        self.need_open[number] = True
        if rule.zeros_hidden:
            self.need_low[number] = 0.0

    def kept_high(self) -> Floats:
        """Per cell what the upper bound of an earlier version that was withheld must still reach; NaN for none."""
        rules = [self.rule(root) for root in self.roots]
        high = np.array([rule.need_high if rule else np.nan for rule in rules], dtype=float)
        return np.where(np.isnan(self.need_low) | (self.need_low > 0), high, np.nan)

    def problem(self) -> Problem:
        cells = [self.merged.cells[root] for root in self.roots]
        low = np.array([np.nan if c.low is None else c.low for c in cells], dtype=float)
        high = np.array([np.nan if c.high is None else c.high for c in cells], dtype=float)
        system = System(
            [cell_name(root) for root in self.roots],
            low,
            high,
            self.lower,
            self.upper,
            np.array([c.whole for c in cells], dtype=bool),
            [self._relation(relation) for relation in self.merged.relations],
        )
        weight = weights(self.project, cells)
        task = Task(system, self.free, self.closed, weight, self.need_high, self.need_low, self.need_open, self.held)
        position = {key: self.position[root] for root in self.roots for key in self.merged.aliases[root]}
        return Problem(task, position, self.reasons, cells, sorted(self.public_again))

    def _slack(self, relation: KeyRelation) -> float:
        """The allowed gap, where there is one: sums that hold are held to hold by every reader, whatever is allowed."""
        total = self.merged.cells[relation.total]
        parts = [(self.merged.cells[key], weight) for key, weight in relation.parts]
        values = [total.value, *[cell.value for cell, _ in parts]]
        least = sum(weight * (cell.low if cell.low is not None else cell.smallest) for cell, weight in parts)
        if total.value is None or None in values:
            possible = total.high is None or least <= total.high + GAP
            return 0.0 if possible else relation.tolerance
        return relation.tolerance if abs(total.value - least) > GAP else 0.0

    def _relation(self, relation: KeyRelation) -> Relation:
        total, slack = self.merged.cells[relation.total], self._slack(relation)
        return Relation(
            f"{place(total)} = Summe {_KINDS[relation.kind]}",
            relation.kind,
            (self.position[relation.total], *[self.position[part] for part, _ in relation.parts]),
            (-1.0, *[weight for _, weight in relation.parts]),
            -slack,
            slack,
        )


def weights(project: Project, cells: list[Cell]) -> np.ndarray:
    """Cost of suppressing a cell: 1, 1.5, 2.5, ... for coarser levels, 50 for the coarsest, half more for a total.

    A level is coarser the fewer areas it has. After the weights measured in disclosure-control research.
    """
    sizes = dict.fromkeys(project.directory.levels, 0)
    for area in project.directory.areas.values():
        if area.level in sizes:
            sizes[area.level] += 1
    order = sorted(sizes, key=lambda level: -sizes[level])
    steps = [1.0, 1.5, 2.5, 4.0, 6.0, 9.0]
    cost = {level: steps[min(i, len(steps) - 1)] for i, level in enumerate(order)}
    areas, memberships = project.directory.areas, project.directory.memberships
    tops = {areas[m.parent_id].level for m in memberships} - {areas[m.area_id].level for m in memberships}
    cost |= dict.fromkeys(tops, 50.0)
    split = {m.id for m in project.measures.values() if m.categories}
    return np.array(
        [cost.get(c.level, 1.0) * (1.5 if c.key[0] in split and c.key[1] == "insgesamt" else 1.0) for c in cells]
    )
