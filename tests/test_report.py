"""The answer to a sender: what stands in it, in which order, and that nothing in a delivered file can do harm there."""

from __future__ import annotations

import csv
import dataclasses
import datetime as dt
import io
import re
import stat
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from pipelines.history import Delivery, History
from pipelines.intake.failures import KEEP, Findings
from pipelines.intake.report import report_paths, write_report
from pipelines.intake.run import SourceState, current_state, take_in
from pipelines.intake.verdict import Verdict
from pipelines.paths import Paths
from pipelines.project import Project, load_project
from pipelines.reply import words
from pipelines.reply.points import sections
from pipelines.reply.slips import slip_of
from tests.test_history import edit

NOW = dt.datetime(2024, 3, 1, 12, tzinfo=dt.UTC)
HEAD = "Nummer;Bezirk;Stichtag;Arbeitslose;Einwohner 15-64"
GOOD = ["1;Altstadt;31.12.2023;120;2400", "2;Mühlenviertel;31.12.2023;300;4000", "3;Südhang;31.12.2023;45;3000"]
VOID = {"meta", "br", "link", "img", "input", "hr", "base", "source"}


class Page(HTMLParser):
    """What a browser would make of a page: tags with attributes, text, tables, texts of sections by heading."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.marked: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.feed(text)
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "mark":
            self.marked.append("")
        elif re.fullmatch("h[1-6]", tag):
            self.headings.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag not in ("b", "bdi", "mark", "a"):
            self.text += " "

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data
        if "mark" in self.open:
            self.marked[-1] += data
        if any(re.fullmatch("h[1-6]", tag) for tag in self.open):
            self.headings[-1] = (self.headings[-1][0], self.headings[-1][1] + data)

    @property
    def flat(self) -> str:
        return " ".join(self.text.split())


class Answer:
    """The three files about a delivery."""

    def __init__(self, project: Project, delivery: Delivery) -> None:
        self.paths = report_paths(project, delivery)
        page, table, mail = self.paths
        self.html = page.read_text(encoding="utf-8")
        self.page = Page(self.html)
        self.mail = mail.read_text(encoding="utf-8")
        self.table = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline=""), delimiter=";"))


def table(*rows: str, head: str = HEAD) -> str:
    return "\n".join([head, *rows]) + "\n"


def taken(root: Path, content: str | bytes, name: str = "beispiel.csv") -> tuple[Project, SourceState]:
    """Take in one delivery of the template's source, without the rest of the night."""
    for old in (root / "data/raw/beispiel").iterdir():
        old.unlink()
    data = content if isinstance(content, bytes) else content.encode()
    (root / "data/raw/beispiel" / name).write_bytes(data)
    project = load_project(root)
    return project, take_in(project, project.sources["beispiel"], 1, NOW)


def answer(root: Path, content: str | bytes, name: str = "beispiel.csv") -> Answer:
    project, state = taken(root, content, name)
    return Answer(project, state.deliveries[-1])


def verdict_of(*found: tuple[str, str, dict[str, Any]]) -> Verdict:
    findings = Findings()
    for rule, message, place in found:
        findings.add(rule, message, "etwas anderes", **place)
    return Verdict().with_findings(findings)


# ---------------------------------------------------------------- what stands in it


def test_page_says_what_arrived_what_is_wrong_and_what_happens_now(project: Path) -> None:
    page = answer(project, table(GOOD[0], GOOD[1].replace("300", "30O"), GOOD[2])).page
    for text in (
        "Die Datei konnte nicht übernommen werden",
        "beispiel.csv",
        "Arbeitslose und Einwohner (konstruiertes Beispiel)",
        "Statistikstelle Musterstadt (konstruiert)",
        "Eingegangen 01.03.2024",
        "Lieferung beispiel-0001",
        "4 Zeilen",
        "1 Beanstandung.",
        "Keine ihrer Zahlen gilt, auch nicht die richtigen.",
        "Aus dieser Quelle gilt noch keine Lieferung",
        "vollständig noch einmal liefern",
        "»30O« ist keine lesbare Angabe",
        "hier vermutlich Ziffern statt Buchstaben, also 300 statt 30O",
        "Trennzeichen Semikolon",
        "»*« = geheim gehalten",
    ):
        assert text in page.flat
    assert ["Arbeitslose", "3 Bezirke", "31.12.2023", "3"] in page.rows
    assert page.marked == ["30O"]
    assert ["3", "2", "Mühlenviertel", "31.12.2023", "30O", "4000"] in [row[:6] for row in page.rows], "the row itself"
    assert ["1", *HEAD.split(";")] in [row[:6] for row in page.rows], "below its heading"
    assert ["Zeile", "A", "B", "C", "D", "E"] in [row[:6] for row in page.rows], "named as a spreadsheet does"


def test_table_lists_every_finding(project: Path) -> None:
    found = answer(project, table(*GOOD[:2], GOOD[2].replace("Südhang", " Südhang").replace("45", "-"))).table
    assert [(row["Art"], row["Zeile"], row["Spalte"], row["Spaltenbuchstabe"], row["Regel"]) for row in found] == [
        ("Beanstandung", "4", "4", "D", "zelle_lesbar"),
        ("Hinweis", "4", "2", "B", "leerzeichen"),
    ]
    assert found[0]["Wert"] == "'-", "a lone sign would be a formula"
    assert found[0]["Erwartet"] == "Zahl wie 1234 oder 12,5; erlaubte Zeichen: »*«"
    assert set(found[0]) == {
        *("Art", "Blatt", "Zeile", "bis Zeile", "Spalte", "Spaltenbuchstabe", "Spaltenname", "Wert"),
        *("Regel", "Beanstandung", "Erwartet"),
    }


def test_table_opens_in_a_german_spreadsheet(project: Path) -> None:
    project_, state = taken(project, table(*GOOD[:2]))
    content = report_paths(project_, state.deliveries[0])[1].read_bytes()
    assert content.startswith(b"\xef\xbb\xbf"), "spreadsheets need the mark to show umlauts"
    assert content.count(b"\r\n") == content.count(b"\n") > 1


def test_good_data_of_before_are_named(project: Path) -> None:
    taken(project, table(*GOOD))
    found = answer(project, table(*GOOD[:2]), "neu.csv")
    assert (
        "Es gelten weiter die früher übernommenen Zahlen, zuletzt aus »beispiel.csv« vom 01.03.2024." in found.page.flat
    )
    assert "gelten bei uns die früher übernommenen Zahlen weiter" in " ".join(found.mail.split())


def test_warnings_alone_have_their_own_words(project: Path) -> None:
    found = answer(project, table(*GOOD[:2], GOOD[2].replace("Südhang", "Südhang ")))
    assert "Die Datei ist übernommen, dazu gibt es Hinweise" in found.page.flat
    assert "Die Zahlen der Datei gelten." in found.page.flat
    assert "Beanstandungen" not in [text for _, text in found.page.headings]
    assert found.page.marked == ["Südhang␣"]
    assert "␣ Leerzeichen am Rand" in found.page.flat
    assert "Wir haben sie übernommen" in " ".join(found.mail.split())
    assert "noch einmal senden" not in found.mail


@pytest.mark.parametrize(
    ("changed_rules", "heading", "mail"),
    [
        (False, "Die Datei ist übernommen, widerspricht aber anderen Zahlen", "Bitte prüfen Sie, welche Zahl stimmt"),
        (True, "Eine übernommene Lieferung passt nicht mehr zu den Regeln", "Kein Schreiben an den Absender"),
    ],
)
def test_accepted_deliveries_with_errors(project: Path, changed_rules: bool, heading: str, mail: str) -> None:
    loaded, state = taken(project, table(*GOOD))
    delivery = state.deliveries[0]
    if changed_rules:
        delivery = dataclasses.replace(delivery, rules="andere")
    place = {"line": 3, "column": 4, "column_name": "Arbeitslose", "value": "300"}
    verdict = verdict_of(("stimmt_mit_quelle", "300 statt 310 in »andere«", place))
    write_report(loaded, loaded.sources["beispiel"], delivery, verdict)
    found = Answer(loaded, delivery)
    assert heading in found.page.flat
    assert mail in found.mail
    assert "zurückgewiesen" not in found.page.text
    assert found.page.marked == ["300"]


def test_report_stays_inside(project: Path) -> None:
    loaded, state = taken(project, table(*GOOD[:2]))
    folder = report_paths(loaded, state.deliveries[0])[0].parent
    loaded.paths.prepare()
    assert folder.is_relative_to(loaded.paths.internal)
    assert stat.S_IMODE(loaded.paths.internal.stat().st_mode) == 0o700


def test_settled_reports_go(project: Path) -> None:
    loaded, state = taken(project, table(*GOOD[:2]))
    paths = report_paths(loaded, state.deliveries[0])
    assert all(path.exists() for path in paths)
    (project / "data/raw/beispiel/neu.csv").write_text(table(*GOOD), encoding="utf-8")
    take_in(loaded, loaded.sources["beispiel"], 2, NOW)
    assert not any(path.exists() for path in paths)


def test_report_is_made_once_and_restored_if_a_file_is_gone(project: Path) -> None:
    loaded, state = taken(project, table(*GOOD[:2]))
    delivery = History(Paths.of(project)).deliveries("beispiel")[0]
    paths = report_paths(loaded, delivery)
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths]
    write_report(loaded, loaded.sources["beispiel"], delivery, state.verdicts["beispiel-0001"])
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in paths] == before
    paths[1].unlink()
    write_report(loaded, loaded.sources["beispiel"], delivery, state.verdicts["beispiel-0001"])
    assert [path.read_bytes() for path in paths] == [content for content, _ in before]
    edit(project, lambda source: source.update(publisher="Amt für Neues"))
    renamed = load_project(project)
    current_state(renamed, renamed.sources["beispiel"], NOW.date())
    assert "Amt für Neues" in paths[0].read_text(encoding="utf-8")


def test_bytes_that_are_gone_do_not_stop_the_report(project: Path) -> None:
    loaded, state = taken(project, table(*GOOD[:2], "3;Südhang;31.12.2023;x;3000"))
    delivery = state.deliveries[0]
    for path in (delivery.file, *report_paths(loaded, delivery)):
        path.unlink()
    current_state(loaded, loaded.sources["beispiel"], NOW.date())
    found = Answer(loaded, delivery)
    assert "»x« ist keine lesbare Angabe" in found.page.flat
    assert "Die Datei liegt nicht mehr vor." in found.page.flat


# ---------------------------------------------------------------- order and grouping


def test_errors_come_first_then_what_matters_most(project: Path) -> None:
    rows = [
        "1;Altstadt ;31.12.2023;120;2400",
        "2;Mühlenviertel;31.12.2023;5000;4000",
        "3;Südhang;31.12.2023;x;3000",
        "3;Südhang;31.12.2022;x;3000",
        "3;Südhang;32.12.2022;1;3000",
    ]
    found = answer(project, table(*rows))
    third = [text.strip() for tag, text in found.page.headings if tag == "h3"]
    assert [re.sub(r"^\d+ ", "", " ".join(text.split())) for text in third] == [
        "Eine Zelle ist keine lesbare Zahl 2 Stellen",
        "Eine Zeitangabe ist unmöglich",
        "Ein Teil ist größer als das Ganze",
        "Leerzeichen am Rand von Namen",
    ]
    levels = [int(tag[1]) for tag, _ in found.page.headings]
    assert levels[0] == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))
    ids = [attributes["id"] for _, attributes in found.page.tags if attributes.get("id")]
    links = [str(a["href"]).removeprefix("#") for tag, a in found.page.tags if tag == "a"]
    assert links == ["punkt-1", "punkt-2", "punkt-3", "punkt-4"]
    assert set(links) <= set(ids)
    assert len(ids) == len(set(ids))


def test_what_is_alike_is_said_once(project: Path) -> None:
    rows = [f"{1 + n % 3};{('Altstadt', 'Mühlenviertel', 'Südhang')[n % 3]};2020_12_{n};1;9" for n in range(32, 60)]
    found = answer(project, table(*rows))
    sentence = (
        "Zeilen 2 bis 29, Spalte C »Stichtag«: »2020_12_32« ist keine mögliche Zeitangabe; "
        "ebenso »2020_12_33«, »2020_12_34«, … »2020_12_59« (zusammen 28 verschiedene Angaben)."
    )
    assert sentence in found.page.flat
    assert "28 Beanstandungen (alle von einer Art)" in found.page.flat
    assert found.page.marked == [f"2020_12_{n}" for n in range(32, 37)]
    assert "23 weitere Zeilen dieser Art" in found.page.flat
    assert sentence in " ".join(found.mail.split())
    assert len(found.table) == 28


def test_repeated_rows_are_shown_beside_the_first_ones(project: Path) -> None:
    found = answer(project, table(*GOOD, *[row.replace(";31.", ";31.") for row in GOOD[:2]]))
    assert "Zeilen 5 und 6" in found.page.flat
    numbers = [row[0] for row in found.page.rows]
    assert [number for number in ("2", "3", "5", "6") if number in numbers] == ["2", "3", "5", "6"]
    assert found.page.marked == ["120", "300"]


def test_many_different_points_are_counted_with_their_lines(project: Path) -> None:
    rows = [f"{n};Ort {n:02d}x;31.12.2023;1;9" for n in range(100, 120)]
    found = answer(project, table(*rows))
    assert len(found.page.marked) == 12
    assert "… und 8 weitere Punkte dieser Art: Zeilen 14 bis 21." in found.page.flat


def test_very_many_findings_are_counted(project: Path) -> None:
    found = answer(project, table(*["1;Altstadt;31.12.2022;x;2400"] * 2500))
    total = 2500 + 2499 + 2  # unreadable cells, repeated rows, and two districts missing for each of two measures
    assert f"{total:,} Beanstandungen".replace(",", ".") in found.page.flat
    assert len(found.table) == 2 * KEEP + 2, "each kind has its own limit: none hides another"
    assert "Einzeln aufgeführt sind 4.002 von 5.001 Stellen" in found.page.flat
    assert len(found.html) < 200_000


def test_blocks_of_lines_show_their_beginning(project: Path) -> None:
    loaded, state = taken(project, table(*GOOD * 9))
    place = {"line": 3, "last_line": 20, "value": ""}
    verdict = verdict_of(("block_wiederholt", "Die Zahlen sind die von 31.12.2016", place))
    write_report(loaded, loaded.sources["beispiel"], state.deliveries[0], verdict)
    found = Answer(loaded, state.deliveries[0])
    assert "Zeilen 3 bis 20: Die Zahlen sind die von 31.12.2016." in found.page.flat
    assert [row[0] for row in found.page.rows if row[0].isdigit()][-5:] == ["3", "4", "5", "6", "7"]
    assert "13 weitere Zeilen dieser Art" in found.page.flat
    assert (found.table[0]["Zeile"], found.table[0]["bis Zeile"]) == ("3", "20")


def test_ids_and_yaml_are_for_the_data_team_only(project: Path) -> None:
    found = answer(project, table(*[f"{row};" for row in GOOD], "4;Nordhang;31.12.2023;1;2;", head=HEAD + ";Neu"))
    assert "YAML" not in found.page.text + found.mail
    assert "unbekannte Nummer »4« (Bezirk)" in found.page.flat
    assert "Die Spalte »Neu« ist nicht vereinbart." in found.page.flat


def test_what_the_sender_wrote_is_not_reworded(project: Path) -> None:
    found = answer(project, table(*GOOD[:2], "3;Südhang (bezirk) oder YAML (im YAML) 2023-12-31;31.12.2023;45;3000"))
    assert "»Südhang (bezirk) oder YAML (im YAML) 2023-12-31«" in found.page.flat


# ---------------------------------------------------------------- the rows themselves


def test_wide_tables_show_what_matters(project: Path) -> None:
    edit(project, lambda source: source["layout"].update(ignore=["w*"]))
    wide = ";".join(f"w{n}" for n in range(30))
    found = answer(
        project, table(*[f"{row};{wide}" for row in [GOOD[0].replace("120", "x"), *GOOD[1:]]], head=f"{HEAD};{wide}")
    )
    row = next(row for row in found.page.rows if "x" in row)
    assert row[:7] == ["2", "1", "Altstadt", "31.12.2023", "x", "2400", "…"]
    assert found.page.rows[found.page.rows.index(row) - 1][:7] == ["1", *HEAD.split(";"), "…"]


def test_the_end_of_a_wide_table_is_found_too(project: Path) -> None:
    wide = ";".join(f"w{n}" for n in range(30))
    edit(project, lambda source: source["layout"].update(ignore=["w*"]))
    rows = [f"{wide};{row}" for row in [GOOD[0].replace("2400", "x"), *GOOD[1:]]]
    row = next(row for row in answer(project, table(*rows, head=f"{wide};{HEAD}")).page.rows if "x" in row)
    assert row[:7] == ["2", "…", "1", "Altstadt", "31.12.2023", "120", "x"]


def test_findings_without_a_column_show_the_figures(project: Path) -> None:
    edit(project, lambda source: source["layout"].update(ignore=["w*"]))
    wide = ";".join(f"w{n}" for n in range(30))
    loaded, state = taken(project, table(*[f"{wide};{row}" for row in GOOD], head=f"{wide};{HEAD}"))
    verdict = verdict_of(("block_wiederholt", "Die Zahlen stehen schon in Zeilen 4 bis 9", {"line": 2, "last_line": 3}))
    write_report(loaded, loaded.sources["beispiel"], state.deliveries[0], verdict)
    rows = [row[:7] for row in Answer(loaded, state.deliveries[0]).page.rows]
    assert [row for row in rows if row[0] in "234"] == [
        [str(line), "…", *row.split(";")] for line, row in enumerate(GOOD, 2)
    ], "line 4 to compare"


def test_missing_and_surplus_cells_are_shown(project: Path) -> None:
    found = answer(project, table(*GOOD, "1;Altstadt;31.12.2022;120", "1;Altstadt;31.12.2021;120;2400;zu viel"))
    assert found.page.marked == ["zu viel", "(fehlt)"]


def test_findings_about_the_heading_mark_it(project: Path) -> None:
    found = answer(project, table(*GOOD, head=HEAD.replace("Arbeitslose", "Arbeitlose")))
    assert "gemeint sein könnte »Arbeitlose«" in found.page.flat
    assert "vermutlich »Arbeitlose«" in found.page.flat
    assert [row[0] for row in found.page.rows if "Altstadt" in row] == ["2"], "one row of data to compare"


def test_headings_are_shown_with_their_blanks(project: Path) -> None:
    found = answer(project, table(*GOOD, head=HEAD.replace("Bezirk", " Bezirk")))
    assert found.page.marked == ["␣Bezirk"]


def test_tables_below_each_other_keep_their_headings(project: Path) -> None:
    def two_tables(source: dict[str, Any]) -> None:
        source["table"] = {"title": "Tabelle *", "ends": "blank"}
        source["layout"]["values"] = [{"column": "Arbeitslose", "measure": "arbeitslose", "title": "Tabelle 1"}]
        source["layout"]["values"] += [{"column": "Leute", "measure": "einwohner_15_64", "title": "Tabelle 2"}]

    edit(project, two_tables)
    first = ["Nummer;Bezirk;Stichtag;Arbeitslose", "1;Altstadt;31.12.2023;x", "2;Mühlenviertel;31.12.2023;1"]
    second = ["Nummer;Bezirk;Stichtag;Leute", "1;Altstadt;31.12.2023;y", "2;Mühlenviertel;31.12.2023;1"]
    found = answer(project, "\n".join(["Tabelle 1", *first, "", "Tabelle 2", *second]) + "\n")
    rows = [row[:5] for row in found.page.rows]
    assert (
        rows.index(["2", "Nummer", "Bezirk", "Stichtag", "Arbeitslose"]) == rows.index(["3", *first[1].split(";")]) - 1
    )
    assert rows.index(["7", "Nummer", "Bezirk", "Stichtag", "Leute"]) == rows.index(["8", *second[1].split(";")]) - 1


def test_workbook_rows_carry_sheet_and_letters(project: Path, tmp_path: Path) -> None:
    edit(project, lambda source: source.update(workbook={"sheets": ["Quartal *"]}, table={"header_line": 2}))
    for sheets in (["Deckblatt", "Quartal 1", "Quartal 2"],):
        with xlsxwriter.Workbook(tmp_path / "mappe.xlsx") as book:
            for number, name in enumerate(sheets):
                sheet = book.add_worksheet(name)
                sheet.write_row(0, 0, ["Titel"])
                sheet.write_row(1, 0, HEAD.split(";"))
                for line, row in enumerate(GOOD, 2):
                    cells: list[Any] = row.replace("2023", str(2020 + number)).split(";")
                    sheet.write_row(line, 0, [*cells[:3], *map(int, cells[3:])])
                if number == 2:
                    sheet.write(3, 3, "dreihundert")
    for old in (project / "data/raw/beispiel").iterdir():
        old.unlink()
    found = answer(project, (tmp_path / "mappe.xlsx").read_bytes(), "mappe.xlsx")
    assert (
        "Blatt »Quartal 2«, Zeile 4, Spalte D »Arbeitslose«: »dreihundert« ist keine lesbare Angabe." in found.page.flat
    )
    assert found.page.marked == ["dreihundert"]
    assert ["4", "2", "Mühlenviertel", "31.12.2022", "dreihundert", "4000"] in [row[:6] for row in found.page.rows]
    assert (found.table[0]["Blatt"], found.table[0]["Zeile"]) == ("Quartal 2", "4")
    assert "Quartal 1, Quartal 2" in found.page.flat, "sheets that were read"


def test_lines_that_cannot_be_cut_are_shown_as_they_are(project: Path) -> None:
    broken = table(*GOOD[:2]).encode() + "3;Südhang;31.12.2023;45;3000\n".encode("cp1252")
    found = answer(project, broken)
    assert any("S�dhang;31.12.2023" in cell for row in found.page.rows for cell in row)
    quoted = answer(project, table(GOOD[0], '2;"Mühlenviertel;31.12.2023;300;4000', GOOD[2]))
    assert any('2;"Mühlenviertel' in cell for row in quoted.page.rows for cell in row)


def test_a_file_that_is_no_text_says_why_there_are_no_rows(project: Path) -> None:
    found = answer(project, b"PK\x03\x04" + bytes(range(256)) * 20)
    assert "Die Datei ist eine Arbeitsmappe" in found.page.flat
    assert "Aus der Datei konnte keine Zahl gelesen werden" in found.page.flat
    utf16 = answer(project, table(*GOOD).encode("utf-16"), "zwei.csv")
    assert "Die Datei ist in UTF-16 gespeichert" in utf16.page.flat
    assert "Die Zeilen selbst können hier nicht gezeigt werden" in utf16.page.flat
    assert utf16.page.marked == []


# ---------------------------------------------------------------- nothing in a file does harm

EVIL = [
    "<script>alert('x')</script><img src=http://evil.example/x>",
    "\u202egnp.exe",
    "\x1b]0;weg\x07",
    "a\u200bb",
    "{{ 7*7 }}{% for x in y %}",
    "' onmouseover='alert(1)",
    "</pre></table><h1>Alles gut</h1>",
    "&lt;b&gt;",
    '=HYPERLINK("http://evil.example")',
]


@pytest.mark.parametrize("column", range(5))
def test_hostile_cells_stay_text(project: Path, column: int) -> None:
    rows = []
    for evil in EVIL:
        cells = GOOD[0].split(";")
        cells[column] = evil
        out = io.StringIO()
        csv.writer(out, delimiter=";", lineterminator="").writerow(cells)
        rows.append(out.getvalue())
    head = HEAD.split(";")
    found = answer(project, table(*rows, head=";".join(head)))
    harmless(found)
    shown = "\n".join(cell for row in found.page.rows for cell in row)
    assert "<script>alert('x')</script>" in shown
    assert "⟨U+202E⟩gnp.exe" in shown
    assert "⟨U+001B⟩]0;weg" in shown
    assert "a⟨U+200B⟩b" in shown


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_headings_stay_text(project: Path, evil: str) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=";", lineterminator="").writerow([*HEAD.split(";"), evil])
    harmless(answer(project, table(*[f"{row};" for row in GOOD], head=out.getvalue())))


def test_hostile_file_names_stay_text(project: Path) -> None:
    found = answer(project, table(*GOOD[:2]), "<script>x<|script> =1+1 & 'a\".csv")
    harmless(found)
    assert "<script>x<|script>" in found.page.flat


def harmless(found: Answer) -> None:
    """No tag, address or formula came out of the file, and nothing is loaded from elsewhere."""
    page = found.page
    names = {tag for tag, _ in page.tags}
    assert names.isdisjoint({"script", "img", "iframe", "object", "embed", "link", "base", "form", "video", "svg"})
    assert [text for tag, text in page.headings if tag == "h1"] == ["Die Datei konnte nicht übernommen werden"]
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "style", "srcset")]
        assert str(attributes.get("href", "#")).startswith("#")
    style = found.html.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    hidden = re.compile("[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
    assert not hidden.search(found.html.removeprefix("\ufeff"))
    assert not hidden.search(found.mail)
    for row in found.table:
        for cell in row.values():
            assert not hidden.search(cell)
            assert cell.lstrip()[:1] not in ("=", "+", "-", "@") or re.fullmatch("-?[0-9]+", cell)


def test_page_is_accessible_and_prints(project: Path) -> None:
    found = answer(project, table(*GOOD[:2], GOOD[2].replace("45", "x")))
    assert ("html", {"lang": "de"}) in found.page.tags
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in found.page.tags if tag == "th")
    assert any(tag == "meta" and a.get("name") == "viewport" for tag, a in found.page.tags)
    assert "@media print" in found.html
    assert "size:A4" in found.html
    policy = next(a["content"] for tag, a in found.page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


FORMULAS = ["=1+1", "+49", "@SUM(A1)", "-1+cmd|' /C calc'!A0", "--1", "\t=1", " =1+1", '=HYPERLINK("http://x")', "＝1"]


@pytest.mark.parametrize("cell", FORMULAS)
def test_table_neutralises_formulas(project: Path, cell: str) -> None:
    out = io.StringIO()
    csv.writer(out, delimiter=";", lineterminator="").writerow(["1", "Altstadt", "31.12.2023", cell, "2400"])
    found = answer(project, table(out.getvalue(), *GOOD[1:]))
    value = next(row["Wert"] for row in found.table if row["Regel"] == "zelle_lesbar")
    assert value.lstrip(" ")[0] not in "=+-@\t＝"
    assert value.endswith(cell.strip())


def test_table_leaves_negative_numbers_alone(project: Path) -> None:
    assert answer(project, table(GOOD[0].replace("120", "-12"), *GOOD[1:])).table[0]["Wert"] == "-12"


# ---------------------------------------------------------------- the letter


def test_letter_names_file_points_and_what_is_asked(project: Path) -> None:
    rows = [GOOD[0].replace("120", "x"), GOOD[1].replace("Mühlenviertel", "Muehlenvierte"), GOOD[2]]
    mail = answer(project, table(*rows, "3;Südhang;31.12.2022;4;3000,5")).mail
    subject, _, body = mail.partition("\n\n")
    assert subject == "Betreff: Ihre Datei beispiel.csv: bitte berichtigen und noch einmal senden"
    flat = " ".join(body.split())
    assert flat.startswith("Guten Tag, vielen Dank für die Datei »beispiel.csv«")
    assert "eingegangen am 01.03.2024 (Lieferung beispiel-0001)" in flat
    assert re.search(r"[1-3]\. Zeile 2, Spalte D »Arbeitslose«: »x« ist keine lesbare Angabe\.", flat)
    assert "meinten Sie »Mühlenviertel«?" in flat
    assert "senden Sie uns die vollständige Datei noch einmal" in flat
    assert "(beispiel-0001.html, beispiel-0001.csv)" in flat
    assert body.rstrip().endswith("[Name]\nMusterstadt, Statistikstelle")
    assert max(map(len, body.splitlines())) <= 78
    assert not re.search(r"\b(bis zum|spätestens|innerhalb)\b", flat), "no date that nobody agreed on"


def test_letter_is_on_the_page_too(project: Path) -> None:
    found = answer(project, table(*GOOD[:2], GOOD[2].replace("45", "<b>")))
    assert found.mail.partition("\n\n")[2].strip() in found.page.text
    assert "«<b>»" not in found.html


def test_letter_stays_short(project: Path) -> None:
    rows = [f"{n};Ort {n};31.12.2023;x;y" for n in range(100, 200)]
    mail = answer(project, table(*rows, "1;Altstadt;31.12.2023;5000;4000")).mail
    points = re.findall(r"^[0-9]\. ", mail, re.MULTILINE)
    assert 3 <= len(points) <= 5
    assert len(mail) < 4000
    assert "weitere Punkte dieser Art" in " ".join(mail.split())


def test_wrong_corrections_are_not_the_senders_business(project: Path) -> None:
    correction = {
        "delivery": "beispiel-0001",
        "line": 2,
        "column": "Arbeitslose",
        "expected": "7",
        "value": "8",
        "reason": "Schreibfehler",
        "reported_on": dt.date(2024, 1, 1),
        "status": "confirmed",
    }
    edit(project, lambda source: source.update(corrections=[correction]))
    found = answer(project, table(*GOOD))
    assert found.mail.startswith("Kein Schreiben an den Absender")
    assert "Vom Absender nichts." in found.page.flat


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        ([], ""),
        ([4], "Zeile 4"),
        ([4, 5], "Zeilen 4 und 5"),
        ([4, 7], "Zeilen 4 und 7"),
        ([92, *range(93, 120)], "Zeilen 92 bis 119"),
        ([4, 7, 12, 13, 14], "Zeilen 4, 7 und 12 bis 14"),
        ([1, 2, 9], "Zeilen 1 und 2, 9"),
        (list(range(1, 40, 2)), "Zeilen 1, 3, 5, 7, 9 … 39 (zusammen 20 Zeilen)"),
    ],
)
def test_lines_in_words(lines: list[int], text: str) -> None:
    assert words.lines_words(words.spans((line, line) for line in lines)) == text


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 5)), max_size=20))
def test_spans_cover_the_same_lines(ranges: list[tuple[int, int]]) -> None:
    found = words.spans((first, first + more) for first, more in ranges)
    assert {line for a, b in found for line in range(a, b + 1)} == {
        line for first, more in ranges for line in range(first, first + more + 1)
    }
    assert all(below[0] > above[1] + 1 for above, below in pairwise(found))


@given(st.text(max_size=60))
def test_nothing_invisible_is_left(text: str) -> None:
    for shown in (words.visible(text), words.visible_cell(text, 30)):
        assert all(sign.isprintable() for sign in shown)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("  a b ", "␣␣a b␣"),
        ("\u00a01", "⍽1"),
        ("a\tb\nc", "a⇥b↵c"),
        ("   ", "␣␣␣"),
        ("", ""),
        ("x" * 50, "x" * 40 + "…"),
    ],
)
def test_cells_as_shown(text: str, shown: str) -> None:
    assert words.visible_cell(text, 40) == shown


@pytest.mark.parametrize(
    ("key", "kind", "text"),
    [
        ("2023-12-31", "stichtag", "31.12.2023"),
        ("2021-jd", "jahresdurchschnitt", "Jahresdurchschnitt 2021"),
        ("2022-23", "schuljahr", "2022/23"),
        ("2021", "kalenderjahr", "2021"),
    ],
)
def test_periods_in_words(key: str, kind: str, text: str) -> None:
    assert words.period_words(key, kind) == text


def test_quoted_dates_are_left_as_they_arrived() -> None:
    assert words.german_dates("zum 2023-12-31 steht »2023-12-31«, 2023-02-31") == (
        "zum 31.12.2023 steht »2023-12-31«, 2023-02-31"
    )


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("3.353", "ohne Tausenderzeichen, also 3353 statt 3.353"),
        ("1 234 567", "ohne Tausenderzeichen, also 1234567 statt 1 234 567"),
        ("12.5", "mit Komma, also 12,5 statt 12.5"),
        ("1O", "Ziffern statt Buchstaben, also 10 statt 1O"),
        ("k.A.", None),
        ("OO", None),
        ("", None),
        ("9" * 400, None),
    ],
)
def test_slips(value: str, hint: str | None) -> None:
    slip = slip_of({"rule": "zelle_lesbar", "value": value})
    assert (slip.words if slip else None) == hint


def test_rules_that_are_gone_keep_their_id() -> None:
    finding = {**verdict_of(("ganze_zahl", "x", {})).failures[0], "rule": "frueher"}
    assert [section.rule.title for section in sections([finding], {})] == ["frueher"]
