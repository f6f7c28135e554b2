"""The answer as lines of text: value and formula, inputs down to the cells, deliveries, breaks, release."""

from __future__ import annotations

import datetime as dt
import textwrap
from collections.abc import Iterable
from typing import Any

from pipelines.intake.failures import Failure
from pipelines.paths import RELEASE_ID
from pipelines.project import Project
from pipelines.provenance.facts import Node, Row, Story
from pipelines.provenance.inside import Inside, dropped_rows, rules_in_words, rules_off
from pipelines.provenance.wording import number, period_in_words
from schemas.codes import label
from schemas.documents import TOTAL, Indicator

SHOWN = 12
"""Parts of a sum that are listed unless all are asked for."""
WIDTH = 100
_LABEL = 16

_KINDS = {
    "areas": ("die Zahl eines Gebiets", "Gebieten"),
    "categories": ("die Zahl einer Ausprägung", "Ausprägungen"),
    "periods": ("die Zahl eines Jahres", "Jahreszahlen"),
}
_CAUSES = {
    "definition": "der Indikator ist anders erklärt",
    "delivery": "andere Lieferungen",
    "rule": "geänderte Beschreibung (Berichtigung, Bruch, Gebiete, Aufbau der Datei)",
    "code": "geändertes Programm",
}


class Page:
    """Lines of the answer; with a width, long ones are broken below their text."""

    def __init__(self, project: Project, story: Story, inside: Inside | None, *, every: bool, wrap: bool) -> None:
        """Keep what is told; `inside` None: only what the release may say."""
        self.project = project
        self.story = story
        self.inside = inside
        self.every = every
        self.wrap = wrap
        self.lines: list[str] = []

    def write(self) -> list[str]:
        """All lines."""
        self._heading()
        for role, node in self.story.roles:
            self.lines.append("")
            self._node(node, 0, f"{role}: ")
        self._deliveries()
        self._past()
        self._release()
        return self.lines

    # ------------------------------------------------------------ lines

    def _line(self, text: str, indent: int = 0, hang: int = 2) -> None:
        pad = " " * indent
        if not self.wrap:
            self.lines.append(pad + text)
            return
        self.lines += textwrap.wrap(
            text,
            WIDTH,
            initial_indent=pad,
            subsequent_indent=pad + " " * hang,
            break_on_hyphens=False,
            break_long_words=False,
        )

    def _fact(self, name: str, text: str) -> None:
        self._line(f"{name:<{_LABEL}}{text}", 2, _LABEL)

    def _section(self, title: str, texts: Iterable[str]) -> None:
        for position, text in enumerate(texts):
            if not position:
                self.lines += ["", title]
            self._line(text, 2)

    # ------------------------------------------------------------ value

    def _heading(self) -> None:
        value, indicator = self.story.value, self._indicator
        area = self.project.directory.areas.get(value["area_id"])
        name = area.name if area else value["area_id"]
        when = period_in_words(value["period_type"], value["reference_date"])
        self._line(f"{indicator.title.de}: {name} ({self._level(value['area_level'])}), {when}")
        self._fact("Wert", self._value())
        if value["benchmark_value"] is not None or value["not_compared_reason"]:
            self._fact("Vergleich", self._comparison())
        self._fact("Rechnung", self._formula())
        self._fact("Art", f"{label('method', value['method'])}; {label('origin', value['origin'])}")
        self._fact("Datenstand", f"{value['data_as_of']:%d.%m.%Y} (Eingang der Lieferung)")
        self._fact("Freigabe", self._approval())
        self._fact("Kennungen", f"{value['indicator_id']}, {value['area_id']}, {value['period']}")

    @property
    def _indicator(self) -> Indicator:
        return self.project.indicators[self.story.value["indicator_id"]]

    def _level(self, level: str) -> str:
        return next((entry.title.de for entry in self.project.areas.levels if entry.id == level), level)

    def _rounded(self, figure: float | None) -> str:
        return number(figure, self._indicator.decimals)

    def _value(self) -> str:
        value = self.story.value
        if value["value"] is None:
            reason = value["suppression_reason"]
            return (
                f"keiner: {label('suppression_reason', reason) if reason else label('obs_status', value['obs_status'])}"
            )
        unit = "" if self._indicator.unit == "persons" else f" {label('unit', self._indicator.unit)}"
        text = f"{self._rounded(value['value'])}{unit}"
        if value["ci_low"] is not None:
            text += f" (95-%-Vertrauensbereich {self._rounded(value['ci_low'])} bis {self._rounded(value['ci_high'])})"
        return text + (", geschätzt" if value["obs_status"] == "E" else "")

    def _comparison(self) -> str:
        value = self.story.value
        words = label("comparison", value["comparison"])
        if value["not_compared_reason"]:
            return f"{words}: {label('not_compared_reason', value['not_compared_reason'])}"
        area = self.project.directory.areas.get(value["benchmark_id"])
        name = area.name if area else value["benchmark_id"]
        return f"{words}; Vergleichswert {name}: {self._rounded(value['benchmark_value'])}"

    def _formula(self) -> str:
        value, formula = self.story.value, self.story.formula
        shown = {role: node.row["value"] for role, node in self.story.roles}
        if formula == "wie geliefert":
            return formula
        if value["value"] is None or None in shown.values():
            return f"{formula}, nicht gebildet"
        if "Nenner" not in shown:
            return f"{self._rounded(value['value'])} = Anzahl"
        return f"{self._rounded(value['value'])} = {formula}".replace("Zähler", number(shown["Zähler"])).replace(
            "Nenner", number(shown["Nenner"])
        )

    def _approval(self) -> str:
        by, on = self._indicator.approved_by, self._indicator.approved_on
        return (f"durch {by}" + (f" am {on:%d.%m.%Y}" if on else "")) if by else "noch nicht freigegeben"

    # ------------------------------------------------------------ inputs

    def _node(self, node: Node, indent: int, lead: str) -> None:
        row = node.row
        weight = f" (zu {number(100 * node.weight)} %)" if node.weight != 1 else ""
        self._line(f"{lead}{self._shown(node)}{weight}  {self._named(node)}", indent)
        if row["delivery_id"]:
            self._line(self._place(row), indent + 4)
        if row["correction"]:
            self._line(f"Berichtigung: {row['correction']}", indent + 4)
        if node.parts:
            number_of, one, many = len(node.parts) + len(node.absent), *_KINDS[node.parts[0].kind or ""]
            self._line(f"Summe aus {number_of} {many}:" if number_of > 1 else f"das ist {one}:", indent + 4)
            listed = node.parts if self.every else node.parts[:SHOWN]
            for part in listed:
                self._node(part, indent + 6, "")
            if len(listed) < len(node.parts):
                self._line(f"… und {len(node.parts) - len(listed)} weitere (--all zeigt alle)", indent + 6)
        for name in node.absent:
            self._line(f"fehlt: {name}, dazu wurde nichts geliefert", indent + 6)

    def _shown(self, node: Node) -> str:
        row = node.row
        if row["value"] is not None:
            text = number(row["value"])
        elif row["is_suppressed"]:
            text = "gesperrt"
        else:
            text = "liegt nicht vor"
        reason = self.inside.withheld.get(node.key) if self.inside else None
        return text + (f" [öffentlich gesperrt: {reason}]" if reason else "")

    def _named(self, node: Node) -> str:
        """A figure in words; of a part only what it is told apart by from the others."""
        measure_id, category, _, period_type, date = node.key
        measure = self.project.measures.get(measure_id)
        split = next((c.title.de for c in measure.categories if c.id == category), category) if measure else category
        name = (measure.title.de if measure else measure_id) + (f" ({split})" if category != TOTAL else "")
        area, when = f"{node.row['area_name']} ({self._level(node.row['level'])})", period_in_words(period_type, date)
        return {"areas": area, "categories": name, "periods": f"{when}, {name}"}.get(
            node.kind or "", f"{name}, {area}, {when}"
        )

    def _place(self, row: Row) -> str:
        parts = [f"Blatt »{row['sheet']}«"] if row["sheet"] else []
        parts += [f"Zeile {row['line']}"] if row["line"] is not None else []
        heading = f" »{row['column_name']}«" if row["column_name"] else ""
        parts += [f"Spalte {row['column_number']}{heading}"] if row["column_number"] is not None else []
        parts += [f"Zelle »{row['received_text']}«"] if row["received_text"] is not None else []
        return f"aus {row['delivery_id']}: {', '.join(parts)}" if parts else f"aus {row['delivery_id']}"

    # ------------------------------------------------------------ deliveries

    def _deliveries(self) -> None:
        behind = sorted({n.row["delivery_id"] for n in self.story.nodes() if n.row["delivery_id"]})
        for position, delivery_id in enumerate(behind):
            if not position:
                self.lines += ["", "Lieferungen"]
            told = self.story.deliveries.get(delivery_id, {})
            self._line(f"{delivery_id}: {told.get('source_title', '')}, {told.get('publisher', '')}", 2)
            if told.get("address"):
                self._line(told["address"], 6)
            if self.inside is None:
                self._line(f"eingegangen {told['received_on']:%d.%m.%Y}; {told['licence']}", 6)
            else:
                self._receipt(delivery_id, self.inside)
        if self.inside is not None:
            self._section("Nicht mehr in Kraft (lieferten einmal dieselben Zahlen)", self.inside.others)

    def _receipt(self, delivery_id: str, inside: Inside) -> None:
        received = inside.received[delivery_id]
        delivery, source = received.delivery, self.project.sources.get(received.delivery.source)
        self._line(f"Datei {delivery.name}, eingegangen {delivery.received_on:%d.%m.%Y}", 6)
        self._line(f"sha256 {delivery.sha256}", 6)
        self._line(rules_in_words(received.verdict), 6)
        if self.every and received.verdict is not None:
            for failure in received.verdict.failures:
                self._line(Failure(**failure).sentence(), 8)
        if off := rules_off(source):
            self._line(f"hier nicht geprüft: {', '.join(off)}", 6)
        dropped = dropped_rows(source, delivery_id)
        listed = dropped if self.every else dropped[:SHOWN]
        for text in listed:
            self._line(f"durch Berichtigung weggelassen: {text}", 6)
        if len(listed) < len(dropped):
            self._line(f"… und {len(dropped) - len(listed)} weitere (--all zeigt alle)", 6)

    # ------------------------------------------------------------ past and release

    def _past(self) -> None:
        self._section("Brüche in der Reihe", [self._break(entry) for entry in self.story.touched_breaks()])
        self._section("Geänderte Werte", [self._revision(entry) for entry in self.story.revisions])

    def _break(self, entry: Row) -> str:
        measure = self.project.measures.get(entry["measure_id"])
        return f"seit {entry['since']}, {measure.title.de if measure else entry['measure_id']}: {entry['reason_de']}"

    def _revision(self, entry: Row) -> str:
        old, new = self._rounded(entry["value_before"]), self._rounded(entry["value_now"])
        return f"{old} -> {new} in {entry['release_id']}: {_CAUSES.get(entry['cause'], entry['cause'])}"

    def _release(self) -> None:
        if self.inside is None:
            self._section("Veröffentlichung", _release_in_words(self.story.release))
            return
        public = self.inside.public
        if public is None:
            self._section("Veröffentlichung", ["noch keine"])
            return
        if public["wert"] is not None:
            shown = f"zeigt diese Zahl als {self._rounded(public['wert'])}"
        elif public["status"] == "Q":
            shown = "hält diese Zahl geheim"
        else:
            shown = "zeigt zu dieser Zahl keinen Wert"
        self._section("Veröffentlichung", [*_release_in_words(public), shown])


def _release_in_words(release: dict[str, Any]) -> list[str]:
    """Id, moment, content and program of a release."""
    id_ = str(release["release_id"])
    moment = dt.datetime.fromisoformat(id_[:16]) if RELEASE_ID.fullmatch(id_) else None
    when = f", {moment:%d.%m.%Y %H:%M} UTC" if moment else ""
    return [f"{id_}{when}", f"Inhalt {release['content_hash']}", f"Programm {release['commit']}"]
