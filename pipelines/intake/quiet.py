"""Proves that the rules of comparison have nothing to say about a delivery, without asking them.

Most deliveries are clean, and the queries of `figures` look at every figure ever delivered. Here a figure is looked at
in arrays that stay in memory while a source is taken in. The limits are those of the rules, but for what makes an
exception from a rule: where a rule might speak, or anything is unusual (corrected figures that come again, declared
sums, other sources to agree with), nothing is proven and the queries are asked. The proof never finds anything.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipelines.areas import Directory
from pipelines.intake.account import About, Account, AreaNumbers, Floats, Held, numbered
from pipelines.intake.blocks import EVIDENCE, NEAR, PLAUSIBLE_TOTAL, SAME_SHARE, equal_totals, near_each_other
from pipelines.intake.extent import unexpectedly_gone
from pipelines.intake.figures import ENOUGH, SUMMED, Slot, longest
from pipelines.intake.labels import FAR
from pipelines.intake.past import Memory, Past
from pipelines.intake.series import CHANGES, MAD, OUTLIER, Shift, consecutive, unusual
from schemas.documents import TOTAL, Measure, Source

SLACK = 1e-6
"""So much (as a share) may the digits of DuckDB and numpy differ."""


class Column:
    """A column of figures of one delivery."""

    def __init__(self, about: About, held: Held, whole: bool) -> None:
        """Nothing is worked out yet."""
        self.about, self.held, self.whole = about, held, whole
        self._samples: dict[int, Floats] = {}

    @cached_property
    def n(self) -> int:
        """Values."""
        return int(np.count_nonzero(~np.isnan(self.held.value)))

    @cached_property
    def size(self) -> int:
        """Rows, with and without a value."""
        return int(np.count_nonzero(self.held.status))

    @cached_property
    def total(self) -> float:
        """Sum of the values."""
        return float(np.nansum(self.held.value))

    @cached_property
    def weight(self) -> float:
        """What the values prove if another column has the same."""
        return float(np.sum(_proof(self.held.value)))

    def sample(self, every: int, chosen: npt.NDArray[np.intp]) -> Floats:
        """Values of chosen areas, one in `every`."""
        if every not in self._samples:
            self._samples[every] = self.held.value[chosen]
        return self._samples[every]


class _Shelf:
    """The columns of one source's readings, from memory or read from the readings."""

    def __init__(self, directory: Directory, counts: set[str], memory: Memory) -> None:
        self.areas: AreaNumbers = numbered(directory)
        self.counts, self.memory = counts, memory

    def columns(self, reading: Path) -> list[Column] | None:
        """Columns of figures of a reading, and sums over categories without a total; None if nothing is proven."""
        if reading not in self.memory.columns:
            if reading not in self.memory.accounts:
                self.memory.put(reading, Account.of(reading, self.areas))
            account = self.memory.accounts.get(reading)
            if account is None or not account.once or not account.figures:
                return None
            self.memory.columns[reading] = list(_columns(account, self.counts))
        return self.memory.columns[reading]

    def samples(self, a: Column, b: Column, every: int) -> tuple[Floats, Floats]:
        """Values of the areas that the queries take a sample of (see `figures.IN_SAMPLE`)."""
        chosen = self.areas.sample(every)
        return a.sample(every, chosen), b.sample(every, chosen)

    def shift(self, before: Column, after: Column, every: int) -> tuple[int, float, float] | None:
        """Areas with a value in both, median and scatter of the changes; None for too few (see `series._SHIFT`)."""
        key, known = (id(before), id(after)), self.memory.shifts
        if key not in known:
            n = int(np.count_nonzero(~np.isnan(before.held.value) & ~np.isnan(after.held.value)))
            x, y = self.samples(before, after, every)
            known[key] = (n, *_middle(np.arcsinh(y) - np.arcsinh(x))) if n >= ENOUGH else None
        return known[key]


def nothing_to_say(
    reading: Path,
    source: Source,
    measures: dict[str, Measure],
    directory: Directory,
    earlier: list[Past],
    memory: Memory,
) -> bool:
    """Whether it is proven that no rule of comparison speaks about a reading beside earlier ones of its source."""
    contract = source.contract
    declared = contract.adds_up or contract.areas_add_up or contract.agrees or contract.change or source.breaks
    if declared or any(measures[name].category_total == "delivered" for name in source.layout.measures()):
        return False
    pasts = sorted(earlier, key=lambda past: past.seq)
    paths = [reading, *(past.path for past in pasts)]
    shelf = _Shelf(directory, {measure.id for measure in measures.values() if measure.kind == "count"}, memory)
    columns = []
    for path in paths:
        given = shelf.columns(path)
        if given is None:
            return False
        columns.append(given)
    beside = _Beside(columns, shelf)
    return beside.apart and beside.blocks() and beside.changes() and beside.periods() and beside.known_areas()


class _Beside:
    """The columns of a delivery (number 0) beside those in force."""

    def __init__(self, columns: list[list[Column]], shelf: _Shelf) -> None:
        newest = {_slice(one.about): number for number, given in enumerate(columns) for one in given}
        here = {_slice(one.about) for one in columns[0]}
        self.shelf = shelf
        self.apart = not any(newest[name] for name in here)
        """Nothing that is in force is replaced."""
        self.last = len(columns) - 1
        kept = [(n, one) for n, given in enumerate(columns) for one in given if newest[_slice(one.about)] == n]
        series: dict[tuple[str, str, str], int] = {}
        self.columns = [one for _, one in kept]
        self.slots = [
            _slot(number, delivery, one, series.setdefault(one.about[:3], len(series)))
            for number, (delivery, one) in enumerate(kept)
        ]
        self.longest = longest(self.slots)

    def blocks(self) -> bool:
        """No column repeats another, has its total, or is far from those beside it (`blocks`, `labels`)."""
        if self.longest < 2:
            return True
        nearest: dict[tuple[int, bool], tuple[int, float]] = {}
        repeated: dict[tuple[object, ...], list[float]] = defaultdict(lambda: [0, 0, 0])
        for a, b, lag in near_each_other(self.slots):
            if a.delivery and b.delivery:
                continue
            x, y = self.shelf.samples(self.columns[a.slot], self.columns[b.slot], a.every)
            both = ~(np.isnan(x) | np.isnan(y))
            n, equal = int(np.count_nonzero(both)), x[x == y]
            if not n:
                continue
            known = (len(equal), n, float(np.sum(_proof(equal))))
            if _repeats(*known):
                return False
            if not a.summed:
                block = repeated[a.measure, a.level, a.date, b.date]
                block[:] = [sum(pair) for pair in zip(block, known, strict=True)]
            if lag <= NEAR and a.measure in self.shelf.counts:
                distance = float(np.median(np.abs(np.arcsinh(y[both]) - np.arcsinh(x[both]))))
                for slot, later in ((a, True), (b, False)):
                    if not slot.delivery and lag < nearest.get((slot.slot, later), (lag + 1, 0.0))[0]:
                        nearest[slot.slot, later] = (lag, distance)
        close = all(distance <= FAR * (1 - SLACK) for _, distance in nearest.values())
        return close and not any(_repeats(*block) for block in repeated.values()) and self._own_figures()

    def _own_figures(self) -> bool:
        """No column of this delivery has the figures of another of its series, in whatever order, nor its total."""
        weights: dict[tuple[object, ...], float] = defaultdict(float)
        series: dict[int, list[Slot]] = defaultdict(list)
        for slot in self.slots:
            weights[slot.measure, slot.level, slot.date] += self.columns[slot.slot].weight
            if slot.n >= ENOUGH:
                series[slot.series].append(slot)
        for slots in series.values():
            telling = [s for s in slots if weights[s.measure, s.level, s.date] >= (1 - SLACK) * EVIDENCE]
            counted = [s for s in slots if s.measure in self.shelf.counts and (s.total or 0) >= PLAUSIBLE_TOTAL]
            complete = [slot for slot in counted if slot.whole and slot.n == slot.size]
            if self._any_copies(telling) or any(equal_totals(complete)):
                return False
        return True

    def _any_copies(self, slots: list[Slot]) -> bool:
        alike: dict[tuple[int, float | None], list[Slot]] = defaultdict(list)
        for slot in slots:
            alike[slot.n, slot.total].append(slot)
        return any(
            not (a.delivery and b.delivery) and np.array_equal(self._in_order(a), self._in_order(b))
            for group in alike.values()
            for a, b in combinations(group, 2)
        )

    def _in_order(self, slot: Slot) -> Floats:
        return np.sort(self.columns[slot.slot].held.value)[: slot.n]  # what is missing comes last

    def changes(self) -> bool:
        """No area changes otherwise than the others, and not all of them together (`series`)."""
        if self.longest <= CHANGES:
            return True
        shifts: dict[int, list[Shift]] = defaultdict(list)
        for step in consecutive(self.slots, set(), []):
            before, after = self.columns[step.before.slot], self.columns[step.after.slot]
            found = self.shelf.shift(before, after, step.after.every) if step.regular else None
            if found is None:
                continue
            if not math.isfinite(found[1]) or (not step.after.delivery and _far_out(before, after, found)):
                return False
            shifts[step.after.series].append(Shift(step, *found, 0, 0))
        return not any(next(unusual(sorted(given, key=_date), SLACK), None) for given in shifts.values())

    def periods(self) -> bool:
        """This delivery has the periods of the one before, or is of another kind (`extent`)."""
        found: dict[tuple[str, str], tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
        for slot in self.slots:
            if self.last and slot.delivery in (0, self.last):
                found[slot.measure, slot.level][slot.delivery > 0].add(slot.period)
        return not any(here and had and unexpectedly_gone(here, had) for here, had in found.values())

    def known_areas(self) -> bool:
        """Every area of this delivery is there at another time too (`extent`)."""
        levels: dict[str, list[Slot]] = defaultdict(list)
        for slot in sorted(self.slots, key=lambda slot: slot.date, reverse=True):
            levels[slot.level].append(slot)
        return not any(
            self._any_new(slot, slots)
            for slots in levels.values()
            for slot in slots
            if not slot.delivery and slot.date > slots[-1].date
        )

    def _any_new(self, slot: Slot, slots: list[Slot]) -> bool:
        new = self.columns[slot.slot].held.status > 0
        for other in slots:
            if not new.any():
                return False
            if other.date != slot.date:
                new &= self.columns[other.slot].held.status == 0
        return bool(new.any())


def _proof(values: Floats) -> Floats:
    """What equal values prove (see `figures.PROOF`)."""
    size = np.abs(values[~np.isnan(values)])
    tenths = size != np.round(size)
    return np.where(tenths | (size >= 10), np.log1p(np.sqrt(np.where(tenths, 10 * size, size))), 0.0)


def _repeats(same: float, n: float, weight: float) -> bool:
    return same >= SAME_SHARE * n and weight >= (1 - SLACK) * EVIDENCE


def _date(shift: Shift) -> dt.date:
    return shift.step.after.date


def _slice(about: About) -> tuple[str, str, str]:
    return about.measure, about.level, about.period


def _columns(account: Account, counts: set[str]) -> Iterator[Column]:
    blocks: dict[tuple[str, str, str], dict[About, Held]] = defaultdict(dict)
    for about, held in account.slots.items():
        blocks[_slice(about)][about] = held
    for (measure, _, _), parts in blocks.items():
        categories = {about.category for about in parts}
        for about, held in parts.items():
            yield Column(about, held, about.category == TOTAL or len(parts) == 1)
        if measure in counts and len(parts) > 1 and TOTAL not in categories:
            value = np.sum([held.value for held in parts.values()], axis=0)
            status = (~np.isnan(value)).astype(np.uint8)
            if status.any():
                yield Column(next(iter(parts))._replace(category=SUMMED), Held(status, value), whole=True)


def _slot(number: int, delivery: int, column: Column, series: int) -> Slot:
    """The column as the rules know it; what they learn by other queries is left out."""
    about = column.about
    return Slot(
        slot=number, series=series, block=0, measure=about.measure, category=about.category, level=about.level,
        date=about.date, period=about.period, delivery=delivery, occurrence=1, current=True, whole=column.whole,
        summed=about.category == SUMMED, size=column.size, n=column.n, total=round(column.total, 6), first=None,
        last=None, place=None, last_place=None, variety=0, bag=number, laid=None, weight=None,
    )  # fmt: skip


def _middle(moves: Floats) -> tuple[float, float]:
    """Median and scatter of what is known; not a number for none."""
    moves = moves[~np.isnan(moves)]
    if not len(moves):
        return math.nan, math.nan
    middle = float(np.median(moves))
    return middle, MAD * float(np.median(np.abs(moves - middle)))


def _far_out(before: Column, after: Column, shift: tuple[int, float, float]) -> bool:
    """Whether a change lies far from the usual one of its period (see `series._SUSPICIOUS`)."""
    _, middle, spread = shift
    x, y = before.held.value, after.held.value
    with np.errstate(invalid="ignore"):
        chance = 1 / (np.abs(y) + 0.5) + 1 / (np.abs(x) + 0.5)
        rest = np.abs(np.arcsinh(y) - np.arcsinh(x) - middle)
        return bool((rest >= (1 - SLACK) * OUTLIER * np.sqrt(spread**2 + chance)).any())
