"""Levels whose figures are always shown: each city is protected by itself, and never at the price of safety."""

from __future__ import annotations

import datetime as dt
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clearance import Unsafe
from pipelines.disclosure.past import Memory
from pipelines.disclosure.protection import prepare
from pipelines.disclosure.protector import Task, Unprotectable, protect
from pipelines.ledger import CellLedger
from pipelines.night import Night
from pipelines.project import ConfigError, load_project
from tests.conftest import run_night
from tests.test_history import NOW, edit, put
from tests.test_marts import text
from tests.test_protector import brute_force, is_safe, make, marginal, secondary, total
from tests.town import AREA_COLUMNS, CITY, MEMBER_COLUMNS, MEN, WOMEN, public, topic, town, write_topic

SOAK = os.environ.get("SOAK") == "1"
LEVELS = ("bezirk", "bereich", "stadt", "land")
LAND, OTHER = "99", "99998000"
CITIES = (CITY, OTHER)
CATEGORIES = ("weiblich", "maennlich", "insgesamt")
DAY = dt.timedelta(days=1)


def two_cities(folder: Path, always_shown: list[str]) -> Path:
    """The constructed town twice, in one Land."""
    town(folder)
    areas, members = [(LAND, "Musterland", "land")], []
    for city in CITIES:
        areas.append((city, f"Stadt {city}", "stadt"))
        members.append((city, LAND))
        for n in (1, 2):
            areas.append((f"{city}-BE-{n}", f"Bereich {city} {n}", "bereich"))
            members.append((f"{city}-BE-{n}", city))
        for n in range(1, 7):
            areas.append((f"{city}-BZ-{n}", f"Bezirk {city} {n}", "bezirk"))
            members.append((f"{city}-BZ-{n}", f"{city}-BE-{1 if n <= 3 else 2}"))
    rows = [f"{a},{name},{level},,,,{i},,konstruiert\n" for i, (a, name, level) in enumerate(areas)]
    (folder / "assets/areas/areas.csv").write_text(AREA_COLUMNS + "".join(rows), encoding="utf-8")
    rows = [f"{child},{parent},,,1,confirmed,konstruiert\n" for child, parent in members]
    (folder / "assets/areas/memberships.csv").write_text(MEMBER_COLUMNS + "".join(rows), encoding="utf-8")
    path = folder / "assets/areas/defs.yaml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["attributes"]["levels"] = [
        {"id": name, "title": text(name.title()), "plural": text(name.title()), "sort_key": i}
        for i, name in enumerate(LEVELS)
    ]
    path.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    write_topic(folder, topic(list(LEVELS), {}))
    settings_of = {"city": LAND, "always_shown": always_shown, "report": {"written": False}, "mass_change": None}
    edit(folder, lambda release: release.update(settings_of), topic="release", document="Release")
    return folder


def deliver(folder: Path, name: str, women: dict[str, list[int]], men: dict[str, list[int]] | None = None) -> None:
    """Counts by sex of both cities (those of the town, where none are given), and residents enough."""
    counts = [(city, (women.get(city, WOMEN), (men or {}).get(city, MEN))) for city in CITIES]
    lines = [
        f"Bezirk {city} {n};31.12.2022;{f};{m};{f + m}\n"
        for city, both in counts
        for n, (f, m) in enumerate(zip(*both, strict=True), 1)
    ]
    put(folder, "Bezirk;Zeit;weiblich;maennlich;insgesamt\n" + "".join(lines), name, "jugendamt")
    lines = [f"Bezirk {city} {n};31.12.2022;2000\n" for city in CITIES for n in range(1, 7)]
    put(folder, "Bezirk;Zeit;einwohner\n" + "".join(lines), name, "melderegister")


def withheld_sums(folder: Path) -> set[str]:
    """Cities and Land of which a figure is withheld."""
    return {area for (_, area), value in public(folder).items() if value is None and area in (LAND, *CITIES)}


def task_of(night: Night) -> Task:
    """What the protector solved in a project's first night."""
    ledger = CellLedger(night.project.paths.root / "leer", b"x" * 32)
    return prepare(night.project, night.observation, Memory(ledger))[0].task


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> list[Night]:
    """Three nights with `always_shown`; from the second on a figure of the first city is another each time."""
    folder = two_cities(tmp_path_factory.mktemp("zwei") / "Land", ["stadt", "land"])
    found = []
    for number in range(3):
        deliver(folder, f"lieferung{number}.csv", {CITY: [WOMEN[0] + 4 * number, *WOMEN[1:]]})
        found.append(run_night(folder, NOW + number * DAY))
    return found


# ---------------------------------------------------------------- a night


def test_cities_are_protected_apart_and_their_sums_stay(nights: list[Night]) -> None:
    """The attack on the finished files has passed, else nothing would be published."""
    first = nights[0]
    assert first.protection is not None and first.audit is not None and first.publication is not None
    assert (first.protection.components, first.protection.searched) == (2, 2)
    assert first.audit.leaks == []
    task = task_of(first)
    both = protect(replace(task, held=None))  # what joins them without the key: the Land as the sum of both
    assert len(both.components) == 1
    assert is_safe(task, protect(task).suppressed)
    assert withheld_sums(first.project.paths.root) == set()


def test_of_a_changed_figure_only_its_own_city_is_searched_again(nights: list[Night]) -> None:
    told = [night.protection for night in nights]
    assert [(p.components, p.searched) for p in told if p] == [(2, 2), (2, 1), (2, 1)]


def test_the_night_tells_the_condition_of_its_proof(nights: list[Night]) -> None:
    protection = nights[0].protection
    assert protection is not None
    assert "solange Zahlen der Ebenen Stadt, Land nicht zum Schutz anderer gesperrt werden" in protection.in_words()
    assert "Zahlen der Ebenen Stadt, Land werden zum Schutz anderer nur gesperrt, wo" in protection.attacker
    assert not any("always_shown" in note for note in protection.notes)


def test_where_only_a_sum_can_protect_it_is_withheld_and_the_night_says_so(tmp_path: Path) -> None:
    """Two women in the whole of a city: with the other city and the Land shown they would be told by subtraction."""
    folder = two_cities(tmp_path / "Land", ["stadt", "land"])
    deliver(folder, "lieferung.csv", {CITY: [0, 2, 0, 0, 0, 0]})
    night = run_night(folder, NOW)
    assert night.protection is not None and night.audit is not None
    assert night.audit.leaks == []
    assert public(folder)["weiblich", CITY] is None
    assert withheld_sums(folder) != {CITY}
    assert any("always_shown galt nicht für hilfen" in note and "2022-12-31" in note for note in night.protection.notes)
    assert is_safe(task_of(night), protect(task_of(night)).suppressed)


def test_the_attack_finds_what_such_a_sum_would_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The audit does not know the key: a protector that kept to it at any price would not get anything published."""
    folder = two_cities(tmp_path / "Land", ["stadt", "land"])
    deliver(folder, "lieferung.csv", {CITY: [0, 2, 0, 0, 0, 0]})

    def at_any_price(task: Task, **_: object) -> object:
        found = protect(task)
        assert task.held is not None
        return replace(found, suppressed=found.suppressed & ~task.held)

    monkeypatch.setattr("pipelines.disclosure.protection.protect", at_any_price)
    with pytest.raises(Unsafe):
        run_night(folder, NOW)


def test_an_unknown_level_is_named_with_its_line_and_the_nearest(nights: list[Night], tmp_path: Path) -> None:
    root = nights[0].project.paths.root
    copy = shutil.copytree(root / "assets", tmp_path / "Stadt/assets").parent
    (copy / "data").mkdir()
    shutil.copyfile(root / "dagster.yaml", copy / "dagster.yaml")
    edit(copy, lambda release: release.update(always_shown=["land", "stad"]), topic="release", document="Release")
    lines = (copy / "assets/release/defs.yaml").read_text(encoding="utf-8").splitlines()
    line = lines.index("  - stad") + 1
    with pytest.raises(ConfigError, match=rf"release/defs\.yaml:{line}\b.*Ebene »stad« gibt es nicht.*»stadt«"):
        load_project(copy)


# ---------------------------------------------------------------- the protector, against trying all patterns


def land(cities: list[list[int]]) -> tuple[Task, np.ndarray]:
    """Districts with their cities and the Land: the task of small counts, and the flags of the sums."""
    values, relations, sums = [], [], []
    for parts in cities:
        start = len(values)
        values += [*parts, sum(parts)]
        sums.append(start + len(parts))
        relations.append(total(sums[-1], range(start, sums[-1])))
    values.append(sum(values[place] for place in sums))
    relations.append(total(len(values) - 1, sums))
    small = [place for place, value in enumerate(values) if 0 < value < 3]
    free = [value > 0 for value in values]
    needs = dict.fromkeys(small, 3.0)
    numbers = [float(value) for value in values]
    task = make(numbers, relations, small, lower=1.0, free=free, high=needs, opened=small)
    held = np.zeros(len(values), dtype=bool)
    held[[*sums, len(values) - 1]] = True
    return replace(task, held=held & task.free), held


COUNT = st.one_of(st.integers(0, 4), st.integers(5, 40))


@given(st.lists(st.lists(COUNT, min_size=2, max_size=3), min_size=2, max_size=2))
@settings(max_examples=500 if SOAK else 50, deadline=None)
def test_sums_are_withheld_only_where_trying_all_patterns_finds_no_other(cities: list[list[int]]) -> None:
    task, sums = land(cities)
    apart = brute_force(replace(task, free=task.free & ~sums))
    if apart is None and brute_force(task) is None:
        with pytest.raises(Unprotectable):
            protect(task)
        return
    found = protect(task)
    assert is_safe(task, found.suppressed)
    if apart is None:
        assert found.lifted.any()
    else:
        assert not found.lifted.any()
        assert not sums[secondary(task, found)].any()
        assert found.weight == apart


def by_sex(cities: list[list[tuple[int, int]]]) -> Task:
    """Districts of cities by sex, with all margins; cities and (if there are several) their Land are held."""
    values: list[float] = []
    relations, tops = [], []
    for parts in cities:
        full, at, sums = marginal(parts)
        relations += [replace(r, cells=tuple(cell + len(values) for cell in r.cells)) for r in sums]
        tops.append(at[-1] + len(values))
        values += full.ravel().tolist()
    if len(cities) > 1:
        start = len(values)
        values += [sum(values[top[column]] for top in tops) for column in range(3)]
        relations += [total(start + column, [int(top[column]) for top in tops]) for column in range(3)]
        relations.append(total(start + 2, [start, start + 1]))
        tops.append(np.arange(start, start + 3))
    small = [place for place, value in enumerate(values) if 0 < value < 3]
    task = make(values, relations, small, lower=1.0, free=[v > 0 for v in values], high=dict.fromkeys(small, 3.0))
    held = np.zeros(len(values), dtype=bool)
    held[np.concatenate(tops)] = True
    return replace(task, held=held & task.free)


TABLE = st.lists(st.tuples(COUNT, COUNT), min_size=3, max_size=5)


@given(st.tuples(TABLE, TABLE))
@settings(max_examples=300 if SOAK else 30, deadline=None)
def test_a_city_gets_the_pattern_that_it_gets_alone(cities: tuple[list[tuple[int, int]], ...]) -> None:
    """Whatever the other city is like; the first has the same names alone and with it."""
    try:
        both = protect(task := by_sex(list(cities)))
    except Unprotectable:
        return  # nothing can be compared; which tasks that are is shown above
    assert is_safe(task, both.suppressed)
    if both.lifted.any():
        return
    assert not (both.suppressed & ~task.closed)[task.held].any()
    alone = protect(by_sex([cities[0]]))
    size = len(alone.suppressed)
    assert not alone.lifted.any()
    assert (both.suppressed[:size] == alone.suppressed).all()


def test_a_city_that_needs_a_sum_does_not_join_those_it_says_nothing_about() -> None:
    """Two Länder: what one of them has to let go leaves the cities of the other apart."""
    one, _ = land([[1, 0, 0], [9, 8, 7]])
    size = len(one.system)
    cities = [[1, 20, 30], [2, 40, 50]]
    both, _ = land(cities)
    alone = protect(both)
    assert (len(alone.components), alone.lifted.any()) == (2, False)
    assert protect(one).lifted.any()
    relations = [replace(r, cells=tuple(cell + size for cell in r.cells)) for r in both.system.relations]
    system = replace(one.system, names=[*one.system.names, *[f"b{name}" for name in both.system.names]])
    for name in ("known_low", "known_high", "lower", "upper", "whole"):
        setattr(system, name, np.concatenate([getattr(one.system, name), getattr(both.system, name)]))
    system.relations = [*one.system.relations, *relations]
    flags = ("free", "closed", "weight", "need_high", "need_low", "need_open", "held")
    joined = {name: np.concatenate([getattr(one, name), getattr(both, name)]) for name in flags}
    found = protect(Task(system, **joined))
    assert len(found.components) == 3
    assert not found.lifted[size:].any()
    assert (found.suppressed[size:] == alone.suppressed).all()
