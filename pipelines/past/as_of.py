"""Rebuilds the past: today's rules over the deliveries known at a day, or a release exactly as it was made.

The nightly's own functions run over a stand-in for archive and cache. Nothing is published, and nothing of the project
changes but data/warehouse/as-of. A night may run meanwhile: neither waits for the other.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import shlex
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import duckdb

from pipelines import faults, lock
from pipelines.audit.release_tokens import CHANGED
from pipelines.exit_codes import EXIT_BUSY, EXIT_FAILED, EXIT_NOT_WELL, EXIT_OK, EXIT_USAGE
from pipelines.files import quoted, replacing
from pipelines.history import DamagedArchive, Delivery, History
from pipelines.intake.run import SourceState, current_state
from pipelines.ledger import KeyProblem, key_file, ledger_files
from pipelines.marts.previous import Previous
from pipelines.night import Night, commit_of_program
from pipelines.past.aside import Aside, results, workshop, workshop_lock
from pipelines.past.typed import Refused
from pipelines.paths import DATABASE, RELEASE_ID, Paths
from pipelines.progress import Voice
from pipelines.project import ConfigError, Project, load_project
from pipelines.published import LEDGER, DamagedRecord, Published, PublishedLedger
from pipelines.release.publish import order_of
from pipelines.session import open_session
from schemas.yaml_source import nearest

_UNDECIDED: dict[str, Any] = {"decision": None, "reasons": [], "rules": None, "slices": [], "earlier_decisions": []}


@dataclass(frozen=True)
class _Archive(Paths):
    """A project's places with the archive of another folder."""

    archive: Path

    @property
    def history(self) -> Path:
        """Where receipts, bytes and ledgers are read."""
        return self.archive


@dataclass
class _Rebuild:
    """One rebuilding: the project, where its archive is read, the stand-in, and where answers go."""

    real: Project
    archive: Paths
    scratch: Path
    voice: Voice

    @cached_property
    def aside(self) -> Aside:
        """The stand-in, with what was read already."""
        aside = Aside(self.real.paths.root, self.scratch)
        aside.link_readings(self.real.paths, self.real.sources)
        aside.internal.mkdir(exist_ok=True)
        return aside

    @cached_property
    def project(self) -> Project:
        """The project over the stand-in."""
        return dataclasses.replace(self.real, paths=self.aside)

    def night(self, states: dict[str, SourceState], name: str) -> Night:
        """A night over the stand-in that has taken in what it is given and says nothing."""
        night = Night(self.project, dt.datetime.now(dt.UTC), {}, lambda _: None, states=states)
        night.release_id = name
        night.previous = Previous()  # revisions need the releases of that time; they are no part of the content
        return night

    def keep(self, built: Path, name: str, file: str) -> Path:
        """Put a built file where it is looked for, in one step."""
        folder = results(self.real.paths) / name
        for each in (folder.parent, folder):
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(folder / file) as temporary:
            shutil.move(built, temporary)
        return folder / file


def as_of(root: Path, when: str, voice: Voice, history: Path | None = None) -> int:
    """Rebuild the state of a day (0, 2) or a release (0, or 3 if it differs); returns the exit code, 5 if busy.

    Args:
        root: project folder.
        when: a day (ISO) or the id of a release.
        voice: where the answer goes.
        history: folder data/history of another project folder, if the own one holds no archive.
    """
    try:
        project = load_project(root)
        archive = project.paths if history is None else _Archive(project.paths.root, history.resolve())
        if history is not None and not (archive.history / "deliveries").is_dir():
            raise Refused(f"--history {history}: kein Archiv (erwartet: ein Ordner data/history mit deliveries)")
        held = lock.take(workshop_lock(project.paths))
        try:
            with workshop(project.paths) as scratch:
                rebuild = _Rebuild(project, archive, scratch, voice)
                if RELEASE_ID.fullmatch(when):
                    return _release(rebuild, when)
                return _day(rebuild, _day_of(when))
        finally:
            held.release()
    except ConfigError as error:
        voice.error("Die Beschreibung des Projekts ist nicht gültig, zu berichtigen:")
        for problem in error.problems:
            voice.error(f"  {problem}")
        return EXIT_USAGE
    except Refused as refusal:
        voice.error(str(refusal))
        return EXIT_USAGE
    except lock.Busy as busy:
        voice.error(str(busy))
        return EXIT_BUSY
    except (DamagedArchive, DamagedRecord, OSError, duckdb.Error) as error:
        voice.error(f"FEHLGESCHLAGEN: {faults.in_words(error, Paths.of(root))}")
        return EXIT_FAILED


# ---------------------------------------------------------------- a day


def _day_of(when: str) -> dt.date:
    try:
        day = dt.date.fromisoformat(when)
    except ValueError:
        raise Refused(
            f"»{when}« ist kein Tag und keine Veröffentlichung; erwartet wird ein Tag wie 2026-03-31 oder eine Kennung "
            "wie 20261121T031500Z-0042"
        ) from None
    today = dt.datetime.now(dt.UTC).date()
    if day > today:
        raise Refused(f"{day} liegt in der Zukunft; heute (UTC) ist {today}")
    return day


def _day(rebuild: _Rebuild, day: dt.date) -> int:
    everything = History(rebuild.archive).refuse_gaps()
    known = known_at(everything, day)
    if not known:
        first = min((d.received_on for d in everything), default=None)
        when = f"; die erste kam am {first}" if first else ""
        raise Refused(f"Am {day} lag noch keine Lieferung vor{when}")
    _verify(known)
    states = _replay(rebuild, known, day)
    _say_state(rebuild, known, states, day)
    night = rebuild.night(states, f"as-of-{day}")
    edition = night.build()
    file = rebuild.keep(edition.file, day.isoformat(), "internal.duckdb")
    rebuild.voice.say(f"Prüfsumme des Inhalts: {edition.content_hash}")
    _compare(rebuild, file)
    _how_to_query(rebuild, file)
    return EXIT_OK


def known_at(deliveries: Iterable[Delivery], day: dt.date) -> list[Delivery]:
    """Deliveries received by the end of a day (UTC), in the order of the nights.

    Where a clock was set back, a night is not earlier than those before it.
    """
    latest = dt.date.min
    found = []
    for delivery in sorted(deliveries, key=lambda d: (d.night, d.source, d.seq)):
        latest = max(latest, delivery.received_on)
        if latest <= day:
            found.append(delivery)
    return found


def _verify(deliveries: Iterable[Delivery]) -> None:
    """A reading that is already there must not hide that the bytes behind it are gone or altered."""
    for delivery in deliveries:
        if not delivery.purged:
            delivery.verify()


def _replay(rebuild: _Rebuild, known: list[Delivery], day: dt.date) -> dict[str, SourceState]:
    """Night by night, because what was accepted stays accepted when a later delivery contradicts it."""
    project = rebuild.project
    for _, arrived in groupby(known, key=lambda d: d.night):
        sources = set()
        for delivery in arrived:
            rebuild.aside.add(delivery, **_UNDECIDED)
            sources.add(delivery.source)
        for source in project.intake_order():  # those compared with come first
            if source.id in sources or sources & set(source.compared_with()):
                sources.add(source.id)
                current_state(project, source, day)
    return {source.id: current_state(project, source, day) for source in project.intake_order()}


def _say_state(rebuild: _Rebuild, known: list[Delivery], states: dict[str, SourceState], day: dt.date) -> None:
    voice = rebuild.voice
    in_force = [d.delivery_id for state in states.values() for d in state.in_force]
    rejected = [d.delivery_id for state in states.values() for d in state.outstanding]
    voice.say(
        f"Stand {day} nach heutigen Regeln; Lieferungen, die vorlagen: {len(known)}, davon gelten: {len(in_force)}"
    )
    voice.say(f"In Kraft: {', '.join(in_force) or '(keine)'}")
    if rejected:
        voice.say(f"Nach heutigen Regeln zurückgewiesen: {', '.join(rejected)}")
    gone = sorted({d.source for d in known} - set(states))
    if gone:
        voice.say(f"Nicht mehr beschriebene Quellen bleiben außer Acht: {', '.join(gone)}")


def _compare(rebuild: _Rebuild, file: Path) -> None:
    """How many values are not those of today."""
    today = rebuild.real.paths.internal_mart
    if not today.exists():
        rebuild.voice.say("Kein Vergleich mit heute: die interne Auswertung ist noch nicht gebaut")
        return
    with open_session(rebuild.scratch / "vergleich") as con:
        con.execute(f"ATTACH '{quoted(file)}' AS past (READ_ONLY)")
        con.execute(f"ATTACH '{quoted(today.resolve())}' AS today (READ_ONLY)")
        row = con.execute(
            """
            SELECT count(*) FILTER (t.value IS DISTINCT FROM n.value), count(n.value),
                count(*) FILTER (t.value IS NULL AND n.value IS NOT NULL)
            FROM past.mart.indicator_value t
            FULL JOIN today.mart.indicator_value n USING (indicator_id, area_id, period_type, reference_date)
            """
        ).fetchone()
    other, all_of, new = row or (0, 0, 0)
    rebuild.voice.say(f"Anders als heute: {other} Indikatorwerte ({new} davon fehlten noch; heute sind es {all_of})")


def _how_to_query(rebuild: _Rebuild, file: Path) -> None:
    rebuild.voice.say(
        f"Abfragen (wahre Werte, nicht weitergeben): {rebuild.real.paths.relative(file)} mit DuckDB öffnen"
    )
    rebuild.voice.say("  z. B. FROM api.indikatorwerte; der Ordner darf jederzeit gelöscht werden")


# ---------------------------------------------------------------- a release


def _release(rebuild: _Rebuild, release_id: str) -> int:
    ledger = PublishedLedger(rebuild.archive)
    entry = ledger.entry(release_id)
    if entry is None:
        near = nearest(release_id, ledger.ids())
        hint = f"; meinten Sie »{near[0]}«?" if near else ""
        raise Refused(f"Die Veröffentlichung »{release_id}« gibt es nicht{hint}")
    deliveries = _deliveries_of(rebuild, entry)
    differences = _differences(rebuild, entry)
    try:
        content_hash = _remake(rebuild, entry, deliveries)
    except (KeyProblem, DamagedArchive, OSError):
        raise
    except Exception as error:
        if not differences:  # other rules or another program may fail in any way
            raise
        return _say_differences(rebuild, entry, [*differences, f"Der Nachbau bricht ab: {error}"])
    if content_hash == entry.content_hash:
        rebuild.voice.say(f"{release_id} nachgebaut: Inhalt gleich ({content_hash})")
        for difference in differences:
            rebuild.voice.say(f"  (auf den Inhalt ohne Wirkung: {difference})")
        return EXIT_OK
    content = f"Inhalt: damals {entry.content_hash}, jetzt {content_hash}"
    return _say_differences(rebuild, entry, [content, *differences])


def _deliveries_of(rebuild: _Rebuild, entry: Published) -> list[Delivery]:
    """The deliveries that were in force, with their bytes."""
    if entry.deliveries is None:
        raise Refused(
            f"{entry.release_id} ist mit einer älteren Fassung des Programms veröffentlicht worden, die sich die "
            "geltenden Lieferungen nicht gemerkt hat; sie lässt sich nicht nachbauen. Den Stand ihres Tages gibt: "
            f"sozialraum as-of {entry.release_id[:4]}-{entry.release_id[4:6]}-{entry.release_id[6:8]}"
        )
    archived = {d.delivery_id: d for d in History(rebuild.archive).all_deliveries()}
    missing = [name for name in entry.deliveries if name not in archived]
    if missing:
        raise Refused(f"Im Archiv fehlen Lieferungen, aus denen {entry.release_id} besteht: {', '.join(missing)}")
    found = [archived[name] for name in entry.deliveries]
    purged = [f"{d.delivery_id} (am {d.purged['on']}, {d.purged['reason']})" for d in found if d.purged]
    if purged:
        raise Refused(f"{entry.release_id} lässt sich nicht mehr nachbauen, gelöscht sind: {', '.join(purged)}")
    _verify(found)
    return found


def _differences(rebuild: _Rebuild, entry: Published) -> list[str]:
    """What of this checkout is not as it was, one German line each."""
    found = []
    if entry.commit != commit_of_program():
        found.append(f"Programm: damals {entry.commit}, hier {commit_of_program()}")
    if entry.rules != rebuild.real.rules:
        found.append(f"Beschreibung (assets): damals {str(entry.rules)[:12]}, hier {rebuild.real.rules[:12]}")
    return found


def _remake(rebuild: _Rebuild, entry: Published, deliveries: list[Delivery]) -> str:
    """Build both editions as they were built then; returns the content hash of the public one."""
    aside, project = rebuild.aside, rebuild.project
    if not key_file(rebuild.real.paths).is_file():
        raise KeyProblem(
            f"Der Schlüssel {key_file(rebuild.real.paths)} fehlt; ohne ihn ist der Schutz nicht nachzubauen"
        )
    for delivery in deliveries:
        aside.add(delivery, decision="accepted")
    ledger = aside.history / LEDGER
    ledger.mkdir(parents=True)
    for file in takewhile(lambda f: order_of(f.stem) < order_of(entry.release_id), ledger_files(rebuild.archive)):
        (ledger / file.name).symlink_to(file)
    day = dt.datetime.strptime(entry.release_id[:8], "%Y%m%d").date()  # noqa: DTZ007 - a day in UTC
    states = {source.id: current_state(project, source, day) for source in project.intake_order()}
    night = rebuild.night(states, entry.release_id)
    internal = night.build()
    public = night.protect()
    if public is None:
        raise Refused("das Projekt ist hier als intern erklärt (release.internal)")
    rebuild.keep(internal.file, entry.release_id, "internal.duckdb")
    file = rebuild.keep(public.file, entry.release_id, DATABASE)
    rebuild.voice.say(f"Nachbau: {rebuild.real.paths.relative(file)}, daneben internal.duckdb mit den wahren Werten")
    return public.content_hash


def _say_differences(rebuild: _Rebuild, entry: Published, differences: list[str]) -> int:
    voice = rebuild.voice
    voice.error(f"{entry.release_id} ist hier nicht gleich nachgebaut:")
    for difference in differences:
        voice.error(f"  {difference}")
    version = str(entry.commit)
    commit = version.removesuffix(CHANGED)
    if len(differences) == 1:
        voice.error("  Programm und Beschreibung sind die von damals; andere Fassungen der Bibliotheken?")
    elif len(commit) != 40:
        voice.error("  Den Stand des Programms von damals nennt die Veröffentlichung nicht.")
    else:
        if version != commit:
            voice.error("  Das Programm war gegenüber seinem Commit geändert; dieser Stand ist nirgends festgehalten.")
        command = shlex.quote(str(Path(sys.executable).with_name("sozialraum")))
        history = shlex.quote(str(rebuild.archive.history))
        voice.error("So geht es mit dem Stand von damals (im Ordner des Programms):")
        voice.error(f"  git worktree add ../damals {commit}")
        voice.error("  cd ../damals")
        voice.error(f'  PYTHONPATH="$PWD" {command} as-of {entry.release_id} --history {history}')
        voice.error("Liegt assets/ woanders als das Programm: auch diesen Stand holen und mit --project nennen.")
    return EXIT_NOT_WELL
