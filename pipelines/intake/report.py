"""The report on a rejected delivery: German HTML to forward and CSV to work with. It stays inside."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment

from pipelines.files import write_text
from pipelines.history import Delivery
from pipelines.intake.verdict import Verdict
from pipelines.project import Project
from schemas.documents import Source

SHOWN = 200
_PAGE = """<!doctype html>
<html lang="de"><head><meta charset="utf-8"><title>Zurückgewiesen: {{ delivery.name }}</title>
<style>body{font:16px/1.5 sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
th,td{border:1px solid #999;padding:.3rem .5rem;text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{background:#eee}td.zahl{text-align:right}code{background:#f3f3f3}</style></head><body>
<h1>Die Datei »{{ delivery.name }}« konnte nicht übernommen werden</h1>
<p>Quelle: {{ source.title.de }} ({{ source.publisher }}). Eingang: {{ delivery.received_on.strftime('%d.%m.%Y') }},
Lieferung {{ delivery.delivery_id }}. {{ total }} Beanstandung{{ 'en' if total != 1 }}.</p>
<p><strong>Was jetzt gilt:</strong> Die Datei ist als Ganzes zurückgewiesen, keine ihrer Angaben wurde übernommen.
Die zuletzt angenommenen Daten bleiben in Kraft. <strong>Was zu tun ist:</strong> die unten genannten Stellen
berichtigen und die Datei noch einmal liefern.</p>
<table><thead><tr><th>Zeile</th><th>Spalte</th><th>Spaltenname</th><th>Gelesen</th><th>Beanstandung</th><th>Erwartet</th>
<th>Regel</th></tr></thead><tbody>
{% for f in failures[:shown] %}<tr><td class="zahl">{{ f.line or '' }}</td><td class="zahl">{{ f.column or '' }}</td>
<td>{{ f.column_name }}</td><td><code>{{ f.value }}</code></td><td>{{ f.message }}</td><td>{{ f.expected }}</td>
<td>{{ f.rule }}</td></tr>
{% endfor %}</tbody></table>
{% if failures|length > shown %}<p>Gezeigt sind die ersten {{ shown }}; mehr stehen in der CSV-Datei daneben.</p>
{% endif %}{% if total > failures|length %}<p>Einzeln aufgeführt sind {{ failures|length }} von {{ total }}
Beanstandungen.</p>
{% endif %}</body></html>
"""
_NUMBER = re.compile(r"-?[0-9]+(?:[.,][0-9]+)*")


def report_paths(project: Project, delivery: Delivery) -> tuple[Path, Path]:
    """HTML and CSV file of a rejected delivery's report."""
    folder = project.paths.answers
    return folder / f"{delivery.delivery_id}.html", folder / f"{delivery.delivery_id}.csv"


def write_report(project: Project, source: Source, delivery: Delivery, verdict: Verdict) -> Path:
    """Write both files; returns the path of the HTML page.

    Args:
        project: the project whose folder of rejections is used.
        source: the source of the delivery.
        delivery: the rejected delivery.
        verdict: what was found.
    """
    page, table = report_paths(project, delivery)
    template = Environment(autoescape=True).from_string(_PAGE)
    failures, total = verdict.failures, verdict.errors + verdict.warnings
    html = template.render(source=source, delivery=delivery, failures=failures, shown=SHOWN, total=total)
    for path, text in ((page, html), (table, _csv(failures))):
        if not path.exists() or path.read_bytes() != text.encode():
            write_text(path, text)
    return page


def _csv(failures: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\r\n")
    writer.writerow(["Zeile", "Spalte", "Spaltenname", "Wert", "Regel", "Beanstandung", "Erwartet"])
    for f in failures:
        row = [f["line"] or "", f["column"] or "", f["column_name"], f["value"], f["rule"], f["message"], f["expected"]]
        writer.writerow([_harmless(str(cell)) for cell in row])
    return "\ufeff" + out.getvalue()


def _harmless(cell: str) -> str:
    """A cell that a spreadsheet could run as a formula is shown as text; plain numbers stay numbers."""
    start = cell.lstrip()[:1]
    return f"'{cell}" if start and start in "=+-@" and not _NUMBER.fullmatch(cell) else cell
