"""Carelessness in labels that changes no figure today and breaks a join tomorrow: noted once per column and kind."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import pandas as pd

from pipelines.intake.failures import KEEP, Findings, shown

T = TypeVar("T")

LONGEST = 1000
"""Characters of a text that are kept."""
_DIGITS = re.compile("[0-9]+")


@dataclass
class _Seen:
    sheet: str
    line: int
    column: int
    column_name: str
    text: str
    rows: int

    def more(self) -> str:
        """How often the same occurs elsewhere in the column, to end a sentence with."""
        if self.rows < 3:
            return ", ebenso in einer weiteren Zelle der Spalte" if self.rows == 2 else ""
        return f", ebenso in {self.rows - 1} weiteren Zellen der Spalte"


class Style:
    """Looks at the label columns of every chunk and reports at the end of the file."""

    def __init__(self, findings: Findings) -> None:
        """Nothing seen yet."""
        self.findings = findings
        self._untidy: dict[tuple[str, str, str], _Seen] = {}
        self._spellings: dict[tuple[str, str], dict[str, _Seen]] = {}
        self._forms: dict[str, dict[str, _Seen]] = {}

    def look(self, wide: pd.DataFrame, frame: pd.DataFrame, labels: dict[str, int], period: str | None = None) -> None:
        """Look at the rows of a chunk (as text) and the figures made of them.

        Args:
            wide: text cells by position of the column, and `line`.
            frame: the figures, with `row` (index in `wide`), area_id and sheet.
            labels: columns that hold no figures, position by heading.
            period: heading of the column that holds the period.
        """
        sheet = str(frame["sheet"].iat[0]) if len(frame) else ""
        for name, position in labels.items():
            for whole, line, rows in _distinct(wide[position], wide["line"]):
                text = whole[:LONGEST]
                seen = _Seen(sheet, line, position + 1, name, text, rows)
                if whole != whole.strip():
                    _count(self._untidy, ("leerzeichen", name, ""), seen)
                if not text.isprintable() and any(_control_signs(text)):
                    _count(self._untidy, ("steuerzeichen", name, text), seen)
                if name == period and text.strip():
                    _count(self._forms.setdefault(name, {}), form_of(text), seen)

    def spelling(self, wide: pd.DataFrame, frame: pd.DataFrame, name: str, position: int) -> None:
        """Note how each recognised area is written in the column of names."""
        rows = frame.drop_duplicates("row")
        known = rows[rows["area_id"].notna() & (rows["area_id"] != "?")]
        texts = wide[position].loc[known["row"]].str.strip().to_numpy()
        table = pd.DataFrame({"area": known["area_id"].to_numpy(), "text": texts, "line": known["line"].to_numpy()})
        sheet = str(frame["sheet"].iat[0]) if len(frame) else ""
        groups = table.groupby(["area", "text"], sort=False)["line"].agg(["min", "size"])
        for area, text, first, rows_of_it in groups.reset_index().itertuples(index=False):
            spellings = self._spellings.setdefault((name, str(area)), {})
            seen = _Seen(sheet, int(first), position + 1, name, str(text), int(rows_of_it))
            _count(spellings, str(text)[:LONGEST], seen)

    def report(self) -> None:
        """Turn what was seen into findings."""
        for (rule, _, _), seen in self._untidy.items():
            more = seen.more()
            if rule == "leerzeichen":
                self._add(rule, seen, f"»{seen.text}« beginnt oder endet mit Leerzeichen{more}", "Text ohne Rand")
            else:
                signs = ", ".join(dict.fromkeys(_control_signs(seen.text)))
                self._add(
                    rule, seen, f"»{_visible(seen.text)}« enthält unsichtbare Zeichen ({signs}){more}", "reiner Text"
                )
        for spellings in self._spellings.values():
            usual = max(spellings.values(), key=lambda seen: (seen.rows, -seen.line))
            for seen in spellings.values():
                if seen is not usual:
                    message = f"»{shown(seen.text)}« steht sonst als »{shown(usual.text)}« ({usual.rows} Zeilen)"
                    self._add("schreibweise", seen, message, f"überall »{shown(usual.text)}«")
        for forms in self._forms.values():
            first, *others = forms.values()
            for seen in others:
                message = f"»{shown(seen.text)}« ist anders geschrieben als »{shown(first.text)}« in Zeile {first.line}"
                self._add("zeitform", seen, message + seen.more(), "eine Form in der ganzen Spalte")

    def _add(self, rule: str, seen: _Seen, message: str, expected: str) -> None:
        self.findings.add(
            rule,
            message,
            expected,
            line=seen.line,
            column=seen.column,
            column_name=seen.column_name,
            value=seen.text,
            sheet=seen.sheet,
        )


def _count(known: dict[T, _Seen], key: T, seen: _Seen) -> None:
    """Note where something is first seen, and how often; a file of nothing but oddities is noted in part."""
    if key in known:
        known[key].rows += seen.rows
    elif len(known) < KEEP:
        known[key] = replace(seen)  # one text may be noted for several reasons


def _distinct(texts: pd.Series, lines: pd.Series) -> Iterator[tuple[str, int, int]]:
    """Distinct texts with the first line and the number of cells."""
    codes, found = pd.factorize(texts)
    grouped = pd.DataFrame({"code": codes, "line": lines.to_numpy()}).groupby("code", sort=False)["line"]
    for code, first, cells in zip(grouped.min().index, grouped.min(), grouped.size(), strict=True):
        yield str(found[code]), int(first), int(cells)


def form_of(period: str) -> str:
    """How a period is written, whatever its digits."""
    return _DIGITS.sub("0", period.strip())


def untidy(texts: list[str]) -> bool:
    """Whether there is anything to note about texts of a label column: blanks around them, invisible signs."""
    if any(text != text.strip() for text in texts):
        return True
    joined = "".join(texts)
    return not joined.isprintable() and any(_control_signs(joined))


def _control_signs(text: str) -> list[str]:
    return [f"U+{ord(sign):04X}" for sign in text if unicodedata.category(sign) in ("Cc", "Cf")]


def _visible(text: str) -> str:
    return shown("".join("�" if unicodedata.category(sign) in ("Cc", "Cf") else sign for sign in text))
