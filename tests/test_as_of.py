"""`sozialraum as-of`: the state of a day under today's rules, and a release remade exactly, through git."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from pipelines import lock
from pipelines.history import Delivery
from pipelines.night import Night
from pipelines.past.as_of import as_of, known_at
from pipelines.paths import Paths
from tests.conftest import ROOT, Quiet, create_project, run_night, sozialraum
from tests.test_check import BAD, second_source, state_of
from tests.test_history import FIRST, HEADER, edit, half_night, put, receipts, release_locks, text_of

DAYS = [dt.datetime(2026, 3, day, 4, 0, tzinfo=dt.UTC) for day in (2, 5, 9, 12)]
CORRECTED = {**FIRST, ("1", "31.12.2022"): (130, 2400)}


def city(root: Path) -> Path:
    """A project with two offices that must agree, the inbox empty (constructed)."""
    create_project(root, Quiet())
    second_source(root)
    (root / "data/raw/beispiel/beispiel.csv").unlink()
    return root


def first_night(root: Path) -> None:
    put(root, text_of(FIRST))
    half_night(root, DAYS[0])


def second_delivery(root: Path) -> None:
    put(root, text_of(FIRST), "zweite.csv", "zweite")


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Night]:
    """Four nights: first figures; the other office; a correction that contradicts it; a rejected file."""
    root = city(tmp_path_factory.mktemp("jahre") / "Stadt")
    first_night(root)
    second_delivery(root)
    half_night(root, DAYS[1])
    put(root, text_of(CORRECTED))
    half_night(root, DAYS[2])
    put(root, text_of(BAD))
    return root, run_night(root, DAYS[3])


def rebuilt(root: Path, when: str) -> tuple[int, str]:
    said = Quiet()
    code = as_of(root, when, said)
    return code, "\n".join(said.lines)


def altstadt(file: Path) -> float:
    """Unemployed in Altstadt at the end of 2022."""
    with duckdb.connect(str(file), read_only=True) as con:
        row = con.execute(
            "SELECT value FROM mart.observation WHERE measure_id = 'arbeitslose' AND period = '2022-12-31' "
            "AND area_id LIKE '%-1' AND area_level = 'bezirk'"
        ).fetchone()
    assert row is not None
    return float(row[0])


def test_a_day_is_what_a_city_would_have_that_knew_no_more(years: tuple[Path, Night], tmp_path: Path) -> None:
    root, _ = years
    twin = city(tmp_path / "Zwilling")
    first_night(twin)
    second_delivery(twin)
    night = run_night(twin, DAYS[1])
    assert night.internal is not None
    everything = {
        k: v for k, v in state_of(root / "data").items() if "/state" not in k and not k.endswith("/warehouse")
    }
    lock.take(Paths.of(root).lock_file)  # a night is active
    try:
        code, said = rebuilt(root, "2026-03-08")
    finally:
        release_locks()
    assert code == 0
    assert night.internal.content_hash in said
    file = root / "data/warehouse/as-of/2026-03-08/internal.duckdb"
    assert (altstadt(file), altstadt(root / "data/warehouse/internal/internal.duckdb")) == (120, 130)
    assert "Anders als heute: 2 Indikatorwerte (0 davon fehlten" in said, "Altstadt and the city, end of 2022"
    after = {k: v for k, v in state_of(root / "data").items() if k in everything or "/as-of" not in k}
    after = {k: v for k, v in after.items() if "/state" not in k and not k.endswith("/warehouse")}
    assert after == everything, "nothing but as-of is touched"
    for folder in (file.parent, file.parent.parent):
        assert folder.stat().st_mode & 0o077 == 0, "true values"
    assert not list(file.parent.parent.rglob(".neu-*"))


def test_what_was_accepted_stays_accepted_and_today_is_today(years: tuple[Path, Night]) -> None:
    root, night = years
    assert night.internal is not None
    code, said = rebuilt(root, "2026-03-12")
    assert code == 0
    assert f"Inhalts: {night.internal.content_hash}" in said
    assert "In Kraft: beispiel-0001, beispiel-0002, zweite-0001\n" in said, "zweite came before it was contradicted"
    assert "zurückgewiesen: beispiel-0003" in said
    assert "Anders als heute: 0 " in said
    real = {
        f"{r['source']}-{r['sequence']:04d}": r["decision"] for s in ("beispiel", "zweite") for r in receipts(root, s)
    }
    assert real == {
        "beispiel-0001": "accepted",
        "beispiel-0002": "accepted",
        "beispiel-0003": "rejected",
        "zweite-0001": "accepted",
    }


def test_todays_retractions_and_corrections_apply_to_the_past(years: tuple[Path, Night], tmp_path: Path) -> None:
    root = tmp_path / "Stadt"
    shutil.copytree(years[0], root, symlinks=True)
    entry = {"delivery": "beispiel-0002", "reason": "falsche Datei", "on": "2026-03-20", "by": "team:a"}
    fix = {"delivery": "beispiel-0001", "line": 2, "column": "Arbeitslose", "expected": "120", "value": "125"}
    fix |= {"reason": "Zahlendreher", "reported_on": "2026-03-20", "status": "confirmed"}
    edit(root, lambda source: source.update(retracted=[entry], corrections=[fix]))
    code, said = rebuilt(root, "2026-03-10")
    assert code == 0
    assert "In Kraft: beispiel-0001" in said
    assert "beispiel-0002" not in said
    assert altstadt(root / "data/warehouse/as-of/2026-03-10/internal.duckdb") == 125


def delivery(night: int, day: str) -> Delivery:
    return Delivery("amt", night, "0", "a.csv", f"{day}T03:00:00+00:00", night, Path("x"))


def test_a_clock_that_was_set_back_makes_no_night_earlier_than_those_before() -> None:
    nights = [
        delivery(1, "2026-03-02"),
        delivery(2, "2026-03-09"),
        delivery(3, "2026-03-04"),
        delivery(4, "2026-03-10"),
    ]

    def known(day: str) -> list[int]:
        return [d.seq for d in known_at(reversed(nights), dt.date.fromisoformat(day))]

    assert [known(f"2026-03-{day}") for day in ("01", "02", "04", "08", "09", "10")] == [
        [],
        [1],
        [1],
        [1],
        [1, 2, 3],
        [1, 2, 3, 4],
    ]


def test_a_wrong_day_or_release_is_named(years: tuple[Path, Night]) -> None:
    root, night = years
    code, said = rebuilt(root, "2026-02-30")
    assert (code, said.startswith("»2026-02-30« ist kein Tag und keine Veröffentlichung; erwartet wird")) == (2, True)
    assert "die erste kam am 2026-03-02" in rebuilt(root, "2026-03-01")[1]
    code, said = rebuilt(root, f"{dt.datetime.now(dt.UTC) + dt.timedelta(days=3):%Y-%m-%d}")
    assert (code, "Zukunft" in said) == (2, True)
    code, said = rebuilt(root, f"{night.release_id[:-4]}0009")
    assert (code, f"meinten Sie »{night.release_id}«?" in said) == (2, True)
    run = sozialraum("as-of", "morgen", "--project", root)
    assert (run.returncode, "»morgen« ist kein Tag" in run.stderr) == (2, True)


def test_two_rebuildings_at_once_do_not_disturb_each_other(years: tuple[Path, Night]) -> None:
    root, _ = years
    code = "import sys, pathlib; from pipelines import lock; lock.take(pathlib.Path(sys.argv[1])); print(1); input()"
    place = root / "data/state/as-of.lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, place], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert rebuilt(root, "2026-03-12")[0] == 5
        other.communicate("\n")


# ---------------------------------------------------------------- a release, through git

NIGHT = """
import sys
from pipelines.night import Night
night = Night.begin(sys.argv[1], lambda text: None)
night.intake()
night.build()
night.protect()
print(night.publish().release_id)
"""


def git(repo: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    run = subprocess.run(["git", "-C", str(repo), *who, *arguments], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def python(repo: Path, code: str, *arguments: str | Path) -> str:
    """Code with the program of a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(repo), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=repo, env=environment, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small city whose description and program lie in one git repository (constructed)."""
    repo = tmp_path_factory.mktemp("git") / "stadt"
    create_project(repo, Quiet())
    for name in ("pipelines", "schemas"):
        shutil.copytree(ROOT / name, repo / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", ".gitignore"):
        shutil.copyfile(ROOT / name, repo / name)
    git(repo, "init", "-q")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "one")
    return repo


def commit(repo: Path, message: str) -> str:
    git(repo, "commit", "-q", "-a", "-m", message)
    return git(repo, "rev-parse", "HEAD")


def shown(source: dict[str, object]) -> None:
    """All figures become public: what the first release withheld stands openly in the second."""
    source.update(publication="public_elsewhere", address="https://example.org/zahlen")


@pytest.fixture(scope="module")
def two_releases(checkout: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """The repository, ids of two releases, and the commits they were made with."""
    put(checkout, text_of({**FIRST, ("3", "31.12.2023"): (2, 2900)}))
    commits = [git(checkout, "rev-parse", "HEAD")]
    releases = [python(checkout, NIGHT, checkout)]
    edit(checkout, shown)
    formula = checkout / "assets/marts/area/area.sql"
    formula.write_text(formula.read_text(encoding="utf-8").replace(" name,", " upper(name) AS name,"), encoding="utf-8")
    commits.append(commit(checkout, "two"))
    put(checkout, text_of({**CORRECTED, ("3", "31.12.2023"): (2, 2900)}))
    releases.append(python(checkout, NIGHT, checkout))
    yield checkout, releases, commits


def test_a_release_is_remade_exactly_with_its_commit(two_releases: tuple[Path, list[str], list[str]]) -> None:
    repo, (first, second), commits = two_releases
    notes = json.loads((repo / "data/history/veroeffentlichungen.json").read_text(encoding="utf-8"))
    assert [note["release_id"] for note in notes] == [first, second]
    assert [note["commit"] for note in notes] == commits
    assert notes[0]["content_hash"] != notes[1]["content_hash"]

    environment = {**os.environ, "PYTHONPATH": str(repo)}
    command = str(Path(sys.executable).with_name("sozialraum"))
    today = subprocess.run([command, "as-of", first], cwd=repo, env=environment, capture_output=True, text=True)
    assert today.returncode == 3, today.stdout + today.stderr
    assert f"Programm: damals {commits[0]}, hier {commits[1]}" in today.stderr
    assert "Beschreibung (assets): damals" in today.stderr
    assert f"Inhalt: damals {notes[0]['content_hash']}, jetzt " in today.stderr

    steps = today.stderr.partition("So geht es")[2].partition(":")[2].partition("Liegt assets/")[0]
    assert f"git worktree add ../damals {commits[0]}" in steps
    told = subprocess.run(["bash", "-ec", steps], cwd=repo, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{first} nachgebaut: Inhalt gleich ({notes[0]['content_hash']})" in told.stdout
    then = repo.with_name("damals") / "data/warehouse/as-of" / first
    with duckdb.connect(str(then / "sozialraum.duckdb"), read_only=True) as con:
        row = con.execute(
            "SELECT value, is_suppressed, (SELECT name FROM mart.area WHERE area_id LIKE '%-3') FROM mart.observation "
            "WHERE measure_id = 'arbeitslose' AND period = '2023-12-31' AND area_id LIKE '%-3'"
        ).fetchone()
    assert row == (None, True, "Südhang"), "withheld then, with the name as it was written then"


VERSION = "from pipelines.night import commit_of_program; print(commit_of_program())"


def test_version_of_a_changed_program_says_so(checkout: Path, tmp_path: Path) -> None:
    head = git(checkout, "rev-parse", "HEAD")
    assert python(checkout, VERSION) == head
    code = checkout / "pipelines/__init__.py"
    before = code.read_text(encoding="utf-8")
    code.write_text(before + "\n# changed on the machine\n", encoding="utf-8")
    try:
        assert python(checkout, VERSION) == f"{head}-geaendert"
        put(checkout, text_of({**FIRST, ("1", "31.12.2022"): (126, 2400)}))
        release_id = python(checkout, NIGHT, checkout)  # the audit knows this form too
        with duckdb.connect(str(checkout / "data/releases" / release_id / "sozialraum.duckdb"), read_only=True) as con:
            assert con.execute('SELECT "commit" FROM meta.release').fetchall() == [(f"{head}-geaendert",)]
    finally:
        code.write_text(before, encoding="utf-8")
    (checkout / "data/raw/beispiel/neu.csv").write_text(HEADER, encoding="utf-8")
    assert python(checkout, VERSION) == head, "deliveries are no part of the program"
    (checkout / "data/raw/beispiel/neu.csv").unlink()
    installed = checkout / ".venv/lib"
    installed.mkdir(parents=True)
    for name in ("pipelines", "schemas"):
        shutil.copytree(checkout / name, installed / name)
    assert python(installed, VERSION) == "unbekannt", "a copy in an ignored folder is not the code of that commit"
