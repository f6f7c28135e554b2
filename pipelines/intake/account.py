"""What a clean reading holds, area by area: proves without a query that rules over the whole file have nothing to say.

Kept are two small arrays per slot (a column of figures), as long as the directory: what each area has there.
"""

from __future__ import annotations

import datetime as dt
import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.areas import Directory
from pipelines.intake.past import most_cells
from schemas.documents import NotAbove
from schemas.reading import STATUSES, UNREADABLE

_ROWS = 500_000
"""Figures of a reading that are looked at together."""
ALL_STATUSES = [*STATUSES, UNREADABLE]
_TEXTS = ["measure_id", "category", "area_id", "period", "status"]
_NUMBERS = ["reference_date", "value", "line"]
_DAYS = "datetime64[D]"
Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]


class AreaNumbers:
    """The areas of a directory by number, in its order; levels by number likewise.

    `level`, `starts` and `ends` have one entry per area; `known` keeps per kind of description
    which area the texts mean on every day that it is valid.
    """

    def __init__(self, directory: Directory) -> None:
        """Number the areas."""
        areas = list(directory.areas.values())
        self.ids = list(directory.areas)
        self.levels = sorted({area.level for area in areas})
        self.number = {area_id: number for number, area_id in enumerate(self.ids)}
        levels = {level: number for number, level in enumerate(self.levels)}
        self.level = np.array([levels[area.level] for area in areas], np.int32)
        self.starts = np.array([area.valid_from or dt.date.min for area in areas], _DAYS)
        self.ends = np.array([area.valid_to or dt.date.max for area in areas], _DAYS)
        self.known: dict[str, dict[tuple[str, ...], int]] = {}
        self._samples: dict[int, npt.NDArray[np.intp]] = {}

    @functools.cached_property
    def _hashes(self) -> npt.NDArray[np.uint64]:
        with duckdb.connect(config={"threads": 1}) as con:
            found = con.execute(f"SELECT hash(range::INTEGER) AS hash FROM range({len(self.ids)}) ORDER BY range")
            return np.asarray(found.fetchnumpy()["hash"], np.uint64)

    def sample(self, every: int) -> npt.NDArray[np.intp]:
        """The areas that DuckDB's hash of their number chooses for samples of one in so many."""
        if every not in self._samples:
            self._samples[every] = np.flatnonzero(self._hashes % np.uint64(every) == 0)
        return self._samples[every]

    def lasting(self, areas: Numbers, dates: Iterable[dt.date]) -> bool:
        """Whether these areas are valid on all of these days."""
        days = np.array(list(dates), _DAYS)
        return bool((self.starts[areas] <= days.min()).all() and (self.ends[areas] >= days.max()).all())

    def expected(self, level: str, listed: list[str] | str, date: dt.date) -> Numbers:
        """Areas that a delivery must hold on a day: those listed, or all of a level that exist then."""
        if isinstance(listed, list):
            return np.array([self.number[area_id] for area_id in listed], np.int64)
        day = np.datetime64(date, "D")
        there = self.level == (self.levels.index(level) if level in self.levels else -1)
        return np.flatnonzero(there & (self.starts <= day) & (self.ends >= day))


@functools.lru_cache(maxsize=2)
def numbered(directory: Directory) -> AreaNumbers:
    """The directory's areas by number; made once, not for every file."""
    return AreaNumbers(directory)


class About(NamedTuple):
    """What a column of figures is about."""

    measure: str
    category: str
    level: str
    date: dt.date
    period: str


class Held(NamedTuple):
    """What each area of the directory has in a slot: 0 for nothing or 1 + its place in `ALL_STATUSES`; the values."""

    status: npt.NDArray[np.uint8]
    value: Floats


class Account:
    """The figures of one reading, told in blocks.

    `slots` holds them; it is of no use unless `dense`. `slices` are measures, periods and levels.
    """

    def __init__(self, areas: AreaNumbers) -> None:
        """Nothing told yet."""
        self.areas = areas
        self.figures = 0
        self.slots: dict[About, Held] = {}
        self.slices: set[tuple[str, str, str]] = set()
        self.dense = True
        self._lines: dict[tuple[str, str], tuple[int, int]] = {}

    @classmethod
    def of(cls, reading: Path, areas: AreaNumbers) -> Account | None:
        """Account of a reading that is kept; None if a figure in it has no key or status."""
        account = cls(areas)
        with pq.ParquetFile(reading, read_dictionary=_TEXTS) as file:
            for batch in file.iter_batches(_ROWS, columns=_TEXTS + _NUMBERS):
                columns = {name: batch.column(name) for name in _TEXTS + _NUMBERS}
                known = set(columns["status"].dictionary.to_pylist()) <= set(ALL_STATUSES)
                if not known or any(columns[name].null_count for name in [*_TEXTS, "reference_date"]):
                    return None
                account.tell(columns)
        return account

    def tell(self, columns: Mapping[str, pa.Array]) -> None:
        """Take note of figures in file order: columns of a reading, texts as dictionaries."""
        (measure, measures), (category, categories), (period, periods) = map(
            _codes, (columns["measure_id"], columns["category"], columns["period"])
        )
        area, ids = _codes(columns["area_id"])
        area = np.array([self.areas.number[area_id] for area_id in ids], np.int32)[area]
        status, statuses = _codes(columns["status"])
        status = np.array([ALL_STATUSES.index(text) + 1 for text in statuses], np.uint8)[status]
        value = columns["value"].to_numpy(zero_copy_only=False)
        dates, lines = columns["reference_date"], columns["line"].to_numpy()
        level = self.areas.level[area]
        sizes = len(categories), len(self.areas.levels), len(periods)
        number = ((measure * np.int64(sizes[0]) + category) * sizes[1] + level) * sizes[2] + period
        for code, part in _groups(number):
            rest, when = divmod(code, sizes[2])
            rest, where = divmod(rest, sizes[1])
            which, what = divmod(rest, sizes[0])
            day = dates[int(part[0])].as_py()
            about = About(measures[which], categories[what], self.areas.levels[where], day, periods[when])
            self._add(about, area[part], status[part], value[part], lines[part])

    def _add(self, about: About, areas: Numbers, status: Numbers, value: Floats, lines: Numbers) -> None:
        self.figures += len(areas)
        self.slices.add((about.measure, about.period, about.level))
        first, last = self._lines.get((about.measure, about.level), (int(lines[0]), 0))
        self._lines[about.measure, about.level] = min(first, int(lines[0])), max(last, int(lines[-1]))
        self.dense &= self.cells <= most_cells()
        if not self.dense:
            self.slots.clear()
            return
        if about not in self.slots:
            nothing = np.zeros(len(self.areas.ids), np.uint8), np.full(len(self.areas.ids), np.nan)
            self.slots[about] = Held(*nothing)
        held = self.slots[about]
        held.status[areas] = status
        held.value[areas] = value

    @property
    def cells(self) -> int:
        """Entries that are kept."""
        return len(self.slots) * len(self.areas.ids)

    @property
    def once(self) -> bool:
        """Whether it is proven that no figure comes twice."""
        return self.dense and sum(int(np.count_nonzero(held.status)) for held in self.slots.values()) == self.figures

    def fulfils(self, complete: Mapping[str, Any], pairs: list[NotAbove]) -> bool:
        """Whether it is proven that no figure comes twice, no area is missing, no part is above its whole."""
        return self.once and self._complete(complete) and not any(self._above(pair) for pair in pairs)

    def _complete(self, complete: Mapping[str, Any]) -> bool:
        """Every column of figures has all areas of the levels named in the contract."""
        there: dict[tuple[str, str, dt.date], npt.NDArray[np.bool_]] = {}
        for about, held in self.slots.items() if complete else ():
            key = (about.measure, about.category, about.date)
            there[key] = (held.status > 0) | there.get(key, np.bool_(False))
        wanted = {
            date: np.concatenate([self.areas.expected(level, listed, date) for level, listed in complete.items()])
            for date in {date for _, _, date in there}
        }
        return all(present[wanted[date]].all() for (_, _, date), present in there.items())

    def _above(self, pair: NotAbove) -> bool:
        """Whether a part is above its whole anywhere."""
        wholes = self._of(pair.than, pair.than_category)
        return any(
            bool((held.value > wholes[key].value).any())
            for key, held in self._of(pair.measure, pair.category).items()
            if key in wholes
        )

    def _of(self, measure: str, category: str) -> dict[tuple[str, dt.date], Held]:
        return {
            (about.level, about.date): held
            for about, held in self.slots.items()
            if (about.measure, about.category) == (measure, category)
        }

    def arrived(self) -> list[dict[str, Any]]:
        """What the file holds, one entry per measure and level (see `Verdict.arrived`)."""
        found = []
        for (measure, level), (first, last) in sorted(self._lines.items()):
            slots = {a: held for a, held in self.slots.items() if (a.measure, a.level) == (measure, level)}
            status = [held.status for held in slots.values()]
            counts = np.sum([np.bincount(there, minlength=len(ALL_STATUSES) + 1) for there in status], axis=0)
            found.append(
                {
                    "measure": measure,
                    "level": level,
                    "sheet": "",
                    "areas": int(np.count_nonzero(np.any(status, axis=0))),
                    "periods": sorted({about.period for about in slots}),
                    "figures": int(counts[1:].sum()),
                    "withheld": int(counts[1 + ALL_STATUSES.index("suppressed")]),
                    "missing": int(counts[1 + ALL_STATUSES.index("missing")]),
                    "first_line": first,
                    "last_line": last,
                }
            )
        return found


def _codes(texts: pa.DictionaryArray) -> tuple[Numbers, list[str]]:
    return texts.indices.to_numpy(), texts.dictionary.to_pylist()


def _groups(numbers: Numbers) -> Iterator[tuple[int, Numbers]]:
    """Different numbers with the places where they stand, in order."""
    codes, found = pd.factorize(numbers)
    if len(found) == 1:
        yield int(found[0]), np.arange(len(numbers))
        return
    order = np.argsort(codes.astype(np.int16 if len(found) < 2**15 else np.int32), kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(codes))[:-1])
    yield from zip(found.tolist(), parts, strict=True)
