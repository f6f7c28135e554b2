"""Times the marts of one edition over constructed observations: limits, comparison, rank, change, trend.

    python benchmarks/statistics_sql.py [DISTRICTS ...]

Per size a fresh process builds one edition of a city with that many districts, 20 years and 10 indicators. The base is
DuckDB copying the same observation into a table of a new file. Prints a Markdown table with wall time and peak memory.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import yaml

from pipelines.init import create_project
from pipelines.marts.edition import build_edition
from pipelines.marts.models import Models
from pipelines.progress import Voice
from pipelines.project import load_project

CITY, YEARS, INDICATORS = "99999000", 20, 10
KIND = "pipelines.components.{}Component"


def documents() -> list[dict[str, Any]]:
    """A source, its measures, and shares of one of them in all others."""
    names = [f"m{k}" for k in range(INDICATORS)]
    levels = {"bezirk": ["amt"], "stadt": [{"rolled_up": "bezirk"}]}
    common = {"owner": "team:datenteam"}
    source = {
        **common,
        "id": "amt",
        "title": {"de": "Amt (konstruiert)"},
        "description": {"de": "Konstruiert."},
        "publisher": "konstruiert",
        "licence": "CC0-1.0",
        "origin": "constructed",
        "publication": "constructed",
        "due": "none",
        "layout": {
            "area": {"name": "Bezirk", "level": "bezirk"},
            "period": {"column": "Zeit", "type": "stichtag"},
            "values": [{"column": m, "measure": m} for m in [*names, "n"]],
        },
    }
    measure = {**common, "unit": "persons", "kind": "count", "family": "f", "period_type": "stichtag", "levels": levels}
    share = {**common, "unit": "percent", "decimals": 1, "polarity": "higher_is_worse", "denominator": {"measure": "n"}}
    share |= {"definition": {"de": "Anteil."}, "levels": dict.fromkeys(levels, "counts")}
    found = [{"type": KIND.format("Source"), "attributes": source}]
    found += [
        {"type": KIND.format("Measure"), "attributes": {**measure, "id": m, "title": {"de": m}}} for m in [*names, "n"]
    ]
    for m in names:
        title = {"id": f"i{m}", "title": {"de": f"Anteil {m}"}, "numerator": {"measure": m}}
        found.append({"type": KIND.format("Indicator"), "attributes": share | title})
    return found


def write_project(root: Path, districts: int) -> None:
    """A project folder whose city has so many districts."""
    create_project(root, Voice())
    shutil.rmtree(root / "assets/beispiel")
    ids = [f"{CITY}-BZ-{n}" for n in range(1, districts + 1)]
    areas = [f"{CITY},Stadt,stadt,,,,0,,k\n", *[f"{a},{a},bezirk,{n},,,{n},,k\n" for n, a in enumerate(ids, 1)]]
    for name, rows in (("areas", areas), ("memberships", [f"{a},{CITY},,,1,confirmed,k\n" for a in ids])):
        file = root / f"assets/areas/{name}.csv"
        header = file.read_text(encoding="utf-8").splitlines(keepends=True)[0]
        file.write_text(header + "".join(rows), encoding="utf-8")
    (root / "assets/thema").mkdir()
    (root / "assets/thema/defs.yaml").write_text(yaml.safe_dump_all(documents(), allow_unicode=True), encoding="utf-8")


def write_observation(file: Path, districts: int) -> None:
    """Constructed counts: about 100 of about 1000 in every district."""
    with duckdb.connect() as con:
        con.execute(
            f"""
            COPY (
                SELECT m AS measure_id, 'insgesamt' AS category,
                    CASE WHEN a = 0 THEN '{CITY}' ELSE '{CITY}-BZ-' || a END AS area_id, 'stichtag' AS period_type,
                    make_date(2000 + y, 12, 31) AS reference_date,
                    CASE WHEN a = 0 THEN 'stadt' ELSE 'bezirk' END AS area_level,
                    (2000 + y) || '-12-31' AS period,
                    CAST(CASE WHEN m = 'n' THEN 1000 + a % 97 ELSE 50 + (hash(m) + a * 7 + y * 3) % 100 END
                        * CASE WHEN a = 0 THEN {districts} ELSE 1 END AS DOUBLE) AS value,
                    'A' AS obs_status, 'F' AS conf_status, FALSE AS is_suppressed, NULL::VARCHAR AS suppression_reason,
                    'constructed' AS origin, 'delivered' AS method, DATE '2024-01-01' AS data_as_of,
                    'amt-0001' AS delivery_ids
                FROM range(0, {districts + 1}) t(a), range(0, {YEARS}) u(y),
                    (SELECT 'n' AS m UNION ALL SELECT 'm' || k FROM range(0, {INDICATORS}) v(k)) w
            ) TO '{file}' (FORMAT parquet)
            """
        )


def measure(what: str, districts: int) -> None:
    """In a process of its own: print rows, seconds and megabytes."""
    with tempfile.TemporaryDirectory() as folder:
        root, observation = Path(folder) / "stadt", Path(folder) / "beobachtung.parquet"
        write_observation(observation, districts)
        if what == "base":
            begun = time.perf_counter()
            with duckdb.connect(str(Path(folder) / "kopie.duckdb")) as con:
                con.execute(f"CREATE TABLE o AS SELECT * FROM read_parquet('{observation}')")
            rows = 0
        else:
            write_project(root, districts)
            models = Models(load_project(root))
            models.order  # noqa: B018 - lineage is derived once per change of SQL, not every night
            begun = time.perf_counter()
            edition = build_edition(
                models, observation, root / "o.duckdb", {}, release_id="20260101T000000Z-0001", commit="x"
            )
            rows = edition.rows["indicator_value"]
        seconds = time.perf_counter() - begun
        print(rows, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] in (["base"], ["marts"]):
        measure(sys.argv[1], int(sys.argv[2]))
        return
    print("| indicator values | DuckDB copies the observation (base) | one edition | ratio | memory |")
    print("| --- | --- | --- | --- | --- |")
    for districts in [int(n) for n in sys.argv[1:]] or [500, 5000]:
        told = {}
        for what in ("base", "marts"):
            command = [sys.executable, __file__, what, str(districts)]
            last = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            told[what] = [float(part) for part in last.split()]
        (_, base, _), (rows, seconds, memory) = told["base"], told["marts"]
        print(f"| {rows:,.0f} | {base:.2f} s = 1.0 | {seconds:.1f} s | {seconds / base:.0f} | {memory:,.0f} MB |")


if __name__ == "__main__":
    main()
