"""What calamine does not tell of a sheet, and the findings about it. Rows and columns count from 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.intake.failures import column_letters
from pipelines.intake.limits import SHEET_CELLS
from pipelines.intake.workbook import NO_VALUE
from pipelines.intake.workbook.refused import damaged, too_big

_ROWS, _COLUMNS = 1_048_576, 16_384
"""Size of a sheet in Excel and LibreOffice."""
_SHOWN = 5
"""Places listed in a sentence; the others are counted."""
Finding = tuple[str, str, str, int, int]
"""Rule, message, expected, line and column (from 1)."""


def cell_name(row: int, column: int) -> str:
    """Name of a cell."""
    return f"{column_letters(column + 1)}{row + 1}"


def _finding(cells: list[tuple[int, int]], rule: str, what: str, expected: str) -> list[Finding]:
    """One finding about some cells, at the first one; none without cells."""
    if not cells:
        return []
    count = "1 Zelle" if len(cells) == 1 else f"{len(cells)} Zellen"
    names = ", ".join(cell_name(*place) for place in cells[:_SHOWN]) + (" …" if len(cells) > _SHOWN else "")
    return [(rule, f"{count} {what} ({names})", expected, cells[0][0] + 1, cells[0][1] + 1)]


@dataclass
class Facts:
    """Formulas, texts that stand where calamine returns something else, and (ods) merged areas of one sheet."""

    sheet: str | None = None
    formulas: list[tuple[int, int]] = field(default_factory=list)
    uncalculated: list[tuple[int, int]] = field(default_factory=list)
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
            raise too_big(message, "ein Blatt ohne vergessene Eingaben weit rechts oder unten", self.sheet)

    def replace(self, row: int, column: int, text: str) -> None:
        """Another text stands there than calamine says."""
        self.reach(row, column)
        self.instead.setdefault(row, {})[column] = text

    def formula(self, row: int, column: int, calculated: bool) -> None:
        """There is a formula, with or without result."""
        self.formulas.append((row, column))
        if not calculated:
            self.no_value(row, column)

    def no_value(self, row: int, column: int) -> None:
        """The formula there was never calculated."""
        self.uncalculated.append((row, column))
        self.replace(row, column, NO_VALUE)

    def findings(self) -> list[Finding]:
        """What is to be said about formulas."""
        what = "mit Formeln, deren Ergebnis nie berechnet wurde"
        expected = "gespeicherte Ergebnisse (die Datei in Excel öffnen und speichern)"
        return [
            *_finding(self.formulas, "formel", "mit Formeln", "Werte statt Formeln"),
            *_finding(self.uncalculated, "datei_lesbar", what, expected),
        ]


@dataclass(frozen=True)
class Book:
    """A whole workbook: links to the outside, number of sheets, and what is known of a sheet by its position."""

    links: list[str]
    count: int
    facts: Callable[[int], Facts]
