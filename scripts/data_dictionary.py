"""Writes docs/datenwoerterbuch.md from the YAML of assets/: every table, view, macro and column, every indicator.

    python scripts/data_dictionary.py [--check]

With --check nothing is written; the exit code is 1 if the page is not what the YAML says.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.marts.models import Models
from pipelines.project import Project, load_project
from schemas.codes import CODE_LISTS
from schemas.documents import FromRate

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "datenwoerterbuch.md"


def page(project: Project) -> str:
    """The whole page as Markdown."""
    models = Models(project)
    lines = [
        "# Datenwörterbuch",
        "",
        "Erzeugt aus `assets/` mit `python scripts/data_dictionary.py`; nicht von Hand ändern.",
        "Dieselben Angaben stehen in jeder veröffentlichten Datenbank (`FROM api.datenwoerterbuch`).",
        "",
        "## Indikatoren",
        "",
        "| Kennung | Name | Definition | Einheit | Ebenen |",
        "| --- | --- | --- | --- | --- |",
    ]
    for indicator in project.indicators.values():
        levels = [
            f"{level} ({'veröffentlichte Quote' if isinstance(f, FromRate) else 'aus Anzahlen'})"
            for level, f in indicator.levels.items()
        ]
        cells = [f"`{indicator.id}`", indicator.title.de, indicator.definition.de, indicator.unit, ", ".join(levels)]
        lines.append(f"| {' | '.join(cell.strip() for cell in cells)} |")
    for schema in ("mart", "api", "meta"):
        lines += ["", f"## Schema `{schema}`"]
        for model in models.of_schema(schema):
            mart = model.mart
            call = f"({', '.join(mart.parameters)})" if mart.kind == "macro" else ""
            lines += ["", f"### `{schema}.{mart.id}{call}`", "", f"{mart.title.de}. {mart.description.de.strip()}", ""]
            if mart.key:
                lines += [f"Schlüssel: {', '.join(f'`{key}`' for key in mart.key)}", ""]
            if mart.columns:
                lines += ["| Spalte | Typ | Bedeutung |", "| --- | --- | --- |"]
                lines += [f"| `{name}` | {column.type} | {column.de} |" for name, column in mart.columns.items()]
            if mart.columns_per_indicator:
                lines += [
                    f"| `{name}` | {column.type} | je Indikator: {column.de.format(title='Name')} |"
                    for name, column in mart.columns_per_indicator.items()
                ]
    lines += ["", "## Codelisten", ""]
    for name, codes in CODE_LISTS.items():
        lines += [f"### `{name}`", "", "| Code | Bedeutung | Zeichen |", "| --- | --- | --- |"]
        lines += [f"| `{code.code}` | {code.label_de} | {code.sign} |" for code in codes]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """Write or check the page."""
    text = page(load_project(ROOT))
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text)
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
