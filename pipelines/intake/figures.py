"""A delivery's figures beside those already in force, in a form that the rules of comparison can ask.

Table `figure` holds one row per figure, in numbers only (a delivery may have 30 million). What the figures are about is
told once per slot: a column of figures with the same measure, category, level and period (and, where keys occur twice,
occurrence). There are few slots: they are fetched, figures never. All slots of a measure, level, period and occurrence
form a block.
"""

from __future__ import annotations

import atexit
import datetime as dt
import functools
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.areas import Directory
from pipelines.files import TEMPORARY, quoted
from pipelines.intake.failures import KEEP, Findings
from pipelines.intake.past import Past
from pipelines.intake.phrases import Spot
from pipelines.memory import memory_limit
from pipelines.session import connect, spill_into
from schemas.documents import TOTAL, Measure, Source

SMALL = 400_000
"""Up to so many figures (together) are compared in a database that stays open and never touches the disk."""
MEMORY = 2_000_000_000
"""DuckDB's limit in bytes while more are compared (half of the memory if that is less); beyond it a folder is used."""
ENOUGH = 8
"""Areas that a comparison of whole blocks needs; with fewer, chance explains too much."""
SAMPLE = 2000
"""Areas that medians over areas are taken from, if there are more: DuckDB keeps all values of a median in memory, and a
median of so many is exact to 3 % of the scatter."""
SUMMED = "*"
"""Category of the sum over a block's categories, formed here where the office delivers no total."""
_OCCURRENCES = 20
"""A key that occurs more often is not compared any further; another rule reports the repetition."""
_WITH_KEY = "measure_id IS NOT NULL AND area_id IS NOT NULL AND area_level IS NOT NULL AND reference_date IS NOT NULL"
_HASH = "hash(delivery, measure_id, category, area_level, reference_date, period) // 2048"
"""Number of a key, so that no join over texts is needed. Two of 10,000 keys collide once in 10^8 deliveries."""

IN_SAMPLE = "hash(x.area) % w.every = 0"
"""Whether the area of figure x is in the sample of slot (or pair of slots) w."""
PROOF = """CASE WHEN value <> round(value) THEN ln(1 + sqrt(10 * abs(value)))
    WHEN abs(value) >= 10 THEN ln(1 + sqrt(abs(value))) ELSE 0 END"""
"""What it proves if two periods have the same value: minus the logarithm of the probability of chance. Two Poisson
figures of size v are equal with less than 1 / (1 + sqrt(v)); a rate is counted by its tenths. Small counts (3 nursery
schools) may stay the same for years and prove nothing."""

_KEY = f"""
    CREATE TEMP TABLE key AS
    WITH found AS MATERIALIZED (
        SELECT delivery, measure_id, category, area_level, reference_date, period FROM delivered GROUP BY ALL
    ), kept AS MATERIALIZED ({{kept}}), summed AS (
        SELECT delivery, measure_id, '{SUMMED}' AS category, area_level, reference_date, period, current,
            count(*) AS parts
        FROM kept
        WHERE list_contains($counts, measure_id)
        GROUP BY ALL
        HAVING count(*) > 1 AND NOT bool_or(category = '{TOTAL}')
    )
    SELECT {_HASH} AS key, category = '{SUMMED}' AS summed, current, parts, delivery, measure_id AS measure, category,
        area_level AS level, reference_date AS date, period,
        dense_rank() OVER (ORDER BY measure_id, area_level, reference_date, delivery) AS block,
        dense_rank() OVER (ORDER BY measure_id, category, area_level) AS series,
        category IN ('{TOTAL}', '{SUMMED}') OR count(*) OVER all_parts = 1 AS whole
    FROM (FROM kept UNION ALL FROM summed)
    WINDOW all_parts AS (PARTITION BY measure_id, area_level, reference_date, delivery)
"""
_ALL_KEPT = "SELECT *, true AS current, 1 AS parts FROM found"
_NEWEST_KEPT = """
    SELECT *, delivery = 0 OR min(delivery) OVER slice > 0 AS current, 1 AS parts
    FROM found
    WINDOW slice AS (PARTITION BY measure_id, area_level, period)
    QUALIFY delivery = 0 OR delivery = max(delivery) OVER slice
"""
_PLACE = """
    CREATE TEMP TABLE place AS
    SELECT row_number() OVER (ORDER BY sheet, "column", column_name)::INTEGER AS place, *
    FROM (SELECT DISTINCT sheet, "column", column_name FROM delivered WHERE delivery = 0)
"""
_FIGURE = f"""
    CREATE TEMP TABLE figure AS
    SELECT {_HASH} * 1000 + 1 AS slot, a.area, d.value, d.line::INTEGER AS line, p.place
    FROM delivered d
    JOIN area a ON a.area_id = d.area_id
    LEFT JOIN place p ON p.sheet = d.sheet AND p."column" = d."column" AND p.column_name = d.column_name
"""
_IN_FORCE = f"WHERE {_HASH} IN (SELECT key FROM key)"
_DOUBLED = "SELECT DISTINCT slot FROM (SELECT slot FROM figure GROUP BY slot, area HAVING count(*) > 1)"
_NUMBERED = f"""
    UPDATE figure SET slot = figure.slot + n.number - 1
    FROM (
        SELECT f.rowid AS row, row_number() OVER (PARTITION BY slot, area ORDER BY p.sheet, line, p."column") AS number
        FROM figure f LEFT JOIN place p USING (place)
        WHERE slot IN ({_DOUBLED})
    ) n
    WHERE figure.rowid = n.row AND n.number > 1
"""
_SUM = """
    INSERT INTO figure
    SELECT t.key * 1000 + f.slot % 1000, f.area, sum(f.value), min(f.line), min(f.place)
    FROM key t
    JOIN key k ON k.block = t.block AND NOT k.summed
    JOIN figure f ON f.slot // 1000 = k.key
    WHERE t.summed
    GROUP BY ALL
    HAVING count(f.value) = any_value(t.parts)
"""
_SLOT = f"""
    CREATE TEMP TABLE slot AS
    SELECT f.slot, k.series, k.block * 1000 + f.slot % 1000 AS block, k.measure, k.category, k.level, k.date, k.period,
        k.delivery, f.slot % 1000 AS occurrence, k.current, k.whole, k.summed, f.* EXCLUDE (slot)
    FROM (
        SELECT slot, count(*) AS size, count(value) AS n, sum(value) AS total, min(line) AS first, max(line) AS last,
            min(place) AS place, max(place) AS last_place, approx_count_distinct(value) AS variety,
            sum(hash(value)) FILTER (value IS NOT NULL) AS bag,
            sum(hash(area, value)) FILTER (value IS NOT NULL) AS laid,
            sum({PROOF}) AS weight
        FROM figure
        GROUP BY slot
    ) f
    JOIN key k ON k.key = f.slot // 1000
    ORDER BY k.measure, k.level, k.date, f.slot % 1000, k.category, k.delivery
"""


class Slot(NamedTuple):
    """A column of figures."""

    slot: int
    series: int
    """The same for all periods of a measure, category and level."""
    block: int
    measure: str
    category: str
    level: str
    date: dt.date
    period: str
    delivery: int
    """0 for the delivery that is judged, 1 and more for earlier ones in their order."""
    occurrence: int
    current: bool
    """In force if the delivery that is judged is accepted."""
    whole: bool
    """Stands for the whole measure: its total, the sum of its categories, or its only category."""
    summed: bool
    size: int
    """Rows, with and without a value."""
    n: int
    """Values."""
    total: float | None
    first: int | None
    """First line; missing for earlier deliveries."""
    last: int | None
    place: int | None
    """First column (see `Figures.places`)."""
    last_place: int | None
    variety: int
    """Different values, about."""
    bag: int | None
    """The same for the same values in any order."""
    laid: int | None
    """The same for the same values in the same areas."""
    weight: float | None
    """What the values prove if another slot has the same, see `PROOF`."""

    @property
    def every(self) -> int:
        """Of how many areas one is in the sample (see `IN_SAMPLE`)."""
        return -(-self.size // SAMPLE)


def longest(slots: Collection[Slot]) -> int:
    """Periods of the longest series of whole blocks that the delivery that is judged continues."""
    dates: dict[int, set[dt.date]] = {}
    here = {slot.series for slot in slots if slot.delivery == 0 and slot.n >= ENOUGH}
    for slot in slots:
        if slot.current and slot.n >= ENOUGH and slot.series in here:
            dates.setdefault(slot.series, set()).add(slot.date)
    return max(map(len, dates.values()), default=0)


class Row:
    """One row of a query, its columns as attributes."""

    def __init__(self, names: list[str], values: tuple[Any, ...]) -> None:
        """Take the names from the query."""
        self.__dict__.update(zip(names, values, strict=True))

    def __getattr__(self, name: str) -> Any:
        """For the type checker: which columns there are is the query's affair."""
        raise AttributeError(name)


class Figures:
    """The tables `figure`, `slot` and `area` (area, area_id, level), the slots, and names for what is in them.

    `accused` collects the slots that a rule found to belong elsewhere: changes from and to them are not worth looking
    at. `titles` names the sources compared with. `longest` is the number of periods of the longest series of whole
    blocks that this delivery continues.
    """

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        reading: Path,
        source: Source,
        measures: dict[str, Measure],
        directory: Directory,
        findings: Findings,
        earlier: list[Past],
    ) -> None:
        """Fill the tables."""
        self.con, self.source, self.measures, self.directory = con, source, measures, directory
        self.findings = findings
        self.earlier = sorted(earlier, key=lambda past: past.seq)
        self.area_ids = list(directory.areas)
        self.counts = [measure.id for measure in measures.values() if measure.kind == "count"]
        self._load(reading)
        places = con.execute('SELECT place, sheet, "column", column_name FROM place').fetchall()
        self.places: dict[int, tuple[str, int, str]] = {row[0]: row[1:] for row in places}
        self.slots = {row[0]: Slot(*row) for row in con.execute("FROM slot").fetchall()}
        self.titles: dict[str, str] = {}
        self.accused: set[int] = set()
        self.dates = {slot.date for slot in self.slots.values()}
        self.longest = longest(self.slots.values())

    def _load(self, reading: Path) -> None:
        levels = [area.level for area in self.directory.areas.values()]
        numbers = pa.array(range(len(levels)), pa.int32())
        self.table("area", pa.table({"area": numbers, "area_id": self.area_ids, "level": levels}))
        keys = "measure_id, category, area_id, area_level, reference_date, period, value"
        here = f"""SELECT 0 AS delivery, {keys}, line, coalesce(sheet, '') AS sheet, coalesce("column", 0) AS "column",
            coalesce(column_name, '') AS column_name
            FROM read_parquet('{quoted(reading)}') WHERE {_WITH_KEY}"""
        past = f"""SELECT (file_index + 1)::INTEGER, {keys}, NULL, NULL, NULL, NULL
            FROM read_parquet({files_of(self.earlier)}) WHERE {_WITH_KEY}"""
        self.con.execute(f"CREATE TEMP VIEW delivered AS {here}{f' UNION ALL {past}' if self.earlier else ''}")
        self.con.execute(_KEY.format(kept=_NEWEST_KEPT if self.earlier else _ALL_KEPT), {"counts": self.counts})
        self.con.execute(_PLACE)
        self.con.execute(_FIGURE + (_IN_FORCE if self.earlier else ""))
        if self.con.execute(f"{_DOUBLED} LIMIT 1").fetchall():
            self.con.execute(_NUMBERED)
            self.con.execute(f"DELETE FROM figure WHERE slot % 1000 > {_OCCURRENCES}")
        if self.con.execute("SELECT 1 FROM key WHERE summed LIMIT 1").fetchall():
            self.con.execute(_SUM)
        self.con.execute(_SLOT)

    def table(self, name: str, content: pa.Table) -> None:
        """Make a table of rows given from outside."""
        self.con.register("given", content)
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM given")
        self.con.unregister("given")

    def accuse(self, slots: Iterable[Slot]) -> None:
        """Mark slots as wrong, and with them the sums they are part of."""
        found = list(slots)
        blocks = {slot.block for slot in found}
        self.accused |= {slot.slot for slot in found}
        self.accused |= {slot.slot for slot in self.slots.values() if slot.summed and slot.block in blocks}

    def block(self, block: int) -> list[Slot]:
        """All slots of a block."""
        return [slot for slot in self.slots.values() if slot.block == block]

    def off(self, *rules: str) -> bool:
        """Whether none of the rules is wanted."""
        return all(self.findings.severity(rule) == "off" for rule in rules)

    def rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
        """All rows of a query about slots or areas (never about figures: there may be millions)."""
        found = self.con.execute(sql, parameters) if parameters else self.con.execute(sql)
        names = [column[0] for column in found.description or []]
        return [Row(names, values) for values in found.fetchall()]

    def found(self, rule: str, sql: str, order: str) -> Iterator[Row]:
        """Rows of a query that are findings: as many as are listed; the others are counted in the end."""
        rows = self.rows(f"SELECT *, count(*) OVER () AS found FROM ({sql}) ORDER BY {order} LIMIT {KEEP}")
        yield from rows
        self.findings.more(rule, rows[0].found - len(rows) if rows else 0)

    # ------------------------------------------------------------ names

    def title(self, measure: str, category: str | None) -> str:
        """What is counted, in German."""
        declared = self.measures[measure]
        if category in (None, TOTAL, SUMMED):
            return declared.title.de
        texts = {entry.id: entry.title.de for entry in declared.categories}
        return f"{declared.title.de}, {texts.get(str(category), str(category))}"

    def area(self, number: int) -> str:
        """An area's name."""
        return self.directory.areas[self.area_ids[number]].name

    def areas(self, numbers: Iterable[int]) -> str:
        """Names of areas in the directory's order; of many only the first ones."""
        names = [self.area(number) for number in sorted(numbers)]
        return ", ".join(names) if len(names) <= 12 else ", ".join(names[:10]) + f" und {len(names) - 10} weitere"

    def spot(self, slots: Iterable[Slot]) -> Spot:
        """Where slots stand, taken together; nowhere if not in this delivery."""
        own = [slot for slot in slots if not slot.delivery]
        own = [slot for slot in own if not slot.summed] or own
        places = sorted({place for slot in own for place in (slot.place, slot.last_place) if place is not None})
        if not places:
            return Spot()
        lines = [line for slot in own for line in (slot.first, slot.last) if line is not None]
        return self._spot(lines, places, own[0].summed)

    def cell(self, row: Row, summed: bool = False) -> Spot:
        """Where one figure, or the first one of a sum, stands (columns line, place)."""
        return self._spot([row.line], [row.place], summed)

    def _spot(self, lines: list[int], places: list[int], summed: bool) -> Spot:
        (sheet, column, name), (other, _, _) = self.places[places[0]], self.places[places[-1]]
        if sheet != other:
            return Spot()
        one = len(places) == 1 and not summed
        return Spot(min(lines), max(lines), column if one else 0, name if one else "", sheet)

    def delivery(self, number: int) -> str:
        """How to name an earlier delivery behind a period; '' for the one that is judged."""
        return f" in der Lieferung {self.earlier[number - 1].delivery_id}" if number else ""


def files_of(deliveries: list[Past]) -> str:
    """Paths as a DuckDB list."""
    return "[" + ", ".join(f"'{quoted(past.path)}'" for past in deliveries) + "]"


@contextmanager
def connection(reading: Path, others: Iterable[Past]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection without tables: into the database that stays open, or one of its own that may use the disk.

    Spilled figures may be confidential: they lie beside the reading, under a name that the next start clears away.
    """
    paths = [reading, *(past.path for past in others)]
    if sum(pq.read_metadata(path).num_rows for path in paths) <= SMALL:
        with _small_database().cursor() as con:
            yield con
        return
    spill = reading.with_name(f"{TEMPORARY}{reading.stem}-vergleich")
    try:
        with connect() as con:
            spill_into(con, spill)
            con.execute(f"SET preserve_insertion_order = false; {_limit()}")
            yield con
    finally:
        shutil.rmtree(spill, ignore_errors=True)


@functools.cache
def _small_database() -> duckdb.DuckDBPyConnection:
    """A database in memory; made once, opening one costs more than a small file. More threads would only cost time."""
    database = connect()
    database.execute(f"SET threads = 1; SET temp_directory = ''; {_limit()}")
    atexit.register(database.close)
    return database


def _limit() -> str:
    return f"SET memory_limit = '{min(MEMORY, memory_limit() // 2)}B'"
