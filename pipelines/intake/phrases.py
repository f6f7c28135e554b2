"""German words for numbers, periods and places in findings."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Spot:
    """Where figures stand: lines, and column and sheet if they are the same for all of them. 0: not in this file."""

    line: int = 0
    last_line: int = 0
    column: int = 0
    column_name: str = ""
    sheet: str = ""

    def keys(self) -> dict[str, Any]:
        """As arguments of `Findings.add`; one line is no range."""
        return {**self.__dict__, "last_line": self.last_line if self.last_line > self.line else 0}

    def lines(self) -> str:
        """In brackets, to follow a period; '' for figures that are not in this file."""
        if not self.line:
            return ""
        several = self.last_line > self.line
        parts = [f"Blatt »{self.sheet}«"] if self.sheet else []
        parts.append(f"Zeilen {self.line} bis {self.last_line}" if several else f"Zeile {self.line}")
        parts += [f"Spalte »{self.column_name}«"] if self.column_name else []
        return f" ({', '.join(parts)})"


def number(value: float) -> str:
    """With thousands point and decimal comma: 242.340 or 12,5."""
    whole, _, fraction = f"{value:,.4f}".partition(".")
    fraction = fraction.rstrip("0")
    text = whole.replace(",", ".") + (f",{fraction}" if fraction else "")
    return "0" if text == "-0" else text


def digits(value: float) -> str:
    """As it may stand in a cell: without thousands point."""
    return number(value).replace(".", "")


def percent(ratio: float) -> str:
    """A relative change with its sign: +2,3 %."""
    text = f"{100 * ratio:+.1f} %".replace(".", ",")
    return "0 %" if text in ("+0,0 %", "-0,0 %") else text


def day(period: str) -> str:
    """A period by its key: 31.12.2016, Schuljahr 2022/23, Jahresdurchschnitt 2021, 2021."""
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", period):
        return f"{dt.date.fromisoformat(period):%d.%m.%Y}"
    if period.endswith("-jd"):
        return f"Jahresdurchschnitt {period[:4]}"
    return f"Schuljahr {period[:4]}/{period[5:]}" if "-" in period else period


def when(period: str) -> str:
    """A period with its preposition: zum 31.12.2016, im Schuljahr 2022/23, im Jahresdurchschnitt 2021, im Jahr 2021."""
    text = day(period)
    if "." in text:
        return f"zum {text}"
    return f"im Jahr {text}" if text.isdigit() else f"im {text}"


def whens(periods: list[str]) -> str:
    """Several periods, of many the first and the last: zum 31.12.2014; zu 10 Zeiten (31.12.2014 bis 31.12.2023)."""
    if len(periods) == 1:
        return when(periods[0])
    if len(periods) <= 3:
        return "zu " + ", ".join(day(period) for period in sorted(periods))
    return f"zu {len(periods)} Zeiten ({day(min(periods))} bis {day(max(periods))})"
