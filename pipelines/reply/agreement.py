"""What was agreed with the sender about the form of the files, read from the source's description."""

from __future__ import annotations

from pipelines.intake.plan import declared
from pipelines.periods import FORMS
from pipelines.project import Project
from pipelines.reply.words import listed
from schemas.documents import Source

_ENCODINGS = {
    "utf-8": "UTF-8 (in Excel: Speichern unter, »CSV UTF-8«)",
    "cp1252": "Windows-1252 (in Excel: Speichern unter, »CSV«)",
    "latin-1": "ISO-8859-1 (in Excel: Speichern unter, »CSV«)",
}
_DELIMITERS = {";": "Semikolon", ",": "Komma", "\t": "Tabulator", "|": "senkrechter Strich"}
_MEANINGS = {"suppressed": "geheim gehalten", "missing": "keine Angabe", "zero": "null"}
_COLUMNS = 30


def agreement(project: Project, source: Source) -> list[tuple[str, str]]:
    """Label and German text of each part of the agreement."""
    parts = [("Dateiart", _kind(source)), ("Kopfzeile", _heading(source)), ("Spalten", _columns(source))]
    parts.append(("Zeitangaben", _periods(source)))
    parts.append(("Gebiete", _areas(project, source)))
    parts.append(("Zahlen", _numbers(source)))
    return [(label, text) for label, text in parts if text]


def _kind(source: Source) -> str:
    if source.workbook is not None:
        sheets = listed([f"»{name}«" for name in source.workbook.sheets])
        return f"Arbeitsmappe (xlsx, xls oder ods); gelesen wird das Blatt {sheets}"
    mark = _DELIMITERS.get(source.format.delimiter, f"»{source.format.delimiter}«")
    return f"Textdatei (CSV), Trennzeichen {mark}, Zeichensatz {_ENCODINGS[source.format.encoding]}"


def _heading(source: Source) -> str:
    shape = source.table
    if shape.title is not None:
        return f"unter jeder Überschrift wie »{shape.title}«"
    where = f"Zeile {shape.header_line}"
    return where if shape.header_rows == 1 else f"ab {where}, {shape.header_rows} Zeilen"


def _columns(source: Source) -> str:
    names = [f"»{name}«" for name in declared(source)]
    text = ", ".join(names[:_COLUMNS]) + (f" und {len(names) - _COLUMNS} weitere" if len(names) > _COLUMNS else "")
    if source.layout.period.in_header:
        text += " und je Zeitraum eine Spalte" if names else "je Zeitraum eine Spalte"
    return text


def _periods(source: Source) -> str:
    period = source.layout.period
    place = "in den Spaltenüberschriften"
    if period.column:
        place = f"in der Spalte »{period.column}«"
    elif period.file_name:
        place = "im Dateinamen"
    elif period.sheet:
        place = "im Namen des Blatts"
    elif period.title:
        place = "in der Überschrift der Tabelle"
    text = f"{place}, geschrieben wie {FORMS[period.type]}"
    if period.day is not None and period.type == "stichtag":
        text += " oder als Jahr wie 2023"
    days = listed([f"{day[3:]}.{day[:2]}." for day in period.days])
    return f"{text}; nur zum {days}" if days else text


def _areas(project: Project, source: Source) -> str:
    plural = {level.id: level.plural.de for level in project.areas.levels}
    if source.layout.area is None:
        area = project.directory.areas.get(str(source.layout.fixed_area))
        return f"die ganze Datei gilt für {area.name}" if area else ""
    text = listed([plural.get(level, level) for level in source.layout.area.possible_levels()])
    text += ", geschrieben wie im Gebietsverzeichnis"
    full = [plural.get(level, level) for level, areas in source.contract.complete.items() if areas == "all"]
    return text + (f"; in jedem Zeitraum alle {listed(full)}" if full else "")


def _numbers(source: Source) -> str:
    sample = f"1{source.format.thousands or ''}234 oder 12{source.format.decimal}5"
    signs = [f"{f'»{text}«' if text else 'leere Zelle'} = {_MEANINGS[means]}" for text, means in source.symbols.items()]
    sample += "" if source.format.thousands else ", ohne Tausenderzeichen"
    return f"geschrieben wie {sample}" + (f"; Zeichen: {', '.join(signs)}" if signs else "")
