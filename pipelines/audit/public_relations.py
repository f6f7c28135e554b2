"""What holds between cells, read from the public tables alone, as anybody would who has them.

Areas (every geography in `mart.membership`), categories that add up, sums of measures and of years, parts of wholes,
ratios, and sums that nobody declares but everybody can see in the published rows. A relation is a template over cells;
which of them are known, and in which version, is settled when the templates are put into one system.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pipelines.audit.facts import (
    GAP,
    INFINITE,
    REMAINDER,
    Facts,
    Key,
    Public,
    Ratio,
    Row,
    date_of_denominator,
    half_widths,
    rate_parts,
    unit_factor,
)

TOTAL = "insgesamt"


@dataclass(frozen=True)
class Template:
    """`low <= sum(coefficients * cells) <= high`, for the values the cells have at one time.

    Args:
        label: what it is, in German.
        kind: gebiete, auspraegungen, kennzahlen, jahre, teil_und_ganzes, enthalten, quoten or entdeckt.
        cells: keys; cells of no table are hidden.
        coefficients: one per cell.
        low: smallest value of the sum.
        high: largest value.
        rate: half-width of a delivered rate whose cell comes last: then the sum is `numerator - rate * denominator`
            and the coefficients of the first two cells are the factor and its negative.
        family: relations that hold for the same reason; if published figures of an earlier release break one of them,
            none of them is assumed of that release.
        current: holds for the figures of this release only (it was made of numbers in it).
    """

    label: str
    kind: str
    cells: tuple[Key, ...]
    coefficients: tuple[float, ...]
    low: float = 0.0
    high: float = 0.0
    rate: float | None = None
    family: str = ""
    current: bool = False


def all_templates(public: Public, facts: Facts, ratios: Sequence[Ratio], extra: Iterable[Key] = ()) -> list[Template]:
    """Every relation that can be read from the public tables.

    Args:
        public: the public tables.
        facts: what is known of each cell.
        ratios: shown values of indicators and rates.
        extra: cells that stood in an earlier release.
    """
    keys = set(public.status) | set(extra)
    builder = _Builder(public, facts, keys)
    found = builder.areas() + builder.categories() + builder.sums() + builder.wholes()
    return found + builder.rates() + builder.shown(ratios)


def remainder(numerator: Key, denominator: Key) -> Key:
    """Key of what is left of a whole without a part, e.g. residents who are not unemployed."""
    return (f"{denominator[0]}{REMAINDER}{numerator[0]}", numerator[1], *numerator[2:])


def exactly(templates: Sequence[Template], facts: Facts) -> list[Template]:
    """The same without the gap that sums are allowed, except where published figures show one."""

    def known(template: Template) -> bool:
        return all(facts.exact(cell) for cell in template.cells)

    def gap(template: Template) -> float:
        pairs = zip(template.cells, template.coefficients, strict=True)
        return abs(sum(facts.low[cell] * coefficient for cell, coefficient in pairs))

    both = {t.family for t in templates if t.low == -t.high != 0 and t.high < INFINITE}
    shown = {t.family for t in templates if t.family in both and known(t) and gap(t) > GAP}
    return [
        replace(t, low=0.0, high=0.0) if t.low == -t.high != 0 and t.high < INFINITE and t.family not in shown else t
        for t in templates
    ]


def in_tiny_groups(public: Public, facts: Facts, templates: Sequence[Template]) -> set[Key]:
    """Counts of groups that everybody knows to be too small, with all their parts.

    Where zeros are shown a star is at least 1, so that of a whole as large as the threshold less than that is left.

    There nothing may be shown, not even a zero; so a star there does not tell that anybody is counted.
    """
    wholes = [t.cells[:2] for t in templates if t.kind == "teil_und_ganzes"]
    waiting = []
    for whole, part in wholes:
        threshold = public.threshold(part[0])
        known = facts.exact(whole) and public.threshold(whole[0]) is None
        info = public.measures.get(part[0])
        limit = (threshold or 0) + (1 if info is not None and info.zeros_published else 0)
        if threshold is not None and known and 0 < facts.low[whole] < limit:
            waiting.append(part)
    below: dict[Key, list[Key]] = defaultdict(list)
    for template in templates if waiting else []:
        if template.kind in ("gebiete", "auspraegungen", "kennzahlen", "jahre"):
            below[template.cells[0]] += template.cells[1:]
    found: set[Key] = set()
    while waiting:
        key = waiting.pop()
        if key not in found:
            found.add(key)
            waiting += below[key]
    return found


def remainders(public: Public, keys: Iterable[Key]) -> list[tuple[Key, Key]]:
    """Numerator and denominator cells of all indicators that are a part of a whole at one date, where both exist."""
    existing, found = set(keys), []
    by_part: dict[tuple[str, str], list[Key]] = defaultdict(list)
    for key in sorted(existing):
        by_part[key[0], key[1]].append(key)
    for row in _whole_indicators(public):
        for n in by_part[row["numerator"], row.get("numerator_category") or TOTAL]:
            d = (row["denominator"], row.get("denominator_category") or TOTAL, *n[2:])
            if d in existing and d != n and row.get("denominator_period_type") in (None, n[3]):
                found.append((n, d))
    return list(dict.fromkeys(found))


def _whole_indicators(public: Public) -> list[Row]:
    """Indicators whose numerator is a part of the denominator of the same day."""
    return [
        row
        for row in public.rows("indicator")
        if row.get("numerator")
        and row.get("denominator")
        and row.get("part_of_whole", True)
        and date_of_denominator("2000-01-01", row.get("denominator_date")) == "2000-01-01"
    ]


class _Builder:
    """Builds templates; a slice is a measure's category in a period."""

    def __init__(self, public: Public, facts: Facts, keys: set[Key]) -> None:
        self.public = public
        self.facts = facts
        self.keys = keys
        self.by_figure: dict[tuple[str, str], list[Key]] = defaultdict(list)
        for key in sorted(keys):
            self.by_figure[key[0], key[1]].append(key)
        counts = {name for name, info in public.measures.items() if info.kind == "count"}
        self.slices = sorted({(m, c, p, d) for m, c, _, p, d in keys if m in counts})
        self.halves = half_widths(public)
        self.tolerance = {name: info.tolerance for name, info in public.measures.items()}

    # ------------------------------------------------------------ areas

    def areas(self) -> list[Template]:
        """A parent is the sum of its children, per level of children and geography; halved children bound it."""
        families = {date: _families(self.public, dt.date.fromisoformat(date)) for *_, date in self.slices}
        level_of = {row["area_id"]: row["level"] for row in self.public.rows("area")}
        found: dict[tuple[str, str, str], list[Template]] = defaultdict(list)
        for measure, category, period_type, date in self.slices:
            for (parent, level), children in families[date].items():
                total = (measure, category, parent, period_type, date)
                cells = [(measure, category, child, period_type, date) for child, _ in children]
                if total in self.keys or any(cell in self.keys for cell in cells):
                    weights = [weight for _, weight in children]
                    name = f"Gebiete: {self.public.area_names.get(parent, parent)} = Summe der Ebene {level}"
                    label = f"{name}, {measure}/{category}, {date}"
                    family = f"{parent}/{level}"
                    made = [replace(t, family=family) for t in self._family(label, total, cells, weights)]
                    found[measure, level_of[parent], level] += made
        return [template for group, templates in found.items() for template in self._widened(group[0], templates)]

    def _widened(self, measure: str, templates: list[Template]) -> list[Template]:
        """A total that is the sum of one level need not be that of another: the declared gap, where it shows."""
        gap = self.tolerance.get(measure, 0.0)
        if gap == 0 or not any(self._broken(template) for template in templates):
            return templates
        return [replace(t, low=min(t.low, -gap), high=max(t.high, gap)) for t in templates]

    def _broken(self, template: Template) -> bool:
        if not all(self.facts.exact(cell) for cell in template.cells):
            return False
        pairs = zip(template.cells, template.coefficients, strict=True)
        total = sum(self.facts.low[cell] * coefficient for cell, coefficient in pairs)
        return not template.low - GAP <= total <= template.high + GAP

    def _family(self, label: str, total: Key, cells: list[Key], weights: list[float]) -> list[Template]:
        gap = self._gap(total)
        everything = (total, *cells)
        if all(weight == 1 for weight in weights):
            return [Template(label, "gebiete", everything, (-1.0, *weights), -gap, gap)]
        if self.public.method.get(total) == "estimated":
            gap = max(gap, GAP)
            return [Template(label, "gebiete", everything, (-1.0, *weights), -gap, gap)]
        inside = tuple(cell for cell, weight in zip(cells, weights, strict=True) if weight == 1)
        above = Template(label, "enthalten", everything, (-1.0, *[1.0] * len(cells)), -gap, INFINITE)
        below = Template(label, "enthalten", (total, *inside), (1.0, *[-1.0] * len(inside)), -gap, INFINITE)
        return [above, below] if inside else [above]

    def _gap(self, total: Key) -> float:
        """How far a total may be from its parts: nothing if it is the sum of them."""
        return 0.0 if self.public.method.get(total) == "rolled_up" else self.tolerance.get(total[0], 0.0)

    # ------------------------------------------------------------ categories and measures

    def categories(self) -> list[Template]:
        """`insgesamt` is the sum of the categories that are a part of it; others are contained in it."""
        parts: dict[tuple[str, str], list[str]] = defaultdict(list)
        loose: dict[str, list[str]] = defaultdict(list)
        for row in self.public.rows("category"):
            if row["part_of"]:
                parts[row["measure_id"], row["part_of"]].append(row["category"])
            elif row["category"] != TOTAL:
                loose[row["measure_id"]].append(row["category"])
        places: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
        for key in self.keys:
            places[key[0]].add(key[2:])
        found = []
        for (measure, whole), codes in parts.items():
            info = self.public.measures.get(measure)
            for area, period_type, date in sorted(places[measure]) if info and info.kind == "count" else []:
                total = (measure, whole, area, period_type, date)
                cells = [(measure, code, area, period_type, date) for code in codes]
                label = f"Ausprägungen: {measure}/{whole} = {' + '.join(codes)}, {area}, {date}"
                gap, coefficients = self._gap(total), (-1.0, *[1.0] * len(cells))
                found.append(Template(label, "auspraegungen", (total, *cells), coefficients, -gap, gap, family=measure))
        contained = [((m, c), (m, TOTAL)) for m, codes in loose.items() for c in codes]
        return found + self._contained(contained)

    def _contained(self, pairs: list[tuple[tuple[str, str], tuple[str, str]]]) -> list[Template]:
        """A part is at most its whole; not where the published figures say otherwise anywhere."""
        found = []
        for (part, part_category), (whole, category) in pairs:
            both = [
                (key, (whole, category, *key[2:]))
                for key in self.by_figure[part, part_category]
                if (whole, category, *key[2:]) in self.keys
            ]
            exact = [(n, d) for n, d in both if self.facts.exact(n) and self.facts.exact(d)]
            if all(self.facts.low[n] <= self.facts.high[d] + GAP for n, d in exact):
                text = f"{part}/{part_category} ist in {whole}/{category} enthalten"
                found += [Template(text, "enthalten", (d, n), (1.0, -1.0), 0.0, INFINITE) for n, d in both]
        return found

    def sums(self) -> list[Template]:
        """Measures that are sums of others, in the same period or over several years."""
        entries: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
        for row in self.public.rows("measure_part"):
            entries[row.get("sum_id") or "", row["measure_id"], row["category"]].append(row)
        found = []
        for (name, measure, category), parts in sorted(entries.items()):
            for total in self.by_figure[measure, category]:
                cells = [cell for part in parts for cell in _over_periods(self.public, part, total)]
                gap = max(float(part["tolerance"] or 0.0) for part in parts)
                kind = "jahre" if any((part["periods"] or 1) > 1 for part in parts) else "kennzahlen"
                label = f"Summe {name}: {measure}/{category}, {total[2]}, {total[4]}"
                coefficients = (-1.0, *[1.0] * len(cells))
                found.append(Template(label, kind, (total, *cells), coefficients, -gap, gap, family=name))
        return found

    # ------------------------------------------------------------ parts of wholes, ratios

    def wholes(self) -> list[Template]:
        """A whole is its part and a remainder that nobody publishes (unless the published figures deny it)."""
        found = []
        for n, d in remainders(self.public, self.keys):
            denied = self.facts.exact(n) and self.facts.exact(d) and self.facts.low[n] > self.facts.high[d] + GAP
            if not denied:
                label = f"Teil und Ganzes: {d[0]}/{d[1]} = {n[0]}/{n[1]} + Rest, {n[2]}, {n[4]}"
                found.append(Template(label, "teil_und_ganzes", (d, n, remainder(n, d)), (-1.0, 1.0, 1.0)))
        return found

    def rates(self) -> list[Template]:
        """Delivered rates of declared counts; how far they are rounded shows in the longest of the shown values."""
        rates = [key for key in sorted(self.keys) if key[0] in self.halves]
        found = []
        for key in rates:
            parts = rate_parts(self.public, key)
            if parts is not None:
                factor, half = unit_factor(self.public.measures[key[0]].unit), self.halves[key[0]]
                label = f"Quote {key[0]}, {key[2]}, {key[4]}"
                found.append(Template(label, "quoten", (*parts, key), (factor, -1.0, 0.0), rate=half))
        return found

    def shown(self, ratios: Sequence[Ratio]) -> list[Template]:
        """Shown values of indicators where numerator and denominator are not both known."""
        found = []
        for ratio in ratios:
            n, d = ratio.numerator, ratio.denominator
            if not (self.facts.exact(n) and self.facts.exact(d)):
                label = f"Wert in {ratio.place}: {n[0]} / {d[0]}, {n[2]}, {n[4]}"
                low = Template(label, "quoten", (n, d), (1.0, -ratio.low), 0.0, INFINITE, current=True)
                high = Template(label, "quoten", (n, d), (-1.0, ratio.high), 0.0, INFINITE, current=True)
                found += [low, high]
        return found


# ---------------------------------------------------------------- areas and dates


def _families(public: Public, date: dt.date) -> dict[tuple[str, str], list[tuple[str, float]]]:
    """Per parent and level of its children the children of a day, with weight; none if one of them is unknown."""
    areas = {row["area_id"]: row for row in public.rows("area")}
    found: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    for row in public.rows("membership"):
        child, parent = areas.get(row["area_id"]), areas.get(row["parent_id"])
        if child is None or parent is None:
            continue
        if all(_valid(entry, date) for entry in (row, child, parent)):
            found[row["parent_id"], child["level"]].append((row["area_id"], float(row["weight"] or 0.0)))
    return {family: sorted(children) for family, children in sorted(found.items())}


def _valid(row: Row, date: dt.date) -> bool:
    return (row["valid_from"] or dt.date.min) <= date <= (row["valid_to"] or dt.date.max)


def _over_periods(public: Public, part: Row, total: Key) -> list[Key]:
    """Cells of a part in the total's period and the years before it."""
    _, _, area, period_type, date = total
    info = public.measures.get(part["part_measure_id"])
    kind = (info.period_type if info else "") or period_type
    days = [years_before(date, years) for years in range(int(part["periods"] or 1))]
    return [(part["part_measure_id"], part["part_category"], area, kind, day) for day in days]


def years_before(date: str, years: int) -> str:
    """The same day some years before; the last of February stays the last."""
    day = dt.date.fromisoformat(date)
    last = calendar.monthrange(day.year - years, day.month)[1]
    end = day.day == calendar.monthrange(day.year, day.month)[1]
    return dt.date(day.year - years, day.month, last if end else min(day.day, last)).isoformat()
