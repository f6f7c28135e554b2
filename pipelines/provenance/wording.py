"""German words for what the provenance of a figure tells."""

from __future__ import annotations

import datetime as dt

from schemas.documents import Correction

_STATUS = {"reported": "dem Absender gemeldet", "confirmed": "vom Absender bestätigt", "assumed": "angenommen"}


def correction_in_words(entry: Correction, position: int) -> str:
    """What the file says, what holds instead, why, and how sure that is, for the line at a position of the entry."""
    old, new = entry.text_of(entry.expected, position), entry.text_of(entry.value or "", position)
    return (
        f"Zeile {entry.all_lines()[position]}, Spalte »{entry.column}«: in der Datei steht »{old}«, statt dessen gilt "
        f"»{new}«. {_why(entry)}"
    )


def dropped_in_words(entry: Correction) -> str:
    """Which rows of the file are left out, what they say in the column they are known by, why, and how sure that is."""
    lines = entry.all_lines()
    texts = list(dict.fromkeys(entry.text_of(entry.expected, position) for position in range(len(lines))))
    held = ", ".join(f"»{text}«" for text in texts[:3]) + (" und andere" if len(texts) > 3 else "")
    where = f"Zeile {lines[0]}" if len(lines) == 1 else f"Zeilen {lines[0]} bis {lines[-1]}"
    sheet = f"Blatt »{entry.sheet}«, " if entry.sheet else ""
    return f"{sheet}{where}, Spalte »{entry.column}«: in der Datei steht {held}. {_why(entry)}"


def _why(entry: Correction) -> str:
    return f"Grund: {entry.reason} ({_STATUS[entry.status]}, {entry.reported_on:%d.%m.%Y})"


def number(value: float | None, decimals: int | None = None) -> str:
    """A number as Germans write it; without `decimals` with as many places as it needs, at most six."""
    if value is None:
        return "–"
    text = f"{value:,.{6 if decimals is None else decimals}f}"
    if decimals is None and "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.translate(str.maketrans(",.", ".,"))


def period_in_words(period_type: str, reference_date: dt.date) -> str:
    """A period as it is spoken of: 31.12.2021, Jahresdurchschnitt 2021, 2021, Schuljahr 2020/21."""
    year = reference_date.year
    if period_type == "stichtag":
        return f"{reference_date:%d.%m.%Y}"
    if period_type == "jahresdurchschnitt":
        return f"Jahresdurchschnitt {year}"
    return f"Schuljahr {year - 1}/{year % 100:02d}" if period_type == "schuljahr" else str(year)
