"""What only the data team may know of a figure: received files, verdicts, what it replaced, why it is withheld."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.files import read_sealed
from pipelines.history import DamagedArchive, Delivery, History
from pipelines.intake.rules import RULES
from pipelines.intake.run import reading_path
from pipelines.intake.verdict import Verdict
from pipelines.project import Project
from pipelines.provenance.facts import Key, Node, Story, reading
from pipelines.provenance.question import Slot
from pipelines.provenance.wording import dropped_in_words
from schemas.documents import Source


@dataclass(frozen=True)
class Received:
    """A delivery behind a figure: its receipt, and what the rules said (None: not to be found any more)."""

    delivery: Delivery
    verdict: Verdict | None


@dataclass(frozen=True)
class Inside:
    """What stands beside the figures of the internal edition.

    `received` are the deliveries by id; `others` German sentences on deliveries that once supplied the same figures;
    `withheld` why figures are withheld in the public edition; `public` the figure as published, None if it is not.
    """

    received: dict[str, Received]
    others: list[str]
    withheld: dict[Key, str]
    public: dict[str, Any] | None


def look_inside(project: Project, story: Story, slot: Slot) -> Inside:
    """Collect it from archive, cache and release.

    Raises:
        DamagedArchive: a file that the figures are quoted from is gone or altered, so that no cell of it can be named.
        Unreadable: the release is damaged.
    """
    delivered = [node for node in story.nodes() if node.row["delivery_id"]]
    sources = sorted({node.row["delivery_id"].rpartition("-")[0] for node in delivered})
    history = History(project.paths)
    archived = {source: history.deliveries(source) for source in sources}
    behind = _intact({node.row["delivery_id"] for node in delivered}, archived)
    return Inside(
        {d.delivery_id: Received(d, _verdict(project, d)) for d in behind},
        [line for source in sources for line in _others(project.sources.get(source), archived[source], delivered)],
        _withheld(project.paths.internal / "geheimhaltung.csv"),
        _published(project.paths.public_mart, slot),
    )


def _intact(behind: set[str], archived: dict[str, list[Delivery]]) -> list[Delivery]:
    """The deliveries behind the figures, each with the bytes that were received."""
    found = {d.delivery_id: d for deliveries in archived.values() for d in deliveries if d.delivery_id in behind}
    for delivery_id in sorted(behind):
        if delivery_id not in found:
            raise DamagedArchive(
                f"Archiv beschädigt: die Lieferung {delivery_id} fehlt; bitte data/history aus der Sicherung "
                "wiederherstellen"
            )
        found[delivery_id].verify()
    return list(found.values())


def _verdict(project: Project, delivery: Delivery) -> Verdict | None:
    """The last verdict on a delivery, with what the comparison found; from the cache of the nights."""
    path = reading_path(project, delivery, delivery.rules or "")
    notes = [*sorted(path.parent.glob(f"{path.stem}.*.json")), path.with_suffix(".json")]
    return next((v for v in (Verdict.from_json(read_sealed(note)) for note in notes) if v is not None), None)


def rules_in_words(verdict: Verdict | None) -> str:
    """What the rules found in a delivery; not how many it holds, for many look at what only some files have."""
    if verdict is None:
        return "Urteil liegt nicht mehr vor; der nächste Lauf prüft neu"
    broken = [f"{RULES[rule].title} ({count}x)" for rule, count in verdict.by_rule.items() if rule in RULES]
    return f"angenommen mit Hinweis: {', '.join(broken)}" if broken else "geprüft, keine Beanstandung"


def rules_off(source: Source | None) -> list[str]:
    """Titles of the rules that a source is not checked against."""
    severity = source.contract.severity if source else {}
    return [RULES[rule].title for rule in sorted(severity) if rule in RULES and severity[rule] == "off"]


def dropped_rows(source: Source | None, delivery_id: str) -> list[str]:
    """Corrections that leave rows of a delivery out, so that no figure names them."""
    corrections = source.corrections if source else []
    return [dropped_in_words(c) for c in corrections if c.drop and c.delivery == delivery_id]


def _others(source: Source | None, deliveries: list[Delivery], delivered: list[Node]) -> list[str]:
    """Deliveries that once supplied a slice of these figures and do not any more."""
    if source is None:
        return []
    mine = [node for node in delivered if node.row["delivery_id"].rpartition("-")[0] == source.id]
    slices = {f"{n.key[0]}|{n.row['period']}|{n.row['area_level']}": n.row["delivery_id"] for n in mine}
    retracted = {entry.delivery: entry for entry in source.retracted}
    found = []
    for delivery in deliveries:
        now = sorted({slices[name] for name in delivery.slices & set(slices)} - {delivery.delivery_id})
        if not now:
            continue
        what = f"{delivery.delivery_id} ({delivery.name}, eingegangen {_day(delivery.received_on)})"
        entry = retracted.get(delivery.delivery_id)
        if entry is not None:
            found.append(f"{what}: zurückgezogen am {_day(entry.on)} von {entry.by}: {entry.reason}")
        elif delivery.purged is not None:
            found.append(f"{what}: Bytes gelöscht am {delivery.purged['on']}: {delivery.purged['reason']}")
        elif delivery.decision == "accepted":
            found.append(f"{what}: abgelöst durch {', '.join(now)}")
    return found


def _withheld(report: Path) -> dict[Key, str]:
    """Reasons of the protection, by figure; empty where nothing was protected yet."""
    if not report.is_file():
        return {}
    with report.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.reader(lines, delimiter=";"))[1:]
    return {(r[0], r[1], r[2], r[3], dt.date.fromisoformat(r[4])): r[5] for r in rows if len(r) == 6}


def _published(file: Path, slot: Slot) -> dict[str, Any] | None:
    """The release in force and how it shows this figure (`wert` None: withheld, missing or not in it)."""
    if not file.is_file():
        return None
    with reading(file) as con:
        release, content, commit = con.execute(
            'SELECT release_id, content_hash, "commit" FROM meta.release'
        ).fetchall()[0]
        shown = con.execute(
            "SELECT wert, status FROM api.indikatorwerte "
            "WHERE indikator = ? AND gebiet = ? AND zeitbezug = ? AND stichtag = ?",
            list(slot[:4]),
        ).fetchall()
    wert, status = shown[0] if shown else (None, None)
    return {"release_id": release, "content_hash": content, "commit": commit, "wert": wert, "status": status}


def _day(date: dt.date) -> str:
    return f"{date:%d.%m.%Y}"
