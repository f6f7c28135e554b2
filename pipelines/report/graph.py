"""Boxes and arrows drawn by hand: a flow in columns from left to right, or as one column that also fits a phone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from pipelines.report.drawing import ACCENT, INK, MUTED, Picture

WIDTH, PAD, LINE, GAP = 184, 10, 17, 16
"""Of a box: width, room inside, height of a line of text, room below it; in pixels."""
BETWEEN = 32
"""Between two columns."""
TOP = 30
"""Room for the headings of the columns."""
STEP_WIDTH = 300
"""Of a box that stands alone in its row."""
_PADDED = 2 * PAD + 4
_NARROW, _WIDE = "iljtfrI.,:;'-()/ ", "mwMWÄÖÜ@%"


@dataclass(frozen=True)
class Box:
    """Something in the flow: its text, the column it stands in (from 0), and the address it leads to."""

    key: str
    title: str
    column: int
    address: str
    strong: bool = False
    """What the drawing is about."""
    note: str = ""
    """A further line in quieter type."""


@dataclass
class _Place:
    x: float
    y: float
    width: float
    height: float
    lines: list[str]
    notes: int = 0
    """How many of the lines, the last ones, are quieter."""

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def in_columns(boxes: list[Box], arrows: Iterable[tuple[str, str]], headings: list[str], label: str) -> Picture:
    """Boxes in columns; an arrow over more than one column is led between the boxes of those it passes.

    Args:
        boxes: in the order in which they stand below each other, as far as the arrows allow.
        arrows: from key to key, always to the right.
        headings: one per column.
        label: what the drawing shows, as text alternative.
    """
    column = {box.key: box.column for box in boxes}
    chains = [_chain(start, end, column) for start, end in sorted(set(arrows))]
    columns = _sorted_columns([box.key for box in boxes], column, chains)
    lines = {box.key: wrapped(box.title, WIDTH - 2 * PAD, strong=box.strong) for box in boxes}
    places = _places(columns, lines)
    width = max(columns) * (WIDTH + BETWEEN) + WIDTH + 4
    height = max(place.y + place.height for place in places.values()) + 4
    parts = [_text(2 + n * (WIDTH + BETWEEN), 18, heading, True, MUTED) for n, heading in enumerate(headings)]
    parts += [_path([places[key] for key in chain]) for chain in chains]
    parts += [_drawn(box, places[box.key]) for box in boxes]
    return Picture("".join(parts), width, height, label, links=True)


def in_a_row(boxes: list[Box], label: str) -> Picture:
    """Boxes one below the other, an arrow from each to the next."""
    parts, y = [], 2.0
    for position, box in enumerate(boxes):
        title, note = (wrapped(text, STEP_WIDTH - 2 * PAD) for text in (box.title, box.note))
        place = _Place(2, y, STEP_WIDTH, len(title + note) * LINE + _PADDED, title + note, len(note))
        if position:
            parts.append(_arrow(STEP_WIDTH / 2 + 2, y - 22, STEP_WIDTH / 2 + 2, y - 2, down=True))
        parts.append(_drawn(box, place))
        y += place.height + 24
    return Picture("".join(parts), STEP_WIDTH + 4, y - 20, label, links=True)


# ---------------------------------------------------------------- places


def _chain(start: str, end: str, column: dict[str, int]) -> list[str]:
    """Keys that an arrow goes through: its ends, and a place of its own in every column between them."""
    between = range(column[start] + 1, column[end])
    for step in between:
        column[f"{start}>{end}@{step}"] = step
    return [start, *[f"{start}>{end}@{step}" for step in between], end]


def _sorted_columns(keys: list[str], column: dict[str, int], chains: list[list[str]]) -> dict[int, list[str]]:
    """Keys by column, each as close to what leads to it as the others allow, so that few arrows cross."""
    columns: dict[int, list[str]] = defaultdict(list)
    for key in [*keys, *[key for chain in chains for key in chain[1:-1]]]:
        columns[column[key]].append(key)
    near: dict[str, list[str]] = defaultdict(list)
    for chain in chains:
        for left, right in pairwise(chain):
            near[right].append(left)
            near[left].append(right)
    for order in (sorted(columns)[1:], sorted(columns, reverse=True)[1:], sorted(columns)[1:]):
        for number in order:
            rank = {key: n / len(found) for found in columns.values() for n, key in enumerate(found)}
            columns[number].sort(key=lambda key: _mean([rank[other] for other in near[key]], rank[key]))
    return dict(columns)


def _mean(numbers: list[float], default: float) -> float:
    return sum(numbers) / len(numbers) if numbers else default


def _places(columns: dict[int, list[str]], lines: dict[str, list[str]]) -> dict[str, _Place]:
    """Where everything stands; each column is centred."""
    places: dict[str, _Place] = {}
    heights: dict[int, float] = {}
    for number, keys in columns.items():
        y = 0.0
        for key in keys:
            text = lines.get(key, [])
            height = len(text) * LINE + _PADDED if text else 12
            places[key] = _Place(2 + number * (WIDTH + BETWEEN), y, WIDTH, height, text)
            y += height + GAP
        heights[number] = y - GAP
    tallest = max(heights.values())
    for number, keys in columns.items():
        for key in keys:
            places[key].y += TOP + (tallest - heights[number]) / 2
    return places


# ---------------------------------------------------------------- drawing


def _drawn(box: Box, place: _Place) -> str:
    fill, stroke = ("#e6f0f7", 2.5) if box.strong else ("#ffffff", 1.25)
    frame = (
        f'<rect x="{place.x:g}" y="{place.y:g}" width="{place.width:g}" height="{place.height:g}" rx="5" '
        f'fill="{fill}" stroke="{ACCENT}" stroke-width="{stroke}"/>'
    )
    loud = len(place.lines) - place.notes
    text = "".join(
        _text(place.x + PAD, place.y + PAD + 14 + n * LINE, line, box.strong, INK if n < loud else MUTED)
        for n, line in enumerate(place.lines)
    )
    return f'<a href="{escape(box.address)}">{frame}{text}</a>'


def _text(x: float, y: float, text: str, strong: bool, color: str) -> str:
    bold = ' font-weight="bold"' if strong else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="13.5"{bold} fill="{color}">{escape(text)}</text>'


def _path(places: list[_Place]) -> str:
    """A smooth line from box to box with a head at its end."""
    first = places[0]
    parts = [f"M{first.x + first.width:g},{first.middle:g}"]
    for left, right in pairwise(places):
        start, end = left.x + left.width, right.x
        half = (start + end) / 2
        parts.append(f"C{half:g},{left.middle:g} {half:g},{right.middle:g} {end:g},{right.middle:g}")
        if right is not places[-1]:
            parts.append(f"H{right.x + right.width:g}")
    line = f'<path d="{"".join(parts)}" fill="none" stroke="{MUTED}" stroke-width="1.5"/>'
    return line + _head(places[-1].x, places[-1].middle, down=False)


def _arrow(x1: float, y1: float, x2: float, y2: float, *, down: bool) -> str:
    line = f'<path d="M{x1:g},{y1:g}L{x2:g},{y2:g}" stroke="{MUTED}" stroke-width="1.5"/>'
    return line + _head(x2, y2, down=down)


def _head(x: float, y: float, *, down: bool) -> str:
    corners = [(x, y), (x - 4.5, y - 8), (x + 4.5, y - 8)] if down else [(x, y), (x - 8, y - 4.5), (x - 8, y + 4.5)]
    return f'<polygon points="{" ".join(f"{a:g},{b:g}" for a, b in corners)}" fill="{MUTED}"/>'


def wrapped(text: str, width: float, *, strong: bool = False) -> list[str]:
    """Text in lines of about a width in pixels; a word that is longer is divided with a hyphen."""
    width = width / 1.12 if strong else width
    lines = [""]
    for word in (part for whole in text.split() for part in _divided(whole, width)):
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line]


def _divided(word: str, width: float) -> list[str]:
    parts = []
    while _width(word) > width:
        fits = max(n for n in range(1, len(word)) if n == 1 or _width(word[:n] + "-") <= width)
        parts.append(f"{word[:fits]}-")
        word = word[fits:]
    return [*parts, word]


def _width(text: str) -> float:
    """Width of a text in 13.5 px of a sans-serif type, rather too large."""
    return sum(4.6 if c in _NARROW else 11.8 if c in _WIDE else 9.4 if c.isupper() else 7.8 for c in text)
