"""From readings to the observation: the figures that count, and every sum that will ever be published.

Order: newest accepted delivery per slice -> preferred source per slice -> sums over areas -> sums over categories ->
measures formed from categories -> sums over consecutive periods. A part that is withheld makes the sum withheld, a
part that is missing makes it missing; nothing is filled in. Nothing is summed in a mart.

Where each figure comes from is noted on the way: the cell of a delivered one, the figures that a sum was made of.
"""

from __future__ import annotations

import datetime as dt
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.areas import MAX_DEPTH, Area, Membership
from pipelines.files import TEMPORARY, quoted, replacing
from pipelines.intake.run import SourceState, reading_path
from pipelines.intake.tables import plain_heading
from pipelines.project import Project
from pipelines.provenance.files import FIGURE_PART, provenance_beside
from pipelines.provenance.wording import correction_in_words
from pipelines.session import open_session
from schemas.documents import ORIGINS, TOTAL, Measure, RolledUp
from schemas.reading import READING

_PLACE = "measure_id, category, area_id, period_type, reference_date"
_KEY = "measure_id, category, area_id, area_level, period_type, reference_date, period"
_ORIGIN_RANK = "CASE origin " + " ".join(f"WHEN '{o}' THEN {i}" for i, o in enumerate(ORIGINS)) + " END"
_RANK_ORIGIN = (
    "CASE origin_rank " + " ".join(f"WHEN {i} THEN '{o}'::origin_code" for i, o in enumerate(ORIGINS)) + " END"
)

# What becomes of several parts o (weight w) when they are added up; `wanted` parts are needed. Fractions are added in a
# fixed order: the last digit of their sum depends on it.
_SUM = """
    CASE WHEN count(o.value) = {wanted} THEN sum({weight} * o.value {order}) END AS value,
    CASE WHEN bool_or(coalesce(o.is_suppressed, false)) THEN 'Q'
         WHEN count(o.value) < {wanted} THEN 'O'
         WHEN bool_or({weight} < 1 OR o.obs_status = 'E') THEN 'E' ELSE 'A' END AS obs_status,
    CASE WHEN bool_or(coalesce(o.is_suppressed, false)) THEN 'C' ELSE 'F' END AS conf_status,
    bool_or(coalesce(o.is_suppressed, false)) AS is_suppressed,
    CASE WHEN bool_or(coalesce(o.is_suppressed, false)) THEN 'confidential'
         WHEN count(o.value) < {wanted} THEN 'missing_source' END AS suppression_reason,
    greatest(max(o.origin_rank), CASE WHEN bool_or({doubt}) THEN {inferred} ELSE 0 END) AS origin_rank,
    CASE WHEN bool_or({weight} < 1 OR o.method = 'estimated') THEN 'estimated' ELSE 'rolled_up' END AS method,
    max(o.data_as_of) AS data_as_of,
    CASE WHEN min(o.delivery_ids) = max(o.delivery_ids) THEN min(o.delivery_ids)
         ELSE array_to_string(list_sort(list_distinct(
             string_split(string_agg(DISTINCT o.delivery_ids, ';'), ';'))), ';') END AS delivery_ids
"""

_IN_ORDER = "ORDER BY o.area_id, o.category, o.reference_date"


def _sum(order: str, wanted: str | int, weight: str = "1", doubt: str = "false") -> str:
    """Columns of a sum; `doubt` tells which parts belong to it by an assumption only: then the sum is our reading."""
    return _SUM.format(order=order, wanted=wanted, weight=weight, doubt=doubt, inferred=ORIGINS.index("inferred"))


@dataclass(frozen=True)
class Gap:
    """A delivered total and the sum of its parts that differ by more than the declared tolerance."""

    measure_id: str
    category: str
    area_id: str
    period: str
    delivered: float
    summed: float


def build_observation(project: Project, states: dict[str, SourceState], target: Path) -> list[Gap]:
    """Write the observation (Parquet, sorted by its key) and return the totals that do not match their parts.

    Very many figures are added up in batches of measures, each sorted, by the name of its first measure.

    Columns: measure_id, category, area_id, area_level, period_type, reference_date, period, value (unit of the
    measure), obs_status, conf_status, is_suppressed, suppression_reason, origin, method, data_as_of, delivery_ids.
    Beside it stand the files of `provenance_beside`: the cell of every delivered figure, the parts of every sum.
    """
    beside = provenance_beside(target)
    with (
        tempfile.TemporaryDirectory(dir=target.parent, prefix=TEMPORARY) as scratch,
        open_session(scratch) as con,
    ):
        con.execute("SET preserve_insertion_order = false")  # what has an order gets it by ORDER BY
        con.execute("ATTACH ':memory:' AS scratch (COMPRESS)")
        con.execute("USE scratch")
        _load_slices(con, project, states)
        _create_types(con, project)
        _load_corrections(con, states)
        _load_areas(con, project)
        gaps: list[Gap] = []
        pieces: dict[Path, list[Path]] = {file: [] for file in (*beside.values(), target)}
        for number, measures in enumerate(_batches(con, project)):
            queries, found = _observe(con, measures)
            gaps += found
            for file, query in zip(pieces, queries, strict=True):
                piece = Path(scratch) / f"{number}-{file.name}"
                con.execute(f"COPY ({query}) TO '{quoted(piece)}' (FORMAT parquet, COMPRESSION zstd)")
                pieces[file].append(piece)
        for file, parts in pieces.items():
            with replacing(file) as temporary:
                _join(con, parts, temporary)
        con.execute("USE memory; DETACH scratch")
    return gaps


FIGURES_PER_BATCH = 25_000_000
"""Figures that are added up and sorted at a time; bounds memory and what is put down on disk, not results."""


def _batches(con: duckdb.DuckDBPyConnection, project: Project) -> list[list[Measure]]:
    """Measures that are added up together: with one that is formed from another always that one too."""
    family: dict[str, list[Measure]] = {}
    for measure in project.measures.values():
        base = measure
        while base.formed is not None:
            base = project.measures[base.formed.measure]
        family.setdefault(base.id, []).append(measure)
    found = con.execute("SELECT measure_id, sum(figures) FROM supply_all GROUP BY measure_id").fetchall()
    figures = {measure_id: int(count) for measure_id, count in found}
    batches: list[list[Measure]] = [[]]
    taken = 0
    for base_id in sorted(family):
        size = sum(figures.get(measure.id, 0) for measure in family[base_id])
        if batches[-1] and taken + size > FIGURES_PER_BATCH:
            batches.append([])
            taken = 0
        batches[-1] += family[base_id]
        taken += size
    return batches


def _observe(con: duckdb.DuckDBPyConnection, measures: list[Measure]) -> tuple[tuple[str, str, str], list[Gap]]:
    """Tables `observed` and `part` of these measures; returns the queries of cells, parts and observation, sorted."""
    chosen = _choose(con, _supplied(con, measures))
    con.execute(_PARTS)
    order = _IN_ORDER if _has_fractions(con, measures) else ""
    gaps = _roll_up(con, measures, order)
    _category_totals(con, measures, order)
    for measure in measures:
        if measure.formed is not None:
            _form(con, measure, order)
    observation = f"""
        SELECT {_KEY}, value, obs_status, conf_status, is_suppressed, suppression_reason,
            {_RANK_ORIGIN} AS origin, method, data_as_of, delivery_ids
        FROM observed
        ORDER BY {_PLACE}
    """
    columns = ", ".join(FIGURE_PART)
    return (chosen, f"SELECT {columns} FROM part ORDER BY {columns}", observation), gaps


def _join(con: duckdb.DuckDBPyConnection, parts: list[Path], target: Path) -> None:
    """One file of all parts, in their order."""
    if len(parts) == 1:
        parts[0].replace(target)
        return
    con.execute("SET preserve_insertion_order = true")
    rows = f"FROM read_parquet({_listed([str(part) for part in parts])})"
    con.execute(f"COPY ({rows}) TO '{quoted(target)}' (FORMAT parquet, COMPRESSION zstd)")
    con.execute("SET preserve_insertion_order = false")
    for part in parts:
        part.unlink()


_TYPES = {
    "measure_id": "measure_code",
    "category": "category_code",
    "area_id": "area_code",
    "area_level": "level_code",
    "period_type": "period_type_code",
    "reference_date": "DATE",
    "period": "period_code",
}
"""Types of key columns: texts are kept as numbers of a sorted list, in whose order they sort; in Parquet they are texts
again. Joining, sorting and writing them costs a fraction."""

_FIXED = {
    "obs_status_code": {"A", "E", "O", "Q"},
    "conf_status_code": {"C", "F"},
    "reason_code": {"confidential", "missing_source"},
    "method_code": {"delivered", "estimated", "rolled_up"},
    "origin_code": set(ORIGINS),
    "kind_code": {"areas", "categories", "periods"},
}


# ---------------------------------------------------------------- inputs


@dataclass(frozen=True)
class _Files:
    """Readings whose figures are in force: those that supply all they hold, and those that supply some slices."""

    whole: list[str]
    partly: list[str]


_READ = """
    SELECT r.*, d.source_id, d.received_on, d.delivery_id
    FROM read_parquet({files}, filename = 'file') r
    JOIN delivery d USING (file)
"""

_SLICES = """
    CREATE TABLE slice AS
    SELECT file, source_id, seq, measure_id, category, area_level, period_type, reference_date, period, figures
    FROM (SELECT file, measure_id, category, area_level, period_type, reference_date, period, count(*) AS figures
          FROM read_parquet($files, filename = 'file')
          GROUP BY file, measure_id, category, area_level, period_type, reference_date, period)
    JOIN delivery USING (file);
"""

_NEWEST = """
    CREATE TABLE newest AS
    SELECT * FROM slice
    QUALIFY seq = max(seq) OVER (PARTITION BY source_id, measure_id, period_type, reference_date, area_level)
"""

_SUPPLY = """
    CREATE TABLE supply_all AS
    SELECT file, measure_id, category, area_level, period_type, reference_date, period, figures
    FROM newest JOIN preference USING (measure_id, area_level, source_id)
    QUALIFY rank = min(rank) OVER (PARTITION BY measure_id, category, area_level, period_type, reference_date)
"""


def _load_slices(con: duckdb.DuckDBPyConnection, project: Project, states: dict[str, SourceState]) -> None:
    """Tables `delivery`, `newest` and `supply_all`: which reading supplies which slice.

    Per slice (source, measure, period, level) the newest delivery counts, and of several sources the first in the
    measure's preference, per category.
    """
    rows: list[tuple[str, str, int, dt.date, str]] = []
    for state in states.values():
        for delivery in state.in_force:
            path = str(reading_path(project, delivery, delivery.rules or ""))
            rows.append((path, delivery.source, delivery.seq, delivery.received_on, delivery.delivery_id))
    con.execute(
        "CREATE TABLE delivery (file VARCHAR, source_id VARCHAR, seq INTEGER, received_on DATE, delivery_id VARCHAR)"
    )
    if rows:
        con.executemany("INSERT INTO delivery VALUES (?, ?, ?, ?, ?)", rows)
        con.execute(_SLICES, {"files": [row[0] for row in rows]})
    else:
        con.execute(
            """
            CREATE TABLE slice (file VARCHAR, source_id VARCHAR, seq INTEGER, measure_id VARCHAR, category VARCHAR,
                area_level VARCHAR, period_type VARCHAR, reference_date DATE, period VARCHAR, figures BIGINT)
            """
        )
    con.execute("CREATE TABLE preference (measure_id VARCHAR, area_level VARCHAR, rank INTEGER, source_id VARCHAR)")
    preferred = [
        (measure.id, level, rank, figure)
        for measure in project.measures.values()
        for level, figures in measure.levels.items()
        for rank, figure in enumerate(figures)
        if isinstance(figure, str)
    ]
    if preferred:
        con.executemany("INSERT INTO preference VALUES (?, ?, ?, ?)", preferred)
    con.execute(_NEWEST)
    con.execute(_SUPPLY)


def _supplied(con: duckdb.DuckDBPyConnection, measures: list[Measure]) -> _Files:
    """Table `supply`, of these measures; the readings that have to be read for it."""
    con.execute(
        "CREATE OR REPLACE TABLE supply AS FROM supply_all WHERE list_contains($measures::VARCHAR[], measure_id)",
        {"measures": [measure.id for measure in measures]},
    )
    found = con.execute(
        """
        SELECT file, held = supplied
        FROM (SELECT file, count(*) AS held FROM slice GROUP BY file)
        JOIN (SELECT file, count(*) AS supplied FROM supply GROUP BY file) USING (file)
        ORDER BY file
        """
    ).fetchall()
    return _Files([file for file, whole in found if whole], [file for file, whole in found if not whole])


def _create_types(con: duckdb.DuckDBPyConnection, project: Project) -> None:
    """Sorted lists of all texts that stand in the key of a figure, in its status, or for a delivery."""
    lists = {
        **_FIXED,
        "measure_code": {name for m in project.measures for name in (m, _yearly(m))},
        "category_code": {c for m in project.measures.values() for c in m.all_categories()} | {TOTAL},
        "area_code": set(project.directory.areas),
        "level_code": set(project.directory.levels),
    }
    for name, column in (("period_type_code", "period_type"), ("period_code", "period")):
        lists[name] = {text for (text,) in con.execute(f"SELECT DISTINCT {column} FROM supply_all").fetchall()}
    lists["delivery_code"] = {text for (text,) in con.execute("SELECT delivery_id FROM delivery").fetchall()}
    for name, texts in lists.items():
        con.register("texts_in", pa.table({"text": pa.array(sorted(texts), pa.string())}))
        con.execute(f"CREATE TYPE {name} AS ENUM (SELECT text FROM texts_in)")
        con.unregister("texts_in")


def _load_corrections(con: duckdb.DuckDBPyConnection, states: dict[str, SourceState]) -> None:
    """Table `touched`: per cell the declared corrections of its row in words; one of another figure is none of its."""
    con.execute(
        """
        CREATE TABLE touched (
            delivery_id delivery_code, sheet VARCHAR, line BIGINT, column_number INTEGER, correction VARCHAR);
        CREATE TABLE corrected (delivery_id VARCHAR, sheet VARCHAR, line BIGINT, name VARCHAR, words VARCHAR)
        """
    )
    rows = [
        (c.delivery, c.sheet or "", line, plain_heading(c.column), correction_in_words(c, position))
        for state in states.values()
        for c in state.source.corrections
        if not c.drop
        for position, line in enumerate(c.all_lines())
    ]
    deliveries = {row[0] for row in rows}
    known = con.execute("SELECT file, delivery_id FROM delivery WHERE file IN (SELECT file FROM supply_all)").fetchall()
    touched = [file for file, delivery in known if delivery in deliveries]
    if not touched:
        return
    con.executemany("INSERT INTO corrected VALUES (?, ?, ?, ?, ?)", rows)
    con.execute(
        f"""
        INSERT INTO touched
        WITH in_force AS (
            SELECT r.* FROM ({_READ.format(files="$files")}) r
            SEMI JOIN newest USING (file, measure_id, category, area_level, period_type, reference_date)
        ),
        figure_column AS (SELECT DISTINCT delivery_id, column_name AS name FROM in_force)
        SELECT r.delivery_id, r.sheet, r.line, r."column",
            string_agg(DISTINCT c.words, ' ' ORDER BY c.words) AS correction
        FROM in_force r
        JOIN corrected c ON c.delivery_id = r.delivery_id AND c.sheet = r.sheet AND c.line = r.line
        WHERE c.name = r.column_name OR (r.delivery_id, c.name) NOT IN (FROM figure_column)
        GROUP BY ALL
        """,
        {"files": touched},
    )


def _load_areas(con: duckdb.DuckDBPyConnection, project: Project) -> None:
    """Table `below`: every way from an area up to an ancestor, with weight and the days on which all of it is valid.

    `hierarchy` names the levels on the way. The parts of one hierarchy add up (a district halved between two offices
    belongs wholly to their city); two hierarchies tell the same thing twice. `doubt` marks ways that hold by an assumed
    membership only; a sum over all areas of the level between (the city) is the same whichever way the assumption goes.
    """
    areas = project.directory.areas
    upwards: dict[str, list[Membership]] = {}
    for membership in project.directory.memberships:
        upwards.setdefault(membership.area_id, []).append(membership)
    members: dict[tuple[str, str], set[str]] = {}
    for membership in project.directory.memberships:
        members.setdefault((areas[membership.area_id].level, membership.parent_id), set()).add(membership.area_id)
    everyone = {level: {a.area_id for a in areas.values() if a.level == level} for level in project.directory.levels}
    ways = [(a.area_id, a.level, a.area_id, a.level, 1.0, *_validity(a), a.level, False) for a in areas.values()]
    rows = []
    for _ in range(MAX_DEPTH):
        ways = [
            _one_step(way, step, areas[step.parent_id], members[way[3], step.parent_id] == everyone[way[3]])
            for way in ways
            for step in upwards.get(way[2], [])
        ]
        ways = [way for way in ways if way[5] <= way[6]]
        rows += ways
    columns: list[Any] = list(zip(*rows, strict=True)) or [[]] * 9
    names = ["area_id", "area_level", "parent_id", "parent_level", "weight", "starts", "ends", "hierarchy", "doubt"]
    types = [pa.string()] * 4 + [pa.float64(), pa.date32(), pa.date32(), pa.string(), pa.bool_()]
    table = pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})
    con.register("below_in", table)
    con.execute(
        """
        CREATE TABLE below (area_id area_code, area_level level_code, parent_id area_code, parent_level level_code,
            weight DOUBLE, starts DATE, ends DATE, hierarchy VARCHAR, doubt BOOLEAN);
        INSERT INTO below FROM below_in
        """
    )


_Way = tuple[str, str, str, str, float, dt.date, dt.date, str, bool]


def _validity(entry: Area | Membership) -> tuple[dt.date, dt.date]:
    return entry.valid_from or dt.date.min, entry.valid_to or dt.date.max


def _one_step(way: _Way, step: Membership, parent: Area, whole_level: bool) -> _Way:
    """A way that ends at an area, prolonged to one of its parents; `whole_level`: all areas of that level go there."""
    area_id, level, _, _, weight, start, end, hierarchy, doubt = way
    (step_start, step_end), (parent_start, parent_end) = _validity(step), _validity(parent)
    start, end = max(start, step_start, parent_start), min(end, step_end, parent_end)
    doubt = (doubt and not whole_level) or step.status == "assumed"
    hierarchy = f"{hierarchy} {parent.level}"
    return area_id, level, parent.area_id, parent.level, weight * step.weight, start, end, hierarchy, doubt


def _choose(con: duckdb.DuckDBPyConnection, files: _Files) -> str:
    """Table `observed`, of what the readings supply; returns the query of the cells it stands in, sorted."""
    con.execute(
        f"""
        CREATE OR REPLACE TABLE observed (
            {", ".join(f"{name} {_TYPES[name]}" for name in _KEY.split(", "))}, value DOUBLE,
            obs_status obs_status_code, conf_status conf_status_code, is_suppressed BOOLEAN,
            suppression_reason reason_code, origin_rank INTEGER, method method_code, data_as_of DATE,
            delivery_ids VARCHAR)
        """
    )
    reads = [_READ.format(files=_listed(files.whole))] if files.whole else []
    if files.partly:
        reads.append(
            f"SELECT r.* FROM ({_READ.format(files=_listed(files.partly))}) r "
            "SEMI JOIN supply USING (file, measure_id, category, area_level, period_type, reference_date)"
        )
    reads = reads or ["SELECT * FROM nothing_read"]
    if not (files.whole or files.partly):
        con.register("nothing_in", READING.empty_table())
        con.execute(
            "CREATE OR REPLACE TABLE nothing_read AS "
            "SELECT *, '' AS delivery_id, DATE '2000-01-01' AS received_on FROM nothing_in"
        )
    read = " UNION ALL ".join(reads)
    con.execute(
        f"""
        INSERT INTO observed
        SELECT {_KEY}, value,
            CASE status WHEN 'value' THEN 'A' WHEN 'suppressed' THEN 'Q' ELSE 'O' END AS obs_status,
            CASE status WHEN 'suppressed' THEN 'C' ELSE 'F' END AS conf_status,
            status = 'suppressed' AS is_suppressed,
            CASE status WHEN 'suppressed' THEN 'confidential' WHEN 'missing' THEN 'missing_source' END
                AS suppression_reason,
            {_ORIGIN_RANK} AS origin_rank, 'delivered' AS method, received_on AS data_as_of,
            delivery_id AS delivery_ids
        FROM ({read})
        """
    )
    place = ", ".join(f"{name}::{_TYPES[name]} AS {name}" for name in _PLACE.split(", "))
    return f"""
        SELECT {_PLACE}, c.delivery_id, nullif(c.sheet, '') AS sheet, c.line, c."column" AS column_number, column_name,
            text AS received_text, correction
        FROM (SELECT {place}, delivery_id::delivery_code AS delivery_id, sheet, line, "column", column_name, text
              FROM ({read})) c
        LEFT JOIN touched t
            ON t.delivery_id = c.delivery_id AND t.sheet = c.sheet AND t.line = c.line AND t.column_number = c."column"
        ORDER BY {_PLACE}
    """


def _listed(files: list[str]) -> str:
    return "[" + ", ".join("'" + file.replace("'", "''") + "'" for file in files) + "]"


def _has_fractions(con: duckdb.DuckDBPyConnection, measures: list[Measure]) -> bool:
    """Whether anything but whole numbers may be added up: only then the order matters."""
    added = [m.id for m in measures if m.category_total == "summed"]
    added += [m.formed.measure for m in measures if m.formed]
    added += [m.id for m in measures if any(_depth(m, level) for level in m.levels)]
    row = con.execute(
        """
        SELECT EXISTS (SELECT 1 FROM below WHERE weight <> 1)
            OR EXISTS (
                SELECT 1 FROM observed WHERE value <> trunc(value) AND list_contains($added, measure_id::VARCHAR))
        """,
        {"added": added},
    ).fetchone()
    return bool(row and row[0])


# ---------------------------------------------------------------- sums


def _depth(measure: Measure, level: str) -> int:
    """How many sums lie below a level of a measure (0 = delivered only)."""
    figure = measure.levels[level][-1] if measure.levels.get(level) else None
    return 1 + _depth(measure, figure.rolled_up) if isinstance(figure, RolledUp) else 0


_PART_OF = """
    CREATE OR REPLACE TABLE part_of AS
    WITH ways AS (
        SELECT d.reference_date, b.area_id, b.area_level, b.parent_id, b.parent_level, b.hierarchy,
            round(sum(b.weight), 9) AS weight, bool_or(b.doubt) AS doubt
        FROM (SELECT DISTINCT reference_date FROM observed) d
        JOIN below b ON d.reference_date BETWEEN b.starts AND b.ends
        GROUP BY ALL
    )
    SELECT reference_date, area_id, area_level, parent_id, parent_level, max(weight) AS weight,
        bool_and(doubt) AS doubt
    FROM ways
    GROUP BY ALL
"""

_SUMMED = """
    CREATE OR REPLACE TEMP TABLE summed AS
    WITH periods AS (
        SELECT DISTINCT w.measure_id, o.category, w.area_level, w.from_level, o.period_type,
            o.reference_date, o.period
        FROM wanted w
        JOIN observed o ON o.measure_id = w.measure_id AND o.area_level = w.from_level
    )
    SELECT p.measure_id, p.category, b.parent_id AS area_id, p.area_level, p.period_type, p.reference_date,
        p.period, {sums}
    FROM periods p
    JOIN part_of b ON b.area_level = p.from_level AND b.parent_level = p.area_level
        AND b.reference_date = p.reference_date
    LEFT JOIN observed o ON o.measure_id = p.measure_id AND o.category = p.category
        AND o.area_id = b.area_id AND o.period_type = p.period_type AND o.reference_date = p.reference_date
    GROUP BY ALL
    HAVING count(o.area_id) > 0
"""

_PARTS = """
    CREATE OR REPLACE TABLE part (
        measure_id measure_code, category category_code, area_id area_code, period_type period_type_code,
        reference_date DATE, part_measure_id measure_code, part_category category_code, part_area_id area_code,
        part_reference_date DATE, weight DOUBLE, kind kind_code
    )
"""

_FIGURE_AND_PART = """
    SELECT s.measure_id, s.category, s.area_id, s.period_type, s.reference_date, o.measure_id AS part_measure_id,
        o.category AS part_category, o.area_id AS part_area_id, o.reference_date AS part_reference_date
"""
"""What is noted of a sum s and one of the figures o it was made of."""

_GAPS = """
    SELECT s.measure_id, s.category, s.area_id, s.period, o.value, s.value
    FROM summed s
    JOIN observed o USING (measure_id, category, area_id, period_type, reference_date)
    JOIN wanted w ON w.measure_id = s.measure_id AND w.area_level = s.area_level
    WHERE abs(o.value - s.value) > w.tolerance + 1e-9
    ORDER BY 1, 2, 3, 4
"""


def _roll_up(con: duckdb.DuckDBPyConnection, measures: list[Measure], order: str) -> list[Gap]:
    """Add up areas, lowest sums first. A delivered figure stays; it is compared with the sum."""
    con.execute(
        "CREATE OR REPLACE TABLE wanted "
        "(measure_id measure_code, area_level level_code, from_level level_code, tolerance DOUBLE)"
    )
    con.execute(_PART_OF)
    gaps: list[Gap] = []
    steps: dict[int, list[tuple[str, str, str, float]]] = {}
    for measure in measures:
        for level, figures in measure.levels.items():
            if isinstance(figures[-1], RolledUp):
                row = (measure.id, level, figures[-1].rolled_up, measure.tolerance)
                steps.setdefault(_depth(measure, level), []).append(row)
    for depth in sorted(steps):
        con.execute("DELETE FROM wanted")
        con.executemany("INSERT INTO wanted VALUES (?, ?, ?, ?)", steps[depth])
        con.execute(_SUMMED.format(sums=_sum(order, "count(*)", "b.weight", "b.doubt")))
        gaps += [Gap(*row) for row in con.execute(_GAPS).fetchall()]
        con.execute(
            f"""
            DELETE FROM summed s WHERE EXISTS (
                SELECT 1 FROM observed o WHERE (o.measure_id, o.category, o.area_id, o.period_type, o.reference_date)
                    = (s.measure_id, s.category, s.area_id, s.period_type, s.reference_date));
            INSERT INTO part BY NAME
            {_FIGURE_AND_PART}, b.weight, 'areas' AS kind
            FROM summed s
            JOIN wanted w ON w.measure_id = s.measure_id AND w.area_level = s.area_level
            JOIN part_of b ON b.parent_id = s.area_id AND b.area_level = w.from_level
                AND b.reference_date = s.reference_date
            JOIN observed o ON o.measure_id = s.measure_id AND o.category = s.category AND o.area_id = b.area_id
                AND o.period_type = s.period_type AND o.reference_date = s.reference_date;
            INSERT INTO observed BY NAME FROM summed
            """
        )
    return gaps


def _category_totals(con: duckdb.DuckDBPyConnection, measures: list[Measure], order: str) -> None:
    """`insgesamt` of a split that its office delivers without a total: the sum over all declared categories."""
    for measure in measures:
        if measure.category_total == "summed":
            codes = [category.id for category in measure.categories]
            _add_categories(con, measure.id, codes, measure.id, order)


def _form(con: duckdb.DuckDBPyConnection, measure: Measure, order: str) -> None:
    """A declared sum over categories and, if asked for, over consecutive periods (a year apart) up to the one named."""
    formed = measure.formed
    assert formed is not None
    if formed.periods == 1:
        _add_categories(con, formed.measure, formed.categories, measure.id, order)
        return
    yearly = _yearly(measure.id)
    _add_categories(con, formed.measure, formed.categories, yearly, order)
    con.execute(
        f"""
        INSERT INTO observed BY NAME
        SELECT $target::measure_code AS measure_id, e.category, e.area_id, e.area_level, e.period_type,
            e.reference_date, e.period,
            {_sum(order, "count(*)")}
        FROM observed e
        JOIN observed o ON o.measure_id = e.measure_id AND o.area_id = e.area_id AND o.period_type = e.period_type
            AND {_pooled("o", "e")}
        WHERE e.measure_id = $yearly
        GROUP BY ALL
        HAVING count(*) = $periods
        """,
        {"target": measure.id, "yearly": yearly, "periods": formed.periods},
    )
    con.execute(
        f"""
        INSERT INTO part BY NAME
        SELECT s.measure_id, s.category, s.area_id, s.period_type, s.reference_date, y.part_measure_id,
            y.part_category, y.part_area_id, y.part_reference_date, y.weight, 'periods' AS kind
        FROM observed s
        JOIN part y ON y.measure_id = $yearly AND y.area_id = s.area_id AND y.period_type = s.period_type
            AND {_pooled("y")}
        WHERE s.measure_id = $target
        """,
        {"target": measure.id, "yearly": yearly, "periods": formed.periods},
    )
    con.execute("DELETE FROM part WHERE measure_id = ?", [yearly])
    con.execute("DELETE FROM observed WHERE measure_id = ?", [yearly])


def _yearly(measure_id: str) -> str:
    """Name of the sums of single years that a measure over several is made of."""
    return f"{measure_id} yearly"


def _pooled(part: str, figure: str = "s") -> str:
    """Condition: a year belongs to those that end with the year of a figure."""
    return (
        f"{part}.reference_date > {figure}.reference_date - to_years($periods) "
        f"AND {part}.reference_date <= {figure}.reference_date "
        f"AND month({part}.reference_date) = month({figure}.reference_date)"
    )


def _add_categories(con: duckdb.DuckDBPyConnection, base: str, codes: list[str], target: str, order: str) -> None:
    """`target`/insgesamt = sum of categories `codes` of `base`, wherever one of them exists and no total yet."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE summed AS
        SELECT * FROM (
            SELECT $target::measure_code AS measure_id, '{TOTAL}'::category_code AS category, o.area_id,
                o.area_level, o.period_type, o.reference_date, o.period, {_sum(order, len(codes))}
            FROM observed o
            WHERE o.measure_id = $base AND list_contains($codes, o.category::VARCHAR)
            GROUP BY ALL
        ) s
        ANTI JOIN observed x USING (measure_id, category, area_id, period_type, reference_date)
        """,
        {"target": target, "base": base, "codes": codes},
    )
    con.execute(
        f"""
        INSERT INTO part BY NAME
        {_FIGURE_AND_PART}, 1 AS weight, 'categories' AS kind
        FROM summed s
        JOIN observed o ON o.measure_id = $base AND list_contains($codes, o.category::VARCHAR) AND o.area_id = s.area_id
            AND o.period_type = s.period_type AND o.reference_date = s.reference_date
        """,
        {"base": base, "codes": codes},
    )
    con.execute("INSERT INTO observed BY NAME FROM summed")
