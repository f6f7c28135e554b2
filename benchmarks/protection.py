from __future__ import annotations
import sys, time
import numpy as np
from pipelines.disclosure.protector import Task, protect
from pipelines.disclosure.system import Relation, System, INFINITE
from pipelines.disclosure.attack import attack


def tree(counts):
    """Area tree by level sizes: parents list per area, levels."""
    parents = [-1]
    level = [0]
    prev = [0]
    for depth, count in enumerate(counts[1:], 1):
        new = []
        for k in range(count):
            parents.append(prev[k * len(prev) // count])
            level.append(depth)
            new.append(len(parents) - 1)
        prev = new
    return parents, level


def table(counts, shares, mean, spread, seed, categories=(2,), weights=(50, 2.5, 1.5, 1)):
    """Areas x category dims; every dimension has a total at index 0."""
    rng = np.random.default_rng(seed)
    parents, level = tree(counts)
    areas = len(parents)
    leaves = [a for a in range(areas) if level[a] == len(counts) - 1]
    shape = tuple(c + 1 for c in categories)
    values = np.zeros((areas,) + shape)
    inner = tuple(slice(1, None) for _ in shape)
    probs = np.array(shares, dtype=float).reshape(categories)
    probs /= probs.sum()
    for a in leaves:
        size = mean * np.exp(rng.normal(0, spread) - spread**2 / 2)
        values[(a,) + inner] = rng.poisson(size * probs * np.exp(rng.normal(0, 0.2, categories)))
    for a in reversed(range(areas)):
        if parents[a] >= 0:
            values[parents[a]] += values[a]
    for d in range(len(shape)):
        first = (slice(None),) * (d + 1)
        values[first + (0,)] = values[first + (slice(1, None),)].sum(axis=d + 1)
    ids = np.arange(values.size).reshape(values.shape)
    relations = []
    kids = {}
    for a, p in enumerate(parents):
        if p >= 0:
            kids.setdefault(p, []).append(a)
    for p, ks in kids.items():
        for rest in np.ndindex(shape):
            cells = [ids[(p,) + rest]] + [ids[(k,) + rest] for k in ks]
            relations.append(Relation("", "gebiete", tuple(int(c) for c in cells), (-1.0,) + (1.0,) * len(ks)))
    for d in range(len(shape)):
        others = [range(areas)] + [range(s) for e, s in enumerate(shape) if e != d]
        for rest in np.ndindex(*(len(o) for o in others)):
            index = list(rest)
            line = []
            for k in range(shape[d]):
                full = index[: d + 1] + [k] + index[d + 1 :]
                line.append(int(ids[tuple(full)]))
            relations.append(Relation("", "auspraegungen", tuple(line), (-1.0,) + (1.0,) * (shape[d] - 1)))
    w = np.zeros(values.shape)
    for a in range(areas):
        for rest in np.ndindex(shape):
            w[(a,) + rest] = weights[level[a]] * (1 + 0.5 * sum(r == 0 for r in rest))
    city = np.zeros(values.shape, bool)
    city[0] = True
    names = ["/".join(f"{k:04d}" for k in i) for i in np.ndindex(values.shape)]
    return names, values.ravel(), relations, w.ravel(), city.ravel()


def task(names, values, relations, weight, city, t=3):
    small = (values > 0) & (values < t)
    system = System.of_values(names, values, lower=1.0, relations=relations)
    free = (values >= t) & ~city
    free &= values > 0
    nan = np.full(len(values), np.nan)
    return Task(system, free, small, weight, np.where(small, float(t), nan), nan, small.copy())


def main():
    for mean in (float(sys.argv[1]) if len(sys.argv) > 1 else 9.0,):
        t = task(*table((1, 12, 110, 1103), (1, 1), mean, 0.9, 1))
        print(len(t.system), int(t.closed.sum()))
        a = time.perf_counter()
        p = protect(t)
        b = time.perf_counter()
        print(p.weight, p.bound, p.method, int((p.suppressed & ~t.closed).sum()), b - a)
        for c in p.components:
            print(c)


if __name__ == "__main__":
    main()
