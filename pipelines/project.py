"""A project: its YAML documents, areas and SQL, loaded by path and checked against each other. No Dagster here."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from pipelines.areas import Directory, read_directory
from pipelines.files import sha256_file, sha256_text
from pipelines.paths import Paths
from schemas.documents import (
    TOTAL,
    Areas,
    Document,
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
from schemas.yaml_source import Parsed, Problem, nearest, parse

T = TypeVar("T", Areas, Source, Measure, Indicator, Mart, Release)
DEFS_FILE = "defs.yaml"
_MEASURE_RULES = {"id", "kind", "categories", "category_total", "minimum", "maximum", "period_type"}


class ConfigError(Exception):
    """The project's files are not valid; `problems` holds one sentence per finding."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Keep the problems; the exception's text lists them line by line."""
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass
class Project:
    """Everything declared in one project folder."""

    paths: Paths
    parsed: list[Parsed]
    directory: Directory
    topics: dict[int, str] = field(default_factory=dict, repr=False)

    def _all(self, kind: type[T]) -> list[T]:
        return [p.document for p in self.parsed if isinstance(p.document, kind)]

    @cached_property
    def areas(self) -> Areas:
        """The one areas document."""
        return self._all(Areas)[0]

    @cached_property
    def release(self) -> Release:
        """The one release document."""
        return self._all(Release)[0]

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Sources by id, in alphabetical order."""
        return {s.id: s for s in sorted(self._all(Source), key=lambda s: s.id)}

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """Measures by id, in alphabetical order."""
        return {m.id: m for m in sorted(self._all(Measure), key=lambda m: m.id)}

    @cached_property
    def indicators(self) -> dict[str, Indicator]:
        """Indicators by id, in the declared order (sort_key, id)."""
        return {i.id: i for i in sorted(self._all(Indicator), key=lambda i: (i.sort_key, i.id))}

    @cached_property
    def marts(self) -> dict[str, Mart]:
        """Tables, views and macros by `schema.id`, in alphabetical order."""
        marts = {f"{m.schema_name}.{m.id}": m for m in self._all(Mart)}
        return dict(sorted(marts.items()))

    @cached_property
    def rules(self) -> str:
        """Hash over everything declared (YAML, SQL, area lists): the `rules` of a release."""
        parts = []
        for path in sorted(self.paths.assets.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                parts += [path.relative_to(self.paths.assets).as_posix(), sha256_file(path)]
        return sha256_text(*parts)

    def topic(self, document: Document) -> str:
        """Name of the folder that declares a document."""
        return self.topics.get(id(document), "projekt")

    def file(self, document: Document) -> Path:
        """The YAML file that declares a document."""
        return next(self.paths.root / p.file for p in self.parsed if p.document is document)

    def place(self, document: Document, *path: str | int) -> tuple[str, int]:
        """File (below the project) and line that declare a document or one of its keys."""
        found = next(p for p in self.parsed if p.document is document)
        return found.file, found.line(*path)

    def sql(self, mart: Mart) -> str | None:
        """SELECT of a mart, or None where the run fills the table itself."""
        path = self.file(mart).with_name(f"{mart.id}.sql")
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def rules_of(self, source: Source) -> str:
        """Hash over all that decides how a delivery of `source` is read and judged, code included.

        Titles, addresses and retractions are no part of it: they change no reading.
        """
        measures = [self.measures[m] for m in source.layout.measures() if m in self.measures]
        declared = {
            "source": source.model_dump(
                mode="json", include={"format", "layout", "symbols", "contract", "corrections", "origin"}
            ),
            "measures": [m.model_dump(mode="json", include=_MEASURE_RULES) for m in measures],
        }
        return sha256_text(json.dumps(declared, sort_keys=True, default=str), self.area_mark, _code_rules())

    @cached_property
    def area_mark(self) -> str:
        """Hash over all areas: a delivery is read anew when they change."""
        return sha256_text(*[repr(area) for area in self.directory.areas.values()])


@functools.cache
def _code_rules() -> str:
    """Hash over the code that reads and checks deliveries, as it was when this process first asked."""
    here = Path(__file__).resolve().parent
    intake, schemas = sorted((here / "intake").glob("*.py")), sorted((here.parent / "schemas").glob("*.py"))
    files = [*intake, here / "areas.py", here / "periods.py", *schemas]
    return sha256_text(*[sha256_file(path) for path in files])


def load_project(root: Path | str) -> Project:
    """Load and check the project in a folder.

    Raises:
        ConfigError: something in it is not valid; all findings at once, with file and line.
    """
    paths = Paths.of(root)
    if not paths.is_project():
        text = "kein Projektordner: erwartet werden assets/, data/ und dagster.yaml (neu anlegen: sozialraum init)"
        raise ConfigError([Problem(str(root), 1, text)])
    parsed: list[Parsed] = []
    problems: list[Problem] = []
    topics: dict[int, str] = {}
    for path in sorted(paths.assets.rglob(DEFS_FILE)):
        place = paths.relative(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            problems.append(Problem(place, line, "nicht in UTF-8 gespeichert (die erste Stelle ist in dieser Zeile)"))
            continue
        except OSError as error:
            problems.append(Problem(place, 1, f"nicht lesbar ({type(error).__name__})"))
            continue
        found, wrong = parse(text, place)
        parsed += found
        problems += wrong
        for document in found:
            topics[id(document.document)] = path.relative_to(paths.assets).parts[0]
    problems += [
        Problem(paths.relative(path), 1, "in assets/ stehen nur YAML, SQL und CSV, kein Python")
        for path in sorted(paths.assets.rglob("*.py"))
    ]
    problems += [
        Problem(paths.relative(path), 1, f"wird nicht gelesen: die Datei muss {DEFS_FILE} heißen")
        for path in sorted(paths.assets.rglob("*"))
        if path.name != DEFS_FILE and path.name.lower() in (DEFS_FILE, "defs.yml")
    ]
    if problems:
        raise ConfigError(problems)
    directory, problems = _load_areas(parsed, paths)
    project = Project(paths, parsed, directory, topics)
    if not problems:
        problems = list(_Checks(project).run())
    if problems:
        raise ConfigError(problems)
    return project


def _load_areas(parsed: list[Parsed], paths: Paths) -> tuple[Directory, list[Problem]]:
    problems: list[Problem] = []
    for kind in (Areas, Release):
        found = [p for p in parsed if isinstance(p.document, kind)]
        if len(found) != 1:
            where = found[1].file if found else paths.relative(paths.assets)
            problems.append(
                Problem(
                    where, 1, f"ein Projekt hat genau ein Dokument {kind.__name__}Component, hier sind es {len(found)}"
                )
            )
    if problems:
        return Directory([], {}, []), problems
    here = next(p for p in parsed if isinstance(p.document, Areas))
    areas = here.document
    assert isinstance(areas, Areas)
    folder = (paths.root / here.file).parent
    return read_directory(
        [level.id for level in areas.levels], folder / areas.areas, folder / areas.memberships, paths.root
    )


class _Checks:
    """References between documents: each names something that exists."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.levels = set(project.directory.levels)
        self.problems: list[Problem] = []

    def run(self) -> list[Problem]:
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
            elif isinstance(document, Mart):
                self._mart(parsed, document)
            elif isinstance(document, Release) and document.city not in self.project.directory.areas:
                self._unknown(parsed, ("city",), "area_id", document.city, self.project.directory.areas)
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
        for index, pair in enumerate(source.contract.not_above):
            place = ("contract", "not_above", index)
            for name, category in ((pair.measure, pair.category), (pair.than, pair.than_category)):
                self._measure_known(parsed, place, name, category)
                if name in self.project.measures and name not in source.layout.measures():
                    text = f"diese Quelle liefert {name} nicht (siehe layout.values), der Vergleich wäre wirkungslos"
                    self.problems.append(Problem(parsed.file, parsed.line(*place), text))

    def _measure(self, parsed: Parsed, measure: Measure) -> None:
        for level, figures in measure.levels.items():
            if level not in self.levels:
                self._unknown(parsed, ("levels", level), "Gebietsebene", level, self.levels)
            for figure in figures:
                if isinstance(figure, RolledUp):
                    if figure.rolled_up not in measure.levels:
                        self._unknown(parsed, ("levels", level), "Gebietsebene", figure.rolled_up, measure.levels)
                elif figure not in self.project.sources:
                    self._unknown(parsed, ("levels", level), "Quelle", figure, self.project.sources)
                elif measure.id not in self.project.sources[figure].layout.measures():
                    text = f"die Quelle {figure} liefert {measure.id} nicht (siehe ihr layout.values)"
                    self.problems.append(Problem(parsed.file, parsed.line("levels", level), text))
        if measure.formed is not None:
            self._formed(parsed, measure, measure.formed)

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

    def _mart(self, parsed: Parsed, mart: Mart) -> None:
        if mart.schema_name != "meta" and self.project.sql(mart) is None:
            text = f"{mart.id}.sql fehlt neben diesem YAML"
            self.problems.append(Problem(parsed.file, parsed.line("id"), text))


def describe(document: Any) -> str:
    """German title and description of a document, for graph and catalogue."""
    title = document.title.de
    body = getattr(document, "description", None) or getattr(document, "definition", None)
    return f"{title}. {body.de}" if body else title
