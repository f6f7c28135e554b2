"""What calamine does not tell of a sheet, and the findings about it. Rows and columns count from 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.intake.limits import SHEET_CELLS
from pipelines.intake.workbook import NO_VALUE
from pipelines.intake.workbook.refused import Refused, cell_name, damaged

_ROWS, _COLUMNS = 1_048_576, 16_384
"""Size of a sheet in Excel and LibreOffice."""
_SHOWN = 5
"""Places listed in a sentence; the others are counted."""
Finding = tuple[str, str, str, int, int, str | None]
"""Rule, message, expected, line and column (from 1), sheet (none: the one being read)."""


@dataclass
class Places:
    """Some cells of a sheet: the first few by name, all by number."""

    count: int = 0
    first: list[tuple[int, int]] = field(default_factory=list)

    def add(self, row: int, column: int) -> None:
        """One more cell."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append((row, column))

    def findings(self, rule: str, what: str, expected: str) -> list[Finding]:
        """One finding about all cells, at the first one; none without cells."""
        if not self.count:
            return []
        cells = "1 Zelle" if self.count == 1 else f"{self.count} Zellen"
        names = ", ".join(cell_name(*place) for place in self.first) + (" …" if self.count > _SHOWN else "")
        row, column = self.first[0]
        return [(rule, f"{cells} {what} ({names})", expected, row + 1, column + 1, None)]


@dataclass
class Facts:
    """Formulas, texts that stand where calamine returns something else, and (ods) merged areas of one sheet."""

    sheet: str | None = None
    formulas: Places = field(default_factory=Places)
    uncalculated: Places = field(default_factory=Places)
    instead: dict[int, dict[int, str]] = field(default_factory=dict)
    merged: list[tuple[int, int, int, int]] = field(default_factory=list)
    last_row: int = -1
    last_column: int = -1

    def reach(self, row: int, column: int) -> None:
        """There is a filled cell; refuses a sheet that becomes too large."""
        if row <= self.last_row and column <= self.last_column:
            return
        if row >= _ROWS or column >= _COLUMNS:
            raise damaged(f"eine Zelle liegt außerhalb des Blattes (Zeile {row + 1}, Spalte {column + 1})")
        self.last_row, self.last_column = max(row, self.last_row), max(column, self.last_column)
        if (self.last_row + 1) * (self.last_column + 1) > SHEET_CELLS:
            corner = cell_name(self.last_row, self.last_column)
            message = f"Das Blatt reicht bis Zelle {corner}, das sind mehr als {SHEET_CELLS} Zellen"
            expected = "ein Blatt ohne vergessene Eingaben weit rechts oder unten"
            raise Refused("datei_zu_gross", message, expected, self.sheet)

    def replace(self, row: int, column: int, text: str) -> None:
        """Another text stands there than calamine says."""
        self.reach(row, column)
        self.instead.setdefault(row, {})[column] = text

    def formula(self, row: int, column: int, calculated: bool) -> None:
        """There is a formula, with or without result."""
        self.formulas.add(row, column)
        if not calculated:
            self.uncalculated.add(row, column)
            self.replace(row, column, NO_VALUE)

    def findings(self) -> list[Finding]:
        """What is to be said about formulas."""
        what = "mit Formeln, deren Ergebnis nie berechnet wurde"
        expected = "gespeicherte Ergebnisse (die Datei in Excel öffnen und speichern)"
        return [
            *self.formulas.findings("formel", "mit Formeln", "Werte statt Formeln"),
            *self.uncalculated.findings("datei_lesbar", what, expected),
        ]


@dataclass(frozen=True)
class Book:
    """A whole workbook: links to the outside, number of sheets, and what is known of a sheet by its position."""

    links: list[str]
    count: int
    facts: Callable[[int], Facts]
