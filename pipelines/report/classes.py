"""Classes of a map: fixed bounds over all years, chosen so that shown figures and printed bounds agree.

Method: natural breaks after Jenks, the partition of smallest sum of squared deviations from the class means (Fisher
1958, exact), over the values of all years together; quantiles where there are too few of them. Everything is done on
values as they are shown, rounded to the indicator's decimals, so that a reader who compares a printed figure with the
printed bounds always comes to the class that is drawn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate, pairwise

from markupsafe import Markup

from pipelines.report.numbers import figure

JENKS = "natürliche Klassen (Jenks) über alle Jahre"
QUANTILES = "Klassen mit etwa gleich vielen Werten (Quantile) über alle Jahre"
SINGLE = "eine Klasse: alle Werte sind gleich"
CLASSES, FEW_CLASSES = 5, 4
FEW = 20
"""Fewer values than this tell nothing about natural breaks."""


@dataclass(frozen=True)
class Classes:
    """Half-open classes: class i holds what is at least `bounds[i - 1]` and below `bounds[i]`.

    Bounds are counted in units of the last decimal shown (`decimals`); there is one class more than bounds. Each bound
    is the smallest value of its class: it stands in the table of some year, and the legend tells nothing besides.
    """

    bounds: tuple[int, ...]
    decimals: int
    method: str

    @property
    def count(self) -> int:
        """Number of classes, lowest values first."""
        return len(self.bounds) + 1

    def of(self, value: float) -> int:
        """Number of the class of a value, from 0."""
        return bisect_right(self.bounds, shown(value, self.decimals))

    def texts(self, unit: str = "", marked: bool = True) -> list[Markup]:
        """Bounds of each class in words, with a unit behind the figures, e.g. `20,0 bis unter 22,5 %`.

        For pages each bound is marked as what it is, a figure of `mart.indicator_value`.
        """
        if not self.bounds:
            return [Markup("alle Werte")]
        bound = Markup('<span data-t="mart.indicator_value.value">{}</span>' if marked else "{}")
        printed = [bound.format(figure(number / 10**self.decimals, self.decimals)) for number in self.bounds]
        between = [Markup("{} bis unter {}{}").format(low, high, unit) for low, high in pairwise(printed)]
        lowest, highest = (
            Markup("unter {}{}").format(printed[0], unit),
            Markup("{}{} und mehr").format(printed[-1], unit),
        )
        return [lowest, *between, highest]


def shown(value: float, decimals: int) -> int:
    """A value as it is printed, in units of its last decimal; rounded like `numbers.figure`."""
    return int(Decimal(repr(float(value))).scaleb(decimals).to_integral_value(ROUND_HALF_UP))


def classify(values: Iterable[float], decimals: int) -> Classes:
    """Classes for the values of all areas and years of an indicator on one level; none of them is empty."""
    pooled = sorted(shown(value, decimals) for value in values)
    distinct = sorted(set(pooled))
    if len(distinct) < 2:
        return Classes((), decimals, SINGLE)
    if len(pooled) < FEW or len(distinct) <= CLASSES:
        method, starts = QUANTILES, _quantiles(pooled, FEW_CLASSES)
    else:
        method, starts = JENKS, natural_breaks(pooled, CLASSES)
    return Classes(tuple(starts), decimals, method)


def _quantiles(pooled: list[int], count: int) -> list[int]:
    """Smallest value of each class but the first; equal values stay together, so there may be fewer classes."""
    starts = {pooled[step * len(pooled) // count] for step in range(1, count)} - {pooled[0]}
    return sorted(starts) or [min(value for value in pooled if value > pooled[0])]


def natural_breaks(pooled: list[int], count: int) -> list[int]:
    """Smallest value of each class but the first, for the partition with the smallest sum of squared deviations.

    Exact dynamic program over the distinct values; the best cut never moves left when a value is added, which halves
    the search at each step (n log n for each class).

    Args:
        pooled: whole numbers in any order, with at least `count` different ones.
        count: number of classes.
    """
    weights = sorted(Counter(pooled).items())
    number = [0, *accumulate(n for _, n in weights)]
    total = [0, *accumulate(n * x for x, n in weights)]
    square = [0, *accumulate(n * x * x for x, n in weights)]

    def deviation(first: int, end: int) -> float:
        members, sum_of = number[end] - number[first], total[end] - total[first]
        return ((square[end] - square[first]) * members - sum_of * sum_of) / members

    size = len(weights)
    best = [0.0, *(deviation(0, end) for end in range(1, size + 1))]
    cuts: list[list[int]] = []
    for used in range(1, count):
        cut, cost = [0] * (size + 1), [0.0] * (size + 1)
        waiting = [(used + 1, size, used, size - 1)]
        while waiting:
            low, high, left, right = waiting.pop()
            if low > high:
                continue
            end = (low + high) // 2
            cost[end], cut[end] = min(
                (best[at] + deviation(at, end), at) for at in range(left, min(right, end - 1) + 1)
            )
            waiting += [(low, end - 1, left, cut[end]), (end + 1, high, cut[end], right)]
        best = cost
        cuts.append(cut)
    starts, end = [], size
    for cut in reversed(cuts):
        end = cut[end]
        starts.append(weights[end][0])
    return starts[::-1]
