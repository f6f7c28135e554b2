"""Text from outside (file names, cells) as it may be shown to people. Standard library only."""

from __future__ import annotations

import unicodedata

HIDDEN = "�"
"""Stands for a character that is not shown."""


def printable(text: str) -> str:
    """One line of text without control and format characters.

    Escape sequences steer a terminal, line breaks forge lines of a log, direction marks show a name backwards, and
    half characters (a file name that is not UTF-8) can't be written at all. Blanks of every width stay.
    """
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or unicodedata.category(sign) == "Zs" else HIDDEN for sign in text)
