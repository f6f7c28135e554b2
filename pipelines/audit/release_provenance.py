"""The provenance of a release: every figure has its place, and no place tells more than the figure itself.

A received text is the figure once more, a line or column in a file sorted by its figures bounds them, and a list of
parts that is not the whole list can tell which of them are zero. All of it is worked out again from the public tables.
No order of lines or columns proves that a file is not sorted by its figures, so none may be told.
"""

from __future__ import annotations

from pathlib import Path

from pipelines.audit.facts import Leak
from pipelines.session import connect

_KEY = "measure_id, category, area_id, period_type, reference_date"
_PART_KEY = f"{_KEY}, part_measure_id, part_category, part_area_id, part_reference_date"
_TEXTS = ("sheet", "column_name", "received_text", "correction")
_PLACES = ("line", "column_number")
_SHOWN = 5
"""Places that are named of each kind of finding."""

_MISSING = "Zu dieser gelieferten Zahl fehlt die Fundstelle, oder zu dieser Fundstelle die gelieferte Zahl; neu bauen."
_FOREIGN = "Die Fundstelle nennt eine andere Lieferung als die Zahl, oder keine mögliche Zeile und Spalte; neu bauen."
_TEXT = "Was in der Datei steht, darf nur bei Quellen erscheinen, die ohnehin öffentlich sind; entfernen."
_PLACE = "Die Reihenfolge der Zeilen oder Spalten kann gesperrte Zahlen verraten; Zeile und Spalte entfernen."
_ORDER = "Die Zeilen stehen nicht in der Reihenfolge ihres Schlüssels, oder ein Schlüssel steht zweimal da; neu bauen."
_NO_PARTS = "Die Summanden sind nicht die, die sich aus Gebieten, Ausprägungen und Jahren ergeben; neu bauen."
_NO_SUM = "Die Summanden ergeben die Zahl nicht; neu bauen."


def check_provenance(file: Path, must: bool) -> list[Leak]:
    """Hold the cells and the parts against what else is published.

    Args:
        file: the database of the release.
        must: whether both tables have to be there; releases made before there was provenance have none.
    """
    with connect(file, read_only=True) as con:
        there = {row[0] for row in con.execute(_THERE).fetchall()}
        if len(there) < 2:
            text = "Die Tabelle fehlt; neu bauen."
            absent = sorted({"figure_source", "figure_part"} - there)
            return [Leak("nicht_ableitbar", f"meta.{name}", text) for name in absent] if must or there else []
        con.execute(_WAYS)
        con.execute(_EXPECTED)
        return [
            Leak("nicht_ableitbar", f"meta.{table}, {', '.join(map(str, row))}", text)
            for table, text, query in _QUERIES
            for row in con.execute(f"SELECT DISTINCT {_KEY} FROM ({query}) ORDER BY ALL LIMIT {_SHOWN}").fetchall()
        ]


_THERE = """
    SELECT table_name FROM duckdb_tables() WHERE schema_name = 'meta' AND table_name IN ('figure_source', 'figure_part')
"""

_WAYS = """
    CREATE TEMP TABLE way AS
    WITH RECURSIVE step AS (
        SELECT m.area_id, m.parent_id, m.weight, a.level, a.level || ' ' || p.level AS path, 1 AS depth,
            greatest(coalesce(m.valid_from, DATE '0001-01-01'), coalesce(a.valid_from, DATE '0001-01-01'),
                coalesce(p.valid_from, DATE '0001-01-01')) AS starts,
            least(coalesce(m.valid_to, DATE '9999-12-31'), coalesce(a.valid_to, DATE '9999-12-31'),
                coalesce(p.valid_to, DATE '9999-12-31')) AS ends
        FROM mart.membership m
        JOIN mart.area a ON a.area_id = m.area_id
        JOIN mart.area p ON p.area_id = m.parent_id
    ),
    whole AS (
        SELECT * FROM step
        UNION ALL
        SELECT w.area_id, s.parent_id, w.weight * s.weight, w.level, w.path || ' ' || split_part(s.path, ' ', 2),
            w.depth + 1, greatest(w.starts, s.starts), least(w.ends, s.ends)
        FROM whole w JOIN step s ON s.area_id = w.parent_id
        WHERE w.depth < 10 AND greatest(w.starts, s.starts) <= least(w.ends, s.ends)
    )
    SELECT reference_date, area_id, parent_id, level, max(weight) AS weight
    FROM (
        SELECT d.reference_date, w.area_id, w.parent_id, w.level, w.path, round(sum(w.weight), 9) AS weight
        FROM (SELECT DISTINCT reference_date FROM meta.figure_part WHERE kind = 'areas') d
        JOIN whole w ON d.reference_date BETWEEN w.starts AND w.ends
        GROUP BY ALL
    )
    GROUP BY ALL
"""
"""Which areas make up which on the days of the sums; two ways through other levels tell the same thing twice."""

_EXPECTED = f"""
    CREATE TEMP TABLE expected AS
    WITH made AS (
        SELECT {_KEY}, kind, min(level) AS level
        FROM meta.figure_part JOIN (SELECT area_id AS part_area_id, level FROM mart.area) USING (part_area_id)
        GROUP BY ALL
    ),
    term AS (
        SELECT measure_id, part_measure_id, part_category, periods
        FROM mart.measure_part WHERE sum_id = measure_id || ' gebildet'
        UNION ALL
        SELECT measure_id, measure_id, category, 1 FROM mart.category
        WHERE part_of = 'insgesamt'
            AND measure_id NOT IN (SELECT measure_id FROM mart.measure_part WHERE sum_id = measure_id || ' gebildet')
    )
    SELECT m.measure_id, m.category, m.area_id, m.period_type, m.reference_date, o.measure_id AS part_measure_id,
        o.category AS part_category, o.area_id AS part_area_id, o.reference_date AS part_reference_date, w.weight,
        m.kind
    FROM made m
    JOIN way w ON w.parent_id = m.area_id AND w.level = m.level AND w.reference_date = m.reference_date
    JOIN mart.observation o ON o.measure_id = m.measure_id AND o.category = m.category AND o.area_id = w.area_id
        AND o.period_type = m.period_type AND o.reference_date = m.reference_date
    WHERE m.kind = 'areas'
    UNION ALL
    SELECT m.measure_id, m.category, m.area_id, m.period_type, m.reference_date, o.measure_id, o.category, o.area_id,
        o.reference_date, 1, m.kind
    FROM made m
    JOIN term t ON t.measure_id = m.measure_id AND (t.periods > 1) = (m.kind = 'periods')
    JOIN mart.observation o ON o.measure_id = t.part_measure_id AND o.category = t.part_category
        AND o.area_id = m.area_id AND o.period_type = m.period_type AND o.reference_date <= m.reference_date
        AND o.reference_date > m.reference_date - to_years(CAST(t.periods AS INTEGER))
        AND month(o.reference_date) = month(m.reference_date)
        AND (t.periods > 1 OR o.reference_date = m.reference_date)
    WHERE m.category = 'insgesamt' AND m.kind IN ('categories', 'periods')
"""

_DELIVERED = f"SELECT {_KEY} FROM mart.observation WHERE method = 'delivered'"
_SUMS = f"SELECT {_KEY} FROM mart.observation WHERE method <> 'delivered'"
_PARTS = f"{_PART_KEY}, weight, kind"

_QUERIES = [
    ("figure_source", _MISSING, f"SELECT {_KEY} FROM meta.figure_source EXCEPT {_DELIVERED}"),
    ("figure_source", _MISSING, f"({_DELIVERED}) EXCEPT SELECT {_KEY} FROM meta.figure_source"),
    (
        "figure_source",
        _FOREIGN,
        f"""
        SELECT {_KEY} FROM meta.figure_source s JOIN mart.observation o USING ({_KEY})
        WHERE coalesce(s.delivery_id, '') <> o.delivery_ids OR s.line < 1 OR s.column_number < 1
        """,
    ),
    *[
        (
            "figure_source",
            text,
            f"""
            SELECT {_KEY} FROM meta.figure_source WHERE coalesce({", ".join(names)}) IS NOT NULL
                AND delivery_id NOT IN (SELECT delivery_id FROM meta.delivery WHERE public_elsewhere)
            """,
        )
        for text, names in ((_TEXT, _TEXTS), (_PLACE, _PLACES))
    ],
    *[
        (
            table,
            _ORDER,
            f"""
            SELECT {_KEY} FROM (
                SELECT *, rowid AS place, row_number() OVER (ORDER BY {key}) - 1 AS due,
                    count(*) OVER (PARTITION BY {key}) AS times
                FROM meta.{table})
            WHERE place <> due OR times > 1
            """,
        )
        for table, key in (("figure_source", _KEY), ("figure_part", _PART_KEY))
    ],
    ("figure_part", _NO_PARTS, f"SELECT {_KEY} FROM meta.figure_part EXCEPT ({_SUMS})"),
    ("figure_part", _NO_PARTS, f"({_SUMS}) EXCEPT SELECT {_KEY} FROM meta.figure_part"),
    ("figure_part", _NO_PARTS, f"SELECT {_KEY} FROM meta.figure_part GROUP BY {_KEY} HAVING count(DISTINCT kind) > 1"),
    ("figure_part", _NO_PARTS, f"SELECT {_PARTS} FROM meta.figure_part EXCEPT SELECT {_PARTS} FROM expected"),
    ("figure_part", _NO_PARTS, f"SELECT {_PARTS} FROM expected EXCEPT SELECT {_PARTS} FROM meta.figure_part"),
    (
        "figure_part",
        _NO_SUM,
        f"""
        SELECT {_KEY}
        FROM meta.figure_part p
        JOIN mart.observation s USING ({_KEY})
        JOIN (
            SELECT measure_id AS part_measure_id, category AS part_category, area_id AS part_area_id, period_type,
                reference_date AS part_reference_date, value AS part
            FROM mart.observation
        ) USING (part_measure_id, part_category, part_area_id, period_type, part_reference_date)
        GROUP BY {_KEY}, s.value
        HAVING count(part) = count(*) AND s.value IS NOT NULL AND abs(s.value - sum(p.weight * part)) > 1e-6
        """,
    ),
]
"""Table, what is wrong with a row that a query finds, and the query."""
