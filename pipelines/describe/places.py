"""Finds which columns name the area, and at which levels of the project's areas."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.areas import Area, Directory, plain, plain_number
from pipelines.describe.grid import Column, Grid
from pipelines.describe.paper import Notes, counted
from pipelines.describe.times import Time
from pipelines.intake.failures import shown
from pipelines.project import Project

_AREA_HEADING = re.compile(
    r"stadtteil|ortsteil|bezirk|gebiet|quartier|viertel|gemeinde|kreis|region|raum|sozialraum|ort\b|area|district|"
    r"planungsraum|^name$|bereich",
    re.IGNORECASE,
)
_NO_AREA = re.compile(
    r"merkmal|kennzahl|indikator|variable|kategorie|gruppe|art\b|quelle|herkunft|bemerkung|hinweis|seite|status",
    re.IGNORECASE,
)
_LEVEL_HEADING = re.compile(r"ebene|level|gliederung", re.IGNORECASE)
_NUMBER_HEADING = re.compile(
    r"nummer|\bnr|nr\b|_nr|kennziffer|schl(ü|ue)ssel|kennung|ags|lor|^id$|_id$|code", re.IGNORECASE
)
_SPLITS = [
    r"(?P<number>[0-9A-Za-z-]*[0-9]) +[-–:]? *(?P<name>[^0-9 ].*)",
    r"[0-9A-Za-z-]*[0-9] +[-–:]? *(?P<name>[^0-9 ].*)",
    r"(?P<name>.*[^ ]) *\((?P<number>[0-9]+)\)",
    r"(?P<name>.*[^ ]) *\([^()]*\)",
]
"""Ways offices write number and name into one cell."""
_LISTED = 8
_SUM_ROW = re.compile(r"(insgesamt|gesamt|summe|zusammen|total|stadt insgesamt)", re.IGNORECASE)


@dataclass
class Place:
    """The keys of `layout.area` (or `fixed_area`), the columns they use, and what each row was recognised as."""

    keys: dict[str, Any] = field(default_factory=dict)
    fixed: str | None = None
    columns: list[Column] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)
    areas: list[Area | None] = field(default_factory=list)
    """The area of each row."""
    skip: list[str] = field(default_factory=list)
    """Patterns of sum lines that name no area."""


class Names:
    """All spellings of the project's areas."""

    def __init__(self, directory: Directory) -> None:
        """Index names and numbers at every level, whenever they were valid."""
        self.directory = directory
        self.named: dict[str, set[str]] = defaultdict(set)
        self.areas: dict[str, list[Area]] = defaultdict(list)
        self.numbered: dict[tuple[str, str], Area] = {}
        for area in directory.areas.values():
            for name in (area.name, *area.aliases):
                self.named[plain(name)].add(area.level)
                self.areas[plain(name)].append(area)
            if area.number:
                self.numbered[area.level, plain_number(area.number)] = area

    def is_area(self, text: str) -> bool:
        """Whether a text is the name or id of an area, alone or behind its number."""
        if plain(text) in self.named or text in self.directory.areas:
            return True
        return any((m := re.fullmatch(p, text)) and plain(m["name"]) in self.named for p in _SPLITS)


def find_places(grid: Grid, time: Time, project: Project, names: Names, notes: Notes) -> Place:
    """Which columns name the area, as far as the project's areas tell; else a guess by heading, with a doubt."""
    free = [c for c in grid.columns if c.counts and c is not time.column and c.index not in time.headings]
    free = [c for c in free if c not in time.others]
    _areas_across(grid, names, notes)
    by_name, pattern = _name_column(free, names)
    by_id = next((c for c in free if c.share(lambda text: text in names.directory.areas) > 0.5), None)
    number = _number_column(free, by_name, pattern, names)
    constant = by_name is not None and by_id is None and len(by_name.counts) == 1 and len(grid.lines) > 1
    elsewhere = any(_AREA_HEADING.search(c.name) and len(c.counts) > 1 and c.figures < 0.5 for c in free)
    if (by_name is None and by_id is None and number is None) or (constant and number is None and elsewhere):
        return _guessed(grid, time, free, project, notes)
    if constant and number is None and by_name is not None:
        return _one_area(grid, by_name, names, notes)
    place = Place(columns=[c for c in (by_name, number, by_id) if c is not None])
    keys = {"name": by_name, "number": number, "id": by_id}
    place.keys = {key: column.name for key, column in keys.items() if column is not None}
    if pattern:
        place.keys["split"] = pattern
    rows = list(_rows(grid, time, place))
    _levels(grid, rows, free, place, names, project, notes)
    place.areas = [_area(row, place, names) for row in rows]
    _misfits(grid, rows, place, names, notes)
    return place


# ---------------------------------------------------------------- columns


def _name_column(columns: Sequence[Column], names: Names) -> tuple[Column | None, str | None]:
    """The column whose cells are names of areas most often, and the pattern that cuts the names out of its cells."""
    best: tuple[float, Column | None, str | None] = (0.0, None, None)
    for column in columns:
        if not column.name or column.figures >= 0.5:
            continue
        for pattern in (None, *_SPLITS):
            share = _named_share(column, pattern, names)
            several = len(column.counts) > 1
            score = share if several else share / 10  # a column with one text says nothing about the others
            if score > best[0] + (0.02 if column is best[1] else 0):
                best = (score, column, pattern)
    found = best[1]
    if found is None:
        return None, None
    enough = best[0] >= 0.3 or best[0] * len(found.counts) > 1.5 or len(found.counts) <= 2
    return (found, best[2]) if enough else (None, None)


def _named_share(column: Column, pattern: str | None, names: Names) -> float:
    """Share of distinct texts that name an area; with a pattern, name and number must belong together."""

    def fits(text: str) -> bool:
        if pattern is None:
            return plain(text) in names.named
        match = re.fullmatch(pattern, text)
        if match is None:
            return plain(text) in names.named
        levels = names.named.get(plain(match["name"]), set())
        if "number" not in match.groupdict():
            return bool(levels)
        return any((level, plain_number(match["number"])) in names.numbered for level in levels)

    return sum(map(fits, column.counts)) / len(column.counts)


def _number_column(
    columns: Sequence[Column], by_name: Column | None, pattern: str | None, names: Names
) -> Column | None:
    """The column with the numbers of the areas that the names mean, or of some level if there are no names."""
    if pattern is not None:
        return None
    for column in columns:
        if column is by_name or not column.name:
            continue
        if by_name is not None:
            fitting = _agreeing(column, by_name, names)
        elif _NUMBER_HEADING.search(column.name) or _AREA_HEADING.search(column.name):
            levels = names.directory.levels
            fitting = max((_numbered(column, level, names) for level in levels), default=0.0)
        else:
            fitting = 0.0
        if fitting >= 0.9:
            return column
    return None


def _numbered(column: Column, level: str, names: Names) -> float:
    known = sum((level, plain_number(text)) in names.numbered for text in column.counts)
    return known / len(column.counts) if len(column.counts) > 2 else 0.0


def _agreeing(column: Column, by_name: Column, names: Names) -> float:
    """Share of the recognised rows whose number is the one of the named area.

    A heading that does not speak of numbers needs more of them: figures may be small numbers, too.
    """
    total = fitting = 0
    found: set[str] = set()
    for (name, number), rows in Counter(zip(by_name.texts, column.texts, strict=True)).items():
        areas = [area for area in names.areas.get(plain(name), []) if area.number]
        total += rows if areas else 0
        if any(plain_number(number) == plain_number(area.number) for area in areas):
            fitting += rows
            found.add(number)
    least = 1 if _NUMBER_HEADING.search(column.name) else 5
    return fitting / total if total and len(found) >= least else 0.0


def _spellings(area: Area) -> set[str]:
    return {plain(name) for name in (area.name, *area.aliases)}


# ---------------------------------------------------------------- rows and levels


@dataclass(frozen=True)
class _Given:
    """What a row says about its area."""

    row: int
    date: dt.date
    name: str = ""
    number: str = ""
    id: str = ""


def _rows(grid: Grid, time: Time, place: Place) -> Iterator[_Given]:
    """What each row says of its area, and the date on which the area must exist."""
    today = dt.datetime.now(dt.UTC).date()
    fallback = next((d for text in time.headings.values() if (d := time.date(text))), today)
    columns = {key: grid.named(place.keys[key]) for key in ("name", "number", "id") if key in place.keys}
    dates: dict[str, dt.date] = {}
    for row in range(len(grid.lines)):
        text = "" if time.headings else time.text(grid, row, 0)
        if text not in dates:
            dates[text] = time.date(text) or fallback
        given: dict[str, str] = {key: column.texts[row] for key, column in columns.items()}
        if "split" in place.keys:
            match = re.fullmatch(place.keys["split"], given["name"])
            given = {key: (value or "").strip() for key, value in match.groupdict().items()} if match else given
        yield _Given(row, dates[text], **given)


def _find(given: _Given, levels: Sequence[str], names: Names) -> tuple[Area | None, str]:
    if not levels:
        return None, ""
    return names.directory.find(levels, given.date, name=given.name, number=given.number, area_id=given.id)


def _levels(
    grid: Grid,
    rows: Sequence[_Given],
    free: Sequence[Column],
    place: Place,
    names: Names,
    project: Project,
    notes: Notes,
) -> None:
    """Decide between `level`, `level_column` and `candidate_levels`."""
    known: dict[tuple[str, dt.date, str, str, str], bool] = {}
    hits: dict[str, set[int]] = {level: set() for level in names.directory.levels}
    for given in rows:
        for level, found in hits.items():
            key = (level, given.date, given.name, given.number, given.id)
            if key not in known:
                known[key] = _find(given, [level], names)[0] is not None
            if known[key]:
                found.add(given.row)
    everything = set().union(*hits.values())
    ranked = sorted(hits, key=lambda level: (-len(hits[level]), not _says(grid, place, level, project), level))
    if everything <= hits[ranked[0]]:
        place.keys["level"] = ranked[0]
        place.levels = [ranked[0]]
        same = [level for level in ranked[1:] if hits[level] == hits[ranked[0]] and everything]
        if same:
            notes.doubt("area", f"Die Namen passen ebenso gut zu: {', '.join(same)}. Gleiche Namen, andere Gebiete?")
        return
    column = _level_column(free, place, hits, everything)
    if column is not None:
        place.keys["level_column"], place.keys["levels"] = column[0].name, column[1]
        place.columns.append(column[0])
        place.levels = sorted(set(column[1].values()))
        unknown = [text for text in column[0].counts if text not in column[1]]
        if unknown:
            listed = ", ".join(f"»{shown(text, 30)}«" for text in unknown[:_LISTED])
            notes.doubt("area", f"Zu diesen Ebenen gibt es im Projekt keine Gebiete: {listed}")
        return
    place.levels = _covering(ranked, hits, everything)
    if len(place.levels) == 1:
        place.keys["level"] = place.levels[0]
    else:
        place.keys["candidate_levels"] = place.levels


def _says(grid: Grid, place: Place, level: str, project: Project) -> bool:
    """Whether a heading or constant text names the level."""
    title = next((entry.title.de for entry in project.areas.levels if entry.id == level), level)
    said = [c.name for c in place.columns] + [t for c in grid.columns if len(c.counts) == 1 for t in c.counts]
    return any(plain(word)[:60] in plain(text) for word in (level, title) for text in said)


def _level_column(
    free: Sequence[Column], place: Place, hits: dict[str, set[int]], everything: set[int]
) -> tuple[Column, dict[str, str]] | None:
    """A column whose text tells the level of nearly every recognised row; best one that names the levels."""
    found: list[tuple[tuple[bool, int, int], Column, dict[str, str]]] = []
    for column in free:
        if column in place.columns or not 2 <= len(column.counts) <= 2 * len(hits) + 3 or not column.name:
            continue
        named = bool(_LEVEL_HEADING.search(column.name))
        if not named and (column.figures >= 0.5 or _NO_AREA.search(column.name)):
            continue
        levels, covered = {}, 0
        for text in column.counts:
            rows = {row for row, cell in enumerate(column.texts) if cell == text} & everything
            level = max(hits, key=lambda name: len(hits[name] & rows))
            if rows and len(hits[level] & rows) >= 0.9 * len(rows):
                levels[text] = level
                covered += len(hits[level] & rows)
        if len(set(levels.values())) > 1 and covered >= 0.95 * len(everything):
            same = sum(plain(text) == plain(level) for text, level in levels.items())
            found.append(((named, same, -len(column.counts)), column, levels))
    best = max(found, key=lambda entry: entry[0], default=None)
    return best[1:] if best else None


def _covering(ranked: Sequence[str], hits: dict[str, set[int]], everything: set[int]) -> list[str]:
    """As few levels as cover all recognised rows, the most frequent first."""
    chosen: list[str] = []
    rest = set(everything)
    while rest:
        level = max(ranked, key=lambda name: len(hits[name] & rest))
        chosen.append(level)
        rest -= hits[level]
    return chosen


def _area(given: _Given, place: Place, names: Names) -> Area | None:
    return _find(given, place.levels, names)[0]


# ---------------------------------------------------------------- doubts


def _misfits(grid: Grid, rows: Sequence[_Given], place: Place, names: Names, notes: Notes) -> None:
    """Share of recognised rows; those that are not, in the words of the readers, once per name."""
    found = sum(area is not None for area in place.areas)
    levels = ", ".join(place.levels)
    share = f"{found} von {len(rows)}"
    notes.fact("area", f"Erkannt sind {share} Zeilen ({levels}), {_distinct(place)} Gebiete.")
    wrong: dict[str, list[int]] = {}
    for given, area in zip(rows, place.areas, strict=True):
        if area is None:
            sentence = _find(given, place.levels, names)[1]
            wrong.setdefault(sentence, []).append(given.row)
    many = len(wrong) > _LISTED
    told = sorted(wrong, key=lambda sentence: "meinten Sie" not in sentence)[: _LISTED // 2 if many else _LISTED]
    for sentence in told:
        at = wrong[sentence]
        lines = f"{counted(len(at), 'Zeile', 'Zeilen')}, zuerst Zeile {grid.lines[at[0]]}"
        notes.doubt("area", f"{shown(sentence, 300)} ({lines})")
        _sum_line(grid, at[0], rows[at[0]], place, notes)
    if many:
        rest = [rows[at[0]] for sentence, at in wrong.items() if sentence not in told]
        listed = ", ".join(f"»{shown(given.name or given.number or given.id, 40)}«" for given in rest[:_LISTED])
        text = (
            f"Unbekannt sind auch {len(rest)} weitere Gebiete ({listed} …). Fremde Gebiete gehören in die Gebietsliste"
        )
        notes.doubt("area", f"{text}, oder das Amt liefert einen Auszug; so wird die Lieferung zurückgewiesen")
    elif wrong:
        notes.fact("area", "Andere Schreibweisen gehören als Alias in die Gebietsliste (assets/areas), getrennt mit |.")


def _sum_line(grid: Grid, row: int, given: _Given, place: Place, notes: Notes) -> None:
    """A sum line that names no area is passed over, if its first cell says so."""
    start = next((c.texts[row] for c in grid.columns if c.texts[row]), "")
    if _SUM_ROW.fullmatch(given.name) and start == given.name:
        place.skip.append(start)
        text = f"Summenzeile »{shown(start)}« wird übersprungen (table.skip)"
        notes.doubt("area", f"{text}; soll sie gelesen werden: als Alias der Stadt eintragen und die Ebene ergänzen")


def _distinct(place: Place) -> int:
    return len({area.area_id for area in place.areas if area})


def _areas_across(grid: Grid, names: Names, notes: Notes) -> None:
    """Areas as headings of columns: such a table would have to be turned."""
    across = [column.name for column in grid.columns if column.figures > 0.5 and names.is_area(column.name)]
    if len(across) > 1:
        listed = ", ".join(f"»{shown(name, 30)}«" for name in across[:4])
        text = f"Die Gebiete stehen nebeneinander in den Überschriften ({listed}); gelesen werden sie nur untereinander"
        notes.doubt("area", f"{text}. Diese Beschreibung passt nicht; bitte das Amt um die gedrehte Tabelle bitten")


def _one_area(grid: Grid, column: Column, names: Names, notes: Notes) -> Place:
    """Every row is about the same area."""
    text = next(iter(column.counts))
    today = dt.datetime.now(dt.UTC).date()
    found = [a for a in names.directory.areas.values() if plain(text) in _spellings(a)]
    found = [a for a in found if a.valid_on(today)] or found
    if len(found) > 1:
        listed = ", ".join(f"{a.area_id} ({a.level})" for a in found)
        notes.doubt("area", f"»{shown(text)}« kann mehreres sein: {listed}")
    notes.fact("area", f"In jeder Zeile steht »{shown(text)}«: die ganze Datei gilt für ein Gebiet.")
    return Place(fixed=found[0].area_id, levels=[found[0].level], areas=[found[0]] * len(grid.lines))


def _guessed(grid: Grid, time: Time, free: Sequence[Column], project: Project, notes: Notes) -> Place:
    """No column fits the project's areas: the heading decides, or the whole file is about the city."""
    named = [c for c in free if c.name and c.figures < 0.5 and len(c.counts) > 1]
    numbered = [c for c in free if c.name and _NUMBER_HEADING.search(c.name)]
    column = next((c for c in named if _AREA_HEADING.search(c.name)), None)
    column = column or next((c for c in numbered if len(c.counts) > 2), None)
    column = column or next((c for c in named if _panel(c, grid, time)), None)
    unnamed = next((c for c in free if not c.name and c.figures < 0.5), None)
    levels = project.directory.levels
    sizes = Counter(area.level for area in project.directory.areas.values())
    level = next((entry for entry in levels if column and plain(entry) in plain(column.name)), None)
    level = level or max(levels, key=lambda entry: sizes[entry])
    if column is None and unnamed is not None:
        text = "Die Spalte mit den Gebieten hat vermutlich keine Überschrift. Ohne Überschrift ist sie nicht lesbar"
        notes.doubt("area", f"{text}; hier steht »Gebiet« als Entwurf, damit wird die Lieferung zurückgewiesen")
        return Place({"name": "Gebiet", "level": level}, levels=[level], areas=[None] * len(grid.lines))
    if column is None:
        city = project.directory.areas[project.release.city]
        text = f"Keine Spalte nennt ein Gebiet; als Entwurf gilt die ganze Datei für {city.name} ({city.area_id})"
        notes.doubt("area", text)
        return Place(fixed=city.area_id, levels=[city.level], areas=[city] * len(grid.lines))
    samples = ", ".join(f"»{shown(text, 30)}«" for text in list(column.counts)[:5])
    text = f"Kein Gebiet des Projekts heißt wie in »{shown(column.name)}« ({samples}). Spalte und Ebene sind geraten"
    notes.doubt("area", f"{text}; die Gebiete gehören zuerst in die Gebietsliste (assets/areas)")
    key = "number" if column in numbered and column not in named else "name"
    return Place({key: column.name, "level": level}, None, [column], [level], [None] * len(grid.lines))


def _panel(column: Column, grid: Grid, time: Time) -> bool:
    """Whether the column holds the same several texts once in every period, as a list of areas does."""
    if _NO_AREA.search(column.name) or len(column.counts) < 3:
        return False
    if time.headings:
        return len(column.counts) == len(grid.lines)
    seen = Counter(time.text(grid, row, 0) for row in range(len(grid.lines)))
    return set(seen.values()) == {len(column.counts)}
