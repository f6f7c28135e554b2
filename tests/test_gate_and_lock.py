"""Whether anything is new, one run at a time, and readers that never notice a publication."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import gate, lock
from pipelines import night as night_module
from pipelines.night import Night
from pipelines.nightly import run_nightly
from pipelines.paths import Paths
from tests.conftest import COMMAND, ROOT, Quiet, create_project, run_night, sozialraum
from tests.test_history import FIRST, NOW, edit, put, release_locks, text_of, unemployed

SOAK = os.environ.get("SOAK") == "1"
DAY = dt.timedelta(days=1)
TODAY = NOW.date()


def python(code: str, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    options = {"stdin": subprocess.PIPE, **options}
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True, **options
    )


def hold(file: Path) -> int:
    """Exit code of a process that takes the lock and gives it back at once."""
    return python(HOLDER, file, stdin=subprocess.DEVNULL).wait(timeout=30)


# ---------------------------------------------------------------- the gate


@pytest.fixture(scope="module")
def quiet_city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after a night; tests leave it as they found it."""
    root = tmp_path_factory.mktemp("ruhig") / "Stadt"
    create_project(root, Quiet())
    run_night(root, NOW)
    return root


def unchanged(root: Path, today: dt.date = TODAY) -> bool:
    return gate.examine(Paths.of(root), today).unchanged


LOADED = """
import sys
from pathlib import Path
before = set(sys.modules)
from pipelines import gate
from pipelines.paths import Paths
import datetime
if sys.argv[2] == "gate":
    assert gate.examine(Paths.of(sys.argv[1]), datetime.date(2026, 3, 2)).unchanged
else:
    from pipelines.nightly import run_nightly
    from pipelines.progress import Voice
    assert run_nightly(Path(sys.argv[1]), Voice()) == 0
print("MODULES", *sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


@pytest.mark.parametrize("how", ["gate", "nightly"])
def test_deciding_that_nothing_is_new_needs_no_heavy_library(quiet_city: Path, how: str) -> None:
    out, _ = python(LOADED, quiet_city, how).communicate(timeout=60)
    loaded = set(out.split("MODULES ", 1)[1].split())
    assert not loaded & {"pandas", "numpy", "duckdb", "dagster", "yaml", "pydantic", "pyarrow", "sqlglot", "jinja2"}
    if how == "gate":
        own = {name for name in loaded if not name.startswith("_sysconfigdata")}  # standard library, named by machine
        assert own - set(sys.stdlib_module_names) <= {"pipelines"}


def test_unchanged_project_is_left_alone(quiet_city: Path) -> None:
    assert unchanged(quiet_city)
    raw = quiet_city / "data/raw/beispiel/beispiel.csv"
    os.utime(raw, (5, 5))
    (raw.parent / ".~lock.beispiel.csv#").write_text("x", encoding="utf-8")
    (quiet_city / "assets/.ablage.swp").write_text("x", encoding="utf-8")
    said = Quiet()
    assert run_nightly(quiet_city, said, NOW) == 0
    assert "Nichts Neues" in said.lines[0]


CHANGES: dict[str, tuple[str, str]] = {
    "data/raw/beispiel/neu.csv": ("x", "geändert: Eingang (data/raw)"),
    "data/raw/beispiel/beispiel.csv": ("", "geändert: Eingang (data/raw)"),
    "assets/beispiel/defs.yaml": ("", "geändert: Beschreibung (assets)"),
    "assets/areas/memberships.csv": ("", "geändert: Beschreibung (assets)"),
    "assets/marts/area/area.sql": ("", "geändert: Beschreibung (assets)"),
    "assets/neu/defs.yaml": ("x", "geändert: Beschreibung (assets)"),
    "data/history/deliveries/beispiel/0009-abc/receipt.json": ("{}", "geändert: Archiv (data/history)"),
    "data/warehouse/internal/letzte_nacht.json": ('{"fingerprint": {', "kein Vermerk einer früheren Nacht"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_any_change_of_content_is_noticed(quiet_city: Path, name: str) -> None:
    path = quiet_city / name
    content, reason = CHANGES[name]
    before = path.read_bytes() if path.exists() else None
    made = [p for p in path.parents if not p.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    if before is None or content:
        path.write_text(content, encoding="utf-8")
    else:  # one character, same size, same time
        stat = path.stat()
        path.write_bytes(before.replace(b"e", b"E", 1))
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    try:
        verdict = gate.examine(Paths.of(quiet_city), TODAY)
        assert (verdict.unchanged, verdict.reason) == (False, reason)
    finally:
        if before is None:
            path.unlink()
            for folder in made:
                folder.rmdir()
        else:
            path.write_bytes(before)
    assert unchanged(quiet_city)


def test_removed_file_and_removed_internal_marts_are_noticed(quiet_city: Path) -> None:
    paths = Paths.of(quiet_city)
    for path in (quiet_city / "data/raw/beispiel/beispiel.csv", paths.internal_mart.resolve()):
        away = path.rename(quiet_city / "weg")
        assert not unchanged(quiet_city), path
        away.rename(path)
    assert unchanged(quiet_city)


def test_only_very_large_files_are_judged_by_size_and_time(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = project / "data/raw/beispiel/beispiel.csv"
    monkeypatch.setattr(gate, "LARGE", raw.stat().st_size - 1)
    run_night(project, NOW)
    hashed: list[Path] = []
    whole = gate.sha256_file

    def watch(path: Path) -> str:
        hashed.append(path)
        return whole(path)

    monkeypatch.setattr(gate, "sha256_file", watch)
    assert unchanged(project)
    assert raw not in hashed
    os.utime(raw, (5, 5))
    assert unchanged(project)  # other time, same content: hashed, nothing new
    assert raw in hashed
    put(project, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    assert not unchanged(project)


def test_folder_that_is_no_project_is_a_usage_error(tmp_path: Path) -> None:
    said = Quiet()
    assert run_nightly(tmp_path, said) == 2
    assert "kein Projektordner" in said.lines[0]
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- what arrives while a run is going


def dropped_in(root: Path) -> None:
    put(root, text_of({(n, "31.12.2024"): (int(n), 1000) for n in "123"}), "waehrenddessen.csv")


@pytest.mark.parametrize("moment", ["intake", "build", "publish"])
def test_file_dropped_while_a_run_is_going_is_taken_by_the_next(
    project: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    real: Callable[[Night], Any] = getattr(Night, moment)

    def meanwhile(night: Night) -> Any:
        if moment != "intake":
            dropped_in(project)
        result = real(night)
        if moment == "intake":
            dropped_in(project)
        return result

    with monkeypatch.context() as patch:
        patch.setattr(Night, moment, meanwhile)
        first = run_night(project, NOW)
    assert ("1", "2024") not in unemployed(first)
    assert not unchanged(project)
    assert unemployed(run_night(project, NOW + DAY))["1", "2024"] == 1
    assert unchanged(project)


def test_rules_changed_just_after_they_were_loaded_are_not_lost(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = night_module.load_project

    def then_edited(root: Path) -> Any:
        loaded = load(root)
        edit(project, lambda indicator: indicator.update(decimals=3), document="Indicator")
        return loaded

    with monkeypatch.context() as patch:
        patch.setattr(night_module, "load_project", then_edited)
        run_night(project, NOW)
    assert not unchanged(project)


# ---------------------------------------------------------------- the lock

HOLDER = """
import sys
from pathlib import Path
from pipelines import lock
try:
    held = lock.take(Path(sys.argv[1]))
except lock.Busy as busy:
    print("BUSY", busy, flush=True)
    sys.exit(5)
print("HELD", flush=True)
sys.stdin.read()
held.release()
"""


def test_second_run_names_the_first_and_leaves(project: Path) -> None:
    first = subprocess.Popen(
        [str(COMMAND), "nightly", "--project", str(project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    file = Paths.of(project).lock_file
    deadline = time.monotonic() + 30
    while not (file.exists() and str(first.pid) in file.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    second = sozialraum("nightly", "--project", project)
    assert first.poll() is None, "the first run ended too early for this test"
    assert second.returncode == 5
    assert socket.gethostname() in second.stdout + second.stderr
    assert str(first.pid) in second.stdout + second.stderr
    out, _ = first.communicate(timeout=120)
    assert first.returncode == 0, out
    assert len([p for p in (project / "data/releases").iterdir() if p.is_dir() and not p.is_symlink()]) == 1


def test_of_many_at_once_one_wins(tmp_path: Path) -> None:
    file = tmp_path / "a" / "lock"
    runs = [python(HOLDER, file) for _ in range(6)]
    deadline = time.monotonic() + 60
    while sum(run.poll() is None for run in runs) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    said = [run.communicate(timeout=60)[0] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 5, 5, 5, 5, 5]
    winner = next(run.pid for run in runs if run.returncode == 0)
    # Who comes between the winner's lock and its name reads an empty file or an older name, never a crash.
    assert sum("BUSY Ein anderer Lauf ist aktiv (" in text for text in said) == 5
    assert any(f"Prozess {winner})" in text for text in said)


def test_killed_holder_frees_the_lock_and_the_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    holder = python(HOLDER, file)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "HELD\n"
    inode = file.stat().st_ino
    with pytest.raises(lock.Busy, match=f"Prozess {holder.pid}"):
        lock.take(file)
    holder.send_signal(signal.SIGKILL)
    holder.wait(timeout=10)
    held = lock.take(file)
    assert file.read_text(encoding="utf-8") == f"Rechner {socket.gethostname()}, Prozess {os.getpid()}"
    again = lock.take(file)
    assert again.already
    again.release()  # not its business
    assert hold(file) == 5
    held.release()
    assert hold(file) == 0
    assert file.stat().st_ino == inode


def test_lock_file_is_never_deleted_by_a_night(published: Path) -> None:
    file = Paths.of(published).lock_file
    inode = file.stat().st_ino
    put(published, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    run_night(published, NOW + DAY)
    assert file.stat().st_ino == inode


def test_run_that_meets_a_lock_changes_nothing(project: Path) -> None:
    paths = Paths.of(project)
    holder = python(HOLDER, paths.lock_file)
    assert holder.stdout is not None
    holder.stdout.readline()
    before = sorted(p.relative_to(project) for p in project.rglob("*"))
    said = Quiet()
    try:
        assert run_nightly(project, said, NOW) == 5
        assert f"Prozess {holder.pid}" in said.lines[0]
        assert sorted(p.relative_to(project) for p in project.rglob("*")) == before
        with pytest.raises(lock.Busy):
            Night.begin(project, said.append if isinstance(said, list) else said.say)
    finally:
        holder.kill()
        holder.wait(timeout=10)
        release_locks()


# ---------------------------------------------------------------- readers

READER = """
import csv, json, os, sys, time
from pathlib import Path
import duckdb
releases, public, stop, kept_open = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4] == "kept open"
QUERY = '''
    SELECT r.release_id,
        (SELECT numerator FROM mart.indicator_value WHERE area_id = '99999000-BZ-1' AND period = '2022-12-31'),
        (SELECT numerator FROM mart.indicator_value WHERE area_id = '99999000' AND period = '2022-12-31'),
        (SELECT value FROM mart.observation WHERE measure_id = 'arbeitslose' AND area_id = '99999000-BZ-1'
            AND period = '2022-12-31'),
        (SELECT zaehler FROM api.zeitreihe('arbeitslosenanteil', 'Altstadt') WHERE zeitraum = '2022-12-31')
    FROM meta.release r
'''
seen, errors, count = {}, [], 0
def folder_agrees():  # CSV and database of the folder that `current` names at one moment
    folder = (releases / "current").resolve()
    try:
        with open(folder / "daten/indikatorwerte.csv", encoding="utf-8", newline="") as lines:
            found = [row["numerator"] for row in csv.DictReader(lines)
                     if row["area_id"] == "99999000-BZ-1" and row["period"] == "2022-12-31"]
        with duckdb.connect(str(folder / "sozialraum.duckdb"), read_only=True) as con:
            release, *numbers = con.execute(QUERY).fetchone()
    except (OSError, duckdb.Error):
        if folder.is_dir():
            raise
        return  # removed by `keep` meanwhile: who resolves the link is told to resolve it again
    if release != folder.name or [float(n) for n in found] != [numbers[0]]:
        errors.append(f"{folder.name}: {release} {found} {numbers}")
connection = duckdb.connect(public, read_only=True) if kept_open else None
print("READY", flush=True)
while True:
    last = stop.exists()
    try:
        con = connection or duckdb.connect(public, read_only=True)
        release, *numbers = con.execute(QUERY).fetchone()
        seen.setdefault(release, set()).add(tuple(numbers))
        count += 1
        if not connection:
            con.close()
            folder_agrees()
    except Exception as error:
        errors.append(repr(error))
    if last:
        break
    time.sleep(float(sys.argv[5]))
print(json.dumps([count, {k: sorted(v) for k, v in seen.items()}, errors]))
"""


def read_while_publishing(root: Path, nights: int, readers: int, seconds: float) -> None:
    """Readers in processes of their own; every release differs from the one before, and old ones are removed.

    Args:
        root: the project.
        nights: how many publish, spread over the time.
        readers: how many read, every second one with a connection that it keeps.
        seconds: how long they read at least.
    """
    edit(root, lambda release: release.update(keep=2), topic="release", document="Release")
    expected = {}

    def publish(number: int) -> None:
        count = 100 + number
        put(root, text_of(FIRST | {("1", "31.12.2022"): (count, 2400)}))
        night = run_night(root, NOW + number * DAY)
        assert night.publication is not None
        assert night.publication.new
        expected[night.publication.release_id] = [[count, count + 300 + 45, count, count]]

    publish(1)
    stop, paths = root / "halt", Paths.of(root)
    kinds = ["fresh", "kept open"] * (readers // 2)
    pause = str(readers / 10)  # many leave the nights some of the machine
    running = [python(READER, paths.releases, paths.public_mart, stop, kind, pause) for kind in kinds]
    for reader in running:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "READY\n"
    begun = time.monotonic()
    for number in range(2, nights + 2):
        publish(number)
        time.sleep(max(0.0, begun + seconds * (number - 1) / nights - time.monotonic()))
    stop.touch()
    queries = 0
    for kind, reader in zip(kinds, running, strict=True):
        out, _ = reader.communicate(timeout=60)
        count, seen, errors = json.loads(out)
        queries += count
        assert errors == [], kind
        assert count > nights, kind
        assert all(seen[release] == expected[release] for release in seen), kind
        if kind == "fresh":
            assert len(seen) >= min(3, nights)
            assert max(expected) in seen
        else:
            assert list(seen) == [min(expected)]  # its release was removed meanwhile, and it still answers
    print(f"{readers} readers, {queries} queries, {nights} nights, {time.monotonic() - begun:.0f} s: no error")


@pytest.mark.soak
def test_readers_meet_no_error_and_never_a_mixture_while_nights_publish(project: Path) -> None:
    read_while_publishing(project, *((20, 30, 120.0) if SOAK else (3, 2, 0.0)))


@pytest.mark.soak
def test_two_nights_at_once_take_every_delivery_once(published: Path) -> None:
    """Started in the same moment: one works, the other leaves or finds nothing new."""
    rounds = 50 if SOAK else 2
    for number in range(rounds):
        put(published, text_of(FIRST | {("1", "31.12.2022"): (200 + number, 2400)}))
        command = [str(COMMAND), "nightly", "--project", str(published)]
        runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in "ab"]
        codes = sorted(run.wait(timeout=300) for run in runs)
        assert codes in ([0, 5], [0, 0]), [run.stdout.read().decode() for run in runs if run.stdout]
    receipts = [json.loads(p.read_text(encoding="utf-8")) for p in (published / "data/history").rglob("receipt.json")]
    assert sorted(receipt["sequence"] for receipt in receipts) == list(range(1, rounds + 2))
    assert len({receipt["sha256"] for receipt in receipts}) == rounds + 1
    ledger = json.loads((published / "data/history/veroeffentlichungen.json").read_text(encoding="utf-8"))
    assert len(ledger) == rounds + 1
