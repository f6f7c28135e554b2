"""Faults of disk and files: a clear sentence, an untouched release, and the next night after the fault publishes."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import itertools
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest
import sqlalchemy

from pipelines import faults
from pipelines.files import read_sealed, remove_old_scratch, write_sealed
from pipelines.gate import damaged_release
from pipelines.history import History
from pipelines.incidents import cause_of
from pipelines.night import Night
from pipelines.nightly import run_nightly
from pipelines.paths import RELEASE_ID, Paths
from pipelines.run_record import mend
from tests.conftest import ROOT, Quiet, create_project, run_night
from tests.test_history import FIRST, NOW, half_night, put, release_locks, text_of
from tests.test_release import digests

SOAK = os.environ.get("SOAK") == "1"
DAY = dt.timedelta(days=1)
KILOBYTE = 1024


def vary(root: Path, unemployed: int) -> None:
    put(root, text_of(FIRST | {("1", "31.12.2022"): (unemployed, 2400)}))


def shown(root: Path) -> list[tuple[object, ...]]:
    """All public figures, without what names the release."""
    with duckdb.connect(str(Paths.of(root).public_mart), read_only=True) as con:
        return con.execute(
            "SELECT measure_id, category, area_id, period, value, conf_status FROM mart.observation ORDER BY ALL"
        ).fetchall()


def in_force(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Bytes of all releases, and where the links lead."""
    paths = Paths.of(root)
    links = {p.name: os.readlink(p) for p in (paths.current, paths.public_mart)}
    return digests(paths.releases), links


# ---------------------------------------------------------------- damaged caches

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "garbled": lambda content: content[: len(content) // 3] + b"\xff\x00\xa7" * 5 + content[len(content) // 3 + 15 :],
}


@pytest.fixture(scope="module")
def after_a_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project after two nights, one file rejected; and (beside it) what the third one publishes undisturbed."""
    root = tmp_path_factory.mktemp("zwischenspeicher") / "Stadt"
    create_project(root, Quiet())
    run_night(root, NOW)
    vary(root, 121)
    put(root, text_of({("1", "31.12.2024"): (-7, 2000)}), "falsch.csv")
    run_night(root, NOW + DAY)
    vary(root, 122)
    calm = root.with_name("ungestoert")
    shutil.copytree(root, calm, symlinks=True)
    run_night(calm, NOW + 2 * DAY)
    return root


def cache_files(root: Path) -> list[str]:
    warehouse = Paths.of(root).warehouse
    return sorted(p.relative_to(root).as_posix() for p in warehouse.rglob("*") if p.is_file() and not p.is_symlink())


def test_damaged_cache_never_changes_a_figure_and_stops_no_second_night(after_a_night: Path, tmp_path: Path) -> None:
    """Everyday: all files at once, the kinds of damage in turn; SOAK: one by one, every kind."""
    expected = shown(after_a_night.with_name("ungestoert"))
    names = cache_files(after_a_night)
    assert len([name for name in names if name.endswith((".parquet", ".json", ".duckdb"))]) >= 8
    single = [{name: damage} for name in names for damage in DAMAGES]
    together = dict(zip(names, itertools.cycle(DAMAGES), strict=False))
    for number, damaged in enumerate(single if SOAK else [together]):
        root = tmp_path / str(number)
        shutil.copytree(after_a_night, root, symlinks=True)
        for name, damage in damaged.items():
            (root / name).write_bytes(DAMAGES[damage]((root / name).read_bytes()))
        run_night(root, NOW + 2 * DAY)
        assert shown(root) == expected, damaged
        shutil.rmtree(root)


def test_reading_with_other_content_is_read_again(after_a_night: Path, tmp_path: Path) -> None:
    """A whole Parquet file with other figures: as dangerous as a cut one, and harder to notice."""
    root = tmp_path / "Stadt"
    shutil.copytree(after_a_night, root, symlinks=True)
    for reading in Paths.of(root).readings.rglob("*.parquet"):
        other = reading.with_suffix(".anders")
        duckdb.execute(f"COPY (SELECT * REPLACE (value + 1 AS value) FROM '{reading}') TO '{other}' (FORMAT parquet)")
        other.replace(reading)
    run_night(root, NOW + 2 * DAY)
    assert shown(root) == shown(after_a_night.with_name("ungestoert"))


def test_entry_of_a_cache_counts_only_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "eintrag.json"
    write_sealed(file, {"errors": 3, "name": "Süd"})
    assert read_sealed(file) == {"errors": 3, "name": "Süd"}
    for text in (file.read_text(encoding="utf-8").replace("3", "0"), "", "[]", "null", '{"errors": 3}'):
        file.write_text(text, encoding="utf-8")
        assert read_sealed(file) is None, text


# ---------------------------------------------------------------- Dagster's record


def test_damaged_record_of_runs_is_set_aside_and_the_night_publishes(tmp_path: Path) -> None:
    """Everyday: all files at once; SOAK: each of them, in every way."""
    base = tmp_path / "vorher"
    create_project(base, Quiet())
    assert run_nightly(base, Quiet()) == 0
    vary(base, 121)
    files = sorted(p.relative_to(base) for p in (base / "data/state").rglob("*.db"))
    assert {"runs.db", "index.db", "schedules.db"} <= {p.name for p in files}
    cases = [([file], damage) for file in files for damage in DAMAGES] if SOAK else [(files, "garbled")]
    for number, (damaged, damage) in enumerate(cases):
        root = tmp_path / str(number)
        shutil.copytree(base, root, symlinks=True)
        for name in damaged:
            (root / name).write_bytes(DAMAGES[damage]((root / name).read_bytes()))
        said = Quiet()
        assert run_nightly(root, said) == 0, (damaged, damage, said.lines)
        assert "121" in {f"{row[4]:.0f}" for row in shown(root) if row[4]}
        with sqlite3.connect(root / "data/state/history/runs.db") as con:
            assert con.execute("SELECT status FROM runs ORDER BY id DESC LIMIT 1").fetchall() == [("SUCCESS",)]
        shutil.rmtree(root)


@pytest.mark.parametrize("damage", DAMAGES)
def test_only_damaged_files_of_the_record_are_set_aside(tmp_path: Path, damage: str) -> None:
    runs = tmp_path / "history/runs.db"
    index = tmp_path / "history/runs/index.db"
    index.parent.mkdir(parents=True)
    for file in (runs, index):
        with contextlib.closing(sqlite3.connect(file)) as con:
            con.execute("CREATE TABLE t (x)")
            con.executemany("INSERT INTO t VALUES (?)", [("a" * 500,)] * 100)
            con.commit()
    assert mend(tmp_path) == []
    runs.write_bytes(DAMAGES["zeroed" if damage == "garbled" else damage](runs.read_bytes()))
    (note,) = mend(tmp_path)
    assert "runs.db war beschädigt" in note
    assert (runs.exists(), index.exists()) == (False, True)
    assert (tmp_path / "beschaedigt/runs.db").exists()


# ---------------------------------------------------------------- the disk

needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="only root may mount a small disk"
)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own at `folder`; yields a function that mounts it anew with other options."""
    folder.mkdir(parents=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip(f"no small disk can be mounted here: {mount.stderr}")
    try:
        yield lambda how: [subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)].clear()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_sentences_name_cause_place_and_remedy(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path)
    file = str(tmp_path / "data/history/x")
    for number, words in {
        errno.ENOSPC: ("kein Speicherplatz mehr auf", "frei ", "data/history/x", "Platz schaffen"),
        errno.EROFS: ("data/history/x ist nur lesbar", "einhängen"),
        errno.EACCES: ("data/history/x: keine Berechtigung für den Benutzer", "Zugriffsrechte prüfen"),
        errno.EIO: ("data/history/x", "Datenträger", "prüfen"),
        errno.ENOENT: ("data/history/x ist während des Laufs verschwunden",),
        errno.EMFILE: ("zu viele offene Dateien", "ulimit"),
    }.items():
        text = faults.in_words(OSError(number, os.strerror(number), file), paths)
        assert all(word in text for word in words), text
        assert "Errno" not in text and os.strerror(number) not in text


def test_sentences_for_what_libraries_say_in_words_only(tmp_path: Path) -> None:
    paths = Paths.of(tmp_path)
    wrapped = RuntimeError("step failed")
    wrapped.__cause__ = duckdb.IOException('Could not write file "/x/y.duckdb": No space left on device')
    assert "kein Speicherplatz mehr" in faults.in_words(wrapped, paths)
    with pytest.raises(duckdb.OutOfMemoryException) as caught, duckdb.connect() as con:
        con.execute("SET memory_limit = '10MB'; SET temp_directory = ''")
        con.execute("CREATE TABLE t AS SELECT repeat('x', 1000) || range FROM range(1000000)")
    assert faults.in_words(caught.value, paths).startswith("der Arbeitsspeicher reicht nicht")
    assert faults.in_words(ValueError("unbekannt"), paths) == "unbekannt"
    damaged = tmp_path / "data/warehouse/internal/internal.duckdb"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"x" * 20_000)
    with pytest.raises(duckdb.Error) as broken:
        duckdb.connect(str(damaged), read_only=True)
    text = faults.in_words(broken.value, paths)
    assert text.startswith("data/warehouse/internal/internal.duckdb ist beschädigt oder nicht lesbar")
    assert "»sozialraum nightly« starten" in text


def test_trouble_of_the_record_in_sqlite_is_not_taken_for_postgres(tmp_path: Path) -> None:
    """The real driver, and SQLAlchemy's wrapper around it as Dagster sees it."""
    paths = Paths.of(tmp_path)
    folder = paths.state / "history"
    folder.mkdir(parents=True)
    engine = sqlalchemy.create_engine(f"sqlite:///file:{folder / 'runs.db'}?mode=ro&uri=true")
    with pytest.raises(sqlalchemy.exc.OperationalError) as caught:
        engine.connect()
    assert cause_of(caught.value) == "lauf_fehlgeschlagen"
    assert faults.in_words(caught.value, paths).startswith("data/state/history: keine Berechtigung für den Benutzer")
    full = sqlite3.OperationalError("database or disk is full")
    assert cause_of(full) == "speicher_voll"
    other = sqlalchemy.exc.OperationalError("SELECT 1", {}, ConnectionError("connection refused"))
    assert cause_of(other) == "datenbank"


@needs_mounts
@pytest.mark.soak
def test_full_disk_ends_in_words_and_leaves_the_release_as_it_was(tmp_path: Path) -> None:
    """The room left is swept, so that it runs out in different phases of the night."""
    root = tmp_path / "Platte Süd" / "Stadt"
    with small_disk(root.parent, "64m"):
        create_project(root, Quiet())
        assert run_nightly(root, Quiet()) == 0
        vary(root, 121)
        filler, failed = root.parent / "voll", 0
        rooms = range(0, 12_000, 500) if SOAK else (0, 1_500, 5_000)
        for room in rooms:  # kilobytes
            before = in_force(root)
            free = shutil.disk_usage(root).free - room * KILOBYTE
            with filler.open("wb") as file, contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), 0, free)
            said = Quiet()
            code = run_nightly(root, said)
            text = "\n".join(said.lines)
            if code == 0:
                filler.unlink()
                vary(root, 122 + room)  # enough room: there must be news for the next one
                continue
            failed += 1
            assert code == 1, (room, text)
            assert "kein Speicherplatz mehr auf" in text, (room, text)
            assert "Errno" not in text and "Traceback" not in text, (room, text)
            assert in_force(root) == before, (room, text)
            filler.unlink()
            assert not [p for p in (root / "data/releases").iterdir() if p.name.startswith(".neu-")], room
        assert failed >= len(rooms) // 3
        assert run_nightly(root, Quiet()) == 0
        assert damaged_release(Paths.of(root).current) is None


@needs_mounts
def test_smaller_keep_makes_room_on_a_full_disk(tmp_path: Path) -> None:
    """The remedy that the message names: old releases go before anything is built."""
    root = tmp_path / "Platte" / "Stadt"
    with small_disk(root.parent, "96m"):
        create_project(root, Quiet())
        for number in range(6):
            vary(root, 200 + number)
            run_night(root, NOW + number * DAY)
        paths, path = Paths.of(root), root / "assets/release/defs.yaml"
        before = sorted(p.name for p in paths.releases.iterdir() if RELEASE_ID.fullmatch(p.name))
        assert len(before) == 6
        in_force, compared = os.readlink(paths.current), before[-2]
        vary(root, 300)
        declared = path.read_text(encoding="utf-8")
        assert "keep:" not in declared
        path.write_text(re.sub(r"(?m)^attributes:\n", "attributes:\n  keep: 2\n", declared), encoding="utf-8")
        room = shutil.disk_usage(root).free - 200 * KILOBYTE
        with (root.parent / "voll").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, room)
        said = Quiet()
        code = run_nightly(root, said, NOW + 6 * DAY)
        text = "\n".join(said.lines)
        left = sorted(p.name for p in paths.releases.iterdir() if RELEASE_ID.fullmatch(p.name))
        assert not set(before[:4]) & set(left), text
        assert {in_force, compared} & set(left), text
        assert text.index("Alte Veröffentlichung entfernt") < text.index("Schritt 1 von 5")
        assert code == 0, text


@needs_mounts
def test_read_only_disk_and_read_only_folders_end_in_words(tmp_path: Path) -> None:
    root = tmp_path / "Platte" / "Stadt"
    with small_disk(root.parent, "64m") as remount:
        create_project(root, Quiet())
        run_night(root)
        vary(root, 121)
        before = in_force(root)
        remount("ro")
        said = Quiet()
        assert run_nightly(root, said) == 1
        remount("rw")
        assert "ist nur lesbar" in "\n".join(said.lines)
        for name in ("history", "warehouse", "releases", "state", "state/history"):
            folder = root / "data" / name
            subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
            said = Quiet()
            try:
                code = run_nightly(root, said)
            finally:
                subprocess.run(["umount", str(folder)], check=True)
            text = "\n".join(said.lines)
            assert code == 1, (name, text)
            assert "Postgres" not in text and "dagster.yaml" not in text, (name, text)
            assert f"data/{name}" in text and "ist nur lesbar" in text and "Errno" not in text, (name, text)
            assert in_force(root) == before, name
        assert run_night(root).publication.new  # type: ignore[union-attr]


WITHOUT_RIGHTS = """
import os, sys
from pathlib import Path
from pipelines.nightly import run_nightly
from pipelines.progress import Voice
os.setgid(65534); os.setuid(65534)
sys.exit(run_nightly(Path(sys.argv[1]), Voice()))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_user_without_rights_is_told_which_folder(after_a_night: Path, tmp_path: Path) -> None:
    root = tmp_path / "Stadt"
    shutil.copytree(after_a_night, root, symlinks=True)
    for folder in (tmp_path, *tmp_path.parents[:3]):  # pytest closes its folders to others
        os.chmod(folder, 0o755)
    before = in_force(root)
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS, str(root)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1, run.stderr
    assert "keine Berechtigung für den Benutzer" in run.stderr
    assert "data/state" in run.stderr
    assert "Errno" not in run.stderr and "Traceback" not in run.stderr
    assert in_force(root) == before


def test_warning_before_a_night_that_will_hardly_fit(after_a_night: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths.of(after_a_night)
    used = sum(p.stat().st_size for p in paths.current.rglob("*") if p.is_file())
    needed = 2 * used + paths.internal_mart.stat().st_size
    usage = shutil.disk_usage(after_a_night)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed))
    assert faults.scarce(paths) is None
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    assert str(faults.scarce(paths)).startswith("Warnung: auf ")


# ---------------------------------------------------------------- clock, left-overs


def test_clock_that_jumps_changes_neither_order_nor_figures(tmp_path: Path) -> None:
    """A year back and two forward: the newest delivery counts, whatever the dates say; ids go on counting."""
    root = tmp_path / "Stadt"
    create_project(root, Quiet())
    counters, values = [], []
    for number, moment in enumerate((NOW, NOW - 365 * DAY, NOW + 730 * DAY)):
        vary(root, 200 + number)
        night = run_night(root, moment)
        assert night.publication is not None
        counters.append(int(night.publication.release_id.rpartition("-")[2]))
        assert os.readlink(night.project.paths.current) == night.publication.release_id
        values.append(
            next(r[4] for r in shown(root) if r[:4] == ("arbeitslose", "insgesamt", "99999000-BZ-1", "2022-12-31"))
        )
    assert counters == [1, 2, 3]
    assert values == [200, 201, 202]


def test_temporary_folders_of_dead_processes_are_removed_after_a_day(tmp_path: Path) -> None:
    for name in ("pruefung-alt", "sozialraum-check-alt", "pruefung-neu", "fremd"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("x", encoding="utf-8")
    yesterday = time.time() - 2 * 86400
    for name in ("pruefung-alt", "sozialraum-check-alt", "fremd"):
        os.utime(tmp_path / name, (yesterday, yesterday))
    assert sorted(remove_old_scratch(tmp_path)) == ["pruefung-alt", "sozialraum-check-alt"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fremd", "pruefung-neu"]


def test_what_a_killed_run_left_anywhere_is_removed_by_the_next(after_a_night: Path, tmp_path: Path) -> None:
    root = tmp_path / "Stadt"
    shutil.copytree(after_a_night, root, symlinks=True)
    for name in ("history/deliveries", "warehouse/internal", "releases", "state"):
        (root / "data" / name / ".neu-rest").mkdir()
        (root / "data" / name / ".neu-rest" / "x").write_text("x", encoding="utf-8")
        (root / "data" / name / ".neu-datei").write_text("x", encoding="utf-8")
    said: list[str] = []
    Night.begin(root, said.append, NOW + 3 * DAY)
    release_locks()
    assert not list((root / "data").rglob(".neu-*"))
    assert len([text for text in said if "Rest eines abgebrochenen Laufs" in text]) == 8


def test_kill_between_two_files_of_one_night_settles_no_rejection(project: Path) -> None:
    """A good file that came together with a bad one does not hide it, also if the intake was killed in between."""
    night = half_night(project, NOW)
    put(project, text_of({("1", "31.12.2024"): (-7, 2000)}), "falsch.csv")
    history, source = History(night.project.paths), night.project.sources["beispiel"]
    history.receive(source, history.next_night(), NOW + DAY)  # killed before anything was decided
    put(project, text_of({(n, "31.12.2024"): (int(n), 2000) for n in "123"}), "neu.csv")
    state = half_night(project, NOW + 2 * DAY).states["beispiel"]
    assert [d.name for d in state.outstanding] == ["falsch.csv"]
    assert [d.name for d in state.in_force] == ["beispiel.csv", "neu.csv"]
