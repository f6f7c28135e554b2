"""`sozialraum audit TABLE`: which withheld cells of a printed table can a reader work out?

The description (YAML) says which sums hold; the attacker of the disclosure package does the rest. Nothing is assumed
about the withheld numbers but what every reader knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.audit.table_proof import Proofs
from pipelines.audit.table_reading import Printed, Unusable, read
from pipelines.audit.table_relations import Puzzle, number, puzzle
from pipelines.disclosure.attack import Contradiction, Intervals, SolverFailed, attack
from pipelines.disclosure.system import EXACT, components, part
from pipelines.exit_codes import EXIT_FAILED, EXIT_OK, EXIT_RECOVERABLE, EXIT_USAGE
from pipelines.intake.failures import shown
from pipelines.progress import Voice
from schemas.audited_table import AuditedTable
from schemas.yaml_source import parse_plain

DESCRIPTION_BYTES = 1024 * 1024
"""Largest description."""

MANY_STARS = 2000
"""From here on an audit takes long enough to say so."""

_START = """labels: [Stadtteil]            # Spalten, die sagen, worum es in der Zeile geht
counts: [Männer, Frauen, Insgesamt]   # Spalten mit Fallzahlen
sums:
  Stadtteil: {Stadt: rest}     # Stadt = alle anderen Stadtteile
  columns: {Insgesamt: [Männer, Frauen]}"""

Kind = Literal["exact_small", "small", "exact", "open"]


@dataclass(frozen=True)
class Judged:
    """What a reader learns about one withheld cell (or remainder).

    Attributes:
        position: the cell in the puzzle.
        name: the cell for people.
        place: where it is printed; '' for a remainder.
        low: smallest possible value.
        high: largest possible value, infinite if there is none.
        kind: exact and below the threshold, proven to be below it, exact, or neither.
        bad: whether this is a finding.
        proof: why, in a line; may be empty.
    """

    position: int
    name: str
    place: str
    low: float
    high: float
    kind: Kind
    bad: bool
    proof: str


@dataclass(frozen=True)
class Small:
    """A printed number (or the remainder of two) below the threshold."""

    position: int
    name: str
    place: str
    value: float


@dataclass(frozen=True)
class Verdict:
    """Everything that is to be told about a table; `others` are remainders and cells that are not printed."""

    file: str
    table: AuditedTable
    printed: Printed
    puzzle: Puzzle
    stars: list[Judged]
    others: list[Judged]
    small: list[Small]

    @property
    def safe(self) -> bool:
        """Nothing that must not be known can be worked out."""
        found = any(judged.bad for judged in (*self.stars, *self.others))
        return not (found or (self.small and self.table.small_published == "report"))


def audit_table(path: Path, description: Path | None, voice: Voice, html: Path | None) -> int:
    """Say what a reader can work out in a table.

    Args:
        path: the table (CSV, xlsx, xls, ods).
        description: its description; by default beside it, with the ending .yaml.
        voice: where the answer goes.
        html: page to write; none by default.

    Returns:
        0 safe, 4 withheld cells can be worked out, 2 table or description unusable, 1 the solver failed.
    """
    from pipelines.audit.report import tell, write_page

    about = path.with_suffix(".yaml") if description is None else description
    try:
        if html is not None:
            _writable(html, path, about)
        table = _described(about, given=description is not None)
        printed = read(path, table)
        stars = sum(cell.kind == "star" for line in printed.lines for cell in line.cells.values())
        if stars >= MANY_STARS:
            voice.say(f"{number(stars)} gesperrte Zellen werden nachgerechnet, das dauert …")
        verdict = judge(shown(path.name), table, printed)
        tell(verdict, voice)
        if html is not None:
            write_page(verdict, html)
            voice.say(f"Seite geschrieben: {html}")
    except Unusable as reason:
        voice.error("So lässt sich die Tabelle nicht prüfen:")
        for problem in reason.problems:
            voice.error(f"  {problem}")
        return EXIT_USAGE
    except SolverFailed as error:
        voice.error(f"NICHT GEPRÜFT: die Rechnung ist fehlgeschlagen ({error}). Über die Tabelle ist nichts bewiesen.")
        return EXIT_FAILED
    except OSError as error:
        voice.error(f"{error.filename or html}: nicht lesbar oder nicht schreibbar ({error.strerror})")
        return EXIT_USAGE
    return EXIT_OK if verdict.safe else EXIT_RECOVERABLE


def _writable(html: Path, path: Path, about: Path) -> None:
    if html.resolve() in (path.resolve(), about.resolve()):
        raise Unusable([f"{shown(str(html))}: die Seite würde die Tabelle oder ihre Beschreibung überschreiben"])
    if html.is_dir():
        raise Unusable([f"{shown(str(html))} ist ein Ordner; erwartet wird eine Datei, z. B. {shown(html.name)}.html"])


def _described(path: Path, *, given: bool) -> AuditedTable:
    try:
        if path.exists() and not path.is_file():
            raise Unusable([f"{shown(str(path))}: die Beschreibung ist keine Datei"])
        if path.stat().st_size > DESCRIPTION_BYTES:
            raise Unusable([f"{shown(path.name)}: zu groß für eine Beschreibung (YAML)"])
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        what = "die Beschreibung fehlt" if given else "neben der Tabelle fehlt ihre Beschreibung"
        raise Unusable([f"{shown(str(path))}: {what}. Ein Anfang:\n{_START}"]) from None
    except OSError as error:
        raise Unusable([f"{shown(str(path))}: nicht lesbar ({error.strerror})"]) from None
    except UnicodeDecodeError:
        raise Unusable([f"{shown(path.name)}: die Beschreibung muss in UTF-8 gespeichert sein"]) from None
    table, problems = parse_plain(text, shown(path.name), AuditedTable)
    if table is None:
        raise Unusable(map(str, problems))
    return table


# ---------------------------------------------------------------- judgement


def judge(file: str, table: AuditedTable, printed: Printed) -> Verdict:
    """Attack all withheld cells and remainders of a table.

    Raises:
        Unusable: labels or sums do not fit the table.
        SolverFailed: nothing is proven.
    """
    found = puzzle(printed, table)
    stars = [position for position, cell in found.cells.items() if cell.kind == "star"]
    remainders = [
        rest
        for rest, pair in found.remainders.items()
        if not found.published[list(pair)].all() and _starred(found, pair)
    ]
    targets = np.array([*stars, *remainders, *found.absent], dtype=np.int64)
    intervals = _attacked(found, targets)
    proofs = Proofs(found)
    judged = [
        _judged(found, table, proofs, int(cell), float(low), float(high))
        for cell, low, high in zip(intervals.cells, intervals.low, intervals.high, strict=True)
    ]
    return Verdict(file, table, printed, found, judged[: len(stars)], judged[len(stars) :], _small(found, table))


def _starred(found: Puzzle, pair: tuple[int, int]) -> bool:
    return any(cell in found.cells and found.cells[cell].kind == "star" for cell in pair)


def _attacked(found: Puzzle, targets: np.ndarray) -> Intervals:
    try:
        return attack(found.system, found.published, targets, integer=True)
    except Contradiction:
        raise Unusable(_contradictions(found, targets)) from None


def _contradictions(found: Puzzle, targets: np.ndarray) -> list[str]:
    """The withheld cells that no numbers fit, one line per group of cells that hang together."""
    problems = []
    for group in components(found.system, found.published):
        own = targets[np.isin(targets, group)]
        if not len(own):
            continue
        try:
            own_system = part(found.system, group, found.published)
            attack(own_system, found.published[group], np.searchsorted(group, own[:1]), integer=True)
        except Contradiction:
            stars = [found.cells[cell].place for cell in map(int, group) if cell in found.cells]
            names = ", ".join(f"{found.name(int(cell))}" for cell in own[:4]) + (" …" if len(own) > 4 else "")
            problems.append(
                f"{next(iter(stars), '')}: für die gesperrten Zellen {names} gibt es keine Zahlen, die zu den Summen "
                "passen. Entweder stimmt eine gedruckte Zahl oder Summe nicht, oder ein Sperrzeichen kann auch für 0 "
                "stehen (zeros: hidden) oder für keine Angabe (missing)"
            )
    return problems or ["die gedruckten Zahlen und die Summen widersprechen sich"]


def _judged(found: Puzzle, table: AuditedTable, proofs: Proofs, cell: int, low: float, high: float) -> Judged:
    exact = high - low <= EXACT
    small = not table.amounts and 0 < high < table.threshold
    kind: Kind = ("exact_small" if exact else "small") if small else ("exact" if exact else "open")
    remainder = cell in found.remainders
    if cell not in found.cells and not remainder:
        bad = small and low > 0  # nobody withholds it, but a small number is known all the same
    elif kind == "small":
        bad = not (table.stars_only_small and not remainder)
    elif kind == "exact":
        # a remainder that is known and not small needs no protection; an exact 0 is no person
        bad = not table.secondary_harmless and not remainder and not (high == 0 and not table.amounts)
    else:
        bad = kind == "exact_small"
    place = found.cells[cell].place if cell in found.cells else ("" if remainder else "nicht gedruckt")
    proof = proofs.of(cell, high) if kind != "open" and (bad or cell in found.cells) else ""
    return Judged(cell, found.name(cell), place, low, high, kind, bad, proof)


def _small(found: Puzzle, table: AuditedTable) -> list[Small]:
    """Printed numbers and remainders of printed numbers from 1 to below the threshold."""
    if table.amounts:
        return []
    small = [
        Small(cell, found.name(cell), printed.place, printed.value)
        for cell, printed in found.cells.items()
        if printed.kind == "number" and 0 < printed.value < table.threshold
    ]
    for rest, (mine, its) in found.remainders.items():
        value = float(found.system.known_low[its] - found.system.known_low[mine])
        if 0 < value < table.threshold:
            small.append(Small(rest, found.name(rest), found.cells[mine].place if mine in found.cells else "", value))
    return small
