"""Writes YAML with comments. PyYAML writes every value, so that no text of a file can break the page."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import yaml

from pipelines.intake.failures import shown

WIDTH = 118
FILL_IN = "AUSFÜLLEN"
"""Marks a placeholder that only a person can fill in."""
LONGEST_NOTE = 1200


class Notes:
    """Comments by the place they belong to, in the order they came up."""

    def __init__(self) -> None:
        """Start without any."""
        self._by_place: dict[str, list[str]] = defaultdict(list)
        self.doubts = 0

    def fact(self, place: str, text: str) -> None:
        """What was seen in the file."""
        self._by_place[place].append(text)

    def doubt(self, place: str, text: str) -> None:
        """What a person must decide or ask the office; said once."""
        entry = f"UNKLAR: {text}"
        if entry not in self._by_place[place]:
            self._by_place[place].append(entry)
            self.doubts += 1

    def take(self, other: Notes) -> None:
        """Add the comments of another."""
        for place, texts in other._by_place.items():
            self._by_place[place] += texts
        self.doubts += other.doubts

    def at(self, place: str) -> list[str]:
        """All comments of a place."""
        return self._by_place.get(place, [])


def counted(number: int, one: str, several: str) -> str:
    """A number with its noun."""
    return f"{number} {one if number == 1 else several}"


class Paper:
    """A YAML page written line by line."""

    def __init__(self, notes: Notes) -> None:
        """Start empty."""
        self.notes = notes
        self.lines: list[str] = []

    def note(self, text: str, indent: int = 0) -> None:
        """A comment of its own, wrapped."""
        prefix = " " * indent + "# "
        more = prefix + ("  " if text.startswith("UNKLAR") else "")
        plain = commented(text, LONGEST_NOTE)
        lines = textwrap.wrap(plain, WIDTH, initial_indent=prefix, subsequent_indent=more, break_on_hyphens=False)
        self.lines += lines or [prefix.rstrip()]

    def place(self, place: str, indent: int) -> None:
        """The comments of a place."""
        for text in self.notes.at(place):
            self.note(text, indent)

    def open(self, key: str, indent: int, place: str = "") -> None:
        """A key whose group follows."""
        self.place(place or key, indent)
        self.lines.append(" " * indent + f"{inline(key)}:")

    def pair(self, key: str, value: Any, indent: int, tail: str = "", place: str = "") -> None:
        """A key with its value on one line, the comments of the place above it, a short comment behind it."""
        self.place(place or key, indent)
        self._line(" " * indent + f"{inline(key)}: {inline(value)}", tail, indent)

    def item(self, value: dict[str, Any], indent: int) -> None:
        """A list entry: on one line if it fits, else one key per line."""
        one_line = " " * indent + f"- {inline(value)}"
        if len(one_line) <= WIDTH or any(_unwieldy(name) for name in value):
            self.lines.append(one_line)
            return
        first = len(self.lines)
        for name, entry in value.items():
            if isinstance(entry, dict):
                self.mapping(name, entry, indent + 2, place="-")
            else:
                self.pair(name, entry, indent + 2, place="-")
        self.lines[first] = " " * indent + "- " + self.lines[first].lstrip()

    def mapping(self, key: str, value: Mapping[str, Any], indent: int, place: str = "", tail: str = "") -> None:
        """A group: on one line if it fits, else one key per line; a key that is too long for YAML goes on one line."""
        one_line = " " * indent + f"{inline(key)}: {inline(dict(value))}  # {tail}"
        if len(one_line) <= WIDTH or any(_unwieldy(name) for name in value):
            self.pair(key, dict(value), indent, tail, place)
            return
        self.open(key, indent, place)
        self.lines[-1] += f"  # {tail}" if tail else ""
        for name, entry in value.items():
            self.pair(name, entry, indent + 2, place="-")

    def break_document(self) -> None:
        """The next document begins."""
        self.lines.append("---")

    def text(self) -> str:
        """The whole page."""
        return "\n".join(self.lines) + "\n"

    def _line(self, line: str, tail: str, indent: int) -> None:
        if tail and len(line) + len(tail) + 4 > WIDTH:
            self.note(tail, indent)
            tail = ""
        self.lines.append(f"{line}  # {commented(tail)}" if tail else line)


class _Dumper(yaml.SafeDumper):
    """Texts with line breaks or odd signs in double quotes, where they are written as escapes."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    quoted = not any(map(str.isalnum, text)) or not text.isprintable()
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


_Dumper.add_representer(str, _represent_text)


def inline(value: Any) -> str:
    """A value as YAML on one line, in signs that a terminal shows as they are."""
    # Texts as a document of their own, lists and groups inside a list: there they stay on one line
    whole = value if isinstance(value, str) else [value]
    text = yaml.dump(
        whole, Dumper=_Dumper, default_flow_style=True, allow_unicode=True, sort_keys=False, width=float("inf")
    )
    line = text.removesuffix("...\n").removesuffix("\n") if whole is value else text[1:-2]
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in line)


def _escaped(sign: str) -> str:
    """An invisible sign, which stands in double quotes, as YAML writes it there."""
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"


def _unwieldy(key: str) -> bool:
    """Whether a key cannot stand alone on a line (YAML limits the length of simple keys)."""
    return len(inline(key)) > 100


def commented(text: str, longest: int = 200) -> str:
    """Text as it may stand in a comment: one line, nothing invisible."""
    return shown(text, longest)
