"""Sums that nobody declares but everybody can see: a = b and a = b + c in all rows where all of them are published.

A column is a measure's category of counts, a row an area at a date; columns of different period types have no rows in
common. Effort is bounded: per period type at most `MAX_PAIRS` pairs of columns, those of one family first, each
compared with all columns at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations

import numpy as np

from pipelines.audit.facts import GAP, Facts, Key, Public
from pipelines.audit.public_relations import Template
from pipelines.disclosure.system import Flags, Floats

MIN_ROWS = 8
"""Rows in which a sum must hold; with fewer it may be chance."""
MIN_VALUES = 3
"""Different values each column must take in these rows."""
MAX_PAIRS = 20_000
Column = tuple[str, str]


def discover(public: Public, facts: Facts, declared: list[Template]) -> list[Template]:
    """Visible sums as relations of the rows in which a figure is withheld."""
    known = {frozenset(template.cells) for template in declared}
    by_type: dict[str, list[Key]] = defaultdict(list)
    for key, status in public.status.items():
        info = public.measures.get(key[0])
        if info is not None and info.kind == "count" and status != "missing":
            by_type[key[3]].append(key)
    found: list[Template] = []
    for period_type, keys in sorted(by_type.items()):
        withheld = {(key[2], key[4]) for key in keys if public.status[key] == "withheld"}
        if withheld:
            table = _Table(keys, facts)
            for total, parts in table.sums(_families(public, table.columns)):
                found += _instances(public, period_type, (total, *parts), withheld, known)
    return found


def _families(public: Public, columns: list[Column]) -> list[str]:
    return [public.measures[measure].family for measure, _ in columns]


def _instances(
    public: Public,
    period_type: str,
    columns: tuple[Column, ...],
    rows: set[tuple[str, str]],
    known: set[frozenset[Key]],
) -> Iterator[Template]:
    """The sum in every row in which one of its cells is withheld."""
    names = [f"{measure}/{category}" for measure, category in columns]
    label = f"Sichtbar in allen Zeilen: {names[0]} = {' + '.join(names[1:])}"
    for area, date in sorted(rows):
        cells = tuple((measure, category, area, period_type, date) for measure, category in columns)
        status = [public.status.get(cell, "missing") for cell in cells]
        if "withheld" in status and "missing" not in status and frozenset(cells) not in known:
            coefficients = (-1.0, *[1.0] * (len(cells) - 1))
            yield Template(f"{label}, {area}, {date}", "entdeckt", cells, coefficients)


class _Table:
    """Published figures of one period type: rows (area, date) x columns (measure, category), NaN where unknown."""

    def __init__(self, keys: list[Key], facts: Facts) -> None:
        self.columns = sorted({key[:2] for key in keys})
        column = {name: position for position, name in enumerate(self.columns)}
        row = {place: position for position, place in enumerate(sorted({(k[2], k[4]) for k in keys}))}
        self.values: Floats = np.full((len(row), len(self.columns)), np.nan)
        for key in keys:
            if facts.exact(key):
                self.values[row[key[2], key[4]], column[key[:2]]] = facts.low[key]

    def sums(self, families: list[str]) -> Iterator[tuple[Column, tuple[Column, ...]]]:
        """Totals and parts of every sum of one or two columns that holds wherever it can be seen."""
        usable = [c for c in range(len(self.columns)) if _varied(self.values[:, c])]
        for part in usable:
            for total in self._equal_to(self.values[:, [part]]):
                if total > part:
                    yield self.columns[total], (self.columns[part],)
        pairs = sorted(combinations(usable, 2), key=lambda pair: families[pair[0]] != families[pair[1]])
        for first, second in pairs[:MAX_PAIRS]:
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


def _varied(values: Floats) -> bool:
    return len(np.unique(values[~np.isnan(values)])) >= MIN_VALUES
