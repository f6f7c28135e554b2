"""Charts as static SVG: Vega-Lite specifications, rendered at build time for many pages at once, cached.

A chart carries a sentence as its text alternative; what Vega writes for screen readers is left out, because its roles
break the rules for accessible images.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import vl_convert

from pipelines.files import sha256_text
from pipelines.report.cache import Cache

VEGA_LITE = "6.1"
"""Version of the specifications; vl-convert brings it along."""
INK, MUTED, GRID, ACCENT, CITY = "#1f2933", "#52606d", "#d9dee3", "#0b5c8a", "#9a4a00"
"""Text, quiet text, grid lines, the area, the city: each at least 4.5:1 on white but for the grid."""
CONFIG: dict[str, Any] = {
    "aria": False,
    "background": None,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "gridColor": GRID,
        "domainColor": MUTED,
        "tickColor": MUTED,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    },
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "labelColor": INK, "titleColor": INK},
    "header": {"labelFontSize": 12, "labelColor": INK, "labelFontWeight": "bold"},
}
LOCALE = {"decimal": ",", "thousands": "\u202f", "grouping": [3], "currency": ["", "\u202f€"]}
_SVG = "http://www.w3.org/2000/svg"
_CODE = sha256_text(version("vl-convert-python"), Path(__file__).read_text(encoding="utf-8"))
_WASTE = re.compile(
    r' (?:aria-hidden="true"|aria-label="[^"]*"'
    r'|aria-roledescription="[^"]*"|role="graphics-[^"]*"|pointer-events="none"|class="[^"]*"'
    r'|opacity="1"|transform="translate\(0,0\)")'
    r'|<text [^>]*opacity="0"[^>]*>[^<]*</text>|<path d="" display="none" ?/>'
    r'|<path [^>]*d="M0,0h0v0h0Z"[^>]*/>'
)


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification (data included) and its text alternative.

    `width` and `height` are those of the plot in pixels, `margin` the room around it (left, top, right, bottom).
    """

    spec: dict[str, Any]
    width: int
    height: int
    label: str
    margin: tuple[int, int, int, int] = (52, 10, 14, 28)

    @property
    def shape(self) -> dict[str, Any]:
        """The specification without its data."""
        return {name: part for name, part in self.spec.items() if name != "data"}

    @property
    def key(self) -> str:
        """Name under which the drawing is kept."""
        spec = json.dumps(self.spec, sort_keys=True, ensure_ascii=False)
        return sha256_text(_CODE, VEGA_LITE, json.dumps(CONFIG), spec, f"{self.width} {self.height} {self.margin}")


@dataclass(frozen=True)
class Picture:
    """A drawing made by hand: SVG elements inside a frame of `width` x `height` units.

    `links`: it holds links, so a screen reader must be able to enter it.
    """

    content: str
    width: float
    height: float
    label: str
    links: bool = False

    def svg(self) -> str:
        """The finished element."""
        view = (0, 0, self.width, self.height)
        if not self.links:
            return _frame(self.content, view, f'role="img" aria-label="{escape(self.label)}"')
        return f'<div role="group" aria-label="{escape(self.label)}">{_frame(self.content, view, "")}</div>'


class Studio:
    """Draws charts; those drawn before come from the cache."""

    def __init__(self, cache: Cache) -> None:
        """Keep drawings in a cache."""
        self.cache = cache
        self.drawn = 0

    def draw(self, charts: Iterable[Chart]) -> dict[str, str]:
        """SVG elements of all charts of a page by key; one call of the renderer for those that are not kept yet."""
        wanted = {chart.key: chart for chart in charts}
        inner = {key: self.cache.get(key) for key in wanted}
        missing = [chart for key, chart in wanted.items() if inner[key] is None]
        for chart, drawing in zip(missing, _render(missing), strict=True):
            self.cache.put(chart.key, drawing)
            inner[chart.key] = drawing
        self.drawn += len(missing)
        return {
            key: _frame(inner[key] or "", _view(chart), f'role="img" aria-label="{escape(chart.label)}"')
            for key, chart in wanted.items()
        }


def _render(charts: list[Chart]) -> list[str]:
    """SVG content of each chart, its plot beginning at 0, 0.

    Charts that differ in their data only are drawn as the facets of one view, which takes two thirds of the time.
    """
    groups: dict[str, list[Chart]] = defaultdict(list)
    for chart in charts:
        groups[json.dumps([chart.shape, chart.width, chart.height], sort_keys=True)].append(chart)
    if not groups:
        return []
    views = [_view_of(group) for group in groups.values()]
    spec = {"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "config": CONFIG, "vconcat": views}
    drawing = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, format_locale=LOCALE)
    ElementTree.register_namespace("", _SVG)
    # The renderer names the part of each view `concat_<n>_group`, and that with all facets of one `concat_<n>_cell`.
    parts = _by_class(ElementTree.fromstring(drawing))
    drawn: dict[int, str] = {}
    for number, group in enumerate(groups.values()):
        part = parts[f"concat_{number}_group"]
        cells = list(parts[f"concat_{number}_cell"]) if len(group) > 1 else [part[0]]
        for chart, cell in zip(group, cells, strict=True):
            cell.attrib.pop("transform", None)  # its place on the common sheet
            if len(group) > 1:
                _remove_titles(cell)
            drawn[id(chart)] = _clean(ElementTree.tostring(cell, encoding="unicode"))
    return [drawn[id(chart)] for chart in charts]


def _remove_titles(cell: ElementTree.Element) -> None:
    """Facets come with their number above them, also where none is asked for."""
    for part in cell.iter():
        for title in [child for child in part if "role-title" in child.get("class", "")]:
            part.remove(title)


def _by_class(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    return {name: part for part in root.iter() for name in part.get("class", "").split()}


def _view_of(group: list[Chart]) -> dict[str, Any]:
    """One chart, or several of the same shape as facets."""
    first = group[0]
    size = {"width": first.width, "height": first.height}
    if len(group) == 1:
        return {**size, **first.spec}
    rows = [{**row, "bild": number} for number, chart in enumerate(group) for row in chart.spec["data"]["values"]]
    independent = {"x": "independent", "y": "independent"}
    return {
        "data": {"values": rows},
        "facet": {"field": "bild", "type": "ordinal", "header": None},
        "columns": 1,
        "spec": {**size, **first.shape},
        "resolve": {"scale": independent, "axis": independent},
    }


def _clean(drawing: str) -> str:
    """Without what a static picture does not need: roles, hints for pointers, empty shapes."""
    drawing = drawing.replace(f' xmlns="{_SVG}"', "")
    drawing = re.sub(r"^<g[^>]*>", '<g fill="none">', drawing)
    # In tags alone: the text of an axis may say "je 1.000".
    drawing = re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{3,}", _shortened, tag[0]), drawing)
    previous = None
    while previous != drawing:
        previous, drawing = drawing, _WASTE.sub("", drawing)
        drawing = re.sub(r"<g>\s*</g>|<g */>", "", drawing)
    return drawing


def _shortened(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _view(chart: Chart) -> tuple[float, float, float, float]:
    left, top, right, bottom = chart.margin
    return -left, -top, chart.width + left + right, chart.height + top + bottom


def _frame(content: str, view: tuple[float, float, float, float], name: str) -> str:
    x, y, width, height = (f"{number:g}" for number in view)
    return (
        f'<svg xmlns="{_SVG}" {name} viewBox="{x} {y} {width} {height}" '
        f'width="{width}" height="{height}">{content}</svg>'
    )
