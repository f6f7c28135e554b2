"""Every file shape through YAML alone: reference workbooks, and constructed samples of layouts known by description."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import python_calamine
import xlsxwriter

from pipelines.areas import Area, Directory
from pipelines.intake.contract import Judge
from pipelines.intake.failures import Failure
from schemas.documents import Measure, Source


def measure(name: str, period_type: str = "stichtag", **more: Any) -> Measure:
    fields = {"unit": "persons", "kind": "count", "family": "f", "period_type": period_type, "levels": {"x": ["s"]}}
    return Measure.model_validate({"id": name, "title": {"de": name}, **fields, **more})


def source(layout: dict[str, Any], **more: Any) -> Source:
    fields = {
        "id": "s",
        "title": {"de": "Probe"},
        "description": {"de": "Probe"},
        "publisher": "Amt",
        "owner": "team:x",
        "licence": "l",
        "origin": "constructed",
        "publication": "internal",
        "due": "none",
    }
    return Source.model_validate({**fields, "layout": layout, **more})


class Read:
    """A file read as a source describes it."""

    def __init__(self, path: Path, of: Source, directory: Directory, measures: list[Measure], out: Path) -> None:
        judge = Judge(of, directory, {m.id: m for m in measures}, dt.date(2026, 1, 1))
        judge.read(path, path.name, [], out / "reading.parquet")
        self.errors: list[Failure] = [f for f in judge.findings.kept if f.severity == "error"]
        self.found = [(f.rule, f.line, f.column) for f in judge.findings.kept]
        self.rows: list[dict[str, Any]] = pq.read_table(out / "reading.parquet").to_pylist()

    def value(self, area: str, period: str, category: str = "insgesamt", measure: str | None = None) -> Any:
        """The one figure that is meant, or its status where it has no value."""
        found = [
            r
            for r in self.rows
            if (r["area_id"], r["period"], r["category"]) == (area, period, category)
            and measure in (None, r["measure_id"])
        ]
        assert len(found) == 1, found
        return found[0]["status"] if found[0]["value"] is None else found[0]["value"]

    def place(self, area: str, period: str, category: str = "insgesamt") -> tuple[str, int, int]:
        """Sheet, line and column of a figure."""
        row = next(r for r in self.rows if (r["area_id"], r["period"], r["category"]) == (area, period, category))
        return row["sheet"], row["line"], row["column"]


# ---------------------------------------------------------------- reference workbooks


def districts(names: list[tuple[str, str]]) -> Directory:
    """Kreise with their key (five digits), and the country."""
    areas = [Area(number, name, "kreis", number, None, None, 0) for number, name in names]
    areas.append(Area("DE", "Deutschland", "bund", "", None, None, 0))
    return Directory(["kreis", "bund"], {a.area_id: a for a in areas}, [])


def inkar(shared: Path, name: str) -> tuple[Path, Directory]:
    path = shared / "reference/inkar" / name
    rows = python_calamine.load_workbook(str(path)).get_sheet_by_name("Daten").to_python()
    return path, districts([(str(row[0]), str(row[1])) for row in rows[2:]])


INKAR: dict[str, Any] = {
    "workbook": {"sheets": ["Daten"]},
    "table": {"header_rows": 2},
    "format": {"decimal": "."},
}
KREISE = {"number": "Kennziffer", "name": "Raumeinheit", "level": "kreis"}


@pytest.mark.parametrize(
    ("file", "heading", "fields", "picked"),
    [
        (
            "A_ArbeitslosigkeitKreis.xls",
            "Arbeitslose",
            {},
            {("01002", "1995-jd"): 13439, ("01002", "2005-jd"): 19807, ("16077", "1995-jd"): 10013},
        ),
        (
            "A_ErwerbsfaehigeBevoelkerungKreis.xls",
            "Erwerbsfähige Bevölkerung*",
            {},
            {("01002", "1995-jd"): 173615, ("01061", "2005-jd"): 88181, ("16075", "1996-jd"): 69325},
        ),
        (
            "B_SchulabgaengerohneAbschluss.xls",
            "Schulabgänger ohne Abschluss",
            {"kind": "rate", "unit": "percent"},
            {("01002", "1995-jd"): 8.8, ("01002", "1998-jd"): 12.18, ("16076", "1999-jd"): 11.7},
        ),
    ],
)
def test_inkar(
    shared: Path, tmp_path: Path, file: str, heading: str, fields: dict[str, Any], picked: dict[tuple[str, str], float]
) -> None:
    path, directory = inkar(shared, file)
    layout = {
        "area": KREISE,
        "period": {"in_header": True, "type": "jahresdurchschnitt"},
        "constant": {"Aggregat": "Kreise"},
        "values": [{"heading": heading, "measure": "m"}],
    }
    symbols = {"": "missing"} if file.startswith("B_") else {}  # 18 cells are empty there, in the other two none
    of = source(layout, contract={"complete": {"kreis": "all"}}, symbols=symbols, **INKAR)
    read = Read(path, of, directory, [measure("m", "jahresdurchschnitt", **fields)], tmp_path)
    assert [f.sentence() for f in read.errors] == []
    assert len(read.rows) == 400 * 27, "400 Kreise, 1995 to 2021"
    assert {place: read.value(*place) for place in picked} == picked
    assert sum(row["status"] == "missing" for row in read.rows) == (18 if symbols else 0)
    assert read.place("01001", "1995-jd") == ("Daten", 3, 4)
    assert read.place("16077", "2021-jd") == ("Daten", 402, 30)


BA = {
    "workbook": {"sheets": ["SvB_Kreise_WO_Anzahl"]},
    "table": {"header_line": 9, "header_rows": 4, "ends": "blank", "skip": ["1", "Erstellungsdatum:*"]},
    "symbols": {".": "missing"},
}
QUALIFICATION = ["ohne", "mit", "akademisch", "unbekannt"]
BA_LAYOUT = {
    "area": {
        "name": "Region (Wohnort)",
        "split": "(?:(?P<number>[0-9]{5}) )?(?P<name>.+)",
        "candidate_levels": ["kreis", "bund"],
    },
    "period": {"in_header": True, "type": "stichtag", "days": ["06-30"]},
    "values": [
        {"heading": "Insgesamt", "measure": "svb"},
        {"heading": "davon | 1 *", "measure": "svb", "category": "ohne"},
        {"heading": "davon | 2 *", "measure": "svb", "category": "mit"},
        {"heading": "davon | 3 *", "measure": "svb", "category": "akademisch"},
        {"heading": "davon | Abschluss unbekannt", "measure": "svb", "category": "unbekannt"},
    ],
}


def test_ba_workbook(shared: Path, tmp_path: Path) -> None:
    """Cover sheets, four heading lines with merged cells, a line of column numbers, footnotes, `.` for no value."""
    path = shared / "reference/ba/Kreise_WO_Zeitreihe.xlsx"
    rows = python_calamine.load_workbook(str(path)).get_sheet_by_name("SvB_Kreise_WO_Anzahl").to_python(False)
    names = [str(row[0]).split(" ", 1) for row in rows[14:490]]
    of = source(BA_LAYOUT, contract={"severity": {"summe_der_teile": "off"}}, **BA)
    split = {"categories": [{"id": c, "title": {"de": c}} for c in QUALIFICATION], "category_total": "delivered"}
    directory = districts([(number, name) for number, name in names])
    read = Read(path, of, directory, [measure("svb", **split)], tmp_path)
    assert [f.sentence() for f in read.errors] == []
    assert len(read.rows) == len(rows[13:490]) * 100, "one row per region, 5 x 20 columns"
    assert read.value("DE", "2002-06-30") == 27468453
    assert read.value("01002", "2014-06-30") == 81444
    assert read.value("16077", "2002-06-30") == 36179
    assert read.place("DE", "2002-06-30") == ("SvB_Kreise_WO_Anzahl", 14, 2)
    assert read.value("16073", "2002-06-30", "ohne") == 4172
    assert read.value("DE", "2012-06-30", "ohne") == "missing"


def test_own_areas_out_of_a_nationwide_workbook(shared: Path, tmp_path: Path) -> None:
    path, _ = inkar(shared, "A_ArbeitslosigkeitKreis.xls")
    own = districts([("01002", "Kiel, Landeshauptstadt"), ("01003", "Lübeck, Hansestadt")])
    layout = {
        "area": {**KREISE, "elsewhere": "skip"},
        "period": {"in_header": True, "type": "jahresdurchschnitt"},
        "constant": {"Aggregat": "Kreise"},
        "values": [{"heading": "Arbeitslose", "measure": "m"}],
    }
    with pytest.raises(ValueError, match="contract"):
        source(layout, **INKAR)
    of = source(layout, contract={"complete": {"kreis": "all"}}, **INKAR)
    read = Read(path, of, own, [measure("m", "jahresdurchschnitt")], tmp_path)
    assert [f.sentence() for f in read.errors] == []
    assert (len(read.rows), read.value("01003", "1995-jd")) == (2 * 27, 11755)
    renamed = districts([("01002", "Kiel"), ("01999", "Neustadt")])
    rules = {f.rule for f in Read(path, of, renamed, [measure("m", "jahresdurchschnitt")], tmp_path).errors}
    assert rules >= {"gebiet_bekannt"}, "a number of one's own with another name is not passed over"
    moved = districts([("01002", "Kiel, Landeshauptstadt"), ("01999", "Neustadt")])
    rules = {f.rule for f in Read(path, of, moved, [measure("m", "jahresdurchschnitt")], tmp_path).errors}
    assert rules == {"gebiete_vollstaendig"}, "an own area that is not found is missing, not forgotten"


# ---------------------------------------------------------------- constructed samples of described layouts

NAMES = ["Altstadt", "Vorstadt", "Düsternbrook", "Wik"]
DIRECTORY = Directory(
    ["ortsteil"],
    {f"O-{n}": Area(f"O-{n}", name, "ortsteil", str(n), None, None, n) for n, name in enumerate(NAMES, 1)},
    [],
)
LEADING = "Land;Stadt;Kategorie"
CONSTANT = {"Land": "de-sh", "Stadt": "Kiel", "Kategorie": "Bevoelkerung"}
AREA = {"number": "Ortsteilnummer", "name": "Ortsteil", "level": "ortsteil"}


@pytest.fixture
def read(tmp_path: Path) -> Any:
    def one(content: bytes | str, of: Source, *measures: Measure) -> Read:
        path = tmp_path / "datei.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return Read(path, of, DIRECTORY, list(measures) or [measure("n")], tmp_path)

    return one


WIDE = {"area": AREA, "period": {"in_header": True, "type": "stichtag", "day": "12-31"}, "values": [{"measure": "n"}]}


def test_wide_file_with_a_year_twice_is_refused_and_named(read: Any) -> None:
    text = f"{LEADING};Ortsteilnummer;Ortsteil;2023;2022;2022\nde-sh;Kiel;Bevoelkerung;1;Altstadt  ;3;2;1\n"
    result = read(text, source({**WIDE, "constant": CONSTANT}))
    assert [(f.rule, f.line, f.column) for f in result.errors] == [("spalte_doppelt", 1, 8)]


def test_wide_file_with_trailing_blanks(read: Any) -> None:
    text = f"{LEADING};Ortsteilnummer;Ortsteil;2023;2022\nde-sh;Kiel;Bevoelkerung;1;Altstadt  ;3;2\n"
    result = read(text, source({**WIDE, "constant": CONSTANT}))
    assert result.errors == []
    assert ("leerzeichen", 2, 5) in result.found
    assert result.value("O-1", "2022-12-31") == 2


def test_whole_counts_under_dates_as_headings(read: Any) -> None:
    text = "Merkmal;Ortsteilnummer;Ortsteil;31.12.2023;31.12.2022\nArbeitslose;2;Vorstadt;71;69\n"
    layout = {**WIDE, "constant": {"Merkmal": "Arbeitslose"}}
    result = read(text, source(layout))
    assert (result.errors, result.value("O-2", "2022-12-31")) == ([], 69)
    assert [f.rule for f in read(text.replace("Arbeitslose;2", "Betroffenheitsquote;2"), source(layout)).errors] == [
        "feste_angabe"
    ]


def test_rates_with_decimal_comma(read: Any) -> None:
    text = "Merkmal;Ortsteilnummer;Ortsteil;31.12.2019\nBetroffenheitsquote;2;Vorstadt;1,6\n"
    rate = measure("n", kind="rate", unit="percent", maximum=100)
    result = read(text, source({**WIDE, "constant": {"Merkmal": "Betroffenheitsquote"}}), rate)
    assert (result.errors, result.value("O-2", "2019-12-31")) == ([], 1.6)


def test_five_year_groups_with_signs_in_their_names(read: Any) -> None:
    groups = {"0-<5": "a00_04", "5-<10": "a05_09", "85 und Aelter": "a85_plus"}
    text = "Datum;Ortsteilnummer;Ortsteil;" + ";".join(groups) + "\n2023_12_31;4;Wik;1;2;3\n2023_12_31;4;Wik;1;2;3\n"
    split = {"categories": [{"id": c, "title": {"de": c}} for c in groups.values()], "category_total": "summed"}
    layout = {
        "area": AREA,
        "period": {"column": "Datum", "type": "stichtag"},
        "values": [{"column": name, "measure": "n", "category": code} for name, code in groups.items()],
    }
    result = read(text, source(layout), measure("n", **split))
    assert result.found == [("schluessel_eindeutig", 3, 4)], "the repeated row, once"
    result = read(text.rsplit("2023", 1)[0], source(layout), measure("n", **split))
    assert (result.errors, result.value("O-4", "2023-12-31", "a85_plus")) == ([], 3)


@pytest.mark.parametrize(
    ("encoding", "spoiled", "rule"),
    [
        ("latin-1", False, None),
        ("utf-8", False, "zeichensatz"),
        ("utf-8", True, "umlaute"),
        ("latin-1", True, "zeichensatz"),
    ],
)
def test_sexes_with_an_umlaut_in_the_heading(read: Any, encoding: str, spoiled: bool, rule: str | None) -> None:
    text = "Datum;Ortsteil;männlich;weiblich\n2023_12_31;Düsternbrook;10;11\n"
    text = text.encode().decode("latin-1") if spoiled else text
    split = {"categories": [{"id": c, "title": {"de": c}} for c in "mw"], "category_total": "summed"}
    layout = {
        "area": {"name": "Ortsteil", "level": "ortsteil"},
        "period": {"column": "Datum", "type": "stichtag"},
        "values": [
            {"column": "männlich", "measure": "n", "category": "m"},
            {"column": "weiblich", "measure": "n", "category": "w"},
        ],
    }
    declared = "utf-8" if encoding == "utf-8" and spoiled else "latin-1"
    result = read(text.encode(encoding), source(layout, format={"encoding": declared}), measure("n", **split))
    if rule is None:
        assert (result.errors, result.value("O-3", "2023-12-31", "m")) == ([], 10)
    else:
        assert [f.rule for f in result.errors] == [rule]


def test_line_break_in_a_heading_thousands_point_and_short_rows(read: Any) -> None:
    """The layout of the file by postcode districts."""
    text = 'Merkmal;"Orts-\nteil";2023;2022\nJahr;Altstadt;1.234;999\nJahr;Wik;12.345\n'
    layout = {
        "area": {"name": "Orts- teil", "level": "ortsteil"},
        "period": {"in_header": True, "type": "stichtag", "day": "12-31"},
        "constant": {"Merkmal": "Jahr"},
        "values": [{"measure": "n"}],
    }
    form = {"thousands": ".", "short_rows": "fill"}
    result = read(text, source(layout, format=form, symbols={"": "missing"}))
    assert result.errors == []
    assert [result.value("O-1", "2023-12-31"), result.value("O-4", "2023-12-31")] == [1234, 12345]
    assert result.value("O-4", "2022-12-31") == "missing"
    assert result.place("O-4", "2023-12-31") == ("", 4, 3)


# ---------------------------------------------------------------- several tables, merged cells, sheets by year


def book(
    path: Path, sheets: dict[str, list[list[Any]]], merged: dict[str, list[tuple[int, int, int, int, str]]]
) -> Path:
    """Write a constructed workbook; rows and columns of merged cells count from 0."""
    workbook = xlsxwriter.Workbook(str(path))
    for name, rows in sheets.items():
        sheet = workbook.add_worksheet(name)
        for line, row in enumerate(rows):
            sheet.write_row(line, 0, row)
        for place in merged.get(name, []):
            sheet.merge_range(*place)
    workbook.close()
    return path


def test_several_tables_below_each_other(tmp_path: Path) -> None:
    rows = [
        ["Amt für Statistik (konstruiert)"],
        [],
        ["Tabelle 1: Frauen am 31.12.2023"],
        ["Nr.", "Ortsteil", "Anzahl"],
        [1, "Altstadt", 10],
        [2, "Vorstadt", 20],
        [],
        ["* geheim zu halten"],
        [],
        ["Tabelle 2: Männer am 31.12.2023"],
        ["Nr.", "Ortsteil", "Anzahl"],
        [1, "Altstadt", 11],
        [2, "Vorstadt", "*"],
    ]
    path = book(tmp_path / "a.xlsx", {"Daten": rows}, {})
    layout = {
        "area": {"number": "Nr.", "name": "Ortsteil", "level": "ortsteil"},
        "period": {"title": "am ([0-9.]+)$", "type": "stichtag"},
        "values": [
            {"title": "*Frauen*", "column": "Anzahl", "measure": "n", "category": "w"},
            {"title": "*Männer*", "column": "Anzahl", "measure": "n", "category": "m"},
        ],
    }
    split = {"categories": [{"id": c, "title": {"de": c}} for c in "mw"], "category_total": "summed"}
    table = {"title": "Tabelle *", "ends": "blank"}
    of = source(layout, workbook={"sheets": ["Daten"]}, table=table, symbols={"*": "suppressed"})
    read = Read(path, of, DIRECTORY, [measure("n", **split)], tmp_path)
    assert read.errors == []
    found = {(r["area_id"], r["category"]): (r["value"], r["line"], r["status"]) for r in read.rows}
    assert found == {
        ("O-1", "w"): (10, 5, "value"),
        ("O-2", "w"): (20, 6, "value"),
        ("O-1", "m"): (11, 12, "value"),
        ("O-2", "m"): (None, 13, "suppressed"),
    }


def test_figures_below_the_table_are_not_lost(tmp_path: Path) -> None:
    rows = [["Nr.", "Ortsteil", "2023"], [1, "Altstadt", 10], [], ["Quelle: Amt"], [2, "Vorstadt", 20]]
    path = book(tmp_path / "a.xlsx", {"Daten": rows}, {})
    layout = {**WIDE, "area": {"number": "Nr.", "name": "Ortsteil", "level": "ortsteil"}}
    of = source(layout, workbook={"sheets": ["Daten"]}, table={"ends": "blank"})
    read = Read(path, of, DIRECTORY, [measure("n")], tmp_path)
    assert [(f.rule, f.line, f.sheet) for f in read.errors] == [("unter_der_tabelle", 5, "Daten")]
    of = source(layout, workbook={"sheets": ["Daten"]})
    assert [f.rule for f in Read(path, of, DIRECTORY, [measure("n")], tmp_path).errors] == [
        "gebiet_bekannt",
        "zelle_lesbar",
    ]


def test_merged_headings_merged_names_and_a_sheet_per_year(tmp_path: Path) -> None:
    rows = [
        ["", "", "Arbeitslose", "", "Einwohner"],
        ["Ortsteil", "Art", "Frauen", "Männer", "Frauen"],
        ["Altstadt", "a", 1, 2, 30],
        ["", "b", 3, 4, 40],
        ["Wik", "a", 5, 6, 50],
        ["", "b", 7, 8, 60],
    ]
    merged = [(0, 2, 0, 3, "Arbeitslose"), (2, 0, 3, 0, "Altstadt")]
    path = book(tmp_path / "a.xlsx", {"2022": rows, "2023": rows, "Erläuterung": [["x", "y"]]}, {"2022": merged})
    layout = {
        "area": {"name": "Ortsteil", "level": "ortsteil"},
        "period": {"sheet": "^([0-9]{4})$", "type": "stichtag", "day": "12-31"},
        "values": [
            {"column": f"{what} | {sex}", "measure_column": "Art", "measures": {"a": f"{code}_a", "b": f"{code}_b"}}
            for what, sex, code in (("Arbeitslose", "Frauen", "af"), ("Arbeitslose", "Männer", "am"))
        ],
        "ignore": ["Einwohner | *"],
    }
    names = ["af_a", "af_b", "am_a", "am_b"]
    table = {"header_rows": 2, "header_fill": True, "fill_down": ["Ortsteil"]}
    of = source(layout, workbook={"sheets": ["20??"]}, table=table)
    read = Read(path, of, DIRECTORY, [measure(n) for n in names], tmp_path)
    assert [f.sentence() for f in read.errors] == []
    assert read.value("O-1", "2022-12-31", measure="am_b") == 4
    assert read.value("O-4", "2023-12-31", measure="af_b") == 7
    assert {r["sheet"] for r in read.rows} == {"2022", "2023"}


def test_numbers_as_text_in_a_workbook(tmp_path: Path) -> None:
    rows = [["Ortsteil", "2023", "2022"], ["Altstadt", "1.234", 5], ["Wik", 7.0, "x"]]
    path = book(tmp_path / "a.xlsx", {"Daten": rows}, {})
    layout = {**WIDE, "area": {"name": "Ortsteil", "level": "ortsteil"}}
    book_of = {"workbook": {"sheets": ["Daten"]}, "symbols": {"x": "missing"}}
    strict = Read(path, source(layout, **book_of), DIRECTORY, [measure("n")], tmp_path)
    assert [(f.rule, f.line, f.column) for f in strict.errors] == [("zelle_lesbar", 2, 2)]
    assert re.search("Zeile 2, Spalte B »2023«", strict.errors[0].sentence())
    read = Read(path, source(layout, format={"thousands": "."}, **book_of), DIRECTORY, [measure("n")], tmp_path)
    assert [read.value("O-1", "2023-12-31"), read.value("O-4", "2023-12-31")] == [1234, 7]
