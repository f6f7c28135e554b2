"""What only the data team may know of a figure: received files, verdicts, what it replaced, why it is withheld."""

from __future__ import annotations

import csv
import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipelines.files import read_sealed
from pipelines.history import Delivery, History
from pipelines.intake.rules import RULES
from pipelines.intake.run import reading_path
from pipelines.intake.verdict import Verdict
from pipelines.project import Project
from pipelines.provenance.facts import Key, Node, Story
from pipelines.provenance.question import Slot
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
    """Collect it from archive, cache and release."""
    delivered = [node for node in story.nodes() if node.row["delivery_id"]]
    sources = sorted({node.row["delivery_id"].rpartition("-")[0] for node in delivered})
    history = History(project.paths)
    archived = {source: history.deliveries(source) for source in sources}
    behind = {node.row["delivery_id"] for node in delivered}
    return Inside(
        {
            d.delivery_id: Received(d, _verdict(project, d))
            for ds in archived.values()
            for d in ds
            if d.delivery_id in behind
        },
        [line for source in sources for line in _others(project.sources.get(source), archived[source], delivered)],
        _withheld(project.paths.internal / "geheimhaltung.csv"),
        _published(project.paths.public_mart, slot),
    )


def _verdict(project: Project, delivery: Delivery) -> Verdict | None:
    """The last verdict on a delivery, with what the comparison found; from the cache of the nights."""
    path = reading_path(project, delivery, delivery.rules or "")
    notes = [*sorted(path.parent.glob(f"{path.stem}.*.json")), path.with_suffix(".json")]
    return next((v for v in (Verdict.from_json(read_sealed(note)) for note in notes) if v is not None), None)


def rules_in_words(verdict: Verdict | None, source: Source | None) -> str:
    """How many rules a delivery was judged by, and the ones it does not hold."""
    if verdict is None:
        return "Urteil liegt nicht mehr vor; der nächste Lauf prüft neu"
    off = {rule for rule, severity in (source.contract.severity if source else {}).items() if severity == "off"}
    judged = [rule for rule in RULES if rule not in off]
    broken = [f"{RULES[rule].title} ({count}x)" for rule, count in verdict.by_rule.items() if rule in RULES]
    if not broken:
        return f"keine der {len(judged)} Regeln verletzt"
    return f"{len(broken)} von {len(judged)} Regeln verletzt, angenommen mit Hinweis: {', '.join(broken)}"


def rules_held(verdict: Verdict | None) -> str:
    """Titles of the rules that hold are about faults; their ids say what was looked at."""
    broken = set(verdict.by_rule) if verdict else set()
    return ", ".join(rule for rule in RULES if rule not in broken)


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
    with duckdb.connect(str(file), read_only=True) as con:
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
