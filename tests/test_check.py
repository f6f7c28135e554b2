"""`sozialraum check`: judges as the next night would, tells it readably, and touches nothing in the project."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
import pty
import re
import shutil
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from pipelines import lock
from pipelines.intake import check
from pipelines.intake.check import check_file, try_file
from pipelines.project import load_project
from pipelines.reply.case import Case
from pipelines.reply.terminal import plain_lines
from tests.conftest import COMMAND, Quiet, sozialraum
from tests.test_history import FIRST, edit, half_night, put, release_locks, text_of

NOW = dt.datetime(2026, 3, 2, 4, 0, tzinfo=dt.UTC)
BAD = {**FIRST, ("1", "31.12.2024"): ("12O", 2400), ("2", "32.12.2024"): (300, 4000)}


def state_of(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything below a folder: kind, rights, times and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        state = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        target = os.readlink(path) if path.is_symlink() else ""
        found[str(path)] = (state.st_mode, state.st_mtime_ns, state.st_ctime_ns, state.st_size, content, target)
    return found


def judged(root: Path, file: Path, source: str = "beispiel") -> Case:
    project = load_project(root)
    return try_file(project, project.sources[source], file, NOW).case


def outside(tmp_path: Path, content: str | bytes, name: str = "neu.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---------------------------------------------------------------- the command


def test_a_good_file_and_a_bad_one(project: Path, tmp_path: Path) -> None:
    good = sozialraum("check", outside(tmp_path, text_of(FIRST)), "--source", "beispiel", "--project", project)
    assert good.returncode == 0, good.stdout + good.stderr
    assert "neu.csv: Diese Datei würde übernommen – keine Beanstandung" in good.stdout
    assert "Arbeitslose: 3 Bezirke, 31.12.2022 bis 31.12.2023 (2 Stichtage), 6 Werte, 1 geheim" in good.stdout
    wrong = text_of(BAD).replace("Südhang;31.12.2023", "Suedhnag ;31.12.2023")
    bad = sozialraum("check", outside(tmp_path, wrong), "--source", "beispiel", "--project", project)
    assert bad.returncode == 3
    assert "würde nicht übernommen – 3 Beanstandungen, 1 Hinweis" in bad.stdout
    assert "Zeile 8, Spalte D »Arbeitslose«: »12O« ist keine lesbare Angabe." in bad.stdout
    assert "Zahl wie 1234 oder 12,5; erlaubte Zeichen: »*«; hier vermutlich Ziffern" in bad.stdout
    assert "meinten Sie »Südhang«?" in bad.stdout
    order = [bad.stdout.index(text) for text in ("BEANSTANDUNG", "»12O«", "HINWEIS")]
    assert order == sorted(order)
    assert "\x1b" not in bad.stdout, "no colours where nobody is watching"


def test_report_is_written_where_asked(project: Path, tmp_path: Path) -> None:
    run = sozialraum(
        *("check", outside(tmp_path, text_of(BAD)), "--source", "beispiel"),
        *("--project", project, "--report", tmp_path / "aus" / "gabe"),
    )
    assert run.returncode == 3, run.stdout + run.stderr
    names = [path.name for path in sorted((tmp_path / "aus" / "gabe").iterdir())]
    assert names == [f"rueckmeldung-beispiel-neu.{ending}" for ending in ("csv", "html", "txt")]
    page = (tmp_path / "aus/gabe/rueckmeldung-beispiel-neu.html").read_text(encoding="utf-8")
    assert "Diese Datei würde nicht übernommen" in page
    assert "Lieferung beispiel" not in page, "nothing was delivered"
    assert "eingegangen" not in (tmp_path / "aus/gabe/rueckmeldung-beispiel-neu.txt").read_text(encoding="utf-8")


def test_nothing_is_touched(project: Path, tmp_path: Path) -> None:
    half_night(project)
    file = outside(tmp_path, text_of(BAD))
    before = state_of(project)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    command = [str(COMMAND), "check", str(file), "--source", "beispiel", "--project", str(project)]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 3, run.stderr
    assert state_of(project) == before
    assert list(temporary.iterdir()) == [], "no figure stays behind"


def test_runs_while_a_night_is_active(project: Path, tmp_path: Path) -> None:
    half_night(project)
    lock.take(load_project(project).paths.lock_file)
    try:
        before = state_of(project)
        run = sozialraum("check", outside(tmp_path, text_of(FIRST)), "--source", "beispiel", "--project", project)
        assert run.returncode == 0, run.stdout + run.stderr
        assert state_of(project) == before
    finally:
        release_locks()


BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"] if os.geteuid() == 0 else []
"""Makes root respect the rights of files."""


@pytest.mark.skipif(bool(BOUND) and shutil.which("setpriv") is None, reason="root may write everywhere here")
@pytest.mark.parametrize("warehouse", ["kept", "deleted"])
def test_read_only_project(project: Path, tmp_path: Path, warehouse: str) -> None:
    half_night(project)
    if warehouse == "deleted":
        shutil.rmtree(project / "data/warehouse")
    file = outside(tmp_path, text_of(BAD))
    everything = [project, *project.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444, follow_symlinks=True)
    before = state_of(project)
    command = [*BOUND, str(COMMAND), "check", str(file), "--source", "beispiel", "--project", str(project)]
    run = subprocess.run(command, capture_output=True, text=True)
    refused = subprocess.run([*BOUND, "touch", str(project / "x")], capture_output=True)
    after = state_of(project)
    for path in everything:
        path.chmod(0o755)
    assert refused.returncode != 0, "the folder is read-only indeed"
    assert run.returncode == 3, run.stdout + run.stderr
    assert "2 Beanstandungen" in run.stdout
    assert after == before


WRONG_CALLS = {
    "unknown source": (
        ["neu.csv", "--source", "bespiel"],
        "Die Quelle »bespiel« gibt es nicht; meinten Sie »beispiel«?",
    ),
    "far off": (["neu.csv", "--source", "xyz"], "möglich: beispiel"),
    "missing file": (["neue.csv", "--source", "beispiel"], "gibt es nicht; meinten Sie »neu.csv«?"),
    "folder": ([".", "--source", "beispiel"], "ist ein Ordner, erwartet wird eine Datei"),
    "pipe": (["leitung", "--source", "beispiel"], "keine gewöhnliche Datei"),
    "report inside": (["neu.csv", "--source", "beispiel", "--report", "{project}/data/raw/x"], "außerhalb von"),
    "report is a file": (["neu.csv", "--source", "beispiel", "--report", "neu.csv"], "lässt sich nicht schreiben"),
}


@pytest.mark.parametrize("case", WRONG_CALLS)
def test_wrong_calls_end_with_2_and_a_sentence(
    project: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments, words = WRONG_CALLS[case]
    outside(tmp_path, text_of(FIRST))
    os.mkfifo(tmp_path / "leitung")
    monkeypatch.chdir(tmp_path)
    before = state_of(project)
    voice = Quiet()
    file, source, *rest = [a.format(project=project) for a in arguments if a not in ("--source", "--report")]
    assert check_file(project, Path(file), source, voice, Path(rest[0]) if rest else None) == 2
    assert words in voice.lines[-1]
    assert state_of(project) == before


def test_wrong_projects_end_with_2(project: Path, tmp_path: Path) -> None:
    file = outside(tmp_path, text_of(FIRST))
    run = sozialraum("check", file, "--source", "beispiel", "--project", tmp_path)
    assert (run.returncode, "kein Projektordner" in run.stderr) == (2, True)
    edit(project, lambda source: source.update(publsher="x"))
    run = sozialraum("check", file, "--source", "beispiel", "--project", project)
    assert run.returncode == 2
    assert re.search(r"assets/beispiel/defs\.yaml:\d+:.*publisher", run.stderr)


def test_describe_is_wired(project: Path) -> None:
    run = sozialraum("describe", project / "data/raw/beispiel/beispiel.csv", "--source", "neu", "--project", project)
    assert run.returncode == 0, run.stderr
    assert "id: neu" in run.stdout


# ---------------------------------------------------------------- the same judgement as the night's

FILES = {
    "good": text_of(FIRST),
    "good again, later figures": text_of({**FIRST, ("1", "31.12.2023"): (111, 2500)}),
    "bad cells": text_of(BAD),
    "unknown area": text_of(FIRST).replace("Südhang", "Suedhangg"),
    "only warnings": text_of(FIRST).replace(";Südhang;", ";Südhang ;"),
    "missing areas": text_of({key: value for key, value in FIRST.items() if key[0] != "3"}),
    "missing column": text_of(FIRST).replace("Arbeitslose", "Arbeitlose"),
    "wrong encoding": text_of(FIRST).encode("cp1252"),
    "no text": b"PK\x03\x04" + b"\0" * 99,
    "empty": b"",
    "future": text_of({**FIRST, ("1", "31.12.2031"): (1, 9), ("2", "31.12.2031"): (1, 9), ("3", "31.12.2031"): (1, 9)}),
}


@pytest.mark.parametrize("name", FILES)
def test_judgement_is_the_nights(project: Path, tmp_path: Path, name: str) -> None:
    half_night(project)
    content = FILES[name]
    data = content if isinstance(content, bytes) else content.encode()
    before = judged(project, outside(tmp_path, data, "kandidat.csv"))
    (project / "data/raw/beispiel/kandidat.csv").write_bytes(data)
    state = half_night(project).states["beispiel"]
    delivery = state.deliveries[-1]
    assert delivery.name in ("kandidat.csv", "beispiel.csv")
    assert before.verdict == state.verdicts[delivery.delivery_id]
    assert (before.kind == "rejected") == (delivery.decision == "rejected")
    assert before.delivery_id == delivery.delivery_id
    after = judged(project, tmp_path / "kandidat.csv")
    assert after.verdict == before.verdict
    assert after.delivery_id == delivery.delivery_id, "it is known now"


def second_source(project: Path) -> None:
    """A source that must agree with the first."""
    topic = project / "assets/zweite"
    topic.mkdir()
    text = (project / "assets/beispiel/defs.yaml").read_text(encoding="utf-8")
    text = text.partition("\n---")[0].replace("id: beispiel", "id: zweite")
    agrees = "    agrees: [{measure: arbeitslose, source: beispiel, with_measure: arbeitslose}]\n"
    (topic / "defs.yaml").write_text(text.replace("  contract:\n", f"  contract:\n{agrees}"), encoding="utf-8")
    file = project / "assets/beispiel/defs.yaml"
    file.write_text(
        file.read_text(encoding="utf-8").replace("bezirk: [beispiel]", "bezirk: [beispiel, zweite]"), encoding="utf-8"
    )


@pytest.mark.parametrize("cache", ["kept", "deleted"])
def test_other_sources_are_read_aside(project: Path, tmp_path: Path, cache: str) -> None:
    second_source(project)
    half_night(project)
    if cache == "deleted":
        shutil.rmtree(project / "data/warehouse")
    before = state_of(project)
    other = text_of({**FIRST, ("1", "31.12.2023"): (1, 2500)})
    found = judged(project, outside(tmp_path, other, "zweite.csv"), "zweite")
    assert state_of(project) == before
    put(project, other, "zweite.csv", "zweite")
    state = half_night(project).states["zweite"]
    assert found.verdict == state.verdicts["zweite-0001"]


def test_rules_that_changed_meanwhile_are_used(project: Path, tmp_path: Path) -> None:
    half_night(project)
    edit(project, lambda source: source["symbols"].update({"-": "zero"}))
    text = text_of({**FIRST, ("1", "31.12.2023"): ("-", 2500)})
    verdict = judged(project, outside(tmp_path, text)).verdict
    assert (verdict.clean, list(verdict.by_rule)) == (True, ["revision"]), "the figure in force was another"


# ---------------------------------------------------------------- what is said besides


def test_known_deliveries_keep_their_corrections(project: Path) -> None:
    file = put(project, text_of(BAD))
    half_night(project)
    fix = {"delivery": "beispiel-0001", "reason": "x", "reported_on": NOW.date(), "status": "confirmed"}
    edit(
        project,
        lambda source: source.update(
            corrections=[
                {**fix, "line": 8, "column": "Arbeitslose", "expected": "12O", "value": "120"},
                {**fix, "line": 9, "column": "Stichtag", "expected": "32.12.2024", "value": "31.12.2024"},
            ],
            contract={},
        ),
    )
    loaded = load_project(project)
    trial = try_file(loaded, loaded.sources["beispiel"], file, NOW)
    assert trial.case.kind == "clean"
    said = "\n".join(plain_lines(trial.case, trial.notes))
    assert "schon eingegangen: Lieferung beispiel-0001 vom 02.03.2026 (beispiel.csv), zurückgewiesen" in said
    assert "2 Berichtigungen sind angewandt" in said


def test_retracted_deliveries_are_said_to_be(project: Path) -> None:
    file = put(project, text_of(FIRST))
    half_night(project)
    entry = {"delivery": "beispiel-0001", "reason": "x", "on": NOW.date(), "by": "Team"}
    edit(project, lambda source: source.update(retracted=[entry]))
    loaded = load_project(project)
    assert "ist zurückgezogen" in "\n".join(try_file(loaded, loaded.sources["beispiel"], file, NOW).notes)


@pytest.mark.parametrize("name", ["neu.txt", "~$neu.csv", ".neu.csv", "neu\x1b[2J.csv"])
def test_names_that_the_inbox_does_not_take(project: Path, tmp_path: Path, name: str) -> None:
    voice = Quiet()
    assert check_file(project, outside(tmp_path, text_of(FIRST), name), "beispiel", voice) == 0
    assert any("würde die Datei nicht angenommen" in line for line in voice.lines)
    assert not any("\x1b" in line for line in voice.lines)


def test_the_name_counts_where_the_period_stands_in_it(project: Path, tmp_path: Path) -> None:
    def period_in_name(source: dict[str, Any]) -> None:
        source["layout"]["period"] = {"type": "stichtag", "file_name": r"(\d{4})\.csv$", "day": "12-31"}
        source["layout"]["ignore"] = ["Stichtag"]

    edit(project, period_in_name)
    put(project, text_of({key: value for key, value in FIRST.items() if "2022" in key[1]}), "stand_2022.csv")
    (project / "data/raw/beispiel/beispiel.csv").unlink()
    half_night(project)
    same = (project / "data/raw/beispiel/stand_2022.csv").read_bytes()
    assert judged(project, outside(tmp_path, same, "stand_2022.csv")).delivery_id == "beispiel-0001"
    other = judged(project, outside(tmp_path, same, "stand_2023.csv"))
    assert (other.kind, other.delivery_id) == ("clean", "beispiel-0002")
    assert judged(project, outside(tmp_path, same, "stand.csv")).verdict.broken() == {"dateiname"}


def test_a_file_that_changes_meanwhile_is_said_to(project: Path, tmp_path: Path, monkeypatch: Any) -> None:
    file = outside(tmp_path, text_of(FIRST))
    whole = check.judge_all

    def while_judging(*arguments: Any) -> Any:
        file.write_text(text_of(BAD), encoding="utf-8")
        return whole(*arguments)

    monkeypatch.setattr(check, "judge_all", while_judging)
    voice = Quiet()
    assert check_file(project, file, "beispiel", voice) == 2
    assert "ändert sich gerade" in voice.lines[-1]


def test_large_files_are_not_copied(project: Path, tmp_path: Path, monkeypatch: Any) -> None:
    copied: set[str] = set()
    whole = check.judge_all

    def looking(aside: Any, *arguments: Any) -> Any:
        copied.update(p.name for p in aside.paths.warehouse.parent.rglob("*") if p.is_file() and not p.is_symlink())
        return whole(aside, *arguments)

    monkeypatch.setattr(check, "judge_all", looking)
    half_night(project)
    judged(project, outside(tmp_path, text_of(BAD)))
    assert copied == {"receipt.json"}


# ---------------------------------------------------------------- on a terminal


def on_terminal(columns: int, *arguments: str) -> str:
    """Output of the command for a person at a screen of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [str(COMMAND), *arguments], stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm-256color"}
    )
    os.close(theirs)
    output = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        output += block
    os.close(ours)
    process.wait()
    return output.decode()


def test_terminal_view_fits_and_cannot_be_steered(project: Path, tmp_path: Path) -> None:
    evil = "\x1b]0;weg\x07[bold red]laut[/]" + "x" * 60
    text = text_of(BAD).replace(";12O;", f';"{evil}";')
    shown = on_terminal(*(80, "check", str(outside(tmp_path, text)), "--source", "beispiel", "--project", str(project)))
    assert "\x1b]0;" not in shown
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert "[boldred]laut[/]" in "".join(plain.split()), "markup in a cell is text"
    assert "\x1b" not in plain
    assert max(len(line.rstrip()) for line in plain.splitlines()) <= 80
    assert plain != shown, "colours for a person"
    for words in (
        "Diese Datei würde nicht übernommen: 2 Beanstandungen",
        "1. Beanstandung:",
        "2. Beanstandung:",
        "Zu tun",
    ):
        assert words in plain


def test_what_a_night_is_writing_is_left_alone(project: Path) -> None:
    """A night at work writes the reading under a temporary name; the same bytes are checked meanwhile."""
    half_night(project)
    release_locks()
    reading = next((project / "data/warehouse/internal/readings/beispiel").glob("0001-*.parquet"))
    writing = reading.with_name(f".neu-{reading.name}")
    reading.rename(writing)
    for note in reading.parent.glob("0001-*.json"):
        note.unlink()
    writing.write_bytes(b"half of a file")
    file = next((project / "data/raw/beispiel").glob("*.csv"))
    assert judged(project, file).verdict.clean
    assert writing.read_bytes() == b"half of a file"
