"""Numbers, units, periods and days as German readers write them."""

from __future__ import annotations

import datetime as dt
from decimal import ROUND_HALF_UP, Decimal

from pipelines.provenance.wording import period_in_words

THIN = "\u202f"
"""Narrow no-break space: between thousands (DIN 5008) and before a unit."""
MINUS = "\u2212"
UNITS = {"percent": f"{THIN}%", "per_1000": f"{THIN}je{THIN}1{THIN}000", "persons": "", "ratio": ""}


def figure(value: float | None, decimals: int = 0) -> str:
    """A number with a decimal comma and thin spaces between thousands; `–` if there is none.

    Halves are rounded away from zero, as offices print them. A negative number that rounds to nothing is 0.
    """
    if value is None:
        return "–"
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-decimals), rounding=ROUND_HALF_UP)
    text = f"{abs(rounded):,f}".translate(str.maketrans(",.", f"{THIN},"))
    return f"{MINUS}{text}" if rounded < 0 else text


def with_unit(value: float | None, unit: str, decimals: int) -> str:
    """A figure with its unit, e.g. `58,4 %`."""
    return figure(value, decimals) + (UNITS[unit] if value is not None else "")


def day(date: dt.date) -> str:
    """A day, e.g. `31.12.2021`."""
    return f"{date:%d.%m.%Y}"


__all__ = ["MINUS", "THIN", "UNITS", "day", "figure", "period_in_words", "with_unit"]
