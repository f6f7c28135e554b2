"""What was probably meant by a cell that is no readable number: a guess for the sender, never used as a value."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_GROUPED = re.compile("-?[1-9][0-9]{0,2}(?:[.,' \u00a0\u202f][0-9]{3})+")
_DECIMAL = re.compile("-?[0-9]+([.,])[0-9]+")
_DIGITS = re.compile("-?[0-9]+(?:[.,][0-9]+)?")
_LETTERS = str.maketrans({"O": "0", "o": "0", "I": "1", "l": "1"})
_LONGEST = 20


@dataclass(frozen=True)
class Slip:
    """A frequent slip: its kind, and in German what would be right."""

    kind: str
    words: str


def slip_of(finding: dict[str, Any]) -> Slip | None:
    """The slip behind a finding about a single cell; None if nothing suggests itself."""
    text = str(finding["value"]).strip()
    if finding["rule"] != "zelle_lesbar" or not text or len(text) > _LONGEST:
        return None
    if _GROUPED.fullmatch(text):
        plain = re.sub("[^0-9-]", "", text)
        return Slip("tausender", f"ohne Tausenderzeichen, also {plain} statt {text}")
    if match := _DECIMAL.fullmatch(text):
        other, name = {".": (",", "Komma"), ",": (".", "Punkt")}[match[1]]
        return Slip("dezimal", f"mit {name}, also {text.replace(match[1], other)} statt {text}")
    digits = text.translate(_LETTERS)
    if digits != text and re.search("[0-9]", text) and _DIGITS.fullmatch(digits):
        return Slip("buchstabe", f"Ziffern statt Buchstaben, also {digits} statt {text}")
    return None
