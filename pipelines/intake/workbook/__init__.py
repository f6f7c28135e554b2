"""Reads the sheets of workbooks (xls, xlsx, ods); a defect of the file becomes a finding, never an exception.

`checks` says what a file is and refuses what is no workbook or too large. python-calamine then reads the cells in a
child process (`child`) with limits of memory and time: whatever a file makes of it, this process goes on. In the same
child `xml_facts` and `xls_facts` find what calamine does not tell: formulas, results that were never calculated, errors
such as #REF! (calamine returns empty cells) and links to other files. `parent` starts the child and hands on its rows.

What decides is the content, not the file's name. Nothing is unpacked to disk, no link is followed, no macro is run.
A program wrote formulas without calculating them: in xlsx and ods if the result is missing, or (xlsx) is 0 in a file
that asks to be calculated on opening; in xls if no formula of the file has a result, or results are 0 and the file says
that it was not calculated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the child imports this package too: it must stay light
    from pipelines.intake.failures import Findings
    from pipelines.intake.tables import Row
    from schemas.documents import Format, Workbook

NO_VALUE = "#OHNE WERT"
"""Text of a cell whose formula was never calculated: it must not pass for an empty cell."""


@dataclass(frozen=True)
class Sheet:
    """One sheet; its rows must be used up before the next sheet is asked for.

    `rows` begin with line 1 and column A, blank ones included, all of one width. `merged` holds first row, first
    column, last row and last column of merged areas, counted from 1.
    """

    name: str
    rows: Iterator[Row]
    merged: list[tuple[int, int, int, int]]


def open_sheets(path: Path, workbook: Workbook, form: Format, findings: Findings) -> Iterator[Sheet]:
    """Yield the declared sheets in the workbook's order, one row in memory at a time (the child holds a whole sheet).

    Cells become text as in a text file: numbers in their shortest exact form with `form.decimal` as decimal mark, days
    as 2002-06-30, moments as 2002-06-30 14:00, times as 14:00, truth values as WAHR and FALSCH, errors as #REF!.
    `findings.sheet` is the sheet's name until the next one is asked for.
    """
    from pipelines.intake.workbook.parent import sheets

    return sheets(path, workbook, form, findings)
