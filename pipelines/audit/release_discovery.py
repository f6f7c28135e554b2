"""Sums that nobody declares but everybody can see: a = b and a = b + c in all rows where all of them are published.

Effort is bounded: per table at most `MAX_PAIRS` pairs of columns (fewer in large tables), those of one family first,
each compared with all columns at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

from pipelines.audit.facts import GAP, Facts, Key, Public
from pipelines.audit.public_relations import Template
from pipelines.disclosure.system import Flags, Floats

MIN_ROWS = 8
"""Rows in which a sum must hold; with fewer it may be chance."""
MIN_VALUES = 3
"""Different values each column must take in these rows."""
MAX_PAIRS = 20_000
MAX_WORK = 1_000_000_000
"""Comparisons of two numbers per table; about two seconds."""
Column = tuple[str, ...]


@dataclass(frozen=True)
class _View:
    """A way to lay cells out: positions of the key that name the column, the row, and the table."""

    column: tuple[int, ...]
    row: tuple[int, ...]
    table: tuple[int, ...] = ()

    def key(self, column: Column, row: Column, table: Column) -> Key:
        """The cell of a column in a row."""
        parts = dict(zip((*self.column, *self.row, *self.table), (*column, *row, *table), strict=True))
        return parts[0], parts[1], parts[2], parts[3], parts[4]


_MEASURES = _View(column=(0, 1), row=(2, 4), table=(3,))
_AREAS = _View(column=(2,), row=(0, 1, 3, 4))


def _pick(key: Key, positions: tuple[int, ...]) -> Column:
    return tuple(key[position] for position in positions)


def discover(public: Public, facts: Facts, declared: list[Template]) -> list[Template]:
    """Visible sums as relations of the rows in which a figure is withheld.

    Two ways to look: measures and categories as columns over areas and dates, and areas as columns over measures,
    categories and dates (a locality that is a district under another name).
    """
    known = {frozenset(template.cells) for template in declared}
    counts = {name for name, info in public.measures.items() if info.kind == "count"}
    keys = [key for key, status in public.status.items() if key[0] in counts and status != "missing"]
    found: list[Template] = []
    for view in (_MEASURES, _AREAS):
        tables: dict[Column, list[Key]] = defaultdict(list)
        for key in keys:
            tables[_pick(key, view.table)].append(key)
        for name, members in sorted(tables.items()):
            withheld = {_pick(key, view.row) for key in members if public.status[key] == "withheld"}
            if withheld:
                table = _Table(members, facts, view)
                for total, parts in table.sums(_families(public, table.columns)):
                    found += _instances(public, view, name, (total, *parts), withheld, known)
    return found


def _families(public: Public, columns: list[Column]) -> list[str]:
    """Columns of one family are tried first; areas are of none."""
    return [public.measures[column[0]].family if column[0] in public.measures else "" for column in columns]


def _instances(
    public: Public,
    view: _View,
    table: Column,
    columns: tuple[Column, ...],
    rows: set[Column],
    known: set[frozenset[Key]],
) -> Iterator[Template]:
    """The sum in every row in which one of its cells is withheld."""
    names = ["/".join(column) for column in columns]
    label = f"Sichtbar in allen Zeilen: {names[0]} = {' + '.join(names[1:])}"
    for row in sorted(rows):
        cells = tuple(view.key(column, row, table) for column in columns)
        status = [public.status.get(cell, "missing") for cell in cells]
        if "withheld" in status and "missing" not in status and frozenset(cells) not in known:
            coefficients = (-1.0, *[1.0] * (len(cells) - 1))
            yield Template(f"{label}, {', '.join(row)}", "entdeckt", cells, coefficients)


class _Table:
    """Published figures: rows x columns of a view, NaN where unknown."""

    def __init__(self, keys: list[Key], facts: Facts, view: _View) -> None:
        self.columns = sorted({_pick(key, view.column) for key in keys})
        column = {name: position for position, name in enumerate(self.columns)}
        row = {place: position for position, place in enumerate(sorted({_pick(key, view.row) for key in keys}))}
        self.values: Floats = np.full((len(row), len(self.columns)), np.nan)
        for key in keys:
            if facts.exact(key):
                self.values[row[_pick(key, view.row)], column[_pick(key, view.column)]] = facts.low[key]

    def sums(self, families: list[str]) -> Iterator[tuple[Column, tuple[Column, ...]]]:
        """Totals and parts of every sum of one or two columns that holds wherever it can be seen."""
        usable = [c for c in range(len(self.columns)) if _varied(self.values[:, c])]
        for part in usable:
            for total in self._equal_to(self.values[:, [part]]):
                if total > part:
                    yield self.columns[total], (self.columns[part],)
        for first, second in islice(_pairs(usable, families), min(MAX_PAIRS, MAX_WORK // max(1, self.values.size))):
            for total in self._equal_to(self.values[:, [first, second]]):
                if total not in (first, second):
                    yield self.columns[total], (self.columns[first], self.columns[second])

    def _equal_to(self, parts: Floats) -> list[int]:
        """Columns that equal the sum of the given ones in all common rows (at least `MIN_ROWS`, with variation)."""
        seen = ~np.isnan(parts).any(axis=1) & (parts != 0).all(axis=1)
        if seen.sum() < MIN_ROWS:
            return []
        rows = ~np.isnan(parts).any(axis=1)
        gaps = np.abs(self.values[rows] - parts[rows].sum(axis=1)[:, None])
        wrong = (gaps > GAP).any(axis=0)
        telling = (~np.isnan(self.values[seen])).sum(axis=0) >= MIN_ROWS
        return [int(c) for c in np.flatnonzero(telling & ~wrong) if self._telling(int(c), parts, seen)]

    def _telling(self, column: int, parts: Floats, seen: Flags) -> bool:
        common = seen & ~np.isnan(self.values[:, column])
        return _varied(self.values[common, column]) and all(_varied(part) for part in parts[common].T)


def _pairs(columns: list[int], families: list[str]) -> Iterator[tuple[int, int]]:
    """Pairs of columns, those of one family first; there are far more of them than are looked at."""
    for of_one in (True, False):
        yield from (pair for pair in combinations(columns, 2) if (families[pair[0]] == families[pair[1]]) == of_one)


def _varied(values: Floats) -> bool:
    return len(np.unique(values[~np.isnan(values)])) >= MIN_VALUES
