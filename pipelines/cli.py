"""The command `sozialraum`. Heavy libraries are imported inside the commands that need them."""

from __future__ import annotations

import gc
import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines.progress import Voice

app = typer.Typer(
    help="Sozialraum-Monitor: aus Lieferungen werden geprüfte, veröffentlichte Kennzahlen.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ProjectOption = Annotated[Path, typer.Option("--project", help="Projektordner (Vorgabe: dieser Ordner)")]
HERE = Path()


@app.command()
def nightly(project: ProjectOption = HERE) -> None:
    """Alles: Lieferungen annehmen, prüfen, rechnen, veröffentlichen.

    Rückgabewert 0: gut · 3: eine Lieferung ist zurückgewiesen oder überfällig · 1: fehlgeschlagen, die letzte
    Veröffentlichung bleibt · 2: Aufruf oder Beschreibung falsch · 5: ein anderer Lauf ist aktiv.
    """
    from pipelines.nightly import run_nightly

    gc.disable()  # importing makes millions of objects that stay; collecting meanwhile costs a quarter of the start
    raise typer.Exit(run_nightly(project, Voice()))


@app.command()
def catalogue(project: ProjectOption = HERE) -> None:
    """Gebiete, Quellen, Kennzahlen, Indikatoren und Tabellen mit ihrem Stand auflisten."""
    from pipelines.catalogue import print_catalogue

    raise typer.Exit(print_catalogue(project, Voice()))


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="die zu prüfende Datei", metavar="FILE")],
    source: Annotated[str, typer.Option("--source", help="id der Quelle, für die sie gedacht ist", metavar="NAME")],
    project: ProjectOption = HERE,
    report: Annotated[
        Path | None, typer.Option("--report", help="Ordner für die Rückmeldung (HTML, CSV, E-Mail)", metavar="DIR")
    ] = None,
) -> None:
    """Eine Datei prüfen, als käme sie heute Nacht als nächste Lieferung; nichts im Projekt wird verändert.

    Rückgabewert 0: würde angenommen · 3: würde zurückgewiesen · 2: Aufruf oder Beschreibung falsch.
    """
    from pipelines.intake.check import check_file

    raise typer.Exit(check_file(project, file, source, Voice(), report))


@app.command()
def describe(
    file: Annotated[Path, typer.Argument(help="eine Datei, wie sie geliefert wird", metavar="FILE")],
    source: Annotated[
        str | None, typer.Option("--source", help="id, die die neue Quelle bekommen soll", metavar="NAME")
    ] = None,
    project: ProjectOption = HERE,
) -> None:
    """Aus einer Datei den Entwurf einer Quelle (YAML) machen; was unklar ist, steht als Frage darin."""
    from pipelines.describe import describe_file

    raise typer.Exit(describe_file(project, file, source, Voice()))


@app.command()
def audit(
    path: Annotated[
        Path | None,
        typer.Argument(help="Ordner einer Veröffentlichung, oder eine Tabelle (CSV, XLSX); Vorgabe: die geltende"),
    ] = None,
    project: ProjectOption = HERE,
    sums: Annotated[
        Path | None,
        typer.Option("--sums", help="YAML, das die Summen der Tabelle nennt (Vorgabe: gleicher Name, .yaml)"),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Ergebnis für eine Tabelle auch als Seite")] = None,
) -> None:
    """Veröffentlichte Tabellen angreifen: Was lässt sich aus Summen, Quoten und früheren Ausgaben errechnen?

    Rückgabewert 0: sicher · 4: gesperrte Zahlen sind errechenbar · 2: Aufruf oder Beschreibung falsch.
    """
    from pipelines.audit.command import run_audit

    raise typer.Exit(run_audit(project, path, sums, html, Voice()))


@app.command()
def init(directory: Annotated[Path, typer.Argument(help="neuer Ordner", metavar="DIR")]) -> None:
    """Leeres Projekt für eine andere Stadt anlegen, das sofort mit einem kleinen Beispiel läuft."""
    from pipelines.init import create_project

    raise typer.Exit(create_project(directory, Voice()))


@app.command()
def dev(project: ProjectOption = HERE, port: Annotated[int, typer.Option(help="Port")] = 3000) -> None:
    """Dagsters Web-Oberfläche für dieses Projekt starten, nur auf diesem Rechner erreichbar."""
    from pipelines.dev import serve

    raise typer.Exit(serve(project, port, Voice()))


def main() -> None:
    """Entry point: leaves without tearing down the interpreter, which costs a third of a second after Dagster."""
    code = 0
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a sign that the terminal can't show stops no night
            stream.reconfigure(errors="replace")
    try:
        app()
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except Exception as error:  # noqa: BLE001 - a user reads a sentence, not a traceback
        Voice().error(f"FEHLGESCHLAGEN: {error or type(error).__name__}")
        code = 1
    except KeyboardInterrupt:
        print("Abgebrochen; die letzte Veröffentlichung ist unverändert in Kraft.", file=sys.stderr)
        code = 130
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
