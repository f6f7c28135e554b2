"""Charts of the Vergleich: areas as dots on one scale, cities as lines over the years."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pipelines.report.drawing import ACCENT, CITY, INK, MUTED, Chart
from pipelines.report.facts import Area, Facts, Indicator, Value
from pipelines.report.numbers import period_in_words
from schemas.codes import label
from schemas.documents import Level

MOST_ROWS = 60
"""With more areas a chart shows where they lie, not each by its name."""
_DASHES: tuple[list[int], ...] = ([], [7, 3], [2, 2], [9, 3, 2, 3], [14, 4])
_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_NOTHING: dict[str, Any] = {"values": [{}]}
"""Data of a layer that draws one thing at a fixed place."""


def dots(facts: Facts, indicator: Indicator, level: Level, areas: list[Area], newest: dict[str, Value]) -> Chart | None:
    """Each area's newest value with its interval, and a line for the city; None with less than two values.

    Args:
        facts: what the report knows.
        indicator: what is shown.
        level: level of the areas.
        areas: from the highest to the lowest value.
        newest: values of the newest period, by area.
    """
    shown = [(a, newest[a.area_id]) for a in areas if a.area_id in newest and newest[a.area_id].value is not None]
    if len(shown) < 2:
        return None
    rows = [_dot(area, value) for area, value in shown]
    by_name = len(rows) <= MOST_ROWS
    height = 18 * len(rows) if by_name else 60
    axis = {"labelLimit": 250, "ticks": False, "domain": False, "grid": True, "labelPadding": 6}
    named = {"field": "gebiet", "type": "nominal", "sort": None, "title": None, "axis": axis}
    place: dict[str, Any] = {"y": named if by_name else {"value": height / 2}}
    x = _x(indicator, rows)
    layers: list[dict[str, Any]] = []
    if by_name and any(row["von"] is not None for row in rows):
        ends = {"x": {**x, "field": "von"}, "x2": {"field": "bis"}, **place}
        layers.append({"mark": {"type": "rule", "color": MUTED, "strokeWidth": 1.5}, "encoding": ends})
    layers.append({"mark": _mark(by_name), "encoding": {"x": x, **place, **_fill(by_name)}})
    layers += _line_of_city(facts, indicator, level, shown[0][1])
    longest = max(len(row["gebiet"]) for row in rows) if by_name else 0
    margin = (min(250, 7 * longest) + 16, 26, 26, 46)
    spec = {"data": {"values": rows}, "layer": layers}
    return Chart(spec, 520, height, _in_words(level, shown, by_name), margin)


def _dot(area: Area, value: Value) -> dict[str, Any]:
    return {
        "gebiet": area.name,
        "wert": value.value,
        "von": value.ci_low,
        "bis": value.ci_high,
        "konstruiert": value.origin == "constructed",
    }


def _x(indicator: Indicator, rows: list[dict[str, Any]]) -> dict[str, Any]:
    largest = max(abs(row["wert"]) for row in rows)
    axis = {"format": axis_format(indicator, largest), "labelOverlap": True, "tickCount": 6}
    title = label("unit", indicator.unit)
    return {"field": "wert", "type": "quantitative", "title": title, "axis": axis, "scale": {"zero": True}}


def _mark(by_name: bool) -> dict[str, Any]:
    shape = {"type": "point", "size": 55} if by_name else {"type": "tick", "size": 30}
    return {**shape, "color": ACCENT, "strokeWidth": 1.5, "opacity": 1}


def _fill(by_name: bool) -> dict[str, Any]:
    """Constructed figures are hollow."""
    if not by_name:
        return {}
    return {"fill": {"condition": {"test": "datum.konstruiert", "value": "#ffffff"}, "value": ACCENT}}


def _line_of_city(facts: Facts, indicator: Indicator, level: Level, of_area: Value) -> list[dict[str, Any]]:
    """A dashed line where the city is, with its name; none for plain numbers and beside other cities."""
    if indicator.unit == "persons" or level.id == facts.city.level:
        return []
    series = facts.series(indicator.indicator_id, facts.city.area_id)
    here = [v.value for v in series if v.period == of_area.period and v.value is not None]
    if not here:
        return []
    x = {"datum": here[0], "type": "quantitative"}
    rule = {"type": "rule", "color": CITY, "strokeDash": [6, 3], "strokeWidth": 2}
    text = {"type": "text", "text": facts.city.name, "color": CITY, "fontSize": 12, "fontWeight": "bold"}
    return [
        {"data": _NOTHING, "mark": rule, "encoding": {"x": x}},
        {"data": _NOTHING, "mark": {**text, "baseline": "bottom"}, "encoding": {"x": x, "y": {"value": -4}}},
    ]


def _in_words(level: Level, shown: list[tuple[Area, Value]], by_name: bool) -> str:
    first, last = shown[0], shown[-1]
    when = period_in_words(first[1].period_type, first[1].reference_date)
    words = [
        f"Punktdiagramm: {level.plural.de} nach dem Wert geordnet, {when}.",
        f"Am höchsten liegt {first[0].name}, am niedrigsten {last[0].name}.",
    ]
    if by_name and any(value.origin == "constructed" for _, value in shown):
        words.append("Hohle Punkte sind konstruierte, keine amtlichen Zahlen.")
    return " ".join([*words, "Alle Werte stehen in der Tabelle."])


# ---------------------------------------------------------------- over the years


def over_time(facts: Facts, indicator: Indicator, areas: list[Area]) -> Chart | None:
    """A line per city, told apart by dashes and the mark at its end, with its name beside it; none across breaks."""
    width, height = 540, 280
    series = {area.area_id: facts.series(indicator.indicator_id, area.area_id) for area in areas}
    ends = {key: [v for v in values if v.value is not None][-1:] for key, values in series.items()}
    drawn = sorted((a for a in areas if ends[a.area_id]), key=lambda area: area.area_id != facts.city.area_id)
    if not drawn:
        return None
    axes, low, high = _axes(indicator, [v for area in drawn for v in series[area.area_id]])
    wished = {key: height * (high - (end[0].value or 0.0)) / (high - low) for key, end in ends.items() if end}
    places = spread(wished, 15, height)
    layers: list[dict[str, Any]] = [_break_line(axes["x"], values) for values in list(series.values())[:1]]
    for number, area in enumerate(drawn):
        city = area.area_id == facts.city.area_id
        color = CITY if city else (ACCENT, INK, MUTED)[number % 3]
        look = {"color": color, "strokeWidth": 3 if city else 1.75, "strokeDash": _DASHES[number % len(_DASHES)]}
        shape = _SHAPES[number % len(_SHAPES)]
        layers += _city(series[area.area_id], ends[area.area_id][0], look, shape, axes)
        layers.append(_name(area.name, width + 10, places[area.area_id], color))
    names = ", ".join(area.name for area in drawn)
    words = f"Liniendiagramm: {indicator.title_de} über die Jahre für {names}. Alle Werte stehen in der Tabelle."
    return Chart({"layer": layers}, width, height, words, (68, 12, 20 + 8 * max(len(a.name) for a in drawn), 46))


def _axes(indicator: Indicator, values: list[Value]) -> tuple[dict[str, Any], float, float]:
    """Both axes, and the lowest and highest number of the upright one."""
    numbers = [v.value for v in values if v.value is not None]
    low, high = min(0.0, *numbers), max(0.0, *numbers) * 1.05
    high = high if high > low else low + 1
    year = {"format": "d", "tickMinStep": 1, "grid": False, "labelOverlap": True}
    scale = {"domain": [low, high], "nice": False}
    number = {"format": axis_format(indicator, high), "tickCount": 6}
    wide = {"zero": False, "nice": False}
    axes = {
        "x": {"field": "jahr", "type": "quantitative", "title": None, "axis": year, "scale": wide},
        "y": {
            "field": "wert",
            "type": "quantitative",
            "title": label("unit", indicator.unit),
            "axis": number,
            "scale": scale,
        },
    }
    return axes, low, high


def _city(
    values: list[Value], last: Value, look: dict[str, Any], shape: str, axes: dict[str, Any]
) -> list[dict[str, Any]]:
    rows = [{"jahr": v.reference_date.year, "wert": v.value, "teil": v.segment or 0} for v in values]
    line = {"type": "line", "invalid": "break-paths-show-domains", **look}
    point = {"type": "point", "filled": True, "size": 80, "shape": shape, "color": look["color"], "opacity": 1}
    part = {"detail": {"field": "teil", "type": "nominal"}}
    end = {"values": [{"jahr": last.reference_date.year, "wert": last.value}]}
    return [
        {"data": {"values": rows}, "mark": line, "encoding": {**axes, **part}},
        {"data": end, "mark": point, "encoding": axes},
    ]


def _name(name: str, x: float, y: float, color: str) -> dict[str, Any]:
    text = {"type": "text", "text": name, "align": "left", "color": color, "fontSize": 12, "fontWeight": "bold"}
    return {"data": _NOTHING, "mark": text, "encoding": {"x": {"value": x}, "y": {"value": y}}}


def _break_line(x: dict[str, Any], values: list[Value]) -> dict[str, Any]:
    """Between the last period before a break and the first one after it, as the first series has them."""
    cuts = [b.reference_date.year - 0.5 for a, b in pairwise(values) if a.segment != b.segment]
    mark = {"type": "rule", "strokeDash": [2, 3], "color": MUTED, "strokeWidth": 1.5}
    return {"data": {"values": [{"jahr": cut} for cut in cuts]}, "mark": mark, "encoding": {"x": x}}


def spread(heights: dict[str, float], least: float, floor: float) -> dict[str, float]:
    """Heights of labels at least so far apart, in the same order, none below the floor if they all fit."""
    places: dict[str, float] = {}
    for key, wish in sorted(heights.items(), key=lambda pair: pair[1]):
        places[key] = max([wish, *(place + least for place in places.values())])
    limit = floor
    for key in reversed(list(places)):
        places[key] = min(places[key], limit)
        limit = places[key] - least
    return places


def axis_format(indicator: Indicator, largest: float) -> str:
    """Number format of an axis: places after the comma only where the scale is small."""
    return ",.1f" if indicator.decimals and largest < 5 else ",.0f"
