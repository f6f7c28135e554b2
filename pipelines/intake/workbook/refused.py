"""A file, or one of its sheets, that is not read: the German finding that says why."""

from __future__ import annotations

from pathlib import Path

from pipelines.intake.failures import Findings, shown

ANY_WORKBOOK = "eine Arbeitsmappe (xlsx, xls oder ods)"
SUFFIXES = (".xls", ".xlsx", ".xlsm", ".xlsb", ".ods")
_SOUND = "eine Datei, die sich in Excel ohne Meldung öffnen lässt"


class Refused(Exception):
    """Becomes a finding; without `sheet` it is about the sheet being read."""

    def __init__(self, rule: str, message: str, expected: str = _SOUND, sheet: str | None = None) -> None:
        """`args` hold the finding; so they can be handed from the child to the parent."""
        super().__init__(rule, message, expected, sheet)

    def note(self, findings: Findings) -> None:
        """Add the finding."""
        findings.add(*self.args[:3], sheet=self.args[3])


def damaged(what: str, error: object = "") -> Refused:
    """The file is broken; an English error goes into brackets."""
    technical = f" (technisch: {shown(str(error)) or type(error).__name__})" if error != "" else ""
    return Refused("datei_lesbar", f"Die Datei ist beschädigt: {what}{technical}")


def too_big(message: str, expected: str, sheet: str | None = None) -> Refused:
    """A limit is exceeded."""
    return Refused("datei_zu_gross", message, expected, sheet)


def protected() -> Refused:
    """The file has a password."""
    return Refused("datei_lesbar", "Die Datei ist mit einem Kennwort geschützt", "eine Datei ohne Kennwort")


def other_kind(kind: str, path: Path) -> Refused:
    """The file is something else than a workbook."""
    suffix = path.suffix.lower()
    although = f", obwohl ihr Name auf {suffix} endet" if suffix in SUFFIXES else ""
    return Refused("dateiart", f"Die Datei ist {kind}{although}", f"{ANY_WORKBOOK}, in Excel gespeichert")
