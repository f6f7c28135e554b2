"""The run path of `sozialraum nightly`: lock, gate, one recorded in-process Dagster run, summary.

Dagster, pandas and DuckDB are imported only when the gate finds something new.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import logging
import os
import tempfile
import traceback
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import alerts, faults, gate, lock
from pipelines.exit_codes import EXIT_BUSY, EXIT_FAILED, EXIT_USAGE
from pipelines.files import TEMPORARY, point_link, remove_leftovers
from pipelines.incidents import KINDS, cause_of
from pipelines.memory import BadMemoryLimit, memory_limit
from pipelines.paths import Paths
from pipelines.progress import Voice
from pipelines.status import note_begin, note_end, refuse_stale

if TYPE_CHECKING:
    from pipelines.night import Night


def run_nightly(
    root: Path,
    voice: Voice,
    now: dt.datetime | None = None,
    accept_changes: str | None = None,
    *,
    on_spark: bool = False,
) -> int:
    """Run the night of the project in a folder and return its exit code (0, 1, 2, 3, 5; see README).

    Args:
        root: folder of the project.
        voice: says what happens.
        now: moment of the night, by default the clock's.
        accept_changes: why a mass change may be published; the night then runs even if nothing is new.
        on_spark: compute the tables on Apache Spark instead of DuckDB; a finished night is not repeated for it.
    """
    paths = Paths.of(root)
    if not paths.is_project():
        voice.error(
            f"{root}: kein Projektordner (erwartet: assets/, data/, dagster.yaml). Neu anlegen: sozialraum init DIR"
        )
        return EXIT_USAGE
    if accept_changes is not None and not accept_changes.strip():
        voice.error(
            "--accept-changes: der Grund fehlt; er wird zur Veröffentlichung vermerkt, "
            'z. B. --accept-changes "Zensus 2022, mit dem Statistikamt geklärt"'
        )
        return EXIT_USAGE
    if missing := _missing(on_spark):
        voice.error(missing)
        return EXIT_USAGE
    try:
        held = lock.take(paths.lock_file)
    except lock.Busy as busy:
        voice.error(str(busy))
        alerts.tell(paths.root, voice.say)  # if that other run has been active for hours
        return EXIT_BUSY
    except OSError as error:
        voice.error(f"FEHLGESCHLAGEN: {faults.in_words(error, paths)}")
        if faults.full(error):  # no room for the lock's own note; another run of this host would have been named
            note_begin(paths)
            note_end(paths, EXIT_FAILED, cause_of(error))
        return EXIT_FAILED
    before = _in_force(paths)
    note_begin(paths)
    try:
        code, cause = _night(paths, voice, now, accept_changes, on_spark)
        note_end(paths, code, cause)
    except Exception as error:  # noqa: BLE001 - a full disk or a folder without rights ends in words, not in a traceback
        code = _failed(paths, voice, error, before)
        note_end(paths, code, cause_of(error))
    finally:
        held.release()
    alerts.tell(paths.root, voice.say)  # without the lock: a target that is slow holds nobody up
    return code


def _missing(on_spark: bool) -> str | None:
    """What the machine lacks or is wrongly told about memory; None if all is well."""
    try:
        memory_limit()
    except BadMemoryLimit as error:
        return str(error)
    if on_spark:
        from pipelines.spark.machine import whats_missing

        return whats_missing()
    return None


def _night(
    paths: Paths, voice: Voice, now: dt.datetime | None, accept_changes: str | None, on_spark: bool
) -> tuple[int, str]:
    """Exit code, and the kind of what made the run fail ('' if nothing did)."""
    refuse_stale(paths)
    verdict = gate.examine(paths, (now or dt.datetime.now(dt.UTC)).date())
    if verdict.unchanged and verdict.record and accept_changes is None:
        if lock.take(paths.lock_file).left:  # the last run was killed after its record
            _give_back(paths)
            _close_records(paths)
        return _repeat(verdict.record, voice), ""
    voice.say(f"Lauf beginnt ({verdict.reason})")
    return _run(paths, voice, now, accept_changes, on_spark)


def _repeat(record: dict[str, Any], voice: Voice) -> int:
    """Nothing new: the standing outcome holds, also a bad one."""
    release = record.get("release_id") or "keine"
    voice.say(f"Nichts Neues seit {record['finished_at']}. Veröffentlichung in Kraft: {release}")
    for note in record.get("notes", []):
        voice.say(f"Hinweis: {note}")
    for finding in record["findings"]:
        voice.warn(finding)
    return int(record["exit_code"])


def _run(
    paths: Paths, voice: Voice, now: dt.datetime | None, accept_changes: str | None, on_spark: bool
) -> tuple[int, str]:
    from pipelines.night import Night
    from pipelines.project import ConfigError

    try:
        night = Night.begin(paths.root, voice.say, now, accept_changes)
        night.models.order  # noqa: B018 - reads all SQL: what is wrong with it is said before anything runs
        if on_spark:
            from pipelines.spark.engine import spark_engine

            night.engine = spark_engine(night.models)
    except ConfigError as error:
        voice.error("Die Beschreibung des Projekts ist nicht gültig, zu berichtigen:")
        for problem in error.problems:
            voice.error(f"  {problem}")
        return EXIT_USAGE, ""
    run_id = str(uuid.uuid4())
    before = _in_force(paths)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=paths.internal, ignore_cleanup_errors=True) as scratch:
        tempfile.tempdir = scratch  # what a killed run leaves behind is found by the next one
        try:
            failure = _execute(night, paths, run_id)
        finally:
            tempfile.tempdir = None
    voice.done()
    if failure is not None and not night.finished:
        cause = "speicher_voll" if faults.full(failure) else cause_of(failure)
        voice.error(f"FEHLGESCHLAGEN: {_in_words(failure, cause, paths, run_id)}")
        _after_failure(paths, voice, before)
        return EXIT_FAILED, cause
    voice.summary(summary_rows(night), outcome(night), night.findings)
    return night.exit_code, ""


def _in_words(error: Exception, cause: str, paths: Paths, run_id: str) -> str:
    """What made the run fail; a database's own words would name its host and user."""
    if cause == "datenbank":
        kind = KINDS[cause]
        return f"{kind.title} (dagster.yaml: storage). Es ist nichts verändert. Zuerst: {kind.first}."
    return f"{faults.in_words(error, paths)}\n  (Einzelheiten: make dev, Lauf {run_id})"


def _failed(paths: Paths, voice: Voice, error: Exception, before: str | None) -> int:
    """Say what happened; the traceback goes into a file that stays inside."""
    voice.error(f"FEHLGESCHLAGEN: {faults.in_words(error, paths)}")
    note = paths.internal / "letzter_fehler.txt"
    with contextlib.suppress(OSError):  # the disk may be what failed
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        note.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
        voice.error(f"(Einzelheiten für die Fehlersuche: {paths.relative(note)})")
    _after_failure(paths, voice, before)
    return EXIT_FAILED


def _in_force(paths: Paths) -> str | None:
    """Name of the release in force."""
    return os.readlink(paths.current) if paths.current.is_symlink() else None


def _give_back(paths: Paths) -> None:
    """Remove unfinished files."""
    for folder in (paths.history, paths.warehouse, paths.releases):
        remove_leftovers(folder)


def _after_failure(paths: Paths, voice: Voice, before: str | None) -> None:
    """Give back the room that unfinished files take, and say what is in force."""
    with contextlib.suppress(OSError, lock.Overtaken):
        lock.fence(paths.lock_file)  # else they may be those of the run that took over
        _give_back(paths)
    now = _in_force(paths)
    if now == before:
        voice.error("Die letzte Veröffentlichung ist unverändert in Kraft.")
    else:
        voice.error(f"In Kraft ist jetzt die Veröffentlichung {now}; der nächste Lauf bringt das Übrige in Ordnung.")


def _execute(night: Night, paths: Paths, run_id: str) -> Exception | None:
    """One recorded run of the same job that schedule and sensor use; returns what went wrong, None if nothing."""
    prepare_home(paths)
    import dagster as dg

    from pipelines.components.event_log import kept_open
    from pipelines.components.release import (
        BEGUN_BY,
        COMMAND_LINE,
        adopt,
        fail_dead_runs,
        forget_old_runs,
        forget_removed,
    )
    from pipelines.definitions import JOB, project_definitions
    from pipelines.run_record import mend

    adopt(run_id, night)
    try:
        job = project_definitions(paths.root).resolve_job_def(JOB)
        if not gc.isenabled():  # what is loaded by now stays until the process ends: no collection needs to look at it
            gc.freeze()
            gc.enable()
        for note in mend(paths.state):
            night.say(note)
        with dg.DagsterInstance.get() as instance, kept_open(instance, run_id):
            fail_dead_runs(instance, run_id)
            forget_removed(instance, job)
            job.execute_in_process(
                instance=instance,
                run_id=run_id,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                tags={BEGUN_BY: COMMAND_LINE},
                raise_on_error=True,
            )
            instance.add_run_tags(run_id, {"sozialraum/ergebnis": "gut"})
            forget_old_runs(instance)
    except Exception as error:  # noqa: BLE001 - whatever a step raises ends in words; Dagster keeps the details
        error.__context__ = None  # Dagster's wrapper around it, which names it as its own cause: a circle
        return error
    return None


def _close_records(paths: Paths) -> None:
    """Mark the run of a killed process as failed, on a night that has no other business with Dagster."""
    prepare_home(paths)
    import dagster as dg

    from pipelines.components.release import fail_dead_runs
    from pipelines.run_record import mend

    mend(paths.state)
    with dg.DagsterInstance.get() as instance:
        fail_dead_runs(instance, "")


def prepare_home(paths: Paths) -> None:
    """DAGSTER_HOME is data/state, which holds a link to the project's dagster.yaml: the root stays clean."""
    paths.state.mkdir(parents=True, exist_ok=True)
    point_link(paths.state / "dagster.yaml", os.path.relpath(paths.root / "dagster.yaml", paths.state))
    os.environ["DAGSTER_HOME"] = str(paths.state)
    logging.getLogger().setLevel(logging.ERROR)  # Dagster's driver for Postgres warns with host and user at each try


def summary_rows(night: Night) -> list[tuple[str, str, str, str]]:
    """Per source: id, deliveries in force, new ones, state in words."""
    rows = []
    for state in night.all_states().values():
        if state.outstanding:
            words = "ZURÜCKGEWIESEN: " + ", ".join(d.delivery_id for d in state.outstanding)
        elif state.refused:
            words = "NICHT ALLES ANGENOMMEN"
        elif state.contradicting:
            words = "WIDERSPRICHT ANDEREN: " + ", ".join(d.delivery_id for d in state.contradicting)
        elif state.missed:
            words = f"ÜBERFÄLLIG seit {state.missed:%d.%m.%Y}"
        elif not state.in_force:
            words = "noch nichts geliefert"
        else:
            words = "angenommen"
        rows.append((state.source.id, str(len(state.in_force)), str(len(state.new)), words))
    return rows


def outcome(night: Night) -> str:
    """What is in force now and what changed with it, in German."""
    in_force = night.publication.release_id if night.publication else "keine Veröffentlichung"
    if night.held_back or night.implausible:
        return f"NICHT VERÖFFENTLICHT. In Kraft: {in_force}."
    if night.publication is None:
        return "Interne Auswertung erneuert; keine Veröffentlichung (internes Projekt)."
    figures = night.public.rows.get("indicator_value", 0) if night.public else 0
    if night.publication.new:
        published = f"Veröffentlicht: {night.publication.release_id} mit {figures} Indikatorwerten."
        return "\n".join([published, *night.news])
    return f"Inhalt unverändert, Veröffentlichung {in_force} bleibt in Kraft."
