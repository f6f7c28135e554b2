"""The protector: known optima, brute force, its promises under permutation, damage and failing solvers."""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.disclosure import exact, heuristic, improve, linear, protector
from pipelines.disclosure.attack import attack
from pipelines.disclosure.block import split
from pipelines.disclosure.protector import FileCache, SolverFailed, Task, Unprotectable, protect
from pipelines.disclosure.system import INFINITE, Relation, System

SOAK = os.environ.get("SOAK") == "1"
NAN = float("nan")


def total(whole, parts):
    """The relation total = sum of parts."""
    return Relation("", "", (whole, *parts), (-1.0,) + (1.0,) * len(parts))


def marginal(inner):
    """Values of a table with its margins, and its relations; positions row by row."""
    inner = np.asarray(inner, dtype=float)
    full = np.zeros((inner.shape[0] + 1, inner.shape[1] + 1))
    full[:-1, :-1] = inner
    full[-1, :-1] = inner.sum(axis=0)
    full[:, -1] = full[:, :-1].sum(axis=1)
    at = np.arange(full.size).reshape(full.shape)
    relations = [total(int(row[-1]), row[:-1].tolist()) for row in at]
    relations += [total(int(column[-1]), column[:-1].tolist()) for column in at.T]
    return full, at, relations


def make(
    values, relations, closed, *, lower=0.0, free=None, weight=None, high=None, low=None, opened=(), upper=INFINITE
):
    """A task; `closed` positions, needs as {position: value}."""
    names = [f"z{number:03d}" for number in range(len(values))]
    system = System.of_values(names, values, lower=lower, upper=upper, relations=relations)
    size = len(system)
    shut = np.zeros(size, dtype=bool)
    shut[list(closed)] = True
    free = ~shut if free is None else np.asarray(free, dtype=bool) & ~shut
    need_high, need_low, need_open = np.full(size, NAN), np.full(size, NAN), np.zeros(size, dtype=bool)
    for cell, need in (high or {}).items():
        need_high[cell] = need
    for cell, need in (low or {}).items():
        need_low[cell] = need
    need_open[list(opened)] = True
    weight = np.ones(size) if weight is None else np.maximum(np.asarray(weight, dtype=float), 1e-9)
    return Task(system, free, shut, weight, need_high, need_low, need_open)


def counts(inner, *, published_zeros=True, threshold=3, weight=None):
    """The task of a table of counts with margins: 1 and 2 are primary, the grand total is known to everybody."""
    full, at, relations = marginal(inner)
    values = full.ravel()
    small = np.flatnonzero((values > 0) & (values < threshold)).tolist()
    free = values > 0 if published_zeros else np.ones(len(values), dtype=bool)
    free[at[-1, -1]] = False
    low = None if published_zeros else dict.fromkeys(small, 0.0)
    needs = dict.fromkeys(small, float(threshold))
    lower = 1.0 if published_zeros else 0.0
    return make(values, relations, small, lower=lower, free=free, weight=weight, high=needs, low=low, opened=small)


def secondary(task, pattern):
    """Positions of the secondary cells."""
    return np.flatnonzero(pattern.suppressed & ~task.closed).tolist()


def is_safe(task, suppressed):
    """The attacker's verdict on a pattern, with whole numbers, written apart from the protector's own check."""
    needy = np.flatnonzero(~np.isnan(task.need_high) | ~np.isnan(task.need_low) | task.need_open)
    for integer in (False, True):
        found = attack(task.system, ~suppressed, needy, integer=integer)
        for cell, low, high in zip(needy, found.low, found.high, strict=True):
            if high < task.need_high[cell] - 1e-6 or low > task.need_low[cell] + 1e-6:
                return False
            if task.need_open[cell] and high - low < (1 - 1e-6 if task.system.whole[cell] else 1e-6):
                return False
    return True


def brute_force(task):
    """Weight of the cheapest safe pattern, by trying all; None if there is none."""
    cells = np.flatnonzero(task.free).tolist()
    patterns = [p for size in range(len(cells) + 1) for p in itertools.combinations(cells, size)]
    for pattern in sorted(patterns, key=lambda chosen: task.weight[list(chosen)].sum()):
        suppressed = task.closed.copy()
        suppressed[list(pattern)] = True
        if is_safe(task, suppressed):
            return float(task.weight[list(pattern)].sum())
    return None


def only_heuristic(task, monkeypatch):
    """The pattern of the way large components go."""
    with monkeypatch.context() as patch:
        patch.setattr(protector, "EXACT_CELLS", 0)
        patch.setattr(protector, "_is_tree", lambda block: False)
        return protect(task)


# --- Known optima ---------------------------------------------------------------------------------------------------


def test_four_by_two_magnitudes():
    """checkTauArgus, example 1: the other male cell, and both of C."""
    full, at, relations = marginal([[895, 137], [753, 973], [569, 486], [540, 793]])
    primary = int(at[0, 1])
    values = full.ravel()
    task = make(values, relations, [primary], weight=values, high={primary: 138.0}, low={primary: 136.0})
    found = protect(task)
    assert secondary(task, found) == [at[0, 0], at[2, 0], at[2, 1]]
    assert (found.weight, found.bound, found.method) == (1950.0, 1950.0, "exact")


def test_two_stars_per_row_and_still_open():
    """sdcTable, 4 x 4: subtraction finds nothing, an attacker finds wb = 47; one more star is enough."""
    full, at, relations = marginal([[30, 47, 64, 89], [90, 124, 5, 31], [92, 100, 59, 85], [800, 991, 651, 685]])
    values = full.ravel()
    w, x, y, z = range(4)
    a, b, c, d = range(4)
    stars = [int(at[p]) for p in [(w, a), (w, b), (w, c), (x, a), (x, c), (y, b), (y, d), (z, b), (z, d)]]
    wb = int(at[w, b])
    task = make(values, relations, stars, weight=values, opened=[wb])
    opened = attack(task.system, ~task.closed, np.array([wb]))
    assert (opened.low[0], opened.high[0]) == (47, 47)
    # the value is not told to the protector: closed cells may be unknown
    task.system.known_low[stars] = task.system.known_high[stars] = NAN
    found = protect(task)
    assert secondary(task, found) == [at[x, d]]
    assert (found.weight, found.method) == (31.0, "exact")
    interval = attack(task.system, ~found.suppressed, np.array([wb]))
    assert (interval.low[0], interval.high[0]) == (0, 78)


def test_linked_geographies():
    """sdcTable: each table alone is safe, together K = 3 is exact; the cheapest is N."""
    names = dict(zip("ABIJKLMN", (2, 2, 8, 8, 3, 3, 3, 7), strict=True))
    cells = list(names)
    values = list(names.values())
    groups = {"county1": "ABIJ", "county2": "KLMN", "big": "LM", "small": "ABIJKN"}
    relations = []
    for group in groups.values():
        values.append(sum(names[name] for name in group))
        relations.append(total(len(values) - 1, [cells.index(name) for name in group]))
    values.append(sum(names.values()))
    relations += [total(12, [8, 9]), total(12, [10, 11])]
    primary = [cells.index(name) for name in "ABKLM"]
    free = [name not in "ABKLM" for name in cells] + [False] * 5
    task = make(
        values, relations, primary, free=free, weight=values, high={c: values[c] + 1.0 for c in primary}, opened=primary
    )
    found = protect(task)
    assert secondary(task, found) == [cells.index("N")]
    assert found.weight == 7.0
    ranges = attack(task.system, ~found.suppressed, np.array([cells.index(name) for name in "KNLMAB"]))
    assert ranges.low.tolist() == [0] * 6
    assert ranges.high.tolist() == [10, 10, 6, 6, 4, 4]


def complement():
    """d = 10 20 30 40, n = 9 5 6 1 with hidden complements; all d and the total of n are published."""
    part, whole = [9, 5, 6, 1], [10, 20, 30, 40]
    rest = [w - p for w, p in zip(whole, part, strict=True)]
    values = [*part, *whole, *rest, sum(part), sum(whole), sum(rest)]
    relations = [total(4 + area, [area, 8 + area]) for area in range(4)]
    relations += [total(12, range(4)), total(13, range(4, 8)), total(14, range(8, 12)), total(13, [12, 14])]
    free = [True] * 3 + [False] * 12
    needs = {3: 3.0, 8: 3.0}
    return make(values, relations, [3, 8, 9, 10, 11, 14], free=free, high=needs, low=dict.fromkeys(needs, 0.0))


def test_hidden_complement():
    task = complement()
    found = protect(task)
    assert secondary(task, found) == [0]
    assert (found.weight, found.bound) == (1.0, 1.0)
    interval = attack(task.system, ~found.suppressed, np.array([3, 8]))
    assert (interval.low.tolist(), interval.high.tolist()) == ([0, 0], [10, 10])


# --- Against every pattern ------------------------------------------------------------------------------------------


def random_tables(number):
    """Small tables, some without published zeros."""
    random = np.random.default_rng(20261122)
    made = 0
    while made < number:
        shape = [(3, 3), (2, 4)][made % 2]
        inner = random.integers(0, 9, shape)
        task = counts(
            inner, published_zeros=made % 3 > 0, weight=random.choice([1, 1.5, 2.5], (shape[0] + 1) * (shape[1] + 1))
        )
        if task.closed.any() and task.free.sum() <= 13:
            made += 1
            yield task


@pytest.mark.soak
def test_exact_equals_brute_force_and_the_heuristic_is_safe(monkeypatch):
    for task in random_tables(400 if SOAK else 60):
        cheapest = brute_force(task)
        if cheapest is None:
            with pytest.raises(Unprotectable):
                protect(task)
            continue
        found = protect(task)
        assert found.method == "exact"
        assert found.weight == pytest.approx(cheapest)
        assert found.bound == pytest.approx(cheapest)
        assert is_safe(task, found.suppressed)
        quick = only_heuristic(task, monkeypatch)
        assert is_safe(task, quick.suppressed)
        assert quick.bound <= cheapest + 1e-6 <= quick.weight + 2e-6


@given(st.lists(st.lists(st.integers(0, 12), min_size=4, max_size=4), min_size=3, max_size=5), st.booleans())
@settings(max_examples=300 if SOAK else 25, deadline=None)
def test_every_pattern_is_safe_and_not_below_its_bound(inner, published_zeros):
    task = counts(inner, published_zeros=published_zeros)
    try:
        found = protect(task)
    except Unprotectable as error:
        suppressed = task.closed | task.free
        assert error.cells
        assert not is_safe(task, suppressed)
        return
    assert is_safe(task, found.suppressed)
    assert (found.suppressed >= task.closed).all()
    assert not (found.suppressed & ~task.closed & ~task.free).any()
    assert found.bound <= found.weight + 1e-9
    assert found.weight == pytest.approx(task.weight[found.suppressed & ~task.closed].sum())


def cube(seed, shape=(4, 3, 3)):
    """Three dimensions with all totals: no network, whole numbers may be rarer than real ones."""
    inner = np.random.default_rng(seed).poisson(4, shape).astype(float)
    full = inner
    for axis in range(3):
        full = np.concatenate([full, full.sum(axis=axis, keepdims=True)], axis=axis)
    at = np.arange(full.size).reshape(full.shape)
    relations = []
    for axis in range(3):
        lines = np.moveaxis(at, axis, -1).reshape(-1, full.shape[axis]).tolist()
        relations += [total(line[-1], line[:-1]) for line in lines]
    values = full.ravel()
    small = np.flatnonzero((values > 0) & (values < 3)).tolist()
    free = values > 0
    free[-1] = False
    return make(values, relations, small, lower=1.0, free=free, high=dict.fromkeys(small, 3.0), opened=small)


@pytest.mark.parametrize("seed", range(20 if SOAK else 3))
def test_three_dimensions(seed, monkeypatch):
    task = cube(seed)
    found, quick = protect(task), only_heuristic(task, monkeypatch)
    assert is_safe(task, found.suppressed)
    assert is_safe(task, quick.suppressed)
    assert found.bound <= quick.weight + 1e-9
    assert quick.bound <= found.weight + 1e-9


def tau_argus(task, full, folder):
    """Weight of tau-ARGUS's optimal pattern (OPT); its attacker starts from the table's smallest and largest value."""
    tau = importlib.import_module("pytauargus.engine")
    rows, columns = full.shape
    lines = []
    for number, (row, column) in enumerate(itertools.product(range(rows), range(columns))):
        codes = [f"r{row}" if row < rows - 1 else "T", f"c{column}" if column < columns - 1 else "T"]
        status = "U" if task.closed[number] else "S" if task.free[number] else "Z"
        need = 3 - int(full[row, column]) if task.closed[number] else 0
        lines.append(";".join([*codes, str(int(full[row, column])), str(task.weight[number]), status, "0", str(need)]))
    (folder / "t.tab").write_text("\n".join(lines) + "\n")
    variables = [f'{name}\n <RECODEABLE>\n <TOTCODE> "T"' for name in ("R", "C")]
    numbers = {"N": "<NUMERIC>\n <DECIMALS> 0", "W": "<NUMERIC> <COST>\n <DECIMALS> 2", "S": "<STATUS>"}
    numbers |= {"L": "<NUMERIC> <LOWERPL>\n <DECIMALS> 0", "U": "<NUMERIC> <UPPERPL>\n <DECIMALS> 0"}
    variables += [f"{name}\n {kind}" for name, kind in numbers.items()]
    head = '<SEPARATOR> ";"\n<SAFE> "S"\n<UNSAFE> "U"\n<PROTECT> "Z"\n'
    (folder / "t.rda").write_text(head + "\n".join(variables) + "\n")
    (folder / "t.arb").write_text(
        f'<OPENTABLEDATA> "{folder}/t.tab"\n<OPENMETADATA> "{folder}/t.rda"\n<SPECIFYTABLE> "R""C"|"N"||"W"\n'
        f'<SAFETYRULE>\n<READTABLE> 1\n<SUPPRESS> OPT(1,5)\n<WRITETABLE> (1,3,AS+,"{folder}/out.csv")\n'
    )
    tau.run_batch(folder / "t.arb")
    weight = 0.0
    for line in (folder / "out.csv").read_text().splitlines():
        row, column, _, status = [field.strip().strip('"') for field in line.replace(";", ",").split(",")][:4]
        at = (rows - 1 if row in ("T", "") else int(row[1:])) * columns
        at += columns - 1 if column in ("T", "") else int(column[1:])
        weight += task.weight[at] if status in ("11", "12") else 0.0
    return weight


if importlib.util.find_spec("pytauargus"):  # optional cross-check: pip install pytauargus (EUPL, no part of the lock)

    @pytest.mark.parametrize("seed", range(40 if SOAK else 8))
    def test_as_cheap_as_tau_argus(seed, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # its solver writes logs where it stands
        random = np.random.default_rng(seed)
        full, at, relations = marginal(random.poisson(4, (random.integers(4, 9), random.integers(3, 6))) + 1)
        values = full.ravel()
        small = np.flatnonzero(values < 3).tolist()
        free = np.ones(len(values), dtype=bool)
        free[at[-1, -1]] = False
        needs = dict.fromkeys(small, 3.0)
        task = make(values, relations, small, lower=values.min(), upper=values.max(), free=free, high=needs)
        assert protect(task).weight == pytest.approx(tau_argus(task, full, tmp_path))


# --- What cells can be ----------------------------------------------------------------------------------------------


def test_value_two_with_two_parts_asks_for_the_upper_side_only():
    """A total of 2 = 1 + 1 can never be less than 2 where stars are at least 1."""
    task = counts([[1, 1, 7], [8, 9, 6], [5, 9, 9]])
    assert is_safe(task, protect(task).suppressed)


def test_incoming_stars_without_value():
    """The source withheld two cells of a row: their values are known to nobody here, their sum is."""
    full, at, relations = marginal([[1, 6, 9], [7, 8, 5], [4, 9, 8]])
    values = full.ravel()
    values[[at[0, 0], at[0, 1]]] = NAN
    shut = [int(at[0, 0]), int(at[0, 1])]
    task = make(values, relations, shut, lower=1.0, high={shut[0]: 3.0}, opened=shut)
    found = protect(task)
    assert found.method == "exact"
    assert found.weight == 2.0
    assert is_safe(task, found.suppressed)


def test_a_cell_shown_as_an_interval_protects():
    """A published rate leaves 4 to 9 open; with the exact number instead, another cell has to go."""
    task = make([2, 6, 8], [total(2, [0, 1])], [0], lower=1.0, free=[False] * 3, high={0: 3.0}, opened=[0])
    task.system.known_low[1], task.system.known_high[1] = 4, 9
    assert secondary(task, protect(task)) == []
    task.system.known_low[1] = task.system.known_high[1] = 6
    with pytest.raises(Unprotectable) as error:
        protect(task)
    assert error.value.cells == ["z000"]


def test_an_interval_cell_can_be_suppressed_when_its_interval_is_too_narrow():
    task = make([2, 6, 8], [total(2, [0, 1])], [0], lower=0.0, free=[False, True, False], high={0: 5.0})
    task.system.known_low[1], task.system.known_high[1] = 5, 7
    found = protect(task)
    assert secondary(task, found) == [1]
    assert found.bound == 1.0


def test_weighted_sums_need_no_whole_numbers():
    task = make([0.5, 2.25, 2.75], [total(2, [0, 1])], [0], free=[False, True, False], high={0: 1.75}, opened=[0])
    task.system.whole[:] = False
    assert secondary(task, protect(task)) == [1]


def test_inequalities_protect_and_bound():
    """Long-term unemployed are unemployed: 2 <= 5 tells nothing; the sum over areas does."""
    relations = [Relation("", "", (0, 2), (-1.0, 1.0), 0.0, INFINITE), total(4, [0, 1])]
    task = make([2, 7, 5, 9, 9], relations, [0], lower=1.0, high={0: 3.0}, opened=[0])
    assert secondary(task, protect(task)) in ([1], [4])


def test_unmet_requirements_are_named_all_at_once():
    relations = [total(2, [0, 1]), total(5, [3, 4])]
    values = [2, 6, 8, 1, 9, 10]
    task = make(values, relations, [0, 3], free=[False] * 6, high={0: 3.0, 3: 3.0}, opened=[0, 3])
    with pytest.raises(Unprotectable) as error:
        protect(task)
    assert error.value.cells == ["z000", "z003"]
    assert "upper bound at least 3" in str(error.value)


def test_whole_numbers_can_make_a_requirement_impossible():
    """2 x + 2 y = 6 with the need x = 2 or more, y at least 2: possible in halves, not in whole numbers."""
    relations = [Relation("", "", (0, 1), (2.0, 2.0), 7.0, 7.0)]
    task = make([NAN, NAN], relations, [0, 1], high={0: 2.0})
    with pytest.raises(SolverFailed):
        protect(task)


def test_whole_numbers_ask_for_more_than_real_ones():
    """x + 2 y = 6: y may be 2.5 in real numbers if x is 1, which only whole numbers refuse."""
    # x is 0 or 1 while suppressed, y = (6 - x) / 2: open in real numbers, closed in whole ones; z helps
    relations = [Relation("", "", (0, 1, 2), (1.0, 2.0, 1.0), 6.0, 6.0)]
    task = make([0, 2, 2], relations, [1], free=[True, False, True], weight=[1, 1, 5], low={1: 1.5})
    task.system.upper[0] = 1
    found = protect(task)
    assert is_safe(task, found.suppressed)


def test_a_task_without_requirements_suppresses_nothing():
    task = make([2, 6, 8], [total(2, [0, 1])], [0])
    found = protect(task)
    assert secondary(task, found) == []
    assert (found.weight, found.bound, found.method, found.components) == (0.0, 0.0, "exact", [])


def test_a_closed_cell_without_relations_is_open():
    task = make([2], [], [0], high={0: 3.0}, opened=[0])
    assert protect(task).weight == 0.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda task: task.free.__setitem__(0, True), "free and closed"),
        (lambda task: task.weight.__setitem__(1, 0.0), "weight"),
        (lambda task: task.system.known_low.__setitem__(1, NAN), "published without a value"),
        (lambda task: task.need_high.__setitem__(1, 3.0), "required but not closed"),
        (lambda task: task.system.lower.__setitem__(1, 7.0), "possible while suppressed"),
        (lambda task: task.system.names.__setitem__(1, "z000"), "different names"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(change, words):
    task = make([2, 6, 8], [total(2, [0, 1])], [0], high={0: 3.0})
    change(task)
    with pytest.raises(ValueError, match=words):
        protect(task)


def test_contradicting_numbers_are_refused():
    task = make([2, 6, 9, 4], [total(2, [0, 1]), total(2, [1, 3])], [0], free=[False] * 4, high={0: 3.0})
    with pytest.raises(SolverFailed):
        protect(task)


# --- Same content, same pattern -------------------------------------------------------------------------------------


def permuted(task, seed):
    """The same task with cells and relations in another order; and where each cell went."""
    random = np.random.default_rng(seed)
    order = random.permutation(len(task.system))
    place = np.argsort(order)
    system, relations = task.system, []
    for number in random.permutation(len(system.relations)):
        old = system.relations[number]
        turn = random.permutation(len(old.cells))
        cells = tuple(int(place[old.cells[k]]) for k in turn)
        relations.append(Relation("other", "other", cells, tuple(old.coefficients[k] for k in turn), old.low, old.high))
    arrays = [getattr(system, name)[order] for name in ("known_low", "known_high", "lower", "upper", "whole")]
    other = System([system.names[old] for old in order], *arrays, relations)
    names = ("free", "closed", "weight", "need_high", "need_low", "need_open")
    return Task(other, *(getattr(task, name)[order] for name in names)), order


@pytest.mark.parametrize("large", [False, True])
def test_order_does_not_matter(large, monkeypatch):
    task = counts(np.random.default_rng(5).poisson(5, (6, 5)))
    solve = (lambda task: only_heuristic(task, monkeypatch)) if large else protect
    first = solve(task)
    assert (solve(task).suppressed == first.suppressed).all()
    for seed in range(4):
        other, order = permuted(task, seed)
        found = solve(other)
        assert (found.suppressed == first.suppressed[order]).all()
        assert (found.weight, found.bound) == (first.weight, first.bound)


# --- Cache ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def table():
    return counts([[1, 6, 9], [7, 8, 5], [4, 9, 2]])


def test_cached_patterns_are_used(table, tmp_path, monkeypatch):
    first = protect(table, cache=FileCache(tmp_path))
    assert len(list(tmp_path.iterdir())) == len(first.components)
    monkeypatch.setattr(heuristic, "build", None)
    again = protect(table, cache=FileCache(tmp_path))
    assert (again.suppressed == first.suppressed).all()
    assert (again.weight, again.bound, again.method) == (first.weight, first.bound, first.method)


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: entry | {"secondary": []},
        lambda entry: entry | {"secondary": entry["secondary"][:-1], "bound": 0},
        lambda entry: entry | {"secondary": [*entry["secondary"], "unknown"]},
        lambda entry: entry | {"bound": "NaN"},
        lambda entry: entry | {"method": "guess"},
        lambda entry: entry | {"bound": entry["bound"] - 1},
        lambda entry: [],
        lambda entry: None,
    ],
)
def test_a_damaged_cache_entry_never_weakens_protection(table, tmp_path, damage):
    first = protect(table, cache=FileCache(tmp_path))
    (file,) = tmp_path.iterdir()
    file.write_text(json.dumps(damage(json.loads(file.read_text()))))
    again = protect(table, cache=FileCache(tmp_path))
    assert (again.suppressed == first.suppressed).all()
    assert again.bound == first.bound


def test_half_a_cache_file_counts_as_none(table, tmp_path):
    first = protect(table, cache=FileCache(tmp_path))
    (file,) = tmp_path.iterdir()
    file.write_text(file.read_text()[:20])
    assert (protect(table, cache=FileCache(tmp_path)).suppressed == first.suppressed).all()
    assert json.loads(file.read_text())["method"] == "exact"


def test_any_change_of_content_is_another_key(table):
    def keys(task):
        whole = protector.canonical(task, np.arange(len(task.system)))
        return {protector._key(block) for _, block in split(whole, whole.exact & ~whole.free)}

    first = keys(table)
    assert keys(permuted(table, 0)[0]) != set()
    table.weight[4] += 0.5
    assert keys(table).isdisjoint(first)


# --- Failures -------------------------------------------------------------------------------------------------------


def test_a_failing_solver_is_no_pattern(table, monkeypatch):
    monkeypatch.setattr(linear, "ITERATIONS", 0)
    with pytest.raises(SolverFailed):
        protect(table)


@pytest.mark.parametrize("status", ["kTimeLimit", "kSolveError", "kUnknown", "kInterrupt", "kUnbounded"])
def test_every_other_status_raises_wherever_it_comes(table, monkeypatch, status):
    real = linear.highspy.Highs.getModelStatus
    wanted = getattr(linear.highspy.HighsModelStatus, status)
    asked: list[int] = []
    monkeypatch.setattr(linear.highspy.Highs, "getModelStatus", lambda self: asked.append(1) or real(self))
    protect(table)
    solves = len(asked)
    assert solves > 3
    for failing in range(solves):
        calls = itertools.count()
        monkeypatch.setattr(
            linear.highspy.Highs,
            "getModelStatus",
            lambda self, failing=failing, calls=calls: wanted if next(calls) >= failing else real(self),
        )
        try:
            found = protect(table)
        except SolverFailed:
            continue
        # the attacker's own models may be unbounded: an infinite bound is an answer
        assert status == "kUnbounded"
        assert is_safe(table, found.suppressed)


def test_a_pattern_that_the_attacker_breaks_is_not_returned(table, monkeypatch):
    """If the protector itself errs (here: it forgets all it chose), the attack repairs or refuses."""

    def forget(state, *_):
        state.pattern[:] = False
        return 0.0, False

    monkeypatch.setattr(exact, "solve", forget)
    found = protect(table)
    assert is_safe(table, found.suppressed)
    monkeypatch.setattr(heuristic, "widen", lambda state, numbers: None)
    with pytest.raises(SolverFailed, match="attacker"):
        protect(table)


def test_out_of_nodes_is_still_safe_and_bounded(monkeypatch):
    task = counts(np.random.default_rng(2).poisson(4, (8, 6)))
    best = protect(task)
    monkeypatch.setattr(exact.solve, "__defaults__", (exact.Limits(rounds=1, programs=1, nodes=0),))
    quick = protect(task)
    assert is_safe(task, quick.suppressed)
    assert quick.bound <= best.weight <= quick.weight


def test_local_search_only_improves(monkeypatch):
    task = counts(np.random.default_rng(3).poisson(4, (12, 8)))
    better = only_heuristic(task, monkeypatch)
    monkeypatch.setattr(improve, "improve", lambda state: None)
    plain = only_heuristic(task, monkeypatch)
    assert is_safe(task, better.suppressed)
    assert better.weight <= plain.weight


def two_cities_and_families(changed=0.0):
    """Four tables of five parts and their total: two cities, two families; `changed` is added to one figure."""
    values, relations, closed, high = [], [], [], {}
    for number in range(4):
        parts = [1.0, 20.0, 30.0, 40.0, 50.0]
        parts[1] += changed if number == 0 else 0.0
        start = len(values)
        values += [*parts, sum(parts)]
        relations.append(total(start + 5, range(start, start + 5)))
        closed.append(start)
        high[start] = 3.0
    return make(values, relations, closed, lower=1.0, high=high, opened=closed)


def test_a_changed_figure_has_only_its_own_city_and_family_searched_again(tmp_path):
    first = protect(two_cities_and_families(), cache=FileCache(tmp_path))
    assert [part.kept for part in first.components] == [False] * 4
    again = protect(two_cities_and_families(), cache=FileCache(tmp_path))
    assert [part.kept for part in again.components] == [True] * 4
    changed = protect(two_cities_and_families(changed=5.0), cache=FileCache(tmp_path))
    assert [part.kept for part in changed.components] == [False, True, True, True]
    assert (changed.suppressed == protect(two_cities_and_families(changed=5.0)).suppressed).all()
