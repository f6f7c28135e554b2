"""What a project's author is told about mistakes in YAML: file, line, nearest key; never a traceback."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.project import ConfigError, load_project
from schemas.documents import COMPONENTS
from schemas.yaml_source import Problem, nearest, parse

TOPIC = "assets/beispiel/defs.yaml"
Change = Callable[..., list[Problem]]


def problems_of(root: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        load_project(root)
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    return caught.value.problems


def line_of(text: str, part: str) -> int:
    """Line on which `part` stands, counted without any YAML reader."""
    return text[: text.index(part)].count("\n") + 1


@pytest.fixture
def change(project: Path) -> Change:
    """Replace text in a file of the project (once) and return the problems."""

    def _change(old: str, new: str, file: str = TOPIC, *, loads: bool = False) -> list[Problem]:
        path = project / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return [] if loads else problems_of(project)

    return _change


def test_template_is_valid(project: Path) -> None:
    assert set(load_project(project).indicators) == {"arbeitslosenanteil"}


# ---------------------------------------------------------------- misspelt keys

MISSPELT = [
    ("publisher: Stat", "publischer: Stat", "publischer", "publisher"),
    ("symbols: {", "symbol: {", "symbol", "symbols"),
    ("level: bezirk}", "levle: bezirk}", "layout.area.levle", "level"),
    ("{column: Stichtag,", "{colum: Stichtag,", "layout.period.colum", "column"),
    ("{column: Arbeitslose,", "{spalte: A, columnn: Arbeitslose,", "layout.values.0.columnn", "column"),
    ("than: einw", "then: einw", "contract.not_above.0.then", "than"),
    ("{de: Arbeitslose, en: U", "{dee: Arbeitslose, en: U", "title.dee", "de"),
    ("{rolled_up: bezirk}", "{rolled_upp: bezirk}", "levels.stadt.0.rolled_upp", "rolled_up"),
    ("period_type: stichtag", "period_typ: stichtag", "period_typ", "period_type"),
    ("denominator: {measure", "denominator: {mesure", "denominator.mesure", "measure"),
    ("due: none", "due: {dayes: ['03-31']}", "due.dayes", "days"),
    ("levels: {bezirk: counts,", "levels: {bezirk: {raet: x},", "levels.bezirk.raet", "rate"),
]


@pytest.mark.parametrize(("old", "new", "key", "meant"), MISSPELT, ids=[m[2] for m in MISSPELT])
def test_misspelt_key_names_line_and_nearest_key(
    project: Path, change: Change, old: str, new: str, key: str, meant: str
) -> None:
    problems = change(old, new)
    line = line_of((project / TOPIC).read_text(encoding="utf-8"), new)
    told = [p for p in problems if f"»{key}«" in p.message]
    assert [(p.file, p.line) for p in told] == [(TOPIC, line)]
    assert f"meinten Sie »{meant}«" in told[0].message
    assert not [p for p in problems if "fehlt" in p.message], "a misspelt key is not also missing"


def test_key_of_a_union_member_is_explained_once(change: Change) -> None:
    problems = change("stadt: [{rolled_up: bezirk}]", "stadt: [{rolled_upp: bezirk}]")
    assert len(problems) == 1
    assert "rolled_up«" in problems[0].message


def test_missing_key_is_named(change: Change) -> None:
    problems = change("  unit: persons\n", "")
    assert [p.message for p in problems] == ["»unit« fehlt"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("unit: persons", "unit: person", "»person« ist nicht erlaubt; möglich: percent, persons, per_1000 oder ratio"),
        ("decimals: 1", "decimals: 9", "erwartet wird eine Zahl von höchstens 4, gelesen: »9«"),
        ("decimals: 1", "decimals: -1", "erwartet wird eine Zahl von mindestens 0, gelesen: »-1«"),
        ("decimals: 1", "decimals: .inf", "erwartet wird eine endliche Zahl, gelesen: ».inf«"),
        ("  kind: count\n", "  kind: count\n  tolerance: .inf\n", "»tolerance«: erwartet wird eine endliche Zahl"),
        ("  kind: count\n", "  kind: count\n  tolerance: -0.5\n", "eine Zahl von mindestens 0, gelesen: »-0.5«"),
        ("  kind: count\n", "  kind: count\n  minimum: -.inf\n", "»minimum«: erwartet wird eine endliche Zahl"),
        ("  kind: count\n", "  kind: count\n  maximum: .nan\n", "»maximum«: erwartet wird eine endliche Zahl"),
        ("decimals: 1", "decimals: eins", "eine ganze Zahl"),
        ("family: arbeitslose", "family: Arbeits Lose", "Muster"),
        ("bezirk: [beispiel]", "bezirk: beispiel", "eine Liste"),
        ("bezirk: [beispiel]", "bezirk: [3]", "ein Text"),
        ("title: {de: Arbeitslose, en: Unemployed persons}", "title: Arbeitslose", "eine Gruppe von Schlüsseln"),
        ('symbols: {"*": suppressed}', "symbols: {0: suppressed}", "in Anführungszeichen"),
        ('symbols: {"*": suppressed}', "symbols: {'* ': suppressed}", "ohne Leerzeichen"),
        ("due: none", "due: {days: ['02-30']}", "kein Tag, den es jedes Jahr gibt"),
        ("due: none", "due: {days: ['99-99']}", "kein Tag, den es jedes Jahr gibt"),
        ("due: none", "due: {days: ['٠١-٠١']}", "Muster"),
        ("due: none", "due: {days: []}", "mindestens 1"),
        ("due: none", "due: nie", "none"),
        ("{column: Stichtag, type: stichtag}", "{file_name: '(x', type: stichtag}", "regulärer Ausdruck"),
        ("{column: Stichtag, type: stichtag}", "{file_name: 'x', type: stichtag}", "(Klammer)"),
        ("  due: none", "  due: none\n  format: {delimiter: '\"'}", "Trennzeichen"),
        ("  due: none", "  due: none\n  format: {delimiter: ';;'}", "höchstens 1 Zeichen"),
        ("  due: none", "  due: none\n  format: {decimal: '.', thousands: '.'}", "nicht dasselbe Zeichen"),
    ],
)
def test_wrong_value_is_explained_in_german(project: Path, change: Change, old: str, new: str, words: str) -> None:
    problems = change(old, new)
    line = line_of((project / TOPIC).read_text(encoding="utf-8"), new.splitlines()[-1])
    assert [(p.file, p.line) for p in problems] == [(TOPIC, line)]
    assert words in problems[0].message
    assert not re.search(r"[Ii]nput should|valid (string|list)|less than|\bor\b", problems[0].message)


AGREES = "agrees: [{measure: arbeitslose, source: beispiel, with_measure: arbeitslose, tolerance_percent: %s}]"
CHANGED = "change: [{measure: arbeitslose, percent: %s, from_value: %s}]"
CONTRACT_NUMBERS = [
    (AGREES % ".inf", "contract.agrees.0.tolerance_percent", "eine endliche Zahl, gelesen: ».inf«"),
    (AGREES % "-1", "contract.agrees.0.tolerance_percent", "eine Zahl von mindestens 0, gelesen: »-1«"),
    (CHANGED % (".nan", "5"), "contract.change.0.percent", "eine endliche Zahl, gelesen: ».nan«"),
    (CHANGED % ("0", "5"), "contract.change.0.percent", "eine Zahl größer als 0, gelesen: »0«"),
    (CHANGED % ("30", ".inf"), "contract.change.0.from_value", "eine endliche Zahl, gelesen: ».inf«"),
]


@pytest.mark.parametrize(("rule", "key", "words"), CONTRACT_NUMBERS, ids=[f"{n[1]} {n[2]}" for n in CONTRACT_NUMBERS])
def test_impossible_number_of_a_contract(project: Path, change: Change, rule: str, key: str, words: str) -> None:
    (problem,) = change("  contract:\n", f"  contract:\n    {rule}\n")
    assert problem.line == line_of((project / TOPIC).read_text(encoding="utf-8"), rule)
    assert problem.message == f"»{key}«: erwartet wird {words}"


def test_unknown_type_names_the_nearest(project: Path, change: Change) -> None:
    problems = change("components.MeasureComponent", "components.MesureComponent")
    assert [p.line for p in problems] == [line_of((project / TOPIC).read_text(encoding="utf-8"), "MesureComponent")]
    assert "»pipelines.components.MesureComponent«; meinten Sie »pipelines.components.MeasureComponent«" in str(
        problems[0]
    )


def test_key_beside_type_and_attributes(change: Change) -> None:
    problems = change("attributes:\n  id: arbeitslose\n", "requirments: {}\nattributes:\n  id: arbeitslose\n")
    assert "»requirments« ist hier unbekannt" in problems[0].message


def test_duplicate_key_names_both_lines(project: Path, change: Change) -> None:
    problems = change("  kind: count\n", "  kind: count\n  kind: rate\n")
    first = line_of((project / TOPIC).read_text(encoding="utf-8"), "  kind: count")
    assert [(p.line, p.message) for p in problems] == [
        (first + 1, f"»kind« steht schon in Zeile {first}; eines streichen")
    ]


def test_duplicate_id_names_both_places(project: Path) -> None:
    shutil.copytree(project / "assets/beispiel", project / "assets/kopie")
    problems = problems_of(project)
    ids = {"beispiel", "arbeitslose", "einwohner_15_64", "arbeitslosenanteil"}
    assert {p.file for p in problems} == {"assets/kopie/defs.yaml"}
    assert {p.message.split("»")[1].split("«")[0] for p in problems} == ids
    assert all(f"gibt es schon in {TOPIC}:{p.line}" in p.message for p in problems)


# ---------------------------------------------------------------- broken YAML


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("type: x\nattributes: {a: [1, 2\n", 3),
        ("type: x\n attributes: {}\n", 2),
        ("type: x\nattributes:\n\t- a\n", 3),
        ("a: b\nc: \x07\n", 2),
        ("type: x\nattributes: {on: 2023-02-30}\n", 2),
        ("type: x\nattributes:\n  zahl: !!int ''\n", 3),
        ("a: &x [*x]\n", 1),
        ("a: *gibtsnicht\n", 1),
        ("- eine\n- Liste\n", 1),
        ("type: [a]\nattributes: {}\n", 1),
        ("? [a]\n: b\n", 1),
        ("<<: 3\n", 1),
        ("Nur ein Satz", 1),
        ("[" * 3000, 2),
        ("x: " + "9" * 5000, 1),
        ("!!python/object:os.system x", 1),
        ("a: &a [x,x]\nb: &b [*a,*a]\n" + "c: 1\n", 1),
    ],
)
def test_broken_yaml_names_the_line(text: str, line: int) -> None:
    parsed, problems = parse(text, "f.yaml")
    assert parsed == []
    assert [p.line for p in problems] in ([line], [line - 1])  # libyaml may name the line before an unexpected end
    assert problems[0].message


def test_multiplying_aliases_are_refused_quickly() -> None:
    rows = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "verschachtelt" in parse("\n".join(rows), "f.yaml")[1][0].message


def test_file_in_another_encoding_names_the_line(project: Path) -> None:
    path = project / TOPIC
    text = path.read_text(encoding="utf-8")
    path.write_bytes(text.encode("latin-1"))
    first = next(i for i, line in enumerate(text.splitlines(), 1) if not line.isascii())
    assert [(p.file, p.line) for p in problems_of(project)] == [(TOPIC, first)]


def test_problems_of_several_files_come_at_once(project: Path) -> None:
    for file in ("assets/areas/defs.yaml", "assets/release/defs.yaml", TOPIC):
        path = project / file
        path.write_text(path.read_text(encoding="utf-8").replace("owner:", "ownr:"), encoding="utf-8")
    (project / "assets/kaputt").mkdir()
    (project / "assets/kaputt/defs.yaml").write_text("a: [", encoding="utf-8")
    (project / "assets/kaputt/code.py").write_text("", encoding="utf-8")
    found = {p.file for p in problems_of(project)}
    kaputt = {"assets/kaputt/defs.yaml", "assets/kaputt/code.py"}
    assert found == {"assets/areas/defs.yaml", "assets/release/defs.yaml", TOPIC} | kaputt


def test_python_in_assets_is_refused(project: Path) -> None:
    (project / "assets/beispiel/extra.py").write_text("x = 1\n", encoding="utf-8")
    problems = problems_of(project)
    assert [p.file for p in problems] == ["assets/beispiel/extra.py"]
    assert "kein Python" in problems[0].message


@pytest.mark.parametrize("name", ["defs.yml", "Defs.yaml"])
def test_almost_right_file_name_is_not_passed_over(project: Path, name: str) -> None:
    (project / "assets/neu").mkdir()
    (project / "assets/neu" / name).write_text("type: x\n", encoding="utf-8")
    assert "muss defs.yaml heißen" in problems_of(project)[0].message


def test_folder_without_project(tmp_path: Path) -> None:
    assert "sozialraum init" in problems_of(tmp_path)[0].message


def test_areas_and_release_exist_once(project: Path) -> None:
    shutil.copytree(project / "assets/release", project / "assets/release2")
    assert "genau ein Dokument ReleaseComponent, hier sind es 2" in problems_of(project)[0].message
    shutil.rmtree(project / "assets/release2")
    shutil.rmtree(project / "assets/areas")
    assert "genau ein Dokument AreasComponent, hier sind es 0" in problems_of(project)[0].message


# ---------------------------------------------------------------- references

UNKNOWN = [
    ("measure: arbeitslose}\n      - {c", "measure: arbeitlose}\n      - {c", "measure: arbeitlose", "arbeitslose"),
    ("bezirk: [beispiel]", "bezirk: [beispeil]", "bezirk: [beispeil]", "beispiel"),
    ("level: bezirk}", "level: bezrik}", "level: bezrik", "bezirk"),
    ("complete: {bezirk: all}", "complete: {bezrik: all}", "complete: {bezrik", "bezirk"),
    ("complete: {bezirk: all}", "complete: {bezirk: [99999000-BZ-9]}", "complete: {bezirk: [9", "99999000-BZ-"),
    ("{measure: arbeitslose, than", "{measure: arbeitlose, than", "{measure: arbeitlose, than", "arbeitslose"),
    ("than: einwohner_15_64", "than: einwohner_15_65", "than: einwohner_15_65", "einwohner_15_64"),
    ("numerator: {measure: arb", "numerator: {measure: arbb", "numerator: {measure: arbb", "arbeitslose"),
    ("stadt: [{rolled_up: bezirk}]", "stadt: [{rolled_up: bezrik}]", "stadt: [{rolled_up: bezrik", "bezirk"),
    ("levels: {bezirk: counts", "levels: {bezrik: counts", "levels: {bezrik: counts", "bezirk"),
    ("levels: {bezirk: counts", "levels: {bezirk: {rate: arbeitlose}", "levels: {bezirk: {rate", "arbeitslose"),
]


@pytest.mark.parametrize(("old", "new", "place", "meant"), UNKNOWN, ids=[u[2] for u in UNKNOWN])
def test_unknown_reference_names_the_nearest(
    project: Path, change: Change, old: str, new: str, place: str, meant: str
) -> None:
    problems = change(old, new)
    line = line_of((project / TOPIC).read_text(encoding="utf-8"), place)
    hits = [p for p in problems if "gibt es nicht" in p.message and p.line == line]
    assert hits, list(map(str, problems))
    assert f"meinten Sie »{meant}" in hits[0].message


def test_unknown_category(change: Change) -> None:
    problems = change("numerator: {measure: arbeitslose}", "numerator: {measure: arbeitslose, category: insgesammt}")
    assert "category von arbeitslose: »insgesammt« gibt es nicht; meinten Sie »insgesamt«?" in problems[0].message


def test_unknown_fixed_area_is_reported_where_it_stands(project: Path, change: Change) -> None:
    old = "    area: {number: Nummer, name: Bezirk, level: bezirk}"
    problems = change(old, '    fixed_area: "99999001"')
    assert [p.line for p in problems] == [line_of((project / TOPIC).read_text(encoding="utf-8"), "fixed_area")]
    assert "meinten Sie »99999000«" in problems[0].message


def test_unquoted_area_id_is_explained(change: Change) -> None:
    problems = change('city: "99999000"', "city: 01002000", "assets/release/defs.yaml")  # YAML reads an octal number
    assert "in Anführungszeichen" in problems[0].message


def test_unknown_city(change: Change) -> None:
    problems = change('city: "99999000"', 'city: "99999001"', "assets/release/defs.yaml")
    assert "meinten Sie »99999000«" in problems[0].message


def test_comparison_with_a_measure_of_another_source_is_refused(change: Change) -> None:
    problems = change("      - {column: Einwohner 15-64, measure: einwohner_15_64}\n", "")
    assert any("Vergleich wäre wirkungslos" in p.message for p in problems)


def test_source_that_does_not_deliver_a_measure(change: Change) -> None:
    problems = change("measure: einwohner_15_64}\n  contract", "measure: arbeitslose}\n  contract")
    assert any("liefert einwohner_15_64 nicht" in p.message for p in problems)


def test_period_types_are_not_mixed(change: Change) -> None:
    problems = change("period_type: stichtag", "period_type: jahresdurchschnitt")
    assert any("arbeitslose hat period_type jahresdurchschnitt, die Quelle stichtag" in p.message for p in problems)


def test_area_of_another_level_in_complete(change: Change) -> None:
    problems = change("complete: {bezirk: all}", 'complete: {bezirk: ["99999000"]}')
    assert problems[0].message == "99999000 liegt auf der Ebene stadt, nicht auf bezirk"


# ---------------------------------------------------------------- rates


def test_rate_is_never_rolled_up(project: Path, change: Change) -> None:
    problems = change("kind: count", "kind: rate")
    assert [p.message for p in problems] == [
        "»levels.stadt«: Quoten werden nie summiert oder gemittelt; liefern Sie Zähler und Nenner als Anzahlen"
    ]
    assert problems[0].line == line_of((project / TOPIC).read_text(encoding="utf-8"), "stadt: [{rolled_up")


def test_rate_is_never_formed(project: Path, change: Change) -> None:
    old = "  levels:\n    bezirk: [beispiel]\n    stadt: [{rolled_up: bezirk}]\n---\ntype: pipelines.components.Measure"
    new = "  formed: {measure: einwohner_15_64}\n---\ntype: pipelines.components.Measure"
    change(old, new, loads=True)
    problems = change("kind: count", "kind: rate")
    assert "Zähler und Nenner" in problems[0].message


def test_measure_is_not_formed_from_a_rate(change: Change) -> None:
    old = "    bezirk: [beispiel]\n    stadt: [{rolled_up: bezirk}]\n---\ntype: pipelines.components.Measure"
    change(old, "    bezirk: [beispiel]\n---\ntype: pipelines.components.Measure", loads=True)
    change("kind: count", "kind: rate", loads=True)
    old = "  levels:\n    bezirk: [beispiel]\n    stadt: [{rolled_up: bezirk}]\n---\ntype: pipelines.components.Indi"
    problems = change(old, "  formed: {measure: arbeitslose}\n---\ntype: pipelines.components.Indi")
    assert any("arbeitslose ist eine Quote" in p.message and "Zähler und Nenner" in p.message for p in problems)


def test_sum_stands_last(change: Change) -> None:
    problems = change("stadt: [{rolled_up: bezirk}]", "stadt: [{rolled_up: bezirk}, beispiel]")
    assert "zuletzt" in problems[0].message


def test_two_corrections_of_one_cell_are_refused(project: Path, change: Change) -> None:
    one = (
        "    - {delivery: beispiel-0001, line: 2, column: A, expected: '1', value: '2', reason: r, "
        "reported_on: 2024-01-01, status: reported}\n"
    )
    problems = change("  due: none\n", f"  due: none\n  corrections:\n{one}{one}")
    assert "weiter oben schon berichtigt" in problems[0].message
    assert problems[0].line == line_of((project / TOPIC).read_text(encoding="utf-8"), one) + 1


# ---------------------------------------------------------------- properties


@pytest.fixture(scope="module")
def empty_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("projekt")
    (root / "assets/thema").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "dagster.yaml").touch()
    return root


YAMLISH = st.text(st.sampled_from("ab:-[]{}&*!|>%@`'\"#?,~ \n\t0179.<=é\u2028\x07"), max_size=60)
HEADED = st.builds(
    "type: {}\nattributes: {}\n".format,
    st.sampled_from(sorted(COMPONENTS)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text("abc*:'\"", max_size=8) | st.dates(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["id", "title", "levels", "layout", "due", "on", "de", "x"]), inner)
        ),
        max_leaves=8,
    ),
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=80) | YAMLISH | HEADED)
def test_any_text_gives_problems_never_a_traceback(empty_project: Path, text: str) -> None:
    (empty_project / "assets/thema/defs.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        load_project(empty_project)
    assert all(p.line >= 1 and p.message for p in caught.value.problems)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_problems(empty_project: Path, content: bytes) -> None:
    (empty_project / "assets/thema/defs.yaml").write_bytes(content)
    with pytest.raises(ConfigError):
        load_project(empty_project)


@given(st.sampled_from(["publisher", "arbeitslose", "reference_date"]), st.data())
def test_one_letter_missing_still_finds_the_word(word: str, data: st.DataObject) -> None:
    drop = data.draw(st.integers(0, len(word) - 1))
    assert nearest(word[:drop] + word[drop + 1 :], ["publisher", "arbeitslose", "reference_date", "x"]) == [word]
