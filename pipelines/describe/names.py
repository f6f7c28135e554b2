"""Ids and titles made of headings: a proposal that a person will want to reword."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

from pipelines.areas import plain

LONGEST_ID = 60
GENERIC = re.compile(
    r"(wert|werte|anzahl|zahl|zahlen|insgesamt|gesamt|summe|zusammen|total|value|obs_?value|count|n|daten|betrag)",
    re.IGNORECASE,
)
"""Headings that do not say what is counted."""
TOTAL_WORD = re.compile(r"\b(insgesamt|gesamt|zusammen|summe|total|alle)\b", re.IGNORECASE)
LINKS = {"in", "im", "den", "der", "die", "nach", "je", "und", "am", "von", "fuer", "mit"}
"""Words that say nothing at the end of a name."""
_AGES = [
    (re.compile(r"(\d{1,3})\s*(?:bis\s*unter|-\s*<|–\s*<|bis\s*<)\s*(\d{1,3})"), 1),
    (re.compile(r"(\d{1,3})\s*(?:bis|-|–)\s*(\d{1,3})"), 0),
]
_UNDER = re.compile(r"(?:unter|<|u)\s*(\d{1,3})")
_OVER = re.compile(r"(?:(\d{1,3})\s*(?:und|u\.)\s*(?:aelter|mehr|aeltere)|(\d{1,3})\s*\+|(?:ab|ueber)\s*(\d{1,3}))")


def words(text: str) -> str:
    """Lower case, ASCII letters and digits, one underscore between words."""
    ascii_only = unicodedata.normalize("NFKD", plain(text)).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", ascii_only).strip("_")


def identifier(text: str, taken: Container[str] = (), fallback: str = "wert") -> str:
    """A valid id that is not taken yet."""
    name = words(text)
    if name and not name[0].isalpha():
        name = f"{words(fallback) or 'wert'}_{name}"
    name = _shortened(name or words(fallback) or "wert", LONGEST_ID)
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{_shortened(name, LONGEST_ID - 5)}_{number}"
    return unique


def category_id(text: str, taken: Container[str] = ()) -> str:
    """Id of a category; age groups are written alike whatever the office's wording: a00_14, a65_plus."""
    return identifier(age_group(text) or text, taken, "k")


def age_group(text: str) -> str | None:
    """Code of an age group in whole years, None if the text names none."""
    name = re.sub(r"\s*(jahren?|jahre alt|j\.)", "", plain(text)).strip()
    for pattern, open_end in _AGES:
        if match := pattern.fullmatch(name):
            low, high = int(match[1]), int(match[2]) - open_end
            return f"a{low:02d}_{high:02d}" if low <= high else None
    if match := _UNDER.fullmatch(name):
        return f"a00_{int(match[1]) - 1:02d}" if int(match[1]) else None
    if match := _OVER.fullmatch(name):
        return f"a{int(next(filter(None, match.groups()))):02d}_plus"
    return None


def readable(text: str) -> str:
    """A name of a file or column as words."""
    return " ".join(text.replace("_", " ").split()) or "Ohne Titel"


def _shortened(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    cut = name[:longest]
    cut = (cut.rpartition("_")[0] if "_" in cut[20:] else cut).strip("_")
    while cut.rpartition("_")[2] in LINKS:
        cut = cut.rpartition("_")[0]
    return cut
