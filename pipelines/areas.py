"""The project's areas: read from CSV, looked up by name, number or id, rolled up along memberships."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from schemas.yaml_source import Problem, nearest

AREA_COLUMNS = ["area_id", "name", "level", "number", "valid_from", "valid_to", "sort_key", "aliases", "source"]
MEMBERSHIP_COLUMNS = ["area_id", "parent_id", "valid_from", "valid_to", "weight", "status", "source"]
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
MAX_DEPTH = 10


@dataclass(frozen=True)
class Area:
    """One area in one extent; a changed extent is another area."""

    area_id: str
    name: str
    level: str
    number: str
    valid_from: dt.date | None
    valid_to: dt.date | None
    sort_key: int
    aliases: tuple[str, ...] = ()
    source: str = ""

    def valid_on(self, date: dt.date) -> bool:
        """Whether the area existed in this extent on a date."""
        return (self.valid_from or dt.date.min) <= date <= (self.valid_to or dt.date.max)


@dataclass(frozen=True)
class Membership:
    """`weight` of `area_id` belongs to `parent_id` (1 = wholly)."""

    area_id: str
    parent_id: str
    valid_from: dt.date | None
    valid_to: dt.date | None
    weight: float
    status: str
    source: str = ""


@dataclass(eq=False)
class Directory:
    """All areas and memberships of a project.

    Lookups are by the way offices write: umlauts or ae/oe/ue, any letter case, aliases, old spellings.
    """

    levels: list[str]
    areas: dict[str, Area]
    memberships: list[Membership]
    _by_name: dict[tuple[str, str], list[Area]] = field(default_factory=lambda: defaultdict(list), repr=False)
    _by_number: dict[tuple[str, str], list[Area]] = field(default_factory=lambda: defaultdict(list), repr=False)

    def __post_init__(self) -> None:
        """Index names, aliases and numbers by level."""
        for area in self.areas.values():
            for name in {plain(name) for name in (area.name, *area.aliases)}:
                self._by_name[area.level, name].append(area)
            if area.number:
                self._by_number[area.level, plain_number(area.number)].append(area)

    def of_level(self, level: str, date: dt.date) -> list[Area]:
        """Areas of a level that exist on a date, in sort order."""
        found = [area for area in self.areas.values() if area.level == level and area.valid_on(date)]
        return sorted(found, key=lambda area: (area.sort_key, area.area_id))

    def find(
        self,
        levels: Sequence[str],
        date: dt.date,
        *,
        name: str = "",
        number: str = "",
        area_id: str = "",
        hints: bool = True,
    ) -> tuple[Area | None, str]:
        """The area that a row means.

        Args:
            levels: levels that are possible here.
            date: reference date of the row; areas not valid then are not found.
            name: as written in the file ('' = not given); name and number must agree where both are given.
            number: as written in the file; must agree with the name.
            area_id: full id as written in the file; name and number must agree with it.
            hints: look for what is near, which takes longer the more areas there are.

        Returns:
            The area and '', or None and a German sentence saying what does not fit and what is near.
        """
        where, name, number = " oder ".join(levels), name.strip(), number.strip()
        ever_named = [a for level in levels for a in self._by_name.get((level, plain(name)), [])]
        ever_numbered = [a for level in levels for a in self._by_number.get((level, plain_number(number)), [])]
        named, numbered = self._valid(ever_named, date), self._valid(ever_numbered, date)
        if area_id:
            return self._by_id(area_id, name, number, levels, date, hints)
        if number:
            both = [area for area in numbered if area in named] if name else numbered
            if len(both) == 1:
                return both[0], ""
            if not numbered:
                return None, _not_then(ever_numbered, date) or f"unbekannte Nummer »{number}« ({where})"
            if both:
                return None, f"Nummer {number} ist nicht eindeutig: {_listed(both)}"
            text = f"Nummer {number} ist »{numbered[0].name}«, in der Zeile steht »{name}«"
            return None, text + ("" if named or not hints else self._near_name(name, levels, date))
        if not name:
            return None, "in der Zeile steht kein Gebiet"
        if len(named) > 1:
            return None, f"»{name}« ist nicht eindeutig: {_listed(named)}"
        if not named:
            near = self._near_name(name, levels, date) if hints and not ever_named else ""
            return None, _not_then(ever_named, date) or f"unbekanntes Gebiet »{name}« ({where}){near}"
        return named[0], ""

    def only_one(self, levels: Sequence[str], *, name: str = "", number: str = "", area_id: str = "") -> bool:
        """Whether these texts can mean but one area, whatever the day: then `find` gives it on all days it is valid."""
        if area_id:
            return True
        keys = [(self._by_name, plain(name.strip())), (self._by_number, plain_number(number.strip()))]
        found = [area.area_id for index, text in keys for level in levels for area in index.get((level, text), [])]
        return len(set(found)) == 1

    def mentions(self, levels: Sequence[str], *, name: str = "", number: str = "", area_id: str = "") -> bool:
        """Whether a row could be about an area of these levels, on whatever day: id, number or name is theirs."""
        if area_id in self.areas:
            return True
        by_number = number and any((level, plain_number(number)) in self._by_number for level in levels)
        return bool(by_number or (name and any((level, plain(name)) in self._by_name for level in levels)))

    def _by_id(
        self, area_id: str, name: str, number: str, levels: Sequence[str], date: dt.date, hints: bool
    ) -> tuple[Area | None, str]:
        area = self.areas.get(area_id)
        if area is None:
            where = " oder ".join(levels)
            near = self._near_id(area_id, levels) if hints else ""
            return None, f"unbekannte Gebietskennung »{area_id}« ({where}){near}"
        if area.level not in levels:
            return None, f"Kennung {area_id} liegt auf der Ebene {area.level}, erwartet: {' oder '.join(levels)}"
        if not area.valid_on(date):
            return None, _not_then([area], date)
        if name and area not in self._by_name.get((area.level, plain(name)), []):
            return None, f"Kennung {area_id} ist »{area.name}«, in der Zeile steht »{name}«"
        if number and plain_number(number) != plain_number(area.number):
            return None, f"Kennung {area_id} hat die Nummer »{area.number}«, in der Zeile steht »{number}«"
        return area, ""

    def closure(self) -> list[Membership]:
        """Every (area, ancestor) pair along all paths: weights multiplied, validities intersected."""
        upwards: dict[str, list[Membership]] = defaultdict(list)
        for membership in self.memberships:
            upwards[membership.area_id].append(membership)
        found: list[Membership] = []
        frontier = list(self.memberships)
        for _ in range(MAX_DEPTH):
            found += frontier
            frontier = [_join(low, high) for low in frontier for high in upwards[low.parent_id]]
            frontier = [m for m in frontier if (m.valid_from or dt.date.min) <= (m.valid_to or dt.date.max)]
            if not frontier:
                break
        return found

    def ambiguous(self) -> list[tuple[str, str]]:
        """Names and numbers that stand for two areas of a level on the same day: (area_id, sentence)."""
        found = {}
        for what, index in (("Nummer", self._by_number), ("Name", self._by_name)):
            for (level, text), areas in index.items():
                for position, area in enumerate(areas):
                    for other in areas[:position]:
                        if other.valid_on(area.valid_from or dt.date.min) or area.valid_on(
                            other.valid_from or dt.date.min
                        ):
                            sentence = f"{what} »{text}« der Ebene {level} hat schon {other.area_id}"
                            found[area.area_id, what, text] = (area.area_id, sentence)
        return list(found.values())

    def _valid(self, areas: list[Area], date: dt.date) -> list[Area]:
        return [area for area in areas if area.valid_on(date)]

    def _near_name(self, name: str, levels: Sequence[str], date: dt.date) -> str:
        known = [a.name for a in self.areas.values() if a.level in levels and a.valid_on(date)]
        by_plain = {plain(entry): entry for entry in known}
        match = nearest(plain(name), by_plain)
        return f"; meinten Sie »{by_plain[match[0]]}«?" if match else ""

    def _near_id(self, area_id: str, levels: Sequence[str]) -> str:
        match = nearest(area_id, [a.area_id for a in self.areas.values() if a.level in levels])
        return f"; meinten Sie »{match[0]}«?" if match else ""


def _listed(areas: list[Area]) -> str:
    return ", ".join(f"{a.name} ({a.level}, {a.area_id})" for a in areas)


def _not_then(areas: list[Area], date: dt.date) -> str:
    """Sentence on areas that exist, but not on that date; '' if there are none."""
    if not areas:
        return ""
    spans = []
    for area in areas:
        start = f" ab {area.valid_from:%d.%m.%Y}" if area.valid_from else ""
        end = f" bis {area.valid_to:%d.%m.%Y}" if area.valid_to else ""
        spans.append(f"{area.area_id} gilt{start}{end}")
    return f"»{areas[0].name}« gibt es am {date:%d.%m.%Y} nicht: {', '.join(spans)}"


def plain(name: str) -> str:
    """Spelling reduced to what counts: letter case, umlaut style (ä, ae, a + two dots) and blanks do not."""
    if name.isascii():
        return " ".join(name.lower().split())
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    return " ".join(folded.translate(_UMLAUTS).split())


def plain_number(number: str) -> str:
    """Area number without leading zeros and blanks."""
    return number.strip().lstrip("0") or ("0" if number.strip() else "")


def _join(low: Membership, high: Membership) -> Membership:
    starts = [d for d in (low.valid_from, high.valid_from) if d]
    ends = [d for d in (low.valid_to, high.valid_to) if d]
    status = "confirmed" if low.status == high.status == "confirmed" else "assumed"
    return Membership(
        low.area_id,
        high.parent_id,
        max(starts) if starts else None,
        min(ends) if ends else None,
        low.weight * high.weight,
        status,
    )


# ---------------------------------------------------------------- reading


def read_directory(
    levels: list[str], areas_file: Path, memberships_file: Path, root: Path
) -> tuple[Directory, list[Problem]]:
    """Read both CSV files; the problems name file and line, nothing is raised for bad content."""
    problems: list[Problem] = []
    areas: dict[str, Area] = {}
    lines: dict[str, int] = {}
    areas_place, memberships_place = _place(areas_file, root), _place(memberships_file, root)
    for line, row in read_rows(areas_file, AREA_COLUMNS, root, problems):
        area = _area(row, levels, areas_place, line, problems)
        if area is None:
            continue
        if area.area_id in areas:
            text = f"area_id »{area.area_id}« steht schon in Zeile {lines[area.area_id]}"
            problems.append(Problem(areas_place, line, text))
            continue
        areas[area.area_id], lines[area.area_id] = area, line
    memberships, member_lines = [], []
    for line, row in read_rows(memberships_file, MEMBERSHIP_COLUMNS, root, problems):
        membership = _membership(row, areas, memberships_place, line, problems)
        if membership is not None:
            memberships.append(membership)
            member_lines.append(line)
    directory = Directory(levels, areas, memberships)
    for position, text in [*_weights(directory), *_circles(directory)]:
        problems.append(Problem(memberships_place, member_lines[position], text))
    problems += [Problem(areas_place, lines[area_id], text) for area_id, text in directory.ambiguous()]
    return directory, problems


def _place(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def read_rows(path: Path, columns: list[str], root: Path, problems: list[Problem]) -> list[tuple[int, dict[str, str]]]:
    """Rows of a CSV file with their line numbers; what is wrong with the file goes into `problems`."""
    place = _place(path, root)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problems.append(Problem(place, 1, "Datei fehlt"))
        return []
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problems.append(Problem(place, line, "nicht in UTF-8 gespeichert (die erste Stelle ist in dieser Zeile)"))
        return []
    except (OSError, ValueError) as error:
        problems.append(Problem(place, 1, f"nicht lesbar ({type(error).__name__})"))
        return []
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, line = [], 1
    try:
        header = [name.strip() for name in next(reader, [])]
        if header != columns:
            problems.append(Problem(place, 1, f"Kopfzeile ist {','.join(header)}; erwartet: {','.join(columns)}"))
            return []
        line = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(columns):
                rows.append((line, {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}))
            elif any(cell.strip() for cell in cells):
                problems.append(Problem(place, line, f"Zeile hat {len(cells)} statt {len(columns)} Spalten"))
            line = reader.line_num + 1
    except csv.Error as error:
        problems.append(Problem(place, line, f"nicht lesbar, oft ein Anführungszeichen zu viel ({error})"))
    return rows


def _area(row: dict[str, str], levels: list[str], place: str, line: int, problems: list[Problem]) -> Area | None:
    if row["level"] not in levels:
        match = nearest(row["level"], levels)
        hint = f"; meinten Sie »{match[0]}«?" if match else f"; möglich: {', '.join(levels)}"
        problems.append(Problem(place, line, f"unbekannte Gebietsebene »{row['level']}«{hint}"))
        return None
    if not row["area_id"] or not row["name"]:
        problems.append(Problem(place, line, "area_id und name dürfen nicht leer sein"))
        return None
    if not re.fullmatch(r"[A-Za-z0-9@._-]+", row["area_id"]):
        problems.append(Problem(place, line, f"area_id »{row['area_id']}«: erlaubt sind A-Z a-z 0-9 @ . _ -"))
    sort_key = row["sort_key"] or "0"
    if not re.fullmatch(r"-?[0-9]{1,9}", sort_key):
        problems.append(Problem(place, line, f"sort_key »{sort_key}«: erwartet eine ganze Zahl oder leer"))
        return None
    return Area(
        row["area_id"],
        row["name"],
        row["level"],
        row["number"],
        *_span(row, place, line, problems),
        int(sort_key),
        tuple(alias.strip() for alias in row["aliases"].split("|") if alias.strip()),
        row["source"],
    )


def _membership(
    row: dict[str, str], areas: dict[str, Area], place: str, line: int, problems: list[Problem]
) -> Membership | None:
    for column in ("area_id", "parent_id"):
        if row[column] not in areas:
            match = nearest(row[column], areas)
            hint = f"; meinten Sie »{match[0]}«?" if match else ""
            problems.append(Problem(place, line, f"{column} »{row[column]}« steht nicht in der Gebietsliste{hint}"))
            return None
    if areas[row["area_id"]].level == areas[row["parent_id"]].level:
        problems.append(Problem(place, line, "Gebiet und übergeordnetes Gebiet liegen auf derselben Ebene"))
    if row["status"] not in ("confirmed", "assumed"):
        problems.append(Problem(place, line, f"status »{row['status']}«: möglich sind confirmed und assumed"))
    try:
        weight = float(row["weight"])
    except ValueError:
        weight = -1
    if not 0 < weight <= 1:
        problems.append(Problem(place, line, f"weight »{row['weight']}«: erwartet eine Zahl über 0 und höchstens 1"))
        return None
    return Membership(
        row["area_id"],
        row["parent_id"],
        *_span(row, place, line, problems),
        weight,
        row["status"],
        row["source"],
    )


def _span(row: dict[str, str], place: str, line: int, problems: list[Problem]) -> tuple[dt.date | None, dt.date | None]:
    """First and last day of validity; empty cells leave that side open."""
    start, end = (_date(row[column], place, line, problems) for column in ("valid_from", "valid_to"))
    if start and end and start > end:
        problems.append(Problem(place, line, f"valid_from {start} liegt nach valid_to {end}"))
    return start, end


def _date(text: str, place: str, line: int, problems: list[Problem]) -> dt.date | None:
    if not text:
        return None
    try:
        if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            return dt.date.fromisoformat(text)
    except ValueError:
        pass
    problems.append(Problem(place, line, f"Datum »{text}«: erwartet JJJJ-MM-TT oder leer"))
    return None


def _weights(directory: Directory) -> list[tuple[int, str]]:
    """An area may not belong to one level of a hierarchy with more than its whole, on any day.

    Returns:
        Position of the membership that begins on such a day, and a sentence.
    """
    found = []
    shares: dict[tuple[str, str], list[tuple[int, Membership]]] = defaultdict(list)
    for position, membership in enumerate(directory.memberships):
        level = directory.areas[membership.parent_id].level
        shares[membership.area_id, level].append((position, membership))
    for (area_id, level), members in shares.items():
        if sum(m.weight for _, m in members) <= 1 + 1e-9:  # on no day more than on all days together
            continue
        for start in sorted({m.valid_from or dt.date.min for _, m in members}):
            on_day = [
                (position, m)
                for position, m in members
                if (m.valid_from or dt.date.min) <= start <= (m.valid_to or dt.date.max)
            ]
            total = sum(m.weight for _, m in on_day)
            if total > 1 + 1e-9:
                day = "ohne Anfang" if start == dt.date.min else f"am {start:%d.%m.%Y}"
                text = f"{area_id} gehört {day} zu {total:g} Teilen zur Ebene {level}; höchstens 1 ist möglich"
                found.append((on_day[-1][0], text))
    return found


def _circles(directory: Directory) -> list[tuple[int, str]]:
    """No area may lie in itself, whatever the way around."""
    graph: dict[str, list[str]] = defaultdict(list)
    for m in directory.memberships:
        graph[m.area_id].append(m.parent_id)
    try:
        TopologicalSorter(graph).prepare()
        return []  # there is no circle even if all memberships held at the same time
    except CycleError:
        ring = {m.area_id for m in directory.closure() if m.area_id == m.parent_id}
    return [
        (position, f"{m.area_id} liegt über Umwege in sich selbst")
        for position, m in enumerate(directory.memberships)
        if m.area_id in ring
    ]
