"""References between the documents of a project: each names something that exists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pipelines.intake.rules import ALWAYS_ERRORS, RULES
from pipelines.periods import parse_key
from schemas.documents import (
    ALL,
    TOTAL,
    Areas,
    CompositeIndex,
    Formed,
    FromRate,
    Indicator,
    Mart,
    Measure,
    Part,
    Release,
    RolledUp,
    Source,
)
from schemas.yaml_source import Parsed, Problem, nearest

if TYPE_CHECKING:
    from pipelines.project import Project

_KEY_FORMS = {
    "stichtag": "2019-12-31",
    "jahresdurchschnitt": "2019-jd",
    "kalenderjahr": "2019",
    "schuljahr": "2022-23",
}


class References:
    """References between documents: each names something that exists."""

    def __init__(self, project: Project) -> None:
        """Nothing is checked yet."""
        self.project = project
        self.levels = set(project.directory.levels)
        self.problems: list[Problem] = []

    def check(self) -> list[Problem]:
        """All findings, in the order of the files."""
        self._unique()
        self._titles()
        for parsed in self.project.parsed:
            document = parsed.document
            if isinstance(document, Source):
                self._source(parsed, document)
            elif isinstance(document, Measure):
                self._measure(parsed, document)
            elif isinstance(document, Indicator):
                self._indicator(parsed, document)
            elif isinstance(document, CompositeIndex):
                self._index(parsed, document)
            elif isinstance(document, Mart):
                self._mart(parsed, document)
            elif isinstance(document, Release):
                self._release(parsed, document)
        return self.problems

    def _unique(self) -> None:
        seen: dict[tuple[str, str], Parsed] = {}
        for parsed in self.project.parsed:
            document = parsed.document
            if isinstance(document, (Areas, Release)):
                continue
            name = f"{document.schema_name}.{document.id}" if isinstance(document, Mart) else document.id
            key = (type(document).__name__, name)
            if key in seen:
                first = f"{seen[key].file}:{seen[key].line('id')}"
                self.problems.append(Problem(parsed.file, parsed.line("id"), f"id »{name}« gibt es schon in {first}"))
            seen[key] = parsed

    def _titles(self) -> None:
        """Titles head the columns of wide tables: no two indicators may share one."""
        seen: dict[str, str] = {}
        for parsed in self.project.parsed:
            if isinstance(parsed.document, Indicator):
                title = parsed.document.title.de
                if title in seen and seen[title] != parsed.document.id:  # the same id twice is said elsewhere
                    text = f"der Indikator {seen[title]} heißt auch »{title}«; jeder Name einmal"
                    self.problems.append(Problem(parsed.file, parsed.line("title"), text))
                seen[title] = parsed.document.id

    def _unknown(self, parsed: Parsed, path: tuple[str | int, ...], what: str, name: str, known: Iterable[str]) -> None:
        match = nearest(name, known)
        hint = f"; meinten Sie »{match[0]}«?" if match else ""
        self.problems.append(Problem(parsed.file, parsed.line(*path), f"{what} »{name}« gibt es nicht{hint}"))

    def _release(self, parsed: Parsed, release: Release) -> None:
        areas, levels = self.project.directory.areas, self.project.directory.levels
        if release.city not in areas:
            self._unknown(parsed, ("city",), "area_id", release.city, areas)
        level = release.report.book_level
        if level is not None and level not in levels:
            self._unknown(parsed, ("report", "book_level"), "Ebene", level, levels)
        for told in release.report.levels:
            if told not in levels:
                self._unknown(parsed, ("report", "levels"), "Ebene", told, levels)
        for number, shown in enumerate(release.always_shown):
            if shown not in levels:
                self._unknown(parsed, ("always_shown", number), "Ebene", shown, levels)
        topics = {self.project.topic(indicator) for indicator in self.project.indicators.values()}
        for number, chapter in enumerate(release.report.chapters):
            for topic in chapter.topics:
                if topic not in topics and nearest(topic, topics):  # else its folder was removed; that stops no night
                    place = ("report", "chapters", number, "topics")
                    self._unknown(parsed, place, "Thema (Ordner mit Indikatoren)", topic, topics)

    def _measure_known(self, parsed: Parsed, path: tuple[str | int, ...], name: str, category: str = TOTAL) -> None:
        measure = self.project.measures.get(name)
        if measure is None:
            self._unknown(parsed, path, "measure", name, self.project.measures)
        elif category not in measure.all_categories():
            self._unknown(parsed, path, f"category von {name}:", category, measure.all_categories())

    def _source(self, parsed: Parsed, source: Source) -> None:
        for index, value in enumerate(source.layout.values):
            for name in value.possible_measures():
                measure = self.project.measures.get(name)
                key = "measure" if value.measure else "measures"
                self._measure_known(parsed, ("layout", "values", index, key), name, value.category)
                if measure is not None and measure.period_type != source.layout.period.type:
                    line = parsed.line("layout", "values", index)
                    text = f"{name} hat period_type {measure.period_type}, die Quelle {source.layout.period.type}"
                    self.problems.append(Problem(parsed.file, line, text))
        for level in source.layout.area.possible_levels() if source.layout.area else []:
            if level not in self.levels:
                self._unknown(parsed, ("layout", "area"), "Gebietsebene", level, self.levels)
        fixed = source.layout.fixed_area
        areas = self.project.directory.areas
        if fixed is not None and fixed not in areas:
            self._unknown(parsed, ("layout", "fixed_area"), "area_id", fixed, areas)
        if source.disclosure.units is not None:
            self._measure_known(parsed, ("disclosure", "units"), source.disclosure.units.measure)
        self._contract(parsed, source)

    def _contract(self, parsed: Parsed, source: Source) -> None:
        areas = self.project.directory.areas
        for level, expected in source.contract.complete.items():
            place: tuple[str | int, ...] = ("contract", "complete", level)
            if level not in self.levels:
                self._unknown(parsed, place, "Gebietsebene", level, self.levels)
            for area_id in expected if isinstance(expected, list) else []:
                if area_id not in areas:
                    self._unknown(parsed, place, "area_id", area_id, areas)
                elif areas[area_id].level != level:
                    text = f"{area_id} liegt auf der Ebene {areas[area_id].level}, nicht auf {level}"
                    self.problems.append(Problem(parsed.file, parsed.line(*place), text))
        self._comparisons(parsed, source)

    def _comparisons(self, parsed: Parsed, source: Source) -> None:
        """What the contract compares exists: measures, categories, rules, levels, periods."""
        for key, index, name, category in _named_in(source):
            self._named(parsed, source, (key, index) if key == "breaks" else ("contract", key, index), name, category)
        for rule in source.contract.severity:
            if rule not in RULES:
                self._unknown(parsed, ("contract", "severity", rule), "Regel", rule, RULES)
            elif rule in ALWAYS_ERRORS and source.contract.severity[rule] != "error":
                text = f"die Regel {rule} weist immer zurück: ohne sie gingen Zahlen verloren, ohne dass es auffällt"
                self.problems.append(Problem(parsed.file, parsed.line("contract", "severity", rule), text))
        for index, entry in enumerate(source.contract.areas_add_up):
            for level in {entry.level, entry.to} - self.levels:
                self._unknown(parsed, ("contract", "areas_add_up", index), "Gebietsebene", level, self.levels)
        for index, jump in enumerate(source.breaks):
            period_type = source.layout.period.type
            if parse_key(jump.since, period_type) is None:
                text = f"»{jump.since}« ist kein Zeitraum, erwartet wird etwa {_KEY_FORMS[period_type]}"
                self.problems.append(Problem(parsed.file, parsed.line("breaks", index, "since"), text))
        self._agreements(parsed, source)

    def _named(
        self, parsed: Parsed, source: Source, place: tuple[str | int, ...], name: str, category: str | None
    ) -> None:
        """A measure named in the contract exists, has the category, and is delivered by this source."""
        if category in (None, ALL) and name not in self.project.measures:
            self._unknown(parsed, place, "measure", name, self.project.measures)
        elif category not in (None, ALL):
            self._measure_known(parsed, place, name, str(category))
        if name in self.project.measures and name not in source.layout.measures():
            text = f"diese Quelle liefert {name} nicht (siehe layout.values), der Vergleich wäre wirkungslos"
            self.problems.append(Problem(parsed.file, parsed.line(*place), text))

    def _agreements(self, parsed: Parsed, source: Source) -> None:
        for index, entry in enumerate(source.contract.agrees):
            place = ("contract", "agrees", index)
            other = self.project.sources.get(entry.source)
            if other is None:
                self._unknown(parsed, place, "Quelle", entry.source, self.project.sources)
                continue
            if entry.with_measure not in other.layout.measures():
                self._unknown(
                    parsed, place, f"Kennzahl der Quelle {other.id}:", entry.with_measure, other.layout.measures()
                )
            for category in entry.with_categories:
                if category != ALL and entry.with_measure in self.project.measures:
                    self._measure_known(parsed, place, entry.with_measure, category)
            if source.id in self._reached(other.id, set()):
                text = f"{source.id} und {other.id} prüfen sich gegenseitig; so ist nicht bestimmt, welche zuerst gilt"
                self.problems.append(Problem(parsed.file, parsed.line(*place), text))

    def _reached(self, source_id: str, seen: set[str]) -> set[str]:
        """A source and all that it must agree with, directly or not."""
        if source_id not in seen and source_id in self.project.sources:
            seen.add(source_id)
            for other in self.project.sources[source_id].compared_with():
                self._reached(other, seen)
        return seen

    def _measure(self, parsed: Parsed, measure: Measure) -> None:
        for level in measure.levels:
            if level not in self.levels:
                self._unknown(parsed, ("levels", level), "Gebietsebene", level, self.levels)
            self._figures(parsed, measure, level)
        for part in (measure.rate_of.numerator, measure.rate_of.denominator) if measure.rate_of else ():
            self._measure_known(parsed, ("rate_of",), part.measure, part.category)
        if measure.formed is not None:
            self._formed(parsed, measure, measure.formed)

    def _figures(self, parsed: Parsed, measure: Measure, level: str) -> None:
        """Sources and sums that a level of a measure names."""
        for figure in measure.levels[level]:
            if isinstance(figure, RolledUp):
                if figure.rolled_up not in measure.levels:
                    self._unknown(parsed, ("levels", level), "Gebietsebene", figure.rolled_up, measure.levels)
            elif figure not in self.project.sources:
                self._unknown(parsed, ("levels", level), "Quelle", figure, self.project.sources)
            elif measure.id not in self.project.sources[figure].layout.measures():
                text = f"die Quelle {figure} liefert {measure.id} nicht (siehe ihr layout.values)"
                self.problems.append(Problem(parsed.file, parsed.line("levels", level), text))

    def _formed(self, parsed: Parsed, measure: Measure, formed: Formed) -> None:
        base = self.project.measures.get(formed.measure)
        for category in formed.categories:
            self._measure_known(parsed, ("formed",), formed.measure, category)
        if base is not None and base.kind == "rate":
            text = f"{base.id} ist eine Quote; Quoten werden nie summiert. Liefern Sie Zähler und Nenner als Anzahlen"
            self.problems.append(Problem(parsed.file, parsed.line("formed"), text))
        if base is not None and (base.formed or base.period_type != measure.period_type):
            text = f"{base.id} ist selbst gebildet oder hat einen anderen Zeitbezug; nur gelieferte Grundzahlen gehen"
            self.problems.append(Problem(parsed.file, parsed.line("formed"), text))

    def _indicator(self, parsed: Parsed, indicator: Indicator) -> None:
        for name in ("numerator", "denominator"):
            part: Part | None = getattr(indicator, name)
            if part is not None:
                self._measure_known(parsed, (name,), part.measure, part.category)
        self._same_period_type(parsed, indicator)
        self._benchmark(parsed, indicator)
        for level, figure in indicator.levels.items():
            if level not in self.levels:
                self._unknown(parsed, ("levels", level), "Gebietsebene", level, self.levels)
            if isinstance(figure, FromRate):
                self._measure_known(parsed, ("levels", level), figure.rate)
                rate = self.project.measures.get(figure.rate)
                if rate is not None and (rate.kind != "rate" or rate.unit != indicator.unit):
                    text = f"{rate.id} ist keine Quote in der Einheit {indicator.unit}"
                    self.problems.append(Problem(parsed.file, parsed.line("levels", level), text))

    def _same_period_type(self, parsed: Parsed, indicator: Indicator) -> None:
        """Annual means, reference dates, calendar and school years are never set in relation silently."""
        parts = [part for part in (indicator.numerator, indicator.denominator) if part]
        types = [self.project.measures[p.measure].period_type for p in parts if p.measure in self.project.measures]
        if len(set(types)) > 1 and indicator.denominator_date == "same":
            text = (
                f"Zähler ({types[0]}) und Nenner ({types[1]}) haben verschiedenen Zeitbezug; denominator_date angeben"
            )
            self.problems.append(Problem(parsed.file, parsed.line("denominator"), text))

    def _benchmark(self, parsed: Parsed, indicator: Indicator) -> None:
        """Area or level with which an indicator's values are compared: it exists and has figures of the indicator."""
        area, level = indicator.comparison.area, indicator.comparison.level
        areas = self.project.directory.areas
        if area is not None and area not in areas:
            self._unknown(parsed, ("comparison", "area"), "area_id", area, areas)
        elif area is not None:
            self._has_figures(parsed, indicator, "area", areas[area].level)
        if level is not None and level not in self.levels:
            self._unknown(parsed, ("comparison", "level"), "Gebietsebene", level, self.levels)
        elif level is not None:
            self._has_figures(parsed, indicator, "level", level)

    def _has_figures(self, parsed: Parsed, indicator: Indicator, key: str, level: str) -> None:
        """Without figures on the benchmark's level nothing would ever be compared."""
        if level in indicator.levels:
            return
        where, other = f"auf der Ebene {level}", "eine der Ebenen"
        if key == "area":
            where, other = f"{indicator.comparison.area} liegt {where}; dort", "ein Gebiet der Ebenen"
        text = (
            f"{where} hat der Indikator {indicator.id} keine Zahlen, verglichen würde nichts; "
            f"entweder {level} unter levels aufnehmen oder {other} {', '.join(indicator.levels)} nennen"
        )
        self.problems.append(Problem(parsed.file, parsed.line("comparison", key), text))

    def _index(self, parsed: Parsed, index: CompositeIndex) -> None:
        """Indicators, areas and levels of a composite index."""
        places: dict[str, tuple[str | int, ...]] = {level: ("levels", i) for i, level in enumerate(index.levels)}
        places[index.universe.level] = ("universe", "level")
        for level, place in places.items():
            if level not in self.levels:
                self._unknown(parsed, place, "Gebietsebene", level, self.levels)
        self._once(parsed, ("levels",), index.levels)
        self._once(parsed, ("universe", "exclude"), [entry.area for entry in index.universe.exclude])
        for position, entry in enumerate(index.indicators):
            self._index_indicator(parsed, ("indicators", position, "indicator"), entry.indicator, list(places))
            indicator = self.project.indicators.get(entry.indicator)
            if indicator is not None and indicator.polarity == "neutral":
                text = f"{indicator.id}: eine Wertung ist nötig: polarity higher_is_worse oder higher_is_better"
                self.problems.append(Problem(parsed.file, parsed.line("indicators", position, "indicator"), text))
            if entry.change is not None:
                self._index_indicator(parsed, ("indicators", position, "change"), entry.change, list(places))
        self._universe(parsed, index)

    def _once(self, parsed: Parsed, place: tuple[str | int, ...], names: list[str]) -> None:
        """Each name of a list stands in it once."""
        for position, name in enumerate(names):
            if name in names[:position]:
                text = f"»{name}« steht schon weiter oben in der Liste"
                self.problems.append(Problem(parsed.file, parsed.line(*place, position), text))

    def _index_indicator(self, parsed: Parsed, place: tuple[str | int, ...], name: str, levels: list[str]) -> None:
        """An indicator of an index exists, is no plain number, and has figures on every level it is needed on."""
        indicator = self.project.indicators.get(name)
        if indicator is None:
            self._unknown(parsed, place, "Indikator", name, self.project.indicators)
            return
        if indicator.unit == "persons":
            text = f"{name} ist eine Anzahl und hängt von der Größe des Gebiets ab; ein Index verlangt Anteile"
            self.problems.append(Problem(parsed.file, parsed.line(*place), text))
        lacking = [level for level in levels if level in self.levels and level not in indicator.levels]
        if lacking:
            text = f"den Indikator {name} gibt es nicht auf der Ebene {', '.join(sorted(lacking))} (siehe seine levels)"
            self.problems.append(Problem(parsed.file, parsed.line(*place), text))

    def _universe(self, parsed: Parsed, index: CompositeIndex) -> None:
        """Minimum size and exclusions are about areas of the universe's level."""
        level, minimum = index.universe.level, index.universe.minimum
        if minimum is not None:
            place: tuple[str | int, ...] = ("universe", "minimum")
            self._measure_known(parsed, place, minimum.measure, minimum.category)
            measure = self.project.measures.get(minimum.measure)
            base = self.project.measures.get(measure.formed.measure) if measure and measure.formed else measure
            if base is not None and level in self.levels and level not in base.levels:
                text = f"die Kennzahl {minimum.measure} gibt es nicht auf der Ebene {level}; kein Gebiet würde genügen"
                self.problems.append(Problem(parsed.file, parsed.line(*place), text))
        areas = self.project.directory.areas
        for position, entry in enumerate(index.universe.exclude):
            place = ("universe", "exclude", position)
            if entry.area not in areas:
                known = [area.area_id for area in areas.values() if area.level == level]
                self._unknown(parsed, place, "area_id", entry.area, known)
            elif areas[entry.area].level != level:
                text = f"{entry.area} liegt auf der Ebene {areas[entry.area].level}, nicht auf {level}"
                self.problems.append(Problem(parsed.file, parsed.line(*place), text))

    def _mart(self, parsed: Parsed, mart: Mart) -> None:
        if mart.schema_name != "meta" and self.project.sql(mart) is None:
            text = f"{mart.id}.sql fehlt neben diesem YAML"
            self.problems.append(Problem(parsed.file, parsed.line("id"), text))


def _named_in(source: Source) -> Iterator[tuple[str, int, str, str | None]]:
    """Measures and categories named in a source's contract and breaks: key, index, measure, category."""
    contract = source.contract
    for index, pair in enumerate(contract.not_above):
        yield "not_above", index, pair.measure, pair.category
        yield "not_above", index, pair.than, pair.than_category
    for index, added in enumerate(contract.adds_up):
        for part in (added.total, *added.parts):
            yield "adds_up", index, part.measure, part.category
    for index, sums in enumerate(contract.areas_add_up):
        for name in sums.measures:
            yield "areas_add_up", index, name, None
    for index, entry in enumerate(contract.agrees):
        for category in entry.categories:
            yield "agrees", index, entry.measure, category
    for index, change in enumerate(contract.change):
        yield "change", index, change.measure, change.category
    for index, jump in enumerate(source.breaks):
        yield "breaks", index, jump.measure, jump.category
