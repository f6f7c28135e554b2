"""The archive can't be made again: whatever is missing or altered in it stops the night, until it is restored."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import gate
from pipelines.history import DamagedArchive, History
from pipelines.nightly import run_nightly
from pipelines.past.as_of import as_of
from pipelines.past.purge import purge
from pipelines.paths import Paths
from pipelines.published import PublishedLedger
from pipelines.status import examine
from tests.conftest import Quiet, create_project, run_night
from tests.test_check import second_source
from tests.test_history import FIRST, NOW, put, text_of
from tests.test_release import digests

DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources (constructed), of one of which two deliveries arrived; all is published."""
    root = tmp_path_factory.mktemp("archiv") / "Stadt"
    create_project(root, Quiet())
    second_source(root)
    put(root, text_of(FIRST))
    put(root, text_of(FIRST), "zweite.csv", "zweite")
    run_night(root, NOW)
    put(root, text_of(FIRST | {("1", "31.12.2022"): (121, 2400)}))
    assert run_nightly(root, Quiet(), NOW + DAY) in (0, 3)
    assert "beispiel-0002" in (PublishedLedger(Paths.of(root)).entries()[-1].deliveries or ())
    return root


@pytest.fixture
def copy(city: Path, tmp_path: Path) -> Path:
    root = tmp_path / "Stadt"
    shutil.copytree(city, root, symlinks=True)
    return root


def folder(root: Path, number: int, source: str = "beispiel") -> Path:
    (found,) = (root / "data/history/deliveries" / source).glob(f"{number:04d}-*")
    return found


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _twice(root: Path) -> None:
    shutil.copytree(folder(root, 1), folder(root, 1).with_name("0003-doppelt"))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "bytes gone": (lambda root: (folder(root, 1) / "bytes").unlink(), "die Bytes der Lieferung beispiel-0001"),
    "one bit of the bytes": (lambda root: _flip(folder(root, 2) / "bytes"), "die Bytes der Lieferung beispiel-0002"),
    "first folder": (lambda root: shutil.rmtree(folder(root, 1)), "es fehlen empfangene Lieferungen (beispiel-0001)"),
    "last folder": (lambda root: shutil.rmtree(folder(root, 2)), "es fehlen empfangene Lieferungen (beispiel-0002)"),
    "whole source": (
        lambda root: shutil.rmtree(folder(root, 1, "zweite").parent),
        "es fehlen empfangene Lieferungen (zweite-0001)",
    ),
    "receipt without a number": (
        lambda root: [(folder(root, 1) / "receipt.json").write_text('{"source": "beispiel"}')].clear(),
        "receipt.json fehlt oder ist nicht lesbar",
    ),
    "one number twice": (_twice, "gibt es eine Nummer zweimal"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_every_night_until_the_backup_is_back(copy: Path, tmp_path: Path, damage: str) -> None:
    """Readings are cached and the inbox still holds the files: without a look nobody would notice."""
    act, sentence = DAMAGES[damage]
    paths = Paths.of(copy)
    backup = tmp_path / "sicherung"
    shutil.copytree(paths.history, backup)
    released = digests(paths.releases)
    act(copy)
    damaged = digests(paths.history)
    for night in (2, 3):
        said = Quiet()
        assert run_nightly(copy, said, NOW + night * DAY) == 1
        text = "\n".join(said.lines)
        assert "FEHLGESCHLAGEN: Archiv beschädigt: " in text and sentence in text, text
        assert "bitte data/history aus der Sicherung wiederherstellen" in text
        assert digests(paths.history) == damaged, "nothing is received, no number is given again"
        assert digests(paths.releases) == released
        assert "archiv_beschaedigt" in {incident.kind for incident in examine(paths).incidents}
        assert examine(paths).code == 1
    shutil.rmtree(paths.history)
    shutil.copytree(backup, paths.history)
    assert run_nightly(copy, Quiet(), NOW + 4 * DAY) in (0, 3)
    assert digests(paths.releases) == released


def test_sources_that_are_no_longer_described_are_looked_at_too(copy: Path) -> None:
    shutil.rmtree(copy / "assets/zweite")
    History(Paths.of(copy)).verify()
    _flip(folder(copy, 1, "zweite") / "bytes")
    with pytest.raises(DamagedArchive, match="zweite-0001"):
        History(Paths.of(copy)).verify()


def test_gate_hashes_archived_bytes_and_judges_only_very_large_ones_by_size_and_time(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, file = Paths.of(copy), folder(copy, 1) / "bytes"
    part = "Archiv (data/history)"
    before, state = gate.take_fingerprint(paths)[part], file.stat()
    _flip(file)
    assert gate.take_fingerprint(paths)[part] != before, "same size"
    _flip(file)
    assert gate.take_fingerprint(paths)[part] == before, "another time, same content"
    monkeypatch.setattr(gate, "LARGE", state.st_size - 1)
    before = gate.take_fingerprint(paths)[part]
    file.touch()
    assert gate.take_fingerprint(paths)[part] != before


def test_as_of_verifies_what_it_uses(copy: Path) -> None:
    today = f"{NOW + DAY:%Y-%m-%d}"
    (release,) = [p.name for p in Paths.of(copy).releases.iterdir() if p.name.endswith("0002")]
    _flip(folder(copy, 2) / "bytes")
    for when in (today, release):
        said = Quiet()
        assert as_of(copy, when, said) == 1
        assert "die Bytes der Lieferung beispiel-0002" in said.lines[-1]
    assert as_of(copy, f"{NOW:%Y-%m-%d}", Quiet()) == 0, "the damaged one had not arrived"
    shutil.rmtree(folder(copy, 2))
    said = Quiet()
    assert as_of(copy, today, said) == 1
    assert "es fehlen empfangene Lieferungen (beispiel-0002)" in said.lines[-1]


def test_purge_says_that_a_delivery_is_missing_rather_than_that_there_never_was_one(copy: Path) -> None:
    shutil.rmtree(folder(copy, 2))
    said = Quiet()
    assert purge(copy, "beispiel-0002", "Namen", said) == 1
    assert "es fehlen empfangene Lieferungen (beispiel-0002)" in said.lines[0]
    assert "begonnen" not in "\n".join(said.lines)
    assert "abgebrochen" not in "\n".join(said.lines), "nothing was begun"


def test_what_was_purged_is_no_damage_and_comes_back_through_no_folder(copy: Path) -> None:
    content = (folder(copy, 2) / "bytes").read_bytes()
    path = copy / "assets/beispiel/defs.yaml"
    valid = path.read_text(encoding="utf-8")
    path.write_text(valid.replace("owner:", "ownr:", 1), encoding="utf-8")
    said = Quiet()
    assert purge(copy, "beispiel-0002", "Namen", said) == 0, "what the law demands waits for no YAML"
    assert "Welche Zahlen damit wegfallen, ist jetzt nicht zu sagen" in "\n".join(said.lines)
    assert not (folder(copy, 2) / "bytes").exists()
    path.write_text(valid, encoding="utf-8")
    for source in ("beispiel", "zweite"):
        (copy / f"data/raw/{source}/anders.csv").write_bytes(content)
    night = run_night(copy, NOW + 2 * DAY)
    assert [d.delivery_id for d in night.states["zweite"].deliveries] == ["zweite-0001"]
    assert [d.delivery_id for d in night.states["beispiel"].deliveries] == ["beispiel-0001", "beispiel-0002"]
    assert any("dieselben Bytes wie die gelöschte Lieferung beispiel-0002" in note for note in night.notes)
