"""What is given out: complete, immutable, readable by others, the same from the same input, whole after any crash."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import frictionless
import pytest
import python_calamine

from pipelines import gate
from pipelines.audit.release_rewrite import check_rewritten
from pipelines.gate import CHECKSUMS, damaged_release
from pipelines.ledger import KEY_VARIABLE
from pipelines.marts import edition as edition_module
from pipelines.marts.edition import build_edition
from pipelines.night import Night
from pipelines.nightly import run_nightly
from pipelines.paths import Paths
from pipelines.release.datapackage import write_datapackage
from pipelines.release.feed import TABLES, given_out, write_feed
from schemas.codes import CODE_LISTS
from tests.conftest import FIRST_NIGHT, ROOT, Quiet, create_project, run_night
from tests.test_history import FIRST, NOW, edit, put, text_of
from tests.test_marts import build_city

SOAK = os.environ.get("SOAK") == "1"
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return build_city(tmp_path_factory.mktemp("abgabe") / "Stadt")


@pytest.fixture(scope="module")
def folder(city: Night) -> Path:
    return city.project.paths.current.resolve()


@pytest.fixture(params=list(TABLES))
def table(request: pytest.FixtureRequest, city: Night) -> str:
    """Each table that is given out."""
    if request.param not in given_out(city.models):
        pytest.skip("the project has no such table")
    return str(request.param)


@pytest.fixture(scope="module")
def con(city: Night) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(city.project.paths.public_mart), read_only=True) as connection:
        yield connection


def digests(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def releases(root: Path) -> list[str]:
    return sorted(p.name for p in (root / "data/releases").iterdir() if p.is_dir() and not p.is_symlink())


def vary(root: Path, unemployed: int) -> None:
    put(root, text_of(FIRST | {("1", "31.12.2022"): (unemployed, 2400)}))


# ---------------------------------------------------------------- the folder


def test_folder_has_the_promised_parts(city: Night, folder: Path) -> None:
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    for name in ("sozialraum.duckdb", "datapackage.json", CHECKSUMS, "katalog/quellen_de.csv"):
        assert name in names
    for name in given_out(city.models).values():
        for ending in (".csv", "_de.csv", ".parquet", ".xlsx"):
            assert f"{name}{ending}" in names
    assert {"daten/breit_bezirk_de.csv", "daten/breit_stadt_de.csv"} <= names
    assert {f"schluessel/{name}.csv" for name in [*CODE_LISTS, "area_level"]} <= names
    assert all(name == name.lower() and name.isascii() for name in names)
    assert not [name for name in names if name.endswith((".wal", ".tmp"))]


def test_checksums_name_every_file_and_hold(folder: Path) -> None:
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    expected = digests(folder)
    del expected[CHECKSUMS]
    assert listed == expected
    assert subprocess.run(["sha256sum", "--quiet", "-c", CHECKSUMS], cwd=folder).returncode == 0


def test_links_name_the_release_also_after_the_project_moved(published: Path, tmp_path: Path) -> None:
    release_id = os.readlink(published / "data/releases/current")
    assert re.fullmatch(r"\d{8}T\d{6}Z-\d{4}", release_id)
    root = published.rename(tmp_path / "dort")
    paths = Paths.of(root)
    assert os.readlink(paths.current) == release_id
    assert (paths.releases / "aktuell.txt").read_text(encoding="utf-8").strip() == release_id
    assert paths.public_mart.resolve() == paths.releases / release_id / "sozialraum.duckdb"
    with duckdb.connect(str(paths.public_mart), read_only=True) as con:
        assert con.execute("SELECT release_id FROM meta.release").fetchall() == [(release_id,)]


def test_older_release_is_never_touched(published: Path) -> None:
    (first,) = releases(published)
    old = published / "data/releases" / first
    before = digests(old), {p: p.stat().st_mtime_ns for p in old.rglob("*")}
    vary(published, 121)
    run_night(published, NOW + DAY)
    assert (digests(old), {p: p.stat().st_mtime_ns for p in old.rglob("*")}) == before
    assert len(releases(published)) == 2


# ---------------------------------------------------------------- data package


def test_datapackage_names_every_data_file_with_size_and_hash(city: Night, folder: Path) -> None:
    package = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    listed = {r["path"]: (r["bytes"], r["hash"]) for r in package["resources"]}
    expected = digests(folder)
    del expected[CHECKSUMS], expected["datapackage.json"]
    assert listed == {n: ((folder / n).stat().st_size, f"sha256:{h}") for n, h in expected.items()}
    assert package["id"] == folder.name
    assert package["contentHash"] == f"sha256:{city.public.content_hash}"  # type: ignore[union-attr]


def test_datapackage_follows_version_2(folder: Path) -> None:
    package = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    assert package["$schema"] == "https://datapackage.org/profiles/2.0/datapackage.json"
    assert "profile" not in package  # version 1's way
    created = dt.datetime.fromisoformat(package["created"])
    assert created == NOW
    assert created.tzinfo is not None
    assert all({"name", "path"} <= set(licence) for licence in package["licenses"])
    assert all(isinstance(c["roles"], list) and "role" not in c for c in package["contributors"])
    names = [r["name"] for r in package["resources"]]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9._-]+", name) for name in names)
    for resource in package["resources"]:
        assert not Path(resource["path"]).is_absolute()
        if resource["path"].endswith(".csv"):
            assert resource["type"] == "table"
            columns = {f["name"] for f in resource["schema"]["fields"]}
            assert set(resource["schema"].get("primaryKey", [])) <= columns
            assert all(
                f["type"] in {"string", "number", "integer", "date", "boolean"} for f in resource["schema"]["fields"]
            )


def test_frictionless_accepts_every_csv(folder: Path) -> None:
    package = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    package["resources"] = [r for r in package["resources"] if r["path"].endswith(".csv")]
    assert len(package["resources"]) >= 15
    with frictionless.system.use_context(trusted=True):
        report = frictionless.Package.from_descriptor(package, basepath=str(folder)).validate()
    assert report.valid, report.flatten(["title", "rowNumber", "fieldName", "note"])


def test_frictionless_notices_a_wrong_code_and_a_double_key(folder: Path, tmp_path: Path) -> None:
    """The description is strict enough to be of use."""
    package = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    package["resources"] = [r for r in package["resources"] if r["path"] == "daten/indikatorwerte.csv"]
    del package["resources"][0]["hash"], package["resources"][0]["bytes"]
    lines = (folder / "daten/indikatorwerte.csv").read_text(encoding="utf-8").splitlines()
    target = tmp_path / "daten/indikatorwerte.csv"
    target.parent.mkdir()
    for wrong, problem in (
        ([*lines, lines[1]], "primary-key"),
        ([lines[0], lines[1].replace(",A,", ",Z,")], "constraint-error"),
    ):
        target.write_text("\n".join(wrong) + "\n", encoding="utf-8")
        report = frictionless.Package.from_descriptor(package, basepath=str(tmp_path)).validate()
        assert problem in {row[0] for row in report.flatten(["type"])}


# ---------------------------------------------------------------- tables read back


def in_duckdb(con: duckdb.DuckDBPyConnection, table: str) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
    described = con.execute(f"DESCRIBE mart.{table}").fetchall()
    rows = con.execute(f"SELECT * FROM mart.{table}").fetchall()
    return [row[0] for row in described], [row[1] for row in described], rows


def read_back(text: str, kind: str, german: bool) -> Any:
    if text == "":
        return None
    if kind == "BOOLEAN":
        return {"ja": True, "nein": False}[text] if german else {"true": True, "false": False}[text]
    if kind == "DATE":
        return dt.date.fromisoformat(text)
    if kind == "INTEGER":
        return int(text)
    if kind == "DOUBLE":
        assert ("." if german else ",") not in text
        return float(text.replace(",", ".") if german else text)
    return text


@pytest.mark.parametrize("german", [False, True])
def test_csv_reads_back_as_the_table(con: duckdb.DuckDBPyConnection, folder: Path, table: str, german: bool) -> None:
    file = folder / f"{TABLES[table]}{'_de' if german else ''}.csv"
    content = file.read_bytes()
    assert content.startswith(b"\xef\xbb\xbf") == german
    assert b"\r" not in content
    with file.open(encoding="utf-8-sig", newline="") as lines:
        header, *rows = csv.reader(lines, delimiter=";" if german else ",")
    names, types, expected = in_duckdb(con, table)
    assert header == names
    assert [tuple(read_back(c, t, german) for c, t in zip(row, types, strict=True)) for row in rows] == expected


def as_python_writes(value: Any, german: bool) -> str:
    """A cell as the text that Python's own number formatting gives; the csv module decides about quotation marks."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return ("ja" if value else "nein") if german else ("true" if value else "false")
    if isinstance(value, float):
        text = str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        return text.replace(".", ",") if german else text
    return str(value)


@pytest.mark.parametrize("german", [False, True])
def test_csv_is_what_python_writes(con: duckdb.DuckDBPyConnection, folder: Path, table: str, german: bool) -> None:
    names, _, rows = in_duckdb(con, table)
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";" if german else ",", lineterminator="\n")
    writer.writerow(names)
    writer.writerows([as_python_writes(value, german) for value in row] for row in rows)
    file = folder / f"{TABLES[table]}{'_de' if german else ''}.csv"
    assert file.read_text(encoding="utf-8-sig") == out.getvalue()


def test_long_table_comes_without_a_workbook_and_says_so(
    city: Night, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Excel has 1,048,576 rows; the limit is lowered here to a number that one of the tables exceeds."""
    monkeypatch.setattr("pipelines.release.feed.WORKBOOK_ROWS", 10)
    release = tmp_path / folder.resolve().name
    shutil.copytree(folder, release)
    (release / "pruefsummen.sha256").unlink()
    models = city.models.declared()
    created = dt.datetime.fromisoformat(json.loads((folder / "datapackage.json").read_text("utf-8"))["created"])
    publication = city.publication
    assert publication is not None
    surplus = release / "daten/indikatorwerte.xlsx"
    surplus.unlink()
    write_feed(release, release / "sozialraum.duckdb", models, created)
    write_datapackage(release, models, publication.release_id, publication.content_hash, created)
    assert not surplus.exists() and (release / "daten/indikatoren.xlsx").exists()
    package = json.loads((release / "datapackage.json").read_text(encoding="utf-8"))
    told = {resource["path"]: resource.get("description", "") for resource in package["resources"]}
    assert "Ohne Arbeitsmappe" in told["daten/indikatorwerte_de.csv"] and not told["daten/indikatoren_de.csv"]
    shutil.copyfile(folder / "daten/indikatorwerte.xlsx", surplus)
    found = [leak.where for leak in check_rewritten(release, models)]
    assert "daten/indikatorwerte.xlsx" in found, "a workbook that nobody wrote must not be published"


def test_workbook_reads_back_as_the_table(con: duckdb.DuckDBPyConnection, folder: Path, table: str) -> None:
    book = python_calamine.CalamineWorkbook.from_path(str(folder / f"{TABLES[table]}.xlsx"))
    assert book.sheet_names == ["Daten", "Spalten", "Zeichenerklärung", "Herkunft"]
    header, *rows = book.get_sheet_by_name("Daten").to_python()
    names, types, expected = in_duckdb(con, table)
    assert header == names

    def cell(value: Any, kind: str) -> Any:
        if value == "":
            return None
        if kind == "BOOLEAN":
            return {"ja": True, "nein": False}[value]
        assert not (kind == "VARCHAR" and not isinstance(value, str)), "text that became a number loses leading zeros"
        return value

    found = [tuple(cell(v, t) for v, t in zip(row, types, strict=True)) for row in rows]
    sixteen_digits = [
        tuple(pytest.approx(v, rel=1e-15) if isinstance(v, float) else v for v in row) for row in expected
    ]
    assert found == sixteen_digits
    meanings = dict(book.get_sheet_by_name("Spalten").to_python()[1:])
    assert set(meanings) == set(names)
    assert all(meanings.values())


def test_parquet_is_the_table(con: duckdb.DuckDBPyConnection, folder: Path, table: str) -> None:
    names, types, expected = in_duckdb(con, table)
    file = folder / f"{TABLES[table]}.parquet"
    described = duckdb.execute(f"DESCRIBE FROM read_parquet('{file}')").fetchall()
    assert [row[0] for row in described] == names
    assert [row[1] for row in described] == types
    assert duckdb.execute(f"FROM read_parquet('{file}')").fetchall() == expected


def test_wide_table_shows_rounded_values_and_signs(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    with (folder / "daten/breit_bezirk_de.csv").open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter=";"))

    def cell(area: str, period: str, title: str) -> tuple[str, str]:
        row = next(r for r in rows if (r["Gebiet"], r["Zeitraum"]) == (area, period))
        value = next(text for head, text in row.items() if head.startswith(f"{title} ("))
        return value, row[f"Zeichen: {title}"]

    assert cell("Südhang", "2022-12-31", "Titel leerstand") == ("12,3", "k")  # 49 of 400 is 12.25; constructed
    assert cell("Altstadt", "2022-12-31", "Titel leerstand") == ("", "x k")
    assert cell("Mühlenviertel", "2022-12-31", "Titel leerstand") == ("", "t k")
    assert cell("Mühlenviertel", "2022-12-31", "Titel sgb2_quote") == ("", "g k")
    assert cell("Südhang", "2023", "Titel geburtenziffer") == ("", "g k")
    assert cell("Südhang", "2022", "Titel leerstand") == ("", "")  # no such figure for a calendar year
    shown = con.execute(
        "SELECT gebiet_name, zeitraum, indikator_titel, wert FROM api.indikatorwerte "
        "WHERE ebene = 'bezirk' AND wert IS NOT NULL"
    ).fetchall()
    for area, period, title, value in shown:
        assert float(cell(area, period, title)[0].replace(",", ".")) == value


def test_changed_address_or_licence_reaches_the_feed(published: Path) -> None:
    first = os.readlink(published / "data/releases/current")
    path = published / "assets/beispiel/defs.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("licence: CC0-1.0", "licence: dl-de/zero-2-0"), "utf-8")
    second = run_night(published).publication
    assert second.release_id != first
    assert "dl-de/zero-2-0" in (published / "data/releases/current/katalog/quellen_de.csv").read_text(encoding="utf-8")


def test_failed_night_does_not_leave_a_changed_internal_mart_behind(published: Path) -> None:
    path = published / "assets/beispiel/defs.yaml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("je 100 Einwohner von", "FALSCH"), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            KEY_VARIABLE, str(published / "schluessel")
        )  # inside the project: refused after the marts are built
        assert run_nightly(published, Quiet()) == 1
    path.write_text(good, encoding="utf-8")
    assert run_nightly(published, Quiet()) == 0
    with duckdb.connect(str((published / "data/warehouse/internal/internal.duckdb").resolve()), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM mart.indicator WHERE definition_de LIKE '%FALSCH%'").fetchall() == [
            (0,)
        ]


def test_every_code_in_the_data_is_in_its_list(con: duckdb.DuckDBPyConnection, folder: Path) -> None:
    lists = {}
    for file in (folder / "schluessel").glob("*.csv"):
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert all(row["code"] and row["bezeichnung_de"] and row["label_en"] for row in rows), file.name
        lists[file.stem] = {row["code"] for row in rows}
    columns = con.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'mart' AND data_type = 'VARCHAR'"
    ).fetchall()
    checked = 0
    for table, column in columns:
        name = {"level": "area_level"}.get(column, column)
        if name in lists:
            used = con.execute(f"SELECT DISTINCT {column} FROM mart.{table} WHERE {column} IS NOT NULL").fetchall()
            assert {code for (code,) in used} <= lists[name], (table, column)
            checked += 1
    assert checked >= 15


# ---------------------------------------------------------------- same input, same output


def bytes_in_force(root: Path) -> tuple[str, dict[str, Any], dict[str, str]]:
    """Name, description and hashes of the release in force, without those of the database."""
    folder = Paths.of(root).current.resolve()
    package = json.loads((folder / "datapackage.json").read_text(encoding="utf-8"))
    for resource in package["resources"]:
        if resource["path"] == "sozialraum.duckdb":
            del resource["hash"], resource["bytes"]  # DuckDB may lay out the same content differently
    files = digests(folder)
    for name in ("sozialraum.duckdb", "datapackage.json", CHECKSUMS):
        del files[name]
    return folder.name, package, files


def test_same_edition_at_the_same_moment_gives_the_same_bytes(published: Path) -> None:
    first = bytes_in_force(published)
    shutil.rmtree(published / "data/releases")
    shutil.rmtree(published / "data/warehouse")
    shutil.rmtree(published / "data/history/veroeffentlicht")
    (published / "data/history/veroeffentlichungen.json").unlink()  # else the second release is the second
    run_night(published, FIRST_NIGHT)
    assert bytes_in_force(published) == first


def rebuilt(city: Night, target: Path, observation: Path) -> str:
    return build_edition(city.models, observation, target, {}, release_id="x", commit="y").content_hash


def test_content_hash_does_not_depend_on_row_order_release_or_threads(
    city: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = city.public.content_hash  # type: ignore[union-attr]
    shuffled = tmp_path / "durcheinander.parquet"
    public = city.protection.observation  # type: ignore[union-attr]
    duckdb.execute(f"COPY (FROM '{public}' ORDER BY hash(area_id || period)) TO '{shuffled}'")
    assert rebuilt(city, tmp_path / "a.duckdb", shuffled) == expected
    connect = edition_module.duckdb.connect
    monkeypatch.setattr(edition_module.duckdb, "connect", lambda *a, **k: connect(*a, **k, config={"threads": 1}))
    assert rebuilt(city, tmp_path / "b.duckdb", public) == expected


@pytest.mark.parametrize(
    "change",
    [
        "value + 1 AS value",
        "'E' AS obs_status",
        "'inferred' AS origin",
        "'x-0009' AS delivery_ids",
        "data_as_of + 1 AS data_as_of",
    ],
)
def test_content_hash_changes_with_any_figure(city: Night, tmp_path: Path, change: str) -> None:
    changed = tmp_path / "anders.parquet"
    column = change.rsplit(maxsplit=1)[-1]
    duckdb.execute(
        f"COPY (SELECT * REPLACE (CASE WHEN area_id LIKE '%-3' AND period = '2022' THEN {change.rsplit(' AS ', 1)[0]} "
        f"ELSE {column} END AS {column}) FROM '{city.observation}') TO '{changed}'"
    )
    assert rebuilt(city, tmp_path / "a.duckdb", changed) != city.public.content_hash  # type: ignore[union-attr]


def test_changed_definition_is_a_new_release_and_a_changed_comment_is_not(published: Path) -> None:
    yaml_file = published / "assets/beispiel/defs.yaml"
    yaml_file.write_text(yaml_file.read_text(encoding="utf-8") + "\n# ein Kommentar\n", encoding="utf-8")
    again = run_night(published, NOW + DAY)
    assert again.publication is not None
    assert not again.publication.new
    assert len(releases(published)) == 1
    edit(published, lambda i: i["definition"].update(de="Anders bestimmt."), document="Indicator")
    changed = run_night(published, NOW + 2 * DAY)
    assert changed.publication is not None
    assert changed.publication.new
    assert len(releases(published)) == 2


def test_clock_set_back_removes_neither_the_newest_release_nor_the_internal_marts(project: Path) -> None:
    edit(project, lambda release: release.update(keep=2), topic="release", document="Release")
    paths = Paths.of(project)
    for i in range(3):
        vary(project, 100 + i)
        run_night(project, NOW - i * DAY)  # the newest release has the oldest time
        for file in paths.internal.glob("internal-*.duckdb"):
            os.utime(file, (4_000_000_000, 4_000_000_000 + i))
    assert sorted(int(name.rsplit("-", maxsplit=1)[-1]) for name in releases(project)) == [2, 3]
    assert os.readlink(paths.current).endswith("-0003")
    assert paths.internal_mart.exists()
    assert len(list(paths.internal.glob("internal-*.duckdb"))) == 2


# ---------------------------------------------------------------- damage


def change_file(paths: Paths) -> None:
    file = paths.current / "daten/indikatorwerte.csv"
    file.write_bytes(file.read_bytes().replace(b"121", b"111"))


def bend_link(paths: Paths) -> None:
    other = next(p.name for p in paths.releases.iterdir() if p.is_dir() and not p.samefile(paths.current))
    paths.current.unlink()
    paths.current.symlink_to(other)


DAMAGES: dict[str, Callable[[Paths], Any]] = {
    "a file changed": change_file,
    "checksums removed": lambda paths: (paths.current / CHECKSUMS).unlink(),
    "folder removed": lambda paths: shutil.rmtree(paths.current.resolve()),
    "link bent": bend_link,
    "pointer lost": lambda paths: (paths.releases / "aktuell.txt").unlink(),
    "link of the warehouse lost": lambda paths: paths.public_mart.unlink(),
}


def test_damage_is_noticed_by_the_gate_and_mended(published: Path) -> None:
    vary(published, 121)
    run_night(published, NOW + DAY)
    paths = Paths.of(published)
    assert gate.examine(paths, NOW.date()).unchanged
    for number, (name, damage) in enumerate(DAMAGES.items(), 2):
        damage(paths)
        assert not gate.examine(paths, NOW.date()).unchanged, name
        night = run_night(published, NOW + number * DAY)
        assert damaged_release(paths.current) is None, name
        assert night.publication is not None
        assert os.readlink(paths.current) == night.publication.release_id, name
        pointer = (paths.releases / "aktuell.txt").read_text(encoding="utf-8")
        assert pointer.strip() == night.publication.release_id, name
        with duckdb.connect(str(paths.public_mart.resolve()), read_only=True) as con:
            rows = con.execute(
                "SELECT release_id, zaehler FROM meta.release, api.zeitreihe('arbeitslosenanteil', 'Altstadt')"
            )
            assert rows.fetchall()[0] == (night.publication.release_id, 121), name
        assert gate.examine(paths, NOW.date()).unchanged, name


# ---------------------------------------------------------------- what must not get out


def test_source_that_is_not_public_is_published_without_its_small_counts(project: Path) -> None:
    edit(project, lambda source: source.update(publication="internal"))
    put(project, text_of(FIRST | {("1", "31.12.2022"): (2, 2400)}))
    run_night(project, NOW)
    paths = Paths.of(project)
    query = "SELECT value, is_suppressed FROM mart.observation WHERE area_id = '99999000-BZ-1' AND measure_id = "
    query += "'arbeitslose' AND period = '2022-12-31'"
    with duckdb.connect(str(paths.public_mart), read_only=True) as con:
        assert con.execute(query).fetchall() == [(None, True)]
    with duckdb.connect(str(paths.internal_mart), read_only=True) as con:
        assert con.execute(query).fetchall() == [(2, False)]


def test_source_that_is_not_public_but_has_nothing_in_force_stops_nothing(project: Path) -> None:
    edit(project, lambda source: source.update(publication="internal"))
    (project / "data/raw/beispiel/beispiel.csv").unlink()
    assert run_night(project).publication is not None


def test_internal_project_publishes_nothing_and_is_well(project: Path) -> None:
    edit(project, lambda source: source.update(publication="internal"))
    edit(project, lambda release: release.update(internal=True), topic="release", document="Release")
    night = run_night(project, NOW)
    assert night.exit_code == 0
    assert night.publication is None
    paths = Paths.of(project)
    assert not paths.current.exists()
    assert releases(project) == []
    assert paths.internal_mart.exists()
    said = Quiet()
    assert run_nightly(project, said, NOW) == 0
    assert said.lines[0].endswith("Veröffentlichung in Kraft: keine")


# ---------------------------------------------------------------- crashes


class Tripwire:
    """Kills the process, as `kill -9` or a power cut would, just before the nth step that changes a name on disk."""

    def __init__(self, kill_at: int | None) -> None:
        self.kill_at = kill_at
        self.steps: list[str] = []
        for name in ("rename", "replace", "symlink", "mkdir", "rmdir", "unlink"):
            setattr(os, name, self._watch(name, getattr(os, name)))

    def _watch(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if self._counts(name, arguments[0], options):
                if len(self.steps) == self.kill_at:
                    os._exit(9)
                self.steps.append(f"{name} {arguments[0]}")
            return real(*arguments, **options)

        return step

    def _counts(self, name: str, path: Any, options: dict[str, Any]) -> bool:
        """Not what changes nothing; of a folder's removal file by file only the first."""
        if name == "mkdir":
            return not os.path.lexists(path)
        if "dir_fd" in options:
            return self.steps[-1].startswith("rename")
        return name != "unlink" or os.path.lexists(path)


def publish_and_die(root: Path, kill_at: int | None, report: Path | None = None) -> None:
    """A whole night whose publishing step is killed."""
    night = Night.begin(root, lambda text: None, NOW + 10 * DAY)
    night.intake()
    night.build()
    night.protect()
    wire = Tripwire(kill_at)
    night.publish()
    if report:
        report.write_text(json.dumps(wire.steps), encoding="utf-8")


def judge(root: Path, before: str) -> dict[str, Any]:
    """After a crash: what readers see. After the next night: what is there."""
    paths = Paths.of(root)
    link = os.readlink(paths.current) if paths.current.is_symlink() else None
    seen = {"in force": link, "whole": link is None or damaged_release(paths.current) is None}
    pid = fork(lambda: run_night(root, NOW + 11 * DAY))
    seen["next night"] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seen["left"] = sorted(
        p.relative_to(root).as_posix()
        for p in (root / "data").rglob("*")
        if p.name.startswith((".neu-", ".pending")) or (p.is_symlink() and not p.exists())
    )
    seen["broken"] = [name for name in releases(root) if damaged_release(paths.releases / name) is not None]
    seen["counters"] = [int(name[-4:]) for name in releases(root)]
    seen["pointer"] = (paths.releases / "aktuell.txt").read_text(encoding="utf-8").strip() == os.readlink(paths.current)
    seen["unchanged"] = gate.examine(paths, NOW.date()).unchanged
    seen["old or new"] = link in (before or None, os.readlink(paths.current))
    return seen


def fork(work: Callable[[], Any]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - the parent reads the exit code
            traceback.print_exc()
            os._exit(1)
    return pid


def crash_server(workspace: Path, base: Path, step: int) -> None:
    """Own process that forks before DuckDB has started any thread: every `step`th crash point, then the next night.

    An ordinary run takes a few of them, not those at which the release's folders are made: tests/test_kill.py has more.
    """
    for name in ("pandas", "pandera.pandas", "pyarrow.parquet", "sqlglot.lineage"):
        importlib.import_module(name)  # loaded once, for all forks
    counted = workspace / "gezaehlt"
    shutil.copytree(base, counted, symlinks=True)
    pid = fork(lambda: publish_and_die(counted, None, workspace / "steps.json"))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    steps = json.loads((workspace / "steps.json").read_text(encoding="utf-8"))
    current = base / "data/releases/current"
    before = os.readlink(current) if current.is_symlink() else ""

    def some(first: int) -> None:
        points = [i for i, name in enumerate(steps) if SOAK or not name.startswith("mkdir")]
        for point in points[::step][first::2]:
            root = workspace / f"punkt-{point}"
            shutil.copytree(base, root, symlinks=True)
            pid = fork(lambda root=root, point=point: publish_and_die(root, point))  # type: ignore[misc]
            died = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            result = judge(root, before) | {"died": died, "step": steps[point]}
            (workspace / f"{point}.json").write_text(json.dumps(result), encoding="utf-8")
            shutil.rmtree(root)

    workers = [fork(lambda half=half: some(half)) for half in (0, 1)]  # type: ignore[misc]
    for worker in workers:
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == 0


def crash_everywhere(workspace: Path, base: Path, counters: list[list[int]], step: int) -> list[dict[str, Any]]:
    code = "import sys; from pathlib import Path; from tests.test_release import crash_server as c; "
    code += "c(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))"
    run = subprocess.run(
        [sys.executable, "-c", code, str(workspace), str(base), str(step)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert run.returncode == 0, run.stderr
    results = [json.loads(p.read_text(encoding="utf-8")) for p in workspace.glob("[0-9]*.json")]
    for result in results:
        assert result["died"] == 9, result
        assert result["whole"], result
        assert result["old or new"], result
        assert result["next night"] == 0, result
        assert result["left"] == [], result
        assert result["broken"] == [], result
        assert result["counters"] in counters, result
        assert result["pointer"], result
        assert result["unchanged"], result
    return results


@pytest.mark.soak
@pytest.mark.parametrize("before", ["nothing published yet", "two releases, one to be retired"])
def test_crash_at_any_point_leaves_a_whole_release_and_the_next_run_repairs(
    tmp_path: Path, published: Path, before: str
) -> None:
    base = tmp_path / "vorher"
    step, counters = (1 if SOAK else 40), [[1], [2]]  # a folder that never came into force uses up its number
    if before.startswith("two"):
        published.rename(base)
        edit(base, lambda release: release.update(keep=2), topic="release", document="Release")
        vary(base, 130)
        run_night(base, NOW + DAY)
        vary(base, 140)
        step, counters = (1 if SOAK else 40), [[2, 3], [2, 4]]
    else:
        create_project(base, Quiet())
    results = crash_everywhere(tmp_path, base, counters, step)
    assert len(results) >= (14 if SOAK else 1)
