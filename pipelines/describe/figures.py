"""What the figures are: one measure per column, one split over several columns, or several measures in one column."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.describe.cells import number, number_format, pattern_of, signs_of
from pipelines.describe.grid import Column, Grid
from pipelines.describe.names import GENERIC, TOTAL_WORD, age_group, category_id, identifier, readable, words
from pipelines.describe.paper import Notes
from pipelines.describe.sample import Sample
from pipelines.describe.times import Time
from pipelines.intake.failures import shown
from pipelines.intake.tables import PARTS
from schemas.documents import TOTAL, Format, SymbolMeaning, Unit

_RATE = re.compile(
    r"anteil|quote|prozent|%|percent|rate\b|dichte|\bje (100|1\.?000)\b|pro (100|1\.?000)\b", re.IGNORECASE
)
_SHARE = re.compile(r"anteil|quote(?!n)|prozent|%|percent", re.IGNORECASE)
"""Such a rate cannot exceed 100."""
_PER_UNIT = re.compile(r"\b(je|pro)\b", re.IGNORECASE)
_PER_1000 = re.compile(r"\b(je|pro) 1[. ]?000\b|promille|‰", re.IGNORECASE)
_SPLIT_NAME = re.compile(r"(?<![a-zäöü])nach(?![a-zäöü])", re.IGNORECASE)
_KNOWN_SPLITS = [
    {"maennlich", "weiblich", "divers", "maenner", "frauen", "m", "w", "d", "jungen", "maedchen", "ohne angabe"},
    {"deutsche", "auslaender", "nichtdeutsche", "deutsch", "auslaendisch", "ohne migrationshintergrund"},
    {"ledig", "verheiratet", "verwitwet", "geschieden", "unbekannt", "verpartnert"},
    {"evangelisch", "katholisch", "sonstige", "sonstige/ohne", "ohne", "roemisch-katholisch"},
]
_NO_VALUE = re.compile(
    r"nummer\b|^nr\b|(\b|_)nr\.?$|\bcode\b|schl(ü|ue)ssel|kennziffer|\bplz\b|postleitzahl|\blat\b|\blon\b|latitude|"
    r"longitude|l(ä|ae)ngengrad|breitengrad|\bags\b|^id$|_id$|^(lfd|objectid|fid)\b|koordinate|"
    r"^(seite|page|zeile|line)$",
    re.IGNORECASE,
)
_FOOTNOTE = re.compile(r"\s*[0-9]{1,2}\)+$")
_MOST_TOTALS = 60
"""Columns beyond which only those that call themselves a total are tried as one."""
_COMPARED = 400
"""Figures of a column that are added up to find out what is a total."""
Numbers = dict[tuple[int, str], float]
"""Numbers of a series by what identifies a figure besides the series: row, and period if it stands in the heading."""


@dataclass(eq=False)
class Series:
    """Figures that belong together: one column, one heading text under many periods, or one entry of Merkmal."""

    label: str
    columns: list[Column]
    numbers: Numbers
    name: str
    """What it is called in ids and titles: the label, or its last part."""
    low: float | None = None
    high: float | None = None
    fractions: bool = False


@dataclass
class Draft:
    """A proposed measure."""

    id: str
    title: str
    family: str
    unit: Unit
    kind: str
    categories: dict[str, str] = field(default_factory=dict)
    """Id -> title."""
    category_total: str = "none"
    minimum: float | None = 0
    maximum: float | None = None


@dataclass
class Figures:
    """Entries of `layout.values`, the measures they need, and what else was found in the cells."""

    values: list[dict[str, Any]]
    measures: list[Draft]
    form: Format
    symbols: dict[str, SymbolMeaning]
    measure_column: Column | None = None
    left_out: list[Column] = field(default_factory=list)
    """Columns with figures that cannot be read beside the others."""
    adds_up: list[dict[str, Any]] = field(default_factory=list)


class Finder:
    """Works out the figures of one table."""

    def __init__(self, grid: Grid, time: Time, topic: str, taken: set[str], notes: Notes) -> None:
        """Keep what is known.

        Args:
            grid: the table.
            time: where its periods stand.
            topic: what the file is about in a few words, for columns whose heading does not say it.
            taken: ids of measures that exist already.
            notes: takes facts and doubts.
        """
        self.grid, self.time, self.topic, self.taken, self.notes = grid, time, topic, set(taken), notes
        self.existing = set(taken)
        self.form = Format()

    def find(
        self, columns: Sequence[Column], measure_column: Column | None, legend: Sequence[str], sample: Sample
    ) -> Figures:
        """Propose measures for the value columns.

        Args:
            columns: the columns that hold figures.
            measure_column: the column that says what a row counts, if there is one.
            legend: lines below the table.
            sample: the file, which tells what marks to expect in numbers.
        """
        left_out = self._left_out(columns) if measure_column is not None else []
        columns = [column for column in columns if column not in left_out]
        texts = [text for column in columns for text in column.texts]
        self.form = number_format(texts, sample, self.notes)
        placed = ((text, self.grid.place(row, column)) for column in columns for row, text in enumerate(column.texts))
        symbols = signs_of(placed, self.form, legend, self.notes)
        result = Figures([], [], self.form, symbols, measure_column, left_out)
        if measure_column is not None:
            self._by_row(columns, measure_column, result)
        else:
            series = self._series(columns)
            self._named(series)
            self._by_column(series, result)
        return result

    # ------------------------------------------------------------ series

    def _series(self, columns: Sequence[Column]) -> list[Series]:
        """One series per column, or per heading text besides the period."""
        if not self.time.headings:
            return [self._one(column.name, [column]) for column in columns]
        grouped: dict[str, list[Column]] = {}
        for column in columns:
            grouped.setdefault(_besides(column, self.time), []).append(column)
        return [self._one(label, group) for label, group in grouped.items()]

    def _named(self, series: Sequence[Series]) -> None:
        """Short names: the last text of the heading without footnote marks, where it is the only one."""
        short = [_FOOTNOTE.sub("", one.label.rpartition(PARTS)[2]) for one in series]
        for one, name in zip(series, short, strict=True):
            one.name = name if short.count(name) == 1 else one.label

    def _one(self, label: str, columns: list[Column], wanted: Callable[[int], bool] | None = None) -> Series:
        pattern = pattern_of(self.form)
        numbers = {}
        for column in columns:
            period = self.time.headings.get(column.index, "") if wanted is None else str(column.index)
            known = {text: number(text, self.form, pattern) for text in column.counts}
            for row, text in enumerate(column.texts):
                value = known.get(text)
                if value is not None and (wanted is None or wanted(row)):
                    numbers[row, period] = value
        series = Series(label, columns, numbers, label)
        if numbers:
            series.low, series.high = min(numbers.values()), max(numbers.values())
            series.fractions = any(value % 1 for value in numbers.values())
        return series

    # ------------------------------------------------------------ measures in columns

    def _by_column(self, series: list[Series], result: Figures) -> None:
        entries: dict[Series, dict[str, str]] = {}
        several = len(series) > 1
        for total, parts in self._groups([one for one in series if not self._is_rate(one)]):
            entries |= self._split(total, parts, result)
        for one in series:
            if one not in entries:
                draft = self._draft(one)
                result.measures.append(draft)
                entries[one] = {"measure": draft.id}
        result.values = [{**self._where(one, several), **entries[one]} for one in series]

    def _groups(self, counts: list[Series]) -> list[tuple[Series | None, list[Series]]]:
        """Series that are parts of a whole, with the total if one is delivered."""
        found: list[tuple[Series | None, list[Series]]] = []
        rest = list(counts)
        totals = [one for one in counts if TOTAL_WORD.search(one.label)]
        for total in totals or (counts if len(counts) <= _MOST_TOTALS else []):
            if total in rest and (parts := _parts_of(total, rest)):
                found.append((total, parts))
                rest = [one for one in rest if one is not total and one not in parts]
        total_like = [one for one in rest if TOTAL_WORD.search(one.label)]
        parts = [one for one in rest if not TOTAL_WORD.search(one.label)]
        if len(parts) > 1 and (
            _known_split([one.label.rpartition(PARTS)[2] for one in parts])
            or (len(parts) > 2 and _SPLIT_NAME.search(self.topic))
        ):
            whole = total_like[0] if len(total_like) == 1 and not found else None
            found.append((whole, parts))
        return found

    def _split(self, total: Series | None, parts: list[Series], result: Figures) -> dict[Series, dict[str, str]]:
        """One measure with categories; returns what each series is."""
        label = total.name if total and not _generic(total.name) else self.topic
        draft = Draft(self._id(label), shown(readable(label)), _family(label), "persons", "count")
        draft.category_total = "delivered" if total else "summed"
        low = [one.low for one in (total, *parts) if one is not None and one.low is not None]
        draft.minimum = None if low and min(low) < 0 else 0
        what = {}
        for one in parts:
            code = category_id(one.name, {*draft.categories, TOTAL})
            draft.categories[code] = shown(one.name)
            what[one] = {"measure": draft.id, "category": code}
        place = f"measure:{draft.id}"
        if total is not None:
            what[total] = {"measure": draft.id}
            self._sum_holds(total, parts, draft, result)
        else:
            text = "Aufgliederung angenommen, die Summe bilden die Teile (category_total: summed). Sind es verschiedene"
            self.notes.doubt(place, f"{text} Kennzahlen oder nur eine Auswahl, je Spalte eine eigene Kennzahl anlegen")
        result.measures.append(draft)
        self._known_elsewhere(draft)
        return what

    def _sum_holds(self, total: Series, parts: list[Series], draft: Draft, result: Figures) -> None:
        gaps = _gaps(total, parts)
        place = f"measure:{draft.id}"
        if gaps is None:
            self.notes.doubt(place, f"Ob »{shown(total.label)}« die Summe der Teile ist, ließ sich nicht nachrechnen")
        elif gaps:
            lines = ", ".join(str(self.grid.lines[row]) for row, _ in gaps[:5])
            text = f"»{shown(total.label)}« ist in {len(gaps)} Fällen nicht die Summe der Teile (Zeile {lines})"
            self.notes.doubt(place, text)
        else:
            self.notes.fact(place, f"»{shown(total.label)}« ist überall die Summe der Teile.")
            shares = [{"measure": draft.id, "category": code} for code in draft.categories]
            result.adds_up.append({"total": {"measure": draft.id}, "parts": shares})

    def _draft(self, one: Series, label: str | None = None) -> Draft:
        """A measure for one series."""
        label = label or (self.topic if _generic(one.name) else one.name)
        unit, kind, guessed = self._kind(one, label)
        draft = Draft(self._id(label), shown(readable(label)), _family(label), unit, kind)
        if one.low is not None and one.low < 0:
            draft.minimum = None
            self.notes.fact(f"measure:{draft.id}", "Es gibt negative Zahlen, daher kein Mindestwert.")
        if unit == "percent" and _SHARE.search(label) and one.high is not None and one.high <= 100:
            draft.maximum = 100
        if not one.numbers:
            self.notes.doubt(f"measure:{draft.id}", "In den angesehenen Zeilen steht keine einzige Zahl")
        if guessed:
            self.notes.doubt(f"measure:{draft.id}", guessed)
        self._known_elsewhere(draft)
        return draft

    def _is_rate(self, one: Series) -> bool:
        return one.fractions or bool(_RATE.search(one.label))

    def _kind(self, one: Series, label: str) -> tuple[Unit, str, str]:
        """Unit and kind by heading, decimals and range; and a doubt if they are guessed."""
        named = _RATE.search(one.label) or _RATE.search(label)
        if not one.fractions and not named:
            return "persons", "count", ""
        if _PER_1000.search(label):
            return "per_1000", "rate", ""
        within = one.low is not None and one.high is not None and one.low >= -100 and one.high <= 100
        if named and within:
            return "percent", "rate", ""
        if within and one.high is not None and one.high > 1 and not _PER_UNIT.search(label):
            return "percent", "rate", "Nachkommastellen und Werte bis 100: als Prozent gelesen; sonst unit ändern"
        return "ratio", "rate", "Keine Anzahl, aber auch keine Prozente: als Quote (ratio) gelesen. Einheit prüfen"

    def _where(self, one: Series, several: bool) -> dict[str, str]:
        """Keys that lead to the columns of a series."""
        if not self.time.headings:
            return {"column": one.columns[0].name}
        return {"heading": _as_pattern(one.label)} if several or one.label else {}

    # ------------------------------------------------------------ measures in rows

    def _by_row(self, columns: Sequence[Column], measure_column: Column, result: Figures) -> None:
        """Several measures in one column; with several value columns these are categories of each."""
        series = self._series(columns)
        self._named(series)
        split = self._categories(series)
        measures = {}
        for text in measure_column.counts:
            rows = {row for row, cell in enumerate(measure_column.texts) if cell == text}
            every = [column for one in series for column in one.columns]
            draft = self._draft(self._one(text, every, rows.__contains__), text)
            measures[text] = draft.id
            self._split_rows(draft, split)
            result.measures.append(draft)
        for one in series:
            code = split.get(one, (TOTAL, ""))[0]
            entry = {**self._where(one, len(series) > 1), "measure_column": measure_column.name, "measures": measures}
            result.values.append(entry if code == TOTAL else {**entry, "category": code})

    def _left_out(self, columns: Sequence[Column]) -> list[Column]:
        """Where one value column calls itself the value, the others beside it: they hold something else."""
        plain = [column for column in columns if _generic(column.name) and not TOTAL_WORD.search(column.name)]
        others = [column for column in columns if column not in plain]
        if self.time.headings or len(plain) != 1 or not others or _known_split([column.name for column in others]):
            return []
        names = ", ".join(f"»{shown(column.name, 30)}«" for column in others)
        text = f"Neben »{shown(plain[0].name)}« stehen weitere Zahlen, die nicht gelesen werden: {names}"
        self.notes.doubt("values", text)
        return others

    def _categories(self, series: Sequence[Series]) -> dict[Series, tuple[str, str]]:
        """Code and title of each series, if there are several; at most one is the total."""
        split: dict[Series, tuple[str, str]] = {}
        for one in series if len(series) > 1 else ():
            taken = {code for code, _ in split.values()}
            total = TOTAL_WORD.search(one.name) and TOTAL not in taken
            split[one] = (TOTAL if total else category_id(one.name, {*taken, TOTAL}), shown(one.name))
        return split

    def _split_rows(self, draft: Draft, split: dict[Series, tuple[str, str]]) -> None:
        draft.categories = {code: title for code, title in split.values() if code != TOTAL}
        if draft.categories:
            draft.category_total = "delivered" if len(draft.categories) < len(split) else "summed"
            text = "Aufgliederung angenommen; sind die Spalten keine Teile eines Ganzen, passt diese Beschreibung nicht"
            self.notes.doubt(f"measure:{draft.id}", text)

    # ------------------------------------------------------------ ids

    def _id(self, label: str) -> str:
        found = identifier(label, self.taken, "kennzahl")
        self.taken.add(found)
        return found

    def _known_elsewhere(self, draft: Draft) -> None:
        same = draft.family
        if same in self.existing:
            text = f"Im Projekt gibt es schon {same}. Ist es dieselbe Größe: statt {draft.id} diese verwenden und die"
            self.notes.doubt(f"measure:{draft.id}", f"{text} Quelle dort unter levels nennen")


def value_columns(grid: Grid, used: Sequence[Column]) -> list[Column]:
    """Columns that hold figures and nothing else that is known; numbers that are ids or coordinates are left out."""
    taken = {column.index for column in used}
    numbers = [c for c in grid.columns if c.index not in taken and c.figures >= 0.5 and c.name]
    return [column for column in numbers if not _NO_VALUE.search(column.name)] or numbers


def _besides(column: Column, time: Time) -> str:
    """The texts of a heading without the period."""
    dated = time.headings.get(column.index)
    return PARTS.join(part for part in column.parts if part != dated)


def _family(label: str) -> str:
    return identifier(label, (), "kennzahl")


def _as_pattern(text: str) -> str:
    """A pattern that reads like this very text (`?` stands for a star)."""
    return text.replace("*", "?")


def _generic(label: str) -> bool:
    return not words(label) or GENERIC.fullmatch(label.strip()) is not None


def _known_split(labels: Sequence[str]) -> bool:
    """Whether headings are age groups, sexes or the like."""
    if sum(age_group(label) is not None for label in labels) >= 0.7 * len(labels):
        return True
    plain_labels = {words(label).replace("_", " ") for label in labels}
    return any(plain_labels <= {words(w).replace("_", " ") for w in known} for known in _KNOWN_SPLITS)


def _gaps(total: Series, parts: Sequence[Series]) -> list[tuple[int, str]] | None:
    """Keys where all figures are numbers and the parts do not add up; None if nothing could be compared."""
    shared = set(total.numbers).intersection(*(part.numbers for part in parts))
    if not shared or not any(total.numbers[key] for key in shared):
        return None
    return sorted(key for key in shared if abs(total.numbers[key] - sum(part.numbers[key] for part in parts)) > 0.5)


def _parts_of(total: Series, series: Sequence[Series]) -> list[Series]:
    """The longest run of columns beside `total` that adds up to it in nearly every row; [] if none does."""
    place = list(series).index(total)
    keys = list(total.numbers)[:_COMPARED]
    for run in (list(series[place + 1 :]), list(reversed(series[:place]))):
        sums, longest = dict.fromkeys(keys, 0.0), 0
        for size, part in enumerate(run, 1):
            sums = {key: so_far + part.numbers[key] for key, so_far in sums.items() if key in part.numbers}
            gaps = sum(1 for key, value in sums.items() if abs(value - total.numbers[key]) > 0.5)
            something = any(total.numbers[key] for key in sums)
            if size > 1 and len(sums) > 1 and something and gaps <= 0.05 * len(sums):
                longest = size
        if longest:
            return [one for one in series if one in run[:longest]]
    return []
