"""What was ever published counts: shown figures are known for good, a withheld one stays so while it is the same."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pytest

from pipelines import clearance
from pipelines.audit.facts import Leak
from pipelines.audit.release import Audit
from pipelines.clearance import Unsafe
from pipelines.disclosure.protection import Protection
from pipelines.files import quoted
from pipelines.ledger import KEY_VARIABLE, CellLedger, DamagedLedger, KeyProblem, key_file
from pipelines.paths import Paths
from tests.conftest import run_night, sozialraum
from tests.test_history import NOW, edit, put, release_locks
from tests.test_protection import city_office
from tests.town import MEN, WOMEN, deliver, district, public, topic, town, write_topic

DAY = dt.timedelta(days=1)
KEY = ("hilfen", "weiblich", district(2), "stichtag", dt.date(2022, 12, 31))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The town before its first delivery, with a key of its own."""
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "schluessel" / "ledger.key"))
    return town(tmp_path / "Stadt")


@pytest.fixture(scope="module")
def _begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("erste Nacht") / "Ort"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, str(place / "schluessel" / "ledger.key"))
        deliver(town(place / "Stadt"))
        night(place / "Stadt", 0)
    return place


@pytest.fixture
def begun(_begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the town after the night of its first delivery, and of its key."""
    shutil.copytree(_begun, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "schluessel" / "ledger.key"))
    return tmp_path / "Stadt"


def night(folder: Path, number: int) -> dict[tuple[str, str], float | None]:
    run_night(folder, NOW + number * DAY)
    return public(folder)


def changed(values: list[int], district_number: int, value: int) -> list[int]:
    return [value if n == district_number else v for n, v in enumerate(values, 1)]


# ---------------------------------------------------------------- stays what it was


def test_secondary_star_stays_when_its_reason_is_gone(begun: Path) -> None:
    first = public(begun)
    stars = {key for key, value in first.items() if value is None}
    assert len(stars) == 4  # women and men of districts 2 and 3
    # The 1 becomes 9, the 2 becomes 14: no small count is left; but the other two cells are what they were.
    deliver(begun, women=changed(WOMEN, 2, 9), men=changed(MEN, 3, 14), name="b.csv")
    second = night(begun, 1)
    unchanged = {("maennlich", district(2)), ("weiblich", district(3))}
    assert {key for key, value in second.items() if value is None} >= unchanged


def test_published_figure_is_not_withheld_afterwards(folder: Path) -> None:
    """It would help nobody: who kept the first release knows it. The second star goes elsewhere."""
    deliver(folder, women=changed(WOMEN, 2, 9), men=changed(MEN, 3, 14))  # nothing small
    first = night(folder, 0)
    assert None not in first.values()
    deliver(folder, men=changed(MEN, 3, 14), name="b.csv")  # now the women of district 2 are 1 instead of 9
    second = night(folder, 1)
    stars = {key for key, value in second.items() if value is None}
    assert ("weiblich", district(2)) in stars
    same = {key for key, value in first.items() if key[1] not in (district(2), "99999000-BE-1", "99999000")}
    assert not stars & same - {("weiblich", district(2))}


def test_small_correction_of_a_withheld_figure_keeps_it_withheld(begun: Path) -> None:
    """Shown as 3 after a star, with the note "one case more", it would have been 2."""
    deliver(begun, men=changed(MEN, 3, 3), women=changed(WOMEN, 2, 9), name="b.csv")
    assert night(begun, 1)["maennlich", district(3)] is None


@pytest.mark.parametrize("others", [{}, {"men": 20}, {"men": 20, "rest": 30}])
def test_withheld_figure_corrected_to_zero_is_shown_as_zero(begun: Path, others: dict[str, int]) -> None:
    """A star says "at least 1" where zeros are shown; whatever else changes, the night must not get stuck on it."""
    women, men = changed(WOMEN, 2, 0), MEN
    if "men" in others:
        men = changed(men, 2, others["men"])
    if "rest" in others:
        women, men = changed(women, 3, others["rest"]), changed(men, 3, others["rest"])
    deliver(begun, women=women, men=men, name="b.csv")
    assert night(begun, 1)["weiblich", district(2)] == 0


def test_stars_that_move_between_deliveries_give_nothing_away(folder: Path) -> None:
    """Districts 1 and 2 are starred by their office, a year later 1 and 3; the city's total is shown both times.

    Who kept the first release knows district 3 from it, takes district 2 from the second, and subtracts.
    """
    documents = topic(["bezirk", "bereich", "stadt"], {})
    documents[0]["attributes"]["symbols"] = {"*": "suppressed"}
    documents[2]["attributes"]["levels"] = {"bezirk": ["jugendamt"], "stadt": ["landesamt"]}
    write_topic(folder, [*documents, city_office(publication="internal")])
    women = [2, 9, 12, 9, 30, 8]
    put(folder, f"Bezirk;Zeit;frauen\nMusterstadt;31.12.2022;{sum(women)}\n", "amt.csv", "landesamt")
    shown: set[int] = set()
    for number, starred in enumerate(((1, 2), (1, 3))):
        rows = [f"Bezirk {n};31.12.2022;{'*' if n in starred else count};*;*\n" for n, count in enumerate(women, 1)]
        put(folder, "Bezirk;Zeit;weiblich;maennlich;insgesamt\n" + "".join(rows), f"{number}.csv", "jugendamt")
        figures = night(folder, number)
        assert figures["weiblich", "99999000"] == sum(women)
        shown |= {n for n in range(1, 7) if figures["weiblich", district(n)] is not None}
    assert 1 not in shown
    assert len(shown) <= 4  # one more than district 1 has never been shown
    assert CellLedger.open(Paths.of(folder)).supposed(("hilfen", "weiblich", district(3), *KEY[3:])) == 12


def test_stricter_threshold_later_protects_what_comes_and_stops_nothing(begun: Path) -> None:
    """Figures of 3 and 4 are out for good; the next release is protected by itself and says so."""
    edit(begun, lambda s: s.update(disclosure={"threshold": 10}), topic="hilfen")
    run = run_night(begun, NOW + DAY)
    assert run.publication is not None
    deliver(begun, day="31.12.2023", name="neu.csv")
    figures = run_night(begun, NOW + 2 * DAY)
    assert figures.publication is not None
    assert figures.publication.new


def test_release_that_is_safe_only_by_itself_tells_no_earlier_figures(begun: Path) -> None:
    """Otherwise a reader of this release alone could subtract among the figures of the one before."""
    edit(begun, lambda s: s.update(disclosure={"threshold": 10}), topic="hilfen")
    deliver(begun, women=changed(WOMEN, 5, 31), name="neu.csv")
    run = run_night(begun, NOW + DAY)
    assert run.protection is not None and run.protection.alone
    assert run.internal is not None and run.internal.rows["revision"] > 0
    assert run.public is not None and run.public.rows["revision"] == 0


def test_area_assigned_otherwise_without_dates_stops_nothing(begun: Path) -> None:
    path = begun / "assets/areas/memberships.csv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(f"{district(3)},99999000-BE-1", f"{district(3)},99999000-BE-2"), encoding="utf-8")
    second = night(begun, 1)
    assert second["insgesamt", "99999000-BE-1"] == 19  # 12 + 7
    assert second["weiblich", district(2)] is None


def test_total_that_takes_an_old_value_again_stops_nothing(folder: Path) -> None:
    deliver(folder, women=[3, 0, 12, 9, 30, 8])
    night(folder, 0)
    deliver(folder, women=[2, 1, 12, 9, 30, 8], name="b.csv")
    second = night(folder, 1)
    assert second["weiblich", district(1)] is second["weiblich", district(2)] is None


def test_same_figures_again_make_no_new_release_and_no_new_entry(begun: Path) -> None:
    deliver(begun, name="nochmal.csv")
    run_night(begun, NOW + DAY)
    assert len(list((Paths.of(begun).history / "veroeffentlicht").glob("*"))) == 1


def test_deleted_release_folders_do_not_blind_the_protection(begun: Path) -> None:
    stars = {key for key, value in public(begun).items() if value is None}
    shutil.rmtree(begun / "data/releases")
    shutil.rmtree(begun / "data/warehouse")
    deliver(begun, women=changed(WOMEN, 2, 9), men=changed(MEN, 3, 14), name="b.csv")
    again = night(begun, 1)
    assert {("maennlich", district(2)), ("weiblich", district(3))} <= {k for k in stars if again[k] is None}


def test_rebuilt_warehouse_gives_the_same_release(begun: Path) -> None:
    first = (begun / "data/releases/current/datapackage.json").read_text(encoding="utf-8")
    shutil.rmtree(begun / "data/warehouse")
    again = run_night(begun, NOW + DAY)
    assert again.publication
    assert f"sha256:{again.publication.content_hash}" == json.loads(first)["contentHash"]
    assert not again.publication.new


def test_two_releases_that_are_safe_each_can_be_unsafe_together(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A protector that forgets what it published is caught by the audit, which does not.

    With other costs the second star stands elsewhere; the first release still shows what the second one hides.
    """
    monkeypatch.setattr(CellLedger, "before", lambda *_: None)
    monkeypatch.setattr("pipelines.disclosure.problem.with_past", lambda task, *_: task)
    dear = {("maennlich", district(2)): 50.0, ("weiblich", district(3)): 50.0}  # the second stars of the first release
    monkeypatch.setattr(
        "pipelines.disclosure.problem.weights",
        lambda _, cells: np.array([dear.get(c.key[1:3], 0.5) for c in cells]),
    )
    deliver(begun, women=changed(WOMEN, 5, 31), name="b.csv")
    paths = Paths.of(begun)
    in_force = os.readlink(paths.current)
    with pytest.raises(Unsafe) as unsafe:
        run_night(begun, NOW + DAY)
    release_locks()
    assert {leak.kind for leak in unsafe.value.audit.leaks} <= {"errechenbar", "bedarf"}
    assert {leak.measure for leak in unsafe.value.audit.leaks} == {"hilfen"}
    assert os.readlink(paths.current) == in_force


def test_only_measures_already_given_away_are_conceded(folder: Path) -> None:
    """A measure whose name contains another's is not that measure."""
    given = Protection(folder, alone={"hilfe"})
    union = Audit([Leak("errechenbar", "Hilfen (hilfen), ...", "...", "hilfen")], 1, 1, 0, {})
    own = Audit([Leak("errechenbar", "Hilfe (hilfe), ...", "...", "hilfe")], 1, 1, 0, {})
    assert clearance._of_this_release(union, Audit([], 1, 1, 0, {}), given) == union.leaks
    assert clearance._of_this_release(own, Audit([], 1, 1, 0, {}), given) == []
    assert (
        clearance._of_this_release(own, own, given) == own.leaks
    )  # what this release tells by itself is never conceded


# ---------------------------------------------------------------- the ledger's files


def test_withheld_figures_stand_in_the_ledger_as_keyed_marks_only(begun: Path) -> None:
    figures = public(begun)
    file = next((Paths.of(begun).history / "veroeffentlicht").glob("*.parquet"))
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT category, area_id, status, value, mark "
            f"FROM read_parquet('{quoted(file)}') WHERE measure_id = 'hilfen'"
        ).fetchall()
    assert {(c, a) for c, a, status, *_ in rows if status == "withheld"} == {k for k, v in figures.items() if v is None}
    assert all(value is None and len(mark) == 64 for _, _, status, value, mark in rows if status == "withheld")
    assert {(c, a): v for c, a, status, v, _ in rows if status == "published"} == {
        k: v for k, v in figures.items() if v is not None
    }
    marks = {mark for *_, mark in rows}
    for secret in ("1.0", "1", "2.0", "2"):  # what anybody without the key would try
        for text in (secret, f"{'|'.join(map(str, KEY))}={secret}", f"hilfen|weiblich|{district(2)}|{secret}"):
            assert hashlib.sha256(text.encode()).hexdigest() not in marks


def test_key_is_made_outside_of_the_project_and_for_its_owner_only(begun: Path) -> None:
    file = key_file(Paths.of(begun))
    assert not file.is_relative_to(begun)
    assert file.stat().st_mode & 0o777 == 0o600
    secret = file.read_text(encoding="ascii").strip()
    for path in begun.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
            assert bytes.fromhex(secret) not in path.read_bytes(), path


@pytest.mark.parametrize("damage", ["missing", "other", "short", "readable by all", "inside"])
def test_trouble_with_the_key_stops_the_publication_and_says_what_to_do(
    begun: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths.of(begun)
    file, in_force = key_file(paths), os.readlink(paths.current)
    if damage == "missing":
        file.unlink()
    elif damage == "other":
        file.write_text("ab" * 32, encoding="ascii")
    elif damage == "short":
        file.write_text("ab", encoding="ascii")
    elif damage == "readable by all":
        file.chmod(0o644)
    else:
        monkeypatch.setenv(KEY_VARIABLE, str(begun / "data/history/ledger.key"))
    deliver(begun, women=changed(WOMEN, 5, 31), name="b.csv")
    with pytest.raises(KeyProblem, match=r"Schlüssel.*(Sicherung|chmod 600|außerhalb)"):
        run_night(begun, NOW + DAY)
    release_locks()
    assert os.readlink(paths.current) == in_force


def test_command_ends_with_1_and_words_when_the_key_is_missing(begun: Path) -> None:
    key_file(Paths.of(begun)).unlink()
    deliver(begun, women=changed(WOMEN, 5, 31), name="b.csv")
    run = sozialraum("nightly", "--project", begun)
    assert run.returncode == 1
    assert "aus der Sicherung holen" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr + run.stdout


def test_damaged_ledger_stops_the_publication(begun: Path) -> None:
    paths = Paths.of(begun)
    file, in_force = next((paths.history / "veroeffentlicht").glob("*.parquet")), os.readlink(paths.current)
    file.write_bytes(file.read_bytes()[:100])
    deliver(begun, women=changed(WOMEN, 5, 31), name="b.csv")
    with pytest.raises(DamagedLedger, match="aus der Sicherung"):
        run_night(begun, NOW + DAY)
    release_locks()
    assert os.readlink(paths.current) == in_force


def test_lost_key_that_is_declared_keeps_everything_withheld(begun: Path) -> None:
    stars = {key for key, value in public(begun).items() if value is None}
    paths = Paths.of(begun)
    lost = CellLedger.open(paths).key_id
    key_file(paths).unlink()
    entry = {"key_id": lost, "on": "2026-03-02", "by": "Datenteam", "reason": "Platte defekt, keine Sicherung"}
    edit(begun, lambda release: release.update(lost_keys=[entry]), topic="release", document="Release")
    deliver(begun, women=changed(WOMEN, 2, 9), men=changed(MEN, 3, 14), name="b.csv")
    again = night(begun, 1)
    assert stars <= {key for key, value in again.items() if value is None}  # also those that changed: nobody can tell
    with pytest.raises(KeyProblem, match="nicht"):
        CellLedger.open(paths)  # without the declaration it still stops


def test_ledger_is_written_before_the_release_can_be_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deliver(folder)

    def power_cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.release.publish.point_current", power_cut)
    with pytest.raises(KeyboardInterrupt):
        run_night(folder, NOW)
    release_locks()
    monkeypatch.undo()
    monkeypatch.setenv(KEY_VARIABLE, str(folder.parent / "schluessel" / "ledger.key"))
    assert len(CellLedger.open(Paths.of(folder)).releases) == 1
    assert None in night(folder, 1).values()
