"""Draft of the e-mail to the sender: short, polite, the most important points in one sentence each."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from pipelines.reply.case import Case
from pipelines.reply.points import Point, Section
from pipelines.reply.words import count, shortened, visible

POINTS = 5
WIDTH = 76
_ALIKE = 3
_LONGEST_POINT = 320
_LONGEST_EXPECTED = 70


@dataclass(frozen=True)
class Letter:
    """Subject and text; both empty if there is nothing to write, `reason` then says why."""

    subject: str = ""
    body: str = ""
    reason: str = ""

    def text(self) -> str:
        """The draft as a plain text file."""
        if self.reason:
            return f"{self.reason}\n"
        return f"Betreff: {self.subject}\n\n{self.body}\n"


def letter(case: Case, attachments: list[str]) -> Letter:
    """Write the draft.

    Args:
        case: the judged delivery.
        attachments: names of the files that go with it.
    """
    if case.kind == "lost":
        return Letter(
            reason="Kein Schreiben an den Absender: geändert wurde die Beschreibung der Quelle, nicht die Datei."
        )
    if case.kind == "clean":
        return Letter(reason="Kein Schreiben nötig: es gibt nichts zu beanstanden.")
    if not _told(case):
        return Letter(
            reason="Kein Schreiben an den Absender: zu prüfen sind die Berichtigungen in der Beschreibung der Quelle."
        )
    paragraphs = [
        "Guten Tag,",
        _opening(case),
        *_points(case),
        *_rest(case),
        *_request(case),
        f"Alle Stellen mit den Zeilen Ihrer Datei finden Sie in den Anlagen ({', '.join(attachments)}).",
        "Bei Fragen melden Sie sich gern.",
        f"Mit freundlichen Grüßen\n[Name]\n{case.project.release.publisher}, {case.project.release.contact}",
    ]
    return Letter(_subject(case), "\n\n".join(_wrapped(paragraph) for paragraph in paragraphs))


def _subject(case: Case) -> str:
    name = shortened(visible(case.name), 80)
    return {
        "rejected": f"Ihre Datei {name}: bitte berichtigen und noch einmal senden",
        "contradicting": f"Ihre Datei {name}: Zahlen widersprechen sich, bitte prüfen",
    }.get(case.kind, f"Ihre Datei {name}: übernommen, mit der Bitte um einen Blick")


def _opening(case: Case) -> str:
    arrived = "" if case.trial else f", eingegangen am {case.received_on:%d.%m.%Y} (Lieferung {case.delivery_id})"
    start = f"vielen Dank für die Datei »{visible(case.name)}« ({case.source.title.de}){arrived}."
    errors, warnings = case.verdict.errors, case.verdict.warnings
    if case.kind == "rejected":
        return (
            f"{start} Leider konnten wir sie nicht übernehmen. {_lead(case, errors, 'Beanstandung', 'Beanstandungen')}"
        )
    if case.kind == "contradicting":
        lead = _lead(case, errors, "Widerspruch", "Widersprüche")
        return f"{start} Wir haben sie übernommen; ihre Zahlen passen aber nicht zu anderen Lieferungen. {lead}"
    lead = _lead(case, warnings, "Hinweis", "Hinweise")
    return f"{start} Wir haben sie übernommen. Dabei ist uns etwas aufgefallen. {lead}"


def _lead(case: Case, number: int, one: str, many: str) -> str:
    points = sum(len(section.points) for section in _told(case))
    return f"Es gibt {count(number, one, many)}" + (", die wichtigsten:" if points > POINTS else ":")


def _told(case: Case) -> list[Section]:
    """Sections the letter is about."""
    severity = "warning" if case.kind == "noted" else "error"
    return [section for section in case.for_sender if section.severity == severity]


def _points(case: Case) -> list[str]:
    """First points of each section, up to `POINTS` in all, in order of importance; the others as lines."""
    sections = _told(case)
    depths = [_depth(section) for section in sections]
    places = [(depth, at) for depth in range(max(depths)) for at, most in enumerate(depths) if depth < most]
    chosen = sorted((at, depth) for depth, at in places[:POINTS])
    texts = []
    for number, (at, depth) in enumerate(chosen, 1):
        section = sections[at]
        parts = [f"{number}. {_point(case, section.points[depth])}"]
        if (at, depth + 1) not in chosen:  # the last of its section
            rest = section.rest(depth + 1)
            parts += [f"{rest}."] if rest else []
            parts.append(section.rule.advice)
        texts.append(" ".join(parts))
    return texts


def _depth(section: Section) -> int:
    """Points of a section that may be told: two stand for many of one kind."""
    return len(section.points) if len(section.points) <= _ALIKE else _ALIKE - 1


def _point(case: Case, point: Point) -> str:
    text = shortened(point.sentence(case.words), _LONGEST_POINT)
    expected = point.expected(case.words)
    if point.suggestion or len(expected) > _LONGEST_EXPECTED:
        return text
    return f"{text} Erwartet: {expected}."


def _rest(case: Case) -> list[str]:
    if case.kind == "noted" or not case.verdict.warnings:
        return []
    number = case.verdict.warnings
    verb = "verhindert" if number == 1 else "verhindern"
    what = f"Dazu {'kommt' if number == 1 else 'kommen'} {count(number, 'Hinweis', 'Hinweise')}"
    relative = "der" if number == 1 else "die"
    return [f"{what}, {relative} die Übernahme nicht {verb} (siehe Anlagen)."]


def _request(case: Case) -> list[str]:
    if case.kind == "rejected":
        now = "Bis dahin gelten bei uns die früher übernommenen Zahlen weiter."
        if case.in_force is None:
            now = "Bis dahin fehlen diese Zahlen bei uns."
        ask = "Bitte berichtigen Sie die Stellen und senden Sie uns die vollständige Datei noch einmal."
        return [f"{ask} {now}"]
    if case.kind == "contradicting":
        return ["Bitte prüfen Sie, welche Zahl stimmt, und geben Sie uns Bescheid."]
    return ["Bitte sehen Sie sich die Stellen an. Ist etwas davon ein Versehen, senden Sie uns eine berichtigte Datei."]


def _wrapped(paragraph: str) -> str:
    """Lines of an e-mail; the later lines of a numbered point are indented."""
    indent = "   " if paragraph[:2].rstrip(".").isdigit() else ""
    lines = [
        textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in paragraph.split("\n")
    ]
    return "\n".join(lines)
