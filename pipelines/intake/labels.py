"""Blocks of figures whose label contradicts their size: another measure, category or area than they say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import NamedTuple

import pyarrow as pa

from pipelines.intake.blocks import NEAR, Pair
from pipelines.intake.figures import ENOUGH, Figures, Slot
from pipelines.intake.phrases import digits, number, when

FAR = 0.25
"""Distance to the period beside it that raises suspicion: 28 %. Whole blocks of honest periods stay below 5 %."""
FITS = 0.1
"""Distance that convicts (to the other measure, or in order of size), if it is at most a third of the distance to its
own series, area by area."""
SIZE = 10
"""Figures below this say nothing about magnitude."""
UNUSUAL = 3.0
"""So many times the usual distance between neighbours a block must be off for its areas to be exchanged..."""
CHANCE = 4.0
"""...and so many standard deviations of two Poisson figures: small counts change places by chance."""
SUSPECTS = 100
"""So many suspicious columns of figures are followed up, those furthest from their own series first."""


class Mislabelled(NamedTuple):
    """A slot, the period beside it that it contradicts, and the slot it looks like (none: its areas are exchanged)."""

    slot: Slot
    beside: Slot
    rival: Slot | None


_FIT = f"""
    SELECT v.slot, v.beside, v.rival, median(abs(asinh(y.value) - asinh(x.value))) AS fit,
        median(abs(asinh(z.value) - asinh(x.value))) AS own
    FROM rival v
    JOIN figure x ON x.slot = v.slot
    JOIN figure y ON y.slot = v.rival AND y.area = x.area
    JOIN figure z ON z.slot = v.beside AND z.area = x.area
    WHERE greatest(x.value, y.value, z.value) >= {SIZE} AND x.value + y.value + z.value IS NOT NULL
    GROUP BY ALL
    HAVING count(*) >= {ENOUGH} AND own > {FAR} AND fit < least({FITS}, own / 3)
    ORDER BY fit, v.rival
"""


_SCRAMBLED = f"""
    WITH together AS (
        SELECT v.slot, v.beside, x.value AS here, z.value AS there
        FROM suspect v
        JOIN figure x ON x.slot = v.slot
        JOIN figure z ON z.slot = v.beside AND z.area = x.area
        WHERE greatest(x.value, z.value) >= {SIZE} AND x.value + z.value IS NOT NULL
    ), far AS (
        SELECT slot, median(abs(asinh(here) - asinh(there))) AS own FROM together
        GROUP BY slot
        HAVING count(*) >= {ENOUGH} AND own > {FAR} AND median(
            abs(asinh(here) - asinh(there)) / sqrt(1 / (abs(here) + 0.5) + 1 / (abs(there) + 0.5))) >= {CHANCE}
    ), ranked AS (
        SELECT slot, beside, here, there, row_number() OVER (PARTITION BY slot ORDER BY here) AS here_rank,
            row_number() OVER (PARTITION BY slot ORDER BY there) AS there_rank
        FROM together SEMI JOIN far USING (slot)
    )
    SELECT a.slot, a.beside, median(abs(asinh(a.here) - asinh(b.there))) AS fit
    FROM ranked a
    JOIN ranked b ON b.slot = a.slot AND b.there_rank = a.here_rank
    JOIN far f ON f.slot = a.slot
    GROUP BY a.slot, a.beside
    HAVING fit < least({FITS}, any_value(f.own) / 3)
"""
"""Suspects that resemble the period beside them in order of size, but not area by area."""


def find_mislabelled(figures: Figures, pairs: list[Pair]) -> None:
    """A block that is far from the periods beside it, and close to another measure, category or order of areas.

    First those are followed up that are far from the periods on both sides: they are wrong rather than their
    neighbours. Then those that are far from one side, if it has not been found wrong.
    """
    if figures.off("groesse_widerspricht"):
        return
    found: list[Mislabelled] = []
    for sides in (all, any):
        suspects = _suspects(figures, pairs, sides)
        matches = {one.slot.slot: one for one in [*_scrambled(figures, suspects, pairs), *_fits(figures, suspects)]}
        for one in sorted(matches.values(), key=lambda match: (match.slot.whole, match.slot.date), reverse=True):
            if one.beside.slot not in figures.accused:
                found.append(one)
                figures.accuse(figures.block(one.slot.block) if one.slot.whole else [one.slot])
    whole = {one.slot.block for one in found if one.slot.whole}
    for one in sorted(found, key=lambda match: (match.slot.first or 0, match.slot.place or 0)):
        if one.slot.whole or one.slot.block not in whole:
            _say_mislabelled(figures, one)


def _fits(figures: Figures, suspects: list[tuple[Slot, Slot]]) -> list[Mislabelled]:
    """Suspects that are close to another series."""
    rows = [(slot.slot, beside.slot, rival.slot) for slot, beside in suspects for rival in _rivals(figures, slot)]
    if not rows:
        return []
    columns = [pa.array(column, pa.uint64()) for column in zip(*rows, strict=True)]
    figures.table("rival", pa.table(columns, ["slot", "beside", "rival"]))
    best: dict[int, Mislabelled] = {}
    for row in figures.rows(_FIT):
        slots = (figures.slots[number] for number in (row.slot, row.beside, row.rival))
        best.setdefault(row.slot, Mislabelled(*slots))
    return list(best.values())


def _scrambled(figures: Figures, suspects: list[tuple[Slot, Slot]], pairs: list[Pair]) -> list[Mislabelled]:
    """Suspects whose figures stand beside other areas. What is usual must be known from other pairs of the series."""
    distances: dict[int, list[tuple[Pair, float]]] = defaultdict(list)
    for pair in pairs:
        if pair.lag == 1 and pair.apart and pair.distance is not None:
            distances[pair.a.series].append((pair, pair.distance))
    rows = []
    for slot, beside in suspects:
        off = [distance for pair, distance in distances[slot.series] if slot in (pair.a, pair.b)]
        usual = [distance for pair, distance in distances[slot.series] if slot not in (pair.a, pair.b)]
        if off and usual and max(off) > UNUSUAL * median(usual):
            rows.append((slot.slot, beside.slot))
    if not rows:
        return []
    columns = [pa.array(column, pa.uint64()) for column in zip(*rows, strict=True)]
    figures.table("suspect", pa.table(columns, ["slot", "beside"]))
    return [Mislabelled(figures.slots[r.slot], figures.slots[r.beside], None) for r in figures.rows(_SCRAMBLED)]


def _suspects(figures: Figures, pairs: list[Pair], sides: Callable[[Iterable[bool]], bool]) -> list[tuple[Slot, Slot]]:
    """Slots of this delivery that are far from the periods beside them, with the one that they are furthest from."""
    nearest: dict[tuple[int, bool], Pair] = {}
    for pair in pairs:
        if pair.apart and pair.distance is not None and pair.a.measure in figures.counts:
            for slot, other in ((pair.a, pair.b), (pair.b, pair.a)):
                known = nearest.get((slot.slot, other is pair.b))
                if other.slot not in figures.accused and (known is None or pair.lag < known.lag):
                    nearest[slot.slot, other is pair.b] = pair
    beside: dict[int, list[tuple[float, Slot]]] = defaultdict(list)
    for (slot_number, later), pair in nearest.items():
        beside[slot_number].append((pair.distance or 0, pair.b if later else pair.a))
    found = []
    for slot_number, others in beside.items():
        slot, furthest = figures.slots[slot_number], max(others)
        usable = not slot.delivery and slot_number not in figures.accused
        if usable and sides(distance > FAR for distance, _ in others):
            found.append((*furthest, slot))
    return [(slot, other) for _, other, slot in sorted(found, reverse=True)[:SUSPECTS]]


def _rivals(figures: Figures, suspect: Slot) -> Iterator[Slot]:
    """Of each other series the slots with the nearest dates."""
    series: dict[int, list[Slot]] = defaultdict(list)
    for slot in figures.slots.values():
        comparable = slot.current and slot.n >= ENOUGH and slot.level == suspect.level and slot.whole == suspect.whole
        if comparable and slot.measure in figures.counts and slot.slot not in figures.accused:
            series[slot.series].append(slot)
    series.pop(suspect.series, None)
    for slots in series.values():
        yield from sorted(slots, key=lambda slot: (abs(slot.date - suspect.date), slot.date))[:NEAR]


def _say_mislabelled(figures: Figures, one: Mislabelled) -> None:
    slot, beside, rival = one
    title = figures.title(slot.measure, slot.category)
    before = f"{when(beside.period)}{figures.delivery(beside.delivery)}"
    if rival is None:
        what = f"die Zahlen stehen bei anderen Gebieten als {before}: der Größe nach gleichen sie einander, Gebiet für "
        what += "Gebiet nicht; vermutlich ist die Reihenfolge der Gebiete vertauscht"
        expected = f"jede Zahl beim richtigen Gebiet, etwa wie {before}"
    else:
        other = figures.title(rival.measure, rival.category)
        like = f"»{other}« {when(rival.period)}{figures.delivery(rival.delivery)} ({number(rival.total or 0)})"
        what = (
            f"die Summe ist {number(slot.total or 0)}, {before} {number(beside.total or 0)}; Gebiet für Gebiet sehen "
        )
        what += f"die Zahlen aus wie {like}"
        expected = f"Zahlen für »{title}«, oder die Bezeichnung »{other}«"
    figures.findings.add(
        "groesse_widerspricht",
        f"»{title}« {when(slot.period)}: {what}",
        expected,
        value=digits(slot.total or 0),
        **figures.spot([slot]).keys(),
    )
