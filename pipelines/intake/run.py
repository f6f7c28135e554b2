"""The intake of one source: receive, read under today's rules, decide, report."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.files import TEMPORARY, read_json, sha256_text, write_json
from pipelines.history import Delivery, History, outstanding, overdue
from pipelines.intake.report import write_report
from pipelines.project import Project
from schemas.documents import Source


@dataclass
class SourceState:
    """A source after the intake."""

    source: Source
    deliveries: list[Delivery]
    new: list[Delivery] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: int = 0
    failures: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    failure_counts: dict[str, int] = field(default_factory=dict)
    missed: dt.date | None = None
    next_due: dt.date | None = None

    @property
    def outstanding(self) -> list[Delivery]:
        """Rejected deliveries that nobody has settled yet."""
        return outstanding(self.deliveries, self.source)

    @property
    def well(self) -> bool:
        """No rejected delivery waits, no due date has passed."""
        return not self.outstanding and self.missed is None

    @property
    def mark(self) -> str:
        """Changes when a delivery arrives, is decided otherwise or read anew, is retracted, or becomes overdue."""
        decided = [(d.delivery_id, d.decision, d.rules) for d in self.deliveries]
        retracted = sorted(r.delivery for r in self.source.retracted)
        return sha256_text(repr((decided, retracted, self.missed)))

    @property
    def in_force(self) -> list[Delivery]:
        """Accepted deliveries that are not retracted, oldest first."""
        retracted = {r.delivery for r in self.source.retracted}
        return [d for d in self.deliveries if d.decision == "accepted" and d.delivery_id not in retracted]


def reading_path(project: Project, delivery: Delivery, rules: str) -> Path:
    """Place of a reading: delivery x rules (the bytes' hash too: a restored archive may give a number again)."""
    return project.paths.readings / delivery.source / f"{delivery.seq:04d}-{delivery.sha256[:12]}-{rules[:12]}.parquet"


def take_in(project: Project, source: Source, night: int, now: dt.datetime) -> SourceState:
    """Receive what is new for one source, and read everything that today's rules have not read yet."""
    history = History(project.paths)
    arrivals = history.receive(source, night, now)
    state = current_state(project, source, now.date())
    state.new, state.notes = arrivals.new, arrivals.notes + state.notes
    return state


def current_state(project: Project, source: Source, today: dt.date) -> SourceState:
    """Decide on every archived delivery of a source under today's rules, reading again what is not cached."""
    history = History(project.paths)
    rules = project.rules_of(source)
    state = SourceState(source, [])
    known = {d.delivery_id for d in history.deliveries(source.id)}
    named = [c.delivery for c in source.corrections] + [r.delivery for r in source.retracted]
    for name in dict.fromkeys(named):
        if name not in known:
            file, line = project.place(source)
            state.notes.append(f"{file}:{line}: die Lieferung {name} gibt es (noch) nicht")
    for delivery in history.deliveries(source.id):
        verdict = _verdict(project, source, delivery, rules)
        reasons = [f"{f['rule']} (Zeile {f['line']})" if f["line"] else f["rule"] for f in verdict["failures"]]
        decided = history.decide(delivery, verdict["decision"], reasons, rules)
        state.deliveries.append(decided)
        if decided.decision == "rejected":
            state.failures[decided.delivery_id] = verdict["failures"]
            state.failure_counts[decided.delivery_id] = verdict["failure_count"]
        else:
            state.figures += verdict["figures"]
    state.missed, state.next_due = overdue(state.deliveries, source, today)
    waiting = {d.delivery_id for d in state.outstanding}
    for delivery in state.deliveries:
        if delivery.delivery_id in waiting:
            failures, total = state.failures[delivery.delivery_id], state.failure_counts[delivery.delivery_id]
            write_report(project, source, delivery, failures, total)
    return state


def _verdict(project: Project, source: Source, delivery: Delivery, rules: str) -> dict[str, Any]:
    """The decision on a delivery under the rules: from the cache, or by reading the archived bytes."""
    path = reading_path(project, delivery, rules)
    note = path.with_suffix(".json")
    cached = read_json(note)
    if cached is not None and (cached["decision"] == "rejected" or path.exists()):
        return dict(cached)
    from pipelines.intake.contract import Judge  # pandas and pandera load only when there is something to read

    delivery.verify()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{path.name}")
    judge = Judge(source, project.directory, project.measures)
    corrections = [c for c in source.corrections if c.delivery == delivery.delivery_id]
    figures = judge.read(delivery.file, delivery.name, corrections, temporary)
    verdict = {
        "decision": "rejected" if judge.findings.count else "accepted",
        "figures": figures,
        "failure_count": judge.findings.count,
        "failures": judge.findings.as_json(),
    }
    if judge.findings.count:
        temporary.unlink()
    else:
        temporary.rename(path)
    write_json(note, verdict)
    return verdict
