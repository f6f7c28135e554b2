"""A file, or one of its sheets, that is not read: the German finding that says why."""

from __future__ import annotations

from pathlib import Path

from pipelines.intake.failures import column_letters, shown

ANY_WORKBOOK = "eine Arbeitsmappe (xlsx, xls oder ods)"
SUFFIXES = (".xls", ".xlsx", ".xlsm", ".xlsb", ".ods")
SOUND = "eine Datei, die sich in Excel ohne Meldung öffnen lässt"


class Refused(Exception):
    """Becomes a finding; line and column count from 1, 0 is none."""

    def __init__(self, rule: str, message: str, expected: str = SOUND, sheet: str | None = None) -> None:
        """Keep the finding; without `sheet` it is about the sheet being read."""
        super().__init__(rule, message, expected, sheet)
        self.finding = (rule, message, expected, 0, 0, sheet)


def damaged(what: str) -> Refused:
    """The file is broken."""
    return Refused("datei_lesbar", f"Die Datei ist beschädigt: {what}")


def technical(error: object) -> str:
    """An English message in brackets."""
    return f"(technisch: {shown(str(error)) or type(error).__name__})"


def protected() -> Refused:
    """The file has a password."""
    return Refused("datei_lesbar", "Die Datei ist mit einem Kennwort geschützt", "eine Datei ohne Kennwort")


def other_kind(kind: str, path: Path) -> Refused:
    """The file is something else than a workbook."""
    suffix = path.suffix.lower()
    although = f", obwohl ihr Name auf {suffix} endet" if suffix in SUFFIXES else ""
    return Refused("dateiart", f"Die Datei ist {kind}{although}", f"{ANY_WORKBOOK}, in Excel gespeichert")


def cell_name(row: int, column: int) -> str:
    """Name of a cell; row and column count from 0."""
    return f"{column_letters(column + 1)}{row + 1}"
