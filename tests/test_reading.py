"""Reading delimited text: every shape, date form, symbol and number; broken files are named by line, never guessed."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.areas import Area, Directory
from pipelines.intake.failures import Failure, Findings
from pipelines.intake.layout import Reader
from pipelines.periods import parse_period, period_key
from schemas.documents import Correction, Measure, Source
from tests.conftest import ROOT

NAMES = ["Altstadt", "Mühlenviertel", "Südhang"]
DISTRICTS = [Area(f"B-{n}", name, "bezirk", str(n), None, None, n) for n, name in enumerate(NAMES, 1)]
DIRECTORY = Directory(
    ["bezirk", "stadt"], {a.area_id: a for a in [*DISTRICTS, Area("S", "Musterstadt", "stadt", "", None, None, 0)]}, []
)
Rows = list[list[str]]


def measure(name: str, **more: Any) -> Measure:
    fields = {"unit": "persons", "kind": "count", "family": "f", "period_type": "stichtag", "levels": {"bezirk": ["s"]}}
    return Measure.model_validate({"id": name, "title": {"de": name.upper()}, **fields, **more})


SPLIT = {"categories": [{"id": c, "title": {"de": c}} for c in ("m", "w")], "category_total": "delivered"}
MEASURES = {
    m.id: m
    for m in [
        measure("n"),
        measure("z"),
        measure("einwohner", **SPLIT),
        measure("quote", unit="percent", kind="rate", maximum=100),
        measure("schueler", period_type="schuljahr"),
        measure("jahr", period_type="kalenderjahr"),
    ]
}
LONG = {
    "area": {"number": "Nr", "name": "Gebiet", "level": "bezirk"},
    "period": {"column": "Tag", "type": "stichtag"},
    "values": [{"column": "Wert", "measure": "n"}],
}
WIDE = {
    "area": {"name": "Gebiet", "level": "bezirk"},
    "period": {"in_header": True, "type": "stichtag", "day": "12-31"},
    "values": [{"measure": "n"}],
}
RATE = {**LONG, "values": [{"column": "Wert", "measure": "quote"}]}
HEAD = "Nr;Gebiet;Tag;Wert"


def source(layout: dict[str, Any] = LONG, **more: Any) -> Source:
    fields = {
        "id": "s",
        "title": {"de": "Probe"},
        "description": {"de": "Probe"},
        "publisher": "Amt",
        "owner": "team:x",
        "licence": "l",
        "origin": "constructed",
        "publication": "constructed",
        "due": "none",
    }
    return Source.model_validate({**fields, "layout": layout, **more})


def bytes_of(content: bytes | str) -> bytes:
    return content if isinstance(content, bytes) else content.encode()


@dataclass
class Result:
    """What a reading gave: cells as dictionaries, and findings."""

    cells: list[dict[str, Any]]
    found: list[Failure]

    @property
    def failures(self) -> list[Failure]:
        return [f for f in self.found if f.severity == "error"]

    @property
    def warnings(self) -> list[tuple[str, int, int]]:
        return [(f.rule, f.line, f.column) for f in self.found if f.severity == "warning"]

    def short(self, *names: str) -> list[tuple[Any, ...]]:
        return [tuple(cell[name] for name in names) for cell in self.cells]

    @property
    def places(self) -> list[tuple[str, int, int]]:
        return [(f.rule, f.line, f.column) for f in self.failures]


def read(content: bytes | str, of: Source | None = None, name: str = "f.csv", *fixes: Correction) -> Result:
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "bytes")
        path.write_bytes(bytes_of(content))
        reader = Reader(of or source(), DIRECTORY, MEASURES, findings)
        chunks = list(reader.chunks(path, name, list(fixes)))
    cells = [cell for chunk in chunks for cell in chunk.astype(object).to_dict("records")]
    for cell in cells:
        cell["value"] = None if cell["value"] != cell["value"] else cell["value"]
    return Result(cells, findings.kept)


def one(cell: str, day: str = "31.12.2023", **more: Any) -> dict[str, Any]:
    """The single figure of a file whose cell holds this text; there must be no failure."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";")
    writer.writerows([HEAD.split(";"), ["1", "Altstadt", day, cell]])
    result = read(out.getvalue(), source(**more))
    assert result.failures == []
    assert len(result.cells) == 1
    return result.cells[0]


# ---------------------------------------------------------------- shapes


def test_long() -> None:
    result = read(f"{HEAD}\n1;Altstadt;31.12.2023;5\n2;Muehlenviertel;31.12.2022;7\n")
    assert result.failures == []
    assert result.short("area_id", "period", "value", "line", "column", "column_name", "text") == [
        ("B-1", "2023-12-31", 5, 2, 4, "Wert", "5"),
        ("B-2", "2022-12-31", 7, 3, 4, "Wert", "7"),
    ]


def test_long_with_measures_named_in_a_column() -> None:
    values = [{"column": "Wert", "measure_column": "Merkmal", "measures": {"Arbeitslose": "n", "Einwohner": "z"}}]
    result = read(
        "Merkmal;Gebiet;Tag;Wert\nArbeitslose;Altstadt;31.12.2023;5\n Einwohner ;Altstadt;31.12.2023;50\n",
        source({"area": {"name": "Gebiet", "level": "bezirk"}, "period": LONG["period"], "values": values}),
    )
    assert result.short("measure_id", "value", "line") == [("n", 5, 2), ("z", 50, 3)]


def test_one_column_per_date() -> None:
    result = read("Gebiet;31.12.2023;2022\nAltstadt;5;6\nSüdhang;7;8\n", source(WIDE))
    assert result.failures == []
    assert result.short("area_id", "period", "value", "line", "column") == [
        ("B-1", "2023-12-31", 5, 2, 2),
        ("B-1", "2022-12-31", 6, 2, 3),
        ("B-3", "2023-12-31", 7, 3, 2),
        ("B-3", "2022-12-31", 8, 3, 3),
    ]


def test_counts_by_category_and_total() -> None:
    values = [
        {"column": "insgesamt", "measure": "einwohner"},
        {"column": "männlich", "measure": "einwohner", "category": "m"},
        {"column": "weiblich", "measure": "einwohner", "category": "w"},
    ]
    result = read(
        "Nr;Gebiet;Tag;insgesamt;männlich;weiblich\n1;Altstadt;2023_12_31;9;4;5\n", source(LONG | {"values": values})
    )
    assert result.short("category", "value", "column") == [("insgesamt", 9, 4), ("m", 4, 5), ("w", 5, 6)]


def test_levels_from_a_column_and_fixed_area() -> None:
    area = {"name": "Gebiet", "level_column": "Ebene", "levels": {"Bezirk": "bezirk", "Stadt": "stadt"}}
    text = "Ebene;Gebiet;Tag;Wert\nBezirk;Altstadt;31.12.2023;5\nStadt;Musterstadt;31.12.2023;9\nKreis;X;31.12.2023;1\n"
    result = read(text, source({**LONG, "area": area}))
    assert result.short("area_id", "area_level", "area_column")[:2] == [
        ("B-1", "bezirk", "Gebiet"),
        ("S", "stadt", "Gebiet"),
    ]
    assert result.cells[2]["area_problem"].startswith("unbekannte Ebene »Kreis«")
    assert result.cells[2]["area_column"] == "Ebene"
    fixed = {"fixed_area": "S", "period": LONG["period"], "values": LONG["values"]}
    assert read("Tag;Wert\n31.12.2023;5\n", source(fixed)).short("area_id", "value") == [("S", 5)]


def test_period_from_the_file_name() -> None:
    layout = {"area": WIDE["area"], "period": {"file_name": r"_(\d{4})\.csv$", "type": "kalenderjahr"}}
    of = source({**layout, "values": [{"column": "Wert", "measure": "jahr"}]})
    assert read("Gebiet;Wert\nAltstadt;5\n", of, "x_2021.csv").short("period", "value") == [("2021", 5)]
    for name in ("x.csv", "x_0021.csv"):
        assert read("Gebiet;Wert\nAltstadt;5\nSüdhang;5\n", of, name).places == [("dateiname", 0, 0)]


def test_origin_by_row() -> None:
    origin = {"column": "Woher", "values": {"Amt": "published", "Zeitung": "secondary"}}
    result = read(
        f"{HEAD};Woher\n1;Altstadt;31.12.2023;5;Zeitung\n1;Altstadt;31.12.2022;5;?\n", source(LONG | {"origin": origin})
    )
    assert result.cells[0]["origin"] == "secondary"
    assert result.cells[1]["origin"] != result.cells[1]["origin"]  # not a number: not recognised


# ---------------------------------------------------------------- dates

DATES = [
    ("2023_12_31", "stichtag", dt.date(2023, 12, 31)),
    ("31.12.2021", "stichtag", dt.date(2021, 12, 31)),
    ("31_12_2015", "stichtag", dt.date(2015, 12, 31)),
    (" 2021-12-31 ", "stichtag", dt.date(2021, 12, 31)),
    ("2021-12-31 00:00:00", "stichtag", dt.date(2021, 12, 31)),
    ("1.3.2020", "stichtag", dt.date(2020, 3, 1)),
    ("29.02.2020", "stichtag", dt.date(2020, 2, 29)),
    ("31. Dezember 2021", "stichtag", dt.date(2021, 12, 31)),
    ("1. März 2021", "stichtag", dt.date(2021, 3, 1)),
    ("2023", "kalenderjahr", dt.date(2023, 12, 31)),
    ("2023", "jahresdurchschnitt", dt.date(2023, 12, 31)),
    ("2022/23", "schuljahr", dt.date(2023, 7, 31)),
    ("2022/2023", "schuljahr", dt.date(2023, 7, 31)),
    ("1999/00", "schuljahr", dt.date(2000, 7, 31)),
    ("2020_12_32", "stichtag", None),
    ("29.02.2021", "stichtag", None),
    ("31.11.2021", "stichtag", None),
    ("31.13.2021", "stichtag", None),
    ("31.12.21", "stichtag", None),
    ("12/31/2021", "stichtag", None),
    ("2021-12-31 13:00", "stichtag", None),
    ("31. Nonember 2021", "stichtag", None),
    ("44561", "stichtag", None),  # a spreadsheet's day number
    ("2023", "stichtag", None),
    ("2023.0", "kalenderjahr", None),
    ("31.12.2023", "kalenderjahr", None),
    ("0021", "kalenderjahr", None),
    ("٢٠٢٣", "kalenderjahr", None),
    ("٣١.١٢.٢٠٢٣", "stichtag", None),
    ("2022/24", "schuljahr", None),
    ("2022/2024", "schuljahr", None),
    ("9999/00", "schuljahr", None),
    ("2022", "schuljahr", None),
    ("", "stichtag", None),
]


@pytest.mark.parametrize(("text", "kind", "date"), DATES)
def test_date_forms(text: str, kind: str, date: dt.date | None) -> None:
    assert parse_period(text, kind) == date


@given(st.dates(dt.date(1900, 1, 1), dt.date(2199, 12, 31)))
def test_every_day_in_every_form(day: dt.date) -> None:
    forms = ["%Y_%m_%d", "%d.%m.%Y", "%d_%m_%Y", "%Y-%m-%d"]
    assert {parse_period(day.strftime(form), "stichtag") for form in forms} == {day}
    assert period_key("stichtag", day) == day.isoformat()


@given(st.text(max_size=14) | st.from_regex(r"[0-9._/-]{4,12}", fullmatch=True))
def test_no_text_makes_the_date_crash(text: str) -> None:
    for kind in ("stichtag", "kalenderjahr", "schuljahr", "jahresdurchschnitt"):
        date = parse_period(text, kind, "12-31")
        assert date is None or 1900 <= date.year <= 2200


def test_period_keys() -> None:
    day = dt.date(2022, 12, 31)
    assert [period_key(k, day) for k in ("stichtag", "jahresdurchschnitt", "kalenderjahr")] == [
        "2022-12-31",
        "2022-jd",
        "2022",
    ]
    assert period_key("schuljahr", dt.date(2023, 7, 31)) == "2022-23"


def test_headings_that_are_no_possible_date() -> None:
    result = read(
        "Gebiet;31.12.2023;31.12.2O22;2021;31.12.2021;Jahr 2020;32.12.2019\nAltstadt;1;2;3;4;5;6\n", source(WIDE)
    )
    assert result.places == [
        ("zeitangabe_lesbar", 1, 3),
        ("spalte_doppelt", 1, 5),
        ("zeitangabe_lesbar", 1, 7),
        ("spalte_unbekannt", 1, 6),
    ]
    assert "meint dieselbe Zeit wie »2021« (Spalte 4)" in result.failures[1].message


# ---------------------------------------------------------------- numbers and symbols

NUMBERS = [
    ("5", {}, 5.0),
    ("007", {}, 7.0),
    ("-3", {}, -3.0),
    (" 12 ", {}, 12.0),
    ("\u00a012\u00a0", {}, 12.0),
    ("1,6", {}, 1.6),
    ("1,65", {}, 1.65),
    ("12,345", {}, 12.345),
    ("1.6", {"decimal": "."}, 1.6),
    ("3.353", {"thousands": "."}, 3353.0),
    ("726", {"thousands": "."}, 726.0),
    ("1467", {"thousands": "."}, 1467.0),
    ("1.234.567", {"thousands": "."}, 1234567.0),
    ("1.234,5", {"thousands": "."}, 1234.5),
    ("1,234.5", {"thousands": ",", "decimal": "."}, 1234.5),
    ("1 234", {"thousands": " "}, 1234.0),
    ("1\u00a0234", {"thousands": " "}, 1234.0),
    ("1\u202f234", {"thousands": " "}, 1234.0),
    ("1'234", {"thousands": "'"}, 1234.0),
    ("999999999999999", {}, 999999999999999.0),
    ("8,333333333333334", {}, 8.333333333333334),
]
REFUSED = [
    ("1.5", {}),
    ("3.353", {}),
    ("1.5", {"thousands": "."}),
    ("1.50", {"thousands": "."}),
    ("0.123", {"thousands": "."}),
    ("00.123", {"thousands": "."}),
    ("1.2345", {"thousands": "."}),
    ("1234.567", {"thousands": "."}),
    ("1.23.456", {"thousands": "."}),
    ("1,234", {"decimal": "."}),
    *[
        (text, {})
        for text in ("1e5", "+3", "1,5,2", "--", "-", ".", ",", "1,", ",5", "5-", "(5)", "5%", "5€", "−5", "–")
    ],
    *[(text, {}) for text in ("inf", "-inf", "nan", "NaN", "None", "NULL", "#NV", "#REF!", "0x10", "1_000")],
    *[(text, {}) for text in ("٣", "五", "²", "½", "１２")],
    ("1 234", {}),
    ("12 Personen", {}),
    ("9" * 16, {}),
    ("9" * 400, {}),
    ("1\n2", {}),
    ("*", {}),
    ("x", {}),
    ("", {}),
    ("   ", {}),
    ("\u00a0", {}),
    ("\u200b5", {}),
]


@pytest.mark.parametrize(("text", "form", "value"), NUMBERS)
def test_numbers(text: str, form: dict[str, str], value: float) -> None:
    cell = one(text, layout=RATE, format=form)
    assert (cell["value"], cell["status"], cell["text"]) == (value, "value", text)


@pytest.mark.parametrize(("text", "form"), REFUSED)
def test_texts_that_are_no_number_are_never_guessed(text: str, form: dict[str, str]) -> None:
    cell = one(text, layout=RATE, format=form)
    assert (cell["value"], cell["status"]) == (None, "unreadable")


SYMBOLS = {"*": "suppressed", ".": "missing", "-": "zero", "x": "missing", "": "missing", "0": "suppressed"}


@pytest.mark.parametrize(("text", "meaning"), SYMBOLS.items())
@pytest.mark.parametrize("blank", ["", "  ", "\u00a0"])
def test_declared_symbols(text: str, meaning: str, blank: str) -> None:
    cell = one(f"{blank}{text}{blank}", symbols=SYMBOLS)
    assert (cell["status"], cell["value"]) == (("value", 0.0) if meaning == "zero" else (meaning, None))


@pytest.mark.parametrize("text", ["X", "**", "…", "–", "k.A."])
def test_undeclared_symbols_stay_unreadable(text: str) -> None:
    assert one(text, symbols=SYMBOLS)["status"] == "unreadable"


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12))
def test_no_cell_crashes_and_only_digits_are_numbers(text: str) -> None:
    cell = one(text.replace("\ufffd", "").replace("Ã", ""))
    if cell["status"] == "value":
        assert float(text.strip().replace(",", ".")) == cell["value"]
        assert set(text.strip()) <= set("-0123456789,")


def test_a_chunk_of_nothing_but_symbols() -> None:
    result = read(f"{HEAD}\n1;Altstadt;31.12.2023;*\n2;;31.12.2023;*\n", source(symbols={"*": "suppressed"}))
    assert result.short("value", "status") == [(None, "suppressed")] * 2


# ---------------------------------------------------------------- bytes and encodings

TEXT = f"{HEAD}\n1;Altstadt;31.12.2023;5\n2;Mühlenviertel;31.12.2023;6\n"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (TEXT.encode(), "utf-8"),
        (TEXT.encode("utf-8-sig"), "utf-8"),
        (TEXT.encode("latin-1"), "latin-1"),
        (TEXT.encode("cp1252"), "cp1252"),
        (TEXT.replace("\n", "\r\n").encode(), "utf-8"),
        (TEXT.replace("\n", "\r").encode(), "utf-8"),
        (TEXT.rstrip("\n").encode(), "utf-8"),
        (TEXT.replace("ü", "u\u0308").encode(), "utf-8"),
    ],
    ids=["plain", "bom", "latin-1", "cp1252", "crlf", "cr", "no last line end", "decomposed umlauts"],
)
def test_bytes_that_are_read(content: bytes, encoding: str) -> None:
    result = read(content, source(format={"encoding": encoding}))
    assert result.failures == []
    assert result.short("area_id", "value", "line") == [("B-1", 5, 2), ("B-2", 6, 3)]


BROKEN_BYTES = [
    (TEXT.encode("latin-1"), "utf-8", "zeichensatz", 3, "nicht in utf-8 gespeichert", "Windows-1252"),
    (TEXT.encode(), "latin-1", "zeichensatz", 3, "in UTF-8 gespeichert, vereinbart ist latin-1", "latin-1"),
    (TEXT.encode("utf-8-sig"), "cp1252", "zeichensatz", 1, "in UTF-8 gespeichert", "cp1252"),
    (TEXT.encode("utf-8").decode("latin-1").encode(), "utf-8", "umlaute", 3, "Umlaute sind zerstört", "MÃ¼hlen"),
    (TEXT.encode("utf-8").decode("cp1252").encode(), "utf-8", "umlaute", 3, "Umlaute sind zerstört", "MÃ¼hlen"),
    (TEXT.replace("ü", "\ufffd").encode(), "utf-8", "umlaute", 3, "Umlaute sind zerstört", "M\ufffdhlen"),
    (TEXT.encode("utf-16"), "utf-8", "zeichensatz", 1, "in UTF-16 gespeichert", "CSV UTF-8"),
    (TEXT.encode("utf-32"), "utf-8", "zeichensatz", 1, "in UTF-32 gespeichert", "CSV UTF-8"),
    (TEXT.encode("utf-16-le"), "utf-8", "zeichensatz", 3, "nicht in utf-8", "vermutlich in UTF-16"),
    (b"PK\x03\x04\x14\x00\x06\x00" + b"\0" * 50, "utf-8", "dateiart", 0, "Arbeitsmappe", "CSV"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "utf-8", "dateiart", 0, "Arbeitsmappe", "CSV"),
    (b"", "utf-8", "datei_leer", 0, "Datei ist leer", "Kopfzeile"),
    (b"\n \n;;;\n", "utf-8", "datei_leer", 0, "keine Kopfzeile", "Kopfzeile"),
    (f"{HEAD}\n".encode(), "utf-8", "datei_leer", 0, "keine Daten", "mindestens eine Zeile"),
    (HEAD.encode(), "utf-8", "datei_leer", 0, "keine Daten", "mindestens eine Zeile"),
    (TEXT.replace("Alt", "A\0lt").encode(), "utf-8", "datei_lesbar", 2, "NUL-Zeichen", "reiner Text"),
    (TEXT.replace("2;M", '2;"M').encode(), "utf-8", "datei_lesbar", 3, "Anführungszeichen", "paarweise"),
    (TEXT.replace(";6", ";" + "6" * 140_000).encode(), "utf-8", "datei_lesbar", 3, "Zelle ist überlang", "131072"),
]


@pytest.mark.parametrize(
    ("content", "encoding", "rule", "line", "words", "expected"),
    BROKEN_BYTES,
    ids=[f"{b[2]}-{b[4]}" for b in BROKEN_BYTES],
)
def test_broken_bytes_are_one_clear_failure(
    content: bytes, encoding: str, rule: str, line: int, words: str, expected: str
) -> None:
    failures = read(content, source(format={"encoding": encoding})).failures
    assert [(f.rule, f.line) for f in failures] == [(rule, line)]
    assert words in failures[0].message
    assert expected in failures[0].sentence()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_end_in_figures_or_failures(content: bytes) -> None:
    for head in (b"", HEAD.encode() + b"\n"):
        for encoding in ("utf-8", "latin-1", "cp1252"):
            result = read(head + content, source(format={"encoding": encoding}))
            assert result.cells or result.failures


# ---------------------------------------------------------------- rows


def test_quoted_line_breaks_keep_line_numbers_right() -> None:
    text = (
        '"N\nr";Gebiet;Tag;Wert;Notiz\n1;Altstadt;31.12.2023;1;"a\nb\r\nc"\n\n\n'
        '2;Mühlenviertel;31.12.2023;2;"x;""y"""\n3;Südhang;31.12.2023;?;\n'
    )
    layout = {**LONG, "area": {"number": "N r", "name": "Gebiet", "level": "bezirk"}, "ignore": ["Notiz"]}
    result = read(text, source(layout))
    assert result.failures == []
    assert result.short("area_id", "line", "status") == [
        ("B-1", 3, "value"),
        ("B-2", 8, "value"),
        ("B-3", 9, "unreadable"),
    ]


@pytest.mark.parametrize("rows", ["1;Altstadt;31.12.2023", "1;Altstadt;31.12.2023\n"])
def test_short_row(rows: str) -> None:
    result = read(f"{HEAD}\n{rows}")
    assert result.places == [("zeile_zu_kurz", 2, 4)]
    assert "es fehlt ab Spalte »Wert«" in result.failures[0].message
    filled = read(f"{HEAD}\n{rows}", source(format={"short_rows": "fill"}, symbols={"": "missing"}))
    assert filled.short("value", "status", "line") == [(None, "missing", 2)]


def test_long_rows() -> None:
    result = read(f"{HEAD}\n1;Altstadt;31.12.2023;1;;  \n2;Mühlenviertel;31.12.2023;2;;3\n")
    assert result.places == [("zeile_zu_lang", 3, 6)]
    assert result.short("value") == [(1,)]


def test_all_broken_rows_are_named_at_once() -> None:
    text = f"{HEAD}\n1;A\n\n1;Altstadt;31.12.2023;5;6\n1\n1;Altstadt;31.12.2023;5\n"
    assert read(text).places == [("zeile_zu_kurz", 2, 3), ("zeile_zu_lang", 4, 5), ("zeile_zu_kurz", 5, 2)]


@pytest.mark.parametrize(("mark", "name"), [(",", "»,«"), ("\t", "dem Tabulator"), ("|", "»|«")])
def test_wrong_delimiter(mark: str, name: str) -> None:
    result = read(TEXT.replace(";", mark))
    assert result.places == [("trennzeichen", 1, 0)]
    assert f"mit {name} getrennt" in result.failures[0].message
    assert read(TEXT.replace(";", mark), source(format={"delimiter": mark})).failures == []


@pytest.mark.parametrize(
    "head", [" Nr;Gebiet ;\tTag;Wert", "Nr;Gebiet;Tag;\u00a0Wert", '"Nr";"Gebiet";"Tag\n";Wert', HEAD + ";;"]
)
def test_blanks_in_headings_do_not_count(head: str) -> None:
    result = read(f"{head}\n1;Altstadt;31.12.2023;5\n")
    assert result.failures == []
    assert result.short("value", "column", "column_name") == [(5, 4, "Wert")]


def test_missing_columns_name_the_nearest_heading() -> None:
    result = read("Nummer;Gebeit;Tag;Wert\n1;Altstadt;31.12.2023;5\n1;x\n")
    messages = [f.message for f in result.failures]
    assert messages[0] == "Die Spalte »Gebiet« fehlt; gemeint sein könnte »Gebeit«"
    assert messages[1].startswith("Die Spalte »Nr« fehlt; vorhanden: »Nummer«")
    assert result.places[-1] == ("zeile_zu_kurz", 3, 3), "broken rows are told in the same answer"
    assert not [m for m in messages if "Gebeit« ist nicht vereinbart" in m]


@pytest.mark.parametrize("heading", ["Wert", " Wert ", '"Wert"'])
def test_heading_twice(heading: str) -> None:
    result = read(f"Titel;;;\n{HEAD};{heading}\n1;Altstadt;31.12.2023;5;6\n", source(table={"header_line": 2}))
    assert result.places == [("spalte_doppelt", 2, 5)]
    assert "kommt zweimal vor (auch als Spalte 4)" in result.failures[0].message
    assert result.cells == []


def test_undeclared_columns_are_not_lost_silently() -> None:
    text = f"{HEAD};Neu;\n1;Altstadt;31.12.2023;5;6;\n".replace("Nr;Gebiet", "Nr;;Gebiet").replace("1;Alt", "1;;Alt")
    result = read(text)
    assert result.places == [("spalte_unbekannt", 1, 2), ("spalte_unbekannt", 1, 6)]
    assert "»Neu« ist nicht vereinbart" in result.failures[1].message
    assert read(f"{HEAD};Neu\n1;Altstadt;31.12.2023;5;6\n", source(LONG | {"ignore": ["Neu"]})).failures == []


def test_header_further_down() -> None:
    text = f"Amt für Statistik, Kiel;;;\n\nStand: 1.1.2024\n{HEAD}\n\n1;Altstadt;31.12.2023;5\n2;x\n"
    result = read(text, source(table={"header_line": 4}))
    assert result.short("value", "line") == [(5, 6)]
    assert result.places == [("zeile_zu_kurz", 7, 3)]
    assert read(text, source(table={"header_line": 9})).failures[0].expected == "Kopfzeile in Zeile 9"


def test_impossible_dates_are_named_by_line() -> None:
    days = ["2020_12_31", "2020_12_32", "2020_12_33"]
    result = read(HEAD + "".join(f"\n{n};{NAMES[n - 1]};{day};5" for n, day in enumerate(days, 1)))
    assert result.short("line", "period", "period_text", "area_problem") == [
        (2, "2020-12-31", "2020_12_31", ""),
        (3, None, "2020_12_32", ""),
        (4, None, "2020_12_33", ""),
    ]


# ---------------------------------------------------------------- a second, independent reading


@dataclass
class Written:
    """A generated file and what a reading of it must give."""

    content: bytes
    source: Source
    cells: list[tuple[Any, ...]]


def _number(value: int, thousands: str | None, grouped: bool) -> str:
    return f"{value:,}".replace(",", thousands) if thousands and grouped else str(value)


@st.composite
def files(draw: st.DrawFn) -> Written:
    """A table in a random format, written by the csv module; the expected cells are noted while writing."""
    delimiter, ending = draw(st.sampled_from(";,|\t")), draw(st.sampled_from(["\n", "\r\n"]))
    encoding = draw(st.sampled_from(["utf-8", "latin-1", "cp1252", "utf-8-sig"]))
    thousands = draw(st.sampled_from([None, ".", " ", "'"]))
    date_form = draw(st.sampled_from(["%Y_%m_%d", "%d.%m.%Y", "%d_%m_%Y", "%Y-%m-%d"]))
    order = draw(st.permutations(["Gebiet", "Tag", "Wert", "Anteil", "Notiz"]))
    pad = st.sampled_from(["", " ", "  "])
    out = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(out, delimiter=delimiter, lineterminator=ending, quoting=quoting)
    writer.writerow([draw(pad) + name + draw(pad) for name in order])
    cells = []
    for _ in range(draw(st.integers(1, 8))):
        area, day = draw(st.sampled_from(DISTRICTS)), draw(st.dates(dt.date(1950, 1, 1), dt.date(2050, 1, 1)))
        count = draw(st.none() | st.integers(0, 10**9))
        share = draw(st.none() | st.decimals(0, 100, places=2, allow_nan=False))
        texts = {
            "Gebiet": draw(pad) + area.name + draw(pad),
            "Tag": day.strftime(date_form),
            "Wert": "*" if count is None else draw(pad) + _number(count, thousands, draw(st.booleans())) + draw(pad),
            "Anteil": "" if share is None else str(share).replace(".", ","),
            "Notiz": draw(st.text('ab;,"|\t \n', max_size=6)).replace("\n", ending),
        }
        line = out.getvalue().count("\n") + 1
        if draw(st.booleans()):
            out.write(ending * 2)
            line += 2
        writer.writerow([texts[name] for name in order])
        for name, value, status in (
            ("Wert", count, "suppressed"),
            ("Anteil", share, "missing"),
        ):
            number = None if value is None else float(value)
            state = status if value is None else "value"
            place = order.index(name) + 1
            cells.append((line, place, name, area.area_id, day, number, state, texts[name]))
    layout = {
        "area": {"name": "Gebiet", "level": "bezirk"},
        "period": {"column": "Tag", "type": "stichtag"},
        "values": [{"column": "Wert", "measure": "n"}, {"column": "Anteil", "measure": "quote"}],
        "ignore": ["Notiz"],
    }
    form = {"delimiter": delimiter, "encoding": encoding.removesuffix("-sig"), "thousands": thousands}
    of = source(layout, format=form, symbols={"*": "suppressed", "": "missing"})
    return Written(out.getvalue().encode(encoding), of, sorted(cells))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_reading_returns_exactly_what_was_written(written: Written) -> None:
    result = read(written.content, written.source)
    assert result.failures == []
    names = ("line", "column", "column_name", "area_id", "reference_date", "value", "status", "text")
    assert result.short(*names) == written.cells


# ---------------------------------------------------------------- the city's real files

KIEL = ["Land", "Stadt", "Kategorie"]
REAL = {
    "altersgruppen_stadtteile": ("Datum", "Stadtteil", [*KIEL, "Merkmal", "Stadtteilnummer"], 300, None),
    "stadtteile_einwohner_geschlecht": ("Datum", "Stadtteil", [*KIEL, "Merkmal", "Stadtteilnummer"], 330, None),
    "haushalte_nach_haushaltstypen_und_personenanzahl_in_den_stadtteilen": (
        "Jahr",
        "Stadtteile",
        [*KIEL, "Merkmal"],
        390,
        ".",
    ),
    "einwohner_nach_familienstand_in_den_stadtteilen": ("Jahr", "Stadtteil", KIEL, 270, None),
    "einwohner_nach_religionszugehoerigkeit_in_den_stadtteilen": ("Jahr", "Stadtteil", KIEL, 270, None),
    "auslaender_nach_ausgesuchten_nationalitaeten_in_den_stadtteilen": ("Jahr", "Stadtteil", KIEL, 270, "."),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_cell_by_cell(shared: Path, name: str) -> None:
    """Header and rows parse; numbers equal those of the csv module (thousands points and symbols apart)."""
    time_column, area_column, known, count, thousands = REAL[name]
    path = shared / f"kiel/raw/kiel_bevoelkerung_{name}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=";")]
    head = rows[0]
    values = [c for c in head if c not in (time_column, area_column, *known)]
    layout = {
        "area": {"name": area_column, "level": "bezirk"},
        "period": {"column": time_column, "type": "stichtag", "day": "12-31"},
        "values": [{"column": c, "measure": "n"} for c in values],
        "ignore": known,
    }
    symbols = {"-": "missing", "": "missing", ".": "missing"}
    result = read(path.read_bytes(), source(layout, format={"thousands": thousands}, symbols=symbols))
    assert result.failures == []
    assert len(rows) == count + 1
    expected = [
        (line, head.index(c) + 1, c, row[head.index(c)]) for line, row in enumerate(rows[1:], 2) for c in values
    ]
    read_cells = [(c["line"], c["column"], c["column_name"], c["text"].strip()) for c in result.cells]
    assert read_cells == sorted(expected)
    numbers = [None if t in symbols else float(t.replace(".", "")) for *_, t in sorted(expected)]
    assert [c["value"] for c in result.cells] == numbers
    odd = {c["period_text"] for c in result.cells if c["reference_date"] is None}
    assert odd == ({f"2020_12_{d}" for d in range(32, 60)} if name == "altersgruppen_stadtteile" else set())


# ---------------------------------------------------------------- large files

_LARGE = """
import resource, sys
from pathlib import Path
from pipelines.intake.contract import Judge
from tests.test_reading import DIRECTORY, MEASURES, source

def judge(path):
    made = Judge(source(), DIRECTORY, MEASURES)
    figures = made.read(Path(path), "f.csv", [], Path(sys.argv[3]))
    return figures, made.findings.count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

small, large = judge(sys.argv[1]), judge(sys.argv[2])
print(*small, *large)
"""
MORE_MEGABYTES = 250
"""A file of 300,000 rows may take this much more memory than one of ten (all figures at once take over 400)."""


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    days = [dt.date(1900, 1, 1) + dt.timedelta(days=n) for n in range(100_000)]
    for name, count in (("klein", 10), ("gross", 100_000)):
        rows = (f"{n};{NAMES[n - 1]};{day:%Y-%m-%d};{n}\n" for day in days[:count] for n in (1, 2, 3))
        (tmp_path / name).write_text(f"{HEAD}\n{''.join(rows)}", encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-c", _LARGE, tmp_path / "klein", tmp_path / "gross", tmp_path / "out.parquet"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    figures, wrong, before, many, wrong_many, after = map(int, run.stdout.split())
    assert (figures, wrong, many, wrong_many) == (30, 0, 300_000, 0)
    assert after - before < MORE_MEGABYTES
