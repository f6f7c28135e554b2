"""Maps of the report: where areas lie, in which class a figure is, and what a reader sees on the pages.

Classes are compared with brute force over all partitions and with what a reader would conclude from the printed text;
outlines are constructed. Lengths of a degree: textbook figures for 54° north (WGS 84).
"""

from __future__ import annotations

import datetime as dt
import html
import itertools
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from pipelines.areas import Area
from pipelines.gate import take_fingerprint
from pipelines.marts.models import Models
from pipelines.paths import Paths
from pipelines.project import ConfigError, load_project
from pipelines.report import geometry, index_pages, map_drawing, maps
from pipelines.report.cache import Cache
from pipelines.report.classes import CLASSES, FEW, JENKS, classify, natural_breaks
from pipelines.report.facts import Area as Row
from pipelines.report.facts import Facts, Stamp
from pipelines.report.geometry import LevelMap, list_map, read_maps
from pipelines.report.numbers import figure
from pipelines.report.site import Renderer
from tests.conftest import ROOT, run_night
from tests.test_history import NOW
from tests.town import deliver, district, town

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False) | st.integers(-300, 300).map(lambda n: n / 20)
IDS = [f"99999000-BZ-{number}" for number in (1, 2, 3)]
AREAS = [Area(area_id, f"Bezirk {n}", "bezirk", str(n), None, None, n) for n, area_id in enumerate(IDS, 1)]


# ---------------------------------------------------------------- classes


def number(text: str) -> Decimal:
    """A printed German number, read as a person would."""
    return Decimal(text.replace("\u202f", "").replace("\u2212", "-").replace(",", "."))


def holds(text: str, value: Decimal) -> bool:
    """Whether a reader of a class's text would put a printed figure into it."""
    found = re.fullmatch("(?:unter ([^ ]+)|([^ ]+) bis unter ([^ ]+)|([^ ]+) und mehr|alle Werte)", text)
    assert found, text
    below, low, high, least = (None if part is None else number(part) for part in found.groups())
    return (
        (below is None or value < below)
        and (low is None or value >= low)
        and (high is None or value < high)
        and (least is None or value >= least)
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=80), st.integers(0, 4))
def test_printed_figure_and_printed_bounds_lead_to_the_class_that_is_drawn(values: list[float], decimals: int) -> None:
    classes = classify(values, decimals)
    texts = classes.texts(marked=False)
    found = Counter()
    for value in values:
        printed = number(figure(value, decimals))
        assert [holds(text, printed) for text in texts] == [n == classes.of(value) for n in range(len(texts))]
        found[classes.of(value)] += 1
    assert len(texts) == classes.count <= CLASSES
    assert set(found) == set(range(classes.count))  # no class is empty over all years
    assert {number(t) for text in texts for t in re.findall(r"[−\d][\d,\u202f]*", text)} <= {
        number(figure(value, decimals)) for value in values
    }  # a bound is a figure that stands in the table


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-40, 60), min_size=6, max_size=14), st.integers(2, 5))
def test_natural_breaks_are_the_best_of_all_partitions(values: list[int], count: int) -> None:
    distinct = sorted(set(values))
    if len(distinct) < count:
        return

    def deviation(starts: tuple[int, ...]) -> Fraction:
        total = Fraction(0)
        for low, high in itertools.pairwise([distinct[0], *starts, distinct[-1] + 1]):
            members = [value for value in values if low <= value < high]
            mean = Fraction(sum(members), len(members))
            total += sum((value - mean) ** 2 for value in members)
        return total

    best = min(deviation(starts) for starts in itertools.combinations(distinct[1:], count - 1))
    assert deviation(tuple(natural_breaks(values, count))) == best


def test_natural_breaks_find_obvious_groups() -> None:
    values = [0.1, 0.2, 0.3, 10.0, 10.1, 20.0, 20.2, 30.0, 30.1, 40.0] * 3
    classes = classify(values, 1)
    assert classes.method == JENKS and len(values) >= FEW
    texts = ["unter 10,0", "10,0 bis unter 20,0", "20,0 bis unter 30,0", "30,0 bis unter 40,0", "40,0 und mehr"]
    assert classes.texts(marked=False) == texts


def test_few_values_are_parted_into_equally_many_and_equal_ones_stay_together() -> None:
    assert [classify(range(1, 9), 0).of(value) for value in range(1, 9)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert classify([5, 5, 5], 0).count == 1
    assert [classify([0] * 18 + [7], 0).of(value) for value in (0, 7)] == [0, 1]


def test_natural_breaks_of_ten_thousand_values_take_moments() -> None:
    values = [(n * 7919) % 99991 for n in range(10_000)]
    starts = natural_breaks(values, 5)
    assert starts == sorted(set(starts)) and len(starts) == 4


# ---------------------------------------------------------------- colours


def test_text_is_readable_on_every_colour_and_classes_differ_in_lightness() -> None:
    assert map_drawing.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert map_drawing.contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)  # known from WCAG tools
    for colours in (map_drawing.RATED, map_drawing.NEUTRAL):
        for count in range(1, 6):
            shades = map_drawing.ramp(count, colours)
            light = [map_drawing.luminance(colour) for colour in shades]
            assert len(set(shades)) == count and light == sorted(light, reverse=True)
    for paint in (*map_drawing.RATED, *map_drawing.NEUTRAL, map_drawing.PLAIN):
        assert map_drawing.contrast(map_drawing.ink(paint), paint) >= 4.5
    assert map_drawing.contrast(map_drawing.CASING, map_drawing.LINE) >= 3
    assert not set(map_drawing.RATED) & set(map_drawing.NEUTRAL)


# ---------------------------------------------------------------- outlines


def square(x: float, y: float, side: float = 1000) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def feature(area_id: Any, rings: Any, kind: str = "Polygon") -> dict[str, Any]:
    geometry = {"type": kind, "coordinates": rings}
    return {"type": "Feature", "properties": {"area_id": area_id}, "geometry": geometry}


def three(x: float = 573_000, y: float = 6_020_000, side: float = 1000) -> list[dict[str, Any]]:
    """Three squares side by side, from west to east."""
    return [feature(area_id, [square(x + n * side, y, side)]) for n, area_id in enumerate(IDS)]


def collection(features: Any, **more: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": features, **more}


def crs(name: str) -> dict[str, Any]:
    return {"crs": {"type": "name", "properties": {"name": name}}}


def read(folder: Path, content: Any, name: str = "bezirk.geojson") -> tuple[LevelMap | None, list[str]]:
    """The map of the districts, and the problems, after a file was dropped in."""
    place = folder / "geometry" / name
    place.parent.mkdir(exist_ok=True)
    if isinstance(content, bytes):
        place.write_bytes(content)
    else:
        place.write_text(json.dumps(content, indent=1), encoding="utf-8")
    found, problems = read_maps(AREAS, folder / "tiles.csv", place.parent, folder)
    return found.get("bezirk"), [str(problem) for problem in problems]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_outlines_keep_their_place_and_share_their_boundaries(tmp_path: Path) -> None:
    drawn, problems = read(tmp_path, collection(three()))
    assert drawn and not problems and drawn.kind == "outlines"
    west, middle, east = (points(drawn.shapes[area_id].path) for area_id in IDS)
    assert max(x for x, _ in west) == min(x for x, _ in middle) < max(x for x, _ in middle) == min(x for x, _ in east)
    assert drawn.width == pytest.approx(3 * drawn.height, rel=0.02)


def test_north_is_up(tmp_path: Path) -> None:
    north, south = feature(IDS[0], [square(573_000, 6_021_000)]), feature(IDS[1], [square(573_000, 6_020_000)])
    drawn, _ = read(tmp_path, collection([north, south, feature(IDS[2], [square(573_000, 6_019_000)])]))
    assert drawn and [drawn.shapes[i].y for i in IDS] == sorted(drawn.shapes[i].y for i in IDS)


@pytest.mark.parametrize("more", [{}, crs("urn:ogc:def:crs:OGC:1.3:CRS84"), crs("EPSG:4326")])
def test_degrees_are_drawn_in_their_true_proportions(tmp_path: Path, more: dict[str, Any]) -> None:
    # At 54° north a degree of longitude measures 65.578 km, one of latitude 111.296 km.
    wide, high = 3 / 65.578, 3 / 111.296
    rings = [
        [[10 + n * wide, 54], [10 + (n + 1) * wide, 54], [10 + (n + 1) * wide, 54 + high], [10 + n * wide, 54 + high]]
        for n in range(3)
    ]
    features = [feature(area_id, [[*ring, ring[0]]]) for area_id, ring in zip(IDS, rings, strict=True)]
    drawn, problems = read(tmp_path, collection(features, **more))
    assert drawn and not problems
    assert (drawn.width - 4) / (drawn.height - 4) == pytest.approx(3, rel=0.01)


def test_parts_of_an_area_and_ids_of_features_are_put_together(tmp_path: Path) -> None:
    features = three()
    features.append(feature(IDS[0], [[square(573_000, 6_030_000)]], "MultiPolygon"))
    features[1] = {"type": "Feature", "id": IDS[1], "properties": None, "geometry": features[1]["geometry"]}
    drawn, problems = read(tmp_path, collection(features, **crs("urn:ogc:def:crs:EPSG::25832")))
    assert drawn and not problems
    assert drawn.shapes[IDS[0]].path.count("M") == 2


def test_a_detailed_file_gives_a_small_picture(tmp_path: Path) -> None:
    import shapely

    fine = [
        feature(
            f["properties"]["area_id"],
            shapely.geometry.mapping(shapely.segmentize(shapely.geometry.shape(f["geometry"]), 0.5))["coordinates"],
        )
        for f in three()
    ]
    drawn, problems = read(tmp_path, collection(fine))
    assert drawn and not problems
    assert (tmp_path / "geometry/bezirk.geojson").stat().st_size > 500_000
    assert sum(len(shape.path) + len(shape.coarse) for shape in drawn.shapes.values()) < 1000


def mercator() -> list[dict[str, Any]]:
    return three(1_128_000, 7_220_000)


def swapped() -> list[dict[str, Any]]:
    return [
        feature(i, [[[54 + n / 50, 10], [54 + n / 50, 10.02], [54 + (n + 1) / 50, 10.02], [54 + n / 50, 10]]])
        for n, i in enumerate(IDS)
    ]


BOWTIE = [[573_000, 6_020_000], [574_000, 6_021_000], [574_000, 6_020_000], [573_000, 6_021_000], [573_000, 6_020_000]]
BAD: dict[str, tuple[Any, str]] = {
    "empty": (b"", r"geometry/bezirk.geojson:1: die Datei ist leer"),
    "other encoding": ('{\n"type": "Größe"}'.encode("latin-1"), r":2: nicht in UTF-8"),
    "no JSON": (b'{\n "type":\n  oops}', r":3: kein g.ltiges JSON"),
    "bottomless": (b"[" * 200_000, r"nicht lesbar|kein g.ltiges JSON"),
    "a list": ([], r"FeatureCollection"),
    "one feature": (three()[0], r"FeatureCollection"),
    "no features": (collection([]), r"FeatureCollection"),
    "features null": (collection(None), r"FeatureCollection"),
    "odd feature": (collection([*three(), 7]), r"Fl.che 4 nennt kein Gebiet"),
    "no key": (collection([*three(), {"type": "Feature", "properties": {"name": "x"}, "geometry": None}]), r"area_id"),
    "geometry null": (
        collection([*three()[:2], {"type": "Feature", "properties": {"area_id": IDS[2]}, "geometry": None}]),
        r"Bezirk 3 \(99999000-BZ-3\): erwartet eine Fl.che",
    ),
    "a point": (collection([*three()[:2], feature(IDS[2], [1, 2], "Point")]), r"hier steht Point"),
    "no numbers": (collection([*three()[:2], feature(IDS[2], [[["a", "b"]] * 4])]), r"nicht lesbar"),
    "infinite": (
        b'{"type":"FeatureCollection","features":['
        + json.dumps(three()[0]).replace("573000", "1e999").encode()
        + b"]}",
        r"BZ",
    ),
    "open ring": (collection([*three()[:2], feature(IDS[2], [square(575_000, 6_020_000)[:4]])]), r"Bezirk 3"),
    "two points": (collection([*three()[:2], feature(IDS[2], [square(575_000, 6_020_000)[:2]])]), r"Bezirk 3"),
    "no rings": (collection([*three()[:2], feature(IDS[2], [])]), r"Bezirk 3.*leer"),
    "crossing itself": (
        collection([*three()[1:], feature(IDS[0], [BOWTIE])]),
        r"schneidet sich selbst bei 573500 / 6020500",
    ),
    "lying upon each other": (
        collection([*three()[:2], feature(IDS[2], [square(574_500, 6_020_000)])]),
        r"decken sich auf 50,0 ha",
    ),
    "an area missing": (collection(three()[:2]), r"es fehlt 99999000-BZ-3"),
    "unknown area": (
        collection([*three()[:2], feature("99999000-BZ-33", [square(0, 0)])]),
        r":\d\d+: .*meinten Sie »99999000-BZ-3«",
    ),
    "swapped": (collection(swapped()), r"vertauscht"),
    "elsewhere": (collection(three(100, 20, 0.1)), r"nicht in Deutschland"),
    "web mercator": (collection(mercator()), r"passen weder zu EPSG:25832 noch zu WGS 84"),
    "web mercator, told": (collection(three(), **crs("EPSG:3857")), r"Koordinatensystem »EPSG:3857«"),
    "metres told as degrees": (collection(three(), **crs("EPSG:4326")), r"passen weder"),
    "degrees told as metres": (collection(three(10, 54, 0.01), **crs("EPSG:25832")), r"passen weder"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_explained_and_never_drawn(tmp_path: Path, case: str) -> None:
    content, expected = BAD[case]
    drawn, problems = read(tmp_path, content)
    assert drawn is None
    assert any(re.search(expected, problem) for problem in problems), problems
    assert all(problem.startswith("geometry/bezirk.geojson:") for problem in problems)


def test_slivers_between_neighbours_are_let_through(tmp_path: Path) -> None:
    features = three()
    features[2] = feature(IDS[2], [square(574_999, 6_020_000)])  # 0.1 % of the neighbour
    drawn, problems = read(tmp_path, collection(features))
    assert drawn and not problems


def test_names_and_sizes_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, problems = read(tmp_path, collection(three()), "bezrik.geojson")
    assert ["meinten Sie »bezirk.geojson«" in problem for problem in problems] == [True]
    (tmp_path / "geometry/bezrik.geojson").unlink()
    monkeypatch.setattr(geometry, "LARGEST_FILE", 100)
    assert any("größer als" in problem for problem in read(tmp_path, collection(three()))[1])


def test_areas_that_followed_each_other_may_lie_in_the_same_place(tmp_path: Path) -> None:
    old = Area(IDS[2], "alt", "bezirk", "", None, dt.date(2020, 12, 31), 3)
    new = Area("99999000-BZ-3@2021", "neu", "bezirk", "", dt.date(2021, 1, 1), None, 4)
    place = tmp_path / "geometry"
    place.mkdir()
    for third in (three()[2:], []):  # with and without the outline of the area that is no more
        both = [*three()[:2], *third, feature(new.area_id, [square(575_000, 6_020_000)])]
        (place / "bezirk.geojson").write_text(json.dumps(collection(both)), encoding="utf-8")
        found, problems = read_maps([*AREAS[:2], old, new], tmp_path / "tiles.csv", place, tmp_path)
        assert not problems and len(found["bezirk"].shapes) == len(both)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.sampled_from([*IDS, "Polygon", 573_000.0]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "coordinates", "area_id", "properties", "geometry", "id"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_file_whatever_leads_to_a_traceback(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """One part of a good file is replaced by something arbitrary: a map or a problem comes out of it."""
    content = collection(three(), **crs("EPSG:25832"))
    first = content["features"][0]
    holder, key = data.draw(
        st.sampled_from(
            [
                (content, "type"),
                (content, "features"),
                (content, "crs"),
                (content["crs"], "properties"),
                (content["crs"]["properties"], "name"),
                (content["features"], 0),
                (first, "properties"),
                (first, "geometry"),
                (first["properties"], "area_id"),
                (first["geometry"], "type"),
                (first["geometry"], "coordinates"),
                (first["geometry"]["coordinates"], 0),
                (first["geometry"]["coordinates"][0], 1),
                (first["geometry"]["coordinates"][0][1], 0),
            ]
        )
    )
    holder[key] = data.draw(JSON)  # type: ignore[index]
    drawn, problems = read(tmp_path_factory.mktemp("karte"), json.dumps(content).encode())
    assert (drawn is None) == bool(problems)


# ---------------------------------------------------------------- tiles


def tiles(folder: Path, rows: str) -> tuple[dict[str, LevelMap], list[str]]:
    path = folder / "tiles.csv"
    path.write_text(rows, encoding="utf-8")
    found, problems = read_maps(AREAS, path, folder / "geometry", folder)
    return found, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("area,column,row\n", r"tiles.csv:1: Kopfzeile"),
        (
            f"area_id,column,row\n{IDS[0]},1,1\n{IDS[1]},1,1\n{IDS[2]},2,1\n",
            r":3: die Kachel 1, 1 der Ebene steht schon in Zeile 2",
        ),
        (f"area_id,column,row\n{IDS[0]},1,1\n{IDS[0]},2,1\n", r":3: area_id .* steht schon in Zeile 2"),
        (f"area_id,column,row\n{IDS[0]},1,1\n{IDS[1]},2,1\n", r"Ebene bezirk: es fehlt 99999000-BZ-3"),
        (f"area_id,column,row\n{IDS[0]},0,1\n", r":2: Spalte und Zeile »0«, »1«"),
        (f"area_id,column,row\n{IDS[0]},x,²\n", r":2: Spalte und Zeile"),
        (f"area_id,column,row\n{IDS[0]},1,9999\n", r"von 1 bis 200"),
        ("area_id,column,row\n99999000-BZ-22,1,1\n", r":2: .*meinten Sie »99999000-BZ-2«"),
    ],
)
def test_bad_tiles_are_explained(tmp_path: Path, rows: str, expected: str) -> None:
    found, problems = tiles(tmp_path, rows)
    assert not found
    assert any(re.search(expected, problem) for problem in problems), problems


def test_tiles_stand_where_they_were_put_and_a_list_says_so(tmp_path: Path) -> None:
    found, problems = tiles(tmp_path, f"area_id,column,row\n{IDS[0]},3,2\n{IDS[1]},4,2\n{IDS[2]},3,5\n")
    shapes = found["bezirk"].shapes
    assert not problems and found["bezirk"].kind == "tiles"
    assert shapes[IDS[0]].y == shapes[IDS[1]].y < shapes[IDS[2]].y
    assert shapes[IDS[0]].x == shapes[IDS[2]].x < shapes[IDS[1]].x
    assert list_map(IDS).kind == "list"


def test_kiels_tiles_lie_roughly_where_the_districts_lie() -> None:
    found = load_project(ROOT).maps
    areas = load_project(ROOT).directory.areas
    for level, drawn in found.items():
        assert set(drawn.shapes) == {area.area_id for area in areas.values() if area.level == level}
    place = {areas[i].name: shape for i, shape in found["stadtteil"].shapes.items()}
    east = ["Gaarden-Ost", "Ellerbek", "Wellingdorf", "Neumühlen-Dietrichsdorf", "Elmschenhagen"]
    west = ["Altstadt", "Vorstadt", "Brunswik", "Düsternbrook", "Wik", "Holtenau", "Friedrichsort", "Schilksee"]
    assert max(place[name].x for name in west) < min(place[name].x for name in east)
    assert max(place[n].y for n in ("Schilksee", "Pries", "Friedrichsort", "Holtenau")) < place["Wik"].y
    assert min(place[n].y for n in ("Meimersdorf", "Moorsee", "Wellsee", "Rönne")) > place["Vorstadt"].y
    assert max(place[n].x for n in ("Mettenhof", "Hasseldieksdamm", "Russee")) < place["Südfriedhof"].x


# ---------------------------------------------------------------- as part of a project


def test_outlines_are_checked_with_the_project_and_wake_the_gate(project: Path) -> None:
    before = take_fingerprint(Paths.of(project))
    place = project / "assets/areas/geometry"
    place.mkdir()
    (place / "bezirk.geojson").write_text(json.dumps(collection(three())), encoding="utf-8")
    assert load_project(project).maps["bezirk"].kind == "outlines"
    after = take_fingerprint(Paths.of(project))
    assert [part for part in before if before[part] != after[part]] == ["Beschreibung (assets)"]
    (place / "bezirk.geojson").write_text(json.dumps(collection(three()[:2])), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"assets/areas/geometry/bezirk.geojson:1: es fehlt 99999000-BZ-3"):
        load_project(project)


@pytest.mark.parametrize(("key", "expected"), [("tiles", "die Datei »x.csv«"), ("geometry", "den Ordner »x.csv«")])
def test_what_the_yaml_names_must_be_there(project: Path, key: str, expected: str) -> None:
    path = project / "assets/areas/defs.yaml"
    path.write_text(path.read_text(encoding="utf-8").rstrip() + f"\n  {key}: x.csv\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"»{key}«: {expected} gibt es neben dieser Datei nicht"):
        load_project(project)


def test_a_project_without_outlines_does_not_load_the_library(project: Path) -> None:
    code = "from pipelines.project import load_project; load_project(sys.argv[1]); print('shapely' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; {code}", str(project)], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"


# ---------------------------------------------------------------- pages


CLASS_ROWS = [
    ("status", "hoch", "hoher Status", 1, None, False, -1.0, False),
    ("status", "mittel", "mittlerer Status", 2, -1.0, True, 1.5, True),
    ("status", "niedrig", "niedriger Status", 3, 1.5, False, None, False),
    ("dynamics", "stabil", "stabile Dynamik", 1, None, False, 1.0, True),
    ("dynamics", "negativ", "negative Dynamik", 2, 1.0, False, None, False),
]
INDEX = {  # number of the district -> index, class, dynamics, stability, one case, reason
    1: (-1.2, "hoch", "stabil", 0.99, False, None),
    2: (0.25, "mittel", "negativ", 0.55, False, None),
    3: (1.6, "niedrig", "stabil", 0.97, True, None),
    4: (None, None, None, None, None, "confidential"),
    5: (0.5, "mittel", None, 0.9, False, None),
    6: (None, None, None, None, None, "below_minimum"),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """Public file of a constructed town after two years, with a constructed index; pages of the map room by path."""
    folder = town(tmp_path_factory.mktemp("karten") / "stadt")
    deliver(folder)
    deliver(folder, women=[1, 2, 15, 9, 31, 8], men=[1, 6, 2, 11, 25, 9], day="31.12.2023", name="neu.csv")
    run_night(folder, NOW)
    file = folder / "oeffentlich.duckdb"
    file.write_bytes((folder / "data/warehouse/sozialraum.duckdb").read_bytes())
    write_index(file)
    facts = Facts.read(file, Models(load_project(folder)).declared(), Stamp("x", NOW))
    with Cache(folder / "seiten.sqlite") as cache:
        renderer = Renderer(facts, cache)
        made = [page for make in (maps.pages, index_pages.pages) for page in make(facts)]
        yield file, {page.path: text for page, text in renderer.texts(list(made))}
    facts.close()


def write_index(file: Path) -> None:
    with duckdb.connect(str(file)) as con:
        con.execute(
            "INSERT INTO mart.index_definition BY NAME SELECT 'lage' AS index_id, 'Lage' AS title_de, 'Was er misst.' "
            "AS definition_de, 'bezirk' AS universe_level, 2 AS dynamics_years, 'computed' AS dynamics_from, "
            "'team:planung' AS owner, 1 AS sort_key, 'einwohner' AS minimum_measure, 300.0 AS minimum_value"
        )
        con.execute(
            "INSERT INTO mart.index_indicator BY NAME SELECT 'lage' AS index_id, 'hilfenanteil' AS indicator_id, "
            "1.0 AS weight, 1 AS sort_key"
        )
        names = "index_id, dimension, class_id, title_de, sort_key, above, above_included, upper, upper_included"
        for row in CLASS_ROWS:
            con.execute(f"INSERT INTO mart.index_class ({names}) VALUES ('lage', ?, ?, ?, ?, ?, ?, ?, ?)", row)
        fixed = "index_id, area_id, reference_date, area_level, period, universe_n, origin"
        names = "status_index, status_class, dynamics_class, class_stability, one_case_flips, reason"
        for n, row in INDEX.items():
            con.execute(
                f"INSERT INTO mart.social_index ({fixed}, {names}) "
                "VALUES ('lage', ?, DATE '2023-12-31', 'bezirk', '2023-12-31', 12, 'open_data', ?, ?, ?, ?, ?, ?)",
                [district(n), *row],
            )


def plain(text: str) -> str:
    return html.unescape(re.sub(r"\s+", " ", Markup(text).striptags()))


def cells(table: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    return [[plain(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)] for row in rows]


def test_a_map_per_level_with_three_areas_and_a_list(pages: tuple[Path, dict[str, str]]) -> None:
    assert set(pages[1]) == {"karten/hilfenanteil-bezirk.html", "karten/index.html", "index/lage.html"}
    assert 'href="../karten/hilfenanteil-bezirk.html"' in pages[1]["karten/index.html"]
    assert "Schematisch, keine amtliche Karte: Die Kacheln stehen in der Reihenfolge" in pages[1]["karten/index.html"]


def test_every_figure_of_a_map_is_the_one_of_the_mart(pages: tuple[Path, dict[str, str]]) -> None:
    file, made = pages
    with duckdb.connect(str(file), read_only=True) as con:
        rows = con.execute(
            "SELECT area_id, period, value FROM mart.indicator_value WHERE area_level = 'bezirk'"
        ).fetchall()
    known = {f"hilfenanteil/{area}#{period}": value for area, period, value in rows}
    text = made["karten/hilfenanteil-bezirk.html"]
    drawn = re.findall(r'<(?:tspan|text)[^>]*data-k="([^"]+)"[^>]*>([^<]*)<', text)
    withheld = {key for key, shown in drawn if not re.search(r"\d", shown)}
    assert {key for key, _ in drawn} - withheld == {key for key, value in known.items() if value is not None}
    assert withheld and all(known[key] is None for key in withheld)
    for key, shown in (pair for pair in drawn if pair[0] not in withheld):
        expected = Decimal(repr(known[key])).quantize(Decimal("0.1"), ROUND_HALF_UP)
        assert number(shown.removesuffix("\u202f%")) == expected, key


def test_table_legend_and_picture_of_a_map_agree(pages: tuple[Path, dict[str, str]]) -> None:
    text = pages[1]["karten/hilfenanteil-bezirk.html"]
    legend = [plain(entry) for entry in re.findall(r"<li>(<svg class=\"muster\".*?)</li>", text, re.S)]
    counts = Counter(
        {re.split(r" \(", entry)[0].removesuffix(" %"): int(re.search(r"\((\d+) Gebiet", entry)[1]) for entry in legend}
    )  # type: ignore[index]
    rows = cells(re.search(r"<tbody>(.*?)</tbody>", text, re.S)[1])  # type: ignore[index]
    assert len(rows) == 6 == sum(counts.values())
    told = Counter(re.split(r" \(", row[2])[0] for row in rows)
    assert told == Counter({key.replace(" %", ""): n for key, n in counts.items() if n})
    for _, value, shown in rows:
        if value[0].isdigit():
            assert holds(shown, number(value.split(" ")[0]))
        else:
            assert value == "g" and "geheim" in shown
    assert sum("Stadtwert" in entry for entry in legend) == 1
    assert any(row[1] == "g" for row in rows)  # the town has something withheld, so this is no empty promise
    svg = re.search(r"<div role=\"group\"[^>]*><svg.*?</svg>", text, re.S)[0]  # type: ignore[index]
    assert svg.count('<a href="../gebiete/') == 6
    assert svg.count("url(#k-hilfenanteil-bezirk-2023-12-31-geheim)") == sum(row[1] == "g" for row in rows)


def test_earlier_years_have_the_same_classes(pages: tuple[Path, dict[str, str]]) -> None:
    text = pages[1]["karten/hilfenanteil-bezirk.html"]
    small = re.findall(r"<figcaption>([^<]*)</figcaption><svg[^>]*role=\"img\" aria-label=\"([^\"]*)\"", text)
    assert [when for when, _ in small] == ["31.12.2022"]
    bounds = set(re.findall(r"(?:unter|bis unter) [\d,]+|[\d,]+ ?% und mehr", plain(text)))
    assert {b.strip() for b in re.findall(r"(?:unter|bis unter) [\d,]+", small[0][1])} <= bounds


def test_index_page_places_every_area_and_says_how_sure_its_class_is(pages: tuple[Path, dict[str, str]]) -> None:
    text = pages[1]["index/lage.html"]
    tables = [cells(table) for table in re.findall(r"<table.*?</table>", text, re.S)]
    matrix = {
        (row[0], column): cell for row in tables[0][1:] for column, cell in zip(tables[0][0][1:], row[1:], strict=True)
    }
    where = {key: cell for key, cell in matrix.items() if cell != "–"}
    assert where == {
        ("hoher Status", "stabile Dynamik"): "Bezirk 1",
        ("mittlerer Status", "negative Dynamik"): "Bezirk 2 (sehr unsicher)",
        ("mittlerer Status", "ohne Angabe zur Dynamik"): "Bezirk 5",
        ("niedriger Status", "stabile Dynamik"): "Bezirk 3 (ein Fall ändert sie)",
    }
    listed = {row[0]: row[1:] for row in tables[1][1:]}
    assert listed["Bezirk 1"][:3] == ["\u22121,20", "hoher Status", "sehr sicher (99 %)"]
    assert "ein einziger Fall" in listed["Bezirk 3"][2]
    assert listed["Bezirk 4"][1] == "nicht eingestuft: Ein Indikator ist geheim zu halten"
    assert listed["Bezirk 6"][1] == "nicht eingestuft: Das Gebiet ist zu klein"
    assert "4 von 6 Gebieten sind eingestuft" in plain(text)
    limits = re.findall(r"<li>(\w+ (?:Status|Dynamik)): (.*?)</li>", text)
    assert [plain(limit) for _, limit in limits[-5:]] == [
        "Index unter \u22121",
        "Index von \u22121 bis 1,5",
        "Index über 1,5",
        "Dynamik-Index bis 1",
        "Dynamik-Index über 1",
    ]


# ---------------------------------------------------------------- words in areas

LONG = [
    "Ravensberg/Brunswik/Düsternbrook",
    "Neumühlen-Dietrichsdorf/Oppendorf",
    "Hasseldieksdamm",
    "Donaudampfschifffahrtsgesellschaft",
    "Au",
]
INSIDE = """() => [...document.querySelectorAll('svg a')].flatMap(link => {
    const area = link.querySelector('path').getBBox();
    return [...link.querySelectorAll('text > tspan')].map(line => {
        const box = line.parentNode.getBBox(), wide = line.getComputedTextLength();
        const fits = wide <= area.width && box.y >= area.y - 1 && box.y + box.height <= area.y + area.height + 1;
        return fits ? null : link.textContent + ' ' + Math.round(wide) + ' > ' + Math.round(area.width);
    }).filter(Boolean);
})"""


@pytest.mark.browser
def test_words_stay_inside_their_areas(tmp_path: Path) -> None:
    """Measured by a browser: Kiel's tiles with the longest figures, long names, and outlines from small to large."""
    from tests.browser import browser

    project = load_project(ROOT)
    drawn = [
        (level_map, [project.directory.areas[i].name for i in level_map.shapes]) for level_map in project.maps.values()
    ]
    drawn.append((list_map([str(n) for n in range(len(LONG))]), LONG))
    sizes = itertools.accumulate([120, 240, 400, 700, 1500], initial=0)
    squares = [
        square(573_000 + x * 2, 6_020_000, side) for x, side in zip(sizes, [120, 240, 400, 700, 1500], strict=False)
    ]
    areas = [Area(f"{n}", name, "bezirk", "", None, None, n) for n, name in enumerate(LONG)]
    (tmp_path / "geometry").mkdir()
    content = collection([feature(f"{n}", [ring]) for n, ring in enumerate(squares)])
    (tmp_path / "geometry/bezirk.geojson").write_text(json.dumps(content), encoding="utf-8")
    outlines, problems = read_maps(areas, tmp_path / "tiles.csv", tmp_path / "geometry", tmp_path)
    assert not problems
    drawn.append((outlines["bezirk"], LONG))
    parts = []
    for level_map, names in drawn:
        told = [
            map_drawing.Cell(
                Row(i, name, "x", None, 0, None, None, None), "#eff3ff", "\u2212123\u202f456", 'data-f="value"', "k"
            )
            for i, name in zip(level_map.shapes, names, strict=True)
        ]
        parts.append(map_drawing.big_map(level_map, told, "Karte", "k", "", "{area_id}").svg())
    page = tmp_path / "karten.html"
    page.write_text(
        f'<!doctype html><html lang="de"><style>text {{ font-family: sans-serif }}</style>{"".join(parts)}',
        encoding="utf-8",
    )
    with browser() as running:
        tab = running.new_page()
        tab.goto(page.as_uri())
        assert tab.evaluate("document.querySelectorAll('svg a').length") == sum(len(names) for _, names in drawn)
        assert tab.evaluate(INSIDE) == []
