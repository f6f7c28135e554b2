"""Reference dates and period keys: how offices write them, and how we do."""

from __future__ import annotations

import calendar
import datetime as dt
import re

FORMS = {
    "stichtag": "31.12.2023, 2023-12-31, 2023_12_31, 31_12_2023 oder 31. Dezember 2023",
    "jahresdurchschnitt": "2023",
    "kalenderjahr": "2023",
    "schuljahr": "2022/23 oder 2022/2023",
}
_DAY_FIRST = re.compile(r"^([0-9]{1,2})[._]([0-9]{1,2})[._]([0-9]{4})$")
_YEAR_FIRST = re.compile(r"^([0-9]{4})[-_]([0-9]{1,2})[-_]([0-9]{1,2})(?:[ T]00:00(?::00)?)?$")
_YEAR = re.compile(r"^([0-9]{4})$")
_SCHOOL_YEAR = re.compile(r"^([0-9]{4})[/-]([0-9]{2}|[0-9]{4})$")
_MONTHS = ["januar", "februar", "märz", "april", "mai", "juni", "juli", "august", "september", "oktober"]
_WRITTEN = re.compile(r"^([0-9]{1,2})\.\s*([A-Za-zäÄ]+)\s+([0-9]{4})$")


def parse_period(text: str, period_type: str, day: str | None = None) -> dt.date | None:
    """Reference date (last day of the period) that a text names, or None if it names none.

    Args:
        text: as written in the file, surrounding blanks ignored.
        period_type: stichtag, jahresdurchschnitt, kalenderjahr or schuljahr.
        day: MM-DD that a bare year stands for (stichtag only).
    """
    text = text.strip()
    if period_type == "stichtag":
        return _day(text, day)
    if period_type == "schuljahr":
        match = _SCHOOL_YEAR.match(text)
        if match is None or int(match[2]) % 100 != (int(match[1]) + 1) % 100:
            return None
        if len(match[2]) == 4 and int(match[2]) != int(match[1]) + 1:
            return None
        return _date(int(match[1]) + 1, 7, 31)
    match = _YEAR.match(text)
    return _date(int(match[1]), 12, 31) if match else None


def _day(text: str, day: str | None) -> dt.date | None:
    if match := _DAY_FIRST.match(text):
        return _date(int(match[3]), int(match[2]), int(match[1]))
    if match := _YEAR_FIRST.match(text):
        return _date(int(match[1]), int(match[2]), int(match[3]))
    if match := _WRITTEN.match(text):
        names = [*_MONTHS, "november", "dezember"]
        month = match[2].lower()
        return _date(int(match[3]), names.index(month) + 1, int(match[1])) if month in names else None
    if day and (match := _YEAR.match(text)):
        month_number, day_number = map(int, day.split("-"))
        return _date(int(match[1]), month_number, day_number)
    return None


def _date(year: int, month: int, day: int) -> dt.date | None:
    if not (1900 <= year <= 2199 and 1 <= month <= 12):
        return None
    return dt.date(year, month, day) if 1 <= day <= calendar.monthrange(year, month)[1] else None


def period_key(period_type: str, reference_date: dt.date) -> str:
    """The period's key in commands and addresses: 2021-12-31, 2021-jd, 2021 or 2022-23."""
    if period_type == "stichtag":
        return reference_date.isoformat()
    if period_type == "jahresdurchschnitt":
        return f"{reference_date.year}-jd"
    if period_type == "schuljahr":
        return f"{reference_date.year - 1}-{reference_date.year % 100:02d}"
    return str(reference_date.year)


def parse_key(key: str, period_type: str) -> dt.date | None:
    """Reference date of a period's key (see `period_key`), or None if it is none."""
    text = key.removesuffix("-jd") if period_type == "jahresdurchschnitt" else key
    date = parse_period(text, period_type)
    return date if date and period_key(period_type, date) == key else None
