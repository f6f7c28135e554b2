"""The answer on a screen: groups as on the page, the most important first; plain lines where nobody is watching."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.progress import Voice
from pipelines.reply.case import Case
from pipelines.reply.points import Section
from pipelines.reply.words import count, number, sentence, shortened, visible

if TYPE_CHECKING:
    from rich.console import Console

POINTS = 5
"""Different points of one rule that are shown."""
_LONGEST = 500


def tell(case: Case, notes: list[str], voice: Voice) -> None:
    """Say everything about a case."""
    if voice.person:
        from rich.console import Console

        show(case, notes, Console(highlight=False))
    else:
        for line in plain_lines(case, notes):
            voice.say(line)


def plain_lines(case: Case, notes: list[str]) -> list[str]:
    """One line per fact, for logs and pipes."""
    lines = [f"{visible(case.name)}: {case.heading()} – {case.counted}"]
    lines += [f"Zu beachten: {visible(note)}" for note in notes]
    lines += [f"Angekommen: {text}" for text in _arrived(case)]
    for section in case.sections:
        lines.append(f"{_kind(section).upper()}: {section.rule.title} ({_often(section)}; Regel {section.rule.id})")
        lines += [f"  {text}" for text in _points(case, section)]
        lines.append(f"  Zu tun: {section.rule.advice}")
    return lines


def show(case: Case, notes: list[str], console: Console) -> None:
    """The same in colours, wrapped to the screen's width."""
    from rich.padding import Padding
    from rich.text import Text

    style = {"rejected": "bold red", "lost": "bold red", "contradicting": "bold yellow", "noted": "bold yellow"}
    console.print(Text(visible(case.name), "bold"))
    console.print(Text(f"{case.heading()}: {case.counted}", style.get(case.kind, "bold green")))
    for note in notes:
        console.print(Padding(Text(f"Zu beachten: {visible(note)}"), (1, 0, 0, 0)))
    console.print(Text("\nAngekommen", "bold"))
    for text in _arrived(case):
        console.print(Padding(Text(text), (0, 0, 0, 2)))
    for at, section in enumerate(case.sections, 1):
        error = section.severity == "error"
        heading = Text(f"\n{at}. {_kind(section)}: ", "red" if error else "yellow")
        heading.append(section.rule.title, "bold")
        heading.append(f"  {_often(section)}", "dim")
        console.print(heading)
        for text in _points(case, section):
            deeper = 5 if text.startswith(" ") else 3
            console.print(Padding(Text(text.strip()), (0, 0, 0, deeper)))
        console.print(Padding(Text(f"Zu tun: {section.rule.advice}", "cyan"), (0, 0, 0, 3)))
    console.print()


def _kind(section: Section) -> str:
    return "Beanstandung" if section.severity == "error" else "Hinweis"


def _often(section: Section) -> str:
    return count(len(section.findings), "Stelle", "Stellen")


def _points(case: Case, section: Section) -> list[str]:
    """Place, defect and expectation of the first points."""
    lines = []
    for point in section.points[:POINTS]:
        lines.append(shortened(point.sentence(case.inner_words), _LONGEST))
        lines.append(f"  Erwartet: {sentence(shortened(point.expected(case.inner_words), _LONGEST))}")
    return [*lines, *filter(None, [section.rest(POINTS)])]


def _arrived(case: Case) -> list[str]:
    """What could be read, one line per measure and level."""
    size, lines = case.size(), case.line_count()
    found = [", ".join(filter(None, [size, count(lines, "Zeile", "Zeilen") if lines is not None else ""]))]
    for a in case.arrivals():
        parts = [f"{number(a.areas)} {a.level}", a.periods, count(a.figures, "Wert", "Werte")]
        parts += [f"{number(a.withheld)} geheim"] if a.withheld else []
        parts += [f"{number(a.missing)} ohne Angabe"] if a.missing else []
        sheets = f" (Blatt {a.sheets})" if a.sheets else ""
        found.append(f"{a.measure}: {', '.join(parts)}{sheets}")
    absent = case.not_arrived()
    return [*found, f"nicht angekommen: {', '.join(absent)}"] if absent else found
