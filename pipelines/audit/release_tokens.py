"""Fingerprints: a plain hash of a delivery or of a small count gives it away to whoever tries 0, 1, 2 and so on.

Every run of 32 or more hex digits anywhere in a release must be a checksum of one of its files, its content hash, the
hash of its rules or the version of its program.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import duckdb

from pipelines.audit.facts import Leak, Unreadable
from pipelines.audit.release_files import CHECKSUMS, PACKAGE, TEXTS, names_in
from pipelines.files import sha256_file
from pipelines.marts.models import Models
from pipelines.paths import DATABASE, RELEASE_ID
from pipelines.session import connect

CHANGED = "-geaendert"
"""Ends the version of a program whose code is not that of its commit."""
_HEX = re.compile(rb"[0-9A-Fa-f]{32,}")
_ADVICE = "Eine einfache Prüfsumme lässt sich durch Probieren auflösen; entfernen."
_PACKAGE_KEYS = {
    "$schema",
    "name",
    "id",
    "title",
    "description",
    "version",
    "created",
    "licenses",
    "contributors",
    "sources",
    "contentHash",
    "resources",
}
_RESOURCE_KEYS = {
    "$schema",
    "name",
    "path",
    "format",
    "mediatype",
    "bytes",
    "hash",
    "type",
    "encoding",
    "dialect",
    "schema",
    "title",
    "description",
}


def check_tokens(folder: Path, models: Models | None) -> list[Leak]:
    """Hex tokens that are none of the expected ones, in every text, workbook and column, and in the raw database.

    Raises:
        Unreadable: a container cannot be opened.
    """
    expected = _expected(folder, models)
    leaks = []
    for name in names_in(folder):
        path = folder / name
        if not path.is_file():
            continue
        binary = path.suffix in (".duckdb", ".parquet")
        for part, content in _contents(path, name):
            found = strange(content, expected, binary=binary)
            leaks += [Leak("pruefsumme", part, f"{token[:12]}…: {_ADVICE}") for token in found]
    return leaks + _in_columns(folder / DATABASE, expected) + _release_row(folder, models)


def strange(content: bytes, expected: set[bytes], binary: bool = False) -> list[str]:
    """Runs of 32 or more hex digits that are not made of expected ones.

    Args:
        content: bytes to look through.
        expected: tokens that may stand there, in lower case.
        binary: the bytes of numbers can look like hex digits; then a run counts if it is as mixed as a hash is.
    """
    found = []
    for run in sorted(set(_HEX.findall(content))):
        rest = run.lower()
        if rest in expected or (binary and not _mixed(rest)):
            continue
        for known in expected:
            rest = rest.replace(known, b" ")
        found += [token.decode() for token in _HEX.findall(rest) if not binary or _mixed(token)]
    return found


def _mixed(token: bytes) -> bool:
    """Whether 32 digits in a row look like those of a hash: about 14 different ones, twelve of them letters.

    DuckDB's tables of short texts, e.g. of area numbers followed by a word that begins with Be, have fewer letters.
    Of random hashes one of 32 digits in 600 (0.17 %) is not so mixed and is missed in binary files; none of 64 digits
    in 20,000 was. Columns of text are looked through without this measure.
    """
    runs = (token[start : start + 32] for start in range(len(token) - 31))
    return any(len(set(run)) >= 10 and len(set(run) & _LETTERS) >= 3 and len(_LETTER.findall(run)) >= 4 for run in runs)


_LETTERS = set(b"abcdefABCDEF")
_LETTER = re.compile(rb"[A-Fa-f]")


def _expected(folder: Path, models: Models | None) -> set[bytes]:
    known = {sha256_file(folder / name) for name in names_in(folder) if (folder / name).is_file()}
    try:
        with connect(folder / DATABASE, read_only=True) as con:
            row = con.execute('SELECT content_hash, "commit", rules FROM meta.release').fetchone()
            if models is None:  # then nobody knows the declared addresses but the file itself
                addresses = con.execute(
                    "SELECT DISTINCT address FROM meta.delivery WHERE address LIKE 'http%'"
                ).fetchall()
                known |= {t.decode() for (text,) in addresses for t in _HEX.findall(text.encode())}
    except duckdb.Error:
        row = None
    if row is not None:
        content, version, rules = map(str, row)
        commit = version.removesuffix(CHANGED)
        known |= {token for token, length in ((content, 64), (commit, 40), (rules, 64)) if len(token) == length}
    if models is not None:
        known.add(models.project.rules)
        known |= _declared(models)
    return {token.lower().encode() for token in known}


def _declared(models: Models) -> set[str]:
    """Tokens in the public fields of the sources: addresses can hold some."""
    fields = {"title", "description", "publisher", "licence", "address", "transcribed_from"}
    texts = [source.model_dump_json(include=fields) for source in models.project.sources.values()]
    return {token.decode() for token in _HEX.findall("\n".join(texts).encode())}


def _contents(path: Path, name: str) -> list[tuple[str, bytes]]:
    """Parts of a file whose bytes can hold text: the file itself, or the parts of a workbook."""
    if path.suffix != ".xlsx":
        return [(name, path.read_bytes())] if path.suffix in (*TEXTS, ".parquet", ".duckdb") else []
    try:
        with zipfile.ZipFile(path) as book:
            return [(f"{name}, {part}", book.read(part)) for part in book.namelist()]
    except zipfile.BadZipFile as error:
        raise Unreadable(f"{name}: {error}") from error


def _in_columns(file: Path, expected: set[bytes]) -> list[Leak]:
    """Text columns of every table: in the file itself they may be compressed."""
    leaks = []
    with connect(file, read_only=True) as con:
        tables = con.execute(
            "SELECT schema_name, table_name, list(column_name ORDER BY column_name) FROM duckdb_columns() c "
            "JOIN duckdb_tables() t USING (schema_name, table_name) "
            "WHERE c.data_type LIKE '%VARCHAR%' OR c.data_type = 'BLOB' GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        for schema, table, columns in tables:
            texts = [f'CAST("{column}" AS VARCHAR)' for column in columns]
            asked = [f"list(DISTINCT {t}) FILTER (regexp_matches({t}, '[0-9A-Fa-f]{{32,}}'))" for t in texts]
            answer = con.execute(f'SELECT {", ".join(asked)} FROM "{schema}"."{table}"').fetchall()[0]
            for column, tokens in zip(columns, answer, strict=True):
                found = strange("\n".join(tokens or []).encode(), expected)
                where = f"{schema}.{table}, Spalte {column}"
                leaks += [Leak("pruefsumme", where, f"{token[:12]}…: {_ADVICE}") for token in found]
    return leaks


def _release_row(folder: Path, models: Models | None) -> list[Leak]:
    """The fingerprints a release may name are what they claim to be: digests, commit and rules, one row."""
    leaks = []
    with connect(folder / DATABASE, read_only=True) as con:
        rows = con.sql("SELECT * FROM meta.release").to_arrow_table().to_pylist()
    row = rows[0] if rows else {}
    if len(rows) != 1 or not set(_NAMED) <= set(row) or set(row) - {*_NAMED, _PREVIOUS, ENGINE}:
        names = ", ".join([*_NAMED, _PREVIOUS, ENGINE])
        text = f"Erwartet wird genau eine Zeile mit {names}; Veröffentlichung neu bauen."
        leaks.append(Leak("unbekannte_spalte", "meta.release", text))
    if row.get(_PREVIOUS) is not None and not RELEASE_ID.fullmatch(str(row[_PREVIOUS])):
        text = "Erwartet wird die Kennung einer Veröffentlichung oder nichts; Veröffentlichung neu bauen."
        leaks.append(Leak("unbekannte_spalte", f"meta.release, Spalte {_PREVIOUS}", text))
    if row.get(ENGINE, "duckdb") not in ENGINES:
        leaks.append(
            Leak("unbekannte_spalte", f"meta.release, Spalte {ENGINE}", f"Erwartet: {' oder '.join(ENGINES)}.")
        )
    if RELEASE_ID.fullmatch(folder.name) and row.get("release_id") != folder.name:
        text = "Erwartet wird die Kennung, die der Ordner trägt; Veröffentlichung neu bauen."
        leaks.append(Leak("widerspruch", "meta.release, Spalte release_id", text))
    if models is not None:
        wrong = [name for name, form in _NAMED.items() if not re.fullmatch(form, str(row.get(name)))]
        text = f"Hat nicht die Form einer solchen Angabe. {_ADVICE}"
        leaks += [Leak("pruefsumme", f"meta.release, Spalte {name}", text) for name in wrong]
        if row.get("rules") != models.project.rules:
            leaks.append(Leak("pruefsumme", "meta.release, Spalte rules", f"Nicht die der Beschreibungen. {_ADVICE}"))
    return leaks + _package(folder, str(row.get("content_hash", "")))


_NAMED = {
    "release_id": RELEASE_ID.pattern,
    "content_hash": r"[0-9a-f]{64}",
    "commit": rf"[0-9a-f]{{40}}({CHANGED})?|unbekannt",
    "rules": r"[0-9a-f]{64}",
}
"""What `meta.release` says, and in what form; releases made before there were revisions say no more."""
_PREVIOUS = "previous_release_id"
ENGINE = "engine"
"""Column that says which engine computed the tables; older releases have none, theirs was DuckDB."""
ENGINES = ("duckdb", "spark")


def _package(folder: Path, content_hash: str) -> list[Leak]:
    """The table of contents: known keys only, and the hash of each file is that file's."""
    path = folder / PACKAGE
    if not path.exists():
        return []
    try:
        package: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Unreadable(f"{PACKAGE}: {error}") from error
    strangers = [(PACKAGE, key) for key in package if key not in _PACKAGE_KEYS]
    leaks = []
    if package.get("contentHash") != f"sha256:{content_hash}":
        leaks.append(Leak("pruefsumme", f"{PACKAGE}, contentHash", f"Nicht die Prüfsumme des Inhalts. {_ADVICE}"))
    for resource in package.get("resources", []):
        file = folder / str(resource.get("path"))
        strangers += [(f"{PACKAGE}, {resource.get('path')}", key) for key in resource if key not in _RESOURCE_KEYS]
        if not file.is_file() or resource.get("hash") != f"sha256:{sha256_file(file)}":
            leaks.append(Leak("pruefsumme", f"{PACKAGE}, {resource.get('path')}", f"Nicht die der Datei. {_ADVICE}"))
    text = "Diese Angabe gehört nicht in das Datenpaket; entfernen."
    return leaks + [Leak("unbekannte_spalte", f"{where}, {key}", text) for where, key in strangers]


__all__ = ["CHANGED", "CHECKSUMS", "ENGINE", "check_tokens", "strange"]
