"""The backup and its drill: the very commands of docs/sicherung.md on a constructed town with small counts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.exit_codes import EXIT_BUSY, EXIT_FAILED, EXIT_OK
from pipelines.files import read_json
from pipelines.paths import Paths
from pipelines.published import PublishedLedger
from tests.conftest import COMMAND, ROOT, sozialraum
from tests.town import MEN, RESIDENTS, WOMEN, deliver, town

BACK_UP, KEEP_KEY, UNPACK, GET_KEY, RUN = re.findall(
    r"^```sh\n(.*?)^```", (ROOT / "docs/sicherung.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


@dataclass
class Drill:
    """A project with its backups, and what it had published when the first one was made."""

    paths: Paths
    backups: Path
    safe: Path
    key: Path
    published: dict[str, Any]

    def run(self, commands: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Commands of the page, stopping at the first that fails."""
        environment = {
            **os.environ,
            "PATH": f"{COMMAND.parent}{os.pathsep}{os.environ['PATH']}",
            "PROJEKT": str(self.paths.root),
            "SICHERUNG": str(self.backups),
            "TRESOR": str(self.safe),
            "SOZIALRAUM_SCHLUESSEL": str(self.key),
            **more,
        }
        return subprocess.run(["bash", "-euc", commands], env=environment, capture_output=True, text=True, check=False)

    @property
    def newest(self) -> str:
        """Name of the newest backup."""
        return max(path.stem for path in self.backups.glob("*.sha256"))


def content(paths: Paths) -> dict[str, Any]:
    """What is public: hash and every cell with its state."""
    with duckdb.connect(str(paths.public_mart), read_only=True) as con:
        # Days of receipt and delivery ids are in the receipts, so they must come back as well.
        cells = con.execute("SELECT * FROM mart.observation ORDER BY ALL").fetchall()
    return {"hash": read_json(paths.current / "datapackage.json")["contentHash"], "cells": cells}


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Drill:
    folder = tmp_path_factory.mktemp("uebung")
    root = town(folder / "Büro Süd")
    for name in ("sicherung", "tresor"):
        (folder / name).mkdir()
    key = Path(os.environ["SOZIALRAUM_SCHLUESSEL"]).with_name("uebung.key")
    deliver(root)
    made = Drill(Paths.of(root), folder / "sicherung", folder / "tresor", key, {})
    night = made.run(f'"{COMMAND}" nightly --project "$PROJEKT"')
    assert night.returncode == EXIT_OK, night.stdout + night.stderr
    made.published = content(made.paths)
    assert any(None in row for row in made.published["cells"]), "nothing is withheld: the drill would prove little"
    for commands in (BACK_UP, KEEP_KEY):
        run = made.run(commands)
        assert run.returncode == 0, run.stderr
    return made


def test_backup_holds_what_cannot_be_made_anew_and_neither_key_nor_true_marts(drill: Drill) -> None:
    archive = drill.backups / f"{drill.newest}.tar.gz"
    names = subprocess.run(["tar", "--list", "-f", str(archive)], capture_output=True, text=True, check=True).stdout
    assert "data/history/veroeffentlichungen.json" in names
    assert "data/history/deliveries/jugendamt/" in names
    assert not re.search(r"\.key|data/warehouse|data/state|data/releases", names)
    assert archive.stat().st_mode & 0o077 == 0


def test_night_that_begins_meanwhile_leaves_and_the_backup_waits_for_a_night(drill: Drill, tmp_path: Path) -> None:
    """`flock` of the page and the lock of the program are the same lock."""
    slow = f'flock "{drill.paths.lock_file}" "{COMMAND}" nightly --project "$PROJEKT"'
    assert drill.run(slow).returncode == EXIT_BUSY
    held = subprocess.Popen(["flock", str(drill.paths.lock_file), "cat"], stdin=subprocess.PIPE)
    try:
        while subprocess.run(["flock", "-n", str(drill.paths.lock_file), "true"], check=False).returncode == 0:
            assert held.poll() is None
        impatient = BACK_UP.replace("--wait 3600", "--wait 0")
        run = drill.run(impatient, SICHERUNG=str(tmp_path))
    finally:
        held.communicate()
    assert run.returncode != 0
    assert not list(tmp_path.glob("*.tar.gz"))


def test_restored_project_publishes_the_same_and_knows_what_it_published(drill: Drill, tmp_path: Path) -> None:
    ids = PublishedLedger(drill.paths).ids()
    empty = Drill(Paths.of(tmp_path / "neu"), drill.backups, drill.safe, tmp_path / "ort" / "ledger.key", {})
    for commands in (UNPACK, GET_KEY, RUN):
        run = empty.run(commands, STAND=drill.newest)
        assert run.returncode == 0, run.stdout + run.stderr
    assert content(empty.paths) == drill.published
    after = PublishedLedger(empty.paths).ids()
    assert after[: len(ids)] == ids
    assert len(set(after)) == len(after) == len(ids) + 1  # published again, under a number of its own
    assert empty.paths.history.stat().st_mode & 0o077 == 0


def test_without_the_key_nothing_is_published_and_no_new_one_is_made(drill: Drill, tmp_path: Path) -> None:
    empty = Drill(Paths.of(tmp_path / "neu"), drill.backups, drill.safe, tmp_path / "ort" / "ledger.key", {})
    assert empty.run(UNPACK, STAND=drill.newest).returncode == 0
    run = empty.run(RUN)
    assert run.returncode == EXIT_FAILED
    assert "Der Schlüssel, mit dem das Verzeichnis des Veröffentlichten geschrieben wurde" in run.stderr
    assert f"ist nicht da: {empty.key}" in run.stderr
    assert "Traceback" not in run.stderr
    assert not empty.key.exists()
    assert not empty.paths.current.exists()


def test_damaged_backup_is_not_unpacked(drill: Drill, tmp_path: Path) -> None:
    for path in drill.backups.iterdir():
        shutil.copy(path, tmp_path / path.name)
    with (tmp_path / f"{drill.newest}.tar.gz").open("r+b") as file:
        file.seek(200)
        file.write(b"\0\0\0\0")
    run = drill.run(UNPACK, STAND=drill.newest, SICHERUNG=str(tmp_path), PROJEKT=str(tmp_path / "neu"))
    assert run.returncode != 0
    assert not (tmp_path / "neu").exists()


def test_backup_older_than_the_last_release_stops_the_night(drill: Drill) -> None:
    """Last test of this file: it changes the project."""
    deliver(drill.paths.root, [WOMEN[0] + 1, *WOMEN[1:]], MEN, RESIDENTS, name="spaeter.csv")
    night = drill.run(f'"{COMMAND}" nightly --project "$PROJEKT"')
    assert night.returncode == EXIT_OK, night.stdout + night.stderr
    second = os.readlink(drill.paths.current)
    shutil.rmtree(drill.paths.history)
    assert drill.run(UNPACK, STAND=drill.newest).returncode == 0
    run = drill.run(RUN)
    assert run.returncode == EXIT_FAILED
    assert "ist älter als die Veröffentlichungen" in run.stderr
    assert second in run.stderr
    assert os.readlink(drill.paths.current) == second
    assert sozialraum("status", "--project", drill.paths.root).returncode == EXIT_FAILED
    # The way out of the page archiv_veraltet: the release is put aside by hand.
    shutil.move(drill.paths.releases / second, drill.backups / second)
    assert drill.run(f'"{COMMAND}" nightly --project "$PROJEKT"').returncode == EXIT_OK
    assert len(PublishedLedger(drill.paths).ids()) == 2
