"""`sozialraum audit` on printed tables: what it finds, what it says, and what it refuses."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import highspy
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.audit import report, table, table_reading
from pipelines.audit.table import audit_table
from tests.conftest import ROOT, Quiet

TABLES = Path(__file__).parent / "audited"
EXAMPLES = ROOT / "docs" / "beispiele"
GOOD = "labels: [G]\nsums:\n  G: {Summe: rest}\n"


def audit(path: Path, description: Path | None = None, html: Path | None = None) -> tuple[int, str]:
    voice = Quiet()
    return audit_table(path, description, voice, html), "\n".join(voice.lines)


def written(
    folder: Path, text: str | bytes, description: str | bytes | None = GOOD, html: Path | None = None
) -> tuple[int, str]:
    """Audit of a table in a folder with umlauts and blanks."""
    place = folder / "Büro Süd"
    place.mkdir(exist_ok=True)
    path = place / "Übersicht neu.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    if description is not None:
        content = description.encode() if isinstance(description, str) else description
        path.with_suffix(".yaml").write_bytes(content)
    return audit(path, None, html)


def with_stars(name: str, *cells: tuple[int, int]) -> str:
    """A table with further stars, by row and column from 0 (the heading is row 0)."""
    rows = [line.split(";") for line in (TABLES / f"{name}.csv").read_text(encoding="utf-8").splitlines()]
    for row, column in cells:
        rows[row][column] = "*"
    return "\n".join(map(";".join, rows)) + "\n"


def described(name: str) -> str:
    return (TABLES / f"{name}.yaml").read_text(encoding="utf-8")


# ---------------------------------------------------------------- tables from the literature


def test_amounts_of_tau_argus() -> None:
    """One star beside printed totals is a subtraction; the published optimum protects it."""
    code, said = audit(TABLES / "betraege.csv")
    assert code == 4
    assert "A · weiblich (Zeile 2, Spalte C »weiblich«): genau 137 – Summe = A + B + C + D (weiblich)" in said
    assert "2.389 − 973 − 486 − 793 = 137" in said
    code, said = audit(TABLES / "betraege_geschuetzt.csv", TABLES / "betraege.yaml")
    assert code == 0
    assert "A · weiblich (Zeile 2, Spalte C »weiblich«): geschützt: 0 bis 623" in said
    assert "Keine der 4 gesperrten Zellen lässt sich errechnen." in said


def test_two_stars_per_row_and_still_open(tmp_path: Path) -> None:
    code, said = audit(TABLES / "zwei_sterne.csv")
    assert code == 4
    assert "w · b (Zeile 2, Spalte C »b«): genau 47 (errechenbar, aber nicht klein) – aus 4 Summen zusammen" in said
    assert "Von 9 gesperrten Zellen lässt sich 1 genau errechnen (davon 1 mit Werten, die nicht klein sind)" in said
    code, said = written(tmp_path, with_stars("zwei_sterne", (2, 4)), described("zwei_sterne"))
    assert code == 0
    assert "w · b (Zeile 2, Spalte C »b«): geschützt: 0 bis 78" in said


def test_two_geographies_together(tmp_path: Path) -> None:
    code, said = audit(TABLES / "kreise.csv")
    assert code == 4
    assert "K · Fälle (Zeile 6, Spalte B »Fälle«): genau 3 – aus 2 Summen zusammen" in said
    code, said = written(tmp_path, with_stars("kreise", (8, 1)), described("kreise"))
    assert code == 0
    for cell, high in {"K": 10, "N": 10, "L": 6, "M": 6, "A": 4, "B": 4}.items():
        assert re.search(rf"{cell} · Fälle .*: geschützt: 0 bis {high}\n", said)


def test_three_by_three_of_fischetti_and_salazar() -> None:
    code, said = audit(TABLES / "drei_mal_drei.csv")
    assert code == 0
    for cell, interval in {
        "II · A": "0 bis 25",
        "II · C": "5 bis 30",
        "III · A": "0 bis 25",
        "III · C": "4 bis 29",
    }.items():
        assert re.search(rf"  {cell} .*: geschützt: {interval}\n", said)


def test_the_remainder_of_a_published_whole(tmp_path: Path) -> None:
    code, said = audit(TABLES / "teil_und_ganzes.csv")
    assert code == 4
    assert "4 · Arbeitslose (Zeile 5, Spalte B »Arbeitslose«): genau 1" in said
    assert (
        "1 · Einwohner ohne Arbeitslose (Zeile 2, Spalte B »Arbeitslose«): nicht gesperrt, aber der Rest ist 1" in said
    )
    code, said = written(tmp_path, with_stars("teil_und_ganzes", (1, 1)), described("teil_und_ganzes"))
    assert code == 0
    assert "4 · Arbeitslose (Zeile 5, Spalte B »Arbeitslose«): geschützt: 0 bis 10" in said
    # the remainder of a starred part can be proven small: 9 or 10 of 10
    text = "G;Teil;Ganzes\na;*;10\nb;*;40\nSumme;11;50\n"
    code, said = written(tmp_path, text, "labels: [G]\nsums: {G: {Summe: rest}}\npart_of: {Teil: Ganzes}\n")
    assert code == 0
    text = "G;Teil;Ganzes\na;*;10\nb;*;40\nSumme;49;50\n"
    code, said = written(tmp_path, text, "labels: [G]\nsums: {G: {Summe: rest}}\npart_of: {Teil: Ganzes}\n")
    assert code == 4
    assert "a · Ganzes ohne Teil: 0 bis 1 (sicher unter 3)" in said
    assert "der Rest ist 1" in said


def test_one_count_per_row() -> None:
    code, said = audit(TABLES / "lang.csv")
    assert code == 4
    assert "Mitte · Frauen · 2023 (Zeile 2, Spalte D »Anzahl«): genau 2" in said
    assert "9 − 5 = 4; davor ist ebenso errechnet: Süd · Männer · 2023" in said


# ---------------------------------------------------------------- what the description decides

STARS = "G;a;b;Summe\nx;*;*;{}\ny;5;6;11\n"
PAIR = "labels: [G]\nsums: {{columns: {{Summe: [a, b]}}}}\n{}\n"


@pytest.mark.parametrize(
    ("total", "options", "code", "words"),
    [
        (3, "", 4, "1 bis 2 (sicher unter 3)"),
        (2, "", 4, "genau 1 – Summe = a + b (x): die 2 offenen Zellen ergeben zusammen 2, und jede ist mindestens 1"),
        (3, "zeros: hidden", 0, "geschützt: 0 bis 3"),
        (2, "zeros: hidden\nsmall_published: allowed", 4, "0 bis 2 (sicher unter 3)"),
        (4, "", 0, "geschützt: 1 bis 3"),
        (4, "threshold: 5", 4, "1 bis 3 (sicher unter 5)"),
        (3, "stars_only_small: true", 0, "1 bis 2 (wie die Legende sagt)"),
        (4, "stars_only_small: true", 4, "genau 2"),
    ],
)
def test_what_readers_know_decides(tmp_path: Path, total: int, options: str, code: int, words: str) -> None:
    found, said = written(tmp_path, STARS.format(total), PAIR.format(options))
    assert (found, words in said) == (code, True), said


def test_a_large_number_worked_out_counts_unless_said_otherwise(tmp_path: Path) -> None:
    text = "G;a\nx;*\ny;5\nSumme;20\n"
    code, said = written(tmp_path, text)
    assert (code, "genau 15 (errechenbar, aber nicht klein)" in said) == (4, True)
    code, said = written(tmp_path, text, GOOD + "secondary_harmless: true\n")
    assert (code, "unbedenklich" in said) == (0, True)


def test_small_numbers_in_print_are_named(tmp_path: Path) -> None:
    text = "G;a\nx;2\ny;5\nSumme;7\n"
    code, said = written(tmp_path, text)
    assert code == 4
    assert "x · a (Zeile 2, Spalte B »a«): gedruckt ist 2, unter 3 und nicht gesperrt" in said
    assert "1 Zahl von 1 bis 2 ist gar nicht gesperrt." in said
    code, said = written(tmp_path, text, GOOD + "small_published: allowed\n")
    assert (code, "gedruckt" in said) == (0, False)


def test_a_rounded_rate_gives_the_count_away(tmp_path: Path) -> None:
    text = "G;n;d;Quote\nx;*;40;2,5\ny;*;900;3\nSumme;30;940;3,2\n"
    rate = "rate_of: {Quote: {numerator: n, denominator: d}}\n"
    code, said = written(tmp_path, text, f"labels: [G]\n{rate}")
    assert code == 4
    assert "x · n (Zeile 2, Spalte B »n«): genau 1" in said
    assert "y · n (Zeile 3, Spalte B »n«): geschützt: 23 bis 31" in said
    code, said = written(tmp_path, text.replace("*;900", "10;900"), f"labels: [G]\n{rate}")
    assert (code, "die Quote passt nicht: Quote 3 (y)" in said) == (2, True)


def test_parts_and_wholes_as_labels(tmp_path: Path) -> None:
    """One count per row: part and whole are labels of a column."""
    rows = ["x;arbeitslos;*", "x;alle;10", "y;arbeitslos;9", "y;alle;50", "Summe;arbeitslos;18", "Summe;alle;60"]
    about = "labels: [G, M]\nvalue: n\nsums: {G: {Summe: rest}}\npart_of: {arbeitslos: alle}\n"
    code, said = written(tmp_path, "G;M;n\n" + "\n".join(rows) + "\n", about)
    assert code == 4
    assert "x · alle ohne arbeitslos: genau 1 – " in said
    assert "In 1 Zeile steht ein Rest (Ganzes ohne Teil) fest, der unter 3 liegt." in said


def test_signs(tmp_path: Path) -> None:
    """A dash is zero, a dot is a star, a declared sign is no number anybody withholds."""
    text = "G;a;b\nx;-;.\ny;7;9\nz;8;k. A.\nSumme;15;20\n"
    code, said = written(tmp_path, text, GOOD + "missing: [k. A.]\n")
    assert code == 0
    assert "x · b (Zeile 2, Spalte C »b«): geschützt: 1 bis 11" in said
    assert "z · b" not in said


LONG = [["B1", "m", ""], ["B2", "m", ""], ["B3", "m", 9], ["K1", "m", 5], ["S", "m", 14]]


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
@pytest.mark.parametrize("labels", [["G", "M"], ["G"]])
def test_an_empty_cell_is_a_star_where_said_so(tmp_path: Path, ending: str, labels: list[str]) -> None:
    """Of a row with one number nothing is left when that number is withheld; the row is still there."""
    rows: list[list[object]] = [["G", "M", "n"], *LONG]
    path = tmp_path / f"lang.{ending}"
    if ending == "xlsx":
        workbook(path, {"Daten": rows})
    else:
        path.write_text("".join(";".join(map(str, row)) + "\n" for row in rows), encoding="utf-8")
    about = f"labels: [{', '.join(labels)}]\nvalue: n\nstars: ['*', '']\nthreshold: 5\n"
    path.with_suffix(".yaml").write_text(about + "sums: {G: {K1: [B1, B2], S: [K1, B3]}}\n", encoding="utf-8")
    code, said = audit(path)
    assert code == 4, said
    assert "(5 Zellen, 2 davon gesperrt; 2 Rechenbeziehungen)" in said
    for number, name in enumerate(("B1", "B2"), 2):
        assert re.search(rf"  {name} .*Zeile {number}, Spalte C »n«\): 1 bis 4 \(sicher unter 5\)", said), said
    assert "übergangen" not in said


def test_an_empty_row_is_a_row_if_it_is_named(tmp_path: Path) -> None:
    """Several counts, one column of labels: headings and footnotes look like rows in which all is withheld."""
    rows = "G;a;b\ndavon:;;\nx;;\ny;5;6\nSumme;{};{}\nQuelle: Amt;;\n"
    about = "labels: [G]\nstars: ['*', '']\nsums: {G: {Summe: [x, y]}}\n"
    code, said = written(tmp_path, rows.format(8, 9), about)
    assert (code, "x · a (Zeile 3, Spalte B »a«): genau 3" in said) == (4, True), said
    assert "Ohne Zahlen und darum übergangen: Zeile 2, 6." in said
    code, said = written(tmp_path, rows.format(7, 9), about.replace("stars: ['*', '']", "missing: ['']"))
    assert (code, "(6 Zellen, 0 davon gesperrt; 2 Rechenbeziehungen)" in said) == (0, True), said
    code, said = written(tmp_path, rows.format(8, 9), about.replace("[x, y]", "rest"))
    assert code == 2, said
    for line, label, start in ((2, "davon:", "davon:"), (3, "x", "x"), (6, "Quelle: Amt", "Quelle: Amt")):
        assert f"Zeile {line}, Spalte A »G«: in der Zeile »{label}« sind alle Zellen leer." in said
        assert f'table: {{skip: ["{start}*"]}} angeben' in said
    code, said = written(tmp_path, rows.format(8, 9), about + "table: {skip: ['davon*', 'Quelle*']}\n")
    assert (code, "übergangen" in said) == (4, False), said


def test_a_row_that_is_not_printed_is_unknown_and_not_zero(tmp_path: Path) -> None:
    """Per sex the third area is missing: nothing can be subtracted."""
    rows = ["x;f;*", "x;m;5", "y;f;6", "y;m;5", "z;m;5", "Stadt;f;20", "Stadt;m;15"]
    about = "labels: [G, S]\nvalue: n\nsums: {G: {Stadt: [x, y, z]}}\n"
    code, said = written(tmp_path, "G;S;n\n" + "\n".join(rows) + "\n", about)
    assert (code, "x · f (Zeile 2, Spalte C »n«): geschützt: 1 bis 14" in said) == (0, True)
    code, said = written(tmp_path, "G;S;n\n" + "\n".join(rows) + "\n", about + "absent: zero\n")
    assert (code, "x · f (Zeile 2, Spalte C »n«): genau 14" in said) == (4, True)


def test_a_row_left_out_is_worked_out_all_the_same(tmp_path: Path) -> None:
    rows = ["x;f;4", "x;m;5", "y;m;6", "Stadt;f;6", "Stadt;m;11"]
    about = "labels: [G, S]\nvalue: n\nsums: {G: {Stadt: [x, y]}}\n"
    code, said = written(tmp_path, "G;S;n\n" + "\n".join(rows) + "\n", about)
    assert code == 4
    assert "y · f (nicht gedruckt): genau 2 – Stadt = x + y (f): 6 − 4 = 2" in said
    assert "1 Zahl, die nicht gedruckt ist, liegt erkennbar unter 3." in said


@given(
    st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=3), min_size=2, max_size=3).filter(
        lambda rows: len({len(row) for row in rows}) == 1
    ),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=4, unique=True),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_said_against_all_completions(
    tmp_path: Path, rows: list[list[int]], stars: list[tuple[int, int]]
) -> None:
    """From text to text: every interval told is exactly the one of all whole numbers that fit the sums."""
    grid = [[*row, sum(row)] for row in rows]
    grid.append([sum(column) for column in zip(*grid, strict=True)])
    height, width = len(grid), len(grid[0])
    cells = [(i, j) for i, j in stars if i < height - 1 and j < width - 1 and grid[i][j] > 0]
    texts = [[f"r{i}", *map(str, row)] for i, row in enumerate(grid)]
    for i, j in cells:
        texts[i][j + 1] = "*"
    heading = ["G", *(f"c{j}" for j in range(width))]
    about = f"labels: [G]\nsums: {{G: {{r{height - 1}: rest}}, columns: {{c{width - 1}: rest}}}}\n"
    _, said = written(tmp_path, "\n".join(map(";".join, [heading, *texts])) + "\n", about)
    highest = grid[-1][-1] + 6
    possible: dict[tuple[int, int], set[int]] = {cell: set() for cell in cells}
    for values in itertools.product(range(1, min(highest, 13)), repeat=min(len(cells), 4)):
        if len(cells) > 4:
            return
        for cell, value in zip(cells, values, strict=True):
            grid[cell[0]][cell[1]] = value
        if all(sum(r[:-1]) == r[-1] for r in grid) and all(sum(c[:-1]) == c[-1] for c in zip(*grid, strict=True)):
            for cell, value in zip(cells, values, strict=True):
                possible[cell].add(value)
    for (i, j), found in possible.items():
        line = next(line for line in said.splitlines() if line.startswith(f"  r{i} · c{j} "))
        low, high = min(found), max(found)
        if high < 12:
            told = f"genau {low}" if low == high else f"{low} bis {high}"
            assert re.search(rf": (geschützt: )?{told}( |$)", line), (line, found)


def test_stars_in_every_row_and_column_can_all_be_small(tmp_path: Path) -> None:
    text = "G;a;b;Summe\nx;*;*;3\ny;*;*;3\nSumme;3;3;6\n"
    code, said = written(tmp_path, text, "labels: [G]\nsums: {G: {Summe: rest}, columns: {Summe: rest}}\n")
    assert (code, said.count("1 bis 2 (sicher unter 3)")) == (4, 4)


# ---------------------------------------------------------------- the examples of the handbook, the page


def test_the_handbook_shows_what_the_command_says() -> None:
    handbook = (ROOT / "docs" / "tabelle_pruefen.md").read_text(encoding="utf-8")
    for name, expected in {"arbeitslose": 4, "arbeitslose_sicher": 0}.items():
        code, said = audit(EXAMPLES / f"{name}.csv", EXAMPLES / "arbeitslose.yaml")
        assert code == expected
        if name == "arbeitslose":
            assert said in handbook
        else:
            assert said.splitlines()[0] in handbook
    assert (EXAMPLES / "arbeitslose.yaml").read_text(encoding="utf-8") in handbook


def test_a_person_sees_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    voice = Quiet()
    voice.person = True
    assert audit_table(EXAMPLES / "arbeitslose.csv", None, voice, None) == 4
    shown = capsys.readouterr().out
    assert "ein Leser erfährt" in shown
    assert re.search(r"Cäcilienhof · unter 25 +│ Zeile 5, Spalte B +│ genau 1 ", shown)


def test_the_page(tmp_path: Path) -> None:
    page = tmp_path / "Seite" / "arbeitslose.html"
    code, _ = audit(EXAMPLES / "arbeitslose.csv", None, page)
    text = page.read_text(encoding="utf-8")
    assert code == 4
    assert text.count("geschützt: 1 bis 7</span>") == 3
    assert 'class="genau">* <span class="wort">genau 1</span>' in text
    assert '<html lang="de">' in text
    assert not re.findall(r"(?:src|href)=|<script|\{\{|\{%", text)


def test_the_page_and_terminal_take_hostile_text_for_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\x1b[31m\u202e"
    code, _ = written(tmp_path, f"G;a\n{evil};*\ny;5\nSumme;7\n", GOOD, tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert code == 4
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "\x1b" not in text and "\u202e" not in text and "genau 2" in text


def test_a_long_table_shows_the_rows_that_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "PAGE_LINES", 3)
    monkeypatch.setattr(report, "LINES", 1)
    text = "G;a\n" + "".join(f"r{i};{10 + i}\n" for i in range(6)) + "s;*\nt;*\nSumme;85\n"
    _, said = written(tmp_path, text, GOOD, tmp_path / "p.html")
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert "gezeigt sind Zeilen mit gesperrten" in page and "r3" not in page.split("einzeln")[0].split("<tbody>")[1]
    assert "… und 1 weitere; alle stehen auf der Seite (--html)" in said


def test_a_page_never_overwrites_its_table(tmp_path: Path) -> None:
    text = "G;a\nx;*\ny;5\nSumme;20\n"
    target = tmp_path / "Büro Süd" / "Übersicht neu.csv"
    code, said = written(tmp_path, text, GOOD, target)
    assert (code, "überschreiben" in said, target.read_text(encoding="utf-8")) == (2, True, text)
    code, said = written(tmp_path, text, GOOD, tmp_path)
    assert (code, "ist ein Ordner" in said) == (2, True)
    (tmp_path / "file").write_text("")
    code, said = written(tmp_path, text, GOOD, tmp_path / "file" / "p.html")
    assert (code, "nicht schreibbar" in said) == (2, True)


# ---------------------------------------------------------------- workbooks


def workbook(path: Path, sheets: dict[str, list[list[object]]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    with xlsxwriter.Workbook(path) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return path


def test_a_workbook(tmp_path: Path) -> None:
    rows: list[list[object]] = [["Fälle 2023"], ["G", "a", "Quote"], ["x", "*", 2.5], ["y", 5, "-"], ["Summe", 8, ""]]
    path = workbook(tmp_path / "Süd" / "Tabelle ä.xlsx", {"Blatt ö": rows, "Notiz": [["nichts"]]})
    about = "table: {header_line: 2}\nignore: [Quote]\n" + GOOD
    path.with_suffix(".yaml").write_text(about, encoding="utf-8")
    code, said = audit(path)
    assert (code, "mehrere Blätter (»Blatt ö«, »Notiz«); eines als »sheet:« angeben" in said) == (2, True), said
    path.with_suffix(".yaml").write_text("sheet: Blatt ö\n" + about, encoding="utf-8")
    code, said = audit(path)
    assert code == 4
    assert "x · a (Blatt »Blatt ö«, Zeile 3, Spalte B »a«): genau 3" in said
    path.with_suffix(".yaml").write_text("sheet: Blat ö\n" + about, encoding="utf-8")
    code, said = audit(path)
    assert (code, "am ähnlichsten ist »Blatt ö«" in said) == (2, True)


def test_a_damaged_workbook(tmp_path: Path) -> None:
    path = workbook(tmp_path / "b" / "t.xlsx", {"A": [["G", "a"], ["x", 1]]})
    path.write_bytes(path.read_bytes()[:-200])
    path.with_suffix(".yaml").write_text(GOOD, encoding="utf-8")
    code, said = audit(path)
    assert (code, "Traceback" in said, "t.xlsx" in said) == (2, False, True)


# ---------------------------------------------------------------- everything that is wrong has a place

TABLE = "G;a;b\nNord;5;6\nSüd;7;*\nSumme;12;15\n"


@pytest.mark.parametrize(
    ("text", "about", "words"),
    [
        ("", GOOD, "die Datei ist leer (0 Bytes)"),
        ("\n\n", GOOD, "keine Kopfzeile"),
        ("G;a\n", GOOD, "unter der Kopfzeile steht keine Zeile mit Zahlen"),
        (TABLE.encode("utf-16"), GOOD, "UTF-16"),
        (b"\x00\x01\x02\xff" * 50, GOOD, "Übersicht neu.csv"),
        (TABLE, "labels: [H]\nsums: {H: {Summe: rest}}", "Zeile 1: keine Spalte »H«; vorhanden: »G«, »a«, »b«"),
        (TABLE, "labels: [G]\nsums: {G: {Sume: rest}}", "»Sume« steht nicht in der Tabelle; meinten Sie »Summe«?"),
        (TABLE, "labels: [G]\nsums: {G: {Summe: [Nort, Süd]}}", "»Nort« steht nicht in der Tabelle; meinten Sie"),
        (TABLE, "labels: [G]\nsums: {G: {Summe: [Nord, Nord]}}", "ein Teil steht zweimal"),
        (TABLE, "labels: [G]\nsums: {G: {Summe: [Summe, Nord]}}", "»Summe« ist Teil von sich selbst"),
        (TABLE, "labels: [G]\nsums: {G: {Summe: []}}", "keine Teile"),
        (TABLE, "labels: [G]\nsums: {H: {Summe: rest}}", ".yaml:2: »sums.H«: »H« steht nicht unter labels"),
        (TABLE, "labels: [G]", "keine Summen angegeben"),
        (TABLE, "labels: [G]\npart_of: {a: c}", "part_of: »c« steht nicht in der Tabelle"),
        (TABLE, "labels: [G]\npart_of: {a: Nord}", "sind keine Beschriftungen derselben Art"),
        (TABLE, GOOD + "rate_of: {b: {numerator: a, denominator: c}}", "rate_of: b: »c« steht nicht in der Tabelle"),
        (TABLE, GOOD + "treshold: 3", "»treshold« ist kein gültiger Schlüssel; meinten Sie »threshold«?"),
        (TABLE, GOOD + "threshold: drei", ".yaml:4: »threshold«: erwartet wird eine ganze Zahl, gelesen: »drei«"),
        (TABLE, GOOD + "stars: [*]", "Stern ohne Anführungszeichen"),
        (TABLE, GOOD + 'stars: ["-"]', "»-« steht auch unter stars"),
        (TABLE, GOOD + "value: a\ncounts: [b]", "entweder counts"),
        (TABLE, GOOD + "amounts: true\npart_of: {a: b}", "gelten nur für Fallzahlen"),
        (TABLE, GOOD + 'format: {delimiter: "a"}', "mögliche Trennzeichen"),
        (TABLE, "- a\n- b\n", "keine Gruppe von Schlüsseln"),
        (TABLE, "", "keine Gruppe von Schlüsseln"),
        (TABLE, "labels: [G]\nlabels: [G]\n", "steht schon in Zeile 1"),
        (TABLE, "a: " + "[" * 200, "verschachtelt"),
        (TABLE, "a: \x07\n", "Steuerzeichen"),
        (TABLE, GOOD.encode("latin-1") + b"# S\xfcd", "muss in UTF-8 gespeichert sein"),
        (TABLE, None, "neben der Tabelle fehlt ihre Beschreibung. Ein Anfang:"),
        (TABLE.replace("7;*", "sieben;*"), GOOD, "Zeile 3, Spalte B »a«: »sieben« ist keine Zahl"),
        (TABLE.replace("7;*", ";*"), GOOD, "Zeile 3, Spalte B »a«: leere Zelle"),
        (TABLE + "(c) Statistik;;Stand 2023\n", GOOD, "»Stand 2023« ist keine Zahl"),
        ("G;a;b;c\nx;1;2;3\n(c) Amt;;;!\n", GOOD, '2 leere Zellen ab hier. Ist »(c) Amt« eine Fußnote, dann'),
        (TABLE.replace("7;*", "7,5;*"), GOOD, "»7,5« ist keine ganze Zahl"),
        (TABLE.replace("7;*", "-7;*"), GOOD, "»-7« ist negativ"),
        (TABLE.replace("7;*", "1.007;*"), GOOD, 'format: {thousands: "."} angeben'),
        (TABLE.replace("7;*", "٧;*"), GOOD, "»٧« ist keine Zahl"),
        (TABLE.replace("7;*", "7;*;9"), GOOD, "Die Zeile hat 4 Zellen, die Kopfzeile 3"),
        (TABLE.replace("12;15", "13;15"), GOOD, "Zeile 4, Spalte B »a«: Summe = Nord + Süd (a): die Teile ergeben 12"),
        (TABLE.replace("12;15", "12;6"), GOOD, "keine Zahlen, die zu den Summen passen"),
        (TABLE.replace("Süd", "Nord"), GOOD, "»Nord« steht schon in Zeile 2"),
        (TABLE.replace("Süd", ""), GOOD, "die Beschriftung fehlt"),
        (TABLE.replace("G;a;b", "G;a;a"), GOOD, "zwei Spalten heißen »a«"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, text: str | bytes, about: str | bytes | None, words: str
) -> None:
    code, said = written(tmp_path, text, about)
    assert code == 2, said
    assert words in said, said
    assert "Traceback" not in said


def test_large_tables_say_that_it_takes_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "MANY_STARS", 1)
    _, said = written(tmp_path, TABLE)
    assert said.startswith("1 gesperrte Zellen werden nachgerechnet")


def test_many_problems_are_capped(tmp_path: Path) -> None:
    code, said = written(tmp_path, "G;a\n" + "".join(f"r{i};?\n" for i in range(50)) + "Summe;5\n")
    assert (code, said.count("ist keine Zahl"), "… und 30 weitere" in said) == (2, 20, True)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_reading, "MAX_CELLS", 4)
    code, said = written(tmp_path, TABLE)
    assert (code, "mehr als 4 Zellen" in said) == (2, True)
    monkeypatch.setattr(table_reading, "TEXT_BYTES", 10)
    code, said = written(tmp_path, TABLE)
    assert (code, "höchstens" in said) == (2, True)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    code, said = audit(tmp_path / "fehlt.csv")
    assert (code, "neben der Tabelle fehlt ihre Beschreibung" in said) == (2, True)
    (tmp_path / "fehlt.yaml").write_text(GOOD, encoding="utf-8")
    code, said = audit(tmp_path / "fehlt.csv")
    assert (code, "nicht lesbar" in said) == (2, True)
    code, said = audit(tmp_path, tmp_path / "fehlt.yaml")
    assert (code, "nicht lesbar" in said) == (2, True)
    os.mkfifo(tmp_path / "rohr")
    code, said = audit(tmp_path / "rohr", tmp_path / "fehlt.yaml")
    assert (code, "keine Datei" in said) == (2, True)
    code, said = audit(tmp_path / "fehlt.csv", tmp_path / "rohr")
    assert (code, "keine Datei" in said) == (2, True)
    code, said = audit(tmp_path / "fehlt.csv", tmp_path / "auch nicht.yaml")
    assert (code, "die Beschreibung fehlt" in said) == (2, True)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
def test_encoding_and_delimiter_are_found_out(tmp_path: Path, encoding: str, delimiter: str) -> None:
    text = "Straße;Fälle\nMünchner;*\nSüd;5\nSumme;7\n".replace(";", delimiter)
    code, said = written(tmp_path, text.encode(encoding), "labels: [Straße]\nsums: {Straße: {Summe: rest}}\n")
    assert (code, "Münchner · Fälle (Zeile 2, Spalte B »Fälle«): genau 2" in said) == (4, True), said


def test_headings_and_labels_are_compared_without_line_breaks_and_by_their_letters(tmp_path: Path) -> None:
    """A heading in two lines, umlauts as two characters, a first column without heading."""
    text = ';"Quo\nte";Fa\u0308lle;Ganzes\nSu\u0308d;2,5;*;40\nNord;3;9;300\nSumme;;12;340\n'
    about = 'labels: [""]\nignore: []\nmissing: [""]\nrate_of: {Quo te: {numerator: Fälle, denominator: Ganzes}}\n'
    code, said = written(tmp_path, text, about + 'sums: {"": {Summe: [Nord, Süd]}}\n')
    assert (code, "keine Zahlen, die zu den Summen passen" in said) == (2, True), said
    code, said = written(tmp_path, text.replace("2,5;", "7,5;"), about + 'sums: {"": {Summe: [Nord, Süd]}}\n')
    assert (code, "Süd · Fälle" in said, "genau 3" in said) == (4, True, True), said


def test_lines_without_numbers_are_told(tmp_path: Path) -> None:
    code, said = written(tmp_path, "G;a\nStadtteile;\nx;*\ny;5\nSumme;20\nQuelle: Amt;\n")
    assert (code, "Ohne Zahlen und darum übergangen: Zeile 2, 6." in said) == (4, True)


def test_a_failed_solver_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(highspy.Highs, "getModelStatus", lambda highs: highspy.HighsModelStatus.kSolveError)
    code, said = written(tmp_path, "G;a\nx;*\ny;*\nSumme;20\n")
    assert (code, "NICHT GEPRÜFT" in said, "sicher gegen" in said) == (1, True, False)
