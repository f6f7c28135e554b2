"""Applies the corrections that a source declares for one delivery, cell by cell, before anything is read."""

from __future__ import annotations

import pandas as pd

from pipelines.intake.failures import Findings, shown
from pipelines.intake.tables import plain_heading
from schemas.documents import Correction

_Entry = tuple[int, Correction, int]
"""Number of the correction, the correction, position of the line in it."""


class Pending:
    """Corrections that have not met their lines yet."""

    def __init__(self, corrections: list[Correction], findings: Findings) -> None:
        """Spread the corrections over their lines."""
        self.findings = findings
        self.entries: dict[tuple[str, int], list[_Entry]] = {}
        for number, correction in enumerate(corrections):
            for position, line in enumerate(correction.all_lines()):
                entry = (number, correction, position)
                self.entries.setdefault((correction.sheet or "", line), []).append(entry)

    def apply(self, received: pd.DataFrame, sheet: str, columns: dict[str, int]) -> pd.DataFrame:
        """Corrected copy of received rows, without the dropped ones.

        Args:
            received: text cells by position of the column, and `line`.
            sheet: name of the sheet the rows stand on, '' in text files.
            columns: position by heading.

        Returns:
            The same columns and index, and `correction`: number of the last correction of the row, missing if none.
        """
        wide = received.copy(deep=bool(self.entries))
        wide["correction"] = pd.array([pd.NA] * len(wide), dtype="Int32")
        if not self.entries:
            return wide
        dropped = []
        for index, line in zip(wide.index, wide["line"], strict=True):
            for number, correction, position in self.entries.pop((sheet, line), []):
                column = columns.get(plain_heading(correction.column))
                if column is None:
                    self._no_cell(correction, line)
                    continue
                self._compare(correction, position, line, column, str(received.at[index, column]))
                wide.at[index, "correction"] = number
                if correction.drop:
                    dropped.append(index)
                else:
                    wide.at[index, column] = correction.text_of(correction.value or "", position)
        return wide.drop(index=dropped)

    def _compare(self, correction: Correction, position: int, line: int, column: int, found: str) -> None:
        expected = correction.text_of(correction.expected, position)
        if found.strip() != expected.strip():
            self.findings.add(
                "berichtigung",
                f"Eine Berichtigung im YAML passt nicht: in der Zelle steht »{shown(found)}«",
                f"»{expected}« (so nennt es die Berichtigung); Berichtigung prüfen",
                line=line,
                column=column + 1,
                column_name=plain_heading(correction.column),
                value=found,
                sheet=correction.sheet or "",
            )

    def report_rest(self) -> None:
        """Report corrections whose lines did not occur."""
        for (_, line), entries in self.entries.items():
            for _, correction, _ in entries:
                self._no_cell(correction, line)

    def _no_cell(self, correction: Correction, line: int) -> None:
        self.findings.add(
            "berichtigung",
            "Eine Berichtigung im YAML nennt eine Zelle, die es nicht gibt",
            "Zeile und Spalte einer gelesenen Zelle dieser Lieferung",
            line=line,
            column_name=correction.column,
            value=correction.expected if isinstance(correction.expected, str) else "",
            sheet=correction.sheet or "",
        )
