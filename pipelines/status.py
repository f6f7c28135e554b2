"""How a project stands: its last attempt, the release in force, findings, deliveries, disk. Standard library only.

What monitoring systems ask every few minutes, and the dead man's switch: it answers fast, also where a night fails.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import gate, lock
from pipelines.exit_codes import EXIT_FAILED, EXIT_NOT_WELL, EXIT_OK, EXIT_USAGE
from pipelines.files import TEMPORARY, read_json, sha256_file, write_json
from pipelines.incidents import KINDS, OUTCOMES, Incident, classify
from pipelines.paths import RELEASE_ID, Paths
from pipelines.progress import Voice
from pipelines.published import DamagedRecord, PublishedLedger

MAX_AGE_HOURS = 26.0
"""A nightly run may take place two hours later than the night before (change of the clock, a long run)."""
LONG_RUN = dt.timedelta(hours=4)
"""A run of this length hangs; the longest night of the benchmarks takes minutes."""
LEAST_FREE = 1024**3
"""Bytes on the disk below which a night may no longer have room for a release."""
CLOCK_SLACK = dt.timedelta(minutes=5)
_GOES_ON = "Derselbe Befehl oder der nächste Nachtlauf bringt es zu Ende"

_WORDS = {EXIT_OK: "gut", EXIT_NOT_WELL: "nicht gut", EXIT_FAILED: "fehlgeschlagen"}
_NAGIOS = {EXIT_OK: (0, "OK"), EXIT_NOT_WELL: (1, "WARNING"), EXIT_FAILED: (2, "CRITICAL"), EXIT_USAGE: (3, "UNKNOWN")}


class StaleArchive(Exception):
    """The ledger is older than the releases that lie there."""


# ---------------------------------------------------------------- the note of an attempt


def note_begin(paths: Paths) -> None:
    """Note that a run has begun; whoever finds this note without an end knows that the run is active or died.

    A disk that is full must not keep the run from saying so itself, so a note that can't be written is left out.
    """
    _note(paths, {"begun": _now().isoformat(timespec="seconds"), "host": socket.gethostname(), "process": os.getpid()})


def note_end(paths: Paths, code: int, cause: str = "") -> None:
    """Complete the note: exit code, and the kind of incident that ended the run ('' if it was none)."""
    note = _last_note(paths) or {"begun": _now().isoformat(timespec="seconds")}
    cause = cause or OUTCOMES.get(code, "")
    sentence = KINDS[cause].title if cause else f"Der Lauf ist beendet; der Zustand ist {_WORDS.get(code, 'unbekannt')}"
    note |= {"ended": _now().isoformat(timespec="seconds"), "exit_code": code, "cause": cause, "sentence": sentence}
    _note(paths, note | {"release_id": _in_force(paths)})


def _note(paths: Paths, note: dict[str, Any]) -> None:
    """Write the note; where there is no room for a new file, into the old one, which has its room already."""
    try:
        write_json(paths.attempt, note)
    except OSError:
        with suppress(OSError), paths.attempt.open("r+", encoding="utf-8") as file:
            text = json.dumps(note)
            file.write(text.ljust(paths.attempt.stat().st_size))


def _last_note(paths: Paths) -> dict[str, Any] | None:
    """The note of the last attempt; None if there is none or it does not say when."""
    note = read_json(paths.attempt)
    return note if isinstance(note, dict) and _moment_of(note.get("begun")) else None


def _moment_of(text: Any) -> dt.datetime | None:
    """A moment as our notes have it (ISO with a time zone); None for anything else."""
    try:
        found = dt.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else None


# ---------------------------------------------------------------- looking


@dataclass
class Status:
    """How a project stands.

    Args:
        incidents: all that is the matter.
        complete: whether the findings of a finished night are known; else nobody may conclude that one is settled.
        release_id: the release in force, None if there is none.
        last: when the last attempt began (UTC), None if there was none.
        active: since when a run is going on (UTC), None if none is.
        age_hours: hours since the last attempt began.
        free: bytes free on the disk of the project's data.
        sources: per source what was received, what is waiting, and whether it is overdue.
    """

    incidents: list[Incident] = field(default_factory=list)
    complete: bool = False
    release_id: str | None = None
    last: dt.datetime | None = None
    active: dt.datetime | None = None
    age_hours: float | None = None
    free: int = 0
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """1 if anything failed, 3 if anything is not well, else 0."""
        codes = {KINDS[incident.kind].code for incident in self.incidents}
        return EXIT_FAILED if EXIT_FAILED in codes else EXIT_NOT_WELL if codes else EXIT_OK

    @property
    def waiting(self) -> int:
        """Files in the inbox that no run has seen yet."""
        return sum(source["waiting"] for source in self.sources.values())


def examine(paths: Paths, now: dt.datetime | None = None, max_age_hours: float = MAX_AGE_HOURS) -> Status:
    """Look at everything; changes nothing."""
    now = now or _now()
    record = read_json(paths.night_record)
    record = record if isinstance(record, dict) else None
    note = _last_note(paths)
    status = Status(release_id=_in_force(paths), free=shutil.disk_usage(paths.root).free)
    found = status.incidents
    found += _attempt(status, paths, note, record, now, max_age_hours)
    found += [classify(finding) for finding in (record or {}).get("findings", [])]
    status.complete = record is not None and status.active is None
    if status.active is None:
        found += [Incident("lauf_abgebrochen", subject, sentence) for subject, sentence in unfinished(paths).items()]
        if record is None and note and note.get("exit_code") in (EXIT_OK, EXIT_NOT_WELL):
            found.append(Incident("lauf_steht_aus", "", f"{KINDS['lauf_steht_aus'].title}"))
    try:
        found += _releases(paths, record, status)
    except DamagedRecord as error:
        found.append(Incident("archiv_beschaedigt", "", str(error)))
    if status.free < LEAST_FREE and "speicher_voll" not in {incident.kind for incident in found}:
        found.append(Incident("speicher_voll", "", f"Nur noch {status.free // 1024**2} MB frei für {paths.root}"))
    overdue = {incident.source for incident in found if incident.kind == "liefertermin_verstrichen"}
    status.sources = {name: _source(paths, name, name in overdue) for name in _source_names(paths)}
    return status


def _attempt(
    status: Status,
    paths: Paths,
    note: dict[str, Any] | None,
    record: dict[str, Any] | None,
    now: dt.datetime,
    max_age_hours: float,
) -> Iterator[Incident]:
    last = _moment_of((note or record or {}).get("begun" if note else "finished_at"))
    if last is None:
        yield Incident("kein_lauf", "", "Es hat noch kein Lauf stattgefunden, oder seine Notiz in data/state fehlt")
        return
    status.last = last
    status.age_hours = (now - last).total_seconds() / 3600
    if last > now + CLOCK_SLACK:
        yield Incident("uhr", "", f"Der letzte Lauf liegt in der Zukunft ({moment(last)})")
    if note and "ended" not in note:
        who = f"Rechner {note.get('host')}, Prozess {note.get('process')}"
        if not _held(paths.lock_file, note.get("host")):
            yield Incident("lauf_abgebrochen", "", f"Der Lauf vom {moment(last)} ({who}) ist abgebrochen")
        else:
            status.active = last
            if now - last > LONG_RUN:
                yield Incident("lauf_blockiert", "", f"Der Lauf ({who}) ist seit {moment(last)} aktiv")
    elif note and note.get("cause"):
        kind = note["cause"] if note["cause"] in KINDS else OUTCOMES[EXIT_FAILED]
        yield Incident(kind, "", f"{KINDS[kind].title} (Lauf vom {moment(last)})")
        if note.get("exit_code") == EXIT_FAILED != KINDS[kind].code:  # whatever stopped it: it did stop
            failed = OUTCOMES[EXIT_FAILED]
            yield Incident(failed, "", f"{KINDS[failed].title} (Lauf vom {moment(last)})")
    if status.active is None and status.age_hours > max_age_hours:
        hours = f"{status.age_hours:.0f} Stunden, erlaubt sind {max_age_hours:g}"
        yield Incident("kein_lauf", "", f"Der letzte Lauf war am {moment(last)}, vor {hours}")


def _held(lock_file: Path, host: str | None) -> bool:
    """Whether the run that noted its beginning still lives; one on another host is known by its signs of life.

    Asked only if a note without an end lies there: then either a run holds the lock, or nobody is disturbed by the try.
    """
    try:
        if host != socket.gethostname():
            return time.time() - lock_file.with_suffix(".lease").stat().st_mtime < lock.STALE
        with lock_file.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _releases(paths: Paths, record: dict[str, Any] | None, status: Status) -> Iterator[Incident]:
    """What is wrong with the releases.

    While a run is active its links may be on the move; after a withdrawal they lead elsewhere than the last night left.
    """
    entries = PublishedLedger(paths).entries()
    withdrawn = {entry.release_id for entry in entries if entry.withdrawn}
    broken = None
    if record is not None and status.active is None and record.get("release_id") not in withdrawn:
        broken = gate.whats_broken(paths, record)  # knows whether there should be a release
    elif status.release_id is not None:
        broken = gate.damaged_release(paths.releases / status.release_id)
    elif entries and entries[-1].withdrawn and status.active is None:
        last = entries[-1].release_id
        sentence = f"Es ist keine Veröffentlichung in Kraft: {last} ist zurückgezogen, der nächste Lauf steht aus"
        yield Incident("veroeffentlichung_zurueckgezogen", last, sentence)
    elif entries and status.active is None:
        broken = "data/releases/current fehlt"
    if broken:
        yield Incident("veroeffentlichung_beschaedigt", "", f"Die Veröffentlichung ist nicht heil: {broken}")
    stale = unnoted(paths)
    if stale and status.active is None:
        yield Incident("archiv_veraltet", "", stale_in_words(stale))


def unfinished(paths: Paths) -> dict[str, str]:
    """Deliveries and releases that somebody began to purge or to withdraw: a German sentence for each, by id.

    Empty while the command is still at work.
    """
    found = {}
    for path in sorted((paths.history / "deliveries").glob("*/*/receipt.json")):
        receipt = read_json(path)
        if isinstance(receipt, dict) and receipt.get("purged") and path.with_name("bytes").exists():
            name = f"{receipt.get('source')}-{receipt.get('sequence'):04d}"
            found[name] = f"Das Löschen von {name} ist abgebrochen, die Bytes liegen noch da. {_GOES_ON}"
    with suppress(DamagedRecord):  # reported by itself
        for entry in PublishedLedger(paths).entries():
            in_force = entry.release_id == _in_force(paths)
            if entry.withdrawn and (in_force or (paths.releases / entry.release_id).is_dir()):
                state = "noch in Kraft" if in_force else "noch in data/releases"
                found[entry.release_id] = (
                    f"Das Zurückziehen von {entry.release_id} ist abgebrochen, sie ist {state}. {_GOES_ON}"
                )
    return found if found and not _held(paths.lock_file, socket.gethostname()) else {}


def unnoted(paths: Paths) -> list[str]:
    """Releases that lie there and that the ledger does not know: it comes from a backup made before they were there.

    A release is noted before its folder has its name, so there is no other way to get there.
    """
    if not paths.releases.is_dir():
        return []
    known = set(PublishedLedger(paths).ids())
    return sorted(p.name for p in paths.releases.iterdir() if RELEASE_ID.fullmatch(p.name) and p.name not in known)


def refuse_stale(paths: Paths) -> None:
    """Stop a night that would publish without knowing what was published before.

    Raises:
        StaleArchive: names the releases that the ledger does not know.
    """
    stale = unnoted(paths)
    if stale:
        raise StaleArchive(stale_in_words(stale))


def stale_in_words(releases: list[str]) -> str:
    """What is wrong with the archive, and what to do."""
    return (
        f"Das Archiv (data/history) ist älter als die Veröffentlichungen: {', '.join(releases)} steht nicht darin. Was "
        "dort gezeigt und gesperrt ist, könnte nicht berücksichtigt werden. Bitte eine neuere Sicherung von "
        "data/history zurückspielen; gibt es keine, siehe docs/runbook/archiv_veraltet.md."
    )


def _in_force(paths: Paths) -> str | None:
    return os.readlink(paths.current) if paths.current.is_symlink() else None


def _source_names(paths: Paths) -> list[str]:
    folders = (paths.inbox, paths.history / "deliveries")
    found = {path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_dir()}
    return sorted(name for name in found if not name.startswith("."))


def _source(paths: Paths, name: str, overdue: bool) -> dict[str, Any]:
    """Newest receipts of a source, and how many files in its inbox are unknown."""
    archive = paths.history / "deliveries" / name
    receipts = [
        read_json(path) for path in archive.glob("*/receipt.json") if not path.parent.name.startswith(TEMPORARY)
    ]
    receipts = [r for r in receipts if isinstance(r, dict) and {"first_seen", "sha256"} <= r.keys()]
    accepted = [receipt["first_seen"] for receipt in receipts if receipt.get("decision") == "accepted"]
    known = {receipt["sha256"] for receipt in receipts}
    sizes = {path.stat().st_size for path in archive.glob("*/bytes")}
    return {
        "newest_received": max((receipt["first_seen"] for receipt in receipts), default=None),
        "newest_accepted": max(accepted, default=None),
        "overdue": overdue,
        "waiting": sum(_unknown(path, known, sizes) for path in _files(paths.inbox / name)),
    }


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [p for p in folder.iterdir() if p.is_file() and not p.is_symlink() and not p.name.startswith((".", "~$"))]


def _unknown(path: Path, known: set[str], sizes: set[int]) -> bool:
    """Whether a file was never received; only one that is as large as a received one has to be read."""
    try:
        return path.stat().st_size not in sizes or sha256_file(path) not in known
    except OSError:  # vanished, or not readable: the intake's business to report
        return True


# ---------------------------------------------------------------- the command


def print_status(root: Path, voice: Voice, max_age_hours: float, form: str) -> int:
    """Print how a project stands and return the exit code.

    Args:
        root: the project folder.
        voice: where errors go.
        max_age_hours: hours after which the last attempt counts as missing.
        form: `text`, `json` or `nagios` (one line; returns the plugin's codes 0, 1, 2, 3).
    """
    paths = Paths.of(root)
    if form == "nagios":
        code, line = _plugin(paths, max_age_hours)
        print(line)
        return code
    if not paths.is_project():
        voice.error(f"{root}: kein Projektordner (erwartet: assets/, data/, dagster.yaml)")
        return EXIT_USAGE
    status = examine(paths, max_age_hours=max_age_hours)
    if form == "json":
        print(json.dumps(_document(status), ensure_ascii=False, indent=1))
    else:
        _print_text(status, voice)
    return status.code


def _plugin(paths: Paths, max_age_hours: float) -> tuple[int, str]:
    """Code and line of a plugin of monitoring systems; whatever happens, there is a line."""
    code, word = _NAGIOS[EXIT_USAGE]
    if not paths.is_project():
        return code, f"{word} - kein Projektordner: {paths.root}"
    try:
        status = examine(paths, max_age_hours=max_age_hours)
    except Exception as error:  # noqa: BLE001 - the text of the error may hold signs that end the line
        return code, f"{word} - der Zustand ließ sich nicht feststellen ({type(error).__name__}); sozialraum status"
    code, word = _NAGIOS[status.code]
    return code, f"{word} - {_one_line(status)}|{_measured(status, max_age_hours)}"


def _print_text(status: Status, voice: Voice) -> None:
    voice.say(f"Zustand: {_WORDS[status.code]}")
    voice.say(f"Letzter Lauf: {moment(status.last) if status.last else 'keiner'}")
    if status.active:
        voice.say(f"Ein Lauf ist seit {moment(status.active)} aktiv.")
    voice.say(f"Veröffentlichung in Kraft: {release_in_words(status.release_id)}")
    voice.say(f"Im Eingang warten: {status.waiting} Dateien; frei auf dem Datenträger: {status.free // 1024**2} MB")
    for incident in status.incidents:
        voice.warn(incident.sentence)
        voice.say(f"  Zuerst: {KINDS[incident.kind].first} (docs/runbook/{incident.kind}.md)")


def _one_line(status: Status) -> str:
    """Titles instead of sentences: no name of a file may hold a sign that ends the line or the text."""
    titles = [f"{KINDS[i.kind].title}{f' ({i.subject})' if i.subject else ''}" for i in status.incidents]
    last = f"letzter Lauf {moment(status.last)}" if status.last else "kein Lauf"
    return "; ".join(titles) or f"{last}, Veröffentlichung {status.release_id or 'keine'}"


def _measured(status: Status, max_age_hours: float) -> str:
    age = f"{status.age_hours:.2f}" if status.age_hours is not None else "U"
    return f"alter_stunden={age};;{max_age_hours:g} wartend={status.waiting};;;0 frei={status.free}B;;{LEAST_FREE}:;0"


def _document(status: Status) -> dict[str, Any]:
    return {
        "exit_code": status.code,
        "state": _WORDS[status.code],
        "last_run": status.last.isoformat() if status.last else None,
        "age_hours": None if status.age_hours is None else round(status.age_hours, 2),
        "active_since": status.active.isoformat() if status.active else None,
        "release_id": status.release_id,
        "release_created": created.isoformat() if (created := created_at(status.release_id)) else None,
        "waiting": status.waiting,
        "free_bytes": status.free,
        "incidents": [{"kind": i.kind, "subject": i.subject, "sentence": i.sentence} for i in status.incidents],
        "sources": status.sources,
    }


def created_at(release_id: str | None) -> dt.datetime | None:
    """Moment in the name of a release (UTC); None if there is none."""
    if not release_id or not RELEASE_ID.fullmatch(release_id):
        return None
    return dt.datetime.strptime(release_id.split("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)


def release_in_words(release_id: str | None) -> str:
    """Id and moment of a release, for people."""
    created = created_at(release_id)
    return f"{release_id} vom {moment(created)}" if created else "keine"


def moment(when: dt.datetime) -> str:
    """A moment in the machine's time zone, as people here write it."""
    return f"{when.astimezone():%d.%m.%Y %H:%M} Uhr"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
