"""Seeded damage to a delivery: every way in which files of statistics offices were seen to go wrong, and hostile ones.

A mutator changes a `Grid` (heading and rows as text) in place, or returns other bytes. All draw from the random
numbers they are handed, so a number names a mutant for ever.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from schemas.documents import Source

HIDDEN = ["\u200b", "\u202e", "\u00ad", "\ufeff", "\x1b[31m", "\x07", "\u2066"]
FORMS = ["1e5", "+3", "(5)", "5%", "12 Personen", "٣٤", "１２", "²", "0x1F", "NaN", "inf", "#REF!", "1.2.3", "5,", "−7"]
HARMFUL = [
    '=HYPERLINK("http://x";"y")',
    "+cmd|' /C calc'!A0",
    "@SUM(1)",
    "<script>alert(1)</script>",
    "'; DROP TABLE x",
]
SYMBOLS = ["*", "-", ".", "x", "k.A.", "…", "", "0", "/", "·"]


def heading(name: str) -> str:
    return " ".join(name.replace("\ufeff", "").split())


@dataclass
class Grid:
    """A table as text: heading first. The lists hold positions of columns by their part."""

    rows: list[list[str]]
    values: list[int] = field(default_factory=list)
    areas: list[int] = field(default_factory=list)
    periods: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, rows: list[list[str]], source: Source) -> Grid:
        grid = cls([list(row) for row in rows])
        names, layout = [heading(cell) for cell in rows[0]], source.layout
        wanted = [v.column for v in layout.values if v.column]
        grid.values = [i for i, n in enumerate(names) if (n in wanted if wanted else n[:1].isdigit())]
        if layout.area:
            named = [n for n in (layout.area.name, layout.area.number, layout.area.id) if n]
            grid.areas = [names.index(heading(name)) for name in named]
        grid.periods = [names.index(heading(layout.period.column))] if layout.period.column else []
        return grid

    def body(self) -> range:
        return range(1, len(self.rows))

    def some_rows(self, random: Random, most: int = 5) -> list[int]:
        return sorted(random.sample(self.body(), min(len(self.body()), random.choice([1, 1, 1, 2, most]))))

    def figures(self, random: Random) -> list[tuple[int, int]]:
        """One or a few cells that hold a number."""
        cells = [(r, c) for r in self.body() for c in self.values if re.search("[0-9]", self.rows[r][c])]
        return random.sample(cells, min(len(cells), random.choice([1, 1, 1, 2, 4])))

    def blocks(self) -> dict[str, list[int]]:
        """Rows by the text of their period; one block where periods are headings."""
        found: dict[str, list[int]] = {}
        for r in self.body():
            found.setdefault("|".join(self.rows[r][p] for p in self.periods), []).append(r)
        return found


Change = Callable[[Random, Grid], None]
GRID: dict[str, Change] = {}


def on_grid(change: Change) -> Change:
    GRID[change.__name__] = change
    return change


# ---------------------------------------------------------------- rows


@on_grid
def rows_cut(random: Random, grid: Grid) -> None:
    for r in reversed(grid.some_rows(random)):
        del grid.rows[r]


@on_grid
def end_cut(random: Random, grid: Grid) -> None:
    del grid.rows[random.randrange(1, len(grid.rows)) :]


@on_grid
def heading_cut(random: Random, grid: Grid) -> None:
    del grid.rows[0]


@on_grid
def lines_above(random: Random, grid: Grid) -> None:
    grid.rows[:0] = [["Amt für Statistik"], ["Stand: 2024", "x"]][: random.randint(1, 2)]


@on_grid
def order_changed(random: Random, grid: Grid) -> None:
    body = grid.rows[1:]
    random.shuffle(body)
    grid.rows[1:] = body


@on_grid
def row_twice(random: Random, grid: Grid) -> None:
    for r in grid.some_rows(random):
        grid.rows.insert(random.randrange(1, len(grid.rows)), list(grid.rows[r]))


@on_grid
def row_as_another_area(random: Random, grid: Grid) -> None:
    """The figures of one row stand under the labels of another: one area twice, one missing."""
    a, b = random.choices(grid.body(), k=2)
    for position in grid.areas or grid.periods:
        grid.rows[a][position] = grid.rows[b][position]


@on_grid
def row_inserted_for_another_area(random: Random, grid: Grid) -> None:
    a, b = random.choices(grid.body(), k=2)
    row = list(grid.rows[a])
    for position in grid.areas or grid.periods:
        row[position] = grid.rows[b][position]
    grid.rows.insert(a, row)


@on_grid
def area_names_exchanged(random: Random, grid: Grid) -> None:
    """Two rows of one period exchange their labels: every figure of both stands under the wrong area."""
    block = random.choice(list(grid.blocks().values()))
    a, b = random.choices(block, k=2)
    for position in grid.areas:
        grid.rows[a][position], grid.rows[b][position] = grid.rows[b][position], grid.rows[a][position]


@on_grid
def area_names_slipped(random: Random, grid: Grid) -> None:
    """In one period all labels stand one row too low, as after a wrong sort."""
    block = random.choice(list(grid.blocks().values()))
    labels = [[grid.rows[r][p] for p in grid.areas] for r in block]
    for r, moved in zip(block, labels[-1:] + labels[:-1], strict=True):
        for position, label in zip(grid.areas, moved, strict=True):
            grid.rows[r][position] = label


# ---------------------------------------------------------------- columns


@on_grid
def columns_moved(random: Random, grid: Grid) -> None:
    """Whole columns in another order, headings with them: harmless."""
    order = list(range(len(grid.rows[0])))
    random.shuffle(order)
    grid.rows[:] = [[row[i] for i in order] for row in grid.rows]


@on_grid
def headings_exchanged(random: Random, grid: Grid) -> None:
    a, b = random.choices(grid.values, k=2)
    grid.rows[0][a], grid.rows[0][b] = grid.rows[0][b], grid.rows[0][a]


@on_grid
def column_cut(random: Random, grid: Grid) -> None:
    position = random.randrange(len(grid.rows[0]))
    for row in grid.rows:
        del row[position]


@on_grid
def column_new(random: Random, grid: Grid) -> None:
    position, name = random.randrange(len(grid.rows[0]) + 1), random.choice(["neu", "", "2025", "insgesamt"])
    for number, row in enumerate(grid.rows):
        row.insert(position, str(random.randrange(1000)) if number else name)


@on_grid
def column_twice(random: Random, grid: Grid) -> None:
    position = random.randrange(len(grid.rows[0]))
    for row in grid.rows:
        row.append(row[position])


@on_grid
def heading_misspelt(random: Random, grid: Grid) -> None:
    position = random.randrange(len(grid.rows[0]))
    text = grid.rows[0][position]
    place = random.randrange(len(text) or 1)
    grid.rows[0][position] = text[:place] + random.choice(["", "x", "ß", " "]) + text[place + 1 :]


@on_grid
def heading_respaced(random: Random, grid: Grid) -> None:
    position = random.randrange(len(grid.rows[0]))
    grid.rows[0][position] = f" {grid.rows[0][position]}\u00a0"


@on_grid
def cells_shifted(random: Random, grid: Grid) -> None:
    for r in grid.some_rows(random):
        position = random.randrange(len(grid.rows[r]))
        grid.rows[r].insert(position, "") if random.random() < 0.5 else grid.rows[r].pop(position)


@on_grid
def columns_a_million(random: Random, grid: Grid) -> None:
    grid.rows[0] += [f"S{n}" for n in range(6000)]


# ---------------------------------------------------------------- numbers


def _edit(random: Random, grid: Grid, change: Callable[[str], str]) -> None:
    for r, c in grid.figures(random):
        grid.rows[r][c] = re.sub("[0-9]+", lambda digits: change(digits[0]), grid.rows[r][c], count=1)


@on_grid
def number_slightly_other(random: Random, grid: Grid) -> None:
    _edit(random, grid, lambda digits: str(max(0, int(digits) + random.choice([-3, -2, -1, 1, 2, 3]))))


@on_grid
def number_other(random: Random, grid: Grid) -> None:
    _edit(random, grid, lambda digits: str(random.randrange(2 * int(digits) + 10)))


@on_grid
def digit_added(random: Random, grid: Grid) -> None:
    _edit(random, grid, lambda digits: digits + str(random.randrange(10)))


@on_grid
def digit_lost(random: Random, grid: Grid) -> None:
    _edit(random, grid, lambda digits: digits[:-1] or "0")


@on_grid
def digits_turned(random: Random, grid: Grid) -> None:
    _edit(random, grid, lambda digits: digits[1::-1] + digits[2:])


@on_grid
def number_negative(random: Random, grid: Grid) -> None:
    _edit(random, grid, lambda digits: f"-{digits}")


@on_grid
def number_with_thousands_mark(random: Random, grid: Grid) -> None:
    _edit(random, grid, lambda digits: f"{int(digits):,}".replace(",", random.choice([".", " ", "\u00a0", "'"])))


@on_grid
def number_with_fraction(random: Random, grid: Grid) -> None:
    _edit(random, grid, lambda digits: digits + random.choice([",0", ",5", ".0", ".5", ",50"]))


@on_grid
def number_in_odd_form(random: Random, grid: Grid) -> None:
    for r, c in grid.figures(random):
        grid.rows[r][c] = random.choice(FORMS)


@on_grid
def number_enormous(random: Random, grid: Grid) -> None:
    for r, c in grid.figures(random):
        grid.rows[r][c] = "9" * random.choice([9, 15, 16, 400])


@on_grid
def column_in_thousands(random: Random, grid: Grid) -> None:
    """A whole column in another unit."""
    position = random.choice(grid.values)
    for r in grid.body():
        text = grid.rows[r][position].replace(",", ".")
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
            grid.rows[r][position] = f"{float(text) / 1000:.3f}".rstrip("0").rstrip(".").replace(".", ",")


@on_grid
def cell_emptied(random: Random, grid: Grid) -> None:
    for r, c in grid.figures(random):
        grid.rows[r][c] = ""


@on_grid
def column_emptied(random: Random, grid: Grid) -> None:
    position = random.choice(grid.values)
    for r in grid.body():
        grid.rows[r][position] = ""


@on_grid
def everything_emptied(random: Random, grid: Grid) -> None:
    for r in grid.body():
        grid.rows[r] = ["" for _ in grid.rows[r]]


@on_grid
def symbol_instead(random: Random, grid: Grid) -> None:
    for r, c in grid.figures(random):
        grid.rows[r][c] = random.choice(SYMBOLS)


# ---------------------------------------------------------------- periods


def _period_cells(grid: Grid) -> list[tuple[int, int]]:
    return [(r, p) for p in grid.periods for r in grid.body()] or [(0, c) for c in grid.values]


def _year_later(text: str, years: int) -> str:
    return re.sub("[0-9]{4}", lambda year: str(int(year[0]) + years), text)


@on_grid
def year_other(random: Random, grid: Grid) -> None:
    r, c = random.choice(_period_cells(grid))
    grid.rows[r][c] = _year_later(grid.rows[r][c], random.choice([-1, 1, -30, 60]))


@on_grid
def block_of_another_year(random: Random, grid: Grid) -> None:
    """All rows (or the column) of one period say that they are of the next."""
    text = random.choice([grid.rows[r][c] for r, c in _period_cells(grid)])
    for r, c in _period_cells(grid):
        if grid.rows[r][c] == text:
            grid.rows[r][c] = _year_later(text, random.choice([1]))


@on_grid
def block_copied(random: Random, grid: Grid) -> None:
    """One period repeats the figures of another."""
    if not grid.periods:
        a, b = random.choices(grid.values, k=2)
        for r in grid.body():
            grid.rows[r][b] = grid.rows[r][a]
        return
    blocks = list(grid.blocks().values())
    for r, s in zip(*random.choices(blocks, k=2), strict=False):
        for c in grid.values:
            grid.rows[s][c] = grid.rows[r][c]


@on_grid
def period_counted_up(random: Random, grid: Grid) -> None:
    """Filled down in a spreadsheet: 31, 32, 33 ..."""
    first = random.choice(grid.body())
    for p in grid.periods:
        for step, r in enumerate(range(first, min(first + 5, len(grid.rows)))):
            grid.rows[r][p] = re.sub("[0-9]+$", lambda n, s=step: str(int(n[0]) + s), grid.rows[r][p])  # type: ignore[misc]


@on_grid
def period_impossible(random: Random, grid: Grid) -> None:
    r, c = random.choice(_period_cells(grid))
    grid.rows[r][c] = random.choice(
        ["31.02.2021", "2021_13_31", "0000", "44561", "٣١.١٢.٢٠٢٣", "31.12.21", "heute", ""]
    )


# ---------------------------------------------------------------- labels


def _label(random: Random, grid: Grid, change: Callable[[str], str]) -> None:
    others = [c for c in range(len(grid.rows[0])) if c not in grid.values]
    for r in grid.some_rows(random):
        position = random.choice(grid.areas or others or [0])
        grid.rows[r][position] = change(grid.rows[r][position])


@on_grid
def name_misspelt(random: Random, grid: Grid) -> None:
    def misspelt(text: str) -> str:
        place = random.randrange(len(text) or 1)
        return text[:place] + random.choice(["", "x", "rr", "-"]) + text[place + 1 :]

    _label(random, grid, misspelt)


@on_grid
def name_in_other_case(random: Random, grid: Grid) -> None:
    _label(random, grid, lambda text: random.choice([text.upper(), f" {text} ", text.replace("ü", "ue"), text.lower()]))


@on_grid
def hidden_sign_in_name(random: Random, grid: Grid) -> None:
    _label(random, grid, lambda text: text[:1] + random.choice(HIDDEN) + text[1:])


@on_grid
def harmful_text(random: Random, grid: Grid) -> None:
    for r in grid.some_rows(random):
        grid.rows[r][random.randrange(len(grid.rows[r]))] = random.choice(HARMFUL)


@on_grid
def label_other(random: Random, grid: Grid) -> None:
    """A column that says what the row is about says something else."""
    others = [c for c in range(len(grid.rows[0])) if c not in (*grid.values, *grid.areas, *grid.periods)]
    for r in grid.some_rows(random):
        grid.rows[r][random.choice(others or grid.areas or [0])] = "anderes"


# ---------------------------------------------------------------- bytes of text files

Damage = Callable[[Random, bytes, Source], bytes]
TEXT: dict[str, Damage] = {}


def on_text(change: Damage) -> Damage:
    TEXT[change.__name__] = change
    return change


@on_text
def bytes_flipped(random: Random, content: bytes, source: Source) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice([1, 1, 3, 20])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


@on_text
def bytes_inserted(random: Random, content: bytes, source: Source) -> bytes:
    place = random.randrange(len(content))
    return content[:place] + random.randbytes(random.choice([1, 2, 8])) + content[place:]


@on_text
def bytes_lost(random: Random, content: bytes, source: Source) -> bytes:
    place = random.randrange(len(content))
    return content[:place] + content[place + random.choice([1, 2, 8, 200]) :]


@on_text
def broken_off(random: Random, content: bytes, source: Source) -> bytes:
    """The transfer ended early, in the middle of a line."""
    return content[: random.randrange(len(content))]


@on_text
def other_encoding(random: Random, content: bytes, source: Source) -> bytes:
    text = content.decode("utf-8")
    return text.encode(random.choice(["cp1252", "latin-1", "utf-16", "utf-16-le", "utf-32", "cp850"]), "replace")


@on_text
def converted_wrongly(random: Random, content: bytes, source: Source) -> bytes:
    return content.decode("latin-1").encode("utf-8")


@on_text
def byte_order_mark(random: Random, content: bytes, source: Source) -> bytes:
    return b"\xef\xbb\xbf" + content


@on_text
def other_line_ends(random: Random, content: bytes, source: Source) -> bytes:
    end = random.choice([b"\r\n", b"\r", b"\n\n", b"\r\r\n", b"\x0b", b"\xe2\x80\xa8"])
    return content.replace(b"\r\n", b"\n").replace(b"\n", end)


@on_text
def other_delimiter(random: Random, content: bytes, source: Source) -> bytes:
    mark = source.format.delimiter.encode()
    return content.replace(mark, random.choice([m for m in (b";", b",", b"\t", b"|", b":") if m != mark]))


@on_text
def stray_quote(random: Random, content: bytes, source: Source) -> bytes:
    place = random.randrange(len(content))
    return content[:place] + random.choice([b'"', b'""', b'";"']) + content[place:]


@on_text
def everything_quoted(random: Random, content: bytes, source: Source) -> bytes:
    rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), delimiter=source.format.delimiter)
    out = io.StringIO()
    csv.writer(out, delimiter=source.format.delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    return out.getvalue().encode()


@on_text
def nul_characters(random: Random, content: bytes, source: Source) -> bytes:
    place = random.randrange(len(content))
    return content[:place] + b"\0" * random.choice([1, 4, 512]) + content[place:]


@on_text
def file_twice(random: Random, content: bytes, source: Source) -> bytes:
    return content.rstrip(b"\r\n") + b"\n" + content


@on_text
def blank_lines(random: Random, content: bytes, source: Source) -> bytes:
    lines = content.split(b"\n")
    lines.insert(random.randrange(len(lines)), random.choice([b"", b" ", source.format.delimiter.encode() * 3]))
    return b"\n".join(lines) + b"\n\n"


# ---------------------------------------------------------------- bytes of workbooks

BOOK: dict[str, Damage] = {
    "archive_flipped": bytes_flipped,
    "archive_inserted": bytes_inserted,
    "archive_lost": bytes_lost,
    "archive_broken_off": broken_off,
}
SHEETS = ("sheet_renamed", "sheet_left_out", "sheet_added", "sheet_hidden", "numbers_as_text", "formula_written")
"""Changes to a workbook that its writer makes (see `test_mutations.Book`)."""
