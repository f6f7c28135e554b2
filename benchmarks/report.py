"""Times the pages of the report for a constructed city of many areas, and for Kiel.

    PYTHONPATH=. python benchmarks/report.py [AREAS [INDICATORS [YEARS]]]

The figures are constructed and declared public elsewhere, so that nothing has to be protected and only the report is
measured. Prints a Markdown table: everything rendered, nothing changed, one figure of one area changed. Without PDF:
those are printed for a handful of areas and cached like the pages.
"""

from __future__ import annotations

import datetime as dt
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from pipelines import lock
from pipelines.marts.models import Models
from pipelines.night import Night
from pipelines.project import load_project
from pipelines.report.facts import Stamp
from pipelines.report.pdf import CHROMIUM
from pipelines.report.site import write_report
from tests.conftest import Quiet, create_project
from tests.test_marts import indicator, measure, source
from tests.town import CITY, district, planning_area, write_areas, write_topic

ROOT = Path(__file__).resolve().parents[1]


def constructed_city(folder: Path, areas: int, indicators: int, years: int) -> Path:
    """A project with so many districts in planning areas of twenty, and one source with all counts."""
    create_project(folder, Quiet())
    shutil.rmtree(folder / "assets/beispiel")
    shutil.rmtree(folder / "data/raw/beispiel")
    write_areas(folder, school_districts=False)
    parents = range(1, areas // 20 + 1)
    rows = [f"{CITY},Musterstadt,stadt,,,,1,,konstruiert"]
    rows += [f"{planning_area(n)},Bereich {n},bereich,{n},,,{n + 1},,konstruiert" for n in parents]
    rows += [f"{district(n)},Bezirk {n},bezirk,{n},,,{n + 5000},,konstruiert" for n in range(1, areas + 1)]
    members = [f"{planning_area(n)},{CITY},,,1,confirmed,konstruiert" for n in parents]
    members += [
        f"{district(n)},{planning_area((n - 1) // 20 + 1)},,,1,confirmed,konstruiert" for n in range(1, areas + 1)
    ]
    for name, lines in (("areas.csv", rows), ("memberships.csv", members)):
        path = folder / "assets/areas" / name
        head = path.read_text(encoding="utf-8").splitlines()[0]
        path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    names = [f"hilfe_{n}" for n in range(1, indicators + 1)]
    levels = {"bezirk": ["amt"], "bereich": [{"rolled_up": "bezirk"}], "stadt": [{"rolled_up": "bezirk"}]}
    more = {"publication": "public_elsewhere", "origin": "open_data", "address": "https://example.org/zahlen"}
    documents = [source("amt", "stichtag", [*names, "einwohner"], **more)]
    documents += [measure(name, "stichtag", "amt", levels=levels) for name in [*names, "einwohner"]]
    documents += [
        indicator(
            f"{name}_anteil",
            "percent",
            polarity="higher_is_worse",
            numerator={"measure": name},
            denominator={"measure": "einwohner"},
            levels=dict.fromkeys(levels, "counts"),
        )
        for name in names
    ]
    write_topic(folder, documents)
    deliver(folder, areas, names, years)
    return folder


def deliver(folder: Path, areas: int, names: list[str], years: int) -> None:
    """Constructed counts, the same on each call."""
    dice = random.Random(1)
    lines = ["Bezirk;Zeit;" + ";".join([*names, "einwohner"])]
    for area in range(1, areas + 1):
        people, level = dice.randint(500, 8000), dice.uniform(0.05, 0.3)
        for year in range(2023 - years + 1, 2024):
            counts = [round(people * level * dice.uniform(0.8, 1.2)) for _ in names]
            lines.append(f"Bezirk {area};31.12.{year};" + ";".join(map(str, [*counts, people])))
    path = folder / "data/raw/amt/zahlen.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def public_edition(root: Path) -> tuple[Path, Models]:
    """The public DuckDB file of a night that stops before anything is published."""
    night = Night.begin(root, lambda _: None)
    try:
        night.intake()
        edition = night.protect()
    finally:
        lock.take(night.project.paths.lock_file).release()
    assert edition is not None
    return edition.file, Models(load_project(root)).declared()


def measured(name: str, file: Path, models: Models, folder: Path) -> None:
    """Two rows of the table."""
    stamp = Stamp("20261122T031500Z-0001", dt.datetime(2026, 11, 22, 3, 15, tzinfo=dt.UTC))
    for what in ("everything", "nothing changed"):
        started = time.perf_counter()
        written = write_report(file, models, stamp, folder / "bericht", folder / "bericht.sqlite")
        seconds = time.perf_counter() - started
        size = sum(path.stat().st_size for path in (folder / "bericht").rglob("*") if path.is_file())
        counts = f"{written.pages} | {written.rendered} | {written.drawn}"
        print(f"| {name}, {what} | {counts} | {seconds:.1f} | {size / 1e6:.0f} |")


def main() -> None:
    """Measure the constructed city, then Kiel."""
    areas, indicators, years = [int(text) for text in sys.argv[1:]] + [1000, 12, 10][len(sys.argv) - 1 :]
    os.environ[CHROMIUM] = "aus"
    print("| city | pages | rendered | charts drawn | seconds | MB |\n| --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as scratch:
        kiel = Path(scratch) / "kiel"
        for part in ("assets", "data/raw"):
            shutil.copytree(ROOT / part, kiel / part)
        shutil.copyfile(ROOT / "dagster.yaml", kiel / "dagster.yaml")
        measured("Kiel", *public_edition(kiel), Path(scratch))
        town = constructed_city(Path(scratch) / "stadt", areas, indicators, years)
        file, models = public_edition(town)
        (Path(scratch) / "bericht.sqlite").unlink()
        measured(f"{areas} areas, {indicators} indicators, {years} years", file, models, Path(scratch))


if __name__ == "__main__":
    main()
