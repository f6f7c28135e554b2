"""Starts Dagster's web page on the runs and definitions of one project, reachable from this machine only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipelines.exit_codes import EXIT_USAGE
from pipelines.nightly import prepare_home
from pipelines.paths import PROJECT_VARIABLE, Paths
from pipelines.progress import Voice


def serve(root: Path, port: int, voice: Voice) -> int:
    """Become `dg dev` of the installation, on the project in `root`; returns only if that is not possible."""
    paths = Paths.of(root)
    command = Path(sys.executable).with_name("dg")
    if not paths.is_project():
        voice.error(f"{root}: kein Projektordner (erwartet: assets/, data/, dagster.yaml)")
        return EXIT_USAGE
    if not command.exists():
        voice.error("dg fehlt in dieser Umgebung; »make dev« richtet sie ein")
        return EXIT_USAGE
    prepare_home(paths)
    os.chdir(Path(__file__).resolve().parent.parent)  # dg looks for pyproject.toml here
    os.environ |= {PROJECT_VARIABLE: str(paths.root), "VIRTUAL_ENV": sys.prefix}
    voice.say(f"http://127.0.0.1:{port} (Ende mit Strg+C)")
    return os.execv(command, [str(command), "dev", "-h", "127.0.0.1", "-p", str(port)])
