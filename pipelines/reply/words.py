"""German words around numbers, lines and periods; signs that nobody can see made visible."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

_SIGNS = {"\t": "⇥", "\n": "↵", "\r": "↵", "\u2028": "↵", "\u2029": "↵", "\u00a0": "⍽", "\u202f": "⍽"}
LEGEND = {
    "␣": "Leerzeichen am Rand",
    "⍽": "geschütztes Leerzeichen",
    "⇥": "Tabulator",
    "↵": "Zeilenumbruch",
    "⟨U+": "unsichtbares Zeichen mit seiner Nummer",
}
"""What the stand-ins for invisible signs mean."""
_HIDDEN = ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp", "Zs")
_QUOTED = re.compile("(»[^«]*«)")
_DAY = re.compile(r"\b([12][0-9]{3})-([01][0-9])-([0-3][0-9])\b")
_MEAN = re.compile(r"\b([12][0-9]{3})-jd\b")
_SCHOOL_YEAR = re.compile(r"([12][0-9]{3})-([0-9]{2})")


def visible(text: str) -> str:
    """Text in which control, direction and other unseen signs are written out; only the common blank stays a blank."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_seen(sign) for sign in text.replace("\r\n", "\n"))


def _seen(sign: str) -> str:
    if sign in _SIGNS:
        return _SIGNS[sign]
    if sign != " " and unicodedata.category(sign) in _HIDDEN:
        return f"⟨U+{ord(sign):04X}⟩"
    return sign


def visible_cell(text: str, longest: int) -> str:
    """A cell as it may be shown: shortened, blanks at its edges marked too."""
    cut = text if len(text) <= longest else text[:longest]
    inner = cut.strip(" ")
    left, right = len(cut) - len(cut.lstrip(" ")), len(cut) - len(cut.rstrip(" "))
    marked = "␣" * len(cut) if not inner else "␣" * left + visible(inner) + "␣" * right
    return marked if cut == text else f"{marked}…"


def shortened(text: str, longest: int) -> str:
    """Text cut at a blank, so that a person sees that it goes on."""
    if len(text) <= longest:
        return text
    cut = text[:longest]
    return (cut.rpartition(" ")[0] if " " in cut[longest // 2 :] else cut).rstrip(" ,;") + " …"


def number(value: int) -> str:
    """1234567 as 1.234.567."""
    return f"{value:,}".replace(",", ".")


def count(value: int, one: str, many: str) -> str:
    """»1 Zeile« or »5 Zeilen«."""
    return f"{number(value)} {one if value == 1 else many}"


def listed(words: Sequence[str]) -> str:
    """»a, b und c«."""
    return " und ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else ""


def findings_words(errors: int, warnings: int) -> str:
    """»3 Beanstandungen, 2 Hinweise«."""
    words = [count(errors, "Beanstandung", "Beanstandungen")] if errors else []
    words += [count(warnings, "Hinweis", "Hinweise")] if warnings else []
    return ", ".join(words) or "keine Beanstandung"


def sentence(text: str) -> str:
    """With a capital letter (unless it begins with a quotation) and a full stop."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!", "…")) else f"{text}."


# ---------------------------------------------------------------- lines


def spans(lines: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Line ranges (first, last) without overlaps, neighbours joined, in ascending order."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(lines):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def lines_words(ranges: Sequence[tuple[int, int]], most: int = 6) -> str:
    """»Zeile 4«, »Zeilen 92 bis 119«, »Zeilen 4, 7 und 12 bis 15«; '' without lines."""
    if not ranges:
        return ""
    words = [str(a) if a == b else f"{a} bis {b}" if b > a + 1 else f"{a} und {b}" for a, b in ranges]
    total = sum(last - first + 1 for first, last in ranges)
    start = "Zeile" if total == 1 else "Zeilen"
    if len(words) > most:
        return f"{start} {', '.join(words[: most - 1])} … {words[-1]} (zusammen {number(total)} Zeilen)"
    if any(" und " in word for word in words):
        return f"{start} " + ", ".join(words)
    return f"{start} {listed(words)}"


def within(ranges: Sequence[tuple[int, int]]) -> str:
    """»Zeile 4« or »zwischen den Zeilen 4 und 90«; '' without lines."""
    joined = spans(ranges)
    if len(joined) <= 2:
        return lines_words(joined)
    return f"zwischen den Zeilen {joined[0][0]} und {joined[-1][1]}"


# ---------------------------------------------------------------- periods


def period_words(key: str, kind: str) -> str:
    """A period's key as people write it: 31.12.2023, Jahresdurchschnitt 2023, 2023, Schuljahr 2022/23."""
    if kind == "schuljahr" and (match := _SCHOOL_YEAR.fullmatch(key)):
        return f"{match[1]}/{match[2]}"
    return _plain_dates(key)


def german_dates(text: str) -> str:
    """Text with days written as 31.12.2023; what stands in quotation marks is left as it arrived."""
    return outside_quotes(text, _plain_dates)


def outside_quotes(text: str, change: Callable[[str], str]) -> str:
    """Text changed but for what stands in »quotation marks«: that is the sender's."""
    return "".join(part if part.startswith("»") else change(part) for part in _QUOTED.split(text))


def _plain_dates(text: str) -> str:
    return _MEAN.sub(r"Jahresdurchschnitt \1", _DAY.sub(_day, text))


def _day(match: re.Match[str]) -> str:
    try:
        return f"{dt.date(int(match[1]), int(match[2]), int(match[3])):%d.%m.%Y}"
    except ValueError:
        return match[0]
