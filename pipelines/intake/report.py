"""The answer to a delivery's sender: German page to forward, table to work with, draft of an e-mail. Stays inside."""

from __future__ import annotations

import csv
import functools
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.files import sha256_file, sha256_text, write_text
from pipelines.history import Delivery, History, in_force
from pipelines.intake.failures import column_letters
from pipelines.intake.verdict import Verdict
from pipelines.project import Project
from pipelines.reply.agreement import agreement
from pipelines.reply.case import Case, Kind
from pipelines.reply.excerpt import excerpts, has_row, wanted_lines
from pipelines.reply.letter import letter
from pipelines.reply.points import Section
from pipelines.reply.rows import Rows, read_rows
from pipelines.reply.words import LEGEND, count, number, shortened, visible
from schemas.documents import Source

if TYPE_CHECKING:
    from jinja2 import Template

POINTS_SHOWN = 12
"""Different points of one rule that the page describes; the table lists all."""
_LONGEST_SENTENCE = 700
_NUMBER = re.compile(r"-?[0-9]+(?:[.,][0-9]+)*")
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_COLUMNS = [
    "Art",
    "Blatt",
    "Zeile",
    "bis Zeile",
    "Spalte",
    "Spaltenbuchstabe",
    "Spaltenname",
    "Wert",
    "Regel",
    "Beanstandung",
    "Erwartet",
]


def report_paths(project: Project, delivery: Delivery) -> tuple[Path, Path, Path]:
    """Page (HTML), table (CSV) and e-mail (text) about a delivery."""
    return _paths(project.paths.answers, delivery.delivery_id)


def write_report(project: Project, source: Source, delivery: Delivery, verdict: Verdict) -> Path:
    """Write the three files; returns the path of the HTML page. What is written already is not made again.

    Args:
        project: the project whose folder of answers is used.
        source: the source of the delivery.
        delivery: the delivery as decided.
        verdict: what was found.
    """
    kind = kind_of(verdict, delivery.decision, changed_rules=delivery.rules != project.rules_of(source))
    case = Case(
        project,
        source,
        verdict,
        kind,
        delivery.file,
        delivery.name,
        delivery.received_on,
        delivery.delivery_id,
        in_force=newest_in_force(project, source, delivery.delivery_id) if kind == "rejected" else None,
    )
    return write_answer(case, project.paths.answers, delivery.delivery_id)


def kind_of(verdict: Verdict, decision: str | None, *, changed_rules: bool) -> Kind:
    """What became of a delivery.

    Args:
        verdict: what was found.
        decision: as in its receipt.
        changed_rules: the receipt's decision was taken under other rules than today's.
    """
    if verdict.errors:
        if decision != "accepted":
            return "rejected"
        return "lost" if changed_rules else "contradicting"
    return "noted" if verdict.warnings else "clean"


def newest_in_force(project: Project, source: Source, apart_from: str = "") -> Delivery | None:
    """The delivery of a source in force that arrived last; not the one named."""
    counting = in_force(source, History(project.paths).deliveries(source.id))
    others = [d for d in counting if d.delivery_id != apart_from]
    return others[-1] if others else None


def write_answer(case: Case, folder: Path, stem: str) -> Path:
    """Write page, table and e-mail about a case; returns the path of the page."""
    page, table, mail = _paths(folder, stem)
    mark = _mark(case)
    if all(path.is_file() for path in (page, table, mail)) and f'content="{mark}"' in _start(page):
        return page
    draft = letter(case, [page.name, table.name])
    texts = {page: _html(case, mark, table.name, mail.name), table: _csv(case), mail: draft.text()}
    for path, text in texts.items():
        content = text.encode("utf-8", "replace")
        if not path.exists() or path.read_bytes() != content:
            write_text(path, content.decode())
    return page


def _paths(folder: Path, stem: str) -> tuple[Path, Path, Path]:
    return folder / f"{stem}.html", folder / f"{stem}.csv", folder / f"{stem}.txt"


def _start(page: Path) -> str:
    with page.open(encoding="utf-8", errors="replace") as file:
        return file.read(500)


# ---------------------------------------------------------------- page


def _html(case: Case, mark: str, table_name: str, letter_name: str) -> str:
    rows = read_rows(case.source, case.file, wanted_lines(case.sections))
    arrivals = case.arrivals()
    content = {
        "case": case,
        "mark": mark,
        "name": visible(case.name),
        "facts": _facts(case),
        "summary": case.counted[:1].upper() + case.counted[1:],
        "steps": case.to_do(),
        "errors": [_shown(case, section, rows) for section in case.errors],
        "warnings": [_shown(case, section, rows) for section in case.warnings],
        "arrivals": arrivals,
        "absent": case.not_arrived(),
        "workbook": case.source.workbook is not None,
        "signs": {"withheld": any(a.withheld for a in arrivals), "missing": any(a.missing for a in arrivals)},
        "unlisted": _unlisted(case.verdict),
        "problem": rows.problem,
        "agreed": agreement(case.project, case.source),
        "letter": letter(case, [f"{Path(table_name).stem}.html", table_name]),
        "table_name": table_name,
        "letter_name": letter_name,
    }
    page = _template().render(content, legend="")
    used = [f"{sign.removesuffix('U+')} {meaning}" for sign, meaning in LEGEND.items() if sign in page]
    return _template().render(content, legend=", ".join(used)) if used else page


def _shown(case: Case, section: Section, rows: Rows) -> dict[str, Any]:
    """A section as the page shows it."""
    points = [
        {
            "sentence": shortened(point.sentence(case.words), _LONGEST_SENTENCE),
            "expected": shortened(point.expected(case.words), _LONGEST_SENTENCE),
            "beside": has_row(section, point, rows),
        }
        for point in section.points[:POINTS_SHOWN]
    ]
    rest = section.rest(POINTS_SHOWN)
    return {
        "rule": section.rule,
        "severity": section.severity,
        "points": points,
        "several": len(points) > 1,
        "often": "" if len(section.findings) == 1 else count(len(section.findings), "Stelle", "Stellen"),
        "summary": section.summary(),
        "more": f"{rest}." if rest else "",
        "excerpts": excerpts(section, rows, case.source, case.words),
    }


def _facts(case: Case) -> list[tuple[str, str]]:
    """Label and text of what identifies the delivery."""
    facts = [("Daten", case.source.title.de), ("Von", case.source.publisher)]
    if not case.trial:
        facts += [("Eingegangen", f"{case.received_on:%d.%m.%Y}"), ("Lieferung", case.delivery_id)]
    lines = case.line_count()
    size = [case.size(), count(lines, "Zeile", "Zeilen") if lines is not None else ""]
    return [*facts, ("Größe", ", ".join(filter(None, size)) or "unbekannt")]


def _unlisted(verdict: Verdict) -> str:
    total = verdict.errors + verdict.warnings
    if total <= len(verdict.failures):
        return ""
    return f"Einzeln aufgeführt sind {number(len(verdict.failures))} von {number(total)} Stellen."


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # loads only when there is a page to write

    environment = Environment(
        loader=FileSystemLoader(_folder()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"sichtbar": visible, "zahl": number}
    return environment.get_template("page.html.j2")


def _folder() -> Path:
    return Path(__file__).resolve().parents[1] / "reply"


def _mark(case: Case) -> str:
    """Changes whenever the answer would read otherwise."""
    newest = case.in_force.delivery_id if case.in_force else ""
    project = case.project
    measures = [repr(project.measures.get(measure)) for measure in case.source.layout.measures()]
    known = [repr(project.areas), repr(project.release), *measures]
    about = [case.kind, case.name, case.delivery_id, str(case.received_on), str(case.trial), newest]
    return sha256_text(repr(case.verdict), repr(case.source), *known, *about, str(case.file.is_file()), _program())[:16]


@functools.cache
def _program() -> str:
    """Hash over the code that writes answers."""
    files = sorted(path for path in _folder().iterdir() if path.suffix in (".py", ".j2"))
    rules = Path(__file__).with_name("rules.py")
    return sha256_text(*[sha256_file(path) for path in [*files, rules, Path(__file__)]])


# ---------------------------------------------------------------- table


def _csv(case: Case) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for section in case.sections:
        kind = "Beanstandung" if section.severity == "error" else "Hinweis"
        for f in sorted(section.findings, key=lambda f: (f["sheet"], f["line"], f["column"])):
            row = [
                kind,
                f["sheet"],
                f["line"] or "",
                f["last_line"] or "",
                f["column"] or "",
                column_letters(f["column"]),
                f["column_name"],
                f["value"],
                f["rule"],
                case.words(f["message"]),
                case.words(f["expected"]),
            ]
            writer.writerow([_harmless(str(cell)) for cell in row])
    return "\ufeff" + out.getvalue()


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet could run as a formula is shown as text; plain numbers stay numbers."""
    text = "".join(sign if sign in "\t\n\r" else visible(sign) for sign in cell)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
