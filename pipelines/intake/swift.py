"""Reads a plain delimited file column by column: the reading that `layout` would make, many times faster, or nothing.

A table has few different texts beside its cells. Each different text is judged once, by the very functions of the
careful reader, and the figures are looked up. This reader never says anything: if not everything is proven clean (any
hint about labels; any byte that makes lines or cells doubtful) it gives up, and the careful reader tells. Only rows
in which a cell is no figure, or an impossible one, it hands over, as the careful reader would have read them.

It takes text files with one table under one heading line. It gives up on corrections, `fill_down`, skipped lines, rows
about areas elsewhere; on quotes within cells, blank lines, uneven rows, other line ends than LF and CRLF.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from pipelines.intake.account import ALL_STATUSES, Account, numbered
from pipelines.intake.delimited import heading_rows, looks_damaged, other_kind, short_lines
from pipelines.intake.failures import Findings
from pipelines.intake.layout import Reader, area_texts
from pipelines.intake.limits import CELL_CHARACTERS, TEXT_BYTES
from pipelines.intake.plan import Plan
from pipelines.intake.style import form_of, untidy
from pipelines.intake.tables import Table, cut, reads_like
from pipelines.periods import period_key
from schemas.documents import AreaColumns, Correction, Source
from schemas.reading import READING, STATUSES, within_limits

BLOCK = 16 * 1024 * 1024
"""Bytes that are read at a time; bounds memory, not results."""
DOUBTFUL = 20_000
"""Figures of rows in which a cell is wrong; with more of them the careful reader reads the whole file."""
HEADING = 1000
"""Lines up to the heading's own; with more of them the careful reader reads the file."""
KNOWN = 1_000_000
"""Spellings of areas that are remembered from file to file."""
_SORTED = ["measure_id", "area_level", "reference_date", "period"]
"""Columns by which figures are chosen: only of these does the reading tell the smallest and largest per block."""
_DELTAS = dict.fromkeys(["line", "column"], "DELTA_BINARY_PACKED")
Codes = npt.NDArray[np.int32]


class _GiveUp(Exception):
    """Not proven clean: the careful reader is to read the file."""


class Column(NamedTuple):
    """Cells of a column as numbers of its different texts."""

    codes: Codes
    texts: list[str]


def read_swiftly(
    reader: Reader, newest: dt.date, path: Path, file_name: str, corrections: list[Correction], target: Path
) -> tuple[Account, list[pd.DataFrame]] | None:
    """Write a file's reading to `target` and give account of it; None if the careful reader must read it.

    The frames are chunks of figures (see `Reader.chunks`) whose cells are to be judged; all others are clean.

    Args:
        reader: the careful reader; its findings are left alone.
        newest: no reference date may be later.
        path: the file's bytes.
        file_name: its name as received.
        corrections: those declared for this delivery.
        target: where the reading is written (Parquet, columns of `READING`, in the same order).
    """
    if not _plain(reader.source, corrections) or not 0 < path.stat().st_size <= TEXT_BYTES:
        return None
    own = Reader(reader.source, reader.directory, reader.measures, Findings(), hints=0)
    try:
        table, plan = _heading(own, path, file_name)
        swift = _Swift(own, plan, newest)
        swift.write(_blocks(path, own.source, table.line), target)
    except (_GiveUp, UnicodeDecodeError, pa.ArrowInvalid):
        return None
    return swift.account, swift.doubtful


def _plain(source: Source, corrections: list[Correction]) -> bool:
    shape, area = source.table, source.layout.area
    one_table = source.workbook is None and shape.title is None and shape.header_rows == 1 and not shape.fill_down
    everywhere = area is None or area.elsewhere == "error"
    return one_table and everywhere and not corrections and source.format.delimiter.isascii()


def _heading(reader: Reader, path: Path, file_name: str) -> tuple[Table, Plan]:
    source = reader.source
    with path.open("rb") as file:
        other = other_kind(file.read(4), source.format, reader.findings)
    rows = heading_rows(path, source.format, reader.findings, source.table.header_line)
    table = None if other else next(cut(rows, source.table, reader.findings), None)
    plan = Plan.make(reader, table, file_name) if table else None
    if table is None or plan is None or reader.findings.by_rule or table.line > HEADING:
        raise _GiveUp
    return table, plan


# ---------------------------------------------------------------- bytes


def _blocks(path: Path, source: Source, heading: int) -> Iterator[bytes]:
    """The lines below the heading in UTF-8, whole ones, as many as fit into a block."""
    encoding, delimiter = source.format.encoding, source.format.delimiter.encode()
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while block := file.read(BLOCK):
            block += file.readline(CELL_CHARACTERS)
            if not block.endswith(b"\n") and file.peek(1):
                raise _GiveUp
            text = "" if block.isascii() else block.decode(encoding)
            if looks_damaged(text) or not _even_lines(block) or not _whole_quotes(block, delimiter):
                raise _GiveUp
            start = 0
            while heading and (end := block.find(b"\n", start)) >= 0:
                start, heading = end + 1, heading - 1
            if heading:  # it ends in the next block
                continue
            block = block[start:]
            if b"\n\n" in block or b"\n\r\n" in block or block.startswith((b"\n", b"\r")):
                raise _GiveUp
            if block:
                yield block if encoding == "utf-8" else block.decode(encoding).encode()


def _even_lines(block: bytes) -> bool:
    """No NUL, no lone CR, no line longer than a cell may be."""
    if b"\0" in block or block.count(b"\r") != block.count(b"\r\n"):
        return False
    return short_lines(block)


def _whole_quotes(block: bytes, delimiter: bytes) -> bool:
    """Every quotation mark begins or ends a cell: such cells are read alike by every reader."""
    if b'"' not in block:
        return True
    mark = re.escape(delimiter)
    quoted = re.compile(rb'(?:(?<=[\n%b])|\A)"[^"\r\n]*"(?=[\r\n%b]|\Z)' % (mark, mark))
    return 2 * len(quoted.findall(block)) == block.count(b'"')


# ---------------------------------------------------------------- columns


class _Swift:
    """Turns blocks of one file into its reading. A row has as many figures as the file has columns of them."""

    def __init__(self, reader: Reader, plan: Plan, newest: dt.date) -> None:
        self.reader, self.plan, self.newest = reader, plan, newest
        self.source, self.layout = reader.source, reader.source.layout
        self.values = sorted(plan.values, key=lambda value: value.position)
        self.labels = plan.labels(self.source)
        self.wanted = sorted({0, *self.labels.values(), *(value.position for value in self.values)})
        self.areas = numbered(reader.directory)
        self.account = Account(self.areas)
        self.line = plan.table.line + 1
        self.doubtful: list[pd.DataFrame] = []
        self.forms: set[str] = set()
        self.spelt: dict[int, str] = {}

    def write(self, blocks: Iterator[bytes], target: Path) -> None:
        """Write the figures of all blocks."""
        texts = [kind.name for kind in READING if pa.types.is_string(kind.type)]
        coded = pa.dictionary(pa.int32(), pa.string())
        schema = pa.schema([(kind.name, coded if kind.name in texts else kind.type) for kind in READING])
        options = {"use_dictionary": texts, "write_statistics": _SORTED, "column_encoding": _DELTAS}
        with pq.ParquetWriter(target, schema, compression="zstd", store_schema=False, **options) as writer:
            for block in blocks:
                columns = self._figures(self._cells(block))
                self.account.tell(columns)
                writer.write_table(pa.table([columns[name] for name in schema.names], schema=schema))
        if not self.account.figures:
            raise _GiveUp

    def _cells(self, block: bytes) -> dict[int, Column]:
        """The columns that are needed, by position."""
        names = [str(position) for position in range(len(self.plan.header))]
        wanted = [names[position] for position in self.wanted]
        table = pa_csv.read_csv(
            pa.BufferReader(block),
            pa_csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=names),
            pa_csv.ParseOptions(delimiter=self.source.format.delimiter, double_quote=False, ignore_empty_lines=False),
            pa_csv.ConvertOptions(
                check_utf8=False,
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.dictionary(pa.int32(), pa.string())),
                null_values=[],
                strings_can_be_null=False,
            ),
        )
        cells = {}
        for position, column in zip(self.wanted, table.columns, strict=True):
            array = column.combine_chunks()
            cells[position] = Column(array.indices.to_numpy(), array.dictionary.to_pylist())
        self._look(cells)
        return cells

    def _look(self, cells: dict[int, Column]) -> None:
        """Nothing may be there to tell of labels; no row may be blank or one that is skipped."""
        starts = cells[0].texts
        if not all(map(str.strip, starts)) or any(
            reads_like(" ".join(text.split()), pattern) for pattern in self.source.table.skip for text in starts
        ):
            raise _GiveUp
        for position in self.labels.values():
            if untidy(cells[position].texts):
                raise _GiveUp
        for name, text in self.layout.constant.items():
            if any(cell != text.strip() for cell in cells[self.plan.at(name)].texts):
                raise _GiveUp

    def _figures(self, cells: dict[int, Column]) -> dict[str, pa.Array]:
        """Columns of the reading."""
        rows = len(cells[0].codes)
        lines = np.repeat(np.arange(self.line, self.line + rows), len(self.values))
        self.line += rows
        measure, measures = self._measures(cells)
        date, dates = self._dates(cells)
        area = self._areas(cells, date, dates)
        texts = Column(*self._texts(cells))
        status, value, clean = self._judged(measure, measures, texts)
        if not clean.all():
            self._hand_over(cells, np.flatnonzero(~clean.reshape(rows, -1).all(axis=1)))
        per_column = np.arange(len(self.values), dtype=np.int32)
        column = np.tile(per_column, rows)
        periods = [period_key(self.layout.period.type, day) for day in dates]
        figures = len(lines)
        return {
            "measure_id": _used(measure.ravel(), measures),
            "category": _texts(column, [entry.column.category for entry in self.values]),
            "area_id": _used(area.ravel(), self.areas.ids),
            "area_level": _texts(self.areas.level[area.ravel()], self.areas.levels),
            "period_type": _texts(np.zeros(figures, np.int32), [self.layout.period.type]),
            "reference_date": pa.array(np.array(dates, "datetime64[D]")[date.ravel()]),
            "period": _texts(date.ravel(), periods),
            "value": pa.array(value, from_pandas=True),
            "status": _texts(status, ALL_STATUSES),
            "origin": _texts(*self._origins(cells)),
            "text": _texts(*texts),
            "read_text": _texts(*texts),
            "line": pa.array(lines),
            "column": pa.array(np.array([entry.position + 1 for entry in self.values], np.int32)[column]),
            "column_name": _texts(column, [self.plan.header[entry.position] for entry in self.values]),
            "sheet": _texts(np.zeros(figures, np.int32), [""]),
            "correction": pa.nulls(figures, pa.int32()),
        }

    # ------------------------------------------------------------ what the cells mean

    def _measures(self, cells: dict[int, Column]) -> tuple[Codes, list[str]]:
        """Measure of each row and column of figures, as number; all measures."""
        ids, parts = list(self.reader.measures), []
        number = {measure: position for position, measure in enumerate(ids)}
        for entry in self.values:
            if entry.column.measure_column:
                codes, texts = cells[self.plan.at(entry.column.measure_column)]
                named = [entry.column.measures.get(text) for text in texts]
                if None in named:
                    raise _GiveUp
                parts.append(np.array([number[str(name)] for name in named], np.int32)[codes])
            else:
                parts.append(np.full(len(cells[0].codes), number[str(entry.column.measure)], np.int32))
        return np.column_stack(parts), ids

    def _dates(self, cells: dict[int, Column]) -> tuple[Codes, list[dt.date]]:
        """Reference date of each row and column of figures, as number; the dates."""
        rows, width, column = len(cells[0].codes), len(self.values), self.layout.period.column
        if column:
            codes, texts = cells[self.plan.at(column)]
            self.forms |= {form_of(text) for text in texts}
        else:
            texts = [str(entry.period or self.plan.period) for entry in self.values]
        read = [self.reader.date_of(text) for text in texts]
        dates = [day for day in read if day is not None and day <= self.newest]
        if len(dates) < len(read) or len(self.forms) > 1:
            raise _GiveUp
        if column:
            return np.repeat(codes[:, None], width, axis=1), dates
        return np.repeat(np.arange(width, dtype=np.int32)[None], rows, axis=0), dates

    def _origins(self, cells: dict[int, Column]) -> tuple[Codes, list[str]]:
        """Origin of each figure, as number; the origins."""
        declared, width = self.layout.origin, len(self.values)
        if declared is None:
            return np.zeros(len(cells[0].codes) * width, np.int32), [str(self.source.origin)]
        codes, texts = cells[self.plan.at(declared.column)]
        if any(text not in declared.values for text in texts):
            raise _GiveUp
        return np.repeat(codes, width), [str(declared.values[text]) for text in texts]

    def _texts(self, cells: dict[int, Column]) -> tuple[Codes, list[str]]:
        """Text of each figure, as number; the texts."""
        columns = [cells[entry.position] for entry in self.values]
        if len(columns) == 1:
            return columns[0]
        codes, found = pd.factorize(np.array([text for column in columns for text in column.texts], dtype=object))
        parts, start = [], 0
        for column in columns:
            parts.append(codes[start : start + len(column.texts)].astype(np.int32)[column.codes])
            start += len(column.texts)
        return np.column_stack(parts).ravel(), found.tolist()

    def _judged(
        self, measure: Codes, measures: list[str], texts: Column
    ) -> tuple[Codes, npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Status (place in `ALL_STATUSES`) and value of each figure, and whether it is one and possible."""
        meant, values = zip(*map(self.reader.meaning, texts.texts), strict=True)
        status, value = np.array([ALL_STATUSES.index(text) for text in meant], np.int32), np.array(values, dtype=float)
        codes, pairs = pd.factorize(measure.ravel().astype(np.int64) * len(texts.texts) + texts.codes)
        which, text = np.divmod(pairs, len(texts.texts))
        cells = pd.DataFrame({"value": value[text], "measure_id": np.array(measures, dtype=object)[which]})
        self.reader.limits(cells)
        clean = within_limits(cells).to_numpy(bool) & (status[text] < len(STATUSES))
        return status[texts.codes], value[texts.codes], clean[codes] if not clean.all() else clean[:1]

    def _hand_over(self, cells: dict[int, Column], rows: npt.NDArray[np.intp]) -> None:
        """Rows as the careful reader makes figures of them."""
        if len(rows) + sum(map(len, self.doubtful)) > DOUBTFUL:
            raise _GiveUp
        wide = pd.DataFrame(
            {p: np.array([column.texts[code] for code in column.codes[rows]], object) for p, column in cells.items()}
        )
        wide["line"] = self.line - len(cells[0].codes) + rows
        wide["correction"] = pd.array([pd.NA] * len(wide), dtype="Int32")
        self.doubtful.append(self.reader.figures(wide, wide, self.plan))

    # ------------------------------------------------------------ areas

    def _areas(self, cells: dict[int, Column], date: Codes, dates: list[dt.date]) -> Codes:
        """Number of the area of each row and column of figures."""
        columns = self.layout.area
        if columns is None:
            return np.full(date.shape, self.areas.number[str(self.layout.fixed_area)], np.int32)
        row, wide = self._described(cells, columns)
        parts = area_texts(wide, self.plan, columns)
        level = wide[self.plan.at(columns.level_column)].str.strip() if columns.level_column else [""] * len(wide)
        keys = list(zip(level, *parts.values(), strict=True))
        names = wide[self.plan.at(columns.name)].str.strip().tolist() if columns.name else [""] * len(wide)
        fixed = self._always(columns, list(parts), keys, dates[0])
        if (fixed >= 0).all() and self.areas.lasting(fixed, dates):
            self._spelling(fixed.tolist(), names)
            return np.repeat(fixed[row][:, None], date.shape[1], axis=1)
        pairs, found = pd.factorize((row[:, None] * np.int64(len(dates)) + date).ravel())
        which, day = np.divmod(found, len(dates))
        areas = [self._one(list(parts), keys[k], dates[d]) for k, d in zip(which.tolist(), day.tolist(), strict=True)]
        self._spelling(areas, [names[k] for k in which.tolist()])
        return np.array(areas, np.int32)[pairs].reshape(date.shape)

    def _described(self, cells: dict[int, Column], columns: AreaColumns) -> tuple[npt.NDArray[Any], pd.DataFrame]:
        """Number of the description of each row's area; the different descriptions, texts by position of the column."""
        names = (columns.name, columns.number, columns.id, columns.level_column)
        positions = [self.plan.at(name) for name in names if name]
        row: npt.NDArray[Any] = cells[positions[0]].codes
        chosen = {positions[0]: np.arange(len(cells[positions[0]].texts))}
        for position in positions[1:]:
            codes, texts = cells[position]
            row, found = pd.factorize(row * np.int64(len(texts)) + codes)
            before, here = np.divmod(found, len(texts))
            chosen = {known: texts_of[before] for known, texts_of in chosen.items()} | {position: here}
        wide = {p: np.array(cells[p].texts, dtype=object)[there] for p, there in chosen.items()}
        return row, pd.DataFrame(wide, dtype=object)

    def _always(
        self, columns: AreaColumns, parts: list[str], keys: list[tuple[str, ...]], date: dt.date
    ) -> npt.NDArray[np.int64]:
        """Number of the area that each description means whatever the day; -1 where that depends."""
        known = self.areas.known.setdefault(columns.model_dump_json(), {})
        if len(known) > KNOWN:
            known.clear()
        for key in [key for key in keys if key not in known]:
            area_id = self.reader.find(dict(zip(parts, key[1:], strict=True)), key[0], date)[0]
            given = {"area_id" if part == "id" else part: text for part, text in zip(parts, key[1:], strict=True)}
            if area_id and self.reader.directory.only_one(columns.possible_levels(), **given):
                known[key] = self.areas.number[area_id]
        return np.array([known.get(key, -1) for key in keys], np.int64)

    def _one(self, parts: list[str], key: tuple[str, ...], date: dt.date) -> int:
        """Number of the area that a description means on a day."""
        area_id = self.reader.find(dict(zip(parts, key[1:], strict=True)), key[0], date)[0]
        if area_id is None:
            raise _GiveUp
        return self.areas.number[area_id]

    def _spelling(self, areas: list[int], names: list[str]) -> None:
        """Every area must be written in one way."""
        if any(self.spelt.setdefault(area, name) != name for area, name in zip(areas, names, strict=True)):
            raise _GiveUp


def _used(codes: npt.NDArray[Any], texts: list[str]) -> pa.DictionaryArray:
    """The same without texts that do not occur: all of them would be written."""
    codes, used = pd.factorize(codes)
    return _texts(codes, [texts[number] for number in used.tolist()])


def _texts(codes: npt.NDArray[Any], texts: list[str]) -> pa.DictionaryArray:
    """Texts by their numbers, as they go into the file."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(texts, pa.string()))
