"""Protects constructed tables: what stars alone give away, how long protection and audit take, what it costs.

    python benchmarks/protection.py [YEARS]

Two kinds of systems with fixed seeds, zeros published, threshold 3, city totals known to everybody: 1,226 areas in four
levels by sex, and tables of the size of Kiel's (30 Stadtteile, 18 Ortsteile, 6 Sozialzentrumsbereiche, the city) for
YEARS years (1 by default). Weights 1 / 1.5 / 2.5 per level, times (1 + 0.5 per total). The times to compare with are
those of a recorded prototype on a similar machine, for a system with as many cells and primary cells; where it
recorded none, there is no ratio. Prints Markdown tables.
"""

from __future__ import annotations

import itertools
import os
import platform
import sys
import time
from dataclasses import dataclass

import numpy as np

from pipelines.disclosure import heuristic
from pipelines.disclosure.attack import attack
from pipelines.disclosure.block import split
from pipelines.disclosure.protector import Pattern, Task, canonical, protect
from pipelines.disclosure.system import Flags, Relation, System

THRESHOLD = 3.0
LEVEL_WEIGHTS = (50.0, 2.5, 1.5, 1.0)
LARGE_LEVELS, KIEL_LEVELS = (1, 12, 110, 1103), (1, 6, 18, 30)
LARGE_MEANS = {117: 13.0, 442: 19.0, 1070: 6.8}
"""Mean count of a smallest area, by the number of primary cells it gives (about)."""

PROTOTYPE = {117: (0.3, 65.0, 63.5), 442: (9.6, 482.75, 456.5), 1070: (21.2, 726.75, 688.8)}
"""Seconds of heuristic with clean-up, weight, proven bound; for another system of the same size."""

INDICATORS = (0.10, 0.06, 0.045, 0.03, 0.02, 0.015, 0.01, 0.006, 0.004)
CERTIFICATES = (0.06, 0.2, 0.32, 0.05, 0.37)
LEAVERS = 0.009


@dataclass
class Result:
    """One protected system and its figures."""

    task: Task
    pattern: Pattern
    first: tuple[int, float, float]
    protect_seconds: float
    audit_seconds: tuple[float, float]
    leak: tuple[int, int]
    failures: int

    @property
    def primary(self) -> int:
        return int(self.task.closed.sum())

    @property
    def secondary(self) -> int:
        return int((self.pattern.suppressed & ~self.task.closed).sum())


def areas(levels: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Parent and level of each area; the areas of a level are spread evenly over those above."""
    parents, level, above = [-1], [0], [0]
    for depth, count in enumerate(levels[1:], 1):
        fresh = list(range(len(parents), len(parents) + count))
        parents += [above[number * len(above) // count] for number in range(count)]
        level += [depth] * count
        above = fresh
    return parents, level


def table(levels: tuple[int, ...], shares: np.ndarray, sizes: np.ndarray, seed: int) -> Task:
    """The task of areas x categories; index 0 of each category dimension is the total.

    Args:
        levels: number of areas per level.
        shares: expected share of the population in each cell of the category dimensions.
        sizes: population per smallest area.
        seed: of the random counts.
    """
    random = np.random.default_rng(seed)
    parents, level = areas(levels)
    shape = tuple(size + 1 for size in shares.shape)
    values = np.zeros((len(parents), *shape))
    for area, size in zip([a for a, depth in enumerate(level) if depth == len(levels) - 1], sizes, strict=True):
        uneven = np.exp(random.normal(0, 0.25, shares.shape))
        values[(area, *[slice(1, None)] * shares.ndim)] = random.poisson(size * shares * uneven)
    for area in reversed(range(1, len(parents))):
        values[parents[area]] += values[area]
    for axis in range(1, values.ndim):
        np.moveaxis(values, axis, 0)[0] = np.moveaxis(values, axis, 0)[1:].sum(axis=0)
    weights = np.zeros(values.shape)
    for at in np.ndindex(values.shape):
        weights[at] = LEVEL_WEIGHTS[level[at[0]]] * (1 + 0.5 * at[1:].count(0))
    public = np.zeros(values.shape, dtype=bool)
    public[0] = True
    names = ["/".join(f"{part:04d}" for part in at) for at in np.ndindex(values.shape)]
    system = System.of_values(names, values.ravel(), lower=1.0, relations=relations(values.shape, parents))
    return task_of(system, public.ravel(), weights.ravel())


def relations(shape: tuple[int, ...], parents: list[int]) -> list[Relation]:
    """Sums over areas and over each category dimension."""
    at = np.arange(np.prod(shape)).reshape(shape)
    found = []
    for parent in sorted(set(parents) - {-1}):
        lines = np.stack([at[parent], *[at[area] for area, above in enumerate(parents) if above == parent]])
        found += [line("gebiete", cells) for cells in lines.reshape(len(lines), -1).T.tolist()]
    for axis in range(1, len(shape)):
        lines = np.moveaxis(at, axis, -1).reshape(-1, shape[axis])
        found += [line("auspraegungen", cells) for cells in lines.tolist()]
    return found


def line(kind: str, cells: list[int]) -> Relation:
    """The first cell is the sum of the others."""
    return Relation(kind, kind, tuple(cells), (-1.0,) + (1.0,) * (len(cells) - 1))


def task_of(system: System, public: Flags, weights: np.ndarray) -> Task:
    """Cells of 1 and 2 are primary; zeros and the city are published."""
    values = system.known_low
    small = (values > 0) & (values < THRESHOLD)
    nothing = np.full(len(system), np.nan)
    free = (values >= THRESHOLD) & ~public
    return Task(system, free, small, weights, np.where(small, THRESHOLD, nothing), nothing, small.copy())


def large(primaries: int) -> Task:
    """1,226 areas x sex."""
    sizes = np.exp(np.random.default_rng(1).normal(-0.4, 0.9, LARGE_LEVELS[-1]))
    return table(LARGE_LEVELS, np.array([0.5, 0.5]), sizes * LARGE_MEANS[primaries], 1)


def kiel(kind: str, years: int) -> list[Task]:
    """All tables of a kind: A and B nine indicators each year, C and D one table each year."""
    steps = np.exp(np.random.default_rng(4).normal(8.7, 0.8, KIEL_LEVELS[-1]))
    people = np.clip(steps * 248_000 / steps.sum(), 420, 20_200)
    sex, certificates = np.array([0.5, 0.5]), np.array(CERTIFICATES)
    shares = {
        "A": [np.array([share]) for share in INDICATORS],
        "B": [share * sex for share in INDICATORS],
        "C": [LEAVERS * certificates],
        "D": [LEAVERS * np.outer(certificates, sex)],
    }[kind]
    seeds = itertools.count(100)
    tables = [table(KIEL_LEVELS, share, people, next(seeds)) for _ in range(years) for share in shares]
    return [flat(one) if kind == "A" else one for one in tables]


def flat(task: Task) -> Task:
    """A table without categories: only the totals."""
    keep = np.array([name.endswith("/0000") for name in task.system.names])
    place = np.cumsum(keep) - 1
    kept = [
        Relation(r.label, r.kind, tuple(int(place[cell]) for cell in r.cells), r.coefficients)
        for r in task.system.relations
        if keep[list(r.cells)].all()
    ]
    names = [name for name, wanted in zip(task.system.names, keep, strict=True) if wanted]
    system = System.of_values(names, task.system.known_low[keep], lower=1.0, relations=kept)
    public = np.array([name.startswith("0000/") for name in names])
    return task_of(system, public, task.weight[keep])


def first_pattern(task: Task) -> tuple[int, float, float]:
    """Secondary cells, weight and seconds of the plain heuristic with clean-up, the whole of it on its own."""
    start = time.perf_counter()
    order = np.array(sorted(range(len(task.system)), key=task.system.names.__getitem__), dtype=np.int64)
    whole = canonical(task, order)
    count, weight = 0, 0.0
    for _, block in split(whole, whole.exact & ~whole.free):
        state = heuristic.build(block)
        heuristic.clean(state)
        count, weight = count + int(state.pattern.sum()), weight + state.weight
    return count, weight, time.perf_counter() - start


def measure(task: Task) -> Result:
    """Protect a system, attack it before and after."""
    first = first_pattern(task)
    start = time.perf_counter()
    pattern = protect(task)
    seconds = time.perf_counter() - start
    primary, audit, failures = np.flatnonzero(task.closed), [], 0
    for integer in (False, True):
        start = time.perf_counter()
        found = attack(task.system, ~pattern.suppressed, integer=integer)
        audit.append(time.perf_counter() - start)
        wanted = np.isin(found.cells, primary)
        failures += int(((found.high < THRESHOLD - 1e-6) | (found.high - found.low < 1e-6))[wanted].sum())
    bare = attack(task.system, ~task.closed, primary)
    leak = int((bare.high - bare.low < 1e-6).sum()), int((bare.high < THRESHOLD - 1e-6).sum())
    return Result(task, pattern, first, seconds, (audit[0], audit[1]), leak, failures)


def row(name: str, results: list[Result], reference: tuple[float, float, float] | None) -> str:
    """One line of the table, summed over results."""
    primary = sum(result.primary for result in results)
    exact, small = (sum(result.leak[k] for result in results) for k in (0, 1))
    first = [sum(result.first[k] for result in results) for k in range(3)]
    weight, bound = (sum(getattr(result.pattern, key) for result in results) for key in ("weight", "bound"))
    proven = sum(result.pattern.method == "exact" for result in results)
    fields = [
        name,
        f"{sum(len(result.task.system) for result in results):,}",
        f"{primary:,}",
        f"{exact / max(1, primary):.1%} / {small / max(1, primary):.1%}",
        f"{first[0]} / {first[1]:g} / {first[2]:.1f} s",
        f"{first[2] / reference[0]:.2f}" if reference else "",
        f"{sum(result.secondary for result in results)} / {weight:g}",
        f"{bound:g} ({(weight - bound) / max(weight, 1):.1%})",
        f"{proven} of {len(results)}",
        f"{sum(result.protect_seconds for result in results):.1f} s",
        f"{sum(r.audit_seconds[0] for r in results):.2f} / {sum(r.audit_seconds[1] for r in results):.2f} s",
        str(sum(result.failures for result in results)),
    ]
    return "| " + " | ".join(fields) + " |"


HEAD = (
    "system",
    "cells",
    "primary",
    "primary stars alone: exact / below 3",
    "heuristic + clean-up: cells / weight / time",
    "time / prototype",
    "protected: cells / weight",
    "proven bound (gap)",
    "proven optimal",
    "protection in all",
    "audit linear / whole",
    "unsafe",
)


def main() -> None:
    """Measure all systems and print the table."""
    years = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
    for primaries, reference in PROTOTYPE.items():
        task = large(primaries)
        name = "1,226 areas x sex"
        if primaries == min(PROTOTYPE):
            task, name = flat(task), "1,226 areas"
        print(row(f"{name} (about {primaries:,})", [measure(task)], reference), flush=True)
    for kind in "ABCD":
        tables = kiel(kind, years)
        print(row(f"{kind}, {len(tables)} tables", [measure(task) for task in tables], None), flush=True)
    print()
    for primaries, (seconds, weight, bound) in PROTOTYPE.items():
        print(f"- prototype, {primaries:,} primary cells: {seconds} s, weight {weight}, proven bound {bound}")


if __name__ == "__main__":
    main()
