"""The report in a real browser, by the rules of WCAG 2.1 AA and HTML; and that all its links lead somewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pypdf
import pytest
from playwright.sync_api import Page as Tab

from tests.browser import (
    WITHHELD,
    Visit,
    all_pages,
    broken_links,
    browser,
    chromium,
    contrast,
    html_errors,
    kind,
    outline_problems,
    released_kiel,
    sample,
    skips,
    town_with_report,
    violations,
    visit,
    walk,
)

SOAK = os.environ.get("SOAK") == "1"
pytestmark = pytest.mark.soak  # with SOAK=1 every page of both reports, else one of each kind
KINDS = {
    "index.html",
    "gebiete",
    "gebiete/index.html",
    "indikatoren",
    "indikatoren/index.html",
    "karten",
    "karten/index.html",
    "vergleich",
    "vergleich/index.html",
    "herkunft",
    "datenfluss.html",
    "datenfluss",
    "datenqualitaet.html",
    "zeichen.html",
    "barrierefreiheit.html",
    "downloads.html",
    "druck/sozialraumdaten",
    "druck/sozialraumbericht",
}
"""Kinds of pages that every project has."""


@pytest.fixture(scope="module")
def town_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of a constructed town with small, hence withheld, counts of two years."""
    folder = town_with_report(tmp_path_factory.mktemp("bericht") / "Büro Süd", str(chromium()))
    return folder / "data/releases/current/bericht"


@pytest.fixture(scope="module")
def kiel_report() -> Path:
    """Report of the project we ship."""
    return released_kiel() / "bericht"


@pytest.fixture(scope="module", params=["town", "kiel"])
def report(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(f"{request.param}_report")
    return folder


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    """A tab without network."""
    with browser() as running:
        context = running.new_context(offline=True, locale="de-DE")
        yield context.new_page()


@pytest.fixture(scope="module")
def visits(tab: Tab, report: Path) -> list[Visit]:
    """Every page under soak, else one of each kind."""
    return [visit(tab, report, path, thorough=SOAK) for path in (all_pages(report) if SOAK else sample(report))]


# ---------------------------------------------------------------- in the browser


@pytest.mark.browser
def test_axe_finds_nothing_on_any_kind_of_page(visits: list[Visit]) -> None:
    assert {one.path: one.violations for one in visits if one.violations} == {}


@pytest.mark.browser
def test_nothing_scrolls_sideways_on_a_phone_or_at_200_percent(visits: list[Visit]) -> None:
    assert {one.path: one.too_wide for one in visits if one.too_wide} == {}


@pytest.mark.browser
def test_the_browser_complains_about_nothing_and_asks_no_other_host(visits: list[Visit]) -> None:
    assert {one.path: one.said + one.requests for one in visits if one.said or one.requests} == {}


@pytest.mark.browser
def test_every_stop_of_the_keyboard_is_visible_and_none_is_a_trap(tab: Tab, report: Path) -> None:
    at_most = 10_000 if SOAK else 60
    pages = [path for path in sample(report) if not path.startswith("druck/")]
    problems = [problem for path in pages for problem in walk(tab, report, path, at_most)]
    assert problems == []
    assert [path for path in pages if not skips(tab, report, path)] == []


@pytest.mark.browser
def test_with_colours_forced_by_the_system_everything_can_be_read(tab: Tab, report: Path) -> None:
    tab.emulate_media(forced_colors="active")
    found = {}
    for path in sample(report) if SOAK else ["index.html", "downloads.html"]:
        tab.goto((report / path).as_uri())
        found[path] = [text for text in violations(tab) if text.startswith("color-contrast")]
    tab.emulate_media(forced_colors="none")
    assert {path: texts for path, texts in found.items() if texts} == {}


def test_colours_of_the_style_sheet_stand_out(report: Path) -> None:
    """WCAG 1.4.3: 4.5:1 for text, on white and on shaded boxes."""
    style = (report / "stil.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", style))
    text = {name for name in colours if re.search(rf"[ {{;]color: var\(--{name}\)", style)}
    assert {"tinte", "leise", "blau"} <= text
    for name in text:
        for ground in ("grund", "flaeche"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)


# ---------------------------------------------------------------- as files


def test_all_kinds_of_pages_are_there(report: Path) -> None:
    assert KINDS - {kind(path) for path in all_pages(report)} == set()


def test_every_link_and_anchor_leads_somewhere(report: Path) -> None:
    assert broken_links(report) == []


def test_every_page_has_language_title_one_heading_and_loads_nothing_from_elsewhere(report: Path) -> None:
    assert outline_problems(report) == []


@pytest.mark.browser
def test_pages_are_valid_html(report: Path) -> None:
    paths = all_pages(report) if SOAK else sample(report)
    assert html_errors([report / path for path in paths]) == []


def test_a_withheld_count_is_told_as_such(town_report: Path) -> None:
    """One woman with help in a Bezirk: in her cell stands the sign, and what it means."""
    page = (town_report / f"vergleich/{WITHHELD}-bezirk.html").read_text(encoding="utf-8")
    assert re.search(r'<abbr [^>]*title="geheim zu halten[^"]*"[^>]*>g</abbr>', page)


# ---------------------------------------------------------------- on paper


@pytest.mark.browser
def test_printed_files_are_tagged_with_title_language_outline_and_pages(town_report: Path) -> None:
    names = {path.name for path in town_report.glob("*.pdf")}
    areas = [f"sozialraumbericht-99999000-BE-{number}.pdf" for number in (1, 2)]
    assert names == {"sozialraumdaten-2023.pdf", *areas}
    for name in sorted(names):
        content = (town_report / name).read_bytes()
        assert b"file:" not in content, "a path of this machine stands in the file"
        document = pypdf.PdfReader(town_report / name)
        root = document.root_object
        assert root["/MarkInfo"]["/Marked"].value is True
        assert root["/StructTreeRoot"]
        assert root["/Lang"] == "de"
        assert root["/ViewerPreferences"]["/DisplayDocTitle"].value is True
        assert document.metadata is not None
        assert str(document.metadata.title).startswith(name.split("-")[0].capitalize())
        assert document.outline
        pages = len(document.pages)
        assert pages > 1
        assert f"Seite {pages} von {pages}" in document.pages[-1].extract_text()
        assert "Seite" not in document.pages[0].extract_text(), "the cover has no page number"


def test_the_broken_page_is_found(tmp_path: Path) -> None:
    """The plain look finds what it is for."""
    folder = tmp_path / "bericht"
    folder.mkdir()
    good = '<html lang="de"><title>x</title><h1 id="a">x</h1><a href="#a">a</a><a href="b.html#c">b</a>'
    (folder / "a.html").write_text(good, encoding="utf-8")
    bad = '<html><title>x</title><h1>1</h1><h1>2</h1><p id="c"></p><p id="c"></p><img src="https://example.org/x.png">'
    (folder / "b.html").write_text(bad + '<a href="../../x">x</a><a href="a.html#b">y</a>', encoding="utf-8")
    broken = ["b.html: ../../x (no such file)", "b.html: a.html#b (no such place)"]
    assert sorted(broken_links(folder)) == broken
    assert outline_problems(folder) == [
        "b.html: language",
        "b.html: one h1",
        "b.html: ids once",
        "b.html: nothing from elsewhere",
    ]


@pytest.mark.browser
def test_the_browser_finds_what_it_is_for(tab: Tab, tmp_path: Path) -> None:
    """A page with one fault of each kind: too pale, too wide, a stop without outline, a request."""
    (tmp_path / "x.html").write_text(
        '<!DOCTYPE html><html lang="de"><meta charset="utf-8"><title>x</title><style>a:focus{outline:none}</style>'
        '<main><h1>x</h1><p style="color:#aaa">blass</p><div style="width:900px">breit</div><a href="#x">Zum</a>'
        '<img src="https://example.org/x.png" alt="x"></main>',
        encoding="utf-8",
    )
    seen = visit(tab, tmp_path, "x.html")
    assert any("color-contrast" in text for text in seen.violations)
    assert [text.split(":")[0] for text in seen.too_wide] == ["640 px", "320 px"]
    assert seen.requests == ["https://example.org/x.png"]
    assert seen.said
    problems = walk(tab, tmp_path, "x.html", 10)
    assert any("skip link" in text for text in problems)
    assert any("outlined" in text for text in problems)
