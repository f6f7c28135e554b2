"""Recalculates official and third-party results and writes docs/reproduction.md: what, source, how much agrees.

    python -m scripts.reproduction [--check]

Needs the reference data beside the checkout (../shared). With --check nothing is written; the exit code is 1 if the
page is not what was measured. The tests hold the same lines.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.conftest import SHARED
from tests.reference import fingertips, inkar, mss, results
from tests.reference.results import PAGE, Row, wrong_line

INTRODUCTION = """\
# Nachgerechnet

Erzeugt mit `python -m scripts.reproduction`; nicht von Hand ändern. Die Tests halten dieselben Zeilen fest.

Ob ein Programm richtig rechnet, zeigt sich an Ergebnissen, die andere veröffentlicht haben. Geprüft ist der gewöhnliche
Weg: ein Projektordner mit YAML, die Zahlen als Lieferung im Eingang, ein nächtlicher Lauf, das Ergebnis aus den
Tabellen. Die Dateien aus Berlin und von INKAR liegen dort unverändert. Nichts ist an diese Fälle angepasst: Die
Verfahren sind die beschriebenen, die Tabellen dieselben wie für Kiel.

| Nachgerechnet | Quelle | stimmt überein | größte Abweichung |
| --- | --- | --- | --- |
"""

WRONG = """
## Irrwege

Dieselben Dateien, aber falsch gerechnet. Die Zahl ist die der Planungsräume, die dann in einer anderen Gesamtgruppe
liegen als veröffentlicht. Auch die kleinen Zahlen zählen: Eine Stichprobe bemerkt die falsche Standardabweichung nicht.

| Irrweg | MSS 2013 | MSS 2015 | MSS 2017 |
| --- | --- | --- | --- |
"""

SOURCES = {
    "Monitoring Soziale Stadtentwicklung 2013, 2015, 2017": (
        "Senatsverwaltung für Stadtentwicklung Berlin, dl-de/zero-2-0; Anteile und Klassen der Planungsräume nach "
        "open-lifeworlds/open-lifeworlds-data-product-berlin-lor-monitoring-social-urban-development, Stand ac2f085"
    ),
    "Fingertips, Vertrauensgrenzen und Trichter": (
        "publichealthengland/PHEindicatormethods, Stand 093fd28, tests/testthat"
    ),
    "Fingertips, Trends": (
        "ukhsa-collaboration/fingertips-open, Stand 6780897, TrendMarkerCalculatorTest.cs; dhsc-govuk/FingertipsNext, "
        "TrendAnalysisApp.UnitTests, IndicatorTestData.cs"
    ),
    "INKAR 2024": (
        "Bundesinstitut für Bau-, Stadt- und Raumforschung, dl-de/by-2-0, nach "
        "robert-koch-institut/German_Index_of_Socioeconomic_Deprivation_GISD, Stand 29ee5a6"
    ),
}

REST = (
    """
Ein weiterer Irrweg ist versperrt: Quoten ohne Anzahlen (Schulabgänge ohne Abschluss je Kreis) werden nicht zu Ländern
gemittelt. Das Projekt wird zurückgewiesen mit »Quoten werden nie summiert oder gemittelt; liefern Sie Zähler und Nenner
als Anzahlen«.

## Wo wir etwas anderes sagen

- Anteil der über 65-Jährigen in englischen Arztpraxen: Die Prüffälle von FingertipsNext erwarten »keine Veränderung«,
  weil ihren Daten die Vertrauensgrenzen fehlen. Aus den Anzahlen folgt eine gesicherte Zunahme (Prüfgröße 3.168).
  Fehlende Unsicherheit heißt bei uns »nicht berechenbar«, nie »keine Veränderung«.
- Ein Fall, untere Grenze zu 99,8 % nach Byar: Die Formel ergibt weniger als null, die Prüfdaten lassen das Feld leer,
  bei uns steht 0.
- Der Trichter und eine Prüfzeile zu Wilson haben Fallzahlen mit Nachkommastellen. Die Eingangsprüfung lehnt solche
  Anzahlen ab; für diese Dateien ist die Regel `ganze_zahl` im YAML auf Warnung gestellt.

## Woher

| Quelle | wo |
| --- | --- |
"""
    + "".join(f"| {name} | {place} |\n" for name, place in SOURCES.items())
    + """
Dazu kommen 10.000 konstruierte Fälle gegen scipy und statsmodels (`tests/test_statistics_oracle.py`): keine, alle, 1, 9
und 10 Fälle, bis zu einer Milliarde Einwohner, Lücken und Brüche. Zahlen ab 1 sind relativ verglichen, kleinere
absolut; die Grenzen aus England durchweg relativ.
"""
)


def measured(folder: Path, shared: Path) -> tuple[list[Row], list[str]]:
    """Rows of the first table, lines of the second; the projects are built in `folder`."""
    berlin = mss.night_of(folder / "berlin", shared)
    country = inkar.night_of(folder / "inkar", shared)
    rows = [row for edition in mss.EDITIONS for row in results.of_mss(berlin, shared, edition)]
    rows += results.of_limits(fingertips.limits_night(folder / "grenzen", shared), shared)
    rows += results.of_funnel(fingertips.funnel_night(folder / "trichter", shared), shared)
    rows += results.of_trends(fingertips.trend_night(folder / "trends"))
    rows += results.of_inkar(country, shared)
    missed = {
        way: mss.wrong_way(berlin, folder / f"irrweg-{number}", shared, way)
        for number, way in enumerate(mss.WRONG_WAYS)
    }
    return rows, [
        wrong_line(way, {edition: areas["group_class"] for edition, areas in by_edition.items()})
        for way, by_edition in missed.items()
    ]


def page(rows: list[Row], wrong: list[str]) -> str:
    """The whole page as Markdown."""
    lines = "".join(f"{row.line()}\n" for row in rows)
    return INTRODUCTION + lines + WRONG + "".join(f"{line}\n" for line in wrong) + REST


def main() -> int:
    """Write or check the page; 2 if there are no reference data, 1 if something differs."""
    if not SHARED.is_dir():
        print("reference data (../shared) is not on this machine", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        rows, wrong = measured(Path(folder), SHARED)
    text = page(rows, wrong)
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    differing = [row for row in rows if row.matched != row.total]
    for row in differing:
        print(row.line(), file=sys.stderr)
    return int(bool(differing))


if __name__ == "__main__":
    sys.exit(main())
