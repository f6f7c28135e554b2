"""Projects for tests: the template of `sozialraum init` in a temporary folder."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import init, lock
from pipelines.exit_codes import EXIT_OK
from pipelines.ledger import KEY_VARIABLE
from pipelines.night import Night
from pipelines.progress import Voice

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
COMMAND = Path(sys.executable).with_name("sozialraum")


class Quiet(Voice):
    """Collects what a run says instead of printing it."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    warn = error = say


def create_project(folder: Path, voice: Voice) -> int:
    """What `sozialraum init` makes, without the pages for planners: most tests are not about them."""
    code = init.create_project(folder, voice)
    if code == EXIT_OK:
        with (folder / "assets/release/defs.yaml").open("a", encoding="utf-8") as file:
            file.write("  report: {written: false}\n")
    return code


@pytest.fixture(scope="session", autouse=True)
def _key_of_the_ledger(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test writes into the home folder of whoever runs it."""
    os.environ[KEY_VARIABLE] = str(tmp_path_factory.mktemp("schluessel") / "ledger.key")


@pytest.fixture
def shared() -> Path:
    """Reference data beside the checkout; absent on most machines, never absent in CI."""
    if not SHARED.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have the reference data beside the checkout")
        pytest.skip("reference data (../shared) is not on this machine")
    return SHARED


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A fresh project folder; blanks and umlauts in its path on purpose."""
    folder = tmp_path / "Büro Süd" / "Muster Stadt"
    assert create_project(folder, Quiet()) == EXIT_OK
    return folder


FIRST_NIGHT = dt.datetime(2026, 3, 2, 4, 0, tzinfo=dt.UTC)


@pytest.fixture(scope="session")
def _published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("erste Nacht") / "Stadt"
    assert create_project(root, Quiet()) == EXIT_OK
    run_night(root, FIRST_NIGHT)
    return root


@pytest.fixture
def published(_published: Path, tmp_path: Path) -> Path:
    """A copy of a project after its first night: what `project` is after `run_night(project, FIRST_NIGHT)`."""
    return Path(shutil.copytree(_published, tmp_path / "Büro Süd" / "Muster Stadt", symlinks=True))


def run_night(root: Path, now: dt.datetime | None = None) -> Night:
    """One night without Dagster: the same steps in the same order."""
    said: list[str] = []
    night = Night.begin(root, said.append, now)
    try:
        night.intake()
        night.build()
        night.protect()
        night.report()
        night.publish()
    finally:
        lock.take(night.project.paths.lock_file).release()
        for held in list(lock._HELD.values()):
            held.release()
    night.said = said  # type: ignore[attr-defined]
    return night


def sozialraum(*arguments: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """The real command, as a user would call it."""
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False
    )
