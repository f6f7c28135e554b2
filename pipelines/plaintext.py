"""Text from outside (file names, cells) as it may be shown to people. Standard library only."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """One line of text, its control and format characters written out as ⟨U+202E⟩.

    Escape sequences steer a terminal, line breaks forge lines of a log, direction marks show a name backwards, and
    half characters (a file name that is not UTF-8) can't be written at all. Blanks of every width stay.
    """
    if text.isprintable():
        return text
    return "".join(sign if _harmless(sign) else f"⟨U+{ord(sign):04X}⟩" for sign in text)


def _harmless(sign: str) -> bool:
    return sign.isprintable() or unicodedata.category(sign) == "Zs"
