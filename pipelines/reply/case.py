"""One judged delivery and everything its sender is to be told about it, apart from the form."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pipelines.history import Delivery
from pipelines.intake.verdict import Verdict
from pipelines.project import Project
from pipelines.reply.points import Section, sections
from pipelines.reply.words import count, findings_words, outside_quotes, period_words, visible
from schemas.documents import Source

Kind = Literal["rejected", "lost", "contradicting", "noted", "clean"]
"""rejected: not taken over. lost: was accepted, changed rules would reject it. contradicting: accepted, but does not
agree with deliveries that came later. noted: accepted, with warnings. clean: nothing to say."""
_YAML = re.compile(r"\s*\([^()]*YAML[^()]*\)|,? oder [^,;]*YAML[^,;]*|im YAML |; Berichtigung prüfen")
_MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Arrival:
    """What arrived of one measure on one level, in words."""

    measure: str
    level: str
    periods: str
    areas: int
    figures: int
    withheld: int
    missing: int
    sheets: str


@dataclass(frozen=True)
class Case:
    """A delivery with its verdict. `trial`: nothing was delivered, somebody asks what would happen."""

    project: Project
    source: Source
    verdict: Verdict
    kind: Kind
    file: Path
    name: str
    received_on: dt.date
    delivery_id: str
    trial: bool = False
    in_force: Delivery | None = None
    """Newest accepted delivery of the source, other than this one."""

    @cached_property
    def sections(self) -> list[Section]:
        """Findings by rule, the most important first."""
        return sections(self.verdict.failures, self.verdict.by_rule)

    @property
    def errors(self) -> list[Section]:
        """Sections that must be mended."""
        return [section for section in self.sections if section.severity == "error"]

    @property
    def warnings(self) -> list[Section]:
        """Sections to look at."""
        return [section for section in self.sections if section.severity != "error"]

    @property
    def counted(self) -> str:
        """Numbers of errors and warnings in words, and of how few kinds they are."""
        errors, kinds = self.verdict.errors, len(self.errors)
        text = findings_words(errors, self.verdict.warnings)
        if errors > 1 and kinds <= errors / 2:
            first, comma, rest = text.partition(",")
            return f"{first} ({'alle von einer Art' if kinds == 1 else f'{kinds} Arten'}){comma}{rest}"
        return text

    def words(self, text: str) -> str:
        """A sentence of the intake as the sender reads it: no ids, no YAML, nothing invisible."""
        return outside_quotes(self.inner_words(text), lambda part: _YAML.sub("", part)).strip()

    def inner_words(self, text: str) -> str:
        """The same for the data team, who know the YAML."""
        return visible(outside_quotes(text, self._titles))

    def _titles(self, text: str) -> str:
        """Text in which levels are called by their titles."""
        known = {level.id: level.title.de for level in self.project.areas.levels}
        for level, title in known.items():
            text = text.replace(f"auf der Ebene {level} ", f"auf der Ebene {title} ")
        either = "|".join(map(re.escape, known))
        pattern = rf"\(((?:{either})(?: oder (?:{either}))*)\)"
        return re.sub(pattern, lambda m: f"({' oder '.join(known[part] for part in m[1].split(' oder '))})", text)

    # ------------------------------------------------------------ what happened

    def heading(self) -> str:
        """What happened, in one sentence without the file's name."""
        if self.trial:
            return {
                "rejected": "Diese Datei würde nicht übernommen",
                "lost": "Diese Lieferung würde nach den heutigen Regeln zurückgewiesen",
                "contradicting": "Diese Lieferung ist übernommen, widerspricht aber anderen Zahlen",
                "noted": "Diese Datei würde übernommen, dazu gibt es Hinweise",
                "clean": "Diese Datei würde übernommen",
            }[self.kind]
        return {
            "rejected": "Die Datei konnte nicht übernommen werden",
            "lost": "Eine übernommene Lieferung passt nicht mehr zu den Regeln",
            "contradicting": "Die Datei ist übernommen, widerspricht aber anderen Zahlen",
            "noted": "Die Datei ist übernommen, dazu gibt es Hinweise",
            "clean": "Die Datei ist übernommen",
        }[self.kind]

    def now(self) -> list[str]:
        """What is in force now."""
        if self.kind == "rejected":
            would = "würde als Ganzes zurückgewiesen" if self.trial else "ist als Ganzes zurückgewiesen"
            none = "würde gelten" if self.trial else "gilt"
            return [f"Die Datei {would}: Keine ihrer Zahlen {none}, auch nicht die richtigen.", self._still()]
        if self.kind == "lost":
            return [
                "Die Zahlen dieser Lieferung gelten vorerst weiter.",
                "Geändert wurde die Beschreibung der Quelle oder das Programm, nicht die Datei.",
                "Der nächtliche Lauf hält deshalb an, bevor Zahlen verloren gehen.",
            ]
        would = "würden gelten" if self.trial and self.kind != "contradicting" else "gelten"
        if self.kind == "contradicting":
            return [f"Die Zahlen der Datei {would}, bis geklärt ist, welche Angabe stimmt."]
        return [f"Die Zahlen der Datei {would}."]

    def _still(self) -> str:
        if self.in_force is None:
            return "Aus dieser Quelle gilt noch keine Lieferung; ihre Zahlen fehlen bis dahin."
        name, day = visible(self.in_force.name), f"{self.in_force.received_on:%d.%m.%Y}"
        return f"Es gelten weiter die früher übernommenen Zahlen, zuletzt aus »{name}« vom {day}."

    def to_do(self) -> list[str]:
        """What the sender is asked to do, one step each."""
        if self.kind == "rejected" and not self.for_sender:
            return ["Vom Absender nichts. Das Datenteam prüft die Berichtigungen in der Beschreibung der Quelle."]
        if self.kind == "rejected":
            errors = self.verdict.errors
            what = "Die Beanstandung unten" if errors == 1 else f"Die {count(errors, '', 'Beanstandungen')} unten"
            steps = [f"{what} in der Datei berichtigen."]
            if self.verdict.warnings:
                steps.append("Die Hinweise ansehen; sie allein verhindern die Übernahme nicht.")
            if self.trial:
                return [*steps, "Erst danach liefern."]
            return [*steps, "Die Datei vollständig noch einmal liefern, nicht nur die berichtigten Zeilen."]
        if self.kind == "lost":
            return ["Vom Absender nichts. Das Datenteam prüft, ob die geänderte Regel richtig ist."]
        if self.kind == "contradicting":
            return ["Prüfen, welche der Zahlen stimmt.", "Ist es die andere, bitte die berichtigte Datei liefern."]
        if self.kind == "noted":
            return ["Die Hinweise ansehen. Ist etwas davon ein Versehen, bitte eine berichtigte Datei liefern."]
        return ["Nichts."]

    @property
    def for_sender(self) -> list[Section]:
        """Sections that the sender can do something about; corrections are the data team's business."""
        return [section for section in self.sections if section.rule.id != "berichtigung"]

    # ------------------------------------------------------------ what arrived

    def size(self) -> str:
        """Size of the file in words; '' if it is gone."""
        if not self.file.is_file():
            return ""
        size = self.file.stat().st_size
        if size < 10_000:
            return count(size, "Byte", "Bytes")
        text = f"{size / 1000:.0f} kB" if size < _MEGABYTE else f"{size / _MEGABYTE:.1f} MB"
        return text.replace(".", ",")

    def line_count(self) -> int | None:
        """Number of lines of a text file, None for a workbook."""
        if self.source.workbook is not None or not self.file.is_file():
            return None
        lines, last = 0, b"\n"
        with self.file.open("rb") as file:
            while block := file.read(_MEGABYTE):
                lines += block.count(b"\n") or block.count(b"\r")
                last = block[-1:]
        return lines + (last not in b"\r\n")

    def arrivals(self) -> list[Arrival]:
        """What could be read, by measure and level."""
        found: dict[tuple[str, str], list[dict[str, object]]] = {}
        for entry in self.verdict.arrived:
            found.setdefault((entry["measure"], entry["level"]), []).append(entry)
        levels = {level.id: level.plural.de for level in self.project.areas.levels}
        return [
            Arrival(
                measure=self._title(measure),
                level=levels.get(level, level),
                periods=self._periods(entries),
                areas=max(_number(entry, "areas") for entry in entries),
                figures=sum(_number(entry, "figures") for entry in entries),
                withheld=sum(_number(entry, "withheld") for entry in entries),
                missing=sum(_number(entry, "missing") for entry in entries),
                sheets=", ".join(dict.fromkeys(visible(str(entry["sheet"])) for entry in entries)),
            )
            for (measure, level), entries in found.items()
        ]

    def not_arrived(self) -> list[str]:
        """Titles of measures that the source delivers and this file does not hold."""
        arrived = {entry["measure"] for entry in self.verdict.arrived}
        return [self._title(measure) for measure in self.source.layout.measures() if measure not in arrived]

    def _title(self, measure: str) -> str:
        known = self.project.measures.get(measure)
        return known.title.de if known else measure

    def _periods(self, entries: Iterable[dict[str, object]]) -> str:
        keys = sorted({str(key) for entry in entries for key in entry["periods"]})  # type: ignore[attr-defined]
        kind = self.source.layout.period.type
        if not keys:
            return ""
        first, last = period_words(keys[0], kind), period_words(keys[-1], kind)
        return first if len(keys) == 1 else f"{first} bis {last} ({_PERIODS[kind].format(len(keys))})"


_PERIODS = {
    "stichtag": "{} Stichtage",
    "jahresdurchschnitt": "{} Jahre",
    "kalenderjahr": "{} Jahre",
    "schuljahr": "{} Schuljahre",
}


def _number(entry: dict[str, object], key: str) -> int:
    return int(str(entry[key]))
