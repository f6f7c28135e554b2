"""The run path of `sozialraum nightly`: lock, gate, one recorded in-process Dagster run, summary.

Dagster, pandas and DuckDB are imported only when the gate finds something new.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gc
import os
import traceback
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import gate, lock
from pipelines.exit_codes import EXIT_BUSY, EXIT_FAILED, EXIT_USAGE
from pipelines.files import point_link
from pipelines.paths import Paths
from pipelines.progress import Voice

if TYPE_CHECKING:
    from pipelines.night import Night


def run_nightly(root: Path, voice: Voice, now: dt.datetime | None = None) -> int:
    """Run the night of the project in a folder and return its exit code (0, 1, 2, 3, 5; see README)."""
    paths = Paths.of(root)
    if not paths.is_project():
        voice.error(
            f"{root}: kein Projektordner (erwartet: assets/, data/, dagster.yaml). Neu anlegen: sozialraum init DIR"
        )
        return EXIT_USAGE
    try:
        held = lock.take(paths.lock_file)
    except lock.Busy as busy:
        voice.error(str(busy))
        return EXIT_BUSY
    except OSError as error:
        voice.error(f"{paths.relative(paths.state)} ist nicht beschreibbar: {error}")
        return EXIT_FAILED
    try:
        verdict = gate.examine(paths, (now or dt.datetime.now(dt.UTC)).date())
        if verdict.unchanged and verdict.record:
            return _repeat(verdict.record, voice)
        voice.say(f"Lauf beginnt ({verdict.reason})")
        return _run(paths, voice, now)
    except Exception as error:  # noqa: BLE001 - a full disk or a folder without rights ends in words, not in a traceback
        return _failed(paths, voice, error)
    finally:
        held.release()


def _repeat(record: dict[str, Any], voice: Voice) -> int:
    """Nothing new: the standing outcome holds, also a bad one."""
    release = record.get("release_id") or "keine (internes Projekt)"
    voice.say(f"Nichts Neues seit {record['finished_at']}. Veröffentlichung in Kraft: {release}")
    for note in record.get("notes", []):
        voice.say(f"Hinweis: {note}")
    for finding in record["findings"]:
        voice.warn(finding)
    return int(record["exit_code"])


def _run(paths: Paths, voice: Voice, now: dt.datetime | None) -> int:
    from pipelines.night import Night
    from pipelines.project import ConfigError

    try:
        night = Night.begin(paths.root, voice.say, now)
        night.models.order  # noqa: B018 - reads all SQL: what is wrong with it is said before anything runs
    except ConfigError as error:
        voice.error("Die Beschreibung des Projekts ist nicht gültig, zu berichtigen:")
        for problem in error.problems:
            voice.error(f"  {problem}")
        return EXIT_USAGE
    message = _execute(night, paths)
    voice.done()
    if not night.finished:
        voice.error(f"FEHLGESCHLAGEN: {message}")
        voice.error("Die letzte Veröffentlichung ist unverändert in Kraft.")
        return EXIT_FAILED
    voice.summary(summary_rows(night), outcome(night), night.findings)
    return night.exit_code


def _failed(paths: Paths, voice: Voice, error: Exception) -> int:
    """Say what happened; the traceback goes into a file that stays inside."""
    voice.error(f"FEHLGESCHLAGEN: {error or type(error).__name__}")
    note = paths.internal / "letzter_fehler.txt"
    with contextlib.suppress(OSError):  # the disk may be what failed
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        note.write_text("".join(traceback.format_exception(error)), encoding="utf-8", errors="backslashreplace")
        voice.error(f"(Einzelheiten für die Fehlersuche: {paths.relative(note)})")
    voice.error("Die letzte Veröffentlichung ist unverändert in Kraft.")
    return EXIT_FAILED


def _execute(night: Night, paths: Paths) -> str:
    """One recorded run of the same job that schedule and sensor use; returns what went wrong, '' if nothing."""
    prepare_home(paths)
    import dagster as dg

    from pipelines.components.release import BEGUN_BY, COMMAND_LINE, adopt, fail_dead_runs, forget_removed
    from pipelines.definitions import JOB, project_definitions

    run_id = str(uuid.uuid4())
    adopt(run_id, night)
    try:
        job = project_definitions(paths.root).resolve_job_def(JOB)
        if not gc.isenabled():  # what is loaded by now stays until the process ends: no collection needs to look at it
            gc.freeze()
            gc.enable()
        with dg.DagsterInstance.get() as instance:
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
    except Exception as error:  # noqa: BLE001 - whatever a step raises ends in words; Dagster keeps the details
        if not night.finished:
            return f"{error or type(error).__name__}\n  (Einzelheiten: make dev, Lauf {run_id})"
    return ""


def prepare_home(paths: Paths) -> None:
    """DAGSTER_HOME is data/state, which holds a link to the project's dagster.yaml: the root stays clean."""
    paths.state.mkdir(parents=True, exist_ok=True)
    point_link(paths.state / "dagster.yaml", os.path.relpath(paths.root / "dagster.yaml", paths.state))
    os.environ["DAGSTER_HOME"] = str(paths.state)


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
    """What is in force now, in one German sentence."""
    if night.publication is None:
        return "Interne Auswertung erneuert; keine Veröffentlichung (internes Projekt)."
    figures = night.public.rows.get("indicator_value", 0) if night.public else 0
    if night.publication.new:
        return f"Veröffentlicht: {night.publication.release_id} mit {figures} Indikatorwerten."
    return f"Inhalt unverändert, Veröffentlichung {night.publication.release_id} bleibt in Kraft."
