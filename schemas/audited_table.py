"""Pydantic model of the YAML that describes somebody else's printed table for `sozialraum audit`; no I/O.

Unlike the documents of a project this file is one plain group of keys, without type and attributes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from schemas.documents import Misfit, Strict, TableShape

COLUMNS = "columns"
"""Stands in `sums` for the columns of counts, which have no heading of their own."""

REST: Literal["rest"] = "rest"
"""All labels of a dimension that are no totals."""

Parts = list[str] | Literal["rest"]


class TextForm(Strict):
    """How a text file and the numbers in it are to be read; what is left out is found out."""

    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    encoding: Literal["utf-8", "latin-1", "cp1252"] | None = None
    decimal: Literal[",", "."] = ","
    thousands: Literal[".", ",", " ", "'"] | None = None

    @model_validator(mode="after")
    def _distinct_marks(self) -> TextForm:
        if self.decimal == self.thousands:
            raise ValueError("decimal und thousands dürfen nicht dasselbe Zeichen sein")
        if self.delimiter is not None and (self.delimiter in '"\r\n\0' or self.delimiter.isalnum()):
            raise Misfit("mögliche Trennzeichen sind etwa ; , | und der Tabulator", "delimiter")
        return self


class Rate(Strict):
    """A printed rate: `per` times numerator divided by denominator, rounded to the digits that are printed."""

    numerator: str
    denominator: str
    per: float = Field(default=100, gt=0, allow_inf_nan=False)


class AuditedTable(Strict):
    """What a printed table holds and which sums a reader can form in it."""

    format: TextForm = TextForm()
    sheet: str | None = Field(default=None, description="sheet of a workbook; needed if it has several")
    table: TableShape = TableShape()
    labels: list[str] = Field(min_length=1, description="columns that say what a row is about")
    counts: list[str] = Field(
        default=[], description="columns of counts; all others if neither this nor value is given"
    )
    value: str | None = Field(default=None, description="the column of counts, in a table with one count per row")
    ignore: list[str] = Field(default=[], description="columns that are not read")
    stars: list[str] = Field(default=["*", "x", ".", "/"], min_length=1, description="signs of a withheld number")
    zero_signs: list[str] = Field(default=["-", "–", "—"], description="signs that stand for zero")
    missing: list[str] = Field(default=[], description="signs of a number that nobody withholds; not judged")
    threshold: int = Field(default=3, ge=2, le=1000, description="counts from 1 to below this are confidential")
    zeros: Literal["published", "hidden"] = Field(
        default="published", description="published: readers know that a star is never zero"
    )
    absent: Literal["unknown", "zero"] = Field(
        default="unknown", description="what a row stands for that a sum needs and the table does not have"
    )
    amounts: bool = Field(default=False, description="amounts with decimals instead of counts")
    stars_only_small: bool = Field(
        default=False, description="readers know that every star is below the threshold (no other cell is withheld)"
    )
    secondary_harmless: bool = Field(
        default=False, description="a star that turns out not to be small was only there to protect others"
    )
    small_published: Literal["report", "allowed"] = "report"
    sums: dict[str, dict[str, Parts | list[Parts]]] = Field(
        default={}, description="per column of labels (or `columns`): total: parts"
    )
    part_of: dict[str, str] = Field(default={}, description="part: whole; the remainder is confidential too")
    rate_of: dict[str, Rate] = Field(default={}, description="columns of printed rates")

    @model_validator(mode="after")
    def _fits(self) -> AuditedTable:
        if self.value is not None and self.counts:
            raise Misfit("entweder counts (mehrere Spalten) oder value (eine Spalte)", "value")
        if self.value is not None and self.rate_of:
            raise Misfit("Quoten gehen nur bei Tabellen mit mehreren Spalten (counts)", "rate_of")
        if not (self.sums or self.part_of or self.rate_of):
            raise ValueError("keine Summen angegeben: sums, part_of oder rate_of sagen, was sich errechnen lässt")
        for name in self.sums:
            if name not in {*self.labels, COLUMNS}:
                raise Misfit(f"»{name}« steht nicht unter labels; für die Spalten: {COLUMNS}", "sums", name)
        if COLUMNS in self.labels:
            raise Misfit(f"»{COLUMNS}« steht für die Spalten der Zahlen und kann keine Beschriftung sein", "labels")
        if self.value is not None and COLUMNS in self.sums:
            raise Misfit("mit value gibt es nur eine Spalte von Zahlen", "sums", COLUMNS)
        if self.amounts and (self.part_of or self.rate_of or self.stars_only_small):
            raise Misfit("part_of, rate_of und stars_only_small gelten nur für Fallzahlen", "amounts")
        self._signs()
        return self

    def _signs(self) -> None:
        seen: dict[str, str] = {}
        for key in ("stars", "zero_signs", "missing"):
            for sign in getattr(self, key):
                if sign.strip() in seen and seen[sign.strip()] != key:
                    raise Misfit(f"»{sign}« steht auch unter {seen[sign.strip()]}", key)
                seen[sign.strip()] = key
