"""Delivered rates: with a known denominator a rounded rate is a count, or a few of them.

Method: the numerators compatible with a rate r rounded to half-width h are {k : |f k / d - r| <= h}.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipelines.disclosure.cells import HIDDEN, MISSING, OWN, WITHHELD, Cell, Key, read_cells
from pipelines.disclosure.relations import date_of_whole
from pipelines.disclosure.rules import rule_of
from pipelines.marts.inputs import FACTORS
from pipelines.project import Project
from schemas.documents import Measure


@dataclass(frozen=True)
class RateRow:
    """A rate of ours: shown only where its numerator and its denominator are; with neither cell, never."""

    key: Key
    numerator: Key | None
    denominator: Key | None


def decimals_of(values: Iterable[float]) -> int:
    """Most decimals any of the values has in its shortest notation."""
    return max((len(repr(v).partition(".")[2].rstrip("0")) for v in values if "e" not in repr(v)), default=0)


def compatible(rate: float, denominator: float, factor: float, decimals: int) -> tuple[int, int]:
    """Smallest and largest numerator that a rate rounded to some decimals leaves possible.

    A rate that fits no numerator (its office used another denominator) is read as the nearest one.
    """
    half = 0.5 * 10.0**-decimals
    low = math.ceil(denominator * (rate - half) / factor - 1e-9)
    high = math.floor(denominator * (rate + half) / factor + 1e-9)
    if low > high:
        low = high = round(denominator * rate / factor)
    return max(low, 0), max(high, 0)


def own_rates(project: Project) -> list[Measure]:
    """Rates that are not public elsewhere."""
    return [m for m in project.measures.values() if m.kind == "rate" and rule_of(project, m)]


def add_rates(project: Project, observation: Path, cells: dict[Key, Cell]) -> list[RateRow]:
    """Rows of our rates; a numerator that no one delivers as a count becomes a cell with the range its rate tells."""
    measures = own_rates(project)
    found = read_cells(observation, [m.id for m in measures], set())
    values: dict[str, list[float]] = defaultdict(list)
    for key, cell in found.items():
        if cell.value is not None:
            values[key[0]].append(cell.value)
    rows = []
    for key, cell in found.items():
        measure = project.measures[key[0]]
        if cell.state == OWN and measure.rate_of:
            rows.append(_row(project, measure, cell, cells, decimals_of(values[key[0]])))
        elif cell.state == OWN:
            rows.append(RateRow(key, None, None))
    return rows


def _row(project: Project, measure: Measure, rate: Cell, cells: dict[Key, Cell], decimals: int) -> RateRow:
    declared, key = measure.rate_of, rate.key
    assert declared is not None
    top, base = declared.numerator, declared.denominator
    numerator: Key = (top.measure, top.category, key[2], project.measures[top.measure].period_type, key[4])
    date = date_of_whole(key[4], declared.denominator_date)
    denominator: Key = (base.measure, base.category, key[2], project.measures[base.measure].period_type, date)
    whole = cells.get(denominator)
    if whole is None or whole.value is None:
        return RateRow(key, None, None)
    known = cells.get(numerator)
    if known is None or known.state in (MISSING, HIDDEN):
        low, high = compatible(rate.value or 0.0, whole.value, FACTORS[measure.unit], decimals)
        cells[numerator] = Cell(numerator, OWN, low, high, True, True, 1.0, rate.period, rate.level)
    elif known.state == WITHHELD:
        return RateRow(key, None, None)
    return RateRow(key, numerator, denominator)
