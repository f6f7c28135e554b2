"""Areas: found the way offices write them, on the right day, on the right level; lists with errors are refused."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.areas import AREA_COLUMNS, MEMBERSHIP_COLUMNS, Directory, plain, read_directory
from pipelines.project import load_project
from schemas.yaml_source import Problem
from tests.conftest import ROOT

LEVELS = ["stadtteil", "ortsteil", "szb", "stadt"]
DAY = dt.date(2022, 12, 31)
AREAS = """
ST-05,Düsternbrook,stadtteil,5,,,5,Duesternbrok|Düsternbr.,t
ST-07,Blücherplatz,stadtteil,7,,,7,Bluecherpatz,t
ST-12,Wik,stadtteil,12,,2020-12-31,12,,t
ST-12@2021,Wik,stadtteil,12,2021-01-01,,12,,t
ST-20,Groß Süd,stadtteil,20,,,20,,t
OT-05,Wik,ortsteil,5,,,5,,t
OT-06,Mettenhof,ortsteil,6,,,6,,t
SZB-1,Mettenhof,szb,1,,,1,,t
SZB-2,Nord,szb,2,,,2,,t
S,Kiel,stadt,,,,1,Kiel gesamt,t
"""
MEMBERSHIPS = """
ST-05,SZB-2,,,0.25,assumed,t
ST-05,SZB-1,,,0.75,confirmed,t
ST-12,SZB-2,,2020-12-31,1,confirmed,t
ST-12@2021,SZB-2,2021-01-01,,0.5,confirmed,t
SZB-1,S,,,1,confirmed,t
SZB-2,S,2000-01-01,,0.5,confirmed,t
OT-05,S,,,1,confirmed,t
"""


def read(tmp_path: Path, areas: str = AREAS, memberships: str = MEMBERSHIPS) -> tuple[Directory, list[Problem]]:
    """Both lists are written as given; row n of a text stands on line n + 1 of its file."""
    for name, columns, text in (("a.csv", AREA_COLUMNS, areas), ("m.csv", MEMBERSHIP_COLUMNS, memberships)):
        (tmp_path / name).write_text(",".join(columns) + "\n" + text.strip("\n") + "\n", encoding="utf-8")
    return read_directory(LEVELS, tmp_path / "a.csv", tmp_path / "m.csv", tmp_path)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    found, problems = read(tmp_path)
    assert problems == []
    return found


# ---------------------------------------------------------------- finding


@pytest.mark.parametrize(
    "written",
    [
        "Düsternbrook",
        "Duesternbrook",
        "DÜSTERNBROOK",
        "  Düsternbrook   ",
        "Düsternbrook\u00a0",
        "Du\u0308sternbrook",
        "Duesternbrok",
        "düsternbr.",
    ],
)
def test_spellings_of_one_area(directory: Directory, written: str) -> None:
    area, problem = directory.find(["stadtteil"], DAY, name=written)
    assert (area and area.area_id, problem) == ("ST-05", "")


@pytest.mark.parametrize("written", ["Groß Süd", "Gross Sued", "GROSS  SÜD", "groß\tsüd"])
def test_sharp_s_and_inner_blanks(directory: Directory, written: str) -> None:
    assert directory.find(["stadtteil"], DAY, name=written)[0] is directory.areas["ST-20"]


@pytest.mark.parametrize("number", ["7", "07", "007", " 7 "])
def test_number_with_leading_zeros(directory: Directory, number: str) -> None:
    assert directory.find(["stadtteil"], DAY, number=number)[0] is directory.areas["ST-07"]
    assert directory.find(["stadtteil"], DAY, number=number, name="Bluecherpatz")[0] is directory.areas["ST-07"]


def test_name_and_number_must_agree(directory: Directory) -> None:
    area, problem = directory.find(["stadtteil"], DAY, name="Düsternbrook", number="7")
    assert area is None
    assert problem == "Nummer 7 ist »Blücherplatz«, in der Zeile steht »Düsternbrook«"


def test_disagreement_with_a_misspelt_name_suggests_one(directory: Directory) -> None:
    _, problem = directory.find(["stadtteil"], DAY, name="Blücherplats", number="7")
    assert problem.endswith("meinten Sie »Blücherplatz«?")


@pytest.mark.parametrize("number", ["99", "7a", "٧", "7.0", "-7"])
def test_unknown_number(directory: Directory, number: str) -> None:
    assert directory.find(["stadtteil"], DAY, number=number) == (None, f"unbekannte Nummer »{number}« (stadtteil)")


def test_unknown_name_gives_the_nearest_of_the_level(directory: Directory) -> None:
    _, problem = directory.find(["ortsteil"], DAY, name="Metenhof")
    assert problem == "unbekanntes Gebiet »Metenhof« (ortsteil); meinten Sie »Mettenhof«?"
    assert "meinten" not in directory.find(["stadtteil"], DAY, name="Metenhof")[1]


def test_same_name_on_several_levels_is_another_area(directory: Directory) -> None:
    assert directory.find(["ortsteil"], DAY, name="Wik")[0] is directory.areas["OT-05"]
    assert directory.find(["stadtteil"], DAY, name="Wik")[0] is directory.areas["ST-12@2021"]
    area, problem = directory.find(["stadtteil", "ortsteil"], DAY, name="Wik")
    assert area is None
    assert "nicht eindeutig" in problem
    assert "ST-12@2021" in problem


def test_same_number_on_two_possible_levels_is_settled_by_the_name(directory: Directory) -> None:
    levels = ["stadtteil", "ortsteil"]
    assert directory.find(levels, DAY, name="Wik", number="5")[0] is directory.areas["OT-05"]
    assert directory.find(levels, DAY, name="Düsternbrook", number="5")[0] is directory.areas["ST-05"]
    assert "Nummer 5 ist nicht eindeutig" in directory.find(levels, DAY, number="5")[1]


def test_changed_extent_is_another_area(directory: Directory) -> None:
    for by in ({"name": "Wik"}, {"number": "12"}, {"name": "Wik", "number": "12"}):
        assert directory.find(["stadtteil"], dt.date(2020, 12, 31), **by)[0] is directory.areas["ST-12"]
        assert directory.find(["stadtteil"], dt.date(2021, 1, 1), **by)[0] is directory.areas["ST-12@2021"]


@pytest.mark.parametrize("by", [{"name": "Wik"}, {"number": "12"}, {"area_id": "ST-12"}])
def test_area_out_of_its_time_says_when(tmp_path: Path, by: dict[str, str]) -> None:
    directory, _ = read(tmp_path, "ST-12,Wik,stadtteil,12,2000-01-01,2020-12-31,12,,t", "")
    area, problem = directory.find(["stadtteil"], DAY, **by)
    assert area is None
    assert problem == "»Wik« gibt es am 31.12.2022 nicht: ST-12 gilt ab 01.01.2000 bis 31.12.2020"


def test_area_id(directory: Directory) -> None:
    assert directory.find(["stadtteil"], DAY, area_id="ST-07", name="Bluecherplatz")[0] is directory.areas["ST-07"]
    assert "meinten Sie »ST-07«" in directory.find(["stadtteil"], DAY, area_id="ST-7")[1]
    assert (
        directory.find(["szb"], DAY, area_id="ST-07")[1] == "Kennung ST-07 liegt auf der Ebene stadtteil, erwartet: szb"
    )
    assert "»Blücherplatz«" in directory.find(["stadtteil"], DAY, area_id="ST-07", name="Wik")[1]
    assert "hat die Nummer »7«" in directory.find(["stadtteil"], DAY, area_id="ST-07", number="8")[1]


@pytest.mark.parametrize("name", ["", "   ", "\u00a0"])
def test_no_area_at_all(directory: Directory, name: str) -> None:
    assert directory.find(["stadtteil"], DAY, name=name) == (None, "in der Zeile steht kein Gebiet")


def test_of_level_is_sorted_and_valid(directory: Directory) -> None:
    ids = [a.area_id for a in directory.of_level("stadtteil", DAY)]
    assert ids == ["ST-05", "ST-07", "ST-12@2021", "ST-20"]
    assert "ST-12" in [a.area_id for a in directory.of_level("stadtteil", dt.date(1990, 1, 1))]


@given(st.text(max_size=20))
def test_spelling_is_reduced_once(name: str) -> None:
    assert plain(plain(name)) == plain(name) == plain(f"  {name}\u00a0 ")


# ---------------------------------------------------------------- closure


def test_closure_multiplies_weights_and_meets_validities(directory: Directory) -> None:
    up = {(m.area_id, m.parent_id): m for m in directory.closure() if m.area_id.startswith("ST-12@")}
    assert {key: m.weight for key, m in up.items()} == {("ST-12@2021", "SZB-2"): 0.5, ("ST-12@2021", "S"): 0.25}
    assert up["ST-12@2021", "S"].valid_from == dt.date(2021, 1, 1)


def test_closure_keeps_both_ways_up(directory: Directory) -> None:
    ways = [m for m in directory.closure() if (m.area_id, m.parent_id) == ("ST-05", "S")]
    assert sorted(m.weight for m in ways) == [0.25 * 0.5, 0.75]
    assert {m.weight: m.status for m in ways} == {0.125: "assumed", 0.75: "confirmed"}


def test_hierarchies_stay_apart(directory: Directory) -> None:
    parents = {m.parent_id for m in directory.closure() if m.area_id == "OT-05"}
    assert parents == {"S"}
    assert not [m for m in directory.closure() if m.area_id.startswith("ST") and m.parent_id.startswith("OT")]


def test_ways_that_never_meet_in_time_lead_nowhere(tmp_path: Path) -> None:
    late = "ST-12,SZB-2,,2020-12-31,1,confirmed,t\nSZB-2,S,2021-01-01,,1,confirmed,t"
    directory, _ = read(tmp_path, memberships=late)
    assert not [m for m in directory.closure() if (m.area_id, m.parent_id) == ("ST-12", "S")]


# ---------------------------------------------------------------- lists with errors

BAD_AREAS = [
    ("X,Name,stadteil,1,,,1,,t", "unbekannte Gebietsebene »stadteil«; meinten Sie »stadtteil«?"),
    ("X,Name,qqq,1,,,1,,t", "möglich: stadtteil"),
    (",Name,szb,9,,,1,,t", "area_id und name dürfen nicht leer sein"),
    ("X, ,szb,9,,,1,,t", "area_id und name dürfen nicht leer sein"),
    ("X Y,Name,szb,9,,,1,,t", "erlaubt sind"),
    ("SZB-1,Name,szb,9,,,1,,t", "area_id »SZB-1« steht schon in Zeile 9"),
    ("X,Name,szb,1,,,1,,t", "Nummer »1« der Ebene szb hat schon SZB-1"),
    ("X,Name,szb,01,,,1,,t", "Nummer »1« der Ebene szb hat schon SZB-1"),
    ("X,Metten-Hof,szb,9,,,1,METTENHOF,t", "Name »mettenhof« der Ebene szb hat schon SZB-1"),
    ("X,Name,szb,9,31.12.2020,,1,,t", "Datum »31.12.2020«: erwartet JJJJ-MM-TT"),
    ("X,Name,szb,9,20201231,,1,,t", "Datum »20201231«"),
    ("X,Name,szb,9,2020-02-30,,1,,t", "Datum »2020-02-30«"),
    ("X,Name,szb,9,2021-01-01,2020-12-31,1,,t", "liegt nach"),
    ("X,Name,szb,9,,,eins,,t", "sort_key »eins«"),
    ("X,Name,szb,9,,,²,,t", "sort_key »²«"),
    ("X,Name,szb,9,,,1,,t,zu viel", "Zeile hat 10 statt 9 Spalten"),
    ("X,Name,szb", "Zeile hat 3 statt 9 Spalten"),
    ('X,"Name,szb,9,,,1,,t', "nicht lesbar"),
]


@pytest.mark.parametrize(("row", "words"), BAD_AREAS, ids=[row for row, _ in BAD_AREAS])
def test_bad_area_names_file_and_line(tmp_path: Path, row: str, words: str) -> None:
    _, problems = read(tmp_path, f"{AREAS}{row}\n", "")
    assert [(p.file, p.line) for p in problems] == [("a.csv", 12)]  # header and ten areas stand above
    assert words in problems[0].message


BAD_MEMBERSHIPS = [
    ("ST-20,SZB-1,,,0,confirmed,t", "weight »0«: erwartet eine Zahl über 0 und höchstens 1"),
    ("ST-20,SZB-1,,,1.2,confirmed,t", "weight »1.2«"),
    ("ST-20,SZB-1,,,-1,confirmed,t", "weight »-1«"),
    ("ST-20,SZB-1,,,nan,confirmed,t", "weight »nan«"),
    ("ST-20,SZB-1,,,halb,confirmed,t", "weight »halb«"),
    ("ST-20,SZB-1,,,,confirmed,t", "weight »«"),
    ("ST-20,SZB-9,,,1,confirmed,t", "parent_id »SZB-9« steht nicht in der Gebietsliste; meinten Sie »SZB-"),
    ("ST-21,SZB-1,,,1,confirmed,t", "area_id »ST-21« steht nicht in der Gebietsliste; meinten Sie »ST-"),
    ("ST-20,ST-07,,,1,confirmed,t", "auf derselben Ebene"),
    ("ST-20,SZB-1,,,1,vielleicht,t", "möglich sind confirmed und assumed"),
    ("ST-05,SZB-2,,,0.1,confirmed,t", "ST-05 gehört ohne Anfang zu 1.1 Teilen zur Ebene szb"),
    ("ST-12@2021,SZB-1,2022-06-01,,0.75,confirmed,t", "ST-12@2021 gehört am 01.06.2022 zu 1.25 Teilen"),
    ("S,SZB-1,,,1,confirmed,t", "in sich selbst"),
]


@pytest.mark.parametrize(("row", "words"), BAD_MEMBERSHIPS, ids=[row for row, _ in BAD_MEMBERSHIPS])
def test_bad_membership_names_file_and_line(tmp_path: Path, row: str, words: str) -> None:
    _, problems = read(tmp_path, memberships=f"{MEMBERSHIPS}{row}\n")
    assert ("m.csv", 9) in [(p.file, p.line) for p in problems]  # header and seven memberships stand above
    assert any(words in p.message for p in problems)


def test_all_problems_at_once(tmp_path: Path) -> None:
    _, problems = read(tmp_path, AREAS + "".join(f"{row}\n" for row, _ in BAD_AREAS[:6]), BAD_MEMBERSHIPS[0][0])
    assert [(p.file, p.line) for p in problems] == [("a.csv", n) for n in range(12, 18)] + [("m.csv", 2)]


def test_lines_stay_right_after_a_quoted_line_break(tmp_path: Path) -> None:
    _, problems = read(tmp_path, 'A,"Alt\nstadt",szb,8,,,1,,t\n\nB,B,szb,9,,,x,,t', "")
    assert [p.line for p in problems] == [5]


def test_separators_inside_cells_are_no_line_ends(tmp_path: Path) -> None:
    directory, problems = read(tmp_path, "A,Alt\u2028stadt,szb,8,,,1,,t\nB,B,szb,9,,,1,,t", "")
    assert problems == []
    assert set(directory.areas) == {"A", "B"}


def test_weights_that_change_over_time_may_add_up_anew(tmp_path: Path) -> None:
    rows = "ST-20,SZB-1,,2020-12-31,1,confirmed,t\nST-20,SZB-2,2021-01-01,,1,confirmed,t"
    assert read(tmp_path, memberships=rows)[1] == []


@pytest.mark.parametrize("name", ["a.csv", "m.csv"])
def test_missing_list(tmp_path: Path, name: str) -> None:
    read(tmp_path)
    (tmp_path / name).unlink()
    problems = read_directory(LEVELS, tmp_path / "a.csv", tmp_path / "m.csv", tmp_path)[1]
    assert (name, 1, "Datei fehlt") in [(p.file, p.line, p.message) for p in problems]


def test_wrong_header_and_encoding(tmp_path: Path) -> None:
    read(tmp_path)
    (tmp_path / "a.csv").write_text("id,name\n", encoding="utf-8")
    (tmp_path / "m.csv").write_bytes("area_id\nMühle\n".encode("latin-1"))
    problems = read_directory(LEVELS, tmp_path / "a.csv", tmp_path / "m.csv", tmp_path)[1]
    assert "Kopfzeile ist id,name; erwartet: area_id,name" in problems[0].message
    assert (problems[1].file, problems[1].line) == ("m.csv", 2)
    assert "nicht in UTF-8" in problems[1].message


# ---------------------------------------------------------------- the areas of Kiel


@pytest.fixture(scope="module")
def kiel() -> Directory:
    return load_project(ROOT).directory


def test_number_of_areas_of_kiel(kiel: Directory) -> None:
    counts = {level: len(kiel.of_level(level, DAY)) for level in ("stadtteil", "ortsteil", "sozialzentrumsbereich")}
    assert counts == {"stadtteil": 30, "ortsteil": 18, "sozialzentrumsbereich": 6}


def test_every_spelling_of_the_real_files_is_known(kiel: Directory, shared: Path) -> None:
    seen = set()
    for path in (shared / "kiel/raw").glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter=";"):
                seen.add((row.get("Stadtteil") or row["Stadtteile"], row.get("Stadtteilnummer") or ""))
    unknown = {n for n, number in seen if kiel.find(["stadtteil"], DAY, name=n, number=number)[0] is None}
    assert {name.encode() for name in unknown} <= {"Neumueh\u009dlen/Dietrichsdorf".encode()}  # a broken character


def test_ortsteile_of_kiel_are_no_sums_of_stadtteile(kiel: Directory) -> None:
    levels = {(kiel.areas[m.area_id].level, kiel.areas[m.parent_id].level) for m in kiel.closure()}
    assert ("stadtteil", "ortsteil") not in levels
    assert ("ortsteil", "sozialzentrumsbereich") not in levels
    assert {("stadtteil", "sozialzentrumsbereich"), ("sozialzentrumsbereich", "stadt"), ("ortsteil", "stadt")} <= levels


def test_every_stadtteil_of_kiel_belongs_wholly_to_one_szb(kiel: Directory) -> None:
    shares: dict[str, float] = {}
    for m in kiel.memberships:
        if kiel.areas[m.area_id].level == "stadtteil" and kiel.areas[m.parent_id].level == "sozialzentrumsbereich":
            shares[m.area_id] = shares.get(m.area_id, 0) + m.weight
    assert set(shares.values()) == {1.0}
    assert len(shares) == 30
