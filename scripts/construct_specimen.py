"""Make the constructed specimen deliveries: unemployed, children and single parents in SGB II, school leavers.

THE FIGURES MADE HERE ARE CONSTRUCTED. Nobody counted them. Real figures on these four topics for the Stadtteile
and Sozialzentrumsbereiche (SZB) of Kiel could not be obtained, so this script makes deliveries of the shape,
size and stars such an office would send, calibrated to what is published. Every figure derived from them
carries the origin "constructed" and must not be quoted as a fact about any place.

Method
1. City totals. Unemployed and children equal the published counts of 31.12.2021 and 31.12.2022; the other
   years follow from the city series in data/raw (INKAR's annual means of unemployed; shares of children from
   reports, press and our reading) and the assumptions below.
   School leavers start at the reported 2,079 of 2014 and move with the residents aged 15 to 17; the share
   without certificate follows INKAR's values for Kiel. Single parents exist for the two published days only.
2. Expected value of a Stadtteil = residents of the age group x share of "its" Ortsteil (PATTERN) x a fixed
   effect of the Stadtteil inside its Ortsteil. Ortsteile are not sums of Stadtteile: the published shares
   serve as a pattern only. Ages come from the shipped age file; its years before 2019 count another
   population (about 2 % larger), which the city totals of the children therefore follow. Single parents
   follow the constructed children of the same Stadtteil and day.
3. Noise: an AR(1) term per Stadtteil (mild persistence) times a gamma term with variance OVERDISPERSION/mean.
4. Largest-remainder rounding to the city total, so Stadtteile add up to SZB and SZB to the city exactly.
5. Stars as an office would set them: counts of 1 and 2, then secondary stars until no additive line has a
   single star, or stars which all must stand for 1. The city row is never starred. This is cell suppression
   line by line, not a proof against linear programming over the whole table. The single parents carry no star:
   their file stands for an office's own table with true small counts, to be protected before publication.

Deterministic: seeded, standard library only; every run writes the same bytes.
Usage: python scripts/construct_specimen.py [OUTPUT_DIR]     (default: data/raw of this project)
"""

from __future__ import annotations

import csv
import math
import random
import sys
from collections import defaultdict
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
RAW = PROJECT / "data" / "raw"
SEED = 2  # the first of 1, 2, 3 ... with which each of the three starred files holds a star
YEARS = range(2014, 2024)
CERTIFICATES = ("ohne Abschluss", "ESA", "MSA", "FHR", "Abitur")
SEXES = ("weiblich", "maennlich")

# --- assumptions (ours, not published) ---------------------------------------------------------------------
YEAR_END_RATIO = 0.95  # unemployed on 31.12. / annual mean, 2014-2020 (2019: 10,009 by the press, undated / 10,556)
UNEMPLOYED_2023_ON_2022 = 1.02
CHILD_SHARE_2014_AS = 2015  # no city figure of 2014: share of 2015
CHILD_SHARE_2023_AS = 2022  # no comparable figure of 2023 (new benefit): share of 2022
LEAVERS_2014 = 2079  # school leavers 2014, press quoting the city's statistical yearbook (stadtreihe_schulabgaenge)
# City shares before tilting, set so that Abitur and FHR come near the 43 % reported by the press for 2014.
CITY_MIX = {"ESA": 0.22, "MSA": 0.31, "FHR": 0.04, "Abitur": 0.34}
TILT = {"ohne Abschluss": 0.6, "ESA": 0.35, "MSA": 0.05, "FHR": -0.1, "Abitur": -0.45}  # exponent of child poverty
MEN_AMONG_SINGLE_PARENTS = 0.08
SPREAD_IN_ORTSTEIL = 0.4  # log standard deviation of Stadtteile that share one Ortsteil
AR_SD, AR_RHO = 0.06, 0.7
OVERDISPERSION = 1.5  # 1 would be Poisson

# --- pattern: Stadtteil number -> Ortsteil numbers with weights ----------------------------------------------
# From the Ortsteil names and the comparison of both area systems. Weights where a Stadtteil is divided: Wik
# from the 5,869 residents reported for Steenbek/Projensdorf at the end of 2018; Gaarden-Süd/Kronsburg assumed.
PATTERN: dict[int, dict[int, float]] = {
    **{n: {10: 1.0} for n in (1, 2, 3, 4, 11)},
    **{n: {7: 1.0} for n in (5, 6, 7, 9)},
    8: {6: 0.7, 4: 0.3},
    10: {8: 1.0},
    12: {16: 1.0},
    13: {16: 0.6, 14: 0.2, 12: 0.2},
    14: {12: 1.0},
    15: {8: 1.0},
    16: {17: 1.0},
    17: {17: 1.0},
    18: {3: 1.0},
    19: {2: 1.0},
    20: {2: 1.0},
    21: {18: 1.0},
    22: {15: 1.0},
    23: {5: 1.0},
    24: {1: 1.0},
    25: {9: 1.0},
    26: {11: 1.0},
    27: {13: 1.0},
    28: {13: 1.0},
    29: {14: 1.0},
    30: {14: 1.0},
}

Area = tuple[str, int]  # level, number
Counts = dict[Area, int]
CITY: Area = ("Stadt", 0)


def rows(path: Path, delimiter: str = ";") -> list[dict[str, str]]:
    """Lines of a delimited file by column name."""
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter=delimiter))


def number(text: str) -> float:
    """Number with a German decimal comma."""
    return float(text.replace(",", "."))


# --- inputs --------------------------------------------------------------------------------------------------
def read_areas() -> tuple[dict[Area, str], dict[int, int]]:
    """Names of all areas in file order, and the SZB number of every Stadtteil."""
    levels = {"stadtteil": "Stadtteil", "sozialzentrumsbereich": "Sozialzentrumsbereich"}
    folder = PROJECT / "assets" / "areas"
    area_rows = rows(folder / "areas.csv", ",")
    found = {r["area_id"]: (levels[r["level"]], int(r["number"])) for r in area_rows if r["level"] in levels}
    title = {found[r["area_id"]]: r["name"] for r in area_rows if r["area_id"] in found}
    names = {a: title[a] for level in levels.values() for a in sorted(a for a in title if a[0] == level)}
    names[CITY] = "Kiel"
    parent = {
        found[r["area_id"]][1]: found[r["parent_id"]][1]
        for r in rows(folder / "memberships.csv", ",")
        if r["area_id"] in found and found[r["area_id"]][0] == "Stadtteil"
    }
    return names, parent


def read_population() -> dict[str, dict[int, dict[int, int]]]:
    """Residents by age group, year, Stadtteil."""
    result: dict[str, dict[int, dict[int, int]]] = {g: defaultdict(dict) for g in ("u15", "15_17", "15_64")}
    for r in rows(RAW / "bevoelkerung_altersgruppen" / "kiel_bevoelkerung_altersgruppen_stadtteile.csv"):
        year, area = int(r["Datum"][:4]), int(r["Stadtteilnummer"])
        result["u15"][year][area] = int(r["0 bis unter 15"])
        result["15_17"][year][area] = int(r["15 bis unter 18"])
        result["15_64"][year][area] = int(r["15 bis unter 18"]) + int(r["18 bis unter 65"])
    return result


def read_pattern(topic: str, file: str, date: str) -> dict[int, float]:
    """Share (0 to 1) of every Stadtteil after the published shares of the Ortsteile."""
    ortsteile = {
        int(r["Ortsteilnummer"]): number(r[date]) / 100 for r in rows(RAW / topic / file) if r["Ortsteilnummer"]
    }
    return {s: sum(w * ortsteile[o] for o, w in parts.items()) for s, parts in PATTERN.items()}


def published(label: str) -> dict[int, int]:
    """Counts of the city reports under this label, by year."""
    table = rows(RAW / "sozialbericht_stadt" / "sozialbericht_kiel_grundzahlen.csv")
    return {int(r["Stichtag"][-4:]): int(r["Anzahl"]) for r in table if r["Merkmal"] == label}


def inkar_kiel(source: str, column: str) -> dict[int, float]:
    """INKAR's values of Kiel in this column of a source, by year."""
    table = rows(RAW / source / f"{source}_kreisfreie_staedte_schleswig_holstein.csv")
    return {int(r["Jahr"]): number(r[column]) for r in table if r["Kennziffer"] == "01002000"}


# --- city totals ---------------------------------------------------------------------------------------------
def city_unemployed() -> dict[int, int]:
    """City total of the unemployed by year."""
    total = {
        y: round(v * YEAR_END_RATIO) for y, v in inkar_kiel("inkar_arbeitslose", "Arbeitslose").items()
    } | published("Arbeitslose")
    total[2023] = round(total[2022] * UNEMPLOYED_2023_ON_2022)
    return {y: total[y] for y in YEARS}


def city_children(u15: dict[int, dict[int, int]]) -> dict[int, int]:
    """City total of the children in SGB II by year."""
    known = published("Kinder unter 15 mit Sozialgeld")
    series = rows(RAW / "stadtreihe_kinderarmut" / "stadtreihe_kinderarmut.csv")
    share = {int(r["Zeit"][-4:]): number(r["Wert"]) / 100 for r in series}
    share |= {y: n / sum(u15[y].values()) for y, n in known.items()}
    share[2014], share[2023] = share[CHILD_SHARE_2014_AS], share[CHILD_SHARE_2023_AS]
    for y in YEARS:
        if y not in share:  # straight line between the neighbouring known years
            before, after = max(k for k in share if k < y), min(k for k in share if k > y)
            share[y] = share[before] + (share[after] - share[before]) * (y - before) / (after - before)
    return {y: known.get(y, round(share[y] * sum(u15[y].values()))) for y in YEARS}


# --- noise and rounding --------------------------------------------------------------------------------------
def fixed_effects(rng: random.Random, residents: dict[int, int]) -> dict[int, float]:
    """Lasting factor of a Stadtteil; mean 1, weighted by residents, among those with the same Ortsteil pattern."""
    groups: dict[tuple[tuple[int, float], ...], list[int]] = defaultdict(list)
    for s in sorted(PATTERN):
        groups[tuple(PATTERN[s].items())].append(s)
    effects = {}
    for members in groups.values():
        draws = {s: math.exp(rng.gauss(0, SPREAD_IN_ORTSTEIL)) for s in members}
        mean = sum(draws[s] * residents[s] for s in members) / sum(residents[s] for s in members)
        effects |= {s: d / mean for s, d in draws.items()}
    return effects


def noisy(rng: random.Random, expected: dict[int, dict[int, float]]) -> dict[int, dict[int, float]]:
    """Expected values by year and Stadtteil with AR(1) and gamma noise."""
    state = {s: rng.gauss(0, AR_SD) for s in sorted(PATTERN)}
    result: dict[int, dict[int, float]] = {}
    for y in sorted(expected):
        result[y] = {}
        for s in sorted(PATTERN):
            mean = expected[y][s]
            gamma = rng.gammavariate(mean / OVERDISPERSION, OVERDISPERSION) if mean > 0 else 0.0
            result[y][s] = gamma * math.exp(state[s])
            state[s] = AR_RHO * state[s] + math.sqrt(1 - AR_RHO**2) * rng.gauss(0, AR_SD)
    return result


def spread(total: int, weights: dict, cap: dict | None = None) -> dict:
    """Whole numbers in proportion to the weights that add up to the total (largest remainder), none above cap."""
    keys, scale = sorted(weights), total / sum(weights.values())
    exact = {k: weights[k] * scale for k in keys}
    result = {k: min(int(exact[k]), cap[k]) if cap else int(exact[k]) for k in keys}
    while (rest := total - sum(result.values())) > 0:
        room = [k for k in keys if not cap or result[k] < cap[k]]
        for k in sorted(room, key=lambda k: (result[k] - exact[k], k))[:rest]:
            result[k] += 1
    return result


def roll_up(stadtteile: dict[int, int], parent: dict[int, int]) -> Counts:
    """Stadtteile with the sums over SZB and city."""
    counts: Counts = {("Stadtteil", s): n for s, n in stadtteile.items()}
    for s, n in stadtteile.items():
        szb = ("Sozialzentrumsbereich", parent[s])
        counts[szb] = counts.get(szb, 0) + n
    counts[CITY] = sum(stadtteile.values())
    return counts


# --- stars ---------------------------------------------------------------------------------------------------
Cell = tuple[Area, str]


def area_lines(parent: dict[int, int]) -> list[tuple[list[Area], Area]]:
    """Additive lines over areas: parts and their total."""
    szb = sorted(set(parent.values()))
    lines = [([("Stadtteil", s) for s in sorted(parent) if parent[s] == z], ("Sozialzentrumsbereich", z)) for z in szb]
    return [*lines, ([("Sozialzentrumsbereich", z) for z in szb], CITY)]


def stars(values: dict[Cell, int], lines: list[tuple[list[Cell], Cell]]) -> set[Cell]:
    """Primary stars for 1 and 2, then secondary ones until every line is safe."""
    starred = {c for c, v in values.items() if v in (1, 2) and c[0] != CITY}

    def safe(parts: list[Cell], total: Cell) -> bool:
        hidden = [c for c in (*parts, total) if c in starred]
        if not hidden:
            return True
        all_ones = total not in starred and sum(values[c] for c in hidden) == len(hidden)
        return len(hidden) > 1 and not all_ones

    changed = True
    while changed:
        changed = False
        for parts, total in lines:
            while not safe(parts, total):
                free = [c for c in (*parts, total) if c not in starred and values[c] > 0 and c[0] != CITY]
                if not free:
                    raise ValueError(f"no cell left for a secondary star in the line of {total}")
                starred.add(min(free, key=lambda c: (c[0][0] != "Stadtteil", values[c], c)))
                changed = True
    return starred


def starred_text(table: dict[str, Counts], parent: dict[int, int], columns: bool = False) -> dict[Cell, str]:
    """Cells of one year as printed; with columns, the first column is the sum of the others in every row."""
    values = {(a, col): n for col, counts in table.items() for a, n in counts.items()}
    lines = [([(p, col) for p in parts], (total, col)) for col in table for parts, total in area_lines(parent)]
    if columns:
        first, *others = table
        lines += [([(a, col) for col in others], (a, first)) for a in table[first]]
    hidden = stars(values, lines)
    return {c: "*" if c in hidden else str(v) for c, v in values.items()}


# --- the four topics ----------------------------------------------------------------------------------------
def unemployed(population: dict, parent: dict[int, int]) -> dict[int, dict[str, Counts]]:
    """Unemployed by year."""
    rng = random.Random(f"{SEED} arbeitslose")
    share = read_pattern("sozialbericht_arbeitslose", "sozialbericht_arbeitslosenanteil_ortsteile.csv", "31.12.2022")
    effect, city = fixed_effects(rng, population["15_64"][2022]), city_unemployed()
    expected = {y: {s: population["15_64"][y][s] * share[s] * effect[s] for s in PATTERN} for y in YEARS}
    drawn = noisy(rng, expected)
    return {y: {"Anzahl": roll_up(spread(city[y], drawn[y]), parent)} for y in YEARS}


def children(population: dict, parent: dict[int, int]) -> dict[int, dict[str, Counts]]:
    """Children under 15 in SGB II by year."""
    rng = random.Random(f"{SEED} kinder")
    topic, file = "sozialbericht_kinderarmut", "sozialbericht_kinderarmut_ortsteile.csv"
    pattern = {2021: read_pattern(topic, file, "31.12.2021"), 2022: read_pattern(topic, file, "31.12.2022")}
    u15 = population["u15"]
    effect, city = fixed_effects(rng, u15[2022]), city_children(u15)
    expected = {y: {s: u15[y][s] * pattern[min(max(y, 2021), 2022)][s] * effect[s] for s in PATTERN} for y in YEARS}
    drawn = noisy(rng, expected)
    return {y: {"Anzahl": roll_up(spread(city[y], drawn[y], u15[y]), parent)} for y in YEARS}


def single_parents(kids: dict[int, dict[str, Counts]], parent: dict[int, int]) -> dict[int, dict[str, Counts]]:
    """Single parents in SGB II by year and sex, in proportion to the children in SGB II; true counts, no stars."""
    rng = random.Random(f"{SEED} alleinerziehende")
    city = published("Alleinerziehende im SGB II")
    children_of = {y: {s: kids[y]["Anzahl"]["Stadtteil", s] for s in PATTERN} for y in city}
    ratio = {y: n / sum(children_of[y].values()) for y, n in city.items()}
    drawn = noisy(rng, {y: {s: n * ratio[y] for s, n in children_of[y].items()} for y in city})
    both = {y: spread(city[y], drawn[y]) for y in city}
    drawn = noisy(rng, {y: {s: n * MEN_AMONG_SINGLE_PARENTS for s, n in both[y].items()} for y in city})
    men = {y: spread(round(city[y] * MEN_AMONG_SINGLE_PARENTS), drawn[y], both[y]) for y in city}
    women = {y: {s: both[y][s] - men[y][s] for s in PATTERN} for y in city}
    columns = {"insgesamt": both, "weiblich": women, "maennlich": men}
    return {y: {c: roll_up(counts[y], parent) for c, counts in columns.items()} for y in city}


def school_leavers(population: dict, parent: dict[int, int]) -> dict[int, dict[str, Counts]]:
    """Keyed by the year in which the school year ends."""
    rng = random.Random(f"{SEED} schule")
    topic, file = "sozialbericht_kinderarmut", "sozialbericht_kinderarmut_ortsteile.csv"
    poverty = read_pattern(topic, file, "31.12.2021")
    city_poverty = next(number(r["31.12.2021"]) for r in rows(RAW / topic / file) if r["Ortsteil"] == "Kiel") / 100
    without = inkar_kiel("inkar_schulabgaenge", "Schulabgänger ohne Abschluss in Prozent")
    young, last = population["15_17"], max(without)
    drawn = noisy(rng, {y: {s: young[y][s] / 3 for s in PATTERN} for y in YEARS})
    leavers, mix = {}, {}
    for y in YEARS:
        total = round(LEAVERS_2014 * sum(young[y].values()) / sum(young[2014].values()))
        leavers[y] = spread(total, drawn[y])
        city_mix = {"ohne Abschluss": without[min(y, last)] / 100} | CITY_MIX
        mix[y] = {s: {c: city_mix[c] * (poverty[s] / city_poverty) ** TILT[c] for c in CERTIFICATES} for s in PATTERN}
    lowest = noisy(rng, {y: {s: leavers[y][s] * mix[y][s]["ohne Abschluss"] for s in PATTERN} for y in YEARS})
    result = {}
    for y in YEARS:
        city_without = round(sum(leavers[y].values()) * without[min(y, last)] / 100)
        table = {c: {} for c in CERTIFICATES} | {
            "ohne Abschluss": spread(city_without, lowest[y], {s: leavers[y][s] for s in PATTERN})
        }
        for s in sorted(PATTERN):
            rest = leavers[y][s] - table["ohne Abschluss"][s]
            draws = {
                c: rng.gammavariate(max(rest * mix[y][s][c] / OVERDISPERSION, 0.2), OVERDISPERSION)
                for c in CERTIFICATES[1:]
            }
            for c, n in spread(rest, draws).items():
                table[c][s] = n
        result[y] = {"insgesamt": roll_up(leavers[y], parent)} | {c: roll_up(table[c], parent) for c in CERTIFICATES}
    return result


# --- output --------------------------------------------------------------------------------------------------
def write(path: Path, header: list[str], lines: list[list[str]]) -> None:
    """Write a semicolon file, UTF-8 and LF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(";".join(line) + "\n" for line in [header, *lines])
    path.write_bytes(text.encode("utf-8"))


def main(output: Path) -> None:
    """Write the four deliveries below the output folder."""
    names, parent = read_areas()
    population = read_population()
    newest_first = sorted(YEARS, reverse=True)
    key = {a: [a[0], str(a[1]) if a[1] else "", name] for a, name in names.items()}

    cells = {y: starred_text(t, parent) for y, t in unemployed(population, parent).items()}
    write(
        output / "specimen_arbeitslose" / "konstruiert_arbeitslose.csv",
        ["Merkmal", "Ebene", "Nummer", "Gebiet", *(f"31.12.{y}" for y in newest_first)],
        [["Arbeitslose (konstruiert)", *key[a], *(cells[y][a, "Anzahl"] for y in newest_first)] for a in names],
    )
    kids = children(population, parent)
    cells = {y: starred_text(t, parent) for y, t in kids.items()}
    write(
        output / "specimen_kinder_sgb2" / "konstruiert_kinder_sgb2.csv",
        ["Stichtag", "Ebene", "Nummer", "Gebiet", "Kinder unter 15 Jahren in SGB II"],
        [[f"31.12.{y}", *key[a], cells[y][a, "Anzahl"]] for y in newest_first for a in names],
    )
    true_counts = single_parents(kids, parent)
    write(
        output / "specimen_alleinerziehende" / "konstruiert_alleinerziehende.csv",
        ["Stichtag", "Ebene", "Nummer", "Gebiet", "insgesamt", *SEXES],
        [
            [f"31.12.{y}", *key[a], *(str(true_counts[y][c][a]) for c in ("insgesamt", *SEXES))]
            for y in sorted(true_counts, reverse=True)
            for a in names
        ],
    )
    cells = {y: starred_text(t, parent, columns=True) for y, t in school_leavers(population, parent).items()}
    write(
        output / "specimen_schulabgaenge" / "konstruiert_schulabgaenge.csv",
        ["Schuljahr", "Ebene", "Nummer", "Gebiet", "insgesamt", *CERTIFICATES],
        [
            [f"{y - 1}/{y % 100:02d}", *key[a], *(cells[y][a, c] for c in ("insgesamt", *CERTIFICATES))]
            for y in newest_first
            for a in names
        ],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RAW)
