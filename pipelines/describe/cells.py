"""What a single cell may be: a number, a time, a sign for no number."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from pipelines.describe.paper import Notes, counted
from pipelines.describe.sample import Sample
from pipelines.intake.failures import shown
from pipelines.periods import parse_period
from schemas.documents import Format, Source, SymbolMeaning

_NUMBERISH = re.compile(r"[-+−–]?[0-9](?:[0-9.,'’ \u00a0\u202f]*[0-9])?")
_WITH_UNIT = re.compile(_NUMBERISH.pattern + r"\s*(?:%|€|Prozent|[rp]|\*)|\(\s*" + _NUMBERISH.pattern + r"\s*\)")
_DATEISH = re.compile(r"[0-9]{1,4}[._/-][0-9]{1,2}[._/-][0-9]{2,4}(?:[ T].*)?")
_BLANKS = re.compile("[\u00a0\u202f]")
_GROUPED = re.compile(r"-?[1-9][0-9]{0,2}([.,])[0-9]{3}")
_GERMAN: list[tuple[Literal[",", "."], Literal[".", ",", " ", "'"] | None]]
_GERMAN = [(",", None), (",", "."), (",", " "), (",", "'"), (".", None), (".", ","), (".", " "), (".", "'")]
"""Decimal and thousands mark, most probable first; the first pair that reads most cells is proposed."""
PERIOD_TYPES = ("stichtag", "schuljahr", "kalenderjahr")
_REMEMBERED = 100_000
"""Texts whose kind is remembered: the same ones come up again and again."""
YEAR_END = "12-31"


@dataclass(frozen=True)
class Sign:
    """A sign that stands for no number: the cautious reading, and what official statistics usually mean by it."""

    meaning: SymbolMeaning
    usual: str


_NOTHING = "in der amtlichen Statistik »nichts vorhanden«, also genau null (dann: zero); hier vorsichtig: missing"
SIGNS: dict[str, Sign] = {
    "": Sign("missing", "leer: fehlt die Angabe, ist sie null (zero) oder geheim (suppressed)?"),
    "-": Sign("missing", _NOTHING),
    "–": Sign("missing", _NOTHING),
    "—": Sign("missing", _NOTHING),
    ".": Sign("missing", "üblich für »unbekannt oder geheim zu halten«; falls geheim: suppressed"),
    "*": Sign("suppressed", "üblich für »aus Gründen des Datenschutzes nicht ausgewiesen«"),
    "x": Sign("missing", "üblich für »Aussage nicht sinnvoll«; manche Ämter sperren damit (dann: suppressed)"),
    "X": Sign("missing", "üblich für »Aussage nicht sinnvoll«; manche Ämter sperren damit (dann: suppressed)"),
    "/": Sign("missing", "üblich für »Zahlenwert nicht sicher genug«"),
    "…": Sign("missing", "üblich für »Angabe fällt später an«"),
    "...": Sign("missing", "üblich für »Angabe fällt später an«"),
    "•": Sign("suppressed", "üblich für »geheim zu halten«"),
}
_WORDS_FOR_NOTHING = {"k.a.", "k. a.", "ka", "n.v.", "n. v.", "nv", "na", "n/a", "nan", "null", "none", "fehlt"}


@lru_cache(_REMEMBERED)
def numberish(text: str) -> bool:
    """Whether a person would call it a number, whatever its marks."""
    return _NUMBERISH.fullmatch(text) is not None


@lru_cache(_REMEMBERED)
def with_unit(text: str) -> bool:
    """A number with something about it that the readers do not accept (%, brackets, r for revised)."""
    return _WITH_UNIT.fullmatch(text) is not None


@lru_cache(_REMEMBERED)
def sign(text: str) -> Sign | None:
    """Meaning of a text that stands for no number; None if it is not known as such."""
    if text.casefold() in _WORDS_FOR_NOTHING:
        return Sign("missing", "gelesen als »keine Angabe«")
    return SIGNS.get(text)


@lru_cache(_REMEMBERED)
def dateish(text: str) -> bool:
    """Whether it is built like a day, possible or not."""
    return _DATEISH.fullmatch(text) is not None


@lru_cache(_REMEMBERED)
def period_type(text: str) -> str | None:
    """The type of period a text names: stichtag, schuljahr, or kalenderjahr for a bare year."""
    return next((kind for kind in PERIOD_TYPES if parse_period(text, kind)), None)


# ---------------------------------------------------------------- marks of numbers


def number_format(texts: Sequence[str], sample: Sample, notes: Notes) -> Format:
    """Decimal and thousands mark that read most cells; where cells leave it open, a doubt says so.

    Between commas a decimal mark is rather a point. Numbers of a workbook come with a decimal comma from the readers;
    only its text cells can leave something open.
    """
    numbers = Counter(text for text in texts if numberish(text))
    pairs = _GERMAN[4:] + _GERMAN[:4] if sample.delimiter == "," else _GERMAN
    forms = [Format(decimal=decimal, thousands=thousands) for decimal, thousands in pairs]
    best = max(forms, key=lambda form: _readable(form, numbers))
    _ambiguous(best, Counter({t: n for t, n in numbers.items() if not (sample.workbook and "," in t)}), notes)
    return best


def pattern_of(form: Format) -> re.Pattern[str]:
    """The readers' own pattern of a number."""
    from pipelines.intake.layout import number_pattern

    return re.compile(number_pattern(Source.model_construct(format=form)))  # type: ignore[call-arg]


def number(text: str, form: Format, pattern: re.Pattern[str]) -> float | None:
    """The number in a cell as the readers would read it, None if they would not."""
    text = _plain_blanks(text)
    if not pattern.fullmatch(text):
        return None
    return float(text.replace(form.thousands or "\0", "").replace(form.decimal, "."))


def _readable(form: Format, numbers: Counter[str]) -> int:
    pattern = pattern_of(form)
    return sum(count for text, count in numbers.items() if pattern.fullmatch(_plain_blanks(text)))


def _plain_blanks(text: str) -> str:
    return _BLANKS.sub(" ", text)


def _ambiguous(form: Format, numbers: Counter[str], notes: Notes) -> None:
    """A mark with exactly three digits behind it may group thousands or begin a fraction."""
    grouped = {text: str(match[1]) for text in numbers if (match := _GROUPED.fullmatch(text))}
    for mark in dict.fromkeys(grouped.values()):
        if any(mark in text and text not in grouped for text in numbers):
            continue  # 1.234.567, 0.5 or 12.34 leave no doubt
        found = [text for text, used in grouped.items() if used == mark]
        samples, count = found[:3], sum(numbers[text] for text in found)
        beside = sorted((text for text in numbers if text.isascii() and text.isdigit()), key=len, reverse=True)[:2]
        what = f"»{'«, »'.join(samples)}« ({counted(count, 'Zelle', 'Zellen')})"
        if beside:
            what += f" neben »{'« und »'.join(beside)}«"
        if mark == form.thousands:
            fraction = samples[0].replace(mark, form.decimal)
            reading = f"gelesen als {samples[0].replace(mark, '')} (»{mark}« gliedert Tausender)"
            other = f'wäre es ein Dezimalzeichen ({fraction}): decimal: "{mark}" ohne thousands'
        else:
            reading = f"gelesen als Dezimalzahl mit »{mark}«"
            other = f'gliedert es Tausender ({samples[0].replace(mark, "")}): thousands: "{mark}"'
        notes.doubt("format", f"{what}: {reading}; {other}")


# ---------------------------------------------------------------- signs


def signs_of(
    texts: Iterable[tuple[str, str]], form: Format, legend: Sequence[str], notes: Notes
) -> dict[str, SymbolMeaning]:
    """Signs among value cells with their proposed meaning; what is neither number nor sign becomes a doubt.

    Args:
        texts: text of every value cell and its place, e.g. `Zeile 3`.
        form: marks of numbers.
        legend: lines below the table, where offices explain their signs.
        notes: takes the doubts.
    """
    pattern = pattern_of(form)
    seen: Counter[str] = Counter()
    first: dict[str, str] = {}
    for text, place in texts:
        if not pattern.fullmatch(_plain_blanks(text)):
            seen[text] += 1
            first.setdefault(text, place)
    symbols: dict[str, SymbolMeaning] = {}
    for text, count in seen.most_common():
        meant = sign(text)
        where = f"{counted(count, 'Zelle', 'Zellen')}, zuerst {first[text]}"
        if meant is None:
            hint = "; Zahl mit Zusatz" if with_unit(text) else ""
            text_shown = f"»{shown(text, 60)}« ({where}) ist keine Zahl und nicht vereinbart{hint}"
            notes.doubt("symbols", f"{text_shown}: damit wird die Lieferung zurückgewiesen, bis es geklärt ist")
            continue
        symbols[text] = meant.meaning
        explained = next((line for line in legend if text and line.startswith(text) and len(line) > len(text)), None)
        said = f"; in der Datei steht: »{shown(explained, 120)}«" if explained else ""
        notes.doubt(f"symbol:{text}", f"{where}: {meant.usual}{said}")
    return symbols
