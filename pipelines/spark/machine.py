"""Whether Spark can run on this machine at all. Standard library only."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

JAVA = 17
"""Oldest Java that Spark 4 runs on."""
PATIENCE = 60.0
"""Seconds within which Java has to say its version."""


def whats_missing() -> str | None:
    """What has to be installed before Spark can run, in German; None if nothing."""
    if importlib.util.find_spec("pyspark") is None:
        return (
            "--engine spark: das Python-Paket pyspark fehlt; "
            "installieren: .venv/bin/pip install --require-hashes -r requirements-spark.lock"
        )
    java = _java()
    told = _told_by(java) if java else None
    if told is None:
        return f"--engine spark: Java fehlt; gebraucht wird {JAVA} oder 21 (Debian: apt install default-jre-headless)"
    found = re.search(r'version "(?:1\.)?(\d+)', told)
    if found and int(found[1]) < JAVA:
        return f"--engine spark: Spark braucht Java {JAVA} oder 21, gefunden: Java {found[1]} ({java})"
    return None


def _java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return shutil.which(str(Path(home) / "bin" / "java") if home else "java")


def _told_by(java: str) -> str | None:
    """What it says of its version; None if it cannot be run or does not answer."""
    command = [java, "-version"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False).stderr
    except (OSError, subprocess.TimeoutExpired):
        return None
