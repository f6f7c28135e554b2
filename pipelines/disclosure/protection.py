"""Protects the observation: decides which figures must not be published, and writes what may be.

Counts are protected first, everything else is derived afterwards from what is public: a rate, a rank or an index can't
give away more than the counts it is formed of.
"""

from __future__ import annotations

import csv
import io
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines.disclosure.cells import OWN, PUBLIC, WITHHELD, Key, read_cells
from pipelines.disclosure.past import EARLIER, Memory
from pipelines.disclosure.problem import Problem, build_problem, place
from pipelines.disclosure.protector import FileCache, Pattern, SolverFailed, Unprotectable, protect
from pipelines.disclosure.rates import RateRow, add_rates, own_rates
from pipelines.disclosure.relations import REMAINDER, build_relations, linked_measures
from pipelines.disclosure.rules import rule_of
from pipelines.disclosure.solver import Contradiction
from pipelines.files import quoted, replacing, write_text
from pipelines.ledger import PUBLISHED, CellLedger, Entry, secret_of
from pipelines.ledger import WITHHELD as KEPT
from pipelines.project import Project
from pipelines.session import connect

RULES_VERSION = "1"
"""Changes when a rule of confidentiality, the attacker or the search for secondary cells changes."""

ATTACKER = (
    "kennt alle veröffentlichten Zahlen dieser und früherer Veröffentlichungen{}, alle Summen, Gebiete und Nenner, die "
    "Regeln{}, und dass Anzahlen ganze Zahlen ab 0 sind, eine gesperrte ab 1, wo Nullen immer gezeigt werden"
)


class CannotProtect(Exception):
    """A confidential figure can't be hidden behind what may be withheld besides; names figures, no values."""


@dataclass(frozen=True)
class Need:
    """What must hold for a confidential figure: more than one value is possible, and (if given) one up to `high`."""

    key: Key
    high: float | None


@dataclass
class Protection:
    """Outcome for one night.

    Attributes:
        observation: Parquet with the public observation.
        suppressed: keys withheld in it, whoever withholds them.
        needs: what the audit is to confirm.
        rows: for `meta.release_protection`: area level, figures, withheld ones.
        weight: cost of the secondary cells.
        bound: proven smallest cost.
        secondary: number of secondary cells.
        method: "exact" or "heuristic".
        components: independent parts of the problem with something to protect.
        searched: those of them whose pattern was not known from an earlier night.
        relations: number of relations per kind.
        notes: German sentences for the log, without values.
        alone: measures of which earlier publications tell too much already, so that this one is protected by itself.
        always_shown: titles of the levels whose figures are withheld to protect others only where nothing else helps;
            `weight` and `bound` are those of patterns that keep to it.
        seconds: time taken.
    """

    observation: Path
    suppressed: set[Key] = field(default_factory=set)
    needs: list[Need] = field(default_factory=list)
    rows: list[tuple[str, int, int]] = field(default_factory=list)
    weight: float = 0.0
    bound: float = 0.0
    secondary: int = 0
    method: str = "exact"
    components: int = 0
    searched: int = 0
    relations: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    alone: set[str] = field(default_factory=set)
    always_shown: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def attacker(self) -> str:
        """What is assumed of whoever looks for confidential figures."""
        levels = ", ".join(self.always_shown)
        rule = f" (auch: Zahlen der Ebenen {levels} werden zum Schutz anderer nur gesperrt, wo nichts sonst hilft)"
        told = " (soweit sie nicht selbst schon zu viel verraten)" if self.alone else ""
        return ATTACKER.format(told, rule if levels else "")

    def in_words(self) -> str:
        """One German sentence: figures and counts, no values."""
        cells, withheld = sum(row[1] for row in self.rows), sum(row[2] for row in self.rows)
        text = f"{withheld} von {cells} zu schützenden Zahlen gesperrt, davon {self.secondary} zum Schutz anderer"
        new = f"; {self.searched} von {self.components} unabhängigen Teilen neu gerechnet" if self.components else ""
        if not self.secondary:
            return text + new
        gap = 100 * (1 - self.bound / self.weight)
        proven = (
            f"höchstens {gap:.1f} % mehr als nötig".replace(".", ",")
            if gap > 0.05
            else "nachweislich so wenige wie möglich"
        )
        if self.always_shown:
            levels = ", ".join(self.always_shown)
            proven += f", solange Zahlen der Ebenen {levels} nicht zum Schutz anderer gesperrt werden"
        return f"{text} ({proven}){new}"


def protect_observation(
    project: Project, observation: Path, target: Path, ledger: CellLedger, cache: Path, report: Path
) -> Protection:
    """Write the public observation.

    Args:
        project: the declarations.
        observation: Parquet of the true observation.
        target: Parquet to write; withheld figures are null there, with one sign whoever withholds them.
        ledger: what was published before.
        cache: folder for patterns found earlier (true values go in as hashes only; stays inside).
        report: CSV with the reason of every withheld figure (stays inside).

    Raises:
        NotAdditive: figures that should add up don't.
        CannotProtect: a confidential figure remains open whatever else is withheld, or the solver did not finish.
    """
    begun = time.monotonic()
    memory = Memory(ledger)
    problem, rates, pattern = _solve(project, observation, memory, FileCache(cache))
    shown = ~pattern.suppressed[: len(problem.cells)]
    suppressed = {key for key, number in problem.position.items() if not shown[number]}
    suppressed |= {row.key for row in rates if not _rate_shown(row, problem, shown)}
    _write(observation, target, suppressed)
    found = Protection(target, suppressed, _needs(problem))
    found.weight, found.bound, found.method = pattern.weight, pattern.bound, pattern.method
    found.components = len(pattern.components)
    found.searched = sum(not part.kept for part in pattern.components)
    found.secondary = int((pattern.suppressed & ~problem.task.closed).sum())
    found.relations = dict(Counter(relation.kind for relation in problem.task.system.relations))
    found.rows = _by_level(project, problem, rates, suppressed)
    found.always_shown = [level.plural.de for level in project.areas.levels if level.id in project.release.always_shown]
    found.notes = [*_notes(problem, rates, memory), *_lifted(problem, pattern)]
    found.alone = memory.forgotten if memory.past else set(project.measures)
    hidden_rates = [row.key for row in rates if row.key in suppressed]
    _write_report(report, problem, pattern, hidden_rates)
    found.seconds = time.monotonic() - begun
    return found


def _solve(
    project: Project, observation: Path, memory: Memory, cache: FileCache
) -> tuple[Problem, list[RateRow], Pattern]:
    """The pattern; what was published before is taken into account as far as it still allows any.

    Earlier publications can't be mended: where they tell too much by themselves (stricter rules, a total that takes an
    old value again) or do not fit today's sums (areas assigned otherwise), the city must not be stopped for ever.
    """
    while True:
        problem, rates = prepare(project, observation, memory)
        try:
            return problem, rates, protect(problem.task, cache=cache)
        except Unprotectable as error:
            measures = _measures_of(project, problem, error)
            if not memory.ledger.releases or measures <= memory.forgotten:
                raise CannotProtect(_cannot(problem, error)) from error
            memory.forgotten |= measures
        except Contradiction as error:
            if not memory.ledger.releases or not memory.past:
                raise CannotProtect(_UNSOLVED.format(error)) from error
            memory.past, memory.stars_stay = memory.stars_stay, False  # first the stars, then the past
        except SolverFailed as error:
            raise CannotProtect(_UNSOLVED.format(error)) from error


_UNSOLVED = (
    "Nichts veröffentlicht: die Suche nach einem Schutz der kleinen Zahlen ließ sich nicht zu Ende führen. Oft "
    "widersprechen sich gelieferte Summen über mehrere Tabellen hinweg; sozialraum check nennt, was an einer Lieferung "
    "nicht aufgeht. (Rechenprogramm: {})"
)


def _measures_of(project: Project, problem: Problem, error: Unprotectable) -> set[str]:
    """Measures of cells that can't be hidden, with all that say something about them."""
    by_name = dict(zip(problem.task.system.names, problem.cells, strict=False))
    cells = [by_name[name.partition(EARLIER)[0]] for name in error.cells]
    found = {cell.key[0].rpartition(REMAINDER)[2] for cell in cells}
    return {*found, *linked_measures(project, found & set(project.measures))}


def prepare(project: Project, observation: Path, memory: Memory) -> tuple[Problem, list[RateRow]]:
    """Cells, relations and rules of a project as the protector's problem, and the rows of its own rates."""
    public = {s.id for s in project.sources.values() if s.publication == "public_elsewhere"}
    own = {m.id for m in project.measures.values() if m.kind == "count" and rule_of(project, m)}
    own |= {
        part.measure for m in own_rates(project) if m.rate_of for part in (m.rate_of.numerator, m.rate_of.denominator)
    }
    units = {s.disclosure.units.measure for s in project.sources.values() if s.disclosure.units}
    cells = read_cells(observation, sorted({*linked_measures(project, own), *units}), public)
    rates = add_rates(project, observation, cells)
    relations, remainders = build_relations(project, cells)
    return build_problem(project, cells, relations, remainders, memory), rates


def _rate_shown(row: RateRow, problem: Problem, shown: np.ndarray) -> bool:
    """A rate tells no more than its numerator and its denominator, so it is shown where both are."""
    if row.numerator is None or row.denominator is None:
        return False
    return all(bool(shown[problem.position[key]]) for key in (row.numerator, row.denominator))


def _cannot(problem: Problem, error: Unprotectable) -> str:
    by_name = dict(zip(problem.task.system.names, problem.cells, strict=False))
    cells = [(by_name.get(name.partition(EARLIER)[0]), EARLIER in name) for name in error.cells]
    places = [f"{place(cell)}{' (in einer früheren Fassung)' * old}" for cell, old in cells if cell]
    shown = "\n  ".join(places[:10]) + (f"\n  … und {len(places) - 10} weitere" if len(places) > 10 else "")
    return (
        "Nichts veröffentlicht: diese Zahlen sind geheim zu halten, lassen sich aber errechnen, was immer man sonst "
        f"noch sperrt:\n  {shown}\n  Abhilfe: eine Gebietsebene, Ausprägung oder ein Jahr weniger veröffentlichen, "
        "Ausprägungen zusammenfassen; oder, wenn die Zahlen ohnehin öffentlich sind, publication: public_elsewhere "
        "mit address."
    )


def _write(observation: Path, target: Path, suppressed: set[Key]) -> None:
    """A new file from a new query: nothing of a withheld figure is left in statistics or unused pages."""
    names = ["measure_id", "category", "area_id", "period_type", "reference_date"]
    columns: list[Sequence[Any]] = list(zip(*sorted(suppressed), strict=True)) or [()] * 5
    types = [pa.string()] * 4 + [pa.date32()]
    table = pa.table({n: pa.array(c, t) for n, c, t in zip(names, columns, types, strict=True)})
    same = " AND ".join(f"o.{name} = w.{name}" for name in names)
    with replacing(target) as temporary, connect() as con:
        con.register("withheld_in", table)
        con.execute(
            f"""
            COPY (
                SELECT o.* REPLACE (
                    CASE WHEN w.area_id IS NULL THEN o.value END AS value,
                    CASE WHEN w.area_id IS NULL THEN o.obs_status ELSE 'Q' END AS obs_status,
                    CASE WHEN w.area_id IS NULL THEN o.conf_status ELSE 'C' END AS conf_status,
                    o.is_suppressed OR w.area_id IS NOT NULL AS is_suppressed,
                    CASE WHEN w.area_id IS NULL THEN o.suppression_reason ELSE 'confidential' END AS suppression_reason)
                FROM read_parquet('{quoted(observation)}') o
                LEFT JOIN withheld_in w ON (o.value IS NOT NULL OR o.is_suppressed) AND {same}
                ORDER BY o.measure_id, o.category, o.area_id, o.period_type, o.reference_date
            ) TO '{quoted(temporary)}' (FORMAT parquet, COMPRESSION zstd)
            """
        )


def _needs(problem: Problem) -> list[Need]:
    """Requirements of figures that stand in the observation; remainders are the audit's own business."""
    task, found = problem.task, []
    for key, number in problem.position.items():
        if task.need_open[number] and problem.reasons[number] != "primary_complement":
            high = float(task.need_high[number])
            found.append(Need(key, None if np.isnan(high) else high))
    return found


def _by_level(
    project: Project, problem: Problem, rates: list[RateRow], suppressed: set[Key]
) -> list[tuple[str, int, int]]:
    all_of, withheld = Counter[str](), Counter[str]()
    areas = project.directory.areas
    figures = [
        key
        for key, number in problem.position.items()
        if problem.cells[number].state in (OWN, WITHHELD) and key[0] in project.measures
    ]
    for key in [*figures, *[row.key for row in rates]]:
        if key[2] in areas:
            level = areas[key[2]].level
            all_of[level] += 1
            withheld[level] += key in suppressed
    return [(level, all_of[level], withheld[level]) for level in project.directory.levels if all_of[level]]


def _notes(problem: Problem, rates: list[RateRow], memory: Memory) -> list[str]:
    notes = []
    if memory.forgotten:
        notes.append(
            f"frühere Veröffentlichungen verraten schon zu viel über {', '.join(sorted(memory.forgotten))}; das ist "
            "nicht mehr zu ändern. Diese Veröffentlichung ist für sich geschützt."
        )
    if not memory.past:
        notes.append(
            "frühere Veröffentlichungen passen nicht zu den heutigen Summen (anders zugeordnete Gebiete?) und blieben "
            "beim Schutz außer Acht"
        )
    if problem.public_again:
        first = problem.public_again[0]
        notes.append(
            f"{len(problem.public_again)} geheim zu haltende Zahlen sind schon früher veröffentlicht worden und "
            f"bleiben sichtbar (z. B. {first[0]}, {first[2]}, {first[4]})"
        )
    blind = sorted({row.key[0] for row in rates if row.numerator is None})
    if blind:
        notes.append(
            f"Quoten ohne bekannten Zähler und Nenner werden nicht veröffentlicht: {', '.join(blind)} (rate_of angeben)"
        )
    return notes


def _lifted(problem: Problem, pattern: Pattern) -> list[str]:
    """Where figures of the levels that are always shown had to be let go: measures and periods."""
    cells = [problem.cells[number] for number in np.flatnonzero(pattern.lifted)]
    places = sorted({f"{cell.key[0]} {cell.period}" for cell in cells})
    if not places:
        return []
    named = ", ".join(places[:5]) + (f" und {len(places) - 5} weitere" if len(places) > 5 else "")
    return [f"always_shown galt nicht für {named}: anders ließen sich dort die kleinen Zahlen nicht schützen"]


def _write_report(report: Path, problem: Problem, pattern: Pattern, rates: list[Key]) -> None:
    """Why each figure is withheld: for the data team and the data protection officer, never published."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerow(["Kennzahl", "Auspraegung", "Gebiet", "Zeitbezug", "Stichtag", "Grund"])
    for key, number in sorted(problem.position.items()):
        state = problem.cells[number].state
        if pattern.suppressed[number] and state in (OWN, WITHHELD, PUBLIC):
            reason = problem.reasons[number] or "secondary"
            writer.writerow([*key[:4], key[4].isoformat(), REASONS_DE[reason]])
    for key in sorted(rates):
        writer.writerow([*key[:4], key[4].isoformat(), REASONS_DE["rate"]])
    write_text(report, "\ufeff" + out.getvalue())


REASONS_DE = {
    "primary_count": "kleine Anzahl",
    "primary_complement": "kleiner Rest zum Ganzen",
    "primary_units": "zu wenige Einheiten (Haushalte, Schulen)",
    "primary_group": "kleine Gruppe",
    "withheld": "von der Quelle gesperrt oder Summe mit gesperrtem Teil",
    "ledger": "in einer früheren Veröffentlichung gesperrt und seither unverändert",
    "not_there": "liegt nicht vor",
    "rate": "Quote, deren Zähler oder Nenner gesperrt oder nicht bekannt ist",
    "secondary": "zum Schutz einer anderen Zahl",
}
"""Why a figure is withheld; stays inside, for with the reasons part of the protected figures can be worked out."""


def ledger_entries(public: Path, true: Path, ledger: CellLedger) -> dict[Key, Entry]:
    """State of every figure of a publication: shown with its value, or withheld with its keyed mark.

    A figure that nobody here knows (a star of its source) is marked as what anybody would suppose it to be.
    """
    with connect() as con:
        rows = con.execute(
            f"""
            SELECT p.measure_id, p.category, p.area_id, p.period_type, p.reference_date, p.value, p.is_suppressed,
                t.value
            FROM read_parquet('{quoted(public)}') p
            JOIN read_parquet('{quoted(true)}') t USING (measure_id, category, area_id, period_type, reference_date)
            WHERE p.is_suppressed OR p.value IS NOT NULL
            """
        ).fetchall()
    entries: dict[Key, Entry] = {}
    for measure, category, area, period_type, date, value, withheld, secret in rows:
        key: Key = (measure, category, area, period_type, date)
        if withheld:
            mark = ledger.mark_of_star(key) if secret is None else ledger.mark(key, secret_of(secret))
            entries[key] = Entry(KEPT, None, mark, ledger.key_id)
        else:
            entries[key] = Entry(PUBLISHED, value)
    return entries
