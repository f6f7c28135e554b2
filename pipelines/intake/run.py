"""The intake of one source: receive, read under today's rules, decide, report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.files import TEMPORARY, read_json, sha256_text, write_json
from pipelines.history import Delivery, History, outstanding, overdue
from pipelines.intake.report import report_paths, write_report
from pipelines.project import Project
from schemas.documents import Source
from schemas.yaml_source import nearest


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
    lost: list[Delivery] = field(default_factory=list)
    slips: list[str] = field(default_factory=list)
    missed: dt.date | None = None
    next_due: dt.date | None = None

    @property
    def outstanding(self) -> list[Delivery]:
        """Rejected deliveries that nobody has settled yet."""
        return outstanding(self.deliveries, self.source)

    @property
    def well(self) -> bool:
        """No rejected delivery waits, none is lost to changed rules, no slip in the YAML, no due date has passed."""
        return not (self.outstanding or self.lost or self.slips or self.missed)

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


def counted(failures: int) -> str:
    """Number of failures in words that agree with it."""
    return "1 Beanstandung" if failures == 1 else f"{failures} Beanstandungen"


class RulesConflict(Exception):
    """Changed rules reject deliveries that were accepted: publishing would drop their figures."""


def refuse_lost(project: Project, states: Iterable[SourceState]) -> None:
    """Stop the night before anything is built if a change of YAML or program would lose accepted deliveries.

    Raises:
        RulesConflict: names source, file, delivery, report and the three ways out.
    """
    places = []
    for state in states:
        for delivery in state.lost:
            file, line = project.place(state.source)
            page = project.paths.relative(report_paths(project, delivery)[0])
            count = state.failure_counts[delivery.delivery_id]
            what = f"{delivery.delivery_id} ({delivery.name}), {counted(count)}, siehe {page}"
            places.append(f"{file}:{line}: {what}")
    if places:
        raise RulesConflict(
            "Nach einer Änderung der Beschreibung (oder des Programms) würden Lieferungen zurückgewiesen, die\n"
            "angenommen waren; ihre Zahlen gingen verloren:\n  " + "\n  ".join(places) + "\n"
            "  Abhilfe: die Beschreibung berichtigen; liefert das Amt jetzt in anderem Aufbau, dafür eine zweite\n"
            "  Quelle anlegen und in levels der Kennzahl mit nennen; soll die Lieferung nicht mehr gelten, sie unter\n"
            "  retracted eintragen."
        )


def reading_path(project: Project, delivery: Delivery, rules: str) -> Path:
    """Place of a reading: delivery x rules (the bytes' hash too: a restored archive may give a number again)."""
    return project.paths.readings / delivery.source / f"{delivery.seq:04d}-{delivery.sha256[:12]}-{rules[:12]}.parquet"


def take_in(project: Project, source: Source, night: int, now: dt.datetime) -> SourceState:
    """Receive what is new for one source, and read everything that today's rules have not read yet."""
    history = History(project.paths)
    arrivals = history.receive(source, night, now)
    state = current_state(project, source, now.date())
    arrived = {d.delivery_id for d in arrivals.new}
    state.new, state.notes = arrivals.new, arrivals.notes + state.notes
    state.notes += _collisions([d for d in state.in_force if d.delivery_id in arrived])
    return state


def current_state(project: Project, source: Source, today: dt.date) -> SourceState:
    """Decide on every archived delivery of a source under today's rules, reading again what is not cached."""
    history = History(project.paths)
    rules = project.rules_of(source)
    state = SourceState(source, [])
    deliveries = history.deliveries(source.id)
    state.slips = _unknown_deliveries(project, source, [d.delivery_id for d in deliveries])
    verdicts = {d.delivery_id: _verdict(project, source, d, rules) for d in deliveries}
    for delivery in deliveries:
        verdict = verdicts[delivery.delivery_id]
        if verdict["decision"] == "rejected":
            state.failures[delivery.delivery_id] = verdict["failures"]
            state.failure_counts[delivery.delivery_id] = verdict["failure_count"]
            if _would_lose(delivery, deliveries, verdicts, source):
                state.lost.append(delivery)  # its bytes did not change, only the rules: nothing is decided anew
                state.deliveries.append(delivery)
                continue
        reasons = [f"{f['rule']} (Zeile {f['line']})" if f["line"] else f["rule"] for f in verdict["failures"]]
        state.deliveries.append(history.decide(delivery, verdict["decision"], reasons, rules, verdict["slices"]))
        state.figures += verdict["figures"] if verdict["decision"] == "accepted" else 0
    state.missed, state.next_due = overdue(state.deliveries, source, today)
    waiting = {d.delivery_id for d in (*state.outstanding, *state.lost)}
    for delivery in state.deliveries:
        if delivery.delivery_id in waiting:
            failures, total = state.failures[delivery.delivery_id], state.failure_counts[delivery.delivery_id]
            write_report(project, source, delivery, failures, total)
        else:
            for path in report_paths(project, delivery):
                path.unlink(missing_ok=True)  # settled
    return state


def _unknown_deliveries(project: Project, source: Source, known: list[str]) -> list[str]:
    """Corrections and retractions of deliveries that do not exist: they have no effect, which somebody must know."""
    found = []
    for key in ("corrections", "retracted"):
        for index, entry in enumerate(getattr(source, key)):
            if entry.delivery not in known:
                file, line = project.place(source, key, index)
                match = nearest(entry.delivery, known)
                hint = f"; meinten Sie »{match[0]}«?" if match else ""
                found.append(
                    f"{file}:{line}: die Lieferung {entry.delivery} gibt es nicht, {key} ist ohne Wirkung{hint}"
                )
    return found


def _collisions(new: list[Delivery]) -> list[str]:
    """Files of one night that supply the same slices: order alone decides, so somebody should look."""
    return [
        f"{later.name} und {earlier.name} kamen in derselben Nacht und liefern dieselben Zeiträume; "
        f"es gilt {later.name} ({later.delivery_id})"
        for number, later in enumerate(new)
        for earlier in new[:number]
        if later.slices & earlier.slices
    ]


def _would_lose(
    delivery: Delivery, deliveries: list[Delivery], verdicts: dict[str, dict[str, Any]], source: Source
) -> bool:
    """Whether a delivery that was accepted supplies slices that no later accepted one supplies."""
    retracted = {r.delivery for r in source.retracted}
    if delivery.decision != "accepted" or delivery.delivery_id in retracted:
        return False
    later = [d for d in deliveries if d.seq > delivery.seq and d.delivery_id not in retracted]
    accepted = [verdicts[d.delivery_id] for d in later if verdicts[d.delivery_id]["decision"] == "accepted"]
    return bool(delivery.slices - {name for verdict in accepted for name in verdict["slices"]})


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
        "slices": sorted("|".join(map(str, parts)) for parts in judge.slices),
        "failure_count": judge.findings.count,
        "failures": judge.findings.as_json(),
    }
    if judge.findings.count:
        temporary.unlink()
    else:
        temporary.rename(path)
    write_json(note, verdict)
    return verdict
