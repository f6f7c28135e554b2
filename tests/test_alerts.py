"""Alerts reach real servers on this machine: once, in German, without figures, and never at the cost of a night."""

from __future__ import annotations

import datetime as dt
import email
import email.policy
import http.server
import json
import re
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipelines import alerts, lock
from pipelines.definitions import project_definitions
from pipelines.exit_codes import EXIT_BUSY, EXIT_FAILED, EXIT_NOT_WELL, EXIT_USAGE
from pipelines.files import read_json, write_json
from pipelines.incidents import KINDS, OUTCOMES, cause_of, classify
from pipelines.nightly import run_nightly
from pipelines.paths import Paths
from pipelines.status import note_begin, note_end
from tests.conftest import COMMAND, ROOT, Quiet, create_project, sozialraum
from tests.test_history import put

FIGURE = "73519"
"""A figure that stands in a file and in its name; it must never leave the house."""
SECRET = "geheim-Xq7"


class Mailbox:
    """What one server on 127.0.0.1 was sent."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        self.address = ""


class _Json(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        content = json.loads(body.decode("utf-8"))
        self.server.box.messages.append({"title": content["title"], "text": content["message"]})  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class _Smtp(socketserver.StreamRequestHandler):
    """As much of RFC 5321 as a client without TLS needs."""

    def handle(self) -> None:
        self._answer("220 hier")
        for line in self.rfile:
            match line.split(b" ")[0].strip().upper():
                case b"EHLO" | b"HELO":
                    self._answer("250 hier")
                case b"DATA":
                    self._answer("354 los")
                    self._message()
                    self._answer("250 angenommen")
                case b"QUIT":
                    self._answer("221 Ende")
                    return
                case _:
                    self._answer("250 gut")

    def _message(self) -> None:
        lines = []
        for line in self.rfile:
            if line == b".\r\n":
                break
            lines.append(line[1:] if line.startswith(b".") else line)
        message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        part = message.get_body(("plain", "html"))
        assert part is not None
        self.server.box.messages.append({"title": str(message["subject"]), "text": part.get_content()})  # type: ignore[attr-defined]

    def _answer(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


def serve(server: socketserver.BaseServer, box: Mailbox) -> Iterator[Mailbox]:
    server.box = box  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield box
    server.shutdown()
    server.server_close()


@pytest.fixture
def web() -> Iterator[Mailbox]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Json)
    box = Mailbox()
    box.address = f"json://nutzer:{SECRET}@127.0.0.1:{server.server_address[1]}/"
    yield from serve(server, box)


@pytest.fixture
def mail() -> Iterator[Mailbox]:
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Smtp)
    server.daemon_threads = True
    box = Mailbox()
    port = server.server_address[1]
    box.address = f"mailto://127.0.0.1:{port}?smtp=127.0.0.1&from=monitor@example.org&to=team@example.org&format=text"
    yield from serve(server, box)


@pytest.fixture
def hanging() -> Iterator[str]:
    """Address of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"json://127.0.0.1:{listener.getsockname()[1]}/"


@pytest.fixture(scope="module")
def after_a_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose last night rejected a delivery; its file holds and is named after a figure."""
    root = tmp_path_factory.mktemp("meldung") / "Büro Süd"
    assert create_project(root, Quiet()) == 0
    put(
        root, f"Nummer;Bezirk;Stichtag;Arbeitslose;Einwohner 15-64\n1;Altstadt;31.12.2024;{FIGURE};7\n", f"{FIGURE}.csv"
    )
    assert run_nightly(root, Quiet()) == EXIT_NOT_WELL
    return root


@pytest.fixture
def project(after_a_night: Path, tmp_path: Path) -> Paths:
    shutil.copytree(after_a_night, tmp_path / "Büro Süd", symlinks=True)
    return Paths.of(tmp_path / "Büro Süd")


def settle(paths: Paths) -> None:
    """As a good night leaves it."""
    write_json(paths.night_record, read_json(paths.night_record) | {"findings": [], "exit_code": 0})
    note_begin(paths)
    note_end(paths, 0)


def said_by(paths: Paths, now: dt.datetime | None = None) -> list[str]:
    said: list[str] = []
    alerts.tell(paths.root, said.append, now)
    return said


def test_rejected_delivery_is_told_once_in_german_and_without_figures(
    project: Paths, web: Mailbox, mail: Mailbox, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, f"{web.address}\n{mail.address}")
    assert said_by(project) == []
    for box in (web, mail):
        (message,) = box.messages
        release = read_json(project.night_record)["release_id"]
        assert "zurückgewiesen; die früheren Zahlen bleiben in Kraft [beispiel-" in message["title"]
        for part in (
            "Absender der Lieferung; das Datenteam leitet ihm die Rückmeldung weiter",
            "team:datenteam",
            "data/warehouse/internal/rueckmeldungen/beispiel-",
            "docs/runbook/lieferung_zurueckgewiesen.md",
            "Kann bis morgen warten: ja",
            f"Veröffentlicht ist: {release} vom ",
        ):
            assert part in message["text"], (part, message["text"])
        assert FIGURE not in str(message)
        assert SECRET not in str(message)
    assert run_nightly(project.root, Quiet()) == EXIT_NOT_WELL  # nothing new, still not well: nobody is told again
    assert len(web.messages) == len(mail.messages) == 1
    assert SECRET not in "".join(capfd.readouterr())


def test_reminder_after_a_week_and_word_of_recovery(
    project: Paths, web: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, web.address)
    now = dt.datetime.now(dt.UTC)
    for days in (0, 1, 6.9, 7.1, 8):
        alerts.tell(project.root, print, now + dt.timedelta(days=days), max_age_hours=1000)
    assert len(web.messages) == 2
    settle(project)
    said_by(project)
    said_by(project)
    assert len(web.messages) == 3
    assert "Wieder in Ordnung" in web.messages[-1]["title"]
    assert "- Eine Lieferung ist zurückgewiesen" in web.messages[-1]["text"]
    assert read_json(project.alerts) == {}


def test_nothing_counts_as_settled_while_nobody_knows(
    project: Paths, web: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A night that failed has no findings; the rejected delivery is not settled by that."""
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, web.address)
    said_by(project)
    record = read_json(project.night_record)
    project.night_record.unlink()
    note_begin(project)
    note_end(project, EXIT_FAILED, "schluessel")
    said_by(project)
    assert [message["title"].split(": ")[-1][:13] for message in web.messages[1:]] == ["Der Schlüssel"]
    write_json(project.night_record, record)
    note_begin(project)
    note_end(project, EXIT_NOT_WELL)
    said_by(project)
    assert len(web.messages) == 3
    assert "Wieder in Ordnung: Der Schlüssel" in web.messages[-1]["title"]


def test_target_that_is_down_is_named_by_number_and_tried_again(
    project: Paths, web: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        dead = f"json://nutzer:{SECRET}@127.0.0.1:{listener.getsockname()[1]}/"
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, f"{dead} {web.address}")
    assert said_by(project) == ["Meldungen: Ziel 1 nicht erreicht; der nächste Lauf versucht es wieder"]
    assert said_by(project) == ["Meldungen: Ziel 1 nicht erreicht; der nächste Lauf versucht es wieder"]
    assert len(web.messages) == 1  # the one that is well hears it once
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, f"{web.address} {web.address}")
    assert said_by(project) == []
    assert len(web.messages) == 2


def test_hanging_target_changes_neither_exit_code_nor_holds_the_night_up(
    project: Paths, hanging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, f"{hanging}?rto=600")
    monkeypatch.setattr(alerts, "PATIENCE", 0.5)
    said, begun = Quiet(), time.monotonic()
    assert run_nightly(project.root, said) == EXIT_NOT_WELL
    assert time.monotonic() - begun < 5
    assert said.lines[-1].startswith("Meldungen: Ziel 1 nicht erreicht")
    lock.take(project.lock_file).release()


def test_two_that_tell_at_once_tell_it_once(project: Paths, web: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, web.address)
    runs = [
        subprocess.Popen([str(COMMAND), "status", "--alert", "--project", str(project.root)], stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    assert [run.wait(timeout=60) for run in runs] == [EXIT_NOT_WELL] * 3
    assert len(web.messages) == 1


def test_targets_can_be_tried_without_changing_anything(
    project: Paths, web: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two commands of docs/betrieb.md."""
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, web.address)
    settle(project)
    assert sozialraum("status", "--alert", "--max-age", "0", "--project", project.root).returncode == EXIT_FAILED
    assert sozialraum("status", "--alert", "--project", project.root).returncode == 0
    first, second = [message["title"].split(": ", 1)[1] for message in web.messages]
    assert first == "Es hat zu lange kein Lauf stattgefunden"
    assert second == f"Wieder in Ordnung: {first}"


def test_list_of_targets_in_a_file_must_be_closed_to_others(
    project: Paths, web: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "ziele"
    file.write_text(f"# Datenteam\n{web.address}\n", encoding="utf-8")
    file.chmod(0o644)
    monkeypatch.setenv(alerts.TARGETS_FILE_VARIABLE, str(file))
    (said,) = said_by(project)
    assert f"chmod 600 {file}" in said
    assert not web.messages
    file.chmod(0o600)
    assert said_by(project) == []
    assert len(web.messages) == 1


def test_run_that_died_hangs_or_never_came_is_told(
    project: Paths, web: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, web.address)
    settle(project)
    now = dt.datetime.now(dt.UTC)
    alerts.tell(project.root, print, now + dt.timedelta(hours=27))
    assert "Es hat zu lange kein Lauf stattgefunden" in web.messages[-1]["title"]
    settle(project)
    said_by(project)
    assert web.messages.pop()["title"].endswith("Wieder in Ordnung: Es hat zu lange kein Lauf stattgefunden")
    note_begin(project)
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK_HOLDER, str(project.lock_file)], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        alerts.tell(project.root, print, now + dt.timedelta(hours=1))
        before = len(web.messages)
        note = read_json(project.attempt)
        long_ago = (now - dt.timedelta(hours=5)).isoformat()
        write_json(project.attempt, note | {"begun": long_ago})
        assert run_nightly(project.root, Quiet()) == EXIT_BUSY
        assert len(web.messages) == before + 1
        assert "seit Stunden aktiv" in web.messages[-1]["title"]
    finally:
        holder.kill()
        holder.wait(timeout=10)
    said_by(project)
    assert "Ein Lauf oder ein Befehl ist abgebrochen" in web.messages[-1]["title"]


LOCK_HOLDER = """
import sys
from pathlib import Path
from pipelines import lock
held = lock.take(Path(sys.argv[1]))
print("HELD", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("outcome", ["not well", "failed"])
def test_runs_of_dagster_tell_as_well_and_once(
    project: Paths, web: Mailbox, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, web.address)
    if outcome == "failed":
        next(project.history.glob("deliveries/beispiel/0001*/receipt.json")).write_text("{", encoding="utf-8")
    job = project_definitions(project.root).resolve_job_def("nightly")
    with dg.DagsterInstance.ephemeral() as instance:
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
    for held in list(lock._HELD.values()):
        held.release()
    assert len(web.messages) == 1
    note = read_json(project.attempt)
    if outcome == "failed":
        assert "Das Archiv (data/history) ist beschädigt" in web.messages[0]["title"]
        assert (note["exit_code"], note["cause"]) == (EXIT_FAILED, "archiv_beschaedigt")
    else:
        assert "Eine Lieferung ist zurückgewiesen" in web.messages[0]["title"]
        assert (note["exit_code"], note["cause"]) == (EXIT_NOT_WELL, "")


def test_invalid_description_is_told_although_nobody_can_read_who_is_responsible(
    project: Paths, web: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(alerts.TARGETS_VARIABLE, web.address)
    path = project.assets / "beispiel/defs.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("owner:", "ownr:", 1), encoding="utf-8")
    assert run_nightly(project.root, Quiet()) == EXIT_USAGE
    assert "Die Beschreibung des Projekts (assets) ist nicht gültig" in web.messages[0]["title"]


# ---------------------------------------------------------------- kinds and pages

FINDINGS = {
    "arbeitslose: Lieferung arbeitslose-0002 (x) ist angenommen, widerspricht.csv) zurückgewiesen, data/a.html": (
        "lieferung_zurueckgewiesen",
        "arbeitslose-0002",
    ),
    "beispiel: Lieferung beispiel-0003 (a.csv) ist angenommen, widerspricht aber anderen Lieferungen, data/b.html": (
        "lieferung_widerspricht",
        "beispiel-0003",
    ),
    "beispiel: data/raw/beispiel/a.csv: Verknüpfung, nicht gelesen; die Datei (oder den Ordner) selbst ablegen": (
        "eingang_nicht_gelesen",
        "beispiel",
    ),
    "beispiel: Liefertermin 01.02.2026 verstrichen, nichts Neues angenommen": (
        "liefertermin_verstrichen",
        "beispiel 01.02.2026",
    ),
    "beispiel: assets/beispiel/defs.yaml:12: die Lieferung beispiel-0009 gibt es nicht, retracted ist ohne Wirkung": (
        "lieferung_unbekannt",
        "beispiel",
    ),
    "quote: in 01002000-ST-12 zum 2022-12-31 ist der Zähler größer als der Nenner, kein Wert gebildet": (
        "zaehler_ueber_nenner",
        "quote",
    ),
    "Nicht veröffentlicht, als Massenänderung zurückgehalten: 9 von 10. X bleibt in Kraft; zurückziehen (retracted)": (
        "veroeffentlichung_zurueckgehalten",
        "",
    ),
    "Nicht veröffentlicht: der heutige Stand zeigt dasselbe Neue wie die zurückgezogene Veröffentlichung "
    "20261121T031500Z-0042 (am 2026-11-22, Grund: x). Eine berichtigte Lieferung ablegen": (
        "veroeffentlichung_zurueckgezogen",
        "20261121T031500Z-0042",
    ),
    "etwas ganz Neues": ("befund_unbekannt", ""),
}
"""As `Night.findings` words them; where the text is read off a real night, other tests hold it."""


@pytest.mark.parametrize("finding", FINDINGS)
def test_kind_and_subject_of_a_finding(finding: str) -> None:
    incident = classify(finding)
    assert (incident.kind, incident.subject) == FINDINGS[finding]


def test_full_disk_is_recognised_behind_other_errors() -> None:
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("beim Schreiben") from error
    except RuntimeError as error:
        assert cause_of(error) == "speicher_voll"
    assert cause_of(RuntimeError("IO Error: Could not write: No space left on device")) == "speicher_voll"
    circle = ValueError("etwas")
    circle.__context__ = RuntimeError("etwas anderes")
    circle.__context__.__context__ = circle
    assert cause_of(circle) == "lauf_fehlgeschlagen"


def test_every_kind_and_every_exit_code_has_its_page_and_no_page_is_left_over() -> None:
    folder = ROOT / "docs/runbook"
    assert {path.stem for path in folder.glob("*.md")} == {"index", *KINDS}
    index = (folder / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((\w+)\.md\)", index)) == set(KINDS)
    rows = dict(re.findall(r"^\| (\d) \| .*?\]\((\w+)\.md\)", index, re.MULTILINE))
    assert {int(code) for code in rows} == {EXIT_FAILED, EXIT_USAGE, EXIT_NOT_WELL, EXIT_BUSY}
    assert {int(code): page for code, page in rows.items() if int(code) != EXIT_NOT_WELL} == OUTCOMES


@pytest.mark.parametrize("kind", KINDS)
def test_page_of_a_kind_answers_the_five_questions_and_quotes_real_messages(kind: str) -> None:
    text = (ROOT / f"docs/runbook/{kind}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {KINDS[kind].title}\n")
    for part in ("## Ursache", "## Prüfen", "## Beheben", "## Kann es bis morgen warten?", "## Wer"):
        assert part in text, part
    answer = text.split("## Kann es bis morgen warten?")[1].split("## Wer")[0].strip()
    assert answer.startswith("Ja" if KINDS[kind].waits else "Nein")
    assert KINDS[kind].who.split()[0] in text.split("## Wer")[1]
    code = words_of_the_program()
    quoted = re.findall(r"^> (.+)$", text, re.MULTILINE)
    assert quoted
    for message in quoted:  # `…` stands for what differs from case to case
        for piece in message.split("…"):
            assert " ".join(piece.split()) in code, (kind, piece)


def words_of_the_program() -> str:
    """Texts of the program as they are put together from several lines of code."""
    if not _SOURCES:
        for path in sorted((ROOT / "pipelines").rglob("*.py")):
            joined = re.sub(r'"\s*\n\s*f?"', "", path.read_text(encoding="utf-8"))
            _SOURCES.append(" ".join(joined.split()))
    return "\n".join(_SOURCES)


_SOURCES: list[str] = []
