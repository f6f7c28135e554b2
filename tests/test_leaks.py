"""Whole nights with a fault in our own program: the last look at the finished files must stop the publication.

And whole nights without a fault, attacked as anybody could: by searching every byte, and by trying all numbers.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import random
import re
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import xlsxwriter
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

import pipelines.disclosure.protection as protection
import pipelines.release.publish as publishing
from pipelines.audit.release import Audit
from pipelines.clearance import Unsafe
from pipelines.disclosure.protection import CannotProtect
from pipelines.disclosure.protector import Pattern
from pipelines.disclosure.relations import AREAS, CATEGORIES, SUMS, WHOLES, YEARS
from pipelines.ledger import CellLedger
from pipelines.night import Night
from pipelines.nightly import run_nightly
from pipelines.paths import Paths
from pipelines.provenance.files import provenance_beside
from tests.conftest import Quiet, run_night, sozialraum
from tests.test_history import NOW, put, release_locks
from tests.test_marts import measure
from tests.test_protection import LINES, with_rate
from tests.town import (
    CITY,
    LEVELS,
    MEN,
    RESIDENTS,
    WOMEN,
    deliver,
    district,
    planning_area,
    public,
    topic,
    town,
    write_topic,
)

SOAK = os.environ.get("SOAK") == "1"
DAY = dt.timedelta(days=1)
SAFE_WOMEN, SAFE_MEN = [7, 9, 12, 9, 30, 8], [5, 6, 14, 11, 25, 9]
FIRST_DAY, SECOND_DAY = "31.12.2021", "31.12.2022"
SECOND = dt.date(2022, 12, 31)
Patch = pytest.MonkeyPatch


# ---------------------------------------------------------------- towns with a release in force


def in_force(folder: Path) -> Path:
    """A first release in which nothing had to be withheld."""
    deliver(folder, SAFE_WOMEN, SAFE_MEN, day=FIRST_DAY, name="erste.csv")
    assert run_night(folder, NOW).publication
    return folder


@pytest.fixture(scope="module")
def _plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_force(town(tmp_path_factory.mktemp("plain") / "Stadt", school_districts=True))


@pytest.fixture
def plain(_plain: Path, tmp_path: Path) -> Path:
    return shutil.copytree(_plain, tmp_path / "Stadt", symlinks=True)


@pytest.fixture(scope="module")
def struck(_plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small figures have arrived; many faulty nights follow, of which nothing may be left."""
    folder = shutil.copytree(_plain, tmp_path_factory.mktemp("getroffen") / "Stadt", symlinks=True)
    deliver(folder, WOMEN, MEN, day=SECOND_DAY)
    return folder


@pytest.fixture(scope="module")
def faultless(_plain: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Night]:
    """The figures of `struck` in a project that never had a fault."""
    folder = shutil.copytree(_plain, tmp_path_factory.mktemp("ohne Fehler") / "wie immer", symlinks=True)
    deliver(folder, WOMEN, MEN, day=SECOND_DAY)
    return folder, run_night(folder, NOW + DAY)


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same; school districts are there, but nothing is published for them."""
    folder = town(tmp_path_factory.mktemp("spare") / "Stadt", school_districts=True)
    write_topic(folder, topic(list(LEVELS), {}))
    in_force(folder)
    deliver(folder, WOMEN, MEN, day=SECOND_DAY)
    return folder


THIRD = [20, 22, 24, 26, 28, 30]


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three categories; sums of two of them, and the sum of two years, are measures of their own."""
    folder = town(tmp_path_factory.mktemp("summen") / "Stadt")
    documents = topic(list(LEVELS), {})
    documents[0]["attributes"]["layout"]["values"].append(
        {"column": "divers", "measure": "hilfen", "category": "divers"}
    )
    documents[2]["attributes"]["categories"].append({"id": "divers", "title": {"de": "divers", "en": "divers"}})
    for name, more in {
        "wd": {"categories": ["weiblich", "divers"]},
        "wm": {"categories": ["weiblich", "maennlich"]},
        "zwei_jahre": {"categories": ["weiblich"], "periods": 2},
    }.items():
        document = measure(name, "stichtag", "jugendamt", formed={"measure": "hilfen", **more})
        del document["attributes"]["levels"]
        documents.append(document)
    write_topic(folder, documents)
    deliver_three(folder, SAFE_WOMEN, SAFE_MEN, FIRST_DAY, "erste.csv")
    assert run_night(folder, NOW).publication
    deliver_three(folder, [SAFE_WOMEN[0], 1, *SAFE_WOMEN[2:]], SAFE_MEN, SECOND_DAY, "zweite.csv")
    return folder


def deliver_three(folder: Path, women: list[int], men: list[int], day: str, name: str) -> None:
    deliver(folder, women, men, day=day, name=name)
    rows = [
        f"Bezirk {n};{day};{w};{m};{d};{w + m + d}\n"
        for n, (w, m, d) in enumerate(zip(women, men, THIRD, strict=True), 1)
    ]
    put(folder, "Bezirk;Zeit;weiblich;maennlich;divers;insgesamt\n" + "".join(rows), name, "jugendamt")


# ---------------------------------------------------------------- what must not have happened


def bytes_below(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): os.readlink(p)
        if p.is_symlink()
        else hashlib.sha256(p.read_bytes()).hexdigest()
        for p in folder.rglob("*")
        if p.is_symlink() or p.is_file()
    }


def outside(folder: Path) -> dict[str, Any]:
    """All that a caught leak must leave as it was: releases, what is in force, and both ledgers."""
    paths = Paths.of(folder)
    return {
        "releases": bytes_below(paths.releases),
        "folders": sorted(p.name for p in paths.releases.iterdir()),
        "mart": os.readlink(paths.public_mart),
        "ledger": bytes_below(paths.history / "veroeffentlicht"),
        "published": (paths.history / "veroeffentlichungen.json").read_bytes(),
    }


BUILT: dict[Path, Night] = {}


def stopped(folder: Path, number: int = 1) -> Audit:
    """A night that must be stopped by the audit; everything outside is as before.

    All faults are in protection and publication: in a short run the nights of a project share intake and marts.
    """
    before = outside(folder)
    with pytest.raises(Unsafe) as refused:
        if SOAK:
            run_night(folder, NOW + number * DAY)
        if folder not in BUILT:
            BUILT[folder] = Night.begin(folder, lambda _: None, NOW + number * DAY)
            BUILT[folder].intake()
            BUILT[folder].build()
        BUILT[folder].protect()
        BUILT[folder].publish()
    release_locks()
    assert outside(folder) == before
    return refused.value.audit


def recovers(folder: Path, number: int = 2) -> Night:
    """The next night, without the fault, publishes."""
    before = os.readlink(Paths.of(folder).current)
    night = run_night(folder, NOW + number * DAY)
    assert night.publication and night.publication.new
    assert os.readlink(Paths.of(folder).current) == night.publication.release_id != before
    assert night.audit and not night.audit.leaks
    return night


def recovers_in_a_copy(folder: Path, number: int = 2) -> None:
    """Long runs only; in a short one one project recovers once, after all its faulty nights."""
    if SOAK:
        copy = shutil.copytree(folder, folder.with_name("Kopie"), symlinks=True)
        recovers(copy, number)
        shutil.rmtree(copy)


def together(faults: Mapping[str, Any]) -> Any:
    """Faults that do not hide each other happen in one night (in a long run each has its own)."""
    groups: dict[Any, list[str]] = {}
    for name, (night, *_) in faults.items():
        groups.setdefault(name if SOAK else night, []).append(name)
    return pytest.mark.parametrize("names", groups.values(), ids=", ".join)


def named(audit: Audit, pattern: str) -> bool:
    return any(re.search(pattern, f"{leak.kind} {leak.where} {leak.what}") for leak in audit.leaks)


def kinds(audit: Audit) -> set[str]:
    return {leak.kind for leak in audit.leaks}


def computed(audit: Audit, area: str) -> bool:
    return any(leak.kind in ("errechenbar", "bedarf") and area in leak.where for leak in audit.leaks)


# ---------------------------------------------------------------- the protector does not know something


def hide(patch: Patch, hidden: Callable[[Any], bool]) -> None:
    """The protector is not told about some relations."""
    build = protection.build_relations

    def some(*arguments: Any) -> Any:
        relations, remainders = build(*arguments)
        assert any(map(hidden, relations))
        return [relation for relation in relations if not hidden(relation)], remainders

    patch.setattr(protection, "build_relations", some)


@pytest.mark.parametrize("kind", [AREAS, CATEGORIES])
def test_relation_hidden_from_the_protector(struck: Path, monkeypatch: Patch, kind: str) -> None:
    with monkeypatch.context() as patch:
        hide(patch, lambda relation: relation.kind == kind)
        assert computed(stopped(struck), district(2))
    recovers_in_a_copy(struck)


def test_remainders_and_second_geography_hidden_from_the_protector(plain: Path, monkeypatch: Patch) -> None:
    """All but one of the 21 of district 4: who is the one? District 3 = planning area 1 without school district 1."""
    women, men = [7, 9, 2, 9, 30, 8], [5, 6, 4, 11, 25, 9]
    deliver(plain, women, men, [*RESIDENTS[:3], 21, *RESIDENTS[4:]], day=SECOND_DAY)
    with monkeypatch.context() as patch:
        hide(patch, lambda relation: relation.kind == WHOLES)
        hide(patch, lambda relation: relation.kind == AREAS and "-SB-" in relation.total[2])
        audit = stopped(plain)
        assert computed(audit, district(4))
        assert computed(audit, district(3))
    recovers_in_a_copy(plain)


@pytest.mark.parametrize("kind", [SUMS, YEARS])
def test_sums_of_measures_hidden_from_the_protector(sums: Path, monkeypatch: Patch, kind: str) -> None:
    with monkeypatch.context() as patch:
        hide(patch, lambda relation: relation.kind == kind)
        assert computed(stopped(sums), district(2))
    recovers_in_a_copy(sums)


def test_no_protector_at_all(struck: Path, monkeypatch: Patch) -> None:
    """Only the small figures are starred: subtraction tells them."""
    with monkeypatch.context() as patch:
        patch.setattr(
            protection,
            "protect",
            lambda task, cache: Pattern(task.closed.copy(), 0.0, 0.0, "exact", [], np.zeros_like(task.closed)),
        )
        audit = stopped(struck)
        assert computed(audit, district(2))
        assert computed(audit, district(3))
    recovers_in_a_copy(struck)


def test_one_secondary_star_too_few(struck: Path, monkeypatch: Patch) -> None:
    protect = protection.protect

    def careless(task: Any, cache: Any) -> Pattern:
        pattern = protect(task, cache=cache)
        suppressed = pattern.suppressed.copy()
        suppressed[np.flatnonzero(suppressed & ~task.closed)[0]] = False
        return Pattern(suppressed, pattern.weight, pattern.bound, pattern.method, [], pattern.lifted)

    with monkeypatch.context() as patch:
        patch.setattr(protection, "protect", careless)
        assert kinds(stopped(struck)) & {"errechenbar", "bedarf"}
    recovers_in_a_copy(struck)


# ---------------------------------------------------------------- the protector forgets, or is not asked


def test_previous_release_forgotten(faultless: tuple[Path, Night], tmp_path: Path, monkeypatch: Patch) -> None:
    """What was hidden stays hidden: men of district 2, shown now, tell the women of the first release."""
    plain = shutil.copytree(faultless[0], tmp_path / "Stadt", symlinks=True)
    deliver(plain, SAFE_WOMEN, [*MEN[:2], 14, *MEN[3:]], day=SECOND_DAY, name="berichtigt.csv")
    with monkeypatch.context() as patch:
        patch.setattr(CellLedger, "before", lambda *_: None)
        patch.setattr("pipelines.disclosure.problem.with_past", lambda task, *_: task)
        audit = stopped(plain, 2)
        assert any("früheren Fassung" in leak.what for leak in audit.leaks)
    recovers_in_a_copy(plain, 3)


def public_rows(folder: Path, select: str) -> None:
    """Rewrite the observation that is to be published."""
    file = folder / "data/warehouse/oeffentlich/beobachtung.parquet"
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE p AS FROM read_parquet('{file}')")
        con.execute(f"CREATE TABLE t AS FROM read_parquet('{folder}/data/warehouse/internal/beobachtung.parquet')")
        con.execute(f"COPY (FROM ({select}) ORDER BY 1, 2, 3, 4, 5) TO '{file}' (FORMAT parquet)")


def after_protection(patch: Patch, folder: Path, selects: list[str]) -> None:
    original = protection.protect_observation

    def then(*arguments: Any, **options: Any) -> Any:
        found = original(*arguments, **options)
        for select in selects:
            public_rows(folder, select)
        return found

    patch.setattr("pipelines.night.protect_observation", then)


WOMEN_NOW = "measure_id = 'hilfen' AND category = 'weiblich' AND reference_date = DATE '2022-12-31'"
MEN_NOW = WOMEN_NOW.replace("weiblich", "maennlich")
TRUE = "(SELECT {} FROM t WHERE t.measure_id = p.measure_id AND t.category = p.category AND t.area_id = p.area_id AND "
TRUE += "t.reference_date = p.reference_date)"
AFTERWARDS: dict[str, tuple[int, str, str]] = {  # night, what is done, what must be found
    "one level too many": (
        1,
        f"""FROM p UNION ALL BY NAME
        SELECT * REPLACE ('{CITY}-SB-1' AS area_id, 'schulbezirk' AS area_level, (SELECT sum(value) FROM t
            WHERE {WOMEN_NOW} AND area_id IN ('{district(1)}', '{district(2)}')) AS value)
        FROM p WHERE {WOMEN_NOW} AND area_id = '{planning_area(1)}'""",
        f"errechenbar .*weiblich.*{district(2)}.*Schulbezirk 1",
    ),
    "reason code tells the secondary ones": (
        1,
        f"""SELECT * REPLACE (CASE WHEN {TRUE.format("value")} >= 3 AND is_suppressed AND category = 'weiblich'
            THEN 'secondary' ELSE suppression_reason END AS suppression_reason) FROM p""",
        "unbekannter_code .*weiblich.*secondary",
    ),
    "another known reason tells the secondary ones": (
        1,
        f"""SELECT * REPLACE (CASE WHEN {TRUE.format("value")} >= 3 AND is_suppressed AND category = 'maennlich'
            THEN 'inherited' ELSE suppression_reason END AS suppression_reason) FROM p""",
        "unbekannter_code .*maennlich.*inherited",
    ),
    "nothing masked": (2, "SELECT * FROM t", f"kleine_zahl .*maennlich.*{district(3)}"),
    "one small figure not masked": (
        3,
        f"""SELECT * FROM t WHERE {WOMEN_NOW} AND area_id = '{district(2)}' UNION ALL
        SELECT * FROM p WHERE NOT ({WOMEN_NOW} AND area_id = '{district(2)}')""",
        f"kleine_zahl .*weiblich.*{district(2)}",
    ),
}


@together(AFTERWARDS)
def test_observation_altered_after_protection(spare: Path, monkeypatch: Patch, names: list[str]) -> None:
    with monkeypatch.context() as patch:
        after_protection(patch, spare, [AFTERWARDS[name][1] for name in names])
        audit = stopped(spare)
    assert [name for name in names if not named(audit, AFTERWARDS[name][2])] == []
    recovers_in_a_copy(spare)


def test_true_observation_taken_for_the_public_edition(struck: Path, monkeypatch: Patch) -> None:
    build = Night._edition
    with monkeypatch.context() as patch:
        patch.setattr(Night, "_edition", lambda self, _file, *more: build(self, self.observation, *more))
        assert computed(stopped(struck), district(2))
    recovers_in_a_copy(struck)


def test_received_cells_taken_for_the_public_edition(struck: Path, monkeypatch: Patch) -> None:
    def all_told(_project: Any, internal: Path, public: Path) -> None:
        for name, file in provenance_beside(internal).items():
            shutil.copyfile(file, provenance_beside(public)[name])

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.night.publish_provenance", all_told)
        assert named(stopped(struck), r"nicht_ableitbar meta\.figure_source, hilfen, .*ohnehin öffentlich")
    recovers_in_a_copy(struck)


def test_delivered_rate_with_two_decimals(tmp_path: Path, monkeypatch: Patch) -> None:
    """0.48 % of 421 is two people, whom nobody delivers as a count."""
    folder = town(tmp_path / "Stadt")
    with_rate(folder, ["5,23", "10,00", "5,00", "10,00", "0,00", "7,50"], declared=True, residents=[421] * 6)()
    rates = ["0,48", "10,45", "5,23", "10,45", "0,00", "7,60"]
    rows = "".join(f"Bezirk {n};31.12.2023;{rate}\n" for n, rate in enumerate(rates, 1))
    put(folder, f"Bezirk;Zeit;krankenquote\n{rows}", "quoten2.csv", "gesundheitsamt")
    deliver(folder, SAFE_WOMEN, SAFE_MEN, [421] * 6, day="31.12.2023", name="zweite.csv")
    with monkeypatch.context() as patch:
        patch.setattr(protection, "_rate_shown", lambda *_: True)
        assert computed(stopped(folder), district(1))
    recovers_in_a_copy(folder)


# ---------------------------------------------------------------- the writer of the files says too much


def secret_rows(folder: Path) -> str:
    """SQL: keys and true values of the withheld figures of now."""
    true, shown = (folder / "data/warehouse" / place / "beobachtung.parquet" for place in ("internal", "oeffentlich"))
    return (
        f"SELECT * FROM read_parquet('{true}') t "
        f"SEMI JOIN (SELECT * FROM read_parquet('{shown}') WHERE is_suppressed) p "
        "USING (measure_id, category, area_id, period_type, reference_date)"
    )


def in_database(file: Path, folder: Path, *statements: str) -> None:
    with duckdb.connect(str(file)) as con:
        con.execute(f"CREATE TEMP TABLE secret AS {secret_rows(folder)}")
        for statement in statements:
            con.execute(statement)


IN_DATABASE = {
    "reason column": [
        "ALTER TABLE mart.observation ADD COLUMN grund VARCHAR",
        """UPDATE mart.observation o SET grund = CASE WHEN s.value < 3 THEN 'primary' ELSE 'secondary' END
        FROM secret s WHERE o.measure_id = s.measure_id AND o.category = s.category AND o.area_id = s.area_id""",
    ],
    "z-score of true values": [
        """UPDATE mart.indicator_value SET value = (SELECT (max(value) - avg(value)) / 12.5 FROM secret)
        WHERE value IS NULL OR area_id LIKE '%BZ-2'""",
    ],
    "order of the rows": [
        """CREATE TABLE mart.neu AS SELECT o.* FROM mart.observation o LEFT JOIN secret s
        USING (measure_id, category, area_id, period_type, reference_date) ORDER BY s.value""",
        "DELETE FROM mart.observation",
        "INSERT INTO mart.observation FROM mart.neu",
        "DROP TABLE mart.neu",
    ],
    "hash of a delivery": [
        f"UPDATE meta.delivery SET address = '{hashlib.sha256(b'hilfen').hexdigest()}'",
    ],
}


def true_csv(folder: Path) -> None:
    file = folder / "daten/beobachtungen.csv"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    start = f"hilfen,weiblich,{district(2)},stichtag,2022-12-31,"
    place = next(n for n, line in enumerate(lines) if line.startswith(start))
    assert ",Q," in lines[place]
    lines[place] = lines[place].replace(",,Q,", ",1,Q,").replace(",Q,C,", ",Q,C,")
    file.write_bytes("".join(lines).encode())


def true_parquet(folder: Path) -> None:
    file = folder / "daten/beobachtungen.parquet"
    duckdb.execute(
        f"COPY (SELECT * REPLACE (CASE WHEN {MEN_NOW} AND area_id = '{district(3)}' THEN 2 ELSE value END AS value) "
        f"FROM '{file}') TO '{file}.neu' (FORMAT parquet, COMPRESSION zstd)"
    )
    Path(f"{file}.neu").rename(file)


def true_xlsx(folder: Path) -> None:
    rows = duckdb.execute(f"FROM '{folder}/daten/beobachtungen.parquet'")
    header = [c[0] for c in rows.description]
    with xlsxwriter.Workbook(str(folder / "daten/beobachtungen.xlsx"), {"default_date_format": "dd.mm.yyyy"}) as book:
        sheets = [book.add_worksheet(name) for name in ("Daten", "Spalten", "Zeichenerklärung", "Herkunft")]
        sheets[0].write_row(0, 0, header)
        for number, row in enumerate(rows.fetchall(), 1):
            shown = [("ja" if v else "nein") if isinstance(v, bool) else v for v in row]
            if row[:3] == ("hilfen", "weiblich", district(2)) and row[4] == SECOND:
                shown[header.index("value")] = 1
            sheets[0].write_row(number, 0, shown)


def hash_in_package(folder: Path) -> None:
    file = folder / "datapackage.json"
    package = json.loads(file.read_text(encoding="utf-8"))
    raw = folder.parents[2] / "data/raw/jugendamt/lieferung.csv"
    package["sources"][0]["version"] = hashlib.sha256(raw.read_bytes()).hexdigest()
    file.write_text(json.dumps(package), encoding="utf-8")


WRITER: dict[str, tuple[int, Callable[[Path], None] | None, str]] = {  # night, done to the folder, must be found
    "reason column": (1, None, r"unbekannte_spalte mart\.observation, Spalte grund"),
    "z-score of true values": (1, None, r"nicht_ableitbar mart\.indicator_value, Spalte value"),
    "hash of a delivery": (1, None, r"pruefsumme meta\.delivery, Spalte address"),
    "plain hash of a delivery in the table of contents": (1, hash_in_package, r"pruefsumme datapackage\.json"),
    "true value in CSV": (1, true_csv, rf"errechenbar .*{district(2)}.*steht in daten/beobachtungen\.csv"),
    "true value in Parquet": (1, true_parquet, rf"errechenbar .*{district(3)}.*steht in daten/beobachtungen\.parquet"),
    "order of the rows": (2, None, r"nicht_ableitbar mart\.observation, Spalte measure_id, Zeile 1"),
    "true value in a workbook": (2, true_xlsx, rf"errechenbar .*{district(2)}.*steht in daten/beobachtungen\.xlsx"),
}


@together(WRITER)
def test_writer_says_too_much(struck: Path, monkeypatch: Patch, names: list[str]) -> None:
    """Statements in the database before the other files are written, the other files at the very end."""
    feed, package = (getattr(publishing, name) for name in ("write_feed", "write_datapackage"))

    def altered(folder: Path, file: Path, *more: Any) -> None:
        in_database(file, struck, *(statement for name in names for statement in IN_DATABASE.get(name, [])))
        feed(folder, file, *more)
        for name in names:
            if (tamper := WRITER[name][1]) and tamper is not hash_in_package:
                tamper(folder)

    def hashed(folder: Path, *more: Any) -> None:
        package(folder, *more)
        if any(WRITER[name][1] is hash_in_package for name in names):
            hash_in_package(folder)

    with monkeypatch.context() as patch:
        patch.setattr(publishing, "write_feed", altered)
        patch.setattr(publishing, "write_datapackage", hashed)
        audit = stopped(struck)
    assert [name for name in names if not named(audit, WRITER[name][2])] == []
    recovers_in_a_copy(struck)


def test_command_says_that_nothing_was_published_and_ends_with_1(struck: Path, monkeypatch: Patch) -> None:
    before, voice = outside(struck), Quiet()
    with monkeypatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(struck / "data/state"))
        hide(patch, lambda relation: relation.kind == CATEGORIES)
        assert run_nightly(struck, voice, NOW + DAY) == 1
    release_locks()
    assert outside(struck) == before
    said = "\n".join(voice.lines)
    assert "Nichts veröffentlicht" in said
    assert district(2) in said
    value = re.compile(r"errechnen: \d|: 1, also")  # places, no values: what is said goes into logs
    assert not value.search(said)
    for path in (struck / "data/state").rglob("*"):
        assert not (path.is_file() and value.search(path.read_bytes().decode("utf-8", "replace"))), path
    assert "unverändert in Kraft" in said
    assert "Traceback" not in said
    recovers_in_a_copy(struck)


@pytest.mark.parametrize("name", ["struck", "spare", "sums"] if SOAK else ["struck"])
def test_next_night_publishes_as_if_nothing_had_happened(name: str, request: pytest.FixtureRequest) -> None:
    """No pattern of a faulty night is taken from the cache: the same as in a project that never had a fault."""
    folder = request.getfixturevalue(name)
    recovers(folder)
    assert None in public(folder).values()
    if name == "struck":
        assert public(folder) == public(request.getfixturevalue("faultless")[0])


# ---------------------------------------------------------------- every byte

SECRET = 791933
WORD = "GEHEIMWORT-4711"
RAW_NAME = "nur_fuer_den_dienstgebrauch_0815.csv"


def encodings(number: int) -> dict[str, bytes]:
    german = f"{number:,}".replace(",", ".")
    return {
        "text": str(number).encode(),
        "german text": german.encode(),
        "utf-16": str(number).encode("utf-16-le"),
        "int32": struct.pack("<i", number),
        "int64": struct.pack("<q", number),
        "double": struct.pack("<d", number),
        "big-endian double": struct.pack(">d", number),
        "float": struct.pack("<f", number),
    }


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Bytes of all files below a folder; packed ones unpacked, tables and statistics as text."""
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        yield f"{name} (name)", name.encode()
        yield name, path.read_bytes()
        if path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as packed:
                yield from ((f"{name}!{entry}", packed.read(entry)) for entry in packed.namelist())
        elif path.suffix == ".parquet":
            with duckdb.connect() as con:
                for function in ("read_parquet", "parquet_metadata", "parquet_kv_metadata", "parquet_file_metadata"):
                    told = con.execute(f"FROM {function}('{path}')")
                    rows = [[v for v in row if v != str(path)] for row in told.fetchall()]
                    yield f"{name}!{function}", str(rows).encode()
        elif path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as con:
                tables = con.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall()
                for schema, table in tables:
                    yield f"{name}!{schema}.{table}", str(con.execute(f'FROM "{schema}"."{table}"').fetchall()).encode()
                    storage = con.execute("SELECT stats FROM pragma_storage_info(?)", [f"{schema}.{table}"])
                    yield f"{name}!{schema}.{table} (statistics)", str(storage.fetchall()).encode()


def found_in(folder: Path, secrets: Mapping[str, bytes]) -> list[tuple[str, str]]:
    return [(name, what) for name, content in contents(folder) for what, secret in secrets.items() if secret in content]


@pytest.fixture(scope="module")
def secret_town(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A large secret in a secondary star, a word in a column that is not read, a telling file name: a real night."""
    folder = town(tmp_path_factory.mktemp("geheim") / "Stadt")
    documents = topic(list(LEVELS), {})
    documents[0]["attributes"]["layout"]["ignore"] = ["Bemerkung"]
    write_topic(folder, documents)
    women, residents = [*WOMEN[:2], SECRET, *WOMEN[3:]], [*RESIDENTS[:2], 3_000_000, *RESIDENTS[3:]]
    deliver(folder, women, residents=residents, name=RAW_NAME)
    raw = folder / "data/raw/jugendamt" / RAW_NAME
    head, *lines = raw.read_text(encoding="utf-8").splitlines()
    raw.write_text(f"{head};Bemerkung\n" + "".join(f"{line};{WORD}\n" for line in lines), encoding="utf-8")
    run = sozialraum("nightly", "--project", folder)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder, run.stdout + run.stderr


def test_search_finds_every_encoding(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "roh.duckdb")) as con:  # uncompressed; else DuckDB packs what it can
        con.execute("SET force_compression = 'uncompressed'")
        con.execute("CREATE TABLE t (d DOUBLE, i INTEGER, b BIGINT)")
        con.executemany("INSERT INTO t VALUES (?, ?, ?)", [[5, 5, 5], [SECRET] * 3, [7, 7, 7]])
    (tmp_path / "text.csv").write_text(f"{SECRET};791.933", encoding="utf-8")
    found = {what for _, what in found_in(tmp_path, encodings(SECRET))}
    assert {"text", "german text", "int32", "int64", "double"} <= found


def test_search_finds_the_secrets_inside(secret_town: tuple[Path, str]) -> None:
    """Else the searches below would prove nothing."""
    folder, _ = secret_town
    numbers = found_in(folder / "data/warehouse/internal", encodings(SECRET))
    assert any(name.endswith(".duckdb!mart.observation") for name, _ in numbers)
    assert any(name.endswith(".parquet!read_parquet") for name, _ in numbers)
    assert found_in(folder / "data/history/deliveries", {"word": WORD.encode()})
    assert found_in(folder / "data/history/deliveries", {"name": RAW_NAME.encode()})
    shown = encodings(7 + 1 + SECRET)  # all women of planning area 1 are published
    assert any(name.endswith(".duckdb!mart.observation") for name, _ in found_in(folder / "data/releases", shown))


def test_no_byte_of_the_release_tells_a_secret(secret_town: tuple[Path, str]) -> None:
    folder, _ = secret_town
    digest = hashlib.sha256((folder / "data/raw/jugendamt" / RAW_NAME).read_bytes())
    secrets = encodings(SECRET) | {"word": WORD.encode(), "name": RAW_NAME.encode(), "path": str(folder).encode()}
    secrets |= {"hash": digest.hexdigest()[:16].encode(), "raw hash": digest.digest()}
    for place in ("data/releases", "data/warehouse/oeffentlich"):
        assert found_in(folder / place, secrets) == []
    assert found_in(folder / "data/warehouse", {"word": WORD.encode()}) == []


def test_neither_dagsters_storage_nor_the_terminal_tells_a_secret(secret_town: tuple[Path, str]) -> None:
    folder, said = secret_town
    state = folder / "data/state"
    assert any(path.suffix == ".db" for path in state.rglob("*"))
    secrets = {k: v for k, v in encodings(SECRET).items() if "text" in k or k == "utf-16"} | {"word": WORD.encode()}
    assert found_in(state, secrets) == []
    assert not any(secret in said.encode() for secret in secrets.values())


# ---------------------------------------------------------------- the writer can't see inside

WATCHED: list[Path] = []
OPENED: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHED and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes | Path):
        path = Path.cwd() / os.fsdecode(arguments[0])
        OPENED.extend(str(path) for folder in WATCHED if path.is_relative_to(folder))


@contextmanager
def out_of_reach(folders: list[Path]) -> Iterator[None]:
    away = [folder.with_name(f"{folder.name} weg") for folder in folders]
    for folder, other in zip(folders, away, strict=True):
        folder.rename(other)
    WATCHED.extend([*folders, *away])
    try:
        yield
    finally:
        WATCHED.clear()
        for folder, other in zip(folders, away, strict=True):
            other.rename(folder)


def test_release_is_written_without_anything_internal(
    plain: Path, faultless: tuple[Path, Night], monkeypatch: Patch
) -> None:
    deliver(plain, WOMEN, MEN, day=SECOND_DAY)
    other, usual = faultless[0], faultless[1].publication
    paths, calls = Paths.of(plain), []
    folders = [paths.history, paths.inbox, paths.internal]
    sys.addaudithook(_watch)

    def blind(write: Callable[..., None], *arguments: Any) -> None:
        calls.append(write.__name__)
        with out_of_reach(folders):
            write(*arguments)

    with monkeypatch.context() as patch:
        for name in ("write_feed", "write_datapackage"):
            patch.setattr(publishing, name, partial(blind, getattr(publishing, name)))
        blindly = run_night(plain, NOW + DAY).publication
    assert OPENED == []
    assert calls == ["write_feed", "write_datapackage", "write_datapackage"]
    assert blindly == usual
    written, expected = (bytes_below(f / "data/releases" / usual.release_id) for f in (plain, other))  # type: ignore[union-attr]
    assert written.keys() == expected.keys()
    assert {k for k in written if written[k] != expected[k]} <= {
        "sozialraum.duckdb",
        "datapackage.json",
        "pruefsummen.sha256",
        "katalog/geheimhaltungspruefung_de.csv",
    } | {k for k in written if k.endswith(".xlsx")}


def test_watching_notices(tmp_path: Path) -> None:
    """Else the test above would prove nothing."""
    (tmp_path / "innen").mkdir()
    (tmp_path / "innen/datei").touch()
    sys.addaudithook(_watch)
    WATCHED.append(tmp_path / "innen")
    try:
        (tmp_path / "innen/datei").read_bytes()
        assert len(list((tmp_path / "innen").iterdir())) == 1
    finally:
        WATCHED.clear()
    assert len(OPENED) >= 2
    OPENED.clear()


# ---------------------------------------------------------------- any town

Key = tuple[str, str]
Variable = tuple[str, str, str]
Sum = tuple[Variable, tuple[Variable, ...]]


def can_be(lines: list[Sum], known: Mapping[Variable, int], target: Variable, at_least: int, ceiling: int = 80) -> bool:
    """Whether the unknown figures (from 1 on) can be filled so that all sums hold and the target is large enough.

    By trying: narrow what follows from single sums, else halve the range of a figure and try both halves. No solver.
    """
    names = {name for total, parts in lines for name in (total, *parts)} | {target}
    start = {name: (known[name],) * 2 if name in known else (1, ceiling) for name in names}
    if start[target][1] < at_least:
        return False
    start[target] = (max(start[target][0], at_least), start[target][1])
    waiting = [start]
    while waiting:
        bounds = narrowed(waiting.pop(), lines)
        if bounds is None:
            continue
        open_names = [name for name, (low, high) in bounds.items() if low < high]
        if not open_names:
            return True
        name = min(open_names, key=lambda n: (bounds[n][1] - bounds[n][0], n))
        low, high = bounds[name]
        middle = (low + high) // 2
        waiting += [bounds | {name: (middle + 1, high)}, bounds | {name: (low, middle)}]
    return False


def narrowed(bounds: dict[Variable, tuple[int, int]], lines: list[Sum]) -> dict[Variable, tuple[int, int]] | None:
    changed = True
    while changed:
        changed = False
        for total, parts in lines:
            low, high = sum(bounds[p][0] for p in parts), sum(bounds[p][1] for p in parts)
            above = bounds[total]
            new = {total: (max(above[0], low), min(above[1], high))}
            for part in parts:
                mine = bounds[part]
                new[part] = (max(mine[0], above[0] - high + mine[1]), min(mine[1], above[1] - low + mine[0]))
            for name, (least, most) in new.items():
                if least > most:
                    return None
                if bounds[name] != (least, most):
                    bounds[name], changed = (least, most), True
    return bounds


Town = tuple[list[int], list[int]]
counts = st.lists(st.integers(0, 12), min_size=6, max_size=6)
towns = st.lists(st.tuples(counts, counts), min_size=7, max_size=7)
revisions = st.lists(st.dictionaries(st.integers(0, 11), st.integers(0, 12), max_size=3), min_size=7, max_size=7)


def true_of(place: Town) -> dict[Key, int]:
    """All figures of a town, sums included."""
    values: dict[Key, int] = {}
    for n in range(6):
        for sex, column in zip(("weiblich", "maennlich"), place, strict=True):
            values[sex, district(n + 1)] = column[n]
        values["insgesamt", district(n + 1)] = place[0][n] + place[1][n]
    for total, *parts in [line for line in LINES if line[0][0] == line[1][0]]:
        values[total] = sum(values[p] for p in parts)
    return values


def deliver_towns(folder: Path, places: list[Town], name: str) -> None:
    """Each town is the same town on another day."""
    days = [f"31.12.{2010 + n}" for n in range(len(places))]
    rows = [
        f"Bezirk {n};{day};{w};{m};{w + m}\n"
        for day, (women, men) in zip(days, places, strict=True)
        for n, (w, m) in enumerate(zip(women, men, strict=True), 1)
    ]
    put(folder, "Bezirk;Zeit;weiblich;maennlich;insgesamt\n" + "".join(rows), name, "jugendamt")
    rows = [f"Bezirk {n};{day};{count}\n" for day in days for n, count in enumerate(RESIDENTS, 1)]
    put(folder, "Bezirk;Zeit;einwohner\n" + "".join(rows), name, "melderegister")


def shown_of(folder: Path) -> dict[int, dict[Key, float | None]]:
    with duckdb.connect(str(folder / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        rows = con.execute(
            "SELECT year(reference_date), category, area_id, value FROM mart.observation WHERE measure_id = 'hilfen'"
        ).fetchall()
    found: dict[int, dict[Key, float | None]] = {}
    for year, category, area, value in rows:
        found.setdefault(year - 2010, {})[category, area] = value
    return found


def attacked(releases: list[tuple[dict[Key, int], dict[Key, float | None]]]) -> list[Variable]:
    """Small withheld figures that the releases together prove to be small. (true, shown) per release."""
    known: dict[Variable, int] = {}
    names: list[dict[Key, Variable]] = []
    for number, (true, shown) in enumerate(releases):
        same = {k for k in true if number and true[k] == releases[0][0][k]}
        names.append({k: (*k, "alt" if k in same or not number else "neu") for k in true})
        known |= {names[-1][k]: int(v) for k, v in shown.items() if v is not None}
    lines = [(name[total], tuple(name[p] for p in parts)) for name in names for total, *parts in LINES]
    targets = {
        name[k]
        for name, (true, shown) in zip(names, releases, strict=True)
        for k in true
        if shown[k] is None and 0 < true[k] < 3 and name[k] not in known
    }
    return [target for target in sorted(targets) if not can_be(lines, known, target, 3)]


def all_withheld(
    true: dict[Key, int], before: dict[Key, int], first: dict[Key, float | None]
) -> dict[Key, float | None]:
    """The most that may be withheld: zeros are shown, and what was published with this value is known."""
    return {k: float(v) if v == 0 or (first.get(k) is not None and before[k] == v) else None for k, v in true.items()}


def some_towns(seed: int) -> tuple[list[Town], list[dict[int, int]]]:
    """For short runs: seven towns, and what changes in them."""
    dice = random.Random(seed)
    first = [([dice.randint(0, 12) for _ in range(6)], [dice.randint(0, 12) for _ in range(6)]) for _ in range(7)]
    return first, [{dice.randint(0, 11): dice.randint(0, 12) for _ in range(2)} for _ in range(7)]


@example(*some_towns(1))
@settings(
    max_examples=60,
    phases=tuple(Phase) if SOAK else (Phase.explicit,),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(towns, revisions)
def test_no_town_gives_a_small_figure_away(_empty: Path, first: list[Town], changes: list[dict[int, int]]) -> None:
    folder = _empty.with_name("zufall")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_empty, folder, symlinks=True)
    second = [
        ([change.get(n, v) for n, v in enumerate(women)], [change.get(n + 6, v) for n, v in enumerate(men)])
        for (women, men), change in zip(first, changes, strict=True)
    ]
    before, after = [true_of(t) for t in first], [true_of(t) for t in second]
    deliver_towns(folder, first, "erste.csv")
    try:
        run_night(folder, NOW)
    except CannotProtect:
        release_locks()
        assert any(attacked([(true, all_withheld(true, {}, {}))]) for true in before)
        return
    shown = shown_of(folder)
    for number, true in enumerate(before):
        assert {k: v for k, v in shown[number].items() if v is not None}.items() <= true.items()
        assert attacked([(true, shown[number])]) == []
    deliver_towns(folder, second, "zweite.csv")
    try:
        run_night(folder, NOW + DAY)
    except CannotProtect:
        release_locks()
        most = [all_withheld(new, old, shown[n]) for n, (old, new) in enumerate(zip(before, after, strict=True))]
        assert any(attacked([(before[n], shown[n]), (after[n], most[n])]) for n in range(len(first))), (
            "it could have been protected"
        )
        return
    then = shown_of(folder)
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        assert {k: v for k, v in then[number].items() if v is not None}.items() <= new.items()
        assert attacked([(old, shown[number]), (new, then[number])]) == []


@pytest.fixture(scope="module")
def _empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return town(tmp_path_factory.mktemp("zufall") / "leer")


def test_attacker_of_the_test_is_no_fool() -> None:
    """He works out the single star, and does not claim what can't be known."""
    true = true_of((WOMEN, MEN))
    shown: dict[Key, float | None] = {k: float(v) for k, v in true.items()}
    lone = shown | dict.fromkeys([("weiblich", district(2)), ("maennlich", district(3))])
    assert {t[:2] for t in attacked([(true, lone)])} == {("weiblich", district(2)), ("maennlich", district(3))}
    square = lone | dict.fromkeys([("maennlich", district(2)), ("weiblich", district(3))])
    assert attacked([(true, square)]) == []
    # Shown afterwards with the other three unchanged: the first release is told by the second.
    assert {t[:2] for t in attacked([(true, square), (true, square | {("maennlich", district(2)): 6.0})])}
