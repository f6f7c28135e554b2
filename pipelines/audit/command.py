"""`sozialraum audit [PATH]`: attacks a release folder, or a table somebody else wants to publish."""

from __future__ import annotations

from pathlib import Path

from pipelines.audit.facts import Leak
from pipelines.exit_codes import EXIT_OK, EXIT_RECOVERABLE, EXIT_USAGE
from pipelines.memory import BadMemoryLimit, memory_limit
from pipelines.paths import Paths
from pipelines.progress import Voice

SHOWN = 30


def run_audit(root: Path, path: Path | None, sums: Path | None, html: Path | None, voice: Voice) -> int:
    """Attack `path` (by default the project's release in force), say what can be recomputed; returns the exit code."""
    try:
        memory_limit()
    except BadMemoryLimit as error:
        voice.error(str(error))
        return EXIT_USAGE
    if path is not None and not path.exists():
        voice.error(f"{path} gibt es nicht")
        return EXIT_USAGE
    if path is not None and path.is_file():
        from pipelines.audit.table import audit_table

        return audit_table(path, sums, voice, html)
    if sums is not None or html is not None:
        voice.error("--sums und --html gelten für eine einzelne Tabelle (CSV, XLSX), nicht für eine Veröffentlichung")
        return EXIT_USAGE
    return _audit_folder(root, path, voice)


def _audit_folder(root: Path, path: Path | None, voice: Voice) -> int:
    from pipelines.audit.release import audit_release
    from pipelines.clearance import earlier_of_release
    from pipelines.ledger import DamagedLedger, KeyProblem
    from pipelines.marts.models import Models
    from pipelines.project import ConfigError, load_project

    paths = Paths.of(root)
    folder = (path or paths.current).resolve()
    if not (folder / "sozialraum.duckdb").is_file():
        named = path or paths.relative(paths.current)
        voice.error(f"{named}: keine Veröffentlichung (erwartet: ein Ordner mit sozialraum.duckdb)")
        return EXIT_USAGE
    models, earlier = None, None
    try:
        if paths.is_project() and folder.is_relative_to(paths.releases.resolve()):
            models = Models(load_project(root))
            earlier = earlier_of_release(paths, models.project.release.lost_keys, folder.name)
            if release_rules(folder) != models.project.rules:
                voice.say(
                    "Die Beschreibung (assets) ist seit dieser Veröffentlichung geändert: Tabellen nicht nachgerechnet."
                )
                models = None
    except (ConfigError, KeyProblem, DamagedLedger) as error:
        voice.error(str(error))
        return EXIT_USAGE
    audit = audit_release(folder, models, earlier=earlier)
    if models is None:
        voice.say("Geprüft ohne Nachrechnen der Tabellen aus den Grundzahlen" + ("." if earlier else _ALONE))
    voice.say(f"{folder.name}: {audit.in_words()}; {audit.seconds:.0f} s")
    for kind, number in audit.kinds_in_words():
        voice.say(f"  {number:>7} {kind}")
    for leak in audit.leaks[:SHOWN]:
        voice.error(_sentence(leak))
    if len(audit.leaks) > SHOWN:
        voice.error(f"… und {len(audit.leaks) - SHOWN} weitere")
    if audit.leaks:
        voice.error(f"NICHT SICHER: {len(audit.leaks)} Befunde")
        return EXIT_RECOVERABLE
    harmless = f"{audit.exact_but_large} sind errechenbar, aber nicht klein"
    voice.say(f"Sicher: keine gesperrte Zahl ist als klein erkennbar ({harmless}).")
    return EXIT_OK


_ALONE = " und ohne frühere Veröffentlichungen (der Ordner gehört nicht zu diesem Projekt)."


def release_rules(folder: Path) -> str | None:
    """Hash of the declarations a release was made with; None if it does not tell."""
    import duckdb

    from pipelines.session import connect

    try:
        with connect(folder / "sozialraum.duckdb", read_only=True) as con:
            row = con.execute("SELECT rules FROM meta.release").fetchone()
    except duckdb.Error:
        return None
    return str(row[0]) if row else None


def _sentence(leak: Leak) -> str:
    return f"{leak.where}: {leak.what}"
