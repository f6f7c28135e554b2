"""The project's areas: read from CSV, looked up by name, number or id, rolled up along memberships."""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
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


@dataclass
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
        self, levels: Sequence[str], date: dt.date, *, name: str = "", number: str = "", area_id: str = ""
    ) -> tuple[Area | None, str]:
        """The area that a row means.

        Args:
            levels: levels that are possible here.
            date: reference date of the row; areas not valid then are not found.
            name: as written in the file ('' = not given); name and number must agree where both are given.
            number: as written in the file.
            area_id: full id as written in the file.

        Returns:
            The area and '', or None and a German sentence saying what does not fit and what is near.
        """
        where = " oder ".join(levels)
        named = self._valid([a for level in levels for a in self._by_name.get((level, plain(name)), [])], date)
        numbered = self._valid(
            [a for level in levels for a in self._by_number.get((level, plain_number(number)), [])], date
        )
        if area_id:
            by_id = self.areas.get(area_id)
            if by_id is None or by_id.level not in levels or not by_id.valid_on(date):
                return None, f"unbekannte Gebietskennung »{area_id}« ({where})" + self._near_id(area_id)
            if name and by_id not in named:
                return None, f"Kennung {area_id} ist »{by_id.name}«, in der Zeile steht »{name.strip()}«"
            return by_id, ""
        if number:
            if len(numbered) != 1:
                return None, f"unbekannte Nummer »{number.strip()}« ({where})"
            if name and numbered[0] not in named:
                return None, (
                    f"Nummer {number.strip()} ist »{numbered[0].name}«, in der Zeile steht »{name.strip()}«"
                    + self._near_name(name, levels, date)
                )
            return numbered[0], ""
        if len(named) > 1:
            several = ", ".join(f"{a.name} ({a.level})" for a in named)
            return None, f"»{name.strip()}« ist nicht eindeutig: {several}"
        if not named:
            return None, f"unbekanntes Gebiet »{name.strip()}« ({where})" + self._near_name(name, levels, date)
        return named[0], ""

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

    def _valid(self, areas: list[Area], date: dt.date) -> list[Area]:
        return [area for area in areas if area.valid_on(date)]

    def _near_name(self, name: str, levels: Sequence[str], date: dt.date) -> str:
        known = [a.name for a in self.areas.values() if a.level in levels and a.valid_on(date)]
        by_plain = {plain(entry): entry for entry in known}
        match = nearest(plain(name), by_plain)
        return f"; meinten Sie »{by_plain[match[0]]}«?" if match else ""

    def _near_id(self, area_id: str) -> str:
        match = nearest(area_id, self.areas)
        return f"; meinten Sie »{match[0]}«?" if match else ""


def plain(name: str) -> str:
    """Spelling reduced to what counts: letter case, umlaut style and blanks do not."""
    return re.sub(r"\s+", " ", name.strip().casefold().translate(_UMLAUTS))


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
    for line, row in _rows(areas_file, AREA_COLUMNS, root, problems):
        area = _area(row, levels, _place(areas_file, root), line, problems)
        if area is None:
            continue
        if area.area_id in areas:
            problems.append(
                Problem(_place(areas_file, root), line, f"area_id »{area.area_id}« steht schon weiter oben")
            )
        areas[area.area_id] = area
    memberships = []
    for line, row in _rows(memberships_file, MEMBERSHIP_COLUMNS, root, problems):
        membership = _membership(row, areas, _place(memberships_file, root), line, problems)
        if membership is not None:
            memberships.append(membership)
    directory = Directory(levels, areas, memberships)
    problems += [Problem(_place(memberships_file, root), 1, text) for text in _weights(directory)]
    problems += [Problem(_place(areas_file, root), 1, text) for text in _twice(directory)]
    return directory, problems


def _place(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _rows(path: Path, columns: list[str], root: Path, problems: list[Problem]) -> list[tuple[int, dict[str, str]]]:
    place = _place(path, root)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        problems.append(Problem(place, 1, "Datei fehlt"))
        return []
    except UnicodeDecodeError as error:
        problems.append(Problem(place, 1, f"nicht in UTF-8 gespeichert (Byte {error.start})"))
        return []
    reader = csv.DictReader(text.splitlines(keepends=True), restkey="+")
    header = list(reader.fieldnames or [])
    if header != columns:
        problems.append(Problem(place, 1, f"Kopfzeile ist {','.join(header)}; erwartet: {','.join(columns)}"))
        return []
    rows = []
    for row in reader:
        if "+" in row or None in row.values():
            problems.append(Problem(place, reader.line_num, f"Zeile hat nicht {len(columns)} Spalten"))
            continue
        rows.append((reader.line_num, {key: value.strip() for key, value in row.items()}))
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
    return Area(
        row["area_id"],
        row["name"],
        row["level"],
        row["number"],
        _date(row["valid_from"], place, line, problems),
        _date(row["valid_to"], place, line, problems),
        int(row["sort_key"]) if row["sort_key"].isdigit() else 0,
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
        _date(row["valid_from"], place, line, problems),
        _date(row["valid_to"], place, line, problems),
        weight,
        row["status"],
        row["source"],
    )


def _date(text: str, place: str, line: int, problems: list[Problem]) -> dt.date | None:
    if not text:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        problems.append(Problem(place, line, f"Datum »{text}«: erwartet JJJJ-MM-TT oder leer"))
        return None


def _weights(directory: Directory) -> list[str]:
    """An area may not belong to one level of a hierarchy with more than its whole, on any day."""
    found = []
    shares: dict[tuple[str, str], list[Membership]] = defaultdict(list)
    for membership in directory.memberships:
        shares[membership.area_id, directory.areas[membership.parent_id].level].append(membership)
    for (area_id, level), members in shares.items():
        for start in {m.valid_from or dt.date.min for m in members}:
            total = sum(
                m.weight for m in members if (m.valid_from or dt.date.min) <= start <= (m.valid_to or dt.date.max)
            )
            if total > 1 + 1e-9:
                found.append(
                    f"{area_id} gehört am {start} zu {total:g} Teilen zur Ebene {level}; höchstens 1 ist möglich"
                )
    return found


def _twice(directory: Directory) -> list[str]:
    """A number may stand for one area of a level on any day."""
    found = []
    for (level, number), areas in directory._by_number.items():
        for area in areas:
            others = [o for o in areas if o is not area and o.valid_on(area.valid_from or dt.date.min)]
            if others:
                found.append(f"Nummer {number} der Ebene {level} ist doppelt: {area.area_id}, {others[0].area_id}")
    return sorted(set(found))
