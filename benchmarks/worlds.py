"""Makes project folders of any size, from a small town to a nation; all figures are constructed.

    PYTHONPATH=. python -m benchmarks.worlds FOLDER --size L --internal
    PYTHONPATH=. python -m benchmarks.worlds FOLDER --areas 1000 --years 15 --indicators 20
    PYTHONPATH=. python -m benchmarks.worlds FOLDER --deliver year         (or: correction; into a world that is there)

A world has four area levels (about 100 Gebiete in a Planungsraum, a Stadt per 1,000 Gebiete, one Land) and per
indicator one source with numerator and denominator, delivered as one file per year. The same arguments give the same
bytes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from benchmarks.large_delivery import CONSTRUCTED
from pipelines.init import create_project
from pipelines.progress import Voice

LAND = "99"
LEVELS = {
    "gebiet": ("Gebiet", "Gebiete"),
    "planungsraum": ("Planungsraum", "Planungsräume"),
    "stadt": ("Stadt", "Städte"),
    "land": ("Land", "Länder"),
}
HEADER = "Gebiet;Stichtag;Zaehler;Nenner\n"
LAST_YEAR = 2023
CITY_SIZE, PLANNING_SIZE = 1000, 100
STARRED_FILES, STAR_SHARE = 10, 0.05
"""In every tenth file of a city its office withholds one count in twenty: 0.5 % of all counts. Spread evenly the stars
would leave hardly any city with a sum."""

_OWN = "welt.json"


@dataclass(frozen=True)
class World:
    """What a world is made of.

    `areas`: number of Gebiete; `years`: the last one is 2023; `internal`: declared internal, nothing is published.
    """

    areas: int
    years: int
    indicators: int
    internal: bool = False
    seed: int = 1

    @property
    def city(self) -> np.ndarray:
        """Number of the Stadt of each Gebiet, shape (areas,)."""
        return np.arange(self.areas) // CITY_SIZE

    @property
    def planning_area(self) -> np.ndarray:
        """Number of the Planungsraum of each Gebiet in its Stadt, shape (areas,); towns of one have three."""
        size = PLANNING_SIZE if self.areas >= 3 * PLANNING_SIZE else -(-self.areas // 3)
        return np.arange(self.areas) % CITY_SIZE // size

    @property
    def area_ids(self) -> list[str]:
        """Ids of the Gebiete, sorted: 99, Stadt, Planungsraum, number."""
        places = zip(self.city.tolist(), self.planning_area.tolist(), strict=True)
        return [f"{LAND}{c:03d}-{p:02d}-{n % CITY_SIZE:03d}" for n, (c, p) in enumerate(places)]

    @property
    def names(self) -> list[str]:
        """Ids of the indicators."""
        return [f"anteil_{letters(n, 2).lower()}" for n in range(self.indicators)]


SIZES = {
    "S": World(30, 15, 10),
    "M": World(1_000, 15, 20),
    "L": World(50_000, 10, 20),
    "XL": World(250_000, 20, 20),
}


# ---------------------------------------------------------------- the project


def make_world(
    folder: Path, areas: int, years: int, indicators: int, *, internal: bool = False, seed: int = 1
) -> World:
    """Write a project that runs at once.

    Args:
        folder: does not exist yet or is empty.
        areas: number of Gebiete, the only level that is delivered.
        years: number of yearly files of each indicator; the last one is 2023.
        indicators: number of indicators, each with a source of its own.
        internal: declared internal: nothing is published.
        seed: another one makes other figures.

    Raises:
        FileExistsError: the folder holds something.
    """
    world = World(areas, years, indicators, internal, seed)
    if create_project(folder, Voice()):
        raise FileExistsError(folder)
    for path in (folder / "assets/beispiel/defs.yaml", folder / "data/raw/beispiel/beispiel.csv"):
        path.unlink()
        path.parent.rmdir()
    (folder / _OWN).write_text(json.dumps(asdict(world)) + "\n", encoding="utf-8")
    _declare(folder, world)
    _write_areas(folder / "assets/areas", world)
    ids = pa.array(world.area_ids)
    for number, name in enumerate(world.names):
        for year in range(LAST_YEAR - years + 1, LAST_YEAR + 1):
            _write_file(folder, world, ids, number, name, year)
    return world


def read_world(folder: Path) -> World:
    """The world that was made in a folder."""
    return World(**json.loads((folder / _OWN).read_text(encoding="utf-8")))


def _declare(folder: Path, world: World) -> None:
    """Release, areas, and per indicator a topic with source, two measures and the indicator."""
    release = folder / "assets/release/defs.yaml"
    document = yaml.safe_load(release.read_text(encoding="utf-8"))
    document["attributes"] |= {"city": LAND, "internal": world.internal, "always_shown": ["stadt", "land"]}
    _write_yaml(release, [document])
    levels = [
        {"id": level, "title": {"de": one}, "plural": {"de": many}, "sort_key": len(LEVELS) - place}
        for place, (level, (one, many)) in enumerate(LEVELS.items())
    ]
    areas = {"title": {"de": "Gebiete"}, "description": {"de": "Konstruiert."}, "owner": "team:datenteam"}
    component = {"type": "pipelines.components.AreasComponent", "attributes": {**areas, "levels": levels}}
    _write_yaml(folder / "assets/areas/defs.yaml", [component])
    for number, name in enumerate(world.names, 1):
        path = folder / "assets" / name / "defs.yaml"
        path.parent.mkdir()
        _write_yaml(path, _topic(name, number))


def _write_yaml(path: Path, documents: list[dict[str, Any]]) -> None:
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False), encoding="utf-8")


def letters(number: int, width: int) -> str:
    """AAA, AAB, ... for 0, 1, ...: on a page the audit takes a number that no table holds for a figure."""
    return "".join(chr(ord("A") + number // 26**place % 26) for place in reversed(range(width)))


def _topic(name: str, number: int) -> list[dict[str, Any]]:
    """YAML documents of one indicator."""
    numerator, denominator, source = f"{name}_zaehler", f"{name}_nenner", f"{name}_amt"
    below = dict(zip(list(LEVELS)[1:], LEVELS, strict=False))
    sums = {level: [{"rolled_up": lower}] for level, lower in below.items()}
    title = f"Anteil {name[-2:].upper()} (konstruiert)"
    documents: list[tuple[str, dict[str, Any]]] = [
        (
            "Source",
            {
                "id": source,
                "title": {"de": f"Zähler und Nenner: {title}"},
                "description": {"de": "Konstruierte Zahlen, eine Datei je Jahr."},
                "publisher": "Amt (konstruiert)",
                **CONSTRUCTED,
                "layout": {
                    "area": {"id": "Gebiet", "level": "gebiet"},
                    "period": {"column": "Stichtag", "type": "stichtag"},
                    "values": [
                        {"column": "Zaehler", "measure": numerator},
                        {"column": "Nenner", "measure": denominator},
                    ],
                },
                "contract": {
                    "complete": {"gebiet": "all"},
                    "not_above": [{"measure": numerator, "than": denominator}],
                },
            },
        ),
        *[
            (
                "Measure",
                {
                    "id": measure,
                    "title": {"de": f"{part}: {title}"},
                    "unit": "persons",
                    "kind": "count",
                    "family": name,
                    "period_type": "stichtag",
                    "levels": {"gebiet": [source], **sums},
                },
            )
            for measure, part in ((numerator, "Zähler"), (denominator, "Nenner"))
        ],
        (
            "Indicator",
            {
                "id": name,
                "title": {"de": title},
                "definition": {"de": f"{title}: Zähler in Prozent des Nenners am Stichtag."},
                "unit": "percent",
                "decimals": 1,
                "polarity": "higher_is_worse",
                "numerator": {"measure": numerator},
                "denominator": {"measure": denominator},
                "comparison": {"level": "stadt"},
                "levels": dict.fromkeys(LEVELS, "counts"),
                "owner": "team:sozialplanung",
                "sort_key": number,
            },
        ),
    ]
    return [{"type": f"pipelines.components.{kind}Component", "attributes": content} for kind, content in documents]


def _write_areas(folder: Path, world: World) -> None:
    """areas.csv and memberships.csv: every area lies wholly in one of the level above, without end."""
    areas, members = [(LAND, "Musterland", "land", "")], []
    seen = {LAND}
    for place, area_id in enumerate(world.area_ids, 1):
        city, planning, number = area_id.split("-")
        room = f"{city}-{planning}"
        town, part, own = letters(int(city[2:]), 2), letters(int(planning), 1), letters(int(number), 3)
        for other, parent, name, level in (
            (city, LAND, f"Stadt {town}", "stadt"),
            (room, city, f"Planungsraum {town}-{part}", "planungsraum"),
            (area_id, room, f"Gebiet {town}-{part}-{own}", "gebiet"),
        ):
            if other not in seen:
                seen.add(other)
                areas.append((other, name, level, str(place) if level == "gebiet" else ""))
                members.append((other, parent))
    rows = [f"{a},{name},{level},{number},,,{i},,konstruiert\n" for i, (a, name, level, number) in enumerate(areas)]
    _under_header(folder / "areas.csv", rows)
    _under_header(folder / "memberships.csv", [f"{a},{b},,,1,confirmed,konstruiert\n" for a, b in members])


def _under_header(path: Path, rows: list[str]) -> None:
    """Replace the rows of a CSV file."""
    header = path.read_text(encoding="utf-8").splitlines()[0]
    path.write_text(header + "\n" + "".join(rows), encoding="utf-8")


# ---------------------------------------------------------------- deliveries


def file_of(folder: Path, name: str, year: int, addition: str = "") -> Path:
    """Path of the delivery of an indicator and year."""
    return folder / f"data/raw/{name}_amt/{name}_{year}{addition}.csv"


def counts(world: World, number: int, year: int) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators of an indicator (from 0) in a year, shape (areas,), persons; -1 is a star.

    The denominator is skewed and lies between 200 and 20,000; the numerator is binomial around a rate (of an
    indicator as a whole 1 to 30 %) that differs between areas and moves a little from year to year, in every area its
    own way. So of rare things small areas have few cases or none.
    """
    fixed = np.random.default_rng([world.seed, number])
    size = fixed.lognormal(7.3, 0.7, world.areas)
    level = fixed.normal(fixed.uniform(-4.5, -0.8), 0.4, world.areas)
    trend = fixed.normal(fixed.uniform(-0.02, 0.02), 0.02, world.areas)
    dice = np.random.default_rng([world.seed, number, year])
    denominator = np.clip(size * dice.normal(1, 0.01, world.areas), 200, 20_000).astype(np.int64)
    rate = 1 / (1 + np.exp(-(level + trend * (year - LAST_YEAR))))
    numerator = dice.binomial(denominator, rate)
    withholds = (world.city + 3 * number + year) % STARRED_FILES == 0
    for figures in (numerator, denominator):
        figures[withholds & (dice.random(world.areas) < STAR_SHARE)] = -1
    return numerator, denominator


def _write_file(folder: Path, world: World, ids: pa.Array, number: int, name: str, year: int) -> Path:
    """One delivery: all areas of one indicator and year."""
    texts = []
    for figures in counts(world, number, year):
        cells = pc.cast(pa.array(figures), pa.string())
        texts.append(pc.if_else(pa.array(figures < 0), pa.scalar("*"), cells))
    lines = pc.binary_join_element_wise(ids, pa.scalar(f"31.12.{year}"), *texts, ";")
    body = pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), "\n")[0].as_py()
    path = file_of(folder, name, year)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{body}\n", encoding="utf-8")
    return path


def add_year(folder: Path) -> Path:
    """Deliver the year after the newest one for the first indicator; returns the new file."""
    world = read_world(folder)
    name, year = world.names[0], LAST_YEAR + 1
    while file_of(folder, name, year).exists():
        year += 1
    return _write_file(folder, world, pa.array(world.area_ids), 0, name, year)


def correct_file(folder: Path) -> Path:
    """Deliver the newest file of the last indicator again, the first shown denominator greater by one."""
    name = read_world(folder).names[-1]
    lines = file_of(folder, name, LAST_YEAR).read_text(encoding="utf-8").splitlines()
    place = next(n for n, line in enumerate(lines) if n and "*" not in line)
    rest, denominator = lines[place].rsplit(";", 1)
    lines[place] = f"{rest};{int(denominator) + 1}"
    path = file_of(folder, name, LAST_YEAR, "_berichtigt")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


DELIVERIES: dict[str, Callable[[Path], Path]] = {"year": add_year, "correction": correct_file}


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"at least 1, not {number}")
    return number


def main() -> None:
    """Make a world from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="S")
    for option in ("areas", "years", "indicators"):
        parser.add_argument(f"--{option}", type=_at_least_one, metavar="N")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--internal", action="store_true")
    parser.add_argument("--deliver", choices=DELIVERIES)
    given = parser.parse_args()
    if given.deliver:
        if not (given.folder / _OWN).is_file():
            parser.error(f"{given.folder} is no world: no {_OWN} there")
        print(DELIVERIES[given.deliver](given.folder))
        return
    size = SIZES[given.size]
    if given.folder.exists() and (not given.folder.is_dir() or any(given.folder.iterdir())):
        parser.error(f"{given.folder} is there already and not empty")
    make_world(
        given.folder,
        given.areas or size.areas,
        given.years or size.years,
        given.indicators or size.indicators,
        internal=given.internal,
        seed=given.seed,
    )


if __name__ == "__main__":
    main()
