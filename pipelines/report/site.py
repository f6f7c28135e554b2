"""Renders the pages of the report: what has not changed since the last time is taken from the cache."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipelines.files import sha256_text
from pipelines.marts.models import Models
from pipelines.report import (
    book,
    comparison,
    index_pages,
    indicator_pages,
    lineage,
    links,
    maps,
    numbers,
    profile,
    provenance_pages,
    quality,
    start,
    words,
)
from pipelines.report.cache import Cache
from pipelines.report.drawing import Chart, Picture, Studio
from pipelines.report.facts import Area, Facts, Indicator, News, Stamp, Value
from pipelines.report.page import Page
from schemas.codes import label, sign

TEMPLATES = Path(__file__).with_name("templates")
STYLE = "stil.css"
AT_ONCE = 50
"""Pages whose charts are drawn together."""
RELEASE, CREATED = "@@veroeffentlichung@@", "@@erstellt@@"
"""Stand in kept pages for what differs from release to release although nothing else may have changed."""


@dataclass
class Written:
    """What writing the report took."""

    pages: int = 0
    rendered: int = 0
    drawn: int = 0
    notes: list[str] = field(default_factory=list)


PAGE_MAKERS: tuple[Callable[[Facts], Iterator[Page]], ...] = (
    start.pages,
    profile.pages,
    indicator_pages.pages,
    maps.pages,
    comparison.pages,
    index_pages.pages,
    lineage.pages,
    quality.pages,
    provenance_pages.pages,
    book.pages,
)


class Renderer:
    """Templates, charts and the cache of one report."""

    def __init__(self, facts: Facts, cache: Cache) -> None:
        """Prepare the templates for the facts of one release."""
        self.facts = facts
        self.cache = cache
        self.studio = Studio(cache)
        self.environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals |= {
            "links": links,
            "numbers": numbers,
            "words": words,
            "release": facts.project.release,
            "release_id": RELEASE,
            "created": CREATED,
            "navigation": self.navigation,
            "label": label,
            "sign": sign,
            "figure": numbers.figure,
            "day": numbers.day,
        }
        self.rendered = 0

    @cached_property
    def navigation(self) -> list[tuple[str, str, str]]:
        """Main parts of the report: key, address, name."""
        indexes = self.facts.index_titles()
        return [
            ("start", links.START, "Start"),
            ("gebiete", links.AREAS, "Gebiete"),
            ("indikatoren", links.INDICATORS, "Indikatoren"),
            ("karten", links.MAPS, "Karten"),
            ("vergleich", links.COMPARISONS, "Vergleich"),
            *([("index", links.index_page(next(iter(indexes))), "Index")] if indexes else []),
            ("datenfluss", links.LINEAGE, "Datenfluss"),
            ("datenqualitaet", links.QUALITY, "Datenqualität"),
        ]

    @cached_property
    def _code(self) -> str:
        """Whatever the text of a page depends on besides its own data."""
        facts = self.facts
        return sha256_text(
            code_of_report(),
            repr(facts.project.release),
            repr(facts.areas),
            repr(self.navigation),
            repr(facts.benchmark_signs()),
        )

    def texts(self, pages: list[Page]) -> Iterator[tuple[Page, str]]:
        """Pages with their texts; charts of all of them are drawn at once, in two thirds of the time."""
        keys = [sha256_text(self._code, *_marks(page)) for page in pages]
        new = {key: page.filled() for page, key in zip(pages, keys, strict=True) if not self.cache.holds(key)}
        self.studio.draw([chart for context in new.values() for chart in charts_in(context)])
        for page, key in zip(pages, keys, strict=True):
            yield page, self._text(page, key, new.get(key))

    def _text(self, page: Page, key: str, context: dict[str, Any] | None) -> str:
        """A kept text begins with a line that names its charts, so that these are kept, too."""
        kept = self.cache.get(key)
        if kept is None:
            context = page.filled() if context is None else context
            charts = charts_in(context)
            kept = " ".join(chart.key for chart in charts) + "\n" + self._render(page, context, charts)
            self.cache.put(key, kept)
            self.rendered += 1
        drawn, _, text = kept.partition("\n")
        for chart in drawn.split():
            self.cache.touch(chart)
        stamp = self.facts.stamp
        return text.replace(RELEASE, stamp.release_id).replace(CREATED, f"{stamp.created:%d.%m.%Y}")

    def _render(self, page: Page, context: dict[str, Any], charts: list[Chart]) -> str:
        drawn = self.studio.draw(charts)

        def draw(drawing: Chart | Picture) -> Markup:
            return Markup(drawn[drawing.key] if isinstance(drawing, Chart) else drawing.svg())

        template = self.environment.get_template(page.template)
        root = links.up(page.path)
        place = {"root": root, "page": page, "title": page.title, "section": page.section, "draw": draw}
        return template.render({**context, **place, "m": words.Cells(root, self.facts)})


def _marks(page: Page) -> tuple[str, ...]:
    """What tells a page from any other."""
    return (page.path, page.template, page.title, page.section, page.key or repr(page.filled()))


def charts_in(content: Any) -> list[Chart]:
    """All charts in the data of a page, wherever they stand."""
    if isinstance(content, Chart):
        return [content]
    if content is None or isinstance(content, (str, int, float, dt.date, Value, Indicator, Area, Picture)):
        return []
    if isinstance(content, dict):
        content = list(content.values())
    elif dataclasses.is_dataclass(content):
        content = [getattr(content, one.name) for one in dataclasses.fields(content)]
    return [chart for part in content for chart in charts_in(part)] if isinstance(content, (list, tuple)) else []


@functools.cache
def code_of_report() -> str:
    """Hash of code and templates of this room."""
    here = Path(__file__).parent
    files = sorted(path for path in here.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return sha256_text(*[part for path in files for part in (path.name, path.read_text(encoding="utf-8"))])


def write_report(
    file: Path, models: Models, stamp: Stamp, folder: Path, cache_file: Path, changes: News | None = None
) -> Written:
    """Write all pages into a folder, which is replaced.

    Args:
        file: the public DuckDB file.
        models: the marts as declared, without a project folder.
        stamp: of the release the report belongs to.
        folder: where the pages are to stand.
        cache_file: what was rendered before; may be absent.
        changes: numbers of new, changed and withdrawn figures against the release before, None for the first one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    facts = Facts.read(file, models, stamp)
    facts.changes = changes
    try:
        with Cache(cache_file) as cache:
            renderer = Renderer(facts, cache)
            written = Written()
            for make in PAGE_MAKERS:
                for pages in _batches(make(facts)):
                    for page, text in renderer.texts(pages):
                        _write(folder / page.path, text)
                    written.pages += len(pages)
            _write(folder / STYLE, style())
            written.notes = book.write_book(facts, folder, cache_file.parent)
            last = start.downloads(facts, book.downloads(facts, folder))  # names what could be printed
            for page, text in renderer.texts([last]):
                _write(folder / page.path, text)
            written.pages += 1
            written.rendered, written.drawn = renderer.rendered, renderer.studio.drawn
    finally:
        facts.close()
    return written


def _batches(pages: Iterator[Page]) -> Iterator[list[Page]]:
    while batch := list(itertools.islice(pages, AT_ONCE)):
        yield batch


def style() -> str:
    """One style sheet out of all parts, the common one first."""
    parts = sorted(TEMPLATES.glob("*.css"), key=lambda path: (path.name != STYLE, path.name))
    return "\n".join(path.read_text(encoding="utf-8") for path in parts)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
