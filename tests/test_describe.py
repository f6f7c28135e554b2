"""A proposed source runs as it stands: described, written to assets, and its file taken in by the same night."""

from __future__ import annotations

import csv
import datetime as dt
import io
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import xlsxwriter
import yaml
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pipelines import lock
from pipelines.describe import describe_file, proposed_page
from pipelines.describe.names import age_group, identifier
from pipelines.describe.paper import inline
from pipelines.describe.sample import Unreadable
from pipelines.exit_codes import EXIT_OK, EXIT_USAGE
from pipelines.intake.failures import Findings
from pipelines.intake.layout import Reader
from pipelines.night import Night
from pipelines.project import Project, load_project
from pipelines.references import References
from schemas.documents import Measure, Source
from schemas.yaml_source import parse
from tests.conftest import ROOT, Quiet, create_project

DISTRICTS = {"Altstadt": "99999000-BZ-1", "Mühlenviertel": "99999000-BZ-2", "Südhang": "99999000-BZ-3"}
CITY = "99999000"


EXAMPLES = 400 if os.environ.get("SOAK") else 40


@dataclass
class Proposed:
    """What was proposed for a file."""

    text: str
    source: Source
    measures: dict[str, Measure]

    @property
    def notes(self) -> str:
        """All comments as one line of text."""
        return " ".join(line.strip().removeprefix("#").strip() for line in self.text.splitlines() if "#" in line)

    @property
    def measure(self) -> Measure:
        """The only measure."""
        (only,) = self.measures.values()
        return only


def describe(root: Path, file: Path, source_id: str | None = None) -> Proposed:
    voice = Quiet()
    assert describe_file(root, file, source_id, voice) == EXIT_OK, voice.lines
    return read("\n".join(voice.lines) + "\n")


def read(text: str) -> Proposed:
    """The documents of a proposal."""
    parsed, problems = parse(text, "defs.yaml")
    assert not problems, (problems, text)
    documents = [p.document for p in parsed]
    assert isinstance(documents[0], Source)
    return Proposed(text, documents[0], {m.id: m for m in documents[1:] if isinstance(m, Measure)})


def place(root: Path, proposed: Proposed, file: Path) -> None:
    """Write the proposal and put the file where it belongs."""
    topic, inbox = (root / part / proposed.source.id for part in ("assets", "data/raw"))
    topic.mkdir()
    (topic / "defs.yaml").write_text(proposed.text, encoding="utf-8")
    inbox.mkdir(parents=True, exist_ok=True)
    if not (inbox / file.name).exists():
        shutil.copyfile(file, inbox / file.name)


def night(root: Path) -> Night:
    """The intake of one night; what comes after it does not care how a source was described."""
    run = Night.begin(root, lambda text: None)
    try:
        run.intake()
    finally:
        lock.take(run.project.paths.lock_file).release()
        for held in list(lock._HELD.values()):
            held.release()
    return run


Figure = tuple[str, str, str, str]


def figures(run: Night, source_id: str) -> dict[Figure, float | None]:
    """Figures of the reading by (measure, category, area, date)."""
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT measure_id, category, area_id, CAST(reference_date AS VARCHAR), value FROM read_parquet(?)",
            [str(run.project.paths.readings / source_id / "*.parquet")],
        ).fetchall()
    return {(m, c, a, d): v for m, c, a, d, v in rows}


def round_trip(
    root: Path, name: str, content: str | bytes, tmp_path: Path
) -> tuple[Proposed, dict[Figure, float | None]]:
    """Describe a clean file and let the night take it in."""
    file = tmp_path / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    proposed = describe(root, file)
    place(root, proposed, file)
    run = night(root)
    (delivery,) = run.states[proposed.source.id].deliveries
    assert delivery.decision == "accepted", (delivery.reasons, proposed.text)
    return proposed, figures(run, proposed.source.id)


def rejected(root: Path, proposed: Proposed, file: Path) -> set[str]:
    """Rules that the described file breaks."""
    place(root, proposed, file)
    (delivery,) = night(root).states[proposed.source.id].deliveries
    assert delivery.decision == "rejected"
    return {reason.split(" ")[0] for reason in delivery.reasons}


@pytest.fixture(scope="module")
def template(lasting: Path) -> Callable[[], Project]:
    """The same project, loaded once (as a function: its text would fill the report of a failing example)."""
    project = load_project(lasting)
    return lambda: project


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that tests only read."""
    folder = tmp_path_factory.mktemp("fest") / "projekt"
    assert create_project(folder, Quiet()) == EXIT_OK
    return folder


# ---------------------------------------------------------------- clean files of many layouts


def test_long_file_with_dates_and_numbers(project: Path, tmp_path: Path) -> None:
    lines = ["Nummer;Bezirk;Stichtag;Wohngeldhaushalte"]
    lines += [
        f"{n};{name};31.12.{year};{n * 1000 + year - 2000}"
        for year in (2022, 2023)
        for n, name in enumerate(DISTRICTS, 1)
    ]
    proposed, found = round_trip(project, "wohngeld_2023.csv", "\n".join(lines) + "\n", tmp_path)
    area = proposed.source.layout.area
    assert area and (area.number, area.name, area.level) == ("Nummer", "Bezirk", "bezirk")
    assert proposed.source.id == "wohngeld"
    assert proposed.source.contract.complete == {"bezirk": "all"}
    assert found["wohngeldhaushalte", "insgesamt", "99999000-BZ-3", "2023-12-31"] == 3023
    assert len(found) == 6
    assert "UNKLAR:" not in proposed.text


def test_periods_in_the_headings_and_a_star(project: Path, tmp_path: Path) -> None:
    text = "Bezirk;31.12.2023;31.12.2022\r\nAltstadt;17;15\r\nMuehlenviertel;40;38\r\nSüdhang;*;9\r\n"
    proposed, found = round_trip(project, "wohngeld.csv", text.encode("cp1252"), tmp_path)
    assert proposed.source.layout.period.in_header
    assert proposed.source.format.encoding == "cp1252"
    assert proposed.source.symbols == {"*": "suppressed"}
    assert "Datenschutz" in proposed.notes
    assert found["wohngeld", "insgesamt", "99999000-BZ-2", "2022-12-31"] == 38
    assert found["wohngeld", "insgesamt", "99999000-BZ-3", "2023-12-31"] is None


def test_age_groups_become_one_measure_with_categories(project: Path, tmp_path: Path) -> None:
    text = (
        "\ufeffJahr\tBezirk\tunter 18\t18 bis unter 65\t65 und älter\n"
        "2023\tAltstadt\t100\t600\t200\n2023\tMühlenviertel\t1.200\t5.000\t800\n2023\tSüdhang\t0\t0\t12\n"
    )
    proposed, found = round_trip(project, "einwohner.csv", text, tmp_path)
    assert proposed.source.format.delimiter == "\t"
    assert proposed.source.format.thousands == "."
    assert proposed.source.layout.period.day == "12-31"
    assert [c.id for c in proposed.measure.categories] == ["a00_17", "a18_64", "a65_plus"]
    assert proposed.measure.category_total == "summed"
    assert found[proposed.measure.id, "a18_64", "99999000-BZ-2", "2023-12-31"] == 5000
    for doubt in ("BOM", "Bloße Jahre", "gliedert Tausender", "Aufgliederung angenommen"):
        assert doubt in proposed.notes


def test_a_total_that_is_the_sum_of_its_parts(project: Path, tmp_path: Path) -> None:
    text = "Bezirk,Stichtag,insgesamt,männlich,weiblich\n" + "".join(
        f"{name},2023-12-31,{10 + n},{n},10\n" for n, name in enumerate(DISTRICTS)
    )
    proposed, found = round_trip(project, "arbeitslose_je_bezirk.csv", text, tmp_path)
    assert proposed.measure.category_total == "delivered"
    assert [c.id for c in proposed.measure.categories] == ["maennlich", "weiblich"]
    (rule,) = proposed.source.contract.adds_up
    assert [part.category for part in rule.parts] == ["maennlich", "weiblich"]
    assert found[proposed.measure.id, "insgesamt", "99999000-BZ-2", "2023-12-31"] == 11


def test_a_total_that_is_not_the_sum_is_a_doubt_and_no_promise(project: Path, tmp_path: Path) -> None:
    text = "Bezirk;Stichtag;insgesamt;männlich;weiblich\n" + "".join(
        f"{name};31.12.{year};{20 if name == 'Südhang' and year == 2023 else 21};10;11\n"
        for year in range(2010, 2024)
        for name in DISTRICTS
    )
    file = tmp_path / "arbeitslose.csv"
    file.write_text(text)
    proposed = describe(project, file)
    assert not proposed.source.contract.adds_up
    assert "ist in 1 Fällen nicht die Summe der Teile (Zeile 43)" in proposed.notes


def test_several_measures_in_one_column(project: Path, tmp_path: Path) -> None:
    text = "Stand;Bezirk;Kennzahl;Wert\n" + "".join(
        f"2024-01-05;{name};{what};{value}\n"
        for name in DISTRICTS
        for what, value in (("Empfänger: alle", "12"), ("Anteil in %", "3,5"), ("#Fälle", "7"))
    )
    proposed, found = round_trip(project, "leistungen_31.12.2023.csv", text, tmp_path)
    (value,) = proposed.source.layout.values
    assert value.measure_column == "Kennzahl"
    assert value.measures == {"Empfänger: alle": "empfaenger_alle", "Anteil in %": "anteil_in", "#Fälle": "faelle"}
    assert (proposed.measures["anteil_in"].unit, proposed.measures["anteil_in"].kind) == ("percent", "rate")
    assert found["anteil_in", "insgesamt", "99999000-BZ-1", "2024-01-05"] == 3.5


def test_levels_told_by_a_column(project: Path, tmp_path: Path) -> None:
    rows = "".join(f"Bezirk;{name};31.12.2023;5\n" for name in DISTRICTS)
    text = f"Ebene;Gebiet;Datum;Fälle\n{rows}Stadt;Musterstadt;31.12.2023;15\n"
    proposed, found = round_trip(project, "faelle.csv", text, tmp_path)
    area = proposed.source.layout.area
    assert area and area.level_column == "Ebene"
    assert area.levels == {"Bezirk": "bezirk", "Stadt": "stadt"}
    assert proposed.source.contract.complete == {"bezirk": "all", "stadt": "all"}
    assert found["faelle", "insgesamt", CITY, "2023-12-31"] == 15


def test_levels_told_by_the_name_alone(project: Path, tmp_path: Path) -> None:
    rows = "".join(f"{name};2022/23;0,5\n" for name in [*DISTRICTS, "Musterstadt"])
    proposed, found = round_trip(project, "quote.csv", f"Gebiet;Schuljahr;Abbruchquote\n{rows}", tmp_path)
    area = proposed.source.layout.area
    assert area and area.candidate_levels == ["bezirk", "stadt"]
    assert proposed.source.layout.period.type == "schuljahr"
    assert found["abbruchquote", "insgesamt", CITY, "2023-07-31"] == 0.5


def test_number_and_name_in_one_cell(project: Path, tmp_path: Path) -> None:
    rows = "".join(f"{n:02d} {name};{n}\n" for n, name in enumerate(DISTRICTS, 1))
    proposed, found = round_trip(project, "stand_31-12-2023_2023_12_31.csv", f"Bezirk;Fälle\n{rows}", tmp_path)
    area = proposed.source.layout.area
    assert area and area.split and "number" in re.compile(area.split).groupindex
    assert proposed.source.layout.period.file_name
    assert found["faelle", "insgesamt", "99999000-BZ-3", "2023-12-31"] == 3


def test_titles_above_heading_of_two_lines_and_footnotes_below(project: Path, tmp_path: Path) -> None:
    text = (
        "Statistikstelle Musterstadt;;;;\nArbeitslose, Stand Dezember;;;;\n;;;;\n"
        "Bezirk;Männer;;Frauen;\n;2022;2023;2022;2023\n"
        "Altstadt;1;2;3;4\nMühlenviertel;5;6;7;-\nSüdhang;9;10;11;12\n"
        ";;;;\n- nichts vorhanden;;;;\nQuelle: Arbeitsamt;;;;\n"
    )
    proposed, found = round_trip(project, "arbeitslose.csv", text, tmp_path)
    table = proposed.source.table
    assert (table.header_line, table.header_rows, table.header_fill, table.ends) == (4, 2, True, "blank")
    assert proposed.source.symbols == {"-": "missing"}
    assert "»- nichts vorhanden«" in proposed.notes
    (measure,) = {key[0] for key in found}
    assert found[measure, "frauen", "99999000-BZ-1", "2023-12-31"] == 4
    assert found[measure, "frauen", "99999000-BZ-2", "2023-12-31"] is None


def test_footnotes_without_an_empty_line_before_them(project: Path, tmp_path: Path) -> None:
    rows = "".join(f"{name};7\n\n" for name in DISTRICTS)
    text = f"Bezirk;31.12.2023\n{rows}* vorläufig\nErstellt: 05.01.2024; Amt\n"
    proposed, found = round_trip(project, "zahlen.csv", text, tmp_path)
    assert proposed.source.table.skip == ["? vorläufig", "Erstellt*"]
    assert len(found) == 3


def test_column_numbers_under_the_heading(project: Path, tmp_path: Path) -> None:
    rows = "".join(f"{name};8;2\n" for name in DISTRICTS)
    text = f"Bezirk;Fälle am 1.1.;Plätze\n1;2;3\n{rows}"
    proposed, found = round_trip(project, "plaetze_2023.csv", text, tmp_path)
    assert proposed.source.table.skip == ["1"]
    assert {key[0] for key in found} == {"faelle_am_1_1", "plaetze"}


def test_tables_below_each_other_with_the_year_in_their_titles(project: Path, tmp_path: Path) -> None:
    rows = "".join(f"{name};{n}\n" for n, name in enumerate(DISTRICTS))
    text = "".join(f"Stichtag 31.12.{year}\nBezirk;Fälle\n{rows}\n" for year in (2021, 2022, 2023))
    proposed, found = round_trip(project, "faelle.csv", text, tmp_path)
    assert proposed.source.table.title == "Stichtag ??.??.????"
    assert proposed.source.layout.period.title
    assert len(found) == 9
    assert found["faelle", "insgesamt", "99999000-BZ-3", "2022-12-31"] == 2


def test_the_day_in_a_title_above_the_table(project: Path, tmp_path: Path) -> None:
    rows = "".join(f"{name};{n}\n" for n, name in enumerate(DISTRICTS))
    text = f"Fälle am 30. Juni 2023;\n;\nBezirk;Fälle\n{rows}"
    proposed, found = round_trip(project, "faelle.csv", text, tmp_path)
    assert proposed.source.table.title == "Fälle am *"
    assert found["faelle", "insgesamt", "99999000-BZ-3", "2023-06-30"] == 2


def test_merged_cells_and_rows_cut_short(project: Path, tmp_path: Path) -> None:
    rows = "".join(f"{name};2022;5;\n;2023;6\n" for name in DISTRICTS)
    proposed, found = round_trip(project, "faelle.csv", f"Bezirk;Jahr;Fälle;Plätze\n{rows}", tmp_path)
    assert proposed.source.table.fill_down == ["Bezirk"]
    file = tmp_path / "jahre.csv"
    file.write_text("Jahr;Bezirk;Fälle\n" + "".join(f"{y};Altstadt;1\n;Südhang;2\n" for y in (2022, 2023)))
    assert describe(project, file).source.table.fill_down == ["Jahr"]
    assert proposed.source.format.short_rows == "fill"
    assert proposed.source.layout.ignore == ["Plätze"]
    assert found["faelle", "insgesamt", "99999000-BZ-2", "2023-12-31"] == 6


def test_a_file_about_one_area_and_a_year_without_a_day(project: Path, tmp_path: Path) -> None:
    text = "Gebiet;Jahr;Geburten;Quelle\n" + "".join(f"Musterstadt;{y};{y - 1990};Amt {y}\n" for y in range(2000, 2024))
    proposed, found = round_trip(project, "geburten.csv", text, tmp_path)
    assert proposed.source.layout.fixed_area == CITY
    assert proposed.source.layout.period.type == "kalenderjahr"
    assert proposed.source.layout.ignore == ["Quelle"]
    assert found["geburten", "insgesamt", CITY, "2010-12-31"] == 20


def test_line_breaks_in_headings_english_numbers_and_excels_hint(project: Path, tmp_path: Path) -> None:
    rows = "".join(f'{name}|"1,234.5"|-{n}.25\n' for n, name in enumerate(DISTRICTS))
    text = f'sep=|\n"Be-\nzirk"|"Rate je\n1.000"|Saldo\n{rows}'
    proposed, found = round_trip(project, "raten_31.12.2023.csv", text, tmp_path)
    assert (proposed.source.format.decimal, proposed.source.format.thousands) == (".", ",")
    assert proposed.source.layout.area and proposed.source.layout.area.name == "Be- zirk"
    assert proposed.measures["rate_je_1_000"].unit == "per_1000"
    assert proposed.measures["saldo"].minimum is None
    assert found["rate_je_1_000", "insgesamt", "99999000-BZ-1", "2023-12-31"] == 1234.5


def test_the_topics_of_the_city_we_ship(tmp_path: Path) -> None:
    """Every shipped file, described without its YAML, is accepted as described."""
    root, shipped = kiel(tmp_path), load_project(ROOT).sources
    project, described = load_project(root), []
    for file in sorted((ROOT / "data/raw").glob("*/*.csv")):
        proposed = read(proposed_page(project, file))
        place(root, proposed, file)
        parsed = [*project.parsed, *parse(proposed.text, proposed.source.id)[0]]
        project = Project(project.paths, parsed, project.directory)  # ids must differ from those described before
        described.append((file, proposed))
    run = night(root)
    for file, proposed in described:
        (delivery,) = run.states[proposed.source.id].deliveries
        assert delivery.decision == "accepted", (file.name, delivery.reasons)
        told, found = shipped[file.parent.name].layout, proposed.source.layout
        levels = [sorted(area.possible_levels()) if area else None for area in (told.area, found.area)]
        assert levels[0] == levels[1], file.name
        assert found.fixed_area == told.fixed_area
        assert (found.period.column, found.period.in_header) == (told.period.column, told.period.in_header)
        assert proposed.source.symbols == shipped[file.parent.name].symbols or file.name.startswith("inkar")


# ---------------------------------------------------------------- real files with their defects


def kiel(folder: Path) -> Path:
    """A project with Kiel's areas and no topics."""
    root = folder / "kiel"
    for part in ("areas", "release", "marts"):
        shutil.copytree(ROOT / "assets" / part, root / "assets" / part)
    (root / "data/raw").mkdir(parents=True)
    shutil.copyfile(ROOT / "dagster.yaml", root / "dagster.yaml")
    return root


REAL = "kiel_bevoelkerung_"


def test_age_groups_of_kiel(shared: Path, tmp_path: Path) -> None:
    root, file = kiel(tmp_path), shared / f"kiel/raw/{REAL}altersgruppen_stadtteile.csv"
    proposed = describe(root, file)
    layout = proposed.source.layout
    assert layout.area and (layout.area.number, layout.area.level) == ("Stadtteilnummer", "stadtteil")
    assert layout.constant["Merkmal"] == "Einwohner nach Altersgruppen"
    assert len(proposed.measure.categories) == 20
    assert {proposed.measure.categories[2].id, proposed.measure.categories[-1].id} == {"a06_09", "a80_plus"}
    assert "»2020_12_32«" in proposed.notes
    assert "(28 ×)" in proposed.notes
    assert layout.period.days == ["12-31"]
    assert proposed.source.contract.complete == {"stadtteil": "all"}
    assert "zeitangabe_lesbar" in rejected(root, proposed, file)


def test_sexes_of_kiel(shared: Path, tmp_path: Path) -> None:
    root, file = kiel(tmp_path), shared / f"kiel/raw/{REAL}stadtteile_einwohner_geschlecht.csv"
    proposed = describe(root, file)
    assert proposed.measure.id == "einwohner_insgesamt"
    assert proposed.measure.category_total == "delivered"
    assert (
        "30 Zeilen nennen Gebiet und Zeit einer früheren noch einmal (zuerst Zeile 242 wie Zeile 212)" in proposed.notes
    )
    assert "schluessel_eindeutig" in rejected(root, proposed, file)


def test_households_of_kiel(shared: Path, tmp_path: Path) -> None:
    name = "haushalte_nach_haushaltstypen_und_personenanzahl_in_den_stadtteilen"
    root, file = kiel(tmp_path), shared / f"kiel/raw/{REAL}{name}.csv"
    proposed = describe(root, file)
    form, values = proposed.source.format, proposed.source.layout.values
    assert (form.decimal, form.thousands) == (",", ".")
    assert "»3.353«" in proposed.notes
    assert "gliedert Tausender" in proposed.notes
    assert {v.measure_column for v in values} == {"Merkmal"}
    assert set(proposed.measures) == {"haushalte", "personen"}
    assert [v.category for v in values][:2] == ["einpersonen", "paar_ohne_kind"]
    assert "meinten Sie »Neumühlen-Dietrichsdorf«?" in proposed.notes
    assert "0_0_0" in proposed.notes
    assert "gebiet_bekannt" in rejected(root, proposed, file)


@pytest.mark.parametrize(
    ("name", "categories", "period"),
    [
        ("einwohner_nach_familienstand", ["ledig", "verheiratet", "verwitwet", "geschieden"], None),
        ("einwohner_nach_religionszugehoerigkeit", ["evangelisch", "katholisch", "sonstige_ohne"], "12-31"),
    ],
)
def test_splits_of_kiel(shared: Path, tmp_path: Path, name: str, categories: list[str], period: str | None) -> None:
    root, file = kiel(tmp_path), shared / f"kiel/raw/{REAL}{name}_in_den_stadtteilen.csv"
    proposed = describe(root, file)
    assert [c.id for c in proposed.measure.categories] == categories
    assert proposed.source.layout.period.day == period
    assert proposed.source.contract.complete == {"stadtteil": "all"}


def test_nationalities_of_kiel(shared: Path, tmp_path: Path) -> None:
    file = shared / f"kiel/raw/{REAL}auslaender_nach_ausgesuchten_nationalitaeten_in_den_stadtteilen.csv"
    proposed = describe(kiel(tmp_path), file)
    assert proposed.source.symbols == {"-": "missing", "": "missing", ".": "missing"}
    assert "genau null" in proposed.notes
    assert "geheim" in proposed.notes
    assert len(proposed.measure.categories) == 7


def test_a_file_of_other_areas(shared: Path, tmp_path: Path) -> None:
    """Berlin's planning areas mean nothing to Kiel: a guess by heading, and a doubt."""
    proposed = describe(kiel(tmp_path), shared / "reference/berlin-mss/mss-2015-2-1.csv")
    layout = proposed.source.layout
    assert layout.area
    assert layout.area.name == "name"
    assert "Kein Gebiet des Projekts" in proposed.notes
    assert layout.period.file_name
    assert proposed.source.format.decimal == "."
    assert proposed.measures["s1_percentage_unemployed"].kind == "rate"
    assert proposed.measures["inhabitants"].kind == "count"
    assert proposed.measures["d1_percentage_unemployed"].minimum is None


# ---------------------------------------------------------------- dirty files: the doubt fits the rejection

AREAS = ["Altstadt", "Mühlenviertel", "Südhang"]
PLAIN = "Bezirk;Stichtag;Fälle\n" + "".join(f"{name};31.12.2023;5\n" for name in AREAS)


@pytest.mark.parametrize(
    ("content", "doubt", "rule"),
    [
        (PLAIN.replace("ü", "Ã¼"), "gemeint ist vermutlich »Mühlenviertel«", "umlaute"),
        (PLAIN.encode() + "Südhang;31.12.2022;1\n".encode("cp1252"), "mischt Zeichensätze", "zeichensatz"),
        (PLAIN.encode("utf-16"), "in UTF-16 gespeichert", "zeichensatz"),
        (PLAIN.replace("Südhang", 'Süd"hang').replace("Alt", '"Alt'), "Ein Anführungszeichen", "datei_lesbar"),
        (PLAIN.replace("Südhang;31.12.2023;5", "Südhang;31.12.2023;5;9"), "hat 4 Zellen", "zeile_zu_lang"),
        (
            PLAIN.replace("Stichtag;Fälle", "Stichtag;Fälle;Fälle").replace(";5", ";5;6"),
            "kommt 2 mal",
            "spalte_doppelt",
        ),
        (PLAIN.replace("Südhang", "Sudhang"), "meinten Sie »Südhang«?", "gebiet_bekannt"),
        (PLAIN.replace("Altstadt;31.12", "Altstadt;32.12"), "»32.12.2023«", "zeitangabe_lesbar"),
        (PLAIN.replace("2023;5\nS", "2023;5 %\nS"), "Zahl mit Zusatz", "zelle_lesbar"),
        (PLAIN.replace("2023;5\nS", "2023;#NV\nS"), "»#NV« (1 Zelle, zuerst Zeile 3", "zelle_lesbar"),
        (PLAIN + "Südhang;31.12.2023;7\n", "(zuerst Zeile 5 wie Zeile 4)", "schluessel_eindeutig"),
        (PLAIN.replace("31.12.2023", "Dez. 2023"), "klingt nach Zeit", "dateiname"),
        (PLAIN.replace("Bezirk;", ";"), "hat vermutlich keine Überschrift", "spalte_fehlt"),
        (PLAIN.replace("31.12.2023", "12/31/2023"), "Unmögliche Zeitangaben", "zeitangabe_lesbar"),
        ("Bezirk;Fälle 2022;Fälle 2023\nAltstadt;1;2\nSüdhang;3;4\n", "mitten in Überschriften", "dateiname"),
    ],
)
def test_defects_are_doubts_and_rejected_for_that(
    project: Path, tmp_path: Path, content: str | bytes, doubt: str, rule: str
) -> None:
    file = tmp_path / "faelle.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    proposed = describe(project, file)
    assert doubt in proposed.notes
    assert "UNKLAR" in proposed.notes
    assert rule in rejected(project, proposed, file)


def test_what_is_no_defect_but_should_be_known(project: Path, tmp_path: Path) -> None:
    """Signs nobody sees, areas across, sums without an area, a measure that is there already."""
    file = tmp_path / "faelle.csv"
    file.write_text(PLAIN.replace("Südhang", "Süd\u200bhang\x07") + "Insgesamt;31.12.2023;15\n")
    proposed = describe(project, file)
    assert "unsichtbare Steuerzeichen" in proposed.notes
    assert proposed.source.table.skip == ["Insgesamt"]
    assert "Summenzeile »Insgesamt« wird übersprungen" in proposed.notes
    file.write_text("Jahr;Altstadt;Südhang\n2023;1;2\n2022;3;4\n")
    assert "stehen nebeneinander in den Überschriften" in describe(project, file).notes
    file.write_text(PLAIN.replace("Fälle", "Arbeitslose"))
    proposed = describe(project, file)
    assert proposed.measure.id == "arbeitslose_2"
    assert "Im Projekt gibt es schon arbeitslose" in proposed.notes


def test_only_beginning_and_end_of_a_large_file_are_read(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.describe.sample.HEAD_BYTES", 4000)
    monkeypatch.setattr("pipelines.describe.sample.TAIL_BYTES", 400)
    days = [dt.date(1990, 1, 1) + dt.timedelta(days=n) for n in range(300)]
    rows = "".join(f"{name};{day:%d.%m.%Y};5\n" for day in days for name in AREAS)
    proposed, found = round_trip(project, "faelle.csv", f"Bezirk;Tag;Fälle\n{rows}\nQuelle: Amt\n", tmp_path)
    assert proposed.source.table.ends == "blank"
    assert "nur die ersten" in proposed.notes
    assert not proposed.source.contract.complete
    assert len(found) == 900


# ---------------------------------------------------------------- workbooks


def workbook(file: Path, sheets: dict[str, list[list[object]]], merge: str = "") -> Path:
    """An xlsx file; `merge` is a range of the last sheet's heading that is one cell."""
    with xlsxwriter.Workbook(file, {"default_date_format": "dd.mm.yyyy"}) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
        if merge:
            sheet.merge_range(merge, "Frauen")
    return file


def test_a_workbook_with_cover_and_merged_heading(project: Path, tmp_path: Path) -> None:
    days = [dt.date(2022, 12, 31), dt.date(2023, 12, 31)]
    rows: list[list[object]] = [["Statistikstelle Musterstadt"], [], ["Bezirk", "insgesamt", "insgesamt", "Frauen"]]
    rows += [["", *days, *days], *([name, 1200, 7, 600, "."] for name in DISTRICTS), [], [". unbekannt"]]
    file = workbook(tmp_path / "faelle.xlsx", {"Impressum": [["Stand", 2023]], "Tabelle": rows}, "D3:E3")
    proposed, found = round_trip(project, file.name, file.read_bytes(), tmp_path)
    assert proposed.source.workbook and proposed.source.workbook.sheets == ["Tabelle"]
    assert (proposed.source.table.header_line, proposed.source.table.header_rows) == (3, 2)
    assert not proposed.source.table.header_fill
    assert proposed.source.layout.period.in_header
    assert proposed.source.format.thousands is None
    assert "». unbekannt«" in proposed.notes
    assert {(key[0], key[3], value) for key, value in found.items()} == {
        ("faelle", "2022-12-31", 1200),
        ("faelle", "2023-12-31", 7),
        ("frauen", "2022-12-31", 600),
        ("frauen", "2023-12-31", None),
    }


def test_a_sheet_per_year(project: Path, tmp_path: Path) -> None:
    head: list[list[object]] = [["Bezirk", "Anteil in Prozent"]]
    sheets = {f"Jahr {y}": head + [[name, y / 1000] for name in DISTRICTS] for y in (2021, 2022, 2023)}
    file = workbook(tmp_path / "anteile.xlsx", {**sheets, "Anmerkungen": [["keine"]]})
    proposed, found = round_trip(project, file.name, file.read_bytes(), tmp_path)
    assert proposed.source.workbook and proposed.source.workbook.sheets == ["Jahr ????"]
    assert proposed.source.layout.period.sheet
    assert proposed.measure.kind == "rate"
    assert found[proposed.measure.id, "insgesamt", "99999000-BZ-3", "2022-12-31"] == 2.022
    assert len(found) == 9


def test_workbooks_of_all_districts(shared: Path, tmp_path: Path) -> None:
    """Four of 400 areas are known; what is read of them is described, the others are a doubt."""
    root = kiel(tmp_path)
    proposed = describe(root, shared / "reference/inkar/B_SchulabgaengerohneAbschluss.xls")
    source = proposed.source
    assert source.workbook and source.workbook.sheets == ["Daten"]
    assert source.table.header_rows == 2
    assert source.layout.area and (source.layout.area.name, source.layout.area.level) == ("Raumeinheit", "stadt")
    assert source.layout.period.type == "kalenderjahr"
    assert source.contract.complete == {"stadt": "all"}
    assert (proposed.measure.unit, proposed.measure.kind) == ("percent", "rate")
    assert "4 von 400 Zeilen" in proposed.notes
    assert "gebiet_bekannt" in rejected(root, proposed, shared / "reference/inkar/B_SchulabgaengerohneAbschluss.xls")


def test_the_workbook_of_the_agency(shared: Path, tmp_path: Path) -> None:
    proposed = describe(kiel(tmp_path), shared / "reference/ba/Kreise_WO_Zeitreihe.xlsx")
    table, layout = proposed.source.table, proposed.source.layout
    assert proposed.source.workbook and proposed.source.workbook.sheets == ["SvB_Kreise_WO_Anzahl"]
    assert (table.header_line, table.header_rows, table.ends) == (9, 4, "blank")
    assert table.skip == ["1", "Erstellungsdatum*"]
    assert layout.area and layout.area.split and layout.area.level == "stadt"
    assert layout.period.days == ["06-30"]
    assert layout.values[0].heading == "Insgesamt"
    assert len(layout.values) == 8
    assert proposed.source.symbols == {".": "missing"}
    assert ". kein Nachweis vorhanden." in proposed.notes
    assert "»SvB_Kreise_WO_Anteile«" in proposed.notes


# ---------------------------------------------------------------- any clean file

Cell = tuple[str, str, float | None]
"""Area, date and value of a figure."""
DATES = {
    "31.12.{}": "{}-12-31",
    "{}_06_30": "{}-06-30",
    "31_12_{}": "{}-12-31",
    "30. Juni {}": "{}-06-30",
    "{}-12-31": "{}-12-31",
    "{}": "{}-12-31",
}
SPLITS = [["Fälle"], ["insgesamt", "männlich", "weiblich"], ["unter 18", "18 bis unter 65", "65 und älter"]]
SPLITS += [["Haushalte", "Anteil in Prozent"], ["ledig", "verheiratet"]]


@dataclass
class Made:
    """A file that an office might send."""

    name: str
    content: bytes
    cells: set[Cell]


@st.composite
def clean_files(draw: st.DrawFn) -> Made:
    """Files without a defect in many layouts: where the period stands, how numbers are written, what is around."""
    mark, encoding = draw(st.sampled_from(";,\t|")), draw(st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]))
    place = draw(st.sampled_from(["column", "heading", "name", "title"]))
    form, day = draw(st.sampled_from([entry for entry in DATES.items() if place != "name" or " " not in entry[0]]))
    most = 1 if place in ("name", "title") else 4
    years = draw(st.lists(st.integers(1990, 2023), min_size=1, max_size=most, unique=True))
    heads = draw(st.sampled_from(SPLITS))
    names = {**DISTRICTS, **({"Musterstadt": CITY} if draw(st.booleans()) else {})}
    labels = draw(st.sampled_from([["Bezirk"], ["Nummer", "Bezirk"], ["Bezirk nach Nummer"]]))
    fixed = draw(st.sampled_from([[], ["Land"]]))
    figure = Figures(draw, names, day, "." if mark == "," else ",")

    def start(name: str) -> list[str]:
        code = DISTRICTS.get(name, " ")[-1].strip()
        told = {1: [name] if labels == ["Bezirk"] else [f"{code} {name}".strip()], 2: [code, name]}
        return [*(["de-sh"] if fixed else []), *told[len(labels)]]

    if place == "heading":
        free = [""] * len(fixed + labels)
        merged = draw(st.booleans())
        top = [head if number == 0 or not merged else "" for head in heads for number in range(len(years))]
        below = [form.format(year) for _ in heads for year in years]
        table = [[*fixed, *labels, *top], [*free, *below]] if len(heads) > 1 else [[*fixed, *labels, *below]]
        table += [[*start(name), *(figure(h, name, y) for h in heads for y in years)] for name in names]
    else:
        stand = ["Stand"] if place == "column" else []
        table = [[*fixed, *labels, *stand, *heads]]
        for year in years:
            when = [form.format(year)] if stand else []
            table += [[*start(name), *when, *(figure(h, name, year) for h in heads)] for name in names]
    titles = draw(st.lists(st.sampled_from(["Statistikstelle", "Meldung, vorläufig"]), max_size=2, unique=True))
    titles += [f"Fälle am {form.format(years[0])}"] if place == "title" else []
    lines = [[title] for title in titles] + [[] for _ in titles[:1] if draw(st.booleans())] + table
    lines += draw(st.sampled_from([[], [[], ["* geheim"]], [[], ["Quelle: Amt"], ["Erstellt von A. B."]]]))
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=mark, lineterminator=draw(st.sampled_from(["\n", "\r\n", "\r"]))).writerows(lines)
    name = f"faelle_{form.format(years[0])}.csv" if place == "name" else "faelle.csv"
    return Made(name, text.getvalue().encode(encoding), figure.cells)


class Figures:
    """Draws the figures of a file and notes what they mean."""

    def __init__(self, draw: st.DrawFn, names: dict[str, str], day: str, decimal: str) -> None:
        self.draw, self.names, self.day, self.decimal = draw, names, day, decimal
        self.grouped = draw(st.booleans())
        self.cells: set[Cell] = set()

    def __call__(self, head: str, area: str, year: int) -> str:
        """Text of one cell."""
        key = (self.names[area], self.day.format(year))
        if area != "Südhang" and self.draw(st.integers(0, 9)) == 0:  # every column holds a number somewhere
            self.cells.add((*key, None))
            return self.draw(st.sampled_from(["*", ""]))
        share = "Prozent" in head
        whole = self.draw(st.integers(0, 1000 if share else 99_999))
        self.cells.add((*key, whole / 10 if share else float(whole)))
        text = f"{whole / 10:.1f}" if share else (f"{whole:,}" if self.grouped else str(whole))
        return text.translate(str.maketrans(",.", ".,")) if self.decimal == "," else text


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(clean_files())
def test_any_clean_file_is_read_as_described(lasting: Path, template: Callable[[], Project], made: Made) -> None:
    file = lasting.parent / made.name
    file.write_bytes(made.content)
    text = proposed_page(template(), file)
    parsed, problems = parse(text, "defs.yaml")
    assert not problems
    source, *measures = [p.document for p in parsed]
    assert isinstance(source, Source)
    findings = Findings(source.contract.severity)
    known = {m.id: m for m in measures if isinstance(m, Measure)}
    frames = list(Reader(source, template().directory, known, findings).chunks(file, made.name, []))
    file.unlink()
    note(text)
    assert not [failure.sentence() for failure in findings.kept if failure.severity == "error"]
    figures_read = pd.concat(frames)
    assert set(figures_read["status"]) <= {"value", "suppressed", "missing"}
    values = [None if pd.isna(value) else value for value in figures_read["value"]]
    assert (
        set(zip(figures_read["area_id"], figures_read["reference_date"].astype(str), values, strict=True)) == made.cells
    )


# ---------------------------------------------------------------- what must not break it


HOSTILE = st.text(
    st.one_of(st.sampled_from("'\"#:{}[]&*!|>%@`,;-?~ \n\t\\0…é.5"), st.characters(exclude_categories=["Cs"])),
    max_size=30,
)


def loads(project: Project, file: Path) -> Source | None:
    """The source proposed for a file, if the project would load with it; None if the file is refused in words."""
    try:
        text = proposed_page(project, file)
    except Unreadable as refusal:
        assert str(refusal).strip()
        return None
    parsed, problems = parse(text, "defs.yaml")
    assert not problems, (problems, text)
    found = References(Project(project.paths, [*project.parsed, *parsed], project.directory)).check()
    assert not found, (found, text)
    source = parsed[0].document
    assert isinstance(source, Source)
    return source


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    name=HOSTILE,
    headings=st.lists(HOSTILE, min_size=2, max_size=5),
    cells=st.lists(HOSTILE, min_size=2, max_size=5),
    dated=st.booleans(),
)
def test_no_text_breaks_the_page(
    lasting: Path, template: Callable[[], Project], name: str, headings: list[str], cells: list[str], dated: bool
) -> None:
    file = lasting.parent / (re.sub(r"[/\0]", "", name)[:20].strip(".") + "x.csv")
    rows = [["Bezirk", "31.12.2023" if dated else "Fälle", *headings]]
    rows += [[district, "5", *cells] for district in DISTRICTS]
    with file.open("w", encoding="utf-8", newline="") as target:
        csv.writer(target, delimiter=";").writerows(rows)
    source = loads(template(), file)
    file.unlink()
    if source is not None and source.layout.area is not None and len(set(headings)) == len(headings):
        assert source.layout.area.name == "Bezirk"


TOKENS = """Bezirk Altstadt Südhang Musterstadt Jahr Merkmal Anteil Insgesamt m w unter_3 2023 2022 31.12.2023 2022/23
1 12 3.353 1,5 1_234 5_% * - . x Quelle:_Amt "
"""
TOKEN = st.sampled_from(["", " ", *(token.replace("_", " ") for token in re.split(r"\s", TOKENS))])


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.lists(TOKEN, max_size=5), min_size=1, max_size=9),
    mark=st.sampled_from(";,\t|"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]),
)
def test_no_table_breaks_the_page(
    lasting: Path, template: Callable[[], Project], rows: list[list[str]], mark: str, encoding: str
) -> None:
    file = lasting.parent / "zufall.csv"
    file.write_bytes("\r\n".join(mark.join(row) for row in rows).encode(encoding))
    loads(template(), file)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200))
def test_no_bytes_break_the_page(lasting: Path, template: Callable[[], Project], content: bytes) -> None:
    file = lasting.parent / "bytes.csv"
    file.write_bytes(content)
    loads(template(), file)


@given(HOSTILE)
def test_every_value_stays_what_it_is(text: str) -> None:
    for value in (text, {text or "x": text}, [text, {"a": [text]}]):
        line = inline(value)
        assert "\n" not in line
        assert yaml.load(f"k: {line}\n", Loader=yaml.CSafeLoader) == {"k": value}


@given(HOSTILE)
def test_every_id_is_valid(text: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,59}", identifier(text))
    assert identifier(text, {identifier(text)}) != identifier(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0 bis unter 3", "a00_02"),
        (" 6 bis unter 10 Jahre", "a06_09"),
        ("0-<5", "a00_04"),
        ("15-64", "a15_64"),
        ("unter 15 Jahren", "a00_14"),
        ("65 und aelter", "a65_plus"),
        ("85 und Älter", "a85_plus"),
        ("65+", "a65_plus"),
        ("ab 65 Jahre", "a65_plus"),
        ("2022-2023", None),
        ("ledig", None),
    ],
)
def test_age_groups_are_coded_alike(text: str, code: str | None) -> None:
    assert age_group(text) == code


def test_long_headings_and_templates(lasting: Path, tmp_path: Path) -> None:
    heading = "{{ env.HOME }} " + "sehr lang: " * 300
    file = tmp_path / "x.csv"
    file.write_text(f"Bezirk;31.12.2023;{heading}\n" + "".join(f"{name};1;abc\n" for name in DISTRICTS))
    proposed = describe(lasting, file)
    assert proposed.source.layout.constant == {" ".join(heading.split()): "abc"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "gibt es nicht"),
        (b"", "leer"),
        (b"\xef\xbb\xbf\n\n", "leer"),
        (b"PK\x03\x04kaputt", "nicht lesbar"),
        (b"\x7fELF" + b"\0" * 100, "weder ein Text"),
        (b"Liebe Leute,\nanbei die Zahlen.\n", "keine Tabelle"),
        (b"Bezirk;Name\nAltstadt;a\n", "keine Tabelle"),
    ],
)
def test_what_is_no_table_is_said(lasting: Path, tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "x.csv"
    if content is not None:
        file.write_bytes(content)
    voice = Quiet()
    assert describe_file(lasting, file, None, voice) == EXIT_USAGE
    assert sentence in voice.lines[0]


def test_no_project_and_no_id(lasting: Path, tmp_path: Path) -> None:
    file = tmp_path / "2023.csv"
    file.write_text("Bezirk;31.12.2023\nAltstadt;1\nSüdhang;2\n")
    voice = Quiet()
    assert describe_file(tmp_path, file, None, voice) == EXIT_USAGE
    assert "kein Projektordner" in voice.lines[0]
    for name, sentence in (("beispiel", "gibt es schon"), ("Über mich", "möglich wäre --source ueber_mich")):
        voice = Quiet()
        assert describe_file(lasting, file, name, voice) == EXIT_USAGE
        assert sentence in voice.lines[0]
    assert describe(lasting, file).source.id == "quelle"
    assert describe(lasting, file, "zahlen").source.id == "zahlen"
    inbox = lasting / "data/raw/wohngeld"
    inbox.mkdir()
    shutil.copyfile(file, inbox / file.name)
    assert describe(lasting, inbox / file.name).source.id == "wohngeld"
