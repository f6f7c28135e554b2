"""Pages of the composite indexes: status and dynamics of all areas, how sure each class is, and how it comes about."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup

from pipelines.report import links
from pipelines.report.facts import Facts
from pipelines.report.map_drawing import MISSING, PLAIN, RATED, WITHHELD, Cell, big_map, ramp, swatch
from pipelines.report.maps import KINDS, LegendEntry, map_of_level
from pipelines.report.numbers import figure
from pipelines.report.page import Page
from schemas.documents import Level

Row = dict[str, Any]
MAPPED_CLASSES = 5
"""Colours that can be told apart; an index with more classes has no map."""
_REASONS = {"confidential": WITHHELD, "missing_indicator": MISSING}
_WORDS = {
    WITHHELD: "nicht eingestuft: ein Indikator ist geheim zu halten (schraffiert)",
    MISSING: "nicht eingestuft: ein Indikator liegt nicht vor (gepunktet)",
    PLAIN: "nicht eingestuft: anderer Grund, siehe Liste (grau)",
}


def pages(facts: Facts) -> Iterator[Page]:
    """A page per index."""
    for definition in facts.rows("SELECT * FROM mart.index_definition ORDER BY sort_key, index_id"):
        index_id = definition["index_id"]
        yield Page(
            links.index_page(index_id),
            "index_seite.html.j2",
            definition["title_de"],
            _context(facts, definition),
            "index",
        )


def _context(facts: Facts, definition: Row) -> dict[str, Any]:
    index_id = definition["index_id"]
    classes = facts.rows("SELECT * FROM mart.index_class WHERE index_id = ? ORDER BY dimension, sort_key", index_id)
    by_dimension = {d: [row for row in classes if row["dimension"] == d] for d in ("status", "dynamics")}
    rows = facts.rows("SELECT * FROM mart.social_index WHERE index_id = ? ORDER BY reference_date, area_id", index_id)
    declared = facts.project.indexes.get(index_id)
    order = declared.levels if declared else list(dict.fromkeys(row["area_level"] for row in rows))
    indicators = facts.rows("SELECT * FROM mart.index_indicator WHERE index_id = ? ORDER BY sort_key", index_id)
    told = [level.id for level in facts.levels]
    return {
        "definition": definition,
        "indicators": [(facts.indicators[row["indicator_id"]], row) for row in indicators],
        "classes": {d: [(row["title_de"], limits(row)) for row in found] for d, found in by_dimension.items()},
        "minimum": facts.rows(
            "SELECT title FROM mart.measure WHERE measure_id = ?", definition["minimum_measure"] or ""
        ),
        "excluded": [
            (facts.areas[row["area_id"]], row["exclusion_reason"])
            for row in facts.rows("SELECT * FROM mart.index_exclusion WHERE index_id = ? ORDER BY area_id", index_id)
        ],
        "universe": next(one for one in facts.project.areas.levels if one.id == definition["universe_level"]),
        "parts": [
            part
            for level in order
            if level in told
            and (
                part := _of_level(
                    facts, facts.level(level), [r for r in rows if r["area_level"] == level], by_dimension
                )
            )
        ],
    }


def limits(row: Row) -> Markup:
    """What a class holds, e.g. `über 1 bis 1,5`."""

    def number(column: str) -> Markup:
        value = row[column]
        places = next(places for places in range(4) if places == 3 or round(value, places) == value)
        return Markup('<span data-t="mart.index_class.{}">{}</span>').format(column, figure(value, places))

    if row["above"] is None:
        return Markup("bis {}" if row["upper_included"] else "unter {}").format(number("upper"))
    if row["upper"] is None:
        return Markup("ab {}" if row["above_included"] else "über {}").format(number("above"))
    low, high = "von" if row["above_included"] else "über", "bis" if row["upper_included"] else "bis unter"
    return Markup("{} {} {} {}").format(low, number("above"), high, number("upper"))


def _of_level(facts: Facts, level: Level, rows: list[Row], classes: dict[str, list[Row]]) -> dict[str, Any] | None:
    """Newest classes of the areas of a level, and how these came to be over the years."""
    periods: list[dt.date] = sorted({row["reference_date"] for row in rows if row["status_class"]})
    if not periods:
        return None
    by_area = {(row["area_id"], row["reference_date"]): row for row in rows}
    areas = [area for area in facts.level_areas(level.id) if (area.area_id, periods[-1]) in by_area]
    newest = [(area, by_area[area.area_id, periods[-1]]) for area in areas]
    titles = {(row["dimension"], row["class_id"]): row["title_de"] for row in classes["status"] + classes["dynamics"]}
    return {
        "level": level,
        "day": periods[-1],
        "rows": newest,
        "titles": titles,
        "classed": sum(bool(row["status_class"]) for _, row in newest),
        "columns": [(c["class_id"], c["title_de"]) for c in classes["dynamics"]],
        "matrix": [(c["title_de"], _cells(newest, c["class_id"], classes["dynamics"])) for c in classes["status"]],
        "universe_n": next((row["universe_n"] for _, row in newest if row["universe_n"] is not None), None),
        "years": periods[::-1],
        "history": [(area, [by_area.get((area.area_id, day)) for day in periods[::-1]]) for area in areas],
        **_map(facts, level, newest, classes["status"]),
    }


def _cells(newest: list[tuple[Any, Row]], status: str, dynamics: list[Row]) -> list[list[tuple[Any, Row]]]:
    """Areas of a status class by class of dynamics, those without any last."""
    columns = [row["class_id"] for row in dynamics] + [None]
    return [
        [(area, row) for area, row in newest if row["status_class"] == status and row["dynamics_class"] == column]
        for column in columns
    ]


def _map(facts: Facts, level: Level, newest: list[tuple[Any, Row]], classes: list[Row]) -> dict[str, Any]:
    """The map of the newest classes with its legend; nothing where colours would not do."""
    if len(classes) > MAPPED_CLASSES or len(newest) < 3:
        return {"picture": None, "legend": [], "kind": ""}
    colours = dict(zip([row["class_id"] for row in classes], ramp(len(classes), RATED), strict=True))
    titles = {row["class_id"]: row["title_de"] for row in classes}
    paints = [colours.get(row["status_class"]) or _REASONS.get(row["reason"], PLAIN) for _, row in newest]
    words = [titles.get(row["status_class"]) or ("g" if row["reason"] == "confidential" else "–") for _, row in newest]
    cells = [Cell(area, paint, text) for (area, _), paint, text in zip(newest, paints, words, strict=True)]
    found = Counter(paints)
    name = f"i-{newest[0][1]['index_id']}-{level.id}"
    told = [
        (colour, Markup("{} ({})").format(titles[key], limits(row)))
        for (key, colour), row in zip(colours.items(), classes, strict=True)
    ]
    told += [(paint, Markup(text)) for paint, text in _WORDS.items() if found[paint]]
    level_map = map_of_level(facts, level.id)
    picture = big_map(
        level_map, cells, f"Karte der Statusklassen, {level.plural.de}", name, "../", links.area_page("{area_id}")
    )
    legend = [LegendEntry(Markup(swatch(paint, f"l-{name}")), text, found[paint]) for paint, text in told]
    return {"picture": picture, "legend": legend, "kind": KINDS[level_map.kind]}
