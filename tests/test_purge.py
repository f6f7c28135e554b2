"""`sozialraum purge`: the bytes of a delivery and everything made of them go, the receipt stays; also after a kill."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pipelines.history import History
from pipelines.night import Night
from pipelines.past.as_of import as_of
from pipelines.past.purge import finish_purges, purge
from pipelines.past.withdraw import WITHDRAWN, withdraw
from pipelines.paths import Paths
from tests.conftest import ROOT, Quiet, create_project, run_night, sozialraum
from tests.test_check import BAD, judged, second_source
from tests.test_history import FIRST, NOW, edit, half_night, put, receipts, release_locks, text_of, unemployed

DAY = dt.timedelta(days=1)
ODD = (271829, 314159)
"""Figures that stand nowhere else."""
PLANTED = {**FIRST, ("1", "31.12.2022"): ODD, ("1", "31.12.2024"): (131, 2510)}
PLANTED |= {("2", "31.12.2024"): (290, 4010), ("3", "31.12.2024"): (47, 3010)}
NAME = "Zyxwvut"
SPELLED = [
    re.compile(rf"(?<![0-9a-f])(?:{n}|{n // 1000}[.,]{n % 1000})(?![0-9a-f])".encode())  # as in files and on pages
    for n in ODD
]
BINARY = [struct.pack("<d", number) for number in ODD] + [struct.pack("<i", number) for number in ODD]


def tables(file: Path) -> bytes:
    """All that stands in the tables of a DuckDB or Parquet file, as text."""
    with duckdb.connect() as con:
        if file.suffix == ".parquet":
            names = [f"read_parquet('{file}')"]
        else:
            con.execute(f"ATTACH '{file}' AS f (READ_ONLY)")
            found = con.execute("SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'f'")
            names = [f'f."{schema}"."{name}"' for schema, name in found.fetchall()]
        return "\n".join(str(row) for name in names for row in con.execute(f"FROM {name}").fetchall()).encode()


def places(root: Path) -> set[str]:
    """Folders below data/ in which a planted figure, or the name of whoever made the file, stands."""
    found = set()
    for path in (root / "data").rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        content = path.read_bytes()
        texts = [content, tables(path) if path.suffix in (".duckdb", ".parquet") else b""]
        planted = any(pattern.search(text) for pattern in SPELLED for text in texts)
        if planted or any(b in content for b in BINARY) or NAME.encode() in b"".join(texts):
            parts = path.relative_to(root / "data").parts[:-1]
            found.add("/".join(parts[:2]) if parts[0] != "releases" else "releases")
    return found


def planted_file(root: Path) -> Path:
    lines = text_of(PLANTED).splitlines()
    return put(root, f"{lines[0]};Bearbeitet von\n" + "".join(f"{line};{NAME}\n" for line in lines[1:]))


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two offices (constructed); the second file of the first one holds figures that must go."""
    root = tmp_path_factory.mktemp("loeschen") / "Stadt"
    create_project(root, Quiet())
    second_source(root)
    edit(root, lambda source: source["contract"].update(severity={"spalte_unbekannt": "warning"}))
    put(root, text_of(FIRST))
    put(root, text_of(FIRST), "zweite.csv", "zweite")
    half_night(root, NOW)
    planted_file(root)
    run_night(root, NOW + DAY)
    assert as_of(root, f"{NOW + DAY:%Y-%m-%d}", Quiet()) == 0
    return root


@pytest.fixture
def copy(city: Path, tmp_path: Path) -> Path:
    root = tmp_path / "Stadt"
    shutil.copytree(city, root, symlinks=True)
    return root


def purged(root: Path, delivery_id: str = "beispiel-0002", reason: str = "Namen in der Datei") -> tuple[int, str]:
    said = Quiet()
    code = purge(root, delivery_id, reason, said)
    return code, "\n".join(said.lines)


REMAIN = {"raw/beispiel", "releases", f"history/{WITHDRAWN}", "history/veroeffentlicht"}
"""Where a purge leaves figures: the inbox, what was published, and the note of what was published."""
AT_FIRST = {"raw/beispiel", "releases", "history/deliveries", "history/veroeffentlicht", "warehouse/internal"}
AT_FIRST |= {"warehouse/as-of", "warehouse/oeffentlich"}


def test_nothing_of_it_is_found_any_more_and_the_figures_before_count_again(copy: Path) -> None:
    assert places(copy) == AT_FIRST, "it stands where it is looked for"
    release_id = os.readlink(copy / "data/releases/current")
    assert withdraw(copy, release_id, "Namen in der Datei", Quiet()) == 0, "else revisions tell the figures again"
    run = sozialraum("purge", "beispiel-0002", "--reason", "Namen in der Datei", "--project", copy)
    assert run.returncode == 0, run.stderr
    assert "sie fallen weg:\n  beispiel: arbeitslose, bezirk: 2024-12-31\n" in run.stdout
    assert "beispiel: einwohner_15_64, bezirk: 2024-12-31" in run.stdout
    assert "2022" not in run.stdout.partition("fallen weg")[2].partition("Im Eingang")[0], "delivery 1 has 2022"
    assert "Im Eingang liegt die Datei noch, bitte löschen: data/raw/beispiel/beispiel.csv" in run.stdout
    assert f"auch im Verzeichnis des Veröffentlichten: {release_id} (zurückgezogen)\n" in run.stdout
    assert "Sicherungen" in run.stdout
    assert places(copy) <= REMAIN

    receipt = receipts(copy)[1]
    assert (receipt["purged"]["reason"], receipt["sequence"]) == ("Namen in der Datei", 2)
    assert receipt["decision"] == "accepted", "what was decided stays"
    shutil.copyfile(copy / "data/raw/beispiel/beispiel.csv", copy / "data/raw/beispiel/umbenannt.csv")
    night = run_night(copy, NOW + 2 * DAY)
    assert [d.delivery_id for d in night.states["beispiel"].deliveries] == ["beispiel-0001", "beispiel-0002"]
    assert [d.delivery_id for d in night.states["beispiel"].in_force] == ["beispiel-0001"]
    assert unemployed(night) == {key: None if u == "*" else u for key, (u, _) in _by_year().items()}
    assert night.exit_code == 0, "nothing contradicts the other office any more, and nothing is lost or outstanding"
    assert any("im Eingang liegt noch die gelöschte Lieferung beispiel-0002" in note for note in night.notes)
    assert places(copy) == REMAIN - {"releases"}
    with duckdb.connect(str(copy / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM mart.observation WHERE period = '2024-12-31'").fetchall() == [(0,)]

    case = judged(copy, copy / "data/raw/beispiel/beispiel.csv")
    assert case.delivery_id == "beispiel-0003", "check judges it by itself, in a archive with a gap"
    said = sozialraum("check", copy / "data/raw/beispiel/beispiel.csv", "--source", "beispiel", "--project", copy)
    assert "Lieferung beispiel-0002 ist gelöscht (Namen in der Datei)" in said.stdout
    assert "gelöscht: beispiel-0002" in sozialraum("catalogue", "--project", copy).stdout
    answer = Quiet()
    assert as_of(copy, release_id, answer) == 2
    assert "lässt sich nicht mehr nachbauen, gelöscht sind: beispiel-0002" in answer.lines[-1]
    assert as_of(copy, f"{NOW + DAY:%Y-%m-%d}", answer) == 0
    assert places(copy) <= REMAIN


def _by_year() -> dict[tuple[str, str], tuple[int | str, int | str]]:
    return {(number, date[-4:]): cells for (number, date), cells in FIRST.items()}


def test_wrong_calls_change_nothing(copy: Path) -> None:
    code, said = purged(copy, "beispiel-002")
    assert (code, said) == (2, "Die Lieferung »beispiel-002« gibt es nicht; meinten Sie »beispiel-0002«?")
    assert purged(copy, reason=" ")[0] == 2
    assert sozialraum("purge", "beispiel-0002", "--project", copy).returncode == 2, "a reason is needed"
    assert all("purged" not in receipt for receipt in receipts(copy))
    assert purged(copy)[0] == 0
    code, said = purged(copy, reason="noch einmal")
    assert (code, "Grund: Namen in der Datei" in said) == (0, True)


def test_a_rejected_delivery_that_is_purged_waits_for_nobody(copy: Path) -> None:
    put(copy, text_of(BAD))
    state = half_night(copy, NOW + 2 * DAY).states["beispiel"]
    assert [d.delivery_id for d in state.outstanding] == ["beispiel-0003"]
    code, said = purged(copy, "beispiel-0003")
    assert (code, "war nicht in Kraft; keine Zahl ändert sich" in said) == (0, True)
    state = half_night(copy, NOW + 3 * DAY).states["beispiel"]
    assert state.outstanding == []
    assert not list((copy / "data/warehouse/internal/rueckmeldungen").glob("beispiel-0003*"))
    assert put(copy, text_of({**FIRST, ("1", "31.12.2023"): (111, 2500)})).exists()
    (new,) = half_night(copy, NOW + 4 * DAY).states["beispiel"].new
    assert new.delivery_id == "beispiel-0004", "the number stays used"


KILLED = """
import os, sys
from pathlib import Path
from pipelines.past.purge import purge
from pipelines.progress import Voice
left = int(sys.argv[2])
root = sys.argv[1] + "/data/"
CHANGES = {"os.rename", "os.remove", "os.rmdir"}  # those of a tree that is removed come with bare names
def watch(event, arguments):
    global left
    if event in CHANGES and (str(arguments[0]).startswith(root) or not os.path.isabs(arguments[0])):
        if left == 0:
            os._exit(9)
        left -= 1
sys.addaudithook(watch)
code = purge(Path(sys.argv[1]), "beispiel-0002", "x", Voice())
print("STEPS", int(sys.argv[2]) - left)
os._exit(code)
"""


def killed(root: Path, after: int) -> tuple[int, str]:
    """Purge in a process that dies right before a change of the file system."""
    command = [sys.executable, "-c", KILLED, str(root), str(after)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    return run.returncode, run.stdout


def test_a_kill_at_any_step_is_made_good(copy: Path, tmp_path: Path) -> None:
    before = tmp_path / "vorher"
    shutil.copytree(copy, before, symlinks=True)
    code, said = killed(copy, 10**6)
    assert code == 0
    steps = int(said.rsplit(maxsplit=1)[1])
    assert steps > 10, "receipt, caches, bytes"
    everything = os.environ.get("SOAK") == "1"
    for moment in range(steps) if everything else [*range(0, steps, max(1, steps // 10)), steps - 1]:
        shutil.rmtree(copy)
        shutil.copytree(before, copy, symlinks=True)
        assert killed(copy, moment)[0] == 9
        paths = Paths.of(copy)
        delivery = History(paths).deliveries("beispiel")[1]
        noted = delivery.purged is not None
        assert noted or delivery.file.exists(), "noted first"
        Night.begin(copy, lambda text: None, NOW)
        release_locks()
        assert delivery.file.exists() == (not noted)
        if noted:
            assert places(copy) <= REMAIN, moment
            assert finish_purges(paths) == []
        else:
            delivery.verify()


def test_receipts_without_the_note_are_as_before(city: Path) -> None:
    note = json.loads(next((city / "data/history/deliveries/beispiel").glob("0001-*/receipt.json")).read_text())
    assert "purged" not in note
