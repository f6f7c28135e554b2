"""The attacker against published examples, against all completions of small tables, and when the solver fails."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import highspy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.disclosure import solver
from pipelines.disclosure.attack import Contradiction, SolverFailed, attack, attack_both, violated
from pipelines.disclosure.solver import Model
from pipelines.disclosure.system import INFINITE, Flags, Relation, System

SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def equation(label: str, total: int, parts: Sequence[int]) -> Relation:
    return Relation(label, "summe", (total, *parts), (-1.0, *[1.0] * len(parts)))


def table(rows: Sequence[Sequence[int]], lower: float = 0.0) -> System:
    """Rows and columns with their totals; cell (i, j) of r x c at i * (c + 1) + j."""
    inner = np.array(rows)
    height, width = inner.shape
    full = np.zeros((height + 1, width + 1))
    full[:height, :width] = inner
    full[height], full[:, width] = full[:height].sum(axis=0), full.sum(axis=1)
    full[height, width] = inner.sum()
    at = [[i * (width + 1) + j for j in range(width + 1)] for i in range(height + 1)]
    relations = [equation(f"Zeile {i}", at[i][width], at[i][:width]) for i in range(height + 1)]
    columns = [[row[j] for row in at] for j in range(width + 1)]
    relations += [equation(f"Spalte {j}", column[height], column[:height]) for j, column in enumerate(columns)]
    return System.of_values([f"z{n}" for n in range(full.size)], full.ravel(), lower=lower, relations=relations)


def without(system: System, stars: Sequence[int]) -> Flags:
    published = np.ones(len(system), dtype=bool)
    published[list(stars)] = False
    return published


def found(system: System, stars: Sequence[int], *, integer: bool = False) -> dict[int, tuple[float, float]]:
    result = attack(system, without(system, stars), integer=integer)
    return {int(c): (float(a), float(b)) for c, a, b in zip(result.cells, result.low, result.high, strict=True)}


# ---------------------------------------------------------------- examples from the literature


@pytest.mark.parametrize("integer", [False, True])
def test_three_by_three_of_fischetti_and_salazar(integer: bool) -> None:
    """Their published intervals."""
    system = table([[20, 50, 10], [8, 19, 22], [17, 32, 12]])
    assert found(system, [4, 6, 8, 10], integer=integer) == {4: (0, 25), 6: (5, 30), 8: (0, 25), 10: (4, 29)}


@pytest.mark.parametrize(("extra", "high"), [(None, None), (8, 78), (6, 141), (17, 116)])
def test_two_stars_per_row_and_still_open(extra: int | None, high: float | None) -> None:
    """The example of sdcTable: subtraction finds nothing, the attacker finds wb = 47; one more star closes it.

    Stars wa wb wc xa xc yb yd zb zd; the further ones are xd, xb and zc.
    """
    rows = [[30, 47, 64, 89], [90, 124, 5, 31], [92, 100, 59, 85], [800, 991, 651, 685]]
    stars = [0, 1, 2, 5, 7, 11, 13, 16, 18]
    if extra is None:
        assert found(table(rows), stars)[1] == (47, 47)
    else:
        assert found(table(rows), [*stars, extra])[1] == (0, high)


def test_linked_geographies_open_what_each_alone_keeps() -> None:
    """The example of sdcTable: two districts and two size classes over the same towns."""
    names = ["A", "B", "I", "J", "K", "L", "M", "N", "kreis1", "kreis2", "gross", "klein", "alle"]
    values = [2, 2, 8, 8, 3, 3, 3, 7, 20, 16, 6, 33 - 0, 36]
    values[11] = 2 + 2 + 8 + 8 + 3 + 7
    one, two = equation("Kreis 1", 8, [0, 1, 2, 3]), equation("Kreis 2", 9, [4, 5, 6, 7])
    big, small = equation("gross", 10, [5, 6]), equation("klein", 11, [0, 1, 2, 3, 4, 7])
    both = [equation("Kreise", 12, [8, 9]), equation("Klassen", 12, [10, 11])]
    stars = [0, 1, 4, 5, 6]
    first = System.of_values(names, values, relations=[one, two, both[0]])
    second = System.of_values(names, values, relations=[big, small, both[1]])
    joint = System.of_values(names, values, relations=[one, two, big, small, *both])
    assert all(low < high for system in (first, second) for low, high in found(system, stars).values())
    assert found(joint, stars)[4] == (3, 3)
    protected = found(joint, [*stars, 7])
    assert protected == {0: (0, 4), 1: (0, 4), 4: (0, 10), 7: (0, 10), 5: (0, 6), 6: (0, 6)}


def test_complement_of_a_published_whole() -> None:
    """Whole 10 20 30 40, parts 9 5 6 1, complements never published: one star protects neither the 1 nor 10 - 9."""
    values = [10, 20, 30, 40, 9, 5, 6, 1, 100, 21]
    system = System.of_values(
        [f"z{n}" for n in range(14)],
        [*values, *[float("nan")] * 4],
        relations=[
            equation("Summe Ganzes", 8, [0, 1, 2, 3]),
            equation("Summe Teil", 9, [4, 5, 6, 7]),
            *[equation(f"Teil und Rest {i}", i, [4 + i, 10 + i]) for i in range(4)],
        ],
    )
    hidden = [10, 11, 12, 13]
    one = found(system, [7, *hidden])
    assert (one[7], one[10]) == ((1, 1), (1, 1))
    two = found(system, [4, 7, *hidden])
    assert (two[7], two[10]) == ((0, 10), (0, 10))


def test_zero_published_opens_a_star_that_is_at_least_one() -> None:
    """3 = star + star + star leaves nothing open where no star can be 0."""
    assert found(table([[1, 1, 1], [5, 5, 5]], lower=1), [0, 1, 2, 4, 5, 6])[0] == (1, 1)
    assert found(table([[1, 1, 1], [5, 5, 5]], lower=0), [0, 1, 2, 4, 5, 6])[0] == (0, 3)


# ---------------------------------------------------------------- whole numbers, intervals, no bounds


def test_whole_numbers_prove_more_than_the_linear_model() -> None:
    """2x + 2y = 3z with z between 1 and 3: linear 1..3, in whole numbers only 2."""
    system = System.of_values(
        ["x", "y", "z"],
        [1, 2, 2],
        lower=[0, 0, 1],
        upper=[9, 9, 3],
        relations=[Relation("gewichtet", "test", (0, 1, 2), (2.0, 2.0, -3.0))],
    )
    nothing = np.zeros(3, dtype=bool)
    linear, both = attack(system, nothing), attack_both(system, nothing)
    assert (linear.low[2], linear.high[2]) == (1, 3)
    assert (both.low[2], both.high[2]) == (2, 2)
    assert (both.low[0], both.high[0]) == (0, 3)
    chosen = attack_both(system, nothing, matters=lambda found: found.cells == 2)
    assert (chosen.high.tolist(), chosen.low[2]) == ([*linear.high[:2], 2], 2)
    spared = attack_both(system, nothing, matters=lambda found: np.zeros(len(found.cells), dtype=bool))
    assert spared.high.tolist() == linear.high.tolist()


def test_no_whole_solution_is_a_contradiction() -> None:
    system = System.of_values(["x", "y"], [0, 0], upper=5, relations=[Relation("ungerade", "t", (0, 1), (2, 2), 3, 3)])
    assert attack(system, np.zeros(2, dtype=bool)).high.tolist() == [1, 1]
    with pytest.raises(Contradiction):
        attack(system, np.zeros(2, dtype=bool), integer=True)


def test_weighted_sums_are_not_rounded() -> None:
    system = System.of_values(["x", "y"], [0.5, 1.0], upper=5, relations=[Relation("g", "t", (0, 1), (2, 1), 2, 2)])
    system.whole[0] = False
    result = attack(system, np.zeros(2, dtype=bool))
    assert result.high.tolist() == [1.0, 2.0]


def test_a_rounded_rate_is_an_interval() -> None:
    """A published interval restricts the others and is itself narrowed by them."""
    system = System.of_values(["x", "y", "sum"], [2, 7, 9], relations=[equation("Summe", 2, [0, 1])])
    system.known_low[0], system.known_high[0] = 1, 4
    result = attack(system, np.array([True, False, True]), np.array([0, 1, 2]))
    assert (result.low.tolist(), result.high.tolist()) == ([1, 5, 9], [4, 8, 9])
    system.lower[1] = 7
    result = attack(system, np.array([True, False, True]), np.array([0]))
    assert (result.low[0], result.high[0]) == (1, 2)


@pytest.mark.parametrize("integer", [False, True])
def test_without_a_total_there_is_no_upper_end(integer: bool) -> None:
    system = System.of_values(["x", "y", "sum"], [2, 7, 9], lower=1, relations=[equation("Summe", 2, [0, 1])])
    result = attack(system, np.zeros(3, dtype=bool), integer=integer)
    assert result.low.tolist() == [1, 1, 2]
    assert result.high.tolist() == [INFINITE] * 3
    alone = attack(System.of_values(["x"], [2], lower=1), np.zeros(1, dtype=bool))
    assert (alone.low[0], alone.high[0]) == (1, INFINITE)


def test_published_cells_are_what_they_are() -> None:
    system = table([[20, 50, 10], [8, 19, 22]])
    everything = np.ones(len(system), dtype=bool)
    result = attack(system, everything, np.arange(len(system)))
    assert result.low.tolist() == result.high.tolist() == system.known_low.tolist()


def test_an_unknown_value_cannot_be_read() -> None:
    """A cell flagged as published whose value nobody has stays open."""
    system = System.of_values(["x", "y", "s"], [float("nan"), 7, 9], relations=[equation("s", 2, [0, 1])])
    assert attack(system, np.ones(3, dtype=bool), np.array([0])).low[0] == 2


def test_a_cell_named_twice_in_a_relation() -> None:
    system = System.of_values(["x", "s"], [3, 6], relations=[Relation("doppelt", "t", (1, 0, 0), (-1, 1, 1))])
    result = attack(system, np.array([False, True]))
    assert (result.low[0], result.high[0]) == (3, 3)


# ---------------------------------------------------------------- contradictions and failures


def test_published_numbers_that_do_not_add_up_are_named() -> None:
    system = table([[20, 50, 10], [8, 19, 22]])
    system.known_low[0] = system.known_high[0] = 21
    everything = np.ones(len(system), dtype=bool)
    assert [relation.label for relation in violated(system, everything)] == ["Zeile 0", "Spalte 0"]
    with pytest.raises(Contradiction, match="Zeile 0"):
        attack(system, everything)


def test_impossible_stars_are_a_contradiction() -> None:
    """Two stars of at least 1 in a total of 1."""
    system = System.of_values(["x", "y", "s"], [1, 0, 1], lower=1, relations=[equation("s", 2, [0, 1])])
    with pytest.raises(Contradiction):
        attack(system, np.array([False, False, True]))
    crossed = System.of_values(["x", "y"], [1, 1], lower=3, upper=2, relations=[equation("s", 0, [1])])
    with pytest.raises(Contradiction):
        attack(crossed, np.zeros(2, dtype=bool))


STATES = [
    status
    for name, status in highspy.HighsModelStatus.__members__.items()
    if name not in ("kOptimal", "kUnbounded", "kUnboundedOrInfeasible", "kMin", "kMax")
]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("at", [0, 1, 3])
def test_any_other_state_than_optimal_raises(
    monkeypatch: pytest.MonkeyPatch, state: highspy.HighsModelStatus, integer: bool, at: int
) -> None:
    """In the first solve and in later ones; the solver's own numbers look fine all the while."""
    real, calls = highspy.Highs.getModelStatus, itertools.count()

    def status(highs: highspy.Highs) -> highspy.HighsModelStatus:
        return state if next(calls) >= at else real(highs)

    monkeypatch.setattr(highspy.Highs, "getModelStatus", status)
    system = table([[20, 50, 10], [8, 19, 22], [17, 32, 12]])
    with pytest.raises(SolverFailed):
        attack(system, without(system, [4, 6, 8, 10]), integer=integer)


def test_an_undecided_solve_is_repeated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A linear model gets a second chance without the last basis; its answer is checked like any other."""
    real, calls, fresh = highspy.Highs.getModelStatus, itertools.count(), []
    unknown, clear = highspy.HighsModelStatus.kUnknown, highspy.Highs.clearSolver
    monkeypatch.setattr(highspy.Highs, "getModelStatus", lambda h: unknown if next(calls) == 1 else real(h))

    def cleared(highs: highspy.Highs) -> None:
        fresh.append(1)
        clear(highs)

    monkeypatch.setattr(highspy.Highs, "clearSolver", cleared)
    system = table([[20, 50, 10], [8, 19, 22], [17, 32, 12]])
    assert found(system, [4, 6, 8, 10]) == {4: (0, 25), 6: (5, 30), 8: (0, 25), 10: (4, 29)}
    assert fresh == [1]


def test_without_an_end_in_every_order() -> None:
    """Stars that reach the grand total have no upper end; the solver sometimes ends undecided on the way."""
    random = np.random.default_rng(0)
    for _ in range(300):
        system = table([[0, 0, 1], [2, 0, 0]])
        system.relations = [system.relations[number] for number in random.permutation(len(system.relations))]
        result = found(system, [0, 1, 3, 5, 7, 8, 11])
        assert result[11] == (3, INFINITE)


def test_a_false_unbounded_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = highspy.Highs.getModelStatus, itertools.count()
    false = highspy.HighsModelStatus.kUnbounded
    monkeypatch.setattr(highspy.Highs, "getModelStatus", lambda h: false if next(calls) == 1 else real(h))
    system = table([[20, 50, 10], [8, 19, 22], [17, 32, 12]])
    with pytest.raises(SolverFailed):
        attack(system, without(system, [4, 6, 8, 10]))


@pytest.mark.parametrize("vector", ["zeros", "nothing", "nan"])
def test_a_solution_that_breaks_the_relations_raises(monkeypatch: pytest.MonkeyPatch, vector: str) -> None:
    """A status of `optimal` with zeros has been seen in practice (see the module docstring of the solver)."""

    class Broken:
        def __init__(self, size: int) -> None:
            self.col_value = {"zeros": [0.0] * size, "nothing": [], "nan": [float("nan")] * size}[vector]

    monkeypatch.setattr(highspy.Highs, "getSolution", lambda highs: Broken(highs.getNumCol()))
    system = table([[20, 50, 10], [8, 19, 22], [17, 32, 12]])
    with pytest.raises(SolverFailed):
        attack(system, without(system, [4, 6, 8, 10]))


def test_a_model_the_solver_does_not_accept_raises() -> None:
    with pytest.raises(SolverFailed):
        Model(np.zeros(1), np.ones(1), [Relation("nan", "t", (0,), (float("nan"),))])
    with pytest.raises(SolverFailed):
        Model(np.zeros(1), np.ones(1), [Relation("keine Zelle", "t", (5,), (1.0,))])


def test_time_over_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cornuéjols and Dawande's market split: hopeless for branch and bound."""
    monkeypatch.setattr(solver, "MIP_SECONDS", 0.05)
    weights = np.random.default_rng(1).integers(0, 100, (5, 40)).astype(float)
    halves = [float(row.sum() // 2) for row in weights]
    relations = [
        Relation("t", "t", tuple(range(40)), tuple(row), half, half) for row, half in zip(weights, halves, strict=True)
    ]
    with pytest.raises(SolverFailed, match="kTimeLimit"):
        Model(np.zeros(40), np.ones(40), relations, np.ones(40, dtype=bool))


# ---------------------------------------------------------------- properties


@st.composite
def starred(draw: st.DrawFn) -> tuple[System, list[int]]:
    """A small table with at least one star anywhere."""
    height, width = draw(st.integers(2, 3)), draw(st.integers(2, 3))
    rows = draw(st.lists(st.lists(st.integers(0, 5), min_size=width, max_size=width), min_size=height, max_size=height))
    system = table(rows)
    stars = draw(st.lists(st.integers(0, len(system) - 1), min_size=1, max_size=7, unique=True))
    return system, sorted(stars)


@given(starred(), st.data())
@SLOW
def test_more_stars_never_shrink_an_interval(case: tuple[System, list[int]], data: st.DataObject) -> None:
    system, stars = case
    more = sorted({*stars, data.draw(st.integers(0, len(system) - 1))})
    before, after = found(system, stars), found(system, more)
    assert all(after[c][0] <= before[c][0] and before[c][1] <= after[c][1] for c in stars)


@given(starred(), st.data())
@SLOW
def test_a_further_relation_never_widens_an_interval(case: tuple[System, list[int]], data: st.DataObject) -> None:
    system, stars = case
    cells = data.draw(st.lists(st.integers(0, len(system) - 1), min_size=1, max_size=4, unique=True))
    before = found(system, stars)
    total = float(system.known_low[cells].sum())
    system.relations.append(Relation("neu", "t", tuple(cells), (1.0,) * len(cells), total, total))
    after = found(system, stars)
    assert all(before[c][0] <= after[c][0] and after[c][1] <= before[c][1] for c in stars)


@given(starred(), st.randoms(use_true_random=False), st.booleans())
@SLOW
def test_the_order_of_cells_and_relations_changes_nothing(
    case: tuple[System, list[int]], random: object, integer: bool
) -> None:
    system, stars = case
    order = list(range(len(system)))
    random.shuffle(order)  # type: ignore[attr-defined]
    place = {old: new for new, old in enumerate(order)}
    relations = [Relation(r.label, r.kind, tuple(place[c] for c in r.cells), r.coefficients) for r in system.relations]
    random.shuffle(relations)  # type: ignore[attr-defined]
    other = System.of_values([str(n) for n in order], system.known_low[order], relations=relations)
    moved = found(other, sorted(place[c] for c in stars), integer=integer)
    assert {c: moved[place[c]] for c in stars} == found(system, stars, integer=integer)


def completions(system: System, stars: Sequence[int], highest: int) -> np.ndarray:
    """All whole values of the stars (columns) between 0 and `highest` that satisfy every relation."""
    grid = np.array(list(itertools.product(range(highest + 1), repeat=len(stars))), dtype=float)
    full = np.tile(system.known_low, (len(grid), 1))
    full[:, stars] = grid
    good = np.ones(len(grid), dtype=bool)
    for relation in system.relations:
        sums = full[:, relation.cells] @ np.array(relation.coefficients)
        good &= (sums >= relation.low - 1e-9) & (sums <= relation.high + 1e-9)
    return grid[good]


@given(starred(), st.integers(0, 1), st.data())
@SLOW
def test_intervals_against_all_completions(case: tuple[System, list[int]], lower: int, data: st.DataObject) -> None:
    """Integer intervals are exactly those of all completions, linear ones contain them; also with odd relations."""
    system, stars = case
    stars = [star for star in stars[:5] if system.known_low[star] >= lower] or stars[:1]
    lower = min(lower, int(system.known_low[stars].min()))
    highest = 6
    system.lower[:], system.upper[:] = lower, np.maximum(highest, system.known_low)
    system.upper[stars] = np.maximum(highest, system.known_low[stars])
    highest = int(system.upper[stars].max())
    if highest ** len(stars) > 60_000:
        stars = stars[:3]
    if data.draw(st.booleans()):
        weights = data.draw(st.lists(st.integers(-3, 3), min_size=len(stars), max_size=len(stars)))
        total = float(np.dot(weights, system.known_low[stars]))
        system.relations.append(Relation("schief", "t", tuple(stars), tuple(map(float, weights)), total, total))
    all_values = completions(system, stars, highest)
    kept = (all_values >= system.lower[stars]).all(axis=1) & (all_values <= system.upper[stars]).all(axis=1)
    all_values = all_values[kept]
    exact = {star: (float(v.min()), float(v.max())) for star, v in zip(stars, all_values.T, strict=True)}
    assert found(system, stars, integer=True) == exact
    linear = found(system, stars)
    assert all(linear[s][0] <= exact[s][0] and exact[s][1] <= linear[s][1] for s in stars)
