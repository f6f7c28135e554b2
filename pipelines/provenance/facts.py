"""Reads from one edition of the marts what is behind a figure: its row, its parts down to the cells, its breaks."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from pipelines.project import Project
from pipelines.provenance.question import Slot
from pipelines.session import connect
from schemas.documents import RolledUp

Row = dict[str, Any]
Key = tuple[str, str, str, str, dt.date]
"""Measure, category, area, period type, reference date."""


@dataclass
class Node:
    """A figure of the observation with what it was made of.

    `row` holds its columns and those of its cell, with names of measure and area; without a row of the observation
    there is only its key. `absent` names what a sum should have been made of and has no figure at all.
    """

    key: Key
    row: Row
    weight: float = 1.0
    kind: str | None = None
    parts: list[Node] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)

    def all(self) -> list[Node]:
        """This figure and everything below it."""
        return [self, *[node for part in self.parts for node in part.all()]]


@dataclass
class Story:
    """All that one edition tells about a value of an indicator: row, roles (Zähler, Nenner, Quote), past."""

    value: Row
    formula: str
    roles: list[tuple[str, Node]]
    breaks: list[Row]
    revisions: list[Row]
    deliveries: dict[str, Row]
    release: Row

    def nodes(self) -> list[Node]:
        """Every figure behind the value."""
        return [node for _, root in self.roles for node in root.all()]

    def touched_breaks(self) -> list[Row]:
        """Breaks of the measures, categories and sources behind the value."""
        seen = {(n.key[0], n.key[1]) for n in self.nodes()}
        sources = {d.rpartition("-")[0] for n in self.nodes() for d in (n.row["delivery_ids"] or "").split(";")}
        return [
            b
            for b in self.breaks
            if b["source_id"] in sources and any(b["measure_id"] == m and b["category"] in ("alle", c) for m, c in seen)
        ]


class Unreadable(Exception):
    """A file with figures is damaged; the German text says which and what to do."""


@contextmanager
def reading(file: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An edition of the marts, open for reading.

    Raises:
        Unreadable: the file is no database, or DuckDB finds it damaged while it is read.
    """
    try:
        with connect(file, read_only=True) as con:
            yield con
    except duckdb.Error as error:
        raise Unreadable(
            f"Die Datei mit den Zahlen ist beschädigt und nicht lesbar: {file.name} in {file.parent}; bitte "
            "data/warehouse/internal löschen und sozialraum nightly ausführen, der Lauf baut beide Dateien neu"
        ) from error


def has_provenance(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether an edition knows where its figures come from; files of older versions don't."""
    query = "SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'meta' AND table_name LIKE 'figure_%'"
    return con.execute(query).fetchall()[0][0] == 2


def slots_of(con: duckdb.DuckDBPyConnection, indicators: list[str], areas: list[str]) -> list[Slot]:
    """The figures there are of some indicators in some areas."""
    return con.execute(
        """
        SELECT indicator_id, area_id, period_type, reference_date, period FROM mart.indicator_value
        WHERE list_contains($indicators, indicator_id) AND list_contains($areas, area_id)
        ORDER BY list_position($indicators, indicator_id), area_id, reference_date
        """,
        {"indicators": indicators, "areas": areas},
    ).fetchall()


def read_story(con: duckdb.DuckDBPyConnection, project: Project, slot: Slot) -> Story:
    """Everything behind one figure."""
    this = dict(zip(("indicator", "area", "type", "date"), slot, strict=False))
    where = "indicator_id = $indicator AND area_id = $area AND period_type = $type AND reference_date = $date"
    value = _rows(con, f"SELECT * FROM mart.indicator_value WHERE {where}", this)[0]
    ways = _rows(
        con,
        """
        SELECT rechenweg, rolle, kennzahl, auspraegung, zeitbezug_anzahl, stichtag_anzahl FROM api.rechenwege
        WHERE indikator = $indicator AND gebiet = $area AND zeitbezug = $type AND stichtag = $date
        ORDER BY rolle DESC
        """,
        this,
    )
    roles = []
    for way in ways:
        key = (way["kennzahl"], way["auspraegung"], slot[1], way["zeitbezug_anzahl"], way["stichtag_anzahl"])
        roles.append((way["rolle"], _tree(con, project, key)))
    return Story(
        value,
        ways[0]["rechenweg"],
        roles,
        _rows(con, "SELECT * FROM mart.series_break ORDER BY reference_date, measure_id", {}),
        _rows(con, f"SELECT * FROM mart.revision WHERE {where} ORDER BY release_id", this),
        {row["delivery_id"]: row for row in _rows(con, "SELECT * FROM meta.delivery", {})},
        _rows(con, "SELECT * FROM meta.release", {})[0],
    )


def _rows(con: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any]) -> list[Row]:
    cursor = con.execute(query, parameters)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


_TREE = """
    WITH RECURSIVE node AS (
        SELECT $measure AS measure_id, $category AS category, $area AS area_id, CAST($date AS DATE) AS reference_date,
            CAST(NULL AS VARCHAR) AS of_measure, CAST(NULL AS VARCHAR) AS of_category,
            CAST(NULL AS VARCHAR) AS of_area, CAST(NULL AS DATE) AS of_date, CAST(1 AS DOUBLE) AS weight,
            CAST(NULL AS VARCHAR) AS kind
        UNION ALL
        SELECT p.part_measure_id, p.part_category, p.part_area_id, p.part_reference_date, n.measure_id, n.category,
            n.area_id, n.reference_date, p.weight, p.kind
        FROM node n
        JOIN meta.figure_part p ON p.measure_id = n.measure_id AND p.category = n.category AND p.area_id = n.area_id
            AND p.period_type = $type AND p.reference_date = n.reference_date
    )
    SELECT DISTINCT n.*, o.value, o.obs_status, o.is_suppressed, o.suppression_reason, o.origin, o.method,
        o.area_level, o.period, o.delivery_ids, s.delivery_id, s.sheet, s.line, s.column_number, s.column_name,
        s.received_text, s.correction, a.name AS area_name, a.level AS level, a.sort_key
    FROM node n
    JOIN mart.area a ON a.area_id = n.area_id
    LEFT JOIN mart.observation o ON o.measure_id = n.measure_id AND o.category = n.category AND o.area_id = n.area_id
        AND o.period_type = $type AND o.reference_date = n.reference_date
    LEFT JOIN meta.figure_source s ON s.measure_id = n.measure_id AND s.category = n.category
        AND s.area_id = n.area_id AND s.period_type = $type AND s.reference_date = n.reference_date
    ORDER BY n.measure_id, n.reference_date, n.category, a.sort_key, n.area_id
"""


def _tree(con: duckdb.DuckDBPyConnection, project: Project, key: Key) -> Node:
    measure, category, area, kind, date = key
    rows = _rows(con, _TREE, {"measure": measure, "category": category, "area": area, "type": kind, "date": date})
    below: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        below.setdefault((row["of_measure"], row["of_category"], row["of_area"], row["of_date"]), []).append(row)

    def grown(row: Row) -> Node:
        here = (row["measure_id"], row["category"], row["area_id"], row["reference_date"])
        node = Node((*here[:3], kind, here[3]), row, row["weight"], row["kind"])
        node.parts = [grown(part) for part in below.get(here, [])]
        node.absent = _absent(project, node)
        return node

    return grown(below[None, None, None, None][0])


def _absent(project: Project, node: Node) -> list[str]:
    """Names of areas or categories that belong to a sum and have no figure of any kind."""
    measure_id, _, area_id, _, date = node.key
    measure = project.measures.get(measure_id)
    kinds = {part.kind for part in node.parts}
    if measure is None or not kinds:
        return []
    if kinds == {"areas"}:
        figures = measure.levels.get(node.row["level"], [])
        below = next((f.rolled_up for f in figures if isinstance(f, RolledUp)), None)
        there = {part.key[2] for part in node.parts}
        areas = project.directory.areas
        wanted = {
            m.area_id
            for m in project.directory.closure()
            if m.parent_id == area_id
            and areas[m.area_id].level == below
            and areas[m.area_id].valid_on(date)
            and (m.valid_from or dt.date.min) <= date <= (m.valid_to or dt.date.max)
        }
        return sorted(areas[missing].name for missing in wanted - there)
    codes = measure.formed.categories if measure.formed else [c.id for c in measure.categories]
    return [code for code in codes if code not in {part.key[1] for part in node.parts}]
