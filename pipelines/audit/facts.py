"""What a release tells about each cell: every table of the folder, read back from disk, as intervals of values.

A cell is (measure, category, area, period type, reference date). A fact is `low <= cell <= high` with the place where
it stands; all facts about one cell are intersected. Nothing here knows a true value, a reason or a protector.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.session import connect
from schemas.codes import CODE_LISTS, label

Key = tuple[str, str, str, str, str]
"""Measure, category, area, period type, reference date (ISO); a hidden remainder has a measure like `d - n`."""

Row = dict[str, Any]
INFINITE = math.inf
GAP = 1e-6
"""Counts closer than this are one number."""
DOUBLE = 1e-12
"""Relative width of a printed double: what 16 digits (Excel) and two divisions can be off."""
REMAINDER = " ohne "
DERIVED = (
    *("ci_low", "ci_high", "ci_low_998", "ci_high_998", "difference", "z_score", "rank"),
    *("change", "change_low", "change_high", "trend_chi2", "comparison", "comparison_confidence", "trend"),
)
"""Columns of `mart.indicator_value` that are worked out from the value of their own row."""
NOTHING = (None, "not_compared", "not_calculable")
_AT_ONCE = 50_000
"""Rows of a table that are Python objects at one time."""


class Unreadable(Exception):
    """A part of the release that an attacker could read and this audit cannot: nothing may be concluded."""


@dataclass(frozen=True)
class Leak:
    """One thing that must not be published.

    Args:
        kind: errechenbar, nicht_ableitbar, unbekannte_datei, unbekannte_spalte, unbekannter_code, pruefsumme,
            widerspruch or bedarf.
        where: file or table, measure, category, area and period, in German.
        what: German sentence: what an attacker learns or what is wrong, and what to do.
        measure: id of the measure it is about, "" if it is about no single one.
    """

    kind: str
    where: str
    what: str
    measure: str = ""


@dataclass(frozen=True)
class Need:
    """What inside knowledge asks of a cell: `high` reaches `need_high`; `open`: more than one value is possible."""

    cell: Key
    need_high: float
    open: bool = True


ABSENT = "absent"
"""Mark (with no value) of a cell that a release does not have any more."""

Change = tuple[Key, float | None, str | None]
"""A cell, its published value (None if withheld) and the mark of its version: same mark, same true value."""


@dataclass(frozen=True)
class Earlier:
    """What was ever published before.

    Args:
        states: per earlier release, oldest first, the cells whose status differs from the release before.
        current_marks: marks of cells of the release that is audited (withheld ones; published ones may have one too).
        names: names of the earlier releases, for messages; as long as `states`, or empty.
        mark_of: mark that a value of a cell would have. Without it a published figure whose change carries no mark is
            not known to be the same as a withheld one.
    """

    states: list[list[Change]] = field(default_factory=list)
    current_marks: Mapping[Key, str | None] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    mark_of: Callable[[Key, float], str] | None = None

    def ever_withheld(self) -> set[Key]:
        """Cells that were withheld in an earlier release, or are marked in this one."""
        return {key for changes in self.states for key, value, _ in changes if value is None} | set(self.current_marks)

    def mark(self, key: Key, value: float | None, mark: str | None, withheld: set[Key]) -> str | None:
        """Mark of a figure, worked out if it is published and the cell was withheld at some time."""
        if mark is None and value is not None and self.mark_of is not None and key in withheld:
            return self.mark_of(key, value)
        return mark


@dataclass(frozen=True)
class MeasureInfo:
    """One row of `mart.measure`; `threshold` None: public elsewhere, nothing to keep."""

    title: str
    kind: str = "count"
    unit: str = "persons"
    family: str = ""
    period_type: str = ""
    threshold: int | None = None
    zeros_published: bool = True
    tolerance: float = 0.0
    numerator: tuple[str, str] | None = None
    denominator: tuple[str, str] | None = None
    denominator_date: str = "same"


@dataclass
class Public:
    """The public tables, as an attacker loads them.

    Attributes:
        tables: schema `mart` as Arrow tables, in the order of their rows on disk.
        measures: by id.
        status: per cell of the observation `value`, `withheld` or `missing`.
        method: per cell of the observation how it came about.
        elsewhere: cells all of whose deliveries are public anyway, as `meta.delivery` says.
        release_id: what `meta.release` says it is, "" if it does not tell.
        previous_id: the release its revisions are compared with.
    """

    tables: dict[str, pa.Table]
    measures: dict[str, MeasureInfo] = field(default_factory=dict)
    status: dict[Key, str] = field(default_factory=dict)
    method: dict[Key, str] = field(default_factory=dict)
    elsewhere: set[Key] = field(default_factory=set)
    area_names: dict[str, str] = field(default_factory=dict)
    release_id: str = ""
    previous_id: str | None = None
    _rows: dict[str, list[Row]] = field(default_factory=dict, repr=False)

    def rows(self, table: str) -> list[Row]:
        """Rows of a small table of schema `mart`, which are kept; none if it does not exist."""
        if table not in self._rows:
            self._rows[table] = list(self.each(table))
        return self._rows[table]

    def each(self, table: str) -> Iterator[Row]:
        """The same for tables of figures, which are far larger as rows than as columns: some rows at a time."""
        for batch in self.tables[table].to_batches(_AT_ONCE) if table in self.tables else []:
            columns = [_values(column) for column in batch.columns]
            names = batch.schema.names
            yield from (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))

    def threshold(self, measure: str) -> int | None:
        """Counts above 0 and below it are confidential; of a remainder: what its part demands."""
        info = self.measures.get(measure.rsplit(REMAINDER, maxsplit=1)[-1])
        return info.threshold if info else None

    def words(self, key: Key) -> str:
        """A cell in words."""
        measure, category, area, period_type, date = key
        title = REMAINDER.join(self.measures[m].title if m in self.measures else m for m in measure.split(REMAINDER))
        kinds = {c.code for c in CODE_LISTS["period_type"]}
        when = f"{label('period_type', period_type)} {date}" if period_type in kinds else date
        return f"{title} ({measure}), {category}, {self.area_names.get(area, area)} ({area}), {when}"


@dataclass
class Facts:
    """Intersected intervals per cell, with the place of the narrowest fact, and contradictions between places."""

    low: dict[Key, float] = field(default_factory=dict)
    high: dict[Key, float] = field(default_factory=dict)
    place: dict[Key, str] = field(default_factory=dict)
    conflicts: list[tuple[Key, str, str]] = field(default_factory=list)

    def add(self, key: Key, low: float, high: float, place: str) -> None:
        """Intersect a cell's interval with a fact; bounds that miss each other by rounding only are one number."""
        if key not in self.low:
            self.low[key], self.high[key], self.place[key] = low, high, place
            return
        slack = GAP * max(1.0, abs(low) * GAP)
        if low > self.high[key] + slack or high < self.low[key] - slack:
            self.conflicts.append((key, self.place[key], place))
            return
        if high - low < self.high[key] - self.low[key]:
            self.place[key] = place
        new_low, new_high = max(self.low[key], low), min(self.high[key], high)
        self.low[key], self.high[key] = min(new_low, new_high), max(new_low, new_high)

    def exact(self, key: Key) -> bool:
        """Whether one value is known."""
        return key in self.low and self.high[key] - self.low[key] <= GAP


@dataclass(frozen=True, slots=True)
class Ratio:
    """`low <= numerator / denominator <= high`, read at a place."""

    numerator: Key
    denominator: Key
    low: float
    high: float
    place: str


# ---------------------------------------------------------------- public tables


@contextlib.contextmanager
def kept_open(file: Path) -> Iterator[None]:
    """Keep a DuckDB file loaded for a while: a dozen checks open it one after the other, each gets a look of its own.

    A file that can't be opened is no error here; the first check says so.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(duckdb.Error):
            stack.enter_context(connect(file, read_only=True))
        yield


def load_public(file: Path) -> Public:
    """Load schema `mart` of a public DuckDB file.

    Raises:
        Unreadable: it is no DuckDB file, or a column of the observation is missing.
    """
    try:
        with connect(file, read_only=True) as con:
            names = [
                r[0]
                for r in con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'mart'").fetchall()
            ]
            tables = {name: con.sql(f'SELECT * FROM mart."{name}"').to_arrow_table() for name in names}
            release = con.sql("SELECT * FROM meta.release").to_arrow_table().to_pylist()
            told = "schema_name = 'meta' AND table_name = 'delivery' AND column_name = 'public_elsewhere'"
            open_sources: set[str] = set()
            if con.execute(f"SELECT count(*) FROM duckdb_columns() WHERE {told}").fetchone() == (1,):
                rows = con.execute("SELECT source_id FROM meta.delivery WHERE public_elsewhere").fetchall()
                open_sources = {row[0] for row in rows}
    except duckdb.Error as error:
        raise Unreadable(f"{file.name}: {error}") from error
    public = Public(tables)
    if len(release) == 1:
        public.release_id = str(release[0].get("release_id") or "")
        public.previous_id = release[0].get("previous_release_id")
    public.measures = {row["measure_id"]: _measure(row) for row in public.rows("measure")}
    public.area_names = {row["area_id"]: row["name"] for row in public.rows("area")}
    try:
        for row in public.each("observation"):
            key = key_of(row)
            withheld = row["is_suppressed"] or row["obs_status"] == "Q" or row["conf_status"] == "C"
            sources = {delivery.rsplit("-", 1)[0] for delivery in (row.get("delivery_ids") or "").split(";")}
            if sources <= open_sources:
                public.elsewhere.add(key)
            public.status[key] = "withheld" if withheld else "missing" if row["value"] is None else "value"
            public.method[key] = row["method"]
    except KeyError as error:
        raise Unreadable(f"mart.observation: Spalte {error} fehlt") from error
    return public


def _values(column: pa.Array) -> list[Any]:
    """A column as Python objects; equal texts and days are one object, since there are few different ones."""
    if not (pa.types.is_string(column.type) or pa.types.is_date(column.type)):
        return column.to_pylist()
    encoded = column.dictionary_encode()
    different = [*encoded.dictionary.to_pylist(), None]
    return [different[place] for place in encoded.indices.fill_null(len(different) - 1).to_numpy()]


def _measure(row: Row) -> MeasureInfo:
    def part(name: str) -> tuple[str, str] | None:
        measure = row.get(name)
        return (measure, row.get(f"{name}_category") or "insgesamt") if measure else None

    return MeasureInfo(
        title=row["title"],
        kind=row["kind"],
        unit=row["unit"],
        family=row.get("family") or "",
        period_type=row.get("period_type") or "",
        threshold=row.get("threshold"),
        zeros_published=row.get("zeros") != "hidden",
        tolerance=row.get("tolerance") or 0.0,
        numerator=part("rate_numerator"),
        denominator=part("rate_denominator"),
        denominator_date=row.get("rate_denominator_date") or "same",
    )


def key_of(row: Row) -> Key:
    """Key of a row of the observation."""
    return row["measure_id"], row["category"], row["area_id"], row["period_type"], day_of(row["reference_date"])


@functools.lru_cache(maxsize=10_000)
def day_of(date: dt.date) -> str:
    """ISO form of a day; the same object for the same day."""
    return date.isoformat()


def date_of_denominator(date: str, rule: str | None) -> str:
    """Reference date of the denominator that serves a numerator's date (rules of `mart.indicator`)."""
    year = int(date[:4])
    if rule == "year_end":
        return f"{year}-12-31"
    return f"{year - 1}-12-31" if rule == "previous_year_end" else date


# ---------------------------------------------------------------- facts


class Reader:
    """Turns tables (of whatever file) into facts and ratios."""

    def __init__(self, public: Public) -> None:
        self.public = public
        self.facts = Facts()
        self.ratios: list[Ratio] = []
        self.problems: list[Leak] = []
        self.indicators = {row["indicator_id"]: row for row in public.rows("indicator")}
        self.rate_measure = {
            (r["indicator_id"], r["area_level"]): r["rate_measure"]
            for r in public.rows("indicator_level")
            if r["figure"] == "rate"
        }
        self.level = {row["area_id"]: row["level"] for row in public.rows("area")}
        self._benchmarks: set[tuple[Any, ...]] = set()
        self._dates: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for row in public.each("indicator_value"):
            place = (row["indicator_id"], row["area_id"], row["period"])
            self._dates.setdefault(place, []).append((row["period_type"], day_of(row["reference_date"])))

    def read_table(self, name: str, rows: Iterable[Row], place: str) -> None:
        """Facts of a table of schema `mart` (other tables than these hold no figures)."""
        readers = {
            "observation": self._observation,
            "indicator_value": self._values,
            "area_profile": self._profile,
            "revision": self._revisions,
            "social_index_part": self._index_parts,
        }
        if name in readers:
            readers[name](rows, place)

    def _observation(self, rows: Iterable[Row], place: str) -> None:
        for row in rows:
            if row.get("value") is not None:
                self._exact(key_of(row), row["value"], place)

    def _exact(self, key: Key, value: float, place: str) -> None:
        """A printed double: a whole number is itself, others are as exact as a double."""
        width = 0.0 if float(value).is_integer() else abs(value) * DOUBLE
        self.facts.add(key, value - width, value + width, place)

    def _values(self, rows: Iterable[Row], place: str) -> None:
        for row in rows:
            date, area = day_of(row["reference_date"]), row["area_id"]
            pair = self.parts_of(row["indicator_id"], area, row["period_type"], date)
            for key, column in zip(pair, ("numerator", "denominator"), strict=True):
                if key is not None and row.get(column) is not None:
                    self._exact(key, row[column], place)
            value = row.get("value")
            if value is not None:
                self.value(row["indicator_id"], area, (row["period_type"], date), (value, abs(value) * DOUBLE), place)
            self._statistics(row, date, place)

    def _statistics(self, row: Row, date: str, place: str) -> None:
        """The benchmark's value, and whatever was worked out from a figure that is withheld."""
        told = (row["indicator_id"], str(row.get("benchmark_id")), row["period_type"], date, row.get("benchmark_value"))
        if told[4] is not None and told not in self._benchmarks:
            self._benchmarks.add(told)
            self.value(told[0], told[1], (told[2], date), (told[4], abs(told[4]) * DOUBLE), place)
        beside = [name for name in DERIVED if row.get("is_suppressed") and row.get(name) not in NOTHING]
        if beside:
            self._beside(f"{place}, {row['indicator_id']}, {row['area_id']}, {date}", beside)

    def _beside(self, where: str, names: list[str]) -> None:
        text = f"Neben der gesperrten Zahl steht, was aus ihr gerechnet ist ({', '.join(names)}); entfernen."
        self.problems.append(Leak("nicht_ableitbar", where, text))

    def _revisions(self, rows: Iterable[Row], place: str) -> None:
        """What changed in this very release tells its figures; the other values were figures of earlier ones."""
        for row in rows:
            if row["release_id"] == self.public.release_id and row["value_now"] is not None:
                when = (row["period_type"], day_of(row["reference_date"]))
                shown = (row["value_now"], abs(row["value_now"]) * DOUBLE)
                self.value(row["indicator_id"], row["area_id"], when, shown, place)

    def _index_parts(self, rows: Iterable[Row], place: str) -> None:
        """Figures that an index is made of stand there again."""
        for row in rows:
            value, date = row.get("value"), row.get("indicator_reference_date")
            if value is None or date is None:
                continue
            found = self._types.get((row["indicator_id"], row["area_id"], day_of(date)), set())
            if len(found) == 1:
                shown = (value, abs(value) * DOUBLE)
                self.value(row["indicator_id"], row["area_id"], (min(found), day_of(date)), shown, place)
            else:
                self.unplaced(place, f"{row['indicator_id']}, {row['area_id']}, {date}")

    @cached_property
    def _types(self) -> dict[tuple[str, str, str], set[str]]:
        """Period types by indicator, area and day."""
        found: dict[tuple[str, str, str], set[str]] = {}
        for (indicator, area, _), whens in self._dates.items():
            for period_type, date in whens:
                found.setdefault((indicator, area, date), set()).add(period_type)
        return found

    def _profile(self, rows: Iterable[Row], place: str) -> None:
        for row in rows:
            for name, value in row.items():
                indicator, mark, suffix = name.rpartition("__")
                if suffix in DERIVED and value not in NOTHING and row.get(f"{indicator}__obs_status") == "Q":
                    self._beside(f"{place}, {indicator}, {row['area_id']}", [suffix])
                if mark and suffix == "value" and value is not None:
                    period = row.get(f"{indicator}__period")
                    found = self._dates.get((indicator, row["area_id"], period or ""), [])
                    if len(found) == 1:
                        self.value(indicator, row["area_id"], found[0], (value, abs(value) * DOUBLE), place)
                    else:
                        self.unplaced(place, f"{indicator}, {row['area_id']}, {period}")

    def wide(self, rows: list[list[str]], place: str) -> None:
        """A wide German table: Gebietskennung, Gebiet, Zeitbezug, Zeitraum, then value and signs per indicator."""
        heads = {f"{i['title_de']} ({label('unit', i['unit'])})": i["indicator_id"] for i in self.indicators.values()}
        types = {c.label_de: c.code for c in CODE_LISTS["period_type"]}
        columns = [(position, heads[name]) for position, name in enumerate(rows[0]) if name in heads]
        for row in rows[1:]:
            for position, indicator in columns:
                text = row[position].strip() if position < len(row) else ""
                if not text:
                    continue
                found = [w for w in self._dates.get((indicator, row[0], row[3]), []) if w[0] == types.get(row[2])]
                shown = printed(text)
                if shown is None or len(found) != 1:
                    self.unplaced(place, f"{indicator}, {row[0]}, {row[3]}: »{text}«")
                else:
                    self.value(indicator, row[0], found[0], shown, place)

    def unplaced(self, place: str, what: str) -> None:
        """A figure that belongs to no published cell: an attacker may find the cell, this audit cannot."""
        text = "Diese Zahl gehört zu keiner Zeile von mart.indicator_value; Datei neu erzeugen."
        self.problems.append(Leak("widerspruch", f"{place}: {what}", text))

    def value(self, indicator: str, area: str, when: tuple[str, str], shown: tuple[float, float], place: str) -> None:
        """A shown value of an indicator (value and half-width of its rounding) as facts about the counts behind it."""
        value, half = shown
        rate = self.rate_measure.get((indicator, self.level.get(area, "")))
        if rate is not None:
            self.facts.add((rate, "insgesamt", area, *when), value - half, value + half, place)
            return
        numerator, denominator = self.parts_of(indicator, area, *when)
        factor = float(self.indicators[indicator].get("factor") or 1.0) if indicator in self.indicators else 1.0
        low, high = (value - half) / factor, (value + half) / factor
        if numerator is None:
            self.unplaced(place, f"{indicator}, {area}, {when[1]}")
        elif denominator is None:
            self.facts.add(numerator, *self._whole(numerator, low, high), place)
        else:
            self.ratios.append(Ratio(numerator, denominator, low, high, place))

    def parts_of(self, indicator: str, area: str, period_type: str, date: str) -> tuple[Key | None, Key | None]:
        """Cells of numerator and denominator of an indicator's value; None where it has none."""
        row = self.indicators.get(indicator)
        if row is None or not row.get("numerator"):
            return None, None
        numerator = (row["numerator"], row.get("numerator_category") or "insgesamt", area, period_type, date)
        if not row.get("denominator"):
            return numerator, None
        base = (row["denominator"], row.get("denominator_category") or "insgesamt", area)
        day = date_of_denominator(date, row.get("denominator_date"))
        return numerator, (*base, row.get("denominator_period_type") or period_type, day)

    def _whole(self, key: Key, low: float, high: float) -> tuple[float, float]:
        """Counts are whole; estimated ones (weighted sums) are not."""
        return (low, high) if self.public.method.get(key) == "estimated" else whole(low, high)

    # ------------------------------------------------------------ derived facts

    def delivered_rates(self) -> None:
        """Rates whose counts are declared: a published rate tells the ratio up to the rounding of its measure."""
        halves = half_widths(self.public)
        for key in [k for k in self.facts.low if k[0] in halves]:
            parts = rate_parts(self.public, key)
            if parts is not None:
                factor, half = unit_factor(self.public.measures[key[0]].unit), halves[key[0]]
                low, high = (self.facts.low[key] - half) / factor, (self.facts.high[key] + half) / factor
                self.ratios.append(Ratio(*parts, low, high, self.facts.place[key]))

    def propagate(self) -> None:
        """Numerator from ratio and denominator, and the other way round, until nothing gets narrower (twice)."""
        for _ in range(2):
            for ratio in self.ratios:
                self._one_ratio(ratio)

    def _one_ratio(self, ratio: Ratio) -> None:
        facts, n, d = self.facts, ratio.numerator, ratio.denominator
        if d in facts.low and facts.high[d] > 0:
            ends = [bound * base for bound in (ratio.low, ratio.high) for base in (facts.low[d], facts.high[d])]
            facts.add(n, *self._whole(n, min(ends), max(ends)), ratio.place)
        if n in facts.low and ratio.low > 0 and facts.low[n] >= 0:
            low, high = facts.low[n] / ratio.high, facts.high[n] / ratio.low
            facts.add(d, *self._whole(d, low, high), ratio.place)


def half_widths(public: Public) -> dict[str, float]:
    """Per delivered rate half a unit of the last digit that any shown value of the measure has."""
    digits = {name: 0 for name, info in public.measures.items() if info.kind == "rate"}
    for row in public.each("observation") if digits else []:
        if row["value"] is not None and row["measure_id"] in digits:
            digits[row["measure_id"]] = max(decimals(row["value"]), digits[row["measure_id"]])
    return {name: 0.5 * 10.0**-shown for name, shown in digits.items()}


def rate_parts(public: Public, key: Key) -> tuple[Key, Key] | None:
    """Cells of the counts that a delivered rate is formed of, if declared."""
    info = public.measures.get(key[0])
    if info is None or info.numerator is None or info.denominator is None:
        return None
    (n, n_category), (d, d_category), (_, _, area, period_type, date) = info.numerator, info.denominator, key
    n_type = public.measures[n].period_type if n in public.measures else ""
    d_type = public.measures[d].period_type if d in public.measures else ""
    day = date_of_denominator(date, info.denominator_date)
    return (n, n_category, area, n_type or period_type, date), (d, d_category, area, d_type or period_type, day)


def unit_factor(unit: str) -> float:
    """What a quotient is multiplied by to get a value in a unit."""
    return {"percent": 100.0, "per_1000": 1000.0}.get(unit, 1.0)


def decimals(value: float) -> int:
    """Decimal places of a number as it is printed (shortest text that reads back as the same double)."""
    text = repr(float(value))
    if "e-" in text:
        return int(text.split("e-")[1]) + len(text.split("e-")[0].partition(".")[2])
    fraction = text.partition(".")[2]
    return 0 if fraction == "0" else len(fraction)


def printed(text: str) -> tuple[float, float] | None:
    """A German number as printed: value and half a unit of its last digit; None if it is no number."""
    try:
        value = float(text.replace(".", "").replace(",", "."))
    except ValueError:
        return None
    return value, 0.5 * 10.0 ** -len(text.partition(",")[2])


def whole(low: float, high: float) -> tuple[float, float]:
    """The whole numbers of an interval; the interval itself if it holds none (then it is no count)."""
    slack = max(GAP, abs(high) * 1e-9)
    up, down = math.ceil(low - slack), math.floor(high + slack)
    return (float(up), float(down)) if up <= down else (low, high)
