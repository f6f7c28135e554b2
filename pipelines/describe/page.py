"""Writes a proposal as the `defs.yaml` of a new topic."""

from __future__ import annotations

import shlex
from typing import Any

from pipelines.describe.figures import Draft
from pipelines.describe.names import readable, words
from pipelines.describe.paper import FILL_IN, Paper, commented
from pipelines.describe.proposal import Proposal
from pipelines.intake.failures import shown

_ENGLISH = "to be filled in"
_STANDARD_SUFFIXES = (".csv", ".xls", ".xlsx", ".xlsm", ".ods")


def write_page(found: Proposal) -> str:
    """The text of the page; every placeholder is valid, every doubt a comment beside the key it is about."""
    paper = Paper(found.notes)
    _top(paper, found)
    _source(paper, found)
    for draft in found.figures.measures:
        paper.break_document()
        _measure(paper, found, draft)
    return paper.text()


def _top(paper: Paper, found: Proposal) -> None:
    doubts = found.notes.doubts
    paper.note(f"Entwurf zu »{shown(found.file_name)}« von »sozialraum describe«.")
    place = f"assets/{found.id}/defs.yaml"
    where = f"Ans Ende von {place} anfügen (davor ---)" if found.exists else f"Nach {place} schreiben"
    paper.note(f"{where}, die Datei nach data/raw/{found.id}/ legen.")
    paper.lines.append(f"# Prüfen: sozialraum check {commented(shlex.quote(found.file_name))} --source {found.id}")
    paper.note(f"Zu tun: {doubts} × UNKLAR klären (oft nur mit dem Amt), alles mit {FILL_IN} ersetzen.")
    paper.place("file", 0)


def _source(paper: Paper, found: Proposal) -> None:
    title = shown(readable(found.file_name.rpartition(".")[0] or found.file_name))
    paper.pair("type", "pipelines.components.SourceComponent", 0)
    paper.open("attributes", 0)
    paper.pair("id", found.id, 2, "Ordner in data/raw")
    paper.mapping("title", {"de": title, "en": _ENGLISH}, 2, tail=FILL_IN)
    paper.mapping("description", {"de": "noch zu beschreiben", "en": _ENGLISH}, 2, tail=FILL_IN)
    paper.pair("publisher", "unbekannt", 2, f"{FILL_IN}: welches Amt die Datei herausgibt")
    paper.pair("owner", "team:datenteam", 2, f"{FILL_IN}: wer hier zuständig ist")
    paper.pair("licence", "unbekannt", 2, f"{FILL_IN}, z. B. dl-de/by-2-0")
    paper.pair("origin", "secondary", 2, f"{FILL_IN}: published (vom Amt), open_data, secondary, inferred, constructed")
    paper.note(
        "internal ist die sichere Vorgabe: Ungeschützte Zahlen dürfen nicht hinaus, deshalb hält die Nacht damit", 2
    )
    paper.note("jede Veröffentlichung an. Stehen die Zahlen schon öffentlich: public_elsewhere, dazu address.", 2)
    paper.pair("publication", "internal", 2)
    paper.pair("due", "none", 2, f"{FILL_IN}, z. B. {{days: [03-31], grace_days: 14}}")
    suffix = "." + found.file_name.rpartition(".")[2].lower()
    if suffix not in _STANDARD_SUFFIXES or (suffix == ".csv") == found.workbook:
        safe = suffix if words(suffix[1:]) == suffix[1:] else ""
        paper.pair("files", f"*{safe}", 2)
    paper.pair("format", found.form, 2)
    if found.sheets:
        paper.pair("workbook", {"sheets": found.sheets}, 2)
    if found.table:
        paper.mapping("table", found.table, 2)
    else:
        paper.place("table", 2)
    _layout(paper, found)
    _symbols(paper, found)
    _contract(paper, found)


def _symbols(paper: Paper, found: Proposal) -> None:
    if not found.figures.symbols:
        paper.place("symbols", 2)
        return
    paper.open("symbols", 2)
    for text, meaning in found.figures.symbols.items():
        paper.pair(text, meaning, 4, place=f"symbol:{text}")


def _layout(paper: Paper, found: Proposal) -> None:
    paper.open("layout", 2)
    if found.place.fixed is not None:
        paper.pair("fixed_area", found.place.fixed, 4, place="area")
    else:
        paper.mapping("area", found.place.keys, 4)
    paper.pair("period", found.time.keys, 4)
    if found.constant:
        paper.mapping("constant", found.constant, 4, tail="so muss es in jeder Zeile stehen")
    paper.open("values", 4)
    for entry in found.figures.values:
        paper.item(entry, 6)
    if found.ignore:
        paper.pair("ignore", found.ignore, 4)
    else:
        paper.place("ignore", 4)


def _contract(paper: Paper, found: Proposal) -> None:
    promises: dict[str, Any] = {}
    if found.complete:
        promises["complete"] = found.complete
    if found.figures.adds_up:
        promises["adds_up"] = found.figures.adds_up
    if not promises:
        paper.place("contract", 2)
        return
    paper.open("contract", 2)
    if found.complete:
        paper.pair("complete", found.complete, 4, "Gebiete, die in jedem Zeitraum stehen müssen")
    if found.figures.adds_up:
        paper.open("adds_up", 4)
        for entry in found.figures.adds_up:
            paper.item(entry, 6)


def _measure(paper: Paper, found: Proposal, draft: Draft) -> None:
    paper.pair("type", "pipelines.components.MeasureComponent", 0)
    paper.open("attributes", 0, f"measure:{draft.id}")
    paper.pair("id", draft.id, 2)
    paper.mapping("title", {"de": draft.title, "en": _ENGLISH}, 2, tail=FILL_IN)
    paper.pair("unit", draft.unit, 2)
    paper.pair("kind", draft.kind, 2, "Anzahl" if draft.kind == "count" else "Quote; wird nie summiert")
    paper.pair("family", draft.family, 2, "was zusammengehört, hat eine Familie")
    paper.pair("period_type", found.time.keys["type"], 2, place="-")
    if draft.categories:
        paper.open("categories", 2)
        for code, title in draft.categories.items():
            paper.item({"id": code, "title": {"de": title}}, 4)
        paper.pair("category_total", draft.category_total, 2)
    if draft.minimum is None:
        paper.pair("minimum", None, 2)
    if draft.maximum is not None:
        paper.pair("maximum", draft.maximum, 2)
    paper.pair("levels", {level: [found.id] for level in found.place.levels}, 2)
