"""Times the questions that people put to a built file: area profile, time series, plain SELECTs.

    PYTHONPATH=. python -m benchmarks.queries FILE.duckdb

A fresh process opens the file and asks for an area in the middle of the table: the first time with nothing read yet,
then twenty times. Prints a Markdown table in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import duckdb

TIMES = 20
QUERIES = {
    "area_profile, ein Gebiet": "FROM mart.area_profile WHERE area_id = $area",
    "api.gebietsprofil": "FROM api.gebietsprofil($area)",
    "api.zeitreihe": "FROM api.zeitreihe($indicator, $area)",
    "indikatorwerte, ein Gebiet": "FROM mart.indicator_value WHERE area_id = $area",
    "indikatorwerte, eine Reihe": "FROM mart.indicator_value WHERE indicator_id = $indicator AND area_id = $area",
    "beobachtungen, ein Gebiet": "FROM mart.observation WHERE area_id = $area",
}


def someone(con: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """An area and an indicator from the middle of the table."""
    row = con.execute(
        """
        SELECT area_id, indicator_id FROM mart.indicator_value
        LIMIT 1 OFFSET (SELECT count(*) // 2 FROM mart.indicator_value)
        """
    ).fetchone()
    assert row is not None
    return {"area": row[0], "indicator": row[1]}


def ask(file: Path, name: str, given: dict[str, str]) -> None:
    """In a process of its own: print rows, the first time and the median in milliseconds."""
    query = QUERIES[name]
    values = {key: value for key, value in given.items() if f"${key}" in query}
    taken = []
    with duckdb.connect(str(file), read_only=True) as con:
        for _ in range(TIMES + 1):
            begun = time.perf_counter()
            rows = len(con.execute(query, values).fetchall())
            taken.append(1000 * (time.perf_counter() - begun))
    print(rows, taken[0], statistics.median(taken[1:]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--one", nargs=3, metavar=("QUERY", "AREA", "INDICATOR"), help="this one only, in this process")
    asked = parser.parse_args()
    file = asked.file
    if asked.one:
        name, area, indicator = asked.one
        ask(file, name, {"area": area, "indicator": indicator})
        return
    try:
        with duckdb.connect(str(file), read_only=True) as con:
            given = someone(con)
            count = con.execute("SELECT count(*) FROM mart.indicator_value").fetchall()[0][0]
    except duckdb.Error as error:
        parser.error(f"{file} is no file of marts: {error}")
    print(f"{count:,} indicator values, {file.stat().st_size / 10**6:,.0f} MB\n")
    print("| query | rows | first | median |")
    print("| --- | --- | --- | --- |")
    for name in QUERIES:
        one = ["--one", name, given["area"], given["indicator"]]
        command = [sys.executable, "-m", "benchmarks.queries", str(file), *one]
        rows, first, median = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        print(f"| {name} | {rows} | {float(first):.1f} ms | {float(median):.1f} ms |")


if __name__ == "__main__":
    main()
