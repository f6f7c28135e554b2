"""The base of the measurements: the large mart of a world, made by one script written for exactly these files.

    python -m benchmarks.reference FOLDER TARGET [--memory 4GB] [--csv]

Reads data/raw and the area lists of a project of `benchmarks.worlds`, checks what a careful analyst would check, adds
up, computes every column of mart.indicator_value and mart.area_profile, and writes both to TARGET/reference.duckdb and
to Parquet. It shares no line with the pipeline, so it is also a second way to the same figures. What makes it fast is
what it knows about these files: one indicator after the other, one delivery per indicator and year, every area in every
file, no breaks, no other kind of figure.
"""

from __future__ import annotations

import argparse
import datetime as dt
from pathlib import Path

import duckdb

COLUMNS = """
    indicator_id VARCHAR, area_id VARCHAR, period_type VARCHAR, reference_date DATE, area_level VARCHAR,
    period VARCHAR, numerator DOUBLE, denominator DOUBLE, value DOUBLE, ci_low DOUBLE, ci_high DOUBLE,
    ci_low_998 DOUBLE, ci_high_998 DOUBLE, benchmark_id VARCHAR, benchmark_value DOUBLE, difference DOUBLE,
    comparison VARCHAR, comparison_confidence DOUBLE, not_compared_reason VARCHAR, z_score DOUBLE, rank INTEGER,
    ranked_n INTEGER, change DOUBLE, change_low DOUBLE, change_high DOUBLE, change_reason VARCHAR, trend VARCHAR,
    trend_chi2 DOUBLE, trend_reason VARCHAR, segment INTEGER, obs_status VARCHAR, conf_status VARCHAR,
    is_suppressed BOOLEAN, suppression_reason VARCHAR, origin VARCHAR, statistics_origin VARCHAR, method VARCHAR,
    data_as_of DATE, delivery_ids VARCHAR
"""

# Areas are numbered in the order of their ids, so that everything below sorts and joins by small numbers.
AREAS = """
    CREATE TEMP TABLE area AS
    WITH listed AS (
        SELECT a.area_id, a.name, a.level, m.parent_id
        FROM read_csv($areas, all_varchar = true) a
        LEFT JOIN read_csv($memberships, all_varchar = true) m USING (area_id)
    ),
    placed AS (
        SELECT area_id, name, level, parent_id, CASE level
            WHEN 'stadt' THEN area_id WHEN 'planungsraum' THEN parent_id
            WHEN 'gebiet' THEN (SELECT p.parent_id FROM listed p WHERE p.area_id = l.parent_id) END AS city_id
        FROM listed l
    ),
    numbered AS (SELECT *, CAST(row_number() OVER (ORDER BY area_id) AS INTEGER) AS area FROM placed)
    SELECT n.area, n.area_id, n.name, n.level, n.city_id, p.area AS parent, c.area AS city
    FROM numbered n
    LEFT JOIN numbered p ON p.area_id = n.parent_id
    LEFT JOIN numbered c ON c.area_id = n.city_id
    ORDER BY n.area
"""

# A star is the only text that may stand for a number; DuckDB names file and line of any other.
READ = """
    CREATE OR REPLACE TEMP TABLE delivered AS
    SELECT f.seq, a.area, a.parent, a.level, r.Stichtag AS day, r.Zaehler AS x, r.Nenner AS n
    FROM read_csv(
        $files, delim = ';', header = true, quote = '', auto_detect = false, nullstr = '*', filename = true,
        dateformat = '%d.%m.%Y',
        columns = {'Gebiet': 'VARCHAR', 'Stichtag': 'DATE', 'Zaehler': 'BIGINT', 'Nenner': 'BIGINT'}
    ) r
    JOIN (SELECT unnest($files) AS file, unnest(range(1, len($files) + 1)) AS seq) f ON f.file = r.filename
    LEFT JOIN area a ON a.area_id = r.Gebiet
"""

CHECKS = """
    SELECT seq,
        count(*) FILTER (area IS NULL OR level <> 'gebiet') AS unknown_areas,
        count(*) - count(DISTINCT area) AS doubled,
        (SELECT count(*) FROM area WHERE level = 'gebiet') - count(DISTINCT area) AS missing,
        count(DISTINCT day) - 1 AS other_days,
        count(*) FILTER (day IS NULL OR month(day) <> 12 OR day(day) <> 31 OR day > current_date) AS wrong_days,
        count(*) FILTER (x > n) AS part_above_whole,
        count(*) FILTER (x < 0 OR n < 0) AS negative
    FROM delivered
    GROUP BY seq
"""

NEWEST = "CREATE OR REPLACE TEMP TABLE newest AS SELECT day, max(seq) AS seq FROM delivered GROUP BY day"

GEBIETE = """
    CREATE OR REPLACE TEMP TABLE figure AS
    SELECT area, parent, level, day, CAST(x AS DOUBLE) AS x, CAST(n AS DOUBLE) AS n
    FROM delivered JOIN newest USING (day, seq)
"""

# A withheld part makes the sum withheld.
SUM = """
    INSERT INTO figure
    SELECT a.area, a.parent, a.level, s.day, s.x, s.n
    FROM (
        SELECT parent AS area, day,
            CASE WHEN count(x) = count(*) THEN sum(x) END AS x, CASE WHEN count(n) = count(*) THEN sum(n) END AS n
        FROM figure WHERE level = $below GROUP BY ALL
    ) s
    JOIN area a USING (area)
"""

MACROS = """
    CREATE TEMP MACRO root(x, n, z) AS sqrt(z * z / 4 + x * (1 - x / n));
    CREATE TEMP MACRO low(x, n, z) AS 100 * (x + z * z / 2 - z * root(x, n, z)) / (n + z * z);
    CREATE TEMP MACRO high(x, n, z) AS 100 * (x + z * z / 2 + z * root(x, n, z)) / (n + z * z);
"""

# Rank and z-score among the areas of a level; sorted, so that the years before stand in the rows before.
RANKED = """
    CREATE OR REPLACE TEMP TABLE ranked AS
    WITH valued AS (SELECT *, 100 * x / nullif(n, 0) AS v FROM figure),
    grouped AS (
        SELECT level, day, CAST(count(v) AS INTEGER) AS ranked_n, avg(v) AS mean,
            CASE WHEN count(v) >= 10 AND max(round(v, 9)) > min(round(v, 9)) THEN stddev_pop(v) END AS deviation
        FROM valued GROUP BY ALL
    ),
    placed AS (
        SELECT *, CASE WHEN v IS NOT NULL THEN
            rank() OVER (PARTITION BY level, day ORDER BY round(v, 9) DESC NULLS LAST) END AS place
        FROM valued
    )
    SELECT p.area, a.area_id, p.level, p.day, p.x, p.n, p.v, CAST(p.place AS INTEGER) AS place, g.ranked_n,
        (p.v - g.mean) / g.deviation AS z_score, a.city_id, b.v AS city_value
    FROM placed p
    JOIN grouped g USING (level, day)
    JOIN area a USING (area)
    LEFT JOIN (SELECT area AS city, day, v FROM valued WHERE level = 'stadt') b ON b.city = a.city AND b.day = p.day
    ORDER BY p.area, p.day
"""

_LAGS = ", ".join(f"lag(x, {k}) OVER () AS x{5 - k}, lag(n, {k}) OVER () AS n{5 - k}" for k in range(1, 5))
_FIVE = range(1, 6)


def _sum(term: str) -> str:
    """The sum of a term over the five years, # being 1 to 5."""
    return "(" + " + ".join(term.replace("#", str(t)) for t in _FIVE) + ")"


def _slope(left_out: int = 0) -> str:
    """Sign and size of the line through the logits, without one year: the sum of (t - mean of t) * y."""
    years = [t for t in _FIVE if t != left_out]
    mean = sum(years) / len(years)
    return "(" + " + ".join(f"({t} - {mean}) * ln(x{t} / (n{t} - x{t}))" for t in years) + ")"


# No ORDER BY and no PARTITION BY: the rows are sorted, lag() reads the row above while they stream past.
VALUES = f"""
    INSERT INTO mart.indicator_value
    WITH limits AS (
        SELECT *, low(x, n, 1.959963984540054) AS low95, high(x, n, 1.959963984540054) AS high95,
            low(x, n, 3.090232306167813) AS low998, high(x, n, 3.090232306167813) AS high998
        FROM ranked
    ),
    lagged AS (
        SELECT *, x AS x5, n AS n5, {_LAGS},
            lag(area, 1) OVER () = area AND year(lag(day, 1) OVER ()) = year(day) - 1 AS follows,
            lag(area, 4) OVER () = area AS has_five, year(lag(day, 4) OVER ()) = year(day) - 4 AS no_gap,
            lag(v, 1) OVER () AS v4, lag(low95, 1) OVER () AS low4, lag(high95, 1) OVER () AS high4
        FROM limits
    ),
    reasoned AS (
        SELECT *,
            CASE WHEN area_id = city_id THEN 'same_area' WHEN v IS NULL THEN 'no_value'
                WHEN city_value IS NULL THEN 'no_benchmark' END AS not_compared_reason,
            CASE WHEN v IS NULL THEN 'no_value' WHEN NOT coalesce(follows AND v4 IS NOT NULL, false) THEN 'no_earlier'
                END AS change_reason,
            CASE WHEN NOT coalesce(has_five, false) THEN 'too_few_periods' WHEN NOT no_gap THEN 'gap'
                WHEN {_sum("x# + n#")} IS NULL THEN 'no_value'
                WHEN {" OR ".join(f"x{t} <= 0 OR x{t} >= n{t}" for t in _FIVE)} THEN 'none_or_all' END AS trend_reason,
            CASE WHEN round(low95, 9) > round(city_value, 9) THEN 1
                WHEN round(high95, 9) < round(city_value, 9) THEN -1 ELSE 0 END AS side,
            round(low998, 9) > round(city_value, 9) OR round(high998, 9) < round(city_value, 9) AS far,
            {_sum("x#")} / {_sum("n#")} AS p, {_sum("n# * #")} / {_sum("n#")} AS middle
        FROM lagged
    ),
    tested AS (
        SELECT *, CASE WHEN trend_reason IS NULL THEN
            power({_sum("x# * (# - middle)")}, 2) / (p * (1 - p) * {_sum("n# * power(# - middle, 2)")}) END AS chi2
        FROM reasoned
    )
    SELECT $indicator, area_id, 'stichtag', day, level, strftime(day, '%Y-%m-%d'), x, n, v, low95, high95, low998,
        high998, city_id, city_value, CASE WHEN area_id <> city_id THEN v - city_value END,
        CASE WHEN not_compared_reason IS NOT NULL THEN 'not_compared' WHEN side = 0 THEN 'similar'
            WHEN side = 1 THEN 'worse' ELSE 'better' END,
        CASE WHEN not_compared_reason IS NULL AND side <> 0 THEN CASE WHEN far THEN 99.8 ELSE 95 END END,
        not_compared_reason, z_score, place, ranked_n,
        CASE WHEN change_reason IS NULL THEN v - v4 END,
        CASE WHEN change_reason IS NULL THEN v - v4 - sqrt(power(v - low95, 2) + power(high4 - v4, 2)) END,
        CASE WHEN change_reason IS NULL THEN v - v4 + sqrt(power(high95 - v, 2) + power(v4 - low4, 2)) END,
        change_reason,
        CASE WHEN trend_reason IS NOT NULL THEN 'not_calculable'
            WHEN round(chi2, 9) <= 9.549535706 THEN 'no_significant_change'
            WHEN least({", ".join(_slope(k) for k in range(6))}) > 1e-9 THEN 'worsening'
            WHEN greatest({", ".join(_slope(k) for k in range(6))}) < -1e-9 THEN 'improving'
            ELSE 'no_significant_change' END,
        chi2, trend_reason, 1, CASE WHEN v IS NULL THEN 'Q' ELSE 'A' END, CASE WHEN v IS NULL THEN 'C' ELSE 'F' END,
        v IS NULL, CASE WHEN v IS NULL THEN 'inherited' END, 'constructed', 'constructed',
        CASE WHEN level = 'gebiet' THEN 'delivered' ELSE 'rolled_up' END, $received,
        $source || '-' || lpad(
            CAST((SELECT map_from_entries(list((k.day, k.seq))) FROM newest k)[day] AS VARCHAR), 4, '0')
    FROM tested
"""

_PROFILE = ("value", "period", "obs_status", "origin", "ci_low", "ci_high", "comparison", "trend")


class Unfit(Exception):
    """A delivery does not hold what it must; nothing is written."""


def build(folder: Path, target: Path, received: dt.date, memory: str = "4GB", csv: bool = False) -> list[Path]:
    """Read a world and write its marts.

    Args:
        folder: a project made by `benchmarks.worlds`.
        target: folder for the files; made if missing.
        received: day that is noted as the receipt of all deliveries.
        memory: limit of DuckDB.
        csv: write the large mart as CSV, too.

    Returns:
        The files written.

    Raises:
        Unfit: a delivery fails a check.
        duckdb.Error: a cell is no number and no star, or no date; DuckDB names file and line.
    """
    target.mkdir(parents=True, exist_ok=True)
    database = target / "reference.duckdb"
    database.unlink(missing_ok=True)
    with duckdb.connect() as con:
        con.execute(f"SET memory_limit = '{memory}'")
        con.execute(f"SET temp_directory = '{target / 'spill'}'")
        con.execute(f"ATTACH '{database}' AS o (STORAGE_VERSION 'v1.0.0')")
        con.execute("CREATE SCHEMA o.mart")
        con.execute(MACROS)
        lists = {name: str(folder / f"assets/areas/{name}.csv") for name in ("areas", "memberships")}
        con.execute(AREAS, lists)
        con.execute("USE o")
        con.execute(f"CREATE TABLE mart.indicator_value ({COLUMNS})")
        names = [path.name.removesuffix("_amt") for path in sorted((folder / "data/raw").iterdir())]
        for name in names:
            _indicator(con, folder, name, received)
        con.execute(_profile(names))
        written = _export(con, target, csv)
        con.execute("USE memory")
        con.execute("DETACH o")
    return [database, *written]


def _indicator(con: duckdb.DuckDBPyConnection, folder: Path, name: str, received: dt.date) -> None:
    """Read, check, add up and compute one indicator."""
    source = f"{name}_amt"
    files = [str(path) for path in sorted((folder / "data/raw" / source).glob("*.csv"))]
    con.execute(READ, {"files": files})
    found = con.execute(CHECKS)
    columns = [column[0] for column in found.description or []]
    for seq, *counts in found.fetchall():
        wrong = [f"{what}: {count}" for what, count in zip(columns[1:], counts, strict=True) if count]
        if wrong:
            raise Unfit(f"{files[seq - 1]}: {', '.join(wrong)}")
    con.execute(NEWEST)
    con.execute(GEBIETE)
    for below in ("gebiet", "planungsraum", "stadt"):
        con.execute(SUM, {"below": below})
    con.execute(RANKED)
    con.execute(VALUES, {"indicator": name, "source": source, "received": received})


def _profile(names: list[str]) -> str:
    """One row per area, per indicator its newest figures; without figures the columns are empty."""
    columns, joins = [], []
    for place, name in enumerate(names):
        columns += [f"i{place}.{column} AS {name}__{column}" for column in _PROFILE]
        joins.append(
            f"LEFT JOIN newest_value i{place} ON i{place}.area_id = a.area_id AND i{place}.indicator_id = '{name}'"
        )
    return f"""
        CREATE TEMP TABLE newest_value AS
        SELECT indicator_id, area_id, {", ".join(_PROFILE)}
        FROM mart.indicator_value v
        JOIN (SELECT indicator_id, max(reference_date) AS reference_date FROM mart.indicator_value GROUP BY ALL) l
            USING (indicator_id, reference_date);
        CREATE TABLE mart.area_profile AS
        SELECT a.area_id, a.name, a.level, {", ".join(columns)}
        FROM area a {" ".join(joins)}
        ORDER BY a.area
    """


def _export(con: duckdb.DuckDBPyConnection, target: Path, csv: bool) -> list[Path]:
    """Both tables as Parquet, the large one as CSV if asked for."""
    written = []
    for table in ("indicator_value", "area_profile"):
        written.append(target / f"{table}.parquet")
        con.execute(f"COPY mart.{table} TO '{written[-1]}' (FORMAT parquet, COMPRESSION zstd)")
    if csv:
        written.append(target / "indicator_value.csv")
        con.execute(f"COPY mart.indicator_value TO '{written[-1]}' (FORMAT csv, HEADER)")
    return written


def main() -> None:
    """Make the marts of a world and name the files written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--memory", default="4GB")
    parser.add_argument("--csv", action="store_true")
    given = parser.parse_args()
    today = dt.datetime.now(dt.UTC).date()
    for path in build(given.folder, given.target, today, given.memory, given.csv):
        print(path)


if __name__ == "__main__":
    main()
