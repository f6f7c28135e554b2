"""The command `sozialraum`. Heavy libraries are imported inside the commands that need them."""

from __future__ import annotations

import gc
import io
import itertools
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer

from pipelines.exit_codes import EXIT_FAILED, EXIT_USAGE
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
def nightly(
    project: ProjectOption = HERE,
    accept_changes: Annotated[
        str | None,
        typer.Option(
            "--accept-changes", help="eine zurückgehaltene Massenänderung veröffentlichen, mit Grund", metavar="REASON"
        ),
    ] = None,
    engine: Annotated[
        Literal["duckdb", "spark"],
        typer.Option("--engine", help="womit gerechnet wird; spark: wie in spark.yaml erklärt"),
    ] = "duckdb",
) -> None:
    """Alles: Lieferungen annehmen, prüfen, rechnen, veröffentlichen.

    Rückgabewert 0: gut · 3: eine Lieferung ist zurückgewiesen oder überfällig, oder es würde sich unglaubwürdig viel
    auf einmal ändern (dann bleibt die letzte Veröffentlichung) · 1: fehlgeschlagen, die letzte
    Veröffentlichung bleibt · 2: Aufruf oder Beschreibung falsch · 5: ein anderer Lauf ist aktiv.
    """
    from pipelines.nightly import run_nightly

    gc.disable()  # importing makes millions of objects that stay; collecting meanwhile costs a quarter of the start
    raise typer.Exit(run_nightly(project, Voice(), accept_changes=accept_changes, on_spark=engine == "spark"))


@app.command()
def status(
    project: ProjectOption = HERE,
    max_age: Annotated[
        float, typer.Option(min=0, help="so alt darf der letzte Lauf sein, in Stunden", metavar="HOURS")
    ] = 26,
    as_json: Annotated[bool, typer.Option("--json", help="alles als JSON, auch je Quelle")] = False,
    nagios: Annotated[bool, typer.Option("--nagios", help="eine Zeile, Rückgabewerte wie ein Nagios-Plugin")] = False,
    alert: Annotated[bool, typer.Option("--alert", help="was nicht gut ist, an die Meldeziele schicken")] = False,
) -> None:
    """Sagen, wie es steht: letzter Lauf, Veröffentlichung, Lieferungen, Speicherplatz; verändert nichts.

    Rückgabewert 0: gut (auch während ein Lauf aktiv ist) · 3: nicht gut · 1: letzter Lauf fehlgeschlagen, abgebrochen
    oder zu lange her, oder die Veröffentlichung ist beschädigt · 2: Aufruf falsch. Mit --nagios: 0, 1, 2, 3.
    """
    from pipelines.alerts import tell
    from pipelines.status import print_status

    voice = Voice()
    if as_json and nagios:
        voice.error("Entweder --json oder --nagios")
        raise typer.Exit(2)
    code = print_status(project, voice, max_age, "json" if as_json else "nagios" if nagios else "text")
    if alert:
        tell(project, voice.error, max_age_hours=max_age)
    raise typer.Exit(code)


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
def explain(
    words: Annotated[list[str], typer.Argument(help="Indikator, Gebiet und Zeit", metavar="INDICATOR AREA PERIOD")],
    public: Annotated[bool, typer.Option("--public", help="nur was die Veröffentlichung sagen darf")] = False,
    every: Annotated[bool, typer.Option("--all", help="alle Summanden und alle Beanstandungen nennen")] = False,
    project: ProjectOption = HERE,
) -> None:
    """Woher kommt diese Zahl? Rechnung, Lieferungen, Zeilen und Zellen, Berichtigungen, Brüche, Veröffentlichung.

    In Kennungen oder Worten: sozialraum explain Kinderarmut Gaarden 2021. Rückgabewert 0: gut · 2: nicht bekannt ·
    1: das Archiv oder die Datei mit den Zahlen fehlt oder ist beschädigt.
    """
    from pipelines.provenance.command import explain as tell

    raise typer.Exit(tell(project, words, Voice(), public=public, every=every))


@app.command()
def changes(
    before: Annotated[
        str | None, typer.Argument(help="Veröffentlichung davor; Vorgabe: die vor TO", metavar="FROM")
    ] = None,
    now: Annotated[str | None, typer.Argument(help="Veröffentlichung; Vorgabe: die geltende", metavar="TO")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="alle Zeilen in diese Datei", metavar="FILE")] = None,
    project: ProjectOption = HERE,
) -> None:
    """Was sich zwischen zwei Veröffentlichungen geändert hat, nach Indikator und Ursache; nur Veröffentlichtes.

    Rückgabewert 0: gut · 2: Aufruf oder Beschreibung falsch, Veröffentlichung unbekannt · 1: fehlgeschlagen.
    """
    from pipelines.changes.command import print_changes

    raise typer.Exit(print_changes(project, before, now, csv, Voice()))


@app.command("as-of")
def as_of(
    when: Annotated[str, typer.Argument(help="ein Tag (2026-03-31) oder eine Veröffentlichung", metavar="WHEN")],
    project: ProjectOption = HERE,
    history: Annotated[
        Path | None, typer.Option("--history", help="data/history eines anderen Projektordners", metavar="DIR")
    ] = None,
) -> None:
    """Den Stand eines Tages nach heutigen Regeln, oder eine Veröffentlichung genau, in data/warehouse/as-of nachbauen.

    Veröffentlicht wird nichts. Rückgabewert 0: gut · 3: die Veröffentlichung ist hier nicht gleich nachgebaut, mit
    Anleitung · 2: Aufruf oder Beschreibung falsch · 5: ein anderer Nachbau läuft.
    """
    from pipelines.past.as_of import as_of as rebuild

    raise typer.Exit(rebuild(project, when, Voice(), history))


ReasonOption = Annotated[str, typer.Option("--reason", help="warum; der Grund wird aufgehoben", metavar="TEXT")]


@app.command()
def withdraw(
    release: Annotated[str, typer.Argument(help="die geltende Veröffentlichung", metavar="RELEASE")],
    reason: ReasonOption,
    project: ProjectOption = HERE,
) -> None:
    """Die geltende Veröffentlichung zurückziehen: es gilt wieder die davor, der Inhalt kommt nicht noch einmal.

    Rückgabewert 0: gut · 2: Aufruf falsch · 1: fehlgeschlagen · 5: ein anderer Lauf ist aktiv.
    """
    from pipelines.past.withdraw import withdraw as take_back

    raise typer.Exit(take_back(project, release, reason, Voice()))


@app.command()
def purge(
    delivery: Annotated[str, typer.Argument(help="Kennung der Lieferung (quelle-0001)", metavar="DELIVERY")],
    reason: ReasonOption,
    project: ProjectOption = HERE,
) -> None:
    """Die Bytes einer Lieferung aus rechtlichen Gründen löschen, mit allem, was daraus gemacht ist; der Beleg bleibt.

    Rückgabewert 0: gut · 2: Aufruf falsch · 1: fehlgeschlagen · 5: ein anderer Lauf ist aktiv.
    """
    from pipelines.past.purge import purge as remove

    raise typer.Exit(remove(project, delivery, reason, Voice()))


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


class _Patient(io.FileIO):
    """Where nobody reads on (`| head -1`), the rest is dropped: a reader that leaves ends no night."""

    def write(self, content: Any, /) -> int:
        """Write, or pretend to."""
        try:
            return super().write(content)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            return len(content)


def _patient(stream: TextIO) -> TextIO:
    """The stream without what would end a night: a reader that leaves, a sign that the terminal can't show."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    raw = io.BufferedWriter(_Patient(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, "replace", line_buffering=stream.line_buffering)


def _said(error: Exception) -> int:
    """Say in German what ended a command; returns the exit code."""
    kinds = {kind.__name__ for kind in type(error).__mro__}  # the library keeps its classes to itself
    if "NoArgsIsHelpError" in kinds:
        print(error)
        return EXIT_USAGE
    if "UsageError" in kinds:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "sozialraum"
        Voice().error(f"{_usage(error)}\nAlle Angaben erklärt: {command} --help")
        return EXIT_USAGE
    from pipelines import faults
    from pipelines.memory import BadMemoryLimit
    from pipelines.paths import Paths

    if isinstance(error, BadMemoryLimit):
        Voice().error(str(error))
        return EXIT_USAGE
    Voice().error(f"FEHLGESCHLAGEN: {faults.in_words(error, Paths.of(_named_project()))}")
    return EXIT_FAILED


def _usage(error: Any) -> str:
    """What is wrong with a call. The library says so in English, so its words are told by their beginnings."""
    name, text = type(error).__name__, str(error.message)
    what = " / ".join(getattr(error.param, "opts", ()) or ()) if getattr(error, "param", None) else ""
    if getattr(error, "param", None) is not None and error.param.param_type_name == "argument":
        what = error.param.metavar or error.param.name
    if name == "MissingParameter":
        return f"Es fehlt: {what}"
    if name == "NoSuchOption":
        near = f"; meinten Sie {' oder '.join(sorted(error.possibilities))}?" if error.possibilities else ""
        return f"Die Option {error.option_name} gibt es nicht{near}"
    if name == "BadOptionUsage":
        return f"Nach {error.option_name} fehlt die Angabe, oder es ist eine zu viel"
    if name == "BadParameter":
        choices = re.findall(r"'([^']*)'", text.partition("is not one of")[2])
        return f"{what}: diese Angabe ist nicht möglich" + (f"; möglich: {', '.join(choices)}" if choices else "")
    quoted = re.findall(r"'([^']*)'", text)
    if text.startswith("No such command") and quoted:
        near = f"; meinten Sie {' oder '.join(f'»{word}«' for word in quoted[1:])}?" if quoted[1:] else ""
        return f"Den Befehl »{quoted[0]}« gibt es nicht{near}"
    if text.startswith("Got unexpected extra argument"):
        return f"Zu viele Angaben: {text[text.find('(', text.find('(s)') + 3) + 1 : -1]}"
    return "Der Aufruf ist falsch"


def _named_project() -> Path:
    """The project folder as it was typed."""
    words = sys.argv[1:]
    named = [word.partition("=")[2] for word in words if word.startswith("--project=")]
    named += [after for word, after in itertools.pairwise(words) if word == "--project"]
    return Path(named[-1]) if named else HERE


def main() -> None:
    """Entry point: leaves without tearing down the interpreter, which costs a third of a second after Dagster."""
    sys.stdout, sys.stderr = _patient(sys.stdout), _patient(sys.stderr)
    try:
        code = app(standalone_mode=False) or 0
    except Exception as error:  # noqa: BLE001 - a user reads a sentence, not a traceback
        code = _said(error)
    except KeyboardInterrupt:
        code = 130
    if code == 130:
        print("Abgebrochen; die letzte Veröffentlichung ist unverändert in Kraft.", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
