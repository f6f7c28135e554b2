"""Draws maps by hand as SVG: an area each with its outline, its name and what is told about it, beside the colour.

Colours are ColorBrewer's single-hue ramps "Oranges" and "Blues" (safe for colour-blind readers); the text on each is
black or white, whichever is easier to read. What has no class has a pattern instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from pipelines.report.drawing import Picture
from pipelines.report.facts import Area
from pipelines.report.geometry import TILE_HEIGHT, TILE_WIDTH, LevelMap, Shape

RATED = ("#feedde", "#fdbe85", "#fd8d3c", "#e6550d", "#a63603")
NEUTRAL = ("#eff3ff", "#bdd7e7", "#6baed6", "#3182bd", "#08519c")
_SHARES = {1: (2,), 2: (1, 3), 3: (0, 2, 4), 4: (0, 1, 3, 4), 5: (0, 1, 2, 3, 4)}
CASING, LINE = "#ffffff", "#333333"
"""Each outline is a dark line in a white one: one of the two stands out from any fill."""
WITHHELD, MISSING, UNCLASSED = "geheim", "fehlt", "ohne"
PATTERNS = {
    WITHHELD: '<pattern id="{id}" width="8" height="8" patternUnits="userSpaceOnUse" '
    'patternTransform="scale({scale}) rotate(45)"><rect width="8" height="8" fill="#fff"/>'
    '<path d="M2 0V8" stroke="#8a8a8a" stroke-width="2"/></pattern>',
    MISSING: '<pattern id="{id}" width="8" height="8" patternUnits="userSpaceOnUse" '
    'patternTransform="scale({scale})"><rect width="8" height="8" fill="#fff"/>'
    '<circle cx="4" cy="4" r="1.6" fill="#8a8a8a"/></pattern>',
}
PLAIN = "#e4e4e4"
"""Fill of an area whose figure makes no sense, so that it has neither class nor pattern."""
SIZES = (13, 12, 11, 10, 9)
"""Font sizes in pixels, the first that fits is taken."""
VALUES_SHOWN = 60
"""Up to so many areas a small map has its values written in."""
_NARROW, _WIDE = set("ijlftrI.,:;'|-/() \u202f\u00a0"), set("mwMWÄÖÜOQG%")


@dataclass(frozen=True)
class Cell:
    """What a map tells about one area.

    `paint` is a colour or the name of a pattern, `text` the figure or class, `attributes` what marks it for whoever
    compares figures with the tables, `mark` the signs behind it.
    """

    area: Area
    paint: str
    text: str
    attributes: str = ""
    mark: str = ""


def ramp(count: int, colours: Sequence[str]) -> list[str]:
    """As many colours as there are classes, light first; at most five."""
    return [colours[at] for at in _SHARES[count]]


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.1)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.1), 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def ink(paint: str) -> str:
    """Colour of text on a fill."""
    if not paint.startswith("#"):
        return "#000000"
    return max("#000000", "#ffffff", key=lambda colour: contrast(colour, paint))


def big_map(level_map: LevelMap, cells: Sequence[Cell], label: str, name: str, root: str, link: str) -> Picture:
    """A map whose areas are links, each with its name and what is told about it as visible text.

    Args:
        level_map: where the areas lie; those without a place are left out.
        cells: what is told, in the order in which the keyboard walks through the areas.
        label: sentence that names the map.
        name: part of the ids in the drawing; differs from map to map of a page.
        root: leads from the page to the folder of the report.
        link: address of an area's page with `{area_id}` in it.
    """
    placed = [cell for cell in cells if cell.area.area_id in level_map.shapes]
    numbers = numbered(level_map, cells)
    parts = [_patterns(placed, name)]
    for cell in placed:
        shape = level_map.shapes[cell.area.area_id]
        key = numbers.get(cell.area.area_id)
        told = "" if key is None else _label(key, cell)
        text = _words(cell, shape) if key is None else _number(key, shape, cell.paint)
        address = escape(root + link.format(area_id=cell.area.area_id))
        parts.append(f'<a href="{address}"{told}>{_outline(shape.path, cell.paint, name)}{text}</a>')
    return Picture("".join(parts), level_map.width, level_map.height, label, links=True)


def numbered(level_map: LevelMap, cells: Sequence[Cell]) -> dict[str, int]:
    """Areas too small for their name, with the number that stands in them instead: their place in the list."""
    return {
        cell.area.area_id: position
        for position, cell in enumerate(cells, 1)
        if (shape := level_map.shapes.get(cell.area.area_id)) and shape.radius is not None and not _fitting(cell, shape)
    }


def small_map(level_map: LevelMap, cells: Sequence[Cell], label: str, name: str) -> Picture:
    """A map to be compared with others beside it: colours and, on tiles of few areas, the values; no names."""
    placed = [cell for cell in cells if cell.area.area_id in level_map.shapes]
    by_paint: dict[str, list[Cell]] = {}
    for cell in placed:
        by_paint.setdefault(cell.paint, []).append(cell)
    parts = [_patterns(placed, name, 3)]
    written = level_map.kind != "outlines" and len(placed) <= VALUES_SHOWN
    size = min([34.0, *(34 * (TILE_WIDTH - 6) / text_width(cell.text, 34) for cell in placed)])
    for paint, group in by_paint.items():
        path = "".join(level_map.shapes[cell.area.area_id].coarse for cell in group)
        parts.append(f'<path d="{path}" fill="{_fill(paint, name)}" stroke="{LINE}" stroke-width="2"/>')
        if written:
            texts = "".join(_value(cell, level_map.shapes[cell.area.area_id], size) for cell in group)
            parts.append(
                f'<g fill="{ink(paint)}" font-size="{size:.0f}" text-anchor="middle"{_halo(paint, size)}>{texts}</g>'
            )
    return Picture("".join(parts), level_map.width, level_map.height, label)


def swatch(paint: str, name: str) -> str:
    """A box of a legend, for the eye alone."""
    defined = PATTERNS[paint].format(id=f"{name}-{paint}", scale=1) if paint in PATTERNS else ""
    box = f'<rect x="1" y="1" width="30" height="18" fill="{_fill(paint, name)}" stroke="{LINE}"/>'
    return f'<svg class="muster" aria-hidden="true" viewBox="0 0 32 20" width="32" height="20">{defined}{box}</svg>'


def text_width(text: str, size: float) -> float:
    """How wide a text is at most in a common sans serif font, in pixels."""
    units = sum(0.34 if c in _NARROW else 0.86 if c in _WIDE else 0.68 if c.isupper() else 0.57 for c in text)
    return units * size


def wrapped(text: str, width: float, size: float) -> list[str] | None:
    """A text in lines that fit, broken at blanks, hyphens and strokes; None where a part is too wide."""
    lines = [""]
    for chunk in re.findall("[^ /-]+[/-]? *|[/-] *", text):
        if text_width(chunk.strip(" "), size) > width:
            return None
        if text_width((lines[-1] + chunk).strip(" "), size) > width:
            lines.append("")
        lines[-1] += chunk
    return [line.strip(" ") for line in lines]


def _patterns(cells: Iterable[Cell], name: str, scale: int = 1) -> str:
    used = {cell.paint for cell in cells} & set(PATTERNS)
    return (
        "<defs>" + "".join(PATTERNS[p].format(id=f"{name}-{p}", scale=scale) for p in sorted(used)) + "</defs>"
        if used
        else ""
    )


def _fill(paint: str, name: str) -> str:
    return f"url(#{name}-{paint})" if paint in PATTERNS else paint


def _outline(path: str, paint: str, name: str) -> str:
    return (
        f'<path d="{path}" fill="{_fill(paint, name)}" stroke="{CASING}" stroke-width="3"/>'
        f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1"/>'
    )


def _halo(paint: str, size: float) -> str:
    """White around letters that stand on a pattern."""
    return f' stroke="#fff" stroke-width="{size / 3:.0f}" paint-order="stroke"' if paint in PATTERNS else ""


def _fitting(cell: Cell, shape: Shape) -> tuple[list[str], list[str], int] | None:
    """Name and text in lines and the font size at which they fit into an area, None if they do at no size."""
    for size in SIZES:
        for wide in range(1, 6):  # more lines are narrower, but higher
            room = shape.room(wide * size * 1.15)
            name, text = wrapped(cell.area.name, room, size), wrapped(cell.text + cell.mark, room, size)
            if name and text and len(name) + len(text) <= wide:
                return name, text, size
    return None


def _words(cell: Cell, shape: Shape) -> str:
    name, text, size = _fitting(cell, shape) or _forced(cell)
    marks = len(cell.mark)
    told = [(line, "", True) for line in text]
    if cell.attributes:  # a figure: one line, its signs behind it
        told = [(text[0][: len(text[0]) - marks], cell.attributes, True)]
    return _lines(
        [*((line, "", False) for line in name), *told], size, shape, cell.paint, cell.mark if cell.attributes else ""
    )


def _number(key: int, shape: Shape, paint: str) -> str:
    """The number of a small area; nothing where it would run into its neighbours'."""
    size = SIZES[-1]
    fits = text_width(str(key), size) <= 2 * (shape.radius or 0) + size / 2
    return _lines([(str(key), 'data-n="areas"', False)], size, shape, paint) if fits else ""


def _label(key: int, cell: Cell) -> str:
    """What the number of a small area stands for, with the key of its figure."""
    of_figure = cell.attributes.partition(" ")[2]  # the text of the element is the number, not the figure
    return f' {of_figure} aria-label="{key} {escape(cell.area.name)} {escape(cell.text)}"'


def _forced(cell: Cell) -> tuple[list[str], list[str], int]:
    """For names with a part too long for a tile: cut with a hyphen, as many lines as there is room for."""
    size, at_once = SIZES[-1], int((TILE_WIDTH - 8) / (0.62 * SIZES[-1]))
    name = cell.area.name
    pieces = [name[at : at + at_once] for at in range(0, len(name), at_once)][: int(TILE_HEIGHT / (size * 1.15)) - 1]
    return [piece + "-" for piece in pieces[:-1]] + pieces[-1:], [cell.text + cell.mark], size


def _lines(lines: list[tuple[str, str, bool]], size: int, shape: Shape, paint: str, mark: str = "") -> str:
    """Lines of text (with attributes, bold or not) around the middle of an area."""
    step = size * 1.15
    y = shape.y - step * len(lines) / 2 + size * 0.92
    spans = []
    for position, (text, attributes, bold) in enumerate(lines):
        weight = ' font-weight="bold"' if bold else ""
        behind = f'<tspan font-size="{size - 3}" dy="-3">{escape(mark)}</tspan>' if mark and attributes else ""
        inner = f"<tspan {attributes}>{escape(text)}</tspan>{behind}" if attributes else escape(text)
        spans.append(f'<tspan x="{shape.x:g}" y="{y + position * step:.1f}"{weight}>{inner}</tspan>')
    inside = " ".join(spans)
    return f'<text font-size="{size}" text-anchor="middle" fill="{ink(paint)}"{_halo(paint, size)}>{inside}</text>'


def _value(cell: Cell, shape: Shape, size: float) -> str:
    attributes = f" {cell.attributes}" if cell.attributes else ""
    return f'<text x="{shape.x:g}" y="{shape.y + size * 0.36:.0f}"{attributes}>{escape(cell.text)}</text>'
