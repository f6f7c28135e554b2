"""Sources and their deliveries as far as a publication tells of them: definitions, ids and days."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from pipelines.report.checks import Check, checks_of
from pipelines.report.facts import Facts
from pipelines.report.words import owner
from schemas.codes import label
from schemas.documents import Source

DECISIONS = {"accepted": "angenommen", "rejected": "zurückgewiesen", "retracted": "zurückgezogen"}


@dataclass(frozen=True)
class Delivery:
    """A row of `meta.delivery`; `decision` in German."""

    delivery_id: str
    source_id: str
    received_on: dt.date
    decision: str


@dataclass(frozen=True)
class Origin:
    """A source: who publishes it, on what terms, who looks after it here, what came last, and how it was checked."""

    source_id: str
    title: str
    description: str
    publisher: str
    address: str
    licence: str
    origin: str
    taken_from: str
    owner: str
    due: str
    expected: bool
    deliveries: list[Delivery]
    checks: list[Check]

    @property
    def newest(self) -> Delivery | None:
        """What came last, whatever was decided about it."""
        return self.deliveries[-1] if self.deliveries else None

    @property
    def in_force(self) -> Delivery | None:
        """The newest delivery whose figures count."""
        return next((d for d in reversed(self.deliveries) if d.decision == DECISIONS["accepted"]), None)

    @property
    def passed(self) -> int:
        """Number of checks without a finding."""
        return sum(check.passed for check in self.checks)


def origins(facts: Facts) -> dict[str, Origin]:
    """All declared sources by id."""
    checks = checks_of(facts, "quelle")
    rows = facts.rows("SELECT delivery_id, source_id, received_on, decision FROM meta.delivery ORDER BY delivery_id")
    rows.sort(key=lambda row: int(row["delivery_id"].rpartition("-")[2]))
    came = [Delivery(**{**row, "decision": DECISIONS[row["decision"]]}) for row in rows]
    return {
        source.id: _origin(source, [d for d in came if d.source_id == source.id], checks.get(source.id, []))
        for source in facts.project.sources.values()
    }


def _origin(source: Source, deliveries: list[Delivery], checks: list[Check]) -> Origin:
    taken = source.transcribed_from
    page = f", {taken.page}" if taken and taken.page else ""
    return Origin(
        source.id,
        source.title.de,
        source.description.de.strip(),
        source.publisher,
        source.address or "",
        source.licence,
        label("origin", source.origin),
        f"{taken.publisher}: {taken.title}{page}" if taken else "",
        owner(source.owner),
        due_in_words(source),
        source.schedule is not None,
        deliveries,
        checks,
    )


def due_in_words(source: Source) -> str:
    """Until when deliveries are expected, e.g. `jährlich bis 31.03.`."""
    if source.schedule is None:
        return "keine weitere Lieferung erwartet"
    days = " und ".join(re.sub(r"^(\d\d)-(\d\d)$", r"\2.\1.", day) for day in source.schedule.days)
    grace = f", mit {source.schedule.grace_days} Tagen Nachfrist" if source.schedule.grace_days else ""
    return f"jährlich bis {days}{grace}"
