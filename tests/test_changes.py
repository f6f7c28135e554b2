"""What changed between two releases, and the night that stops before an implausible mass change."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.changes.command import print_changes
from pipelines.changes.compare import Incomparable, compare
from pipelines.changes.mass import implausible, is_moved
from pipelines.marts.models import Models
from pipelines.night import Night
from pipelines.paths import Paths
from pipelines.project import load_project
from pipelines.published import PublishedLedger
from schemas.documents import MassChange
from schemas.yaml_source import parse
from tests.conftest import Quiet, run_night, sozialraum
from tests.test_history import NOW, edit, put, release_locks
from tests.test_marts import indicator
from tests.test_revision import BASE, DAY, changed, persons_helped, release_of
from tests.town import CITY, LEVELS, MEN, RESIDENTS, WOMEN, deliver, topic, town, write_topic

YEARS = range(2016, 2023)
KEY = ["indicator_id", "area_id", "period_type", "reference_date"]
Counts = dict[tuple[int, int], tuple[int, int, int]]
"""(district, year) -> women, men, residents."""

# ---------------------------------------------------------------- a town with 126 values, all shown


def counts() -> Counts:
    return {
        (d, year): (
            100 + 7 * WOMEN[d - 1] + year % 7,
            140 + 9 * MEN[d - 1] + year % 5,
            RESIDENTS[d - 1] + 2 * (year % 9),
        )
        for d in range(1, 7)
        for year in YEARS
    }


def share(name: str, category: str) -> dict[str, Any]:
    """An indicator: persons helped of one sex among all residents."""
    parts = {"numerator": {"measure": "hilfen", "category": category}, "denominator": {"measure": "einwohner"}}
    return indicator(name, "percent", levels=dict.fromkeys(LEVELS, "counts"), **parts)


def hand_in(root: Path, figures: Counts) -> None:
    people = [f"Bezirk {d};31.12.{y};{f};{m};{f + m}\n" for (d, y), (f, m, _) in figures.items()]
    put(root, "Bezirk;Zeit;weiblich;maennlich;insgesamt\n" + "".join(people), "lieferung.csv", "jugendamt")
    residents = [f"Bezirk {d};31.12.{y};{n}\n" for (d, y), (_, _, n) in figures.items()]
    put(root, "Bezirk;Zeit;einwohner\n" + "".join(residents), "lieferung.csv", "melderegister")


def swapped(figures: Counts) -> Counts:
    """Columns of women and men: every total stays, so that no contract objects."""
    return {at: (men, women, n) for at, (women, men, n) in figures.items()}


def in_thousands(figures: Counts) -> Counts:
    return {at: (women, men, max(1, n // 1000)) for at, (women, men, n) in figures.items()}


def shifted(figures: Counts) -> Counts:
    """Every row one district too low."""
    return {(d, y): figures[d % 6 + 1, y] for d, y in figures}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The town after its first night, which no limit holds back."""
    root = town(tmp_path_factory.mktemp("viele") / "Stadt")
    documents = [*topic(list(LEVELS), {}), share("frauenanteil", "weiblich")]
    documents[0]["attributes"] |= {"publication": "public_elsewhere", "address": "https://example.org/hilfen"}
    write_topic(root, documents)
    hand_in(root, counts())
    night = run_night(root, NOW)
    assert night.exit_code == 0
    assert len(values(release_of(night))) == 2 * 9 * len(YEARS)
    return root


@pytest.fixture
def city(base: Path, tmp_path: Path) -> Path:
    """A copy to go on with."""
    return Path(shutil.copytree(base, tmp_path / "Stadt", symlinks=True))


def values(release: Path) -> dict[tuple[Any, ...], float]:
    """What a release shows, as its CSV file says."""
    frame = pd.read_csv(release / "daten/indikatorwerte.csv")
    shown = frame[frame["value"].notna()]
    return dict(zip(shown[KEY].itertuples(index=False, name=None), shown["value"], strict=True))


def inside(root: Path) -> dict[tuple[Any, ...], float]:
    """The same from the internal file; in this town nothing is withheld."""
    with duckdb.connect(str((root / "data/warehouse/internal/internal.duckdb").resolve()), read_only=True) as con:
        frame = con.execute("SELECT * FROM mart.indicator_value WHERE value IS NOT NULL").df()
    frame["reference_date"] = pd.to_datetime(frame["reference_date"]).dt.strftime("%Y-%m-%d")
    return dict(zip(frame[KEY].itertuples(index=False, name=None), frame["value"], strict=True))


def everything(root: Path) -> dict[str, str]:
    """All that readers see: files with their hash, links with where they lead."""
    found = {}
    for path in sorted([*(root / "data/releases").rglob("*"), root / "data/warehouse/sozialraum.duckdb"]):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def held_list(root: Path) -> pd.DataFrame:
    return pd.read_csv(Paths.of(root).held_changes, sep=";", decimal=",", encoding="utf-8-sig")


# ---------------------------------------------------------------- the night that stops


@pytest.mark.parametrize("mistake", [swapped, in_thousands, shifted])
def test_mass_change_is_not_published_and_says_how_much_and_why(
    city: Path, mistake: Callable[[Counts], Counts]
) -> None:
    before = everything(city)
    hand_in(city, mistake(counts()))
    night = run_night(city, NOW + DAY)
    assert night.exit_code == 3
    assert everything(city) == before
    old, new = values(city / "data/releases/current"), inside(city)
    moved = {at: new.get(at) for at, b in old.items() if at not in new or abs(new[at] - b) > 0.1 * b}
    (finding,) = [text for text in night.findings if "Massenänderung" in text]
    percent = f"{100 * len(moved) / len(old):.1f}".rstrip("0").rstrip(".").replace(".", ",")
    assert f"{len(moved)} von {len(old)} gezeigten Werten ({percent} %)" in finding
    line = 1 + (city / "assets/release/defs.yaml").read_text(encoding="utf-8").split("mass_change")[0].count("\n")
    assert f"erlaubt sind 20 % (assets/release/defs.yaml:{line})" in finding
    size = {at: abs(value - old[at]) / old[at] for at, value in moved.items() if value is not None}
    told = dict(part.split(" ", 1)[::-1] for part in finding.split("Ursachen: ")[1].split(".")[0].split(", "))
    assert sum(map(int, told.values())) == len(moved)
    assert int(told.get("andere Lieferung", 0)) == len(size)
    named = [part.rstrip(")") for part in finding.split("Am stärksten: ")[1].split(". ")[0].split("; ")]
    parts = [(part.split(" in ")[0], *part.split(" in ")[1].split(" (")) for part in named]
    most = [size.get((name, area, "stichtag", day)) for name, area, day in parts]
    assert most == [*sorted(size.values(), reverse=True), None, None, None][:3]
    listed = held_list(city)
    differing = {at for at in old if at not in new or abs(new[at] - old[at]) > 1e-9}
    assert len(listed[listed["aenderung"] != "neu"]) == len(differing)


def test_held_night_is_repeated_until_somebody_accepts_it(city: Path) -> None:
    """The real command: a run that is not green, 3 again without a run, then accepted with a reason that is kept."""

    def nightly(*more: str) -> tuple[int, str]:
        run = sozialraum("nightly", "--project", city, *more)
        return run.returncode, run.stdout + run.stderr

    before = everything(city)
    first = os.readlink(city / "data/releases/current")
    hand_in(city, swapped(counts()))
    code, text = nightly()
    assert (code, f"NICHT VERÖFFENTLICHT. In Kraft: {first}." in text) == (3, True), text
    assert "NICHT GUT: Nicht veröffentlicht, als Massenänderung zurückgehalten: " in text
    check, metadata = final_check(city)
    assert not check.passed
    assert str(check.metadata["ergebnis"].value).startswith("Nicht veröffentlicht, als Massenänderung zurückgehalten: ")
    assert (metadata["neu"].value, metadata["veroeffentlichung"].value) == (False, first)

    code, text = nightly()
    assert (code, text.splitlines()[0].startswith("Nichts Neues"), "Massenänderung" in text) == (3, True, True), text
    assert everything(city) == before

    code, text = nightly("--accept-changes", " ")
    assert (code, "der Grund fehlt" in text) == (2, True)
    code, text = nightly("--accept-changes", "Spalten waren bisher vertauscht")
    assert (code, "Massenänderung angenommen (Grund: Spalten waren bisher vertauscht)" in text) == (0, True), text
    second = os.readlink(city / "data/releases/current")
    old, new = (values(city / "data/releases" / name) for name in (first, second))
    differing = sum(abs(new[at] - old[at]) > 1e-9 for at in old)
    news = f"Geändert gegenüber {first}: {differing} Werte ({differing} andere Lieferung)."
    assert news in text
    reasons = [entry.accepted_changes for entry in PublishedLedger(Paths.of(city)).entries()]
    assert reasons == [None, "Spalten waren bisher vertauscht"]
    assert not Paths.of(city).held_changes.exists()
    check, metadata = final_check(city)
    assert check.passed
    assert news in str(metadata["aenderungen"].value)
    run = sozialraum("changes", "--project", city, "--csv", city / "liste.csv")
    assert (run.returncode, news in run.stdout) == (0, True), run.stderr
    assert len(pd.read_csv(city / "liste.csv", sep=";")) == differing


def final_check(root: Path) -> tuple[dg.AssetCheckEvaluation, Any]:
    """The last result of the check of the release, and the metadata of its last materialisation."""
    os.environ["DAGSTER_HOME"] = str(root / "data/state")
    key = dg.AssetKey(["veroeffentlichung"])
    with dg.DagsterInstance.get() as instance:
        entries = instance.all_logs(instance.get_runs(limit=1)[0].run_id)
        made = instance.get_latest_materialization_event(key)
    results = [entry.dagster_event.event_specific_data for entry in entries if entry.dagster_event]
    (found,) = [r for r in results if isinstance(r, dg.AssetCheckEvaluation) and r.asset_key == key]
    assert made
    assert made.asset_materialization
    return found, made.asset_materialization.metadata


def test_killed_run_decides_the_same_again_and_a_correction_needs_no_acceptance(
    city: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(city, swapped(counts()))
    before = everything(city)

    def killed(_: Night) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Night, "_record", killed)
        run_night(city, NOW + DAY)
    assert run_night(city, NOW + DAY).exit_code == 3
    assert everything(city) == before
    hand_in(city, counts() | {(5, 2022): (400, 300, 5000)})
    night = run_night(city, NOW + 2 * DAY)
    assert (night.exit_code, release_of(night).name) == (0, night.release_id)
    assert [entry.accepted_changes for entry in PublishedLedger(night.project.paths).entries()] == [None, None]
    assert not night.project.paths.held_changes.exists()


def test_other_definition_of_many_values_is_a_mass_change_too(city: Path) -> None:
    edit(city, lambda i: i.update(unit="per_1000"), topic="hilfen", document="Indicator")
    night = run_night(city, NOW + DAY)
    assert f"Ursachen: {9 * len(YEARS)} geänderte Definition des Indikators." in night.findings[0]


def test_without_a_declaration_nothing_is_checked(city: Path) -> None:
    edit(city, lambda release: release.pop("mass_change"), topic="release", document="Release")
    hand_in(city, swapped(counts()))
    night = run_night(city, NOW + DAY)
    assert (night.exit_code, release_of(night).name) == (0, night.release_id)


def test_limits_are_no_part_of_what_is_published_and_nothing_needs_accepting(city: Path) -> None:
    edit(city, lambda release: release["mass_change"].update(share=0.3), topic="release", document="Release")
    said: list[str] = []
    night = Night.begin(city, said.append, NOW + DAY, "vorsorglich")
    try:
        night.intake()
        night.publish()
    finally:
        release_locks()
    assert night.publication
    assert not night.publication.new
    assert any("--accept-changes war nicht nötig" in text for text in said)


# ---------------------------------------------------------------- the rule

RULE = MassChange(share=0.2, percent=10, at_least=100)
FIGURE = st.floats(min_value=0, max_value=1e6, allow_nan=False)
SHOWN = st.dictionaries(st.integers(), st.tuples(FIGURE, st.none() | FIGURE), max_size=60)
RULES = st.builds(
    MassChange,
    share=st.sampled_from([0.05, 0.2, 0.5, 0.99]),
    percent=st.sampled_from([1.0, 10.0, 200.0]),
    at_least=st.integers(1, 40),
)


@given(SHOWN, RULES)
def test_rule_counts_as_a_person_would(shown: dict[int, tuple[float, float | None]], rule: MassChange) -> None:
    too_many = implausible(shown, rule)
    moved = {key for key, (before, now) in shown.items() if is_moved(before, now, rule.percent)}
    assert set(too_many) in (set(), moved)
    assert bool(too_many) == (len(shown) >= rule.at_least and len(moved) > rule.share * len(shown))
    stricter = MassChange(share=rule.share / 2, percent=rule.percent / 2, at_least=1)
    assert set(too_many) <= set(implausible(shown, stricter))
    assert not implausible({key: (before, before) for key, (before, _) in shown.items()}, rule)


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        (100, 110, False),
        (100, 110.1, True),
        (100, 90, False),
        (0.3, 0.33, False),  # 10 per cent, whatever a double says
        (0, 0, False),
        (0, 0.1, True),
        (58.4, None, True),
    ],
)
def test_ten_per_cent_are_ten_per_cent(before: float, now: float | None, moved: bool) -> None:
    assert is_moved(before, now, 10) == moved


def test_share_at_its_limit_is_plausible() -> None:
    shown: dict[int, tuple[float, float | None]] = {n: (100.0, 200.0 if n < 20 else 100.0) for n in range(100)}
    assert implausible(shown, RULE) == []
    shown[20] = (100.0, 400.0)
    assert implausible(shown, RULE)[0] == 20
    assert len(implausible(shown, RULE)) == 21
    del shown[99], shown[98]
    assert implausible(shown, RULE) == []  # too few values to judge


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("{share: 20, percent: 10, at_least: 100}", "eine Zahl kleiner als 1"),
        ("{share: 0.2, percent: 0, at_least: 100}", "eine Zahl größer als 0"),
        ("{share: 0.2, percent: 10, at_least: 0}", "eine Zahl von mindestens 1"),
        ("{share: 0.2, procent: 10, at_least: 100}", "meinten Sie »percent«"),
        ("{share: 0.2, at_least: 100}", "percent"),
    ],
)
def test_bad_declaration_is_named_with_its_line(base: Path, declared: str, said: str) -> None:
    text = (base / "assets/release/defs.yaml").read_text(encoding="utf-8")
    line = 1 + text.split("  mass_change")[0].count("\n")
    bad = text.split("  mass_change")[0] + f"  mass_change: {declared}\n"
    _, problems = parse(bad, "assets/release/defs.yaml")
    assert [problem.line for problem in problems] == [line] * len(problems)
    assert any(said in problem.message for problem in problems), problems


# ---------------------------------------------------------------- between any two releases


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three releases: one figure corrected, withheld, no longer withheld; then another definition, indicator, year."""
    root = town(tmp_path_factory.mktemp("drei") / "Stadt")
    write_topic(root, [*topic(list(LEVELS), {}), share("frauenanteil", "weiblich")])
    deliver(root, residents=BASE)
    run_night(root, NOW)
    persons_helped(root, changed(WOMEN, d2=41, d4=2, d5=32), MEN)
    run_night(root, NOW + DAY)
    write_topic(root, [*topic(list(LEVELS), {}), share("maenneranteil", "maennlich")])
    edit(root, lambda i: i.update(unit="per_1000"), topic="hilfen", document="Indicator")
    rows = [f"Bezirk {n};31.12.2022;{r + 40}\nBezirk {n};31.12.2021;{r}\n" for n, r in enumerate(BASE, 1)]
    put(root, "Bezirk;Zeit;einwohner\n" + "".join(rows), "lieferung.csv", "melderegister")
    run_night(root, NOW + 2 * DAY)
    assert len(releases(root)) == 3
    return root


def releases(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "data/releases").iterdir() if path.name[:1] == "2")


def listed(root: Path, before: str, now: str, folder: Path) -> tuple[pd.DataFrame, str]:
    """Rows and text of `sozialraum changes`."""
    voice = Quiet()
    assert print_changes(root, before, now, folder / "liste.csv", voice) == 0
    return pd.read_csv(folder / "liste.csv", sep=";", decimal=",", encoding="utf-8-sig"), "\n".join(voice.lines)


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 2), (0, 2), (2, 0)])
def test_counts_are_those_of_the_two_files(three: Path, tmp_path: Path, one: int, other: int) -> None:
    """By plain comparison of the two CSV files, neighbours or not, forwards or backwards."""
    before, now = (three / "data/releases" / releases(three)[n] for n in (one, other))
    old, new = values(before), values(now)
    found, text = listed(three, before.name, now.name, tmp_path)
    both = {at for at in old.keys() & new.keys() if abs(new[at] - old[at]) > 1e-9}
    expected = Counter({"geändert": len(both), "neu": len(new.keys() - old.keys())})
    expected["nicht mehr gezeigt"] = len(old.keys() - new.keys())
    assert Counter(found["aenderung"]) == +expected
    assert len(found) == expected.total()  # the sum over all causes
    changed_rows = found[found["aenderung"] == "geändert"]
    told = {
        (i, a, z): (b, n)
        for i, a, z, b, n in changed_rows[["indikator", "gebiet", "zeitraum", "vorher", "nachher"]].itertuples(
            index=False
        )
    }
    assert told == {(i, a, day): (old[i, a, t, day], new[i, a, t, day]) for i, a, t, day in both}
    gone = found[found["aenderung"] == "nicht mehr gezeigt"]
    assert gone["vorher"].isna().all()  # what is withheld now is not told again
    for line in text.splitlines():  # counts by indicator and cause
        if line[:1] == " " and ": " in line:
            number, rest = line.split(maxsplit=1)
            kind, reason = rest.split("; am stärksten")[0].split(": ")
            assert int(number) <= len(found[(found["aenderung"] == kind) & (found["grund"] == reason)])
    assert ("Rückwärts" in text) == (one > other)


def test_causes_and_reasons(three: Path, tmp_path: Path) -> None:
    first, second, third = releases(three)
    then, now = (pd.read_csv(three / "data/releases" / name / "daten/indikatorwerte.csv") for name in (first, second))
    both = then.merge(now, on=KEY)
    withheld = both[both["value_x"].notna() & both["suppression_reason_y"].isin(["confidential", "inherited"])]
    assert len(withheld)

    def reasons(before: str, after: str) -> dict[str, set[tuple[str, str]]]:
        found, _ = listed(three, before, after, tmp_path)
        return {str(reason): {*zip(g["indikator"], g["gebiet"], strict=True)} for reason, g in found.groupby("grund")}

    places = {*zip(withheld["indicator_id"], withheld["area_id"], strict=True)}
    forwards, backwards = reasons(first, second), reasons(second, first)
    assert set(forwards) == {"andere Lieferung", "jetzt geheim zu halten"}
    assert ("hilfenanteil", CITY) in forwards["andere Lieferung"]
    assert forwards["jetzt geheim zu halten"] == backwards["früher geheim zu halten"] == places
    later = reasons(second, third)
    assert {reason: {name for name, _ in where} for reason, where in later.items()} == {
        "geänderte Definition des Indikators": {"hilfenanteil"},
        "Indikator entfallen": {"frauenanteil"},
        "neuer Indikator": {"maenneranteil"},
    }
    _, text = listed(three, second, third, tmp_path)
    assert "Indikatoren neu: maenneranteil" in text
    assert "Indikatoren entfallen: frauenanteil" in text


def test_default_is_the_one_in_force_against_the_one_before(three: Path) -> None:
    assert print_changes(three, None, None, None, voice := Quiet()) == 0
    _, second, third = releases(three)
    assert voice.lines[0] == f"Änderungen von {second} zu {third}"
    assert print_changes(three, third, None, None, voice := Quiet()) == 0
    assert "Kein Wert ist anders." in voice.lines


def test_release_that_cannot_be_compared_is_said(three: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(three, tmp_path / "Stadt", symlinks=True))
    first, second, third = releases(root)

    def ask(release_id: str) -> tuple[int, str]:
        voice = Quiet()
        return print_changes(root, release_id, None, None, voice), voice.lines[0]

    code, text = ask(f"{third[:-1]}9")
    assert (code, third in text) == (2, True)
    with (root / "data/releases" / first / "daten/indikatorwerte.csv").open("a") as file:
        file.write("\n")
    code, text = ask(first)
    assert (code, "beschädigt" in text) == (1, True)
    shutil.rmtree(root / "data/releases" / first)
    code, text = ask(first)
    assert (code, "nicht mehr da" in text) == (2, True)
    PublishedLedger(Paths.of(root)).withdraw(second, "2026-03-09", "vertraulicher Grund")
    shutil.rmtree(root / "data/releases" / second)
    code, text = ask(second)
    assert (code, "am 2026-03-09 zurückgezogen" in text, "vertraulich" in text) == (2, True, False)
    voice = Quiet()
    assert print_changes(root, None, None, None, voice) == 0
    assert "nichts, womit zu vergleichen wäre" in voice.lines[0]


def test_release_of_an_older_program_is_named_as_such(three: Path, tmp_path: Path) -> None:
    """Without the thresholds of the measures nobody can say which earlier figures may be told again."""
    first, second, _ = releases(three)
    old = tmp_path / "sozialraum.duckdb"
    shutil.copy(three / "data/releases" / second / old.name, old)
    with duckdb.connect(str(old)) as con:
        con.execute("ALTER TABLE mart.measure DROP COLUMN threshold")
    with pytest.raises(Incomparable, match="ältere"):
        compare(Models(load_project(three)), three / "data/releases" / first, old)


def test_only_public_files_are_read(three: Path, tmp_path: Path) -> None:
    """With everything internal gone the answer is the same."""
    root = Path(shutil.copytree(three, tmp_path / "Stadt", symlinks=True))
    _, before = listed(root, releases(root)[0], releases(root)[2], tmp_path)
    for folder in ("data/history", "data/warehouse", "data/raw"):
        shutil.rmtree(root / folder)
    assert listed(root, releases(root)[0], releases(root)[2], tmp_path)[1] == before
    assert load_project(root).release.mass_change == RULE
