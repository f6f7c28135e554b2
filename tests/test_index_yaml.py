"""What the author of a composite index, or of a comparison, is told about mistakes: file, line, nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.catalogue import print_catalogue
from pipelines.project import load_project
from tests.conftest import ROOT, Quiet
from tests.test_history import edit
from tests.test_yaml import line_of, problems_of

CITY = "99999000"
INDEX = "assets/indexes/lage/defs.yaml"
TOPIC = "assets/beispiel/defs.yaml"
YAML = """\
type: pipelines.components.IndexComponent
attributes:
  id: lage
  title: {de: Index soziale Lage}
  definition: {de: Konstruiertes Beispiel.}
  indicators:
    - {indicator: arbeitslosenanteil, weight: 2}
    - {indicator: anteil_aelterer}
  universe:
    level: bezirk
    minimum: {measure: einwohner_15_64, at_least: 300}
    exclude:
      - {area: 99999000-BZ-3, reason: Gewerbegebiet}
  levels: [bezirk, stadt]
  classes:
    - {id: hoch, title: {de: hoch}, below: -1}
    - {id: mittel, title: {de: mittel}, up_to: 1}
    - {id: niedrig, title: {de: niedrig}}
  dynamics:
    years: 2
    classes:
      - {id: positiv, title: {de: positiv}, below: -1}
      - {id: sonst, title: {de: nicht positiv}}
  owner: team:sozialplanung
"""
SECOND = """
---
type: pipelines.components.IndicatorComponent
attributes:
  id: anteil_aelterer
  title: {de: Zweiter Anteil}
  definition: {de: Konstruiertes Beispiel.}
  unit: percent
  decimals: 1
  polarity: higher_is_better
  numerator: {measure: arbeitslose}
  denominator: {measure: einwohner_15_64}
  levels: {bezirk: counts, stadt: counts}
  owner: team:sozialplanung
---
type: pipelines.components.IndicatorComponent
attributes:
  id: nur_bezirke
  title: {de: Nur Bezirke}
  definition: {de: Konstruiertes Beispiel.}
  unit: percent
  decimals: 1
  polarity: neutral
  numerator: {measure: arbeitslose}
  denominator: {measure: einwohner_15_64}
  levels: {bezirk: counts}
  owner: team:sozialplanung
---
type: pipelines.components.IndicatorComponent
attributes:
  id: anzahl
  title: {de: Anzahl}
  definition: {de: Konstruiertes Beispiel.}
  unit: persons
  decimals: 0
  polarity: higher_is_worse
  numerator: {measure: arbeitslose}
  levels: {bezirk: counts, stadt: counts}
  owner: team:sozialplanung
"""


@pytest.fixture
def indexed(project: Path) -> Path:
    """The example project with a second indicator and an index."""
    topic, index = project / TOPIC, project / INDEX
    topic.write_text(topic.read_text(encoding="utf-8").rstrip("\n") + SECOND, encoding="utf-8")
    index.parent.mkdir(parents=True)
    index.write_text(YAML, encoding="utf-8")
    return project


def test_index_is_read(indexed: Path) -> None:
    assert list(load_project(indexed).indexes) == ["lage"]


NOT_THERE = "gibt es nicht; meinten Sie"
MISTAKES = [
    (
        "indicator: arbeitslosenanteil,",
        "indicator: arbeitslosenantel,",
        f"»arbeitslosenantel« {NOT_THERE} »arbeitslosena",
    ),
    ("indicator: anteil_aelterer", "indicator: nur_bezirke", "nötig: polarity higher_is_worse oder higher_is_better"),
    ("indicator: anteil_aelterer", "indicator: nur_bezirke", "nur_bezirke gibt es nicht auf der Ebene stadt"),
    ("indicator: anteil_aelterer", "indicator: anzahl", "anzahl ist eine Anzahl"),
    ("    level: bezirk", "    level: bezirke", f"»bezirke« {NOT_THERE} »bezirk«"),
    ("levels: [bezirk, stadt]", "levels: [bezirk, stad]", f"»stad« {NOT_THERE} »stadt«"),
    ("measure: einwohner_15_64,", "measure: einwohner_15_46,", f"»einwohner_15_46« {NOT_THERE} »einwohner_15_64«"),
    ("measure: einwohner_15_64,", "measure: arbeitslose, category: maenner,", "»maenner« gibt es nicht"),
    ("area: 99999000-BZ-3", "area: 99999000-BZ-4", f"»99999000-BZ-4« {NOT_THERE} »99999000-BZ-"),
    ("levels: [bezirk, stadt]", "levels: [bezirk, bezirk]", "»bezirk« steht schon weiter oben"),
    (
        "Gewerbegebiet}",
        "Hafen}\n      - {area: 99999000-BZ-3, reason: Messe}",
        "»99999000-BZ-3« steht schon weiter oben",
    ),
    ("area: 99999000-BZ-3", "area: '99999000'", "99999000 liegt auf der Ebene stadt, nicht auf bezirk"),
]


@pytest.mark.parametrize(("old", "new", "words"), MISTAKES, ids=[f"{m[1].strip()} {m[2][:20]}" for m in MISTAKES])
def test_mistake_is_told_with_its_line(indexed: Path, old: str, new: str, words: str) -> None:
    text = YAML.replace(old, new, 1)
    assert text != YAML
    (indexed / INDEX).write_text(text, encoding="utf-8")
    found = [p for p in problems_of(indexed) if words in p.message]
    assert [(p.file, p.line) for p in found] == [(INDEX, line_of(text, new.strip().splitlines()[-1]))]


CHANGES = [
    ("anteil_ältrer", "Muster"),
    ("anteil_aeltere", "»anteil_aeltere« gibt es nicht; meinten Sie »anteil_aelterer«"),
    ("nur_bezirke", "nur_bezirke gibt es nicht auf der Ebene stadt"),
    ("anzahl", "anzahl ist eine Anzahl"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_delivered_change_must_exist_on_these_levels(indexed: Path, change: str, words: str) -> None:
    text = YAML.replace("weight: 2}", "change: anteil_aelterer}")
    text = text.replace("{indicator: anteil_aelterer}", f"{{indicator: anteil_aelterer, change: {change}}}")
    (indexed / INDEX).write_text(text, encoding="utf-8")
    found = [p for p in problems_of(indexed) if words in p.message]
    assert [(p.file, p.line) for p in found] == [(INDEX, line_of(text, f"change: {change}}}"))]


def test_a_neutral_change_is_no_mistake(indexed: Path) -> None:
    """The direction is the indicator's own; a change in points needs none."""
    text = YAML.replace("levels: [bezirk, stadt]", "levels: [bezirk]")
    text = text.replace("weight: 2}", "change: nur_bezirke}").replace(
        "anteil_aelterer}", "anteil_aelterer, change: nur_bezirke}"
    )
    (indexed / INDEX).write_text(text, encoding="utf-8")
    assert load_project(indexed).indexes["lage"].indicators[1].change == "nur_bezirke"


def test_minimum_must_exist_where_areas_are_compared(indexed: Path) -> None:
    edit(indexed, lambda measure: measure["levels"].pop("bezirk"), document="Measure")
    text = YAML.replace("measure: einwohner_15_64,", "measure: arbeitslose,")
    (indexed / INDEX).write_text(text, encoding="utf-8")
    assert any("arbeitslose gibt es nicht auf der Ebene bezirk" in p.message for p in problems_of(indexed))


FINITE = "erwartet wird eine endliche Zahl, gelesen: "
NUMBERS = [
    ("weight: 2", "weight: .inf", "indicators.0.weight", f"{FINITE}».inf«"),
    ("weight: 2", "weight: .nan", "indicators.0.weight", f"{FINITE}».nan«"),
    ("weight: 2", "weight: 1.0e+400", "indicators.0.weight", f"{FINITE}».inf«"),
    ("weight: 2", "weight: 0", "indicators.0.weight", "erwartet wird eine Zahl größer als 0, gelesen: »0«"),
    ("weight: 2", "weight: -1", "indicators.0.weight", "erwartet wird eine Zahl größer als 0, gelesen: »-1«"),
    ("weight: 2", "weight: viel", "indicators.0.weight", "erwartet wird eine Zahl, gelesen: »viel«"),
    ("at_least: 300", "at_least: .inf", "universe.minimum.at_least", f"{FINITE}».inf«"),
    ("at_least: 300", "at_least: -3", "universe.minimum.at_least", "eine Zahl größer als 0, gelesen: »-3«"),
    ("hoch}, below: -1", "hoch}, below: -.inf", "classes.0.below", f"{FINITE}»-.inf«"),
    ("mittel}, up_to: 1}", "mittel}, up_to: .nan}", "classes.1.up_to", f"{FINITE}».nan«"),
    ("positiv}, below: -1", "positiv}, below: .inf", "dynamics.classes.0.below", f"{FINITE}».inf«"),
    ("years: 2", "years: 0", "dynamics.years", "eine Zahl von mindestens 1, gelesen: »0«"),
    ("years: 2", "years: 21", "dynamics.years", "eine Zahl von höchstens 20, gelesen: »21«"),
]


@pytest.mark.parametrize(("old", "new", "key", "words"), NUMBERS, ids=[n[1] for n in NUMBERS])
def test_impossible_number_is_told_with_its_line(indexed: Path, old: str, new: str, key: str, words: str) -> None:
    text = YAML.replace(old, new, 1)
    assert text != YAML
    (indexed / INDEX).write_text(text, encoding="utf-8")
    (problem,) = problems_of(indexed)
    assert (problem.file, problem.line) == (INDEX, line_of(text, new))
    assert problem.message.startswith(f"»{key}«: ")
    assert words in problem.message


COMPARISONS = [
    ({"area": "99999000-BZ-9"}, "»99999000-BZ-9« gibt es nicht; meinten Sie »99999000-BZ-"),
    ({"level": "stadd"}, "»stadd« gibt es nicht; meinten Sie »stadt«"),
]


@pytest.mark.parametrize(("comparison", "words"), COMPARISONS)
def test_benchmark_of_an_indicator_exists(project: Path, comparison: dict[str, str], words: str) -> None:
    edit(project, lambda indicator: indicator.update(comparison=comparison), document="Indicator")
    (problem,) = problems_of(project)
    text = (project / TOPIC).read_text(encoding="utf-8")
    assert words in problem.message
    assert (problem.file, problem.line) == (TOPIC, line_of(text, next(iter(comparison.values()))))


NO_FIGURES = "hat der Indikator arbeitslosenanteil keine Zahlen, verglichen würde nichts; entweder stadt unter levels"
WITHOUT_FIGURES = [
    ({"level": "stadt"}, f"auf der Ebene stadt {NO_FIGURES} aufnehmen oder eine der Ebenen bezirk nennen"),
    (
        {"area": CITY},
        f"{CITY} liegt auf der Ebene stadt; dort {NO_FIGURES} aufnehmen oder ein Gebiet der Ebenen bezirk nennen",
    ),
]


@pytest.mark.parametrize(("comparison", "words"), WITHOUT_FIGURES)
def test_benchmark_has_figures_of_the_indicator(project: Path, comparison: dict[str, str], words: str) -> None:
    only_districts = {"levels": {"bezirk": "counts"}, "comparison": comparison}
    edit(project, lambda indicator: indicator.update(only_districts), document="Indicator")
    (problem,) = problems_of(project)
    text = (project / TOPIC).read_text(encoding="utf-8")
    line = line_of(text, "comparison:") + 1
    assert (problem.file, problem.line, problem.message) == (TOPIC, line, words)


@pytest.mark.parametrize("comparison", [{"level": "bezirk"}, {"area": f"{CITY}-BZ-1"}, {}])
def test_benchmark_with_figures_is_no_mistake(project: Path, comparison: dict[str, str]) -> None:
    only_districts = {"levels": {"bezirk": "counts"}, "comparison": comparison}
    edit(project, lambda indicator: indicator.update(only_districts), document="Indicator")
    assert load_project(project).indicators["arbeitslosenanteil"].comparison.level == comparison.get("level")


def test_catalogue_lists_indexes(indexed: Path, project: Path) -> None:
    voice = Quiet()
    assert print_catalogue(indexed, voice) == 0
    line = next(line for line in voice.lines if "lage: " in line)
    assert "2 x arbeitslosenanteil + anteil_aelterer" in line
    assert "Dynamik über 2 Jahre" in line


def test_example_of_the_docs_is_the_index_we_ship() -> None:
    """The page shows the declaration of Kiel's index, from `indicators` on."""
    shipped = (ROOT / "assets/indexes/soziale_lage/defs.yaml").read_text(encoding="utf-8")
    part = shipped[shipped.index("  indicators:") : shipped.index("  owner:")]
    assert part in (ROOT / "docs/add_an_index.md").read_text(encoding="utf-8")
