"""From a printed table and its description to cells and relations: which sums a reader can form.

Every cell that a sum needs and the table does not show is a hidden cell: unknown, never zero. So are remainders (whole
without part), which nobody prints and everybody can work out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipelines.audit.table_reading import Cell, Printed, Unusable
from pipelines.disclosure.attack import violated
from pipelines.disclosure.system import INFINITE, Flags, Relation, System
from pipelines.intake.tables import plain_heading
from schemas.audited_table import COLUMNS, REST, AuditedTable, Parts
from schemas.yaml_source import nearest

MAX_CELLS = 400_000
"""Most cells, hidden ones included."""

Key = tuple[str, ...]
"""Labels of a cell, one per dimension."""

_ROUNDING = 1e-9
"""Beyond half a digit: programs round halves up or to even."""


@dataclass(frozen=True)
class Split:
    """One declared sum: a label and the labels it is made of."""

    total: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Dimension:
    """One way of splitting the table: a column of labels, or the columns of counts."""

    name: str
    labels: tuple[str, ...]
    splits: tuple[Split, ...]


@dataclass
class Puzzle:
    """What a reader sees and knows.

    Attributes:
        system: cells and relations; a star's value is unknown here too.
        published: flags of the cells with a printed number.
        keys: labels of each cell; remainders have the labels of their part and a last one of their own.
        cells: the printed cells, by position.
        remainders: position of a remainder: positions of part and whole.
        absent: positions of cells that a sum needs and the table does not show, remainders apart.
    """

    system: System
    published: Flags
    keys: list[Key]
    cells: dict[int, Cell]
    remainders: dict[int, tuple[int, int]] = field(default_factory=dict)
    absent: list[int] = field(default_factory=list)

    def name(self, position: int) -> str:
        """A cell for people."""
        return self.system.names[position]


def puzzle(printed: Printed, table: AuditedTable) -> Puzzle:
    """Cells and relations of a table.

    Raises:
        Unusable: a label of the description is not in the table, or the printed numbers do not add up.
    """
    builder = _Builder(printed, table)
    builder.add_sums()
    builder.add_remainders()
    system = builder.system()
    builder.add_rates(system)
    published = ~np.isnan(system.known_low)
    known = {*builder.cells, *builder.remainders}
    absent = [position for position in map(int, np.flatnonzero(~published)) if position not in known]
    result = Puzzle(system, published, builder.keys, builder.cells, builder.remainders, absent)
    _must_add_up(result)
    return result


class _Builder:
    """Gives every cell a position and every sum a relation."""

    def __init__(self, printed: Printed, table: AuditedTable) -> None:
        self.printed, self.table = printed, table
        self.long = table.value is not None
        self.keys: list[Key] = []
        self.positions: dict[Key, int] = {}
        self.cells: dict[int, Cell] = {}
        self.relations: list[Relation] = []
        self.remainders: dict[int, tuple[int, int]] = {}
        self.names: dict[int, str] = {}
        for line in printed.lines:
            for column in printed.counts:
                self.cells[self._position(line.labels if self.long else (*line.labels, column))] = line.cells[column]
        self.dimensions = self._dimensions()

    def add_sums(self) -> None:
        """Every declared sum for every combination of the other labels; hidden cells take part in further sums."""
        done: set[tuple[int, Split, Key]] = set()
        before = -1
        while before < len(self.keys):
            before = len(self.keys)
            for place, dimension in enumerate(self.dimensions):
                others: dict[str, list[Key]] = {}
                for key in self.keys:
                    others.setdefault(key[place], []).append((*key[:place], *key[place + 1 :]))
                for split in dimension.splits:
                    self._add_split(place, split, others, done)

    def _add_split(
        self, place: int, split: Split, others: dict[str, list[Key]], done: set[tuple[int, Split, Key]]
    ) -> None:
        """One sum wherever any of its parts is there; `others`: the other labels of the cells with a label here."""
        for rest in dict.fromkeys(rest for part in split.parts for rest in others.get(part, [])):
            if (place, split, rest) in done:
                continue
            done.add((place, split, rest))
            total, *parts = [
                self._position((*rest[:place], label, *rest[place:])) for label in (split.total, *split.parts)
            ]
            about = f" ({' · '.join(rest)})" if rest else ""
            label = f"{split.total} = {_joined(split.parts)}{about}"
            cells, coefficients = (total, *parts), (-1.0, *[1.0] * len(parts))
            self.relations.append(Relation(label, "summe", cells, coefficients))

    def add_remainders(self) -> None:
        """Whole = part + remainder, for every declared part."""
        for part, whole in self.table.part_of.items():
            place = self._place_of(part, whole)
            for key in [key for key in self.keys if key[place] == plain_heading(part)]:
                other = (*key[:place], plain_heading(whole), *key[place + 1 :])
                if other not in self.positions:
                    continue
                mine, its = self.positions[key], self.positions[other]
                rest = self._position((*key, f"Rest zu {whole}"))
                self.remainders[rest] = (mine, its)
                self.names[rest] = " · ".join((*key[:place], f"{whole} ohne {part}", *key[place + 1 :]))
                label = f"{whole} = {part} + Rest ({' · '.join((*key[:place], *key[place + 1 :]))})"
                self.relations.append(Relation(label, "teil_und_ganzes", (its, mine, rest), (-1.0, 1.0, 1.0)))

    def add_rates(self, system: System) -> None:
        """A printed rate, rounded, ties numerator and denominator: (r - h) d <= per n <= (r + h) d."""
        for name, rate in self.table.rate_of.items():
            columns = [plain_heading(column) for column in (rate.numerator, rate.denominator)]
            for column in columns:
                if column not in self.printed.counts:
                    raise Unusable([_unknown(f"rate_of: {name}", column, self.printed.counts)])
            for line in self.printed.lines:
                cell = line.cells[plain_heading(name)]
                if cell.kind != "number":
                    continue
                pair = tuple(self.positions[(*line.labels, column)] for column in columns)
                half = 0.5 * 10.0**-cell.digits + _ROUNDING
                label = f"{name} {cell.text} ({' · '.join(line.labels)})"
                upper = Relation(f"{label}, höchstens", "quote", pair, (rate.per, -(cell.value + half)), -INFINITE, 0.0)
                lower = Relation(f"{label}, mindestens", "quote", pair, (rate.per, -(cell.value - half)), 0.0, INFINITE)
                system.relations += [upper, lower]

    def system(self) -> System:
        """All cells with what is printed and what anybody would think possible."""
        size = len(self.keys)
        values, lower, upper = np.full(size, np.nan), np.zeros(size), np.full(size, INFINITE)
        for position, cell in self.cells.items():
            values[position] = cell.value
            if cell.kind == "star" and self.table.zeros == "published" and not self.table.amounts:
                lower[position] = 1
            if cell.kind == "star" and self.table.stars_only_small:
                upper[position] = self.table.threshold - 1
        if self.table.absent == "zero":
            values[self._left_out()] = 0
        names = [self.names.get(at, " · ".join(key)) for at, key in enumerate(self.keys)]
        system = System.of_values(names, values, lower=lower, upper=upper, relations=self.relations)
        system.whole[:] = not self.table.amounts
        return system

    def _left_out(self) -> list[int]:
        """Cells without a row that are no sum in any dimension: some tables have no rows of zeros."""
        totals = [{split.total for split in dimension.splits} for dimension in self.dimensions]
        return [
            position
            for position, key in enumerate(self.keys)
            if position not in self.cells
            and position not in self.remainders
            and not any(label in total for label, total in zip(key, totals, strict=True))
        ]

    def _position(self, key: Key) -> int:
        if key not in self.positions:
            if len(self.keys) >= MAX_CELLS:
                raise Unusable([f"die Summen verbinden mehr als {MAX_CELLS} Zellen; bitte die Tabelle teilen"])
            self.positions[key] = len(self.keys)
            self.keys.append(key)
        return self.positions[key]

    def _dimensions(self) -> list[Dimension]:
        names = [*self.table.labels, *([] if self.long else [COLUMNS])]
        found: list[Dimension] = []
        problems: list[str] = []
        for place, name in enumerate(names):
            labels = list(dict.fromkeys(key[place] for key in self.keys))
            splits = list(_splits(name, self.table, labels, problems))
            found.append(Dimension(name, tuple(labels), tuple(splits)))
        if problems:
            raise Unusable(problems)
        return found

    def _place_of(self, part: str, whole: str) -> int:
        """The one dimension that has both labels."""
        wanted = {plain_heading(part), plain_heading(whole)}
        places = [place for place, dimension in enumerate(self.dimensions) if wanted <= set(dimension.labels)]
        if len(places) == 1:
            return places[0]
        if places:
            raise Unusable([f"part_of: »{part}« und »{whole}« stehen in mehreren Spalten; bitte eindeutig benennen"])
        known = [label for dimension in self.dimensions for label in dimension.labels]
        absent = [label for label in (part, whole) if plain_heading(label) not in known]
        if absent:
            raise Unusable([_unknown("part_of", label, known) for label in absent])
        raise Unusable([f"part_of: »{part}« und »{whole}« sind keine Beschriftungen derselben Art"])


def _splits(name: str, table: AuditedTable, labels: Sequence[str], problems: list[str]) -> Iterator[Split]:
    """The declared sums of a dimension; labels that are not there become problems."""
    declared = table.sums.get(name, {})
    totals = {plain_heading(total) for total in declared}
    rest = [label for label in labels if label not in totals]
    for total, given in declared.items():
        for way in _ways(given):
            parts = rest if way == REST else [plain_heading(part) for part in way]
            where = f"sums: {name}: {total}"
            wrong = [label for label in (plain_heading(total), *parts) if label not in labels]
            problems += [_unknown(where, label, labels) for label in dict.fromkeys(wrong)]
            if not parts:
                problems.append(f"{where}: keine Teile; erwartet wird eine Liste oder {REST}")
            if plain_heading(total) in parts:
                problems.append(f"{where}: »{total}« ist Teil von sich selbst")
            if len(set(parts)) < len(parts):
                problems.append(f"{where}: ein Teil steht zweimal in der Liste")
            yield Split(plain_heading(total), tuple(parts))


def _ways(given: Parts | list[Parts]) -> list[Parts]:
    """One or several ways of adding up the same total; a plain list of labels is one way."""
    if given == REST:
        return [REST]
    ways = [way for way in given if isinstance(way, list)]
    if not ways:
        return [[str(label) for label in given]]
    return [*ways, *[REST for way in given if way == REST]]


def _unknown(where: str, label: str, known: Sequence[str]) -> str:
    near = nearest(label, known)
    more = " …" if len(known) > 8 else ""
    hint = f"meinten Sie »{near[0]}«?" if near else f"vorhanden: {', '.join(f'»{name}«' for name in known[:8])}{more}"
    return f"{where}: »{label}« steht nicht in der Tabelle; {hint}"


def _joined(labels: Sequence[str], most: int = 4) -> str:
    if len(labels) <= most:
        return " + ".join(labels)
    return f"{' + '.join(labels[: most - 2])} + … + {labels[-1]} ({len(labels)} Teile)"


# ---------------------------------------------------------------- what does not fit


def _must_add_up(found: Puzzle) -> None:
    broken = violated(found.system, found.published)
    if broken:
        raise Unusable(_does_not_add_up(found, relation) for relation in broken)


def _does_not_add_up(found: Puzzle, relation: Relation) -> str:
    known, first = found.system.known_low, relation.cells[0]
    where = found.cells[first].place if first in found.cells else found.name(first)
    if relation.kind == "quote":
        numbers = " von ".join(number(float(known[cell])) for cell in relation.cells)
        hint = "ist sie anders gerundet, unter ignore nennen statt unter rate_of"
        return f"{where}: die Quote passt nicht: {relation.label}, gedruckt ist {numbers}; {hint}"
    total = sum(float(known[cell]) for cell in relation.cells[1:])
    return f"{where}: {relation.label}: die Teile ergeben {number(total)}, gedruckt ist {number(float(known[first]))}"


def number(value: float) -> str:
    """A number as people write it: 1.234 or 12,5."""
    if math.isinf(value):
        return "unbegrenzt"
    text = f"{value:,.6f}".rstrip("0").rstrip(".")
    return text.translate(str.maketrans(",.", ".,"))
