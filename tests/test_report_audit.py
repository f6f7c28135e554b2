"""The audit reads the report as everybody else does: what was planted in a page, workbook or PDF is found."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from pipelines.audit.facts import Leak
from pipelines.audit.release import Audit, audit_release
from pipelines.audit.release_report import check_report
from pipelines.clearance import Unsafe
from pipelines.marts.models import Models
from pipelines.project import load_project
from tests.test_report_provenance import later_night, town_with_report
from tests.town import CITY

SECRET = "791933"
PAGE = f"gebiete/{CITY}-BZ-2.html"
WITHHELD = f'href="../herkunft/hilfenanteil/{CITY}-BZ-2.html#2022-12-31"'
"""Where the page links to a share that is withheld: 2 of 4,000."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return town_with_report(tmp_path_factory.mktemp("pruefung") / "stadt")


@pytest.fixture(scope="module")
def models(project: Path) -> Models:
    return Models(load_project(project))


@pytest.fixture(scope="module")
def copy(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of database and report alone, to plant things in."""
    release = project / "data/releases/current"
    folder = tmp_path_factory.mktemp("kopie")
    shutil.copyfile(release / "sozialraum.duckdb", folder / "sozialraum.duckdb")
    shutil.copytree(release / "katalog", folder / "katalog")
    return folder


@pytest.fixture
def release(project: Path, copy: Path) -> Iterator[Path]:
    """The copy with one page, one style sheet and the workbook: checks of single files stay fast."""
    for name in (PAGE, "stil.css", "sozialraumdaten-2022.xlsx"):
        target = copy / "bericht" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(project / "data/releases/current/bericht" / name, target)
    yield copy
    shutil.rmtree(copy / "bericht")


def found(release: Path, models: Models) -> list[Leak]:
    leaks = check_report(release, models)
    assert not [leak for leak in leaks if SECRET in leak.where + leak.what], "a message must not repeat a number"
    return leaks


def add(release: Path, markup: str, name: str = PAGE) -> None:
    path = release / "bericht" / name
    content = path.read_text(encoding="utf-8")
    assert "</main>" in content
    path.write_text(content.replace("</main>", f"{markup}</main>"), encoding="utf-8")


def test_the_whole_report_of_a_night_passes_and_a_planted_number_stops_it(project: Path, models: Models) -> None:
    release = project / "data/releases/current"
    assert check_report(release, models) == []
    assert check_report(release, None) == []  # somebody else's release, without its declarations
    page = release / "bericht" / PAGE
    before = page.read_bytes()
    add(release, f"<p>{SECRET}</p>")
    try:
        assert {leak.kind for leak in audit_release(release, models).leaks} >= {"nicht_ableitbar"}
    finally:
        page.write_bytes(before)


def test_a_later_night_with_revisions_passes_too(project: Path, models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "stadt"
    shutil.copytree(project, folder, symlinks=True)
    assert later_night(folder).publication is not None
    current = folder / "data/releases/current"
    page = (current / f"bericht/herkunft/hilfenanteil/{CITY}-BZ-5.html").read_text(encoding="utf-8")
    assert 'data-t="mart.revision.value_before">1,1<' in page  # 55 of 5,000; then 60
    assert 'data-t="mart.revision.value_now">1,2<' in page
    assert found(current, models) == []


PLANTED = {
    "cell": f"<table><tr><td>{SECRET}</td></tr></table>",
    "small count in a cell": "<table><tr><td>2</td></tr></table>",
    "count as an entity": "<table><tr><td>&#50;</td></tr></table>",
    "withheld share in a cell": "<table><tr><td>0,05\u202f%</td></tr></table>",
    "sentence": f"<p>Es sind {SECRET} Personen.</p>",
    "grouped": "<p>791\u202f933</p>",
    "invisible characters": "<p>79\u200b19\u00ad33</p>",
    "other digits": "<p>\u0667\u0669\u0661\u0669</p>",
    "superscript": "<table><tr><td>²</td></tr></table>",
    "across elements": "<p>79<b>19</b>33</p>",
    "aria-label": f'<p aria-label="{SECRET}">x</p>',
    "title": f'<abbr title="{SECRET} Personen">x</abbr>',
    "drawing": f'<svg viewBox="0 0 9 9"><text x="1" y="1">{SECRET}</text></svg>',
    "title of a drawing": f'<svg viewBox="0 0 9 9"><title>{SECRET}</title></svg>',
    "comment": f"<!-- {SECRET} -->",
    "comment without a number": "<!-- zwei -->",
    "script": f"<script>{SECRET}</script>",
    "style": f"<style>p::after{{content:'{SECRET}'}}</style>",
    "template": f"<template>{SECRET}</template>",
    "own attribute": '<p data-wert="2">x</p>',
    "name of an anchor": f'<p id="a{SECRET}">x</p>',
    "class": f'<p class="v{SECRET}">x</p>',
    "address": f'<a href="https://example.org/{SECRET}">x</a>',
    "picture": '<img src="bild.png" alt="">',
    "data address": '<a href="data:text/plain,x">x</a>',
    "script address": '<a href="javascript:x()">x</a>',
    "loaded style": '<link rel="stylesheet" href="https://example.org/x.css">',
    "loaded background": '<p style="background:url(https://example.org/x)">x</p>',
    "loaded paint": '<svg viewBox="0 0 9 9"><rect fill="url(https://example.org/x)"/></svg>',
    "another figure": f'<span data-f="value" data-k="hilfen_anzahl/{CITY}-BZ-5#2022-12-31">54</span>',
    "figure with more places": f'<span data-f="value" data-k="hilfenanteil/{CITY}-BZ-5#2022-12-31">1,10</span>',
    "figure that does not exist": f'<span data-f="value" data-k="hilfen_anzahl/{CITY}-BZ-5#1999-12-31">55</span>',
    "figure of no column": f'<span data-f="wahr" data-k="hilfen_anzahl/{CITY}-BZ-5#2022-12-31">55</span>',
    "not in the column": '<span data-t="mart.observation.value">791\u202f933</span>',
    "no such column": '<span data-t="mart.observation.wahr">791\u202f933</span>',
    "too much to count": f"<span data-n>{SECRET}</span>",
    "unclosed": "<p>",
    "unquoted": f"<p title={SECRET}>x</p>",
    "single quotes": f"<p title='{SECRET}'>x</p>",
}


@pytest.mark.parametrize("markup", PLANTED.values(), ids=PLANTED)
def test_planted_in_a_page(release: Path, models: Models, markup: str) -> None:
    add(release, markup)
    assert found(release, models)


def figure(indicator_id: str, district: int, shown: str) -> str:
    key = f"{indicator_id}/{CITY}-BZ-{district}#2022-12-31"
    return f'<span data-f="value" data-k="{key}">{shown}</span>'


ALLOWED = {
    "figure": figure("hilfen_anzahl", 5, "55"),
    "figure with its unit": figure("hilfen_je_1000", 1, "5,0\u202fje\u202f1\u202f000"),  # 12 of 2,400
    "withheld": figure("hilfen_anzahl", 2, '<abbr title="geheim zu halten">g</abbr>'),
    "name of an area": "<table><tr><td>Bezirk 5</td></tr></table>",
    "period": "<table><tr><td>31.12.2022</td><td>2022</td><td>2022-12-31</td></tr></table>",
    "axis": '<svg viewBox="0 0 9 9"><text>1\u202f031</text><text>1\u202f032</text><text>1\u202f033</text></svg>',
    "released": "<p>Veröffentlichung {}</p>",
}


@pytest.mark.parametrize("markup", ALLOWED.values(), ids=ALLOWED)
def test_what_the_tables_say_may_stand(release: Path, project: Path, models: Models, markup: str) -> None:
    add(release, markup.format((project / "data/releases/current").resolve().name))
    assert found(release, models) == []


CHART = '<svg viewBox="0 0 9 9"><text>0</text><text>5</text><text>10</text><text>15</text>{}</svg>'
MAP = "karten/hilfenanteil-bezirk.html"
WITHHELD_VALUES = {
    "count in a sentence": (PAGE, "<p>Es sind 2 Personen.</p>"),
    "count that begins a paragraph": (PAGE, "<p>2 Personen</p>"),
    "count alone": (PAGE, "<p>2</p>"),
    "rate in a sentence, public elsewhere": (PAGE, "<p>Der Anteil ist 1,1\u202f%.</p>"),
    "count in a label": (PAGE, '<p aria-label="2 Personen">x</p>'),
    "count in a title": (PAGE, '<abbr title="2">x</abbr>'),
    "rate of another area in a description": (
        PAGE,
        '<svg role="img" aria-label="Zeitreihe Hilfen, Anteil, Bezirk 2: 31.12.2022 1,1\u202f%."></svg>',
    ),
    "public count of another area as a column": (PAGE, '<span data-t="mart.observation.value">55</span>'),
    "value of another area as a column": (PAGE, '<span data-t="mart.indicator_value.value">55</span>'),
    "value of another indicator as a column": (MAP, '<span data-t="mart.indicator_value.value">55</span>'),
    "count as a count of things": (PAGE, "<span data-n>2</span>"),
    "lone number in a drawing": (PAGE, '<svg viewBox="0 0 9 9"><text>12</text></svg>'),
    "number that is no tick": (PAGE, CHART.format("<text>12</text>")),
    "odd number that is no tick": (PAGE, CHART.format("<text>94,9</text>")),
    "name of an anchor": (PAGE, '<p id="a2">x</p>'),
    "class": (PAGE, '<p class="v-2">x</p>'),
    "question of an address": (PAGE, '<a href="../index.html?n=2">x</a>'),
}


@pytest.mark.parametrize(("name", "markup"), WITHHELD_VALUES.values(), ids=WITHHELD_VALUES)
def test_withheld_value_outside_of_tables(release: Path, project: Path, models: Models, name: str, markup: str) -> None:
    target = release / "bericht" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(project / "data/releases/current/bericht" / name, target)
    assert found(release, models) == []
    add(release, markup, name)
    assert found(release, models)


def test_number_in_the_place_of_a_sign_on_a_map(release: Path, project: Path, models: Models) -> None:
    target = release / "bericht" / MAP
    target.parent.mkdir(parents=True)
    text = (project / "data/releases/current/bericht" / MAP).read_text(encoding="utf-8")
    signs = list(re.finditer(r"(<t(?:ext|span)[^<>]*>)g(?=</t)", text))
    assert signs, "the map shows no withheld share"
    for sign in (signs[0], signs[-1]):  # the big map, and an earlier small one if there is one
        target.write_text(text[: sign.end(1)] + "2" + text[sign.end() :], encoding="utf-8")
        assert found(release, models)


@pytest.mark.parametrize("shown", ["3 Bezirk 2 2", "3 Bezirk 2 0,1\u202f%"])
def test_label_of_a_small_area_tells_its_own_figure(release: Path, models: Models, shown: str) -> None:
    label = f'<a href="#inhalt" data-k="hilfenanteil/{CITY}-BZ-2#2022-12-31" aria-label="{{}}">x</a>'
    before = (release / "bericht" / PAGE).read_bytes()
    add(release, label.format("3 Bezirk 2 g"))
    assert found(release, models) == []
    (release / "bericht" / PAGE).write_bytes(before)
    add(release, label.format(shown))
    assert found(release, models)


def test_each_figure_of_a_description_stands_behind_its_year(copy: Path, project: Path, models: Models) -> None:
    """Also one whose digits are part of a figure before it, and not one that only another year has."""
    folder, area = copy.with_name("jahre"), f"{CITY}-BZ-5"
    shutil.copytree(copy, folder)
    with duckdb.connect(str(folder / "sozialraum.duckdb")) as con:
        for year, value in ((2021, 12.1), (2022, 2.1)):
            con.execute(
                "UPDATE mart.indicator_value SET value = ? "
                "WHERE indicator_id = 'hilfenanteil' AND area_id = ? AND year(reference_date) = ?",
                [value, area, year],
            )
        (title,) = con.execute("SELECT title_de FROM mart.indicator WHERE indicator_id = 'hilfenanteil'").fetchall()
    page = folder / "bericht/gebiete" / f"{area}.html"
    page.parent.mkdir(parents=True)
    real = (project / "data/releases/current/bericht/gebiete" / page.name).read_text(encoding="utf-8")
    for shown, safe in (("12,1 2,1", True), ("2,1 12,1", False), ("12,1 12,1", False), ("2,1 2,1", False)):
        first, second = shown.split()
        label = f"Zeitreihe {title[0]}, Bezirk 5: 31.12.2021 {first}\u202f%, 31.12.2022 {second}\u202f%."
        drawing = f'<svg role="img" aria-label="{label}"></svg>'
        page.write_text(re.sub(r"(<main[^>]*>).*(</main>)", rf"\1{drawing}\2", real, flags=re.DOTALL), encoding="utf-8")
        assert (found(folder, models) == []) == safe, shown


def test_the_message_says_first_where_the_pages_leak() -> None:
    sums = [Leak("pruefsumme", f"pruefsummen.sha256: {n}", "x") for n in range(30)]
    page = Leak("nicht_ableitbar", "bericht/gebiete/x.html: »#«", "x")
    audit = Audit([*sums, Leak("errechenbar", "Tabelle", "x"), page], 0, 0, 0, {})
    lines = str(Unsafe(audit, "geheimhaltungspruefung.csv")).splitlines()
    assert "32-mal" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:4]] == [
        "bericht/gebiete/x.html",
        "Tabelle",
        "30 Prüfsummen, die erste",
    ]


@pytest.mark.parametrize(
    "markup", ['<span data-t="mart.observation.value">5\u202f000</span>', "<span data-n>39</span>"]
)
def test_what_pages_about_everything_may_show(release: Path, project: Path, models: Models, markup: str) -> None:
    name = "datenqualitaet.html"
    shutil.copyfile(project / "data/releases/current/bericht" / name, release / "bericht" / name)
    add(release, markup, name)
    assert found(release, models) == []


def test_number_in_the_place_of_a_withheld_one(release: Path, models: Models) -> None:
    page = release / "bericht" / PAGE
    before, found_it, after = page.read_text(encoding="utf-8").partition(WITHHELD)
    assert found_it
    sign = after[after.index(">g</abbr>") :]
    page.write_text(before + found_it + after.removesuffix(sign) + sign.replace(">g<", ">0,1<", 1), encoding="utf-8")
    assert found(release, models)


def test_count_in_the_place_of_a_withheld_one_on_its_page_of_provenance(
    release: Path, project: Path, models: Models
) -> None:
    name = f"herkunft/hilfenanteil/{CITY}-BZ-2.html"
    text = (project / "data/releases/current/bericht" / name).read_text(encoding="utf-8")
    assert 'title="geheim zu halten">g</abbr>' in text
    target = release / "bericht" / name
    target.parent.mkdir(parents=True)
    target.write_text(text, encoding="utf-8")
    assert found(release, models) == []
    target.write_text(text.replace('title="geheim zu halten">g</abbr>', ">2</abbr>", 1), encoding="utf-8")
    assert found(release, models)


@pytest.mark.parametrize(
    "name",
    ["geheim.html", f"gebiete/{SECRET}.html", "bild.svg", "daten.json", f"herkunft/hilfenanteil/{CITY}-BZ-7.html"],
)
def test_file_that_no_report_holds(release: Path, models: Models, name: str) -> None:
    path = release / "bericht" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<!doctype html>", encoding="utf-8")
    assert "unbekannte_datei" in {leak.kind for leak in check_report(release, models)}


def test_link_to_a_file_elsewhere(release: Path, models: Models, tmp_path: Path) -> None:
    (tmp_path / "geheim.html").write_text("2", encoding="utf-8")
    (release / "bericht/index.html").symlink_to(tmp_path / "geheim.html")
    assert {leak.kind for leak in found(release, models)} == {"unbekannte_datei"}


@pytest.mark.parametrize(
    "rule",
    [f'p::after {{ content: "{SECRET}" }}', f"/* {SECRET} */", "@import 'x.css';", "p { background: url(x.png) }"],
)
def test_planted_in_the_style_sheet(release: Path, models: Models, rule: str) -> None:
    with (release / "bericht/stil.css").open("a", encoding="utf-8") as file:
        file.write(rule)
    assert found(release, models)


def rewrite(path: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes] | None = None) -> None:
    """Write a workbook again with its parts changed."""
    with zipfile.ZipFile(path) as book:
        parts = {name: change(name, book.read(name)) for name in book.namelist()}
    with zipfile.ZipFile(path, "w") as book:
        for name, content in {**parts, **(extra or {})}.items():
            book.writestr(name, content)


NUMBER = re.compile(rb'(<c r="[A-Z]+[0-9]+"(?: s="[0-9]+")?><v>)[0-9.]+(?=</v>)')
"""A cell with a number of its own, not that of a shared text."""

WORKBOOKS = {
    "number of a cell": lambda name, part: NUMBER.sub(rb"\g<1>2", part) if "xl/worksheets/sheet" in name else part,
    "text": lambda name, part: part.replace(b">Bereich 1<", b">2<") if "sharedStrings" in name else part,
    "property": lambda name, part: part.replace(b"</dc:title>", b" 791933</dc:title>") if "core" in name else part,
    "name of a sheet": lambda name, part: part.replace(b"hilfen_anzahl", b"x791933") if "xl/workbook" in name else part,
}


@pytest.mark.parametrize("change", WORKBOOKS.values(), ids=WORKBOOKS)
def test_planted_in_the_workbook(release: Path, models: Models, change: Callable[[str, bytes], bytes]) -> None:
    path = release / "bericht/sozialraumdaten-2022.xlsx"
    before = path.read_bytes()
    rewrite(path, change)
    assert path.read_bytes() != before
    assert found(release, models)


def test_part_that_no_workbook_needs(release: Path, models: Models) -> None:
    path = release / "bericht/sozialraumdaten-2022.xlsx"
    rewrite(path, lambda _, part: part)
    assert found(release, models) == []
    rewrite(path, lambda _, part: part, {"xl/comments1.xml": b"2"})
    assert found(release, models)


def pdf(text: str) -> bytes:
    """A PDF of one page with one line of text, by hand."""
    content = f"BT /F1 12 Tf 9 9 Td ({text}) Tj ET".encode("latin-1")
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, places = b"%PDF-1.4\n", []
    for number, entry in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj%s endobj\n" % (number, entry)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return body + b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(body),
    )


@pytest.mark.parametrize(("text", "safe"), [("55 von 5000, Seite 1", True), (f"55 von {SECRET}", False)])
def test_what_is_printed_stands_in_the_printed_page(release: Path, models: Models, text: str, safe: bool) -> None:
    page = release / "bericht/druck/sozialraumdaten-2022.html"
    page.parent.mkdir()
    figure = f'<span data-f="value" data-k="hilfen_anzahl/{CITY}-BZ-5#2022-12-31">55</span>'
    column = '<span data-t="mart.observation.value">5000</span>'
    page.write_text(f"<!doctype html><html><body><p>{figure} von {column}</p></body></html>", encoding="utf-8")
    (release / "bericht/sozialraumdaten-2022.pdf").write_bytes(pdf(text))
    assert (found(release, models) == []) is safe


def test_what_cannot_be_read_is_no_pass(project: Path, models: Models, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    shutil.copytree(project / "data/releases/current/", folder)
    (folder / "bericht/sozialraumdaten-2022.xlsx").write_bytes(b"PK")
    assert [leak for leak in audit_release(folder, models).leaks if "sozialraumdaten-2022.xlsx" in leak.where]
