"""Rules over time: agreed bounds, jumps of one area, shifts of all areas at once.

Changes are differences of asinh: like logarithms for counts of some size, but defined for 0 and negative figures.
Scatter is the median absolute deviation (MAD) times 1.4826, comparable to a standard deviation, which wrong figures
cannot spoil while they are fewer than half (Rousseeuw & Croux 1993, JASA 88, 1273-1283); deviations are judged in such
units, by the modified z-score (Iglewicz & Hoaglin 1993). The thresholds were tried on Kiel's open data: population
1988-2023, and sex, age, marital status, religion and households 2014-2023, in every window of 4 to 12 years.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import pyarrow as pa

from pipelines.intake.figures import ENOUGH, IN_SAMPLE, SUMMED, Figures, Row, Slot
from pipelines.intake.phrases import digits, number, percent, when
from schemas.documents import Break

MAD = 1.4826
"""Makes the median absolute deviation comparable to a standard deviation."""
REGULAR = 1.5
"""Periods further apart than so many usual distances are not consecutive: one is missing between them."""

OUTLIER = 7.0
"""Modified z-score of a jump. Of 1,255 windows of clean series none reaches it; at 6 one does (Holtenau 2015: a refugee
home). Of lost, doubled and wrong first digits it finds 35 to 100 %; wrong digits further behind are too small."""
CHANGES = 3
"""Changes (so four periods) that the usual scatter is learned from."""
OWN_HISTORY = 8
"""Changes of an area from which its own scatter counts too: places where much is built jump more often."""

SHIFT, SHIFT_PART = 4.0, 6.0
"""Modified z-score of a period's median change among those of the other periods: of the whole measure, of a category
(where real developments differ more). Iglewicz & Hoaglin propose 3.5 for one look; here are as many as periods."""
CLEAN = 3.5
"""Medians beyond this modified z-score do not count for what is usual."""
TOGETHER, TOGETHER_PART = 0.75, 0.9
"""Share of areas on the same side of the usual change. Kiel's households of 2023, collected otherwise: 80 %."""
ISOLATED = 3.0
"""The change must stand out as clearly from those before and after it: a slow tide (Kiel 1996-1999) is no break."""
SHIFT_FLOOR = 0.005
"""Least scatter of the medians, half a per cent: a few periods may by chance look steadier than the series is."""
MEDIAN_ERROR = 1.2533
"""Standard error of a median of n normal values, in units of scatter / sqrt(n): so much medians scatter by chance."""
SHIFT_CHANGES = 5
"""Changes (so six periods) that are needed to know what is usual."""


class Step(NamedTuple):
    """From one period of a series to the next that may be compared with it."""

    before: Slot
    after: Slot
    regular: bool
    """No period is missing between them."""


class Shift(NamedTuple):
    """A step of a whole block: the areas compared, the median and scatter of their changes, and their sums."""

    step: Step
    n: int
    middle: float
    spread: float
    before_total: float
    total: float


def compare_periods(figures: Figures) -> None:
    """Judge each period against the one before; those that are accused already are passed over."""
    bounds = bool(figures.source.contract.change) and not figures.off("veraenderung")
    learned = figures.longest > CHANGES and not figures.off("ausreisser", "definition")
    steps = {}
    if bounds or learned:
        found = consecutive(figures.slots.values(), figures.accused, figures.source.breaks)
        steps = {step.after.slot: step for step in found}
    if not steps:
        return
    slots = [step.after for step in steps.values()]
    columns = {
        "slot": pa.array([slot.slot for slot in slots], pa.uint64()),
        "before": pa.array([step.before.slot for step in steps.values()], pa.uint64()),
        "series": [slot.series for slot in slots],
        "block": [slot.block for slot in slots],
        "here": [not slot.delivery for slot in slots],
        "regular": [step.regular for step in steps.values()],
        "every": [slot.every for slot in slots],
    }
    figures.table("step", pa.table(columns))
    figures.con.execute(_CHANGE)
    if bounds:
        _bounds(figures, steps)
    if learned:
        figures.con.execute(_SHIFT)
        _outliers(figures, steps)
        _shifts(figures, steps)


def consecutive(slots: Iterable[Slot], accused: set[int], breaks: list[Break]) -> Iterator[Step]:
    """Consecutive periods of each series, if neither is accused and no declared break lies between them.

    Of several occurrences of a period the first that is not accused counts.
    """
    series: dict[int, dict[dt.date, Slot]] = defaultdict(dict)
    for slot in sorted(slots, key=lambda s: (s.date, s.slot in accused, s.occurrence)):
        if slot.current and slot.n:
            series[slot.series].setdefault(slot.date, slot)
    for members in series.values():
        usual = min(((b - a) for a, b in pairwise(members)), default=dt.timedelta(0))
        for before, after in pairwise(members.values()):
            wrong = before.slot in accused or after.slot in accused
            if not wrong and not any(_between(entry, before, after) for entry in breaks):
                yield Step(before, after, after.date - before.date <= REGULAR * usual)


def _between(entry: Break, before: Slot, after: Slot) -> bool:
    """Whether a declared break concerns a series and lies between two of its periods."""
    concerned = entry.category is None or after.category in (entry.category, SUMMED)
    return entry.measure == after.measure and concerned and before.period < entry.since <= after.period


_CHANGE = """
    CREATE TEMP TABLE change AS
    SELECT s.slot, y.area, y.value, x.value AS before, asinh(y.value) - asinh(x.value) AS move
    FROM step s
    JOIN figure y ON y.slot = s.slot
    JOIN figure x ON x.slot = s.before AND x.area = y.area
    WHERE x.value IS NOT NULL AND y.value IS NOT NULL
"""

# ---------------------------------------------------------------- agreed bounds

_BOUNDS = """
    WITH beyond AS (
        SELECT c.*, t.before AS before_slot, b.percent, sign(c.value - c.before) AS way
        FROM change c
        JOIN step t USING (slot)
        JOIN slot s USING (slot)
        JOIN bound b ON b.measure = s.measure AND coalesce(b.category, s.category) = s.category
            AND coalesce(b.level, s.level) = s.level
        WHERE s.delivery = 0 AND NOT s.summed AND c.before <> 0 AND abs(c.before) >= b.from_value
            AND abs(c.value - c.before) > b.percent / 100 * abs(c.before) + 1e-9
        QUALIFY row_number() OVER (PARTITION BY c.slot, c.area ORDER BY b.percent) = 1
    )
    SELECT b.*, f.line, f.place
    FROM beyond b
    JOIN figure f ON f.slot = b.slot AND f.area = b.area
    ANTI JOIN beyond p ON p.slot = b.before_slot AND p.area = b.area AND p.way = -b.way
"""


def _bounds(figures: Figures, steps: dict[int, Step]) -> None:
    """Changes beyond what was agreed. The way back from a jump is not said again."""
    names = {"measure": pa.string(), "category": pa.string(), "level": pa.string()}
    numbers = {"percent": pa.float64(), "from_value": pa.float64()}
    entries = [entry.model_dump() for entry in figures.source.contract.change]
    figures.table("bound", pa.Table.from_pylist(entries, pa.schema({**names, **numbers})))
    for row in figures.found("veraenderung", _BOUNDS, "line, place"):
        limit = abs(row.before) * row.percent / 100
        figures.findings.add(
            "veraenderung",
            f"{_jump(figures, row, steps)} ({percent(row.value / row.before - 1)}); vereinbart sind höchstens "
            f"{number(row.percent)} %",
            f"{number(row.before - limit)} bis {number(row.before + limit)}",
            value=digits(row.value),
            **figures.cell(row, figures.slots[row.slot].summed).keys(),
        )


def _jump(figures: Figures, row: Row, steps: dict[int, Step]) -> str:
    step = steps[row.slot]
    before = f"{when(step.before.period)}{figures.delivery(step.before.delivery)}"
    title = figures.title(step.after.measure, step.after.category)
    values = f"{when(step.after.period)} {number(row.value)}, {before} {number(row.before)}"
    return f"{figures.area(row.area)}: »{title}« ist {values}"


# ---------------------------------------------------------------- one area

_SHIFT = f"""
    CREATE TEMP TABLE shift AS
    SELECT w.slot, count(*) AS n, median(x.move) FILTER ({IN_SAMPLE}) AS middle,
        {MAD} * mad(x.move) FILTER ({IN_SAMPLE}) AS spread, sum(x.before) AS before_total, sum(x.value) AS total
    FROM change x JOIN step w USING (slot)
    WHERE w.regular
    GROUP BY w.slot
    HAVING count(*) >= {ENOUGH}
"""
"""The usual change of a period: median over the areas, and its scatter."""
_CHANCE = "1 / (abs(c.value) + 0.5) + 1 / (abs(c.before) + 0.5)"
"""Variance of the change of a logarithm between two Poisson figures."""
_SUSPICIOUS = f"""
    SELECT 1 FROM change c JOIN shift h USING (slot) JOIN step s USING (slot)
    WHERE s.here AND abs(c.move - h.middle) >= {OUTLIER} * sqrt(h.spread ** 2 + {_CHANCE})
    LIMIT 1
"""
"""Unless a change lies far out by the scatter of its period alone, it does not by a larger one."""
_OUTLIERS = f"""
    WITH rest AS (
        SELECT c.*, s.before AS before_slot, s.series, s.block, s.here, h.middle, h.spread, c.move - h.middle AS rest,
            {_CHANCE} AS chance
        FROM change c
        JOIN shift h USING (slot)
        JOIN step s USING (slot)
    ), pooled AS (
        SELECT w.series, {MAD} * median(abs(x.move - h.middle)) AS usual
        FROM change x JOIN shift h USING (slot) JOIN step w USING (slot)
        WHERE {IN_SAMPLE}
        GROUP BY w.series
        HAVING count(DISTINCT w.slot) >= {CHANGES}
    ), maybe AS (
        SELECT r.*, greatest(p.usual, r.spread) AS usual
        FROM rest r JOIN pooled p USING (series)
        WHERE abs(rest) >= {OUTLIER} * sqrt(greatest(p.usual, r.spread) ** 2 + chance)
    ), own AS (
        SELECT series, area, {MAD} * median(abs(rest)) AS usual
        FROM rest SEMI JOIN maybe USING (series, area)
        GROUP BY series, area
        HAVING count(*) >= {OWN_HISTORY}
    ), far AS (
        SELECT m.*, sqrt(greatest(m.usual, o.usual) ** 2 + chance) AS scatter
        FROM maybe m LEFT JOIN own o ON o.series = m.series AND o.area = m.area
        WHERE abs(rest) >= {OUTLIER} * scatter
    )
    SELECT f.*, g.line, g.place, count(*) OVER same AS together
    FROM far f
    JOIN figure g ON g.slot = f.slot AND g.area = f.area
    ANTI JOIN far p ON p.slot = f.before_slot AND p.area = f.area AND sign(p.rest) = -sign(f.rest)
    WHERE f.here
    WINDOW same AS (PARTITION BY f.block, f.area)
    QUALIFY row_number() OVER (PARTITION BY f.block, f.area ORDER BY abs(f.rest) / f.scatter DESC, f.slot) = 1
"""


def _outliers(figures: Figures, steps: dict[int, Step]) -> None:
    """One area changes quite otherwise than the others in the same period.

    The change is compared with the median over all areas of the period; what remains is measured against the usual
    scatter: the greatest of that of the series, of the period and (if long enough) of the area itself, plus the chance
    scatter of two counts, 1/a + 1/b for logarithms of Poisson figures, so that a jump from 3 to 9 is none. The way back
    from a jump is not said again; of several categories of an area the one that stands out most is named.
    """
    if figures.off("ausreisser") or not figures.con.execute(_SUSPICIOUS).fetchall():
        return
    for row in figures.found("ausreisser", _OUTLIERS, "line, place"):
        low, high = (_moved(row.before, row.middle + way * OUTLIER * row.scatter) for way in (-1, 1))
        more = f" (ebenso {row.together - 1} weitere Angaben für dieses Gebiet)" if row.together > 1 else ""
        others = f"die anderen Gebiete veränderten sich im Mittel um {percent(math.expm1(row.middle))}"
        figures.findings.add(
            "ausreisser",
            f"{_jump(figures, row, steps)}; {others}{more}",
            f"nach den bisherigen Veränderungen zwischen {number(low)} und {number(high)}",
            value=digits(row.value),
            **figures.cell(row, figures.slots[row.slot].summed).keys(),
        )


def _moved(value: float, move: float) -> float:
    """The whole number that a figure becomes by a change of its asinh."""
    return float(round(math.sinh(math.asinh(value) + move)))


# ---------------------------------------------------------------- all areas


def _shifts(figures: Figures, steps: dict[int, Step]) -> None:
    """All areas change together, far beyond what is usual: the figure is probably defined or collected otherwise.

    Sums over categories and categories are looked at; each measure and pair of periods is said once.
    """
    if figures.off("definition"):
        return
    series: dict[int, list[Shift]] = defaultdict(list)
    for slot, *values in figures.con.execute(
        "SELECT slot, n, middle, spread, before_total, total FROM shift"
    ).fetchall():
        series[steps[slot].after.series].append(Shift(steps[slot], *values))
    found: dict[tuple[str, dt.date], tuple[tuple[bool, int, float], Shift, int, list[float]]] = {}
    for shifts in series.values():
        for shift, z, others in unusual(sorted(shifts, key=lambda one: one.step.after.date)):
            after, usual = shift.step.after, median(others)
            together = _together(figures, after, usual, z)
            rank = (after.whole, shift.n, abs(z))
            known = found.get((after.measure, after.date))
            enough = together >= shift.n * (TOGETHER if after.whole else TOGETHER_PART)
            if enough and (known is None or rank > known[0]):
                found[after.measure, after.date] = (rank, shift, together, others)
    for _, shift, together, others in sorted(found.values(), key=lambda one: one[1].step.after.first or 0):
        _say_shift(figures, shift, together, others)


def unusual(shifts: list[Shift], slack: float = 0) -> Iterator[tuple[Shift, float, list[float]]]:
    """Steps of a series to this delivery's periods that stand out, with modified z-score and the usual medians.

    With `slack` those come too that fall short of a limit by such a share: digits depend on who computed the medians.
    What is usual is computed again without medians that lie far out (a reweighting step, Rousseeuw & Leroy 1987).
    """
    middles = [shift.middle for shift in shifts]
    if len(middles) < SHIFT_CHANGES:
        return
    usual = middles
    chance = median(MEDIAN_ERROR * shift.spread / math.sqrt(shift.n) for shift in shifts)
    for _ in range(2):
        center = median(usual)
        scatter = max(MAD * median([abs(middle - center) for middle in usual]), chance, SHIFT_FLOOR)
        usual = [middle for middle in middles if abs(middle - center) < CLEAN * scatter]
    for position, shift in enumerate(shifts):
        z = (shift.middle - center) / scatter
        beside = [*middles[max(0, position - 1) : position], *middles[position + 1 : position + 2]]
        isolated = min(abs(shift.middle - middle) for middle in beside) >= (1 - slack) * ISOLATED * scatter
        after = shift.step.after
        if not after.delivery and isolated and abs(z) >= (1 - slack) * (SHIFT if after.whole else SHIFT_PART):
            yield shift, z, usual


def _together(figures: Figures, slot: Slot, usual: float, z: float) -> int:
    """Areas that lie on the same side of the usual change as the median."""
    side = "move > $usual" if z > 0 else "move < $usual"
    sql = f"SELECT count(*) AS n FROM change WHERE slot = $slot AND {side}"
    return int(figures.rows(sql, {"slot": slot.slot, "usual": usual})[0].n)


def _say_shift(figures: Figures, shift: Shift, together: int, others: list[float]) -> None:
    before, after = shift.step.before, shift.step.after
    way = "nach oben" if shift.middle > median(others) else "nach unten"
    low, high = percent(math.expm1(min(others))), percent(math.expm1(max(others)))
    figures.findings.add(
        "definition",
        f"»{figures.title(after.measure, after.category)}« {when(after.period)}: gegenüber dem Stand "
        f"{when(before.period)}{figures.delivery(before.delivery)} verändern sich {together} von {shift.n} Gebieten "
        f"gemeinsam {way}, im Mittel um {percent(math.expm1(shift.middle))}, sonst zwischen {low} und {high}; "
        f"die Summe war {number(shift.before_total)} und ist {number(shift.total)}",
        "eine Veränderung wie sonst, oder die Auskunft, was seit wann anders gezählt wird",
        value=digits(shift.total),
        **figures.spot([after]).keys(),
    )
