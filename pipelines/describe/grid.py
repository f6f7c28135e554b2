"""The table as columns of text, and which rows belong to which area and period."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipelines.describe.cells import numberish, sign, with_unit
from pipelines.describe.shape import Shape
from pipelines.intake.failures import Findings
from pipelines.intake.tables import PARTS


@dataclass(eq=False)
class Column:
    """One column: its heading as the layout names it, the heading's texts, the text of its cells (trimmed)."""

    index: int
    parts: list[str]
    texts: list[str]

    @property
    def name(self) -> str:
        """The heading as one text."""
        return PARTS.join(self.parts)

    @cached_property
    def counts(self) -> Counter[str]:
        """Distinct texts, empty ones left out."""
        return Counter(text for text in self.texts if text)

    @cached_property
    def figures(self) -> float:
        """Share of filled cells that are numbers or signs for none; without a number, all must be signs."""
        total = sum(self.counts.values())
        numbers = sum(n for text, n in self.counts.items() if numberish(text) or with_unit(text))
        signs = sum(n for text, n in self.counts.items() if sign(text) is not None)
        return (numbers + signs) / total if total and (numbers or signs == total) else 0.0

    def share(self, fits: Any) -> float:
        """Share of the filled cells whose text fits."""
        total = sum(self.counts.values())
        return sum(n for text, n in self.counts.items() if fits(text)) / total if total else 0.0


@dataclass
class Grid:
    """All rows of the tables of one sheet."""

    columns: list[Column]
    lines: list[int]
    titles: list[str]
    """Title of the table a row belongs to ('' without)."""
    sheets: list[str]
    """Name of the sheet a row stands on ('' in text files)."""
    complete: bool
    findings: Findings
    """What the readers found wrong with lines and headings."""

    @classmethod
    def of(cls, shapes: Sequence[Shape], **more: Any) -> Grid:
        """Read the samples of sheets of one layout as the readers would, with further keys of `table`."""
        heads: list[list[str]] = []
        cells: list[list[str]] = []
        lines: list[int] = []
        titles: list[str] = []
        sheets: list[str] = []
        findings = Findings()
        for table in (table for shape in shapes for table in shape.tables(findings, **more)):
            heads = heads or table.heads
            for row in table.rows:
                if table.heads == heads:
                    cells.append([cell.strip() for cell in row.cells])
                    lines.append(row.line)
                    titles.append(table.title)
                    sheets.append(table.sheet)
        texts: Sequence[Sequence[str]] = list(zip(*cells, strict=True)) or [()] * len(heads)
        columns = [Column(i, parts, list(texts[i])) for i, parts in enumerate(heads)]
        return cls(columns, lines, titles, sheets, all(shape.sheet.complete for shape in shapes), findings)

    def named(self, name: str) -> Column:
        """The first column of a heading."""
        return next(column for column in self.columns if column.name == name)

    def place(self, row: int, column: Column) -> str:
        """Where a cell stands, for doubts."""
        return f"Zeile {self.lines[row]}, Spalte »{column.name}«"
