"""Tells people what is the matter: each incident once, again every week while it lasts, and when it is over.

Standard library only, until there is something to send. Whatever goes wrong here is said in the log and tried again
next time; it changes no exit code and holds no night up.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.files import read_json, write_json
from pipelines.incidents import KINDS
from pipelines.paths import Paths
from pipelines.status import MAX_AGE_HOURS, Status, examine, release_in_words

TARGETS_VARIABLE = "SOZIALRAUM_MELDUNGEN"
"""Environment variable with addresses as apprise writes them, separated by blanks or line breaks."""
TARGETS_FILE_VARIABLE = "SOZIALRAUM_MELDUNGEN_DATEI"
"""Environment variable that names a file with such addresses; nobody else may read it."""
RUNBOOK_VARIABLE = "SOZIALRAUM_RUNBOOK"
"""Environment variable with the address below which the pages of docs/runbook can be read."""
REMIND = dt.timedelta(days=7)
PATIENCE = 20.0
"""Seconds that all targets together may take."""

Say = Callable[[str], None]


class _Unusable(Exception):
    """The list of targets can't be used; the text says why, without an address."""


@dataclass
class _Change:
    """What one target is to be told: incidents (as kept in the state), and what is settled."""

    begun: dict[str, dict[str, Any]]
    over: dict[str, dict[str, Any]]

    def __bool__(self) -> bool:
        return bool(self.begun or self.over)


def tell(root: Path, say: Say, now: dt.datetime | None = None, max_age_hours: float = MAX_AGE_HOURS) -> None:
    """Send what is new, due again or settled to every declared target; without targets nothing is looked at.

    Args:
        root: the project folder.
        say: takes sentences about messages that could not be delivered.
        now: moment to compare with (default: the clock).
        max_age_hours: hours after which the last run counts as missing.
    """
    try:
        targets, paths = _targets(), Paths.of(root)
        if targets and paths.is_project():
            with _alone(paths.alerts.with_suffix(".lock")) as free:
                if free:  # else somebody is telling the same already
                    _tell(paths, targets, say, now or dt.datetime.now(dt.UTC), max_age_hours)
    except _Unusable as error:
        say(f"Meldungen: {error}")
    except Exception as error:  # noqa: BLE001 - no message is worth a night; the text of the error may hold an address
        say(f"Meldungen: nicht verschickt ({type(error).__name__}); der nächste Lauf versucht es wieder")


def _targets() -> list[str]:
    found = os.environ.get(TARGETS_VARIABLE, "").split()
    name = os.environ.get(TARGETS_FILE_VARIABLE)
    if name:
        file = Path(name)
        try:
            if file.stat().st_mode & 0o077:
                raise _Unusable(f"{TARGETS_FILE_VARIABLE}: die Datei können andere lesen. Abhilfe: chmod 600 {file}")
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise _Unusable(f"{TARGETS_FILE_VARIABLE}: die Datei ist nicht lesbar ({type(error).__name__})") from None
        found += [address for line in lines if not line.startswith("#") for address in line.split()]
    return found


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether this process is the only one that tells; the night and the watch may meet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _tell(paths: Paths, targets: list[str], say: Say, now: dt.datetime, max_age_hours: float) -> None:
    status = examine(paths, now, max_age_hours)
    before = read_json(paths.alerts)
    known: dict[str, dict[str, Any]] = before if isinstance(before, dict) else {}
    _follow(known, status, now)
    numbers = [str(number) for number in range(1, len(targets) + 1)]
    changes = {number: _due(known, number, now) for number in numbers}
    if any(changes.values()):
        _deliver(paths, status, targets, changes, known, say, now)
    # Settled and everybody who knew of it has been told; a target that was removed need not be waited for.
    for key in [key for key, entry in known.items() if entry["over"] and not set(entry["told"]) & set(numbers)]:
        del known[key]
    if known or isinstance(before, dict):
        write_json(paths.alerts, known)


def _follow(known: dict[str, dict[str, Any]], status: Status, now: dt.datetime) -> None:
    """Bring the list of what is known up to date: incidents that began, go on, or are settled."""
    current = {incident.key: incident for incident in status.incidents}
    for key, incident in current.items():
        entry = known.setdefault(key, {"since": now.isoformat(timespec="seconds"), "told": {}})
        entry |= {name: getattr(incident, name) for name in ("kind", "subject", "source", "page")} | {"over": False}
    if status.complete:  # after a night that failed nobody knows whether a finding still stands
        for key in known.keys() - current.keys():
            known[key]["over"] = True


def _due(known: dict[str, dict[str, Any]], number: str, now: dt.datetime) -> _Change:
    begun, over = {}, {}
    for key, entry in known.items():
        told = entry["told"].get(number)
        if entry["over"] and told:
            over[key] = entry
        elif not entry["over"] and (told is None or now - dt.datetime.fromisoformat(told) >= REMIND):
            begun[key] = entry
    return _Change(begun, over)


def _deliver(
    paths: Paths,
    status: Status,
    targets: list[str],
    changes: dict[str, _Change],
    known: dict[str, dict[str, Any]],
    say: Say,
    now: dt.datetime,
) -> None:
    """Send to all targets at once, wait no longer than patience lasts, and note who was told."""
    name, owners = _project(paths)
    jobs = [
        (number, url, *_message(paths, status, changes[number], name, owners))
        for number, url in zip(changes, targets, strict=True)
        if changes[number]
    ]
    delivered = _send(jobs)
    for number, *_ in jobs:
        if number not in delivered:
            say(f"Meldungen: Ziel {number} nicht erreicht; der nächste Lauf versucht es wieder")
            continue
        for key in changes[number].begun:
            known[key]["told"][number] = now.isoformat(timespec="seconds")
        for key in changes[number].over:
            del known[key]["told"][number]


def _send(jobs: list[tuple[str, str, str, str]]) -> set[str]:
    """Numbers of the targets that took their message; each has a thread, so that one that hangs delays no other."""
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its warnings name addresses
    delivered: set[str] = set()

    def work(number: str, url: str, title: str, body: str) -> None:
        asset = apprise.AppriseAsset(
            app_id="Sozialraum-Monitor",
            app_desc="Sozialraum-Monitor",
            app_url="",
            image_url_mask="",
            image_url_logo="",
            storage_mode=apprise.PersistentStoreMode.MEMORY,
        )
        sender = apprise.Apprise(asset=asset)
        try:
            sent = sender.add(url) and sender.notify(body=body, title=title, body_format=apprise.NotifyFormat.TEXT)
        except Exception:  # noqa: BLE001 - counts as not delivered; the text of the error may hold the address
            return
        if sent:
            delivered.add(number)

    threads = [threading.Thread(target=work, args=job, daemon=True) for job in jobs]
    deadline = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=PATIENCE)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, (deadline - dt.datetime.now(dt.UTC)).total_seconds()))
    return set(delivered)  # who answers later is told again next time


# ---------------------------------------------------------------- words


def _project(paths: Paths) -> tuple[str, dict[str, str]]:
    """Title of the project, and who is responsible by source; where the YAML is not valid, the name of the folder."""
    from pipelines.project import load_project

    try:
        project = load_project(paths.root)
    except Exception:  # noqa: BLE001 - whatever is wrong with the YAML must still be told
        return paths.root.name, {}
    owners = {name: f"{source.owner} (liefert: {source.publisher})" for name, source in project.sources.items()}
    return project.release.title.de, owners | {"": f"{project.release.owner}, {project.release.contact}"}


def _message(paths: Paths, status: Status, change: _Change, name: str, owners: dict[str, str]) -> tuple[str, str]:
    """Title and text of a message, in German."""
    begun = list(change.begun.values())
    first = min(begun, key=_urgency) if begun else next(iter(change.over.values()))
    more = len(change.begun or change.over) - 1
    words = f"{_headline(first)}{f' (und {more} weitere)' if more else ''}"
    title = f"{name}: {words}" if begun else f"{name}: Wieder in Ordnung: {words}"
    parts = [_incident(entry, owners) for entry in sorted(begun, key=_urgency)]
    if change.over:
        parts.append("Wieder in Ordnung:\n" + "\n".join(f"- {_headline(entry)}" for entry in change.over.values()))
    parts.append(
        f"Veröffentlicht ist: {release_in_words(status.release_id)}\n"
        f"Projekt: {paths.root} auf {socket.gethostname()}\n"
        "Stand abfragen: sozialraum status"
    )
    return title, "\n\n".join(parts)


def _urgency(entry: dict[str, Any]) -> tuple[bool, int, str]:
    kind = KINDS[entry["kind"]]
    return kind.waits, kind.code, kind.id


def _headline(entry: dict[str, Any]) -> str:
    subject = f" [{entry['subject']}]" if entry["subject"] else ""
    return KINDS[entry["kind"]].title + subject


def _incident(entry: dict[str, Any], owners: dict[str, str]) -> str:
    kind = KINDS[entry["kind"]]
    source = entry["source"] or ""
    owner = f"; zuständig für {source or 'das Projekt'}: {owners[source]}" if source in owners else ""
    lines = [
        _headline(entry),
        f"- Wer: {kind.who}{owner}",
        f"- Zuerst: {kind.first}",
        f"- Kann bis morgen warten: {'ja' if kind.waits else 'nein'}",
    ]
    if entry["page"]:
        lines.append(f"- Rückmeldung (im Projekt, bleibt intern): {entry['page']}")
    return "\n".join([*lines, f"- Anleitung: {runbook_page(kind.id)}"])


def runbook_page(kind: str) -> str:
    """Address of the page about a kind of incident; without a declared address its path in the checkout."""
    base = os.environ.get(RUNBOOK_VARIABLE)
    page = f"docs/runbook/{kind}.md"
    return f"{base.rstrip('/')}/{kind}.md" if base else str(Path(__file__).resolve().parents[1] / page)
