"""Where each area lies on a map: outlines from GeoJSON, else tiles placed by hand, else tiles in the order of the list.

Outlines and tiles belong to the project and are checked when it is loaded, like its YAML. Outlines are brought to the
size of the picture right away (half a pixel of detail), so that neither pages nor memory grow with the file.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines.areas import Area, read_rows
from pipelines.provenance.wording import number
from schemas.yaml_source import Problem, nearest

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

TILE_COLUMNS = ["area_id", "column", "row"]
TILE_WIDTH, TILE_HEIGHT, GAP = 124, 72, 4
LARGEST_TILE = 200
"""Columns and rows a tile map may have."""
WIDTH = 900
"""Of a map with outlines, in pixels; its height follows from the outlines, up to HIGHEST."""
HIGHEST = 1200
DETAIL, COARSE = 0.5, 2
"""Corners that change the picture by less than so many pixels are left out, in big and in small maps."""
MARGIN = 3
"""Pixels between words and the outline around them."""
LARGEST_FILE = 20 * 1024 * 1024
METRES = 111_320
"""Of a degree of latitude."""
GERMANY_DEGREES, GERMANY_METRES = (3, 45, 18, 57), (100_000, 5_100_000, 1_100_000, 6_200_000)
"""West, south, east, north with some room: longitude and latitude, EPSG:25832."""
SLIVER = 0.01
"""Overlap, as a part of the smaller area, up to which neighbours only are drawn inexactly."""
SIMPLER = "in QGIS: Vektor > Geometrie-Werkzeuge > Vereinfachen, dann als GeoJSON exportieren"
REPAIR = "in QGIS: Verarbeitungswerkzeuge > Geometrien reparieren"
EXPORT = "in QGIS: Exportieren > GeoJSON mit KBS EPSG:25832 oder EPSG:4326"
VALIDITY = {
    "Self-intersection": "die Grenze schneidet sich selbst",
    "Ring Self-intersection": "die Grenze berührt oder schneidet sich selbst",
    "Hole lies outside shell": "ein Loch liegt außerhalb der Fläche",
    "Holes are nested": "ein Loch liegt in einem anderen",
    "Interior is disconnected": "Löcher zerschneiden die Fläche",
    "Nested shells": "ein Teil der Fläche liegt in einem anderen",
    "Duplicate Rings": "ein Ring kommt doppelt vor",
    "Too few points": "ein Ring hat zu wenige Punkte",
}
Kind = Literal["outlines", "tiles", "list"]


@dataclass(frozen=True)
class Shape:
    """One area on a map: its outline as SVG path data, and the room for words around a point inside it.

    `coarse`: the outline with less detail, for small maps. `radius`: of the largest circle around the point that fits
    into the outline, less a margin; None for a tile.
    """

    path: str
    coarse: str
    x: float
    y: float
    radius: float | None = None

    def room(self, height: float) -> float:
        """How wide a text of this height may be without leaving the area; 0 where it is too high."""
        if self.radius is None:
            return TILE_WIDTH - 8 if height <= TILE_HEIGHT else 0
        return 2 * math.sqrt(max(self.radius**2 - (height / 2) ** 2, 0))


@dataclass(frozen=True)
class LevelMap:
    """All areas of a level in a frame of `width` x `height` pixels."""

    kind: Kind
    width: float
    height: float
    shapes: dict[str, Shape]


def tile_map(places: dict[str, tuple[int, int]], kind: Kind) -> LevelMap:
    """A map of tiles; `places` are column and row of each area, from wherever counted."""
    left, top = (min(place[axis] for place in places.values()) for axis in (0, 1))
    shapes = {}
    for area_id, (column, row) in places.items():
        x, y = (column - left) * (TILE_WIDTH + GAP) + GAP / 2, (row - top) * (TILE_HEIGHT + GAP) + GAP / 2
        path = f"M{x:g} {y:g}h{TILE_WIDTH}v{TILE_HEIGHT}h{-TILE_WIDTH}z"
        shapes[area_id] = Shape(path, path, x + TILE_WIDTH / 2, y + TILE_HEIGHT / 2)
    columns, rows = (max(place[axis] for place in places.values()) + 1 for axis in (0, 1))
    return LevelMap(kind, (columns - left) * (TILE_WIDTH + GAP), (rows - top) * (TILE_HEIGHT + GAP), shapes)


def list_map(area_ids: Sequence[str]) -> LevelMap:
    """Tiles in the order of the list: nothing about where areas lie."""
    columns = min(7, math.ceil(math.sqrt(len(area_ids)))) if len(area_ids) < 100 else 12
    return tile_map({area_id: (n % columns, n // columns) for n, area_id in enumerate(area_ids)}, "list")


# ---------------------------------------------------------------- what a project provides


def read_maps(
    areas: Iterable[Area], tiles: Path, folder: Path, root: Path
) -> tuple[dict[str, LevelMap], list[Problem]]:
    """Maps of all levels for which the project provides outlines or tiles.

    Args:
        areas: all areas of the project.
        tiles: CSV file with column and row of each tile; may be absent.
        folder: holds `<level>.geojson` for each level with outlines; may be absent.
        root: the project's folder, for the names of places.

    Returns:
        Maps by level, and problems with file and line; nothing is raised for bad content.
    """
    by_level: dict[str, dict[str, Area]] = defaultdict(dict)
    for area in areas:
        by_level[area.level][area.area_id] = area
    problems: list[Problem] = []
    maps = _read_tiles(by_level, tiles, root, problems) if tiles.exists() else {}
    for path in sorted(folder.glob("*")) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        reader = _Outlines(path.relative_to(root).as_posix(), by_level.get(path.stem, {}), problems)
        if path.suffix != ".geojson" or path.stem not in by_level:
            near = nearest(path.name, [f"{level}.geojson" for level in by_level])
            hint = f"meinten Sie »{near[0]}«?" if near else f"Ebenen sind: {', '.join(sorted(by_level))}"
            reader.say(f"wird nicht gelesen: erwartet wird <Ebene>.geojson; {hint}")
            continue
        outlines = reader.read(path)
        if outlines is not None:
            maps[path.stem] = outlines
    return maps, problems


def _read_tiles(
    by_level: dict[str, dict[str, Area]], path: Path, root: Path, problems: list[Problem]
) -> dict[str, LevelMap]:
    place = path.relative_to(root).as_posix()
    level_of = {area_id: level for level, areas in by_level.items() for area_id in areas}
    places: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    lines: dict[tuple[str, tuple[int, int]] | str, int] = {}
    before = len(problems)
    for line, row in read_rows(path, TILE_COLUMNS, root, problems):
        area_id, numbers = row["area_id"], (row["column"], row["row"])
        if area_id not in level_of:
            problems.append(
                Problem(place, line, f"area_id »{area_id}« steht nicht in der Gebietsliste{_near(area_id, level_of)}")
            )
        elif not all(n.isascii() and n.isdigit() and len(n) < 5 and 0 < int(n) <= LARGEST_TILE for n in numbers):
            text = f"Spalte und Zeile »{row['column']}«, »{row['row']}«: erwartet ganze Zahlen von 1 bis {LARGEST_TILE}"
            problems.append(Problem(place, line, text))
        else:
            level, cell = level_of[area_id], (int(numbers[0]), int(numbers[1]))
            for key, what in (
                (area_id, f"area_id »{area_id}«"),
                ((level, cell), f"die Kachel {cell[0]}, {cell[1]} der Ebene"),
            ):
                if key in lines:
                    problems.append(Problem(place, line, f"{what} steht schon in Zeile {lines[key]}"))
                lines[key] = line
            places[level][area_id] = cell
    for level, placed in places.items():
        missing = [area for area in by_level[level] if area not in placed]
        if missing:
            problems.append(
                Problem(place, 1, f"Ebene {level}: es {_missing(missing)}; alle Gebiete der Ebene nennen oder keines")
            )
    return {} if len(problems) > before else {level: tile_map(found, "tiles") for level, found in places.items()}


def _near(word: str, known: Iterable[str]) -> str:
    match = nearest(word, known)
    return f"; meinten Sie »{match[0]}«?" if match else ""


def _missing(areas: list[str]) -> str:
    more = f" und {len(areas) - 5} weitere" if len(areas) > 5 else ""
    return f"{'fehlt' if len(areas) == 1 else 'fehlen'} {', '.join(areas[:5])}{more}"


class _Outlines:
    """Reads the outlines of one level; everything wrong becomes a problem of this file."""

    def __init__(self, place: str, areas: dict[str, Area], problems: list[Problem]) -> None:
        """Name the file as problems shall name it, and the areas of its level."""
        self.place = place
        self.areas = areas
        self.problems = problems
        self.text = ""

    def say(self, message: str, anchor: str = "") -> None:
        """Note a problem, at the line where some text of the file first stands."""
        position = max(self.text.find(anchor), 0) if anchor else 0
        self.problems.append(Problem(self.place, self.text.count("\n", 0, position) + 1, message))

    def read(self, path: Path) -> LevelMap | None:
        """The map, or None where anything is wrong."""
        before = len(self.problems)
        document = self._document(path)
        if document is None:
            return None
        from shapely.errors import ShapelyError

        projection = self._projection(document.get("crs"))
        parts = self._parts(document["features"])
        try:
            shapes = self._polygons(parts) if len(self.problems) == before else {}
            shapes = self._projected(shapes, projection) if len(self.problems) == before else {}
            if len(self.problems) == before:
                self._check_together(shapes)
            return _drawn(shapes) if len(self.problems) == before else None
        except ShapelyError as error:  # sound by itself, but too odd to calculate with
            self.say(f"mit den Flächen lässt sich nicht rechnen ({type(error).__name__}); {SIMPLER}")
            return None

    def _document(self, path: Path) -> dict[str, Any] | None:
        try:
            if path.stat().st_size > LARGEST_FILE:
                limit = LARGEST_FILE // 1024**2
                self.say(f"die Datei ist größer als {limit} MB; für eine Karte genügt weniger ({SIMPLER})")
                return None
            self.text = path.read_text(encoding="utf-8-sig")
            document = json.loads(self.text)
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            self.problems.append(
                Problem(self.place, line, "nicht in UTF-8 gespeichert (die erste Stelle ist in dieser Zeile)")
            )
            return None
        except json.JSONDecodeError as error:
            text = (
                "die Datei ist leer"
                if not self.text.strip()
                else "kein gültiges JSON ab dieser Zeile; die Datei neu exportieren"
            )
            self.problems.append(Problem(self.place, error.lineno, text))
            return None
        except (OSError, ValueError, RecursionError) as error:
            self.say(f"nicht lesbar ({type(error).__name__}); die Datei neu exportieren")
            return None
        features = document.get("features") if isinstance(document, dict) else None
        if not isinstance(features, list) or not features or document.get("type") != "FeatureCollection":
            self.say(f"keine Sammlung von Flächen (FeatureCollection mit features); {EXPORT}")
            return None
        return document

    def _projection(self, crs: Any) -> str | None:
        """`EPSG:25832` or `WGS84` as the file says, None if it says nothing."""
        if crs is None:
            return None
        name = (
            str(crs.get("properties", {}).get("name", ""))
            if isinstance(crs, dict) and isinstance(crs.get("properties"), dict)
            else ""
        )
        if name.endswith("25832"):
            return "EPSG:25832"
        if name.endswith(("CRS84", ":4326")):
            return "WGS84"
        self.say(f"Koordinatensystem »{name[:60]}« wird nicht gelesen; {EXPORT}", '"crs"')
        return None

    def _parts(self, features: list[Any]) -> dict[str, list[dict[str, Any]]]:
        """Geometry of each area as it stands in the file; an area may come in several parts."""
        before = len(self.problems)
        parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for position, entry in enumerate(features, 1):
            feature = entry if isinstance(entry, dict) else {}
            properties, geometry = feature.get("properties"), feature.get("geometry")
            key = (properties.get("area_id") if isinstance(properties, dict) else None) or feature.get("id")
            if not isinstance(key, str) or not key:
                self.say(f"Fläche {position} nennt kein Gebiet; erwartet die Eigenschaft area_id (oder id) als Text")
            elif key not in self.areas:
                self.say(
                    f"Fläche {position}: area_id »{key[:60]}« gehört nicht zu dieser Ebene{_near(key, self.areas)}",
                    f'"{key}"',
                )
            elif not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
                kind = geometry.get("type") if isinstance(geometry, dict) else None
                found = f"{str(kind)[:30]}" if kind else "nichts"
                self.say(
                    f"{self._named(key)}: erwartet eine Fläche (Polygon oder MultiPolygon), hier steht {found}",
                    f'"{key}"',
                )
            else:
                parts[key].append(geometry)
        missing = [area.area_id for area in self.areas.values() if area.area_id not in parts and area.valid_to is None]
        if missing and len(self.problems) == before:
            self.say(f"es {_missing(missing)}; jedes Gebiet der Ebene braucht eine Fläche, Schlüssel ist area_id")
        return parts

    def _named(self, area_id: str) -> str:
        return f"{self.areas[area_id].name} ({area_id})"

    def _polygons(self, parts: dict[str, list[dict[str, Any]]]) -> dict[str, BaseGeometry]:
        import shapely

        shapes = {}
        for area_id, geometries in parts.items():
            try:
                pieces = [shapely.force_2d(shapely.from_geojson(json.dumps(geometry))) for geometry in geometries]
            except (shapely.errors.ShapelyError, ValueError, TypeError):
                self.say(f"{self._named(area_id)}: die Punkte der Fläche sind nicht lesbar; {EXPORT}", f'"{area_id}"')
                continue
            for piece in pieces:
                self._check(area_id, piece)
            if all(piece.is_valid and not piece.is_empty for piece in pieces):
                shapes[area_id] = shapely.union_all(pieces)
        return shapes

    def _check(self, area_id: str, piece: BaseGeometry) -> None:
        import shapely

        if not piece.is_valid:
            reason, _, where = shapely.is_valid_reason(piece).partition("[")
            words = VALIDITY.get(reason.strip(), "die Grenze ist nicht gültig")
            at = f" bei {where.rstrip(']').replace(' ', ' / ')}" if where else ""
            self.say(f"{self._named(area_id)}: {words}{at} ({REPAIR})", f'"{area_id}"')
        elif not shapely.area(piece) > 0:
            self.say(f"{self._named(area_id)}: die Fläche ist leer", f'"{area_id}"')

    def _projected(self, shapes: dict[str, BaseGeometry], projection: str | None) -> dict[str, BaseGeometry]:
        """Outlines in metres."""
        import shapely

        bounds = west, south, east, north = tuple(shapely.total_bounds(list(shapes.values())))
        if _within(bounds, (-180, -180, 180, 180)) and projection != "EPSG:25832":
            if _within((south, west, north, east), GERMANY_DEGREES):
                self.say(f"Länge und Breite sind vertauscht: erwartet wird zuerst die Länge (etwa 10); {EXPORT}")
            elif not _within(bounds, GERMANY_DEGREES):
                where = f"Länge {west:.1f} bis {east:.1f}, Breite {south:.1f} bis {north:.1f}"
                self.say(f"die Flächen liegen nicht in Deutschland ({where}); {EXPORT}")
            scale = METRES * math.cos(math.radians((south + north) / 2)), METRES
            return {key: shapely.transform(shape, lambda points: points * scale) for key, shape in shapes.items()}
        if projection == "WGS84" or not _within(bounds, GERMANY_METRES):
            text = f"x {west:.0f} bis {east:.0f}, y {south:.0f} bis {north:.0f}"
            self.say(f"die Koordinaten ({text}) passen weder zu EPSG:25832 noch zu WGS 84; {EXPORT}")
        return shapes

    def _check_together(self, shapes: dict[str, BaseGeometry]) -> None:
        """Areas that exist at the same time must not lie upon each other."""
        import shapely

        keys, outlines = list(shapes), list(shapes.values())
        for one, other in shapely.STRtree(outlines).query(outlines, predicate="intersects").T:
            if one >= other or not _together(self.areas[keys[one]], self.areas[keys[other]]):
                continue
            common = outlines[one].intersection(outlines[other]).area
            if common > SLIVER * min(outlines[one].area, outlines[other].area):
                size = number(common / 10_000, 1)
                text = f"{self._named(keys[one])} und {self._named(keys[other])} überdecken sich auf {size} ha"
                self.say(f"{text}; die Grenze bereinigen", f'"{keys[other]}"')


def _within(bounds: tuple[float, ...], box: tuple[float, ...]) -> bool:
    """Whether west, south, east and north lie in those of a box."""
    return all(low >= edge for low, edge in zip(bounds[:2], box[:2], strict=True)) and all(
        high <= edge for high, edge in zip(bounds[2:], box[2:], strict=True)
    )


def _together(one: Area, other: Area) -> bool:
    """Whether two areas exist on some day both."""
    return not (
        (one.valid_to and other.valid_from and one.valid_to < other.valid_from)
        or (other.valid_to and one.valid_from and other.valid_to < one.valid_from)
    )


def _drawn(shapes: dict[str, BaseGeometry]) -> LevelMap:
    """Outlines in pixels, with no more corners than can be seen."""
    import shapely

    west, south, east, north = shapely.total_bounds(list(shapes.values()))
    scale = min((WIDTH - 4) / (east - west), (HIGHEST - 4) / (north - south))
    pixels = [
        shapely.transform(shape, lambda points: (points - (west, north)) * (scale, -scale) + 2)
        for shape in shapes.values()
    ]
    drawn = {}
    fine, coarse = _simplified(pixels, DETAIL), _simplified(pixels, COARSE)
    for area_id, outline, small in zip(shapes, fine, coarse, strict=True):
        circle = shapely.maximum_inscribed_circle(outline, tolerance=1)
        (x, y), radius = circle.coords[0], max(circle.length - MARGIN, 0)
        drawn[area_id] = Shape(_path(outline, 1), _path(small, 0), round(x, 1), round(y, 1), round(radius, 1))
    return LevelMap("outlines", math.ceil((east - west) * scale + 4), math.ceil((north - south) * scale + 4), drawn)


def _simplified(outlines: list[BaseGeometry], detail: float) -> list[BaseGeometry]:
    """Outlines with fewer corners; common boundaries stay common where they are."""
    import shapely

    if shapely.coverage_is_valid(outlines):
        return list(shapely.coverage_simplify(outlines, detail))
    return list(shapely.simplify(outlines, detail))


def _path(outline: Any, places: int) -> str:
    """SVG path data of a polygon with its holes."""
    rings = [ring for part in getattr(outline, "geoms", [outline]) for ring in (part.exterior, *part.interiors)]
    return "".join(
        "M" + "L".join(f"{x:.{places}f} {y:.{places}f}" for x, y in ring.coords[:-1]) + "z" for ring in rings
    )
