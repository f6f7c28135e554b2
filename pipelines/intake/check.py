"""Dry run of one delivery: judged as the next night would judge it, without touching anything in the project.

The nightly's own functions run over a stand-in for the project's archive and cache in a temporary folder: receipts
are copied, bytes and readings are linked. What the nightly would write goes there and is gone afterwards.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipelines.exit_codes import EXIT_NOT_WELL, EXIT_OK, EXIT_USAGE
from pipelines.files import sha256_file
from pipelines.history import DamagedArchive, Delivery, History, out_of_force
from pipelines.intake.report import kind_of, newest_in_force, write_answer
from pipelines.intake.run import SourceState, judge_all
from pipelines.past.aside import Aside
from pipelines.plaintext import printable
from pipelines.progress import Voice
from pipelines.project import ConfigError, Project, load_project
from pipelines.reply.case import Case
from pipelines.reply.terminal import tell
from schemas.documents import Source
from schemas.yaml_source import nearest


class Refused(Exception):
    """The question itself is wrong; the text says what to do."""


@dataclass(frozen=True)
class Trial:
    """What would become of a file. `notes` are said besides the findings; `known` is set if it arrived before."""

    case: Case
    notes: list[str]
    known: Delivery | None = None


def check_file(root: Path, file: Path, source_id: str, voice: Voice, report: Path | None = None) -> int:
    """Say what would become of a file as the next delivery of a source; returns the exit code (0, 2, 3).

    Args:
        root: project folder.
        file: the file in question.
        source_id: the source it is meant for.
        voice: where the answer goes.
        report: folder for page, table and e-mail draft; nothing is written without it.
    """
    try:
        project = load_project(root)
        if report is not None:
            _outside(report, project)
        trial = try_file(project, _known_source(project, source_id), _readable(file), dt.datetime.now(dt.UTC))
        tell(trial.case, trial.notes, voice)
        if report is not None:
            page = _written(trial.case, report, f"rueckmeldung-{source_id}-{file.stem}"[:120])
            voice.say(f"Rückmeldung geschrieben: {page} (dazu .csv und .txt)")
    except ConfigError as error:
        voice.error("Die Beschreibung des Projekts ist nicht gültig, zu berichtigen:")
        for problem in error.problems:
            voice.error(f"  {problem}")
        return EXIT_USAGE
    except Refused as reason:
        voice.error(str(reason))
        return EXIT_USAGE
    except PermissionError as error:
        voice.error(f"{error.filename} ist nicht lesbar, Zugriffsrechte prüfen (check liest auch das Archiv)")
        return EXIT_USAGE
    return EXIT_OK if trial.case.verdict.clean else EXIT_NOT_WELL


def try_file(project: Project, source: Source, file: Path, now: dt.datetime) -> Trial:
    """Judge a file as the next delivery of a source, or as the delivery that it already is.

    Raises:
        Refused: the file changes meanwhile.
    """
    history = History(project.paths)
    deliveries = history.deliveries(source.id)
    digest = sha256_file(file)
    known = next((d for d in deliveries if _same(d, source, digest, file.name)), None)
    with tempfile.TemporaryDirectory(prefix="sozialraum-check-") as folder:
        aside = _set_aside(project, source, Path(folder))
        state = SourceState(source, [])
        archived = History(aside.paths).deliveries(source.id)
        judged = known if known is not None and not known.purged else None
        delivery = judged or _next_delivery(source, deliveries, file, digest, now, Path(folder))
        asked = archived if judged else [*archived, delivery]
        try:
            accepted = judge_all(aside, source, asked, project.rules_of(source), state, now.date())
        except DamagedArchive as error:
            if sha256_file(file) != digest:
                raise Refused(f"{file} ändert sich gerade; bitte noch einmal, wenn die Datei fertig ist") from error
            raise
    verdict = state.verdicts[delivery.delivery_id]
    decision = judged.decision if judged else None
    if decision is None and delivery.delivery_id in accepted:
        decision = "accepted"
    case = Case(
        project,
        source,
        verdict,
        kind_of(verdict, decision, changed_rules=delivery.delivery_id not in accepted),
        file,
        file.name,
        delivery.received_on,
        delivery.delivery_id,
        trial=True,
        in_force=newest_in_force(project, source, delivery.delivery_id),
    )
    return Trial(case, _notes(case, known), known)


def _same(delivery: Delivery, source: Source, digest: str, name: str) -> bool:
    """Whether a file is a delivery that was received before; the name counts where the layout reads from it."""
    any_name = delivery.purged or not source.layout.period.file_name
    return delivery.sha256 == digest and bool(any_name or delivery.name == name)


def _next_delivery(
    source: Source, deliveries: list[Delivery], file: Path, digest: str, now: dt.datetime, folder: Path
) -> Delivery:
    """The delivery that the file would become; its bytes are a link."""
    seq = 1 + max((d.seq for d in deliveries), default=0)
    place = folder / "probe"
    place.mkdir()
    os.symlink(file.resolve(), place / "bytes")
    return Delivery(source.id, seq, digest, file.name, now.isoformat(timespec="seconds"), 0, place)


def _set_aside(project: Project, source: Source, folder: Path) -> Project:
    """The same project with a stand-in for archive and cache, as far as the source is concerned."""
    aside = Aside(project.paths.root, folder)
    concerned = _concerned(project, source)
    for delivery in (d for source_id in concerned for d in History(project.paths).deliveries(source_id)):
        aside.add(delivery)
    aside.link_readings(project.paths, concerned)
    return dataclasses.replace(project, paths=aside)


def _concerned(project: Project, source: Source) -> list[str]:
    """The source and those it must agree with, and those they must agree with."""
    found: dict[str, None] = {}
    waiting = [source.id]
    while waiting:
        source_id = waiting.pop()
        if source_id not in found:
            found[source_id] = None
            waiting += project.sources[source_id].compared_with()
    return list(found)


def _notes(case: Case, known: Delivery | None) -> list[str]:
    """What is to be said besides the findings."""
    notes = []
    source = case.source
    not_taken = f"Unter dem Namen »{case.name}« würde die Datei nicht angenommen"
    if not source.takes(case.name):
        notes.append(f"{not_taken}: {source.id} nimmt »{source.file_pattern}«")
    elif case.name.startswith((".", "~$")):
        notes.append(f"{not_taken}: so beginnen versteckte und Sperrdateien")
    elif printable(case.name) != case.name:
        notes.append(f"{not_taken}: er enthält Steuerzeichen oder ist nicht in UTF-8")
    if known is not None:
        decided = {"accepted": "angenommen", "rejected": "zurückgewiesen"}.get(
            str(known.decision), "noch nicht geprüft"
        )
        notes.append(
            f"Diese Datei ist schon eingegangen: Lieferung {known.delivery_id} vom {known.received_on:%d.%m.%Y} "
            f"({known.name}), {decided}; noch einmal geliefert ändert sie nichts"
        )
        if known.purged:
            notes.append(
                f"Die Lieferung {known.delivery_id} ist gelöscht ({known.purged['reason']}); dieselben Bytes werden "
                "nicht wieder angenommen"
            )
        elif known.delivery_id in out_of_force(source, [known]):
            notes.append(f"Die Lieferung {known.delivery_id} ist zurückgezogen, ihre Zahlen gelten nicht")
    corrections = sum(c.delivery == case.delivery_id for c in source.corrections)
    if corrections:
        words = "1 Berichtigung ist" if corrections == 1 else f"{corrections} Berichtigungen sind"
        notes.append(f"{words} angewandt (corrections für {case.delivery_id})")
    return notes


# ---------------------------------------------------------------- what was asked


def _known_source(project: Project, source_id: str) -> Source:
    if source_id in project.sources:
        return project.sources[source_id]
    near = nearest(source_id, project.sources, count=3, cutoff=0.5)
    if near:
        hint = f"meinten Sie {' oder '.join(f'»{name}«' for name in near)}?"
    else:
        hint = f"möglich: {', '.join(project.sources) or '(keine Quelle beschrieben)'}"
    raise Refused(f"Die Quelle »{source_id}« gibt es nicht; {hint}")


def _readable(file: Path) -> Path:
    try:
        if file.is_dir():
            raise Refused(f"{file} ist ein Ordner, erwartet wird eine Datei")
        if not file.exists():
            siblings = [path.name for path in file.parent.iterdir()] if file.parent.is_dir() else []
            near = nearest(file.name, siblings)
            hint = f"; meinten Sie »{near[0]}«?" if near else ""
            raise Refused(f"Die Datei {file} gibt es nicht{hint}")
        if not file.is_file():
            raise Refused(f"{file} ist keine gewöhnliche Datei")
        with file.open("rb") as content:
            content.read(1)
    except OSError as error:
        raise Refused(f"{file} ist nicht lesbar ({error.strerror}), Zugriffsrechte prüfen") from error
    return file


def _outside(folder: Path, project: Project) -> None:
    """No report among deliveries, archive and description."""
    for taken in (project.paths.assets, project.paths.root / "data"):
        if folder.resolve().is_relative_to(taken):
            raise Refused(f"--report {folder}: bitte einen Ordner außerhalb von {taken} angeben")


def _written(case: Case, folder: Path, stem: str) -> Path:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return write_answer(case, folder, stem)
    except OSError as error:
        raise Refused(f"--report {folder}: dort lässt sich nicht schreiben ({error.strerror})") from error
