"""What `sozialraum audit` says about a table: on the terminal, in plain lines, on a page of its own."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.audit.table_relations import number
from pipelines.files import replacing
from pipelines.progress import Voice
from pipelines.reply.words import count, visible

if TYPE_CHECKING:
    from jinja2 import Template

    from pipelines.audit.table import Judged, Small, Verdict

LINES = 200
"""Cells that are listed on the terminal; the page lists all."""

PAGE_LINES = 2000
"""Rows of the table on the page; beyond that only rows with a withheld or small cell."""

_ORDER = {"exact_small": 0, "small": 1, "exact": 2, "open": 3}
_STYLE = {"exact_small": "bold red", "small": "red", "exact": "yellow", "open": "green"}


def tell(verdict: Verdict, voice: Voice) -> None:
    """Say everything: the cells, worst first, then the summary, then what was not looked at."""
    stars = sorted(verdict.stars, key=lambda judged: _ORDER[judged.kind])
    rests = [judged for judged in verdict.others if judged.bad]
    rows = [*stars, *rests]
    voice.say(heading(verdict))
    for note in verdict.printed.notes:
        voice.say(f"Zu beachten: {visible(note)}")
    if voice.person and rows:
        _table(verdict, rows[:LINES])
    else:
        for judged in rows[:LINES]:
            place = f" ({judged.place})" if judged.place else ""
            why = f" – {judged.proof}" if judged.proof else ""
            voice.say(f"  {judged.name}{place}: {learned(verdict, judged)}{why}")
    if len(rows) > LINES:
        voice.say(f"  … und {len(rows) - LINES} weitere; alle stehen auf der Seite (--html)")
    for small in _told_small(verdict)[:LINES]:
        voice.say(f"  {small.name} ({small.place}): {small_words(verdict, small)}")
    for sentence in summary(verdict):
        voice.say(sentence)
    voice.say(f"Nicht geprüft: {' '.join(unchecked(verdict))}")


def _table(verdict: Verdict, rows: list[Judged]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("Zelle", "Stelle", "ein Leser erfährt", "weil")
    for judged in rows:
        style = _STYLE[judged.kind] if judged.bad or judged.kind == "open" else ""
        place = re.sub(" »[^»]*«$", "", judged.place)  # the heading is part of the cell's name
        texts = [visible(text) for text in (judged.name, place, learned(verdict, judged), judged.proof)]
        table.add_row(Text(texts[0]), Text(texts[1]), Text(texts[2], style), Text(texts[3]))
    Console().print(table)


# ---------------------------------------------------------------- words


def heading(verdict: Verdict) -> str:
    """File, verdict and size in one line."""
    outcome = "sicher gegen Nachrechnen" if verdict.safe else "NICHT SICHER"
    relations = count(len(verdict.puzzle.system.relations), "Rechenbeziehung", "Rechenbeziehungen")
    cells = count(len(verdict.puzzle.cells), "Zelle", "Zellen")
    return f"{verdict.file}: {outcome} ({cells}, {number(len(verdict.stars))} davon gesperrt; {relations})"


def learned(verdict: Verdict, judged: Judged) -> str:
    """What a reader learns about a cell."""
    threshold = verdict.table.threshold
    if judged.kind == "exact_small":
        return f"genau {number(judged.high)}"
    if judged.kind == "small":
        known = f"{number(judged.low)} bis {number(judged.high)}"
        legend = verdict.table.stars_only_small and judged.position not in verdict.puzzle.remainders
        return f"{known} ({'wie die Legende sagt' if legend else f'sicher unter {threshold}'})"
    if judged.kind == "exact":
        if judged.high == 0:
            return "genau 0"
        return f"genau {number(judged.high)}{'' if verdict.table.amounts else ' (errechenbar, aber nicht klein)'}"
    return f"geschützt: {_range(judged)}"


def _range(judged: Judged) -> str:
    if math.isinf(judged.high):
        return f"{number(judged.low)} oder mehr"
    return f"{number(judged.low)} bis {number(judged.high)}"


def small_words(verdict: Verdict, small: Small) -> str:
    """A printed small number."""
    if small.position in verdict.puzzle.remainders:
        return f"nicht gesperrt, aber der Rest ist {number(small.value)}"
    return f"gedruckt ist {number(small.value)}, unter {verdict.table.threshold} und nicht gesperrt"


def _told_small(verdict: Verdict) -> list[Small]:
    return verdict.small if verdict.table.small_published == "report" else []


def summary(verdict: Verdict) -> list[str]:
    """The outcome in sentences."""
    stars, threshold = verdict.stars, verdict.table.threshold
    kinds = [judged.kind for judged in stars]
    exact = kinds.count("exact_small") + kinds.count("exact")
    total = count(len(stars), "gesperrten Zelle", "gesperrten Zellen")
    sentences = []
    if not stars:
        sentences.append("Die Tabelle enthält keine gesperrte Zelle.")
    elif exact or kinds.count("small"):
        text = f"Von {total} {_verb(exact)} sich {number(exact)} genau errechnen"
        if not verdict.table.amounts and kinds.count("exact"):
            text += f" (davon {number(kinds.count('exact'))} mit Werten, die nicht klein sind)"
        if kinds.count("small"):
            text += f", bei {number(kinds.count('small'))} weiteren steht fest, dass sie unter {threshold} liegen"
        sentences.append(f"{text}; {number(kinds.count('open'))} sind geschützt.")
    else:
        sentences.append(f"Keine der {total} lässt sich errechnen.")
    bad = [judged.position in verdict.puzzle.remainders for judged in verdict.others if judged.bad]
    if any(bad):
        lies = "der unter" if bad.count(True) == 1 else "die unter"
        what = "steht ein Rest (Ganzes ohne Teil)" if bad.count(True) == 1 else "stehen Reste (Ganzes ohne Teil)"
        verb = "liegt" if bad.count(True) == 1 else "liegen"
        sentences.append(f"In {count(bad.count(True), 'Zeile', 'Zeilen')} {what} fest, {lies} {threshold} {verb}.")
    if not all(bad):
        what = count(bad.count(False), "Zahl, die nicht gedruckt ist, liegt", "Zahlen, die nicht gedruckt sind, liegen")
        sentences.append(f"{what} erkennbar unter {threshold}.")
    if _told_small(verdict):
        what = count(len(verdict.small), "Zahl", "Zahlen")
        sentences.append(f"{what} von 1 bis {threshold - 1} {_is(len(verdict.small))} gar nicht gesperrt.")
    return sentences


def _verb(amount: int) -> str:
    return "lässt" if amount == 1 else "lassen"


def _is(amount: int) -> str:
    return "ist" if amount == 1 else "sind"


def unchecked(verdict: Verdict) -> list[str]:
    """What the verdict does not say."""
    elsewhere = "Andere Tabellen, frühere Ausgaben und andere Gebietseinteilungen derselben Zahlen"
    sentences = [
        f"{elsewhere}; gezählt wird nur, was in dieser Tabelle steht und in der Beschreibung als Summe genannt ist.",
        "Ob jemand seinen eigenen Fall kennt und abzieht.",
        "Ob jede Zelle gesperrt ist, bei der weniger Haushalte oder Betriebe als Personen dahinterstehen.",
    ]
    if verdict.table.amounts:
        sentences.append("Wie eng ein Betrag eingegrenzt ist: gezählt werden nur genau errechenbare Beträge.")
    if verdict.table.secondary_harmless:
        sentences.append("Errechenbare Zellen ab der Schwelle gelten laut Beschreibung als unbedenklich.")
    return sentences


# ---------------------------------------------------------------- the page


@dataclass(frozen=True)
class _PageCell:
    """A cell of the printed table on the page: its text, what it means (class and words)."""

    text: str
    kind: str = ""
    words: str = ""


def write_page(verdict: Verdict, path: Path) -> None:
    """Write the page; the old one stays until the new one is whole."""
    marks = _marks(verdict)
    lines = [(line.line, _page_cells(verdict, number_, marks)) for number_, line in enumerate(verdict.printed.lines)]
    shortened = len(lines) > PAGE_LINES
    if shortened:
        lines = [entry for entry in lines if any(cell.kind for cell in entry[1])][:PAGE_LINES]
    ordered = sorted((*verdict.stars, *(j for j in verdict.others if j.bad)), key=lambda j: _ORDER[j.kind])
    text = _template().render(
        verdict=verdict,
        heading=heading(verdict),
        summary=summary(verdict),
        unchecked=unchecked(verdict),
        header=verdict.printed.header,
        lines=lines,
        shortened=shortened,
        listed=[(judged, learned(verdict, judged)) for judged in ordered],
        small=[(small, small_words(verdict, small)) for small in _told_small(verdict)],
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _marks(verdict: Verdict) -> dict[int, tuple[str, str]]:
    """Class and words by position of the cell."""
    marks = {}
    for judged in verdict.stars:
        kind = {"exact_small": "genau", "small": "klein", "exact": "errechenbar", "open": "sicher"}[judged.kind]
        marks[judged.position] = (kind if judged.bad or kind == "sicher" else "harmlos", learned(verdict, judged))
    for small in _told_small(verdict):
        if small.position in verdict.puzzle.cells:
            marks[small.position] = ("offen", f"unter {verdict.table.threshold}, nicht gesperrt")
    return marks


def _page_cells(verdict: Verdict, at: int, marks: dict[int, tuple[str, str]]) -> list[_PageCell]:
    """One row of the printed table; counts stand in the puzzle in the order they were read in."""
    line, counts = verdict.printed.lines[at], verdict.printed.counts
    places = {name: at * len(counts) + order for order, name in enumerate(counts)}
    cells = []
    for name, text in zip(verdict.printed.header, line.texts, strict=False):
        kind, words = marks.get(places.get(name, -1), ("", ""))
        cells.append(_PageCell(text, kind, words))
    return cells


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # loads only when there is a page to write

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"sichtbar": visible}
    return environment.get_template("page.html.j2")
