"""Puts together what was found in a file: the documents of a new topic, ready to be written."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.describe.figures import Figures, Finder, value_columns
from pipelines.describe.grid import Grid
from pipelines.describe.names import LINKS, identifier, words
from pipelines.describe.paper import Notes, counted
from pipelines.describe.places import Names, Place, find_places
from pipelines.describe.roles import Roles, fill_down, find_roles
from pipelines.describe.sample import Sample, Unreadable
from pipelines.describe.shape import Shape, common_pattern, find_shape
from pipelines.describe.times import Time, find_period
from pipelines.intake.failures import shown
from pipelines.project import Project
from schemas.documents import Format, TableShape

_DATES = re.compile(r"(?<![0-9])(?:[0-9]{1,2}[._-][0-9]{1,2}[._-])?(?:19|20)[0-9]{2}(?:[._-][0-9]{1,4}){0,2}(?![0-9])")
_TOPIC_HEADING = re.compile(r"merkmal|kennzahl|indikator|thema|bezeichnung|inhalt", re.IGNORECASE)
_FEW_AREAS = 3


@dataclass
class Proposal:
    """A source and its measures as far as the file tells; most fields are keys of the source as they will stand."""

    id: str
    file_name: str
    workbook: bool
    sheets: list[str]
    table: dict[str, Any]
    form: dict[str, Any]
    time: Time
    place: Place
    constant: dict[str, str]
    ignore: list[str]
    figures: Figures
    notes: Notes
    exists: bool
    """Whether a topic of this name is there already, to which the source would be added."""
    complete: dict[str, Any] = field(default_factory=dict)


def propose(project: Project, path: Path, sample: Sample, source_id: str, notes: Notes) -> Proposal:
    """Work out the proposal.

    Args:
        project: the project the source is for.
        path: the file.
        sample: what was read of it.
        source_id: id of the new source.
        notes: takes facts and doubts.

    Raises:
        Unreadable: no table with figures was found.
    """
    names = Names(project.directory)
    shapes, grid, filled = _read(path, sample, names, notes)
    time = find_period(grid, shapes[0], path.name, _hint(grid, shapes[0], path), notes)
    place = find_places(grid, time, project, names, notes)
    used = [*place.columns, *([time.column] if time.column else []), *time.others]
    values = value_columns(grid, used)
    roles = find_roles(grid, time, place, values, notes)
    if time.headings:
        values = _dated_values(values, time, roles, notes)
    if not values:
        raise Unreadable(f"{path}: keine Spalte mit Zahlen gefunden, die nicht Gebiet oder Zeit ist")
    finder = Finder(grid, time, _topic(roles, project, path), set(project.measures), notes)
    figures = finder.find(values, roles.measure, [row.start() for row in shapes[0].below], sample)
    ignored = [column.name for column in (*roles.ignored, *figures.left_out)]
    found = Proposal(
        id=source_id,
        file_name=path.name,
        workbook=sample.workbook,
        sheets=_sheet_patterns(sample, shapes, time),
        table=_table_keys(shapes[0], filled, time, place),
        form=_format(sample, figures.form, shapes[0]),
        time=time,
        place=place,
        constant={column.name: next(iter(column.counts)) for column in roles.constant},
        ignore=list(dict.fromkeys(ignored)),
        figures=figures,
        notes=notes,
        exists=(project.paths.assets / source_id / "defs.yaml").exists(),
    )
    found.complete = _complete(project, grid, found)
    return found


def _read(path: Path, sample: Sample, names: Names, notes: Notes) -> tuple[list[Shape], Grid, list[str]]:
    """The tables, their rows, and the columns in which empty cells repeat the one above.

    Raises:
        Unreadable: no table with figures was found.
    """
    shapes = _tables(sample, names, notes)
    if not shapes:
        raise Unreadable(f"{path}: keine Tabelle mit Zahlen gefunden (eine Kopfzeile, darunter Zeilen mit Zahlen)")
    grid = Grid.of(shapes)
    filled = fill_down(grid, names, notes)
    if filled:
        grid = Grid.of(shapes, fill_down=filled)
    if not grid.columns or not grid.lines:
        why = grid.findings.kept[0].sentence() if grid.findings.kept else ""
        raise Unreadable(f"{path}: unter der Kopfzeile stehen keine lesbaren Zeilen. {why}".rstrip())
    _headings(grid, notes)
    return shapes, grid, filled


def new_id(project: Project, path: Path, given: str | None) -> str:
    """Id of the new source: as given, else the folder of the inbox the file lies in, else from the file's name.

    Raises:
        Unreadable: the given id is not valid or taken; the text says so.
    """
    assets = project.paths.assets
    taken = {*project.sources, *(folder.name for folder in assets.iterdir() if folder.is_dir())}
    if given is not None:
        proposed = identifier(given, taken, "quelle")
        if given in project.sources:
            raise Unreadable(f"Die Quelle »{given}« gibt es schon; andere Kennung wählen, z. B. --source {proposed}")
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,59}", given):
            text = f"»{shown(given)}« ist keine Kennung (a-z, 0-9 und _, höchstens 60 Zeichen, Anfang mit Buchstaben)"
            raise Unreadable(f"{text}; möglich wäre --source {proposed}")
        return given
    folder = path.resolve().parent
    if folder.parent == project.paths.inbox and identifier(folder.name) == folder.name and folder.name not in taken:
        return folder.name
    return identifier(_DATES.sub(" ", path.stem), taken, "quelle")


# ---------------------------------------------------------------- table


def _tables(sample: Sample, names: Names, notes: Notes) -> list[Shape]:
    """Shapes of the sheets that are read together: the largest table, and sheets with the same heading."""
    found: list[tuple[Shape, Notes]] = []
    for sheet in sample.sheets:
        own = Notes()
        shape = find_shape(sheet, names.is_area, own)
        if shape is not None:
            found.append((shape, own))
    if not found:
        return []
    best, own = max(found, key=lambda entry: entry[0].figures)
    notes.take(own)
    heads = _heads(best)
    alike = [shape for shape, _ in found if _heads(shape) == heads and shape.keys == best.keys]
    others = [shape.sheet.name for shape, _ in found if shape not in alike and shape.figures > 1]
    if others:
        listed = ", ".join(f"»{shown(name, 40)}«" for name in others[:6])
        notes.doubt("workbook", f"Auch hier stehen Tabellen, anders aufgebaut: {listed}. Dafür je eine eigene Quelle")
    return [best, *(shape for shape in alike if shape is not best)]


def _heads(shape: Shape) -> list[str]:
    return next((table.header for table in shape.tables()), [])


def _headings(grid: Grid, notes: Notes) -> None:
    """Doubts about headings and lines, as the readers would report them: the first of each rule."""
    for rule, count in grid.findings.by_rule.items():
        first = next(failure for failure in grid.findings.kept if failure.rule == rule)
        more = f" (so {count} mal)" if count > 1 else ""
        ends = "; damit wird die Lieferung zurückgewiesen" if first.severity == "error" else ""
        notes.doubt("table", f"{first.place()}: {first.message}{more}{ends}")
    for name, count in Counter(column.name for column in grid.columns if column.name).items():
        if count > 1:
            text = f"Die Überschrift »{shown(name)}« kommt {count} mal vor"
            notes.doubt("table", f"{text}; damit wird die Lieferung zurückgewiesen")


def _sheet_patterns(sample: Sample, shapes: Sequence[Shape], time: Time) -> list[str]:
    """Names of the sheets, or one pattern if they differ from delivery to delivery."""
    if not sample.workbook:
        return []
    names = [shape.sheet.name for shape in shapes]
    if "sheet" in time.keys:
        pattern = common_pattern([re.sub("[0-9]", "?", name) for name in names])
        if pattern:
            return [pattern]
    return [name.replace("*", "?") for name in names]


def _table_keys(shape: Shape, filled: list[str], time: Time, place: Place) -> dict[str, Any]:
    """Keys of `table` in the order of the model."""
    keys = {**shape.keys, **time.table, "fill_down": filled}
    keys["skip"] = list(dict.fromkeys([*keys.get("skip", []), *place.skip]))
    return {key: keys[key] for key in TableShape.model_fields if keys.get(key)}


def _format(sample: Sample, form: Format, shape: Shape) -> dict[str, Any]:
    """Keys of `format`; those that say what is the default anyway are left out, except the delimiter."""
    keys: dict[str, Any] = {}
    if not sample.workbook:
        keys = {"delimiter": sample.delimiter, "encoding": sample.encoding}
    keys["decimal"] = form.decimal
    if form.thousands:
        keys["thousands"] = form.thousands
    if shape.short_rows and not sample.workbook:
        keys["short_rows"] = "fill"
    return keys


# ---------------------------------------------------------------- what the file is about


def _hint(grid: Grid, shape: Shape, path: Path) -> str:
    fixed = [text for column in grid.columns if len(column.counts) == 1 for text in column.counts]
    said = [path.stem, *(row.start() for row in shape.above), *fixed, *(column.name for column in grid.columns)]
    return " ".join(text[:200] for text in said)[:5000]


def _topic(roles: Roles, project: Project, path: Path) -> str:
    """What the file is about in a few words: its fixed Merkmal, else its name without place and time."""
    for column in roles.constant:
        if _TOPIC_HEADING.search(column.name):
            return next(iter(column.counts))
    levels = project.areas.levels
    places = {words(name) for level in levels for name in (level.id, level.title.de, level.plural.de)}
    places |= {f"{name}n" for name in places} | {words(a.name) for a in project.directory.areas.values()}
    parts = words(_DATES.sub(" ", path.stem)).split("_")
    kept = [part for part in parts if part not in places and not part.isdigit()]
    while kept and kept[-1] in LINKS:
        kept.pop()
    return " ".join(kept) or "kennzahl"


def _dated_values(values: list[Any], time: Time, roles: Roles, notes: Notes) -> list[Any]:
    """Where the periods stand in the headings, only such columns are read."""
    plain = [column for column in values if column.index not in time.headings]
    if plain:
        listed = ", ".join(f"»{shown(column.name, 40)}«" for column in plain[:5])
        notes.doubt("ignore", f"Zahlen ohne Zeit in der Überschrift werden nicht gelesen: {listed}")
        roles.ignored += plain
    return [column for column in values if column.index in time.headings]


# ---------------------------------------------------------------- contract


def _complete(project: Project, grid: Grid, found: Proposal) -> dict[str, Any]:
    """Levels of which every period (and measure) holds all areas, or always the same few."""
    sets: dict[str, dict[tuple[dt.date, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    columns = list(found.time.headings) or [0]
    asked: set[tuple[dt.date, str]] = set()
    measure = found.figures.measure_column
    for row, area in enumerate(found.place.areas):
        if area is None:
            continue
        what = f"{measure.texts[row] if measure else ''}|{grid.titles[row]}"
        for column in columns:
            if date := found.time.date(found.time.text(grid, row, column)):
                sets[area.level][date, what].add(area.area_id)
                asked.add((date, what))
    if found.place.fixed or not grid.complete:
        if not grid.complete:
            found.notes.doubt("contract", "Ob alle Gebiete in jedem Zeitraum stehen, zeigt erst die ganze Datei")
        return {}
    dates = (found.time.date(found.time.text(grid, row, columns[0])) for row in range(len(grid.lines)))
    unread = not all(found.place.areas) or not all(dates)
    promises = {}
    for level in found.place.levels:
        held = {key: sets[level][key] for key in asked}
        promises[level] = _promise(project, level, held, unread, found.notes)
    return {level: promise for level, promise in promises.items() if promise is not None}


def _promise(
    project: Project, level: str, sets: dict[tuple[dt.date, str], set[str]], unread: bool, notes: Notes
) -> str | list[str] | None:
    """What can be promised of a level; where some rows could not be read, the few gaps are put down to them."""
    if not any(sets.values()):
        return None
    expected = {date: {a.area_id for a in project.directory.of_level(level, date)} for date, _ in sets}
    gaps = [(date, expected[date] - areas) for (date, _), areas in sorted(sets.items()) if expected[date] - areas]
    if not gaps:
        return "all"
    distinct = {frozenset(areas) for areas in sets.values()}
    if len(distinct) == 1 and len(next(iter(distinct))) <= _FEW_AREAS:
        return sorted(next(iter(distinct)))
    date, missing = gaps[0]
    names = ", ".join(project.directory.areas[area_id].name for area_id in sorted(missing)[:5])
    text = f"Ebene {level}: zum {date:%d.%m.%Y} fehlen {counted(len(missing), 'Gebiet', 'Gebiete')} ({names}"
    text += " …)" if len(missing) > 5 else ")"
    if len({date for date, _ in gaps}) > 1:
        text += f", insgesamt in {len({date for date, _ in gaps})} von {len({date for date, _ in sets})} Zeiträumen"
    if unread and len(gaps) <= 0.2 * len(sets):
        notes.doubt("contract", f"{text}, vermutlich wegen der Zeilen, die nicht lesbar sind")
        return "all"
    notes.doubt("contract", f"{text}; darum ohne complete für diese Ebene")
    return None
