"""Datenfluss: the way of the data from the offices to the pages, as a whole and for each indicator."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipelines.report import links, words
from pipelines.report.checks import DUE, Check, checks_of, matrix
from pipelines.report.deliveries import Origin, origins
from pipelines.report.drawing import Picture
from pipelines.report.facts import Facts, Indicator
from pipelines.report.graph import Box, in_a_row, in_columns
from pipelines.report.page import Page
from schemas.documents import Level, RolledUp

SECTION = "datenfluss"
TOTAL = "insgesamt"


@dataclass(frozen=True)
class Step:
    """A step of the whole flow: who is in charge, and its checks."""

    key: str
    title: str
    owner: str
    checks: list[Check]

    @property
    def passed(self) -> int:
        """Number of checks without a finding."""
        return sum(check.passed for check in self.checks)


@dataclass(frozen=True)
class Used:
    """A measure behind an indicator: what it is used as, what it is formed of, and which sums are made."""

    measure_id: str
    title: str
    description: str
    owner: str
    roles: list[str]
    formed: list[str]
    sums: list[str]
    breaks: list[str]
    parts: list[str]
    sources: list[str]


@dataclass(frozen=True)
class Column:
    """A column of `mart.indicator_value`: name, meaning, and what its value is made from."""

    name: str
    short: str
    meaning: str
    figures: list[str]
    settings: list[str]


def pages(facts: Facts) -> Iterator[Page]:
    """The flow as a whole, and one page per indicator."""
    flow = Flow(facts)
    yield flow.overview()
    for indicator in facts.indicators.values():
        yield flow.page(indicator)


class Flow:
    """What the public file and the declarations tell of the way of the data."""

    def __init__(self, facts: Facts) -> None:
        """Ask the file once for all indicators."""
        self.facts = facts
        self.origins = origins(facts)

    # ------------------------------------------------------------ the whole

    def overview(self) -> Page:
        """Steps from the sources to the pages."""
        steps = self._steps()
        boxes = [Box(s.key, f"{n}. {s.title}", 0, f"#{s.key}", note=_state(s)) for n, s in enumerate(steps, 1)]
        names = ", ".join(step.title for step in steps)
        indicators = [
            (c.title_de, [(i.title_de, links.lineage_page(i.indicator_id)) for i in c.indicators])
            for c in self.facts.chapters
        ]
        context = {
            "steps": steps,
            "picture": in_a_row(boxes, f"Weg der Daten in Schritten: {names}"),
            "chapters": indicators,
            "columns": self.columns,
        }
        return Page(links.LINEAGE, "datenfluss.html.j2", "Datenfluss: der Weg der Zahlen", context, SECTION)

    def _steps(self) -> list[Step]:
        of_sources = [check for checks in checks_of(self.facts, "quelle").values() for check in checks]
        tables = checks_of(self.facts, "tabelle")
        observed = tables.pop("observation", [])
        checks = {
            "quellen": [check for check in of_sources if check.rule == DUE],
            "pruefen": [check for check in of_sources if check.rule != DUE],
            "zusammenfuehren": observed,
            "auswerten": [check for found in tables.values() for check in found],
        }
        owners = {
            "quellen": _names(source.owner for source in self.facts.project.sources.values()),
            "auswerten": _names(indicator.owner for indicator in self.facts.indicators.values()),
        }
        everything = words.owner(self.facts.project.release.owner)
        return [Step(key, title, owners.get(key, everything), checks.get(key, [])) for key, title in _STEPS.items()]

    # ------------------------------------------------------------ one indicator

    def page(self, indicator: Indicator) -> Page:
        """The way of one indicator's figures."""
        used = self.measures_of(indicator)
        sources = self.sources_of(indicator)
        uses = [
            *[(f"index-{key}", title, links.index_page(key)) for key, title in self._indexes_with(indicator)],
            ("seiten", "Seiten dieses Berichts", links.indicator_page(indicator.indicator_id)),
        ]
        filled = self._filled[indicator.indicator_id]
        context = {
            "indicator": indicator,
            "owner": words.owner(indicator.owner),
            "ways": self._ways_of(indicator),
            "measures": used,
            "sources": sources,
            "checks": matrix([source.checks for source in sources]),
            "uses": uses,
            "picture": _picture(indicator, sources, used, uses),
            "groups": _grouped([column for column in self.columns if column.name in filled]),
            "empty": [column.short for column in self.columns if column.name not in filled],
        }
        path = links.lineage_page(indicator.indicator_id)
        return Page(path, "datenfluss_indikator.html.j2", f"Datenfluss: {indicator.title_de}", context, SECTION)

    def sources_of(self, indicator: Indicator) -> list[Origin]:
        """Sources whose cells are behind the indicator's published figures, by title."""
        ids = {source for row in self._cells[indicator.indicator_id] for source in [row["source_id"]]}
        return sorted((self.origins[source] for source in ids), key=lambda origin: origin.title)

    def measures_of(self, indicator: Indicator) -> list[Used]:
        """Measures behind an indicator: those of its formula first, then what these are formed of."""
        roles: dict[str, list[str]] = {}
        for row in self._ways[indicator.indicator_id]:
            category = self._category(row["kennzahl"], row["auspraegung"])
            role = f"{row['rolle']}{f' ({category})' if category else ''}"
            if role not in roles.setdefault(row["kennzahl"], []):
                roles[row["kennzahl"]].append(role)
        found: dict[str, Used] = {}
        waiting = list(roles)
        while waiting:
            measure = waiting.pop(0)
            if measure not in found:
                found[measure] = self._used(indicator, measure, roles.get(measure, []))
                waiting += found[measure].parts
        return list(found.values())

    def _used(self, indicator: Indicator, measure_id: str, roles: list[str]) -> Used:
        declared = self.facts.project.measures[measure_id]
        parts = self._parts[measure_id]
        cells = [row for row in self._cells[indicator.indicator_id] if row["kennzahl"] == measure_id]
        sources = sorted({row["source_id"] for row in cells})
        formed = []
        for part, rows in parts.items():
            names = [self._category(part, row["part_category"]) for row in rows]
            kinds = f" ({', '.join(name for name in names if name)})" if any(names) else ""
            years = f" über {rows[0]['periods']} Zeiträume" if rows[0]["periods"] > 1 else ""
            formed.append(f"{self.facts.project.measures[part].title.de}{kinds}{years}")
        sums = [
            self._sum_in_words(level, figure.rolled_up)
            for level, figures in declared.levels.items()
            for figure in figures
            if isinstance(figure, RolledUp)
        ]
        return Used(
            measure_id,
            declared.title.de,
            declared.description.de if declared.description else "",
            words.owner(declared.owner),
            roles,
            formed,
            sums,
            self._breaks(measure_id, sources),
            list(parts),
            sources,
        )

    def _sum_in_words(self, level: str, parts: str) -> str:
        whole, part = self._level(level).title.de, self._level(parts).plural.de
        return f"{whole}: Summe der {part}, wo keine Zahl geliefert ist"

    def _ways_of(self, indicator: Indicator) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """Per level: formula, and which measure stands for which of its words."""
        levels: dict[str, tuple[str, list[tuple[str, str]]]] = {}
        for row in self._ways[indicator.indicator_id]:
            title = self.facts.project.measures[row["kennzahl"]].title.de
            category = self._category(row["kennzahl"], row["auspraegung"])
            words = f"{title}{f' ({category})' if category else ''}"
            levels.setdefault(row["level"], (row["rechenweg"], []))[1].append((row["rolle"], words))
        return [(level.title.de, *levels[level.id]) for level in self.facts.levels if level.id in levels]

    def _indexes_with(self, indicator: Indicator) -> list[tuple[str, str]]:
        titles = self.facts.index_titles()
        rows = self.facts.rows(
            "SELECT DISTINCT index_id FROM mart.index_indicator WHERE ? IN (indicator_id, change_indicator_id)",
            indicator.indicator_id,
        )
        ids = {row["index_id"] for row in rows}
        return [(key, title) for key, title in titles.items() if key in ids]

    def _breaks(self, measure_id: str, sources: list[str]) -> list[str]:
        found = [row for row in self._all_breaks if row["measure_id"] == measure_id and row["source_id"] in sources]
        return list(dict.fromkeys(f"ab {row['reference_date']:%d.%m.%Y}: {row['reason_de']}" for row in found))

    def _level(self, level: str) -> Level:
        return next(one for one in self.facts.project.areas.levels if one.id == level)

    def _category(self, measure_id: str, category: str) -> str:
        """Title of a code; nothing for the total."""
        if category == TOTAL:
            return ""
        declared = self.facts.project.measures[measure_id].categories
        return next((one.title.de for one in declared if one.id == category), category)

    # ------------------------------------------------------------ asked once

    @cached_property
    def _cells(self) -> dict[str, list[dict[str, Any]]]:
        """Measures and sources of the cells behind an indicator's figures."""
        return _by(self.facts.rows(_CELLS), "indikator")

    @cached_property
    def _ways(self) -> dict[str, list[dict[str, Any]]]:
        """Formula, roles and measures by indicator and level."""
        return _by(self.facts.rows(_WAYS), "indikator")

    @cached_property
    def _parts(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Of formed measures: the measures they are formed of, with categories and number of periods."""
        found: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(dict)
        for row in self.facts.rows("SELECT * FROM mart.measure_part WHERE part_measure_id <> measure_id ORDER BY ALL"):
            found[row["measure_id"]].setdefault(row["part_measure_id"], []).append(row)
        return found

    @cached_property
    def _all_breaks(self) -> list[dict[str, Any]]:
        return self.facts.rows("SELECT * FROM mart.series_break ORDER BY reference_date, category, reason_de")

    @cached_property
    def columns(self) -> list[Column]:
        """Columns of `mart.indicator_value` in their order."""
        meanings = {
            (row["object_name"], row["column_name"]): row["description_de"]
            for row in self.facts.rows(
                "SELECT object_name, column_name, description_de FROM meta.data_dictionary "
                "WHERE schema_name = 'mart' AND column_name IS NOT NULL ORDER BY object_name, position"
            )
        }
        from_where: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for row in self.facts.rows("FROM meta.column_lineage ORDER BY ALL"):
            made = (row["table_name"], row["column_name"])
            from_where[made].append((row["source_table"], row["source_column"]))
        found = []
        for (table, name), meaning in meanings.items():
            if table != "indicator_value":
                continue
            inputs = sorted(_inputs((table, name), from_where))
            words = {p: short(p[1], meanings.get(p) or meanings.get((table, p[1])) or p[1]) for p in inputs}
            figures = list(dict.fromkeys(words[pair] for pair in inputs if pair[0] == "observation"))
            settings = list(dict.fromkeys(words[pair] for pair in inputs if pair[0] != "observation"))
            found.append(Column(name, short(name, meaning), meaning, figures, settings))
        return found

    @cached_property
    def _filled(self) -> dict[str, set[str]]:
        """Columns that hold anything at all, by indicator."""
        names = [column.name for column in self.columns]
        counts = ", ".join(f'count("{name}") AS "n_{name}"' for name in names)
        rows = self.facts.rows(f"SELECT indicator_id AS of_indicator, {counts} FROM mart.indicator_value GROUP BY ALL")
        found = {row["of_indicator"]: {name for name in names if row[f"n_{name}"]} for row in rows}
        return defaultdict(set, found)


def _by(rows: list[dict[str, Any]], key: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row[key]].append(row)
    return found


def _names(owners: Any) -> str:
    return ", ".join(sorted({words.owner(owner) for owner in owners}))


def _state(step: Step) -> str:
    """How the checks of a step went, in brief."""
    if not step.checks:
        return ""
    return "✓ alle Prüfungen bestanden" if step.passed == len(step.checks) else "✗ Prüfungen nicht bestanden"


def _inputs(column: tuple[str, str], from_where: dict[tuple[str, str], list[tuple[str, str]]]) -> set[tuple[str, str]]:
    """Columns of inputs (under the names of the tables that show them) that a column's value comes from."""
    found, waiting, seen = set(), [column], {column}
    while waiting:
        table, name = here = waiting.pop()
        before = [pair for pair in from_where.get(here, []) if pair not in seen]
        if table.endswith("_in") or here not in from_where:
            found.add((table.removesuffix("_in"), name))
        seen |= set(before)
        waiting += before
    return found


def short(name: str, meaning: str) -> str:
    """The beginning of a description that can stand as a name for a column."""
    if name in _SHORT:
        return _SHORT[name]
    first = re.split(r"[;:(]|\.\s|,\s(?!mit |wenn )", meaning, maxsplit=1)[0].strip()
    first = first.removeprefix("wahr, wenn ")
    return f"ob {first}" if meaning.startswith("wahr, wenn ") else first


def _grouped(columns: list[Column]) -> list[tuple[list[Column], list[str], list[str]]]:
    """Columns whose values come from the same inputs, together."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Column]] = defaultdict(list)
    for column in columns:
        groups[tuple(column.figures), tuple(column.settings)].append(column)
    return [(group, list(figures), list(settings)) for (figures, settings), group in groups.items()]


def _picture(
    indicator: Indicator, sources: list[Origin], used: list[Used], uses: list[tuple[str, str, str]]
) -> Picture:
    """Sources, measures, the indicator, and where it is used."""
    by_id = {measure.measure_id: measure for measure in used}

    def depth(measure_id: str) -> int:
        return 1 + max((depth(part) for part in by_id[measure_id].parts), default=0)

    last = max((depth(measure.measure_id) for measure in used), default=0) + 1
    boxes = [Box(f"quelle-{s.source_id}", s.title, 0, f"#quelle-{s.source_id}") for s in sources]
    arrows = []
    for measure in used:
        key = f"kennzahl-{measure.measure_id}"
        boxes.append(Box(key, measure.title, depth(measure.measure_id), f"#{key}"))
        arrows += [(f"quelle-{source}", key) for source in measure.sources]
        arrows += [(f"kennzahl-{part}", key) for part in measure.parts]
        arrows += [(key, "indikator")] if measure.roles else []
    boxes.append(Box("indikator", indicator.title_de, last, "#indikator", strong=True))
    boxes += [Box(key, title, last + 1, f"#{key}") for key, title, _ in uses]
    arrows += [("indikator", key) for key, _, _ in uses]
    headings = ["Quellen", "Gelieferte Kennzahlen", *["Gebildete Kennzahlen"] * (last - 2), "Indikator", "Verwendet in"]
    names = ", ".join(source.title for source in sources)
    words = f"Weg der Zahlen von {names or 'keiner Quelle mit Zahlen'} bis zum Indikator {indicator.title_de}"
    return in_columns(boxes, arrows, headings, words)


_STEPS = {
    "quellen": "Quellen",
    "pruefen": "Annehmen und prüfen",
    "zusammenfuehren": "Zusammenführen",
    "schuetzen": "Kleine Zahlen schützen",
    "auswerten": "Auswerten",
    "angreifen": "Angreifen und veröffentlichen",
    "bericht": "Bericht",
}
"""Steps of the flow; what happens in each stands in the template."""

_SHORT = {"method": "Weg zur Zahl", "comparison_confidence": "Sicherheit des Vergleichs"}
"""Names of columns whose descriptions begin with their values."""

_CELLS = """
    SELECT DISTINCT h.indikator, h.kennzahl, d.source_id
    FROM api.herkunft_aller_zahlen h JOIN meta.delivery d ON d.delivery_id = h.lieferung
    ORDER BY ALL
"""

_WAYS = """
    SELECT DISTINCT r.indikator, a.level, r.rechenweg, r.rolle, r.kennzahl, r.auspraegung
    FROM api.rechenwege r JOIN mart.area a ON a.area_id = r.gebiet
    ORDER BY r.indikator, a.level, r.rolle DESC, r.kennzahl
"""
