"""Blocks of figures that belong to another period than they say.

A block is all that a delivery has of one measure, level and period; where keys occur twice there are two blocks.
Distances are medians of differences of asinh over areas: like logarithms for counts of some size, but defined for 0 and
negative figures. A median is not spoiled by wrong figures while these are fewer than half.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, median, quantiles
from typing import NamedTuple

import pyarrow as pa

from pipelines.intake.figures import ENOUGH, IN_SAMPLE, PROOF, SAMPLE, Figures, Slot
from pipelines.intake.phrases import digits, number, when

SAME_SHARE = 0.9
"""Share of equal figures that makes two periods the same block. In Kiel's data 47 % is the most in honest periods."""
EVIDENCE = 13.0
"""Least proof (see `figures.PROOF`) that equal figures give together: by chance they are so once in 400,000 cases."""
DISTINCT = 5
"""Different values that a block needs: the same number in all areas proves nothing."""
STEADY = 3
"""Equal consecutive periods (and more than half of them) that mark a series that hardly ever changes; it is exempt."""
CLEARLY = 1.25
"""So much worse than the other must one of two equal blocks fit to the periods beside it to be the wrong one."""
PAIRS = 5_000_000
"""Pairs of figures that are compared; in larger deliveries those of near periods only. Copies are found anyway."""

PLAUSIBLE_TOTAL = 1000
"""Smaller totals may be equal by chance."""
NEAR = 3
"""Periods before and after that are looked at."""
COINCIDENCE = 0.02
"""Highest probability of an equal total by chance: pairs looked at, divided by the range in which totals lie."""


class Pair(NamedTuple):
    """Two periods a < b of a series, `lag` blocks apart."""

    a: Slot
    b: Slot
    lag: int
    n: int
    """Areas (of the sample) with a value in both."""
    same: int
    """Equal values, and what they prove."""
    weight: float
    distance: float | None
    """Missing for periods that are not near each other."""

    @property
    def repeats(self) -> bool:
        """Nearly all values are equal."""
        return self.same >= SAME_SHARE * self.n

    @property
    def apart(self) -> bool:
        """Not two occurrences of the same period."""
        return self.a.date < self.b.date


@dataclass
class Match:
    """Two blocks (or one category of them) that hold the same values."""

    a: list[Slot]
    b: list[Slot]
    category: str | None
    same: int
    n: int
    reordered: bool = False


_PAIRS = f"""
    SELECT w.a, w.b, w.lag, count(*) AS n, count(*) FILTER (x.value = y.value) AS same,
        coalesce(sum({PROOF.replace("value", "x.value")}) FILTER (x.value = y.value), 0) AS weight,
        median(abs(asinh(y.value) - asinh(x.value))) FILTER (w.lag <= {NEAR}) AS distance
    FROM wanted w
    JOIN figure x ON x.slot = w.a
    JOIN figure y ON y.slot = w.b AND y.area = x.area
    WHERE x.value IS NOT NULL AND y.value IS NOT NULL AND {IN_SAMPLE}
    GROUP BY w.a, w.b, w.lag
"""


def side_by_side(figures: Figures) -> list[Pair]:
    """Pairs of periods of each series, if one of them is in this delivery or they are neighbours."""
    rows = [(a.slot, b.slot, lag, a.every) for a, b, lag in near_each_other(figures.slots.values())]
    columns = [pa.array(column, pa.uint64()) for column in zip(*rows, strict=True)]
    figures.table("wanted", pa.table(columns, ["a", "b", "lag", "every"]))
    found = figures.con.execute(_PAIRS).fetchall()
    return [Pair(figures.slots[a], figures.slots[b], *values) for a, b, *values in found]


def near_each_other(slots: Iterable[Slot]) -> Iterator[tuple[Slot, Slot, int]]:
    """Slots a, b of the same series that are compared, and how many blocks they are apart."""
    usable = [slot for slot in slots if slot.current and slot.n >= ENOUGH]
    reach = max(2, PAIRS // sum(min(slot.size, SAMPLE) for slot in usable))
    ranks: dict[tuple[str, str], dict[tuple[dt.date, int], int]] = defaultdict(dict)
    for slot in sorted(usable, key=lambda s: (s.date, s.occurrence)):
        known = ranks[slot.measure, slot.level]
        known.setdefault((slot.date, slot.occurrence), len(known))
    series: dict[int, list[tuple[int, Slot]]] = defaultdict(list)
    for slot in usable:
        series[slot.series].append((ranks[slot.measure, slot.level][slot.date, slot.occurrence], slot))
    for members in series.values():
        members.sort(key=lambda member: member[0])
        for position, (rank, a) in enumerate(members):
            for other, b in members[position + 1 : position + 1 + reach]:
                if other - rank == 1 or (other - rank <= reach and not (a.delivery and b.delivery)):
                    yield a, b, other - rank


# ---------------------------------------------------------------- the same block twice


def find_repeated(figures: Figures, pairs: list[Pair]) -> None:
    """A block, or one category of it, repeats the values of another period, in the same or another order of areas."""
    if figures.off("block_wiederholt"):
        return
    steady = _steady(pairs)
    found = {**_nearly(pairs, steady), **_copies(figures, steady)}
    told: set[Slot] = set()
    for match in sorted(found.values(), key=lambda one: (one.category is not None, one.a[0].date, one.b[0].date)):
        if told.isdisjoint([*match.a, *match.b]):
            wrong, right, sure = _wrong_one(match, pairs, figures.accused)
            if _moved(figures, wrong, right, match):
                told.update(right)
                _say_moved(figures, wrong, right)
            else:
                told.update(wrong)
                _say_repeated(figures, wrong, right, match, sure)
    figures.accuse(told)


def _steady(pairs: list[Pair]) -> set[int]:
    """Series that hardly ever change: they repeat themselves rightly."""
    steps: dict[int, list[bool]] = defaultdict(list)
    for pair in pairs:
        if pair.lag == 1 and pair.apart:
            steps[pair.a.series].append(pair.repeats)
    return {series for series, equal in steps.items() if sum(equal) >= STEADY and sum(equal) * 2 > len(equal)}


_Found = dict[tuple[int, int, str | None], Match]


def _nearly(pairs: list[Pair], steady: set[int]) -> _Found:
    """Blocks and categories of which nearly all figures are equal, area by area."""
    groups: dict[tuple[int, int, str | None], list[Pair]] = defaultdict(list)
    for pair in pairs:
        here = not (pair.a.delivery and pair.b.delivery)
        if pair.apart and here and not pair.a.summed and pair.a.series not in steady:
            groups[pair.a.block, pair.b.block, None].append(pair)
            if pair.repeats:
                groups[pair.a.block, pair.b.block, pair.a.category].append(pair)
    found = {}
    for key, group in groups.items():
        same, n = sum(pair.same for pair in group), sum(pair.n for pair in group)
        enough = max(pair.n for pair in group) >= ENOUGH and max(pair.b.variety for pair in group) >= DISTINCT
        if enough and same >= SAME_SHARE * n and sum(pair.weight for pair in group) >= EVIDENCE:
            found[key] = Match([pair.a for pair in group], [pair.b for pair in group], key[2], same, n)
    return found


def _copies(figures: Figures, steady: set[int]) -> _Found:
    """Blocks and categories with exactly the same values, in the same areas or others."""
    units: dict[tuple[int, str | None], list[Slot]] = defaultdict(list)
    for slot in figures.slots.values():
        if slot.current and not slot.summed and slot.n >= ENOUGH and slot.series not in steady:
            units[slot.block, None].append(slot)
            units[slot.block, slot.category].append(slot)
    equal: dict[object, list[tuple[str | None, list[Slot]]]] = defaultdict(list)
    for (_, category), unit in units.items():
        first = unit[0]
        content = frozenset((slot.category, slot.bag, slot.n) for slot in unit)
        proof = sum(slot.weight or 0 for slot in unit)
        if proof >= EVIDENCE and max(slot.variety for slot in unit) >= DISTINCT:
            equal[first.measure, first.level, category, content].append((category, unit))
    found = {}
    for group in equal.values():
        for (category, one), (_, two) in combinations(group, 2):
            a, b = (one, two) if one[0].date < two[0].date else (two, one)
            if a[0].date < b[0].date and not (a[0].delivery and b[0].delivery):
                n = sum(slot.n for slot in a)
                reordered = {(slot.category, slot.laid) for slot in a} != {(slot.category, slot.laid) for slot in b}
                found[a[0].block, b[0].block, category] = Match(a, b, category, n, n, reordered)
    return found


def _moved(figures: Figures, wrong: list[Slot], right: list[Slot], match: Match) -> bool:
    """Whether figures in force come again under another date because the date was wrong there.

    So it is if they come again as a whole, and this delivery reaches back beyond the period it does not repeat. If it
    only goes on from there, the figures of the period before were sent again.
    """
    block, there = wrong[0], right[0]
    whole = match.category is None and not match.reordered
    if not there.delivery or not whole or not figures.accused.isdisjoint(slot.slot for slot in wrong):
        return False
    same = (block.measure, block.level)
    return any(
        not slot.delivery and (slot.measure, slot.level) == same and slot.date < there.date
        for slot in figures.slots.values()
    )


def _say_moved(figures: Figures, wrong: list[Slot], right: list[Slot]) -> None:
    earlier = figures.earlier[right[0].delivery - 1].delivery_id
    figures.findings.add(
        "revision",
        f"»{figures.title(wrong[0].measure, None)}« {when(wrong[0].period)}: die Zahlen standen in der Lieferung "
        f"{earlier} {when(right[0].period)}: vermutlich ist die Zeitangabe berichtigt; dann {earlier} zurückziehen "
        "(retracted)",
        "eine Bestätigung, dass die Zeitangabe berichtigt ist",
        **figures.spot(wrong).keys(),
    )


def _wrong_one(match: Match, pairs: list[Pair], accused: set[int]) -> tuple[list[Slot], list[Slot], bool]:
    """Which of two equal blocks is wrong, which right, and whether more than the order of time speaks for it.

    What is in force already is right, what another rule accused is wrong. Else each is compared with the blocks beside
    it, in units of what is usual.
    """
    a, b = match.a[0], match.b[0]
    if a.delivery or b.delivery:
        return (match.b, match.a, True) if a.delivery else (match.a, match.b, True)
    a_accused, b_accused = (any(slot.slot in accused for slot in unit) for unit in (match.a, match.b))
    if a_accused != b_accused:
        return (match.a, match.b, True) if a_accused else (match.b, match.a, True)
    beside = [
        (pair.lag, pair.distance, {pair.a.block, pair.b.block})
        for pair in pairs
        if pair.distance is not None
        and (pair.a.measure, pair.a.level) == (a.measure, a.level)
        and match.category in (None, pair.a.category)
    ]
    next_to = [distance for lag, distance, _ in beside if lag == 1]
    usual = max(median(next_to), 1e-9) if next_to else 1.0

    def misfit(block: int, other: int) -> float:
        """Against the nearest blocks but the equal one."""
        found = [(lag, distance) for lag, distance, blocks in beside if block in blocks and other not in blocks]
        least = min((lag for lag, _ in found), default=0)
        return mean(distance for lag, distance in found if lag == least) / usual if found else 1.0

    of_a, of_b = misfit(a.block, b.block), misfit(b.block, a.block)
    if of_a > CLEARLY * of_b:
        return match.a, match.b, True
    return match.b, match.a, of_b > CLEARLY * of_a


def _say_repeated(figures: Figures, wrong: list[Slot], right: list[Slot], match: Match, sure: bool) -> None:
    period, other = when(wrong[0].period), when(right[0].period)
    other += figures.delivery(right[0].delivery) or figures.spot(right).lines()
    if match.reordered:
        what = f"die Zahlen stehen auch {other}, dort bei anderen Gebieten: die Reihenfolge der Gebiete ist vertauscht"
    else:
        share = f"alle {match.n}" if match.same == match.n else f"{match.same} von {match.n}"
        what = f"{share} Zahlen sind dieselben wie {other}"
    total, other_total = (_total(figures, unit, match.category) for unit in (wrong, right))
    if total is not None and total == other_total:
        what += f"; auch die Summe ist dieselbe ({number(total)})"
    for sibling in _siblings(figures, wrong[0])[:1]:
        sum_there = _total(figures, sibling, None)
        what += f"; andere Angaben {period}{figures.spot(sibling).lines()}"
        what += f" haben die Summe {number(sum_there)}" if sum_there is not None else " weichen ab"
    if not sure:
        what += "; welcher der beiden Zeiträume falsch ist, lassen die Zahlen offen"
    figures.findings.add(
        "block_wiederholt",
        f"»{figures.title(wrong[0].measure, match.category)}« {period}: {what}",
        f"eigene Zahlen {period}",
        value=digits(total) if total is not None else "",
        **figures.spot(wrong).keys(),
    )


def _total(figures: Figures, unit: list[Slot], category: str | None) -> float | None:
    """Sum of a block (or category) over all areas, where it makes sense."""
    if category is not None:
        return unit[0].total
    return next((slot.total for slot in figures.block(unit[0].block) if slot.whole), None)


def _siblings(figures: Figures, wrong: Slot) -> list[list[Slot]]:
    """Other blocks of this delivery with the same measure, level and period."""
    same = (wrong.measure, wrong.level, wrong.date)
    found = {
        slot.block
        for slot in figures.slots.values()
        if not slot.delivery and (slot.measure, slot.level, slot.date) == same and slot.block != wrong.block
    }
    return [figures.block(block) for block in sorted(found)]


# ---------------------------------------------------------------- the total of another period


def find_equal_totals(figures: Figures) -> None:
    """The total over all areas is that of another period, though the figures are not."""
    if figures.off("summe_anderer_zeitraum"):
        return
    series: dict[int, list[Slot]] = defaultdict(list)
    for slot in figures.slots.values():
        complete = slot.current and slot.whole and slot.n == slot.size and slot.n >= ENOUGH
        large = slot.total is not None and slot.total >= PLAUSIBLE_TOTAL and slot.measure in figures.counts
        if complete and large and slot.slot not in figures.accused:
            series[slot.series].append(slot)
    for slots in series.values():
        for slot, other in equal_totals(slots):
            figures.findings.add(
                "summe_anderer_zeitraum",
                f"»{figures.title(slot.measure, slot.category)}« {when(slot.period)}: die Summe der {slot.n} Gebiete "
                f"ist {number(slot.total or 0)}, genau wie {when(other.period)}{figures.delivery(other.delivery)}",
                f"die Summe {when(slot.period)}",
                value=digits(slot.total or 0),
                **figures.spot([slot]).keys(),
            )


def equal_totals(slots: Iterable[Slot]) -> Iterator[tuple[Slot, Slot]]:
    """Slots of this delivery with the total of a near period, where that can hardly be chance."""
    ordered = sorted(slots, key=lambda slot: (slot.date, slot.occurrence))
    totals = [slot.total or 0 for slot in ordered]
    if len(set(totals)) == len(totals) or len(totals) < 3:
        return
    low, _, high = quantiles(totals, n=4, method="inclusive")
    if len(totals) * NEAR > COINCIDENCE * 2 * (high - low):
        return
    for position, b in enumerate(ordered):
        for a in ordered[max(0, position - NEAR) : position]:
            other_figures = a.date < b.date and a.bag != b.bag
            if other_figures and (a.total, a.n) == (b.total, b.n) and not (a.delivery and b.delivery):
                yield (b, a) if not b.delivery else (a, b)
