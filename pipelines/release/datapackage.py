"""The table of contents of a release: `datapackage.json` after Data Package v2.

The 2.0 profile types `fieldsMatch` wrongly, so it is left out; code lists are given as `constraints.enum`, which
every validator enforces.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from pipelines.files import sha256_file
from pipelines.marts.models import Models
from pipelines.release.feed import WORKBOOK_ROWS, given_out
from schemas.codes import CODE_LISTS
from schemas.documents import Column, Source

PROFILES = "https://datapackage.org/profiles/2.0"
_TYPES = {"VARCHAR": "string", "DOUBLE": "number", "BIGINT": "integer", "INTEGER": "integer", "DATE": "date"}
MEDIA = {
    ".csv": ("csv", "text/csv"),
    ".parquet": ("parquet", "application/vnd.apache.parquet"),
    ".xlsx": ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    ".duckdb": ("duckdb", "application/vnd.duckdb"),
}


def write_datapackage(folder: Path, models: Models, release_id: str, content_hash: str, created: dt.datetime) -> None:
    """Describe every file of a release folder, with sizes, checksums and the columns of the main tables."""
    release = models.project.release
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in MEDIA)
    package = {
        "$schema": f"{PROFILES}/datapackage.json",
        "name": "sozialraum-monitor",
        "id": release_id,
        "title": release.title.de,
        "description": release.description.de,
        "version": "1.0.0",
        "created": created.isoformat().replace("+00:00", "Z"),
        "licenses": [{"name": release.licence, "path": release.licence_address}],
        "contributors": [{"title": release.publisher, "roles": ["publisher"]}],
        "sources": [_source(source) for source in models.project.sources.values()],
        "contentHash": f"sha256:{content_hash}",
        "resources": [_resource(folder, file, models) for file in files],
    }
    text = json.dumps(package, ensure_ascii=False, indent=1)
    (folder / "datapackage.json").write_bytes((text + "\n").encode())


def _source(source: Source) -> dict[str, str]:
    """An entry of `sources`: each office's own licence stands here, the package's is that of the collection."""
    entry = {"title": f"{source.publisher}: {source.title.de} (Lizenz: {source.licence})", "version": source.origin}
    return entry | ({"path": source.address} if source.address else {})


def _resource(folder: Path, file: Path, models: Models) -> dict[str, Any]:
    path = file.relative_to(folder).as_posix()
    form, media = MEDIA[file.suffix]
    resource: dict[str, Any] = {
        "name": path.replace("/", "_").replace(".", "_").lower(),
        "path": path,
        "format": form,
        "mediatype": media,
        "bytes": file.stat().st_size,
        "hash": f"sha256:{sha256_file(file)}",
    }
    if file.suffix != ".csv":
        return resource
    german = path.endswith("_de.csv")
    resource |= {
        "$schema": f"{PROFILES}/dataresource.json",
        "type": "table",
        "encoding": "utf-8-sig" if german else "utf-8",
        "dialect": {"$schema": f"{PROFILES}/tabledialect.json", "delimiter": ";" if german else ",", "header": True},
    }
    table = next((t for t, name in given_out(models).items() if path in (f"{name}.csv", f"{name}_de.csv")), None)
    if table and not (folder / f"{given_out(models)[table]}.xlsx").exists():
        rows = f"{WORKBOOK_ROWS:,}".replace(",", ".")
        resource["description"] = f"Ohne Arbeitsmappe (XLSX): die Tabelle hat mehr als {rows} Zeilen."
    resource["schema"] = _table_schema(models, table, german) if table else _text_schema(file, german)
    return resource


def _table_schema(models: Models, table: str, german: bool) -> dict[str, Any]:
    model = models.all[f"mart.{table}"]
    fields = [_field(models, model.mart.id, name, column, german) for name, column in model.columns.items()]
    return {"$schema": f"{PROFILES}/tableschema.json", "fields": fields, "primaryKey": model.mart.key}


def _field(models: Models, table: str, name: str, column: Column, german: bool) -> dict[str, Any]:
    kind = "boolean" if column.type == "BOOLEAN" else _TYPES[column.type]
    field: dict[str, Any] = {"name": name, "type": kind, "title": name, "description": column.de}
    if kind == "boolean":
        field |= {"trueValues": ["ja" if german else "true"], "falseValues": ["nein" if german else "false"]}
    if kind == "number" and german:
        field["decimalChar"] = ","
    codes = [c.code for c in CODE_LISTS.get(name, [])]
    if name in ("area_level", "level"):
        codes = models.project.directory.levels
    constraints: dict[str, Any] = {"enum": codes} if codes else {}
    if name in models.all[f"mart.{table}"].mart.key and name != "valid_from":  # empty: from of old
        constraints["required"] = True
    return field | ({"constraints": constraints} if constraints else {})


def _text_schema(file: Path, german: bool) -> dict[str, Any]:
    """Wide tables and code lists: every column is text (a cell may hold a sign instead of a number)."""
    first = file.read_text(encoding="utf-8-sig").splitlines()[0]
    import csv

    names = next(csv.reader([first], delimiter=";" if german else ","))
    fields = [{"name": name, "type": "string"} for name in names]
    return {"$schema": f"{PROFILES}/tableschema.json", "fields": fields}
