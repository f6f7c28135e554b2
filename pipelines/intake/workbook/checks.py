"""What a workbook's file is, by its content, and whether it stays within the limits; nothing is kept of it."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from pathlib import Path

from pipelines.intake.failures import shown
from pipelines.intake.limits import MEGABYTE, UNPACKED_BYTES, UNPACKED_FILES, WORKBOOK_BYTES
from pipelines.intake.workbook.refused import ANY_WORKBOOK, SUFFIXES, Refused, damaged, other_kind, protected, too_big

_CELLS = re.compile(r"xl/(workbook|sharedstrings|worksheets/[^/]+)\.xml|content\.xml")
"""Parts of an archive (in small letters) that hold cells or name the sheets."""
_HTML = re.compile(
    r"\s*(<\?xml[^>]*>\s*)?(<!--((?!-->).)*-->\s*)*<(!doctype\s+html|html|head|meta|body|style|table|div)\b", re.S
)
_BEGINS = {"mime-version:": "ein Webarchiv", "%pdf": "ein PDF", "{\\rtf": "ein RTF-Text", "<?xml": "eine XML-Datei"}
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error)


def kind_of(path: Path) -> str:
    """xls, xlsx or ods; raises `Refused` for everything else, and for what is too large."""
    size = path.stat().st_size
    if size == 0:
        raise Refused("datei_leer", "Die Datei ist leer (0 Bytes)", ANY_WORKBOOK)
    if size > WORKBOOK_BYTES:
        raise too_big(f"Die Datei hat {size // MEGABYTE} MB", f"eine Arbeitsmappe bis {WORKBOOK_BYTES // MEGABYTE} MB")
    data = path.read_bytes()
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "xls"
    if not data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        raise other_kind(_other(data[:4096]), path)
    # Counted before the list is read: a list of millions of parts would itself need gigabytes.
    if data.count(b"PK\x01\x02") > UNPACKED_FILES:
        raise too_big(f"Die Datei besteht aus mehr als {UNPACKED_FILES} Teilen", "eine Arbeitsmappe ohne Ballast")
    try:
        with zipfile.ZipFile(path) as archive:
            return _archive(archive, path)
    except _BROKEN as error:
        raise damaged("unvollständig oder verändert, vielleicht brach die Übertragung ab", error) from None


def _other(start: bytes) -> str:
    """What a file is that is neither an archive nor an OLE file."""
    encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = start.decode(encoding, "replace").lower()
    if "schemas-microsoft-com:office:spreadsheet" in text and "<?xml" in text:
        return "eine XML-Kalkulationstabelle (Excel 2003)"
    if _HTML.match(text):
        return "eine HTML-Tabelle (Webseite)"
    if "office:document" in text and "<?xml" in text:
        return "ein OpenDocument in einer einzigen XML-Datei"
    for beginning, kind in _BEGINS.items():
        if text.lstrip().startswith(beginning):
            return kind
    if start[:2] in (b"\t\x00", b"\t\x02", b"\t\x04", b"\t\x08"):
        return "eine Excel-Datei aus der Zeit vor Excel 5"
    return "keine Arbeitsmappe" if "\0" in text else "eine Textdatei (CSV)"


def _archive(archive: zipfile.ZipFile, path: Path) -> str:
    """Kind of an archive; all its parts are unpacked once, to count them and to compare their check sums."""
    parts: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.filename.replace("\\", "/").lstrip("/").lower()
        if name in parts:
            raise damaged(f"der Teil »{shown(name)}« kommt zweimal vor")
        if info.flag_bits & 1:
            raise protected()
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise damaged(f"der Teil »{shown(name)}« ist auf unbekannte Weise gepackt")
        parts[name] = info
    _left(UNPACKED_BYTES, sum(info.file_size for info in parts.values()))
    kind, left = _archive_kind(archive, parts, path), UNPACKED_BYTES
    for name, info in parts.items():
        last = b""
        with archive.open(info) as file:
            while chunk := file.read(MEGABYTE):
                left = _left(left, len(chunk))
                _look(name, last + chunk)
                last = chunk[-1:]
    return kind


def _left(left: int, size: int) -> int:
    if size > left:
        most = f"{UNPACKED_BYTES // MEGABYTE} MB"
        raise too_big(f"Die Datei ist entpackt größer als {most}", f"eine Arbeitsmappe bis {most} entpackt")
    return left - size


def _archive_kind(archive: zipfile.ZipFile, parts: dict[str, zipfile.ZipInfo], path: Path) -> str:
    if "mimetype" in parts:
        with archive.open(parts["mimetype"]) as file:
            if file.read(200).startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
                return "ods"
        raise other_kind("ein OpenDocument, aber keine Tabelle", path)
    if "xl/workbook.xml" in parts:
        return "xlsx"
    if "xl/workbook.bin" in parts:
        message = "Die Datei ist eine binäre Excel-Arbeitsmappe (xlsb)"
        raise Refused("dateiart", message, "dieselbe Arbeitsmappe; bitte in Excel als xlsx speichern")
    if any(name.startswith("word/") for name in parts):
        raise other_kind("ein Word-Dokument", path)
    if any(name.startswith("ppt/") for name in parts):
        raise other_kind("eine Präsentation", path)
    packed = any(name.endswith((*SUFFIXES, ".csv")) for name in parts)
    raise other_kind(
        f"ein ZIP-Archiv{', in dem erst die Tabelle liegt' if packed else ' und keine Arbeitsmappe'}", path
    )


def _look(name: str, chunk: bytes) -> None:
    """What XML allows beyond elements and text is refused: calamine would return empty or cut cells."""
    if name == "meta-inf/manifest.xml" and b"encryption-data" in chunk:
        raise protected()
    if (b"<!" in chunk or b"\0" in chunk) and _CELLS.fullmatch(name):
        what = "XML, das kein Tabellenprogramm schreibt (DOCTYPE, CDATA, einen Kommentar oder 16-Bit-Zeichen)"
        raise damaged(f"der Teil »{shown(name)}« enthält {what}")
