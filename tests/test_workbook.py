"""Workbooks are read as Excel shows them; whatever is wrong with a file becomes a finding."""

from __future__ import annotations

import base64
import datetime as dt
import io
import json
import random
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.intake import workbook
from pipelines.intake.failures import Findings
from pipelines.intake.limits import CELL_CHARACTERS
from pipelines.intake.tables import Row
from pipelines.intake.workbook import checks, parent
from pipelines.intake.workbook.child import text_forms
from schemas.documents import Format, Workbook

Rows = dict[str, list[list[str]]]


def read(path: Path, *sheets: str, decimal: str = ",") -> tuple[Rows, Findings]:
    """All cells by sheet, and what was found."""
    findings, found = Findings(), {}
    for sheet in workbook.open_sheets(path, Workbook(sheets=list(sheets) or ["*"]), Format(decimal=decimal), findings):
        rows = list(sheet.rows)
        assert [row.line for row in rows] == list(range(1, len(rows) + 1))
        assert len({len(row.cells) for row in rows}) <= 1
        found[sheet.name] = [row.cells for row in rows]
    return found, findings


def merged(path: Path, sheet: str) -> list[tuple[int, int, int, int]]:
    for found in workbook.open_sheets(path, Workbook(sheets=[sheet]), Format(), Findings()):
        return found.merged
    raise AssertionError(sheet)


def refused(path: Path, rule: str, *words: str) -> None:
    """Nothing is read, and the only finding is an error that says why."""
    rows, findings = read(path)
    assert rows == {}
    assert [f.rule for f in findings.kept] == [rule]
    assert findings.count == 1
    for word in words:
        assert word in findings.kept[0].sentence()


# ---------------------------------------------------------------- building files

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
LINKS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def relations(*links: tuple[str, str, str]) -> str:
    inner = "".join(f'<Relationship Id="{i}" Type="{LINKS}/{kind}" Target="{to}"/>' for i, kind, to in links)
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{inner}</Relationships>'
    )


def archive(path: Path, parts: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return path


def xlsx_parts(rows: str, *, around: str = "", strings: str | None = None, book: str = "") -> dict[str, str | bytes]:
    """One sheet »A« with the given XML inside sheetData."""
    links = [("r1", "worksheet", "worksheets/sheet1.xml")]
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": relations(("r1", "officeDocument", "xl/workbook.xml")),
        "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{LINKS}"><sheets>'
        f'<sheet name="A" sheetId="1" r:id="r1"/></sheets>{book}</workbook>',
        "xl/worksheets/sheet1.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{rows}</sheetData>{around}</worksheet>',
    }
    if strings is not None:
        parts["xl/sharedStrings.xml"] = strings
        links.append(("r2", "sharedStrings", "sharedStrings.xml"))
    parts["xl/_rels/workbook.xml.rels"] = relations(*links)
    return parts


def xlsx(path: Path, rows: str, **more: str) -> Path:
    return archive(path, xlsx_parts(rows, **more))


NAMES = " ".join(
    f'xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{short}:1.0"'
    for short in ("office", "table", "text", "style")
)
NAMES += ' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
NAMES += ' xmlns:xlink="http://www.w3.org/1999/xlink"'
ODS = "application/vnd.oasis.opendocument.spreadsheet"


def ods(path: Path, tables: str, *, styles: str = "", start: str = "", entry: str = "") -> Path:
    manifest = f'<m:manifest xmlns:m="urn:manifest"><m:file-entry>{entry}</m:file-entry></m:manifest>'
    content = f"<office:document-content {NAMES}>{styles}<office:body><office:spreadsheet>{tables}"
    content += "</office:spreadsheet></office:body></office:document-content>"
    return archive(path, {"mimetype": ODS, "META-INF/manifest.xml": manifest, "content.xml": start + content})


def table(*rows: str, name: str = "A", more: str = "", inside: str = "") -> str:
    return f'<table:table table:name="{name}" {more}>{inside}{"".join(rows)}</table:table>'


def row(*cells: str, repeated: int = 1) -> str:
    return f'<table:table-row table:number-rows-repeated="{repeated}">{"".join(cells)}</table:table-row>'


def number(value: str, more: str = "") -> str:
    return f'<table:table-cell office:value-type="float" office:value="{value}" {more}/>'


def text(value: str, more: str = "") -> str:
    return f'<table:table-cell office:value-type="string" {more}><text:p>{value}</text:p></table:table-cell>'


def empty(repeated: int = 1) -> str:
    return f'<table:table-cell table:number-columns-repeated="{repeated}"/>'


def ole(stream: bytes) -> bytes:
    """An OLE file that holds nothing but the stream »Workbook«."""
    end, fat_sector, free = 0xFFFFFFFE, 0xFFFFFFFD, 0xFFFFFFFF
    stream = stream.ljust(4096, b"\0")  # shorter ones would have to be stored in another way
    sectors = -(-len(stream) // 4096)
    tables = -(-(sectors + 2) // 1023)
    # tables, directory, an empty store of short streams (calamine insists on one), the stream
    fat = [fat_sector] * tables + [end, end] + [tables + 3 + i for i in range(sectors - 1)] + [end]
    fat += [free] * (tables * 1024 - len(fat))
    header = struct.pack("<8s16x5H6x", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 4, 0xFFFE, 12, 6)
    header += struct.pack("<9I", 1, tables, tables, 0, 4096, end, 0, end, 0)
    header += struct.pack("<109I", *range(tables), *[free] * (109 - tables))
    none = struct.pack("<3I", free, free, free)
    directory = b""
    for name, kind, child, start, length in (
        ("Root Entry", 5, 1, tables + 1, 64),
        ("Workbook", 2, free, tables + 2, len(stream)),
    ):
        text = name.encode("utf-16-le")
        directory += struct.pack("<64sHBB", text, len(text) + 2, kind, 1) + none[:8]
        directory += struct.pack("<I36xIQ", child, start, length)
    directory += (bytes(68) + none + bytes(48)) * 30
    parts = [header.ljust(4096, b"\0"), struct.pack(f"<{len(fat)}I", *fat), directory, bytes(4096)]
    return b"".join([*parts, stream.ljust(sectors * 4096, b"\0")])


def record8(kind: int, data: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(data)) + data


def begin8(kind: int, version: int = 0x0600) -> bytes:
    return record8(0x0809, struct.pack("<HH12x", version, kind))


END8 = record8(0x000A)


def number8(line: int, column: int, value: float) -> bytes:
    return record8(0x0203, struct.pack("<HHHd", line, column, 0, value))


def formula8(line: int, column: int, result: bytes) -> bytes:
    return record8(0x0006, struct.pack("<HHH8sHIH", line, column, 0, result, 0, 0, 3) + b"\x1e\x01\x00")


EMPTY_TEXT = b"\x03\0\0\0\0\0\xff\xff"


def xls_stream(cells: bytes, *, book: bytes = b"", place: int | None = None, size: int = 1) -> bytes:
    """The stream of a workbook with one sheet »A«; `size` is what the sheet announces."""
    start, after = begin8(5) + book, 4 + 6 + 3 + len(END8)
    place = len(start) + after if place is None else place
    listed = record8(0x0085, struct.pack("<IBBBB", place, 0, 0, 1, 0) + b"A")
    announced = record8(0x0200, struct.pack("<IIHHH", 0, size, 0, min(size, 0xFFFF), 0))
    return start + listed + END8 + begin8(16) + announced + cells + END8


def xls(path: Path, cells: bytes, **more: bytes | int) -> Path:
    path.write_bytes(ole(xls_stream(cells, **more)))  # type: ignore[arg-type]
    return path


XLWT = """
eNrtWE1IVFEU/u77m9H8GU0LjUSErEyEaBOBToVlG8Vq0S/UmK8IdZRJqVyUZbMMglZFG8EWbaw2/VCIQYsWgVGLIIjGolWLECoi1Nc5571HM1OBAykY
73tzz7v3/N3z7j333jfvxWRJauRu5RSy0AQdc04erDSeopLnNyIgueNw1b+HqTgBlhTywjSRlolHhc9DPIc831PQcMd4QhR4T+Uw+tDWG7erFxHbJYaY
4hgalUG5p+EGlSJUSFylQo8JXS70tug+FrpVOJeFNpJuSh3EZLStbrOXx/u1GpEVEVW4LzZvhLMR5XjGeXz+inJ1TWxLnIx1LzFBlVGAUdCUtthxO8Ht
YtxEPtDc3NDa2nCAkEIZTfcovjrVwBd/XU9UB/zF5SsQ/3smP/QXfpgmMZt/VTOAIThHFSdzEoWoMFhi4mnfcbs7iWUYsDg1dJy2T8yQtU5S3V3se/sT
sXc27dyDA6diPT12nNLoTD5v9LIxRDI2hkJZLgVEO1Es9RJZNBGKa+bW9MvWjvboEeEMyWHgHhlrOD44uMAWZFwkGiGRMq2T9gahF8XrKqlXCi2j56B7
bXu5V9k5LDqXRFpL/WwSvIquTauvo3ry0+4HVckP0fVUH2uZGiwbex0dQQ0dYZ1kz9cw6lW9un6N8TDq35W3ubwVWvHbRhPWIt4TON65WIxzWr43HodI
NAtuadRiuDKdvH7bpcHUwtQySKZoTFdT3aS6LpqO5zCEKsU/3TW1SGFLclrjjvWsjtmdLh2vVBYNnC7dZroz0UyxTbAzXZx9/uE47MwkoZHmjOM2xRnP
27i02B07ZH0rS3+ccsESfVfnI1nwDmRJsjVppbjHA0Xb8S8sdG75EpcuxdxyY8+cFYY7HjKq+NOoBggQIECAAAECzAv8kqR5fwcMeVd0X8dC3nedWSpz
wWeS/xZ70EtXP/0p3IE43RM4m1P+rICpfF9qnjb+90LGPuo9gS50SBxdOecvvU6r9OeZt2Hk3y2hXPufyyXOBe7/J8XsD50=
"""
"""Written by the library xlwt 1.3.0, independently of us: sheets »Äpfel« and the hidden »weg«."""


@pytest.fixture
def foreign_xls(tmp_path: Path) -> Path:
    path = tmp_path / "xlwt.xls"
    path.write_bytes(zlib.decompress(base64.b64decode(XLWT)))
    return path


def written(path: Path, fill: Callable[[xlsxwriter.Workbook], None], **options: object) -> Path:
    """A file by XlsxWriter; values at full precision, as Excel writes them."""
    with xlsxwriter.Workbook(path, options) as book:
        fill(book)
    return path


# ---------------------------------------------------------------- real publications


def test_kreise_of_the_federal_employment_agency(shared: Path) -> None:
    path = shared / "reference/ba/Kreise_WO_Zeitreihe.xlsx"
    rows, findings = read(path, "SvB_*")
    assert not findings.kept
    counts, shares = rows["SvB_Kreise_WO_Anzahl"], rows["SvB_Kreise_WO_Anteile"]
    assert (len(counts), len(counts[0]), len(shares), len(shares[0])) == (496, 101, 496, 81)
    # looked up in the sheets' XML: rows 12, 14, 15, 100, 496; columns B, V, CC, CW
    assert [counts[11][1], counts[11][100], counts[13][1], counts[99][0]] == [
        "2002-06-30",
        "2021-06-30",
        "27468453",
        "05354 Aachen",
    ]
    assert [shares[13][1], shares[14][1], shares[99][80]] == ["16,152529594586195", "18,704811036854654", "."]
    assert counts[8][21] == "davon"
    assert counts[10][:2] == ["", ""]
    assert counts[495][0] == ". kein Nachweis vorhanden."
    areas = merged(path, "SvB_Kreise_WO_Anzahl")
    assert len(areas) == 17
    assert {(9, 1, 13, 1), (9, 2, 11, 21), (10, 22, 10, 41), (7, 1, 7, 101)} <= set(areas)


@pytest.mark.parametrize(
    ("name", "title", "kiel", "last"),
    [
        ("A_ArbeitslosigkeitKreis", "Arbeitslose", "11097", "2922"),
        ("A_ErwerbsfaehigeBevoelkerungKreis", "Erwerbsfähige Bevölkerung (15 bis unter 65 Jahre)", "168733", "49752"),
        ("B_SchulabgaengerohneAbschluss", "Schulabgänger ohne Abschluss", "8,48", "8,1"),
    ],
)
def test_kreise_of_inkar(shared: Path, name: str, title: str, kiel: str, last: str) -> None:
    rows, findings = read(shared / f"reference/inkar/{name}.xls", "Daten")
    assert not findings.kept
    data = rows["Daten"]
    assert (len(data), len(data[0])) == (402, 30)
    # looked up with the library xlrd: D1, D2, AD2, A4:B4, AD4, A402, AD402
    assert [data[0][3], data[1][3], data[1][29]] == [title, "1995", "2021"]
    assert [*data[3][:2], data[3][29]] == ["01002", "Kiel, Landeshauptstadt", kiel]
    assert [data[401][0], data[401][29]] == ["16077", last]


def test_workbooks_with_calculated_formulas(shared: Path) -> None:
    for path in sorted((shared / "reference/fingertips").glob("*.xlsx")):
        rows, findings = read(path)
        assert rows
        assert not findings.count
    _, findings = read(shared / "reference/fingertips/testdata_Rate.xlsx", "testdata_Rate")
    assert [(f.rule, f.line, f.column, f.sheet) for f in findings.kept] == [("formel", 2, 4, "testdata_Rate")]
    assert "48 Zellen mit Formeln (D2, E2, F2, D3, E3 …)" in findings.kept[0].message


# ---------------------------------------------------------------- cells


def test_every_kind_of_cell(tmp_path: Path) -> None:
    def fill(book: xlsxwriter.Workbook) -> None:
        sheet = book.add_worksheet("Daten")
        day, moment = book.add_format({"num_format": "dd.mm.yyyy"}), book.add_format({"num_format": "dd.mm.yyyy hh:mm"})
        duration, percent = book.add_format({"num_format": "[h]:mm"}), book.add_format({"num_format": "0.0 %"})
        sheet.write_row(2, 1, ["00123", " Süd\nOst ", 1.0, 0.5, 1234567.25, -0.0, 1e-7, 1e22, True, False])
        sheet.write_datetime(3, 1, dt.date(2002, 6, 30), day)
        sheet.write_datetime(3, 2, dt.datetime(2002, 6, 30, 14, 0), moment)  # noqa: DTZ001 - as in Excel
        sheet.write_datetime(3, 3, dt.datetime(2002, 6, 30, 14, 0, 5), moment)  # noqa: DTZ001
        sheet.write_number(3, 4, 0.5, moment)
        sheet.write_number(3, 5, 1.5, duration)
        sheet.write_number(3, 6, 0.123, percent)
        sheet.merge_range(5, 0, 6, 3, "zusammen")

    path = written(tmp_path / "a.xlsx", fill)
    rows, findings = read(path)
    small, large = "0,0000001", "10000000000000000000000"
    assert rows["Daten"][2] == [
        "",
        "00123",
        " Süd\nOst ",
        "1",
        "0,5",
        "1234567,25",
        "0",
        small,
        large,
        "WAHR",
        "FALSCH",
    ]
    expected = ["2002-06-30", "2002-06-30 14:00", "2002-06-30 14:00:05", "12:00", "36:00", "0,123"]
    assert rows["Daten"][3][1:7] == expected
    assert rows["Daten"][5][:4] == ["zusammen", "", "", ""]
    assert merged(path, "Daten") == [(6, 1, 7, 4)]
    assert not any(rows["Daten"][0] + rows["Daten"][1] + rows["Daten"][4])
    assert not findings.kept
    assert read(path, decimal=".")[0]["Daten"][2][5] == "1234567.25"


def test_numbers_keep_every_digit(tmp_path: Path) -> None:
    digits = ["16.152529594586195", "0.1", "9007199254740993", "123456789012345678", "1.7976931348623157E308", "5E-324"]
    cells = "".join(f'<c r="{"ABCDEF"[i]}1"><v>{value}</v></c>' for i, value in enumerate(digits))
    rows, _ = read(xlsx(tmp_path / "a.xlsx", f'<row r="1">{cells}</row>'), decimal=".")
    assert [float(cell) for cell in rows["A"][0]] == [float(value) for value in digits]
    assert rows["A"][0][:4] == ["16.152529594586195", "0.1", "9007199254740992", "123456789012345680"]
    assert "e" not in "".join(rows["A"][0]).lower()


def test_numbers_that_are_none_look_like_errors(tmp_path: Path) -> None:
    rows, _ = read(xlsx(tmp_path / "a.xlsx", '<row r="1"><c r="A1"><v>NaN</v></c><c r="B1"><v>1E999</v></c></row>'))
    assert rows["A"] == [["#NUM!", "#NUM!"]]


def test_errors_are_text_not_empty(tmp_path: Path) -> None:
    cells = '<c r="B2" t="e"><v>#REF!</v></c><c r="C2" t="e"><f>1/0</f><v>#DIV/0!</v></c><c r="D2"><v>1</v></c>'
    rows, _ = read(xlsx(tmp_path / "a.xlsx", f'<row r="2">{cells}</row>'))
    assert rows["A"] == [["", "", "", ""], ["", "#REF!", "#DIV/0!", "1"]]


def test_cells_without_address_follow_each_other(tmp_path: Path) -> None:
    content = (
        '<row><c><v>1</v></c><c/><c><v>2</v></c></row><row r="4"><c r="C4"><v>3</v></c><c t="e"><v>#N/A</v></c></row>'
    )
    rows, _ = read(xlsx(tmp_path / "a.xlsx", content))
    assert rows["A"] == [["1", "", "2", ""], [""] * 4, [""] * 4, ["", "", "3", "#N/A"]]


def test_formatted_but_empty_cells_do_not_count(tmp_path: Path) -> None:
    rows, findings = read(xlsx(tmp_path / "a.xlsx", '<row r="1"><c r="A1"><v>1</v></c><c r="XFD1" s="0"/></row>'))
    assert rows["A"] == [["1"]]
    assert not findings.kept


CELLS = st.one_of(
    st.none(),
    st.integers(-(10**15), 10**15),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300).map(
        lambda x: float(f"{x:.16G}")
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=12),
)


@given(st.lists(st.lists(CELLS, max_size=6), max_size=8), st.integers(0, 5), st.integers(0, 30))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_table_is_read_back_at_its_place(tmp_path: Path, cells: list[list[object]], top: int, left: int) -> None:
    path = tmp_path / "any.xlsx"

    def fill(book: xlsxwriter.Workbook) -> None:
        sheet = book.add_worksheet("Blatt")
        for line, values in enumerate(cells, top):
            for column, value in enumerate(values, left):
                if isinstance(value, str) and value:
                    sheet.write_string(line, column, value)
                elif value is not None and value != "":
                    sheet.write_number(line, column, value)

    rows, findings = read(written(path, fill), decimal=".")
    assert not findings.kept
    found = {
        (line, column): cell
        for line, values in enumerate(rows["Blatt"])
        for column, cell in enumerate(values)
        if cell != ""
    }
    expected = {
        (line, column): value
        for line, values in enumerate(cells, top)
        for column, value in enumerate(values, left)
        if value is not None and value != ""
    }
    assert set(found) == set(expected)
    for place, value in expected.items():
        assert found[place] == value if isinstance(value, str) else float(found[place]) == float(value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_become_text_and_back_without_loss(value: float) -> None:
    text = text_forms(",")[float](value)
    assert float(text.replace(",", ".")) == value
    assert "e" not in text


# ---------------------------------------------------------------- which sheets


@pytest.fixture
def many(tmp_path: Path) -> Path:
    def fill(book: xlsxwriter.Workbook) -> None:
        for name in ("Deckblatt", "Daten 2022", "Daten 2023", "Notiz (alt)"):
            book.add_worksheet(name).write(0, 0, name)
        book.worksheets()[2].hide()
        chart = book.add_chart({"type": "line"})
        chart.add_series({"values": "='Daten 2022'!$A$1:$A$2"})
        book.add_chartsheet("Daten im Bild").set_chart(chart)
        book.add_worksheet("leer")

    return written(tmp_path / "many.xlsx", fill)


def test_sheets_by_name_and_pattern_in_their_own_order_once(many: Path) -> None:
    rows, findings = read(many, "Daten 202?", "Daten*", "Deckblatt")
    assert list(rows) == ["Deckblatt", "Daten 2022", "Daten 2023"]
    assert [(f.rule, f.severity, f.sheet) for f in findings.kept] == [("blatt_versteckt", "warning", "Daten 2023")]


def test_brackets_and_blanks_in_names_are_plain(tmp_path: Path) -> None:
    path = ods(tmp_path / "a.ods", table(row(number("1")), name="Notiz [alt] "))
    assert list(read(path, "Notiz [alt]")[0]) == ["Notiz [alt] "]
    assert list(read(path, " Notiz  [*]")[0]) == ["Notiz [alt] "]


def test_missing_sheet_is_named_with_the_nearest(many: Path) -> None:
    rows, findings = read(many, "Deckblatt", "Daten 2O22", "Anhang*")
    assert list(rows) == ["Deckblatt"]
    assert [f.rule for f in findings.kept] == ["blatt_fehlt", "blatt_fehlt"]
    assert "am ähnlichsten ist »Daten 2022«" in findings.kept[0].message
    assert "»Deckblatt«, »Daten 2022«, »Daten 2023«, »Notiz (alt)«, »leer«" in findings.kept[1].expected
    assert "ähnlich" not in findings.kept[1].message


def test_chart_is_no_table(many: Path) -> None:
    rows, findings = read(many, "Daten im Bild")
    assert rows == {}
    assert "enthält keine Tabelle" in findings.kept[0].message


def test_empty_sheet_has_no_rows(many: Path) -> None:
    assert read(many, "leer")[0] == {"leer": []}


def test_sheet_is_noted_while_its_rows_are_read(many: Path) -> None:
    findings = Findings()
    seen = []
    for sheet in workbook.open_sheets(many, Workbook(sheets=["D*"]), Format(), findings):
        rows: Iterator[Row] = sheet.rows
        seen.append((findings.sheet, [findings.sheet for _ in rows], findings.sheet))
    assert seen == [(name, [name], name) for name in ("Deckblatt", "Daten 2022", "Daten 2023")]
    assert findings.sheet == ""


def test_what_is_left_over_of_a_sheet_is_passed_over_and_nothing_stays_behind(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[subprocess.Popen[bytes]] = []

    def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        children.append(popen(*arguments, **options))  # type: ignore[call-overload]
        return children[-1]

    popen = subprocess.Popen
    monkeypatch.setattr(parent.subprocess, "Popen", start)
    sheets = workbook.open_sheets(many, Workbook(sheets=["*"]), Format(), Findings())
    assert [sheet.name for sheet in sheets] == ["Deckblatt", "Daten 2022", "Daten 2023", "Notiz (alt)", "leer"]
    sheets = workbook.open_sheets(many, Workbook(sheets=["*"]), Format(), Findings())
    assert next(sheets).name == "Deckblatt"
    assert children[1].poll() is None
    sheets.close()
    assert all(child.returncode is not None for child in children)
    assert all(child.stdout.closed and child.stdin.closed for child in children)


def test_two_sheets_of_one_name_are_refused(tmp_path: Path) -> None:
    parts = xlsx_parts('<row r="1"><c r="A1"><v>1</v></c></row>')
    sheet = '<sheet name="A" sheetId="1" r:id="r1"/>'
    parts["xl/workbook.xml"] = str(parts["xl/workbook.xml"]).replace(sheet, sheet * 2)
    refused(archive(tmp_path / "a.xlsx", parts), "datei_lesbar", "zwei Blätter heißen »A«")


# ---------------------------------------------------------------- other files


@pytest.mark.parametrize(
    ("name", "content", "rule", "words"),
    [
        ("a.xlsx", b"", "datei_leer", "0 Bytes"),
        ("a.xlsx", "Gebiet;Wert\nSüd;1\n".encode(), "dateiart", "Textdatei (CSV), obwohl ihr Name auf .xlsx endet"),
        ("a.xls", "Gebiet\tWert\n".encode("utf-16"), "dateiart", "Textdatei"),
        ("a.xls", b"\xef\xbb\xbf <!-- x --><html><body><table>", "dateiart", "HTML-Tabelle (Webseite), obwohl"),
        ("a.xls", b"<TABLE BORDER=1><tr><td>1", "dateiart", "HTML-Tabelle"),
        ("a.xls", "<html><table>".encode("utf-16"), "dateiart", "HTML-Tabelle"),
        ("a.xls", b'<?xml?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">', "dateiart", "2003"),
        ("a.ods", b'<?xml version="1.0"?><office:document>', "dateiart", "in einer einzigen XML-Datei"),
        ("a.xls", b"MIME-Version: 1.0\r\n", "dateiart", "Webarchiv"),
        ("a.xls", b"<!---->" * 500, "dateiart", "Textdatei"),
        ("a.pdf", b"%PDF-1.7\n", "dateiart", "Die Datei ist ein PDF."),
        ("a.xls", b"\t\x08\x08\x00\x00\x05\x05\x00", "dateiart", "vor Excel 5"),
        ("a.xlsx", bytes(5000), "dateiart", "keine Arbeitsmappe"),
        ("a.xlsx", b"PK\x03\x04" + bytes(500), "datei_lesbar", "unvollständig"),
        ("a.xls", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(2000), "datei_lesbar", "beschädigt"),
        ("a.xls", bytes.fromhex("d0cf11e0a1b11ae1"), "datei_lesbar", "beschädigt"),
    ],
)  # fmt: skip
def test_what_is_no_workbook_is_called_by_its_name(
    tmp_path: Path, name: str, content: bytes, rule: str, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, rule, words)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"word/document.xml": "<x/>"}, "Word-Dokument"),
        ({"ppt/presentation.xml": "<x/>"}, "Präsentation"),
        ({"Lieferung/tabelle.xlsx": "x"}, "in dem erst die Tabelle liegt"),
        ({"bild.png": "x"}, "keine Arbeitsmappe"),
        ({"mimetype": "application/vnd.oasis.opendocument.text"}, "keine Tabelle"),
        ({"_rels/.rels": relations(("a", "officeDocument", "word/document.xml")), "word/document.xml": ""}, "Word"),
    ],
)
def test_archives_that_are_no_workbooks(tmp_path: Path, parts: dict[str, str | bytes], words: str) -> None:
    refused(archive(tmp_path / "a.xlsx", parts), "dateiart", words)


def test_content_decides_not_the_name(tmp_path: Path, foreign_xls: Path) -> None:
    path = xlsx(tmp_path / "eigentlich xlsx.xls", '<row r="1"><c r="A1"><v>7</v></c></row>')
    assert read(path)[0] == {"A": [["7"]]}
    foreign_xls.rename(tmp_path / "eigentlich.xlsx")
    assert read(tmp_path / "eigentlich.xlsx", "weg")[0] == {"weg": [["x"]]}


def test_files_of_other_programs(tmp_path: Path) -> None:
    """Prefixed elements and absolute names, as .NET programs write them; backslashes and capitals in names of parts."""
    parts = xlsx_parts(
        '<row r="1"><c r="A1" t="s"><v>0</v></c></row>', strings=f'<sst xmlns="{MAIN}"><si><t>a</t></si></sst>'
    )
    for name in ("xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"):
        content = str(parts[name]).replace("</", "</x:").replace("<", "<x:").replace("<x:/x:", "</x:")
        parts[name] = content.replace("xmlns=", "xmlns:x=").replace("r:id", "rel:id").replace("xmlns:r=", "xmlns:rel=")
    links = [("r1", "worksheet", "/xl/worksheets/sheet1.xml"), ("r2", "sharedStrings", "/xl/sharedStrings.xml")]
    parts["xl/_rels/workbook.xml.rels"] = relations(*links)
    assert read(archive(tmp_path / "a.xlsx", parts))[0] == {"A": [["a"]]}
    plain = xlsx_parts('<row r="1"><c r="A1"><v>1</v></c></row>')
    renamed = {name.replace("xl/worksheets/s", "xl\\worksheets\\S"): content for name, content in plain.items()}
    assert read(archive(tmp_path / "a.xlsx", renamed))[0] == {"A": [["1"]]}


def test_passwords_are_named(tmp_path: Path) -> None:
    encrypted = ole(bytes(5000)).replace(
        "Workbook".encode("utf-16-le").ljust(66, b"\0")[:64] + struct.pack("<H", 18),
        "EncryptedPackage".encode("utf-16-le").ljust(64, b"\0") + struct.pack("<H", 34),
    )
    path = tmp_path / "a.xlsx"
    path.write_bytes(encrypted)
    refused(path, "datei_lesbar", "mit einem Kennwort geschützt")
    refused(xls(path, b"", book=record8(0x002F, bytes(6))), "datei_lesbar", "Kennwort")
    refused(ods(path, "", entry="<m:encryption-data/>"), "datei_lesbar", "Kennwort")
    data = xlsx(path, "").read_bytes()
    path.write_bytes(data.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"))
    refused(path, "datei_lesbar", "Kennwort")


def test_truncated_files(tmp_path: Path, foreign_xls: Path) -> None:
    path = tmp_path / "a"
    for data in (
        xlsx(path, "").read_bytes(),
        ods(path, table(row(number("1")))).read_bytes(),
        foreign_xls.read_bytes(),
    ):
        path.write_bytes(data[: len(data) // 2])
        refused(path, "datei_lesbar")


# ---------------------------------------------------------------- hostile files


def test_size_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = xlsx(tmp_path / "a.xlsx", '<row r="1"><c r="A1"><v>1</v></c></row>')
    monkeypatch.setattr(checks, "WORKBOOK_BYTES", path.stat().st_size - 1)
    refused(path, "datei_zu_gross")
    monkeypatch.undo()
    monkeypatch.setattr(checks, "UNPACKED_FILES", 4)
    refused(path, "datei_zu_gross", "mehr als 4 Teilen")


def test_zip_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "UNPACKED_BYTES", 10 * 1024 * 1024)
    bomb = xlsx(tmp_path / "a.xlsx", "", around=" " * (11 * 1024 * 1024))
    refused(bomb, "datei_zu_gross", "entpackt größer als 10 MB")
    # The list of parts may lie about the size: then the true size is counted, or the check sum is wrong.
    data, size = bytearray(bomb.read_bytes()), struct.pack("<I", zipfile.ZipFile(bomb).infolist()[3].file_size)
    while (place := data.find(size)) >= 0:
        data[place : place + 4] = struct.pack("<I", 1000)
    bomb.write_bytes(data)
    refused(bomb, "datei_lesbar", "unvollständig oder verändert")


def test_overlapping_parts_count_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many names for one lump of data, declared small."""
    monkeypatch.setattr(checks, "UNPACKED_BYTES", 10 * 1024 * 1024)
    path = xlsx(tmp_path / "a.xlsx", " " * (6 * 1024 * 1024), strings=" " * (6 * 1024 * 1024))
    data = bytearray(path.read_bytes())
    entries = [info for info in zipfile.ZipFile(path).infolist() if info.file_size > 1024 * 1024]
    for info in entries:
        place = data.rfind(info.filename.encode()) - 46
        data[place + 42 : place + 46] = struct.pack("<I", entries[0].header_offset)
        data[place + 24 : place + 28] = struct.pack("<I", 5)
    path.write_bytes(data)
    refused(path, "datei_lesbar")


def test_odd_archives(tmp_path: Path) -> None:
    parts = xlsx_parts('<row r="1"><c r="A1"><v>1</v></c></row>')
    # names that lead out of a folder mean nothing: nothing is unpacked to disk
    path = archive(tmp_path / "a.xlsx", {**parts, "../../../tmp/x": "x", "/etc/passwd": "x", "C:\\x": "x"})
    assert read(path)[0] == {"A": [["1"]]}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.xlsx"]
    refused(archive(path, {**parts, "XL/workbook.xml": "<x/>"}), "datei_lesbar", "kommt zweimal vor")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    refused(path, "datei_lesbar", "auf unbekannte Weise gepackt")
    del parts["xl/worksheets/sheet1.xml"]
    refused(archive(path, parts), "datei_lesbar", "xl/worksheets/sheet1.xml")


LAUGHS = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


def test_entities_and_outside_files_in_xml_are_refused(tmp_path: Path) -> None:
    one = '<row r="1"><c r="A1" t="s"><v>0</v></c></row>'
    path = tmp_path / "a.xlsx"
    refused(xlsx(path, one, strings=f"{LAUGHS}<sst><si><t>&b;</t></si></sst>"), "datei_lesbar", "DOCTYPE")
    outside = '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    refused(xlsx(path, one, strings=f"{outside}<sst><si><t>&a;</t></si></sst>"), "datei_lesbar", "DOCTYPE")
    refused(ods(path, table(row(text("&b;"))), start=LAUGHS), "datei_lesbar", "DOCTYPE")
    refused(xlsx(path, "<x>"), "datei_lesbar", "brach ab")
    refused(xlsx(path, '<row r="1"><c r="A1"><v><![CDATA[7]]></v></c></row>'), "datei_lesbar", "sheet1.xml")
    refused(xlsx(path, '<row r="1"><c r="A1"><v>1<x/>2</v></c></row>'), "datei_lesbar", "Blatt »A«")
    parts = xlsx_parts(one)
    parts["xl/worksheets/sheet1.xml"] = str(parts["xl/worksheets/sheet1.xml"]).encode("utf-16")
    refused(archive(path, parts), "datei_lesbar", "16-Bit")
    refused(xlsx(path, '<row r="1"><c r="A1"><v>1<!-- x -->2</v></c></row>'), "datei_lesbar")


@pytest.mark.parametrize("name", ["A0", "XFE1", "A1048577", "ZZZZ1", "A99999999999", "1", "A", "", "ä1", "A1B"])
def test_cells_that_cannot_be(tmp_path: Path, name: str) -> None:
    refused(xlsx(tmp_path / "a.xlsx", f'<row r="1"><c r="{name}"><v>1</v></c></row>'), "datei_lesbar")


def huge_files(folder: Path) -> dict[str, Path]:
    """Small files that would take many gigabytes if what they say were believed."""
    one, long = '<row r="1"><c r="A1" t="s"><v>0</v></c></row>', "x" * 100_000
    announced = '<sst count="1" uniqueCount="4000000000">'
    far = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    repeated = "".join(f'<row r="{i}"><c r="A{i}" t="s"><v>0</v></c></row>' for i in range(1, 20_000))
    texts = struct.pack("<II", 1, 1) + struct.pack("<HB", 8000, 0) + b"x" * 8000
    labels = b"".join(record8(0x00FD, struct.pack("<HHHI", i % 65536, i // 65536, 0, 0)) for i in range(80_000))
    everywhere = 'table:number-columns-repeated="16384"'
    whole = ole(xls_stream(b""))
    # the directory's sector follows itself; the list of tables goes on in itself
    (folder / "circle.xls").write_bytes(whole[: 4096 + 4] + struct.pack("<I", 1) + whole[4096 + 8 :])
    again = whole[: 4096 + 4092] + struct.pack("<I", 0) + whole[4096 + 4096 :]
    (folder / "circle2.xls").write_bytes(again[:68] + struct.pack("<I", 0) + again[72:])
    return {
        "far corner": xlsx(folder / "far.xlsx", far),
        "count of texts": xlsx(folder / "sst.xlsx", one, strings=f"{announced}<si><t>a</t></si></sst>"),
        "one text in all cells": xlsx(folder / "text.xlsx", repeated, strings=f"<sst><si><t>{long}</t></si></sst>"),
        "ods, everywhere": ods(folder / "all.ods", table(row(number("1", everywhere), repeated=1_048_576))),
        "ods, text": ods(folder / "text.ods", table(row(text(long, everywhere)))),
        "ods, below": ods(folder / "low.ods", table(row(empty(), repeated=4_000_000_000), row(number("1")))),
        "xls, announced size": xls(folder / "size.xls", number8(0, 0, 1.0), size=0xFFFFFFF0),
        "xls, count of texts": xls(folder / "sst.xls", b"", book=record8(0x00FC, struct.pack("<II", 1, 0x7FFFFFFF))),
        "xls, one text in all cells": xls(folder / "text.xls", labels, book=record8(0x00FC, texts)),
        "xls, far corner": xls(folder / "far.xls", number8(65535, 65535, 1.0)),
        "xls, circle": folder / "circle.xls",
        "xls, circle of tables": folder / "circle2.xls",
    }  # fmt: skip


def test_memory_does_not_follow_what_files_claim(tmp_path: Path) -> None:
    """Without limits each of these files would end the process that reads it; here with less memory than usual."""
    files = huge_files(tmp_path)
    code = (
        "import json, resource, sys; from pathlib import Path; import tests.test_workbook as t\n"
        "resource.setrlimit(resource.RLIMIT_AS, (700 * 2**20,) * 2)\n"
        "for name in sys.argv[1:]:\n"
        "    rows, found = t.read(Path(name))\n"
        "    print(json.dumps([sum(map(len, rows.values())), [f.rule for f in found.kept]]), flush=True)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, files.values())],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        timeout=120,
    )
    found = dict(zip(files, map(json.loads, run.stdout.splitlines()), strict=False))
    assert run.returncode == 0, (list(found)[-1:], run.stderr[-500:])
    assert found.pop("xls, count of texts") == [0, []]  # none of them is used
    for name, (rows, rules) in found.items():
        assert rows == 0, name
        assert set(rules) <= {"datei_zu_gross", "datei_lesbar"} and rules, name


def test_a_far_cell_is_named(tmp_path: Path) -> None:
    path = xlsx(tmp_path / "a.xlsx", '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>')
    refused(path, "datei_zu_gross", "Blatt »A«", "XFD1048576")
    refused(xls(path, number8(65535, 999, 1.0)), "datei_zu_gross", "Blatt »A«", "ALL65536")
    far = table(row(empty(16384), repeated=9999), row(empty(9999), number("1")), name="O")
    refused(ods(path, far), "datei_zu_gross", "Blatt »O«", "NTP10000")


def test_long_texts(tmp_path: Path) -> None:
    content = '<row r="1"><c r="A1"><v>1</v></c></row><row r="2">%s</row>'
    long = '<c t="inlineStr"><is><t>%s</t></is></c>'
    path = xlsx(tmp_path / "a", content % long % ("x" * (CELL_CHARACTERS + 1)))
    rows, findings = read(path)
    assert rows["A"] == [["1"]]
    assert [(f.rule, f.sheet) for f in findings.kept] == [("datei_lesbar", "A")]
    assert "In Zeile 2 ist eine Zelle überlang" in findings.kept[0].message
    rows, findings = read(xlsx(path, content % (long % ("x" * CELL_CHARACTERS) * 40)))
    assert len(rows["A"]) == 1
    assert [(f.rule, f.sheet) for f in findings.kept] == [("datei_zu_gross", "A")]


def test_limits_of_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(xls(tmp_path / "a.xls", number8(0, 0, 1.0), size=0xFFFFFFF0), "datei_zu_gross", "Arbeitsspeicher")
    line = "<row>" + "<c><v>1</v></c>" * 1000 + "</row>"
    monkeypatch.setattr(parent, "READER_SECONDS", 1)
    refused(xlsx(tmp_path / "a.xlsx", line * 1000), "datei_zu_gross", "zu viel Zeit")


def test_no_damage_escapes_as_an_exception(tmp_path: Path, foreign_xls: Path) -> None:
    path = tmp_path / "damaged"
    originals = [
        xlsx(
            path, '<row r="1"><c r="B1" t="e"><f>1</f><v>#REF!</v></c></row>', strings="<sst><si/></sst>"
        ).read_bytes(),
        ods(path, table(row(number("1"), text("x", 'table:number-columns-repeated="2"')))).read_bytes(),
        foreign_xls.read_bytes(),
    ]
    dice = random.Random(20260101)
    for original in originals:
        for _ in range(10):
            path.write_bytes(_damaged(original, dice))
            read(path)


def _damaged(original: bytes, dice: random.Random) -> bytes:
    """Some bytes changed; in archives mostly inside a part, so that check sums stay right."""
    if not original.startswith(b"PK") or dice.random() < 0.2:
        return _shuffled(original, dice)
    source, target = zipfile.ZipFile(io.BytesIO(original)), io.BytesIO()
    victim = dice.choice(source.namelist())
    with zipfile.ZipFile(target, "w") as file:
        for name in source.namelist():
            content = source.read(name)
            file.writestr(name, _shuffled(content, dice) if name == victim else content)
    return target.getvalue()


def _shuffled(content: bytes, dice: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(dice.randint(1, 5) if changed else 0):
        changed[dice.randrange(len(changed))] = dice.choice(b'019AZrst<>"\0\xff')
    return bytes(changed[: dice.randrange(len(changed) + 1)] if dice.random() < 0.1 else changed)


SAYS = 'import os; print(\'{"sheets": [["A", true, false], ["B", true, false]], "links": []}\', flush=True); input();'
HEADER = 'print(\'{"findings": [], "merged": [], "width": 1}\\n["x"]\', flush=True);'


@pytest.mark.parametrize(
    ("code", "rows", "found"),
    [
        ("import os; os.abort()", {}, [("datei_zu_gross", "")]),
        ("import os; os.kill(os.getpid(), 9)", {}, [("datei_zu_gross", "")]),
        ("import os; os.kill(os.getpid(), 11)", {}, [("datei_lesbar", "")]),
        ("this is no Python", {}, [("datei_lesbar", "")]),
        (SAYS.replace("input()", "os.abort()"), {}, [("datei_zu_gross", "A")]),
        (SAYS + "os.abort()", {}, [("datei_zu_gross", "A")]),
        (SAYS + HEADER + "os.abort()", {"A": [["x"]]}, [("datei_zu_gross", "A")]),
        (SAYS + HEADER + "print('[\"y', end='', flush=True); os._exit(0)", {"A": [["x"]]}, [("datei_lesbar", "A")]),
    ],
)
def test_a_crash_inside_the_reader_is_a_finding(
    many: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], code: str, rows: Rows, found: object
) -> None:
    monkeypatch.setattr(parent, "_COMMAND", [sys.executable, "-c", code])
    read_rows, findings = read(many)
    assert read_rows == rows
    assert [(f.rule, f.sheet) for f in findings.kept] == found
    assert capfd.readouterr() == ("", "")


# ---------------------------------------------------------------- formulas and links


def formulas(path: Path) -> dict[str, tuple[int, int, str]]:
    """Rule -> line, column and message of the findings about formulas."""
    return {f.rule: (f.line, f.column, f.message) for f in read(path)[1].kept}


def test_formulas_are_counted_and_placed(tmp_path: Path) -> None:
    cells = "".join(f'<c r="{letter}3"><f>1+1</f><v>2</v></c>' for letter in "BCDEFGH")
    path = xlsx(tmp_path / "a.xlsx", f'<row r="3">{cells}</row>', around="<extLst><f>A1</f></extLst>")
    assert formulas(path) == {"formel": (3, 2, "7 Zellen mit Formeln (B3, C3, D3, E3, F3 …)")}
    assert read(path)[0]["A"][2] == ["", *"2222222"]


@pytest.mark.parametrize("cell", ["<f>1+1</f>", "<f>1+1</f><v></v>", "<f>1+1</f><v/>"])
def test_formula_without_result_is_an_error_and_no_empty_cell(tmp_path: Path, cell: str) -> None:
    path = xlsx(tmp_path / "a.xlsx", f'<row r="2"><c r="A2"><v>1</v></c><c r="C2">{cell}</c></row>')
    assert formulas(path)["datei_lesbar"][:2] == (2, 3)
    assert "nie berechnet wurde (C2)" in formulas(path)["datei_lesbar"][2]
    assert read(path)[0]["A"][1] == ["1", "", workbook.NO_VALUE]


def test_formula_with_empty_text_is_calculated(tmp_path: Path) -> None:
    path = xlsx(tmp_path / "a.xlsx", '<row r="1"><c r="A1" t="str"><f>""</f><v></v></c></row>')
    assert set(formulas(path)) == {"formel"}


def test_zeros_of_a_program_that_does_not_calculate_are_an_error(tmp_path: Path) -> None:
    def fill(book: xlsxwriter.Workbook) -> None:
        sheet = book.add_worksheet("A")
        sheet.write_row(0, 0, [1, 2])
        sheet.write_formula(0, 2, "=A1+B1")  # XlsxWriter stores 0 and asks Excel to calculate
        sheet.write_formula(0, 3, "=A1+B1", None, 3)

    path = written(tmp_path / "a.xlsx", fill)
    assert read(path)[0]["A"] == [["1", "2", workbook.NO_VALUE, "3"]]
    assert "1 Zelle mit Formeln, deren Ergebnis" in formulas(path)["datei_lesbar"][2]
    excel = xlsx(path, '<row r="1"><c r="A1"><f>B1</f><v>0</v></c></row>', book='<calcPr calcId="191029"/>')
    assert read(excel)[0]["A"] == [["0"]]
    assert set(formulas(excel)) == {"formel"}


def test_links_to_other_files_are_named_and_not_followed(tmp_path: Path) -> None:
    parts = xlsx_parts('<row r="1"><c r="A1"><v>1</v></c></row>')
    links = [("r1", "worksheet", "worksheets/sheet1.xml"), ("r5", "externalLink", "externalLinks/externalLink1.xml")]
    links += [("r6", "externalLink", "/xl/externalLinks/externalLink2.xml"), ("r7", "connections", "connections.xml")]
    parts["xl/_rels/workbook.xml.rels"] = relations(*links)
    parts["xl/externalLinks/externalLink1.xml"] = "<externalLink/>"
    parts["xl/externalLinks/_rels/externalLink1.xml.rels"] = relations(
        ("r1", "externalLinkPath", "file:///H:/alt.xlsx")
    )
    parts["xl/externalLinks/externalLink2.xml"] = (
        '<externalLink><ddeLink ddeService="cmd" ddeTopic="/c calc"/></externalLink>'
    )
    parts["xl/connections.xml"] = '<x><connection name="Amt"/><connection name="ThisWorkbookDataModel"/></x>'
    parts["xl/vbaProject.bin"] = b"macros are neither run nor handed on"
    rows, findings = read(archive(tmp_path / "a.xlsm", parts))
    assert rows == {"A": [["1"]]}
    assert [(f.rule, f.severity, f.sheet) for f in findings.kept] == [("verknuepfung", "warning", "")]
    assert findings.kept[0].message.endswith(": »file:///H:/alt.xlsx«, »cmd /c calc«, »Amt«")


# ---------------------------------------------------------------- ods


def test_ods_repeats_kinds_and_merged_cells(tmp_path: Path) -> None:
    spanned = 'table:number-columns-spanned="2" table:number-rows-spanned="2"'
    kinds = (
        '<table:table-cell office:value-type="date" office:date-value="2002-06-30"/>'
        '<table:table-cell office:value-type="date" office:date-value="2002-06-30T14:00:00"/>'
        '<table:table-cell office:value-type="time" office:time-value="PT14H30M00S"/>'
        '<table:table-cell office:value-type="boolean" office:boolean-value="true"/>'
        '<table:table-cell office:value-type="percentage" office:value="0.123"/>'
    )
    path = ods(
        tmp_path / "a.ods",
        table(
            row(empty(16384), repeated=2),
            row(empty(), number("1.50"), text("a<text:s/>b</text:p><text:p>c"), empty(16381)),
            row(number("7", 'table:number-columns-repeated="2"'), repeated=2),
            row(text("zusammen", spanned), "<table:covered-table-cell/>", number("8")),
            row(kinds),
            row(empty(16384), repeated=1048569),
        ),
    )
    rows, findings = read(path)
    assert not findings.kept
    assert rows["A"][:6] == [
        [""] * 5,
        [""] * 5,
        ["", "1,5", "a b\nc", "", ""],
        ["7", "7", "", "", ""],
        ["7", "7", "", "", ""],
        ["zusammen", "", "8", "", ""],
    ]
    assert rows["A"][6:] == [["2002-06-30", "2002-06-30 14:00", "14:30", "WAHR", "0,123"]]
    assert merged(path, "A") == [(6, 1, 7, 2)]


def test_ods_errors_formulas_and_texts_that_would_get_lost(tmp_path: Path) -> None:
    error = 'table:formula="of:=1/0" office:value-type="string" office:string-value="" calcext:value-type="error"'
    old_error = 'table:formula="of:=1/0" office:value-type="float" office:value="0"'
    note = "<office:annotation><text:p>Notiz</text:p></office:annotation>"
    cells = (
        number("5", 'table:formula="of:=2+3"'),
        f"<table:table-cell {error}><text:p>#DIV/0!</text:p></table:table-cell>",
        f"<table:table-cell {old_error}><text:p>Err:502</text:p></table:table-cell>",
        "<table:table-cell><text:p>nur Text</text:p></table:table-cell>",
        f'<table:table-cell office:value-type="string">{note}<text:p>Wert</text:p></table:table-cell>',
        f"<table:table-cell>{note}</table:table-cell>",
        f"<table:table-cell {error}/>",
        '<table:table-cell table:formula="of:=1+1"/>',
    )
    path = ods(tmp_path / "a.ods", table(row(empty(2)), row(*cells)))
    rows, findings = read(path)
    assert rows["A"][1] == ["5", "#DIV/0!", "Err:502", "nur Text", "Wert", "", "#N/A", workbook.NO_VALUE]
    assert [(f.rule, f.line, f.column) for f in findings.kept] == [("formel", 2, 1), ("datei_lesbar", 2, 8)]
    assert "5 Zellen" in findings.kept[0].message


def test_ods_hidden_sheets_and_caches_of_other_files(tmp_path: Path) -> None:
    styles = '<style:style style:name="ta2"><style:table-properties table:display="false"/></style:style>'
    source = '<table:table-source xlink:href="file:///H:/alt.ods"/>'
    tables = table(row(number("1")), name="weg", more='table:style-name="ta2"')
    tables += table(row(number("2")), name="'file:///H:/alt.ods'#Daten", inside=source)
    rows, findings = read(ods(tmp_path / "a.ods", tables, styles=styles))
    assert rows == {"weg": [["1"]]}
    assert [(f.rule, f.sheet) for f in findings.kept] == [("verknuepfung", ""), ("blatt_versteckt", "weg")]
    assert "»file:///H:/alt.ods«" in findings.kept[0].message


def test_xlsb_is_asked_for_as_xlsx(tmp_path: Path) -> None:
    refused(archive(tmp_path / "a.xlsb", {"xl/workbook.bin": b"x"}), "dateiart", "xlsb", "bitte in Excel als xlsx")


# ---------------------------------------------------------------- xls


def test_xls_of_another_program(foreign_xls: Path) -> None:
    rows, findings = read(foreign_xls)
    assert rows["Äpfel"][2] == ["", "1,5", "Straße", "2002-06-30", "WAHR", workbook.NO_VALUE, "12345678"]
    assert rows["Äpfel"][3] == ["", "#REF!", workbook.NO_VALUE, "", "", "", "-3,25"]
    assert rows["Äpfel"][5] == ["", "zusammen", "", "", "", "", ""]
    assert len(rows["Äpfel"]) == 6
    assert rows["weg"] == [["x"]]
    assert merged(foreign_xls, "Äpfel") == [(6, 2, 7, 4)]
    rules = [(f.rule, f.sheet, f.line, f.column) for f in findings.kept]
    assert rules == [
        ("formel", "Äpfel", 3, 6),
        ("datei_lesbar", "Äpfel", 3, 6),
        ("blatt_versteckt", "weg", 0, 0),
    ]


def test_xls_formulas(tmp_path: Path) -> None:
    results = (struct.pack("<d", 2.5), b"\x02\0\x2a\0\0\0\xff\xff", b"\x01\0\x01\0\0\0\xff\xff", EMPTY_TEXT)
    cells = b"".join(formula8(1, column, result) for column, result in enumerate(results))
    path = xls(tmp_path / "a.xls", cells + number8(1, 4, 9.0))
    assert read(path)[0]["A"][1] == ["2,5", "#N/A", "WAHR", "", "9"]
    assert set(formulas(path)) == {"formel"}
    # Excel says of itself that it calculated; a file without a single result by another program was not
    excel = record8(0x01C1, bytes(8))
    assert set(formulas(xls(path, formula8(0, 0, EMPTY_TEXT), book=excel))) == {"formel"}
    assert set(formulas(xls(path, formula8(0, 0, EMPTY_TEXT)))) == {"formel", "datei_lesbar"}
    zero = formula8(0, 0, bytes(8))
    assert set(formulas(xls(path, zero))) == {"formel"}
    assert set(formulas(xls(path, record8(0x005E, bytes(2)) + zero))) == {"formel", "datei_lesbar"}


def test_xls_chart_within_a_sheet_does_not_overwrite_cells(tmp_path: Path) -> None:
    error = record8(0x0205, struct.pack("<HHHBB", 0, 0, 0, 0x2A, 1))
    chart = begin8(32) + number8(0, 0, 99.0) + error + number8(9, 9, 99.0) + END8
    after = record8(0x00E5, struct.pack("<5H", 1, 0, 1, 0, 0))
    path = xls(tmp_path / "a.xls", number8(0, 0, 1.0) + number8(1, 0, 2.0) + chart + after)
    assert read(path)[0]["A"] == [["1"], ["2"]]
    assert merged(path, "A") == [(1, 1, 2, 1)]


def test_xls_texts_that_go_on_in_the_next_record(tmp_path: Path) -> None:
    """Texts in several fonts, and one whose second half is stored in wide letters."""
    rich = struct.pack("<HBH", 4, 8, 2) + b"bunt" + bytes(8)
    split = struct.pack("<HB", 6, 0) + b"abc"
    texts = record8(0x00FC, struct.pack("<II", 2, 2) + rich + split)
    texts += record8(0x003C, b"\x01" + "äöü".encode("utf-16-le"))
    cells = b"".join(record8(0x00FD, struct.pack("<HHHI", 0, column, 0, column)) for column in (0, 1))
    assert read(xls(tmp_path / "a.xls", cells, book=texts))[0]["A"] == [["bunt", "abcäöü"]]
    torn = xls(
        tmp_path / "a.xls", b"", book=record8(0x00FC, struct.pack("<II", 1, 1) + struct.pack("<HB", 4, 1) + b"abc")
    )
    refused(torn, "datei_lesbar")


def test_xls_links_and_odd_places(tmp_path: Path) -> None:
    name = "\x01\x01Halt.xls".encode("latin-1")
    link = record8(0x01AE, struct.pack("<HHB", 1, len(name), 0) + name)
    path = xls(tmp_path / "a.xls", number8(0, 0, 1.0), book=link)
    assert read(path)[1].kept[0].message.endswith("»Halt.xls«")
    for place in (0, 3, 10**6, 0xFFFFFFF0):
        refused(xls(path, number8(0, 0, 1.0), place=place), "datei_lesbar")


def test_xls_of_excel_95(tmp_path: Path) -> None:
    """A text in several fonts is a record of its own there."""
    stream = xls_stream(record8(0x00D6, struct.pack("<HHHH", 0, 0, 0, 3) + "Süd".encode("cp1252") + b"\0"))
    path = tmp_path / "a.xls"
    path.write_bytes(ole(stream))
    assert read(path)[0]["A"] == [["Süd"]]


def test_large_xls_container_holds(tmp_path: Path) -> None:
    """The container made for the reader spans several tables of sectors."""
    cells = b"".join(number8(line, column, line + column / 8) for line in range(20_000) for column in range(16))
    rows, _ = read(xls(tmp_path / "a.xls", cells), decimal=".")
    assert len(rows["A"]) == 20_000
    assert rows["A"][19_999][15] == "20000.875"
