"""Specifications of the charts that several pages show."""

from __future__ import annotations

import itertools
import json
from typing import Any

from pipelines.report.drawing import ACCENT, CITY, MUTED, Chart
from pipelines.report.facts import Indicator, Value
from pipelines.report.numbers import with_unit
from pipelines.report.words import period


def benchmark_of(value: Value) -> float | None:
    """The benchmark to draw beside a figure; none beside a plain number, which depends on the area's size."""
    return None if value.not_compared_reason in ("plain_number", "same_area") else value.benchmark_value


def _points(series: list[Value]) -> list[dict[str, Any]]:
    """Rows of a chart; `teil` numbers the stretches that one line may join: none across a break or a missing year."""
    rows: list[dict[str, Any]] = []
    stretch = 0
    for before, value in zip([None, *series], series, strict=False):
        if before is not None and (_far(before, value) or (before.segment or 0) != (value.segment or 0)):
            stretch += 1
        rows.append(
            {
                "jahr": value.reference_date.year,
                "wert": value.value,
                "von": value.ci_low,
                "bis": value.ci_high,
                "stadt": benchmark_of(value),
                "teil": stretch,
            }
        )
    return rows


def _far(before: Value, value: Value) -> bool:
    return value.reference_date.year - before.reference_date.year > 1


FEWEST = 3
"""Figures from which on a line is drawn: two points make any difference look like a trend."""


def trim(series: list[Value], most: int = 15) -> list[Value]:
    """The newest periods of a long series."""
    return series[-most:]


def time_series(series: list[Value], indicator: Indicator, name: str, city: str) -> Chart | None:
    """A line with its 95 % band, the city's value dashed, breaks as dashed rules; None with fewer than three figures.

    Lines are not drawn across breaks: each part of a series stands by itself. All of these charts have one shape.
    """
    shown = [value for value in series if value.value is not None]
    if len(shown) < FEWEST:
        return None
    top = max([v.ci_high or v.value or 0 for v in shown])
    bottom = min([v.ci_low if v.ci_low is not None else v.value or 0 for v in shown])
    rows = _points(series)
    pairs = itertools.pairwise(series)
    cuts = [b.reference_date.year - 0.5 for a, b in pairs if (a.segment or 0) != (b.segment or 0)]
    rows += [{"schnitt": cut} for cut in cuts]
    if bottom >= 0 and (bottom < top / 2 or bottom == top or indicator.unit == "persons"):
        rows.append({"jahr": series[0].reference_date.year, "boden": 0})
    if bottom == top == 0:  # an axis has more than one number
        rows.append({"jahr": series[0].reference_date.year, "boden": 1})
    spec = {"data": {"values": rows}, "layer": [*_LAYERS, _CUT, _FLOOR]}
    label = _sentence(shown, indicator, name, city, broken=bool(cuts))
    return Chart(spec, 330, 150, label=label, margin=(58, 10, 20, 26))


_JAHR = {
    "field": "jahr",
    "type": "quantitative",
    "axis": {
        "title": None,
        "labelExpr": "datum.value % 1 === 0 ? format(datum.value, 'd') : ''",
        "grid": False,
        "tickMinStep": 1,
        "tickCount": 6,
    },
    "scale": {"nice": False, "zero": False},
}
_WERT = {
    "field": "wert",
    "type": "quantitative",
    "axis": {
        "title": None,
        "tickCount": 4,
        "labelExpr": "format(datum.value, datum.value % 1 === 0 ? ',.0f' : "
        "abs(datum.value * 10 - round(datum.value * 10)) < 0.001 ? ',.1f' : ',.4~f')",
    },
    "scale": {"zero": False},
}
_TEIL = {"field": "teil", "type": "nominal"}
_LAYERS: list[dict[str, Any]] = [
    {
        "mark": {"type": "area", "color": ACCENT, "opacity": 0.2},
        "transform": [{"filter": "isValid(datum.von)"}],
        "encoding": {"x": _JAHR, "y": {**_WERT, "field": "von"}, "y2": {"field": "bis"}, "detail": _TEIL},
    },
    {
        "mark": {"type": "line", "color": CITY, "strokeDash": [5, 3], "strokeWidth": 1.5},
        "transform": [{"filter": "isValid(datum.stadt)"}],
        "encoding": {"x": _JAHR, "y": {**_WERT, "field": "stadt"}, "detail": _TEIL},
    },
    {
        "mark": {"type": "line", "color": ACCENT, "strokeWidth": 2.2},
        "transform": [{"filter": "isValid(datum.jahr) && !isValid(datum.boden)"}],
        "encoding": {"x": _JAHR, "y": _WERT, "detail": _TEIL},
    },
    {
        "mark": {"type": "point", "filled": True, "color": ACCENT, "size": 34, "opacity": 1},
        "transform": [{"filter": "isValid(datum.wert)"}],
        "encoding": {"x": _JAHR, "y": _WERT},
    },
]
_CUT = {
    "mark": {"type": "rule", "strokeDash": [2, 3], "color": MUTED, "strokeWidth": 1.5},
    "transform": [{"filter": "isValid(datum.schnitt)"}],
    "encoding": {"x": {**_JAHR, "field": "schnitt"}},
}
_FLOOR = {  # draws nothing; makes the scale begin at zero where that does not flatten the line
    "mark": {"type": "point", "opacity": 0, "size": 0},
    "transform": [{"filter": "isValid(datum.boden)"}],
    "encoding": {"x": _JAHR, "y": {**_WERT, "field": "boden"}},
}


def small_multiple(
    series: list[Value], indicator: Indicator, name: str, years: tuple[int, int], top: float
) -> Chart | None:
    """A small line with its band; years and scale are those of all areas, so that the pictures can be compared."""
    shown = [value for value in series if value.value is not None]
    if len(shown) < FEWEST:
        return None
    bottom = min(0.0, *[value.value or 0.0 for value in shown])
    layers = json.loads(json.dumps(_LAYERS))
    for layer in layers:
        x, y = layer["encoding"]["x"], layer["encoding"]["y"]
        x["axis"], x["scale"] = {**x["axis"], "values": list(years)}, {"domain": list(years), "nice": False}
        y["axis"], y["scale"] = {**y["axis"], "tickCount": 2}, {"domain": [bottom, top or 1], "nice": False}
    layers[-1]["mark"]["size"] = 16
    spec = {"data": {"values": _points(series)}, "layer": layers}
    return Chart(spec, 170, 80, label=_sentence(shown, indicator, name, "", broken=False), margin=(50, 8, 18, 24))


def _sentence(shown: list[Value], indicator: Indicator, name: str, city: str, broken: bool) -> str:
    first, last = shown[0], shown[-1]
    ends = [with_unit(v.value, indicator.unit, indicator.decimals) for v in (first, last)]
    text = f"Zeitreihe {indicator.title_de}, {name}: {period(first)} {ends[0]}, {period(last)} {ends[1]}"
    if city and last.benchmark_value is not None and last.benchmark_id != last.area_id:
        text += f"; {city} {period(last)} {with_unit(last.benchmark_value, indicator.unit, indicator.decimals)}"
    return text + ("; die Reihe ist unterbrochen, weil sich die Zählweise geändert hat." if broken else ".")
