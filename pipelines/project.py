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
from pipelines.references import References
from pipelines.report.geometry import LevelMap, read_maps
from schemas.documents import (
    Areas,
    CompositeIndex,
    Document,
    Indicator,
    Mart,
    Measure,
    Release,
    Source,
)
from schemas.yaml_source import MAX_CHARACTERS, Parsed, Problem, parse

T = TypeVar("T", Areas, Source, Measure, Indicator, CompositeIndex, Mart, Release)
DEFS_FILE = "defs.yaml"
_NO_RULES = {"report.py", "run.py", "check.py", "verdict.py"}
"""Files of the intake that change no reading and no decision."""
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
    maps: dict[str, LevelMap] = field(default_factory=dict, repr=False)

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
    def indexes(self) -> dict[str, CompositeIndex]:
        """Composite indexes by id, in the declared order (sort_key, id)."""
        return {i.id: i for i in sorted(self._all(CompositeIndex), key=lambda i: (i.sort_key, i.id))}

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

    def intake_order(self) -> list[Source]:
        """Sources in alphabetical order, but each after those it must agree with."""
        order: dict[str, Source] = {}

        def place(source: Source) -> None:
            for other in source.compared_with():
                if other not in order and other != source.id:
                    place(self.sources[other])
            order.setdefault(source.id, source)

        for source in self.sources.values():
            place(source)
        return list(order.values())

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
                mode="json",
                include={
                    "format",
                    "workbook",
                    "table",
                    "layout",
                    "symbols",
                    "contract",
                    "corrections",
                    "breaks",
                    "origin",
                },
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
    intake, schemas = sorted((here / "intake").rglob("*.py")), sorted((here.parent / "schemas").glob("*.py"))
    files = [path for path in intake if path.name not in _NO_RULES] + [here / "areas.py", here / "periods.py", *schemas]
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
        text = _text_of(path, place, problems) or ""
        found, wrong = parse(text, place)
        parsed += found
        problems += wrong
        for document in found:
            topics[id(document.document)] = path.relative_to(paths.assets).parts[0]
    problems += _links_out(paths)
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
    maps: dict[str, LevelMap] = {}
    if not problems:
        maps, problems = _load_maps(parsed, directory, paths)
    project = Project(paths, parsed, directory, topics, maps)
    if not problems:
        problems = References(project).check()
    if problems:
        raise ConfigError(problems)
    return project


def _text_of(path: Path, place: str, problems: list[Problem]) -> str | None:
    """Content of a YAML file; None (and a problem) if it can't be read."""
    try:
        if not path.is_file():
            problems.append(Problem(place, 1, "keine gewöhnliche Datei"))
            return None
        if path.stat().st_size > 4 * MAX_CHARACTERS:
            problems.append(Problem(place, 1, f"die Datei ist zu groß (höchstens {MAX_CHARACTERS // 1024**2} MB)"))
            return None
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problems.append(Problem(place, line, "nicht in UTF-8 gespeichert (die erste Stelle ist in dieser Zeile)"))
    except OSError as error:
        problems.append(Problem(place, 1, f"nicht lesbar ({type(error).__name__})"))
    return None


def _links_out(paths: Paths) -> list[Problem]:
    """Links that lead out of assets/: what a project says must lie in it, else nobody notices when it changes."""
    inside = paths.assets.resolve()
    return [
        Problem(paths.relative(path), 1, "Verknüpfung aus assets/ heraus; die Datei selbst ablegen")
        for path in sorted(paths.assets.rglob("*"))
        if path.is_symlink() and not path.resolve().is_relative_to(inside)
    ]


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
    for key in ("areas", "memberships", "tiles", "geometry"):
        if not _below(folder / getattr(areas, key), paths.assets):
            text = f"»{key}«: die Datei »{getattr(areas, key)}« liegt nicht in assets/"
            problems.append(Problem(here.file, here.line(key), text))
    if problems:
        return Directory([], {}, []), problems
    return read_directory(
        [level.id for level in areas.levels], folder / areas.areas, folder / areas.memberships, paths.root
    )


def _load_maps(parsed: list[Parsed], directory: Directory, paths: Paths) -> tuple[dict[str, LevelMap], list[Problem]]:
    """Where areas lie, as far as the project says so; what the YAML names must be there."""
    here = next(p for p in parsed if isinstance(p.document, Areas))
    areas = here.document
    assert isinstance(areas, Areas)
    folder = (paths.root / here.file).parent
    for key, is_there in (("tiles", Path.is_file), ("geometry", Path.is_dir)):
        if key in areas.model_fields_set and not is_there(folder / getattr(areas, key)):
            what = "die Datei" if key == "tiles" else "den Ordner"
            text = f"»{key}«: {what} »{getattr(areas, key)}« gibt es neben dieser Datei nicht"
            return {}, [Problem(here.file, here.line(key), text)]
    return read_maps(directory.areas.values(), folder / areas.tiles, folder / areas.geometry, paths.root)


def _below(path: Path, folder: Path) -> bool:
    """Whether a path (`..` and links followed) stays in a folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a circle of links, a NUL character
        return False


def describe(document: Any) -> str:
    """German title and description of a document, for graph and catalogue."""
    title = document.title.de
    body = getattr(document, "description", None) or getattr(document, "definition", None)
    return f"{title}. {body.de}" if body else title
