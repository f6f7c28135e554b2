"""`sozialraum withdraw`: the release before is in force again, whatever kills the command; the content stays away."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import gate
from pipelines.night import Night
from pipelines.nightly import run_nightly
from pipelines.past.withdraw import WITHDRAWN, finish_withdrawals, withdraw
from pipelines.paths import Paths
from pipelines.published import Published, PublishedLedger
from pipelines.release.publish import fall_back
from tests.conftest import ROOT, Quiet, create_project, run_night, sozialraum
from tests.test_history import FIRST, NOW, put, release_locks, text_of

HOUR = dt.timedelta(hours=1)
CORRECTED = {**FIRST, ("1", "31.12.2022"): (130, 2400)}


def links(root: Path) -> tuple[str | None, str | None, bool]:
    """Name that `current` leads to, name in aktuell.txt, and whether the public marts can be opened."""
    releases = root / "data/releases"
    pointer = releases / "aktuell.txt"
    current = releases / "current"
    return (
        os.readlink(current) if current.is_symlink() else None,
        pointer.read_text(encoding="utf-8").strip() if pointer.exists() else None,
        (root / "data/warehouse/sozialraum.duckdb").exists(),
    )


def taken_back(root: Path, release_id: str, reason: str = "falsche Quote") -> tuple[int, str]:
    said = Quiet()
    code = withdraw(root, release_id, reason, said)
    return code, "\n".join(said.lines)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A project (constructed) with two releases; tests work on copies."""

    root = tmp_path_factory.mktemp("zwei") / "Stadt"
    create_project(root, Quiet())
    first = run_night(root, NOW).publication
    put(root, text_of(CORRECTED))
    second = run_night(root, NOW + HOUR).publication
    assert first and second
    return root, first.release_id, second.release_id


@pytest.fixture
def copy(two: tuple[Path, str, str], tmp_path: Path) -> Path:
    root = tmp_path / "Stadt"
    shutil.copytree(two[0], root, symlinks=True)
    return root


def night(root: Path, hours: int) -> Night:
    return run_night(root, NOW + hours * HOUR)


def test_the_release_before_is_in_force_and_the_content_stays_away(copy: Path, two: tuple[Path, str, str]) -> None:
    _, first, second = two
    run = sozialraum("withdraw", second, "--reason", "falsche\nQuote", "--project", copy)
    assert run.returncode == 0, run.stderr
    assert f"In Kraft ist wieder: {first}" in run.stdout
    assert links(copy) == (first, first, True)
    assert not (copy / "data/releases" / second).exists()
    moved = copy / "data/history" / WITHDRAWN / second
    assert gate.damaged_release(moved) is None
    assert moved.parent.stat().st_mode & 0o077 == 0

    assert not gate.examine(Paths.of(copy), NOW.date()).unchanged, "the next night has something to say"
    held = night(copy, 2)
    (sentence,) = held.findings
    assert held.exit_code == 3
    assert all(word in sentence for word in (second, "Grund: falsche Quote", "berichtigte Lieferung", "YAML"))
    assert links(copy) == (first, first, True)
    said = Quiet()
    assert run_nightly(copy, said, NOW + 3 * HOUR) == 3, "also when nothing is new"
    assert sentence in said.lines
    assert f"Veröffentlichung in Kraft: {first}" in said.lines[0]
    catalogue = sozialraum("catalogue", "--project", copy).stdout
    assert f"{second}: am " in catalogue
    assert "falsche Quote" in catalogue

    put(copy, text_of({**CORRECTED, ("2", "31.12.2022"): (310, 4000)}))
    after = night(copy, 4)
    assert after.publication is not None
    assert (after.publication.new, after.exit_code) == (True, 0)
    third = after.publication.release_id
    assert third.endswith("-0003"), "the counter goes on"
    assert links(copy) == (third, third, True)
    assert after.previous.release_id == first, "revisions are told against what was in force"
    assert sozialraum("audit", "--project", copy).returncode == 0


def test_what_was_wrong_comes_back_neither_with_other_bytes_nor_with_other_words(
    copy: Path, two: tuple[Path, str, str]
) -> None:
    _, first, second = two
    assert taken_back(copy, second)[0] == 0
    put(copy, text_of(CORRECTED) + "\n")  # a new delivery with the same figures
    topic = copy / "assets/beispiel/defs.yaml"
    topic.write_text(topic.read_text(encoding="utf-8") + "# eine Anmerkung\n", encoding="utf-8")
    held = night(copy, 2)
    assert (held.exit_code, links(copy)[0]) == (3, first)
    assert second in held.findings[0]

    said = Quiet()
    assert run_nightly(copy, said, NOW + 3 * HOUR, "geprüft, stimmt doch") == 0, said.lines
    third = links(copy)[0]
    entry = PublishedLedger(Paths.of(copy)).entry(str(third))
    assert entry is not None
    assert (third not in (first, second), entry.accepted_changes) == (True, "geprüft, stimmt doch")
    again = Quiet()
    assert run_nightly(copy, again, NOW + 4 * HOUR) == 0, "accepted is accepted"
    assert links(copy)[0] == third


def test_a_damaged_or_older_list_of_releases_forgets_no_withdrawal(copy: Path, two: tuple[Path, str, str]) -> None:
    _, first, second = two
    ledger = PublishedLedger(Paths.of(copy))
    backup = ledger.file.read_bytes()
    assert taken_back(copy, second)[0] == 0
    for damaged in (b'[{"comm', b"{}", b"", None):
        if damaged is None:
            ledger.file.unlink()
        else:
            ledger.file.write_bytes(damaged)
        said = Quiet()
        assert run_nightly(copy, said, NOW + 2 * HOUR) == 1
        assert any("fehlt oder ist beschädigt; bitte data/history aus der Sicherung" in line for line in said.lines)
        assert links(copy) == (first, first, True)
    ledger.file.write_bytes(backup)  # made before the withdrawal
    held = night(copy, 3)
    assert (held.exit_code, links(copy)[0]) == (3, first)
    assert second in held.findings[0]


def test_without_an_earlier_release_nothing_is_in_force(copy: Path, two: tuple[Path, str, str]) -> None:
    _, first, second = two
    assert taken_back(copy, second)[0] == 0
    code, said = taken_back(copy, first, "auch falsch")
    assert code == 0
    assert "keine Veröffentlichung mehr in Kraft" in said
    assert links(copy) == (None, None, False)
    held = night(copy, 2)
    assert (held.publication, held.exit_code) == (None, 3)
    assert second in held.findings[0]
    assert links(copy) == (None, None, False)
    assert gate.examine(Paths.of(copy), NOW.date()).unchanged
    assert "Es ist keine Veröffentlichung in Kraft" in taken_back(copy, first[:-1])[1]
    put(copy, text_of({**CORRECTED, ("2", "31.12.2022"): (310, 4000)}))
    again = night(copy, 3)
    assert again.publication is not None
    assert links(copy)[0] == again.publication.release_id


def test_only_what_is_in_force_can_be_taken_back(copy: Path, two: tuple[Path, str, str]) -> None:
    _, first, second = two
    for name, words in [(first, "gilt nicht mehr"), (second[:-1] + "7", f"gibt es nicht; meinten Sie »{second}«?")]:
        code, said = taken_back(copy, name)
        assert code == 2
        assert words.split("; ")[0] in said
        assert f"nur die geltende: {second}" in said
    assert taken_back(copy, second, "  \n")[0] == 2
    assert links(copy) == (second, second, True)
    assert taken_back(copy, second)[0] == 0
    code, said = taken_back(copy, second, "noch einmal")
    assert (code, "Grund: falsche Quote" in said) == (0, True), "asked again: it is as asked"
    assert sozialraum("withdraw", second, "--project", copy).returncode == 2, "a reason is needed"


def test_a_running_night_is_not_disturbed(copy: Path, two: tuple[Path, str, str]) -> None:
    code = "import sys, pathlib; from pipelines import lock; lock.take(pathlib.Path(sys.argv[1])); print(1); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, Paths.of(copy).lock_file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert taken_back(copy, two[2])[0] == 5
        other.communicate("\n")
    assert links(copy)[0] == two[2]


KILLED = """
import os, sys
from pathlib import Path
from pipelines.past.withdraw import withdraw
from pipelines.progress import Voice
left = int(sys.argv[3])
CHANGES = {"os.rename", "os.remove", "os.symlink", "os.mkdir", "os.rmdir", "shutil.copyfile"}
root = sys.argv[1] + "/data/"
def watch(event, arguments):
    global left
    if event in CHANGES and str(arguments[0 if event != "os.symlink" else 1]).startswith(root):
        if left == 0:
            os._exit(9)
        left -= 1
sys.addaudithook(watch)
code = withdraw(Path(sys.argv[1]), sys.argv[2], "x", Voice())
print("STEPS", int(sys.argv[3]) - left)
os._exit(code)
"""


def killed(root: Path, release_id: str, after: int) -> tuple[int, str]:
    """Withdraw in a process that dies right before a change of the file system."""
    command = [sys.executable, "-c", KILLED, str(root), release_id, str(after)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return run.returncode, run.stdout


def test_a_kill_at_any_step_leaves_a_whole_release_and_is_made_good(
    copy: Path, two: tuple[Path, str, str], tmp_path: Path
) -> None:
    _, first, second = two
    before = tmp_path / "vorher"
    shutil.copytree(copy, before, symlinks=True)
    code, said = killed(copy, second, 10**6)
    assert code == 0
    steps = int(said.rsplit(maxsplit=1)[1])
    assert steps > 20, "notes, links, and the copy of each file"
    everything = os.environ.get("SOAK") == "1"
    moments = range(steps) if everything else [*range(0, steps, max(1, steps // 12)), steps - 1]
    for moment in moments:
        shutil.rmtree(copy)
        shutil.copytree(before, copy, symlinks=True)
        assert killed(copy, second, moment)[0] == 9
        paths = Paths.of(copy)
        in_force = links(copy)[0]
        assert in_force in (first, second)
        assert gate.damaged_release(paths.current) is None, "readers see a whole release at any moment"
        noted = PublishedLedger(paths).entry(second)
        assert noted is not None
        assert noted.withdrawn or in_force == second, "noted first"
        begin(copy)
        if noted.withdrawn:
            assert links(copy) == (first, first, True)
            assert gate.damaged_release(paths.history / WITHDRAWN / second) is None
            assert not (paths.releases / second).exists()
        else:
            assert links(copy) == (second, second, True)
        for folder in (paths.releases, paths.history, paths.warehouse):
            assert not list(folder.rglob(".neu-*")), moment


def begin(root: Path) -> None:
    """The start of the next night."""
    Night.begin(root, lambda text: None, NOW)
    release_locks()


def test_a_killed_command_is_finished_by_the_next_one(copy: Path, two: tuple[Path, str, str]) -> None:
    _, first, second = two
    PublishedLedger(Paths.of(copy)).withdraw(second, "2026-03-02", "Probe")  # killed right after the note
    code, said = taken_back(copy, second)
    assert (code, "Zu Ende gebracht" in said) == (0, True)
    assert links(copy) == (first, first, True)
    assert finish_withdrawals(Paths.of(copy)) == []


def release(paths: Paths, release_id: str, content: str) -> None:
    """A release folder that is whole."""
    folder = paths.releases / release_id
    folder.mkdir(parents=True)
    (folder / gate.CHECKSUMS).write_text("", encoding="utf-8")
    PublishedLedger(paths).add(Published(release_id, content))


def test_content_that_was_taken_back_comes_into_force_by_no_way(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path)
    names = [f"2026030{day}T040000Z-000{day}" for day in (1, 2, 3, 4)]
    for name, content in zip(names, ["a", "b", "a", "c"], strict=True):
        release(paths, name, content)
    paths.current.symlink_to(names[3])
    ledger = PublishedLedger(paths)
    for gone in (names[3], names[2]):
        ledger.withdraw(gone, "2026-03-05", "Probe")
        finish_withdrawals(paths)
    assert os.readlink(paths.current) == names[1], "the third is withdrawn"
    ledger.withdraw(names[1], "2026-03-05", "Probe")
    finish_withdrawals(paths)
    assert not paths.current.is_symlink(), "the first has the content of the third"
    assert ledger.withdrawn("a") is not None
    assert ledger.withdrawn("z") is None
    assert fall_back(paths.public_places, ledger.taken_back()) is None
    with pytest.raises(KeyError):
        ledger.withdraw("20260309T040000Z-0009", "2026-03-05", "Probe")


def test_a_damaged_release_can_be_taken_back_and_is_never_fallen_back_to(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path)
    names = [f"2026030{day}T040000Z-000{day}" for day in (1, 2, 3)]
    for name in names:
        release(paths, name, name)
    for name in names[1:]:
        (paths.releases / name / gate.CHECKSUMS).write_text("0  fehlt.csv\n", encoding="utf-8")
    paths.current.symlink_to(names[2])
    PublishedLedger(paths).withdraw(names[2], "2026-03-05", "Probe")
    assert finish_withdrawals(paths) == [names[2]]
    assert os.readlink(paths.current) == names[0]
