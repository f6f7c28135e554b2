"""The intake of one source: receive, read under today's rules, decide, report."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.files import read_sealed, replacing, sha256_file, sha256_text, write_sealed
from pipelines.history import Arrivals, Delivery, History, in_force, out_of_force, outstanding, overdue
from pipelines.intake.failures import Findings
from pipelines.intake.past import Memory, Past
from pipelines.intake.report import report_paths, write_report
from pipelines.intake.rules import ROWS_LOST
from pipelines.intake.verdict import Verdict
from pipelines.project import Project
from schemas.documents import Correction, Source
from schemas.yaml_source import nearest

if TYPE_CHECKING:
    from pipelines.intake.account import Account


@dataclass
class SourceState:
    """A source after the intake. `verdicts` are by delivery id; `lost` and `contradicting` see `current_state`.

    `refused` names what lies in the inbox and could not even be received (links, pipes, unreadable files).
    """

    source: Source
    deliveries: list[Delivery]
    new: list[Delivery] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    figures: int = 0
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    lost: list[Delivery] = field(default_factory=list)
    contradicting: list[Delivery] = field(default_factory=list)
    slips: list[str] = field(default_factory=list)
    missed: dt.date | None = None
    next_due: dt.date | None = None

    @property
    def outstanding(self) -> list[Delivery]:
        """Rejected deliveries that nobody has settled yet."""
        return outstanding(self.deliveries, self.source)

    @property
    def well(self) -> bool:
        """Nothing waits to be settled or is lost to changed rules, no slip in the YAML, no due date has passed."""
        return not (self.unsettled or self.lost or self.refused or self.slips or self.missed)

    @property
    def mark(self) -> str:
        """Changes when a delivery arrives, is decided otherwise or read anew, is retracted, or becomes overdue."""
        decided = [(d.delivery_id, d.decision, d.rules) for d in self.deliveries]
        gone = sorted(out_of_force(self.source, self.deliveries))
        contradicting = [d.delivery_id for d in self.contradicting]
        return sha256_text(repr((decided, gone, self.missed, contradicting)))

    @property
    def unsettled(self) -> list[Delivery]:
        """Deliveries with an error that somebody must look at."""
        return [*self.outstanding, *self.contradicting]

    @property
    def flagged(self) -> list[Delivery]:
        """Deliveries in force about which something is to be noted."""
        return [d for d in self.in_force if self.verdicts[d.delivery_id].failures]

    @property
    def in_force(self) -> list[Delivery]:
        """Accepted deliveries that are neither retracted nor purged, oldest first."""
        return in_force(self.source, self.deliveries)


def counted(verdict: Verdict) -> str:
    """Numbers of errors and warnings in words that agree with them."""
    words = []
    if verdict.errors:
        words.append("1 Beanstandung" if verdict.errors == 1 else f"{verdict.errors} Beanstandungen")
    if verdict.warnings:
        words.append("1 Hinweis" if verdict.warnings == 1 else f"{verdict.warnings} Hinweise")
    return ", ".join(words)


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
            count = counted(state.verdicts[delivery.delivery_id])
            what = f"{delivery.delivery_id} ({delivery.name}), {count}, siehe {page}"
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
    state.new, state.notes, state.refused = arrivals.new, arrivals.notes + state.notes, arrivals.refused
    state.notes += _purged_again(state, arrivals)
    state.notes += _collisions([d for d in state.in_force if d.delivery_id in arrived])
    return state


def _purged_again(state: SourceState, arrivals: Arrivals) -> list[str]:
    """Purged bytes that still lie in the inbox, which is not ours to empty."""
    return [
        f"im Eingang liegt noch die gelöschte Lieferung {d.delivery_id} ({d.name}); sie wird nicht wieder angenommen. "
        f"Die Datei bitte aus data/raw/{d.source} entfernen (sie kann dort auch anders heißen)"
        for d in state.deliveries
        if d.purged and d.delivery_id in arrivals.in_inbox
    ]


def current_state(project: Project, source: Source, today: dt.date) -> SourceState:
    """Decide on every archived delivery of a source under today's rules, reading again what is not cached.

    A delivery with an error is rejected, with two exceptions. Was it accepted under earlier rules and would its figures
    be lost, it is named in `lost` and nothing is decided anew. Does it break only rules that compare it with other
    deliveries (which arrived or were settled since), it stays accepted and is named in `contradicting`.
    """
    history = History(project.paths)
    rules = project.rules_of(source)
    state = SourceState(source, [])
    deliveries = history.deliveries(source.id)
    state.slips = _unknown_deliveries(project, source, [d.delivery_id for d in deliveries])
    accepted = judge_all(project, source, deliveries, rules, state, today)
    for delivery in deliveries:
        if delivery.purged:  # nothing is left to judge
            state.deliveries.append(delivery)
            continue
        verdict = state.verdicts[delivery.delivery_id]
        if delivery.delivery_id not in accepted and _would_lose(delivery, deliveries, accepted, state):
            state.lost.append(delivery)  # its bytes did not change, only the rules: nothing is decided anew
            state.deliveries.append(delivery)
            continue
        decision = "accepted" if delivery.delivery_id in accepted else "rejected"
        state.deliveries.append(history.decide(delivery, decision, verdict.reasons(), rules, verdict.slices))
        state.figures += verdict.figures if decision == "accepted" else 0
    state.contradicting = [
        d for d in state.in_force if d.delivery_id in accepted and not state.verdicts[d.delivery_id].clean
    ]
    state.missed, state.next_due = overdue(state.deliveries, source, today)
    _answer(project, state)
    return state


def judge_all(
    project: Project, source: Source, deliveries: list[Delivery], rules: str, state: SourceState, today: dt.date
) -> set[str]:
    """Fill `state.verdicts`, oldest delivery first (but for purged ones); returns the ids of those acceptable."""
    gone = out_of_force(source, deliveries)
    others = {other: _in_force(project, other, today) for other in source.compared_with()}
    state.notes += [
        f"zum Vergleich mit der Quelle {other} (contract.agrees) liegt nichts Angenommenes vor, er unterbleibt"
        for other, pasts in others.items()
        if deliveries and not pasts
    ]
    earlier: list[Past] = []
    accepted = set()
    memory = Memory()
    for delivery in (d for d in deliveries if not d.purged):
        verdict = _whole_verdict(project, source, delivery, rules, Context(earlier, others, memory))
        state.verdicts[delivery.delivery_id] = verdict
        if verdict.clean or (verdict.whole and delivery.decision == "accepted"):
            accepted.add(delivery.delivery_id)
            if delivery.delivery_id not in gone:
                path = reading_path(project, delivery, rules)
                earlier = [*earlier, Past(source.id, delivery.delivery_id, delivery.seq, path)]
    return accepted


def _in_force(project: Project, source_id: str, today: dt.date) -> list[Past]:
    """Readings of another source's accepted deliveries under today's rules."""
    source = project.sources[source_id]
    rules = project.rules_of(source)

    def found() -> list[Past]:
        return [
            Past(source_id, d.delivery_id, d.seq, reading_path(project, d, rules), source.title.de)
            for d in in_force(source, History(project.paths).deliveries(source_id))
            if d.rules == rules
        ]

    readings = found()
    if not readings or not all(past.path.exists() for past in readings):
        current_state(project, source, today)
        readings = found()
    return readings


def _answer(project: Project, state: SourceState) -> None:
    """Write what the senders are to be told; remove what is settled."""
    told = {d.delivery_id for d in (*state.outstanding, *state.lost, *state.flagged)}
    for delivery in state.deliveries:
        if delivery.delivery_id in told:
            write_report(project, state.source, delivery, state.verdicts[delivery.delivery_id])
        else:
            for path in report_paths(project, delivery):
                path.unlink(missing_ok=True)


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


def _would_lose(delivery: Delivery, deliveries: list[Delivery], accepted: set[str], state: SourceState) -> bool:
    """Whether a delivery that was accepted supplies slices that no later accepted one supplies."""
    gone = out_of_force(state.source, deliveries)
    if delivery.decision != "accepted" or delivery.delivery_id in gone:
        return False
    later = [d for d in deliveries if d.seq > delivery.seq and d.delivery_id not in gone]
    supplied = [state.verdicts[d.delivery_id].slices for d in later if d.delivery_id in accepted]
    return bool(delivery.slices - {name for slices in supplied for name in slices})


@dataclass(frozen=True)
class Context:
    """Figures a delivery is compared with: earlier ones of its source, those of the sources it must agree with.

    `memory` goes from one delivery of the source to the next.
    """

    earlier: list[Past]
    others: dict[str, list[Past]]
    memory: Memory = field(default_factory=Memory)

    @property
    def mark(self) -> str:
        """Changes when any of these figures may have changed."""
        names = [past.path.name for past in self.earlier]
        names += [f"{source}/{past.path.name}" for source, pasts in self.others.items() for past in pasts]
        return sha256_text(*names)[:12]


def _own_verdict(
    project: Project, source: Source, delivery: Delivery, rules: str, memory: Memory
) -> tuple[Verdict, Path]:
    """The verdict on a delivery by itself, and its reading: from the cache, or by reading the archived bytes.

    The reading of a broken delivery is kept apart: it only serves to compare what could be read.
    """
    path = reading_path(project, delivery, rules)
    apart = path.with_suffix(".abgewiesen.parquet")
    note = path.with_suffix(".json")
    entry = read_sealed(note) or {}
    cached = Verdict.from_json(entry.get("verdict"))
    if cached is not None:
        reading = path if cached.clean else apart
        if reading.is_file() and sha256_file(reading) == entry.get("reading"):
            return cached, reading
    delivery.verify()
    corrections = [c for c in source.corrections if c.delivery == delivery.delivery_id]
    with replacing(path) as temporary:
        verdict, account = judge(
            project, source, delivery.file, delivery.name, corrections, temporary, received_on=delivery.received_on
        )
    if not verdict.clean:
        path.rename(apart)
    reading = path if verdict.clean else apart
    memory.put(reading, account)
    write_sealed(note, {"verdict": verdict.to_json(), "reading": sha256_file(reading)})
    return verdict, reading


def judge(
    project: Project,
    source: Source,
    file: Path,
    name: str,
    corrections: list[Correction],
    target: Path,
    *,
    received_on: dt.date,
) -> tuple[Verdict, Account | None]:
    """Read one file and judge it by itself: the verdict, and an account of what it holds if it was read swiftly.

    Args:
        project: where areas and measures are declared.
        source: the source whose description is used.
        file: the bytes.
        name: the file's name as received.
        corrections: those declared for this delivery.
        target: where the reading is written (Parquet).
        received_on: no reference date may be later.
    """
    from pipelines.intake.contract import Judge  # pandas and pandera load only when there is something to read

    reader = Judge(source, project.directory, project.measures, received_on)
    figures = reader.read(file, name, corrections, target)
    verdict = Verdict(
        figures=figures,
        slices=sorted("|".join(map(str, parts)) for parts in reader.slices),
        arrived=reader.arrived,
    )
    return verdict.with_findings(reader.findings), reader.account


def compared(project: Project, source: Source, reading: Path, own: Verdict, context: Context) -> Verdict:
    """The verdict with what a comparison with other figures finds."""
    from pipelines.intake.comparison import compare  # DuckDB loads only when there is something to compare

    findings = Findings(source.contract.severity)
    compare(
        reading,
        source,
        project.measures,
        project.directory,
        findings,
        context.earlier,
        context.others,
        rows_lost=bool(own.broken() & ROWS_LOST),
        memory=context.memory,
    )
    return own.with_findings(findings)


def _whole_verdict(project: Project, source: Source, delivery: Delivery, rules: str, context: Context) -> Verdict:
    """The verdict on a delivery; the comparison comes from the cache if the figures compared with are the same.

    A delivery that is broken in itself is compared too, so that its sender learns everything in one answer.
    """
    own, reading = _own_verdict(project, source, delivery, rules, context.memory)
    if not own.figures:
        return own
    path = reading_path(project, delivery, rules)
    note = path.with_suffix(f".{context.mark}.json")
    cached = Verdict.from_json(read_sealed(note))
    if cached is not None:
        return cached
    verdict = compared(project, source, reading, own, context)
    for old in path.parent.glob(f"{path.stem}.*.json"):
        old.unlink()
    write_sealed(note, verdict.to_json())
    return verdict
