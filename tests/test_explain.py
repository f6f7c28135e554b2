"""`sozialraum explain`: what it says is read again from the received files, and the public answer keeps secrets."""

from __future__ import annotations

import csv
import datetime as dt
import os
import random
import re
import shutil
from pathlib import Path

import duckdb
import pytest
import yaml

from pipelines.night import Night
from pipelines.paths import Paths
from pipelines.project import Project, load_project
from pipelines.provenance.command import explain
from tests.conftest import ROOT, Quiet, run_night, sozialraum
from tests.test_history import NOW, edit, half_night, put, release_locks
from tests.town import deliver, district, public, town

SOAK = os.environ.get("SOAK") == "1"
SAMPLE = 200 if SOAK else 20
DAY = dt.timedelta(days=1)


def answer(folder: Path, *words: str, public: bool = False, every: bool = False) -> tuple[int, list[str]]:
    """Exit code and lines of the answer."""
    voice = Quiet()
    return explain(folder, list(words), voice, public=public, every=every), voice.lines


def told(folder: Path, *words: str, public: bool = False, every: bool = False) -> str:
    code, lines = answer(folder, *words, public=public, every=every)
    assert code == 0, lines
    return "\n".join(lines)


# ---------------------------------------------------------------- Kiel, read a second time


@pytest.fixture(scope="module")
def kiel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped project with its internal marts; nothing is published."""
    folder = tmp_path_factory.mktemp("kiel")
    shutil.copytree(ROOT / "assets", folder / "assets")
    shutil.copytree(ROOT / "data/raw", folder / "data/raw")
    shutil.copyfile(ROOT / "dagster.yaml", folder / "dagster.yaml")
    night = Night.begin(folder, lambda text: None, NOW.replace(year=2027))
    try:
        night.intake()
        night.build()
    finally:
        release_locks()
    return folder


CELL = re.compile(r"^ *aus (\w+)-0001: Zeile (\d+), Spalte (\d+) »(.*)«, Zelle »(.*)«$")
FACTORS = {"percent": 100.0, "per_1000": 1000.0, "ratio": 1.0, "persons": 1.0}


class Files:
    """The received files, read with nothing but the csv module; the marks between cells are those of the YAML."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def cell(self, source: str, line: int, column: int) -> str:
        (path,) = (self.project.paths.inbox / source).iterdir()
        form = self.project.sources[source].format
        encoding = form.encoding.replace("utf-8", "utf-8-sig")
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.reader(file, delimiter=form.delimiter)
            before = 0
            for row in reader:
                if before + 1 == line:
                    return row[column - 1]
                before = reader.line_num
        raise AssertionError(f"{path} has no line {line}")

    def number(self, source: str, text: str) -> float:
        """A number as its office writes it; signs for nothing and zero count 0."""
        form = self.project.sources[source].format
        if self.project.sources[source].symbols.get(text.strip()) == "zero":
            return 0.0
        return float(text.strip().replace(form.thousands or " ", "").replace(form.decimal, "."))


def inputs(lines: list[str], files: Files) -> dict[str, float]:
    """Zähler, Nenner and Quote as sums of the cells that the answer names, each read from its file."""
    found: dict[str, float] = {}
    role = ""
    for line in lines:
        if match := re.match(r"(Zähler|Nenner|Quote): ", line):
            role = match[1]
        if match := CELL.match(line):
            source, row, column, heading, text = match[1], int(match[2]), int(match[3]), match[4], match[5]
            assert files.cell(source, row, column) == text, line
            assert heading.split(" | ")[-1] in [files.cell(source, n, column) for n in range(1, row)], line
            found[role] = found.get(role, 0.0) + files.number(source, text)
    return found


def test_random_figures_follow_from_the_cells_that_are_named(kiel: Path) -> None:
    project = load_project(kiel)
    files = Files(project)
    with duckdb.connect(str(kiel / "data/warehouse/internal/internal.duckdb"), read_only=True) as con:
        rows = con.execute(
            "SELECT indicator_id, area_id, period, value, numerator, denominator FROM mart.indicator_value "
            "WHERE value IS NOT NULL ORDER BY ALL"
        ).fetchall()
    for indicator, area, period, value, numerator, denominator in random.Random(20).sample(rows, SAMPLE):
        text = told(kiel, indicator, area, period, every=True)
        assert "(zu " not in text  # no part of an area: cells count wholly
        found = inputs(text.split("\n"), files)
        if "Quote" in found:
            assert found == {"Quote": pytest.approx(value, abs=1e-9)}
            continue
        assert found["Zähler"] == pytest.approx(numerator, abs=1e-9)
        assert found.get("Nenner") == (None if denominator is None else pytest.approx(denominator, abs=1e-9))
        factor = FACTORS[project.indicators[indicator].unit]
        assert factor * found["Zähler"] / found.get("Nenner", 1.0) == pytest.approx(value, abs=1e-9)
        shown = f"{value:,.{project.indicators[indicator].decimals}f}".translate(str.maketrans(",.", ".,"))
        assert f"  Rechnung        {shown} = " in text


@pytest.mark.parametrize(
    "words",
    [
        ("Kinderarmut", "Gaarden", "2021"),
        ("Kinderarmut Gaarden 2021",),
        ("kinderarmut", "in", "GAARDEN", "am", "31.12.2021"),
        ("kinderarmutsanteil", "gaarden", "2021-12-31"),
        ("Kinderarmut (Anteil der unter 15-Jährigen mit SGB-II-Leistungen)", "Gaarden", "31. Dezember 2021"),
    ],
)
def test_free_words_mean_both_areas_of_that_name(kiel: Path, words: tuple[str, ...]) -> None:
    text = told(kiel, *words)
    title = "Kinderarmut (Anteil der unter 15-Jährigen mit SGB-II-Leistungen): Gaarden"
    assert [line for line in text.split("\n") if line.startswith(title)] == [
        f"{title} (Ortsteil), 31.12.2021",
        f"{title} (Sozialzentrumsbereich), 31.12.2021",
    ]
    assert "Wert            58,4 Prozent" in text  # as printed in the Sozialbericht 2022
    assert "Rechnung        wie geliefert" in text
    assert "sozialbericht_kinderarmut_ortsteile.csv" in text
    assert "noch nicht freigegeben" in text
    assert "Brüche in der Reihe\n  seit 2019-12-31, Einwohner nach Altersgruppen: Bis 2018 etwa 2 Prozent mehr" in text


@pytest.mark.parametrize("period", ["2021/22", "2021/2022", "2021-22"])
def test_school_year_is_understood(kiel: Path, period: str) -> None:
    text = told(kiel, "schulabgaenge_ohne_abschluss", "Stadtteil Mettenhof", period)
    assert ": Mettenhof (Stadtteil), Schuljahr 2021/22\n" in text


@pytest.mark.parametrize("area", ["Suedfriedhof", "südfriedhof", "SÜDFRIEDHOF"])
def test_umlauts_and_letter_case_do_not_matter(kiel: Path, area: str) -> None:
    assert "Südfriedhof (Stadtteil)" in told(kiel, "Kinderarmut", area, "2021")


def test_topic_stands_for_its_indicators(kiel: Path) -> None:
    text = told(kiel, "Arbeitslosigkeit Mettenhof 2021")
    assert text.startswith("Arbeitslosenanteil an den 15- bis 64-Jährigen: Mettenhof (Stadtteil), 31.12.2021\n")


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (("Kinderarmud", "Gaarden", "2021"), "Indikator »Kinderarmud« ist nicht bekannt; ähnlich: kinderarmutsanteil"),
        (("Kinderarmud Gaarden 2021",), "Indikator »Kinderarmud« ist nicht bekannt; ähnlich: kinderarmutsanteil"),
        (("Kinderarmut", "Metenhof", "2021"), "Gebiet »Metenhof« ist nicht bekannt; ähnlich: Mettenhof ("),
        (("kinderarmutsanteil", "01002000-OT-61", "2021"), "01002000-OT-16"),
        (("kinderarmutsanteil", "01002000-OT-16", "2021-12-13"), "am nächsten: 2021-12-31"),
        (("Kinderarmut", "Gaarden"), "Indikator, Gebiet und Zeit"),
        (("Anteil", "Kiel", "2022"), "bitte genauer"),
    ],
)
def test_what_is_not_known_ends_with_2_and_the_nearest_name(kiel: Path, words: tuple[str, ...], nearest: str) -> None:
    code, lines = answer(kiel, *words)
    assert code == 2
    assert nearest in "\n".join(lines)


def test_long_sums_are_cut_unless_all_is_asked_for(kiel: Path) -> None:
    short = told(kiel, "einwohner_insgesamt", "01002000", "2010-12-31")
    long = told(kiel, "einwohner_insgesamt", "01002000", "2010-12-31", every=True)
    assert (short.count("(Stadtteil)"), long.count("(Stadtteil)")) == (12, 30)
    assert "… und 18 weitere" in short


def test_figures_explained_inside_before_anything_is_published(kiel: Path) -> None:
    assert "Veröffentlichung\n  noch keine" in told(kiel, "Kinderarmut", "Gaarden", "2021")
    code, lines = answer(kiel, "Kinderarmut", "Gaarden", "2021", public=True)
    assert (code, "sozialraum nightly" in lines[0]) == (1, True)


# ---------------------------------------------------------------- a town with a history


WOMEN, MEN = [7013, 1, 6529, 5449, 30011, 8117], [5003, 1, 2741, 4801, 25013, 9001]
RESIDENTS = [24001, 40009, 30011, 29009, 90001, 32003]
OLD_WOMEN = [*WOMEN[:4], 30044, WOMEN[5]]


@pytest.fixture(scope="module")
def storied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Constructed: a gap in 2021, then a replaced (and published), a corrected and a retracted delivery of 2022."""
    folder = town(tmp_path_factory.mktemp("geschichte") / "Stadt")
    deliver(folder, OLD_WOMEN, MEN, RESIDENTS, "31.12.2021", "alt.csv")
    kept = (folder / "data/raw/melderegister/alt.csv").read_text(encoding="utf-8").splitlines()[:-1]
    put(folder, "\n".join(kept) + "\n", "alt.csv", "melderegister")  # nothing about the sixth district
    half_night(folder, NOW)
    deliver(folder, OLD_WOMEN, MEN, RESIDENTS, name="erste.csv")
    assert run_night(folder, NOW + DAY).publication
    deliver(folder, WOMEN, MEN, RESIDENTS, name="zweite.csv")
    text = (folder / "data/raw/jugendamt/zweite.csv").read_text(encoding="utf-8")
    right, wrong = (f"Bezirk 4;31.12.2022;5449;4801;{total}" for total in (10250, 12050))
    put(folder, f"{text.replace(right, wrong)}{right}\n", "zweite.csv", "jugendamt")  # the same area once more, line 8
    half_night(folder, NOW + 2 * DAY)
    deliver(folder, [9, 9, 9, 9, 9, 9], MEN, RESIDENTS, name="dritte.csv")
    half_night(folder, NOW + 3 * DAY)
    correction = {
        "delivery": "jugendamt-0003",
        "line": 5,
        "column": "insgesamt",
        "expected": "12050",
        "value": "10250",
        "reason": "Zahlendreher",
        "reported_on": dt.date(2026, 3, 5),
        "status": "confirmed",
    }
    dropped = {
        "delivery": "jugendamt-0003",
        "line": 8,
        "column": "insgesamt",
        "expected": "10250",
        "drop": True,
        "reason": "steht zweimal da",
        "reported_on": dt.date(2026, 3, 5),
        "status": "reported",
    }
    retraction = {"delivery": "jugendamt-0004", "reason": "falscher Stand", "on": dt.date(2026, 3, 6), "by": "TT"}
    corrections = [correction, dropped]
    edit(folder, lambda source: source.update(corrections=corrections, retracted=[retraction]), topic="hilfen")
    assert run_night(folder, NOW + 4 * DAY).publication
    return folder


def test_correction_names_old_and_new_text_reason_and_status(storied: Path) -> None:
    text = told(storied, "hilfenanteil", "Bezirk 4", "2022")
    assert "Zähler: 10.250 " in text
    assert "aus jugendamt-0003: Zeile 5, Spalte 5 »insgesamt«, Zelle »12050«" in text
    correction = next(line for line in text.split("\n") if "Berichtigung" in line)
    for part in ("»12050«", "»10250«", "Zahlendreher", "vom Absender bestätigt, 05.03.2026"):
        assert part in correction
    assert "Berichtigung: " not in told(storied, "hilfenanteil", "Bezirk 5", "2022")


def test_row_left_out_by_a_correction_is_named_beside_its_delivery(storied: Path) -> None:
    text = told(storied, "hilfenanteil", "Bezirk 4", "2022")
    (line,) = (line.strip() for line in text.split("\n") if "weggelassen" in line)
    assert line == (
        "durch Berichtigung weggelassen: Zeile 8, Spalte »insgesamt«: in der Datei steht »10250«. "
        "Grund: steht zweimal da (dem Absender gemeldet, 05.03.2026)"
    )
    assert "weggelassen" not in told(storied, "hilfenanteil", "Bezirk 4", "2021")  # another delivery


def test_no_rule_is_said_to_hold_that_had_nothing_to_look_at(storied: Path, kiel: Path) -> None:
    """Nothing of workbooks and of comparisons where there is none; of broken rules, what they found."""
    texts = [
        told(storied, "hilfenanteil", "Bezirk 5", "2022", every=True),
        told(kiel, "Kinderarmut", "Gaarden", "2021", every=True),
    ]
    for text in texts:
        for word in ("Regeln", "eingehalten", "blatt_fehlt", "stimmt_mit_quelle"):
            assert word not in text
    assert "angenommen mit Hinweis: Ein Gebiet kommt neu hinzu (1x)\n        " in texts[0]
    assert "Bezirk 6" in texts[0].partition("Ein Gebiet kommt neu hinzu")[2].split("\n")[1]  # missing the year before
    assert "geprüft, keine Beanstandung" in texts[1]


def test_rule_that_is_switched_off_is_named(kiel: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(kiel, tmp_path / "kiel", symlinks=True))
    path = folder / "assets/kinderarmut/defs.yaml"
    documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
    source = next(d["attributes"] for d in documents if d["attributes"]["id"] == "sozialbericht_kinderarmut")
    source.setdefault("contract", {})["severity"] = {"ausreisser": "off"}
    path.write_text(yaml.safe_dump_all(documents, allow_unicode=True, sort_keys=False), encoding="utf-8")
    assert "hier nicht geprüft: Ein ungewöhnlicher Sprung" in told(folder, "Kinderarmut", "Gaarden", "2021")


def test_deliveries_out_of_force_are_named_with_the_reason(storied: Path) -> None:
    text = told(storied, "hilfenanteil", "Bezirk 5", "2022")
    gone = text.partition("Nicht mehr in Kraft")[2].partition("\n\n")[0]
    assert "jugendamt-0002 (erste.csv, eingegangen 03.03.2026): abgelöst durch jugendamt-0003" in gone
    assert (
        "jugendamt-0004 (dritte.csv, eingegangen 05.03.2026): zurückgezogen am 06.03.2026 von TT: falscher Stand"
        in gone
    )
    assert "jugendamt-0001" not in text  # another year


def test_value_that_changed_between_releases_is_told_with_its_cause(storied: Path) -> None:
    """55,057 and 55,024 of 90,001."""
    changed = told(storied, "hilfenanteil", "Bezirk 5", "2022").partition("Geänderte Werte\n")[2].split("\n")[0]
    release = (storied / "data/releases/aktuell.txt").read_text(encoding="utf-8").strip()
    assert changed == f"  61,2 -> 61,1 in {release}: andere Lieferungen"


def test_sum_with_a_missing_part_says_which(storied: Path) -> None:
    text = told(storied, "hilfenanteil", "Bereich 2", "2021")
    assert "Wert            keiner: Eine Angabe fehlt in der Quelle" in text
    assert "Summe aus 3 Gebieten:" in text.partition("Nenner")[2]
    assert "fehlt: Bezirk 6, dazu wurde nichts geliefert" in text
    assert text.partition("Nenner")[2].count("aus melderegister-0001: ") == 2


def test_withheld_figure_is_explained_inside_and_hidden_outside(storied: Path) -> None:
    true = {district(n): f + m for n, (f, m) in enumerate(zip(WOMEN, MEN, strict=True), 1)}
    shown = public(storied)
    secret = {area: count for area, count in true.items() if shown["insgesamt", area] is None}
    assert district(2) in secret
    assert any(count > 1000 for count in secret.values())  # an unusual number that can be searched for
    for area, count in secret.items():
        inside, outside = (told(storied, "hilfenanteil", area, "2022", public=flag) for flag in (False, True))
        assert f"»{count}«" in inside
        assert "[öffentlich gesperrt: " in inside
        assert "hält diese Zahl geheim" in inside
        assert "keiner: Zähler oder Nenner ist geheim zu halten" in outside
        assert "Zähler: gesperrt " in outside


def test_public_answer_shows_no_number_that_is_withheld_and_no_text_of_a_file(storied: Path) -> None:
    shown = public(storied)
    truth = {("weiblich", district(n)): v for n, v in enumerate(WOMEN, 1)}
    truth |= {("maennlich", district(n)): v for n, v in enumerate(MEN, 1)}
    truth |= {("insgesamt", district(n)): f + m for n, (f, m) in enumerate(zip(WOMEN, MEN, strict=True), 1)}
    secrets = {value for key, value in truth.items() if shown[key] is None and value > 1000}
    assert secrets
    areas = [*[f"Bezirk {n}" for n in range(1, 7)], "Bereich 1", "Bereich 2", "Musterstadt"]
    everything = "\n".join(told(storied, "hilfenanteil", a, "2022", public=True, every=True) for a in areas)
    numbers = {
        int(n.replace(".", "")) for n in re.findall(r"\d+(?:\.\d{3})*", everything) if n.replace(".", "").isdigit()
    }
    assert not secrets & numbers
    for word in ("zweite.csv", "sha256", "Berichtigung", "12050", "gesperrt: ", "Regeln", "»insgesamt«"):
        assert word not in everything, word


def test_public_answer_needs_nothing_internal(storied: Path, tmp_path: Path) -> None:
    before = told(storied, "hilfenanteil", "Bezirk 5", "2022", public=True)
    folder = Path(shutil.copytree(storied, tmp_path / "Stadt", symlinks=True))
    for hidden in ("data/history", "data/warehouse/internal", "data/warehouse/oeffentlich", "data/raw"):
        shutil.rmtree(folder / hidden)
    assert told(folder, "hilfenanteil", "Bezirk 5", "2022", public=True) == before
    code, lines = answer(folder, "hilfenanteil", "Bezirk 5", "2022")
    assert (code, "sozialraum nightly" in lines[0]) == (1, True)


@pytest.mark.parametrize("damage", ["altered", "missing", "whole delivery missing"])
def test_no_cell_is_quoted_from_an_archive_that_is_damaged(storied: Path, tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(storied, tmp_path / "Stadt", symlinks=True))
    (delivery,) = (folder / "data/history/deliveries/jugendamt").glob("0003-*")
    (file,) = (path for path in delivery.iterdir() if path.name != "receipt.json")
    if damage == "altered":
        file.chmod(0o644)
        file.write_bytes(file.read_bytes().replace(b"30011", b"30012"))
    elif damage == "missing":
        file.unlink()
    else:
        shutil.rmtree(delivery)
    code, lines = answer(folder, "hilfenanteil", "Bezirk 5", "2022")
    assert (code, len(lines)) == (1, 1)
    assert lines[0].startswith("Archiv beschädigt: die ")
    assert "jugendamt-0003" in lines[0]
    assert "aus der Sicherung" in lines[0]
    assert told(folder, "hilfenanteil", "Bezirk 5", "2022", public=True)  # asks nothing of the archive


@pytest.mark.parametrize("kept", [0, 100, 100_000])
@pytest.mark.parametrize("name", ["internal/internal.duckdb", "sozialraum.duckdb"])
def test_damaged_database_ends_with_1_and_says_which(storied: Path, tmp_path: Path, name: str, kept: int) -> None:
    folder = Path(shutil.copytree(storied, tmp_path / "Stadt", symlinks=True))
    file = folder / "data/warehouse" / name
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[:kept] + b"x" * (len(content) - kept))
    for outside in (False, True) if name == "sozialraum.duckdb" else (False,):
        code, lines = answer(folder, "hilfenanteil", "Bezirk 5", "2022", public=outside)
        assert (code, len(lines)) == (1, 1)
        assert lines[0].startswith(f"Die Datei mit den Zahlen ist beschädigt und nicht lesbar: {file.name} ")
        assert "sozialraum nightly" in lines[0]


def test_receipt_and_rules_stand_beside_each_delivery(storied: Path) -> None:
    text = told(storied, "hilfenanteil", "Bezirk 5", "2022")
    receipt = next((storied / "data/history/deliveries/jugendamt").glob("0003-*/receipt.json"))
    told_of = yaml.safe_load(receipt.read_text(encoding="utf-8"))
    assert f"sha256 {told_of['sha256']}" in text
    assert "Datei zweite.csv, eingegangen 04.03.2026" in text
    release = (storied / "data/releases/aktuell.txt").read_text(encoding="utf-8").strip()
    assert release in text
    assert Paths.of(storied).current.resolve().name == release


def test_command_answers_and_says_what_it_does_not_know(storied: Path) -> None:
    run = sozialraum("explain", "hilfenanteil", "Bezirk", "5", "2022", "--project", storied)
    assert (run.returncode, run.stderr) == (0, "")
    assert "Rechnung        61,1 = 100 × 55.024 / 90.001" in run.stdout  # 30011 + 25013 of 90001
    run = sozialraum("explain", "hilfenantail", "Bezirk 5", "2022", "--project", storied)
    assert run.returncode == 2
    assert "hilfenanteil" in run.stderr
