"""The table book: its figures are those of the marts, and printing fails in the open or not at all."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import stat
import time
import zipfile
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pypdf
import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_calamine import CalamineWorkbook

from pipelines.marts.models import Models
from pipelines.project import load_project
from pipelines.report import book, pdf
from pipelines.report.book import _year_before, book_level, downloads, make_book
from pipelines.report.book_workbook import write_workbook
from pipelines.report.facts import Facts, Stamp
from tests.browser import WITHHELD, chromium, declare_report, town_with_report
from tests.test_history import NOW

BOOK = "sozialraumdaten-2023"
SHEET = "1.2 hilfenanteil"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The constructed town after its night, without PDF."""
    return town_with_report(tmp_path_factory.mktemp("buch") / "Stadt", pdf.OFF)


@pytest.fixture(scope="module")
def report(folder: Path) -> Path:
    return folder / "data/releases/current/bericht"


def facts_of(folder: Path, declared: Path | None = None) -> Facts:
    """What pages are written from: the town's figures, with the declarations of another folder if one is given."""
    models = Models(load_project(declared or folder)).declared()
    return Facts.read(folder / "data/warehouse/sozialraum.duckdb", models, Stamp("r", NOW))


@pytest.fixture
def by_district(folder: Path, tmp_path: Path) -> Path:
    """The town's declarations with a table book by Bezirk."""
    other = tmp_path / "Stadt"
    shutil.copytree(folder / "assets", other / "assets")
    shutil.copyfile(folder / "dagster.yaml", other / "dagster.yaml")
    (other / "data").mkdir()
    declare_report(other, book_level="bezirk")
    return other


def marts(folder: Path) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows of the public figures by indicator, area and period."""
    with duckdb.connect(str(folder / "data/warehouse/sozialraum.duckdb"), read_only=True) as con:
        cursor = con.execute(
            "SELECT v.*, decimals FROM mart.indicator_value v JOIN mart.indicator USING (indicator_id)"
        )
        names = [column[0] for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return {(row["indicator_id"], row["area_id"], row["period"]): row for row in rows}


def printed(value: float | None, decimals: int) -> float | str:
    """As calamine reads the cell: empty, or the number as it is printed."""
    if value is None:
        return ""
    return float(Decimal(str(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP))


# ---------------------------------------------------------------- workbook


def test_every_number_of_the_workbook_is_that_of_the_mart(folder: Path, report: Path) -> None:
    """Value, the year before, change and the city's value: each found again by area and period."""
    rows = CalamineWorkbook.from_path(report / f"{BOOK}.xlsx").get_sheet_by_name(SHEET).to_python()
    head = next(i for i, row in enumerate(rows) if row[0] == "Gebietskennung")
    names = [str(name) for name in rows[head]]
    wanted = marts(folder)
    seen = set()
    for row in rows[head + 1 :]:
        if not str(row[0]).startswith("99999000"):
            break
        cells = dict(zip(names, row, strict=True))
        assert re.fullmatch(r"31\.12\.\d{4}", str(cells["Zeitraum"]))
        area, year = str(cells["Gebietskennung"]), int(str(cells["Zeitraum"])[6:])
        value = wanted["hilfenanteil", area, f"{year}-12-31"]
        before = wanted.get(("hilfenanteil", area, f"{year - 1}-12-31"), {})
        city = wanted["hilfenanteil", "99999000", f"{year}-12-31"]
        decimals = value["decimals"]
        assert cells["Wert"] == printed(value["value"], decimals)
        assert cells["Vorjahr"] == printed(before.get("value"), decimals)
        assert cells["Veränderung"] == printed(value["change"], decimals)
        assert cells["Stadt"] == printed(city["value"], decimals)
        assert ("g" in str(cells["Zeichen"])) == (value["obs_status"] == "Q")
        seen.add((area, year))
    assert seen == {(f"99999000-BE-{n}", year) for n in (1, 2) for year in (2022, 2023)}


def test_withheld_figures_leave_an_empty_cell_with_its_sign(folder: Path, by_district: Path, tmp_path: Path) -> None:
    """On the level of the Bezirke, where counts of 1 and 2 are."""
    facts = facts_of(folder, by_district)
    content = make_book(facts)
    assert content is not None
    write_workbook(tmp_path / "x.xlsx", content, facts)
    rows = CalamineWorkbook.from_path(tmp_path / "x.xlsx").get_sheet_by_name(f"1.1 {WITHHELD}").to_python()
    rates = {key[1:]: row for key, row in marts(folder).items() if key[0] == WITHHELD and "-BZ-" in key[1]}
    withheld = {key for key, row in rates.items() if row["obs_status"] == "Q"}
    assert withheld
    shown = {(str(row[0]), f"{str(row[2])[6:]}-12-31"): row for row in rows if str(row[0]).startswith("99999000-BZ-")}
    assert len(shown) == 12
    for key, row in shown.items():
        assert (row[3] == "") == (key in withheld)
        assert ("g" in str(row[4]).split()) == (key in withheld)
    facts.close()


def test_the_workbook_is_laid_out_for_a4_with_frozen_heads_and_real_number_formats(report: Path) -> None:
    with zipfile.ZipFile(report / f"{BOOK}.xlsx") as file:
        sheets = [file.read(name).decode() for name in file.namelist() if name.startswith("xl/worksheets/sheet")]
        whole, styles = file.read("xl/workbook.xml").decode(), file.read("xl/styles.xml").decode()
    assert all('paperSize="9"' in sheet and "Seite &amp;P von &amp;N" in sheet for sheet in sheets)
    assert any('state="frozen"' in sheet for sheet in sheets)
    assert "_xlnm.Print_Titles" in whole
    assert '"#,##0.0"' in styles


def test_the_same_figures_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    facts = facts_of(folder)
    content = make_book(facts)
    assert content is not None
    write_workbook(tmp_path / "a.xlsx", content, facts)
    write_workbook(tmp_path / "b.xlsx", content, facts)
    assert (tmp_path / "a.xlsx").read_bytes() == (tmp_path / "b.xlsx").read_bytes()
    facts.close()


# ---------------------------------------------------------------- pages


def test_the_level_is_the_declared_one_or_the_smallest_below_the_city(folder: Path, by_district: Path) -> None:
    for declared, level in ((folder, "bereich"), (by_district, "bezirk")):
        facts = facts_of(folder, declared)
        found = book_level(facts)
        assert found is not None
        assert found.id == level
        facts.close()


def test_the_printed_table_holds_every_area_and_year_with_source_and_key_of_signs(folder: Path, report: Path) -> None:
    text = (report / f"druck/{BOOK}.html").read_text(encoding="utf-8")
    keys = set(re.findall(r'herkunft/hilfenanteil/([^"]+)\.html#([0-9-]+)"', text))
    wanted = {key[1:] for key in marts(folder) if "-BE-" in key[1] or key[1] == "99999000"}
    assert keys == wanted
    assert "Quelle: Amt: jugendamt; Amt: melderegister" in text
    assert "geheim zu halten" in text


def test_each_area_of_the_level_has_its_own_report(report: Path) -> None:
    names = sorted(path.name for path in (report / "druck").glob("sozialraumbericht-*.html"))
    assert names == [f"sozialraumbericht-99999000-BE-{n}.html" for n in (1, 2)]
    text = (report / "druck" / names[0]).read_text(encoding="utf-8")
    assert "<h1>Sozialraumbericht Bereich 1 2023</h1>" in text
    assert "Titel hilfenanteil" in text
    assert "<details" not in text, "folded text does not print"


@pytest.mark.parametrize(
    ("day", "before"),
    [
        ("2024-02-29", "2023-02-28"),
        ("2025-02-28", "2024-02-29"),
        ("2023-12-31", "2022-12-31"),
        ("2021-06-30", "2020-06-30"),
        ("2023-07-15", "2022-07-15"),
    ],
)
def test_the_year_before(day: str, before: str) -> None:
    assert _year_before(dt.date.fromisoformat(day)) == dt.date.fromisoformat(before)


@given(st.dates(dt.date(1900, 1, 1), dt.date(2200, 12, 31)))
def test_the_year_before_is_the_same_month_and_the_end_of_a_month_stays_its_end(day: dt.date) -> None:
    before = _year_before(day)
    assert (before.year, before.month) == (day.year - 1, day.month)
    if (day + dt.timedelta(days=1)).day == 1:
        assert (before + dt.timedelta(days=1)).day == 1
    else:
        assert before.day == day.day


# ---------------------------------------------------------------- printing

PAGE = '<!DOCTYPE html><html lang="de"><title>Büro</title><link rel="stylesheet" href="../stil.css"><h1>Ä</h1>'


@pytest.fixture
def page(tmp_path: Path) -> tuple[Path, Path]:
    """A page with its style sheet in a folder with a blank, and where its PDF belongs."""
    folder = tmp_path / "Büro Süd"
    (folder / "druck").mkdir(parents=True)
    (folder / "stil.css").write_text("h1 { color: #000 }", encoding="utf-8")
    (folder / "druck/x.html").write_text(f'{PAGE}<a href="../y.html">y</a>', encoding="utf-8")
    return folder / "druck/x.html", folder / "x.pdf"


def stand_in(tmp_path: Path, body: str) -> Path:
    """A program in the place of Chromium; `$out` is the file it should write, each call is counted."""
    path = tmp_path / "browser"
    path.write_text(
        "#!/bin/sh\n"
        f"echo x >> '{tmp_path}/calls'\n"
        'for a in "$@"; do case "$a" in --print-to-pdf=*) out="${a#--print-to-pdf=}";; esac; done\n'
        f"{body}\n",
        encoding="utf-8",
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def calls(tmp_path: Path) -> int:
    path = tmp_path / "calls"
    return len(path.read_text().split()) if path.exists() else 0


WRITES = "printf '%%PDF-1.4\\n/CreationDate (D:20260101120000+00'\"'\"'00'\"'\"')\\n%%%%EOF\\n' > \"$out\""


def test_what_was_printed_is_not_printed_again_until_page_or_style_change(
    tmp_path: Path, page: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pdf.CHROMIUM, str(stand_in(tmp_path, WRITES)))
    cache = tmp_path / "cache"
    for _ in range(3):
        page[1].unlink(missing_ok=True)
        assert pdf.print_pages([page], cache) is None
        assert page[1].read_bytes().startswith(b"%PDF-")
    assert calls(tmp_path) == 1
    assert b"CreationDate" not in page[1].read_bytes(), "the moment of printing would make each file another"
    (page[0].parent.parent / "stil.css").write_text("h1 { color: #111 }", encoding="utf-8")
    assert pdf.print_pages([page], cache) is None
    assert calls(tmp_path) == 2
    assert len(list(cache.iterdir())) == 1, "what nobody wants any more is removed"


def test_a_damaged_file_in_the_cache_is_printed_again(
    tmp_path: Path, page: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pdf.CHROMIUM, str(stand_in(tmp_path, WRITES)))
    assert pdf.print_pages([page], tmp_path / "cache") is None
    good = page[1].read_bytes()
    (kept,) = (tmp_path / "cache").iterdir()
    kept.write_bytes(good[:-7])
    assert pdf.print_pages([page], tmp_path / "cache") is None
    assert page[1].read_bytes() == good
    assert calls(tmp_path) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [("exit 7", "Code 7"), ("exit 0", "ohne zu drucken"), ('printf "%%PDF-1.4 cut" > "$out"', "unvollständige")],
)
def test_a_browser_that_fails_leaves_a_note_and_no_file(
    tmp_path: Path, page: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    monkeypatch.setenv(pdf.CHROMIUM, str(stand_in(tmp_path, body)))
    note = pdf.print_pages([page], tmp_path / "cache")
    assert note is not None
    assert said in note
    assert "x.html" in note
    assert pdf.CHROMIUM in note
    assert "\n" not in note
    assert not page[1].exists()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_browser_that_hangs_is_ended_with_its_children(
    tmp_path: Path, page: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pdf.CHROMIUM, str(stand_in(tmp_path, f"sleep 600 & echo $! > '{tmp_path}/child'; wait")))
    monkeypatch.setattr(pdf, "TIMEOUT", 1)
    begun = time.monotonic()
    note = pdf.print_pages([page], tmp_path / "cache")
    assert time.monotonic() - begun < 30
    assert note is not None
    assert "nicht fertig" in note
    child = int((tmp_path / "child").read_text())
    for _ in range(50):
        if not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the child still runs")


def test_without_a_browser_there_is_a_note_and_switched_off_there_is_none(
    tmp_path: Path, page: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pdf.CHROMIUM, pdf.OFF)
    assert pdf.print_pages([page], tmp_path / "cache") is None
    monkeypatch.setenv(pdf.CHROMIUM, str(tmp_path / "fehlt"))
    assert "fehlt" in str(pdf.print_pages([page], tmp_path / "cache"))
    monkeypatch.delenv(pdf.CHROMIUM)
    monkeypatch.setenv("PATH", str(tmp_path))
    note = pdf.print_pages([page], tmp_path / "cache")
    assert note is not None
    assert "kein Chromium" in note
    assert not page[1].exists()


def test_downloads_are_the_files_that_are_there(folder: Path, report: Path, tmp_path: Path) -> None:
    facts = facts_of(folder)
    assert {address for address, _ in downloads(facts, report)} == {
        f"{BOOK}.xlsx",
        *(f"druck/{path.name}" for path in (report / "druck").glob("*.html")),
    }
    (tmp_path / f"{BOOK}.pdf").write_bytes(b"")
    assert downloads(facts, tmp_path) == [(f"{BOOK}.pdf", "Sozialraumdaten 2023 (PDF)")]
    facts.close()


def test_with_very_many_areas_there_is_the_workbook_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(book, "MOST_ON_PAPER", 1)
    facts = facts_of(folder)
    assert list(book.pages(facts)) == []
    assert book.write_book(facts, tmp_path, tmp_path / "cache") == []
    assert [path.name for path in tmp_path.glob("*.*")] == [f"{BOOK}.xlsx"]
    facts.close()


def test_a_release_without_pdf_says_nothing_when_they_are_switched_off(report: Path) -> None:
    assert list(report.glob("*.pdf")) == []
    assert (report / f"{BOOK}.xlsx").is_file()


@pytest.mark.browser
def test_printing_twice_gives_the_same_bytes_and_no_path_of_this_machine(
    tmp_path: Path, page: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(pdf.CHROMIUM, str(chromium()))
    assert pdf.print_pages([page], tmp_path / "one") is None
    first = page[1].read_bytes()
    time.sleep(1.1)  # the moment of printing is told in seconds
    assert pdf.print_pages([page], tmp_path / "two") is None
    assert page[1].read_bytes() == first
    assert os.fsencode(tmp_path) not in first
    assert b"file:" not in first
    assert pypdf.PdfReader(page[1]).metadata.title == "Büro"  # type: ignore[union-attr]
