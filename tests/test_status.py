"""`sozialraum status`: what it says about every way a night can end, or not begin, and that it answers fast."""

from __future__ import annotations

import datetime as dt
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import status as status_module
from pipelines.exit_codes import EXIT_BUSY, EXIT_FAILED, EXIT_NOT_WELL, EXIT_OK, EXIT_USAGE
from pipelines.files import read_json, write_json
from pipelines.nightly import run_nightly
from pipelines.paths import Paths
from pipelines.published import PublishedLedger
from pipelines.status import examine, note_begin, note_end, print_status
from tests.conftest import ROOT, Quiet, create_project, run_night, sozialraum
from tests.test_alerts import LOCK_HOLDER


@pytest.fixture(scope="module")
def after_a_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stand") / "Büro Süd"
    assert create_project(root, Quiet()) == 0
    note_begin(Paths.of(root))
    run_night(root)
    note_end(Paths.of(root), EXIT_OK)
    return root


@pytest.fixture
def project(after_a_night: Path, tmp_path: Path) -> Paths:
    shutil.copytree(after_a_night, tmp_path / "Büro Süd", symlinks=True)
    return Paths.of(tmp_path / "Büro Süd")


def kinds(project: Paths, hours_later: float = 0) -> list[str]:
    found = examine(project, dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours_later))
    return sorted(incident.kind for incident in found.incidents)


def answer(project: Paths, *arguments: str) -> tuple[int, str]:
    run = sozialraum("status", "--project", project.root, *arguments)
    return run.returncode, run.stdout + run.stderr


def test_good_night_in_all_three_forms(project: Paths) -> None:
    release = os.readlink(project.current)
    code, said = answer(project)
    assert code == EXIT_OK
    assert "Zustand: gut" in said
    assert release in said
    code, said = answer(project, "--nagios")
    assert code == 0
    # Monitoring Plugins guidelines: 'label'=value[UOM];[warn];[crit];[min];[max]
    line = re.fullmatch(r"OK - .+\|alter_stunden=(\S+);;26 wartend=0;;;0 frei=(\d+)B;;\d+:;0\n", said)
    assert line is not None
    assert 0 <= float(line[1]) < 1
    code, said = answer(project, "--json")
    document = json.loads(said)
    assert code == document["exit_code"] == EXIT_OK
    assert document["release_id"] == release
    source = document["sources"]["beispiel"]
    assert source["newest_accepted"] == source["newest_received"]
    assert (source["overdue"], source["waiting"]) == (False, 0)


def test_nothing_is_written_by_asking(project: Paths) -> None:
    def state() -> dict[str, int]:
        return {str(p.relative_to(project.root)): p.lstat().st_mtime_ns for p in project.root.rglob("*")}

    before = state()
    assert answer(project)[0] == EXIT_OK
    assert state() == before


def test_findings_make_it_not_well_and_stay_one_line_for_nagios(project: Paths) -> None:
    name = "a|b\n.csv"
    finding = (
        f"beispiel: Lieferung beispiel-0002 ({name}) zurückgewiesen, data/warehouse/internal/rueckmeldungen/b.html"
    )
    write_json(project.night_record, read_json(project.night_record) | {"findings": [finding], "exit_code": 3})
    assert answer(project)[0] == EXIT_NOT_WELL
    code, said = answer(project, "--nagios")
    assert code == 1
    assert said.startswith("WARNING - ")
    assert said.count("\n") == said.count("|") == 1
    assert "beispiel-0002" in said


def test_overdue_source_is_named(project: Paths) -> None:
    finding = "beispiel: Liefertermin 01.02.2026 verstrichen, nichts Neues angenommen"
    write_json(project.night_record, read_json(project.night_record) | {"findings": [finding], "exit_code": 3})
    assert json.loads(answer(project, "--json")[1])["sources"]["beispiel"]["overdue"] is True


def test_files_that_no_run_has_seen_are_counted(project: Paths) -> None:
    inbox = project.inbox / "beispiel"
    shutil.copy(inbox / "beispiel.csv", inbox / "umbenannt.csv")  # received before, under another name
    (inbox / "neu.csv").write_text("neu", encoding="utf-8")
    (inbox / ".neu.csv.swp").write_text("x", encoding="utf-8")
    assert examine(project).waiting == 1


@pytest.mark.parametrize(
    ("code", "kind"), [(EXIT_FAILED, "lauf_fehlgeschlagen"), (EXIT_USAGE, "beschreibung_ungueltig")]
)
def test_last_run_that_failed(project: Paths, code: int, kind: str) -> None:
    note_begin(project)
    note_end(project, code)
    assert kinds(project) == [kind]
    assert answer(project)[0] == EXIT_FAILED
    assert answer(project, "--nagios")[0] == 2


def test_real_failure_leaves_its_cause(project: Paths) -> None:
    path = project.assets / "beispiel/defs.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("owner:", "ownr:", 1), encoding="utf-8")
    assert run_nightly(project.root, Quiet()) == EXIT_USAGE
    assert kinds(project) == ["beschreibung_ungueltig"]
    note = read_json(project.attempt)
    assert note["exit_code"] == EXIT_USAGE
    assert note["begun"] <= note["ended"]


def test_run_that_is_too_long_ago_and_clock_that_went_back(project: Paths) -> None:
    assert kinds(project, 25.9) == []
    assert kinds(project, 26.1) == ["kein_lauf"]
    assert kinds(project, -1) == ["uhr"]
    # What the command says: the note is made to be old.
    begun = (dt.datetime.now(dt.UTC) - dt.timedelta(hours=30)).isoformat()
    write_json(project.attempt, read_json(project.attempt) | {"begun": begun})
    assert answer(project)[0] == EXIT_FAILED
    assert answer(project, "--max-age", "31")[0] == EXIT_OK


def test_active_run_is_no_error_and_a_dead_one_is(project: Paths) -> None:
    note_begin(project)
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK_HOLDER, str(project.lock_file)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        cwd=ROOT,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        code, said = answer(project)
        assert (code, "Ein Lauf ist seit " in said) == (EXIT_OK, True)
        assert sozialraum("nightly", "--project", project.root).returncode == EXIT_BUSY  # status left the lock alone
        assert "ended" not in read_json(project.attempt)  # and the one turned away left the note alone
        assert kinds(project, 4.1) == ["lauf_blockiert"]
    finally:
        holder.kill()
        holder.wait(timeout=10)
    assert kinds(project) == ["lauf_abgebrochen"]
    assert answer(project)[0] == EXIT_FAILED


@pytest.mark.parametrize("damage", ["file", "link", "gone"])
def test_damaged_release(project: Paths, damage: str) -> None:
    if damage == "file":
        with (project.current / "datapackage.json").open("a", encoding="utf-8") as file:
            file.write(" ")
    elif damage == "link":
        project.current.unlink()
        project.current.symlink_to("20200101T000000Z-0001")
    else:
        shutil.rmtree(project.releases / os.readlink(project.current))
    assert kinds(project) == ["veroeffentlichung_beschaedigt"]
    assert answer(project)[0] == EXIT_FAILED
    project.night_record.unlink()
    assert kinds(project) == ["lauf_steht_aus", "veroeffentlichung_beschaedigt"]


def test_disk_that_is_almost_full(project: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_module, "LEAST_FREE", shutil.disk_usage(project.root).total)
    assert kinds(project) == ["speicher_voll"]


def test_never_run_and_no_project(tmp_path: Path) -> None:
    assert create_project(tmp_path / "neu", Quiet()) == 0
    assert answer(Paths.of(tmp_path / "neu"))[0] == EXIT_FAILED
    (tmp_path / "leer").mkdir()
    assert answer(Paths.of(tmp_path / "leer"))[0] == EXIT_USAGE
    code, said = answer(Paths.of(tmp_path / "leer"), "--nagios")
    assert (code, said[:10]) == (3, "UNKNOWN - ")


LOADED = """
import sys
before = set(sys.modules)
import pipelines.alerts, pipelines.status
pipelines.alerts.tell(sys.argv[1], print)
pipelines.status.examine(pipelines.status.Paths.of(sys.argv[1]))
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


def test_asking_needs_only_the_standard_library(project: Paths) -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOADED, str(project.root)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name for name in run.stdout.split() if not name.startswith("_sysconfigdata")}
    assert "pipelines" in loaded
    assert not loaded - set(sys.stdlib_module_names) - {"pipelines"}


def test_withdrawn_release_is_not_taken_for_a_damaged_one(project: Paths) -> None:
    release = os.readlink(project.current)
    run = sozialraum("withdraw", release, "--reason", "Probe", "--project", project.root)
    assert run.returncode == EXIT_OK, run.stdout + run.stderr
    assert kinds(project) == ["veroeffentlichung_zurueckgezogen"], "nothing is in force any more"
    code, said = answer(project)
    assert (code, "Es ist keine Veröffentlichung in Kraft" in said) == (EXIT_NOT_WELL, True)
    project.night_record.unlink()
    assert kinds(project) == ["lauf_steht_aus", "veroeffentlichung_zurueckgezogen"]


def test_withdrawal_that_was_killed_between_note_and_swap(project: Paths) -> None:
    release = os.readlink(project.current)
    PublishedLedger(project).withdraw(release, "2026-03-02", "Probe")
    assert kinds(project) == ["lauf_abgebrochen"]
    code, said = answer(project)
    assert code == EXIT_FAILED
    assert f"Das Zurückziehen von {release} ist abgebrochen, sie ist noch in Kraft" in said


def test_after_a_purge_the_next_night_is_awaited_also_if_it_was_killed(project: Paths) -> None:
    (receipt,) = (project.history / "deliveries/beispiel").glob("*/receipt.json")
    content = receipt.with_name("bytes").read_bytes()
    assert sozialraum("purge", "beispiel-0001", "--reason", "Namen", "--project", project.root).returncode == EXIT_OK
    assert kinds(project) == ["lauf_steht_aus"]
    code, said = answer(project)
    assert (code, "Der nächste Lauf steht aus" in said) == (EXIT_NOT_WELL, True)
    receipt.with_name("bytes").write_bytes(content)  # as if killed before the last step
    assert kinds(project) == ["lauf_abgebrochen", "lauf_steht_aus"]
    assert "Das Löschen von beispiel-0001 ist abgebrochen" in answer(project)[1]


def test_night_that_failed_on_a_full_disk_has_failed(project: Paths) -> None:
    note_begin(project)
    note_end(project, EXIT_FAILED, "speicher_voll")
    assert kinds(project) == ["lauf_fehlgeschlagen", "speicher_voll"]
    assert answer(project)[0] == EXIT_FAILED
    assert answer(project, "--nagios")[0] == 2


def test_note_is_written_where_there_is_no_room_for_a_new_file(project: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    write_json(project.attempt, read_json(project.attempt) | {"sentence": "lang" * 200})
    monkeypatch.setattr(status_module, "write_json", full)
    note_begin(project)
    assert "ended" not in read_json(project.attempt)
    note_end(project, EXIT_FAILED, "speicher_voll")
    assert examine(project).code == EXIT_FAILED


@pytest.mark.parametrize(
    "text",
    ['{"begun": "gestern"}', '{"begun": 7, "ended": 8}', '{"begun": "2026-03-02T04:00:00"}', "{", "[]", '{"ended": 1}'],
)
def test_damaged_note_of_the_last_run_counts_as_none(project: Paths, text: str) -> None:
    project.attempt.write_text(text, encoding="utf-8")
    finished = read_json(project.night_record)["finished_at"]
    assert examine(project).last == dt.datetime.fromisoformat(finished)
    note_end(project, EXIT_OK)
    assert kinds(project) == []


def test_plugin_says_a_line_whatever_happens(project: Paths, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    write_json(project.night_record, {"findings": 7, "marks": []})
    assert print_status(project.root, Quiet(), 26, "nagios") == 3
    said = capsys.readouterr().out
    assert said.startswith("UNKNOWN - ") and said.count("\n") == 1
    write_json(project.history / "veroeffentlichungen.json", {"nicht": "eine Liste"})
    project.night_record.unlink()
    assert "archiv_beschaedigt" in kinds(project)
