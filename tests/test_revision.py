"""Revisions: which published figures changed from one release to the next, why, and that they give nothing away."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.audit.command import run_audit
from pipelines.audit.release import Audit, audit_release
from pipelines.clearance import Unsafe
from pipelines.gate import CHECKSUMS
from pipelines.marts.models import Models
from pipelines.night import Night
from pipelines.project import Project, load_project
from pipelines.release.datapackage import write_datapackage
from pipelines.release.feed import write_feed
from pipelines.release.publish import _checksums
from tests.conftest import Quiet, run_night
from tests.test_history import NOW, edit, put
from tests.test_marts import everything_published, indicator
from tests.town import CITY, LEVELS, MEN, WOMEN, deliver, district, planning_area, topic, town, write_topic

DAY = dt.timedelta(days=1)
BASE = [2400, 4100, 3000, 900, 5000, 1200]  # 1 of 4100 is no short decimal
Place = tuple[str, str]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A town with a share of all persons helped and one of women, after two nights: district 5 was corrected."""
    root = town(tmp_path_factory.mktemp("zwei") / "Stadt")
    documents = topic(list(LEVELS), {})
    share = {"numerator": {"measure": "hilfen", "category": "weiblich"}, "denominator": {"measure": "einwohner"}}
    documents.append(indicator("frauenanteil", "percent", levels=dict.fromkeys(LEVELS, "counts"), **share))
    write_topic(root, documents)
    deliver(root, residents=BASE)
    rows = [f"Bezirk {n};31.12.2022;{r}\nBezirk {n};31.12.2021;{r + 100}\n" for n, r in enumerate(BASE, 1)]
    put(root, "Bezirk;Zeit;einwohner\n" + "".join(rows), "lieferung.csv", "melderegister")
    run_night(root, NOW)
    persons_helped(root, changed(WOMEN, d5=32), MEN)
    run_night(root, NOW + DAY)
    return root


@pytest.fixture
def folder(pair: Path, tmp_path: Path) -> Path:
    """A copy to go on with."""
    return Path(shutil.copytree(pair, tmp_path / "Stadt", symlinks=True))


def two(folder: Path) -> tuple[Path, Path]:
    """The two releases a copy begins with."""
    first, second = sorted(path for path in (folder / "data/releases").iterdir() if path.name[:1] == "2")
    return first, second


def third_night(folder: Path, night: int = 2) -> Path:
    return release_of(run_night(folder, NOW + night * DAY))


def persons_helped(folder: Path, women: list[int], men: list[int]) -> None:
    rows = [f"Bezirk {n};31.12.2022;{f};{m};{f + m}\n" for n, (f, m) in enumerate(zip(women, men, strict=True), 1)]
    put(folder, "Bezirk;Zeit;weiblich;maennlich;insgesamt\n" + "".join(rows), "lieferung.csv", "jugendamt")


def changed(figures: list[int], **at: int) -> list[int]:
    """Figures of the districts, some replaced: `changed(WOMEN, d5=32)`."""
    return [at.get(f"d{n}", value) for n, value in enumerate(figures, 1)]


def release_of(night: Night) -> Path:
    assert night.publication is not None
    return night.project.paths.releases / night.publication.release_id


def figures(release: Path) -> dict[Place, float | None]:
    """(indicator, area) -> value, as a release says."""
    with duckdb.connect(str(release / "sozialraum.duckdb"), read_only=True) as con:
        rows = con.execute("SELECT indicator_id, area_id, value FROM mart.indicator_value").fetchall()
    return {(name, area): value for name, area, value in rows}


def revisions(release: Path) -> list[dict[str, Any]]:
    with duckdb.connect(str(release / "sozialraum.duckdb"), read_only=True) as con:
        return con.sql("FROM mart.revision").to_arrow_table().to_pylist()


def told(release: Path) -> dict[Place, tuple[float, float, str]]:
    """Changes of this very release: (indicator, area) -> value before, value now, cause."""
    return {
        (row["indicator_id"], row["area_id"]): (row["value_before"], row["value_now"], row["cause"])
        for row in revisions(release)
        if row["release_id"] == release.name
    }


def differing(before: Path, now: Path) -> dict[Place, tuple[float, float]]:
    """What two releases themselves say: figures shown in both with different values."""
    old, new = figures(before), figures(now)
    pairs = {place: (old.get(place), new[place]) for place in new}
    return {p: (a, b) for p, (a, b) in pairs.items() if a is not None and b is not None and a != b}


def audited(root: Path, release: Path) -> Audit:
    return audit_release(release, Models(load_project(root)))


AROUND_5 = [district(5), planning_area(2), CITY]

# ---------------------------------------------------------------- which figures, and why


def test_corrected_delivery_names_exactly_the_changed_figures(pair: Path) -> None:
    first, second = two(pair)
    assert revisions(first) == []
    found = told(second)
    assert {place: entry[:2] for place, entry in found.items()} == differing(first, second)
    assert {area for name, area in found if name == "hilfenanteil"} == set(AROUND_5)
    assert found["hilfenanteil", district(5)] == (100 * 55 / 5000, 100 * 57 / 5000, "delivery")
    assert {cause for *_, cause in found.values()} == {"delivery"}  # other figures of that delivery are the same
    for row in revisions(second):
        assert (row["release_id"], row["previous_release_id"]) == (second.name, first.name)
        assert row["difference"] == pytest.approx(row["value_now"] - row["value_before"])
    for release, before in ((first, None), (second, first.name)):
        with duckdb.connect(str(release / "sozialraum.duckdb"), read_only=True) as con:
            rows = con.execute("SELECT release_id, previous_release_id FROM meta.release").fetchall()
        assert rows == [(release.name, before)]
        assert run_audit(pair, release, None, None, Quiet()) == 0


def correct_district_5(root: Path) -> None:
    def entry(column: str, expected: str, value: str) -> dict[str, Any]:
        reason = {"reason": "Zahlendreher, bestätigt", "reported_on": dt.date(2026, 3, 1), "status": "confirmed"}
        place = {"delivery": "jugendamt-0002", "line": 6, "column": column}
        return {**place, "expected": expected, "value": value, **reason}

    entries = [entry("weiblich", "32", "33"), entry("insgesamt", "57", "58")]
    edit(root, lambda source: source.update(corrections=entries), topic="hilfen")


def per_thousand(root: Path) -> None:
    edit(root, lambda i: i.update(unit="per_1000"), topic="hilfen", document="Indicator")


def other_day_of_the_denominator(root: Path) -> None:
    edit(root, lambda i: i.update(denominator_date="previous_year_end"), topic="hilfen", document="Indicator")


def other_formula(root: Path) -> tuple[Path, str]:
    """Change it; returns the file and what stood there."""
    (file,) = [
        path
        for path in (root / "assets/marts").rglob("*.sql")
        if "ELSE factor * numerator / nullif(denominator, 0)" in path.read_text(encoding="utf-8")
    ]
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("factor * numerator / null", "factor * (numerator + 1) / null"), encoding="utf-8")
    return file, text


@pytest.mark.parametrize(
    ("change", "cause", "indicators"),
    [
        (correct_district_5, "rule", {"hilfenanteil", "frauenanteil"}),
        (per_thousand, "definition", {"hilfenanteil"}),
        (other_day_of_the_denominator, "definition", {"hilfenanteil"}),
    ],
)
def test_cause_is_what_was_changed(
    folder: Path, change: Callable[[Path], None], cause: str, indicators: set[str]
) -> None:
    _, second = two(folder)
    change(folder)
    third = third_night(folder)
    found = told(third)
    assert {place: entry[:2] for place, entry in found.items()} == differing(second, third)
    assert {name for name, _ in found} == indicators
    assert {why for *_, why in found.values()} == {cause}
    if cause == "rule":
        assert {area for name, area in found if name == "hilfenanteil"} == set(AROUND_5)
        assert run_audit(folder, second, None, None, Quiet()) == 0  # made with other declarations


def test_other_formula_is_the_cause_inside_and_is_not_published(folder: Path) -> None:
    """Counts, deliveries and definition are the same. The audit knows the formula from the definition and refuses.

    After that, figures are compared with what was published, under the id of the night that publishes.
    """
    _, second = two(folder)
    file, text = other_formula(folder)
    with pytest.raises(Unsafe):
        third_night(folder)
    assert os.readlink(folder / "data/releases/current") == second.name
    with duckdb.connect(str((folder / "data/warehouse/internal/internal.duckdb").resolve()), read_only=True) as con:
        causes = con.execute("SELECT DISTINCT cause FROM mart.revision WHERE release_id <> ?", [second.name]).fetchall()
    assert causes == [("code",)]
    file.write_text(text, encoding="utf-8")
    persons_helped(folder, changed(WOMEN, d5=34), MEN)
    third = third_night(folder, 3)
    assert {place: entry[:2] for place, entry in told(third).items()} == differing(second, third)
    assert {row["release_id"] for row in revisions(third)} == {second.name, third.name}


def test_other_program_is_the_cause_if_nothing_else_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only another program can do: other counts from the same deliveries by the same declarations."""
    _, second = two(folder)
    with duckdb.connect(str(second / "sozialraum.duckdb"), read_only=True) as con:
        (rules,) = con.execute("SELECT rules FROM meta.release").fetchall()[0]
    monkeypatch.setattr(Project, "rules", rules)
    correct_district_5(folder)
    third = third_night(folder)
    assert {place: entry[:2] for place, entry in told(third).items()} == differing(second, third)
    assert {cause for *_, cause in told(third).values()} == {"code"}


# ---------------------------------------------------------------- nothing confidential


def test_figure_withheld_before_or_now_is_no_revision_and_its_value_is_nowhere(folder: Path) -> None:
    """District 2: one woman of 4100, withheld, then 41. District 4: nine of 900 shown, then two, withheld."""
    _, second = two(folder)
    persons_helped(folder, changed(WOMEN, d2=41, d4=2, d5=32), MEN)
    third = third_night(folder)
    old, new = figures(second), figures(third)
    places = [("frauenanteil", district(2)), ("frauenanteil", district(4))]
    assert [old[places[0]], new[places[1]]] == [None, None]
    assert old[places[1]] == 1
    found = told(third)
    assert {place: entry[:2] for place, entry in found.items()} == differing(second, third)
    assert not set(found) & set(places)
    everything = b"\n".join(everything_published(second).values()) + b"\n".join(everything_published(third).values())
    for secret in (100 / 4100, 200 / 900):
        assert repr(secret)[:12].encode() not in everything
        assert repr(secret)[:12].replace(".", ",").encode() not in everything
    assert audited(folder, third).leaks == []
    with duckdb.connect(str((folder / "data/warehouse/internal/internal.duckdb").resolve()), read_only=True) as con:
        inside = con.execute("SELECT indicator_id, area_id, value_before, value_now FROM mart.revision").fetchall()
    assert (*places[1], 1, 100 * 2 / 900) in inside  # which published figures the new delivery changes


# ---------------------------------------------------------------- later releases


def test_small_count_shown_under_other_rules_is_not_told_again(tmp_path: Path) -> None:
    """District 2 had two women, shown while the office's figures were public elsewhere; now they are not, and 20."""
    root = town(tmp_path / "Stadt")
    documents = topic(list(LEVELS), {})
    documents[0]["attributes"] |= {"publication": "public_elsewhere", "address": "https://example.org/hilfen"}
    share = {"numerator": {"measure": "hilfen", "category": "weiblich"}, "denominator": {"measure": "einwohner"}}
    documents.append(indicator("frauenanteil", "percent", levels=dict.fromkeys(LEVELS, "counts"), **share))
    write_topic(root, documents)
    deliver(root, women=changed(WOMEN, d2=2))
    first = release_of(run_night(root, NOW))
    assert figures(first)["frauenanteil", district(2)] == 100 * 2 / 4000
    documents[0]["attributes"]["publication"] = "internal"
    del documents[0]["attributes"]["address"]
    write_topic(root, documents)
    persons_helped(root, changed(WOMEN, d2=20, d5=40), MEN)
    second = release_of(run_night(root, NOW + DAY))
    rows = told(second)
    assert ("frauenanteil", district(5)) in rows
    assert ("frauenanteil", district(2)) not in rows
    assert figures(second)["frauenanteil", district(2)] == 100 * 20 / 4000


def test_revisions_stay_while_their_figure_is_shown(folder: Path) -> None:
    _, second = two(folder)
    persons_helped(folder, changed(WOMEN, d5=32, d6=15), changed(MEN, d6=17))
    third = third_night(folder)
    assert [row for row in revisions(third) if row["release_id"] == second.name] == revisions(second)
    assert {place: entry[:2] for place, entry in told(third).items()} == differing(second, third)
    city = [
        row["release_id"] for row in revisions(third) if (row["indicator_id"], row["area_id"]) == ("hilfenanteil", CITY)
    ]
    assert city == [second.name, third.name]
    assert run_audit(folder, None, None, None, Quiet()) == 0
    persons_helped(folder, changed(WOMEN, d5=32, d6=2), changed(MEN, d6=30))
    fourth = third_night(folder, 3)
    assert ("frauenanteil", district(6)) in told(third)
    assert figures(fourth)["frauenanteil", district(6)] is None
    left = {(row["release_id"], row["indicator_id"], row["area_id"]) for row in revisions(fourth)}
    assert (third.name, "frauenanteil", district(6)) not in left
    assert (second.name, "hilfenanteil", district(5)) in left
    assert all(figures(fourth)[name, area] is not None for _, name, area in left)
    assert audited(folder, fourth).leaks == []


def test_night_with_nothing_new_adds_nothing_whatever_was_lost(folder: Path) -> None:
    _, second = two(folder)
    content = json.loads((second / "datapackage.json").read_text(encoding="utf-8"))["contentHash"]
    shutil.rmtree(folder / "data/warehouse")
    night = run_night(folder, NOW + 2 * DAY)
    assert night.publication is not None
    assert (night.publication.new, release_of(night)) == (False, second)
    assert f"sha256:{night.publication.content_hash}" == content
    with duckdb.connect(str(night.project.paths.internal_mart.resolve()), read_only=True) as con:
        assert con.sql("FROM mart.revision").to_arrow_table().to_pylist() == revisions(second)
    shutil.rmtree(folder / "data/releases")  # then nobody can say what changed, and the figures are the same
    night = run_night(folder, NOW + 3 * DAY)
    assert night.publication is not None
    assert f"sha256:{night.publication.content_hash}" == content
    assert revisions(release_of(night)) == []


def test_after_the_link_was_pointed_back_figures_are_compared_with_what_is_in_force(folder: Path) -> None:
    first, second = two(folder)
    current = folder / "data/releases/current"
    current.unlink()
    current.symlink_to(first.name)
    third = third_night(folder)
    assert third not in (first, second)
    assert {(row["release_id"], row["previous_release_id"]) for row in revisions(third)} == {(third.name, first.name)}
    assert told(third) == told(second)
    assert audited(folder, third).leaks == []


def test_release_without_revisions_needs_no_earlier_one(folder: Path) -> None:
    first, second = two(folder)
    shutil.rmtree(second)
    edit(folder, lambda source: source.update(retracted=[RETRACTED]), topic="hilfen")
    third = third_night(folder)
    assert revisions(third) == []
    assert audited(folder, third).leaks == []
    shutil.rmtree(first)
    assert audited(folder, third).leaks == []


RETRACTED = {"delivery": "jugendamt-0002", "reason": "irrtümlich geliefert", "on": dt.date(2026, 3, 1), "by": "TT"}


def damage(release: Path) -> None:
    with (release / "daten/indikatorwerte.csv").open("a", encoding="utf-8") as file:
        file.write("x\n")


@pytest.mark.parametrize("harm", [damage, shutil.rmtree])
def test_damaged_or_lost_release_is_passed_over(folder: Path, harm: Callable[[Path], None]) -> None:
    edit(folder, lambda release: release.update(keep=2), topic="release", document="Release")
    first, second = two(folder)
    known = {place: entry[:2] for place, entry in told(second).items()}
    harm(second)
    night = run_night(folder, NOW + 2 * DAY)
    third = release_of(night)
    assert any(f"beschädigt; die Zahlen werden mit {first.name} verglichen" in line for line in night.said)  # type: ignore[attr-defined]
    assert third != second
    assert {place: entry[:2] for place, entry in told(third).items()} == known
    assert first.is_dir()  # with the damaged one more than is to be kept: the revisions are checked against it
    assert run_audit(folder, None, None, None, Quiet()) == 0


# ---------------------------------------------------------------- what the audit finds


@pytest.fixture
def copy(pair: Path, tmp_path: Path) -> tuple[Path, Path, Models]:
    """First and second release to tamper with, and the marts as declared."""
    shutil.copytree(pair / "data/releases", tmp_path / "data/releases", symlinks=True)
    return (*two(tmp_path), Models(load_project(pair)))


def forge(release: Path, models: Models, *statements: str) -> None:
    """Change the database, and all files as their writers would write them from it."""
    with duckdb.connect(str(release / "sozialraum.duckdb")) as con:
        for statement in statements:
            con.execute(statement)
    package = json.loads((release / "datapackage.json").read_text(encoding="utf-8"))
    created = dt.datetime.fromisoformat(package["created"])
    write_feed(release, release / "sozialraum.duckdb", models, created)
    write_datapackage(release, models, package["id"], package["contentHash"].removeprefix("sha256:"), created)
    (release / CHECKSUMS).unlink()
    _checksums(release)


COLUMNS = "indicator_id, area_id, period_type, reference_date"
FORGED = {
    district(5): "UPDATE mart.revision SET value_before = 100 * 3 / 5000.0 WHERE area_id = ",
    planning_area(2): "UPDATE mart.revision SET value_now = value_now + 0.02 WHERE area_id = ",
    CITY: "UPDATE mart.revision SET numerator_before = 3 WHERE area_id = ",
    # a figure that did not change
    district(
        1
    ): f"INSERT INTO mart.revision SELECT {COLUMNS}, m.release_id, area_level, period, m.previous_release_id, "
    "0.3, NULL, NULL, value, value - 0.3, 'delivery' FROM mart.indicator_value, meta.release AS m WHERE area_id = ",
    # an even earlier release
    district(6): f"INSERT INTO mart.revision SELECT {COLUMNS}, '20200101T000000Z-0000', area_level, period, "
    "'20190101T000000Z-0000', 0.3, NULL, NULL, value, value - 0.3, 'rule' FROM mart.indicator_value WHERE area_id = ",
    # a figure that is withheld
    district(
        2
    ): f"INSERT INTO mart.revision SELECT {COLUMNS}, m.release_id, area_level, period, m.previous_release_id, "
    "100 / 4100.0, 1, 4100, 1, 1, 'delivery' "
    "FROM mart.indicator_value, meta.release AS m WHERE value IS NULL AND area_id = ",
}


def test_forged_revisions_are_found(copy: tuple[Path, Path, Models]) -> None:
    """The files agree with the database, so nothing but the release before can tell."""
    _, second, models = copy
    forge(second, models, *[f"{statement} '{area}'" for area, statement in FORGED.items()])
    for known in (models, None):
        leaks = [leak for leak in audit_release(second, known).leaks if leak.kind == "nicht_ableitbar"]
        found = {
            area
            for leak in leaks
            for area in FORGED
            if leak.where.startswith("mart.revision, ") and area in leak.where.split(", ")
        }
        assert found == set(FORGED)


def test_revision_planted_into_one_file_is_found(copy: tuple[Path, Path, Models]) -> None:
    _, second, models = copy
    file = second / "daten/revisionen.csv"
    text = file.read_text(encoding="utf-8")
    assert ",delivery\n" in text
    file.write_text(text.replace(",delivery\n", ",rule\n", 1), encoding="utf-8")
    for known in (models, None):
        leaks = audit_release(second, known).leaks
        assert any(leak.kind == "nicht_ableitbar" and leak.where.startswith("daten/revisionen.csv") for leak in leaks)


@pytest.mark.parametrize("name", ["its own", "../releases", "20990101T000000Z-9999"])
def test_release_compared_with_none_that_came_before_is_found(copy: tuple[Path, Path, Models], name: str) -> None:
    _, second, models = copy
    named = second.name if name == "its own" else name
    forge(second, models, f"UPDATE meta.release SET previous_release_id = '{named}'")
    leaks = audit_release(second, None if name == "../releases" else models).leaks
    (leak,) = [leak for leak in leaks if leak.kind == "widerspruch"]
    assert leak.where == "mart.revision"
    assert f"»{named}« ist keine frühere Veröffentlichung" in leak.what
    if name == "../releases":
        assert any(leak.where == "meta.release, Spalte previous_release_id" for leak in leaks)


def test_release_under_another_name_cannot_vouch_for_itself(copy: tuple[Path, Path, Models]) -> None:
    _, second, models = copy
    row = "SELECT * REPLACE ('20200101T000000Z-0000' AS release_id, 0.3 AS value_before) FROM mart.revision"
    name = f"release_id = '20990101T000000Z-9999', previous_release_id = '{second.name}'"
    forge(second, models, f"INSERT INTO mart.revision {row}", f"UPDATE meta.release SET {name}")
    found = {leak.where for leak in audit_release(second, None).leaks}
    assert {"mart.revision", "meta.release, Spalte release_id"} <= found


@pytest.mark.parametrize(
    ("harm", "words"), [(damage, "ist beschädigt (veröffentlichte Datei"), (shutil.rmtree, "fehlt neben dem geprüften")]
)
def test_revisions_cannot_be_checked_without_the_release_before(
    copy: tuple[Path, Path, Models], harm: Callable[[Path], None], words: str
) -> None:
    first, second, models = copy
    harm(first)
    for known in (models, None):
        leaks = audit_release(second, known).leaks
        if known is None and not first.exists():
            assert leaks == []  # a copy by itself is attacked by what it says
            continue
        (leak,) = leaks
        assert (leak.kind, leak.where) == ("widerspruch", "mart.revision")
        assert f"der Ordner {first.name} {words}" in leak.what


def test_release_from_before_there_were_revisions_is_compared_with(folder: Path) -> None:
    """Its database has neither the table nor the column; figures are compared all the same."""
    _, old = two(folder)
    with duckdb.connect(str(old / "sozialraum.duckdb")) as con:
        con.execute("DROP TABLE mart.revision")
        con.execute("ALTER TABLE meta.release DROP COLUMN previous_release_id")
    (old / CHECKSUMS).unlink()
    _checksums(old)
    persons_helped(folder, changed(WOMEN, d5=34), MEN)
    third = third_night(folder)
    assert {place: entry[:2] for place, entry in told(third).items()} == differing(old, third)
    assert {row["previous_release_id"] for row in revisions(third)} == {old.name}
    assert audited(folder, third).leaks == []
