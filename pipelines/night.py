"""One night: the steps of the run in their order, what each hands to the next, and the outcome. No Dagster here.

A step that finds its predecessor's result missing (a run of single steps from the web page) works it out from what is
on disk, so every step can be run alone.
"""

from __future__ import annotations

import datetime as dt
import functools
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pipelines import faults, gate, lock
from pipelines.audit.release import Audit
from pipelines.audit.release_tokens import CHANGED
from pipelines.changes.compare import CHANGED as FIGURE_CHANGED
from pipelines.changes.compare import GONE, NEW, Changes, Incomparable, compare
from pipelines.changes.mass import in_words, judge
from pipelines.changes.words import sentence, table
from pipelines.clearance import clear
from pipelines.disclosure.protection import Protection, ledger_entries, protect_observation
from pipelines.exit_codes import EXIT_NOT_WELL, EXIT_OK
from pipelines.files import (
    TEMPORARY,
    point_link,
    put_in_place,
    read_json,
    remove_leftovers,
    remove_old_scratch,
    write_json,
    write_text,
)
from pipelines.history import History
from pipelines.intake.report import report_paths
from pipelines.intake.run import SourceState, counted, current_state, refuse_lost, take_in
from pipelines.ledger import CellLedger
from pipelines.marts.edition import Content, Edition, Engine, build_edition, figure_marks
from pipelines.marts.models import Models
from pipelines.marts.previous import Previous, read_previous
from pipelines.past.held import taken_back
from pipelines.past.purge import finish_purges
from pipelines.past.withdraw import finish_withdrawals
from pipelines.paths import Paths
from pipelines.project import Project, load_project
from pipelines.provenance.files import provenance_beside
from pipelines.publishable import check_rows, delivery_rows, protection_rows, publish_provenance
from pipelines.published import Published, PublishedLedger
from pipelines.release.publish import (
    Publication,
    next_release_id,
    point_current,
    publish,
    published,
    retire,
    settle_pending,
    to_compare_with,
)
from pipelines.report.facts import News, Stamp
from pipelines.report.site import Written, write_report
from pipelines.rollup import Gap, build_observation

KEEP_INTERNAL = 2

Say = Callable[[str], None]


@dataclass
class Night:
    """State of one run."""

    project: Project
    now: dt.datetime
    fingerprint: dict[str, str]
    say: Say
    states: dict[str, SourceState] = field(default_factory=dict)
    gaps: list[Gap] = field(default_factory=list)
    internal: Edition | None = None
    protection: Protection | None = None
    public: Edition | None = None
    audit: Audit | None = None
    publication: Publication | None = None
    returning: Published | None = None
    accept_changes: str | None = None
    changes: Changes | None = None
    mass_change: str | None = None
    judged: bool = False
    pages: Path | None = None
    finished: bool = False
    marks: dict[str, str] = field(default_factory=dict)
    taken_in: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    known_marks: dict[str, str] = field(default_factory=dict)
    engine: Engine | None = None

    @classmethod
    def begin(
        cls, root: Path | str, say: Say, now: dt.datetime | None = None, accept_changes: str | None = None
    ) -> Night:
        """Take the lock, load the project, remove what a killed run left behind.

        Args:
            root: folder of the project.
            say: takes lines of progress.
            now: moment of the night, by default the clock's.
            accept_changes: why a mass change may be published; None if nobody said so.

        Raises:
            lock.Busy: another run is active.
            ConfigError: the project is not valid.
            DamagedArchive: deliveries or their bytes are missing or altered; nothing is received.
        """
        fingerprint = gate.take_fingerprint(Paths.of(root))  # first: what changes from now on is the next night's
        project = load_project(root)
        project.paths.prepare()
        held = lock.take(project.paths.lock_file)
        if held.note:
            say(held.note)
        paths = project.paths
        _clear_away(paths, say)
        for name in [*finish_withdrawals(paths), *finish_purges(paths)]:
            say(f"Zu Ende gebracht, was abgebrochen war: {name} zurückgezogen oder gelöscht")
        History(paths).verify()
        _make_room(project, say)
        record = read_json(project.paths.night_record)
        known = record.get("marks", {}) if isinstance(record, dict) else {}
        moment = now or dt.datetime.now(dt.UTC)
        return cls(project, moment, fingerprint, say, known_marks=known, accept_changes=accept_changes)

    def changed(self, mark: str) -> bool:
        """Whether a source's state, or the figures of a measure or indicator, differ from those of the last night."""
        return self.known_marks.get(mark) != self.marks.get(mark)

    # ------------------------------------------------------------ step 1: intake

    def intake(self, source_ids: Iterable[str] | None = None) -> dict[str, SourceState]:
        """Receive, read and judge the deliveries of the given sources (all by default)."""
        self.say("Schritt 1 von 5: Lieferungen annehmen und prüfen")
        wanted = set(self.project.sources if source_ids is None else source_ids)
        self.marks["gebiete"] = self.project.area_mark
        night = History(self.project.paths).next_night()
        for source in self.project.intake_order():
            if source.id in wanted:
                self.states[source.id] = state = take_in(self.project, source, night, self.now)
                self.marks[f"zaehlwerte/{source.id}"] = state.mark
                self.taken_in.add(source.id)
                for delivery in state.new:
                    self.say(f"{source.id}: {delivery.name} ist neu ({delivery.delivery_id})")
                for delivery in state.outstanding:
                    page = self.project.paths.relative(report_paths(self.project, delivery)[0])
                    count = counted(state.verdicts[delivery.delivery_id])
                    self.say(f"{source.id}: {delivery.name} ZURÜCKGEWIESEN, {count}, siehe {page}")
                self._say_flags(state)
                for refused in state.refused:
                    self.say(f"{source.id}: {refused}")
                self.notes += [f"{source.id}: {note}" for note in state.notes]
        self.notes += History(self.project.paths).strays(list(self.project.sources))
        for folder in self.project.paths.readings.glob("*"):
            if folder.name not in self.project.sources:  # of a source that was removed; its archive stays
                shutil.rmtree(folder)
        for note in self.notes:
            self.say(f"Hinweis: {note}")
        return {source_id: self.states[source_id] for source_id in sorted(wanted)}

    def _say_flags(self, state: SourceState) -> None:
        """Warnings about what was accepted now; those of earlier nights stay in their reports."""
        new = {d.delivery_id for d in state.new}
        for delivery in state.flagged:
            if delivery.delivery_id in new and delivery not in state.contradicting:
                page = self.project.paths.relative(report_paths(self.project, delivery)[0])
                count = counted(state.verdicts[delivery.delivery_id])
                self.say(f"{state.source.id}: {delivery.name} angenommen, {count}, siehe {page}")

    def all_states(self) -> dict[str, SourceState]:
        """States of all sources; those this run did not take in are read from the archive."""
        for source in self.project.sources.values():
            if source.id not in self.states:
                self.states[source.id] = current_state(self.project, source, self.now.date())
        return dict(sorted(self.states.items()))

    # ------------------------------------------------------------ step 2: build

    @cached_property
    def models(self) -> Models:
        """The marts as declared."""
        return Models(self.project)

    @cached_property
    def release_id(self) -> str:
        """Id under which this night will publish, if it does."""
        return next_release_id(self.project.paths, self.now, PublishedLedger(self.project.paths).ids())

    @cached_property
    def previous(self) -> Previous:
        """The public release that both editions of this night are compared with."""
        current = self.project.paths.current
        folder = to_compare_with(self.project.paths.public_places)
        if current.is_symlink() and (folder is None or folder.name != os.readlink(current)):
            instead = f"mit {folder.name} verglichen" if folder else "mit keiner verglichen"
            self.say(f"Hinweis: die geltende Veröffentlichung ist beschädigt; die Zahlen werden {instead}")
        return read_previous(folder) if folder else Previous()

    @property
    def observation(self) -> Path:
        """The true observation (stays inside)."""
        return self.project.paths.internal / "beobachtung.parquet"

    def build(self) -> Edition:
        """Observation and internal marts; the internal file is put in force in one step."""
        self.say("Schritt 2 von 5: Zahlen zusammenführen, interne Auswertung bauen")
        states = self.all_states()
        refuse_lost(self.project, states.values())
        paths = self.project.paths
        paths.night_record.unlink(missing_ok=True)  # from here on a night that fails leaves work for the next one
        self.gaps = build_observation(self.project, states, self.observation)
        building = paths.internal / f"{TEMPORARY}{self.release_id}.duckdb"
        self.internal = self._edition(self.observation, building)
        target = paths.internal / f"internal-{self.internal.content_hash[:12]}-{self.release_id}.duckdb"
        lock.fence(paths.lock_file)
        put_in_place(building, target)
        self.internal.file = target
        self.marks |= figure_marks(target, self.models)
        point_link(paths.internal_mart, target.name)
        others = [path for path in paths.internal.glob("internal-*.duckdb") if path != target]
        for old in sorted(others, key=lambda p: p.stat().st_mtime_ns)[: 1 - KEEP_INTERNAL]:
            old.unlink()
        self._report_gaps()
        return self.internal

    def _report_gaps(self) -> None:
        """Totals that do not match their parts: places in the progress, numbers only in a file that stays inside."""
        page = self.project.paths.internal / "summenabgleich.csv"
        lines = [
            f"{g.measure_id};{g.category};{g.area_id};{g.period};{g.delivered:g};{g.summed:g}\n" for g in self.gaps
        ]
        write_text(page, "Kennzahl;Auspraegung;Gebiet;Zeitraum;geliefert;Summe\n" + "".join(lines))
        if self.gaps:
            first = self.gaps[0]
            self.say(
                f"Hinweis: {len(self.gaps)} gelieferte Zahlen weichen von ihrer Summe ab (z. B. {first.measure_id}, "
                f"{first.area_id}, {first.period}); Einzelheiten: {self.project.paths.relative(page)}"
            )

    def _edition(self, observation: Path, target: Path, protection: Protection | None = None) -> Edition:
        # A release that is safe only by itself must not tell earlier figures again.
        previous = Previous() if protection is not None and protection.alone else self.previous
        states = self.all_states()
        meta: dict[str, Content] = {
            "delivery": delivery_rows(states),
            "check_result": check_rows(states, [m.mart.id for m in self.models.marts], self.failed_rules),
            "release_protection": protection_rows(protection),
            **provenance_beside(observation),
        }
        return build_edition(
            self.models,
            observation,
            target,
            meta,
            release_id=self.release_id,
            commit=commit_of_program(),
            previous=previous,
            engine=self.engine,
        )

    @property
    def failed_rules(self) -> dict[str, set[str]]:
        """Rules over whole tables that do not hold, by table, as far as the night has come."""
        failed = {"observation": {"summe_gleich_gelieferter_zahl"}} if self.gaps else {}
        if self.internal and self.internal.impossible:
            failed["indicator_value"] = {"zaehler_nicht_ueber_nenner"}
        return failed

    # ------------------------------------------------------------ step 3: public edition

    def protect(self) -> Edition | None:
        """The public edition: the same SQL over what may be public. None for a project declared internal.

        Raises:
            NotAdditive: figures that should add up do not.
            CannotProtect: a confidential figure remains open whatever is withheld besides.
            KeyProblem: the key of the ledger is missing.
        """
        if self.project.release.internal:
            self.say("Das Projekt ist als intern erklärt: keine Veröffentlichung.")
            if self.project.paths.current.is_symlink():
                name = os.readlink(self.project.paths.current)
                self.notes.append(
                    f"die frühere Veröffentlichung {name} liegt noch da; soll sie weg, data/releases leeren"
                )
            return None
        if self.internal is None:
            self.build()
        self.say("Schritt 3 von 5: kleine Zahlen schützen, öffentliche Ausgabe bauen")
        paths = self.project.paths
        folder = paths.warehouse / "oeffentlich"
        self.protection = protect_observation(
            self.project,
            self.observation,
            folder / "beobachtung.parquet",
            self.ledger,
            cache=paths.internal / "geheimhaltung",
            report=paths.internal / "geheimhaltung.csv",
        )
        publish_provenance(self.project, self.observation, self.protection.observation)
        self.say(self.protection.in_words())
        self.notes += self.protection.notes
        for note in self.protection.notes:
            self.say(f"Hinweis: {note}")
        building = folder / f"{TEMPORARY}{self.release_id}.duckdb"
        self.public = self._edition(self.protection.observation, building, self.protection)
        return self.public

    @cached_property
    def ledger(self) -> CellLedger:
        """What was ever published, cell by cell."""
        return CellLedger.open(self.project.paths, self.project.release.lost_keys)

    # ------------------------------------------------------------ step 4: report

    def report(self) -> Written | None:
        """The pages for planners, from the public edition alone; None if nothing will be published, or no pages."""
        if self.public is None:
            self.protect()
        if self.public is None:
            return None
        self.say("Schritt 4 von 5: Bericht schreiben")
        paths = self.project.paths
        self.judged = True
        self.returning = taken_back(paths, self.public.file, self.public.content_hash)
        self._compare(self.public)
        in_force = published(paths.public_places)
        unchanged = in_force is not None and in_force.content_hash == self.public.content_hash
        if self.held_back or self.implausible or unchanged or not self.project.release.report.written:
            return None
        alone = self.protection is not None and self.protection.alone  # then nothing earlier may be told again
        stamp = Stamp(self.release_id, self.now, None if alone else self.previous.release_id)
        places = paths.warehouse / "oeffentlich"
        self.pages = places / "bericht"
        cache = places / "bericht.sqlite"
        written = write_report(
            self.public.file, self.models.declared(), stamp, self.pages, cache, None if alone else self._news_of_figures
        )
        for note in written.notes:
            self.notes.append(note)
            self.say(f"Hinweis: {note}")
        self.say(f"{written.pages} Seiten, davon {written.rendered} neu geschrieben")
        return written

    @property
    def _news_of_figures(self) -> News | None:
        """How many figures are new, changed or gone, by indicator; None if there is nothing to compare with."""
        if self.changes is None:
            return None
        kinds = (NEW, FIGURE_CHANGED, GONE)
        counts = [Counter(row.indicator_id for row in self.changes.of(kind)) for kind in kinds]
        return News(*(tuple(sorted(count.items())) for count in counts))

    # ------------------------------------------------------------ step 5: publish

    def publish(self) -> Publication | None:
        """Publish the public edition if its content is new, then note what this night saw and decided."""
        if not self.judged:
            self.report()
        if self.public is not None:
            self.say("Schritt 5 von 5: veröffentlichen")
            paths = self.project.paths
            if self.held_back or self.implausible:
                self.publication = self._stay(self.public)
            else:
                self.publication = publish(
                    paths.public_places,
                    self.models.declared(),
                    self.public,
                    self.release_id,
                    self.now,
                    self._release_may_go,
                    lambda: lock.fence(paths.lock_file),
                    self.pages,
                )
            for name in retire(paths, self.project.release.keep):
                self.say(f"Alte Veröffentlichung entfernt: {name}")
        if self.accept_changes is not None and not self.to_accept:
            self.say("Hinweis: --accept-changes war nicht nötig, nichts war anzunehmen")
        self._record()
        self.finished = True
        return self.publication

    def _stay(self, edition: Edition) -> Publication | None:
        """Publish nothing: the release in force stays, and what points at it is made whole."""
        places = self.project.paths.public_places
        lock.fence(self.project.paths.lock_file)
        edition.file.unlink()
        settle_pending(places)
        if not places.current.is_symlink():
            return None
        in_force = os.readlink(places.current)
        point_current(places, in_force)
        return published(places) or Publication(in_force, "", False)  # damaged: the gate says so each night

    def _compare(self, edition: Edition) -> None:
        """What would change against the release in force, and whether that is more than the project believes."""
        paths, rule = self.project.paths, self.project.release.mass_change
        paths.held_changes.unlink(missing_ok=True)
        if self.previous.release_id is None:
            return
        try:
            self.changes = compare(self.models, paths.releases / self.previous.release_id, edition.file)
        except Incomparable as error:
            if rule:
                note = f"kein Vergleich mit {self.previous.release_id}, Massenänderung nicht geprüft: {error}"
                self.notes.append(note)
                self.say(f"Hinweis: {note}")
            return
        mass = judge(self.changes, rule)
        if mass and rule:
            file, line = self.project.place(self.project.release, "mass_change")
            self.mass_change = in_words(mass, self.changes, rule, f"{file}:{line}")
        if self.implausible:
            write_text(paths.held_changes, table(self.changes))
            self.say("Massenänderung: diese Ausgabe wird nicht veröffentlicht")

    @property
    def to_accept(self) -> bool:
        """Whether this edition is published only if somebody says so."""
        return self.returning is not None or self.mass_change is not None

    @property
    def held_back(self) -> Published | None:
        """The withdrawn release that this edition would bring back and that nobody accepted."""
        return self.returning if self.accept_changes is None else None

    @property
    def implausible(self) -> bool:
        """Whether this edition is not published because too much changes at once and nobody accepted it."""
        return self.mass_change is not None and self.accept_changes is None

    def _release_may_go(self, folder: Path) -> None:
        """Last look at the very files, attacked as anybody could; then noted as published before anybody sees them.

        Raises:
            Unsafe: something can be worked out that must not be; nothing is published.
        """
        protection = self.protection
        assert protection is not None
        self.say("Veröffentlichung angreifen: was ließe sich aus ihr errechnen?")
        entries = ledger_entries(protection.observation, self.observation, self.ledger)
        engine = self.engine.name if self.engine else "duckdb"
        self.audit = clear(folder, self.models, self.ledger, entries, protection, engine)
        self.say(self.audit.in_words())
        lock.fence(self.project.paths.lock_file)
        assert self.public is not None
        in_force = [d.delivery_id for state in self.all_states().values() for d in state.in_force]
        PublishedLedger(self.project.paths).add(
            Published(
                self.release_id,
                self.public.content_hash,
                commit=commit_of_program(),
                rules=self.project.rules,
                deliveries=tuple(in_force),
                accepted_changes=self.accept_changes if self.to_accept else None,
            )
        )
        self.ledger.add(self.release_id, entries)  # last: a release with cells is known to the list of releases

    def _record(self) -> None:
        """Leave the note that the next night's gate compares with."""
        paths = self.project.paths
        due = [s.next_due for s in self.all_states().values() if s.next_due and not s.missed]
        fingerprint = {**self.fingerprint, **_history_part(gate.take_fingerprint(paths))}
        if self.taken_in != set(self.project.sources):  # a run of single steps: what lies in the inbox is still new
            fingerprint[gate.INBOX] = "nicht angenommen"
        lock.fence(paths.lock_file)
        write_json(
            paths.night_record,
            {
                "fingerprint": fingerprint,
                "large_files": gate.large_files(paths),
                "exit_code": self.exit_code,
                "findings": self.findings,
                "notes": self.notes,
                "next_due": min(due).isoformat() if due else None,
                "release_id": self.publication.release_id if self.publication else None,
                "marks": {**self.known_marks, **self.marks},
                "finished_at": self.now.isoformat(timespec="seconds"),
            },
        )

    # ------------------------------------------------------------ outcome

    @property
    def news(self) -> list[str]:
        """What a new release changed, and why somebody let it pass; empty if nothing new was published."""
        if self.publication is None or not self.publication.new:
            return []
        changed = [sentence(self.changes)] if self.changes else []
        why = f"(Grund: {self.accept_changes})"
        mass = [f"Massenänderung angenommen {why}: {self.mass_change}"] if self.mass_change else []
        back = [f"Trotz der Rücknahme von {self.returning.release_id} veröffentlicht {why}."] if self.returning else []
        return [*changed, *mass, *back]

    @property
    def findings(self) -> list[str]:
        """Why the state is not well, one German sentence each; empty if all is well."""
        found = [withdrawn_in_words(self.held_back)] if self.held_back else []
        found += [self._implausible_in_words()] if self.implausible else []
        for state in self.all_states().values():
            for delivery in state.outstanding:
                page = self.project.paths.relative(report_paths(self.project, delivery)[0])
                found.append(
                    f"{state.source.id}: Lieferung {delivery.delivery_id} ({delivery.name}) zurückgewiesen, {page}"
                )
            for delivery in state.contradicting:
                page = self.project.paths.relative(report_paths(self.project, delivery)[0])
                what = f"Lieferung {delivery.delivery_id} ({delivery.name}) ist angenommen"
                found.append(f"{state.source.id}: {what}, widerspricht aber anderen Lieferungen, {page}")
            found += [f"{state.source.id}: {text}" for text in (*state.refused, *state.slips)]
            if state.missed:
                found.append(
                    f"{state.source.id}: Liefertermin {state.missed:%d.%m.%Y} verstrichen, nichts Neues angenommen"
                )
        for indicator, area_id, period in (self.internal.impossible if self.internal else [])[:20]:
            found.append(
                f"{indicator}: in {area_id} zum {period} ist der Zähler größer als der Nenner, kein Wert gebildet"
            )
        return found

    def _implausible_in_words(self) -> str:
        paths = self.project.paths
        return (
            f"Nicht veröffentlicht, als Massenänderung zurückgehalten: {self.mass_change} "
            f"{os.readlink(paths.current)} bleibt in Kraft; die interne Auswertung zeigt schon die neuen Zahlen. "
            f"Alle Änderungen: {paths.relative(paths.held_changes)}. "
            "Ist etwas falsch, die Lieferung berichtigen oder zurückziehen (retracted), die nächste Nacht prüft neu; "
            'ist alles richtig: sozialraum nightly --accept-changes "GRUND"'
        )

    @property
    def exit_code(self) -> int:
        """0 if all is well, 3 if not; only meaningful once the night is finished."""
        return EXIT_NOT_WELL if self.findings else EXIT_OK


def _clear_away(paths: Paths, say: Say) -> None:
    """Remove what killed runs left."""
    places = (paths.history, paths.warehouse, paths.releases, paths.state)
    rests = [name for folder in places for name in remove_leftovers(folder) if not name.endswith(lock.LEASE)]
    for name in [*rests, *remove_old_scratch(Path(tempfile.gettempdir()))]:
        say(f"Rest eines abgebrochenen Laufs entfernt: {name}")


def _make_room(project: Project, say: Say) -> None:
    """Releases beyond `keep` go before anything is built: where the disk is full, nothing could be built else."""
    if not project.release.internal:
        for name in retire(project.paths.public_places, project.release.keep):
            say(f"Alte Veröffentlichung entfernt: {name}")
    warning = faults.scarce(project.paths)
    if warning:
        say(warning)


def _history_part(fingerprint: dict[str, str]) -> dict[str, str]:
    """The run itself writes receipts; that part is taken at the end, all others as they were when it began."""
    return {part: value for part, value in fingerprint.items() if part.startswith("Archiv")}


def withdrawn_in_words(entry: Published) -> str:
    """Why content that was taken back is not published again, and what to do."""
    note = entry.withdrawn or {}
    return (
        f"Nicht veröffentlicht: der heutige Stand zeigt dasselbe Neue wie die zurückgezogene Veröffentlichung "
        f"{entry.release_id} (am {note.get('on')}, Grund: {note.get('reason')}). Eine berichtigte "
        "Lieferung ablegen oder die Beschreibung (YAML) ändern: sobald davon eine Zahl anders ist, wird wieder "
        'veröffentlicht. Ist alles richtig: sozialraum nightly --accept-changes "GRUND"'
    )


@functools.cache
def commit_of_program() -> str:
    """Version of the program: the commit of the code's checkout, `unbekannt` outside one.

    Ends with `-geaendert` if the code is not that of the commit: a version that nobody can fetch again.
    """
    here = Path(__file__).resolve().parent.parent
    git = ["git", "--no-optional-locks", "-C", str(here)]
    code = ["--", "pipelines", "schemas"]
    try:
        head, known, changes = (
            subprocess.run([*git, *question], capture_output=True, text=True, timeout=10, check=False)
            for question in (
                ["rev-parse", "--verify", "HEAD"],
                ["ls-files", "--error-unmatch", "--", "pipelines/night.py"],  # else the checkout around is another one
                ["status", "--porcelain", *code],
            )
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unbekannt"
    if head.returncode or known.returncode or changes.returncode:
        return "unbekannt"
    return head.stdout.strip() + CHANGED * bool(changes.stdout.strip())
