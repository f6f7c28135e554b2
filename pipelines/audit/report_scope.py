"""What a page of the report is about, which numbers make a scale, and which ids its addresses may hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

from pipelines.audit.report_markup import DIGIT, Text

_TICK = re.compile(r"([-\u2212+]?)(\d{1,3}(?:[\u202f\u00a0.]\d{3})+|\d+)(?:,(\d+))?(?:[\u202f\u00a0 ]?[%\u20ac])?")
_ROUND = (1, 2, 25, 5)
"""Digits of the distance of ticks."""
_SUFFIX = re.compile(r"\.(?:html|css|csv|xlsx|pdf|json|duckdb)\b")


@dataclass(frozen=True)
class Scope:
    """What a page is about: figures of others have no business there. "" stands for all.

    Attributes:
        room: folder below `bericht/`, "" for the pages at the top.
        indicator: the one indicator.
        area: the one area.
        level: the one level.
    """

    room: str = ""
    indicator: str = ""
    area: str = ""
    level: str = ""

    @property
    def printed(self) -> bool:
        """Whether the page is a print edition, with numbered sections."""
        return self.room == "druck"

    @property
    def provenance(self) -> bool:
        """Whether it is a page of provenance, which shows the figures behind its own alone."""
        return self.room == "herkunft"


def scope_of(name: str) -> Scope:
    """What a page is about, by its path below `bericht/`."""
    room, _, rest = name.removesuffix(".html").rpartition("/")
    room, _, folder = room.partition("/")
    if room == "herkunft":
        return Scope(room, folder, rest)
    if rest in ("index", "staedte"):
        return Scope(room)
    if room in ("indikatoren", "datenfluss"):
        return Scope(room, rest)
    if room in ("karten", "vergleich"):
        indicator, _, after = rest.partition("-")
        return Scope(room, indicator, level=after.partition("-")[0])
    if room == "druck":
        return Scope(room, area=rest.partition("sozialraumbericht-")[2])
    return Scope(room, area=rest if room == "gebiete" else "")


def mark_scales(texts: Iterable[Text], years: set[str]) -> None:
    """Mark the numbers of each drawing that make a scale: three at equal distances, or two that are round."""
    drawings: dict[int, list[tuple[Text, Fraction]]] = {}
    for text in texts:
        free = text.kind == "bild" and text.figure is None and not text.counted and not text.columns
        number = _number(text.text.strip()) if free and text.text.strip() not in years else None
        if number is not None:
            drawings.setdefault(text.drawing, []).append((text, number))
    for numbers in drawings.values():
        there = sorted({number for _, number in numbers})
        steps = {after - before for before, after in pairwise(there)}
        for text, _ in numbers:
            text.in_scale = (len(there) > 2 and len(steps) == 1) or _two_ends(there)


def mark_steps(texts: Iterable[Text]) -> None:
    """Mark the numbered boxes of each drawing that are numbered from 1 without a gap."""
    drawings: dict[int, list[tuple[Text, int]]] = {}
    for text in texts:
        found = re.match(r"(\d{1,2})\. [^\W\d]\D*$", text.text) if text.kind == "bild" and not text.figure else None
        if found:
            drawings.setdefault(text.drawing, []).append((text, int(found[1])))
    for steps in drawings.values():
        in_order = [number for _, number in steps] == list(range(1, len(steps) + 1))
        for text, _ in steps:
            text.in_scale = in_order


def _number(text: str) -> Fraction | None:
    found = _TICK.fullmatch(text)
    if found is None:
        return None
    sign, whole, places = found.groups()
    digits = re.sub(r"\D", "", whole) + (places or "")
    return Fraction(int(digits), 10 ** len(places or "")) * (-1 if sign in ("-", "\u2212") else 1)


def _two_ends(there: list[Fraction]) -> bool:
    """Two numbers that are multiples of their distance, which is round."""
    if len(there) != 2:
        return False
    distance = there[1] - there[0]
    digits = int(str(int(distance * 10_000)).rstrip("0") or 0)
    return digits in _ROUND and there[0] % distance == 0


def unknown_ids(reference: str, is_known: Callable[[str], bool]) -> Sequence[str]:
    """Parts of an address or name that hold digits and are no ids.

    Args:
        reference: value of an attribute; its parts are ids, and ids joined by hyphens.
        is_known: whether a text is an id, a day or a year.
    """
    parts = [part for part in re.split(r"[/#?=&\s]+", _SUFFIX.sub("", reference)) if DIGIT.search(part)]
    return [part for part in parts if not _joined(part, is_known)]


def _joined(part: str, is_known: Callable[[str], bool]) -> bool:
    """Whether a text is made of ids and words without digits, with hyphens between them."""
    bits = part.split("-")
    starts = [0, *accumulate(len(bit) + 1 for bit in bits)]
    reached = {0}
    for first, _ in pairwise(range(len(bits) + 1)):
        if first in reached:
            ends = range(first + 1, len(bits) + 1)
            reached |= {end for end in ends if _fine(part[starts[first] : starts[end] - 1], is_known)}
    return len(bits) in reached


def _fine(text: str, is_known: Callable[[str], bool]) -> bool:
    return not DIGIT.search(text) or is_known(text)
